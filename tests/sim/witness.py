"""Checkers: given what callers saw and what the journal holds, was every promise kept?

*The witness.* Every answer carries the ``seq`` of the state it was computed on, so the committed journal is the claimed
order and need not be searched for. What is left to check takes O(n log n): each acknowledged write is in the journal
exactly once, at its place and with its result; what was refused or not applied is not; each answer from memory is what the
sequential model gives for the journal's prefix at its ``seq``; and the order agrees with real time.

*The journal* must hold by itself: ``seq`` without gap, epochs that never go back, ids that occur once, snapshots that equal
what replay makes. *The database's log*, where there is one, must show the fence: nothing of a term after its burial, nothing
of an activation after the next claim.

Nothing here knows the simulator: the supervisor of real processes feeds the same functions.
"""

from __future__ import annotations

import copy
import json
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from typing import Any, Protocol

from jido_objects import delta as deltas


class Outcome(Enum):
    """What a caller knows of one attempt."""

    OK = "ok"
    REFUSED = "refused"
    NOT_APPLIED = "not applied"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Operation:
    """One attempt of one call, as its caller saw it. Attempts with the same object and id are the same call.

    ``invoked`` and ``completed`` are points on one line: any numbers, as long as they order what happened in real time; an
    attempt that was never answered has no ``completed``. ``saw`` is the seq of the state the answer was computed on, so the
    row of a write is at ``saw + 1``; ``result`` is the rest of the answer, or what a refusal said.
    """

    object: str
    id: str
    method: str
    args: list[Any]
    own_id: bool
    invoked: float
    completed: float | None = None
    outcome: Outcome = Outcome.UNKNOWN
    saw: int | None = None
    result: Any = None
    stale_allowed: bool = False
    """An unconfirmed answer of a suspended machine, the documented exception: it may be old, but must have been true."""
    guessed: bool = False
    """The answer says no seq: ``saw`` is the latest at which it is right, and proves nothing to others."""
    where: str = ""
    """Who answered, for messages."""
    error: str = ""
    """What was answered instead, for messages."""


@dataclass(slots=True)
class Row:
    """One journal row."""

    object: str
    seq: int
    epoch: int
    call_id: str
    refusal: bool
    own_id: bool
    method: str
    saw: int | None
    """What the recorded result says it saw."""
    result: Any
    delta: str = "[]"


@dataclass(slots=True)
class SnapshotRow:
    object: str
    seq: int
    document: str


@dataclass(slots=True)
class Step:
    """What the model says of one call."""

    state: dict[str, Any]
    result: Any
    refused: bool = False


class Model(Protocol):
    """A sequential object: the state is the JSON document that replay makes of the journal."""

    def initial(self) -> dict[str, Any]: ...

    def step(self, state: dict[str, Any], method: str, args: list[Any]) -> Step: ...

    def writes(self, method: str) -> bool:
        """Whether a call that succeeds always leaves a row."""

    def recorded(self, method: str) -> bool:
        """Whether a call with a caller's own id leaves a row; false of queries."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise. ``kind`` is one of ``KINDS``."""

    kind: str
    object: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.object}: {self.text}"


KINDS = {
    "lost": "an acknowledged write is not in the journal",
    "misplaced": "an answer names another place or another result than the journal",
    "applied": "a call that was reported as not applied is in the journal",
    "unrecorded": "a call with its caller's own id left no row",
    "double": "a call id is in the journal twice",
    "phantom": "a row that nobody asked for",
    "wrong": "an answer is not what the model gives at the state it saw",
    "future": "an answer saw a state that was never committed",
    "stale": "an answer is older than one that was complete before the call was made",
    "overtaken": "a row comes before what its caller could already have seen",
    "gap": "a seq is missing",
    "epoch": "an epoch goes back along seq",
    "replay": "a row's delta does not lead to the state the model gives",
    "snapshot": "a snapshot is not what replay gives",
    "buried": "a term wrote after its burial",
    "superseded": "an activation wrote after the next claim",
    "owners": "an object was claimed while its owner lived",
}


