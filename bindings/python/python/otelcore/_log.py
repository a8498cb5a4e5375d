"""The collector's log goes to Python's `logging`.

A daemon thread of Python waits for a pipe until there is a log record. It waits in Python's `poll`, never
in this package's native code, so that it is safe when the interpreter exits.
"""

from __future__ import annotations

import logging
import select
import threading

from ._otelcore import LogQueue

Log = logging.Logger | str | bool | None


def logger_of(log: Log) -> logging.Logger | None:
    """`None` and `True` mean the logger `otelcore`, and `False` none at all."""
    if log is False:
        return None
    if isinstance(log, logging.Logger):
        return log
    return logging.getLogger(log if isinstance(log, str) else "otelcore")


class Drain:
    """Takes records from one collector's queue and passes them to a logger."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self.queue = LogQueue(min(logger.getEffectiveLevel(), 255))
        self._thread: threading.Thread | None = None

    def drain(self) -> bool:
        """Passes on the queued records. `False` when no more will follow."""
        lines, lost, closed = self.queue.take()
        for level, message, fields in lines:
            text = "".join(f" {key}={value}" for key, value in fields.items())
            self._logger.log(level, "%s%s", message, text, extra={"otelcore": fields})
        if lost:
            self._logger.warning("%d records of the collector's log were lost: they came too fast", lost)
        # A level that is configured later applies from the next record on.
        self.queue.set_level(min(self._logger.getEffectiveLevel(), 255))
        return not closed

    def start(self) -> None:
        """Drains on a thread from now on."""
        thread = threading.Thread(target=self._run, name="otelcore-log", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # An interpreter that is exiting starts no more threads; `close` passes on the queued records.
            return
        self._thread = thread

    def _run(self) -> None:
        # Not `select.select`, which does not support descriptors above 1023.
        poll = select.poll()
        poll.register(self.queue.fileno(), select.POLLIN)
        while True:
            poll.poll()
            try:
                if not self.drain():
                    return
            except Exception:  # an error of a handler must not end the thread
                logging.getLogger(__name__).exception("the collector's log could not be handed on")

    def close(self, timeout: float = 1.0) -> None:
        """Passes on the remaining records, and ends the thread."""
        self.queue.close()
        if self._thread is None:
            self.drain()
        elif self._thread is not threading.current_thread():
            self._thread.join(timeout)
