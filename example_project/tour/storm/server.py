"""A server of the storm's own, in a child process that can be killed without warning and started again."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from pathlib import Path

from .client import Connection, NoAnswer
from .load import StormError

MANAGE = Path(__file__).resolve().parents[2] / "manage.py"
HOST = "127.0.0.1"
START_SECONDS = 60.0


class Server:
    """``manage.py demo --bare`` on a free port of loopback; the same port after each start."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self.port: int = probe.getsockname()[1]
        self.kills = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> tuple[str, int]:
        return HOST, self.port

    async def start(self) -> None:
        """Return when it answers."""
        command = [sys.executable, str(MANAGE), "demo", "--bare", "--port", str(self.port)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        connection = Connection(HOST, self.port, 1.0)
        try:
            while time.monotonic() < deadline:
                if self._process.poll() is not None:
                    raise StormError(f"The server ended by itself with exit code {self._process.returncode}; its messages are above.")
                with contextlib.suppress(NoAnswer):
                    if (await connection.get("/healthz"))[0] == 200:
                        return
                await asyncio.sleep(0.05)
        finally:
            connection.close()
        raise StormError(f"The server did not answer within {START_SECONDS:.0f} s.")

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, nothing is said."""
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
            self.kills += 1

    def stop(self) -> None:
        """Ask it to end, and insist after a while."""
        if self._process and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
