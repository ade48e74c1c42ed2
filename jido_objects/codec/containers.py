"""Kinds of containers: list, dict, set, tuple, and unions of kinds.

Lists, dicts and sets stand only where live state can track them, that is, inside one another. Everything else is immutable,
down to its last part, and is passed around as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias, Union

from ..limits import NESTING
from .kinds import FORMS, JSON, Kind, Refused, Tracked, misfit, to_sorted_json, too_deep
from .scalars import NONE, OpaqueKind, StrKind


def _sorted(dumped: list[JSON]) -> list[JSON]:
    return sorted(dumped, key=to_sorted_json)


def expect(data: JSON, cls: type, name: str) -> Any:
    if type(data) is not cls:
        raise misfit(data, name)
    return data


_MANY: Final = 16
"""From how many elements on it pays to ask for all of them whether they can be copied as they are."""


class _Container(Kind):
    """A list, dict or set: what live state tracks."""

    cls: type
    mutable = True
    faithful = hashable = False
    item: Kind
    simple: bool
    """Whether an item can stand in a delta as it is: msgspec encodes it, and nothing changes it later."""

    def _open(self, value: Any) -> Any:
        plain = value.live() if isinstance(value, Tracked) else value
        if not isinstance(plain, self.cls):
            hint = f"; convert it with {self.cls.__name__}(…)" if isinstance(plain, list | tuple | set | frozenset | Mapping) else ""
            raise misfit(value, self.name, hint)
        return plain

    def container(self, raw: Any) -> Any:
        return self


class ListKind(_Container):
    cls = list
    blank = list
    types = frozenset({list})
    json = frozenset({"array"})

    def __init__(self, item: Kind) -> None:
        self.item = item
        self.name = f"list[{item.name}]"
        self.native, self.typed, self.sure, self.unordered = item.native, item.typed, item.sure, item.unordered
        self.simple = item.native and not item.mutable
        self.spec = list.__class_getitem__(item.spec)

    def take(self, value: Any, depth: int = 0) -> list[Any]:
        if type(value) is not list:
            value = self._open(value)
        if depth >= NESTING:
            raise too_deep()
        if len(value) > _MANY and self.item.all_fit(value):
            return list(value)
        depth += 1
        take = self.item.take
        taken: list[Any] = []
        append = taken.append
        try:
            for element in value:
                append(take(element, depth))
        except Refused as refused:
            refused.within(f"[{len(taken)}]")
            raise
        return taken

    def dump(self, value: Any, canonical: bool = False) -> Any:
        if self.native and not (canonical and self.unordered):
            return value
        dump = self.item.dump
        return [dump(element, canonical) for element in (value.live() if isinstance(value, Tracked) else value)]

    def load(self, data: JSON, depth: int = 0) -> Any:
        if self.typed:
            return super().load(data, depth)
        if depth >= NESTING:
            raise too_deep()
        load = self.item.load
        return [load(element, depth + 1) for element in expect(data, list, self.name)]


class DictKind(_Container):
    """A JSON object where the keys have a text form, else a list of pairs."""

    cls = dict
    blank = dict
    types = frozenset({dict})

    def __init__(self, key: Kind, item: Kind) -> None:
        self.key = key
        self.item = item
        self.name = f"dict[{key.name}, {item.name}]"
        self.pairs = not key.textual
        self.plain_key = type(key) is StrKind
        self.simple = item.native and not item.mutable
        self.json = frozenset({"array" if self.pairs else "object"})
        self.native = item.native and key.native_key
        self.typed = item.typed and key.typed and key.native_key
        self.sure = item.sure and key.sure
        self.unordered = item.unordered or not isinstance(key, StrKind)
        self.spec = dict.__class_getitem__((key.spec, item.spec))

    def take(self, value: Any, depth: int = 0) -> dict[Any, Any]:
        if type(value) is not dict:
            value = self._open(value)
        if depth >= NESTING:
            raise too_deep()
        if len(value) > _MANY and self.key.all_fit(value.keys()) and self.item.all_fit(value.values()):
            return dict(value)
        depth += 1
        take_key, take = self.key.take, self.item.take
        taken: dict[Any, Any] = {}
        place = " key"
        try:
            for key, element in value.items():
                place = " key"
                plain = take_key(key, depth)
                place = "[{0!r}]"
                taken[plain] = take(element, depth)
        except Refused as refused:
            refused.within(place.format(key))
            raise
        return taken

    def dump(self, value: Any, canonical: bool = False) -> Any:
        if self.native and not (canonical and self.unordered):
            return value
        dump = self.item.dump
        items = (value.live() if isinstance(value, Tracked) else value).items()
        if not self.pairs:
            text = self.key.text
            return {text(key): dump(element, canonical) for key, element in items}
        dump_key = self.key.dump
        pairs = [[dump_key(key, canonical), dump(element, canonical)] for key, element in items]
        return sorted(pairs, key=lambda pair: to_sorted_json(pair[0])) if canonical else pairs

    def load(self, data: JSON, depth: int = 0) -> Any:
        if self.typed:
            return super().load(data, depth)
        if depth >= NESTING:
            raise too_deep()
        depth += 1
        load = self.item.load
        if not self.pairs:
            from_text = self.key.from_text
            return {from_text(key): load(element, depth) for key, element in expect(data, dict, self.name).items()}
        load_key = self.key.load
        return {load_key(key, depth): load(element, depth) for key, element in expect(data, list, self.name)}

    # A key in a delta: its text, or where it has none a list that holds its JSON. So text is a key, a number an index.

    def step(self, key: Any) -> Any:
        """A key as it stands in the path of a delta."""
        return [self.key.dump(key)] if self.pairs else self.key.text(key)

    def from_step(self, step: JSON) -> Any:
        """The key that ``step`` wrote."""
        return self.key.load(step[0]) if self.pairs else self.key.from_text(step)


class SetKind(_Container):
    """A set or a frozenset, as a JSON array."""

    json = frozenset({"array"})

    def __init__(self, item: Kind, cls: type = set) -> None:
        self.item = item
        self.cls = cls
        self.blank = cls
        self.types = frozenset({cls})
        self.mutable = cls is set
        self.hashable = cls is frozenset
        self.unordered = True
        self.name = f"{cls.__name__}[{item.name}]"
        self.native, self.typed, self.sure = item.native, item.typed, item.sure
        self.simple = item.native
        self.spec = cls.__class_getitem__(item.spec)  # type: ignore[attr-defined]

    def take(self, value: Any, depth: int = 0) -> Any:
        if type(value) is not self.cls:
            value = self._open(value)
        if depth >= NESTING:
            raise too_deep()
        depth += 1
        take = self.item.take
        if self.mutable:
            return {take(element, depth) for element in value}
        taken = [take(element, depth) for element in value]
        if type(value) is frozenset and all(map(_is, taken, value)):
            return value
        return frozenset(taken)

    def dump(self, value: Any, canonical: bool = False) -> Any:
        if self.native and not canonical:
            return value
        dump = self.item.dump
        dumped = [dump(element, canonical) for element in (value.live() if isinstance(value, Tracked) else value)]
        return _sorted(dumped) if canonical else dumped

    def load(self, data: JSON, depth: int = 0) -> Any:
        if self.typed:
            return super().load(data, depth)
        if depth >= NESTING:
            raise too_deep()
        load = self.item.load
        return self.cls(load(element, depth + 1) for element in expect(data, list, self.name))


def _is(left: object, right: object) -> bool:
    return left is right


class TupleKind(Kind):
    """``tuple[X, ...]`` and ``tuple[X, Y]``, as a JSON array."""

    types = frozenset({tuple})
    json = frozenset({"array"})

    def __init__(self, items: tuple[Kind, ...], variadic: bool) -> None:
        self.items = items
        self.variadic = variadic
        inner = ", ".join(item.name for item in items) or "()"
        self.name = f"tuple[{inner}{', ...' if variadic else ''}]"
        self.native = all(item.native for item in items)
        self.typed = all(item.typed for item in items)
        self.sure = all(item.sure for item in items)
        self.faithful = all(item.faithful for item in items)
        self.hashable = all(item.hashable for item in items)
        self.unordered = any(item.unordered for item in items)
        specs = tuple(item.spec for item in items)
        self.spec = tuple.__class_getitem__((specs[0], ...) if variadic else specs)
        if variadic:
            self.blank = tuple

    def _pairs(self, value: Any) -> Any:
        if self.variadic:
            item = self.items[0]
            return ((item, element) for element in value)
        if len(value) != len(self.items):
            raise Refused(f"expected {self.name}, got {len(value)} elements")
        return zip(self.items, value, strict=True)

    def take(self, value: Any, depth: int = 0) -> tuple[Any, ...]:
        if not isinstance(value, tuple):
            raise misfit(value, self.name, "; convert it with tuple(…)" if isinstance(value, list | Tracked) else "")
        if depth >= NESTING:
            raise too_deep()
        depth += 1
        taken: list[Any] = []
        try:
            for item, element in self._pairs(value):
                taken.append(item.take(element, depth))
        except Refused as refused:
            refused.within(f"[{len(taken)}]")
            raise
        return value if type(value) is tuple and all(map(_is, taken, value)) else tuple(taken)

    def dump(self, value: Any, canonical: bool = False) -> Any:
        if self.native and not (canonical and self.unordered):
            return value
        return [item.dump(element, canonical) for item, element in self._pairs(value)]

    def load(self, data: JSON, depth: int = 0) -> Any:
        if self.typed:
            return super().load(data, depth)
        if depth >= NESTING:
            raise too_deep()
        return tuple([item.load(element, depth + 1) for item, element in self._pairs(expect(data, list, self.name))])


class UnionKind(Kind):
    """Branches that can be told apart by the form of their JSON (or by the tag of a msgspec struct)."""

    def __init__(self, branches: tuple[Kind, ...]) -> None:
        self.branches = branches
        self.name = " | ".join(branch.name for branch in branches)
        self.native = all(branch.native for branch in branches)
        self.mutable = any(branch.mutable for branch in branches)
        self.hashable = all(branch.hashable for branch in branches)
        self.sure = all(branch.sure for branch in branches)
        self.unordered = any(branch.unordered for branch in branches)
        self.types = frozenset().union(*(branch.types for branch in branches))
        self.json = frozenset().union(*(branch.json for branch in branches))
        self.faithful = all(branch.faithful for branch in branches) and not self.json >= {"bool", "int"}
        # msgspec tells no custom type from another in a union.
        self.typed = all(branch.typed and not isinstance(branch, OpaqueKind) for branch in branches)
        self.spec = Union[tuple(branch.spec for branch in branches)]  # noqa: UP007
        self._by_type = {cls: branch for branch in branches for cls in branch.types}
        self._by_json = {form: branch for branch in branches for form in branch.json if branch.tag is None}
        self._by_tag = {branch.tag: branch for branch in branches if branch.tag is not None}
        if NONE in branches:
            self.blank = none

    def _branch(self, value: Any) -> Kind:
        return self._by_type[type(value.live()) if isinstance(value, Tracked) else type(value)]

    def container(self, raw: Any) -> Any:
        return self._by_type[type(raw)].container(raw)

    def take(self, value: Any, depth: int = 0) -> Any:
        branch = self._by_type.get(type(value))
        if branch is not None:
            return branch.take(value, depth)
        if isinstance(value, Tracked):
            branch = self._by_type.get(type(value.live()))
            if branch is not None:
                return branch.take(value, depth)
        for branch in self.branches:
            try:
                return branch.take(value, depth)
            except Refused:
                continue
        raise misfit(value, self.name)

    def dump(self, value: Any, canonical: bool = False) -> Any:
        if self.native and not (canonical and self.unordered):
            return value
        return self._branch(value).dump(value, canonical)

    def load(self, data: JSON, depth: int = 0) -> Any:
        form = FORMS[type(data)]
        branch = self._by_json.get(form)
        if branch is None and form == "int":
            branch = self._by_json.get("float")
        if branch is None and form == "object":
            branch = next((branch for (field, tag), branch in self._by_tag.items() if data.get(field) == tag), None)
        if branch is None:
            raise misfit(data, self.name)
        return branch.load(data, depth)


def none() -> None:
    return None


ContainerKind: TypeAlias = ListKind | DictKind | SetKind
