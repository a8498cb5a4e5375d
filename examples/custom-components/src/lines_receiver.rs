//! The `lines` receiver: each line of a body that is posted to `/lines` becomes a log record.
//!
//! A receiver over HTTP is an [`IngestProtocol`] and the routes that it serves. [`Ingest`] is the rest: the server with
//! its limits, authentication, TLS, codings, metrics, and memory that is charged while bodies arrive.

use otelcore::config::config_struct;
use otelcore::http::h1::{RequestHead, Response};
use otelcore::http::{Bytes, Status};
use otelcore::net::config::HttpServerConfig;
use otelcore::net::ingest::{DecodedBody, HttpRoute, Ingest, IngestProtocol, no_room_status, status_response};
use otelcore::pdata::views::AnyValue;
use otelcore::pdata::{Signal, build};
use otelcore::pipeline::{
    BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Held, ListenAddress, ServedProtocol,
    StartError,
};

config_struct! {
    /// Makes a log record of each line that is posted to `/lines`.
    pub struct LinesReceiverConfig {
        /// The keys of every HTTP server.
        #[config(flatten)]
        pub server: HttpServerConfig = HttpServerConfig::for_page_server("localhost:8091"),
    }
}

/// The `lines` receiver.
#[derive(Clone, Copy, Debug)]
pub struct LinesReceiverFactory;

impl ComponentType for LinesReceiverFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Receiver,
        type_name: "lines",
        aliases: &[],
        signals: &[Signal::Logs],
        stability: "Development",
    };
    type Config = LinesReceiverConfig;

    fn create(&self, config: &LinesReceiverConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let route = HttpRoute { method: "POST", path: "/lines".to_owned(), route: 0, signals: vec![Signal::Logs] };
        let receiver = Ingest::new(LinesProtocol, context).with_http(&config.server, vec![route], context)?;
        Ok(Component::Receiver(Box::new(receiver)))
    }

    fn listen_addresses(&self, config: &LinesReceiverConfig) -> Vec<ListenAddress> {
        let endpoint = config.server.listen.address().ok();
        let (config_key, protocol, path) = ("endpoint", ServedProtocol::Http, "/lines".to_owned());
        endpoint.map(|endpoint| ListenAddress { endpoint, config_key, protocol, path }).into_iter().collect()
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
