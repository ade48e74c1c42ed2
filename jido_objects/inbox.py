"""The inbox of a host: takes messages that are due, and brings them to their objects as calls.

A message is counted as attempted, in a commit of its own, before it runs. The turn that applies it deletes it in the commit of
its row; one that fails is put off, longer each time, and in the end kept as a dead letter with its error. What interrupts a
message without a verdict of its own (the database is away, the host stops, the object is another's) does not count against it.

A message that is put back takes the later ones of its sender along: order within one sender and receiver holds. Whoever dies in
between leaves messages that are its term's, and due again at once when that is buried.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from . import alarms
from .alarms import ALARMS, AlarmRecord, next_tick
from .answers import Answer
from .definition import Definition
from .errors import (
    CallFailed,
    DeadlineExceeded,
    HostStopped,
    InvalidArguments,
    JidoError,
    MessageTooLarge,
    NewerVersion,
    ObjectException,
    OutcomeUnknown,
    Overloaded,
    OwnedElsewhere,
    OwnershipLost,
    StateError,
    StoreError,
    StoreUnavailable,
    text_of,
)
from .ids import is_generated
from .limits import MESSAGE_ATTEMPTS, MESSAGE_BYTES, encoded_size
from .logs import about
from .stores.messages import VISIBILITY, InboxChanges, Revised, Sent, Taken
from .stores.protocol import TermEnded
from .turns import Call, describe

if TYPE_CHECKING:
    from .activation import Activation
    from .host import Host
    from .methods import Method
    from .refs import Ref
    from .turns import Turn

logger = logging.getLogger("jido_objects.inbox")

POLL = 1.0
"""Seconds after which messages are looked for at the latest."""
IN_FLIGHT = 1000
"""Messages that one host has taken and not applied."""
BACKOFF = 300.0
"""The longest time, in seconds, for which a message that failed is put off."""
ENDS = 3 * MESSAGE_ATTEMPTS
"""After so many attempts a message counts as one that ends the processes that run it."""
_SLACK = timedelta(milliseconds=1)

_INTERRUPTED = (StoreUnavailable, OutcomeUnknown, NewerVersion, HostStopped, OwnedElsewhere, OwnershipLost, Overloaded, DeadlineExceeded)
"""Errors that say nothing of the message."""


class _Chain:
    """Messages of one sender to one object that were taken together."""

    __slots__ = ("broken",)

    def __init__(self) -> None:
        self.broken = False
        """One of them was not applied: those after it must not run."""


class Delivery:
    """A message on its way; the ``reply`` of its call."""

    __slots__ = ("call", "chain", "inbox", "taken", "taken_at", "verdict")

    def __init__(self, inbox: Inbox, taken: Taken, taken_at: float, chain: _Chain) -> None:
        self.inbox = inbox
        self.taken = taken
        self.taken_at = taken_at
        self.chain = chain
        self.call: Call | None = None
        self.verdict: Callable[[], Revised] | None = None
        """What becomes of a message that needs no turn."""

    # ---------------------------------------------------------------- on the way

    def now(self) -> datetime:
        """The time, by the clock that the message's own was given by."""
        return self.taken.now + timedelta(seconds=self.inbox.monotonic() - self.taken_at)

    def stop_chain(self) -> None:
        """It is not applied now, so the later ones of its sender are not either. Said when that is known, before it is answered."""
        self.chain.broken = True

    def admitted(self, activation: Activation) -> bool:
        """Whether it is to be run now; if not, it is answered."""
        call, name = self.call, self.taken.name
        assert call is not None
        if self.chain.broken:
            activation.fail(call, OwnershipLost(f"an earlier message to {describe(activation.name)}"))
            return False
        if name is None:
            return True
        # From here on it is not known what the row says.
        activation.armed.pop(name, None)
        record: AlarmRecord | None = activation.state.values[ALARMS].get(name)
        taken, id_ = self.taken, self.taken.id
        if record is None or (record.method, record.args, record.kwargs) != (taken.method, taken.args, taken.kwargs):
            # Taken back, or another one by now, whose row is nobody's: then nothing is deleted.
            self.verdict = lambda: Revised(id_)
        elif record.due > self.now() + _SLACK:
            self._put_off(id_, record.due)
        elif record.every is not None and record.missed == "skip" and taken.attempts == 1 and self._missed(record):
            self._put_off(id_, next_tick(record.every, record.zone, self.now(), record.due))
        else:
            return True
        activation.deliver(Answer(call, None, None, None))
        return False

    def _put_off(self, id_: int, due: datetime) -> None:
        self.verdict = lambda: Revised(id_, delay=max(0.0, (due - self.now()).total_seconds()), attempts=0)

    def _missed(self, record: AlarmRecord) -> bool:
        assert record.every is not None
        # What counts is when its row could have been taken: its time in the state stands still until it fires.
        now = self.now()
        return next_tick(record.every, record.zone, now - timedelta(seconds=self.taken.late), record.due) <= now

    def begin(self, activation: Activation, turn: Turn) -> None:
        """Within its turn, before the method runs: an alarm that fires is gone, or set to its next time."""
        name = self.taken.name
        if name is None:
            return
        held = activation.state.values[ALARMS]
        record: AlarmRecord = held[name]
        if record.every is None:
            del held[name]
            turn.alarms[name] = None
            return
        now = self.now()
        due = next_tick(record.every, record.zone, now, record.due)
        held[name] = replace(record, due=due)
        turn.alarms[name] = (due - now).total_seconds()

    # ---------------------------------------------------------------- its answer

    def set_result(self, result: Any) -> None:
        self.inbox.settled(self)
        if self.verdict is not None:
            self.inbox.revise(self.verdict())
        elif self.call is not None and self.call.recorded is not None:
            # Its id was applied before, by another way.
            self.inbox.revise(Revised(self.taken.id))

    def set_exception(self, error: BaseException) -> None:
        self.stop_chain()
        self.inbox.settled(self)
        self.inbox.revise(self._after(error))

    def _after(self, error: BaseException) -> Revised:
        taken = self.taken
        name = (taken.type, taken.key)
        what = f"{describe(name)}.{taken.method}"
        if isinstance(error, _INTERRUPTED):
            delay = POLL if isinstance(error, OwnedElsewhere | NewerVersion) else 0.05
            return Revised(taken.id, delay=delay, attempts=taken.attempts - 1)
        said = f"{type(error).__name__}: {text_of(error)}"
        refused = isinstance(error, ObjectException) and taken.name is None
        if refused or (taken.attempts >= MESSAGE_ATTEMPTS and taken.recurrence is None):
            logger.error("The message %s is a dead letter after %d attempts: %s", what, taken.attempts, said, extra=about(name=name))
            return Revised(taken.id, error=said, dead=True)
        delay = min(BACKOFF, 2.0 ** min(taken.attempts - 1, 20)) * random.uniform(0.75, 1.25)
        logger.warning("The message %s failed (attempt %d), next in %.1f s: %s", what, taken.attempts, delay, said, extra=about(name=name))
        return Revised(taken.id, delay=delay, error=said)


