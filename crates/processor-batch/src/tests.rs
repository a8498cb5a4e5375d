//! Tests of batching with a virtual clock, in a world that has only time.

use bytes::Bytes;
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{Budget, Held, NoopLogSink};
use otelcore_testkit::ProcessorTest;

use super::*;

struct Fixture {
    test: ProcessorTest<BatchProcessor>,
    budget: Arc<Budget>,
    batches: Vec<(u32, Ack)>,
}

impl Fixture {
    fn new(config: BatchConfig) -> Self {
        let telemetry = Telemetry::new(MetricsLevel::Detailed);
        let budget = Arc::<Budget>::default();
        let processor = BatchProcessor::new(config, "batch", &telemetry, &budget, Logger::new(Arc::new(NoopLogSink)));
        Self { test: ProcessorTest::new(Box::new(processor)), budget, batches: Vec::new() }
    }

    /// One log record is `0a 06 12 04 12 02 08 00`-like: resource, scope, and records of two bytes.
    fn body(items: u32) -> Rope {
        let records = [0x12, 0].repeat(items as usize);
        let mut scope = Vec::new();
        otelcore_pdata::wire_format::put_bytes_field(&mut scope, 2, &records);
        let mut body = Vec::new();
        otelcore_pdata::wire_format::put_bytes_field(&mut body, 1, &scope);
        Rope::new(Bytes::from(body), items)
    }

    fn send(&mut self, items: u32) {
        self.send_with_metadata(items, None);
    }

    fn send_with_metadata(&mut self, items: u32, metadata: Option<Arc<Metadata>>) {
        let body = Self::body(items);
        let held = self.budget.hold(body.len() as u64);
        let payload = Payload { signal: Signal::Logs, body, metadata, held };
        self.process(payload);
        self.run_turns();
    }

    /// Runs the turns that were requested.
    fn run_turns(&mut self) {
        while self.run_turn() {}
    }

    /// Runs one requested turn; returns whether there was one.
    fn run_turn(&mut self) -> bool {
        let keys = self.test.world.take_ready();
        for local in &keys {
            self.call_processor(|p, cx, out| p.handle_event(cx, *local, Event::Ready, out));
        }
        !keys.is_empty()
    }

    /// Settles the batches that were sent, and those that are sent as a result, in the same turn; returns their sizes.
    fn settle_all(&mut self, next_batch_id: &mut u64) -> Vec<u32> {
        let mut sizes = Vec::new();
        while !self.batches.is_empty() {
            for size in self.take_sizes() {
                sizes.push(size);
                let batch_id = *next_batch_id;
                *next_batch_id += 1;
                self.settle_in_turn(batch_id, Outcome::Delivered);
            }
        }
        sizes
    }

    fn process(&mut self, payload: Payload) {
        self.test.process(payload);
        self.take_batches();
    }

    fn settle_in_turn(&mut self, batch_id: u64, outcome: Outcome) {
        self.test.settle(batch_id, outcome);
        self.take_batches();
    }

    fn call_processor(&mut self, f: impl FnOnce(&mut BatchProcessor, &mut Cx<'_>, &mut Downstream)) {
        self.test.call(f);
        self.take_batches();
    }

    fn take_batches(&mut self) {
        let payloads = self.test.take_passed_on();
        self.batches.extend(payloads.into_iter().map(|(payload, ack)| (payload.items(), ack)));
    }

    /// Advances the clock and fires the timers that are due.
    fn advance(&mut self, millis: u64) {
        self.test.run_for(Duration::from_millis(millis));
        self.take_batches();
    }

    fn settle(&mut self, batch_id: u64, outcome: Outcome) {
        self.settle_in_turn(batch_id, outcome);
        self.run_turns();
    }

    fn take_sizes(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.batches).into_iter().map(|(items, _)| items).collect()
    }
}

#[test]
fn full_batch_is_sent_at_once_and_a_small_one_after_the_timeout() {
    let mut fixture = Fixture::new(BatchConfig { send_batch_size: 10, ..BatchConfig::default() });
    fixture.send(4);
    fixture.send(5);
    assert_eq!(fixture.take_sizes(), []);
    fixture.send(3);
    assert_eq!(fixture.take_sizes(), [12], "everything pending goes");
    fixture.send(2);
    fixture.advance(199);
    assert_eq!(fixture.take_sizes(), []);
    fixture.advance(1);
    assert_eq!(fixture.take_sizes(), [2]);
    fixture.advance(1000);
    assert_eq!(fixture.take_sizes(), [], "nothing waits, so no timer runs");
}

