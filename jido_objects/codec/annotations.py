"""Annotations compiled to kinds.

An annotation that could not keep the codec's promise, that a value comes back as what it was and that nobody else can change
it, is refused when the class is made, with a message that says what to write instead.
"""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import enum
import inspect
import sys
import types
import typing
from collections.abc import Callable
from typing import Any, Literal, NewType, TypeVar, Union, get_args, get_origin

import msgspec

from ..errors import DefinitionError
from .containers import DictKind, ListKind, SetKind, TupleKind, UnionKind
from .dynamic import DYNAMIC, FROZEN, LOOSE, tag
from .kinds import Kind
from .records import RecordField, RecordKind, dataclass_builder, struct_builder
from .scalars import NONE, SCALARS, ChoiceKind, OpaqueKind, enum_kind

_SCALARS: dict[Any, Kind] = {cls: kind for kind in SCALARS for cls in kind.types}
_CACHE: dict[Any, Kind] = {}
_TYPE_ALIASES: tuple[Any, ...] = tuple(module.TypeAliasType for module in (typing,) if sys.version_info >= (3, 12))
_STORABLE = "use JSON values, dates, Decimal, UUID, enums or frozen dataclasses."
_INSTEAD: dict[Any, str] = {
    **dict.fromkeys((collections.abc.Mapping, collections.abc.MutableMapping), "annotate dict[…, …]"),
    **dict.fromkeys((collections.defaultdict, collections.OrderedDict, collections.Counter, collections.ChainMap), "annotate dict[…, …]"),
    **dict.fromkeys((collections.abc.Sequence, collections.abc.MutableSequence, collections.deque), "annotate list[…]"),
    **dict.fromkeys((collections.abc.Iterable, collections.abc.Collection, collections.abc.Iterator), "annotate list[…]"),
    **dict.fromkeys((collections.abc.Generator, collections.abc.AsyncIterator, collections.abc.AsyncGenerator), "annotate list[…]"),
    **dict.fromkeys((collections.abc.Set, collections.abc.MutableSet), "annotate set[…] or frozenset[…]"),
    **dict.fromkeys((bytearray, memoryview), "annotate bytes"),
    complex: "annotate tuple[float, float]",
}


def register(cls: type, name: str, encode: Callable[[Any], Any], decode: Callable[[Any], Any], *, form: str | None = None) -> None:
    """Let values of the immutable, hashable class ``cls`` (and annotations ``cls[…]``) be state.

    ``encode`` gives JSON, always a string, a list or a dict; ``decode`` takes it and raises ``ValueError``, ``TypeError`` or
    ``LookupError`` for what it cannot read. ``form`` ("string", "array", "object") says which, so that unions can tell the class
    from others; with "string" its values are keys of JSON objects. Without an annotation a value is written ``{"$name": …}``.
    """
    kind = OpaqueKind(cls, encode, decode, form)
    _SCALARS[cls] = kind
    tag(name, kind)


def kind_of(annotation: Any, *, where: str, state: bool = True) -> Kind:
    """Compile a resolved annotation. ``where`` names its place in the ``DefinitionError`` of one that cannot be stored.

    ``state=False`` is for arguments and results: tuples and frozen classes in them may hold lists, dicts and sets.
    """
    return _Compiler(where, state).compile(annotation, frozen=False)


def changeable(kind: Kind, _above: frozenset[int] = frozenset()) -> bool:
    """Whether a value of this kind is, or holds however deep, something that can be changed in place."""
    if kind.mutable:
        return True
    inner: list[Kind] = []
    if isinstance(kind, TupleKind):
        inner = list(kind.items)
    elif isinstance(kind, UnionKind):
        inner = list(kind.branches)
    elif isinstance(kind, RecordKind) and id(kind) not in _above:
        # The fields of a class may lead back to it.
        _above |= {id(kind)}
        inner = [field.kind for field in kind.fields]
    return any(changeable(one, _above) for one in inner)


