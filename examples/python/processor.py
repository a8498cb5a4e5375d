"""A processor in Python between a receiver and an exporter: spans of health checks are dropped, and the others say where they
are from.

    pip install otelcore
    python processor.py
"""

from otelcore import Collector, Item, Payload

CONFIG = """
receivers: {otlp: {protocols: {http: {endpoint: "127.0.0.1:0"}}}, inproc: }
processors: {inproc: {timeout: 2s}}
exporters: {inproc: }
service:
  pipelines: {traces: {receivers: [otlp, inproc], processors: [inproc], exporters: [inproc]}}
"""


def visit(item: Item) -> bool:
    if item.kind == "resource":
        item.attributes["cloud.region"] = "eu-north-1"
    return item.attributes.get("http.route") != "/healthz"


def process(payload: Payload) -> None:
    """Runs in a thread of its own. A payload for which it takes longer than `timeout` is refused, and comes again."""
    payload.edit(visit)


def main() -> None:
    collector = Collector(CONFIG)
    collector.process(process)
    with collector:
        # A request of two spans, as an SDK makes it: GET /cart and GET /healthz.
        collector.input().submit_traces(request())
        batch = collector.output().next(10)
        assert batch is not None
        batch.ack()
        print("/healthz" in str(batch.data), "eu-north-1" in str(batch.data))


def request() -> bytes:
    def message(field: int, content: bytes) -> bytes:
        return bytes([field << 3 | 2, len(content)]) + content

    def span(route: bytes) -> bytes:
        attribute = message(1, b"http.route") + message(2, message(1, route))
        return message(2, message(5, b"GET " + route) + message(9, attribute))

    return message(1, message(2, span(b"/cart") + span(b"/healthz")))


if __name__ == "__main__":
    main()
