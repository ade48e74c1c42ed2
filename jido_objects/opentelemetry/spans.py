"""A span for each call on the caller's side, and one for each turn on the host's, joined by the call's ``traceparent``.

The client's span lasts as long as its caller waits. The turn's lasts from its start to its end, not to its commit: what it calls
has it as parent, and what is left of the client's span is mailbox, commit and way. A turn that had to run again has a span for
each run.

A fault in here must not become the turn's: what is called from a turn catches everything and logs it once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import context, trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .. import __version__
from ..errors import ObjectException
from ..logs import about
from ..methods import Method
from ..refs import Ref, Router
from ..turns import Call
from .metrics import Metrics

logger = logging.getLogger("jido_objects.opentelemetry")

_propagator = TraceContextTextMapPropagator()


class Spans:
    """See the module."""

    def __init__(self, provider: trace.TracerProvider | None, metrics: Metrics, *, keys: bool) -> None:
        self.tracer = trace.get_tracer("jido_objects", __version__, provider)
        self.metrics = metrics
        self.keys = keys
        self._told = False

    def around(self, router: Router) -> Router:
        return _Router(router, self)

    def leaving(self) -> str | None:
        carrier: dict[str, str] = {}
        _propagator.inject(carrier)
        return carrier.get("traceparent")

    def turn(self, call: Call) -> TurnSpan | None:
        try:
            # From an empty context: what is current here is the host's, or another call's.
            above = context.Context()
            if call.trace is not None:
                above = _propagator.extract({"traceparent": call.trace}, above)
            label, key = call.name
            attributes: dict[str, str | int] = {**_rpc(label, call.method), "jido.attempt": call.attempt, "jido.source": call.source}
            if self.keys:
                attributes.update({"jido.key": key, "jido.call_id": call.call_id})
            span = self.tracer.start_span(f"{label}/{call.method.name}", above, SpanKind.SERVER, attributes)
            return TurnSpan(self, span, context.attach(trace.set_span_in_context(span, above)))
        except Exception as error:
            self.failed(error)
            return None

    def failed(self, error: Exception) -> None:
        if not self._told:
            self._told = True
            logger.error("A turn's span could not be made; this is told once", exc_info=error, extra=about())


class TurnSpan:
    """One run of one turn."""

    __slots__ = ("_ended", "_span", "_spans", "_token")

    def __init__(self, spans: Spans, span: trace.Span, token: Any) -> None:
        self._spans = spans
        self._span = span
        self._token = token
        self._ended = False

    def end(self, outcome: str, error: str | None, seq: int | None) -> None:
        if self._ended:
            return
        self._ended = True
        try:
            self._span.set_attribute("jido.outcome", outcome)
            if seq is not None:
                self._span.set_attribute("jido.seq", seq)
            if error is not None:
                self._span.set_attribute("error.type", error)
            if outcome in ("failed", "timeout", "dropped"):
                self._span.set_status(Status(StatusCode.ERROR, error or outcome))
            self._span.end()
        except Exception as error:
            self._spans.failed(error)

    def leave(self, *, detach: bool) -> None:
        self.end("dropped", None, None)
        if detach:
            context.detach(self._token)


class _Router:
    """The process's router with a span around each call. What it does not know goes through."""

    def __init__(self, inner: Router, spans: Spans) -> None:
        self._inner = inner
        self._spans = spans

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @contextmanager
    def _span(self, ref: Ref[Any], method: Method, kind: SpanKind) -> Iterator[None]:
        attributes = _rpc(ref.label, method)
        if self._spans.keys:
            attributes["jido.key"] = ref.key
        outcome = "ok"
        with self._spans.tracer.start_as_current_span(
            f"{ref.label}/{method.name}", kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except BaseException as error:
                outcome = "refused" if isinstance(error, ObjectException) else type(error).__name__
                # Its type and no more: a message may hold whatever the application put into it.
                span.set_attribute("error.type", type(error).__name__)
                if not isinstance(error, ObjectException):
                    span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise
            finally:
                if kind is SpanKind.CLIENT:
                    self._spans.metrics.called(ref.label, method.name, outcome)

    def call(self, ref: Ref[Any], method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with self._span(ref, method, SpanKind.CLIENT):
            return self._inner.call(ref, method, args, kwargs)

    async def acall(self, ref: Ref[Any], method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with self._span(ref, method, SpanKind.CLIENT):
            return await self._inner.acall(ref, method, args, kwargs)

    def cast(self, ref: Ref[Any], method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        with self._span(ref, method, SpanKind.PRODUCER):
            return self._inner.cast(ref, method, args, kwargs)

    def peek(self, ref: Ref[Any]) -> dict[str, Any] | None:
        return self._inner.peek(ref)

    async def apeek(self, ref: Ref[Any]) -> dict[str, Any] | None:
        return await self._inner.apeek(ref)

    def exists(self, ref: Ref[Any]) -> bool:
        return self._inner.exists(ref)

    async def aexists(self, ref: Ref[Any]) -> bool:
        return await self._inner.aexists(ref)


def _rpc(label: str, method: Method) -> dict[str, str | int]:
    """OpenTelemetry's words for remote calls."""
    return {"rpc.system": "jido_objects", "rpc.service": label, "rpc.method": method.name}