class _Compiler:
    def __init__(self, where: str, state: bool) -> None:
        self.where = where
        self.state = state
        self.open: dict[Any, RecordKind] = {}
        """Frozen classes whose fields are being compiled: they may lead back to the class."""

    def error(self, what: str) -> DefinitionError:
        return DefinitionError(f"{self.where}: {what}")

    def compile(self, annotation: Any, *, frozen: bool) -> Kind:
        try:
            cached = _CACHE.get((annotation, frozen, self.state))
        except TypeError:
            return self._compile(annotation, frozen)
        if cached is None:
            cached = self._compile(annotation, frozen)
            if not self.open:
                _CACHE[annotation, frozen, self.state] = cached
        return cached

    def _compile(self, annotation: Any, frozen: bool) -> Kind:
        annotation = _unwrap(annotation)
        if annotation is Any or annotation is object or annotation is inspect.Parameter.empty:
            return FROZEN if frozen else DYNAMIC if self.state else LOOSE
        if annotation is None:
            return NONE
        if isinstance(annotation, str | typing.ForwardRef):
            raise self.error(f"the annotation {annotation!r} names nothing that can be found; import it, or correct the name.")
        origin = get_origin(annotation)
        cls = origin or annotation
        scalar = _SCALARS.get(cls)
        if scalar is not None:
            return scalar
        args = get_args(annotation)
        if origin is Literal:
            return self._literal(annotation, args)
        if origin is Union or origin is types.UnionType:
            return self._union(args, frozen)
        if cls in (list, dict, set):
            return self._container(cls, args, frozen)
        if cls is frozenset:
            return SetKind(self._hashable(args[0] if args else Any, "element"), frozenset)
        if cls is tuple:
            return self._tuple(annotation, args)
        if isinstance(annotation, TypeVar):
            raise self.error(f"the type variable {annotation} stands for no type here; write the type itself.")
        if isinstance(cls, type):
            return self._class(cls, args, frozen)
        raise self.error(f"{annotation!r} is no type that can be stored; {_STORABLE}")

    def _inner(self, annotation: Any) -> Kind:
        """A part of a value that is immutable."""
        return self.compile(annotation, frozen=self.state)

    def _hashable(self, annotation: Any, role: str) -> Kind:
        kind = _Compiler(self.where, True).compile(annotation, frozen=True)
        if not kind.hashable:
            raise self.error(f"{kind.name} cannot be a {role}, it has no hash by value; use a str, a tuple or a frozen dataclass.")
        return kind

    def _container(self, cls: type, args: tuple[Any, ...], frozen: bool) -> Kind:
        if frozen:
            instead = "tuple[…, ...]" if cls is list else "frozenset[…]" if cls is set else "a tuple of pairs, or a frozen dataclass"
            raise self.error(
                f"a {cls.__name__} inside a tuple, a set, a key or a frozen class could change without being journaled; use {instead}."
            )
        if cls is list:
            return ListKind(self.compile(args[0] if args else Any, frozen=False))
        if cls is set:
            return SetKind(self._hashable(args[0] if args else Any, "set element"))
        if not args:
            return DYNAMIC.container({}) if self.state else LOOSE.container({})  # type: ignore[no-any-return]
        return DictKind(self._hashable(args[0], "key"), self.compile(args[1], frozen=False))

    def _tuple(self, annotation: Any, args: tuple[Any, ...]) -> Kind:
        if annotation in (tuple, typing.Tuple):  # noqa: UP006
            args = (Any, ...)
        if len(args) == 2 and args[1] is ...:
            return TupleKind((self._inner(args[0]),), variadic=True)
        return TupleKind(tuple(self._inner(arg) for arg in args), variadic=False)

    def _literal(self, annotation: Any, args: tuple[Any, ...]) -> Kind:
        choices: list[tuple[Any, Any]] = []
        for value in args:
            if isinstance(value, enum.Enum):
                choices.append((value, enum_kind(type(value)).dump(value)))
                choices[-1] = (value, value.value if choices[-1][1] is value else choices[-1][1])
            elif isinstance(value, bytes):
                raise self.error(f"{value!r} in a Literal has no JSON form; use a str.")
            else:
                choices.append((value, value))
        plain = all(type(value) in (str, int, types.NoneType) for value in args)
        name = " | ".join(repr(value) if not isinstance(value, enum.Enum) else str(value) for value in args)
        try:
            return ChoiceKind(name, choices, annotation if plain else None)
        except ValueError as error:
            raise self.error(f"{error}; choose other values.") from None

    def _union(self, args: tuple[Any, ...], frozen: bool) -> Kind:
        branches: list[Kind] = []
        for arg in args:
            kind = self.compile(arg, frozen=frozen)
            if kind in (DYNAMIC, FROZEN, LOOSE):
                return kind
            # An alias or a NewType can hide a union inside of this one.
            branches += [branch for branch in getattr(kind, "branches", (kind,)) if branch not in branches]
        if NONE in branches and any(types.NoneType in branch.types for branch in branches if branch is not NONE):
            branches.remove(NONE)
        for index, branch in enumerate(branches):
            for other in branches[:index]:
                if branch.json & other.json and not _told_apart(branch, other):
                    raise self.error(
                        f"{other.name} | {branch.name} cannot be told apart, both are written as a JSON {min(branch.json & other.json)}; "
                        "use one of them, a frozen dataclass with a field for each, or Any (which tags its values)."
                    )
        return UnionKind(tuple(branches)) if len(branches) > 1 else branches[0]

    # ------------------------------------------------------------ classes

    def _class(self, cls: type, args: tuple[Any, ...], frozen: bool) -> Kind:
        if issubclass(cls, enum.Enum):
            if not cls.__members__:
                raise self.error(f"the enum {cls.__name__} has no members; annotate a subclass that has.")
            return enum_kind(cls)
        if hasattr(cls, "_meta") and hasattr(cls, "objects"):
            raise self.error(f"{cls.__name__} is a model, its rows live elsewhere; store the primary key: {cls.__name__.lower()}_id: int.")
        instead = _INSTEAD.get(cls)
        if instead is not None:
            raise self.error(f"{cls.__name__} cannot be restored as what it was; {instead}.")
        if typing.is_typeddict(cls):
            raise self.error(f"{cls.__name__} is a TypedDict, whose keys have a type each; use a frozen dataclass, or dict[str, …].")
        if cls in self.open:
            return self.open[cls]
        if issubclass(cls, tuple) and hasattr(cls, "_fields"):
            return self._named_tuple(cls)
        if issubclass(cls, msgspec.Struct):
            return self._struct(cls, args)
        if dataclasses.is_dataclass(cls):
            return self._dataclass(cls, args)
        if issubclass(cls, list | dict | set | tuple | frozenset | str | int | float | bytes):
            base = next(base for base in cls.__mro__ if base.__module__ == "builtins")
            raise self.error(f"{cls.__name__} extends {base.__name__} and would not come back as itself; annotate {base.__name__}.")
        raise self.error(
            f"objects of {cls.__name__} could change without being journaled, or not come back as themselves; "
            "make it a frozen dataclass: @dataclass(frozen=True)."
        )

    def _hints(self, cls: type, args: tuple[Any, ...]) -> dict[str, Any]:
        try:
            hints = typing.get_type_hints(cls, include_extras=True)
        except (NameError, TypeError) as error:
            raise self.error(f"the annotations of {cls.__name__} cannot be read ({error}); import what they name.") from None
        variables = dict(zip(getattr(cls, "__parameters__", ()), args, strict=False))
        return {name: _substitute(hint, variables) for name, hint in hints.items()} if variables else hints

    def _complete(
        self, kind: RecordKind, hints: dict[str, Any], fields: list[tuple[str, str, Any, Any]], *, native: bool, typed: bool
    ) -> Kind:
        self.open[kind.cls] = kind
        where = self.where
        try:
            compiled = []
            for name, json, default, factory in fields:
                self.where = f"{where} ({kind.name}.{name})"
                compiled.append(RecordField(name, json, self._inner(hints.get(name, Any)), default, factory))
        finally:
            self.where = where
            del self.open[kind.cls]
        kind.complete(tuple(compiled), native=native, typed=typed)
        return kind

    def _named_tuple(self, cls: Any) -> Kind:
        hints = self._hints(cls, ())
        kind = RecordKind(cls, lambda values: cls._make([values[name] for name in cls._fields]), array=True)
        fields = [(name, name, cls._field_defaults.get(name, dataclasses.MISSING), dataclasses.MISSING) for name in cls._fields]
        return self._complete(kind, hints, fields, native=True, typed=set(cls._fields) <= set(hints))

    def _dataclass(self, cls: Any, args: tuple[Any, ...]) -> Kind:
        name = cls.__name__
        params = cls.__dict__.get("__dataclass_params__")
        if params is None or not params.frozen:
            why = "could change without being journaled" if params else "is not a dataclass itself, only its base is"
            raise self.error(f"{name} {why}; declare it @dataclass(frozen=True).")
        fields = dataclasses.fields(cls)
        plain = all(field.init for field in fields)
        simple = plain and not hasattr(cls, "__post_init__") and "__init__" in cls.__dict__ and params.init
        kind = RecordKind(cls, dataclass_builder(cls))
        rows = [(field.name, field.name, field.default, field.default_factory) for field in fields]
        return self._complete(kind, self._hints(cls, args), rows, native=plain, typed=simple and not args)

    def _struct(self, cls: Any, args: tuple[Any, ...]) -> Kind:
        config = cls.__struct_config__
        if not config.frozen:
            raise self.error(f"{cls.__name__} could change without being journaled; declare it msgspec.Struct, frozen=True.")
        tagged = (config.tag_field, config.tag) if config.tag is not None else None
        kind = RecordKind(cls, struct_builder(cls), array=config.array_like, tag=tagged)
        fields = msgspec.structs.fields(cls)
        rows = [(field.name, field.encode_name, _default(field.default), _default(field.default_factory)) for field in fields]
        return self._complete(kind, self._hints(cls, args), rows, native=True, typed=not hasattr(cls, "__post_init__") and not args)


