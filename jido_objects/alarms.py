"""Alarms: calls that an object makes to itself later.

The truth of an alarm is a hidden field of its object's state, so that journal, rollback and thaw hold for it like for any other
field. The inbox has one row per name that only says when to look, and costs a write only when that must be earlier than it
says: an alarm that is moved later, as a watchdog is at every message, leaves its row alone.

A recurring alarm keeps to the ticks of its first time; what was missed is made up for once, or not at all.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from . import ids
from .codec import kind_of
from .codec.kinds import from_json
from .errors import InvalidArguments, StateError
from .limits import MESSAGE_BYTES, NAME_BYTES, encoded_size
from .state import Field
from .stores.messages import Armed, InboxChanges

if TYPE_CHECKING:
    from collections.abc import Callable

    from .activation import Activation
    from .definition import Definition
    from .methods import Method
    from .turns import Turn

ALARMS = "$alarms"
"""The field of the state that holds them."""
_MISSED = ("once", "skip")


@dataclass(frozen=True)
class Alarm:
    """A call that will be made. ``every`` is a number of seconds or a cron expression, read in the time zone ``zone``."""

    name: str
    method: str
    due: datetime
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] | None = None
    every: float | str | None = None
    zone: str | None = None
    missed: str = "once"


@dataclass(frozen=True)
class AlarmRecord:
    """An alarm as its object's state holds it. ``args`` and ``kwargs`` are JSON text."""

    method: str
    due: datetime
    args: str
    kwargs: str
    every: str | None
    zone: str | None
    missed: str
    user: int | str | None

    @property
    def said(self) -> tuple[object, ...]:
        """All but its time."""
        return self.method, self.args, self.kwargs, self.every, self.zone, self.user


_KIND = kind_of(dict[str, AlarmRecord], where=ALARMS)


def alarms_field(type_name: str) -> Field:
    return Field(f"{type_name}.{ALARMS}", _KIND)


# ---------------------------------------------------------------- what a method asks for


def schedule(
    activation: Activation,
    method: str | Callable[..., Any],
    *,
    after: float | timedelta | None,
    at: datetime | None,
    every: float | timedelta | str | None,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None,
    name: str | None,
    missed: str,
    zone: str | None,
) -> str:
    """See ``DurableObject.schedule``."""
    turn = writing(activation, "schedule")
    definition = activation.definition
    target = callable_later(definition, method, "schedule")
    label = f"{definition.cls.__name__}.schedule({target.name!r})"
    if missed not in _MISSED:
        raise InvalidArguments(f"{label}: missed is 'once' or 'skip', not {missed!r}.")
    period, where = _period(label, every, zone, activation.host.settings.zone)
    delay = _delay(label, turn.now, after, at, period, where)
    given: object = args
    if isinstance(given, str | bytes) or not isinstance(given, Sequence):
        raise InvalidArguments(f"{label}: args is a list or tuple of arguments, not {args!r:.60}.")
    bound, named = target.bind(tuple(args), dict(kwargs or {}))
    encoded = target.dump_arguments(bound, named)
    size = encoded_size(encoded[0]) + encoded_size(encoded[1])
    if size > MESSAGE_BYTES:
        raise InvalidArguments(f"{label}: its arguments take {size} bytes, more than {MESSAGE_BYTES}. Store them in the state instead.")
    if name is None:
        turn.named += 1
        name = f"{target.name}#{activation.seq + 1}.{turn.named}"
    elif not name or not str(name).isprintable() or encoded_size(name) > NAME_BYTES:
        raise InvalidArguments(f"{label}: a name is text of 1 to {NAME_BYTES} bytes without control characters, not {name!r:.60}.")
    due = turn.now + timedelta(seconds=delay)
    activation.state.values[ALARMS][name] = AlarmRecord(target.name, due, *encoded, period, where, missed, turn.call.user)
    turn.alarms[name] = delay
    return name


def unschedule(activation: Activation, name: str) -> bool:
    """See ``DurableObject.unschedule``."""
    turn = writing(activation, "unschedule")
    alarms = activation.state.values[ALARMS]
    if name not in alarms:
        return False
    del alarms[name]
    turn.alarms[name] = None
    return True


def listed(activation: Activation) -> list[Alarm]:
    """See ``DurableObject.alarms``."""
    found = []
    for name, record in activation.state.values[ALARMS].items():
        try:
            args, kwargs = activation.definition.method(record.method).load_arguments(record.args, record.kwargs)
        except (AttributeError, TypeError, ValueError):
            # The method is gone, or takes other arguments now: what is stored is still shown.
            args, kwargs = tuple(from_json(record.args)), from_json(record.kwargs)
        every = record.every if record.every is None or record.zone is not None else float(record.every)
        found.append(Alarm(name, record.method, record.due, args, kwargs, every, record.zone, record.missed))
    return sorted(found, key=lambda alarm: (alarm.due, alarm.name))


def writing(activation: Activation, what: str) -> Turn:
    """The open turn, if it may let something out; raises ``StateError``."""
    turn = activation.turn_now()
    if turn.readonly:
        raise StateError(f"{turn.call} is a @query and cannot {what} anything; drop @query to let it.")
    return turn


