"""One run: several processes, their database, callers and faults on one virtual loop, all made from one seed.

Callers know no more than real ones: they get an answer, an error, or nothing, and send again, with the same id where they
have one, to whichever process they like. At the end everything is healed, everyone is waited for, all objects hibernate and
are looked at once more; then the checkers see all that the callers saw, the journal and the database's log.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import Counter, defaultdict
from collections.abc import Coroutine, Iterator
from contextvars import Context
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock
from uuid import UUID

from jido_objects import delta as deltas
from jido_objects import host as host_module
from jido_objects.activation import Status
from jido_objects.definition import Definition
from jido_objects.errors import CallIdReused, JidoError
from jido_objects.stores import memory as memory_module
from jido_objects.stores.memory import MemoryLink, MemoryStore
from jido_objects.stores.protocol import TermInfo

from .database import Database
from .faults import LEASE, PROFILES, Aim, Profile, aims_of
from .loop import Stuck, VirtualClock, VirtualLoop, run
from .objects import OPEN, TYPES, LedgerModel
from .process import Request, SimProcess
from .search import Invocation, Verdict, search
from .witness import Operation, Outcome, Row, Violation, canonical, check, check_events, check_journal, rows_by_object

MIX = {
    "put": 30, "slow": 6, "stubborn": 1, "look": 18, "peek": 3, "confirmed": 5, "look_slowly": 3, "keep": 5, "refuse": 5, "boom": 3,
    "slow_boom": 2,
    "again": 5, "twice": 4, "other": 1,
}  # fmt: skip
"""How often each kind of call is made. ``again`` repeats an answered call with its id, ``twice`` sends one id by two ways at
once, ``other`` uses an id again for something else."""

OWN_IDS = 0.6
SEARCHED = 24
"""Objects with at most so many calls are looked at by the search as well."""
SEARCH_BUDGET = 20_000


@dataclass(slots=True)
class Report:
    """What came of one run."""

    profile: str
    seed: int
    violations: list[Violation] = field(default_factory=list)
    operations: int = 0
    rows: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    """By the name of the error, or ``ok``."""
    reached: Counter[str] = field(default_factory=Counter)
    """How often each fault point was passed."""
    struck: Counter[str] = field(default_factory=Counter)
    """How often a fault struck at a point."""
    actions: Counter[str] = field(default_factory=Counter)
    searched: int = 0
    spent: int = 0
    burials: int = 0
    steps: int = 0
    elapsed: float = 0.0
    fingerprint: str = ""
    """Everything that callers and database saw: equal for equal seeds."""

    @property
    def kinds(self) -> set[str]:
        return {violation.kind for violation in self.violations}

    def replay(self) -> str:
        return f"python -m tests.sim --profile {self.profile} --seed {self.seed}"


class Simulation:
    """See the module."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.seed = seed
        self.profile: Profile = PROFILES[name]
        self.loop = VirtualLoop()
        self.loop.outside.add(MemoryStore._serve.__name__)
        plan = self.random("plan")
        self.seconds = plan.uniform(*self.profile.seconds)
        self.clocks = self.random("clocks")
        self.wire = self.random("wire")
        self.chance = self.random("chance")
        self.database = Database(VirtualClock(self.loop))
        self.visible_death = plan.random() < self.profile.visible_death
        self.waiting: dict[str, list[Aim]] = defaultdict(list)
        for aim in aims_of(self.profile, plan, self.seconds):
            self.waiting[aim.point].append(aim)
        self.processes: list[SimProcess] = []
        self.departed: list[SimProcess] = []
        self.gone: set[int] = set()
        """Process ids of which it can be proven that nobody has them any more."""
        self.down = False
        self.healed = False
        self.report = Report(name, seed)
        self.reached, self.struck, self.answered = self.report.reached, self.report.struck, self.report.answers
        self.history: list[Operation] = []
        self.finished: list[Operation] = []
        """Answered calls with their callers' own ids, to be sent again."""
        self.requests: dict[SimProcess, list[Request]] = defaultdict(list)
        self._pids = 0
        self._ids = 0
        self._instant = 0
        self._callers: list[asyncio.Task[None]] = []
        self._background: list[asyncio.Task[None]] = []

    def random(self, purpose: str) -> random.Random:
        """A stream of its own for each purpose, so that one more draw here changes nothing there."""
        return random.Random(f"{self.name}/{self.seed}/{purpose}")

    def instant(self) -> int:
        """A point in real time: later ones are greater."""
        self._instant += 1
        return self._instant

    def violate(self, kind: str, name: str, text: str) -> None:
        self.report.violations.append(Violation(kind, name, text))

    # ---------------------------------------------------------------- processes

    def begin_process(self, slot: int) -> SimProcess:
        self._pids += 1
        rng = self.clocks
        clock = VirtualClock(self.loop)
        if self.profile.clocks == "rates":
            # The margin of a lease covers a clock that runs slow by less than a tenth.
            clock = VirtualClock(self.loop, skew=rng.uniform(-600, 600), rate=rng.choice((0.91, 0.95, 1.0, 1.05, 1.3)))
        process = SimProcess(self, slot, self._pids, clock)
        if slot < len(self.processes):
            self.processes[slot] = process
        else:
            self.processes.append(process)
        process.start()
        return process

    def proven_dead(self, info: TermInfo) -> bool:
        return self.visible_death and info.pid in self.gone

    def later(self, seconds: float, callback: Any, *args: Any) -> None:
        """Outside of all processes."""
        self.loop.call_later(seconds, callback, *args, context=Context())

    def freeze(self, process: SimProcess, seconds: float, *, stand_still: bool = False, loop_only: bool = False) -> None:
        """SIGSTOP, and SIGCONT after a while; with ``stand_still`` it is the machine that is suspended."""
        loop = self.loop
        if process.dead or loop.frozen(process.main):
            return
        process.frozen_until = loop.elapsed + seconds
        loop.freeze(process.main)
        if not loop_only:
            loop.freeze(process.side)

        def go_on() -> None:
            if process.dead or not loop.frozen(process.main):
                return
            if stand_still:
                process.clock.stand_still(seconds)
                process.doubtful_until = loop.elapsed + 2 * LEASE
            loop.thaw(process.main)
            loop.thaw(process.side)

        self.later(seconds, go_on)

    def crash(self, process: SimProcess) -> None:
        """kill -9: it does nothing any more; what it has sent goes its way."""
        if process.dead:
            return
        process.dead = True
        self.loop.freeze(process.main)
        self.loop.freeze(process.side)
        self.later(self.chance.uniform(0.0, 0.3), self.gone.add, process.pid)
        self._leave(process)

    def _leave(self, process: SimProcess) -> None:
        for request in self.requests.pop(process, ()):
            if not request.told:
                request.told = True
                self.later(self.latency(), self._break, request)
        self.departed.append(process)
        if self.processes[process.slot] is process:
            self.later(self.chance.uniform(0.05, 1.0), self.begin_process, process.slot)

    def _break(self, request: Request) -> None:
        if not request.future.done():
            request.future.set_result(None)

    async def drain(self, process: SimProcess) -> None:
        if process.leaving:
            return
        process.leaving = True
        stopping = self.loop.create_task(process.stop(), context=process.context.copy())
        await asyncio.wait([stopping], timeout=10.0)
        if process.dead:
            return
        # Whoever had no answer by now hears the connection close.
        process.dead = True
        self.loop.freeze(process.main)
        self.loop.freeze(process.side)
        self.gone.add(process.pid)
        self._leave(process)

    def restart_database(self) -> None:
        if self.down:
            return
        self.database.restart()
        self.down = True
        for process in self.processes:
            for wire in process.wires:
                wire.drop("the database was restarted")

        def up() -> None:
            self.down = False

        self.later(self.chance.uniform(0.02, 0.8), up)

    def partition(self, process: SimProcess, seconds: float, *, cut: bool, whole: bool) -> None:
        """The network between a process, or its keeper alone, and the database."""
        wires = process.wires if whole else process.wires[1:]
        for wire in wires:
            if wire.held is None and not wire.is_cut:
                if cut:
                    wire.is_cut = True
                    wire.drop("the network is gone")
                else:
                    wire.held = asyncio.Event()

        def heal() -> None:
            for wire in wires:
                wire.is_cut = False
                if wire.held is not None:
                    wire.held.set()
                    wire.held = None

        self.later(seconds, heal)

    def latency(self) -> float:
        draw = self.wire.random()
        if draw < 0.6:
            return 0.0
        return self.wire.random() * (0.004 if draw < 0.96 else self.profile.slow)

    # ---------------------------------------------------------------- faults

    def matches(self, aim: Aim, process: SimProcess) -> bool:
        if aim.struck or self.healed or process.dead or self.loop.elapsed < aim.after:
            return False
        if aim.skip:
            aim.skip -= 1
            return False
        aim.struck = True
        return True

    def strike(self, aim: Aim, process: SimProcess, link: MemoryLink, *, keeper: bool) -> None:
        self.struck[aim.point] += 1
        self.report.actions[aim.action] += 1
        seconds = aim.seconds
        match aim.action:
            case "freeze":
                self.freeze(process, seconds)
            case "suspend":
                self.freeze(process, seconds, stand_still=True)
            case "stall":
                self.freeze(process, seconds, loop_only=True)
            case "drop":
                link.drop("a fault dropped it")
            case "crash":
                self.crash(process)
            case "stop":
                self.background(self.drain(process))
            case "restart":
                self.restart_database()
            case "cut" | "hold":
                self.partition(process, seconds, cut=aim.action == "cut", whole=aim.whole)
            case "late reply":
                # And nothing more from the keeper: the window ends as this renewal left it.
                self.later(seconds * 0.5, lambda: self.partition(process, 3 * LEASE, cut=True, whole=False))
                seconds += 2 * LEASE
        if aim.ambush and aim.action in ("freeze", "suspend", "stall", "cut", "hold", "late reply"):
            self.ambush(process, seconds)

    def background(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._background.append(self.loop.create_task(coroutine, context=Context()))

    # ---------------------------------------------------------------- ways of a call

    async def send(
        self, process: SimProcess, operation: Operation, *, lookup: bool, confirmed: bool = False, timeout: float, patience: float = 0.0
    ) -> BaseException | None:
        """One attempt: fills in ``operation``; returns the error that the caller got, if it got one."""
        self.history.append(operation)
        operation.invoked = self.instant()
        operation.where = process.name
        if process.dead:
            operation.outcome = Outcome.NOT_APPLIED
            operation.completed = self.instant()
            await asyncio.sleep(0.02)
            return None
        request = Request(operation, lookup, confirmed, timeout)
        self.requests[process].append(request)
        await asyncio.sleep(self.latency())
        process.soon(lambda: process.accept(request))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(request.future), patience or timeout + LEASE)
        if request in self.requests[process]:
            self.requests[process].remove(request)
        # Nobody waits any more; an answer that still comes is noted all the same.
        request.future.cancel()
        return request.error

    def deliver(
        self, request: Request, outcome: Outcome, saw: int | None, result: Any, error: BaseException | None, stale_allowed: bool, who: str
    ) -> None:
        """An answer leaves its process."""

        def arrive() -> None:
            if request.future.done():
                if outcome in (Outcome.OK, Outcome.REFUSED):
                    self.late_answer(request.operation, outcome, saw, result, stale_allowed, who)
                return
            operation = request.operation
            operation.outcome, operation.saw, operation.result = outcome, saw, result
            operation.stale_allowed = stale_allowed
            operation.completed = self.instant()
            request.error = error
            operation.error = repr(error) if error is not None else ""
            request.future.set_result(None)

        self.later(self.latency(), arrive)

    def late_answer(self, operation: Operation, outcome: Outcome, saw: int | None, result: Any, stale_allowed: bool, who: str) -> None:
        """Answered to somebody who had given up: true it must be all the same."""
        self.history.append(
            replace(
                operation, completed=self.instant(), outcome=outcome, saw=saw, result=result, stale_allowed=stale_allowed, where=f"{who}, late"
            )
        )

    def choose(self, key: str, rng: random.Random, avoid: SimProcess | None = None) -> SimProcess:
        """Where a caller turns to: mostly to the owner, as a router would know it."""
        if rng.random() > 0.15:
            owner = self.database.owner_of(("sim.Ledger", key))
            for process in self.processes:
                if owner is not None and process.term == owner and process is not avoid:
                    return process
        return rng.choice([process for process in self.processes if process is not avoid] or self.processes)

    def new_id(self, own: bool) -> str:
        self._ids += 1
        return f"order-{self._ids}" if own else f"~{self._ids:032x}"

    async def call(
        self,
        rng: random.Random,
        key: str,
        method: str,
        args: list[Any],
        *,
        own: bool = False,
        call_id: str | None = None,
        confirmed: bool = False,
        attempts: int = 7,
        process: SimProcess | None = None,
        give_up: float = 0.1,
        patience: float = 0.0,
    ) -> Operation:
        """A call with all its retries; returns its last attempt."""
        model = LedgerModel()
        recorded = model.recorded(method)
        first = call_id is None
        call_id = call_id or self.new_id(own)
        target = process or self.choose(key, rng)
        for attempt in range(attempts):
            if not recorded and attempt:
                call_id = self.new_id(False)
            operation = Operation(key, call_id, method, args, own, 0)
            timeout = rng.choice((0.05, 0.4, 1.0, 2.5))
            error = await self.send(
                target, operation, lookup=own or attempt > 0 or not first, confirmed=confirmed, timeout=timeout, patience=patience
            )
            if operation.outcome in (Outcome.OK, Outcome.REFUSED):
                if own and recorded:
                    self.finished.append(operation)
                return operation
            if operation.outcome is Outcome.UNKNOWN:
                # A generated id is known to its caller only by an answer that carries it.
                if rng.random() < give_up or (recorded and not own and error is None):
                    return operation
                target = self.choose(key, rng, target if rng.random() < 0.8 else None)
            elif error is not None and not getattr(error, "retryable", False):
                return operation
            else:
                target = self.choose(key, rng)
            await asyncio.sleep(rng.uniform(0.01, 0.3) * LEASE)
        return operation

    # ---------------------------------------------------------------- callers

    async def caller(self, number: int) -> None:
        rng = self.random(f"caller {number}")
        kinds = {**MIX, **self.profile.mix}
        names, weights = list(kinds), list(kinds.values())
        while self.loop.elapsed < self.seconds:
            await asyncio.sleep(rng.expovariate(1 / self.profile.think))
            key = f"k{rng.randrange(self.profile.keys)}"
            await self.one_call(rng, rng.choices(names, weights)[0], key, rng.randrange(1, 1000))

    async def one_call(self, rng: random.Random, kind: str, key: str, tag: int) -> None:
        own = rng.random() < OWN_IDS
        length = rng.choice((0.01, 0.1, 0.4, 0.4, 1.0, 2.5))
        match kind:
            case "put" | "keep" | "refuse" | "boom":
                await self.call(rng, key, kind, [tag], own=own, confirmed=rng.random() < 0.2)
            case "slow" | "slow_boom" | "stubborn":
                await self.call(rng, key, kind, [tag, length], own=own)
            case "look" | "peek":
                await self.call(rng, key, kind, [], attempts=3)
            case "confirmed":
                await self.call(rng, key, "look", [], confirmed=True, attempts=3)
            case "look_slowly":
                await self.call(rng, key, kind, [length], attempts=2)
            case "twice":
                call_id = self.new_id(True)
                args = [tag] if rng.random() < 0.7 else [tag, length]
                method = "put" if len(args) == 1 else "slow"
                async with asyncio.TaskGroup() as group:
                    for _ in range(2):
                        group.create_task(self._twice(rng, key, method, args, call_id))
            case "again" | "other" if self.finished:
                earlier = rng.choice(self.finished)
                if kind == "again":
                    await self.call(rng, earlier.object, earlier.method, earlier.args, own=True, call_id=earlier.id)
                elif earlier.saw or earlier.outcome is Outcome.OK:
                    await self._reuse(rng, earlier, tag)

    async def _twice(self, rng: random.Random, key: str, method: str, args: list[Any], call_id: str) -> None:
        await asyncio.sleep(rng.choice((0.0, 0.0, 0.02, 0.3)))
        await self.call(rng, key, method, args, own=True, call_id=call_id)

    async def _reuse(self, rng: random.Random, earlier: Operation, tag: int) -> None:
        """An id that names another call already: must be refused, and must change nothing."""
        operation = Operation(earlier.object, earlier.id, "put", [tag + 1000], True, 0)
        error = await self.send(self.choose(earlier.object, rng), operation, lookup=True, timeout=1.0)
        self.history.remove(operation)
        if operation.outcome in (Outcome.OK, Outcome.REFUSED):
            self.violate("conflict", earlier.object, f"{earlier.id} was used for {earlier.method} and then for put, and got {operation.result!r}")
        elif isinstance(error, JidoError) and error.applied is False and not error.retryable and not isinstance(error, CallIdReused):
            self.violate("conflict", earlier.object, f"{earlier.id} was used for {earlier.method} and then for put, and got {error!r}")

    def ambush(self, victim: SimProcess, seconds: float) -> None:
        """Others take over what the victim holds and write to it; then the victim is asked."""
        rng = self.chance
        keys = [name[1] for name, activation in victim.host.activations.items() if activation.status is Status.LIVE]
        rng.shuffle(keys)
        for key in keys[:2] or [f"k{rng.randrange(self.profile.keys)}"]:
            self.background(self._ambush(rng, victim, key, self.loop.elapsed + seconds))

    async def _ambush(self, rng: random.Random, victim: SimProcess, key: str, until: float) -> None:
        loop = self.loop
        while True:
            if loop.elapsed > until + LEASE or victim.dead or len(self.processes) < 2:
                return
            other = rng.choice([process for process in self.processes if process is not victim])
            written = await self.call(rng, key, "put", [rng.randrange(1, 1000)], own=rng.random() < 0.5, attempts=1, process=other)
            if written.outcome is Outcome.OK:
                break
            await asyncio.sleep(rng.uniform(0.02, 0.15) * LEASE)
        asking = []
        for moment in (loop.elapsed, rng.uniform(loop.elapsed, max(loop.elapsed, until)), until - 0.001, until, until + 0.002):
            for method, confirmed in rng.sample([("look", False), ("look", True), ("keep", False), ("refuse", False), ("look_slowly", False)], 2):
                args = {"look": [], "look_slowly": [0.01]}.get(method, [rng.randrange(1, 1000)])
                asking.append(self._ask_at(moment, rng, victim, key, method, args, confirmed, until))
        await asyncio.gather(*asking)

    async def _ask_at(
        self, moment: float, rng: random.Random, victim: SimProcess, key: str, method: str, args: list[Any], confirmed: bool, until: float
    ) -> None:
        await asyncio.sleep(max(0.0, moment - self.loop.elapsed))
        if not victim.dead:
            patience = max(0.0, until - self.loop.elapsed) + 3 * LEASE
            await self.call(rng, key, method, args, confirmed=confirmed, attempts=1, process=victim, patience=patience)

    async def janitor(self) -> None:
        """Sends idle objects to sleep, now and then."""
        rng = self.random("janitor")
        while not self.healed:
            await asyncio.sleep(rng.uniform(0.1, 0.8))
            process = rng.choice(self.processes)
            for activation in list(process.host.activations.values()):
                if rng.random() < self.profile.hibernate:
                    process.soon(lambda host=process.host, activation=activation: host.hibernate(activation))

    # ---------------------------------------------------------------- the run

    async def main(self) -> None:
        self.loop.set_exception_handler(lambda loop, context: None)
        for slot in range(self.profile.processes):
            self.begin_process(slot)
        self.background(self.janitor())
        self._callers = [self.loop.create_task(self.caller(number), context=Context()) for number in range(self.profile.clients)]
        await asyncio.gather(*self._callers)
        self.healed = True
        await self.quiesce()
        await self.last_look()
        await self.settle()
        self.judge()

    async def quiesce(self) -> None:
        """Heal everything, and wait for everyone."""
        deadline = self.loop.elapsed + 60
        while self._background:
            task = self._background.pop(0)
            await asyncio.wait([task], timeout=max(0.1, deadline - self.loop.elapsed))
            if task.done() and not task.cancelled() and task.exception() is not None:
                raise task.exception()
        while self.down or any(self.loop.frozen(process.main) or process.wires[1].held or process.wires[1].is_cut for process in self.processes):
            await asyncio.sleep(0.1)

    async def last_look(self) -> None:
        """Everything hibernates, thaws, and works."""
        rng = self.chance
        names = sorted(key for _, key in self.database.names)
        for process in self.processes:
            for activation in list(process.host.activations.values()):
                process.soon(lambda host=process.host, activation=activation: host.hibernate(activation))
        for key in names:
            for method, args in (("look", []), ("put", [1]), ("look", [])):
                for _ in range(40):
                    last = await self.call(rng, key, method, args, own=True, attempts=1)
                    if last.outcome is Outcome.OK:
                        break
                    await asyncio.sleep(0.1 * LEASE)
                else:
                    self.violate("stuck", key, f"{method} gets no answer though all is well: {last.outcome.value}")
                    break

    async def settle(self) -> None:
        """Every call that reached a living process has got its one answer."""
        for _ in range(120):
            if not any(process.outstanding for process in self.processes):
                break
            await asyncio.sleep(0.1)
        for process in [*self.processes, *self.departed]:
            for reply in process.replies:
                operation = reply.request.operation
                if reply.answers > 1:
                    self.violate("twice", operation.object, f"{operation.method} [{operation.id}] got {reply.answers} answers at {process.name}")
                elif reply.answers == 0 and (not process.dead or process.stopped):
                    self.violate("unanswered", operation.object, f"{operation.method} [{operation.id}] got no answer at {process.name}")

    def judge(self) -> None:
        report, model = self.report, LedgerModel()
        rows = list(self.database.rows())
        snapshots = rows_by_object(self.database.snapshots())  # type: ignore[arg-type]
        for key, journal in rows_by_object(rows).items():
            report.violations.extend(check_journal(journal, snapshots.get(key, ()), model))  # type: ignore[arg-type]
        # A failing turn has no answer, and so no row.
        self.place_peeks(rows, model)
        asked = [operation for operation in self.history if "boom" not in operation.method and operation.method != "peek"]
        report.violations.extend(check(asked, rows, model))
        report.violations.extend(check_events(self.database.events))
        failing = {operation.id for operation in self.history if "boom" in operation.method}
        report.violations.extend(Violation("applied", row.object, f"a turn that failed is row {row.seq}") for row in rows if row.call_id in failing)
        self.search()
        report.operations = len(self.history)
        report.rows = len(rows)
        report.outcomes.update(operation.outcome.value for operation in self.history)
        report.burials = sum(event.what == "buried" for event in self.database.events)
        report.steps, report.elapsed = self.loop.steps, self.loop.elapsed
        seen = [[o.object, o.id, o.method, o.args, o.invoked, o.completed, o.outcome.value, o.saw, o.result] for o in self.history]
        held = [[r.object, r.seq, r.epoch, r.call_id, r.method, r.result, r.delta] for r in rows]
        report.fingerprint = canonical([seen, held, [[e.what, e.term, e.object, e.epoch, e.seqs] for e in self.database.events]])

    def place_peeks(self, rows: list[Row], model: LedgerModel) -> None:
        """A peek names no seq: find the latest at which its answer is right, to be checked like any other read."""
        initial = canonical(list(model.initial().values()))
        states: dict[str, list[str]] = {}
        for key, journal in rows_by_object(rows).items():
            state = model.initial()
            states[key] = [initial]
            for row in journal:
                deltas.apply(state, row.delta)
                states[key].append(canonical(list(state.values())))
        for operation in self.history:
            if operation.method == "peek" and operation.outcome is Outcome.OK:
                seen = canonical(operation.result)
                operation.method, operation.guessed = "look", True
                operation.saw = max((seq for seq, state in enumerate(states.get(operation.object, [initial])) if state == seen), default=None)

    def search(self) -> None:
        """A second opinion on the objects with few calls."""
        calls: dict[str, dict[str, list[Operation]]] = defaultdict(lambda: defaultdict(list))
        for operation in self.history:
            if "boom" not in operation.method and not operation.guessed:
                calls[operation.object][operation.id].append(operation)
        for key, by_id in calls.items():
            if len(by_id) > SEARCHED:
                continue
            history = [one for attempts in by_id.values() for one in _invocations(attempts)]
            verdict = search(history, INITIAL, apply, budget=SEARCH_BUDGET)
            self.report.searched += verdict is not Verdict.SPENT
            self.report.spent += verdict is Verdict.SPENT
            if verdict is Verdict.VIOLATION:
                self.violate("unexplained", key, f"no order of its {len(history)} calls explains the answers")


