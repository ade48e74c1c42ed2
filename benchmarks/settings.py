"""Django settings of the benchmarks: a private PostgreSQL with fsync on, and a SQLite file. Importing them starts nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tests import servers

SECRET_KEY = "a key for benchmarks, of no use anywhere else"
DEBUG = False
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["jido_objects"]
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(Path(os.environ.get("JIDO_BENCH_DATA", "/nonexistent")) / "db.sqlite3"),
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 30, "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL"},
    }
}
if "JIDO_BENCH_URL" in os.environ:
    DATABASES["postgres"] = servers.database(os.environ["JIDO_BENCH_URL"])
LOGGING_CONFIG = None
