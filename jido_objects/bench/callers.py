"""Closed-loop load: so many callers, each with one call under way, until the time is up."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

from django.db import OperationalError, connections

from .. import process
from .stats import Run


class Threads:
    """Threads that stay, each with the database connections it has opened."""

    def __init__(self, count: int, call: Callable[[], object]) -> None:
        self.count = count
        self._call = call
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="jido-bench")
        self._until = 0.0

    def run(self, seconds: float) -> Run:
        """Let every thread call until the time is up."""
        return self._together(self._work, seconds)

    def once(self, what: Callable[[], object]) -> None:
        """Every thread does something once."""

        def work() -> list[float]:
            what()
            return []

        self._together(work, 0.0)

    def _together(self, work: Callable[[], list[float]], seconds: float) -> Run:
        start = threading.Barrier(self.count + 1)

        def begin() -> list[float]:
            start.wait()
            return work()

        futures = [self._pool.submit(begin) for _ in range(self.count)]
        try:
            began = perf_counter()
            self._until = began + seconds
            start.wait()
            latencies = [latency for future in futures for latency in future.result()]
        except BaseException:
            # Ctrl-C, or a call that failed: the others end after the call they are in.
            self._until = 0.0
            start.abort()
            raise
        return Run(len(latencies), perf_counter() - began, latencies)

    def _work(self) -> list[float]:
        call, latencies = self._call, []
        begun = perf_counter()
        while begun < self._until:
            call()
            ended = perf_counter()
            latencies.append(ended - begun)
            begun = ended
        return latencies

    def close(self) -> None:
        """Close the threads' connections and end them."""
        with contextlib.suppress(threading.BrokenBarrierError):
            self.once(connections.close_all)
        self._pool.shutdown()


class Tasks:
    """Coroutines on a loop of this thread, as an ASGI server has them: not the host's loop."""

    def __init__(self, count: int, call: Callable[[], Awaitable[object]]) -> None:
        self.count = count
        self._call = call
        self._runner = asyncio.Runner()

    def run(self, seconds: float) -> Run:
        """Let every task call until the time is up."""
        return self._runner.run(self._all(seconds))

    async def _all(self, seconds: float) -> Run:
        latencies: list[float] = []
        began = perf_counter()
        until = began + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(self.count):
                group.create_task(self._work(until, latencies))
        return Run(len(latencies), perf_counter() - began, latencies)

    async def _work(self, until: float, latencies: list[float]) -> None:
        call = self._call
        begun = perf_counter()
        while begun < until:
            await call()
            ended = perf_counter()
            latencies.append(ended - begun)
            begun = ended

    def close(self) -> None:
        """End the loop."""
        self._runner.close()


class One:
    """The calling thread itself, one call after another."""

    count = 1

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call

    def run(self, seconds: float) -> Run:
        """Call until the time is up."""
        call, latencies = self._call, []
        began = begun = perf_counter()
        until = began + seconds
        while begun < until:
            call()
            ended = perf_counter()
            latencies.append(ended - begun)
            begun = ended
        return Run(len(latencies), begun - began, latencies)

    def close(self) -> None:
        """Nothing to let go of."""


Callers = Threads | Tasks | One


def with_cpu(callers: Callers, seconds: float) -> Run:
    """Run, and note the CPU seconds of the host's thread and, where it is the caller's, of this one."""
    host = _clock_of(process.own().thread_id)
    mine, theirs = time.thread_time(), host()
    run = callers.run(seconds)
    run.extra = {"host_cpu": host() - theirs}
    if not isinstance(callers, Threads):
        run.extra["caller_cpu"] = time.thread_time() - mine
    return run


def _clock_of(thread_id: int | None) -> Callable[[], float]:
    if thread_id is None or not hasattr(time, "pthread_getcpuclockid"):
        return lambda: 0.0
    clock = time.pthread_getcpuclockid(thread_id)
    return lambda: time.clock_gettime(clock)


def patient(call: Callable[[], object]) -> Callable[[], object]:
    """Django's own advice for SQLite under many writers: try again when it is locked for too long."""

    def again() -> object:
        while True:
            try:
                return call()
            except OperationalError as error:
                if "locked" not in str(error):
                    raise

    return again
