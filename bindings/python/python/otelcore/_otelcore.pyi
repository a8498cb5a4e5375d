"""The native half. `Batch`, `Input` and `Output` are public as `otelcore.Batch` and so on; the rest is private."""

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Literal, final

from typing_extensions import Buffer, Self

__all__ = ["Batch", "Driven", "Engine", "Input", "LogQueue", "Output", "__version__", "command", "exiting", "forked"]

__version__: str

def command(args: Sequence[str]) -> int: ...
def exiting() -> None: ...
def forked() -> None: ...
@final
class Input:
    """The entrance of an `inproc` receiver. Any thread may use it.

    Every `submit` raises `InvalidDataError`, `OverloadedError` (the same bytes may be taken later), `ConfigError` where no
    pipeline takes the signal, or `ClosedError`; nothing has happened then.
    """

    @property
    def id(self) -> str:
        """The receiver's id."""
    def submit_traces(self, otlp: Buffer) -> None:
        """Takes an `ExportTraceServiceRequest` in protobuf. Never waits."""
    def submit_metrics(self, otlp: Buffer) -> None:
        """Takes an `ExportMetricsServiceRequest` in protobuf. Never waits."""
    def submit_logs(self, otlp: Buffer) -> None:
        """Takes an `ExportLogsServiceRequest` in protobuf. Never waits."""
    def submit(self, signal: Literal["traces", "metrics", "logs"], otlp: Buffer) -> None:
        """The same, by the signal's name."""

@final
class Output:
    """The exit of an `inproc` exporter. Any thread may use it; threads share its batches.

    Iterating waits for batches, and ends with the collector.
    """

    @property
    def id(self) -> str:
        """The exporter's id."""
    def next(self, timeout: float | None = None) -> Batch | None:
        """The next batch, or `None` when the time is over. Raises `ClosedError` at the collector's end."""
    def __iter__(self) -> Iterator[Batch]: ...
    def __next__(self) -> Batch: ...

@final
class Batch:
    """Telemetry on its way out. One that is dropped without a word is given again.

    `with batch:` says `ack()` where the block ends well, and `reject()` where it raises.
    """

    @property
    def signal(self) -> Literal["traces", "metrics", "logs"]:
        """What it carries."""
    @property
    def data(self) -> bytes:
        """The `Export*ServiceRequest` in protobuf."""
    def ack(self) -> None:
        """Says that it is delivered. The first word counts."""
    def reject(self, retryable: bool = True, reason: str = "", retry_after: float | None = None) -> None:
        """Says that it is not delivered: to be given again, no sooner than after `retry_after` seconds; or, where it is
        not retryable, to be dropped and reported with the reason. The first word counts."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self, exception: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None, /
    ) -> None: ...

@final
class Engine:
    def __new__(cls, yaml: str, name: str, log: LogQueue | None) -> Self: ...
    def start(self) -> None: ...
    def drive(self) -> Driven: ...
    def state(self) -> str: ...
    def begin_flush(self) -> int: ...
    def is_flushed(self, mark: int) -> bool: ...
    def flush(self, timeout: float | None) -> None: ...
    def begin_shutdown(self, grace: float | None) -> None: ...
    def shutdown(self, timeout: float | None) -> None: ...
    def finish(self) -> None: ...
    def metrics(self) -> str: ...
    def health(self) -> str: ...
    def component_statuses(self) -> str: ...
    def input(self, id: str | None = None, signal: str | None = None) -> Input: ...
    def output(self, id: str | None = None) -> Output: ...

@final
class Driven:
    def fileno(self) -> int | None: ...
    def deadline(self) -> float | None: ...
    def turn(self) -> bool: ...

@final
class LogQueue:
    def __new__(cls, level: int) -> Self: ...
    def fileno(self) -> int: ...
    def set_level(self, level: int) -> None: ...
    def take(self) -> tuple[list[tuple[int, str, dict[str, Any]]], int, bool]: ...
    def close(self) -> None: ...
