//! The protocol: one call for each request, and the meaning of Jaeger's statuses.

use http::uri::PathAndQuery;
use otelcore_http::{Code, Status};
use otelcore_net::GrpcProtocol;
use otelcore_pdata::Signal;

use crate::encode::RequestEncoder;

const POST_SPANS_PATH: &str = "/jaeger.api_v2.CollectorService/PostSpans";

impl GrpcProtocol for RequestEncoder {
    const ERROR_PREFIX: &'static str = "failed to push trace data via Jaeger exporter: ";

    fn method(&self, _: Signal) -> PathAndQuery {
        PathAndQuery::from_static(POST_SPANS_PATH)
    }

    /// Jaeger returns RESOURCE_EXHAUSTED without a RetryInfo when its queue is full, and UNKNOWN when its storage fails.
    fn is_retryable(&self, status: &Status) -> bool {
        matches!(
            status.code,
            Code::Canceled
                | Code::Unknown
                | Code::DeadlineExceeded
                | Code::ResourceExhausted
                | Code::Aborted
                | Code::OutOfRange
                | Code::Unavailable
                | Code::DataLoss
        )
    }
}
