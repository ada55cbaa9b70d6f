"""Data quality after IOOS QARTOD: what is tested of a series, and the flags of its tests.

A failed test makes a sample *bad* (it neither raises nor clears), a suspect one *uncertain* (it does, but marked).
Parameters are in the series' unit and stand with a quantity, or with one series, in a pack.
"""

from __future__ import annotations

from enum import IntFlag
from typing import Annotated, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ioc.yamlfile import Duration


class Test(IntFlag):
    """Tests that a sample did not pass; `SUSPECT` times a test says that it was only suspect."""

    GROSS_RANGE = 1
    SPIKE = 2
    RATE_OF_CHANGE = 4
    FLAT_LINE = 8
    ATTENUATED = 16
    CLIMATOLOGY = 32
    PHYSICAL_RANGE = 64
    """Outside the registry's range, or sent as bad by the sensor itself."""
    NEIGHBOURS = 128


SUSPECT: Final = 256
FAILED: Final = 255


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Span = tuple[float, float]
M = TypeVar("M", bound=_Model)


def _milder_first(model: M, suspect: float, fail: float | None) -> M:
    if fail is not None and fail < suspect:
        raise ValueError("fail must not lie below suspect")
    return model


class GrossRange(_Model):
    """Outside `fail` is bad, outside `suspect` uncertain."""

    fail: Span
    suspect: Span | None = None

    @model_validator(mode="after")
    def _check(self) -> GrossRange:
        if self.fail[0] > self.fail[1]:
            raise ValueError("fail must be low before high")
        if self.suspect and not self.fail[0] <= self.suspect[0] <= self.suspect[1] <= self.fail[1]:
            raise ValueError("suspect must lie within fail")
        return self


class Spike(_Model):
    """|v − (before + after) / 2| above a threshold; known when the sample after it has come."""

    suspect: Annotated[float, Field(gt=0)]
    fail: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _check(self) -> Spike:
        return _milder_first(self, self.suspect, self.fail)


class RateOfChange(_Model):
    """|v − before| a second above the threshold is suspect; above `fail`, physically impossible, bad."""

    suspect: Annotated[float, Field(gt=0)]
    fail: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _check(self) -> RateOfChange:
        return _milder_first(self, self.suspect, self.fail)


class FlatLine(_Model):
    """All values of the last `suspect` (`fail`) time lie within `tolerance` of each other."""

    tolerance: Annotated[float, Field(gt=0)]
    suspect: Annotated[Duration, Field(gt=0)]
    fail: Annotated[Duration, Field(gt=0)]

    @model_validator(mode="after")
    def _check(self) -> FlatLine:
        return _milder_first(self, self.suspect, self.fail)


class Attenuated(_Model):
    """The range (or standard deviation) over `over` is below a threshold."""

    over: Annotated[Duration, Field(gt=0)]
    suspect: Annotated[float, Field(gt=0)]
    fail: Annotated[float, Field(gt=0)]
    min_obs: Annotated[int, Field(ge=2)]
    check: Literal["range", "std"] = "range"

    @model_validator(mode="after")
    def _check(self) -> Attenuated:
        if self.fail > self.suspect:
            raise ValueError("fail must not lie above suspect: a weaker signal is worse")
        return self


class Season(_Model):
    """The usual in some months of the year, local time; of several seasons of a month the last counts."""

    months: Annotated[tuple[Annotated[int, Field(ge=1, le=12)], ...], Field(min_length=1)]
    suspect: Span
    fail: Span | None = None

    @model_validator(mode="after")
    def _check(self) -> Season:
        if self.suspect[0] > self.suspect[1]:
            raise ValueError("suspect must be low before high")
        if self.fail and not self.fail[0] <= self.suspect[0] <= self.suspect[1] <= self.fail[1]:
            raise ValueError("suspect must lie within fail")
        return self


class QualityTests(_Model):
    """The tests of one quantity or series; those left out are not made."""

    gross_range: GrossRange | None = None
    spike: Spike | None = None
    rate_of_change: RateOfChange | None = None
    flat_line: FlatLine | None = None
    attenuated: Attenuated | None = None
    climatology: tuple[Season, ...] = ()
