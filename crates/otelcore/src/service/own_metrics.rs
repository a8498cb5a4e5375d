//! The collector's own metrics: the values that are read from the system at each request, the text, and the page that
//! serves it, `localhost:8888/metrics` by default.

use otelcore_exposition::{MetricType, PageName, SeriesHead, TextDialect, write_family_header, write_label};
use otelcore_net::config::HttpServerConfig;
use otelcore_net::{Page, PageServer, not_found};
use otelcore_pipeline::{
    Budget, Cx, Event, Extension, FamilyKind, Gauge, Logger, MetricsLevel, ProcessSample, SeriesSample, SeriesValue,
    StartError, Telemetry,
};
use otelcore_prometheus_translation::{label_name, merge_equal_names};
use std::sync::Arc;

use otelcore_reactor::Outputs;

use super::views::{OwnMetric, apply_views};
use crate::telemetry::{MetricsPageConfig, ViewConfig};

/// The page of the own metrics.
pub(crate) struct OwnMetricsPage {
    config: MetricsPageConfig,
    views: Vec<ViewConfig>,
    server: PageServer,
    telemetry: Telemetry,
    resource: Vec<(String, String)>,
    process_metrics: ProcessMetrics,
    budget: Arc<Budget>,
}

/// A metric of the collector's own at a moment.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct MetricSnapshot {
    /// Its name.
    pub name: String,
    /// Its description.
    pub help: String,
    /// Its unit in UCUM; may be empty.
    pub unit: String,
    /// Counter, gauge or histogram.
    pub kind: FamilyKind,
    /// Its series.
    pub series: Vec<SeriesSample>,
}

impl From<OwnMetric> for MetricSnapshot {
    fn from(metric: OwnMetric) -> Self {
        let OwnMetric { name, help, kind, descriptor, samples, .. } = metric;
        let (name, help, unit) = (name.into_owned(), help.into_owned(), descriptor.unit.to_owned());
        Self { name, help, unit, kind, series: samples }
    }
}

/// The values that are read from the system at each request. Clones share the series.
#[derive(Clone)]
pub(crate) struct ProcessMetrics {
    uptime: Gauge,
    cpu: Gauge,
    rss: Gauge,
    heap: Gauge,
    virtual_size: Gauge,
    held_bytes: Gauge,
    kept_bytes: Gauge,
    dropped_records: Gauge,
    outputs: Outputs,
}

impl ProcessMetrics {
    pub(crate) fn new(telemetry: &Telemetry, outputs: Outputs) -> Self {
        let float = |name, help| telemetry.float_counter(MetricsLevel::Basic, name, help, Vec::new());
        let gauge = |name, help| telemetry.gauge(MetricsLevel::Basic, name, help, Vec::new());
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
            held_bytes: gauge("otelcore_held_bytes", "Bytes of telemetry that the collector holds, counted exactly"),
            kept_bytes: gauge("otelcore_kept_bytes", "Bytes of state that components keep, such as series"),
            dropped_records: float(
                "otelcore_output_dropped_records",
                "Records for stdout, stderr and files that were dropped: the reader was too slow, or writing failed",
            ),
            outputs,
        }
    }

    pub(crate) fn update(&self, sample: &ProcessSample, budget: &Budget) {
        self.uptime.set_float(sample.uptime.as_secs_f64());
        self.cpu.set_float(sample.cpu_seconds);
        self.rss.set(sample.resident);
        self.heap.set(sample.anonymous);
        self.virtual_size.set(sample.virtual_size);
        self.held_bytes.set(budget.held());
        self.kept_bytes.set(budget.kept());
        self.dropped_records.set_float(self.outputs.dropped_records() as f64);
    }
}

impl OwnMetricsPage {
    pub(crate) fn new(
        (config, views): (MetricsPageConfig, Vec<ViewConfig>),
        telemetry: Telemetry,
        process_metrics: ProcessMetrics,
        resource: Vec<(String, String)>,
        budget: Arc<Budget>,
        log: Logger,
    ) -> Self {
        let server = PageServer::new(&HttpServerConfig::for_page_server(&config.endpoint()), None, log, &telemetry);
        Self { config, views, server, telemetry, resource, process_metrics, budget }
    }
}

