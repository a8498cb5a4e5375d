//! Tests of queue and retry with a virtual clock.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use otelcore_config::Section;
use otelcore_config::declare::{Config, Optional};
use otelcore_pdata::{Rope, Signal};

use super::*;
use crate::ack::{AckTarget, Settlements};
use crate::{Held, MetricsLevel, NoopLogSink};

const SECOND: u64 = 1_000_000_000;

/// The middle of the random range: no jitter is applied to the pause.
const NO_JITTER: u64 = 1 << 63;

struct Fixture {
    queue: ExporterQueue,
    settlements: Rc<Settlements>,
    telemetry: Telemetry,
    now: MonotonicTime,
}

impl Fixture {
    fn new(queue: impl Into<Optional<QueueConfig>>, retry: RetryConfig) -> Self {
        let settings = ExporterQueueConfig { queue: queue.into(), retry, timeout: Duration::from_secs(5) };
        let telemetry = Telemetry::new(MetricsLevel::Normal);
        let log = Logger::new(Arc::new(NoopLogSink));
        let sending = ExporterQueue::new(settings, Signal::Traces, "jaeger", &telemetry, log);
        Self { queue: sending, settlements: Rc::default(), telemetry, now: MonotonicTime(SECOND) }
    }

    /// The part in memory of a queue on disk.
    fn stored(queue: QueueConfig, retry: RetryConfig) -> Self {
        let mut fixture = Self::new(queue.clone(), retry.clone());
        let settings = ExporterQueueConfig { queue: queue.into(), retry, timeout: Duration::from_secs(5) };
        let log = Logger::new(Arc::new(NoopLogSink));
        fixture.queue =
            ExporterQueue::new_stored(settings, Signal::Traces, "jaeger", &Vec::new(), &fixture.telemetry, log);
        fixture
    }

    fn offer(&mut self, request: u64, items: u32) {
        let body = Rope::new(Bytes::from(vec![0; items as usize * 10]), items);
        let payload = Payload { signal: Signal::Traces, body, metadata: None, held: Held::default() };
        self.queue.offer(payload, Ack::new(AckTarget::Receiver(0, request), &self.settlements));
    }