#[test]
fn payload_above_the_maximum_size_is_split_and_the_remainder_waits() {
    let mut fixture =
        Fixture::new(BatchConfig { send_batch_size: 10, send_batch_max_size: 10, ..BatchConfig::default() });
    fixture.send(25);
    assert_eq!(fixture.take_sizes(), [10, 10]);
    assert_eq!(fixture.test.processor.held_items(), 25, "jobs are held until they are settled");
    fixture.settle(0, Outcome::Delivered);
    fixture.settle(1, Outcome::Delivered);
    assert_eq!(fixture.test.processor.held_items(), 5);
    fixture.advance(200);
    assert_eq!(fixture.take_sizes(), [5]);
}

#[test]
fn payload_with_timeout_zero_is_sent_at_once() {
    let mut fixture =
        Fixture::new(BatchConfig { timeout: Duration::ZERO, send_batch_max_size: 8192, ..BatchConfig::default() });
    fixture.send(1);
    fixture.send(2);
    assert_eq!(fixture.take_sizes(), [1, 2]);
}

#[test]
fn batch_that_is_refused_is_retried_and_new_payloads_are_refused() {
    let mut fixture = Fixture::new(BatchConfig { send_batch_size: 2, ..BatchConfig::default() });
    fixture.send(2);
    assert_eq!(fixture.take_sizes(), [2]);
    fixture.settle(0, Outcome::retry("sending queue is full"));
    fixture.send(2);
    fixture.send(2);
    assert_eq!(fixture.take_sizes(), [], "the first of these waits in the shard, the second was refused");
    assert_eq!(fixture.test.processor.held_items(), 4);
    fixture.advance(50);
    assert_eq!(fixture.take_sizes(), [2], "the same batch again");
    fixture.settle(0, Outcome::Delivered);
    assert_eq!(fixture.take_sizes(), [2], "and then what waited");
    fixture.settle(1, Outcome::Delivered);
    assert_eq!((fixture.test.processor.held_items(), fixture.budget.held()), (0, 0));
}

#[test]
fn batches_in_flight_are_limited() {
    let mut fixture =
        Fixture::new(BatchConfig { send_batch_size: 1, send_batch_max_size: 1, ..BatchConfig::default() });
    fixture.send(100);
    assert_eq!(fixture.take_sizes().len(), MAX_IN_FLIGHT);
    for batch_id in 0..100 {
        fixture.settle(batch_id, Outcome::Delivered);
    }
    assert_eq!(fixture.take_sizes().len(), 100 - MAX_IN_FLIGHT);
    assert_eq!((fixture.test.processor.held_items(), fixture.budget.held()), (0, 0));
}

#[test]
fn payloads_with_different_metadata_get_separate_batches_up_to_the_limit() {
    let keys = vec!["tenant".to_owned()];
    let config = BatchConfig {
        send_batch_size: 4,
        metadata_keys: keys,
        metadata_cardinality_limit: 2,
        ..BatchConfig::default()
    };
    let mut fixture = Fixture::new(config);
    let metadata = |tenant: &str| {
        let mut meta = Metadata::default();
        meta.add("Tenant", tenant);
        meta.add("secret", "x");
        Some(Arc::new(meta))
    };
    fixture.send_with_metadata(2, metadata("a"));
    fixture.send_with_metadata(2, metadata("b"));
    fixture.send_with_metadata(2, metadata("a"));
    assert_eq!(fixture.take_sizes(), [4]);
    fixture.send_with_metadata(2, metadata("c"));
    assert_eq!(fixture.test.processor.held_items(), 6, "the third tenant was refused");
    let kept = fixture.test.processor.shards[0].take(0, &mut StepBudget::for_one_step()).unwrap().0.metadata.unwrap();
    assert_eq!(kept.get("tenant"), ["a"]);
    assert!(kept.get("secret").is_empty(), "only the named headers go on");
}

#[test]
fn drain_sends_the_waiting_items() {
    let mut fixture = Fixture::new(BatchConfig::default());
    fixture.send(3);
    fixture.call_processor(|p, cx, out| p.drain(cx, out));
    assert_eq!(fixture.take_sizes(), [3]);
    fixture.settle(0, Outcome::Delivered);
    assert_eq!(fixture.test.processor.held_items(), 0);
    let _ = Held::default();
}

