"""Scripted episodes: one fault each, at an exact place, with everybody listening.

*Pauses* (P4): the owner freezes before, during or after a statement while another process takes its objects over and writes.
*Commits held* (P5): nobody may see anything of a turn while its commit is held, and nothing after it failed. *Failovers* (P7):
how long until another process answers; *silences*, the same where only a lease tells.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from contextlib import AsyncExitStack
from typing import Any

from jido_objects.limits import LEASE_SECONDS

from . import checks
from .clients import Attempt, History
from .databases import Database, PostgresDatabase, SqliteDatabase, until
from .hosts import HostProcess
from .model import cast_id
from .proxy import Direction, Flow, writers
from .report import Report


class Episodes:
    """Two hosts or more, one history, one report."""

    title = "episodes"
    names: tuple[str, ...] = ("a", "b")

    def __init__(self, database: Database, seed: int, *, lease: float = 0.6, mutant: str | None = None) -> None:
        self.database = database
        self.lease = lease
        self.rng = random.Random(seed)
        self.history = History()
        self.report = Report(self.title, database.vendor, seed)
        self.hosts = [HostProcess(name, database, lease, mutant) for name in self.names]
        self.a, self.b = self.hosts[:2]
        self._made = 0

    async def run(self, count: int) -> Report:
        started = time.monotonic()
        try:
            await asyncio.gather(*(host.start() for host in self.hosts))
            await self.prepare()
            for number in range(count):
                await self.episode(number)
                if len(self.report.violations) > 20 or self.enough():
                    break
            await self.finish()
            self.report.judge(checks.check_all(self.database, self.history, checked=self.report.checked))
            for text in self.history.odd[:20]:
                self.report.violate("P1", f"an error that no fault explains: {text}")
        except TimeoutError as error:
            logs = "".join(f"\n--- the log of {host.name} ends with\n{host.log_text(2500)}" for host in self.hosts)
            self.report.violate("P7", f"no progress: {error}{logs}")
        finally:
            for host in self.hosts:
                await host.close()
        self.report.counts = self.history.counts
        for host in self.hosts:
            self.report.points += host.struck
        self.report.elapsed = time.monotonic() - started
        return self.report

    def enough(self) -> bool:
        """Whether to end before the last episode."""
        return False

    async def prepare(self) -> None:
        """Before the first episode."""

    async def episode(self, number: int) -> None:
        raise NotImplementedError

    async def finish(self) -> None:
        """After the last one, before the checks."""

    def call_id(self) -> str:
        self._made += 1
        return f"e{self._made}"

    def put(self, host: HostProcess, key: str, *, call_id: str | None = None, tag: int = 7, timeout: float = 5.0) -> Attempt:
        return self.history.attempt(host, key, "put", [tag], call_id or self.call_id(), timeout)

    def look(self, host: HostProcess, key: str, *, timeout: float = 5.0) -> Attempt:
        return self.history.attempt(host, key, "look", [], None, timeout)

    async def insist(
        self, host: HostProcess, key: str, method: str, args: list[Any], call_id: str | None, seconds: float = 20.0
    ) -> Attempt:
        """Send to this host until it answers with an outcome. Raises ``TimeoutError``."""
        limit = time.monotonic() + seconds
        while True:
            attempt = self.history.attempt(host, key, method, args, call_id)
            if await attempt.wait(2.0):
                return attempt
            if time.monotonic() > limit or not attempt.retryable:
                raise TimeoutError(f"{method} of {key} at {host.name}: {attempt.error} for {seconds} s")
            await asyncio.sleep(0.01)


# ---------------------------------------------------------------- P4


PAUSES = ("before", "flight", "after", "held in the network", "waiting in the server")


class Pauses(Episodes):
    """The owner stands still for 1.5 to 3 leases at a named place of an append, while the other host takes over."""

    title = "pauses"

    async def prepare(self) -> None:
        # A host that is younger than a lease does not bury others for their silence.
        await asyncio.gather(
            self.insist(self.a, "warm-a", "put", [1], self.call_id()), self.insist(self.b, "warm-b", "put", [1], self.call_id())
        )
        await asyncio.sleep(self.lease)

    def caught(self) -> bool:
        """Whether P4 has been broken: by a row that came late, or an answer that was old. What is still open counts for nothing."""
        return bool(self.report.violations) or any(one.kind == "stale" for one in checks.check_all(self.database, self.history))

    async def episode(self, number: int) -> None:
        if not self.database.leases:
            await self._pause_behind_a_lock(number)
            return
        where = PAUSES[number % len(PAUSES)]
        owner, other = (self.a, self.b) if self.rng.random() < 0.5 else (self.b, self.a)
        key, idle = f"pause-{number}", f"idle-{number}"
        for name in (key, key, idle):
            await self.insist(owner, name, "put", [number], self.call_id())
        first = self.call_id()
        async with AsyncExitStack() as ending:
            await self._freeze_at(where, owner, key, first, ending)
            frozen_at = time.monotonic()
            pause = self.lease * self.rng.uniform(1.5, 3)
            queued = [self.look(owner, key), self.put(owner, key)]
            # In the server the other host's rows would wait as well.
            reads_only = where == "waiting in the server" or self.rng.random() < 0.5
            take_over = ("look", None) if reads_only else ("put", self.call_id())
            await self.insist(other, key, take_over[0], [] if reads_only else [number], take_over[1])
            self.report.worst("another host answers after a freeze", time.monotonic() - frozen_at)
            if time.monotonic() - frozen_at > self.lease + 2:
                self.report.violate(
                    "P7", f"{where}: the take-over needed {time.monotonic() - frozen_at:.2f} s, the lease is {self.lease} s"
                )
            _, epoch, head = self.database.head(key)
            if not reads_only:
                await self.insist(other, key, "put", [number], self.call_id())
                await self.insist(other, idle, "put", [number], self.call_id())
            # Asked of the old owner after the new one has answered: whoever answers this from old memory is caught.
            late = [self.look(owner, name) for name in (idle, key, f"warm-{owner.name}")]
            await asyncio.sleep(max(0.0, frozen_at + pause - time.monotonic()))
            owner.thaw()
        await asyncio.gather(*(attempt.wait(10.0) for attempt in queued + late))
        await self.insist(other, key, "put", [7], first)
        await self.insist(owner, f"warm-{owner.name}", "put", [number], self.call_id())
        await self._no_row_after(key, epoch, head)
        self.report.done[where] += 1
        self.report.done["pauses"] += 1

    async def _freeze_at(self, where: str, owner: HostProcess, key: str, call_id: str, ending: AsyncExitStack) -> None:
        if where == "held in the network":
            assert owner.proxy is not None
            await owner.proxy.set(Direction.UP, Flow.HOLD, writers)
            ending.push_async_callback(owner.proxy.heal)
            self.put(owner, key, call_id=call_id)
            await owner.proxy.wait_held(Direction.UP)
            owner.freeze()
            if self.rng.random() < 0.5:
                # The owner's end of the connection is gone, and what was sent is still on its way.
                for connection in list(owner.proxy.connections):
                    if connection.writes:
                        connection.client.transport.abort()
        elif where == "waiting in the server":
            assert isinstance(self.database, PostgresDatabase)
            object_id, _, head = self.database.head(key)
            ending.enter_context(self.database.row_taken(object_id, head + 1))
            self.put(owner, key, call_id=call_id)
            await until(self.database.appends_waiting, "the append waits in the server")
            owner.freeze()
        else:
            await owner.arm(f"append:{where}", "freeze")
            self.put(owner, key, call_id=call_id)
            await owner.reached()
        await owner.stopped()

    async def _pause_behind_a_lock(self, number: int) -> None:
        """SQLite: a process that stands still keeps its objects; nobody else gets them, and nothing of it is lost."""
        where = ("before", "flight", "after")[number % 3]
        owner, other = (self.a, self.b) if self.rng.random() < 0.5 else (self.b, self.a)
        key = f"pause-{number}"
        await self.insist(owner, key, "put", [number], self.call_id())
        first = self.call_id()
        await owner.arm(f"append:{where}", "freeze")
        self.put(owner, key, call_id=first)
        await owner.reached()
        await owner.stopped()
        frozen_at = time.monotonic()
        tries = 0
        while time.monotonic() < frozen_at + self.lease * 1.5:
            tries += 1
            attempt = self.put(other, key, call_id=first)
            if await attempt.wait(3.0):
                self.report.violate("P4", f"{where}: another process answered for an object whose owner's lock is held")
            await asyncio.sleep(0.02)
        owner.thaw()
        await self.insist(owner, key, "put", [7], first)
        await self.insist(owner, key, "look", [], None)
        self.report.done[where] += 1
        self.report.done["pauses"] += 1
        self.report.done["refused take-overs"] += tries

    async def _no_row_after(self, key: str, epoch: int, head: int) -> None:
        strangers = self.database.ask(
            """SELECT j.seq, j.epoch FROM jido_journal j JOIN jido_object o ON o.id = j.object_id
            WHERE o.key = ? AND j.seq > ? AND j.epoch < ?""",
            [key, head, epoch],
        )
        for seq, old in strangers:
            self.report.violate("P4", f"{key}: row {seq} of epoch {old} came after the take-over with epoch {epoch} at {head}")


# ---------------------------------------------------------------- P5


class HeldCommits(Episodes):
    """A commit is held; the caller, a reader behind it, the target of its cast and the database are listened to."""

    title = "held commits"
    ENDINGS = ("released", "reset before it arrived", "reset after it was done", "never let through")

    async def prepare(self) -> None:
        self._pairs = [(f"s{n}", f"t{n}") for n in range(8)]
        for source, target in self._pairs:
            await self.insist(self.a, source, "put", [1], self.call_id())
            await self.insist(self.a, target, "put", [1], self.call_id())

    async def episode(self, number: int) -> None:
        if isinstance(self.database, SqliteDatabase):
            await self._behind_a_lock(number, self.database)
            return
        assert self.a.proxy is not None
        proxy = self.a.proxy
        ending = self.rng.choices(self.ENDINGS, [5, 3, 2, 0.5])[0]
        direction = Direction.DOWN if ending == "reset after it was done" else Direction.UP
        source, target = self._pairs[number % len(self._pairs)]
        life = await self._ready(source, target)
        await self.a.arm("append:flight", "tell")
        await proxy.set(direction, Flow.HOLD, writers)
        timeout = 0.2 if ending == "never let through" else 5.0
        waiting = self._tell(source, target, timeout)
        await self.a.reached()
        await proxy.wait_held(direction)
        waiting += self._follow(source, timeout)
        await self._listen(source, target, waiting, ending, committed=direction is Direction.DOWN)
        if ending == "released":
            await proxy.heal()
        elif ending == "never let through":
            proxy.refusing = True
            await proxy.reset()
            await asyncio.gather(*(attempt.wait(5.0) for attempt in waiting))
            if any(attempt.known for attempt in waiting):
                self.report.violate("P5", f"{ending}: an answer of a turn whose commit failed")
            if self.database.landed(waiting[0].operation.id):
                self.report.violate("P5", f"{ending}: a row of a turn whose commit failed")
            await proxy.heal()
        else:
            await proxy.reset(writers)
            await proxy.heal()
        await self._settle(source, waiting, life, ending)

    async def _ready(self, source: str, target: str) -> str:
        """Both are awake, nothing is left to write, and the lane knows the statement; returns the source's life."""
        await self.a.ask("quiet")  # so that the next row travels alone, by the statement that will be held
        await self.insist(self.a, source, "put", [1], self.call_id())
        life, _ = await self._life(source), await self._life(target)
        await self.a.ask("quiet")
        return life

    def _tell(self, source: str, target: str, timeout: float) -> list[Attempt]:
        """A turn with a cast."""
        call_id = self.call_id()
        tell = self.history.attempt(self.a, source, "tell", [3, target], call_id, timeout)
        self.history.cast(target, cast_id(call_id, source, target), source, tell.operation.invoked)
        return [tell]

    def _follow(self, source: str, timeout: float) -> list[Attempt]:
        """A turn that is pipelined behind it, and a read of what they did."""
        return [self.put(self.a, source, timeout=timeout), self.look(self.a, source, timeout=timeout)]

    async def _listen(self, source: str, target: str, waiting: list[Attempt], how: str, *, committed: bool) -> None:
        """Everything that could be seen early would have come before the answer to the ping."""
        behind = self.look(self.a, target)
        await self.a.ask("ping")
        for attempt in waiting:
            if attempt.known:
                self.report.violate(
                    "P5", f"{how}: {attempt.operation.method} was answered with {attempt.operation.result} before its commit"
                )
        if not behind.known:
            self.report.violate("P5", f"{how}: a read of the cast's target waits: the cast has left before its commit")
        if not committed and self.database.landed(waiting[0].operation.id):
            self.report.violate("P5", f"{how}: the row is visible")
        if self.database.landed(cast_id(waiting[0].operation.id, source, target)):
            self.report.violate("P5", f"{how}: the cast's row is visible")
        self.report.done["tries"] += 1
        self.report.done[how] += 1

    async def _settle(self, source: str, waiting: list[Attempt], life: str, ending: str) -> None:
        """What became of it: every call is applied once, on an activation that was not there before if the commit failed."""
        await asyncio.gather(*(attempt.wait(10.0) for attempt in waiting))
        for attempt in waiting:
            one = attempt.operation
            if not attempt.known:
                await self.insist(self.a, source, one.method, one.args, one.id if one.method != "look" else None)
        after = await self._life(source)
        if (after == life) is not (ending == "released"):
            self.report.violate("P5", f"{ending}: the activation {'has survived its failed commit' if after == life else 'is gone'}")

    async def _life(self, key: str) -> str:
        limit = time.monotonic() + 20
        while True:
            reply = await asyncio.wait_for(self.a.call(key, "alive", []), 10)
            if "ok" in reply:
                return str(reply["ok"][1])
            if time.monotonic() > limit:
                raise TimeoutError(f"{key} does not answer: {reply}")
            await asyncio.sleep(0.01)

    async def _behind_a_lock(self, number: int, database: SqliteDatabase) -> None:
        """SQLite: another process holds the file, for a moment or longer than a host waits; or the host dies while it waits."""
        ending = self.rng.choices(["released", "never let through", "killed"], [20, 2, 1])[0]
        source, target = self._pairs[number % len(self._pairs)]
        life = await self._ready(source, target)
        await self.a.arm("append:before", "tell")
        timeout = 0.3 if ending == "never let through" else 5.0
        with database.locked():
            waiting = self._tell(source, target, timeout)
            await self.a.reached()
            waiting += self._follow(source, timeout)
            await self._listen(source, target, waiting, ending, committed=False)
            if ending == "killed":
                await self.a.end()
            elif ending == "never let through":
                # Longer than the host waits for the file: it must give the batch up.
                await asyncio.gather(*(attempt.wait(5.0) for attempt in waiting))
                if any(attempt.known for attempt in waiting):
                    self.report.violate("P5", f"{ending}: an answer of a turn whose commit failed")
                await asyncio.sleep(database.busy_seconds)
        if ending == "killed":
            if database.landed(waiting[0].operation.id):
                self.report.violate("P5", f"{ending}: a row of a turn that was never committed")
            await self.a.start()
        await self._settle(source, waiting, life, ending)


