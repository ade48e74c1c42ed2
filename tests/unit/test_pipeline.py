"""The pipeline outlives whatever a store does to it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from jido_objects import ids
from jido_objects.clock import SystemClock
from jido_objects.errors import StoreError
from jido_objects.host import Host
from jido_objects.router import HostReply
from jido_objects.stores.memory import MemoryServer, MemoryStore
from jido_objects.turns import Call
from tests.app.objects import Counter


def _send(host: Host, key: str, *, call_id: str | None = None) -> asyncio.Future[Any]:
    ref = Counter.at(key)
    method = ref.definition.method("add")
    args, kwargs = method.bind((), {})
    encoded = method.encode_arguments(args, kwargs)
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    deadline = host.clock.monotonic() + 10
    call = Call(
        (ref.label, ref.key), method, args, kwargs, encoded, method.digest(encoded), call_id or ids.generate(), deadline, HostReply(future)
    )
    host.dispatch(call)
    return future


def _run(story: Any) -> None:
    async def main() -> None:
        host = Host(MemoryStore(MemoryServer()), SystemClock())
        await host.start()
        try:
            await asyncio.wait_for(story(host), 10)
        finally:
            await host.stop()

    asyncio.run(main())


def _fails_once(target: Any, name: str, *, after: bool) -> None:
    real = getattr(target, name)
    failed = False

    async def failing(*args: Any) -> Any:
        nonlocal failed
        if failed:
            return await real(*args)
        failed = True
        if after:
            await real(*args)
        raise ZeroDivisionError("a fault of the store's own")

    setattr(target, name, failing)


@pytest.mark.parametrize("after", [False, True])
def test_an_append_that_fails_in_an_unknown_way_is_settled_and_applied_once(after: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def story(host: Host) -> None:
        assert await _send(host, "a") == 1
        _fails_once(host.pipeline._writer, "append", after=after)
        with caplog.at_level(logging.ERROR, "jido_objects.pipeline"):
            assert await asyncio.gather(_send(host, "a"), _send(host, "a")) == [2, 3]
        assert "The store failed with a batch" in caplog.text
        assert await _send(host, "a") == 4

    _run(story)


def test_a_claim_that_fails_in_an_unknown_way_fails_its_callers_and_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    async def story(host: Host) -> None:
        assert await _send(host, "a") == 1
        assert await _send(host, "b") == 1
        for activation in list(host.activations.values()):
            assert host.hibernate(activation)
        _fails_once(host.pipeline._writer, "claim", after=False)
        with caplog.at_level(logging.ERROR, "jido_objects.pipeline"), pytest.raises(StoreError, match="ZeroDivisionError"):
            await _send(host, "a")
        assert await _send(host, "b") == 2
        assert await _send(host, "a") == 2

    _run(story)


def test_a_snapshot_that_fails_in_an_unknown_way_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def story(host: Host) -> None:
        assert await _send(host, "a") == 1
        _fails_once(host.pipeline._writer, "snapshot", after=False)
        for n in range(2, 200):
            assert await _send(host, "a") == n
        for activation in list(host.activations.values()):
            assert host.hibernate(activation)
        with caplog.at_level(logging.ERROR, "jido_objects.pipeline"):
            await host.pipeline.quiet()
        assert await _send(host, "a") == 200

    _run(story)
