//! The receiver: passes events to its servers and requests, and results to the connections.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use otelcore_http::{Code, Status};
use otelcore_pipeline::{
    BuildContext, Cx, Event, LogField, Logger, MonotonicTime, NoRoom, Outcome, PipelineInput, Receiver,
    ReceiverMetrics, StartError, Unauthenticated,
};

use super::bodies::{ConnectionId, IncomingBodies, ServerProtocol};
use super::grpc::{GrpcServer, GrpcService};
use super::http::{HttpRoute, HttpServer};
use super::protocol::IngestProtocol;
use super::requests::{PendingRequests, RequestKey};
use super::status::no_room_status;
use crate::CredentialChecks;
use crate::config::{GrpcServerConfig, HttpServerConfig};

/// Local keys from here on are the HTTP server's; below, the gRPC server's.
const FIRST_HTTP_KEY: u64 = 1 << 40;
/// Local keys from here on are those of the jobs that decode bodies.
const FIRST_DECODE_KEY: u64 = 1 << 50;
/// The local key under which a check of credentials ends.
const CHECK_ENDED_KEY: u64 = 1 << 51;
/// The local key under which requests continue whose check has ended.
const CHECKED_KEY: u64 = CHECK_ENDED_KEY + 1;
/// The local key under which the share of incomplete requests is enforced.
const SHARE_KEY: u64 = 1 << 52;

/// How often the share of incomplete requests is enforced while there are any: resident memory can exceed its limit
/// while no request arrives here, and other receivers need the memory too.
const SHARE_INTERVAL: Duration = Duration::from_secs(1);

/// Units of work in one turn for requests whose check has ended: each takes 1, and [`DECODE_WORK`] more if it is decoded.
const MAX_CHECKED_WORK_PER_TURN: u32 = 64;
/// The units for decoding: a body that is decoded at once takes up to two milliseconds.
const DECODE_WORK: u32 = 8;

/// A receiver with an HTTP server, a gRPC server, or both.
pub struct Ingest<P: IngestProtocol> {
    protocol: Arc<P>,
    grpc: Option<GrpcServer<P>>,
    http: Option<HttpServer<P>>,
    requests: PendingRequests<P>,
    incoming_bodies: IncomingBodies,
    /// Whether the timer under [`SHARE_KEY`] is set.
    is_share_timer_set: bool,
    /// By transport: gRPC, HTTP.
    metrics: BTreeMap<ServerProtocol, ReceiverMetrics>,
    log: Logger,
}

impl<P: IngestProtocol> std::fmt::Debug for Ingest<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ingest").finish_non_exhaustive()
    }
}

impl<P: IngestProtocol> Ingest<P> {
    /// A receiver without a server.
    #[must_use]
    pub fn new(protocol: P, context: &BuildContext<'_>) -> Self {
        Self {
            protocol: Arc::new(protocol),
            grpc: None,
            http: None,
            requests: PendingRequests::new(
                CredentialChecks::new(CHECK_ENDED_KEY),
                FIRST_DECODE_KEY,
                context.log.clone(),
            ),
            incoming_bodies: IncomingBodies::default(),
            is_share_timer_set: false,
            metrics: BTreeMap::new(),
            log: context.log.clone(),
        }
    }

    /// Adds an HTTP server.
    ///
    /// # Errors
    /// The authenticator that the configuration names does not exist.
    pub fn with_http(
        mut self,
        config: &HttpServerConfig,
        routes: Vec<HttpRoute>,
        context: &BuildContext<'_>,
    ) -> Result<Self, StartError> {
        let (protocol, bodies) = (self.protocol.clone(), self.incoming_bodies.clone());
        self.add_metrics(ServerProtocol::Http, P::HTTP_TRANSPORT, context);
        self.http = Some(HttpServer::new(protocol, config, routes, context, FIRST_HTTP_KEY, bodies)?);
        Ok(self)
    }

