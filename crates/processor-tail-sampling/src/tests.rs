//! The processor in a world without other components.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{Error, Outcome, Payload, Processor};
use otelcore_testkit::{ProcessorTest, TestContext, parse_config, payload, processor};
use prost::Message;

use crate::TailSamplingFactory;

/// The processor, and how many payloads it has passed on.
struct Sampling {
    test: ProcessorTest<dyn Processor>,
    passed_on: u64,
}

impl std::ops::Deref for Sampling {
    type Target = ProcessorTest<dyn Processor>;

    fn deref(&self) -> &Self::Target {
        &self.test
    }
}

impl std::ops::DerefMut for Sampling {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.test
    }
}

fn start(yaml: &str) -> Sampling {
    let context = TestContext::new();
    let component = context.create(&TailSamplingFactory, "tail_sampling", yaml).unwrap();
    let mut test = ProcessorTest::new(processor(component));
    test.start().unwrap();
    Sampling { test, passed_on: 0 }
}

fn span(trace: u8, name: &str) -> Span {
    Span { trace_id: vec![trace; 16], span_id: vec![1; 8], name: name.to_owned(), ..Span::default() }
}

fn failed(trace: u8, name: &str) -> Span {
    Span { status: Some(Status { code: 2, message: String::new() }), ..span(trace, name) }
}

fn traces(spans: Vec<Span>) -> Payload {
    let items = u32::try_from(spans.len()).unwrap();
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
    payload(Signal::Traces, Rope::new(body.into(), items))
}

/// The names of the spans that were passed on since the last call, sorted; their acks are delivered.
fn passed_on(test: &mut Sampling) -> Vec<String> {
    let mut names = Vec::new();
    for (payload, _) in test.take_passed_on() {
        let request = ExportTraceServiceRequest::decode(payload.body.to_bytes()).unwrap();
        let spans: Vec<_> = request
            .resource_spans
            .into_iter()
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans)
            .collect();
        assert_eq!(spans.len(), payload.items() as usize);
        names.extend(spans.into_iter().map(|span| span.name));
        let number = test.passed_on;
        test.passed_on += 1;
        test.settle(number, Outcome::Delivered);
    }
    names.sort();
    names
}

const ERRORS: &str =
    "policies: [{name: errors, type: status_code, status_code: {status_codes: [ERROR]}}]\ndecision_wait: 3s\n";

#[test]
fn trace_is_decided_after_the_wait_and_as_a_whole() {
    let mut test = start(ERRORS);
    test.process(traces(vec![span(1, "a"), span(2, "x")]));
    test.process(traces(vec![failed(1, "b"), span(2, "y")]));
    assert!(matches!(test.take_outcomes()[..], [(0, Outcome::Delivered), (1, Outcome::Delivered)]));
    test.run_for(Duration::from_millis(2900));
    assert_eq!((passed_on(&mut test), test.processor.held_items()), (vec![], 4));
    test.run_for(Duration::from_millis(1200));
    assert_eq!(passed_on(&mut test), ["a", "b"]);
    assert_eq!(test.world.next_timer(), None, "nothing is due any more");
}

/// The outcomes so far, by the number of their payload.
fn outcomes(test: &mut Sampling) -> Vec<(u64, &'static str)> {
    let name = |outcome: &Outcome| match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Retry { .. } => "retry",
        Outcome::Permanent(_) => "permanent",
        Outcome::Lost(_) => "lost",
    };
    test.take_outcomes().iter().map(|(number, outcome)| (*number, name(outcome))).collect()
}

