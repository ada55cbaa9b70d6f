"""What another pack would change: rules, derived series and limits, for the one who reviews an edit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel

from ioc.pack import Pack
from ioc.registry import Series
from ioc.rules.spec import LimitRule, Rule, Selector
from ioc.yamlfile import dotted

LISTED_MAX: Final = 200
"""How many series of one kind a text names; the rest is counted."""
_SERIES_FIELDS: Final = (
    "name", "unit", "resolution", "interval_us", "range", "datum", "stale_after_us", "conflict", "group", "quality",
)  # fmt: skip

Said = tuple[tuple[int, float, float, int], ...]
"""(level, limit, reset, priority) of every level in force; empty for a rule that has no levels."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field that differs, as a path; None where it is not there."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Edited:
    """Things by their id: rules, or derived series, or series."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: Mapping[str, tuple[Field, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


@dataclass(frozen=True, slots=True)
class Judged:
    """What one rule says of one series, before and after; None where it does not judge it."""

    series: str
    rule: str
    before: Said | None
    after: Said | None


@dataclass(frozen=True, slots=True)
class Diff:
    """All that differs between two packs. Falsy where nothing does that anybody would notice."""

    rules: Edited
    derived: Edited
    series: Edited
    judged: tuple[Judged, ...]
    settings: tuple[Field, ...]

    def __bool__(self) -> bool:
        return bool(self.rules or self.derived or self.series or self.judged or self.settings)

    @property
    def counts(self) -> dict[str, int]:
        """How much of each, for a line of the log."""
        return {
            "rules_added": len(self.rules.added),
            "rules_removed": len(self.rules.removed),
            "rules_changed": len(self.rules.changed),
            "derived_changed": len(self.derived.added)
            + len(self.derived.removed)
            + len(self.derived.changed),
            "series_added": len(self.series.added),
            "series_removed": len(self.series.removed),
            "series_changed": len(self.series.changed),
            "series_judged_otherwise": len({one.series for one in self.judged}),
        }

    def plain(self, most: int) -> dict[str, Any]:
        """For the API: of the series, at most `most` of each kind; `counts` has all."""
        return {
            "counts": self.counts,
            "rules": _plain(self.rules),
            "derived": _plain(self.derived),
            "series": {
                "added": list(self.series.added[:most]),
                "removed": list(self.series.removed[:most]),
                "changed": _plain(Edited(changed=dict(list(self.series.changed.items())[:most])))["changed"],
            },
            "judged": [
                {
                    "series": one.series,
                    "rule": one.rule,
                    "before": _levels(one.before),
                    "after": _levels(one.after),
                }
                for one in self.judged[:most]
            ],
            "settings": [_field(one) for one in self.settings],
        }

    def text(self) -> str:
        """Line by line, for a terminal."""
        return "\n".join(self._lines()) or "Không có gì khác / Nothing differs"

    def _lines(self) -> Iterator[str]:
        yield from _told("quy tắc / rule", self.rules)
        yield from _told("chuỗi dẫn xuất / derived series", self.derived)
        yield from _told("chuỗi / series", self.series)
        for one in self.judged[:LISTED_MAX]:
            mark = "+" if one.before is None else "−" if one.after is None else "~"
            yield f"{mark} {one.series} · {one.rule}: {_words(one.before)} → {_words(one.after)}"
        yield from _more(len(self.judged))
        for setting in self.settings:
            yield f"~ {setting.path}: {setting.before} → {setting.after}"


def diff(old: Pack, new: Pack) -> Diff:
    """From the one to the other."""
    return Diff(
        rules=_edited(old.rules, new.rules),
        derived=_edited(old.derived, new.derived),
        series=_series(old, new),
        judged=tuple(_judged(old, new)),
        settings=_fields(
            {"pack": old.file, "settings": old.settings}, {"pack": new.file, "settings": new.settings}
        ),
    )


def _edited(old: Mapping[str, BaseModel], new: Mapping[str, BaseModel]) -> Edited:
    return Edited(
        tuple(name for name in new if name not in old),
        tuple(name for name in old if name not in new),
        {name: _fields(old[name], new[name]) for name in new if name in old and old[name] != new[name]},
    )


def _series(old: Pack, new: Pack) -> Edited:
    before, after = old.registry.series, new.registry.series
    changed: dict[str, tuple[Field, ...]] = {}
    for name, series in after.items():
        was = before.get(name)
        if was is not None and (fields := tuple(_of_series(was, series))):
            changed[name] = fields
    return Edited(
        tuple(name for name in after if name not in before),
        tuple(name for name in before if name not in after),
        changed,
    )


def _of_series(old: Series, new: Series) -> Iterator[Field]:
    for name in _SERIES_FIELDS:
        before, after = getattr(old, name), getattr(new, name)
        if before is not after and before != after:
            yield from _fields(before, after, (name,))


def _judged(old: Pack, new: Pack) -> Iterator[Judged]:
    """By rule, and by series in the order of the packs. A rule that is the same is asked only about new series."""
    before, after = old.registry.series, new.registry.series
    other = {
        **{n: s for n, s in before.items() if n not in after},
        **{n: s for n, s in after.items() if n not in before},
    }
    for name in {**old.rules, **new.rules}:
        was, now = old.rules.get(name), new.rules.get(name)
        for series_id in other if was == now else {**before, **after}:
            first = _said(was, before.get(series_id))
            second = _said(now, after.get(series_id))
            if first != second:
                yield Judged(series_id, name, first, second)


def _said(rule: Rule | None, series: Series | None) -> Said | None:
    selector = getattr(rule, "series", None)
    if rule is None or series is None or not rule.enabled or not isinstance(selector, Selector):
        return None
    if not selector.matches(series):
        return None
    if not isinstance(rule, LimitRule):
        return ()
    limits = ((level, rule.limit_of(series.station.id, level)) for level in sorted(rule.levels))
    said = tuple(
        (level, limit, rule.reset_of(limit, level), rule.levels[level].priority)
        for level, limit in limits
        if limit is not None
    )
    return said or None


def _fields(old: Any, new: Any, path: tuple[Any, ...] = ()) -> tuple[Field, ...]:
    """Every leaf that differs."""
    before, after = _jsonable(old), _jsonable(new)
    if isinstance(before, dict) and isinstance(after, dict):
        names = {**before, **after}
        return tuple(
            one for name in names for one in _fields(before.get(name), after.get(name), (*path, name))
        )
    return () if before == after else (Field(dotted(path), before, after),)


def _jsonable(part: Any) -> Any:
    return part.model_dump(mode="json") if isinstance(part, BaseModel) else part


def _field(one: Field) -> dict[str, Any]:
    return {"path": one.path, "before": one.before, "after": one.after}


def _plain(edited: Edited) -> dict[str, Any]:
    return {
        "added": list(edited.added),
        "removed": list(edited.removed),
        "changed": [
            {"id": name, "fields": [_field(one) for one in fields]} for name, fields in edited.changed.items()
        ],
    }


def _levels(said: Said | None) -> list[dict[str, float]] | None:
    if said is None:
        return None
    return [
        {"level": level, "limit": limit, "reset": reset, "priority": priority}
        for level, limit, reset, priority in said
    ]


def _words(said: Said | None) -> str:
    if said is None:
        return "không xét / not judged"
    return ", ".join(f"{level}: {limit:g}" for level, limit, _, _ in said) or "xét / judged"


def _told(what: str, edited: Edited) -> Iterator[str]:
    for mark, names in (("+", edited.added), ("−", edited.removed)):
        yield from (f"{mark} {what} {name}" for name in names[:LISTED_MAX])
        yield from _more(len(names))
    for name, fields in list(edited.changed.items())[:LISTED_MAX]:
        yield f"~ {what} {name}"
        yield from (f"    {one.path}: {_short(one.before)} → {_short(one.after)}" for one in fields)
    yield from _more(len(edited.changed))


def _short(value: Any) -> str:
    return "–" if value is None else str(value)


def _more(count: int) -> Sequence[str]:
    return [f"  … {count - LISTED_MAX} nữa / more"] if count > LISTED_MAX else []
