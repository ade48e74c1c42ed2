"""The whole library on real databases: SQLite and PostgreSQL, each test on both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from jido_objects import process


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "database" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.django_db(transaction=True, databases="__all__"))


@pytest.fixture(params=["default", "postgres"], ids=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, db: None, settings: Any) -> Iterator[str]:
    """The alias that holds the objects of this test."""
    process.stop()
    settings.JIDO_OBJECTS = {"DATABASE": request.param, "LEASE_SECONDS": 1.0}
    yield request.param
    process.stop()
