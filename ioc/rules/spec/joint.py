"""Rules over several stations: they judge what the rules on single series said, and the values they name."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ioc.model.text import Text
from ioc.registry import Slug
from ioc.rules.spec.base import Level, Model, Priority, RuleBase, Selector
from ioc.yamlfile import Duration


class Fact(Model):
    """A rule's verdict about an asset: active at `level` or above. Without `asset`: about any, as the rule says."""

    rule: Slug
    asset: str | None = None
    level: Level = 1


class NeighboursRule(RuleBase):
    """k of n: at least `k` assets of one group for which `of` is active at once, each by a sample within `over`.

    Groups: all within `within_km` of each (the asset of the alarm is the station in the middle), one `commune`, or a
    `catchment` (lists of stations by name).
    """

    kind: Literal["neighbours"]
    of: Fact
    k: Annotated[int, Field(ge=2)]
    over: Duration
    within_km: Annotated[float, Field(gt=0)] | None = None
    same: Literal["commune"] | None = None
    catchments: dict[Slug, tuple[str, ...]] = Field(default_factory=dict)
    priority: Priority
    level_name: Text

    @model_validator(mode="after")
    def _check(self) -> NeighboursRule:
        if sum((self.within_km is not None, self.same is not None, bool(self.catchments))) != 1:
            raise ValueError("give one of within_km, same or catchments")
        return self

    @property
    def priorities(self) -> tuple[int, ...]:
        """The one it has."""
        return (self.priority,)


class ConditionRule(RuleBase):
    """CEL over values and facts by name, about one asset: a number for a series, true or false for a fact.

    Evaluated whenever one of them changes; *unknown* while one that it needs is (a sample older than `hold`, bad
    quality, or an unknown fact), by three-valued logic: false && unknown is false.
    """

    kind: Literal["condition"]
    asset: str
    """A station as `{domain}/{station}`, or a series id."""
    values: dict[Slug, str] = Field(default_factory=dict)
    """Name → series id."""
    facts: dict[Slug, Fact] = Field(default_factory=dict)
    when: str
    hold: Duration | None = None
    """How long a value is good for; by default 3 of its series' intervals."""
    on_delay: Duration = 0
    priority: Priority
    level_name: Text

    @property
    def priorities(self) -> tuple[int, ...]:
        """The one it has."""
        return (self.priority,)


class SequenceRule(RuleBase):
    """First one fact, then another within `within` (event time) of it. Ends with the second fact.

    A second fact alone, or a first that ended and began again, starts the sequence anew; a broken sequence is never
    the end of the rule.
    """

    kind: Literal["sequence"]
    asset: str
    first: Fact
    then: Fact
    within: Duration
    priority: Priority
    level_name: Text

    @property
    def priorities(self) -> tuple[int, ...]:
        """The one it has."""
        return (self.priority,)


class TravelRule(RuleBase):
    """Upstream → downstream: a fact upstream announces the wave downstream within `travel` (earliest, latest).

    Raised about the downstream asset when the upstream fact begins, with the times it is expected; ends when the
    downstream fact begins (it came), or the latest time passed without it.
    """

    kind: Literal["travel"]
    upstream: Fact
    downstream: Fact
    """Its `asset` must be given: it is what the alarm is about."""
    travel: tuple[Duration, Duration]
    priority: Priority
    level_name: Text

    @model_validator(mode="after")
    def _check(self) -> TravelRule:
        if self.downstream.asset is None or self.upstream.asset is None:
            raise ValueError("upstream and downstream must name their assets")
        if not 0 <= self.travel[0] <= self.travel[1]:
            raise ValueError("travel is the earliest and the latest time, in this order")
        return self

    @property
    def priorities(self) -> tuple[int, ...]:
        """The one it has."""
        return (self.priority,)


class DisagreesRule(RuleBase):
    """A series that differs from the median of at least `least` neighbours of its quantity by more than `limit`
    (its unit) for `on_delay`: one of them is wrong."""

    kind: Literal["disagrees"]
    series: Selector
    within_km: Annotated[float, Field(gt=0)]
    least: Annotated[int, Field(ge=2)] = 2
    limit: Annotated[float, Field(gt=0)]
    on_delay: Duration = 0
    priority: Priority

    @property
    def priorities(self) -> tuple[int, ...]:
        """The one it has."""
        return (self.priority,)


JointRule = NeighboursRule | ConditionRule | SequenceRule | TravelRule | DisagreesRule