#[test]
fn payload_of_two_million_items_is_cut_over_many_turns_without_loss() {
    const ITEMS: u32 = 2_000_000;
    let mut fixture =
        Fixture::new(BatchConfig { send_batch_size: 100, send_batch_max_size: 100, ..BatchConfig::default() });
    let body = Fixture::body(ITEMS);
    assert!(body.len() < 4 << 20);
    let held = fixture.budget.hold(body.len() as u64);
    let payload = Payload { signal: Signal::Logs, body, metadata: None, held };
    fixture.process(payload);
    let (mut job, mut items, mut turns) = (0, 0, 0);
    loop {
        let sizes = fixture.settle_all(&mut job);
        assert!(sizes.len() <= MAX_BATCHES_PER_TURN as usize, "{} batches in a turn", sizes.len());
        let done = fixture.test.processor.work_left.spent();
        assert!(done <= StepBudget::UNITS_PER_STEP + 200 * WORK_PER_ITEM, "{done} units of work in a turn");
        items += sizes.iter().sum::<u32>();
        assert!(sizes.iter().all(|size| *size == 100));
        assert_eq!(fixture.test.processor.held_items(), u64::from(ITEMS - items), "what is being cut is held");
        turns += 1;
        if !fixture.run_turn() {
            break;
        }
    }
    assert_eq!(items, ITEMS);
    assert!((312..700).contains(&turns), "{turns} turns");
    assert_eq!(fixture.budget.held(), 0);
    assert!(fixture.test.world.timers().is_empty());
}

#[test]
fn drain_of_many_items_continues_over_turns_until_all_are_sent() {
    let mut fixture =
        Fixture::new(BatchConfig { send_batch_size: 1000, send_batch_max_size: 1000, ..BatchConfig::default() });
    // While the batches in flight are not settled, the rest waits.
    (0..20).for_each(|_| fixture.send(7777));
    let held = fixture.test.processor.held_items();
    fixture.call_processor(|p, cx, out| p.drain(cx, out));
    let (mut job, mut items) = (0, 0_u64);
    loop {
        items += fixture.settle_all(&mut job).iter().map(|n| u64::from(*n)).sum::<u64>();
        if !fixture.run_turn() {
            break;
        }
    }
    assert_eq!(items, held);
    assert_eq!((fixture.test.processor.held_items(), fixture.budget.held()), (0, 0));
}

#[test]
fn batch_holds_the_charges_of_its_bodies() {
    let mut fixture =
        Fixture::new(BatchConfig { send_batch_size: 1000, send_batch_max_size: 1000, ..BatchConfig::default() });
    (0..9).for_each(|_| fixture.send(110));
    assert_eq!(fixture.take_sizes(), []);
    let one = fixture.budget.held() / 9;
    fixture.send(110);
    assert_eq!(fixture.take_sizes(), [1000], "a hundred items wait");
    let copied = fixture.budget.held() - 10 * one;
    assert!(copied < one / 2, "the part of the last body that was copied is charged, too: {copied} bytes");
    fixture.settle(0, Outcome::Delivered);
    assert_eq!(fixture.budget.held(), one, "the last body is held by what waits");
    fixture.advance(200);
    assert_eq!(fixture.take_sizes(), [100]);
    fixture.settle(1, Outcome::Delivered);
    assert_eq!(fixture.budget.held(), 0);
}

#[test]
fn pieces_of_a_body_with_many_charges_share_them_in_constant_time() {
    let mut fixture =
        Fixture::new(BatchConfig { send_batch_size: 10, send_batch_max_size: 10, ..BatchConfig::default() });
    let mut held = Held::default();
    let mut body = Rope::default();
    for _ in 0..20_000 {
        body.append(Fixture::body(1));
        held.merge(fixture.budget.hold(1));
    }
    let payload = Payload { signal: Signal::Logs, body, metadata: None, held };
    fixture.process(payload);
    let (mut job, mut items) = (0, 0);
    loop {
        items += fixture.settle_all(&mut job).iter().sum::<u32>();
        if !fixture.run_turn() {
            break;
        }
    }
    assert_eq!((items, fixture.budget.held()), (20_000, 0));
}