def same(one: Any, other: Any) -> bool:
    """Equal as JSON, so that a tuple equals its list and ``1`` does not equal ``True``."""
    return bool(one == other) or canonical(one) == canonical(other)


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=list)


# ---------------------------------------------------------------- the journal by itself


def check_journal(rows: Sequence[Row], snapshots: Iterable[SnapshotRow] = (), model: Model | None = None) -> list[Violation]:
    """The rows of one object in order of ``seq``; those before the first snapshot may be missing."""
    found: list[Violation] = []
    snapshots = sorted(snapshots, key=lambda snapshot: snapshot.seq)
    if not rows:
        return [Violation("gap", snapshots[-1].object, "a snapshot and no row")] if snapshots else found
    name = rows[0].object
    start = rows[0].seq
    if start != 1 and not any(start - 1 <= snapshot.seq for snapshot in snapshots):
        found.append(Violation("gap", name, f"the journal begins at {start}, and no snapshot covers what is before"))
    for before, row in pairwise(rows):
        if row.seq != before.seq + 1:
            found.append(Violation("gap", name, f"row {row.seq} comes after {before.seq}"))
        if row.epoch < before.epoch:
            found.append(Violation("epoch", name, f"row {row.seq} has epoch {row.epoch}, the one before {before.epoch}"))
    for call_id, times in Counter(row.call_id for row in rows).items():
        if times > 1:
            places = [row.seq for row in rows if row.call_id == call_id]
            found.append(Violation("double", name, f"the call {call_id} is in rows {places}"))
    if model is not None and start == 1:
        found.extend(_check_snapshots(rows, snapshots, model))
    return found


def _check_snapshots(rows: Sequence[Row], snapshots: Sequence[SnapshotRow], model: Model) -> list[Violation]:
    found = []
    state = model.initial()
    documents = {snapshot.seq: snapshot for snapshot in snapshots}
    for row in rows:
        try:
            deltas.apply(state, row.delta)
        except ValueError as error:
            return [Violation("replay", row.object, f"row {row.seq} cannot be replayed: {error}")]
        snapshot = documents.pop(row.seq, None)
        if snapshot is not None and not same(json.loads(snapshot.document), state):
            found.append(Violation("snapshot", row.object, f"at {row.seq} it is {snapshot.document}, replay gives {canonical(state)}"))
    found.extend(Violation("snapshot", rows[0].object, f"there is one at {seq}, and no such row") for seq in documents)
    return found


# ---------------------------------------------------------------- the witness


@dataclass(slots=True)
class _Answer:
    """An answer at its place in the claimed order."""

    started: float
    completed: float
    place: int
    """The row of a write, the seq that a read saw."""
    is_row: bool
    operation: Operation


