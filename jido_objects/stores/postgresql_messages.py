"""Durable messages on PostgreSQL: the parameters of their statements, and what these return."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from psycopg.pq.abc import PGresult

from . import arrays
from .messages import Armed, Overdue, Revised, Sent, Taken
from .protocol import Append


def _null(value: object) -> object:
    return "NULL" if value is None else value


def changes(batch: Sequence[Append]) -> list[bytes]:
    """What a batch does to messages: the parameters of ``APPEND_WITH_MESSAGES`` between creations and rows."""
    places = [(place, append) for place, append in enumerate(batch) if append.inbox is not None]
    applied = [(place, id_) for place, append in places for id_ in append.inbox.applied]  # type: ignore[union-attr]
    named = [(place, append, *alarm) for place, append in places for alarm in append.inbox.alarms.items()]  # type: ignore[union-attr]
    dropped = [(place, append, name) for place, append, name, armed in named if armed is None]
    alarms = [(place, append, name, armed) for place, append, name, armed in named if armed is not None]
    sent = [(place, message) for place, append in places for message in append.inbox.sent]  # type: ignore[union-attr]
    return [
        arrays.plain([place for place, _ in applied]),
        arrays.plain([id_ for _, id_ in applied]),
        arrays.plain([place for place, _, _ in dropped]),
        arrays.texts([append.type for _, append, _ in dropped]),
        arrays.texts([append.key for _, append, _ in dropped]),
        arrays.texts([name for _, _, name in dropped]),
        arrays.plain([place for place, *_ in alarms]),
        arrays.texts([append.type for _, append, *_ in alarms]),
        arrays.texts([append.key for _, append, *_ in alarms]),
        arrays.texts([name for _, _, name, _ in alarms]),
        *_armed([armed for *_, armed in alarms]),
        arrays.plain([place for place, _ in sent]),
        *_sent([message for _, message in sent]),
    ]


def _armed(alarms: Sequence[Armed]) -> Iterable[bytes]:
    yield arrays.plain([alarm.due.isoformat() for alarm in alarms])
    yield arrays.plain([alarm.delay for alarm in alarms])
    yield arrays.texts([alarm.method for alarm in alarms])
    yield arrays.texts([alarm.args for alarm in alarms])
    yield arrays.texts([alarm.kwargs for alarm in alarms])
    yield arrays.texts([alarm.recurrence for alarm in alarms])
    yield arrays.texts([alarm.zone for alarm in alarms])
    yield arrays.texts([alarm.user for alarm in alarms])
    yield arrays.texts([alarm.call_id for alarm in alarms])


def _sent(messages: Sequence[Sent]) -> Iterable[bytes]:
    yield arrays.texts([message.type for message in messages])
    yield arrays.texts([message.key for message in messages])
    yield arrays.texts([message.method for message in messages])
    yield arrays.texts([message.args for message in messages])
    yield arrays.texts([message.kwargs for message in messages])
    yield arrays.texts([message.call_id for message in messages])
    yield arrays.texts([message.user for message in messages])
    yield arrays.plain([message.seq for message in messages])
    yield arrays.plain([message.index for message in messages])


def revisions(revised: Sequence[Revised]) -> list[bytes]:
    """The parameters of ``REVISE`` after lane and skew."""
    return [
        arrays.plain([one.id for one in revised]),
        arrays.plain([_null(one.delay) for one in revised]),
        arrays.texts([one.error for one in revised]),
        arrays.plain(["t" if one.dead else "f" for one in revised]),
        arrays.plain([_null(one.attempts) for one in revised]),
    ]


def taken(result: PGresult) -> list[Taken] | None:
    """What ``TAKE`` returned; ``None`` if the lane was gone."""
    found = []
    fenced = True
    for row in range(result.ntuples):
        values = [result.get_value(row, column) for column in range(14)]
        id_, type_, key, name, now, method, args, kwargs, attempts, sender, call_id, user, recurrence, late = (
            None if value is None else value.decode() for value in values
        )
        if id_ == "-1":
            fenced = False
            continue
        found.append(
            Taken(
                int(id_ or 0),
                type_ or "",
                key or "",
                name,
                datetime.fromisoformat(now or ""),
                method or "",
                args or "",
                kwargs or "",
                int(attempts or 0),
                None if sender is None else int(sender),
                call_id,
                user,
                recurrence,
                float(late or 0),
            )
        )
    return None if fenced else found


def overdue(result: PGresult) -> Overdue:
    """What ``OVERDUE`` returned."""
    ready, wait = result.get_value(0, 0) == b"t", result.get_value(0, 1)
    owners = [((result.get_value(row, 2) or b"").decode(), (result.get_value(row, 3) or b"").decode()) for row in range(1, result.ntuples)]
    return Overdue(ready, None if wait is None else float(wait), owners)
