"""The example project's settings on a database file of the test run, shared with the servers that the tests start."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

if "TOUR_TEST_DATA" not in os.environ:
    os.environ["TOUR_TEST_DATA"] = tempfile.mkdtemp(prefix="tour-test-")
    atexit.register(shutil.rmtree, os.environ["TOUR_TEST_DATA"], ignore_errors=True)

os.environ["DATABASE_URL"] = f"sqlite:///{Path(os.environ['TOUR_TEST_DATA']) / 'tour.sqlite3'}"

from tour_site.settings import *  # noqa: F403
from tour_site.settings import DATABASES

DATABASES["default"]["TEST"] = {"NAME": str(Path(os.environ["TOUR_TEST_DATA"]) / "test.sqlite3")}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
