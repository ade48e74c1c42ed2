"""The demo and the other commands of the example project, as processes of their own on a database of their own."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MANAGE = ROOT / "example_project" / "manage.py"


def environment(directory: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("DJANGO_SETTINGS_MODULE", "DATABASE_URL")}
    return kept | {"DATABASE_URL": f"sqlite:///{directory / 'tour.sqlite3'}", "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}


def manage(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, str(MANAGE), *arguments], env=environment(directory), capture_output=True, text=True, timeout=150, check=False
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def demo(directory: Path, port: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running demo and what it printed at its start."""
    process = subprocess.Popen(
        [sys.executable, str(MANAGE), "demo", "--port", str(port)],
        env=environment(directory),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout
    try:
        banner = []
        for line in process.stdout:
            banner.append(line)
            if "Ctrl-C" in line:
                break
        else:
            raise AssertionError("".join(banner))
        yield process, "".join(banner)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


def page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=20) as response:
        return str(response.read().decode())
