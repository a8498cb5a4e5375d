//! The queue with a simulated disk and a virtual clock.

mod random;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use otelcore_config::declare::Config;
use otelcore_config::{Diagnostics, Section, from_yaml};
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{
    AckRecorder, Budget, LogLevel, Metadata, MetricsLevel, Outcome, Payload, QueueConfig, SeriesValue, StorageLocation,
    StoredQueue, StoredQueueContext, StoredQueueStatus, Telemetry, UsedMetadata,
};
use otelcore_reactor::DiskFaults;
use otelcore_testkit::{TestLog, TestWorld};

use crate::DiskQueue;

const DIRECTORY: &str = "/data/exporter_otlp__traces.queue";

struct Fixture {
    world: TestWorld,
    queue: DiskQueue,
    yaml: String,
    recreate: bool,
    acks: AckRecorder,
    log: Arc<TestLog>,
    telemetry: Telemetry,
    budget: Arc<Budget>,
    /// The records that were given out, in order.
    given: Vec<(u64, Payload)>,
}

fn queue_config(yaml: &str) -> QueueConfig {
    let d = Diagnostics::new();
    let node = from_yaml(yaml, &d).unwrap();
    let config = QueueConfig::read_section(Section::new(Some(&node), "queue", &d), &QueueConfig::default());
    assert!(!d.has_errors(), "{}", d.render_to_string(false));
    config
}

fn new_queue(fixture: (&str, bool), log: &Arc<TestLog>, telemetry: &Telemetry, budget: &Arc<Budget>) -> DiskQueue {
    let (yaml, recreate) = fixture;
    let location = StorageLocation {
        directory: PathBuf::from(DIRECTORY),
        root_mode: None,
        fsync: true,
        min_free_bytes: 0,
        lock_timeout: Duration::from_secs(1),
        recreate,
    };
    let context = StoredQueueContext {
        exporter: &"otlp".parse().unwrap(),
        signal: Signal::Traces,
        config: &queue_config(yaml),
        used_metadata: UsedMetadata { headers: vec!["x-tenant".to_owned()], ..UsedMetadata::default() },
        telemetry,
        log: log.logger(),
        budget,
    };
    DiskQueue::new(location, context)
}

/// A body that says who it is.
fn body(id: u64, bytes: usize) -> Bytes {
    let mut body = id.to_le_bytes().to_vec();
    body.resize(bytes.max(8), b'x');
    body.into()
}

fn id_of(payload: &Payload) -> u64 {
    let bytes = &payload.body.parts()[0].bytes;
    u64::from_le_bytes(bytes[..8].try_into().unwrap())
}

impl Fixture {
    fn new(yaml: &str) -> Self {
        let mut fixture = Self::not_started(yaml);
        fixture.start();
        fixture
    }

    fn not_started(yaml: &str) -> Self {
        let (log, telemetry, budget) =
            (TestLog::new(Some(LogLevel::Info)), Telemetry::new(MetricsLevel::Normal), Arc::default());
        let queue = new_queue((yaml, false), &log, &telemetry, &budget);
        let (yaml, acks, given) = (yaml.to_owned(), AckRecorder::default(), Vec::new());
        Self { world: TestWorld::new(), queue, yaml, recreate: false, acks, log, telemetry, budget, given }
    }

    fn start(&mut self) {
        self.queue.start(&mut self.world.cx());
        self.run();
    }

    /// Ends the process and starts another one. What its jobs have not done is not done.
    fn restart(&mut self) {
        self.kill();
        self.start();
    }

    fn kill(&mut self) {
        self.queue.abort();
        while self.world.drop_job().is_some() {}
        self.given.clear();
        let _ = self.acks.take();
        let new = new_queue((&self.yaml, self.recreate), &self.log, &self.telemetry, &self.budget);
        drop(std::mem::replace(&mut self.queue, new));
    }

    /// The same with a loss of power.
    fn crash(&mut self) {
        self.kill();
        self.world.disk().crash();
        self.start();
    }

    fn offer_body(&mut self, id: u64, items: u32, body: Bytes, metadata: Option<Metadata>) {
        let held = self.budget.hold(body.len() as u64);
        let body = Rope::new(body, items);
        let payload = Payload { signal: Signal::Traces, body, metadata: metadata.map(Arc::new), held };
        self.queue.offer(&mut self.world.cx(), payload, self.acks.ack(id));
    }

