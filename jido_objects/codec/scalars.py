"""Kinds of values that hold no others: numbers, text, dates, enums, and what higher floors register."""

from __future__ import annotations

import datetime as dt
import enum
import math
from collections.abc import Callable, Collection, Iterable
from decimal import Decimal
from types import NoneType
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from .kinds import FORMS, JSON, OPAQUE, Kind, Refused, describe, misfit, to_json

T = TypeVar("T")


# ---------------------------------------------------------------- values of one class


class Scalar(Kind, Generic[T]):
    """Values of one class, taken as they are; ``fit`` sees what is of a subclass or another class."""

    textual = native_key = True

    def __init__(self, cls: type[T], form: str, name: str = "") -> None:
        self.cls = cls
        self.name = name or cls.__name__
        self.types = frozenset({cls})
        self.json = frozenset({form})
        self.spec = cls

    def take(self, value: Any, depth: int = 0) -> Any:
        return value if type(value) is self.cls else self.fit(value)

    def fit(self, value: Any) -> T:
        raise misfit(value, self.name)

    def all_fit(self, values: Collection[Any]) -> bool:
        return set(map(type, values)) == self.types and (type(self).take is Scalar.take or self._all_plain(values))

    def _all_plain(self, values: Collection[Any]) -> bool:
        """The same of values that are of the right class, where that is not all."""
        return False


class NoneKind(Scalar[None]):
    textual = native_key = False

    def load(self, data: JSON, depth: int = 0) -> Any:
        return self.take(data)


class BoolKind(Scalar[bool]):
    textual = native_key = False
    blank = bool

    def load(self, data: JSON, depth: int = 0) -> Any:
        return self.take(data)


# Python itself turns no more digits than that into text (sys.set_int_max_str_digits), and msgspec reads no more.
_HUGE: Final = 10**4300
_WORD: Final = 2**63


class IntKind(Scalar[int]):
    blank = int

    def take(self, value: Any, depth: int = 0) -> int:
        if type(value) is int and -_WORD < value < _WORD:
            return value
        if not isinstance(value, int) or isinstance(value, bool):
            raise misfit(value, self.name)
        if not -_HUGE < value < _HUGE:
            raise Refused("an int of more than 4300 digits cannot be written as text; store it as bytes")
        return int.__index__(value)

    def _all_plain(self, values: Collection[Any]) -> bool:
        return bool(min(values) > -_WORD and max(values) < _WORD)

    def load(self, data: JSON, depth: int = 0) -> int:
        return self.take(data)

    def text(self, value: int) -> str:
        return str(value)

    def from_text(self, text: str) -> int:
        return int(text)


class FloatKind(Scalar[float]):
    faithful = False
    blank = float

    def take(self, value: Any, depth: int = 0) -> float:
        if type(value) is not float:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise misfit(value, self.name)
            try:
                value = float.__float__(value) if isinstance(value, float) else float(int.__index__(value))
            except OverflowError:
                raise Refused(f"{describe(value)} is too large for a float; annotate int") from None
        if value - value != 0.0:
            raise Refused(f"{value} cannot be stored, JSON has no such number; use None (annotated float | None)")
        return value  # type: ignore[no-any-return]

    def _all_plain(self, values: Collection[Any]) -> bool:
        return all(map(math.isfinite, values))

    def load(self, data: JSON, depth: int = 0) -> float:
        return self.take(data)

    def text(self, value: float) -> str:
        return to_json(value).decode()

    def from_text(self, text: str) -> float:
        return self.take(float(text))


class StrKind(Scalar[str]):
    blank = str

    def take(self, value: Any, depth: int = 0) -> Any:
        if type(value) is not str:
            if not isinstance(value, str):
                raise misfit(value, self.name)
            value = str.__str__(value)
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise Refused(f"{describe(value)} holds half a surrogate pair; store bytes, or decode it with errors='replace'") from None
        return value

    def _all_plain(self, values: Collection[Any]) -> bool:
        return all(map(str.isascii, values))

    def load(self, data: JSON, depth: int = 0) -> Any:
        return self.take(data)

    def text(self, value: str) -> str:
        return value

    def from_text(self, text: str) -> str:
        return text


class BytesKind(Scalar[bytes]):
    def fit(self, value: Any) -> bytes:
        if isinstance(value, bytes):
            return bytes(memoryview(value))
        if isinstance(value, bytearray | memoryview):
            raise misfit(value, self.name, "; store bytes(…) of it")
        raise misfit(value, self.name)


