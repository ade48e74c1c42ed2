"""How a ``@transactional`` turn runs: on a thread, in one database transaction with the ORM rows it writes.

The object is held from the turn's start until the outcome of its COMMIT is known, and the turn starts when nothing of the
object is under way. Meanwhile the thread alone touches the state; everything else is decided here, on the host's loop:
the method returns, and its thread waits with the transaction open until the loop says commit. So a turn that has ended for
another reason (its time is up, its activation was dropped) never commits, and one that may commit is in flight like any
row: whoever comes after it waits until its outcome is known.

Three outcomes. Applied: the state is kept. Not applied: rolled back, and where another transaction was in the way it runs
again. Unknown: the lane is ended, and only then the journal is asked.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import UUID

from .answers import Answer, Rejected, inbox_of
from .errors import ConfigurationError, DeadlineExceeded, OutcomeUnknown, OwnershipLost, StoreError, StoreUnavailable, TurnTimeout
from .limits import TRANSACTION_ATTEMPTS
from .logs import about
from .state import current_turn
from .stores.protocol import Append, Entry, TermEnded
from .stores.transactions import Again
from .turns import Call, Turn, describe

if TYPE_CHECKING:
    from .activation import Activation

logger = logging.getLogger("jido_objects.turn")

T = TypeVar("T")
Hook = Callable[[Any], Any] | None


class Transaction(Protocol):
    """One transaction on a thread of its own. Belongs to the loop that asked for it."""

    def run(self, body: Callable[[], T]) -> Awaitable[T]:
        """Begin, and run ``body`` in it. Returns with the transaction open; raises what ``body`` raised, ``Again``,
        ``TermEnded`` or ``StoreError``, and is then rolled back."""

    def commit(self, append: Append) -> Awaitable[int]:
        """Append and COMMIT; the object's id. Raises as ``stores.transactions.Lane`` says; rolled back, unless unknown."""

    async def settle(self) -> None:
        """After ``OutcomeUnknown``: make sure that it cannot land any more. Raises ``StoreError`` while that is not known."""

    def abandon(self) -> None:
        """Nobody waits for it any more, whatever it is doing: it will not commit. Not after ``commit``."""


class Transactions(Protocol):
    """Where a host's transactions run."""

    async def begin(self, term: UUID, seconds: float) -> Transaction:
        """A thread for one transaction, in the order of asking; ``seconds`` bounds the database's own waiting."""

    async def close(self) -> None:
        """End the threads that are idle; a busy one ends when it comes back."""


def start(activation: Activation, call: Call, turn: Turn, on_create: Hook) -> None:
    """Begin the turn; the object is held until it has ended."""
    activation.task = activation.host.spawn(_guarded(activation, call, turn, on_create))


async def _guarded(activation: Activation, call: Call, turn: Turn, on_create: Hook) -> None:
    try:
        await _Transacted(activation, call, turn, on_create).run()
    except Exception as error:
        activation.broken(call, error)


def refusal(activation: Activation, call: Call) -> ConfigurationError | None:
    """Why this host cannot run the call."""
    if activation.host.transactions is not None:
        return None
    return ConfigurationError(
        f"{call} is @transactional, and the store {activation.host.store.name!r} shares no transactions with the ORM: "
        f"use it with objects in PostgreSQL or SQLite, or drop @transactional."
    )


