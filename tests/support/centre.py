"""A centre without I/O: the real decoder, order, engine and book, a list for a log, and time as an argument."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ioc.ingest.decoder import Decoded, Decoder
from ioc.model import (
    Acknowledge,
    Alarm,
    Answer,
    Batch,
    Body,
    Input,
    Message,
    Outcome,
    PackLoaded,
    SeriesAdded,
    SourceState,
    Step,
    Tick,
    Transition,
)
from ioc.pack import Pack, Settings
from ioc.pipeline import Pipeline

S = 1_000_000
MIN = 60 * S
H = 60 * MIN
T0 = 1_725_760_800 * S  # 2024-09-08 02:00 UTC


class Centre:
    """Publish, let time pass, and see what the alarms do."""

    def __init__(self, pack_folder: Path, now_us: int = T0, settings: Settings | None = None) -> None:
        pack = Pack.read(pack_folder, settings or Settings())
        self.packs = {pack.hash: pack}
        self.records: list[Input] = []
        self.transitions: list[Transition] = []
        self.now_us = now_us
        self.wall_us = now_us
        self.pipeline = Pipeline(self.packs.__getitem__)
        self.generation = 0
        series = tuple(enumerate(pack.registry.series))
        self.take(SeriesAdded(series))
        self.take(PackLoaded(pack.hash, pack.file.id))
        self.decoder = Decoder(self.pipeline.numbers, 256 * 1024)

    def load(self, pack_folder: Path) -> None:
        """Another pack comes into force."""
        pack = Pack.read(pack_folder, Settings())
        self.packs[pack.hash] = pack
        self.take(PackLoaded(pack.hash, pack.file.id))

    def take(self, body: Body) -> Outcome:
        """One record: judged, "logged" and fed."""
        if isinstance(body, Batch):
            body = self.pipeline.judgement().judge(body, self.now_us)
        record = Input(self.pipeline.last_number + 1, self.now_us, body)
        self.records.append(record)
        outcome = self.pipeline.feed(record)
        self.transitions.extend(outcome.transitions)
        return outcome

    def connect(self) -> None:
        self.generation += 1
        self.take(SourceState("mqtt", True, self.generation))

    def disconnect(self) -> None:
        self.take(SourceState("mqtt", False, self.generation))

    def publish(
        self, series: str, value: float, t_us: int | None = None, *, retained: bool = False, **more: Any
    ) -> Outcome:
        """One message through the real decoder."""
        payload: dict[str, Any] = {"v": value, **more}
        if t_us is not None:
            payload["t"] = t_us / 1_000
        decoded = Decoded()
        message = Message("mqtt", f"ioc/v1/{series}", json.dumps(payload).encode(), self.wall_us, retained)
        self.decoder.feed(message, decoded)
        assert not decoded.rejected, decoded.rejected
        batch = decoded.batch("mqtt")
        assert batch is not None
        return self.take(batch)

    def wait(self, us: int) -> None:
        """Let time pass, second by second where a deadline is due."""
        end = self.now_us + us
        while (due := self.pipeline.next_deadline_us()) <= end:
            self.wall_us += max(due, self.now_us) - self.now_us
            self.now_us = max(due, self.now_us)
            self.take(Tick())
        self.wall_us += end - self.now_us
        self.now_us = end

    def ack(self, alarm: Alarm, note: str = "", actor: str = "an", version: int | None = None) -> Answer:
        command = Acknowledge(
            actor=actor, actor_name=actor.title(), alarm=alarm.id, version=version or alarm.version, note=note
        )
        answer = self.take(command).answer
        assert answer is not None
        return answer

    @property
    def alarms(self) -> list[Alarm]:
        return list(self.pipeline.book.alarms.values())

    def steps(self, rule: str | None = None) -> list[Step]:
        return [t.kind for t in self.transitions if rule in (None, t.rule)]

    def sounded(self) -> list[Step]:
        return [t.kind for t in self.transitions if t.sounds]
