//! The load: a number of equal requests over one gRPC connection, a fixed number of them in flight; answers are
//! counted.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::uri::PathAndQuery;
use otelcore::config::{Diagnostics, Section, from_yaml};
use otelcore::pipeline::{Cx, Event, Extension, Logger, Mono, NoLog, StartError};
use otelcore_net::settings::{Balancer, GrpcClient, GrpcClientDefaults};
use otelcore_net::{Channel, NewCall};

use crate::{host, measure, telemetry};

const DEFAULTS: GrpcClientDefaults = GrpcClientDefaults {
    empty_endpoint: "an endpoint is needed",
    compression: "none",
    balancer: Balancer::PickFirst,
    tls_keys_outside: false,
};

/// The count of answers, which the loop checks to decide when to end.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) ok: Cell<u64>,
    pub(crate) failed: Cell<u64>,
}

impl Tally {
    pub(crate) fn count(&self, ok: bool) {
        let count = if ok { &self.ok } else { &self.failed };
        count.set(count.get() + 1);
    }

    pub(crate) fn total(&self) -> u64 {
        self.ok.get() + self.failed.get()
    }
}

struct Load {
    channel: Channel,
    path: PathAndQuery,
    bodies: Vec<Bytes>,
    left: u64,
    sent: u64,
    in_flight: u64,
    window: u64,
    tally: Rc<Tally>,
}

impl Load {
    fn fill(&mut self, cx: &mut Cx<'_>) {
        loop {
            while let Some((_, result)) = self.channel.poll_done() {
                self.in_flight -= 1;
                self.tally.count(result.is_ok());
            }
            if self.left == 0 || self.in_flight >= self.window {
                return;
            }
            let body = self.bodies[(self.sent % self.bodies.len() as u64) as usize].clone();
            self.sent += 1;
            self.left -= 1;
            self.in_flight += 1;
            let call = NewCall { path: self.path.clone(), message: std::iter::once(body).collect(), by: Mono::NEVER };
            self.channel.call(cx, 0, call);
        }
    }
}

impl Extension for Load {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.channel.start(cx)?;
        self.fill(cx);
        Ok(())
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        self.channel.event(cx, local, &event);
        self.fill(cx);
    }
}

/// The settings of a channel, as from a configuration.
pub(crate) fn client(endpoint: &str, coding: &str) -> Result<Rc<GrpcClient>, String> {
    let d = Diagnostics::new();
    let yaml =
        format!("{{endpoint: \"{endpoint}\", tls: {{insecure: true}}, wait_for_ready: true, compression: {coding}}}");
    let node = from_yaml(&yaml, &d).ok_or("no settings")?;
    let mut section = Section::new(Some(&node), "load", &d);
    let client = GrpcClient::parse(&mut section, &DEFAULTS).ok_or_else(|| d.to_text(false))?;
    let _ = section.finish();
    Ok(Rc::new(client))
}

/// The method that takes a signal's requests.
pub(crate) fn method(signal: &str) -> PathAndQuery {
    PathAndQuery::from_static(match signal {
        "traces" => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        _ => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    })
}

/// `load ENDPOINT traces|metrics ITEMS REQUESTS WINDOW CODING`
pub(crate) fn main(args: &[String]) -> Result<(), String> {
    let [endpoint, signal, items, requests, window, coding] = args else {
        return Err("load: six arguments".to_owned());
    };
    let number = |text: &String| text.parse::<u64>().map_err(|e| format!("{text}: {e}"));
    let (items, requests) = (u32::try_from(number(items)?).map_err(|e| e.to_string())?, number(requests)?);
    measure::pin(1);
    let tally = Rc::new(Tally::default());
    let load = Load {
        channel: Channel::new(client(endpoint, coding)?, None, Logger::new(Arc::new(NoLog)), 0),
        path: method(signal),
        bodies: telemetry::bodies(signal, items).into_iter().map(Bytes::from).collect(),
        left: requests,
        sent: 0,
        in_flight: 0,
        window: number(window)?,
        tally: tally.clone(),
    };
    host::run(Box::new(load), || tally.total() >= requests)?;
    println!("{} {}", tally.ok.get(), tally.failed.get());
    Ok(())
}