class _Transacted:
    """One turn, from its start until its outcome is known; it may take several transactions."""

    def __init__(self, activation: Activation, call: Call, turn: Turn, on_create: Hook) -> None:
        self.activation = activation
        self.host = activation.host
        self.call = call
        self.turn = turn
        self.on_create = on_create
        self.until = 0.0
        self.seconds = 0.0
        lease = activation.host.lease
        assert lease is not None
        # The activation lives no longer than this term.
        self.lease = lease

    async def run(self) -> None:
        activation = self.activation
        try:
            if activation.last is not None:
                # What is under way ends first: the row of this turn comes after all others of the object.
                activation.emptied = asyncio.get_running_loop().create_future()
                await activation.emptied
            await self._attempts()
        finally:
            if activation.turn is self.turn:
                activation.task = None
                activation.turn = None
                if activation.is_live():
                    self.host.soon(activation.pump)

    # -------------------------------------------------------------------------------------------- attempts

    async def _attempts(self) -> None:
        loop = asyncio.get_running_loop()
        remaining = self.call.deadline - self.host.clock.monotonic()
        transaction = await self._begin(loop.time() + remaining) if remaining > 0 else None
        if transaction is None:
            self._end(DeadlineExceeded(str(self.call), call_id=self.call.call_id))
            return
        # Only now does the turn begin: to wait for a thread is to wait for others.
        self.seconds = min(self.activation.options.turn_timeout, max(0.01, self.call.deadline - self.host.clock.monotonic()))
        self.until = loop.time() + self.seconds
        for attempt in range(1, TRANSACTION_ATTEMPTS + 1):
            try:
                await self._attempt(transaction)
                return
            except Again as again:
                self.activation.state.rollback()
                # What was noted of its alarms was not written.
                self.activation.armed.clear()
                self.turn.again()
                # Calls that it made have left; they come again under the same ids, and must be looked up.
                self.call.attempt += 1
                logger.info("%s was rolled back and runs again: %s", self.call, again, extra=about(self.call))
                pause = min(0.5, 0.005 * 2**attempt) * (0.5 + random.random())
                if attempt < TRANSACTION_ATTEMPTS and loop.time() + pause < self.until:
                    await asyncio.sleep(pause)
                    next_one = await self._begin(self.until)
                    if next_one is not None:
                        transaction = next_one
                        continue
                self._end(StoreUnavailable(str(again)))
                return

    async def _begin(self, until: float) -> Transaction | None:
        """A thread, or ``None`` if there was none by then (on the loop's clock)."""
        assert self.host.transactions is not None
        seconds = min(self.activation.options.turn_timeout, max(0.01, self.call.deadline - self.host.clock.monotonic()))
        try:
            async with asyncio.timeout_at(until):
                return await self.host.transactions.begin(self.lease.term, seconds)
        except TimeoutError:
            return None

    async def _attempt(self, transaction: Transaction) -> None:
        activation, call, turn = self.activation, self.call, self.turn
        activation.state.begin(turn)
        try:
            async with asyncio.timeout_at(self.until) as timeout:
                answer, entry = await transaction.run(self._body)
        except asyncio.CancelledError:
            transaction.abandon()
            raise
        except Again:
            raise
        except TermEnded:
            self._term_ended()
        except Rejected as rejected:
            activation.abort(call, turn, rejected.error, own=True)
        except StoreError as error:
            activation.abort(call, turn, error, own=True)
        except BaseException as error:
            if timeout.expired():
                transaction.abandon()
                self._time_out()
            else:
                activation.abort(call, turn, error)
        else:
            assert entry is not None, "a @transactional turn always writes a row"
            await self._commit(transaction, answer, entry)

    def _body(self) -> tuple[Answer, Entry | None]:
        """On the transaction's thread, in a context of its own."""
        activation, call = self.activation, self.call
        current_turn.set(self.turn)
        if call.message is not None:
            call.message.begin(activation, self.turn)
        if self.on_create is not None:
            self.on_create(activation.instance)
        args, kwargs = call.method.fresh(call.args, call.kwargs) if call.method.mutable else (call.args, call.kwargs)
        result = call.method.function(activation.instance, *args, **kwargs)
        return activation.seal(call, self.turn, result)

    def _end(self, error: Exception) -> None:
        self.activation.abort(self.call, self.turn, error, own=True)

    def _time_out(self) -> None:
        """The thread may still be in the method, and so in the state: what was in memory is left to it."""
        activation, turn = self.activation, self.turn
        turn.ended = turn.undone = True
        turn.after = None
        activation.state.writer = None
        activation.fail(self.call, TurnTimeout(str(self.call), round(self.seconds, 3)))
        activation.task = activation.turn = None
        self.host.drop(activation, f"{self.call} took too long")

    def _term_ended(self) -> None:
        # Its activations go, this one with them; the call runs again on the next.
        self.activation.task = None
        self.host.term_lost(self.lease)
        self.host.drop(self.activation, "its term has ended")  # where the host is about to stop, it loses no term any more

    # -------------------------------------------------------------------------------------------- the commit

    async def _commit(self, transaction: Transaction, answer: Answer, entry: Entry) -> None:
        activation, host, call = self.activation, self.host, self.call
        label, key = activation.name
        pending = activation.pending(entry, answer, self.turn)
        append = Append(label, key, activation.object_id, activation.epoch, activation.head_seq, activation.head_epoch, [entry])
        append.inbox = inbox_of([pending], host.clock.monotonic())
        # From here to the outcome it is a row in flight: a drop of the activation neither cancels it nor runs its call again.
        activation.in_flight = [pending]
        task, activation.task = activation.task, None
        self.turn.ended = True
        error: BaseException | None = None
        object_id = 0
        try:
            object_id = await transaction.commit(append)
        except asyncio.CancelledError:
            raise
        except Exception as raised:
            error = raised
        if activation.in_flight != [pending]:
            return  # the host has stopped, and has told the caller so
        match error:
            case None:
                activation.applied(pending, object_id)
                if activation.closed is not None:
                    host.resolved(activation, [], None)
            case OutcomeUnknown():
                logger.warning("The outcome of %s is unknown: %s", call, error, extra=about(call))
                began = host.clock.monotonic()
                host.drop(activation, "its transaction was being committed when the connection broke")
                await self._settle(transaction)
                await host.pipeline.ask_journal([(activation, append)], began)
            case TermEnded():
                host.pipeline.refused(activation)
                host.term_lost(self.lease)
            case OwnershipLost():
                host.pipeline.refused(activation, OwnershipLost(describe(activation.name)))
            case StoreError():
                host.pipeline.refused(activation, error)
            case _ if not activation.is_live():
                # Not applied, and dropped meanwhile: it runs again wherever its object lives now.
                host.pipeline.resolve(activation, [call])
            case Again():
                activation.in_flight = []
                activation.task = task
                self.turn.ended = False
                raise error
            case _:
                # The database has refused the commit for what the turn wrote: a deferred constraint.
                activation.in_flight = []
                activation.abort(call, self.turn, error)
        host.answered()

    async def _settle(self, transaction: Transaction) -> None:
        pause = 0.05
        while True:
            try:
                await transaction.settle()
                return
            except StoreError as error:
                logger.warning("The unknown outcome of %s cannot be settled yet: %s", self.call, error, extra=about(self.call))
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)
