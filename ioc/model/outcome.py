"""`Outcome`: what feeding one input to the pipeline brought about."""

from __future__ import annotations

from dataclasses import dataclass, field

from ioc.model.alarm import Transition
from ioc.model.change import Change
from ioc.model.command import Answer
from ioc.model.inputs import Input


@dataclass(frozen=True, slots=True)
class Outcome:
    """The input that was fed, what the rules said, what the alarms did, and a command's answer."""

    input: Input
    changes: list[Change] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)
    answer: Answer | None = None
