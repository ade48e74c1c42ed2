"""What a ``DurableObject`` subclass declares, read once when the class is created.

A definition is a table: fields by name, methods by name, options. A call finds its method in this table and nowhere else,
so that no input can reach an attribute the class did not mean to offer.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

from .alarms import ALARMS, alarms_field
from .codec import kind_of
from .errors import DefinitionError, InvalidArguments, UnknownField, UnknownMethod, UnknownType
from .existence import creators_of, is_given
from .methods import FieldReader, Method, check_transactional, is_transactional, marks_of, resolve_hints
from .options import Options, did_you_mean
from .state import Field, Shape
from .upcasting import upcasters_of

if TYPE_CHECKING:
    from .durable import DurableObject

T = TypeVar("T")

_MISSING: Any = object()


class _TransientMarker:
    def __repr__(self) -> str:
        return "Transient"


_TRANSIENT = _TransientMarker()
Transient = Annotated[T, _TRANSIENT]
"""``cache: Transient[dict[str, int]] = {}``: memory of one activation, of any type and never journaled.

It is gone when the object hibernates, moves or crashes, and a turn that is rolled back leaves it as it is. A default that is a
list, dict or set is copied (not deeply) for each activation; without one it is ``None``. Fill it in ``on_thaw``.
"""


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
        if self.label in self.options.aliases:
            raise DefinitionError(f"{name}.Meta.aliases holds {self.label!r}, the label it has: aliases are those it had before.")
        self.labels = (self.label, *self.options.aliases)
        """Under which its objects may be stored, today's first."""
        self.stored_label = self.labels[1] if self.options.aliases else self.label
        """Under which new objects are stored. The oldest alias, the one name that code from before the renaming looks at too:
        so whoever creates an object first, old code or new, there is one row, by the table's own constraint."""
        self.shape: Shape = {}
        self.transients: dict[str, Any] = {}
        self._functions: dict[str, Callable[..., Any]] = {}
        self._methods: dict[str, Method] = {}
        self._by_function: dict[Callable[..., Any], Method] = {}
        self._readers: dict[str, Method] = {}
        self._namespace = namespace
        self._reserved = reserved
        self._read_annotations(reserved)
        self._read_methods(reserved)
        self.creators = creators_of(name, self._functions, self.HOOKS)
        """Methods that create; where there are any, nothing else does."""
        self.upcasters = upcasters_of(cls, self.options.version)
        self.stored: Shape = {**self.shape, ALARMS: alarms_field(name)}
        self.hooks = {hook: getattr(cls, hook) for hook in self.HOOKS if hook in self._functions}
        for hook in ("clean",):
            if inspect.iscoroutinefunction(self.hooks.get(hook)):
                raise DefinitionError(f"{name}.{hook} runs at the end of every turn and cannot be async: write `def {hook}(self)`.")
        transactional = [name for name, function in self._functions.items() if is_transactional(function)]
        for method in transactional:
            check_transactional(f"{name}.{method}", self._functions[method], hook=method in self.HOOKS)
        if transactional and inspect.iscoroutinefunction(self.hooks.get("on_create")):
            raise DefinitionError(
                f"{name}.on_create runs in the turn that creates the object, which may be {transactional[0]}'s transaction on a thread: "
                f"write `def on_create(self)`."
            )

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
                    if is_given(name, base):
                        continue
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
        if name in self.shape:
            raise UnknownMethod(self.cls.__name__, name, " (it is a field: read it with get)")
        why = self._why_not(name)
        if function is None or why:
            raise UnknownMethod(self.cls.__name__, name, why or did_you_mean(name, self.method_names()))
        method = self._methods[name] = Method(self.cls.__name__, function, self._namespace)
        return method

    def method_of(self, function: Callable[..., Any]) -> Method:
        """The method that a function of the class, or of a base of it, names; raises ``UnknownMethod``, or
        ``InvalidArguments`` for what is no function at all."""
        try:
            method = self._by_function.get(function)
        except TypeError:  # it has no hash
            method = None
        if method is None:
            if not callable(function):
                raise InvalidArguments(f"{function!r:.80} is no method: pass a method of {self.cls.__name__} or its name.")
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
            raise UnknownField(self.cls.__name__, name, self._why_not(name) or did_you_mean(name, known))
        self._readers[name] = reader
        return reader

    def _why_not(self, name: str) -> str:
        """Why a name that the class may well have is neither a method to call nor a query to read; empty if it may be one."""
        if name in self.HOOKS:
            return ": it is the name of a hook, which the runtime calls"
        if name in self.transients:
            return ": it is Transient, and only the object's own methods see it"
        if name in self._reserved:
            return ": it belongs to DurableObject, and is for the object's own methods" if hasattr(self.cls, name) else ""
        if name.startswith("_"):
            return ": a name that starts with an underscore is private to the object"
        found = inspect.getattr_static(self.cls, name, None)
        if isinstance(found, property | functools.cached_property):
            return ": it is a property: make it a @query method"
        if isinstance(found, classmethod | staticmethod):
            return f": it is a {type(found).__name__}: only a plain method, with self, can be called"
        return ""

    def not_of_a_ref(self, name: str, own: Iterable[str]) -> str:
        """What a ref says of an attribute that it does not have, ``own`` being those that it has."""
        hint = self._how_to_reach(name)
        if hint:
            return f": {hint}"
        close = did_you_mean(name, [*own, *self.shape, *self.method_names()])
        meant = close.partition("'")[2].rpartition("'")[0]
        hint = self._how_to_reach(meant)
        return f"{close[:-1]} {hint})" if hint else close

    def _how_to_reach(self, name: str) -> str:
        if name in self.shape and not name.startswith("_"):
            return f"it is a field: write ref.get({name!r}) or await ref.aget({name!r})"
        if name in self._functions and not self._why_not(name):
            if marks_of(self._functions[name]).query:
                return f"it is a @query: write ref.get({name!r}, …) or await ref.aget({name!r}, …)"
            return f"it is a method: write ref.call({name!r}, …) or await ref.acall({name!r}, …)"
        return self._why_not(name).removeprefix(": ")

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
        ours = definition.cls
        for other in list(cls.registry.values()):
            theirs = other.cls
            shared = [label for label in definition.labels if label in other.labels]
            if not shared:
                continue
            same = ours.__module__ == theirs.__module__ and (ours.__qualname__ == theirs.__qualname__ or "<locals>" in ours.__qualname__)
            if same:
                # The class has been made again, with another label perhaps.
                del cls.registry[other.label]
                continue
            names = f"{ours.__module__}.{ours.__qualname__} and {theirs.__module__}.{theirs.__qualname__}"
            if definition.label == other.label:
                raise DefinitionError(f"{names} have the same label {definition.label!r}. Set Meta.label in one of them.")
            raise DefinitionError(
                f"{names} both claim the label {shared[0]!r} (Meta.label or Meta.aliases). The objects that are stored under it are "
                f"of one type: take the alias out of one of them."
            )
        cls.registry[definition.label] = definition

    @classmethod
    def of(cls, label: str) -> Definition:
        """The type that has that label, or had it (``Meta.aliases``); raises ``UnknownType``."""
        definition = cls.registry.get(label)
        if definition is None:
            definition = next((one for one in cls.registry.values() if label in one.options.aliases), None)
        if definition is None:
            raise UnknownType(label, did_you_mean(label, cls.registry))
        return definition
