//! The receiver: maps outcomes to connections, and holds the requests whose sender is being checked or that are being
//! decoded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use otelcore_http::grpc::CallId;
use otelcore_http::h1::{RequestId, Response};
use otelcore_http::{Code, Status, Workspace};
use otelcore_net::{CheckResult, CredentialChecks, PendingCheck, TooManyChecks};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    BuildContext, Cx, Event, JobResult, LogField, Logger, Metadata, MonotonicTime, NoRoom, Outcome, Payload,
    PipelineInput, Receiver, ReceiverMetrics, StartError,
};
use slab::Slab;

use crate::config::OtlpReceiverConfig;
use crate::decode::{DecodeResult, RequestBody, no_room_status};
use crate::grpc::OtlpGrpcServer;
use crate::http::{OtlpHttpServer, ResponseFormat};
use crate::incoming_bodies::{ConnectionId, IncomingBodies, ServerProtocol};
use crate::outcome_status;

/// Local keys from here on are the HTTP server's; below, the gRPC server's.
const FIRST_HTTP_KEY: u64 = 1 << 40;
/// Local keys from here on are those of the jobs that decode bodies.
const FIRST_DECODE_KEY: u64 = 1 << 50;

/// The local key under which a check of credentials ends.
const CHECK_ENDED_KEY: u64 = 1 << 51;
/// The local key under which requests continue whose check has ended.
const CHECKED_KEY: u64 = CHECK_ENDED_KEY + 1;

/// Units of work in one turn for requests whose check has ended: each takes 1, and [`DECODE_WORK`] more if it is
/// decoded.
const MAX_CHECKED_WORK_PER_TURN: u32 = 64;
/// The units for decoding: a body that is decoded at once takes up to two milliseconds.
const DECODE_WORK: u32 = 8;

/// The checks of senders. A request is identified by its connection and the number of its charge.
pub(crate) type SenderChecks = CredentialChecks<(ConnectionId, u64)>;
/// The pending check of the sender of a request.
pub(crate) type SenderCheck = PendingCheck<(ConnectionId, u64)>;

/// The status when too many different credentials wait for their check.
pub(crate) fn too_many_checks_status(e: TooManyChecks) -> Status {
    Status::unavailable(e.to_string()).with_retry_after(std::time::Duration::from_secs(1))
}

/// A request that has been received.
#[derive(Debug)]
pub(crate) struct ReceivedRequest {
    /// The number of its charge.
    pub(crate) charge_number: u64,
    pub(crate) response_target: ResponseTarget,
    pub(crate) metadata: Option<Arc<Metadata>>,
    pub(crate) content: RequestContent,
    pub(crate) workspace: Workspace,
}

/// What to do with a received request, once its sender is permitted.
#[derive(Debug)]
pub(crate) enum RequestContent {
    /// Decode its body and send it into the pipelines.
    Body(RequestBody),
    /// Refuse it because of its head; HTTP only.
    Refused(Response),
}

/// How a request is refused.
#[derive(Debug)]
enum Refusal {
    Status(Status),
    /// HTTP only.
    Response(Response),
}

/// Where a response is sent.
#[derive(Clone, Debug)]
pub(crate) enum ResponseTarget {
    /// A gRPC connection, and the call on it.
    Grpc(ConnectionId, CallId),
    /// An HTTP connection, the request on it, and the format of the response.
    Http(ConnectionId, RequestId, ResponseFormat),
}

/// A request without a response yet.
#[derive(Debug)]
struct PendingRequest {
    response_target: ResponseTarget,
    signal: Signal,
    /// Zero until the request is decoded.
    items: u32,
    state: PendingState,
}

#[derive(Debug)]
enum PendingState {
    /// It is being decoded by a job.
    Decoding { result: JobResult<DecodeResult>, metadata: Option<Arc<Metadata>> },
    /// It has been sent into the pipelines.
    Sent,
}

