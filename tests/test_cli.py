"""The command line: exit codes 0 done, 1 failed, 2 refused, and one sentence for a fault of the user's world."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ioc.cli import app

PACK = Path(__file__).resolve().parents[1] / "packs" / "lao-cai"
NOBODY = "mqtt://127.0.0.1:9"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def words(result: Result) -> str:
    return " ".join(result.output.split())


def test_a_sound_pack_is_told_with_its_counts() -> None:
    result = run("check", str(PACK))
    assert result.exit_code == 0
    assert "Hợp lệ / Valid" in words(result)


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("stations/disaster.yaml", "lat:", "lattitude:", "lattitude: this key is unknown"),
        ("stations/disaster.yaml", "commune: ", "commune: '99999' # ", "commune: no commune '99999'"),
        ("rules/river.yaml", "kind: limit", "kind: limits", "rules/river.yaml:"),
        ("rules/rain.yaml", "rules:", "rules: [", "rules/rain.yaml:"),
        ("quantities.yaml", "resolution: ", "resolution: -", "resolution"),
    ],
)
def test_a_faulty_pack_is_refused_with_file_line_and_path(
    tmp_path: Path, file: str, old: str, new: str, told: str
) -> None:
    pack = tmp_path / "pack"
    shutil.copytree(PACK, pack)
    path = pack / file
    path.write_text(path.read_text("utf-8").replace(old, new, 1), "utf-8")
    result = run("check", str(pack))
    assert result.exit_code == 2
    assert f"{file}:" in words(result)
    assert told in words(result)


def test_every_pack_of_a_folder_is_checked_and_the_faulty_one_named(tmp_path: Path) -> None:
    for name in ("aa", "bb"):
        shutil.copytree(PACK, tmp_path / name)
    rules = tmp_path / "aa" / "rules" / "rain.yaml"
    rules.write_text(rules.read_text("utf-8").replace("kind: limit", "kind: limitt", 1), "utf-8")
    result = run("check", str(tmp_path))
    assert result.exit_code == 2
    said = words(result)
    assert (
        said.index("/aa") < said.index("rules/rain.yaml:") < said.index("/bb") < said.index("Hợp lệ / Valid.")
    )


def test_a_value_below_zero_can_be_sent() -> None:
    result = run("send", "ioc/v1/disaster/sa_pa/temperature", "-5", "--mqtt-url", NOBODY)
    assert result.exit_code == 1
    assert "no MQTT broker answers" in words(result)


@pytest.mark.parametrize("command", [("log", "verify"), ("log", "show", "-5")])
def test_a_log_that_is_not_there_is_not_called_sound(tmp_path: Path, command: tuple[str, ...]) -> None:
    result = run(*command, "--data", str(tmp_path))
    assert result.exit_code == 2
    assert "there is no log" in words(result)


def test_accounts_and_tokens_are_kept_in_the_log(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    made = run("user", "add", "an", "--name", "Nguyễn Văn An", "--role", "admin", "--generate", *data)
    assert made.exit_code == 0, made.output
    assert "Nguyễn Văn An" in words(run("user", "list", *data))
    assert run("user", "add", "an", "--role", "king", "--generate", *data).exit_code == 2
    assert run("user", "remove", "nobody", *data).exit_code == 1
    token = run("token", "add", "wall-1", *data)
    assert "/wall#token=" in token.output
    assert "wall-1" in words(run("token", "list", *data))
    assert run("token", "revoke", "wall-1", *data).exit_code == 0
    sender = run(
        "token", "add", "gw", "--scope", "readings", "--series", "disaster/*", "--series", "energy/*", *data
    )
    assert "Authorization: Bearer " in sender.output
    listed = words(run("token", "list", *data))
    assert all(word in listed for word in ("gw", "readings", "disaster/*", "energy/*"))
    assert run("token", "add", "x", "--scope", "king", *data).exit_code == 2
    assert run("token", "add", "x", "--series", "disaster/*", *data).exit_code == 1
    shown = run("log", "show", *data)
    assert shown.exit_code == 0
    assert "argon2" not in shown.output
    assert run("log", "verify", *data).exit_code == 0


def test_settings_that_cannot_be_used_name_their_key(tmp_path: Path) -> None:
    file = tmp_path / "ioc.toml"
    file.write_text('[mqtt]\nurl = "http://x"\n', "utf-8")
    result = run("check", "--config", str(file))
    assert result.exit_code == 2
    assert "mqtt.url" in words(result)