    fn take_outcomes(&mut self) -> Vec<(u64, Outcome)> {
        std::iter::from_fn(|| self.settlements.pop())
            .map(|(target, outcome)| match target {
                AckTarget::Receiver(0, request) => (request, outcome),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn start_attempt(&mut self) -> Option<u64> {
        self.queue.poll_attempt(self.now).map(|(number, _, _)| number)
    }

    fn finish(&mut self, number: u64, outcome: Outcome) {
        self.queue.handle_outcome(self.now, number, outcome, NO_JITTER);
    }

    fn advance(&mut self, seconds: f64) {
        self.now = MonotonicTime(self.now.0 + (seconds * SECOND as f64) as u64);
        self.queue.handle_timeout(self.now);
    }

    fn drain(&mut self, seconds: f64) {
        let until = self.now + Duration::from_secs_f64(seconds);
        self.queue.drain(self.now, until);
    }

    fn metric(&self, name: &str) -> f64 {
        let families = self.telemetry.collect();
        match families.iter().find(|f| f.name == name).unwrap().samples[0].value {
            crate::SeriesValue::Number(v) => v,
            crate::SeriesValue::Histogram { .. } => panic!("a histogram"),
        }
    }
}

fn small_queue() -> QueueConfig {
    QueueConfig { num_consumers: 2, queue_size: 3, ..QueueConfig::default() }
}

#[test]
fn queue_takes_custody_and_refuses_when_full() {
    let mut fixture = Fixture::new(small_queue(), RetryConfig::default());
    for request in 0..4 {
        fixture.offer(request, 2);
    }
    let full = Outcome::retry("sending queue is full");
    let delivered = || Outcome::Delivered;
    assert_eq!(fixture.take_outcomes(), [(0, delivered()), (1, delivered()), (2, delivered()), (3, full)]);
    assert_eq!(
        (fixture.start_attempt(), fixture.start_attempt(), fixture.start_attempt()),
        (Some(0), Some(1), None),
        "two consumers"
    );
    assert_eq!(fixture.metric("otelcol_exporter_queue_size"), 3.0, "what is in flight counts");
    assert_eq!(fixture.metric("otelcol_exporter_enqueue_failed_spans"), 2.0);
    fixture.finish(0, Outcome::Delivered);
    fixture.offer(4, 2);
    assert_eq!(fixture.take_outcomes(), [(4, delivered())]);
    assert_eq!(fixture.metric("otelcol_exporter_sent_spans"), 2.0);
}

#[test]
fn retry_pauses_grow_to_the_maximum_until_max_elapsed_time() {
    let mut fixture = Fixture::new(small_queue(), RetryConfig::default());
    fixture.offer(0, 1);
    let mut pauses = Vec::new();
    loop {
        let attempt = fixture.start_attempt().unwrap();
        fixture.finish(attempt, Outcome::retry("connection refused"));
        let Some(at) = fixture.queue.poll_timeout() else { break };
        let pause = at.since(fixture.now).as_secs_f64();
        pauses.push((pause * 100.0).round() / 100.0);
        fixture.advance(pause);
    }
    assert_eq!(pauses[..6], [5.0, 7.5, 11.25, 16.88, 25.31, 30.0]);
    assert!(pauses.iter().sum::<f64>() <= 300.0);
    assert_eq!(fixture.metric("otelcol_exporter_send_failed_spans"), 1.0);
    assert_eq!(fixture.queue.held_items(), 0);
}

#[test]
fn request_that_backs_off_occupies_the_queue_but_no_consumer() {
    let mut fixture = Fixture::new(small_queue(), RetryConfig::default());
    fixture.offer(0, 1);
    fixture.offer(1, 1);
    for _ in 0..2 {
        let attempt = fixture.start_attempt().unwrap();
        fixture.finish(attempt, Outcome::retry("unavailable"));
    }
    fixture.offer(2, 1);
    let third = fixture.start_attempt().expect("both consumers are free");
    fixture.finish(third, Outcome::Delivered);
    assert_eq!(fixture.queue.held_items(), 2);
}

#[test]
fn payloads_whose_order_is_kept_are_sent_one_at_a_time_and_wait_for_one_that_backs_off() {
    let retry = RetryConfig { keeps_order: true, ..RetryConfig::default() };
    let queue = QueueConfig { num_consumers: 10, ..QueueConfig::default() };
    let mut fixture = Fixture::new(queue, retry);
    (1..=3).for_each(|request| fixture.offer(request, request as u32));
    let first = fixture.start_attempt().expect("the first");
    assert!(fixture.start_attempt().is_none(), "one at a time");
    fixture.finish(first, Outcome::retry("busy"));
    assert!(fixture.start_attempt().is_none(), "the first backs off");
    fixture.advance(6.0);
    let (number, payload, _) = fixture.queue.poll_attempt(fixture.now).expect("the first again");
    assert_eq!(payload.items(), 1);
    fixture.finish(number, Outcome::retry("busy"));
    fixture.queue.flush(fixture.now);
    let (number, payload, _) = fixture.queue.poll_attempt(fixture.now).expect("the flush ends the pause");
    assert_eq!(payload.items(), 1);
    fixture.finish(number, Outcome::Delivered);
    let (_, payload, _) = fixture.queue.poll_attempt(fixture.now).expect("the second");
    assert_eq!(payload.items(), 2);
}

#[test]
fn pause_requested_by_the_peer_is_a_lower_bound() {
    let mut fixture = Fixture::new(small_queue(), RetryConfig::default());
    fixture.offer(0, 1);
    let attempt = fixture.start_attempt().unwrap();
    let why = Error::new("slow down");
    fixture.finish(attempt, Outcome::Retry { after: Some(Duration::from_secs(60)), why });
    assert_eq!(fixture.queue.poll_timeout(), Some(fixture.now + Duration::from_secs(60)));
}

#[test]
fn payload_refused_permanently_is_dropped_at_once_and_counted() {
    let mut fixture = Fixture::new(small_queue(), RetryConfig::default());
    fixture.offer(0, 5);
    let attempt = fixture.start_attempt().unwrap();
    fixture.finish(attempt, Outcome::permanent("bad request"));
    assert_eq!(fixture.queue.held_items(), 0);
    assert_eq!(fixture.metric("otelcol_exporter_send_failed_spans"), 5.0);
}

#[test]
fn sender_without_a_queue_gets_the_result() {
    let mut fixture = Fixture::new(Optional::default(), RetryConfig::disabled());
    fixture.offer(0, 1);
    fixture.offer(1, 1);
    assert_eq!(fixture.take_outcomes(), []);
    let (a, b) = (fixture.start_attempt().unwrap(), fixture.start_attempt().unwrap());
    fixture.finish(a, Outcome::Delivered);
    fixture.finish(b, Outcome::retry("down"));
    assert_eq!(fixture.take_outcomes(), [(0, Outcome::Delivered), (1, Outcome::retry("down"))]);
}

#[test]
fn payload_above_the_capacity_with_block_on_overflow_waits_in_order() {
    let queue = QueueConfig { queue_size: 1, block_on_overflow: true, ..small_queue() };
    let mut fixture = Fixture::new(queue, RetryConfig::default());
    for request in 0..3 {
        fixture.offer(request, 1);
    }
    assert_eq!(fixture.take_outcomes(), [(0, Outcome::Delivered)]);
    let attempt = fixture.start_attempt().unwrap();
    fixture.finish(attempt, Outcome::Delivered);
    assert_eq!(fixture.take_outcomes(), [(1, Outcome::Delivered)]);
    assert_eq!(fixture.queue.held_items(), 2);
}

#[test]
fn sender_with_wait_for_result_gets_the_result_after_the_send() {
    let queue = QueueConfig { wait_for_result: true, ..small_queue() };
    let mut fixture = Fixture::new(queue, RetryConfig::default());
    fixture.offer(0, 1);
    assert_eq!(fixture.take_outcomes(), []);
    let attempt = fixture.start_attempt().unwrap();
    fixture.finish(attempt, Outcome::Delivered);
    assert_eq!(fixture.take_outcomes(), [(0, Outcome::Delivered)]);
}

#[test]
fn queue_with_any_sizer_is_bounded_by_bytes() {
    let queue = QueueConfig { queue_size: 100, max_bytes: 100, ..small_queue() };
    let mut fixture = Fixture::new(queue, RetryConfig::default());
    fixture.offer(0, 30);
    fixture.offer(1, 1);
    let outcomes = fixture.take_outcomes();
    assert_eq!(outcomes[0], (0, Outcome::Delivered), "alone, a large one may pass");
    assert_eq!(outcomes[1], (1, Outcome::retry("sending queue is full")));
}

#[test]
fn metadata_count_for_the_bound_of_bytes() {
    let queue = QueueConfig { queue_size: 100, max_bytes: 100, ..small_queue() };
    let mut fixture = Fixture::new(queue, RetryConfig::default());
    let mut metadata = crate::Metadata::default();
    metadata.add("tenant", &"x".repeat(30));
    for request in 0..2 {
        let body = Rope::new(Bytes::from_static(&[0; 10]), 1);
        let metadata = Some(Arc::new(metadata.clone()));
        let payload = Payload { signal: Signal::Traces, body, metadata, held: Held::default() };
        fixture.queue.offer(payload, Ack::new(AckTarget::Receiver(0, request), &fixture.settlements));
    }
    let refusal = Outcome::retry("sending queue is full");
    assert_eq!(fixture.take_outcomes(), [(0, Outcome::Delivered), (1, refusal)]);
    let attempt = fixture.start_attempt().unwrap();
    fixture.finish(attempt, Outcome::Delivered);
    assert_eq!((fixture.queue.held_items(), fixture.queue.bytes), (0, 0));
}

#[test]
fn queue_with_items_sizer_is_bounded_by_items() {
    let queue = QueueConfig { queue_size: 10, sizer: Sizer::Items, ..small_queue() };
    let mut fixture = Fixture::new(queue, RetryConfig::default());
    fixture.offer(0, 11);
    fixture.offer(1, 10);
    let outcomes = fixture.take_outcomes();
    assert_eq!(outcomes[0], (0, Outcome::permanent("element size too large")));
    assert_eq!(outcomes[1], (1, Outcome::Delivered));
}

#[test]
fn drain_retries_soon_and_counts_lost_items() {
    let mut fixture = Fixture::new(small_queue(), RetryConfig::default());
    fixture.offer(0, 1);
    let attempt = fixture.start_attempt().unwrap();
    fixture.finish(attempt, Outcome::retry("down"));
    fixture.drain(25.0);
    let attempt = fixture.start_attempt().expect("what rested is tried at once");
    fixture.finish(attempt, Outcome::retry("down"));
    let at = fixture.queue.poll_timeout().unwrap();
    assert!(at.since(fixture.now) <= MAX_DRAIN_PAUSE);
    fixture.advance(1.0);
    let attempt = fixture.start_attempt().unwrap();
    fixture.finish(attempt, Outcome::permanent("bad"));
    assert_eq!((fixture.queue.held_items(), fixture.queue.lost_items()), (0, 1));
}

#[test]
fn abort_reports_lost_to_every_sender() {
    let queue = QueueConfig { wait_for_result: true, block_on_overflow: true, ..small_queue() };
    let mut fixture = Fixture::new(queue, RetryConfig::default());
    for request in 0..4 {
        fixture.offer(request, 1);
    }
    fixture.start_attempt();
    assert_eq!(fixture.queue.abort(), 4);
    let lost = Outcome::Lost(LossReason::Shutdown);
    assert_eq!(fixture.take_outcomes().into_iter().filter(|(_, o)| *o == lost).count(), 4);
}

#[test]
fn payload_in_pieces_with_failures_sends_only_the_failed_pieces_again() {
    let mut fixture = Fixture::new(small_queue(), RetryConfig::default());
    fixture.offer(0, 10);
    let attempt = fixture.start_attempt().unwrap();
    let rest = Rope::new(Bytes::from(vec![0; 30]), 3);
    let why = || Error::new("unavailable");
    let partial = PartialOutcome {
        delivered: 5,
        rejected: 0,
        refused: Some((2, Error::new("bad"))),
        retry: Some((rest, None, why())),
    };
    fixture.queue.handle_partial_outcome(fixture.now, attempt, partial, NO_JITTER);
    assert_eq!((fixture.queue.held_items(), fixture.queue.bytes), (3, 30));
    assert_eq!(fixture.metric("otelcol_exporter_sent_spans"), 5.0);
    assert_eq!(fixture.metric("otelcol_exporter_send_failed_spans"), 2.0);
    fixture.advance(5.0);
    let attempt = fixture.start_attempt().unwrap();
    fixture.queue.handle_partial_outcome(
        fixture.now,
        attempt,
        PartialOutcome { delivered: 3, ..PartialOutcome::default() },
        NO_JITTER,
    );
    assert_eq!((fixture.queue.held_items(), fixture.queue.bytes), (0, 0));
    assert_eq!(fixture.metric("otelcol_exporter_sent_spans"), 8.0);
}

#[test]
fn pieces_refused_permanently_during_a_drain_are_reported_as_lost() {
    let mut fixture = Fixture::new(small_queue(), RetryConfig::default());
    fixture.offer(0, 5);
    let attempt = fixture.start_attempt().unwrap();
    fixture.drain(25.0);
    let partial =
        PartialOutcome { delivered: 2, rejected: 0, refused: Some((3, Error::new("no such tenant"))), retry: None };
    fixture.queue.handle_partial_outcome(fixture.now, attempt, partial, NO_JITTER);
    assert_eq!((fixture.queue.held_items(), fixture.queue.lost_items()), (0, 3));
}

fn slow_down(seconds: u64) -> Outcome {
    Outcome::Retry { after: Some(Duration::from_secs(seconds)), why: Error::new("slow down") }
}

#[test]
fn flush_of_requests_that_back_off_ends_each_pause_once() {
    let queue = QueueConfig { num_consumers: 10, queue_size: 100, ..QueueConfig::default() };
    let mut fixture = Fixture::new(queue, RetryConfig::default());
    for request in 0..5 {
        fixture.offer(request, 1);
    }
    let mut attempts = 0;
    // A host program that flushes every 2 ms for 3 seconds.
    for _ in 0..1500 {
        while let Some(job) = fixture.start_attempt() {
            attempts += 1;
            fixture.finish(job, Outcome::retry("down"));
        }
        fixture.queue.flush(fixture.now);
        fixture.advance(0.002);
    }
    assert_eq!(attempts, 10, "one attempt each, and one each that a flush brought forward");
    let at = fixture.queue.poll_timeout().unwrap();
    let pause = at.since(fixture.now).as_secs_f64();
    assert!((4.0..5.0).contains(&pause), "seven and a half seconds from the second attempt on: {pause}");
    assert_eq!(fixture.queue.held_items(), 5);
}

#[test]
fn flush_with_an_early_attempt_that_fails_keeps_the_backoff_interval() {
    let mut fixture = Fixture::new(small_queue(), RetryConfig::default());
    fixture.offer(0, 1);
    let attempt = fixture.start_attempt().unwrap();
    fixture.finish(attempt, Outcome::retry("down"));
    fixture.queue.flush(fixture.now);
    let attempt = fixture.start_attempt().expect("its rest is cut short");
    fixture.finish(attempt, Outcome::retry("down"));
    assert_eq!(fixture.queue.poll_timeout(), Some(fixture.now + Duration::from_millis(7500)));
    fixture.queue.flush(fixture.now);
    assert_eq!(fixture.start_attempt(), None, "a second flush leaves it at rest");
    fixture.advance(7.5);
    let attempt = fixture.start_attempt().unwrap();
    fixture.finish(attempt, Outcome::retry("down"));
    assert_eq!(fixture.queue.poll_timeout(), Some(fixture.now + Duration::from_millis(7500)));
}

#[test]
fn flush_with_a_pause_requested_by_the_peer_waits_for_its_end() {
    let mut fixture =
        Fixture::new(small_queue(), RetryConfig { max_elapsed_time: Duration::ZERO, ..RetryConfig::default() });
    fixture.offer(0, 1);
    let attempt = fixture.start_attempt().unwrap();
    fixture.finish(attempt, slow_down(30));
    fixture.advance(10.0);
    fixture.queue.flush(fixture.now);
    assert_eq!(fixture.start_attempt(), None);
    assert_eq!(fixture.queue.poll_timeout(), Some(fixture.now + Duration::from_secs(20)));
    // The peer asked for two seconds; the configured pause is five.
    fixture.advance(20.0);
    let attempt = fixture.start_attempt().unwrap();
    fixture.finish(attempt, slow_down(2));
    fixture.offer(1, 1);
    let attempt = fixture.start_attempt().unwrap();
    fixture.finish(attempt, slow_down(2));
    fixture.queue.flush(fixture.now);
    assert_eq!(fixture.queue.poll_timeout(), Some(fixture.now + Duration::from_secs(2)));
}

#[test]
fn flush_of_many_requests_that_back_off_takes_several_steps() {
    let queue = QueueConfig { num_consumers: 100_000, queue_size: 100_000, ..QueueConfig::default() };
    let mut fixture = Fixture::new(queue, RetryConfig::default());
    for request in 0..10_000 {
        fixture.offer(request, 1);
        let attempt = fixture.start_attempt().unwrap();
        fixture.finish(attempt, Outcome::retry("down"));
    }
    fixture.queue.flush(fixture.now);
    let mut steps = 1;
    while fixture.queue.poll_timeout() == Some(MonotonicTime::default()) {
        steps += 1;
        fixture.queue.handle_timeout(fixture.now);
    }
    assert_eq!((steps, fixture.queue.queued.len()), (10_000_usize.div_ceil(MAX_MOVED_PER_STEP), 10_000));
    assert_eq!(fixture.queue.held_items(), 10_000);
}

#[test]
fn drain_with_a_pause_requested_by_the_peer_keeps_it() {
    let mut fixture = Fixture::new(small_queue(), RetryConfig::default());
    fixture.offer(0, 1);
    fixture.offer(1, 1);
    for after in [3, 60] {
        let attempt = fixture.start_attempt().unwrap();
        fixture.finish(attempt, slow_down(after));
    }
    fixture.drain(20.0);
    let began = fixture.now;
    assert_eq!(fixture.start_attempt(), None);
    assert_eq!(fixture.queue.poll_timeout(), Some(began + Duration::from_secs(3)));
    fixture.advance(3.0);
    let attempt = fixture.start_attempt().unwrap();
    fixture.finish(attempt, slow_down(4));
    assert_eq!(fixture.queue.poll_timeout(), Some(began + Duration::from_secs(7)));
    fixture.advance(4.0);
    let attempt = fixture.start_attempt().unwrap();
    fixture.finish(attempt, Outcome::Delivered);
    // The deadline is before the end of the other payload's pause, so its last attempt is made before the deadline.
    assert_eq!(fixture.queue.poll_timeout(), Some(began + Duration::from_secs(19)));
    fixture.advance(12.0);
    let attempt = fixture.start_attempt().unwrap();
    fixture.finish(attempt, slow_down(60));
    assert!(fixture.queue.poll_timeout().unwrap() > began + Duration::from_secs(20), "one last attempt is enough");
}

#[test]
fn queue_with_batch_after_delivery_holds_no_bytes() {
    let mut fixture = Fixture::new(grouping_queue(10, 4), RetryConfig::default());
    for request in 0..6 {
        fixture.offer_spans(request, 5, None);
    }
    let mut delivered = 0;
    while let Some((number, payload, _)) = fixture.queue.poll_attempt(fixture.now) {
        delivered += payload.items();
        fixture.finish(number, Outcome::Delivered);
    }
    fixture.drain(1.0);
    while let Some((number, payload, _)) = fixture.queue.poll_attempt(fixture.now) {
        delivered += payload.items();
        fixture.finish(number, Outcome::Delivered);
    }
    assert_eq!((delivered, fixture.queue.bytes, fixture.queue.size, fixture.queue.held_items()), (30, 0, 0, 0));
}

fn grouping_queue(min_size: i64, max_size: i64) -> QueueConfig {
    let batch = QueueBatchConfig {
        flush_timeout: Duration::from_millis(200),
        min_size,
        max_size,
        sizer: BatchSizer::Items,
        ..QueueBatchConfig::default()
    };
    QueueConfig { batch: Optional::on(batch), ..QueueConfig::default() }
}

/// A body of `count` spans, which can be cut.
fn spans_body(count: u32) -> Rope {
    let span = [0x12, 2, 0x30, 1];
    let scope: Vec<u8> =
        [0x12, 4 * count as u8].into_iter().chain(std::iter::repeat_n(span, count as usize).flatten()).collect();
    let body: Vec<u8> = [0x0a, scope.len() as u8].into_iter().chain(scope).collect();
    let items = otelcore_pdata::check(Signal::Traces, &body).unwrap().items;
    assert_eq!(items, count);
    Rope::new(Bytes::from(body), items)
}

impl Fixture {
    fn offer_spans(&mut self, request: u64, count: u32, tenant: Option<&str>) {
        let meta = tenant.map(|tenant| {
            let mut meta = crate::Metadata::default();
            meta.add("tenant", tenant);
            Arc::new(meta)
        });
        let payload =
            Payload { signal: Signal::Traces, body: spans_body(count), metadata: meta, held: Held::default() };
        self.queue.offer(payload, Ack::new(AckTarget::Receiver(0, request), &self.settlements));
    }

    fn start_all(&mut self) -> Vec<(u64, u32)> {
        std::iter::from_fn(|| self.queue.poll_attempt(self.now)).map(|(number, p, _)| (number, p.items())).collect()
    }
}

#[test]
fn queue_with_batch_sends_groups_at_min_size_or_flush_timeout() {
    let mut fixture = Fixture::new(grouping_queue(10, 0), RetryConfig::default());
    fixture.offer_spans(1, 4, None);
    fixture.offer_spans(2, 4, None);
    assert_eq!(fixture.start_all(), []);
    assert_eq!(fixture.queue.poll_timeout(), Some(fixture.now + Duration::from_millis(200)));
    fixture.offer_spans(3, 4, None);
    assert_eq!(fixture.start_all(), [(0, 12)]);
    fixture.offer_spans(4, 1, None);
    assert_eq!(fixture.start_all(), []);
    fixture.advance(0.2);
    assert_eq!(fixture.start_all(), [(1, 1)]);
    assert_eq!(fixture.queue.held_items(), 13);
    assert_eq!(fixture.metric("otelcol_exporter_queue_size"), 4.0);
    fixture.finish(0, Outcome::Delivered);
    fixture.finish(1, Outcome::Delivered);
    assert_eq!((fixture.queue.held_items(), fixture.metric("otelcol_exporter_queue_size")), (0, 0.0));
}

#[test]
fn group_above_max_size_is_cut_and_the_remainder_waits() {
    let mut fixture = Fixture::new(grouping_queue(3, 5), RetryConfig::default());
    fixture.offer_spans(1, 12, None);
    assert_eq!(fixture.start_all(), [(0, 5), (1, 5)]);
    assert_eq!(fixture.queue.held_items(), 12, "two wait for more");
    // A piece that is tried again is not grouped a second time.
    fixture.finish(0, Outcome::retry("busy"));
    fixture.advance(6.0);
    assert_eq!(fixture.start_all(), [(3, 5), (4, 2)]);
    for number in [1, 3, 4] {
        fixture.finish(number, Outcome::Delivered);
    }
    assert_eq!((fixture.queue.held_items(), fixture.metric("otelcol_exporter_queue_size")), (0, 0.0));
}

#[test]
fn oldest_age_is_that_of_the_first_payload_until_its_last_piece_is_released() {
    let mut fixture = Fixture::new(grouping_queue(3, 5), RetryConfig::default());
    let listed = |fixture: &Fixture| fixture.telemetry.queues().read(fixture.now).remove(0);
    let age = |fixture: &Fixture| listed(fixture).oldest_age.map(|age| age.as_secs());
    assert_eq!(age(&fixture), None);
    fixture.offer_spans(1, 12, None);
    fixture.advance(1.0);
    assert_eq!(age(&fixture), Some(2));
    let first: Vec<_> = fixture.start_all();
    fixture.offer_spans(2, 1, None);
    first.into_iter().for_each(|(number, _)| fixture.finish(number, Outcome::Delivered));
    assert_eq!((age(&fixture), listed(&fixture).size), (Some(2), 2), "its last piece waits");
    let rest: Vec<_> = fixture.start_all();
    assert_eq!(rest.iter().map(|(_, items)| items).sum::<u32>(), 3);
    rest.into_iter().for_each(|(number, _)| fixture.finish(number, Outcome::Delivered));
    assert_eq!((age(&fixture), listed(&fixture).size), (None, 0));
    fixture.offer_spans(3, 4, None);
    assert!(age(&fixture).is_some());
    fixture.queue.abort();
    assert_eq!(age(&fixture), None);
}

#[test]
fn sender_that_waits_gets_the_worst_outcome_of_its_pieces() {
    let queue = QueueConfig { wait_for_result: true, ..grouping_queue(5, 5) };
    let mut fixture = Fixture::new(queue, RetryConfig::disabled());
    fixture.offer_spans(1, 2, None);
    fixture.offer_spans(2, 8, None);
    assert_eq!(fixture.start_all(), [(0, 5), (1, 5)]);
    fixture.finish(0, Outcome::Delivered);
    assert_eq!(fixture.take_outcomes(), [(1, Outcome::Delivered)], "the other payload is in both pieces");
    fixture.finish(1, Outcome::permanent("bad"));
    assert_eq!(fixture.take_outcomes(), [(2, Outcome::permanent("bad"))]);
}

#[test]
fn groups_with_different_metadata_are_separate_and_a_drain_sends_all() {
    let mut queue = grouping_queue(4, 0);
    queue.batch.get_mut().unwrap().partition.metadata_keys = vec!["tenant".to_owned()];
    let mut fixture = Fixture::new(queue, RetryConfig::default());
    for (request, tenant) in ["a", "b", "a", "c"].into_iter().enumerate() {
        fixture.offer_spans(request as u64, 2, Some(tenant));
    }
    assert_eq!(fixture.start_all(), [(0, 4)]);
    fixture.drain(25.0);
    assert_eq!(fixture.start_all(), [(1, 2), (2, 2)]);
    assert_eq!(fixture.queue.poll_timeout(), None);
}

#[test]
fn group_at_abort_is_reported_as_lost() {
    let queue = QueueConfig { wait_for_result: true, ..grouping_queue(100, 0) };
    let mut fixture = Fixture::new(queue, RetryConfig::default());
    fixture.offer_spans(1, 2, None);
    assert_eq!(fixture.start_all(), []);
    assert_eq!(fixture.queue.abort(), 2);
    assert_eq!(fixture.take_outcomes(), [(1, Outcome::Lost(LossReason::Shutdown))]);
}

#[test]
fn capacity_of_grouped_payloads_is_released_with_the_last_piece() {
    for max in [0, 10, 15] {
        let mut fixture =
            Fixture::new(QueueConfig { max_bytes: 100, ..grouping_queue(10, max) }, RetryConfig::disabled());
        for round in 0..50 {
            for request in 0..4 {
                fixture.offer_spans(round * 4 + request, 5, None);
                assert_eq!(
                    fixture.take_outcomes(),
                    [(round * 4 + request, Outcome::Delivered)],
                    "there is room, max {max}"
                );
            }
            fixture.queue.begin_turn();
            fixture.queue.flush(fixture.now);
            for (number, _) in fixture.start_all() {
                fixture.finish(number, Outcome::Delivered);
            }
            assert_eq!((fixture.queue.held_items(), fixture.queue.bytes, fixture.queue.size), (0, 0, 0));
        }
    }
}

#[test]
fn group_above_max_size_in_bytes_is_cut_and_its_sender_waits_for_all_pieces() {
    let mut queue = QueueConfig { wait_for_result: true, ..grouping_queue(50, 50) };
    queue.batch.get_mut().unwrap().sizer = BatchSizer::Bytes;
    let mut fixture = Fixture::new(queue, RetryConfig::disabled());
    fixture.offer_spans(1, 30, None);
    let jobs: Vec<_> = std::iter::from_fn(|| fixture.queue.poll_attempt(fixture.now)).collect();
    assert_eq!(jobs.len(), 2, "what is less than the minimum waits");
    assert!(jobs.iter().all(|(_, payload, _)| payload.body.len() <= 50 && payload.items() == 11));
    jobs.iter().for_each(|(number, ..)| fixture.finish(*number, Outcome::Delivered));
    assert_eq!((fixture.take_outcomes(), fixture.queue.held_items()), (vec![], 8));
    fixture.advance(0.2);
    assert_eq!(fixture.start_all(), [(2, 8)]);
    fixture.finish(2, Outcome::Delivered);
    assert_eq!(fixture.take_outcomes(), [(1, Outcome::Delivered)]);
}

#[test]
fn large_group_with_free_consumers_is_cut_over_several_turns() {
    const ITEMS: u32 = 300_000;
    let mut fixture = Fixture::new(grouping_queue(10, 10), RetryConfig::disabled());
    let mut body = Vec::new();
    let scope = [0x12, 0].repeat(ITEMS as usize);
    let mut entry = Vec::new();
    otelcore_pdata::wire_format::put_bytes_field(&mut entry, 2, &scope);
    otelcore_pdata::wire_format::put_bytes_field(&mut body, 1, &entry);
    let body = Rope::new(Bytes::from(body), ITEMS);
    let payload = Payload { signal: Signal::Traces, body, metadata: None, held: Held::default() };
    fixture.queue.offer(payload, Ack::detached());
    let (mut turns, mut items) = (0, 0);
    loop {
        let mut pieces = 0;
        // An exporter that reports the outcome at once.
        while let Some((number, payload, _)) = fixture.queue.poll_attempt(fixture.now) {
            pieces += 1;
            items += payload.items();
            fixture.finish(number, Outcome::Delivered);
        }
        assert!(pieces <= 64, "{pieces} pieces in a turn");
        assert_eq!(fixture.queue.held_items(), u64::from(ITEMS - items));
        turns += 1;
        if fixture.queue.held_items() == 0 {
            break;
        }
        assert!(fixture.queue.needs_turn(), "the next turn goes on");
        fixture.queue.handle_timeout(fixture.now);
        assert!(fixture.start_attempt().is_none(), "a timer that is due in the same turn is no new turn");
        fixture.queue.begin_turn();
    }
    assert_eq!((items, fixture.queue.poll_timeout(), fixture.queue.needs_turn()), (ITEMS, None, false));
    assert!((ITEMS / 640..ITEMS / 600).contains(&turns), "{turns} turns");
}

#[test]
fn group_without_a_limit_does_not_grow_while_consumers_are_busy() {
    let queue = QueueConfig { num_consumers: 1, ..grouping_queue(10, 0) };
    let mut fixture = Fixture::new(queue, RetryConfig::disabled());
    for request in 0..8 {
        fixture.offer_spans(request, 5, None);
        fixture.queue.poll_attempt(fixture.now);
    }
    for number in 0..3 {
        fixture.finish(number, Outcome::Delivered);
        assert_eq!(fixture.start_all(), [(number + 1, 10)]);
    }
}

#[test]
fn queue_section_is_read_as_in_the_go_collector() {
    let parse = |yaml: &str| {
        let d = otelcore_config::Diagnostics::new();
        let node = otelcore_config::from_yaml(yaml, &d).unwrap();
        let section = Section::new(Some(&node), "sending_queue", &d);
        let parsed = QueueConfig::read_section(section, &QueueConfig::default());
        (parsed.batch.into_option(), d.items().into_iter().map(|i| i.message).collect::<Vec<_>>())
    };
    let (batch, messages) = parse("batch: ");
    assert_eq!((batch.map(|b| (b.min_size, b.sizer)), messages.len()), (Some((8192, BatchSizer::Items)), 0));
    assert_eq!(parse("{}").0, None);
    assert_eq!(parse("batch: {enabled: false}").0, None);
    let (batch, _) = parse("{sizer: bytes, queue_size: 1000000, batch: {min_size: 5}}");
    assert_eq!(batch.unwrap().sizer, BatchSizer::Bytes);
    for (yaml, message) in [
        (
            "{sizer: requests, batch: {min_size: 1}}",
            "`batch` supports only `items` or `bytes` sizer, found \"requests\"",
        ),
        ("batch: {max_size: 5}", "`max_size` (5) must be greater or equal to `min_size` (8192)"),
        ("batch: {flush_timeout: 0s}", "`flush_timeout` must be positive"),
        ("{sizer: items, batch: {min_size: 5000}}", "`min_size` must be less than or equal to `queue_size`"),
    ] {
        assert_eq!(parse(yaml).1, [message], "{yaml}");
    }
}

#[test]
fn stored_queue_has_no_limits_of_its_own_and_reports_each_record_when_it_is_delivered() {
    let mut fixture = Fixture::stored(small_queue(), RetryConfig::default());
    (0..100).for_each(|request| fixture.offer(request, 2));
    assert_eq!(fixture.take_outcomes(), []);
    for request in 0..100 {
        let attempt = fixture.start_attempt().unwrap();
        fixture.finish(attempt, Outcome::Delivered);
        assert_eq!(fixture.take_outcomes(), [(request, Outcome::Delivered)]);
    }
    assert_eq!(fixture.metric("otelcol_exporter_enqueue_failed_spans"), 0.0);
}

#[test]
fn stored_payload_is_retried_without_end_unless_max_elapsed_time_is_written() {
    for is_written in [false, true] {
        let retry = RetryConfig { max_elapsed_time_is_written: is_written, ..RetryConfig::default() };
        let mut fixture = Fixture::stored(small_queue(), retry);
        fixture.offer(0, 1);
        for _ in 0..100 {
            let Some(attempt) = fixture.start_attempt() else { break };
            fixture.finish(attempt, Outcome::retry("down"));
            fixture.advance(30.0);
        }
        let expected = Outcome::permanent("no more retries left: down");
        assert_eq!(fixture.take_outcomes(), if is_written { vec![(0, expected)] } else { Vec::new() });
    }
}

#[test]
fn stored_payload_that_is_refused_or_may_not_be_retried_is_given_up_with_the_reason() {
    let mut fixture = Fixture::stored(small_queue(), RetryConfig::default());
    fixture.offer(0, 1);
    let attempt = fixture.start_attempt().unwrap();
    fixture.finish(attempt, Outcome::permanent("bad"));
    let reason = Outcome::permanent("not retryable error: Permanent error: bad");
    assert_eq!(fixture.take_outcomes(), [(0, reason)]);
    let mut fixture = Fixture::stored(small_queue(), RetryConfig::disabled());
    fixture.offer(0, 1);
    let attempt = fixture.start_attempt().unwrap();
    fixture.finish(attempt, Outcome::retry("down"));
    assert_eq!(fixture.take_outcomes(), [(0, Outcome::permanent("down"))]);
}

#[test]
fn stored_payload_of_which_a_part_is_refused_is_given_up_when_the_rest_is_delivered() {
    let mut fixture = Fixture::stored(small_queue(), RetryConfig::default());
    fixture.offer(0, 10);
    let attempt = fixture.start_attempt().unwrap();
    let rest = Rope::new(Bytes::from(vec![0; 10]), 1);
    let partial = PartialOutcome {
        delivered: 7,
        rejected: 0,
        refused: Some((2, Error::new("bad"))),
        retry: Some((rest, None, Error::new("down"))),
    };
    fixture.queue.handle_partial_outcome(fixture.now, attempt, partial, NO_JITTER);
    assert_eq!(fixture.take_outcomes(), []);
    fixture.advance(5.0);
    let attempt = fixture.start_attempt().unwrap();
    fixture.finish(attempt, Outcome::Delivered);
    assert_eq!(fixture.take_outcomes(), [(0, Outcome::permanent("2 of 10 items were refused: bad"))]);
}

#[test]
fn stored_payloads_stay_at_a_shutdown_when_one_can_not_be_sent() {
    let lost = || Outcome::Lost(LossReason::Shutdown);
    for batch in [false, true] {
        let mut queue = small_queue();
        if batch {
            queue.batch = Optional::on(QueueBatchConfig { min_size: 1, max_size: 1, ..QueueBatchConfig::default() });
        }
        let mut fixture = Fixture::stored(queue, RetryConfig::default());
        (0..5).for_each(|request| fixture.offer(request, 1));
        let backs_off = fixture.start_attempt().unwrap();
        fixture.finish(backs_off, Outcome::retry("down"));
        let in_flight = [fixture.start_attempt().unwrap(), fixture.start_attempt().unwrap()];
        fixture.drain(25.0);
        assert_eq!(fixture.take_outcomes(), [(0, lost())], "it has failed before");
        fixture.finish(in_flight[0], Outcome::Delivered);
        assert_eq!(fixture.take_outcomes(), [(1, Outcome::Delivered)]);
        fixture.finish(in_flight[1], Outcome::retry("down"));
        let mut left = fixture.take_outcomes();
        left.sort_by_key(|(request, _)| *request);
        assert_eq!(left, [(2, lost()), (3, lost()), (4, lost())]);
        assert_eq!((fixture.queue.held_items(), fixture.queue.lost_items()), (0, 0));
    }
}
