"""What holds for every sequence of changes that an engine can give, with officers acknowledging in between."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from support.alarms import ack, change

from ioc.alerts.book import Book
from ioc.model import Acknowledge, Alarm, Change, ChangeKind, State, Step, Transition, Verdict

K = ChangeKind
ABOUT = [("level", "a"), ("level", "b"), ("rate", "a")]


@dataclass
class Cell:
    """What an engine keeps of one rule on one asset, as far as it decides which change can come next."""

    level: int = 0
    unknown: bool = False
    unconfirmed: bool = False


@dataclass
class World:
    """Random inputs that are possible, as (now, change or command or None for a tick)."""

    draw: st.DrawFn
    cells: list[Cell] = field(default_factory=lambda: [Cell() for _ in ABOUT])
    now_us: int = 0

    def next(self, book: Book, seen: list[tuple[str, int]]) -> Change | Acknowledge | None:
        self.now_us += self.draw(st.integers(1, 400))
        match self.draw(st.integers(0, 9)):
            case 0:
                return None
            case 1 | 2 if seen:
                alarm, version = self.draw(st.sampled_from(seen))
                return ack(alarm, version, key=self.draw(st.sampled_from(["", "k1", "k2"])))
            case 3 | 4 if book.alarms:
                standing = book.alarms[self.draw(st.sampled_from(sorted(book.alarms)))]
                return ack(standing.id, standing.version)
            case _:
                return self._change(self.draw(st.integers(0, len(ABOUT) - 1)))

    def _change(self, index: int) -> Change:
        cell, (rule, asset) = self.cells[index], ABOUT[index]
        kinds = [K.CORRECTION, K.KNOWN if cell.unknown else K.UNKNOWN]
        if cell.level == 0:
            kinds += [K.ONSET, K.ONSET]
        else:
            kinds += [K.CLEAR, K.CLEAR, K.LEVEL_UP, K.RULE_REMOVED]
            kinds += [K.LEVEL_DOWN] if cell.level > 1 else []
            kinds += [K.CONFIRMED, K.CONFIRMED] if cell.unconfirmed else []
        kind = self.draw(st.sampled_from(kinds))
        backlog = kind is not K.CONFIRMED and self.draw(st.booleans())
        match kind:
            case K.ONSET | K.LEVEL_UP:
                cell.level += 1
                cell.unconfirmed = backlog
            case K.LEVEL_DOWN:
                cell.level -= 1
            case K.CLEAR | K.RULE_REMOVED:
                cell.level, cell.unconfirmed = 0, False
            case K.CONFIRMED:
                cell.unconfirmed = False
            case K.UNKNOWN | K.KNOWN:
                cell.unknown = kind is K.UNKNOWN
            case _:
                pass
        return change(
            kind,
            self.now_us,
            rule=rule,
            asset=asset,
            level=cell.level,
            backlog=backlog,
            confirm_within_us=500 if backlog else 0,
        )


def _feed(book: Book, item: Change | Acknowledge | None, now_us: int, number: int) -> list[Transition]:
    if item is None:
        return book.feed_deadlines(now_us, number)
    if isinstance(item, Change):
        return book.feed_change(item, number)
    return book.feed_command(item, now_us, number)[1]


@dataclass
class Story:
    """A whole run: what went in, what came out, and the state after each input."""

    inputs: list[tuple[int, Change | Acknowledge | None]] = field(default_factory=list)
    outputs: list[list[Transition]] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    before: list[dict[str, Alarm]] = field(default_factory=list)
    after: list[dict[str, Alarm]] = field(default_factory=list)

    @property
    def transitions(self) -> list[Transition]:
        return [transition for outputs in self.outputs for transition in outputs]


def _canonical(book: Book) -> str:
    return json.dumps(book.state())


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Runs of up to 40 inputs; that none raises InvalidTransition is asserted by every test that draws one."""
    world, book, story = World(draw), Book(), Story()
    seen: list[tuple[str, int]] = []
    for number in range(1, draw(st.integers(1, 40)) + 1):
        item = world.next(book, seen)
        story.before.append(dict(book.alarms))
        outputs = _feed(book, item, world.now_us, number)
        story.inputs.append((world.now_us, item))
        story.outputs.append(outputs)
        story.states.append(_canonical(book))
        story.after.append(dict(book.alarms))
        seen += [(transition.alarm, transition.step) for transition in outputs]
    return story


