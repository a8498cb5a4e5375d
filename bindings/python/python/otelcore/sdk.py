"""Exporters for the OpenTelemetry SDK: what the SDK collects goes to a collector in the same process.

    provider.add_span_processor(BatchSpanProcessor(CollectorSpanExporter(collector)))

The exporters encode with the SDK's own OTLP encoders. They take a running `Collector`, or a configuration for one of their
own. Without either (this is how `OTEL_TRACES_EXPORTER=otelcore` makes them) all of a process share one collector: from
the path or YAML in `OTELCORE_CONFIG`, or one that sends OTLP to `OTEL_EXPORTER_OTLP_ENDPOINT`.

After a fork the child's exporters start a collector of the same configuration with their first batch.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

try:
    from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
    from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
    from opentelemetry.sdk.metrics.export import (
        AggregationTemporality,
        MetricExporter,
        MetricExportResult,
        MetricsData,
    )
    from opentelemetry.sdk.metrics.view import Aggregation
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
except ImportError as _missing:
    raise ImportError(f"otelcore.sdk needs the OpenTelemetry SDK ({_missing}): pip install 'otelcore[sdk]'") from _missing

from ._collector import EXIT_TIMEOUT, Collector
from ._config import Config
from ._errors import ClosedError, OtelcoreError, OverloadedError
from ._otelcore import Input

__all__ = ["CollectorLogRecordExporter", "CollectorMetricExporter", "CollectorSpanExporter"]

_logger = logging.getLogger(__name__)

_AGAIN = 5.0
"""Seconds between two attempts to start a collector that can't start."""


class _Source:
    """A collector that one or several exporters use, and how to have it again in a forked child."""

    def __init__(self, make: Callable[[], Collector], *, ours: bool) -> None:
        self._make = make
        self._ours = ours
        self._users = 0
        self._collector: Collector | None = None
        self._inputs: dict[str, Input] = {}
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._not_before = 0.0

    def _here(self) -> None:
        """After a fork the lock may be held by a thread that is not here."""
        if self._pid != os.getpid():
            self._lock = threading.Lock()
            self._inputs = {}
            self._not_before = 0.0
            self._pid = os.getpid()

    def enter(self) -> None:
        self._here()
        with self._lock:
            self._users += 1
            if self._collector is None:
                self._collector = self._make()

    def input(self, name: str) -> Input:
        self._here()
        with self._lock:
            collector = self._collector
            if collector is None:
                raise ClosedError("the exporter has been shut down")
            if collector.state == "forked" or (self._ours and collector.state == "created"):
                if time.monotonic() < self._not_before:
                    raise ClosedError("the collector could not be started; it is tried again soon")
                self._not_before = time.monotonic() + _AGAIN
                collector.start()
                self._inputs = {}
            elif self._ours and collector.state == "failed":
                # A start has failed: it begins anew.
                self._collector = self._make()
                raise ClosedError("the collector has failed; it is started again soon")
            if name not in self._inputs:
                self._inputs[name] = collector.input(name)
            return self._inputs[name]

    def flush(self, timeout: float) -> bool:
        collector = self._collector
        if collector is None or collector.state in ("created", "forked"):
            return True
        try:
            collector.flush(timeout)
        except OtelcoreError as error:
            _logger.warning("flush: %s", error)
            return False
        return True

    def leave(self, timeout: float) -> None:
        """The last exporter ends a collector that the exporters have made."""
        self._here()
        with self._lock:
            self._users -= 1
            if self._users > 0 or not self._ours or self._collector is None:
                return
            collector, self._collector = self._collector, None
            self._inputs = {}
        try:
            collector.shutdown(timeout)
        except OtelcoreError as error:
            _logger.warning("shutdown: %s", error)


class _Sender:
    """What the three exporters have in common."""

    def __init__(self, collector: Collector | Config | None, input: str, timeout: float) -> None:
        if collector is None:
            self._source = _shared
        elif isinstance(collector, Collector):
            mine = collector
            self._source = _Source(lambda: mine, ours=False)
        else:
            config = collector
            self._source = _Source(lambda: Collector(config), ours=True)
        self._source.enter()
        self._name = input
        self._timeout = timeout
        self._closing = threading.Event()

    def send(self, submit: str, request: Any, timeout: float | None = None) -> bool:
        deadline = time.monotonic() + (self._timeout if timeout is None else timeout)
        body: bytes = request.SerializeToString()
        while not self._closing.is_set():
            try:
                getattr(self._source.input(self._name), submit)(body)
                return True
            except OverloadedError as error:
                if time.monotonic() + error.retry_after >= deadline:
                    _logger.warning("%s: %s", submit, error)
                    return False
                self._closing.wait(error.retry_after)
            except OtelcoreError as error:
                _logger.warning("%s: %s", submit, error)
                return False
        return False

    def flush(self, timeout: float) -> bool:
        return self._source.flush(timeout)

    def close(self, timeout: float) -> None:
        if not self._closing.is_set():
            self._closing.set()
            self._source.leave(timeout)


