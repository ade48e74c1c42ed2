"""Where faults strike: the plan of one run, made from its seed, and the hook that carries it out at the store's fault points.

Faults are aimed. An ``Aim`` waits for a process to reach one named point of one operation (``append:executed``: in effect, the
reply under way) and strikes there, because the windows that matter are a few microseconds wide and random ones miss them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jido_objects.errors import StoreUnavailable
from jido_objects.stores.memory import Faults, MemoryLink

if TYPE_CHECKING:
    from .process import SimProcess
    from .simulation import Simulation

LEASE = 1.0

OPERATIONS = ("begin_term", "renew", "alive", "bury", "begin_lane", "end_lane", "append", "claim", "snapshot", "find", "load", "recall")
"""What a host and its keeper send. ``terms`` and ``history`` are for people and tests."""
WINDOWS = ("trim", "walk", "walked", "forget")
"""What a host sends to keep its windows, where they are short enough to matter."""
STAGES = ("called", "sent", "executing", "executed")
POINTS = ("connect", *(f"{operation}:{stage}" for operation in OPERATIONS for stage in STAGES))


EVERY_POINT = (*POINTS, *(f"{operation}:{stage}" for operation in WINDOWS for stage in STAGES))


@dataclass(slots=True)
class Aim:
    """One fault that waits for its moment."""

    action: str
    """``freeze`` (the whole process), ``suspend`` (its machine: the clock stands still), ``stall`` (the host's loop only), ``drop``
    (the connection), ``delay`` (the statement), ``crash``, ``stop`` (a drain), ``restart`` (the database), ``cut`` (the network is
    gone), ``hold`` (it keeps everything back), ``late reply`` (after which the keeper is cut off)."""
    point: str
    after: float
    """Seconds of virtual time before which it does not strike."""
    skip: int
    """How many matches it lets pass."""
    seconds: float
    late: float
    """Part of ``seconds`` after which the statement that it struck goes on; below zero: it never does (where that is possible)."""
    whole: bool = True
    """Of ``cut`` and ``hold``: the host's and the keeper's connections, or the keeper's alone."""
    ambush: bool = True
    """Have others take over meanwhile, and then ask the victim what it remembers."""
    struck: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    """What kind of trouble a run looks for."""

    aims: Sequence[tuple[float, Sequence[str], Sequence[str]]] = ()
    """(weight, actions, points)."""
    count: tuple[int, int] = (2, 4)
    processes: int = 3
    clients: int = 6
    keys: int = 4
    seconds: tuple[float, float] = (5.0, 8.0)
    think: float = 0.25
    mix: dict[str, float] = field(default_factory=dict)
    """Weights of calls that differ from the usual ones."""
    fresh: float = 0.0
    """New keys per second."""
    overwrite: float = 0.8
    """How often whoever takes over writes at once, and does not only look."""
    haste: float = 0.1
    """Part of a lease after which whoever wants to take over tries again, at most."""
    hibernate: float = 0.3
    clocks: str = "true"
    """``true``; ``rates``: skewed, jumping to and fro and running fast or slow within the margin."""
    visible_death: float = 0.3
    """How often the death of a process can be proven."""
    max_activations: int | None = None
    whole: float = 0.4
    """How often a partition is the host's too, and not the keeper's alone."""
    slow: float = 0.05
    """The longest ordinary delay at a fault point."""
    retention: float | None = None
    """Seconds for which history is kept; such an object then holds few rows as well."""
    late: float = 0.6
    """How often what a fault struck lands late, or never."""


def every(*operations: str) -> tuple[str, ...]:
    return tuple(f"{operation}:{stage}" for operation in operations for stage in STAGES)


_WRITES = every("append", "claim", "snapshot")

PROFILES: dict[str, Profile] = {
    "mixed": Profile(
        (
            (3, ("freeze",), POINTS),
            (2, ("freeze",), ("append:executed", "claim:executed", "renew:executed", "end_lane:executed", "snapshot:executed")),
            (2, ("drop",), POINTS),
            (2, ("delay",), POINTS),
            (1, ("crash",), POINTS),
            (1, ("stop", "stall", "restart"), POINTS),
            (1, ("cut", "hold"), POINTS),
            (1, ("late reply",), ("renew:executed",)),
        ),
        count=(2, 5),
    ),
    "freeze": Profile(((1, ("freeze",), (*every("append", "claim", "renew"), "find:executed", "load:executed")),), count=(1, 3), keys=3),
    "trust": Profile(
        ((4, ("late reply",), ("renew:executed",)), (1, ("hold", "cut"), ("renew:called", "renew:sent", "renew:executed"))),
        count=(2, 4), keys=3, mix={"look": 30},
    ),
    "late": Profile(
        ((3, ("drop",), ("append:sent", "append:executing", "append:executed", "claim:sent", "claim:executed")), (1, ("delay",), _WRITES)),
        count=(3, 6), keys=3, late=0.9, mix={"look": 20},
    ),
    "lost": Profile(
        ((3, ("drop", "crash", "restart"), every("append")), (1, ("cut", "hold"), _WRITES)),
        count=(3, 5), keys=3, late=0.5,
    ),
    "held": Profile(
        ((1, ("hold", "cut"), ("append:sent", "append:executing", "append:executed")),), count=(1, 3), keys=2, whole=1.0, mix={"look": 40},
    ),
    "burial": Profile(
        ((1, ("freeze",), ("append:executing", "append:sent")),),
        count=(2, 3), keys=2, late=1.0, overwrite=0.2, mix={"put": 10, "look": 40},
    ),
    "landing": Profile(((1, ("drop",), ("append:executing",)),), count=(5, 8), keys=3, late=1.0),
    "settle": Profile(
        (
            (3, ("drop",), ("append:sent", "append:executed")),
            (2, ("drop", "delay", "freeze"), every("end_lane", "begin_lane", "recall", "find")),
        ),
        count=(4, 8), keys=3, late=0.8,
    ),
    "asynchronous": Profile(
        ((1, ("freeze", "drop", "stall"), _WRITES),),
        count=(1, 2), mix={"slow": 40, "stubborn": 6, "slow_boom": 8, "look": 40, "look_slowly": 8},
    ),
    "duplicates": Profile(
        ((2, ("drop", "crash", "freeze"), _WRITES), (1, ("delay", "drop"), every("recall", "find", "load", "claim"))),
        count=(2, 4), keys=3, mix={"again": 25, "twice": 25, "other": 6}, hibernate=0.6,
    ),
    "pipelined": Profile(
        ((3, ("drop", "restart"), ("append:called", "append:sent")), (1, ("cut",), every("append"))),
        count=(2, 4), keys=1, clients=8, seconds=(3.0, 4.0), think=0.05, mix={"put": 60}, late=0.8,
    ),
    "absent": Profile(
        ((2, ("delay", "drop"), every("find", "append", "begin_term")), (1, ("freeze", "crash"), every("find", "append"))),
        count=(2, 4), keys=2, fresh=8.0, clients=10, seconds=(3.0, 4.0), think=0.06, slow=0.2,
        mix={"look": 50, "refuse": 20, "keep": 10, "look_slowly": 20},
    ),
    "snapshots": Profile(
        ((2, ("freeze", "drop", "delay"), every("snapshot", "load", "append")), (1, ("crash", "stop"), _WRITES)),
        count=(2, 4), keys=2, think=0.1, hibernate=1.0, max_activations=1, mix={"again": 10},
    ),
    "windows": Profile(
        (
            (3, ("drop", "delay", "freeze", "crash"), every(*WINDOWS)),
            (2, ("drop", "freeze", "delay"), (*every("append", "snapshot", "recall"), "find:executed", "load:executed")),
            (1, ("restart", "stop"), every(*WINDOWS, "append")),
        ),
        count=(4, 7), keys=2, think=0.1, hibernate=0.5, retention=0.4, mix={"again": 20, "late": 25, "twice": 8, "put": 50},
    ),
    "clocks": Profile(
        (
            (1, ("freeze",), every("renew", "append")),
            (3, ("hold", "cut"), every("renew")),
            (1, ("late reply",), ("renew:executed",)),
        ),
        count=(3, 6), keys=3, clocks="rates", mix={"look": 30, "confirmed": 0}, whole=0.1, haste=0.01, slow=0.004,
    ),
    "suspend": Profile(
        ((1, ("suspend",), every("append", "claim", "renew", "alive", "find")),), count=(1, 3), keys=3, mix={"confirmed": 40}
    ),
    "deploy": Profile(
        (
            (3, ("stop",), POINTS),
            (1, ("crash", "restart"), POINTS),
            (1, ("delay", "drop"), every("bury", "begin_term", "begin_lane", "claim")),
        ),
        count=(3, 6),
    ),
    "database": Profile(
        ((2, ("restart",), POINTS), (1, ("drop", "delay"), (*every("begin_term", "bury", "begin_lane"), "connect"))), count=(2, 4),
    ),
}  # fmt: skip


def aims_of(profile: Profile, rng: random.Random, seconds: float) -> list[Aim]:
    """The faults of one run."""
    aims = []
    weights = [weight for weight, _, _ in profile.aims]
    for _ in range(rng.randint(*profile.count)):
        _, actions, points = rng.choices(profile.aims, weights)[0]
        action, point = rng.choice(actions), rng.choice(points)
        operation = point.partition(":")[0]
        # What happens rarely is struck when it happens; what happens all the time, at some time.
        frequent = operation in ("append", "renew", "find", "recall")
        rare = operation in ("bury", "begin_term", "begin_lane", "end_lane", "connect", "forget")
        if action in ("delay", "drop"):
            length = rng.choice((rng.uniform(0.05, 0.5), rng.uniform(0.5, 2.0)))
        elif action == "late reply":
            length = rng.uniform(0.3, 0.95)
        elif action == "stall":
            length = rng.uniform(0.5, 5.0)
        else:
            length = rng.uniform(1.5, 5.0)
        aims.append(
            Aim(
                action,
                point,
                after=rng.uniform(0.0, seconds * (0.3 if rare else 0.8)),
                skip=rng.randint(0, 12) if frequent else rng.randint(0, 2) if not rare else 0,
                seconds=length * LEASE,
                late=rng.choice((rng.uniform(0.1, 1.2), 1.1, -1.0)) if rng.random() < profile.late else 0.0,
                whole=rng.random() < profile.whole,
                ambush=rng.random() < 0.9,
            )
        )
    return aims


class Broken(Exception):
    """The connection broke here, and what was sent through it is lost."""


class Wire(Faults):
    """The fault points of one process's connections, the host's or the keeper's."""

    def __init__(self, simulation: Simulation, process: SimProcess) -> None:
        self.simulation = simulation
        self.process = process
        self.links: list[MemoryLink] = []
        self.is_cut = False
        self.held: asyncio.Event | None = None

    async def at(self, point: str, link: MemoryLink) -> None:
        simulation = self.simulation
        simulation.reached[point] += 1
        if point == "connect":
            self.links = [link, *(one for one in self.links if one.open)]
        for aim in simulation.waiting.get(point, ()):
            if simulation.matches(aim, self.process):
                await self._strike(aim, point, link)
                if aim.action == "late reply":
                    return
                break
        stage = point.partition(":")[2]
        if stage in ("", "called") and (self.is_cut or simulation.down):
            raise StoreUnavailable("the database cannot be reached")
        if self.held is not None and stage != "executing":
            await self.held.wait()
        delay = simulation.latency()
        if delay:
            await asyncio.sleep(delay)

    async def _strike(self, aim: Aim, point: str, link: MemoryLink) -> None:
        self.simulation.strike(aim, self.process, link)
        stage = point.partition(":")[2]
        if aim.action in ("freeze", "suspend", "stall", "crash", "stop") and stage in ("", "called"):
            # This runs in the process that has just been stopped: it goes no further.
            await asyncio.sleep(0)
        elif aim.action == "delay":
            await asyncio.sleep(aim.seconds)
        elif aim.action == "late reply":
            await asyncio.sleep(aim.seconds)
            # This one still comes; after it nothing goes out: the trust window ends as this renewal left it.
            self.simulation.partition(self.process, 3 * LEASE, cut=True, whole=False, drop=False)
        elif aim.late > 0:
            # What is under way lands late.
            await asyncio.sleep(aim.seconds * aim.late)
        elif aim.late < 0 and stage in ("sent", "executing"):
            raise Broken("it was lost on its way")

    @property
    def blocked(self) -> bool:
        return self.is_cut or self.held is not None

    def drop(self, reason: str) -> None:
        for link in self.links:
            link.drop(reason)
        self.links = []
