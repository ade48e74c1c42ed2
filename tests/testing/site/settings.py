"""A small site. ``SITE_DATABASE`` says on what: ``memory``, ``file`` or the URL of a PostgreSQL."""

from __future__ import annotations

import os
from pathlib import Path

from tests import servers

SECRET_KEY = "a key for tests, of no use anywhere else"
USE_TZ = True
ROOT_URLCONF = "urls"
ALLOWED_HOSTS = ["testserver"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "jido_objects", "shop"]
LOGGING = {"version": 1, "disable_existing_loggers": False}

_data = Path(os.environ["SITE_DATA"])
_where = os.environ["SITE_DATABASE"]
if _where in ("memory", "file"):
    DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(_data / "db.sqlite3")}}
    if _where == "file":
        DATABASES["default"]["TEST"] = {"NAME": str(_data / "test.sqlite3")}
else:
    DATABASES = {"default": servers.database(_where)}
    DATABASES["default"]["TEST"] = {"NAME": f"site_{os.environ['SITE_NUMBER']}"}
