"""The codec: what is let in comes back as it was, everything else is refused with a message that helps."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import math
import typing
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Mapping, MutableMapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypeVar, Union
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from django.utils.functional import lazystr
from django.utils.safestring import mark_safe

from jido_objects import limits
from jido_objects.codec import CorruptValue, Kind, kind_of, register
from jido_objects.errors import DefinitionError, InvalidValue

T = TypeVar("T")
UserId = NewType("UserId", int)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    S = 1
    L = 2


class Level(enum.StrEnum):
    LOW = "low"
    HIGH = "high"


class Mixed(enum.Enum):
    ONE = 1
    PAIR = (1, 2)
    ALIAS = (1, 2)  # noqa: PIE796


class Huge(enum.Enum):
    BIG = 2**70


class Right(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Price:
    amount: Decimal
    tags: frozenset[str] = frozenset()
    mode: Mixed = Mixed.ONE
    extra: Any = None


@dataclasses.dataclass(frozen=True)
class Cost:
    amount: Decimal


@dataclasses.dataclass(frozen=True)
class Tree:
    name: str
    children: tuple[Tree, ...] = ()


@dataclasses.dataclass(frozen=True)
class Box(Generic[T]):
    content: T
    more: tuple[T, ...] = ()


@dataclasses.dataclass(frozen=True)
class Computed:
    base: int
    double: int = dataclasses.field(init=False)
    stamp: float = 0

    def __post_init__(self) -> None:
        if self.base < 0:
            raise ValueError("base is negative")
        object.__setattr__(self, "double", self.base * 2)
        object.__setattr__(self, "stamp", self.stamp + 1)


class Pair(NamedTuple):
    left: int
    right: str = "r"


class Cat(msgspec.Struct, frozen=True, tag=True):
    lives: int


class Dog(msgspec.Struct, frozen=True, tag=True):
    name: str
    bones: tuple[Mixed, ...] = ()


class Row(msgspec.Struct, frozen=True, array_like=True, rename="camel"):
    first_name: str
    last_kind: Mixed = Mixed.PAIR


class Checked(msgspec.Struct, frozen=True, rename="camel"):
    some_value: int

    def __post_init__(self) -> None:
        if self.some_value == 13:
            raise ValueError("not 13")


@dataclasses.dataclass
class Loose:
    x: int


class Plain:
    pass


class Token:
    """Stands for what higher floors register."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Token) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    @classmethod
    def __class_getitem__(cls, item: object) -> Any:
        return typing._GenericAlias(cls, (item,))  # type: ignore[attr-defined]


class Arrow(Generic[T]):
    """The same, but written as an array and of no declared form."""

    def __init__(self, *ends: str) -> None:
        self.ends = ends

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Arrow) and other.ends == self.ends

    def __hash__(self) -> int:
        return hash(self.ends)


def _token(text: str) -> Token:
    if not text:
        raise LookupError("no such token")
    return Token(text)


register(Token, "token", lambda token: token.text, _token, form="string")
register(Arrow, "arrow", lambda arrow: list(arrow.ends), lambda ends: Arrow(*ends))


def kind(annotation: Any, *, state: bool = True) -> Kind:
    return kind_of(annotation, where="Sale.field", state=state)


