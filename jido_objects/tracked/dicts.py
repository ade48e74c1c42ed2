"""Dicts of live state."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, MutableMapping, ValuesView
from typing import TYPE_CHECKING, Any, Self

from ..codec import DictKind, Refused
from .nodes import ABSENT, GONE, SWAP, WRAPPERS, Node, Path, depth_at, plain, stored, untracked

if TYPE_CHECKING:
    from ..state import State


class TrackedDict(Node, MutableMapping[Any, Any]):
    """A dict of live state."""

    __slots__ = ("_free", "_gone")
    _raw: dict[Any, Any]
    _kind: DictKind

    # An entry of the log is (op, self, key, old), or (op, self, SWAP, (raw, gone)). After a swap the dict as it was is safe in
    # the log, with the order of its keys: until the turn ends, this one needs no tombstones.

    def __init__(self, state: State, parent: Node | None, key: Any, kind: Any, raw: Any) -> None:
        super().__init__(state, parent, key, kind, raw)
        self._gone = 0
        self._free = False

    def live(self) -> dict[Any, Any]:
        return {key: value for key, value in self._raw.items() if value is not GONE} if self._gone else self._raw

    def undo(self, key: Any, old: Any) -> None:
        if key is SWAP:
            self._raw, self._gone = old
            self._free = False
        elif old is ABSENT:
            del self._raw[key]
        else:
            if self._raw.get(key) is GONE:
                self._gone -= 1
            if old is GONE:
                self._gone += 1
            self._raw[key] = old

    def sweep(self, key: Any) -> None:
        if key is SWAP:
            self._free = False
        elif self._gone and self._raw.get(key) is GONE:
            del self._raw[key]
            self._gone -= 1

    def _step_to(self, child: Node) -> Any:
        if self._raw.get(child._key) is not child:
            raise child._detached()
        return self._step(child._key, child)

    def _step(self, key: Any, value: Any) -> Any:
        """``key`` in a path: as it is stored, where ``value``, found under it, says that it is."""
        kind = self._kind
        if kind.plain_key:
            return key
        return kind.step(key if kind.key.faithful or value is GONE or value is ABSENT else stored(self._raw, key))

    # ------------------------------------------------------------ reading

    def __len__(self) -> int:
        return len(self._raw) - self._gone

    def __getitem__(self, key: Any) -> Any:
        value = self._raw[key]
        if type(value) in WRAPPERS:
            return self._wrap(key, value)
        if value is GONE:
            raise KeyError(key)
        return value

    def get(self, key: Any, default: Any = None) -> Any:
        value = self._raw.get(key, GONE)
        if value is GONE:
            return default
        return self._wrap(key, value) if type(value) in WRAPPERS else value

    def __contains__(self, key: object) -> bool:
        return self._raw.get(key, GONE) is not GONE

    def _each(self, items: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
        raw, gone = self._raw, self._gone
        for key, value in items:
            if value is GONE:
                continue
            yield key, self._wrap(key, value) if type(value) in WRAPPERS else value
            if self._gone != gone or self._raw is not raw:
                raise RuntimeError("dictionary changed size during iteration")

    def __iter__(self) -> Iterator[Any]:
        raw, gone = self._raw, self._gone
        for key, value in raw.items():
            if value is GONE:
                continue
            yield key
            if self._gone != gone or self._raw is not raw:
                raise RuntimeError("dictionary changed size during iteration")

    def __reversed__(self) -> Iterator[Any]:
        return (key for key, _ in self._each(reversed(self._raw.items())))

    def keys(self) -> KeysView[Any]:
        return _Keys(self)

    def values(self) -> ValuesView[Any]:
        return _Values(self)

    def items(self) -> ItemsView[Any, Any]:
        return _Items(self)

    def copy(self) -> dict[Any, Any]:
        live = self.live()
        return {key: plain(value) for key, value in live.items()} if self._kind.item.mutable else live.copy()

    def __eq__(self, other: object) -> bool:
        other = untracked(other)
        return self.live() == other if isinstance(other, dict) else NotImplemented

    def __or__(self, other: Any) -> dict[Any, Any]:
        return self.copy() | plain(other) if isinstance(other, dict | TrackedDict) else NotImplemented

    def __ror__(self, other: Any) -> dict[Any, Any]:
        return other | self.copy() if isinstance(other, dict) else NotImplemented

    # ------------------------------------------------------------ changing

    def __setitem__(self, key: Any, value: Any) -> None:
        path = self._change()
        # `self.rows["a"] += [1]` assigns the value to its own place.
        if isinstance(value, Node) and self._raw.get(key) is value:
            return
        kind = self._kind
        place = " key"
        try:
            key = kind.key.take(key)
            place = ""
            value = kind.item.take(value, 1 if type(path) is str else len(path))
        except Refused as refused:
            self._refuse(refused, path, place or f"[{key!r}]")
        self._put(path, key, value)

    def _put(self, path: Path, key: Any, value: Any) -> None:
        raw, kind = self._raw, self._kind
        old = raw.get(key, ABSENT)
        if kind.simple:
            if type(old) is type(value) and kind.item.faithful and old == value:
                return
            op = ("put", path, key if kind.plain_key else self._step(key, old), value)
        else:
            op = ("put", path, self._step(key, old), self._dump(value))
        if old is GONE:
            # The key comes back at the end, while a rollback needs the place it had: keep the whole order, once.
            self._wrap_all(raw.items())
            self._swap(op, self.live())
            raw = self._raw
        else:
            self._state.log.append((op, self, key, old))
        raw[key] = value

    def _swap(self, op: tuple[Any, ...], raw: dict[Any, Any]) -> None:
        state = self._state
        state.log.append((op, self, SWAP, (self._raw, self._gone)))
        state.graves.append((self, SWAP))
        self._raw, self._gone, self._free = raw, 0, True

    def __delitem__(self, key: Any) -> None:
        self._remove(self._change(), key)

    def _remove(self, path: Path, key: Any) -> Any:
        raw, state = self._raw, self._state
        old = raw.get(key, GONE)
        if old is GONE:
            raise KeyError(key)
        op = ("del", path, self._step(key, old))
        state.log.append((op, self, key, old))
        if self._free:
            del raw[key]
        else:
            state.graves.append((self, key))
            raw[key] = GONE
            self._gone += 1
        return old

    def pop(self, key: Any, default: Any = ABSENT) -> Any:
        path = self._change()
        if default is not ABSENT and key not in self:
            return default
        return plain(self._remove(path, key))

    def popitem(self) -> tuple[Any, Any]:
        path = self._change()
        if not len(self):
            raise KeyError("popitem(): dictionary is empty")
        log = self._state.log
        # The last key can leave at once: to undo that is to append it again.
        while True:
            key, old = self._raw.popitem()
            if old is not GONE:
                break
            self._gone -= 1
            log.append((None, self, key, GONE))
        log.append((("del", path, self._kind.step(key)), self, key, old))
        return key, plain(old)

    def clear(self) -> None:
        path = self._change()
        if len(self):
            self._swap(("clear", path), {})

    def setdefault(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *args: Any, **kwargs: Any) -> None:
        path = self._change()
        pairs: dict[Any, Any] = dict(*args, **kwargs)
        try:
            taken = self._kind.take(pairs, depth_at(path) - 1)
        except Refused as refused:
            self._refuse(refused, path)
        for key, value in taken.items():
            self._put(path, key, value)

    def __ior__(self, other: Any) -> Self:
        self.update(other)
        return self


class _Keys(KeysView[Any]):
    __slots__ = ()
    _mapping: TrackedDict

    def __reversed__(self) -> Iterator[Any]:
        return reversed(self._mapping)

    def __repr__(self) -> str:
        return f"dict_keys({list(self)!r})"


class _Values(ValuesView[Any]):
    __slots__ = ()
    _mapping: TrackedDict

    def __iter__(self) -> Iterator[Any]:
        mapping = self._mapping
        return (value for _, value in mapping._each(mapping._raw.items()))

    def __contains__(self, value: object) -> bool:
        return any(own is value or own == value for own in self)

    def __reversed__(self) -> Iterator[Any]:
        mapping = self._mapping
        return (value for _, value in mapping._each(reversed(mapping._raw.items())))

    def __repr__(self) -> str:
        return f"dict_values({list(self)!r})"


class _Items(ItemsView[Any, Any]):
    __slots__ = ()
    _mapping: TrackedDict

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        mapping = self._mapping
        return mapping._each(mapping._raw.items())

    def __reversed__(self) -> Iterator[tuple[Any, Any]]:
        mapping = self._mapping
        return mapping._each(reversed(mapping._raw.items()))

    def __repr__(self) -> str:
        return f"dict_items({list(self)!r})"
