"""Spans and metrics of a real host, into memory."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from jido_objects import DurableObject, events, process, watching
from jido_objects.errors import CallFailed, ConfigurationError, StoreUnavailable, TurnTimeout
from jido_objects.opentelemetry import instrument, uninstrument
from tests.app.objects import Chain, Counter, Sale, Slow, SoldOut
from tests.listening import listening


class Aware(DurableObject):
    """Knows the span it runs in."""

    n: int = 0

    def look(self) -> str:
        self.n += 1
        return f"{trace.get_current_span().get_span_context().span_id:016x}"

    async def alook(self) -> str:
        await asyncio.sleep(0)
        return self.look()


@dataclass
class Seen:
    exporter: InMemorySpanExporter
    reader: InMemoryMetricReader
    tracer: trace.Tracer

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def one(self, name: str, kind: SpanKind) -> ReadableSpan:
        (span,) = [span for span in self.spans if span.name == name and span.kind is kind]
        return span

    def metric(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """The points of a metric: its attributes, and its value or count."""
        data = self.reader.get_metrics_data()
        found = []
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == name:
                        for point in metric.data.data_points:
                            found.append((dict(point.attributes or {}), point.count if hasattr(point, "count") else point.value))
        return found


@pytest.fixture
def providers() -> Iterator[tuple[Seen, dict[str, Any]]]:
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracer_provider, meter_provider = TracerProvider(shutdown_on_exit=False), MeterProvider([reader], shutdown_on_exit=False)
    tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield (
        Seen(exporter, reader, tracer_provider.get_tracer("test")),
        {"tracer_provider": tracer_provider, "meter_provider": meter_provider},
    )
    uninstrument()
    meter_provider.shutdown()
    tracer_provider.shutdown()


@pytest.fixture
def seen(database: str, providers: tuple[Seen, dict[str, Any]]) -> Seen:
    instrument(**providers[1])
    return providers[0]


def _parent(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def _id(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def test_a_nested_call_is_one_trace(seen: Seen) -> None:
    with seen.tracer.start_as_current_span("a request") as request:
        assert Chain.at("a").call(Chain.ask, Counter.at("n")) == 1
    outer, turn = seen.one("app.Chain/ask", SpanKind.CLIENT), seen.one("app.Chain/ask", SpanKind.SERVER)
    inner, nested = seen.one("app.Counter/add", SpanKind.CLIENT), seen.one("app.Counter/add", SpanKind.SERVER)
    assert _parent(outer) == request.get_span_context().span_id
    assert [_parent(turn), _parent(inner), _parent(nested)] == [_id(outer), _id(turn), _id(inner)]
    assert {span.context.trace_id for span in (outer, turn, inner, nested)} == {request.get_span_context().trace_id}
    assert len(seen.spans) == 5
    for span in (outer, turn, inner, nested):
        assert span.status.status_code is StatusCode.UNSET
    assert dict(nested.attributes or {}) == {
        "rpc.system": "jido_objects",
        "rpc.service": "app.Counter",
        "rpc.method": "add",
        "jido.attempt": 0,
        "jido.source": "local",
        "jido.outcome": "committed",
        "jido.seq": 1,
    }


def test_calls_of_one_loop_do_not_mix_their_traces(seen: Seen) -> None:
    async def request(n: int) -> tuple[int, int]:
        with seen.tracer.start_as_current_span(f"request {n}") as span:
            assert await Chain.at(n).acall(Chain.ask, Counter.at(n % 2)) >= 1
            return n, span.get_span_context().trace_id

    async def main() -> dict[int, int]:
        return dict(await asyncio.gather(*(request(n) for n in range(12))))

    traces = asyncio.run(main())
    assert len(set(traces.values())) == 12
    for n, trace_id in traces.items():
        ours = [span for span in seen.spans if span.context.trace_id == trace_id]
        assert len(ours) == 5, n
        assert len([span for span in ours if span.parent is None]) == 1


def test_the_turns_code_runs_in_its_span(seen: Seen) -> None:
    first, second = Aware.at("a").call(Aware.look), Aware.at("a").call(Aware.alook)
    service = Aware.at("a").label
    assert first == f"{_id(seen.one(f'{service}/look', SpanKind.SERVER)):016x}"
    assert second == f"{_id(seen.one(f'{service}/alook', SpanKind.SERVER)):016x}"
    assert Aware.at("a").call(Aware.look) != first
    # And what runs after it does not: a call that nobody traces begins a trace of its own.
    tracer, watching.tracer = watching.tracer, None
    try:
        assert Aware.at("a").call(Aware.look) == "0" * 16
    finally:
        watching.tracer = tracer


def test_a_turn_that_nobody_traced_begins_a_trace_whatever_is_current(seen: Seen) -> None:
    Counter.at("a").call(Counter.add)
    seen.exporter.clear()
    spans: Any = watching.tracer
    add = Counter.at("a").definition.method("add")
    call: Any = SimpleNamespace(trace=None, name=("app.Counter", "a"), method=add, attempt=0, source="local")
    with seen.tracer.start_as_current_span("somebody else's"):
        span = spans.turn(call)
        span.leave(detach=True)
    assert seen.one("app.Counter/add", SpanKind.SERVER).parent is None


def test_a_cast_is_followed(seen: Seen) -> None:
    with listening(events.TurnFinished) as told:
        Chain.at("a").call(Chain.tell, Counter.at("n"))
        told.await_(events.TurnFinished, 2)
    turn = seen.one("app.Chain/tell", SpanKind.SERVER)
    cast, applied = seen.one("app.Counter/add", SpanKind.PRODUCER), seen.one("app.Counter/add", SpanKind.SERVER)
    assert [_parent(cast), _parent(applied)] == [_id(turn), _id(cast)]


def test_errors_set_the_status_and_refusals_do_not(seen: Seen) -> None:
    with pytest.raises(CallFailed):
        Counter.at("a").call(Counter.fail)
    for kind, error in ((SpanKind.CLIENT, "CallFailed"), (SpanKind.SERVER, "ValueError")):
        span = seen.one("app.Counter/fail", kind)
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, error)
        assert (span.attributes or {})["error.type"] == error
        assert not span.events, "a message may hold anything: only the type is told"
    with pytest.raises(SoldOut):
        Sale.at("a").call(Sale.reserve, "ann", 1000)
    for kind in (SpanKind.CLIENT, SpanKind.SERVER):
        span = seen.one("app.Sale/reserve", kind)
        assert span.status.status_code is StatusCode.UNSET
        assert (span.attributes or {})["error.type"] == "SoldOut"
    with pytest.raises(TurnTimeout):
        Slow.at("a").call(Slow.wait, 5)
    span = seen.one("app.Slow/wait", SpanKind.SERVER)
    assert (span.status.status_code, (span.attributes or {})["jido.outcome"]) == (StatusCode.ERROR, "timeout")


def test_a_turn_that_was_dropped_and_run_again_has_two_spans(seen: Seen) -> None:
    async def main() -> None:
        call = asyncio.ensure_future(Slow.at("a").acall(Slow.wait, 0.2))
        while not ((host := process.own().host) and any(one.turn and _done(one) for one in list(host.activations.values()))):
            await asyncio.sleep(0.001)

        async def drop(host: Any) -> None:
            host.drop(next(iter(host.activations.values())), "a test")

        await process.current().ask(drop)
        assert await call == 1

    asyncio.run(main())
    client = seen.one("app.Slow/wait", SpanKind.CLIENT)
    turns = [span for span in seen.spans if span.kind is SpanKind.SERVER]
    assert [_parent(turn) for turn in turns] == [_id(client)] * 2
    assert sorted((turn.attributes or {})["jido.outcome"] for turn in turns) == ["committed", "dropped"]


def _done(activation: Any) -> int:
    """Not zero once the turn's code runs; the activation has a turn a step earlier."""
    return int(activation.instance.done)


