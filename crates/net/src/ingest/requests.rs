//! The requests of a receiver that have no response yet: those whose sender is being checked, those that are being
//! decoded, and those that have been sent into the pipelines.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use otelcore_http::grpc::CallId;
use otelcore_http::h1::{RequestId, Response};
use otelcore_http::{Code, Status, Workspace};
use otelcore_pdata::Signal;
use otelcore_pipeline::{Cx, Held, JobResult, Logger, Metadata, MonotonicTime, Outcome, Payload, PipelineInput};
use slab::Slab;

use super::bodies::{ConnectionId, ServerProtocol};
use super::body::{DecodeResult, RequestBody};
use super::protocol::{DecodedBody, IngestProtocol};
use super::status::outcome_status;
use crate::clock_check::SenderClock;
use crate::request_metrics::HttpServerRequest;
use crate::{CheckResult, CredentialChecks, PendingCheck};

/// The checks of senders. A request is identified by its connection and the number of its charge.
pub(super) type SenderChecks = CredentialChecks<(ConnectionId, u64)>;
/// The pending check of the sender of a request.
pub(super) type SenderCheck = PendingCheck<(ConnectionId, u64)>;

/// A request that has been received.
pub(super) struct ReceivedRequest<P: IngestProtocol> {
    /// The number of its charge.
    pub(super) charge_number: u64,
    pub(super) target: ResponseTarget<P::Format>,
    pub(super) metadata: Option<Arc<Metadata>>,
    pub(super) content: RequestContent<P>,
    pub(super) workspace: Workspace,
}

/// What to do with a received request, once its sender is permitted.
pub(super) enum RequestContent<P: IngestProtocol> {
    /// Decode its body and send it into the pipelines.
    Body(RequestBody<P>),
    /// Refuse it because of its head; HTTP only.
    Refused(Response),
}

/// Where a response is sent.
#[derive(Clone, Debug)]
pub(super) struct ResponseTarget<F> {
    pub(super) connection: ConnectionId,
    pub(super) request: RequestKey<F>,
}

/// A request of a connection, and what its response depends on.
#[derive(Clone, Debug)]
pub(super) enum RequestKey<F> {
    /// With the method and when the call began, where that is measured.
    Grpc(CallId, u32, Option<MonotonicTime>),
    Http(RequestId, HttpRequestState<F>),
}

/// What the response to an HTTP request depends on.
#[derive(Clone, Debug)]
pub(super) struct HttpRequestState<F> {
    pub(super) route: Option<u32>,
    pub(super) format: ResponseFormat<F>,
    pub(super) noted: HttpServerRequest,
}

/// The format of the response to an HTTP request.
#[derive(Clone, Debug)]
pub(super) struct ResponseFormat<F> {
    pub(super) body: F,
    /// The CORS header fields of the response.
    pub(super) cors: Option<std::rc::Rc<[(String, String)]>>,
}

/// The result of a request.
pub(super) enum RequestResult {
    Accepted,
    Refused(Status),
    /// Refused because of its head; HTTP only.
    RefusedHead(Response),
}

/// A request without a response yet.
struct PendingRequest<F> {
    target: ResponseTarget<F>,
    state: PendingState,
}

enum PendingState {
    /// It is being decoded by a job.
    Decoding { result: JobResult<DecodeResult>, metadata: Option<Arc<Metadata>> },
    /// Its payloads have been sent into the pipelines.
    Sent {
        /// Items of each payload, by `Signal as usize`.
        items: [u32; 3],
        unsettled: u32,
        /// The outcome that counts of those that are known.
        outcome: Outcome,
    },
}

/// A payload whose outcome is known.
pub(super) struct SettledPayload {
    pub(super) server: ServerProtocol,
    pub(super) signal: Signal,
    pub(super) items: u32,
}