class _Object:
    """The check of one object."""

    def __init__(self, name: str, operations: list[Operation], rows: list[Row], model: Model) -> None:
        self.name = name
        self.model = model
        self.rows = rows
        self.calls: dict[str, list[Operation]] = defaultdict(list)
        for operation in operations:
            self.calls[operation.id].append(operation)
        self.by_id = {row.call_id: row for row in rows}
        self.found: list[Violation] = []
        self.answers: list[_Answer] = []
        self.readers: dict[int, list[Operation]] = defaultdict(list)

    def violate(self, kind: str, text: str) -> None:
        self.found.append(Violation(kind, self.name, text))

    def run(self) -> list[Violation]:
        for call_id, attempts in self.calls.items():
            self._check_call(call_id, attempts, self.by_id.get(call_id))
        for row in self.rows:
            if row.call_id not in self.calls:
                self.violate("phantom", f"row {row.seq} is of the call {row.call_id}, which nobody made")
        self._check_states()
        self._check_real_time()
        return self.found

    def _check_call(self, call_id: str, attempts: list[Operation], row: Row | None) -> None:
        started = min(attempt.invoked for attempt in attempts)
        for attempt in attempts:
            if attempt.outcome in (Outcome.OK, Outcome.REFUSED) and attempt.completed is not None:
                self._check_answer(attempt, row, started)
        if row is not None and all(attempt.outcome is Outcome.NOT_APPLIED for attempt in attempts):
            self.violate("applied", f"{_named(attempts[-1])} was reported as not applied, and is in row {row.seq}")

    def _check_answer(self, attempt: Operation, row: Row | None, started: float) -> None:
        assert attempt.completed is not None
        if attempt.saw is None:
            self.violate("wrong", f"{_named(attempt)} was answered without a seq: {attempt.result!r}")
            return
        refused = attempt.outcome is Outcome.REFUSED
        if row is not None and row.seq == attempt.saw + 1 and row.refusal is refused and same(row.result, attempt.result):
            self.answers.append(_Answer(started, attempt.completed, row.seq, True, attempt))
            return
        writes = not refused and self.model.writes(attempt.method)
        # A refusal on an absent key creates nothing, and so leaves nothing.
        if writes or (attempt.own_id and self.model.recorded(attempt.method) and not (refused and attempt.saw == 0)):
            got = f"{_named(attempt)} got {attempt.result!r} for row {attempt.saw + 1}"
            if row is not None:
                self.violate("misplaced", f"{got}, row {row.seq} holds {row.result!r}")
            else:
                self.violate("lost" if writes else "unrecorded", f"{got}, and is in no row")
            return
        if not self.model.recorded(attempt.method):
            started = attempt.invoked
        self.answers.append(_Answer(started, attempt.completed, attempt.saw, False, attempt))
        self.readers[attempt.saw].append(attempt)

    def _check_states(self) -> None:
        """Replay the journal beside the model, and look at every answer on the way."""
        if self.rows and self.rows[0].seq != 1:
            return
        state = self.model.initial()
        seq = 0
        self._check_readers(seq, state)
        for row in self.rows:
            attempts = self.calls.get(row.call_id)
            if row.seq != seq + 1 or attempts is None:
                return
            seq = row.seq
            args = next((attempt.args for attempt in attempts if attempt.method == row.method), None)
            if args is None:
                self.violate("phantom", f"row {seq} is of {row.method}, the call {row.call_id} was of {attempts[0].method}")
                return
            step = self.model.step(copy.deepcopy(state), row.method, args)
            if step.refused is not row.refusal or row.saw != seq - 1 or not same(step.result, row.result):
                self.violate("wrong", f"row {seq} ({row.method}) recorded {row.result!r} at {row.saw}, the model gives {step.result!r}")
            try:
                deltas.apply(state, row.delta)
            except ValueError as error:
                self.violate("replay", f"row {seq} cannot be replayed: {error}")
                return
            if not same(state, step.state):
                self.violate("replay", f"row {seq} ({row.method}) leads to {canonical(state)}, the model gives {canonical(step.state)}")
                state = copy.deepcopy(step.state)
            self._check_readers(seq, state)
        for saw in sorted(self.readers):
            for attempt in self.readers[saw]:
                self.violate("future", f"{_named(attempt)} saw {saw}, the journal ends at {seq}")

    def _check_readers(self, seq: int, state: dict[str, Any]) -> None:
        for attempt in self.readers.pop(seq, ()):
            step = self.model.step(state, attempt.method, attempt.args)
            if step.refused is not (attempt.outcome is Outcome.REFUSED) or not same(step.result, attempt.result):
                self.violate("wrong", f"{_named(attempt)} got {attempt.result!r} at {seq}, the model gives {step.result!r}")

    def _check_real_time(self) -> None:
        """No answer may be older than one that was complete before it was asked for."""
        completions = sorted((answer.completed, answer.place) for answer in self.answers if not answer.operation.guessed)
        times = [completed for completed, _ in completions]
        latest: list[int] = []
        for _, place in completions:
            latest.append(max(place, latest[-1] if latest else 0))

        def known(at: float) -> int:
            """The latest place in an answer that was complete before ``at``."""
            position = bisect_left(times, at)
            return latest[position - 1] if position else 0

        for answer in self.answers:
            before = known(answer.started)
            if answer.is_row:
                if answer.place <= before:
                    self.violate("overtaken", f"{_named(answer.operation)} is row {answer.place}; {before} was known before it was made")
            elif answer.place < before and not answer.operation.stale_allowed:
                self.violate("stale", f"{_named(answer.operation)} saw {answer.place}; {before} was known before it was made")
        answered = {answer.operation.id for answer in self.answers if answer.is_row}
        for row in self.rows:
            if row.call_id in self.calls and row.call_id not in answered:
                before = known(min(attempt.invoked for attempt in self.calls[row.call_id]))
                if row.seq <= before:
                    self.violate("overtaken", f"row {row.seq}, the call {row.call_id}; {before} was known before it was made")


