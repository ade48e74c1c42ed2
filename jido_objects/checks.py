"""System checks: what would break later, said before anything runs. Ids are documented in ``docs/reference/checks.md``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from . import conf
from .definition import Definition
from .errors import DefinitionError
from .options import did_you_mean

UNSUPPORTED = {"mysql": "MySQL", "oracle": "Oracle", "mssql": "SQL Server"}
"""By the last part of their ENGINE."""
SUPPORTED = {"postgresql": "PostgreSQL 15 or newer", "sqlite": "SQLite 3.37 or newer"}


def register() -> None:
    checks.register(check_settings, "jido_objects")
    checks.register(check_database, "jido_objects")
    checks.register(check_workers, "jido_objects")
    checks.register(check_types, "jido_objects")


def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """E002: a setting that does not exist or has an impossible value."""
    found = conf.problems(getattr(settings, conf.NAME, {}))
    return [checks.Error(problem, hint=f"The keys of {conf.NAME} are {', '.join(conf.KEYS)}.", id="jido_objects.E002") for problem in found]


def check_database(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """E003: a database that cannot hold objects. E005: no such alias. W002: SQLite without IMMEDIATE or WAL. W003: SQLite with
    ATOMIC_REQUESTS."""
    given = getattr(settings, conf.NAME, {})
    alias = given.get("DATABASE", "default") if isinstance(given, dict) else "default"
    if not isinstance(alias, str) or alias not in settings.DATABASES:
        hint = f"The aliases are {', '.join(settings.DATABASES)}{did_you_mean(alias, settings.DATABASES)}."
        return [checks.Error(f"{conf.NAME}['DATABASE'] names {alias!r}, which is not in DATABASES.", hint=hint, id="jido_objects.E005")]
    try:
        connection = connections[alias]
    except (ImproperlyConfigured, ImportError):
        # Its driver is not installed, and need not be: nothing of it could hold objects.
        engine = str(settings.DATABASES[alias].get("ENGINE", "")).rpartition(".")[2]
        if engine in UNSUPPORTED:
            return [_unsupported(alias, UNSUPPORTED[engine])]
        raise
    if connection.vendor not in SUPPORTED:
        return [_unsupported(alias, connection.display_name)]
    if connection.vendor == "sqlite":
        return _check_sqlite(alias, connection.settings_dict)
    return []


def _unsupported(alias: str, name: str) -> checks.CheckMessage:
    return checks.Error(
        f"Database {alias!r} is {name}, which cannot hold durable objects.",
        hint=f"Supported are {' and '.join(SUPPORTED.values())}; {conf.NAME}['DATABASE'] may name another alias than 'default'.",
        id="jido_objects.E003",
    )


def _check_sqlite(alias: str, database: dict[str, Any]) -> list[checks.CheckMessage]:
    found: list[checks.CheckMessage] = []
    if database.get("ATOMIC_REQUESTS"):
        using = "" if alias == "default" else f"(using={alias!r})"
        found.append(
            checks.Warning(
                f"SQLite database {alias!r} has ATOMIC_REQUESTS: in its views every call of an object is refused, since it would wait for "
                f"the request's own transaction.",
                hint=f"Decorate the views that call objects with @transaction.non_atomic_requests{using}, or set ATOMIC_REQUESTS to False.",
                id="jido_objects.W003",
            )
        )
    options = database.get("OPTIONS", {})
    missing = []
    if str(options.get("transaction_mode", "")).upper() != "IMMEDIATE":
        missing.append('"transaction_mode": "IMMEDIATE"')
    if "wal" not in str(options.get("init_command", "")).lower():
        missing.append('"init_command": "PRAGMA journal_mode=WAL;"')
    if missing:
        found.append(
            checks.Warning(
                f"SQLite database {alias!r} is not set up for concurrent writers: your own queries may fail with 'database is locked'.",
                hint=f"Add to DATABASES[{alias!r}]['OPTIONS']: {', '.join(missing)}.",
                id="jido_objects.W002",
            )
        )
    return found


def check_workers(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """E004: gevent has replaced the threads that the host needs."""
    module = sys.modules.get("gevent.monkey")
    if module is None or not module.is_module_patched("threading"):
        return []
    return [
        checks.Error(
            "gevent has patched threading; the host of durable objects needs real threads.",
            hint="Use sync, threaded or ASGI workers: gunicorn -k gthread, gunicorn -k uvicorn_worker.UvicornWorker, uvicorn, granian.",
            id="jido_objects.E004",
        )
    ]


def check_types(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """E006: an object type whose methods cannot be set up."""
    found: list[checks.CheckMessage] = []
    for definition in Definition.registry.values():
        try:
            definition.check()
        except DefinitionError as error:
            found.append(checks.Error(str(error), obj=definition.cls, id="jido_objects.E006"))
    return found
