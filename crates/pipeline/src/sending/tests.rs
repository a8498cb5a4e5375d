//! The schedule of queue and retry under a virtual clock.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use otelcore_pdata::{Rope, Signal};

use super::*;
use crate::ack::{Settlements, Target};
use crate::{Held, NoLog};

const SECOND: u64 = 1_000_000_000;

/// The middle of the random range: the pause is not changed at random.
const MIDDLE: u64 = 1 << 63;

struct Scene {
    sending: Sending,
    settlements: Rc<Settlements>,
    telemetry: Telemetry,
    now: Mono,
}

impl Scene {
    fn new(queue: QueueSettings, retry: RetrySettings) -> Self {
        let settings = SendingSettings { queue, retry, timeout: Duration::from_secs(5) };
        let telemetry = Telemetry::new(Detail::Normal);
        let log = Logger::new(Arc::new(NoLog));
        let sending = Sending::new(settings, Signal::Traces, "jaeger", &telemetry, log);
        Self { sending, settlements: Rc::default(), telemetry, now: Mono(SECOND) }
    }

    fn offer(&mut self, request: u64, items: u32) {
        let body = Rope::new(Bytes::from(vec![0; items as usize * 10]), items);
        let payload = Payload { signal: Signal::Traces, body, meta: None, held: Held::default() };
        self.sending.offer(payload, Ack::new(Target::Receiver(0, request), &self.settlements));
    }

