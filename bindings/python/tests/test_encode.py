"""What the extension encodes, against the SDK's own encoders: the same objects, and the messages compared."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.metrics import Exemplar, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    InMemoryMetricReader,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from otelcore import Collector
from otelcore._otelcore import encode
from otelcore.sdk import CollectorSpanExporter

SEEDS = range(200)

TEXTS = ("", "a", "shop", "http.request.method", "Grüße", "日本語", "🦀", "x" * 200, "tab\there", "nul\0")


class Words(Sequence[str]):
    """A sequence that is neither a list nor a tuple."""

    def __init__(self, words: list[str]) -> None:
        self._words = words

    def __getitem__(self, index: Any) -> Any:
        return self._words[index]

    def __len__(self) -> int:
        return len(self._words)


class Text(str):
    pass


def value(r: random.Random, depth: int = 0) -> Any:
    kinds: list[Any] = [
        lambda: r.choice(TEXTS),
        lambda: Text(r.choice(TEXTS)),
        lambda: r.choice([True, False]),
        lambda: r.choice([0, 1, -1, 2**63 - 1, -(2**63), r.getrandbits(40)]),
        lambda: r.choice([0.0, -0.0, 1.5, float("inf"), float("nan"), r.random()]),
        lambda: r.choice([b"", b"\x00\xff", r.randbytes(20)]),
        lambda: None,
    ]
    if depth < 3:
        kinds += [
            lambda: [value(r, depth + 1) for _ in range(r.randrange(4))],
            lambda: tuple(value(r, depth + 1) for _ in range(r.randrange(4))),
            lambda: Words([r.choice(TEXTS) for _ in range(r.randrange(3))]),
            lambda: {r.choice(TEXTS): value(r, depth + 1) for _ in range(r.randrange(4))},
            lambda: MappingProxyType({r.choice(TEXTS): value(r, depth + 1) for _ in range(r.randrange(3))}),
        ]
    return r.choice(kinds)()


def attributes(r: random.Random, *, simple: bool = False) -> dict[str, Any]:
    scalars = [r.choice(TEXTS), True, r.getrandbits(30), r.random(), ("a", "b"), (1, 2), (1.5,), (True, False)]
    keys = {r.choice(TEXTS) + str(r.randrange(3)) for _ in range(r.randrange(5))}
    return {key: r.choice(scalars) if simple else value(r) for key in keys}


def context(r: random.Random) -> SpanContext:
    state = [[], [("a", "1")], [("vendor", "x"), ("b@c", "y")]]
    return SpanContext(
        r.choice([1, 2**128 - 1, r.getrandbits(127) + 1]),
        r.choice([1, 2**64 - 1, r.getrandbits(63) + 1]),
        r.choice([True, False]),
        TraceFlags(r.randrange(2)),
        TraceState(r.choice(state)),
    )


def resources(r: random.Random) -> list[Resource]:
    made = [Resource(attributes(r, simple=True), r.choice(["", "https://example.com/schema"])) for _ in range(r.randrange(1, 4))]
    # An equal one that is another object.
    made.append(Resource(dict(made[0].attributes), made[0].schema_url))
    return made


def scopes(r: random.Random) -> list[InstrumentationScope | None]:
    made: list[InstrumentationScope | None] = [None]
    for _ in range(r.randrange(1, 4)):
        name, version = r.choice(TEXTS[1:]), r.choice([None, "1.2"])
        url = r.choice([None, "", "https://example.com/scope"])
        made += [InstrumentationScope(name, version, url, attributes(r, simple=True)) for _ in range(2)]
    return made


def some_span(r: random.Random, resource: Resource, scope: InstrumentationScope | None) -> ReadableSpan:
    return ReadableSpan(
        name=r.choice(TEXTS),
        context=context(r),
        parent=r.choice([None, context(r)]),
        resource=resource,
        attributes=r.choice([None, attributes(r)]),
        events=[Event(r.choice(TEXTS), attributes(r, simple=True), r.getrandbits(60)) for _ in range(r.randrange(3))],
        links=[Link(context(r), attributes(r, simple=True)) for _ in range(r.randrange(3))],
        kind=r.choice(list(SpanKind)),
        status=r.choice([Status(), Status(StatusCode.OK), Status(StatusCode.ERROR, "why"), Status(StatusCode.ERROR)]),
        start_time=r.choice([None, 0, r.getrandbits(62)]),
        end_time=r.choice([None, r.getrandbits(62)]),
        instrumentation_scope=scope,
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_spans_from_a_seed_equal_the_stock_encoding(seed: int) -> None:
    r = random.Random(seed)
    all_resources, all_scopes = resources(r), scopes(r)
    spans = [some_span(r, r.choice(all_resources), r.choice(all_scopes)) for _ in range(r.randrange(12))]
    request = encode("traces", spans)
    assert ExportTraceServiceRequest.FromString(request.data) == encode_spans(spans)
    assert request.skipped == (0, [])


@pytest.mark.parametrize("seed", SEEDS)
def test_log_records_from_a_seed_equal_the_stock_encoding(seed: int) -> None:
    r = random.Random(seed)
    all_resources, all_scopes = resources(r), scopes(r)
    records = []
    for _ in range(r.randrange(12)):
        record = LogRecord(
            timestamp=r.choice([None, r.getrandbits(62)]),
            observed_timestamp=r.choice([None, r.getrandbits(62)]),
            context=trace.set_span_in_context(trace.NonRecordingSpan(r.choice([context(r), trace.INVALID_SPAN_CONTEXT]))),
            severity_text=r.choice([None, "WARN"]),
            severity_number=r.choice([None, *SeverityNumber]),
            body=value(r),
            attributes=r.choice([None, attributes(r)]),
            event_name=r.choice([None, "", "device.app.lifecycle"]),
        )
        records.append(ReadableLogRecord(record, r.choice(all_resources), r.choice(all_scopes)))
    request = encode("logs", records)
    assert ExportLogsServiceRequest.FromString(request.data) == encode_logs(records)


def exemplars(r: random.Random) -> list[Exemplar]:
    def one() -> Exemplar:
        c = r.choice([None, context(r)])
        return Exemplar(
            attributes(r, simple=True),
            r.choice([1, -5, 2.5]),
            r.getrandbits(60),
            c.span_id if c else None,
            c.trace_id if c else None,
        )

    return [one() for _ in range(r.randrange(3))]


def data(r: random.Random) -> Any:
    temporality = r.choice([AggregationTemporality.DELTA, AggregationTemporality.CUMULATIVE])

    def number() -> NumberDataPoint:
        amount = r.choice([0, -3, 2**40, 1.5, float("nan"), 0.0])
        return NumberDataPoint(attributes(r, simple=True), r.getrandbits(60), r.getrandbits(60), amount, exemplars(r))

    def histogram() -> HistogramDataPoint:
        counts, bounds = [r.getrandbits(20) for _ in range(4)], [0.5, 1.0, 10.0]
        low, high = r.choice([(0.1, 20.0), (float("inf"), float("-inf"))])
        return HistogramDataPoint(
            attributes(r, simple=True), r.getrandbits(60), r.getrandbits(60), sum(counts), r.choice([3, 4.5]), counts, bounds,
            low, high, exemplars(r),
        )

    points: Any = [number() for _ in range(r.randrange(4))]
    if r.random() < 0.3:
        return Histogram([histogram() for _ in range(r.randrange(1, 4))], temporality)
    return r.choice([Gauge(points), Sum(points + [number()], temporality, r.choice([True, False]))])


@pytest.mark.parametrize("seed", SEEDS)
def test_metrics_from_a_seed_equal_the_stock_encoding(seed: int) -> None:
    r = random.Random(seed)
    kept: dict[Resource, list[ScopeMetrics]] = {}
    for resource in resources(r):
        unique = {scope for scope in scopes(r) if scope is not None}
        kept[resource] = [
            ScopeMetrics(
                scope,
                [Metric(r.choice(TEXTS), r.choice(["", "what"]), r.choice(["", "By"]), data(r)) for _ in range(r.randrange(4))],
                scope.schema_url or "",
            )
            for scope in unique
        ]
    metrics = MetricsData([ResourceMetrics(resource, scoped, resource.schema_url) for resource, scoped in kept.items()])
    want = encode_metrics(metrics)
    for resource_metrics in want.resource_metrics:
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                # A gauge without points has its kind here, which the stock encoder loses.
                if metric.WhichOneof("data") is None:
                    metric.gauge.SetInParent()
    assert ExportMetricsServiceRequest.FromString(encode("metrics", metrics).data) == want


@pytest.mark.parametrize("seed", range(20))
def test_exponential_histograms_of_the_sdk_equal_the_stock_encoding(seed: int) -> None:
    r = random.Random(seed)
    reader = InMemoryMetricReader()
    view = View(instrument_name="*", aggregation=ExponentialBucketHistogramAggregation())
    meters = MeterProvider([reader], shutdown_on_exit=False, views=[view])
    histogram = meters.get_meter("m", "1", "https://example.com/m").create_histogram("h", "s", "what it is")
    for _ in range(r.randrange(1, 50)):
        histogram.record(r.choice([0, 0.001, 1, r.expovariate(0.01)]), {"route": r.choice(["a", "b"])})
    metrics = reader.get_metrics_data()
    assert metrics is not None
    assert ExportMetricsServiceRequest.FromString(encode("metrics", metrics).data) == encode_metrics(metrics)
    meters.shutdown()


def test_spans_of_a_tracer_equal_the_stock_encoding() -> None:
    class Keep(SpanExporter):
        def __init__(self) -> None:
            self.spans: list[ReadableSpan] = []

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            self.spans += spans
            return SpanExportResult.SUCCESS

    keep = Keep()
    limits = SpanLimits(max_attributes=2, max_events=1, max_links=1, max_event_attributes=1, max_link_attributes=1)
    provider = TracerProvider(span_limits=limits, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(keep))
    tracer = provider.get_tracer("t", "1", attributes={"k": "v"})
    links = [Link(SpanContext(1, 2, True), {"a": 1, "b": 2}), Link(SpanContext(3, 4, False))]
    with tracer.start_as_current_span("outer", links=links, attributes={"a": 1, "b": 2, "c": 3}) as outer:
        outer.add_event("one", {"a": 1, "b": 2})
        outer.add_event("two")
        with pytest.raises(ValueError), tracer.start_as_current_span("inner"):
            raise ValueError("told")
    want = encode_spans(keep.spans)
    assert ExportTraceServiceRequest.FromString(encode("traces", keep.spans).data) == want
    assert [span.dropped_attributes_count for span in want.resource_spans[0].scope_spans[0].spans] == [0, 1]


def span_with(**changed: Any) -> ReadableSpan:
    return ReadableSpan(**{"name": "n", "context": SpanContext(1, 2, False), "resource": Resource({}), **changed})


def decoded(request: Any) -> Any:
    return ExportTraceServiceRequest.FromString(request.data).resource_spans[0].scope_spans[0].spans[0]


def test_an_attribute_that_otlp_has_no_value_for_is_left_out_and_named() -> None:
    endless: list[Any] = []
    endless.append(endless)
    bad: Mapping[Any, Any] = {
        "big": 2**63, "object": object(), "inside": [1, object()], "half": "\ud800", "endless": endless, 7: "key", "good": 1,
    }
    request = encode("traces", [span_with(attributes=bad)])
    count, named = request.skipped
    assert count == 6 and [key for key, _ in named] == ["big", "object", "inside", "half", "endless", "7"]
    assert "object" in dict(named)["object"] and "100 deep" in dict(named)["endless"]
    assert [a.key for a in decoded(request).attributes] == ["good"]
    # The stock encoder leaves out the same ones, but for the list that contains itself, on which it fails.
    stock = encode_spans([span_with(attributes={key: v for key, v in bad.items() if key != "endless"})])
    assert stock.resource_spans[0].scope_spans[0].spans[0] == decoded(request)


def test_more_attributes_than_are_named_are_counted() -> None:
    request = encode("traces", [span_with(attributes={str(i): object() for i in range(1000)})])
    count, named = request.skipped
    assert count == 1000 and len(named) == 8


def test_a_name_that_is_not_unicode_costs_no_span() -> None:
    assert decoded(encode("traces", [span_with(name="a\ud800b")])).name == "a\ufffd\ufffd\ufffdb"


@pytest.mark.parametrize("wrong", [None, 7, [None], [7], [object()], object(), "text", [span_with(start_time=-1)], [span_with(name=7)]])
@pytest.mark.parametrize("signal", ["traces", "metrics", "logs"])
def test_an_object_that_is_no_telemetry_is_an_exception(signal: Any, wrong: Any) -> None:
    with pytest.raises((TypeError, AttributeError, ValueError, OverflowError)):
        encode(signal, wrong)


def test_a_mapping_that_raises_is_an_exception() -> None:
    class Raises(dict[str, Any]):
        def copy(self) -> Any:
            raise RuntimeError("no copy")

        def items(self) -> Any:
            raise RuntimeError("no items")

    with pytest.raises(RuntimeError, match="no items"):
        encode("traces", [span_with(attributes=Raises(a=1))])


def test_an_exporter_names_what_it_left_out_and_loses_only_that(caplog: pytest.LogCaptureFixture) -> None:
    config = """
receivers: {inproc: }
exporters: {inproc: }
service:
  telemetry: {metrics: {level: none}}
  pipelines: {traces: {receivers: [inproc], exporters: [inproc]}}
"""
    with Collector(config) as collector:
        exporter = CollectorSpanExporter(collector)
        assert exporter.export([span_with(attributes={"a": object(), "b": 1})]) is SpanExportResult.SUCCESS
        assert "1 attributes were left out: a: " in caplog.text
        assert exporter.export([span_with(start_time=-1)]) is SpanExportResult.FAILURE
        assert "not encoded" in caplog.text
        batch = collector.output().next(10)
        assert batch is not None
        batch.ack()
        assert len(ExportTraceServiceRequest.FromString(batch.data).resource_spans[0].scope_spans[0].spans) == 1
