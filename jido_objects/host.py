"""The host: the objects that one process has in memory, and the term in whose name it writes.

Everything here runs on one event loop and knows neither threads nor Django, so that a simulation can drive several hosts
on one virtual clock. A call comes in by ``dispatch``; its object's activation is found, or thawed: look up the row, bury
the owner if it is dead, claim, and read snapshot and tail in a later statement.

A host whose term was buried drops everything, takes a new term and goes on; calls that were not applied are run again,
calls whose outcome is unknown are looked up in the journal first.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID, uuid4

from . import chains, events, limits, watching
from .activation import Activation, Status
from .answers import Answer
from .batching import Batcher
from .clock import Clock
from .definition import Definition
from .errors import (
    CorruptObject,
    HostStopped,
    JidoError,
    OutcomeUnknown,
    OwnershipLost,
    StoreError,
    StoreUnavailable,
    UnreadableResult,
    text_of,
)
from .inbox import Inbox, put_back
from .lease import Lease
from .logs import about
from .pipeline import Pipeline
from .policy import POLICIES, Policy
from .rebuilding import rebuild
from .remembering import expired
from .state import State
from .stores.protocol import Forgotten, Found, Loaded, Recorded, Store, TermEnded, TermInfo
from .thawing import Thawing
from .transacting import Transactions
from .trimming import Trimmer
from .turns import Call, Name, describe, own, start_over

logger = logging.getLogger("jido_objects.host")

K = TypeVar("K")
V = TypeVar("V")

BURIAL_SECONDS = 30.0
"""How often the terms of dead hosts are looked for, and how long past its lease one counts as dead without proof."""
REDO_LIMIT = 12
"""How often a call is run again after its activation was lost."""


@dataclass(frozen=True, slots=True)
class HostSettings:
    """What a host must be told. Seconds and counts."""

    lease_seconds: float = limits.LEASE_SECONDS
    stall_seconds: float = limits.STALL_SECONDS
    max_activations: int = limits.ACTIVATIONS
    retention: float = limits.RETENTION
    call_id_seconds: float = limits.CALL_ID_SECONDS
    retention_rows: int = limits.RETENTION_ROWS
    retention_bytes: int = limits.RETENTION_BYTES
    retention_least: float = limits.RETENTION_LEAST
    may_host: bool = True
    paused: bool = False
    adopt: bool = True
    """Whether due messages of objects that nobody has in memory are delivered, or only those of its own."""
    zone: str = "UTC"
    """Where cron expressions are read that name no time zone."""


def _no_scope() -> AbstractAsyncContextManager[Any]:
    return contextlib.nullcontext()


def _nothing() -> None:
    pass


def _at_once(action: Callable[[], object]) -> None:
    action()


def _nothing_proven(info: TermInfo) -> bool:
    return False


class Host:
    """See the module."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: HostSettings | None = None,
        *,
        info: TermInfo | None = None,
        proven_dead: Callable[[TermInfo], bool] = _nothing_proven,
        turn_scope: Callable[[], AbstractAsyncContextManager[Any]] = _no_scope,
        held_stack: Callable[[], str] = str,
        answered: Callable[[], None] = _nothing,
        transactions: Transactions | None = None,
        after_commit: Callable[[Callable[[], object]], None] = _at_once,
    ) -> None:
        self.store = store
        self.clock = clock
        self.settings = settings or HostSettings()
        self.info = info or TermInfo()
        self.turn_scope = turn_scope
        self.transactions = transactions
        """Where ``@transactional`` turns run; ``None`` where the store shares no transactions."""
        self.after_commit = after_commit
        """Runs what a turn gave to ``on_commit``, elsewhere if it can."""
        self.lease: Lease | None = None
        self.pipeline: Pipeline = None  # type: ignore[assignment]  # there is one before the first activation lives
        self.activations: dict[Name, Activation] = {}
        """In order of last use, the least recent first."""
        self.answered = answered
        """Called at the end of a burst of answers."""
        self._closing: dict[Activation, None] = {}
        """Activations that have left memory while rows of theirs were in flight."""
        self.holding: tuple[float, Call] | None = None
        """The synchronous turn that runs now and when it began; read by the watchdog's thread."""
        self.stopping = False
        self.proven_dead = proven_dead
        self._held_stack = held_stack
        self._context = contextvars.Context()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.trust_returned = asyncio.Event()
        self._starting: asyncio.Task[None] | None = None
        self.started_at = 0.0
        self.finding: Batcher[Name, Found | None] = Batcher(store.find, self.spawn)
        self.loading: Batcher[int, Loaded] = Batcher(store.load, self.spawn, most=32)
        self.thawing = Thawing(self)
        self.recalling: Batcher[tuple[int, str], Recorded | Forgotten | None] = Batcher(store.recall, self.spawn)
        self.trimmer = Trimmer(self)
        self.inbox = Inbox(self)
        self._confirming: Batcher[UUID, bool] = Batcher(store.alive, self.spawn)

    # -------------------------------------------------------------------------------------------- a term's life

    async def start(self) -> None:
        """Open the store. Raises what is wrong with it. A term is taken when the first object is needed."""
        await self.store.open()
        self.started_at = self.clock.monotonic()
        self.spawn(self._sweep())
        self.spawn(self._bury_the_dead())
        self.spawn(self.trimmer.run())
        if self.settings.may_host and not self.settings.paused:
            self.spawn(self.inbox.run())
        if events.listening:
            events.emit(events.HostStarted(self.store.name))

    async def term(self) -> Lease:
        """The current term's lease; takes a term if there is none. Raises ``StoreError``."""
        while self.lease is None:
            if self._starting is None or self._starting.done():
                self._starting = self.spawn(self._begin_term())
            await asyncio.shield(self._starting)
        return self.lease

    async def _begin_term(self) -> None:
        term = uuid4()
        lease = Lease(term, self.settings.lease_seconds, self.clock, runs_out=self.store.liveness_by_lease)
        attempted_at = self.clock.monotonic()
        await self.store.begin_term(term, self.info, lease.seconds)
        lease.confirm(attempted_at)
        try:
            writer = await self.store.writer(term)
        except BaseException:
            self.spawn(self._bury_unused(term))
            raise
        self.pipeline = Pipeline(self, self.store, writer)
        self.pipeline.start()
        self.lease = lease
        logger.info("Hosting objects as term %s", term, extra=about(term=term))
        if events.listening:
            events.emit(events.TermBegun(term))

    async def _bury_unused(self, term: UUID) -> None:
        with contextlib.suppress(StoreError, TermEnded):
            await self.store.bury(term, proven=True)

    async def _bury_the_dead(self) -> None:
        """Terms of hosts that are long gone, and own nothing that anybody asks for: nobody else would clear them away."""
        while True:
            await asyncio.sleep(BURIAL_SECONDS)
            with contextlib.suppress(StoreError, TermEnded):
                # Where an OS lock is a term's life, its lease says only whether that is held.
                grace = BURIAL_SECONDS if self.store.liveness_by_lease else 0.0
                for row in await self.store.terms():
                    proven = self.proven_dead(row.info)
                    if proven or row.lease_left < -grace:
                        with contextlib.suppress(StoreError):
                            await self.store.bury(row.id, proven=proven)

    def term_lost(self, which: Pipeline | Lease) -> None:
        """Others have buried this term: what was in memory is theirs now."""
        lease = self.lease
        if lease is None or self.stopping or (which is not lease and which is not self.pipeline):
            return
        logger.warning("Term %s was buried; this host drops its objects and takes a new term", lease.term, extra=about(term=lease.term))
        if events.listening:
            events.emit(events.TermLost(lease.term, len(self.activations)))
        self.lease = None
        # Who waits for this lease to be renewed waits in vain: a new term is trusted from its start.
        self.trust_returned.set()
        old = self.pipeline
        for activation in list(self.activations.values()):
            self.drop(activation, "its term has ended")
        self.spawn(old.finish())

    async def stop(self, grace: float = 5.0) -> None:
        """Finish what runs, write what is finished, bury the own term. Idempotent."""
        if self.stopping:
            return
        self.stopping = True
        began, drained = self.clock.monotonic(), False
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._drained(), grace)
            drained = True
        for activation in [*self.activations.values(), *self._closing]:
            if events.listening and activation.is_live():
                events.emit(events.ActivationLeft(*activation.name, "stopped", ""))
            for call in self.remove(activation):
                call.fail(HostStopped(str(call), call_id=call.call_id))
            for pending in activation.in_flight:
                call = pending.answer.call
                call.fail(OutcomeUnknown(str(call), "the host stopped", call_id=call.call_id))
            activation.in_flight = []
        lease, self.lease = self.lease, None
        if lease is not None:
            await self.pipeline.stop()
            try:
                await self.store.bury(lease.term, proven=True)
            except (StoreError, TermEnded) as error:
                logger.warning(
                    "Term %s was not buried at the end; its lease will run out: %s", lease.term, error, extra=about(term=lease.term)
                )
        for task in list(self._tasks):
            if task is not asyncio.current_task():
                task.cancel()
        await asyncio.gather(*(task for task in self._tasks if task is not asyncio.current_task()), return_exceptions=True)
        if self.transactions is not None:
            await self.transactions.close()
        await self.store.close()
        if events.listening:
            events.emit(events.HostEnded(drained, self.clock.monotonic() - began))

    @property
    def busy(self) -> bool:
        """Whether a call waits or runs, or its row is not committed."""
        return bool(self._closing) or any(not activation.idle for activation in self.activations.values())

    async def _drained(self) -> None:
        while self.busy:
            await asyncio.sleep(0.005)
        if self.lease is not None:
            for activation in self.activations.values():
                snapshot = activation.farewell_snapshot()
                if snapshot is not None:
                    self.pipeline.keep(snapshot)
            await self.pipeline.quiet()

    # -------------------------------------------------------------------------------------------- trust

    def trusted(self) -> bool:
        lease = self.lease
        return lease is not None and lease.trusted()

    def renewed(self) -> None:
        """The keeper has renewed the lease."""
        self.trust_returned.set()

    def distrust(self, activation: Activation, calls: list[Call]) -> None:
        """The trust window has closed: answer nothing from memory, forget what is there."""
        logger.warning(
            "The lease was not renewed in time; %d objects are dropped until it is",
            len(self.activations),
            extra=about(term=self.lease.term if self.lease is not None else None),
        )
        self.trust_returned.clear()
        # Their turns have ended, but they were not answered: run them again where the state can be believed.
        activation.mailbox.extendleft(reversed(calls))
        for other in list(self.activations.values()):
            self.drop(other, "the trust window has closed")

    def confirm(self, activation: Activation, answer: Answer) -> None:
        """Let a read out once the store has said that this term still lives."""

        async def ask() -> None:
            lease = self.lease
            alive = False
            if lease is not None:
                term = lease.term
                try:
                    alive = await self.ask(lambda: self._confirming.ask(term))
                except JidoError as error:
                    activation.let_out(Answer(answer.call, None, own(error), None))
                    return
                except asyncio.CancelledError:
                    activation.let_out(Answer(answer.call, None, HostStopped(str(answer.call)), None))
                    raise
                if not alive:
                    self.term_lost(lease)
            if alive and activation.status is Status.LIVE:
                activation.let_out(answer)
            else:
                self.redo(activation.name, [answer.call])

        self.spawn(ask())

    # -------------------------------------------------------------------------------------------- calls

    def dispatch(self, call: Call) -> None:
        """Bring a call to its object."""
        if call.chain:
            lost = chains.loser(call, self.activations)
            if lost is not None:
                victim, error = lost
                if victim is call:
                    call.fail(error)
                    return
                self.activations[victim.name].refuse(victim, error)
        if self.stopping:
            call.fail(HostStopped(str(call), call_id=call.call_id))
            return
        activations = self.activations
        activation = activations.pop(call.name, None)
        if activation is None:
            activation = self._activation(call.name)
        else:
            activations[call.name] = activation
        activation.accept(call)

    def withdraw(self, call: Call) -> None:
        """The caller's time is up: if the call has not started, answer so for certain."""
        activation = self.activations.get(call.name)
        if activation is not None:
            activation.withdraw(call)

    def look_up(self, activation: Activation, call: Call) -> None:
        """Learn whether this call id has been applied before; the call waits at its place in the mailbox."""
        object_id = activation.object_id
        if object_id is None:
            return
        call.waiting = True

        async def ask() -> None:
            recorded = failed = None
            try:
                recorded = await self.ask(lambda: self.recalling.ask((object_id, call.call_id)))
            except Exception as error:
                if not isinstance(error, JidoError):
                    logger.exception("What is recorded of %s cannot be read", call, extra=about(call))
                    error = UnreadableResult(str(call), text_of(error))
                failed = own(error)
            if isinstance(recorded, Forgotten):
                recorded, failed = None, expired(self, call)
            if activation.status is not Status.LIVE:
                # The call waits on another activation now, which asks for itself: this answer may be older than its claim.
                return
            call.waiting, call.recorded = False, recorded
            if failed is not None and call in activation.mailbox:
                activation.mailbox.remove(call)
                activation.let_out(Answer(call, None, failed, None))
            if activation.turn is None:
                activation.pump()

        self.spawn(ask())

    def policy(self, kind: str) -> Policy:
        return POLICIES[kind]

    def run_after(self, action: Callable[[], None]) -> None:
        """Run what a turn left to be done after its commit."""
        try:
            action()
        except Exception:
            logger.exception("An action after a commit failed", extra=about())

    # -------------------------------------------------------------------------------------------- into memory

    def _activation(self, name: Name) -> Activation:
        if len(self.activations) >= self.settings.max_activations:
            self._evict()
        activation = Activation(self, Definition.of(name[0]), name)
        self.activations[name] = activation
        self.spawn(self.thawing.thaw(activation, None))
        return activation

    async def ask(self, ask: Callable[[], Awaitable[V]]) -> V:
        """Ask the store; while it does not answer, again, for as long as callers can be expected to wait."""
        give_up = self.clock.monotonic() + limits.PATIENCE
        pause = 0.02
        while True:
            try:
                return await ask()
            except (StoreUnavailable, OutcomeUnknown, TermEnded) as error:
                # What is asked here can be asked twice: an unknown outcome is one more reason to ask again.
                if self.clock.monotonic() >= give_up or self.stopping:
                    if isinstance(error, StoreUnavailable):
                        raise
                    raise StoreUnavailable(str(error) or "the host's term ended again and again") from error
                await asyncio.sleep(pause)
                pause = min(pause * 2, 0.5)

    async def load(self, name: Name, object_id: int) -> Loaded:
        """An object as it rests; raises ``CorruptObject`` where what the store holds is no row at all."""
        try:
            return await self.loading.ask(object_id)
        except ValueError as error:
            raise CorruptObject(describe(name), f"its rows cannot be read: {error}") from error

    def absent_done(self, activation: Activation) -> None:
        """The calls that an absence could answer are answered; later ones ask the store again."""
        if events.listening:
            events.emit(events.ActivationLeft(*activation.name, "absent", ""))
        if activation.mailbox:
            activation.status = Status.THAWING
            self.spawn(self.thawing.thaw(activation, None))
        else:
            activation.status = Status.GONE
            if self.activations.get(activation.name) is activation:
                del self.activations[activation.name]

    async def read(self, definition: Definition, name: Name) -> dict[str, Any] | None:
        """Committed state without waking the object, or ``None`` where there is none."""
        _, found = await self.ask(lambda: self.find(definition, name))
        if found is None or found.destroyed:
            return None
        loaded = await self.ask(lambda: self.load(name, found.id))
        state = State(definition.stored, {}, describe(name))
        rebuild(state, definition, name, loaded)
        return state.plain()

    async def exists(self, name: Name) -> bool:
        _, found = await self.ask(lambda: self.find(Definition.of(name[0]), name))
        return found is not None and not found.destroyed

    async def find(self, definition: Definition, name: Name) -> tuple[Name, Found | None]:
        """An object's row, and the name under which it stands, or would be made: its type may have had other labels."""
        if not definition.options.aliases:
            return name, await self.finding.ask(name)
        names = [(label, name[1]) for label in definition.labels]
        rows = [row for row in zip(names, await asyncio.gather(*map(self.finding.ask, names)), strict=True) if row[1] is not None]
        if len(rows) > 1:
            others = ", ".join(repr(label) for (label, _), _ in rows[1:])
            text = "%s is stored under %r, which counts, and under %s, which is not seen"
            logger.error(text, describe(name), rows[0][0][0], others, extra=about(name=name))
        return rows[0] if rows else ((definition.stored_label, name[1]), None)

    # -------------------------------------------------------------------------------------------- out of memory

    def drop(self, activation: Activation, why: str) -> None:
        """An activation is no longer believed; what waited on it runs again on a new one."""
        # One that is still being thawed believes nothing yet: its thaw looks at term and trust itself.
        if activation.status is not Status.LIVE:
            return
        was_there = self.activations.get(activation.name) is activation
        redo = put_back(self.remove(activation), why)
        if events.listening:
            events.emit(events.ActivationLeft(*activation.name, "dropped", why))
        if activation.in_flight:
            activation.closed = asyncio.get_running_loop().create_future()
            self._closing[activation] = None
        if redo or activation.closed is not None:
            logger.debug(
                "%s is dropped: %s; %d calls run again", describe(activation.name), why, len(redo), extra=about(name=activation.name)
            )
            if was_there:
                self.redo(activation.name, redo, activation)

    def remove(self, activation: Activation) -> list[Call]:
        if self.activations.get(activation.name) is activation:
            del self.activations[activation.name]
        if self.pipeline is not None:
            self.pipeline.purge(activation)
        redo = activation.leave()
        activation.calls.clear()
        return redo

    def resolved(self, activation: Activation, redo: list[Call], error: BaseException | None) -> None:
        """What became of the rows an activation had in flight is known."""
        if error is not None and not getattr(error, "retryable", False):
            for call in redo:
                self._fail(call, own(error))
            redo = []
        redo = [call for call in put_back(redo, str(error or "its rows were not written")) if self._may_redo(call, error)]
        self._closing.pop(activation, None)
        if activation.closed is not None and not activation.closed.done() and activation.name in self.activations:
            activation.closed.set_result(redo)
        elif redo:
            self.redo(activation.name, redo)

    def _may_redo(self, call: Call, error: BaseException | None) -> bool:
        call.redone += 1
        call.attempt += 1
        if call.redone <= REDO_LIMIT:
            return True
        self._fail(call, own(error or OwnershipLost(describe(call.name))))
        return False

    def _fail(self, call: Call, error: BaseException) -> None:
        call.fail(error)
        if call.watch is not None:
            watching.finished(call, error, self.clock.monotonic())

    def redo(self, name: Name, calls: list[Call], before: Activation | None = None) -> None:
        """Run calls again, before any later ones, on a new activation."""
        start_over(calls)
        current = self.activations.get(name)
        if current is not None:
            for call in calls:
                current.accept(call)
            return
        if self.stopping:
            for call in calls:
                call.fail(HostStopped(str(call), call_id=call.call_id))
            return
        activation = Activation(self, Definition.of(name[0]), name)
        self.activations[name] = activation
        activation.accept_first(calls)
        self.spawn(self.thawing.thaw(activation, before))

    def hibernate(self, activation: Activation, how: str = "hibernated") -> bool:
        """Let an idle activation leave memory; nothing is released, its object stays this term's."""
        if not activation.idle:
            return False
        snapshot = activation.farewell_snapshot()
        if snapshot is not None:
            self.pipeline.keep(snapshot)
        self.remove(activation)
        if events.listening:
            events.emit(events.ActivationLeft(*activation.name, how, ""))
        return True

    def _evict(self) -> None:
        excess = len(self.activations) - self.settings.max_activations + 1
        for activation in list(self.activations.values())[: excess + 64]:
            if excess <= 0:
                return
            if self.hibernate(activation, "evicted"):
                excess -= 1

    async def _sweep(self) -> None:
        while True:
            shortest = min((definition.options.idle_seconds for definition in Definition.registry.values()), default=limits.IDLE_SECONDS)
            await asyncio.sleep(min(30.0, max(0.05, shortest / 4)))
            now = self.clock.monotonic()
            for activation in list(self.activations.values()):
                unused = now - activation.last_used
                if unused < shortest:
                    break
                if unused >= activation.options.idle_seconds:
                    self.hibernate(activation)

    # -------------------------------------------------------------------------------------------- tasks

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task in the host's own context: a caller's context must not live on in it."""
        task = asyncio.get_running_loop().create_task(coroutine, context=self._context.copy())
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, JidoError | TermEnded):
            logger.error("A task of the host ended with an error", exc_info=error, extra=about())

    def soon(self, callback: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(callback, context=self._context)

    def held_too_long(self, call: Call, seconds: float) -> None:
        """A synchronous turn blocked the loop, and with it every other object of this process."""
        stack = self._held_stack()
        logger.warning(
            "%s held the host's loop for %.0f ms (limit %.0f ms): make it `async def`, or move the work out of the turn.%s",
            call, seconds * 1000, limits.LOOP_HELD_SECONDS * 1000, f"\n{stack}" if stack else "", extra=about(call),
        )  # fmt: skip
        if events.listening:
            events.emit(events.LoopHeld(*call.name, call.method.name, call.call_id, seconds))
