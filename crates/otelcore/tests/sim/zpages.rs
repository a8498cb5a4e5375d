//! The live page of a collector under load: clients that watch, that are too many, and that do not read.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use otelcore::pipeline::{
    Budget, Cx, Event, Graph, GraphBuilder, Logger, MonotonicTime, NoopLogSink, Outcome, PeerAddr, PipelineInput,
    Receiver, StartError, Stream,
};
use otelcore::reactor::Sim;

use crate::client::Load;
use crate::fixture::{Fixture, MS, OTLP_EXPORTER, SEC, config_yaml, seeds};

/// What one connection has received.
#[derive(Default)]
struct Received {
    text: Vec<u8>,
    /// Nothing is read any more.
    is_stalled: bool,
}

impl Received {
    fn events(&self) -> usize {
        String::from_utf8_lossy(&self.text).matches("data: {").count()
    }

    fn starts_with(&self, text: &str) -> bool {
        self.text.starts_with(text.as_bytes())
    }
}

type SharedReceived = Rc<RefCell<Received>>;

/// A browser: connections that send one request each and read the response.
struct Browser {
    server: SocketAddr,
    requests: Vec<(String, SharedReceived)>,
    streams: Vec<Option<Box<dyn Stream>>>,
}

impl Receiver for Browser {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        for index in 0..self.requests.len() {
            self.streams.push(cx.connect(index as u64, &PeerAddr::Ip(self.server)).ok());
        }
        Ok(())
    }

    fn handle_event(&mut self, _: &mut Cx<'_>, local: u64, _: Event<'_>, _: &mut PipelineInput<'_>) {
        let index = local as usize;
        let Some(stream) = &mut self.streams[index] else { return };
        let (request, received) = &mut self.requests[index];
        while !request.is_empty()
            && let Ok(n @ 1..) = stream.write(request.as_bytes())
        {
            request.drain(..n);
        }
        let _ = stream.flush();
        let mut received = received.borrow_mut();
        if received.is_stalled {
            return;
        }
        let mut buf = [0; 4096];
        while let Ok(n @ 1..) = stream.read(&mut buf) {
            received.text.extend_from_slice(&buf[..n]);
        }
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}
    fn close(&mut self, _: &mut Cx<'_>, _: MonotonicTime) {}

    fn is_closed(&self) -> bool {
        true
    }
}

/// A browser that requests these paths, with a `Host` each.
fn browser(server: IpAddr, requests: &[(&str, &str)]) -> (Graph, Vec<SharedReceived>) {
    let received: Vec<SharedReceived> = requests.iter().map(|_| SharedReceived::default()).collect();
    let requests = requests
        .iter()
        .zip(&received)
        .map(|((path, host), received)| (format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"), received.clone()));
    let server = SocketAddr::new(server, 55679);
    let browser = Browser { server, requests: requests.collect(), streams: Vec::new() };
    let mut builder = GraphBuilder::new(Arc::new(Budget::default()), Logger::new(Arc::new(NoopLogSink)));
    builder.add_receiver("browser".parse().unwrap(), Box::new(browser));
    (builder.build(), received)
}

/// A collector with the extension, and with own metrics.
fn fixture(seed: u64, extension: &str) -> Fixture {
    let yaml = config_yaml("  batch:\n    timeout: 100ms", OTLP_EXPORTER)
        .replace("telemetry: {metrics: {level: none}}", "extensions: [zpages]")
        + &format!("extensions:\n  zpages: {extension}\n");
    let mut fixture = Fixture::with_yaml(Sim::new(seed), seed, &yaml);
    fixture.start_client(Load { requests: 1000, interval: 20 * MS, spans: 10, ..Load::default() });
    fixture
}

const OPEN: &str = "{endpoint: '0.0.0.0:55679'}";

/// Adds a browser at the time of the call.
fn add_browser(fixture: &mut Fixture, name: &str, requests: &[(&str, &str)]) -> Vec<SharedReceived> {
    let (graph, received) = browser(fixture.sim.address(fixture.collector), requests);
    fixture.sim.add_node(name, graph).unwrap();
    received
}

#[test]
fn page_under_load_shows_what_has_passed() {
    for seed in seeds().take(1) {
        let mut fixture = fixture(seed, OPEN);
        fixture.sim.run_for(5 * SEC);
        let received = add_browser(&mut fixture, "browser", &[("/", "collector"), ("/api/v1/state", "collector")]);
        fixture.sim.run_for(SEC);
        let page = String::from_utf8(received[0].borrow().text.clone()).unwrap();
        assert!(page.starts_with("HTTP/1.1 200 ") && page.ends_with("</html>\n"), "seed {seed}: {page}");
        assert!(page.contains("aria-label=\"otlp_grpc exporter: ok\""), "seed {seed}: {page}");
        let state = String::from_utf8(received[1].borrow().text.clone()).unwrap();
        let first_edge = state.split("\"edges\":[").nth(1).unwrap().split(',').next().unwrap();
        assert!(first_edge.parse::<u64>().is_ok_and(|items| items > 1000), "seed {seed}: {state}");
    }
}

#[test]
fn watchers_above_the_limit_are_refused_and_the_data_path_goes_on() {
    for seed in seeds().take(1) {
        let mut fixture = fixture(seed, OPEN);
        let received = add_browser(&mut fixture, "browser", &[("/events", "collector"); 100]);
        fixture.sim.run_for(6 * SEC);
        let count = |text: &str| received.iter().filter(|r| r.borrow().starts_with(text)).count();
        assert_eq!((count("HTTP/1.1 200 "), count("HTTP/1.1 503 ")), (32, 68), "seed {seed}");
        let watching = received.iter().filter(|r| r.borrow().starts_with("HTTP/1.1 200 "));
        for events in watching.map(|r| r.borrow().events()) {
            assert!((5..=7).contains(&events), "seed {seed}: {events}");
        }
        assert!(fixture.acknowledged().len() > 1500, "seed {seed}: {}", fixture.acknowledged().len());
    }
}

#[test]
fn watcher_that_does_not_read_loses_events_and_no_other_one_does() {
    for seed in seeds().take(1) {
        let mut fixture = fixture(seed, OPEN);
        fixture.sim.set_window(4096);
        let received = add_browser(&mut fixture, "browser", &[("/events", "collector"); 2]);
        received[0].borrow_mut().is_stalled = true;
        fixture.sim.run_for(15 * SEC);
        assert_eq!(received[0].borrow().events(), 0, "seed {seed}");
        let events = received[1].borrow().events();
        assert!((14..=16).contains(&events), "seed {seed}: {events}");
    }
}
