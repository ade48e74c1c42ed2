"""The parts of the reference that are written from the code: ``python -m tests.docs.reference`` writes them, a test compares."""

from __future__ import annotations

import inspect
import re
import sys

from jido_objects import errors
from tests.docs.markdown import ROOT


def error_tree() -> str:
    """A table of every error: its place in the tree, its attributes, its message."""
    rows = ["| error | applied | retryable | message |", "| --- | --- | --- | --- |"]

    def walk(cls: type[errors.JidoError], depth: int) -> None:
        message = " ".join(inspect.cleandoc(cls.__doc__ or "").split("\n")).replace("|", "\\|")
        own = {"{0}": "says what is wrong and what would be right"}.get(message, message)
        others = [base.__name__ for base in cls.__bases__[1:]]
        also = f" ({', '.join(others)})" if others else ""
        name = f"{'· ' * depth}`{cls.__name__}`{also}"
        rows.append(f"| {name} | {_said(cls.applied)} | {'yes' if cls.retryable else 'no'} | {own} |")
        for below in vars(errors).values():
            if isinstance(below, type) and below.__bases__[0] is cls:
                walk(below, depth + 1)

    walk(errors.JidoError, 0)
    return "\n".join(rows)


def _said(applied: bool | None) -> str:
    return "unknown" if applied is None else "no"


PARTS = {"docs/reference/errors.md": {"errors": error_tree}}


def written(text: str, name: str, part: str) -> str:
    """The page with that part as the code has it now."""
    pattern = re.compile(rf"(<!-- begin: {name} -->\n).*?(<!-- end: {name} -->)", re.DOTALL)
    assert pattern.search(text), f"there is no part {name!r}"
    return pattern.sub(lambda found: f"{found[1]}\n{part}\n\n{found[2]}", text)


def main() -> None:
    for name, parts in PARTS.items():
        path = ROOT / name
        text = path.read_text()
        for part, write in parts.items():
            text = written(text, part, write())
        if text != path.read_text():
            path.write_text(text)
            sys.stdout.write(f"{name} is written\n")


if __name__ == "__main__":
    main()