# ---------------------------------------------------------------- the search's model

INITIAL = (0, 0, (), ())


def _invocations(attempts: list[Operation]) -> list[Invocation]:
    """One call for the search: none if it cannot have had an effect."""
    model = LedgerModel()
    first = attempts[0]
    invoked = min(one.invoked for one in attempts)
    found = []
    answered = []
    for one in attempts:
        absent = one.outcome is Outcome.REFUSED and one.saw == 0
        row = model.writes(one.method) or (one.own_id and model.recorded(one.method) and not absent)
        if one.outcome in (Outcome.OK, Outcome.REFUSED) and one.completed is not None and (row or not one.stale_allowed):
            if absent:
                # An absent object remembers nothing: sent again, the call is made again.
                found.append(Invocation(invoked, one.completed, (one.method, tuple(one.args), False), _answer(one)))
            else:
                answered.append(one)
    if answered:
        done = min(answered, key=lambda one: one.completed or 0)
        found.append(Invocation(invoked, done.completed, (first.method, tuple(first.args), first.own_id), _answer(done)))
    elif model.recorded(first.method) and any(one.outcome is Outcome.UNKNOWN for one in attempts):
        found.append(Invocation(invoked, None, (first.method, tuple(first.args), first.own_id)))
    return found


def _answer(operation: Operation) -> str:
    return canonical([operation.outcome is Outcome.REFUSED, operation.saw, operation.result])


