//! An attempt sends one payload, with one or more calls for each `ResourceSpans`.

use std::rc::Rc;

use http::uri::PathAndQuery;
use otelcore_http::{Code, Status};
use otelcore_net::config::GrpcClientConfig;
use otelcore_net::{GrpcChannel, UnaryRequest, may_be_caused_by_content, mentions_invalid_utf8, parse_too_large};
use otelcore_pipeline::{
    AttemptId, BuildContext, CallResult, Cx, Delivery, Error, Event, Exporter, MonotonicTime, Outcome, Outcomes,
    Payload, StartError,
};

use crate::encode::RequestEncoder;

const POST_SPANS_PATH: &str = "/jaeger.api_v2.CollectorService/PostSpans";

#[derive(Debug)]
pub(crate) struct JaegerExporter {
    channel: GrpcChannel,
    delivery: Delivery<RequestEncoder>,
    path: PathAndQuery,
}

impl JaegerExporter {
    pub(crate) fn new(client: Rc<GrpcClientConfig>, context: &BuildContext<'_>) -> Result<Self, StartError> {
        let path = PathAndQuery::from_static(POST_SPANS_PATH);
        let auth = client.auth.as_ref().map(|id| context.auth.client(id)).transpose()?;
        let channel = GrpcChannel::new(client, auth, context.log.clone(), 0);
        let delivery = Delivery::new(RequestEncoder, &context.id.to_string(), context.telemetry, context.log.clone());
        Ok(Self { channel, delivery, path })
    }

    /// Starts the calls that are ready and handles the results of ended ones, until there are none of either.
    fn advance(&mut self, cx: &mut Cx<'_>, outcomes: &mut Outcomes) {
        loop {
            if let Some(call) = self.delivery.poll_call(cx.now()) {
                let message = std::iter::once(call.content).collect();
                self.channel.start_call(
                    cx,
                    call.token,
                    UnaryRequest { path: self.path.clone(), message, deadline: call.deadline },
                );
            } else if let Some((token, result)) = self.channel.poll_result() {
                let result = result.map_or_else(result_of_status, |_| CallResult::Delivered { rejected: 0 });
                self.delivery.handle_result(cx, token, result, outcomes);
            } else {
                return;
            }
        }
    }
}

fn result_of_status(status: Status) -> CallResult {
    let message = format!(
        "failed to push trace data via Jaeger exporter: rpc error: code = {} desc = {}",
        status.code.name(),
        status.message
    );
    let why = Error { code: Some(u32::from(status.code.number())), message: message.into() };
    if let Some(limit) = parse_too_large(&status.message) {
        CallResult::TooLarge { limit, why }
    } else if is_retryable(status.code) && !mentions_invalid_utf8(&status.message) {
        CallResult::Retry { after: status.retry_after, why }
    } else {
        CallResult::Refused { why, may_be_invalid_text: may_be_caused_by_content(status.code) }
    }
}

/// Whether the call may be retried. Jaeger returns RESOURCE_EXHAUSTED without a RetryInfo when its queue is full, and
/// UNKNOWN when its storage fails.
fn is_retryable(code: Code) -> bool {
    matches!(
        code,
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

impl Exporter for JaegerExporter {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.channel.start(cx)
    }

    fn send(
        &mut self,
        cx: &mut Cx<'_>,
        attempt: AttemptId,
        payload: &Payload,
        deadline: MonotonicTime,
        outcomes: &mut Outcomes,
    ) {
        if let Some(status) = self.channel.unavailable_status()
            && let CallResult::Retry { after, why } = result_of_status(status)
        {
            // Nothing is encoded for a peer that can't be reached.
            return outcomes.push(attempt, Outcome::Retry { after, why });
        }
        self.delivery.send(cx, attempt, payload, deadline, outcomes);
        self.advance(cx, outcomes);
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, outcomes: &mut Outcomes) {
        if !self.delivery.handle_event(cx, local, outcomes) {
            self.channel.handle_event(cx, local, &event);
        }
        self.advance(cx, outcomes);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.channel.close(cx);
    }
}
