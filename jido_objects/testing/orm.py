"""Async turns and the ORM in a test: their queries run on the test's own thread, and so on its connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, Future
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from asgiref.sync import SyncToAsync, ThreadSensitiveContext

from .blocks import no_running_loop

if TYPE_CHECKING:
    from .inline import InlineLoop

P = ParamSpec("P")
T = TypeVar("T")


class _Here(Executor):
    """Runs what it is given at once, on this thread, as if no loop ran on it."""

    def __init__(self, loop: InlineLoop) -> None:
        self._loop = loop

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        # asgiref notes here which loop waits for this thread; afterwards none does.
        noted = SyncToAsync.threadlocal.__dict__
        before = dict(noted)
        self._loop.lent = True
        try:
            with no_running_loop():
                future.set_result(function(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        finally:
            self._loop.lent = False
            noted.clear()
            noted.update(before)
        return future


@asynccontextmanager
async def lend_to_orm(loop: InlineLoop) -> AsyncIterator[None]:
    """One ``async def`` turn."""
    context = ThreadSensitiveContext()
    await context.__aenter__()  # type: ignore[no-untyped-call]
    SyncToAsync.context_to_thread_executor[context] = _Here(loop)
    try:
        yield
    finally:
        SyncToAsync.context_to_thread_executor.pop(context, None)
        await context.__aexit__(None, None, None)  # type: ignore[no-untyped-call]
