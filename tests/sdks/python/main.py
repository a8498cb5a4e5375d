"""Sends a fixed set of traces, metrics and logs through the standard OTLP exporters of the Python SDK and prints on
standard output what it has sent, one JSON object a line, from the SDK's own objects.

Where to send and how is the exporters' own environment: OTEL_EXPORTER_OTLP_*. SDK_UNIX names a unix socket that takes
the place of a TCP connection.
"""

import json
import logging
import os
import sys

from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.metrics import Observation
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics import export as points
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

KINDS = {SpanKind.INTERNAL: 1, SpanKind.SERVER: 2, SpanKind.CLIENT: 3, SpanKind.PRODUCER: 4, SpanKind.CONSUMER: 5}
CODES = {StatusCode.UNSET: 0, StatusCode.OK: 1, StatusCode.ERROR: 2}


class Failures(logging.Handler):
    """The exporters log what fails; here that ends the program with an error."""

    seen = []

    def emit(self, record):
        self.seen.append(record.getMessage())


def exporters():
    protocol = os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"]
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        unix = os.environ.get("SDK_UNIX")
        where = {"endpoint": f"unix:{unix}", "insecure": True} if unix else {}
        return OTLPSpanExporter(**where), OTLPMetricExporter(**where), OTLPLogExporter(**where)
    if protocol != "http/protobuf":
        sys.exit(f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol}")
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(), OTLPMetricExporter(), OTLPLogExporter()


def printing(exporter, shown):
    """The exporter, which prints what it is given."""
    export = exporter.export

    def show_and_export(batch, *args, **kwargs):
        for item in shown(batch):
            print(json.dumps(item, ensure_ascii=False), flush=True)
        return export(batch, *args, **kwargs)

    exporter.export = show_and_export
    return exporter


RICH = {
    "string": 'héllo wörld "quoted"\n日本語 🦀',
    "empty": "",
    "yes": True,
    "no": False,
    "int": -42,
    "largest": 2**63 - 1,
    "smallest": -(2**63),
    "double": 1.25e-7,
    "whole": 3.0,
    "infinite": float("-inf"),
    "strings": ["a", "", "ß"],
    "bools": [True, False],
    "ints": [1, -1, 2**63 - 1],
    "doubles": [0.5, -1.0, 1e300],
    "none": [],
    "bytes": b"\x00\xffx",
}


def traces(tracer):
    start = 1_700_000_000_123_456_789
    state = TraceState([("vendor", "value"), ("other", "1")])
    remote = SpanContext(0x4BF92F3577B34DA6A3CE929D0E0E4736, 0xF067AA0BA902B7, True, TraceFlags(TraceFlags.SAMPLED), state)
    parent = trace.set_span_in_context(NonRecordingSpan(remote))
    root = tracer.start_span(
        "root größe", parent, SpanKind.SERVER, RICH, [Link(remote, {"why": "follows"})], start_time=start
    )
    within = trace.set_span_in_context(root)
    for i, kind in enumerate(KINDS):
        begin = start + i * 1_000_000
        span = tracer.start_span(f"child {kind.name}", within, kind, start_time=begin)
        span.add_event("an event", {"n": i, "text": "ünï"}, begin + 1)
        span.add_event("bare", timestamp=begin + 2)
        if i == 1:
            span.set_status(Status(StatusCode.OK))
        if i == 2:
            span.set_status(Status(StatusCode.ERROR, "fehlgeschlagen: größe"))
            span.record_exception(ValueError("it broke"), timestamp=begin + 3)
        grandchild = tracer.start_span(
            "grandchild", trace.set_span_in_context(span), attributes={"i": i}, start_time=begin + 5
        )
        grandchild.end(begin + 10)
        span.end(begin + 1_000_000)
    root.end(start + 1_000_000_000)
    return within


def measure(meter):
    attributes = {"path": "/ä", "code": 200, "ok": True}
    requests = meter.create_counter("requests", "{request}", "Anfragen größe")
    requests.add(5, attributes)
    requests.add(2)
    meter.create_counter("seconds", "s").add(1.5, attributes)
    meter.create_up_down_counter("active").add(-3, attributes)
    latency, exponential = meter.create_histogram("latency", "ms"), meter.create_histogram("exponential")
    for value in [0, 0.1, 4.9, 5, 77, 1e6]:
        latency.record(value, attributes)
        exponential.record(value, attributes)
    meter.create_gauge("temperature").set(-7)
    meter.create_observable_gauge("observed", [lambda _: [Observation(0.1, attributes), Observation(-1e300)]])


def record(context, logger):
    at = 1_700_000_001_000_000_001
    bodies = [
        "plain größe 🦀",
        -1,
        0.1,
        True,
        b"\x00\x01\xfe\xff",
        ["a", 1, [False]],
        {"k": "v", "inner": {"d": 2.5, "b": b"xyz"}},
    ]
    severities = ["TRACE", "DEBUG", "INFO", "WARN2", "ERROR", "FATAL4", "UNSPECIFIED"]
    for i, (body, severity) in enumerate(zip(bodies, severities)):
        attributes = {"index": i, "text": "ünï", "d": 1e-9, "mixed": {"list": [1, "x"], "deep": {"b": False}}}
        logger.emit(
            LogRecord(
                timestamp=at + i,
                observed_timestamp=at + 3_600_000_000_000,
                context=context if i % 2 == 0 else None,
                severity_text=severity,
                severity_number=SeverityNumber[severity],
                body=body,
                attributes=attributes,
                event_name="an.event" if i == 3 else None,
            )
        )


# What was sent, from the SDK's objects.


