//! A delivery with an encoder of lines, in a world that runs jobs at once.

use std::io;

use otelcore_pdata::wire::put_bytes;

use super::*;
use crate::{
    Endpoint, Fate, Held, Key, Listener, MemorySample, NoLog, Outcome, PeerAddr, ProcessSample, Stream, TimerId, Wall,
    World,
};

#[derive(Default)]
struct Stub {
    now: Mono,
    again: Vec<u64>,
}

impl World for Stub {
    fn now(&self) -> Mono {
        self.now
    }
    fn wall(&self) -> Wall {
        Wall(0)
    }
    fn rand(&mut self) -> u64 {
        0
    }
    fn memory(&mut self) -> MemorySample {
        MemorySample::default()
    }
    fn process(&mut self) -> ProcessSample {
        ProcessSample::default()
    }
    fn listen(&mut self, _: Key, _: &Endpoint) -> io::Result<Box<dyn Listener>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn connect(&mut self, _: Key, _: &PeerAddr) -> io::Result<Box<dyn Stream>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn resolve(&mut self, _: Key, _: &str, _: u16) {}
    fn arm(&mut self, _: Key, _: Mono) -> TimerId {
        TimerId(0)
    }
    fn cancel(&mut self, _: TimerId) {}
    fn again(&mut self, key: Key) {
        self.again.push(key.local);
    }
    fn output(&mut self, _: &str) -> io::Result<Box<dyn io::Write>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Encodes by cutting: a message is the body itself.
#[derive(Clone)]
struct Plain;

impl Encode for Plain {
    type Message = Rope;

    fn encode(&self, signal: Signal, piece: Piece, bounds: Bounds) -> Encoded<Rope> {
        let (bodies, rest) = piece.cut(signal, bounds.message, bounds.messages);
        let messages = bodies.into_iter().map(|body| Message { content: body.clone(), bytes: body.len(), body });
        Encoded { messages: messages.collect(), rest }
    }
}

/// A body whose spans have these names, in resources of `each` spans.
fn body(names: &[&[u8]], each: usize) -> Rope {
    let mut body = Vec::new();
    for names in names.chunks(each) {
        let (mut scope, mut resource) = (Vec::new(), Vec::new());
        for name in names {
            let mut span = Vec::new();
            put_bytes(&mut span, 5, name);
            put_bytes(&mut scope, 2, &span);
        }
        put_bytes(&mut resource, 2, &scope);
        put_bytes(&mut body, 1, &resource);
    }
    let items = otelcore_pdata::check(Signal::Traces, &body).unwrap().items;
    Rope::new(body.into(), items)
}

/// A peer that answers each message by a rule.
struct Scene<F> {
    world: Stub,
    delivery: Delivery<Plain>,
    done: Done,
    peer: F,
    /// Bytes of the messages that the peer saw.
    seen: Vec<usize>,
    /// The largest number of calls in flight at once.
    most: usize,
}

impl<F: FnMut(&Rope) -> CallResult> Scene<F> {
    fn new(peer: F) -> Self {
        let telemetry = Telemetry::new(Detail::Detailed);
        let log = Logger::new(std::sync::Arc::new(NoLog));
        let delivery = Delivery::new(Plain, "plain", &telemetry, log);
        Self { world: Stub::default(), delivery, done: Done::default(), peer, seen: Vec::new(), most: 0 }
    }

