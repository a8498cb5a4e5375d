"""The SDK's exporters, with the stock SDK."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import Counter, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExportResult
from otelcore import Batch, Collector, ConfigError, Output
from otelcore.sdk import CollectorLogRecordExporter, CollectorMetricExporter, CollectorSpanExporter, _aggregation, _default, _temporality
from support import span_names

ALL = """
receivers: {inproc: }
exporters: {inproc: }
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    traces: {receivers: [inproc], exporters: [inproc]}
    metrics: {receivers: [inproc], exporters: [inproc]}
    logs: {receivers: [inproc], exporters: [inproc]}
"""


def following(output: Output, signal: str) -> bytes:
    batch: Batch | None = output.next(10)
    assert batch is not None and batch.signal == signal
    batch.ack()
    return batch.data


def test_spans_metrics_and_log_records_of_the_stock_sdk_arrive() -> None:
    with Collector(ALL) as collector:
        output = collector.output()
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(BatchSpanProcessor(CollectorSpanExporter(collector)))
        with tracers.get_tracer("t").start_as_current_span("outer"), tracers.get_tracer("t").start_as_current_span("inner"):
            pass
        assert tracers.force_flush()
        assert sorted(span_names(following(output, "traces"))) == ["inner", "outer"]
        tracers.shutdown()

        exporter = CollectorMetricExporter(
            collector, preferred_temporality={Counter: AggregationTemporality.DELTA}
        )
        meters = MeterProvider([PeriodicExportingMetricReader(exporter)], shutdown_on_exit=False)
        meters.get_meter("m").create_counter("orders").add(3)
        taken: list[bytes] = []
        taker = threading.Thread(target=lambda: taken.append(following(output, "metrics")))
        taker.start()
        assert meters.force_flush()
        taker.join(10)
        (metric,) = ExportMetricsServiceRequest.FromString(taken[0]).resource_metrics[0].scope_metrics[0].metrics
        assert metric.name == "orders" and metric.sum.data_points[0].as_int == 3
        assert metric.sum.aggregation_temporality == AggregationTemporality.DELTA.value
        meters.shutdown()

        loggers = LoggerProvider(shutdown_on_exit=False)
        loggers.add_log_record_processor(BatchLogRecordProcessor(CollectorLogRecordExporter(collector)))
        loggers.get_logger("l").emit(body="said", timestamp=1)
        assert loggers.force_flush()
        (record,) = ExportLogsServiceRequest.FromString(following(output, "logs")).resource_logs[0].scope_logs[0].log_records
        assert record.body.string_value == "said"
        loggers.shutdown()
        assert collector.state == "running", "the collector is its owner's"


def a_span() -> ReadableSpan:
    kept: list[ReadableSpan] = []

    class Keep(CollectorSpanExporter):
        def __init__(self) -> None:
            pass

        def export(self, spans: object) -> SpanExportResult:
            kept.extend(spans)  # type: ignore[arg-type]
            return SpanExportResult.SUCCESS

        def shutdown(self) -> None:
            pass

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(Keep()))
    provider.get_tracer("t").start_span("one").end()
    return kept[0]


def test_an_exporter_says_when_it_could_not(caplog: pytest.LogCaptureFixture) -> None:
    collector = Collector(ALL)
    exporter = CollectorSpanExporter(collector)
    assert exporter.export([a_span()]) is SpanExportResult.FAILURE
    assert "has not been started" in caplog.text
    with collector:
        assert exporter.export([a_span()]) is SpanExportResult.SUCCESS
        following(collector.output(), "traces")
        exporter.shutdown()
        assert exporter.export([a_span()]) is SpanExportResult.FAILURE
    late = CollectorMetricExporter(collector)
    assert late.export(MetricsData(resource_metrics=[])) is MetricExportResult.FAILURE
    assert "is closed" in caplog.text


def test_exporter_takes_the_only_input_of_its_signal_and_refuses_a_wrong_one_when_made() -> None:
    config = """
receivers: {inproc/spans: , inproc/rest: , inproc/unused: }
exporters: {inproc/out: }
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    traces: {receivers: [inproc/spans], exporters: [inproc/out]}
    metrics: {receivers: [inproc/rest], exporters: [inproc/out]}
