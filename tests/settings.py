"""Django settings of the tests: SQLite as ``default``, a private PostgreSQL as ``postgres`` where there is one."""

from __future__ import annotations

import atexit
import importlib.util
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests import servers

SECRET_KEY = "a key for tests, of no use anywhere else"
DEBUG = False
USE_TZ = True
ROOT_URLCONF = "tests.urls"
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "jido_objects"]
if importlib.util.find_spec("tests.app") is not None:
    INSTALLED_APPS.append("tests.app")

# One directory per run, shared with the processes that a test starts, removed by the process that made it.
if "JIDO_TEST_DATA" not in os.environ:
    os.environ["JIDO_TEST_DATA"] = tempfile.mkdtemp(prefix="jido-test-")
    atexit.register(servers.remove, Path(os.environ["JIDO_TEST_DATA"]), os.getpid())
DATA = Path(os.environ["JIDO_TEST_DATA"])

DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(DATA / "db.sqlite3"),
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 10, "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL"},
        "TEST": {"NAME": str(DATA / "test.sqlite3")},
    }
}
# Only a test run starts servers; mypy and makemigrations read these settings too.
_url = servers.postgres_url() if "pytest" in sys.modules else os.environ.get(servers.POSTGRES_URL)
if _url:
    DATABASES["postgres"] = servers.database(_url)
