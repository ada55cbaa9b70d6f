"""The report of a backtest for people: as a table on a terminal, and as one HTML page that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Final

from rich import box
from rich.table import Table

from ioc.backtest import plots
from ioc.backtest.labels import Fit, Places, median
from ioc.backtest.score import PERIOD_MOST, Comparison, Score, local
from ioc.backtest.spells import Spell

LISTED_MAX: Final = 200
"""How many alarms of each kind of difference the page shows; JSON has all."""
SHOWN_MAX: Final = 10
"""The same on a terminal."""
WRONG_MAX: Final = 20
"""How many misses and how many false alarms are listed."""
SPARSE_PART: Final = 10
"""From more than one in so many on, `--pace data` is recommended."""
_SHADOW: Final = "chạy thử / shadow"

_STYLE: Final = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; color: #1b1f24; background: #fff;
  max-width: 1060px; margin: 24px auto; padding: 0 20px; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 32px 0 8px; }
i { color: #57606a; font-style: normal; }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 8px; border-bottom: 1px solid #d8dee4; text-align: right; vertical-align: top; }
th { font-weight: 600; vertical-align: bottom; } th i { display: block; font-weight: 400; }
th:first-child, td:first-child, td.text { text-align: left; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 12px; margin: 16px 0; }
dl div { border: 1px solid #d8dee4; border-radius: 6px; padding: 10px 14px; }
dt { font-size: 13px; color: #57606a; } dd { margin: 0; font-size: 18px; font-weight: 600; }
svg { width: 100%; height: auto; display: block; } svg text { font-size: 11px; fill: #57606a; }
.grid { stroke: #e6eaee; } .axis { stroke: #8c959f; } .bound { stroke: #b3261e; stroke-dasharray: 4 3; }
.event { fill: #9ac7a5; fill-opacity: .55; } .legend span { margin-right: 18px; white-space: nowrap; }
.legend b { display: inline-block; width: 11px; height: 11px; margin-right: 6px; }
.wide { overflow-x: auto; }
@media print { body { max-width: none; margin: 0; font-size: 12px; } h2, svg, dl { break-inside: avoid; }
  h2 { break-after: avoid; } tr { break-inside: avoid; } * { print-color-adjust: exact; } }
"""


