//! The gRPC server of a receiver: unary methods whose request messages are telemetry.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use otelcore_http::grpc::CallId;
use otelcore_http::grpc::server::{
    CallHead, GrpcServerConn, GrpcServerConnConfig, IncomingCall, unknown_method, unknown_service,
};
use otelcore_http::{Admission, Bytes, Code, Status};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    Authentication, BuildContext, Cx, Endpoint, Event, Logger, Metadata, MonotonicTime, PipelineInput, ServerAuth,
    StartError, Stream,
};

use super::bodies::{BodyCharge, ConnectionId, IncomingBodies, ServerProtocol};
use super::body::{MAX_INLINE_DECOMPRESSED, RequestBody};
use super::protocol::IngestProtocol;
use super::requests::{
    PendingRequests, ReceivedRequest, RequestContent, RequestKey, RequestResult, ResponseTarget, SenderCheck,
    SenderChecks, with_sender,
};
use super::status::{no_room_status, outcome_status, too_many_checks_status};
use crate::acceptor::LoadSkewPolicy;
use crate::config::GrpcServerConfig;
use crate::request_metrics::RpcMetrics;
use crate::tls::{TlsAcceptor, TlsServerConfig};
use crate::{AcceptErrorReporter, Acceptor, ListenError, bind};

/// A unary method whose request message is telemetry.
#[derive(Clone, Debug)]
pub struct GrpcMethod {
    /// `/package.Service/Method`.
    pub path: String,
    /// Passed to [`IngestProtocol::decode`].
    pub route: u32,
    /// The signal of its telemetry: while a limiter refuses it, calls are refused before their message is read.
    pub signal: Signal,
}

/// What a receiver serves over gRPC.
#[derive(Clone, Debug)]
pub struct GrpcService<F> {
    /// The methods.
    pub methods: Vec<GrpcMethod>,
    /// The format that is passed to [`IngestProtocol::decode`] with each message.
    pub format: F,
    /// The response message to accepted telemetry.
    pub response: Bytes,
}

type GrpcConnection = GrpcServerConn<Box<dyn Stream>, GrpcPermit>;

/// The state of a call whose message is being read.
struct GrpcPermit {
    charge: BodyCharge,
    check: Option<SenderCheck>,
    /// What the authenticator knows of the sender.
    sender: Vec<(String, String)>,
    /// Where calls are measured: when it began, and its method.
    started: Option<MonotonicTime>,
    method: u32,
}

/// The gRPC server of a receiver.
pub(super) struct GrpcServer<P: IngestProtocol> {
    protocol: Arc<P>,
    service: GrpcService<P::Format>,
    listen: Endpoint,
    config: Rc<GrpcServerConnConfig>,
    tls_config: Option<TlsServerConfig>,
    tls_acceptor: Option<TlsAcceptor>,
    auth: Option<Rc<dyn ServerAuth>>,
    log: Logger,
    accept_report: AcceptErrorReporter,
    /// Until it listens.
    load_skew: Option<LoadSkewPolicy>,
    acceptor: Option<Acceptor<GrpcConnection>>,
    incoming_bodies: IncomingBodies,
    metrics: RpcMetrics,
}

/// Admits or refuses calls by their path, and bodies by the state of the limiter.
struct CallAdmission<'a, 'd, 'w> {
    input: &'a PipelineInput<'d>,
    incoming_bodies: &'a IncomingBodies,
    connection: ConnectionId,
    methods: &'a [GrpcMethod],
    auth: Option<&'a dyn ServerAuth>,
    metrics: &'a RpcMetrics,
    checks: &'a mut SenderChecks,
    cx: &'a mut Cx<'w>,
}

impl Admission<CallHead> for CallAdmission<'_, '_, '_> {
    type Permit = GrpcPermit;

    fn route(&mut self, path: &str) -> Result<u32, Status> {
        if let Some(index) = self.methods.iter().position(|method| method.path == path) {
            return u32::try_from(index).map_err(|_| unknown_method(path));
        }
        let service = |path: &str| path.rsplit_once('/').map(|(service, _)| service.to_owned());
        match self.methods.iter().any(|method| service(&method.path) == service(path)) {
            true => Err(unknown_method(path)),
            false => Err(unknown_service(path)),
        }
    }

    fn admit_head(&mut self, call: &CallHead) -> Result<GrpcPermit, Status> {
        let started = self.metrics.begin(self.cx);
        match self.admit(call) {
            Ok(permit) => Ok(GrpcPermit { started, method: call.method, ..permit }),
            Err(status) => Err(self.refused(started, call.method, status)),
        }
    }

    fn admit_message(&mut self, permit: &mut GrpcPermit, call: &CallHead, _: u32) -> Result<(), Status> {
        let refusal = called_method(self.methods, call).and_then(|method| self.input.refusal(method.signal));
        match refusal.and_then(outcome_status) {
            None => Ok(()),
            Some(status) => Err(self.refused(permit.started, call.method, status)),
        }
    }

    fn grow(&mut self, permit: &mut GrpcPermit, to: u64) -> Result<(), Status> {
        let grown = permit.charge.grow(to, self.cx.now()).map_err(no_room_status);
        grown.map_err(|status| self.refused(permit.started, permit.method, status))
    }
}

