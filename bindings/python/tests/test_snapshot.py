"""State and configuration as data."""

from __future__ import annotations

import asyncio
import threading
from datetime import datetime, timezone

import otelcore
import pytest
from otelcore.aio import AsyncCollector

CONFIG = """
receivers: {inproc/app: }
exporters: {inproc/out: }
service:
  telemetry: {metrics: {level: basic}}
  pipelines: {traces: {receivers: [inproc/app], exporters: [inproc/out]}}
"""
CHANGES = {"exporters": {"inproc/out": {"sending_queue": {"queue_size": 7}}}}
JSON = '{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"of json"}]}]}]}'


def test_snapshot_of_a_running_collector_is_data() -> None:
    collector = otelcore.Collector([CONFIG, CHANGES])
    seen: list[otelcore.ComponentStatus] = []
    stopped = threading.Event()

    def on_change(status: otelcore.ComponentStatus) -> None:
        seen.append(status)
        if (status.id, status.status) == ("inproc/out", "stopped"):
            stopped.set()
        if status.status == "starting":
            raise RuntimeError("logged")

    collector.on_status_change(on_change)
    with collector:
        with pytest.raises(otelcore.StateError):
            collector.on_status_change(on_change)
        collector.input().submit_json("traces", JSON)
        with pytest.raises(otelcore.InvalidDataError):
            collector.input().submit_json("traces", "{")
        batch = collector.output().next(20)
        assert batch is not None and b"of json" in batch.data
        snapshot = collector.snapshot()
        assert snapshot.state == "running" and snapshot.error is None
        (queue,) = [queue for queue in snapshot.queues if queue.kind == "exporter"]
        assert (queue.id, queue.signal, queue.unit, queue.size, queue.capacity) == ("inproc/out", "traces", "requests", 1, 7)
        assert queue.oldest_age_seconds is not None and queue.oldest_age_seconds >= 0
        assert snapshot.memory.held_bytes > 0 and snapshot.memory.resident_bytes > 0 and snapshot.memory.limit_bytes is None
        out = next(component for component in snapshot.components if component.id == "inproc/out")
        age = datetime.now(timezone.utc) - out.changed_at
        assert out.status == "ok" and out.last_error is None and 0 <= age.total_seconds() < 60
        assert any(metric.name == "otelcol_exporter_queue_size" for metric in snapshot.metrics)
        batch.ack()
        collector.reload([CONFIG, CHANGES])
    assert stopped.wait(10), seen


def test_mistake_in_data_has_its_path_and_the_name_of_its_document() -> None:
    with pytest.raises(otelcore.ConfigError, match=r"--> mapping:\d+:\d+  \(exporters::inproc/out::tmeout\)"):
        otelcore.Collector([CONFIG, {"exporters": {"inproc/out": {"tmeout": "1s"}}}])
    with pytest.raises(otelcore.ConfigError, match=r"mapping \(2\)"):
        otelcore.Collector([CONFIG, {}, {"exporters": {"inproc/out": {"tmeout": "1s"}}}])
    with pytest.raises(otelcore.ConfigError, match="empty"):
        otelcore.Collector([])


def test_asyncio_collector_passes_changes_in_its_loop() -> None:
    async def main() -> list[str]:
        seen: list[str] = []
        collector = AsyncCollector([CONFIG, CHANGES], log=False)
        collector.on_status_change(lambda status: seen.append(f"{status.id} {status.status}"))
        async with collector:
            assert collector.snapshot().state == "running"
        return seen

    seen = asyncio.run(main())
    assert "inproc/out ok" in seen and "inproc/out stopped" in seen
