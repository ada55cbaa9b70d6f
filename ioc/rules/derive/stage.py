"""The derivations of one pack, between the samples and the rules: fed samples, it gives those of derived series.

Derivers are fed in the order of the plan, each with the samples and what those before it gave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ioc.model.batch import Bool
from ioc.model.event import Event
from ioc.rules import kernels
from ioc.rules.channels import Channels
from ioc.rules.derive.base import Deriver, Fed, Given
from ioc.rules.derive.kinds import builder
from ioc.rules.derive.plan import Planned
from ioc.rules.kernels import Index
from ioc.rules.samples import IGNORED, Samples


@dataclass(slots=True)
class _Part:
    """One deriver in its place. `start`, `count` (channels,): its inputs among the edges `at`, `role`.

    `takes` (channels,): whether `count` is not 0; `once`: whether no channel is an input more than once. `feeders`: the
    parts before it whose channels it takes.
    """

    planned: Planned
    deriver: Deriver
    keys: tuple[str, ...]
    channel: Index
    start: Index
    count: Index
    at: Index
    role: Index
    stations: dict[tuple[str, str], list[int]]
    takes: Bool
    once: bool
    feeders: tuple[int, ...]

    def taken(self, samples: Samples) -> Samples | None:
        """Those of its inputs, if any."""
        return _those(samples, self.takes.take(samples.channel))

    def fed(self, samples: Samples) -> Fed:
        """The samples of its inputs, one for each instance that takes it."""
        if self.once:
            edges = self.start.take(samples.channel)
            return Fed(
                samples.row,
                self.at.take(edges),
                self.role.take(edges),
                samples.event_us,
                samples.value,
                samples.flags,
            )
        edges, owner = kernels.spread(self.start[samples.channel], self.count[samples.channel])
        return Fed(
            samples.row[owner],
            self.at[edges],
            self.role[edges],
            samples.event_us[owner],
            samples.value[owner],
            samples.flags[owner],
        )

    def given(self, given: Given) -> Samples:
        """What it gave, by channel."""
        none = np.zeros(len(given), np.uint16)
        return Samples(given.row, self.channel.take(given.at), given.event_us, given.value, given.flags, none)


class Derivations:
    """Every deriver of one pack, at rest until fed or restored."""

    def __init__(
        self, planned: Sequence[Planned], names: Sequence[str], numbers: Mapping[str, int], utc_offset_us: int
    ) -> None:
        self.names = tuple(names)
        owners = list(range(len(names)))
        labels = list(names)
        of_rule: dict[str, dict[int, int]] = {}
        placed: list[tuple[Planned, list[int], list[int]]] = []
        for one in planned:
            here, channel = [], []
            for place, instance in enumerate(one.instances):
                inputs = [numbers.get(s.id) for s in instance.inputs if s is not None]
                if None in inputs or (instance.output is not None and instance.output.id not in numbers):
                    continue
                here.append(place)
                if instance.output is not None:
                    channel.append(numbers[instance.output.id])
                    continue
                owner = inputs[0]
                assert owner is not None and one.rule is not None
                of_rule.setdefault(one.rule, {})[owner] = len(owners)
                channel.append(len(owners))
                owners.append(owner)
                labels.append(names[owner])
            if here:
                placed.append((one, here, channel))
        self.channels = Channels(tuple(labels), np.array(owners, np.int64), of_rule)
        self._parts: list[_Part] = []
        for what in placed:
            self._parts.append(self._part(*what, numbers, utc_offset_us))
        self._wanted = np.zeros(len(owners), np.bool_)
        for part in self._parts:
            self._wanted |= part.takes
        self._dependents: dict[int, Index] = {}

    def _part(
        self,
        planned: Planned,
        here: Sequence[int],
        channel: Sequence[int],
        numbers: Mapping[str, int],
        utc_offset_us: int,
    ) -> _Part:
        instances = [planned.instances[place] for place in here]
        edges = sorted(
            (numbers[series.id], at, role)
            for at, instance in enumerate(instances)
            for role, series in enumerate(instance.inputs)
            if series is not None
        )
        inputs = np.array([edge[0] for edge in edges], np.int64)
        count = np.bincount(inputs, minlength=len(self.channels)).astype(np.int64)
        takes = count > 0
        stations: dict[tuple[str, str], list[int]] = {}
        for at, instance in enumerate(instances):
            if instance.output is not None:
                stations.setdefault((str(instance.output.domain), instance.station), []).append(at)
        keys = tuple(
            i.output.id if i.output is not None else next(s.id for s in i.inputs if s is not None)
            for i in instances
        )
        return _Part(
            planned,
            builder(planned.kind)(planned.spec, instances, utc_offset_us),
            keys,
            np.array(channel, np.int64),
            np.cumsum(count) - count,
            count,
            np.array([edge[1] for edge in edges], np.int64),
            np.array([edge[2] for edge in edges], np.int64),
            stations,
            takes,
            bool(count.max(initial=0) <= 1),
            tuple(i for i, before in enumerate(self._parts) if takes[before.channel].any()),
        )

    def __bool__(self) -> bool:
        return bool(self._parts)

    def feed(self, samples: Samples) -> list[Samples]:
        """What the derived series make of these samples, deriver by deriver; rows in the order of `samples`."""
        if not self._parts:
            return []
        wanted = self._wanted.take(samples.channel)
        ignored = samples.flags & IGNORED
        if np.count_nonzero(ignored):
            wanted &= ignored == 0
        known = _those(samples, wanted)
        if known is None:
            return []
        gave: dict[int, Samples] = {}
        for at, part in enumerate(self._parts):
            pool = [known, *(gave[feeder] for feeder in part.feeders if feeder in gave)]
            mine = [taken for s in pool if (taken := part.taken(s))]
            if not mine:
                continue
            given = part.deriver.feed(part.fed(Samples.concat(mine)))
            if len(given):
                gave[at] = part.given(given)
        return list(gave.values())

    def feed_event(self, event: Event) -> list[Samples]:
        """What the derived series of its station make of an event, at row 0."""
        out: list[Samples] = []
        for part in self._parts:
            at = part.stations.get((event.domain, event.station))
            if at is not None and len(given := part.deriver.feed_event(event, at)):
                out.append(part.given(given))
        return [*out, *self.feed(Samples.concat(out))] if out else []

    def dependents(self, series: Index) -> Index:
        """Every channel that is computed from these series, by whatever way; sorted."""
        found = [self._below(number) for number in series.tolist()]
        return np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)

    def _below(self, number: int) -> Index:
        known = self._dependents.get(number)
        if known is None:
            reached = {number}
            # The plan's order: whoever needs another stands after it.
            for part in self._parts:
                for channel in sorted(reached):
                    edges = slice(part.start[channel], part.start[channel] + part.count[channel])
                    reached.update(part.channel[part.at[edges]].tolist())
            known = self._dependents[number] = np.array(sorted(reached - {number}), np.int64)
        return known

    def memory(self) -> dict[str, tuple[int, int]]:
        """By definition: how many instances, and the bytes of state of each."""
        return {
            part.planned.name: (
                len(part.keys),
                sum(c.nbytes for c in part.deriver.columns.values()) // len(part.keys),
            )
            for part in self._parts
        }

    def state(self) -> dict[str, Any]:
        """A copy of everything, by definition and instance; canonical."""
        out: dict[str, Any] = {}
        for part in self._parts:
            order = sorted(range(len(part.keys)), key=part.keys.__getitem__)
            columns = {name: column[order] for name, column in part.deriver.columns.items()}
            out[part.planned.name] = {"keys": [part.keys[i] for i in order], "columns": columns}
        return out

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave, instance by instance where the definition's columns are the same."""
        for part in self._parts:
            before = state.get(part.planned.name)
            if before is None or not _alike(part.deriver, before["columns"]):
                continue
            place = {key: i for i, key in enumerate(before["keys"])}
            both = [(i, place[key]) for i, key in enumerate(part.keys) if key in place]
            mine, theirs = [i for i, _ in both], [j for _, j in both]
            for name, column in part.deriver.columns.items():
                column[mine] = before["columns"][name][theirs]

    def take_over(self, before: Derivations) -> None:
        """Another pack: a definition that stands as it stood keeps its state."""
        same = {part.planned.name: part.planned.spec for part in self._parts}
        self.restore(
            {
                part_name: state
                for (part_name, state), part in zip(before.state().items(), before._parts, strict=True)
                if same.get(part_name) == part.planned.spec
            }
        )


def _those(samples: Samples, where: Bool) -> Samples | None:
    """Those of a mask, if any."""
    # Of few rows, copies and `any()` are most of the cost.
    count = np.count_nonzero(where)
    if count == len(where):
        return samples
    return samples.take(where) if count else None


def _alike(deriver: Deriver, columns: Mapping[str, Any]) -> bool:
    return deriver.columns.keys() == columns.keys() and all(
        column.dtype == columns[name].dtype and column.shape[1:] == columns[name].shape[1:]
        for name, column in deriver.columns.items()
    )
