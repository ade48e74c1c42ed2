"""The contract on PostgreSQL; faults are struck by a proxy between the store and the server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.conf import settings
from django.db import connections

from jido_objects.stores.postgresql import PostgresStore
from jido_objects.stores.protocol import Store

from .failures import Client, FailureContract
from .proxy import Proxy
from .store_contract import StoreContract
from .world import Fault, World

needs_postgresql = pytest.mark.skipif("postgres" not in settings.DATABASES, reason="not applicable: no PostgreSQL here")


class PostgresWorld(World):
    def __init__(self, parameters: Mapping[str, Any]) -> None:
        super().__init__()
        self.parameters = dict(parameters)

    def make(self, fault: bool = False) -> tuple[Store, Fault | None]:
        assert not fault, "faulty() makes one"
        return PostgresStore(self.parameters, alias="postgres"), None

    async def faulty(self) -> tuple[Store, Fault]:
        proxy = Proxy(self.parameters["host"], int(self.parameters["port"]))
        await proxy.start()
        self.keep(proxy)
        through = {**self.parameters, "host": "127.0.0.1", "port": proxy.port, "sslmode": "disable", "gssencmode": "disable"}
        store = PostgresStore(through, alias="postgres")
        await store.open()
        self.keep(store)
        return store, proxy

    async def sql(self, sql: str, *parameters: object) -> list[Any]:
        connection = await psycopg.AsyncConnection.connect(**_plain(self.parameters), autocommit=True)
        try:
            cursor = await connection.execute(sql, parameters)
            return await cursor.fetchall() if cursor.description else []
        finally:
            await connection.close()

    async def lapse(self, term: UUID) -> None:
        # As if both the server's start and the last renewal had been long ago.
        await self.sql(
            "UPDATE jido_term SET lease_until = clock_timestamp() - interval '1 hour', lease_seconds = -3600 WHERE id = %s", term
        )

    async def put(self, type_: str, key: str, *, epoch: int) -> int:
        (row,) = await self.sql("INSERT INTO jido_object (type, key, epoch) VALUES (%s, %s, %s) RETURNING id", type_, key, epoch)
        return int(row[0])


def _plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name not in ("context", "cursor_factory", "prepare_threshold")}


@pytest.fixture(scope="session")
def postgresql(django_db_setup: None) -> dict[str, Any]:
    """Connection parameters of the test database."""
    return dict(connections["postgres"].get_connection_params())


@needs_postgresql
class TestPostgresStore(StoreContract, FailureContract):
    @pytest.fixture(autouse=True)
    def _database(self, postgresql: dict[str, Any]) -> None:
        self.parameters = postgresql

    def world(self) -> PostgresWorld:
        return PostgresWorld(self.parameters)

    async def snapshots(self, world: World, object_id: int) -> list[int]:
        assert isinstance(world, PostgresWorld)
        return [seq for (seq,) in await world.sql("SELECT seq FROM jido_snapshot WHERE object_id = %s ORDER BY seq", object_id)]

    async def trim(self, world: World, object_id: int, up_to: int) -> None:
        assert isinstance(world, PostgresWorld)
        await world.sql("DELETE FROM jido_journal WHERE object_id = %s AND seq <= %s", object_id, up_to)

    async def landed_late(self, fault: Fault, store: Store, client: Client) -> object:
        assert isinstance(fault, Proxy)
        if fault.fired and not fault.released.is_set():
            fault.released.set()
        return await super().landed_late(fault, store, client)