class Inbox:
    """See the module. Runs as one task on the host's loop."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._wake = asyncio.Event()
        self._revised: list[Revised] = []
        self._revising = False
        self.in_flight = 0

    def monotonic(self) -> float:
        return self._host.clock.monotonic()

    def nudge(self) -> None:
        """Something may be due."""
        self._wake.set()

    def written(self, changes: InboxChanges) -> None:
        """A row that changed messages is committed."""
        if changes.sent or any(armed is not None and armed.delay < POLL for armed in changes.alarms.values()):
            self.nudge()

    async def run(self) -> None:
        """Look for what is due, until the host stops."""
        while not self._host.stopping:
            self._wake.clear()
            wait = POLL
            try:
                wait = await self._round()
            except (StoreError, TermEnded, JidoError) as error:
                logger.debug("Messages cannot be looked for: %s", error, extra=about())
            except Exception:
                # An inbox that ended here would deliver nothing any more, without a word.
                logger.exception("The inbox met an error that is not its own; it goes on", extra=about())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait)

    async def _round(self) -> float:
        host = self._host
        room = IN_FLIGHT - self.in_flight
        if room <= 0:
            return 0.05
        adopt = host.settings.adopt
        overdue = await host.store.overdue(host.lease.term if host.lease is not None else None, adopt=adopt)
        ready = overdue.ready
        if overdue.owners:
            ready = await self._bury_owners(overdue.owners) or ready
        if not ready:
            return POLL if overdue.wait is None else max(0.0, min(overdue.wait, POLL))
        lease = await host.term()
        if not lease.trusted() or host.stopping:
            return 0.05
        limit = min(room, 256)
        taken = await host.pipeline.aside(lambda writer: writer.take(limit, adopt=adopt))
        await self._deliver(taken)
        return 0.0 if len(taken) == limit else 0.02 if taken else 0.2

    async def _bury_owners(self, names: Sequence[tuple[str, str]]) -> bool:
        buried = False
        for name in names:
            found = await self._host.finding.ask(name)
            lease = self._host.lease
            if found is None or found.owner is None or not found.owner.present or (lease is not None and found.owner.term == lease.term):
                continue
            try:
                await self._host.thawing.take_over(name, found.owner)
                buried = True
            except OwnedElsewhere:
                pass
        return buried

    async def _deliver(self, taken: Sequence[Taken]) -> None:
        chains: dict[tuple[int | None, str, str], _Chain] = {}
        taken_at = self.monotonic()
        for number, message in enumerate(taken, 1):
            place = (message.sender, message.type, message.key)
            chain = chains.setdefault(place, _Chain()) if message.sender is not None else _Chain()
            delivery = Delivery(self, message, taken_at, chain)
            self.in_flight += 1
            try:
                if message.attempts > ENDS and message.recurrence is None:
                    what = f"{describe((message.type, message.key))}.{message.method}"
                    raise CallFailed(what, "no exception", f"it was begun {message.attempts - 1} times and never ended")
                delivery.call = self._call(message, delivery)
                self._host.dispatch(delivery.call)
            except Exception as error:
                delivery.set_exception(error)
            if number % 32 == 0:
                self._host.answered()
                await asyncio.sleep(0)
        self._host.answered()

    def _call(self, taken: Taken, delivery: Delivery) -> Call:
        definition = Definition.of(taken.type)
        method = alarms.callable_later(definition, taken.method, "deliver")
        args, kwargs = method.load_arguments(taken.args, taken.kwargs)
        encoded = method.encode_arguments(args, kwargs)
        call_id = taken.call_id or f"~{int(taken.now.timestamp() * 1000):012x}{taken.id:020x}"
        name = (taken.type, taken.key)
        call = Call(name, method, args, kwargs, encoded, method.digest(encoded), call_id, self.monotonic() + VISIBILITY, delivery)
        call.message = delivery
        call.source = "send" if taken.name is None else "alarm"
        call.attempt = taken.attempts - 1
        call.user = taken.user
        # Whether it was applied its row says: an id of its caller's own may have been applied by another way.
        call.own_id = call.lookup = taken.name is None and not is_generated(call_id)
        return call

    # ---------------------------------------------------------------- what becomes of them

    def settled(self, delivery: Delivery) -> None:
        self.in_flight -= 1
        if self.in_flight == IN_FLIGHT - 1:
            self.nudge()

    def revise(self, revised: Revised) -> None:
        """Have it written. Should that come to nothing, the message is due again when it was not heard of for a while."""
        self._revised.append(revised)
        if not self._revising and self._host.lease is not None:
            self._revising = True
            self._host.spawn(self._write())

    async def _write(self) -> None:
        try:
            # What this step still brings goes along.
            await asyncio.sleep(0)
            while self._revised:
                revised, self._revised = self._revised, []

                def write(writer: Any, revised: list[Revised] = revised) -> Any:
                    return writer.revise(revised)

                try:
                    await self._host.pipeline.aside(write)
                except (StoreError, TermEnded) as error:
                    logger.debug("%d messages stay taken for a while: %s", len(revised), error, extra=about())
                else:
                    if any(one.delay is not None and one.delay < POLL for one in revised):
                        self.nudge()
        finally:
            self._revising = False


def put_back(calls: list[Call], why: str) -> list[Call]:
    """Of calls that were to run again, those that are no messages. A message is taken once more, in its sender's order: whether
    it is still there its row says, and whether its turn's commit has deleted that."""
    rest = []
    for call in calls:
        if call.message is None:
            rest.append(call)
        else:
            call.fail(OwnershipLost(f"{describe(call.name)} ({why})"))
    return rest


