"""Exporters for the OpenTelemetry SDK: what the SDK collects goes to a collector in the same process.

    provider.add_span_processor(BatchSpanProcessor(CollectorSpanExporter(collector)))

The exporters encode OTLP from the SDK's objects into the collector's buffer, without protobuf messages in between; the
result is what the SDK's own OTLP exporters send. They take a running `Collector`, or a configuration for their
own one. They submit to the only input that takes their signal, unless `input` names one; a configuration that has none
is a `ConfigError`. Without a collector and a configuration (this is how `OTEL_TRACES_EXPORTER=otelcore` makes them) all of a
process share one collector: from the path or YAML in `OTELCORE_CONFIG`, or one that sends OTLP as the SDK's own exporters
would, by these variables, each of which may also be set for one signal (`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`):

    OTEL_EXPORTER_OTLP_ENDPOINT     OTEL_EXPORTER_OTLP_TIMEOUT (in seconds)   OTEL_EXPORTER_OTLP_CERTIFICATE
    OTEL_EXPORTER_OTLP_PROTOCOL     OTEL_EXPORTER_OTLP_COMPRESSION            OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE
    OTEL_EXPORTER_OTLP_HEADERS      OTEL_EXPORTER_OTLP_INSECURE               OTEL_EXPORTER_OTLP_CLIENT_KEY

and `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE`, `OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION`.
Credential providers of Python's own exporters (`OTEL_PYTHON_EXPORTER_OTLP_*`) are not used.

`OTELCORE_EXIT_ON_SIGTERM=true` then calls `otelcore.exit_on_sigterm()`.

After a fork the child's exporters start a collector of the same configuration with their first batch.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import unquote

try:
    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
    from opentelemetry.sdk.metrics import Counter, Histogram, ObservableCounter
    from opentelemetry.sdk.metrics.export import (
        AggregationTemporality,
        MetricExporter,
        MetricExportResult,
        MetricsData,
    )
    from opentelemetry.sdk.metrics.view import Aggregation, ExponentialBucketHistogramAggregation
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
except ImportError as _missing:
    raise ImportError(f"otelcore.sdk needs the OpenTelemetry SDK ({_missing}): pip install 'otelcore[sdk]'") from _missing

from ._collector import EXIT_TIMEOUT, Collector, exit_on_sigterm
from ._config import Config
from ._errors import ClosedError, ConfigError, OtelcoreError, OverloadedError
from ._otelcore import Input, encode

__all__ = ["CollectorLogRecordExporter", "CollectorMetricExporter", "CollectorSpanExporter"]

_logger = logging.getLogger(__name__)

_AGAIN = 5.0
"""Seconds between two attempts to start a collector that can't start."""


class _Source:
    """A collector that one or several exporters use, and the function that creates it again in a forked child."""

    def __init__(self, make: Callable[[], Collector], *, ours: bool) -> None:
        self._make = make
        self._ours = ours
        self._users = 0
        self._collector: Collector | None = None
        self._inputs: dict[tuple[str | None, str], Input] = {}
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._not_before = 0.0

    def _here(self) -> None:
        """Resets the state after a fork: the lock may be held by a thread that does not exist in the child."""
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

    def check(self, name: str | None, signal: str) -> None:
        """Raises `ConfigError` where the configuration takes no such signal."""
        collector = self._collector
        if collector is not None and collector.state != "forked":
            collector._engine.input(name, signal)

    def input(self, name: str | None, signal: str) -> Input:
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
                # A start has failed: a new collector is made.
                self._collector = self._make()
                raise ClosedError("the collector has failed; it is started again soon")
            found = self._inputs.get((name, signal))
            if found is None:
                found = self._inputs[name, signal] = collector._engine.input(name, signal)
            return found

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
        """Ends a collector that the exporters have made when the last of them is shut down."""
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
    """The code that the three exporters share."""

    def __init__(
        self,
        signal: Literal["traces", "metrics", "logs"],
        collector: Collector | Config | None,
        input: str | None,
        timeout: float,
    ) -> None:
        if collector is None:
            self._source = _shared
        elif isinstance(collector, Collector):
            mine = collector
            self._source = _Source(lambda: mine, ours=False)
        else:
            config = collector
            self._source = _Source(lambda: Collector(config), ours=True)
        self._source.enter()
        try:
            self._source.check(input, signal)
        except BaseException:
            self._source.leave(0)
            raise
        self._signal = signal
        self._name = input
        self._timeout = timeout
        self._closing = threading.Event()

    def send(self, data: Any, timeout: float | None = None) -> bool:
        """Encodes and submits what an exporter is given. While the collector is full it waits."""
        if self._closing.is_set():
            return False
        deadline = time.monotonic() + (self._timeout if timeout is None else timeout)
        try:
            request = encode(self._signal, data)
        except Exception as error:
            _logger.warning("%s: not encoded, and lost: %s", self._signal, error)
            return False
        count, skipped = request.skipped
        if count:
            named = "; ".join(f"{key}: {reason}" for key, reason in skipped)
            _logger.warning("%s: %d attributes were left out: %s", self._signal, count, named)
        while not self._closing.is_set():
            try:
                self._source.input(self._name, self._signal).submit_request(request)
                return True
            except OverloadedError as error:
                if time.monotonic() + error.retry_after >= deadline:
                    _logger.warning("%s: %s", self._signal, error)
                    return False
                self._closing.wait(error.retry_after)
            except OtelcoreError as error:
                _logger.warning("%s: %s", self._signal, error)
                return False
        return False

    def flush(self, timeout: float) -> bool:
        return self._source.flush(timeout)

    def close(self, timeout: float) -> None:
        if not self._closing.is_set():
            self._closing.set()
            self._source.leave(timeout)


