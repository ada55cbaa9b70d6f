"""Quarantined payloads, taken up again: a `Reinject` into the log, then what it brings as records that name it.

Worth it when what stood in the way is gone: a series that was not known, a bound that was too low, a fault of ours.
"""

from __future__ import annotations

import numpy as np
import structlog

from ioc.ingest.decoder import TOPIC_PREFIX, Decoded, Decoder, Unreadable, rejection
from ioc.log.sqlite import SqliteLog
from ioc.model import (
    Answer,
    Batch,
    Body,
    Flag,
    Message,
    Reason,
    Reinject,
    Reinjected,
    Rejected,
    Verdict,
)
from ioc.model.command import SEVERAL
from ioc.model.origin import REINJECT
from ioc.spine import Spine

_TIMELESS = int(Flag.NO_STAMP | Flag.RETAINED)

log = structlog.get_logger()


class Reinjector:
    """Carries re-injections out, once each, through crashes."""

    def __init__(self, store: SqliteLog, spine: Spine, decoder: Decoder) -> None:
        self._store, self._spine, self._decoder = store, spine, decoder
        self._offered: set[int] = set()
        """Carried out by this process, and perhaps not fed yet: two requests may come in one turn of the loop."""

    def begin(self) -> None:
        """What a crash kept from being carried out."""
        for number in self._spine.pipeline.quarantine.pending:
            found = self._find(number)
            if found is None:
                gone = f"the log no longer holds record {number}, which was to be re-injected"
                log.error(gone)
                nothing = Message("reinject", "", b"", self._spine.received_us())
                self._spine.offer(rejection(nothing, Reason.DECODER_FAILED, gone), f"{REINJECT}{number}")
                continue
            self._offer(number, found, self._decode(found))

    async def reinject(self, command: Reinject) -> Reinjected:
        """Do it, or say why not. Raises LogWriteFailed; then nothing has happened."""
        found = self._find(command.number)
        if found is None:
            reason = "the log holds no quarantined payload of this number"
            return Reinjected(Answer(verdict=Verdict.NOT_FOUND, reason=reason))
        if found.reason is Reason.TOO_MANY_FAULTS:
            return Reinjected(Answer(verdict=Verdict.REFUSED, reason=SEVERAL))
        if len(found.payload) < found.length:
            reason = f"only {len(found.payload)} of its {found.length} bytes were kept"
            return Reinjected(Answer(verdict=Verdict.REFUSED, reason=reason))
        outcome = await self._spine.submit(command)
        assert outcome.answer is not None, "a command is always answered"
        if outcome.answer.verdict is not Verdict.DONE:
            return Reinjected(outcome.answer)
        decoded = self._decode(found)
        accepted, rejected = len(decoded) + len(decoded.events), len(decoded.rejected)
        # Asked once more under the same key, it is only answered alike.
        if command.number in self._spine.pipeline.quarantine.pending and command.number not in self._offered:
            self._offer(command.number, found, decoded)
        return Reinjected(outcome.answer, accepted, rejected)

    def _find(self, number: int) -> Rejected | None:
        if not 0 < number <= self._store.last_number or number < self._store.first_number:
            return None
        record = next(iter(self._store.read(number - 1, 1)), None)
        return record.body if record is not None and isinstance(record.body, Rejected) else None

    def _decode(self, found: Rejected) -> Decoded:
        """What a payload brings now."""
        decoded = Decoded()
        message = Message(found.source, found.topic, found.payload, found.received_us, found.retained)
        if found.topic.startswith(TOPIC_PREFIX):
            self._decoder.feed(message, decoded, only_item=found.item if found.item >= 0 else None)
            return decoded
        try:
            self._decoder.feed_readings(
                found.source, found.payload, ndjson=False, received_us=found.received_us, out=decoded
            )
        except Unreadable as error:
            decoded.rejected.append(rejection(message, Reason.NOT_JSON, str(error)))
        return decoded

    def _offer(self, number: int, found: Rejected, decoded: Decoded) -> None:
        self._offered.add(number)
        batch = decoded.batch(found.source)
        bodies: list[Body] = [*decoded.rejected, *decoded.events]
        if batch is not None:
            bodies.append(_as_of_then(batch, self._spine.received_us()))
        self._spine.offer_all(bodies, f"{REINJECT}{number}")


def _as_of_then(batch: Batch, now_us: int) -> Batch:
    """A reading without a time is one of when it first came; and all of them come now, so that old ones are backlog."""
    timeless = (batch.flags & _TIMELESS) == int(Flag.NO_STAMP)
    return Batch.of(
        batch.source,
        batch.series,
        np.where(timeless, batch.received_us, batch.event_us),
        np.full(len(batch), now_us, np.int64),
        batch.value,
        np.where(timeless, batch.flags & ~np.uint16(Flag.NO_STAMP), batch.flags),
        batch.revision,
    )
