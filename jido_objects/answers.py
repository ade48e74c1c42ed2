"""Answers that wait behind the output gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .limits import encoded_size
from .stores.protocol import Entry, Snapshot
from .turns import Call


class Rejected(Exception):
    """What a turn left cannot be committed: it is rolled back, and its caller gets ``error``."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class Answer:
    """What a finished turn lets out, and to whom."""

    __slots__ = ("after", "call", "error", "result")

    def __init__(self, call: Call, result: Any, error: BaseException | None, after: list[Callable[[], None]] | None) -> None:
        self.call = call
        self.result = result
        self.error = error
        self.after = after


class Pending:
    """A finished turn whose row is not committed yet, and what waits on it."""

    __slots__ = ("answer", "entry", "followers", "size", "snapshot")

    def __init__(self, entry: Entry, answer: Answer) -> None:
        self.entry = entry
        self.answer = answer
        self.followers: list[Answer] | None = None
        self.snapshot: Snapshot | None = None
        self.size = encoded_size(entry.delta) + (encoded_size(entry.result) if entry.result else 0) + 100
