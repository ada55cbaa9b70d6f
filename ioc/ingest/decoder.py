"""Messages → raw rows and `Rejected`. Pure; told the bytes, the receive time and which series there are."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ioc.ingest.codecs import native
from ioc.model.batch import Batch, Flag
from ioc.model.inputs import PAYLOAD_KEPT_BYTES, Message, Reason, Rejected
from ioc.registry import ID, RESERVED_QUANTITIES

FAULTS_MAX = 20
"""How many items of one payload are told one by one; the rest is counted."""
DETAIL_MAX = 400
SERIES_ID_MAX = 120
_TOPIC = re.compile(r"ioc/v1/(environment|disaster|energy)/([a-z0-9_]+)(?:/([a-z0-9_]+))?", re.ASCII)


@dataclass(slots=True)
class Decoded:
    """What some messages held: raw rows (order has not judged them yet) as columns, and what was rejected."""

    series: list[int] = field(default_factory=list)
    event_us: list[int] = field(default_factory=list)
    """0 where the sample bore no time; NO_STAMP is set then."""
    received_us: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    def batch(self, source: str) -> Batch | None:
        """The rows as a raw batch, or None if there are none."""
        if not self.series:
            return None
        return Batch.of(source, self.series, self.event_us, self.received_us, self.value, self.flags)


class Decoder:
    """Decodes messages of the native convention.

    `numbers` maps series ids to their numbers and may grow; `register` gives a number to an unknown id, or is None
    where series are not registered automatically.
    """

    def __init__(
        self,
        numbers: Mapping[str, int],
        payload_bytes_max: int,
        register: Callable[[str], int | None] | None = None,
    ) -> None:
        self._numbers = numbers
        self._payload_bytes_max = payload_bytes_max
        self._register = register

    def feed(self, message: Message, out: Decoded) -> None:
        """Decode one message into `out`. Never raises, whatever the bytes."""
        payload = message.payload
        match = _TOPIC.fullmatch(message.topic)
        if match is None:
            self._reject(
                message, out, Reason.TOPIC, "the topic is not ioc/v1/{domain}/{station}[/{quantity}]"
            )
            return
        if len(payload) > self._payload_bytes_max:
            self._reject(
                message, out, Reason.TOO_LARGE, f"{len(payload)} bytes, at most {self._payload_bytes_max}"
            )
            return
        domain, station, quantity = match.groups()
        retained = int(Flag.RETAINED) if message.retained else 0
        faults = 0
        for part in native.decode(payload, quantity):
            series_id, number = "", None
            if isinstance(part, native.Item):
                series_id = f"{domain}/{station}/{part.quantity}"
                number = self._numbers.get(series_id)
                if number is None:
                    number = self._unknown(series_id, part.quantity)
                if number is None:
                    part = native.Fault(Reason.UNKNOWN_SERIES, f"no series {series_id:.120}")
            if isinstance(part, native.Fault):
                faults += 1
                if faults <= FAULTS_MAX:
                    self._reject(message, out, part.reason, part.detail, part.index)
                continue
            assert number is not None
            out.series.append(number)
            out.event_us.append(part.event_us or 0)
            out.received_us.append(message.received_us)
            out.value.append(part.value)
            out.flags.append(part.quality | retained | (int(Flag.NO_STAMP) if part.event_us is None else 0))
        if faults > FAULTS_MAX:
            more = f"and {faults - FAULTS_MAX} more items of this payload"
            self._reject(message, out, Reason.TOO_MANY_FAULTS, more)

    def _unknown(self, series_id: str, quantity: str) -> int | None:
        """A number for a series that registers itself, if it may and bears names that a pack could bear."""
        if self._register is None or quantity in RESERVED_QUANTITIES or len(series_id) > SERIES_ID_MAX:
            return None
        if not ID.fullmatch(quantity):
            return None
        return self._register(series_id)

    def _reject(self, message: Message, out: Decoded, reason: Reason, detail: str, item: int = -1) -> None:
        out.rejected.append(rejection(message, reason, detail, item))


def rejection(message: Message, reason: Reason, detail: str, item: int = -1) -> Rejected:
    """A message, or one item of it, as it goes into the quarantine."""
    kept = (
        message.payload
        if len(message.payload) <= PAYLOAD_KEPT_BYTES
        else message.payload[:PAYLOAD_KEPT_BYTES]
    )
    # JSON can spell halves of surrogate pairs, which no UTF-8 can hold.
    told = detail[:DETAIL_MAX].encode("utf-8", "backslashreplace").decode("utf-8")
    topic = message.topic.encode("utf-8", "backslashreplace").decode("utf-8")
    return Rejected(
        message.source, topic, reason, told, message.received_us, kept, len(message.payload), item
    )
