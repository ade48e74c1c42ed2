"""Time as the runtime sees it: one clock for durations, one for people.

No decision compares the clocks of two machines. ``monotonic`` measures the trust window and every timeout; ``now`` is
written into rows and shown to people, and nothing depends on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What floor 2 asks of time, so that a simulation can own it."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""


class SystemClock:
    """The machine's own clocks."""

    # CLOCK_BOOTTIME goes on while a laptop or a virtual machine sleeps; CLOCK_MONOTONIC stands still there, so a host
    # that wakes would believe in a lease that has long passed.
    monotonic: Callable[[], float]

    def __init__(self) -> None:
        boottime = getattr(time, "CLOCK_BOOTTIME", None)
        if boottime is None:
            self.monotonic = time.monotonic
        else:
            gettime = time.clock_gettime
            self.monotonic = lambda: gettime(boottime)

    def now(self) -> datetime:
        return datetime.now(UTC)
