use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_pipeline::{
    Budget, Cx, Endpoint, Event, Graph, GraphBuilder, JobResult, Listener, Logger, MonotonicTime, NoopLogSink, Outcome,
    PeerAddr, PipelineInput, Receiver, ResolveError, StartError, Stream,
};

use super::*;

mod machine;

const MS: Duration = Duration::from_millis(1);

type RecordedEvents = Rc<RefCell<Vec<(MonotonicTime, String)>>>;

/// Listens, and sends every byte back.
struct EchoServer {
    listener: Option<Box<dyn Listener>>,
    streams: Vec<(Box<dyn Stream>, Vec<u8>)>,
}

/// Looks a name up, connects, sends `send` zeros, half-closes, and counts what comes back.
struct EchoClient {
    host: &'static str,
    send: usize,
    sent: usize,
    received: usize,
    stream: Option<Box<dyn Stream>>,
    recorded: RecordedEvents,
}

fn graph(receiver: impl Receiver + 'static) -> Graph {
    let mut builder = GraphBuilder::new(Arc::new(Budget::default()), Logger::new(Arc::new(NoopLogSink)));
    builder.add_receiver("test".parse().unwrap(), Box::new(receiver));
    builder.build()
}

impl Receiver for EchoServer {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let at = Endpoint::Tcp { host: String::new(), port: 7 };
        self.listener = Some(cx.listen(0, &at)?);
        Ok(())
    }

    fn handle_event(&mut self, _: &mut Cx<'_>, _: u64, _: Event<'_>, _: &mut PipelineInput<'_>) {
        while let Some(Ok(stream)) = self.listener.as_mut().map(|l| l.accept(1)) {
            self.streams.push((stream, Vec::new()));
        }
        self.streams.retain_mut(|(stream, pending)| {
            let mut buf = [0; 1000];
            let is_ended = loop {
                match stream.read(&mut buf) {
                    Ok(0) => break true,
                    Ok(n) => pending.extend_from_slice(&buf[..n]),
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break false,
                    Err(_) => {
                        pending.clear();
                        break true;
                    }
                }
            };
            while !pending.is_empty() {
                match stream.write(pending) {
                    Ok(n) => drop(pending.drain(..n)),
                    Err(_) => break,
                }
            }
            !is_ended || !pending.is_empty()
        });
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}

    fn close(&mut self, _: &mut Cx<'_>, _: MonotonicTime) {
        self.listener = None;
    }

    fn is_closed(&self) -> bool {
        self.listener.is_none() && self.streams.is_empty()
    }
}

impl EchoClient {
    fn record(&self, cx: &Cx<'_>, what: impl Into<String>) {
        self.recorded.borrow_mut().push((cx.now(), what.into()));
    }
}

