"""Processes: fork, spawn, exit, SIGKILL, and the command line."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import otelcore
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from otelcore import Collector
from otelcore.sdk import CollectorSpanExporter
from support import THROUGH, span_names, spans, wait_for


def out_to(port: int) -> str:
    """From a program to the sink."""
    return f"""
receivers: {{inproc: }}
processors: {{batch: {{timeout: 10s}}}}
exporters: {{otlp_grpc: {{endpoint: "127.0.0.1:{port}", tls: {{insecure: true}}}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [inproc], processors: [batch], exporters: [otlp_grpc]}}}}
"""


class Sink:
    """Another collector, to which the processes of a test send."""

    def __init__(self, collector: Collector, port: int) -> None:
        self.collector, self.port = collector, port
        self.seen: list[str] = []

    def expect(self, names: set[str], seconds: float = 20.0) -> None:
        until = time.monotonic() + seconds
        while not names <= set(self.seen):
            batch = self.collector.output().next(max(0, until - time.monotonic()))
            assert batch is not None, f"{names} were expected, and {self.seen} came"
            self.seen.extend(span_names(batch.data))
            batch.ack()


@pytest.fixture
def sink(unused_port: int) -> Iterator[Sink]:
    config = f"""
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{unused_port}"}}}}}}}}
exporters: {{inproc: }}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [inproc]}}}}
"""
    collector = Collector(config).start()
    yield Sink(collector, unused_port)
    # What has come beyond what the test expects, such as a second copy after a kill: a shutdown waits for its outcome.
    output = collector.output()
    drain = threading.Thread(target=lambda: [batch.ack() for batch in output], daemon=True)
    drain.start()
    collector.shutdown()
    drain.join()


def run(program: str, *, code: int = 0, timeout: float = 30, **env: str) -> tuple[str, float]:
    begun = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert result.returncode == code, result.stderr + result.stdout
    return result.stdout + result.stderr, time.monotonic() - begun


def in_child(case: Callable[[], None], seconds: float = 20) -> None:
    """Runs a test case in a forked child, which must end by itself."""
    child = os.fork()
    if child == 0:
        try:
            case()
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(1)
    until = time.monotonic() + seconds
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            assert status == 0
            return
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise AssertionError("the child hangs")
        time.sleep(0.01)


def test_a_forked_child_finds_its_collectors_dead_and_can_have_them_anew(sink: Sink) -> None:
    with Collector(out_to(sink.port)) as collector:
        entrance = collector.input()
        entrance.submit_traces(spans(1, "before"))

        def case() -> None:
            assert collector.state == "forked" and "forked" in repr(collector)
            calls: list[Callable[[], object]] = [
                lambda: entrance.submit_traces(spans(1)),
                collector.flush,
                collector.health,
                collector.metrics,
                collector.input,
            ]
            for call in calls:
                with pytest.raises(otelcore.ForkedError, match="start\\(\\) it here"):
                    call()
            collector.shutdown()
            with collector:
                collector.input().submit_traces(spans(1, "child"))
                collector.flush(10)

        in_child(case)
        # The parent is not affected: the same connection, and no item lost.
        assert collector.state == "running"
        entrance.submit_traces(spans(1, "after"))
        collector.flush(10)
        sink.expect({"before", "child", "after"})
    assert sorted(sink.seen) == ["after", "before", "child"]


def listening_at(port: int) -> str:
    return THROUGH.replace(
        "inproc/app: }", f"inproc/app: , otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{port}'}}}}}}}}"
    ).replace("[inproc/app]", "[inproc/app, otlp]")


@pytest.mark.parametrize("way", ["os.fork", "multiprocessing"])
def test_forked_child_that_lives_on_keeps_no_socket_of_the_parent(unused_port: int, way: str) -> None:
    collector = Collector(listening_at(unused_port), log=False).start()
    peer = socket.create_connection(("127.0.0.1", unused_port), 5)
    time.sleep(0.1)  # it is accepted
    exit_read, exit_write = os.pipe()
    ready_read, ready_write = os.pipe()

    def child() -> None:
        os.close(exit_write)
        sockets = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")]
        # The only socket is the client's, and there is no epoll or eventfd.
        mine = f"socket:[{os.fstat(peer.fileno()).st_ino}]"
        assert [s for s in sockets if s == mine] == [mine]
        assert not [s for s in sockets if s.startswith("anon_inode")], sockets
        with Collector(THROUGH, log=False) as own:
            own.input("inproc/app").submit_traces(spans(1))
            batch = own.output("inproc/out").next(20)
            assert batch is not None
            batch.ack()
        os.write(ready_write, b"!")
        os.read(exit_read, 1)

    if way == "os.fork":
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                child()
                code = 0
            finally:
                os._exit(code)
    else:
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        assert process.pid is not None
        pid = process.pid
    try:
        os.close(ready_write)
        assert os.read(ready_read, 1) == b"!", "the child has a collector of its own"
        collector.shutdown(10)
        peer.settimeout(10)
        assert peer.recv(1) == b"", "the connection ends with the parent's collector"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", unused_port), 5)
        with Collector(listening_at(unused_port), log=False) as again:
            assert again.state == "running"
    finally:
        os.close(exit_write)
        if way == "os.fork":
            assert os.waitpid(pid, 0)[1] == 0
        else:
            process.join(20)
            assert process.exitcode == 0
        for fd in (exit_read, ready_read):
            os.close(fd)
        peer.close()


def test_a_child_that_drops_what_it_has_inherited_does_not_hurt_the_parent(sink: Sink) -> None:
    import gc

    collector = Collector(out_to(sink.port)).start()
    entrance = collector.input()
    output = sink.collector.output()
    held = [collector, entrance, output]
    del collector, entrance

    def case() -> None:
        from otelcore import _collector

        held.clear()
        _collector._inherited.clear()
        gc.collect()

    in_child(case)
    held[1].submit_traces(spans(1, "after"))  # type: ignore[union-attr]
    held[0].shutdown(10)  # type: ignore[union-attr]
    sink.expect({"after"})


def test_the_sdks_exporters_go_on_in_a_forked_child(sink: Sink) -> None:
    with Collector(out_to(sink.port)) as collector:
        for exporter in (CollectorSpanExporter(collector), CollectorSpanExporter(out_to(sink.port))):
            provider = TracerProvider(shutdown_on_exit=False)
            provider.add_span_processor(BatchSpanProcessor(exporter))
            tracer = provider.get_tracer("t")
            tracer.start_span("parent").end()
            assert provider.force_flush()

            def case() -> None:
                tracer.start_span("child").end()
                assert provider.force_flush()
                assert exporter.force_flush(10_000)
                provider.shutdown()

            in_child(case)
            tracer.start_span("parent again").end()
            assert provider.force_flush() and exporter.force_flush(10_000)
            provider.shutdown()
            sink.expect({"parent", "child", "parent again"})
            sink.seen.clear()


def test_forks_while_every_thread_is_busy_neither_hang_nor_lose(sink: Sink) -> None:
    with Collector(out_to(sink.port).replace("10s", "1ms")) as collector:
        entrance, done = collector.input(), threading.Event()

        def put() -> None:
            while not done.is_set():
                try:
                    entrance.submit_traces(spans(1, "busy"))
                except otelcore.OverloadedError:
                    pass
                time.sleep(0.0005)

        threads = [threading.Thread(target=put) for _ in range(3)]
        drain = threading.Thread(target=lambda: [batch.ack() for batch in sink.collector.output()], daemon=True)
        for thread in [*threads, drain]:
            thread.start()

        def case() -> None:
            with collector:
                collector.input().submit_traces(spans(1, "child"))
                collector.flush(10)

        for _ in range(10):
            in_child(case)
        done.set()
        for thread in threads:
            thread.join()
        collector.flush(10)


def work(port: int, name: str) -> str:
    """What a worker of `multiprocessing` does; it neither flushes nor shuts down."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(CollectorSpanExporter(out_to(port))))
    provider.get_tracer("t").start_span(name).end()
    return name


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_workers_deliver_at_their_end(sink: Sink, method: str) -> None:
    with Collector(out_to(sink.port)):
        context = multiprocessing.get_context(method)
        workers = [context.Process(target=work, args=(sink.port, f"{method} {n}")) for n in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(30)
            assert worker.exitcode == 0
        sink.expect({f"{method} 0", f"{method} 1"})


def test_the_interpreters_end_delivers_what_is_held(sink: Sink) -> None:
    """Nothing is shut down by the program: neither the provider nor the collector."""
    program = """
        import os
        from otelcore import Collector
        from otelcore.sdk import CollectorSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        collector = Collector(os.environ["CONFIG"]).start()
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(CollectorSpanExporter(collector)))
        provider.get_tracer("t").start_span("last").end()
    """
    _, seconds = run(program, CONFIG=out_to(sink.port))
    assert seconds < 8
    sink.expect({"last"})


def test_sigterm_delivers_what_is_held_where_the_program_asks_for_it(sink: Sink) -> None:
    program = """
        import os, signal, sys, time
        import otelcore
        from otelcore.sdk import CollectorSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        collector = otelcore.Collector(os.environ["CONFIG"]).start()
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(CollectorSpanExporter(collector)))
        assert otelcore.exit_on_sigterm()
        assert not otelcore.exit_on_sigterm(), "a handler that is there stays"
        provider.get_tracer("t").start_span("at the end").end()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(20)
    """
    _, seconds = run(program, code=128 + signal.SIGTERM, CONFIG=out_to(sink.port))
    assert seconds < 15
    sink.expect({"at the end"})


def test_the_interpreters_end_is_bounded_and_says_what_was_lost(unused_port: int) -> None:
    program = """
        import os, otelcore
        from support import spans
        collector = otelcore.Collector(os.environ["CONFIG"]).start()
        collector.input().submit_traces(spans(3))
    """
    output, seconds = run(program, CONFIG=out_to(unused_port), PYTHONPATH=str(Path(__file__).parent))
    assert "undelivered" in output and "items=3" in output, output
    assert 4 < seconds < 9


def test_threads_that_wait_put_in_or_take_out_do_not_hold_up_the_end() -> None:
    program = """
        import os, sys, otelcore, threading, time
        from support import spans, THROUGH
        collector = otelcore.Collector(THROUGH.replace("10s", "1ms")).start()
        never = otelcore.Collector(THROUGH)
        entrance, output = collector.input("inproc/app"), collector.output("inproc/out")
        def put():
            while True:
                try: entrance.submit_traces(spans(1))
                except otelcore.OverloadedError: pass
                except otelcore.ClosedError: pass
        def take():
            while True:
                for batch in output: batch.ack()
        for target in (put, put, take, take, lambda: list(never.output("inproc/out"))):
            threading.Thread(target=target, daemon=True).start()
        class Slow:
            def __del__(self, sleep=time.sleep, write=os.write):
                sleep(0.4)  # while the interpreter exits, a thread that asks for the GIL is ended
                write(1, b"the end\\n")
        sys.slow = Slow()
        time.sleep(0.3)
    """
    for _ in range(3):
        output, seconds = run(program, PYTHONPATH=str(Path(__file__).parent))
        assert output == "the end\n", output
        assert seconds < 8


def test_ctrl_c_ends_a_program_that_waits() -> None:
    program = """
        import otelcore
        from support import THROUGH
        with otelcore.Collector(THROUGH) as collector:
            print("waiting", flush=True)
            for batch in collector.output("inproc/out"):
                pass
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "waiting\n"
    time.sleep(0.2)
    child.send_signal(signal.SIGINT)
    _, error = child.communicate(timeout=20)
    assert "KeyboardInterrupt" in error and child.returncode == -signal.SIGINT


@contextmanager
def gunicorn(tmp_path: Path, port: int, sink: int, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    app = f"""
import os
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from otelcore import Collector
from otelcore.sdk import CollectorSpanExporter

collector = Collector('''{out_to(sink)}''').start()
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(CollectorSpanExporter(collector)))
provider.get_tracer("t").start_span("start").end()