impl CallAdmission<'_, '_, '_> {
    /// Counts a call that is refused.
    fn refused(&self, started: Option<MonotonicTime>, method: u32, status: Status) -> Status {
        let path = self.methods.get(method as usize).map_or("", |method| &*method.path);
        self.metrics.end(self.cx, started, path, status.code);
        status
    }

    fn admit(&mut self, call: &CallHead) -> Result<GrpcPermit, Status> {
        let (mut pending, mut sender) = (None, Vec::new());
        if let Some(auth) = self.auth {
            let header = |name: &str| call.metadata.get(name).map(|v| Cow::Borrowed(v.as_bytes()));
            match auth.authenticate(self.cx, &header) {
                Authentication::Granted => {}
                Authentication::Refused(why) => return Err(Status::new(Code::Unauthenticated, why.0)),
                Authentication::Pending(check) => pending = Some(check),
            }
            sender = auth.attributes(&header);
        }
        let now = self.cx.now();
        let charge = self.incoming_bodies.add(self.input.budget(), self.connection, call.memory_size(), now);
        let charge = charge.map_err(no_room_status)?;
        let request = (self.connection, charge.number());
        let check = pending.map(|check| self.checks.enqueue(self.cx, check, request));
        Ok(GrpcPermit {
            charge,
            check: check.transpose().map_err(too_many_checks_status)?,
            sender,
            started: None,
            method: 0,
        })
    }
}

fn called_method<'m>(methods: &'m [GrpcMethod], head: &CallHead) -> Option<&'m GrpcMethod> {
    methods.get(head.method as usize)
}

impl<P: IngestProtocol> GrpcServer<P> {
    pub(super) fn new(
        protocol: Arc<P>,
        config: &GrpcServerConfig,
        service: GrpcService<P::Format>,
        context: &BuildContext<'_>,
        incoming_bodies: IncomingBodies,
    ) -> Result<Self, StartError> {
        Ok(Self {
            protocol,
            service,
            listen: config.listen.address()?,
            config: Rc::new(GrpcServerConnConfig {
                inline_decompress: MAX_INLINE_DECOMPRESSED as u32,
                ..config.connection_config()
            }),
            tls_config: config.tls.get().cloned(),
            tls_acceptor: None,
            auth: config.authenticator().map(|id| context.capabilities.get(&id)).transpose()?,
            log: context.log.clone(),
            accept_report: AcceptErrorReporter::new(context.log.clone(), context.telemetry),
            load_skew: LoadSkewPolicy::new(&config.load_skew, &context.log, context.telemetry),
            acceptor: None,
            incoming_bodies,
            metrics: RpcMetrics::of_server(context.telemetry),
        })
    }

    pub(super) fn open(&mut self, cx: &mut Cx<'_>, first_key: u64) -> Result<String, ListenError> {
        if let Some(tls_config) = &self.tls_config {
            let acceptor = TlsAcceptor::load(cx, tls_config, &[b"h2"], self.log.clone());
            self.tls_acceptor = Some(acceptor.map_err(ListenError::Certificates)?);
        }
        let listener = bind(cx, first_key, &self.listen)?;
        let acceptor = Acceptor::new(listener, first_key)
            .with_error_reporter(self.accept_report.clone())
            .with_load_skew(self.load_skew.take());
        let local_addr = acceptor.local_addr();
        self.acceptor = Some(acceptor);
        Ok(local_addr)
    }

