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

# One directory per run, shared with the processes that a test starts, removed by the process that made it. mypy,
# makemigrations and the like read these settings too, and some end without cleaning up: they share one that stays.
_run = "pytest" in sys.modules
if "JIDO_TEST_DATA" in os.environ:
    DATA = Path(os.environ["JIDO_TEST_DATA"])
elif _run:
    DATA = Path(tempfile.mkdtemp(prefix="jido-test-"))
    os.environ["JIDO_TEST_DATA"] = str(DATA)
    atexit.register(servers.remove, DATA, os.getpid())
else:
    DATA = Path(tempfile.gettempdir()) / f"jido-test-{os.getuid()}"
    DATA.mkdir(exist_ok=True)

DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(DATA / "db.sqlite3"),
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 10, "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL"},
        "TEST": {"NAME": str(DATA / "test.sqlite3")},
    }
}
_url = servers.postgres_url() if _run else os.environ.get(servers.POSTGRES_URL)
if _url:
    DATABASES["postgres"] = servers.database(_url)
