"""`Channels`: what limit rules may judge: every series by its number and, from there up, values computed for one rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ioc.rules.kernels import Index


@dataclass(frozen=True, slots=True)
class Channels:
    """What the rules may judge. Arrays of shape (channels,)."""

    names: tuple[str, ...]
    """The id of the series, or of the one that a value is computed from."""
    owner: Index
    """Its number."""
    of_rule: Mapping[str, Mapping[int, int]]
    """Rule with a value → series number → channel."""

    def __len__(self) -> int:
        return len(self.owner)

    @staticmethod
    def plain(names: Sequence[str]) -> Channels:
        """Series and nothing computed."""
        return Channels(tuple(names), np.arange(len(names)), {})
