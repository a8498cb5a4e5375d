//! The only validation of a body, to full depth.
//!
//! Checks tags, wire types, lengths, id sizes and nesting, and counts items. It does not check UTF-8: the Go collector
//! forwards invalid UTF-8. A body that is accepted here is never rejected later. Unknown fields are legal and kept.
//! Field numbers: opentelemetry-proto v1 (`trace.proto`, `metrics.proto`, `logs.proto`, `common.proto`,
//! `resource.proto`).

use crate::{Signal, wire_format};

/// The result of the check of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CheckSummary {
    /// Spans, data points or log records.
    pub items: u32,
    /// `Resource*` entries.
    pub resources: u32,
    /// Whether there is a field 1000: the scopes in OTLP before 0.15, see [`crate::checked_rope`].
    pub has_legacy_scopes: bool,
}

/// Why a body is not OTLP. The sender sent it so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MalformedBody {
    /// Byte offset into the body.
    pub offset: usize,
    /// The message type that was being read.
    pub message: &'static str,
    /// The kind of the error; its text is that of the Go codec where the Go codec has one.
    pub kind: MalformedBodyKind,
}

/// The kinds of [`MalformedBody`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MalformedBodyKind {
    /// The bytes end inside a field.
    UnexpectedEof,
    /// A varint of more than ten bytes.
    Overflow,
    /// Field number zero or above 2^29-1.
    IllegalTag,
    /// A known field with another wire type, or a group.
    WireType {
        /// The field's number.
        field: u32,
        /// The wire type in the tag.
        found: u8,
    },
    /// A trace id that is neither empty nor 16 bytes.
    TraceIdLength,
    /// A span id that is neither empty nor 8 bytes.
    SpanIdLength,
    /// Values nested more than [`MAX_NESTING`] deep.
    Nesting,
}

impl std::fmt::Display for MalformedBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            MalformedBodyKind::UnexpectedEof => write!(f, "unexpected EOF")?,
            MalformedBodyKind::Overflow => write!(f, "proto: integer overflow")?,
            MalformedBodyKind::IllegalTag => write!(f, "proto: illegal tag 0")?,
            MalformedBodyKind::WireType { field, found } => {
                write!(f, "proto: wrong wireType = {found} for field {field}")?
            }
            MalformedBodyKind::TraceIdLength => write!(f, "unmarshal: invalid TraceID length")?,
            MalformedBodyKind::SpanIdLength => write!(f, "unmarshal: invalid SpanID length")?,
            MalformedBodyKind::Nesting => write!(f, "proto: values nested more than {MAX_NESTING} deep")?,
        }
        write!(f, " (in {} at byte {})", self.message, self.offset)
    }
}

impl std::error::Error for MalformedBody {}

/// How deep `AnyValue`s may nest; the Go collector's limit.
pub const MAX_NESTING: u8 = 100;

/// Checks `body`, an `Export*ServiceRequest` of `signal`.
///
/// # Errors
/// The first error, with its position.
pub fn check(signal: Signal, body: &[u8]) -> Result<CheckSummary, MalformedBody> {
    let mut checker =
        BodyChecker { body_address: body.as_ptr() as usize, items: 0, resources: 0, has_legacy_scopes: false };
    checker.check_message(request_message(signal), body, 0)?;
    Ok(CheckSummary {
        items: checker.items,
        resources: checker.resources,
        has_legacy_scopes: checker.has_legacy_scopes,
    })
}

/// The request message of a signal.
pub(crate) fn request_message(signal: Signal) -> &'static MessageType {
    match signal {
        Signal::Traces => &TRACES,
        Signal::Metrics => &METRICS,
        Signal::Logs => &LOGS,
    }
}

