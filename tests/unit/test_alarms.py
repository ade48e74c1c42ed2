"""What ``schedule`` takes and refuses, and when ticks come: over the memory store, on a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jido_objects import DurableObject, query
from jido_objects.alarms import next_tick
from jido_objects.definition import Definition
from jido_objects.errors import CallFailed, StoreUnavailable
from jido_objects.stores.memory import Faults, MemoryLink
from tests.sim.bench import Bench, Process


class Bell(DurableObject):
    """Rings."""

    rang: list[str] = []
    n: int = 0

    def set(self, after: Any = None, method: str = "ring", **options: Any) -> str:
        return self.schedule(method, after=after, **options)

    def at_time(self, moment: datetime) -> str:
        return self.schedule("ring", at=moment, args=["at"])

    def at_offset(self, seconds: float) -> str:
        return self.schedule("ring", at=self.now() + timedelta(seconds=seconds), args=["at"], name="at")

    def every_delta(self) -> str:
        return self.schedule(Bell.ring, every=timedelta(seconds=20), args=["tick"], name="delta")

    def twice(self, moment: datetime) -> str:
        return self.schedule("ring", at=moment, after=1, args=["x"])

    def ring(self, what: str, *, loud: bool = False) -> None:
        self.rang.append(what + "!" * loud)

    def typed(self, when: datetime, to: list[set[int]]) -> None:
        self.rang.append(f"{when.isoformat()} {to}")

    def typed_later(self) -> None:
        self.schedule("typed", after=1, args=[datetime(2027, 1, 1, tzinfo=UTC)], kwargs={"to": [{1, 2}]}, name="typed")

    def drop(self, name: str) -> bool:
        return self.unschedule(name)

    def stumble(self) -> None:
        if self.n < 3:
            raise ValueError("not yet")
        self.rang.append("stumbled")

    def recover(self, after: float | None = None) -> None:
        self.n = 3
        if after is not None:
            self.schedule("stumble", after=after, name="s")

    def tell(self, *methods: str) -> None:
        for method in methods:
            self.send(Bell.at("k"), method, *([method] if method == "ring" else []))

    @query
    def look(self) -> str:
        return self.schedule("ring", after=1, args=["x"])

    @query
    def due(self) -> dict[str, datetime]:
        return {alarm.name: alarm.due for alarm in self.alarms()}

    @query
    def shown(self) -> list[Any]:
        return [[alarm.method, list(alarm.args), dict(alarm.kwargs or {}), alarm.every, alarm.zone] for alarm in self.alarms()]

    class Meta:
        label = "alarms.Bell"


TYPES = {"alarms.Bell": Definition.registry.pop("alarms.Bell")}


def story(test: Callable[[Bench, Process], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        bench = Bench(TYPES)

        async def play() -> None:
            await test(bench, await bench.process(keeper=True))

        bench.run(play())

    run.__name__ = getattr(test, "__name__", "story")
    return run


async def rang(host: Process) -> list[str]:
    state = await host.host.read(TYPES["alarms.Bell"], ("alarms.Bell", "k"))
    return list((state or {"rang": []})["rang"])


BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "say when"),
    ({"after": -1}, "time to come"),
    ({"after": "soon"}, "number of seconds"),
    ({"after": True}, "number of seconds"),
    ({"after": 1, "missed": "all"}, "'once' or 'skip'"),
    ({"after": 1, "zone": "UTC"}, "belongs to a cron expression"),
    ({"every": 0}, "above zero"),
    ({"every": "* *"}, "no cron expression"),
    ({"every": "0 0 31 2 *"}, "never comes|no cron expression"),
    ({"every": "0 0 * * *", "zone": "Mars/Olympus"}, "no time zone"),
    ({"after": 1, "method": "rung"}, "rung"),
    ({"after": 1, "method": "due"}, "@query"),
    ({"after": 1, "args": []}, "'what' is missing"),
    ({"after": 1, "args": ["x"], "kwargs": {"what": "y"}}, "given twice"),
    ({"after": 1, "args": "xy"}, "list or tuple"),
    ({"after": 1, "name": "n" * 201}, "1 to 200 bytes"),
    ({"after": 1, "name": ""}, "1 to 200 bytes"),
    ({"after": 1, "name": "a\nb"}, "control characters"),
    ({"after": 1, "args": ["x" * 1_100_000]}, "more than"),
]


@pytest.mark.parametrize(("options", "said"), BAD, ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_no_alarm(options: dict[str, Any], said: str) -> None:
    @story
    async def run(bench: Bench, host: Process) -> None:
        given = {"args": ["x"], **options}
        with pytest.raises(CallFailed, match=f"InvalidArguments.*({said})"):
            await host.dispatch(_call(host, "set", given))
        assert not bench.database.messages.rows
        assert await host.host.read(TYPES["alarms.Bell"], ("alarms.Bell", "k")) is None

    run()


def _call(host: Process, method: str, named: dict[str, Any]) -> Any:
    call = host.call("k", method)
    call.args, call.kwargs = call.method.bind((), named)
    return call


@story
async def _moments(bench: Bench, host: Process) -> None:
    for moment, said in ((datetime(2040, 1, 1), "aware datetime"), (datetime(2001, 1, 1, tzinfo=UTC), "is past")):
        with pytest.raises(CallFailed, match=said):
            await host.send("k", "at_time", moment)
    with pytest.raises(CallFailed, match="both after and at"):
        await host.send("k", "twice", datetime(2040, 1, 1, tzinfo=UTC))
    with pytest.raises(CallFailed, match=r"@query and cannot schedule"):
        await host.send("k", "look")
    await host.send("k", "at_offset", 30.0)
    await asyncio.sleep(29)
    assert await rang(host) == []
    await asyncio.sleep(2.5)
    assert await rang(host) == ["at"]


def test_moments() -> None:
    _moments()


@story
async def _ticks(bench: Bench, host: Process) -> None:
    await host.send("k", "every_delta")
    begun = (await host.send("k", "due"))["delta"]
    await asyncio.sleep(105)
    assert await rang(host) == ["tick"] * 5
    assert (await host.send("k", "due"))["delta"] == begun + timedelta(seconds=100)
    assert await host.send("k", "shown") == [["ring", ["tick"], {"loud": False}, 20.0, None]]
    assert await host.send("k", "drop", "delta")
    await asyncio.sleep(100)
    assert await rang(host) == ["tick"] * 5
    assert not bench.database.messages.rows


def test_ticks_keep_to_the_first_one() -> None:
    _ticks()


@pytest.mark.parametrize(("missed", "expected"), [("once", 2), ("skip", 1)])
def test_missed_ticks(missed: str, expected: int) -> None:
    @story
    async def run(bench: Bench, host: Process) -> None:
        options = {"every": 20, "args": ["tick"], "name": "x", "missed": missed}
        await host.dispatch(_call(host, "set", options))
        first = (await host.send("k", "due"))["x"]
        await host.host.stop()
        await asyncio.sleep(20 * 10 + 10)
        second = await bench.process(keeper=True)
        # Ten ticks were missed; the eleventh comes at its own time.
        await asyncio.sleep(5)
        assert len(await rang(second)) == expected - 1
        await asyncio.sleep(7)
        assert len(await rang(second)) == expected
        assert (await second.send("k", "due"))["x"] == first + timedelta(seconds=220)

    run()


@story
async def _typed(bench: Bench, host: Process) -> None:
    await host.send("k", "typed_later")
    await asyncio.sleep(3)
    assert await rang(host) == ["2027-01-01T00:00:00+00:00 [{1, 2}]"]
    await host.dispatch(_call(host, "set", {"after": 1, "args": ["a"], "kwargs": {"loud": True}}))
    assert await host.send("k", "shown") == [["ring", ["a"], {"loud": True}, None, None]]
    await asyncio.sleep(3)
    assert (await rang(host))[1:] == ["a!"]


def test_arguments_come_back_as_what_they_were() -> None:
    _typed()


@story
async def _watchdog(bench: Bench, host: Process) -> None:
    await host.dispatch(_call(host, "set", {"after": 10, "args": ["bark"], "name": "dog"}))
    (row,) = bench.database.messages.rows.values()
    written = row.not_before
    for _ in range(50):
        await asyncio.sleep(0.1)
        await host.dispatch(_call(host, "set", {"after": 10, "args": ["bark"], "name": "dog"}))
    (row,) = bench.database.messages.rows.values()
    assert row.not_before == written
    await asyncio.sleep(8)
    assert await rang(host) == []
    await asyncio.sleep(4)
    assert await rang(host) == ["bark"]
    assert not bench.database.messages.rows


def test_a_watchdog_costs_no_write_and_barks_at_its_last_time() -> None:
    _watchdog()


@story
async def _put_off(bench: Bench, host: Process) -> None:
    await host.dispatch(_call(host, "set", {"after": 1, "method": "stumble", "args": [], "name": "s"}))
    await asyncio.sleep(35)
    (row,) = bench.database.messages.rows.values()
    assert row.attempts >= 4
    assert "not yet" in str(row.last_error)
    # What the inbox says is later by now than when the alarm was set: the same alarm, at an earlier time than that, is written.
    wait = row.not_before - host.clock.monotonic()
    await host.send("k", "recover", wait / 2 if wait > 4 else 1.0)
    await asyncio.sleep(max(wait / 2, 1.0) + 0.5)
    assert await rang(host) == ["stumbled"]
    assert not bench.database.messages.rows


def test_an_alarm_that_is_put_off_can_be_set_to_an_earlier_time() -> None:
    _put_off()


@story
async def _in_order(bench: Bench, host: Process) -> None:
    sender = host.call("sender", "tell")
    sender.args = ("ring", "stumble", "ring", "ring")
    await host.dispatch(sender)
    await asyncio.sleep(10)
    assert await rang(host) == ["ring"]
    assert {row.method: row.attempts for row in bench.database.messages.rows.values()}["ring"] == 0
    await host.send("k", "recover")
    await asyncio.sleep(40)
    assert await rang(host) == ["ring", "stumbled", "ring", "ring"]
    assert not bench.database.messages.rows


def test_a_message_waits_for_the_earlier_one_of_its_sender_that_fails() -> None:
    _in_order()


class Strike(Faults):
    """Breaks the connection at the k-th time that a point is reached."""

    def __init__(self, point: str, k: int) -> None:
        self.point, self.k = point, k

    async def at(self, point: str, link: MemoryLink) -> None:
        if point == self.point:
            self.k -= 1
            if self.k == 0:
                link.drop("struck")
                raise StoreUnavailable("struck")


class Deleting(Faults):
    """Somebody deletes each message while the append that applies it is under way."""

    def __init__(self, bench: Bench) -> None:
        self.rows = bench.database.messages.rows
        self.appends = 0

    async def at(self, point: str, link: MemoryLink) -> None:
        if point == "append:sent":
            self.appends += 1
            for row in [row for row in self.rows.values() if row.taker is not None]:
                del self.rows[row.id]


@story
async def _deleted(bench: Bench, host: Process) -> None:
    await host.dispatch(_call(host, "set", {"after": 1, "args": ["never"], "name": "a"}))
    host.store.faults = faults = Deleting(bench)
    await asyncio.sleep(3)
    assert await rang(host) == []
    # It was given up at once: nobody runs it again and again, with every call that travels beside it.
    assert faults.appends == 1
    await host.dispatch(_call(host, "set", {"after": 1, "args": ["kept"], "name": "b"}))
    assert await host.send("k", "shown") != []


def test_a_message_that_somebody_deletes_is_not_applied_and_holds_up_nobody() -> None:
    _deleted()


POINTS = [f"{what}:{stage}" for what in ("append", "take", "revise", "overdue", "claim") for stage in ("called", "sent", "executed")]


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_reply_that_is_lost_loses_and_doubles_nothing(point: str, k: int) -> None:
    @story
    async def run(bench: Bench, host: Process) -> None:
        await host.dispatch(_call(host, "set", {"after": 1, "args": ["once"], "name": "a"}))
        await host.dispatch(_call(host, "set", {"after": 30, "args": ["again"], "name": "b", "every": 30}))
        await host.dispatch(_call(host, "set", {"after": 2, "args": ["moved"], "name": "c"}))
        await host.dispatch(_call(host, "set", {"after": 4, "args": ["moved"], "name": "c"}))
        sender = host.call("sender", "tell")
        sender.args = ("ring", "stumble", "ring")
        host.store.faults = strike = Strike(point, k)
        await host.dispatch(sender)
        await asyncio.sleep(12)
        await host.send("k", "recover")
        await asyncio.sleep(80)
        for activation in list(host.host.activations.values()):
            host.host.hibernate(activation)
        await asyncio.sleep(60)
        assert strike.k <= 0 or point.startswith(("claim", "revise"))
        found = await rang(host)
        ticks = [what for what in found if what == "again"]
        assert len(ticks) == 152 // 30
        assert sorted(what for what in found if what != "again") == ["moved", "once", "ring", "ring", "stumbled"]
        told = [what for what in found if what in ("ring", "stumbled")]
        assert told == ["ring", "stumbled", "ring"]
        assert [row.name for row in bench.database.messages.rows.values()] == ["b"]

    run()


@pytest.mark.parametrize(
    ("every", "zone", "now", "wanted"),
    [
        ("0 9 * * *", "UTC", "2027-01-01T09:00:00+00:00", "2027-01-02T09:00:00+00:00"),
        ("0 9 * * *", "Europe/Berlin", "2027-01-01T07:59:59+00:00", "2027-01-01T08:00:00+00:00"),
        ("0 9 * * *", "Europe/Berlin", "2027-07-01T06:59:59+00:00", "2027-07-01T07:00:00+00:00"),
        ("0 9 * * 1-5", "America/New_York", "2027-01-01T15:00:00+00:00", "2027-01-04T14:00:00+00:00"),
        # The clock goes from 2 to 3: what lies between comes right after; from 3 back to 2: what comes twice counts once.
        ("30 2 * * *", "Europe/Berlin", "2027-03-27T12:00:00+00:00", "2027-03-28T01:00:00+00:00"),
        ("30 2 * * *", "Europe/Berlin", "2027-10-30T12:00:00+00:00", "2027-10-31T00:30:00+00:00"),
        ("30 2 * * *", "Europe/Berlin", "2027-10-31T00:30:00+00:00", "2027-11-01T01:30:00+00:00"),
        ("0 * * * *", "UTC", "2027-01-01T09:59:59.999999+00:00", "2027-01-01T10:00:00+00:00"),
        ("0 0 29 2 *", "UTC", "2027-03-01T00:00:00+00:00", "2028-02-29T00:00:00+00:00"),
    ],
)
def test_cron(every: str, zone: str, now: str, wanted: str) -> None:
    assert next_tick(every, zone, datetime.fromisoformat(now)) == datetime.fromisoformat(wanted)


@pytest.mark.parametrize(
    ("seconds", "late", "wanted"), [("60.0", 0, 60), ("60.0", 59, 60), ("60.0", 60, 120), ("60.0", 6000.5, 6060), ("0.5", 0.2, 0.5)]
)
def test_seconds(seconds: str, late: float, wanted: float) -> None:
    base = datetime(2027, 1, 1, tzinfo=UTC)
    assert next_tick(seconds, None, base + timedelta(seconds=late), base) == base + timedelta(seconds=wanted)
