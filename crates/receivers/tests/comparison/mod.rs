//! The comparison of a translated body with what the Go receiver makes of it.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otelcore_pdata::Rope;
use otelcore_pipeline::Held;
use otelcore_receivers::DecodeError;
use prost::Message;

/// How many cases had spans, and how many were refused.
#[derive(Default)]
pub struct Seen {
    pub translated: usize,
    pub refused: usize,
}

fn sort_attributes(attributes: &mut [KeyValue]) {
    attributes.sort_by(|a, b| a.key.cmp(&b.key));
}

/// Spans with their resource and scope, without the order that Go gives them, which it does not promise, and without what
/// `normalize` takes away.
fn comparable(request: ExportTraceServiceRequest, normalize: &impl Fn(&mut Span)) -> Vec<String> {
    let mut found = Vec::new();
    for ResourceSpans { resource, scope_spans, .. } in request.resource_spans {
        let mut resource = resource.unwrap_or_default();
        sort_attributes(&mut resource.attributes);
        for ScopeSpans { scope, spans, .. } in scope_spans {
            let shared = format!("{resource:?} {:?}", scope.unwrap_or_default());
            for mut span in spans {
                sort_attributes(&mut span.attributes);
                span.events.iter_mut().for_each(|event| sort_attributes(&mut event.attributes));
                span.links.iter_mut().for_each(|link| sort_attributes(&mut link.attributes));
                span.status.get_or_insert_default();
                normalize(&mut span);
                found.push(format!("{shared} {span:?}"));
            }
        }
    }
    found.sort();
    found
}

impl Seen {
    /// Compares the result for a body with the answer of the oracle: 1 and a request, or 0 and an error.
    pub fn compare(
        &mut self,
        case: &str,
        result: Result<Rope, DecodeError>,
        held: &Held,
        answer: &[u8],
        normalize: impl Fn(&mut Span),
    ) {
        match (result, answer.split_first().unwrap()) {
            (Ok(rope), (1, expected)) => {
                let bytes = rope.to_bytes();
                assert!(held.bytes() >= bytes.len() as u64, "what is made is charged");
                let [mut got, mut expected] = [&bytes[..], expected]
                    .map(|bytes| comparable(ExportTraceServiceRequest::decode(bytes).unwrap(), &normalize));
                if got != expected {
                    let same: Vec<_> = got.iter().filter(|span| expected.contains(span)).cloned().collect();
                    got.retain(|span| !same.contains(span));
                    expected.retain(|span| !same.contains(span));
                    panic!("{case}:\n{got:#?}\ninstead of\n{expected:#?}");
                }
                self.translated += 1;
            }
            (Err(DecodeError::Invalid(_)), (0, _)) => self.refused += 1,
            (got, (_, expected)) => panic!("{case}: {got:?} instead of {}", String::from_utf8_lossy(expected)),
        }
    }
}

/// Calls `decode` with bodies of which a byte is changed, or the end is missing.
pub fn decode_damaged(body: &[u8], decode: impl Fn(&[u8])) {
    let step = (body.len() / 40).max(1);
    for at in (0..body.len()).step_by(step) {
        for change in [1, 0x20, 0x7f, 0x80, 0xff] {
            let mut body = body.to_vec();
            body[at] ^= change;
            decode(&body);
        }
        decode(&body[..at]);
    }
}
