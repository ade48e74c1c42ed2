"""What pytest adds: fixtures."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from jido_objects import process
from shop.objects import Counter


@pytest.mark.django_db
def test_1_a_plain_test(jido_host: Any, jido_clock: Any) -> None:
    Counter.at("a").call(Counter.add)
    Counter.at("a").call(Counter.look)
    jido_host.crash(Counter.at("a"))
    assert Counter.at("a").call(Counter.look) == 1
    before = Counter.at("a").call(Counter.moment)
    jido_clock.advance(60)
    assert Counter.at("a").call(Counter.moment) - before >= timedelta(minutes=1)
    assert process.running() is None


@pytest.mark.django_db
def test_2_sees_nothing_of_it() -> None:
    assert not Counter.at("a").exists()
    assert abs(Counter.at("a").call(Counter.moment) - timezone.now()) < timedelta(seconds=30)


@pytest.fixture
def stocked(db: None) -> Any:
    Counter.at("a").call(Counter.add, 7)
    return Counter.at("a")


def test_3_a_fixture_that_calls(stocked: Any) -> None:
    assert stocked.call(Counter.add) == 8


@pytest.mark.django_db
def test_4_a_loop_of_the_test_s_own() -> None:
    async def main() -> None:
        assert await Counter.at("a").acall(Counter.add) == 1
        assert await Counter.at("a").acall(Counter.nap, 0.01) == 2

    asyncio.run(main())


def test_5_without_a_database() -> None:
    with pytest.raises(RuntimeError, match="django_db"):
        Counter.at("a").call(Counter.add)
    assert process.running() is None


@pytest.mark.skipif(os.environ["SITE_DATABASE"] == "memory", reason="not applicable: in memory")
@pytest.mark.django_db(transaction=True)
def test_6_a_committed_test(jido_host: Any, jido_clock: Any) -> None:
    Counter.at("a").call(Counter.add)
    Counter.at("a").call(Counter.look)
    assert process.running() is not None
    jido_host.crash(Counter.at("a"))
    assert Counter.at("a").call(Counter.look) == 1
    jido_clock.advance(60)
    jido_host.settle()
    assert jido_clock.now() - timezone.now() > timedelta(seconds=50)
