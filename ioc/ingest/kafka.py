"""Kafka through aiokafka: one member of a consumer group.

Owns the connection, the partitions and how far each is taken. What a fetch brings becomes durable together with the
offsets behind it (the `origin` of its records), so our own log says where to go on; the offsets committed to Kafka
follow it, and tell the other members of the group.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition  # type: ignore[import-untyped]
from aiokafka.abc import ConsumerRebalanceListener  # type: ignore[import-untyped]
from aiokafka.errors import KafkaError, OffsetOutOfRangeError  # type: ignore[import-untyped]

from ioc.errors import BrokerUnavailable
from ioc.ingest.decoder import Decoder
from ioc.ingest.kafka_client import ClientLog, security_settings
from ioc.ingest.kafka_records import Record, RecordDecoder
from ioc.ingest.source import Sink
from ioc.model import Batch, Body, SourceState
from ioc.model.origin import Offsets, of_offsets

BACKOFF_MIN_S = 0.5
BACKOFF_MAX_S = 30.0
STEADY_S = 30.0
"""A session that ends sooner does not reset the backoff."""
START_S = 10.0
"""For the first answer of a broker."""
SESSION_S = 10.0
"""So long after the last heartbeat the group gives our partitions to others."""
REBALANCE_S = 30.0
"""How long the group waits for a member that has to finish something."""
REQUEST_S = 40.0
"""Longer than a rebalance: joining is a request that waits for the others."""
REVOKE_S = 25.0
"""How long what was taken may need to become durable before the partitions are given away all the same."""
FAREWELL_S = 3.0
COMMIT_EVERY_S = 1.0
PROBE_EVERY_S = 2.0
ASK_S = 3.0
"""For an answer to a question that costs a broker nothing."""
NOBODY_S = 5.0
"""Without any broker for so long: not connected."""
LEADERLESS_S = 15.0
"""Without a leader for some partition, or outside the group, for so long: not connected. Kafka's failover takes 9 s."""
STALL_S = 60.0
"""Records wait and none come for so long: the client is stuck and made anew."""
METADATA_S = 30.0
"""How often topics and partitions that are new are looked for."""
END_TRIES = 5
"""How often an end that lies before what we have is asked for: a new leader may not know it yet."""
RETRY_S = 1.0

POLL_MS = 200
RECORDS_MAX = 4_000
"""In one turn of the loop, so that a flood leaves room for the screens."""
ROWS_MAX = 10_000
"""Readings offered at one go; a turn of the loop lies between two."""
PARTITION_BYTES_MAX = 1 << 20
_NOWHERE: Final = TopicPartition("", 0)
"""Polled while we have no partition: it brings nothing, but tells what is wrong."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a partition begins for us. `lost` records were dropped by Kafka before we took them; `anew`: what was known
    lies beyond its end, so that the topic must have been made anew."""

    offset: int
    lost: int = 0
    anew: bool = False


def beginning(own: int | None, committed: int | None, first: int, end: int, start: str) -> Beginning:
    """From the next offset by our own log and by the group, each None where unknown, and what the partition holds.

    Own is ahead of the group's when we crashed before the commit, behind it when another member went on.
    """
    known = [offset for offset in (own, committed) if offset is not None]
    sound = [offset for offset in known if offset <= end]
    if not sound:
        return Beginning(first if start == "earliest" else end, anew=bool(known))
    offset = max(sound)
    return Beginning(max(offset, first), lost=max(0, first - offset), anew=len(sound) < len(known))


