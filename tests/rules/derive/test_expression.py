"""CEL expressions: what they give, what is bad, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.several import FLAGS, Row, S, Told, in_order, instance, of_instance, run, shows

from ioc.model.batch import Flag
from ioc.rules.derive import expression
from ioc.rules.derive.base import Deriver
from ioc.rules.spec.derived import Expression


def of(cel: str, *names: str, resolution: float = 0.1) -> Deriver:
    spec = Expression(id="x", kind="expression", inputs={name: name for name in names}, cel=cel)
    at = [instance([10.0] * len(names), resolution) for _ in range(2)]
    return expression.build(spec, at, 0)


def last(cel: str, **values: float) -> float | None:
    """What one round of these values gives."""
    rows: list[Row] = [(0, role, 0.0, value, 0) for role, value in enumerate(values.values())]
    result = run(lambda: of(cel, *values), rows)
    assert len(result) == 1
    return result[0][3]


@pytest.mark.parametrize(
    ("cel", "value"),
    [
        ("a + b * 2.0", 11.0),
        ("(a - b) / a", -0.3),
        ("min(a, b)", 3.0),
        ("max(a, b, 9.0)", 9.0),
        ("abs(a - b)", 1.0),
        ("a > b ? a : b", 4.0),
        ("a > 1 ? 1 : 0", 1.0),
        ("double(3) + a", 6.0),
    ],
)
def test_what_an_expression_gives(cel: str, value: float) -> None:
    assert last(cel, a=3.0, b=4.0) == value


@pytest.mark.parametrize(
    ("cel", "a", "b"),
    [
        ("a / b", 1.0, 0.0),
        ("a / b", 0.0, 0.0),
        ("[a][int(b)]", 1.0, 5.0),
        ("a * b", 1e200, 1e200),
        ("a", 1e18, 0.0),
    ],
)
def test_what_cannot_be_evaluated_is_bad(cel: str, a: float, b: float) -> None:
    assert last(f"b == 77.0 ? b : ({cel})", a=a, b=b) is None


def test_a_bad_round_does_not_stop_the_next() -> None:
    rows: list[Row] = [
        (0, r, t, v, 0) for t, pair in ((0.0, (1.0, 0.0)), (10.0, (1.0, 2.0))) for r, v in enumerate(pair)
    ]
    assert run(lambda: of("a / b", "a", "b"), rows) == [(1, 0, 0, None, Flag.BAD), (3, 0, 10 * S, 0.5, 0)]


@pytest.mark.parametrize(
    ("cel", "reason"),
    [
        ("a +", "Syntax error"),
        ("", "Failed to parse"),
        ("a + c", r"names c, which is none of its inputs \(a, b\)"),
        ("sqrt(a)", "calls sqrt, which is not known here; known are abs, double"),
        ("math.sqrt(a)", "names math"),
        ("a * 2", "CEL does not coerce.*write 2.0, not 2"),
        ("a > 50.0 ? a : b * 2", "write 2.0"),
        ("a > b", "must give a number, not bool"),
        ("a > 50.0 ? 'high' : 'low'", "must give a number, not str"),
        ("[a, b]", "must give a number, not list"),
    ],
)
def test_what_is_refused_and_why(cel: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        of(cel, "a", "b")


NUMBERS = st.integers(-50, 50).map(lambda k: k / 10)
ROWS = st.lists(
    st.tuples(
        st.integers(0, 1), st.integers(0, 1), st.integers(0, 20).map(lambda k: k * 5.0), NUMBERS, FLAGS
    ),
    max_size=40,
).map(lambda rows: in_order(sorted(rows, key=lambda r: r[2])))
CEL = "a > b ? (a - b) / b : max(a, -b) + 0.25"


def plain(rows: list[Row]) -> list[Told]:
    """The expression as Python writes it, over pairs that lie within five seconds."""
    seen: dict[tuple[int, int], tuple[float, float, int]] = {}
    result: list[Told] = []
    for row, (at, role, seconds, value, flags) in enumerate(rows):
        if flags & (Flag.LATE | Flag.REVISED):
            continue
        seen[at, role] = seconds, value, flags
        other = seen.get((at, 1 - role))
        if other is None or abs(seconds - other[0]) > 5:
            continue
        (_, a, fa), (_, b, fb) = (seen.pop((at, r)) for r in (0, 1))
        said = (fa | fb) & (Flag.UNCERTAIN | Flag.BACKLOG)
        bad = bool((fa | fb) & (Flag.BAD | Flag.OUT_OF_RANGE)) or (a > b and b == 0)
        value = math.nan if bad else (a - b) / b if a > b else max(a, -b) + 0.25
        told = None if bad else round(value * 10) / 10
        result.append((row, at, round(max(seconds, other[0]) * S), told, said | (Flag.BAD if bad else 0)))
    return result


def both() -> Deriver:
    return of(CEL, "a", "b")


@settings(max_examples=150, deadline=None)
@given(ROWS)
def test_rows_are_judged_as_by_a_plain_loop(rows: list[Row]) -> None:
    assert run(both, rows) == plain(rows)


@settings(max_examples=80, deadline=None)
@given(ROWS, st.lists(st.integers(0, 50), max_size=4))
def test_cuts_restarts_and_interleaving_change_nothing(rows: list[Row], cuts: list[int]) -> None:
    assert run(both, rows, cuts) == run(both, rows)
    apart = sorted(rows, key=lambda r: r[0])
    for at in (0, 1):
        assert of_instance(run(both, apart), at) == of_instance(run(both, rows), at)


@pytest.mark.parametrize("wrong", [lambda *of: of[0], lambda *of: sum(of)])
def test_a_planted_bug_is_caught(wrong: Callable[..., float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(expression.FUNCTIONS, "max", wrong)
    assert shows(ROWS, lambda rows: run(both, rows) != plain(rows))


@pytest.mark.parametrize(
    "source",
    [
        "[1, 2].all(x, [1, 2].all(y, a > 0.0))",
        "[a].exists (x, x > 0.0)",
        "[a].map(x, x)[0]",
        "a + " * 400 + "a",
    ],
)
def test_what_could_take_for_ever_is_refused_before_it_is_tried(source: str) -> None:
    with pytest.raises(ValueError, match=r"macros over lists are not taken here|at most 1,000"):
        expression.compiled_cel(source, ["a"])
