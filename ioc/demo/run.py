"""`ioc demo`: everything on one machine from one command, told in a few lines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import webbrowser
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from ioc import child, logs
from ioc.app import App
from ioc.config import PACKS, Config, Database, Mqtt, Web
from ioc.credentials import hash_password, new_password, new_token, token_digest
from ioc.demo.broker import DemoBroker, PortBusy
from ioc.demo.postgres import DemoPostgres
from ioc.errors import ConfigError
from ioc.model import AddToken, Command, RevokeToken, Role, SetUser, Verdict
from ioc.pack import Pack, Settings

WEB_PORT = 8080
MQTT_PORT = 1883
PORTS_TRIED = 50
USER = "truc.ban"
TOKEN = "demo"
ADDRESS_FILE = "demo.json"
"""Tells `ioc send` where the demo's broker listens."""

_TEXT = {
    "vi": {
        "wall": "Màn hình",
        "console": "Trực ban",
        "mqtt": "MQTT",
        "try": "thử",
        "data": "Dữ liệu",
        "discard": "--ephemeral để không giữ lại",
        "temporary": "tạm thời, xóa khi dừng",
        "stop": "Ctrl-C để dừng",
        "busy": "Cổng {busy} đang bận, dùng cổng {port}.",
        "database": "Khởi động cơ sở dữ liệu …",
        "simulated": "MÔ PHỎNG: mọi số liệu đều do máy tạo ra.",
        "stopping": "Đang dừng …",
        "stopped": "Đã dừng.",
    },
    "en": {
        "wall": "Wall",
        "console": "Console",
        "mqtt": "MQTT",
        "try": "try",
        "data": "Data",
        "discard": "--ephemeral to discard",
        "temporary": "temporary, deleted at the end",
        "stop": "Ctrl-C to stop",
        "busy": "Port {busy} is in use, taking {port}.",
        "database": "Starting the database …",
        "simulated": "SIMULATED: every figure is made by this machine.",
        "stopping": "Stopping …",
        "stopped": "Stopped.",
    },
}


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line said."""

    data: Path | None = None
    ephemeral: bool = False
    port: int = WEB_PORT
    mqtt_url: str = ""
    pack: Path = PACKS / "lao-cai"
    open_browser: bool = True
    seed: int = 1
    speed: float = 1.0
    lang: str = "vi"
    simulators: bool = True


def default_data() -> Path:
    """Where the demo keeps its data: for root outside any home, since PostgreSQL runs as another user."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/tmp/ioc-demo")
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "ioc-demo"


