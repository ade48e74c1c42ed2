"""What the simulation has found, each as the shortest story that shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

import pytest

from jido_objects.activation import Status
from jido_objects.errors import CallExpired, CallIdReused, HostStopped, JidoError, OutcomeUnknown, OwnedElsewhere
from jido_objects.stores.protocol import Trim

from .bench import LEASE, Bench, Process

Scenario = Callable[[Bench], Coroutine[Any, Any, None]]


def scenario(story: Scenario) -> Callable[[], None]:
    """Run a story on a bench of its own."""

    @wraps(story)
    def test() -> None:
        bench = Bench()
        bench.run(story(bench))

    del test.__wrapped__  # type: ignore[attr-defined]  # pytest would take the bench for a fixture
    return test


async def moments(count: int = 30) -> None:
    """Let everything that can happen without time passing happen."""
    for _ in range(count):
        await asyncio.sleep(0)


async def take_over(bench: Bench, victim: Process, key: str) -> Process:
    """Somebody else buries the victim, whose lease has passed, and writes."""
    other = await bench.process(keeper=True)
    await asyncio.sleep(2 * LEASE)
    assert victim.host.lease is not None
    assert await other.send(key, "put", 7) is not None
    return other


@scenario
async def test_an_activation_dropped_while_its_row_commits_lets_the_next_one_in(bench: Bench) -> None:
    owner = await bench.process(keeper=True)
    await owner.send("k", "put", 1)
    owner.gates.close("append:executed")
    writing = owner.send("k", "put", 2)
    await owner.gates.came("append:executed")
    owner.host.drop(owner.activation("k"), "for the test")
    looking = owner.send("k", "look")
    owner.gates.open("append:executed")
    assert (await writing)[0] == 1
    assert (await asyncio.wait_for(looking, 5))[0] == 2


@scenario
async def test_a_read_behind_a_late_commit_is_not_answered_after_the_trust_window(bench: Bench) -> None:
    owner = await bench.process()
    await owner.send("k", "put", 1)
    owner.gates.close("append:executed")
    writing = owner.send("k", "put", 2)
    await owner.gates.came("append:executed")
    await take_over(bench, owner, "k")
    looking = owner.send("k", "look")
    await moments()
    owner.gates.open("append:executed")
    assert (await writing)[0] == 1
    with pytest.raises(JidoError):
        await looking


@scenario
async def test_a_confirmed_read_behind_a_late_commit_asks_the_database(bench: Bench) -> None:
    owner = await bench.process()
    await owner.send("k", "put", 1)
    owner.gates.close("append:executed")
    writing = owner.send("k", "put", 2)
    await owner.gates.came("append:executed")
    await take_over(bench, owner, "k")
    owner.clock.stand_still(2 * LEASE)
    assert owner.host.trusted()
    looking = owner.send("k", "look", confirmed=True)
    await moments()
    owner.gates.open("append:executed")
    await writing
    with pytest.raises(OwnedElsewhere):
        await looking


@scenario
async def test_a_confirmed_read_that_finds_its_term_buried_is_answered(bench: Bench) -> None:
    owner = await bench.process()
    await owner.send("k", "put", 1)
    await take_over(bench, owner, "k")
    owner.clock.stand_still(2 * LEASE)
    assert owner.host.trusted()
    with pytest.raises(OwnedElsewhere):
        await asyncio.wait_for(owner.send("k", "look", confirmed=True), 8)


@scenario
async def test_a_call_that_another_owner_has_applied_is_answered_with_what_that_one_did(bench: Bench) -> None:
    owner = await bench.process(keeper=True)
    await owner.send("k", "put", 1)
    owner.gates.break_at("append:sent")
    owner.gates.close("end_lane:called")
    writing = owner.send("k", "put", 5, call_id="order")
    await owner.gates.came("end_lane:called")
    # Its row was lost, and it cannot settle that yet. Meanwhile it is buried, and the caller turns to another host.
    bench.dead.add(owner.pid)
    other = await bench.process(keeper=True)
    await other.send("k", "put", 2)
    applied = await other.send("k", "put", 5, call_id="order")
    owner.gates.open("end_lane:called")
    assert await writing == applied


@scenario
async def test_defaults_answer_only_the_calls_that_were_there_when_the_store_was_asked(bench: Bench) -> None:
    owner, other = await bench.process(keeper=True), await bench.process(keeper=True)
    await owner.send("else", "put", 1)
    owner.gates.close("find:executed")
    early = [owner.call("k", "look") for _ in range(3)]
    for call in early:
        owner.dispatch(call)
    await owner.gates.came("find:executed")
    await other.send("k", "put", 1)
    owner.host.withdraw(early[1])
    late = owner.send("k", "look")
    owner.gates.open("find:executed")
    assert (await early[0].reply.future)[0] == 0
    with pytest.raises(OwnedElsewhere):
        await late


@scenario
async def test_an_absent_object_thawed_across_two_terms_writes_in_the_second(bench: Bench) -> None:
    owner = await bench.process(keeper=True)
    await owner.send("else", "put", 1)
    owner.gates.close("find:executed")
    writing = owner.send("k", "put", 1)
    await owner.gates.came("find:executed")
    lease = owner.host.lease
    assert lease is not None
    await owner.keeper._store.bury(lease.term, proven=True)
    owner.host.term_lost(lease)
    owner.gates.open("find:executed")
    assert (await asyncio.wait_for(writing, 5))[0] == 0


@scenario
async def test_a_look_up_of_an_earlier_activation_does_not_release_the_call(bench: Bench) -> None:
    owner = await bench.process(keeper=True)
    await owner.send("k", "put", 1)
    owner.gates.close("recall:executed")
    writing = owner.send("k", "put", 5, call_id="order")
    await owner.gates.came("recall:executed")
    # It knows of nothing. Another owner applies the same call and goes; the first has the object again.
    lease = owner.host.lease
    assert lease is not None
    bench.dead.add(owner.pid)
    other = await bench.process(keeper=True)
    applied = await other.send("k", "put", 5, call_id="order")
    await other.host.stop()
    bench.dead.clear()
    owner.host.term_lost(lease)
    while ("sim.Ledger", "k") not in owner.host.activations or owner.activation("k").status is not Status.LIVE:
        await asyncio.sleep(0.01)
    # The answer to the first question comes, that to the second does not yet, and another call gives the mailbox a push.
    owner.gates.open("recall:executed")
    owner.gates.close("recall:executed")
    await owner.gates.came("recall:executed")
    looking = owner.send("k", "look")
    await asyncio.sleep(0.1)
    owner.gates.open("recall:executed")
    assert await writing == applied
    assert (await looking)[0] == 2
    assert len(bench.rows("k")) == 2


@scenario
async def test_a_call_whose_row_was_lost_is_looked_up_before_it_runs_again(bench: Bench) -> None:
    owner = await bench.process(keeper=True)
    await owner.send("k", "put", 1)
    owner.gates.break_at("append:sent")
    owner.gates.close("claim:called")
    lost = owner.call("k", "put", 5)
    writing = owner.dispatch(lost)
    await owner.gates.came("claim:called")
    # It was not applied, and is about to run again. Its caller is told its id and sends it to another owner, who then goes.
    bench.dead.add(owner.pid)
    other = await bench.process(keeper=True)
    again = other.call("k", "put", 5)
    again.call_id, again.lookup = lost.call_id, True
    applied = await other.dispatch(again)
    await other.host.stop()
    owner.gates.open("claim:called")
    assert await writing == applied
    assert len(bench.rows("k")) == 2


@scenario
async def test_whoever_follows_a_call_that_runs_again_is_answered_too(bench: Bench) -> None:
    owner = await bench.process()
    await owner.send("k", "put", 1)
    activation = owner.activation("k")
    first, second, third = (owner.call("k", "slow", 5, 0.01, call_id="order") for _ in range(3))
    second.follow(third.reply)
    owner.dispatch(first)
    owner.host.redo(activation.name, [second])
    answers = await asyncio.wait_for(asyncio.gather(*(call.reply.future for call in (first, second, third))), 5)
    assert answers[0] == answers[1] == answers[2]


@scenario
async def test_a_call_that_runs_again_does_not_answer_for_another_use_of_its_id(bench: Bench) -> None:
    owner = await bench.process(keeper=True)
    await owner.send("k", "put", 1)
    owner.gates.break_at("append:sent")
    owner.gates.close("end_lane:called")
    first = owner.send("k", "put", 5, call_id="order")
    await owner.gates.came("end_lane:called")
    second = owner.send("k", "put", 6, call_id="order")
    owner.gates.open("end_lane:called")
    assert (await first)[0] == 1
    with pytest.raises(CallIdReused):
        await second


@scenario
async def test_an_object_that_was_only_read_leaves_a_snapshot_when_its_tail_is_long(bench: Bench) -> None:
    first = await bench.process(keeper=True)
    for tag in range(2):
        await first.send("k", "put", tag)
    await first.host.stop()
    second = await bench.process(keeper=True)
    # A crash has left a long tail: here, one that begins at the first row.
    row = next(iter(bench.database.objects.values()))
    row.snapshots.clear()
    await second.send("k", "keep", 1)
    activation = second.activation("k")
    assert activation.tail == 2
    activation.tail = 8
    assert second.host.hibernate(activation)
    await second.host.pipeline.quiet()
    assert list(row.snapshots) == [2]


@scenario
async def test_a_term_whose_beginning_was_not_answered_fails_no_call(bench: Bench) -> None:
    owner = await bench.process(keeper=True)
    owner.gates.break_at("begin_term:executed")
    assert (await owner.send("k", "put", 1))[0] == 0


@scenario
async def test_a_burial_that_was_not_answered_fails_no_call(bench: Bench) -> None:
    owner, other = await bench.process(keeper=True), await bench.process(keeper=True)
    await owner.send("k", "put", 1)
    bench.dead.add(owner.pid)
    other.gates.break_at("bury:executed")
    assert (await other.send("k", "put", 2))[0] == 1


async def settling(bench: Bench, lost_at: str) -> tuple[Process, asyncio.Future[Any]]:
    """A host that is asking what became of a write."""
    owner = await bench.process(keeper=True)
    await owner.send("k", "put", 1)
    owner.gates.break_at(lost_at)
    owner.gates.close("recall:called")
    writing = owner.send("k", "put", 2)
    await owner.gates.came("recall:called")
    return owner, writing


@scenario
async def test_a_host_that_stops_waits_for_what_became_of_a_write(bench: Bench) -> None:
    owner, writing = await settling(bench, "append:executed")
    stopping = asyncio.get_running_loop().create_task(owner.host.stop(1.0))
    await asyncio.sleep(0.2)
    owner.gates.open("recall:called")
    assert (await asyncio.wait_for(writing, 2))[0] == 1
    await stopping


@scenario
async def test_a_host_that_stops_writes_again_what_was_lost(bench: Bench) -> None:
    owner, writing = await settling(bench, "append:sent")
    stopping = asyncio.get_running_loop().create_task(owner.host.stop(1.0))
    await asyncio.sleep(0.2)
    owner.gates.open("recall:called")
    assert (await asyncio.wait_for(writing, 2))[0] == 1
    await stopping


@pytest.mark.parametrize("lost", [True, False])
def test_a_write_whose_connection_breaks_while_its_host_stops_is_answered(lost: bool) -> None:
    async def story(bench: Bench) -> None:
        owner = await bench.process(keeper=True)
        await owner.send("k", "put", 1)
        owner.gates.close("append:sent")
        writing = owner.send("k", "put", 2)
        await owner.gates.came("append:sent")
        stopping = asyncio.get_running_loop().create_task(owner.host.stop(1.0))
        await asyncio.sleep(0.1)
        owner.gates.break_at("append:executing" if lost else "append:executed")
        owner.gates.open("append:sent")
        if lost:
            with pytest.raises(HostStopped):
                await asyncio.wait_for(writing, 2)
        else:
            assert (await asyncio.wait_for(writing, 2))[0] == 1
        await stopping

    bench = Bench()
    bench.run(story(bench))


@scenario
async def test_a_host_that_stops_without_knowing_says_so(bench: Bench) -> None:
    owner, writing = await settling(bench, "append:executed")
    await owner.host.stop(1.0)
    with pytest.raises(OutcomeUnknown):
        await asyncio.wait_for(writing, 2)


@scenario
async def test_a_confirmed_read_is_answered_when_its_host_stops(bench: Bench) -> None:
    owner = await bench.process(keeper=True)
    await owner.send("k", "put", 1)
    owner.gates.close("alive:sent")
    looking = owner.send("k", "look", confirmed=True)
    await owner.gates.came("alive:sent")
    await owner.host.stop(0.5)
    with pytest.raises(HostStopped):
        await asyncio.wait_for(looking, 2)


@scenario
async def test_a_call_whose_row_was_trimmed_before_anybody_could_ask_is_expired(bench: Bench) -> None:
    owner = await bench.process(keeper=True)
    await owner.send("k", "put", 1)
    owner.gates.break_at("append:executed")
    owner.gates.close("end_lane:called")
    writing = owner.send("k", "put", 5)
    await owner.gates.came("end_lane:called")
    # It was written, and its owner cannot know. Others write on, and the history up to there goes.
    bench.dead.add(owner.pid)
    other = await bench.process(keeper=True)
    for tag in range(10):
        await other.send("k", "put", tag)
    assert other.host.hibernate(other.activation("k"))
    await other.host.pipeline.quiet()
    await asyncio.sleep(0.1)
    object_id = bench.database.names["sim.Ledger", "k"].id
    (trimmed,) = await other.store.trim([Trim(object_id, 0.0)], call_id_seconds=60.0, limit=100)
    assert trimmed is not None
    assert trimmed.rows == 11
    owner.gates.open("end_lane:called")
    with pytest.raises(CallExpired) as caught:
        await writing
    assert caught.value.applied is None
    assert len(bench.rows("k")) == 12
