//! Tests that send payloads through an exporter.

use std::io::ErrorKind;
use std::time::Duration;

use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{AttemptId, Exporter, LogScope, Outcome, StartError};
use otelcore_testkit::{ExporterTest, RecordedEntry, TestContext, TestLog, exporter, payload};

use super::telemetry;
use crate::DebugFactory;

struct Fixture {
    test: ExporterTest<dyn Exporter>,
    context: TestContext,
}

impl Fixture {
    fn new(yaml: &str, is_log_disabled: bool) -> Self {
        let mut context = TestContext::new();
        if is_log_disabled {
            context.log = TestLog::new(None);
        }
        let component = context.create(&DebugFactory, "debug/a", yaml);
        let mut test = ExporterTest::new(exporter(component.unwrap_or_else(|e| panic!("{e}"))));
        test.world.advance(Duration::from_nanos(1));
        Self { test, context }
    }

    fn new_started(yaml: &str) -> Self {
        let mut fixture = Self::new(yaml, false);
        fixture.start().unwrap();
        fixture
    }

    fn start(&mut self) -> Result<(), StartError> {
        self.test.start()
    }

    fn send_and_assert_delivered(&mut self, signal: Signal, body: Rope) {
        let mut outcomes = self.start_attempt(signal, body);
        outcomes.extend(self.run_until_idle());
        assert!(matches!(outcomes.as_slice(), [(_, Outcome::Delivered)]), "{outcomes:?}");
    }

    fn start_attempt(&mut self, signal: Signal, body: Rope) -> Vec<(AttemptId, Outcome)> {
        self.test.send(&payload(signal, body))
    }

    /// Handles events until no helper job is left.
    fn run_until_idle(&mut self) -> Vec<(AttemptId, Outcome)> {
        self.test.run()
    }

    /// What has been logged since the last call: `level kind/id/signal message {fields}`.
    fn take_logged(&self) -> Vec<String> {
        let line = |entry: RecordedEntry| {
            let LogScope { kind, id, signal, .. } = &entry.scope;
            let text = entry.to_string();
            let (level, rest) = text.split_once(": ").unwrap();
            format!("{level} {kind}/{id}/{signal} {rest}")
        };
        self.context.log.take_entries().into_iter().map(line).collect()
    }

    fn file(&self, path: &str) -> Vec<u8> {
        self.test.world.output(path)
    }
}

#[test]
fn summary_of_each_payload_is_logged_under_its_signal() {
    let mut fixture = Fixture::new_started("{}");
    let mut batch = telemetry::traces();
    batch.append(telemetry::traces());
    fixture.send_and_assert_delivered(Signal::Traces, batch);
    fixture.send_and_assert_delivered(Signal::Metrics, telemetry::metrics());
    fixture.send_and_assert_delivered(Signal::Logs, telemetry::logs());
    assert_eq!(
        fixture.take_logged(),
        [
            "info exporter/debug/a/traces Traces resource spans=4 spans=6",
            "info exporter/debug/a/metrics Metrics resource metrics=1 metrics=6 data points=7",
            "info exporter/debug/a/logs Logs resource logs=1 log records=2",
        ]
    );
}

#[test]
fn dump_is_logged_as_a_second_entry_without_fields() {
    let mut fixture = Fixture::new_started("verbosity: normal");
    fixture.send_and_assert_delivered(Signal::Logs, telemetry::log_with_body(b"four"));
    assert_eq!(
        fixture.take_logged(),
        [
            "info exporter/debug/a/logs Logs resource logs=1 log records=1",
            "info exporter/debug/a/logs ResourceLog #0\nScopeLog #0\nfour \n",
        ]
    );
    let mut fixture = Fixture::new_started("verbosity: detailed");
    fixture.send_and_assert_delivered(Signal::Logs, telemetry::log_with_body(b"four"));
    let logged = fixture.take_logged();
    assert_eq!(logged.len(), 2);
    assert!(logged[1].contains("\nBody: Str(four)\n") && logged[1].ends_with("Flags: 0\n"), "{logged:?}");
}

#[test]
fn output_to_files_has_no_time_or_level_and_keeps_the_bytes() {
    let mut fixture =
        Fixture::new_started("{verbosity: normal, use_internal_logger: false, output_paths: [stdout, stderr, stderr]}");
    fixture.send_and_assert_delivered(Signal::Logs, telemetry::log_with_body(b"\xffabc"));
    let once = b"Logs\t{\"resource logs\": 1, \"log records\": 1}\nResourceLog #0\nScopeLog #0\n\xffabc \n\n";
    assert_eq!(fixture.file("stdout"), once);
    let lines = |path: &str| fixture.file(path).iter().filter(|b| **b == b'\n').count();
    assert_eq!((lines("stdout"), lines("stderr")), (5, 10), "a path that is written twice is written to twice");
    assert_eq!(fixture.take_logged(), [""; 0]);
}

