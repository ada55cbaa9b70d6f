"""Readings ⇄ bytes of the native convention; reading serves only to follow what somebody else sent."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeGuard

from simulators.catalog import Series

PREFIX = "ioc/v1/"


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading to be sent."""

    series: Series
    t_us: int
    value: float
    quality: str = "good"


@dataclass(frozen=True, slots=True)
class Foreign:
    """One reading of somebody else; `t_us` is None where it bore no time."""

    series_id: str
    value: float
    quality: str
    t_us: int | None


def encode(sample: Sample) -> bytes:
    """`{"t": epoch ms, "v": number, "q": word}`."""
    return f'{{"t":{sample.t_us // 1000},"v":{sample.value!r},"q":"{sample.quality}"}}'.encode()


def encode_many(samples: Sequence[Sample]) -> bytes:
    """One reading as an object, several of one series as an array."""
    if len(samples) == 1:
        return encode(samples[0])
    return b"[" + b",".join(map(encode, samples)) + b"]"


def decode(topic: str, payload: bytes) -> list[Foreign]:
    """The readings in somebody's message, newest last; empty where nothing in it is a reading."""
    parts = topic.removeprefix(PREFIX).split("/")
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError):
        return []
    items = document if isinstance(document, list) else [document]
    found = [f for item in items for f in _item("/".join(parts[:2]), parts[2:], item)]
    return sorted(found, key=lambda f: f.t_us or 0)


def _item(station: str, quantity: list[str], item: Any) -> list[Foreign]:
    if quantity and not isinstance(item, dict):
        item = {"v": item}
    if not isinstance(item, dict):
        return []
    t_us, quality = _time(item.get("t")), item.get("q", "good")
    if quality not in ("good", "uncertain", "bad"):
        return []
    values: dict[str, Any] = {k: v for k, v in item.items() if k not in ("t", "q")}
    if quantity:
        values = {quantity[0]: item.get("v")}
    return [Foreign(f"{station}/{name}", float(v), quality, t_us) for name, v in values.items() if _number(v)]


def _number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _time(stamp: Any) -> int | None:
    if isinstance(stamp, int | float) and math.isfinite(stamp):
        return int(stamp * 1000)
    if isinstance(stamp, str):
        try:
            return int(datetime.fromisoformat(stamp).timestamp() * 1_000_000)
        except ValueError:
            return None
    return None