impl Receiver for EchoClient {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        cx.resolve(0, self.host, 7);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, _: u64, event: Event<'_>, _: &mut PipelineInput<'_>) {
        match event {
            Event::Resolved(Ok(found)) => {
                let addr: SocketAddr = found[0];
                self.stream = cx.connect(1, &PeerAddr::Ip(addr)).ok();
            }
            Event::Resolved(Err(e)) => self.record(cx, e.to_string()),
            _ => {}
        }
        let Some(mut stream) = self.stream.take() else { return };
        let zeros = vec![0; self.send];
        while self.sent < self.send {
            match stream.write(&zeros[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return self.record(cx, format!("{:?}", e.kind())),
            }
            if self.sent == self.send {
                stream.shutdown_write();
            }
        }
        let mut buf = [0; 700];
        loop {
            match stream.read(&mut buf) {
                Ok(0) => return self.record(cx, format!("{} back", self.received)),
                Ok(n) => self.received += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return self.record(cx, format!("{:?}", e.kind())),
            }
        }
        self.stream = Some(stream);
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}
    fn close(&mut self, _: &mut Cx<'_>, _: MonotonicTime) {}

    fn is_closed(&self) -> bool {
        true
    }
}

fn echo_server() -> Graph {
    graph(EchoServer { listener: None, streams: Vec::new() })
}

fn echo_client(host: &'static str, send: usize) -> (Graph, RecordedEvents) {
    let recorded = RecordedEvents::default();
    (graph(EchoClient { host, send, sent: 0, received: 0, stream: None, recorded: recorded.clone() }), recorded)
}

#[test]
fn bytes_beyond_the_window_are_echoed_and_runs_with_equal_seeds_are_equal() {
    let run = |seed| {
        let mut sim = Sim::new(seed);
        sim.set_window(4096);
        sim.add_node("echo", echo_server()).unwrap();
        let (graph, seen) = echo_client("echo", 100_000);
        sim.add_node("caller", graph).unwrap();
        sim.run_for(Duration::from_secs(10));
        let seen = seen.borrow().clone();
        (seen, sim.event_hash())
    };
    for seed in 0..20 {
        let (seen, trace) = run(seed);
        assert_eq!(seen.len(), 1, "seed {seed}: {seen:?}");
        assert_eq!(seen[0].1, "100000 back", "seed {seed}");
        assert_eq!((seen, trace), run(seed), "seed {seed}");
    }
    assert_ne!(run(1).1, run(2).1);
}

#[test]
fn connection_takes_its_round_trips_and_is_refused_without_a_listener() {
    let mut sim = Sim::new(1);
    sim.set_latency(MS, MS);
    let node = sim.add_node("echo", echo_server()).unwrap();
    let (graph, seen) = echo_client("echo", 10);
    sim.add_node("one", graph).unwrap();
    sim.run_for(Duration::from_secs(1));
    // Look-up, SYN, its answer, the bytes, and the bytes back with the end.
    assert_eq!(*seen.borrow(), [(MonotonicTime::default() + 5 * MS, "10 back".to_owned())]);
    sim.kill(node);
    let begun = sim.now();
    let (graph, seen) = echo_client("echo", 10);
    sim.add_node("two", graph).unwrap();
    sim.run_for(Duration::from_secs(1));
    assert_eq!(*seen.borrow(), [(begun + 3 * MS, "ConnectionRefused".to_owned())]);
}

#[test]
fn partition_holds_bytes_back_and_reset_loses_them() {
    let mut sim = Sim::new(3);
    let node = sim.add_node("echo", echo_server()).unwrap();
    let (one, seen) = echo_client("echo", 10);
    let one = sim.add_node("one", one).unwrap();
    sim.partition(node, one);
    sim.run_for(Duration::from_secs(60));
    assert!(seen.borrow().is_empty());
    sim.heal(node, one);
    sim.run_for(Duration::from_secs(1));
    assert_eq!(seen.borrow()[0].1, "10 back");
    let (two, seen) = echo_client("echo", 10);
    let two = sim.add_node("two", two).unwrap();
    sim.set_link_latency(node, two, Duration::from_secs(1), Duration::from_secs(1));
    sim.run_for(Duration::from_millis(2500));
    sim.reset(two);
    sim.run_for(MS);
    assert_eq!(seen.borrow()[0].1, "ConnectionReset");
}

#[test]
fn lookup_fails_and_later_succeeds_as_the_test_sets() {
    let mut sim = Sim::new(4);
    let node = sim.add_node("echo", echo_server()).unwrap();
    sim.set_lookup_result("echo", Err(ResolveError("server misbehaving".to_owned())));
    let (one, seen) = echo_client("echo", 1);
    let one = sim.add_node("one", one).unwrap();
    sim.run_for(Duration::from_secs(1));
    assert_eq!(seen.borrow()[0].1, "server misbehaving");
    sim.set_lookup_result("echo", Ok(vec![sim.address(node)]));
    let (retry, seen) = echo_client("echo", 1);
    sim.restart(one, retry).unwrap();
    sim.run_for(Duration::from_secs(1));
    assert_eq!(seen.borrow()[0].1, "1 back");
}

#[test]
fn port_in_use_is_refused_and_shutdown_ends_with_an_open_connection() {
    let mut sim = Sim::new(5);
    let node = sim.add_node("echo", echo_server()).unwrap();
    let mut two = GraphBuilder::new(Arc::new(Budget::default()), Logger::new(Arc::new(NoopLogSink)));
    for name in ["a", "b"] {
        two.add_receiver(name.parse().unwrap(), Box::new(EchoServer { listener: None, streams: Vec::new() }));
    }
    let refused = sim.add_node("other", two.build()).unwrap_err();
    assert!(refused.to_string().ends_with("listen tcp [::]:7: bind: address already in use"), "{refused}");
    sim.close(node, Duration::from_secs(5));
    assert!(sim.undelivered(node).is_some() && sim.graph(node).is_none());
    sim.restart(node, echo_server()).unwrap();
    // A caller that is cut off after it connected keeps the echo from closing for half of the time.
    let (one, _) = echo_client("echo", 10);
    let one = sim.add_node("one", one).unwrap();
    sim.set_link_latency(node, one, MS, MS);
    sim.run_for(2 * MS);
    sim.partition(node, one);
    sim.close(node, Duration::from_secs(5));
    sim.run_for(Duration::from_secs(2));
    assert!(sim.undelivered(node).is_none() && sim.graph(node).is_some());
    sim.run_for(Duration::from_secs(1));
    assert!(sim.undelivered(node).is_some() && sim.graph(node).is_none());
}

thread_local! {
    static UNITS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

fn compute(units: u64) {
    UNITS.set(UNITS.get() + units);
}

/// Computes 3 units in a turn and 100 in a job, and says when the job has ended.
struct JobReceiver {
    result: Option<JobResult<u64>>,
    seen: RecordedEvents,
}

impl Receiver for JobReceiver {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        cx.set_timer(1, MonotonicTime::default() + MS);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, _: u64, event: Event<'_>, _: &mut PipelineInput<'_>) {
        if matches!(event, Event::Timer) {
            compute(3);
            let job = || {
                compute(100);
                7
            };
            self.result = Some(cx.run_job(2, job));
        } else if let Some(result) = self.result.as_ref().and_then(JobResult::take) {
            compute(1);
            self.seen.borrow_mut().push((cx.now(), result.to_string()));
        }
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}
    fn close(&mut self, _: &mut Cx<'_>, _: MonotonicTime) {}

    fn is_closed(&self) -> bool {
        true
    }
}

#[test]
fn job_runs_after_the_turn_and_is_not_counted_in_a_turn() {
    let mut sim = Sim::new(1);
    sim.set_meter(|| UNITS.get());
    sim.set_latency(MS, MS);
    let seen = RecordedEvents::default();
    let node = sim.add_node("computer", graph(JobReceiver { result: None, seen: seen.clone() })).unwrap();
    sim.run_for(MS);
    assert!(seen.borrow().is_empty(), "the job has not ended in the turn that began it");
    sim.run_for(10 * MS);
    assert_eq!(*seen.borrow(), [(MonotonicTime::default() + 2 * MS, "7".to_owned())]);
    assert_eq!(sim.take_computed_units(node), ComputedUnits { turns: 2, total: 104, longest_turn: 3 });
    assert_eq!(sim.take_computed_units(node), ComputedUnits::default());
}
