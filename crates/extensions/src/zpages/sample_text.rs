//! Samples as lines for people: a trace as a waterfall, a point with its value, a log record as a line.
//!
//! Pure: the input is a checked body, the output is text. Control characters of the telemetry are replaced, because the lines may go
//! to a terminal.

use std::collections::{BTreeMap, BTreeSet};

use otelcore_pdata::text::{put_double, put_hex, put_rfc3339, put_value};
use otelcore_pdata::views::{
    AnyValue, HistogramPoint, KeyValue, Metric, MetricData, NumberPoint, NumberValue, RepeatedMessages, Resource,
    ResourceLogs, ResourceMetrics, ResourceSpans, Span, SummaryPoint, resource_entries,
};
use otelcore_pdata::{Rope, Signal};

/// The longest text of one value, in bytes.
const MAX_VALUE: usize = 200;
/// The columns of a bar in a waterfall.
const BAR: u64 = 30;
/// The deepest indentation.
const MAX_DEPTH: usize = 12;

/// Appends a body as text.
pub(super) fn write(signal: Signal, body: &Rope, out: &mut Vec<u8>) {
    match signal {
        Signal::Traces => write_traces(body, out),
        Signal::Metrics => write_metrics(body, out),
        Signal::Logs => write_logs(body, out),
    }
}

/// Text of the telemetry, without control characters and not longer than [`MAX_VALUE`].
fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    let shown = text.get(..MAX_VALUE).unwrap_or(text);
    for c in String::from_utf8_lossy(shown).chars() {
        let c = if c.is_control() { '\u{b7}' } else { c };
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    if shown.len() < text.len() {
        out.extend_from_slice("\u{2026}".as_bytes());
    }
}

fn put_any(out: &mut Vec<u8>, value: AnyValue<'_>) {
    let mut text = Vec::new();
    put_value(&mut text, value);
    put_text(out, &text);
}

/// ` key=value` of each.
fn put_attributes(out: &mut Vec<u8>, attributes: RepeatedMessages<'_, KeyValue<'_>>) {
    for attribute in attributes {
        out.push(b' ');
        put_text(out, attribute.key);
        out.push(b'=');
        put_any(out, attribute.value);
    }
}

fn service<'a>(resource: &Resource<'a>) -> AnyValue<'a> {
    resource
        .attributes()
        .find(|attribute| attribute.key == b"service.name")
        .map_or(AnyValue::Empty, |found| found.value)
}

/// A duration in the largest unit in which it is at least one.
fn put_duration(out: &mut Vec<u8>, nanos: u64) {
    let (divisor, unit) = match nanos {
        0..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "us"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    let text = format!("{:.1} {unit}", nanos as f64 / f64::from(divisor));
    out.extend_from_slice(text.replace(".0 ", " ").as_bytes());
}

/// A span with the service that made it.
struct Entry<'a> {
    span: Span<'a>,
    service: AnyValue<'a>,
}

fn write_traces(body: &Rope, out: &mut Vec<u8>) {
    let mut traces: BTreeMap<&[u8], Vec<Entry<'_>>> = BTreeMap::new();
    for resource in resource_entries::<ResourceSpans<'_>>(body) {
        let service = service(&resource.resource);
        for span in resource.scope_spans().flat_map(|scope| scope.spans()) {
            traces.entry(span.trace_id).or_default().push(Entry { span, service });
        }
    }
    for (id, mut spans) in traces {
        spans.sort_by_key(|entry| (entry.span.start_time_unix_nano, entry.span.span_id));
        write_trace(id, &spans, out);
    }
}

