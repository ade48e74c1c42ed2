"""A host process as the supervisor holds it: start, call, freeze, kill."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from .databases import ROOT, Database, PostgresDatabase, environment, until
from .proxy import Proxy

Reply = dict[str, Any]


class Gone(Exception):
    """The process ended before it answered."""


class HostProcess:
    """One slot for a host: the process in it may die and be started again, the proxy stays."""

    def __init__(self, name: str, database: Database, lease: float, mutant: str | None = None, **objects: Any) -> None:
        self.name = name
        self.database = database
        self.objects = {"LEASE_SECONDS": lease, **objects}
        """Its ``JIDO_OBJECTS``."""
        self.mutant = mutant
        self.proxy: Proxy | None = None
        self.log: Path = database.directory / f"{name}.log"
        self.struck: Counter[str] = Counter()
        """Points at which its processes were struck."""
        self.frozen = False
        self.starts = 0
        self.answers = 0
        """Everything that came back, so that a probe can see that nothing did."""
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._waiting: dict[int, asyncio.Future[Reply]] = {}
        self._events = -1
        self._number = 0
        self.ended = asyncio.Event()
        self.ended.set()
        self.signalled = asyncio.Event()
        """Set when a point was reached that was armed; cleared by ``arm``."""

    # -------------------------------------------------------------------------------------------- its life

    async def start(self) -> None:
        """Start a process and wait until it listens."""
        assert self.ended.is_set()
        if self.proxy is None and isinstance(self.database, PostgresDatabase):
            self.proxy = Proxy(self.database.server.host, self.database.server.port)
            await self.proxy.start()
        ours, theirs = socket.socketpair()
        self._events, told = os.pipe()
        os.set_blocking(self._events, False)
        command = [sys.executable, "-m", "tests.faults.worker", "serve", str(theirs.fileno()), str(told)]
        settings = self.database.settings(self.proxy.port if self.proxy else None)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, self.mutant] if self.mutant else command,
                env=environment(settings, self.objects),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(theirs.fileno(), told),
                start_new_session=True,
            )
        theirs.close()
        os.close(told)
        self.ended = asyncio.Event()
        self.signalled = asyncio.Event()
        self.starts += 1
        reader, self._writer = await asyncio.open_connection(sock=ours, limit=2**22)
        loop = asyncio.get_running_loop()
        self._waiting[0] = loop.create_future()
        self._waiting[0].add_done_callback(lambda future: future.cancelled() or future.exception())
        loop.add_reader(self._events, self._told)
        self._reader = asyncio.create_task(self._read(reader))
        try:
            await asyncio.wait_for(asyncio.shield(self._waiting[0]), 60)
        except Gone:
            raise RuntimeError(f"{self.name} did not start:\n{self.log_text()}") from None

    @property
    def alive(self) -> bool:
        """Whether there is a process that listens."""
        return not self.ended.is_set() and 0 not in self._waiting

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def log_text(self, size: int = 4000) -> str:
        return self.log.read_text(errors="replace")[-size:] if self.log.exists() else ""

    async def _read(self, reader: asyncio.StreamReader) -> None:
        process, writer = self._process, self._writer
        assert process is not None
        assert writer is not None
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                if not line.endswith(b"\n"):
                    break  # it died in the middle of an answer, which so was never given
                reply = json.loads(line)
                self.answers += 1
                future = self._waiting.pop(reply["n"], None)
                if future is not None and not future.done():
                    future.set_result(reply)
        while process.poll() is None:
            await asyncio.sleep(0.001)
        self._told()
        asyncio.get_running_loop().remove_reader(self._events)
        os.close(self._events)
        writer.close()
        waiting, self._waiting = self._waiting, {}
        self.frozen = False
        self.ended.set()
        self.signalled.set()
        for future in waiting.values():
            if not future.done():
                future.set_exception(Gone(self.name))

    def _told(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._events, 4096):
                self.struck.update(data.decode().split())
                self.signalled.set()
                if len(data) < 4096:
                    return

    # -------------------------------------------------------------------------------------------- faults

    def kill(self) -> None:
        """``kill -9``."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    def freeze(self) -> None:
        self.frozen = True
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        self.frozen = False
        if self._process is not None and self._process.poll() is None:
            os.kill(self.pid, signal.SIGCONT)

    async def stopped(self, seconds: float = 5.0) -> None:
        """Until the operating system says that it stands still."""
        process = psutil.Process(self.pid)
        await until(lambda: process.status() == psutil.STATUS_STOPPED, f"{self.name} did not freeze", seconds)
        self.frozen = True

    async def end(self) -> None:
        """Kill it and wait until it is gone."""
        self.kill()
        await self.ended.wait()

    async def close(self) -> None:
        await self.end()
        if self._reader is not None:
            await self._reader
        if self.proxy is not None:
            await self.proxy.close()

    # -------------------------------------------------------------------------------------------- commands

    def send(self, do: str, **command: Any) -> asyncio.Future[Reply]:
        """Send a command; the future ends with its reply, or with ``Gone``."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        if self.ended.is_set() or self._writer is None or self._writer.is_closing():
            future.set_exception(Gone(self.name))
            return future
        self._number += 1
        self._waiting[self._number] = future
        self._writer.write(json.dumps({"n": self._number, "do": do, **command}).encode() + b"\n")
        return future

    def call(
        self, key: str, method: str, args: list[Any], call_id: str | None = None, timeout: float = 5.0, **how: bool
    ) -> asyncio.Future[Reply]:
        """``how``: ``confirmed`` for a read that asks the database, ``thread`` for a blocking call."""
        return self.send("call", key=key, method=method, args=args, id=call_id, timeout=timeout, **how)

    async def ask(self, do: str, seconds: float = 20.0, **command: Any) -> Any:
        """Send a command that must succeed; returns its result."""
        reply = await asyncio.wait_for(self.send(do, **command), seconds)
        if "ok" not in reply:
            raise RuntimeError(f"{self.name}: {do} failed: {reply}")
        return reply["ok"]

    async def arm(self, point: str, action: str, count: int = 1) -> None:
        self.signalled.clear()
        await self.ask("arm", point=point, action=action, count=count)

    async def reached(self, seconds: float = 5.0) -> None:
        """Until an armed point was reached, or the process has ended."""
        try:
            await asyncio.wait_for(self.signalled.wait(), seconds)
        except TimeoutError:
            raise TimeoutError(f"{self.name} did not reach the armed point within {seconds} s") from None

    async def stop(self) -> None:
        """The host ends as it should: buries itself, then leaves."""
        started = time.monotonic()
        with contextlib.suppress(Gone):
            await self.send("stop")
        await asyncio.wait_for(self.ended.wait(), max(1.0, 20 - (time.monotonic() - started)))