def _named(operation: Operation) -> str:
    place = f" at {operation.where}" if operation.where else ""
    return f"{operation.method}{tuple(operation.args)} [{operation.id}]{place}"


def check(operations: Iterable[Operation], rows: Iterable[Row], model: Model) -> list[Violation]:
    """Every operation against the committed journal."""
    asked: dict[str, list[Operation]] = defaultdict(list)
    held: dict[str, list[Row]] = defaultdict(list)
    for operation in operations:
        asked[operation.object].append(operation)
    for row in rows:
        held[row.object].append(row)
    found: list[Violation] = []
    for name in sorted({*asked, *held}):
        journal = sorted(held[name], key=lambda row: row.seq)
        found.extend(_Object(name, asked[name], journal, model).run())
    return found


# ---------------------------------------------------------------- the database's log


@dataclass(frozen=True, slots=True)
class Event:
    """One effect, in the order in which the database committed them."""

    what: str
    """``term`` (begun), ``buried``, ``claimed`` (``epoch`` is the new one), ``created`` (by the append that follows) or ``appended``."""
    term: str
    object: str = ""
    epoch: int = 0
    seqs: tuple[int, ...] = field(default=())


def check_events(events: Iterable[Event]) -> list[Violation]:
    """The fence, as the database saw it."""
    found: list[Violation] = []
    buried: set[str] = set()
    owner: dict[str, tuple[str, int]] = {}
    for event in events:
        if event.what == "buried":
            buried.add(event.term)
            continue
        if event.term in buried:
            text = f"the term {event.term[:8]} {event.what} {event.seqs or ''} after its burial"
            found.append(Violation("buried", event.object or event.term, text))
        if event.what == "claimed":
            before = owner.get(event.object)
            if before is not None:
                if before[0] not in buried and before[0] != event.term:
                    found.append(Violation("owners", event.object, f"claimed by {event.term[:8]} while {before[0][:8]} was not buried"))
                if event.epoch <= before[1]:
                    found.append(Violation("superseded", event.object, f"claimed with epoch {event.epoch} after {before[1]}"))
        if event.what in ("claimed", "created"):
            owner[event.object] = (event.term, event.epoch)
        elif event.what == "appended" and owner.get(event.object) != (event.term, event.epoch):
            term, epoch = owner.get(event.object, ("nobody", 0))
            found.append(
                Violation(
                    "superseded",
                    event.object,
                    f"{event.term[:8]} wrote {event.seqs} under epoch {event.epoch}, when {term[:8]} owned it with {epoch}",
                )
            )
    return found


def rows_by_object(rows: Iterable[Row]) -> Mapping[str, list[Row]]:
    by_object: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_object[row.object].append(row)
    for held in by_object.values():
        held.sort(key=lambda row: row.seq)
    return by_object
