"""What a class may declare, and what is said when it may not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from jido_objects import DurableObject, ObjectException, Ref, Transient, expose, query
from jido_objects.definition import Definition
from jido_objects.errors import DefinitionError, InvalidArguments, InvalidKey, InvalidValue, UnknownMethod, UnknownType
from jido_objects.methods import Method


@pytest.fixture(autouse=True)
def _registry() -> Any:
    before = dict(Definition.registry)
    yield
    Definition.registry.clear()
    Definition.registry.update(before)


@dataclass
class Mutable:
    n: int = 0


def test_the_tables_of_a_class() -> None:
    class Room(DurableObject):
        LIMIT: ClassVar[int] = 5
        members: list[str] = []
        topic: str
        cache: Transient[dict[str, int]] = {}

        @expose
        @query
        def who(self) -> list[str]:
            return list(self.members)

        def join(self, name: str, *, loud: bool = False) -> int:
            return 1

        def _private(self) -> None: ...

    definition = Room._jido_definition
    assert list(definition.shape) == ["members", "topic"]
    assert definition.transients == {"cache": {}}
    assert definition.method_names() == ["who", "join"]
    assert definition.method("who").query
    assert definition.method("who").expose
    assert not definition.method("join").expose
    assert Definition.of(definition.label) is definition


@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        (Mutable, "frozen"),
        (complex, "tuple"),
        (tuple[list[int], int], "tuple"),
        (object(), "not a type|no type|annotat"),
    ],
)
def test_types_that_cannot_be_state(annotation: Any, says: str) -> None:
    with pytest.raises(DefinitionError, match=says) as caught:
        type("Bad", (DurableObject,), {"__annotations__": {"field": annotation}, "__module__": __name__})
    assert "Bad.field" in str(caught.value)


@pytest.mark.parametrize("name", ["key", "seq", "ref", "turn", "now", "schedule", "broadcast", "objects", "_jido"])
def test_names_of_the_base_class(name: str) -> None:
    with pytest.raises(DefinitionError, match=f"{name}.*belongs to DurableObject"):
        type("Bad", (DurableObject,), {"__annotations__": {name: int}, name: 1, "__module__": __name__})
    with pytest.raises(DefinitionError, match=f"{name}.*belongs to DurableObject"):
        type("Bad", (DurableObject,), {name: lambda self: None, "__module__": __name__})


def test_a_default_that_does_not_fit() -> None:
    with pytest.raises(DefinitionError, match=r"Bad\.n"):

        class Bad(DurableObject):
            n: int = "one"  # type: ignore[assignment]


def test_an_annotation_that_cannot_be_found() -> None:
    with pytest.raises(DefinitionError, match="'Nowhere', which is not defined"):

        class Bad(DurableObject):
            n: Nowhere = 1  # type: ignore[name-defined]  # noqa: F821


def test_a_method_whose_annotation_cannot_be_found_is_refused_when_it_is_set_up() -> None:
    class Late(DurableObject):
        def f(self, x: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(DefinitionError, match=r"Late\.f: the annotation names 'Nowhere'"):
        Late._jido_definition.check()


def test_two_classes_with_one_label() -> None:
    namespace = {"__module__": "elsewhere", "Meta": type("Meta", (), {"label": "x.Same"})}
    type("One", (DurableObject,), dict(namespace))
    with pytest.raises(DefinitionError, match=r"same label 'x\.Same'"):
        type("Other", (DurableObject,), {**namespace, "__module__": "another"})


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("versoin", 1, "did you mean 'version'"),
        ("key", "tenant", r"\('tenant',\)"),
        ("max_mailbox", 0, "above zero"),
        ("version", 1.5, "counts from 1"),
        ("kind", "session", "reserved"),
    ],
)
def test_options(option: str, value: object, says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        type("Bad", (DurableObject,), {"Meta": type("Meta", (), {option: value}), "__module__": __name__})


def test_keys_with_names() -> None:
    class Seat(DurableObject):
        n: int = 0

        class Meta:
            key = ("hall", "number")

    assert Seat.at("main", 7).key == "main/7"
    assert Seat.at("a/b", 7).key_parts == ("a/b", "7")
    with pytest.raises(InvalidKey, match="takes hall, number; 1 parts"):
        Seat.at("main")


def test_refs() -> None:
    class Room(DurableObject):
        n: int = 0

        def f(self) -> None: ...

    class Other(DurableObject):
        def f(self) -> None: ...

    assert Room.at("a") == Room.at("a").using(timeout=5)
    assert len({Room.at("a"), Room.at("a"), Room.at("b"), Other.at("a")}) == 3
    assert repr(Room.at("a", 1)) == "Room.at('a', '1')"
    assert isinstance(Room.at("a"), Ref)
    with pytest.raises(UnknownMethod, match="a method of that class"):
        Room.at("a")._method(Other.f)


@pytest.mark.parametrize(
    ("args", "kwargs", "bound"),
    [
        ((1,), {}, ((1, 2), {"c": 3})),
        ((1, 5), {}, ((1, 5), {"c": 3})),
        ((), {"a": 1, "b": 5, "c": 9}, ((1, 5), {"c": 9})),
    ],
)
def test_every_spelling_of_a_call_is_one_call(args: Any, kwargs: Any, bound: Any) -> None:
    class Room(DurableObject):
        def f(self, a: int, b: int = 2, *, c: int = 3) -> None: ...

    method = Room._jido_definition.method("f")
    assert method.bind(args, kwargs) == bound
    assert method.digest(method.encode_arguments(*method.bind((1, 2), {}))) == method.digest(
        method.encode_arguments(*method.bind((), {"b": 2, "a": 1, "c": 3}))
    )


def test_equal_sets_and_dicts_are_one_call() -> None:
    class Room(DurableObject):
        def f(self, tags: set[str], sizes: dict[str, int]) -> None: ...

    method = Room._jido_definition.method("f")
    one = method.encode_arguments(*method.bind(({"a", "b", "c"}, {"x": 1, "y": 2}), {}))
    other = method.encode_arguments(*method.bind(({"c", "b", "a"}, {"y": 2, "x": 1}), {}))
    assert one == other


def test_arguments_are_copied() -> None:
    class Room(DurableObject):
        def f(self, names: list[str], *more: list[int], **rest: dict[str, int]) -> None: ...

    names, more, rest = ["a"], [1], {"x": 1}
    args, kwargs = Room._jido_definition.method("f").bind((names, more), {"rest": rest})
    names.append("b")
    more.append(2)
    rest["y"] = 2
    assert args == (["a"], [1])
    assert kwargs == {"rest": {"x": 1}}


@pytest.mark.parametrize(
    ("args", "kwargs", "says"),
    [
        ((), {}, "'a' is missing"),
        ((1, 2, 3), {}, "3 positional arguments are given, it takes 2"),
        ((1,), {"a": 2}, "'a' is given twice"),
        ((1,), {"d": 2}, "no parameter 'd'"),
        # A misspelled name is why the right one is missing: it is what the caller has to see.
        ((), {"aa": 1}, r"no parameter 'aa' \(did you mean 'a'\?\)"),
        ((1, 2, 3), {"bb": 1}, r"no parameter 'bb' \(did you mean 'b'\?\)"),
    ],
)
def test_arguments_that_do_not_fit(args: Any, kwargs: Any, says: str) -> None:
    class Room(DurableObject):
        def f(self, a: int, b: int = 2) -> None: ...

    with pytest.raises(InvalidArguments, match=says) as caught:
        Room._jido_definition.method("f").bind(args, kwargs)
    assert "Room.f(a, b=2)" in str(caught.value)
    assert caught.value.applied is False


def test_a_default_that_could_not_be_given() -> None:
    class Room(DurableObject):
        def f(self, tags: list[int] = ["a"], *, n: int = "b") -> None: ...  # type: ignore[list-item, assignment]  # noqa: B006

    with pytest.raises(DefinitionError, match=r"The default of Room\.f\(tags\)\[0\]: expected int"):
        Room._jido_definition.check()


def test_a_coroutine_as_a_result_is_closed_and_says_where_it_comes_from() -> None:
    def plain(function: Any) -> Any:
        def wrapper(self: Any) -> Any:
            return function(self)

        return wrapper

    class Room(DurableObject):
        async def f(self) -> int:
            return 1

        g = plain(f)

    for annotation in (int, Any, dict[str, int], int | None):
        wrapped = plain(Room.f)
        wrapped.__name__ = "g"
        wrapped.__annotations__["return"] = annotation
        method = Method("Room", wrapped, {})
        result = wrapped(None)
        with pytest.raises(InvalidValue, match="nobody awaited it") as caught:
            method.result.copy(result, method.returns)
        assert "functools.wraps on an `async def`" in str(caught.value)
        assert str(caught.value).startswith("what Room.g() returned: ")
        assert result.cr_frame is None, "it is closed"


def test_options_that_name_one_type_are_not_inherited_with_class_meta() -> None:
    class Base(DurableObject):
        class Meta:
            abstract = True
            label = "x.Base"
            aliases = ("x.Old",)
            max_mailbox = 7

    class Room(Base):
        class Meta(Base.Meta):
            turn_timeout = 3.0

    class Again(Room):
        class Meta(Room.Meta):
            abstract = True

    options = Room._jido_definition.options
    assert (options.abstract, options.label, options.aliases) == (False, "", ())
    assert (options.max_mailbox, options.turn_timeout) == (7, 3.0)
    assert Room.at("a").key == "a"
    assert Definition.registry[Room._jido_definition.label].cls is Room
    assert Again._jido_definition.options.abstract


def test_unknown_types() -> None:
    with pytest.raises(UnknownType, match="nowhere"):
        Definition.of("nowhere.Room")


def test_the_docstring_of_an_exception_is_its_message() -> None:
    class TooMany(ObjectException):
        """{0} is too many, {1} are left."""

    assert str(TooMany(5, 3)) == "5 is too many, 3 are left."
    assert str(TooMany()) == "{0} is too many, {1} are left."
    assert str(ObjectException("plain")) == "plain"
