//! A payload as one body.

use otelcore_net::{BodyParts, EncodedBody, LeftOutItems};
use otelcore_pdata::Rope;
use otelcore_pdata::views::{ResourceSpans, resource_entries};

use crate::format::{Format, SpanWriter};
use crate::json::JsonWriter;
use crate::protobuf::ProtobufWriter;
use crate::span::{ResourceTags, Tags, ZipkinSpan};

/// The body for all spans; those without valid ids are left out.
#[must_use]
pub fn encode_spans(items: &Rope, format: Format, default_name: &str) -> EncodedBody {
    match format {
        Format::Json => encode_with(items, JsonWriter::default(), default_name),
        Format::Proto => encode_with(items, ProtobufWriter::default(), default_name),
    }
}

fn encode_with<W: SpanWriter>(items: &Rope, mut writer: W, default_name: &str) -> EncodedBody {
    let mut out = Vec::with_capacity(items.len().saturating_mul(2));
    let mut left_out: Option<LeftOutItems> = None;
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
                    Err(invalid) => {
                        let reason = invalid.reason();
                        left_out.get_or_insert(LeftOutItems { count: 0, reason }).count += 1;
                    }
                }
            }
        }
    }
    W::end(&mut out);
    EncodedBody { left_out, ..EncodedBody::from(BodyParts::from_iter([out.into()])) }
}
