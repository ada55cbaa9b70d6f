"""Outages and broken sensors, drawn before the first reading."""

from __future__ import annotations

import json

import pytest

from simulators.catalog import Series
from simulators.faults import Kind
from simulators.troubles import ESTIMATE_US, MINUTE_US, Outage, outages, spells

BEGIN_US = 1_725_642_000_000_000
HOUR_US = 3_600_000_000
OUTAGE = Outage("feeder_x-1", "energy", "feeder_x", BEGIN_US, BEGIN_US + HOUR_US, 1200, 950)


def test_an_outage_is_told_with_a_guess_then_corrected_then_ended() -> None:
    told = OUTAGE.revisions()
    assert [r.t_us for r in told] == [BEGIN_US, BEGIN_US + ESTIMATE_US, BEGIN_US + HOUR_US]
    payloads = [json.loads(r.payload(OUTAGE.from_us, OUTAGE.to_us)) for r in told]
    start, end = BEGIN_US // 1000, (BEGIN_US + HOUR_US) // 1000
    assert payloads == [
        {"id": "feeder_x-1", "revision": 1, "start": start, "end": None, "customers": 1200},
        {"id": "feeder_x-1", "revision": 2, "start": start, "end": None, "customers": 950},
        {"id": "feeder_x-1", "revision": 3, "start": start, "end": end, "customers": 950},
    ]


def test_an_outage_speaks_on_the_events_topic_of_its_station() -> None:
    assert OUTAGE.topic == "ioc/v1/energy/feeder_x/event/outage"


def test_a_brief_outage_is_not_corrected() -> None:
    brief = Outage("feeder_x-2", "energy", "feeder_x", BEGIN_US, BEGIN_US + 3 * MINUTE_US, 1200, 950)
    assert [(r.number, r.ended) for r in brief.revisions()] == [(1, False), (2, True)]


@pytest.mark.parametrize("seed", range(5))
def test_every_feeder_of_the_province_is_out_twice_and_some_briefly(
    seed: int, province: tuple[Series, ...]
) -> None:
    found = outages(seed, BEGIN_US, province)
    feeders = {s.station for s in province if s.quantity == "current"}
    assert {o.station for o in found} == feeders
    assert len({o.id for o in found}) == len(found) == 2 * len(feeders)
    assert any(o.to_us - o.from_us <= 5 * MINUTE_US for o in found)
    assert any(o.to_us - o.from_us > 5 * MINUTE_US for o in found)
    for station in feeders:
        first, second = sorted((o for o in found if o.station == station), key=lambda o: o.from_us)
        assert BEGIN_US < first.from_us < first.to_us < second.from_us < second.to_us
    assert all(isinstance(n, int) and n > 0 for o in found for n in (o.guess, o.customers))


@pytest.mark.parametrize("seed", range(5))
def test_every_kind_of_broken_sensor_is_there_each_on_a_series_of_its_own(
    seed: int, province: tuple[Series, ...]
) -> None:
    found = spells(seed, BEGIN_US, province)
    assert {s.kind for s in found} == {Kind.STUCK, Kind.SPIKE, Kind.SILENCE, Kind.DRIFT, Kind.CLOCK}
    assert len({s.series.id for s in found}) == len(found) >= 12
    assert all(3 * HOUR_US <= s.to_us - s.from_us <= 12 * HOUR_US for s in found)
    thao = {"lao_cai", "pho_lu", "bao_ha", "mau_a", "yen_bai"}
    assert all(s.kind is Kind.SPIKE for s in found if s.series.station in thao)


def test_the_order_of_a_packs_files_changes_nothing(province: tuple[Series, ...]) -> None:
    turned = province[::-1]
    assert spells(3, BEGIN_US, turned) == spells(3, BEGIN_US, province)
    assert outages(3, BEGIN_US, turned) == outages(3, BEGIN_US, province)


def test_a_pack_without_feeders_and_sensors_has_no_troubles() -> None:
    assert outages(1, BEGIN_US, []) == []
    assert spells(1, BEGIN_US, []) == []


def test_outages_of_another_storm_are_other_events(province: tuple[Series, ...]) -> None:
    ids = [{o.id for o in outages(1, BEGIN_US + i * HOUR_US, province)} for i in range(3)]
    assert not ids[0] & ids[1]
    assert not ids[1] & ids[2]