/// The type of a field.
#[derive(Clone, Copy)]
pub(crate) enum FieldType {
    /// Not defined here: any wire type except groups.
    Unknown,
    Varint,
    Fixed64,
    Fixed32,
    /// Text, except `AnyValue.bytes_value`.
    Bytes,
    TraceId,
    SpanId,
    /// `repeated fixed64` or `double`, packed or not.
    Fixed64s,
    /// `repeated uint64`, packed or not.
    Varints,
    Message(&'static MessageType),
    /// A message that counts as an item.
    Item(&'static MessageType),
    /// A top-level entry.
    Entry(&'static MessageType),
    /// A value inside a value.
    Nested(&'static MessageType),
}

pub(crate) struct MessageType {
    name: &'static str,
    /// Indexed by field number.
    pub(crate) fields: &'static [FieldType],
}

use FieldType::{
    Bytes, Entry, Fixed32, Fixed64, Fixed64s, Item, Message as Msg, Nested, SpanId, TraceId, Unknown, Varint,
};

static TRACES: MessageType =
    MessageType { name: "ExportTraceServiceRequest", fields: &[Unknown, Entry(&RESOURCE_SPANS)] };
static RESOURCE_SPANS: MessageType =
    MessageType { name: "ResourceSpans", fields: &[Unknown, Msg(&RESOURCE), Msg(&SCOPE_SPANS), Bytes] };
static SCOPE_SPANS: MessageType =
    MessageType { name: "ScopeSpans", fields: &[Unknown, Msg(&SCOPE), Item(&SPAN), Bytes] };
static SPAN: MessageType = MessageType {
    name: "Span",
    fields: &[
        Unknown,
        TraceId,
        SpanId,
        Bytes,
        SpanId,
        Bytes,
        Varint,
        Fixed64,
        Fixed64,
        Msg(&KEY_VALUE),
        Varint,
        Msg(&EVENT),
        Varint,
        Msg(&LINK),
        Varint,
        Msg(&STATUS),
        Fixed32,
    ],
};
static EVENT: MessageType =
    MessageType { name: "Span.Event", fields: &[Unknown, Fixed64, Bytes, Msg(&KEY_VALUE), Varint] };
static LINK: MessageType =
    MessageType { name: "Span.Link", fields: &[Unknown, TraceId, SpanId, Bytes, Msg(&KEY_VALUE), Varint, Fixed32] };
static STATUS: MessageType = MessageType { name: "Status", fields: &[Unknown, Unknown, Bytes, Varint] };

static METRICS: MessageType =
    MessageType { name: "ExportMetricsServiceRequest", fields: &[Unknown, Entry(&RESOURCE_METRICS)] };
static RESOURCE_METRICS: MessageType =
    MessageType { name: "ResourceMetrics", fields: &[Unknown, Msg(&RESOURCE), Msg(&SCOPE_METRICS), Bytes] };
static SCOPE_METRICS: MessageType =
    MessageType { name: "ScopeMetrics", fields: &[Unknown, Msg(&SCOPE), Msg(&METRIC), Bytes] };
static METRIC: MessageType = MessageType {
    name: "Metric",
    fields: &[
        Unknown,
        Bytes,
        Bytes,
        Bytes,
        Unknown,
        Msg(&GAUGE),
        Unknown,
        Msg(&SUM),
        Unknown,
        Msg(&HISTOGRAM),
        Msg(&EXPONENTIAL_HISTOGRAM),
        Msg(&SUMMARY),
        Msg(&KEY_VALUE),
    ],
};
static GAUGE: MessageType = MessageType { name: "Gauge", fields: &[Unknown, Item(&NUMBER_POINT)] };
static SUM: MessageType = MessageType { name: "Sum", fields: &[Unknown, Item(&NUMBER_POINT), Varint, Varint] };
static HISTOGRAM: MessageType = MessageType { name: "Histogram", fields: &[Unknown, Item(&HISTOGRAM_POINT), Varint] };
static EXPONENTIAL_HISTOGRAM: MessageType =
    MessageType { name: "ExponentialHistogram", fields: &[Unknown, Item(&EXPONENTIAL_POINT), Varint] };
static SUMMARY: MessageType = MessageType { name: "Summary", fields: &[Unknown, Item(&SUMMARY_POINT)] };
static NUMBER_POINT: MessageType = MessageType {
    name: "NumberDataPoint",
    fields: &[Unknown, Unknown, Fixed64, Fixed64, Fixed64, Msg(&EXEMPLAR), Fixed64, Msg(&KEY_VALUE), Varint],
};
static HISTOGRAM_POINT: MessageType = MessageType {
    name: "HistogramDataPoint",
    fields: &[
        Unknown,
        Unknown,
        Fixed64,
        Fixed64,
        Fixed64,
        Fixed64,
        Fixed64s,
        Fixed64s,
        Msg(&EXEMPLAR),
        Msg(&KEY_VALUE),
        Varint,
        Fixed64,
        Fixed64,
    ],
};
static EXPONENTIAL_POINT: MessageType = MessageType {
    name: "ExponentialHistogramDataPoint",
    fields: &[
        Unknown,
        Msg(&KEY_VALUE),
        Fixed64,
        Fixed64,
        Fixed64,
        Fixed64,
        Varint,
        Fixed64,
        Msg(&BUCKETS),
        Msg(&BUCKETS),
        Varint,
        Msg(&EXEMPLAR),
        Fixed64,
        Fixed64,
        Fixed64,
    ],
};
static BUCKETS: MessageType = MessageType { name: "Buckets", fields: &[Unknown, Varint, FieldType::Varints] };
static SUMMARY_POINT: MessageType = MessageType {
    name: "SummaryDataPoint",
    fields: &[Unknown, Unknown, Fixed64, Fixed64, Fixed64, Fixed64, Msg(&VALUE_AT_QUANTILE), Msg(&KEY_VALUE), Varint],
};
static VALUE_AT_QUANTILE: MessageType = MessageType { name: "ValueAtQuantile", fields: &[Unknown, Fixed64, Fixed64] };
static EXEMPLAR: MessageType = MessageType {
    name: "Exemplar",
    fields: &[Unknown, Unknown, Fixed64, Fixed64, SpanId, TraceId, Fixed64, Msg(&KEY_VALUE)],
};

static LOGS: MessageType = MessageType { name: "ExportLogsServiceRequest", fields: &[Unknown, Entry(&RESOURCE_LOGS)] };
static RESOURCE_LOGS: MessageType =
    MessageType { name: "ResourceLogs", fields: &[Unknown, Msg(&RESOURCE), Msg(&SCOPE_LOGS), Bytes] };
static SCOPE_LOGS: MessageType =
    MessageType { name: "ScopeLogs", fields: &[Unknown, Msg(&SCOPE), Item(&LOG_RECORD), Bytes] };
static LOG_RECORD: MessageType = MessageType {
    name: "LogRecord",
    fields: &[
        Unknown,
        Fixed64,
        Varint,
        Bytes,
        Unknown,
        Msg(&ANY_VALUE),
        Msg(&KEY_VALUE),
        Varint,
        Fixed32,
        TraceId,
        SpanId,
        Fixed64,
        Bytes,
    ],
};

static RESOURCE: MessageType =
    MessageType { name: "Resource", fields: &[Unknown, Msg(&KEY_VALUE), Varint, Msg(&ENTITY_REF)] };
static ENTITY_REF: MessageType = MessageType { name: "EntityRef", fields: &[Unknown, Bytes, Bytes, Bytes, Bytes] };
static SCOPE: MessageType =
    MessageType { name: "InstrumentationScope", fields: &[Unknown, Bytes, Bytes, Msg(&KEY_VALUE), Varint] };
static KEY_VALUE: MessageType = MessageType { name: "KeyValue", fields: &[Unknown, Bytes, Nested(&ANY_VALUE)] };
pub(crate) static ANY_VALUE: MessageType = MessageType {
    name: "AnyValue",
    fields: &[Unknown, Bytes, Varint, Varint, Fixed64, Msg(&ARRAY_VALUE), Msg(&KEY_VALUE_LIST), Bytes],
};
static ARRAY_VALUE: MessageType = MessageType { name: "ArrayValue", fields: &[Unknown, Nested(&ANY_VALUE)] };
static KEY_VALUE_LIST: MessageType = MessageType { name: "KeyValueList", fields: &[Unknown, Msg(&KEY_VALUE)] };

struct BodyChecker {
    /// Address of the body's first byte, for positions in errors.
    body_address: usize,
    items: u32,
    resources: u32,
    has_legacy_scopes: bool,
}

/// The field number of scopes before OTLP 0.15, when they were called instrumentation libraries.
pub(crate) const LEGACY_SCOPES: u32 = 1000;

impl BodyChecker {
    fn check_message(&mut self, message: &'static MessageType, buf: &[u8], depth: u8) -> Result<(), MalformedBody> {
        let mut rest = buf;
        while !rest.is_empty() {
            let at = rest;
            let error = |kind| self.error(message, at, kind);
            let (tag, after) = wire_format::read_varint(rest).ok_or_else(|| error(varint_error_kind(rest)))?;
            let found = (tag & 7) as u8;
            let Some(number) = u32::try_from(tag >> 3).ok().filter(|n| (1..1 << 29).contains(n)) else {
                return Err(error(MalformedBodyKind::IllegalTag));
            };
            let kind = message.fields.get(number as usize).copied().unwrap_or(Unknown);
            let wrong_wire_type = || error(MalformedBodyKind::WireType { field: number, found });
            rest = match found {
                0 => {
                    if !matches!(kind, Varint | FieldType::Varints | Unknown) {
                        return Err(wrong_wire_type());
                    }
                    wire_format::read_varint(after).ok_or_else(|| error(varint_error_kind(after)))?.1
                }
                1 => {
                    if !matches!(kind, Fixed64 | Fixed64s | Unknown) {
                        return Err(wrong_wire_type());
                    }
                    after.get(8..).ok_or_else(|| error(MalformedBodyKind::UnexpectedEof))?
                }
                2 => {
                    let (len, after) =
                        wire_format::read_varint(after).ok_or_else(|| error(varint_error_kind(after)))?;
                    let cut = usize::try_from(len).ok().and_then(|len| after.split_at_checked(len));
                    let (content, after) = cut.ok_or_else(|| error(MalformedBodyKind::UnexpectedEof))?;
                    self.check_delimited(message, number, kind, content, depth)?;
                    match kind {
                        // Attributes follow one another, most of them in the same form.
                        Msg(inner) if std::ptr::eq(inner, &raw const KEY_VALUE) => {
                            skip_short_string_attributes(at, after)
                        }
                        _ => after,
                    }
                }
                5 => {
                    if !matches!(kind, Fixed32 | Unknown) {
                        return Err(wrong_wire_type());
                    }
                    after.get(4..).ok_or_else(|| error(MalformedBodyKind::UnexpectedEof))?
                }
                _ => return Err(wrong_wire_type()),
            };
        }
        Ok(())
    }

    #[inline]
    fn check_delimited(
        &mut self,
        message: &'static MessageType,
        field: u32,
        kind: FieldType,
        content: &[u8],
        depth: u8,
    ) -> Result<(), MalformedBody> {
        match kind {
            Bytes => Ok(()),
            Unknown => {
                self.has_legacy_scopes |= field == LEGACY_SCOPES;
                Ok(())
            }
            // Nearly every attribute is a key and a string, which are valid if their lengths are valid.
            Msg(inner)
                if std::ptr::eq(inner, &raw const KEY_VALUE)
                    && wire_format::short_string_attribute(content).is_some() =>
            {
                if depth >= MAX_NESTING {
                    Err(self.error(message, content, MalformedBodyKind::Nesting))
                } else {
                    Ok(())
                }
            }
            Msg(inner) => self.check_message(inner, content, depth),
            Nested(_) if depth >= MAX_NESTING => Err(self.error(message, content, MalformedBodyKind::Nesting)),
            Nested(inner) => self.check_message(inner, content, depth + 1),
            Item(inner) => {
                self.items = self.items.saturating_add(1);
                self.check_message(inner, content, depth)
            }
            Entry(inner) => {
                self.resources = self.resources.saturating_add(1);
                self.check_message(inner, content, depth)
            }
            TraceId if matches!(content.len(), 0 | 16) => Ok(()),
            TraceId => Err(self.error(message, content, MalformedBodyKind::TraceIdLength)),
            SpanId if matches!(content.len(), 0 | 8) => Ok(()),
            SpanId => Err(self.error(message, content, MalformedBodyKind::SpanIdLength)),
            Fixed64s if content.len().is_multiple_of(8) => Ok(()),
            Fixed64s => Err(self.error(message, content, MalformedBodyKind::UnexpectedEof)),
            FieldType::Varints => {
                let mut rest = content;
                while !rest.is_empty() {
                    rest = wire_format::read_varint(rest)
                        .ok_or_else(|| self.error(message, rest, varint_error_kind(rest)))?
                        .1;
                }
                Ok(())
            }
            Varint | Fixed64 | Fixed32 => {
                Err(self.error(message, content, MalformedBodyKind::WireType { field, found: 2 }))
            }
        }
    }

    #[cold]
    fn error(&self, message: &'static MessageType, at: &[u8], kind: MalformedBodyKind) -> MalformedBody {
        MalformedBody { offset: (at.as_ptr() as usize).wrapping_sub(self.body_address), message: message.name, kind }
    }
}

/// Skips attributes of the most common form after one that has just been checked; `before` begins with the tag of that
/// one.
#[inline]
fn skip_short_string_attributes<'a>(before: &[u8], mut rest: &'a [u8]) -> &'a [u8] {
    let Some(tag) = before.first().filter(|tag| **tag < 0x80) else { return rest };
    while let [next, len @ 1..0x80, after @ ..] = rest
        && next == tag
        && let Some((content, after)) = after.split_at_checked(usize::from(*len))
        && wire_format::short_string_attribute(content).is_some()
    {
        rest = after;
    }
    rest
}

/// Why a varint is unreadable: it is truncated, or it is too long.
#[cold]
fn varint_error_kind(buf: &[u8]) -> MalformedBodyKind {
    if buf.iter().take(10).all(|b| *b >= 0x80) && buf.len() < 10 {
        MalformedBodyKind::UnexpectedEof
    } else {
        MalformedBodyKind::Overflow
    }
}
