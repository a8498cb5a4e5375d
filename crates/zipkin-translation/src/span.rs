//! One OTLP span as a span of Zipkin's model, by the rules of the Go translator. Writes nothing.
//!
//! Tags are the attributes of the resource, the scope and the span, where a later one replaces an earlier one of the
//! same key, and what Zipkin has no field for. Values stay views into the payload until a format writes them.

use std::borrow::Cow;
use std::net::IpAddr;

use otelcore_pdata::text::{put_hex, put_json, put_value};
use otelcore_pdata::views::{AnyValue, Event, KeyValue, Link, Resource, Scope, Span};

/// The name of a service whose resource has none, as the Go translator writes it.
pub const NO_SERVICE_NAME: &str = "OTLPResourceNoServiceName";

/// The names of the attributes that may name a service, in their order.
const SERVICE_NAME_KEYS: [&[u8]; 4] =
    [b"service.name", b"faas.name", b"k8s.deployment.name", b"process.executable.name"];

/// A tag: an attribute, or text that stands for another field of the span.
#[derive(Clone, Debug)]
pub(crate) struct Tag<'a> {
    pub(crate) key: Cow<'a, [u8]>,
    pub(crate) value: TagValue<'a>,
}

#[derive(Clone, Debug)]
pub(crate) enum TagValue<'a> {
    Attribute(AnyValue<'a>),
    Text(Cow<'a, [u8]>),
}

impl<'a> Tag<'a> {
    fn attribute(kv: &KeyValue<'a>) -> Self {
        Self { key: Cow::Borrowed(kv.key), value: TagValue::Attribute(kv.value) }
    }

    fn text(key: &'static str, text: impl Into<Cow<'a, [u8]>>) -> Self {
        Self { key: Cow::Borrowed(key.as_bytes()), value: TagValue::Text(text.into()) }
    }
}

impl<'a> TagValue<'a> {
    /// The value as text; copied only if it is not text already.
    pub(crate) fn as_text(&self) -> Cow<'a, [u8]> {
        match self {
            Self::Attribute(AnyValue::String(text)) => Cow::Borrowed(text),
            Self::Attribute(value) => {
                let mut text = Vec::new();
                put_value(&mut text, *value);
                text.into()
            }
            Self::Text(text) => text.clone(),
        }
    }
}

/// Tags by key, each key once. Built by pushing tags and [`Tags::sort`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Tags<'a> {
    tags: Vec<Tag<'a>>,
}

impl<'a> Tags<'a> {
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Tag<'a>> {
        self.tags.iter()
    }

    /// Sorts by key; of equal keys the one that was pushed last stays.
    fn sort(&mut self) {
        // The order of equal keys is kept, so the last of them is the one to keep.
        self.tags.sort_by(|a, b| a.key.cmp(&b.key));
        let mut kept = 0;
        for i in 0..self.tags.len() {
            if self.tags.get(i + 1).is_some_and(|next| next.key == self.tags[i].key) {
                continue;
            }
            self.tags.swap(kept, i);
            kept += 1;
        }
        self.tags.truncate(kept);
    }

    fn position(&self, key: &[u8]) -> Result<usize, usize> {
        self.tags.binary_search_by(|tag| (*tag.key).cmp(key))
    }

    fn get(&self, key: &str) -> Option<&TagValue<'a>> {
        let at = self.position(key.as_bytes()).ok()?;
        self.tags.get(at).map(|tag| &tag.value)
    }

    fn set(&mut self, tag: Tag<'a>) {
        match self.position(&tag.key) {
            Ok(at) => self.tags[at] = tag,
            Err(at) => self.tags.insert(at, tag),
        }
    }

    fn remove(&mut self, key: &str) -> Option<TagValue<'a>> {
        let at = self.position(key.as_bytes()).ok()?;
        Some(self.tags.remove(at).value)
    }
}

/// The tags and the service name of a resource.
#[derive(Clone, Debug)]
pub(crate) struct ResourceTags<'a> {
    tags: Tags<'a>,
    service_name: Cow<'a, [u8]>,
}

impl<'a> ResourceTags<'a> {
    pub(crate) fn new(resource: &Resource<'a>, default_name: &'a str) -> Self {
        let mut tags = Tags { tags: resource.attributes().map(|kv| Tag::attribute(&kv)).collect() };
        tags.sort();
        // The older name is written, as the Go translator does until its feature gate changes.
        if let Some(id) = tags.remove("cloud.resource_id")
            && tags.get("faas.id").is_none()
        {
            tags.set(Tag { key: Cow::Borrowed(b"faas.id"), value: id });
        }
        let mut service_name = Cow::Borrowed(default_name.as_bytes());
        for key in SERVICE_NAME_KEYS {
            let Ok(at) = tags.position(key) else { continue };
            service_name = tags.tags.remove(at).value.as_text();
            if key != SERVICE_NAME_KEYS[0] {
                tags.set(Tag::text("otlp.service.name.source", key));
            }
            break;
        }
        Self { tags, service_name }
    }