#[test]
fn output_that_cannot_be_opened_is_a_start_error() {
    let mut fixture = Fixture::new("{use_internal_logger: false, output_paths: [/root/x]}", false);
    fixture.test.world.deny_output("/root/x", "open /root/x: permission denied");
    let error = fixture.start().unwrap_err();
    assert_eq!(error.to_string(), "couldn't open sink \"/root/x\": open /root/x: permission denied");
}

#[test]
fn full_disk_is_logged_once_and_payloads_are_delivered() {
    let mut fixture = Fixture::new_started("use_internal_logger: false");
    fixture.test.world.set_output_error(Some((ErrorKind::StorageFull, "no space left on device")));
    fixture.send_and_assert_delivered(Signal::Logs, telemetry::logs());
    fixture.send_and_assert_delivered(Signal::Logs, telemetry::logs());
    let write_error = "error exporter/debug/a/ cannot write debug output path=stdout error=no space left on device";
    assert_eq!(fixture.take_logged(), [write_error]);
    fixture.test.world.set_output_error(None);
    fixture.send_and_assert_delivered(Signal::Logs, telemetry::logs());
    assert_eq!(fixture.file("stdout"), b"Logs\t{\"resource logs\": 1, \"log records\": 2}\n");
    fixture.test.world.set_output_error(Some((ErrorKind::StorageFull, "no space left on device")));
    fixture.send_and_assert_delivered(Signal::Logs, telemetry::logs());
    assert_eq!(fixture.take_logged(), [write_error], "it had worked again, so the next failure is news");
}

#[test]
fn equal_messages_are_sampled_each_second_and_for_each_signal() {
    let mut fixture = Fixture::new_started("{verbosity: normal, sampling_initial: 1, sampling_thereafter: 3}");
    for _ in 0..5 {
        fixture.send_and_assert_delivered(Signal::Logs, telemetry::log_with_body(b"same"));
    }
    // The first and the fourth, each with its dump.
    let summaries = |logged: &[String]| logged.iter().filter(|l| l.contains(" Logs ")).count();
    let logged = fixture.take_logged();
    assert_eq!((summaries(&logged), logged.len()), (2, 4));

    fixture.send_and_assert_delivered(Signal::Logs, telemetry::log_with_body(b"else"));
    let logged = fixture.take_logged();
    assert_eq!((summaries(&logged), logged.len()), (0, 1), "a new text is a new message, its summary is the sixth");
    fixture.send_and_assert_delivered(Signal::Traces, telemetry::traces());
    assert_eq!(fixture.take_logged().len(), 2, "another signal counts for itself");

    fixture.test.world.advance(Duration::from_secs(1));
    fixture.send_and_assert_delivered(Signal::Logs, telemetry::log_with_body(b"same"));
    assert_eq!(fixture.take_logged().len(), 2, "a new second");
}

#[test]
fn payload_with_a_disabled_log_is_delivered_without_output() {
    let mut fixture = Fixture::new("verbosity: detailed", true);
    fixture.start().unwrap();
    fixture.send_and_assert_delivered(Signal::Traces, telemetry::traces());
    assert_eq!(fixture.take_logged(), [""; 0]);
    let mut without_samples =
        Fixture::new_started("{verbosity: detailed, sampling_initial: 0, sampling_thereafter: 0}");
    without_samples.send_and_assert_delivered(Signal::Traces, telemetry::traces());
    assert_eq!(without_samples.take_logged(), [""; 0]);
}

#[test]
fn large_payload_is_rendered_on_a_helper_thread_and_written_in_order() {
    let mut fixture = Fixture::new_started("verbosity: detailed");
    let large = telemetry::many_spans(2000);
    let small = telemetry::many_spans(1);
    assert!(
        fixture.start_attempt(Signal::Traces, large).is_empty()
            && fixture.start_attempt(Signal::Traces, small.clone()).is_empty()
    );
    assert!(fixture.take_logged().is_empty(), "the small one waits for the large one");
    let attempts: Vec<u64> = fixture.run_until_idle().iter().map(|(job, _)| job.number).collect();
    assert_eq!(attempts, [0, 1]);
    let lines = fixture.take_logged();
    assert_eq!(lines.len(), 4);
    assert!(lines[0].contains("2000") && lines[1].contains("Span #1999") && lines[3].contains("Span #0"));
    assert_eq!(fixture.start_attempt(Signal::Traces, small).len(), 1, "at once when nothing is before it");
}
