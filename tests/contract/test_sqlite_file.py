"""What SQLite is beyond the contract: who lives, by a lock of the operating system; and a file that can be busy, full or gone."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connections

from jido_objects.errors import NotMigrated, ReadOnlyDatabase, StoreError, StoreUnavailable, UnsupportedDatabase
from jido_objects.stores import oslock
from jido_objects.stores.opening import open_store
from jido_objects.stores.protocol import TermInfo
from jido_objects.stores.sqlite import SqliteStore

from .test_sqlite import SqliteWorld
from .world import LEASE, TYPE, create, on_a_loop

HOLD = """
import sys
from pathlib import Path
from uuid import UUID
from jido_objects.stores import oslock
oslock.hold(Path(sys.argv[1]), UUID(sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def file(sqlite_template: tuple[dict[str, Any], bytes], tmp_path: Path) -> Path:
    path = tmp_path / "db.sqlite3"
    path.write_bytes(sqlite_template[1])
    return path


@asynccontextmanager
async def a_world(file: Path, **parameters: Any) -> AsyncIterator[SqliteWorld]:
    world = SqliteWorld({"timeout": 0.05, **parameters}, file)
    try:
        yield world
    finally:
        await world.close()


def locks(file: Path) -> Path:
    return Path(f"{file}.jido")


@contextmanager
def another_process(directory: Path, term: UUID) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", HOLD, str(directory), str(term)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


# ---------------------------------------------------------------- who lives


@on_a_loop
async def test_two_hosts_of_one_process_see_each_other_alive(file: Path) -> None:
    async with a_world(file) as world:
        one, two = await world.store(), await world.store()
        assert not one.liveness_by_lease
        first, second = await world.term(one), await world.term(two)
        assert not await one.bury(second)
        assert not await two.bury(first)
        assert {row.id: row.lease_left > 0 for row in await one.terms()} == {first: True, second: True}
        await two.close()
        assert {row.id: row.lease_left > 0 for row in await one.terms()} == {first: True, second: False}
        assert await one.bury(second)


@on_a_loop
async def test_a_term_lives_as_long_as_its_process(file: Path) -> None:
    async with a_world(file) as world:
        store = await world.store()
        term = uuid4()
        world.sql(
            "INSERT INTO jido_term (id, lease_until, lease_seconds, boot_id, pid_namespace, network_namespace, pid, pid_started, "
            "hostname, region, code_version, wire_version, endpoints, draining) "
            "VALUES (?, '2020-01-01', 1, '', '', '', 1, '', '', '', '', 1, '{}', 0)",
            term.hex,
        )
        with another_process(locks(file), term) as process:
            assert not await store.bury(term)
            process.kill()
            process.wait()
            assert await store.bury(term)
        assert not locks(file).exists()


@on_a_loop
async def test_a_copied_database_has_no_living_terms(file: Path, tmp_path: Path) -> None:
    async with a_world(file) as world:
        store = await world.store()
        term = await world.term(store)
        copy = tmp_path / "copy.sqlite3"
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        async with a_world(copy) as other:
            assert await (await other.store()).bury(term)
        assert await store.renew(term, LEASE)


@on_a_loop
async def test_no_file_is_left_by_terms_that_ended(file: Path) -> None:
    async with a_world(file) as world:
        store = await world.store()
        terms = [await world.term(store) for _ in range(3)]
        assert len(list(locks(file).iterdir())) == 3
        for term in terms:
            assert await store.bury(term, proven=True)
        assert not locks(file).exists()
        assert await store.bury(await world.term(store), proven=True)
        with pytest.raises(StoreError):
            await store.begin_term(await world.term(store), TermInfo(), LEASE)


def test_a_forked_child_does_not_keep_its_parent_s_terms_alive(tmp_path: Path) -> None:
    term = uuid4()
    oslock.hold(tmp_path / "locks", term)
    to_child, from_parent = os.pipe()
    to_parent, from_child = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(from_child, b"forked")
        os.read(to_child, 1)
        os._exit(0)
    try:
        assert os.read(to_parent, 6) == b"forked"
        assert oslock.alive(tmp_path / "locks", term)
        oslock.release(tmp_path / "locks", term)
        assert not oslock.alive(tmp_path / "locks", term)
    finally:
        os.write(from_parent, b"x")
        os.waitpid(child, 0)
        for descriptor in (to_child, from_parent, to_parent, from_child):
            os.close(descriptor)
        oslock.remove(tmp_path / "locks", term)


def test_a_started_program_does_not_keep_its_parent_s_terms_alive(tmp_path: Path) -> None:
    term = uuid4()
    oslock.hold(tmp_path / "locks", term)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False) as program:
        oslock.release(tmp_path / "locks", term)
        limit = time.monotonic() + 10
        # The parent goes on a moment before the kernel has closed what the new program does not get.
        while oslock.alive(tmp_path / "locks", term):
            assert time.monotonic() < limit
        program.kill()
    oslock.remove(tmp_path / "locks", term)


# ---------------------------------------------------------------- the file


async def opening(file: Path | str, **parameters: Any) -> None:
    store = SqliteStore({"database": str(file), "timeout": 0.05, **parameters})
    try:
        await store.open()
    finally:
        await store.close()


@on_a_loop
async def test_a_file_without_tables(tmp_path: Path) -> None:
    with pytest.raises(NotMigrated, match=r"manage\.py migrate jido_objects"):
        await opening(tmp_path / "empty.sqlite3")


@on_a_loop
async def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        await opening(tmp_path / "nowhere" / "db.sqlite3")


@on_a_loop
async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database " * 100)
    with pytest.raises(StoreError, match="not a database"):
        await opening(tmp_path / "text")


@on_a_loop
async def test_a_file_that_only_reads(file: Path) -> None:
    async with a_world(file) as world:
        await world.store()  # leaves the file in WAL mode while it is open
        with pytest.raises(ReadOnlyDatabase):
            await opening(f"file:{file}?mode=ro", uri=True)


@on_a_loop
async def test_a_busy_file(file: Path) -> None:
    async with a_world(file) as world:
        store = await world.store()
        writer = await world.writer(store, await world.term(store))
        key = str(uuid4())
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="locked") as caught:
                await writer.append([create(key)])
            assert caught.value.applied is False
            assert await store.find([(TYPE, key)]) == [None]
            other.execute("ROLLBACK")
        (outcome,) = await writer.append([create(key)])
        assert isinstance(outcome, int)


