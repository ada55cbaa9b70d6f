"""Kafka records → bodies. Pure; told the records of a fetch and the receive time.

A record names its series by its header `ioc-series`, else by its key: `{domain}/{station}[/{quantity}]`, the MQTT topic
without `ioc/v1/`; an event names its kind so too. Its value is JSON of the native convention, or columns: a batch as the
log writes it (`ioc.log.record`), whose `series` column counts from 0 into the ids of the header, which commas separate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, Protocol

import zstandard

from ioc.errors import LogDamaged
from ioc.ingest.decoder import Decoded, Decoder, rejection
from ioc.log import record as log_record
from ioc.model import Batch, Body, Input, Message, Reason, Rejected

SERIES_HEADER: Final = "ioc-series"
TOPIC_PREFIX: Final = b"ioc/v1/"
COLUMNS_MAGIC: Final = b"\x28\xb5\x2f\xfd"
"""zstd's; no JSON begins so."""
COLUMNAR_ROWS_MAX: Final = 100_000
"""Readings in one record, so that a few bytes cannot unpack to anything."""
_PLAIN_BYTES_MAX: Final = COLUMNAR_ROWS_MAX * 32 + 1024
_CHUNK: Final = 1024
"""Records decoded at one go; of these, all are decoded again one by one if one is faulty."""
_NAMES_MAX: Final = 50_000
_NAME_BYTES_MAX: Final = 200
"""Longer names belong to no series: they are not remembered, and cut where they only say what was rejected."""


class Record(Protocol):
    """What is looked at of aiokafka's ConsumerRecord."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


def columnar(batch: Batch, series_ids: Sequence[str]) -> tuple[list[tuple[str, bytes]], bytes]:
    """Headers and value of one record that holds many readings, for producers.

    `batch.series` counts from 0 into `series_ids`, each `{domain}/{station}/{quantity}`; `event_us` is 0 with the flag
    NO_STAMP where a reading bears no time; of the flags only UNCERTAIN, BAD and NO_STAMP are a producer's to set. Its
    `source`, `received_us` and `revision` are not looked at.
    """
    assert len(batch) <= COLUMNAR_ROWS_MAX
    _, value = log_record.encode(Input(0, 0, batch))
    return [(SERIES_HEADER, ",".join(series_ids).encode())], value


class RecordDecoder:
    """Decodes what one source fetches."""

    def __init__(self, source: str, decoder: Decoder, payload_bytes_max: int) -> None:
        self._source = source
        self._decoder = decoder
        self._payload_bytes_max = payload_bytes_max
        self._topics: dict[bytes, bytes] = {}
        """MQTT topics by series name, so that each is put together, and hashed, once."""

    def feed(self, records: Sequence[Record], received_us: int) -> Iterator[tuple[list[Body], int]]:
        """What records of one partition hold, in their order and in pieces, each with the offset that follows it.

        A faulty record is a `Rejected` and costs no other.
        """
        plain: list[Record] = []
        for record in records:
            value = record.value
            is_json = value is not None and value[:4] != COLUMNS_MAGIC
            if is_json:
                plain.append(record)
            if plain and (not is_json or len(plain) == _CHUNK):
                yield self._bodies(self._json(plain, received_us)), plain[-1].offset + 1
                plain = []
            if not is_json:
                yield self._bodies(self._one(record, received_us)), record.offset + 1
        if plain:
            yield self._bodies(self._json(plain, received_us)), plain[-1].offset + 1

    def _bodies(self, decoded: Decoded) -> list[Body]:
        batch = decoded.batch(self._source)
        return [*decoded.rejected, *decoded.events, *([] if batch is None else [batch])]

    def _json(self, records: Sequence[Record], received_us: int) -> Decoded:
        decoded = Decoded()
        topics = [self._topic(record) for record in records]
        payloads = [record.value or b"" for record in records]
        self._decoder.feed_frames(self._source, topics, payloads, [0] * len(topics), received_us, decoded)
        if decoded.rejected:
            # A fault shall tell its record's place, which the fast way does not know.
            decoded = Decoded()
            for record, topic in zip(records, topics, strict=True):
                before = len(decoded.rejected)
                self._decoder.feed(self._message(record, topic, received_us), decoded)
                decoded.rejected[before:] = [_placed(r, record) for r in decoded.rejected[before:]]
        return decoded

    def _one(self, record: Record, received_us: int) -> Decoded:
        """A columnar record, or one without a value."""
        decoded = Decoded()
        message = self._message(record, TOPIC_PREFIX + _name(record)[:_NAME_BYTES_MAX], received_us)
        fault = self._columns(record, message, decoded)
        if fault is not None:
            decoded.rejected.append(rejection(message, *fault))
        decoded.rejected[:] = [_placed(r, record) for r in decoded.rejected]
        return decoded

    def _columns(self, record: Record, message: Message, decoded: Decoded) -> tuple[Reason, str] | None:
        value = record.value
        if value is None:
            return Reason.NOT_JSON, "it has no value (a tombstone)"
        if len(value) > self._payload_bytes_max:
            return Reason.TOO_LARGE, f"{len(value)} bytes, at most {self._payload_bytes_max}"
        try:
            if zstandard.get_frame_parameters(value).content_size > _PLAIN_BYTES_MAX:
                return Reason.TOO_LARGE, f"more than {COLUMNAR_ROWS_MAX} readings"
            batch = log_record.decode(0, 0, log_record.Kind.BATCH, value).body
        except (zstandard.ZstdError, LogDamaged) as error:
            return Reason.NOT_JSON, f"it begins like columns, which are damaged: {error}"
        assert isinstance(batch, Batch)
        ids = _name(record).decode("utf-8", "backslashreplace").split(",")
        self._decoder.feed_columnar(self._source, ids, batch, message.received_us, decoded)
        return None

    def _topic(self, record: Record) -> bytes:
        name = _name(record) if record.headers else record.key or b""
        topic = self._topics.get(name)
        if topic is None:
            topic = TOPIC_PREFIX + name
            if len(self._topics) < _NAMES_MAX and len(name) <= _NAME_BYTES_MAX:
                self._topics[name] = topic
        return topic

    def _message(self, record: Record, topic: bytes, received_us: int) -> Message:
        return Message(
            self._source, topic.decode("utf-8", "backslashreplace"), record.value or b"", received_us
        )


def _name(record: Record) -> bytes:
    """The header, else the key; empty if there is neither."""
    for header, value in record.headers:
        if header == SERIES_HEADER:
            return value or b""
    return record.key or b""


def _placed(rejected: Rejected, record: Record) -> Rejected:
    """So that the record can be found in Kafka; the topic stays the series' own, for re-injection."""
    place = f"{record.topic}/{record.partition}@{record.offset}"
    return replace(rejected, detail=f"{place}: {rejected.detail}")
