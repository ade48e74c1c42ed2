"""Rows that nobody of ours has written: one object, or one call id, is refused, and everything else goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from django.db import connections

from jido_objects import DurableObject, process
from jido_objects.errors import CorruptObject, UnreadableResult
from jido_objects.models import Journal, Snapshot
from tests.integration.strikes import hibernate, on_host

pytestmark = pytest.mark.usefixtures("database")

HEALTHY = 8


class Page(DurableObject):
    n: int = 0
    rows: list[str] = []

    def add(self, row: str = "x") -> int:
        self.n += 1
        self.rows.append(row)
        return self.n

    class Meta:
        snapshot_every = 4


def update(database: str, table: str, key: str, **values: str) -> None:
    """Set columns of an object's rows by SQL: the ORM would refuse what is no value of theirs."""
    assignments = ", ".join(f"{name} = {value}" for name, value in values.items())
    with connections[database].cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {assignments} WHERE object_id = (SELECT id FROM jido_object WHERE key = %s)", [key])
        assert cursor.rowcount


DELTAS = {
    "no JSON": "'[[\"set\",'",
    "no list": "'5'",
    "empty operation": "'[[]]'",
    "unknown operation": '\'[["frob","rows",1]]\'',
    "wrong type": '\'[["set","n","x"]]\'',
    "wrong path": '\'[["append",["rows",3],"x"]]\'',
    "no field": '\'[["append","nowhere","x"]]\'',
    "index": '\'[["put","rows",7,"x"]]\'',
    "empty": "''",
    "null": "'null'",
    "deep": "'" + "[" * 5000 + "'",
}
SNAPSHOTS = {
    "no JSON": "'{\"n\":'",
    "no object": "'[1]'",
    "wrong type": '\'{"n":"x","rows":[]}\'',
    "empty": "''",
    "number": "'5'",
    "deep": '\'{"rows":' + "[" * 5000 + "'",
}
SQLITE_DELTAS = {"no text": "CAST(x'ff41' AS TEXT)", "bytes": "x'ff41'", "bytes of JSON": 'CAST(\'[["set","n","x"]]\' AS BLOB)'}


def healthy() -> list[Any]:
    return [Page.at(f"h{n}") for n in range(HEALTHY)]


def run(*calls: Awaitable[Any]) -> list[Any]:
    """Calls made together: their objects are thawed in one batch."""

    async def together() -> list[Any]:
        return await asyncio.gather(*calls, return_exceptions=True)

    return asyncio.run(together())


def refused(database: str, says: str = "") -> None:
    """The bad object is refused by call, read and peek; those thawed with it are served, and its rows stay as they are."""
    rows = Journal.objects.using(database).filter(object__key="bad").values_list("seq", flat=True)
    before = list(rows)
    others = [page.using(timeout=5) for page in healthy()]
    answers = run(*(ref.acall("add") for ref in (*others[:4], Page.at("bad"), *others[4:])))
    bad = answers.pop(4)
    assert [answer for answer in answers if isinstance(answer, BaseException)] == []
    page = Page.at("bad").using(timeout=5)
    errors = [bad, *run(page.acall("add"), page.aget("n"), page.apeek())]
    for error in errors:
        assert type(error) is CorruptObject, error
        assert error.applied is False
        assert "Page('bad')" in str(error)
        assert says in str(error)
    assert Page.at("new").call(Page.add) == 1
    assert list(rows.all()) == before


@pytest.fixture
def pages(database: str) -> None:
    async def make() -> None:
        await asyncio.gather(*(page.acall(Page.add) for page in (*healthy(), Page.at("bad"))))

    asyncio.run(make())
    process.stop()


@pytest.fixture
def snapshots(database: str, pages: None) -> None:
    for _ in range(12):
        Page.at("bad").call(Page.add)
    hibernate((Page.at("bad").label, "bad"))
    process.stop()
    assert Snapshot.objects.using(database).filter(object__key="bad").exists()


@pytest.mark.parametrize("delta", DELTAS)
def test_a_garbage_delta(database: str, pages: None, delta: str) -> None:
    update(database, "jido_journal", "bad", delta=DELTAS[delta])
    refused(database, "journal row 1 cannot be read")


@pytest.mark.parametrize("delta", SQLITE_DELTAS)
def test_a_delta_that_is_no_text(database: str, pages: None, delta: str) -> None:
    if connections[database].vendor != "sqlite":
        pytest.skip("not applicable: PostgreSQL takes no such value")
    update(database, "jido_journal", "bad", delta=SQLITE_DELTAS[delta])
    refused(database)


