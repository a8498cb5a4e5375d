//! The `lines` receiver: each line of a body that is posted to `/lines` becomes a log record.
//!
//! A receiver over HTTP is an [`IngestProtocol`] and the routes that it serves. [`Ingest`] is the rest: the server with
//! its limits, authentication, TLS, codings, metrics, and memory that is charged while bodies arrive.

use otelcore::config::{ComponentId, Section};
use otelcore::http::h1::{RequestHead, Response};
use otelcore::http::{Bytes, Status};
use otelcore::net::config::{HttpServerConfig, HttpServerDefaults};
use otelcore::net::ingest::{DecodedBody, HttpRoute, Ingest, IngestProtocol, no_room_status, status_response};
use otelcore::pdata::views::AnyValue;
use otelcore::pdata::{Signal, build};
use otelcore::pipeline::{
    BuildContext, Component, ComponentConfig, ComponentInfo, ComponentKind, Factory, Held, ListenAddress,
    ServedProtocol, StartError,
};

/// The section of a `lines` receiver: the keys of every HTTP server.
#[derive(Clone, Debug)]
pub struct LinesReceiverConfig(HttpServerConfig);

/// Makes `lines` receivers.
#[derive(Clone, Copy, Debug)]
pub struct LinesReceiverFactory;

impl Factory for LinesReceiverFactory {
    fn info(&self) -> ComponentInfo {
        ComponentInfo {
            kind: ComponentKind::Receiver,
            type_name: "lines",
            aliases: &[],
            signals: &[Signal::Logs],
            stability: "Development",
        }
    }

    fn parse(&self, _: &ComponentId, mut s: Section<'_>) -> Option<Box<dyn ComponentConfig>> {
        let server = HttpServerConfig::parse(&mut s, &HttpServerDefaults::for_page_server("localhost:8091"));
        s.finish();
        Some(Box::new(LinesReceiverConfig(server?)))
    }
}

impl ComponentConfig for LinesReceiverConfig {
    fn create(&self, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let route = HttpRoute { method: "POST", path: "/lines".to_owned(), route: 0, signals: vec![Signal::Logs] };
        let receiver = Ingest::new(LinesProtocol, context).with_http(&self.0, vec![route], context)?;
        Ok(Component::Receiver(Box::new(receiver)))
    }

    fn listen_addresses(&self) -> Vec<ListenAddress> {
        let (endpoint, protocol) = (self.0.listen.clone(), ServedProtocol::Http);
        vec![ListenAddress { endpoint, config_key: "endpoint", protocol, path: "/lines".to_owned() }]
    }
}

struct LinesProtocol;

impl IngestProtocol for LinesProtocol {
    /// Requests have one format only.
    type Format = ();

    fn read_format(&self, _: &RequestHead) {}

    /// Long bodies are decoded on a helper thread, short ones on the loop.
    fn decode(&self, _: u32, (): &(), body: Bytes, held: &mut Held) -> Result<DecodedBody, Status> {
        if std::str::from_utf8(&body).is_err() {
            return Err(Status::invalid_argument("the body is not UTF-8"));
        }
        // The worst case, empty lines, takes six bytes of OTLP each. They are charged before they are allocated.
        let output_len = body.len() as u64 + 6 * body.iter().filter(|b| **b == b'\n').count() as u64;
        held.try_grow(body.len() as u64 + output_len).map_err(no_room_status)?;
        let mut logs = build::Body::new();
        {
            let mut resource = logs.resource_logs();
            let mut scope = resource.scope_logs();
            for line in body.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
                scope.log_record().body(AnyValue::String(line));
            }
        }
        Ok(DecodedBody::new(Signal::Logs, logs.finish()))
    }

    fn respond(&self, _: Option<u32>, (): &(), result: Result<(), &Status>) -> Response {
        match result {
            Ok(()) => Response::text(204, ""),
            Err(status) => status_response(status, "text/plain", format!("{}\n", status.message)),
        }
    }
}
