"""Objects in PostgreSQL: the store of production.

Everything a term writes goes through a lane (``PostgresWriter``), one statement at a time, fenced by the lane's row
(``statements``). Reads, heartbeats and burials use the store's own connection, which is made again when it breaks; a writer
whose statement has an unknown outcome is only made again by ``settle``. No call hops to another thread (``link``).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from psycopg.pq.abc import PGresult

from ..errors import OutcomeUnknown, ReadOnlyDatabase, StoreError, StoreUnavailable, UnsupportedDatabase
from ..logs import about
from . import arrays, message_statements, postgresql_messages, statements
from .link import ConnectionLost, Link, NotSent, ServerError, Statement, connect
from .messages import Overdue
from .postgresql_append import NAMED, named
from .postgresql_windows import PostgresWindows
from .postgresql_writer import PostgresWriter
from .protocol import (
    FORGOTTEN,
    Entry,
    EntryKind,
    Forgotten,
    Found,
    Loaded,
    Owner,
    Recorded,
    Snapshot,
    TailEntry,
    TermInfo,
    TermRow,
    as_mapping,
)
from .sqlstates import pooler, refusal
from .windows import forgotten

logger = logging.getLogger(__name__)

LOCK_SECONDS = 0.3
"""How long a burial waits for a row before it ends the connections that hold it."""
ATTEMPTS = 5
_OURS = frozenset(
    {"pool", "cursor_factory", "row_factory", "context", "prepare_threshold", "server_side_binding", "assume_role", "isolation_level"}
)
"""Parameters that are about Django's own connections."""


def bounded(timeout: float) -> dict[str, Any]:
    """Connection parameters with which a network that swallows everything is noticed, in seconds."""
    return {
        "connect_timeout": 5,
        "keepalives": 1,
        "keepalives_idle": 2,
        "keepalives_interval": 1,
        "keepalives_count": 3,
        "tcp_user_timeout": str(int(timeout * 1000)),
    }


