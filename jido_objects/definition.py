"""What a ``DurableObject`` subclass declares, read once when the class is created.

A definition is a table: fields by name, methods by name, options. A call finds its method in this table and nowhere else,
so that no input can reach an attribute the class did not mean to offer.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

from .alarms import ALARMS, alarms_field
from .codec import kind_of
from .errors import DefinitionError, UnknownField, UnknownMethod, UnknownType
from .methods import FieldReader, Method, resolve_hints
from .options import Options, did_you_mean
from .state import Field, Shape

if TYPE_CHECKING:
    from .durable import DurableObject

T = TypeVar("T")

_MISSING: Any = object()


class _TransientMarker:
    def __repr__(self) -> str:
        return "Transient"


_TRANSIENT = _TransientMarker()
Transient = Annotated[T, _TRANSIENT]
"""``cache: Transient[dict[str, int]] = {}``: memory of one activation, never journaled, of any type."""


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
        self.stored: Shape = {**self.shape, ALARMS: alarms_field(name)}
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
            default = inspect.getattr_static(cls, name, _MISSING)
            if isinstance(default, types.FunctionType | property | classmethod | staticmethod):
                raise DefinitionError(f"{where} is both a field and a method. Choose another name for one of them.")
            if typing.get_origin(annotation) is Annotated and _TRANSIENT in typing.get_args(annotation)[1:]:
                self.transients[name] = None if default is _MISSING else default
                continue
            kind = kind_of(annotation, where=where)
            self.shape[name] = Field(where, kind) if default is _MISSING else Field(where, kind, default)

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
        if not isinstance(name, str):
            raise UnknownField(self.cls.__name__, getattr(name, "__name__", name), ": get takes a name; a method is called with call")
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
