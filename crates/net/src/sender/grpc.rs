//! An exporter over gRPC: one message, one unary call.

use std::rc::Rc;

use http::uri::PathAndQuery;
use otelcore_http::Status;
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    AttemptId, BuildContext, CallResult, ClientAuth, Cx, Delivery, Encode, Event, Exporter, Logger, MonotonicTime,
    Outcome, Outcomes, Payload, StartError, UsedMetadata,
};

use super::call_result;
use crate::config::GrpcClientConfig;
use crate::{BodyParts, GrpcChannel, UnaryRequest};

/// What an exporter over gRPC defines: its messages (see [`Encode`]), its methods, and what responses mean.
///
/// Messages are made by copies of the protocol, on helper threads if they are long; all other methods are called on the
/// thread of the loop, on one value.
pub trait GrpcProtocol: Encode<Message = BodyParts> {
    /// Put in front of the statuses of failed calls in errors.
    const ERROR_PREFIX: &'static str = "";

    /// The method that accepts items of this signal: `/package.Service/Method`.
    fn method(&self, signal: Signal) -> PathAndQuery;

    /// Whether a call with this status may be made again. By default as OTLP specifies.
    fn is_retryable(&self, status: &Status) -> bool {
        call_result::is_retryable(status)
    }

    /// What the response to a successful call with `items` items means.
    fn read_response(&mut self, signal: Signal, items: u32, response: &[u8], log: &Logger) -> CallResult {
        let _ = (signal, items, response, log);
        CallResult::Delivered { rejected: 0 }
    }
}

/// The exporter of a [`GrpcProtocol`].
#[derive(Debug)]
pub struct GrpcSender<P: GrpcProtocol> {
    protocol: P,
    channel: GrpcChannel,
    delivery: Delivery<P>,
    used_metadata: UsedMetadata,
    log: Logger,
}

impl<P: GrpcProtocol> GrpcSender<P> {
    /// An exporter that connects when it is started.
    ///
    /// # Errors
    /// The authenticator that the configuration names can't be used, or a value that was not checked is wrong.
    pub fn new(protocol: P, client: &GrpcClientConfig, context: &BuildContext<'_>) -> Result<Self, StartError> {
        let auth = client.authenticator().map(|id| context.capabilities.get::<dyn ClientAuth>(&id)).transpose()?;
        let log = context.log.clone();
        Ok(Self {
            used_metadata: auth.as_ref().map(|auth| auth.used_metadata()).unwrap_or_default(),
            channel: GrpcChannel::new(Rc::new(client.channel()?), auth, log.clone(), 0),
            delivery: Delivery::new(protocol.clone(), &context.id.to_string(), context.telemetry, log.clone()),
            protocol,
            log,
        })
    }

    fn result_of_status(&self, status: &Status) -> CallResult {
        call_result::result_of_grpc_status(status, self.protocol.is_retryable(status), P::ERROR_PREFIX)
    }

    /// Starts the calls that are ready and handles the results of ended ones, until there are none of either.
    fn advance(&mut self, cx: &mut Cx<'_>, outcomes: &mut Outcomes) {
        loop {
            if let Some(call) = self.delivery.poll_call(cx.now()) {
                let path = self.protocol.method(call.signal);
                let request =
                    UnaryRequest { path, message: call.content, deadline: call.deadline, metadata: call.metadata };
                self.channel.start_call(cx, call.token, request);
            } else if let Some((token, result)) = self.channel.poll_result() {
                let Some((signal, items)) = self.delivery.call_info(token) else { continue };
                let result = match result {
                    Err(status) => self.result_of_status(&status),
                    Ok(response) => self.protocol.read_response(signal, items, &response, &self.log),
                };
                self.delivery.handle_result(cx, token, result, outcomes);
            } else {
                return;
            }
        }
    }
}

impl<P: GrpcProtocol> Exporter for GrpcSender<P> {
    fn used_metadata(&self) -> UsedMetadata {
        self.used_metadata.clone()
    }

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
            && let CallResult::Retry { after, why } = self.result_of_status(&status)
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