/// The requests without a response yet, by the number under which they are sent.
#[derive(Debug)]
pub(crate) struct PendingRequests {
    pending: Slab<PendingRequest>,
    pub(crate) checks: SenderChecks,
    /// Requests that were received before the check of their sender ended, by the number of their charge.
    waiting_for_check: BTreeMap<u64, (ReceivedRequest, SenderCheck)>,
    refused: Vec<(ResponseTarget, Refusal)>,
}

impl PendingRequests {
    fn new() -> Self {
        Self {
            pending: Slab::new(),
            checks: CredentialChecks::new(CHECK_ENDED_KEY),
            waiting_for_check: BTreeMap::new(),
            refused: Vec::new(),
        }
    }

    /// Handles a received request. It waits here while its sender is being checked.
    pub(crate) fn receive(
        &mut self,
        cx: &mut Cx<'_>,
        input: &mut PipelineInput<'_>,
        received: ReceivedRequest,
        check: Option<SenderCheck>,
    ) {
        let Some(check) = check else { return self.continue_request(cx, input, received) };
        match check.result() {
            Some(result) => self.handle_check_result(cx, input, received, &result),
            None => drop(self.waiting_for_check.insert(received.charge_number, (received, check))),
        }
    }

    /// Handles the result of the check of a request's sender.
    fn handle_check_result(
        &mut self,
        cx: &mut Cx<'_>,
        input: &mut PipelineInput<'_>,
        received: ReceivedRequest,
        result: &CheckResult,
    ) {
        match result {
            Ok(()) => self.continue_request(cx, input, received),
            Err(why) => self.refuse(received.response_target, Status::new(Code::Unauthenticated, why.clone())),
        }
    }

    /// Continues with a request whose sender is permitted.
    fn continue_request(&mut self, cx: &mut Cx<'_>, input: &mut PipelineInput<'_>, received: ReceivedRequest) {
        let ReceivedRequest { response_target, metadata, content, workspace, .. } = received;
        match content {
            RequestContent::Body(body) => self.accept_request(cx, input, &workspace, (response_target, metadata), body),
            RequestContent::Refused(response) => self.refused.push((response_target, Refusal::Response(response))),
        }
    }

    fn refuse(&mut self, response_target: ResponseTarget, status: Status) {
        self.refused.push((response_target, Refusal::Status(status)));
    }

    /// Accepts a request: decodes it, at once or by a job, and sends it into the pipelines.
    fn accept_request(
        &mut self,
        cx: &mut Cx<'_>,
        input: &mut PipelineInput<'_>,
        workspace: &Workspace,
        (response_target, metadata): (ResponseTarget, Option<Arc<Metadata>>),
        body: RequestBody,
    ) {
        let signal = body.signal;
        match body.decode_if_short(workspace) {
            Ok(Ok((body, held))) => {
                let items = body.items();
                let number =
                    self.pending.insert(PendingRequest { response_target, signal, items, state: PendingState::Sent })
                        as u64;
                input.send(cx, number, Payload { signal, body, metadata, held });
            }
            Ok(Err(status)) => self.refuse(response_target, status),
            Err(body) => {
                let entry = self.pending.vacant_entry();
                let result = cx.run_job(FIRST_DECODE_KEY + entry.key() as u64, || body.decode());
                entry.insert(PendingRequest {
                    response_target,
                    signal,
                    items: 0,
                    state: PendingState::Decoding { result, metadata },
                });
            }
        }
    }