    fn offer(&mut self, id: u64) {
        self.offer_body(id, 2, body(id, 100), None);
    }

    /// Runs jobs and events that are due, and takes what is given out.
    fn run(&mut self) {
        self.run_for(Duration::ZERO);
    }

    fn run_for(&mut self, time: Duration) {
        let (queue, given) = (&mut self.queue, &mut self.given);
        queue.flush(&mut self.world.cx());
        self.world.run_for(time, |cx, local, event| {
            queue.handle_event(cx, local, &event);
            while let Some(record) = queue.poll_payload(cx) {
                given.push(record);
            }
            queue.flush(cx);
        });
        while let Some(record) = self.queue.poll_payload(&mut self.world.cx()) {
            self.given.push(record);
        }
        self.queue.flush(&mut self.world.cx());
    }

    fn given_ids(&self) -> Vec<u64> {
        self.given.iter().map(|(_, payload)| id_of(payload)).collect()
    }

    fn settle_first(&mut self, outcome: Outcome) {
        let (record, payload) = self.given.remove(0);
        drop(payload);
        self.queue.handle_outcome(&mut self.world.cx(), record, outcome);
    }

    fn deliver_all(&mut self) -> Vec<u64> {
        let ids = self.given_ids();
        while !self.given.is_empty() {
            self.settle_first(Outcome::Delivered);
        }
        self.run();
        ids
    }

    fn set_faults(&mut self, faults: DiskFaults) {
        self.world.disk().set_faults(faults);
    }

    fn metric(&self, name: &str) -> f64 {
        let families = self.telemetry.collect();
        match families.iter().find(|family| family.name == name).unwrap().samples[0].value {
            SeriesValue::Number(value) => value,
            SeriesValue::Histogram { .. } => panic!("a histogram"),
        }
    }

    fn logged(&self, words: &str) -> usize {
        self.log.take_lines().iter().filter(|line| line.contains(words)).count()
    }

    fn close(&mut self) {
        self.queue.drain(&mut self.world.cx());
        self.run();
        self.queue.close(&mut self.world.cx());
        self.run();
        assert!(self.queue.is_closed());
    }
}

fn full() -> Outcome {
    Outcome::retry("sending queue is full")
}

#[test]
fn sender_has_its_answer_when_its_payload_is_durable_and_it_is_given_out_from_memory() {
    let mut fixture = Fixture::new("{}");
    fixture.offer(1);
    fixture.queue.flush(&mut fixture.world.cx());
    assert_eq!(fixture.acks.take(), []);
    assert_eq!((fixture.queue.waiting_items(), fixture.queue.stored_items()), (2, 0));
    fixture.set_faults(DiskFaults { read_errors: 1000, ..DiskFaults::default() });
    fixture.run();
    assert_eq!(fixture.acks.take(), [(1, Outcome::Delivered)]);
    assert_eq!(fixture.given_ids(), [1]);
    assert_eq!((fixture.queue.waiting_items(), fixture.queue.stored_items()), (0, 2));
    fixture.deliver_all();
    assert_eq!((fixture.queue.stored_items(), fixture.budget.held()), (0, 0));
}

#[test]
fn payloads_that_are_not_delivered_are_given_out_again_after_a_crash_in_their_order() {
    let mut fixture = Fixture::new("{}");
    let mut metadata = Metadata::default();
    metadata.add("X-Tenant", "a");
    metadata.add("authorization", "secret");
    fixture.offer_body(0, 7, body(0, 5000), Some(metadata.clone()));
    (1..20).for_each(|id| fixture.offer(id));
    fixture.run();
    assert_eq!(fixture.acks.take().len(), 20);
    fixture.crash();
    assert_eq!(fixture.given_ids(), (0..20).collect::<Vec<_>>());
    let (_, first) = &fixture.given[0];
    assert_eq!((first.items(), &first.body.parts()[0].bytes), (7, &body(0, 5000)));
    let kept = first.metadata.as_ref().unwrap();
    assert_eq!((kept.get("x-tenant"), kept.get("authorization").len()), (&["a".to_owned()][..], 0));
    assert_eq!(fixture.queue.stored_items(), 7 + 19 * 2);
    assert_eq!(fixture.logged("The queue on disk is open."), 2);
}

