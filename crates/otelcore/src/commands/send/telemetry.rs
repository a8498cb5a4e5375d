//! The items of the test telemetry: traces of a shop, metrics and log records.
//!
//! Owns what they contain. Reads no clock: times and random numbers are arguments.

use otelcore_pdata::build::Body;
use otelcore_pdata::views::AnyValue;
use otelcore_pdata::{Rope, Signal};

/// The spans of a trace at most: one root, and its children.
const SPANS_OF_TRACE: u32 = 5;

const ROUTES: [&[u8]; 4] = [b"GET /products", b"GET /cart", b"POST /checkout", b"GET /health"];
const CHILDREN: [&[u8]; 4] = [b"authenticate", b"SELECT products", b"GET price-service", b"render"];
const SEVERITIES: [(i32, &[u8]); 4] = [(5, b"DEBUG"), (9, b"INFO"), (13, b"WARN"), (17, b"ERROR")];

/// What the items of one request are made of.
pub(super) struct Request<'a> {
    pub(super) signal: Signal,
    pub(super) items: u32,
    /// The number of the first item.
    pub(super) first: u64,
    pub(super) service: &'a str,
    /// An attribute of each item; empty for none.
    pub(super) padding: &'a [u8],
    /// When the load began, and now, in nanoseconds since 1970.
    pub(super) begin: u64,
    pub(super) now: u64,
}