    /// Handles the end of the job that decodes a request.
    fn handle_decoded(&mut self, cx: &mut Cx<'_>, input: &mut PipelineInput<'_>, number: u64) {
        let Ok(key) = usize::try_from(number) else { return };
        let Some(pending) = self.pending.get_mut(key) else { return };
        let PendingState::Decoding { result, metadata } = std::mem::replace(&mut pending.state, PendingState::Sent)
        else {
            return;
        };
        match result.take() {
            Some(Ok((body, held))) => {
                pending.items = body.items();
                let signal = pending.signal;
                input.send(cx, number, Payload { signal, body, metadata, held });
            }
            failed => {
                let decoder_error = || Status::internal("the request could not be decoded: the decoder failed");
                let status = failed.and_then(Result::err).unwrap_or_else(decoder_error);
                let response_target = self.pending.remove(key).response_target;
                self.refuse(response_target, status);
            }
        }
    }
}

pub(crate) struct OtlpReceiver {
    grpc: Option<OtlpGrpcServer>,
    http: Option<OtlpHttpServer>,
    requests: PendingRequests,
    incoming_bodies: IncomingBodies,
    grpc_metrics: ReceiverMetrics,
    http_metrics: ReceiverMetrics,
    log: Logger,
}

impl OtlpReceiver {
    pub(crate) fn new(config: &OtlpReceiverConfig, context: &BuildContext<'_>) -> Result<Self, StartError> {
        let name = context.id.to_string();
        let metrics = |transport| ReceiverMetrics::new(context.telemetry, &name, transport, context.signals);
        let incoming_bodies = IncomingBodies::default();
        let grpc = config.grpc.as_ref().map(|s| OtlpGrpcServer::new(s, context, incoming_bodies.clone()));
        let http =
            config.http.as_ref().map(|s| OtlpHttpServer::new(s, context, FIRST_HTTP_KEY, incoming_bodies.clone()));
        Ok(Self {
            grpc: grpc.transpose()?,
            http: http.transpose()?,
            incoming_bodies,
            requests: PendingRequests::new(),
            grpc_metrics: metrics("grpc"),
            http_metrics: metrics("http"),
            log: context.log.clone(),
        })
    }

    fn refuse(&mut self, response_target: ResponseTarget, refusal: Refusal) {
        match (refusal, response_target, &mut self.http) {
            (Refusal::Status(status), caller, _) => self.send_result(caller, Err(status)),
            (Refusal::Response(response), ResponseTarget::Http(connection, request, form), Some(server)) => {
                server.respond(connection, request, &form, response);
            }
            (Refusal::Response(_), ..) => {}
        }
    }

    /// Refuses bodies that are being read, by the numbers of their charges.
    fn refuse_incoming_bodies(
        &mut self,
        cx: &mut Cx<'_>,
        connection: ConnectionId,
        matches: impl Fn(u64) -> bool,
        status: &Status,
    ) {
        match (connection.server, &mut self.grpc, &mut self.http) {
            (ServerProtocol::Grpc, Some(server), _) => server.refuse_incoming_bodies(cx, connection, matches, status),
            (ServerProtocol::Http, _, Some(server)) => server.refuse_incoming_bodies(cx, connection, matches, status),
            _ => {}
        }
    }

    fn is_connected(&mut self, connection: ConnectionId) -> bool {
        match connection.server {
            ServerProtocol::Grpc => self.grpc.as_mut().is_some_and(|server| server.is_connected(connection)),
            ServerProtocol::Http => self.http.as_mut().is_some_and(|server| server.is_connected(connection)),
        }
    }

    /// Continues with requests whose sender's check has ended, as many as the limit of a turn allows.
    fn continue_checked(&mut self, cx: &mut Cx<'_>, input: &mut PipelineInput<'_>) {
        let mut work_done = 0;
        let mut refused: BTreeMap<(ConnectionId, String), BTreeSet<u64>> = BTreeMap::new();
        while work_done < MAX_CHECKED_WORK_PER_TURN
            && let Some(((connection, number), result)) = self.requests.checks.poll_result()
        {
            work_done += 1;
            match (self.requests.waiting_for_check.remove(&number), &*result) {
                (Some((received, _)), result) => {
                    // If the connection is closed, no client waits for a response, and the data is not accepted.
                    if self.is_connected(connection) {
                        work_done += if result.is_ok() { DECODE_WORK } else { 0 };
                        self.requests.handle_check_result(cx, input, received, result);
                    }
                }
                // Its body is still being read.
                (None, Err(why)) => {
                    refused.entry((connection, why.clone())).or_default().insert(number);
                }
                (None, Ok(())) => {}
            }
        }
        for ((connection, why), numbers) in refused {
            let status = Status::new(Code::Unauthenticated, why);
            self.refuse_incoming_bodies(cx, connection, |number| numbers.contains(&number), &status);
        }
    }

