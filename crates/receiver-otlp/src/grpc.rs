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
use otelcore_pdata::{Signal, admit};
use otelcore_pipeline::{
    Build, Cx, Door, Endpoint, Event, Held, Logger, Metadata, Outcome, Payload, ServerAuth, StartError, Stream,
};

use crate::receiver::{Caller, Requests};
use crate::{SUCCESS, status};

type Conn = ServerConn<Box<dyn Stream>, Held>;

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
}

/// Decides about calls by their path, and about bodies by what the limiter says.
struct Admission<'a, 'd, 'w> {
    door: &'a Door<'d>,
    signals: &'a [Signal],
    auth: Option<&'a dyn ServerAuth>,
    cx: &'a mut Cx<'w>,
}

impl Gate for Admission<'_, '_, '_> {
    type Permit = Held;

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

    fn admit(&mut self, call: &CallHead, len: u32) -> Result<Held, Status> {
        if let Some(auth) = self.auth {
            let header = |name: &str| call.metadata.get(name).map(|v| Cow::Borrowed(v.as_bytes()));
            auth.authenticate(self.cx, &header).map_err(|why| Status::new(Code::Unauthenticated, why))?;
        }
        let refusal = signal(call).and_then(|signal| self.door.refusal(signal));
        match refusal.and_then(status) {
            Some(refused) => Err(refused),
            None => Ok(self.door.budget().hold(u64::from(len))),
        }
    }

    fn grow(&mut self, permit: &mut Held, to: u64) -> Result<(), Status> {
        permit.grow(to);
        Ok(())
    }
}

fn signal(head: &CallHead) -> Option<Signal> {
    Signal::ALL.get(head.method as usize).copied()
}

impl GrpcSide {
    pub(crate) fn new(settings: &GrpcServer, build: &Build<'_>) -> Result<Self, StartError> {
        Ok(Self {
            listen: settings.listen.clone(),
            config: Rc::new(settings.machine()),
            signals: build.signals.to_vec(),
            tls_settings: settings.tls.clone(),
            tls: None,
            auth: settings.auth.as_ref().map(|id| build.auth.server(id)).transpose()?,
            log: build.log.clone(),
            report: AcceptReport::new(build.log.clone(), build.telemetry),
            acceptor: None,
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
            let turn = conn.turn(now, &mut Admission { door, signals: &self.signals, auth: self.auth.as_deref(), cx });
            let mut refused = Vec::new();
            while let Some(call) = conn.poll_call() {
                let id = call.id;
                if let Err(status) = take(cx, door, requests, call, |call| Caller::Grpc(slot, serial, call)) {
                    refused.push((id, status));
                }
            }
            // A call that needs no answer any more is still settled; the answer is dropped then.
            while conn.poll_cancelled().is_some() {}
            acceptor.after(cx, slot, &turn);
            for (id, status) in refused {
                if let Some(conn) = acceptor.answer(slot, serial) {
                    conn.reply_err(id, &status);
                }
            }
        }
    }

    pub(crate) fn answer(&mut self, slot: usize, serial: u64, call: CallId, outcome: Outcome) {
        // The connection may be gone, and another one in its place.
        let Some(conn) = self.acceptor.as_mut().and_then(|a| a.answer(slot, serial)) else { return };
        match status(outcome) {
            None => conn.reply_ok(call, Bytes::from_static(SUCCESS)),
            Some(refused) => conn.reply_err(call, &refused),
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

/// Walks a call's message and sends it into the pipeline.
fn take(
    cx: &mut Cx<'_>,
    door: &mut Door<'_>,
    requests: &mut Requests,
    call: Call<Held>,
    caller: impl FnOnce(CallId) -> Caller,
) -> Result<(), Status> {
    let signal = signal(&call.head).ok_or_else(|| unknown_service(call.head.path()))?;
    let body =
        admit(signal, call.message).map_err(|e| Status::internal(format!("grpc: error unmarshalling request: {e}")))?;
    let meta = (!call.head.metadata.is_empty()).then(|| Arc::new(metadata(&call.head)));
    let request = requests.add(caller(call.id), signal, body.items());
    door.send(cx, request, Payload { signal, body, meta, held: call.permit });
    Ok(())
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