impl Request<'_> {
    /// The request's body. `random` gives the next random number.
    pub(super) fn body(&self, random: &mut dyn FnMut() -> u64) -> Rope {
        let per_item = 300 + self.padding.len();
        let mut body = Body::with_capacity(per_item.saturating_mul(self.items as usize).saturating_add(200));
        match self.signal {
            Signal::Traces => self.write_spans(&mut body, random),
            Signal::Metrics => self.write_metrics(&mut body, random),
            Signal::Logs => self.write_logs(&mut body, random),
        }
        body.finish()
    }

    fn write_spans(&self, body: &mut Body, random: &mut dyn FnMut() -> u64) {
        let mut entry = body.resource_spans();
        entry.resource().attributes().string(b"service.name", self.service.as_bytes());
        let mut scope = entry.scope_spans();
        scope.scope().name(b"otelcore send");
        let (mut trace_id, mut root, mut start) = ([0; 16], [0; 8], 0);
        for index in 0..self.items {
            let child = index % SPANS_OF_TRACE;
            let id = nonzero(random()).to_be_bytes();
            if child == 0 {
                trace_id = ((u128::from(nonzero(random())) << 64) | u128::from(random())).to_be_bytes();
                (root, start) = (id, self.now.saturating_sub(100_000_000 + random() % 100_000_000));
            }
            let number = self.first + u64::from(index);
            let mut span = scope.span();
            span.trace_id(&trace_id).span_id(&id);
            let offset = u64::from(child) * 15_000_000;
            if child == 0 {
                let route = pick(&ROUTES, number / u64::from(SPANS_OF_TRACE));
                span.name(route).kind(2);
                span.start_time_unix_nano(start).end_time_unix_nano(start + 80_000_000 + random() % 20_000_000);
                let method = route.split(|byte| *byte == b' ').next().unwrap_or_default();
                span.attributes().string(b"http.request.method", method).int(b"http.response.status_code", 200);
            } else {
                span.parent_span_id(&root).name(pick(&CHILDREN, u64::from(child - 1))).kind(1);
                span.start_time_unix_nano(start + offset)
                    .end_time_unix_nano(start + offset + 10_000_000 + random() % 5_000_000);
            }
            let mut attributes = span.attributes();
            attributes.int(b"test.number", i64::try_from(number).unwrap_or(i64::MAX));
            if !self.padding.is_empty() {
                attributes.string(b"test.padding", self.padding);
            }
        }
    }

    fn write_metrics(&self, body: &mut Body, random: &mut dyn FnMut() -> u64) {
        let mut entry = body.resource_metrics();
        entry.resource().attributes().string(b"service.name", self.service.as_bytes());
        let mut scope = entry.scope_metrics();
        scope.scope().name(b"otelcore send");
        // The points of a request are one metric each with a few series, so that a backend's number of series stays small.
        for index in 0..self.items {
            let number = self.first + u64::from(index);
            let route = pick(&ROUTES, number / 3);
            let mut metric = scope.metric();
            let padding = |attributes: &mut otelcore_pdata::build::AttributesWriter<'_>| {
                attributes.string(b"http.route", route);
                if !self.padding.is_empty() {
                    attributes.string(b"test.padding", self.padding);
                }
            };
            match number % 3 {
                0 => {
                    metric.name(b"test.requests").unit(b"{request}");
                    let mut sum = metric.sum();
                    sum.aggregation_temporality(2).is_monotonic(true);
                    let mut point = sum.point();
                    point.start_time_unix_nano(self.begin).time_unix_nano(self.now);
                    point.int(i64::try_from(number / 3 + 1).unwrap_or(i64::MAX));
                    padding(&mut point.attributes());
                }
                1 => {
                    metric.name(b"test.temperature").unit(b"Cel");
                    let mut gauge = metric.gauge();
                    let mut point = gauge.point();
                    point.time_unix_nano(self.now).double(15.0 + (random() % 1000) as f64 / 100.0);
                    padding(&mut point.attributes());
                }
                _ => {
                    metric.name(b"test.duration").unit(b"s");
                    let mut histogram = metric.histogram();
                    histogram.aggregation_temporality(2);
                    let mut point = histogram.point();
                    let count = number / 3 + 1;
                    point.start_time_unix_nano(self.begin).time_unix_nano(self.now);
                    point.count(count).sum(count as f64 * 0.12);
                    point.explicit_bounds(&[0.1, 0.5, 1.0]).bucket_counts(&[count / 2, count - count / 2, 0, 0]);
                    padding(&mut point.attributes());
                }
            }
        }
    }

    fn write_logs(&self, body: &mut Body, random: &mut dyn FnMut() -> u64) {
        let mut entry = body.resource_logs();
        entry.resource().attributes().string(b"service.name", self.service.as_bytes());
        let mut scope = entry.scope_logs();
        scope.scope().name(b"otelcore send");
        for index in 0..self.items {
            let number = self.first + u64::from(index);
            let (severity, name) = SEVERITIES[usize::try_from(random() % 4).unwrap_or(0)];
            let text = format!("test record {number}: {}", String::from_utf8_lossy(pick(&ROUTES, number)));
            let mut record = scope.log_record();
            record.time_unix_nano(self.now).observed_time_unix_nano(self.now);
            record.severity_number(severity).severity_text(name).body(AnyValue::String(text.as_bytes()));
            let mut attributes = record.attributes();
            attributes.int(b"test.number", i64::try_from(number).unwrap_or(i64::MAX));
            if !self.padding.is_empty() {
                attributes.string(b"test.padding", self.padding);
            }
        }
    }
}

fn nonzero(random: u64) -> u64 {
    random.max(1)
}

fn pick<'a>(list: &[&'a [u8]], number: u64) -> &'a [u8] {
    let index = usize::try_from(number % list.len().max(1) as u64).unwrap_or(0);
    list.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_of_each_signal_is_valid_and_has_the_number_of_items() {
        for signal in Signal::ALL {
            for padding in [0, 1000] {
                let padding = vec![b'x'; padding];
                let request = Request {
                    signal,
                    items: 17,
                    first: 3,
                    service: "shop",
                    padding: &padding,
                    begin: 1_000_000_000_000,
                    now: 2_000_000_000_000,
                };
                let mut seed = 0;
                let body = request.body(&mut || {
                    seed += 1;
                    seed
                });
                assert_eq!(otelcore_pdata::check(signal, &body.to_bytes()).map(|found| found.items), Ok(17));
                assert!(body.len() > 17 * padding.len());
            }
        }
    }
}