@given(stories())
def test_ids_never_repeat_and_versions_are_unbroken(story: Story) -> None:
    transitions = story.transitions
    assert len({transition.id for transition in transitions}) == len(transitions)
    steps: dict[tuple[str, str, int], list[int]] = {}
    for transition in transitions:
        steps.setdefault((transition.rule, transition.asset, transition.occurrence), []).append(
            transition.step
        )
    assert all(found == list(range(1, len(found) + 1)) for found in steps.values())


@given(stories())
def test_each_step_begins_where_the_one_before_it_ended(story: Story) -> None:
    ends: dict[tuple[str, str], State] = {}
    for transition in story.transitions:
        about = (transition.rule, transition.asset)
        assert transition.before is ends.get(about, State.NORMAL)
        ends[about] = transition.after


@given(stories(), st.data())
def test_a_book_restored_at_any_cut_goes_on_as_if_nothing_had_happened(
    story: Story, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(story.inputs) - 1))
    book = Book()
    book.restore(json.loads(story.states[cut]))
    assert _canonical(book) == story.states[cut]
    for index in range(cut + 1, len(story.inputs)):
        now_us, item = story.inputs[index]
        assert _feed(book, item, now_us, index + 1) == story.outputs[index]
        assert _canonical(book) == story.states[index]


@given(stories())
def test_an_acknowledgement_touches_only_the_occurrence_and_version_it_names(story: Story) -> None:
    for index, (_, item) in enumerate(story.inputs):
        if not isinstance(item, Acknowledge):
            continue
        before, after = story.before[index], story.after[index]
        touched = {alarm for alarm in before | after if before.get(alarm) != after.get(alarm)}
        if touched:
            assert touched == {item.alarm}
            assert before[item.alarm].version == item.version
            assert [t.kind for t in story.outputs[index]] == [Step.ACK]
        else:
            assert story.outputs[index] == []


@given(stories())
def test_only_an_unacknowledged_alarm_sounds_and_it_does_from_its_first_step_that_sounds(
    story: Story,
) -> None:
    heard: set[str] = set()
    for outputs, after in zip(story.outputs, story.after, strict=True):
        for transition in outputs:
            if transition.after is not State.UNACKED:
                heard.discard(transition.alarm)
            elif transition.sounds:
                heard.add(transition.alarm)
        assert {alarm.id for alarm in after.values() if alarm.sounding} == heard
        assert all(
            alarm.sounding for alarm in after.values() if alarm.state is State.UNACKED and alarm.confirmed
        )


@given(stories())
def test_no_unacknowledged_alarm_is_silent_once_every_wait_is_over(story: Story) -> None:
    book = Book()
    book.restore(json.loads(story.states[-1]))
    book.feed_deadlines(story.inputs[-1][0] + 500, len(story.inputs) + 1)
    assert all(alarm.sounding for alarm in book.alarms.values() if alarm.state is State.UNACKED)


@given(stories())
def test_at_most_one_occurrence_of_a_rule_on_an_asset_is_open(story: Story) -> None:
    for after in story.after:
        about = [(alarm.rule, alarm.asset) for alarm in after.values()]
        assert len(about) == len(set(about))
        assert all(alarm.state is not State.NORMAL for alarm in after.values())


@given(stories())
@settings(max_examples=50)
def test_recovery_and_acknowledgement_commute(story: Story) -> None:
    ends = []
    for order in ("clear first", "acknowledge first"):
        book = Book()
        book.restore(json.loads(story.states[-1]))
        now_us = story.inputs[-1][0] + 1
        for alarm in list(book.alarms.values()):
            if alarm.state is not State.UNACKED:
                continue
            over = change(K.CLEAR, now_us, rule=alarm.rule, asset=alarm.asset)
            if order == "clear first":
                book.feed_change(over, 90)
                answer, _ = book.feed_command(ack(alarm.id, alarm.version + 1), now_us, 91)
            else:
                answer, _ = book.feed_command(ack(alarm.id, alarm.version), now_us, 90)
                book.feed_change(over, 91)
            assert answer.verdict is Verdict.DONE
            assert alarm.id not in book.alarms
            closed = book.remembered(alarm.id)
            assert closed is not None
            assert closed.state is State.NORMAL
        ends.append(_canonical(book))
    assert ends[0] == ends[1]
