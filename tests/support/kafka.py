"""A Kafka without brokers for unit tests: partitions as lists, and a consumer with the part of aiokafka's interface that
`ioc.ingest.kafka` uses, the race included that it fetches before anybody has said where to begin."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition  # type: ignore[import-untyped]
from aiokafka.errors import (  # type: ignore[import-untyped]
    IllegalStateError,
    KafkaConnectionError,
    OffsetOutOfRangeError,
)


@dataclass
class Item:
    """A record as aiokafka gives it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


@dataclass
class Cluster:
    """What the brokers hold. `alive = False` takes all of them away."""

    partitions: dict[TopicPartition, list[Item]] = field(default_factory=dict)
    first: dict[TopicPartition, int] = field(default_factory=dict)
    committed: dict[TopicPartition, int] = field(default_factory=dict)
    alive: bool = True
    leaderless: set[TopicPartition] = field(default_factory=set)
    members: list[Consumer] = field(default_factory=list)
    made: list[Consumer] = field(default_factory=list)

    def create(self, topic: str, partitions: int = 1) -> None:
        for number in range(partitions):
            self.partitions[TopicPartition(topic, number)] = []
            self.first[TopicPartition(topic, number)] = 0

    def end(self, partition: TopicPartition) -> int:
        items = self.partitions[partition]
        return items[-1].offset + 1 if items else self.first[partition]

    def put(
        self,
        topic: str,
        key: str | None,
        value: bytes | None,
        partition: int = 0,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        place = TopicPartition(topic, partition)
        name = None if key is None else key.encode()
        self.partitions[place].append(Item(topic, partition, self.end(place), name, value, headers))

    def drop_before(self, partition: TopicPartition, offset: int) -> None:
        """Retention."""
        self.partitions[partition] = [i for i in self.partitions[partition] if i.offset >= offset]
        self.first[partition] = offset

    def topics(self) -> set[str]:
        return {place.topic for place in self.partitions}

    def consumer(self, **settings: Any) -> Consumer:
        """In place of aiokafka's class."""
        made = Consumer(self, settings)
        self.made.append(made)
        return made

    async def rebalance(self) -> None:
        """The group deals its partitions out anew: first everybody lets go, then everybody gets."""
        for member in self.members:
            member.rebalancing = True
            await member.listener.on_partitions_revoked(set(member.positions))
        wanted = [p for p in sorted(self.partitions) if any(p.topic in m.subscribed for m in self.members)]
        for number, member in enumerate(self.members):
            mine = [p for i, p in enumerate(wanted) if i % len(self.members) == number]
            # aiokafka begins at the committed offset, and at once.
            member.positions = {p: self.committed.get(p) for p in mine}
            member.paused_ones.clear()
            member.rebalancing = False
            member.listener.on_partitions_assigned(set(mine))


class Consumer:
    """One member."""

    def __init__(self, cluster: Cluster, settings: dict[str, Any]) -> None:
        self.cluster = cluster
        self.settings = settings
        self.listener: Any = None
        self.subscribed: set[str] = set()
        self.positions: dict[TopicPartition, int | None] = {}
        self.paused_ones: set[TopicPartition] = set()
        self.rebalancing = False
        self.fatal: Exception | None = None
        self.stopped = False
        self._joining: asyncio.Task[None] | None = None

    def _ask(self, places: Iterable[TopicPartition] = ()) -> None:
        if not self.cluster.alive or self.cluster.leaderless & set(places):
            raise KafkaConnectionError("nobody there")

    async def start(self) -> None:
        self._ask()

    async def stop(self) -> None:
        self.stopped = True
        if self in self.cluster.members:
            self.cluster.members.remove(self)
            await self.cluster.rebalance()

    async def topics(self) -> set[str]:
        self._ask()
        return self.cluster.topics()

    def subscribe(self, *, topics: Sequence[str], listener: Any) -> None:
        self.subscribed, self.listener = set(topics), listener
        if self not in self.cluster.members:
            self.cluster.members.append(self)
        self._joining = asyncio.create_task(self.cluster.rebalance())

    async def getmany(
        self, *places: TopicPartition, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, list[Item]]:
        await asyncio.sleep(0)
        if self.fatal is not None:
            raise self.fatal
        found: dict[TopicPartition, list[Item]] = {}
        for place in places:
            position = self.positions.get(place)
            if self.rebalancing or position is None or place in self.paused_ones or not self.cluster.alive:
                continue
            if position < self.cluster.first[place] or position > self.cluster.end(place):
                raise OffsetOutOfRangeError({place: position})
            items = [i for i in self.cluster.partitions[place] if i.offset >= position][:max_records]
            if items:
                found[place] = items
                self.positions[place] = items[-1].offset + 1
                max_records -= len(items)
                if not max_records:
                    break
        if not found:
            await asyncio.sleep(0.001)
        return found

    def seek(self, place: TopicPartition, offset: int) -> None:
        self._mine([place])
        self.positions[place] = offset

    async def position(self, place: TopicPartition) -> int:
        self._mine([place])
        position = self.positions[place]
        assert position is not None
        return position

    async def committed(self, place: TopicPartition) -> int | None:
        self._ask()
        await asyncio.sleep(0)
        return self.cluster.committed.get(place)

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        self._ask()
        self._mine(offsets)
        await asyncio.sleep(0)
        self.cluster.committed.update(offsets)

    async def beginning_offsets(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        self._ask(places)
        return {p: self.cluster.first[p] for p in places}

    async def end_offsets(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        self._ask(places)
        await asyncio.sleep(0)
        return {p: self.cluster.end(p) for p in places}

    def pause(self, *places: TopicPartition) -> None:
        self._mine(places)
        self.paused_ones |= set(places)

    def paused(self) -> set[TopicPartition]:
        return set(self.paused_ones)

    def resume(self, *places: TopicPartition) -> None:
        self._mine(places)
        self.paused_ones -= set(places)

    def _mine(self, places: Iterable[TopicPartition]) -> None:
        if not set(places) <= set(self.positions):
            raise IllegalStateError(f"{places} are not assigned")
