"""What the runtime tells whoever wants to observe it: a small, documented set of events.

    from jido_objects import events

    @events.subscribe
    def watch(event: events.Event) -> None:
        print(event)

Subscribers are called one after the other **on the host's loop**, where every object of the process runs: they must be quick
(count, put into a queue), may not block, and may not wait for an object. One that raises is logged, once per kind of event,
and disturbs nothing.

The runtime writes ``if events.listening: events.emit(...)``, so that an event nobody listens to costs one attribute and one
truth test, and is never made. Events say what happened; they decide nothing, and one that was not heard is not told again.

All durations are seconds, as floats.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from .errors import ConfigurationError
from .logs import about

logger = logging.getLogger("jido_objects.events")

KINDS: dict[str, type[Event]] = {}
"""Every kind of event by its name."""


@dataclass(frozen=True, slots=True)
class Event:
    """What all events have: ``name``, the kind in words, for labels (``turn_finished``)."""

    name: ClassVar[str] = "event"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # By its name: a dataclass with slots makes its class anew, where a `super()` without arguments misses it.
        super(Event, cls).__init_subclass__(**kwargs)
        cls.name = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
        KINDS[cls.name] = cls


# -------------------------------------------------------------------------------------------- calls and turns


@dataclass(frozen=True, slots=True)
class TurnFinished(Event):
    """A turn has ended and its caller has its answer, after the commit where it wrote a row.

    ``outcome`` is ``committed`` (its row is in the journal), ``unchanged`` (it wrote none: a query, nothing changed), ``refused``
    (an ``ObjectException``), ``timeout`` (over ``turn_timeout``) or ``failed``. ``error`` names the type of what the method raised.
    ``seq`` is the row's, ``None`` where there is none. A turn that has to run again is told once, when it is answered.
    """

    type: str
    key: str
    method: str
    call_id: str
    source: str
    outcome: str
    error: str | None
    mailbox_seconds: float
    """From the call's arrival to the start of the turn."""
    turn_seconds: float
    """From the start of the turn to its end."""
    commit_seconds: float
    """From the end of the turn to its answer."""
    seq: int | None


@dataclass(frozen=True, slots=True)
class ObjectOverloaded(Event):
    """A call was refused with ``Overloaded``: ``limit`` calls wait for this object."""

    type: str
    key: str
    method: str
    call_id: str
    limit: int


@dataclass(frozen=True, slots=True)
class LoopHeld(Event):
    """A ``def`` turn held the host's loop too long, and every other object of the process waited."""

    type: str
    key: str
    method: str
    call_id: str
    seconds: float


# -------------------------------------------------------------------------------------------- the commit pipeline


@dataclass(frozen=True, slots=True)
class BatchCommitted(Event):
    """One statement of group commit has been written. ``bytes`` is about what its rows weigh."""

    rows: int
    objects: int
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class CommitFailed(Event):
    """These rows were not written, and that is certain. Their calls run again where that can help, else they fail."""

    rows: int
    objects: int
    error: str
    """Name of the error's type."""


@dataclass(frozen=True, slots=True)
class CommitUnknown(Event):
    """The connection broke with these rows in flight. ``commit_settled`` follows when it is known what became of them."""

    rows: int
    objects: int
    error: str


@dataclass(frozen=True, slots=True)
class CommitSettled(Event):
    """An unknown outcome is known: ``committed`` of its ``rows`` are in the journal, the rest runs again."""

    rows: int
    committed: int
    seconds: float


@dataclass(frozen=True, slots=True)
class SnapshotsWritten(Event):
    """Snapshots were written, off the hot path."""

    snapshots: int
    bytes: int
    seconds: float


# -------------------------------------------------------------------------------------------- activations


@dataclass(frozen=True, slots=True)
class ActivationThawed(Event):
    """An object is live in memory. ``tail`` is how many journal rows were replayed over its snapshot."""

    type: str
    key: str
    tail: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ActivationLeft(Event):
    """An activation has left memory; there is one for each ``activation_thawed``.

    ``how`` is ``hibernated`` (unused), ``evicted`` (memory was full), ``dropped`` (no longer believed, ``why`` says it), ``absent``
    (there is no such object, and the calls were answered from defaults) or ``stopped`` (with its host).
    """

    type: str
    key: str
    how: str
    why: str


# -------------------------------------------------------------------------------------------- terms and leases


@dataclass(frozen=True, slots=True)
class HostStarted(Event):
    """The host of this process has opened its store."""

    store: str


@dataclass(frozen=True, slots=True)
class HostEnded(Event):
    """The host has stopped. ``drained`` says whether all that ran was finished and written."""

    drained: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class TermBegun(Event):
    """This host has taken a term."""

    term: UUID


