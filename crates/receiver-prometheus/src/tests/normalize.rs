//! Requests in a form in which two receivers can be compared: in one order, and without times that depend on the clock.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{Exemplar, Metric, ResourceMetrics};

/// Stands for the time of the scrape.
pub(super) const SCRAPE_TIME: u64 = 1_000_000;

const RECEIVER_SCOPE: &str = "github.com/open-telemetry/opentelemetry-collector-contrib/receiver/prometheusreceiver";

/// The points of `up`, with their times.
fn scrape_time(request: &ExportMetricsServiceRequest) -> Option<u64> {
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    scopes.flat_map(|scope| &scope.metrics).find_map(|metric| match (&metric.data, metric.name.as_str()) {
        (Some(Data::Gauge(gauge)), "up") => gauge.data_points.last().map(|point| point.time_unix_nano),
        _ => None,
    })
}

fn normalize_attributes(attributes: &mut [KeyValue]) {
    attributes.sort_by(|a, b| a.key.cmp(&b.key));
}

fn normalize_exemplars(exemplars: &mut [Exemplar], time: Option<u64>) {
    for exemplar in exemplars {
        if Some(exemplar.time_unix_nano) == time {
            exemplar.time_unix_nano = SCRAPE_TIME;
        }
        normalize_attributes(&mut exemplar.filtered_attributes);
    }
}

macro_rules! normalize_points {
    ($points:expr, $time:expr, |$point:ident| $more:expr) => {{
        for $point in $points.iter_mut() {
            if Some($point.time_unix_nano) == $time {
                $point.time_unix_nano = SCRAPE_TIME;
            }
            normalize_attributes(&mut $point.attributes);
            $more;
        }
        $points.sort_by_cached_key(|point| format!("{point:?}"));
    }};
}

fn normalize_metric(metric: &mut Metric, time: Option<u64>) {
    let is_duration = matches!(metric.name.as_str(), "scrape_duration_seconds" | "scrape_duration");
    let numbers = match &mut metric.data {
        Some(Data::Gauge(gauge)) => &mut gauge.data_points,
        Some(Data::Sum(sum)) => &mut sum.data_points,
        Some(Data::Histogram(histogram)) => {
            return normalize_points!(histogram.data_points, time, |point| normalize_exemplars(
                &mut point.exemplars,
                time
            ));
        }
        Some(Data::ExponentialHistogram(histogram)) => {
            return normalize_points!(histogram.data_points, time, |point| {
                normalize_exemplars(&mut point.exemplars, time);
                // Go always writes both.
                point.positive.get_or_insert_with(Buckets::default);
                point.negative.get_or_insert_with(Buckets::default);
            });
        }
        Some(Data::Summary(summary)) => {
            return normalize_points!(summary.data_points, time, |point| point
                .quantile_values
                .sort_by(|a, b| a.quantile.total_cmp(&b.quantile)));
        }
        None => return,
    };
    normalize_points!(numbers, time, |point| {
        normalize_exemplars(&mut point.exemplars, time);
        if is_duration && point.value.is_some() {
            point.value = Some(Value::AsDouble(0.0));
        }
        if let Some(Value::AsDouble(value)) = &mut point.value
            && value.is_nan()
        {
            *value = f64::NAN;
        }
    });
}

/// Resources, each with its texts; one line for each metric.
pub(super) fn normalized(request: ExportMetricsServiceRequest) -> Vec<String> {
    let time = scrape_time(&request);
    let mut lines = Vec::new();
    for ResourceMetrics { resource, scope_metrics, .. } in request.resource_metrics {
        let mut resource = resource.unwrap_or_default();
        normalize_attributes(&mut resource.attributes);
        let resource: Vec<String> =
            resource.attributes.iter().map(|kv| format!("{}={:?}", kv.key, kv.value.clone().unwrap().value)).collect();
        for metrics in scope_metrics {
            let mut scope = metrics.scope.unwrap_or_default();
            normalize_attributes(&mut scope.attributes);
            if scope.name == RECEIVER_SCOPE {
                scope.version.clear();
            }
            for mut metric in metrics.metrics {
                normalize_metric(&mut metric, time);
                lines.push(format!("{resource:?} {scope:?} {:?} {metric:?}", metrics.schema_url));
            }
        }
    }
    lines.sort();
    lines
}