    /// The tags of the spans of a scope, before their own.
    pub(crate) fn with_scope(&self, scope: &Scope<'a>) -> Tags<'a> {
        let mut tags = self.tags.clone();
        tags.tags.extend(scope.attributes().map(|kv| Tag::attribute(&kv)));
        for (key, text) in [("otel.library.name", scope.name), ("otel.library.version", scope.version)] {
            if !text.is_empty() {
                tags.tags.push(Tag::text(key, text));
            }
        }
        tags.sort();
        tags
    }

    pub(crate) fn service_name(&self) -> &Cow<'a, [u8]> {
        &self.service_name
    }
}

/// An endpoint that is not empty.
#[derive(Debug)]
pub(crate) struct Endpoint<'a> {
    pub(crate) service_name: Cow<'a, [u8]>,
    /// The address, and whether it was written with colons.
    pub(crate) address: Option<(IpAddr, bool)>,
    pub(crate) port: u16,
}

impl<'a> Endpoint<'a> {
    /// Takes an endpoint's tags away. `None` if it has neither a name nor an address.
    fn take(tags: &mut Tags<'a>, service_name: Option<Cow<'a, [u8]>>, address: &str, port: &str) -> Option<Self> {
        let address = tags.remove(address).and_then(|value| {
            let text = value.as_text();
            let address = std::str::from_utf8(&text).ok()?.parse().ok()?;
            Some((address, text.contains(&b':')))
        });
        let port = tags.remove(port).map_or(0, |value| parse_port(&value.as_text()));
        let service_name = service_name.unwrap_or_default();
        (!service_name.is_empty() || address.is_some()).then_some(Self { service_name, address, port })
    }
}

/// A number without a sign; the largest port if it is larger, zero if it is no number.
fn parse_port(text: &[u8]) -> u16 {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(u16::MAX)
}

/// A span of Zipkin's model.
#[derive(Debug)]
pub(crate) struct ZipkinSpan<'s, 'a> {
    pub(crate) trace_id: [u8; 16],
    pub(crate) id: [u8; 8],
    pub(crate) parent_id: Option<[u8; 8]>,
    pub(crate) name: &'a [u8],
    pub(crate) kind: Option<Kind>,
    /// Nanoseconds since the epoch.
    pub(crate) timestamp: Option<u64>,
    /// Nanoseconds.
    pub(crate) duration: Option<u64>,
    pub(crate) local_endpoint: Option<Endpoint<'a>>,
    pub(crate) remote_endpoint: Option<Endpoint<'a>>,
    pub(crate) tags: &'s Tags<'a>,
    span: Span<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Client = 1,
    Server = 2,
    Producer = 3,
    Consumer = 4,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Client => "CLIENT",
            Self::Server => "SERVER",
            Self::Producer => "PRODUCER",
            Self::Consumer => "CONSUMER",
        }
    }
}

/// Why a span can't be one of Zipkin's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InvalidSpan {
    TraceId,
    SpanId,
}

impl InvalidSpan {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::TraceId => "TraceID is invalid",
            Self::SpanId => "SpanID is invalid",
        }
    }
}

/// `None` if it has another length or is all zeros.
fn valid_id<const LEN: usize>(id: &[u8]) -> Option<[u8; LEN]> {
    id.try_into().ok().filter(|id: &[u8; LEN]| id.iter().any(|b| *b != 0))
}

/// The last second from which signed nanoseconds can be counted.
const MAX_NANOS: u64 = i64::MAX as u64;

