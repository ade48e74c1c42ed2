"""Many small questions to the store in few statements."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from .errors import JidoError, StoreUnavailable
from .stores.protocol import TermEnded

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
                except (JidoError, TermEnded) as error:
                    _fail(asked, error)
                except Exception as error:
                    # Not the store's word but a fault in reading what one of them asked for: the others are not to share it.
                    if len(asked) == 1:
                        _fail(asked, error)
                    else:
                        await self._one_by_one(asked)
                except BaseException:
                    for _, future in asked:
                        if not future.done():
                            future.set_exception(StoreUnavailable("the host is stopping"))
                    raise
                else:
                    for (_, future), answer in zip(asked, answers, strict=True):
                        if not future.done():
                            future.set_result(answer)
        finally:
            self._busy = False

    async def _one_by_one(self, asked: list[tuple[K, asyncio.Future[V]]]) -> None:
        for question, future in asked:
            try:
                (answer,) = await self._fetch([question])
            except Exception as error:
                _fail([(question, future)], error)
            else:
                if not future.done():
                    future.set_result(answer)


def _fail(asked: list[tuple[K, asyncio.Future[V]]], error: Exception) -> None:
    for _, future in asked:
        if not future.done():
            future.set_exception(error)
