"""A collector in asyncio's loop: no thread of its own, no locks to wait for.

    async with AsyncCollector(config) as collector:
        collector.input("inproc/app").submit_traces(request)
        async for batch in collector.output("inproc/out"):
            with batch:
                await keep(batch.data)

The loop waits for one descriptor and one deadline, and runs a turn when either is due. A turn never waits.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any

from . import _config, _otelcore
from ._config import Config
from ._errors import ClosedError, DeadlineError, OtelcoreError, StateError
from ._log import Drain, Log, logger_of
from ._otelcore import Batch, Input
from ._snapshot import ComponentStatus, Snapshot, component_of, snapshot_of

__all__ = ["AsyncCollector", "AsyncOutput"]

_LOOK = 0.002
"""Seconds between two checks of a flush: data of a flushed batch may wait again in a later batch processor."""


class AsyncOutput:
    """The output of an `inproc` exporter in asyncio. Tasks share its batches; iterating ends with the collector."""

    def __init__(self, collector: AsyncCollector, output: _otelcore.Output) -> None:
        self._collector = collector
        self._output = output

    @property
    def id(self) -> str:
        """The exporter's id."""
        return self._output.id

    async def next(self, timeout: float | None = None) -> Batch | None:
        """The next batch, or `None` when the time is up. Raises `ClosedError` at the collector's end."""
        loop = asyncio.get_running_loop()
        until = None if timeout is None else loop.time() + timeout
        while True:
            batch = self._output.next(0)
            if batch is not None:
                return batch
            left = None if until is None else until - loop.time()
            if left is not None and left <= 0:
                return None
            await self._collector._news(left)

    def __aiter__(self) -> AsyncIterator[Batch]:
        return self

    async def __anext__(self) -> Batch:
        try:
            batch = await self.next()
        except ClosedError:
            raise StopAsyncIteration from None
        assert batch is not None, "without a timeout there is a batch or the end"
        return batch


