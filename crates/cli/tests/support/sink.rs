//! The backend of the tests: a server with just enough HTTP/1.1 for an OTLP exporter, which gives what was sent as
//! canonical JSON, one object for a span, data point or log record. It uses no code of the collector.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint, number_data_point};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use serde_json::{Map, Value, json};

/// What has arrived: the last part of a path (`traces`, `metrics`, `logs`) and the message.
type ReceivedRequests = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// The status of the response to a request, which is kept with 200 only; `None` closes the connection without a response.
type Answer = dyn Fn() -> Option<u16> + Send + Sync;

/// Accepts every export, or as it is asked to. It ends with the test's process.
pub struct OtlpHttpBackend {
    pub port: u16,
    received: ReceivedRequests,
}

impl OtlpHttpBackend {
    pub fn start() -> Self {
        Self::start_with(|| Some(200))
    }

    /// A backend that asks for the answer to each request.
    pub fn start_with(answer: impl Fn() -> Option<u16> + Send + Sync + 'static) -> Self {
        let answer: Arc<Answer> = Arc::new(answer);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = ReceivedRequests::default();
        let shared = received.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (received, answer) = (shared.clone(), answer.clone());
                std::thread::spawn(move || serve(&stream, &received, &*answer));
            }
        });
        Self { port, received }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The names of all spans that have arrived, in their order.
    pub fn span_names(&self) -> Vec<String> {
        let received = self.received.lock().unwrap();
        let requests = received.iter().filter(|(signal, _)| signal == "traces");
        let resources =
            requests.flat_map(|(_, body)| ExportTraceServiceRequest::decode(body.as_slice()).unwrap().resource_spans);
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).map(|span| span.name).collect()
    }

    /// The requests that have arrived since the last call: the signal and the body of each.
    pub fn take_requests(&self) -> Vec<(String, Vec<u8>)> {
        std::mem::take(&mut *self.received.lock().unwrap())
    }

    /// Everything that has arrived since the last call.
    pub fn take(&self) -> Vec<Value> {
        self.take_requests().iter().flat_map(|(signal, body)| canonical_items(signal, body)).collect()
    }
}

fn serve(mut stream: &TcpStream, received: &ReceivedRequests, answer: &Answer) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if reader.read_until(b'\n', &mut head).ok()? == 0 {
                return None;
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let header = |name: &str| {
            let found = head.lines().find_map(|l| l.split_once(':').filter(|(n, _)| n.eq_ignore_ascii_case(name)));
            found.map(|(_, value)| value.trim().to_owned())
        };
        let mut body = Vec::new();
        if let Some(length) = header("content-length") {
            body.resize(length.parse().ok()?, 0);
            reader.read_exact(&mut body).ok()?;
        } else if header("transfer-encoding").is_some() {
            chunked(&mut reader, &mut body).ok()?;
        }
        if header("content-encoding").as_deref() == Some("gzip") {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&*body).read_to_end(&mut plain).ok()?;
            body = plain;
        }
        let path = head.split(' ').nth(1)?;
        let signal = path.rsplit('/').next()?.to_owned();
        let status = answer()?;
        if status == 200 {
            received.lock().unwrap().push((signal, body));
        }
        let rest = "Content-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
        write!(stream, "HTTP/1.1 {status} X\r\n{rest}").ok()?;
    }
}

fn chunked(reader: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        reader.by_ref().take(size).read_to_end(body)?;
        reader.read_line(&mut line)?;
        if size == 0 {
            return Ok(());
        }
    }
}

/// The canonical form of each item of an export request.
pub fn canonical_items(signal: &str, body: &[u8]) -> Vec<Value> {
    match signal {
        "traces" => spans(&ExportTraceServiceRequest::decode(body).unwrap()),
        "metrics" => metric_points(&ExportMetricsServiceRequest::decode(body).unwrap()),
        "logs" => logs(&ExportLogsServiceRequest::decode(body).unwrap()),
        other => panic!("a request for {other}"),
    }
}

fn spans(request: &ExportTraceServiceRequest) -> Vec<Value> {
    let mut all = Vec::new();
    for r in &request.resource_spans {
        for s in &r.scope_spans {
            for span in &s.spans {
                let events = span.events.iter().map(|e| {
                    json!({"name": e.name, "time": e.time_unix_nano.to_string(), "attributes": attributes(&e.attributes),
                        "dropped": e.dropped_attributes_count})
                });
                let links = span.links.iter().map(|l| {
                    json!({"trace_id": hex(&l.trace_id), "span_id": hex(&l.span_id), "trace_state": l.trace_state,
                        "attributes": attributes(&l.attributes), "dropped": l.dropped_attributes_count})
                });
                let status = span.status.clone().unwrap_or_default();
                all.push(json!({
                    "signal": "span", "resource": resource(r.resource.as_ref()),
                    "scope": scope(s.scope.as_ref(), &s.schema_url),
                    "name": span.name, "trace_id": hex(&span.trace_id), "span_id": hex(&span.span_id),
                    "parent_span_id": hex(&span.parent_span_id), "trace_state": span.trace_state, "kind": span.kind,
                    "start": span.start_time_unix_nano.to_string(), "end": span.end_time_unix_nano.to_string(),
                    "attributes": attributes(&span.attributes), "events": events.collect::<Value>(),
                    "links": links.collect::<Value>(), "sampled": span.flags & 1 == 1,
                    "status": {"code": status.code, "message": status.message},
                    "dropped": [span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count],
                }));
            }
        }
    }
    all
}

