"""``python -m tests.faults``: real host processes, killed, frozen and cut off. Exit code 1 on any violation.

Environment: ``SEED`` replays the choices of a run, ``SECONDS`` lets the storm go on for longer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys

from .databases import Databases
from .episodes import EPISODES
from .mutants import MUTANTS
from .orders import Orders
from .report import Report
from .supervisor import Plan, Storm

COUNTS = {"pauses": 10, "held": 100, "failovers": 10, "silences": 6, "orders": 12}
PARTS = {**EPISODES, "orders": Orders}


async def main(arguments: argparse.Namespace) -> list[Report]:
    reports: list[Report] = []

    def tell(report: Report) -> None:
        reports.append(report)
        if not arguments.json:
            print(report.text(), flush=True)

    vendors = ["postgresql", "sqlite"] if arguments.database == "both" else [arguments.database]
    with Databases() as databases:
        for vendor in vendors:
            if arguments.part in ("storm", "all"):
                plan = Plan(kills=arguments.kills, seconds=arguments.seconds, mutant=arguments.mutant, trace=arguments.trace)
                plan.endless = arguments.endless
                tell(await Storm(databases.make(vendor), arguments.seed, plan).run())
            for name, episodes in PARTS.items():
                # A process whose SQLite file is there can be seen to be dead.
                if arguments.part in (name, "all") and not (name == "silences" and vendor == "sqlite"):
                    made = episodes(databases.make(vendor), arguments.seed, mutant=arguments.mutant)
                    tell(await made.run(arguments.count or COUNTS[name]))
    return reports


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    seconds = os.environ.get("SECONDS")
    parser.add_argument("--seconds", type=float, default=float(seconds or 120), help="bound of each storm")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6)))
    parser.add_argument("--kills", type=int, default=20, help="how many processes a storm kills")
    parser.add_argument("--count", type=int, default=0, help="how many episodes of each kind")
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--part", choices=["all", "storm", *PARTS], default="all")
    parser.add_argument("--mutant", choices=list(MUTANTS), help="break the hosts on purpose: the run must fail")
    parser.add_argument("--trace", action="store_true", help="print every action of a storm")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    # Who asks for seconds wants them used.
    arguments.endless = bool(seconds) or "--seconds" in sys.argv
    return arguments


if __name__ == "__main__":
    given = parse()
    found = asyncio.run(main(given))
    failed = [report for report in found if report.violations]
    if given.json:
        print(json.dumps([report.as_json() for report in found]))
    else:
        print(
            f"{len(found) - len(failed)} passed, {len(failed)} failed"
            + (f"; again: python -m tests.faults --seed {given.seed}" if failed else "")
        )
    sys.exit(bool(failed))
