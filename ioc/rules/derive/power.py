"""What is computed of voltages and currents: unbalance of three phases, and total harmonic distortion, both in %."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ioc.model.batch import F64
from ioc.rules.derive.base import Deriver, Instance
from ioc.rules.derive.join import OfRounds, roles
from ioc.rules.spec.derived import Thd, Unbalance


def build_unbalance(spec: Unbalance, instances: Sequence[Instance], utc_offset_us: int) -> Deriver:
    """Unbalance at rest; ValueError unless all three line voltages are named."""
    roles(spec.kind, list(spec.inputs), ("ab", "bc", "ca"))
    return OfRounds(instances, unbalance)


def build_thd(spec: Thd, instances: Sequence[Instance], utc_offset_us: int) -> Deriver:
    """THD at rest; the fundamental is the first input."""
    if not spec.harmonics:
        raise ValueError("thd needs at least one of harmonics")
    return OfRounds(instances, distortion)


def unbalance(values: F64) -> F64:
    """Magnitudes of the line voltages (m, 3), in any one unit → negative over positive sequence in % (m,).

    u2 = √((1 − √(3 − 6β)) / (1 + √(3 − 6β))), β = (U₁₂⁴ + U₂₃⁴ + U₃₁⁴) / (U₁₂² + U₂₃² + U₃₁²)²: IEC 61000-4-30, 5.7.
    NaN (bad) for a negative magnitude, for no voltage at all, and for three that make no triangle. Symmetric in its
    inputs: they are taken in order of size, so that no phase's place shows in the last bit.
    """
    square = np.sort(values * values, axis=1)
    total = square[:, 0] + square[:, 1] + square[:, 2]
    fourth = square[:, 0] * square[:, 0] + square[:, 1] * square[:, 1] + square[:, 2] * square[:, 2]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        under = 3.0 - 6.0 * (fourth / (total * total))
        # Three equal magnitudes are not a third to the last bit; and a triangle without area comes out just below 0.
        root = np.sqrt(np.where((under < 0.0) & (under > -1e-9), 0.0, under))
        result: F64 = 100.0 * np.sqrt(np.maximum(1.0 - root, 0.0) / (1.0 + root))
    return np.where((values >= 0.0).all(axis=1), result, np.nan)


def distortion(values: F64) -> F64:
    """The fundamental and its harmonics (m, 1 + harmonics) → √(Σ harmonic²) / fundamental in % (m,).

    IEC 61000-4-7 (THD_G of the orders given), summed in the order of the definition. NaN (bad) unless the fundamental
    is above 0.
    """
    total = np.zeros(len(values))
    for k in range(1, values.shape[1]):
        total += values[:, k] * values[:, k]
    result = np.full(len(values), np.nan)
    there = values[:, 0] > 0.0
    result[there] = 100.0 * np.sqrt(total[there]) / values[there, 0]
    return result
