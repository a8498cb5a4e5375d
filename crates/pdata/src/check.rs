//! The only validation of a body, to full depth.
//!
//! Checks tags, wire types, lengths, id sizes and nesting, and counts items. It does not check UTF-8: the Go collector
//! forwards invalid UTF-8. A body that is accepted here is never rejected later. Unknown fields are legal and kept.
//! Field numbers: opentelemetry-proto v1 (`trace.proto`, `metrics.proto`, `logs.proto`, `common.proto`,
//! `resource.proto`).

use crate::{Signal, wire};

/// The result of the check of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Spans, data points or log records.
    pub items: u32,
    /// `Resource*` entries.
    pub resources: u32,
    /// Whether there is a field 1000: the scopes in OTLP before 0.15, see [`crate::admit`].
    pub legacy: bool,
}

/// Why a body is not OTLP. The sender is at fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed {
    /// Byte offset into the body.
    pub offset: usize,
    /// The message type that was being read.
    pub message: &'static str,
    /// The fault; its text is that of the Go codec where the Go codec has one.
    pub why: Fault,
}

/// The kinds of fault in [`Malformed`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
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

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.why {
            Fault::UnexpectedEof => write!(f, "unexpected EOF")?,
            Fault::Overflow => write!(f, "proto: integer overflow")?,
            Fault::IllegalTag => write!(f, "proto: illegal tag 0")?,
            Fault::WireType { field, found } => write!(f, "proto: wrong wireType = {found} for field {field}")?,
            Fault::TraceIdLength => write!(f, "unmarshal: invalid TraceID length")?,
            Fault::SpanIdLength => write!(f, "unmarshal: invalid SpanID length")?,
            Fault::Nesting => write!(f, "proto: values nested more than {MAX_NESTING} deep")?,
        }
        write!(f, " (in {} at byte {})", self.message, self.offset)
    }
}

impl std::error::Error for Malformed {}

/// How deep `AnyValue`s may nest; the Go collector's limit.
pub const MAX_NESTING: u8 = 100;

/// Checks `body`, an `Export*ServiceRequest` of `signal`.
///
/// # Errors
/// The first fault, with its position.
pub fn check(signal: Signal, body: &[u8]) -> Result<Summary, Malformed> {
    let mut walk = Walk { base: body.as_ptr() as usize, items: 0, resources: 0, legacy: false };
    walk.message(root(signal), body, 0)?;
    Ok(Summary { items: walk.items, resources: walk.resources, legacy: walk.legacy })
}

/// The request message of a signal.
pub(crate) fn root(signal: Signal) -> &'static Message {
    match signal {
        Signal::Traces => &TRACES,
        Signal::Metrics => &METRICS,
        Signal::Logs => &LOGS,
    }
}

