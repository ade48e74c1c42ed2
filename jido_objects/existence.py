"""Whether an object is there, for types that say which of their methods create it.

A type with a ``@creates`` method is created by that method and by nothing else: every other call on an absent key, a query or
the read of a field included, is refused with the type's ``DoesNotExist``, and a creating call on an object that is there with
its ``AlreadyExists``. Both are refusals like the object's own: they arrive as themselves, and under a caller's own id they are
recorded where there is a journal to record them in. A type without such a method is created by its first committed write.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import AlreadyExists, DefinitionError, DoesNotExist, ObjectException
from .methods import Method, marks_of
from .turns import describe

if TYPE_CHECKING:
    from .activation import Activation

F = TypeVar("F", bound=Callable[..., Any])

EXCEPTIONS: dict[str, type[ObjectException]] = {"AlreadyExists": AlreadyExists, "DoesNotExist": DoesNotExist}
"""What every type has a subclass of, by the name of its attribute."""


def creates(function: F) -> F:
    """Mark a method as one that creates the object: on an object that is there it is refused with ``Type.AlreadyExists``.

    Once a type has such a method, every other call on an absent key is refused with ``Type.DoesNotExist``. The object is there
    when the method has returned, whether it changed any state or not.
    """
    marks_of(function).creates = True
    return function


def add_exceptions(cls: type) -> None:
    """Give a type exceptions of its own, subclasses of those of its bases."""
    for name, root in EXCEPTIONS.items():
        bases = tuple(dict.fromkeys(getattr(base, name, root) for base in cls.__bases__))
        # A base class that is no object type has none; the most derived ones imply the others.
        bases = tuple(one for one in bases if not any(other is not one and issubclass(other, one) for other in bases))
        namespace = {"__module__": cls.__module__, "__qualname__": f"{cls.__qualname__}.{name}", "__doc__": root.__doc__}
        setattr(cls, name, type(name, bases, namespace))


def is_given(name: str, base: type) -> bool:
    """Whether an attribute of an object type is what ``add_exceptions`` has put there."""
    return name in EXCEPTIONS and "_jido_definition" in vars(base)


def creators_of(type_name: str, functions: dict[str, Callable[..., Any]], hooks: frozenset[str]) -> frozenset[str]:
    """The names of the methods that create; raises ``DefinitionError`` for a mark where it says nothing."""
    found = {name: marks for name, function in functions.items() if (marks := getattr(function, "__jido__", None)) and marks.creates}
    for name, marks in found.items():
        if name in hooks or name.startswith("_"):
            raise DefinitionError(f"{type_name}.{name} cannot be called, so it cannot be what creates the object: mark a method.")
        if marks.query:
            raise DefinitionError(f"{type_name}.{name} is marked @query and @creates: what only reads creates nothing. Drop one of them.")
    return frozenset(found)


def refusal(activation: Activation, method: Method) -> ObjectException | None:
    """Why this call cannot be made of an object that is there, or of one that is not; ``None`` where it can."""
    if method.creates:
        return None if activation.absent else activation.definition.cls.AlreadyExists(describe(activation.name))
    return activation.definition.cls.DoesNotExist(describe(activation.name)) if activation.absent else None
