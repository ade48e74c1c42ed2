"""``python -m tests.faults [--seconds N] [--seed S] [--kills N] [--database sqlite|postgresql|both] [--json]``."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys

from .databases import Databases
from .episodes import Failovers, HeldCommits, Pauses
from .report import Report
from .supervisor import Plan, Storm


async def main(arguments: argparse.Namespace) -> list[Report]:
    reports = []
    vendors = ["postgresql", "sqlite"] if arguments.database == "both" else [arguments.database]
    with Databases() as databases:
        for vendor in vendors:
            if arguments.episodes:
                kind = {"pauses": Pauses, "held": HeldCommits, "failovers": Failovers}[arguments.episodes]
                report = await kind(databases.make(vendor), arguments.seed, mutant=arguments.mutant).run(arguments.count)
                reports.append(report)
                print(report.text(), flush=True)
                continue
            plan = Plan(kills=arguments.kills, seconds=arguments.seconds, mutant=arguments.mutant, trace=arguments.trace)
            report = await Storm(databases.make(vendor), arguments.seed, plan).run()
            reports.append(report)
            if not arguments.json:
                print(report.text(), flush=True)
    return reports


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--mutant")
    parser.add_argument("--episodes", choices=["pauses", "held", "failovers"])
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--trace", action="store_true", help="print every action")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = asyncio.run(main(given))
    if given.json:
        print(json.dumps([report.as_json() for report in found]))
    sys.exit(any(report.violations for report in found))