class DecimalKind(Scalar[Decimal]):
    faithful = sure = False

    def take(self, value: Any, depth: int = 0) -> Any:
        if type(value) is not Decimal:
            if isinstance(value, float):
                raise misfit(value, self.name, f"; write Decimal('{value}')")
            if isinstance(value, bool) or not isinstance(value, int | Decimal):
                raise misfit(value, self.name)
            value = Decimal(int.__index__(value)) if isinstance(value, int) else Decimal(value)
        if not value.is_finite():
            raise Refused(f"Decimal('{value}') cannot be stored; use None (annotated Decimal | None)")
        return value


_UTC: Final = dt.UTC
_MINUTE: Final = dt.timedelta(minutes=1)


def _fixed(zone: dt.tzinfo, offset: dt.timedelta | None, what: str) -> dt.timezone:
    if offset is None:
        raise Refused(f"{what} has a tzinfo ({zone}) without a fixed offset; use a datetime, or datetime.timezone")
    return _UTC if not offset else dt.timezone(offset)


class DateTimeKind(Scalar[dt.datetime]):
    """Aware ones keep their instant and their offset, as a fixed ``timezone``: the name of a zone is no part of a value."""

    faithful = False

    def take(self, value: Any, depth: int = 0) -> dt.datetime:
        if type(value) is dt.datetime and (value.tzinfo is None or value.tzinfo is _UTC) and not value.fold:
            return value
        if not isinstance(value, dt.datetime):
            raise misfit(value, "an aware or naive datetime" if isinstance(value, dt.date) else self.name)
        zone = value.tzinfo
        if zone is not None:
            offset = value.utcoffset()
            fixed = _fixed(zone, offset, describe(value))
            if offset is not None and offset % _MINUTE:
                # ISO 8601 writes offsets in minutes; local mean times before 1900 have seconds.
                try:
                    value, fixed = value.astimezone(_UTC), _UTC
                except OverflowError:
                    raise Refused(f"{describe(value)} is outside of the years 1 to 9999 in UTC") from None
            if type(value) is dt.datetime and type(zone) is dt.timezone and not value.fold and value.tzname() == fixed.tzname(None):
                return value
            zone = fixed
        return dt.datetime(value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond, zone)


class DateKind(Scalar[dt.date]):
    def fit(self, value: Any) -> dt.date:
        if isinstance(value, dt.datetime) or not isinstance(value, dt.date):
            raise misfit(value, self.name, "; use its .date()" if isinstance(value, dt.datetime) else "")
        return dt.date(value.year, value.month, value.day)


class TimeKind(Scalar[dt.time]):
    faithful = False

    def take(self, value: Any, depth: int = 0) -> dt.time:
        if type(value) is dt.time and (value.tzinfo is None or value.tzinfo is _UTC) and not value.fold:
            return value
        if not isinstance(value, dt.time):
            raise misfit(value, self.name)
        zone = value.tzinfo
        if zone is not None:
            offset = value.utcoffset()
            if offset is not None and offset % _MINUTE:
                raise Refused(f"{describe(value)} has an offset with seconds, which ISO 8601 cannot write; use whole minutes")
            zone = _fixed(zone, offset, describe(value))
        return dt.time(value.hour, value.minute, value.second, value.microsecond, zone)


class TimeDeltaKind(Scalar[dt.timedelta]):
    def fit(self, value: Any) -> dt.timedelta:
        if not isinstance(value, dt.timedelta):
            raise misfit(value, self.name)
        return dt.timedelta(value.days, value.seconds, value.microseconds)


class UUIDKind(Scalar[UUID]):
    def fit(self, value: Any) -> UUID:
        if not isinstance(value, UUID):
            raise misfit(value, self.name)
        return UUID(int=value.int)


