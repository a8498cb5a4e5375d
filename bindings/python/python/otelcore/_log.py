"""The collector's log goes to Python's `logging`.

A daemon thread of Python's waits at a pipe until the collector has something to say. It waits in Python's `poll`, never
in native code of ours, so the interpreter's end finds it where it may be found.
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
    """What takes records out of one collector's queue."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self.queue = LogQueue(min(logger.getEffectiveLevel(), 255))
        self._thread: threading.Thread | None = None

    def drain(self) -> bool:
        """Hands on what there is. `False` when nothing will follow."""
        lines, lost, closed = self.queue.take()
        for level, message, fields in lines:
            text = "".join(f" {key}={value}" for key, value in fields.items())
            self._logger.log(level, "%s%s", message, text, extra={"otelcore": fields})
        if lost:
            self._logger.warning("%d records of the collector's log were lost: they came too fast", lost)
        # Whoever configures logging later is heard from the next record on.
        self.queue.set_level(min(self._logger.getEffectiveLevel(), 255))
        return not closed

    def start(self) -> None:
        """Drains on a thread from now on."""
        thread = threading.Thread(target=self._run, name="otelcore-log", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # An interpreter that is ending gives no more threads; `close` hands on what there is.
            return
        self._thread = thread

    def _run(self) -> None:
        # Not `select.select`, which knows no descriptor above 1023.
        poll = select.poll()
        poll.register(self.queue.fileno(), select.POLLIN)
        while True:
            poll.poll()
            try:
                if not self.drain():
                    return
            except Exception:  # a handler's fault must not end the log
                logging.getLogger(__name__).exception("the collector's log could not be handed on")

    def close(self, timeout: float = 1.0) -> None:
        """Hands on what is left, and ends the thread."""
        self.queue.close()
        if self._thread is None:
            self.drain()
        elif self._thread is not threading.current_thread():
            self._thread.join(timeout)