/// A trace: its spans under their parents, each with a bar that shows its part of the time.
fn write_trace(id: &[u8], spans: &[Entry<'_>], out: &mut Vec<u8>) {
    let begin = spans.iter().map(|entry| entry.span.start_time_unix_nano).min().unwrap_or(0);
    let end = spans.iter().map(|entry| entry.span.end_time_unix_nano).max().unwrap_or(0);
    let total = end.saturating_sub(begin);
    out.extend_from_slice(b"trace ");
    put_hex(out, id);
    out.push(b' ');
    put_rfc3339(out, begin);
    out.push(b' ');
    put_duration(out, total);
    out.extend_from_slice(format!(", {} spans\n", spans.len()).as_bytes());
    let known: BTreeSet<&[u8]> = spans.iter().map(|entry| entry.span.span_id).collect();
    let mut children: BTreeMap<&[u8], Vec<usize>> = BTreeMap::new();
    let mut roots = Vec::new();
    for (index, entry) in spans.iter().enumerate() {
        let parent = entry.span.parent_span_id;
        if !parent.is_empty() && known.contains(parent) && parent != entry.span.span_id {
            children.entry(parent).or_default().push(index);
        } else {
            roots.push(index);
        }
    }
    // The next span is the last of the stack. A span is taken from `children` once, so that a circle of parents ends.
    let mut stack: Vec<(usize, usize)> = roots.into_iter().rev().map(|index| (index, 0)).collect();
    let mut is_written = vec![false; spans.len()];
    let mut next_unwritten = 0;
    loop {
        let (index, depth) = match stack.pop() {
            Some(next) => next,
            None => {
                // Spans whose parents are a circle have no root.
                while is_written.get(next_unwritten) == Some(&true) {
                    next_unwritten += 1;
                }
                if next_unwritten >= spans.len() {
                    return;
                }
                (next_unwritten, 0)
            }
        };
        let (Some(entry), Some(written)) = (spans.get(index), is_written.get_mut(index)) else { continue };
        if std::mem::replace(written, true) {
            continue;
        }
        write_span(entry, depth, (begin, total), out);
        let below = children.remove(entry.span.span_id).unwrap_or_default();
        stack.extend(below.into_iter().rev().map(|child| (child, depth + 1)));
    }
}

fn write_span(entry: &Entry<'_>, depth: usize, (begin, total): (u64, u64), out: &mut Vec<u8>) {
    let span = &entry.span;
    let duration = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano);
    let column = |nanos: u64| {
        let part = u128::from(nanos) * u128::from(BAR) / u128::from(total.max(1));
        u64::try_from(part).unwrap_or(BAR).min(BAR)
    };
    let from = column(span.start_time_unix_nano.saturating_sub(begin)).min(BAR - 1);
    let to = column(span.end_time_unix_nano.saturating_sub(begin)).max(from + 1);
    out.extend_from_slice(b"  |");
    for i in 0..BAR {
        out.push(if (from..to).contains(&i) { b'=' } else { b' ' });
    }
    out.extend_from_slice(b"| ");
    out.extend(std::iter::repeat_n(b' ', depth.min(MAX_DEPTH) * 2));
    put_text(out, span.name);
    out.push(b' ');
    put_duration(out, duration);
    if span.status.code == 2 {
        out.extend_from_slice(b" ERROR ");
        put_text(out, span.status.message);
    }
    if !matches!(entry.service, AnyValue::Empty) {
        out.extend_from_slice(b" [");
        put_any(out, entry.service);
        out.push(b']');
    }
    put_attributes(out, span.attributes());
    out.push(b'\n');
}

fn write_logs(body: &Rope, out: &mut Vec<u8>) {
    for resource in resource_entries::<ResourceLogs<'_>>(body) {
        let service = service(&resource.resource);
        for record in resource.scope_logs().flat_map(|scope| scope.log_records()) {
            let time = match record.time_unix_nano {
                0 => record.observed_time_unix_nano,
                time => time,
            };
            put_rfc3339(out, time);
            out.push(b' ');
            if record.severity_text.is_empty() {
                out.extend_from_slice(severity(record.severity_number).as_bytes());
            } else {
                put_text(out, record.severity_text);
            }
            if !matches!(service, AnyValue::Empty) {
                out.extend_from_slice(b" [");
                put_any(out, service);
                out.push(b']');
            }
            out.push(b' ');
            put_any(out, record.body);
            put_attributes(out, record.attributes());
            out.push(b'\n');
        }
    }
}

fn severity(number: i32) -> &'static str {
    match number {
        1..=4 => "TRACE",
        5..=8 => "DEBUG",
        9..=12 => "INFO",
        13..=16 => "WARN",
        17..=20 => "ERROR",
        21..=24 => "FATAL",
        _ => "-",
    }
}

fn write_metrics(body: &Rope, out: &mut Vec<u8>) {
    for resource in resource_entries::<ResourceMetrics<'_>>(body) {
        let service = service(&resource.resource);
        for metric in resource.scope_metrics().flat_map(|scope| scope.metrics()) {
            match metric.data {
                MetricData::Empty => {}
                MetricData::Gauge(data) => data.points().for_each(|point| put_number(out, &metric, &point, service)),
                MetricData::Sum(data) => data.points().for_each(|point| put_number(out, &metric, &point, service)),
                MetricData::Histogram(data) => {
                    data.points().for_each(|point| put_histogram(out, &metric, &point, service));
                }
                MetricData::ExponentialHistogram(data) => data.exponential_points().for_each(|point| {
                    put_series(out, &metric, point.attributes(), service);
                    put_totals(out, point.count, point.sum);
                    out.extend_from_slice(format!(" scale={}", point.scale.0).as_bytes());
                    end_point(out, &metric);
                }),
                MetricData::Summary(data) => data.points().for_each(|point| put_summary(out, &metric, &point, service)),
            }
        }
    }
}

/// `name{key=value} [service] `.
fn put_series(
    out: &mut Vec<u8>,
    metric: &Metric<'_>,
    attributes: RepeatedMessages<'_, KeyValue<'_>>,
    service: AnyValue<'_>,
) {
    put_text(out, metric.name);
    let mut text = Vec::new();
    put_attributes(&mut text, attributes);
    out.push(b'{');
    out.extend_from_slice(text.trim_ascii_start());
    out.push(b'}');
    if !matches!(service, AnyValue::Empty) {
        out.extend_from_slice(b" [");
        put_any(out, service);
        out.push(b']');
    }
    out.push(b' ');
}

