"""The clock of a test run: the machine's own, moved forward by ``jido_clock.advance``.

Only the time that people see moves (``self.now()``, and what becomes due by it). Leases and time limits are measured on the
monotonic clock, which goes on as it does: an hour that a test skips must not look like a host that was silent for an hour.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from ..clock import SystemClock


class ShiftedClock(SystemClock):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self._ahead = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self._ahead

    def shift(self, by: timedelta) -> None:
        """Move forward. Raises ``ValueError`` for a step back: recorded moments never go back within an object."""
        if by < timedelta(0):
            raise ValueError(f"time moves forward only, not by {by}")
        self._ahead += by

    def reset(self) -> None:
        """Back to the machine's time."""
        self._ahead = timedelta(0)


CLOCK = ShiftedClock()
"""One for the whole run: whichever host a test uses reads it."""
