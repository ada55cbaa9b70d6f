"""The command `ioc`. Exit codes: 0 done, 1 failed, 2 refused."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ioc import __version__, config, logs
from ioc.backtest import options
from ioc.errors import ConfigError, IocError, LogError, PackError

DONE, FAILED, REFUSED = 0, 1, 2

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="""Giám sát luồng sự kiện của Trung tâm Điều hành Thông minh (IOC).

Event-stream monitor of an Intelligent Operations Centre: sensors over MQTT, a log, rules, alarms, a wall
and a duty console.

Bắt đầu / To begin:  ioc demo""",
)
users = typer.Typer(no_args_is_help=True, help="Tài khoản / Accounts: add, list, remove.")
tokens = typer.Typer(
    no_args_is_help=True,
    help="Mã cho màn hình và nguồn gửi số liệu / Tokens of kiosks and senders: add, list, revoke.",
)
log_app = typer.Typer(no_args_is_help=True, help="Nhật ký dữ liệu / The input log: show, verify.")
app.add_typer(users, name="user")
app.add_typer(tokens, name="token")
app.add_typer(log_app, name="log")

out = Console()
err = Console(stderr=True)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Tệp cấu hình / Settings file. Default: ./ioc.toml where it exists."),
]
DataOption = Annotated[
    Path | None, typer.Option("--data", help="Thư mục dữ liệu / Data folder, instead of the settings'.")
]
MqttOption = Annotated[
    str,
    typer.Option(
        "--mqtt-url", help="mqtt://[user:password@]host:port. Default: the settings', or the running demo's."
    ),
]


P = ParamSpec("P")


def _refusing(function: Callable[P, None]) -> Callable[P, None]:
    """Faults of the user's world end with one sentence and an exit code, never with a traceback."""

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except PackError as error:
            _refuse(error)
            raise typer.Exit(REFUSED) from error
        except (ConfigError, LogError) as error:
            err.print(f"[bold red]Từ chối / Refused:[/] {_plain(str(error))}", highlight=False)
            raise typer.Exit(REFUSED) from error
        except IocError as error:
            err.print(f"[bold red]Lỗi / Failed:[/] {_plain(str(error))}", highlight=False)
            raise typer.Exit(FAILED) from error

    return guarded


def _refuse(error: PackError) -> None:
    """Every fault of a pack."""
    for fault in error.faults:
        err.print(f"[bold red]Từ chối / Refused:[/] {_plain(str(fault))}", highlight=False)


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


def _settings(file: Path | None, data: Path | None = None, **given: Any) -> config.Config:
    if file is None and Path("ioc.toml").is_file():
        file = Path("ioc.toml")
    if data is not None:
        given["data"] = data
    return config.read(file, **given)


def _mqtt_url(given: str) -> str:
    """What was given, the settings', the running demo's, or the default."""
    if given:
        return given
    if os.environ.get("IOC_MQTT__URL") or Path("ioc.toml").is_file():
        mqtt = _settings(None).mqtt
        login = f"{mqtt.username}:{mqtt.password.get_secret_value()}@" if mqtt.username else ""
        scheme, _, rest = mqtt.url.partition("://")
        return f"{scheme}://{login}{rest}"
    from ioc.demo.run import ADDRESS_FILE, default_data

    try:
        return str(json.loads((default_data() / ADDRESS_FILE).read_text("utf-8"))["mqtt_url"])
    except (OSError, ValueError, KeyError):
        return "mqtt://127.0.0.1:1883"


