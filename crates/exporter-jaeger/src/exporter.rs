//! A job sends one payload, with one or more calls for each `ResourceSpans`.

use std::rc::Rc;

use http::uri::PathAndQuery;
use otelcore_http::{Code, Status};
use otelcore_net::settings::GrpcClient;
use otelcore_net::{Channel, NewCall, may_be_for_content, says_invalid_text, says_too_large};
use otelcore_pipeline::{
    Build, CallResult, Cx, Delivery, Done, Error, Event, Exporter, JobId, Mono, Outcome, Payload, StartError,
};

use crate::encode::Requests;

const PATH: &str = "/jaeger.api_v2.CollectorService/PostSpans";

#[derive(Debug)]
pub(crate) struct JaegerExporter {
    channel: Channel,
    delivery: Delivery<Requests>,
    path: PathAndQuery,
}

impl JaegerExporter {
    pub(crate) fn new(client: Rc<GrpcClient>, build: &Build<'_>) -> Result<Self, StartError> {
        let path = PathAndQuery::from_static(PATH);
        let auth = client.auth.as_ref().map(|id| build.auth.client(id)).transpose()?;
        let channel = Channel::new(client, auth, build.log.clone(), 0);
        let delivery = Delivery::new(Requests, &build.id.to_string(), build.telemetry, build.log.clone());
        Ok(Self { channel, delivery, path })
    }

    /// Starts the calls that are ready and handles the results of ended ones, until there are none of either.
    fn advance(&mut self, cx: &mut Cx<'_>, done: &mut Done) {
        loop {
            if let Some(call) = self.delivery.poll_call(cx.now()) {
                let message = std::iter::once(call.content).collect();
                self.channel.call(cx, call.token, NewCall { path: self.path.clone(), message, by: call.by });
            } else if let Some((token, result)) = self.channel.poll_done() {
                let result = result.map_or_else(failure, |_| CallResult::Delivered { rejected: 0 });
                self.delivery.handle_result(cx, token, result, done);
            } else {
                return;
            }
        }
    }
}

fn failure(status: Status) -> CallResult {
    let message = format!(
        "failed to push trace data via Jaeger exporter: rpc error: code = {} desc = {}",
        status.code.name(),
        status.message
    );
    let why = Error { code: Some(u32::from(status.code.number())), message: message.into() };
    if let Some(limit) = says_too_large(&status.message) {
        CallResult::TooLarge { limit, why }
    } else if is_retryable(status.code) && !says_invalid_text(&status.message) {
        CallResult::Retry { after: status.retry_after, why }
    } else {
        CallResult::Refused { why, for_text: may_be_for_content(status.code) }
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

    fn send(&mut self, cx: &mut Cx<'_>, id: JobId, payload: &Payload, by: Mono, done: &mut Done) {
        if let Some(status) = self.channel.refusal()
            && let CallResult::Retry { after, why } = failure(status)
        {
            // Nothing is encoded for a peer that can't be reached.
            return done.push(id, Outcome::Retry { after, why });
        }
        self.delivery.send(cx, id, payload, by, done);
        self.advance(cx, done);
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, done: &mut Done) {
        if !self.delivery.event(cx, local, done) {
            self.channel.event(cx, local, &event);
        }
        self.advance(cx, done);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.channel.close(cx);
    }
}
