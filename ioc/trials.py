"""`Trials`: what rules in shadow would have done, in words, for the server."""

from __future__ import annotations

from collections.abc import Callable

from ioc.pipeline import Pipeline
from ioc.presentation import Presenter
from ioc.wall.wire import ShadowItem, TriedItem


class Trials:
    """Reads the pipeline as it stands."""

    def __init__(
        self, pipeline: Pipeline, presenter: Callable[[], Presenter], now_us: Callable[[], int]
    ) -> None:
        self._pipeline = pipeline
        self._presenter = presenter
        self._now_us = now_us

    def rules(self) -> list[TriedItem]:
        """The rules there is a record of, those that are tried now first."""
        return [self._presenter().tried(*one) for one in self._pipeline.shadow.rules()]

    def record(self, rule: str, limit: int) -> ShadowItem | None:
        """One rule's, with its newest entries."""
        report = self._pipeline.shadow.report(rule, self._now_us(), limit)
        return self._presenter().shadow(report) if report else None
