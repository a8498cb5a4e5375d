//! The world and the harnesses, by small components.
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::time::Duration;

use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{
    Ack, Cx, Downstream, Endpoint, Event, Listener, MonotonicTime, Outcome, PRIVATE_FILE, Payload, PeerAddr,
    PipelineInput, Processor, Receiver, ReceiverMetrics, StartError, Stream,
};
use otelcore_testkit::{ProcessorTest, TestContext, TestWorld, payload, receiver_graph};

const MS: Duration = Duration::from_millis(1);

#[test]
fn timers_fire_in_order_and_cancelled_timers_never() {
    let mut world = TestWorld::new();
    let cancelled = world.cx().set_timer(3, MonotonicTime::default() + 2 * MS);
    world.cx().set_timer(2, MonotonicTime::default() + 3 * MS);
    world.cx().set_timer(1, MonotonicTime::default() + MS);
    world.cx().cancel_timer(cancelled);
    let mut fired = Vec::new();
    world.run_for(10 * MS, |cx, local, event| {
        assert!(matches!(event, Event::Timer));
        fired.push((cx.now().0 / 1_000_000, local));
    });
    assert_eq!(fired, [(1, 1), (3, 2)]);
    assert_eq!(world.next_timer(), None);
}

#[test]
fn jobs_run_when_the_test_lets_them_and_may_end_without_a_result() {
    let mut world = TestWorld::new();
    let sum = world.cx().run_job(1, || 2 + 3);
    let written = world.cx().run_file_job(2, |files| {
        files.create_file(Path::new("/a"), PRIVATE_FILE)?;
        files.append(Path::new("/a"), &[b"text"])
    });
    let panics = world.cx().run_job(3, || 1);
    assert_eq!((world.job_count(), sum.take()), (3, None));
    assert_eq!((world.run_job(), world.run_job(), world.drop_job()), (Some(1), Some(2), Some(3)));
    assert_eq!((sum.take(), written.unwrap().take().unwrap().unwrap(), panics.take()), (Some(5), 4, None));
    assert_eq!(world.disk().content("/a").unwrap(), b"text");
    assert_eq!(world.take_ready(), [1, 2, 3]);
}

#[test]
fn connection_of_the_component_carries_bytes_both_ways_within_its_capacity() {
    let mut world = TestWorld::new();
    let mut stream = world.cx().connect(7, &PeerAddr::Ip("192.0.2.9:80".parse().unwrap())).unwrap();
    let [(peer_addr, peer)] = world.take_connections().try_into().unwrap();
    assert_eq!(peer_addr.to_string(), "192.0.2.9:80");
    peer.set_capacity(Some(3));
    assert_eq!(stream.write(b"hello").unwrap(), 3);
    assert_eq!(stream.write(b"lo").unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(world.take_ready(), [7]);
    assert_eq!(peer.take_received(), b"hel");
    assert_eq!(world.take_ready(), [7], "there is room again");
    peer.send("answer");
    peer.shutdown_write();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "answer");
    drop(stream);
    assert!(peer.is_closed());
}

#[test]
fn datagrams_arrive_and_too_long_ones_are_counted() {
    let mut world = TestWorld::new();
    let mut socket = world.cx().bind_udp(1, "127.0.0.1", 8125).unwrap();
    let from = "192.0.2.1:9".parse().unwrap();
    world.send_datagram("127.0.0.1:8125", "longer than four", from);
    world.send_datagram("127.0.0.1:8125", "abcd", from);
    let mut buffer = [0; 4];
    assert_eq!(socket.recv_from(&mut buffer).unwrap(), (4, from));
    assert_eq!(socket.drops().too_long, 1);
    socket.send_to(&buffer, from).unwrap();
    assert_eq!(world.take_datagrams("127.0.0.1:8125"), [(b"abcd".to_vec(), from)]);
}

/// Sends each byte that it receives as a payload, and answers with its outcome.
struct ByteReceiver {
    listener: Option<Box<dyn Listener>>,
    stream: Option<Box<dyn Stream>>,
    metrics: ReceiverMetrics,
}

impl Receiver for ByteReceiver {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let endpoint = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: 4000 };
        self.listener = Some(cx.listen(0, &endpoint)?);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, _: u64, _: Event<'_>, input: &mut PipelineInput<'_>) {
        if let Some(Ok(stream)) = self.listener.as_mut().map(|listener| listener.accept(1)) {
            self.stream = Some(stream);
        }
        let mut byte = [0];
        while self.stream.as_mut().is_some_and(|stream| stream.read(&mut byte).is_ok_and(|n| n == 1)) {
            input.send(cx, byte[0].into(), payload(Signal::Logs, Rope::new(vec![byte[0]].into(), 1)));
        }
    }

    fn settled(&mut self, _: &mut Cx<'_>, request: u64, outcome: Outcome) {
        self.metrics.record_outcome(Signal::Logs, 1, &outcome);
        let text = format!("{request}:{} ", outcome == Outcome::Delivered);
        self.stream.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn close(&mut self, _: &mut Cx<'_>, _: MonotonicTime) {
        self.listener = None;
    }

    fn is_closed(&self) -> bool {
        self.listener.is_none()
    }
}

#[test]
fn receiver_in_a_graph_sends_payloads_and_gets_the_outcomes_that_the_test_sets() {
    let mut world = TestWorld::new();
    let context = TestContext::new();
    let metrics = ReceiverMetrics::new(&context.telemetry, "test", "tcp", &[Signal::Logs]);
    let receiver = Box::new(ByteReceiver { listener: None, stream: None, metrics });
    let (mut graph, recorded) = receiver_graph(receiver, &context);
    graph.start(&mut world).unwrap();
    let connecting = world.connect_to("127.0.0.1:4000");
    world.run_graph(&mut graph);
    let peer = connecting.accepted().unwrap();
    recorded.push_outcome(Outcome::permanent("no"));
    peer.send([5, 6]);
    world.run_graph(&mut graph);
    let bodies: Vec<_> = recorded.take().iter().map(|payload| payload.body.to_bytes().to_vec()).collect();
    assert_eq!(bodies, [[5], [6]]);
    assert_eq!(peer.take_received(), b"5:false 6:true ");
    graph.close(&mut world, MonotonicTime::NEVER);
    assert_eq!(world.listening(), [""; 0]);
}

/// Refuses every second payload.
#[derive(Default)]
struct EverySecond(bool);

impl Processor for EverySecond {
    fn process(&mut self, _: &mut Cx<'_>, payload: Payload, ack: Ack, downstream: &mut Downstream) {
        self.0 = !self.0;
        if self.0 { downstream.send(payload, ack) } else { ack.settle(Outcome::permanent("second")) }
    }
}

#[test]
fn processor_test_records_what_is_passed_on_and_the_outcomes() {
    let mut test = ProcessorTest::new(Box::new(EverySecond::default()));
    test.start().unwrap();
    for _ in 0..2 {
        test.process(payload(Signal::Logs, Rope::default()));
    }
    assert_eq!(test.take_outcomes(), [(1, Outcome::permanent("second"))]);
    for (_, ack) in test.take_passed_on() {
        ack.settle(Outcome::Delivered);
    }
    assert_eq!(test.take_outcomes(), [(0, Outcome::Delivered)]);
}
