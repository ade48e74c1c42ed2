"""The example's own tests pass, as its developer runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2] / "example_project"


def test_manage_py_test() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "TOUR_", "PYTEST_", "DATABASE_"))}
    environment["PYTHONPATH"] = str(PROJECT.parent)
    words = [sys.executable, "-W", "error", "manage.py", "test"]
    done = subprocess.run(words, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Found 8 test(s)" in done.stdout + done.stderr
