"""What tells a call from another under the same id: its method and what it was given, however it was spelled.

A deploy may add a parameter with a default: calls of the code before it must find their recorded results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jido_objects import DurableObject
from jido_objects.definition import Definition


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    before = dict(Definition.registry)
    yield
    Definition.registry.clear()
    Definition.registry.update(before)


def digest(function: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    made = type("Room", (DurableObject,), {"f": function, "__module__": __name__})
    Definition.registry.pop(made._jido_definition.label)  # type: ignore[attr-defined]
    function.__name__ = "f"
    method = made._jido_definition.method("f")  # type: ignore[attr-defined]
    return method.digest(method.encode_arguments(*method.bind(args, kwargs)))  # type: ignore[no-any-return]


def old(self: Any, buyer: str) -> None: ...


@pytest.mark.parametrize("annotation", ["native", "sets", "mixed", "keyword", "words"])
def test_a_parameter_with_a_default_can_be_added(annotation: str) -> None:
    def native(self: Any, buyer: str, n: int = 1, note: str | None = None) -> None: ...
    def sets(self: Any, buyer: str, tags: set[str] = set()) -> None: ...  # noqa: B006
    def mixed(self: Any, buyer: str, tags: list[str] = [], price: Decimal = Decimal("1.50")) -> None: ...  # noqa: B006
    def keyword(self: Any, buyer: str, *, loud: bool = False, tags: dict[str, int] = {}) -> None: ...  # noqa: B006
    def words(self: Any, buyer: str, *more: int, **words: int) -> None: ...

    new = {"native": native, "sets": sets, "mixed": mixed, "keyword": keyword, "words": words}[annotation]
    assert digest(old, "ann") == digest(new, "ann") == digest(new, buyer="ann")
    assert digest(old, "ann") != digest(new, "bob")


def test_a_default_that_is_given_is_the_same_call() -> None:
    def f(self: Any, a: int, b: int = 2, c: float = 0.0, *, d: list[int] = [1], e: int | None = None) -> None: ...  # noqa: B006

    same = [
        digest(f, 1),
        digest(f, 1, 2),
        digest(f, 1, 2, 0),
        digest(f, 1, b=2, d=[1]),
        digest(f, 1, 2, 0.0, d=[1], e=None),
        digest(f, c=0.0, a=1),
    ]
    assert len(set(same)) == 1


def test_another_value_is_another_call() -> None:
    def f(self: Any, a: int, b: int = 2, c: Any = 0, *, d: Any = None, e: Any = None) -> None: ...

    others = [
        digest(f, 1),
        digest(f, 1, 3),
        digest(f, 1, 2, 1),
        # Equal in Python, and not the same in the journal.
        digest(f, 1, 2, 0.0),
        digest(f, 1, 2, -0.0),
        digest(f, 1, 2, False),
        digest(f, 1, 3, 1),
        digest(f, 1, d=0),
        digest(f, 1, d=False),
        digest(f, 1, e=0),
        digest(f, 1, d=0, e=0),
    ]
    assert len(set(others)) == len(others)


def test_what_is_given_by_name_cannot_be_taken_for_a_position() -> None:
    def f(self: Any, a: Any = None, *, c: int = 3) -> None: ...

    assert digest(f, {"c": 5}) != digest(f, c=5)
    assert digest(f, [], c=5) != digest(f, [{"c": 5}])


def test_only_what_is_last_is_left_out() -> None:
    def f(self: Any, a: int = 1, b: int = 2) -> None: ...
    def g(self: Any, a: int = 1, *rest: int) -> None: ...

    assert digest(f, 1, 3) != digest(f, 3)
    assert len({digest(f), digest(f, 1, 3), digest(f, 3), digest(f, 3, 3)}) == 4
    assert len({digest(g), digest(g, 2), digest(g, 1, 2), digest(g, 1, 1), digest(g, 1, 1, 2)}) == 5


def test_the_order_of_names_says_nothing() -> None:
    def f(self: Any, *, a: int = 1, b: int = 2, **words: int) -> None: ...
    def g(self: Any, *, b: int = 2, a: int = 1, **words: int) -> None: ...

    assert digest(f, a=5, b=6, z=1, y=2) == digest(g, y=2, z=1, b=6, a=5)


numbers = st.one_of(st.booleans(), st.integers(-2, 2), st.sampled_from([0.0, -0.0, 1.0]))
values = st.one_of(st.none(), numbers, st.text("ab", max_size=1), st.lists(numbers, max_size=1))


@settings(deadline=None)
@given(st.tuples(values, values), st.tuples(values, values), values)
def test_two_calls_are_one_only_if_all_they_were_given_is_the_same(one: tuple[Any, Any], other: tuple[Any, Any], default: Any) -> None:
    def f(self: Any, a: Any = default, *, b: Any = default) -> None: ...

    def plain(call: tuple[Any, Any]) -> str:
        return repr(call)

    assert (digest(f, one[0], b=one[1]) == digest(f, other[0], b=other[1])) == (plain(one) == plain(other))