fn metric_points(request: &ExportMetricsServiceRequest) -> Vec<Value> {
    let mut all = Vec::new();
    for r in &request.resource_metrics {
        for s in &r.scope_metrics {
            for metric in &s.metrics {
                let base = json!({
                    "signal": "metric", "resource": resource(r.resource.as_ref()),
                    "scope": scope(s.scope.as_ref(), &s.schema_url),
                    "name": metric.name, "description": metric.description, "unit": metric.unit,
                });
                all.extend(points_of_metric(metric).into_iter().map(|p| merged(&base, p)));
            }
        }
    }
    all
}

fn merged(base: &Value, more: Value) -> Value {
    let (mut all, more) = (base.as_object().unwrap().clone(), more.as_object().unwrap().clone());
    all.extend(more);
    Value::Object(all)
}

fn points_of_metric(metric: &Metric) -> Vec<Value> {
    match metric.data.as_ref().unwrap() {
        Data::Gauge(gauge) => gauge.data_points.iter().map(|p| number_point(p, json!({"kind": "gauge"}))).collect(),
        Data::Sum(sum) => {
            let kind =
                json!({"kind": "sum", "monotonic": sum.is_monotonic, "temporality": sum.aggregation_temporality});
            sum.data_points.iter().map(|p| number_point(p, kind.clone())).collect()
        }
        Data::Histogram(histogram) => histogram
            .data_points
            .iter()
            .map(|p| {
                let mut o = json!({
                    "kind": "histogram", "temporality": histogram.aggregation_temporality,
                    "attributes": attributes(&p.attributes), "count": p.count.to_string(),
                    "start": p.start_time_unix_nano.to_string(), "time": p.time_unix_nano.to_string(),
                    "bounds": p.explicit_bounds.iter().map(|b| double_text(*b)).collect::<Value>(),
                    "buckets": strings(&p.bucket_counts),
                });
                add_sum_min_max(&mut o, p.sum, p.min, p.max);
                o
            })
            .collect(),
        Data::ExponentialHistogram(histogram) => histogram
            .data_points
            .iter()
            .map(|p| {
                let mut o = json!({
                    "kind": "exponential", "temporality": histogram.aggregation_temporality,
                    "attributes": attributes(&p.attributes), "count": p.count.to_string(), "scale": p.scale,
                    "start": p.start_time_unix_nano.to_string(), "time": p.time_unix_nano.to_string(),
                    "zero_count": p.zero_count.to_string(), "positive": buckets(p.positive.as_ref()),
                    "negative": buckets(p.negative.as_ref()),
                });
                add_sum_min_max(&mut o, p.sum, p.min, p.max);
                o
            })
            .collect(),
        Data::Summary(_) => panic!("no SDK makes a summary"),
    }
}

fn number_point(p: &NumberDataPoint, kind: Value) -> Value {
    let value = match p.value {
        Some(number_data_point::Value::AsInt(i)) => json!({"i": i.to_string()}),
        Some(number_data_point::Value::AsDouble(d)) => json!({"d": double_text(d)}),
        None => Value::Null,
    };
    let times = [p.start_time_unix_nano, p.time_unix_nano].map(|t| t.to_string());
    merged(&kind, json!({"attributes": attributes(&p.attributes), "start": times[0], "time": times[1], "value": value}))
}

fn add_sum_min_max(o: &mut Value, sum: Option<f64>, min: Option<f64>, max: Option<f64>) {
    for (name, value) in [("sum", sum), ("min", min), ("max", max)] {
        if let Some(value) = value {
            o[name] = double_text(value);
        }
    }
}

fn buckets(b: Option<&Buckets>) -> Value {
    let b = b.cloned().unwrap_or_default();
    json!({"offset": b.offset, "buckets": strings(&b.bucket_counts)})
}

fn strings(counts: &[u64]) -> Value {
    counts.iter().map(u64::to_string).collect()
}