#[test]
fn sender_that_awaits_delivery_has_the_outcome_of_all_traces() {
    let mut test = start(&format!("{ERRORS}await_delivery: true\n"));
    // One trace that is not sampled, one that is and is in two payloads, and one that ends later.
    test.process(traces(vec![span(1, "x")]));
    test.process(traces(vec![failed(2, "a"), span(1, "y")]));
    test.run_for(Duration::from_secs(2));
    test.process(traces(vec![span(2, "b"), span(3, "z")]));
    assert_eq!(outcomes(&mut test), [], "nothing is decided");
    test.run_for(Duration::from_millis(2500));
    assert_eq!(outcomes(&mut test), [(0, "delivered")], "the second payload has a trace that is on its way");
    // A refusal for now is not passed on.
    test.take_passed_on();
    test.settle(0, Outcome::Retry { after: None, why: Error::new("full") });
    assert_eq!(outcomes(&mut test), []);
    test.run_for(Duration::from_millis(100));
    test.take_passed_on();
    test.settle(0, Outcome::Delivered);
    assert_eq!(outcomes(&mut test), [(1, "delivered")], "the third payload has a trace that is not decided");
    test.run_for(Duration::from_secs(3));
    assert_eq!(outcomes(&mut test), [(2, "delivered")]);
    // Late spans follow the decision.
    test.process(traces(vec![span(1, "late")]));
    test.process(traces(vec![span(2, "late"), span(1, "late")]));
    test.run();
    assert_eq!(outcomes(&mut test), [(3, "delivered")]);
    test.take_passed_on();
    test.settle(1, Outcome::permanent("no"));
    assert_eq!(outcomes(&mut test), [(4, "permanent")]);
    assert_eq!(test.processor.held_items(), 0);
}

#[test]
fn traces_that_are_dropped_at_a_shutdown_are_not_acknowledged_to_a_sender_that_awaits_delivery() {
    for (option, expected) in [("", "delivered"), ("drop_pending_traces_on_shutdown: true\n", "lost")] {
        let mut test = start(&format!("{ERRORS}await_delivery: true\n{option}"));
        test.process(traces(vec![span(1, "x")]));
        assert_eq!(outcomes(&mut test), []);
        test.call(|it, cx, downstream| it.drain(cx, downstream));
        assert_eq!(outcomes(&mut test), [(0, expected)], "{option}");
    }
}

#[test]
fn late_spans_follow_the_decision() {
    for (cache, _) in [("", 0), ("decision_cache: {sampled_cache_size: 10, non_sampled_cache_size: 10}\n", 1)] {
        let mut test = start(&format!("{ERRORS}{cache}"));
        test.process(traces(vec![failed(1, "a"), span(2, "x")]));
        test.run_for(Duration::from_secs(5));
        assert_eq!(passed_on(&mut test), ["a"]);
        test.process(traces(vec![span(1, "late"), span(2, "y"), span(3, "new")]));
        test.run();
        assert_eq!(passed_on(&mut test), ["late"], "{cache}");
        assert_eq!(test.processor.held_items(), 1);
    }
}

#[test]
fn root_span_makes_the_decision_earlier() {
    let mut test = start(&format!("{ERRORS}decision_wait_after_root_received: 1s\n").replace("3s", "30s"));
    let child = Span { parent_span_id: vec![9; 8], ..failed(1, "child") };
    let orphan = Span { parent_span_id: vec![9; 8], ..failed(2, "orphan") };
    test.process(traces(vec![child, orphan]));
    test.process(traces(vec![span(1, "root")]));
    test.run_for(Duration::from_secs(4));
    assert_eq!(passed_on(&mut test), ["child", "root"]);
    test.run_for(Duration::from_secs(40));
    assert_eq!(passed_on(&mut test), ["orphan"]);
}

#[test]
fn oldest_traces_are_decided_early_at_the_bounds() {
    for bound in ["num_traces: 3\n", "max_bytes: 150\n"] {
        let mut test = start(&format!("{ERRORS}{bound}").replace("3s", "1h"));
        for trace in 1..=9 {
            test.process(traces(vec![failed(trace, &format!("trace-{trace}"))]));
            test.run();
        }
        let early = passed_on(&mut test);
        assert!((5..9).contains(&early.len()), "{bound}: {early:?}");
        assert_eq!(early.first().map(String::as_str), Some("trace-1"));
        assert_eq!(test.processor.held_items(), 9 - early.len() as u64, "{bound}");
    }
}

