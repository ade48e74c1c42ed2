"""The parts that run real processes on real databases (``tests.faults``)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from tests.faults.databases import Databases
from tests.faults.episodes import Episodes, Failovers, HeldCommits, Pauses, Silences
from tests.faults.orders import Orders
from tests.faults.report import Report
from tests.faults.supervisor import CRASH, Plan, Storm

from .lines import Line, Part

NAMES = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}


def _of(report: Report, *promises: str) -> list[str]:
    return [text for text in report.violations if set(text.partition(":")[0].split("/")) & set(promises)]


def _seconds(report: Report) -> str:
    return ", ".join(
        f"{name} {seconds:.2f} s" if name in ("median", "p99") else f"{name}: {seconds:.2f} s at most"
        for name, seconds in report.seconds.items()
    )


def storm(vendor: str, kills: int, resends: int) -> Part:
    def run(scale: float, seed: int) -> Iterator[Line]:
        plan = Plan(kills=round(kills * scale), resends=round(resends * scale), crashes=round(3 * scale), seconds=420 * scale)
        with Databases() as databases:
            report = asyncio.run(Storm(databases.make(vendor), seed, plan).run())
        calls, done, where = report.checked.get("acknowledged", 0), report.done, NAMES[vendor]
        named = f"{done['killed at a named point']} of them at {len(report.points)} named points"
        if done[CRASH]:
            named += f"; {done[CRASH]} crashes of the server"
        notes = f"{named}; {calls:,} acknowledged writes and refusals, each in the journal exactly once with its result"
        yield Line("P2", f"kill -9 under load, {where}", done["kills"], plan.kills, "kills", _of(report, "P2", "P12"), notes)
        notes = f"{report.counts['re-sends of an unknown']:,} of a call nobody knew the outcome of yet, the others of one already answered"
        yield Line("P3", f"the same id sent again, {where}", report.counts["re-sends"], plan.resends, "re-sends", _of(report, "P3"), notes)
        notes = f"{report.checked.get('reads', 0):,} of them reads; {_seconds(report)}"
        broken = [text for text in report.violations if text not in (*_of(report, "P2", "P12"), *_of(report, "P3"))]
        yield Line("P1", f"witness over every answer of the storm, {where}", report.counts["answers"], 1, "answers", broken, notes)

    return Part(f"storm on {NAMES[vendor]}", run)


def episodes(kind: type[Episodes], vendor: str, promise: str, count: int, what: str, unit: str, counted: str) -> Part:
    def run(scale: float, seed: int) -> Iterator[Line]:
        wanted = max(1, round(count * scale))
        with Databases() as databases:
            report = asyncio.run(kind(databases.make(vendor), seed).run(wanted))
        different = {name: times for name, times in report.done.items() if name != counted}
        notes = "; ".join(filter(None, [", ".join(f"{name} {times:,}" for name, times in sorted(different.items())), _seconds(report)]))
        yield Line(promise, f"{what}, {NAMES[vendor]}", report.done[counted], wanted, unit, report.violations, notes)

    return Part(f"{kind.title} on {NAMES[vendor]}", run)


def _until_caught(pauses: Pauses) -> Report:
    """Up to 20 pauses."""
    pauses.enough = pauses.caught  # type: ignore[method-assign]
    return asyncio.run(pauses.run(20))


def catches() -> Part:
    """The supervisor itself: hosts that break a promise on purpose."""

    def run(scale: float, seed: int) -> Iterator[Line]:
        missed = []
        with Databases() as databases:
            held = asyncio.run(HeldCommits(databases.make("postgresql"), seed, mutant="early_answer").run(5))
            lost = Plan(kills=4, seconds=30, mutant="early_answer", weights={"kill at any moment": 1})
            killed = asyncio.run(Storm(databases.make("sqlite"), seed, lost).run())
            doubled = asyncio.run(Storm(databases.make("sqlite"), seed, Plan(kills=1, seconds=30, mutant="forgotten_ids")).run())
            fenceless = _until_caught(Pauses(databases.make("postgresql"), seed, mutant="no_fence"))
            trusting = _until_caught(Pauses(databases.make("postgresql"), seed, mutant="blind_trust"))
        for name, report, promise in (
            ("early_answer, its commit held", held, "P5"),
            ("early_answer, killed", killed, "P2"),
            ("forgotten_ids, calls sent again", doubled, "P3"),
            ("no_fence, frozen", fenceless, "P4"),
            ("blind_trust, frozen", trusting, "P4"),
        ):
            if not report.by_promise[promise]:
                missed.append(f"{name}: no violation of {promise} was seen")
        yield Line("all", "hosts that break a promise on purpose, real processes", 5 - len(missed), 5, "of 5 caught", missed)

    return Part("the supervisor itself", run)


PARTS = [
    storm("postgresql", 50, 4000),
    storm("sqlite", 50, 6000),
    episodes(Pauses, "postgresql", "P4", 20, "SIGSTOP of the owner for 1.5–3 leases while another writes", "pauses", "pauses"),
    episodes(Pauses, "sqlite", "P4", 6, "SIGSTOP of the owner, whose lock holds", "pauses", "pauses"),
    episodes(HeldCommits, "postgresql", "P5", 800, "commits held in the network, then released or failed", "tries", "tries"),
    episodes(HeldCommits, "sqlite", "P5", 200, "commits held by a lock of the file", "tries", "tries"),
    episodes(Orders, "postgresql", "P2", 50, "kill -9 in transactions with the ORM, rows and state compared after each", "kills", "kills"),
    episodes(Orders, "sqlite", "P2", 50, "kill -9 in transactions with the ORM, rows and state compared after each", "kills", "kills"),
    episodes(Failovers, "postgresql", "P7", 100, "kill -9 of the owner until another process answers", "kills", "kills"),
    episodes(Failovers, "sqlite", "P7", 100, "kill -9 of the owner until another process answers", "kills", "kills"),
    episodes(Silences, "postgresql", "P7", 20, "the owner killed or cut off where only its lease of 0.6 s tells", "deaths", "deaths"),
    catches(),
]
