"""A program with a collector in it: the standard SDK, one process, directly to Jaeger and to a page for Prometheus.

    pip install 'otelcore[sdk]'
    python app.py [orders]
"""

import random
import sys
import time
from pathlib import Path

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from otelcore import Collector
from otelcore.sdk import CollectorMetricExporter, CollectorSpanExporter

CONFIG = Path(__file__).with_name("app.yaml")

tracer = trace.get_tracer("shop")
handled = metrics.get_meter("shop").create_counter("orders")


def handle(order: int) -> None:
    """What the program is for."""
    with tracer.start_as_current_span("order", attributes={"order.id": order}) as span:
        with tracer.start_as_current_span("charge"):
            time.sleep(random.uniform(0.001, 0.005))
        span.set_attribute("order.items", random.randint(1, 5))
    handled.add(1)


def main() -> None:
    orders = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with Collector(CONFIG) as collector:
        resource = Resource.create({"service.name": "shop"})
        spans = TracerProvider(resource=resource)
        spans.add_span_processor(BatchSpanProcessor(CollectorSpanExporter(collector)))
        trace.set_tracer_provider(spans)
        reader = PeriodicExportingMetricReader(CollectorMetricExporter(collector), export_interval_millis=1000)
        meters = MeterProvider([reader], resource=resource)
        metrics.set_meter_provider(meters)

        for order in range(orders):
            handle(order)
        spans.force_flush()
        meters.force_flush()
        collector.flush()
        print(f"{orders} orders are in Jaeger; look at the page for Prometheus, and stop with Enter.", flush=True)
        sys.stdin.readline()

        # The providers first: the data that they still hold needs a running collector.
        spans.shutdown()
        meters.shutdown()


if __name__ == "__main__":
    main()
