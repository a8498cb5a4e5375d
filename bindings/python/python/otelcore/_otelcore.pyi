"""The native half. `Batch`, `Input`, `Output`, `Processor`, `Payload` and `Item` are public as `otelcore.Batch` and so on; the
rest is private."""

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Literal, final

from typing_extensions import Buffer, Self

__all__ = [
    "Batch",
    "Driven",
    "Engine",
    "Input",
    "Item",
    "LogQueue",
    "Output",
    "Payload",
    "Processor",
    "Request",
    "StatusQueue",
    "__version__",
    "command",
    "encode",
    "exiting",
    "forked",
]

__version__: str

def command(args: Sequence[str]) -> int: ...
def encode(signal: Literal["traces", "metrics", "logs"], data: Any) -> Request:
    """Encodes what an exporter of the SDK is given: a sequence of `ReadableSpan`, a `MetricsData`, or a sequence of
    `ReadableLogRecord`."""

@final
class Request:
    """An encoded `Export*ServiceRequest`."""

    @property
    def data(self) -> bytes:
        """The message in protobuf."""
    @property
    def skipped(self) -> tuple[int, list[tuple[str, str]]]:
        """The number of attributes that were left out, and the key and the reason of the first ones."""
    def __len__(self) -> int: ...

def exiting() -> None: ...
def forked() -> None: ...
@final
class Input:
    """The entrance of an `inproc` receiver. Any thread may use it.

    Every `submit` raises `InvalidDataError`, `OverloadedError` (the same bytes may be taken later), `ConfigError` where no
    pipeline takes the signal, or `ClosedError`; nothing has happened then.

    With `wait_for_result: true` of the receiver each waits for the outcome, without the interpreter's lock: where the
    pipelines lead to a queue on disk, accepted data is on disk. `DeadlineError`: there is none in time, and the data may be
    delivered or not.
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
    def submit_json(self, signal: Literal["traces", "metrics", "logs"], document: str) -> None:
        """Takes an `Export*ServiceRequest` in OTLP/JSON, which is converted in this call. Never waits."""
    def submit_request(self, request: Request) -> None:
        """Takes what `encode` has made, without a copy. Never waits."""

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
    """Telemetry of an output. One that is dropped unfinished is delivered again.

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
class Processor:
    """The program's side of the `inproc` processors of one id. Any thread may use it; threads share its payloads.

    Iterating waits for payloads, and ends with the collector.
    """

    @property
    def id(self) -> str:
        """The processor's id."""
    def next(self, timeout: float | None = None) -> Payload | None:
        """The next payload, or `None` when the time is over. Raises `ClosedError` at the collector's end."""
    def __iter__(self) -> Iterator[Payload]: ...
    def __next__(self) -> Payload: ...

@final
class Payload:
    """A request in a pipeline. One that is dropped unfinished is refused, and its sender may send it again.

    One that is not finished within the processor's `timeout` is refused in the same way, and what is said of it later is
    ignored.
    """

    @property
    def signal(self) -> Literal["traces", "metrics", "logs"]:
        """What it carries."""
    @property
    def data(self) -> bytes:
        """The `Export*ServiceRequest` in protobuf, as it is now."""
    @property
    def metadata(self) -> dict[str, list[str]]:
        """The headers of the request that brought it, by name in lower case, if the receiver keeps them."""
    def replace(self, otlp: Buffer) -> None:
        """Replaces the request by another one of the same signal. At `InvalidDataError` it is as it was."""
    def edit(self, visit: Callable[[Item], bool | Literal["skip"] | None]) -> None:
        """Calls `visit` for each resource, scope, span, event, link, metric, point and log record, from the outside to the
        inside. It may change the item, and returns `True` or `None` to keep it, `False` to drop it with what it contains, or
        `"skip"` to keep what it contains as it is.

        What it raises ends the edit; what was changed before stays changed."""
    def pass_on(self) -> None:
        """Passes it on as it is now; without any item it is dropped. The first result counts."""
    def drop(self) -> None:
        """Drops it: its sender takes it as delivered. The first result counts."""
    def reject(self, retryable: bool = True, reason: str = "", retry_after: float | None = None) -> None:
        """Refuses it: its sender may send it again, no sooner than after `retry_after` seconds; or, where it is not
        retryable, never, and it is reported with the reason. The first result counts."""

@final
class Item:
    """An item of a payload in `Payload.edit`. What is changed in it takes effect when the function returns."""

    @property
    def kind(self) -> Literal["resource", "scope", "span", "event", "link", "metric", "point", "log"]:
        """What it is."""
    name: str | None
    """The name of a scope, span, event or metric, and the event name of a log record; `None` for others."""
    body: Any
    """The body of a log record; `None` for others."""
    @property
    def attributes(self) -> dict[str, Any]:
        """Its attributes: texts, numbers, booleans, `bytes`, lists and maps. Empty for a metric; its points have them."""
    @property
    def resource(self) -> dict[str, Any]:
        """The attributes of its resource, to be read."""

@final
class Engine:
    def __new__(cls, documents: Sequence[tuple[str, str]], log: LogQueue | None) -> Self: ...
    def start(self) -> None: ...
    def drive(self) -> Driven: ...
    def state(self) -> str: ...
    def begin_flush(self) -> int: ...
    def is_flushed(self, mark: int) -> bool: ...
    def flush(self, timeout: float | None) -> None: ...
    def reload(self, documents: Sequence[tuple[str, str]], grace: float | None) -> None: ...
    def begin_reload(self, documents: Sequence[tuple[str, str]], grace: float | None) -> int: ...
    def reload_result(self, number: int) -> bool: ...
    def begin_shutdown(self, grace: float | None) -> None: ...
    def shutdown(self, timeout: float | None) -> None: ...
    def finish(self) -> None: ...
    def metrics(self) -> str: ...
    def health(self) -> str: ...
    def component_statuses(self) -> str: ...
    def snapshot(self) -> str: ...
    def status_changes(self) -> StatusQueue: ...
    def input(self, id: str | None = None, signal: str | None = None) -> Input: ...
    def output(self, id: str | None = None) -> Output: ...
    def processor(self, id: str | None = None) -> Processor: ...

@final
class Driven:
    def fileno(self) -> int | None: ...
    def deadline(self) -> float | None: ...
    def turn(self) -> bool: ...

@final
class StatusQueue:
    def next(self, timeout: float | None) -> str | None: ...
    def close(self) -> None: ...

@final
class LogQueue:
    def __new__(cls, level: int) -> Self: ...
    def fileno(self) -> int: ...
    def set_level(self, level: int) -> None: ...
    def take(self) -> tuple[list[tuple[int, str, dict[str, Any]]], int, bool]: ...
    def close(self) -> None: ...