#[test]
fn payload_with_a_new_trace_is_refused_at_the_bound_with_block_on_overflow() {
    let mut test = start(&format!("{ERRORS}num_traces: 1\nblock_on_overflow: true\n"));
    test.process(traces(vec![failed(1, "a")]));
    test.process(traces(vec![failed(2, "b")]));
    let outcomes = test.take_outcomes();
    assert!(matches!(outcomes[..], [(0, Outcome::Delivered), (1, Outcome::Retry { .. })]), "{outcomes:?}");
    test.run_for(Duration::from_secs(5));
    assert_eq!(passed_on(&mut test), ["a"]);
    test.process(traces(vec![failed(2, "b")]));
    assert!(matches!(test.take_outcomes()[..], [(2, Outcome::Delivered)]));
}

#[test]
fn trace_that_is_too_large_is_dropped_before_its_decision() {
    let mut test = start(&format!("{ERRORS}maximum_trace_size_bytes: 100\n"));
    test.process(traces(vec![failed(1, &"n".repeat(200)), failed(2, "small")]));
    test.run_for(Duration::from_secs(5));
    assert_eq!(passed_on(&mut test), ["small"]);
}

#[test]
fn resource_that_each_trace_repeats_is_bounded() {
    let repeating = |count: u32, len: usize| {
        let spans = (0..count).map(|n| Span { trace_id: n.to_be_bytes().repeat(4), ..Span::default() }).collect();
        let value = Some(AnyValue { value: Some(Value::StringValue("x".repeat(len))) });
        let attributes = vec![KeyValue { key: "long".to_owned(), value, ..KeyValue::default() }];
        let resource = Some(Resource { attributes, ..Resource::default() });
        let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }];
        let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        payload(Signal::Traces, Rope::new(body.into(), count))
    };
    // In a turn, and on a helper thread.
    for len in [100_000, 500_000] {
        let mut test = start(ERRORS);
        test.process(repeating(10, len));
        test.process(repeating(1000, len));
        test.run();
        let outcomes = test.take_outcomes();
        assert!(matches!(outcomes[..], [(0, Outcome::Delivered), (1, Outcome::Permanent(_))]), "{outcomes:?}");
        assert!(format!("{outcomes:?}").contains("the changed telemetry is larger than"), "{outcomes:?}");
        assert_eq!(test.processor.held_items(), 10);
    }
}

#[test]
fn shutdown_decides_all_traces_or_drops_them() {
    for (key, expected) in [("", vec!["a"]), ("drop_pending_traces_on_shutdown: true\n", vec![])] {
        let mut test = start(&format!("{ERRORS}{key}").replace("3s", "1h"));
        test.process(traces(vec![failed(1, "a"), span(2, "b")]));
        test.call(|processor, cx, downstream| processor.drain(cx, downstream));
        test.run();
        assert_eq!(passed_on(&mut test), expected);
    }
}

#[test]
fn refused_traces_are_passed_on_again_and_decisions_wait_meanwhile() {
    let mut test = start(ERRORS);
    test.process(traces(vec![failed(1, "a")]));
    test.run_for(Duration::from_secs(5));
    assert_eq!(test.take_passed_on().len(), 1);
    test.settle(0, Outcome::Retry { after: None, why: Error::new("full") });
    test.run_for(Duration::from_secs(1));
    assert_eq!((test.take_passed_on().len(), test.processor.held_items()), (1, 1));
    test.settle(0, Outcome::Delivered);
    assert_eq!(test.processor.held_items(), 0);
}

