//! Events as records: the message is the body, and what has happened to which object are attributes.

use std::sync::Arc;

use otelcore_kubernetes_client::{ApiResource, parse_time, parse_time_nanos};
use otelcore_pdata::Value;
use otelcore_pdata::build::{AttributesWriter, Body, LogRecordWriter};
use otelcore_pdata::text::UtcDateTime;
use otelcore_pdata::views::AnyValue;

use crate::records::{DecodedObject, RecordFormat, path, string};
use crate::source::ObjectSource;

const SCOPE: &str = "github.com/open-telemetry/opentelemetry-collector-contrib/receiver/k8seventsreceiver";

/// The attributes of the resource, and the members of the event that they are.
const RESOURCE_ATTRIBUTES: [(&str, [&str; 2]); 7] = [
    ("k8s.node.name", ["source", "host"]),
    ("k8s.object.kind", ["involvedObject", "kind"]),
    ("k8s.object.name", ["involvedObject", "name"]),
    ("k8s.object.uid", ["involvedObject", "uid"]),
    ("k8s.object.fieldpath", ["involvedObject", "fieldPath"]),
    ("k8s.object.api_version", ["involvedObject", "apiVersion"]),
    ("k8s.object.resource_version", ["involvedObject", "resourceVersion"]),
];

/// The same of the record.
const RECORD_ATTRIBUTES: [(&str, &[&str]); 8] = [
    ("k8s.event.reason", &["reason"]),
    ("k8s.event.action", &["action"]),
    ("k8s.event.start_time", &["metadata", "creationTimestamp"]),
    ("k8s.event.name", &["metadata", "name"]),
    ("k8s.event.uid", &["metadata", "uid"]),
    ("k8s.namespace.name", &["involvedObject", "namespace"]),
    ("k8s.event.reporting_controller", &["reportingComponent"]),
    ("k8s.event.reporting_instance", &["reportingInstance"]),
];

/// The format.
pub(super) struct EventFormat {
    /// Events of earlier are left out; in nanoseconds since the epoch.
    since: u64,
}

impl EventFormat {
    /// Events since the start of the receiver.
    pub(super) fn of_events_since(started: u64, _: &[ObjectSource], _: &[ApiResource]) -> Arc<dyn RecordFormat> {
        Arc::new(Self { since: started })
    }

    pub(super) fn of_all(_: u64, _: &[ObjectSource], _: &[ApiResource]) -> Arc<dyn RecordFormat> {
        Arc::new(Self { since: 0 })
    }
}

impl RecordFormat for EventFormat {
    fn write(&self, objects: Vec<DecodedObject>, _: u64, body: &mut Body) {
        for DecodedObject { object, .. } in &objects {
            let time = event_time(object);
            if time.unwrap_or(0) < self.since {
                continue;
            }
            let mut entry = body.resource_logs();
            write_attributes(
                &mut entry.resource().attributes(),
                object,
                RESOURCE_ATTRIBUTES.iter().map(|(k, p)| (*k, &p[..])),
            );
            let mut scope = entry.scope_logs();
            scope.scope().name(SCOPE.as_bytes()).version(env!("CARGO_PKG_VERSION").as_bytes());
            write_record(&mut scope.log_record(), object, time);
        }
    }
}

fn write_record(record: &mut LogRecordWriter<'_>, event: &Value, time: Option<u64>) {
    if let Some(time) = time {
        record.time_unix_nano(time);
    }
    let kind = string(path(event, &["type"]));
    let severity = match kind.to_ascii_lowercase().as_str() {
        "normal" => 9,
        "warning" => 13,
        "error" => 17,
        "critical" => 21,
        _ => 0,
    };
    if severity > 0 {
        record.severity_number(severity).severity_text(kind.as_bytes());
    }
    record.body(AnyValue::String(string(path(event, &["message"])).as_bytes()));
    let mut attributes = record.attributes();
    write_attributes(&mut attributes, event, RECORD_ATTRIBUTES.iter().map(|(k, p)| (*k, *p)));
    if let Some(Value::Int(count)) = path(event, &["count"]).filter(|count| **count != Value::Int(0)) {
        attributes.int(b"k8s.event.count", *count);
    }
}

fn write_attributes<'p>(
    writer: &mut AttributesWriter<'_>,
    event: &Value,
    attributes: impl Iterator<Item = (&'p str, &'p [&'p str])>,
) {
    for (key, members) in attributes {
        let text = string(path(event, members));
        if key == "k8s.event.start_time" {
            writer.string(key.as_bytes(), go_time_text(text).as_bytes());
        } else {
            writer.string(key.as_bytes(), text.as_bytes());
        }
    }
}

/// When the event has happened, in nanoseconds since the epoch: as it says, else when it was seen last or first.
fn event_time(event: &Value) -> Option<u64> {
    let times = ["eventTime", "lastTimestamp", "firstTimestamp"].iter();
    times.filter_map(|name| unix_nanos(string(path(event, &[name])))).next()
}

fn unix_nanos(text: &str) -> Option<u64> {
    parse_time_nanos(text).and_then(|nanos| u64::try_from(nanos).ok())
}

/// A time as Go prints one: `2024-02-29 12:00:00 +0000 UTC`; the zero time where there is none.
fn go_time_text(text: &str) -> String {
    let nanos = parse_time(text).and_then(|seconds| seconds.checked_mul(1_000_000_000));
    let Some(nanos) = nanos else { return "0001-01-01 00:00:00 +0000 UTC".to_owned() };
    let t = UtcDateTime::from_unix_nanos(nanos);
    format!("{:04}-{:02}-{:02} {:02}:{:02}:{:02} +0000 UTC", t.year, t.month, t.day, t.hour, t.minute, t.second)
}
