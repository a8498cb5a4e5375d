//! Zipkin's protobuf, `zipkin.proto3.ListOfSpans`.
//!
//! Schema: ListOfSpans{1 spans}; Span{1 trace_id, 2 parent_id, 3 id, 4 kind, 5 name, 6 timestamp, 7 duration,
//! 8 local_endpoint, 9 remote_endpoint, 10 annotations, 11 tags}; Endpoint{1 service_name, 2 ipv4, 3 ipv6, 4 port};
//! Annotation{1 timestamp, 2 value}; a tag is an entry {1 key, 2 value}.

use std::net::IpAddr;

use otelcore_pdata::wire_format::{put_bytes_field, put_fixed64_field, put_tag_and_len, put_varint_field};

use crate::format::SpanWriter;
use crate::span::{Endpoint, ZipkinSpan};

/// Writes a `ListOfSpans`.
#[derive(Default)]
pub(crate) struct ProtobufWriter {
    /// The span that is being written.
    span: Vec<u8>,
    /// A message inside it.
    message: Vec<u8>,
    text: Vec<u8>,
}

impl SpanWriter for ProtobufWriter {
    fn begin(_: &mut Vec<u8>) {}

    fn end(_: &mut Vec<u8>) {}

    fn put_span(&mut self, out: &mut Vec<u8>, span: &ZipkinSpan<'_, '_>) {
        let Self { span: fields, message, text } = self;
        fields.clear();
        put_bytes_field(fields, 1, &span.trace_id);
        if let Some(id) = &span.parent_id {
            put_bytes_field(fields, 2, id);
        }
        put_bytes_field(fields, 3, &span.id);
        if let Some(kind) = span.kind {
            put_varint_field(fields, 4, kind as u64);
        }
        if !span.name.is_empty() {
            put_bytes_field(fields, 5, span.name);
        }
        if let Some(nanos) = span.timestamp {
            put_fixed64_field(fields, 6, nanos.saturating_add(500) / 1000);
        }
        if let Some(nanos) = span.duration.filter(|nanos| *nanos > 0) {
            // Less than a microsecond is one, because zero means that it is not known.
            put_varint_field(fields, 7, (nanos / 1000).max(1));
        }
        for (number, endpoint) in [(8, &span.local_endpoint), (9, &span.remote_endpoint)] {
            if let Some(endpoint) = endpoint {
                message.clear();
                put_endpoint(message, endpoint);
                put_bytes_field(fields, number, message);
            }
        }
        span.for_each_annotation(text, |nanos, text| {
            message.clear();
            put_fixed64_field(message, 1, nanos / 1000);
            put_bytes_field(message, 2, text);
            put_bytes_field(fields, 10, message);
        });
        for tag in span.tags.iter() {
            message.clear();
            put_bytes_field(message, 1, &tag.key);
            put_bytes_field(message, 2, &tag.value.as_text());
            put_bytes_field(fields, 11, message);
        }
        put_tag_and_len(out, 1, fields.len());
        out.extend_from_slice(fields);
    }
}

fn put_endpoint(out: &mut Vec<u8>, endpoint: &Endpoint<'_>) {
    if !endpoint.service_name.is_empty() {
        put_bytes_field(out, 1, &endpoint.service_name);
    }
    match endpoint.address {
        Some((IpAddr::V4(address), _)) => put_bytes_field(out, 2, &address.octets()),
        Some((IpAddr::V6(address), _)) => put_bytes_field(out, 3, &address.octets()),
        None => {}
    }
    if endpoint.port != 0 {
        put_varint_field(out, 4, u64::from(endpoint.port));
    }
}
