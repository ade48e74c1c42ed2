"""``manage.py jido_bench``: what durable objects are worth on this database, beside what the same work costs without them.

Exit codes: 0 measured, and every final state was right; 1 a final state was wrong, or the database failed; 2 refused, nothing
was done; 130 interrupted. In every case what was made is removed; what a ``kill -9`` leaves, ``--clean`` removes.
"""

from __future__ import annotations

import signal
import sys
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from ...errors import JidoError

ROUNDS = 3
CALLERS = 64


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ArgumentTypeError(f"a number above zero, not {text}")
    return value


class Command(BaseCommand):
    help = "Measures durable objects on this project's own database, and removes everything it made."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--database", metavar="ALIAS", help="what to measure on (JIDO_OBJECTS['DATABASE'])")
        parser.add_argument("--seconds", type=_positive, default=40.0, help="how long to measure, about (40)")
        parser.add_argument("--callers", type=int, default=CALLERS, help="concurrent callers, and connections of the baseline (64)")
        parser.add_argument("--json", metavar="FILE", help="write everything that was measured; - is standard output, without the table")
        parser.add_argument("--yes", action="store_true", help="do not ask")
        parser.add_argument("--clean", action="store_true", help="only remove what a bench that was killed has left")

    def handle(
        self, *, database: str | None, seconds: float, callers: int, json: str | None, yes: bool, clean: bool, **options: Any
    ) -> None:
        from ... import conf
        from ...bench import calls, report
        from ...bench.progress import progress
        from ...bench.stage import Stage
        from ...bench.stats import Figure, measure

        alias = database or conf.read().DATABASE
        if alias not in settings.DATABASES:
            raise CommandError(f"There is no database {alias!r}; there are {', '.join(settings.DATABASES)}.", returncode=2)
        if not 1 <= callers <= 1000:
            raise CommandError("--callers is between 1 and 1000.", returncode=2)
        stage = Stage(alias, callers=callers)
        if clean:
            self._confirm(f"This removes every table jido_bench_… and every object of a type jido_bench.… from {self._where(stage)}.", yes)
            self.stderr.write(f"Removed: {', '.join(stage.remove()) or 'nothing was left'}.")
            return
        try:
            stage.probe()
        except (JidoError, DatabaseError) as error:
            raise CommandError(str(error), returncode=2) from error
        self._confirm(
            f"This measures durable objects on {self._where(stage)}, for about {seconds:.0f} s. It\n"
            f"  makes the tables {', '.join(stage.tables)},\n"
            f"  writes objects of the type jido_bench.Counter into the tables of jido_objects, some 100,000 rows on a fast disk,\n"
            f"  opens up to {callers + 6} connections and keeps the database as busy as it can,\n"
            f"and removes all of it at the end, also after Ctrl-C. Deleted rows leave work for (auto)vacuum.",
            yes,
        )
        figures: list[Figure] = []
        try:
            with _interruptible(), stage.opened():
                workloads = [make(stage) for make in calls.BLOCK.values()]
                each = seconds / (ROUNDS * sum(len(workload.sides) for workload in workloads))
                with progress(sys.stderr) as shown:
                    for workload in workloads:
                        shown.start(workload.title, ROUNDS * workload.parts * len(workload.sides))
                        figures += measure(workload, rounds=ROUNDS, seconds=each, tick=shown.step)
                name = str(stage)
        except KeyboardInterrupt:
            raise CommandError("Interrupted; everything that was made has been removed.", returncode=130) from None
        except (JidoError, DatabaseError) as error:
            raise CommandError(str(error), returncode=1) from error
        if json != "-":
            self.stdout.write(f"\n{name}\n\n{report.table(figures)}\n")
        if json:
            text = report.as_json({name: figures}, rounds=ROUNDS, seconds=each, callers=callers)
            if json == "-":
                self.stdout.write(text)
            else:
                Path(json).write_text(text + "\n", encoding="utf-8")
        if any(figure.wrong for figure in figures):
            raise CommandError("A final state was wrong: please report it, with the table.", returncode=1)

    def _where(self, stage: Any) -> str:
        given = stage.connection.settings_dict
        place = " on ".join(str(part) for part in (given["NAME"], given.get("HOST")) if part)
        return f"database {stage.alias!r} ({stage}: {place})"

    def _confirm(self, what: str, yes: bool) -> None:
        self.stderr.write(what)
        if yes:
            return
        if not sys.stdin.isatty():
            raise CommandError("There is nobody to ask: say --yes.", returncode=2)
        # DEBUG off is how production looks; a reflex should not be enough there.
        wanted = ("y", "yes") if settings.DEBUG else ("yes",)
        question = "Go on? [y/N] " if settings.DEBUG else "DEBUG is off, so this may be production. Type yes to go on: "
        try:
            answer = input(question)
        except (EOFError, KeyboardInterrupt):
            answer = ""
        if answer.strip().lower() not in wanted:
            raise CommandError("Nothing was done.", returncode=2)


@contextmanager
def _interruptible() -> Iterator[None]:
    """A polite kill, or a terminal that goes away, ends a run as Ctrl-C does: by way of its clean-up."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signals = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {}
    try:
        for number in signals:
            before[number] = signal.signal(number, interrupt)
    except ValueError:
        # Not the main thread: no signal comes here.
        pass
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
