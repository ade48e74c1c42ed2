"""``manage.py jido_schema``: files that keep the shape of state, and what CI says when it changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from jido_objects import DurableObject, migrates
from jido_objects.definition import Definition
from jido_objects.schema_files import NAME
from tests.app.objects import Counter, Everything


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An app with two types, in a directory of its own."""
    before = dict(Definition.registry)
    Definition.registry.clear()
    shop = tmp_path / "shop"
    shop.mkdir()
    monkeypatch.setattr("jido_objects.management.commands.jido_schema.homes", lambda: {"shop": shop, "empty": tmp_path / "empty"})
    monkeypatch.setattr(Definition, "app_label_of", staticmethod(lambda module: module.split(".")[0]))
    sale()
    yield shop
    Definition.registry.clear()
    Definition.registry.update(before)


def sale(version: int = 1, up: bool = False, **fields: Any) -> None:
    def to_2(state: dict[str, Any]) -> dict[str, Any]:
        return state

    fields = fields or {"stock": (int, 100), "holds": (dict[str, int], {})}
    namespace: dict[str, Any] = {name: default for name, (_, default) in fields.items()}
    namespace["__annotations__"] = {name: annotation for name, (annotation, _) in fields.items()}
    namespace |= {"__module__": "shop.objects", "Meta": type("Meta", (), {"version": version})}
    type("Sale", (DurableObject,), namespace | ({"to_2": migrates(from_version=1)(to_2)} if up else {}))


def run(*options: str) -> str:
    out = StringIO()
    call_command("jido_schema", *options, stdout=out)
    return out.getvalue()


def test_written_and_up_to_date(app: Path) -> None:
    with pytest.raises(CommandError, match=r"No jido_schema\.json in shop: run `manage\.py jido_schema` and commit"):
        run("--check")
    assert not (app / NAME).exists()
    assert "shop.Sale: a new type" in run()
    text = (app / NAME).read_text()
    assert json.loads(text) == {
        "format": 1,
        "types": {
            "shop.Sale": {
                "version": 1,
                "aliases": [],
                "fields": {
                    "stock": {"type": "int", "default": 100},
                    "holds": {"type": {"dict": ["str", "int"]}, "default": {}},
                },
            }
        },
    }
    assert "Nothing has changed" in run("--check")
    assert "Nothing has changed" in run()
    assert (app / NAME).read_text() == text


def test_a_compatible_change_only_has_to_be_written(app: Path) -> None:
    run()
    sale(stock=(int | None, 100), holds=(dict[str, int], {}), notes=(list[str], []))
    with pytest.raises(CommandError, match=r"Out of date: .*shop/jido_schema\.json\. Run"):
        run("--check")
    assert "notes was added" in run()
    run("--check")


def test_an_incompatible_change_needs_a_version(app: Path) -> None:
    run()
    text = (app / NAME).read_text()
    sale(stock=(str, ""), holds=(dict[str, int], {}))
    for options in ((), ("--check",)):
        with pytest.raises(
            CommandError, match=r"1 change that stored objects do not survive:\n  shop\.Sale\.stock is str, was int"
        ) as caught:
            run(*options)
        assert caught.value.returncode == 1
        assert "set Meta.version = 2 and write @migrates(from_version=1)" in str(caught.value)
    # Writing it would have hidden it from the check.
    assert (app / NAME).read_text() == text
    sale(2, True, stock=(str, ""), holds=(dict[str, int], {}))
    assert "version 2, was 1; stored objects are brought forward" in run()
    run("--check")


def test_what_was_never_stored_can_be_accepted(app: Path) -> None:
    run()
    sale(stock=(str, ""))
    assert "stock is str, was int" in run("--accept")
    run("--check")
    with pytest.raises(CommandError, match="give one of them"):
        run("--check", "--accept")


def test_an_app_without_types_loses_its_file(app: Path) -> None:
    run()
    Definition.registry.clear()
    with pytest.raises(CommandError, match=r"shop\.Sale is gone.*Meta\.aliases = \('shop\.Sale',\)"):
        run()
    assert "Removed" in run("--accept")
    assert not (app / NAME).exists()
    assert "Nothing has changed" in run("--check")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<<<<<<< HEAD", "cannot be read"),
        ("[]", "is not what jido_schema writes"),
        ('{"format": 1, "types": {"shop.Sale": {}}}', "is not what jido_schema writes"),
        ('{"format": 1, "types": {"shop.Sale": {"version": 1, "aliases": [], "fields": {"n": 1}}}}', "is not what jido_schema writes"),
        ('{"format": 2, "types": {}}', "has the format 2"),
    ],
)
def test_a_file_that_cannot_be_read(app: Path, text: str, says: str) -> None:
    (app / NAME).write_text(text)
    for options in ((), ("--check",), ("--accept",)):
        with pytest.raises(CommandError, match=f"{says}.*Restore it from version control; or delete it"):
            run(*options)
    assert (app / NAME).read_text() == text


def test_a_directory_that_cannot_be_written(app: Path) -> None:
    (app / NAME).parent.rmdir()
    with pytest.raises(CommandError, match=r"jido_schema\.json cannot be written: No such file"):
        run()


def test_the_project_s_own_apps_and_every_kind_of_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is installed here, without a stand-in but for the place."""
    from jido_objects import schema_files

    places = schema_files.homes()
    assert places["app"].name == "app"
    assert "auth" not in places
    types = schema_files.types_by_app(places)
    assert types["app"]["app.Counter"] is Counter._jido_definition
    file = tmp_path / NAME
    file.write_text(schema_files.content(types["app"]))
    kept = schema_files.read(file)
    assert kept is not None
    assert list(kept["app.Everything"]["fields"]) == list(Everything._jido_definition.shape)


def test_how_many_objects_rest_in_which_version(database: str) -> None:
    Counter.at("a").call(Counter.add)
    Counter.at("b").call(Counter.add)
    assert run("--stored") == "  app.Counter version 1: 2 objects, today's version\n"
    before = Counter._jido_definition.options

    Counter._jido_definition.options = replace(before, version=3)
    try:
        assert "version 1: 2 objects, needs @migrates(from_version=1) and what follows" in run("--stored")
    finally:
        Counter._jido_definition.options = before
    del Definition.registry["app.Counter"]
    try:
        assert "no type of this code" in run("--stored")
    finally:
        Definition.register(Counter._jido_definition)
