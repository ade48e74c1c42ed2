"""What the router asks of the place its calls go to, and how a thread waits for an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from .clock import Clock
from .host import Host
from .turns import Call, Reply

if TYPE_CHECKING:
    from .conf import Settings

T = TypeVar("T")


class WaitingReply(Reply, Protocol):
    """The answer that a thread waits for."""

    result: Any
    error: BaseException | None

    def wait(self, timeout: float) -> bool:
        """Block until the answer is there, at most so many seconds; whether it is."""


class ThreadReply:
    """Wakes a thread that waits on a lock."""

    __slots__ = ("_lock", "error", "result")

    def __init__(self) -> None:
        self._lock = Lock()
        self._lock.acquire()
        self.result: Any = None
        self.error: BaseException | None = None

    def set_result(self, result: Any) -> None:
        self.result = result
        self._lock.release()

    def set_exception(self, error: BaseException) -> None:
        self.error = error
        self._lock.release()

    def wait(self, timeout: float) -> bool:
        return self._lock.acquire(timeout=max(0.0, timeout))


class Runtime(Protocol):
    """Where a caller's calls go: a host, behind whatever lies between it and the caller's thread."""

    @property
    def settings(self) -> Settings: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The host's loop, where a caller can be on it."""

    def reply(self) -> WaitingReply:
        """What a thread without an event loop waits with."""

    def in_transaction(self) -> bool:
        """Whether this thread is inside an ``atomic()`` block on the objects' database."""

    def submit(self, call: Call) -> None: ...

    def submit_all(self, calls: list[Call]) -> None: ...

    def withdraw(self, call: Call) -> None: ...

    def nudge(self) -> None:
        """A message has been committed: look for it now, from any thread."""

    async def ask(self, question: Callable[[Host], Awaitable[T]]) -> T: ...

    def ask_blocking(self, question: Callable[[Host], Awaitable[T]], timeout: float) -> T: ...

    def answered(self, wake: Callable[[], None]) -> None: ...
