use otelcore_pdata::Signal;
use otelcore_pdata::edit::{Keep, LogMut};
use otelcore_pdata::views::AnyValue;
use otelcore_pdata::wire_format::put_bytes_field;
use otelcore_pipeline::LossReason;
use otelcore_testkit::{ProcessorTest, TestContext};

use super::*;

/// Adds an attribute of some bytes to each record.
struct AddAttribute {
    bytes: usize,
    cost: u64,
}

impl PayloadEditor for AddAttribute {
    fn begin(&mut self, _: &Payload) {}

    fn output_limit(&self, _: &Payload) -> OutputLimit {
        OutputLimit { factor: 1000, extra: 0 }
    }

    fn cost_per_byte(&self) -> u64 {
        self.cost
    }
}

impl Editor for AddAttribute {
    fn log(&mut self, log: &mut LogMut<'_>) -> Keep {
        if self.bytes > 0 {
            log.attributes().insert(b"k", AnyValue::String(&vec![b'v'; self.bytes]));
        }
        Keep::Keep
    }
}

struct Fixture {
    test: ProcessorTest<EditProcessor<AddAttribute>>,
    context: TestContext,
}

const JOB_KEY: u64 = EditQueue::<AddAttribute>::JOB_KEY;

/// The cost at which every payload is edited on a helper thread.
const LONG: u64 = u64::MAX;

impl Fixture {
    fn new(bytes: usize, cost: u64) -> Self {
        let processor = EditProcessor::new(move |_, _| AddAttribute { bytes, cost });
        Self { test: ProcessorTest::new(Box::new(processor)), context: TestContext::new() }
    }

    /// Sends a body of short records.
    fn send(&mut self, records: u32) {
        let mut scope = Vec::new();
        (0..records).for_each(|_| put_bytes_field(&mut scope, 2, &[0x10, 1]));
        let mut entry = Vec::new();
        put_bytes_field(&mut entry, 2, &scope);
        let mut body = Vec::new();
        put_bytes_field(&mut body, 1, &entry);
        assert_eq!(otelcore_pdata::check(Signal::Logs, &body).unwrap().items, records);
        self.test.process(self.context.payload(Signal::Logs, Rope::new(body.into(), records)));
    }

    fn held(&self) -> u64 {
        self.context.budget.held()
    }

    /// Runs the first job and delivers its event; the numbers of records that were passed on since.
    fn end_job(&mut self) -> Vec<u32> {
        assert_eq!(self.test.world.run_job(), Some(JOB_KEY));
        assert_eq!(self.test.world.take_ready(), [JOB_KEY]);
        self.event(JOB_KEY)
    }

    fn event(&mut self, key: u64) -> Vec<u32> {
        self.test.call(|processor, cx, downstream| processor.handle_event(cx, key, Event::Ready, downstream));
        self.passed_on()
    }

    fn passed_on(&mut self) -> Vec<u32> {
        self.test.take_passed_on().into_iter().map(|(payload, _)| payload.items()).collect()
    }
}

#[test]
fn short_payload_is_passed_on_at_once_with_the_charge_of_its_new_bytes() {
    let mut fixture = Fixture::new(1000, 1);
    fixture.send(2);
    let (payload, _ack) = fixture.test.take_passed_on().pop().unwrap();
    assert!(payload.body.len() > 2000);
    assert_eq!(fixture.held(), payload.body.len() as u64, "the old bytes are released");
    assert_eq!(fixture.test.processor.held_items(), 0);
    drop(payload);
    assert_eq!(fixture.held(), 0);
}

#[test]
fn unchanged_payload_keeps_its_charge() {
    let mut fixture = Fixture::new(0, 1);
    fixture.send(2);
    let (payload, _ack) = fixture.test.take_passed_on().pop().unwrap();
    assert_eq!(fixture.held(), payload.body.len() as u64);
}

#[test]
fn payloads_behind_a_long_one_keep_their_order() {
    let mut fixture = Fixture::new(1, LONG);
    (1..=3).for_each(|records| fixture.send(records));
    assert_eq!((fixture.passed_on(), fixture.test.world.job_count()), (vec![], 1));
    assert_eq!(fixture.test.processor.held_items(), 6);
    assert_eq!(fixture.end_job(), [1]);
    assert_eq!(fixture.end_job(), [2]);
    fixture.send(4);
    assert_eq!(fixture.end_job(), [3]);
    assert_eq!(fixture.end_job(), [4]);
    assert_eq!((fixture.test.processor.held_items(), fixture.held()), (0, 0));
}

#[test]
fn edit_that_exceeds_its_step_continues_on_a_helper_thread() {
    let mut fixture = Fixture::new(1, 1);
    fixture.send(400_000);
    assert_eq!((fixture.passed_on(), fixture.test.world.job_count()), (vec![], 1));
    assert_eq!(fixture.end_job(), [400_000]);
}

#[test]
fn waiting_payloads_are_edited_within_the_work_of_a_turn() {
    let mut fixture = Fixture::new(1, 1);
    fixture.send(400_000);
    (0..100).for_each(|_| fixture.send(2000));
    let mut rounds = vec![fixture.end_job().len()];
    while let [key] = fixture.test.world.take_ready()[..] {
        rounds.push(fixture.event(key).len());
    }
    assert_eq!(rounds.iter().sum::<usize>(), 101);
    assert!(rounds.len() > 2 && rounds.iter().all(|round| (1..90).contains(round)), "{rounds:?}");
}

#[test]
fn output_above_its_limit_is_refused_and_its_charge_released() {
    let mut fixture = Fixture::new(1_000_000, 1);
    fixture.send(2);
    assert_eq!((fixture.passed_on(), fixture.held()), (vec![], 0));
    let refusal = Outcome::permanent("the changed telemetry is larger than 12000 bytes");
    assert_eq!(fixture.test.take_outcomes(), [(0, refusal)]);
}

#[test]
fn edit_above_the_memory_limit_is_refused_for_now() {
    let mut fixture = Fixture::new(1000, LONG);
    fixture.context.budget.set_hard_limit(30_000_000);
    fixture.send(100_000);
    assert_eq!((fixture.end_job(), fixture.held()), (vec![], 0));
    let refusal = Outcome::retry("data refused due to high memory usage");
    assert_eq!(fixture.test.take_outcomes(), [(0, refusal)]);
}

#[test]
fn panic_of_a_job_loses_its_payload_only() {
    let mut fixture = Fixture::new(1, LONG);
    fixture.send(1);
    fixture.send(2);
    assert_eq!(fixture.test.world.drop_job(), Some(JOB_KEY));
    assert_eq!(fixture.test.world.take_ready(), [JOB_KEY]);
    assert_eq!(fixture.event(JOB_KEY), [0; 0]);
    assert_eq!(fixture.test.take_outcomes(), [(0, Outcome::Lost(LossReason::Dropped))]);
    assert_eq!(fixture.end_job(), [2]);
    assert_eq!((fixture.test.processor.held_items(), fixture.held()), (0, 0));
}
