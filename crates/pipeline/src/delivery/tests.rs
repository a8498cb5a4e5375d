//! Tests of a delivery whose messages are the bodies, in a world that runs helper jobs at once.

use std::io;

use otelcore_pdata::wire_format::put_bytes_field;

use super::*;
use crate::{
    Endpoint, Held, Key, Listener, MemorySample, NoopLogSink, Outcome, PartialOutcome, PeerAddr, ProcessSample, Stream,
    TimerId, WallTime, World,
};

#[derive(Default)]
struct StubWorld {
    now: MonotonicTime,
    ready_keys: Vec<u64>,
}

impl World for StubWorld {
    fn bind_udp(&mut self, _: Key, _: &str, _: u16) -> io::Result<Box<dyn crate::DatagramSocket>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn run_file_job(&mut self, _: Key, _: crate::FileJob) -> Result<(), crate::TooManyFileJobs> {
        Err(crate::TooManyFileJobs)
    }
    fn now(&self) -> MonotonicTime {
        self.now
    }
    fn wall_time(&self) -> WallTime {
        WallTime(0)
    }
    fn random(&mut self) -> u64 {
        0
    }
    fn sample_memory(&mut self) -> MemorySample {
        MemorySample::default()
    }
    fn sample_process(&mut self) -> ProcessSample {
        ProcessSample::default()
    }
    fn listen(&mut self, _: Key, _: &Endpoint) -> io::Result<Box<dyn Listener>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn connect(&mut self, _: Key, _: &PeerAddr) -> io::Result<Box<dyn Stream>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn resolve(&mut self, _: Key, _: &str, _: u16) {}
    fn set_timer(&mut self, _: Key, _: MonotonicTime) -> TimerId {
        TimerId(0)
    }
    fn cancel_timer(&mut self, _: TimerId) {}
    fn request_ready(&mut self, key: Key) {
        self.ready_keys.push(key.local);
    }
    fn open_output(&mut self, _: &str) -> io::Result<Box<dyn io::Write>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Encodes by cutting: a message is the body itself.
#[derive(Clone)]
struct BodyEncoder;

impl Encode for BodyEncoder {
    type Message = Rope;

    fn encode(&self, signal: Signal, piece: Piece, bounds: EncodeLimits) -> EncodedPiece<Rope> {
        let (bodies, rest) = piece.cut(signal, bounds.message_bytes, bounds.max_messages);
        let message = |body: Rope| {
            // Spans with this name can't be expressed in the format of the peer.
            let count = body.to_bytes().windows(NOT_EXPRESSIBLE.len()).filter(|w| *w == NOT_EXPRESSIBLE).count();
            let left_out = LeftOutItems { count: u32::try_from(count).unwrap(), reason: "the span has no id" };
            let left_out = (count > 0).then_some(left_out);
            EncodedMessage { content: body.clone(), bytes: body.len(), body, left_out }
        };
        EncodedPiece { messages: bodies.into_iter().map(message).collect(), rest }
    }
}

const NOT_EXPRESSIBLE: &[u8] = b"not-expressible";

/// A body whose spans have these names, in resources of `per_resource` spans.
fn body(names: &[&[u8]], per_resource: usize) -> Rope {
    let mut body = Vec::new();
    for names in names.chunks(per_resource) {
        let (mut scope, mut resource) = (Vec::new(), Vec::new());
        for name in names {
            let mut span = Vec::new();
            put_bytes_field(&mut span, 5, name);
            put_bytes_field(&mut scope, 2, &span);
        }
        put_bytes_field(&mut resource, 2, &scope);
        put_bytes_field(&mut body, 1, &resource);
    }
    let items = otelcore_pdata::check(Signal::Traces, &body).unwrap().items;
    Rope::new(body.into(), items)
}

/// A delivery, and a peer that responds to each message by a rule.
struct Fixture<F> {
    world: StubWorld,
    delivery: Delivery<BodyEncoder>,
    outcomes: Outcomes,
    peer: F,
    /// Bytes of the messages that the peer received.
    message_sizes: Vec<usize>,
    /// The largest number of calls in flight at once.
    max_calls: usize,
}

impl<F: FnMut(&Rope) -> CallResult> Fixture<F> {
    fn new(peer: F) -> Self {
        let telemetry = Telemetry::new(MetricsLevel::Detailed);
        let log = Logger::new(Arc::new(NoopLogSink));
        let delivery = Delivery::new(BodyEncoder, "plain", &telemetry, log);
        Self {
            world: StubWorld::default(),
            delivery,
            outcomes: Outcomes::default(),
            peer,
            message_sizes: Vec::new(),
            max_calls: 0,
        }
    }

