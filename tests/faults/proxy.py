"""A TCP proxy in front of PostgreSQL that passes, holds, drops or resets, per direction and per kind of connection.

It understands nothing of the protocol but the first message, which names the client: a host's writer is ``jido:term:lane``, its
store and its keeper are ``jido``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum


class Flow(Enum):
    PASS = "pass"
    HOLD = "hold"
    """What comes waits here, and goes on when the direction passes again."""
    DROP = "drop"
    """What comes is lost; a connection that lost something is reset when its direction passes again."""


class Direction(Enum):
    UP = "up"
    """From the client to the server."""
    DOWN = "down"


class Connection:
    """One client's connection."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter, name: str) -> None:
        self.client = client
        self.server = server
        self.name = name
        self.lossy = False
        self.held = {Direction.UP: 0, Direction.DOWN: 0}
        """Bytes that wait here now."""

    @property
    def writes(self) -> bool:
        """Whether this is the lane of a term."""
        return self.name.startswith("jido:")

    def reset(self) -> None:
        self.client.transport.abort()
        self.server.transport.abort()


def everyone(connection: Connection) -> bool:
    return True


def writers(connection: Connection) -> bool:
    return connection.writes


class Proxy:
    """Listens on a port of the loopback."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._rules: dict[Direction, tuple[Flow, Callable[[Connection], bool]]] = {}
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.connections: set[Connection] = set()
        self.refusing = False
        self.accepted = self.resets = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -------------------------------------------------------------------------------------------- faults

    async def set(self, direction: Direction, flow: Flow, who: Callable[[Connection], bool] = everyone) -> None:
        """From now on, for what arrives in that direction."""
        self._rules[direction] = (flow, who)
        if flow is Flow.PASS:
            for connection in [one for one in self.connections if one.lossy]:
                connection.reset()
        await self._tell()

    async def heal(self) -> None:
        """Everything passes again."""
        self.refusing = False
        for direction in Direction:
            await self.set(direction, Flow.PASS)

    async def reset(self, who: Callable[[Connection], bool] = everyone) -> int:
        """Break connections, and forget what is held of them; returns how many."""
        broken = [connection for connection in self.connections if who(connection)]
        for connection in broken:
            connection.reset()
            self.connections.discard(connection)
        self.resets += len(broken)
        await self._tell()
        return len(broken)

    async def wait_held(self, direction: Direction, seconds: float = 5.0) -> None:
        """Until something of a held connection waits here. Raises ``TimeoutError``."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: any(connection.held[direction] for connection in self.connections))
        except TimeoutError:
            raise TimeoutError(f"nothing came {direction.value} to be held within {seconds} s") from None

    # -------------------------------------------------------------------------------------------- traffic

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _flow(self, connection: Connection, direction: Direction) -> Flow:
        flow, who = self._rules.get(direction, (Flow.PASS, everyone))
        return flow if who(connection) else Flow.PASS

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.refusing:
            writer.transport.abort()
            return
        self.accepted += 1
        try:
            length = await reader.readexactly(4)
            first = await reader.readexactly(int.from_bytes(length) - 4)
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            writer.transport.abort()
            return
        connection = Connection(writer, server_writer, _application_name(first))
        server_writer.write(length + first)
        self.connections.add(connection)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(connection, reader, server_writer, Direction.UP))
                group.create_task(self._pump(connection, server_reader, writer, Direction.DOWN))
        except* (OSError, asyncio.CancelledError):
            pass  # one side has gone: so goes the other
        finally:
            self.connections.discard(connection)
            connection.reset()

    async def _pump(self, connection: Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction) -> None:
        while data := await reader.read(65536):
            if self._flow(connection, direction) is Flow.HOLD:
                connection.held[direction] = len(data)
                async with self._changed:
                    self._changed.notify_all()
                    await self._changed.wait_for(
                        lambda: self._flow(connection, direction) is not Flow.HOLD or connection not in self.connections
                    )
                connection.held[direction] = 0
                if connection not in self.connections:
                    raise ConnectionResetError
            if self._flow(connection, direction) is Flow.DROP:
                connection.lossy = True
            if not connection.lossy:
                writer.write(data)
                await writer.drain()
        if direction is Direction.DOWN:
            raise ConnectionResetError
        # A client that died has sent all the same what it had sent.
        writer.write_eof()


def _application_name(startup: bytes) -> str:
    fields = startup[4:].split(b"\0")
    names = dict(zip(fields[::2], fields[1::2], strict=False))
    return names.get(b"application_name", b"").decode(errors="replace")
