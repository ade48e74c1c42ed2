"""Terms: who keeps one, and who clears away what nobody keeps."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest import mock

import pytest

from jido_objects.errors import OwnedElsewhere, StoreUnavailable
from jido_objects.host import BURIAL_SECONDS
from jido_objects.stores.memory import MemoryStore
from jido_objects.turns import Call

from .bench import LEASE, Bench, Process
from .test_found import scenario


def kept(bench: Bench) -> set[Any]:
    return set(bench.database.terms)


def term_of(process: Process) -> Any:
    assert process.host.lease is not None
    return process.host.lease.term


# ---------------------------------------------------------------- what a confirmed read is not


@scenario
async def test_confirmed_reads_do_not_put_off_a_failover(bench: Bench) -> None:
    owner, other = await bench.process(), await bench.process(keeper=True)
    began = bench.loop.elapsed
    await owner.send("k", "put", 1)
    await other.send("warm", "put", 1)
    reads = 0
    while owner.host.trusted():
        left = [row.lease_left for row in await other.store.terms() if row.id == term_of(owner)]
        assert (await owner.send("k", "look", confirmed=True))[0] == 1
        assert [row.lease_left for row in await other.store.terms() if row.id == term_of(owner)] <= left
        reads += 1
        await asyncio.sleep(0.05)
    assert reads > 5
    with pytest.raises(OwnedElsewhere):
        await other.send("k", "put", 2)
    await asyncio.sleep(began + LEASE + 0.01 - bench.loop.elapsed)
    assert (await other.send("k", "put", 2))[0] == 1


# ---------------------------------------------------------------- terms that never came to anything


@pytest.mark.parametrize("stage", ["called", "sent", "executing", "executed"])
@pytest.mark.parametrize("times", [1, 3])
def test_a_term_without_a_writer_is_buried(stage: str, times: int) -> None:
    async def story(bench: Bench) -> None:
        process = await bench.process(keeper=True)
        strikes = times
        at = process.gates.at

        async def striking(point: str, link: Any) -> None:
            nonlocal strikes
            if point == f"begin_lane:{stage}" and strikes:
                strikes -= 1
                if stage == "called":
                    raise StoreUnavailable("for the test")
                raise ConnectionResetError(point)
            await at(point, link)

        process.gates.at = striking  # type: ignore[method-assign]
        assert (await process.send("k", "put", 1))[0] == 0
        assert strikes == 0
        await asyncio.sleep(0.1)
        assert kept(bench) == {term_of(process)}

    bench = Bench()
    bench.run(story(bench))


# ---------------------------------------------------------------- terms of the dead


async def four(bench: Bench) -> list[Process]:
    """One that looks on, one that lives, two that have ended and own nothing."""
    processes = [await bench.process(keeper=True) for _ in range(4)]
    for process in processes:
        await process.host.term()
    for process in processes[2:]:
        assert process.keeping is not None
        process.keeping.cancel()
        for task in process.host._tasks:
            task.cancel()
    assert len(kept(bench)) == 4
    return processes


@scenario
async def test_terms_proven_dead_are_buried_though_they_own_nothing(bench: Bench) -> None:
    processes = await four(bench)
    bench.dead |= {process.pid for process in processes[2:]}
    await asyncio.sleep(BURIAL_SECONDS + 0.5)
    assert kept(bench) == {term_of(process) for process in processes[:2]}
    assert (await processes[0].send("k", "put", 1))[0] == 0


@scenario
async def test_terms_long_past_their_lease_are_buried_though_they_own_nothing(bench: Bench) -> None:
    processes = await four(bench)
    await asyncio.sleep(BURIAL_SECONDS + 0.5)
    assert len(kept(bench)) == 4
    await asyncio.sleep(BURIAL_SECONDS + LEASE)
    assert kept(bench) == {term_of(process) for process in processes[:2]}


@scenario
async def test_a_term_that_cannot_be_buried_keeps_no_other_from_it(bench: Bench) -> None:
    processes = await four(bench)
    bench.dead |= {process.pid for process in processes[2:]}
    first = next(term for term in bench.database.terms if term in {term_of(process) for process in processes[2:]})
    bury = MemoryStore.bury

    async def refusing(self: MemoryStore, term: Any, *, proven: bool = False) -> bool:
        if term == first:
            raise StoreUnavailable("for the test")
        return await bury(self, term, proven=proven)

    with mock.patch.object(MemoryStore, "bury", refusing):
        await asyncio.sleep(BURIAL_SECONDS + 0.5)
    assert len(kept(bench)) == 3
    await asyncio.sleep(BURIAL_SECONDS)
    assert kept(bench) == {term_of(process) for process in processes[:2]}


@scenario
async def test_a_store_whose_lock_is_free_needs_no_patience(bench: Bench) -> None:
    """Where an OS lock is a term's life, one that is free is proof."""
    processes = await four(bench)
    with mock.patch.object(MemoryStore, "liveness_by_lease", new=False):
        await asyncio.sleep(BURIAL_SECONDS + 0.5)
    assert kept(bench) == {term_of(process) for process in processes[:2]}


# ---------------------------------------------------------------- no gap leaves a host


@scenario
async def test_rows_with_a_gap_before_them_are_not_sent(bench: Bench) -> None:
    owner = await bench.process(keeper=True)
    await owner.send("k", "put", 1)
    await owner.send("other", "put", 1)
    owner.gates.close("append:sent")
    first = owner.send("other", "put", 2)
    await owner.gates.came("append:sent")
    calls: list[Call] = [owner.call("k", "put", tag) for tag in (2, 3, 4)]
    answers = [owner.dispatch(call) for call in calls]
    activation = owner.activation("k")
    del activation.unsent[0]
    beside = owner.send("other", "put", 3)
    owner.gates.open("append:sent")
    # The call whose row was taken away is lost with it; those behind it run again.
    assert await asyncio.wait_for(asyncio.gather(first, beside, *answers[1:]), 5)
    assert [seq for seq, _, _ in bench.rows("k")] == [1, 2, 3]
    assert [method for _, _, method in bench.rows("other")] == ["put"] * 3