def test_keys_and_ids_are_told_only_when_asked_for(seen: Seen, providers: tuple[Seen, dict[str, Any]]) -> None:
    ref = Counter.at("ann@example.org").using(call_id="ann's order")
    ref.call(Counter.add)
    assert not any("ann" in str(span.attributes) for span in seen.spans)
    seen.exporter.clear()
    instrument(**providers[1], keys=True)
    Counter.at("ann@example.org").using(call_id="ann's other").call(Counter.add)
    attributes = seen.one("app.Counter/add", SpanKind.SERVER).attributes or {}
    assert (attributes["jido.key"], attributes["jido.call_id"]) == ("ann@example.org", "ann's other")
    assert (seen.one("app.Counter/add", SpanKind.CLIENT).attributes or {})["jido.key"] == "ann@example.org"
    assert len(events.listening) == 1


def test_metrics(seen: Seen) -> None:
    with listening() as told:
        for _ in range(3):
            Counter.at("a").call(Counter.add)
        Counter.at("b").get("value")
        with pytest.raises(CallFailed):
            Counter.at("a").call(Counter.fail)
        with pytest.raises(SoldOut):
            Sale.at("a").call(Sale.reserve, "ann", 1000)
        Slow.at("a").call(Slow.hold, 0.1)
        told.await_(events.TurnFinished, 7)
        batches = len(told.of(events.BatchCommitted))
    calls = {(point["type"], point["method"], point["outcome"]): value for point, value in seen.metric("jido.calls")}
    assert calls == {
        ("app.Counter", "add", "ok"): 3,
        ("app.Counter", "get:value", "ok"): 1,
        ("app.Counter", "fail", "CallFailed"): 1,
        ("app.Sale", "reserve", "refused"): 1,
        ("app.Slow", "hold", "ok"): 1,
    }
    turns = {(point["method"], point["outcome"]): count for point, count in seen.metric("jido.turn.duration")}
    assert turns == {
        ("add", "committed"): 3,
        ("get:value", "unchanged"): 1,
        ("fail", "failed"): 1,
        ("reserve", "refused"): 1,
        ("hold", "committed"): 1,
    }
    waits = {point["type"]: count for point, count in seen.metric("jido.mailbox.wait")}
    assert waits == {"app.Counter": 5, "app.Sale": 1, "app.Slow": 1}
    assert seen.metric("jido.commit.wait")
    assert seen.metric("jido.batch.rows") == [({}, batches)]
    assert seen.metric("jido.batch.duration") == [({}, batches)]
    assert ({"name": "loop_held"}, 1) in seen.metric("jido.incidents")
    assert sum(count for _, count in seen.metric("jido.thaw.duration")) == 4
    host = process.own().host
    assert host is not None
    assert seen.metric("jido.activations") == [({}, len(host.activations))]
    due = events.MessageDelivered("app.Sale", "a", "release", "id", "alarm", 1, 0.25)
    events.emit(due)
    assert seen.metric("jido.message.lateness") == [({"type": "app.Sale", "kind": "alarm"}, 1)]
    process.stop()
    assert seen.metric("jido.activations") == []


