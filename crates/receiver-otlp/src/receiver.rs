//! The receiver: which connection an outcome belongs to, and the requests that are being decoded.

use std::sync::Arc;

use otelcore_http::grpc::CallId;
use otelcore_http::h1::RequestId;
use otelcore_http::{Status, Workspace};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    Build, Cx, Door, Event, Field, JobResult, Logger, Metadata, Mono, Outcome, Payload, Receiver, ReceiverMetrics,
    StartError,
};
use slab::Slab;

use crate::bodies::{Bodies, Connection, Server};
use crate::config::Otlp;
use crate::decode::{Body, Decoded};
use crate::grpc::GrpcSide;
use crate::http::{Form, HttpSide};
use crate::status;

/// Local keys from here on are the HTTP server's; below, the gRPC server's.
const HTTP_BASE: u64 = 1 << 40;
/// Local keys from here on are those of decoding jobs.
const JOBS_BASE: u64 = 1 << 50;

/// Whom to answer.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// A gRPC connection, and the call on it.
    Grpc(Connection, CallId),
    /// An HTTP connection, the request on it, and the form of its answer.
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
    /// A job decodes it.
    Decoding { result: JobResult<Decoded>, meta: Option<Arc<Metadata>> },
    /// It is in the pipeline.
    Sent,
}

/// The requests that are not answered yet, by the number under which they are sent.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    pending: Slab<Pending>,
    /// Requests that could not be decoded.
    refused: Vec<(Caller, Status)>,
}

impl Requests {
    /// Takes a request whose body is here: decodes it, at once or by a job, and sends it into the pipelines.
    pub(crate) fn take(
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
            Ok(Err(refused)) => self.refused.push((caller, refused)),
            Err(body) => {
                let entry = self.pending.vacant_entry();
                let result = cx.run_job(JOBS_BASE + entry.key() as u64, || body.decode());
                entry.insert(Pending { caller, signal, items: 0, state: State::Decoding { result, meta } });
            }
        }
    }

    /// The job of a request has ended.
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
                self.refused.push((self.pending.remove(key).caller, refused));
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
            requests: Requests::default(),
            grpc_metrics: metrics("grpc"),
            http_metrics: metrics("http"),
            log: build.log.clone(),
        })
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
        if let Some(number) = local.checked_sub(JOBS_BASE) {
            self.requests.job_ended(cx, door, number);
        } else if local >= HTTP_BASE {
            if let Some(side) = &mut self.http {
                side.event(cx, local, &event, door, &mut self.requests);
            }
        } else if let Some(side) = &mut self.grpc {
            side.event(cx, local, &event, door, &mut self.requests);
        }
        for (caller, refused) in std::mem::take(&mut self.requests.refused) {
            self.answer(caller, Err(refused));
        }
        for (connection, number) in self.bodies.take_refused() {
            match (connection.server, &mut self.grpc, &mut self.http) {
                (Server::Grpc, Some(side), _) => side.refuse_reading(cx, connection, number),
                (Server::Http, _, Some(side)) => side.refuse_reading(cx, connection, number),
                _ => {}
            }
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
