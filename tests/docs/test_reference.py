"""The reference says what the code does: tables are compared with it, so that neither can change alone."""

from __future__ import annotations

import ast
import builtins
import dataclasses
import datetime
import decimal
import enum
import importlib
import inspect
import re
import tomllib
import typing
import uuid
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from django.core.management import BaseCommand, get_commands, load_command_class

import jido_objects
from jido_objects import DurableObject, Ref, conf, durable, errors, events, limits, logs, testing
from jido_objects.codec import kind_of
from jido_objects.definition import Definition
from jido_objects.models import Journal, Object, RememberedCall, Snapshot, Walk
from jido_objects.opentelemetry import metrics
from jido_objects.options import Options
from jido_objects.state import Field, State, current_turn
from jido_objects.stores import protocol
from tests.docs import reference
from tests.docs.markdown import ROOT, Page, read


def page(name: str) -> Page:
    return read(ROOT / "docs" / "reference" / f"{name}.md")


def spans(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def code(cell: str) -> str:
    """The code in a cell, which may hold what else it likes."""
    return spans(cell)[0]


# ---------------------------------------------------------------- tables of names and values


def test_settings() -> None:
    rows = page("settings").table("key", "default", "meaning")
    documented = {code(row["key"]): ast.literal_eval(code(row["default"])) for row in rows}
    assert documented == {field.name: field.default for field in dataclasses.fields(conf.Settings)}


def test_settings_without_effect_are_called_reserved() -> None:
    """Nobody may take a key for one that works: what the code never reads is marked, and nothing else."""
    sources = "".join(path.read_text() for path in (ROOT / "jido_objects").rglob("*.py") if path.name != "conf.py")
    for row in page("settings").table("key", "default", "meaning"):
        key = code(row["key"])
        if key in ("STORE", "REGION", "PAUSED"):
            continue
        used = re.search(rf"\.{key}\b", sources) is not None
        assert used != row["meaning"].startswith("reserved"), f"{key}: {row['meaning']}"


def test_options_of_a_type() -> None:
    rows = page("objects").table("option", "default", "meaning")
    documented = {code(row["option"]): ast.literal_eval(code(row["default"])) for row in rows}
    assert documented == {field.name: field.default for field in dataclasses.fields(Options)}


def test_options_without_effect_are_called_reserved() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "jido_objects").rglob("*.py") if "tracked" not in path.parts)
    for row in page("objects").table("option", "default", "meaning"):
        option = code(row["option"])
        used = re.search(rf"options\.{option}\b", sources) is not None
        assert used != row["meaning"].startswith("reserved"), f"{option}: {row['meaning']}"


def test_reserved_names() -> None:
    text = (ROOT / "docs" / "reference" / "objects.md").read_text()
    documented = spans(text.partition("<!-- reserved -->")[2].partition("\n\n")[0])
    assert sorted(documented) == sorted(name for name in durable._RESERVED if not name.startswith("_"))


def test_hooks() -> None:
    documented = {code(row["hook"]).partition("(")[0] for row in page("objects").table("hook", "when")}
    assert documented == Definition.HOOKS - {"on_attach", "on_message", "on_detach"}  # those come with connections


def test_limits() -> None:
    rows = page("limits").table("what", "limit", "changed by", "over it")
    documented = sorted(float(row["limit"].removesuffix(" bytes")) for row in rows)
    expected = sorted(float(value) for name, value in vars(limits).items() if name.isupper() and name not in _NOT_LIMITS)
    assert documented == expected
    for row in rows:
        for name in spans(row["changed by"]):
            where = name.removeprefix("Meta.")
            assert where in conf.KEYS or where in Options.__slots__ or name.startswith("using("), name
        for name in spans(row["over it"]):
            assert issubclass(getattr(errors, name), errors.JidoError), name


_NOT_LIMITS = {"SNAPSHOT_EVERY", "SNAPSHOT_SECONDS", "LEASE_SECONDS", "CALL_ID_SECONDS"}
"""Periods, in the tables of options and settings."""