impl Extension for OwnMetricsPage {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let MetricsPageConfig { host, port, .. } = &self.config;
        self.server.open(cx, 0).map(|_| ()).map_err(|e| {
            StartError::from(e).in_context(format_args!(
                "failed to create meter provider: binding address {host}:{port} for Prometheus exporter"
            ))
        })
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        let Self { server, telemetry, resource, process_metrics: process, config: settings, views, budget } = self;
        server.handle_event(cx, local, &event, |cx, head| {
            if head.path() != "/metrics" {
                return not_found();
            }
            process.update(&cx.sample_process(), budget);
            let body = render_page(&apply_views(views, telemetry.collect()), resource, !settings.without_type_suffix);
            Page::new(200, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores", body)
        });
    }
}

pub(crate) fn render_page(families: &[OwnMetric], resource: &[(String, String)], type_suffix: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(8192);
    let mut label_block = Vec::new();
    for family in families {
        let kind = match family.kind {
            FamilyKind::Counter => MetricType::Counter,
            FamilyKind::Gauge => MetricType::Gauge,
            FamilyKind::Histogram => MetricType::Histogram,
        };
        let suffix = if type_suffix && family.kind == FamilyKind::Counter { "_total" } else { "" };
        let name = format!("{}{suffix}", family.name);
        let page_name = PageName::legacy(name.as_bytes());
        write_family_header(&mut out, TextDialect::Prometheus, page_name, family.help.as_bytes(), kind);
        for sample in &family.samples {
            label_block.clear();
            for (label, value) in &sample.labels {
                write_label(&mut label_block, label.as_bytes(), value.as_bytes());
            }
            let head = SeriesHead { name: page_name, block: &label_block, timestamp_ms: None };
            match &sample.value {
                SeriesValue::Number(v) => head.write_number(&mut out, TextDialect::Prometheus, *v, None),
                SeriesValue::Histogram { bounds, counts, sum } => {
                    let mut cumulative = 0;
                    let buckets = bounds.iter().zip(counts).map(|(bound, count)| {
                        cumulative += count;
                        (*bound, cumulative, None)
                    });
                    let totals = (*sum, counts.iter().sum());
                    head.write_histogram(&mut out, TextDialect::Prometheus, buckets, totals);
                }
            }
        }
    }
    let name = PageName::legacy(b"target_info");
    write_family_header(&mut out, TextDialect::Prometheus, name, b"Target metadata", MetricType::Gauge);
    let head = SeriesHead { name, block: &target_labels(resource), timestamp_ms: None };
    head.write_number(&mut out, TextDialect::Prometheus, 1.0, None);
    out
}

/// The labels of `target_info`. The values of keys that give the same label name are joined in their order, as the Go
/// collector does; a key that gives an empty name, or one that is reserved, is left out.
fn target_labels(resource: &[(String, String)]) -> Vec<u8> {
    let named =
        resource.iter().filter_map(|(key, value)| Some((label_name(key.as_bytes(), false).ok()?, value.as_bytes())));
    let labels = merge_equal_names(named.filter(|(name, _)| !name.starts_with(b"__")));
    let mut block = Vec::new();
    for (name, value) in &labels {
        write_label(&mut block, name, value);
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_key_of_any_form_is_a_valid_prometheus_label() {
        let pair = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let keys = [
            ("service.name", "otelcore"),
            ("app.kubernetes.io/name", "a\"b"),
            ("app.kubernetes.io-name", "c"),
            ("1st", "x"),
            ("team:é {x}", "y"),
            ("é", "left out"),
            ("", "left out"),
            ("__name__", "left out"),
        ];
        let page = String::from_utf8(render_page(&[], &keys.map(pair), false)).unwrap();
        let line = page.lines().last().unwrap();
        let expected = "target_info{app_kubernetes_io_name=\"a\\\"b;c\",key_1st=\"x\",service_name=\"otelcore\",\
            team____x_=\"y\"} 1";
        assert_eq!(line, expected);
    }
}
