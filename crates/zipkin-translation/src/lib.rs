//! OTLP spans as the spans of Zipkin's API, version 2, in JSON and protobuf.
//!
//! `span` maps a span by the rules of the Go translator: attributes of the resource, the scope and the span become tags, events
//! annotations, links tags. The two formats write what it returns. Nothing here performs IO.
#![forbid(unsafe_code)]

mod format;
mod json;
mod protobuf;
mod span;

use otelcore_pdata::Rope;
use otelcore_pdata::views::{ResourceSpans, resource_entries};

pub use format::Format;
use format::SpanWriter;
use json::JsonWriter;
use protobuf::ProtobufWriter;
pub use span::NO_SERVICE_NAME;
use span::{ResourceTags, Tags, ZipkinSpan};

/// Spans in one of the formats.
#[derive(Debug, Default)]
pub struct EncodedSpans {
    /// A list of spans.
    pub bytes: Vec<u8>,
    /// How many spans it does not contain because their ids are not valid, and why the first of them is not.
    pub left_out: Option<(u32, &'static str)>,
}

/// All spans as one list; those without valid ids are left out. `default_name` is that of services whose resource has none.
#[must_use]
pub fn encode_spans(items: &Rope, format: Format, default_name: &str) -> EncodedSpans {
    match format {
        Format::Json => encode_with(items, JsonWriter::default(), default_name),
        Format::Proto => encode_with(items, ProtobufWriter::default(), default_name),
    }
}

fn encode_with<W: SpanWriter>(items: &Rope, mut writer: W, default_name: &str) -> EncodedSpans {
    let mut out = Vec::with_capacity(items.len().saturating_mul(2));
    let mut left_out: Option<(u32, &'static str)> = None;
    W::begin(&mut out);
    // Collects the tags of each span, without an allocation for each.
    let mut tags = Tags::default();
    for entry in resource_entries::<ResourceSpans<'_>>(items) {
        let resource = ResourceTags::new(&entry.resource, default_name);
        for scope in entry.scope_spans() {
            let scope_tags = resource.with_scope(&scope.scope);
            for span in scope.spans() {
                match ZipkinSpan::new(span, resource.service_name(), &scope_tags, &mut tags) {
                    Ok(span) => writer.put_span(&mut out, &span),
                    Err(invalid) => left_out.get_or_insert_with(|| (0, invalid.reason())).0 += 1,
                }
            }
        }
    }
    W::end(&mut out);
    EncodedSpans { bytes: out, left_out }
}
