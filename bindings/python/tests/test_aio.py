"""A collector in asyncio's loop."""

from __future__ import annotations

import asyncio
import os
import threading

import otelcore
import pytest
from otelcore.aio import AsyncCollector
from support import THROUGH, span_count, spans


def test_it_runs_in_the_loop_without_a_thread_and_batches_are_iterated() -> None:
    async def run() -> None:
        threads = threading.active_count(), len(os.listdir("/proc/self/task"))
        async with AsyncCollector(THROUGH) as collector:
            assert (threading.active_count(), len(os.listdir("/proc/self/task"))) == threads
            assert collector.state == "running"
            seen: list[int] = []

            async def take() -> None:
                async for batch in collector.output("inproc/out"):
                    with batch:
                        await asyncio.sleep(0.05)
                        seen.append(span_count(batch.data))

            taker = asyncio.create_task(take())
            for _ in range(10):
                collector.input("inproc/app").submit_traces(spans(2))
            await collector.flush(10)
            assert sum(seen) == 20
            assert collector.health()["held_bytes"] == 0
            # From another thread too.
            await asyncio.to_thread(collector.input("inproc/app").submit_traces, spans(3))
            await collector.flush(10)
            assert sum(seen) == 23
        await asyncio.wait_for(taker, 5)
        assert collector.state == "stopped"
        await collector.shutdown()
        with pytest.raises(otelcore.ClosedError):
            await collector.output("inproc/out").next()
        with pytest.raises(otelcore.ClosedError):
            await collector.flush()

    asyncio.run(run())


def test_a_reload_keeps_the_output_and_an_error_changes_nothing() -> None:
    async def run() -> None:
        async with AsyncCollector(THROUGH) as collector:
            entrance, output = collector.input("inproc/app"), collector.output("inproc/out")
            entrance.submit_traces(spans(2))
            with pytest.raises(otelcore.ConfigError):
                await collector.reload(THROUGH.replace("10s", "ten"))
            with pytest.raises(otelcore.StateError, match="without a restart"):
                await collector.reload(THROUGH.replace("level: none", "level: basic"))
            # The old batch is passed on at once.
            await collector.reload(THROUGH.replace("10s", "1ms"))
            batch = await output.next(10)
            assert batch is not None and span_count(batch.data) == 2
            batch.ack()

    asyncio.run(run())


def test_timers_come_by_themselves() -> None:
    async def run() -> None:
        async with AsyncCollector(THROUGH.replace("10s", "100ms")) as collector:
            output = collector.output("inproc/out")
            collector.input("inproc/app").submit_traces(spans(4))
            assert await output.next(0.01) is None
            batch = await output.next(5)
            assert batch is not None and span_count(batch.data) == 4
            batch.ack()

    asyncio.run(run())


def test_the_loop_goes_on_while_someone_waits_and_a_wait_can_be_cancelled() -> None:
    async def run() -> None:
        async with AsyncCollector(THROUGH) as collector:
            waiting = asyncio.create_task(collector.output("inproc/out").next())
            for _ in range(10):
                await asyncio.sleep(0.001)
            assert not waiting.done()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(anext(aiter(collector.output("inproc/out"))), 0.05)

    asyncio.run(run())


def test_what_is_lost_is_told_and_so_is_a_flush_that_is_late() -> None:
    async def run() -> None:
        collector = await AsyncCollector(THROUGH).start()
        collector.input("inproc/app").submit_traces(spans(6))
        with pytest.raises(otelcore.DeadlineError):
            await collector.flush(0.1)
        with pytest.raises(otelcore.DeadlineError) as lost:
            await collector.shutdown(0.2)
        assert lost.value.left == {"exporter inproc/out": 6}

    asyncio.run(run())


def test_misuse_is_told() -> None:
    with pytest.raises(otelcore.ConfigError, match="timeuot"):
        AsyncCollector(THROUGH.replace("timeout", "timeuot"))
    collector = AsyncCollector(THROUGH)

    async def before() -> None:
        with pytest.raises(otelcore.StateError):
            await collector.output("inproc/out").next()

    asyncio.run(before())

    async def run() -> None:
        await collector.start()
        with pytest.raises(otelcore.StateError, match="can't be waited for"):
            collector._engine.flush(1.0)
        elsewhere: list[BaseException] = []

        def turn() -> None:
            try:
                assert collector._driven is not None
                collector._driven.turn()
            except otelcore.StateError as error:
                elsewhere.append(error)

        thread = threading.Thread(target=turn)
        thread.start()
        thread.join()
        assert len(elsewhere) == 1
        await collector.shutdown()

    asyncio.run(run())


def test_many_lives_leave_nothing_behind() -> None:
    async def run() -> None:
        for life in range(12):
            async with AsyncCollector(THROUGH, log=False):
                pass
            if life == 1:
                before = len(os.listdir("/proc/self/fd"))
        assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(run())
