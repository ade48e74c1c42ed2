"""A world on the test run's PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.conf import settings

from jido_objects.stores.postgresql import PostgresStore
from jido_objects.stores.protocol import Store

from .proxy import Proxy
from .world import MESSAGE, TYPE, Fault, Message, World

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

    async def connection(self, name: str = "test", *, autocommit: bool = False) -> psycopg.AsyncConnection[Any]:
        """A connection of the test's own, to hold transactions open or to look."""
        django = ("context", "cursor_factory", "prepare_threshold")
        plain = {name: value for name, value in self.parameters.items() if name not in django}
        return await psycopg.AsyncConnection.connect(**plain, application_name=name, autocommit=autocommit)

    async def sql(self, sql: str, *parameters: object) -> list[Any]:
        connection = await self.connection(autocommit=True)
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

    async def messages(self) -> list[Message]:
        return [Message(*row) for row in await self.sql(f"SELECT {MESSAGE} FROM jido_inbox ORDER BY id")]

    async def clear(self) -> None:
        await self.sql("DELETE FROM jido_inbox")

    async def put_message(self, key: str, method: str) -> None:
        await self.sql(
            """INSERT INTO jido_inbox (type, key, due, not_before, method, args, kwargs, call_id)
            VALUES (%s, %s, clock_timestamp(), clock_timestamp(), %s, '[]', '{}', %s)""",
            *(TYPE, key, method, f"sent-{method}"),
        )

    async def pause(self, key: str | None, paused: bool) -> None:
        if key is None:
            await self.sql(
                "INSERT INTO jido_deployment (id, paused) VALUES (1, %s) ON CONFLICT (id) DO UPDATE SET paused = excluded.paused", paused
            )
        else:
            await self.sql("UPDATE jido_object SET paused = %s WHERE key = %s", paused, key)


def _plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name not in ("context", "cursor_factory", "prepare_threshold")}
