"""An application with the stock OpenTelemetry SDK, for the benches: it makes spans at a steady rate and exports them.

    python app.py none|encode|grpc|inproc TARGET SPANS RATE

TARGET is the collector's address for grpc, the configuration of the collector in this process for inproc. After a warm-up
of a tenth it prints `ready` and waits for a line; after the spans it prints how many exports there were, how many failed,
and the mean, 50th and 99th percentile of their time in milliseconds, and waits for another line.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, Tracer

BURST = 64
METHODS = ("GET", "POST", "PUT", "GET")
ROUTES = (
    "/api/v1/products/{id}/recommendations",
    "/api/v1/products/{id}/reviews/latest",
    "/api/v1/carts/{id}/items/quantities",
    "/api/v1/checkout/{id}/shipping/quotes",
)


class Nothing(SpanExporter):
    """The exporter of the lower bound: the cost of the SDK alone."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        pass


class Encoder(SpanExporter):
    """The second lower bound: the cost of the SDK's encoding, which every exporter has."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        encode_spans(spans).SerializeToString()
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        pass


class Watch(SpanExporter):
    """Measures the time of each export."""

    def __init__(self, inner: SpanExporter) -> None:
        self.inner = inner
        self.took: list[float] = []
        self.failed = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        began = time.perf_counter()
        result = self.inner.export(spans)
        self.took.append((time.perf_counter() - began) * 1000)
        self.failed += result is not SpanExportResult.SUCCESS
        return result

    def shutdown(self) -> None:
        self.inner.shutdown()

    def reset(self) -> None:
        self.took, self.failed = [], 0

    def __str__(self) -> str:
        took = sorted(self.took) or [0.0]

        def at(share: int) -> float:
            return took[min(len(took) * share // 100, len(took) - 1)]

        return f"{len(self.took)} {self.failed} {sum(took) / len(took)} {at(50)} {at(99)}"


def work(tracer: Tracer, spans: int, rate: int) -> None:
    """Makes spans in bursts, so many a second."""
    began = time.perf_counter()
    for i in range(spans):
        if i % BURST == 0:
            time.sleep(max(began + i / rate - time.perf_counter(), 0))
        number = i * 0x9E3779B97F4A7C15 % 2**64
        method, route = METHODS[i % len(METHODS)], ROUTES[i // 7 % len(ROUTES)]
        tracer.start_span(
            f"{method} {route}",
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": method,
                "url.path": f"{route}/{number:x}",
                "url.scheme": "https",
                "server.address": "frontend.shop.svc.cluster.local",
                "client.address": f"10.42.{i % 256}.{i // 256 % 256}",
                "user_agent.original": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
                "network.protocol.version": "1.1",
                "http.route": route,
                "app.user.tier": "gold",
                "app.session.id": f"{number:x}-{~number % 2**64:x}",
            },
        ).end()


def main() -> None:
    _, way, target, count, per_second = sys.argv
    spans, rate = int(count), int(per_second)
    collector = None
    inner: SpanExporter
    if way == "none":
        inner = Nothing()
    elif way == "encode":
        inner = Encoder()
    elif way == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        inner = OTLPSpanExporter(endpoint=target, insecure=True)
    elif way == "inproc":
        from otelcore import Collector
        from otelcore.sdk import CollectorSpanExporter

        collector = Collector(target)
        collector.start()
        inner = CollectorSpanExporter(collector, input="inproc/app")
    else:
        sys.exit(f"{way!r} is none of none, encode, grpc, inproc")
    watch = Watch(inner)
    provider = TracerProvider(resource=Resource({"service.name": "checkout", "host.name": "node-17"}))
    provider.add_span_processor(BatchSpanProcessor(watch))
    tracer = provider.get_tracer("shop.tracer", "1.0.0")

    work(tracer, max(spans // 10, BURST), rate)
    provider.force_flush()
    watch.reset()
    print("ready", max(spans // 10, BURST), flush=True)
    sys.stdin.readline()
    work(tracer, spans, rate)
    provider.force_flush()
    if collector is not None:
        collector.flush(60)
    print(watch, flush=True)
    sys.stdin.readline()
    provider.shutdown()
    if collector is not None:
        collector.shutdown(10)


if __name__ == "__main__":
    main()
