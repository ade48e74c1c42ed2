"""The storm: clients call without pause, two hosts serve them, and everything around them fails at random.

Weighted actions drawn from one seed: ``kill -9`` at named points and at any moment, freezes, a network that resets, holds and
drops, a database that crashes. After each the storm waits until callers are answered again. At the end all faults cease, every
caller learns the outcome of its last call, and the checkers look at everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from . import checks
from .clients import Client, History, Keys
from .databases import Database, PostgresDatabase, until
from .hosts import Gone, HostProcess, Reply
from .points import POINTS
from .proxy import Direction, Flow, everyone, writers
from .report import Report

LIVENESS = 30.0
"""Seconds after a survivable fault in which somebody must have been answered."""


@dataclass
class Plan:
    """How much of it. Ends when all that is asked for is done, or the time is up."""

    kills: int = 10
    resends: int = 0
    seconds: float = 300.0
    clients: int = 12
    lease: float = 0.6
    crashes: int = 0
    """Of PostgreSQL."""
    activations: int = 16
    """Objects a host may have in memory: few, so that the least recently used leave all the time."""
    endless: bool = False
    """Go on until the time is up, whatever has been done by then."""
    mutant: str | None = None
    weights: dict[str, int] | None = None
    trace: bool = False
    """Print every action to standard error."""


WEIGHTS = {"kill at a point": 12, "kill at any moment": 4, "kill both": 1, "freeze": 2, "stop": 1, "hibernate": 2}
CRASH = "crash of PostgreSQL"
NETWORK = {"reset": 3, "hold": 2, "drop": 1, "refuse": 1, CRASH: 1}
KILLS = ("kill at a point", "kill at any moment", "kill both")


class Storm:
    def __init__(self, database: Database, seed: int, plan: Plan) -> None:
        self.database = database
        self.seed = seed
        self.plan = plan
        self.rng = random.Random(seed)
        self.history = History()
        self.report = Report("storm", database.vendor, seed)
        self.hosts = [HostProcess(name, database, plan.lease, plan.mutant, MAX_ACTIVATIONS=plan.activations) for name in ("a", "b")]
        self.kills = 0
        self.began = 0.0
        self._going = True
        self._starting: dict[str, asyncio.Task[None]] = {}
        # Each named point gets its turn; which process it strikes and when is chance.
        self._points = list(POINTS[database.vendor])
        self.rng.shuffle(self._points)
        self._next_point = 0
        self._made = 0

    async def run(self) -> Report:
        started = self.began = time.monotonic()
        try:
            await asyncio.gather(*(host.start() for host in self.hosts))
            await self._storm(started)
            if not self.report.violations:
                await self._check_states()
                for host in self.hosts:
                    await host.stop()
        except TimeoutError as error:
            self.report.violate("P7", f"no progress at the end: {error}{self._where()}")
        finally:
            for task in self._starting.values():
                task.cancel()
            await asyncio.gather(*self._starting.values(), return_exceptions=True)
            for host in self.hosts:
                await host.close()
        self._judge()
        self.report.elapsed = time.monotonic() - started
        return self.report

    async def _storm(self, started: float) -> None:
        keys = Keys(width=12, uses=1500)
        clients = [
            Client(f"c{number}", self.history, self.hosts, keys, random.Random(f"{self.seed}/{number}"))
            for number in range(self.plan.clients)
        ]
        async with asyncio.TaskGroup() as group:
            callers = [group.create_task(client.run(lambda: self._going)) for client in clients]
            try:
                await self._answered("at the start")
                while not self._enough() and time.monotonic() - started < self.plan.seconds:
                    await self._act()
                await self._quiesce()
                self._going = False
                await until(lambda: all(caller.done() for caller in callers), "every caller learned its last outcome", LIVENESS)
            except TimeoutError as error:
                self._going = False
                self.report.violate("P7", f"no progress {error}{self._where()}")
                for caller in callers:
                    caller.cancel()

    def _enough(self) -> bool:
        plan = self.plan
        crashes = plan.crashes if isinstance(self.database, PostgresDatabase) else 0
        done = self.kills >= plan.kills and self.history.counts["re-sends"] >= plan.resends and self.report.done[CRASH] >= crashes
        return done and not plan.endless

    def _where(self) -> str:
        return "".join(f"\n--- the log of {host.name} ends with\n{host.log_text(2500)}" for host in self.hosts)

    # -------------------------------------------------------------------------------------------- faults

    async def _act(self) -> None:
        weights = self.plan.weights or {**WEIGHTS, **(NETWORK if isinstance(self.database, PostgresDatabase) else {})}
        if self.kills >= self.plan.kills and self.plan.weights is None and not self.plan.endless:
            weights = {name: weight for name, weight in weights.items() if name not in KILLS}
        name = self.rng.choices(list(weights), list(weights.values()))[0]
        actions: dict[str, Callable[[], Awaitable[None]]] = {
            "kill at a point": self._kill_at_a_point,
            "kill at any moment": self._kill_at_any_moment,
            "kill both": self._kill_both,
            "freeze": self._freeze,
            "stop": self._stop,
            "hibernate": self._hibernate,
            "reset": self._reset,
            "hold": self._hold,
            "drop": self._drop,
            "refuse": self._refuse,
            CRASH: self._crash_postgresql,
        }
        began = time.monotonic()
        await actions[name]()
        self.report.done[name] += 1
        acted = time.monotonic()
        # Now and then there is peace for a while, so that load builds up before the next fault.
        await self._answered(f"after: {name}", times=self.rng.choice([1, 1, 1, 200]))
        if self.plan.trace:
            alive = "".join(host.name for host in self.hosts if host.alive)
            print(
                f"{began - self.began:7.2f} {name}: {acted - began:.2f} s, answered after {time.monotonic() - acted:.2f} s; alive: {alive}",
                file=sys.stderr,
            )

    async def _answered(self, what: str, times: int = 1) -> None:
        """Progress: somebody learns an outcome from now on."""
        enough = self.history.counts["answers"] + times
        await until(lambda: self.history.counts["answers"] >= enough, f"somebody was answered {what}", LIVENESS)

    async def _some_host(self) -> HostProcess:
        for task in list(self._starting.values()):
            if not any(host.alive for host in self.hosts):
                await task
        return self.rng.choice([host for host in self.hosts if host.alive])

    def start_again(self, host: HostProcess) -> None:
        async def start() -> None:
            await host.ended.wait()
            await host.start()

        earlier = self._starting.get(host.name)
        if earlier is None or earlier.done():
            self._starting[host.name] = asyncio.create_task(start())

    def killed(self, host: HostProcess) -> None:
        self.kills += 1
        self.start_again(host)

    def call_id(self) -> str:
        self._made += 1
        return f"storm-{self._made}"

    async def both_up(self) -> None:
        await asyncio.gather(*self._starting.values())

    async def _kill_at_a_point(self) -> None:
        point = self._points[self._next_point % len(self._points)]
        self._next_point += 1
        host = await self._some_host()
        try:
            await strike(self, point, host)
        except Gone:
            pass
        except TimeoutError:
            self.report.done["point not reached, killed all the same"] += 1
            if self.plan.trace:
                print(f"not reached: {point}", file=sys.stderr)
            await host.end()
        else:
            self.report.done["killed at a named point"] += 1
        self.killed(host)

    async def _kill_at_any_moment(self) -> None:
        host = await self._some_host()
        if self.rng.random() < 0.7:
            await self.both_up()
        await asyncio.sleep(self.rng.random() * 0.1)
        await host.end()
        self.killed(host)

    async def _kill_both(self) -> None:
        for host in self.hosts:
            if host.alive:
                await host.end()
                self.killed(host)

    async def _freeze(self) -> None:
        """For longer than a lease, now and then for less: others take over, or wait."""
        host = await self._some_host()
        host.freeze()
        await asyncio.sleep(self.plan.lease * self.rng.uniform(0.5, 3))
        host.thaw()

    async def _stop(self) -> None:
        """An orderly end: nobody has to wait for a lease."""
        host = await self._some_host()
        await self.both_up()
        await host.stop()
        self.start_again(host)

    async def _hibernate(self) -> None:
        host = await self._some_host()
        host.send("hibernate").add_done_callback(_forget)

    async def _reset(self) -> None:
        host = await self._some_host()
        assert host.proxy is not None
        await host.proxy.reset(self.rng.choice([everyone, writers]))

    async def _hold(self) -> None:
        host = await self._some_host()
        assert host.proxy is not None
        await host.proxy.set(self.rng.choice(list(Direction)), Flow.HOLD, self.rng.choice([everyone, writers]))
        await asyncio.sleep(self.plan.lease * self.rng.uniform(0.1, 2))
        if self.rng.random() < 0.5:
            await host.proxy.reset()
        await host.proxy.heal()

    async def _drop(self) -> None:
        """A black hole; at its end the network says that the connections are gone."""
        host = await self._some_host()
        assert host.proxy is not None
        await host.proxy.set(self.rng.choice(list(Direction)), Flow.DROP)
        await asyncio.sleep(self.plan.lease * self.rng.uniform(0.5, 2))
        await host.proxy.heal()

    async def _refuse(self) -> None:
        host = await self._some_host()
        assert host.proxy is not None
        host.proxy.refusing = True
        await host.proxy.reset()
        await asyncio.sleep(self.plan.lease * self.rng.uniform(0.2, 2))
        await host.proxy.heal()

    async def _crash_postgresql(self) -> None:
        assert isinstance(self.database, PostgresDatabase)
        server = self.database.server
        await asyncio.to_thread(server.crash)
        await asyncio.sleep(self.rng.random() * 0.3)
        await asyncio.to_thread(server.start_again)

    # -------------------------------------------------------------------------------------------- the end

    async def _quiesce(self) -> None:
        await self.both_up()
        for host in self.hosts:
            if host.alive:
                await host.ask("disarm")
            if host.proxy is not None:
                await host.proxy.heal()
        await self.both_up()
        await self._answered("when all faults had ceased")

    async def _check_states(self) -> None:
        """What a host believes of the newest objects, against replay."""
        host = next(host for host in self.hosts if host.alive)
        keys = [key for (key,) in self.database.ask("SELECT key FROM jido_object ORDER BY id DESC LIMIT 40")]
        states = {key: await host.ask("peek", key=key) for key in keys}
        self.report.judge(checks.check_states(self.database, states))

    def _judge(self) -> None:
        report, history = self.report, self.history
        report.judge(checks.check_all(self.database, history, checked=report.checked))
        for text in history.odd[:20]:
            report.violate("P1", f"an error that no fault explains: {text}")
        report.counts = history.counts
        if self.plan.trace:
            key, call_id = history.slowest_call
            for one in history.operations:
                if one.object == key and one.id == call_id:
                    ended = f"{one.completed - self.began:.2f}" if one.completed else "?"
                    text = f"{one.method} of {key} at {one.where}: {one.invoked - self.began:.2f} to {ended} {one.outcome.value}"
                    print(f"slowest: {text}", file=sys.stderr)
        report.done["kills"] = self.kills
        for host in self.hosts:
            report.points += host.struck
        report.worst("a call until its outcome was known", history.slowest)
        report.worst("without any answer", history.longest_silence)


async def strike(storm: Storm, point: str, host: HostProcess) -> None:
    """Kill the host at that point, and make it come by there. Raises ``TimeoutError``."""
    kind = point.partition(":")[0]
    other = next(other for other in storm.hosts if other is not host)
    count = storm.rng.choice([1, 1, 2, 5]) if kind in ("append", "renew") else 1
    if kind == "term":
        # A host begins its term when it is first called.
        await storm.both_up()
        await host.end()
        storm.start_again(host)
        await storm.both_up()
    heir = f"heir-{storm.kills}"
    if kind in ("bury", "claim"):
        await storm.both_up()
        await storm.history.attempt(other, heir, "put", [1], storm.call_id()).wait(5.0)
    await host.arm(point, "kill", count)
    if kind == "transaction":
        storm.history.attempt(host, heir, "put", [1], storm.call_id())
        storm.history.attempt(host, heir, "order", [2], storm.call_id())
    if kind in ("bury", "claim"):
        await other.end()
        storm.killed(other)
        storm.history.attempt(host, heir, "put", [2], storm.call_id())
    if kind == "settle":
        assert host.proxy is not None
        await host.proxy.set(Direction.UP, Flow.HOLD, writers)
        await host.proxy.wait_held(Direction.UP)
        await host.proxy.reset(writers)
        await host.proxy.heal()
    limit = time.monotonic() + 1.5
    while not host.ended.is_set():
        if time.monotonic() > limit:
            raise TimeoutError(point)
        if kind in ("load", "find", "snapshot"):
            host.send("hibernate").add_done_callback(_forget)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(host.ended.wait(), 0.1)


def _forget(future: asyncio.Future[Reply]) -> None:
    if not future.cancelled():
        future.exception()
