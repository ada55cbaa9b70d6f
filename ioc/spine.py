"""The order of work, always: gather → write → feed → release. Owns the log, the clock and the pipeline while live.

Nothing is fed before its record is durable; acknowledgements, answers and deltas leave after it was fed. As soon as
one record is durable the next takes all that has gathered meanwhile. If a write fails the state is untouched,
nothing is acknowledged, commands are answered, and what was gathered waits for the next try.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import structlog

from ioc.clock import REFUSED, SourceClock, SystemClock
from ioc.errors import LogWriteFailed
from ioc.ingest.order import Judgement
from ioc.log import checkpoint
from ioc.log.sqlite import SqliteLog
from ioc.model import (
    COMMAND_TYPES,
    Batch,
    Body,
    Command,
    Event,
    Input,
    Outcome,
    PackLoaded,
    Reason,
    Rejected,
    SeriesAdded,
    SourceState,
    SystemFact,
    Tick,
    Transition,
)
from ioc.model.origin import joined
from ioc.pipeline import Pipeline

RETRY_S = 1.0
"""Between tries while the log cannot be written."""
INLINE_ROWS_MAX = 2_000
"""Larger commits run beside the loop, which meanwhile reads what comes next."""
QUICK_COMMIT_S = 0.002
"""A disk slower than this on average never holds up the loop."""
COMMITS_REMEMBERED = 16
CROWDED_PART = 0.8
ROW_BYTES = 64
EVENT_ROWS = 128
"""What an event counts for in the queue: the memory of a large one."""
OUTPUTS_WAIT_S = 0.05
"""How long transitions wait for a record to be written with."""
GROUP_ROWS_MAX = 50_000
"""Rows in one commit; more waits for the next, so that a storm does not make one commit of seconds."""
AUTO_SERIES_MAX = 20_000
"""No series registers itself beyond this number: somebody who makes up names must not fill the centre."""
CLOCK_STEP_SHOWN_US = 600 * 1_000_000
"""How long the alarm on a stepped clock keeps its condition."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Item:
    """Bodies that become durable together."""

    bodies: Sequence[Body]
    rows: int
    origin: str
    release: Callable[[], None] | None
    answer: asyncio.Future[Outcome] | None
    blobs: dict[str, bytes]


def _wall_us() -> int:
    return time.time_ns() // 1_000


def _mono_us() -> int:
    # BOOTTIME goes on while the machine sleeps; MONOTONIC stands still and would leave `now` behind for days.
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1_000