@app.command()
@_refusing
def demo(
    data: Annotated[Path | None, typer.Option(help="Thư mục dữ liệu / Data folder.")] = None,
    ephemeral: Annotated[
        bool, typer.Option("--ephemeral", help="Không giữ lại dữ liệu / Keep nothing.")
    ] = False,
    port: Annotated[int, typer.Option(help="Cổng web / Web port; a busy one means the next free.")] = 8080,
    mqtt_url: Annotated[str, typer.Option("--mqtt-url", help="Another broker than the bundled one.")] = "",
    pack: Annotated[Path, typer.Option(help="Bộ quy tắc / Pack folder.")] = config.PACKS / "lao-cai",
    no_open: Annotated[
        bool, typer.Option("--no-open", help="Không mở trình duyệt / Do not open a browser.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the simulated values.")] = 1,
    speed: Annotated[float, typer.Option(help="Of the simulated time.")] = 1.0,
    lang: Annotated[str, typer.Option(help="vi | en")] = "vi",
) -> None:
    """Chạy thử mọi thứ trên máy này / Everything on this machine, with simulated sensors.

    Starts PostgreSQL, an MQTT broker, the monitor with its web server and the simulators, all on 127.0.0.1, and
    prints where to look and how to log in. Within two minutes a river rises, sensors fall silent and recover.
    """
    from ioc.demo.run import Options, run

    if lang not in ("vi", "en"):
        raise ConfigError(f"--lang must be vi or en, not {lang!r}")
    options = Options(data, ephemeral, port, mqtt_url, pack, not no_open, seed, speed, lang)
    asyncio.run(run(options, lambda line: out.print(line, highlight=False, markup=False, soft_wrap=True)))


@app.command()
@_refusing
def run(file: ConfigOption = None, data: DataOption = None) -> None:
    """Chạy hệ thống giám sát / Run the monitor with the settings of ioc.toml and the environment.

    SIGHUP reads the pack again; a faulty pack is refused and the old rules go on. Ctrl-C stops cleanly.
    """
    from ioc.app import App

    settings = _settings(file, data)
    logs.configure()

    async def main() -> None:
        async with App(settings) as instance:
            out.print(f"http://{settings.web.host}:{instance.port}/console", highlight=False, soft_wrap=True)
            if not instance.accounts.users:
                err.print(
                    "Chưa có tài khoản / No accounts yet:  ioc user add NAME --role admin", highlight=False
                )
            await instance.wait()

    asyncio.run(main())


@app.command(context_settings={"ignore_unknown_options": True})
@_refusing
def send(
    topic: Annotated[str, typer.Argument(help="ioc/v1/disaster/lao_cai/water_level")],
    payload: Annotated[str, typer.Argument(help='84.2  or  \'{"t": …, "v": 84.2, "q": "good"}\'')],
    mqtt_url: MqttOption = "",
    retain: Annotated[
        bool, typer.Option("--retain", help="Leave it at the broker as the last known value.")
    ] = False,
) -> None:
    """Gửi một giá trị / Publish one value, as a sensor would.

    Example:  ioc send ioc/v1/disaster/lao_cai/water_level 84.2
    """
    from ioc.publish import Publisher

    with Publisher(_mqtt_url(mqtt_url)) as publisher:
        publisher.publish(topic, payload.encode(), retain=retain)
    out.print(f"Đã gửi / Sent: {_plain(topic)} {_plain(payload)} → {publisher.address}", highlight=False)


@app.command()
@_refusing
def replay(
    files: Annotated[list[Path], typer.Argument(help="CSV or CSV.gz: long (time, series, value) or wide.")],
    mqtt_url: MqttOption = "",
    speed: Annotated[float, typer.Option(help="Times real time; 0 is as fast as the broker takes it.")] = 0.0,
    domain: Annotated[str, typer.Option(help="Domain of a wide file's series.")] = "disaster",
    station: Annotated[str, typer.Option(help="Station of a wide file without a station column.")] = "",
    column: Annotated[
        list[str] | None,
        typer.Option("--column", help="COLUMN=quantity of a wide file; repeat. Default: all."),
    ] = None,
) -> None:
    """Phát lại chuỗi số liệu thật / Publish real series with their own timestamps, in the order of event time.

    The instance that listens runs with `verdict.clock = "source"`, so that its time is the samples'.

    Example:  ioc replay packs/yagi-2024/series.csv --speed 3600
    """
    from ioc.publish import Publisher
    from ioc.replay import ReplayError, paced, payload, read

    columns: dict[str, str] = {}
    for pair in column or ():
        name, _, quantity = pair.rpartition("=")
        if not name or not quantity:
            raise ReplayError(f"--column is COLUMN=quantity, not {pair!r}")
        columns[name] = quantity
    rows = [
        row for file in files for row in read(file, domain=domain, station=station, columns=columns or None)
    ]
    rows.sort(key=lambda row: row.event_us)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
    )
    with Publisher(_mqtt_url(mqtt_url)) as publisher, bar:
        task = bar.add_task("", total=len(rows))
        for row in paced(rows, speed):
            publisher.publish(f"ioc/v1/{row.series}", payload(row))
            bar.update(
                task,
                advance=1,
                description=f"{datetime.fromtimestamp(row.event_us / 1e6, UTC):%Y-%m-%d %H:%M}",
            )
    out.print(f"Đã phát / Published: {len(rows)} readings → {publisher.address}", highlight=False)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)