class CollectorSpanExporter(SpanExporter):
    """Submits spans to a collector's `inproc` receiver. While that is full it waits, for `timeout` seconds at most."""

    def __init__(
        self, collector: Collector | Config | None = None, *, input: str | None = None, timeout: float = 10.0
    ) -> None:
        self._sender = _Sender("traces", collector, input, timeout)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        sent = self._sender.send(spans)
        return SpanExportResult.SUCCESS if sent else SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Waits until the collector has delivered what it was given."""
        return self._sender.flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Accepts no more spans. A collector that the exporter has made delivers what it holds, and ends."""
        self._sender.close(EXIT_TIMEOUT)


class CollectorMetricExporter(MetricExporter):
    """Submits metrics to a collector's `inproc` receiver. While that is full it waits, `timeout` seconds at most."""

    def __init__(
        self,
        collector: Collector | Config | None = None,
        *,
        input: str | None = None,
        timeout: float = 10.0,
        preferred_temporality: dict[type, AggregationTemporality] | None = None,
        preferred_aggregation: dict[type, Aggregation] | None = None,
    ) -> None:
        if collector is None:
            preferred_temporality = preferred_temporality or _temporality(os.environ)
            preferred_aggregation = preferred_aggregation or _aggregation(os.environ)
        super().__init__(preferred_temporality, preferred_aggregation)
        self._sender = _Sender("metrics", collector, input, timeout)

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        sent = self._sender.send(metrics_data, timeout_millis / 1000)
        return MetricExportResult.SUCCESS if sent else MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Waits until the collector has delivered what it was given."""
        return self._sender.flush(timeout_millis / 1000)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Accepts no more metrics. A collector that the exporter has made delivers what it holds, and ends."""
        self._sender.close(min(timeout_millis / 1000, EXIT_TIMEOUT))


class CollectorLogRecordExporter(LogRecordExporter):
    """Submits log records to a collector's `inproc` receiver. While that is full it waits `timeout` seconds at most."""

    def __init__(
        self, collector: Collector | Config | None = None, *, input: str | None = None, timeout: float = 10.0
    ) -> None:
        self._sender = _Sender("logs", collector, input, timeout)

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        # The collector's log about records that it can't deliver must not be exported to it again.
        records = [record for record in batch if not _is_ours(record)]
        if not records:
            return LogRecordExportResult.SUCCESS
        sent = self._sender.send(records)
        return LogRecordExportResult.SUCCESS if sent else LogRecordExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Waits until the collector has delivered what it was given."""
        return self._sender.flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Accepts no more log records. A collector that the exporter has made delivers what it holds, and ends."""
        self._sender.close(EXIT_TIMEOUT)


def _is_ours(record: ReadableLogRecord) -> bool:
    """Whether the record comes from the log of a collector in this process, or from this package."""
    scope = record.instrumentation_scope
    if scope is not None and (scope.name == "otelcore" or scope.name.startswith("otelcore.")):
        return True
    return "otelcore" in (record.log_record.attributes or ())


def _from_environment() -> Collector:
    """The collector of this process, for exporters that were given none."""
    collector = Collector(os.environ.get("OTELCORE_CONFIG") or _default(os.environ))
    if os.environ.get("OTELCORE_EXIT_ON_SIGTERM", "").strip().lower() == "true":
        try:
            exit_on_sigterm()
        except ValueError:
            _logger.warning("OTELCORE_EXIT_ON_SIGTERM has no effect: the exporters are not made in the main thread")
    return collector


_PREFIX = "OTEL_EXPORTER_OTLP_"

_SIGNALS = ("traces", "metrics", "logs")


class _Variables:
    """`OTEL_EXPORTER_OTLP_*` for one signal: its own variable precedes the general one, and an empty one is unset."""

    def __init__(self, env: Mapping[str, str], signal: str) -> None:
        self._env, self._signal = env, signal

    def find(self, name: str) -> tuple[str, str] | None:
        """The variable, and its value."""
        for variable in (f"{_PREFIX}{self._signal.upper()}_{name}", _PREFIX + name):
            if value := self._env.get(variable, "").strip():
                return variable, value
        return None

    def get(self, name: str) -> str:
        found = self.find(name)
        return found[1] if found else ""

    def one_of(self, name: str, known: Sequence[str]) -> str:
        """One of the known values, or an empty text."""
        variable, value = self.find(name) or (name, "")
        if value and value.lower() not in known:
            raise ConfigError(f"{variable} is {value!r}; write one of {', '.join(known)}")
        return value.lower()


