"""Refs: the cheap, typed handle by which everything calls an object.

A ref knows a type, a key and options; it does no I/O itself. What a call does with it is the router's business, which
the surface installs here (``route_with``), so that this floor knows neither processes nor Django.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, fields, replace
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload
from uuid import UUID

from . import codec, ids, keys
from .errors import ConfigurationError, InvalidArguments, UnknownAttribute
from .limits import KEY_BYTES, is_positive
from .options import did_you_mean

if TYPE_CHECKING:
    from .definition import Definition
from .methods import Method

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What ``using`` sets."""

    timeout: float | None = None
    """Seconds for the whole call; ``None``: 30."""
    call_id: str | None = None
    """The caller's own id; ``None``: a new one is generated for each call."""
    user: int | str | None = None
    """Primary key of the user; ``None``: nobody, in a turn the user of the turn's call."""
    confirmed: bool = False
    """Whether a read asks the database if this process is still the owner."""


_DEFAULT = CallOptions()
OPTIONS = tuple(field.name for field in fields(CallOptions))


class _Unchanged:
    def __repr__(self) -> str:
        return "unchanged"


_UNCHANGED: Any = _Unchanged()


def _named_options(using: Callable[P, R]) -> Callable[P, R]:
    """Refuse an option that does not exist by an error of the tree, and leave the signature to the type checkers."""

    @wraps(using)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        if len(args) > 1:
            raise InvalidArguments(f"{args[0]!r}.using takes its options by name: using(timeout={args[1]!r}).")
        for name in kwargs:
            if name not in OPTIONS:
                raise InvalidArguments(
                    f"{args[0]!r}.using has no option {name!r}{did_you_mean(name, OPTIONS)}. Its options are {', '.join(OPTIONS)}."
                )
        return using(*args, **kwargs)

    return checked