def test_checks() -> None:
    rows = page("checks").table("id", "level", "what it found", "what to do")
    source = (ROOT / "jido_objects" / "checks.py").read_text()
    levels = {code(row["id"]): row["level"] for row in rows}
    assert set(levels) == set(re.findall(r'id="([\w.]+)"', source))
    for name, level in levels.items():
        assert level == {"E": "error", "W": "warning"}[name.rpartition(".")[2][0]], name


def test_errors_are_as_the_code_has_them() -> None:
    for name, parts in reference.PARTS.items():
        text = (ROOT / name).read_text()
        for part, write in parts.items():
            assert reference.written(text, part, write()) == text, f"{name} is behind the code: python -m tests.docs.reference"


def test_every_class_that_a_page_names_exists() -> None:
    known = {*vars(errors), *vars(events), *jido_objects.__all__, *vars(builtins), *vars(protocol), *_OTHERS}
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for line, span in read(path).code_spans:
            if re.fullmatch(r"(?:[A-Z]+[a-z]+){2,}", span):
                assert span in known, f"{path.name}:{line}: there is no {span}"


_OTHERS = {"ClassVar", "NamedTuple", "TestCase", "TransactionTestCase", "SimpleTestCase", "Clock", "BatchSpanProcessor"}
_OTHERS |= {"AlreadyExists", "DoesNotExist"}
"""Other people's, and names that are kept for later."""


# ---------------------------------------------------------------- names of the public surface


def _public(cls: type) -> set[str]:
    return {name for name in vars(cls) if not name.startswith("_")}


def test_the_methods_of_a_ref() -> None:
    rows = page("refs").table("method", "answer", "")
    documented = {code(row["method"]).partition("(")[0] for row in rows}
    others = {"using", "label", "key", "key_parts", "definition", "options"}
    assert documented == _public(Ref) - others


def test_the_options_of_using() -> None:
    documented = {code(row["option"]) for row in page("refs").table("option", "meaning")}
    assert documented == set(Ref.using.__annotations__) - {"return"}


def test_what_an_object_has() -> None:
    cells = [row["name"] for row in page("objects").table("name", "what it is")]
    documented = {re.match(r"self\.(\w+)", span)[1] for cell in cells for span in spans(cell)}  # type: ignore[index]
    assert documented == _public(DurableObject) - {"at", "AlreadyExists", "DoesNotExist"}
    turn = next(cell for cell in page("objects").table("name", "what it is") if code(cell["name"]) == "self.turn")
    assert spans(turn["what it is"]) == list(jido_objects.turns.TurnInfo.__slots__)  # type: ignore[attr-defined]


def test_the_names_of_the_package_are_documented() -> None:
    text = "".join(path.read_text() for path in (ROOT / "docs" / "reference").glob("*.md"))
    for name in jido_objects.__all__:
        assert re.search(rf"\b{name}\b", text), name


def test_commands() -> None:
    ours = {name for name, app in get_commands().items() if app == "jido_objects"}
    headings = {heading for _, heading in page("commands").headings}
    assert ours == {code(heading).rpartition(" ")[2] for heading in headings if heading.startswith("`manage.py")}


def test_the_options_of_the_commands() -> None:
    documented = {code(row["option"]).partition(" ")[0] for row in page("commands").table("option", "default", "meaning")}
    ours = [name for name, app in get_commands().items() if app == "jido_objects"]
    parsers = [load_command_class("jido_objects", name).create_parser("manage.py", name) for name in ours]
    common = {option for action in BaseCommand().create_parser("manage.py", "x")._actions for option in action.option_strings}
    assert documented == {option for parser in parsers for action in parser._actions for option in action.option_strings} - common