    fn send_result(&mut self, response_target: ResponseTarget, answer: Result<(), Status>) {
        match response_target {
            ResponseTarget::Grpc(connection, call) => {
                if let Some(server) = &mut self.grpc {
                    server.send_result(connection, call, answer);
                }
            }
            ResponseTarget::Http(connection, request, form) => {
                if let Some(server) = &mut self.http {
                    server.send_result(connection, request, &form, answer);
                }
            }
        }
    }
}

impl Receiver for OtlpReceiver {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        if let Some(server) = &mut self.grpc {
            let local_addr = server.open(cx, 0).map_err(StartError)?;
            self.log.info("Starting GRPC server", &[("endpoint", LogField::Str(&local_addr))]);
        }
        if let Some(server) = &mut self.http {
            let local_addr = server.open(cx).map_err(StartError)?;
            self.log.info("Starting HTTP server", &[("endpoint", LogField::Str(&local_addr))]);
        }
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, input: &mut PipelineInput<'_>) {
        if local >= CHECK_ENDED_KEY {
            if local == CHECK_ENDED_KEY {
                self.requests.checks.handle_job_ended(cx);
            }
            self.continue_checked(cx, input);
        } else if let Some(number) = local.checked_sub(FIRST_DECODE_KEY) {
            self.requests.handle_decoded(cx, input, number);
        } else if local >= FIRST_HTTP_KEY {
            if let Some(server) = &mut self.http {
                server.handle_event(cx, local, &event, input, &mut self.requests);
            }
        } else if let Some(server) = &mut self.grpc {
            server.handle_event(cx, local, &event, input, &mut self.requests);
        }
        if self.requests.checks.has_results() {
            cx.request_ready(CHECKED_KEY);
        }
        for (response_target, refusal) in std::mem::take(&mut self.requests.refused) {
            self.refuse(response_target, refusal);
        }
        for (connection, number) in self.incoming_bodies.take_refused() {
            // Makes room for others.
            self.refuse_incoming_bodies(cx, connection, |n| n == number, &no_room_status(NoRoom));
        }
    }

    fn settled(&mut self, _: &mut Cx<'_>, request: u64, outcome: Outcome) {
        let pending = usize::try_from(request).ok().and_then(|r| self.requests.pending.try_remove(r));
        let Some(pending) = pending else { return };
        let metrics = match &pending.response_target {
            ResponseTarget::Grpc(..) => &self.grpc_metrics,
            ResponseTarget::Http(..) => &self.http_metrics,
        };
        metrics.record_outcome(pending.signal, pending.items, &outcome);
        self.send_result(pending.response_target, outcome_status(outcome).map_or(Ok(()), Err));
    }

    fn flush(&mut self, cx: &mut Cx<'_>) {
        if let Some(server) = &mut self.grpc {
            server.flush(cx);
        }
        if let Some(server) = &mut self.http {
            server.flush(cx);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>, _: MonotonicTime) {
        if let Some(server) = &mut self.http {
            server.close(cx);
        }
        if let Some(server) = &mut self.grpc {
            server.close(cx);
        }
    }

    fn is_closed(&self) -> bool {
        self.grpc.as_ref().is_none_or(OtlpGrpcServer::is_closed)
            && self.http.as_ref().is_none_or(OtlpHttpServer::is_closed)
    }
}
