"""A database that is not what it should be: each case has its own error, which says what to do."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connections

from jido_objects import process
from jido_objects.errors import NotMigrated, ReadOnlyDatabase, StoreUnavailable, UnsupportedDatabase
from tests.app.objects import Counter


@pytest.fixture
def options(database: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The settings of the database, to be spoiled."""
    # One dict, which the connections of all threads share; this test's own queries are done.
    shared: dict[str, Any] = connections[database].settings_dict
    for name in ("NAME", "HOST", "PORT"):
        monkeypatch.setitem(shared, name, shared[name])
    monkeypatch.setitem(shared, "OPTIONS", dict(shared["OPTIONS"]))
    return shared


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_a_database_that_is_down(database: str, options: dict[str, Any], tmp_path: Path) -> None:
    if database == "default":
        options["NAME"] = str(tmp_path / "missing" / "db.sqlite3")
    else:
        options["HOST"], options["PORT"] = "127.0.0.1", str(_free_port())
    with pytest.raises(StoreUnavailable) as caught:
        Counter.at("a").call(Counter.add)
    assert caught.value.retryable
    assert caught.value.applied is False


def test_it_comes_back(database: str, options: dict[str, Any], tmp_path: Path) -> None:
    right = dict(options)
    if database == "default":
        options["NAME"] = str(tmp_path / "missing" / "db.sqlite3")
    else:
        options["HOST"], options["PORT"] = "127.0.0.1", str(_free_port())
    with pytest.raises(StoreUnavailable):
        Counter.at("a").call(Counter.add)
    options.update(right)
    assert Counter.at("a").call(Counter.add) == 1


def test_a_database_without_our_tables(database: str, options: dict[str, Any], tmp_path: Path) -> None:
    if database == "default":
        options["NAME"] = str(tmp_path / "empty.sqlite3")
    else:
        options["NAME"] = "postgres"
    with pytest.raises(NotMigrated, match=f"migrate jido_objects --database {database}"):
        Counter.at("a").call(Counter.add)


def test_a_read_only_database(database: str, options: dict[str, Any]) -> None:
    if database == "default":
        if os.geteuid() == 0:
            options["NAME"] = f"file:{options['NAME']}?mode=ro"
            options["OPTIONS"]["uri"] = True
            options["OPTIONS"].pop("init_command", None)
        else:
            Path(options["NAME"]).chmod(stat.S_IRUSR)
    else:
        options["OPTIONS"]["options"] = "-c default_transaction_read_only=on"
    with pytest.raises(ReadOnlyDatabase):
        Counter.at("a").call(Counter.add)


def test_sqlite_in_memory_is_refused(database: str, options: dict[str, Any]) -> None:
    if database != "default":
        pytest.skip("not applicable: SQLite only")
    options["NAME"] = ":memory:"
    with pytest.raises(UnsupportedDatabase, match="TEST"):
        Counter.at("a").call(Counter.add)


def test_the_database_goes_down_under_a_live_host_and_comes_back(database: str) -> None:
    assert Counter.at("a").call(Counter.add) == 1
    if connections[database].vendor == "postgresql":
        with connections[database].cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%jido%' AND pid <> pg_backend_pid()"
            )
    assert Counter.at("a").call(Counter.add) == 2
    assert Counter.at("a").get("value") == 2


def test_stop_and_start_again(database: str) -> None:
    for n in range(1, 4):
        assert Counter.at("a").call(Counter.add) == n
        process.stop()
        process.stop()


def test_checks_pass_and_name_what_is_wrong(settings: Any) -> None:
    call_command("check")
    settings.JIDO_OBJECTS = {"DATABAS": "default", "LEASE_SECONDS": -1}
    from jido_objects import checks

    found = checks.check_settings(None)
    assert [message.id for message in found] == ["jido_objects.E002"] * 2
    assert "did you mean 'DATABASE'" in found[0].msg
    settings.JIDO_OBJECTS = {"DATABASE": "nowhere"}
    assert [message.id for message in checks.check_database(None)] == ["jido_objects.E005"]


Other = Callable[..., None]


@pytest.fixture
def other(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Other]:
    """Makes another alias for the objects, which nobody connects to."""

    def forget() -> None:
        with contextlib.suppress(AttributeError):
            del connections["other"]

    def make(**changes: Any) -> None:
        forget()
        monkeypatch.setitem(settings.DATABASES, "other", {**connections["default"].settings_dict, **changes})
        settings.JIDO_OBJECTS = {"DATABASE": "other"}

    yield make
    forget()


@pytest.mark.parametrize("engine", ["django.db.backends.mysql", "django.db.backends.oracle", "elsewhere.backends.mysql"])
def test_a_database_that_cannot_hold_objects_is_named_without_its_driver(other: Other, engine: str) -> None:
    from jido_objects import checks

    other(ENGINE=engine)
    (found,) = checks.check_database(None)
    assert found.id == "jido_objects.E003"
    assert found.msg == f"Database 'other' is {'Oracle' if 'oracle' in engine else 'MySQL'}, which cannot hold durable objects."


def test_a_driver_that_is_missing_is_djangos_to_tell(other: Other) -> None:
    from jido_objects import checks

    other(ENGINE="elsewhere.backends.postgresql")
    with pytest.raises(ImproperlyConfigured, match="elsewhere"):
        checks.check_database(None)


def test_atomic_requests_on_sqlite(other: Other) -> None:
    from jido_objects import checks

    other(ATOMIC_REQUESTS=False)
    assert checks.check_database(None) == []
    other(ATOMIC_REQUESTS=True)
    (found,) = checks.check_database(None)
    assert found.id == "jido_objects.W003"
    assert "@transaction.non_atomic_requests(using='other')" in str(found.hint)
