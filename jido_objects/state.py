"""The state of one live object: its fields, what a turn changes in them, and how to take that back.

Values live in the object's own ``__dict__``, so to read a field is to read an attribute. A turn is opened by ``begin`` and
closed by ``commit`` or ``rollback``; ``delta`` says in between what it changed. Two invariants: state changes only inside an
open turn and by that turn's own code (``current_turn``); and after every turn the state equals what ``restore`` and ``replay``
make of its last document and the deltas since, to the order of the keys.

Fields of a document that this code does not know are kept as their JSON, changed by deltas as JSON (see ``delta``), and
written back: an old host never loses what newer code wrote.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING
from typing import Any, Final, TypeAlias

import msgspec

from .codec import CorruptValue, Kind, Refused, Tracked
from .codec.kinds import from_json, to_json, to_sorted_json
from .delta import apply_op
from .errors import DefinitionError, InvalidValue, StateError
from .tracked import WRAPPERS, Node, TrackedDict, TrackedList, TrackedSet, current_turn, plain, running_turn

__all__ = ["Field", "Shape", "State", "TrackedDict", "TrackedList", "TrackedSet", "current_turn", "plain"]

HIDDEN: Final = "$"
"""Begins the names of fields that are the runtime's own: journaled like all, seen by nobody."""

_read_document: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Field:
    """One declared field. A default is copied for each object.

    Without one, containers begin empty, optional fields with ``None``, ``bool``, ``int``, ``float`` and ``str`` with their
    zero; other types raise ``DefinitionError``, as does a default that does not fit.
    """

    __slots__ = ("_default", "_factory", "kind", "name")

    def __init__(self, name: str, kind: Kind, default: Any = MISSING, *, factory: Callable[[], Any] | None = None) -> None:
        self.name = name
        self.kind = kind
        self._default = None
        self._factory: Callable[[], Any] | None = None
        if factory is None and default is MISSING:
            factory = kind.blank
            if factory is None:
                raise DefinitionError(
                    f"{name}: {kind.name} needs a default: write `{name}: {kind.name} = …`, or `{name}: {kind.name} | None = None`."
                )
            default = factory()
        elif factory is not None:
            self._factory = factory
            return
        try:
            self._default = kind.copy(default, name)
        except InvalidValue as error:
            raise DefinitionError(f"The default of {error}") from error

    def fresh(self) -> Any:
        """The value of the field in a new object: plain, and nobody else's."""
        if self._factory is not None:
            return self.kind.copy(self._factory(), self.name)
        return plain(self._default) if self.kind.mutable else self._default


Shape: TypeAlias = dict[str, Field]
"""The declared fields of an object type, in their order."""


