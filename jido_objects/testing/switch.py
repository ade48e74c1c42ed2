"""Which runtime a call goes to in a test run: the test's own (``InlineProcess``) where the test has a transaction open, else
the process's, as in production.

Production never comes here: calls are looked at one by one only in a test run (``environment``), and a call goes to a test's
own runtime only while the outermost ``atomic()`` block of its thread's connection is one that ``TestCase`` has opened, which
Django marks.

*One test, one host.* A test is known by the blocks that ``TestCase`` opened for it. When they are others than those that a
host was made for, its transaction is over: the host is dropped with all that it had in memory.

*Blocks of the test's own.* What a call wrote inside an ``atomic()`` block that was then rolled back is gone. So, whenever
such a block has been left, what the host has in memory is compared with the database.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from asyncio.events import _get_running_loop
from typing import Any
from weakref import WeakKeyDictionary

from django.db.backends.base.base import BaseDatabaseWrapper

from .. import conf, process
from ..activation import Status
from ..conf import Settings
from ..errors import ConfigurationError, StoreError
from ..host import Host
from ..process import Process
from ..runtime import Runtime
from .blocks import blocks_of_testcase, connection_of_thread
from .carrier import Carrier
from .clock import CLOCK
from .inline import InlineProcess


class _Test:
    """A test with a transaction, and its host."""

    def __init__(self, connection: BaseDatabaseWrapper, blocks: list[Any], settings: Settings) -> None:
        self.connection = connection
        self.blocks = blocks
        self.pid = os.getpid()
        self.process = InlineProcess(settings, CLOCK, connection)
        self._savepoints: list[Any] = []

    def is_over(self) -> bool:
        return self.pid != os.getpid() or blocks_of_testcase(self.connection)[: len(self.blocks)] != self.blocks

    def look_after_blocks(self) -> None:
        """Before a call: forget what a block took back, if one has been left since the last call."""
        savepoints, before = list(self.connection.savepoint_ids), self._savepoints
        self._savepoints = savepoints
        host = self.process.host
        if host is not None and savepoints[: len(before)] != before:
            self.process.before_the_next_call(_forget_what_is_gone(host))


async def _forget_what_is_gone(host: Host) -> None:
    # That its term may be gone with the block a host learns by itself, at its next write.
    live = [activation for activation in host.activations.values() if activation.status is Status.LIVE and activation.object_id]
    try:
        heads = [(loaded.head_seq, loaded.head_epoch) for loaded in await host.store.load([one.object_id or 0 for one in live])]
    except StoreError:
        heads = [(-1, -1) for _ in live]
    for activation, head in zip(live, heads, strict=True):
        if head != (activation.head_seq, activation.head_epoch):
            host.drop(activation, "an atomic() block of the test took back what it had written")


_tests: dict[int, _Test] = {}
"""By the identity of their connection."""
_carriers: WeakKeyDictionary[asyncio.AbstractEventLoop, Carrier] = WeakKeyDictionary()


def choose() -> Runtime:
    """The runtime for a call from this thread."""
    settings = conf.read()
    connection = connection_of_thread(settings.DATABASE)
    blocks = blocks_of_testcase(connection)
    if blocks:
        return _of_test(connection, blocks, settings)
    loop = _get_running_loop()
    if loop is None:
        return _own(connection)
    running = process.running()
    if running is not None and loop is running.loop:
        return running
    carrier = _carriers.get(loop)
    if carrier is None or (carrier.direct is not None and carrier.direct.stopped):
        carrier = _carriers[loop] = Carrier(settings, CLOCK, _there)
    return carrier.direct or carrier


def _there() -> Process:
    """The runtime for a call that a carrier brings to this thread."""
    found = choose()
    assert isinstance(found, Process)
    return found


def _of_test(connection: BaseDatabaseWrapper, blocks: list[Any], settings: Settings) -> Process:
    test = _tests.get(id(connection))
    if test is not None and (test.connection is not connection or test.blocks != blocks or test.process.settings != settings):
        if test.process.loop.is_running():
            return test.process
        _end(id(connection), anew=test.blocks != blocks)
        test = None
    if test is None:
        _sweep()
        test = _tests[id(connection)] = _Test(connection, blocks, settings)
    test.look_after_blocks()
    return test.process


def _end(key: int, *, anew: bool) -> None:
    _tests.pop(key).process.stop()
    if anew:
        CLOCK.reset()


def _sweep() -> None:
    for key, test in list(_tests.items()):
        if test.is_over():
            _end(key, anew=True)


def _own(connection: BaseDatabaseWrapper) -> Process:
    running = process.running()
    if running is not None:
        return running
    _sweep()
    if _tests:
        raise ConfigurationError(
            "A TestCase has its transaction open on another thread, and objects live in it: this thread cannot call them. For tests "
            "that call from several threads use TransactionTestCase, or django_db(transaction=True)."
        )
    if threading.current_thread() is threading.main_thread():
        _refuse_where_the_test_may_not(connection)
    return process.own(CLOCK)


def _refuse_where_the_test_may_not(connection: BaseDatabaseWrapper) -> None:
    """Let Django or pytest-django say that this test may not use the database. They guard their own connections only, and the
    host would open its own: to the developer's real database, where no test database was made."""
    for guarded in (connection.ensure_connection, connection.connect):
        if type(guarded).__name__ == "_DatabaseFailure" or str(getattr(guarded, "__module__", "")).startswith("pytest_django"):
            guarded()


def flushed(using: str, **kwargs: Any) -> None:
    """A database was flushed, as after each ``TransactionTestCase``: no object that a host remembers is there any more."""
    running = process.running()
    if running is not None and using == running.settings.DATABASE:
        process.stop()
        CLOCK.reset()


@atexit.register
def _exit() -> None:
    for key in list(_tests):
        _end(key, anew=True)
