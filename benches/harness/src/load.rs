//! The load: a number of equal requests over one gRPC connection, a fixed number of them in flight, answers counted.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use otelcore::config::{Diagnostics, Section, from_yaml};
use otelcore::pipeline::{Budget, Cx, Event, Extension, GraphBuilder, Logger, Mono, NoLog, StartError};
use otelcore::reactor::{Real, Runner};
use otelcore_net::settings::{Balancer, GrpcClient, GrpcClientDefaults};
use otelcore_net::{Channel, NewCall};

use crate::telemetry;

const DEFAULTS: GrpcClientDefaults = GrpcClientDefaults {
    empty_endpoint: "an endpoint is needed",
    compression: "none",
    balancer: Balancer::PickFirst,
    tls_keys_outside: false,
};

/// What has been answered, for the loop to end by.
#[derive(Default)]
struct Tally {
    ok: Cell<u64>,
    failed: Cell<u64>,
}

struct Load {
    channel: Channel,
    path: PathAndQuery,
    bodies: Vec<Bytes>,
    left: u64,
    sent: u64,
    /// Nanoseconds between requests; zero sends as fast as answers come.
    pace: u64,
    in_flight: u64,
    window: u64,
    tally: Rc<Tally>,
}

/// The timer that keeps the pace; the channel has the keys below.
const PACE: u64 = 1 << 50;

impl Load {
    fn fill(&mut self, cx: &mut Cx<'_>) {
        loop {
            while let Some((_, result)) = self.channel.poll_done() {
                self.in_flight -= 1;
                let count = if result.is_ok() { &self.tally.ok } else { &self.tally.failed };
                count.set(count.get() + 1);
            }
            if self.left == 0 || self.in_flight >= self.window {
                return;
            }
            self.send(cx);
            if self.pace > 0 {
                return;
            }
        }
    }

    fn send(&mut self, cx: &mut Cx<'_>) {
        let body = self.bodies[(self.sent % self.bodies.len() as u64) as usize].clone();
        self.sent += 1;
        self.left -= 1;
        self.in_flight += 1;
        let call = NewCall { path: self.path.clone(), message: std::iter::once(body).collect(), by: Mono::NEVER };
        self.channel.call(cx, 0, call);
    }
}

impl Extension for Load {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.channel.start(cx)?;
        if self.pace > 0 {
            let at = cx.now() + Duration::from_nanos(self.pace);
            cx.arm(PACE, at);
        }
        self.fill(cx);
        Ok(())
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        if local == PACE {
            let at = cx.now() + Duration::from_nanos(self.pace);
            cx.arm(PACE, at);
        } else {
            self.channel.event(cx, local, &event);
            if self.pace > 0 {
                while self.channel.poll_done().is_some_and(|(_, result)| {
                    self.in_flight -= 1;
                    let count = if result.is_ok() { &self.tally.ok } else { &self.tally.failed };
                    count.set(count.get() + 1);
                    true
                }) {}
                return;
            }
        }
        self.fill(cx);
    }
}

/// `load ENDPOINT traces|metrics ITEMS REQUESTS WINDOW PACE_NANOS`
pub(crate) fn main(args: &[String]) -> Result<(), String> {
    let [endpoint, signal, items, requests, window, pace] = args else { return Err("load: six arguments".to_owned()) };
    let number = |text: &String| text.parse::<u64>().map_err(|e| format!("{text}: {e}"));
    let (items, requests) = (u32::try_from(number(items)?).map_err(|e| e.to_string())?, number(requests)?);
    crate::pin(1);
    let (path, bodies) = match signal.as_str() {
        "traces" => ("/opentelemetry.proto.collector.trace.v1.TraceService/Export", vec![telemetry::traces(items)]),
        _ => (
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            (0..64).map(|round| telemetry::metrics(items, round)).collect(),
        ),
    };
    let d = Diagnostics::new();
    let yaml = format!("endpoint: \"{endpoint}\"\ntls: {{insecure: true}}\nwait_for_ready: true\n");
    let node = from_yaml(&yaml, &d).ok_or("no settings")?;
    let mut section = Section::new(Some(&node), "load", &d);
    let client = GrpcClient::parse(&mut section, &DEFAULTS).ok_or_else(|| d.to_text(false))?;
    let _ = section.finish();
    let log = Logger::new(Arc::new(NoLog));
    let tally = Rc::new(Tally::default());
    let load = Load {
        channel: Channel::new(Rc::new(client), None, log.clone(), 0),
        path: PathAndQuery::from_static(path),
        bodies: bodies.into_iter().map(Bytes::from).collect(),
        left: requests,
        sent: 0,
        pace: number(pace)?,
        in_flight: 0,
        window: number(window)?,
        tally: tally.clone(),
    };
    let mut graph = GraphBuilder::new(Arc::new(Budget::default()), log.clone());
    graph.own(Box::new(load), log);
    let mut graph = graph.build();
    let mut world = Real::new().map_err(|e| e.to_string())?;
    graph.start(&mut world).map_err(|e| e.to_string())?;
    Runner::new(world, graph)
        .run(|runner, _| {
            if tally.ok.get() + tally.failed.get() >= requests {
                runner.close(Duration::ZERO);
            }
        })
        .map_err(|e| e.to_string())?;
    println!("{} {}", tally.ok.get(), tally.failed.get());
    Ok(())
}