def callable_later(definition: Definition, method: str | Callable[..., Any], what: str) -> Method:
    """A method that a message may name; raises ``InvalidArguments``."""
    try:
        found = definition.method(method) if isinstance(method, str) else definition.method_of(method)
    except AttributeError as error:
        raise InvalidArguments(f"{definition.cls.__name__}.{what}: {error}") from error
    if found.query:
        raise InvalidArguments(f"{found.label} is a @query: its result would reach nobody. Name a method that changes state to {what}.")
    return found


# ---------------------------------------------------------------- time


def _seconds(label: str, what: str, value: float | timedelta) -> float:
    seconds: object = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        raise InvalidArguments(f"{label}: {what} is a number of seconds or a timedelta, not {value!r:.60}.")
    if not 0 <= seconds < 1e10:
        raise InvalidArguments(f"{label}: {what} is a time to come, at most 300 years off, not {value!r:.60}.")
    return float(seconds)


def _period(label: str, every: float | timedelta | str | None, zone: str | None, default_zone: str) -> tuple[str | None, str | None]:
    if not isinstance(every, str):
        if zone is not None:
            raise InvalidArguments(f"{label}: zone belongs to a cron expression: every='0 9 * * *'.")
        if every is None:
            return None, None
        seconds = _seconds(label, "every", every)
        if seconds < 0.001:
            raise InvalidArguments(f"{label}: every is above zero, not {every!r}.")
        return repr(seconds), None
    where = default_zone if zone is None else zone
    try:
        ZoneInfo(where)
    except (ValueError, OSError, LookupError, TypeError) as error:
        raise InvalidArguments(f"{label}: there is no time zone {where!r}; write one like 'Europe/Berlin' or 'UTC'.") from error
    return every, where


def _delay(label: str, now: datetime, after: float | timedelta | None, at: datetime | None, every: str | None, zone: str | None) -> float:
    if after is not None and at is not None:
        raise InvalidArguments(f"{label}: both after and at are given; one of them says when.")
    first = 0.0
    if every is not None:
        try:
            first = (next_tick(every, zone, now) - now).total_seconds()
        except CronSimError as error:
            raise InvalidArguments(f"{label}: every={every!r} is no cron expression ({error}); write one like '0 9 * * 1-5'.") from error
        except StopIteration:
            raise InvalidArguments(f"{label}: every={every!r} never comes; write a date that exists, like '0 0 1 * *'.") from None
    if after is not None:
        return _seconds(label, "after", after)
    if at is not None:
        given: object = at
        if not isinstance(given, datetime) or given.utcoffset() is None:
            raise InvalidArguments(f"{label}: at is an aware datetime, not {at!r:.80}. Add a time zone, or use self.now() + ….")
        if at < now:
            raise InvalidArguments(f"{label}: at={at.isoformat()} is past; it is {now.isoformat()} now. Use after=0 for at once.")
        return _seconds(label, "at", at - now)
    if every is None:
        raise InvalidArguments(f"{label}: say when: after=60, at=…, or every=….")
    return first


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def next_tick(every: str, zone: str | None, now: datetime, base: datetime | None = None) -> datetime:
    """The first tick after ``now``; one of seconds counts from ``base``. Raises ``CronSimError``, ``StopIteration``."""
    if zone is None:
        seconds = float(every)
        base = base or now
        ticks = math.floor(max(0.0, (now - base).total_seconds()) / seconds) + 1
        return base + timedelta(seconds=ticks * seconds)
    # Where clocks are put back, or forward, the expression is read as cron does: an hour that comes twice counts once, a
    # time that is left out comes right after.
    ticking = CronSim(every, now.astimezone(_zone(zone)))
    return next(tick for tick in itertools.islice(ticking, 4) if tick > now).astimezone(UTC)


# ---------------------------------------------------------------- what a turn leaves


def changes(activation: Activation, turn: Turn) -> InboxChanges | None:
    """What a turn's row does to messages; delays count from the turn's start."""
    message = turn.call.message
    if message is None and not turn.alarms and not turn.sends:
        return None
    found = InboxChanges()
    fired = None
    if message is not None:
        found.applied.append(message.taken.id)
        fired = message.taken.name
    if turn.alarms:
        alarms = activation.state.values[ALARMS]
        for name, delay in turn.alarms.items():
            record: AlarmRecord | None = alarms.get(name)
            if record is None or delay is None:
                if name != fired:
                    found.alarms[name] = None
                continue
            known = activation.armed.get(name)
            if name != fired and known is not None and known[1] == record.said and record.due >= known[0]:
                continue
            user = None if record.user is None else str(record.user)
            found.alarms[name] = Armed(
                record.due, delay, record.method, record.args, record.kwargs, _call_id(activation, name, record),
                record.every, record.zone, user,
            )  # fmt: skip
    found.sent.extend(replace(message, seq=activation.seq + 1) for message in turn.sends)
    return found if found.applied or found.alarms or found.sent else None


def _call_id(activation: Activation, name: str, record: AlarmRecord) -> str:
    # The same again for the same time, so that a second attempt makes the calls of the first.
    parent = f"~{int(record.due.timestamp() * 1000):012x}{0:020x}"
    return ids.nested(parent, *activation.name, name, record.due.isoformat(), record.method, record.args, record.kwargs)


def note(activation: Activation, found: InboxChanges) -> None:
    """A turn is kept: remember what its alarms' rows will say."""
    for name, armed in found.alarms.items():
        if armed is None:
            activation.armed.pop(name, None)
        else:
            record: AlarmRecord = activation.state.values[ALARMS][name]
            activation.armed[name] = (record.due, record.said)
