"""Processors of the program: functions that are called for payloads, payloads that it takes, misuse, the end."""

from __future__ import annotations

import os
import threading
import time
from typing import Any, Literal

import otelcore
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from otelcore import Collector, Item, Payload
from support import span_count, span_names, spans, wait_for

CHANGING = """
receivers: {inproc/app: }
processors: {inproc/change: {SETTINGS}}
exporters: {inproc/out: }
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    traces: {receivers: [inproc/app], processors: [inproc/change], exporters: [inproc/out]}
    logs: {receivers: [inproc/app], processors: [inproc/change], exporters: [inproc/out]}
"""


def changing(settings: str = "") -> Collector:
    return Collector(CHANGING.replace("SETTINGS", settings))


def next_data(collector: Collector) -> bytes:
    batch = collector.output().next(20)
    assert batch is not None
    batch.ack()
    return batch.data


def test_a_function_changes_and_drops_items() -> None:
    kinds: list[str] = []

    def visit(item: Item) -> bool | Literal["skip"] | None:
        kinds.append(item.kind)
        if item.kind == "resource":
            item.attributes["service.name"] = "shop"
            item.attributes["tags"] = {"list": [1, 2.5, True, None, b"x", "text"]}
            return None
        if item.kind != "span":
            return True
        assert item.resource["service.name"] == "shop"
        assert item.resource["tags"] == {"list": [1, 2.5, True, None, b"x", "text"]}
        if item.name == "drop":
            return False
        item.name = "renamed"
        item.attributes["number"] = 7
        return "skip"

    def process(payload: Payload) -> None:
        assert payload.signal == "traces" and payload.metadata == {}
        payload.edit(visit)
        assert span_names(payload.data) == ["renamed", "renamed"]

        def check(item: Item) -> None:
            if item.kind == "span":
                assert item.attributes == {"number": 7}
                del item.attributes["number"]
                with pytest.raises(otelcore.StateError):
                    payload.pass_on()

        payload.edit(check)

    collector = changing()
    collector.process(process)
    with collector:
        collector.input().submit_traces(spans(2) + spans(3, "drop"))
        data = next_data(collector)
        assert span_names(data) == ["renamed", "renamed"] and b"shop" in data and b"number" not in data
    assert kinds[:3] == ["resource", "scope", "span"]


def test_the_body_of_a_log_record_is_changed() -> None:
    request = ExportLogsServiceRequest()
    request.resource_logs.add().scope_logs.add().log_records.add().body.string_value = "secret"

    def visit(item: Item) -> None:
        if item.kind == "log":
            assert item.body == "secret"
            item.body = {"masked": True}

    collector = changing()
    collector.process(lambda payload: payload.edit(visit), "inproc/change")
    with collector:
        collector.input().submit_logs(request.SerializeToString())
        record = ExportLogsServiceRequest.FromString(next_data(collector)).resource_logs[0].scope_logs[0].log_records[0]
    assert record.body.kvlist_value.values[0].key == "masked"


def test_exceptions_have_their_outcome() -> None:
    calls: list[int] = []
    results: list[Any] = [
        otelcore.OverloadedError("not now"),
        ValueError("never"),
        SystemExit(),
        lambda payload: payload.edit(lambda item: 1 / 0),
        lambda payload: payload.edit(lambda item: "keep"),
        lambda payload: payload.edit(lambda item: item.attributes.update(a=object())),
        lambda payload: payload.edit(lambda item: item.attributes.update(a=1 << 80)),
        lambda payload: payload.drop(),
        lambda payload: payload.replace(b"\x0a\xff"),
        lambda payload: payload.replace(spans(9)),
    ]

    def process(payload: Payload) -> None:
        calls.append(span_count(payload.data))
        result = results[len(calls) - 1]
        if isinstance(result, BaseException):
            raise result
        result(payload)

    collector = changing()
    collector.process(process)
    with collector:
        for n in range(1, len(results)):
            collector.input().submit_traces(spans(n))
        # The first one is refused, and comes again after the others or between them.
        assert span_count(next_data(collector)) == 9
        wait_for(lambda: len(calls) == len(results))


def test_a_function_that_takes_too_long_does_not_stop_the_collector() -> None:
    release = threading.Event()
    calls: list[int] = []

    def process(payload: Payload) -> None:
        calls.append(1)
        if len(calls) == 1:
            release.wait(20)

    collector = changing("timeout: 50ms")
    collector.process(process)
    with collector:
        collector.input().submit_traces(spans(3))
        wait_for(lambda: len(calls) == 1)
        time.sleep(0.15)
        assert collector.state == "running" and "otelcol" not in collector.metrics()
        assert collector.output().next(0) is None
        release.set()
        assert span_count(next_data(collector)) == 3


def test_a_function_that_holds_the_lock_of_the_interpreter_does_not_stop_the_loop() -> None:
    def process(payload: Payload) -> None:
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            sum(range(1000))

    collector = changing()
    collector.process(process)
    with collector:
        for _ in range(3):
            collector.input().submit_traces(spans(1))
        for _ in range(3):
            assert span_count(next_data(collector)) == 1


def test_payloads_are_taken_by_the_program() -> None:
    with pytest.raises(otelcore.StartError) as nobody:
        changing().start()
    assert "inproc/change" in str(nobody.value)
    collector = changing("timeout: 0")
    with pytest.raises(otelcore.ConfigError):
        collector.processor("inproc/none")
    with pytest.raises(otelcore.ConfigError):
        collector.process(lambda payload: None, "inproc/none")
    processor = collector.processor()
    assert processor.id == "inproc/change"
    with collector:
        with pytest.raises(otelcore.StateError):
            collector.process(lambda payload: None)
        assert processor.next(0.01) is None
        collector.input().submit_traces(spans(3))
        payload = processor.next(20)
        assert payload is not None
        payload.reject(retry_after=0.01)
        with pytest.raises(otelcore.ClosedError):
            payload.data
        del payload
        payload = processor.next(20)
        del payload
        payload = processor.next(20)
        assert payload is not None
        payload.pass_on()
        payload.drop()
        assert span_count(next_data(collector)) == 3
    with pytest.raises(otelcore.ClosedError):
        processor.next()
    assert list(processor) == []


def test_calls_from_inside_a_function_and_a_shutdown_meanwhile() -> None:
    inside = threading.Event()
    errors: list[BaseException] = []

    def process(payload: Payload) -> None:
        if span_count(payload.data) == 1:
            collector.input().submit_traces(spans(2))
        inside.set()
        try:
            # It waits for this function, which waits for it: the time limit ends it.
            collector.flush(0.05)
        except otelcore.OtelcoreError as error:
            errors.append(error)

    collector = changing()
    collector.process(process)
    collector.start()
    collector.input().submit_traces(spans(1))
    assert inside.wait(20)
    taken = [span_count(next_data(collector)), span_count(next_data(collector))]
    collector.shutdown()
    assert taken == [1, 2] and errors


def test_a_forked_child_has_its_own_processor() -> None:
    parent = os.getpid()
    pids: list[int] = []
    collector = changing()
    collector.process(lambda payload: pids.append(os.getpid()))
    with collector:
        collector.input().submit_traces(spans(1))
        next_data(collector)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                collector.start()
                collector.input().submit_traces(spans(2))
                code = 0 if span_count(next_data(collector)) == 2 and pids[-1] == os.getpid() else 2
                collector.shutdown()
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        collector.input().submit_traces(spans(3))
        assert span_count(next_data(collector)) == 3
    assert pids == [parent, parent]
