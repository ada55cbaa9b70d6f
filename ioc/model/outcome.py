"""`Outcome`: what feeding one input to the pipeline brought about."""

from __future__ import annotations

import msgspec

from ioc.model.alarm import Transition
from ioc.model.batch import Batch
from ioc.model.change import Change
from ioc.model.command import Answer
from ioc.model.inputs import Input


class Outcome(msgspec.Struct, frozen=True):
    """The input that was fed, what the rules said, what the alarms did, and a command's answer.

    `derived` are the samples of derived series that it made: they enter the log as a batch of their own.
    """

    input: Input
    changes: list[Change] = []
    transitions: list[Transition] = []
    answer: Answer | None = None
    derived: list[Batch] = []
