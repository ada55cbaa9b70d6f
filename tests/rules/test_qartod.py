"""Our six tests give what `ioos_qc` 3.0 gives, sample by sample, on the real series of `../shared/data/series`.

Each series as it leaves `order.py`: sorted by event time, the first value of a stamp, no empty rows; its interval in
the registry is the median of its own, in whole seconds, as ioos_qc counts. The parameters come from each series' own
quantiles (`parameters` states them), taken as values that occur, so that bounds are met exactly. Of a series ioos_qc
must make something: at least 3 samples (its flat line tests none of fewer). Left out: what is no series of numbers
in time (lists of stations, single reports in `wmo_aws`), labels, identifiers and row numbers.
"""

from __future__ import annotations

import functools
import gzip
import itertools
import json
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.data import shared

from ioc.model import Flag
from ioc.model import quality as q
from ioc.registry import Quantity, Registry, SeriesEntry, Station
from ioc.rules.quality import Quality
from ioc.rules.samples import RETRACTED, Samples

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from ioos_qc import qartod

S = 1_000_000
NOTHING = ("Unnamed", "No", "id", "anomaly", "changepoint", "PLANT_ID", "site_no", "latitude", "longitude")
"""Columns that measure nothing."""
FOLDERS: dict[str, dict[str, Any]] = {
    "ett": {"stamp": "date"},
    "skab": {"stamp": "datetime", "sep": ";"},
    "air_quality/PRSA": {"stamp": ("year", "month", "day", "hour")},
    "air_quality/vietnam": {"stamp": "Data Time S", "station": "Station ID"},
    "grid/gb": {"stamp": "timestamp"},
    "grid/solar": {"stamp": "datetime", "station": "SOURCE_KEY"},
    "hydrology/usgs": {"stamp": "timestamp", "station": "station_id"},
    "hydrology/weather": {"stamp": "timestamp", "station": "station_id"},
    "hydrology/dead": {"stamp": "datetime_utc"},
    "hydrology/keag": {"stamp": "datetime"},
    "earthquakes": {"stamp": "time"},
}
"""By the beginning of a file's path: where its stamps and stations stand."""

