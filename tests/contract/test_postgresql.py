"""The contract on PostgreSQL; faults are struck by a proxy between the store and the server."""

from __future__ import annotations

from typing import Any

import pytest

from jido_objects.stores.protocol import Store

from .failures import Client, FailureContract
from .message_contract import MessageContract
from .postgresql import PostgresWorld, needs_postgresql
from .proxy import Proxy
from .store_contract import StoreContract
from .window_contract import WindowContract
from .world import Fault, World


@needs_postgresql
class TestPostgresStore(StoreContract, MessageContract, WindowContract, FailureContract):
    @pytest.fixture(autouse=True)
    def _database(self, postgresql_parameters: dict[str, Any]) -> None:
        self.parameters = postgresql_parameters

    def world(self) -> PostgresWorld:
        return PostgresWorld(self.parameters)

    async def snapshots(self, world: World, object_id: int) -> list[int]:
        assert isinstance(world, PostgresWorld)
        return [seq for (seq,) in await world.sql("SELECT seq FROM jido_snapshot WHERE object_id = %s ORDER BY seq", object_id)]

    async def cut(self, world: World, object_id: int, up_to: int) -> None:
        assert isinstance(world, PostgresWorld)
        await world.sql("DELETE FROM jido_journal WHERE object_id = %s AND seq <= %s", object_id, up_to)

    async def landed_late(self, fault: Fault, store: Store, client: Client) -> object:
        assert isinstance(fault, Proxy)
        if fault.fired and not fault.released.is_set():
            fault.released.set()
        return await super().landed_late(fault, store, client)
