"""A site's tests run as its developer runs them: ``manage.py test`` and pytest, on every database that can hold objects."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from tests import plugin, servers

ROOT = Path(__file__).parents[2]
SITE = Path(__file__).parent / "site"
DATABASES = ["memory", "file"] + ["postgresql"] * ("postgres" in settings.DATABASES)
_numbers = itertools.count(1)


def run(database: str, data: Path, *words: str) -> str:
    dropped = ("DJANGO_", "JIDO_", "PYTEST_", "COV_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(dropped)} | {
        "SITE_DATABASE": servers.postgres_url() or "" if database == "postgresql" else database,
        "SITE_DATA": str(data),
        "SITE_NUMBER": f"{os.getpid()}_{next(_numbers)}",
        "DJANGO_SETTINGS_MODULE": "settings",
        "PYTHONPATH": os.pathsep.join([str(SITE), str(ROOT)]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run([sys.executable, "-W", "error", *words], cwd=SITE, env=environment, capture_output=True, text=True, timeout=150)
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    return printed


@pytest.mark.parametrize("database", DATABASES)
def test_manage_py_test(database: str, tmp_path: Path) -> None:
    printed = run(database, tmp_path, "manage.py", "test", "--noinput")
    ran = re.search(r"Ran (\d+) tests", printed)
    assert ran is not None, printed
    assert int(ran[1]) > 40


@pytest.mark.parametrize("database", DATABASES)
def test_manage_py_test_in_parallel(database: str, tmp_path: Path) -> None:
    assert "OK" in run(database, tmp_path, "manage.py", "test", "--noinput", "--parallel", "2")


@pytest.mark.parametrize("database", DATABASES)
def test_pytest(database: str, tmp_path: Path) -> None:
    loaded = [] if plugin.is_installed() else ["-p", plugin.NAME]
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "pytest.ini", *loaded, "test_fixtures.py", "shop/tests.py"]
    assert "passed" in run(database, tmp_path, *words)


_OUTSIDE = """
import sys
import django
django.setup()
import django.test
from django.core.management import call_command
from django.db import connection, transaction
from jido_objects import process
from jido_objects.errors import BlockingCall
from shop.objects import Counter

call_command("migrate", verbosity=0)
assert Counter.at("a").call(Counter.add) == 1
assert process.running() is process.current()
with transaction.atomic():
    connection.atomic_blocks[0]._from_testcase = True
    try:
        Counter.at("a").call(Counter.add)
    except BlockingCall:
        print("refused as ever")
assert "jido_objects.testing.switch" not in sys.modules
"""


def test_outside_of_a_test_run_nothing_of_it_is_used(tmp_path: Path) -> None:
    assert "refused as ever" in run("file", tmp_path, "-c", _OUTSIDE)
