"""A seeded day in the life of a centre: samples of every kind, outages, acknowledgements, restarts; and what must hold."""

from __future__ import annotations

import random
from pathlib import Path

from ioc.log.state import pack_state, unpack_state
from ioc.model import NOT_STORED, Batch, Condition, Flag, State, Step, Verdict
from ioc.pipeline import Pipeline
from support.centre import MIN, Centre, S
from support.packs import limit_rule, no_data_rule, too_late_rule, write_pack

SERIES = [f"disaster/s{i}/water_level" for i in range(5)]
RULES = [
    limit_rule("river", {1: 80.0, 2: 82.0, 3: 84.0}, deadband=0.5),
    limit_rule("slow", {1: 79.0, 2: 83.0}, on_delay="20min", off_delay="20min"),
    limit_rule("low", {1: 70.0}, direction="down", deadband=1.0),
    no_data_rule(),
    too_late_rule(),
]


class Day:
    """Steps drawn from a seed; `check` after each, `replay` at the end."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.dice = random.Random(seed)
        self.centre = Centre(write_pack(folder / f"pack{seed}", SERIES, RULES))
        self.centre.connect()
        self.connected = True
        self.level = dict.fromkeys(SERIES, 78.0)
        self.sent: list[tuple[str, float, int]] = []
        self.seen = 0
        self.steps_of: dict[tuple[str, str, int], int] = {}
        self.ids: set[str] = set()

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.step()
            self.check()
        self.replay()

    def step(self) -> None:
        dice, centre = self.dice, self.centre
        kind = dice.choices(
            [
                "fresh",
                "wait",
                "late",
                "again",
                "conflict",
                "backlog",
                "future",
                "bad",
                "retained",
                "cut",
                "ack",
                "restart",
            ],
            [40, 14, 4, 5, 3, 5, 2, 3, 2, 4, 8, 2],
        )[0]
        series = dice.choice(SERIES)
        if kind == "wait":
            centre.wait(dice.choice([S, MIN, 11 * MIN, 45 * MIN]))
        elif kind == "cut":
            (centre.disconnect if self.connected else centre.connect)()
            self.connected = not self.connected
        elif kind == "ack":
            if centre.alarms:
                alarm = dice.choice(centre.alarms)
                stale = dice.random() < 0.2
                answer = centre.ack(alarm, version=alarm.version + 1 if stale else None)
                if stale:
                    assert answer.verdict is not Verdict.DONE
        elif kind == "restart":
            state = unpack_state(pack_state(centre.pipeline.state()))
            before = centre.pipeline.hash()
            fresh = Pipeline(centre.packs.__getitem__)
            fresh.restore(state)
            assert fresh.hash() == before
            centre.pipeline = fresh
            centre.decoder._numbers = fresh.numbers
        elif self.connected:
            self.publish(kind, series)

    def publish(self, kind: str, series: str) -> None:
        dice, now = self.dice, self.centre.now_us
        self.level[series] += dice.gauss(0, 1.2)
        value, stamp = round(self.level[series], 2), now
        if kind == "late":
            stamp = now - dice.randrange(1, 50) * MIN
        elif kind == "backlog":
            stamp = now - dice.randrange(31, 300) * MIN
        elif kind == "future":
            stamp = now + dice.randrange(3, 90) * MIN
        elif kind in ("again", "conflict") and self.sent:
            series, value, stamp = dice.choice(self.sent[-40:])
            value = value + 1.25 if kind == "conflict" else value
        if kind == "retained":
            self.centre.publish(series, value, retained=True)
            return
        self.centre.wait(S)
        self.sent.append((series, value, stamp))
        self.centre.publish(series, value, stamp, **({"q": "bad"} if kind == "bad" else {}))

    def check(self) -> None:
        """What must hold at every instant."""
        centre = self.centre
        for transition in centre.transitions[self.seen :]:
            assert transition.id not in self.ids, "an id twice"
            self.ids.add(transition.id)
            key = (transition.rule, transition.asset, transition.occurrence)
            assert transition.step == self.steps_of.get(key, 0) + 1, "versions are unbroken"
            self.steps_of[key] = transition.step
            if transition.sounds:
                assert transition.kind in (Step.ONSET, Step.WORSE, Step.CONFIRMED, Step.UNCONFIRMED)
        self.seen = len(centre.transitions)
        stale, _ = centre.pipeline.engine.series_state()
        names = {n: s for s, n in centre.pipeline.numbers.items()}
        silent = {names[n] for n in range(len(stale)) if stale[n]}
        for alarm in centre.alarms:
            assert alarm.state is not State.NORMAL
            if alarm.rule in ("river", "slow", "low") and alarm.state is not State.RETURNED:
                assert alarm.condition is not Condition.NORMAL
                if alarm.asset in silent:
                    assert alarm.condition is Condition.UNKNOWN, "silence is unknown, never active nor normal"
            assert alarm.sounding <= (alarm.state is State.UNACKED)

    def replay(self) -> None:
        """The records alone give the same state and the same steps; and no reading counts twice."""
        again = Pipeline(self.centre.packs.__getitem__)
        transitions = [t for record in self.centre.records for t in again.feed(record).transitions]
        assert transitions == self.centre.transitions
        assert again.hash() == self.centre.pipeline.hash()
        counted: set[tuple[int, int, float]] = set()
        for record in self.centre.records:
            if isinstance(record.body, Batch):
                batch = record.body
                lateness = self.centre.pipeline.order.lateness_us
                for n, us, value, flags, received in zip(
                    batch.series.tolist(), batch.event_us.tolist(), batch.value.tolist(), batch.flags.tolist(),
                    batch.received_us.tolist(), strict=True,
                ):  # fmt: skip
                    # Of what lies ahead or beyond the lateness bound the database knows the repeats.
                    if flags & (NOT_STORED | Flag.FUTURE | Flag.TOO_LATE) or abs(received - us) > lateness:
                        continue
                    assert (n, us, value) not in counted, "a reading counts twice"
                    counted.add((n, us, value))
