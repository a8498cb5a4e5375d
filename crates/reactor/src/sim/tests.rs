use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_pipeline::{
    Budget, Cx, Door, Endpoint, Event, Graph, GraphBuilder, JobResult, Listener, Logger, Mono, NoLog, Outcome,
    PeerAddr, Receiver, StartError, Stream,
};

use super::*;

const MS: Duration = Duration::from_millis(1);

type Seen = Rc<RefCell<Vec<(Mono, String)>>>;

/// Listens, and sends every byte back.
struct Echo {
    listener: Option<Box<dyn Listener>>,
    streams: Vec<(Box<dyn Stream>, Vec<u8>)>,
}

/// Looks a name up, connects, sends `send` zeros, half-closes, and counts what comes back.
struct Caller {
    host: &'static str,
    send: usize,
    sent: usize,
    back: usize,
    stream: Option<Box<dyn Stream>>,
    seen: Seen,
}

fn graph(receiver: impl Receiver + 'static) -> Graph {
    let mut builder = GraphBuilder::new(Arc::new(Budget::default()), Logger::new(Arc::new(NoLog)));
    builder.receiver("test".parse().unwrap(), Box::new(receiver));
    builder.build()
}

impl Receiver for Echo {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let at = Endpoint::Tcp { host: String::new(), port: 7 };
        self.listener = Some(cx.listen(0, &at).map_err(|e| StartError(e.to_string()))?);
        Ok(())
    }

    fn event(&mut self, _: &mut Cx<'_>, _: u64, _: Event<'_>, _: &mut Door<'_>) {
        while let Some(Ok(stream)) = self.listener.as_mut().map(|l| l.accept(1)) {
            self.streams.push((stream, Vec::new()));
        }
        self.streams.retain_mut(|(stream, pending)| {
            let mut buf = [0; 1000];
            let over = loop {
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
            !over || !pending.is_empty()
        });
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}

    fn close(&mut self, _: &mut Cx<'_>, _: Mono) {
        self.listener = None;
    }

    fn is_closed(&self) -> bool {
        self.listener.is_none() && self.streams.is_empty()
    }
}

impl Caller {
    fn say(&self, cx: &Cx<'_>, what: impl Into<String>) {
        self.seen.borrow_mut().push((cx.now(), what.into()));
    }
}

