"""Repeatable noise: numbers in [-1, 1] from a key and a place in time, never from a hidden state."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_PHI = 0.8
_WEIGHTS = tuple(_PHI**i for i in range(12))
_SCALE = 2.0 / sum(_WEIGHTS)


@lru_cache(maxsize=1 << 14)
def key(seed: int, *names: str) -> int:
    """A 64-bit key for one purpose of one series."""
    return int.from_bytes(blake2b("/".join((str(seed), *names)).encode(), digest_size=8).digest(), "big")


def unit(source: int, place: int) -> float:
    """Uniform in [-1, 1), independent from place to place (splitmix64)."""
    x = (source + place * _GOLDEN) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return (x ^ (x >> 31)) / (1 << 63) - 1.0


@lru_cache(maxsize=1 << 16)
def _autoregressive(source: int, step: int) -> float:
    total = sum(weight * unit(source, step - i) for i, weight in enumerate(_WEIGHTS))
    return min(max(total * _SCALE, -1.0), 1.0)


def wander(source: int, t_us: int, step_us: int) -> float:
    """Autoregressive noise in [-1, 1], continuous in time, with a memory of a few steps."""
    step, rest = divmod(t_us, step_us)
    before = _autoregressive(source, step)
    return before + (_autoregressive(source, step + 1) - before) * (rest / step_us)
