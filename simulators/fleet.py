"""Every simulated series and when it speaks next: told the time, it says what is to be published.

It also hears what is published on its topics. What it did not send itself was sent by hand: for a minute that
series then repeats the hand's value with fresh stamps instead of its own, as a sensor would that really saw it.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from simulators.catalog import Series
from simulators.faults import Broken, Fault
from simulators.noise import key, unit
from simulators.payload import PREFIX, Sample, decode, encode_many
from simulators.scene import Scene
from simulators.storm import Storm
from simulators.story import Story

FIRST_US = 1_000_000
"""Within this time of the start every series has spoken once."""
HOLD_US = 60_000_000
FRESH_US = 60_000_000
"""A hand's value whose stamp is further from now is not repeated; its series only pauses."""
BEHIND_US = 5_000_000
"""A series that is later than this starts over from now instead of catching up."""
ECHO_US = 60_000_000
"""How long the broker may take to echo a message of ours."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One MQTT message; `readings` says how many readings it bears, an event none."""

    topic: str
    payload: bytes
    readings: int


@dataclass(frozen=True, slots=True)
class Hold:
    """A series in somebody's hand; without a value it is silent."""

    since_us: int
    value: float | None
    quality: str


class Fleet:
    """Not thread-safe: one thread calls `due` and `heard`."""

    def __init__(
        self,
        series: Sequence[Series],
        *,
        seed: int,
        start_us: int,
        story: Story | None = None,
        storm: Storm | None = None,
        faults: Sequence[Fault] = (),
        rate: float = 0.0,
        speed: float = 1.0,
        batch: bool = False,
    ) -> None:
        """`rate` is readings a second over all (0: by each series' interval); `batch` joins those of a series."""
        self.series = tuple(series)
        self._seed, self._last_us, self._batch = seed, start_us, batch
        self._scene = Scene(seed, start_us, story=story, storm=storm, faults=faults, speed=speed)
        self._news = deque(storm.revisions if storm else ())
        everyone = round(len(self.series) * 1_000_000 / rate) if rate > 0 else 0
        self._interval_us = [everyone or max(1, round(s.interval_us / speed)) for s in self.series]
        self._heap = [(start_us + self._spread(i), i) for i in range(len(self.series))]
        heapq.heapify(self._heap)
        self._held: dict[str, Hold] = {}
        self._ids = {s.id for s in self.series}
        self._own: Counter[int] = Counter()
        self._echoes: deque[tuple[int, int]] = deque()

    @property
    def gathers(self) -> bool:
        """Whether readings of a series wait for one another to share a message."""
        return self._batch

    @property
    def topics(self) -> list[str]:
        """Topic filters under which its series may be heard."""
        roots = sorted({f"{PREFIX}{s.domain}/{s.station}" for s in self.series})
        return roots + [f"{root}/+" for root in roots]

    def next_us(self) -> int:
        """When the next series is due."""
        return self._heap[0][0]

    def due(self, now_us: int) -> list[Outgoing]:
        """Everything to publish up to now."""
        self._follow(now_us)
        out: list[Outgoing] = []
        joined: dict[str, list[Sample]] = {}
        while self._heap[0][0] <= now_us:
            due_us, index = self._heap[0]
            if now_us - due_us > BEHIND_US:
                due_us = now_us
            heapq.heapreplace(self._heap, (due_us + self._interval_us[index], index))
            for part in self._parts(index, due_us):
                if isinstance(part, Broken):
                    out.append(Outgoing(part.series.topic, part.payload, 1))
                elif self._batch:
                    joined.setdefault(part.series.topic, []).append(part)
                else:
                    out.append(Outgoing(part.series.topic, encode_many([part]), 1))
        out += [Outgoing(topic, encode_many(samples), len(samples)) for topic, samples in joined.items()]
        while self._news and self._news[0].t_us <= self._scene.model_us(now_us):
            news = self._news.popleft()
            out.append(Outgoing(news.outage.topic, self._scene.told(news), 0))
        for message in out:
            self._remember(message, now_us)
        return out

    def heard(self, topic: str, payload: bytes, now_us: int) -> None:
        """A message on one of its topics: an echo of its own, or somebody's hand."""
        name = hash((topic, payload))
        if self._own[name] > 0:
            self._own[name] -= 1
            return
        del self._own[name]
        place = topic.removeprefix(PREFIX)
        if place in self._ids:
            self._held[place] = Hold(now_us, None, "good")
        for foreign in decode(topic, payload):
            if foreign.series_id in self._ids:
                fresh = foreign.t_us is None or abs(foreign.t_us - now_us) <= FRESH_US
                value = foreign.value if fresh else None
                self._held[foreign.series_id] = Hold(now_us, value, foreign.quality)

    def _spread(self, index: int) -> int:
        share = (unit(key(self._seed, "start"), index) + 1.0) / 2.0
        return int(share * min(FIRST_US, self._interval_us[index]))

    def _follow(self, now_us: int) -> None:
        """Go back with a clock that was set back, so that no series falls silent for it."""
        step = now_us - self._last_us
        if step < 0:
            self._heap = [(due_us + step, index) for due_us, index in self._heap]
            self._scene.start_us += step
        self._last_us = now_us
        while self._echoes and self._echoes[0][0] <= now_us:
            _, name = self._echoes.popleft()
            self._own[name] -= 1
            if self._own[name] <= 0:
                del self._own[name]

    def _remember(self, message: Outgoing, now_us: int) -> None:
        name = hash((message.topic, message.payload))
        self._own[name] += 1
        self._echoes.append((now_us + ECHO_US, name))

    def _parts(self, index: int, t_us: int) -> list[Sample | Broken]:
        series = self.series[index]
        hold = self._held.get(series.id)
        if hold is not None:
            if t_us < hold.since_us + HOLD_US:
                if hold.value is None or t_us <= hold.since_us:
                    return []
                return [Sample(series, t_us, hold.value, hold.quality)]
            del self._held[series.id]
        return self._scene.parts(series, t_us)
