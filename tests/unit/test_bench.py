"""The bench on a SQLite file: that it measures, checks, and removes what it made. Not how fast anything is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import connection

from jido_objects import conf, process
from jido_objects.bench import calls
from jido_objects.bench.baseline import Counter
from jido_objects.bench.sides import Objects
from jido_objects.bench.stage import LeftBehind, Stage
from jido_objects.bench.stats import measure
from jido_objects.definition import Definition

pytestmark = pytest.mark.django_db(transaction=True)
LABEL = "jido_bench.Counter"


def remains() -> list[Any]:
    """What a bench has left in the database and in the process."""
    found = [table for table in connection.introspection.table_names() if table.startswith("jido_bench")]
    with connection.cursor() as cursor:
        for table in ("jido_object", "jido_journal", "jido_snapshot", "jido_inbox", "jido_term"):
            cursor.execute(f"SELECT count(*) FROM {table}")
            found += [table] * cursor.fetchone()[0]
    return found + [label for label in Definition.registry if label == LABEL]


@pytest.fixture(autouse=True)
def _host() -> Iterator[None]:
    process.stop()
    yield
    process.stop()
    if "jido_bench_counter" in connection.introspection.table_names():
        Stage("default").remove()
    Definition.registry.pop(LABEL, None)


class TestBlock:
    @pytest.mark.parametrize("name", list(calls.BLOCK))
    def test_every_workload_ends_in_the_right_state(self, name: str) -> None:
        stage = Stage("default", callers=4)
        with stage.opened():
            found = measure(calls.BLOCK[name](stage), rounds=1, seconds=0.05)
        assert found
        for figure in found:
            assert figure.wrong == []
            assert figure.ratio is not None
            assert figure.ratio.median > 0
        assert remains() == []

    def test_a_lost_call_is_found(self) -> None:
        stage = Stage("default", callers=4)
        with stage.opened():
            side = Objects(stage, "ours", "async")
            side.prepare()
            try:
                side.run(0.05)
                assert side.check() is None
                side.expected += 1
                assert side.check() == f"{side.expected} calls were answered, {side.expected - 1} are in the journal"
                side.expected -= 1
                stage.rows("UPDATE jido_journal SET seq = seq + 1 WHERE seq = (SELECT max(seq) FROM jido_journal)")
                assert "rows from 1 to" in (side.check() or "")
            finally:
                side.close()

    def test_the_project_never_sees_the_models_of_the_bench(self) -> None:
        assert Counter not in apps.get_models(include_auto_created=True)
        assert "jido_bench" not in apps.all_models or not apps.all_models["jido_bench"]

    def test_two_benches_do_not_share_a_database(self) -> None:
        with Stage("default", callers=2).opened():
            with pytest.raises(LeftBehind, match="jido_bench_counter"), Stage("default", callers=2).opened():
                pass
            assert "jido_bench_counter" in connection.introspection.table_names()


class TestCommand:
    def test_a_table_and_json_and_nothing_left(self, tmp_path: Path) -> None:
        out, err = StringIO(), StringIO()
        file = tmp_path / "bench.json"
        call_command("jido_bench", yes=True, seconds=2.0, callers=4, json=str(file), stdout=out, stderr=err)
        assert "removes all of it at the end" in err.getvalue()
        assert "hot key, 4 callers" in out.getvalue()
        assert out.getvalue().startswith("\nSQLite 3.")
        (figures,) = json.loads(file.read_text())["figures"].values()
        assert {figure["workload"] for figure in figures} == set(calls.BLOCK)
        assert remains() == []

    def test_it_is_interrupted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[Any] = []

        def interrupt(side: Objects, seconds: float) -> Any:
            seen.extend(remains())
            raise KeyboardInterrupt

        monkeypatch.setattr(Objects, "run", interrupt)
        with pytest.raises(CommandError, match="removed") as caught:
            call_command("jido_bench", yes=True, seconds=2.0, callers=2, stderr=StringIO())
        assert caught.value.returncode == 130
        assert {"jido_bench_counter", "jido_object", "jido_journal"} <= set(seen)
        assert remains() == []

    def test_it_asks_and_takes_silence_for_no(self) -> None:
        err = StringIO()
        with pytest.raises(CommandError, match="--yes") as caught:
            call_command("jido_bench", stderr=err)
        assert caught.value.returncode == 2
        assert "database 'default' (SQLite" in err.getvalue()
        assert remains() == []

    @pytest.mark.parametrize(
        ("debug", "answer", "goes_on"), [(True, "y", True), (True, "", False), (False, "y", False), (False, "yes", True)]
    )
    def test_where_debug_is_off_a_reflex_is_not_enough(
        self, settings: Any, monkeypatch: pytest.MonkeyPatch, debug: bool, answer: str, goes_on: bool
    ) -> None:
        settings.DEBUG = debug
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("builtins.input", lambda question: answer)
        if goes_on:
            call_command("jido_bench", clean=True, stderr=StringIO())
        else:
            with pytest.raises(CommandError, match=r"Nothing was done\."):
                call_command("jido_bench", clean=True, stderr=StringIO())

    def test_what_a_killed_bench_left_is_named_and_removed(self) -> None:
        killed = Stage("default", callers=2)
        killed.open()
        Objects(killed, "ours", "async").prepare()
        process.stop()
        with pytest.raises(CommandError, match="--clean") as caught:
            call_command("jido_bench", yes=True, stderr=StringIO())
        assert caught.value.returncode == 2
        err = StringIO()
        call_command("jido_bench", yes=True, clean=True, stderr=err)
        assert "jido_bench_counter" in err.getvalue()
        assert "1 objects" in err.getvalue()
        Definition.registry.pop(LABEL, None)
        # What it died with is not this process's: other tests have their own database.
        process.configure_with(conf.read)
        assert remains() == []

    def test_unknown_database(self) -> None:
        with pytest.raises(CommandError, match=r"no database 'elsewhere'; there are default") as caught:
            call_command("jido_bench", database="elsewhere", yes=True)
        assert caught.value.returncode == 2
