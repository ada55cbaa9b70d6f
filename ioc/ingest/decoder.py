"""Messages → raw rows and `Rejected`. Pure; told the bytes, the receive time and which series there are."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ioc.ingest.codecs import native
from ioc.model.batch import Batch, Flag
from ioc.model.inputs import PAYLOAD_KEPT_BYTES, Message, Reason, Rejected

PREFIX = "ioc/v1/"
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
        register: Callable[[str], int] | None = None,
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
        for part in native.decode(payload, quantity):
            if isinstance(part, native.Fault):
                self._reject(message, out, part.reason, part.detail, part.index)
                continue
            series_id = f"{domain}/{station}/{part.quantity}"
            number = self._numbers.get(series_id)
            if number is None:
                number = self._unknown(series_id, part.quantity)
                if number is None:
                    self._reject(message, out, Reason.UNKNOWN_SERIES, f"no series {series_id:.120}")
                    continue
            out.series.append(number)
            out.event_us.append(part.event_us or 0)
            out.received_us.append(message.received_us)
            out.value.append(part.value)
            out.flags.append(part.quality | retained | (int(Flag.NO_STAMP) if part.event_us is None else 0))

    def _unknown(self, series_id: str, quantity: str) -> int | None:
        if self._register is None or not re.fullmatch(r"[a-z0-9_]{1,64}", quantity, re.ASCII):
            return None
        return self._register(series_id)

    def _reject(self, message: Message, out: Decoded, reason: Reason, detail: str, item: int = -1) -> None:
        out.rejected.append(
            Rejected(
                message.source,
                message.topic,
                reason,
                detail[:400],
                message.received_us,
                message.payload[:PAYLOAD_KEPT_BYTES],
                len(message.payload),
                item,
            )
        )