def share(value: float | None) -> str:
    """A share as per cent; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.0f} %"


def span(us: float) -> str:
    """How long, in the two units that say it best."""
    sign, minutes = ("−" if us < 0 else ""), round(abs(us) / 60e6)
    days, hours = minutes // 1440, minutes // 60 % 24
    if days:
        return f"{sign}{days:,}d {hours}h"
    return f"{sign}{hours}h {minutes % 60:02}m" if hours else f"{sign}{minutes}m"


def lead(fit: Fit) -> str:
    """Median lead time, and from the least to the most."""
    leads = sorted(hit.lead_us for hit in fit.hits)
    if not leads:
        return "–"
    middle = span(median(leads))
    return middle if len(leads) == 1 else f"{middle} ({span(leads[0])} … {span(leads[-1])})"


_HEADS: Final = (
    ("Quy tắc", "Rule"),
    ("Cảnh báo", "Alarms"),
    ("Ưu tiên", "P1·2·3·4"),
    ("Lặp lại", "≤ 10 min"),
    ("Dao động", "Chatter"),
    ("Tổng thời gian", "In alarm"),
    ("Mở", "Open"),
)
_FIT_HEADS: Final = (
    ("Trúng·sót·sai", "Hit·miss·false"),
    ("Chính xác", "Precision"),
    ("Phát hiện", "Recall"),
    ("Báo trước", "Lead time"),
)

_CHANGED: Final = (
    ("Quy tắc", "Rule"),
    ("Chỉ mới", "Only new"),
    ("Chỉ cũ", "Only old"),
    ("Như cũ", "Same"),
    ("Khác", "Differing"),
)


def _cells(score: Score, name: str) -> list[str]:
    """What stands in the line of one rule, after its name; '' is all of them."""
    figures = score.figures[name] if name else score.total
    cells = [
        f"{figures.alarms:,}",
        "·".join(map(str, figures.by_priority)),
        f"{figures.repeats:,}",
        f"{figures.chattering:,}",
        span(figures.in_alarm_us),
        f"{figures.open:,}",
    ]
    if score.events is not None and name:
        fit = score.fits[name]
        misses = str(len(fit.misses)) if fit.named else "–"
        cells += [
            f"{len(fit.hits)}·{misses}·{len(fit.false)}",
            share(fit.precision),
            share(fit.recall),
            lead(fit),
        ]
    elif score.events is not None:
        cells += [""] * len(_FIT_HEADS)
    return cells


def _wrong(score: Score) -> list[tuple[str, str, list[list[str]]]]:
    """Misses and false alarms, each with rule, station and local time, by time."""
    offset_us = score.run.pack.utc_offset_us
    places = Places(score.run.pack)
    events = {event.label.id: event for event in score.events or ()}
    misses, false = [], []
    for rule, fit in score.fits.items():
        for name in fit.misses:
            event = events[name]
            misses.append((event.at_us, rule, ", ".join(event.label.stations or event.label.series)))
        false += [(one.begin_us, rule, ", ".join(places.of(one.asset)) or one.asset) for one in fit.false]
    return [
        (vi, en, [[_marked(score, rule), where, local(us, offset_us)] for us, rule, where in sorted(found)])
        for vi, en, found in (("Bỏ sót", "Misses", misses), ("Báo sai", "False alarms", false))
        if found
    ]


def _marked(score: Score, rule: str) -> str:
    return f"{rule} ({_SHADOW})" if score.in_shadow(rule) else rule


def hint(score: Score) -> str:
    """What to do where many series are sparser than the pack waits; '' where nothing is."""
    run = score.run
    if score.paced or len(run.sparse) * SPARSE_PART <= run.series:
        return ""
    return (
        f"{len(run.sparse)}/{run.series} chuỗi thưa hơn bộ quy tắc chờ: hãy thêm --pace data / "
        "series are sparser than the pack waits: add --pace data"
    )


def _heads(score: Score) -> Sequence[tuple[str, str]]:
    return _HEADS if score.events is None else (*_HEADS, *_FIT_HEADS)


def tables(score: Score, old: Score | None, comparison: Comparison | None) -> Iterator[Table | str]:
    """What a terminal shows, part by part; narrow enough for 80 letters."""
    for vi, en, told in _facts(score):
        yield f"{vi} / {en}: [bold]{told}[/]"
    if advice := hint(score):
        yield f"[bold yellow]{advice}[/]"
    names = [name for name in score.run.rules if score.by_rule[name] or _expected(score, name)]
    rows = {name: _cells(score, name) for name in (*names, "")}
    size = len(_HEADS) - 1
    yield _rules(
        score, _HEADS, {_marked(score, name) if name else "": cells[:size] for name, cells in rows.items()}
    )
    if len(names) < len(score.run.rules):
        yield f"Không báo gì / Said nothing: {len(score.run.rules) - len(names)}"
    if score.events is not None:
        fits = {_marked(score, name): rows[name][size:] for name in names}
        yield _rules(score, (_HEADS[0], *_FIT_HEADS), fits)
        yield _plain(
            ("Sự kiện", "Event"),
            ("Phát hiện", "Found"),
            ("Trong", "Of"),
            rows=[(kind, str(found), str(of)) for kind, (found, of) in score.found.items()],
        )
        for vi, en, wrong in _wrong(score):
            yield f"{vi} / {en}: {len(wrong)}"
            for rule, where, when in wrong[:WRONG_MAX]:
                yield f"  {when}  {rule}  {where}"
            if len(wrong) > WRONG_MAX:
                yield f"  … {len(wrong) - WRONG_MAX} nữa / more"
    if comparison is not None and old is not None:
        counts = [(rule, *map(str, comparison.counts(rule))) for rule in comparison.rules]
        yield _plain(*_CHANGED, rows=counts)
        for sign, spells in (("+", comparison.added), ("−", comparison.gone)):
            for spell in spells[:SHOWN_MAX]:
                yield f"  {sign} {_line(score, spell)}"
            if len(spells) > SHOWN_MAX:
                yield f"  {sign} … {len(spells) - SHOWN_MAX} nữa / more (--json)"


def _rules(score: Score, heads: Sequence[tuple[str, str]], rows: Mapping[str, Sequence[str]]) -> Table:
    table = _plain(*heads, rows=())
    for name, cells in rows.items():
        table.add_row(name or "Tất cả / All", *cells)
    return table


def _plain(*heads: tuple[str, str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(*(f"{vi}\n[dim]{en}[/]" for vi, en in heads), box=box.SIMPLE, pad_edge=False, padding=0)
    table.columns[0].overflow = "fold"
    for column in table.columns[1:]:
        column.justify = "right"
        column.no_wrap = True
    for row in rows:
        table.add_row(*row)
    return table


def _line(score: Score, spell: Spell) -> str:
    return f"{local(spell.begin_us, score.run.pack.utc_offset_us)}  {spell.rule}  {spell.asset}  P{spell.priority}"


def _facts(score: Score) -> list[tuple[str, str, str]]:
    run, periods = score.run, score.periods
    over = int((periods > PERIOD_MOST).sum())
    offset_us = run.pack.utc_offset_us
    facts = [
        ("Khoảng", "Span", f"{local(run.begin_us, offset_us)} – {local(run.end_us, offset_us)}"),
        ("Số liệu", "Readings", f"{run.readings:,} ({run.series} chuỗi / series)"),
        ("Cảnh báo mỗi ngày", "Announced a day", f"{score.total.per_day:.1f}"),
        ("10 phút có trên 10", "10 minutes above 10", f"{over:,} ({100 * over / len(periods):.2f} %)"),
        ("Nặng nhất trong 10 phút", "Worst 10 minutes", f"{int(periods.max()):,}"),
    ]
    if score.found:
        found, of = (sum(pair[i] for pair in score.found.values()) for i in (0, 1))
        facts.append(("Sự kiện phát hiện", "Events found", f"{found} / {of}"))
    if run.strangers:
        facts.append(("Chuỗi lạ", "Series unknown to the pack", _some(run.strangers)))
    if run.silent:
        facts.append(("Chuỗi không có số liệu", "Series without data", str(len(run.silent))))
    if run.sparse:
        facts.append(
            ("Chuỗi thưa hơn bộ quy tắc chờ", "Series sparser than the pack waits", _some(run.sparse))
        )
    return facts


def _some(names: Collection[str]) -> str:
    """How many, and which to begin with."""
    some = ", ".join(list(names)[:3]) + (", …" if len(names) > 3 else "")
    return f"{len(names)} ({some})"


def html(score: Score, old: Score | None, comparison: Comparison | None) -> str:
    """The page: well-formed XHTML, everything inside it."""
    pack = score.run.pack.file
    body = [
        f"<h1>{escape(pack.title.vi)}: thử trên số liệu cũ</h1>",
        f"<p><i>{escape(pack.title.en)}: backtest · {score.run.pack.hash[:12]}</i></p>",
        "<dl>",
        *(f"<div><dt>{vi} <i>/ {en}</i></dt><dd>{escape(told)}</dd></div>" for vi, en, told in _facts(score)),
        "</dl>",
        *([f"<p><strong>{escape(advice)}</strong></p>"] if (advice := hint(score)) else []),
        _legend(score),
        _h2("Mỗi ngày, theo mức ưu tiên", "Each day, by priority"),
        plots.days(score.daily, "Cảnh báo mỗi ngày / Alarms a day"),
        _h2("Trong mười phút", "In ten minutes"),
        plots.load(score, "Số lần báo trong 10 phút / Announced in 10 minutes"),
    ]
    drawn = [name for name in score.run.rules if score.by_rule[name] or _expected(score, name)]
    if drawn:
        body += [
            _h2("Theo thời gian", "Over time"),
            plots.timeline(score, drawn, "Cảnh báo theo thời gian / Alarms over time"),
        ]
    body += [_h2("Theo quy tắc", "By rule"), _rule_table(score)]
    if score.found:
        rows = [[kind, str(found), str(of)] for kind, (found, of) in score.found.items()]
        body += [
            _h2("Sự kiện đã xảy ra", "What happened"),
            _table([("Loại", "Kind"), ("Phát hiện", "Found"), ("Trong", "Of")], rows),
        ]
    for vi, en, wrong in _wrong(score):
        heads = [("Quy tắc", "Rule"), ("Trạm", "Station"), ("Lúc", "At")]
        body += [_h2(f"{vi}: {len(wrong)}", en), _table(heads, wrong[:WRONG_MAX])]
        if len(wrong) > WRONG_MAX:
            body.append(f"<p><i>… {len(wrong) - WRONG_MAX:,} nữa / more</i></p>")
    if comparison is not None and old is not None:
        body += _comparison(score, old, comparison)
    title = f"{pack.title.vi} – thử trên số liệu cũ / backtest"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE html>\n<html xmlns="http://www.w3.org/1999/xhtml" lang="vi">'
        '<head><meta charset="utf-8"/><meta name="viewport" content="width=device-width"/>'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _expected(score: Score, rule: str) -> bool:
    return score.events is not None and (score.fits[rule].named and bool(score.fits[rule].misses))


def _h2(vi: str, en: str) -> str:
    return f"<h2>{vi} <i>/ {en}</i></h2>"


def _legend(score: Score) -> str:
    parts = [
        f'<span><b style="background:{colour}"></b>Ưu tiên {i} <i>/ Priority {i}</i></span>'
        for i, colour in enumerate(plots.COLOURS, 1)
    ]
    if score.events is not None:
        parts.append('<span><b style="background:#9ac7a5"></b>Đã xảy ra <i>/ Happened</i></span>')
    return f'<p class="legend">{"".join(parts)}</p>'


def _table(heads: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{vi}<i>{en}</i></th>" for vi, en in heads)
    lines = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _rule_table(score: Score) -> str:
    names = [name for name in score.run.rules if score.by_rule[name] or _expected(score, name)]
    quiet = [rule.title for name, rule in score.run.rules.items() if name not in names]
    rows = [
        [
            f"{score.run.rules[n].title.vi} / {score.run.rules[n].title.en}"
            + (f" ({_SHADOW})" if score.in_shadow(n) else ""),
            *_cells(score, n),
        ]
        for n in names
    ]
    rows.append(["Tất cả / All", *_cells(score, "")])
    told = "; ".join(f"{title.vi} / {title.en}" for title in quiet)
    silent = (
        f"<p>Không báo gì <i>/ Said nothing</i>: {len(quiet)}. <i>{escape(told)}</i></p>" if quiet else ""
    )
    return _table(_heads(score), rows) + silent


def _comparison(score: Score, old: Score, comparison: Comparison) -> list[str]:
    rows = [[rule, *map(str, comparison.counts(rule))] for rule in comparison.rules]
    before = f"{old.run.pack.file.title.vi} · {old.run.pack.hash[:12]}"
    out = [
        _h2("Sẽ khác gì", "What would change"),
        f"<p>So với {escape(before)} <i>/ Against it</i>: {score.total.alarms:,} thay vì / instead of "
        f"{old.total.alarms:,}.</p>",
        _table(_CHANGED, rows),
    ]
    for vi, en, spells in (
        ("Chỉ với quy tắc mới", "Only with the new rules", comparison.added),
        ("Không còn nữa", "No longer", comparison.gone),
    ):
        out += [_h2(vi, en), _spells(score, spells)] if spells else []
    if comparison.differing:
        lines = [
            [
                d.new.rule,
                d.new.asset,
                _stood(score, d.new),
                _stood(old, d.old),
            ]
            for d in comparison.differing[:LISTED_MAX]
        ]
        out += [
            _h2("Khác thời điểm hoặc mức", "At other times or levels"),
            _table([("Quy tắc", "Rule"), ("Đối tượng", "Asset"), ("Mới", "New"), ("Cũ", "Old")], lines),
            _more(len(comparison.differing)),
        ]
    return out


def _spells(score: Score, spells: Sequence[Spell]) -> str:
    rows = [[s.rule, s.asset, _stood(score, s)] for s in spells[:LISTED_MAX]]
    return _table([("Quy tắc", "Rule"), ("Đối tượng", "Asset"), ("Khi nào", "When")], rows) + _more(
        len(spells)
    )


def _more(count: int) -> str:
    return f"<p><i>… {count - LISTED_MAX:,} nữa / more (--json)</i></p>" if count > LISTED_MAX else ""


def _stood(score: Score, spell: Spell) -> str:
    offset_us = score.run.pack.utc_offset_us
    end = "…" if spell.end_us is None else local(spell.end_us, offset_us)
    return f"{local(spell.begin_us, offset_us)} – {end}, mức / level {spell.level}, P{spell.priority}"
