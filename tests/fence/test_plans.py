"""Plans are made once per connection, perhaps on empty tables. None may walk through a table, or through one object's rows.

The worst case is tried: tables that were just emptied, of which the planner knows nothing, and a generic plan.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from jido_objects.stores import statements, window_statements
from jido_objects.stores.link import Statement
from tests.contract.postgresql import PostgresWorld, needs_postgresql
from tests.contract.world import on_a_loop

pytestmark = needs_postgresql

MODULES = (statements, window_statements)
STATEMENTS = {name: one for module in MODULES for name, one in vars(module).items() if isinstance(one, Statement)}
SMALL = ("jido_term", "jido_walk")
"""These have a row per living process, and one per window."""
WALKS = {"GENERATED_PAST": "jido_journal_call", "OWN_PAST": "jido_journal_own"}
"""Whatever walks the journal in the order of time, and by which index."""
ONE_OBJECT = ("LOAD", "HISTORY", "SNAPSHOT", "TRIM")
"""What may walk along one object's rows."""


async def plan(parameters: dict[str, Any], statement: Statement) -> list[str]:
    connection = await PostgresWorld(parameters).connection()
    try:
        for setting in statements.SESSION.format(milliseconds=9000).split(";"):
            await connection.execute(setting.encode())
        await connection.execute("TRUNCATE jido_object, jido_journal, jido_snapshot, jido_lane, jido_term, jido_call, jido_walk")
        await connection.execute(b"PREPARE one AS " + statement.sql)
        count = max(map(int, re.findall(r"\$(\d+)", statement.sql.decode())), default=0)
        arguments = f"({', '.join(['NULL'] * count)})" if count else ""
        cursor = await connection.execute(f"EXPLAIN EXECUTE one {arguments}".encode())
        return [line for (line,) in await cursor.fetchall()]
    finally:
        await connection.rollback()
        await connection.close()


@pytest.mark.parametrize("name", STATEMENTS)
@on_a_loop
async def test_every_table_is_entered_through_an_index(name: str, postgresql_parameters: dict[str, Any]) -> None:
    lines = await plan(postgresql_parameters, STATEMENTS[name])
    for number, line in enumerate(lines):
        entered = re.search(r"(\w[\w ]*Scan)(?: Backward)?(?: using (\w+))? on (jido_\w+)", line)
        if entered is None or entered[3].startswith(SMALL) or entered[1] == "Bitmap Heap Scan":
            continue
        if entered[1] == "Tid Scan":
            assert "ANY" in lines[number + 1], "\n".join(lines)
            continue
        assert entered[1] in ("Index Scan", "Index Only Scan", "Bitmap Index Scan"), "\n".join(lines)
        condition = lines[number + 1]
        assert "Index Cond" in condition, "\n".join(lines)
        if entered[2] == "jido_journal_pkey" and name not in ONE_OBJECT:
            assert "object_id" in condition, "\n".join(lines)
            # Or from the end of the object's rows, one row and no sort.
            newest = "Scan Backward" in line and re.search(r"^ *->  Limit|^ *Limit", lines[number - 1])
            assert "seq" in condition or newest, "\n".join(lines)
        if entered[2] == "jido_journal_call":
            assert name in ("RECALL", "GENERATED_PAST"), "\n".join(lines)
    if name in WALKS:
        # In the order of its index, and no further than its limit: nothing is sorted that the limit has not bounded.
        walk = next(number for number, line in enumerate(lines) if f"using {WALKS[name]}" in line)
        assert "Limit" in lines[walk - 1], "\n".join(lines)


@pytest.mark.parametrize("name", WALKS)
@on_a_loop
async def test_a_walk_reads_as_many_rows_as_its_limit(name: str, postgresql_parameters: dict[str, Any]) -> None:
    """Planned at each use: also when the planner knows that millions of rows would qualify."""
    connection = await PostgresWorld(postgresql_parameters).connection()
    try:
        for setting in statements.SESSION.format(milliseconds=9000).split(";"):
            await connection.execute(setting.encode())
        await connection.execute(
            "INSERT INTO jido_journal (object_id, seq, epoch, digest, at, version, format, kind, own_id, call_id, method, delta) "
            "SELECT 10^15, n, 1, 1, '2020-01-01', 0, 1, 1, n % 2 = 0, '~0' || lpad(n::text, 31, '0'), 'm', '[]' "
            "FROM generate_series(1, 20000) n"
        )
        await connection.execute("ANALYZE jido_journal")
        first = {"GENERATED_PAST": "'~'", "OWN_PAST": "'0001-01-02'"}[name]
        sql = STATEMENTS[name].sql.decode().replace("$1", first).replace("$2", "'60'").replace("$3", "'1000'")
        cursor = await connection.execute(f"EXPLAIN (ANALYZE, TIMING OFF) {sql}".encode())
        lines = [line for (line,) in await cursor.fetchall()]
        (walked,) = [line for line in lines if f"using {WALKS[name]}" in line]
        assert re.search(r"actual rows=1000(\.0+)? loops=1", walked), "\n".join(lines)
        assert not STATEMENTS[name].prepare
    finally:
        await connection.rollback()
        await connection.close()


@on_a_loop
async def test_a_call_is_recalled_through_its_own_index(postgresql_parameters: dict[str, Any]) -> None:
    """Planned at each use: the size of a table alone, without statistics, must tell that both columns are wanted."""
    assert not statements.RECALL.prepare
    world = PostgresWorld(postgresql_parameters)
    connection = await world.connection()
    try:
        await connection.execute(
            "INSERT INTO jido_journal (object_id, seq, epoch, digest, at, version, format, kind, own_id, call_id, method, delta) "
            "SELECT 10^15, n, 1, 1, now(), 0, 1, 1, false, 'c' || n, 'm', '[]' FROM generate_series(1, 20000) n"
        )
        sql = statements.RECALL.sql.decode().replace("$1", "'{1000000000000000}'").replace("$2", "'{c500}'")
        cursor = await connection.execute(f"EXPLAIN {sql}".encode())
        lines = [line for (line,) in await cursor.fetchall()]
        assert any("Index Scan using jido_journal_call" in line for line in lines), "\n".join(lines)
        assert any("Index Cond" in line and "call_id" in line and "object_id" in line for line in lines), "\n".join(lines)
    finally:
        await connection.rollback()
        await connection.close()