class AsyncCollector:
    """An OpenTelemetry Collector in the running loop of asyncio. Inputs may be used from any thread.

    `config` and `log` are those of `otelcore.Collector`. Raises `ConfigError` with every mistake.
    """

    def __init__(self, config: Config, *, log: Log = None) -> None:
        documents = _config.read(config)
        logger = logger_of(log)
        self._drain = Drain(logger) if logger is not None else None
        self._engine = _otelcore.Engine(documents, self._drain.queue if self._drain else None)
        self._changes: _otelcore.StatusQueue | None = None
        self._on_status: Callable[[ComponentStatus], None] | None = None
        self._driven: _otelcore.Driven | None = None
        self._descriptor: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiters: set[asyncio.Future[None]] = set()

    async def start(self) -> AsyncCollector:
        """Starts it in the running loop, and returns when everything listens. Raises `StartError`."""
        self._loop = asyncio.get_running_loop()
        self._driven = self._engine.drive()
        self._descriptor = self._driven.fileno()
        assert self._descriptor is not None, "one that has just been started has a descriptor"
        self._loop.add_reader(self._descriptor, self._turn)
        self._turn()
        return self

    def _turn(self) -> None:
        driven = self._driven
        if driven is None:
            return
        try:
            goes_on = driven.turn()
        except OtelcoreError as error:
            goes_on = False
            self._loop.call_exception_handler({"message": "the collector has failed", "exception": error})
        if self._drain is not None:
            self._drain.drain()
        self._pass_changes()
        if goes_on:
            self._arm(driven.deadline())
        else:
            self._end()
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _pass_changes(self) -> None:
        if self._changes is None or self._on_status is None:
            return
        while (change := self._changes.next(0)) is not None:
            try:
                self._on_status(component_of(json.loads(change)))
            except Exception as error:
                context = {"message": "the function for changed statuses has failed", "exception": error}
                self._loop.call_exception_handler(context)

    def _arm(self, seconds: float | None) -> None:
        """A timer that fires too early costs a turn; one that fires too late would be an error."""
        if seconds is None:
            return
        at = self._loop.time() + seconds
        if self._timer is not None and not self._timer.cancelled():
            if self._loop.time() < self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._turn)

    def _end(self) -> None:
        self._driven = None
        if self._descriptor is not None:
            self._loop.remove_reader(self._descriptor)
            self._descriptor = None
        if self._timer is not None:
            self._timer.cancel()
        if self._drain is not None:
            self._drain.close()

    async def _news(self, timeout: float | None) -> None:
        """Waits for the next turn."""
        if self._driven is None:
            if self._engine.state() == "created":
                raise StateError("the collector has not been started")
            return
        waiter = self._loop.create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait((waiter,), timeout=timeout)
        finally:
            self._waiters.discard(waiter)

    async def flush(self, timeout: float | None = 30.0) -> None:
        """Waits until all that was accepted before this call is delivered, or reported as lost.

        Raises `DeadlineError` when the time is up.
        """
        until = None if timeout is None else asyncio.get_running_loop().time() + timeout
        mark = self._engine.begin_flush()
        while not self._engine.is_flushed(mark):
            if until is not None and self._loop.time() >= until:
                raise DeadlineError("not everything was delivered in time")
            await self._news(_LOOK)
            if self._driven is not None:
                self._engine.begin_flush()

    async def reload(self, config: Config, grace: float | None = 30.0) -> None:
        """Changes it to another configuration. See `Collector.reload`."""
        number = self._engine.begin_reload(_config.read(config), grace)
        # The request may have come after the last event of the descriptor.
        self._turn()
        while not self._engine.reload_result(number):
            if self._driven is None:
                raise StateError("the collector has ended")
            await self._news(_LOOK)

    async def shutdown(self, timeout: float | None = 30.0) -> None:
        """Takes nothing new, delivers what it holds, and ends. A second time is no error.

        Raises `DeadlineError` when not everything was delivered in time; its `left` has the items.
        """
        if self._engine.state() == "forked":
            return
        if self._driven is not None:
            self._engine.begin_shutdown(timeout)
            # The shutdown may have been requested after the last event of the descriptor.
            self._turn()
            while self._driven is not None:
                await self._news(None)
        self._engine.finish()

    @property
    def state(self) -> str:
        """`created`, `starting`, `running`, `stopping`, `stopped`, `failed`; `forked` in a forked child."""
        return self._engine.state()

    def health(self) -> dict[str, Any]:
        """The state under `state`, the reason of a failure under `error`, and what is held under `held_bytes`."""
        health: dict[str, Any] = json.loads(self._engine.health())
        return health

    def component_statuses(self) -> list[dict[str, Any]]:
        """The status of each component since the start: `kind`, `id`, `instance`, `status`, `message`, `changed_at`,
        `last_error` (`None`, or `message`, `at` and `count`), and `addresses`, where it listens."""
        statuses: list[dict[str, Any]] = json.loads(self._engine.component_statuses())
        return statuses

    def snapshot(self) -> Snapshot:
        """Its state, components, queues, memory and own metrics at this moment."""
        return snapshot_of(self._engine.snapshot())

    def on_status_change(self, function: Callable[[ComponentStatus], None]) -> None:
        """Has `function` called with each component whose status has changed, in the loop after a turn. What it raises is given to
        the loop's exception handler.

        Raises `StateError` after the start.
        """
        if self._engine.state() != "created":
            raise StateError("say who gets changed statuses before the start")
        self._changes, self._on_status = self._engine.status_changes(), function

    def metrics(self) -> str:
        """The collector's own metrics, as a Prometheus page."""
        return self._engine.metrics()

    def input(self, name: str | None = None) -> Input:
        """The input of an `inproc` receiver, by the receiver's id in the configuration, or the only
        one. Its methods never wait."""
        return self._engine.input(name)

    def output(self, name: str | None = None) -> AsyncOutput:
        """The output of an `inproc` exporter, by the exporter's id in the configuration, or the only one."""
        return AsyncOutput(self, self._engine.output(name))

    async def __aenter__(self) -> AsyncCollector:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.shutdown()
        except OtelcoreError:
            # The exception that ends the block takes precedence.
            if error is None:
                raise

    def __repr__(self) -> str:
        return f"<otelcore.aio.AsyncCollector, {self.state}>"
