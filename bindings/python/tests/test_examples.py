"""The examples, with a real Jaeger and a real Prometheus."""

from __future__ import annotations

import json
import os
import socket
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import wait_for

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples" / "python"
JAEGER = ROOT / "tests" / "tools" / "bin" / "jaeger-all-in-one"


def ports(n: int) -> list[int]:
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    found = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return found


class Jaeger:
    def __init__(self, grpc: int, query: int) -> None:
        self.endpoint, self._query = f"127.0.0.1:{grpc}", query

    def traces(self, service: str) -> list[dict[str, Any]]:
        url = f"http://127.0.0.1:{self._query}/api/traces?limit=1000&service={urllib.parse.quote(service)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            traces: list[dict[str, Any]] = json.load(answer)["data"]
            return traces

    def operations(self, service: str) -> list[str]:
        return [span["operationName"] for trace in self.traces(service) for span in trace["spans"]]


@pytest.fixture(scope="module")
def jaeger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    if not JAEGER.exists():
        pytest.skip("tests/tools/bin/jaeger-all-in-one is missing: scripts/tools builds it")
    grpc, collector, query, query_grpc, admin = ports(5)
    log = tmp_path_factory.mktemp("jaeger") / "log"
    options = [
        "--collector.otlp.enabled=false",
        f"--collector.grpc-server.host-port=127.0.0.1:{grpc}",
        f"--collector.http-server.host-port=127.0.0.1:{collector}",
        f"--query.http-server.host-port=127.0.0.1:{query}",
        f"--query.grpc-server.host-port=127.0.0.1:{query_grpc}",
        f"--admin.http.host-port=127.0.0.1:{admin}",
    ]
    with log.open("wb") as file:
        env = {**os.environ, "SPAN_STORAGE_TYPE": "memory"}
        process = subprocess.Popen([JAEGER, *options], env=env, stdout=file, stderr=file)
    try:
        server = Jaeger(grpc, query)

        def answers() -> bool:
            assert process.poll() is None, log.read_text()[-3000:]
            try:
                server.traces("nobody")
            except OSError:
                return False
            return True

        wait_for(answers, 30)
        yield server
    finally:
        # It takes ten seconds to end by itself, and holds nothing.
        process.kill()
        process.wait(20)


@pytest.fixture
def prometheus(unused_port: int, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """What a Prometheus that scrapes ``unused_port`` answers to a query."""
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is missing: scripts/tools installs it")
    target = f'{{targets: ["127.0.0.1:{unused_port}"]}}'
    scrape = f"global: {{scrape_interval: 200ms}}\nscrape_configs: [{{job_name: app, static_configs: [{target}]}}]\n"
    (tmp_path / "prometheus.yml").write_text(scrape)
    (port,) = ports(1)
    options = [
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    process = subprocess.Popen(["prometheus", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ask(query: str) -> str:
        url = f"http://127.0.0.1:{port}/api/v1/query?query={urllib.parse.quote(query)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                text: str = answer.read().decode()
                return text
        except OSError:
            return ""

    yield ask
    process.kill()
    process.wait(20)


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts an example, and waits for its first line."""
    programs: list[subprocess.Popen[str]] = []

    def begin(name: str, word: str, **env: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        command = [sys.executable, str(EXAMPLES / name)]
        program = subprocess.Popen(command, env={**os.environ, **env}, stdin=pipe, stdout=pipe, text=True)
        programs.append(program)
        assert program.stdout is not None and word in program.stdout.readline()
        return program

    yield begin
    for program in programs:
        program.kill()
        with program:
            pass


def test_the_app_is_seen_in_jaeger_and_in_prometheus(
    jaeger: Jaeger, prometheus: Callable[[str], str], unused_port: int, start: Start
) -> None:
    page = f"127.0.0.1:{unused_port}"
    app = start("app.py", "100 orders", JAEGER_ENDPOINT=jaeger.endpoint, PROMETHEUS_ENDPOINT=page)
    with urllib.request.urlopen(f"http://{page}/metrics", timeout=10) as answer:
        (orders,) = [line for line in answer.read().decode().splitlines() if line.startswith("orders_total{")]
    assert 'job="shop"' in orders and orders.endswith("} 100")
    wait_for(lambda: '"100"]' in prometheus("orders_total"), 30)
    assert app.stdin is not None
    app.stdin.write("\n")
    app.stdin.flush()
    assert app.wait(20) == 0
    wait_for(lambda: len(jaeger.traces("shop")) == 100)
    operations = jaeger.operations("shop")
    assert (operations.count("order"), operations.count("charge")) == (100, 100)


def test_the_filter_keeps_health_checks_from_jaeger(jaeger: Jaeger, start: Start) -> None:
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    grpc, http = ports(2)
    endpoints = {"OTLP_GRPC_ENDPOINT": f"127.0.0.1:{grpc}", "OTLP_HTTP_ENDPOINT": f"127.0.0.1:{http}"}
    strainer = start("filter.py", "Send OTLP", JAEGER_ENDPOINT=jaeger.endpoint, **endpoints)
    kept = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": "web"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    for n in range(20):
        route = "/healthz" if n % 2 else "/cart"
        provider.get_tracer("t").start_span(f"GET {route}", attributes={"http.route": route}).end()
    request = urllib.request.Request(
        f"http://127.0.0.1:{http}/v1/traces",
        encode_spans(kept.get_finished_spans()).SerializeToString(),
        {"Content-Type": "application/x-protobuf"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
    wait_for(lambda: len(jaeger.operations("web")) >= 10)
    strainer.terminate()
    assert strainer.wait(20) == 0
    time.sleep(0.2)
    assert jaeger.operations("web") == ["GET /cart"] * 10


def test_the_processor_drops_health_checks_and_sets_the_region() -> None:
    result = subprocess.run([sys.executable, EXAMPLES / "processor.py"], capture_output=True, text=True, timeout=30)
    assert (result.returncode, result.stdout) == (0, "False True\n"), result.stderr


def test_the_asyncio_example_keeps_every_span() -> None:
    result = subprocess.run([sys.executable, EXAMPLES / "asyncio_app.py"], capture_output=True, text=True, timeout=30)
    assert (result.returncode, result.stdout) == (0, "100 spans of 100 were kept.\n"), result.stderr
