"""See ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import django
from django.core.management import call_command

from tests import servers

NAMES = (
    "hot-key", "hot-key-threads", "many-keys", "one-caller", "transactional", "reads", "fence", "state-size", "thaw", "trimming", "cold",
    "memory",
)  # fmt: skip


def options(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="at most a minute in all: says whether it works, not how fast it is")
    parser.add_argument("--only", action="append", choices=NAMES, metavar="NAME", help="only this workload; repeat it for several (--list)")
    parser.add_argument("--list", action="store_true", help="list the workloads")
    parser.add_argument("--database", choices=("postgres", "sqlite", "both"), default="both")
    parser.add_argument("--rounds", type=int, help="rounds of every comparison (5; 3 with --quick)")
    parser.add_argument("--seconds", type=float, help="seconds per side and round (2; 0.12 with --quick)")
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--json", metavar="FILE", help="write everything that was measured; - is standard output")
    parser.add_argument("--markdown", metavar="FILE", help="write the tables as Markdown; - is standard output")
    parser.add_argument("--profile", choices=NAMES, metavar="NAME", help="profile our sides of a workload: host, then caller")
    parser.add_argument("--strict", action="store_true", help="exit with 3 when a target is missed")
    given = parser.parse_args(argv)
    given.rounds = given.rounds or (3 if given.quick else 5)
    given.seconds = given.seconds or (0.12 if given.quick else 2.0)
    return given


@contextmanager
def databases(wanted: str) -> Iterator[list[str]]:
    """Start what is to be measured; yields the aliases. Everything is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="jido-bench-") as directory:
        os.environ["JIDO_BENCH_DATA"] = directory
        os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
        aliases = {"postgres": ["postgres"], "sqlite": ["default"], "both": ["postgres", "default"]}[wanted]
        server = None
        try:
            if "postgres" in aliases:
                server, os.environ["JIDO_BENCH_URL"] = servers.start_postgres()
            django.setup()
            for alias in aliases:
                call_command("migrate", database=alias, verbosity=0)
            yield aliases
        finally:
            if server is not None:
                server.stop()


def main(argv: Sequence[str] | None = None) -> int:
    given = options(argv)
    if given.list:
        print("\n".join(NAMES))
        return 0
    with databases(given.database) as aliases:
        from . import run

        return run.main(given, aliases)


if __name__ == "__main__":
    sys.exit(main())
