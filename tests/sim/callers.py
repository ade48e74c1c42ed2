"""Who calls, whom, what and how often: the callers, the ambush on a process that was struck, and whoever else stirs things up.

Callers know no more than real ones: they get an answer, an error, or nothing, and send again, with the same id where they
have one, to whichever process they like, or give up.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from jido_objects import ids
from jido_objects.activation import Status
from jido_objects.errors import CallIdReused, JidoError

from .faults import LEASE
from .loop import EPOCH
from .objects import LedgerModel
from .process import SimProcess
from .witness import Operation, Outcome

if TYPE_CHECKING:
    from .simulation import Simulation

MIX = {
    "put": 24, "drain": 6, "drain_slowly": 2, "slow": 6, "stubborn": 1,
    "look": 18, "peek": 3, "confirmed": 5, "look_slowly": 3, "keep": 5, "refuse": 5,
    "boom": 3, "slow_boom": 2, "again": 5, "twice": 4, "other": 1, "late": 0,
}  # fmt: skip
"""How often each kind of call is made. ``again`` repeats an answered call with its id, ``twice`` sends one id by two ways at
once, ``other`` uses an id again for something else, ``late`` sends a generated id again, long after."""

OWN_IDS = 0.6
QUESTIONS = [("look", False), ("look", True), ("keep", False), ("refuse", False), ("look_slowly", False)]
"""What a process that was struck is asked: the method, and whether confirmed."""


class Callers:
    """See the module."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.finished: list[Operation] = []
        """Answered calls with their callers' own ids, to be sent again."""
        self.kinds = {**MIX, **simulation.profile.mix}
        self.generated: list[Operation] = []
        """Writes under generated ids, to be sent again."""
        self._ids = 0

    def choose(self, key: str, rng: random.Random, avoid: SimProcess | None = None) -> SimProcess:
        """Where a caller turns to: mostly to the owner, as a router would know it."""
        if rng.random() > 0.15:
            owner = self.simulation.database.owner_of(("sim.Ledger", key))
            for process in self.simulation.processes:
                if owner is not None and process.term == owner and process is not avoid:
                    return process
        return rng.choice([process for process in self.simulation.processes if process is not avoid] or self.simulation.processes)

    def new_id(self, own: bool) -> str:
        self._ids += 1
        if own:
            return f"order-{self._ids}"
        # By the clock of whoever calls, and these differ.
        seconds = EPOCH.timestamp() + self.simulation.loop.elapsed + (self._ids % 5 - 2) * 0.2
        return f"{ids.prefix(seconds)}{self._ids:020x}"

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
            error = await self.simulation.send(
                target, operation, lookup=own or attempt > 0 or not first, confirmed=confirmed, timeout=timeout, patience=patience
            )
            if first and not own and model.writes(method) and attempt == 0:
                self.generated.append(operation)
            if operation.outcome in (Outcome.OK, Outcome.REFUSED):
                if own and recorded:
                    self.finished.append(operation)
                return operation
            if operation.outcome is Outcome.UNKNOWN:
                # A generated id is known to its caller only by an answer that carries it.
                if rng.random() < give_up or (recorded and not own and error is None):
                    return operation
                target = self.choose(key, rng, target if rng.random() < 0.8 else None)
            elif (error is not None and not getattr(error, "retryable", False)) or rng.random() < give_up:
                return operation
            else:
                target = self.choose(key, rng)
            await asyncio.sleep(rng.uniform(0.01, 0.3) * LEASE)
        return operation

    async def caller(self, number: int) -> None:
        rng = self.simulation.random(f"caller {number}")
        names, weights = list(self.kinds), list(self.kinds.values())
        while self.simulation.loop.elapsed < self.simulation.seconds:
            await asyncio.sleep(rng.expovariate(1 / self.simulation.profile.think))
            # With ``fresh`` keys, everybody turns to new ones together.
            first = int(self.simulation.loop.elapsed * self.simulation.profile.fresh)
            key = f"k{first + rng.randrange(self.simulation.profile.keys)}"
            await self.one_call(rng, rng.choices(names, weights)[0], key, rng.randrange(1, 1000))

    async def one_call(self, rng: random.Random, kind: str, key: str, tag: int) -> None:
        own = rng.random() < OWN_IDS
        length = rng.choice((0.01, 0.1, 0.4, 0.4, 1.0, 2.5))
        match kind:
            case "put" | "keep" | "refuse" | "boom":
                await self.call(rng, key, kind, [tag], own=own, confirmed=rng.random() < 0.2 and self.kinds["confirmed"] > 0)
            case "drain":
                await self.call(rng, key, kind, [[tag + n for n in range(1, 4)]], own=own)
            case "drain_slowly":
                await self.call(rng, key, kind, [[tag + n for n in range(1, 4)], length], own=own)
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
            case "late" if self.generated:
                earlier = rng.choice(self.generated)
                await self.call(rng, earlier.object, earlier.method, earlier.args, call_id=earlier.id, attempts=2)
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
        error = await self.simulation.send(self.choose(earlier.object, rng), operation, lookup=True, timeout=1.0)
        self.simulation.history.remove(operation)
        got: object = None
        if operation.outcome in (Outcome.OK, Outcome.REFUSED):
            got = operation.result
        elif isinstance(error, JidoError) and error.applied is False and not error.retryable and not isinstance(error, CallIdReused):
            got = error
        if got is not None:
            text = f"{earlier.id} was used for {earlier.method} and then for put, and got {got!r}"
            self.simulation.violate("conflict", earlier.object, text)

    # ---------------------------------------------------------------- the ambush

    def ambush(self, victim: SimProcess, seconds: float) -> None:
        """Others take over what the victim holds and write to it; then the victim is asked."""
        rng = self.simulation.chance
        keys = [name[1] for name, activation in victim.host.activations.items() if activation.status is Status.LIVE]
        rng.shuffle(keys)
        for key in keys[:2] or [f"k{rng.randrange(self.simulation.profile.keys)}"]:
            self.simulation.background(self._ambush(rng, victim, key, self.simulation.loop.elapsed + seconds))

    async def _ambush(self, rng: random.Random, victim: SimProcess, key: str, until: float) -> None:
        loop = self.simulation.loop
        while True:
            if loop.elapsed > until + LEASE or victim.dead or len(self.simulation.processes) < 2:
                return
            other = rng.choice([process for process in self.simulation.processes if process is not victim])
            # Who only looks leaves the next place in the journal free for what may still land.
            method, args = ("put", [rng.randrange(1, 1000)]) if rng.random() < self.simulation.profile.overwrite else ("look", [])
            taken = await self.call(rng, key, method, args, own=rng.random() < 0.5, attempts=1, process=other)
            if taken.outcome is Outcome.OK:
                break
            await asyncio.sleep(rng.uniform(0.005, self.simulation.profile.haste) * LEASE)
        asking = []
        for moment in (loop.elapsed, rng.uniform(loop.elapsed, max(loop.elapsed, until)), until - 0.001, until, until + 0.002):
            for method, confirmed in rng.sample(QUESTIONS, 2):
                args = {"look": [], "look_slowly": [0.01]}.get(method, [rng.randrange(1, 1000)])
                asking.append(self._ask_at(moment, rng, victim, key, method, args, confirmed, until))
        await asyncio.gather(*asking)

    async def _ask_at(
        self, moment: float, rng: random.Random, victim: SimProcess, key: str, method: str, args: list[Any], confirmed: bool, until: float
    ) -> None:
        await asyncio.sleep(max(0.0, moment - self.simulation.loop.elapsed))
        if not victim.dead:
            patience = max(0.0, until - self.simulation.loop.elapsed) + 3 * LEASE
            await self.call(rng, key, method, args, confirmed=confirmed, attempts=1, process=victim, patience=patience)

    # ---------------------------------------------------------------- whoever else

    async def janitor(self) -> None:
        """Sends idle objects to sleep, now and then."""
        rng = self.simulation.random("janitor")
        while not self.simulation.healed:
            await asyncio.sleep(rng.uniform(0.1, 0.8))
            process = rng.choice(self.simulation.processes)
            for activation in list(process.host.activations.values()):
                if rng.random() < self.simulation.profile.hibernate:
                    process.soon(lambda host=process.host, activation=activation: host.hibernate(activation))

    async def time_server(self) -> None:
        """Sets wall clocks to something else, now and then."""
        rng = self.simulation.random("time server")
        while not self.simulation.healed:
            await asyncio.sleep(rng.uniform(0.2, 1.5))
            rng.choice(self.simulation.processes).clock.skew = rng.uniform(-600, 600)

    async def last_look(self) -> None:
        """Everything hibernates, thaws, and works."""
        rng = self.simulation.chance
        names = sorted(key for _, key in self.simulation.database.names)
        for process in self.simulation.processes:
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
                    self.simulation.violate("stuck", key, f"{method} gets no answer though all is well: {last.outcome.value}")
                    break
