"""The collector, on a thread of its own."""

from __future__ import annotations

import atexit
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from . import _config, _otelcore
from ._config import Config
from ._errors import OtelcoreError, OverloadedError, StateError
from ._log import Drain, Log, logger_of
from ._otelcore import Input, Output, Payload, Processor
from ._snapshot import ComponentStatus, Snapshot, component_of, snapshot_of

EXIT_TIMEOUT = 5.0
"""Seconds that all collectors together have when the interpreter exits."""


class Collector:
    """An OpenTelemetry Collector in this process. Every method may be called from any thread.

    `config` is a path, YAML text (a string with a colon or a line break), a mapping, or a sequence of these, which are merged in
    their order; it is checked here, and nothing is opened before `start()`. `log` is a logger or its name, `otelcore` by default; `False` means no log.

    Raises `ConfigError` with every mistake.
    """

    def __init__(self, config: Config, *, log: Log = None) -> None:
        self._documents = _config.read(config)
        self._name = self._documents[0][1]
        self._on_status: Callable[[ComponentStatus], None] | None = None
        self._changes: _otelcore.StatusQueue | None = None
        self._logger = logger_of(log)
        self._functions: dict[str | None, Callable[[Payload], None]] = {}
        self._make()

    def _make(self) -> None:
        self._drain = Drain(self._logger) if self._logger is not None else None
        self._engine = _otelcore.Engine(self._documents, self._drain.queue if self._drain else None)

    def start(self) -> Collector:
        """Starts it, and returns when everything listens.

        In a forked child this makes a new collector from the parent's configuration; inputs and outputs have to be asked
        for again.

        Raises `StartError`, or `StateError` where it has been started before.
        """
        if self._engine.state() == "forked":
            self._make()
        if self._drain is not None and self._engine.state() == "created":
            self._drain.start()
        if self._on_status is not None:
            self._changes = self._engine.status_changes()
            threading.Thread(
                target=_pass_changes, args=(self._changes, self._on_status), name="otelcore-status", daemon=True
            ).start()
        processors = [(self._engine.processor(name), function) for name, function in self._functions.items()]
        _running.add(self)
        _end_with_this_process()
        try:
            self._engine.start()
        except StateError:
            raise
        except BaseException:
            self._ended()
            raise
        for processor, function in processors:
            # A daemon: a function that never returns must not keep the interpreter from its exit.
            threading.Thread(target=_run, args=(processor, function), name=f"otelcore {processor.id}", daemon=True).start()
        return self

    def flush(self, timeout: float | None = 30.0) -> None:
        """Waits until all that was accepted before this call is delivered, or reported as lost.

        Raises `DeadlineError` when the time is up.
        """
        self._engine.flush(timeout)

    def reload(self, config: Config, grace: float | None = 30.0) -> None:
        """Changes a collector that runs to another configuration. Components whose configuration is the same go on with their
        state, and their inputs and outputs stay valid; those that end have `grace` seconds for what they hold, while the new
        ones run. Where this raises, the collector goes on as before.

        Raises `ConfigError` with every mistake, `StartError` where something can't start, and `StateError` where only a new
        collector can have this configuration.
        """
        documents = _config.read(config)
        self._engine.reload(documents, grace)
        # A forked child that starts one has the configuration that runs.
        self._documents = documents

    def shutdown(self, timeout: float | None = 30.0) -> None:
        """Takes nothing new, delivers what it holds, and ends. A second time is no error.

        Raises `DeadlineError` when not everything was delivered in time; its `left` has the items.
        """
        if self._engine.state() == "forked":
            return
        try:
            self._engine.shutdown(timeout)
        finally:
            if self.state in ("stopped", "failed"):
                self._ended()

    def _ended(self) -> None:
        _running.discard(self)
        if self._changes is not None:
            self._changes.close()
        if self._drain is not None:
            self._drain.close()

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
        """Has `function` called with each component whose status has changed, in a thread of its own that `start()` starts. The
        collector never waits for it: of more than 1024 changes that wait, the oldest are dropped. What it raises is logged.

        Raises `StateError` after the start.
        """
        if self._engine.state() != "created":
            raise StateError("say who gets changed statuses before the start")
        self._on_status = function

    def metrics(self) -> str:
        """The collector's own metrics, as a Prometheus page."""
        return self._engine.metrics()

    def input(self, name: str | None = None) -> Input:
        """The input of an `inproc` receiver, by the receiver's id in the configuration, or the only one."""
        return self._engine.input(name)

    def output(self, name: str | None = None) -> Output:
        """The output of an `inproc` exporter, by the exporter's id in the configuration, or the only one."""
        return self._engine.output(name)

    def processor(self, name: str | None = None) -> Processor:
        """The program's side of the `inproc` processors of an id in the configuration, or of the only one: for payloads that
        the program takes itself. Ask for it before the start; who asks for it has to process what it gets."""
        return self._engine.processor(name)

    def process(self, function: Callable[[Payload], None], name: str | None = None) -> None:
        """Has `function` called for each payload of an `inproc` processor, one after another, in a thread of its own that
        `start()` starts. `name` is the processor's id in the configuration, or that of the only one.

        The payload is passed on as it is when the function returns, unless the function has finished it. Where it raises
        `OverloadedError` the payload is refused, and its sender may send it again; at any other exception it is refused for
        good, and reported. A call that takes longer than the processor's `timeout`: the payload is refused, its sender may
        send it again, and what the call does later is ignored. The collector never waits for Python.

        Raises `ConfigError` where the configuration has no such processor, and `StateError` after the start.
        """
        self._engine.processor(name)
        if self._engine.state() != "created":
            raise StateError("give a processor its function before the start")
        self._functions[name] = function

    def __enter__(self) -> Collector:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.shutdown()
        except OtelcoreError:
            # The exception that ends the block takes precedence.
            if error is None:
                raise

    def __repr__(self) -> str:
        return f"<otelcore.Collector {self._name}, {self.state}>"