@pytest.mark.parametrize("document", SNAPSHOTS)
def test_a_garbage_snapshot(database: str, snapshots: None, document: str) -> None:
    update(database, "jido_snapshot", "bad", document=SNAPSHOTS[document])
    refused(database, "its snapshot cannot be read")


def test_a_snapshot_that_is_no_text(database: str, snapshots: None) -> None:
    if connections[database].vendor != "sqlite":
        pytest.skip("not applicable: PostgreSQL takes no such value")
    update(database, "jido_snapshot", "bad", document="CAST(x'ff41' AS TEXT)")
    refused(database)


@pytest.mark.parametrize("kind", ["99", "0", "-1"])
def test_a_row_of_an_unknown_kind(database: str, pages: None, kind: str) -> None:
    update(database, "jido_journal", "bad", kind=kind)
    refused(database, "a kind that this code does not know")


def test_a_row_of_an_unknown_kind_below_the_snapshot_is_not_read(database: str, snapshots: None) -> None:
    newest = Snapshot.objects.using(database).filter(object__key="bad").latest("seq").seq
    Journal.objects.using(database).filter(object__key="bad", seq__lt=newest).update(kind=99)
    assert Page.at("bad").call(Page.add) == 14


MOMENTS = {"sqlite": ["'yesterday'", "''", "x'ff'", "CAST(x'ff41' AS TEXT)"], "postgresql": ["'infinity'", "'-infinity'", "'12345-01-01'"]}


def test_a_moment_that_is_none_does_not_matter_to_the_state(database: str, pages: None) -> None:
    for moment in MOMENTS[connections[database].vendor]:
        update(database, "jido_journal", "bad", at=moment)
        process.stop()
        assert Page.at("bad").get("n") == 1


# ---------------------------------------------------------------- what is recorded of a call


def unreadable(database: str, call_id: str = "one", **values: str) -> None:
    """The id is refused; before it, behind it and beside it calls go on."""
    page = Page.at("bad")
    n = page.using(call_id=call_id).call(Page.add)
    counts = [one.get("n") for one in healthy()]
    with connections[database].cursor() as cursor:
        assignments = ", ".join(f"{name} = {value}" for name, value in values.items())
        cursor.execute(f"UPDATE jido_journal SET {assignments} WHERE call_id = %s", [call_id])
        assert cursor.rowcount == 1
    others = healthy()

    async def main() -> list[Any]:
        tasks = [asyncio.ensure_future(page.using(timeout=5).acall(Page.add))]
        for own in (call_id, f"{call_id} other", call_id):
            tasks.append(asyncio.ensure_future(page.using(call_id=own, timeout=5).acall(Page.add)))
        tasks += [asyncio.ensure_future(one.using(call_id=call_id, timeout=5).acall(Page.add)) for one in others]
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, one, two, again, *rest = asyncio.run(main())
    assert (first, two) == (n + 1, n + 2)
    for error in (one, again):
        assert type(error) is UnreadableResult, error
        assert error.applied is True
        assert error.call_id == call_id
    assert rest == [count + 1 for count in counts]
    assert on_host(lambda host: all(activation.idle for activation in host.activations.values()))
    assert page.using(timeout=5).call(Page.add) == n + 3


@pytest.mark.parametrize(
    "values",
    [{"kind": "99"}, {"result": "'\"x\"'"}, {"result": "'{'"}, {"result": "''"}, {"kind": "2"},
     {"kind": "2", "result": "'{\"refusal\":5}'"}, {"kind": "2", "result": "'" + "[" * 100_000 + "'"}, {"kind": "2", "result": "NULL"}],
    ids=["kind", "result", "no JSON", "empty", "no refusal", "no class", "deep", "none"],
)  # fmt: skip
def test_a_recorded_answer_that_cannot_be_read(database: str, pages: None, values: dict[str, str]) -> None:
    unreadable(database, **values)


def test_a_record_of_no_moment(database: str, pages: None) -> None:
    for number, moment in enumerate(MOMENTS[connections[database].vendor]):
        unreadable(database, f"id {number}", at=moment)


def test_a_record_that_is_no_text(database: str, pages: None) -> None:
    if connections[database].vendor != "sqlite":
        pytest.skip("not applicable: PostgreSQL takes no such value")
    unreadable(database, result="CAST(x'ff41' AS TEXT)")
