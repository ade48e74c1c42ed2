"""Where a bench happens: one database alias, the tables and objects it makes there, and their removal.

Everything made carries the name ``jido_bench``. A run's own objects have keys that begin with the run's id, so that cleaning
up touches nothing else; tables that are there already say that another run is under way, or was killed.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django.db import connections

from .. import conf, process
from ..definition import Definition
from ..errors import JidoError
from . import baseline
from .counter import APP, BenchCounter


class LeftBehind(JidoError):
    """Tables of a bench are in database {0!r} already: {1}. Another bench runs there, or was killed: --clean removes what it left."""


class TooFewConnections(JidoError):
    """The bench needs {0} connections to database {1!r}, which has {2} left. Use fewer --callers, or raise max_connections."""


class Stage:
    """One database while it is measured."""

    def __init__(self, alias: str, *, callers: int = 64) -> None:
        self.alias = alias
        self.callers = callers
        self.connection = connections[alias]
        self.vendor = self.connection.vendor
        self.run = secrets.token_hex(4)

    def __str__(self) -> str:
        version = {"postgresql": "PostgreSQL {0}.{1}", "sqlite": "SQLite {0}.{1}.{2}"}[self.vendor]
        numbers = self.connection.get_database_version()
        return version.format(*numbers, 0, 0)

    # ---------------------------------------------------------------- open and close

    def open(self) -> None:
        """Make the tables and start the host. Raises ``JidoError`` with what is wrong with the database."""
        left = self._tables()
        if left:
            raise LeftBehind(self.alias, ", ".join(left))
        self._count_connections()
        self.serve()
        with self.connection.schema_editor() as editor:
            for table in baseline.TABLES:
                editor.create_model(table)

    def serve(self) -> None:
        """Host objects of this database in this process, whatever the settings say of who hosts."""
        process.stop()
        Definition.register(BenchCounter._jido_definition)
        process.configure_with(lambda: replace(conf.read(), DATABASE=self.alias, HOST="always"))
        # The first question opens the store: a database that cannot hold objects says so here.
        BenchCounter.at(self.run, "none").exists()

    def close(self) -> None:
        """Remove everything this run made. May be repeated."""
        process.stop()
        process.configure_with(conf.read)
        self.remove(self.run)
        Definition.registry.pop(BenchCounter._jido_definition.label, None)

    def remove(self, run: str | None = None) -> list[str]:
        """Drop the tables, and delete the objects of one run or of all; returns what there was."""
        found = self._tables()
        with self.connection.schema_editor() as editor:
            for table in reversed(baseline.TABLES):
                if table._meta.db_table in found:
                    editor.delete_model(table)
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
        return [table._meta.db_table for table in baseline.TABLES if table._meta.db_table in there]

    def _count_connections(self) -> None:
        if self.vendor != "postgresql":
            return
        ((left,),) = self.rows(
            "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int "
            "- (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')"
        )
        needed = self.callers + 6
        if left < needed:
            raise TooFewConnections(needed, self.alias, left)

    # ---------------------------------------------------------------- asking the database

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[Any]:
        """Run SQL over Django's connection of this thread."""
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall()) if cursor.description else []