class KafkaSource:
    """One consumer group's member. `run` keeps it in the group until cancelled."""

    kind = "kafka"

    def __init__(
        self,
        name: str,
        *,
        brokers: Sequence[str],
        topics: Sequence[str],
        pattern: str,
        group: str,
        start: Literal["earliest", "latest"],
        security: str,
        mechanism: str,
        username: str,
        password: str,
        ca_file: str | None,
        cert_file: str | None,
        key_file: str | None,
        payload_bytes_max: int,
        decoder: Decoder,
        sink: Sink,
        offsets: Callable[[], Mapping[tuple[str, int], int]],
        generation: int = 0,
    ) -> None:
        self.name = name
        self.generation = generation
        self.connected = False
        self.last_error = ""
        self.topics, self.start = frozenset(topics), start
        self.pattern = re.compile(pattern) if pattern else None
        self.records = RecordDecoder(name, decoder, payload_bytes_max)
        self.sink = sink
        self.outstanding = 0
        """Offers that the log has not released yet."""
        self.settled = asyncio.Event()
        """Set while there are none."""
        self.settled.set()
        self._offsets = offsets
        self._offered: Offsets = {}
        """The next offset behind what we have offered: on its way into the log, if it is not there yet."""
        self._session: _Session | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._client_log = ClientLog(name)
        self._settings = {
            "bootstrap_servers": list(brokers),
            "client_id": f"ioc-{name}",
            "group_id": group,
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "isolation_level": "read_committed",
            "session_timeout_ms": int(SESSION_S * 1000),
            "heartbeat_interval_ms": int(SESSION_S * 1000 / 5),
            "rebalance_timeout_ms": int(REBALANCE_S * 1000),
            "request_timeout_ms": int(REQUEST_S * 1000),
            "metadata_max_age_ms": int(METADATA_S * 1000),
            "max_partition_fetch_bytes": max(PARTITION_BYTES_MAX, payload_bytes_max),
            **security_settings(security, mechanism, username, password, ca_file, cert_file, key_file),
        }

    async def run(self) -> None:
        """Join, serve, and join again with backoff and full jitter, until cancelled."""
        loop = asyncio.get_running_loop()
        ceiling = BACKOFF_MIN_S
        with self._client_log.attached():
            try:
                while True:
                    begun = loop.time()
                    try:
                        await self._serve()
                    except BrokerUnavailable as error:
                        self.down(str(error))
                    if loop.time() - begun > STEADY_S:
                        ceiling = BACKOFF_MIN_S
                    await asyncio.sleep(random.uniform(BACKOFF_MIN_S / 5, ceiling))
                    ceiling = min(ceiling * 2, BACKOFF_MAX_S)
            finally:
                if self.connected:
                    self.connected = False
                    self._state("stopped")

    async def _serve(self) -> None:
        """One consumer from its making to its end. Raises BrokerUnavailable when it is of no more use."""
        consumer = AIOKafkaConsumer(**self._settings)
        session = self._session = _Session(self, consumer)
        try:
            await session.run()
        except (KafkaError, OSError) as error:
            raise BrokerUnavailable(f"{error!s:.200}; {self._client_log.last:.200}".strip("; ")) from error
        finally:
            await session.farewell()
            self._session = None
            # With brokers out of reach this may take until its requests time out.
            ending = asyncio.create_task(consumer.stop())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            ending.add_done_callback(_ignore_result)
            await asyncio.wait([ending], timeout=FAREWELL_S)

    def resume(self) -> None:
        """The sink may have room again."""
        if self._session is not None and not self.sink.full:
            self._session.room.set()

    def lag(self) -> int | None:
        """Records of our partitions that wait at the brokers, at most some seconds old; None while not connected."""
        return self._session.lag if self._session is not None and self.connected else None

    # What a session tells.

    def up(self) -> None:
        """Readings can come."""
        if self.connected:
            return
        self.connected = True
        self.last_error = ""
        self.generation += 1
        self._client_log.begin_anew()
        log.info("connected", source=self.name, generation=self.generation)
        self._state("")

    def down(self, reason: str) -> None:
        """They cannot."""
        if reason != self.last_error:
            log.warning("not connected", source=self.name, reason=reason)
            self._client_log.begin_anew()
        self.last_error = reason
        if self.connected:
            self.connected = False
            self._state(reason)

    def _state(self, detail: str) -> None:
        state = SourceState(self.name, self.connected, self.generation, detail)
        self.sink.offer(state, f"{self.name}#{self.generation}")

    def own(self, partition: tuple[str, int]) -> int | None:
        """The next offset by what is in our log or on its way there."""
        return self._offered.get(partition, self._offsets().get(partition))

    def begin_at(self, partition: tuple[str, int], offset: int) -> None:
        """Whatever was known of it before, it goes on there."""
        self._offered[partition] = offset

    def offer(self, bodies: Sequence[Body], offsets: Offsets) -> None:
        """Into the log, all of it and its offsets together."""
        self.outstanding += 1
        self.settled.clear()
        self._offered.update(offsets)

        def release() -> None:
            self.outstanding -= 1
            if not self.outstanding:
                self.settled.set()
            if self._session is not None:
                self._session.safe(offsets)

        self.sink.offer_all(bodies, of_offsets(self.name, offsets), release)


