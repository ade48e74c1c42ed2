"""The store behind a Django database alias."""

from __future__ import annotations

from django.db import connections
from django.db.backends.sqlite3.base import DatabaseWrapper as SQLite

from ..errors import UnsupportedDatabase
from .protocol import Store


def open_store(alias: str = "default", *, timeout: float = 10.0) -> Store:
    """The store of a database alias, not yet connected: ``await store.open()`` on the loop that will use it.

    Copies the alias's settings as they are now; Django's own connections are neither used nor made. Raises
    ``UnsupportedDatabase``.
    """
    connection = connections[alias]
    if connection.vendor == "postgresql":
        try:
            from .postgresql import PostgresStore
        except ImportError as error:
            raise UnsupportedDatabase(
                f"Database {alias!r} is PostgreSQL, and its objects need psycopg 3: pip install 'psycopg[binary]'."
            ) from error

        role = connection.settings_dict["OPTIONS"].get("assume_role")
        return PostgresStore(connection.get_connection_params(), alias=alias, role=role, timeout=timeout)
    if isinstance(connection, SQLite):
        if connection.is_in_memory_db():
            raise UnsupportedDatabase(
                f"Database {alias!r} is SQLite in memory, which only one connection can see: objects live there inside a TestCase "
                f"(or pytest's django_db), and nowhere else. Give it a file; for tests with transaction=True, or TransactionTestCase, "
                f"that is DATABASES[{alias!r}]['TEST'] = {{'NAME': BASE_DIR / 'test.sqlite3'}}."
            )
        from .sqlite import SqliteStore

        parameters = connection.get_connection_params()
        return SqliteStore(
            parameters, alias=alias, commands=connection.settings_dict["OPTIONS"].get("init_command", "").split(";"), timeout=timeout
        )
    raise UnsupportedDatabase(
        f"Database {alias!r} is {connection.display_name}. Objects need PostgreSQL 15 or newer, or SQLite 3.37 or newer: "
        f"add such an alias and name it in JIDO_OBJECTS['DATABASE']."
    )