    fn told(&mut self) -> Vec<(u64, Outcome)> {
        std::iter::from_fn(|| self.settlements.pop())
            .map(|(target, outcome)| match target {
                Target::Receiver(0, request) => (request, outcome),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn job(&mut self) -> Option<u64> {
        self.sending.poll_job(self.now).map(|(number, _, _)| number)
    }

    fn done(&mut self, number: u64, outcome: Outcome) {
        self.sending.handle_done(self.now, number, outcome, MIDDLE);
    }

    fn pass(&mut self, seconds: f64) {
        self.now = Mono(self.now.0 + (seconds * SECOND as f64) as u64);
        self.sending.handle_timeout(self.now);
    }

    fn drain(&mut self, seconds: f64) {
        let until = self.now + Duration::from_secs_f64(seconds);
        self.sending.drain(self.now, until);
    }

    fn shown(&self, name: &str) -> f64 {
        let families = self.telemetry.read();
        match families.iter().find(|f| f.name == name).unwrap().samples[0].value {
            crate::Value::Number(v) => v,
            crate::Value::Histogram { .. } => panic!("a histogram"),
        }
    }
}

fn small_queue() -> QueueSettings {
    QueueSettings { num_consumers: 2, queue_size: 3, ..QueueSettings::on() }
}

#[test]
fn a_queue_takes_custody_and_refuses_when_full() {
    let mut scene = Scene::new(small_queue(), RetrySettings::default());
    for request in 0..4 {
        scene.offer(request, 2);
    }
    let full = Outcome::retry("sending queue is full");
    let delivered = || Outcome::Delivered;
    assert_eq!(scene.told(), [(0, delivered()), (1, delivered()), (2, delivered()), (3, full)]);
    assert_eq!((scene.job(), scene.job(), scene.job()), (Some(0), Some(1), None), "two consumers");
    assert_eq!(scene.shown("otelcol_exporter_queue_size"), 3.0, "what is in flight counts");
    assert_eq!(scene.shown("otelcol_exporter_enqueue_failed_spans"), 2.0);
    scene.done(0, Outcome::Delivered);
    scene.offer(4, 2);
    assert_eq!(scene.told(), [(4, delivered())]);
    assert_eq!(scene.shown("otelcol_exporter_sent_spans"), 2.0);
}

#[test]
fn pauses_grow_to_their_maximum_until_the_time_is_up() {
    let mut scene = Scene::new(small_queue(), RetrySettings::default());
    scene.offer(0, 1);
    let mut pauses = Vec::new();
    loop {
        let job = scene.job().unwrap();
        scene.done(job, Outcome::retry("connection refused"));
        let Some(at) = scene.sending.poll_timeout() else { break };
        let pause = at.since(scene.now).as_secs_f64();
        pauses.push((pause * 100.0).round() / 100.0);
        scene.pass(pause);
    }
    assert_eq!(pauses[..6], [5.0, 7.5, 11.25, 16.88, 25.31, 30.0]);
    assert!(pauses.iter().sum::<f64>() <= 300.0);
    assert_eq!(scene.shown("otelcol_exporter_send_failed_spans"), 1.0);
    assert_eq!(scene.sending.holds(), 0);
}

#[test]
fn a_resting_request_holds_no_consumer_but_its_place_in_the_queue() {
    let mut scene = Scene::new(small_queue(), RetrySettings::default());
    scene.offer(0, 1);
    scene.offer(1, 1);
    for _ in 0..2 {
        let job = scene.job().unwrap();
        scene.done(job, Outcome::retry("unavailable"));
    }
    scene.offer(2, 1);
    let third = scene.job().expect("both consumers are free");
    scene.done(third, Outcome::Delivered);
    assert_eq!(scene.sending.holds(), 2);
}

#[test]
fn a_servers_delay_is_a_lower_bound() {
    let mut scene = Scene::new(small_queue(), RetrySettings::default());
    scene.offer(0, 1);
    let job = scene.job().unwrap();
    let why = Error::new("slow down");
    scene.done(job, Outcome::Retry { after: Some(Duration::from_secs(60)), why });
    assert_eq!(scene.sending.poll_timeout(), Some(scene.now + Duration::from_secs(60)));
}

#[test]
fn a_permanent_refusal_is_dropped_at_once_and_counted() {
    let mut scene = Scene::new(small_queue(), RetrySettings::default());
    scene.offer(0, 5);
    let job = scene.job().unwrap();
    scene.done(job, Outcome::permanent("bad request"));
    assert_eq!(scene.sending.holds(), 0);
    assert_eq!(scene.shown("otelcol_exporter_send_failed_spans"), 5.0);
}

#[test]
fn without_a_queue_the_sender_hears_the_result() {
    let mut scene = Scene::new(QueueSettings::off(), RetrySettings::off());
    scene.offer(0, 1);
    scene.offer(1, 1);
    assert_eq!(scene.told(), []);
    let (a, b) = (scene.job().unwrap(), scene.job().unwrap());
    scene.done(a, Outcome::Delivered);
    scene.done(b, Outcome::retry("down"));
    assert_eq!(scene.told(), [(0, Outcome::Delivered), (1, Outcome::retry("down"))]);
}

#[test]
fn block_on_overflow_waits_for_room_in_order() {
    let queue = QueueSettings { queue_size: 1, block_on_overflow: true, ..small_queue() };
    let mut scene = Scene::new(queue, RetrySettings::default());
    for request in 0..3 {
        scene.offer(request, 1);
    }
    assert_eq!(scene.told(), [(0, Outcome::Delivered)]);
    let job = scene.job().unwrap();
    scene.done(job, Outcome::Delivered);
    assert_eq!(scene.told(), [(1, Outcome::Delivered)]);
    assert_eq!(scene.sending.holds(), 2);
}

#[test]
fn wait_for_result_tells_after_the_send() {
    let queue = QueueSettings { wait_for_result: true, ..small_queue() };
    let mut scene = Scene::new(queue, RetrySettings::default());
    scene.offer(0, 1);
    assert_eq!(scene.told(), []);
    let job = scene.job().unwrap();
    scene.done(job, Outcome::Delivered);
    assert_eq!(scene.told(), [(0, Outcome::Delivered)]);
}

#[test]
fn a_queue_is_bounded_by_bytes_whatever_its_sizer() {
    let queue = QueueSettings { queue_size: 100, max_bytes: 100, ..small_queue() };
    let mut scene = Scene::new(queue, RetrySettings::default());
    scene.offer(0, 30);
    scene.offer(1, 1);
    let told = scene.told();
    assert_eq!(told[0], (0, Outcome::Delivered), "alone, a large one may pass");
    assert_eq!(told[1], (1, Outcome::retry("sending queue is full")));
}

#[test]
fn items_and_bytes_are_sizes_too() {
    let queue = QueueSettings { queue_size: 10, sizer: Sizer::Items, ..small_queue() };
    let mut scene = Scene::new(queue, RetrySettings::default());
    scene.offer(0, 11);
    scene.offer(1, 10);
    let told = scene.told();
    assert_eq!(told[0], (0, Outcome::permanent("element size too large")));
    assert_eq!(told[1], (1, Outcome::Delivered));
}

#[test]
fn draining_tries_again_soon_and_reports_what_it_gives_up() {
    let mut scene = Scene::new(small_queue(), RetrySettings::default());
    scene.offer(0, 1);
    let job = scene.job().unwrap();
    scene.done(job, Outcome::retry("down"));
    scene.drain(25.0);
    let job = scene.job().expect("what rested is tried at once");
    scene.done(job, Outcome::retry("down"));
    let at = scene.sending.poll_timeout().unwrap();
    assert!(at.since(scene.now) <= DRAIN_PAUSE);
    scene.pass(1.0);
    let job = scene.job().unwrap();
    scene.done(job, Outcome::permanent("bad"));
    assert_eq!((scene.sending.holds(), scene.sending.lost()), (0, 1));
}

#[test]
fn what_is_abandoned_is_told() {
    let queue = QueueSettings { wait_for_result: true, block_on_overflow: true, ..small_queue() };
    let mut scene = Scene::new(queue, RetrySettings::default());
    for request in 0..4 {
        scene.offer(request, 1);
    }
    scene.job();
    assert_eq!(scene.sending.abandon(), 4);
    let lost = Outcome::Lost(Lost::Shutdown);
    assert_eq!(scene.told().into_iter().filter(|(_, o)| *o == lost).count(), 4);
}

#[test]
fn of_a_payload_in_pieces_only_the_failed_ones_are_sent_again() {
    let mut scene = Scene::new(small_queue(), RetrySettings::default());
    scene.offer(0, 10);
    let job = scene.job().unwrap();
    let rest = Rope::new(Bytes::from(vec![0; 30]), 3);
    let why = || Error::new("unavailable");
    let fate =
        Fate { delivered: 5, rejected: 0, refused: Some((2, Error::new("bad"))), rest: Some((rest, None, why())) };
    scene.sending.handle_pieces(scene.now, job, fate, MIDDLE);
    assert_eq!((scene.sending.holds(), scene.sending.bytes), (3, 30));
    assert_eq!(scene.shown("otelcol_exporter_sent_spans"), 5.0);
    assert_eq!(scene.shown("otelcol_exporter_send_failed_spans"), 2.0);
    scene.pass(5.0);
    let job = scene.job().unwrap();
    scene.sending.handle_pieces(scene.now, job, Fate { delivered: 3, ..Fate::default() }, MIDDLE);
    assert_eq!((scene.sending.holds(), scene.sending.bytes), (0, 0));
    assert_eq!(scene.shown("otelcol_exporter_sent_spans"), 8.0);
}

#[test]
fn pieces_that_are_refused_for_good_while_draining_are_reported_as_lost() {
    let mut scene = Scene::new(small_queue(), RetrySettings::default());
    scene.offer(0, 5);
    let job = scene.job().unwrap();
    scene.drain(25.0);
    let fate = Fate { delivered: 2, rejected: 0, refused: Some((3, Error::new("no such tenant"))), rest: None };
    scene.sending.handle_pieces(scene.now, job, fate, MIDDLE);
    assert_eq!((scene.sending.holds(), scene.sending.lost()), (0, 3));
}

fn slow_down(seconds: u64) -> Outcome {
    Outcome::Retry { after: Some(Duration::from_secs(seconds)), why: Error::new("slow down") }
}

#[test]
fn flush_of_resting_requests_cuts_each_rest_once() {
    let queue = QueueSettings { num_consumers: 10, queue_size: 100, ..QueueSettings::on() };
    let mut scene = Scene::new(queue, RetrySettings::default());
    for request in 0..5 {
        scene.offer(request, 1);
    }
    let mut attempts = 0;
    // A host program that flushes every 2 ms for 3 seconds.
    for _ in 0..1500 {
        while let Some(job) = scene.job() {
            attempts += 1;
            scene.done(job, Outcome::retry("down"));
        }
        scene.sending.flush(scene.now);
        scene.pass(0.002);
    }
    assert_eq!(attempts, 10, "one attempt each, and one each that a flush brought forward");
    let at = scene.sending.poll_timeout().unwrap();
    let pause = at.since(scene.now).as_secs_f64();
    assert!((4.0..5.0).contains(&pause), "seven and a half seconds from the second attempt on: {pause}");
    assert_eq!(scene.sending.holds(), 5);
}

#[test]
fn flush_of_an_early_attempt_that_fails_leaves_the_backoff_as_it_was() {
    let mut scene = Scene::new(small_queue(), RetrySettings::default());
    scene.offer(0, 1);
    let job = scene.job().unwrap();
    scene.done(job, Outcome::retry("down"));
    scene.sending.flush(scene.now);
    let job = scene.job().expect("its rest is cut short");
    scene.done(job, Outcome::retry("down"));
    assert_eq!(scene.sending.poll_timeout(), Some(scene.now + Duration::from_millis(7500)));
    scene.sending.flush(scene.now);
    assert_eq!(scene.job(), None, "a second flush leaves it at rest");
    scene.pass(7.5);
    let job = scene.job().unwrap();
    scene.done(job, Outcome::retry("down"));
    assert_eq!(scene.sending.poll_timeout(), Some(scene.now + Duration::from_millis(7500)));
}

#[test]
fn flush_with_a_pause_that_the_peer_asked_for_waits_for_its_end() {
    let mut scene =
        Scene::new(small_queue(), RetrySettings { max_elapsed_time: Duration::ZERO, ..RetrySettings::default() });
    scene.offer(0, 1);
    let job = scene.job().unwrap();
    scene.done(job, slow_down(30));
    scene.pass(10.0);
    scene.sending.flush(scene.now);
    assert_eq!(scene.job(), None);
    assert_eq!(scene.sending.poll_timeout(), Some(scene.now + Duration::from_secs(20)));
    // The peer asked for two seconds; the configured pause is five.
    scene.pass(20.0);
    let job = scene.job().unwrap();
    scene.done(job, slow_down(2));
    scene.offer(1, 1);
    let job = scene.job().unwrap();
    scene.done(job, slow_down(2));
    scene.sending.flush(scene.now);
    assert_eq!(scene.sending.poll_timeout(), Some(scene.now + Duration::from_secs(2)));
}

#[test]
fn flush_of_very_many_resting_requests_takes_several_steps() {
    let queue = QueueSettings { num_consumers: 100_000, queue_size: 100_000, ..QueueSettings::on() };
    let mut scene = Scene::new(queue, RetrySettings::default());
    for request in 0..10_000 {
        scene.offer(request, 1);
        let job = scene.job().unwrap();
        scene.done(job, Outcome::retry("down"));
    }
    scene.sending.flush(scene.now);
    let mut steps = 1;
    while scene.sending.poll_timeout() == Some(Mono::default()) {
        steps += 1;
        scene.sending.handle_timeout(scene.now);
    }
    assert_eq!((steps, scene.sending.queued.len()), (10_000_usize.div_ceil(MOVED_AT_ONCE), 10_000));
    assert_eq!(scene.sending.holds(), 10_000);
}

#[test]
fn drain_with_a_pause_that_the_peer_asked_for_keeps_it() {
    let mut scene = Scene::new(small_queue(), RetrySettings::default());
    scene.offer(0, 1);
    scene.offer(1, 1);
    for after in [3, 60] {
        let job = scene.job().unwrap();
        scene.done(job, slow_down(after));
    }
    scene.drain(20.0);
    let began = scene.now;
    assert_eq!(scene.job(), None);
    assert_eq!(scene.sending.poll_timeout(), Some(began + Duration::from_secs(3)));
    scene.pass(3.0);
    let job = scene.job().unwrap();
    scene.done(job, slow_down(4));
    assert_eq!(scene.sending.poll_timeout(), Some(began + Duration::from_secs(7)));
    scene.pass(4.0);
    let job = scene.job().unwrap();
    scene.done(job, Outcome::Delivered);
    // The deadline is before the end of the other payload's pause, so its last attempt is made before the deadline.
    assert_eq!(scene.sending.poll_timeout(), Some(began + Duration::from_secs(19)));
    scene.pass(12.0);
    let job = scene.job().unwrap();
    scene.done(job, slow_down(60));
    assert!(scene.sending.poll_timeout().unwrap() > began + Duration::from_secs(20), "one last attempt is enough");
}

#[test]
fn queue_that_groups_gives_back_all_the_bytes_it_took() {
    let mut scene = Scene::new(grouping(10, 4), RetrySettings::default());
    for request in 0..6 {
        scene.offer_spans(request, 5, None);
    }
    let mut delivered = 0;
    while let Some((number, payload, _)) = scene.sending.poll_job(scene.now) {
        delivered += payload.items();
        scene.done(number, Outcome::Delivered);
    }
    scene.drain(1.0);
    while let Some((number, payload, _)) = scene.sending.poll_job(scene.now) {
        delivered += payload.items();
        scene.done(number, Outcome::Delivered);
    }
    assert_eq!((delivered, scene.sending.bytes, scene.sending.size, scene.sending.holds()), (30, 0, 0, 0));
}

fn grouping(min_size: u64, max_size: u64) -> QueueSettings {
    let batch = BatchSettings {
        flush_timeout: Duration::from_millis(200),
        min_size,
        max_size,
        sizer: Sizer::Items,
        metadata_keys: Vec::new(),
    };
    QueueSettings { batch: Some(batch), ..QueueSettings::on() }
}

/// A body of `count` spans, which can be cut.
fn spans(count: u32) -> Rope {
    let span = [0x12, 2, 0x30, 1];
    let scope: Vec<u8> =
        [0x12, 4 * count as u8].into_iter().chain(std::iter::repeat_n(span, count as usize).flatten()).collect();
    let body: Vec<u8> = [0x0a, scope.len() as u8].into_iter().chain(scope).collect();
    let items = otelcore_pdata::check(Signal::Traces, &body).unwrap().items;
    assert_eq!(items, count);
    Rope::new(Bytes::from(body), items)
}

impl Scene {
    fn offer_spans(&mut self, request: u64, count: u32, tenant: Option<&str>) {
        let meta = tenant.map(|tenant| {
            let mut meta = crate::Metadata::default();
            meta.add("tenant", tenant);
            Arc::new(meta)
        });
        let payload = Payload { signal: Signal::Traces, body: spans(count), meta, held: Held::default() };
        self.sending.offer(payload, Ack::new(Target::Receiver(0, request), &self.settlements));
    }

    fn sizes(&mut self) -> Vec<(u64, u32)> {
        std::iter::from_fn(|| self.sending.poll_job(self.now)).map(|(number, p, _)| (number, p.items())).collect()
    }
}

#[test]
fn a_queue_that_groups_sends_what_is_large_enough_or_old_enough() {
    let mut scene = Scene::new(grouping(10, 0), RetrySettings::default());
    scene.offer_spans(1, 4, None);
    scene.offer_spans(2, 4, None);
    assert_eq!(scene.sizes(), []);
    assert_eq!(scene.sending.poll_timeout(), Some(scene.now + Duration::from_millis(200)));
    scene.offer_spans(3, 4, None);
    assert_eq!(scene.sizes(), [(0, 12)]);
    scene.offer_spans(4, 1, None);
    assert_eq!(scene.sizes(), []);
    scene.pass(0.2);
    assert_eq!(scene.sizes(), [(1, 1)]);
    assert_eq!(scene.sending.holds(), 13);
    assert_eq!(scene.shown("otelcol_exporter_queue_size"), 4.0);
    scene.done(0, Outcome::Delivered);
    scene.done(1, Outcome::Delivered);
    assert_eq!((scene.sending.holds(), scene.shown("otelcol_exporter_queue_size")), (0, 0.0));
}

#[test]
fn a_group_is_cut_and_what_is_too_small_stays() {
    let mut scene = Scene::new(grouping(3, 5), RetrySettings::default());
    scene.offer_spans(1, 12, None);
    assert_eq!(scene.sizes(), [(0, 5), (1, 5)]);
    assert_eq!(scene.sending.holds(), 12, "two wait for more");
    // A piece that is tried again is not grouped a second time.
    scene.done(0, Outcome::retry("busy"));
    scene.pass(6.0);
    assert_eq!(scene.sizes(), [(3, 5), (4, 2)]);
    for number in [1, 3, 4] {
        scene.done(number, Outcome::Delivered);
    }
    assert_eq!((scene.sending.holds(), scene.shown("otelcol_exporter_queue_size")), (0, 0.0));
}

#[test]
fn waiting_sender_gets_the_worst_outcome_of_the_pieces_its_payload_is_in() {
    let queue = QueueSettings { wait_for_result: true, ..grouping(5, 5) };
    let mut scene = Scene::new(queue, RetrySettings::off());
    scene.offer_spans(1, 2, None);
    scene.offer_spans(2, 8, None);
    assert_eq!(scene.sizes(), [(0, 5), (1, 5)]);
    scene.done(0, Outcome::Delivered);
    assert_eq!(scene.told(), [(1, Outcome::Delivered)], "the other payload is in both pieces");
    scene.done(1, Outcome::permanent("bad"));
    assert_eq!(scene.told(), [(2, Outcome::permanent("bad"))]);
}

#[test]
fn metadata_keeps_groups_apart_and_a_drain_sends_them_all() {
    let mut queue = grouping(4, 0);
    queue.batch.as_mut().unwrap().metadata_keys = vec!["tenant".to_owned()];
    let mut scene = Scene::new(queue, RetrySettings::default());
    for (request, tenant) in ["a", "b", "a", "c"].into_iter().enumerate() {
        scene.offer_spans(request as u64, 2, Some(tenant));
    }
    assert_eq!(scene.sizes(), [(0, 4)]);
    scene.drain(25.0);
    assert_eq!(scene.sizes(), [(1, 2), (2, 2)]);
    assert_eq!(scene.sending.poll_timeout(), None);
}

#[test]
fn what_a_group_holds_is_lost_at_the_end_and_said_to_be() {
    let queue = QueueSettings { wait_for_result: true, ..grouping(100, 0) };
    let mut scene = Scene::new(queue, RetrySettings::default());
    scene.offer_spans(1, 2, None);
    assert_eq!(scene.sizes(), []);
    assert_eq!(scene.sending.abandon(), 2);
    assert_eq!(scene.told(), [(1, Outcome::Lost(Lost::Shutdown))]);
}

#[test]
fn room_of_grouped_payloads_is_given_back_with_the_last_piece() {
    for max in [0, 10, 15] {
        let mut scene = Scene::new(QueueSettings { max_bytes: 100, ..grouping(10, max) }, RetrySettings::off());
        for round in 0..50 {
            for request in 0..4 {
                scene.offer_spans(round * 4 + request, 5, None);
                assert_eq!(scene.told(), [(round * 4 + request, Outcome::Delivered)], "there is room, max {max}");
            }
            scene.sending.begin_turn();
            scene.sending.flush(scene.now);
            for (number, _) in scene.sizes() {
                scene.done(number, Outcome::Delivered);
            }
            assert_eq!((scene.sending.holds(), scene.sending.bytes, scene.sending.size), (0, 0, 0));
        }
    }
}

#[test]
fn group_is_cut_within_the_bytes_and_its_sender_waits_for_all() {
    let mut queue = QueueSettings { wait_for_result: true, ..grouping(50, 50) };
    queue.batch.as_mut().unwrap().sizer = Sizer::Bytes;
    let mut scene = Scene::new(queue, RetrySettings::off());
    scene.offer_spans(1, 30, None);
    let jobs: Vec<_> = std::iter::from_fn(|| scene.sending.poll_job(scene.now)).collect();
    assert_eq!(jobs.len(), 2, "what is less than the minimum waits");
    assert!(jobs.iter().all(|(_, payload, _)| payload.body.len() <= 50 && payload.items() == 11));
    jobs.iter().for_each(|(number, ..)| scene.done(*number, Outcome::Delivered));
    assert_eq!((scene.told(), scene.sending.holds()), (vec![], 8));
    scene.pass(0.2);
    assert_eq!(scene.sizes(), [(2, 8)]);
    scene.done(2, Outcome::Delivered);
    assert_eq!(scene.told(), [(1, Outcome::Delivered)]);
}

#[test]
fn large_group_is_cut_over_turns_while_consumers_are_free() {
    const ITEMS: u32 = 300_000;
    let mut scene = Scene::new(grouping(10, 10), RetrySettings::off());
    let mut body = Vec::new();
    let scope = [0x12, 0].repeat(ITEMS as usize);
    let mut entry = Vec::new();
    otelcore_pdata::wire::put_bytes(&mut entry, 2, &scope);
    otelcore_pdata::wire::put_bytes(&mut body, 1, &entry);
    let body = Rope::new(Bytes::from(body), ITEMS);
    let payload = Payload { signal: Signal::Traces, body, meta: None, held: Held::default() };
    scene.sending.offer(payload, Ack::detached());
    let (mut turns, mut items) = (0, 0);
    loop {
        let mut pieces = 0;
        // An exporter that reports the outcome at once.
        while let Some((number, payload, _)) = scene.sending.poll_job(scene.now) {
            pieces += 1;
            items += payload.items();
            scene.done(number, Outcome::Delivered);
        }
        assert!(pieces <= 64, "{pieces} pieces in a turn");
        assert_eq!(scene.sending.holds(), u64::from(ITEMS - items));
        turns += 1;
        if scene.sending.holds() == 0 {
            break;
        }
        assert!(scene.sending.wants_turn(), "the next turn goes on");
        scene.sending.handle_timeout(scene.now);
        assert!(scene.job().is_none(), "a timer that is due in the same turn is no new turn");
        scene.sending.begin_turn();
    }
    assert_eq!((items, scene.sending.poll_timeout(), scene.sending.wants_turn()), (ITEMS, None, false));
    assert!((ITEMS / 640..ITEMS / 600).contains(&turns), "{turns} turns");
}

#[test]
fn group_without_a_limit_does_not_grow_while_consumers_are_busy() {
    let queue = QueueSettings { num_consumers: 1, ..grouping(10, 0) };
    let mut scene = Scene::new(queue, RetrySettings::off());
    for request in 0..8 {
        scene.offer_spans(request, 5, None);
        scene.sending.poll_job(scene.now);
    }
    for number in 0..3 {
        scene.done(number, Outcome::Delivered);
        assert_eq!(scene.sizes(), [(number + 1, 10)]);
    }
}

#[test]
fn the_section_is_read_as_the_go_collector_reads_it() {
    let parse = |yaml: &str| {
        let d = otelcore_config::Diagnostics::new();
        let node = otelcore_config::from_yaml(yaml, &d).unwrap();
        let parsed = QueueSettings::parse(Some(Section::new(Some(&node), "sending_queue", &d)));
        (parsed.batch, d.items().into_iter().map(|i| i.message).collect::<Vec<_>>())
    };
    let (batch, said) = parse("batch: ");
    assert_eq!((batch.map(|b| (b.min_size, b.sizer)), said.len()), (Some((8192, Sizer::Items)), 0));
    assert_eq!(parse("{}").0, None);
    assert_eq!(parse("batch: {enabled: false}").0, None);
    let (batch, _) = parse("{sizer: bytes, queue_size: 1000000, batch: {min_size: 5}}");
    assert_eq!(batch.unwrap().sizer, Sizer::Bytes);
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
