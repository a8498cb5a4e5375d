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
    Build, Cx, Door, Event, Field, JobResult, Logger, Metadata, Mono, NoRoom, Outcome, Payload, Receiver,
    ReceiverMetrics, StartError,
};
use slab::Slab;

use crate::bodies::{Bodies, Connection, Server};
use crate::config::Otlp;
use crate::decode::{Body, Decoded, no_room_status};
use crate::grpc::GrpcSide;
use crate::http::{Form, HttpSide};
use crate::status;

/// Local keys from here on are the HTTP server's; below, the gRPC server's.
const HTTP_BASE: u64 = 1 << 40;
/// Local keys from here on are those of decoding jobs.
const JOBS_BASE: u64 = 1 << 50;

/// The local key under which a check of credentials ends.
const CHECKS: u64 = 1 << 51;
/// The local key under which requests continue whose check has ended.
const CHECKED: u64 = CHECKS + 1;

/// Units of work in one turn for requests whose check has ended: each takes 1, and [`DECODING`] more if it is decoded.
const CHECKED_IN_TURN: u32 = 64;
/// The units for decoding: a body that is decoded at once takes up to two milliseconds.
const DECODING: u32 = 8;

/// The checks of senders. A request is identified by its connection and the number of its charge.
pub(crate) type SenderChecks = CredentialChecks<(Connection, u64)>;
/// The pending check of the sender of a request.
pub(crate) type SenderCheck = PendingCheck<(Connection, u64)>;

/// The status when too many different credentials wait for their check.
pub(crate) fn too_many_checks(e: TooManyChecks) -> Status {
    Status::unavailable(e.to_string()).with_retry_after(std::time::Duration::from_secs(1))
}

/// A request that has arrived.
#[derive(Debug)]
pub(crate) struct Arrived {
    /// The number of its charge.
    pub(crate) number: u64,
    pub(crate) caller: Caller,
    pub(crate) meta: Option<Arc<Metadata>>,
    pub(crate) content: Content,
    pub(crate) workspace: Workspace,
}

/// What to do with a request that has arrived, once its sender is permitted.
#[derive(Debug)]
pub(crate) enum Content {
    /// Decode its body and send it into the pipelines.
    Body(Body),
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

/// The recipient of a response.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// A gRPC connection, and the call on it.
    Grpc(Connection, CallId),
    /// An HTTP connection, the request on it, and the format of the response.
    Http(Connection, RequestId, Form),
}

/// A request that is not answered yet.
#[derive(Debug)]
struct Pending {
    caller: Caller,
    signal: Signal,
    /// Zero until the request is decoded.
    items: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    /// It is being decoded by a job.
    Decoding { result: JobResult<Decoded>, meta: Option<Arc<Metadata>> },
    /// It has been sent into the pipelines.
    Sent,
}

/// The requests that are not answered yet, by the number under which they are sent.
#[derive(Debug)]
pub(crate) struct Requests {
    pending: Slab<Pending>,
    pub(crate) checks: SenderChecks,
    /// Requests that have arrived before the check of their sender ended, by the number of their charge.
    unchecked: BTreeMap<u64, (Arrived, SenderCheck)>,
    refused: Vec<(Caller, Refusal)>,
}

impl Requests {
    fn new() -> Self {
        Self {
            pending: Slab::new(),
            checks: CredentialChecks::new(CHECKS),
            unchecked: BTreeMap::new(),
            refused: Vec::new(),
        }
    }

    /// Handles a request that has arrived. It waits here while its sender is being checked.
    pub(crate) fn receive(
        &mut self,
        cx: &mut Cx<'_>,
        door: &mut Door<'_>,
        arrived: Arrived,
        check: Option<SenderCheck>,
    ) {
        let Some(check) = check else { return self.go_on(cx, door, arrived) };
        match check.result() {
            Some(result) => self.checked(cx, door, arrived, &result),
            None => drop(self.unchecked.insert(arrived.number, (arrived, check))),
        }
    }

    /// Handles the result of the check of a request's sender.
    fn checked(&mut self, cx: &mut Cx<'_>, door: &mut Door<'_>, arrived: Arrived, result: &CheckResult) {
        match result {
            Ok(()) => self.go_on(cx, door, arrived),
            Err(why) => self.refuse(arrived.caller, Status::new(Code::Unauthenticated, why.clone())),
        }
    }

