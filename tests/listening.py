"""A subscriber for tests: keeps what it is told, and can be waited on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from jido_objects import events

E = TypeVar("E", bound=events.Event)


class Told:
    """Every event of a test, in order, and the threads that brought them."""

    def __init__(self) -> None:
        self.events: list[events.Event] = []
        self.threads: set[int] = set()
        self._changed = threading.Condition(threading.RLock())

    def __call__(self, event: events.Event) -> None:
        with self._changed:
            self.events.append(event)
            self.threads.add(threading.get_ident())
            self._changed.notify_all()

    def of(self, kind: type[E]) -> list[E]:
        """What has been told of a kind so far."""
        with self._changed:
            return [event for event in self.events if isinstance(event, kind)]

    def await_(self, kind: type[E], count: int = 1) -> list[E]:
        """Wait until there are so many of a kind; the answer of a call may be there before its event."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.of(kind)) >= count, 15), f"{self.of(kind)} of {self.events}"
        return self.of(kind)

    def forget(self) -> None:
        with self._changed:
            self.events.clear()


@contextmanager
def listening(*kinds: type[events.Event]) -> Iterator[Told]:
    told = Told()
    events.subscribe(told, *kinds)
    try:
        yield told
    finally:
        events.unsubscribe(told)