Table = tuple[str, np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""Name, event times int64 in microseconds, values float64."""


def tidy(name: str, stamps: pd.Series, values: pd.Series) -> Iterator[Table]:
    """As it leaves order.py, if it is a series of numbers; stamps are parsed."""
    if not pd.api.types.is_numeric_dtype(values):
        values = pd.to_numeric(values.astype(str).str.replace(",", ""), errors="coerce")
    whole = pd.DataFrame({"at": stamps, "v": values.astype(np.float64)})
    whole = whole.replace([np.inf, -np.inf], np.nan).dropna()
    whole = whole.sort_values("at", kind="stable").drop_duplicates("at", keep="first")
    if len(whole) >= 3:
        yield name, whole["at"].to_numpy().astype("datetime64[us]").astype(np.int64), whole["v"].to_numpy()


def parsed(stamps: pd.Series) -> pd.Series:
    """In UTC; what cannot be read is empty."""
    return pd.to_datetime(stamps, utc=True, errors="coerce", format="ISO8601").dt.tz_localize(None)


def of_csv(path: Path, short: str) -> Iterator[Table]:
    form = next(form for prefix, form in FOLDERS.items() if short.startswith(prefix))
    table = pd.read_csv(
        path, sep=form.get("sep", ","), skipinitialspace=True, dtype={form.get("station"): str}
    )
    parts = form["stamp"] if isinstance(form["stamp"], tuple) else (form["stamp"],)
    stamps = parsed(table[parts[0]]) if len(parts) == 1 else pd.to_datetime(table[list(parts)])
    by = form.get("station")
    for station, rows in table.groupby(by) if by else [("", table)]:
        for column in table.columns:
            if column not in (*parts, by) and not str(column).startswith(NOTHING):
                yield from tidy(f"{short}:{station}:{column}", stamps[rows.index], rows[column])


def of_nwis(path: Path, short: str) -> Iterator[Table]:
    reply = json.loads(gzip.decompress(path.read_bytes())).get("value") or {}
    for n, series in enumerate(reply.get("timeSeries", ())):
        rows = pd.DataFrame(series["values"][0]["value"])
        if len(rows):
            yield from tidy(f"{short}:{n}", parsed(rows["dateTime"]), rows["value"])


def of_others(root: Path) -> Iterator[Table]:
    """The single files that are no comma-separated table of series."""
    daily = pd.read_csv(root / "hydrology/RDB1Example.txt", sep="\t", comment="#", skiprows=[23], dtype=str)
    yield from tidy("rdb", parsed(daily["datetime"]), daily["01_00060_00003"])
    marks = [e for e in ElementTree.parse(root / "hydrology/WaterML1Example.xml").iter() if e.get("dateTime")]
    yield from tidy(
        "waterml", parsed(pd.Series([e.get("dateTime") for e in marks])), pd.Series([e.text for e in marks])
    )
    quakes = json.loads(gzip.decompress((root / "earthquakes/usgs_all_day_2014-05.geojson.gz").read_bytes()))
    told = pd.DataFrame([one["properties"] for one in quakes["features"]])
    yield from tidy("geojson", pd.to_datetime(told["time"], unit="ms"), told["mag"])
    days = pd.read_csv(root / "wmo_aws/daycli-test_daycli.csv")
    for column in ("precipitation", "maximum_temperature", "minimum_temperature", "average_temperature"):
        yield from tidy(f"daycli:{column}", pd.to_datetime(days[["year", "month", "day"]]), days[column])


@functools.cache
def tables() -> tuple[Table, ...]:
    """Every numeric series."""
    root = shared("data", "series")
    found: list[Table] = []
    for path in sorted(root.rglob("*.gz")):
        short = str(path.relative_to(root))
        if short.endswith(".csv.gz"):
            found += of_csv(path, short)
        elif "nwis_iv_json" in short:
            found += of_nwis(path, short)
    return (*found, *of_others(root))


def at_least(values: np.ndarray[Any, Any], *parts: float) -> list[float]:
    """Quantiles that occur among the values, above 0 as thresholds must be."""
    return (
        [max(float(x), 1e-9) for x in np.quantile(values, parts, method="lower")]
        if len(values)
        else [1.0] * len(parts)
    )


def ranges(value: np.ndarray[Any, Any], n: int) -> np.ndarray[Any, Any]:
    """The range of each n values one after the other."""
    windows = np.lib.stride_tricks.sliding_window_view(value, min(n, len(value)))
    return np.ptp(windows, axis=1)


def median_s(at: np.ndarray[Any, Any]) -> int:
    """The interval, in whole seconds."""
    return int(np.median(np.diff(at))) // S


def parameters(at: np.ndarray[Any, Any], value: np.ndarray[Any, Any]) -> tuple[int, q.QualityTests]:
    """The registry's interval in seconds, and the tests of one series in seconds and its unit.

    Gross range: fail beyond the quantiles 0.01 and 0.99, suspect beyond 0.05 and 0.95. Spike: 0.95 and 0.99 of all
    heights. Rate: 0.95 and 0.99 of all rates. Flat line: 4 and 8 intervals, tolerance the 0.25 of the ranges of 5
    values. Attenuated: the 0.10 and 0.03 of the ranges of 12 values over 12 intervals, at least 5 observations.
    Climatology: October to April and May to August by their own quantiles as the gross range; September has none.
    """
    interval_s = median_s(at)
    low, below, above, high = (float(x) for x in np.quantile(value, (0.01, 0.05, 0.95, 0.99), method="lower"))
    heights = np.abs(value[1:-1] - (value[:-2] + value[2:]) / 2)
    spike = at_least(heights, 0.95, 0.99)
    rate = at_least(np.abs(np.diff(value)) / np.maximum(np.diff(at) // S, 1), 0.95, 0.99)
    weak = at_least(ranges(value, 12), 0.10, 0.03)
    month = at.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64) % 12 + 1
    seasons = []
    for months in ((10, 11, 12, 1, 2, 3, 4), (5, 6, 7, 8)):
        theirs = value[np.isin(month, months)]
        if len(theirs):
            a, b, c, d = (float(x) for x in np.quantile(theirs, (0.01, 0.05, 0.95, 0.99), method="lower"))
            seasons.append({"months": months, "suspect": (b, c), "fail": (a, d)})
    whole = {
        "gross_range": {"fail": (low, high), "suspect": (below, above)},
        "spike": {"suspect": spike[0], "fail": spike[1]},
        "rate_of_change": {"suspect": rate[0], "fail": rate[1]},
        "flat_line": {
            "tolerance": at_least(ranges(value, 5), 0.25)[0],
            "suspect": f"{4 * interval_s}s",
            "fail": f"{8 * interval_s}s",
        },
        "attenuated": {
            "over": f"{12 * interval_s}s",
            "suspect": weak[0],
            "fail": weak[1],
            "min_obs": 5,
        },
        "climatology": seasons,
    }
    return interval_s, q.QualityTests.model_validate(whole)


def by_deviation(at: np.ndarray[Any, Any], value: np.ndarray[Any, Any]) -> tuple[int, q.QualityTests]:
    """The attenuated signal by its standard deviation: a little above the 0.10 and 0.03 of those of 12 values.

    Theirs comes of running sums and is off by some 1e-8 of the greatest value that passed; a threshold that lies
    farther from 0 than 1e-5 of that, and meets no deviation that occurs, is one of which both must say the same.
    """
    interval_s = median_s(at)
    windows = np.lib.stride_tricks.sliding_window_view(value, min(12, len(value)))
    floor = 1e-5 * max(float(np.abs(value).max()), 1.0)
    suspect, fail = (max(x, floor) * 1.00001 for x in at_least(windows.std(axis=1), 0.10, 0.03))
    weak = {"over": f"{12 * interval_s}s", "suspect": suspect, "fail": fail, "min_obs": 5, "check": "std"}
    return interval_s, q.QualityTests.model_validate({"attenuated": weak})


def spans(months: Iterable[int]) -> list[tuple[int, int]]:
    """First and last of months that follow each other: theirs costs much for each span."""
    runs = itertools.groupby(enumerate(sorted(months)), key=lambda pair: pair[1] - pair[0])
    whole = [[month for _, month in run] for _, run in runs]
    return [(run[0], run[-1]) for run in whole]


def theirs_of(
    at: np.ndarray[Any, Any], value: np.ndarray[Any, Any], tests: q.QualityTests
) -> dict[q.Test, Any]:
    """Their flags by test."""
    stamps = at.astype("datetime64[us]").astype("datetime64[ns]")
    out: dict[q.Test, Any] = {}
    if weak := tests.attenuated:
        out[q.Test.ATTENUATED] = qartod.attenuated_signal_test(
            value,
            stamps,
            weak.suspect,
            weak.fail,
            weak.over // S,
            min_obs=weak.min_obs,
            check_type=weak.check,
        )
    if gross := tests.gross_range:
        out[q.Test.GROSS_RANGE] = qartod.gross_range_test(value, gross.fail, gross.suspect)
    if spike := tests.spike:
        out[q.Test.SPIKE] = qartod.spike_test(value, spike.suspect, spike.fail, method="average")
    if rate := tests.rate_of_change:
        out[q.Test.RATE_OF_CHANGE] = qartod.rate_of_change_test(value, stamps, rate.suspect, rate.fail)
    if flat := tests.flat_line:
        times = flat.suspect // S, flat.fail // S
        out[q.Test.FLAT_LINE] = qartod.flat_line_test(value, stamps, *times, flat.tolerance)
    if tests.climatology:
        seasons = [
            {"tspan": span, "period": "month", "vspan": season.suspect, "fspan": season.fail}
            for season in tests.climatology
            for span in spans(season.months)
        ]
        depth = np.full(len(value), np.nan)
        out[q.Test.CLIMATOLOGY] = qartod.climatology_test(seasons, value, stamps, depth)
    return out


def made_of(tests: q.QualityTests, interval_s: int) -> Quality:
    """One series with these tests."""
    text = {"vi": "v", "en": "e"}
    station = Station.model_validate(
        {"id": "a", "name": text, "commune": "1", "lat": 22, "lon": 104, "series": ()}
    )
    quantity = Quantity.model_validate(
        {
            "name": text,
            "unit": "1",
            "unit_text": "1",
            "resolution": 1,
            "interval": f"{interval_s}s",
            "range": [-1e300, 1e300],
        }
    )
    made = Registry((station,), {"x": quantity})
    made.add(station, SeriesEntry.model_validate({"quantity": "x", "domain": "disaster", "quality": tests}))
    return Quality(made, {"disaster/a/x": 0}, 0)


def ours_of(
    at: np.ndarray[Any, Any], value: np.ndarray[Any, Any], made: Quality, cuts: Iterable[int] = ()
) -> np.ndarray[Any, Any]:
    """Our tests of each sample, what is told of it later put to it; and that its flags say the same."""
    parts = []
    for begin, end in itertools.pairwise([0, *sorted(cuts), len(at)]):
        n = end - begin
        none = np.zeros(n, np.uint16)
        parts.append(
            made.feed(
                Samples(
                    np.arange(begin, end), none.astype(np.int64), at[begin:end], value[begin:end], none, none
                )
            )
        )
    whole = Samples.concat(parts)
    later = whole.flags & RETRACTED != 0
    tests, flags = whole.tests[~later], whole.flags[~later]
    assert (whole.event_us[~later] == at).all() and (whole.value[~later] == value).all()
    assert ((flags & int(Flag.BAD) != 0) == (tests & q.FAILED != 0)).all()
    assert (flags[(tests != 0) & (tests & q.FAILED == 0)] == int(Flag.UNCERTAIN)).all()
    about = np.searchsorted(at, whole.event_us[later])
    assert (at[about] == whole.event_us[later]).all() and (value[about] == whole.value[later]).all()
    assert (whole.row[later] == about + 1).all()
    tests[about] |= whole.tests[later]
    return tests


def differences(name: str, tests: np.ndarray[Any, Any], theirs: dict[q.Test, Any]) -> list[str]:
    """Where ours is not theirs; what they did not evaluate (2) is nothing to us."""
    found = []
    for test, flags in theirs.items():
        given = np.asarray(flags)
        assert np.isin(given, (1, 2, 3, 4)).all()
        ours = np.where(tests & test, 4, np.where(tests & (test * q.SUSPECT), 3, 1))
        differ = np.flatnonzero(ours != np.where(given == 2, 1, given))
        if len(differ):
            i = differ[0]
            found.append(f"{name} {test.name}: {len(differ)} differ, first {i}: {ours[i]}, theirs {given[i]}")
    return found


def test_every_flag_of_every_real_series_is_theirs() -> None:
    found: list[str] = []
    seen: Counter[tuple[str, int]] = Counter()
    for name, at, value in tables():
        for given_by in (parameters, by_deviation):
            interval_s, tests = given_by(at, value)
            theirs = theirs_of(at, value, tests)
            found += differences(name, ours_of(at, value, made_of(tests, interval_s)), theirs)
            for test, flags in theirs.items():
                seen.update({(str(test.name), flag): int(n) for flag, n in enumerate(np.bincount(flags))})
    assert not found, "\n".join(found)
    # Nothing is shown by flags that never come.
    six = list(q.Test)[:6]
    assert all(seen[str(test.name), flag] > 1000 for test in six for flag in (1, 3, 4)), seen
    assert len(tables()) > 500 and sum(len(at) for _, at, _ in tables()) > 1_400_000


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_split_of_a_slice_is_theirs(data: st.DataObject) -> None:
    name, at, value = data.draw(st.sampled_from(tables()))
    begin = data.draw(st.integers(0, max(len(at) - 20, 0)))
    at, value = at[begin : begin + 300], value[begin : begin + 300]
    cuts = data.draw(st.lists(st.integers(0, len(at)), max_size=12))
    interval_s, tests = data.draw(st.sampled_from([parameters, by_deviation]))(at, value)
    ours = ours_of(at, value, made_of(tests, interval_s), cuts)
    assert differences(name, ours, theirs_of(at, value, tests)) == []


def test_a_difference_would_be_seen() -> None:
    _, at, value = max(tables(), key=lambda table: len(table[1]))
    interval_s, tests = parameters(at, value)
    ours = ours_of(at, value, made_of(tests, interval_s * 2))
    assert [line.split()[1] for line in differences("it", ours, theirs_of(at, value, tests))] == [
        "FLAT_LINE:"
    ]