def value(v):
    if v is None:
        return None
    if isinstance(v, bool):
        return {"b": v}
    if isinstance(v, int):
        return {"i": str(v)}
    if isinstance(v, float):
        return {"d": repr(v)}
    if isinstance(v, str):
        return {"s": v}
    if isinstance(v, bytes):
        return {"x": v.hex()}
    if hasattr(v, "items"):
        return {"m": attributes(v)}
    return {"a": [value(item) for item in v]}


def attributes(v):
    return {key: value(item) for key, item in (v or {}).items()}


def scope(s):
    return {
        "name": s.name,
        "version": s.version or "",
        "schema_url": s.schema_url or "",
        "attributes": attributes(s.attributes),
    }


def state(s):
    return s.to_header() if s else ""


def spans(batch):
    for s in batch:
        yield {
            "signal": "span",
            "resource": attributes(s.resource.attributes),
            "scope": scope(s.instrumentation_scope),
            "name": s.name,
            "trace_id": f"{s.context.trace_id:032x}",
            "span_id": f"{s.context.span_id:016x}",
            "parent_span_id": f"{s.parent.span_id:016x}" if s.parent else "",
            "trace_state": state(s.context.trace_state),
            "kind": KINDS[s.kind],
            "start": str(s.start_time),
            "end": str(s.end_time),
            "attributes": attributes(s.attributes),
            "events": [
                {"name": e.name, "time": str(e.timestamp), "attributes": attributes(e.attributes)} for e in s.events
            ],
            # The exporter leaves out a link's trace state, and the sampled flag.
            "links": [
                {
                    "trace_id": f"{l.context.trace_id:032x}",
                    "span_id": f"{l.context.span_id:016x}",
                    "attributes": attributes(l.attributes),
                }
                for l in s.links
            ],
            "status": {"code": CODES[s.status.status_code], "message": s.status.description or ""},
            "dropped": [s.dropped_attributes, s.dropped_events, s.dropped_links],
        }


def metrics(data):
    for resource in data.resource_metrics:
        for inner in resource.scope_metrics:
            for metric in inner.metrics:
                for point in metric.data.data_points:
                    yield {
                        "signal": "metric",
                        "resource": attributes(resource.resource.attributes),
                        "scope": scope(inner.scope),
                        "name": metric.name,
                        "description": metric.description or "",
                        "unit": metric.unit or "",
                        "attributes": attributes(point.attributes),
                        "time": str(point.time_unix_nano),
                        **point_fields(metric.data, point),
                    }


def point_fields(data, point):
    # A gauge has no start.
    start = {} if point.start_time_unix_nano is None else {"start": str(point.start_time_unix_nano)}
    if isinstance(data, points.Gauge):
        return {"kind": "gauge", "value": value(point.value), **start}
    temporality = {"temporality": int(data.aggregation_temporality), **start}
    if isinstance(data, points.Sum):
        return {"kind": "sum", "monotonic": data.is_monotonic, "value": value(point.value), **temporality}
    spread = {name: repr(float(getattr(point, name))) for name in ("sum", "min", "max")}
    spread |= {"count": str(point.count), **temporality}
    if isinstance(data, points.Histogram):
        bounds = [repr(float(b)) for b in point.explicit_bounds]
        return {"kind": "histogram", "bounds": bounds, "buckets": [str(c) for c in point.bucket_counts], **spread}
    sides = {
        name: {"offset": side.offset, "buckets": [str(c) for c in side.bucket_counts]}
        for name, side in (("positive", point.positive), ("negative", point.negative))
    }
    return {"kind": "exponential", "scale": point.scale, "zero_count": str(point.zero_count), **sides, **spread}


def logs(batch):
    for item in batch:
        r = item.log_record
        yield {
            "signal": "log",
            "resource": attributes(item.resource.attributes),
            "scope": scope(item.instrumentation_scope),
            "time": str(r.timestamp),
            "observed": str(r.observed_timestamp),
            "severity": r.severity_number.value,
            "severity_text": r.severity_text or "",
            "body": value(r.body),
            "attributes": attributes(r.attributes),
            "trace_id": f"{r.trace_id:032x}" if r.trace_id else "",
            "span_id": f"{r.span_id:016x}" if r.span_id else "",
            "flags": int(r.trace_flags or 0),
            "event_name": r.event_name or "",
        }


def main():
    logging.getLogger().addHandler(Failures(logging.WARNING))
    logging.getLogger().addHandler(logging.StreamHandler())
    resource = Resource.create({"service.name": "python-sdk", "service.namespace": "größe", "service.number": 7})
    to_spans, to_metrics, to_logs = exporters()
    tracers = TracerProvider(resource=resource)
    # A small batch shows several requests.
    tracers.add_span_processor(BatchSpanProcessor(printing(to_spans, spans), max_export_batch_size=8))
    reader = points.PeriodicExportingMetricReader(printing(to_metrics, metrics), export_interval_millis=3_600_000)
    view = View(instrument_type=Histogram, instrument_name="exponential", aggregation=ExponentialBucketHistogramAggregation(max_size=20))
    meters = MeterProvider([reader], resource, views=[view])
    loggers = LoggerProvider(resource=resource)
    loggers.add_log_record_processor(BatchLogRecordProcessor(printing(to_logs, logs)))

    context = traces(tracers.get_tracer("tracer", "1.2.3", "https://opentelemetry.io/schemas/1.26.0", {"scope.attribute": True}))
    measure(meters.get_meter("meter", "0.1"))
    record(context, loggers.get_logger("logger", "2"))

    flushed = [provider.force_flush() for provider in (tracers, meters, loggers)]
    for provider in (tracers, meters, loggers):
        provider.shutdown()
    if not all(flushed) or Failures.seen:
        sys.exit(f"flushed: {flushed}, {Failures.seen}")


main()
