"""What a ``DurableObject`` subclass declares, read once when the class is created.

A definition is a table: fields by name, methods by name, options. A call finds its method in this table and nowhere else,
so that no input can reach an attribute the class did not mean to offer.
"""

from __future__ import annotations

import difflib
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

from . import limits
from .codec import Kind, kind_of
from .codec.kinds import to_sorted_json
from .errors import DefinitionError, InvalidArguments, UnknownField, UnknownMethod, UnknownType
from .state import Field, Shape

if TYPE_CHECKING:
    from .durable import DurableObject

T = TypeVar("T")


class _TransientMarker:
    def __repr__(self) -> str:
        return "Transient"


_TRANSIENT = _TransientMarker()
Transient = Annotated[T, _TRANSIENT]
"""``cache: Transient[dict[str, int]] = {}``: memory of one activation, never journaled, of any type."""


@dataclass(slots=True)
class Marks:
    """What the decorators say of a function."""

    query: bool = False
    expose: bool = False


def marks_of(function: Callable[..., Any]) -> Marks:
    """The marks of a function, made on first use."""
    marks = getattr(function, "__jido__", None)
    if marks is None:
        marks = Marks()
        function.__jido__ = marks  # type: ignore[attr-defined]
    return typing.cast(Marks, marks)


@dataclass(frozen=True, slots=True)
class Options:
    """``class Meta`` of an object type. Seconds, bytes and counts."""

    label: str = ""
    key: tuple[str, ...] | None = None
    """Names of the key's parts; ``()`` is a singleton; ``None`` leaves the parts open."""
    kind: str = "durable"
    version: int = 1
    aliases: tuple[str, ...] = ()
    idle_seconds: float = limits.IDLE_SECONDS
    turn_timeout: float = limits.TURN_TIMEOUT
    snapshot_every: int = limits.SNAPSHOT_EVERY
    max_mailbox: int = limits.MAILBOX
    max_state_bytes: int = limits.STATE_BYTES
    retention: float | None = None
    expires: float | None = None
    index: tuple[str, ...] = ()
    region: str | None = None
    abstract: bool = False

    @classmethod
    def read(cls, owner: str, meta: type | None, inherited: Options | None = None) -> Options:
        """Check a ``class Meta`` and return its options; raises ``DefinitionError``.

        What it does not set is as in the base class, except for what names one type: label, aliases and abstract.
        """
        base = cls() if inherited is None else replace(inherited, label="", aliases=(), abstract=False)
        if meta is None:
            return base
        given: dict[str, Any] = {}
        for one in reversed(meta.__mro__[:-1]):
            given.update((name, value) for name, value in vars(one).items() if not name.startswith("__"))
        known = cls.__slots__
        for name in given:
            if name not in known:
                raise DefinitionError(f"{owner}.Meta has no option {name!r}{did_you_mean(name, known)}.")
        for name in ("key", "aliases", "index"):
            if isinstance(given.get(name), str):
                raise DefinitionError(f"{owner}.Meta.{name} is a tuple of names: write ({given[name]!r},).")
            if given.get(name) is not None:
                given[name] = tuple(given[name])
        options = replace(base, **given)
        if options.kind != "durable":
            raise DefinitionError(f"{owner}.Meta.kind {options.kind!r} is reserved; the kind that exists is 'durable'.")
        for name in ("idle_seconds", "turn_timeout", "snapshot_every", "max_mailbox", "max_state_bytes"):
            value = getattr(options, name)
            if not limits.is_positive(value):
                raise DefinitionError(f"{owner}.Meta.{name} is a number above zero, not {value!r}.")
        if not limits.is_positive(options.version) or options.version != int(options.version):
            raise DefinitionError(f"{owner}.Meta.version counts from 1, not {options.version!r}.")
        return options


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` or nothing."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


_REQUIRED: Any = inspect.Parameter.empty


class Method:
    """A callable method of an object type: how to bind, copy, digest and run it."""

    __slots__ = (
        "_defaulted",
        "_native",
        "_plain",
        "_prefix",
        "defaults",
        "expose",
        "function",
        "is_async",
        "kinds",
        "label",
        "name",
        "named",
        "names",
        "positional",
        "query",
        "recorded",
        "required",
        "result",
        "signature",
        "variadic",
        "variadic_named",
        "wheres",
    )  # fmt: skip

    def __init__(self, type_name: str, function: Callable[..., Any], namespace: Mapping[str, Any]) -> None:
        marks: Marks = getattr(function, "__jido__", None) or Marks()
        self.name = function.__name__
        self.label = f"{type_name}.{self.name}"
        self.function = function
        self.query = marks.query
        self.recorded = not marks.query
        self.expose = marks.expose
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
            if parameter.kind is parameter.VAR_POSITIONAL:
                self.variadic = kind
            elif parameter.kind is parameter.VAR_KEYWORD:
                self.variadic_named = kind
            elif parameter.kind is parameter.KEYWORD_ONLY:
                self.named[parameter.name] = (kind, parameter.default)
            else:
                self.names.append("" if parameter.kind is parameter.POSITIONAL_ONLY else parameter.name)
                self.kinds.append(kind)
                self.wheres.append(where)
                self.defaults.append(parameter.default)
        self.positional = len(self.names)
        self.required = sum(default is _REQUIRED for default in self.defaults)
        self._plain = self.variadic is None and self.variadic_named is None and not self.named
        self._native = self._plain and all(kind.native and not kind.unordered for kind in self.kinds)
        self._prefix = f"{self.name}\0".encode()
        # What each number of positional arguments leaves to defaults, where a default can be shared.
        self._defaulted: dict[int, tuple[Any, ...]] = {self.positional: ()}
        for given in range(self.positional - 1, self.required - 1, -1):
            if self.kinds[given].mutable:
                break
            value = self.defaults[given]
            value = value if value is None else self.kinds[given].copy(value, self.wheres[given])
            self._defaulted[given] = (value, *self._defaulted[given + 1])
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
        if rest and self.variadic_named is None:
            name = next(iter(rest))
            known = [name for name in (*self.names, *self.named) if name]
            raise self._misfit(f"there is no parameter {name!r}{did_you_mean(name, known)}")
        for name in sorted(rest):
            named[name] = typing.cast(Kind, self.variadic_named).copy(rest[name], f"{self.label}({name})")
        return tuple(bound), named

    def _misfit(self, what: str) -> InvalidArguments:
        own = self.signature.replace(
            parameters=[p.replace(annotation=p.empty) for p in list(self.signature.parameters.values())[1:]],
            return_annotation=inspect.Signature.empty,
        )
        return InvalidArguments(f"{self.label}{own}: {what}.")

    def encode_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """JSON of bound arguments, in the one form that equal arguments share: keys and sets sorted."""
        if self._native:
            return to_sorted_json(args)
        parts = [kind.encode_canonical(value) if value is not None else "null" for kind, value in zip(self.kinds, args, strict=False)]
        if len(args) > self.positional and self.variadic is not None:
            parts.extend(self.variadic.encode_canonical(value) for value in args[self.positional :])
        if kwargs:
            kinds = {name: kind for name, (kind, _) in self.named.items()}
            for name, value in kwargs.items():
                kind = kinds.get(name) or typing.cast(Kind, self.variadic_named)
                parts.append(f'{{"{name}":{kind.encode_canonical(value) if value is not None else "null"}}}')
        return f"[{','.join(parts)}]".encode()

    def digest(self, encoded: bytes) -> int:
        """64 bits that tell this call's method and arguments from another's."""
        return int.from_bytes(blake2b(self._prefix + encoded, digest_size=8).digest(), "big", signed=True)


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


class Definition:
    """One object type."""

    registry: ClassVar[dict[str, Definition]] = {}
    app_label_of: ClassVar[Callable[[str], str | None]] = staticmethod(lambda module: None)
    """Finds the app that holds a module; the surface sets it."""

    HOOKS: ClassVar[frozenset[str]] = frozenset({"on_create", "on_thaw", "on_attach", "on_message", "on_detach", "clean"})

    def __init__(self, cls: type[DurableObject], reserved: frozenset[str], namespace: Mapping[str, Any]) -> None:
        name = cls.__name__
        self.cls = cls
        above = next((vars(base)["_jido_definition"].options for base in cls.__mro__[1:] if "_jido_definition" in vars(base)), None)
        self.options = Options.read(name, cls.__dict__.get("Meta"), above)
        self.label = self.options.label or f"{self._app_label(cls.__module__)}.{name}"
        self.shape: Shape = {}
        self.transients: dict[str, Any] = {}
        self._functions: dict[str, Callable[..., Any]] = {}
        self._methods: dict[str, Method] = {}
        self._by_function: dict[Callable[..., Any], Method] = {}
        self._readers: dict[str, Method] = {}
        self._namespace = namespace
        self._read_annotations(reserved)
        self._read_methods(reserved)
        self.hooks = {hook: getattr(cls, hook) for hook in self.HOOKS if hook in self._functions}
        for hook in ("clean",):
            if inspect.iscoroutinefunction(self.hooks.get(hook)):
                raise DefinitionError(f"{name}.{hook} runs at the end of every turn and cannot be async: write `def {hook}(self)`.")

    # -------------------------------------------------------------------------------------------- reading the class

    @classmethod
    def _app_label(cls, module: str) -> str:
        label = cls.app_label_of(module)
        if label:
            return label
        parts = module.split(".")
        return parts[-2] if len(parts) > 1 and parts[-1] == "objects" else parts[-1].strip("_")

    def _read_annotations(self, reserved: frozenset[str]) -> None:
        cls, type_name = self.cls, self.cls.__name__
        hints = resolve_hints(cls, self._namespace, type_name)
        for name, annotation in hints.items():
            if typing.get_origin(annotation) is ClassVar or annotation is ClassVar:
                continue
            where = f"{type_name}.{name}"
            if name in reserved or name.startswith("_jido") or name in self.HOOKS:
                raise DefinitionError(f"{where}: the name {name!r} belongs to DurableObject. Choose another one.")
            default = inspect.getattr_static(cls, name, _REQUIRED)
            if isinstance(default, types.FunctionType | property | classmethod | staticmethod):
                raise DefinitionError(f"{where} is both a field and a method. Choose another name for one of them.")
            if typing.get_origin(annotation) is Annotated and _TRANSIENT in typing.get_args(annotation)[1:]:
                self.transients[name] = None if default is _REQUIRED else default
                continue
            kind = kind_of(annotation, where=where)
            self.shape[name] = Field(where, kind) if default is _REQUIRED else Field(where, kind, default)

    def _read_methods(self, reserved: frozenset[str]) -> None:
        cls, type_name = self.cls, self.cls.__name__
        for base in reversed(cls.__mro__):
            if base is object or base.__module__ == f"{__package__}.durable":
                continue
            for name, value in vars(base).items():
                if name.startswith("__") and name.endswith("__"):
                    if name in ("__init__", "__new__", "__setattr__", "__getattribute__", "__getattr__", "__delattr__"):
                        raise DefinitionError(
                            f"{type_name}.{name} cannot be overridden: use on_create (once) or on_thaw (each time in memory)."
                        )
                    continue
                if name in reserved:
                    raise DefinitionError(f"{type_name}.{name}: the name {name!r} belongs to DurableObject. Choose another one.")
                if isinstance(value, types.FunctionType):
                    self._functions[name] = value
                elif name not in self.shape and name not in self.transients and isinstance(value, list | dict | set):
                    raise DefinitionError(
                        f"{type_name}.{name} has no annotation. State is declared: `{name}: {type(value).__name__} = …`; "
                        f"a constant is `{name}: ClassVar[…]` or a tuple."
                    )

    # -------------------------------------------------------------------------------------------- looking up

    def method(self, name: str) -> Method:
        """The method of that name; raises ``UnknownMethod``."""
        method = self._methods.get(name)
        if method is not None:
            return method
        function = self._functions.get(name)
        if function is None:
            why = " (it is a field: read it with get)" if name in self.shape else did_you_mean(name, self.method_names())
            raise UnknownMethod(self.cls.__name__, name, why)
        if name in self.HOOKS:
            raise UnknownMethod(self.cls.__name__, name, ": it is a hook, which the runtime calls")
        if name.startswith("_"):
            raise UnknownMethod(self.cls.__name__, name, ": a name that starts with an underscore is private to the object")
        method = self._methods[name] = Method(self.cls.__name__, function, self._namespace)
        return method

    def method_of(self, function: Callable[..., Any]) -> Method:
        """The method that a function of the class, or of a base of it, names; raises ``UnknownMethod``."""
        method = self._by_function.get(function)
        if method is None:
            name = getattr(function, "__name__", None)
            if name is None or not any(vars(base).get(name) is function for base in self.cls.__mro__):
                raise UnknownMethod(
                    self.cls.__name__, getattr(function, "__qualname__", function), ": pass a method of that class, or its name"
                )
            method = self._by_function[function] = self.method(name)
        return method

    def reader(self, name: str) -> Method:
        """The reader of a field, or the query of that name; raises ``UnknownField``."""
        reader = self._readers.get(name)
        if reader is not None:
            return reader
        if name in self.shape and not name.startswith("_"):
            reader = FieldReader(self.cls.__name__, name, self.shape[name])
        elif name in self._functions and name not in self.HOOKS and not name.startswith("_"):
            reader = self.method(name)
            if not reader.query:
                raise UnknownField(self.cls.__name__, name, ": it is a method that may change state; use call, or mark it @query")
        else:
            known = [*self.shape, *(name for name in self.method_names() if self.method(name).query)]
            raise UnknownField(self.cls.__name__, name, did_you_mean(name, known))
        self._readers[name] = reader
        return reader

    def stored_method(self, name: str) -> Method | None:
        """The method a journal row names, or ``None`` where this code no longer has it."""
        return self.method(name) if name in self.method_names() else None

    def method_names(self) -> list[str]:
        """What ``method`` would find."""
        return [name for name in self._functions if name not in self.HOOKS and not name.startswith("_")]

    def check(self) -> None:
        """Compile every method now; raises ``DefinitionError``."""
        for name in self.method_names():
            self.method(name)

    @classmethod
    def register(cls, definition: Definition) -> None:
        """Enter a type under its label; raises ``DefinitionError`` where another class has it."""
        other = cls.registry.get(definition.label)
        if other is not None:
            ours, theirs = definition.cls, other.cls
            same = ours.__module__ == theirs.__module__ and (ours.__qualname__ == theirs.__qualname__ or "<locals>" in ours.__qualname__)
            if not same:
                raise DefinitionError(
                    f"{ours.__module__}.{ours.__qualname__} and {theirs.__module__}.{theirs.__qualname__} have the same label "
                    f"{definition.label!r}. Set Meta.label in one of them."
                )
        cls.registry[definition.label] = definition

    @classmethod
    def of(cls, label: str) -> Definition:
        """The type with that label; raises ``UnknownType``."""
        try:
            return cls.registry[label]
        except KeyError:
            raise UnknownType(label, did_you_mean(label, cls.registry)) from None


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