    /// Adds a gRPC server.
    ///
    /// # Errors
    /// The authenticator that the configuration names does not exist.
    pub fn with_grpc(
        mut self,
        config: &GrpcServerConfig,
        service: GrpcService<P::Format>,
        context: &BuildContext<'_>,
    ) -> Result<Self, StartError> {
        let (protocol, bodies) = (self.protocol.clone(), self.incoming_bodies.clone());
        self.add_metrics(ServerProtocol::Grpc, "grpc", context);
        self.grpc = Some(GrpcServer::new(protocol, config, service, context, bodies)?);
        Ok(self)
    }

    fn add_metrics(&mut self, server: ServerProtocol, transport: &str, context: &BuildContext<'_>) {
        let receiver = context.id.to_string();
        let metrics = ReceiverMetrics::new(context.telemetry, &receiver, transport, context.signals);
        self.metrics.insert(server, metrics);
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

    /// Refuses the requests that were selected to make room for others, and sees to it that their share is enforced
    /// later.
    fn refuse_selected(&mut self, cx: &mut Cx<'_>) {
        let mut by_connection: BTreeMap<ConnectionId, BTreeSet<u64>> = BTreeMap::new();
        for (connection, number) in self.incoming_bodies.take_refused() {
            by_connection.entry(connection).or_default().insert(number);
        }
        for (connection, numbers) in by_connection {
            let status = no_room_status(NoRoom);
            self.refuse_incoming_bodies(cx, connection, |number| numbers.contains(&number), &status);
        }
        if self.incoming_bodies.has_more_to_select() {
            cx.request_ready(SHARE_KEY);
        }
        if !self.is_share_timer_set && !self.incoming_bodies.is_empty() {
            cx.set_timer(SHARE_KEY, cx.now() + SHARE_INTERVAL);
            self.is_share_timer_set = true;
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
        let mut refused: BTreeMap<(ConnectionId, Unauthenticated), BTreeSet<u64>> = BTreeMap::new();
        while work_done < MAX_CHECKED_WORK_PER_TURN
            && let Some(((connection, number), result)) = self.requests.checks.poll_result()
        {
            work_done += 1;
            match (self.requests.take_waiting(number), &*result) {
                (Some(received), result) => {
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
            let status = Status::new(Code::Unauthenticated, why.0);
            self.refuse_incoming_bodies(cx, connection, |number| numbers.contains(&number), &status);
        }
    }

    /// Passes the results of requests to their connections.
    fn send_results(&mut self, cx: &Cx<'_>) {
        while let Some((target, result)) = self.requests.poll_result() {
            match (target.request, &mut self.grpc, &mut self.http) {
                (RequestKey::Grpc(call, method, started), Some(server), _) => {
                    server.send_result(cx, target.connection, (call, method, started), result);
                }
                (RequestKey::Http(id, request), _, Some(server)) => {
                    server.send_result(cx, target.connection, (id, request), result);
                }
                _ => {}
            }
        }
    }
}

impl<P: IngestProtocol> Receiver for Ingest<P> {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        if let Some(server) = &mut self.grpc {
            let local_addr = server.open(cx, 0)?;
            self.log.info("Starting GRPC server", &[("endpoint", LogField::Str(&local_addr))]);
        }
        if let Some(server) = &mut self.http {
            let local_addr = server.open(cx)?;
            self.log.info("Starting HTTP server", &[("endpoint", LogField::Str(&local_addr))]);
        }
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, input: &mut PipelineInput<'_>) {
        if local == SHARE_KEY {
            if matches!(event, Event::Timer) {
                self.is_share_timer_set = false;
            }
            self.incoming_bodies.enforce_share(input.budget(), cx.now());
        } else if local >= CHECK_ENDED_KEY {
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
        self.send_results(cx);
        self.refuse_selected(cx);
    }

    fn settled(&mut self, cx: &mut Cx<'_>, request: u64, outcome: Outcome) {
        let metrics = &self.metrics;
        self.requests.settle(request, outcome, |payload, outcome| {
            if let Some(metrics) = metrics.get(&payload.server) {
                metrics.record_outcome(payload.signal, payload.items, outcome);
            }
        });
        self.send_results(cx);
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
        self.grpc.as_ref().is_none_or(GrpcServer::is_closed) && self.http.as_ref().is_none_or(HttpServer::is_closed)
    }
}