class Router(Protocol):
    """What carries calls. The blocking half raises ``BlockingCall`` inside a running event loop."""

    def call(self, ref: Ref[Any], method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...

    async def acall(self, ref: Ref[Any], method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...

    def cast(self, ref: Ref[Any], method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str: ...

    def send(self, ref: Ref[Any], method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str: ...

    async def asend(self, ref: Ref[Any], method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str: ...

    def peek(self, ref: Ref[Any]) -> dict[str, Any] | None: ...

    async def apeek(self, ref: Ref[Any]) -> dict[str, Any] | None: ...

    def exists(self, ref: Ref[Any]) -> bool: ...

    async def aexists(self, ref: Ref[Any]) -> bool: ...

    def result(self, ref: Ref[Any], call_id: str) -> Any: ...

    async def aresult(self, ref: Ref[Any], call_id: str) -> Any: ...


def _no_router() -> Router:
    raise ConfigurationError("Django is not set up: call django.setup() first, with 'jido_objects' in INSTALLED_APPS.")


_router: Callable[[], Router] = _no_router


def route_with(provider: Callable[[], Router]) -> None:
    """Set where refs find the process's router."""
    global _router
    _router = provider


class Ref(Generic[T]):
    """One object, by type and key. Make it with ``Type.at(key)``; it compares and hashes by both."""

    __slots__ = ("definition", "key", "options")

    def __init__(self, definition: Definition, key: str, options: CallOptions = _DEFAULT) -> None:
        self.definition = definition
        self.key = key
        self.options = options

    # -------------------------------------------------------------------------------------------- calls

    @overload
    def call(self, method: Callable[Concatenate[T, P], Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def call(self, method: Callable[Concatenate[T, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any: ...
    def call(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method, by its name or by the function, and wait for its result.

        It waits for 30 seconds, or ``using(timeout=…)``. In a running event loop and inside a turn it raises ``BlockingCall``:
        use ``acall``. Before anything runs, ``UnknownMethod``, ``InvalidArguments`` and ``InvalidValue`` say what is wrong with
        the call. Then it raises what the method refused with (an ``ObjectException``), ``CallFailed`` for any other exception
        of it, and the errors of ``jido_objects.errors`` (``Overloaded``, ``CallTimeout``, ``OwnedElsewhere``, …), each of which
        says whether the call was applied (``applied``), and whether it may be sent again (``retryable``).
        """
        return _router().call(self, self._method(method), args, kwargs)

    @overload
    async def acall(self, method: Callable[Concatenate[T, P], Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def acall(self, method: Callable[Concatenate[T, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def acall(self, method: str, /, *args: Any, **kwargs: Any) -> Any: ...
    async def acall(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        """``call`` for async code: awaits the result on any event loop, inside a turn too. Raises what ``call`` raises, besides
        ``BlockingCall``, and ``ReentrantCall`` where the call could never start. Cancelled, a call that has not started is
        withdrawn; one that has started goes on."""
        return await _router().acall(self, self._method(method), args, kwargs)

    @overload
    def cast(self, method: Callable[Concatenate[T, P], Any], /, *args: P.args, **kwargs: P.kwargs) -> str: ...
    @overload
    def cast(self, method: str, /, *args: Any, **kwargs: Any) -> str: ...
    def cast(self, method: Any, /, *args: Any, **kwargs: Any) -> str:
        """Hand a call over and return its id without waiting. It runs at most once, and not at all if this process dies first.

        Inside ``transaction.atomic()`` on the objects' database it leaves on commit; inside a turn, with the turn's commit. Its
        errors are logged (``jido_objects.router``); what is wrong with its arguments is raised here.
        """
        return _router().cast(self, self._method(method), args, kwargs)

    @overload
    async def acast(self, method: Callable[Concatenate[T, P], Any], /, *args: P.args, **kwargs: P.kwargs) -> str: ...
    @overload
    async def acast(self, method: str, /, *args: Any, **kwargs: Any) -> str: ...
    async def acast(self, method: Any, /, *args: Any, **kwargs: Any) -> str:
        """``cast`` for async code: returns the call's id and raises what ``cast`` raises."""
        return _router().cast(self, self._method(method), args, kwargs)

    @overload
    def send(self, method: Callable[Concatenate[T, P], Any], /, *args: P.args, **kwargs: P.kwargs) -> str: ...
    @overload
    def send(self, method: str, /, *args: Any, **kwargs: Any) -> str: ...
    def send(self, method: Any, /, *args: Any, **kwargs: Any) -> str:
        """Send a durable message and return its call id: a call that is made once, whichever process dies.

        Inside ``transaction.atomic()`` it is part of that transaction; inside a turn it leaves with the turn's commit. In a
        running event loop it raises ``BlockingCall``: use ``asend``. Raises ``MessageTooLarge``, ``InvalidArguments``.
        """
        return _router().send(self, self._method(method), args, kwargs)

    @overload
    async def asend(self, method: Callable[Concatenate[T, P], Any], /, *args: P.args, **kwargs: P.kwargs) -> str: ...
    @overload
    async def asend(self, method: str, /, *args: Any, **kwargs: Any) -> str: ...
    async def asend(self, method: Any, /, *args: Any, **kwargs: Any) -> str:
        """``send`` for async code."""
        return await _router().asend(self, self._method(method), args, kwargs)

    def get(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Read a declared field, or a ``@query`` with its arguments; blocks as ``call`` does. Never creates the object: one that
        does not exist answers from its defaults. Raises ``UnknownField``, and what ``call`` raises."""
        return _router().call(self, self.definition.reader(name), args, kwargs)

    async def aget(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """``get`` for async code; raises what ``acall`` and ``get`` raise."""
        return await _router().acall(self, self.definition.reader(name), args, kwargs)

    @_named_options
    def using(
        self,
        *,
        timeout: float | None = _UNCHANGED,
        call_id: str | None = _UNCHANGED,
        user: object = _UNCHANGED,
        confirmed: bool | None = _UNCHANGED,
    ) -> Ref[T]:
        """The same ref with options for its calls: what is not given stays, ``None`` resets to the default.

        ``timeout`` (seconds, a number above zero; default 30) bounds the whole call. ``call_id`` (text of 1 to 200 bytes;
        default: a new one for each call) makes it idempotent: the same id returns the recorded result instead of running
        again. ``user`` (a model instance or its pk; default: none, in a turn the user of the turn's call) is what
        ``self.turn.user_id`` tells the method. ``confirmed`` (default ``False``) makes a read ask the database whether this
        owner is still the owner. Raises ``InvalidArguments``, also for an option that does not exist.
        """
        options = self.options
        if timeout is not _UNCHANGED:
            if timeout is not None and not is_positive(timeout):
                raise InvalidArguments(f"timeout is a number of seconds above zero, not {timeout!r}.")
            options = replace(options, timeout=None if timeout is None else float(timeout))
        if call_id is not _UNCHANGED:
            options = replace(options, call_id=None if call_id is None else _call_id(call_id))
        if user is not _UNCHANGED:
            options = replace(options, user=_user_id(user))
        if confirmed is not _UNCHANGED:
            options = replace(options, confirmed=bool(confirmed))
        return Ref(self.definition, self.key, options)

    # -------------------------------------------------------------------------------------------- looking, without waking it

    def peek(self) -> dict[str, Any] | None:
        """The last committed state as a plain dict of fields, or ``None`` if the object does not exist.

        Reads the database, from any process, and does not wake the object. Blocks for 30 seconds at most, or
        ``using(timeout=…)``; raises ``BlockingCall`` in a running event loop, ``StoreUnavailable`` where the database does not
        answer, ``CorruptObject`` and ``NewerVersion`` where the state cannot be read.
        """
        return _router().peek(self)

    async def apeek(self) -> dict[str, Any] | None:
        """``peek`` for async code; raises what ``peek`` raises, besides ``BlockingCall``."""
        return await _router().apeek(self)

    def exists(self) -> bool:
        """Whether the object has been created by a committed write. Reads the database and blocks as ``peek`` does; raises
        ``BlockingCall`` and ``StoreUnavailable``."""
        return _router().exists(self)

    async def aexists(self) -> bool:
        """``exists`` for async code; raises ``StoreUnavailable``."""
        return await _router().aexists(self)

    def result(self, call_id: str) -> Any:
        """The recorded result of the call with this id; what it refused with is raised. Reads the database, from any process.

        Raises ``UnknownCall`` where no such call is recorded, and ``CallExpired`` where it may have been: a generated id that is
        older than what is remembered.
        """
        return _router().result(self, ids.check(call_id))

    async def aresult(self, call_id: str) -> Any:
        """``result`` for async code."""
        return await _router().aresult(self, ids.check(call_id))

    # -------------------------------------------------------------------------------------------- identity

    @property
    def label(self) -> str:
        """Label of the object's type, ``app_label.ClassName``."""
        return self.definition.label

    @property
    def key_parts(self) -> tuple[str, ...]:
        """The key's parts as strings, unescaped; empty for a singleton."""
        return () if self.definition.options.key == () else keys.split(self.key)

    def _method(self, method: str | Callable[..., Any]) -> Method:
        return self.definition.method(method) if isinstance(method, str) else self.definition.method_of(method)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and self.key == other.key and self.definition.label == other.definition.label

    def __hash__(self) -> int:
        return hash((self.definition.label, self.key))

    def __repr__(self) -> str:
        return f"{self.definition.cls.__name__}.at({', '.join(map(repr, self.key_parts))})"

    if not TYPE_CHECKING:  # a type checker must know it for what it is: an attribute that is not there

        def __getattr__(self, name: str) -> Any:
            # Protocols (copying, pickling, typing, shells) ask for private names, and want a plain no.
            if name.startswith("_") or name in Ref.__slots__:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            own = [name for name in dir(Ref) if not name.startswith("_")]
            raise UnknownAttribute(self, name, self.definition.not_of_a_ref(name, own))

    def __reduce__(self) -> tuple[Any, ...]:
        changed = {name: value for name in OPTIONS if (value := getattr(self.options, name)) != getattr(_DEFAULT, name)}
        return _ref_of, (self.definition.label, self.key, changed) if changed else (self.definition.label, self.key)


def _ref_of(label: str, key: str, options: dict[str, Any] | None = None) -> Ref[Any]:
    from .definition import Definition

    # Options that this code does not know were set by newer code: they said nothing that it could do.
    known = {name: value for name, value in (options or {}).items() if name in OPTIONS}
    return Ref(Definition.of(label), key, CallOptions(**known) if known else _DEFAULT)


def _call_id(call_id: object) -> str:
    if not isinstance(call_id, str):
        raise InvalidArguments(f"A call_id is text, not {call_id!r}: write str(…) around it.")
    return ids.check(call_id)


def _user_id(user: object) -> int | str | None:
    pk = getattr(user, "pk", user)
    if isinstance(pk, UUID):
        pk = str(pk)
    if pk is None or (isinstance(pk, int) and not isinstance(pk, bool)):
        return pk
    if not isinstance(pk, str) or not pk or len(pk.encode("utf-8", "replace")) > KEY_BYTES or not pk.isprintable():
        raise InvalidArguments(
            f"user is a model instance or its pk (an integer, a UUID, or text of at most {KEY_BYTES} bytes), not {user!r:.60}."
        )
    return pk


codec.register(Ref, "ref", lambda ref: [ref.definition.label, ref.key], lambda pair: _ref_of(*pair), form="array")