def apply(state: Any, call: Any) -> tuple[Any, Any]:
    """The model, with the rules of when a call takes a place in the order."""
    model = LedgerModel()
    seq, value, counts, recent = state
    method, args, own = call
    step = model.step({"value": value, "counts": dict(counts), "recent": list(recent)}, method, list(args))
    row = model.writes(method) or (own and model.recorded(method) and not (step.refused and seq == 0))
    after = (seq + row, step.state["value"], tuple(sorted(step.state["counts"].items())), tuple(step.state["recent"]))
    return after, canonical([step.refused, seq, step.result])


# ---------------------------------------------------------------- running one


@contextlib.contextmanager
def controlled(seed: str) -> Iterator[None]:
    """What a run would otherwise take from its surroundings: random ids, the registry of types, the log."""
    rng = random.Random(f"{seed}/uuid")
    logger = logging.getLogger("jido_objects")
    level = logger.level

    def uuid4() -> UUID:
        return UUID(int=rng.getrandbits(128), version=4)

    logger.setLevel(logging.CRITICAL + 1)
    try:
        with (
            mock.patch.object(host_module, "uuid4", uuid4),
            mock.patch.object(memory_module, "uuid4", uuid4),
            mock.patch.object(Definition, "registry", TYPES),
        ):
            yield
    finally:
        logger.setLevel(level)


def simulate(profile: str, seed: int) -> Report:
    """Run one seed and check it."""
    with controlled(f"{profile}/{seed}"):
        simulation = Simulation(profile, seed)
        try:
            run(simulation.main(), simulation.loop)
        except Stuck as error:
            simulation.violate("stuck", "simulation", str(error))
    return simulation.report


__all__ = ["OPEN", "Report", "Simulation", "apply", "simulate"]