/// The type of a field.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
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
    Message(&'static Message),
    /// A message that counts as an item.
    Item(&'static Message),
    /// A top-level entry.
    Entry(&'static Message),
    /// A value inside a value.
    Nested(&'static Message),
}

pub(crate) struct Message {
    name: &'static str,
    /// Indexed by field number.
    pub(crate) fields: &'static [Kind],
}

use Kind::{Bytes, Entry, Fixed32, Fixed64, Fixed64s, Item, Message as Msg, Nested, SpanId, TraceId, Unknown, Varint};

static TRACES: Message = Message { name: "ExportTraceServiceRequest", fields: &[Unknown, Entry(&RESOURCE_SPANS)] };
static RESOURCE_SPANS: Message =
    Message { name: "ResourceSpans", fields: &[Unknown, Msg(&RESOURCE), Msg(&SCOPE_SPANS), Bytes] };
static SCOPE_SPANS: Message = Message { name: "ScopeSpans", fields: &[Unknown, Msg(&SCOPE), Item(&SPAN), Bytes] };
static SPAN: Message = Message {
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
static EVENT: Message = Message { name: "Span.Event", fields: &[Unknown, Fixed64, Bytes, Msg(&KEY_VALUE), Varint] };
static LINK: Message =
    Message { name: "Span.Link", fields: &[Unknown, TraceId, SpanId, Bytes, Msg(&KEY_VALUE), Varint, Fixed32] };
static STATUS: Message = Message { name: "Status", fields: &[Unknown, Unknown, Bytes, Varint] };

static METRICS: Message = Message { name: "ExportMetricsServiceRequest", fields: &[Unknown, Entry(&RESOURCE_METRICS)] };
static RESOURCE_METRICS: Message =
    Message { name: "ResourceMetrics", fields: &[Unknown, Msg(&RESOURCE), Msg(&SCOPE_METRICS), Bytes] };
static SCOPE_METRICS: Message = Message { name: "ScopeMetrics", fields: &[Unknown, Msg(&SCOPE), Msg(&METRIC), Bytes] };
static METRIC: Message = Message {
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
static GAUGE: Message = Message { name: "Gauge", fields: &[Unknown, Item(&NUMBER_POINT)] };
static SUM: Message = Message { name: "Sum", fields: &[Unknown, Item(&NUMBER_POINT), Varint, Varint] };
static HISTOGRAM: Message = Message { name: "Histogram", fields: &[Unknown, Item(&HISTOGRAM_POINT), Varint] };
static EXPONENTIAL_HISTOGRAM: Message =
    Message { name: "ExponentialHistogram", fields: &[Unknown, Item(&EXPONENTIAL_POINT), Varint] };
static SUMMARY: Message = Message { name: "Summary", fields: &[Unknown, Item(&SUMMARY_POINT)] };
static NUMBER_POINT: Message = Message {
    name: "NumberDataPoint",
    fields: &[Unknown, Unknown, Fixed64, Fixed64, Fixed64, Msg(&EXEMPLAR), Fixed64, Msg(&KEY_VALUE), Varint],
};
static HISTOGRAM_POINT: Message = Message {
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
static EXPONENTIAL_POINT: Message = Message {
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
static BUCKETS: Message = Message { name: "Buckets", fields: &[Unknown, Varint, Kind::Varints] };
static SUMMARY_POINT: Message = Message {
    name: "SummaryDataPoint",
    fields: &[Unknown, Unknown, Fixed64, Fixed64, Fixed64, Fixed64, Msg(&VALUE_AT_QUANTILE), Msg(&KEY_VALUE), Varint],
};
static VALUE_AT_QUANTILE: Message = Message { name: "ValueAtQuantile", fields: &[Unknown, Fixed64, Fixed64] };
static EXEMPLAR: Message = Message {
    name: "Exemplar",
    fields: &[Unknown, Unknown, Fixed64, Fixed64, SpanId, TraceId, Fixed64, Msg(&KEY_VALUE)],
};

static LOGS: Message = Message { name: "ExportLogsServiceRequest", fields: &[Unknown, Entry(&RESOURCE_LOGS)] };
static RESOURCE_LOGS: Message =
    Message { name: "ResourceLogs", fields: &[Unknown, Msg(&RESOURCE), Msg(&SCOPE_LOGS), Bytes] };
static SCOPE_LOGS: Message = Message { name: "ScopeLogs", fields: &[Unknown, Msg(&SCOPE), Item(&LOG_RECORD), Bytes] };
static LOG_RECORD: Message = Message {
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

static RESOURCE: Message = Message { name: "Resource", fields: &[Unknown, Msg(&KEY_VALUE), Varint, Msg(&ENTITY_REF)] };
static ENTITY_REF: Message = Message { name: "EntityRef", fields: &[Unknown, Bytes, Bytes, Bytes, Bytes] };
static SCOPE: Message =
    Message { name: "InstrumentationScope", fields: &[Unknown, Bytes, Bytes, Msg(&KEY_VALUE), Varint] };
static KEY_VALUE: Message = Message { name: "KeyValue", fields: &[Unknown, Bytes, Nested(&ANY_VALUE)] };
pub(crate) static ANY_VALUE: Message = Message {
    name: "AnyValue",
    fields: &[Unknown, Bytes, Varint, Varint, Fixed64, Msg(&ARRAY_VALUE), Msg(&KEY_VALUE_LIST), Bytes],
};
static ARRAY_VALUE: Message = Message { name: "ArrayValue", fields: &[Unknown, Nested(&ANY_VALUE)] };
static KEY_VALUE_LIST: Message = Message { name: "KeyValueList", fields: &[Unknown, Msg(&KEY_VALUE)] };

struct Walk {
    /// Address of the body's first byte, for positions in errors.
    base: usize,
    items: u32,
    resources: u32,
    legacy: bool,
}

/// The field number of scopes before OTLP 0.15, when they were called instrumentation libraries.
pub(crate) const LEGACY_SCOPES: u32 = 1000;

impl Walk {
    fn message(&mut self, message: &'static Message, buf: &[u8], depth: u8) -> Result<(), Malformed> {
        let mut rest = buf;
        while !rest.is_empty() {
            let at = rest;
            let fault = |why| self.fault(message, at, why);
            let (tag, after) = wire::varint(rest).ok_or_else(|| fault(varint_fault(rest)))?;
            let found = (tag & 7) as u8;
            let Some(number) = u32::try_from(tag >> 3).ok().filter(|n| (1..1 << 29).contains(n)) else {
                return Err(fault(Fault::IllegalTag));
            };
            let kind = message.fields.get(number as usize).copied().unwrap_or(Unknown);
            let wrong = || fault(Fault::WireType { field: number, found });
            rest = match found {
                0 => {
                    if !matches!(kind, Varint | Kind::Varints | Unknown) {
                        return Err(wrong());
                    }
                    wire::varint(after).ok_or_else(|| fault(varint_fault(after)))?.1
                }
                1 => {
                    if !matches!(kind, Fixed64 | Fixed64s | Unknown) {
                        return Err(wrong());
                    }
                    after.get(8..).ok_or_else(|| fault(Fault::UnexpectedEof))?
                }
                2 => {
                    let (len, after) = wire::varint(after).ok_or_else(|| fault(varint_fault(after)))?;
                    let cut = usize::try_from(len).ok().and_then(|len| after.split_at_checked(len));
                    let (content, after) = cut.ok_or_else(|| fault(Fault::UnexpectedEof))?;
                    self.delimited(message, number, kind, content, depth)?;
                    match kind {
                        // Attributes follow one another, most of them in the same form.
                        Msg(inner) if std::ptr::eq(inner, &raw const KEY_VALUE) => plain_attributes(at, after),
                        _ => after,
                    }
                }
                5 => {
                    if !matches!(kind, Fixed32 | Unknown) {
                        return Err(wrong());
                    }
                    after.get(4..).ok_or_else(|| fault(Fault::UnexpectedEof))?
                }
                _ => return Err(wrong()),
            };
        }
        Ok(())
    }

    #[inline]
    fn delimited(
        &mut self,
        message: &'static Message,
        field: u32,
        kind: Kind,
        content: &[u8],
        depth: u8,
    ) -> Result<(), Malformed> {
        match kind {
            Bytes => Ok(()),
            Unknown => {
                self.legacy |= field == LEGACY_SCOPES;
                Ok(())
            }
            // Nearly every attribute is a key and a string, which are valid if their lengths are valid.
            Msg(inner) if std::ptr::eq(inner, &raw const KEY_VALUE) && wire::plain_attribute(content).is_some() => {
                if depth >= MAX_NESTING {
                    Err(self.fault(message, content, Fault::Nesting))
                } else {
                    Ok(())
                }
            }
            Msg(inner) => self.message(inner, content, depth),
            Nested(_) if depth >= MAX_NESTING => Err(self.fault(message, content, Fault::Nesting)),
            Nested(inner) => self.message(inner, content, depth + 1),
            Item(inner) => {
                self.items = self.items.saturating_add(1);
                self.message(inner, content, depth)
            }
            Entry(inner) => {
                self.resources = self.resources.saturating_add(1);
                self.message(inner, content, depth)
            }
            TraceId if matches!(content.len(), 0 | 16) => Ok(()),
            TraceId => Err(self.fault(message, content, Fault::TraceIdLength)),
            SpanId if matches!(content.len(), 0 | 8) => Ok(()),
            SpanId => Err(self.fault(message, content, Fault::SpanIdLength)),
            Fixed64s if content.len().is_multiple_of(8) => Ok(()),
            Fixed64s => Err(self.fault(message, content, Fault::UnexpectedEof)),
            Kind::Varints => {
                let mut rest = content;
                while !rest.is_empty() {
                    rest = wire::varint(rest).ok_or_else(|| self.fault(message, rest, varint_fault(rest)))?.1;
                }
                Ok(())
            }
            Varint | Fixed64 | Fixed32 => Err(self.fault(message, content, Fault::WireType { field, found: 2 })),
        }
    }

    #[cold]
    fn fault(&self, message: &'static Message, at: &[u8], why: Fault) -> Malformed {
        Malformed { offset: (at.as_ptr() as usize).wrapping_sub(self.base), message: message.name, why }
    }
}

/// Skips attributes of the most common form after one that has just been checked; `before` begins with the tag of that
/// one.
#[inline]
fn plain_attributes<'a>(before: &[u8], mut rest: &'a [u8]) -> &'a [u8] {
    let Some(tag) = before.first().filter(|tag| **tag < 0x80) else { return rest };
    while let [next, len @ 1..0x80, after @ ..] = rest
        && next == tag
        && let Some((content, after)) = after.split_at_checked(usize::from(*len))
        && wire::plain_attribute(content).is_some()
    {
        rest = after;
    }
    rest
}

/// Why a varint is unreadable: it is truncated, or it is too long.
#[cold]
fn varint_fault(buf: &[u8]) -> Fault {
    if buf.iter().take(10).all(|b| *b >= 0x80) && buf.len() < 10 { Fault::UnexpectedEof } else { Fault::Overflow }
}
