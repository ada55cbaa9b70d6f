"""Expressions in CEL over series of one station: every input a double by its name, and min, max and abs beside."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any, Final

import cel
import numpy as np

from ioc.model.batch import F64
from ioc.rules.derive.base import Deriver, Instance
from ioc.rules.derive.join import OfRounds
from ioc.rules.logic import compiled
from ioc.rules.spec.derived import Expression

FUNCTIONS: Final = {"min": lambda *of: min(of), "max": lambda *of: max(of), "abs": abs}
_BUILT_IN: Final = frozenset(("double", "int", "uint", "size"))
_NAMED: Final = re.compile(r"[A-Za-z]\w*")
"""The names that CEL's macros bind; the library counts them among the variables."""
_TRIALS: Final = (1.0, 0.0, -1.0, 100.0)
_TRIALS_MAX: Final = 256


def build(spec: Expression, instances: Sequence[Instance], utc_offset_us: int) -> Deriver:
    """The expression at rest; ValueError, in a sentence, for what is not CEL, not known, or not a number."""
    names = list(spec.inputs)
    program = compiled_cel(spec.cel, names)

    def calculate(values: F64) -> F64:
        context = cel.Context(functions=FUNCTIONS)
        return np.array([_evaluate(program, context, names, row) for row in values.tolist()], np.float64)

    return OfRounds(instances, calculate)


def compiled_cel(source: str, names: Sequence[str]) -> cel.Program:
    """A program that makes a number of these doubles; ValueError with the library's message, or ours."""
    program = compiled(source)
    for name in program.variables():
        if name not in names:
            raise ValueError(f"the expression names {name}, which is none of its inputs ({', '.join(names)})")
    for name in program.functions():
        if _NAMED.fullmatch(name) and name not in FUNCTIONS and name not in _BUILT_IN:
            known = ", ".join(sorted({*FUNCTIONS, *_BUILT_IN}))
            raise ValueError(f"the expression calls {name}, which is not known here; known are {known}")
    # CEL has no types before it runs, so branches that mix them show only by trying.
    context = cel.Context(functions=FUNCTIONS)
    for row in itertools.islice(itertools.product(_TRIALS, repeat=len(names)), _TRIALS_MAX):
        try:
            result = _execute(program, context, names, row)
        except TypeError as error:
            raise ValueError(f"{error} (inputs are doubles: write 2.0, not 2)") from error
        except Exception:
            # What only some values cannot do (an index, a division) is bad when it happens.
            continue
        if not _is_number(result):
            raise ValueError(f"the expression must give a number, not {type(result).__name__}")
    return program


def _execute(program: cel.Program, context: cel.Context, names: Sequence[str], row: Sequence[float]) -> Any:
    for name, value in zip(names, row, strict=True):
        context.add_variable(name, value)
    return program.execute(context)


def _evaluate(
    program: cel.Program, context: cel.Context, names: Sequence[str], row: Sequence[float]
) -> float:
    """The result as a double; NaN for whatever went wrong, since one faulty round must not stop the others."""
    try:
        result = _execute(program, context, names, row)
    except Exception:
        # The library raises as Python would: IndexError, KeyError, OverflowError …
        return float("nan")
    return float(result) if _is_number(result) else float("nan")


def _is_number(result: Any) -> bool:
    return isinstance(result, int | float) and not isinstance(result, bool)
