//! `trace.proto`.

use super::writer::writer;
use super::{ResourceWriter, ScopeWriter};

writer! {
    /// The spans of one resource.
    ResourceSpansWriter in resource_spans {
        /// Schema of the resource.
        SCHEMA_URL schema_url: text,
        @message /// The resource: at most once.
        RESOURCE resource: ResourceWriter MIDDLE,
        @message /// Adds the spans of a scope.
        SCOPE_SPANS scope_spans: ScopeSpansWriter LARGE,
    }
}

writer! {
    /// The spans of one scope.
    ScopeSpansWriter in scope_spans {
        /// Schema of the scope and its spans.
        SCHEMA_URL schema_url: text,
        @message /// The scope: at most once.
        SCOPE scope: ScopeWriter SMALL,
        @item /// Adds a span.
        SPANS span: SpanWriter,
    }
}

writer! {
    /// One span.
    SpanWriter in span {
        /// The trace id.
        TRACE_ID trace_id: id16,
        /// The span id.
        SPAN_ID span_id: id8,
        /// W3C tracestate.
        TRACE_STATE trace_state: text,
        /// The parent's span id; none for a root.
        PARENT_SPAN_ID parent_span_id: id8,
        /// Operation name.
        NAME name: text,
        /// `SpanKind`.
        KIND kind: int32,
        /// Nanoseconds since the epoch.
        START_TIME_UNIX_NANO start_time_unix_nano: fixed64,
        /// Nanoseconds since the epoch.
        END_TIME_UNIX_NANO end_time_unix_nano: fixed64,
        /// How many attributes the sender dropped.
        DROPPED_ATTRIBUTES_COUNT dropped_attributes_count: uint32,
        /// How many events the sender dropped.
        DROPPED_EVENTS_COUNT dropped_events_count: uint32,
        /// How many links the sender dropped.
        DROPPED_LINKS_COUNT dropped_links_count: uint32,
        /// W3C trace flags in the low byte.
        FLAGS flags: fixed32,
        @message /// Adds an event.
        EVENTS event: EventWriter SMALL,
        @message /// Adds a link.
        LINKS link: LinkWriter SMALL,
        @message /// The status: at most once.
        STATUS status: StatusWriter SMALL,
        @attributes /// Its attributes.
        ATTRIBUTES attributes,
    }
}

writer! {
    /// An event of a span.
    EventWriter in event {
        /// Nanoseconds since the epoch.
        TIME_UNIX_NANO time_unix_nano: fixed64,
        /// Its name.
        NAME name: text,
        /// How many attributes the sender dropped.
        DROPPED_ATTRIBUTES_COUNT dropped_attributes_count: uint32,
        @attributes /// Its attributes.
        ATTRIBUTES attributes,
    }
}

writer! {
    /// A link of a span.
    LinkWriter in link {
        /// The trace id.
        TRACE_ID trace_id: id16,
        /// The span id.
        SPAN_ID span_id: id8,
        /// W3C tracestate.
        TRACE_STATE trace_state: text,
        /// How many attributes the sender dropped.
        DROPPED_ATTRIBUTES_COUNT dropped_attributes_count: uint32,
        /// W3C trace flags in the low byte.
        FLAGS flags: fixed32,
        @attributes /// Its attributes.
        ATTRIBUTES attributes,
    }
}

writer! {
    /// The status of a span.
    StatusWriter in status {
        /// Error message for developers.
        MESSAGE message: text,
        /// 0 unset, 1 ok, 2 error.
        CODE code: int32,
    }
}