    pub(super) fn handle_event(
        &mut self,
        cx: &mut Cx<'_>,
        local: u64,
        event: &Event<'_>,
        input: &mut PipelineInput<'_>,
        requests: &mut PendingRequests<P>,
    ) {
        let Some(mut acceptor) = self.acceptor.take() else { return };
        let (config, tls_acceptor) = (&self.config, &mut self.tls_acceptor);
        let make_connection = |cx: &mut Cx<'_>, stream: Box<dyn Stream>| {
            let mut stream = match tls_acceptor {
                None => stream,
                Some(tls) => Box::new(tls.accept(cx, stream)?),
            };
            stream.set_protocol("gRPC");
            Some(GrpcServerConn::new(stream, config.clone(), cx.now().0, cx.random()))
        };
        for slot in acceptor.handle_event(cx, local, event, make_connection) {
            let now = cx.now().0;
            let client = acceptor.client(slot).cloned();
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
                methods: &self.service.methods,
                auth: self.auth.as_deref(),
                metrics: &self.metrics,
                checks: &mut requests.checks,
                cx,
            };
            let poll_result = conn.poll(now, &mut admission);
            let mut load = (0, 0);
            while let Some(call) = conn.poll_call() {
                load = (load.0 + 1, load.1 + call.message.len() as u64);
                if let Some((received, check)) = self.received_request(call, connection, client.as_ref()) {
                    requests.receive(cx, input, received, check);
                }
            }
            // A cancelled call is still settled; its response is then dropped.
            while conn.poll_cancelled().is_some() {}
            acceptor.record_requests(slot, load, now);
            acceptor.apply_poll_result(cx, slot, &poll_result);
        }
        self.acceptor = Some(acceptor);
    }

    /// A call that has been received, and the check of its sender. Calls of other methods were refused when their head
    /// arrived.
    fn received_request(
        &self,
        call: IncomingCall<GrpcPermit>,
        connection: ConnectionId,
        client: Option<&Arc<Metadata>>,
    ) -> Option<(ReceivedRequest<P>, Option<SenderCheck>)> {
        let route = called_method(&self.service.methods, &call.head)?.route;
        let GrpcPermit { charge, check, sender, started, .. } = call.permit;
        let headers = (!call.head.metadata.is_empty()).then(|| call_metadata(&call.head, client));
        let metadata = with_sender(client, headers, sender);
        let charge_number = charge.number();
        let content = RequestContent::Body(RequestBody {
            protocol: self.protocol.clone(),
            route,
            format: self.service.format.clone(),
            bytes: call.message,
            coding: call.coding,
            limit: u64::from(self.config.max_recv_message),
            held: charge.complete(),
            server: ServerProtocol::Grpc,
        });
        let target = ResponseTarget { connection, request: RequestKey::Grpc(call.id, call.head.method, started) };
        let workspace = self.config.workspace.clone();
        Some((ReceivedRequest { charge_number, target, metadata, content, workspace }, check))
    }

    /// Refuses bodies that are being read, by the numbers of their charges.
    pub(super) fn refuse_incoming_bodies(
        &mut self,
        cx: &mut Cx<'_>,
        connection: ConnectionId,
        matches: impl Fn(u64) -> bool,
        status: &Status,
    ) {
        let conn = self.acceptor.as_mut().and_then(|a| a.get_for_response(connection.slot, connection.serial));
        if let Some(conn) = conn {
            let now = cx.now().0;
            let refuses = |permit: &GrpcPermit| {
                let is_refused = matches(permit.charge.number());
                if is_refused && let Some(method) = self.service.methods.get(permit.method as usize) {
                    self.metrics.end(cx, permit.started, &method.path, status.code);
                }
                is_refused
            };
            conn.refuse_incomplete(now, refuses, status);
        }
    }

    /// Whether the connection is still open.
    pub(super) fn is_connected(&mut self, connection: ConnectionId) -> bool {
        let open_connection = self.acceptor.as_mut().and_then(|a| a.get(connection.slot));
        open_connection.is_some_and(|(_, serial)| serial == connection.serial)
    }

    pub(super) fn send_result(
        &mut self,
        cx: &Cx<'_>,
        connection: ConnectionId,
        (call, method, started): (CallId, u32, Option<MonotonicTime>),
        result: RequestResult,
    ) {
        if started.is_some()
            && let Some(method) = self.service.methods.get(method as usize)
        {
            let code = match &result {
                RequestResult::Refused(status) => status.code,
                RequestResult::Accepted | RequestResult::RefusedHead(_) => Code::Ok,
            };
            self.metrics.end(cx, started, &method.path, code);
        }
        // The connection may be closed, and another one may use its slot.
        let conn = self.acceptor.as_mut().and_then(|a| a.get_for_response(connection.slot, connection.serial));
        match (conn, result) {
            (Some(conn), RequestResult::Accepted) => conn.respond(call, self.service.response.clone()),
            (Some(conn), RequestResult::Refused(status)) => conn.respond_error(call, &status),
            (None, _) | (_, RequestResult::RefusedHead(_)) => {}
        }
    }

    pub(super) fn flush(&mut self, cx: &mut Cx<'_>) {
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.flush(cx);
        }
    }

    pub(super) fn close(&mut self, cx: &mut Cx<'_>) {
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.close(cx);
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.acceptor.as_ref().is_none_or(Acceptor::is_closed)
    }
}

fn call_metadata(head: &CallHead, client: Option<&Arc<Metadata>>) -> Metadata {
    let mut metadata = client.map(|client| (**client).clone()).unwrap_or_default();
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
