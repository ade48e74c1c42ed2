"""The databases of a run: a file, or a private PostgreSQL that can be crashed. Looks at tables directly, without the library."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg

from tests import servers

ROOT = Path(__file__).parents[2]


class Database:
    """One fresh, migrated database."""

    vendor: str
    leases: bool
    """Whether the life of a host is a lease; else it is a lock of the operating system."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def settings(self, port: int | None = None) -> dict[str, Any]:
        """The ``DATABASES`` entry of a host, by way of a proxy's port."""
        raise NotImplementedError

    def ask(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query with ``?`` for parameters."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def head(self, key: str) -> tuple[int, int, int]:
        """``(id, epoch of the object, last seq)``; zeros where there is no such object."""
        rows = self.ask(
            """SELECT o.id, o.epoch, coalesce((SELECT max(j.seq) FROM jido_journal j WHERE j.object_id = o.id), 0)
            FROM jido_object o WHERE o.key = ?""",
            [key],
        )
        return rows[0] if rows else (0, 0, 0)

    def orders(self) -> list[tuple[Any, ...]]:
        """The application's own rows: call id, key, value."""
        return self.ask("SELECT call_id, ledger, value FROM faults_order")

    def landed(self, call_id: str) -> bool:
        return bool(self.ask("SELECT 1 FROM jido_journal WHERE call_id = ?", [call_id]))


def environment(settings: dict[str, Any], objects: dict[str, Any]) -> dict[str, str]:
    """What a host process is started with: its database and its ``JIDO_OBJECTS``."""
    given = {"database": settings, "objects": objects}
    unwanted = ("COV_CORE_SOURCE", "DJANGO_SETTINGS_MODULE", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    return kept | {"DJANGO_SETTINGS_MODULE": "tests.faults.settings", "PYTHONPATH": str(ROOT), "JIDO_FAULTS": json.dumps(given)}


def _migrate(settings: dict[str, Any]) -> None:
    command = [sys.executable, "-m", "tests.faults.worker", "migrate"]
    done = subprocess.run(command, env=environment(settings, {}), cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the tables could not be made:\n{done.stderr[-4000:]}")


# ---------------------------------------------------------------- SQLite


class SqliteDatabase(Database):
    vendor = "sqlite"
    leases = False
    busy_seconds = 0.5

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._connection = sqlite3.connect(directory / "faults.sqlite3", isolation_level=None, timeout=10)

    def settings(self, port: int | None = None) -> dict[str, Any]:
        options = {
            "transaction_mode": "IMMEDIATE",
            "timeout": self.busy_seconds,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL",
        }
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(self.directory / "faults.sqlite3"), "OPTIONS": options}

    def ask(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, parameters).fetchall()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else can commit."""
        other = sqlite3.connect(self.directory / "faults.sqlite3", isolation_level=None, timeout=10)
        try:
            other.execute("BEGIN IMMEDIATE")
            yield
        finally:
            other.close()

    def close(self) -> None:
        self._connection.close()


# ---------------------------------------------------------------- PostgreSQL


class Postgres:
    """A private server that can be crashed and started again on the same port and data."""

    def __init__(self) -> None:
        self._first, url = servers.start_postgres()
        self._again: list[servers.Server] = []
        parts = urlsplit(url)
        self.host, self.port = str(parts.hostname), int(parts.port or 5432)
        self._data = self._first.directory / "data"
        self.restarts = 0

    def connect(self, database: str = "postgres", **options: Any) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=self.host,
            port=self.port,
            user="postgres",
            dbname=database,
            autocommit=True,
            connect_timeout=5,
            sslmode="disable",
            **options,
        )

    def make(self, name: str) -> None:
        """A fresh database; the first one is migrated, the others are its copies."""
        with self.connect() as connection:
            made = connection.execute("SELECT 1 FROM pg_database WHERE datname = 'migrated'").fetchone()
            if made is None:
                connection.execute("CREATE DATABASE migrated")
                _migrate(PostgresDatabase.entry(self, "migrated", self.port))
            connection.execute(f"CREATE DATABASE {name} TEMPLATE migrated")

    def crash(self) -> None:
        """``pg_ctl stop -m immediate``: the server ends without a checkpoint and drops every connection."""
        command = shlex.split((self._data / "postmaster.opts").read_text())
        pid = int((self._data / "postmaster.pid").read_text().split()[0])
        postmaster = psutil.Process(pid)
        postmaster.send_signal(signal.SIGQUIT)
        limit = time.monotonic() + 20
        while postmaster.is_running() and postmaster.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > limit:
                raise RuntimeError("PostgreSQL did not end")
            time.sleep(0.005)
        self._command = command

    def start_again(self) -> None:
        """Recovery, then business as usual."""
        directory = Path(tempfile.mkdtemp(prefix="jido-pg-again-", dir="/tmp"))
        user = "nobody" if os.geteuid() == 0 else None
        server = servers.Server(directory, "SIGINT", self._command, user=user, log=self._first.log)
        self._again.append(server)
        server.wait_until(self._answers)
        self.restarts += 1

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        for server in reversed(self._again):
            server.stop()
        self._first.stop()


class PostgresDatabase(Database):
    vendor = "postgresql"
    leases = True

    def __init__(self, directory: Path, server: Postgres, name: str) -> None:
        super().__init__(directory)
        self.server = server
        self.name = name
        self._connection: psycopg.Connection[Any] | None = None

    @staticmethod
    def entry(server: Postgres, name: str, port: int) -> dict[str, Any]:
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": name,
            "USER": "postgres",
            "HOST": server.host,
            "PORT": str(port),
            "OPTIONS": {"sslmode": "disable", "gssencmode": "disable"},
        }

    def settings(self, port: int | None = None) -> dict[str, Any]:
        return self.entry(self.server, self.name, port or self.server.port)

    def ask(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            if self._connection is None or self._connection.closed:
                self._connection = self.server.connect(self.name)
            return self._connection.execute(sql.replace("?", "%s").encode(), parameters).fetchall()
        except psycopg.OperationalError:
            self._connection = self.server.connect(self.name)
            return self._connection.execute(sql.replace("?", "%s").encode(), parameters).fetchall()

    @contextmanager
    def row_taken(self, object_id: int, seq: int) -> Iterator[None]:
        """An uncommitted row at that place: whoever inserts one there waits in the server, with its lane locked."""
        with self.server.connect(self.name) as other:
            other.execute("BEGIN")
            other.execute(
                """INSERT INTO jido_journal (object_id, seq, epoch, digest, at, version, kind, own_id, call_id, method, delta, format)
                VALUES (%s, %s, 0, 0, now(), 0, 1, false, '', '', '[]', 1)""",
                [object_id, seq],
            )
            try:
                yield
            finally:
                other.execute("ROLLBACK")

    def appends_waiting(self) -> bool:
        """Whether a lane waits for a lock inside the server."""
        return bool(self.ask("SELECT 1 FROM pg_stat_activity WHERE starts_with(application_name, 'jido:') AND wait_event_type = 'Lock'"))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


# ---------------------------------------------------------------- a run's databases


class Databases:
    """Makes fresh databases; removes them all at the end."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="jido-faults-"))
        self._postgres: Postgres | None = None
        self._made: list[Database] = []

    def make(self, vendor: str) -> Database:
        directory = self._directory / f"{vendor}-{len(self._made)}"
        directory.mkdir()
        database: Database
        if vendor == "sqlite":
            database = SqliteDatabase(directory)
            _migrate(database.settings())
        else:
            self._postgres = self._postgres or Postgres()
            name = f"faults_{len(self._made)}"
            self._postgres.make(name)
            database = PostgresDatabase(directory, self._postgres, name)
        self._made.append(database)
        return database

    def close(self) -> None:
        for database in self._made:
            database.close()
        if self._postgres is not None:
            self._postgres.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Databases:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def until(ready: Any, what: str, seconds: float = 10.0, pause: float = 0.002) -> None:
    """Probe until it is so; raises ``TimeoutError`` with ``what``."""
    limit = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > limit:
            raise TimeoutError(f"{what} within {seconds} s")
        await asyncio.sleep(pause)
