"""One owner in the whole deployment: what a second process sees, and how one process follows another."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from jido_objects import process
from jido_objects.errors import NotHosting, OwnedElsewhere
from jido_objects.models import Lane, Object, Term
from tests.app.objects import Counter
from tests.child import child


@pytest.fixture
def options(database: str, settings: Any) -> dict[str, Any]:
    return dict(settings.JIDO_OBJECTS)


def test_concurrent_first_calls_take_one_term(options: dict[str, Any], database: str) -> None:
    for round_ in range(10):
        with ThreadPoolExecutor(16) as threads:
            together = threading.Barrier(16)

            def first(n: int, together: threading.Barrier = together) -> int:
                together.wait()
                for _ in range(n % 4):
                    time.sleep(0)
                return Counter.at(n).call(Counter.add)

            assert list(threads.map(first, range(16))) == [round_ + 1] * 16
        assert Term.objects.using(database).count() == 1
        process.stop()


def test_another_process_is_told_who_owns_the_object(options: dict[str, Any]) -> None:
    with child(options) as other:
        assert other.ask("Counter.at('a').call('add')") == "1"
        with pytest.raises(OwnedElsewhere, match=f"process {other.pid} .*TRANSPORT") as caught:
            Counter.at("a").call(Counter.add)
        assert caught.value.retryable
        assert caught.value.applied is False
        assert Counter.at("b").call(Counter.add) == 1
        assert "OwnedElsewhere" in other.ask("Counter.at('b').call('add')")
        assert other.ask("Counter.at('b').peek()") == "{'value': 1}"
        assert Counter.at("a").peek() == {"value": 1}


def test_a_clean_exit_leaves_no_hold(options: dict[str, Any], database: str) -> None:
    with child(options) as other:
        assert other.ask("Counter.at('a').call('add')") == "1"
        assert other.end() == 0
    assert not Term.objects.using(database).exists()
    assert not Lane.objects.using(database).exists()
    assert Counter.at("a").call(Counter.add) == 2


def test_a_killed_process_is_succeeded_at_once(options: dict[str, Any], database: str) -> None:
    options["LEASE_SECONDS"] = 60.0
    with child(options) as other:
        assert other.ask("Counter.at('a').call('add')") == "1"
        other.process.send_signal(signal.SIGKILL)
        other.process.wait()
        began = time.monotonic()
        assert Counter.at("a").call(Counter.add) == 2
        assert time.monotonic() - began < 20
    assert Term.objects.using(database).count() == 1


def test_a_killed_process_that_nobody_has_reaped_is_succeeded_at_once(options: dict[str, Any]) -> None:
    options["LEASE_SECONDS"] = 60.0
    with child(options) as other:
        assert other.ask("Counter.at('a').call('add')") == "1"
        os.kill(other.pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while True:
            try:
                assert Counter.at("a").call(Counter.add) == 2
                break
            except OwnedElsewhere:
                assert time.monotonic() < deadline


def test_a_forked_process_gets_a_host_of_its_own(options: dict[str, Any], database: str) -> None:
    with child(options) as other:
        assert other.ask("Counter.at('a').call('add')") == "1"
        fork = "(lambda pid: os.waitpid(pid, 0)[1] if pid else os._exit(7 if {test} else 1))(os.fork())"
        works = "Counter.at('forked').call('add') == 1 and (process.stop() or True)"
        assert other.ask(fork.format(test=works)) == str(7 << 8)
        assert other.ask("Counter.at('a').call('add')") == "2"
        assert other.ask("Counter.at('forked').call('add')") == "2"
        assert other.end() == 0
    assert not Term.objects.using(database).exists()


def test_a_process_that_may_not_host(options: dict[str, Any], settings: Any) -> None:
    Counter.at("a").call(Counter.add)
    process.stop()
    settings.JIDO_OBJECTS = {**options, "HOST": "never"}
    with pytest.raises(NotHosting, match="HOST"):
        Counter.at("a").call(Counter.add)
    assert Counter.at("a").peek() == {"value": 1}
    assert not Counter.at("b").exists()
    with child(options) as other:
        assert other.ask("Counter.at('a').call('add')") == "2"
        with pytest.raises(OwnedElsewhere):
            Counter.at("a").call(Counter.add)


def test_a_host_that_was_buried_goes_on_under_a_new_term(options: dict[str, Any], database: str) -> None:
    assert Counter.at("a").call(Counter.add) == 1
    before = Term.objects.using(database).get().pk
    # As a flush between tests does, or an operator's hand.
    Term.objects.using(database).all().delete()
    Lane.objects.using(database).all().delete()
    assert Counter.at("a").call(Counter.add) == 2
    assert Term.objects.using(database).get().pk != before
    assert Object.objects.using(database).get(key="a").owner == Term.objects.using(database).get().pk


def test_the_database_may_be_emptied_under_a_host(options: dict[str, Any], database: str) -> None:
    from django.core.management import call_command

    assert Counter.at("a").call(Counter.add, 5) == 5
    call_command("flush", database=database, interactive=False, verbosity=0, inhibit_post_migrate=True)
    assert Counter.at("a").call(Counter.add, 1) == 1


def test_a_frozen_process_is_succeeded_after_its_lease_and_is_harmless(options: dict[str, Any], database: str) -> None:
    if database == "default":
        pytest.skip("not applicable: on SQLite a process that lives keeps its objects")
    with child(options) as other:
        assert other.ask("Counter.at('a').call('add')") == "1"
        assert other.ask("Counter.at('a').get('value')") == "1"
        process.stop()
        Counter.at("warm").call(Counter.add)
        other.process.send_signal(signal.SIGSTOP)
        try:
            deadline = time.monotonic() + 30
            while True:
                try:
                    assert Counter.at("a").call(Counter.add) == 2
                    break
                except OwnedElsewhere:
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
            other.send("Counter.at('a').get('value')")
        finally:
            other.process.send_signal(signal.SIGCONT)
        assert "OwnedElsewhere" in other.receive()
        assert "OwnedElsewhere" in other.ask("Counter.at('a').call('add')")
        assert Counter.at("a").get("value") == 2
