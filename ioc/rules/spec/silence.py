"""Rules about data that do not come, come too late or from the future, and about the centre itself."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ioc.rules.spec.base import Priority, RuleBase, Selector
from ioc.yamlfile import Duration


class _OnePriority(RuleBase):
    priority: Priority

    @property
    def priorities(self) -> tuple[int, ...]:
        """The one it has."""
        return (self.priority,)


class NoDataRule(_OnePriority):
    """Silence: nothing new of a series for its deadline while its source is connected (receive time)."""

    kind: Literal["no_data"]
    series: Selector = Selector()


class TooLateRule(_OnePriority):
    """Data comes, but every sample is older than `max_age`: too late to warn."""

    kind: Literal["too_late"]
    series: Selector = Selector()


class ClockSkewRule(_OnePriority):
    """Samples come from the future, or with stamps far from their receipt: the station's clock is wrong.

    Raised by `count` samples one after the other that are FUTURE; ended by the first one that is not.
    """

    kind: Literal["clock_skew"]
    series: Selector = Selector()
    count: Annotated[int, Field(ge=1)] = 3


class SourceDownRule(_OnePriority):
    """A source has been disconnected for `after`: one alarm, and its series are blind spots."""

    kind: Literal["source_down"]
    after: Duration


class SystemRule(_OnePriority):
    """A fact about the centre itself (`disk_low`, `clock_step`)."""

    kind: Literal["system"]
    fact: str
