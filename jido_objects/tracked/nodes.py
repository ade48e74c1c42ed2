"""What tracked lists, dicts and sets have in common: a place in the state, and the right to change it."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

from msgspec import Raw

from ..codec.kinds import Kind, Refused, Tracked, to_json
from ..errors import StateError

if TYPE_CHECKING:
    from ..state import State

current_turn: ContextVar[Any] = ContextVar("jido_objects.turn", default=None)
"""The turn that the running code belongs to. State changes only where it is the state's open one."""

Path: TypeAlias = str | list[Any]
"""``"field"``, or ``["field", step, …]``: a string is a key, a number an index, ``[key]`` a key that has no text form."""


WRAPPERS: Final[dict[type, type[Node]]] = {}
"""The tracked class of each plain one."""


class _Mark:
    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"<{self._name}>"


GONE: Final = _Mark("deleted in this turn")
ABSENT: Final = _Mark("absent")
SWAP: Final = _Mark("whole container")
running_turn: Final = current_turn.get


def plain(value: Any) -> Any:
    """A deep copy of a value of state, with plain containers."""
    if isinstance(value, Node):
        return value.copy()
    cls = type(value)
    if cls is list:
        return [plain(element) for element in value]
    if cls is dict:
        return {key: plain(element) for key, element in value.items()}
    return value.copy() if cls is set else value


def untracked(value: Any) -> Any:
    return value.live() if isinstance(value, Tracked) else value


class _Probe:
    """Equal to a key, and keeps the one it was found equal to."""

    __slots__ = ("found", "key")

    def __init__(self, key: object) -> None:
        self.key = self.found = key

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        if self.key != other:
            return False
        self.found = other
        return True


def stored(raw: dict[Any, Any] | set[Any], key: Any) -> Any:
    """The key that ``raw`` holds for ``key``: ``Decimal("1.0")`` finds ``Decimal("1.00")``, which the journal must name."""
    probe = _Probe(key)
    return probe.found if probe in raw else key


class Node(Tracked):
    """What the three containers share: a place in the state, and the right to change it."""

    __slots__ = ("_key", "_kind", "_parent", "_raw", "_state")
    __hash__ = None  # type: ignore[assignment]

    _raw: Any
    _kind: Any

    def __init__(self, state: State, parent: Node | None, key: Any, kind: Any, raw: Any) -> None:
        self._state = state
        self._parent = parent
        self._key = key
        self._kind = kind
        self._raw = raw

    def live(self) -> Any:
        return self._raw

    def copy(self) -> Any:
        """A plain deep copy."""
        raise NotImplementedError

    def undo(self, key: Any, old: Any) -> None:
        """Take back the change of one log entry; entries are undone in reverse order."""
        raise NotImplementedError

    def sweep(self, key: Any) -> None:
        """Finish what a change left for the end of the turn."""
        raise NotImplementedError

    def _change(self) -> Path:
        """Check that this container may change now; returns its path."""
        state = self._state
        turn = state.writer
        if turn is None or running_turn() is not turn:
            raise state.refusal()
        if self._parent is None:
            if state.values.get(self._key) is self:
                return self._key  # type: ignore[no-any-return]
            raise self._detached()
        steps = []
        node: Node = self
        while node._parent is not None:
            steps.append(node._parent._step_to(node))
            node = node._parent
        if state.values.get(node._key) is not node:
            raise self._detached()
        steps.append(node._key)
        steps.reverse()
        return steps

    def _step_to(self, child: Node) -> Any:
        raise NotImplementedError

    def _detached(self) -> StateError:
        return StateError(
            f"{self._state.name}: this {self._kind.cls.__name__} was removed or replaced, it is no longer part of the state. "
            "Read it again from self, or change a copy() and assign that."
        )

    def _wrap(self, key: Any, child: Any) -> Any:
        node = WRAPPERS[type(child)](self._state, self, key, self._kind.item.container(child), child)
        self._raw[key] = node
        return node

    def _wrap_all(self, children: Iterable[tuple[Any, Any]]) -> None:
        """Wrap what is nested, before a second container holds it.

        One of the two comes back at a rollback: a child that was wrapped in the other would be lost to it, and with that
        child the parent of all that was wrapped below.
        """
        if self._kind.item.mutable:
            for key, child in children:
                if type(child) in WRAPPERS:
                    self._wrap(key, child)

    def _refuse(self, refused: Refused, path: Path, place: str = "") -> NoReturn:
        steps = [path] if isinstance(path, str) else [path[0], *(f"[{step!r}]" for step in path[1:])]
        raise refused.invalid(f"{self._state.name}.{''.join(steps)}{place}") from None

    def _dump(self, value: Any) -> Any:
        """A valid item as it stands in an op, now: later changes of it have ops of their own."""
        kind: Kind = self._kind.item
        if type(value) in WRAPPERS:
            return Raw(to_json(kind.dump(value)))
        return value if kind.native else kind.dump(value)

    def __repr__(self) -> str:
        return repr(self.live())

    def __copy__(self) -> Any:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self.copy()

    def __reduce__(self) -> Any:
        return self._kind.cls, (self.copy(),)


def depth_at(path: Path) -> int:
    """How many containers are around an item of the one at ``path``."""
    return 1 if isinstance(path, str) else len(path)
