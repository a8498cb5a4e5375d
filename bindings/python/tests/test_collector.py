"""A collector on a thread of its own: states, inputs and outputs, errors, log."""

from __future__ import annotations

import _thread
import logging
import socket
import threading
import time
from pathlib import Path
from typing import Any

import otelcore
import pytest
from otelcore import Collector
from support import THROUGH, span_count, spans, wait_for


def test_what_is_submitted_comes_out_and_a_flush_waits_for_the_host() -> None:
    with Collector(THROUGH.replace("  telemetry: {metrics: {level: none}}\n", "")) as collector:
        assert collector.state == "running"
        output = collector.output("inproc/out")
        seen: list[int] = []

        def take() -> None:
            for batch in output:
                assert batch.signal == "traces"
                time.sleep(0.05)
                seen.append(span_count(batch.data))
                batch.ack()

        taker = threading.Thread(target=take)
        taker.start()
        entrance = collector.input("inproc/app")
        for kind in (bytes, bytearray, memoryview):
            entrance.submit_traces(kind(spans(2)))
        entrance.submit("traces", spans(1))
        collector.flush(10)
        assert sum(seen) == 7, "the flush has waited for the batch processor and for the host"
        assert "otelcol_receiver_accepted_spans" in collector.metrics()
        assert collector.health() == {"state": "running", "held_bytes": 0}
        assert {(s["kind"], s["status"]) for s in collector.component_statuses()} >= {("receiver", "ok"), ("exporter", "ok")}
    taker.join(10)
    assert not taker.is_alive(), "iterating ends with the collector"
    assert collector.state == "stopped"
    collector.shutdown()
    with pytest.raises(otelcore.ClosedError):
        entrance.submit_traces(spans(1))
    with pytest.raises(otelcore.ClosedError):
        output.next(0)
    with pytest.raises(otelcore.StateError):
        collector.start()


def test_receiver_with_port_0_says_where_it_listens() -> None:
    config = {
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": "127.0.0.1:0"}}}},
        "exporters": {"inproc": None},
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["inproc"]}},
        },
    }
    with Collector(config) as collector:
        (receiver,) = [s for s in collector.component_statuses() if s["kind"] == "receiver"]
        (address,) = receiver["addresses"]
        host, port = address.rsplit(":", 1)
        assert host == "127.0.0.1" and int(port) > 0
        socket.create_connection((host, int(port)), 10).close()
    assert all(s["addresses"] == [] for s in collector.component_statuses())


def test_last_error_of_an_exporter_has_its_text_and_count() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        config = {
            "receivers": {"inproc": None},
            "exporters": {"otlp_grpc": {"endpoint": endpoint, "retry_on_failure": {"enabled": False}}},
            "service": {
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {"traces": {"receivers": ["inproc"], "exporters": ["otlp_grpc"]}},
            },
        }
        with Collector(config, log=False) as collector:
            collector.input().submit_traces(spans(1))

            def error() -> Any:
                (exporter,) = [s for s in collector.component_statuses() if s["kind"] == "exporter"]
                return exporter["last_error"]

            wait_for(lambda: error() is not None)
            assert "refused" in error()["message"] and error()["count"] >= 1 and error()["at"].endswith("Z")


def test_mistakes_have_their_places_and_hints(tmp_path: Path) -> None:
    wrong = THROUGH.replace("timeout: 10s", "timeuot: 10s")
    with pytest.raises(otelcore.ConfigError) as text:
        Collector(wrong)
    assert "config.yaml:3:" in str(text.value) and "timeout" in str(text.value)
    file = tmp_path / "mine.yaml"
    file.write_text(wrong)
    for config in (file, str(file)):
        with pytest.raises(ValueError, match=r"mine\.yaml:3:\d+"):
            Collector(config)
    with pytest.raises(otelcore.ConfigError, match="no.yaml: No such file.*a string is YAML text if"):
        Collector("no.yaml")
    with pytest.raises(otelcore.ConfigError, match=r"mapping:3:\d+"):
        Collector({"receivers": {"nosuch": None}})


def test_a_port_in_use_is_told(unused_port: int) -> None:
    import socket

    with socket.create_server(("127.0.0.1", unused_port)):
        config = THROUGH.replace("inproc/app: }", f"inproc/app: , otlp: {{protocols: {{grpc: {{endpoint: 127.0.0.1:{unused_port}}}}}}}}}")
        collector = Collector(config.replace("[inproc/app]", "[inproc/app, otlp]"))
        with pytest.raises(otelcore.StartError, match=str(unused_port)):
            collector.start()
        assert collector.state == "failed" and str(unused_port) in collector.health()["error"]


