//! OTLP over gRPC: the three Export methods.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use otelcore_http::grpc::CallId;
use otelcore_http::grpc::server::{
    CallHead, GrpcServerConn, GrpcServerConnConfig, IncomingCall, unknown_method, unknown_service,
};
use otelcore_http::{Admission, Bytes, Code, Status};
use otelcore_net::config::GrpcServerConfig;
use otelcore_net::tls::{TlsAcceptor, TlsServerConfig};
use otelcore_net::{AcceptErrorReporter, Acceptor, bind};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    Authentication, BuildContext, Cx, Endpoint, Event, Logger, Metadata, PipelineInput, ServerAuth, StartError, Stream,
};

use crate::decode::{MAX_INLINE_DECOMPRESSED, Protocol, RequestBody, no_room_status};
use crate::incoming_bodies::{BodyCharge, ConnectionId, IncomingBodies, ServerProtocol};
use crate::receiver::{
    PendingRequests, ReceivedRequest, RequestContent, ResponseTarget, SenderCheck, SenderChecks, too_many_checks_status,
};
use crate::{SUCCESS_RESPONSE, outcome_status};

type GrpcConnection = GrpcServerConn<Box<dyn Stream>, GrpcPermit>;

/// The state of a call whose message is being read.
struct GrpcPermit {
    charge: BodyCharge,
    check: Option<SenderCheck>,
}

/// Service names, by `Signal as usize`.
const SERVICES: [&str; 3] = [
    "opentelemetry.proto.collector.trace.v1.TraceService",
    "opentelemetry.proto.collector.metrics.v1.MetricsService",
    "opentelemetry.proto.collector.logs.v1.LogsService",
];

/// The gRPC server of a receiver.
pub(crate) struct OtlpGrpcServer {
    listen: Endpoint,
    config: Rc<GrpcServerConnConfig>,
    signals: Vec<Signal>,
    tls_config: Option<TlsServerConfig>,
    tls_acceptor: Option<TlsAcceptor>,
    auth: Option<Rc<dyn ServerAuth>>,
    log: Logger,
    accept_report: AcceptErrorReporter,
    acceptor: Option<Acceptor<GrpcConnection>>,
    incoming_bodies: IncomingBodies,
}

/// Admits or refuses calls by their path, and bodies by the state of the limiter.
struct CallAdmission<'a, 'd, 'w> {
    input: &'a PipelineInput<'d>,
    incoming_bodies: &'a IncomingBodies,
    connection: ConnectionId,
    signals: &'a [Signal],
    auth: Option<&'a dyn ServerAuth>,
    checks: &'a mut SenderChecks,
    cx: &'a mut Cx<'w>,
}

impl Admission<CallHead> for CallAdmission<'_, '_, '_> {
    type Permit = GrpcPermit;

    fn route(&mut self, path: &str) -> Result<u32, Status> {
        let (service, method) = path.strip_prefix('/').unwrap_or(path).rsplit_once('/').unwrap_or((path, ""));
        // A service exists only where a pipeline of its signal uses the receiver.
        let is_served = |s: &&Signal| SERVICES[**s as usize] == service;
        match self.signals.iter().find(is_served) {
            Some(signal) if method == "Export" => Ok(*signal as u32),
            Some(_) => Err(unknown_method(path)),
            None => Err(unknown_service(path)),
        }
    }

    fn admit_head(&mut self, call: &CallHead) -> Result<GrpcPermit, Status> {
        let mut pending = None;
        if let Some(auth) = self.auth {
            let header = |name: &str| call.metadata.get(name).map(|v| Cow::Borrowed(v.as_bytes()));
            match auth.authenticate(self.cx, &header) {
                Authentication::Granted => {}
                Authentication::Refused(why) => return Err(Status::new(Code::Unauthenticated, why)),
                Authentication::Pending(check) => pending = Some(check),
            }
        }
        let charge = self.incoming_bodies.add(self.input.budget(), self.connection, call.memory_size());
        let charge = charge.map_err(no_room_status)?;
        let request = (self.connection, charge.number());
        let check = pending.map(|check| self.checks.enqueue(self.cx, check, request));
        Ok(GrpcPermit { charge, check: check.transpose().map_err(too_many_checks_status)? })
    }

    fn admit_message(&mut self, _: &mut GrpcPermit, call: &CallHead, _: u32) -> Result<(), Status> {
        let refusal = call_signal(call).and_then(|signal| self.input.refusal(signal));
        refusal.and_then(outcome_status).map_or(Ok(()), Err)
    }

    fn grow(&mut self, permit: &mut GrpcPermit, to: u64) -> Result<(), Status> {
        permit.charge.grow(to).map_err(no_room_status)
    }
}

fn call_signal(head: &CallHead) -> Option<Signal> {
    Signal::ALL.get(head.method as usize).copied()
}

impl OtlpGrpcServer {
    pub(crate) fn new(
        config: &GrpcServerConfig,
        context: &BuildContext<'_>,
        incoming_bodies: IncomingBodies,
    ) -> Result<Self, StartError> {
        Ok(Self {
            listen: config.listen.clone(),
            config: Rc::new(GrpcServerConnConfig {
                inline_decompress: MAX_INLINE_DECOMPRESSED as u32,
                ..config.connection_config()
            }),
            signals: context.signals.to_vec(),
            tls_config: config.tls.clone(),
            tls_acceptor: None,
            auth: config.auth.as_ref().map(|id| context.capabilities.get(id)).transpose()?,
            log: context.log.clone(),
            accept_report: AcceptErrorReporter::new(context.log.clone(), context.telemetry),
            acceptor: None,
            incoming_bodies,
        })
    }

