"""Which feeds an instance has, and what the log is told of those that come and go."""

from __future__ import annotations

from pathlib import Path

import pytest

from ioc import feeds
from ioc.config import Config, Kafka, Mqtt
from ioc.ingest.decoder import Decoded
from ioc.model import Body, Message, Reason, SourceState
from ioc.pipeline import Pipeline

KAFKA = Kafka(brokers="127.0.0.1:9", topics=("readings",), payload_bytes_max=64)


class Sink:
    """Keeps what is offered."""

    def __init__(self) -> None:
        self.pipeline = Pipeline({}.__getitem__)
        self.pipeline.numbers["disaster/a/b"] = 0
        self.offered: list[Body] = []
        self.full = self.crowded = False
        self.writable = True

    def offer(self, body: Body, origin: str = "", release: object = None, *, may_shed: bool = False) -> None:
        self.offered.append(body)

    def register(self, series_id: str) -> int | None:
        return None

    def now_us(self) -> int:
        return 0


def made(sink: Sink, **settings: object) -> list[str]:
    config = Config(data=Path("nowhere"), **settings)  # type: ignore[arg-type]
    return [source.name for source in feeds.sources(config, sink.pipeline, sink)]  # type: ignore[arg-type]


def test_the_settings_say_which_feeds_there_are() -> None:
    assert made(Sink()) == ["mqtt", "http"]
    assert made(Sink(), kafka=KAFKA) == ["mqtt", "kafka", "http"]
    assert made(Sink(), mqtt=Mqtt(url=""), kafka=KAFKA) == ["kafka", "http"]


def test_a_feed_that_has_never_been_there_counts_as_down_from_the_start() -> None:
    sink = Sink()
    made(sink, kafka=KAFKA)
    told = {b.source: (b.connected, b.withdrawn) for b in sink.offered if isinstance(b, SourceState)}
    assert told == dict.fromkeys(("mqtt", "kafka", "http"), (False, False))


def test_a_feed_that_is_taken_out_is_withdrawn_and_one_that_is_known_is_not_told_again() -> None:
    sink = Sink()
    for name in ("kafka", "mqtt", "http"):
        sink.pipeline.sources[name] = SourceState(name, True, 7)
    made(sink)
    assert [(b.source, b.withdrawn) for b in sink.offered if isinstance(b, SourceState)] == [("kafka", True)]


@pytest.mark.parametrize(("limit", "rejected"), [(64, []), (63, [Reason.TOO_LARGE])])
def test_each_feed_has_a_limit_of_its_own(limit: int, rejected: list[Reason]) -> None:
    sink = Sink()
    config = Config(data=Path("nowhere"))
    decoded = Decoded()
    payload = b'{"v": 1}'.ljust(64)
    decoder = feeds.decoder(config, sink, limit)  # type: ignore[arg-type]
    decoder.feed(Message("kafka", "ioc/v1/disaster/a/b", payload, 0), decoded)
    assert [r.reason for r in decoded.rejected] == rejected
