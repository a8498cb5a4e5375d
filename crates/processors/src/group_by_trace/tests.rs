use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use otelcore_pdata::Signal;
use otelcore_pipeline::{Error, Outcome};
use prost::Message;

use super::GroupByTraceFactory;
use crate::testing::{Started, messages, request, string};

fn span(trace: u8, name: &str) -> Span {
    Span { trace_id: vec![trace; 16], name: name.to_owned(), ..Span::default() }
}

fn body(service: &str, spans: &[(u8, &str)]) -> Vec<u8> {
    let spans = spans.iter().map(|(trace, name)| span(*trace, name)).collect();
    request(&[("service.name", string(service))], spans).encode_to_vec()
}

/// The names of the spans of each payload.
fn names(passed_on: &[bytes::Bytes]) -> Vec<Vec<String>> {
    let of = |body: &bytes::Bytes| {
        let request = ExportTraceServiceRequest::decode(&**body).unwrap();
        let scopes = request.resource_spans.into_iter().flat_map(|entry| entry.scope_spans);
        scopes.flat_map(|scope| scope.spans).map(|span| span.name).collect()
    };
    passed_on.iter().map(of).collect()
}

#[test]
fn spans_of_a_trace_are_passed_on_together_when_its_time_is_over() {
    let mut it = Started::new(&GroupByTraceFactory, "wait_duration: 10s", Signal::Traces);
    assert!(it.process(body("a", &[(1, "1a"), (2, "2a"), (1, "1b")])).is_empty());
    assert!(format!("{:?}", it.test.take_outcomes()).contains("Delivered"), "it is stored");
    assert_eq!(it.test.processor.held_items(), 3);
    it.test.run_for(Duration::from_secs(5));
    assert!(it.process(body("b", &[(1, "1c")])).is_empty());
    it.test.run_for(Duration::from_secs(6));
    assert_eq!(names(&it.take()), [vec!["1a", "1b", "1c"], vec!["2a"]]);
    assert_eq!(it.metric("otelcol_processor_groupbytrace_traces_released", &[]), 2.0);
    assert_eq!(it.metric("otelcol_processor_groupbytrace_spans_released", &[]), 4.0);
    assert_eq!(it.context.budget.kept(), 0);
}

#[test]
fn oldest_trace_is_passed_on_early_where_there_are_too_many() {
    let mut it = Started::new(&GroupByTraceFactory, "num_traces: 2", Signal::Traces);
    assert_eq!(names(&it.process(body("a", &[(1, "1"), (2, "2"), (3, "3")]))), [["1"]]);
    it.test.run_for(Duration::from_secs(2));
    assert_eq!(names(&it.take()), [["2"], ["3"]]);
    assert_eq!(it.metric("otelcol_processor_groupbytrace_traces_evicted", &[]), 1.0);
    assert_eq!(it.context.log.take_lines().len(), 1);
}

#[test]
fn everything_is_passed_on_at_the_shutdown() {
    let mut it = Started::new(&GroupByTraceFactory, "wait_duration: 1h", Signal::Traces);
    let spans: Vec<(u8, &str)> = (0..200).map(|n| (n, "x")).collect();
    it.process(body("a", &spans));
    it.test.call(|processor, cx, downstream| processor.drain(cx, downstream));
    it.test.run();
    assert_eq!(it.take().len(), 200);
}

#[test]
fn refused_trace_is_tried_again() {
    let mut it = Started::new(&GroupByTraceFactory, "wait_duration: 0s", Signal::Traces);
    let items = 1;
    let payload = otelcore_pdata::Rope::new(body("a", &[(1, "1")]).into(), items);
    it.test.process(it.context.payload(Signal::Traces, payload));
    it.test.run_for(Duration::from_millis(1));
    let passed_on = it.test.take_passed_on();
    assert_eq!(passed_on.len(), 1);
    drop(passed_on);
    it.test.settle(0, Outcome::retry("full"));
    assert_eq!(it.test.processor.held_items(), 1);
    it.test.run_for(Duration::from_millis(60));
    assert_eq!(names(&it.take()), [["1"]]);
}

