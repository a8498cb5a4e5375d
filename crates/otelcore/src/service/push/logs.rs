//! Writes own log records as OTLP, in the form that the bridge of the Go collector gives them.

use otelcore_pdata::build::{AttributesWriter, Body};
use otelcore_pdata::{Rope, views::AnyValue};
use otelcore_pipeline::{LogLevel, LogScope};

use super::log_buffer::{OwnedField, OwnedRecord};
use super::{SERVICE_SCOPE, write_resource};

/// `SeverityNumber`.
fn severity(level: LogLevel) -> i32 {
    match level {
        LogLevel::Debug => 5,
        LogLevel::Info => 9,
        LogLevel::Warn => 13,
        LogLevel::Error => 17,
    }
}

/// The attributes of the scope of a component's records.
fn scope_attributes(scope: &LogScope) -> [(&'static str, &str); 4] {
    [
        ("otelcol.component.id", scope.id.as_str()),
        ("otelcol.component.kind", scope.kind),
        ("otelcol.pipeline.id", scope.pipeline.as_str()),
        ("otelcol.signal", scope.signal),
    ]
}

/// A request with these records. Those of one component are together, in the order of their first records. `observed` is now, in
/// nanoseconds since the epoch.
pub(super) fn write_logs(records: &[OwnedRecord], resource: &[(String, String)], observed: u64) -> Rope {
    let mut order: Vec<usize> = Vec::with_capacity(records.len());
    let mut firsts = std::collections::BTreeMap::new();
    for (index, record) in records.iter().enumerate() {
        order.push(*firsts.entry(scope_attributes(&record.scope)).or_insert(index));
    }
    let mut sorted: Vec<usize> = (0..records.len()).collect();
    sorted.sort_by_key(|index| (order.get(*index).copied(), *index));
    let mut body = Body::new();
    {
        let mut entry = body.resource_logs();
        write_resource(&mut entry.resource(), resource);
        for group in sorted.chunk_by(|a, b| order.get(*a) == order.get(*b)) {
            let group: Vec<&OwnedRecord> = group.iter().filter_map(|index| records.get(*index)).collect();
            let Some(first) = group.first() else { continue };
            let mut scope_logs = entry.scope_logs();
            {
                let mut scope = scope_logs.scope();
                scope.name(SERVICE_SCOPE.as_bytes());
                for (key, value) in scope_attributes(&first.scope).into_iter().filter(|(_, value)| !value.is_empty()) {
                    scope.attributes().string(key.as_bytes(), value.as_bytes());
                }
            }
            for record in group {
                let mut writer = scope_logs.log_record();
                writer.time_unix_nano(record.time).observed_time_unix_nano(observed.max(record.time));
                writer.severity_number(severity(record.level)).severity_text(record.level.name().as_bytes());
                writer.body(AnyValue::String(record.message.as_bytes()));
                let mut attributes = writer.attributes();
                record.fields.iter().for_each(|(key, value)| write_field(&mut attributes, key, value));
            }
        }
    }
    body.finish()
}

fn write_field(attributes: &mut AttributesWriter<'_>, key: &str, value: &OwnedField) {
    let key = key.as_bytes();
    match value {
        OwnedField::Str(text) => attributes.string(key, text.as_bytes()),
        OwnedField::Int(v) => attributes.int(key, *v),
        OwnedField::Float(v) => attributes.double(key, *v),
        OwnedField::Bool(v) => attributes.bool(key, *v),
    };
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use otelcore_pdata::{Signal, check};
    use prost::Message;

    use super::*;

    fn record(message: &str, id: &str, level: LogLevel) -> OwnedRecord {
        let kind = if id.is_empty() { "" } else { "receiver" };
        OwnedRecord {
            time: 5,
            level,
            message: message.to_owned(),
            fields: vec![
                ("endpoint".to_owned(), OwnedField::Str("h:1".to_owned())),
                ("n".to_owned(), OwnedField::Int(-2)),
                ("x".to_owned(), OwnedField::Float(0.5)),
                ("b".to_owned(), OwnedField::Bool(true)),
            ],
            scope: LogScope { kind, id: id.to_owned(), ..LogScope::default() },
        }
    }

    #[test]
    fn records_have_the_form_of_the_go_collectors_and_are_grouped_by_component() {
        let records = [
            record("one", "", LogLevel::Info),
            record("two", "otlp", LogLevel::Warn),
            record("three", "", LogLevel::Error),
        ];
        let rope = write_logs(&records, &[("service.name".to_owned(), "otelcore".to_owned())], 9);
        let bytes = rope.to_bytes();
        assert_eq!(check(Signal::Logs, &bytes).unwrap().items, 3);
        let request = ExportLogsServiceRequest::decode(bytes.as_ref()).unwrap();
        let [resource] = request.resource_logs.as_slice() else { panic!("{request:?}") };
        assert_eq!(resource.resource.as_ref().unwrap().attributes[0].key, "service.name");
        let groups: Vec<(Vec<String>, Vec<i32>)> = resource
            .scope_logs
            .iter()
            .map(|group| {
                let scope = group.scope.as_ref().unwrap();
                assert_eq!(scope.name, "go.opentelemetry.io/collector/service");
                let keys = scope.attributes.iter().map(|attribute| attribute.key.clone()).collect();
                (keys, group.log_records.iter().map(|record| record.severity_number).collect())
            })
            .collect();
        let keys = ["otelcol.component.id", "otelcol.component.kind"].map(str::to_owned).to_vec();
        assert_eq!(groups, [(vec![], vec![9, 17]), (keys, vec![13])]);
        let first = &resource.scope_logs[0].log_records[0];
        assert_eq!((first.time_unix_nano, first.observed_time_unix_nano, first.severity_text.as_str()), (5, 9, "info"));
        assert_eq!(first.attributes.iter().map(|a| a.key.as_str()).collect::<Vec<_>>(), ["endpoint", "n", "x", "b"]);
    }
}