    fn send(&mut self, body: Rope) -> PartialOutcome {
        let payload = Payload { signal: Signal::Traces, body, metadata: None, held: Held::default() };
        let id = AttemptId { signal: 0, number: 0 };
        let items = payload.items();
        self.delivery.send(&mut Cx::new(&mut self.world, 1), id, &payload, MonotonicTime::NEVER, &mut self.outcomes);
        loop {
            let now = self.world.now;
            let calls: Vec<_> = std::iter::from_fn(|| self.delivery.poll_call(now)).collect();
            self.max_calls = self.max_calls.max(calls.len());
            for call in calls {
                self.message_sizes.push(call.content.len());
                let result = (self.peer)(&call.content);
                let mut cx = Cx::new(&mut self.world, 1);
                self.delivery.handle_result(&mut cx, call.token, result, &mut self.outcomes);
            }
            for local in std::mem::take(&mut self.world.ready_keys) {
                let mut cx = Cx::new(&mut self.world, 1);
                assert!(self.delivery.handle_event(&mut cx, local, &mut self.outcomes));
            }
            let Some((_, attempt_outcome)) = self.outcomes.drain().pop() else { continue };
            assert!(self.delivery.attempts.is_empty() && self.delivery.calls.is_empty());
            return match attempt_outcome {
                crate::attempt::AttemptOutcome::Pieces(partial) => partial,
                crate::attempt::AttemptOutcome::Whole(Outcome::Permanent(why)) => {
                    PartialOutcome { refused: Some((items, why)), ..PartialOutcome::default() }
                }
                crate::attempt::AttemptOutcome::Whole(Outcome::Retry { after, why }) => {
                    PartialOutcome { retry: Some((payload.body, after, why)), ..PartialOutcome::default() }
                }
                other @ crate::attempt::AttemptOutcome::Whole(_) => panic!("{other:?}"),
            };
        }
    }
}

fn peer_with_limit(limit: usize, is_limit_named: bool) -> impl FnMut(&Rope) -> CallResult {
    move |body| {
        let why = Error::new("larger than max");
        let named = is_limit_named.then_some(limit as u64);
        if body.len() > limit {
            CallResult::TooLarge { limit: named, why }
        } else {
            CallResult::Delivered { rejected: 0 }
        }
    }
}

#[test]
fn payload_above_the_limit_is_delivered_in_pieces_and_the_limit_is_stored() {
    let name = [b'n'; 1000];
    let names = vec![&name[..]; 5001];
    let payload = body(&names, 5001);
    for named in [true, false] {
        let mut fixture = Fixture::new(peer_with_limit(1 << 20, named));
        let outcome = fixture.send(payload.clone());
        assert_eq!((outcome.delivered, outcome.refused, outcome.retry.is_some()), (5001, None, false));
        let refusals = fixture.message_sizes.iter().filter(|bytes| **bytes > 1 << 20).count();
        assert!(refusals <= if named { 1 } else { 9 }, "{refusals}");
        fixture.message_sizes.clear();
        assert_eq!(fixture.send(payload.clone()).delivered, 5001);
        assert!(fixture.message_sizes.iter().all(|bytes| *bytes <= 1 << 20), "no second refusal");
        // Much later more is tried again.
        fixture.world.now = MonotonicTime(0) + Duration::from_hours(2);
        assert_eq!(fixture.send(payload.clone()).delivered, 5001);
    }
}

#[test]
fn item_above_the_limit_is_refused_and_the_others_are_delivered() {
    let (large, small) = (vec![b'n'; 5000], [b'n'; 100]);
    let mut names = vec![&small[..]; 100];
    names[17] = &large;
    names[99] = &large;
    let mut fixture = Fixture::new(peer_with_limit(2000, true));
    let outcome = fixture.send(body(&names, 40));
    assert_eq!(outcome.delivered, 98);
    let (items, why) = outcome.refused.unwrap();
    assert_eq!(items, 2);
    assert!(why.message.starts_with("one span in a request of 50"), "{why}");
    assert!(outcome.retry.is_none());
}

#[test]
fn item_above_the_limit_in_a_resource_above_the_limit_is_refused_in_bounded_calls() {
    // A resource of 20 KB around each of its spans.
    let mut resource = Vec::new();
    put_bytes_field(&mut resource, 3, &[b'u'; 20_000]);
    let mut scope = Vec::new();
    (0..5000).for_each(|_| put_bytes_field(&mut scope, 2, &[]));
    put_bytes_field(&mut resource, 2, &scope);
    let mut body = Vec::new();
    put_bytes_field(&mut body, 1, &resource);
    let mut fixture = Fixture::new(peer_with_limit(10_000, true));
    let outcome = fixture.send(Rope::new(body.into(), 5000));
    assert_eq!(
        (outcome.delivered, outcome.refused.map(|(items, _)| items), outcome.retry.is_none()),
        (0, Some(5000), true)
    );
    assert!(fixture.message_sizes.len() <= 10_001, "{}", fixture.message_sizes.len());
}

#[test]
fn items_that_the_format_can_not_express_count_as_rejected_when_the_others_are_delivered() {
    let names = [b"a", NOT_EXPRESSIBLE, b"c", NOT_EXPRESSIBLE];
    let mut fixture = Fixture::new(|_: &Rope| CallResult::Delivered { rejected: 1 });
    let outcome = fixture.send(body(&names, 4));
    assert_eq!((outcome.delivered, outcome.rejected, outcome.refused), (1, 3, None));
    assert_eq!(fixture.message_sizes.len(), 1);
    let mut fixture = Fixture::new(|_: &Rope| CallResult::Retry { after: None, why: Error::new("busy") });
    let (rest, ..) = fixture.send(body(&names, 4)).retry.unwrap();
    assert_eq!(rest.items(), 4, "nothing is counted before it is delivered");
}

#[test]
fn message_without_an_item_that_the_format_can_express_is_refused_and_not_sent() {
    let mut fixture = Fixture::new(|_: &Rope| CallResult::Delivered { rejected: 0 });
    let outcome = fixture.send(body(&[NOT_EXPRESSIBLE, NOT_EXPRESSIBLE], 2));
    assert_eq!(outcome.refused, Some((2, Error::new("the span has no id"))));
    assert!(fixture.message_sizes.is_empty());
}

#[test]
fn text_refused_by_the_peer_is_repaired_and_sent_again() {
    let names: [&[u8]; 4] = [b"a", b"b\xff", b"c", b"d"];
    let mut fixture = Fixture::new(|body: &Rope| match std::str::from_utf8(&body.to_bytes()) {
        Ok(_) => CallResult::Delivered { rejected: 0 },
        Err(_) => CallResult::Refused { why: Error::new("invalid UTF-8"), may_be_invalid_text: true },
    });
    let outcome = fixture.send(body(&names, 2));
    assert_eq!((outcome.delivered, outcome.refused), (4, None));
    assert_eq!(fixture.message_sizes.len(), 2);
    let outcome = fixture.send(body(&[b"fine"], 1));
    assert_eq!((outcome.delivered, fixture.message_sizes.len()), (1, 3));
}

#[test]
fn refusal_for_valid_text_is_final() {
    let bad = || CallResult::Refused { why: Error::new("bad"), may_be_invalid_text: true };
    let mut fixture = Fixture::new(|_: &Rope| bad());
    let outcome = fixture.send(body(&[b"fine"], 1));
    assert_eq!((outcome.refused, fixture.message_sizes.len()), (Some((1, Error::new("bad"))), 1));
    let outcome = fixture.send(body(&[b"\xff"], 1));
    assert_eq!(
        (outcome.refused, fixture.message_sizes.len()),
        (Some((1, Error::new("bad"))), 3),
        "one more try, repaired"
    );
}

#[test]
fn payload_of_many_messages_has_a_limit_of_calls_in_flight() {
    let names = vec![&b"n"[..]; 40_000];
    let mut fixture = Fixture::new(peer_with_limit(1 << 20, true));
    fixture.delivery.limits[0].record_refusal(MonotonicTime(0), 4096, Some(1024));
    let outcome = fixture.send(body(&names, 20));
    assert_eq!(outcome.delivered, 40_000);
    assert!(
        fixture.max_calls <= MAX_CALLS_IN_FLIGHT * 2 && fixture.message_sizes.len() > 150,
        "{} of {}",
        fixture.max_calls,
        fixture.message_sizes.len()
    );
}

#[test]
fn payload_after_the_first_failure_is_stopped_and_the_rest_is_left_for_retry() {
    let names = vec![&b"n"[..]; 20_000];
    let mut calls = 0;
    let mut fixture = Fixture::new(|_: &Rope| {
        calls += 1;
        let after = Some(Duration::from_secs(9));
        let busy = CallResult::Retry { after, why: Error::new("busy") };
        if calls > 60 { busy } else { CallResult::Delivered { rejected: 0 } }
    });
    fixture.delivery.limits[0].record_refusal(MonotonicTime(0), 4096, Some(1024));
    let outcome = fixture.send(body(&names, 20));
    let (rest, after, why) = outcome.retry.unwrap();
    assert_eq!(
        (outcome.delivered + rest.items(), after, why),
        (20_000, Some(Duration::from_secs(9)), Error::new("busy"))
    );
    assert!(fixture.message_sizes.len() <= 60 + 2 * MAX_CALLS_IN_FLIGHT, "{}", fixture.message_sizes.len());
}

#[test]
fn token_of_an_ended_call_is_of_no_other_call() {
    let mut fixture = Fixture::new(|_: &Rope| CallResult::Delivered { rejected: 0 });
    let Fixture { world, delivery, outcomes, .. } = &mut fixture;
    let mut tokens = BTreeSet::new();
    for number in 0..10 {
        let payload = Payload { signal: Signal::Traces, body: body(&[b"a"], 1), metadata: None, held: Held::default() };
        let id = AttemptId { signal: 0, number };
        delivery.send(&mut Cx::new(world, 1), id, &payload, MonotonicTime::NEVER, outcomes);
        let call = delivery.poll_call(MonotonicTime(0)).unwrap();
        // Results of calls that have ended, such as one that a peer sends twice, change nothing.
        for ended in &tokens {
            let retry = CallResult::Retry { after: None, why: Error::new("late") };
            assert_eq!(delivery.call_info(*ended), None);
            delivery.handle_result(&mut Cx::new(world, 1), *ended, retry, outcomes);
        }
        assert_eq!(delivery.call_info(call.token), Some((Signal::Traces, 1)));
        let delivered = CallResult::Delivered { rejected: 0 };
        delivery.handle_result(&mut Cx::new(world, 1), call.token, delivered, outcomes);
        let ended = outcomes.drain();
        assert!(ended.len() == 1 && ended[0].0 == id, "{ended:?}");
        assert!(tokens.insert(call.token), "given again: {}", call.token);
    }
}
