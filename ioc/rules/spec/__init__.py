"""Rules and derived series as people write them in YAML, checked by pydantic."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ioc.rules.spec.base import LEVELS_MAX, Mark, Model, Rationalisation, RuleBase, Selector, Source
from ioc.rules.spec.derived import Derived, DerivedFile, OfOne, Value
from ioc.rules.spec.joint import (
    ConditionRule,
    DisagreesRule,
    Fact,
    JointRule,
    NeighboursRule,
    SequenceRule,
    TravelRule,
)
from ioc.rules.spec.limit import LimitLevel, LimitRule, Period, StationLimit
from ioc.rules.spec.silence import ClockSkewRule, NoDataRule, SourceDownRule, SystemRule, TooLateRule

__all__ = [
    "LEVELS_MAX",
    "ClockSkewRule",
    "ConditionRule",
    "Derived",
    "DerivedFile",
    "DisagreesRule",
    "Fact",
    "JointRule",
    "LimitLevel",
    "LimitRule",
    "Mark",
    "Model",
    "NeighboursRule",
    "NoDataRule",
    "OfOne",
    "Period",
    "Rationalisation",
    "Rule",
    "RuleBase",
    "RulesFile",
    "Selector",
    "SequenceRule",
    "Source",
    "SourceDownRule",
    "StationLimit",
    "SystemRule",
    "TooLateRule",
    "TravelRule",
    "Value",
]

Rule = Annotated[
    LimitRule
    | NoDataRule
    | TooLateRule
    | ClockSkewRule
    | SourceDownRule
    | SystemRule
    | NeighboursRule
    | ConditionRule
    | SequenceRule
    | TravelRule
    | DisagreesRule,
    Field(discriminator="kind"),
]


class RulesFile(Model):
    """`rules/*.yaml`."""

    rules: tuple[Rule, ...]
