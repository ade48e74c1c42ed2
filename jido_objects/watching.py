"""What is measured of a call while somebody listens to events: when it came, when its turn began and ended, how it ended.

Nobody listening, no call carries a ``Watch``, and what is here is never called. One ``Watch`` lives as long as its call, over
turns that had to run again; ``turn_finished`` is told once, when the call is answered by a turn.

A tracer (``jido_objects.opentelemetry``) hooks in here too. It subscribes to events, so that there are watches while it is set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from . import events
from .errors import CallFailed, ObjectException, TurnTimeout

if TYPE_CHECKING:
    from .refs import Router
    from .turns import Call



class Span(Protocol):
    """A tracer's view of one turn. Its calls never raise."""

    def end(self, outcome: str, error: str | None, seq: int | None) -> None:
        """The turn has ended; further calls do nothing."""

    def leave(self, *, detach: bool) -> None:
        """The turn's code runs no more; ``detach`` where this context goes on with other code."""


class Tracer(Protocol):
    """What follows calls from process to process."""

    def around(self, router: Router) -> Router:
        """The router by which refs of this process call."""

    def leaving(self) -> str | None:
        """W3C ``traceparent`` of the running code, for a call that it makes."""

    def turn(self, call: Call) -> Span | None:
        """A turn begins: what runs from here on, in this context, is its code. Never raises; ``None`` where there is no span."""


tracer: Tracer | None = None
"""The process's tracer; only while it subscribes to events."""


class Watch:
    """The times of one call, on the host's clock."""

    __slots__ = ("began", "ended", "entered", "seq", "span")

    def __init__(self, entered: float) -> None:
        self.entered = entered
        self.began = entered
        self.ended: float | None = None
        self.seq: int | None = None
        self.span: Span | None = None

    def again(self) -> None:
        """The turn did not count: the call runs again."""
        self.ended = None

    def returned(self, now: float, error: BaseException | None, seq: int | None) -> None:
        """The turn has ended; its answer may have to wait for its row."""
        self.ended = now
        self.seq = seq
        if self.span is not None:
            self.span.end(_outcome(error, seq), _name_of(error), seq)
            self.span = None


def entered(call: Call, now: float) -> None:
    """A call has come into a mailbox."""
    if call.watch is None:
        call.watch = Watch(now)


def begun(call: Call, now: float) -> Span | None:
    """A turn of this call begins; its code runs next, in this context. What it returns is to be left when that has ended."""
    watch = call.watch
    if watch is None:
        # It came in before there was anybody to listen.
        watch = call.watch = Watch(now)
    watch.began = now
    watch.ended = None
    watch.span = None if tracer is None else tracer.turn(call)
    return watch.span


def finished(call: Call, error: BaseException | None, now: float) -> None:
    """A call was answered: tell it, if a turn did that."""
    watch = call.watch
    if watch is None or watch.ended is None:
        return
    events.emit(
        events.TurnFinished(
            *call.name,
            call.method.name,
            call.call_id,
            call.source,
            _outcome(error, watch.seq),
            _name_of(error),
            watch.began - watch.entered,
            watch.ended - watch.began,
            now - watch.ended,
            watch.seq if error is None or isinstance(error, ObjectException) else None,
        )
    )


def _outcome(error: BaseException | None, seq: int | None) -> str:
    if error is None:
        return "unchanged" if seq is None else "committed"
    if isinstance(error, ObjectException):
        return "refused"
    return "timeout" if isinstance(error, TurnTimeout) else "failed"


def _name_of(error: BaseException | None) -> str | None:
    if isinstance(error, CallFailed):
        return error.type_name
    return None if error is None else type(error).__name__