class Spine:
    """Takes bodies from the shells and gives outcomes to the listeners, in the order of the log."""

    def __init__(
        self,
        store: SqliteLog,
        pipeline: Pipeline,
        pending: Sequence[Transition] = (),
        derived: Sequence[Batch] = (),
        *,
        source_clock: bool,
        queue_rows_max: int,
        checkpoint_records: int,
        wall_us: Callable[[], int] = _wall_us,
        mono_us: Callable[[], int] = _mono_us,
    ) -> None:
        self.store = store
        self.pipeline = pipeline
        self.listeners: list[Callable[[Outcome], None]] = []
        self.published: list[Callable[[], None]] = []
        """Called after each commit's outcomes have been given, so that listeners may join what they send."""
        self.writable = True
        self.trouble = ""
        self.shed: dict[str, int] = {}
        """By source: readings of QoS 0 that found the queue full."""
        self.taken = 0
        """Readings fed since the start."""
        self._wall_us, self._mono_us = wall_us, mono_us
        self._clock = SystemClock(wall_us(), mono_us(), pipeline.now_us)
        self._source_clock = SourceClock(pipeline.now_us) if source_clock else None
        self._items: deque[_Item] = deque()
        self._rows = 0
        self._rows_max = queue_rows_max
        self._pending: list[Transition] = list(pending)
        """Transitions that go into `output` with the next commit."""
        self._when_idle: list[Callable[[], None]] = []
        self._wake = asyncio.Event()
        self._stopping = False
        self._commit_s = 0.0
        """How long a commit takes, averaged over the last ones."""
        self._failed = False
        """A stage raised: what is in memory may be half of something, and only the log tells the truth."""
        self._writer = ThreadPoolExecutor(1, "log-writer")
        self._checkpointer = ThreadPoolExecutor(1, "checkpoint")
        self._checkpoint_records = checkpoint_records
        self._checkpoint_at = pipeline.last_number
        self._checkpoint_task: asyncio.Future[None] | None = None
        self._checkpoint_held: tuple[int, dict[str, Any]] | None = None
        """A copied state whose last transitions are not durable yet."""
        self._next_series = 1 + max(pipeline.numbers.values(), default=-1)
        self._registering: dict[str, int] = {}
        self._step_shown_until_us = 0
        for batch in derived:
            self.offer(batch)
        if ("clock_step", "clock") in pipeline.facts:
            self._step_shown_until_us = pipeline.now_us + CLOCK_STEP_SHOWN_US

    def now_us(self) -> int:
        """The core's time; with the samples' own clock the highest sample time so far."""
        if self._source_clock is not None:
            return self._source_clock.now_us
        return self._clock.now(self._wall_us(), self._mono_us())

    def received_us(self) -> int:
        """The wall clock, for stamping what is received."""
        return self._wall_us()

    @property
    def full(self) -> bool:
        """Whether sources should wait."""
        return self._rows >= self._rows_max or not self.writable

    @property
    def crowded(self) -> bool:
        """Whether the queue is nearly full: who can wait should be told so now."""
        return self._rows >= self._rows_max * CROWDED_PART or not self.writable

    @property
    def queued_rows(self) -> int:
        """Readings that wait for the log."""
        return self._rows

    def offer(
        self,
        body: Body,
        origin: str = "",
        release: Callable[[], None] | None = None,
        *,
        blobs: dict[str, bytes] | None = None,
        may_shed: bool = False,
    ) -> None:
        """Queue something for the log; `release` is called once it was durable and fed."""
        self._put(_Item((body,), _rows_of(body), origin, release, None, blobs or {}), may_shed)

    def offer_all(
        self,
        bodies: Sequence[Body],
        origin: str = "",
        release: Callable[[], None] | None = None,
        *,
        may_shed: bool = False,
    ) -> None:
        """Queue bodies that become durable in one commit, or none of them; at least one."""
        self._put(_Item(bodies, sum(map(_rows_of, bodies)), origin, release, None, {}), may_shed)

    async def submit(self, command: Command) -> Outcome:
        """Log and feed one command. Raises LogWriteFailed if the log cannot take it; then it has not happened."""
        if not self.writable:
            raise LogWriteFailed(self.trouble)
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._put(_Item((command,), 1, "", None, answer, {}), may_shed=False)
        return await answer

    def register(self, series_id: str) -> int | None:
        """A number for a series that nobody announced, while there is room; its record goes before its first batch."""
        number = self.pipeline.numbers.get(series_id, self._registering.get(series_id))
        if number is None and self._next_series < AUTO_SERIES_MAX:
            (number,) = self.announce([series_id], auto=True)
        return number

    def announce(self, series_ids: Sequence[str], *, auto: bool = False) -> list[int]:
        """Numbers for new series, and the record that gives them; those that are on their way already keep theirs."""
        fresh = [i for i in series_ids if i not in self.pipeline.numbers and i not in self._registering]
        for series_id in fresh:
            self._registering[series_id] = self._next_series
            self._next_series += 1
        if fresh:
            self.offer(SeriesAdded(tuple((self._registering[i], i) for i in fresh), auto))
        return [self.pipeline.numbers.get(i, self._registering.get(i, -1)) for i in series_ids]

    def when_idle(self, call: Callable[[], None]) -> None:
        """Call once everything offered so far has been fed and its transitions are durable."""
        self._when_idle.append(call)
        self._wake.set()

    def _put(self, item: _Item, may_shed: bool) -> None:
        if may_shed and self._rows + item.rows > self._rows_max:
            for body in item.bodies:
                if isinstance(body, Batch | Event | Rejected):
                    self.shed[body.source] = self.shed.get(body.source, 0) + _rows_of(body)
            return
        self._items.append(item)
        self._rows += item.rows
        self._wake.set()

    async def run(self) -> None:
        """Work until `stop`, then finish what is queued. What it raises is a bug; the state is no longer to be kept."""
        try:
            await self._run()
        except BaseException:
            self._failed = True
            raise

    async def _run(self) -> None:
        while True:
            if not self._items and not self._pending and not self.writable and not self._stopping:
                # Nothing waits for the log, so nothing else would find out that it can be written again.
                self.offer(Tick())
            if self._pending and not self._items and not self._when_idle and not self._stopping:
                # They go with the next record, if one comes soon; a crash before that only derives them again.
                self._wake.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(OUTPUTS_WAIT_S):
                        await self._wake.wait()
            if not self._items and not self._pending:
                idle, self._when_idle = self._when_idle, []
                for call in idle:
                    call()
                if self._stopping:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            try:
                await self._turn()
            except LogWriteFailed as error:
                self._refuse_commands(str(error))
                if self._stopping:
                    return
                await asyncio.sleep(RETRY_S)

    def tick(self) -> None:
        """Called each second: logs a Tick if a deadline is due, and what the clock did."""
        if self._source_clock is not None or not self.writable:
            return
        now_us = self.now_us()
        step_us = self._clock.take_step()
        if step_us:
            log.warning("wall clock stepped", seconds=step_us / 1e6)
            self._step_shown_until_us = now_us + CLOCK_STEP_SHOWN_US
            self.offer(SystemFact("clock_step", "clock", True, step_us / 1e6, f"{step_us / 1e6:+.0f} s"))
        elif self._step_shown_until_us and now_us > self._step_shown_until_us:
            self._step_shown_until_us = 0
            self.offer(SystemFact("clock_step", "clock", False, 0.0))
        if self.pipeline.next_deadline_us(now_us) <= now_us:
            self.offer(Tick())

    async def stop(self) -> None:
        """Take nothing more, write what is queued and a checkpoint. The runner of `run` must be awaited after."""
        self._stopping = True
        self._wake.set()

    async def close(self) -> None:
        """After `run` has ended: a last checkpoint, and the log closed."""
        if self._checkpoint_task is not None:
            await asyncio.wait([self._checkpoint_task])
        if self.writable and not self._failed and self.pipeline.last_number > self._checkpoint_at:
            self.begin_checkpoint()
            assert self._checkpoint_task is not None
            await asyncio.wait([self._checkpoint_task])
        await asyncio.get_running_loop().run_in_executor(self._writer, self.store.close)
        self._writer.shutdown()
        self._checkpointer.shutdown()

    async def _turn(self) -> None:
        """One commit: gather, write, feed, release."""
        items, bodies = self._gather()
        inputs, blobs = self._inputs(items, bodies)
        outputs, self._pending = self._pending, []
        try:
            await self._commit(inputs, outputs, blobs, sum(item.rows for item in items))
        except LogWriteFailed as error:
            self._pending = outputs + self._pending
            self._items.extendleft(reversed(items))
            if self._source_clock is not None:
                # The samples have moved it already; next time they move it again, row by row.
                self._source_clock = SourceClock(self.pipeline.now_us)
            if self.writable:
                log.error("the log cannot be written", reason=str(error))
            self.writable, self.trouble = False, str(error)
            raise
        if not self.writable:
            log.info("the log can be written again")
        self.writable, self.trouble = True, ""
        self._write_held_checkpoint()
        outcomes = [self._feed(record) for record in inputs]
        self._release(items, outcomes)
        for call in self.published:
            _call(call)
        if self.pipeline.last_number - self._checkpoint_at >= self._checkpoint_records:
            self.begin_checkpoint()

    async def _commit(
        self, inputs: list[Input], outputs: list[Transition], blobs: dict[str, bytes], rows: int
    ) -> None:
        """Small ones at once, since handing over to a thread costs more than a quick disk; the others beside the loop."""
        begun = time.perf_counter()
        if rows <= INLINE_ROWS_MAX and self._commit_s < QUICK_COMMIT_S:
            self.store.commit(inputs, outputs, blobs)
        else:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._writer, self.store.commit, inputs, outputs, blobs)
        self._commit_s += (time.perf_counter() - begun - self._commit_s) / COMMITS_REMEMBERED

    def _gather(self) -> tuple[list[_Item], list[tuple[Body, str]]]:
        """What goes into the next commit; neighbouring batches of one source become one.

        A pack or a new series changes how later rows are judged, so it goes alone.
        """
        items: list[_Item] = []
        bodies: list[tuple[Body, str]] = []
        run: list[Batch] = []
        run_origin = ""
        rows = 0

        def close_run() -> None:
            if run:
                bodies.append((Batch.concat(run), run_origin))
                run.clear()

        while self._items and rows < GROUP_ROWS_MAX:
            item = self._items[0]
            alone = isinstance(item.bodies[0], PackLoaded | SeriesAdded)
            if alone and items:
                break
            items.append(self._items.popleft())
            rows += item.rows
            for body in item.bodies:
                if not isinstance(body, Batch):
                    close_run()
                    bodies.append((body, item.origin))
                    continue
                both = joined(run_origin, item.origin) if run and run[0].source == body.source else None
                if both is None:
                    close_run()
                run.append(body)
                run_origin = item.origin if both is None else both
            if alone:
                break
        close_run()
        return items, bodies

    def _inputs(
        self, items: Sequence[_Item], bodies: Sequence[tuple[Body, str]]
    ) -> tuple[list[Input], dict[str, bytes]]:
        """Numbered records, batches judged."""
        pipeline = self.pipeline
        number = pipeline.last_number
        judgement = pipeline.judgement()
        inputs: list[Input] = []
        if bodies and not self.writable:
            # Sources were not read while the log could not be written: their silence begins anew, with its grace.
            bodies = [*((state, "") for state in self._not_read()), *bodies]
        elif bodies and self._source_clock is None:
            now_us = max(self.now_us(), pipeline.now_us)
            if pipeline.next_deadline_us(now_us) <= now_us and not isinstance(bodies[0][0], Tick):
                number += 1
                inputs.append(Input(number, now_us, Tick()))
        for body, origin in bodies:
            now_us = max(self.now_us(), pipeline.now_us)
            if not isinstance(body, Batch):
                number += 1
                inputs.append(Input(number, now_us, body, origin))
            elif self._source_clock is None:
                number += 1
                inputs.append(Input(number, now_us, judgement.judge(body, now_us), origin))
            else:
                for part in _by_source_clock(self._source_clock, body, judgement, pipeline.numbers):
                    number += 1
                    inputs.append(Input(number, self._source_clock.now_us, part, origin))
        blobs = {key: value for item in items for key, value in item.blobs.items()}
        return inputs, blobs

    def _not_read(self) -> Iterator[SourceState]:
        """Every connected source, gone and back."""
        for state in self.pipeline.sources.values():
            if state.connected:
                yield replace(state, connected=False, detail="not read while the log could not be written")
                yield replace(state, detail="read again")

    def _feed(self, record: Input) -> Outcome:
        outcome = self.pipeline.feed(record)
        self._pending.extend(outcome.transitions)
        if isinstance(record.body, Batch):
            self.taken += len(record.body)
        if isinstance(record.body, SeriesAdded):
            for _, series_id in record.body.items:
                self._registering.pop(series_id, None)
        for batch in outcome.derived:
            self.offer(batch)
        for listener in self.listeners:
            listener(outcome)
        return outcome

    def _release(self, items: Sequence[_Item], outcomes: Sequence[Outcome]) -> None:
        answers = iter([o for o in outcomes if isinstance(o.input.body, COMMAND_TYPES)])
        for item in items:
            self._rows -= item.rows
            if item.answer is not None:
                outcome = next(answers)
                if not item.answer.done():
                    item.answer.set_result(outcome)
            if item.release is not None:
                _call(item.release)

    def _refuse_commands(self, reason: str) -> None:
        """Nobody wants a command to happen minutes after they were told that it failed."""
        kept: deque[_Item] = deque()
        for item in self._items:
            if item.answer is None:
                kept.append(item)
                continue
            self._rows -= 1
            if not item.answer.done():
                item.answer.set_exception(LogWriteFailed(reason))
        self._items = kept

    def begin_checkpoint(self) -> None:
        """Copy the state now and have it written, unless one is under way.

        The writing begins when the last transitions of that state are in `output`: the replay starts after the
        checkpoint and would not give them again.
        """
        busy = self._checkpoint_task is not None and not self._checkpoint_task.done()
        if busy or self._checkpoint_held is not None:
            return
        self._checkpoint_at = self.pipeline.last_number
        self._checkpoint_held = (self._checkpoint_at, self.pipeline.state())
        if not self._pending:
            self._write_held_checkpoint()

    def _write_held_checkpoint(self) -> None:
        if self._checkpoint_held is None:
            return
        number, state = self._checkpoint_held
        self._checkpoint_held = None
        folder = self.store.folder

        def write() -> None:
            try:
                checkpoint.write(folder, number, state)
            except OSError as error:
                log.warning("checkpoint not written", number=number, reason=str(error))

        self._checkpoint_task = asyncio.get_running_loop().run_in_executor(self._checkpointer, write)


