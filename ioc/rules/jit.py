"""Loops over rows, compiled by numba: the kernels that keep a state for each series and must see row after row.

Compiled without fast-math and without contraction: every result is the IEEE one, bit for bit that of the same loop in
Python (`function.py_func`). The machine code is kept beside the module, or in `NUMBA_CACHE_DIR`, so that only the
first start after an installation compiles (`ioc.warm`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """The function as machine code; its arguments are arrays and numbers."""
    try:
        result: F = njit(function, cache=True, fastmath=False, error_model="numpy")
    except RuntimeError:
        # No folder for the machine code can be written to: every start compiles then.
        result = njit(function, fastmath=False, error_model="numpy")
    return result
