"""What every rule and every derived series is written with: sources, selectors, texts, rationalisation.

A limit bears its source and a mark of certainty (`domain.md`'s): F found in the source text, D derived by
arithmetic, S secondary source, M memory, U uncertain. What is U cannot be enabled.
"""

from __future__ import annotations

import datetime
import hashlib
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ioc.model.text import Text
from ioc.registry import Domain, Series, Slug
from ioc.yamlfile import Duration

LEVELS_MAX = 5


class Mark(StrEnum):
    """How certain a figure is."""

    FOUND = "F"
    DERIVED = "D"
    SECONDARY = "S"
    MEMORY = "M"
    UNCERTAIN = "U"


class Model(BaseModel):
    """A part of a file: unknown keys are faults."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(Model):
    """Where a limit comes from."""

    text: str
    article: str = ""
    mark: Mark
    status: str = ""
    verified_by: str = ""


class Selector(Model):
    """Which series are meant: all that match every list given; `ids` adds single ones."""

    domains: tuple[Domain, ...] = ()
    stations: tuple[str, ...] = ()
    quantities: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()

    def matches(self, series: Series) -> bool:
        """Whether this series is meant."""
        if series.id in self.ids:
            return True
        if self.ids and not (self.domains or self.stations or self.quantities):
            return False
        return (
            (not self.domains or series.domain in self.domains)
            and (not self.stations or series.station.id in self.stations)
            and (not self.quantities or series.quantity in self.quantities)
        )


class Rationalisation(Model):
    """Why there is such an alarm (ISA-18.2). Who approved it, and when, only the province can say."""

    cause: Text
    consequence: Text
    action: Text
    """What the officer is expected to do."""
    respond_within: Annotated[Duration, Field(gt=0)]
    approved_by: str = ""
    approved_on: datetime.date | None = None


Priority = Annotated[int, Field(ge=1, le=4)]
Level = Annotated[int, Field(ge=1, le=LEVELS_MAX)]


class RuleBase(Model):
    """What every rule bears."""

    id: Slug
    title: Text
    enabled: bool = True
    mode: Literal["live", "shadow"] = "live"
    """`shadow`: judged like any other, but what it says is only recorded; it makes no alarm."""
    guidance: Text | None = None
    rationalisation: Rationalisation | None = None

    @property
    def priorities(self) -> tuple[int, ...]:
        """Every priority that an alarm of this rule can have."""
        raise NotImplementedError

    @property
    def judged(self) -> str:
        """A digest of what its verdicts depend on: not its title, guidance, rationalisation, source and mode."""
        words = {"title", "guidance", "rationalisation", "source", "mode"}
        return hashlib.sha256(self.model_dump_json(exclude=words).encode()).hexdigest()[:16]
