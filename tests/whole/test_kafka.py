"""Three real Kafka nodes, real monitors: whichever of them is killed, every reading is in the log once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from services.common import until as until_async
from services.kafka import Kafka
from support.instance import Instance, names_of, until
from support.kafka_flow import PARTITIONS, SERIES, Flow, Monitor, Row
from support.packs import limit_rule, write_pack

from ioc.model import Batch, Flag, Input, Rejected
from ioc.pack import Pack, Settings

pytestmark = [pytest.mark.whole, pytest.mark.services, pytest.mark.timeout(200)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Kafka]:
    made = Kafka(nodes=3)
    yield made
    made.close()


@pytest.fixture
def topic(cluster: Kafka, request: pytest.FixtureRequest) -> str:
    name = request.node.name
    cluster.create_topic(name, PARTITIONS, **{"min.insync.replicas": "2"})
    return name


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    return write_pack(tmp_path / "pack", SERIES, [limit_rule("river", {1: 80.0})])


def taken(*logs: list[Input]) -> Counter[Row]:
    """Every row in the logs, however often; none of them may be a repeat."""
    out: Counter[Row] = Counter()
    for inputs in logs:
        names = names_of(inputs)
        for record in inputs:
            if isinstance(record.body, Batch):
                body = record.body
                assert not (body.flags & int(Flag.REPEAT | Flag.CONFLICT | Flag.REVISED)).any()
                columns = (body.series.tolist(), body.event_us.tolist(), body.value.tolist())
                out.update((names[n], t, v) for n, t, v in zip(*columns, strict=True))
    return out


def quarantined(*logs: list[Input]) -> Counter[bytes]:
    return Counter(r.body.payload for inputs in logs for r in inputs if isinstance(r.body, Rejected))


async def test_a_node_that_is_killed_and_a_member_that_comes_and_goes_cost_nothing(
    cluster: Kafka, topic: str, pack: Path, tmp_path: Path
) -> None:
    read = Pack.read(pack, Settings())
    first = Monitor(tmp_path / "first", read, cluster, topic)
    flow = Flow(cluster, topic, rate=3_000)
    second: Monitor | None = None
    try:
        await until_async(lambda: first.rows > 1_000, f"some readings; {first.source.last_error}")
        victim = cluster.nodes[1]
        await asyncio.to_thread(victim.kill)
        await until_async(lambda: first.rows > 8_000, f"more of them; {first.source.last_error}", 60)
        assert first.source.connected, "one of three is no loss"
        second = Monitor(tmp_path / "second", read, cluster, topic)
        other = second
        await until_async(lambda: other.rows > 1_000, f"some for the second; {other.source.last_error}", 60)
        await asyncio.to_thread(cluster.start)
        before = first.rows
        log_of_the_second = await second.end()
        second = None
        await until_async(lambda: first.rows > before + 5_000, "all for the first again", 60)
    finally:
        await asyncio.to_thread(flow.finish)
        if second is not None:
            await second.end()
    share = sum(taken(log_of_the_second).values())
    await until_async(lambda: first.rows + share >= len(flow.rows), "the rest")
    await until_async(lambda: first.source.lag() == 0, "no lag")
    log_of_the_first = await first.end()
    assert taken(log_of_the_first, log_of_the_second) == Counter(flow.rows)
    assert quarantined(log_of_the_first, log_of_the_second) == Counter(flow.poison)
    assert share > 0


def test_a_monitor_that_is_killed_goes_on_where_its_log_ends(
    cluster: Kafka, topic: str, pack: Path, new_instance: Callable[..., Instance]
) -> None:
    subject = new_instance(
        "killed", pack, "mqtt://127.0.0.1:1", IOC_KAFKA__BROKERS=",".join(cluster.brokers),
        IOC_KAFKA__TOPICS=f'["{topic}"]', IOC_LOG__CHECKPOINT_RECORDS="200",
    )  # fmt: skip
    flow = Flow(cluster, topic, rate=4_000)
    try:
        subject.start()
        for _ in range(2):
            before = subject.rows_logged()
            until(lambda at=before: subject.rows_logged() > at + 2_000, 60, "readings in the log")  # type: ignore[misc]
            subject.kill()
            subject.start()
        before = subject.rows_logged()
        until(lambda: subject.rows_logged() > before + 2_000, 60, "readings after the last kill")
    finally:
        flow.finish()
    until(lambda: subject.rows_logged() >= len(flow.rows), 60, "the rest")
    assert subject.stop() == 0
    inputs = subject.inputs()
    assert taken(inputs) == Counter(flow.rows)
    assert quarantined(inputs) == Counter(flow.poison)
    a_second_taking_is_found_out(inputs, flow)


def a_second_taking_is_found_out(inputs: list[Input], flow: Flow) -> None:
    """The net catches: one record twice."""
    twice = next(r for r in inputs if isinstance(r.body, Batch) and r.origin.startswith("kafka@"))
    assert taken([*inputs, twice]) != Counter(flow.rows)
