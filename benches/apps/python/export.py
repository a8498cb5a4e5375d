"""The CPU of exporting alone: the stock OTLP exporter over gRPC, and the exporter of this package, with the same spans.

    python export.py [SPANS] [ROUNDS]

Each export runs in a process of its own, in batches of 512 spans with ten attributes, to a collector in the parent process
that discards them; the collector of this package's exporter sends to it over gRPC too. Printed is the CPU of the exporting process in
microseconds a span, of all its threads, from the first export to the end of a flush: of each round, and the ratio of the
medians. The rounds alternate.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from otelcore import Collector

from app import work

BATCH = 512


class Keep(SpanExporter):
    """Keeps the spans of a tracer."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: list[ReadableSpan]) -> SpanExportResult:  # type: ignore[override]
        self.spans += spans
        return SpanExportResult.SUCCESS


def export(way: str, address: str, count: int) -> None:
    """Exports in this process, and prints its CPU seconds."""
    keep = Keep()
    provider = TracerProvider(resource=Resource({"service.name": "checkout", "host.name": "node-17"}))
    provider.add_span_processor(SimpleSpanProcessor(keep))
    work(provider.get_tracer("shop.tracer", "1.0.0"), BATCH, 1_000_000)
    exporter: SpanExporter
    collector = None
    if way == "stock":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter(endpoint=address, insecure=True)
    else:
        from otelcore.sdk import CollectorSpanExporter

        config = {
            "receivers": {"inproc": None},
            "exporters": {"otlp_grpc": {"endpoint": address, "tls": {"insecure": True}, "compression": "none"}},
            "service": {
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {"traces": {"receivers": ["inproc"], "exporters": ["otlp_grpc"]}},
            },
        }
        collector = Collector(config).start()
        exporter = CollectorSpanExporter(collector)

    def send(batches: int) -> None:
        for _ in range(batches):
            if exporter.export(keep.spans) is not SpanExportResult.SUCCESS:
                sys.exit(f"{way}: an export has failed")
        if collector is not None:
            collector.flush(60)

    send(4)
    began = time.process_time()
    send(count // BATCH)
    print(time.process_time() - began, flush=True)
    exporter.shutdown()
    if collector is not None:
        collector.shutdown(10)


def main() -> None:
    if len(sys.argv) == 4 and sys.argv[1] in ("stock", "otelcore"):
        export(sys.argv[1], sys.argv[2], int(sys.argv[3]))
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 102_400
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    sink = {
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": "127.0.0.1:0"}}}},
        "exporters": {"nop": None},
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["nop"]}},
        },
    }
    with Collector(sink) as collector:
        (address,) = (a for status in collector.component_statuses() for a in status["addresses"])
        figures: dict[str, list[float]] = {"stock": [], "otelcore": []}
        for _ in range(rounds):
            for way, cpu in figures.items():
                command = [sys.executable, __file__, way, address, str(count)]
                child = subprocess.run(command, capture_output=True, text=True, timeout=600)
                if child.returncode != 0:
                    sys.exit(child.stderr)
                cpu.append(float(child.stdout) / count * 1e6)
    for way, cpu in figures.items():
        print(f"{way:9} {' '.join(f'{one:6.2f}' for one in cpu)}  microseconds of CPU a span")
    print(f"otelcore / stock: {statistics.median(figures['otelcore']) / statistics.median(figures['stock']):.3f}")


if __name__ == "__main__":
    main()