    fn send(&mut self, body: Rope) -> Fate {
        let payload = Payload { signal: Signal::Traces, body, meta: None, held: Held::default() };
        let id = JobId { signal: 0, number: 0 };
        let items = payload.items();
        self.delivery.send(&mut Cx::new(&mut self.world, 1), id, &payload, Mono::NEVER, &mut self.done);
        loop {
            let now = self.world.now;
            let calls: Vec<_> = std::iter::from_fn(|| self.delivery.poll_call(now)).collect();
            self.most = self.most.max(calls.len());
            for call in calls {
                self.seen.push(call.content.len());
                let result = (self.peer)(&call.content);
                let mut cx = Cx::new(&mut self.world, 1);
                self.delivery.handle_result(&mut cx, call.token, result, &mut self.done);
            }
            for local in std::mem::take(&mut self.world.again) {
                let mut cx = Cx::new(&mut self.world, 1);
                assert!(self.delivery.event(&mut cx, local, &mut self.done));
            }
            let Some((_, fated)) = self.done.drain().pop() else { continue };
            assert!(self.delivery.jobs.is_empty() && self.delivery.calls.is_empty());
            return match fated {
                crate::component::Fated::Pieces(fate) => fate,
                crate::component::Fated::Whole(Outcome::Permanent(why)) => {
                    Fate { refused: Some((items, why)), ..Fate::default() }
                }
                crate::component::Fated::Whole(Outcome::Retry { after, why }) => {
                    Fate { rest: Some((payload.body, after, why)), ..Fate::default() }
                }
                other @ crate::component::Fated::Whole(_) => panic!("{other:?}"),
            };
        }
    }
}

fn max(limit: usize, named: bool) -> impl FnMut(&Rope) -> CallResult {
    move |body| {
        let why = Error::new("larger than max");
        let named = named.then_some(limit as u64);
        if body.len() > limit {
            CallResult::TooLarge { limit: named, why }
        } else {
            CallResult::Delivered { rejected: 0 }
        }
    }
}

#[test]
fn payload_above_the_limit_is_delivered_in_pieces_and_the_limit_is_remembered() {
    let name = [b'n'; 1000];
    let names = vec![&name[..]; 5001];
    let payload = body(&names, 5001);
    for named in [true, false] {
        let mut scene = Scene::new(max(1 << 20, named));
        let fate = scene.send(payload.clone());
        assert_eq!((fate.delivered, fate.refused, fate.rest.is_some()), (5001, None, false));
        let refusals = scene.seen.iter().filter(|bytes| **bytes > 1 << 20).count();
        assert!(refusals <= if named { 1 } else { 9 }, "{refusals}");
        scene.seen.clear();
        assert_eq!(scene.send(payload.clone()).delivered, 5001);
        assert!(scene.seen.iter().all(|bytes| *bytes <= 1 << 20), "no second refusal");
        // Much later more is tried again.
        scene.world.now = Mono(0) + Duration::from_hours(2);
        assert_eq!(scene.send(payload.clone()).delivered, 5001);
    }
}

#[test]
fn item_above_the_limit_is_given_up_and_its_neighbours_are_delivered() {
    let (large, small) = (vec![b'n'; 5000], [b'n'; 100]);
    let mut names = vec![&small[..]; 100];
    names[17] = &large;
    names[99] = &large;
    let mut scene = Scene::new(max(2000, true));
    let fate = scene.send(body(&names, 40));
    assert_eq!(fate.delivered, 98);
    let (items, why) = fate.refused.unwrap();
    assert_eq!(items, 2);
    assert!(why.message.starts_with("one span in a request of 50"), "{why}");
    assert!(fate.rest.is_none());
}

#[test]
fn item_above_the_limit_in_wrappers_that_are_too_is_given_up_and_the_work_ends() {
    // A resource of 20 KB around each of its spans.
    let mut resource = Vec::new();
    put_bytes(&mut resource, 3, &[b'u'; 20_000]);
    let mut scope = Vec::new();
    (0..5000).for_each(|_| put_bytes(&mut scope, 2, &[]));
    put_bytes(&mut resource, 2, &scope);
    let mut body = Vec::new();
    put_bytes(&mut body, 1, &resource);
    let mut scene = Scene::new(max(10_000, true));
    let fate = scene.send(Rope::new(body.into(), 5000));
    assert_eq!((fate.delivered, fate.refused.map(|(items, _)| items), fate.rest.is_none()), (0, Some(5000), true));
    assert!(scene.seen.len() <= 10_001, "{}", scene.seen.len());
}

#[test]
fn text_that_the_peer_refuses_is_sent_once_more_repaired() {
    let names: [&[u8]; 4] = [b"a", b"b\xff", b"c", b"d"];
    let mut scene = Scene::new(|body: &Rope| match std::str::from_utf8(&body.to_bytes()) {
        Ok(_) => CallResult::Delivered { rejected: 0 },
        Err(_) => CallResult::Refused { why: Error::new("invalid UTF-8"), for_text: true },
    });
    let fate = scene.send(body(&names, 2));
    assert_eq!((fate.delivered, fate.refused), (4, None));
    assert_eq!(scene.seen.len(), 2);
    let fate = scene.send(body(&[b"fine"], 1));
    assert_eq!((fate.delivered, scene.seen.len()), (1, 3));
}

#[test]
fn refusal_that_text_is_not_to_blame_for_is_final() {
    let bad = || CallResult::Refused { why: Error::new("bad"), for_text: true };
    let mut scene = Scene::new(|_: &Rope| bad());
    let fate = scene.send(body(&[b"fine"], 1));
    assert_eq!((fate.refused, scene.seen.len()), (Some((1, Error::new("bad"))), 1));
    let fate = scene.send(body(&[b"\xff"], 1));
    assert_eq!((fate.refused, scene.seen.len()), (Some((1, Error::new("bad"))), 3), "one more try, repaired");
}

#[test]
fn payload_of_very_many_messages_has_a_window_of_calls() {
    let names = vec![&b"n"[..]; 40_000];
    let mut scene = Scene::new(max(1 << 20, true));
    scene.delivery.limits[0].refused(Mono(0), 4096, Some(1024));
    let fate = scene.send(body(&names, 20));
    assert_eq!(fate.delivered, 40_000);
    assert!(scene.most <= CALLS * 2 && scene.seen.len() > 150, "{} of {}", scene.most, scene.seen.len());
}

#[test]
fn first_failure_stops_a_payload_and_leaves_the_rest_for_later() {
    let names = vec![&b"n"[..]; 20_000];
    let mut calls = 0;
    let mut scene = Scene::new(|_: &Rope| {
        calls += 1;
        let after = Some(Duration::from_secs(9));
        let busy = CallResult::Retry { after, why: Error::new("busy") };
        if calls > 60 { busy } else { CallResult::Delivered { rejected: 0 } }
    });
    scene.delivery.limits[0].refused(Mono(0), 4096, Some(1024));
    let fate = scene.send(body(&names, 20));
    let (rest, after, why) = fate.rest.unwrap();
    assert_eq!((fate.delivered + rest.items(), after, why), (20_000, Some(Duration::from_secs(9)), Error::new("busy")));
    assert!(scene.seen.len() <= 60 + 2 * CALLS, "{}", scene.seen.len());
}
