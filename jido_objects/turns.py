"""A call on its way to an object, and the turn that executes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from . import ids
from .errors import JidoError, ObjectException, StateError
from .state import current_turn

if TYPE_CHECKING:
    from .inbox import Delivery
    from .methods import Method
    from .stores.messages import InboxChanges, Sent
    from .stores.protocol import Recorded
    from .watching import Watch

__all__ = ["Call", "Reply", "Turn", "TurnInfo", "current_turn", "open_turn", "own", "start_over"]

Name = tuple[str, str]
"""``(type label, key)``."""


class Reply(Protocol):
    """Where the answer of a call goes; called once, on the host's loop."""

    def set_result(self, result: Any) -> None: ...

    def set_exception(self, error: BaseException) -> None: ...


class Call:
    """One call, from the moment it is bound until it is answered.

    ``deadline`` is on the clock of the process that executes it. ``attempt`` counts from 0 and grows with every
    re-sending of the same id; ``lookup`` says that the id may have been applied before and must be looked up.
    """

    __slots__ = (
        "again", "args", "attempt", "call_id", "chain", "confirmed", "connection", "deadline", "derived", "digest", "encoded", "followers",
        "kwargs", "lookup", "message", "method", "name", "own_id", "recorded", "redone", "reply", "root", "source", "started", "trace",
        "user", "waiting", "watch",
    )  # fmt: skip

    def __init__(
        self,
        name: Name,
        method: Method,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        encoded: bytes,
        digest: int,
        call_id: str,
        deadline: float,
        reply: Reply | None,
    ) -> None:
        self.name = name
        self.method = method
        self.args = args
        self.kwargs = kwargs
        self.encoded = encoded
        self.digest = digest
        self.call_id = call_id
        self.deadline = deadline
        self.reply = reply
        self.own_id = False
        self.derived = False
        """Whether its id derives from the call that made it: then the id names a step of that call, whatever its arguments."""
        self.again = False
        """Whether it has been started before, without effect."""
        self.attempt = 0
        self.lookup = False
        self.waiting = False
        """A look-up of the id is under way."""
        self.recorded: Recorded | None = None
        self.chain: tuple[Name, ...] = ()
        """The objects that wait for this call, the outermost first."""
        self.root = call_id
        """Id of the call that the chain began with."""
        self.source = "local"
        self.user: int | str | None = None
        self.connection: str | None = None
        self.confirmed = False
        self.started = False
        self.redone = 0
        self.message: Delivery | None = None
        """The durable message that it applies."""
        self.followers: list[Reply] | None = None
        self.trace: str | None = None
        """W3C ``traceparent`` of the caller, where calls are traced."""
        self.watch: Watch | None = None
        """Its times, where somebody listens to events."""

    def __str__(self) -> str:
        return f"{describe(self.name)}.{self.method.name}"

    @property
    def token(self) -> str | Call:
        """What tells it from other unanswered calls of its object: its id, or itself where ids are not remembered."""
        return self.call_id if self.method.recorded else self

    def matches(self, digest: int) -> bool:
        """Whether a call with this id and that digest is this call."""
        return self.derived or self.digest == digest

    def answer(self, result: Any) -> None:
        """Give the result to whoever waits."""
        if self.reply is not None:
            self.reply.set_result(result)
        if self.followers is not None:
            for follower in self.followers:
                follower.set_result(self.method.result.copy(result, self.method.label))

    def fail(self, error: BaseException) -> None:
        """Give the error to whoever waits."""
        replies = [] if self.reply is None else [self.reply]
        for reply in [*replies, *(self.followers or ())]:
            # Each gets an exception of its own: with a traceback of its own, and to be changed as it likes.
            mine = error if reply is self.reply else own(error)
            if getattr(mine, "call_id", ...) is None:
                mine.call_id = self.call_id  # type: ignore[attr-defined]
            reply.set_exception(mine)

    def follow(self, reply: Reply | None) -> None:
        """Answer this reply as well: it asked with the same id."""
        if reply is not None:
            self.followers = [reply] if self.followers is None else [*self.followers, reply]

    def adopt(self, other: Call) -> None:
        """Answer whoever waits for another call with the same id as well."""
        self.deadline = max(self.deadline, other.deadline)
        self.follow(other.reply)
        for reply in other.followers or ():
            self.follow(reply)


