"""Changes and acknowledgements as the tests of alarms write them."""

from __future__ import annotations

from typing import Any

from ioc.model import Acknowledge, Change, ChangeKind

RULE, ASSET = "river_level", "disaster/lao_cai/water_level"


def change(kind: ChangeKind, now_us: int = 1_000, **given: Any) -> Change:
    """A change of one rule on one asset, level 1 unless said otherwise."""
    usual: dict[str, Any] = {
        "rule": RULE,
        "asset": ASSET,
        "level": 0 if kind is ChangeKind.CLEAR else 1,
        "priority": 3,
        "value": 80.5,
        "limit": 80.0,
        "event_us": now_us - 10,
    }
    return Change(kind=kind, now_us=now_us, **{**usual, **given})


def ack(alarm: str, version: int, *, actor: str = "truc.ban", key: str = "", note: str = "") -> Acknowledge:
    """Somebody has seen this version of this alarm."""
    return Acknowledge(actor=actor, actor_name="Trực ban", key=key, alarm=alarm, version=version, note=note)
