"""The exceptions. The native half raises them by their names."""

from __future__ import annotations

from collections.abc import Iterable


class OtelcoreError(Exception):
    """Anything that a collector can't do."""


class ConfigError(OtelcoreError, ValueError):
    """The configuration has mistakes: the text has all of them, each with file, line, column and a hint."""


class StartError(OtelcoreError, OSError):
    """A component could not start; its port is in use, for one.

    `errno` is the system's number where it refused a socket (`errno.EADDRINUSE`), and `None` for any other reason.
    """

    def __init__(self, message: str, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno


class StateError(OtelcoreError, RuntimeError):
    """Not in this state: the collector has not been started, or has been started before."""


class ClosedError(StateError):
    """The collector is stopping, or has come to its end."""


class ForkedError(ClosedError):
    """The collector runs in the parent process, and this is a forked child."""


class InvalidDataError(OtelcoreError, ValueError):
    """The bytes are no OTLP request of this signal; the text says where and why."""


class OverloadedError(OtelcoreError):
    """The collector holds as much as it may. The same bytes may be taken later."""

    retry_after: float
    """When it is worth another try, in seconds from now."""

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