def test_start_error_has_the_systems_number(unused_port: int, tmp_path: Path) -> None:
    import errno
    import socket

    def listening(endpoint: str, protocol: str = "grpc") -> str:
        config = THROUGH.replace("inproc/app: }", f"inproc/app: , otlp: {{protocols: {{{protocol}: {{endpoint: '{endpoint}'}}}}}}}}")
        return config.replace("[inproc/app]", "[inproc/app, otlp]")

    with socket.create_server(("127.0.0.1", unused_port)):
        with pytest.raises(OSError) as in_use:
            Collector(listening(f"127.0.0.1:{unused_port}"), log=False).start()
        assert isinstance(in_use.value, otelcore.StartError) and in_use.value.errno == errno.EADDRINUSE
        assert str(in_use.value).endswith("address already in use")
    with pytest.raises(otelcore.StartError) as elsewhere:
        Collector(listening("192.0.2.1:4317"), log=False).start()
    assert elsewhere.value.errno == errno.EADDRNOTAVAIL
    missing = listening(f"127.0.0.1:{unused_port}").replace("endpoint: ", f"tls: {{cert_file: {tmp_path}/no, key_file: {tmp_path}/no}}, endpoint: ")
    with pytest.raises(otelcore.StartError) as no_file:
        Collector(missing, log=False).start()
    assert no_file.value.errno is None


def test_log_above_descriptor_1023_still_comes(caplog: pytest.LogCaptureFixture) -> None:
    import os
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2000)), hard))
    taken: list[int] = []
    try:
        while not taken or taken[-1] < 1100:
            taken.append(os.dup(0))
        caplog.set_level(logging.INFO, logger="otelcore")
        with Collector(THROUGH) as collector:
            assert collector._drain is not None and collector._drain.queue.fileno() > 1023
            wait_for(lambda: any("Everything is ready" in record.message for record in caplog.records))
        assert any("Shutdown" in record.message or "ready" in record.message for record in caplog.records)
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_only_input_and_output_need_no_name() -> None:
    with Collector(THROUGH) as collector:
        assert collector.input().id == "inproc/app" and collector.output().id == "inproc/out"
    two = Collector(THROUGH.replace("inproc/app: }", "inproc/app: , inproc/b: }").replace("[inproc/app]", "[inproc/app, inproc/b]"))
    with pytest.raises(otelcore.ConfigError, match="several inputs take telemetry: inproc/app, inproc/b"):
        two.input()


def test_a_mapping_and_a_file_are_configurations_too(tmp_path: Path) -> None:
    pipelines = {"logs": {"receivers": ["inproc"], "exporters": ["inproc"]}}
    telemetry = {"metrics": {"level": "none"}}
    config = {
        "receivers": {"inproc": None},
        "exporters": {"inproc": None},
        "service": {"pipelines": pipelines, "telemetry": telemetry},
    }
    file = tmp_path / "collector.yaml"
    file.write_text(THROUGH)
    with Collector(config) as one, Collector(file) as two:
        assert repr(one.input()) == "<otelcore.Input inproc>"
        assert two.output("inproc/out").id == "inproc/out"
        with pytest.raises(otelcore.ConfigError, match="no pipeline takes traces"):
            one.input().submit_traces(spans(1))
        with pytest.raises(otelcore.ConfigError, match="there are: inproc/app"):
            two.input("inproc/ap")


def test_wrong_bytes_are_refused_with_the_reason() -> None:
    with Collector(THROUGH) as collector:
        entrance = collector.input("inproc/app")
        with pytest.raises(otelcore.InvalidDataError):
            entrance.submit_traces(b"\x0a\xff")
        for no_bytes in ("text", 5, None):
            with pytest.raises(TypeError):
                entrance.submit_traces(no_bytes)  # type: ignore[arg-type]
        with pytest.raises(ValueError):
            entrance.submit("spans", b"")  # type: ignore[arg-type]


def test_an_overfull_input_says_when_to_come_again() -> None:
    config = (
        THROUGH.replace("inproc/app: }", "inproc/app: {max_queue_bytes: 100}}")
        .replace("processors: [batch], ", "")
        .replace("inproc/out: }", "inproc/out: {sending_queue: {queue_size: 1}}}")
    )
    collector = Collector(config).start()
    entrance = collector.input("inproc/app")
    with pytest.raises(otelcore.OverloadedError) as refused:
        for _ in range(10_000):
            entrance.submit_traces(spans(9))
    assert 0 < refused.value.retry_after < 5
    with pytest.raises(otelcore.DeadlineError) as late:
        collector.shutdown(0.2)
    assert isinstance(late.value, TimeoutError) and late.value.left["exporter inproc/out"] > 0


