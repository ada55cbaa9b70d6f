"""What is seen of the province at a time: the calm, the storm and the story over it, and what is broken of it all.

A time of the wire (`t_us`) passes as fast as the clock, the model's (`model_us`) `speed` times as fast.
"""

from __future__ import annotations

from collections.abc import Sequence

from simulators import stations
from simulators.catalog import Series
from simulators.faults import Broken, Fault, inject
from simulators.payload import Sample
from simulators.storm import Storm
from simulators.story import Story
from simulators.troubles import Revision

FAULTS_FROM_US = 10_000_000


class Scene:
    """Told the time, it says what leaves a gateway; `start_us` follows a clock that is set back."""

    def __init__(
        self,
        seed: int,
        start_us: int,
        *,
        story: Story | None = None,
        storm: Storm | None = None,
        faults: Sequence[Fault] = (),
        speed: float = 1.0,
    ) -> None:
        self.start_us = start_us
        self.faults = tuple(faults)
        self._seed, self._story, self._storm, self._speed = seed, story, storm, speed
        self._spells = {s.series.id: s for s in storm.spells} if storm else {}

    def model_us(self, t_us: int) -> int:
        """The model's time at a time of the wire."""
        return self.start_us + round((t_us - self.start_us) * self._speed)

    def clean(self, series: Series, model_us: int) -> float:
        """What a sound sensor shows, without the story."""
        calm = stations.value(self._seed, series, model_us)
        return calm if self._storm is None else self._storm.value(series, model_us, calm)

    def parts(self, series: Series, t_us: int) -> list[Sample | Broken]:
        """What leaves the gateway for one reading."""
        elapsed_us, model_us = t_us - self.start_us, self.model_us(t_us)
        clean = self.clean(series, model_us)
        shown = clean if self._story is None else self._story.value(series.id, elapsed_us, clean)
        if shown is None:
            return []
        parts: list[Sample | Broken] = [Sample(series, t_us, series.quantised(shown))]
        spell = self._spells.get(series.id)
        if spell is not None and spell.from_us <= model_us < spell.to_us:
            parts = self._broken([spell.fault], parts, model_us, spell.from_us)
        faults = [fault for fault in self.faults if fault.matches(series)]
        if faults and elapsed_us >= FAULTS_FROM_US:
            parts = self._broken(faults, parts, model_us, self.model_us(self.start_us + FAULTS_FROM_US))
        return parts

    def _broken(
        self, faults: Sequence[Fault], parts: Sequence[Sample | Broken], model_us: int, since_us: int
    ) -> list[Sample | Broken]:
        return [
            made
            for part in parts
            for made in inject(
                faults, part, self.clean(part.series, since_us), self._seed, model_us - since_us
            )
        ]

    def told(self, news: Revision) -> bytes:
        """The bytes of a revision, with times of the wire."""
        return news.payload(self._wire_us(news.outage.from_us), self._wire_us(news.outage.to_us))

    def _wire_us(self, model_us: int) -> int:
        return self.start_us + round((model_us - self.start_us) / self._speed)