    /// Continues with a request whose sender is permitted.
    fn go_on(&mut self, cx: &mut Cx<'_>, door: &mut Door<'_>, arrived: Arrived) {
        let Arrived { caller, meta, content, workspace, .. } = arrived;
        match content {
            Content::Body(body) => self.take(cx, door, &workspace, (caller, meta), body),
            Content::Refused(response) => self.refused.push((caller, Refusal::Response(response))),
        }
    }

    fn refuse(&mut self, caller: Caller, status: Status) {
        self.refused.push((caller, Refusal::Status(status)));
    }

    /// Accepts a request: decodes it, at once or by a job, and sends it into the pipelines.
    fn take(
        &mut self,
        cx: &mut Cx<'_>,
        door: &mut Door<'_>,
        workspace: &Workspace,
        (caller, meta): (Caller, Option<Arc<Metadata>>),
        body: Body,
    ) {
        let signal = body.signal;
        match body.decode_short(workspace) {
            Ok(Ok((body, held))) => {
                let items = body.items();
                let number = self.pending.insert(Pending { caller, signal, items, state: State::Sent }) as u64;
                door.send(cx, number, Payload { signal, body, meta, held });
            }
            Ok(Err(refused)) => self.refuse(caller, refused),
            Err(body) => {
                let entry = self.pending.vacant_entry();
                let result = cx.run_job(JOBS_BASE + entry.key() as u64, || body.decode());
                entry.insert(Pending { caller, signal, items: 0, state: State::Decoding { result, meta } });
            }
        }
    }

    /// Handles the end of the job that decodes a request.
    fn job_ended(&mut self, cx: &mut Cx<'_>, door: &mut Door<'_>, number: u64) {
        let Ok(key) = usize::try_from(number) else { return };
        let Some(pending) = self.pending.get_mut(key) else { return };
        let State::Decoding { result, meta } = std::mem::replace(&mut pending.state, State::Sent) else { return };
        match result.take() {
            Some(Ok((body, held))) => {
                pending.items = body.items();
                let signal = pending.signal;
                door.send(cx, number, Payload { signal, body, meta, held });
            }
            failed => {
                let fault = || Status::internal("the request could not be decoded: the decoder failed");
                let refused = failed.and_then(Result::err).unwrap_or_else(fault);
                let caller = self.pending.remove(key).caller;
                self.refuse(caller, refused);
            }
        }
    }
}

pub(crate) struct OtlpReceiver {
    grpc: Option<GrpcSide>,
    http: Option<HttpSide>,
    requests: Requests,
    bodies: Bodies,
    grpc_metrics: ReceiverMetrics,
    http_metrics: ReceiverMetrics,
    log: Logger,
}

impl OtlpReceiver {
    pub(crate) fn new(settings: &Otlp, build: &Build<'_>) -> Result<Self, StartError> {
        let name = build.id.to_string();
        let metrics = |transport| ReceiverMetrics::new(build.telemetry, &name, transport, build.signals);
        let bodies = Bodies::default();
        let grpc = settings.grpc.as_ref().map(|s| GrpcSide::new(s, build, bodies.clone()));
        let http = settings.http.as_ref().map(|s| HttpSide::new(s, build, HTTP_BASE, bodies.clone()));
        Ok(Self {
            grpc: grpc.transpose()?,
            http: http.transpose()?,
            bodies,
            requests: Requests::new(),
            grpc_metrics: metrics("grpc"),
            http_metrics: metrics("http"),
            log: build.log.clone(),
        })
    }

    fn refuse(&mut self, caller: Caller, refusal: Refusal) {
        match (refusal, caller, &mut self.http) {
            (Refusal::Status(status), caller, _) => self.answer(caller, Err(status)),
            (Refusal::Response(response), Caller::Http(connection, request, form), Some(side)) => {
                side.respond(connection, request, &form, response);
            }
            (Refusal::Response(_), ..) => {}
        }
    }

    /// Refuses bodies that are being read, by the numbers of their charges.
    fn refuse_reading(
        &mut self,
        cx: &mut Cx<'_>,
        connection: Connection,
        matches: impl Fn(u64) -> bool,
        status: &Status,
    ) {
        match (connection.server, &mut self.grpc, &mut self.http) {
            (Server::Grpc, Some(side), _) => side.refuse_reading(cx, connection, matches, status),
            (Server::Http, _, Some(side)) => side.refuse_reading(cx, connection, matches, status),
            _ => {}
        }
    }

