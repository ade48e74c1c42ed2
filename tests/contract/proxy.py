"""A proxy that understands where a PostgreSQL statement begins and ends, and strikes between client and server.

It reads the frontend/backend protocol (version 3, without TLS): a statement is what a client sends up to ``Sync`` or
``Query``, its answer what comes back up to ``ReadyForQuery``.
"""

from __future__ import annotations

import asyncio
from typing import Any

from .world import Fault, When

SYNC, QUERY, TERMINATE, READY = b"S", b"Q", b"X", b"Z"


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    kind = await reader.readexactly(1)
    length = await reader.readexactly(4)
    return kind, kind + length + await reader.readexactly(int.from_bytes(length) - 4)


class Proxy(Fault):
    """Listens on a port of the loopback; strikes the k-th statement of all its connections."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._k = 0
        self._when = When.BEFORE
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.statements = 0
        self.released = asyncio.Event()
        self.landed = asyncio.Event()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    def arm(self, k: int, when: When) -> None:
        self._k, self._when = k, when

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        streams: list[asyncio.StreamWriter] = [writer]
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
            streams.append(server_writer)
            length = await reader.readexactly(4)
            server_writer.write(length + await reader.readexactly(int.from_bytes(length) - 4))
            connection = _Connection(self, reader, writer, server_reader, server_writer)
            await connection.run()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return  # one side has gone, or close() was called: so goes the other
        finally:
            for stream in streams:
                stream.transport.abort()

    def strike(self, statement: bytes) -> When | None:
        """Count a statement; tells whether and how this one is struck. ``statement`` is all that was sent of it."""
        self.statements += 1
        self._k -= 1
        if self._k != 0:
            return None
        self.fired = True
        return self._when


class _Connection:
    def __init__(self, proxy: Proxy, reader: Any, writer: Any, server_reader: Any, server_writer: Any) -> None:
        self.proxy = proxy
        self.reader, self.writer = reader, writer
        self.server_reader, self.server_writer = server_reader, server_writer
        self.mute = False
        self.answered = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            back = group.create_task(self.backward())
            await self.forward()
            back.cancel()

    async def backward(self) -> None:
        try:
            while True:
                kind, message = await _message(self.server_reader)
                if kind == READY:
                    self.answered.set()
                if not self.mute:
                    self.writer.write(message)
                    await self.writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.writer.transport.abort()

    async def forward(self) -> None:
        statement = b""
        while True:
            try:
                kind, message = await _message(self.reader)
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            statement += message
            if kind not in (SYNC, QUERY, TERMINATE):
                continue
            when = self.proxy.strike(statement) if kind != TERMINATE else None
            self.mute = when is not None
            if when is When.LATE:
                self.writer.transport.abort()
                await self.proxy.released.wait()
            if when is not When.BEFORE:
                self.answered.clear()
                self.server_writer.write(statement)
                await self.server_writer.drain()
            if when in (When.AFTER, When.LATE):
                await self.answered.wait()
            if when is When.LATE:
                self.proxy.landed.set()
            if when is not None:
                return
            statement = b""
