"""What the runtime asks of a store. It speaks of terms, claims and appends, never of SQL.

The invariant every store keeps (the fence): **once a term has been buried, nothing written in its name becomes visible**,
whatever statement of its was in flight; and an object is claimed only while no unburied term owns it. From that follow a
single owner and a gapless journal.

A store handle belongs to one event loop. A host opens one on its own loop, the lease keeper another on the keeper's.

Three outcomes: a call that returns has happened (or is refused per object, as it says); ``StoreUnavailable`` and the
other errors of ``jido_objects.errors`` mean that nothing happened; ``OutcomeUnknown`` means that the statement may still
land, until ``Writer.settle`` has returned. A call that is cancelled while it waits has an unknown outcome as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any, Final, Protocol, runtime_checkable
from uuid import UUID

from .. import limits
from ..errors import Unacceptable
from .messages import InboxChanges, Overdue, Revised, Taken

FORMAT = 1
"""Format of a journal row and of a snapshot, written into each."""


class TermEnded(Exception):
    """The term was buried: nothing was written, and nothing ever will be in its name."""


class EntryKind(IntEnum):
    """What a journal row records."""

    UNKNOWN = 0
    """Never written: what newer code, or somebody's hand, has written is read as this, so that one row cannot stop a batch."""
    TURN = 1
    REFUSAL = 2
    DESTROY = 3

    @classmethod
    def _missing_(cls, value: object) -> EntryKind:
        return cls.UNKNOWN


@dataclass(frozen=True, slots=True)
class TermInfo:
    """Who a term is, as others need to know it to reach it or to prove it dead."""

    boot_id: str = ""
    pid_namespace: str = ""
    network_namespace: str = ""
    pid: int = 0
    pid_started: str = ""
    hostname: str = ""
    region: str = ""
    code_version: str = ""
    wire_version: int = 1
    endpoints: dict[str, str] = field(default_factory=dict)
    draining: bool = False


@dataclass(slots=True)
class Owner:
    """The term an object's row names. ``present`` is false when that term has been buried."""

    term: UUID
    present: bool
    lease_left: float = 0.0
    """Seconds until the lease passes, by the store's clock; negative when it has passed."""
    info: TermInfo | None = None


@dataclass(slots=True)
class Found:
    """An object's row as one read saw it."""

    id: int
    epoch: int
    owner: Owner | None
    destroyed: bool = False
    version: int = 0
    """``Meta.version`` of the code that wrote the newest journal row; 0 where there is none."""


@dataclass(slots=True)
class Entry:
    """One journal row: one committed turn of one object."""

    seq: int
    kind: EntryKind
    at: datetime
    call_id: str
    own_id: bool
    """Whether the caller chose the id, or the id it derives from; such ids are remembered for CALL_ID_SECONDS."""
    method: str
    digest: int
    """64-bit signed digest of the method and its bound arguments."""
    delta: str
    """JSON text: what changed. ``[]`` when nothing did."""
    result: str | None
    """JSON text of the result or, for a refusal, of the exception."""
    version: int = 0
    """``Meta.version`` of the code that wrote it."""
    user: str | None = None
    extra: str | None = None
    """JSON text for what few rows have: outputs with addressees, inbox changes, attached connections."""


@dataclass(slots=True)
class Append:
    """The rows of one object in one batch, in order and without gap.

    ``object_id`` ``None`` creates the object: its row is inserted, owned by the term with ``epoch``, if no row of that
    type and key exists. Otherwise ``(head_seq, head_epoch)`` must be the object's last row (at ``head_seq`` 0: the object
    row must have ``epoch == head_epoch``), and the first entry's seq is ``head_seq + 1``.
    """

    type: str
    key: str
    object_id: int | None
    epoch: int
    head_seq: int
    head_epoch: int
    entries: list[Entry]
    destroyed: bool | None = None
    """New value of the object row's flag, set with these rows: true when they end with a DESTROY, false when they are the
    first after one. ``None`` leaves it, which is all that the hot path ever does."""
    inbox: InboxChanges | None = None
    """What these rows do to messages."""


Appended = int | Unacceptable | None
"""What became of one object's rows: its id when they are committed, ``None`` when the fence refused them, an error when
the database cannot hold them as they are (the same rows would fail again). In the last two nothing of it was written."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Take an object whose row had this epoch, if its owner is nobody, a buried term or the claimant itself."""

    object_id: int
    epoch: int
    again: bool = False
    """Whether the row named the claimant itself as owner; then only the epoch changes, and the claim is valid only while that
    holds. It may cost less."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Committed state at ``seq``. ``epoch`` is that of the journal row at ``seq``, not of who takes the snapshot."""

    object_id: int
    seq: int
    epoch: int
    document: str
    version: int
    retention: float = field(default=limits.RETENTION, compare=False)
    """Seconds for which history is kept: how many older snapshots stay beside this one follows from it. Not stored."""


