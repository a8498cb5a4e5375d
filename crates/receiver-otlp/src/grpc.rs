//! OTLP over gRPC: the three Export methods.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use otelcore_http::grpc::CallId;
use otelcore_http::grpc::server::{Call, CallHead, Gate, ServerConfig, ServerConn, unknown_method, unknown_service};
use otelcore_http::{Bytes, Code, Status};
use otelcore_net::settings::GrpcServer;
use otelcore_net::tls::{ServerTls, TlsServer};
use otelcore_net::{AcceptReport, Acceptor, bind};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    Authentication, Build, Cx, Door, Endpoint, Event, Logger, Metadata, ServerAuth, StartError, Stream,
};

use crate::bodies::{Bodies, BodyCharge, Connection, Server};
use crate::decode::{Body, INLINE_DECOMPRESS, Protocol, no_room_status};
use crate::receiver::{Arrived, Caller, Content, Requests, SenderCheck, SenderChecks, too_many_checks};
use crate::{SUCCESS, status};

type Conn = ServerConn<Box<dyn Stream>, Permit>;

/// The state of a call whose message is being read.
struct Permit {
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
pub(crate) struct GrpcSide {
    listen: Endpoint,
    config: Rc<ServerConfig>,
    signals: Vec<Signal>,
    tls_settings: Option<TlsServer>,
    tls: Option<ServerTls>,
    auth: Option<Rc<dyn ServerAuth>>,
    log: Logger,
    report: AcceptReport,
    acceptor: Option<Acceptor<Conn>>,
    bodies: Bodies,
}

/// Admits or refuses calls by their path, and bodies by the state of the limiter.
struct Admission<'a, 'd, 'w> {
    door: &'a Door<'d>,
    bodies: &'a Bodies,
    connection: Connection,
    signals: &'a [Signal],
    auth: Option<&'a dyn ServerAuth>,
    checks: &'a mut SenderChecks,
    cx: &'a mut Cx<'w>,
}

impl Gate for Admission<'_, '_, '_> {
    type Permit = Permit;

    fn route(&mut self, path: &str) -> Result<u32, Status> {
        let (service, method) = path.strip_prefix('/').unwrap_or(path).rsplit_once('/').unwrap_or((path, ""));
        // A service exists only where a pipeline of its signal uses the receiver.
        let served = |s: &&Signal| SERVICES[**s as usize] == service;
        match self.signals.iter().find(served) {
            Some(signal) if method == "Export" => Ok(*signal as u32),
            Some(_) => Err(unknown_method(path)),
            None => Err(unknown_service(path)),
        }
    }

    fn open(&mut self, call: &CallHead, metadata_bytes: usize) -> Result<Permit, Status> {
        let mut pending = None;
        if let Some(auth) = self.auth {
            let header = |name: &str| call.metadata.get(name).map(|v| Cow::Borrowed(v.as_bytes()));
            match auth.authenticate(self.cx, &header) {
                Authentication::Granted => {}
                Authentication::Refused(why) => return Err(Status::new(Code::Unauthenticated, why)),
                Authentication::Pending(check) => pending = Some(check),
            }
        }
        // In memory a header field takes about twice its length.
        let charge = self.bodies.open(self.door.budget(), self.connection, 2 * metadata_bytes);
        let charge = charge.map_err(no_room_status)?;
        let request = (self.connection, charge.number());
        let check = pending.map(|check| self.checks.wait(self.cx, check, request));
        Ok(Permit { charge, check: check.transpose().map_err(too_many_checks)? })
    }

    fn admit(&mut self, _: &mut Permit, call: &CallHead, _: u32) -> Result<(), Status> {
        let refusal = signal(call).and_then(|signal| self.door.refusal(signal));
        refusal.and_then(status).map_or(Ok(()), Err)
    }

    fn grow(&mut self, permit: &mut Permit, to: u64) -> Result<(), Status> {
        permit.charge.grow(to).map_err(no_room_status)
    }
}

fn signal(head: &CallHead) -> Option<Signal> {
    Signal::ALL.get(head.method as usize).copied()
}

impl GrpcSide {
    pub(crate) fn new(settings: &GrpcServer, build: &Build<'_>, bodies: Bodies) -> Result<Self, StartError> {
        Ok(Self {
            listen: settings.listen.clone(),
            config: Rc::new(ServerConfig { inline_decompress: INLINE_DECOMPRESS as u32, ..settings.machine() }),
            signals: build.signals.to_vec(),
            tls_settings: settings.tls.clone(),
            tls: None,
            auth: settings.auth.as_ref().map(|id| build.auth.server(id)).transpose()?,
            log: build.log.clone(),
            report: AcceptReport::new(build.log.clone(), build.telemetry),
            acceptor: None,
            bodies,
        })
    }