#[test]
fn large_payload_and_large_trace_are_handled_on_helper_threads_in_order() {
    let mut test = start(ERRORS);
    let large: Vec<_> = (0..20_000).map(|n| failed(1, &format!("span-{n:020}"))).collect();
    test.process(traces(large));
    test.process(traces(vec![span(1, "after"), failed(2, "other")]));
    assert!(test.world.job_count() > 0, "the payload is taken apart by a job");
    test.run_for(Duration::from_secs(6));
    let names = passed_on(&mut test);
    assert_eq!((names.len(), names.first().map(String::as_str)), (20_002, Some("after")));
    assert!(test.take_outcomes().iter().all(|(_, outcome)| matches!(outcome, Outcome::Delivered)));
}

#[test]
fn span_ingest_samples_at_once_and_drops_what_is_undecided_at_the_end() {
    let mut test = start(&format!("{ERRORS}sampling_strategy: span-ingest\n"));
    test.process(traces(vec![span(1, "a"), span(2, "x")]));
    assert_eq!(passed_on(&mut test), Vec::<String>::new());
    test.process(traces(vec![failed(1, "b")]));
    assert_eq!(passed_on(&mut test), ["a", "b"]);
    test.run_for(Duration::from_secs(5));
    assert_eq!((passed_on(&mut test), test.processor.held_items()), (vec![], 0));
}

#[test]
fn composite_samples_within_the_shares_of_a_second() {
    let mut test = start(
        "policies:
  - name: all
    type: composite
    composite:
      max_total_spans_per_second: 10
      composite_sub_policy:
        - {name: first, type: string_attribute, string_attribute: {key: k, values: [v]}}
        - {name: rest, type: always_sample}
      rate_allocation: [{policy: first, percent: 50}, {policy: rest, percent: 20}]
decision_wait: 1s
",
    );
    let with_attribute = |trace, name: &str| Span {
        attributes: vec![KeyValue {
            key: "k".to_owned(),
            value: Some(AnyValue { value: Some(Value::StringValue("v".to_owned())) }),
            key_strindex: 0,
        }],
        ..span(trace, name)
    };
    for trace in 1..=8 {
        test.process(traces(vec![with_attribute(trace, "k"), span(trace + 100, "rest")]));
    }
    test.run_for(Duration::from_secs(3));
    let names = passed_on(&mut test);
    let count = |name: &str| names.iter().filter(|other| *other == name).count();
    assert_eq!((count("k"), count("rest")), (5, 2));
}

#[test]
fn config_with_errors_is_reported_with_what_to_write() {
    for (policy, message) in [
        ("{type: always_sample}", "policy name cannot be empty"),
        ("{name: a, type: magic}", "unknown sampling policy type magic"),
        ("{name: a, type: status_code}", "expected at least one status code to filter on"),
        ("{name: a, type: status_code, status_code: {status_codes: [BAD]}}", "unknown status code \"BAD\""),
        ("{name: a, type: numeric_attribute}", "At least one of minValue or maxValue must be set"),
        (
            "{name: a, type: string_attribute, string_attribute: {key: k, values: ['('], enabled_regex_matching: true}}",
            "invalid regex `(`",
        ),
        ("{name: a, type: ottl_condition, ottl_condition: {span: ['x ==']}}", "unable to parse OTTL condition"),
        ("{name: a, type: and, and: {and_sub_policy: [{name: b, type: and}]}}", "unknown sampling policy type and"),
    ] {
        let messages = parse_config(&TailSamplingFactory, "tail_sampling", &format!("policies: [{policy}]")).messages;
        assert!(messages.len() == 1 && messages[0].contains(message), "{policy}: {messages:?}");
    }
    for (yaml, message) in [
        ("policies: [{name: a, type: always_sample}, {name: a, type: always_sample}]", "duplicate policy name \"a\""),
        ("sampling_strategy: later", "invalid sampling_strategy \"later\""),
        (
            "{sampling_strategy: span-ingest, policies: [{name: a, type: rate_limiting}]}",
            "requires all policies to be stateless",
        ),
        ("{}", "without policies every trace is dropped"),
    ] {
        let messages = parse_config(&TailSamplingFactory, "tail_sampling", yaml).messages;
        assert!(messages.iter().any(|text| text.contains(message)), "{yaml}: {messages:?}");
    }
}
