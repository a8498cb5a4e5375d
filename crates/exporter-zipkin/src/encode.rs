//! A payload as one body.

use otelcore_net::{BodyParts, EncodedBody, LeftOutItems};
use otelcore_pdata::Rope;
use otelcore_zipkin_translation::{EncodedSpans, Format};

/// The body for all spans; those without valid ids are left out.
#[must_use]
pub fn encode_spans(items: &Rope, format: Format, default_name: &str) -> EncodedBody {
    let EncodedSpans { bytes, left_out } = otelcore_zipkin_translation::encode_spans(items, format, default_name);
    let left_out = left_out.map(|(count, reason)| LeftOutItems { count, reason });
    EncodedBody { left_out, ..EncodedBody::from(BodyParts::from_iter([bytes.into()])) }
}
