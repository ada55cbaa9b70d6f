"""One running instance: builds the parts, wires them and ticks. Decides nothing that the pure stages decide."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import secrets
import signal
import socket
import sys
from collections.abc import Generator
from dataclasses import replace
from functools import partial
from pathlib import Path

import structlog
import uvicorn

from ioc import __version__, child, control, feeds
from ioc.accounts import Accounts
from ioc.config import Config
from ioc.errors import ConfigError, LogError
from ioc.health import DAY_US, Disk, Figures, Metrics, read_projection
from ioc.ingest.http import HttpSource
from ioc.ingest.source import Source
from ioc.log import checkpoint
from ioc.log.sqlite import SqliteLog
from ioc.model import (
    PAYLOAD_KEPT_BYTES,
    Command,
    Outcome,
    PackLoaded,
    SeriesAdded,
    SourceState,
    SystemFact,
)
from ioc.presentation import Presenter
from ioc.recovery import recover
from ioc.reinject import Reinjector
from ioc.rulebook import Rulebook
from ioc.spine import Spine
from ioc.storage.history import History
from ioc.storage.status import ProjectionStatus
from ioc.supervisor import Supervisor
from ioc.trials import Trials
from ioc.wall.given import SourceStatus, Status
from ioc.wall.hub import Hub
from ioc.wall.listener import Listener
from ioc.wall.server import create_app
from ioc.wall.services import Services
from ioc.wall.view import View
from ioc.wall.wire import HistoryItem, LogItem
from ioc.why import Why

REMEMBERED_RECORDS = 20_000
"""How far back the log is read at start to fill the trends."""
REMEMBERED_TRANSITIONS = 10_000
STATIC = Path(__file__).parent / "wall" / "static"

log = structlog.get_logger()


class _Server(uvicorn.Server):
    """Signals are the application's business, not the web server's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Take no signal."""
        yield


class App:
    """`async with App(config) as app: await app.wait()`."""

    def __init__(self, config: Config, *, signals: bool = True) -> None:
        self.config = config
        self._signals = signals
        self._started = False
        self.spine: Spine
        self.port = 0
        self._parts = Supervisor()
        self._stop = asyncio.Event()
        self._reloading: asyncio.Task[str] | None = None
        """Held, since a task that nobody holds may vanish."""
        self._projection = ProjectionStatus("down", 0, 0, "", 0)
        self._seconds = 0

    # Start

    async def __aenter__(self) -> App:
        try:
            await self._start()
        except BaseException:
            await self._shut()
            raise
        return self

    async def _start(self) -> None:
        config = self.config
        if self._signals:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self._stop.set)
            loop.add_signal_handler(signal.SIGHUP, self._reload_soon)
        config.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = config.data / "log"
        store = await asyncio.to_thread(SqliteLog.open, folder, segment_bytes=config.log.segment_bytes)
        recovered = await asyncio.to_thread(recover, store)
        self._pipeline = pipeline = recovered.pipeline
        clock = pipeline.pack.settings.clock if pipeline.pack else config.verdict.clock
        if clock != config.verdict.clock:
            await asyncio.to_thread(store.close)
            raise ConfigError(
                f"verdict.clock: this log was begun with clock = {clock!r}; a replay is an instance of its own, "
                "with a data folder of its own"
            )
        if config.verdict.clock == "source" and pipeline.now_us and not pipeline.begun:
            await asyncio.to_thread(store.close)
            raise ConfigError(
                "verdict.clock: something was written into this log under the machine's own time before the first "
                "sample; begin with a new data folder (and give `ioc user` the settings of this instance)"
            )
        log.info(
            "log opened", records=store.last_number, from_checkpoint=recovered.from_checkpoint,
            replayed=recovered.replayed,
        )  # fmt: skip
        self.spine = Spine(
            store,
            pipeline,
            recovered.pending,
            recovered.derived,
            source_clock=config.verdict.clock == "source",
            queue_rows_max=config.queue_rows_max,
            checkpoint_records=config.log.checkpoint_records,
        )
        self._disk = Disk(folder, config.log.disk_low_bytes)
        self._disk.low = ("disk_low", "disk") in pipeline.facts
        self._spine_task = asyncio.create_task(self.spine.run(), name="spine")
        self._spine_task.add_done_callback(self._spine_ended)
        self.rulebook = Rulebook(config, self.spine)
        await self._load_pack()
        self._build_screens(store)
        self.spine.listeners.append(self._listen)
        self.spine.published.append(self._published)
        # Whatever feed it was of: what that took, the quarantine gives back.
        of_all = feeds.decoder(config, self.spine, PAYLOAD_KEPT_BYTES)
        self._reinjector = Reinjector(store, self.spine, of_all)
        self._reinjector.begin()
        self._sources = feeds.sources(config, pipeline, self.spine)
        await self._open_web()
        self._control = await control.serve(config.data, self.spine.submit)
        for source in self._sources:
            self._parts.start(source.name, source.run, partial(self._source_failed, source))
        self._parts.start("ticker", self._tick_forever)
        if config.watch_pack:
            self._parts.start("pack-watch", self.rulebook.watch)
        if self._dsn:
            self._parts.start("projection", self._project)
        # What was built so far stays; a full collection would look through all of it again, and hold up an alarm.
        gc.collect()
        gc.freeze()
        self._started = True

    @property
    def _dsn(self) -> str:
        return self.config.database.dsn.get_secret_value()

    async def _load_pack(self) -> None:
        """What is on disk becomes a record, if it is new and sound; what the log holds goes on otherwise."""
        for source in self._pipeline.sources.values():
            if source.connected:
                down = SourceState(source.source, False, source.generation, "the monitor was restarted")
                self.spine.offer(down)
        await self.rulebook.begin()
        await self._settled()

    async def _settled(self) -> None:
        """Until everything offered so far has been fed, or the log turns out not to take it."""
        idle = asyncio.Event()
        self.spine.when_idle(idle.set)
        while not idle.is_set():
            if self._spine_task.done():
                self._spine_task.result()
            if not self.spine.writable:
                # The room must see it rather than wait: with a pack in force everything else can start.
                if self._pipeline.pack is None:
                    raise LogError(f"the log cannot be written: {self.spine.trouble}")
                return
            await asyncio.sleep(0.01)

    def _reload_soon(self) -> None:
        """SIGHUP."""
        if self._started:
            self._reloading = asyncio.create_task(self.rulebook.reload(), name="reload")

    def _build_screens(self, store: SqliteLog) -> None:
        pipeline = self._pipeline
        assert pipeline.pack is not None
        self._presenter = presenter = Presenter(pipeline.pack, pipeline.numbers)
        self.view = View(presenter, secrets.token_hex(8), pipeline.book.alarms)
        journal = list(store.outputs(max(0, store.last_output_seq - REMEMBERED_TRANSITIONS)))
        inputs = list(store.read(max(store.first_number - 1, store.last_number - REMEMBERED_RECORDS)))
        self.view.rebuild(secrets.token_hex(8), presenter, pipeline.book.alarms, journal, inputs)
        self.hub = Hub(self.view)

    async def _open_web(self) -> None:
        config = self.config
        self._history = History(self._dsn) if self._dsn else None
        self._why = Why(
            self._pipeline, self.view, lambda: self._presenter, self.spine.store.folder, self._history
        )
        metrics = Metrics(self._figures)
        services = Services(
            view=self.view,
            hub=self.hub,
            accounts=self._pipeline.accounts,
            alarm=self._pipeline.book.remembered,
            submit=self.spine.submit,
            status=self._status,
            now_us=self.spine.now_us,
            ready=lambda: self.spine.writable,
            version=__version__,
            session_key=_session_key(config.data),
            metrics=metrics.registry,
            reinject=self._reinjector.reinject,
            rulebook=self.rulebook,
            trials=Trials(self._pipeline, lambda: self._presenter, self.spine.now_us),
            why=self._why.explain,
            static=STATIC,
            history=self._history,
            pack_folder=config.pack,
            origins=frozenset([config.web.public_url]) if config.web.public_url else frozenset(),
        )
        listener = _listen(config.web.host, config.web.port)
        self.port = listener.getsockname()[1]
        self._server = _Server(
            uvicorn.Config(
                create_app(services, [s.router for s in self._sources if isinstance(s, HttpSource)]),
                http=Listener,
                ws="websockets-sansio",
                ws_per_message_deflate=False,
                ws_max_size=65_536,
                log_level="warning",
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=3,
            )
        )
        self._web_task = asyncio.create_task(self._server.serve(sockets=[listener]), name="web")
        while not self._server.started:
            if self._web_task.done():
                self._web_task.result()
                raise ConfigError("the web server ended at once")
            await asyncio.sleep(0.005)

    @property
    def accounts(self) -> Accounts:
        """Who can come in, as it stands."""
        return self._pipeline.accounts

    # While running

    def _listen(self, outcome: Outcome) -> None:
        if isinstance(outcome.input.body, PackLoaded | SeriesAdded):
            assert self._pipeline.pack is not None
            self._presenter = Presenter(self._pipeline.pack, self._pipeline.numbers)
            self.view.load(self._presenter)
        self.view.feed(outcome)

    def _published(self) -> None:
        self.hub.publish()
        for source in self._sources:
            source.resume()

    async def _tick_forever(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self._tick()
            due = max(due + 1.0, loop.time())
            await asyncio.sleep(due - loop.time())

    def _tick(self) -> None:
        spine = self.spine
        spine.tick()
        if self._seconds % 10 == 0:
            self._look_at_disk()
        if self._dsn:
            self._projection = read_projection(self._projection_status, spine.received_us())
        if self._seconds % 60 == 30:
            self._retire()
        self._seconds += 1
        stale, bad = self._pipeline.engine.series_state()
        self.view.refresh(stale, bad, spine.now_us(), self._status())
        self._published()

    def _look_at_disk(self) -> None:
        try:
            changed = self._disk.look(self.spine.received_us())
        except OSError as error:
            log.warning("the log's disk cannot be measured", reason=str(error))
            return
        if changed and self.spine.writable:
            free_mb = self._disk.free_bytes / 1e6
            detail = f"{free_mb:.0f} MB left"
            self.spine.offer(SystemFact("disk_low", "disk", self._disk.low, free_mb, detail))

    def _retire(self) -> None:
        """Delete segments that are past retention and that nothing needs any more."""
        projected = self._projection.applied if self._dsn else self._pipeline.last_number
        older_than_us = self.spine.now_us() - int(self.config.log.retention_days * DAY_US)
        kept = [number for number, _ in checkpoint.latest(self.spine.store.folder)]
        # The older checkpoint must stay of use: the newer one may turn out to be damaged.
        behind = kept[-1] if len(kept) == checkpoint.KEPT else 0
        for path in self.spine.store.retire(projected, behind, older_than_us, None):
            log.info("segment past retention deleted", segment=path.name)

    def _status(self) -> Status:
        spine = self.spine
        detail = spine.trouble or ("low disk" if self._disk.low else "")
        return Status(
            log=LogItem(self._pipeline.last_number, spine.writable, self._disk.days(), detail),
            history=self._history_item(),
            mqtt="ok" if any(s.connected for s in self._sources if s.kind == "mqtt") else "down",
            sources={s.name: self._source_status(s) for s in self._sources},
        )

    def _source_status(self, source: Source) -> SourceStatus:
        state = "down" if not source.connected else "waiting" if self.spine.full else "up"
        shed = self.spine.shed.get(source.name, 0)
        return SourceStatus(source.kind, shed, source.last_error, state, source.lag())

    def _history_item(self) -> HistoryItem:
        if not self._dsn:
            return HistoryItem()
        said = self._projection
        lag = max(0, self._pipeline.last_number - said.applied)
        state = "lagging" if said.state == "ok" and lag > 1_000 else said.state
        lag_s = (
            max(0.0, (self.spine.received_us() - said.at_us) / 1e6)
            if said.state == "down" and said.at_us
            else 0.0
        )
        return HistoryItem(state, lag, round(lag_s, 1), said.detail)

    def _figures(self) -> Figures:
        spine, pipeline = self.spine, self._pipeline
        return Figures(
            log_number=pipeline.last_number,
            log_writable=spine.writable,
            queued_rows=spine.queued_rows,
            shed=sum(spine.shed.values()),
            readings=spine.taken,
            rejected=pipeline.rejected,
            transitions=pipeline.emitted,
            open_alarms=len(pipeline.book.alarms),
            projection_applied=self._projection.applied if self._dsn else pipeline.last_number,
            disk_free_bytes=self._disk.free_bytes,
            sources={s.name: (s.connected, s.lag()) for s in self._sources},
        )

    # The projection runs as a process of its own, so that the engine pays nothing for it.

    @property
    def _projection_status(self) -> Path:
        return self.config.data / "projection.json"

    async def _project(self) -> None:
        self._projection_status.unlink(missing_ok=True)
        database = self.config.database
        keep = ["--keep-days", str(database.keep_days)] if database.keep_days else []
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ioc.storage", "--log", str(self.config.data / "log"),
            "--status", str(self._projection_status), "--parent", str(os.getpid()), *keep,
            env={**os.environ, "IOC_DATABASE__DSN": self._dsn},
            stdin=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            code = await process.wait()
            log.warning("the projection ended", code=code)
        finally:
            await child.end(process)

    def _source_failed(self, source: Source, error: BaseException | None) -> None:
        """A fault of ours in one feed: whatever it left standing, nothing comes from it until it runs again."""
        known = self._pipeline.sources.get(source.name)
        if known is not None and known.connected:
            self.spine.offer(replace(known, connected=False, detail=repr(error)[:200]))

    def _spine_ended(self, task: asyncio.Task[None]) -> None:
        """Without the spine nothing is taken: better to end, and be started again from the log, than to look alive."""
        if not task.cancelled() and task.exception() is not None:
            log.critical("the spine failed", exc_info=task.exception())
        self._stop.set()

    # End

    async def wait(self) -> None:
        """Until a signal, `stop`, or the failure of what nothing works without."""
        await self._stop.wait()
        if self._spine_task.done():
            self._spine_task.result()

    def stop(self) -> None:
        """Let `wait` return."""
        self._stop.set()

    async def submit(self, command: Command) -> Outcome:
        """Log and feed one command."""
        return await self.spine.submit(command)

    async def __aexit__(self, *_: object) -> None:
        await self._shut()

    async def _shut(self) -> None:
        """Sources first, so that everything taken is still written; the log last."""
        await self._parts.stop()
        if hasattr(self, "_control"):
            self._control.close()
            (self.config.data / control.NAME).unlink(missing_ok=True)
        if hasattr(self, "_web_task"):
            self._server.should_exit = True
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self._web_task, 10.0)
        if hasattr(self, "_why"):
            self._why.close()
        if getattr(self, "_history", None) is not None:
            assert self._history is not None
            await self._history.close()
        if hasattr(self, "_spine_task"):
            await self.spine.stop()
            await asyncio.wait([self._spine_task])
            await self.spine.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server(
            (host, port), backlog=512, family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
    except OSError as error:
        raise ConfigError(f"web.port: {host}:{port} cannot be opened: {error.strerror}") from error


def _session_key(data: Path) -> bytes:
    """Signs sessions; kept in a file, so that a restart logs nobody out."""
    path = data / "session.key"
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        key = b""
    if len(key) != 32:
        key = secrets.token_bytes(32)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
    return key
