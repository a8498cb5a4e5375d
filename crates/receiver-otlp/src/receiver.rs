//! The receiver: which connection an outcome belongs to.

use otelcore_http::grpc::CallId;
use otelcore_http::h1::RequestId;
use otelcore_pdata::Signal;
use otelcore_pipeline::{Build, Cx, Door, Event, Field, Logger, Mono, Outcome, Receiver, ReceiverMetrics, StartError};
use slab::Slab;

use crate::config::Otlp;
use crate::grpc::GrpcSide;
use crate::http::{Form, HttpSide};

/// Local keys from here on are the HTTP server's; below, the gRPC server's.
const HTTP_BASE: u64 = 1 << 40;

/// Whom to answer.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// A gRPC connection: slot and serial number, and the call on it.
    Grpc(usize, u64, CallId),
    /// An HTTP connection, the request on it, and the form of its answer.
    Http(usize, u64, RequestId, Form),
}

/// A request in the pipeline.
#[derive(Debug)]
struct Pending {
    caller: Caller,
    signal: Signal,
    items: u32,
}

/// The requests that are in the pipeline, by the number under which they were sent.
#[derive(Debug, Default)]
pub(crate) struct Requests(Slab<Pending>);

impl Requests {
    pub(crate) fn add(&mut self, caller: Caller, signal: Signal, items: u32) -> u64 {
        self.0.insert(Pending { caller, signal, items }) as u64
    }
}

pub(crate) struct OtlpReceiver {
    grpc: Option<GrpcSide>,
    http: Option<HttpSide>,
    requests: Requests,
    grpc_metrics: ReceiverMetrics,
    http_metrics: ReceiverMetrics,
    log: Logger,
}

impl OtlpReceiver {
    pub(crate) fn new(settings: &Otlp, build: &Build<'_>) -> Result<Self, StartError> {
        let name = build.id.to_string();
        let metrics = |transport| ReceiverMetrics::new(build.telemetry, &name, transport, build.signals);
        Ok(Self {
            grpc: settings.grpc.as_ref().map(|s| GrpcSide::new(s, build)).transpose()?,
            http: settings.http.as_ref().map(|s| HttpSide::new(s, build, HTTP_BASE)).transpose()?,
            requests: Requests::default(),
            grpc_metrics: metrics("grpc"),
            http_metrics: metrics("http"),
            log: build.log.clone(),
        })
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
        if local >= HTTP_BASE {
            if let Some(side) = &mut self.http {
                side.event(cx, local, &event, door, &mut self.requests);
            }
        } else if let Some(side) = &mut self.grpc {
            side.event(cx, local, &event, door, &mut self.requests);
        }
    }

    fn settled(&mut self, _: &mut Cx<'_>, request: u64, outcome: Outcome) {
        let Some(pending) = usize::try_from(request).ok().and_then(|r| self.requests.0.try_remove(r)) else { return };
        match pending.caller {
            Caller::Grpc(slot, serial, call) => {
                self.grpc_metrics.settled(pending.signal, pending.items, &outcome);
                if let Some(side) = &mut self.grpc {
                    side.answer(slot, serial, call, outcome);
                }
            }
            Caller::Http(slot, serial, request, form) => {
                self.http_metrics.settled(pending.signal, pending.items, &outcome);
                if let Some(side) = &mut self.http {
                    side.answer(slot, serial, request, &form, outcome);
                }
            }
        }
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
