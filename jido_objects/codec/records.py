"""Kinds of frozen classes: dataclasses, msgspec structs, named tuples."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING
from typing import Any, NamedTuple

import msgspec

from ..limits import NESTING
from .containers import expect
from .kinds import JSON, Kind, Refused, misfit, too_deep


class RecordField(NamedTuple):
    """One field of a frozen class."""

    name: str
    json: str
    kind: Kind
    default: Any = MISSING
    factory: Any = MISSING


class RecordKind(Kind):
    """A frozen dataclass or msgspec struct, as a JSON object, or a ``NamedTuple``, as an array.

    An object is restored with the fields it had: ``__init__`` does not run, and what ``__post_init__`` computes is
    overwritten by what was stored; it can still refuse. Fields that are missing get their defaults, unknown ones are dropped.
    """

    # Conservative until ``complete``: a class whose fields lead back to it is encoded by the methods here.
    native = typed = faithful = False
    unordered = True

    def __init__(
        self, cls: Any, build: Callable[[dict[str, Any]], Any], *, array: bool = False, tag: tuple[str, Any] | None = None
    ) -> None:
        self.cls = cls
        self.name = cls.__name__
        self.array = array
        self.tag = tag
        self.types = frozenset({cls})
        self.json = frozenset({"array" if array else "object"})
        self.spec = cls
        self._build = build
        self.fields: tuple[RecordField, ...] = ()
        self.hashable = getattr(cls, "__hash__", None) is not None and cls.__eq__ is not object.__eq__

    def complete(self, fields: tuple[RecordField, ...], *, native: bool, typed: bool) -> None:
        """Set the fields, and whether msgspec's own reading of the class is the same as this one."""
        kinds = [field.kind for field in fields]
        self.native = native and all(kind.native for kind in kinds)
        self.typed = native and typed and all(kind.typed for kind in kinds)
        self.sure = all(kind.sure for kind in kinds)
        self.faithful = self.hashable and all(kind.faithful for kind in kinds)
        self.hashable = self.hashable and all(kind.hashable for kind in kinds)
        # The sorted encoder sorts the fields of objects too.
        self.unordered = any(kind.unordered for kind in kinds)
        self.fields = fields

    def take(self, value: Any, depth: int = 0) -> Any:
        if type(value) is not self.cls:
            raise misfit(value, self.name)
        if depth >= NESTING:
            raise too_deep()
        depth += 1
        changed = False
        taken: dict[str, Any] = {}
        name = ""
        try:
            for field in self.fields:
                name = field.name
                before = getattr(value, name)
                taken[name] = after = field.kind.take(before, depth)
                changed = changed or after is not before
        except Refused as refused:
            refused.within(f".{name}")
            raise
        except AttributeError:
            raise Refused(f"the {self.name} has no field {name!r}") from None
        return self._build(taken) if changed else value

    def dump(self, value: Any, canonical: bool = False) -> Any:
        if self.native and not (canonical and self.unordered):
            return value
        if self.array:
            dumped = [field.kind.dump(getattr(value, field.name), canonical) for field in self.fields]
            return [self.tag[1], *dumped] if self.tag else dumped
        record = {self.tag[0]: self.tag[1]} if self.tag else {}
        for field in self.fields:
            record[field.json] = field.kind.dump(getattr(value, field.name), canonical)
        return record

    def load(self, data: JSON, depth: int = 0) -> Any:
        if self.typed:
            return super().load(data, depth)
        if depth >= NESTING:
            raise too_deep()
        if self.array:
            expect(data, list, self.name)
            names = [self.tag[0]] if self.tag else []
            data = dict(zip([*names, *(field.json for field in self.fields)], data, strict=False))
        expect(data, dict, self.name)
        if self.tag and data.get(self.tag[0], self.tag[1]) != self.tag[1]:
            raise Refused(f"expected {self.name}, got one tagged {data[self.tag[0]]!r}")
        loaded: dict[str, Any] = {}
        for field in self.fields:
            if field.json in data:
                loaded[field.name] = field.kind.load(data[field.json], depth + 1)
            elif field.default is not MISSING:
                loaded[field.name] = field.default
            elif field.factory is not MISSING:
                loaded[field.name] = field.factory()
            else:
                raise Refused(f"expected {self.name}, got an object without its field {field.json!r}")
        return self._build(loaded)


def dataclass_builder(cls: Any) -> Callable[[dict[str, Any]], Any]:
    """Makes objects of a frozen dataclass without ``__init__``."""
    set_field = object.__setattr__
    # With InitVars, __post_init__ takes arguments that were not stored.
    variables = any(field._field_type is dataclasses._FIELD_INITVAR for field in cls.__dataclass_fields__.values())  # type: ignore[attr-defined]
    check = None if variables else getattr(cls, "__post_init__", None)

    def build(values: dict[str, Any]) -> Any:
        instance = object.__new__(cls)
        for name, value in values.items():
            set_field(instance, name, value)
        if check is not None:
            check(instance)
            for name, value in values.items():
                set_field(instance, name, value)
        return instance

    return build


def struct_builder(cls: Any) -> Callable[[dict[str, Any]], Any]:
    """Makes objects of a frozen msgspec struct."""
    set_field = msgspec.structs.force_setattr

    def build(values: dict[str, Any]) -> Any:
        # A struct's __init__ is msgspec's own: it only sets fields and calls __post_init__.
        instance = cls(**values)
        for name, value in values.items():
            set_field(instance, name, value)
        return instance

    return build