@dataclass(frozen=True, slots=True)
class TailEntry:
    """What replay needs of a journal row."""

    seq: int
    epoch: int
    kind: EntryKind
    delta: str
    version: int


@dataclass(slots=True)
class Loaded:
    """An object as it rests: its last snapshot and the rows after it, in order."""

    snapshot: Snapshot | None
    tail: list[TailEntry]
    head_seq: int
    head_epoch: int
    """Epoch of the head row; at ``head_seq`` 0 the epoch of the object row."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the journal remembers of a call."""

    seq: int
    kind: EntryKind
    method: str
    digest: int
    result: str | None
    at: datetime


class Forgotten:
    """The answer to a generated id that may have been recorded and trimmed: nobody knows any more."""


FORGOTTEN: Final = Forgotten()


@dataclass(frozen=True, slots=True)
class Trim:
    """What may go of one object's history: rows older than ``retention`` seconds, and where ``rows`` or ``size`` bytes newer
    ones are there, also those that are older than ``least`` seconds."""

    object_id: int
    retention: float
    rows: int = limits.RETENTION_ROWS
    size: int | None = None
    """``None``: bytes are not counted. Counting reads all rows of the object."""
    least: float = limits.RETENTION_LEAST

    def window(self, head: int, seq: int, line: int | None) -> float:
        """How old the row at ``seq`` must be to go. ``line``: the row from which on ``size`` bytes are there."""
        if seq <= head - self.rows or (line is not None and seq < line):
            return min(self.retention, self.least)
        return self.retention


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What went."""

    rows: int
    more: bool
    """Whether there is more to go."""


@dataclass(frozen=True, slots=True)
class Walk:
    """A stretch of the journal that has come past a window, oldest first, and the objects whose rows lie in it."""

    retention: float
    since: tuple[str, datetime]
    """Where it begins: the last generated call id, and the time of the last row with a caller's own, that were walked past."""
    until: tuple[str, datetime]
    objects: dict[int, str]
    """Label of the type, by object."""
    more: bool
    """Whether the walk can go on at once."""


@dataclass(frozen=True, slots=True)
class TermRow:
    """A term that has not been buried."""

    id: UUID
    info: TermInfo
    lease_left: float
    started: datetime


class Writer(Protocol):
    """What one term writes through; at most one call of it is in flight.

    Every call raises ``TermEnded`` if the term was buried before the statement took effect, ``OutcomeUnknown`` if the
    reply was lost. After ``OutcomeUnknown``, or a cancelled call, only ``settle`` and ``close`` may be called; anything
    else raises ``RuntimeError``. After ``StoreUnavailable`` the same call may be made again.
    """

    async def append(self, batch: Sequence[Append]) -> list[Appended]:
        """Append rows of distinct objects; per object what became of it. One object's trouble leaves the others alone.

        ``OutcomeUnknown`` speaks of the whole batch: of each object all rows of it may have landed, or none.
        """

    async def claim(self, claims: Sequence[Claim]) -> list[int | None]:
        """Per object the new epoch (``claim.epoch + 1``), or ``None`` where the claim was not valid.

        One's own object can be claimed again, with the epoch that a new ``find`` reads: a lost reply orphans nothing.
        """

    async def snapshot(self, snapshots: Sequence[Snapshot]) -> list[bool]:
        """Store snapshots of committed state, each with the epoch of the row at its ``seq``; per snapshot whether it was
        taken (not when no such row is committed). Of an object stay: the last two, one at or before its oldest row, and the
        first of each eighth of its window, in time and in rows; so its oldest row can be any of these at times to come."""

    async def take(self, limit: int, *, adopt: bool = True) -> list[Taken]:
        """Take due messages, in the order in which they are to be applied: those of objects that the term owns and, with
        ``adopt``, of objects that no unburied term owns. None of paused objects, none in a paused deployment. A message whose
        sender has an earlier one for the same object waits until that one is gone, dead, or taken in the same call."""

    async def revise(self, revised: Sequence[Revised]) -> None:
        """Say what becomes of messages that were taken and not applied; without effect on those that are no longer the term's."""

    async def settle(self) -> None:
        """Make sure that nothing sent before can still land, then be ready again. May be repeated: raises
        ``StoreUnavailable`` or ``OutcomeUnknown`` while it cannot know, ``TermEnded`` when it knows that nothing will."""

    async def close(self) -> None:
        """Drop the connection. The term stays, and a statement in flight may still land until the term is buried."""


