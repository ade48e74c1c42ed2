"""A thread that owns one SQLite connection; a result comes back to the loop in one wake-up."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Worker:
    """Runs jobs one after another, in the order in which they were given. Belongs to the loop that made it."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._connect = connect
        self._jobs: SimpleQueue[tuple[Callable[[sqlite3.Connection], Any], asyncio.Future[Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()
        self.closed = False

    def run(self, job: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Give a job; it runs even if the future is cancelled."""
        answer: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put((job, answer))
        return answer

    async def close(self) -> None:
        """Wait for the jobs that were given, then close the connection. Idempotent."""
        if not self.closed:
            self.closed = True
            self._jobs.put(None)
        # The thread ends without needing the loop, and at once, unless a job still waits for the file.
        while self._thread.is_alive():
            self._thread.join(0.001)
            await asyncio.sleep(0)

    def _work(self) -> None:
        connection: sqlite3.Connection | None = None
        try:
            while (work := self._jobs.get()) is not None:
                job, answer = work
                result, error = None, None
                try:
                    if connection is None:
                        connection = self._connect()
                    result = job(connection)
                except BaseException as caught:
                    error = caught
                try:
                    self._loop.call_soon_threadsafe(_deliver, answer, result, error)
                except RuntimeError:
                    # The loop has been closed: nobody waits for the answer.
                    if not self._loop.is_closed():
                        raise
                del work, job, answer, result, error
        finally:
            if connection is not None:
                connection.close()


def _deliver(answer: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(result)
