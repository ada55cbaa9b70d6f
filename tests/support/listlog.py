"""`ListLog`: a log that is two lists, in the shape in which a projection reads one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ioc.model import Body, Input, Transition


class ListLog:
    """Records and steps numbered from 1; `first_number` and `first_seq` may be raised as retention does."""

    def __init__(self, start_us: int = 1_700_000_000_000_000) -> None:
        self.inputs: list[Input] = []
        self.steps: list[Transition] = []
        self.first_number = 1
        self.first_seq = 1
        self.checkpointed: dict[str, int] = {}
        self._start_us = start_us

    def add(self, *bodies: Body) -> None:
        """Append records, a second of the core's time apart."""
        for body in bodies:
            number = len(self.inputs) + 1
            self.inputs.append(Input(number, self._start_us + number * 1_000_000, body))

    @property
    def last_number(self) -> int:
        return len(self.inputs)

    def read(self, after: int, limit: int | None = None) -> Iterator[Input]:
        assert after + 1 >= self.first_number
        return iter(self.inputs[after : None if limit is None else after + limit])

    def outputs(self, after_seq: int, limit: int | None = None) -> Iterator[tuple[int, Transition]]:
        assert after_seq + 1 >= self.first_seq
        end = None if limit is None else after_seq + limit
        return iter(list(enumerate(self.steps, 1))[after_seq:end])

    def numbers(self) -> Mapping[str, int]:
        return self.checkpointed

    def close(self) -> None:
        """Nothing to let go of."""

    def opener(self, *_: Any) -> ListLog:
        """Stands in for the class that opens a folder."""
        return self
