"""A filter in Python between an input and an output: spans of health checks are dropped.

OTLP comes in at 4317 and 4318, passes through `wanted`, and goes on to Jaeger. A batch is acknowledged when the next
pipeline has taken what is left of it; while that is full, the batch is given back, and comes again.

    pip install 'otelcore[sdk]'
    python filter.py
"""

import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from otelcore import Collector, OverloadedError

CONFIG = Path(__file__).with_name("filter.yaml")


def wanted(span: Span) -> bool:
    return not any(a.key in ("http.route", "url.path") and a.value.string_value == "/healthz" for a in span.attributes)


def strain(collector: Collector) -> None:
    """Receives batches of one pipeline and submits the selected spans to the next, until the collector ends."""
    entrance = collector.input("inproc/wanted")
    for batch in collector.output("inproc/all"):
        request = ExportTraceServiceRequest.FromString(batch.data)
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                kept = [span for span in scope.spans if wanted(span)]
                del scope.spans[:]
                scope.spans.extend(kept)
        try:
            entrance.submit_traces(request.SerializeToString())
        except OverloadedError as full:
            batch.reject(retry_after=full.retry_after)
        else:
            batch.ack()


def stop(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


def main() -> None:
    signal.signal(signal.SIGTERM, stop)
    with Collector(CONFIG) as collector:
        threading.Thread(target=strain, args=(collector,), daemon=True).start()
        print("Send OTLP to 4317 or 4318; stop with Ctrl-C.", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
