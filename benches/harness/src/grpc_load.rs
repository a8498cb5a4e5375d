//! The load: a number of equal requests over one gRPC connection, a fixed number of them in flight; responses are
//! counted.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use http::uri::PathAndQuery;
use otelcore::config::declare::Config;
use otelcore::config::{Diagnostics, Section, from_yaml};
use otelcore::pipeline::{Cx, Event, Extension, Logger, MonotonicTime, NoopLogSink, StartError};
use otelcore_net::config::{GrpcChannelConfig, GrpcClientConfig};
use otelcore_net::{GrpcChannel, UnaryRequest};

use crate::telemetry::{self, Bodies};
use crate::{component_loop, measure};

/// The count of responses, which the loop checks to decide when to end.
#[derive(Default)]
pub(crate) struct ResponseCounts {
    pub(crate) ok: Cell<u64>,
    pub(crate) failed: Cell<u64>,
}

impl ResponseCounts {
    pub(crate) fn count(&self, ok: bool) {
        let count = if ok { &self.ok } else { &self.failed };
        count.set(count.get() + 1);
    }

    pub(crate) fn total(&self) -> u64 {
        self.ok.get() + self.failed.get()
    }
}

struct GrpcLoad {
    channel: GrpcChannel,
    path: PathAndQuery,
    bodies: Bodies,
    remaining: u64,
    sent: u64,
    in_flight: u64,
    window: u64,
    counts: Rc<ResponseCounts>,
}

impl GrpcLoad {
    fn send_requests(&mut self, cx: &mut Cx<'_>) {
        loop {
            while let Some((_, result)) = self.channel.poll_result() {
                self.in_flight -= 1;
                self.counts.count(result.is_ok());
            }
            if self.remaining == 0 || self.in_flight >= self.window {
                return;
            }
            let body = self.bodies.get(self.sent);
            self.sent += 1;
            self.remaining -= 1;
            self.in_flight += 1;
            let call = UnaryRequest {
                path: self.path.clone(),
                message: std::iter::once(body).collect(),
                deadline: MonotonicTime::NEVER,
                metadata: None,
            };
            self.channel.start_call(cx, 0, call);
        }
    }
}

impl Extension for GrpcLoad {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.channel.start(cx)?;
        self.send_requests(cx);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        self.channel.handle_event(cx, local, &event);
        self.send_requests(cx);
    }
}

/// The settings of a channel, as from a configuration.
pub(crate) fn client_config(endpoint: &str, coding: &str) -> Result<Rc<GrpcChannelConfig>, String> {
    let d = Diagnostics::new();
    let yaml =
        format!("{{endpoint: \"{endpoint}\", tls: {{insecure: true}}, wait_for_ready: true, compression: {coding}}}");
    let node = from_yaml(&yaml, &d).ok_or("no settings")?;
    let client = GrpcClientConfig::read_section(Section::new(Some(&node), "load", &d), &GrpcClientConfig::default());
    if d.has_errors() {
        return Err(d.render_to_string(false));
    }
    client.channel().map(Rc::new).map_err(|e| e.to_string())
}

/// The method that takes a signal's requests.
pub(crate) fn export_path(signal: &str) -> PathAndQuery {
    PathAndQuery::from_static(match signal {
        "traces" | telemetry::SERIES | telemetry::NEW_TRACES => {
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
        }
        _ => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    })
}

/// `load ENDPOINT traces|series|new-traces|metrics ITEMS REQUESTS WINDOW CODING`
pub(crate) fn main(args: &[String]) -> Result<(), String> {
    let [endpoint, signal, items, requests, window, coding] = args else {
        return Err("load: six arguments".to_owned());
    };
    let number = |text: &String| text.parse::<u64>().map_err(|e| format!("{text}: {e}"));
    let (items, requests) = (u32::try_from(number(items)?).map_err(|e| e.to_string())?, number(requests)?);
    measure::pin_to_core(1);
    let counts = Rc::new(ResponseCounts::default());
    let load = GrpcLoad {
        channel: GrpcChannel::new(client_config(endpoint, coding)?, None, Logger::new(Arc::new(NoopLogSink)), 0),
        path: export_path(signal),
        // The warm-up has another number of requests, and so other traces.
        bodies: Bodies::new(signal, items, requests),
        remaining: requests,
        sent: 0,
        in_flight: 0,
        window: number(window)?,
        counts: counts.clone(),
    };
    component_loop::run(Box::new(load), || counts.total() >= requests)?;
    println!("{} {}", counts.ok.get(), counts.failed.get());
    Ok(())
}