"""
    with Collector(config) as collector:
        assert CollectorSpanExporter(collector).export([a_span()]) is SpanExportResult.SUCCESS
        assert span_names(following(collector.output(), "traces")) == ["one"]
        assert CollectorMetricExporter(collector).export(MetricsData(resource_metrics=[])) is MetricExportResult.SUCCESS
        for wrong in (
            lambda: CollectorLogRecordExporter(collector),
            lambda: CollectorSpanExporter(collector, input="inproc/rest"),
            lambda: CollectorMetricExporter(collector, input="inproc/unused"),
        ):
            with pytest.raises(ConfigError, match=r"no pipeline takes .*has: inproc/rest \(metrics\), inproc/spans \(traces\)"):
                wrong()
        with pytest.raises(ConfigError, match="there are: inproc/rest, inproc/spans"):
            CollectorSpanExporter(collector, input="other")
    # The same with a configuration whose collector has not been started.
    with pytest.raises(ConfigError, match="no pipeline takes logs"):
        CollectorLogRecordExporter(config)
    two = config.replace("traces: {receivers: [inproc/spans]", "traces: {receivers: [inproc/spans, inproc/rest]")
    with pytest.raises(ConfigError, match="several inputs take traces"):
        CollectorSpanExporter(two)
    assert CollectorSpanExporter(two, input="inproc/rest").shutdown() is None
    with pytest.raises(ConfigError, match="names no receiver `inproc`"):
        CollectorSpanExporter(
            "receivers: {otlp: {protocols: {grpc: }}}\nexporters: {debug: }\n"
            "service: {pipelines: {traces: {receivers: [otlp], exporters: [debug]}}}"
        )


def test_while_the_input_is_full_the_exporter_waits_in_vain_or_not() -> None:
    small = ALL.replace("receivers: {inproc: }", "receivers: {inproc: {max_queue_bytes: 50}}").replace(
        "exporters: {inproc: }", "exporters: {inproc: {sending_queue: {queue_size: 1}}}"
    )
    with Collector(small) as collector:
        exporter = CollectorSpanExporter(collector, timeout=0.4)
        begun, results = time.monotonic(), []
        while time.monotonic() - begun < 20 and SpanExportResult.FAILURE not in results:
            results.append(exporter.export([a_span()]))
        assert results[-1] is SpanExportResult.FAILURE and results.count(SpanExportResult.SUCCESS) > 0
        threading.Timer(0.1, lambda: [b.ack() for b in collector.output()]).start()
        assert CollectorSpanExporter(collector, timeout=10).export([a_span()]) is SpanExportResult.SUCCESS
        assert exporter.force_flush(10_000)


def test_an_exporter_with_a_configuration_has_a_collector_of_its_own() -> None:
    exporter = CollectorMetricExporter(ALL.replace("exporters: {inproc: }", "exporters: {debug: , inproc: }"))
    source = exporter._sender._source
    meters = MeterProvider([PeriodicExportingMetricReader(exporter)], shutdown_on_exit=False)
    meters.get_meter("m").create_counter("orders").add(3)
    source.input("inproc", "metrics")
    assert source._collector is not None
    collector = source._collector
    threading.Timer(0.05, lambda: [b.ack() for b in collector.output()]).start()
    meters.shutdown()
    assert collector.state == "stopped", "the last exporter has ended it"


def test_where_nothing_is_configured_it_goes_where_the_sdk_would_send_it() -> None:
    assert _default({})["exporters"] == {
        "otlp_grpc": {"endpoint": "http://localhost:4317", "tls": {"insecure": True}}
    }
    env = {
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "https://gateway:4318",
        "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Basic%20eA==,x-tenant=a",
    }
    assert _default(env)["exporters"] == {
        "otlp_http": {"endpoint": "https://gateway:4318", "headers": {"authorization": "Basic eA==", "x-tenant": "a"}}
    }
    Collector(_default({}), log=False)
    Collector(_default(env), log=False)


def test_each_otlp_variable_of_the_sdk_is_a_setting(tmp_path: Path) -> None:
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "https://gateway:4317/",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "2.5",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": "/etc/ca.pem",
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "/etc/me.pem",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": "/etc/me.key",
        "OTEL_EXPORTER_OTLP_HEADERS": "a=1,=x,b=%20two",
        "OTEL_EXPORTER_OTLP_INSECURE": "true",
    }
    assert _default(env)["exporters"] == {
        "otlp_grpc": {
            "endpoint": "https://gateway:4317",
            "tls": {"ca_file": "/etc/ca.pem", "cert_file": "/etc/me.pem", "key_file": "/etc/me.key"},
            "compression": "none",
            "timeout": "2500ms",
            "headers": {"a": "1", "b": "two"},
        }
    }
    for signal in ("TRACES", "METRICS", "LOGS"):
        own = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://all:4318/base",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_HEADERS": "who=all",
            f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT": "http://one:4318/mine",
            f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL": "http/json",
            f"OTEL_EXPORTER_OTLP_{signal}_HEADERS": "who=one",
            f"OTEL_EXPORTER_OTLP_{signal}_COMPRESSION": "deflate",
            f"OTEL_EXPORTER_OTLP_{signal}_TIMEOUT": "1",
        }
        made = _default(own)
        name = signal.lower()
        assert made["exporters"][f"otlp_http/{name}"] == {
            f"{name}_endpoint": "http://one:4318/mine",
            "encoding": "json",
            "compression": "deflate",
            "timeout": "1000ms",
            "headers": {"who": "one"},
        }
        assert made["service"]["pipelines"][name]["exporters"] == [f"otlp_http/{name}"]
        others = [settings for key, settings in made["exporters"].items() if key != f"otlp_http/{name}"]
        assert others == [{"endpoint": "http://all:4318/base", "headers": {"who": "all"}}] * 2
        Collector(made, log=False)
    # Without a scheme the variable decides; an empty one is unset.
    bare = {"OTEL_EXPORTER_OTLP_ENDPOINT": "gateway:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": ""}
    assert _default(bare)["exporters"] == {"otlp_grpc": {"endpoint": "gateway:4317"}}
    bare["OTEL_EXPORTER_OTLP_INSECURE"] = "True"
    assert _default(bare)["exporters"]["otlp_grpc"]["tls"] == {"insecure": True}
    for variable, value in (
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "thrift"),
        ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "br"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "deflate"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
    ):
        with pytest.raises(ConfigError, match=f"{variable} is '{value}'"):
            _default({variable: value})


def test_metric_preferences_of_the_environment_are_heard() -> None:
    name = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
    assert _temporality({}) is None and _temporality({name: "Cumulative"}) is None
    delta = _temporality({name: "delta"})
    assert delta is not None and delta[Counter] is AggregationTemporality.DELTA and len(delta) == 3
    assert len(_temporality({name: "lowmemory"}) or {}) == 2
    with pytest.raises(ConfigError, match=f"{name} is 'often'"):
        _temporality({name: "often"})
    name = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
    assert _aggregation({}) is None and len(_aggregation({name: "base2_exponential_bucket_histogram"}) or {}) == 1
    with pytest.raises(ConfigError, match=f"{name} is 'mean'"):
        _aggregation({name: "mean"})


def test_the_environment_variables_of_the_sdk_find_the_exporters(unused_port: int, tmp_path: Path) -> None:
    """`OTEL_TRACES_EXPORTER=otelcore` and the like, with the SDK's own configurator, through one collector into a sink."""
    sink = ALL.replace("receivers: {inproc: }", f"receivers: {{otlp: {{protocols: {{grpc: {{endpoint: 127.0.0.1:{unused_port}}}}}}}}}")
    program = textwrap.dedent("""
        import logging, warnings
        warnings.simplefilter("ignore")
        from opentelemetry.sdk._configuration import _OTelSDKConfigurator
        _OTelSDKConfigurator().configure()
        from opentelemetry import metrics, trace
        with trace.get_tracer("t").start_as_current_span("found"):
            metrics.get_meter("m").create_counter("orders").add(1)
            logging.getLogger("l").warning("said")
            logging.getLogger("otelcore").warning("of the collector itself")
        from otelcore._collector import _running
        assert len(_running) <= 1, _running
    """)
    names = {f"OTEL_{signal}_EXPORTER": "otelcore" for signal in ("TRACES", "METRICS", "LOGS")}
    env = {
        **os.environ,
        **names,
        "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{unused_port}",
    }
    with Collector(sink.replace("receivers: [inproc]", "receivers: [otlp]")) as collector:
        result = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, result.stderr
        seen: dict[str, bytes] = {}
        output = collector.output()
        while len(seen) < 3:
            batch = output.next(10)
            assert batch is not None, (seen, result.stderr)
            batch.ack()
            seen[batch.signal] = batch.data
        assert span_names(seen["traces"]) == ["found"]
        assert b"said" in seen["logs"] and b"of the collector" not in seen["logs"], "its own log does not feed itself"

        # The same with a configuration of the user's.
        mine = tmp_path / "mine.yaml"
        mine.write_text(
            "receivers: {inproc: }\n"
            f"exporters: {{otlp: {{endpoint: 127.0.0.1:{unused_port}, tls: {{insecure: true}}}}}}\n"
            "service: {telemetry: {metrics: {level: none}}, pipelines: {traces: {receivers: [inproc], exporters: [otlp]}}}\n"
        )
        env = {**os.environ, "OTEL_TRACES_EXPORTER": "otelcore", "OTELCORE_CONFIG": str(mine)}
        env |= {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
        result = subprocess.run(
            [sys.executable, "-c", program.replace("found", "mine")], env=env, capture_output=True, text=True, timeout=60
        )
        assert result.returncode == 0, result.stderr
        assert span_names(following(output, "traces")) == ["mine"]
