"""A collector in asyncio's loop: no thread but the program's own.

Tasks put spans in; the collector batches them; a task takes the batches out and does with them what an exporter of one's
own would do.

    pip install 'otelcore[sdk]'
    python asyncio_app.py
"""

import asyncio

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from otelcore import Input
from otelcore.aio import AsyncCollector

CONFIG = """
receivers: {inproc: }
processors: {batch: {timeout: 100ms}}
exporters: {inproc: }
service:
  pipelines:
    traces: {receivers: [inproc], processors: [batch], exporters: [inproc]}
"""


class Straight(SpanProcessor):
    """Submits each span when it ends: the collector never waits, and has a batch processor."""

    def __init__(self, entrance: Input) -> None:
        self._entrance = entrance

    def on_end(self, span: ReadableSpan) -> None:
        self._entrance.submit_traces(encode_spans([span]).SerializeToString())


async def serve(provider: TracerProvider, name: str) -> None:
    for _ in range(20):
        with provider.get_tracer("asyncio").start_as_current_span(name):
            await asyncio.sleep(0.005)


async def keep(collector: AsyncCollector) -> int:
    """In a real application the batches would be written to a database, or sent over a socket of asyncio's."""
    spans = 0
    async for batch in collector.output():
        with batch:
            request = ExportTraceServiceRequest.FromString(batch.data)
            spans += sum(len(scope.spans) for r in request.resource_spans for scope in r.scope_spans)
            await asyncio.sleep(0)
    return spans


async def main() -> None:
    async with AsyncCollector(CONFIG) as collector:
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(Straight(collector.input()))
        keeper = asyncio.create_task(keep(collector))
        await asyncio.gather(*(serve(provider, f"client {n}") for n in range(5)))
        await collector.flush()
    print(f"{await keeper} spans of 100 were kept.")


if __name__ == "__main__":
    asyncio.run(main())
