"""Lists of live state."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, MutableSequence
from typing import Any, Self, SupportsIndex

from ..codec import ListKind, Refused
from .nodes import WRAPPERS, Node, Path, depth_at, plain, untracked


class TrackedList(Node, MutableSequence[Any]):
    """A list of live state."""

    __slots__ = ()
    _raw: list[Any]
    _kind: ListKind

    # An entry of the log is (op, self, (start, count), old): the elements from start were count others, old.

    def undo(self, key: Any, old: Any) -> None:
        start, count = key
        self._raw[start : start + count] = old

    def _step_to(self, child: Node) -> int:
        raw, index = self._raw, child._key
        if index < len(raw) and raw[index] is child:
            return index  # type: ignore[no-any-return]
        for index, element in enumerate(raw):
            if element is child:
                child._key = index
                return index
        raise child._detached()

    def _take(self, value: Any, path: Path, index: int) -> Any:
        try:
            return self._kind.item.take(value, depth_at(path))
        except Refused as refused:
            self._refuse(refused, path, f"[{index}]")

    def _take_all(self, values: Iterable[Any], path: Path) -> list[Any]:
        try:
            return self._kind.take(list(values), depth_at(path) - 1)
        except Refused as refused:
            self._refuse(refused, path)

    def _dump_all(self, values: list[Any]) -> list[Any]:
        return values if self._kind.simple else [self._dump(value) for value in values]

    def _index(self, index: SupportsIndex) -> int:
        position = operator.index(index)
        size = len(self._raw)
        if position < 0:
            position += size
        if not 0 <= position < size:
            raise IndexError("list index out of range")
        return position

    # ------------------------------------------------------------ reading

    def __len__(self) -> int:
        return len(self._raw)

    def __getitem__(self, index: Any) -> Any:
        value = self._raw[index]
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self._raw)))] if self._kind.item.mutable else value
        return self._wrap(self._index(index), value) if type(value) in WRAPPERS else value

    def __iter__(self) -> Iterator[Any]:
        return self._each() if self._kind.item.mutable else iter(self._raw)

    def _each(self) -> Iterator[Any]:
        index = 0
        while index < len(self._raw):
            value = self._raw[index]
            yield self._wrap(index, value) if type(value) in WRAPPERS else value
            index += 1

    def __reversed__(self) -> Iterator[Any]:
        for index in range(len(self._raw) - 1, -1, -1):
            if index < len(self._raw):
                yield self[index]

    def __contains__(self, value: object) -> bool:
        return value in self._raw

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        return self._raw.index(value, start) if stop is None else self._raw.index(value, start, stop)

    def count(self, value: Any) -> int:
        return self._raw.count(value)

    def copy(self) -> list[Any]:
        return [plain(element) for element in self._raw] if self._kind.item.mutable else self._raw.copy()

    def __eq__(self, other: object) -> bool:
        other = untracked(other)
        return self._raw == other if isinstance(other, list) else NotImplemented

    def __lt__(self, other: Any) -> bool:
        other = untracked(other)
        return self._raw < other if isinstance(other, list) else NotImplemented

    def __le__(self, other: Any) -> bool:
        other = untracked(other)
        return self._raw <= other if isinstance(other, list) else NotImplemented

    def __gt__(self, other: Any) -> bool:
        other = untracked(other)
        return self._raw > other if isinstance(other, list) else NotImplemented

    def __ge__(self, other: Any) -> bool:
        other = untracked(other)
        return self._raw >= other if isinstance(other, list) else NotImplemented

    def __add__(self, other: Any) -> list[Any]:
        other = plain(other)
        return self.copy() + other if isinstance(other, list) else NotImplemented

    def __radd__(self, other: Any) -> list[Any]:
        return other + self.copy() if isinstance(other, list) else NotImplemented

    def __mul__(self, times: SupportsIndex) -> list[Any]:
        return self.copy() * times

    __rmul__ = __mul__

    # ------------------------------------------------------------ changing

    def append(self, value: Any) -> None:
        path = self._change()
        raw = self._raw
        value = self._take(value, path, len(raw))
        op = ("append", path, value if self._kind.simple else self._dump(value))
        self._state.log.append((op, self, (len(raw), 1), ()))
        raw.append(value)

    def extend(self, values: Iterable[Any]) -> None:
        path = self._change()
        taken = self._take_all(values, path)
        if taken:
            self._state.log.append((("extend", path, self._dump_all(taken)), self, (len(self._raw), len(taken)), ()))
            self._raw.extend(taken)

    def insert(self, index: SupportsIndex, value: Any) -> None:
        path = self._change()
        raw = self._raw
        position = operator.index(index)
        position = max(position + len(raw), 0) if position < 0 else min(position, len(raw))
        value = self._take(value, path, position)
        self._state.log.append((("insert", path, position, self._dump(value)), self, (position, 1), ()))
        raw.insert(position, value)

    def __setitem__(self, index: Any, value: Any) -> None:
        path = self._change()
        if isinstance(index, slice):
            self._set_slice(path, index, value)
            return
        position = self._index(index)
        # `self.rows[0] += [1]` assigns the element to its own place.
        if self._raw[position] is not value or not isinstance(value, Node):
            self._put(path, position, self._take(value, path, position))

    def _put(self, path: Path, position: int, value: Any) -> None:
        old = self._raw[position]
        kind = self._kind.item
        if kind.faithful and type(old) is type(value) and old == value:
            return
        self._state.log.append((("put", path, position, self._dump(value)), self, (position, 1), (old,)))
        self._raw[position] = value

    def _set_slice(self, path: Path, where: slice, values: Iterable[Any]) -> None:
        taken = self._take_all(values, path)
        start, stop, step = where.indices(len(self._raw))
        if step == 1:
            self._splice(path, start, max(start, stop), taken)
            return
        positions = range(start, stop, step)
        if len(positions) != len(taken):
            raise ValueError(f"attempt to assign sequence of size {len(taken)} to extended slice of size {len(positions)}")
        for position, value in zip(positions, taken, strict=True):
            self._put(path, position, value)

    def _splice(self, path: Path, start: int, stop: int, taken: list[Any]) -> None:
        if taken or stop > start:
            op = ("splice", path, start, stop, self._dump_all(taken))
            self._state.log.append((op, self, (start, len(taken)), self._raw[start:stop]))
            self._raw[start:stop] = taken

    def __delitem__(self, index: Any) -> None:
        path = self._change()
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self._raw))
            if step == 1:
                self._splice(path, start, max(start, stop), [])
            else:
                dropped = set(range(start, stop, step))
                self._reorder(path, [position for position in range(len(self._raw)) if position not in dropped])
            return
        self._remove(path, self._index(index))

    def _remove(self, path: Path, position: int) -> Any:
        old = self._raw[position]
        self._state.log.append((("del", path, position), self, (position, 0), (old,)))
        del self._raw[position]
        return old

    def pop(self, index: SupportsIndex = -1) -> Any:
        path = self._change()
        if not self._raw:
            raise IndexError("pop from empty list")
        return plain(self._remove(path, self._index(index)))

    def remove(self, value: Any) -> None:
        self._remove(self._change(), self._raw.index(value))

    def clear(self) -> None:
        path = self._change()
        if self._raw:
            # Not swapped for an empty one: a loop over this list must see that it ended. Copying references is quick.
            self._state.log.append((("clear", path), self, (0, 0), self._raw.copy()))
            self._raw.clear()

    def _reorder(self, path: Path, order: list[int]) -> None:
        if order != list(range(len(self._raw))):
            self._wrap_all(enumerate(self._raw))
            old = self._raw.copy()
            self._state.log.append((("order", path, order), self, (0, len(order)), old))
            self._raw[:] = [old[position] for position in order]

    def reverse(self) -> None:
        self._reorder(self._change(), list(range(len(self._raw) - 1, -1, -1)))

    def sort(self, *, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> None:
        path = self._change()
        elements = list(self)
        ranks = elements if key is None else [key(element) for element in elements]
        order = sorted(range(len(elements)), key=ranks.__getitem__, reverse=reverse)
        if len(order) != len(self._raw):
            raise ValueError("list modified during sort")
        self._reorder(path, order)

    def __iadd__(self, values: Iterable[Any]) -> Self:  # type: ignore[misc]
        self.extend(values)
        return self

    def __imul__(self, times: SupportsIndex) -> Self:
        count = operator.index(times)
        if count <= 0:
            self.clear()
        else:
            self.extend(self.copy() * (count - 1))
        return self