async def run(options: Options, say: Callable[[str], None]) -> None:
    """Until Ctrl-C. Raises IocError with a sentence when something cannot be had."""
    text = _TEXT[options.lang]
    if not 0 < options.port < 65536:
        raise ConfigError(f"--port must be 1 to 65535, not {options.port}")
    Pack.read(options.pack, Settings(simulated=True))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        data = _data_folder(options, stack)
        logs.configure(data / "demo.log")
        port = _free_port(options.port, text["busy"], say)
        mqtt_url = options.mqtt_url
        postgres, broker = await asyncio.gather(
            asyncio.to_thread(DemoPostgres.start, data / "postgres", lambda told: say(f"  {told}")),
            _broker(text["busy"], say) if not mqtt_url else _none(),
            return_exceptions=True,
        )
        if isinstance(postgres, DemoPostgres):
            stack.push_async_callback(asyncio.to_thread, postgres.stop)
        if isinstance(broker, DemoBroker):
            stack.push_async_callback(broker.stop)
            mqtt_url = f"mqtt://127.0.0.1:{broker.port}"
        for part in (postgres, broker):
            if isinstance(part, BaseException):
                raise part
        assert isinstance(postgres, DemoPostgres)
        config = _config(options, data, port, mqtt_url, postgres.dsn)
        app = await stack.enter_async_context(App(config, signals=False))
        password, token = await _accounts(app)
        (data / ADDRESS_FILE).write_text(json.dumps({"mqtt_url": mqtt_url, "web": app.port}), "utf-8")
        stack.callback((data / ADDRESS_FILE).unlink, missing_ok=True)
        wall = f"http://127.0.0.1:{app.port}/wall?lang={options.lang}#token={token}"
        for line in _welcome(options, text, data, app.port, mqtt_url, password, wall):
            say(line)
        if options.simulators:
            await stack.enter_async_context(_simulators(options, mqtt_url))
        if options.open_browser and _has_display():
            webbrowser.open(wall)
        waiting = asyncio.create_task(app.wait())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([waiting, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        app.stop()
        say(text["stopping"])
        await waiting
    say(text["stopped"])


def _data_folder(options: Options, stack: contextlib.AsyncExitStack) -> Path:
    if options.ephemeral:
        # Its mode lets the database's own user through; what lies within is private by itself.
        data = Path(tempfile.mkdtemp(prefix="ioc-demo-"))
        data.chmod(0o711)
        stack.callback(shutil.rmtree, data, ignore_errors=True)
        return data
    data = options.data or default_data()
    data.mkdir(parents=True, exist_ok=True)
    data.chmod(0o711)
    return data


def _free_port(wanted: int, text: str, say: Callable[[str], None]) -> int:
    for port in range(wanted, min(wanted + PORTS_TRIED, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port != wanted:
            say("  " + text.format(busy=wanted, port=port))
        return port
    raise ConfigError(f"no free port from {wanted} to {wanted + PORTS_TRIED - 1}")


async def _broker(text: str, say: Callable[[str], None]) -> DemoBroker:
    for port in range(MQTT_PORT, MQTT_PORT + PORTS_TRIED):
        try:
            broker = await DemoBroker.start(port)
        except PortBusy:
            continue
        if port != MQTT_PORT:
            say("  " + text.format(busy=MQTT_PORT, port=port))
        return broker
    raise ConfigError(f"no free port for MQTT from {MQTT_PORT} on")


async def _none() -> None:
    return None


def _config(options: Options, data: Path, port: int, mqtt_url: str, dsn: str) -> Config:
    address, username, password = _split(mqtt_url)
    return Config(
        data=data / "ioc",
        pack=options.pack,
        verdict=Settings(simulated=True),
        mqtt=Mqtt(url=address, username=username, password=SecretStr(password)),
        database=Database(dsn=SecretStr(dsn)),
        web=Web(host="127.0.0.1", port=port),
    )


def _split(url: str) -> tuple[str, str, str]:
    """`mqtt://user:password@host:port` as address, user and password."""
    parts = urlsplit(url)
    host = f"{parts.hostname or ''}:{parts.port}" if parts.port else parts.hostname or ""
    return f"{parts.scheme}://{host}", unquote(parts.username or ""), unquote(parts.password or "")


async def _accounts(app: App) -> tuple[str, str]:
    """A password and a kiosk token made on the spot; those of the last start are no longer good."""
    password, token = new_password(), new_token()
    secret = await asyncio.to_thread(hash_password, password)
    commands: list[Command] = []
    if TOKEN in app.accounts.tokens:
        commands.append(RevokeToken(actor="system", token=TOKEN))
    commands += [
        SetUser(actor="system", user=USER, name="Trực ban", role=Role.ADMIN, secret=secret),
        AddToken(actor="system", token=TOKEN, digest=token_digest(token)),
    ]
    for command in commands:
        outcome = await app.submit(command)
        assert outcome.answer is not None
        if outcome.answer.verdict is not Verdict.DONE:
            raise ConfigError(f"the demo's account could not be made: {outcome.answer.reason}")
    return password, token


@contextlib.asynccontextmanager
async def _simulators(options: Options, mqtt_url: str) -> AsyncIterator[None]:
    process: Process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulators", "--mqtt-url", mqtt_url, "--pack", str(options.pack),
        "--seed", str(options.seed), "--speed", str(options.speed), "--story",
        "--lang", options.lang, "--until-stdin-closes",
        stdin=PIPE, stdout=DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield
    finally:
        await child.end(process)


def _has_display() -> bool:
    if os.environ.get("SSH_CONNECTION") or os.environ.get("CI"):
        return False
    return sys.platform in ("darwin", "win32") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )


def _command() -> str:
    """How this program is called from where the reader stands."""
    if shutil.which("ioc"):
        return "ioc"
    program = Path(sys.argv[0]).absolute()
    return str(program.relative_to(Path.cwd())) if program.is_relative_to(Path.cwd()) else str(program)


def _welcome(
    options: Options, text: dict[str, str], data: Path, port: int, mqtt_url: str, password: str, wall: str
) -> list[str]:
    address = mqtt_url.rsplit("@", 1)[-1].removeprefix("mqtt://")
    kept = text["temporary"] if options.ephemeral else text["discard"]
    send = f"{_command()} send ioc/v1/disaster/lao_cai/water_level 84.2"
    if options.ephemeral or options.data is not None or options.mqtt_url:
        # Only the demo in its usual folder is found by `ioc send` by itself.
        send += f" --mqtt-url mqtt://{address}"
    wide = max(len(text[key]) for key in ("wall", "console", "mqtt", "data")) + 3
    return [
        "",
        f"  {text['wall']:<{wide}}{wall}",
        f"  {text['console']:<{wide}}http://127.0.0.1:{port}/console   ({USER} / {password})",
        f"  {text['mqtt']:<{wide}}{address}   {text['try']}: {send}",
        f"  {text['data']:<{wide}}{data} ({kept})   {text['stop']}",
        f"  {text['simulated']}",
        "",
    ]
