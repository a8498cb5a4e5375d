//! `trace.proto`.

use super::{FromWireValue, KeyValue, MessageFields, RepeatedMessages, Resource, Scope, View, WireValue, view};

view! {
    /// The spans of one resource.
    ResourceSpans<'a> {
        /// The resource that produced them.
        1 resource: Resource<'a>,
        /// Schema of the resource.
        3 schema_url: &'a [u8],
        repeated /// The spans, by scope.
        2 scope_spans: ScopeSpans<'a>,
    }
}

view! {
    /// The spans of one instrumentation scope.
    ScopeSpans<'a> {
        /// The scope.
        1 scope: Scope<'a>,
        /// Schema of the scope and its spans.
        3 schema_url: &'a [u8],
        repeated /// The spans.
        2 spans: Span<'a>,
    }
}

view! {
    /// One operation.
    Span<'a> {
        /// 16 bytes, or none.
        1 trace_id: &'a [u8],
        /// 8 bytes, or none.
        2 span_id: &'a [u8],
        /// W3C tracestate.
        3 trace_state: &'a [u8],
        /// 8 bytes, or none for a root.
        4 parent_span_id: &'a [u8],
        /// Operation name.
        5 name: &'a [u8],
        /// `SpanKind`.
        6 kind: i32,
        /// Nanoseconds since the epoch.
        7 start_time_unix_nano: u64,
        /// Nanoseconds since the epoch.
        8 end_time_unix_nano: u64,
        /// How many attributes the sender dropped.
        10 dropped_attributes_count: u32,
        /// How many events the sender dropped.
        12 dropped_events_count: u32,
        /// How many links the sender dropped.
        14 dropped_links_count: u32,
        /// Outcome of the operation.
        15 status: Status<'a>,
        /// W3C trace flags in the low byte.
        16 flags: u32,
        repeated /// Attributes.
        9 attributes: KeyValue<'a>,
        repeated /// Events.
        11 events: Event<'a>,
        repeated /// Links to other spans.
        13 links: Link<'a>,
    }
}

view! {
    /// Something that happened during a span.
    Event<'a> {
        /// Nanoseconds since the epoch.
        1 time_unix_nano: u64,
        /// Its name.
        2 name: &'a [u8],
        /// How many attributes the sender dropped.
        4 dropped_attributes_count: u32,
        repeated /// Attributes.
        3 attributes: KeyValue<'a>,
    }
}

view! {
    /// A reference from a span to another span.
    Link<'a> {
        /// 16 bytes, or none.
        1 trace_id: &'a [u8],
        /// 8 bytes, or none.
        2 span_id: &'a [u8],
        /// W3C tracestate.
        3 trace_state: &'a [u8],
        /// How many attributes the sender dropped.
        5 dropped_attributes_count: u32,
        /// W3C trace flags in the low byte.
        6 flags: u32,
        repeated /// Attributes.
        4 attributes: KeyValue<'a>,
    }
}

view! {
    /// Outcome of a span.
    Status<'a> {
        /// Error message for developers.
        2 message: &'a [u8],
        /// 0 unset, 1 ok, 2 error.
        3 code: i32,
    }
}
