"""One run: several processes, their database, callers and faults on one virtual loop, all made from one seed.

At the end everything is healed, everyone is waited for, all objects hibernate and are looked at once more; then the checkers
see all that the callers saw, the journal and the database's log.
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

from jido_objects import host as host_module
from jido_objects.definition import Definition
from jido_objects.stores import memory as memory_module
from jido_objects.stores.memory import MemoryLink, MemoryStore
from jido_objects.stores.protocol import TermInfo

from .callers import Callers
from .database import Database
from .faults import LEASE, PROFILES, Aim, Profile, aims_of
from .loop import Stuck, VirtualClock, VirtualLoop, run
from .objects import TYPES
from .process import Request, SimProcess
from .verdict import judge
from .witness import Operation, Outcome, Violation


@dataclass(slots=True)
class Report:
    """What came of one run."""

    profile: str
    seed: int
    violations: list[Violation] = field(default_factory=list)
    operations: int = 0
    rows: int = 0
    trimmed: int = 0
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
    """Digest of everything that callers and database saw: equal for equal seeds."""
    story: list[str] = field(default_factory=list)
    """For people: the log, the faults, and all calls and rows of the objects with violations."""

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
        if self.profile.retention is not None:
            self.database.retention_rows = 24
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
        self.callers = Callers(self)
        self.requests: dict[SimProcess, list[Request]] = defaultdict(list)
        self._pids = 0
        self._instant = 0
        self._background: list[asyncio.Task[None]] = []

    def random(self, purpose: str) -> random.Random:
        """A stream of its own for each purpose, so that one more draw here changes nothing there."""
        return random.Random(f"{self.name}/{self.seed}/{purpose}")

    def instant(self) -> int:
        """A point in real time: later ones are greater."""
        self._instant += 1
        return self._instant

    @property
    def instant_now(self) -> int:
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
            clock = VirtualClock(self.loop, skew=rng.uniform(-600, 600), rate=rng.choice((0.905, 0.91, 0.95, 1.0, 1.3)))
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

    def partition(self, process: SimProcess, seconds: float, *, cut: bool, whole: bool, drop: bool = True) -> None:
        """The network between a process, or its keeper alone, and the database."""
        wires = process.wires if whole else process.wires[1:]
        for wire in wires:
            if wire.held is None and not wire.is_cut:
                if cut:
                    wire.is_cut = True
                    if drop:
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

    def strike(self, aim: Aim, process: SimProcess, link: MemoryLink) -> None:
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
                seconds += 2 * LEASE
        if aim.ambush and aim.action in ("freeze", "suspend", "stall", "cut", "hold", "late reply"):
            self.callers.ambush(process, seconds)

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
        where, completed = f"{who}, late", self.instant()
        self.history.append(
            replace(operation, completed=completed, outcome=outcome, saw=saw, result=result, stale_allowed=stale_allowed, where=where)
        )

    # ---------------------------------------------------------------- the run

    async def main(self) -> None:
        self.loop.set_exception_handler(lambda loop, context: None)
        for slot in range(self.profile.processes):
            self.begin_process(slot)
        self.background(self.callers.janitor())
        if self.profile.clocks == "rates":
            self.background(self.callers.time_server())
        calling = [self.loop.create_task(self.callers.caller(number), context=Context()) for number in range(self.profile.clients)]
        await asyncio.gather(*calling)
        self.healed = True
        await self.quiesce()
        await self.callers.last_look()
        await self.settle()
        judge(self)

    async def quiesce(self) -> None:
        """Heal everything, and wait for everyone."""
        deadline = self.loop.elapsed + 60
        while self._background:
            task = self._background.pop(0)
            await asyncio.wait([task], timeout=max(0.1, deadline - self.loop.elapsed))
            if task.done() and not task.cancelled() and task.exception() is not None:
                raise task.exception()
        while self.down or any(self.loop.frozen(process.main) or process.wires[1].blocked for process in self.processes):
            await asyncio.sleep(0.1)

    async def settle(self) -> None:
        """Every call that reached a living process has got its one answer."""
        for _ in range(120):
            if not any(process.outstanding for process in self.processes):
                break
            await asyncio.sleep(0.1)
        for process in [*self.processes, *self.departed]:
            for reply in process.replies:
                operation = reply.request.operation
                text = f"{operation.method} [{operation.id}] got {reply.answers or 'no'} answers at {process.name}"
                if reply.answers > 1:
                    self.violate("twice", operation.object, text)
                elif reply.answers == 0 and (not process.dead or process.stopped):
                    self.violate("unanswered", operation.object, text)


# ---------------------------------------------------------------- running one


@contextlib.contextmanager
def controlled(seed: str, types: dict[str, Definition] | None = None) -> Iterator[None]:
    """What a run would otherwise take from its surroundings: random ids, the registry of types, the log."""
    rng = random.Random(f"{seed}/uuid")
    logger = logging.getLogger("jido_objects")
    level, propagate = logger.level, logger.propagate

    def uuid4() -> UUID:
        return UUID(int=rng.getrandbits(128), version=4)

    logger.setLevel(logging.ERROR)
    logger.propagate = False
    nowhere = logging.NullHandler()
    logger.addHandler(nowhere)
    try:
        with (
            mock.patch.object(host_module, "uuid4", uuid4),
            mock.patch.object(memory_module, "uuid4", uuid4),
            mock.patch.object(Definition, "registry", {**TYPES, **(types or {})}),
        ):
            yield
    finally:
        logger.removeHandler(nowhere)
        logger.setLevel(level)
        logger.propagate = propagate


def simulate(profile: str, seed: int, *, story: bool = False) -> Report:
    """Run one seed and check it."""
    with controlled(f"{profile}/{seed}"):
        simulation = Simulation(profile, seed)
        log = _Log(simulation, story)
        log.logger.addHandler(log)
        try:
            run(simulation.main(), simulation.loop)
        except Stuck as error:
            simulation.violate("stuck", "simulation", str(error))
        finally:
            log.logger.removeHandler(log)
        if story:
            log.tell()
    return simulation.report


class _Log(logging.Handler):
    """Whatever error the runtime logs is a finding, except what a turn of the test raised. Keeps the log for a story."""

    def __init__(self, simulation: Simulation, story: bool) -> None:
        super().__init__()
        self.simulation = simulation
        self.logger = logging.getLogger("jido_objects")
        self.story = story
        if story:
            self.logger.setLevel(logging.DEBUG)

    def emit(self, record: logging.LogRecord) -> None:
        simulation = self.simulation
        if record.levelno >= logging.ERROR and record.name != "jido_objects.turn":
            error = record.exc_info[1] if record.exc_info else None
            simulation.violate("crash", "runtime", f"{record.getMessage()}: {error!r}")
        if self.story:
            text = f"{simulation.loop.elapsed:8.3f} s, before {simulation.instant_now + 1}: {record.getMessage()}"
            simulation.report.story.append(text)

    def tell(self) -> None:
        simulation, story = self.simulation, self.simulation.report.story
        story += [f"fault: {aim}" for aims in simulation.waiting.values() for aim in aims]
        wanted = {violation.object for violation in simulation.report.violations}
        for operation in sorted(simulation.history, key=lambda one: one.invoked):
            if operation.object in wanted:
                asked = f"{operation.method}{tuple(operation.args)} [{operation.id}] at {operation.where}"
                answer = f"{operation.outcome.value} {operation.saw} {operation.result} {operation.error}"
                story.append(f"{operation.object} {operation.invoked}–{operation.completed} {asked}: {answer}")
        for row in simulation.database.rows():
            if row.object in wanted:
                story.append(f"{row.object} row {row.seq} epoch {row.epoch} {row.method} [{row.call_id}] saw {row.saw} {row.result}")
