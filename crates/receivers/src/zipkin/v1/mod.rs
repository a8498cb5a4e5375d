//! A span of version 1, and its mapping by the rules of the Go translator.
//!
//! Version 1 has no kind and no local endpoint: they are those of the first annotation that says that a message was
//! sent or received.

pub(crate) mod json;
mod status;
pub(crate) mod thrift;

use std::borrow::Cow;

use otelcore_pdata::build::{ResourceWriter, ScopeWriter, SpanWriter};
use otelcore_pdata::views::AnyValue;

use self::status::StatusSources;
use crate::decode_error::DecodeError;
use crate::span_groups::{Shared, SpanGroups};
use crate::zipkin::text::sort_unique;

/// The name of a service that has none.
const UNKNOWN_SERVICE: &[u8] = b"unknown-service";
/// The key of the component in the process, and the attribute that it becomes.
const LOCAL_COMPONENT: &[u8] = b"lc";
const START_TIME_ABSENT: &[u8] = b"otel.zipkin.absentField.startTime";

/// Where something happened.
#[derive(Clone, Default, Debug)]
pub(crate) struct Endpoint<'a> {
    pub(crate) service_name: Cow<'a, [u8]>,
    pub(crate) ipv4: Cow<'a, [u8]>,
    pub(crate) ipv6: Cow<'a, [u8]>,
    pub(crate) port: i32,
}

/// What happened, and when: microseconds since the epoch.
#[derive(Debug)]
pub(crate) struct Annotation<'a> {
    pub(crate) timestamp: i64,
    pub(crate) value: Cow<'a, [u8]>,
    pub(crate) endpoint: Option<Endpoint<'a>>,
}

/// The value of a binary annotation.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum BinaryValue<'a> {
    Text(Cow<'a, [u8]>),
    Bool(bool),
    Int(i64),
    Double(f64),
}

impl BinaryValue<'_> {
    fn as_value(&self) -> AnyValue<'_> {
        match self {
            Self::Text(text) => AnyValue::String(text),
            Self::Bool(v) => AnyValue::Bool(*v),
            Self::Int(v) => AnyValue::Int(*v),
            Self::Double(v) => AnyValue::Double(*v),
        }
    }
}

/// A tag.
#[derive(Debug)]
pub(crate) struct BinaryAnnotation<'a> {
    pub(crate) key: Cow<'a, [u8]>,
    pub(crate) value: BinaryValue<'a>,
    /// The value as text, for the name of a component.
    pub(crate) raw: Cow<'a, [u8]>,
    /// The name of the service of its endpoint. `None`: it has no endpoint.
    pub(crate) service_name: Option<Cow<'a, [u8]>>,
}

/// A span. Times are microseconds.
#[derive(Debug)]
pub(crate) struct ZipkinSpan<'a> {
    pub(crate) trace_id: [u8; 16],
    pub(crate) id: [u8; 8],
    pub(crate) parent_id: [u8; 8],
    pub(crate) name: Cow<'a, [u8]>,
    /// `None`: the annotations say it.
    pub(crate) timestamp: Option<i64>,
    pub(crate) duration: i64,
    pub(crate) annotations: Vec<Annotation<'a>>,
    pub(crate) binary_annotations: Vec<BinaryAnnotation<'a>>,
    /// A span without a time of its start gets an attribute that says so.
    pub(crate) marks_absent_start: bool,
}

/// The key and the value of an attribute.
type Attribute<'a> = (Cow<'a, [u8]>, BinaryValue<'a>);

/// What the binary annotations of a span say.
struct Tags<'a> {
    attributes: Vec<Attribute<'a>>,
    status: StatusSources<'a>,
    /// The name of a service whose annotations have none: of the last endpoint, or of a component. Empty if there is none.
    service_name: Cow<'a, [u8]>,
}

/// Nanoseconds; zero for a time that is not after the epoch.
fn nanos(micros: i64) -> u64 {
    u64::try_from(micros).unwrap_or(0).wrapping_mul(1000)
}

/// The kind of a span with this annotation, if it says that a message was sent or received.
fn kind_of(annotation: &[u8]) -> Option<i32> {
    match annotation {
        b"sr" | b"ss" => Some(2),
        b"cs" | b"cr" => Some(3),
        b"ms" => Some(4),
        b"mr" => Some(5),
        _ => None,
    }
}