class CollectorSpanExporter(SpanExporter):
    """Hands spans to a collector's `inproc` receiver. While that is full it waits, for `timeout` seconds at most."""

    def __init__(
        self, collector: Collector | Config | None = None, *, input: str = "inproc", timeout: float = 10.0
    ) -> None:
        self._sender = _Sender(collector, input, timeout)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        sent = self._sender.send("submit_traces", encode_spans(spans))
        return SpanExportResult.SUCCESS if sent else SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Waits until the collector has delivered what it was given."""
        return self._sender.flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Takes nothing more. A collector that the exporter has made delivers what it holds, and ends."""
        self._sender.close(EXIT_TIMEOUT)


class CollectorMetricExporter(MetricExporter):
    """Hands metrics to a collector's `inproc` receiver. While that is full it waits, for `timeout` seconds at most."""

    def __init__(
        self,
        collector: Collector | Config | None = None,
        *,
        input: str = "inproc",
        timeout: float = 10.0,
        preferred_temporality: dict[type, AggregationTemporality] | None = None,
        preferred_aggregation: dict[type, Aggregation] | None = None,
    ) -> None:
        super().__init__(preferred_temporality, preferred_aggregation)
        self._sender = _Sender(collector, input, timeout)

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        sent = self._sender.send("submit_metrics", encode_metrics(metrics_data), timeout_millis / 1000)
        return MetricExportResult.SUCCESS if sent else MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Waits until the collector has delivered what it was given."""
        return self._sender.flush(timeout_millis / 1000)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Takes nothing more. A collector that the exporter has made delivers what it holds, and ends."""
        self._sender.close(min(timeout_millis / 1000, EXIT_TIMEOUT))


class CollectorLogRecordExporter(LogRecordExporter):
    """Hands log records to a collector's `inproc` receiver. While that is full it waits, for `timeout` seconds at most."""

    def __init__(
        self, collector: Collector | Config | None = None, *, input: str = "inproc", timeout: float = 10.0
    ) -> None:
        self._sender = _Sender(collector, input, timeout)

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        # What the collector says of a log that it can't deliver must not come to it as more of the same.
        records = [record for record in batch if not _is_ours(record)]
        if not records:
            return LogRecordExportResult.SUCCESS
        sent = self._sender.send("submit_logs", encode_logs(records))
        return LogRecordExportResult.SUCCESS if sent else LogRecordExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Waits until the collector has delivered what it was given."""
        return self._sender.flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Takes nothing more. A collector that the exporter has made delivers what it holds, and ends."""
        self._sender.close(EXIT_TIMEOUT)


def _is_ours(record: ReadableLogRecord) -> bool:
    """Whether `logging` has it from a collector in this process, or from this package."""
    scope = record.instrumentation_scope
    if scope is not None and (scope.name == "otelcore" or scope.name.startswith("otelcore.")):
        return True
    return "otelcore" in (record.log_record.attributes or ())


def _from_environment() -> Collector:
    """The collector of this process, for exporters that were given none."""
    return Collector(os.environ.get("OTELCORE_CONFIG") or _default(os.environ))


def _default(env: Mapping[str, str]) -> dict[str, Any]:
    """OTLP to where the SDK's own exporters would send it, by the same variables."""
    grpc = env.get("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc").strip() == "grpc"
    exporter = "otlp_grpc" if grpc else "otlp_http"
    endpoint = env.get("OTEL_EXPORTER_OTLP_ENDPOINT") or f"http://localhost:{4317 if grpc else 4318}"
    settings: dict[str, Any] = {"endpoint": endpoint}
    insecure = env.get("OTEL_EXPORTER_OTLP_INSECURE", "").strip().lower() == "true"
    if grpc and (endpoint.startswith("http://") or (insecure and not endpoint.startswith("https://"))):
        # For the collector's gRPC the scheme says nothing.
        settings["tls"] = {"insecure": True}
    pairs = [pair.partition("=") for pair in env.get("OTEL_EXPORTER_OTLP_HEADERS", "").split(",") if "=" in pair]
    if pairs:
        settings["headers"] = {unquote(key).strip().lower(): unquote(value).strip() for key, _, value in pairs}
    pipeline = {"receivers": ["inproc"], "processors": ["batch"], "exporters": [exporter]}
    return {
        "receivers": {"inproc": None},
        "processors": {"batch": None},
        "exporters": {exporter: settings},
        "service": {"pipelines": {signal: pipeline for signal in ("traces", "metrics", "logs")}},
    }


_shared = _Source(_from_environment, ours=True)