fn logs(request: &ExportLogsServiceRequest) -> Vec<Value> {
    let mut all = Vec::new();
    for r in &request.resource_logs {
        for s in &r.scope_logs {
            for log in &s.log_records {
                all.push(json!({
                    "signal": "log", "resource": resource(r.resource.as_ref()),
                    "scope": scope(s.scope.as_ref(), &s.schema_url),
                    "time": log.time_unix_nano.to_string(), "observed": log.observed_time_unix_nano.to_string(),
                    "severity": log.severity_number, "severity_text": log.severity_text,
                    "body": log.body.as_ref().map_or(Value::Null, any), "attributes": attributes(&log.attributes),
                    "trace_id": hex(&log.trace_id), "span_id": hex(&log.span_id), "flags": log.flags & 0xff,
                    "event_name": log.event_name, "dropped": log.dropped_attributes_count,
                }));
            }
        }
    }
    all
}

fn resource(resource: Option<&Resource>) -> Value {
    resource.map_or_else(|| json!({}), |r| attributes(&r.attributes))
}

fn scope(scope: Option<&InstrumentationScope>, schema_url: &str) -> Value {
    let scope = scope.cloned().unwrap_or_default();
    let attributes = attributes(&scope.attributes);
    json!({"name": scope.name, "version": scope.version, "schema_url": schema_url, "attributes": attributes})
}

fn attributes(list: &[KeyValue]) -> Value {
    let mut set = Map::new();
    for attribute in list {
        let value = attribute.value.as_ref().map_or(Value::Null, any);
        assert!(set.insert(attribute.key.clone(), value).is_none(), "{} twice", attribute.key);
    }
    Value::Object(set)
}

fn any(value: &AnyValue) -> Value {
    match &value.value {
        None => Value::Null,
        Some(Any::StringValue(s)) => json!({ "s": s }),
        Some(Any::BoolValue(b)) => json!({ "b": b }),
        Some(Any::IntValue(i)) => json!({"i": i.to_string()}),
        Some(Any::DoubleValue(d)) => json!({"d": double_text(*d)}),
        Some(Any::BytesValue(x)) => json!({"x": hex(x)}),
        Some(Any::ArrayValue(a)) => json!({"a": a.values.iter().map(any).collect::<Value>()}),
        Some(Any::KvlistValue(m)) => json!({"m": attributes(&m.values)}),
        Some(Any::StringValueStrindex(_)) => panic!("an index into a dictionary outside profiles"),
    }
}

fn double_text(d: f64) -> Value {
    json!(format!("{d:?}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Keys whose values are doubles as text, which languages write differently.
const DOUBLE_KEYS: [&str; 5] = ["d", "sum", "min", "max", "bounds"];
/// Keys whose values are whole sets: what arrived must have no further entries.
const SET_KEYS: [&str; 3] = ["attributes", "resource", "m"];

/// Where `came` differs from `sent`; every field of `sent` must be in `came` and equal.
pub fn first_difference(sent: &Value, received: &Value) -> Option<String> {
    difference_at(sent, received, "")
}

fn difference_at(sent: &Value, received: &Value, key: &str) -> Option<String> {
    let unequal = || Some(format!("{key}: sent {sent}, received {received}"));
    match (sent, received) {
        (Value::Object(a), Value::Object(b)) => {
            if SET_KEYS.contains(&key) && a.len() != b.len() {
                return unequal();
            }
            a.iter().find_map(|(k, v)| match b.get(k) {
                Some(other) => difference_at(v, other, k),
                None => Some(format!("{k} of {key} did not come: {v}")),
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).find_map(|(a, b)| difference_at(a, b, key))
        }
        (Value::String(a), Value::String(b)) if DOUBLE_KEYS.contains(&key) => {
            let bits = |text: &str| text.parse::<f64>().map(f64::to_bits);
            if bits(a) == bits(b) && bits(a).is_ok() { None } else { unequal() }
        }
        (a, b) if a == b => None,
        _ => unequal(),
    }
}

/// Pairs what was sent with what arrived; where an item has no partner, fails and shows the most similar candidate.
pub fn assert_same_items(what: &str, sent: &[Value], received: &[Value]) {
    let mut left: Vec<&Value> = received.iter().collect();
    for item in sent {
        if let Some(at) = left.iter().position(|candidate| first_difference(item, candidate).is_none()) {
            left.swap_remove(at);
            continue;
        }
        let alike = |v: &&&Value| ["signal", "name", "span_id", "kind"].iter().all(|k| v.get(k) == item.get(k));
        let near: Vec<_> = left.iter().filter(alike).filter_map(|c| first_difference(item, c)).take(5).collect();
        panic!("{what}: never received: {item}\nnearest differ in: {near:#?}\n{} others left", left.len());
    }
    assert!(left.is_empty(), "{what}: received and was not sent: {left:#?}");
}
