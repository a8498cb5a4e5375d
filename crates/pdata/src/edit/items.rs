//! Spans, their events and links, and log records under edit.

use super::attributes::AttributesMut;
use super::context::{Contexts, contexts, setters};
use super::message::{Message, MessageMut};
use crate::MAX_NESTING;
use crate::schema::{log_record, span};
use crate::value::Value;
use crate::views::{AnyValue, Event, Link, LogRecord, Span, View};
use crate::wire_format::{put_bytes_field, varint_field};

/// What all of them have.
macro_rules! item {
    ($(#[$doc:meta])* $type:ident, $view:ident, attributes $attributes:literal $(, $span:ident)?) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $type<'a> {
            /// What `message` is read from.
            pub(super) source: &'a [u8],
            pub(super) message: &'a mut Message,
            /// What the messages in `cx` are read from.
            pub(super) part: &'a [u8],
            pub(super) cx: &'a mut Contexts,
            $( pub(super) $span: &'a mut Message, )?
        }

        impl $type<'_> {
            fn message(&mut self) -> MessageMut<'_> {
                MessageMut { source: self.source, message: self.message }
            }

            /// The message as it is now.
            #[must_use]
            pub fn view(&self) -> $view<'_> {
                $view::parse(self.message.read(self.source))
            }

            /// The value of one of its attributes.
            #[inline]
            #[must_use]
            pub fn attribute(&self, key: &[u8]) -> Option<AnyValue<'_>> {
                self.message.attribute(self.source, $attributes, key)
            }

            /// Its attributes.
            #[inline]
            pub fn attributes(&mut self) -> AttributesMut<'_> {
                AttributesMut::new(self.message(), $attributes)
            }
        }

        contexts!($type: scope);
    };
}

item! {
    /// One span.
    SpanMut, Span, attributes 9
}

setters!(SpanMut in span {
    /// Sets the trace id; `None` removes it.
    set_trace_id: id16 TRACE_ID,
    /// Sets the span id; `None` removes it.
    set_span_id: id8 SPAN_ID,
    /// Sets the W3C tracestate.
    set_trace_state: text TRACE_STATE,
    /// Sets the parent's span id; `None` makes it a root.
    set_parent_span_id: id8 PARENT_SPAN_ID,
    /// Sets the name.
    set_name: text NAME,
    /// Sets the `SpanKind`.
    set_kind: int32 KIND,
    /// Sets the start, nanoseconds since the epoch.
    set_start_time_unix_nano: fixed64 START_TIME_UNIX_NANO,
    /// Sets the end, nanoseconds since the epoch.
    set_end_time_unix_nano: fixed64 END_TIME_UNIX_NANO,
    /// Sets how many attributes the sender dropped.
    set_dropped_attributes_count: uint32 DROPPED_ATTRIBUTES_COUNT,
    /// Sets how many events the sender dropped.
    set_dropped_events_count: uint32 DROPPED_EVENTS_COUNT,
    /// Sets how many links the sender dropped.
    set_dropped_links_count: uint32 DROPPED_LINKS_COUNT,
    /// Sets the flags.
    set_flags: fixed32 FLAGS,});

impl SpanMut<'_> {
    /// The `SpanKind`; the other fields are not decoded.
    #[must_use]
    pub fn kind(&self) -> i32 {
        // Protobuf keeps the low bits of a varint that is too large for its field.
        varint_field(self.message.read(self.source), span::KIND) as i32
    }

    /// Sets the code of the status: 0 unset, 1 ok, 2 error.
    pub fn set_status_code(&mut self, code: i32) {
        self.message().nested(15, |status| status.uint(3, i64::from(code).cast_unsigned()));
    }

    /// Sets the message of the status.
    pub fn set_status_message(&mut self, message: &[u8]) {
        self.message().nested(15, |status| status.text(2, message));
    }

    /// Removes all events.
    pub fn clear_events(&mut self) {
        self.message().retain(|number, _| number != span::EVENTS);
    }

    /// Removes all links.
    pub fn clear_links(&mut self) {
        self.message().retain(|number, _| number != span::LINKS);
    }

    /// Adds an event at the end: a `Span.Event` message.
    pub fn push_event(&mut self, event: &[u8]) {
        self.message().put(None, |out| put_bytes_field(out, span::EVENTS, event));
    }

    /// Adds a link at the end: a `Span.Link` message.
    pub fn push_link(&mut self, link: &[u8]) {
        self.message().put(None, |out| put_bytes_field(out, span::LINKS, link));
    }

    /// Replaces the whole span: a `Span` message.
    pub fn replace(&mut self, span: &[u8]) {
        self.message().replace(span);
    }
}

item! {
    /// One event of a span.
    EventMut, Event, attributes 3, outer
}