/// The requests without a response yet, by the number under which their payloads are sent.
pub(super) struct PendingRequests<P: IngestProtocol> {
    pending: Slab<PendingRequest<P::Format>>,
    pub(super) checks: SenderChecks,
    /// Requests that were received before the check of their sender ended, by the number of their charge.
    waiting_for_check: BTreeMap<u64, (ReceivedRequest<P>, SenderCheck)>,
    /// Requests that have their result, and whose response is not sent yet.
    results: VecDeque<(ResponseTarget<P::Format>, RequestResult)>,
    first_decode_key: u64,
    sender_clock: SenderClock,
}

/// The number under which the payload of a signal is sent: that of its request, and the signal in the two lowest bits.
fn payload_number(request: usize, signal: Signal) -> u64 {
    (request as u64) << 2 | signal as u64
}

/// The outcome that counts of two payloads of one request: the client repeats the whole request if any payload may be
/// accepted later.
fn worse_outcome(a: Outcome, b: Outcome) -> Outcome {
    let rank = |outcome: &Outcome| match outcome {
        Outcome::Delivered => 0,
        Outcome::Permanent(_) => 1,
        Outcome::Retry { .. } => 2,
        Outcome::Lost(_) => 3,
    };
    if rank(&b) > rank(&a) { b } else { a }
}

impl<P: IngestProtocol> PendingRequests<P> {
    pub(super) fn new(checks: SenderChecks, first_decode_key: u64, log: Logger) -> Self {
        Self {
            pending: Slab::new(),
            checks,
            waiting_for_check: BTreeMap::new(),
            results: VecDeque::new(),
            first_decode_key,
            sender_clock: SenderClock::new(log),
        }
    }

    /// Handles a received request. It waits here while its sender is being checked.
    pub(super) fn receive(
        &mut self,
        cx: &mut Cx<'_>,
        input: &mut PipelineInput<'_>,
        received: ReceivedRequest<P>,
        check: Option<SenderCheck>,
    ) {
        let Some(check) = check else { return self.continue_request(cx, input, received) };
        match check.result() {
            Some(result) => self.handle_check_result(cx, input, received, &result),
            None => drop(self.waiting_for_check.insert(received.charge_number, (received, check))),
        }
    }

    /// Takes the request with this number of its charge that waits for the check of its sender.
    pub(super) fn take_waiting(&mut self, charge_number: u64) -> Option<ReceivedRequest<P>> {
        self.waiting_for_check.remove(&charge_number).map(|(received, _)| received)
    }

    /// Handles the result of the check of a request's sender.
    pub(super) fn handle_check_result(
        &mut self,
        cx: &mut Cx<'_>,
        input: &mut PipelineInput<'_>,
        received: ReceivedRequest<P>,
        result: &CheckResult,
    ) {
        match result {
            Ok(()) => self.continue_request(cx, input, received),
            Err(why) => self.refuse(received.target, Status::new(Code::Unauthenticated, why.to_string())),
        }
    }

    /// The next request that has its result.
    pub(super) fn poll_result(&mut self) -> Option<(ResponseTarget<P::Format>, RequestResult)> {
        self.results.pop_front()
    }

    /// Continues with a request whose sender is permitted: decodes it, at once or by a job.
    fn continue_request(&mut self, cx: &mut Cx<'_>, input: &mut PipelineInput<'_>, received: ReceivedRequest<P>) {
        let ReceivedRequest { target, metadata, content, workspace, .. } = received;
        let body = match content {
            RequestContent::Body(body) => body,
            RequestContent::Refused(response) => {
                return self.results.push_back((target, RequestResult::RefusedHead(response)));
            }
        };
        match body.decode_if_short(&workspace) {
            Ok(Ok((decoded, held))) => {
                let state = sent_state(&decoded);
                let request = self.pending.insert(PendingRequest { target, state });
                self.send(cx, input, request, (decoded, held), metadata);
            }
            Ok(Err(status)) => self.refuse(target, status),
            Err(body) => {
                let entry = self.pending.vacant_entry();
                let result = cx.run_job(self.first_decode_key + entry.key() as u64, || body.decode());
                entry.insert(PendingRequest { target, state: PendingState::Decoding { result, metadata } });
            }
        }
    }

