"""The contract on SQLite, in a file of its own for each test."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from jido_objects.stores import oslock
from jido_objects.stores.protocol import Store
from jido_objects.stores.sqlite import SqliteStore
from jido_objects.stores.sqlite_connection import moment, stamp

from .failures import FailureContract
from .message_contract import MessageContract
from .store_contract import StoreContract
from .window_contract import WindowContract
from .world import MESSAGE, TYPE, Fault, Message, When, World


class Strike(Fault):
    def __init__(self) -> None:
        self.k = 0
        self.when = When.BEFORE

    def arm(self, k: int, when: When) -> None:
        self.k, self.when = k, when

    def connection(self, *args: Any, **kwargs: Any) -> sqlite3.Connection:
        return _Struck(self, *args, **kwargs)

    def due(self) -> bool:
        self.k -= 1
        self.fired = self.fired or self.k == 0
        return self.k == 0


class _Struck(sqlite3.Connection):
    def __init__(self, strike: Strike, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.strike = strike

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql == "ROLLBACK" or (self.in_transaction and sql != "COMMIT") or not self.strike.due():
            return super().execute(sql, parameters)
        error = sqlite3.OperationalError("struck")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        if sql == "COMMIT" and self.strike.when is When.BEFORE:
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
        elif sql == "COMMIT":
            super().execute(sql)
        raise error


class SqliteWorld(World):
    def __init__(self, parameters: Mapping[str, Any], file: Path) -> None:
        super().__init__()
        self.parameters = {**parameters, "database": str(file)}
        self.file = file

    def make(self, fault: bool = False) -> tuple[Store, Fault | None]:
        if not fault:
            return SqliteStore(self.parameters), None
        strike = Strike()
        return SqliteStore({**self.parameters, "factory": strike.connection}), strike

    async def lapse(self, term: UUID) -> None:
        oslock.release(Path(f"{self.file}.jido"), term)

    async def put(self, type_: str, key: str, *, epoch: int) -> int:
        return int(self.sql("INSERT INTO jido_object (type, key, epoch) VALUES (?, ?, ?) RETURNING id", type_, key, epoch)[0][0])

    async def messages(self) -> list[Message]:
        rows = self.sql(f"SELECT {MESSAGE} FROM jido_inbox ORDER BY id")
        return [Message(*row[:6], row[6] and UUID(row[6]), bool(row[7]), row[8], moment(row[9])) for row in rows]

    async def clear(self) -> None:
        self.sql("DELETE FROM jido_inbox")

    async def put_message(self, key: str, method: str) -> None:
        now = stamp(datetime.now(UTC))
        self.sql(
            """INSERT INTO jido_inbox (type, key, due, not_before, method, args, kwargs, call_id)
            VALUES (?, ?, ?, ?, ?, '[]', '{}', ?)""",
            *(TYPE, key, now, now, method, f"sent-{method}"),
        )

    async def pause(self, key: str | None, paused: bool) -> None:
        if key is None:
            self.sql("INSERT INTO jido_deployment (id, paused) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET paused = ?", paused, paused)
        else:
            self.sql("UPDATE jido_object SET paused = ? WHERE key = ?", paused, key)

    def sql(self, sql: str, *parameters: object) -> list[Any]:
        with closing(sqlite3.connect(self.file, isolation_level=None)) as connection:
            return connection.execute(sql, parameters).fetchall()


class TestSqliteStore(StoreContract, MessageContract, WindowContract, FailureContract):
    has_late = False

    @pytest.fixture(autouse=True)
    def _files(self, sqlite_template: tuple[dict[str, Any], bytes], tmp_path: Path) -> None:
        self.template, self.directory = sqlite_template, tmp_path
        self.number = 0

    def world(self) -> SqliteWorld:
        self.number += 1
        file = self.directory / f"{self.number}.sqlite3"
        file.write_bytes(self.template[1])
        return SqliteWorld(self.template[0], file)

    async def snapshots(self, world: World, object_id: int) -> list[int]:
        assert isinstance(world, SqliteWorld)
        return [seq for (seq,) in world.sql("SELECT seq FROM jido_snapshot WHERE object_id = ? ORDER BY seq", object_id)]

    async def cut(self, world: World, object_id: int, up_to: int) -> None:
        assert isinstance(world, SqliteWorld)
        world.sql("DELETE FROM jido_journal WHERE object_id = ? AND seq <= ?", object_id, up_to)