@dataclass(frozen=True, slots=True)
class TermBuried(Event):
    """This host has buried the term of another one; ``proven`` says that its process is known to be dead."""

    term: UUID
    proven: bool


@dataclass(frozen=True, slots=True)
class TermLost(Event):
    """Others have buried this host's term: it drops its ``activations`` and takes a new one."""

    term: UUID
    activations: int


@dataclass(frozen=True, slots=True)
class LeaseRenewedLate(Event):
    """A renewal succeeded when less than half of the lease was left to be trusted. ``trust_left`` is negative when nothing was."""

    term: UUID
    trust_left: float


@dataclass(frozen=True, slots=True)
class LeaseFailed(Event):
    """An attempt to renew the lease failed, or was not made because the host's loop is stuck (``error`` is then ``stuck``)."""

    term: UUID
    error: str
    trust_left: float


# -------------------------------------------------------------------------------------------- the inbox (reserved)


@dataclass(frozen=True, slots=True)
class MessageDelivered(Event):
    """A message of the inbox was applied. ``kind`` is ``alarm``, ``send`` or ``call``; ``lateness`` counts from when it was due."""

    type: str
    key: str
    method: str
    call_id: str
    kind: str
    attempt: int
    lateness: float


@dataclass(frozen=True, slots=True)
class MessageFailed(Event):
    """An attempt to deliver a message failed; it is tried again after ``retry_in``."""

    type: str
    key: str
    method: str
    call_id: str
    kind: str
    attempt: int
    error: str
    retry_in: float


@dataclass(frozen=True, slots=True)
class MessageDead(Event):
    """A message was given up after ``attempt`` attempts and is among the dead letters."""

    type: str
    key: str
    method: str
    call_id: str
    kind: str
    attempt: int
    error: str


# -------------------------------------------------------------------------------------------- the registry

Subscriber = Callable[[Any], object]
"""Takes the event. What it returns is ignored."""
S = TypeVar("S", bound=Subscriber)

listening: tuple[tuple[Subscriber, tuple[type[Event], ...]], ...] = ()
"""Who listens, each with the kinds it wants (none: all). Empty, and so false, when nobody does; replaced, never changed."""

_lock = Lock()
_told: set[tuple[int, type[Event]]] = set()
"""Subscribers that raised, by identity, and at which kind: logged once."""


def subscribe(subscriber: S, *kinds: type[Event]) -> S:
    """Call ``subscriber(event)`` for every event, or for these kinds only. Returns it, so it can decorate.

    May be called at any time and from any thread. The same subscriber again replaces the kinds it gets. Raises
    ``ConfigurationError`` for what cannot be called, for a coroutine function, and for what is no kind of event.
    """
    given: tuple[Any, ...] = (subscriber, *kinds)
    if not callable(given[0]) or inspect.iscoroutinefunction(given[0]):
        raise ConfigurationError(f"{subscriber!r} cannot take events: a subscriber is a plain function with one argument, the event.")
    for kind in given[1:]:
        if not (isinstance(kind, type) and issubclass(kind, Event)):
            raise ConfigurationError(f"{kind!r} is no kind of event: give classes of jido_objects.events.")
    global listening
    with _lock:
        listening = (*_others(subscriber), (subscriber, kinds))
    return subscriber


def unsubscribe(subscriber: Subscriber) -> None:
    """Call it no more. Does nothing where it was not subscribed. An event that is being told may still reach it."""
    global listening
    with _lock:
        listening = _others(subscriber)


def _others(subscriber: Subscriber) -> tuple[tuple[Subscriber, tuple[type[Event], ...]], ...]:
    # By equality, as a bound method is a new object at each look. Whoever leaves may be told of again when it comes back,
    # and its identity may be another's then.
    for known, _ in listening:
        if known == subscriber:
            _told.difference_update([entry for entry in _told if entry[0] == id(known)])
    return tuple(entry for entry in listening if entry[0] != subscriber)


def emit(event: Event) -> None:
    """Tell the subscribers. For the runtime, on the host's loop; never raises."""
    kind = type(event)
    for subscriber, kinds in listening:
        if kinds and not issubclass(kind, kinds):
            continue
        try:
            subscriber(event)
        except BaseException as error:
            # Whatever it is, an exit or a cancellation included: it is the subscriber's, and here a turn waits to be answered.
            if (id(subscriber), kind) not in _told:
                _told.add((id(subscriber), kind))
                logger.error("A subscriber raised at %s; it is told once: %r", event.name, subscriber, exc_info=error, extra=about())