@on_a_loop
async def test_a_full_disk(file: Path) -> None:
    async with a_world(file) as world:
        store = SqliteStore({"database": str(file)}, commands=["PRAGMA max_page_count = 80"])
        await store.open()
        world.keep(store)
        writer = await world.writer(store, await world.term(store))
        with pytest.raises(StoreUnavailable, match="full") as caught:
            await writer.append([create(str(uuid4()), delta="x" * 1_000_000)])
        assert caught.value.applied is False
        (outcome,) = await writer.append([create(str(uuid4()))])
        assert isinstance(outcome, int)


@on_a_loop
async def test_what_is_committed_is_on_the_disk(file: Path) -> None:
    async with a_world(file) as world:
        store = SqliteStore({"database": str(file)}, commands=["PRAGMA synchronous = OFF", ""])
        await store.open()
        world.keep(store)
        worker = store.worker("test")
        world.keep(worker)
        assert await worker.run(lambda connection: connection.execute("PRAGMA synchronous").fetchone()) == (2,)
        assert await worker.run(lambda connection: connection.execute("PRAGMA journal_mode").fetchone()) == ("wal",)


def test_an_answer_that_nobody_waits_for_any_more(file: Path) -> None:
    async def ask_and_go() -> None:
        worker = SqliteStore({"database": str(file)}).worker("test")
        ended.append(worker)
        worker.run(lambda connection: connection.execute("SELECT 1").fetchone())

    ended: list[Any] = []
    asyncio.run(ask_and_go())
    ended[0]._jobs.put(None)
    ended[0]._thread.join(10)
    assert not ended[0]._thread.is_alive()


# ---------------------------------------------------------------- aliases


def test_a_database_in_memory_is_refused(django_db_setup: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "NAME", ":memory:")
    with pytest.raises(UnsupportedDatabase, match=r"\['TEST'\] = {'NAME'"):
        open_store("default")


def test_other_databases_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Oracle:
        vendor = "oracle"
        display_name = "Oracle"

    monkeypatch.setattr("jido_objects.stores.opening.connections", {"legacy": Oracle()})
    with pytest.raises(UnsupportedDatabase, match="'legacy' is Oracle"):
        open_store("legacy")


@pytest.mark.parametrize("alias", list(connections.settings))
def test_an_alias_is_opened_by_its_vendor(alias: str, django_db_setup: None) -> None:
    async def ask() -> None:
        store = open_store(alias)
        await store.open()
        try:
            assert store.name == alias
            assert await store.find([(TYPE, str(uuid4()))]) == [None]
        finally:
            await store.close()

    asyncio.run(ask())
