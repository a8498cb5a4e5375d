//! The collector's own metrics: the values that are read from the system at each request, the text, and the page that
//! serves it, `localhost:8888/metrics` by default.

use otelcore_exposition::{Kind, label_name, put_family, put_histogram, put_label, put_sample};
use otelcore_net::settings::{HttpServer, HttpServerDefaults};
use otelcore_net::{Page, PageServer, not_found};
use otelcore_pipeline::{
    Budget, Cx, Detail, Event, Extension, Family, FamilyKind, Gauge, Logger, ProcessSample, StartError, Telemetry,
    Value,
};
use std::collections::BTreeMap;
use std::sync::Arc;

use otelcore_reactor::Outputs;

use super::telemetry::MetricsPage;

/// The page of the own metrics.
pub(crate) struct OwnMetrics {
    settings: MetricsPage,
    server: PageServer,
    telemetry: Telemetry,
    resource: Vec<(String, String)>,
    process: ProcessMetrics,
    budget: Arc<Budget>,
}

/// The values that are read from the system at each request. Clones share the series.
#[derive(Clone)]
pub(crate) struct ProcessMetrics {
    uptime: Gauge,
    cpu: Gauge,
    rss: Gauge,
    heap: Gauge,
    virtual_size: Gauge,
    held: Gauge,
    kept: Gauge,
    dropped: Gauge,
    outputs: Outputs,
}

impl ProcessMetrics {
    pub(crate) fn new(telemetry: &Telemetry, outputs: Outputs) -> Self {
        let float = |name, help| telemetry.float_counter(Detail::Basic, name, help, Vec::new());
        let gauge = |name, help| telemetry.gauge(Detail::Basic, name, help, Vec::new());
        Self {
            uptime: float("otelcol_process_uptime", "Uptime of the process [Alpha]"),
            cpu: float("otelcol_process_cpu_seconds", "Total CPU user and system time in seconds [Alpha]"),
            rss: gauge("otelcol_process_memory_rss", "Total physical memory (resident set size) [Alpha]"),
            heap: gauge(
                "otelcol_process_runtime_heap_alloc_bytes",
                "Bytes of allocated heap objects: resident memory that no file backs [Alpha]",
            ),
            virtual_size: gauge(
                "otelcol_process_runtime_total_sys_memory_bytes",
                "Total bytes of memory obtained from the OS [Alpha]",
            ),
            held: gauge("otelcore_held_bytes", "Bytes of telemetry that the collector holds, counted exactly"),
            kept: gauge("otelcore_kept_bytes", "Bytes of state that components keep, such as series"),
            dropped: float(
                "otelcore_output_dropped_records",
                "Records for stdout, stderr and files that were dropped: the reader was too slow, or writing failed",
            ),
            outputs,
        }
    }

    pub(crate) fn refresh(&self, sample: &ProcessSample, budget: &Budget) {
        self.uptime.set_float(sample.uptime.as_secs_f64());
        self.cpu.set_float(sample.cpu_seconds);
        self.rss.set(sample.resident);
        self.heap.set(sample.anonymous);
        self.virtual_size.set(sample.virtual_size);
        self.held.set(budget.held());
        self.kept.set(budget.kept());
        self.dropped.set_float(self.outputs.dropped_records() as f64);
    }
}

impl OwnMetrics {
    pub(crate) fn new(
        settings: MetricsPage,
        telemetry: Telemetry,
        process: ProcessMetrics,
        resource: Vec<(String, String)>,
        budget: Arc<Budget>,
        log: Logger,
    ) -> Self {
        let listen = settings.endpoint();
        let defaults = HttpServerDefaults::pages("localhost:8888");
        let server = PageServer::new(&HttpServer::with_defaults(listen, &defaults), None, log, &telemetry);
        Self { settings, server, telemetry, resource, process, budget }
    }
}

impl Extension for OwnMetrics {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let MetricsPage { host, port, .. } = &self.settings;
        self.server.open(cx, 0).map(|_| ()).map_err(|e| {
            StartError(format!(
                "failed to create meter provider: binding address {host}:{port} for Prometheus exporter: {e}"
            ))
        })
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        let Self { server, telemetry, resource, process, settings, budget } = self;
        server.event(cx, local, &event, |cx, head| {
            if head.path() != "/metrics" {
                return not_found();
            }
            process.refresh(&cx.process(), budget);
            let body = render(&telemetry.read(), resource, settings.type_suffix);
            Page::new(200, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores", body)
        });
    }
}

pub(crate) fn render(families: &[Family], resource: &[(String, String)], type_suffix: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(8192);
    let mut block = Vec::new();
    for family in families {
        let kind = match family.kind {
            FamilyKind::Counter => Kind::Counter,
            FamilyKind::Gauge => Kind::Gauge,
            FamilyKind::Histogram => Kind::Histogram,
        };
        let suffix = if type_suffix && family.kind == FamilyKind::Counter { "_total" } else { "" };
        let name = format!("{}{suffix}", family.name);
        put_family(&mut out, name.as_bytes(), family.help.as_bytes(), kind);
        for sample in &family.samples {
            block.clear();
            for (label, value) in &sample.labels {
                put_label(&mut block, label.as_bytes(), value.as_bytes());
            }
            match &sample.value {
                Value::Number(v) => put_sample(&mut out, name.as_bytes(), &block, *v, None),
                Value::Histogram { bounds, counts, sum } => {
                    let mut seen = 0;
                    let buckets = bounds.iter().zip(counts).map(|(bound, count)| {
                        seen += count;
                        (*bound, seen)
                    });
                    put_histogram(&mut out, name.as_bytes(), &block, buckets, (*sum, counts.iter().sum()), None);
                }
            }
        }
    }
    put_family(&mut out, b"target_info", b"Target metadata", Kind::Gauge);
    put_sample(&mut out, b"target_info", &target_block(resource), 1.0, None);
    out
}

/// The labels of `target_info`. The values of keys that give the same label name are joined in their order, as the Go
/// collector does; a key that gives an empty name is left out.
fn target_block(resource: &[(String, String)]) -> Vec<u8> {
    let mut labels: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    for (key, value) in resource {
        let Ok(name) = label_name(key.as_bytes(), false) else { continue };
        match labels.get_mut(&name) {
            Some(joined) => joined.extend([";", value]),
            None => drop(labels.insert(name, value.clone())),
        }
    }
    let mut block = Vec::new();
    for (name, value) in &labels {
        put_label(&mut block, name, value.as_bytes());
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_keys_of_any_form_make_labels_that_prometheus_reads() {
        let pair = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let keys = [
            ("service.name", "otelcore"),
            ("app.kubernetes.io/name", "a\"b"),
            ("app.kubernetes.io-name", "c"),
            ("1st", "x"),
            ("team:é {x}", "y"),
            ("é", "left out"),
            ("", "left out"),
        ];
        let page = String::from_utf8(render(&[], &keys.map(pair), false)).unwrap();
        let line = page.lines().last().unwrap();
        let expected = "target_info{app_kubernetes_io_name=\"a\\\"b;c\",key_1st=\"x\",service_name=\"otelcore\",\
            team____x_=\"y\"} 1";
        assert_eq!(line, expected);
    }
}
