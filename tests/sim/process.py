"""One simulated process: a host on its loop, its lease keeper on another thread, and the door through which callers come in.

The door does what the router and the web framework of a real process do: it gives a call its deadline on the process's own
clock, withdraws it when its time is up, and soon after answers that nothing is known.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextvars import Context
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jido_objects.definition import Definition
from jido_objects.errors import CallTimeout, HostStopped, JidoError, ObjectException, StoreError
from jido_objects.host import Host, HostSettings
from jido_objects.lease import Keeper, Lease
from jido_objects.stores.memory import MemoryStore
from jido_objects.stores.protocol import TermEnded, TermInfo
from jido_objects.turns import Call

from .database import OrderedSet
from .faults import LEASE, Wire
from .loop import PROCESS, VirtualClock
from .objects import LedgerModel
from .witness import Operation, Outcome

if TYPE_CHECKING:
    from .simulation import Simulation

GRACE = 0.25
STALL_SECONDS = 1.5


def _settings(simulation: Simulation) -> HostSettings:
    profile = simulation.profile
    settings = HostSettings(lease_seconds=LEASE, stall_seconds=STALL_SECONDS, max_activations=profile.max_activations or 1000)
    if profile.retention is None:
        return settings
    return replace(settings, retention=profile.retention, retention_rows=24, retention_least=profile.retention / 2)


class Request:
    """An attempt on its way: what it asks, and where its answer goes."""

    def __init__(self, operation: Operation, lookup: bool, confirmed: bool, timeout: float) -> None:
        self.operation = operation
        self.lookup = lookup
        self.confirmed = confirmed
        self.timeout = timeout
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.error: BaseException | None = None
        self.told = False
        """Something has left for the caller, who waits no longer."""


class DoorReply:
    """Takes the host's answer to one call. Exactly one must come."""

    def __init__(self, process: SimProcess, request: Request) -> None:
        self.process = process
        self.request = request
        self.answers = 0

    def set_result(self, result: Any) -> None:
        self._answer(result, None)

    def set_exception(self, error: BaseException) -> None:
        self._answer(None, error)

    def _answer(self, result: Any, error: BaseException | None) -> None:
        self.answers += 1
        self.process.outstanding.discard(self)
        self.process.answer(self.request, result, error)


