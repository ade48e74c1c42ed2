"""Code that changes: several versions of an object type in one process, each deployed for as long as a host needs it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from jido_objects import DurableObject, Ref, ids
from jido_objects.clock import Clock, SystemClock
from jido_objects.definition import Definition
from jido_objects.host import Host, HostSettings
from jido_objects.router import HostReply
from jido_objects.stores.protocol import Store
from jido_objects.turns import Call


@contextmanager
def deployed(*types: type[DurableObject]) -> Iterator[None]:
    """Only these types are known, as if the process had been started with them."""
    before = dict(Definition.registry)
    Definition.registry.clear()
    Definition.registry.update({one._jido_definition.label: one._jido_definition for one in types})
    try:
        yield
    finally:
        Definition.registry.clear()
        Definition.registry.update(before)


@asynccontextmanager
async def hosting(store: Store, clock: Clock | None = None, lease: float = 60.0) -> AsyncIterator[Host]:
    host = Host(store, clock or SystemClock(), HostSettings(lease_seconds=lease))
    await host.start()
    try:
        yield host
    finally:
        await host.stop()


def send(host: Host, ref: Ref[Any], name: str, *args: Any, call_id: str | None = None, get: bool = False) -> asyncio.Future[Any]:
    """A call as the router makes it; with ``get`` the read of a field or a query."""
    method = ref.definition.reader(name) if get else ref.definition.method(name)
    bound, named = method.bind(args, {})
    encoded = method.encode_arguments(bound, named)
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    deadline = host.clock.monotonic() + 60
    used = call_id or ids.generate()
    call = Call((ref.label, ref.key), method, bound, named, encoded, method.digest(encoded), used, deadline, HostReply(future))
    call.own_id = call.lookup = call_id is not None and method.recorded
    host.dispatch(call)
    return future