#[test]
fn delivered_payloads_are_not_given_out_after_a_shutdown() {
    let mut fixture = Fixture::new("{}");
    (0..10).for_each(|id| fixture.offer(id));
    fixture.run();
    for _ in 0..4 {
        fixture.settle_first(Outcome::Delivered);
    }
    fixture.settle_first(Outcome::Lost(otelcore_pipeline::LossReason::Shutdown));
    fixture.close();
    fixture.crash();
    assert_eq!(fixture.given_ids(), [4, 5, 6, 7, 8, 9]);
}

#[test]
fn capacity_in_each_unit_bounds_what_is_not_delivered() {
    for (yaml, accepted) in
        [("{queue_size: 3}", 3), ("{queue_size: 7, sizer: items}", 3), ("{queue_size: 450, sizer: bytes}", 4)]
    {
        let mut fixture = Fixture::new(yaml);
        (0..6).for_each(|id| fixture.offer(id));
        fixture.run();
        let refused = fixture.acks.take().into_iter().filter(|(_, outcome)| *outcome == full()).count();
        assert_eq!(refused, 6 - accepted, "{yaml}");
        assert_eq!(fixture.metric("otelcol_exporter_enqueue_failed_spans"), 2.0 * (6 - accepted) as f64);
        fixture.settle_first(Outcome::Delivered);
        fixture.offer(10);
        fixture.run();
        assert_eq!(fixture.acks.take(), [(10, Outcome::Delivered)], "{yaml}");
        fixture.restart();
        fixture.offer(11);
        fixture.run();
        assert_eq!(fixture.acks.take(), [(11, full())], "what is on disk counts after a start: {yaml}");
    }
}

#[test]
fn payload_above_the_capacity_is_refused_for_good() {
    let mut fixture = Fixture::new("{queue_size: 50, sizer: bytes}");
    fixture.offer(1);
    assert_eq!(fixture.acks.take(), [(1, Outcome::permanent("element size too large"))]);
}

#[test]
fn sender_waits_for_room_with_block_on_overflow() {
    let mut fixture = Fixture::new("{queue_size: 2, block_on_overflow: true}");
    (0..4).for_each(|id| fixture.offer(id));
    fixture.run();
    assert_eq!(fixture.acks.take().len(), 2);
    assert_eq!(fixture.queue.waiting_items(), 4);
    fixture.settle_first(Outcome::Delivered);
    fixture.run();
    assert_eq!(fixture.acks.take(), [(2, Outcome::Delivered)]);
    fixture.queue.drain(&mut fixture.world.cx());
    assert_eq!(fixture.acks.take(), [(3, full())], "a shutdown ends the wait");
}

#[test]
fn memory_is_bounded_with_a_backlog_and_order_is_kept() {
    let mut fixture = Fixture::new("{}");
    fixture.budget.set_limit(1 << 20);
    for id in 0..300 {
        fixture.offer_body(id, 1, body(id, 10_000), None);
        fixture.run();
        assert_eq!(fixture.acks.take(), [(id, Outcome::Delivered)]);
        assert!(fixture.budget.held() <= 160 << 10, "{}", fixture.budget.held());
    }
    let mut delivered = Vec::new();
    for id in 300..400 {
        delivered.extend(fixture.deliver_all());
        fixture.offer_body(id, 1, body(id, 10_000), None);
        fixture.run();
        assert!(fixture.budget.held() <= 160 << 10, "{}", fixture.budget.held());
    }
    loop {
        let more = fixture.deliver_all();
        if more.is_empty() {
            break;
        }
        delivered.extend(more);
    }
    assert_eq!(delivered, (0..400).collect::<Vec<_>>());
    assert_eq!((fixture.queue.stored_items(), fixture.budget.held()), (0, 0));
}

