"""Fixtures of the example's tests. Objects live outside a test's transaction, so each test has sales of its own instead."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from django.test.utils import setup_databases, teardown_databases
from django.utils import timezone

from jido_objects import process
from tour.models import SaleInfo

_numbers = itertools.count(1)


@pytest.fixture(scope="session", autouse=True)
def _database(django_db_blocker: Any) -> Iterator[None]:
    """One database for all tests. What an object commits is committed: no transaction of a test takes it back."""
    with django_db_blocker.unblock():
        databases = setup_databases(verbosity=0, interactive=False)
        yield
        process.stop()
        connections.close_all()
        teardown_databases(databases, verbosity=0)


@pytest.fixture
def make_sale() -> Callable[..., SaleInfo]:
    def make(tickets: int = 100, *, opened: bool = True, **fields: Any) -> SaleInfo:
        fields = {"city": "Basel", "venue": "Kaserne", "date": timezone.now() + timedelta(days=9), "price": 40, "listed": False} | fields
        info = SaleInfo(slug=f"sale-{next(_numbers)}", tickets=tickets, **fields)
        if opened:
            info.save()
        else:
            SaleInfo.objects.bulk_create([info])
        return info

    return make


@pytest.fixture
def buyer() -> Callable[[], Client]:
    """A browser of its own."""
    return Client
