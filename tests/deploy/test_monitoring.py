"""The dashboard and the alerts of deploy/monitoring beside a running collector: every metric that they name is on its page or in its
documentation, every expression is one of Prometheus, and so for the dashboards and alerts of the community."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.request

import yaml

from manifests import DEPLOY

MONITORING = DEPLOY / "monitoring"
OTELCORE = os.environ["OTELCORE_BIN"]
# Names in expressions, of own metrics of collectors.
NAME = re.compile(r"\b(?:otelcol|otelcore)_[a-z_]+\b")
# Suffixes of the page: of units and types, which some readers add, and of histograms.
SUFFIX = re.compile(r"(_total|_bucket|_sum|_count)$")
# Metrics of the community's dashboard 15983 and of the mixin opentelemetry-collector, without suffixes. Those of versions before
# 0.100, which no Go collector of today has, are left out (`otelcol_processor_accepted_spans`), as are those of Go's libraries for
# HTTP and gRPC, which DIFFERENCES.md names.
COMMUNITY = """
otelcol_process_uptime otelcol_process_cpu_seconds otelcol_process_memory_rss otelcol_process_runtime_heap_alloc_bytes
otelcol_process_runtime_total_sys_memory_bytes
otelcol_receiver_accepted_spans otelcol_receiver_accepted_metric_points otelcol_receiver_accepted_log_records
otelcol_receiver_refused_spans otelcol_receiver_refused_metric_points otelcol_receiver_refused_log_records
otelcol_processor_incoming_items otelcol_processor_outgoing_items
otelcol_processor_batch_batch_send_size otelcol_processor_batch_timeout_trigger_send otelcol_processor_batch_batch_size_trigger_send
otelcol_processor_batch_metadata_cardinality
otelcol_processor_filter_spans_filtered otelcol_processor_filter_datapoints_filtered otelcol_processor_filter_logs_filtered
otelcol_exporter_sent_spans otelcol_exporter_sent_metric_points otelcol_exporter_sent_log_records
otelcol_exporter_send_failed_spans otelcol_exporter_send_failed_metric_points otelcol_exporter_send_failed_log_records
otelcol_exporter_enqueue_failed_spans otelcol_exporter_enqueue_failed_metric_points otelcol_exporter_enqueue_failed_log_records
otelcol_exporter_queue_size otelcol_exporter_queue_capacity
""".split()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def configuration(folder, grpc, page):
    """A collector that has every metric that dashboards name, as far as it needs no time."""
    return f"""
extensions:
  file_storage: {{directory: {folder}/storage, create_directory: true}}
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{grpc}"}}}}}}
processors:
  batch: {{timeout: 10ms}}
  memory_limiter: {{check_interval: 1s, limit_mib: 100}}
  filter: {{traces: {{span: ['name == "POST /checkout"']}}, metrics: {{metric: ['name == "x"']}}, logs: {{log_record: ['body == "x"']}}}}
connectors: {{count: }}
exporters:
  nop:
  otlp_grpc: {{endpoint: "127.0.0.1:{free_port()}", tls: {{insecure: true}}, sending_queue: {{storage: file_storage}}}}
service:
  extensions: [file_storage]
  telemetry: {{metrics: {{level: detailed, readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {page}}}}}}}}}]}}}}
  pipelines:
    traces: {{receivers: [otlp], processors: [memory_limiter, filter, batch], exporters: [nop, otlp_grpc]}}
    metrics: {{receivers: [otlp], processors: [memory_limiter, filter, batch], exporters: [nop, otlp_grpc]}}
    logs: {{receivers: [otlp], processors: [memory_limiter, filter, batch], exporters: [nop, otlp_grpc]}}
"""


def served_names():
    """The families on the page of that collector after some traffic."""
    with tempfile.TemporaryDirectory() as folder:
        grpc, page = free_port(), free_port()
        path = pathlib.Path(folder) / "config.yaml"
        path.write_text(configuration(folder, grpc, page))
        log = open(pathlib.Path(folder) / "log", "w+")
        collector = subprocess.Popen([OTELCORE, f"--config={path}"], stdout=log, stderr=log)
        try:
            end = time.monotonic() + 30
            while True:
                sent = subprocess.run(
                    [OTELCORE, "send", f"--endpoint=http://127.0.0.1:{grpc}", "--count=20"], capture_output=True, timeout=60
                )
                if sent.returncode == 0:
                    break
                if time.monotonic() > end or collector.poll() is not None:
                    log.seek(0)
                    raise AssertionError(log.read()[-2000:])
                time.sleep(0.2)
            time.sleep(0.5)
            text = urllib.request.urlopen(f"http://127.0.0.1:{page}/metrics", timeout=10).read().decode()
        finally:
            collector.terminate()
            collector.wait(60)
            log.close()
    return set(re.findall(r"^# TYPE (\S+)", text, re.M))


def expressions():
    """Every expression of the dashboard and of the rules, with where it stands."""
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield f"dashboard: {panel['title']}", target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield f"dashboard: {variable['name']}", re.sub(r"label_values\((.*), \w+\)", r"\1", variable["definition"])
    for group in yaml.safe_load((MONITORING / "rules.yaml").read_text())["spec"]["groups"]:
        for rule in group["rules"]:
            yield f"rules: {rule['alert']}", rule["expr"]


class Monitoring(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.served = served_names()

    def missing(self, names):
        return sorted(name for name in names if name not in self.served and SUFFIX.sub("", name) not in self.served)

    def test_every_metric_of_dashboard_and_alerts_is_served(self):
        # A collector shows what was created or dropped, and how, only where it has happened: those appear with their first item.
        later = {"otelcol_processor_created_items", "otelcol_processor_dropped_items"}
        for where, expression in expressions():
            # Labels have names like those of metrics.
            metrics = re.sub(r"\b(by|without|on|ignoring|group_left|group_right) \([^)]*\)", "", expression)
            self.assertEqual(self.missing(set(NAME.findall(metrics)) - later), [], f"{where}: {expression}")

    def test_metrics_of_the_communitys_dashboards_and_alerts_are_served(self):
        self.assertEqual(self.missing(COMMUNITY), [])

    def test_expressions_are_those_of_prometheus(self):
        if not shutil.which("promtool"):
            self.skipTest("promtool is not installed")
        rules = []
        for index, (_, expression) in enumerate(expressions()):
            for variable, value in (("$__rate_interval", "5m"), ("$job", ".*"), ("$instance", ".*")):
                expression = expression.replace(variable, value)
            rules.append({"record": f"expression:{index}", "expr": expression})
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump({"groups": [{"name": "expressions", "rules": rules}]}, file)
            file.flush()
            checked = subprocess.run(["promtool", "check", "rules", file.name], capture_output=True, text=True, timeout=60)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)

    def test_panels_do_not_overlap_and_are_explained(self):
        dashboard = json.loads((MONITORING / "dashboard.json").read_text())
        places = set()
        for panel in dashboard["panels"]:
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            self.assertFalse(cells & places, panel["title"])
            self.assertLessEqual(at["x"] + at["w"], 24, panel["title"])
            places |= cells
            if panel["type"] != "row":
                self.assertTrue(panel["description"], panel["title"])


if __name__ == "__main__":
    unittest.main()
