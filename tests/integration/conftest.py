"""The whole library on real databases: SQLite and PostgreSQL, each test on both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from jido_objects import process


@pytest.fixture(params=["default", "postgres"], ids=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, transactional_db: None, settings: Any) -> Iterator[str]:
    """The alias that holds the objects of this test."""
    process.stop()
    settings.JIDO_OBJECTS = {"DATABASE": request.param, "LEASE_SECONDS": 1.0}
    yield request.param
    process.stop()


@pytest.fixture
def restart(database: str) -> Any:
    """End this process's host as a clean exit does; the next call starts another."""
    return process.stop
