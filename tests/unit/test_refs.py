"""Refs: what they say when they are used in the wrong way, and what survives a copy."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest

from jido_objects import DurableObject, Ref, query
from jido_objects.errors import InvalidArguments, JidoError, UnknownAttribute, UnknownMethod
from jido_objects.refs import CallOptions
from tests.app.objects import Sale


@pytest.fixture
def sale() -> Ref[Sale]:
    return Sale.at("tour")


# ---------------------------------------------------------------- names that a ref does not have


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("reserve", "it is a method: write ref.call('reserve', …) or await ref.acall('reserve', …)"),
        ("left", "it is a @query: write ref.get('left', …) or await ref.aget('left', …)"),
        ("stock", "it is a field: write ref.get('stock') or await ref.aget('stock')"),
        ("seen", "it is Transient, and only the object's own methods see it"),
        ("resrve", "did you mean 'reserve'? it is a method: write ref.call('reserve', …)"),
        ("stok", "did you mean 'stock'? it is a field: write ref.get('stock')"),
        ("acal", "did you mean 'acall'?)"),
        ("exist", "did you mean 'exists'?)"),
        ("on_create", "it is the name of a hook, which the runtime calls"),
    ],
)
def test_a_name_that_is_the_objects_and_not_the_refs(sale: Ref[Sale], name: str, says: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(sale, name)
    assert isinstance(caught.value, UnknownAttribute)
    assert str(caught.value).startswith(f"The ref Sale.at('tour') has no attribute {name!r}")
    assert says in str(caught.value)
    assert caught.value.applied is False


def test_a_name_that_nothing_has(sale: Ref[Sale]) -> None:
    with pytest.raises(UnknownAttribute, match=r"no attribute 'zzz'\.$"):
        _ = sale.zzz  # type: ignore[attr-defined]


def test_protocols_that_ask_for_attributes_are_told_no(sale: Ref[Sale]) -> None:
    for name in ("__copy__", "__deepcopy__", "__array__", "_meta", "_repr_html_", "pk", "resolve_expression", "__orig_class__", "__len__"):
        assert not hasattr(sale, name), name
    assert getattr(sale, "pk", 5) == 5
    # Without its slots filled, as an unpickler makes it.
    bare = Ref.__new__(Ref)
    with pytest.raises(AttributeError):
        _ = bare.definition
    assert not hasattr(bare, "reserve")


# ---------------------------------------------------------------- copies


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, *(lambda ref, n=n: pickle.loads(pickle.dumps(ref, n)) for n in range(2, pickle.HIGHEST_PROTOCOL + 1))],
)
def test_a_copy_keeps_the_options(sale: Ref[Sale], copied: Any) -> None:
    given = sale.using(timeout=5, call_id="order-42", user=7, confirmed=True)
    twin = copied(given)
    assert twin == given
    assert twin.options == given.options == CallOptions(5.0, "order-42", 7, True)
    assert copied(sale).options == CallOptions()
    assert copied(sale.using(timeout=5)).call.__self__.options.timeout == 5


def test_a_pickle_without_options_is_as_it_always_was(sale: Ref[Sale]) -> None:
    assert sale.__reduce__()[1] == ("app.Sale", "tour")


# ---------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"timeot": 5}, "has no option 'timeot' (did you mean 'timeout'?)"),
        ({"timeout": 5, "id": "x"}, "has no option 'id'. Its options are timeout, call_id, user, confirmed."),
    ],
)
def test_an_unknown_option(sale: Ref[Sale], options: dict[str, Any], says: str) -> None:
    with pytest.raises(TypeError) as caught:
        sale.using(**options)
    assert isinstance(caught.value, InvalidArguments)
    assert says in str(caught.value)


def test_options_have_names(sale: Ref[Sale]) -> None:
    with pytest.raises(InvalidArguments, match=r"takes its options by name: using\(timeout=5\)"):
        sale.using(5)  # type: ignore[call-arg]


@pytest.mark.parametrize("given", [UUID(int=1), 42, uuid4()])
def test_a_call_id_that_is_not_text(sale: Ref[Sale], given: Any) -> None:
    with pytest.raises(InvalidArguments) as caught:
        sale.using(call_id=given)
    assert "write str(…) around it" in str(caught.value)
    assert str(given) in str(caught.value)


def test_none_resets_an_option_and_what_is_not_given_stays(sale: Ref[Sale]) -> None:
    given = sale.using(timeout=5, call_id="order-42", user=7, confirmed=True)
    assert given.using().options == given.options
    assert given.using(user=None).options == CallOptions(5.0, "order-42", None, True)
    assert given.using(timeout=None).options == CallOptions(None, "order-42", 7, True)
    assert given.using(call_id=None).options == CallOptions(5.0, None, 7, True)
    assert given.using(confirmed=None).options == CallOptions(5.0, "order-42", 7, False)
    assert given.options == CallOptions(5.0, "order-42", 7, True)


def test_somebody_who_is_not_logged_in_is_no_user(sale: Ref[Sale]) -> None:
    from django.contrib.auth.models import AnonymousUser

    assert sale.using(user=7).using(user=AnonymousUser()).options.user is None


# ---------------------------------------------------------------- methods


@pytest.mark.parametrize("given", [["buy"], 42, None, {"a": 1}, b"buy"])
def test_what_is_no_method_at_all(sale: Ref[Sale], given: Any) -> None:
    with pytest.raises(TypeError) as caught:
        sale._method(given)
    assert isinstance(caught.value, InvalidArguments)
    assert "pass a method of Sale or its name" in str(caught.value)
    assert repr(given) in str(caught.value)


@pytest.mark.parametrize("given", [partial(Sale.reserve, None), len, lambda self: None, Sale])
def test_what_is_no_method_of_the_class(sale: Ref[Sale], given: Any) -> None:
    with pytest.raises(UnknownMethod, match="pass a method of that class, or its name"):
        sale._method(given)


class Things(DurableObject):
    n: int = 0

    @property
    def total(self) -> int:
        return self.n

    @query
    def sum(self) -> int:
        return self.n

    @classmethod
    def make(cls) -> int:
        return 1

    @staticmethod
    def helper() -> int:
        return 1


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    from jido_objects.definition import Definition

    before = dict(Definition.registry)
    yield
    Definition.registry.clear()
    Definition.registry.update(before)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("on_create", "it is the name of a hook, which the runtime calls"),
        ("clean", "it is the name of a hook"),
        ("total", "it is a property: make it a @query method"),
        ("make", "it is a classmethod: only a plain method, with self, can be called"),
        ("helper", "it is a staticmethod: only a plain method"),
        ("key", "it belongs to DurableObject"),
    ],
)
def test_what_is_in_the_class_but_cannot_be_called(name: str, says: str) -> None:
    for look_up in (Things._jido_definition.method, Things._jido_definition.reader):
        with pytest.raises(JidoError) as caught:
            look_up(name)
        assert says in str(caught.value)
