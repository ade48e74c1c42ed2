"""Where a bench happens: one database alias, the tables and objects it makes there, and their removal.

Everything made carries the name ``jido_bench``. A run's own objects have keys that begin with the run's id, so that cleaning
up touches nothing else; tables that are there already say that another run is under way, or was killed.
"""

from __future__ import annotations

import contextlib
import secrets
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from django.db import DatabaseError, connections

from .. import conf, process
from ..definition import Definition
from ..errors import JidoError, UnsupportedDatabase
from . import baseline
from .counter import TYPES, BenchCounter
from .names import APP

VERSIONS = {"postgresql": "PostgreSQL {0}.{1}", "sqlite": "SQLite {0}.{1}.{2}"}
OTHERS = 6
"""Connections beside those of the baseline's threads: the host's, the bare driver's, this thread's."""


class LeftBehind(JidoError):
    """Tables of a bench are in database {0!r} already: {1}. Another bench runs there, or was killed: --clean removes what it left."""


class TooFewConnections(JidoError):
    """The bench needs {0} connections to database {1!r}, which has {2} left. Use fewer --callers, or raise max_connections."""


class Stage:
    """One database while it is measured."""

    tables = tuple(table._meta.db_table for table in baseline.TABLES)

    def __init__(self, alias: str, *, callers: int = 64) -> None:
        self.alias = alias
        self.callers = callers
        self.connection = connections[alias]
        self.vendor = self.connection.vendor
        self.run = secrets.token_hex(4)
        self._made = False

    def __str__(self) -> str:
        if self.vendor not in VERSIONS:
            return self.connection.display_name
        return VERSIONS[self.vendor].format(*self.connection.get_database_version(), 0, 0)

    # ---------------------------------------------------------------- open and close

    def probe(self) -> None:
        """Whether a bench can run here; raises ``JidoError`` or ``DatabaseError`` with what is wrong. Writes nothing."""
        if self.vendor not in VERSIONS:
            raise UnsupportedDatabase(f"Database {self.alias!r} is {self.connection.display_name}, which cannot hold durable objects.")
        left = self._tables()
        if left:
            raise LeftBehind(self.alias, ", ".join(left))
        if self.vendor == "postgresql":
            ((free,),) = self.rows(
                "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int "
                "- (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')"
            )
            if free < self.callers + OTHERS:
                raise TooFewConnections(self.callers + OTHERS, self.alias, free)

    def open(self) -> None:
        """Make the tables and start the host. Raises as ``probe`` does."""
        self.probe()
        self.serve()
        try:
            with self.connection.schema_editor() as editor:
                for model in baseline.TABLES:
                    editor.create_model(model)
        except DatabaseError as error:
            left = self._tables()
            raise (LeftBehind(self.alias, ", ".join(left)) if left else error) from error
        self._made = True

    def serve(self) -> None:
        """Host objects of this database in this process, whatever the settings say of who hosts."""
        process.stop()
        for one in TYPES:
            Definition.register(one._jido_definition)
        process.configure_with(lambda: replace(conf.read(), DATABASE=self.alias, HOST="always"))
        # The first question opens the store: a database that cannot hold objects says so here.
        BenchCounter.at(self.run, "none").exists()

    def close(self) -> None:
        """Stop the host and remove everything this run made. May be repeated."""
        process.stop()
        process.configure_with(conf.read)
        for one in TYPES:
            Definition.registry.pop(one._jido_definition.label, None)
        if self._made:
            self.remove(self.run)
            self._made = False

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Open it, and close it however the block ends. Ctrl-C waits while it is closed."""
        try:
            self.open()
            yield
        finally:
            with _undisturbed():
                self.close()

    def remove(self, run: str | None = None) -> list[str]:
        """Drop the tables, and delete the objects of one run or of all; returns what there was."""
        found = self._tables()
        with self.connection.schema_editor() as editor:
            for model in reversed(baseline.TABLES):
                if model._meta.db_table in found:
                    editor.delete_model(model)
        chosen = f"{APP}.%", f"{run}/%" if run is not None else "%"
        objects = "SELECT id FROM jido_object WHERE type LIKE %s AND key LIKE %s"
        with self.connection.cursor() as cursor:
            for table in ("jido_snapshot", "jido_journal"):
                cursor.execute(f"DELETE FROM {table} WHERE object_id IN ({objects})", chosen)
            for table in ("jido_inbox", "jido_object"):
                cursor.execute(f"DELETE FROM {table} WHERE type LIKE %s AND key LIKE %s", chosen)
            if cursor.rowcount > 0:
                found.append(f"{cursor.rowcount} objects")
        return found

    def _tables(self) -> list[str]:
        there = set(self.connection.introspection.table_names())
        return [table for table in self.tables if table in there]

    # ---------------------------------------------------------------- asking the database

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Run SQL over Django's connection of this thread."""
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters or None)
            return list(cursor.fetchall()) if cursor.description else []


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    before = {number: signal.signal(number, signal.SIG_IGN) for name in names if (number := getattr(signal, name, None))}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
