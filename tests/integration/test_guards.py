"""No error leaves a caller waiting, and none touches a call that it is not of."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from django.db import connections

from jido_objects import DurableObject, ObjectException, Ref, process
from jido_objects.activation import Activation
from jido_objects.errors import CallFailed, CallTimeout, DeadlineExceeded, OutcomeUnknown, StoreError
from jido_objects.host import Host
from jido_objects.pipeline import Pipeline
from jido_objects.turns import Call
from tests.app.objects import Counter
from tests.integration.strikes import on_host, struck, wait_for
from tests.unit.test_refusals import Heavy, Mixed, Named, Only

pytestmark = pytest.mark.usefixtures("database")

gate = threading.Event()
gate_entered = threading.Event()


class Broken(Exception):
    def __str__(self) -> str:
        raise AttributeError("no text")


class Hopeless(ObjectException):
    """Its text and that of what it was given fail."""

    def __str__(self) -> str:
        raise AttributeError("no text")


class Untold:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class Odd(ObjectException):
    """Does not remember what it was given."""

    def __new__(cls, *args: Any) -> Odd:
        return Exception.__new__(cls, *args)


class Gate(DurableObject):
    n: int = 0

    def add(self) -> int:
        self.n += 1
        return self.n

    async def wait(self) -> int:
        self.n += 1
        gate_entered.set()
        while not gate.is_set():
            await asyncio.sleep(0.005)
        return self.n

    def only(self) -> None:
        self.n = 77
        raise Only(1234)

    def named(self) -> None:
        raise Named(code="a", tags=("t",))

    def mixed(self) -> None:
        raise Mixed(3, code="y")

    def heavy(self) -> None:
        raise Heavy(object(), more=object())

    def told(self) -> None:
        raise ObjectException(object())

    def untold(self) -> None:
        raise ObjectException(Untold())

    async def untold_slowly(self) -> None:
        await asyncio.sleep(0)
        raise ObjectException(Untold())

    def hopeless(self) -> None:
        raise Hopeless(object())

    def odd(self) -> None:
        raise Odd(1)

    def broken(self) -> None:
        self.n = 77
        raise Broken(1)

    async def broken_slowly(self) -> None:
        self.n = 77
        await asyncio.sleep(0)
        raise Broken(1)

    async def only_slowly(self) -> None:
        await asyncio.sleep(0)
        raise Only(1234)

    async def through(self, other: Ref[Gate], method: str) -> list[Any]:
        try:
            await other.acall(method)
        except ObjectException as error:
            return [type(error).__name__, str(error), list(error.args)]
        return []


@pytest.fixture(autouse=True)
def closed(database: str) -> Iterator[None]:
    gate.clear()
    gate_entered.clear()
    yield
    gate.set()


@pytest.mark.parametrize("own", [True, False], ids=["own id", "generated id"])
@pytest.mark.parametrize("restarted", [False, True])
def test_refusals_arrive_as_themselves_and_again(own: bool, restarted: bool) -> None:
    counts = Gate.at("g")
    counts.call(Gate.add)
    for name, cls, text, attributes in (
        ("only", Only, "only 1,234 left", {"left": 1234}),
        ("only_slowly", Only, "only 1,234 left", {"left": 1234}),
        ("named", Named, "Keywords only.", {"code": "a", "tags": ("t",)}),
        ("mixed", Mixed, "3.", {"code": "y"}),
        ("heavy", Heavy, "Is given what cannot be written, and hands on what can: a thing.", {}),
    ):
        for _ in range(2):
            with pytest.raises(cls) as caught:
                (counts.using(call_id=name) if own else counts).call(name)
            assert type(caught.value) is cls
            assert str(caught.value) == text
            assert {key: getattr(caught.value, key) for key in attributes} == attributes
            if restarted:
                process.stop()
    assert counts.get("n") == 1


def test_a_refusal_passes_through_another_turn() -> None:
    assert Gate.at("a").call(Gate.through, Gate.at("b"), "only") == ["Only", "only 1,234 left", ["only 1,234 left"]]
    assert Gate.at("a").call(Gate.through, Gate.at("b"), "mixed") == ["Mixed", "3.", [3]]


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("told", "cannot be encoded"),
        ("untold", "no repr"),
        ("untold_slowly", "no repr"),
        ("hopeless", "its text cannot be made"),
        ("odd", "given"),
        ("broken", r"its text cannot be made from \(1,\)"),
        ("broken_slowly", r"its text cannot be made from \(1,\)"),
    ],
)
def test_what_cannot_be_told_arrives_as_call_failed(method: str, says: str) -> None:
    one = Gate.at("g")
    one.call(Gate.add)
    for _ in range(3):
        with pytest.raises(CallFailed, match=says) as caught:
            one.using(timeout=5).call(method)
        assert caught.value.applied is False
        assert caught.value.call_id
    assert one.using(timeout=5).call(Gate.add) == 2
    assert on_host(lambda host: host.activations[one.label, "g"].idle)


# ---------------------------------------------------------------- the runtime's own errors


@pytest.mark.parametrize("method", ["add", "wait"])
@pytest.mark.parametrize("where", ["seal", "complete", "_entry", "queue"])
def test_an_error_of_the_runtime_in_a_turn_answers_its_call(method: str, where: str) -> None:
    one = Gate.at("g")
    one.call(Gate.add)
    gate.set()
    with mock.patch.object(Activation, where, side_effect=ZeroDivisionError("in the runtime")), pytest.raises(CallFailed, match="in the"):
        one.using(timeout=5).call(method)
    assert one.get("n") == 1
    assert one.using(timeout=5).call(Gate.add) == 2


def test_an_error_in_dispatch_answers_its_own_call_only() -> None:
    dispatch = Host.dispatch

    def failing(self: Host, call: Call) -> None:
        if call.name[1] == "bad":
            raise ZeroDivisionError("in dispatch")
        dispatch(self, call)

    async def main() -> list[Any]:
        await Gate.at("0").acall(Gate.add)
        calls = [Gate.at(key).using(timeout=5).acall(Gate.add) for key in ("1", "bad", "2", "bad", "3")]
        return await asyncio.gather(*calls, return_exceptions=True)

    with mock.patch.object(Host, "dispatch", failing):
        answers = asyncio.run(main())
    assert [answers[n] for n in (0, 2, 4)] == [1, 1, 1]
    assert [type(answers[n]) for n in (1, 3)] == [StoreError] * 2
    assert "in dispatch" in str(answers[1])
    assert answers[1].applied is False
    assert Gate.at("bad").call(Gate.add) == 1


# ---------------------------------------------------------------- who waits for a call that another has made


def waiting(key: str) -> int:
    return int(on_host(lambda host: sum(1 + len(call.followers or ()) for call in host.activations[Gate.at(key).label, key].mailbox)))


def test_a_duplicate_outlives_the_first_callers_time() -> None:
    async def main() -> list[Any]:
        gated = Gate.at("g")
        first = asyncio.ensure_future(gated.acall(Gate.wait))
        await asyncio.to_thread(gate_entered.wait, 20)
        named = gated.using(call_id="one")
        short = asyncio.ensure_future(named.using(timeout=0.2).acall(Gate.add))
        while await asyncio.to_thread(waiting, "g") < 1:
            await asyncio.sleep(0.005)
        long = [asyncio.ensure_future(named.using(timeout=20).acall(Gate.add)) for _ in range(2)]
        while await asyncio.to_thread(waiting, "g") < 3:
            await asyncio.sleep(0.005)
        with pytest.raises(DeadlineExceeded) as caught:
            await short
        assert caught.value.applied is False
        # The call itself goes on; its deadline is that of whoever waits longest.
        await asyncio.sleep(0.05)
        assert await asyncio.to_thread(waiting, "g") == 2
        gate.set()
        return [await first, *await asyncio.gather(*long)]

    assert asyncio.run(main()) == [1, 2, 2]
    assert Gate.at("g").get("n") == 2


def test_a_duplicate_outlives_the_first_callers_cancellation() -> None:
    async def main() -> list[Any]:
        gated = Gate.at("g")
        first = asyncio.ensure_future(gated.acall(Gate.wait))
        await asyncio.to_thread(gate_entered.wait, 20)
        cancelled, other = (asyncio.ensure_future(gated.using(call_id="one").acall(Gate.add)) for _ in range(2))
        while await asyncio.to_thread(waiting, "g") < 2:
            await asyncio.sleep(0.005)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        await asyncio.to_thread(on_host, lambda host: None)
        gate.set()
        return [await first, await other]

    assert asyncio.run(main()) == [1, 2]


def test_the_last_to_leave_takes_the_call_away() -> None:
    async def main() -> None:
        gated = Gate.at("g")
        first = asyncio.ensure_future(gated.acall(Gate.wait))
        await asyncio.to_thread(gate_entered.wait, 20)
        calls = [asyncio.ensure_future(gated.using(call_id="one", timeout=0.1 * n).acall(Gate.add)) for n in (1, 2)]
        told = await asyncio.gather(*calls, return_exceptions=True)
        assert type(told[0]) is DeadlineExceeded
        assert type(told[1]) in (DeadlineExceeded, CallTimeout)
        gate.set()
        assert await first == 1
        # Nobody waits for it, and its time is over.
        assert await gated.aget("n") == 1

    asyncio.run(main())


# ---------------------------------------------------------------- a script that only casts


SCRIPT = """
import json, os, sys
import django
from django.conf import settings
names = json.loads(os.environ["JIDO_CHILD"])
for alias, name in names["databases"].items():
    settings.DATABASES[alias]["NAME"] = name
