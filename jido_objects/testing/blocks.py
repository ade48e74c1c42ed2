"""The connection of a test, and which ``atomic()`` blocks are the test's own transaction: Django marks those of ``TestCase``."""

from __future__ import annotations

from asyncio.events import _get_running_loop, _set_running_loop
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper


@contextmanager
def no_running_loop() -> Iterator[None]:
    """As if no event loop ran on this thread: between two steps of the one that does, or where its steps wait for us."""
    outer = _get_running_loop()
    _set_running_loop(None)
    try:
        yield
    finally:
        _set_running_loop(outer)


def connection_of_thread(alias: str) -> BaseDatabaseWrapper:
    """This thread's connection. Under a running loop Django would give each task another one."""
    with no_running_loop():
        return connections[alias]


def blocks_of_testcase(connection: BaseDatabaseWrapper) -> list[Any]:
    """The blocks that ``TestCase`` has opened on this connection, the outermost first; none if the outermost is another's."""
    blocks: list[Any] = connection.atomic_blocks
    if not blocks or not blocks[0]._from_testcase:
        return []
    return [block for block in blocks if block._from_testcase]
