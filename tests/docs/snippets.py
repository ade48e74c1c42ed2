"""Executes the Python of a page, from top to bottom in one namespace, as a reader would type it.

A block whose first line is ``# shop/objects.py`` becomes the module ``shop.objects``; one named ``settings.py`` is held to the
system checks. The value of an expression is compared where a comment gives it (``sale.get("stock")  # → 98``, with ``…`` for
what differs from run to run), and an exception where a comment announces it (``# raises SoldOut: Only 1 left.``).
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import linecache
import re
import sys
import types
from pathlib import Path
from typing import Any

from jido_objects import conf
from jido_objects.definition import Definition
from jido_objects.errors import ObjectException
from tests.docs.markdown import Block, Page

_VALUE = re.compile(r"# → (.*)$")
_RAISES = re.compile(r"# raises (\w+)(?:: (.*))?$")


def fits(text: str, pattern: str) -> bool:
    """Whether a text is what the page shows; ``…`` stands for anything."""
    parts = [re.escape(part) for part in pattern.split("…")]
    return re.fullmatch(".*".join(parts), text, re.DOTALL) is not None


def _expect(place: str, value: object, pattern: str) -> None:
    assert fits(repr(value), pattern), f"{place} is {value!r}, the page says {pattern}"


class _Announced:
    def __init__(self, place: str, name: str, pattern: str | None) -> None:
        self.place, self.name, self.pattern = place, name, pattern

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        assert error is not None, f"{self.place} raises nothing, the page says {self.name}"
        if type(error).__name__ != self.name:
            return False
        assert self.pattern is None or fits(str(error), self.pattern), f"{self.place} raises {error!r}, the page says {self.pattern}"
        return True


def _instrument(source: str, name: str, line: int) -> ast.Module:
    tree = ast.parse(source, name)
    comments = source.splitlines()
    body: list[ast.stmt] = []
    for statement in tree.body:
        comment = comments[(statement.end_lineno or 1) - 1]
        place = ast.Constant(f"{name}:{line + statement.lineno - 1}: `{ast.unparse(statement)}`")
        if isinstance(statement, ast.Expr) and (said := _VALUE.search(comment)):
            call = ast.Call(ast.Name("__expect__", ast.Load()), [place, statement.value, ast.Constant(said[1].strip())], [])
            body.append(ast.copy_location(ast.Expr(call), statement))
        elif said := _RAISES.search(comment):
            manager = ast.Call(ast.Name("__announced__", ast.Load()), [place, ast.Constant(said[1]), ast.Constant(said[2])], [])
            body.append(ast.copy_location(ast.With([ast.withitem(manager)], [statement]), statement))
        else:
            body.append(statement)
    tree.body = body
    ast.fix_missing_locations(tree)
    ast.increment_lineno(tree, line - 1)
    return tree


class Session:
    """One reader with one page. Forgets on ``close`` what the page defined."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.modules: dict[str, types.ModuleType] = {}
        self._types = dict(Definition.registry)
        self._refusals = dict(ObjectException.registry)
        self.main = self._module("__docs__")

    def _module(self, name: str) -> types.ModuleType:
        module = self.modules.get(name)
        if module is None:
            if "." in name:
                self._module(name.rpartition(".")[0])
            module = self.modules[name] = types.ModuleType(name)
            module.__dict__.update(__expect__=_expect, __announced__=_Announced, __path__=[])
            sys.modules[name] = module
        return module

    def close(self) -> None:
        for name in self.modules:
            del sys.modules[name]
        Definition.registry.clear()
        Definition.registry.update(self._types)
        ObjectException.registry.clear()
        ObjectException.registry.update(self._refusals)

    def run(self, block: Block) -> None:
        if block.file is None:
            self.execute(block.text, block.line, self.main)
        elif block.file.endswith("settings.py"):
            self.settings(block)
        elif block.file.endswith(".py"):
            self.execute(block.text, block.line, self._module(block.file.removesuffix(".py").replace("/", ".")))

    def execute(self, source: str, line: int, module: types.ModuleType) -> None:
        name = str(self.page.path)
        linecache.checkcache(name)
        code = compile(_instrument(source, name, line), name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        if code.co_flags & inspect.CO_COROUTINE:

            async def main() -> None:
                await eval(code, module.__dict__)

            asyncio.run(main())
        else:
            exec(code, module.__dict__)

    def settings(self, block: Block) -> None:
        given: dict[str, Any] = {"BASE_DIR": Path("/srv/app"), "INSTALLED_APPS": [], "MIDDLEWARE": []}
        given["DATABASES"] = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
        code = compile("\n" * (block.line - 1) + block.text, str(self.page.path), "exec", dont_inherit=True)
        exec(code, given)
        jido = given.get(conf.NAME, {})
        assert conf.problems(jido) == [], f"{self.page.name}:{block.line}: {conf.problems(jido)}"
        assert jido.get("DATABASE", "default") in given["DATABASES"], f"{self.page.name}:{block.line}: no such alias"