def test_make_targets() -> None:
    makefile = set(re.findall(r"^(\w+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    documented = {code(row["target"]).removeprefix("make ") for row in page("commands").table("target", "what it does")}
    assert documented == makefile - {"help"}


def test_every_logger_is_documented() -> None:
    documented = {code(row["logger"]) for row in page("settings").table("logger", "what it says")}
    named: set[str] = set()
    for path in (ROOT / "jido_objects").rglob("*.py"):
        for name in re.findall(r"^logger = logging.getLogger\((.*)\)", path.read_text(), re.MULTILINE):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            named.add(module if name == "__name__" else name.strip('"'))
    assert {name for name in named if not name.startswith("jido_objects.stores.")} == documented


def test_every_record_has_the_documented_fields() -> None:
    assert [code(row["field"]) for row in page("settings").table("field", "what it is")] == list(logs.FIELDS) == list(logs.about())
    for path in (ROOT / "jido_objects").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in _LOGGING:
                extra = next((word.value for word in node.keywords if word.arg == "extra"), None)
                assert extra is not None, f"{path.name}:{node.lineno}: a record without extra=about(…)"
                assert ast.unparse(extra).startswith("about("), f"{path.name}:{node.lineno}"


_LOGGING = {f"logger.{level}" for level in ("debug", "info", "warning", "error", "exception", "critical", "log")}


def test_events() -> None:
    rows = page("events").table("event", "fields", "when")
    documented = {code(row["event"]): spans(row["fields"]) for row in rows}
    assert documented == {kind.__name__: [field.name for field in dataclasses.fields(kind)] for kind in events.KINDS.values()}


def test_events_that_nothing_emits_are_called_reserved() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "jido_objects").rglob("*.py"))
    for row in page("events").table("event", "fields", "when"):
        emitted = re.search(rf"emit\(\s*events\.{code(row['event'])}\(", sources) is not None
        assert emitted != row["when"].startswith("reserved"), row


def test_outcomes_of_a_turn() -> None:
    documented = {code(row["outcome"]) for row in page("events").table("outcome", "meaning")}
    source = (ROOT / "jido_objects" / "watching.py").read_text().partition("def _outcome(")[2].partition("def ")[0]
    assert documented == set(re.findall(r'"(\w+)"', source))


def test_metrics() -> None:
    rows = page("events").table("metric", "unit", "attributes", "what")
    source = (ROOT / "jido_objects" / "opentelemetry" / "metrics.py").read_text()
    made = re.findall(r'create_\w+\("([\w.]+)", (?:\[self\._live\], )?"([^"]+)"', source)
    assert sorted((code(row["metric"]), code(row["unit"])) for row in rows) == sorted(made)
    incidents = next(row for row in rows if code(row["metric"]) == "jido.incidents")
    assert spans(incidents["what"]) == [kind.name for kind in metrics.INCIDENTS]


def test_floors_are_those_that_lint_holds() -> None:
    rows = read(ROOT / "docs" / "explanation" / "floors.md").table("floor", "modules", "knows")
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract for contract in contracts if contract["id"] == "floors")["layers"]
    held = [[room for room in re.findall(r"[\w()]+", layer) if not room.startswith("(")] for layer in layers]
    assert [spans(row["modules"]) for row in rows] == held


# ---------------------------------------------------------------- formats


class Level(enum.Enum):
    LOW = "low"


@dataclasses.dataclass(frozen=True)
class Seat:
    row: int
    name: str


class Point(msgspec.Struct, frozen=True):
    x: int
    y: int


class Size(typing.NamedTuple):
    width: int
    height: int


class Mutable:
    pass


@pytest.fixture
def names() -> dict[str, Any]:
    """What the tables of state types may name."""
    scope = {name: getattr(datetime, name) for name in ("datetime", "date", "time", "timedelta", "UTC")}
    scope |= {"Decimal": decimal.Decimal, "UUID": uuid.UUID, "Any": Any, "Literal": typing.Literal, "Ref": Ref, "defaultdict": defaultdict}
    sale = type("Sale", (DurableObject,), {"__module__": "shop.objects", "Meta": type("Meta", (), {"label": "shop.Sale"})})
    scope |= {"Level": Level, "Seat": Seat, "Point": Point, "Size": Size, "Mutable": Mutable, "Sale": sale}
    return scope


@pytest.fixture
def forgotten() -> Any:
    """Object types that a test makes are not there for the next."""
    before = dict(Definition.registry)
    yield
    Definition.registry.clear()
    Definition.registry.update(before)


@pytest.mark.usefixtures("forgotten")
def test_state_types_are_written_as_documented(names: dict[str, Any]) -> None:
    for row in page("state-types").table("annotation", "value", "written as"):
        kind = kind_of(eval(code(row["annotation"]), names), where="a value")
        value = kind.copy(eval(code(row["value"]), names), "a value")
        assert kind.encode(value) == code(row["written as"])
        back = kind.decode(kind.encode(value))
        assert (back, type(back)) == (value, type(value))


