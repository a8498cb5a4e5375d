"""Helpers of the tests."""

from __future__ import annotations

import time
from collections.abc import Callable

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

THROUGH = """
receivers: {inproc/app: }
processors: {batch: {timeout: 10s}}
exporters: {inproc/out: }
service:
  telemetry: {metrics: {level: none}}
  pipelines: {traces: {receivers: [inproc/app], processors: [batch], exporters: [inproc/out]}}
"""
"""A pipeline from an input through the batch processor to an output."""


def spans(n: int, name: str = "") -> bytes:
    """A request of `n` spans."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for _ in range(n):
        scope.spans.add(name=name or "a", start_time_unix_nano=1)
    return request.SerializeToString()


def span_names(data: bytes) -> list[str]:
    request = ExportTraceServiceRequest.FromString(data)
    return [span.name for r in request.resource_spans for s in r.scope_spans for span in s.spans]


def span_count(data: bytes) -> int:
    return len(span_names(data))


def wait_for(done: Callable[[], bool], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.01)
