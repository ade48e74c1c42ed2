"""Sets of live state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSet, Set
from typing import Any, Self

from ..codec import Refused, SetKind
from .nodes import SWAP, Node, Path, depth_at, stored, untracked


class TrackedSet(Node, MutableSet[Any]):
    """A set of live state. A rollback restores what it holds, not the order in which it is iterated."""

    __slots__ = ()
    _raw: set[Any]
    _kind: SetKind

    # An entry of the log is (op, self, added, element), or (op, self, SWAP, raw).

    def undo(self, key: Any, old: Any) -> None:
        if key is SWAP:
            self._raw = old
        elif key:
            self._raw.discard(old)
        else:
            self._raw.add(old)

    @classmethod
    def _from_iterable(cls, values: Iterable[Any]) -> set[Any]:
        return set(values)

    def _take_all(self, values: Iterable[Any], path: Path) -> list[Any]:
        take = self._kind.item.take
        try:
            return [take(value, depth_at(path)) for value in values]
        except Refused as refused:
            self._refuse(refused, path, " element")

    def __len__(self) -> int:
        return len(self._raw)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._raw)

    def __contains__(self, value: object) -> bool:
        return value in self._raw

    def copy(self) -> set[Any]:
        return self._raw.copy()

    def __eq__(self, other: object) -> bool:
        return self._raw == untracked(other) if isinstance(other, Set) else NotImplemented

    def issubset(self, other: Iterable[Any]) -> bool:
        return self._raw.issubset(other)

    def issuperset(self, other: Iterable[Any]) -> bool:
        return self._raw.issuperset(other)

    def isdisjoint(self, other: Iterable[Any]) -> bool:
        return self._raw.isdisjoint(other)

    def union(self, *others: Iterable[Any]) -> set[Any]:
        return self._raw.union(*others)

    def intersection(self, *others: Iterable[Any]) -> set[Any]:
        return self._raw.intersection(*others)

    def difference(self, *others: Iterable[Any]) -> set[Any]:
        return self._raw.difference(*others)

    def symmetric_difference(self, other: Iterable[Any]) -> set[Any]:
        return self._raw.symmetric_difference(other)

    # ------------------------------------------------------------ changing

    def _add(self, path: Path, element: Any) -> None:
        if element not in self._raw:
            self._state.log.append((("add", path, self._dump(element)), self, True, element))
            self._raw.add(element)

    def _discard(self, path: Path, element: Any) -> None:
        element = element if self._kind.item.faithful else stored(self._raw, element)
        self._state.log.append((("discard", path, self._dump(element)), self, False, element))
        self._raw.discard(element)

    def add(self, value: Any) -> None:
        path = self._change()
        try:
            value = self._kind.item.take(value, depth_at(path))
        except Refused as refused:
            self._refuse(refused, path, " element")
        self._add(path, value)

    def discard(self, value: Any) -> None:
        path = self._change()
        if value in self._raw:
            self._discard(path, value)

    def remove(self, value: Any) -> None:
        path = self._change()
        if value not in self._raw:
            raise KeyError(value)
        self._discard(path, value)

    def pop(self) -> Any:
        path = self._change()
        element = self._raw.pop()
        self._state.log.append((("discard", path, self._dump(element)), self, False, element))
        return element

    def clear(self) -> None:
        path = self._change()
        if self._raw:
            self._state.log.append((("empty", path), self, SWAP, self._raw))
            self._raw = set()

    def update(self, *others: Iterable[Any]) -> None:
        path = self._change()
        for element in self._take_all([element for other in others for element in other], path):
            self._add(path, element)

    def difference_update(self, *others: Iterable[Any]) -> None:
        path = self._change()
        for element in self._raw.intersection(set().union(*others)):
            self._discard(path, element)

    def intersection_update(self, *others: Iterable[Any]) -> None:
        path = self._change()
        for element in self._raw.difference(self._raw.intersection(*others)):
            self._discard(path, element)

    def symmetric_difference_update(self, other: Iterable[Any]) -> None:
        path = self._change()
        taken = set(self._take_all(other, path))
        for element in taken:
            if element in self._raw:
                self._discard(path, element)
            else:
                self._add(path, element)

    def __ior__(self, other: Set[Any]) -> Self:  # type: ignore[misc]
        self.update(other)
        return self

    def __iand__(self, other: Set[Any]) -> Self:
        self.intersection_update(other)
        return self

    def __isub__(self, other: Set[Any]) -> Self:
        self.difference_update(other)
        return self

    def __ixor__(self, other: Set[Any]) -> Self:  # type: ignore[misc]
        self.symmetric_difference_update(other)
        return self