#[test]
fn payload_that_is_refused_for_good_is_kept_in_dead_with_the_reason() {
    let mut fixture = Fixture::new("{}");
    (0..3).for_each(|id| fixture.offer(id));
    fixture.run();
    fixture.settle_first(Outcome::Delivered);
    fixture.settle_first(Outcome::permanent("Permanent error: no such tenant"));
    fixture.run();
    assert_eq!(fixture.metric("otelcore_exporter_queue_dead_items"), 2.0);
    assert_eq!(fixture.queue.stored_items(), 2);
    let dead: Vec<PathBuf> =
        fixture.world.disk().paths().into_iter().filter(|path| path.starts_with(format!("{DIRECTORY}/dead"))).collect();
    let content: Vec<u8> = dead.iter().flat_map(|path| fixture.world.disk().content(path).unwrap()).collect();
    let has = |text: &[u8]| content.windows(text.len()).any(|part| part == text);
    assert!(has(b"no such tenant") && has(&body(1, 100)), "{dead:?}");
    fixture.close();
    fixture.crash();
    assert_eq!(fixture.given_ids(), [2]);
}

#[test]
fn payloads_are_refused_while_the_disk_fails_and_accepted_afterwards() {
    for (faults, text) in [
        (DiskFaults { sync_errors: 1000, ..DiskFaults::default() }, "the disk has failed"),
        (DiskFaults { is_read_only: true, ..DiskFaults::default() }, "the file system is read-only"),
        (DiskFaults { capacity: Some(0), ..DiskFaults::default() }, "no space is left on the disk"),
    ] {
        let mut fixture = Fixture::new("{}");
        fixture.offer(1);
        fixture.run();
        assert_eq!(fixture.queue.poll_status(), Some(StoredQueueStatus::Ok));
        let _ = fixture.acks.take();
        fixture.set_faults(faults);
        for id in 10..2000 {
            fixture.offer_body(id, 2, body(id, 5000), None);
            fixture.run();
        }
        let outcomes = fixture.acks.take();
        let refused = outcomes
            .iter()
            .filter(|(_, outcome)| matches!(outcome, Outcome::Retry { why, .. } if why.message.contains(text)));
        assert!(refused.count() > 1500, "{text}: {:?}", outcomes.last());
        assert_eq!(fixture.queue.waiting_items(), 0);
        let status = fixture.queue.poll_status();
        assert!(matches!(&status, Some(StoredQueueStatus::RecoverableError(why)) if why.contains(text)), "{status:?}");
        assert_eq!(fixture.logged("takes no data now"), 1, "{text}");
        fixture.set_faults(DiskFaults::default());
        fixture.run_for(Duration::from_secs(5));
        fixture.offer(3);
        fixture.run();
        assert_eq!(fixture.acks.take(), [(3, Outcome::Delivered)], "{text}");
        assert_eq!(fixture.queue.poll_status(), Some(StoredQueueStatus::Ok));
        assert_eq!(fixture.logged("takes data again"), 1);
        let acknowledged: Vec<u64> =
            outcomes.iter().filter(|(_, outcome)| *outcome == Outcome::Delivered).map(|(id, _)| *id).collect();
        fixture.crash();
        let given = fixture.given_ids();
        assert!(acknowledged.iter().chain(&[1, 3]).all(|id| given.contains(id)), "{text}: {given:?}");
    }
}

#[test]
fn second_user_of_the_directory_is_refused_by_name_until_the_first_ends() {
    let mut fixture = Fixture::new("{}");
    fixture.offer(1);
    fixture.run();
    let first = std::mem::replace(
        &mut fixture.queue,
        new_queue(("{}", false), &fixture.log, &fixture.telemetry, &fixture.budget),
    );
    fixture.given.clear();
    let _ = fixture.acks.take();
    fixture.start();
    fixture.offer(2);
    assert_eq!(fixture.acks.take(), [], "the first may be about to end");
    fixture.run_for(Duration::from_secs(10));
    let refused = fixture.acks.take();
    let Some((2, Outcome::Retry { why, .. })) = refused.first() else { panic!("{refused:?}") };
    assert!(why.message.contains(DIRECTORY) && why.message.contains("another collector"), "{why}");
    assert_eq!(fixture.logged("The queue on disk can't be opened"), 1);
    drop(first);
    fixture.run_for(Duration::from_secs(2));
    assert_eq!(fixture.given_ids(), [1]);
    fixture.offer(3);
    fixture.run();
    assert_eq!(fixture.acks.take(), [(3, Outcome::Delivered)]);
}

