"""`Versions`: which packs have come into force, when, from where and by whom; the last ones, as the log tells it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from ioc.model import PackLoaded

VERSIONS_MAX: Final = 50


class Version(NamedTuple):
    """One pack that came into force with record `number`, at `at_us` of the core's time."""

    number: int
    at_us: int
    loaded: PackLoaded


class Versions:
    """A stage: told each PackLoaded."""

    def __init__(self) -> None:
        self._all: deque[Version] = deque(maxlen=VERSIONS_MAX)

    def feed(self, loaded: PackLoaded, number: int, at_us: int) -> None:
        """A pack has come into force."""
        self._all.append(Version(number, at_us, loaded))

    @property
    def newest_first(self) -> Sequence[Version]:
        """The last 50, the one in force first; empty where a build that kept none loaded the pack."""
        return list(reversed(self._all))

    @property
    def in_force(self) -> Version | None:
        """The last one."""
        return self._all[-1] if self._all else None

    def state(self) -> list[dict[str, Any]]:
        """A copy of everything."""
        return [
            {
                "number": version.number,
                "at_us": version.at_us,
                "hash": version.loaded.hash,
                "name": version.loaded.name,
                "origin": version.loaded.origin,
                "actor": version.loaded.actor,
                "actor_name": version.loaded.actor_name,
            }
            for version in self._all
        ]

    def restore(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Back to what `state` gave."""
        self._all.clear()
        for kept in state:
            loaded = PackLoaded(kept["hash"], kept["name"], kept["origin"], kept["actor"], kept["actor_name"])
            self._all.append(Version(kept["number"], kept["at_us"], loaded))
