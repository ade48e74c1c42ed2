"""The contract on a connection of Django's, inside the transaction of a test: the stores of ``jido_objects.testing``."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from jido_objects.stores.protocol import Store
from jido_objects.stores.sqlite_connection import moment, stamp
from jido_objects.testing.sqlite import BorrowedSqliteStore

from .message_contract import MessageContract
from .postgresql import needs_postgresql
from .store_contract import StoreContract
from .world import MESSAGE, TYPE, Fault, Message, World, create, on_a_loop


class _Mortal(BorrowedSqliteStore):
    """Its terms can lapse, which no term does in a test of a user's."""

    def __init__(self, connection: BaseDatabaseWrapper, lapsed: set[UUID]) -> None:
        super().__init__(connection)
        self._lapsed = lapsed

    def _lives(self, term: UUID) -> bool:
        return term not in self._lapsed


class BorrowedWorld(World):
    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        super().__init__()
        self.connection = connection
        self.lapsed: set[UUID] = set()

    def make(self, fault: bool = False) -> tuple[Store, Fault | None]:
        if self.connection.vendor == "sqlite":
            return _Mortal(self.connection, self.lapsed), None
        from jido_objects.testing.postgresql import BorrowedPostgresStore

        return BorrowedPostgresStore(self.connection), None

    async def lapse(self, term: UUID) -> None:
        self.lapsed.add(term)
        if self.connection.vendor == "postgresql":
            self.sql(
                "UPDATE jido_term SET lease_until = clock_timestamp() - interval '1 hour', lease_seconds = -3600 WHERE id = ?", str(term)
            )

    async def put(self, type_: str, key: str, *, epoch: int) -> int:
        return int(
            self.sql("INSERT INTO jido_object (type, key, epoch, destroyed) VALUES (?, ?, ?, false) RETURNING id", type_, key, epoch)[0][0]
        )

    async def messages(self) -> list[Message]:
        rows = self.sql(f"SELECT {MESSAGE} FROM jido_inbox ORDER BY id")
        if self.connection.vendor == "postgresql":
            return [Message(*row) for row in rows]
        return [Message(*row[:6], row[6] and UUID(row[6]), bool(row[7]), row[8], moment(row[9])) for row in rows]

    async def clear(self) -> None:
        self.sql("DELETE FROM jido_inbox")

    async def put_message(self, key: str, method: str) -> None:
        now = stamp(datetime.now(UTC)) + ("+00" if self.connection.vendor == "postgresql" else "")
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
        if self.connection.vendor == "sqlite":
            return list(self.connection.connection.execute(sql, parameters).fetchall())
        cursor = self.connection.connection.execute(sql.replace("?", "%s"), parameters)
        return list(cursor.fetchall()) if cursor.description else []


class BorrowedContract(StoreContract, MessageContract):
    alias: str

    @pytest.fixture(autouse=True)
    def _in_a_test(self, db: None) -> None:
        self.connection = connections[self.alias]
        assert self.connection.in_atomic_block

    def world(self) -> BorrowedWorld:
        return BorrowedWorld(self.connection)

    async def snapshots(self, world: World, object_id: int) -> list[int]:
        assert isinstance(world, BorrowedWorld)
        return [seq for (seq,) in world.sql("SELECT seq FROM jido_snapshot WHERE object_id = ? ORDER BY seq", object_id)]

    async def cut(self, world: World, object_id: int, up_to: int) -> None:
        assert isinstance(world, BorrowedWorld)
        world.sql("DELETE FROM jido_journal WHERE object_id = ? AND seq <= ?", object_id, up_to)

    def test_a_cancelled_call_must_be_settled(self) -> None:
        @on_a_loop
        async def nothing_is_ever_under_way() -> None:
            async with self.writing() as (_, _, _, writer):
                append = asyncio.ensure_future(writer.append([create(str(uuid4()))]))
                await asyncio.sleep(0)
                assert append.done()

        nothing_is_ever_under_way()

    def test_django_goes_on_in_the_same_transaction(self) -> None:
        self.test_rows_that_cannot_be_stored_spoil_no_other_object()
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM jido_object")
            assert cursor.fetchone()[0] > 0
            with pytest.raises(DatabaseError):
                cursor.execute("SELECT nothing FROM nowhere")


@pytest.mark.django_db(databases=["default"])
class TestBorrowedSqliteStore(BorrowedContract):
    alias = "default"


@needs_postgresql
@pytest.mark.django_db(databases=["default", "postgres"])
class TestBorrowedPostgresStore(BorrowedContract):
    alias = "postgres"
