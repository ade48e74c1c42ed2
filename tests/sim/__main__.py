"""``python -m tests.sim``: the runtime over virtual time with aimed faults, and every mutant caught.

Without arguments: some hundred runs over all profiles, then the mutants. ``SEED``, ``PROFILE`` and ``SECONDS`` may come from the
environment (``make sim SECONDS=600``).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys

from .campaign import ENOUGH, campaign, describe, describe_catches
from .faults import PROFILES
from .mutants import MUTANTS, Catch, hunt
from .simulation import Report, simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description="The runtime over virtual time, with aimed faults.")
    parser.add_argument("--seeds", type=int, help="how many runs, over all profiles (700)")
    parser.add_argument("--seconds", type=float, default=_number("SECONDS"), help="go on for so long instead")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, default=_number("SEED"), help="replay one run, and tell it")
    parser.add_argument("--profile", action="append", choices=sorted(PROFILES), help="only this kind of trouble")
    parser.add_argument("--mutant", choices=sorted(mutant.name for mutant in MUTANTS), help="replay with this rule taken out")
    parser.add_argument("--mutants", action="store_true", help="only the mutants")
    parser.add_argument("--no-mutants", action="store_true", help="only the runs")
    parser.add_argument("--jobs", type=int, default=1, help="processes to run in")
    parser.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args()
    profile = os.environ.get("PROFILE")
    profiles = options.profile or ([profile] if profile else list(PROFILES))
    if options.seed is not None:
        return replay(int(options.seed), profiles, options.mutant)
    told: dict[str, object] = {}
    failed = False
    if not options.mutants:
        seeds = options.seeds if options.seeds or options.seconds else 700
        totals = campaign(profiles, seeds=seeds, seconds=options.seconds, first=options.first, jobs=options.jobs)
        missed = totals.runs.total() >= ENOUGH and len(profiles) == len(PROFILES) and bool(totals.never_struck)
        failed = bool(totals.failures) or missed
        told["campaign"] = totals.as_json()
        if not options.json:
            print(describe(totals), end="\n\n", flush=True)
    if not options.no_mutants and not options.profile:
        baseline: dict[tuple[str, int], bool] = {}
        catches = [hunt(mutant, baseline=baseline) for mutant in MUTANTS]
        failed = failed or not all(catch.seeds and catch.clean for catch in catches)
        told["mutants"] = [_catch(catch) for catch in catches]
        if not options.json:
            print(describe_catches(catches))
    if options.json:
        print(json.dumps({**told, "passed": not failed}, indent=1))
    elif failed:
        print("\nFAILED", file=sys.stderr)
    return int(failed)


def _number(name: str) -> float | None:
    text = os.environ.get(name)
    return float(text) if text else None


def _catch(catch: Catch) -> dict[str, object]:
    return {
        "mutant": catch.mutant.name,
        "rule": catch.mutant.breaks,
        "profile": catch.mutant.profile,
        "seeds": catch.seeds or None,
        "shown_by": sorted(catch.kinds),
        "unmutated_passes": catch.clean,
    }


def replay(seed: int, profiles: list[str], mutant: str | None) -> int:
    failed = False
    for profile in profiles:
        patches = [one.patch() for one in MUTANTS if one.name == mutant]
        with contextlib.ExitStack() as stack:
            for patch in patches:
                stack.enter_context(patch)
            report = simulate(profile, seed, story=True)
        failed = failed or bool(report.violations)
        if report.violations or len(profiles) == 1:
            tell(report)
        else:
            print(f"{profile} {seed}: passed, {report.operations} operations, faults: {dict(report.actions)}")
    return int(failed)


def tell(report: Report) -> None:
    """All that happened to the objects with violations, or the faults alone where there are none."""
    print(f"{report.profile} {report.seed}: {report.operations} operations, {report.rows} rows, {report.elapsed:.1f} virtual seconds")
    print(*report.story, sep="\n")
    print(*(report.violations or ["no violation"]), sep="\n")


if __name__ == "__main__":
    sys.exit(main())