def _run(processor: Processor, function: Callable[[Payload], None]) -> None:
    """Calls a function for each payload, until the collector has ended."""
    for payload in processor:
        try:
            function(payload)
        except OverloadedError as overloaded:
            payload.reject(retry_after=overloaded.retry_after)
        except BaseException as error:
            payload.reject(retryable=False, reason=f"{type(error).__name__}: {error}")
        else:
            payload.pass_on()


def _pass_changes(changes: _otelcore.StatusQueue, function: Callable[[ComponentStatus], None]) -> None:
    """Calls a function for each change of a status, until the collector has ended."""
    while True:
        change = changes.next(None)
        if change is None:
            return
        try:
            function(component_of(json.loads(change)))
        except Exception:
            logging.getLogger(__name__).exception("the function for changed statuses has failed")


_running: set[Collector] = set()
"""Collectors to shut down at exit. Strong references: a running collector without another one still delivers."""

_finalizer: tuple[int, Any] | None = None


def _forked() -> None:
    """Called in a forked child: it gives up its parent's collectors. No lock is taken here, and nothing is logged."""
    # The set is not cleared: that would drop the parent's collectors.
    global _running
    _inherited.append(_running)
    _running = set()
    _otelcore.forked()


_inherited: list[set[Collector]] = []


def _end_with_this_process() -> None:
    """A child of `multiprocessing` ends without `atexit` in older Pythons, but runs its own finalizers."""
    global _finalizer
    process = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None or (_finalizer and _finalizer[0] == os.getpid()):
        return
    from multiprocessing.util import Finalize

    _finalizer = (os.getpid(), Finalize(None, _end, exitpriority=-100))


def _end() -> None:
    """Ends every collector, within `EXIT_TIMEOUT` in all."""
    deadline = time.monotonic() + EXIT_TIMEOUT
    running = list(_running)
    for collector in running:
        try:
            collector._engine.begin_shutdown(EXIT_TIMEOUT)
        except OtelcoreError:
            pass
    for collector in running:
        try:
            collector.shutdown(max(0.0, deadline - time.monotonic()))
        except OtelcoreError:
            # The collector's log has reported what was lost.
            pass


def _at_exit() -> None:
    _end()
    _otelcore.exiting()


def exit_on_sigterm() -> bool:
    """Makes SIGTERM end this program as `sys.exit()` does, so that the interpreter's exit handlers run: the SDK's
    providers export what they hold, and collectors deliver it. By default Python ends at once on SIGTERM.

    Returns whether it does: a program that has a handler for SIGTERM keeps it. Raises `ValueError` outside of the main
    thread.
    """
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return False
    signal.signal(signal.SIGTERM, _exit)
    return True


def _exit(number: int, frame: FrameType | None) -> None:
    # The exit code that a shell reports for this signal.
    sys.exit(128 + number)


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_forked)
