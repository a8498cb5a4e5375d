//! Zipkin's JSON, version 2: fields, their order and their rounding as Zipkin's Go library writes them.

use std::net::IpAddr;

use otelcore_pdata::text::{put_hex, put_json_string};

use crate::format::SpanWriter;
use crate::span::{Endpoint, Tag, ZipkinSpan};

/// Writes a list of spans.
#[derive(Default)]
pub(crate) struct JsonWriter {
    is_not_first: bool,
    /// Texts that are written before they are escaped.
    text: Vec<u8>,
}

impl SpanWriter for JsonWriter {
    fn begin(out: &mut Vec<u8>) {
        out.push(b'[');
    }

    fn end(out: &mut Vec<u8>) {
        out.push(b']');
    }

    fn put_span(&mut self, out: &mut Vec<u8>, span: &ZipkinSpan<'_, '_>) {
        if std::mem::replace(&mut self.is_not_first, true) {
            out.push(b',');
        }
        out.push(b'{');
        if let Some(nanos) = span.timestamp {
            put_number_field(out, "timestamp", rounded_micros(nanos));
        }
        if let Some(nanos) = span.duration.filter(|nanos| *nanos > 0) {
            // Less than a microsecond is one, because zero means that it is not known.
            put_number_field(out, "duration", rounded_micros(nanos).max(1));
        }
        put_name(out, "traceId");
        out.push(b'"');
        let (high, low) = span.trace_id.split_at(8);
        if high.iter().any(|b| *b != 0) {
            put_hex(out, high);
        }
        put_hex(out, low);
        out.push(b'"');
        put_id_field(out, "id", &span.id);
        if let Some(id) = &span.parent_id {
            put_id_field(out, "parentId", id);
        }
        if !span.name.is_empty() {
            put_name(out, "name");
            put_json_string(out, &lower_case(span.name));
        }
        if let Some(kind) = span.kind {
            put_name(out, "kind");
            put_json_string(out, kind.name().as_bytes());
        }
        for (name, endpoint) in [("localEndpoint", &span.local_endpoint), ("remoteEndpoint", &span.remote_endpoint)] {
            if let Some(endpoint) = endpoint {
                put_name(out, name);
                put_endpoint(out, endpoint);
            }
        }
        self.put_annotations(out, span);
        self.put_tags(out, span);
        out.push(b'}');
    }
}

impl JsonWriter {
    fn put_annotations(&mut self, out: &mut Vec<u8>, span: &ZipkinSpan<'_, '_>) {
        if !span.has_annotations() {
            return;
        }
        put_name(out, "annotations");
        out.push(b'[');
        let mut is_first = true;
        span.for_each_annotation(&mut self.text, |nanos, text| {
            if !std::mem::take(&mut is_first) {
                out.push(b',');
            }
            out.push(b'{');
            put_number_field(out, "timestamp", rounded_micros(nanos));
            put_name(out, "value");
            put_json_string(out, text);
            out.push(b'}');
        });
        out.push(b']');
    }

    fn put_tags(&mut self, out: &mut Vec<u8>, span: &ZipkinSpan<'_, '_>) {
        if span.tags.iter().len() == 0 {
            return;
        }
        put_name(out, "tags");
        out.push(b'{');
        for (i, Tag { key, value }) in span.tags.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            put_json_string(out, key);
            out.push(b':');
            put_json_string(out, &value.as_text());
        }
        out.push(b'}');
    }
}

/// The name of a field, with a comma unless it is the first of its object.
fn put_name(out: &mut Vec<u8>, name: &str) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn put_number_field(out: &mut Vec<u8>, name: &str, number: u64) {
    put_name(out, name);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn put_id_field(out: &mut Vec<u8>, name: &str, id: &[u8; 8]) {
    put_name(out, name);
    out.push(b'"');
    put_hex(out, id);
    out.push(b'"');
}

fn put_endpoint(out: &mut Vec<u8>, endpoint: &Endpoint<'_>) {
    out.push(b'{');
    if !endpoint.service_name.is_empty() {
        put_name(out, "serviceName");
        put_json_string(out, &lower_case(&endpoint.service_name));
    }
    if let Some((address, has_colons)) = endpoint.address {
        put_name(out, if has_colons { "ipv6" } else { "ipv4" });
        let text = match address {
            IpAddr::V4(v4) => v4.to_string(),
            // An IPv4 address in the form of IPv6 is written as Go does, without the prefix.
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or_else(|| v6.to_string(), |v4| v4.to_string()),
        };
        put_json_string(out, text.as_bytes());
    }
    if endpoint.port != 0 {
        put_number_field(out, "port", u64::from(endpoint.port));
    }
    out.push(b'}');
}

/// Lower case for text that is UTF-8; bytes that are not stay as they are.
fn lower_case(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            // Each character by itself, as in Go: no final sigma, no combining dot.
            let lower = c.to_lowercase().next().unwrap_or(c);
            out.extend_from_slice(lower.encode_utf8(&mut [0; 4]).as_bytes());
        }
        out.extend_from_slice(chunk.invalid());
    }
    out
}

fn rounded_micros(nanos: u64) -> u64 {
    nanos.saturating_add(500) / 1000
}