def simulate(context: typer.Context) -> None:
    """Trạm mô phỏng / Simulated stations over MQTT. `ioc simulate --help` lists rates, faults and seeds."""
    os.execv(sys.executable, [sys.executable, "-m", "simulators", *context.args])


@app.command()
@_refusing
def check(
    pack: Annotated[
        Path | None, typer.Argument(help="Pack folder, or one of several. Default: the settings'.")
    ] = None,
    file: ConfigOption = None,
    against: Annotated[
        Path | None, typer.Option(help="So với bộ này / Say what changes against this pack.")
    ] = None,
    schema: Annotated[
        Path | None,
        typer.Option(help="Viết JSON Schema cho trình soạn thảo / Write the JSON Schemas here and stop."),
    ] = None,
) -> None:
    """Kiểm tra bộ quy tắc / Check packs: every fault with its place, or what each holds; run the tests of its rules.

    Example:  ioc check packs/lao-cai
    """
    from ioc import schema as schemas
    from ioc.checking import check_one
    from ioc.pack import Pack
    from ioc.packdiff import diff

    if schema is not None:
        schemas.write(schema)
        out.print(f"Đã viết / Written: {schema}", highlight=False)
        return
    settings = _settings(file)
    chosen = pack or settings.pack
    if against is not None:
        old, new = Pack.read(against, settings.verdict), Pack.read(chosen, settings.verdict)
        out.print(diff(old, new).text(), highlight=False, markup=False)
    folders = [chosen]
    if not (chosen / "pack.yaml").exists():
        folders = sorted(p.parent for p in chosen.glob("*/pack.yaml")) or folders
    refused, passed = False, True
    for folder in folders:
        if len(folders) > 1:
            out.print(f"[bold]{folder}[/]", highlight=False)
        try:
            passed = check_one(folder, settings, out) and passed
        except PackError as error:
            _refuse(error)
            refused = True
    if refused or not passed:
        raise typer.Exit(REFUSED if refused else FAILED)


@app.command()
@_refusing
def backtest(
    pack: options.Pack, since: options.Since = "", until: options.Until = "", against: options.Against = None,
    data: options.Data = None, labels: options.Labels = None, tolerance: options.Tolerance = "6h",
    rules: options.Rules = "", all_rules: options.AllRules = False, pace: options.Pace = "pack",
    json_file: options.JsonFile = None, html_file: options.HtmlFile = None, file: ConfigOption = None,
) -> None:  # fmt: skip
    """Thử quy tắc trên số liệu cũ / Try rules on history: what they would have said, and how well that fits.

    Example:  ioc backtest packs/lao-cai --data storm/ --labels storm/truth.json --html storm.html
    """
    from ioc.backtest.command import Asked, show

    only = tuple(filter(None, rules.split(",")))
    asked = Asked(pack, since, until, against, data, labels, tolerance, only, all_rules, pace)
    show(asked, _settings(file), json_file, html_file, out, err)


rules = typer.Typer(help="Quy tắc / Rules.", no_args_is_help=True)
app.add_typer(rules, name="rules")


@rules.command("promote")
@_refusing
def rules_promote(
    rule: str,
    pack: Annotated[Path | None, typer.Option(help="Pack folder. Default: the settings'.")] = None,
    file: ConfigOption = None,
) -> None:
    """Đưa quy tắc chạy thử vào dùng / Let a rule in shadow count: one word in its file; a running instance takes it up."""
    from ioc.promote import in_folder

    changed = in_folder(pack or _settings(file).pack, rule)
    out.print(f"Đã sửa / Changed: {changed}", highlight=False)


