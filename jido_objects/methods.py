"""The methods of an object type: what marks them, and how a call's arguments are bound, copied and digested."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain, repeat
from typing import Any

from .codec import Kind, Refused, changeable, kind_of
from .codec.dynamic import DYNAMIC
from .codec.kinds import from_json, to_json, to_sorted_json
from .errors import DefinitionError, InvalidArguments, InvalidValue
from .options import did_you_mean
from .state import Field


@dataclass(slots=True)
class Marks:
    """What the decorators say of a function."""

    query: bool = False
    expose: bool = False
    creates: bool = False
    transactional: bool = False


def marks_of(function: Callable[..., Any]) -> Marks:
    """The marks of a function, made on first use."""
    marks = getattr(function, "__jido__", None)
    if marks is None:
        marks = Marks()
        function.__jido__ = marks  # type: ignore[attr-defined]
    return typing.cast(Marks, marks)


def is_transactional(function: Callable[..., Any]) -> bool:
    """Whether a function is marked ``@transactional``."""
    marks: Marks | None = getattr(function, "__jido__", None)
    return marks is not None and marks.transactional


def check_transactional(label: str, function: Callable[..., Any], *, hook: bool) -> None:
    """Raises ``DefinitionError`` where ``@transactional`` cannot be."""
    if hook:
        raise DefinitionError(f"{label} is a hook, and runs in the turn of the method that was called: mark that method @transactional.")
    if inspect.iscoroutinefunction(function):
        raise DefinitionError(
            f"{label} is @transactional and async, and Django's transactions are not: write `def {function.__name__}(self, …)`. "
            f"It runs on a thread of its own, where it may block."
        )
    if function.__jido__.query:  # type: ignore[attr-defined]
        raise DefinitionError(f"{label} is both @transactional and @query: a query writes nothing. Drop one of the two.")


_REQUIRED: Any = inspect.Parameter.empty
_SCALARS = frozenset({str, int, bool, float, type(None)})
_CONTAINERS = frozenset({list, dict, set})


class Method:
    """A callable method of an object type: how to bind, copy, digest and run it."""

    __slots__ = (
        "_defaulted",
        "_encoded_defaults",
        "_keywords",
        "_native",
        "_plain",
        "_prefix",
        "creates",
        "defaults",
        "expose",
        "function",
        "is_async",
        "kinds",
        "label",
        "mutable",
        "name",
        "named",
        "names",
        "positional",
        "query",
        "recorded",
        "required",
        "result",
        "returns",
        "signature",
        "transactional",
        "variadic",
        "variadic_named",
        "wheres",
    )  # fmt: skip

    def __init__(self, type_name: str, function: Callable[..., Any], namespace: Mapping[str, Any]) -> None:
        marks: Marks = getattr(function, "__jido__", None) or Marks()
        self.name = function.__name__
        self.label = f"{type_name}.{self.name}"
        self.returns = f"what {self.label}() returned"
        self.function = function
        self.query = marks.query
        self.recorded = not marks.query
        self.expose = marks.expose
        self.creates = marks.creates
        self.transactional = marks.transactional
        self.is_async = inspect.iscoroutinefunction(function)
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise DefinitionError(f"{self.label} is a generator; a method returns one value: return a list.")
        hints = resolve_hints(function, namespace, self.label)
        self.signature = inspect.signature(function)
        parameters = list(self.signature.parameters.values())[1:]
        self.names: list[str] = []
        self.kinds: list[Kind] = []
        self.wheres: list[str] = []
        self.defaults: list[Any] = []
        self.named: dict[str, tuple[Kind, Any]] = {}
        self.variadic: Kind | None = None
        self.variadic_named: Kind | None = None
        for parameter in parameters:
            where = f"{self.label}({parameter.name})"
            kind = kind_of(hints.get(parameter.name, Any), where=where, state=False)
            default = _own_default(kind, parameter.default, where)
            if parameter.kind is parameter.VAR_POSITIONAL:
                self.variadic = kind
            elif parameter.kind is parameter.VAR_KEYWORD:
                self.variadic_named = kind
            elif parameter.kind is parameter.KEYWORD_ONLY:
                self.named[parameter.name] = (kind, default)
            else:
                self.names.append("" if parameter.kind is parameter.POSITIONAL_ONLY else parameter.name)
                self.kinds.append(kind)
                self.wheres.append(where)
                self.defaults.append(default)
        self.positional = len(self.names)
        self.required = sum(default is _REQUIRED for default in self.defaults)
        kinds = [*self.kinds, *(kind for kind, _ in self.named.values()), self.variadic, self.variadic_named]
        self.mutable = any(kind is not None and changeable(kind) for kind in kinds)
        """Whether the method can change an argument, or something in one, which so must be copied for each run (``fresh``)."""
        self._keywords = frozenset(filter(None, (*self.names, *self.named)))
        self._encoded_defaults: dict[int | str, str] = {}
        self._plain = self.variadic is None and self.variadic_named is None and not self.named
        self._native = self._plain and all(kind.native and not kind.unordered for kind in self.kinds)
        self._prefix = f"{self.name}\0".encode()
        # What each number of positional arguments leaves to defaults, where a default can be shared.
        self._defaulted: dict[int, tuple[Any, ...]] = {self.positional: ()}
        for given in range(self.positional - 1, self.required - 1, -1):
            if changeable(self.kinds[given]):
                break
            self._defaulted[given] = (self.defaults[given], *self._defaulted[given + 1])
        self.result = kind_of(hints.get("return", Any), where=f"{self.label}()", state=False)

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Private, checked copies of the arguments, in the one form that every spelling of the call has.

        Raises ``InvalidArguments`` where they do not fit the signature, ``InvalidValue`` where a value does not fit its
        annotation.
        """
        if self._plain and not kwargs:
            defaulted = self._defaulted.get(len(args))
            if defaulted is not None:
                copies = [kind.copy(value, where) for kind, value, where in zip(self.kinds, args, self.wheres, strict=False)]
                return (*copies, *defaulted), kwargs
        return self._bind(args, kwargs)

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        rest = dict(kwargs)
        if self.variadic_named is None:
            for name in rest:
                # Before what is missing: a misspelled name is the reason why another one is.
                if name not in self._keywords:
                    raise self._misfit(f"there is no parameter {name!r}{did_you_mean(name, self._keywords)}")
        bound: list[Any] = []
        missing: list[str] = []
        for position, (name, kind, where, default) in enumerate(zip(self.names, self.kinds, self.wheres, self.defaults, strict=True)):
            if position < len(args):
                value = args[position]
                if name and name in rest:
                    raise self._misfit(f"{name!r} is given twice")
            elif name and name in rest:
                value = rest.pop(name)
            elif default is not _REQUIRED:
                value = default
            else:
                missing.append(name or f"argument {position + 1}")
                continue
            # A default is the class's own word (`buyer: str = None`): it is not held to the annotation.
            bound.append(value if value is default and value is None else kind.copy(value, where))
        extra = args[self.positional :]
        if extra:
            if self.variadic is None:
                raise self._misfit(f"{len(args)} positional arguments are given, it takes {self.positional}")
            bound.extend(self.variadic.copy(value, f"{self.label}(*)") for value in extra)
        named: dict[str, Any] = {}
        for name, (kind, default) in self.named.items():
            if name in rest:
                named[name] = kind.copy(rest.pop(name), f"{self.label}({name})")
            elif default is _REQUIRED:
                missing.append(name)
            else:
                named[name] = default if default is None else kind.copy(default, f"{self.label}({name})")
        if missing:
            raise self._misfit(f"{', '.join(map(repr, missing))} {'is' if len(missing) == 1 else 'are'} missing")
        for name in sorted(rest):
            named[name] = typing.cast(Kind, self.variadic_named).copy(rest[name], f"{self.label}({name})")
        return tuple(bound), named

    def fresh(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Copies of bound arguments for one run: what it does to them must not reach the next, should this one come to nothing."""
        kinds = self.kinds if self.variadic is None else [*self.kinds, *[self.variadic] * (len(args) - self.positional)]
        # A `None` may be a default that its annotation does not allow.
        copies = tuple([None if value is None else kind.take(value) for kind, value in zip(kinds, args, strict=True)])
        if not kwargs:
            return copies, {}
        return copies, {name: None if value is None else self._named_kind(name).take(value) for name, value in kwargs.items()}

    def _named_kind(self, name: str) -> Kind:
        return self.named[name][0] if name in self.named else typing.cast(Kind, self.variadic_named)

    def _misfit(self, what: str) -> InvalidArguments:
        own = self.signature.replace(
            parameters=[p.replace(annotation=p.empty) for p in list(self.signature.parameters.values())[1:]],
            return_annotation=inspect.Signature.empty,
        )
        return InvalidArguments(f"{self.label}{own}: {what}.")

    def encode_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """What bound arguments say, in the one form that equal arguments share: for the digest and the message limit.

        A JSON array of the positional ones, and after it, where there are any, a JSON object of those given by name; keys
        and sets sorted. Arguments at the end that equal their default, and named ones that do, are left out: so a call is
        the same one to code that has since got another parameter with a default.
        """
        given = len(args)
        if self.required < given <= self.positional:
            given = self._given(args)
            args = args[:given]
        if self._native:
            return to_sorted_json(args)
        parts = [_canonical(kind, value) for kind, value in zip(self.kinds, args, strict=False)]
        if given > self.positional and self.variadic is not None:
            parts.extend(self.variadic.encode_canonical(value) for value in args[self.positional :])
        encoded = f"[{','.join(parts)}]"
        if kwargs:
            words = []
            for name, value in sorted(kwargs.items()):
                kind, default = self.named.get(name) or (typing.cast(Kind, self.variadic_named), _REQUIRED)
                if default is _REQUIRED or not self._is_default(name, kind, value, default):
                    words.append(f"{to_json(name).decode()}:{_canonical(kind, value)}")
            if words:
                encoded += f"{{{','.join(words)}}}"
        return encoded.encode()

    def _given(self, args: tuple[Any, ...]) -> int:
        """How many of the positional arguments must be named, the others being what they are by default."""
        given = len(args)
        while given > self.required:
            position = given - 1
            value, default = args[position], self.defaults[position]
            if value is not default and not self._is_default(position, self.kinds[position], value, default):
                break
            given = position
        return given

    def _is_default(self, place: int | str, kind: Kind, value: Any, default: Any) -> bool:
        """Whether a value is the default by its canonical JSON: `1` and `True` are equal in Python, and not the same."""
        cls = type(value)
        if cls in _SCALARS and value != default:
            return False
        if cls in _CONTAINERS and cls is type(default) and not (value and default):
            return not value and not default
        encoded = self._encoded_defaults.get(place)
        if encoded is None:
            encoded = self._encoded_defaults[place] = _canonical(kind, default)
        return _canonical(kind, value) == encoded

    def dump_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, str]:
        """Bound arguments as they are stored until the call: JSON of a list, and of an object."""
        kinds = [*self.kinds, *([typing.cast(Kind, self.variadic)] * (len(args) - self.positional))]
        parts = [kind.encode(value) if value is not None else "null" for kind, value in zip(kinds, args, strict=True)]
        named = {name: None if value is None else self._kind_of(name).dump(value) for name, value in kwargs.items()}
        return f"[{','.join(parts)}]", to_json(named).decode()

    def load_arguments(self, args: str, kwargs: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Stored arguments, bound again: the method may have got more parameters since. Raises ``InvalidArguments``."""
        try:
            values = [
                value if value is None else kind.load(value)
                for value, kind in zip(from_json(args), chain(self.kinds, repeat(self.variadic or DYNAMIC)), strict=False)
            ]
            named = {name: value if value is None else self._kind_of(name).load(value) for name, value in from_json(kwargs).items()}
        except Refused as refused:
            raise InvalidArguments(f"{self.label}: its stored arguments cannot be read: {refused.corrupt()}.") from None
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            raise InvalidArguments(f"{self.label}: its stored arguments cannot be read: {str(error).removesuffix('.')}.") from error
        return self.bind(tuple(values), named)

    def _kind_of(self, name: str) -> Kind:
        if name in self.named:
            return self.named[name][0]
        if name in self.names:
            return self.kinds[self.names.index(name)]
        return self.variadic_named or DYNAMIC

    def digest(self, encoded: bytes) -> int:
        """64 bits that tell this call's method and arguments from another's."""
        return int.from_bytes(blake2b(self._prefix + encoded, digest_size=8).digest(), "big", signed=True)


def _own_default(kind: Kind, default: Any, where: str) -> Any:
    """A private copy of a default: the class may hand out its own container."""
    # None is the class's own word (`buyer: str = None`): it is not held to the annotation.
    if default is _REQUIRED or default is None:
        return default
    try:
        return kind.copy(default, where)
    except InvalidValue as error:
        raise DefinitionError(f"The default of {error}") from None


def _canonical(kind: Kind, value: Any) -> str:
    return "null" if value is None else kind.encode_canonical(value)


class FieldReader(Method):
    """Reads one field, as a query that the class need not write."""

    __slots__ = ()

    def __init__(self, type_name: str, name: str, field: Field) -> None:
        def read(instance: Any) -> Any:
            return instance.__dict__[name]

        read.__name__ = f"get:{name}"
        marks_of(read).query = True
        super().__init__(type_name, read, {})
        self.label = f"{type_name}.{name}"
        self.result = field.kind


def resolve_hints(target: Any, namespace: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Annotations of a class or function, strings included; raises ``DefinitionError`` naming what cannot be found."""
    try:
        if isinstance(target, type):
            hints: dict[str, Any] = {}
            for base in reversed(target.__mro__):
                if base is object or base.__module__ == f"{__package__}.durable":
                    continue
                scope = {**vars(sys.modules.get(base.__module__, typing)), **namespace}
                holder = type(base.__name__, (), {"__annotations__": inspect.get_annotations(base)})
                hints.update(typing.get_type_hints(holder, scope, scope, include_extras=True))
            return hints
        scope = {**getattr(target, "__globals__", {}), **namespace}
        return typing.get_type_hints(target, scope, scope, include_extras=True)
    except NameError as error:
        raise DefinitionError(
            f"{where}: the annotation names {error.name!r}, which is not defined when objects are set up. "
            f"Import it outside `if TYPE_CHECKING`, or define it above the class."
        ) from error
    except (TypeError, SyntaxError) as error:
        raise DefinitionError(f"{where}: an annotation cannot be read: {error}") from error
