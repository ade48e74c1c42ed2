"""Trimming on PostgreSQL, on a connection of its own: reads, which callers wait for, never queue behind it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime

from psycopg.pq.abc import PGresult

from ..errors import OutcomeUnknown, StoreUnavailable
from . import arrays, window_statements
from .link import ConnectionLost, Link, NotSent, ServerError, Statement
from .protocol import Trim, Trimmed, Walk
from .sqlstates import refusal
from .windows import START, stretch

_IDLE_SECONDS = 5.0
"""After so long without work the connection is given back."""


class PostgresWindows(ABC):
    """The part of ``PostgresStore`` that keeps the windows."""

    name: str

    def __init__(self) -> None:
        self._trimming: Link | None = None
        self._closing: asyncio.TimerHandle | None = None

    @abstractmethod
    async def connect(self, name: str) -> Link: ...

    @abstractmethod
    async def _execute(self, statement: Statement, parameters: Sequence[bytes | None] = (), *, write: str | None = None) -> PGresult: ...

    async def trim(self, trims: Sequence[Trim], *, call_id_seconds: float, limit: int) -> list[Trimmed | None]:
        if not trims:
            return []
        # In one order everywhere: two trims must not delete the same rows crosswise.
        ordered = sorted(trims, key=lambda trim: trim.object_id)
        result = await self._apart(
            window_statements.TRIM,
            [
                arrays.plain([trim.object_id for trim in ordered]),
                arrays.plain([trim.retention for trim in ordered]),
                arrays.plain([trim.rows for trim in ordered]),
                arrays.plain(["NULL" if trim.size is None else trim.size for trim in ordered]),
                arrays.plain([trim.least for trim in ordered]),
                b"%d" % limit,
                str(call_id_seconds).encode(),
            ],
        )
        found = {
            int(result.get_value(row, 0) or 0): Trimmed(int(result.get_value(row, 1) or 0), result.get_value(row, 2) == b"t")
            for row in range(result.ntuples)
        }
        return [found.get(trim.object_id) for trim in trims]

    async def walk(self, retention: float, slack: float, limit: int) -> Walk:
        at = await self._execute(window_statements.CURSOR, [_milliseconds(retention)])
        since = (_text(at, 0, 0), datetime.fromisoformat(_text(at, 0, 1))) if at.ntuples else START
        past = str(retention + slack).encode()
        count = b"%d" % limit
        generated = await self._execute(window_statements.GENERATED_PAST, [since[0].encode(), past, count])
        own = await self._execute(window_statements.OWN_PAST, [since[1].isoformat().encode(), past, count])
        return stretch(
            retention,
            since,
            [(_text(generated, row, 0), int(_text(generated, row, 1)), _text(generated, row, 2)) for row in range(generated.ntuples)],
            [(datetime.fromisoformat(_text(own, row, 0)), int(_text(own, row, 1)), _text(own, row, 2)) for row in range(own.ntuples)],
            limit,
        )

    async def walked(self, walk: Walk) -> bool:
        places = [walk.since[0], walk.since[1].isoformat(), walk.until[0], walk.until[1].isoformat()]
        result = await self._execute(
            window_statements.WALKED, [_milliseconds(walk.retention), *(place.encode() for place in places)], write="a walk"
        )
        return result.command_tuples == 1

    async def forget(self, call_id_seconds: float, limit: int) -> int:
        result = await self._apart(window_statements.FORGET, [str(call_id_seconds).encode(), b"%d" % limit])
        return result.command_tuples or 0

    # ---------------------------------------------------------------- the connection

    async def _apart(self, statement: Statement, parameters: Sequence[bytes | None]) -> PGresult:
        if self._closing is not None:
            self._closing.cancel()
        try:
            if self._trimming is None or self._trimming.broken is not None:
                self._trimming = await self.connect("jido trimming")
            return await self._trimming.execute(statement, parameters)
        except NotSent as error:
            raise StoreUnavailable(str(error)) from error
        except ConnectionLost as error:
            raise OutcomeUnknown("trimming", str(error)) from error
        except ServerError as error:
            raise refusal(error, self.name) from error
        finally:
            self._closing = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self.end_trimming)

    def end_trimming(self) -> None:
        """Give the connection back. Idempotent."""
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        if self._trimming is not None:
            self._trimming.close()
            self._trimming = None


def _milliseconds(retention: float) -> bytes:
    return b"%d" % round(retention * 1000)


def _text(result: PGresult, row: int, column: int) -> str:
    value = result.get_value(row, column)
    assert value is not None
    return value.decode()

