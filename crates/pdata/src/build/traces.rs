//! `trace.proto`.

use super::writer::writer;
use super::{ResourceWriter, ScopeWriter};

writer! {
    /// The spans of one resource.
    ResourceSpansWriter {
        /// Schema of the resource.
        3 schema_url: text,
        message /// The resource: at most once.
        1 resource: ResourceWriter MIDDLE,
        message /// Adds the spans of a scope.
        2 scope_spans: ScopeSpansWriter LARGE,
    }
}

writer! {
    /// The spans of one scope.
    ScopeSpansWriter {
        /// Schema of the scope and its spans.
        3 schema_url: text,
        message /// The scope: at most once.
        1 scope: ScopeWriter SMALL,
        item /// Adds a span.
        2 span: SpanWriter,
    }
}

writer! {
    /// One span.
    SpanWriter {
        /// The trace id.
        1 trace_id: id16,
        /// The span id.
        2 span_id: id8,
        /// W3C tracestate.
        3 trace_state: text,
        /// The parent's span id; none for a root.
        4 parent_span_id: id8,
        /// Operation name.
        5 name: text,
        /// `SpanKind`.
        6 kind: int32,
        /// Nanoseconds since the epoch.
        7 start_time_unix_nano: fixed64,
        /// Nanoseconds since the epoch.
        8 end_time_unix_nano: fixed64,
        /// How many attributes the sender dropped.
        10 dropped_attributes_count: uint32,
        /// How many events the sender dropped.
        12 dropped_events_count: uint32,
        /// How many links the sender dropped.
        14 dropped_links_count: uint32,
        /// W3C trace flags in the low byte.
        16 flags: fixed32,
        message /// Adds an event.
        11 event: EventWriter SMALL,
        message /// Adds a link.
        13 link: LinkWriter SMALL,
        message /// The status: at most once.
        15 status: StatusWriter SMALL,
        attributes /// Its attributes.
        9 attributes,
    }
}

writer! {
    /// An event of a span.
    EventWriter {
        /// Nanoseconds since the epoch.
        1 time_unix_nano: fixed64,
        /// Its name.
        2 name: text,
        /// How many attributes the sender dropped.
        4 dropped_attributes_count: uint32,
        attributes /// Its attributes.
        3 attributes,
    }
}

writer! {
    /// A link of a span.
    LinkWriter {
        /// The trace id.
        1 trace_id: id16,
        /// The span id.
        2 span_id: id8,
        /// W3C tracestate.
        3 trace_state: text,
        /// How many attributes the sender dropped.
        5 dropped_attributes_count: uint32,
        /// W3C trace flags in the low byte.
        6 flags: fixed32,
        attributes /// Its attributes.
        4 attributes,
    }
}

writer! {
    /// The status of a span.
    StatusWriter {
        /// Error message for developers.
        2 message: text,
        /// 0 unset, 1 ok, 2 error.
        3 code: int32,
    }
}
