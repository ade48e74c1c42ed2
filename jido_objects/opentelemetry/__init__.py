"""Spans and metrics through OpenTelemetry, for those who ask: ``pip install "jido_objects[otel]"``, and ``instrument()`` once.

Nothing of OpenTelemetry is imported before ``instrument()`` is called, and nothing is measured before. Which exporter gets what
is the application's choice, as everywhere with OpenTelemetry.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from .. import events, watching
from ..errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from .metrics import Metrics

__all__ = ["instrument", "uninstrument"]

_lock = Lock()
_metrics: Metrics | None = None


def instrument(*, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None, keys: bool = False) -> None:
    """Make spans and metrics of everything this process calls and hosts, from now on. A second call replaces the first.

    The providers default to OpenTelemetry's global ones. ``keys``: whether spans carry the object's key and the call's id, which
    may name people; metrics never do. Raises ``ConfigurationError`` where OpenTelemetry is not installed.
    """
    try:
        from .metrics import Metrics
        from .spans import Spans
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "opentelemetry":
            raise
        raise ConfigurationError('OpenTelemetry is not installed: pip install "jido_objects[otel]".') from error
    global _metrics
    with _lock:
        _stop()
        _metrics = Metrics(meter_provider)
        events.subscribe(_metrics.take)
        watching.tracer = Spans(tracer_provider, _metrics, keys=keys)


def uninstrument() -> None:
    """Make no more of them. Does nothing where nothing was instrumented."""
    with _lock:
        _stop()


def _stop() -> None:
    global _metrics
    # First the tracer: it lives by the watches that a subscriber causes.
    watching.tracer = None
    if _metrics is not None:
        events.unsubscribe(_metrics.take)
        _metrics.stop()
        _metrics = None
