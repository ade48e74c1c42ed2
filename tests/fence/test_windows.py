"""Trimming beside an owner at work, on a real PostgreSQL: the trim's transaction is held open while the other side acts.

It needs no fence, since no owner looks for what goes; these are the places where one could, and what would go wrong there. Each
rule is taken out again at each run, and its race must notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jido_objects.stores import statements, window_statements
from jido_objects.stores.link import Statement
from jido_objects.stores.protocol import FORGOTTEN, Append, Claim, Recorded, Snapshot, Trim, Trimmed
from tests.contract.postgresql import needs_postgresql
from tests.contract.window_contract import generated
from tests.contract.world import TYPE, entry, extend, on_a_loop

from .test_races import PROBE_SECONDS, Scene, scene

pytestmark = needs_postgresql

DAY = 24 * 3600.0
OLD = datetime.now(UTC) - timedelta(days=2)


class Windows:
    """An object with nine rows, two of them young; and one whose own ids are to be remembered."""

    def __init__(self, on: Scene) -> None:
        self.on = on
        self.id = 0

    async def set(self, *snapshots: int, young: int = 7) -> None:
        rows = [entry(seq, at=OLD if seq < young else datetime.now(UTC), call_id=generated(OLD, seq)) for seq in range(1, 10)]
        rows[1].call_id, rows[1].own_id = "order-2", True
        self.key = f"{self.on.key}/windows"
        ((outcome),) = await self.on.writer.append([Append(TYPE, self.key, None, 1, 0, 1, rows)])
        assert isinstance(outcome, int)
        self.id = outcome
        for seq in snapshots:
            assert await self.snapshot(seq)

    async def snapshot(self, seq: int) -> bool:
        return (await self.on.writer.snapshot([Snapshot(self.id, seq, 1, "{}", 0, 1000 * DAY)]))[0]

    async def hold(self) -> None:
        """A trim that has done all it does, and has not committed."""
        parameters = (f"{{{self.id}}}", f"{{{DAY}}}", "{100000}", "{NULL}", "{0}", "10000", f"{7 * DAY}")
        values = ", ".join(f"'{parameter}'" for parameter in parameters)
        await self.on.held.execute(b"PREPARE one AS " + window_statements.TRIM.sql)
        await self.on.held.execute(f"EXECUTE one ({values})".encode())

    async def seqs(self) -> list[int]:
        return [row.seq for _, row in await self.on.other.history(self.id)]

    async def kept(self) -> list[int]:
        rows = await self.on.world.sql("SELECT seq FROM jido_snapshot WHERE object_id = %s ORDER BY seq", self.id)
        return [seq for (seq,) in rows]

    async def every_row_can_be_rebuilt(self) -> None:
        first = min(await self.seqs())
        assert first == 1 or {first - 1, first} & set(await self.kept()), (first, await self.kept())


@on_a_loop
async def test_whoever_thaws_sees_a_whole_history_before_a_trim_and_after(postgresql_parameters: dict[str, Any]) -> None:
    async with scene(postgresql_parameters) as on:
        windows = Windows(on)
        await windows.set(4, 9, young=10)
        await windows.hold()
        for expected in (list(range(1, 10)), [9]):
            (loaded,) = await on.other.load([windows.id])
            assert loaded.snapshot is not None
            assert (loaded.snapshot.seq, loaded.head_seq, loaded.head_epoch, loaded.tail) == (9, 9, 1, [])
            assert await windows.seqs() == expected
            await on.held.commit()
        await on.store.bury(on.term, proven=True)
        assert await on.other_writer.claim([Claim(windows.id, 1)]) == [2]
        assert await on.other_writer.append([extend(windows.key, windows.id, 9, epoch=2, head_epoch=1)]) == [windows.id]


@on_a_loop
async def test_an_owner_does_not_wait_for_a_trim(postgresql_parameters: dict[str, Any]) -> None:
    async with scene(postgresql_parameters) as on:
        windows = Windows(on)
        await windows.set(4, 9, young=10)
        await windows.hold()
        async with asyncio.timeout(PROBE_SECONDS / 2):
            assert await on.writer.append([extend(windows.key, windows.id, 9, 2)]) == [windows.id]
            assert await windows.snapshot(11)
        await on.held.commit()
        assert await windows.seqs() == [9, 10, 11]
        await windows.every_row_can_be_rebuilt()


@on_a_loop
async def test_a_trim_does_not_wait_for_an_owner(postgresql_parameters: dict[str, Any]) -> None:
    async with scene(postgresql_parameters) as on:
        windows = Windows(on)
        await windows.set(4, 9, young=10)
        append = await on.hold_an_append()
        async with asyncio.timeout(PROBE_SECONDS / 2):
            assert await on.other.trim([Trim(windows.id, DAY)], call_id_seconds=DAY, limit=100) == [Trimmed(8, False)]
        await on.held.rollback()
        assert await append == [on.id]


@on_a_loop
async def test_a_second_trim_of_an_object_goes_elsewhere(postgresql_parameters: dict[str, Any]) -> None:
    async with scene(postgresql_parameters) as on:
        windows, other = Windows(on), Windows(on)
        await windows.set(4, 9, young=10)
        on.key += "/other"
        await other.set(4, 9, young=10)
        await windows.hold()
        async with asyncio.timeout(PROBE_SECONDS / 2):
            trims = [Trim(windows.id, DAY), Trim(other.id, DAY)]
            assert await on.other.trim(trims, call_id_seconds=DAY, limit=100) == [None, Trimmed(8, False)]


@on_a_loop
async def test_a_snapshot_written_meanwhile_takes_no_base_away(postgresql_parameters: dict[str, Any]) -> None:
    async with scene(postgresql_parameters) as on:
        windows = Windows(on)
        await windows.set(3, 5, 8)
        await windows.hold()
        # It sees the history as it was before, in which the second newest need not stay.
        assert await windows.snapshot(9)
        assert await windows.kept() == [3, 8, 9]
        await on.held.commit()
        await windows.every_row_can_be_rebuilt()


@on_a_loop
async def test_an_id_is_known_all_the_while(postgresql_parameters: dict[str, Any]) -> None:
    async with scene(postgresql_parameters) as on:
        windows = Windows(on)
        await windows.set(4, 9, young=10)
        asked = [(windows.id, "order-2"), (windows.id, generated(OLD, 3)), (windows.id, generated(OLD, 99))]
        before = await on.other.recall(asked)
        assert isinstance(before[1], Recorded)
        assert before[2] is None
        await windows.hold()
        assert await on.other.recall(asked) == before
        await on.held.commit()
        assert await on.other.recall(asked) == [before[0], FORGOTTEN, FORGOTTEN]


# ---------------------------------------------------------------- each rule taken out


@dataclass(frozen=True)
class Mutant:
    name: str
    text: str
    instead: str
    race: Callable[..., Any]


_SECOND = """AND s.seq IS DISTINCT FROM (
                SELECT x.seq FROM jido_snapshot x WHERE x.object_id = p.id ORDER BY x.seq DESC OFFSET 1 LIMIT 1)"""
_LOCK = "pg_try_advisory_xact_lock"
MUTANTS = [
    Mutant("the last row goes too", "least(base, head - 1)\n", "base\n", test_whoever_thaws_sees_a_whole_history_before_a_trim_and_after),
    Mutant("the second newest snapshot is a base", _SECOND, "", test_a_snapshot_written_meanwhile_takes_no_base_away),
    Mutant("own ids go with their rows", "WHERE own_id AND at", "WHERE false AND at", test_an_id_is_known_all_the_while),
    Mutant("no horizon is kept", "AND l.call_id IS NOT NULL)", "AND false)", test_an_id_is_known_all_the_while),
    Mutant("trims wait for each other", _LOCK, f"true OR {_LOCK}", test_a_second_trim_of_an_object_goes_elsewhere),
    Mutant(
        "a trim locks its object in a lane's way",
        "spans AS MATERIALIZED (",
        "held AS MATERIALIZED (SELECT l.id FROM jido_lane l FOR UPDATE), spans AS MATERIALIZED (",
        test_a_trim_does_not_wait_for_an_owner,
    ),
]  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_caught(mutant: Mutant, postgresql_parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    sql = window_statements.TRIM.sql.decode()
    assert mutant.text in sql, "the SQL has changed: so must its mutant"
    mutated = sql.replace(mutant.text, mutant.instead)
    if "held AS" in mutated:
        mutated = mutated.replace("FROM asked a\n    CROSS", "FROM asked a CROSS JOIN (SELECT count(*) FROM held) n\n    CROSS", 1)
    monkeypatch.setattr(window_statements, "TRIM", Statement(mutated))
    monkeypatch.setattr("tests.fence.test_windows.PROBE_SECONDS", 2.0)
    with pytest.raises((AssertionError, TimeoutError)):
        mutant.race(postgresql_parameters=postgresql_parameters)


def test_the_statements_of_the_fence_are_untouched_by_trimming() -> None:
    """Nothing that a lane writes looks at what trimming writes, and nothing of trimming at a lane."""
    for name in ("APPEND", "APPEND_ONE", "CLAIM", "CLAIM_AGAIN"):
        assert b"jido_call" not in getattr(statements, name).sql
    for statement in (window_statements.TRIM, window_statements.FORGET, window_statements.WALKED):
        assert b"jido_lane" not in statement.sql