    /// Handles the end of the job that decodes a request.
    pub(super) fn handle_decoded(&mut self, cx: &mut Cx<'_>, input: &mut PipelineInput<'_>, number: u64) {
        let Ok(request) = usize::try_from(number) else { return };
        let Some(pending) = self.pending.get_mut(request) else { return };
        let PendingState::Decoding { result, metadata } = &mut pending.state else { return };
        match result.take() {
            Some(Ok((decoded, held))) => {
                let metadata = metadata.take();
                pending.state = sent_state(&decoded);
                self.send(cx, input, request, (decoded, held), metadata);
            }
            failed => {
                let decoder_error = || Status::internal("the request could not be decoded: the decoder failed");
                let status = failed.and_then(Result::err).unwrap_or_else(decoder_error);
                let target = self.pending.remove(request).target;
                self.refuse(target, status);
            }
        }
    }

    /// Sends the payloads of a request into the pipelines. Without any, the request is accepted.
    fn send(
        &mut self,
        cx: &mut Cx<'_>,
        input: &mut PipelineInput<'_>,
        request: usize,
        (decoded, held): (DecodedBody, Held),
        metadata: Option<Arc<Metadata>>,
    ) {
        let mut ropes = decoded.into_ropes().into_iter();
        let Some((signal, body)) = ropes.next() else {
            let target = self.pending.remove(request).target;
            return self.results.push_back((target, RequestResult::Accepted));
        };
        self.sender_clock.check(cx, signal, &body);
        // Each payload holds the whole charge of the request, as each may keep the whole body in memory.
        for (signal, body) in ropes {
            let payload = Payload { signal, body, metadata: metadata.clone(), held: held.clone() };
            input.send(cx, payload_number(request, signal), payload);
        }
        input.send(cx, payload_number(request, signal), Payload { signal, body, metadata, held });
    }

    /// Handles the outcome of a payload. Calls `record` with the payload and its outcome. The response of its request
    /// is ready when no other payload of it is left.
    pub(super) fn settle(&mut self, number: u64, outcome: Outcome, record: impl FnOnce(SettledPayload, &Outcome)) {
        let Ok(request) = usize::try_from(number >> 2) else { return };
        let Some(signal) = Signal::ALL.into_iter().find(|signal| *signal as u64 == number & 3) else { return };
        let Some(PendingRequest { target, state: PendingState::Sent { items, unsettled, outcome: worst } }) =
            self.pending.get_mut(request)
        else {
            return;
        };
        let items = items.get(signal as usize).copied().unwrap_or(0);
        record(SettledPayload { server: target.connection.server, signal, items }, &outcome);
        *unsettled = unsettled.saturating_sub(1);
        *worst = worse_outcome(std::mem::replace(worst, Outcome::Delivered), outcome);
        if *unsettled == 0 {
            let worst = std::mem::replace(worst, Outcome::Delivered);
            let target = self.pending.remove(request).target;
            let result = outcome_status(worst).map_or(RequestResult::Accepted, RequestResult::Refused);
            self.results.push_back((target, result));
        }
    }

    fn refuse(&mut self, target: ResponseTarget<P::Format>, status: Status) {
        self.results.push_back((target, RequestResult::Refused(status)));
    }
}

fn sent_state(decoded: &DecodedBody) -> PendingState {
    let mut items = [0; 3];
    let mut unsettled = 0;
    for (signal, rope) in decoded.ropes() {
        unsettled += 1;
        if let Some(count) = items.get_mut(*signal as usize) {
            *count = rope.items();
        }
    }
    PendingState::Sent { items, unsettled, outcome: Outcome::Delivered }
}

/// The metadata of a request: those of its client, its headers if the receiver keeps them, and what the authenticator
/// knows of its sender.
pub(super) fn with_sender(
    client: Option<&Arc<Metadata>>,
    headers: Option<Metadata>,
    sender: Vec<(String, String)>,
) -> Option<Arc<Metadata>> {
    if headers.is_none() && sender.is_empty() {
        return client.cloned();
    }
    let of_client = || client.map(|client| (**client).clone()).unwrap_or_default();
    let mut metadata = headers.unwrap_or_else(of_client);
    metadata.set_auth_attributes(sender);
    Some(Arc::new(metadata))
}
