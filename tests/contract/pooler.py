"""A pooler as PgBouncer is one, small enough to read: it greets clients itself and lends them a server connection.

By transaction it lends the same one to all of them, in turns; by session each client keeps one of its own.
"""

from __future__ import annotations

import asyncio

from .proxy import QUERY, READY, SYNC, TERMINATE, _message

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Pooler:
    def __init__(self, host: str, port: int, *, by_session: bool) -> None:
        self._target = (host, port)
        self._by_session = by_session
        self._shared: Streams | None = None
        self._greeting = b""
        self._turn = asyncio.Lock()
        self._server: asyncio.Server | None = None
        self._open: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._open:
            writer.transport.abort()

    async def _connect(self, startup: bytes) -> Streams:
        reader, writer = await asyncio.open_connection(*self._target)
        self._open.append(writer)
        writer.write(startup)
        greeting = b""
        while True:
            kind, message = await _message(reader)
            if kind == b"K":  # BackendKeyData: the pooler gives one of its own
                message = b"K" + (12).to_bytes(4) + (1).to_bytes(4) + (1).to_bytes(4)
            greeting += message
            if kind == READY:
                self._greeting = greeting
                return reader, writer

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.append(writer)
        try:
            length = await reader.readexactly(4)
            startup = length + await reader.readexactly(int.from_bytes(length) - 4)
            if self._by_session:
                server = await self._connect(startup)
            else:
                server = self._shared = self._shared or await self._connect(startup)
            writer.write(self._greeting)
            while True:
                statement = b""
                kind = b""
                while kind not in (SYNC, QUERY, TERMINATE):
                    kind, message = await _message(reader)
                    statement += message
                if kind == TERMINATE:
                    return
                async with self._turn:
                    server[1].write(statement)
                    kind = b""
                    while kind != READY:
                        kind, message = await _message(server[0])
                        writer.write(message)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return  # the client has gone, or close() was called
        finally:
            self._tasks.discard(task)
            writer.transport.abort()