    pub(crate) fn open(&mut self, cx: &mut Cx<'_>, first_key: u64) -> Result<String, String> {
        if let Some(tls_config) = &self.tls_config {
            self.tls_acceptor = Some(TlsAcceptor::load(cx, tls_config, &[b"h2"], self.log.clone())?);
        }
        let listener = bind(cx, first_key, &self.listen).map_err(|e| e.to_string())?;
        let acceptor = Acceptor::new(listener, first_key).with_error_reporter(self.accept_report.clone());
        let local_addr = acceptor.local_addr();
        self.acceptor = Some(acceptor);
        Ok(local_addr)
    }

    pub(crate) fn handle_event(
        &mut self,
        cx: &mut Cx<'_>,
        local: u64,
        event: &Event<'_>,
        input: &mut PipelineInput<'_>,
        requests: &mut PendingRequests,
    ) {
        let Some(acceptor) = &mut self.acceptor else { return };
        let (config, tls_acceptor) = (&self.config, &mut self.tls_acceptor);
        let make_connection = |cx: &mut Cx<'_>, stream: Box<dyn Stream>| {
            let stream = match tls_acceptor {
                None => stream,
                Some(tls) => Box::new(tls.accept(cx, stream)?),
            };
            Some(GrpcServerConn::new(stream, config.clone(), cx.now().0, cx.random()))
        };
        for slot in acceptor.handle_event(cx, local, event, make_connection) {
            let now = cx.now().0;
            let Some((conn, serial)) = acceptor.get(slot) else { continue };
            let connection = ConnectionId { server: ServerProtocol::Grpc, slot, serial };
            if conn.is_idle() && self.incoming_bodies.should_defer(input.budget(), connection) {
                acceptor.request_ready(cx, slot);
                continue;
            }
            let mut admission = CallAdmission {
                input,
                incoming_bodies: &self.incoming_bodies,
                connection,
                signals: &self.signals,
                auth: self.auth.as_deref(),
                checks: &mut requests.checks,
                cx,
            };
            let poll_result = conn.poll(now, &mut admission);
            let limit = u64::from(self.config.max_recv_message);
            while let Some(call) = conn.poll_call() {
                // Calls of other methods were refused when their head arrived.
                let Some(signal) = call_signal(&call.head) else { continue };
                let metadata = (!call.head.metadata.is_empty()).then(|| Arc::new(call_metadata(&call.head)));
                let caller = ResponseTarget::Grpc(connection, call.id);
                let (charge_number, check, body) = call_parts(signal, call, limit);
                let content = RequestContent::Body(body);
                let received = ReceivedRequest {
                    charge_number,
                    response_target: caller,
                    metadata,
                    content,
                    workspace: self.config.workspace.clone(),
                };
                requests.receive(cx, input, received, check);
            }
            // A cancelled call is still settled; its response is then dropped.
            while conn.poll_cancelled().is_some() {}
            acceptor.apply_poll_result(cx, slot, &poll_result);
        }
    }

    /// Refuses bodies that are being read, by the numbers of their charges.
    pub(crate) fn refuse_incoming_bodies(
        &mut self,
        cx: &mut Cx<'_>,
        connection: ConnectionId,
        matches: impl Fn(u64) -> bool,
        status: &Status,
    ) {
        let conn = self.acceptor.as_mut().and_then(|a| a.get_for_response(connection.slot, connection.serial));
        if let Some(conn) = conn {
            conn.refuse_incomplete(cx.now().0, |permit| matches(permit.charge.number()), status);
        }
    }

    /// Whether the connection is still open.
    pub(crate) fn is_connected(&mut self, connection: ConnectionId) -> bool {
        let open_connection = self.acceptor.as_mut().and_then(|a| a.get(connection.slot));
        open_connection.is_some_and(|(_, serial)| serial == connection.serial)
    }

    pub(crate) fn send_result(&mut self, connection: ConnectionId, call: CallId, result: Result<(), Status>) {
        // The connection may be closed, and another one may use its slot.
        let conn = self.acceptor.as_mut().and_then(|a| a.get_for_response(connection.slot, connection.serial));
        match (conn, result) {
            (None, _) => {}
            (Some(conn), Ok(())) => conn.respond(call, Bytes::from_static(SUCCESS_RESPONSE)),
            (Some(conn), Err(status)) => conn.respond_error(call, &status),
        }
    }

    pub(crate) fn flush(&mut self, cx: &mut Cx<'_>) {
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.flush(cx);
        }
    }

    pub(crate) fn close(&mut self, cx: &mut Cx<'_>) {
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.close(cx);
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.acceptor.as_ref().is_none_or(Acceptor::is_closed)
    }
}

/// The parts of a call that has been received: the number of its charge, the check of its sender, and its body.
fn call_parts(signal: Signal, call: IncomingCall<GrpcPermit>, limit: u64) -> (u64, Option<SenderCheck>, RequestBody) {
    let GrpcPermit { charge, check } = call.permit;
    let (charge_number, held, protocol) = (charge.number(), charge.complete(), Protocol::Grpc);
    let body = RequestBody { signal, bytes: call.message, coding: call.coding, is_json: false, limit, held, protocol };
    (charge_number, check, body)
}

fn call_metadata(head: &CallHead) -> Metadata {
    let mut metadata = Metadata::default();
    for (name, value) in &head.metadata {
        if let Ok(value) = value.to_str() {
            metadata.add(name.as_str(), value);
        }
    }
    if let Some(authority) = head.authority() {
        metadata.add("host", authority);
    }
    metadata
}