impl Receiver for Caller {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        cx.resolve(0, self.host, 7);
        Ok(())
    }

    fn event(&mut self, cx: &mut Cx<'_>, _: u64, event: Event<'_>, _: &mut Door<'_>) {
        match event {
            Event::Resolved(Ok(found)) => {
                let addr: SocketAddr = found[0];
                self.stream = cx.connect(1, &PeerAddr::Ip(addr)).ok();
            }
            Event::Resolved(Err(e)) => self.say(cx, e.clone()),
            _ => {}
        }
        let Some(mut stream) = self.stream.take() else { return };
        let zeros = vec![0; self.send];
        while self.sent < self.send {
            match stream.write(&zeros[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return self.say(cx, format!("{:?}", e.kind())),
            }
            if self.sent == self.send {
                stream.shut_write();
            }
        }
        let mut buf = [0; 700];
        loop {
            match stream.read(&mut buf) {
                Ok(0) => return self.say(cx, format!("{} back", self.back)),
                Ok(n) => self.back += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return self.say(cx, format!("{:?}", e.kind())),
            }
        }
        self.stream = Some(stream);
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}
    fn close(&mut self, _: &mut Cx<'_>, _: Mono) {}

    fn is_closed(&self) -> bool {
        true
    }
}

fn echo() -> Graph {
    graph(Echo { listener: None, streams: Vec::new() })
}

fn caller(host: &'static str, send: usize) -> (Graph, Seen) {
    let seen = Seen::default();
    (graph(Caller { host, send, sent: 0, back: 0, stream: None, seen: seen.clone() }), seen)
}

#[test]
fn more_bytes_than_the_window_come_back_whole_and_a_run_repeats_from_its_seed() {
    let run = |seed| {
        let mut sim = Sim::new(seed);
        sim.set_window(4096);
        sim.node("echo", echo()).unwrap();
        let (graph, seen) = caller("echo", 100_000);
        sim.node("caller", graph).unwrap();
        sim.run_for(Duration::from_secs(10));
        let seen = seen.borrow().clone();
        (seen, sim.trace())
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
fn a_connection_takes_its_round_trip_and_is_refused_where_nobody_listens() {
    let mut sim = Sim::new(1);
    sim.set_latency(MS, MS);
    let node = sim.node("echo", echo()).unwrap();
    let (graph, seen) = caller("echo", 10);
    sim.node("one", graph).unwrap();
    sim.run_for(Duration::from_secs(1));
    // Look-up, SYN, its answer, the bytes, and the bytes back with the end.
    assert_eq!(*seen.borrow(), [(Mono::default() + 5 * MS, "10 back".to_owned())]);
    sim.stop(node);
    let begun = sim.now();
    let (graph, seen) = caller("echo", 10);
    sim.node("two", graph).unwrap();
    sim.run_for(Duration::from_secs(1));
    assert_eq!(*seen.borrow(), [(begun + 3 * MS, "ConnectionRefused".to_owned())]);
}

#[test]
fn a_partition_holds_bytes_back_and_a_reset_loses_them() {
    let mut sim = Sim::new(3);
    let node = sim.node("echo", echo()).unwrap();
    let (one, seen) = caller("echo", 10);
    let one = sim.node("one", one).unwrap();
    sim.partition(node, one);
    sim.run_for(Duration::from_secs(60));
    assert!(seen.borrow().is_empty());
    sim.heal(node, one);
    sim.run_for(Duration::from_secs(1));
    assert_eq!(seen.borrow()[0].1, "10 back");
    let (two, seen) = caller("echo", 10);
    let two = sim.node("two", two).unwrap();
    sim.set_link(node, two, Duration::from_secs(1), Duration::from_secs(1));
    sim.run_for(Duration::from_millis(2500));
    sim.reset(two);
    sim.run_for(MS);
    assert_eq!(seen.borrow()[0].1, "ConnectionReset");
}

#[test]
fn names_fail_and_change() {
    let mut sim = Sim::new(4);
    let node = sim.node("echo", echo()).unwrap();
    sim.set_name("echo", Err("server misbehaving".to_owned()));
    let (one, seen) = caller("echo", 1);
    let one = sim.node("one", one).unwrap();
    sim.run_for(Duration::from_secs(1));
    assert_eq!(seen.borrow()[0].1, "server misbehaving");
    sim.set_name("echo", Ok(vec![sim.address(node)]));
    let (again, seen) = caller("echo", 1);
    sim.restart(one, again).unwrap();
    sim.run_for(Duration::from_secs(1));
    assert_eq!(seen.borrow()[0].1, "1 back");
}

#[test]
fn a_port_is_taken_while_its_holder_lives_and_a_shutdown_ends_though_a_caller_does_not() {
    let mut sim = Sim::new(5);
    let node = sim.node("echo", echo()).unwrap();
    let mut two = GraphBuilder::new(Arc::new(Budget::default()), Logger::new(Arc::new(NoLog)));
    for name in ["a", "b"] {
        two.receiver(name.parse().unwrap(), Box::new(Echo { listener: None, streams: Vec::new() }));
    }
    let refused = sim.node("other", two.build()).unwrap_err();
    assert!(refused.0.ends_with("listen tcp [::]:7: bind: address already in use"), "{refused}");
    sim.close(node, Duration::from_secs(5));
    assert!(sim.left(node).is_some() && sim.graph(node).is_none());
    sim.restart(node, echo()).unwrap();
    // A caller that is cut off after it connected keeps the echo from closing for half of the time.
    let (one, _) = caller("echo", 10);
    let one = sim.node("one", one).unwrap();
    sim.set_link(node, one, MS, MS);
    sim.run_for(2 * MS);
    sim.partition(node, one);
    sim.close(node, Duration::from_secs(5));
    sim.run_for(Duration::from_secs(2));
    assert!(sim.left(node).is_none() && sim.graph(node).is_some());
    sim.run_for(Duration::from_secs(1));
    assert!(sim.left(node).is_some() && sim.graph(node).is_none());
}

thread_local! {
    static UNITS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

fn compute(units: u64) {
    UNITS.set(UNITS.get() + units);
}

/// Computes 3 units in a turn and 100 in a job, and says when the job has ended.
struct Computer {
    result: Option<JobResult<u64>>,
    seen: Seen,
}

impl Receiver for Computer {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        cx.arm(1, Mono::default() + MS);
        Ok(())
    }

    fn event(&mut self, cx: &mut Cx<'_>, _: u64, event: Event<'_>, _: &mut Door<'_>) {
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
    fn close(&mut self, _: &mut Cx<'_>, _: Mono) {}

    fn is_closed(&self) -> bool {
        true
    }
}

#[test]
fn job_runs_later_and_counts_in_no_turn() {
    let mut sim = Sim::new(1);
    sim.set_meter(|| UNITS.get());
    sim.set_latency(MS, MS);
    let seen = Seen::default();
    let node = sim.node("computer", graph(Computer { result: None, seen: seen.clone() })).unwrap();
    sim.run_for(MS);
    assert!(seen.borrow().is_empty(), "the job has not ended in the turn that began it");
    sim.run_for(10 * MS);
    assert_eq!(*seen.borrow(), [(Mono::default() + 2 * MS, "7".to_owned())]);
    assert_eq!(sim.take_work(node), Work { turns: 2, total: 104, longest_turn: 3 });
    assert_eq!(sim.take_work(node), Work::default());
}