@runtime_checkable
class Store(Protocol):
    """A database of objects, as one event loop sees it."""

    name: str
    liveness_by_lease: bool
    """Whether a term lives by a lease that must be renewed. Where it is false, an OS lock held by the process is its life."""

    async def open(self) -> None:
        """Connect and probe: raises what is wrong with the database (``NotMigrated``, ``ReadOnlyDatabase``,
        ``UnsupportedDatabase``, ``StoreUnavailable``)."""

    async def close(self) -> None:
        """Drop the connections. A term begun through this handle and not yet buried may be buried by others from now on,
        where an OS lock is its life."""

    # terms
    async def begin_term(self, term: UUID, info: TermInfo, lease_seconds: float) -> None:
        """Insert the term, with a lease from now on the store's clock. After ``OutcomeUnknown`` begin another: an id is
        never tried twice."""

    async def renew(self, term: UUID, lease_seconds: float) -> bool:
        """Extend the lease; false when the term has been buried."""

    async def alive(self, terms: Sequence[UUID]) -> list[bool]:
        """Whether each term is not buried, as of a moment after this was called. Changes nothing."""

    async def bury(self, term: UUID, *, proven: bool = False) -> bool:
        """Bury a term: true when it is gone, whoever did it. Only if its lease has passed on the store's clock, or with
        ``proven`` (one's own term; a process known to be dead). Waits for what the term has in flight, a bounded time;
        then it ends it. ``StoreUnavailable`` when that was not enough."""

    async def terms(self) -> list[TermRow]:
        """The terms that are not buried."""

    async def writer(self, term: UUID) -> Writer:
        """A new writer of the term; raises ``TermEnded`` if it has been buried."""

    # messages
    skew: float
    """Seconds that are added to the store's clock wherever it decides which messages are due; not zero in tests only."""

    async def overdue(self, term: UUID | None, *, adopt: bool = True) -> Overdue:
        """Whether ``take`` would find something for the term, else when to ask again. Changes nothing; costs what is due."""

    # objects
    async def find(self, names: Sequence[tuple[str, str]]) -> list[Found | None]:
        """The rows of ``(type, key)``, each with its owner."""

    async def load(self, object_ids: Sequence[int]) -> list[Loaded]:
        """The last snapshot and the tail of each object, as they are: whether the tail is contiguous is for the reader to
        check. For an owner: only after its claim has returned."""

    async def recall(self, calls: Sequence[tuple[int, str]]) -> list[Recorded | Forgotten | None]:
        """What is recorded under ``(object_id, call_id)``, in the journal or, for callers' own ids, after its row was trimmed.

        ``None``: it is not recorded, and was not. ``FORGOTTEN``: a generated id no newer than the newest one that was
        trimmed from this object. Ids are compared with ids, so no clock decides that."""

    async def history(self, object_id: int, after: int = 0, limit: int = 1000) -> list[tuple[int, Entry]]:
        """Rows after a seq, in order, each with its epoch. What was trimmed is missing at the beginning."""

    # windows
    async def trim(self, trims: Sequence[Trim], *, call_id_seconds: float, limit: int) -> list[Trimmed | None]:
        """Drop the old rows of distinct objects; per object what went, ``None`` where somebody else is at it.

        Rows go up to a snapshot, so that every row that stays can be rebuilt; never the last one. Where an object has none
        to begin from instead, it keeps its rows. Callers' own ids that are younger than ``call_id_seconds`` stay known.
        All of it needs no term: what goes, no owner will look for. ``limit`` bounds the rows of one object; of a single
        one at least so many go, if they may. What is lost with a crash of the database is trimmed again."""

    async def walk(self, retention: float, slack: float, limit: int) -> Walk:
        """Which objects have rows older than ``retention + slack`` seconds that nobody has walked past: at most ``limit``
        rows with generated ids and as many with callers' own. It never looks at what rests since it was walked past."""

    async def walked(self, walk: Walk) -> bool:
        """The objects of a walk have been trimmed: the next begins behind it. False when somebody else was faster."""

    async def forget(self, call_id_seconds: float, limit: int) -> int:
        """Forget at most ``limit`` callers' own ids that are older, of rows that were trimmed; how many went."""


@runtime_checkable
class SharesTransactions(Protocol):
    """A store whose rows can be written in one transaction with those of the application (``@transactional``)."""

    async def end_lane(self, term: UUID, lane: UUID) -> None:
        """Make sure that nothing sent under a lane can still land. Raises ``StoreError`` while it cannot know."""


def as_mapping(info: TermInfo) -> dict[str, Any]:
    """A ``TermInfo`` as plain values, to be stored."""
    return {name: getattr(info, name) for name in TermInfo.__slots__}