def same(left: Any, right: Any) -> bool:
    """Equal, type for type and in order."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return all(map(same, [*left.keys(), *left.values()], [*right.keys(), *right.values()])) and len(left) == len(right)
    if isinstance(left, float):
        return left.hex() == right.hex()
    if isinstance(left, Decimal):
        return left.as_tuple() == right.as_tuple()
    if isinstance(left, dt.datetime | dt.time):
        return left == right and left.utcoffset() == right.utcoffset() and left.isoformat() == right.isoformat()
    return bool(left == right)


def label(value: Any) -> str:
    try:
        return repr(value)[:40]
    except ValueError:
        return "huge"


PARIS = ZoneInfo("Europe/Paris")
HALF_PAST = dt.timezone(dt.timedelta(hours=5, minutes=30))
ROUND_TRIPS: list[tuple[Any, Any, str]] = [
    (None, None, "null"),
    (bool, True, "true"),
    (int, 0, "0"),
    (int, -(10**40), "-1" + "0" * 40),
    (int, 10**4299, "1" + "0" * 4299),
    (float, 1.0, "1.0"),
    (float, -0.0, "-0.0"),
    (float, 1e300, "1e300"),
    (str, "é\u0000\u2028😀", '"é\\u0000\u2028😀"'),
    (bytes, b"\x00\xff", '"AP8="'),
    (Decimal, Decimal("1.10"), '"1.10"'),
    (Decimal, Decimal("1E+5"), '"1E+5"'),
    (dt.datetime, dt.datetime(2027, 1, 2, 3, 4, 5, 6), '"2027-01-02T03:04:05.000006"'),
    (dt.datetime, dt.datetime(2027, 1, 2, tzinfo=dt.UTC), '"2027-01-02T00:00:00Z"'),
    (dt.datetime, dt.datetime(2027, 1, 2, tzinfo=HALF_PAST), '"2027-01-02T00:00:00+05:30"'),
    (dt.datetime, dt.datetime.max, '"9999-12-31T23:59:59.999999"'),
    (dt.date, dt.date(1, 1, 1), '"0001-01-01"'),
    (dt.time, dt.time(23, 59, 59, 999999), '"23:59:59.999999"'),
    (dt.time, dt.time(1, tzinfo=HALF_PAST), '"01:00:00+05:30"'),
    (dt.timedelta, dt.timedelta.min, '"-P999999999D"'),
    (dt.timedelta, dt.timedelta(days=1, microseconds=1), '"P1DT0.000001S"'),
    (UUID, UUID(int=5), '"00000000-0000-0000-0000-000000000005"'),
    (Color, Color.BLUE, '"blue"'),
    (Size, Size.L, "2"),
    (Level, Level.HIGH, '"high"'),
    (Mixed, Mixed.PAIR, '"PAIR"'),
    (Huge, Huge.BIG, '"BIG"'),
    (Right, Right.READ | Right.WRITE, "3"),
    (Literal["a", 1, True, None], True, "true"),
    (Literal["a", 1, None], 1, "1"),
    (Literal[Mixed.PAIR, "x"], Mixed.PAIR, '"PAIR"'),
    (Literal[Color.RED], Color.RED, '"red"'),
    (int | None, None, "null"),
    (Optional[int], 5, "5"),  # noqa: UP045
    (Union[int, float, None], 1.0, "1.0"),  # noqa: UP007
    (float | int, 1, "1"),
    (bool | int | str | list[int], [1], "[1]"),
    (Decimal | float, Decimal("2.0"), '"2.0"'),
    (Mixed | int, Mixed.ONE, '"ONE"'),
    (list[int], [3, 1], "[3,1]"),
    (list[list[str]], [["a"], []], '[["a"],[]]'),
    (dict[str, int], {"b": 1, "a": 2}, '{"b":1,"a":2}'),
    (dict[int, str], {10: "a", 9: "b"}, '{"10":"a","9":"b"}'),
    (dict[UUID, int], {UUID(int=1): 1}, '{"00000000-0000-0000-0000-000000000001":1}'),
    (dict[Color, int], {Color.RED: 1}, '{"red":1}'),
    (dict[Size, int], {Size.S: 1}, '{"1":1}'),
    (dict[Mixed, int], {Mixed.PAIR: 1}, '{"PAIR":1}'),
    (dict[dt.date, int], {dt.date(2027, 1, 1): 1}, '{"2027-01-01":1}'),
    (dict[Decimal, int], {Decimal("1.0"): 1}, '{"1.0":1}'),
    (dict[float, int], {1.5: 1}, '{"1.5":1}'),
    (dict[bytes, int], {b"a": 1}, '{"YQ==":1}'),
    (dict[bool, int], {True: 1, False: 2}, "[[true,1],[false,2]]"),
    (dict[int | str, int], {1: 1, "1": 2}, '[[1,1],["1",2]]'),
    (dict[tuple[int, str], list[int]], {(1, "a"): [1]}, '[[[1,"a"],[1]]]'),
    (dict[Point, Point], {Point(1): Point(2)}, '[[{"x":1,"y":0},{"x":2,"y":0}]]'),
    (dict[Any, int], {1: 1, (2,): 2, "$": 3}, '[[1,1],[{"$tuple":[2]},2],["$",3]]'),
    (set[int], {1}, "[1]"),
    (set[tuple[int, Mixed]], {(1, Mixed.PAIR)}, '[[1,"PAIR"]]'),
    (frozenset[str], frozenset("a"), '["a"]'),
    (tuple[int, ...], (1, 2), "[1,2]"),
    (tuple[int, str], (1, "a"), '[1,"a"]'),
    (tuple[()], (), "[]"),
    (tuple, (1, (2,)), '[1,{"$tuple":[2]}]'),
    (tuple[Mixed, ...], (Mixed.ONE,), '["ONE"]'),
    (Point, Point(1, 2), '{"x":1,"y":2}'),
    (
        Price,
        Price(Decimal("1.50"), frozenset("a"), Mixed.PAIR, (1, b"x")),
        '{"amount":"1.50","tags":["a"],"mode":"PAIR","extra":{"$tuple":[1,{"$bytes":"eA=="}]}}',
    ),
    (Tree, Tree("a", (Tree("b"),)), '{"name":"a","children":[{"name":"b","children":[]}]}'),
    (Box[int], Box(1, (2,)), '{"content":1,"more":[2]}'),
    (Box[Mixed], Box(Mixed.ONE), '{"content":"ONE","more":[]}'),
    (Computed, Computed(2, 5.0), '{"base":2,"double":4,"stamp":6.0}'),
    (Pair, Pair(1), '[1,"r"]'),
    (Cat, Cat(9), '{"type":"Cat","lives":9}'),
    (Dog, Dog("rex", (Mixed.ONE,)), '{"type":"Dog","name":"rex","bones":["ONE"]}'),
    (Cat | Dog | None, Dog("rex"), '{"type":"Dog","name":"rex","bones":[]}'),
    (list[Cat | int], [Cat(1), 2], '[{"type":"Cat","lives":1},2]'),
    (Row, Row("a"), '["a","PAIR"]'),
    (Checked, Checked(1), '{"someValue":1}'),
    (Annotated[int, "meta"], 1, "1"),
    (UserId, UserId(1), "1"),
    (Token, Token("a"), '"a"'),
    (Token[Point], Token("a"), '"a"'),
    (Token | None, Token("a"), '"a"'),
    (list[Token], [Token("a")], '["a"]'),
    (dict[Token, Token], {Token("a"): Token("b")}, '{"a":"b"}'),
    (Arrow, Arrow("a", "b"), '["a","b"]'),
    (Arrow[int] | None, Arrow("a"), '["a"]'),
    (dict[Arrow[int], int], {Arrow("a"): 1}, '[[["a"],1]]'),
    (set[Arrow[int]], {Arrow("a")}, '[["a"]]'),
    (Any, None, "null"),
    (object, [1, 1.0, "a", True, {"a": [None]}], '[1,1.0,"a",true,{"a":[null]}]'),
    (Any, Decimal("1.10"), '{"$decimal":"1.10"}'),
    (Any, dt.datetime(2027, 1, 1, tzinfo=dt.UTC), '{"$datetime":"2027-01-01T00:00:00Z"}'),
    (Any, dt.date(2027, 1, 1), '{"$date":"2027-01-01"}'),
    (Any, dt.time(1), '{"$time":"01:00:00"}'),
    (Any, dt.timedelta(1), '{"$timedelta":"P1D"}'),
    (Any, UUID(int=1), '{"$uuid":"00000000-0000-0000-0000-000000000001"}'),
    (Any, b"a", '{"$bytes":"YQ=="}'),
    (Any, {1}, '{"$set":[1]}'),
    (Any, frozenset([1]), '{"$frozenset":[1]}'),
    (Any, (1, (2,)), '{"$tuple":[1,{"$tuple":[2]}]}'),
    (Any, Token("a"), '{"$token":"a"}'),
    (Any, Arrow("a"), '{"$arrow":["a"]}'),
    (Any, {"$decimal": "1", "$": 1, "$$": 2}, '{"$$decimal":"1","$$":1,"$$$":2}'),
    (Any, {"$set": {"$set": {1}}}, '{"$$set":{"$$set":{"$set":[1]}}}'),
    (list, [1, {"a": (1,)}], '[1,{"a":{"$tuple":[1]}}]'),
    (dict, {"$a": Decimal(1)}, '{"$$a":{"$decimal":"1"}}'),
    (set, {1}, "[1]"),
    (frozenset, frozenset({(1,)}), '[{"$tuple":[1]}]'),
    (Any | None, [()], '[{"$tuple":[]}]'),
]


@pytest.mark.parametrize(("annotation", "value", "text"), ROUND_TRIPS, ids=label)
def test_value_comes_back_as_it_was(annotation: Any, value: Any, text: str) -> None:
    compiled = kind(annotation)
    taken = compiled.copy(value, "here")
    assert same(taken, value)
    assert compiled.encode(taken) == text
    assert same(compiled.decode(text), value)
    assert same(compiled.decode(text.encode()), value)
    assert same(compiled.load(msgspec.json.decode(text)), value)
    assert compiled.decode(compiled.encode_canonical(taken)) == value
    assert compiled.encode(compiled.decode(text)) == text


@pytest.mark.parametrize(("annotation", "value", "text"), ROUND_TRIPS, ids=label)
def test_union_with_none_comes_back_too(annotation: Any, value: Any, text: str) -> None:
    compiled = kind(Optional[annotation])  # noqa: UP045
    assert compiled.encode(compiled.copy(value, "here")) == text
    assert same(compiled.decode(text), value)
    assert compiled.decode("null") is None


def test_canonical_json_sorts_keys_and_sets() -> None:
    assert kind(dict[str, set[int]]).encode_canonical({"b": {10, 9}, "a": set()}) == '{"a":[],"b":[10,9]}'
    assert kind(dict[int, int]).encode_canonical({10: 1, 9: 2}) == kind(dict[int, int]).encode_canonical({9: 2, 10: 1})
    assert kind(Any).encode_canonical({"b": {1, "a", None}, "a": 1}) == '{"a":1,"b":{"$set":["a",1,null]}}'
    pairs = kind(dict[tuple[int, int], frozenset[Mixed]])
    one, other = {(2, 1): frozenset(Mixed), (1, 2): frozenset()}, {(1, 2): frozenset(), (2, 1): frozenset(Mixed)}
    assert pairs.encode_canonical(one) == pairs.encode_canonical(other) == '[[[1,2],[]],[[2,1],["ONE","PAIR"]]]'
    assert kind(Price).encode_canonical(Price(Decimal(1), frozenset("ab"))).startswith('{"amount":"1","extra":null,')


class Text(str):
    __slots__ = ()


class Day(dt.datetime):
    pass


def test_subclasses_become_what_they_extend() -> None:
    for annotation in (str, Any):
        assert type(kind(annotation).copy(mark_safe("<b>"), "here")) is str
        assert type(kind(annotation).copy(Level.LOW, "here")) is str
    assert same(kind(int).copy(Size.L, "here"), 2)
    assert same(kind(float).copy(1, "here"), 1.0)
    assert same(kind(Decimal).copy(1, "here"), Decimal(1))
    assert same(kind(dt.datetime).copy(Day(2027, 1, 1), "here"), dt.datetime(2027, 1, 1))
    assert same(kind(Any).copy(Day(2027, 1, 1), "here"), dt.datetime(2027, 1, 1))
    assert same(kind(dict[str, int]).copy(OrderedDict({Text("a"): 2}), "here"), {"a": 2})
    assert type(next(iter(kind(dict[str, int]).copy({Text("a"): 1}, "here")))) is str
    assert same(kind(dict[str, list[int]]).copy(defaultdict(list, {"a": [1]}), "here"), {"a": [1]})
    assert same(kind(Any).copy(Counter("a"), "here"), {"a": 1})
    assert same(kind(Any).copy(Pair(1), "here"), (1, "r"))
    assert same(kind(tuple[int, str]).copy(Pair(1), "here"), (1, "r"))
    point = kind(Point).copy(Point(Size.L), "here")
    assert type(point.x) is int


def test_named_zone_becomes_its_offset() -> None:
    summer = dt.datetime(2027, 7, 1, 12, tzinfo=PARIS)
    taken = kind(dt.datetime).copy(summer, "here")
    assert taken == summer
    assert taken.isoformat() == "2027-07-01T12:00:00+02:00"
    assert same(kind(dt.datetime).decode(kind(dt.datetime).encode(taken)), taken)
    repeated = dt.datetime(2027, 10, 31, 2, 30, fold=1, tzinfo=PARIS)
    taken = kind(dt.datetime).copy(repeated, "here")
    assert (taken.isoformat(), taken.fold) == ("2027-10-31T02:30:00+01:00", 0)
    local_mean = dt.datetime(1880, 1, 1, 0, 9, 21, tzinfo=PARIS)
    taken = kind(dt.datetime).copy(local_mean, "here")
    assert taken.isoformat() == "1880-01-01T00:00:00+00:00"
    named = dt.datetime(2027, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1), "CET"))
    assert kind(dt.datetime).copy(named, "here").tzname() == "UTC+01:00"
    assert kind(dt.datetime).copy(dt.datetime(2027, 1, 1, fold=1), "here").fold == 0
    assert same(kind(dt.time).copy(dt.time(1, tzinfo=dt.timezone(dt.timedelta(0))), "here"), dt.time(1, tzinfo=dt.UTC))


def test_copy_is_private_and_immutables_are_shared() -> None:
    value = {"a": [[1]], "b": []}
    taken = kind(dict[str, list[Any]]).copy(value, "here")
    taken["a"][0].append(2)
    assert value == {"a": [[1]], "b": []}
    shared = [1]
    twice = kind(list[list[int]]).copy([shared, shared], "here")
    assert twice[0] is not twice[1]
    frozen: tuple[tuple[Any, Any], ...] = ((tuple[int, ...], (1, 2)), (Point, Point(1)), (frozenset[int], frozenset({1})), (Cat, Cat(1)))
    for annotation, value in (*frozen, (Price, Price(Decimal(1)))):
        assert kind(annotation).copy(value, "here") is value


REFUSED: list[tuple[Any, Any, str]] = [
    (int, "1", "expected int, got '1' (str)"),
    (int, True, "expected int, got True (bool)"),
    (int, 1.0, "expected int, got 1.0 (float)"),
    (int, 10**4300, "more than 4300 digits"),
    (bool, 1, "expected bool, got 1 (int)"),
    (float, "1", "expected float"),
    (float, True, "expected float"),
    (float, math.nan, "use None (annotated float | None)"),
    (float, -math.inf, "-inf cannot be stored"),
    (float, 10**400, "too large for a float; annotate int"),
    (str, 1, "expected str, got 1 (int)"),
    (str, b"a", "expected str"),
    (str, "\ud800", "half a surrogate pair"),
    (str, lazystr("a"), "wrap the lazy text in str()"),
    (bytes, "a", "expected bytes"),
    (bytes, bytearray(b"a"), "store bytes(…) of it"),
    (Decimal, 1.1, "write Decimal('1.1')"),
    (Decimal, "1.1", "expected Decimal"),
    (Decimal, True, "expected Decimal"),
    (Decimal, Decimal("NaN"), "Decimal | None"),
    (Decimal, Decimal("-Infinity"), "cannot be stored"),
    (dt.datetime, dt.date(2027, 1, 1), "expected an aware or naive datetime"),
    (dt.datetime, "2027-01-01T00:00:00", "expected datetime"),
    (dt.date, dt.datetime(2027, 1, 1), "use its .date()"),
    (dt.time, dt.time(1, tzinfo=PARIS), "without a fixed offset"),
    (dt.timedelta, 5, "expected timedelta"),
    (UUID, "00000000-0000-0000-0000-000000000001", "expected UUID"),
    (Color, "red", "write Color.RED"),
    (Size, 2, "write Size.L"),
    (Color, "green", "expected Color, got 'green' (str)"),
    (Mixed, 1, "expected Mixed"),
    (Literal["a", "b"], "c", "expected 'a' | 'b', got 'c' (str)"),
    (Literal[1], True, "got True (bool)"),
    (Literal[1], [], "got [] (list)"),
    (int | None, "1", "expected int | None"),
    (list[int], (1,), "convert it with list(…)"),
    (list[int], {1: 1}, "convert it with list(…)"),
    (list[int], "ab", "expected list[int]"),
    (dict[str, int], [("a", 1)], "convert it with dict(…)"),
    (set[int], [1], "convert it with set(…)"),
    (frozenset[int], {1}, "convert it with frozenset(…)"),
    (tuple[int, ...], [1], "convert it with tuple(…)"),
    (tuple[int, str], (1,), "got 1 elements"),
    (Point, {"x": 1}, "expected Point"),
    (Point, Point("1"), "here.x: expected int"),  # type: ignore[arg-type]
    (Any, Plain(), "annotate it with its type"),
    (Any, Color.RED, "annotate it with its type"),
    (Any, Point(1), "annotate it with its type"),
    (Any, {1: 1}, "annotate the dict to use other keys: dict[int, …]"),
    (Any, ([],), "use a tuple or a frozenset"),
    (Any, math.inf, "cannot be stored"),
    (Any, object, "annotate it with its type"),
    (Any, 1j, "annotate it with its type"),
    (set, {frozenset({1j})}, "annotate it with its type"),
]


@pytest.mark.parametrize(("annotation", "value", "what"), REFUSED, ids=label)
def test_refusal_says_what_would_be_right(annotation: Any, value: Any, what: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        kind(annotation).copy(value, "here")
    assert str(caught.value).startswith("here")
    assert what in str(caught.value)


def test_refusal_names_the_place() -> None:
    def message(annotation: Any, value: Any) -> str:
        with pytest.raises(InvalidValue) as caught:
            kind(annotation).copy(value, "Sale.holds")
        return str(caught.value)

    assert message(dict[str, int], {"ann": "1"}) == "Sale.holds['ann']: expected int, got '1' (str)"
    assert message(dict[str, list[Point]], {"a": [Point(1), Point(None)]}).startswith("Sale.holds['a'][1].x:")  # type: ignore[arg-type]
    assert message(dict[int, int], {"a": 1}).startswith("Sale.holds key: expected int, got 'a'")
    assert message(Any, {"a": [1, {2}, {"b": Plain()}]}).startswith("Sale.holds['a'][2]['b']: expected a JSON value")
    assert message(tuple[int, Pair], (1, Pair(1, 2))).startswith("Sale.holds[1].right: expected str")  # type: ignore[arg-type]


def test_unprintable_value_is_refused_like_any_other() -> None:
    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError

    with pytest.raises(InvalidValue, match="<unprintable>"):
        kind(int).copy(Rude(), "here")


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        (int, 1, True),
        (int, 1, 10**4300),
        (int, 1, "1"),
        (str, "a", "\ud800"),
        (str, "a", 1),
        (float, 1.5, math.inf),
        (float, 1.5, math.nan),
        (Decimal, Decimal(1), Decimal("NaN")),
        (bool, True, 1),
        (dt.date, dt.date(2027, 1, 1), dt.datetime(2027, 1, 1)),
        (dt.datetime, dt.datetime(2027, 1, 1), dt.date(2027, 1, 1)),
        (Color, Color.RED, "red"),
    ],
    ids=label,
)
def test_one_bad_value_among_many_is_refused(annotation: Any, good: Any, bad: Any) -> None:
    many = [good] * 100
    compiled = kind(list[annotation])
    assert same(compiled.copy(many, "here"), many)
    assert compiled.copy(many, "here") is not many
    with pytest.raises(InvalidValue, match=r"here\[100\]"):
        compiled.copy([*many, bad], "here")
    numbered = dict(enumerate(many))
    compiled = kind(dict[int, annotation])
    assert same(compiled.copy(numbered, "here"), numbered)
    assert compiled.copy(numbered, "here") is not numbered
    with pytest.raises(InvalidValue, match=r"here\[100\]"):
        compiled.copy({**numbered, 100: bad}, "here")
    with pytest.raises(InvalidValue, match="here key"):
        compiled.copy({**numbered, "100": good}, "here")


def test_many_values_are_normalised_like_few() -> None:
    assert type(kind(list[str]).copy(["a"] * 100 + [mark_safe("b")], "here")[-1]) is str
    assert type(kind(list[int]).copy([1] * 100 + [Size.L], "here")[-1]) is int
    assert type(kind(list[float]).copy([1.0] * 100 + [1], "here")[-1]) is float
    assert kind(list[dt.datetime]).copy([dt.datetime(2027, 7, 1, tzinfo=PARIS)] * 100, "here")[0].tzinfo is not PARIS
    assert kind(list[int]).copy([1] * 100 + [2**64], "here")[-1] == 2**64


def test_model_instances_and_querysets_are_refused_with_advice() -> None:
    class FakeModel:
        _meta = None

    class FakeQuerySet:
        as_manager = None

    with pytest.raises(InvalidValue, match="store its primary key"):
        kind(int).copy(FakeModel(), "here")
    with pytest.raises(InvalidValue, match="a list of primary keys"):
        kind(list[int]).copy(FakeQuerySet(), "here")


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_depth_is_bounded() -> None:
    assert kind(Any).copy(nested(limits.NESTING), "here") == nested(limits.NESTING)
    with pytest.raises(InvalidValue, match="nested deeper than 64"):
        kind(Any).copy(nested(limits.NESTING + 1), "here")
    assert kind(Any).decode("[" * limits.NESTING + "]" * limits.NESTING)
    for text in ("[" * 65 + "]" * 65, "[" * 100_000, '{"a":' * 65 + "1" + "}" * 65, '{"$tuple":[' * 65 + "]}" * 65):
        with pytest.raises(CorruptValue):
            kind(Any).decode(text)
    tree = Tree("a")
    for _ in range(40):
        tree = Tree("a", (tree,))
    with pytest.raises(InvalidValue, match="nested deeper"):
        kind(Tree).copy(tree, "here")


def test_cycles_are_refused_at_once() -> None:
    loop: list[Any] = []
    loop.extend([loop, loop, loop])
    cycle: dict[str, Any] = {}
    cycle["self"] = cycle
    for value in (loop, cycle):
        with pytest.raises(InvalidValue, match="contains itself"):
            kind(Any).copy(value, "here")
    tree = Tree("a")
    object.__setattr__(tree, "children", (tree,))
    with pytest.raises(InvalidValue, match="contains itself"):
        kind(Tree).copy(tree, "here")


CORRUPT: list[tuple[Any, str]] = [
    (int, '"1"'),
    (int, "1.0"),
    (int, "true"),
    (int, "1" * 5000),
    (int, ""),
    (int, "1 2"),
    (float, "1e999"),
    (float, "NaN"),
    (str, "1"),
    (str, '"\\ud800"'),
    (bytes, '"!"'),
    (Decimal, '"NaN"'),
    (Decimal, '"x"'),
    (list[Decimal], '["NaN"]'),
    (set[Decimal], '["NaN"]'),
    (tuple[int, Decimal], '[1,"NaN"]'),
    (dict[str, Decimal], '{"a":"NaN"}'),
    (dict[Decimal, int], '{"NaN":1}'),
    (Decimal | None, '"NaN"'),
    (Cost, '{"amount":"NaN"}'),
    (dt.datetime, '"2027-13-01T00:00:00"'),
    (dt.datetime, "5"),
    (UUID, '"5"'),
    (Color, '"green"'),
    (Mixed, '"RED"'),
    (Mixed, "[]"),
    (Literal["a", True], "1"),
    (int | None, '"1"'),
    (Mixed | int, "1.5"),
    (list[int], "{}"),
    (list[Mixed], "{}"),
    (dict[str, int], "[]"),
    (dict[Mixed, int], '{"X":1}'),
    (dict[bool, int], '{"a":1}'),
    (dict[bool, int], "[[true]]"),
    (dict[bool, int], "[1]"),
    (tuple[int, str], "[1]"),
    (tuple[Mixed, str], '["ONE"]'),
    (Point, "{}"),
    (Point, "[]"),
    (Price, "{}"),
    (Computed, '{"base":-1,"double":1,"stamp":1}'),
    (Checked, '{"someValue":13}'),
    (Cat, '{"type":"Dog","lives":1}'),
    (Cat | Dog, '{"type":"Cow"}'),
    (Cat | Dog, "{}"),
    (Dog, '{"type":"Cat","name":"a"}'),
    (Token, '""'),
    (Token, "1"),
    (Any, '{"$nope":1}'),
    (Any, '{"$decimal":"x"}'),
    (Any, '{"$decimal":1, "a":1}'),
    (Any, '{"$set":[[]]}'),
    (Any, '{"$tuple":[{"a":1}]}'),
    (set, "[[1]]"),
]


@pytest.mark.parametrize(("annotation", "text"), CORRUPT, ids=label)
def test_wrong_json_is_corrupt(annotation: Any, text: str) -> None:
    with pytest.raises(CorruptValue):
        kind(annotation).decode(text)


def test_records_evolve() -> None:
    assert kind(Point).decode('{"x":1,"gone":5}') == Point(1)
    assert kind(Price).decode('{"amount":"1","gone":5}') == Price(Decimal(1))
    assert kind(Pair).decode("[1]") == Pair(1)
    assert kind(Row).decode('["a"]') == Row("a")
    assert kind(Dog).decode('{"type":"Dog","name":"a"}') == Dog("a")


def test_restored_record_has_the_fields_it_had() -> None:
    """``__post_init__`` changes what it is given: run again on what was stored, it would change it once more."""
    compiled = kind(Computed)
    value = Computed(2)
    for _ in range(3):
        value = compiled.decode(compiled.encode(compiled.copy(value, "here")))
    assert (value.base, value.double, value.stamp) == (2, 4, 1)


UNDEFINABLE: list[tuple[Any, str]] = [
    (Loose, "declare it @dataclass(frozen=True)"),
    (Plain, "make it a frozen dataclass: @dataclass(frozen=True)"),
    (str | dt.datetime, "str | datetime cannot be told apart, both are written as a JSON string"),
    (list[int] | set[int], "cannot be told apart"),
    (dict[str, int] | Point, "JSON object"),
    (tuple[int, ...] | list[int], "JSON array"),
    (tuple[list[int], ...], "use tuple[…, ...]"),
    (tuple[set[int]], "use frozenset[…]"),
    (frozenset[tuple[dict[str, int]]], "could change without being journaled"),
    (set[list[int]], "use tuple[…, ...]"),
    (dict[tuple[list[int]], int], "use tuple[…, ...]"),
    (Mapping[str, int], "annotate dict[…, …]"),
    (MutableMapping, "annotate dict[…, …]"),
    (typing.Mapping[str, int], "annotate dict[…, …]"),
    (Sequence[int], "annotate list[…]"),
    (deque[int], "annotate list[…]"),
    (defaultdict[str, int], "annotate dict[…, …]"),
    (bytearray, "annotate bytes"),
    (complex, "tuple[float, float]"),
    (Text, "extends str and would not come back as itself; annotate str"),
    (T, "write the type itself"),
    (list[T], "write the type itself"),
    ("Nowhere", "names nothing that can be found"),
    (typing.Callable[[], int], "make it a frozen dataclass"),
    (5, "is no type that can be stored"),
    (Literal[b"a"], "use a str"),
    (Literal["ONE", Mixed.ONE], "the same JSON"),
    (enum.Enum, "has no members"),
    (type, "make it a frozen dataclass"),
    (namedtuple, "is no type that can be stored"),
]


@pytest.mark.parametrize(("annotation", "what"), UNDEFINABLE, ids=label)
def test_definition_error_says_what_to_write(annotation: Any, what: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        kind(annotation)
    assert str(caught.value).startswith("Sale.field")
    assert what in str(caught.value)


def test_mutable_part_of_a_frozen_class_is_named() -> None:
    @dataclasses.dataclass(frozen=True)
    class Half:
        parts: list[int]

    class Thawed(msgspec.Struct):
        x: int

    @dataclasses.dataclass(frozen=True)
    class Holder:
        inner: Loose

    class Model:
        _meta = None
        objects = None

    class Base(typing.TypedDict):
        x: int

    with pytest.raises(DefinitionError, match=r"Sale.field \(Half.parts\): a list inside .* use tuple\[…, ...\]"):
        kind(Half)
    with pytest.raises(DefinitionError, match=r"declare it msgspec\.Struct, frozen=True"):
        kind(Thawed)
    with pytest.raises(DefinitionError, match=r"Sale.field \(Holder.inner\): Loose could change"):
        kind(Holder)
    with pytest.raises(DefinitionError, match="store the primary key: model_id: int"):
        kind(Model)
    with pytest.raises(DefinitionError, match="TypedDict"):
        kind(Base)

    class Undecorated(Point):
        pass

    with pytest.raises(DefinitionError, match="only its base is"):
        kind(Undecorated)

    @dataclasses.dataclass(frozen=True, eq=False)
    class Nameless:
        x: int

    assert kind(Nameless)
    with pytest.raises(DefinitionError, match="has no hash by value"):
        kind(set[Nameless])


def test_arguments_and_results_may_hold_lists_in_tuples() -> None:
    compiled = kind(tuple[list[int], dict[str, Any]], state=False)
    value = ([1], {"a": (1, [2])})
    taken = compiled.copy(value, "here")
    assert taken == value
    assert taken[0] is not value[0]
    assert compiled.decode(compiled.encode(value)) == value
    assert kind(Any, state=False).decode(kind(Any, state=False).encode(([{}],))) == ([{}],)
    with pytest.raises(DefinitionError):
        kind(set[list[int]], state=False)


def test_kinds_are_compiled_once() -> None:
    assert kind(dict[str, list[int]]) is kind(dict[str, list[int]])
    assert kind(Literal[1]) is not kind(Literal[True])
    assert kind(Annotated[int, []]) is kind(int)


def test_kinds_say_what_they_are() -> None:
    assert kind(dict[str, list[int | None]]).name == "dict[str, list[int | None]]"
    assert kind(list[int]).mutable
    assert kind(Any).mutable
    assert kind(list[int] | None).mutable
    assert not kind(tuple[int, ...]).mutable
    assert not kind(Point).mutable
    assert not kind(frozenset[int]).mutable
    assert repr(kind(tuple[int, str])) == "<Kind tuple[int, str]>"


def test_tag_is_taken_once() -> None:
    class Other:
        pass

    with pytest.raises(ValueError, match="taken"):
        register(Other, "token", str, Other)
