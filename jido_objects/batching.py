"""Many small questions to the store in few statements."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from .errors import StoreUnavailable

K = TypeVar("K")
V = TypeVar("V")


class Batcher(Generic[K, V]):
    """Turns many small questions into few statements: what is asked while one is under way travels in the next."""

    def __init__(
        self, fetch: Callable[[list[K]], Awaitable[list[V]]], spawn: Callable[[Coroutine[Any, Any, None]], Any], most: int = 256
    ) -> None:
        self._fetch = fetch
        self._spawn = spawn
        self._most = most
        self._waiting: list[tuple[K, asyncio.Future[V]]] = []
        self._busy = False

    def ask(self, question: K) -> asyncio.Future[V]:
        future: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        if not self._busy:
            self._busy = True
            self._spawn(self._run())
        return future

    async def _run(self) -> None:
        try:
            while self._waiting:
                asked, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                try:
                    answers = await self._fetch([question for question, _ in asked])
                except BaseException as error:
                    for _, future in asked:
                        if not future.done():
                            future.set_exception(error if isinstance(error, Exception) else StoreUnavailable("the host is stopping"))
                    if not isinstance(error, Exception):
                        raise
                else:
                    for (_, future), answer in zip(asked, answers, strict=True):
                        if not future.done():
                            future.set_result(answer)
        finally:
            self._busy = False
