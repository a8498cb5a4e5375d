//! Batching under a virtual clock, in a small world that has only time.

use std::collections::BTreeSet;
use std::io;

use bytes::Bytes;
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{
    Budget, Endpoint, Held, Key, Listener, MemorySample, NoLog, PeerAddr, ProcessSample, Stream, Wall, World,
};

use super::*;

/// A world with nothing but a clock and timers.
#[derive(Default)]
struct Clock {
    now: Mono,
    timers: Vec<(Mono, TimerId, u64)>,
    next: u64,
    again: BTreeSet<u64>,
}

impl World for Clock {
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
    fn arm(&mut self, key: Key, at: Mono) -> TimerId {
        self.next += 1;
        self.timers.push((at, TimerId(self.next), key.local));
        TimerId(self.next)
    }
    fn cancel(&mut self, id: TimerId) {
        self.timers.retain(|t| t.1 != id);
    }
    fn again(&mut self, key: Key) {
        self.again.insert(key.local);
    }
    fn output(&mut self, _: &str) -> io::Result<Box<dyn io::Write>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

struct Scene {
    clock: Clock,
    processor: BatchProcessor,
    budget: Arc<Budget>,
    sent: Vec<(u32, Ack)>,
}

impl Scene {
    fn new(settings: Batch) -> Self {
        let telemetry = Telemetry::new(Detail::Detailed);
        let budget = Arc::<Budget>::default();
        let processor = BatchProcessor::new(settings, "batch", &telemetry, &budget, Logger::new(Arc::new(NoLog)));
        Self { clock: Clock::default(), processor, budget, sent: Vec::new() }
    }

    /// One log record is `0a 06 12 04 12 02 08 00`-like: resource, scope, and records of two bytes.
    fn body(items: u32) -> Rope {
        let records = [0x12, 0].repeat(items as usize);
        let mut scope = Vec::new();
        otelcore_pdata::wire::put_bytes(&mut scope, 2, &records);
        let mut body = Vec::new();
        otelcore_pdata::wire::put_bytes(&mut body, 1, &scope);
        Rope::new(Bytes::from(body), items)
    }

    fn give(&mut self, items: u32) {
        self.give_with(items, None);
    }

    fn give_with(&mut self, items: u32, meta: Option<Arc<Metadata>>) {
        let body = Self::body(items);
        let held = self.budget.hold(body.len() as u64);
        let payload = Payload { signal: Signal::Logs, body, meta, held };
        self.enter(|p, cx, out| p.process(cx, payload, Ack::detached(), out));
        self.turns();
    }

    /// Runs the turns that were requested.
    fn turns(&mut self) {
        while self.turn() {}
    }

    /// Runs one requested turn; returns whether there was one.
    fn turn(&mut self) -> bool {
        let keys = std::mem::take(&mut self.clock.again);
        for local in &keys {
            self.enter(|p, cx, out| p.event(cx, *local, Event::Ready, out));
        }
        !keys.is_empty()
    }

    /// Settles the batches that were sent, and those that are sent as a result, in the same turn; returns their sizes.
    fn deliver(&mut self, next_job: &mut u64) -> Vec<u32> {
        let mut sizes = Vec::new();
        while !self.sent.is_empty() {
            for size in self.sizes() {
                sizes.push(size);
                let job = *next_job;
                *next_job += 1;
                self.enter(|p, cx, out| p.settled(cx, job, Outcome::Delivered, out));
            }
        }
        sizes
    }