    pub(crate) fn open(&mut self, cx: &mut Cx<'_>, base: u64) -> Result<String, String> {
        if let Some(settings) = &self.tls_settings {
            self.tls = Some(ServerTls::load(cx, settings, &[b"h2"], self.log.clone())?);
        }
        let listener = bind(cx, base, &self.listen).map_err(|e| e.to_string())?;
        let acceptor = Acceptor::new(listener, base).reporting(self.report.clone());
        let local = acceptor.local();
        self.acceptor = Some(acceptor);
        Ok(local)
    }

    pub(crate) fn event(
        &mut self,
        cx: &mut Cx<'_>,
        local: u64,
        event: &Event<'_>,
        door: &mut Door<'_>,
        requests: &mut Requests,
    ) {
        let Some(acceptor) = &mut self.acceptor else { return };
        let (config, tls) = (&self.config, &mut self.tls);
        let make = |cx: &mut Cx<'_>, stream: Box<dyn Stream>| {
            let stream = match tls {
                None => stream,
                Some(tls) => Box::new(tls.accept(cx, stream)?),
            };
            Some(ServerConn::new(stream, config.clone(), cx.now().0, cx.rand()))
        };
        for slot in acceptor.event(cx, local, event, make) {
            let now = cx.now().0;
            let Some((conn, serial)) = acceptor.get(slot) else { continue };
            let connection = Connection { server: Server::Grpc, slot, serial };
            if conn.is_idle() && self.bodies.defers(door.budget(), connection) {
                acceptor.again(cx, slot);
                continue;
            }
            let mut admission = Admission {
                door,
                bodies: &self.bodies,
                connection,
                signals: &self.signals,
                auth: self.auth.as_deref(),
                checks: &mut requests.checks,
                cx,
            };
            let turn = conn.turn(now, &mut admission);
            let limit = u64::from(self.config.max_recv_message);
            while let Some(call) = conn.poll_call() {
                // Calls of other methods were refused when their head arrived.
                let Some(signal) = signal(&call.head) else { continue };
                let meta = (!call.head.metadata.is_empty()).then(|| Arc::new(metadata(&call.head)));
                let caller = Caller::Grpc(connection, call.id);
                let (number, check, body) = body(signal, call, limit);
                let content = Content::Body(body);
                let arrived = Arrived { number, caller, meta, content, workspace: self.config.workspace.clone() };
                requests.receive(cx, door, arrived, check);
            }
            // A cancelled call is still settled; its response is then dropped.
            while conn.poll_cancelled().is_some() {}
            acceptor.after(cx, slot, &turn);
        }
    }

    /// Refuses bodies that are being read, by the numbers of their charges.
    pub(crate) fn refuse_reading(
        &mut self,
        cx: &mut Cx<'_>,
        connection: Connection,
        matches: impl Fn(u64) -> bool,
        status: &Status,
    ) {
        let conn = self.acceptor.as_mut().and_then(|a| a.answer(connection.slot, connection.serial));
        if let Some(conn) = conn {
            conn.refuse_reading(cx.now().0, |permit| matches(permit.charge.number()), status);
        }
    }

    /// Whether the connection is still open.
    pub(crate) fn is_connected(&mut self, connection: Connection) -> bool {
        let found = self.acceptor.as_mut().and_then(|a| a.get(connection.slot));
        found.is_some_and(|(_, serial)| serial == connection.serial)
    }

    pub(crate) fn answer(&mut self, connection: Connection, call: CallId, answer: Result<(), Status>) {
        // The connection may be closed, and another one may use its slot.
        let conn = self.acceptor.as_mut().and_then(|a| a.answer(connection.slot, connection.serial));
        match (conn, answer) {
            (None, _) => {}
            (Some(conn), Ok(())) => conn.reply_ok(call, Bytes::from_static(SUCCESS)),
            (Some(conn), Err(refused)) => conn.reply_err(call, &refused),
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

/// The parts of a call that has arrived: the number of its charge, the check of its sender, and its body.
fn body(signal: Signal, call: Call<Permit>, limit: u64) -> (u64, Option<SenderCheck>, Body) {
    let Permit { charge, check } = call.permit;
    let (number, held, protocol) = (charge.number(), charge.complete(), Protocol::Grpc);
    let body = Body { signal, bytes: call.message, coding: call.coding, is_json: false, limit, held, protocol };
    (number, check, body)
}

fn metadata(head: &CallHead) -> Metadata {
    let mut meta = Metadata::default();
    for (name, value) in &head.metadata {
        if let Ok(value) = value.to_str() {
            meta.add(name.as_str(), value);
        }
    }
    if let Some(authority) = head.authority() {
        meta.add("host", authority);
    }
    meta
}
