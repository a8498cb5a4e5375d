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

__all__ = [
    "Batch",
    "ClosedError",
    "Collector",
    "Config",
    "ConfigError",
    "DeadlineError",
    "ForkedError",
    "Input",
    "InvalidDataError",
    "Item",
    "OtelcoreError",
    "Output",
    "OverloadedError",
    "Payload",
    "Processor",
    "StartError",
    "StateError",
    "__version__",
    "exit_on_sigterm",
]
