"""Where a turn meets Django's ORM: threads and connections of its own."""

from __future__ import annotations

from types import TracebackType

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.db import connections


class turn_scope:  # noqa: N801 - used like a function
    """One ``async def`` turn: its ORM work gets a thread of its own instead of the one that all of a process share."""

    def __init__(self) -> None:
        self._context = ThreadSensitiveContext()

    async def __aenter__(self) -> None:
        await self._context.__aenter__()  # type: ignore[no-untyped-call]

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._context in SyncToAsync.context_to_thread_executor:
            await sync_to_async(connections.close_all)()
        await self._context.__aexit__(kind, value, trace)  # type: ignore[no-untyped-call]
