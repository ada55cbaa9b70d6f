"""The pure stages, composed: one `Input` in, one `Outcome` out. The state is a function of the log and nothing else.

judge (before the log) → [the log] → feed: order → engine → book, accounts
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ioc.accounts import Accounts
from ioc.alerts.book import Book
from ioc.alerts.shadow import Shadow
from ioc.ingest.events import Events
from ioc.ingest.order import Judgement, Order
from ioc.ingest.quarantine import Quarantine
from ioc.ingest.receipts import Receipts
from ioc.log.state import state_hash
from ioc.model import (
    Acknowledge,
    Batch,
    Change,
    ChangeKind,
    Command,
    Event,
    Input,
    Outcome,
    PackLoaded,
    Reinject,
    Rejected,
    SeriesAdded,
    SourceState,
    SystemFact,
    Tick,
    Transition,
)
from ioc.model.batch import DERIVED
from ioc.model.origin import Offsets, offsets, reinjected
from ioc.pack import Pack
from ioc.registry import NO_DEADLINE_US, Registry
from ioc.rules.engine import Engine
from ioc.versions import Versions

STATE_VERSION = 1


class Pipeline:
    """All the state there is. `load_pack` gives a pack by the hash that a PackLoaded names."""

    def __init__(self, load_pack: Callable[[str], Pack]) -> None:
        self._load_pack = load_pack
        self.pack: Pack | None = None
        self.numbers: dict[str, int] = {}
        self.sources: dict[str, SourceState] = {}
        self.accounts = Accounts()
        self.book = Book()
        self.shadow = Shadow()
        self.quarantine = Quarantine()
        self.receipts = Receipts()
        self.events = Events()
        self.versions = Versions()
        self._registry = Registry((), {})
        columns = self._registry.columns({})
        self.engine = Engine(self._registry, {}, {})
        self.order = Order(columns, lateness_us=0, max_ahead_us=0, stamps_max=4_096)
        self.last_number = 0
        self.now_us = 0
        self.emitted = 0
        """How many transitions there have been: the last one's place in the log's `output`."""
        self.rejected = 0
        self.facts: dict[tuple[str, str], SystemFact] = {}
        """What is so of the centre itself, by name and asset."""
        self.offsets: dict[str, Offsets] = {}
        """By source: where it goes on, for those that count what they have taken."""
        self.begun = False
        """Whether a batch has been fed; with the samples' own clock, time begins with it."""

    @property
    def source_clock(self) -> bool:
        """Whether the samples themselves move the time."""
        return self.pack is not None and self.pack.settings.clock == "source"

    def judgement(self) -> Judgement:
        """Judges what goes into the next commit."""
        return Judgement(self.order)

    def next_deadline_us(self, until_us: int = NO_DEADLINE_US) -> int:
        """When a Tick is due; with the samples' own clock never, since feeding them fires the deadlines.

        Exact if it is up to `until_us`; otherwise some time after that, and no Tick is due before it.
        """
        if self.source_clock:
            return NO_DEADLINE_US
        return self._next_deadline_us(until_us)

    def _next_deadline_us(self, until_us: int) -> int:
        return min(self.engine.next_deadline_us(until_us), self.book.next_deadline_us())

    def feed(self, record: Input) -> Outcome:
        """Take one durable record. Numbers are unbroken and `now` never falls."""
        assert record.number == self.last_number + 1, f"{record.number} after {self.last_number}"
        assert record.now_us >= self.now_us, f"now fell at {record.number}"
        outcome = Outcome(record)
        match record.body:
            case Batch() as batch:
                if self.source_clock and not self.begun:
                    self._begin(int(batch.received_us[0]))
                self.begun = True
                self._batch(record, batch, outcome)
            case Tick():
                if not self.source_clock:
                    self._deadlines(record.now_us, record.number, outcome)
            case SourceState() as state:
                if state.withdrawn:
                    self.sources.pop(state.source, None)
                else:
                    self.sources[state.source] = state
                self._changes(self.engine.feed_source(state, record.now_us), record.number, outcome)
            case SystemFact() as fact:
                if fact.active:
                    self.facts[fact.name, fact.asset] = fact
                else:
                    self.facts.pop((fact.name, fact.asset), None)
                self._changes(self.engine.feed_system(fact, record.now_us), record.number, outcome)
            case SeriesAdded() as added:
                self.numbers.update((series_id, number) for number, series_id in added.items)
                self._changes(self._rebuild(record.now_us), record.number, outcome)
            case PackLoaded() as loaded:
                self.pack = self._load_pack(loaded.hash)
                self.versions.feed(loaded, record.number, record.now_us)
                changes = self._rebuild(record.now_us)
                self._for_book(self._shadow_rebuilt(changes, record.now_us), record.number, outcome)
                self._changes(changes, record.number, outcome)
            case Rejected():
                self.rejected += 1
            case Event() as event:
                if self.events.feed(event):
                    changes, derived = self.engine.judge_event(event, record.now_us)
                    self._changes(changes, record.number, outcome)
                    if derived is not None:
                        outcome.derived.append(derived)
            case command:
                outcome = self._command(command, record)
        if record.origin:
            self._from(record)
        self.last_number = record.number
        self.now_us = record.now_us
        self.emitted += len(outcome.transitions)
        return outcome

    def _from(self, record: Input) -> None:
        """What the place a record came from says for later."""
        if isinstance(record.body, Batch | Event | Rejected) and (taken := offsets(record.origin)):
            self.offsets.setdefault(record.body.source, {}).update(taken)
        self.receipts.feed(record.origin, record.body, record.now_us)
        if (number := reinjected(record.origin)) is not None:
            self.quarantine.taken(number)

    def _begin(self, now_us: int) -> None:
        """Time begins with the first sample: nothing has been silent before it."""
        self.engine = Engine(self._registry, {}, {})
        self._rebuild(now_us)
        self.shadow.begin(now_us)
        for state in self.sources.values():
            self.engine.feed_source(state, now_us)
        for fact in self.facts.values():
            # Its alarm is open already; the new engine is only told that it still is so.
            self.engine.feed_system(fact, now_us)
        for event in self.events:
            self.engine.feed_event(event, now_us)

    def _batch(self, record: Input, batch: Batch, outcome: Outcome) -> None:
        self.order.feed(batch)
        if batch.source == DERIVED:
            # The rules have judged these rows when they made them.
            return
        if not self.source_clock:
            self._judge(batch, record.now_us, record.number, outcome)
            return
        # Here a row's receive time is the samples' clock. Rows are taken in stretches within which no deadline can
        # fall: neither one that stands already nor one that a row of the stretch itself sets.
        start = 0
        lead_us = self._registry.min_lead_us
        while start < len(batch):
            now_us = int(batch.received_us[start])
            self._deadlines(now_us - 1, record.number, outcome)
            limit_us = max(min(self._next_deadline_us(now_us), now_us + lead_us), now_us)
            end = start + int(np.searchsorted(batch.received_us[start:], limit_us, side="right"))
            self._stretch(batch.take(slice(start, end)), record.number, outcome)
            start = end

    def _stretch(self, batch: Batch, number: int, outcome: Outcome) -> None:
        """Rows with no deadline between them, each stretch of one `now` fed as one."""
        edges = np.flatnonzero(np.diff(batch.received_us)) + 1
        for part in np.split(np.arange(len(batch)), edges):
            now_us = int(batch.received_us[part[0]])
            self._judge(batch.take(part), now_us, number, outcome)

    def _judge(self, batch: Batch, now_us: int, number: int, outcome: Outcome) -> None:
        changes, derived = self.engine.judge_batch(batch, now_us)
        self._changes(changes, number, outcome)
        if derived is not None:
            outcome.derived.append(derived)

    def _deadlines(self, now_us: int, number: int, outcome: Outcome) -> None:
        """Every deadline up to `now_us`, each at its own time and in order."""
        while (due_us := self._next_deadline_us(now_us)) <= now_us:
            self._changes(self.engine.feed_deadlines(due_us), number, outcome)
            outcome.transitions.extend(self.book.feed_deadlines(due_us, number))

    def _changes(self, changes: list[Change], number: int, outcome: Outcome) -> None:
        if not self.shadow:
            self._for_book(changes, number, outcome)
            return
        # One after the other: what is tried must hear the alarms beside it in their order.
        for change in changes:
            if self.shadow.tries(change.rule):
                self.shadow.feed(change, number)
            else:
                self._for_book([change], number, outcome)

    def _for_book(self, changes: list[Change], number: int, outcome: Outcome) -> None:
        heard = bool(self.shadow)
        for change in changes:
            steps = self.book.feed_change(change, number)
            if heard:
                for step in steps:
                    self.shadow.hear(step)
            outcome.transitions.extend(steps)
        outcome.changes.extend(changes)

    def _command(self, command: Command, record: Input) -> Outcome:
        transitions: list[Transition] = []
        if isinstance(command, Acknowledge):
            answer, transitions = self.book.feed_command(command, record.now_us, record.number)
        elif isinstance(command, Reinject):
            answer = self.quarantine.feed_command(command, record.now_us)
        else:
            answer = self.accounts.feed(command, record.now_us)
        return Outcome(record, transitions=transitions, answer=answer)

    def _shadow_rebuilt(self, changes: list[Change], now_us: int) -> list[Change]:
        """Which rules of the new pack are only tried; `changes` are what the engine says of it."""
        assert self.pack is not None
        rules = self.pack.rules.values()
        tried = {rule.id: rule.judged for rule in rules if rule.enabled and rule.mode == "shadow"}
        counting = [rule.id for rule in rules if rule.enabled and rule.mode == "live"]
        gone = {(c.rule, c.asset) for c in changes if c.kind is ChangeKind.RULE_REMOVED}
        return self.shadow.rebuild(tried, counting, self.book.alarms, gone, now_us, self.pack.utc_offset_us)

    def _rebuild(self, now_us: int) -> list[Change]:
        if self.pack is not None:
            self._registry = self.pack.registry
            settings = self.pack.settings
            bounds = (settings.lateness, settings.max_ahead, settings.stamps_max)
        else:
            bounds = (self.order.lateness_us, self.order.max_ahead_us, self.order.stamps_max)
        self.order.rebuild(self._registry.columns(self.numbers), *bounds)
        if self.pack is None:
            return self.engine.rebuild(self._registry, {}, self.numbers, now_us)
        return self.engine.rebuild(
            self._registry, self.pack.rules, self.numbers, now_us, self.pack.planned, self.pack.utc_offset_us
        )

    def state(self) -> dict[str, Any]:
        """A copy of everything, canonical: `facts` have a schema that outlives a build, `windows` may be rebuilt."""
        return {
            "version": STATE_VERSION,
            "facts": {
                "number": self.last_number,
                "now_us": self.now_us,
                "emitted": self.emitted,
                "rejected": self.rejected,
                "begun": self.begun,
                "facts": [[f.name, f.asset, f.value, f.detail] for _, f in sorted(self.facts.items())],
                "pack": self.pack.hash if self.pack else "",
                "numbers": dict(sorted(self.numbers.items())),
                "sources": {
                    name: [s.connected, s.generation, s.detail] for name, s in sorted(self.sources.items())
                },
                "offsets": {
                    name: [[*place, offset] for place, offset in sorted(taken.items())]
                    for name, taken in sorted(self.offsets.items())
                },
                "quarantine": self.quarantine.state(),
                "receipts": self.receipts.state(),
                "events": self.events.state(),
                "versions": self.versions.state(),
                "accounts": self.accounts.state(),
                "book": self.book.state(),
                "shadow": self.shadow.state(),
            },
            "windows": {"order": self.order.state(), "engine": self.engine.state()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back to what `state` gave."""
        facts, windows = state["facts"], state["windows"]
        self.pack = self._load_pack(facts["pack"]) if facts["pack"] else None
        self.numbers = dict(facts["numbers"])
        self._rebuild(facts["now_us"])
        self.sources = {
            name: SourceState(name, connected, generation, detail)
            for name, (connected, generation, detail) in facts["sources"].items()
        }
        self.offsets = {
            name: {(topic, partition): offset for topic, partition, offset in taken}
            for name, taken in facts["offsets"].items()
        }
        self.quarantine.restore(facts["quarantine"])
        self.receipts.restore(facts["receipts"])
        self.events.restore(facts["events"])
        self.versions.restore(facts["versions"])
        self.accounts.restore(facts["accounts"])
        self.book.restore(facts["book"])
        self.shadow.restore(facts["shadow"])
        self.order.restore(windows["order"])
        self.engine.restore(windows["engine"])
        self.last_number = facts["number"]
        self.now_us = facts["now_us"]
        self.emitted = facts["emitted"]
        self.rejected = facts["rejected"]
        self.begun = facts["begun"]
        self.facts = {
            (name, asset): SystemFact(name, asset, True, value, detail)
            for name, asset, value, detail in facts["facts"]
        }

    def hash(self) -> str:
        """The same for equal states, on every machine."""
        return state_hash(self.state())
