//! A span and a process, and their mapping by the rules of the Go translator. Knows no encoding.

use std::ops::Range;

use otelcore_pdata::build::{ResourceWriter, SpanWriter};

use super::attributes::{Tag, TagMeanings, TagValue, unique};

/// A reference that makes its span the parent.
pub(crate) const CHILD_OF: i32 = 0;
/// A reference to a span that is not waited for.
pub(crate) const FOLLOWS_FROM: i32 = 1;

const EVENT_NAME: &[u8] = b"event";
const SERVICE_NAME: &[u8] = b"service.name";
/// A tag of a process, and the attribute that it becomes.
const HOST_NAME: (&[u8], &[u8]) = (b"hostname", b"host.name");
const JAEGER_VERSION: (&[u8], &[u8]) = (b"jaeger.version", b"opencensus.exporterversion");

/// A reference to another span.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reference {
    pub(crate) trace_id: u128,
    pub(crate) span_id: u64,
    /// [`CHILD_OF`], [`FOLLOWS_FROM`], or a number that means nothing.
    pub(crate) kind: i32,
}

/// Something that happened. Nanoseconds since the epoch.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) time: u64,
    /// Its fields among [`Span::log_fields`].
    pub(crate) fields: Range<usize>,
}

/// A span. Times are nanoseconds since the epoch, and overflow as in Go.
#[derive(Default, Debug)]
pub(crate) struct Span<'a> {
    pub(crate) trace_id: u128,
    pub(crate) id: u64,
    /// Zero: the references say it.
    pub(crate) parent_id: u64,
    pub(crate) name: &'a [u8],
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) references: Vec<Reference>,
    pub(crate) tags: Vec<Tag<'a>>,
    pub(crate) logs: Vec<Log>,
    pub(crate) log_fields: Vec<Tag<'a>>,
    /// Something in it is not the default of its field. A span without anything is left out.
    pub(crate) has_content: bool,
    /// The tag `w3c.tracestate` is the trace state.
    pub(crate) has_trace_state: bool,
}

impl Span<'_> {
    /// Makes it empty, and keeps its memory.
    pub(crate) fn clear(&mut self) {
        let (mut references, mut tags) = (std::mem::take(&mut self.references), std::mem::take(&mut self.tags));
        let (mut logs, mut log_fields) = (std::mem::take(&mut self.logs), std::mem::take(&mut self.log_fields));
        references.clear();
        tags.clear();
        logs.clear();
        log_fields.clear();
        *self = Self { references, tags, logs, log_fields, ..Self::default() };
    }

    fn parent(&self) -> u64 {
        if self.parent_id != 0 {
            return self.parent_id;
        }
        let of_kind = |kind| self.references.iter().find(|r| r.trace_id == self.trace_id && r.kind == kind);
        of_kind(CHILD_OF).or_else(|| of_kind(FOLLOWS_FROM)).map_or(0, |reference| reference.span_id)
    }

    /// Writes it. Its tags and the fields of its logs are made unique on the way.
    pub(crate) fn write(&mut self, span: &mut SpanWriter<'_>) {
        if self.trace_id != 0 {
            span.trace_id(&self.trace_id.to_be_bytes());
        }
        if self.id != 0 {
            span.span_id(&self.id.to_be_bytes());
        }
        let parent = self.parent();
        if parent != 0 {
            span.parent_span_id(&parent.to_be_bytes());
        }
        span.name(self.name).start_time_unix_nano(self.start).end_time_unix_nano(self.end);
        let tags = unique(&mut self.tags);
        let meanings = TagMeanings::new(tags, self.has_trace_state);
        span.kind(meanings.kind).trace_state(&meanings.trace_state);
        if let Some((code, message)) = &meanings.status {
            span.status().code(*code).message(message);
        }
        let mut attributes = span.attributes();
        for tag in tags.iter().filter(|tag| meanings.is_attribute(tag.key)) {
            tag.write(&mut attributes);
        }
        for Log { time, fields } in &self.logs {
            let mut event = span.event();
            event.time_unix_nano(*time);
            let fields = unique(self.log_fields.get_mut(fields.clone()).unwrap_or_default());
            if let Some(name) = fields.iter().find(|field| field.key == EVENT_NAME) {
                event.name(&name.value.text());
            }
            let mut attributes = event.attributes();
            for field in fields.iter().filter(|field| field.key != EVENT_NAME) {
                field.write(&mut attributes);
            }
        }
        for reference in &self.references {
            if reference.span_id == parent && reference.kind == CHILD_OF {
                continue;
            }
            let mut link = span.link();
            if reference.trace_id != 0 {
                link.trace_id(&reference.trace_id.to_be_bytes());
            }
            if reference.span_id != 0 {
                link.span_id(&reference.span_id.to_be_bytes());
            }
            let kind: &[u8] = if reference.kind == CHILD_OF { b"child_of" } else { b"follows_from" };
            link.attributes().string(b"opentracing.ref_type", kind);
        }
    }
}

/// What sends spans.
#[derive(Default, Debug)]
pub(crate) struct Process<'a> {
    pub(crate) service_name: &'a [u8],
    pub(crate) tags: Vec<Tag<'a>>,
}

impl Process<'_> {
    /// Writes it as a resource.
    pub(crate) fn write(&self, resource: &mut ResourceWriter<'_>) {
        let mut tags = Vec::with_capacity(self.tags.len() + 1);
        if !self.service_name.is_empty() {
            tags.push(Tag { key: SERVICE_NAME, value: TagValue::Text(self.service_name) });
        }
        tags.extend_from_slice(&self.tags);
        let tags = unique(&mut tags);
        // The tag, if the attribute is not there too.
        let renamed = |(tag, attribute): (&[u8], &[u8])| {
            let has_attribute = tags.iter().any(|found| found.key == attribute);
            tags.iter().find(|found| found.key == tag && !has_attribute)
        };
        let (host_name, version) = (renamed(HOST_NAME), renamed(JAEGER_VERSION));
        let mut attributes = resource.attributes();
        for tag in tags {
            if [host_name, version].iter().flatten().all(|renamed| renamed.key != tag.key) {
                tag.write(&mut attributes);
            }
        }
        if let Some(tag) = host_name {
            tag.write_as(HOST_NAME.1, &mut attributes);
        }
        if let Some(tag) = version {
            attributes.string(JAEGER_VERSION.1, &[b"Jaeger-", &*tag.value.text()].concat());
        }
    }
}
