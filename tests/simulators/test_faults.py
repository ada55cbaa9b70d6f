"""Faults on demand."""

from __future__ import annotations

import pytest

from simulators.catalog import Series
from simulators.faults import CLOCK_US, LATE_US, Broken, Fault, Kind, inject
from simulators.payload import Sample

SERIES = Series("disaster", "sa_pa", "temperature", 0.1, 1_000_000, -20.0, 55.0)
SAMPLE = Sample(SERIES, 1_795_500_000_000_000, 18.2)


def at(i: int) -> Sample:
    return Sample(SERIES, SAMPLE.t_us + i * 1_000_000, 18.2)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("silence", Fault(Kind.SILENCE)),
        ("spike:sa_pa", Fault(Kind.SPIKE, "sa_pa")),
        ("late:sa_pa/temperature", Fault(Kind.LATE, "sa_pa", "temperature")),
    ],
)
def test_a_fault_is_written_as_kind_station_quantity(text: str, fault: Fault) -> None:
    assert Fault.parse(text) == fault
    assert fault.matches(SERIES)


@pytest.mark.parametrize("text", ["", "quiet", "silence:", "spike:sa_pa/", "late:/temperature"])
def test_a_word_that_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Fault.parse(text)


def test_a_fault_of_another_series_changes_nothing() -> None:
    faults = [Fault(Kind.SILENCE, "y_ty"), Fault(Kind.SPIKE, "sa_pa", "humidity")]
    assert inject(faults, SAMPLE, 0.0, 1) == [SAMPLE]


def test_silence_sends_nothing_and_a_duplicate_the_same_twice() -> None:
    assert inject([Fault(Kind.SILENCE)], SAMPLE, 0.0, 1) == []
    assert inject([Fault(Kind.DUPLICATE)], SAMPLE, 0.0, 1) == [SAMPLE, SAMPLE]


def test_a_stuck_sensor_keeps_its_value_and_moves_its_stamp() -> None:
    assert inject([Fault(Kind.STUCK)], at(5), 17.0, 1) == [Sample(SERIES, at(5).t_us, 17.0)]


def test_a_late_reading_is_older_than_half_an_hour() -> None:
    assert LATE_US > 1_800_000_000
    assert inject([Fault(Kind.LATE)], SAMPLE, 0.0, 1) == [Sample(SERIES, SAMPLE.t_us - LATE_US, 18.2)]


def test_a_drifting_sensor_is_off_by_more_each_hour_in_whole_steps() -> None:
    for hours, shown in ((0, 18.2), (1, 20.2), (5, 28.2), (100, 55.0)):
        sent = inject([Fault(Kind.DRIFT)], SAMPLE, 17.0, 1, hours * 3_600_000_000)
        assert sent == [Sample(SERIES, SAMPLE.t_us, shown)]


def test_a_wrong_clock_sends_local_time_as_utc() -> None:
    assert CLOCK_US == 7 * 3_600_000_000
    assert inject([Fault(Kind.CLOCK)], SAMPLE, 0.0, 1) == [Sample(SERIES, SAMPLE.t_us + CLOCK_US, 18.2)]


def test_what_is_broken_already_may_be_silenced_and_sent_twice_but_not_mended() -> None:
    broken = Broken(SERIES, b"ERR 07")
    assert inject([Fault(Kind.SILENCE)], broken, 0.0, 1) == []
    assert inject([Fault(Kind.DUPLICATE)], broken, 0.0, 1) == [broken, broken]
    for kind in (Kind.STUCK, Kind.DRIFT, Kind.CLOCK, Kind.LATE, Kind.SPIKE, Kind.MALFORMED):
        assert inject([Fault(kind)], broken, 0.0, 1, 3_600_000_000) == [broken]


def test_spikes_are_rare_and_within_the_range() -> None:
    sent = [inject([Fault(Kind.SPIKE)], at(i), 0.0, 1)[0] for i in range(1000)]
    spikes = [part for part in sent if isinstance(part, Sample) and part.value != 18.2]
    assert 50 < len(spikes) < 200
    assert all(50 < spike.value <= SERIES.high for spike in spikes)


def test_malformed_payloads_come_in_several_kinds_among_good_ones() -> None:
    sent = [inject([Fault(Kind.MALFORMED)], at(i), 0.0, 1)[0] for i in range(1000)]
    broken = [part for part in sent if isinstance(part, Broken)]
    assert 100 < len(broken) < 400
    assert {part.payload for part in broken} >= {b"", b"ERR 07"}
    assert any(b"NaN" in part.payload for part in broken)


def test_faults_add_up_in_the_order_given() -> None:
    faults = [Fault(Kind.STUCK), Fault(Kind.DUPLICATE)]
    assert inject(faults, SAMPLE, 17.0, 1) == [Sample(SERIES, SAMPLE.t_us, 17.0)] * 2