@app.command()
@_refusing
def doctor(file: ConfigOption = None, data: DataOption = None) -> None:
    """Khám hệ thống / Look at all an instance needs: disk, log, pack, broker, database, port."""
    from ioc.doctor import Result, examine

    marks = {Result.GOOD: "[green]✓[/]", Result.DOUBT: "[yellow]![/]", Result.BAD: "[bold red]✗[/]"}
    worst = Result.GOOD
    for finding in examine(_settings(file, data)):
        out.print(
            f"{marks[finding.result]} {finding.vi} / {finding.en}: {_plain(finding.detail)}", highlight=False
        )
        if finding.result is Result.BAD:
            worst = Result.BAD
    if worst is Result.BAD:
        raise typer.Exit(FAILED)


@users.command("add")
@_refusing
def user_add(
    user: Annotated[str, typer.Argument(help="Tên đăng nhập / Login name, e.g. truc.ban")],
    name: Annotated[str, typer.Option(help="Tên hiển thị / Shown name.")] = "",
    role: Annotated[str, typer.Option(help="viewer | officer | admin")] = "officer",
    generate: Annotated[bool, typer.Option("--generate", help="Make a password and print it once.")] = False,
    file: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Thêm hoặc đổi tài khoản / Add or change an account. The password is asked for, or read from a pipe."""
    from ioc.credentials import hash_password, new_password
    from ioc.model import Role, SetUser

    if role not in {r.value for r in Role}:
        raise ConfigError(f"--role must be one of {', '.join(Role)}, not {role!r}")
    password = new_password() if generate else _ask_password()
    command = SetUser(
        actor="system", user=user, name=name or user, role=Role(role), secret=hash_password(password)
    )
    _submit(file, data, command)
    out.print(
        f"Đã lưu tài khoản / Saved: {user} ({role})" + (f"  {password}" if generate else ""), highlight=False
    )


@users.command("list")
@_refusing
def user_list(file: ConfigOption = None, data: DataOption = None) -> None:
    """Danh sách tài khoản / List accounts, as of the last checkpoint and the log after it."""
    table = Table("Tài khoản / Login", "Tên / Name", "Vai trò / Role")
    for account in _accounts(file, data).users.values():
        table.add_row(account.user, account.name, account.role)
    out.print(table)


@users.command("remove")
@_refusing
def user_remove(user: str, file: ConfigOption = None, data: DataOption = None) -> None:
    """Xóa tài khoản / Remove an account; its sessions end."""
    from ioc.model import RemoveUser

    _submit(file, data, RemoveUser(actor="system", user=user))
    out.print(f"Đã xóa / Removed: {user}", highlight=False)


@tokens.command("add")
@_refusing
def token_add(
    name: Annotated[str, typer.Argument(help="Its public name, e.g. wall-1")],
    scope: Annotated[
        str, typer.Option(help="wall: mở màn hình / opens the wall. readings: gửi số liệu / sends readings.")
    ] = "wall",
    series: Annotated[
        list[str] | None,
        typer.Option(help="Chuỗi được gửi / What it may send: 'disaster/*'; repeat. Default: every series."),
    ] = None,
    file: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """Tạo mã cho màn hình hoặc nguồn gửi số liệu / Make a token of a kiosk or a sender; printed once.

    The wall opens with /wall#token=…; a sender sends it as a header with POST /api/v1/readings.

    Example:  ioc token add gateway-1 --scope readings --series 'disaster/*'
    """
    from ioc.credentials import new_token, token_digest
    from ioc.model import AddToken, Scope

    if scope not in {s.value for s in Scope}:
        raise ConfigError(f"--scope must be one of {', '.join(Scope)}, not {scope!r}")
    token = new_token()
    command = AddToken(
        actor="system", token=name, digest=token_digest(token), scope=Scope(scope), series=tuple(series or ())
    )
    _submit(file, data, command)
    shown = f"/wall#token={token}" if command.scope is Scope.WALL else f"Authorization: Bearer {token}"
    out.print(shown, highlight=False, soft_wrap=True)


@tokens.command("list")
@_refusing
def token_list(file: ConfigOption = None, data: DataOption = None) -> None:
    """Danh sách mã / List tokens by name."""
    from ioc.model import Scope

    table = Table("Mã / Token", "Phạm vi / Scope", "Chuỗi / Series")
    for token in _accounts(file, data).tokens.values():
        everything = "*" if token.scope is Scope.READINGS else ""
        table.add_row(token.token, token.scope, "\n".join(token.series) or everything)
    out.print(table)


@tokens.command("revoke")
@_refusing
def token_revoke(name: str, file: ConfigOption = None, data: DataOption = None) -> None:
    """Thu hồi mã / Revoke a token."""
    from ioc.model import RevokeToken

    _submit(file, data, RevokeToken(actor="system", token=name))
    out.print(f"Đã thu hồi / Revoked: {name}", highlight=False)


def _ask_password() -> str:
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = getpass.getpass("Mật khẩu / Password: ")
        if getpass.getpass("Nhập lại / Again: ") != password:
            raise ConfigError("hai lần nhập không giống nhau / the two do not match")
    if len(password) < 8:
        raise ConfigError("mật khẩu phải có ít nhất 8 ký tự / a password has at least 8 characters")
    return password


def _submit(file: Path | None, data: Path | None, command: Any) -> None:
    from ioc.model import Verdict
    from ioc.offline import submit

    settings = _settings(file, data)
    answer = submit(settings.data, command, source_clock=settings.verdict.clock == "source")
    if answer.verdict is not Verdict.DONE:
        raise IocError(answer.reason or answer.verdict)


def _accounts(file: Path | None, data: Path | None) -> Any:
    from ioc.offline import accounts

    return accounts(_settings(file, data).data)


@log_app.command("show", context_settings={"ignore_unknown_options": True})
@_refusing
def log_show(
    first: Annotated[int, typer.Argument(help="First record; negative counts from the end.")] = -20,
    last: Annotated[int | None, typer.Argument(help="Last record. Default: to the end.")] = None,
    rows: Annotated[bool, typer.Option("--rows", help="Every reading of each batch.")] = False,
    file: ConfigOption = None,
    data: DataOption = None,
) -> None:
    """In một đoạn nhật ký / Print any stretch of the log, readably; secrets are masked. Works while an instance runs."""
    from ioc.log.reader import LogReader
    from ioc.log.show import lines
    from ioc.model import SeriesAdded

    reader = LogReader(_log_folder(file, data))
    names = {}
    if rows:
        added = (record.body for record in reader.read(0) if isinstance(record.body, SeriesAdded))
        names = {number: series_id for body in added for number, series_id in body.items}
    begin = first if first > 0 else max(1, reader.last_number + 1 + first)
    for line in lines(
        reader, begin, last if last is not None else reader.last_number, rows=rows, names=names
    ):
        out.print(line, highlight=False, markup=False, soft_wrap=True)


@log_app.command("verify")
@_refusing
def log_verify(file: ConfigOption = None, data: DataOption = None) -> None:
    """Kiểm tra toàn bộ nhật ký / Verify every record's sum, the unbroken numbers and the journal's hash chain."""
    from ioc.log import verify
    from ioc.log.reader import LogReader

    reader = LogReader(_log_folder(file, data))
    verify.unbroken(reader)
    bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=err)
    with bar:
        task = bar.add_task("", total=reader.last_number)
        for number in verify.contents(reader):
            bar.update(task, completed=number)
    out.print(
        f"Nguyên vẹn / Sound: {reader.last_number} records, {reader.last_output_seq} transitions",
        highlight=False,
    )


def _log_folder(file: Path | None, data: Path | None) -> Path:
    folder = _settings(file, data).data / "log"
    if not any(folder.glob("*.sqlite")):
        raise LogError(f"không có nhật ký / there is no log in {folder}; name the data folder with --data")
    return folder


def _version(show: bool) -> None:
    if show:
        out.print(f"ioc {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Phiên bản / Version.")
    ] = False,
) -> None:
    """Giám sát luồng sự kiện của IOC / Event-stream monitor of an Intelligent Operations Centre."""


def main() -> None:
    """The entry point."""
    app()