def test_uninstrumented_nothing_is_made(seen: Seen) -> None:
    uninstrument()
    uninstrument()
    assert not events.listening
    assert watching.tracer is None
    Counter.at("a").call(Counter.add)
    assert seen.spans == []
    assert seen.metric("jido.calls") == []
    assert seen.metric("jido.activations") == []


def test_a_tracer_that_fails_fails_no_turn(
    database: str, providers: tuple[Seen, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    instrument(**providers[1])
    spans: Any = watching.tracer
    real = spans.tracer.start_span

    def fail(name: str, context: Any = None, kind: SpanKind = SpanKind.INTERNAL, *rest: Any, **more: Any) -> Any:
        if kind is SpanKind.SERVER:
            raise StoreUnavailable("the collector's fault")
        return real(name, context, kind, *rest, **more)

    monkeypatch.setattr(spans.tracer, "start_span", fail)
    with caplog.at_level(logging.ERROR, "jido_objects.opentelemetry"):
        for n in range(1, 4):
            assert Counter.at("a").call(Counter.add) == n
    assert len([record for record in caplog.records if record.name == "jido_objects.opentelemetry"]) == 1


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("opentelemetry", "jido_objects.opentelemetry."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ConfigurationError, match=r"jido_objects\[otel\]"):
        instrument()
    assert not events.listening


_IMPORTS = """
import sys, django
django.setup()
import jido_objects.opentelemetry
from jido_objects import process, router
from tests.app.objects import Counter
assert not [name for name in sys.modules if name.startswith("opentelemetry")], "imported"
jido_objects.opentelemetry.instrument()
assert "opentelemetry" in sys.modules
"""


def test_nothing_of_it_is_imported_before_it_is_asked_for() -> None:
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    done = subprocess.run([sys.executable, "-c", _IMPORTS], env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