setters!(EventMut in event {
    /// Sets the time, nanoseconds since the epoch.
    set_time_unix_nano: fixed64 TIME_UNIX_NANO,
    /// Sets the name.
    set_name: text NAME,
    /// Sets how many attributes the sender dropped.
    set_dropped_attributes_count: uint32 DROPPED_ATTRIBUTES_COUNT,});

item! {
    /// One link of a span.
    LinkMut, Link, attributes 4, outer
}

setters!(LinkMut in link {
    /// Sets the trace id; `None` removes it.
    set_trace_id: id16 TRACE_ID,
    /// Sets the span id; `None` removes it.
    set_span_id: id8 SPAN_ID,
    /// Sets the W3C tracestate.
    set_trace_state: text TRACE_STATE,
    /// Sets how many attributes the sender dropped.
    set_dropped_attributes_count: uint32 DROPPED_ATTRIBUTES_COUNT,
    /// Sets the flags.
    set_flags: fixed32 FLAGS,});

/// The fields of a span that are not repeated.
const SPAN_FIELDS: &[u32] = &[
    span::TRACE_ID,
    span::SPAN_ID,
    span::TRACE_STATE,
    span::PARENT_SPAN_ID,
    span::NAME,
    span::KIND,
    span::START_TIME_UNIX_NANO,
    span::END_TIME_UNIX_NANO,
    span::DROPPED_ATTRIBUTES_COUNT,
    span::DROPPED_EVENTS_COUNT,
    span::DROPPED_LINKS_COUNT,
    span::STATUS,
    span::FLAGS,
];

/// Access to the span from its events and links.
macro_rules! span_around {
    ($type:ident) => {
        impl $type<'_> {
            /// The span, its events and links as they were before they were visited.
            #[must_use]
            pub fn span(&self) -> Span<'_> {
                Span::parse(self.outer.read(self.source))
            }

            /// The span, of which only fields that are not repeated may be read. However often its events read them, the
            /// span is walked a few times only.
            #[must_use]
            pub fn span_fields(&self) -> Span<'_> {
                Span::parse(self.outer.fields(self.source, SPAN_FIELDS))
            }

            /// The value of one of the span's attributes.
            #[must_use]
            pub fn span_attribute(&self, key: &[u8]) -> Option<AnyValue<'_>> {
                self.outer.attribute(self.source, span::ATTRIBUTES, key)
            }

            /// The span without its events and links. A change takes effect for those that are visited later.
            pub fn span_mut(&mut self) -> SpanMut<'_> {
                SpanMut { source: self.source, message: self.outer, part: self.part, cx: self.cx }
            }
        }
    };
}
span_around!(EventMut);
span_around!(LinkMut);

item! {
    /// One log record.
    LogMut, LogRecord, attributes 6
}

setters!(LogMut in log_record {
    /// Sets the time, nanoseconds since the epoch.
    set_time_unix_nano: fixed64 TIME_UNIX_NANO,
    /// Sets the `SeverityNumber`.
    set_severity_number: int32 SEVERITY_NUMBER,
    /// Sets the severity as the source names it.
    set_severity_text: text SEVERITY_TEXT,
    /// Sets how many attributes the sender dropped.
    set_dropped_attributes_count: uint32 DROPPED_ATTRIBUTES_COUNT,
    /// Sets the flags.
    set_flags: fixed32 FLAGS,
    /// Sets the trace id; `None` removes it.
    set_trace_id: id16 TRACE_ID,
    /// Sets the span id; `None` removes it.
    set_span_id: id8 SPAN_ID,
    /// Sets the time of observation, nanoseconds since the epoch.
    set_observed_time_unix_nano: fixed64 OBSERVED_TIME_UNIX_NANO,
    /// Sets the name of the event, if it is one.
    set_event_name: text EVENT_NAME,});

impl LogMut<'_> {
    /// Sets the body.
    pub fn set_body(&mut self, body: AnyValue<'_>) {
        self.message().message_field(5, body.encoded_len(), |out| body.encode(out));
    }

    /// Decodes the body, has `change` change it, and encodes it again. False: the new body is nested more than
    /// [`MAX_NESTING`] deep, and is not written.
    pub fn update_body(&mut self, change: impl FnOnce(&mut Value)) -> bool {
        let mut body = Value::decode(self.view().body);
        change(&mut body);
        // The body itself is not a value inside a value.
        if body.depth() > MAX_NESTING + 1 {
            return false;
        }
        let mut raw = Vec::new();
        body.encode(&mut raw);
        self.message().message_field(5, raw.len(), |out| out.extend_from_slice(&raw));
        true
    }

    /// Removes the body.
    pub fn clear_body(&mut self) {
        self.message().retain(|number, _| number != log_record::BODY);
    }

    /// Replaces the whole record: a `LogRecord` message.
    pub fn replace(&mut self, record: &[u8]) {
        self.message().replace(record);
    }
}