def app(environ, start_response):
    with provider.get_tracer("t").start_as_current_span(f"worker {{os.getpid()}}"):
        start_response("200 OK", [])
        return [str(os.getpid()).encode()]
"""
    (tmp_path / "served.py").write_text(app)
    command = [sys.executable, "-m", "gunicorn", "-w", "2", "-b", f"127.0.0.1:{port}", *options, "served:app"]
    with (tmp_path / "gunicorn.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    try:
        yield server
    finally:
        if server.poll() is None:
            server.kill()
        server.wait()


@pytest.mark.parametrize("preload", [True, False])
def test_gunicorns_workers_deliver_whether_they_inherit_the_collector_or_not(
    sink: Sink, tmp_path: Path, preload: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with gunicorn(tmp_path, port, sink.port, *(["--preload"] if preload else [])) as server:
        workers: set[str] = set()

        def ask() -> bool:
            assert server.poll() is None, (tmp_path / "gunicorn.log").read_text()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                    workers.add(answer.read().decode())
            except OSError:
                pass
            return len(workers) == 2

        wait_for(ask, 30)
        begun = time.monotonic()
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
        assert time.monotonic() - begun < 10
        sink.expect({f"worker {pid}" for pid in workers} | {"start"})


def command() -> str:
    return str(Path(sys.executable).with_name("otelcore"))


def test_the_command_is_the_collector(tmp_path: Path, unused_port: int) -> None:
    version = subprocess.run([command(), "--version"], capture_output=True, text=True, timeout=20)
    assert (version.returncode, version.stdout) == (0, f"otelcore version {otelcore.__version__}\n")
    module = subprocess.run([sys.executable, "-m", "otelcore", "validate", "--config=no.yaml"], capture_output=True, timeout=20)
    assert module.returncode == 1 and b"no.yaml" in module.stderr

    file = tmp_path / "collector.yaml"
    file.write_text(
        f"receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{unused_port}'}}}}}}}}\n"
        "exporters: {debug: }\n"
        "service: {telemetry: {metrics: {level: none}}, pipelines: {traces: {receivers: [otlp], exporters: [debug]}}}\n"
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        program = subprocess.Popen([command(), f"--config={file}"], stderr=subprocess.PIPE)

        def listens() -> bool:
            assert program.poll() is None
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", unused_port)) == 0

        wait_for(listens)
        program.send_signal(number)
        _, error = program.communicate(timeout=20)
        assert program.returncode == 0 and b"Shutdown complete" in error, error
        assert b"Traceback" not in error


KILLED_PROGRAM = """
import sys
from otelcore import Collector
from support import spans