class _Session(ConsumerRebalanceListener):  # type: ignore[misc]
    """One consumer, and the partitions that the group has given it."""

    def __init__(self, source: KafkaSource, consumer: AIOKafkaConsumer) -> None:
        self.room = asyncio.Event()
        self.lag = 0
        self._source = source
        self._consumer = consumer
        self._subscribed: frozenset[str] = frozenset()
        self._member = False
        self._tenure = 0
        """Counts the assignments: what one fetched is not the next one's to take."""
        self._unplaced: set[TopicPartition] = set()
        """Given to us; where they begin is not known yet."""
        self._to_place = asyncio.Event()
        self._next: dict[TopicPartition, int] = {}
        """By partition that we take from: the next offset to take, of others nothing is taken whatever is fetched.
        Between two turns of the loop all before it has been offered."""
        self._durable: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._moved_at = 0.0
        self._leaving = asyncio.Lock()

    async def run(self) -> None:
        """Until it fails: with KafkaError, BrokerUnavailable or OSError, unless it is a bug."""
        try:
            async with asyncio.timeout(START_S):
                await self._consumer.start()
        except TimeoutError as error:
            raise BrokerUnavailable(f"no answer within {START_S:.0f} s") from error
        parts = (self._consume, self._place, self._commit_for_ever, self._watch)
        tasks = [asyncio.create_task(part()) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def farewell(self) -> None:
        """Commit what is safe, as far as it can be done soon."""
        await self._let_go(FAREWELL_S)

    # What the group decides. aiokafka waits for these, and takes a fault in them for nothing.

    async def on_partitions_revoked(self, revoked: object) -> None:
        """Before others get them: what we took becomes durable, and the group is told."""
        await self._let_go(REVOKE_S)

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """These are ours now. No heartbeat leaves before this returns, so finding the beginnings happens apart."""
        self._tenure += 1
        self._next.clear()
        self._durable.clear()
        self._committed.clear()
        self._unplaced = set(assigned)
        self._member = True
        self._moved_at = asyncio.get_running_loop().time()
        self._to_place.set()

    async def _let_go(self, limit_s: float) -> None:
        tenure = self._tenure
        taken, self._next = self._next, {}
        self._unplaced.clear()
        async with self._leaving:
            if not self._member or tenure != self._tenure:
                return
            try:
                async with asyncio.timeout(limit_s):
                    await self._source.settled.wait()
            except TimeoutError:
                log.warning("partitions given away before all of them was safe", source=self._source.name)
                taken = self._durable
            await self._commit(taken, limit_s)
            if tenure == self._tenure:
                self._member = False

    # Where to begin.

    async def _place(self) -> None:
        while True:
            await self._to_place.wait()
            self._to_place.clear()
            losses = await asyncio.gather(*map(self._place_one, list(self._unplaced)))
            if self._unplaced:
                # Some partition has no leader just now; those that have one are read meanwhile.
                await asyncio.sleep(RETRY_S)
                self._to_place.set()
            elif self._member:
                self._source.up()
            for loss in filter(None, losses):
                log.error("records lost", source=self._source.name, reason=loss)
                self._source.last_error = loss

    async def _place_one(self, partition: TopicPartition) -> str:
        """Find where it begins, unless it has no leader just now. What was lost, if anything was."""
        tenure, source, consumer = self._tenure, self._source, self._consumer
        try:
            for _ in range(END_TRIES):
                async with asyncio.timeout(ASK_S):
                    committed = await consumer.committed(partition)
                    first = (await consumer.beginning_offsets([partition]))[partition]
                    end = (await consumer.end_offsets([partition]))[partition]
                begin = beginning(source.own(partition), committed, first, end, source.start)
                if not begin.anew:
                    break
                await asyncio.sleep(RETRY_S)
        except (KafkaError, TimeoutError):
            return ""
        if tenure != self._tenure or partition not in self._unplaced:
            return ""
        place = f"{partition.topic}/{partition.partition}"
        if begin.anew:
            log.warning("a topic was made anew", source=source.name, partition=place, begins=begin.offset)
        consumer.seek(partition, begin.offset)
        source.begin_at(partition, begin.offset)
        self._unplaced.discard(partition)
        self._next[partition] = begin.offset
        if committed is not None and committed <= begin.offset:
            self._committed[partition] = committed
        if not source.outstanding:
            # "latest" must not move on while nothing has come yet.
            self._durable[partition] = begin.offset
        if not begin.lost:
            return ""
        return f"{begin.lost} records of {place} were dropped by Kafka before they were taken"

    # Taking.

    async def _consume(self) -> None:
        while True:
            await self._room()
            try:
                fetched = await self._consumer.getmany(
                    *(self._next or (_NOWHERE,)), timeout_ms=POLL_MS, max_records=RECORDS_MAX
                )
            except OffsetOutOfRangeError as error:
                for partition in error.args[0]:
                    if self._next.pop(partition, None) is not None:
                        self._unplaced.add(partition)
                # What is on its way belongs to what was there before.
                await self._source.settled.wait()
                self._to_place.set()
                continue
            if fetched:
                self._moved_at = asyncio.get_running_loop().time()
                await self._take(fetched)

    async def _take(self, fetched: Mapping[TopicPartition, Sequence[Record]]) -> None:
        """Offer it piece by piece. What is revoked meanwhile is left to its next owner."""
        tenure, source = self._tenure, self._source
        received_us = source.sink.received_us()
        bodies: list[Body] = []
        offsets: Offsets = {}
        rows = 0
        for partition, records in fetched.items():
            for found, following in source.records.feed(records, received_us):
                if tenure != self._tenure or partition not in self._next:
                    break
                bodies += found
                rows += sum(len(body) if isinstance(body, Batch) else 1 for body in found)
                self._next[partition] = offsets[partition] = following
                if rows >= ROWS_MAX:
                    source.offer(bodies, offsets)
                    bodies, offsets, rows = [], {}, 0
                    await asyncio.sleep(0)
                    await self._room()
        if bodies:
            source.offer(bodies, offsets)
        await asyncio.sleep(0)

    async def _room(self) -> None:
        """Wait until the sink has some."""
        if not self._source.sink.full:
            return
        self.room.clear()
        self._consumer.pause(*self._next)
        await self.room.wait()
        self._consumer.resume(*self._consumer.paused())
        self._moved_at = asyncio.get_running_loop().time()

    # What the group is told.

    def safe(self, offsets: Offsets) -> None:
        """What lies before these, of all that was offered, is in the log. They may be of an earlier assignment."""
        if not self._source.outstanding:
            self._durable = dict(self._next)
            return
        for partition, offset in offsets.items():
            place = TopicPartition(*partition)
            known = max(self._durable.get(place, 0), self._committed.get(place, 0))
            if known < offset <= self._next.get(place, 0):
                self._durable[place] = offset

    async def _commit_for_ever(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_EVERY_S)
            await self._commit({p: self._durable[p] for p in self._next if p in self._durable})

    async def _commit(self, offsets: Mapping[TopicPartition, int], limit_s: float = ASK_S) -> None:
        """Tell the group. What fails is told with the next; the client says why."""
        changed = {p: offset for p, offset in offsets.items() if self._committed.get(p) != offset}
        if not changed:
            return
        with _unless_refused():
            async with asyncio.timeout(limit_s):
                await self._consumer.commit(changed)
            self._committed.update(changed)

    # Whether it goes well.

    async def _watch(self) -> None:
        source, loop = self._source, asyncio.get_running_loop()
        well_at = looked_at = loop.time()
        await self._look_for_topics()
        while True:
            trouble, patience_s = await self._trouble()
            now = loop.time()
            if not trouble:
                well_at = now
                source.up()
                if self._next and self.lag and now - self._moved_at > STALL_S and not source.sink.full:
                    raise BrokerUnavailable(f"{self.lag} records wait and none come")
            elif now - well_at >= patience_s:
                source.down(trouble)
                if patience_s == NOBODY_S:
                    raise BrokerUnavailable(trouble)
            if source.topics - self._subscribed or (source.pattern and now - looked_at > METADATA_S):
                looked_at = now
                await self._look_for_topics()
            await asyncio.sleep(PROBE_EVERY_S)

    async def _trouble(self) -> tuple[str, float]:
        """What keeps readings from coming, empty if nothing does, and how long that is borne."""
        ours = [*self._next, *self._unplaced]
        if ours:
            with _unless_refused():
                async with asyncio.timeout(ASK_S):
                    ends = await self._consumer.end_offsets(ours)
                self.lag = await self._behind(ends)
                if not self._unplaced:
                    return "", 0.0
        if await self._topics() is None:
            return "no broker answers", NOBODY_S
        if not self._subscribed:
            return "none of the topics exists", 0.0
        if not self._member:
            return "the group has not given out its partitions", LEADERLESS_S
        return ("some partition has no leader", LEADERLESS_S) if ours else ("", 0.0)

    async def _behind(self, ends: Mapping[TopicPartition, int]) -> int:
        """Records between what we have taken and the ends. Positions, unlike `_next`, count transactions' marks."""
        behind = 0
        for partition in list(self._next):
            if partition in ends:
                behind += max(0, ends[partition] - await self._consumer.position(partition))
        return behind

    async def _look_for_topics(self) -> None:
        """Subscribe to what exists; asking for a topic that does not could make it."""
        source = self._source
        there = await self._topics()
        wanted = frozenset(
            topic
            for topic in there or ()
            if topic in source.topics or (source.pattern is not None and source.pattern.fullmatch(topic))
        )
        if wanted and wanted != self._subscribed:
            log.info(
                "topics", source=source.name, read=sorted(wanted), missing=sorted(source.topics - wanted)
            )
            while self._member:
                # The old subscription's offsets cannot be committed under the new one.
                await self._let_go(REVOKE_S)
            self._subscribed = wanted
            self._consumer.subscribe(topics=sorted(wanted), listener=self)

    async def _topics(self) -> set[str] | None:
        """All topics that we may see; None if no broker answers."""
        with _unless_refused():
            async with asyncio.timeout(ASK_S):
                found: set[str] = await self._consumer.topics()
                return found
        return None


def _unless_refused() -> contextlib.suppress:
    """Around what is tried again soon anyway; the client says why it failed."""
    return contextlib.suppress(KafkaError, TimeoutError)


def _ignore_result(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()
