from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from support.log_items import bodies, item

from ioc.log.show import line, lines, time_text
from ioc.model import (
    AddToken,
    Batch,
    Body,
    Event,
    Flag,
    Input,
    PackLoaded,
    Reason,
    Rejected,
    Role,
    SeriesAdded,
    SetUser,
    SourceState,
    SystemFact,
    Tick,
)

NOON_US = 1_795_521_600_000_000
BATCH = Batch.of(
    "mqtt", [4, 5, 4], [NOON_US, NOON_US + 1, NOON_US + 2], [NOON_US + 9] * 3, [84.2, math.nan, -0.5],
    [0, Flag.BAD | Flag.LATE, Flag.LATE], [0, 0, 2],
)  # fmt: skip


class Records:
    def __init__(self, *given_bodies: Body) -> None:
        self.inputs = [Input(n, NOON_US + n, body) for n, body in enumerate(given_bodies, 1)]

    def read(self, after: int, limit: int | None = None) -> Iterator[Input]:
        return iter(self.inputs[after : None if limit is None else after + limit])


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (
            BATCH,
            "batch         mqtt 3 readings of 2 series, 2026-11-24T12:00:00.000000Z to 2026-11-24T12:00:00.000002Z BAD=1 LATE=2",
        ),
        (BATCH.take(slice(0, 0)), "batch         mqtt 0 readings"),
        (
            Rejected("mqtt", "ioc/v1/x", Reason.NOT_JSON, "at 3", 0, b"password", 8, 2),
            "rejected      mqtt ioc/v1/x item 2: not_json (8 bytes) at 3",
        ),
        (PackLoaded("ab12", "lao_cai"), "pack_loaded   lao_cai ab12"),
        (
            SeriesAdded(((4, "a/b/c"), (5, "a/b/d")), True),
            "series_added  2 series by themselves: 4=a/b/c, 5=a/b/d",
        ),
        (SourceState("mqtt", False, 3, "lost"), "source_state  mqtt disconnected, connection 3 lost"),
        (SystemFact("disk_low", "/srv", True, 4.5), "system_fact   disk_low of /srv begins, value 4.5"),
        (Tick(), "tick"),
        (
            Event("mqtt", "energy", "sa_pa", "outage", "A-1", 2, NOON_US, NOON_US + 5, 0, {"customers": 3}),
            "event         mqtt outage A-1 of energy/sa_pa, revision 2, 2026-11-24T12:00:00.000000Z to "
            '2026-11-24T12:00:00.000005Z {"customers":3}',
        ),
        (
            Event("mqtt", "energy", "sa_pa", "outage", "A-1", 1, NOON_US, 0, 0),
            "event         mqtt outage A-1 of energy/sa_pa, revision 1, 2026-11-24T12:00:00.000000Z to …",
        ),
        (
            SetUser(
                actor="root", user="truc.ban", name="Trực ban", role=Role.OFFICER, secret="$argon2id$abc"
            ),
            "command       set_user by root: user=truc.ban name=Trực ban role=officer secret=***",
        ),
        (
            AddToken(actor="root", token="wall-1", digest="c0ffee"),
            "command       add_token by root: token=wall-1 digest=*** scope=wall",
        ),
    ],
)
def test_each_kind_has_its_line(body: Body, text: str) -> None:
    assert list(lines(Records(body), 1)) == [f"         1  2026-11-24T12:00:00.000001Z  {text}"]


def test_only_the_records_asked_for_are_shown() -> None:
    records = Records(*[Tick()] * 5)
    assert [text.split()[0] for text in lines(records, 2, 4)] == ["2", "3", "4"]
    assert [text.split()[0] for text in lines(records, 4)] == ["4", "5"]
    assert list(lines(records, 4, 3)) == []


def test_every_reading_is_shown_when_asked_with_its_series_name_if_known() -> None:
    shown = list(lines(Records(BATCH), 1, rows=True, names={4: "disaster/lao_cai/water_level"}))[1:]
    assert [text.strip() for text in shown] == [
        "2026-11-24T12:00:00.000000Z  disaster/lao_cai/water_level  84.2  received 2026-11-24T12:00:00.000009Z",
        "2026-11-24T12:00:00.000001Z  series 5  nan  received 2026-11-24T12:00:00.000009Z  BAD|LATE",
        "2026-11-24T12:00:00.000002Z  disaster/lao_cai/water_level  -0.5  received 2026-11-24T12:00:00.000009Z"
        "  LATE  revision 2",
    ]


def test_what_came_from_outside_cannot_steer_the_terminal() -> None:
    body = Rejected("mqtt", "a\x1b[2Jb\nc", Reason.TOPIC, "\x07", 0, b"", 0)
    assert (
        "a\\x1b[2Jb\\nc" in line(Input(1, NOON_US, body, "\x9b"))
        and line(Input(1, NOON_US, body)).isprintable()
    )


def test_of_many_facts_the_first_are_shown() -> None:
    body = Event("mqtt", "energy", "sa_pa", "outage", "A-1", 1, NOON_US, 0, 0, {"communes": ["xã"] * 999})
    assert line(Input(1, NOON_US, body)).endswith("…")
    assert len(line(Input(1, NOON_US, body))) < 400


@given(bodies)
def test_every_record_can_be_shown_on_one_line(body: Body) -> None:
    assert line(item(1, body)).isprintable()


def test_a_time_beyond_the_calendar_is_shown_as_its_number() -> None:
    assert time_text(2**62) == f"{2**62} us" and time_text(0) == "1970-01-01T00:00:00.000000Z"
