//! `logs.proto`.

use super::writer::writer;
use super::{ArrayWriter, AttributesWriter, DEEP, ResourceWriter, ScopeWriter};
use crate::value::Value;
use crate::views::AnyValue;
use crate::wire_format::{put_bytes_field, put_tag_and_len};

writer! {
    /// The log records of one resource.
    ResourceLogsWriter in resource_logs {
        /// Schema of the resource.
        SCHEMA_URL schema_url: text,
        @message /// The resource: at most once.
        RESOURCE resource: ResourceWriter MIDDLE,
        @message /// Adds the records of a scope.
        SCOPE_LOGS scope_logs: ScopeLogsWriter LARGE,
    }
}

writer! {
    /// The log records of one scope.
    ScopeLogsWriter in scope_logs {
        /// Schema of the scope and its records.
        SCHEMA_URL schema_url: text,
        @message /// The scope: at most once.
        SCOPE scope: ScopeWriter SMALL,
        @item /// Adds a record.
        LOG_RECORDS log_record: LogRecordWriter,
    }
}

writer! {
    /// One log record. Its body is written by one of the methods `body*`, at most once.
    LogRecordWriter in log_record {
        /// Nanoseconds since the epoch.
        TIME_UNIX_NANO time_unix_nano: fixed64,
        /// `SeverityNumber`.
        SEVERITY_NUMBER severity_number: int32,
        /// Severity as the source names it.
        SEVERITY_TEXT severity_text: text,
        /// How many attributes the sender dropped.
        DROPPED_ATTRIBUTES_COUNT dropped_attributes_count: uint32,
        /// W3C trace flags in the low byte.
        FLAGS flags: fixed32,
        /// The trace id.
        TRACE_ID trace_id: id16,
        /// The span id.
        SPAN_ID span_id: id8,
        /// Nanoseconds since the epoch.
        OBSERVED_TIME_UNIX_NANO observed_time_unix_nano: fixed64,
        /// Name of the event, if it is one.
        EVENT_NAME event_name: text,
        @attributes /// Its attributes.
        ATTRIBUTES attributes,
    }
}

impl LogRecordWriter<'_> {
    /// A body without nested values.
    #[inline]
    pub fn body(&mut self, body: AnyValue<'_>) -> &mut Self {
        let out = &mut self.0.body.out;
        put_tag_and_len(out, 5, body.encoded_len());
        body.encode(out);
        self
    }

    /// A body of any depth.
    pub fn body_value(&mut self, body: &Value) -> &mut Self {
        match body {
            Value::Map(entries) => self.body_map(|map| {
                for (key, value) in entries {
                    map.value(key, value);
                }
            }),
            Value::Array(values) => self.body_array(|array| values.iter().for_each(|value| array.value(value))),
            other => {
                let mut raw = Vec::new();
                other.encode(&mut raw);
                put_bytes_field(&mut self.0.body.out, 5, &raw);
                self
            }
        }
    }

    /// A body that is a map, whose entries `write` writes.
    pub fn body_map(&mut self, write: impl FnOnce(&mut AttributesWriter<'_>)) -> &mut Self {
        let mut value = self.0.nested(5, DEEP);
        let list = value.nested(6, DEEP);
        write(&mut AttributesWriter::new(list.body, 1));
        drop(list);
        drop(value);
        self
    }

    /// A body that is a list, whose elements `write` writes.
    pub fn body_array(&mut self, write: impl FnOnce(&mut ArrayWriter<'_>)) -> &mut Self {
        let mut value = self.0.nested(5, DEEP);
        let list = value.nested(5, DEEP);
        write(&mut ArrayWriter::new(list.body));
        drop(list);
        drop(value);
        self
    }
}
