"""The exceptions. The native half raises them by their names."""

from __future__ import annotations

from collections.abc import Iterable


class OtelcoreError(Exception):
    """The base class of all errors of a collector."""


class ConfigError(OtelcoreError, ValueError):
    """The configuration has mistakes: the text has all of them, each with file, line, column and a hint."""


class StartError(OtelcoreError, OSError):
    """A component could not start; for example because its port is in use.

    `errno` is the system's number where it refused a socket (`errno.EADDRINUSE`), and `None` for any other reason.
    """

    def __init__(self, message: str, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno


class StateError(OtelcoreError, RuntimeError):
    """The call is not possible in this state: the collector has not been started, or has been started before."""


class ClosedError(StateError):
    """The collector is stopping, or has ended."""


class ForkedError(ClosedError):
    """The collector runs in the parent process, and this is a forked child."""


class InvalidDataError(OtelcoreError, ValueError):
    """The bytes are no OTLP request of this signal; the text says where and why."""


class OverloadedError(OtelcoreError):
    """The collector holds as much as it may. The same bytes may be accepted later."""

    retry_after: float
    """Seconds after which a retry is useful."""

    def __init__(self, message: str, retry_after: float = 0.1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineError(OtelcoreError, TimeoutError):
    """Not everything was delivered in time."""

    left: dict[str, int]
    """After a shutdown, the items that were lost, by component."""

    def __init__(self, message: str, left: Iterable[tuple[str, int]] = ()) -> None:
        super().__init__(message)
        self.left = dict(left)
