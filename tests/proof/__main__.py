"""``python -m tests.proof``: every promise with the counts that CI demands, in one table. Exit code 1 on any violation.

Environment: ``SECONDS`` for a longer run (its counts grow with it), ``SEED`` to replay one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import time
from pathlib import Path

from . import bounded, processes, simulated
from .lines import Line, markdown, plain, promises

PARTS = [*simulated.PARTS, *processes.PARTS, *bounded.PARTS]
NOMINAL_SECONDS = 900.0
"""What the counts at scale 1 take on two cores, roughly."""


def document(lines: list[Line], seed: int, scale: float, seconds: float) -> str:
    import django
    import psycopg

    versions = f"Python {platform.python_version()}, Django {django.get_version()}, psycopg {psycopg.__version__}"
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, {versions}"
    failed = sum(not line.passed for line in lines)
    return f"""# Proof

The figures of one run of `make proof` (`python -m tests.proof --seed {seed} --seconds-scale {scale:g}`), which took
{seconds / 60:.0f} minutes on {machine}.
This page is written by `python -m tests.proof --write docs/proof.md`; do not edit it.
What each promise says is in [promises.md](promises.md).

{markdown(lines)}

{len(lines) - failed} passed, {failed} failed.
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description=__doc__)
    parser.add_argument("--seconds-scale", type=float, default=max(1.0, float(os.environ.get("SECONDS") or 0) / NOMINAL_SECONDS))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6)))
    parser.add_argument("--only", help="run the parts whose name contains this")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table as Markdown")
    parser.add_argument("--promises", type=Path, metavar="FILE", help="write the figures into that page, between its markers")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    started = time.monotonic()
    lines: list[Line] = []
    parts = [part for part in PARTS if given.only is None or given.only.lower() in part.name.lower()]
    if not parts:
        parser.error(f"no part is called like {given.only!r}: {', '.join(part.name for part in PARTS)}")
    for part in parts:
        began = time.monotonic()
        print(f"{part.name} …", file=sys.stderr, end=" ", flush=True)
        try:
            made = list(part.run(given.seconds_scale, given.seed))
        except Exception as error:  # a part that cannot run proves nothing; the others still can
            made = [Line("?", part.name, 0, 1, "runs", [f"it could not run: {type(error).__name__}: {error}"])]
        print(
            f"{'passed' if all(line.passed for line in made) else 'FAILED'} in {time.monotonic() - began:.0f} s",
            file=sys.stderr,
            flush=True,
        )
        for line in made:
            for text in line.violations[:10]:
                print(f"  {text}", file=sys.stderr)
        lines += made
    failed = sum(not line.passed for line in lines)
    if given.write is not None:
        given.write.parent.mkdir(parents=True, exist_ok=True)
        given.write.write_text(document(lines, given.seed, given.seconds_scale, time.monotonic() - started))
    if given.promises is not None and not failed:
        given.promises.write_text(promises(given.promises.read_text(), lines))
    if given.json:
        print(json.dumps({"seed": given.seed, "scale": given.seconds_scale, "lines": [line.as_json() for line in lines]}))
    else:
        print(
            f"\n{plain(lines)}\n\nseed {given.seed}, {time.monotonic() - started:.0f} s; again: python -m tests.proof --seed {given.seed}"
        )
    print(f"{len(lines) - failed} passed, {failed} failed", file=sys.stderr if given.json else sys.stdout)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