def describe(name: Name) -> str:
    """An object's name in messages: ``shop.Sale('tour')``."""
    return f"{name[0]}({name[1]!r})"


@dataclass(frozen=True, slots=True)
class TurnInfo:
    """What ``self.turn`` tells a method of the call it executes."""

    call_id: str
    method: str
    attempt: int
    deadline: datetime
    source: str
    user_id: int | str | None
    connection: str | None


class Turn:
    """The execution of one call. State may change only while its turn is open."""

    __slots__ = (
        "after", "alarms", "call", "ended", "inbox", "made", "method", "named", "now", "readonly", "remaining", "sends", "undone",
    )  # fmt: skip

    def __init__(self, call: Call, readonly: bool, now: datetime, remaining: float) -> None:
        self.call = call
        self.readonly = readonly
        self.method = call.method.name
        self.now = now
        self.remaining = remaining
        self.made: dict[tuple[Name, str], int] = {}
        """How many calls it has made, by object and method."""
        self.ended = False
        self.undone = False
        """Whether it has ended without effect: code of it that still runs may let nothing out."""
        self.after: list[Callable[[], None]] | None = None
        self.alarms: dict[str, float | None] = {}
        """Alarms it has touched: seconds from its start until each is due, ``None`` for one that is gone."""
        self.named = 0
        """How many alarms it has given a name."""
        self.sends: list[Sent] = []
        self.inbox: InboxChanges | None = None
        """What its row does to messages, once it is sealed."""

    def again(self) -> None:
        """Forget what was left to be done by a run that was rolled back."""
        self.after, self.made, self.alarms, self.named, self.sends, self.inbox = None, {}, {}, 0, [], None

    def info(self) -> TurnInfo:
        call = self.call
        return TurnInfo(
            call.call_id, self.method, call.attempt, self.now + timedelta(seconds=self.remaining), call.source, call.user, call.connection
        )

    def nested_id(self, name: Name, method: str) -> str:
        """Id of the next call of that method of that object. When the turn is run again its first one has the same id again, and
        so on: what the turn does with other objects in between, and with which arguments, changes nothing in that."""
        target = (name, method)
        number = self.made[target] = self.made.get(target, 0) + 1
        return ids.nested(self.call.call_id, *self.call.name, *name, method, str(number))

    def later(self, action: Callable[[], None]) -> None:
        """Run ``action`` when the turn's row is committed; never if it is not."""
        if self.after is None:
            self.after = []
        self.after.append(action)


def open_turn() -> Turn | None:
    """The turn this code runs in, if it still runs. Raises ``StateError`` in what is left of one that was rolled back."""
    turn = current_turn.get()
    if not isinstance(turn, Turn):
        return None
    if turn.undone:
        # Its call fails or runs again: what this code would let out now would be let out twice, or against a rollback.
        raise StateError(f"{turn.call} was rolled back while this code of it went on: it can call nobody any more. Let it end.")
    return None if turn.ended else turn


def start_over(calls: list[Call]) -> None:
    """These calls run again. None of them has been applied; they are looked up all the same: between here and their turn the
    same id may come in by another way."""
    for call in calls:
        call.again = call.again or call.started
        call.started = call.waiting = False
        call.lookup = call.method.recorded
        if call.watch is not None:
            call.watch.again()


def own(error: BaseException) -> BaseException:
    """A copy of an error for one of several callers: each adds its own call id and traceback."""
    if isinstance(error, JidoError):
        twin = type(error)(*error.args)
        twin.__cause__ = error.__cause__
        return twin
    if isinstance(error, ObjectException):
        copy = type(error).__new__(type(error), *error.given[0], **error.given[1])
        copy.__dict__.update(error.__dict__)
        copy.args = error.args
        return copy
    return error
