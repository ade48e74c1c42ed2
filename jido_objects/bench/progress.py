"""How far a bench is: a bar on a terminal where ``rich`` is installed, a line per workload otherwise."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import IO, Self


class Progress:
    """Plain lines."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._title = ""
        self._began = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self._say_end()

    def start(self, title: str, steps: int) -> None:
        """A workload begins that takes so many steps."""
        self._say_end()
        self._title, self._began = title, time.monotonic()

    def step(self, what: str = "") -> None:
        """One step is done."""

    def _say_end(self) -> None:
        if self._title:
            print(f"{self._title}: {time.monotonic() - self._began:.1f} s", file=self._stream, flush=True)
            self._title = ""


class Bar(Progress):
    """A bar per workload."""

    def __init__(self, stream: IO[str]) -> None:
        super().__init__(stream)
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Rich

        columns = (TextColumn("{task.description:<42}"), BarColumn(), TimeElapsedColumn(), TextColumn("[dim]{task.fields[what]}"))
        self._rich = Rich(*columns, console=Console(file=stream))
        self._task: object = None

    def __enter__(self) -> Self:
        self._rich.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._rich.stop()

    def start(self, title: str, steps: int) -> None:
        self._task = self._rich.add_task(title, total=steps, what="")

    def step(self, what: str = "") -> None:
        self._rich.update(self._task, advance=1, what=what)  # type: ignore[arg-type]


def progress(stream: IO[str] | None = None) -> Progress:
    """What suits the stream (standard error by default)."""
    stream = stream or sys.stderr
    if stream.isatty():
        try:
            return Bar(stream)
        except ImportError:
            pass
    return Progress(stream)