class SimProcess:
    """See the module."""

    def __init__(self, simulation: Simulation, slot: int, pid: int, clock: VirtualClock) -> None:
        self.simulation = simulation
        self.slot = slot
        self.pid = pid
        self.clock = clock
        self.name = f"p{pid}"
        self.dead = self.started = self.leaving = self.stopped = False
        self.doubtful_until = -1.0
        """Virtual time until which unconfirmed answers may be old: its machine was suspended."""
        self.outstanding: OrderedSet = OrderedSet()
        self.replies: list[DoorReply] = []
        self.early: list[Request] = []
        self.main, self.side = f"{self.name}/host", f"{self.name}/keeper"
        self.context, self.side_context = Context(), Context()
        self.context.run(PROCESS.set, self.main)
        self.side_context.run(PROCESS.set, self.side)
        # The host's and the keeper's.
        self.wires = (Wire(simulation, self), Wire(simulation, self))
        self._asked_at: float | None = None
        database = simulation.database
        self.store = MemoryStore(database, faults=self.wires[0], name=self.main)
        self.host = Host(
            self.store,
            clock,
            _settings(simulation),
            info=TermInfo(pid=pid, hostname=self.name),
            proven_dead=simulation.proven_dead,
        )
        self.host._context.run(PROCESS.set, self.main)
        self.host._tasks = OrderedSet()  # type: ignore[assignment]
        self._watch_tasks()
        self.keeper = Keeper(
            MemoryStore(database, faults=self.wires[1], name=self.side),
            clock,
            lambda: self.host.lease,
            stuck=self._stuck,
            renewed=lambda lease: self.soon(self.host.renewed),
            lost=lambda lease: self.soon(lambda: self.host.term_lost(lease)),
        )

    def _watch_tasks(self) -> None:
        """A task of the host that ends with an error nobody expects is a finding."""
        spawn = self.host.spawn

        def watched(coroutine: Any) -> asyncio.Task[Any]:
            task = spawn(coroutine)
            task.add_done_callback(self._task_done)
            return task

        self.host.spawn = watched  # type: ignore[method-assign]

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, StoreError | TermEnded):
            self.simulation.violate("crash", self.name, f"a task of the host ended with {type(error).__name__}: {error}")

    # ---------------------------------------------------------------- life

    def start(self) -> None:
        loop = self.simulation.loop
        loop.create_task(self._start(), context=self.context.copy())
        self.keeping = loop.create_task(self.keeper.run(), context=self.side_context.copy())

    async def _start(self) -> None:
        while True:
            try:
                await self.host.start()
                break
            except StoreError:
                await asyncio.sleep(0.1)
        self.started = True
        early, self.early = self.early, []
        for request in early:
            self.accept(request)

    async def stop(self) -> None:
        """Drain: the heartbeat is the last thing to stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.host.stop(grace=2.0), 6.0)
            self.stopped = True
        self.keeping.cancel()

    def soon(self, callback: Callable[[], object]) -> None:
        """Run something on the host's loop, from anywhere: when the process is stopped, later."""
        self.simulation.loop.call_soon(callback, context=self.context)

    @property
    def term(self) -> Any:
        lease: Lease | None = self.host.lease
        return lease.term if lease is not None else None

    def _stuck(self) -> bool:
        # As jido_objects.process does it: the loop is asked for a sign of life.
        now = self.clock.monotonic()
        if self._asked_at is None:
            self._asked_at = now
            self.soon(self._answered)
            return False
        return now - self._asked_at > STALL_SECONDS

    def _answered(self) -> None:
        self._asked_at = None

    # ---------------------------------------------------------------- the door

    def accept(self, request: Request) -> None:
        """A call comes in. Runs in this process."""
        if not self.started:
            self.early.append(request)
            return
        operation = request.operation
        definition = Definition.of("sim.Ledger")
        if operation.method == "peek":
            self.host.spawn(self._peek(request, definition))
            return
        method = definition.method(operation.method)
        args, kwargs = method.bind(tuple(operation.args), {})
        encoded = method.encode_arguments(args, kwargs)
        reply = DoorReply(self, request)
        call = Call(
            (definition.label, operation.object), method, args, kwargs, encoded, method.digest(encoded), operation.id,
            self.clock.monotonic() + request.timeout, reply,
        )  # fmt: skip
        call.own_id = operation.own_id and method.recorded
        call.lookup = request.lookup and method.recorded
        call.confirmed = request.confirmed
        self.outstanding.add(reply)
        self.replies.append(reply)
        asyncio.get_running_loop().call_later(request.timeout, self._expire, request, call)
        self.host.dispatch(call)

    async def _peek(self, request: Request, definition: Definition) -> None:
        try:
            async with asyncio.timeout(request.timeout):
                state = await self.host.read(definition, (definition.label, request.operation.object))
        except (StoreError, TimeoutError) as error:
            self.answer(request, None, error if isinstance(error, StoreError) else CallTimeout("peek", request.timeout, ""))
        else:
            self.answer(request, [None, *((state or LedgerModel().initial()).values())], None)

    def _expire(self, request: Request, call: Call) -> None:
        if request.told:
            return
        self.host.withdraw(call)
        if not request.told:
            asyncio.get_running_loop().call_later(GRACE, self._give_up, request, call)

    def _give_up(self, request: Request, call: Call) -> None:
        if not request.told:
            self.answer(request, None, CallTimeout(str(call), request.timeout, call.call_id, call_id=call.call_id))

    def answer(self, request: Request, result: Any, error: BaseException | None) -> None:
        """Something is known of a call: tell its caller, if it is the first news."""
        operation = request.operation
        simulation = self.simulation
        simulation.answered[type(error).__name__ if error is not None else "ok"] += 1
        outcome, saw, payload = Outcome.OK, None, None
        if error is None:
            saw, payload = result[0], list(result[1:])
        elif isinstance(error, ObjectException):
            outcome, saw, payload = Outcome.REFUSED, error.args[0], list(error.args[1:])
        elif isinstance(error, JidoError):
            outcome = Outcome.UNKNOWN if error.applied is None else Outcome.NOT_APPLIED
        else:
            simulation.violate("crash", operation.object, f"{operation.method} [{operation.id}] was answered with {error!r}")
        stale_allowed = not request.confirmed and simulation.loop.elapsed < self.doubtful_until
        if request.told:
            if outcome in (Outcome.OK, Outcome.REFUSED):
                simulation.late_answer(operation, outcome, saw, payload, stale_allowed, self.name)
            return
        request.told = True
        simulation.deliver(request, outcome, saw, payload, error, stale_allowed, self.name)

    def refuse_early(self) -> None:
        for request in self.early:
            self.answer(request, None, HostStopped("the call"))
        self.early = []
