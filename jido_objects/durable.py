"""``DurableObject``: the class a developer subclasses, and the decorators of its methods."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from . import alarms, errors, inbox, keys
from .alarms import Alarm
from .definition import Definition
from .errors import DefinitionError, InvalidArguments, InvalidKey, StateError, UndeclaredAttribute
from .existence import add_exceptions
from .methods import marks_of
from .options import did_you_mean
from .refs import Ref
from .turns import TurnInfo

if TYPE_CHECKING:
    from .activation import Activation

F = TypeVar("F", bound=Callable[..., Any])


def query(function: F) -> F:
    """Mark a method as read-only: it is never recorded, and writing state in it raises ``StateError``."""
    marks_of(function).query = True
    return function


def expose(function: F) -> F:
    """Mark a method as callable from browsers. Without it, a method is callable from server code only."""
    marks_of(function).expose = True
    return function


def transactional(function: F) -> F:
    """Mark a method whose ORM writes and state commit together or not at all.

    It runs on a thread, in one transaction on the database of the objects, and always leaves a row in the journal. Because
    a transaction can be chosen to give way to another, it may run more than once; of its runs one commits. It is a plain
    ``def``; ``async def`` raises ``DefinitionError``.
    """
    marks_of(function).transactional = True
    return function


class DurableObject:
    """Subclass it; every key of the subclass is one object in the whole deployment.

    Annotated attributes are its state, methods are its calls. One call runs at a time, in order of arrival; a call is
    answered after its changes are committed, and an exception leaves the state as it was. Instances are made by the
    runtime: outside, use ``Type.at(key)``.

    Hooks, all optional: ``on_create`` (in the turn that creates the object), ``on_thaw`` (each time it comes into memory;
    may set ``Transient`` attributes only), ``clean`` (before each commit; raise to refuse it).
    """

    __slots__ = ("__dict__", "__weakref__", "_jido")

    _jido: Activation
    _jido_definition: ClassVar[Definition]

    AlreadyExists: ClassVar[type[errors.AlreadyExists]] = errors.AlreadyExists
    """Raised by a ``@creates`` method of this type where the object exists; each type has a class of its own."""
    DoesNotExist: ClassVar[type[errors.DoesNotExist]] = errors.DoesNotExist
    """Raised by every other call on an absent key, if the type has a ``@creates`` method; each type has a class of its own."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # A class made inside a function may name that function's own classes in its annotations.
        frame = sys._getframe(1)
        namespace = {cls.__name__: cls, **(frame.f_locals if frame.f_locals is not frame.f_globals else {})}
        definition = Definition(cls, _RESERVED, namespace)
        cls._jido_definition = definition
        add_exceptions(cls)
        if not definition.options.abstract:
            Definition.register(definition)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise StateError(
            f"{type(self).__name__} is not made by hand: use {type(self).__name__}.at(key) and call its methods through that ref."
        )

    # -------------------------------------------------------------------------------------------- outside

    @classmethod
    def at(cls, *parts: object) -> Ref[Self]:
        """The ref of one object. Does no I/O.

        Parts are strings, integers, UUIDs or saved model instances (their pk); several are escaped and joined by ``/``.
        Raises ``InvalidKey``.
        """
        definition = cls._jido_definition
        names = definition.options.key
        if names is not None and len(parts) != len(names):
            wanted = ", ".join(names) or "nothing: it is a singleton"
            raise InvalidKey(f"{cls.__name__}.at() takes {wanted}; {len(parts)} parts were given.")
        if definition.options.abstract:
            raise InvalidKey(f"{cls.__name__} is abstract (Meta.abstract): use one of its subclasses.")
        if names is None and not parts:
            raise InvalidKey(f"{cls.__name__}.at() needs a key. An object type with one object sets Meta.key = ().")
        return Ref(definition, keys.join(parts))

    # -------------------------------------------------------------------------------------------- inside

    @property
    def key(self) -> str:
        """The object's key: its parts, escaped and joined by ``/``; ``-`` for a singleton."""
        return self._jido.name[1]

    @property
    def key_parts(self) -> tuple[str, ...]:
        """The key's parts as strings, unescaped; empty for a singleton."""
        return () if self._jido.definition.options.key == () else keys.split(self._jido.name[1])

    @property
    def ref(self) -> Ref[Self]:
        """This object's own ref, to be passed to others."""
        return Ref(self._jido.definition, self._jido.name[1])

    @property
    def seq(self) -> int:
        """How many turns are in the object's journal, finished ones that are not yet committed included, the open one not; 0
        for an object that does not exist. A turn that writes no row does not count."""
        return self._jido.seq

    @property
    def turn(self) -> TurnInfo:
        """The call that is being executed, frozen (``TurnInfo``); raises ``StateError`` outside a turn."""
        return self._jido.turn_now().info()

    def now(self) -> datetime:
        """The time of this turn by this process's clock: an aware ``datetime`` in UTC, constant within the turn, and the one in
        its journal row. Raises ``StateError`` outside a turn."""
        return self._jido.turn_now().now

    def on_commit(self, action: Callable[[], object]) -> None:
        """Call ``action`` after this turn is committed; never if it is not.

        It lives in memory, so a crash in between loses it. It runs on a thread of its own, one after another, where it may
        block; what it raises is logged and changes nothing. Raises ``StateError`` outside a turn.
        """
        turn = self._jido.turn_now()
        is_async = inspect.iscoroutinefunction(action)
        if is_async or not callable(action):
            raise InvalidArguments(f"{type(self).__name__}.on_commit takes a function without arguments, not {action!r}.")
        turn.later(partial(self._jido.host.after_commit, action))

    # -------------------------------------------------------------------------------------------- later, and to others

    def schedule(
        self,
        method: str | Callable[..., Any],
        *,
        after: float | timedelta | None = None,
        at: datetime | None = None,
        every: float | timedelta | str | None = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        missed: str = "once",
        zone: str | None = None,
    ) -> str:
        """Have a method of this object called later; returns the alarm's name. It is set when this turn commits, or not at all.

        ``after`` (seconds or timedelta) or ``at`` (aware datetime) says when; ``every`` makes it recur, each so many seconds or
        at the times of a cron expression in the time zone ``zone`` (``settings.TIME_ZONE`` if none is given). An alarm with the
        same ``name`` is replaced. Of ticks that were missed while no process ran, ``missed="once"`` makes up for one, ``"skip"``
        for none. Raises ``InvalidArguments``; outside a turn, or in a ``@query``, ``StateError``.
        """
        return alarms.schedule(
            self._jido, method, after=after, at=at, every=every, args=args, kwargs=kwargs, name=name, missed=missed, zone=zone
        )

    def unschedule(self, name: str) -> bool:
        """Take an alarm back; whether there was one."""
        return alarms.unschedule(self._jido, name)

    def alarms(self) -> list[Alarm]:
        """The alarms that are set, the next one first."""
        return alarms.listed(self._jido)

    def send(self, ref: Ref[Any], method: str | Callable[..., Any], /, *args: Any, **kwargs: Any) -> str:
        """Send a durable message: a call that leaves with this turn's commit and is applied once. Returns its call id.

        What this object sends to another one is applied in that order. A message that fails is tried again; one that is refused,
        or has failed too often, is kept as a dead letter. Raises ``MessageTooLarge``, ``InvalidArguments``, ``StateError``.
        """
        return inbox.send(self._jido, ref, method, args, kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        activation = self._jido
        if name in activation.definition.shape:
            activation.state.set(name, value)
        elif name in activation.definition.transients:
            self.__dict__[name] = value
        else:
            raise _undeclared(self, name)

    def __delattr__(self, name: str) -> None:
        raise StateError(f"{type(self).__name__}.{name} cannot be deleted: assign its empty value instead.")

    def __getattr__(self, name: str) -> Any:
        raise _undeclared(self, name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._jido.name[1]!r} at seq {self._jido.seq}>"

    def __reduce__(self) -> Any:
        raise DefinitionError(f"A {type(self).__name__} lives in one process: pass its ref (self.ref) instead of the object.")


def _undeclared(instance: DurableObject, name: str) -> UndeclaredAttribute:
    definition = type(instance)._jido_definition
    if name in dir(type(instance)):
        return UndeclaredAttribute(type(instance).__name__, name, " that can be assigned: in the class body it has no annotation")
    known = [*definition.shape, *definition.transients, *definition.method_names()]
    return UndeclaredAttribute(type(instance).__name__, name, did_you_mean(name, known))


# Names of the base class, those of later versions included: a subclass that used one would break on upgrade.
_RESERVED = frozenset(name for name in vars(DurableObject) if not name.startswith("__")) | frozenset(
    {
        "AlreadyExists", "DoesNotExist", "broadcast", "connections", "destroy", "history", "objects", "on_commit",
        "start",
    }
)  # fmt: skip
