"""What all stores know of the windows in which history and call ids are kept.

The rule of trimming: rows go up to a snapshot, the newest that is past its window, so that every row that stays can be
rebuilt from one. The second newest snapshot is never chosen. It is the only one that a snapshot being written may drop,
and whoever writes that may not see yet what is being trimmed.

The rule of forgetting: when rows with generated ids go, the object keeps the latest *time in one of these ids*, its horizon.
An id that is not found and is no newer may have been among them; one that is newer was not. Ids are compared with ids:
whatever the clocks that made them showed, an id carries the same time each time it is sent, so there is no margin to choose.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar

from .. import ids
from .protocol import Walk

SHARES = 8
"""Into so many parts a window is divided by snapshots that stay: what may be kept longer than it must."""


LATEST = 253_402_300_799_000
"""The last millisecond that a horizon can hold: an id may claim a later one, and counts as that."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Cut(NamedTuple):
    """Rows ``first`` … ``until`` of an object go, and then what is before ``base`` is not needed any more."""

    first: int
    until: int
    base: int
    more: bool


def cut(first: int, head: int, bases: Sequence[int], limit: int, *, alone: bool, destroyed: bool) -> Cut | None:
    """Where to cut. ``bases`` are the snapshots that are past their window; ``destroyed``: so is the last row, which is the
    object's destruction and the base of what may follow it.

    The newest base within ``limit`` rows, else the oldest. If that is too far it is left to be cut ``alone``, and then piece by
    piece; but a destruction without a snapshot near it only as a whole, or what is left could not be loaded.
    """
    every = sorted({base for base in bases if first <= base <= head} | ({head} if destroyed else set()))
    every = [base for base in every if min(base, head - 1) >= first]
    if not every:
        return None
    near = [base for base in every if base < first + limit]
    base = near[-1] if near else every[0]
    until = min(base, head - 1)
    if not near:
        if not alone:
            return Cut(first, first - 1, base, True)
        if not (destroyed and base == head):
            until = min(until, first + limit - 1)
    return Cut(first, until, base, until < min(every[-1], head - 1))


def droppable(at: dict[int, float], oldest: int, seq: int, seconds: float, rows: int) -> list[int]:
    """Which snapshots (their times, by seq) need not stay when the one at ``seq`` has been written."""
    older = [one for one in at if one < seq]
    if not older:
        return []
    last = max(older)
    base = max((one for one in at if one <= oldest), default=None)
    return [
        one
        for one in older
        if one != last
        and one != base
        and any(other < one and at[other] // (seconds / SHARES) == at[one] // (seconds / SHARES) for other in at)
        and any(other < one and other // (rows // SHARES) == one // (rows // SHARES) for other in at)
    ]


def horizon(call_ids: Iterable[str]) -> datetime | None:
    """The latest time in a generated id among these."""
    latest = max((ids.generated_ms(call_id) for call_id in call_ids if ids.is_generated(call_id)), default=None)
    return None if latest is None else _EPOCH + timedelta(milliseconds=min(latest, LATEST))


def forgotten(call_id: str, horizon: datetime | None) -> bool:
    """Whether an id that is not found may have been recorded and trimmed."""
    if horizon is None or not ids.is_generated(call_id):
        return False
    return min(ids.generated_ms(call_id), LATEST) <= round((horizon - _EPOCH) / timedelta(milliseconds=1))


# ---------------------------------------------------------------- the walk

START = ("~", datetime(1, 1, 2, tzinfo=UTC))
"""Where a walk begins that nobody has begun: before every generated id, and before every row."""

P = TypeVar("P", str, datetime)


def stretch(
    retention: float,
    since: tuple[str, datetime],
    generated: Sequence[tuple[str, int, str]],
    own: Sequence[tuple[datetime, int, str]],
    limit: int,
) -> Walk:
    """The walk over rows in order: each with its place, its object, and that one's type."""
    until = (_end(since[0], generated, limit), _end(since[1], own, limit))
    objects = {object_id: label for _, object_id, label in (*generated, *own)}
    return Walk(retention, since, until, objects, len(generated) >= limit or len(own) >= limit)


def _end(since: P, rows: Sequence[tuple[P, int, str]], limit: int) -> P:
    if not rows:
        return since
    last = rows[-1][0]
    if len(rows) < limit:
        return last
    # Others may share the place of the last one, beyond the limit: they are left to the next stretch, if there is any way on.
    return max((place for place, *_ in rows if place < last), default=last)
