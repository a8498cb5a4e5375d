"""An OpenTelemetry Collector inside a Python program.

`Collector` runs one with a configuration of the Go collector; `otelcore.sdk` has exporters for the OpenTelemetry SDK,
`otelcore.aio` the collector in asyncio's loop.
"""

from ._collector import Collector, exit_on_sigterm
from ._config import Config
from ._errors import (
    ClosedError,
    ConfigError,
    DeadlineError,
    ForkedError,
    InvalidDataError,
    OtelcoreError,
    OverloadedError,
    StartError,
    StateError,
)
from ._otelcore import Batch, Input, Item, Output, Payload, Processor, __version__
from ._snapshot import ComponentStatus, LastError, Memory, Metric, Queue, Series, Snapshot

__all__ = [
    "Batch",
    "ClosedError",
    "Collector",
    "ComponentStatus",
    "Config",
    "ConfigError",
    "DeadlineError",
    "ForkedError",
    "Input",
    "InvalidDataError",
    "Item",
    "LastError",
    "Memory",
    "Metric",
    "OtelcoreError",
    "Output",
    "OverloadedError",
    "Payload",
    "Processor",
    "Queue",
    "Series",
    "Snapshot",
    "StartError",
    "StateError",
    "__version__",
    "exit_on_sigterm",
]