config, first, acknowledged = sys.argv[1:]
with Collector(config) as collector, open(acknowledged, "a") as file:
    for number in range(int(first), int(first) + 1_000_000):
        collector.input().submit_traces(spans(1, f"span-{number}"))
        file.write(f"{number}\\n")
        file.flush()
"""


def test_what_submit_acknowledged_with_a_queue_on_disk_is_delivered_after_kills(sink: Sink, tmp_path: Path) -> None:
    config = f"""
receivers: {{inproc: {{wait_for_result: true}}}}
exporters:
  otlp_grpc:
    endpoint: "127.0.0.1:{sink.port}"
    tls: {{insecure: true}}
    sending_queue: {{storage: file_storage}}
    retry_on_failure: {{initial_interval: 50ms, max_interval: 200ms}}
extensions: {{file_storage: {{directory: "{tmp_path}/data", create_directory: true}}}}
service:
  extensions: [file_storage]
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [inproc], exporters: [otlp_grpc]}}}}
"""
    acknowledged = tmp_path / "acknowledged"
    acknowledged.touch()
    kills = 3
    for round in range(kills):
        before = acknowledged.stat().st_size
        arguments = [config, str(round * 1_000_000), str(acknowledged)]
        with subprocess.Popen(
            [sys.executable, "-c", KILLED_PROGRAM, *arguments], cwd=Path(__file__).parent
        ) as program:
            # The moment of the kill is counted from the first acknowledgement.
            wait_for(lambda size=before: acknowledged.stat().st_size > size, 60)  # type: ignore[misc]
            time.sleep(random.random() * 0.2)
            program.kill()
    # Another one sends what is left. A kill may end a line early.
    lines = [line for line in acknowledged.read_text().splitlines(keepends=True) if line.endswith("\n")]
    names = {f"span-{int(line)}" for line in lines}
    with Collector(config):
        sink.expect(names, 60)
    twice = len(sink.seen) - len(set(sink.seen))
    print(f"{kills} kills: {len(names)} acknowledged, none is missing, {twice} came twice")
