"""Answers that wait behind the output gate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .limits import encoded_size
from .stores.messages import InboxChanges
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

    __slots__ = ("answer", "began", "entry", "followers", "inbox", "size", "snapshot")

    def __init__(self, entry: Entry, answer: Answer, inbox: InboxChanges | None = None, began: float = 0.0) -> None:
        self.entry = entry
        self.answer = answer
        self.followers: list[Answer] | None = None
        self.snapshot: Snapshot | None = None
        self.size = encoded_size(entry.delta) + (encoded_size(entry.result) if entry.result else 0) + 100
        self.inbox = inbox
        self.began = began
        """When its turn began, by the host's monotonic clock: the delays of its alarms count from there."""
        if inbox is not None:
            self.size += sum(encoded_size(message.args) + encoded_size(message.kwargs) + 100 for message in inbox.sent)


def inbox_of(pendings: list[Pending], now: float) -> InboxChanges | None:
    """What rows that travel together do to messages."""
    changed = [pending for pending in pendings if pending.inbox is not None]
    if not changed:
        return None
    merged = InboxChanges()
    for pending in changed:
        assert pending.inbox is not None
        merged.applied.extend(pending.inbox.applied)
        merged.sent.extend(pending.inbox.sent)
        for name, armed in pending.inbox.alarms.items():
            merged.alarms[name] = armed and replace(armed, delay=armed.delay - (now - pending.began))
    return merged
