"""One host process: executes the calls that the supervisor sends over a socket, and reports every answer.

``python -m tests.faults.worker serve SOCKET EVENTS [MUTANT]``, with two inherited descriptors; ``… migrate`` makes the tables.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import django

from tests.faults.points import Points, wrap_postgresql, wrap_sqlite

PR_SET_PDEATHSIG = 1


class Worker:
    def __init__(self, points: Points, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._points = points
        self._reader = reader
        self._writer = writer
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(64)

    async def run(self) -> None:
        from jido_objects import process

        while line := await self._reader.readline():
            command = json.loads(line)
            if command["do"] == "stop":
                await asyncio.get_running_loop().run_in_executor(None, process.stop)
                self._tell({"n": command["n"], "ok": None})
                await self._writer.drain()
                return
            if command["do"] == "arm":
                # At once: a call that was sent after it must find the point armed.
                self._points.arm(command["point"], command["count"], command["action"])
                self._tell({"n": command["n"], "ok": None})
                continue
            task = asyncio.create_task(self._execute(command))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _tell(self, reply: dict[str, Any]) -> None:
        self._writer.write(json.dumps(reply).encode() + b"\n")

    async def _execute(self, command: dict[str, Any]) -> None:
        from jido_objects.errors import JidoError, ObjectException

        reply: dict[str, Any] = {"n": command["n"]}
        try:
            reply["ok"] = await getattr(self, command["do"])(command)
        except ObjectException as error:
            reply["refused"] = list(error.args)
        except JidoError as error:
            reply |= {"error": type(error).__name__, "text": str(error), "applied": error.applied, "retryable": error.retryable}
        self._tell(reply)

    async def call(self, command: dict[str, Any]) -> Any:
        from tests.faults.objects import Ledger

        ref = Ledger.at(command["key"]).using(timeout=command["timeout"], call_id=command.get("id"), confirmed=command.get("confirmed"))
        if command.get("thread"):
            return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: ref.call(command["method"], *command["args"]))
        return await ref.acall(command["method"], *command["args"])

    async def peek(self, command: dict[str, Any]) -> Any:
        from tests.faults.objects import Ledger

        return await Ledger.at(command["key"]).apeek()

    async def ping(self, command: dict[str, Any]) -> None:
        """Comes back after everything that the host's loop could have answered before."""
        from jido_objects import process

        async def turn_over(host: Any = None) -> None:
            for _ in range(10):
                await asyncio.sleep(0)

        # Calls leave this loop in bursts, and answers come back to it in bursts.
        await turn_over()
        await process.current().ask(turn_over)
        await turn_over()

    async def quiet(self, command: dict[str, Any]) -> None:
        """Comes back when nothing is left to write, what was cast by then included."""
        from jido_objects import process

        async def settled(host: Any) -> None:
            for _ in range(20):
                await asyncio.sleep(0)
                await host.pipeline.quiet()

        await process.current().ask(settled)

    async def hibernate(self, command: dict[str, Any]) -> int:
        """Everything idle leaves memory, so that the next calls claim and thaw."""
        from jido_objects import process

        async def forget(host: Any) -> int:
            return sum(host.hibernate(activation) for activation in list(host.activations.values()))

        return await process.current().ask(forget)

    async def disarm(self, command: dict[str, Any]) -> None:
        self._points.disarm()


async def serve(descriptor: int, points: Points) -> None:
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=descriptor), limit=2**22)
    writer.write(b'{"n": 0, "ok": "ready"}\n')
    await Worker(points, reader, writer).run()


def main() -> None:
    if sys.argv[1] == "migrate":
        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0, run_syncdb=True)
        return
    # However the supervisor ends, its hosts end with it, the frozen ones too.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    descriptor, events = int(sys.argv[2]), int(sys.argv[3])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    points = Points(events)
    django.setup()
    from django.db import connection

    (wrap_postgresql if connection.vendor == "postgresql" else wrap_sqlite)(points)
    if len(sys.argv) > 4:
        from tests.faults.mutants import MUTANTS, VARIANTS

        (MUTANTS | VARIANTS)[sys.argv[4]]()
    asyncio.run(serve(descriptor, points))
    # Not the interpreter's way out: what a host leaves undone at its end is the business of another test.
    os._exit(0)


if __name__ == "__main__":
    main()
