"""What the PostgreSQL store finds out about its database, and how its connections end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from jido_objects.errors import (
    NotMigrated,
    OutcomeUnknown,
    ReadOnlyDatabase,
    StoreError,
    StoreUnavailable,
    Unacceptable,
    UnsupportedDatabase,
)
from jido_objects.stores import arrays
from jido_objects.stores.link import ConnectionLost, Link, NotSent, ServerError, Statement
from jido_objects.stores.postgresql import PostgresStore
from jido_objects.stores.postgresql_writer import PostgresWriter
from jido_objects.stores.sqlstates import refusal

from .pooler import Pooler
from .postgresql import PostgresWorld, needs_postgresql
from .world import LEASE, TYPE, create, extend, on_a_loop

pytestmark = needs_postgresql


@asynccontextmanager
async def a_world(parameters: dict[str, Any]) -> AsyncIterator[PostgresWorld]:
    world = PostgresWorld(parameters)
    try:
        yield world
    finally:
        await world.close()


async def opening(parameters: dict[str, Any], **options: Any) -> None:
    store = PostgresStore(parameters, alias="postgres", **options)
    try:
        await store.open()
    finally:
        await store.close()


# ---------------------------------------------------------------- opening


@on_a_loop
async def test_a_server_that_is_not_there(postgresql_parameters: dict[str, Any]) -> None:
    with pytest.raises(StoreUnavailable, match="port 1"):
        await opening({**postgresql_parameters, "host": "127.0.0.1", "port": 1})


@on_a_loop
async def test_a_server_that_does_not_answer(postgresql_parameters: dict[str, Any]) -> None:
    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silence.wait()
        writer.close()

    silence = asyncio.Event()
    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(StoreUnavailable):
        await opening({**postgresql_parameters, "host": "127.0.0.1", "port": port}, timeout=0.1)
    silence.set()
    server.close()


@on_a_loop
async def test_a_database_without_tables(postgresql_parameters: dict[str, Any]) -> None:
    async with a_world(postgresql_parameters) as world:
        name = f"jido_empty_{uuid4().hex[:8]}"
        await world.sql(f"CREATE DATABASE {name}")
        try:
            with pytest.raises(NotMigrated, match=r"manage\.py migrate jido_objects --database postgres"):
                await opening({**postgresql_parameters, "dbname": name})
        finally:
            await world.sql(f"DROP DATABASE {name} WITH (FORCE)")


@on_a_loop
async def test_a_database_that_only_reads(postgresql_parameters: dict[str, Any]) -> None:
    with pytest.raises(ReadOnlyDatabase):
        await opening({**postgresql_parameters, "options": "-c default_transaction_read_only=on"})


@on_a_loop
async def test_an_old_server(postgresql_parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Link, "server_version", 140009)
    with pytest.raises(UnsupportedDatabase, match="PostgreSQL 14"):
        await opening(postgresql_parameters)


@pytest.mark.parametrize("mode", ["transaction", "session"])
@on_a_loop
async def test_a_pooler(mode: str, postgresql_parameters: dict[str, Any]) -> None:
    async with a_world(postgresql_parameters) as world:
        pooler = Pooler(postgresql_parameters["host"], int(postgresql_parameters["port"]), by_session=mode == "session")
        await pooler.start()
        world.keep(pooler)
        through = {**postgresql_parameters, "host": "127.0.0.1", "port": pooler.port, "sslmode": "disable", "gssencmode": "disable"}
        if mode == "session":
            await opening(through)
        else:
            with pytest.raises(UnsupportedDatabase, match=r"JIDO_OBJECTS\['DATABASE'\]"):
                await opening(through)


@on_a_loop
async def test_the_alias_s_own_settings_are_kept(postgresql_parameters: dict[str, Any]) -> None:
    store = PostgresStore({**postgresql_parameters, "keepalives_idle": 77, "pool": True}, role="postgres")
    await store.open()
    try:
        link = await store.connect("one")
        rows = await link.script("SELECT current_user, current_setting('synchronous_commit'), current_setting('transaction_isolation')")
        assert [rows.get_value(0, column) for column in range(3)] == [b"postgres", b"on", b"read committed"]
        assert link._connection.info  # the parameters as libpq has them
        assert {option.keyword: option.val for option in link._connection.info}[b"keepalives_idle"] == b"77"
        link.close()
    finally:
        await store.close()


# ---------------------------------------------------------------- connections that end


async def terminate(world: PostgresWorld, name: str) -> None:
    await world.sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE %s", name)


@on_a_loop
async def test_idle_connections_that_were_ended_are_made_again(postgresql_parameters: dict[str, Any]) -> None:
    async with a_world(postgresql_parameters) as world:
        store = await world.store()
        assert isinstance(store, PostgresStore)
        term = await world.term(store)
        writer = await world.writer(store, term)
        assert isinstance(writer, PostgresWriter)
        key = str(uuid4())
        (id_,) = await writer.append([create(key)])
        assert isinstance(id_, int)
        assert store._link is not None
        assert writer._link is not None
        await world.sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid = %s", store._link.backend_pid)
        await terminate(world, f"jido:{term.hex}:%")
        async with asyncio.timeout(10):
            while store._link.broken is None or writer._link.broken is None:
                await asyncio.sleep(0.001)
        # Nothing was in flight, so nothing is unknown: the same lane goes on over a new connection.
        assert await writer.append([extend(key, id_, 1)]) == [id_]
        assert await store.renew(term, LEASE)
        assert (await store.load([id_]))[0].head_seq == 2


@on_a_loop
async def test_a_connection_ended_with_a_statement_in_flight_is_an_unknown_outcome(postgresql_parameters: dict[str, Any]) -> None:
    async with a_world(postgresql_parameters) as world:
        store = await world.store()
        term = await world.term(store)
        writer = await world.writer(store, term)
        key = str(uuid4())
        held = await world.connection()
        world.keep(held)
        await held.execute("INSERT INTO jido_object (type, key) VALUES (%s, %s)", [TYPE, key])
        append = asyncio.ensure_future(writer.append([create(key)]))
        while not await world.sql(
            "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE %s AND wait_event_type = 'Lock'", f"jido:{term.hex}:%"
        ):
            await asyncio.sleep(0.002)
        await terminate(world, f"jido:{term.hex}:%")
        with pytest.raises(OutcomeUnknown) as caught:
            await append
        assert caught.value.applied is None
        await held.rollback()
        await writer.settle()
        assert await store.find([(TYPE, key)]) == [None]


@on_a_loop
async def test_a_statement_that_takes_too_long_is_refused_by_the_server_first(postgresql_parameters: dict[str, Any]) -> None:
    async with a_world(postgresql_parameters) as world:
        store = PostgresStore(postgresql_parameters, alias="postgres", timeout=0.5)
        await store.open()
        world.keep(store)
        writer = await world.writer(store, await world.term(store))
        key = str(uuid4())
        held = await world.connection()
        world.keep(held)
        await held.execute("INSERT INTO jido_object (type, key) VALUES (%s, %s)", [TYPE, key])
        with pytest.raises(StoreUnavailable, match="57014") as caught:
            await writer.append([create(key)])
        assert caught.value.applied is False
        await held.rollback()
        (outcome,) = await writer.append([create(key)])
        assert isinstance(outcome, int)


@on_a_loop
async def test_a_server_that_stops_answering_is_left(postgresql_parameters: dict[str, Any]) -> None:
    async with a_world(postgresql_parameters) as world:
        store = await world.store()
        assert isinstance(store, PostgresStore)
        link = await store.connect("one")
        slow = link.execute(Statement("SELECT pg_sleep(8)"), timeout=0.2)
        queued = link.execute(Statement("SELECT 1"))
        with pytest.raises(ConnectionLost, match=r"0\.2 s"):
            await slow
        with pytest.raises(NotSent):
            await queued
        with pytest.raises(NotSent):
            await link.execute(Statement("SELECT 1"))


@on_a_loop
async def test_a_connection_goes_on_after_a_refusal(postgresql_parameters: dict[str, Any]) -> None:
    async with a_world(postgresql_parameters) as world:
        store = await world.store()
        assert isinstance(store, PostgresStore)
        link = await store.connect("one")
        world_end = [link.execute(Statement(sql)) for sql in ("SELECT 1/0", "SELECT nothing", "SELECT 1")]
        results = await asyncio.gather(*world_end, link.script("SELECT 1; SELECT 2"), return_exceptions=True)
        assert [error.sqlstate for error in results[:2] if isinstance(error, ServerError)] == ["22012", "42703"]
        assert results[2].get_value(0, 0) == b"1"  # type: ignore[union-attr]
        assert results[3].get_value(0, 0) == b"2"  # type: ignore[union-attr]
        link.close()
        link.close()


@on_a_loop
async def test_statements_are_made_again_when_the_server_forgot_them(postgresql_parameters: dict[str, Any]) -> None:
    async with a_world(postgresql_parameters) as world:
        store = await world.store()
        assert isinstance(store, PostgresStore)
        assert await store.find([]) == []
        assert store._link is not None
        await store._link.script("DEALLOCATE ALL")
        with pytest.raises(StoreUnavailable):
            await store.find([])
        assert await store.find([]) == []


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("sqlstate", "kind", "retryable"),
    [
        ("40001", StoreUnavailable, True),
        ("40P01", StoreUnavailable, True),
        ("53100", StoreUnavailable, True),
        ("55P03", StoreUnavailable, True),
        ("57014", StoreUnavailable, True),
        ("25006", ReadOnlyDatabase, True),
        ("42P01", NotMigrated, False),
        ("42703", NotMigrated, False),
        ("22021", Unacceptable, False),
        ("23502", Unacceptable, False),
        ("42501", StoreError, False),
        ("XX001", StoreError, False),
    ],
)
def test_what_the_server_refuses_was_not_applied(sqlstate: str, kind: type[StoreError], retryable: bool) -> None:
    error = refusal(ServerError(sqlstate, "no"), "main")
    assert type(error) is kind
    assert error.applied is False
    assert error.retryable is retryable
    assert "no" in str(error)


def test_array_literals() -> None:
    assert arrays.plain([1, -2]) == b"{1,-2}"
    assert arrays.plain([]) == arrays.texts([]) == b"{}"
    assert arrays.texts(["a", None, "", "NULL", 'q"\\', "é"]) == '{"a",NULL,"","NULL","q\\"\\\\","é"}'.encode()
    assert arrays.texts(["\x1f", "\x1e", None, "x"]) == b'{"\x1f","\x1e",NULL,"x"}'
    for impossible in ("\0", "\ud800"):
        with pytest.raises(ValueError, match=r"NUL|surrogates"):
            arrays.texts(["a", impossible])


@on_a_loop
async def test_nul_spoils_only_its_own_object(postgresql_parameters: dict[str, Any]) -> None:
    async with a_world(postgresql_parameters) as world:
        store = await world.store()
        writer = await world.writer(store, await world.term(store))
        one, two = str(uuid4()), str(uuid4())
        good, bad = await writer.append([create(one), create(two, result="a\0b")])
        assert isinstance(good, int)
        assert isinstance(bad, Unacceptable)
        (outcome,) = await writer.append([extend(one, good, 1, call_id="\0")])
        assert isinstance(outcome, Unacceptable)
        assert await writer.append([extend(one, good, 1)]) == [good]


@on_a_loop
async def test_a_lost_connection_amid_isolation_is_an_unknown_outcome(
    postgresql_parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_world(postgresql_parameters) as world:
        store = await world.store()
        term = await world.term(store)
        writer = await world.writer(store, term)
        assert isinstance(writer, PostgresWriter)
        keys = [str(uuid4()) for _ in range(3)]
        real = PostgresWriter._append

        async def bury_after_the_first(self: PostgresWriter, batch: Any) -> Any:
            outcome = await real(self, batch)
            assert await store.bury(term, proven=True)
            return outcome

        monkeypatch.setattr(PostgresWriter, "_append", bury_after_the_first)
        with pytest.raises(OutcomeUnknown):
            await writer.append([create(keys[0]), create(keys[1]), create(keys[2], delta="\0")])
        assert [found is not None for found in await store.find([(TYPE, key) for key in keys])] == [True, False, False]