@pytest.mark.usefixtures("forgotten")
def test_declarations_are_refused_as_documented(names: dict[str, Any]) -> None:
    for row in page("state-types").table("declaration", "the message"):
        body = compile(f"class A(DurableObject):\n    {code(row['declaration'])}", "a page", "exec", dont_inherit=True)
        with pytest.raises(errors.DefinitionError) as caught:
            exec(body, names | {"DurableObject": DurableObject, "__name__": "shop.objects"})
        pattern = ".*".join(re.escape(part) for part in row["the message"].split("…"))
        assert re.search(pattern, str(caught.value)), f"{row['declaration']}: {caught.value}"


def test_deltas_are_as_documented() -> None:
    annotations = {
        "stock": int, "holds": dict[str, int], "log": list[int], "tags": set[str], "rooms": dict[str, dict[str, list[int]]],
        "grid": list[list[int]], "seats": dict[tuple[int, str], list[str]],
    }  # fmt: skip
    start = {"stock": 100, "holds": {"bob": 2}, "log": [1, 2, 3], "tags": {"a"}, "rooms": {"x": {"y": []}}, "grid": [[0], [1]]}
    start |= {"seats": {(1, "A"): []}}
    shape = {name: Field(name, kind_of(annotation, where=name)) for name, annotation in annotations.items()}
    verbs = set()
    for row in page("journal").table("in the turn", "in the journal"):
        values: dict[str, Any] = {}
        state = State(shape, values, "an object")
        state.reset()
        turn = SimpleNamespace(readonly=False, method="a test")
        token = current_turn.set(turn)
        try:
            state.begin(turn)
            for name, value in start.items():
                state.set(name, value)
            state.delta()
            state.commit()
            before = state.document()
            state.begin(turn)

            class Instance:
                def __setattr__(self, name: str, value: Any, state: State = state) -> None:
                    state.set(name, value)

                def __getattr__(self, name: str, values: dict[str, Any] = values) -> Any:
                    return values[name]

            exec(code(row["in the turn"]), {"self": Instance()})
            delta = state.finish()
        finally:
            current_turn.reset(token)
        assert delta == f"[{code(row['in the journal'])}]"
        verbs.add(delta[3:].partition('"')[0])
        again = State(shape, {}, "an object")
        again.restore(before)
        again.replay(delta)
        assert again.canonical() == state.canonical()
    source = (ROOT / "jido_objects" / "delta.py").read_text()
    assert verbs == set(re.findall(r'^``\["(\w+)"', source, re.MULTILINE))


def test_columns_of_the_tables() -> None:
    text = (ROOT / "docs" / "reference" / "journal.md").read_text()
    for model in (Journal, Object, Snapshot, RememberedCall, Walk):
        table = text.partition(f"<!-- columns: {model._meta.db_table} -->\n\n")[2].partition("\n\n")[0]
        documented = [name for line in table.splitlines() if line.startswith("| `") for name in spans(line.split("|")[1])]
        assert sorted(documented) == sorted(field.column for field in model._meta.concrete_fields if field.column), model._meta.db_table


def test_modules_that_the_way_of_a_call_names_are_importable() -> None:
    for row in read(ROOT / "docs" / "explanation" / "a-calls-way.md").table("step", "where", "in"):
        importlib.import_module(str(Path(code(row["in"])).with_suffix("")).replace("/", "."))


def test_what_a_test_can_do() -> None:
    for cls in (testing.JidoHost, testing.JidoClock):
        documented: set[str] = set()
        for row in page("testing").table("method", "async twin", "what it does"):
            name, _, parameters = code(row["method"]).partition("(")
            if name in _public(cls):
                documented |= {name, *spans(row["async twin"])}
                assert [re.split(r"[:=]", part.strip())[0] for part in parameters.rstrip(")").split(",") if part] == [
                    parameter for parameter in inspect.signature(getattr(cls, name)).parameters if parameter != "self"
                ]
        assert documented == _public(cls)
