"""Metrics made of events. Their attributes are types, methods and outcomes, never keys: a series per object would fill any store."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from .. import __version__, events, process

INCIDENTS = (
    events.CommitFailed,
    events.CommitUnknown,
    events.LeaseFailed,
    events.LeaseRenewedLate,
    events.LoopHeld,
    events.MessageDead,
    events.MessageFailed,
    events.ObjectOverloaded,
    events.TermLost,
)
"""Kinds that an operator wants to see stay at zero."""


class Metrics:
    """The instruments, and the subscriber that feeds them."""

    def __init__(self, provider: metrics.MeterProvider | None) -> None:
        meter = metrics.get_meter("jido_objects", __version__, provider)
        self._stopped = False
        self._calls = meter.create_counter("jido.calls", "{call}", "Calls of this process, by outcome")
        self._turns = meter.create_histogram("jido.turn.duration", "s", "From the start of a turn to its end")
        self._waits = meter.create_histogram("jido.mailbox.wait", "s", "From a call's arrival to the start of its turn")
        self._commits = meter.create_histogram("jido.commit.wait", "s", "From the end of a turn to its answer")
        self._rows = meter.create_histogram("jido.batch.rows", "{row}", "Rows in one statement of group commit")
        self._batches = meter.create_histogram("jido.batch.duration", "s", "Duration of that statement")
        self._thaws = meter.create_histogram("jido.thaw.duration", "s", "Until an object is live in memory")
        self._lateness = meter.create_histogram("jido.message.lateness", "s", "From when a message was due to its delivery")
        self._incidents = meter.create_counter("jido.incidents", "{event}", "Events that should be rare, by name")
        meter.create_observable_gauge("jido.activations", [self._live], "{activation}", "Objects live in this process")

    def stop(self) -> None:
        """The gauge, which cannot be taken back, falls silent."""
        self._stopped = True

    def called(self, label: str, method: str, outcome: str) -> None:
        self._calls.add(1, {"type": label, "method": method, "outcome": outcome})

    def take(self, event: events.Event) -> None:
        if isinstance(event, events.TurnFinished):
            attributes = {"type": event.type, "method": event.method, "outcome": event.outcome}
            self._turns.record(event.turn_seconds, attributes)
            self._waits.record(event.mailbox_seconds, {"type": event.type})
            self._commits.record(event.commit_seconds, {"type": event.type})
        elif isinstance(event, events.BatchCommitted):
            self._rows.record(event.rows)
            self._batches.record(event.seconds)
        elif isinstance(event, events.ActivationThawed):
            self._thaws.record(event.seconds, {"type": event.type})
        elif isinstance(event, events.MessageDelivered):
            self._lateness.record(event.lateness, {"type": event.type, "kind": event.kind})
        elif isinstance(event, INCIDENTS):
            self._incidents.add(1, {"name": event.name})

    def _live(self, options: CallbackOptions) -> Iterable[Observation]:
        # Called by the exporter, on a thread of its own: one look at a length.
        running = process.running()
        if self._stopped or running is None or running.host is None:
            return
        yield Observation(len(running.host.activations))
