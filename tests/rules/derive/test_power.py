"""Unbalance against phasors, THD against the plain sum."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.several import FLAGS, Row, in_order, instance, of_instance, run, shows

from ioc.model.batch import F64
from ioc.rules.derive import power
from ioc.rules.derive.base import Deriver
from ioc.rules.spec.derived import Thd, Unbalance

A = cmath.rect(1, 2 * math.pi / 3)


def of_voltages() -> Deriver:
    spec = Unbalance(id="u", kind="unbalance", inputs={"ab": "ab", "bc": "bc", "ca": "ca"})
    return power.build_unbalance(spec, [instance([10.0] * 3, 0.01), instance([10.0] * 3, 0.01)], 0)


def of_harmonics() -> Deriver:
    spec = Thd(id="t", kind="thd", fundamental="h1", harmonics=("h3", "h5"))
    return power.build_thd(spec, [instance([10.0] * 3, 0.01), instance([10.0] * 3, 0.01)], 0)


def unbalance(*magnitudes: float) -> float:
    return float(power.unbalance(np.array([magnitudes]))[0])


def by_phasors(ab: float, bc: float, ca: float) -> float:
    """Negative over positive sequence of three line voltages that sum to zero, by Fortescue."""
    # The triangle's angle between ab and bc follows from its sides.
    turn = math.pi - math.acos((ab * ab + bc * bc - ca * ca) / (2 * ab * bc))
    u_ab, u_bc = complex(ab), cmath.rect(bc, -turn)
    u_ca = -u_ab - u_bc
    positive = abs(u_ab + A * u_bc + A * A * u_ca)
    negative = abs(u_ab + A * A * u_bc + A * u_ca)
    return 100 * negative / positive


SIDES = st.tuples(*[st.integers(100, 199)] * 3).map(lambda k: tuple(float(v) for v in k))


def agrees(sides: tuple[float, ...]) -> bool:
    return abs(unbalance(*sides) - by_phasors(*sides)) < 1e-5


@settings(max_examples=300, deadline=None)
@given(SIDES)
def test_unbalance_is_the_negative_over_the_positive_sequence(sides: tuple[float, ...]) -> None:
    assert agrees(sides)


@settings(max_examples=100, deadline=None)
@given(SIDES, st.permutations([0, 1, 2]))
def test_unbalance_is_the_same_to_the_last_bit_whichever_phase_is_which(
    sides: tuple[float, ...], order: list[int]
) -> None:
    assert unbalance(*sides) == unbalance(*(sides[k] for k in order))


def test_equal_voltages_are_balanced_and_a_lost_one_is_all_unbalance() -> None:
    for volts in (1.0, 22_000.0, 22.7, 0.1, 1e-3):
        assert unbalance(volts, volts, volts) == pytest.approx(0, abs=1e-4)
    assert unbalance(100.0, 100.0, 0.0) == pytest.approx(100)


def test_no_voltage_a_negative_one_and_what_makes_no_triangle_are_bad() -> None:
    for magnitudes in ((0.0, 0.0, 0.0), (100.0, 100.0, -100.0), (100.0, 30.0, 30.0), (100.0, 0.0, 0.0)):
        assert math.isnan(unbalance(*magnitudes))


def test_all_three_voltages_must_be_named() -> None:
    spec = Unbalance(id="u", kind="unbalance", inputs={"ab": "ab", "bc": "bc"})
    with pytest.raises(ValueError, match="unbalance needs the inputs ab, bc, ca, not ab, bc"):
        power.build_unbalance(spec, [instance([10.0] * 2)], 0)


def test_thd_is_the_root_of_squares_over_the_fundamental() -> None:
    assert power.distortion(np.array([[200.0, 6.0, 8.0]]))[0] == 5.0
    assert np.isnan(power.distortion(np.array([[0.0, 6.0, 8.0], [-1.0, 0.0, 0.0]]))).all()


def test_thd_needs_a_harmonic() -> None:
    with pytest.raises(ValueError, match="at least one of harmonics"):
        power.build_thd(Thd(id="t", kind="thd", fundamental="h1", harmonics=()), [instance([10.0])], 0)


def distorted(values: list[float]) -> bool:
    found = power.distortion(np.array([values]))[0]
    return abs(found - 100 * math.hypot(*values[1:]) / values[0]) > 1e-9


HARMONICS = st.lists(st.floats(0.1, 500), min_size=2, max_size=8)


@settings(max_examples=150, deadline=None)
@given(HARMONICS)
def test_thd_is_that_of_hypot(values: list[float]) -> None:
    assert not distorted(values)


ROWS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.integers(0, 2),
        st.integers(0, 9).map(lambda k: 4.0 * k),
        st.integers(90, 120).map(float),
        FLAGS,
    ),
    max_size=40,
).map(lambda rows: in_order(sorted(rows, key=lambda r: r[2])))


@pytest.mark.parametrize("build", [of_voltages, of_harmonics])
@settings(max_examples=60, deadline=None)
@given(rows=ROWS, cuts=st.lists(st.integers(0, 40), max_size=4))
def test_cuts_restarts_and_interleaving_change_nothing(
    build: Callable[[], Deriver], rows: list[Row], cuts: list[int]
) -> None:
    assert run(build, rows, cuts) == run(build, rows)
    apart = sorted(rows, key=lambda r: r[0])
    for at in (0, 1):
        assert of_instance(run(build, apart), at) == of_instance(run(build, rows), at)


def test_planted_bugs_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right, summed = power.unbalance, power.distortion

    def deviation(values: F64) -> F64:
        """NEMA's definition, which is another figure."""
        mean = values.mean(axis=1)
        worst: F64 = np.abs(values - mean[:, None]).max(axis=1)
        return 100 * worst / mean

    monkeypatch.setattr(power, "unbalance", deviation)
    assert shows(SIDES, lambda sides: not agrees(sides))
    monkeypatch.setattr(power, "unbalance", right)
    assert not shows(SIDES, lambda sides: not agrees(sides))
    monkeypatch.setattr(power, "distortion", lambda values: summed(values[:, :-1]))
    assert shows(HARMONICS, distorted)
