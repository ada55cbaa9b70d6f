"""The core's time. `SystemClock` follows the wall clock without ever going back; `SourceClock` follows the samples.

Both are told the readings of real clocks; neither reads one.
"""

from __future__ import annotations

from collections.abc import Sequence

STEP_US = 60 * 1_000_000
"""A step of the wall clock longer than this is journalled and alarmed."""
REFUSED = -1
"""The receive time of a sample that the samples' clock does not take."""
SLEW_DIVISOR = 10
"""At most a tenth of the elapsed time is made up or held back."""


class SystemClock:
    """`now` advances by the monotonic clock, slewed towards the wall clock; it never falls and never stands still.

    After a restart it begins at max(wall clock, `now` of the last record).
    """

    def __init__(self, wall_us: int, mono_us: int, last_now_us: int) -> None:
        self._wall_us = wall_us
        self._mono_us = mono_us
        self._now_us = max(wall_us, last_now_us)
        self.step_us = wall_us - last_now_us if last_now_us - wall_us > STEP_US else 0
        """The last step seen of the wall clock, until `take_step` fetches it."""

    def now(self, wall_us: int, mono_us: int) -> int:
        """Now, by the two clocks read together. Strictly greater than every value returned before."""
        elapsed = max(0, mono_us - self._mono_us)
        step = (wall_us - self._wall_us) - (mono_us - self._mono_us)
        if abs(step) > STEP_US:
            self.step_us = step
        ahead = wall_us - (self._now_us + elapsed)
        bound = elapsed // SLEW_DIVISOR
        self._now_us += max(1, elapsed + max(-bound, min(bound, ahead)))
        self._wall_us, self._mono_us = wall_us, mono_us
        return self._now_us

    def take_step(self) -> int:
        """The step seen since the last call, in microseconds; 0 if none."""
        step, self.step_us = self.step_us, 0
        return step


class SourceClock:
    """For replays: `now` is the highest sample time so far, and has no value before the first sample."""

    AHEAD_MAX_US = 7 * 24 * 3600 * 1_000_000
    """A sample further ahead than this is rejected."""

    def __init__(self, last_now_us: int) -> None:
        self._now_us = last_now_us

    @property
    def now_us(self) -> int:
        """The highest sample time so far, 0 before the first."""
        return self._now_us

    def admit(self, event_us: Sequence[int]) -> list[int]:
        """Let samples move the clock one after the other; the receive time of each, or REFUSED.

        A sample without a time (0) takes the clock as it stands, and is refused while the clock has no value.
        """
        received: list[int] = []
        for stamp in event_us:
            begun = self._now_us > 0
            if (not stamp and not begun) or (begun and stamp - self._now_us > self.AHEAD_MAX_US):
                received.append(REFUSED)
                continue
            self._now_us = max(self._now_us, stamp)
            received.append(self._now_us)
        return received
