"""Plots as SVG text for the report: no script, no style from outside; what is drawn can be read as a title too.

Every plot is `WIDTH` wide in its own units and scales with the page. Times run from left to right over the whole run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Final

from ioc.backtest.score import DAY_US, PERIOD_MOST, PERIOD_US, Score, local

WIDTH: Final = 1000
LEFT: Final = 44
_PLOT: Final = WIDTH - LEFT - 6
COLOURS: Final = ("#b3261e", "#d9730d", "#c9a400", "#3d6fb4")
"""Of priorities 1 to 4; told apart by their lightness too."""
_TICKS_MOST: Final = 8


@dataclass(frozen=True, slots=True)
class Axis:
    """Times of a run as places on the plot."""

    begin_us: int
    end_us: int
    utc_offset_us: int

    @staticmethod
    def of(score: Score) -> Axis:
        """That of a run."""
        run = score.run
        return Axis(run.begin_us, max(run.end_us, run.begin_us + 60_000_000), run.pack.utc_offset_us)

    def x(self, us: int) -> float:
        """The place of a moment; what lies outside is put at the edge."""
        share = (us - self.begin_us) / (self.end_us - self.begin_us)
        return round(LEFT + _PLOT * min(max(share, 0.0), 1.0), 1)

    def ticks(self, y: float, height: float) -> str:
        """Lines at whole local days, as many as can be read, with their dates below."""
        first = -(-(self.begin_us + self.utc_offset_us) // DAY_US)
        last = (self.end_us + self.utc_offset_us) // DAY_US
        step = max(1, -(-(last - first + 1) // _TICKS_MOST))
        parts = []
        for day in range(first, last + 1, step):
            x = self.x(day * DAY_US - self.utc_offset_us)
            name = f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day):%d/%m/%y}"
            parts.append(f'<line class="grid" x1="{x}" y1="{y}" x2="{x}" y2="{y + height}"/>')
            parts.append(f'<text x="{x}" y="{y + height + 13}" text-anchor="middle">{name}</text>')
        return "".join(parts)


def _svg(height: float, body: str, title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" role="img" '
        f'aria-label="{escape(title)}"><title>{escape(title)}</title>{body}</svg>'
    )


def _scale(top: int, height: float) -> str:
    """The axis on the left: 0 and the top."""
    return (
        f'<text x="{LEFT - 6}" y="14" text-anchor="end">{top}</text>'
        f'<text x="{LEFT - 6}" y="{height + 10}" text-anchor="end">0</text>'
        f'<line class="axis" x1="{LEFT}" y1="{height + 10}" x2="{WIDTH - 6}" y2="{height + 10}"/>'
    )


def days(daily: Mapping[str, Sequence[int]], title: str) -> str:
    """How often something was said on each day, stacked by priority, the most urgent at the bottom."""
    height = 150.0
    top = max((sum(counts) for counts in daily.values()), default=0) or 1
    wide = _PLOT / max(len(daily), 1)
    parts = [_scale(top, height)]
    step = max(1, -(-len(daily) // _TICKS_MOST))
    for i, (day, counts) in enumerate(daily.items()):
        x, y = LEFT + i * wide, height + 10
        for priority, count in enumerate(counts, 1):
            if not count:
                continue
            tall = height * count / top
            y -= tall
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(wide * 0.86, 0.8):.1f}" height="{tall:.1f}" '
                f'fill="{COLOURS[priority - 1]}"><title>{day}: P{priority} × {count}</title></rect>'
            )
        if i % step == 0:
            parts.append(f'<text x="{x:.1f}" y="{height + 24}">{day[8:]}/{day[5:7]}</text>')
    return _svg(height + 30, "".join(parts), title)


def load(score: Score, title: str) -> str:
    """How much was said in ten minutes: of the periods that share a place on the paper, the worst."""
    height, axis, periods = 120.0, Axis.of(score), score.periods
    top = max(int(periods.max()), PERIOD_MOST + 2)
    worst: dict[int, int] = {}
    for place in periods.nonzero()[0].tolist():
        us = (score.run.begin_us // PERIOD_US + place) * PERIOD_US
        x = int(axis.x(us))
        worst[x] = max(worst.get(x, 0), int(periods[place]))
    parts = [axis.ticks(10, height), _scale(top, height)]
    for x, count in worst.items():
        tall = height * count / top
        colour = COLOURS[0] if count > PERIOD_MOST else "#57606a"
        parts.append(
            f'<rect x="{x}" y="{height + 10 - tall:.1f}" width="1" height="{tall:.1f}" fill="{colour}">'
            f"<title>{count}</title></rect>"
        )
    y = height + 10 - height * PERIOD_MOST / top
    parts.append(f'<line class="bound" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - 6}" y2="{y:.1f}"/>')
    parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{PERIOD_MOST}</text>')
    return _svg(height + 30, "".join(parts), title)


def timeline(score: Score, rules: Sequence[str], title: str) -> str:
    """Of each rule a line: when any of its alarms stood, over what it should have found."""
    axis, row = Axis.of(score), 26
    height = row * len(rules)
    parts = [axis.ticks(0, height)]
    for i, name in enumerate(rules):
        y = i * row
        for event in score.events or ():
            if name in event.label.rules and event.to_us >= axis.begin_us and event.from_us <= axis.end_us:
                x = axis.x(event.from_us)
                what = f"{event.label.what.vi} / {event.label.what.en}"
                parts.append(
                    f'<rect class="event" x="{x}" y="{y + 11}" width="{max(axis.x(event.to_us) - x, 1):.1f}" height="13">'
                    f"<title>{escape(what)}</title></rect>"
                )
        for begin, end, priority, told in _stretches(score, axis, name):
            parts.append(
                f'<rect x="{begin}" y="{y + 14}" width="{max(end - begin, 1):.1f}" height="7" '
                f'fill="{COLOURS[priority - 1]}"><title>{escape(told)}</title></rect>'
            )
        rule = score.run.rules[name]
        shown = f"{rule.title.vi} / {rule.title.en}"
        parts.append(f'<text x="{LEFT}" y="{y + 9}">{escape(shown)}</text>')
    return _svg(height + 18, "".join(parts), title)


def _stretches(score: Score, axis: Axis, rule: str) -> list[tuple[float, float, int, str]]:
    """The alarms of a rule as places: those that touch on paper are one stretch, as urgent as its most urgent."""
    out: list[tuple[float, float, int, str]] = []
    for spell in score.by_rule[rule]:
        begin, end = axis.x(spell.begin_us), axis.x(spell.until(score.run.end_us))
        told = f"{local(spell.begin_us, axis.utc_offset_us)} {spell.asset} P{spell.priority}"
        if out and begin <= out[-1][1] + 0.5:
            first, last, priority, before = out[-1]
            out[-1] = first, max(last, end), min(priority, spell.priority), before
        else:
            out.append((begin, end, spell.priority, told))
    return out