#[test]
fn mistakes_have_the_path_of_their_key() {
    for (yaml, expected) in [
        ("store_on_disk: true", "store_on_disk: option 'disk storage' not supported in this release"),
        ("discard_orphans: true", "discard_orphans: option 'discard orphans' not supported in this release"),
        ("num_traces: 0", "num_traces: 'num_traces' must be positive"),
    ] {
        let found = messages(&GroupByTraceFactory, yaml);
        assert!(found.iter().any(|message| message.ends_with(expected)), "{found:?}");
    }
}

/// A processor with these traces in it, of which nothing is accepted until it is settled.
fn with_traces(yaml: &str, traces: u32) -> Started {
    let mut it = Started::new(&GroupByTraceFactory, yaml, Signal::Traces);
    let spans = (0..traces).map(|trace| Span { trace_id: trace.to_be_bytes().repeat(4), ..Span::default() });
    let body = request(&[], spans.collect()).encode_to_vec();
    it.test.process(it.context.payload(Signal::Traces, otelcore_pdata::Rope::new(body.into(), traces)));
    it
}

#[test]
fn payloads_whose_outcome_is_not_known_are_bounded() {
    let mut it = with_traces("wait_duration: 1s", 200);
    it.test.run_for(Duration::from_secs(2));
    let in_flight = it.test.take_passed_on().len();
    assert_eq!(in_flight, 64);
    assert_eq!(it.test.processor.held_items(), 200, "the others stay stored");
    for ack in 0..64 {
        it.test.settle(ack, Outcome::Delivered);
    }
    it.test.run_for(Duration::from_secs(1));
    assert_eq!(it.test.take_passed_on().len(), 64);
    assert_eq!(it.test.processor.held_items(), 136);
}

#[test]
fn pause_before_the_next_attempt_is_that_of_the_refusal() {
    let mut it = with_traces("wait_duration: 1s", 100);
    it.test.run_for(Duration::from_secs(2));
    assert_eq!(it.test.take_passed_on().len(), 64);
    for ack in 0..64 {
        let after = Some(Duration::from_secs(30));
        it.test.settle(ack, Outcome::Retry { after, why: Error::new("full") });
    }
    it.test.run_for(Duration::from_secs(29));
    assert!(it.test.take_passed_on().is_empty(), "nothing else is passed on");
    it.test.run_for(Duration::from_secs(2));
    assert_eq!(it.test.take_passed_on().len(), 64);
    assert_eq!(it.test.processor.held_items(), 100);
}

#[test]
fn payloads_are_refused_while_too_many_traces_wait() {
    let mut it = with_traces("{wait_duration: 1s, num_traces: 20000}", 12_000);
    assert!(it.test.processor.refusal().is_none());
    it.test.run_for(Duration::from_secs(2));
    assert_eq!(it.test.take_passed_on().len(), 64);
    // The next event notices it.
    it.process(body("a", &[(1, "x")]));
    assert!(format!("{:?}", it.test.processor.refusal()).contains("Retry"));
}

#[test]
fn full_processor_stores_what_comes_when_the_next_component_accepts_again() {
    let mut it = with_traces("{wait_duration: 1h, num_traces: 10}", 100);
    it.test.run_for(Duration::from_secs(1));
    let mut passed_on = 0;
    let mut next_ack = 0;
    for _ in 0..10 {
        let more = it.test.take_passed_on().len();
        assert!(more <= 64);
        passed_on += more;
        for _ in 0..more {
            it.test.settle(next_ack, Outcome::Delivered);
            next_ack += 1;
        }
        it.test.run_for(Duration::from_secs(1));
    }
    assert_eq!((passed_on, it.test.processor.held_items()), (90, 10));
    assert!(format!("{:?}", it.test.take_outcomes()).contains("Delivered"));
}
