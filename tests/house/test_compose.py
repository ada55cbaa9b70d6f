"""The compose file: hardened, healthy before others depend on it, pinned, and every secret from the environment file."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ioc.config import Config


@pytest.fixture(scope="module")
def compose(root: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((root / "docker-compose.yml").read_text("utf-8"))
    return loaded


def services(compose: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return list(compose["services"].items())


def test_every_service_is_hardened(compose: dict[str, Any]) -> None:
    for name, service in services(compose):
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["read_only"] is True, name
        assert not service.get("privileged"), name
        assert service["restart"] == "unless-stopped", name


def test_only_the_database_starts_as_root_and_gives_it_up(compose: dict[str, Any], root: Path) -> None:
    assert [name for name, service in services(compose) if "cap_add" in service] == ["database"]
    assert compose["services"]["broker"]["user"] == "1883:1883"
    final_stage = (root / "Dockerfile").read_text("utf-8").split("\nFROM ")[-1]
    assert re.search(r"^USER \d+:\d+$", final_stage, re.M)


def test_images_are_pinned_to_a_version(compose: dict[str, Any], root: Path) -> None:
    for name, service in services(compose):
        assert re.search(r":\d+\.\d+\.\d+", service["image"]), name
    assert compose["services"]["broker"]["image"] == "eclipse-mosquitto:2.0.21"
    tested = re.search(
        r"kafka_2\.13</artifactId>\s*<version>([\d.]+)<",
        (root / "tests/services/kafka-pom.xml").read_text("utf-8"),
    )
    assert tested
    assert compose["services"]["kafka"]["image"] == f"apache/kafka:{tested[1]}"
    assert re.fullmatch(r"timescale/timescaledb:2\.\d+\.\d+-pg17", compose["services"]["database"]["image"])


def test_who_depends_on_a_service_waits_until_it_is_healthy(compose: dict[str, Any]) -> None:
    for name, service in services(compose):
        for other, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}, name
            assert compose["services"][other]["healthcheck"]["test"], other


def test_the_monitor_is_asked_at_healthz_by_the_python_it_has(compose: dict[str, Any]) -> None:
    test = compose["services"]["ioc"]["healthcheck"]["test"]
    assert test[:2] == ["CMD", "python"]
    compile(test[-1], "healthcheck", "exec")
    assert "/healthz" in test[-1]


def test_simulators_and_kafka_run_in_their_profiles_only(compose: dict[str, Any]) -> None:
    assert {name: s["profiles"] for name, s in services(compose) if "profiles" in s} == {
        "simulators": ["demo"],
        "kafka": ["kafka"],
    }


def test_the_environment_names_settings_that_exist(compose: dict[str, Any], root: Path) -> None:
    given = dict(compose["services"]["ioc"]["environment"])
    stage = (root / "Dockerfile").read_text("utf-8")
    given |= dict.fromkeys(re.findall(r"\b(IOC_[A-Z_]+)=", stage))
    for name in given:
        model: Any = Config
        for part in name.removeprefix("IOC_").lower().split("__"):
            assert part in model.model_fields, name
            model = model.model_fields[part].annotation


def test_every_secret_comes_from_the_environment_file(compose: dict[str, Any], root: Path) -> None:
    text = (root / "docker-compose.yml").read_text("utf-8")
    used = set(re.findall(r"\$\{([A-Z_]+)", text))
    example = (root / ".env.example").read_text("utf-8")
    assert used == set(re.findall(r"^([A-Z_]+)=", example, re.M))
    for name in (n for n in used if n.endswith("_PASSWORD")):
        assert re.search(rf"^{name}=$", example, re.M), "an example has no password in it"
        assert not re.search(rf"\${{{name}(?!:\?)", text), "an empty password stops the start"


def test_volumes_and_mounted_files_exist(compose: dict[str, Any], root: Path) -> None:
    named = set()
    for _, service in services(compose):
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (root / source).is_file(), source
                assert volume.endswith(":ro"), volume
            else:
                named.add(source)
    assert named == set(compose["volumes"])


def test_ports_are_open_on_this_machine_only_unless_told_otherwise(compose: dict[str, Any]) -> None:
    ports = [port for _, service in services(compose) for port in service.get("ports", [])]
    assert ports
    assert all(":-127.0.0.1}:" in port for port in ports)


def test_the_broker_queues_rather_than_drops(root: Path) -> None:
    lines = (root / "deploy/mosquitto.conf").read_text("utf-8").splitlines()
    given = dict(line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))
    assert given["max_inflight_messages"] == "0"
    assert int(given["max_queued_messages"]) >= 1_000_000
    assert int(given["max_queued_bytes"]) >= 1 << 28
    assert given["persistence"] == "true"
    assert given["allow_anonymous"] == "false"
    assert int(given["max_packet_size"]) > Config().mqtt.payload_bytes_max


def test_docker_compose_accepts_it(root: Path, tmp_path: Path) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip(
            "no `docker compose` on this machine: the structure is checked, the real parser is not asked"
        )
    example = (root / ".env.example").read_text("utf-8")
    secrets = tmp_path / "env"
    secrets.write_text(re.sub(r"^(\w+_PASSWORD)=$", r"\1=secret", example, flags=re.M), "utf-8")
    done = subprocess.run(
        [docker, "compose", "--env-file", str(secrets), "--profile", "demo", "--profile", "kafka", "config", "--quiet"],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