class PostgresStore(PostgresWindows):
    """One loop's view of a PostgreSQL database; implements ``Store``.

    ``parameters`` are Django's connection parameters for the alias. ``timeout`` bounds every statement, in seconds; past it
    the connection is dropped, and the outcome of a write is unknown.
    """

    liveness_by_lease = True

    def __init__(self, parameters: Mapping[str, Any], *, alias: str = "default", role: str | None = None, timeout: float = 10.0) -> None:
        self.name = alias
        self.timeout = timeout
        self.skew = 0.0
        self._parameters = {
            **bounded(timeout),
            **{name: value for name, value in parameters.items() if name not in _OURS},
        }
        # The server gives up a little earlier than the client: an error says "not applied", a lost connection does not.
        self._setup = statements.SESSION.format(milliseconds=int(timeout * 900))
        if role is not None:
            self._setup += '; SET ROLE "{}"'.format(role.replace('"', '""'))
        super().__init__()
        self._link: Link | None = None
        self._connecting = asyncio.Lock()

    # ---------------------------------------------------------------- connections

    async def connect(self, name: str) -> Link:
        """A new connection; raises ``StoreUnavailable`` and the errors of the probe."""
        try:
            return await connect(self._parameters, name, self._setup, self.timeout)
        except NotSent as error:
            raise StoreUnavailable(str(error)) from error
        except ServerError as error:
            raise refusal(error, self.name) from error

    async def open(self) -> None:
        async with self._connecting:
            if self._link is not None and self._link.broken is None:
                return
            link = await self.connect("jido")
            try:
                await self._probe(link)
            except BaseException:
                link.close()
                raise
            self._link = link

    async def close(self) -> None:
        self.end_trimming()
        if self._link is not None:
            self._link.close()
            self._link = None

    async def _probe(self, link: Link) -> None:
        if link.server_version < 150000:
            raise UnsupportedDatabase(f"Database {self.name!r} is PostgreSQL {link.server_version // 10000}; objects need 15 or newer.")
        read_only, backend = _row(await self._script(link, statements.PROBE))
        if read_only == b"t":
            raise ReadOnlyDatabase(self.name, "it is a standby, or its transactions are read-only by default")
        if int(backend or 0) != link.backend_pid:
            await self._probe_pooler(link)
        await self._script(link, statements.TABLES)

    async def _probe_pooler(self, link: Link) -> None:
        # The server process is not the one that was announced: somebody stands between. In session mode each of two
        # connections keeps a process of its own; in transaction mode they take turns with the same ones.
        other = await self.connect("jido")
        try:
            seen: tuple[set[object], set[object]] = (set(), set())
            for _ in range(3):
                for one, backends in zip((link, other), seen, strict=True):
                    backends.add(_row(await self._script(one, "SELECT pg_backend_pid()"))[0])
        finally:
            other.close()
        if seen[0] & seen[1] or len(seen[0]) > 1 or len(seen[1]) > 1:
            raise UnsupportedDatabase(pooler(self.name, "two connections share one server process"))

    async def _script(self, link: Link, sql: str) -> PGresult:
        try:
            return await link.script(sql)
        except (NotSent, ConnectionLost) as error:
            raise StoreUnavailable(str(error)) from error
        except ServerError as error:
            raise refusal(error, self.name) from error

    async def _connected(self) -> Link:
        if self._link is not None and self._link.broken is not None:
            await self.open()
        if self._link is None:
            raise StoreUnavailable("the store is closed")
        return self._link

    async def _execute(self, statement: Statement, parameters: Sequence[bytes | None] = (), *, write: str | None = None) -> PGresult:
        link = await self._connected()
        try:
            return await link.execute(statement, parameters)
        except NotSent as error:
            raise StoreUnavailable(str(error)) from error
        except ConnectionLost as error:
            raise (OutcomeUnknown(write, str(error)) if write else StoreUnavailable(str(error))) from error
        except ServerError as error:
            raise refusal(error, self.name) from error

    # ---------------------------------------------------------------- terms

    async def begin_term(self, term: UUID, info: TermInfo, lease_seconds: float) -> None:
        values = as_mapping(info)
        values["endpoints"] = json.dumps(values["endpoints"])
        parameters = [term.hex, lease_seconds, *(values[name] for name in TermInfo.__slots__)]
        await self._execute(statements.BEGIN_TERM, [str(value).encode() for value in parameters], write="a term")

    async def renew(self, term: UUID, lease_seconds: float) -> bool:
        result = await self._execute(statements.RENEW, [term.hex.encode(), str(lease_seconds).encode()], write="a lease's renewal")
        return result.command_tuples == 1

    async def alive(self, terms: Sequence[UUID]) -> list[bool]:
        found = {row[0] for row in _rows(await self._execute(statements.ALIVE, [arrays.plain([term.hex for term in terms])]))}
        return [str(term).encode() in found for term in terms]

    async def bury(self, term: UUID, *, proven: bool = False) -> bool:
        # On the connection that is there: at the end of a process none can be made any more, if that takes a name look-up.
        link = await self._connected()
        sql = statements.BURY.format(lock=int(LOCK_SECONDS * 1000), term=term, proven=proven)
        result = await self.insist(link, sql, f"jido:{term.hex}:%", f"the burial of {term}")
        if _row(result)[0] != b"0":
            return False
        await self._end_transactions(link, term)
        return True

    async def _end_transactions(self, link: Link, term: UUID) -> None:
        """What a buried term has open can no longer commit, but would keep its rows locked from whoever comes after it."""
        try:
            ended = await self._ended(link, f"jido:{term.hex}:%{NAMED}")
        except StoreError as error:
            logger.warning("The open transactions of the buried term %s could not be ended: %s", term, error, extra=about(term=term))
        else:
            if ended:
                text = "Term %s was buried with %d transactions open; their connections were ended"
                logger.warning(text, term, len(ended), extra=about(term=term))

    async def delete_lane(self, link: Link, lane: UUID, name: str) -> None:
        """After this nothing that was sent under the lane can land. ``name`` is that of its connection. Raises ``OutcomeUnknown``."""
        sql = statements.END_LANES.format(lock=int(LOCK_SECONDS * 1000), lanes=lane)
        await self.insist(link, sql, name, f"the end of lane {lane}")

    async def end_lane(self, term: UUID, lane: UUID) -> None:
        link = await self.connect(f"jido settling {term.hex}")
        try:
            await self.delete_lane(link, lane, named(term.hex, lane.hex) + NAMED)
        except OutcomeUnknown as error:
            raise StoreUnavailable(str(error)) from error
        finally:
            link.close()

    async def insist(self, link: Link, sql: str, holders: str, what: str) -> PGresult:
        """Run a script that deletes rows. Who holds them too long loses his connection: ``holders`` is a pattern of names."""
        for _ in range(ATTEMPTS):
            try:
                return await link.script(sql)
            except NotSent as error:
                raise StoreUnavailable(str(error)) from error
            except ConnectionLost as error:
                raise OutcomeUnknown(what, str(error)) from error
            except ServerError as error:
                if error.sqlstate != "55P03":
                    raise refusal(error, self.name) from error
            ended = [pid for pid, _ in await self._ended(link, holders)]
            logger.warning("%s had to wait over %s s: ended the connections %s", what, LOCK_SECONDS, ended, extra=about())
        raise StoreUnavailable(f"{what} is blocked by a connection that is not ours")

    async def _ended(self, link: Link, holders: str) -> list[list[bytes | None]]:
        try:
            return _rows(await link.execute(statements.END_CONNECTIONS, [holders.encode()]))
        except (NotSent, ConnectionLost) as error:
            raise StoreUnavailable(str(error)) from error
        except ServerError as error:
            raise refusal(error, self.name) from error

    async def terms(self) -> list[TermRow]:
        rows = _rows(await self._execute(statements.TERMS))
        return [
            TermRow(UUID(_text(term)), _info(*info), float(_text(left)), datetime.fromisoformat(_text(started)))
            for term, left, started, *info in rows
        ]

    async def writer(self, term: UUID) -> PostgresWriter:
        writer = PostgresWriter(self, term)
        await writer.begin()
        return writer

    # ---------------------------------------------------------------- messages

    async def overdue(self, term: UUID | None, *, adopt: bool = True) -> Overdue:
        parameters = [None if term is None else term.hex.encode(), str(self.skew).encode(), b"t" if adopt else b"f"]
        return postgresql_messages.overdue(await self._execute(message_statements.OVERDUE, parameters))

    # ---------------------------------------------------------------- objects

    async def find(self, names: Sequence[tuple[str, str]]) -> list[Found | None]:
        parameters = [arrays.texts([type_ for type_, _ in names]), arrays.texts([key for _, key in names])]
        found: list[Found | None] = [None] * len(names)
        for place, id_, epoch, destroyed, version, owner, present, left, *info in _rows(await self._execute(statements.FIND, parameters)):
            of = None
            if owner is not None:
                of = Owner(UUID(owner.decode()), present == b"t")
                if of.present:
                    of.lease_left, of.info = float(_text(left)), _info(*info)
            found[int(_text(place)) - 1] = Found(int(_text(id_)), int(_text(epoch)), of, destroyed == b"t", int(_text(version)))
        return found

    async def load(self, object_ids: Sequence[int]) -> list[Loaded]:
        loaded = [Loaded(None, [], 0, 0) for _ in object_ids]
        for place_, what, seq_, epoch_, version_, kind, text in _rows(await self._execute(statements.LOAD, [arrays.plain(object_ids)])):
            place, seq, epoch, version = int(_text(place_)) - 1, int(_text(seq_)), int(_text(epoch_)), int(_text(version_))
            one = loaded[place]
            one.head_seq, one.head_epoch = seq, epoch
            if what == b"0":
                one.snapshot = Snapshot(object_ids[place], seq, epoch, _text(text), version)
            elif what == b"1" and text is not None:
                one.tail.append(TailEntry(seq, epoch, EntryKind(int(_text(kind))), text.decode(), version))
        return loaded

    async def recall(self, calls: Sequence[tuple[int, str]]) -> list[Recorded | Forgotten | None]:
        recalled: list[Recorded | Forgotten | None] = [None] * len(calls)
        parameters = [arrays.plain([object_id for object_id, _ in calls]), arrays.texts([call_id for _, call_id in calls])]
        for place_, what, seq, kind, method, digest, result, at in _rows(await self._execute(statements.RECALL, parameters)):
            place = int(_text(place_)) - 1
            if what == b"2":
                if recalled[place] is None and forgotten(calls[place][1], datetime.fromisoformat(_text(at))):
                    recalled[place] = FORGOTTEN
            elif recalled[place] is None:
                recalled[place] = Recorded(
                    int(_text(seq)),
                    EntryKind(int(_text(kind))),
                    _text(method),
                    int(_text(digest)),
                    None if result is None else result.decode(),
                    datetime.fromisoformat(_text(at)),
                )
        return recalled

    async def history(self, object_id: int, after: int = 0, limit: int = 1000) -> list[tuple[int, Entry]]:
        parameters = [str(value).encode() for value in (object_id, after, limit)]
        return [_entry(row) for row in _rows(await self._execute(statements.HISTORY, parameters))]