    fn is_connected(&mut self, connection: Connection) -> bool {
        match connection.server {
            Server::Grpc => self.grpc.as_mut().is_some_and(|side| side.is_connected(connection)),
            Server::Http => self.http.as_mut().is_some_and(|side| side.is_connected(connection)),
        }
    }

    /// Continues with requests whose sender's check has ended, as many as the limit of a turn allows.
    fn take_checked(&mut self, cx: &mut Cx<'_>, door: &mut Door<'_>) {
        let mut spent = 0;
        let mut refused: BTreeMap<(Connection, String), BTreeSet<u64>> = BTreeMap::new();
        while spent < CHECKED_IN_TURN
            && let Some(((connection, number), result)) = self.requests.checks.poll_ended()
        {
            spent += 1;
            match (self.requests.unchecked.remove(&number), &*result) {
                (Some((arrived, _)), result) => {
                    // If the connection is closed, no client waits for a response, and the data is not accepted.
                    if self.is_connected(connection) {
                        spent += if result.is_ok() { DECODING } else { 0 };
                        self.requests.checked(cx, door, arrived, result);
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
            self.refuse_reading(cx, connection, |number| numbers.contains(&number), &status);
        }
    }

    fn answer(&mut self, caller: Caller, answer: Result<(), Status>) {
        match caller {
            Caller::Grpc(connection, call) => {
                if let Some(side) = &mut self.grpc {
                    side.answer(connection, call, answer);
                }
            }
            Caller::Http(connection, request, form) => {
                if let Some(side) = &mut self.http {
                    side.answer(connection, request, &form, answer);
                }
            }
        }
    }
}

impl Receiver for OtlpReceiver {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        if let Some(side) = &mut self.grpc {
            let local = side.open(cx, 0).map_err(StartError)?;
            self.log.info("Starting GRPC server", &[("endpoint", Field::Str(&local))]);
        }
        if let Some(side) = &mut self.http {
            let local = side.open(cx).map_err(StartError)?;
            self.log.info("Starting HTTP server", &[("endpoint", Field::Str(&local))]);
        }
        Ok(())
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, door: &mut Door<'_>) {
        if local >= CHECKS {
            if local == CHECKS {
                self.requests.checks.handle_job_ended(cx);
            }
            self.take_checked(cx, door);
        } else if let Some(number) = local.checked_sub(JOBS_BASE) {
            self.requests.job_ended(cx, door, number);
        } else if local >= HTTP_BASE {
            if let Some(side) = &mut self.http {
                side.event(cx, local, &event, door, &mut self.requests);
            }
        } else if let Some(side) = &mut self.grpc {
            side.event(cx, local, &event, door, &mut self.requests);
        }
        if self.requests.checks.has_ended() {
            cx.again(CHECKED);
        }
        for (caller, refusal) in std::mem::take(&mut self.requests.refused) {
            self.refuse(caller, refusal);
        }
        for (connection, number) in self.bodies.take_refused() {
            // Makes room for others.
            self.refuse_reading(cx, connection, |n| n == number, &no_room_status(NoRoom));
        }
    }

    fn settled(&mut self, _: &mut Cx<'_>, request: u64, outcome: Outcome) {
        let pending = usize::try_from(request).ok().and_then(|r| self.requests.pending.try_remove(r));
        let Some(pending) = pending else { return };
        let metrics = match &pending.caller {
            Caller::Grpc(..) => &self.grpc_metrics,
            Caller::Http(..) => &self.http_metrics,
        };
        metrics.settled(pending.signal, pending.items, &outcome);
        self.answer(pending.caller, status(outcome).map_or(Ok(()), Err));
    }

    fn flush(&mut self, cx: &mut Cx<'_>) {
        if let Some(side) = &mut self.grpc {
            side.flush(cx);
        }
        if let Some(side) = &mut self.http {
            side.flush(cx);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>, _: Mono) {
        if let Some(side) = &mut self.http {
            side.close(cx);
        }
        if let Some(side) = &mut self.grpc {
            side.close(cx);
        }
    }

    fn is_closed(&self) -> bool {
        self.grpc.as_ref().is_none_or(GrpcSide::is_closed) && self.http.as_ref().is_none_or(HttpSide::is_closed)
    }
}
