"""The text of an error: a docstring, whatever its arguments are."""

from __future__ import annotations

from typing import Any

import pytest

from jido_objects import ObjectException
from jido_objects.errors import JidoError


class Untellable:
    def __format__(self, spec: str) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("template", "args", "text"),
    [
        ("{0.name} is gone.", ("ann",), "{0.name} is gone. ('ann',)"),
        ("{0[x]} is gone.", (5,), "{0[x]} is gone. (5,)"),
        ("{0:d} is gone.", ("ann",), "{0:d} is gone. ('ann',)"),
        ("{name} is gone.", ("ann",), "{name} is gone. ('ann',)"),
        ("{ is gone.", ("ann",), "{ is gone. ('ann',)"),
        ("{0} is gone.", (), "{0} is gone."),
        ("{0.real} is gone.", (5,), "5 is gone."),
    ],
)
@pytest.mark.parametrize("base", [JidoError, ObjectException])
def test_a_docstring_that_its_arguments_do_not_fit_still_has_a_text(base: Any, template: str, args: tuple[Any, ...], text: str) -> None:
    made: Any = type("Gone", (base,), {"__doc__": template, "__module__": __name__})
    assert str(made(*args)) == text


@pytest.mark.parametrize("base", [JidoError, ObjectException])
def test_an_argument_that_cannot_be_told(base: Any) -> None:
    made: Any = type("Gone", (base,), {"__doc__": "{0} is gone.", "__module__": __name__})
    assert str(made(Untellable())).startswith("{0} is gone. (<")