def _told_apart(branch: Kind, other: Kind) -> bool:
    """Whether two kinds of JSON objects have tags, in the same place and not the same."""
    if branch.tag is None or other.tag is None or "array" in branch.json | other.json:
        return False
    return branch.tag[0] == other.tag[0] and branch.tag[1] != other.tag[1]


def _default(value: Any) -> Any:
    return dataclasses.MISSING if value is msgspec.NODEFAULT else value


def _unwrap(annotation: Any) -> Any:
    """Without ``Annotated``, ``NewType``, ``Final`` and the names of aliases: they say nothing about the JSON."""
    while True:
        if hasattr(annotation, "__metadata__"):
            annotation = annotation.__origin__
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif isinstance(annotation, _TYPE_ALIASES):
            annotation = annotation.__value__
        elif isinstance(get_origin(annotation), _TYPE_ALIASES):
            alias = get_origin(annotation)
            annotation = _substitute(alias.__value__, dict(zip(alias.__type_params__, get_args(annotation), strict=False)))
        elif get_origin(annotation) is typing.Final:
            annotation = get_args(annotation)[0]
        else:
            return annotation


def _substitute(hint: Any, variables: dict[Any, Any]) -> Any:
    if isinstance(hint, TypeVar):
        return variables.get(hint, hint)
    parameters = getattr(hint, "__parameters__", ())
    if not parameters or isinstance(hint, type):
        return hint
    return hint[tuple(variables.get(parameter, parameter) for parameter in parameters)]
