"""Quarantined payloads, taken up again: a `Reinject` into the log, then what it brings as records that name it.

Worth it when what stood in the way is gone: a series that was not known, a bound that was too low, a fault of ours.
"""

from __future__ import annotations

import structlog

from ioc.ingest.decoder import Decoded, Decoder, Unreadable, rejection
from ioc.log.sqlite import SqliteLog
from ioc.model import Answer, Body, Message, Reason, Reinject, Reinjected, Rejected, Verdict
from ioc.model.origin import REINJECT
from ioc.spine import Spine

TOPIC_PREFIX = "ioc/v1/"
"""Payloads under such a topic are of the MQTT convention; others name their series themselves."""

log = structlog.get_logger()


class Reinjector:
    """Carries re-injections out, once each, through crashes."""

    def __init__(self, store: SqliteLog, spine: Spine, decoder: Decoder) -> None:
        self._store, self._spine, self._decoder = store, spine, decoder

    def begin(self) -> None:
        """What a crash kept from being carried out."""
        for number in self._spine.pipeline.quarantine.pending:
            found = self._find(number)
            if found is None:
                # Retention has deleted it meanwhile; whoever asked finds no readings under its number.
                log.error(
                    "a re-injection cannot be carried out: the log no longer holds the record", number=number
                )
                continue
            self._offer(number, found, self._decode(found))

    async def reinject(self, command: Reinject) -> Reinjected:
        """Do it, or say why not. Raises LogWriteFailed; then nothing has happened."""
        found = self._find(command.number)
        if found is None:
            reason = "the log holds no quarantined payload of this number"
            return Reinjected(Answer(verdict=Verdict.NOT_FOUND, reason=reason))
        if len(found.payload) < found.length:
            reason = f"only {len(found.payload)} of its {found.length} bytes were kept"
            return Reinjected(Answer(verdict=Verdict.REFUSED, reason=reason))
        again = self._spine.pipeline.quarantine.asked_for(command.number)
        outcome = await self._spine.submit(command)
        assert outcome.answer is not None, "a command is always answered"
        if outcome.answer.verdict is not Verdict.DONE:
            return Reinjected(outcome.answer)
        decoded = self._decode(found)
        accepted, rejected = len(decoded), len(decoded.rejected)
        # Asked once more under the same key, it is only answered alike.
        if not again:
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
        message = Message(found.source, found.topic, found.payload, found.received_us)
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
        batch = decoded.batch(found.source)
        bodies: list[Body] = [*decoded.rejected, *([] if batch is None else [batch])]
        self._spine.offer_all(bodies, f"{REINJECT}{number}")
