"""Keys and call ids: the names by which everything is found again."""

from __future__ import annotations

import time
import unicodedata
from enum import Enum
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jido_objects import ids, keys
from jido_objects.errors import InvalidArguments, InvalidKey

part = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=12).map(lambda text: unicodedata.normalize("NFC", text))


@given(st.lists(part.filter(lambda text: text != ""), min_size=1, max_size=4))
def test_parts_come_back(parts: list[str]) -> None:
    assert keys.split(keys.join(tuple(parts))) == tuple(parts)


@given(st.lists(part, min_size=1, max_size=3), st.lists(part, min_size=1, max_size=3))
def test_different_parts_are_different_keys(one: list[str], other: list[str]) -> None:
    assert (keys.join(tuple(one)) == keys.join(tuple(other))) == (one == other)


def test_a_plain_part_is_its_own_key() -> None:
    assert keys.join(("tour-2027",)) == "tour-2027"
    assert keys.join(("acme", 42)) == "acme/42"
    assert keys.join(("a/b",)) == "a%2Fb"
    assert keys.join(("50%",)) == "50%25"
    assert keys.join((UUID(int=1),)) == "00000000-0000-0000-0000-000000000001"


def test_a_model_instance_gives_its_pk() -> None:
    class Meta:
        pass

    class Row:
        _meta = Meta()
        pk: int | None = 7

    row = Row()
    assert keys.join(("user", row)) == "user/7"
    row.pk = None
    with pytest.raises(InvalidKey, match="save it"):
        keys.join((row,))


class Lazy:
    """What Django's SimpleLazyObject is to a key: another thing's attributes, and its class."""

    def __init__(self, wrapped: object) -> None:
        self.__dict__["_wrapped"] = wrapped

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)

    def __str__(self) -> str:
        return str(self._wrapped)

    __class__ = property(lambda self: type(self._wrapped))  # type: ignore[assignment]


def test_something_lazy_is_resolved() -> None:
    class Row:
        _meta = object()
        pk = UUID(int=7)

    for wrapped, key in (("tour", "tour"), ("a/b", "a%2Fb"), (7, "7"), (UUID(int=1), str(UUID(int=1))), (Row(), str(UUID(int=7)))):
        made = keys.join((Lazy(wrapped),))
        assert made == key
        assert type(made) is str


def test_a_subclass_of_str_becomes_plain() -> None:
    class Colour(str, Enum):  # noqa: UP042
        RED = "red"

    assert keys.join((Colour.RED,)) == "red"
    assert type(keys.join((Colour.RED,))) is str


def test_django_users() -> None:
    from django.contrib.auth.models import AnonymousUser, User
    from django.utils.functional import SimpleLazyObject

    assert keys.join((SimpleLazyObject(lambda: User(pk=5)),)) == "5"
    for anonymous in (AnonymousUser(), SimpleLazyObject(AnonymousUser)):
        with pytest.raises(InvalidKey, match=r"^An AnonymousUser cannot be part of a key: nobody is logged in\. Require a login") as caught:
            keys.join(("cart", anonymous))
        assert "session_key" in str(caught.value)
    with pytest.raises(InvalidKey, match=r"^A SimpleNamespace cannot be part of a key: use a string"):
        keys.join((SimpleNamespace(),))
    with pytest.raises(InvalidKey, match=r"^An object cannot"):
        keys.join((object(),))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("", "empty"),
        (None, "cannot be part"),
        (True, "cannot be part"),
        (1.5, "float"),
        ("a\x00", "control"),
        ("\ud800", "surrogate"),
        ("e\u0301", "NFC"),
        ("x" * 201, "201 bytes"),
        ("ü" * 101, "202 bytes"),
    ],
)
def test_what_cannot_be_a_key(bad: object, says: str) -> None:
    with pytest.raises(InvalidKey, match=says):
        keys.join((bad,))


def test_the_longest_key() -> None:
    assert len(keys.join(("x" * 200,))) == 200


def test_generated_ids_are_distinct_ordered_and_recognised() -> None:
    made = [ids.generate() for _ in range(10_000)]
    assert len(set(made)) == len(made)
    assert all(ids.is_generated(one) for one in made)
    stamps = [one[:13] for one in made]
    assert stamps == sorted(stamps)
    assert abs(ids.generated_at(made[-1]) - time.time()) < 60
    assert not ids.is_generated("order-42")
    assert not ids.is_generated("~" + "x" * 32)


def test_nested_ids_are_derived() -> None:
    parent = ids.generate()
    assert ids.nested(parent, "a", "1") == ids.nested(parent, "a", "1")
    assert ids.nested(parent, "a", "1") != ids.nested(parent, "a", "2")
    assert ids.nested(parent, "a", "1") != ids.nested(parent, "b", "1")
    assert ids.nested(parent, "a", "b") != ids.nested(parent, "ab")
    assert ids.is_generated(ids.nested(parent, "a"))
    assert ids.generated_at(ids.nested(parent, "a")) == ids.generated_at(parent)
    own = ids.nested("order-42", "a")
    assert own.startswith("order-42/")
    assert ids.check(own) == own
    assert len(ids.nested("x" * 200, "a").encode()) <= 200


@pytest.mark.parametrize("bad", ["", None, 5, "x" * 201, "a\n"])
def test_what_cannot_be_a_call_id(bad: object) -> None:
    with pytest.raises(InvalidArguments, match="call_id"):
        ids.check(bad)