#[test]
fn shutdown_gives_out_what_is_in_memory_and_leaves_what_is_on_disk_only() {
    let mut fixture = Fixture::new("{}");
    fixture.budget.set_limit(1 << 20);
    for id in 0..100 {
        fixture.offer_body(id, 1, body(id, 10_000), None);
        fixture.run();
    }
    let in_memory = fixture.given.len() as u64;
    assert!((5..50).contains(&in_memory));
    fixture.queue.drain(&mut fixture.world.cx());
    assert_eq!(fixture.deliver_all().len() as u64, in_memory);
    assert!(fixture.given.is_empty());
    fixture.offer(1000);
    fixture.run();
    assert_eq!(fixture.acks.take().last(), Some(&(1000, Outcome::Delivered)));
    fixture.close();
    assert_eq!(fixture.queue.stored_items(), 100 - in_memory + 2);
    fixture.crash();
    assert_eq!(fixture.given_ids().first(), Some(&in_memory));
}

#[test]
fn payloads_wait_while_the_files_are_opened() {
    let mut fixture = Fixture::not_started("{}");
    fixture.queue.start(&mut fixture.world.cx());
    assert_eq!(fixture.queue.poll_status(), Some(StoredQueueStatus::Starting));
    fixture.offer(1);
    assert_eq!((fixture.acks.take(), fixture.queue.waiting_items()), (Vec::new(), 2));
    fixture.run();
    assert_eq!(fixture.acks.take(), [(1, Outcome::Delivered)]);
    assert_eq!(fixture.queue.poll_status(), Some(StoredQueueStatus::Ok));
}

#[test]
fn directory_that_can_not_be_read_is_renamed_only_with_recreate() {
    for recreate in [false, true] {
        let mut fixture = Fixture::not_started("{}");
        fixture.recreate = recreate;
        for name in ["log", "0000000000000001.seg"] {
            fixture.world.disk().write(format!("{DIRECTORY}/{name}"), b"something else".repeat(100));
        }
        fixture.restart();
        fixture.run_for(Duration::from_secs(3));
        fixture.offer(1);
        fixture.run();
        let outcomes = fixture.acks.take();
        let paths = fixture.world.disk().paths();
        let renamed = paths.iter().any(|path| path.to_string_lossy().contains(".backup/log"));
        assert_eq!((outcomes == [(1, Outcome::Delivered)], renamed), (recreate, recreate), "{outcomes:?} {paths:?}");
    }
}

#[test]
fn age_of_the_oldest_payload_is_measured_while_it_is_not_delivered() {
    let mut fixture = Fixture::new("{}");
    fixture.offer(1);
    fixture.run();
    fixture.run_for(Duration::from_secs(90));
    assert_eq!(fixture.metric("otelcore_exporter_queue_oldest_age_seconds"), 90.0);
    assert_eq!(fixture.metric("otelcol_exporter_queue_size"), 1.0);
    assert!(fixture.metric("otelcore_exporter_queue_disk_bytes") > 0.0);
    fixture.deliver_all();
    fixture.run_for(Duration::from_secs(5));
    assert_eq!(fixture.metric("otelcore_exporter_queue_oldest_age_seconds"), 0.0);
    assert_eq!(fixture.world.next_timer(), None, "an idle queue does nothing");
}

#[test]
fn payload_of_several_parts_is_stored_as_one_body() {
    let mut fixture = Fixture::new("{}");
    let mut rope = Rope::new(body(1, 50), 1);
    rope.append(Rope::new(Bytes::from_static(b"second"), 2));
    let held = fixture.budget.hold(56);
    let payload = Payload { signal: Signal::Traces, body: rope, metadata: None, held };
    fixture.queue.offer(&mut fixture.world.cx(), payload, fixture.acks.ack(1));
    fixture.crash();
    assert!(fixture.given.is_empty(), "it was not durable");
    let mut rope = Rope::new(body(1, 50), 1);
    rope.append(Rope::new(Bytes::from_static(b"second"), 2));
    let payload = Payload { signal: Signal::Traces, body: rope, metadata: None, held: fixture.budget.hold(56) };
    fixture.queue.offer(&mut fixture.world.cx(), payload, fixture.acks.ack(1));
    fixture.run();
    for _ in 0..2 {
        let (_, payload) = &fixture.given[0];
        assert_eq!((payload.items(), payload.body.parts().len()), (3, 1));
        assert!(payload.body.parts()[0].bytes.ends_with(b"xsecond"));
        fixture.crash();
    }
}