def _tls(variables: _Variables) -> dict[str, Any]:
    keys = {"CERTIFICATE": "ca_file", "CLIENT_CERTIFICATE": "cert_file", "CLIENT_KEY": "key_file"}
    return {key: file for name, key in keys.items() if (file := variables.get(name))}


def _exporter(env: Mapping[str, str], signal: str) -> tuple[str, dict[str, Any]]:
    """The type and the configuration of the exporter that corresponds to the SDK's own one for a signal."""
    variables = _Variables(env, signal)
    protocol = variables.one_of("PROTOCOL", ("grpc", "http/protobuf", "http/json")) or "grpc"
    settings: dict[str, Any] = {}
    variable, endpoint = variables.find("ENDPOINT") or ("", "")
    if protocol == "grpc":
        endpoint = endpoint or "http://localhost:4317"
        scheme, separator, rest = endpoint.partition("://")
        if scheme in ("http", "https"):
            endpoint = scheme + separator + rest.partition("/")[0]
        insecure = variables.get("INSECURE").lower() == "true" and scheme != "https"
        # The collector's gRPC exporter ignores the scheme.
        tls = {"insecure": True} if insecure or scheme == "http" else _tls(variables)
        settings["endpoint"] = endpoint
        codings: tuple[str, ...] = ("none", "gzip")
    else:
        endpoint = endpoint or "http://localhost:4318"
        tls = {} if endpoint.startswith("http://") else _tls(variables)
        # The URL for one signal is used as it is; to the general URL the path of each signal is appended.
        own = variable == f"{_PREFIX}{signal.upper()}_ENDPOINT"
        settings[f"{signal}_endpoint" if own else "endpoint"] = endpoint
        if protocol == "http/json":
            settings["encoding"] = "json"
        codings = ("none", "gzip", "deflate")
    if tls:
        settings["tls"] = tls
    if coding := variables.one_of("COMPRESSION", codings):
        settings["compression"] = coding
    if found := variables.find("TIMEOUT"):
        try:
            settings["timeout"] = f"{round(float(found[1]) * 1000)}ms"
        except (ValueError, OverflowError):
            raise ConfigError(f"{found[0]} is {found[1]!r}; write a number of seconds") from None
    pairs = [pair.partition("=") for pair in variables.get("HEADERS").split(",") if "=" in pair]
    headers = {unquote(key).strip().lower(): unquote(value).strip() for key, _, value in pairs if key.strip()}
    if headers:
        settings["headers"] = headers
    return protocol.partition("/")[0], settings


def _default(env: Mapping[str, str]) -> dict[str, Any]:
    """OTLP to the endpoints of the SDK's own exporters, from the same variables: one exporter if they are equal for
    all signals, else one for each signal."""
    types = {"grpc": "otlp_grpc", "http": "otlp_http"}
    wanted = {signal: _exporter(env, signal) for signal in _SIGNALS}
    same = all(one == wanted["traces"] for one in wanted.values())
    exporters: dict[str, Any] = {}
    pipelines: dict[str, Any] = {}
    for signal, (kind, settings) in wanted.items():
        name = types[kind] if same else f"{types[kind]}/{signal}"
        exporters[name] = settings
        pipelines[signal] = {"receivers": ["inproc"], "processors": ["batch"], "exporters": [name]}
    return {
        "receivers": {"inproc": None},
        "processors": {"batch": None},
        "exporters": exporters,
        "service": {"pipelines": pipelines},
    }


def _temporality(env: Mapping[str, str]) -> dict[type, AggregationTemporality] | None:
    preferences: dict[str, tuple[type, ...]] = {
        "cumulative": (),
        "delta": (Counter, Histogram, ObservableCounter),
        "lowmemory": (Counter, Histogram),
    }
    name = _PREFIX + "METRICS_TEMPORALITY_PREFERENCE"
    preference = env.get(name, "").strip().lower() or "cumulative"
    if preference not in preferences:
        raise ConfigError(f"{name} is {env[name]!r}; write one of {', '.join(preferences)}")
    return dict.fromkeys(preferences[preference], AggregationTemporality.DELTA) or None


def _aggregation(env: Mapping[str, str]) -> dict[type, Aggregation] | None:
    name = _PREFIX + "METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
    wanted = env.get(name, "").strip().lower() or "explicit_bucket_histogram"
    if wanted == "base2_exponential_bucket_histogram":
        return {Histogram: ExponentialBucketHistogramAggregation()}
    if wanted != "explicit_bucket_histogram":
        raise ConfigError(
            f"{name} is {env[name]!r}; write one of explicit_bucket_histogram, base2_exponential_bucket_histogram"
        )
    return None


_shared = _Source(_from_environment, ours=True)

