"""The Kafka source over a cluster that is a dictionary: where it begins, what it commits when, and what a rebalance, a
crash and brokers that go away cost (nothing)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition  # type: ignore[import-untyped]
from aiokafka.errors import GroupAuthorizationFailedError  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from services.common import until
from support.kafka import Cluster
from support.shelf import Shelf

from ioc import config
from ioc.config import Kafka
from ioc.errors import ConfigError
from ioc.ingest import kafka
from ioc.ingest.decoder import Decoder
from ioc.ingest.kafka import Beginning, KafkaSource, beginning
from ioc.model import Batch, Body, Reason
from ioc.model.origin import Offsets, offsets

LEVEL = "disaster/lao_cai/water_level"
P0, P1 = TopicPartition("readings", 0), TopicPartition("readings", 1)
QUICK = {
    "BACKOFF_MIN_S": 0.002, "BACKOFF_MAX_S": 0.01, "COMMIT_EVERY_S": 0.002, "PROBE_EVERY_S": 0.002, "RETRY_S": 0.002,
    "NOBODY_S": 0.01, "LEADERLESS_S": 0.02, "METADATA_S": 0.01, "FAREWELL_S": 0.5,
}  # fmt: skip


class Book(Shelf):
    """A log: what is released is durable, with the offsets of its origin."""

    def __init__(self, *, at_once: bool = True) -> None:
        super().__init__(at_once=at_once)
        self.offsets: Offsets = {}
        self.durable: list[Body] = []

    def offer_all(
        self,
        bodies: Sequence[Body],
        origin: str = "",
        release: Callable[[], None] | None = None,
        *,
        may_shed: bool = False,
    ) -> None:
        assert not may_shed

        def kept() -> None:
            self.durable += bodies
            self.offsets |= offsets(origin)
            if release is not None:
                release()

        super().offer_all(bodies, origin, kept)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in QUICK.items():
        monkeypatch.setattr(kafka, name, value)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()
    made.create("readings", 2)
    monkeypatch.setattr(kafka, "AIOKafkaConsumer", made.consumer)
    return made


def new_source(sink: Book, **options: Any) -> KafkaSource:
    given: dict[str, Any] = {
        "brokers": ["nowhere:9092"], "topics": ["readings"], "pattern": "", "group": "centre", "start": "earliest",
        "security": "plaintext", "mechanism": "PLAIN", "username": "", "password": "", "ca_file": None,
        "cert_file": None, "key_file": None, "payload_bytes_max": 1000, "decoder": Decoder({LEVEL: 0}, 1000),
        "sink": sink, "offsets": lambda: sink.offsets, **options,
    }  # fmt: skip
    return KafkaSource("kafka", **given)


@contextlib.asynccontextmanager
async def running(sink: Book, **options: Any) -> AsyncIterator[KafkaSource]:
    subject = new_source(sink, **options)
    task = asyncio.create_task(subject.run())
    try:
        yield subject
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def put(cluster: Cluster, *values: float, partition: int = 0, topic: str = "readings") -> None:
    for value in values:
        cluster.put(topic, LEVEL, str(value).encode(), partition)


# Where a partition begins.


@pytest.mark.parametrize(
    ("own", "committed", "start", "found"),
    [
        (None, None, "earliest", Beginning(10)),
        (None, None, "latest", Beginning(100)),
        (None, 40, "latest", Beginning(40)),
        (60, 40, "latest", Beginning(60)),
        (40, 60, "latest", Beginning(60)),
        (100, None, "earliest", Beginning(100)),
        (3, None, "latest", Beginning(10, lost=7)),
        (3, 5, "latest", Beginning(10, lost=5)),
        (101, None, "earliest", Beginning(10, anew=True)),
        (101, None, "latest", Beginning(100, anew=True)),
        (101, 40, "latest", Beginning(40, anew=True)),
        (101, 3, "latest", Beginning(10, lost=7, anew=True)),
    ],
)
def test_where_a_partition_begins(
    own: int | None, committed: int | None, start: str, found: Beginning
) -> None:
    assert beginning(own, committed, 10, 100, start) == found


@given(
    st.none() | st.integers(0, 50), st.none() | st.integers(0, 50), st.integers(0, 50), st.integers(0, 50),
    st.sampled_from(["earliest", "latest"]),
)  # fmt: skip
def test_it_begins_within_the_partition_and_behind_all_that_is_known(
    own: int | None, committed: int | None, first: int, more: int, start: str
) -> None:
    end = first + more
    found = beginning(own, committed, first, end, start)
    assert first <= found.offset <= end
    known = [o for o in (own, committed) if o is not None and o <= end]
    assert found.anew == any(o is not None and o > end for o in (own, committed))
    if known:
        assert found.offset == max(*known, first, first)
        assert found.lost == found.offset - max(known)
    else:
        assert found.offset == (first if start == "earliest" else end)


# Taking.


async def test_readings_come_in_order_with_the_offsets_behind_them(cluster: Cluster) -> None:
    sink = Book()
    put(cluster, *range(3))
    put(cluster, *range(10, 12), partition=1)
    async with running(sink) as subject:
        await until(lambda: len(sink.values) == 5, "five readings")
        assert sink.offsets == {P0: 3, P1: 2}
        await until(lambda: subject.lag() == 0, "no lag")
    assert [v for v in sink.values if v < 10] == [0.0, 1.0, 2.0]
    assert sink.states == [(True, 1), (False, 1)]
    assert sink.origins[0] == "kafka#1"


async def test_a_poisoned_record_is_rejected_with_the_rest_of_its_fetch_and_the_partition_goes_on(
    cluster: Cluster,
) -> None:
    sink = Book(at_once=False)
    put(cluster, 1)
    cluster.put("readings", LEVEL, b"poison")
    cluster.put("readings", LEVEL, None)
    put(cluster, 2)
    async with running(sink):
        await until(lambda: len(sink.values) == 2, "both readings")
        assert [(r.reason, r.detail.split(":")[0]) for r in sink.rejected] == [
            (Reason.NOT_JSON, "readings/0@1"),
            (Reason.NOT_JSON, "readings/0@2"),
        ]
        assert len(sink.waiting) == 2, "the state and one group"
        assert set(sink.origins[1:]) == {"kafka@readings:0=4"}


async def test_kafka_is_told_of_what_is_durable_and_of_nothing_else(cluster: Cluster) -> None:
    sink = Book(at_once=False)
    put(cluster, 1, 2, 3)
    async with running(sink):
        await until(lambda: len(sink.values) == 3, "three readings")
        for _ in range(20):
            await asyncio.sleep(0)
        assert cluster.committed.get(P0, 0) == 0
        sink.release()
        await until(lambda: cluster.committed[P0] == 3, "commit")


async def test_a_full_sink_pauses_the_partitions_and_nothing_is_lost(cluster: Cluster) -> None:
    sink = Book()
    async with running(sink) as subject:
        await until(lambda: subject.connected, "connection")
        sink.full = True
        await until(lambda: cluster.made[0].paused_ones == {P0, P1}, "pause")
        put(cluster, *range(50))
        assert sink.values == []
        subject.resume()
        assert cluster.made[0].paused_ones, "it is full still"
        sink.full = False
        subject.resume()
        await until(lambda: len(sink.values) == 50, "everything")


async def test_a_large_fetch_is_offered_in_pieces(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "ROWS_MAX", 10)
    monkeypatch.setattr("ioc.ingest.kafka_records._CHUNK", 4)
    sink = Book()
    put(cluster, *range(50))
    async with running(sink):
        await until(lambda: len(sink.values) == 50, "everything")
    assert sink.values == [float(i) for i in range(50)]
    assert [offsets(o)[P0] for o in sink.origins if "@" in o][::3] == [12, 24, 36, 48, 50]


# Going on after a crash, and with others.


async def test_after_a_crash_the_log_says_where_to_go_on(cluster: Cluster) -> None:
    sink = Book()
    put(cluster, *range(5))
    sink.offsets = {P0: 3}
    cluster.committed = {P0: 1}
    async with running(sink):
        await until(lambda: sink.values == [3.0, 4.0], "the rest")


async def test_what_other_members_took_meanwhile_is_not_taken_again(cluster: Cluster) -> None:
    sink = Book()
    put(cluster, *range(5))
    sink.offsets = {P0: 1}
    cluster.committed = {P0: 4}
    async with running(sink):
        await until(lambda: sink.values == [4.0], "the rest")


async def test_without_the_logs_offsets_readings_would_be_doubled(cluster: Cluster) -> None:
    """Planted: the net of the tests above catches it."""
    sink = Book()
    put(cluster, *range(5))
    sink.offsets = {P0: 3}
    cluster.committed = {P0: 1}
    async with running(sink, offsets=dict):
        await until(lambda: sink.values[:2] == [1.0, 2.0], "what the log has already")


async def test_latest_holds_on_to_where_it_began(cluster: Cluster) -> None:
    """Otherwise what comes between the first connection and a crash before the first reading would be lost."""
    sink = Book()
    put(cluster, 1, 2)
    async with running(sink, start="latest") as subject:
        await until(lambda: subject.connected, "connection")
        await until(lambda: cluster.committed.get(P0) == 2, "commit of the beginning")
    put(cluster, 3)
    again = Book()
    async with running(again, start="latest"):
        await until(lambda: again.values == [3.0], "what came meanwhile")


async def test_records_that_kafka_dropped_are_told(cluster: Cluster) -> None:
    sink = Book()
    put(cluster, *range(10))
    cluster.committed = {P0: 2}
    cluster.drop_before(P0, 6)
    async with running(sink) as subject:
        await until(lambda: sink.values == [6.0, 7.0, 8.0, 9.0], "what is left")
        assert subject.last_error == "4 records of readings/0 were dropped by Kafka before they were taken"


async def test_records_dropped_while_it_waited_are_told_too(cluster: Cluster) -> None:
    sink = Book()
    put(cluster, *range(3))
    async with running(sink) as subject:
        await until(lambda: len(sink.values) == 3, "three readings")
        sink.full = True
        await until(lambda: bool(cluster.made[0].paused_ones), "pause")
        put(cluster, *range(3, 10))
        cluster.drop_before(P0, 8)
        sink.full = False
        subject.resume()
        await until(lambda: sink.values[3:] == [8.0, 9.0], "what is left")
        assert "5 records of readings/0" in subject.last_error


async def test_a_topic_made_anew_begins_at_its_beginning(cluster: Cluster) -> None:
    sink = Book()
    put(cluster, 1, 2)
    sink.offsets = {P0: 900}
    async with running(sink):
        await until(lambda: sink.values == [1.0, 2.0], "both readings")
    assert sink.offsets[P0] == 2


async def test_before_others_get_a_partition_what_was_taken_is_durable_and_committed(
    cluster: Cluster,
) -> None:
    sink, other = Book(at_once=False), Book()
    put(cluster, *range(4))
    put(cluster, *range(10, 14), partition=1)
    async with running(sink) as subject:
        await until(lambda: len(sink.values) == 8, "everything")
        async with running(other) as second:
            await until(lambda: cluster.made[0].rebalancing, "the rebalance")
            put(cluster, 4)
            for _ in range(50):
                await asyncio.sleep(0)
            assert not second.connected, "it must wait for our log"
            assert 4.0 not in sink.values, "what is fetched of a revoked partition is not ours"
            sink.release()
            await until(lambda: second.connected, "the second member")
            assert {p: cluster.committed[p] for p in (P0, P1)} == {P0: 4, P1: 4}
            put(cluster, 14, partition=1)
            await until(lambda: len(sink.values) + len(other.values) == 10, "the new ones")
            sink.release()
        await until(lambda: subject.connected and len(cluster.members) == 1, "the second member's leaving")
        put(cluster, 15, partition=1)
        await until(lambda: 15.0 in sink.values, "its partition's next")
        sink.release()
    assert Counter(sink.values + other.values) == Counter([0.0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 15])


async def test_a_fetch_that_is_revoked_half_way_is_left_to_the_next_owner(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "ROWS_MAX", 1)
    monkeypatch.setattr("ioc.ingest.kafka_records._CHUNK", 1)
    begun: list[asyncio.Task[None]] = []

    class Interrupted(Book):
        def offer_all(self, bodies: Sequence[Body], origin: str = "", *rest: Any, **more: Any) -> None:
            super().offer_all(bodies, origin, *rest, **more)
            if "@" in origin and not begun:
                begun.append(asyncio.create_task(cluster.rebalance()))

    sink = Interrupted()
    put(cluster, *range(20))
    async with running(sink):
        await until(lambda: len(begun) > 0 and begun[0].done(), "the rebalance")
        await until(lambda: len(sink.values) >= 20, "everything")
    assert sink.values == [float(i) for i in range(20)]


async def test_a_log_that_does_not_come_back_does_not_hold_the_group_up_for_ever(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "REVOKE_S", 0.01)
    sink, other = Book(at_once=False), Book()
    put(cluster, 1)
    async with running(sink) as subject:
        await until(lambda: sink.values == [1.0], "a reading")
        async with running(other) as second:
            await until(lambda: second.connected, "the second member")
            assert cluster.committed.get(P0, 0) == 0, "what is not safe is not committed"
            put(cluster, *range(2, 6))
            await until(lambda: len(sink.values) + len(other.values) >= 5, "the new ones")
        await until(lambda: subject.lag() == 0 and len(cluster.members) == 1, "its partitions are back")
        sink.release()
        await until(lambda: cluster.committed.get(P0) == 5, "commit")
        put(cluster, 6)
        await until(lambda: 6.0 in sink.values, "the next")
        sink.release()
        await until(lambda: cluster.committed[P0] == 6, "its commit")
    assert Counter(sink.values)[1.0] == 1, "on its way into the log is taken"


async def test_what_an_earlier_assignment_took_does_not_set_the_group_back(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "REVOKE_S", 0.01)
    sink = Book(at_once=False)
    put(cluster, *range(10))
    async with running(sink) as subject:
        await until(lambda: len(sink.values) == 10, "ten readings")
        put(cluster, *range(10, 20))
        cluster.committed[P0] = 15
        await cluster.rebalance()
        await until(lambda: len(sink.values) == 15, "what nobody else took")
        sink.waiting[1]()
        for _ in range(50):
            await asyncio.sleep(0)
        assert cluster.committed[P0] == 15
        sink.waiting.pop(1)
        sink.release()
        await until(lambda: cluster.committed[P0] == 20, "commit")
        assert subject.connected


async def test_the_end_commits_what_is_durable_and_says_so(cluster: Cluster) -> None:
    sink = Book()
    put(cluster, 1, 2)
    async with running(sink):
        await until(lambda: len(sink.values) == 2, "both readings")
    assert cluster.committed[P0] == 2
    assert cluster.made[0].stopped


@pytest.mark.parametrize("seed", range(25))
async def test_whatever_happens_every_reading_is_taken_once(cluster: Cluster, seed: int) -> None:
    """Two members that come and go in any order, a log that is slow, retries, and pieces of any size."""
    dice = random.Random(seed)
    books = [Book(at_once=False), Book(at_once=False)]
    tasks: list[asyncio.Task[None] | None] = [None, None]
    sent: list[float] = []
    for _ in range(60):
        what = dice.random()
        who = dice.randrange(2)
        if what < 0.4:
            value = float(len(sent))
            sent.append(value)
            put(cluster, value, partition=dice.randrange(2))
        elif what < 0.7:
            for book in books:
                book.release()
        elif what < 0.8:
            task = tasks[who]
            if task is None:
                tasks[who] = asyncio.create_task(new_source(books[who]).run())
            else:
                books[who].at_once = True
                books[who].release()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                books[who].at_once = False
                tasks[who] = None
        for _ in range(dice.randrange(30)):
            await asyncio.sleep(0)
    for book in books:
        book.at_once = True
        book.release()
    if not any(tasks):
        tasks[0] = asyncio.create_task(new_source(books[0]).run())
    await until(lambda: len(books[0].values + books[1].values) >= len(sent), f"everything, seed {seed}")
    for running_one in filter(None, tasks):
        running_one.cancel()
    await asyncio.gather(*filter(None, tasks), return_exceptions=True)
    assert Counter(books[0].values + books[1].values) == Counter(sent)


@pytest.mark.parametrize("seed", range(15))
async def test_whatever_crashes_every_reading_is_in_the_log_once(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """What was offered and not yet durable is gone with the process; its log tells the next one where to go on."""
    monkeypatch.setattr(kafka, "FAREWELL_S", 0.002)
    dice = random.Random(seed)
    kept = Book()
    sent = 0
    for _ in range(12):
        book = Book(at_once=False)
        book.durable, book.offsets = kept.durable, kept.offsets
        async with running(book):
            for _ in range(dice.randrange(6)):
                for _ in range(dice.randrange(4)):
                    put(cluster, float(sent), partition=dice.randrange(2))
                    sent += 1
                for _ in range(dice.randrange(60)):
                    await asyncio.sleep(0)
                if dice.random() < 0.5:
                    book.release()
            if dice.random() < 0.2:
                cluster.committed.clear()
            book.waiting.clear()
        kept = book
    last = Book()
    last.durable, last.offsets = kept.durable, kept.offsets
    async with running(last):
        await until(lambda: values_of(last.durable).total() >= sent, f"everything, seed {seed}")
    assert values_of(last.durable) == Counter(float(i) for i in range(sent))


def values_of(bodies: list[Body]) -> Counter[float]:
    return Counter(float(v) for body in bodies if isinstance(body, Batch) for v in body.value)


# Brokers that go away.


async def test_brokers_that_go_away_are_a_source_that_is_down(cluster: Cluster) -> None:
    sink = Book()
    async with running(sink) as subject:
        await until(lambda: subject.connected, "connection")
        cluster.alive = False
        await until(lambda: not subject.connected, "loss")
        assert subject.last_error
        assert subject.lag() is None
        cluster.alive = True
        put(cluster, 1)
        await until(lambda: sink.values == [1.0], "a reading")
        assert subject.last_error == ""
        assert sink.states == [(True, 1), (False, 1), (True, 2)]
    assert sink.reasons[0] == "no broker answers"


async def test_brokers_that_were_never_there_are_waited_for(cluster: Cluster) -> None:
    sink = Book()
    cluster.alive = False
    put(cluster, 1)
    async with running(sink) as subject:
        await until(lambda: len(cluster.made) > 2, "some tries")
        assert "nobody there" in subject.last_error
        assert sink.states == []
        cluster.alive = True
        await until(lambda: sink.values == [1.0], "a reading")


async def test_a_partition_without_a_leader_is_told_and_the_others_go_on(cluster: Cluster) -> None:
    sink = Book()
    async with running(sink) as subject:
        await until(lambda: subject.connected, "connection")
        cluster.leaderless.add(P1)
        await until(lambda: not subject.connected, "the loss")
        assert subject.last_error == "some partition has no leader"
        put(cluster, 1)
        await until(lambda: sink.values == [1.0], "a reading of the other")
        cluster.leaderless.clear()
        await until(lambda: subject.connected, "the leader")
        assert len(cluster.made) == 1, "it was no reason to begin anew"


async def test_a_partition_whose_leader_is_away_at_the_start_is_placed_later(cluster: Cluster) -> None:
    sink = Book()
    cluster.leaderless.add(P1)
    put(cluster, 1)
    put(cluster, 2, partition=1)
    async with running(sink) as subject:
        await until(lambda: sink.values == [1.0], "the one that has a leader")
        assert not subject.connected
        cluster.leaderless.clear()
        await until(lambda: sink.values == [1.0, 2.0], "the other")
        await until(lambda: subject.connected, "connection")


async def test_what_the_group_forbids_is_told_and_tried_again(cluster: Cluster) -> None:
    sink = Book()
    async with running(sink) as subject:
        await until(lambda: subject.connected, "connection")
        cluster.made[0].fatal = GroupAuthorizationFailedError("centre")
        await until(lambda: len(cluster.made) == 2, "another try")
        await until(lambda: subject.connected, "connection")
        assert cluster.made[0].stopped
    assert "GroupAuthorizationFailedError" in sink.reasons[0]


async def test_a_client_that_brings_nothing_though_records_wait_is_made_anew(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "STALL_S", 0.02)
    sink = Book()
    async with running(sink) as subject:
        await until(lambda: subject.connected, "connection")
        stuck = cluster.made[0]
        stuck.rebalancing = True
        put(cluster, 1)
        await until(lambda: sink.values == [1.0], "a reading, by another client")
        assert len(cluster.made) == 2
        assert sink.reasons == ["1 records wait and none come"]


async def test_topics_may_come_later_and_by_a_pattern(cluster: Cluster) -> None:
    sink = Book()
    async with running(sink, topics=["later", "readings"], pattern=r"site-\d+") as subject:
        await until(lambda: subject.connected, "connection")
        assert cluster.made[0].subscribed == {"readings"}
        cluster.create("site-7")
        cluster.create("site-x")
        put(cluster, 7, topic="site-7")
        await until(lambda: sink.values == [7.0], "a reading of the new topic")
        cluster.create("later")
        put(cluster, 8, topic="later")
        await until(lambda: sink.values == [7.0, 8.0], "a reading of the named one")
        assert cluster.made[0].subscribed == {"later", "readings", "site-7"}


async def test_topics_that_do_not_exist_are_told(cluster: Cluster) -> None:
    async with running(Book(), topics=["nowhere"]) as subject:
        await until(lambda: bool(subject.last_error), "a word")
        assert subject.last_error == "none of the topics exists"
        assert not subject.connected


# What aiokafka says.


async def test_the_client_is_quoted_once_between_two_changes(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(Book()) as subject:
        await until(lambda: subject.connected, "connection")
        capsys.readouterr()
        for node in range(100):
            logging.getLogger("aiokafka.conn").error("Unable connect to node with id %s", node)
        cluster.alive = False
        await until(lambda: not subject.connected, "loss")
        logging.getLogger("aiokafka.conn").error("Unable connect to node with id %s", 100)
    said = capsys.readouterr()
    assert (said.out + said.err).count("Unable connect") == 2


# Settings.


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"brokers": "a"}, "must look like host:9092"),
        ({"brokers": "a:9092"}, "neither topics nor a pattern"),
        ({"pattern": "("}, "is no regular expression"),
        ({"brokers": "a:9092", "topics": ("t",), "security": "sasl_tls"}, "needs a username"),
        ({"key_file": "/a"}, "needs its cert_file"),
    ],
)
def test_settings_that_cannot_work_are_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Kafka(**given)


def test_the_environment_names_brokers_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IOC_KAFKA__BROKERS", "a:9092, b:9092")
    monkeypatch.setenv("IOC_KAFKA__TOPICS", '["readings"]')
    settings = config.read(None).kafka
    assert settings.addresses == ["a:9092", "b:9092"]
    assert settings.topics == ("readings",)


async def test_a_certificate_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="no-such"):
        new_source(Book(), security="tls", ca_file="no-such.pem")
