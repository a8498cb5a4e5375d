//! Units and scopes of own metrics, which the page does not show: those that the Go collector pushes.
//!
//! Facts of the `metadata.yaml` of its modules at 0.155. Metrics that only this collector has are at the end.

/// What a metric is in OTLP, apart from its name and description.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Descriptor {
    /// The name of the scope.
    pub(crate) scope: &'static str,
    /// UCUM unit.
    pub(crate) unit: &'static str,
    /// A gauge on the page that is a sum that goes up and down.
    pub(crate) is_up_down_counter: bool,
}

/// The scope of the metrics that only this collector has.
const OWN_SCOPE: &str = "otelcore";

/// The metrics of each scope, each with its unit.
const SCOPES: &[(&str, &[(&str, &str)])] = &[
    (
        "github.com/open-telemetry/opentelemetry-collector-contrib/exporter/loadbalancingexporter",
        &[
            ("otelcol_loadbalancer_backend_latency", "ms"),
            ("otelcol_loadbalancer_backend_outcome", "{outcomes}"),
            ("otelcol_loadbalancer_num_backend_updates", "{updates}"),
            ("otelcol_loadbalancer_num_backends", "{backends}"),
            ("otelcol_loadbalancer_num_resolutions", "{resolutions}"),
        ],
    ),
    (
        "github.com/open-telemetry/opentelemetry-collector-contrib/exporter/prometheusremotewriteexporter",
        &[
            ("otelcol_exporter_prometheusremotewrite_consumers", "{consumer}"),
            ("otelcol_exporter_prometheusremotewrite_failed_translations", "1"),
            ("otelcol_exporter_prometheusremotewrite_sent_batches", "{batch}"),
            ("otelcol_exporter_prometheusremotewrite_translated_time_series", "1"),
            ("otelcol_exporter_prometheusremotewrite_written_exemplars", "{exemplar}"),
            ("otelcol_exporter_prometheusremotewrite_written_histograms", "{histogram}"),
            ("otelcol_exporter_prometheusremotewrite_written_samples", "{sample}"),
        ],
    ),
    (
        "github.com/open-telemetry/opentelemetry-collector-contrib/processor/cumulativetodeltaprocessor",
        &[
            ("otelcol_cumulativetodelta_datapoints", "{datapoint}"),
            ("otelcol_cumulativetodelta_datapoints_dropped", "{datapoint}"),
            ("otelcol_cumulativetodelta_streams_tracked", "{stream}"),
        ],
    ),
    (
        "github.com/open-telemetry/opentelemetry-collector-contrib/processor/deltatocumulativeprocessor",
        &[
            ("otelcol_deltatocumulative_datapoints", "{datapoint}"),
            ("otelcol_deltatocumulative_streams_limit", "{stream}"),
            ("otelcol_deltatocumulative_streams_max_stale", "s"),
            ("otelcol_deltatocumulative_streams_tracked", "{dps}"),
        ],
    ),
    (
        "github.com/open-telemetry/opentelemetry-collector-contrib/processor/groupbyattrsprocessor",
        &[
            ("otelcol_processor_groupbyattrs_log_groups", "1"),
            ("otelcol_processor_groupbyattrs_metric_groups", "1"),
            ("otelcol_processor_groupbyattrs_num_grouped_logs", "1"),
            ("otelcol_processor_groupbyattrs_num_grouped_metrics", "1"),
            ("otelcol_processor_groupbyattrs_num_grouped_spans", "1"),
            ("otelcol_processor_groupbyattrs_num_non_grouped_logs", "1"),
            ("otelcol_processor_groupbyattrs_num_non_grouped_metrics", "1"),
            ("otelcol_processor_groupbyattrs_num_non_grouped_spans", "1"),
            ("otelcol_processor_groupbyattrs_span_groups", "1"),
        ],
    ),
    (
        "github.com/open-telemetry/opentelemetry-collector-contrib/processor/groupbytraceprocessor",
        &[
            ("otelcol_processor_groupbytrace_conf_num_traces", "1"),
            ("otelcol_processor_groupbytrace_incomplete_releases", "{releases}"),
            ("otelcol_processor_groupbytrace_num_events_in_queue", "1"),
            ("otelcol_processor_groupbytrace_num_traces_in_memory", "1"),
            ("otelcol_processor_groupbytrace_spans_released", "1"),
            ("otelcol_processor_groupbytrace_traces_evicted", "1"),
            ("otelcol_processor_groupbytrace_traces_released", "1"),
        ],
    ),
    (
        "github.com/open-telemetry/opentelemetry-collector-contrib/processor/probabilisticsamplerprocessor",
        &[
            ("otelcol_processor_probabilistic_sampler_count_logs_sampled", "1"),
            ("otelcol_processor_probabilistic_sampler_count_traces_sampled", "1"),
        ],
    ),
    (
        "github.com/open-telemetry/opentelemetry-collector-contrib/processor/tailsamplingprocessor",
        &[
            ("otelcol_processor_tail_sampling_count_traces_sampled", "{traces}"),
            ("otelcol_processor_tail_sampling_early_releases_from_cache_decision", "{spans}"),
            ("otelcol_processor_tail_sampling_global_count_traces_sampled", "{traces}"),
            ("otelcol_processor_tail_sampling_new_trace_id_received", "{traces}"),
            ("otelcol_processor_tail_sampling_sampling_late_span_age", "s"),
            ("otelcol_processor_tail_sampling_sampling_policy_evaluation_error", "{errors}"),
            ("otelcol_processor_tail_sampling_sampling_policy_execution_count", "{executions}"),
            ("otelcol_processor_tail_sampling_sampling_trace_dropped_too_early", "{traces}"),
            ("otelcol_processor_tail_sampling_sampling_trace_removal_age", "s"),
            ("otelcol_processor_tail_sampling_sampling_traces_on_memory", "{traces}"),
            ("otelcol_processor_tail_sampling_traces_dropped_too_large", "{traces}"),
        ],
    ),
    (
        "go.opentelemetry.io/collector/exporter/exporterhelper",
        &[
            ("otelcol_exporter_enqueue_failed_log_records", "{record}"),
            ("otelcol_exporter_enqueue_failed_metric_points", "{datapoint}"),
            ("otelcol_exporter_enqueue_failed_spans", "{span}"),
            ("otelcol_exporter_in_flight_requests", "{request}"),
            ("otelcol_exporter_queue_batch_send_size", "{unit}"),
            ("otelcol_exporter_queue_batch_send_size_bytes", "By"),
            ("otelcol_exporter_queue_capacity", "{batch}"),
            ("otelcol_exporter_queue_size", "{batch}"),
            ("otelcol_exporter_send_failed_log_records", "{record}"),
            ("otelcol_exporter_send_failed_metric_points", "{datapoint}"),
            ("otelcol_exporter_send_failed_spans", "{span}"),
            ("otelcol_exporter_sent_log_records", "{record}"),
            ("otelcol_exporter_sent_metric_points", "{datapoint}"),
            ("otelcol_exporter_sent_spans", "{span}"),
        ],
    ),
    (
        "go.opentelemetry.io/collector/processor/batchprocessor",
        &[
            ("otelcol_processor_batch_batch_send_size", "{unit}"),
            ("otelcol_processor_batch_batch_send_size_bytes", "By"),
            ("otelcol_processor_batch_batch_size_trigger_send", "{time}"),
            ("otelcol_processor_batch_metadata_cardinality", "{combination}"),
            ("otelcol_processor_batch_timeout_trigger_send", "{time}"),
        ],
    ),
    (
        "go.opentelemetry.io/collector/processor/memorylimiterprocessor",
        &[
            ("otelcol_processor_memory_limiter_accepted_log_records", "{record}"),
            ("otelcol_processor_memory_limiter_accepted_metric_points", "{datapoint}"),
            ("otelcol_processor_memory_limiter_accepted_spans", "{span}"),
            ("otelcol_processor_memory_limiter_refused_log_records", "{record}"),
            ("otelcol_processor_memory_limiter_refused_metric_points", "{datapoint}"),
            ("otelcol_processor_memory_limiter_refused_spans", "{span}"),
        ],
    ),
    (
        "go.opentelemetry.io/collector/processor/processorhelper",
        &[("otelcol_processor_incoming_items", "{item}"), ("otelcol_processor_outgoing_items", "{item}")],
    ),
    (
        "go.opentelemetry.io/collector/receiver/receiverhelper",
        &[
            ("otelcol_receiver_accepted_log_records", "{record}"),
            ("otelcol_receiver_accepted_metric_points", "{datapoint}"),
            ("otelcol_receiver_accepted_spans", "{span}"),
            ("otelcol_receiver_failed_log_records", "{record}"),
            ("otelcol_receiver_failed_metric_points", "{datapoint}"),
            ("otelcol_receiver_failed_spans", "{span}"),
            ("otelcol_receiver_refused_log_records", "{record}"),
            ("otelcol_receiver_refused_metric_points", "{datapoint}"),
            ("otelcol_receiver_refused_spans", "{span}"),
        ],
    ),
    (
        "go.opentelemetry.io/collector/scraper/scraperhelper",
        &[
            ("otelcol_scraper_errored_metric_points", "{datapoint}"),
            ("otelcol_scraper_scraped_metric_points", "{datapoint}"),
        ],
    ),
    (
        "go.opentelemetry.io/collector/service",
        &[
            ("otelcol_process_cpu_seconds", "s"),
            ("otelcol_process_memory_rss", "By"),
            ("otelcol_process_runtime_heap_alloc_bytes", "By"),
            ("otelcol_process_runtime_total_sys_memory_bytes", "By"),
            ("otelcol_process_uptime", "s"),
        ],
    ),
    (
        OWN_SCOPE,
        &[
            ("otelcore_exporter_queue_disk_bytes", "By"),
            ("otelcore_exporter_queue_oldest_age_seconds", "s"),
            ("otelcore_held_bytes", "By"),
            ("otelcore_kept_bytes", "By"),
        ],
    ),
];