    fn enter(&mut self, f: impl FnOnce(&mut BatchProcessor, &mut Cx<'_>, &mut Out)) {
        let mut out = Out::default();
        f(&mut self.processor, &mut Cx::new(&mut self.clock, 1), &mut out);
        let sent = out.take();
        self.sent.extend(sent.into_iter().map(|(payload, ack)| (payload.items(), ack)));
    }

    /// Advances the clock and fires the timers that are due.
    fn pass(&mut self, millis: u64) {
        let end = self.clock.now + Duration::from_millis(millis);
        loop {
            self.clock.timers.sort_unstable();
            let Some(&(at, id, local)) = self.clock.timers.first().filter(|t| t.0 <= end) else { break };
            self.clock.now = at;
            self.clock.cancel(id);
            self.enter(|p, cx, out| p.event(cx, local, Event::Timer, out));
        }
        self.clock.now = end;
    }

    fn settle(&mut self, job: u64, outcome: Outcome) {
        self.enter(|p, cx, out| p.settled(cx, job, outcome, out));
        self.turns();
    }

    fn sizes(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.sent).into_iter().map(|(items, _)| items).collect()
    }
}

#[test]
fn a_full_batch_goes_at_once_and_a_small_one_after_its_time() {
    let mut scene = Scene::new(Batch { send_batch_size: 10, ..Batch::default() });
    scene.give(4);
    scene.give(5);
    assert_eq!(scene.sizes(), []);
    scene.give(3);
    assert_eq!(scene.sizes(), [12], "everything pending goes");
    scene.give(2);
    scene.pass(199);
    assert_eq!(scene.sizes(), []);
    scene.pass(1);
    assert_eq!(scene.sizes(), [2]);
    scene.pass(1000);
    assert_eq!(scene.sizes(), [], "nothing waits, so no timer runs");
}

#[test]
fn a_maximum_splits_and_the_remainder_waits() {
    let mut scene = Scene::new(Batch { send_batch_size: 10, send_batch_max_size: 10, ..Batch::default() });
    scene.give(25);
    assert_eq!(scene.sizes(), [10, 10]);
    assert_eq!(scene.processor.holds(), 25, "jobs are held until they are settled");
    scene.settle(0, Outcome::Delivered);
    scene.settle(1, Outcome::Delivered);
    assert_eq!(scene.processor.holds(), 5);
    scene.pass(200);
    assert_eq!(scene.sizes(), [5]);
}

#[test]
fn without_a_timeout_every_payload_goes_at_once() {
    let mut scene = Scene::new(Batch { timeout: Duration::ZERO, send_batch_max_size: 8192, ..Batch::default() });
    scene.give(1);
    scene.give(2);
    assert_eq!(scene.sizes(), [1, 2]);
}

#[test]
fn a_refused_batch_is_kept_and_tried_again_while_the_door_refuses() {
    let mut scene = Scene::new(Batch { send_batch_size: 2, ..Batch::default() });
    scene.give(2);
    assert_eq!(scene.sizes(), [2]);
    scene.settle(0, Outcome::retry("sending queue is full"));
    scene.give(2);
    scene.give(2);
    assert_eq!(scene.sizes(), [], "the first of these waits in the shard, the second was refused");
    assert_eq!(scene.processor.holds(), 4);
    scene.pass(50);
    assert_eq!(scene.sizes(), [2], "the same batch again");
    scene.settle(0, Outcome::Delivered);
    assert_eq!(scene.sizes(), [2], "and then what waited");
    scene.settle(1, Outcome::Delivered);
    assert_eq!((scene.processor.holds(), scene.budget.held()), (0, 0));
}

#[test]
fn batches_on_their_way_are_bounded() {
    let mut scene = Scene::new(Batch { send_batch_size: 1, send_batch_max_size: 1, ..Batch::default() });
    scene.give(100);
    assert_eq!(scene.sizes().len(), MAX_IN_FLIGHT);
    for job in 0..100 {
        scene.settle(job, Outcome::Delivered);
    }
    assert_eq!(scene.sizes().len(), 100 - MAX_IN_FLIGHT);
    assert_eq!((scene.processor.holds(), scene.budget.held()), (0, 0));
}

#[test]
fn senders_with_other_headers_get_batches_of_their_own_up_to_a_limit() {
    let keys = vec!["tenant".to_owned()];
    let settings = Batch { send_batch_size: 4, metadata_keys: keys, metadata_cardinality_limit: 2, ..Batch::default() };
    let mut scene = Scene::new(settings);
    let of = |tenant: &str| {
        let mut meta = Metadata::default();
        meta.add("Tenant", tenant);
        meta.add("secret", "x");
        Some(Arc::new(meta))
    };
    scene.give_with(2, of("a"));
    scene.give_with(2, of("b"));
    scene.give_with(2, of("a"));
    assert_eq!(scene.sizes(), [4]);
    scene.give_with(2, of("c"));
    assert_eq!(scene.processor.holds(), 6, "the third tenant was refused");
    let kept = scene.processor.shards[0].take(0, &mut Work::step()).unwrap().meta.unwrap();
    assert_eq!(kept.get("tenant"), ["a"]);
    assert!(kept.get("secret").is_empty(), "only the named headers go on");
}

#[test]
fn draining_sends_what_waits() {
    let mut scene = Scene::new(Batch::default());
    scene.give(3);
    scene.enter(|p, cx, out| p.drain(cx, out));
    assert_eq!(scene.sizes(), [3]);
    scene.settle(0, Outcome::Delivered);
    assert_eq!(scene.processor.holds(), 0);
    let _ = Held::default();
}

#[test]
fn two_million_empty_spans_are_cut_over_many_turns_and_none_is_lost() {
    const ITEMS: u32 = 2_000_000;
    let mut scene = Scene::new(Batch { send_batch_size: 100, send_batch_max_size: 100, ..Batch::default() });
    let body = Scene::body(ITEMS);
    assert!(body.len() < 4 << 20);
    let held = scene.budget.hold(body.len() as u64);
    let payload = Payload { signal: Signal::Logs, body, meta: None, held };
    scene.enter(|p, cx, out| p.process(cx, payload, Ack::detached(), out));
    let (mut job, mut items, mut turns) = (0, 0, 0);
    loop {
        let sizes = scene.deliver(&mut job);
        assert!(sizes.len() <= TURN_BATCHES as usize, "{} batches in a turn", sizes.len());
        let done = scene.processor.work.done();
        assert!(done <= Work::STEP + 200 * ITEM_UNITS, "{done} units of work in a turn");
        items += sizes.iter().sum::<u32>();
        assert!(sizes.iter().all(|size| *size == 100));
        assert_eq!(scene.processor.holds(), u64::from(ITEMS - items), "what is being cut is held");
        turns += 1;
        if !scene.turn() {
            break;
        }
    }
    assert_eq!(items, ITEMS);
    assert!((312..700).contains(&turns), "{turns} turns");
    assert_eq!(scene.budget.held(), 0);
    assert!(scene.clock.timers.is_empty());
}

#[test]
fn draining_goes_on_over_turns_until_nothing_is_left() {
    let mut scene = Scene::new(Batch { send_batch_size: 1000, send_batch_max_size: 1000, ..Batch::default() });
    // While the batches in flight are not settled, the rest waits.
    (0..20).for_each(|_| scene.give(7777));
    let held = scene.processor.holds();
    scene.enter(|p, cx, out| p.drain(cx, out));
    let (mut job, mut items) = (0, 0_u64);
    loop {
        items += scene.deliver(&mut job).iter().map(|n| u64::from(*n)).sum::<u64>();
        if !scene.turn() {
            break;
        }
    }
    assert_eq!(items, held);
    assert_eq!((scene.processor.holds(), scene.budget.held()), (0, 0));
}

#[test]
fn a_batch_holds_the_charges_of_the_bodies_it_came_from() {
    let mut scene = Scene::new(Batch { send_batch_size: 1000, send_batch_max_size: 1000, ..Batch::default() });
    (0..9).for_each(|_| scene.give(110));
    assert_eq!(scene.sizes(), []);
    let one = scene.budget.held() / 9;
    scene.give(110);
    assert_eq!(scene.sizes(), [1000], "a hundred items wait");
    let copied = scene.budget.held() - 10 * one;
    assert!(copied < one / 2, "the part of the last body that was copied is charged, too: {copied} bytes");
    scene.settle(0, Outcome::Delivered);
    assert_eq!(scene.budget.held(), one, "the last body is held by what waits");
    scene.pass(200);
    assert_eq!(scene.sizes(), [100]);
    scene.settle(1, Outcome::Delivered);
    assert_eq!(scene.budget.held(), 0);
}

#[test]
fn pieces_of_a_body_from_many_payloads_share_its_charges_in_constant_time() {
    let mut scene = Scene::new(Batch { send_batch_size: 10, send_batch_max_size: 10, ..Batch::default() });
    let mut held = Held::default();
    let mut body = Rope::default();
    for _ in 0..20_000 {
        body.append(Scene::body(1));
        held.merge(scene.budget.hold(1));
    }
    let payload = Payload { signal: Signal::Logs, body, meta: None, held };
    scene.enter(|p, cx, out| p.process(cx, payload, Ack::detached(), out));
    let (mut job, mut items) = (0, 0);
    loop {
        items += scene.deliver(&mut job).iter().sum::<u32>();
        if !scene.turn() {
            break;
        }
    }
    assert_eq!((items, scene.budget.held()), (20_000, 0));
}

#[test]
fn senders_of_one_batch_do_not_wait_for_one_of_many() {
    let keys = vec!["tenant".to_owned()];
    let settings = Batch { send_batch_size: 10, send_batch_max_size: 10, metadata_keys: keys, ..Batch::default() };
    let mut scene = Scene::new(settings);
    let of = |tenant: &str| {
        let mut meta = Metadata::default();
        meta.add("tenant", tenant);
        Some(Arc::new(meta))
    };
    scene.give_with(10_000, of("a"));
    assert_eq!(scene.sizes().len(), MAX_IN_FLIGHT);
    scene.give_with(9, of("b"));
    scene.pass(200);
    assert_eq!(scene.sizes(), [], "its time has come while there was no room");
    scene.settle(0, Outcome::Delivered);
    scene.settle(1, Outcome::Delivered);
    scene.settle(2, Outcome::Delivered);
    assert_eq!(scene.sizes(), [10, 9, 10], "it is sent in its turn");
}

#[test]
fn without_a_timeout_what_waited_for_room_is_sent_when_there_is_some() {
    let keys = vec!["tenant".to_owned()];
    let settings = Batch { timeout: Duration::ZERO, send_batch_size: 100, metadata_keys: keys, ..Batch::default() };
    let mut scene = Scene::new(settings);
    let of = |tenant: &str| {
        let mut meta = Metadata::default();
        meta.add("tenant", tenant);
        Some(Arc::new(meta))
    };
    (0..MAX_IN_FLIGHT).for_each(|_| scene.give_with(1, of("a")));
    scene.give_with(5, of("b"));
    assert_eq!(scene.sizes().len(), MAX_IN_FLIGHT);
    scene.settle(0, Outcome::Delivered);
    assert_eq!(scene.sizes(), [5], "though its sender sends no more");
}

#[test]
fn shards_above_the_memory_limit_are_refused_and_known_ones_are_used() {
    let keys = vec!["tenant".to_owned()];
    let mut scene = Scene::new(Batch { send_batch_size: 1, metadata_keys: keys, ..Batch::default() });
    let of = |tenant: &str| {
        let mut meta = Metadata::default();
        meta.add("tenant", tenant);
        Some(Arc::new(meta))
    };
    scene.give_with(1, of("a"));
    assert!(scene.budget.kept() > 0);
    scene.budget.set_limit(10);
    scene.give_with(1, of("b"));
    scene.give_with(1, of("a"));
    assert_eq!(scene.sent.len(), 2, "of the new tenant nothing is taken");
}
