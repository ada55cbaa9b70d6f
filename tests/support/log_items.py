"""Records and journal entries for tests of the log: plain ones, and Hypothesis strategies for all there can be."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ioc.model import (
    Acknowledge,
    AddToken,
    Batch,
    Body,
    Condition,
    Event,
    Input,
    PackLoaded,
    Reason,
    Rejected,
    RemoveUser,
    RevokeToken,
    Role,
    SeriesAdded,
    SetUser,
    SourceState,
    State,
    Step,
    SystemFact,
    Tick,
    Transition,
)

START_US = 1_764_000_000_000_000


def batch(n: int, seed: int = 0) -> Batch:
    """`n` readings with nothing regular in them."""
    rng = np.random.default_rng(seed)
    received_us = START_US + np.cumsum(rng.integers(1, 1_000, n))
    return Batch.of(
        "mqtt",
        rng.integers(0, 1_000, n),
        received_us - rng.integers(0, 10**6, n),
        received_us,
        rng.normal(size=n),
    )


def item(number: int, body: Body | None = None) -> Input:
    """Record `number`; a small batch unless told."""
    return Input(number, START_US + number, batch(3, number) if body is None else body, f"1/{number}")


def items(first: int, last: int) -> list[Input]:
    """Records `first` to `last`."""
    return [item(number) for number in range(first, last + 1)]


def transition(number: int, step: int = 1) -> Transition:
    """A journal entry of record `number`."""
    return Transition(
        id=f"{number:012d}{step:012d}",
        alarm="0123456789abcdef",
        rule="river_alarm_level",
        asset="disaster/lao_cai/water_level",
        occurrence=1,
        step=step,
        kind=Step.ONSET,
        before=State.NORMAL,
        after=State.UNACKED,
        condition=Condition.ACTIVE,
        level=1,
        priority=2,
        value=84.2,
        limit=83.5,
        event_us=START_US,
        now_us=START_US + number,
        input=number,
        sounds=True,
    )


def same(one: Any, other: Any) -> bool:
    """Equality to the bit: NaNs of one pattern are equal, and 0.0 is not -0.0."""
    if isinstance(one, Input) and isinstance(other, Input):
        head = (one.number, one.now_us, one.origin) == (other.number, other.now_us, other.origin)
        return head and same(one.body, other.body)
    if isinstance(one, Batch) and isinstance(other, Batch):
        return one.equals(other)
    if isinstance(one, Event) and isinstance(other, Event):
        # Facts hold 1, 1.0 and True apart, which Python does not.
        return one == other and repr(one) == repr(other)
    if isinstance(one, SystemFact | Transition):
        names = type(one).__match_args__
        return type(one) is type(other) and all(
            same(getattr(one, name), getattr(other, name)) for name in names
        )
    if isinstance(one, float) and isinstance(other, float):
        return struct.pack("<d", one) == struct.pack("<d", other)
    return type(one) is type(other) and bool(one == other)


text = st.text(max_size=20)
int64 = st.integers(-(2**63), 2**63 - 1)
floats = st.one_of(
    st.floats(width=64),
    st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", bits.to_bytes(8, "little"))[0]),
)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Any batch: wild columns or constant ones, with and without differences worth taking."""
    n = draw(st.one_of(st.integers(0, 5), st.integers(28, 40)))

    def column(dtype: Any) -> Any:
        return draw(
            hnp.arrays(
                dtype, n, elements=hnp.from_dtype(np.dtype(dtype)), fill=hnp.from_dtype(np.dtype(dtype))
            )
        )

    bits = column(np.int64)
    return Batch(
        draw(text), column(np.int32), column(np.int64), column(np.int64), bits.view(np.float64),
        column(np.uint16), column(np.uint16),
    )  # fmt: skip


commands = st.one_of(
    st.builds(
        Acknowledge, actor=text, actor_name=text, key=text, alarm=text, version=st.integers(), note=text
    ),
    st.builds(
        SetUser,
        actor=text,
        actor_name=text,
        key=text,
        user=text,
        name=text,
        role=st.sampled_from(Role),
        secret=text,
    ),
    st.builds(RemoveUser, actor=text, actor_name=text, key=text, user=text),
    st.builds(AddToken, actor=text, actor_name=text, key=text, token=text, digest=text),
    st.builds(RevokeToken, actor=text, actor_name=text, key=text, token=text),
)
facts = st.dictionaries(
    text,
    st.recursive(
        st.one_of(st.none(), st.booleans(), int64, st.floats(allow_nan=False, allow_infinity=False), text),
        lambda parts: st.lists(parts, max_size=3) | st.dictionaries(text, parts, max_size=3),
        max_leaves=5,
    ),
    max_size=4,
)
events = st.builds(
    Event,
    source=text,
    domain=st.sampled_from(["environment", "disaster", "energy"]),
    station=text,
    kind=text,
    id=text,
    revision=st.integers(1, 2**53),
    start_us=int64,
    end_us=int64,
    received_us=int64,
    facts=facts,
)
bodies = st.one_of(
    events,
    batches(),
    commands,
    st.builds(
        Rejected,
        source=text,
        topic=text,
        reason=st.sampled_from(Reason),
        detail=text,
        received_us=int64,
        payload=st.binary(max_size=60),
        length=st.integers(0, 2**40),
        item=st.integers(-1, 2**31),
    ),
    st.builds(PackLoaded, hash=text, name=text),
    st.builds(
        SeriesAdded,
        items=st.lists(st.tuples(st.integers(0, 2**31 - 1), text), max_size=5).map(tuple),
        auto=st.booleans(),
    ),
    st.builds(
        SourceState, source=text, connected=st.booleans(), generation=st.integers(0, 2**40), detail=text
    ),
    st.builds(SystemFact, name=text, asset=text, active=st.booleans(), value=floats, detail=text),
    st.just(Tick()),
)
inputs = st.builds(Input, number=st.integers(1, 2**63 - 1), now_us=int64, body=bodies, origin=text)
transitions = st.builds(
    Transition,
    id=text,
    alarm=text,
    rule=text,
    asset=text,
    occurrence=st.integers(1, 2**40),
    step=st.integers(1, 2**40),
    kind=st.sampled_from(Step),
    before=st.sampled_from(State),
    after=st.sampled_from(State),
    condition=st.sampled_from(Condition),
    level=st.integers(0, 9),
    priority=st.integers(1, 4),
    value=floats,
    limit=floats,
    event_us=int64,
    now_us=int64,
    input=st.integers(1, 2**63 - 1),
    sounds=st.booleans(),
    backlog=st.booleans(),
    actor=text,
    actor_name=text,
    note=text,
    detail=text,
)