impl<'a> ZipkinSpan<'a> {
    /// Adds it to the spans of its endpoint.
    ///
    /// # Errors
    /// No room.
    pub(crate) fn add_to(mut self, groups: &mut SpanGroups<'_>) -> Result<(), DecodeError> {
        self.annotations.retain(|annotation| !annotation.value.is_empty());
        let mut kind = 0;
        let mut endpoint: Option<Endpoint<'a>> = None;
        for annotation in &mut self.annotations {
            let Some(found) = kind_of(&annotation.value) else { continue };
            if kind == 0 {
                kind = found;
            }
            if endpoint.is_none() {
                endpoint = annotation
                    .endpoint
                    .take()
                    .filter(|endpoint| !endpoint.service_name.is_empty() && &*endpoint.service_name != UNKNOWN_SERVICE);
            }
        }
        let Tags { attributes, status, service_name } = self.take_tags();
        let endpoint = endpoint.unwrap_or_else(|| Endpoint {
            service_name: if service_name.is_empty() { Cow::Borrowed(UNKNOWN_SERVICE) } else { service_name },
            ..Endpoint::default()
        });
        let resource =
            Shared { key: &endpoint.key(), write: |resource: &mut ResourceWriter<'_>| endpoint.write(resource) };
        let scope = Shared { key: &b""[..], write: |_: &mut ScopeWriter<'_>| {} };
        groups.add(resource, scope, |span| {
            span.kind(kind);
            self.write(&attributes, &status, span);
        })?;
        Ok(())
    }

    /// What the binary annotations say.
    fn take_tags(&mut self) -> Tags<'a> {
        let (mut status, mut attributes) = (StatusSources::default(), Vec::new());
        let (mut component, mut service_name) = (Cow::default(), Cow::default());
        for annotation in std::mem::take(&mut self.binary_annotations) {
            if let Some(name) = annotation.service_name {
                service_name = name;
            }
            let key = if *annotation.key == *LOCAL_COMPONENT {
                component = annotation.raw;
                Cow::Borrowed(&b"component"[..])
            } else {
                annotation.key
            };
            if !status.take(&key, &annotation.value) {
                attributes.push((key, annotation.value));
            }
        }
        sort_unique(&mut attributes);
        Tags { attributes, status, service_name: if service_name.is_empty() { component } else { service_name } }
    }

    fn write(&self, attributes: &[Attribute<'_>], status: &StatusSources<'_>, span: &mut SpanWriter<'_>) {
        if self.trace_id != [0; 16] {
            span.trace_id(&self.trace_id);
        }
        if self.id != [0; 8] {
            span.span_id(&self.id);
        }
        if self.parent_id != [0; 8] {
            span.parent_span_id(&self.parent_id);
        }
        span.name(&self.name);
        let (start, end) = self.times();
        span.start_time_unix_nano(start).end_time_unix_nano(end);
        let marks_absent_start = self.marks_absent_start && start == 0;
        let mut writer = span.attributes();
        for (key, value) in attributes {
            if !marks_absent_start || **key != *START_TIME_ABSENT {
                writer.push(key, value.as_value());
            }
        }
        if marks_absent_start {
            writer.bool(START_TIME_ABSENT, true);
        }
        for annotation in &self.annotations {
            if kind_of(&annotation.value).is_none() {
                span.event().time_unix_nano(nanos(annotation.timestamp)).name(&annotation.value);
            }
        }
        if let Some((code, message)) = status.status() {
            span.status().code(code).message(message);
        }
    }

    /// Start and end in nanoseconds: its own, or those of the first and the last annotation.
    fn times(&self) -> (u64, u64) {
        if let Some(timestamp) = self.timestamp {
            return (nanos(timestamp), nanos(timestamp.wrapping_add(self.duration)));
        }
        let times = || self.annotations.iter().map(|annotation| annotation.timestamp);
        // An annotation at the end of time sets nothing, as in Go, which compares with it.
        let first = times().filter(|time| *time < i64::MAX).min();
        let last = times().filter(|time| *time > i64::MIN).max();
        (first.map_or(0, nanos), last.map_or(0, nanos))
    }
}

impl Endpoint<'_> {
    /// Distinguishes it from others, as the key of the Go translator does.
    fn key(&self) -> Vec<u8> {
        let port = self.port.to_string();
        [&*self.service_name, &self.ipv4, &self.ipv6, port.as_bytes()].join(&b'-')
    }

    fn write(&self, resource: &mut ResourceWriter<'_>) {
        let mut attributes = resource.attributes();
        attributes.string(b"service.name", &self.service_name);
        for (key, address) in [(&b"ipv4"[..], &self.ipv4), (b"ipv6", &self.ipv6)] {
            if !address.is_empty() {
                attributes.string(key, address);
            }
        }
        if self.port != 0 {
            attributes.string(b"port", self.port.to_string().as_bytes());
        }
    }
}