/// The unit, and the end of the line.
fn end_point(out: &mut Vec<u8>, metric: &Metric<'_>) {
    if !metric.unit.is_empty() {
        out.push(b' ');
        put_text(out, metric.unit);
    }
    out.push(b'\n');
}

fn put_number(out: &mut Vec<u8>, metric: &Metric<'_>, point: &NumberPoint<'_>, service: AnyValue<'_>) {
    put_series(out, metric, point.attributes(), service);
    match point.value.0 {
        NumberValue::Empty => out.extend_from_slice(b"no value"),
        NumberValue::Int(value) => out.extend_from_slice(value.to_string().as_bytes()),
        NumberValue::Double(value) => put_double(out, value),
    }
    end_point(out, metric);
}

fn put_totals(out: &mut Vec<u8>, count: u64, sum: Option<f64>) {
    out.extend_from_slice(format!("count={count}").as_bytes());
    if let Some(sum) = sum {
        out.extend_from_slice(b" sum=");
        put_double(out, sum);
    }
}

fn put_histogram(out: &mut Vec<u8>, metric: &Metric<'_>, point: &HistogramPoint<'_>, service: AnyValue<'_>) {
    put_series(out, metric, point.attributes(), service);
    put_totals(out, point.count, point.sum);
    let mut bounds = point.explicit_bounds();
    for count in point.bucket_counts() {
        out.extend_from_slice(b" <=");
        match bounds.next() {
            Some(bound) => put_double(out, bound),
            None => out.extend_from_slice(b"inf"),
        }
        out.extend_from_slice(format!(":{count}").as_bytes());
    }
    end_point(out, metric);
}

fn put_summary(out: &mut Vec<u8>, metric: &Metric<'_>, point: &SummaryPoint<'_>, service: AnyValue<'_>) {
    put_series(out, metric, point.attributes(), service);
    put_totals(out, point.count, Some(point.sum));
    for quantile in point.quantile_values() {
        out.extend_from_slice(b" q");
        put_double(out, quantile.quantile);
        out.push(b'=');
        put_double(out, quantile.value);
    }
    end_point(out, metric);
}

#[cfg(test)]
mod tests {
    use otelcore_pdata::build::Body;

    use super::*;

    fn text(signal: Signal, body: Body) -> String {
        let mut out = Vec::new();
        write(signal, &body.finish(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn trace_is_a_waterfall_with_children_under_their_parents() {
        let mut body = Body::new();
        {
            let mut entry = body.resource_spans();
            entry.resource().attributes().string(b"service.name", b"shop");
            let mut scope = entry.scope_spans();
            // The child is written first.
            for (id, parent, name, from, to) in [(2_u8, 1_u8, "child", 50, 100), (1, 0, "root\n", 0, 100)] {
                let mut span = scope.span();
                span.trace_id(&[1; 16]).span_id(&[id; 8]).name(name.as_bytes());
                if parent > 0 {
                    span.parent_span_id(&[parent; 8]);
                }
                let at = |ms: u64| 1_700_000_000_000_000_000 + ms * 1_000_000;
                span.start_time_unix_nano(at(from)).end_time_unix_nano(at(to));
            }
        }
        let expected = "trace 01010101010101010101010101010101 2023-11-14T22:13:20Z 100 ms, 2 spans\n  \
                        |==============================| root\u{b7} 100 ms [shop]\n  \
                        |               ===============|   child 50 ms [shop]\n";
        assert_eq!(text(Signal::Traces, body), expected);
    }

    #[test]
    fn circle_of_parents_ends_and_every_span_is_written_once() {
        let mut body = Body::new();
        {
            let mut entry = body.resource_spans();
            let mut scope = entry.scope_spans();
            for (id, parent) in [(1_u8, 2_u8), (2, 1), (3, 3)] {
                scope.span().trace_id(&[1; 16]).span_id(&[id; 8]).parent_span_id(&[parent; 8]).name(&[b'a' + id]);
            }
        }
        let text = text(Signal::Traces, body);
        assert_eq!(text.lines().count(), 4, "{text}");
    }

    #[test]
    fn points_and_records_are_a_line_each() {
        let mut body = Body::new();
        {
            let mut entry = body.resource_metrics();
            let mut scope = entry.scope_metrics();
            let mut metric = scope.metric();
            metric.name(b"requests").unit(b"{r}");
            let mut sum = metric.sum();
            let mut point = sum.point();
            point.int(7);
            point.attributes().string(b"route", b"/a");
        }
        assert_eq!(text(Signal::Metrics, body), "requests{route=/a} 7 {r}\n");
        let mut body = Body::new();
        {
            let mut entry = body.resource_logs();
            let mut scope = entry.scope_logs();
            let mut record = scope.log_record();
            record.time_unix_nano(1_700_000_000_000_000_000).severity_number(17);
            record.body(AnyValue::String(&[b'x'; 300]));
        }
        let expected = format!("2023-11-14T22:13:20Z ERROR {}\u{2026}\n", "x".repeat(MAX_VALUE));
        assert_eq!(text(Signal::Logs, body), expected);
    }
}