def check_sendable(method: Method) -> None:
    """Raises ``InvalidArguments`` for a method that no message may name."""
    if method.query:
        raise InvalidArguments(f"{method.label} is a @query: its result would reach nobody. Send a method that changes state.")


def stored(method: Method, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, str]:
    """A message's arguments as its row has them. Raises ``InvalidArguments``, ``InvalidValue``, ``MessageTooLarge``."""
    encoded = method.dump_arguments(*method.bind(args, dict(kwargs)))
    size = encoded_size(encoded[0]) + encoded_size(encoded[1])
    if size > MESSAGE_BYTES:
        raise MessageTooLarge(method.label, size, MESSAGE_BYTES)
    return encoded


def send(activation: Activation, ref: Ref[Any], method: str | Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """See ``DurableObject.send``."""
    turn = alarms.writing(activation, "send")
    if not hasattr(ref, "definition"):
        raise InvalidArguments(f"{turn.call}: send takes a ref, then a method: self.send(Type.at(key), 'method'), not {ref!r:.60}.")
    return send_within(turn, ref, alarms.callable_later(ref.definition, method, "send"), args, kwargs)


def send_within(turn: Turn, ref: Ref[Any], method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Add a message to what leaves with a turn's commit; its seq is set when the turn is sealed."""
    check_sendable(method)
    if turn.readonly:
        raise StateError(f"{turn.call} is a @query and cannot send anything; drop @query to let it.")
    encoded = stored(method, args, kwargs)
    name = (ref.definition.label, ref.key)
    call_id = ref.options.call_id or turn.nested_id(name, method.name)
    user = ref.options.user if ref.options.user is not None else turn.call.user
    turn.sends.append(Sent(*name, method.name, *encoded, call_id, None if user is None else str(user), 0, len(turn.sends)))
    return call_id