impl<'s, 'a> ZipkinSpan<'s, 'a> {
    /// Maps a span of the scope with `scope_tags`. `tags` is where its tags are collected.
    pub(crate) fn new(
        span: Span<'a>,
        service_name: &Cow<'a, [u8]>,
        scope_tags: &Tags<'a>,
        tags: &'s mut Tags<'a>,
    ) -> Result<Self, InvalidSpan> {
        let trace_id = valid_id(span.trace_id).ok_or(InvalidSpan::TraceId)?;
        let id = valid_id(span.span_id).ok_or(InvalidSpan::SpanId)?;
        tags.tags.clear();
        tags.tags.extend_from_slice(&scope_tags.tags);
        tags.tags.extend(span.attributes().map(|kv| Tag::attribute(&kv)));
        tags.sort();
        if let Some(status) = tags.get("http.response.status_code").cloned()
            && tags.get("http.status_code").is_none()
        {
            tags.set(Tag { key: Cow::Borrowed(b"http.status_code"), value: status });
        }
        if !span.trace_state.is_empty() {
            tags.set(Tag::text("w3c.tracestate", span.trace_state));
        }
        let kind = match span.kind {
            1 => {
                tags.set(Tag::text("span.kind", b"internal".as_slice()));
                None
            }
            2 => Some(Kind::Server),
            3 => Some(Kind::Client),
            4 => Some(Kind::Producer),
            5 => Some(Kind::Consumer),
            _ => None,
        };
        let local_endpoint = Endpoint::take(tags, Some(service_name.clone()), "network.local.address", "net.host.port");
        // Of two names of the peer only the one that is used is no tag.
        let peer = tags.remove("service.peer.name").or_else(|| tags.remove("peer.service"));
        let remote_endpoint =
            Endpoint::take(tags, peer.map(|value| value.as_text()), "network.peer.address", "net.peer.port");
        put_status(&span, tags);
        let without_links = tags.tags.len();
        for (i, link) in span.links().enumerate() {
            let key = Cow::Owned(format!("otlp.link.{i}").into_bytes());
            tags.tags.push(Tag { key, value: TagValue::Text(link_text(&link).into()) });
        }
        if tags.tags.len() > without_links {
            tags.sort();
        }
        let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
        Ok(Self {
            trace_id,
            id,
            parent_id: valid_id(span.parent_span_id),
            name: span.name,
            kind,
            // Times of the first second stand for a time that is not known, as in the Go translator.
            timestamp: (1_000_000_000..=MAX_NANOS).contains(&start).then_some(start),
            duration: end.checked_sub(start).filter(|nanos| end != 0 && *nanos <= MAX_NANOS),
            local_endpoint,
            remote_endpoint,
            tags,
            span,
        })
    }

    /// The annotations: time in nanoseconds since the epoch, and text, which is written into `buffer`.
    pub(crate) fn for_each_annotation(&self, buffer: &mut Vec<u8>, mut write: impl FnMut(u64, &[u8])) {
        for event in self.span.events() {
            buffer.clear();
            put_event_text(buffer, &event);
            write(event.time_unix_nano, buffer);
        }
    }

    pub(crate) fn has_annotations(&self) -> bool {
        self.span.events().next().is_some()
    }
}

fn put_status<'a>(span: &Span<'a>, tags: &mut Tags<'a>) {
    let status = span.status;
    if status.code == 2 {
        tags.set(Tag::text("error", b"true".as_slice()));
    } else {
        // Zipkin shows any span with this tag as failed.
        tags.remove("error");
    }
    let code: &'static [u8] = match status.code {
        0 => return,
        1 => b"STATUS_CODE_OK",
        2 => b"STATUS_CODE_ERROR",
        _ => b"",
    };
    tags.set(Tag::text("otel.status_code", code));
    if !status.message.is_empty() {
        tags.set(Tag::text("otel.status_description", status.message));
    }
}

/// `trace id|span id|state|attributes|dropped`.
fn link_text(link: &Link<'_>) -> Vec<u8> {
    let mut text = Vec::new();
    if let Some(id) = valid_id::<16>(link.trace_id) {
        put_hex(&mut text, &id);
    }
    text.push(b'|');
    if let Some(id) = valid_id::<8>(link.span_id) {
        put_hex(&mut text, &id);
    }
    text.push(b'|');
    text.extend_from_slice(link.trace_state);
    text.push(b'|');
    put_attributes(&mut text, link.attributes());
    text.push(b'|');
    text.extend_from_slice(itoa::Buffer::new().format(link.dropped_attributes_count).as_bytes());
    text
}

/// The name, or `name|attributes|dropped`.
fn put_event_text(text: &mut Vec<u8>, event: &Event<'_>) {
    text.extend_from_slice(event.name);
    if event.attributes().next().is_none() && event.dropped_attributes_count == 0 {
        return;
    }
    text.push(b'|');
    put_attributes(text, event.attributes());
    text.push(b'|');
    text.extend_from_slice(itoa::Buffer::new().format(event.dropped_attributes_count).as_bytes());
}

/// Attributes as a JSON object, escaped for HTML as Go does.
fn put_attributes<'a>(text: &mut Vec<u8>, attributes: impl Iterator<Item = KeyValue<'a>>) {
    let mut json = Vec::new();
    let mut raw = Vec::new();
    for kv in attributes {
        otelcore_pdata::wire_format::put_bytes_field(&mut raw, 1, kv.raw);
    }
    if put_json(&mut json, AnyValue::Map(&raw)).is_err() {
        // JSON has no NaN and no infinity.
        json = b"{}".to_vec();
    }
    for b in json {
        match b {
            b'<' => text.extend_from_slice(b"\\u003c"),
            b'>' => text.extend_from_slice(b"\\u003e"),
            b'&' => text.extend_from_slice(b"\\u0026"),
            b => text.push(b),
        }
    }
}