def test_a_batch_comes_again_until_the_host_is_done_with_it() -> None:
    config = THROUGH.replace("inproc/out: }", "inproc/out: {retry_on_failure: {initial_interval: 10ms}}}")
    with Collector(config.replace("10s", "1ms")) as collector:
        output = collector.output("inproc/out")
        collector.input("inproc/app").submit_traces(spans(5))

        def following() -> otelcore.Batch:
            batch = output.next(10)
            assert batch is not None and span_count(batch.data) == 5
            return batch

        following().reject(retry_after=0.02)
        batch = following()
        del batch
        with pytest.raises(KeyError), following():
            raise KeyError("mine")
        with following() as batch:
            pass
        batch.reject()  # only the first result counts
        collector.flush(5)
        assert output.next(0.05) is None
        collector.input("inproc/app").submit_traces(spans(5))
        following().reject(False, "not wanted")
        collector.flush(5)


def test_waiting_hears_ctrl_c_and_lets_others_run() -> None:
    with Collector(THROUGH) as collector:
        output = collector.output("inproc/out")
        for wait in (lambda: output.next(), lambda: next(output), lambda: list(output)):
            threading.Timer(0.1, _thread.interrupt_main).start()
            begun = time.monotonic()
            with pytest.raises(KeyboardInterrupt):
                wait()
            assert time.monotonic() - begun < 5


def test_the_gil_is_free_while_python_waits() -> None:
    with Collector(THROUGH) as collector:
        ticks = 0
        waiter = threading.Thread(target=lambda: collector.output("inproc/out").next(1.0))
        waiter.start()
        while waiter.is_alive():
            ticks += 1
            time.sleep(0.001)
        assert ticks > 100


def test_many_threads_put_in_and_take_out() -> None:
    with Collector(THROUGH.replace("10s", "1ms")) as collector:
        entrance, output = collector.input("inproc/app"), collector.output("inproc/out")
        lock, seen = threading.Lock(), 0

        def take() -> None:
            nonlocal seen
            for batch in output:
                with batch, lock:
                    seen += span_count(batch.data)

        def put() -> None:
            for _ in range(250):
                entrance.submit_traces(spans(2))

        threads = [threading.Thread(target=target) for target in (put, put, put, put, take, take)]
        for thread in threads:
            thread.start()
        for thread in threads[:4]:
            thread.join()
        collector.flush(10)
        assert seen == 2000
    for thread in threads:
        thread.join(10)


def test_its_log_goes_to_logging_on_a_thread_of_python(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="otelcore")
    with Collector(THROUGH) as collector:
        wait_for(lambda: any("Everything is ready" in record.message for record in caplog.records))
        assert collector.state == "running"
    assert {record.threadName for record in caplog.records} == {"otelcore-log"}
    caplog.clear()
    with Collector(THROUGH, log=False):
        pass
    own = logging.getLogger("mine")
    with Collector(THROUGH, log=own):
        pass
    assert {record.name for record in caplog.records} <= {"mine"}


def test_many_lives_leave_nothing_behind() -> None:
    import os

    for life in range(12):
        with Collector(THROUGH):
            pass
        if life == 1:
            before = len(os.listdir("/proc/self/fd")), threading.active_count()
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before


def test_one_that_is_never_started_or_never_ended_harms_nobody() -> None:
    Collector(THROUGH)
    collector = Collector(THROUGH)
    collector.shutdown()
    assert collector.state == "stopped"
    with pytest.raises(otelcore.StateError):
        collector.flush()
    with pytest.raises(ValueError):
        Collector(THROUGH).start().shutdown(-1)


def test_a_reload_keeps_what_has_not_changed_and_an_error_changes_nothing() -> None:
    with Collector(THROUGH) as collector:
        entrance, output = collector.input("inproc/app"), collector.output("inproc/out")
        entrance.submit_traces(spans(2))
        # The batch of ten seconds goes on; the exporter is another one.
        collector.reload(THROUGH.replace("inproc/out: ", "inproc/out: {timeout: 9s}"))
        entrance.submit_traces(spans(3))
        with pytest.raises(otelcore.ConfigError, match="timeuot"):
            collector.reload(THROUGH.replace("timeout: 10s", "timeuot: 10s"))
        with pytest.raises(otelcore.StateError, match="without a restart"):
            collector.reload(THROUGH.replace("level: none", "level: basic"))
        debug = "debug: {use_internal_logger: false, output_paths: [/nowhere/x]}"
        two = THROUGH.replace("inproc/out: }", f"inproc/out: , {debug}}}").replace("[inproc/out]", "[debug, inproc/out]")
        with pytest.raises(otelcore.StartError, match="/nowhere"):
            collector.reload(two)
        # The old batch is passed on at once.
        collector.reload(THROUGH.replace("timeout: 10s", "timeout: 1ms"))
        batch = output.next(10)
        assert span_count(batch.data) == 5
        batch.ack()
        entrance.submit_traces(spans(4))
        batch = output.next(10)
        assert span_count(batch.data) == 4
        batch.ack()
    with pytest.raises(otelcore.ClosedError):
        collector.reload(THROUGH)