#[test]
fn shard_with_one_batch_does_not_wait_for_a_shard_with_many() {
    let keys = vec!["tenant".to_owned()];
    let config =
        BatchConfig { send_batch_size: 10, send_batch_max_size: 10, metadata_keys: keys, ..BatchConfig::default() };
    let mut fixture = Fixture::new(config);
    let metadata = |tenant: &str| {
        let mut meta = Metadata::default();
        meta.add("tenant", tenant);
        Some(Arc::new(meta))
    };
    fixture.send_with_metadata(10_000, metadata("a"));
    assert_eq!(fixture.take_sizes().len(), MAX_IN_FLIGHT);
    fixture.send_with_metadata(9, metadata("b"));
    fixture.advance(200);
    assert_eq!(fixture.take_sizes(), [], "its time has come while there was no room");
    fixture.settle(0, Outcome::Delivered);
    fixture.settle(1, Outcome::Delivered);
    fixture.settle(2, Outcome::Delivered);
    assert_eq!(fixture.take_sizes(), [10, 9, 10], "it is sent in its turn");
}

#[test]
fn shard_with_timeout_zero_that_was_blocked_is_sent_when_there_is_room() {
    let keys = vec!["tenant".to_owned()];
    let config =
        BatchConfig { timeout: Duration::ZERO, send_batch_size: 100, metadata_keys: keys, ..BatchConfig::default() };
    let mut fixture = Fixture::new(config);
    let metadata = |tenant: &str| {
        let mut meta = Metadata::default();
        meta.add("tenant", tenant);
        Some(Arc::new(meta))
    };
    (0..MAX_IN_FLIGHT).for_each(|_| fixture.send_with_metadata(1, metadata("a")));
    fixture.send_with_metadata(5, metadata("b"));
    assert_eq!(fixture.take_sizes().len(), MAX_IN_FLIGHT);
    fixture.settle(0, Outcome::Delivered);
    assert_eq!(fixture.take_sizes(), [5], "though its sender sends no more");
}

#[test]
fn new_shard_above_the_memory_limit_is_refused_and_existing_ones_are_used() {
    let keys = vec!["tenant".to_owned()];
    let mut fixture = Fixture::new(BatchConfig { send_batch_size: 1, metadata_keys: keys, ..BatchConfig::default() });
    let metadata = |tenant: &str| {
        let mut meta = Metadata::default();
        meta.add("tenant", tenant);
        Some(Arc::new(meta))
    };
    fixture.send_with_metadata(1, metadata("a"));
    assert!(fixture.budget.kept() > 0);
    fixture.budget.set_limit(10);
    fixture.send_with_metadata(1, metadata("b"));
    fixture.send_with_metadata(1, metadata("a"));
    assert_eq!(fixture.batches.len(), 2, "of the new tenant nothing is taken");
}

#[test]
fn senders_get_the_outcome_of_their_batches_where_a_queue_on_disk_follows() {
    let config = BatchConfig { send_batch_size: 4, send_batch_max_size: 4, ..BatchConfig::default() };
    let telemetry = Telemetry::new(MetricsLevel::Detailed);
    let budget = Arc::<Budget>::default();
    let log = Logger::new(Arc::new(NoopLogSink));
    let processor = BatchProcessor::new(config, "batch", &telemetry, &budget, log).forwarding_outcomes(true);
    let mut test = ProcessorTest::new(Box::new(processor));
    let payload = |items| {
        let body = Fixture::body(items);
        let held = budget.hold(body.len() as u64);
        Payload { signal: Signal::Logs, body, metadata: None, held }
    };
    // The first is in one batch, the second in two, the third in the second of them.
    let senders: Vec<u64> = [3, 3, 2].into_iter().map(|items| test.process(payload(items))).collect();
    assert_eq!(test.take_passed_on().len(), 2);
    assert_eq!(test.take_outcomes(), []);
    test.settle(0, Outcome::Delivered);
    assert_eq!(test.take_outcomes(), [(senders[0], Outcome::Delivered)]);
    test.settle(1, Outcome::retry("sending queue is full"));
    let full = || Outcome::retry("sending queue is full");
    let mut outcomes = test.take_outcomes();
    outcomes.sort_by_key(|(sender, _)| *sender);
    assert_eq!(outcomes, [(senders[1], full()), (senders[2], full())]);
    test.run_for(Duration::from_secs(1));
    assert!(test.take_passed_on().is_empty(), "the senders send them again");
    assert_eq!((test.processor.held_items(), budget.held()), (0, 0));
}