class State:
    """The state of one object. ``values`` is the ``__dict__`` of its instance, ``name`` names it in messages.

    Not thread-safe: whoever drives the turns does so one at a time.
    """

    __slots__ = ("_old", "_pinned", "_turn", "_unknown", "graves", "log", "name", "shape", "unset", "values", "writer")

    def __init__(self, shape: Shape, values: dict[str, Any], name: str) -> None:
        self.shape = shape
        self.values = values
        self.name = name
        self.writer: Any = None
        """The open turn, if it may write."""
        self.log: list[tuple[Any, ...]] = []
        """What containers changed in this turn: (op or None, container, and two that its ``undo`` takes)."""
        self.graves: list[tuple[TrackedDict, Any]] = []
        """What is left to do in containers when the turn is kept."""
        self._turn: Any = None
        self._old: dict[str, Any] = {}
        """Fields that were assigned in this turn, as they were before it."""
        self._unknown: dict[str, Any] = {}
        self.unset: set[str] = set(shape)
        """Fields that no row has written yet: their values are the class's defaults, which the next version of it may change."""
        self._pinned: tuple[str, ...] = ()

    # -------------------------------------------------------------------------------------------- at rest

    def reset(self) -> None:
        """Give every field its default."""
        self._fill({name: field.fresh() for name, field in self.shape.items()}, {})
        self.unset = set(self.shape)

    def restore(self, document: str | bytes) -> None:
        """Take the state of a document that ``document`` made; raises ``CorruptValue`` and then changes nothing."""
        try:
            parts = _read_document(document)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise CorruptValue(f"the document is no JSON object: {error}") from error
        fields = {}
        unset = set()
        for name, field in self.shape.items():
            part = parts.pop(name, None)
            if part is None:
                fields[name] = field.fresh()
                unset.add(name)
                continue
            try:
                fields[name] = field.kind.decode(part)
            except CorruptValue as error:
                raise CorruptValue(f"field {name!r}: {error}") from error
        # A part is a view of the whole document, which need not stay in memory for it.
        self._fill(fields, {name: part.copy() for name, part in parts.items()})
        self.unset = unset

    def _fill(self, fields: dict[str, Any], unknown: dict[str, Any]) -> None:
        values, shape = self.values, self.shape
        for name, value in fields.items():
            values[name] = self._own(name, shape[name].kind, value) if type(value) in WRAPPERS else value
        self._unknown = unknown

    def _own(self, name: str, kind: Kind, raw: Any) -> Node:
        return WRAPPERS[type(raw)](self, None, name, kind.container(raw), raw)

    def replay(self, delta: str | bytes) -> None:
        """Change the state as one journal row's delta says; raises ``CorruptValue`` where it does not fit."""
        op: Any = delta
        try:
            for op in from_json(delta):
                path = op[1]
                name = path if type(path) is str else path[0]
                field = self.shape.get(name)
                if field is None:
                    self._replay_unknown(name, op)
                elif op[0] == "set":
                    value = field.kind.load(op[2])
                    self.values[name] = self._own(name, field.kind, value) if type(value) in WRAPPERS else value
                else:
                    # Rows of early versions change a default that no row has set.
                    _replay(self.values[name], path, op)
                self.unset.discard(name)
        except Refused as refused:
            raise CorruptValue(f"the operation {op!r:.200} does not fit the state: {refused.corrupt()}") from None
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
            raise CorruptValue(f"the operation {op!r:.200} does not fit the state: {error!r}") from error

    def _replay_unknown(self, name: str, op: list[Any]) -> None:
        unknown = self._unknown
        value = unknown.get(name)
        if isinstance(value, msgspec.Raw):
            unknown[name] = from_json(value)
        apply_op(unknown, op)

    def document(self) -> str:
        """The whole state as JSON text: each field that has been written, then those this code does not know. Within a turn: as
        changed so far."""
        values = self.values
        unset = self.unset and self.unset - self._touched()
        document = {name: field.kind.dump(values[name]) for name, field in self.shape.items() if name not in unset}
        document.update(self._unknown)
        return to_json(document).decode()

    def canonical(self) -> str:
        """The document in the one form that equal states share: keys and sets sorted (those of unknown fields as arrays are)."""
        values = self.values
        document = {name: field.kind.dump(values[name], True) for name, field in self.shape.items()}
        document.update((name, from_json(part) if isinstance(part, msgspec.Raw) else part) for name, part in self._unknown.items())
        return to_sorted_json(document).decode()

    def plain(self) -> dict[str, Any]:
        """A fresh plain copy of each declared field."""
        values = self.values
        return {name: plain(values[name]) for name in self.shape if not name.startswith(HIDDEN)}

    # -------------------------------------------------------------------------------------------- in a turn

    @property
    def dirty(self) -> bool:
        """Whether the open turn assigned or changed anything."""
        return bool(self._old or self.log)

    def begin(self, turn: Any) -> None:
        """Open a turn. It may write unless ``turn.readonly``, and only where ``current_turn`` is this very turn."""
        if self._turn is not None:
            raise StateError(f"{self.name}: a turn ({self._turn.method}) is already open; end it before the next one begins.")
        self._turn = turn
        self.writer = None if turn.readonly else turn

    def set(self, name: str, value: Any) -> None:
        """Assign a declared field: checks and copies ``value`` in. Raises ``StateError``, ``InvalidValue``, ``KeyError``."""
        turn = self.writer
        if turn is None or running_turn() is not turn:
            raise self.refusal()
        kind = self.shape[name].kind
        values = self.values
        before = values[name]
        # `self.rows += [1]` assigns the field to itself.
        if value is before and isinstance(value, Tracked):
            return
        try:
            value = kind.take(value)
        except Refused as refused:
            raise refused.invalid(f"{self.name}.{name}") from None
        if kind.mutable and type(value) in WRAPPERS:
            value = self._own(name, kind, value)
        if name not in self._old:
            self._old[name] = before
        values[name] = value

    def delta(self) -> str:
        """What the open turn changed so far, ``"[]"`` if nothing. An assigned field that equals what it was is no change, unless
        no row has written it yet: what was assigned stays, whatever the class's default becomes."""
        ops = self._changes()
        if self.unset and (pinned := self.unset & self._touched()):
            # The first change of a field writes all of it: what a container held by default is in no row.
            self._pinned = tuple(name for name in self.shape if name in pinned)
            rest = [op for op in ops if _field_of(op) not in pinned]
            ops = [*(("set", name, self.shape[name].kind.dump(self.values[name])) for name in self._pinned), *rest]
        return to_json(ops).decode() if ops else "[]"

    def _touched(self) -> frozenset[str]:
        """The fields that the open turn has assigned or changed."""
        return frozenset([*self._old, *(_field_of(entry[0]) for entry in self.log if entry[0] is not None)])

    def initial(self) -> str:
        """The delta of an object's first row: every field, so that no later default of the class can change what exists."""
        values = self.values
        # The runtime's own fields have no default that could change: they come with their first content.
        self._pinned = tuple(name for name in self.shape if not name.startswith(HIDDEN) or values[name])
        return to_json([("set", name, self.shape[name].kind.dump(values[name])) for name in self._pinned]).decode()

    def _changes(self) -> list[Any]:
        ops: list[Any] = []
        values, assigned = self.values, self._old
        for name, before in assigned.items():
            value = values[name]
            kind = self.shape[name].kind
            if not _same(kind, before, value):
                ops.append(("set", name, value if kind.native else kind.dump(value)))
        if assigned:
            # What was changed inside a field that was assigned as a whole is part of what is assigned.
            for entry in self.log:
                op = entry[0]
                if op is not None and _field_of(op) not in assigned:
                    ops.append(op)
        else:
            ops.extend([entry[0] for entry in self.log if entry[0] is not None])
        return ops

    def commit(self) -> None:
        """Close the turn and keep what it changed."""
        if self.graves:
            for node, key in self.graves:
                node.sweep(key)
            self.graves.clear()
        if self._pinned:
            self.unset.difference_update(self._pinned)
        self._close()

    def finish(self) -> str:
        """``delta`` and ``commit``."""
        delta = self.delta()
        self.commit()
        return delta

    def rollback(self) -> None:
        """Close the turn and restore everything as it was before. Does nothing where none is open."""
        for _, node, key, old in reversed(self.log):
            node.undo(key, old)
        self.values.update(self._old)
        self.graves.clear()
        self._close()

    def _close(self) -> None:
        if self.log:
            self.log = []
        if self._old:
            self._old = {}
        self._pinned = ()
        self._turn = self.writer = None

    def refusal(self) -> StateError:
        """Why state may not change here and now."""
        turn = self._turn
        if turn is not None and turn.readonly and running_turn() is turn:
            return StateError(f"{self.name}.{turn.method} is a @query and cannot change state; drop @query to let it.")
        where = "code that is not part of the open turn tried to change it" if turn is not None else "no turn is open"
        return StateError(f"{self.name}: state changes only inside a method call of the object, and {where}. Call a method that does it.")


