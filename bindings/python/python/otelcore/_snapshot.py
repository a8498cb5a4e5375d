"""A collector at a moment, as data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class LastError:
    """An error of a component."""

    message: str
    at: datetime
    """When it was reported last."""
    count: int
    """How often in a row it was reported."""


@dataclass(frozen=True)
class ComponentStatus:
    """The status of a component."""

    kind: str
    """`receiver`, `processor`, `exporter`, `connector` or `extension`."""
    id: str
    instance: str
    """The pipeline of a processor, the signals of a connector, and otherwise empty."""
    status: str
    """`none`, `starting`, `ok`, `recoverable_error`, `permanent_error`, `stopping` or `stopped`."""
    message: str
    """The last error, while the status is an error."""
    changed_at: datetime
    last_error: LastError | None
    """The last error that it reported; it stays when the component works again."""
    addresses: tuple[str, ...]
    """Where it listens; for a configured port 0 with the port that it got."""


@dataclass(frozen=True)
class Queue:
    """A queue of an exporter, or of an input or a processor of the program."""

    kind: str
    """`exporter`, `receiver` or `processor`."""
    id: str
    signal: str | None
    """`None` is every signal."""
    unit: str
    """The unit of `size` and `capacity`: `requests`, `items` or `bytes`."""
    size: int
    """How much it holds, what is being sent included."""
    capacity: int
    on_disk: bool
    oldest_age_seconds: float | None
    """For how long it has held its oldest payload. `None`: it holds none, or it is the queue of an input or a processor of the
    program."""


@dataclass(frozen=True)
class Memory:
    """Memory, in bytes."""

    held_bytes: int
    """Telemetry that the collector holds, counted exactly."""
    kept_bytes: int
    """State that components keep, such as series."""
    limit_bytes: int | None
    """The limit of a `memory_limiter`."""
    resident_bytes: int
    """Resident memory of the whole process."""


@dataclass(frozen=True)
class Series:
    """A series of a metric."""

    labels: Mapping[str, str]
    value: float | None = None
    """Of a counter or a gauge."""
    bounds: tuple[float, ...] = ()
    """A histogram's upper bounds, ascending, without infinity."""
    counts: tuple[int, ...] = ()
    """A histogram's counts by bucket, not cumulative: one more than there are bounds."""
    sum: float | None = None
    """The sum of a histogram's observations."""


@dataclass(frozen=True)
class Metric:
    """A metric of the collector's own."""

    name: str
    help: str
    unit: str
    """In UCUM; may be empty."""
    kind: str
    """`counter`, `gauge` or `histogram`."""
    series: tuple[Series, ...]


@dataclass(frozen=True)
class Snapshot:
    """A collector at a moment."""

    state: str
    error: str | None
    """Why it has failed."""
    memory: Memory
    components: tuple[ComponentStatus, ...]
    queues: tuple[Queue, ...]
    metrics: tuple[Metric, ...]
    """Its own metrics, up to `service::telemetry::metrics::level`."""


def _known(cls: Any, fields: dict[str, Any]) -> dict[str, Any]:
    """Without keys that a later version of the library may add."""
    return {name: value for name, value in fields.items() if name in cls.__dataclass_fields__}


def _time(text: str) -> datetime:
    # Python's datetime has microseconds; older versions read no "Z".
    head, _, rest = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{head}.{(rest + '000000')[:6]}+00:00")


def component_of(fields: dict[str, Any]) -> ComponentStatus:
    last = fields["last_error"]
    fields["last_error"] = last and LastError(last["message"], _time(last["at"]), last["count"])
    fields["changed_at"] = _time(fields["changed_at"])
    fields["addresses"] = tuple(fields["addresses"])
    return ComponentStatus(**_known(ComponentStatus, fields))


def _series_of(fields: dict[str, Any]) -> Series:
    for name in ("bounds", "counts"):
        fields[name] = tuple(fields.get(name, ()))
    return Series(**_known(Series, fields))


def _metric_of(fields: dict[str, Any]) -> Metric:
    fields["series"] = tuple(map(_series_of, fields["series"]))
    return Metric(**_known(Metric, fields))


def snapshot_of(document: str) -> Snapshot:
    fields: dict[str, Any] = json.loads(document)
    fields["memory"] = Memory(**_known(Memory, fields["memory"]))
    fields["components"] = tuple(map(component_of, fields["components"]))
    fields["queues"] = tuple(Queue(**_known(Queue, queue)) for queue in fields["queues"])
    fields["metrics"] = tuple(map(_metric_of, fields["metrics"]))
    return Snapshot(**_known(Snapshot, fields))