/// Gauges of the page that are sums that go up and down.
const UP_DOWN_COUNTERS: &[&str] = &[
    "otelcol_cumulativetodelta_streams_tracked",
    "otelcol_deltatocumulative_streams_tracked",
    "otelcol_exporter_in_flight_requests",
    "otelcol_exporter_prometheusremotewrite_consumers",
    "otelcol_processor_batch_metadata_cardinality",
];

/// Metrics that are read when they are collected.
const OBSERVABLE: &[&str] = &[
    "otelcol_cumulativetodelta_streams_tracked",
    "otelcol_deltatocumulative_streams_tracked",
    "otelcol_exporter_queue_capacity",
    "otelcol_exporter_queue_size",
    "otelcol_process_cpu_seconds",
    "otelcol_process_memory_rss",
    "otelcol_process_runtime_heap_alloc_bytes",
    "otelcol_process_runtime_total_sys_memory_bytes",
    "otelcol_process_uptime",
    "otelcol_processor_batch_metadata_cardinality",
];

/// Whether the Go collector reads the metric when metrics are collected.
pub(crate) fn is_observable(name: &str) -> bool {
    OBSERVABLE.contains(&name)
}

/// What the metric of this name is.
pub(crate) fn descriptor(name: &str) -> Descriptor {
    let is_up_down_counter = UP_DOWN_COUNTERS.contains(&name);
    for (scope, metrics) in SCOPES {
        if let Some((_, unit)) = metrics.iter().find(|(known, _)| *known == name) {
            return Descriptor { scope, unit, is_up_down_counter };
        }
    }
    Descriptor { scope: OWN_SCOPE, unit: "", is_up_down_counter }
}