def _field_of(op: Any) -> str:
    path = op[1]
    return path if type(path) is str else path[0]


def _same(kind: Kind, before: Any, after: Any) -> bool:
    if before is after:
        return True
    if type(before) is not type(after) or isinstance(after, Node):
        return False
    if kind.faithful:
        return bool(before == after)
    return to_sorted_json(kind.dump(before, True)) == to_sorted_json(kind.dump(after, True))


def _replay(root: Node, path: Any, op: list[Any]) -> None:
    """Apply one operation to the plain container inside of ``root`` that it names."""
    kind: Any = root._kind
    raw: Any = root._raw
    if type(path) is not str:
        for step in path[1:]:
            child = raw[kind.from_step(step) if type(raw) is dict else step]
            if isinstance(child, Node):
                kind, raw = child._kind, child._raw
            else:
                kind, raw = kind.item.container(child), child
    verb = op[0]
    if type(raw) is dict:
        if verb == "put":
            raw[kind.from_step(op[2])] = kind.item.load(op[3])
        elif verb == "del":
            del raw[kind.from_step(op[2])]
        elif verb == "clear":
            raw.clear()
        else:
            raise ValueError("unknown operation")
    elif type(raw) is set:
        if verb == "add":
            raw.add(kind.item.load(op[2]))
        elif verb == "discard":
            raw.remove(kind.item.load(op[2]))
        elif verb == "empty":
            raw.clear()
        else:
            raise ValueError("unknown operation")
    else:
        _replay_list(raw, kind.item, verb, op)


def _replay_list(raw: list[Any], item: Kind, verb: str, op: list[Any]) -> None:
    if verb == "append":
        raw.append(item.load(op[2]))
    elif verb == "put":
        raw[op[2]] = item.load(op[3])
    elif verb == "del":
        del raw[op[2]]
    elif verb == "extend":
        raw.extend([item.load(value) for value in op[2]])
    elif verb == "insert":
        raw.insert(op[2], item.load(op[3]))
    elif verb == "splice":
        raw[op[2] : op[3]] = [item.load(value) for value in op[4]]
    elif verb == "order":
        raw[:] = [raw[position] for position in op[2]]
    elif verb == "clear":
        raw.clear()
    else:
        raise ValueError("unknown operation")
