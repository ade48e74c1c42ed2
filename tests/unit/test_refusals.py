"""What is written of a refusal makes the same exception again; whatever is written there, reading it ends in an answer."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jido_objects import ObjectException, refusals
from jido_objects.errors import CallFailed, InvalidValue, UnreadableResult, text_of
from jido_objects.rebuilding import replayed
from jido_objects.stores.protocol import EntryKind
from jido_objects.turns import Call, own
from tests.app.objects import Counter, SoldOut


class Only(ObjectException):
    """Hands another text on."""

    def __init__(self, left: int) -> None:
        super().__init__(f"only {left:,} left")
        self.left = left

    def __str__(self) -> str:
        return str(self.args[0])


class Named(ObjectException):
    """Keywords only."""

    def __init__(self, *, code: str, price: Decimal = Decimal("9.90"), tags: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.code, self.price, self.tags = code, price, tags


class Mixed(ObjectException):
    """{0}."""

    def __init__(self, left: int, *, code: str = "x") -> None:
        super().__init__(left)
        self.code = code


class Silent(ObjectException):
    """Does not call its base."""

    def __init__(self, left: int) -> None:
        self.left = left


class Heavy(ObjectException):
    """Is given what cannot be written, and hands on what can: {0}."""

    def __init__(self, thing: Any, **more: Any) -> None:
        super().__init__("a thing", 7)


class Picky(ObjectException):
    """{0} or {1}."""

    strict = False

    def __init__(self, left: int, *, code: int = 1) -> None:
        if self.strict:
            raise TypeError("its constructor has changed")
        super().__init__(left, code)


def again(error: ObjectException) -> ObjectException:
    text = refusals.encode(error)
    assert text is not None
    json.loads(text)
    return refusals.rebuild(text)


@pytest.mark.parametrize(
    ("error", "text", "attributes"),
    [
        (SoldOut(3), "Only 3 left.", {}),
        (Only(1234), "only 1,234 left", {"left": 1234}),
        (Named(code="a"), "Keywords only.", {"code": "a", "price": Decimal("9.90"), "tags": ()}),
        (Named(code="b", price=Decimal("1.0"), tags=("t", "😀")), "Keywords only.", {"price": Decimal("1.0"), "tags": ("t", "😀")}),
        (Mixed(3, code="y"), "3.", {"code": "y"}),
        (Mixed(left=3), "3.", {"code": "x"}),
        (Silent(5), "Does not call its base.", {"left": 5}),
        (ObjectException("plain", 1), "('plain', 1)", {}),
    ],
)
def test_it_arrives_as_itself(error: ObjectException, text: str, attributes: dict[str, Any]) -> None:
    for twin in (again(error), own(error), own(again(error)), again(again(error))):
        assert type(twin) is type(error)
        assert twin is not error
        assert str(twin) == text
        assert twin.args == error.args
        assert {name: getattr(twin, name) for name in attributes} == attributes


def test_what_cannot_be_written_is_left_out_if_what_was_handed_on_can_be() -> None:
    thing = object()
    for error in (Heavy(thing), Heavy(1, more=thing)):
        twin = again(error)
        assert type(twin) is Heavy
        assert twin.args == ("a thing", 7)
        assert str(twin) == "Is given what cannot be written, and hands on what can: a thing."
        assert str(own(twin)) == str(twin)
        assert again(twin).args == twin.args
    assert refusals.encode(ObjectException(thing)) is None
    assert refusals.encode(Mixed(1, code=thing)) is not None  # type: ignore[arg-type]


def test_a_constructor_that_has_changed_since(monkeypatch: pytest.MonkeyPatch) -> None:
    text = refusals.encode(Picky(3, code=4))
    assert text is not None
    monkeypatch.setattr(Picky, "strict", True)
    error = refusals.rebuild(text)
    assert type(error) is Picky
    assert error.args == (3, 4)
    assert str(error) == "3 or 4."
    assert str(own(error)) == "3 or 4."


def test_a_class_that_is_not_known_here() -> None:
    error = refusals.rebuild('{"refusal":"elsewhere.Gone","args":[1,{"$decimal":"2.0"}]}')
    assert type(error) is ObjectException
    assert error.args == (1, Decimal("2.0"))


def test_rows_of_before_keywords_were_written() -> None:
    assert again(SoldOut(2)).args == refusals.rebuild(json.dumps({"refusal": SoldOut.label(), "args": [2]})).args


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["$decimal", "$set", "a", "$"]), inner, max_size=2),
    max_leaves=6,
)
DEEP = "[" * 100_000
ODD = [DEEP, f'{{"refusal":"x","args":{DEEP}{"]" * len(DEEP)}}}', '{"refusal":"x","args":[1e999]}', "NaN", "-Infinity", "\0"]
garbage = (
    st.text(max_size=20)
    | json_values.map(json.dumps)
    | st.fixed_dictionaries(
        {}, optional={"refusal": json_values | st.just(SoldOut.label()), "args": json_values, "kwargs": json_values, "bare": json_values}
    ).map(json.dumps)
    | st.sampled_from(ODD)
)


@given(garbage, st.sampled_from(list(EntryKind)), st.sampled_from([Counter.add, Counter.seen, Counter.noop, Counter.fail]))
def test_whatever_is_recorded_ends_in_an_answer(text: str, kind: EntryKind, function: Any) -> None:
    method = Counter._jido_definition.method_of(function)
    result, error = replayed(method, kind, text)
    if error is not None:
        assert isinstance(error, UnreadableResult | ObjectException)
        assert result is None
    else:
        assert kind in (EntryKind.TURN, EntryKind.DESTROY)


@pytest.mark.parametrize("text", [*ODD, "", "5", "[]", "{}", '{"refusal":[],"args":[]}', '{"refusal":"x","args":5}'], ids=range(12))
@pytest.mark.parametrize("kind", list(EntryKind))
def test_odd_records(text: str, kind: EntryKind) -> None:
    _, error = replayed(Counter._jido_definition.method("fail"), kind, text)
    assert error is not None or kind is not EntryKind.REFUSAL


def test_the_text_of_an_exception_whose_text_fails() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise AttributeError("no text")

    assert text_of(ValueError("a")) == "a"
    assert text_of(Broken("b", 1)) == "its text cannot be made from ('b', 1)"
    assert len(text_of(Broken("x" * 10_000))) < 300


# ---------------------------------------------------------------- one exception for each caller


class Reply:
    error: BaseException

    def set_result(self, result: Any) -> None:
        raise AssertionError(result)

    def set_exception(self, error: BaseException) -> None:
        self.error = error


@pytest.mark.parametrize(
    "error", [CallFailed("it", "ValueError", "text"), InvalidValue("bad"), SoldOut(3), Only(3), Mixed(1, code="z"), Heavy(object())]
)
def test_each_caller_of_one_call_gets_an_exception_of_its_own(error: Any) -> None:
    method = Counter._jido_definition.method("add")
    first, *others = replies = [Reply() for _ in range(3)]
    call = Call(("app.Counter", "a"), method, (), {}, b"", 0, "order-1", 0.0, first)
    for reply in others:
        call.follow(reply)
    call.fail(error)
    told = [reply.error for reply in replies]
    assert len({id(one) for one in told}) == 3
    assert {type(one) for one in told} == {type(error)}
    assert {str(one) for one in told} == {str(error)}
    assert [one.call_id for one in told] == ["order-1"] * 3  # type: ignore[attr-defined]
    told[0].note = "mine"  # type: ignore[attr-defined]
    assert not hasattr(told[1], "note")


def test_those_who_only_follow_get_one_each() -> None:
    call = Call(("app.Counter", "a"), Counter._jido_definition.method("add"), (), {}, b"", 0, "order-1", 0.0, None)
    replies = [Reply(), Reply()]
    for reply in replies:
        call.follow(reply)
    call.fail(SoldOut(1))
    assert replies[0].error is not replies[1].error
