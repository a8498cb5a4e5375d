//! `logs.proto`.

use super::{
    AnyValue, FromWireValue, KeyValue, MessageFields, RepeatedMessages, Resource, Scope, View, WireValue, view,
};

view! {
    /// The log records of one resource.
    ResourceLogs<'a> {
        /// The resource that produced them.
        1 resource: Resource<'a>,
        /// Schema of the resource.
        3 schema_url: &'a [u8],
        repeated /// The records, by scope.
        2 scope_logs: ScopeLogs<'a>,
    }
}

view! {
    /// The log records of one instrumentation scope.
    ScopeLogs<'a> {
        /// The scope.
        1 scope: Scope<'a>,
        /// Schema of the scope and its records.
        3 schema_url: &'a [u8],
        repeated /// The records.
        2 log_records: LogRecord<'a>,
    }
}

view! {
    /// One log record.
    LogRecord<'a> {
        /// Nanoseconds since the epoch.
        1 time_unix_nano: u64,
        /// `SeverityNumber`.
        2 severity_number: i32,
        /// Severity as the source names it.
        3 severity_text: &'a [u8],
        /// The body.
        5 body: AnyValue<'a>,
        /// How many attributes the sender dropped.
        7 dropped_attributes_count: u32,
        /// W3C trace flags in the low byte.
        8 flags: u32,
        /// 16 bytes, or none.
        9 trace_id: &'a [u8],
        /// 8 bytes, or none.
        10 span_id: &'a [u8],
        /// Nanoseconds since the epoch.
        11 observed_time_unix_nano: u64,
        /// Name of the event, if it is one.
        12 event_name: &'a [u8],
        repeated /// Attributes.
        6 attributes: KeyValue<'a>,
    }
}