settings.JIDO_OBJECTS = names["settings"]
django.setup()
from tests.app.objects import Counter
{act}
"""


@pytest.mark.parametrize(
    "act",
    [
        "Counter.at('c').cast('add', 5)",
        "for n in range(5): Counter.at('c').cast('add')",
        "import asyncio\nasync def main(): await Counter.at('c').acast('add', 5)\nasyncio.run(main())",
        "Counter.at('other').call('add')\nCounter.at('c').cast('add', 5)",
        "Counter.at('c').cast('add', 5)\nsys.exit(0)",
    ],
    ids=["one", "five", "async", "after a call", "exit"],
)
def test_a_cast_is_applied_though_its_script_ends(act: str, database: str, settings: Any) -> None:
    import json

    databases = {alias: str(connections[alias].settings_dict["NAME"]) for alias in connections}
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "JIDO_CHILD": json.dumps({"databases": databases, "settings": dict(settings.JIDO_OBJECTS)}),
    }
    process.stop()
    began = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", SCRIPT.format(act=act)], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert time.monotonic() - began < 20
    assert Counter.at("c").peek() == {"value": 5}
    wait_for(lambda: Counter.at("c").call(Counter.add) == 6)


def test_a_journal_that_cannot_be_read_after_a_lost_reply_leaves_nobody_waiting(database: str) -> None:
    counters = [Counter.at("readable"), Counter.at("unreadable")]
    for counter in counters:
        counter.call(Counter.add)
    (bad,) = on_host(lambda host: [one.object_id for one in host.activations.values() if one.name[1] == "unreadable"])
    recall = Pipeline._recorded

    async def unreadable(self: Any, batch: Any) -> Any:
        if any(append.object_id == bad for _, append in batch):
            raise RuntimeError("no row of ours")
        return await recall(self, batch)

    async def both() -> list[Any]:
        return await asyncio.gather(*(counter.using(timeout=20).acall(Counter.add) for counter in counters), return_exceptions=True)

    with struck(Counter.at("a").label, "lost", times=2), mock.patch.object(Pipeline, "_recorded", unreadable):
        fine, lost = asyncio.run(both())
    assert fine == 2
    assert isinstance(lost, OutcomeUnknown)
    assert lost.applied is None
    assert counters[1].using(timeout=5).call(Counter.add) == 2