# ---------------------------------------------------------------- P7


class Failovers(Episodes):
    """``kill -9`` the owner of a hot key: how long until another process of this machine answers."""

    title = "failovers"
    # A third, which starts again while the other two fail over.
    names = ("a", "b", "c")
    EVENT = "another process answers after kill -9"

    def __init__(self, database: Database, seed: int, *, lease: float = LEASE_SECONDS, mutant: str | None = None) -> None:
        # The default lease, which is longer than the limit: who waits for it is too late.
        super().__init__(database, seed, lease=lease, mutant=mutant)

    async def prepare(self) -> None:
        await asyncio.gather(*(self._warm(host) for host in self.hosts))
        self.times: list[float] = []
        self._starting: dict[HostProcess, asyncio.Task[None]] = {}

    @property
    def limit(self) -> float:
        """Seconds that the p99 may take."""
        return 1.5

    async def _warm(self, host: HostProcess) -> None:
        await self.insist(host, f"warm-{host.name}-{host.starts}", "put", [1], self.call_id())

    async def _start_again(self, host: HostProcess) -> None:
        await host.ended.wait()
        await host.start()
        await self._warm(host)

    async def episode(self, number: int) -> None:
        owner, other = (self.hosts[(number + place) % len(self.hosts)] for place in (0, 1))
        for host in (owner, other):
            if host in self._starting:
                await self._starting.pop(host)
        key = f"hot-{number}"
        await self.insist(owner, key, "put", [number], self.call_id())
        streaming = [self.put(owner, key) for _ in range(20)]
        await streaming[0].wait(5)
        began = time.monotonic()
        await self.strike(number, owner)
        await self.insist(other, key, "put", [number], self.call_id())
        self.times.append(time.monotonic() - began)
        self.report.worst(self.EVENT, self.times[-1])
        await self.recover(number, owner)
        for attempt in streaming:
            await self.insist(other, key, "put", [7], attempt.operation.id)

    async def strike(self, number: int, owner: HostProcess) -> None:
        owner.kill()
        self.report.done["kills"] += 1

    async def recover(self, number: int, owner: HostProcess) -> None:
        self._starting[owner] = asyncio.create_task(self._start_again(owner))

    async def finish(self) -> None:
        await asyncio.gather(*self._starting.values())
        ordered = sorted(self.times)
        p99 = ordered[math.ceil(len(ordered) * 0.99) - 1]
        self.report.seconds |= {"median": ordered[len(ordered) // 2], "p99": p99}
        if p99 > self.limit:
            self.report.violate("P7", f"{self.EVENT} after {p99:.2f} s (p99); the limit is {self.limit} s")


class Silences(Failovers):
    """The owner of a hot key is gone, and only its lease tells: it was killed on another machine, or its database does not
    hear it any more."""

    title = "silences"
    EVENT = "another process answers"

    def __init__(self, database: Database, seed: int, *, lease: float = 0.6, mutant: str | None = None) -> None:
        super().__init__(database, seed, lease=lease, mutant=mutant or "strangers")

    @property
    def limit(self) -> float:
        return self.lease + 2

    async def _warm(self, host: HostProcess) -> None:
        await super()._warm(host)
        # A host that is younger than a lease does not bury others for their silence.
        await asyncio.sleep(self.lease)

    async def strike(self, number: int, owner: HostProcess) -> None:
        if number % 2:
            assert owner.proxy is not None
            for direction in Direction:
                await owner.proxy.set(direction, Flow.DROP)
            self.report.done["cut off from the database"] += 1
        else:
            owner.kill()
            self.report.done["killed"] += 1
        self.report.done["deaths"] += 1

    async def recover(self, number: int, owner: HostProcess) -> None:
        if number % 2:
            assert owner.proxy is not None
            await owner.proxy.heal()
        else:
            await super().recover(number, owner)


EPISODES: dict[str, type[Episodes]] = {"pauses": Pauses, "held": HeldCommits, "failovers": Failovers, "silences": Silences}