def _rows(result: PGresult) -> list[list[bytes | None]]:
    columns = range(result.nfields)
    value = result.get_value
    return [[value(row, column) for column in columns] for row in range(result.ntuples)]


def _row(result: PGresult) -> list[bytes | None]:
    return _rows(result)[0]


def _text(value: bytes | None) -> str:
    assert value is not None
    return value.decode()


def _optional(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


@lru_cache(maxsize=256)
def _info(*values: bytes | None) -> TermInfo:
    texts = dict(zip(TermInfo.__slots__, map(_text, values), strict=True))
    return TermInfo(
        **{
            **texts,
            "pid": int(texts["pid"]),
            "wire_version": int(texts["wire_version"]),
            "endpoints": json.loads(texts["endpoints"]),
            "draining": texts["draining"] == "t",
        }
    )


def _entry(row: list[bytes | None]) -> tuple[int, Entry]:
    seq, epoch, digest, at, version, kind, own_id, call_id, method, user, delta, result, extra = row
    return int(_text(epoch)), Entry(
        seq=int(_text(seq)),
        kind=EntryKind(int(_text(kind))),
        at=datetime.fromisoformat(_text(at)),
        call_id=_text(call_id),
        own_id=own_id == b"t",
        method=_text(method),
        digest=int(_text(digest)),
        delta=_text(delta),
        result=_optional(result),
        version=int(_text(version)),
        user=_optional(user),
        extra=_optional(extra),
    )
