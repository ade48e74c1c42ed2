"""Refs: the cheap, typed handle by which everything calls an object.

A ref knows a type, a key and options; it does no I/O itself. What a call does with it is the router's business, which
the surface installs here (``route_with``), so that this floor knows neither processes nor Django.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload
from uuid import UUID

from . import codec, ids, keys
from .errors import ConfigurationError, InvalidArguments
from .limits import KEY_BYTES, is_positive

if TYPE_CHECKING:
    from .definition import Definition
from .methods import Method

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What ``using`` sets. ``timeout`` in seconds."""

    timeout: float | None = None
    call_id: str | None = None
    user: int | str | None = None
    confirmed: bool = False


_DEFAULT = CallOptions()


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
        """Call a method and wait for its result. In a running event loop it raises ``BlockingCall``: use ``acall``.

        Raises what the method refused with (``ObjectException``), ``CallFailed`` for any other exception of it, and the
        errors of ``jido_objects.errors``, each of which says whether the call was applied.
        """
        return _router().call(self, self._method(method), args, kwargs)

    @overload
    async def acall(self, method: Callable[Concatenate[T, P], Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def acall(self, method: Callable[Concatenate[T, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def acall(self, method: str, /, *args: Any, **kwargs: Any) -> Any: ...
    async def acall(self, method: Any, /, *args: Any, **kwargs: Any) -> Any:
        """``call`` for async code, on any event loop."""
        return await _router().acall(self, self._method(method), args, kwargs)

    @overload
    def cast(self, method: Callable[Concatenate[T, P], Any], /, *args: P.args, **kwargs: P.kwargs) -> str: ...
    @overload
    def cast(self, method: str, /, *args: Any, **kwargs: Any) -> str: ...
    def cast(self, method: Any, /, *args: Any, **kwargs: Any) -> str:
        """Hand a call over and return its id without waiting. It runs at most once, and not at all if this process dies first.

        Inside ``transaction.atomic()`` it leaves on commit; inside a turn, with the turn's commit. Its errors are logged.
        """
        return _router().cast(self, self._method(method), args, kwargs)

    @overload
    async def acast(self, method: Callable[Concatenate[T, P], Any], /, *args: P.args, **kwargs: P.kwargs) -> str: ...
    @overload
    async def acast(self, method: str, /, *args: Any, **kwargs: Any) -> str: ...
    async def acast(self, method: Any, /, *args: Any, **kwargs: Any) -> str:
        """``cast`` for async code."""
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
        """Read a declared field, or a ``@query`` with its arguments. Never creates the object."""
        return _router().call(self, self.definition.reader(name), args, kwargs)

    async def aget(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """``get`` for async code."""
        return await _router().acall(self, self.definition.reader(name), args, kwargs)

    def using(
        self, *, timeout: float | None = None, call_id: str | None = None, user: object = None, confirmed: bool | None = None
    ) -> Ref[T]:
        """The same ref with options for its calls.

        ``timeout`` (seconds) bounds the whole call. ``call_id`` makes it idempotent: the same id returns the recorded
        result instead of running again. ``user`` (a model instance or its pk) is what ``self.turn.user_id`` tells the
        method. ``confirmed`` makes a read ask the database whether this owner is still the owner.
        """
        options = self.options
        if timeout is not None:
            if not is_positive(timeout):
                raise InvalidArguments(f"timeout is a number of seconds above zero, not {timeout!r}.")
            options = replace(options, timeout=float(timeout))
        if call_id is not None:
            options = replace(options, call_id=ids.check(call_id))
        if user is not None:
            options = replace(options, user=_user_id(user))
        if confirmed is not None:
            options = replace(options, confirmed=bool(confirmed))
        return Ref(self.definition, self.key, options)

    # -------------------------------------------------------------------------------------------- looking, without waking it

    def peek(self) -> dict[str, Any] | None:
        """The last committed state as a plain dict, or ``None`` if the object does not exist."""
        return _router().peek(self)

    async def apeek(self) -> dict[str, Any] | None:
        """``peek`` for async code."""
        return await _router().apeek(self)

    def exists(self) -> bool:
        """Whether the object has been created by a committed write."""
        return _router().exists(self)

    async def aexists(self) -> bool:
        """``exists`` for async code."""
        return await _router().aexists(self)

    # -------------------------------------------------------------------------------------------- identity

    @property
    def label(self) -> str:
        """Label of the object's type, ``app_label.ClassName``."""
        return self.definition.label

    @property
    def key_parts(self) -> tuple[str, ...]:
        """The key's parts, unescaped."""
        return () if self.definition.options.key == () else keys.split(self.key)

    def _method(self, method: str | Callable[..., Any]) -> Method:
        return self.definition.method(method) if isinstance(method, str) else self.definition.method_of(method)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and self.key == other.key and self.definition.label == other.definition.label

    def __hash__(self) -> int:
        return hash((self.definition.label, self.key))

    def __repr__(self) -> str:
        return f"{self.definition.cls.__name__}.at({', '.join(map(repr, self.key_parts))})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _ref_of, (self.definition.label, self.key)


def _ref_of(label: str, key: str) -> Ref[Any]:
    from .definition import Definition

    return Ref(Definition.of(label), key)


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
