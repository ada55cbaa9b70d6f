"""Conditions in CEL over what is known and what is not: true, false or *unknown* (None), after Kleene.

What is unknown is simply not there. CEL's && and || are commutative over errors (`false && error` is false, `true ||
error` is true; CEL specification, *Logical operators*), and whatever else asks for a name that is missing fails: so
one evaluation gives three-valued logic. Where that leaves it open, unknown facts are tried both ways: `storm ? level >
4.0 : level > 6.0` is true at 7.0 whether there is a storm or not.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import cel

OPEN_MAX: Final = 6
"""Up to so many unknown facts are tried both ways (64 evaluations of some 3 µs); beyond, all of them stay unknown."""

_FUNCTIONS: Final = frozenset(
    ("size", "int", "uint", "double", "string", "bytes", "contains", "startsWith", "endsWith", "matches")
)
"""The named functions of the CEL specification that the library has; none of them looks at a clock."""
SOURCE_MAX: Final = 1_000
"""Characters of one expression."""
_MACRO: Final = re.compile(r"\.\s*(all|exists|exists_one|map|filter)\s*\(")
_ERRORS: Final = (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError)


def compiled(source: str) -> cel.Program:
    """An expression as CEL understands it; ValueError with CEL's own words where it is none, and for what could take
    for ever: a macro within a macro multiplies, and nothing stops it once it runs."""
    if len(source) > SOURCE_MAX:
        raise ValueError(f"the expression has {len(source):,} characters; at most {SOURCE_MAX:,}")
    if macro := _MACRO.search(source):
        raise ValueError(
            f"the expression uses {macro[1]}(…); write out each case: macros over lists are not taken here"
        )
    return cel.compile(source)


class Logic:
    """One condition, compiled. Raises ValueError with CEL's own words where it is none."""

    def __init__(self, source: str) -> None:
        self._program = compiled(source)
        self.names = frozenset(self._program.variables())
        """What it asks for."""
        called = [name for name in self._program.functions() if name.isidentifier()]
        self.strange = sorted(set(called) - _FUNCTIONS)
        """Functions that it calls and CEL here does not have."""

    def truth(self, known: Mapping[str, float | bool], unknown_facts: Sequence[str] = ()) -> bool | None:
        """What it says of these numbers and facts; every other name is unknown."""
        said = self._said(known)
        if said is not None or not unknown_facts or len(unknown_facts) > OPEN_MAX:
            return said
        for tried in itertools.product((False, True), repeat=len(unknown_facts)):
            would = self._said({**known, **dict(zip(unknown_facts, tried, strict=True))})
            if would is None or (said is not None and would is not said):
                return None
            said = would
        return said

    def fault(self, values: Mapping[str, float | bool]) -> str:
        """Why it gives neither true nor false of these, all of them known; empty where it does.

        A division by zero is no fault: it is unknown then.
        """
        try:
            said = self._program.execute(dict(values))
        except ArithmeticError:
            return ""
        except _ERRORS as error:
            return str(error).splitlines()[0]
        return "" if isinstance(said, bool) else f"it gives {said!r}, not true or false"

    def _said(self, known: Mapping[str, Any]) -> bool | None:
        try:
            said = self._program.execute(dict(known))
        except _ERRORS:
            return None
        return said if isinstance(said, bool) else None
