"""Sentences of the server's own, in Vietnamese and English."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ioc.model import Alarm
from ioc.wall.wire import Words


def at_local(us: int, timezone: str) -> str:
    """A moment as people of a timezone write it."""
    moment = datetime.fromtimestamp(us // 1_000_000, UTC)
    try:
        return f"{moment.astimezone(ZoneInfo(timezone)):%H:%M:%S %d/%m/%Y}"
    except (ZoneInfoNotFoundError, ValueError):
        return f"{moment:%H:%M:%S %d/%m/%Y} UTC"


def acknowledged(alarm: Alarm, timezone: str) -> Words:
    """Who acknowledged an alarm, and when."""
    who = alarm.acked_by_name or alarm.acked_by
    at = at_local(alarm.acked_us, timezone)
    return {"vi": f"{who} đã xác nhận lúc {at}.", "en": f"{who} acknowledged it at {at}."}
