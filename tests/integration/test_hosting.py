"""What is in memory, and what leaves it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from jido_objects import DurableObject, process
from jido_objects.errors import DefinitionError
from jido_objects.models import Object, Snapshot
from tests.app.objects import Born, Counter, Sale


def _in_memory() -> set[str]:
    running = process.running()
    assert running is not None
    assert running.host is not None
    return {key for _, key in list(running.host.activations)}


def _await(probe: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_least_recently_used_leave_first(database: str, settings: Any) -> None:
    settings.JIDO_OBJECTS = {**settings.JIDO_OBJECTS, "MAX_ACTIVATIONS": 10}
    for n in range(10):
        Counter.at(n).call(Counter.add)
    Counter.at(0).call(Counter.add)
    for n in range(10, 15):
        Counter.at(n).call(Counter.add)
    assert len(_in_memory()) <= 10
    assert {"0", "14"} <= _in_memory()
    assert "1" not in _in_memory()
    assert [Counter.at(n).get("value") for n in range(15)] == [2] + [1] * 14


def test_an_idle_object_hibernates_and_thaws(database: str) -> None:
    class Napper(DurableObject):
        n: int = 0

        def add(self) -> int:
            self.n += 1
            return self.n

        class Meta:
            idle_seconds = 0.2

    try:
        for n in range(1, 21):
            assert Napper.at("a").call(Napper.add) == n
        Counter.at("b").call(Counter.add)
        _await(lambda: "a" not in _in_memory())
        assert "b" in _in_memory()
        row = Object.objects.using(database).get(key="a")
        _await(lambda: Snapshot.objects.using(database).filter(object_id=row.pk, seq=20).exists())
        owner, epoch = row.owner, row.epoch
        assert Napper.at("a").call(Napper.add) == 21
        row.refresh_from_db()
        assert row.owner == owner
        assert row.epoch == epoch + 1
    finally:
        type(Napper._jido_definition).registry.pop(Napper._jido_definition.label)


def test_hooks_run_again_at_each_thaw(database: str) -> None:
    Born.at("a").call(Born.set_limit, 1)
    running = process.running()
    assert running is not None
    assert running.host is not None
    for _ in range(2):
        activation = running.host.activations["app.Born", "a"]
        running.loop.call_soon_threadsafe(running.host.hibernate, activation)
        _await(lambda: "a" not in _in_memory())
        assert Born.at("a").get("story") == (1, 1)


def test_undeclared_attributes_and_writes_from_outside() -> None:
    with pytest.raises(DefinitionError, match="belongs to DurableObject"):

        class Bad(DurableObject):
            key: str = ""

    with pytest.raises(DefinitionError, match="annotation"):

        class Undeclared(DurableObject):
            items = []

    with pytest.raises(DefinitionError, match="on_create"):

        class Constructed(DurableObject):
            def __init__(self) -> None: ...

    with pytest.raises(DefinitionError, match="did you mean 'version'"):

        class Misspelt(DurableObject):
            class Meta:
                versoin = 2

    with pytest.raises(RuntimeError, match=r"Sale\.at\(key\)"):
        Sale()


def test_options_are_inherited() -> None:
    class Base(DurableObject):
        n: int = 0

        class Meta:
            abstract = True
            max_mailbox = 5

    class Child(Base):
        class Meta:
            turn_timeout = 2.0

    options = Child._jido_definition.options
    assert (options.max_mailbox, options.turn_timeout, options.abstract) == (5, 2.0, False)
    assert "test_hosting.Base" not in type(Child._jido_definition).registry
    type(Child._jido_definition).registry.pop(Child._jido_definition.label)


_MANAGE = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""
_SETTINGS = """
from pathlib import Path
SECRET_KEY = "x"
DEBUG = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "site_urls"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "jido_objects", "shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(Path(__file__).parent / "db.sqlite3"),
    "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 10, "init_command": "PRAGMA journal_mode=WAL"}}}
JIDO_OBJECTS = {"LEASE_SECONDS": 60.0}
"""
_URLS = """
import os
from django.http import HttpResponse
from django.urls import path
from shop.objects import Visits
urlpatterns = [path("", lambda request: HttpResponse(f"{os.getpid()} {Visits.at('all').call(Visits.visit)}"))]
"""
_OBJECTS = """
from jido_objects import DurableObject
class Visits(DurableObject):
    n: int = 0
    def visit(self) -> int:
        self.n += 1
        return self.n
"""


def test_the_dev_server_reloads_without_waiting_for_a_lease(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    files = {
        "manage.py": _MANAGE,
        "site_settings.py": _SETTINGS,
        "site_urls.py": _URLS,
        "shop/__init__.py": "",
        "shop/objects.py": _OBJECTS,
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    env = {**os.environ, "PYTHONPATH": f"{Path(__file__).parents[2]}{os.pathsep}{tmp_path}", "PYTHONUNBUFFERED": "1"}
    env.pop("DJANGO_SETTINGS_MODULE", None)
    manage = [sys.executable, "manage.py"]
    subprocess.run([*manage, "migrate", "-v0"], cwd=tmp_path, env=env, check=True)
    server = subprocess.Popen(
        [*manage, "runserver", f"127.0.0.1:{port}"],
        cwd=tmp_path,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def visit() -> tuple[int, int] | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as response:
                pid, count = response.read().split()
                return int(pid), int(count)
        except OSError:
            return None

    try:
        _await(visit)
        before = visit()
        assert before is not None
        after: list[tuple[int, int]] = []

        def reloaded() -> bool:
            # Again and again: a reloader that has only begun to look takes what it first sees for the old version.
            (tmp_path / "shop" / "objects.py").write_text(f"{_OBJECTS}\n# changed at {time.monotonic()}\n")
            time.sleep(0.5)
            answer = visit()
            if answer is not None and answer[0] != before[0]:
                after.append(answer)
            return bool(after)

        _await(reloaded, 30)
        assert after[0][1] > before[1]
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
