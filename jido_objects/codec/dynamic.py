"""The kind of values without an annotation (``Any``, the elements of a bare ``list``).

They are the JSON values as they are; other scalars, sets and tuples are tagged, ``{"$decimal": "1.10"}``, so that they too come
back as what they were. A user's own key that begins with ``$`` is written with one ``$`` more: only keys are escaped, so the
shape of the JSON is the shape of the value.
"""

from __future__ import annotations

from typing import Any, Final

from .containers import DictKind, ListKind, SetKind, TupleKind, none
from .kinds import FORMS, JSON, CorruptValue, Kind, Refused, Tracked, misfit
from .scalars import BOOL, BYTES, DATE, DATETIME, DECIMAL, FLOAT, INT, NONE, STR, TIME, TIMEDELTA, UUID_, StrKind

_TAGS: Final[dict[str, Kind]] = {}
_TAG_OF: Final[dict[type, str]] = {}
_BUILTIN: Final[dict[type, Kind]] = {type(None): NONE, bool: BOOL, int: INT, float: FLOAT, str: STR}


def tag(name: str, kind: Kind) -> None:
    """Let values of ``kind`` appear without an annotation, as ``{"$name": …}``."""
    if _TAGS.setdefault(f"${name}", kind) is not kind:
        raise ValueError(f"the tag ${name} is taken")
    for cls in kind.types:
        _TAG_OF[cls] = f"${name}"


class _DynamicKey(StrKind):
    """A key of a dict without annotation: a string; one that begins with ``$`` gets one more."""

    native_key = False

    def take(self, value: Any, depth: int = 0) -> Any:
        if not isinstance(value, str):
            raise misfit(value, self.name, "; annotate the dict to use other keys: dict[int, …]")
        return super().take(value, depth)

    def text(self, value: str) -> str:
        return f"${value}" if value[:1] == "$" else value

    def from_text(self, text: str) -> str:
        if text[:1] == "$":
            if text[1:2] != "$":
                raise CorruptValue(f"unknown tag {text!r}")
            return text[1:]
        return text


_KEY: Final = _DynamicKey(str, "string")


class DynamicKind(Kind):
    """Any value that has a JSON form of its own or a tag. ``frozen``: only one that is immutable."""

    name = "a JSON value"
    native = typed = faithful = False
    unordered = True
    json = frozenset(FORMS.values())

    def __init__(self, *, frozen: bool) -> None:
        self.frozen = self.hashable = frozen
        self.mutable = not frozen
        if not frozen:
            self.blank = none
        self._containers: dict[type, Any] = {}
        self._others: dict[type, Kind] = {}

    def complete(self, *, element: Kind, within: Kind) -> None:
        """Bind what is inside of sets (``element``) and of tuples (``within``): dynamic values in turn."""
        if not self.frozen:
            self._containers = {list: ListKind(self), dict: DictKind(_KEY, self), set: SetKind(element, set)}
        self._others = {tuple: TupleKind((within,), variadic=True), frozenset: SetKind(element, frozenset), **self._containers}

    def container(self, raw: Any) -> Any:
        return self._containers[type(raw)]

    def take(self, value: Any, depth: int = 0) -> Any:
        cls = type(value)
        kind = _BUILTIN.get(cls) or self._others.get(cls)
        if kind is None:
            kind = self._unusual(value)
        return kind.take(value, depth)

    def _unusual(self, value: Any) -> Kind:
        cls = type(value)
        if cls in _TAG_OF:
            return _TAGS[_TAG_OF[cls]]
        plain = value.live() if isinstance(value, Tracked) else value
        # Subclasses become what they extend.
        kind = next((kind for cls, kind in (*_SUBCLASSED, *self._others.items()) if isinstance(plain, cls)), None)
        if kind is None:
            raise self._refusal(value)
        return kind

    def _refusal(self, value: Any) -> Refused:
        if self.frozen and isinstance(value, list | dict | set | Tracked):
            return misfit(value, "an immutable value (it is a key, or in a set, a tuple or a frozen class)", "; use a tuple or a frozenset")
        return misfit(value, self.name, "; annotate it with its type")

    def dump(self, value: Any, canonical: bool = False) -> Any:
        if isinstance(value, Tracked):
            value = value.live()
        cls = type(value)
        if cls in _BUILTIN:
            return value
        # What the kinds of both would do, without a call per scalar.
        dump = self.dump
        if cls is dict:
            dumped = {key: item if type(item) in _BUILTIN else dump(item, canonical) for key, item in value.items()}
            return {_KEY.text(key): item for key, item in dumped.items()} if any(key[:1] == "$" for key in dumped) else dumped
        if cls is list:
            return [item if type(item) in _BUILTIN else dump(item, canonical) for item in value]
        if cls in self._others:
            return {_OTHER_TAGS[cls]: self._others[cls].dump(value, canonical)}
        name = _TAG_OF[cls]
        return {name: _TAGS[name].dump(value, canonical)}

    def load(self, data: JSON, depth: int = 0) -> Any:
        cls = type(data)
        if cls is list:
            if self.frozen:
                raise misfit(data, self.name)
            return self._others[list].load(data, depth)
        if cls is not dict:
            return data
        if len(data) == 1:
            ((name, inner),) = data.items()
            if name[:1] == "$" and name[1:2] != "$":
                if name in _TAGS:
                    return _TAGS[name].load(inner, depth)
                other = next((cls for cls, tagged in _OTHER_TAGS.items() if tagged == name), None)
                if other is None or other not in self._others:
                    raise CorruptValue(f"unknown tag {name!r}")
                return self._others[other].load(inner, depth)
        if self.frozen:
            raise misfit(data, self.name)
        return self._others[dict].load(data, depth)


_OTHER_TAGS: Final[dict[type, str]] = {tuple: "$tuple", frozenset: "$frozenset", set: "$set"}
_SUBCLASSED: Final[tuple[tuple[type, Kind], ...]] = tuple(
    (cls, kind) for kind in (INT, FLOAT, STR, BYTES, DECIMAL, DATETIME, DATE, TIMEDELTA, TIME, UUID_) for cls in kind.types
)
for _kind in (BYTES, DECIMAL, DATETIME, DATE, TIME, TIMEDELTA, UUID_):
    tag(_kind.name.lower(), _kind)
DYNAMIC: Final = DynamicKind(frozen=False)
FROZEN: Final = DynamicKind(frozen=True)
"""A dynamic value inside a tuple, a set, a key or a frozen class."""
LOOSE: Final = DynamicKind(frozen=False)
"""A dynamic value that is no state, so that its tuples may hold lists."""
FROZEN.complete(element=FROZEN, within=FROZEN)
DYNAMIC.complete(element=FROZEN, within=FROZEN)
LOOSE.complete(element=FROZEN, within=LOOSE)
