"""Batches that go wrong where a test wants it, and a hand inside the running host: the same on SQLite and PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

from jido_objects import process
from jido_objects.errors import OutcomeUnknown, StoreUnavailable
from jido_objects.host import Host
from jido_objects.stores.postgresql_writer import PostgresWriter
from jido_objects.stores.protocol import Append
from jido_objects.stores.sqlite_writer import SqliteWriter

HOW: dict[str, tuple[Exception, bool]] = {
    "refused": (StoreUnavailable("for the test"), False),
    "lost": (OutcomeUnknown("a batch", "for the test"), False),
    "landed": (OutcomeUnknown("a batch", "for the test"), True),
}
"""What becomes of a struck batch: what the host is told, and whether its rows are in the journal."""


@contextmanager
def struck(label: str, how: str, times: int = 1) -> Iterator[list[int]]:
    """The next batches with rows of that type fail; yields a list that grows with each strike."""
    error, landed = HOW[how]
    strikes: list[int] = []

    def striking(real: Callable[..., Any]) -> Callable[..., Any]:
        async def append(self: Any, batch: Sequence[Append]) -> Any:
            if len(strikes) >= times or not any(one.type == label for one in batch):
                return await real(self, batch)
            strikes.append(sum(len(one.entries) for one in batch))
            if landed:
                await real(self, batch)
            raise error

        return append

    with (
        mock.patch.object(SqliteWriter, "append", striking(SqliteWriter.append)),
        mock.patch.object(PostgresWriter, "append", striking(PostgresWriter.append)),
    ):
        yield strikes


def on_host(action: Callable[[Host], Any]) -> Any:
    """Run something on the host's loop."""

    async def run(host: Host) -> Any:
        return action(host)

    return process.current().ask_blocking(run, 20)


def hibernate(name: tuple[str, str]) -> None:
    """An object leaves memory, with a snapshot where one is worth it; back when that is written."""

    async def run(host: Host) -> bool:
        left = host.hibernate(host.activations[name])
        await host.pipeline.quiet()
        return left

    wait_for(lambda: process.current().ask_blocking(run, 20))


def wait_for(probe: Callable[[], Any], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < deadline
        time.sleep(0.005)
