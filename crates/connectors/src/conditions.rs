//! What connectors with conditions of OTTL share.

use std::sync::Arc;

use otelcore_ottl::contexts::RequestMetadata;
use otelcore_pipeline::Metadata;

/// The headers of a request as paths of `otelcol` read them.
#[derive(Debug)]
pub(crate) struct RequestHeaders(pub(crate) Option<Arc<Metadata>>);

impl RequestMetadata for RequestHeaders {
    fn values(&self, name: &str) -> &[String] {
        self.0.as_ref().map(|metadata| metadata.get(name)).unwrap_or_default()
    }

    fn entries(&self) -> Vec<(&str, &[String])> {
        self.0.iter().flat_map(|metadata| metadata.iter()).collect()
    }

    fn auth_attributes(&self) -> &[(String, String)] {
        self.0.as_ref().map(|metadata| metadata.auth_attributes()).unwrap_or_default()
    }
}

/// Units of work that the calls in a condition or statement cost, about; see [`otelcore_pdata::StepBudget`].
pub(crate) fn cost_of_calls(text: &str) -> u64 {
    32 * text.bytes().filter(|byte| *byte == b'(').count() as u64
}