NONE: Final = NoneKind(NoneType, "null", "None")
NONE.spec = None
BOOL: Final = BoolKind(bool, "bool")
INT: Final = IntKind(int, "int")
FLOAT: Final = FloatKind(float, "float")
STR: Final = StrKind(str, "string")
BYTES: Final = BytesKind(bytes, "string")
DECIMAL: Final = DecimalKind(Decimal, "string")
DATETIME: Final = DateTimeKind(dt.datetime, "string")
DATE: Final = DateKind(dt.date, "string")
TIME: Final = TimeKind(dt.time, "string")
TIMEDELTA: Final = TimeDeltaKind(dt.timedelta, "string")
UUID_: Final = UUIDKind(UUID, "string")
SCALARS: Final[tuple[Scalar[Any], ...]] = (NONE, BOOL, INT, FLOAT, STR, BYTES, DECIMAL, DATETIME, DATE, TIME, TIMEDELTA, UUID_)


# ---------------------------------------------------------------- values out of a fixed choice


class ChoiceKind(Kind):
    """A ``Literal``, or an ``Enum`` that is stored by name: finitely many values, each with a JSON scalar of its own."""

    native = typed = False

    def __init__(self, name: str, choices: Iterable[tuple[Any, JSON]], spec: Any = None) -> None:
        pairs = list(choices)
        self.name = name
        self._dumped = {(type(value), value): data for value, data in pairs}
        self._loaded = {(type(data), data): value for value, data in pairs}
        if len(self._loaded) < len(self._dumped):
            raise ValueError(f"two values of {name} have the same JSON")
        self.written = [data for _, data in pairs]
        """The JSON of each."""
        self.types = frozenset(type(value) for value, _ in pairs)
        self.json = frozenset(FORMS[type(data)] for _, data in pairs)
        self.textual = self.json == {"string"}
        self.faithful = not self.json >= {"bool", "int"}
        if spec is not None:
            self.native = self.typed = True
            self.native_key = self.textual
            self.spec = spec

    def take(self, value: Any, depth: int = 0) -> Any:
        try:
            if (type(value), value) in self._dumped:
                return value
        except TypeError:
            pass
        raise misfit(value, self.name)

    def dump(self, value: Any, canonical: bool = False) -> Any:
        return self._dumped[type(value), value]

    def load(self, data: JSON, depth: int = 0) -> Any:
        try:
            return self._loaded[type(data), data]
        except (KeyError, TypeError):
            raise misfit(data, self.name) from None

    def text(self, value: Any) -> str:
        return self._dumped[type(value), value]  # type: ignore[no-any-return]


class EnumKind(Scalar[enum.Enum]):
    """An ``Enum`` whose values are all ``str``, or all ``int``: stored by value."""

    def __init__(self, cls: type[enum.Enum]) -> None:
        text = all(isinstance(member.value, str) for member in cls.__members__.values())
        super().__init__(cls, "string" if text else "int", cls.__name__)

    def fit(self, value: Any) -> enum.Enum:
        if not isinstance(value, self.cls):
            members = self.cls.__members__.values()
            meant = next((member.name for member in members if type(member.value) is type(value) and member.value == value), None)
            raise misfit(value, self.name, "" if meant is None else f"; write {self.name}.{meant}")
        return value

    def text(self, value: enum.Enum) -> str:
        return str(value.value)

    def from_text(self, text: str) -> Any:
        return self.load(text if "string" in self.json else int(text))


def enum_kind(cls: type[enum.Enum]) -> Kind:
    """The kind of an ``Enum``: by value where all are ``str`` or all small ``int``, else by name."""
    values = [member.value for member in cls.__members__.values()]
    if all(type(value) is str for value in values) or all(type(value) is int and -(2**63) <= value < 2**63 for value in values):
        return EnumKind(cls)
    return ChoiceKind(cls.__name__, [(member, name) for name, member in cls.__members__.items() if member.name == name])


class OpaqueKind(Scalar[Any]):
    """A registered immutable class of a higher floor, such as ``Ref``."""

    native_key = False

    def __init__(self, cls: type, encode: Callable[[Any], JSON], decode: Callable[[JSON], Any], form: str | None) -> None:
        super().__init__(cls, form or "string")
        if form is None:
            self.json = frozenset({"string", "array", "object"})
        self._encode = encode
        self._decode = decode
        self.textual = form == "string"
        OPAQUE[cls] = self

    def fit(self, value: Any) -> Any:
        raise misfit(value, self.name)

    def load(self, data: JSON, depth: int = 0) -> Any:
        if FORMS[type(data)] not in self.json:
            raise misfit(data, self.name)
        return self._decode(data)

    def plain_form(self, value: Any) -> JSON:
        return self._encode(value)

    def text(self, value: Any) -> str:
        return str(self._encode(value))
