"""A bounded slice of the simulation: some of every kind of trouble passes, and each mutant is caught."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextvars import Context
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from jido_objects.activation import Activation
from jido_objects.host import Host
from jido_objects.pipeline import Pipeline
from jido_objects.turns import Call

from .campaign import campaign, describe
from .faults import PROFILES
from .loop import PROCESS, Stuck, VirtualClock, VirtualLoop, run
from .mutants import MUTANTS, Mutant, hunt
from .simulation import simulate

ROOT = Path(__file__).parents[2]
RUNS = 20 * len(PROFILES)


def test_trouble_of_every_kind_breaks_no_promise() -> None:
    totals = campaign(list(PROFILES), seeds=RUNS, seconds=None)
    print(describe(totals))
    assert [f"{report.replay()}: {report.violations[0]}" for report in totals.failures] == []
    assert totals.never_struck == []
    assert totals.searched > 100


_passed: dict[tuple[str, int], bool] = {}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_rule_taken_out_is_missed(mutant: Mutant) -> None:
    catch = hunt(mutant, baseline=_passed)
    assert catch.seeds, f"{mutant.name} was not caught in {mutant.limit} seeds"
    assert catch.clean, f"the code as it is fails seeds of {mutant.profile} too"


# ---------------------------------------------------------------- what only a simulation can see


def kinds_of(profile: str, seeds: int) -> set[str]:
    return set().union(*(simulate(profile, seed).kinds for seed in range(seeds)))


def test_a_call_answered_twice_is_noticed() -> None:
    answer = Call.answer

    def twice(self: Call, result: Any) -> None:
        answer(self, result)
        answer(self, result)

    with mock.patch.object(Call, "answer", twice):
        assert "twice" in kinds_of("mixed", 1)


def test_a_call_never_answered_is_noticed() -> None:
    with mock.patch.object(Host, "resolved"):
        assert "unanswered" in kinds_of("lost", 6)


def test_an_object_that_works_no_more_is_noticed() -> None:
    go_live = Activation.go_live

    def for_a_while(self: Activation) -> None:
        if self.host.clock.monotonic() < 4:
            go_live(self)

    with mock.patch.object(Activation, "go_live", for_a_while):
        assert "stuck" in kinds_of("snapshots", 1)


def test_an_error_in_the_runtime_is_noticed() -> None:
    with mock.patch.object(Pipeline, "_form", side_effect=ZeroDivisionError):
        assert "crash" in kinds_of("mixed", 1)


# ---------------------------------------------------------------- replay


def test_the_same_seed_gives_the_same_run() -> None:
    one, again, other = simulate("mixed", 5), simulate("mixed", 5), simulate("mixed", 6)
    assert one.fingerprint == again.fingerprint
    assert one.steps == again.steps
    assert one.fingerprint != other.fingerprint


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("SEED", "SECONDS", "PROFILE")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, env=kept | environment, timeout=120
    )


def test_a_run_does_not_depend_on_the_hash_seed() -> None:
    code = "from tests.sim.simulation import simulate; print([simulate(p, 3).fingerprint for p in ('mixed', 'database', 'deploy')])"
    told = {python("-c", code, PYTHONHASHSEED=seed).stdout for seed in ("0", "1")}
    assert len(told) == 1
    assert len(told.pop()) > 90


def test_a_seed_is_replayed_from_its_line() -> None:
    line = simulate("asynchronous", 0).replay().split()
    told = python(*line[1:])
    assert told.returncode == 0
    assert "no violation" in told.stdout
    assert "fault: Aim(action=" in told.stdout
    broken = python(*line[1:], "--mutant", "a query within an open turn")
    assert broken.returncode == 1
    assert "wrong: " in broken.stdout


def test_a_program_can_read_what_came_of_it() -> None:
    told = python("-m", "tests.sim", "--json", "--no-mutants", "--seeds", "5", "--profile", "trust", "--profile", "late")
    assert told.returncode == 0, told.stderr
    report = json.loads(told.stdout)
    assert report["passed"] is True
    assert report["campaign"]["runs"] == {"trust": 3, "late": 2}
    assert report["campaign"]["failures"] == []
    assert report["campaign"]["operations"] > 300


# ---------------------------------------------------------------- the loop


def played(main: Callable[[VirtualLoop], Any]) -> Any:
    loop = VirtualLoop()
    return run(main(loop), loop)


def test_time_jumps_to_the_next_timer() -> None:
    async def main(loop: VirtualLoop) -> float:
        await asyncio.sleep(1_000)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 500)
        return loop.time()

    assert played(main) == 1_500


def test_who_waits_for_nothing_is_stuck() -> None:
    async def main(loop: VirtualLoop) -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stuck):
        played(main)


def test_a_stopped_process_does_nothing_until_it_is_continued() -> None:
    async def main(loop: VirtualLoop) -> list[tuple[str, float]]:
        done: list[tuple[str, float]] = []

        async def work(name: str) -> None:
            for _ in range(3):
                await asyncio.sleep(1)
                done.append((name, loop.time()))

        context = Context()
        context.run(PROCESS.set, "p")
        stopped = loop.create_task(work("stopped"), context=context)
        other = loop.create_task(work("other"))
        await asyncio.sleep(1.5)
        loop.freeze("p")
        assert loop.frozen("p")
        context.run(loop.call_soon, lambda: done.append(("call", loop.time())))
        await asyncio.sleep(4)
        loop.thaw("p")
        await asyncio.gather(stopped, other)
        return done

    assert played(main) == [
        ("stopped", 1), ("other", 1), ("other", 2), ("other", 3), ("call", 5.5), ("stopped", 5.5), ("stopped", 6.5),
    ]  # fmt: skip


def test_a_timer_cancelled_while_its_process_is_stopped_does_not_fire() -> None:
    async def main(loop: VirtualLoop) -> None:
        errors: list[Any] = []
        loop.set_exception_handler(lambda _, error: errors.append(error))
        context = Context()
        context.run(PROCESS.set, "p")
        timer = loop.call_later(1, pytest.fail, context=context)
        loop.freeze("p")
        await asyncio.sleep(2)
        timer.cancel()
        loop.thaw("p")
        await asyncio.sleep(1)
        assert errors == []

    played(main)


def test_clocks_run_each_at_its_own_rate() -> None:
    async def main(loop: VirtualLoop) -> None:
        slow = VirtualClock(loop, skew=-600, rate=0.5)
        true = VirtualClock(loop)
        await asyncio.sleep(10)
        assert (slow.monotonic(), true.monotonic()) == (5, 10)
        assert (true.now() - slow.now()).total_seconds() == 600
        true.stand_still(4)
        assert true.monotonic() == 6

    played(main)