def _by_source_clock(
    clock: SourceClock, raw: Batch, judgement: Judgement, numbers: Mapping[str, int]
) -> list[Batch | Rejected]:
    """Receive times from the samples' clock; rows too far ahead become Rejected."""
    received_us = np.array(clock.admit(raw.event_us.tolist()), np.int64)
    refused = received_us == REFUSED
    out: list[Batch | Rejected] = []
    for row in np.flatnonzero(refused).tolist():
        series = next((i for i, n in numbers.items() if n == raw.series[row]), "?")
        stamp = int(raw.event_us[row])
        if stamp:
            reason, payload = (
                Reason.TOO_FAR_AHEAD,
                f'{{"t": {stamp // 1_000}, "v": {float(raw.value[row])!r}}}',
            )
            detail = f"{stamp / 1e6:.0f} s is more than 7 days ahead of the samples before it"
        else:
            reason, payload = Reason.BAD_TIME, f"{float(raw.value[row])!r}"
            detail = "it bears no time, and with clock = source the samples before it have given none"
        topic, kept = f"ioc/v1/{series}", payload.encode()
        out.append(Rejected(raw.source, topic, reason, detail, clock.now_us, kept, len(kept)))
    if not refused.all():
        out.append(judgement.judge(replace(raw, received_us=received_us).take(~refused), None))
    return out


def _call(call: Callable[[], None]) -> None:
    """A fault in what a feed or a screen does with our word must not end the centre."""
    try:
        call()
    except Exception:
        log.exception("what follows a record failed")


def _rows_of(body: Body) -> int:
    """What a body counts for in the queue, by its memory: a quarantined payload for as many rows as it is long."""
    if isinstance(body, Batch):
        return len(body)
    if isinstance(body, Event):
        return EVENT_ROWS
    return 1 + len(body.payload) // ROW_BYTES if isinstance(body, Rejected) else 1
