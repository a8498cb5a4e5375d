//! Decisions compared with those of the Go processor: recorded answers in the first tier, the running Go code by
//! `scripts/differential`.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, reason = "a test")]

use std::path::Path;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::Processor;
use otelcore_processor_tail_sampling::TailSamplingFactory;
use otelcore_test_support::{Choices, CorpusCase, ask_about_seeds, push_frame, read_corpus, split_frames};
use otelcore_testkit::{ProcessorTest, TestContext, payload, processor};
use prost::Message;

const CASES: u64 = 300;
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tail_sampling.corpus.zst");

/// The keys of a policy without its name.
fn policy(c: &mut Choices, depth: usize) -> String {
    let invert = c.choose(&["", ", invert_match: true"]);
    let plain = [
        "type: always_sample".to_owned(),
        format!("type: latency, latency: {{threshold_ms: {}, upper_threshold_ms: {}}}", c.below(50), [0, 0, 60][c.below(3)]),
        format!("type: numeric_attribute, numeric_attribute: {{key: n, min_value: {}, max_value: {}{invert}}}", c.below(5) as i64 - 2, 1 + c.below(9)),
        format!("type: probabilistic, probabilistic: {{sampling_percentage: {}.5, hash_salt: '{}'}}", c.below(101), c.choose(&["", "x"])),
        format!("type: status_code, status_code: {{status_codes: [{}]}}", c.choose(&["OK", "ERROR", "UNSET", "OK, ERROR"])),
        format!("type: string_attribute, string_attribute: {{key: s, values: [a, '']{invert}}}"),
        format!("type: string_attribute, string_attribute: {{key: {}, values: ['^a.*', 'z$'], enabled_regex_matching: true{invert}}}", c.choose(&["s", "n"])),
        format!("type: span_count, span_count: {{min_spans: {}, max_spans: {}}}", c.below(4), c.below(5)),
        "type: trace_state, trace_state: {key: k, values: [v, w]}".to_owned(),
        format!("type: boolean_attribute, boolean_attribute: {{key: b, value: {}{invert}}}", c.choose(&["true", "false"])),
        "type: trace_flags".to_owned(),
        "type: ottl_condition, ottl_condition: {error_mode: ignore, span: ['attributes[\"s\"] == \"a\"', 'name == \"x\"']}".to_owned(),
        "type: ottl_condition, ottl_condition: {spanevent: ['name == \"boom\"']}".to_owned(),
    ];
    let count = plain.len();
    match c.below(count + if depth == 0 { 5 } else { 0 }) {
        n if n < count => plain[n].clone(),
        n if n == count => format!("type: and, and: {{and_sub_policy: [{}]}}", sub_policies(c)),
        n if n == count + 1 => format!("type: drop, drop: {{drop_sub_policy: [{}]}}", sub_policies(c)),
        n if n == count + 2 => format!("type: not, not: {{not_sub_policy: {{name: inner, {}}}}}", policy(c, 1)),
        _ => format!(
            "type: composite, composite: {{max_total_spans_per_second: 1000, composite_sub_policy: [{}], rate_allocation: [{{policy: sub-0, percent: 50}}, {{policy: sub-1, percent: 0}}]}}",
            sub_policies(c)
        ),
    }
}

fn sub_policies(c: &mut Choices) -> String {
    let policies: Vec<_> = (0..2).map(|n| format!("{{name: sub-{n}, {}}}", policy(c, 1))).collect();
    policies.join(", ")
}

fn attributes(c: &mut Choices) -> Vec<KeyValue> {
    let attribute = |key: &str, value: Value| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        key_strindex: 0,
    };
    let mut attributes = Vec::new();
    if c.below(2) == 0 {
        attributes.push(attribute("s", Value::StringValue(c.choose(&["a", "abc", "", "xyz", "b"]).to_owned())));
    }
    if c.below(2) == 0 {
        let number = c.below(12) as i64 - 3;
        let value = if c.below(4) == 0 { Value::StringValue("abc".to_owned()) } else { Value::IntValue(number) };
        attributes.push(attribute("n", value));
    }
    if c.below(3) == 0 {
        let value = if c.below(4) == 0 { Value::IntValue(1) } else { Value::BoolValue(c.below(2) == 0) };
        attributes.push(attribute("b", value));
    }
    attributes
}

fn span(c: &mut Choices, name: String) -> Span {
    let start = 1_700_000_000_000_000_000 + c.below(40) as u64 * 1_000_000;
    Span {
        trace_id: vec![c.below(5) as u8 + 1; 16],
        span_id: vec![1; 8],
        parent_span_id: vec![c.below(2) as u8; 8],
        trace_state: c.choose(&["", "", "k=v", "k=w,x=1", "k=v,k=v", "K=v"]).to_owned(),
        flags: [0, 0, 1, 0x100][c.below(4)],
        name,
        start_time_unix_nano: start,
        end_time_unix_nano: start + c.below(80) as u64 * 1_000_000,
        attributes: attributes(c),
        events: (0..c.below(2))
            .map(|_| Event { name: c.choose(&["boom", "ok"]).to_owned(), ..Event::default() })
            .collect(),
        status: Some(Status { code: c.below(3) as i32, message: String::new() }),
        ..Span::default()
    }
}

/// The section, and payloads.
fn input(seed: u64) -> Vec<u8> {
    let mut c = Choices::new(seed, 4000);
    let policies: Vec<_> =
        (0..1 + c.below(3)).map(|n| format!("  - {{name: policy-{n}, {}}}\n", policy(&mut c, 0))).collect();
    let first_match = c.choose(&["true", "false"]);
    let yaml = format!("decision_wait: 1h\nsample_on_first_match: {first_match}\npolicies:\n{}", policies.concat());
    let mut input = Vec::new();
    push_frame(&mut input, yaml.as_bytes());
    for body in 0..1 + c.below(2) {
        let entry = |c: &mut Choices, resource: usize| ResourceSpans {
            resource: Some(Resource { attributes: attributes(c), ..Resource::default() }),
            scope_spans: (0..2)
                .map(|scope| ScopeSpans {
                    spans: (0..2).map(|n| span(c, format!("{body}-{resource}-{scope}-{n}"))).collect(),
                    ..ScopeSpans::default()
                })
                .collect(),
            schema_url: String::new(),
        };
        let request =
            ExportTraceServiceRequest { resource_spans: (0..2).map(|resource| entry(&mut c, resource)).collect() };
        push_frame(&mut input, &request.encode_to_vec());
    }
    input
}

fn sample(input: &[u8]) -> Result<String, String> {
    let mut frames = split_frames(input).into_iter();
    let yaml = String::from_utf8(frames.next().unwrap().to_vec()).unwrap();
    let component = TestContext::new().create(&TailSamplingFactory, "tail_sampling", &yaml)?;
    let mut test: ProcessorTest<dyn Processor> = ProcessorTest::new(processor(component));
    test.start().unwrap();
    for body in frames {
        let items = otelcore_pdata::check(Signal::Traces, body).unwrap().items;
        test.process(payload(Signal::Traces, Rope::new(body.to_vec().into(), items)));
        test.run();
    }
    test.call(|processor, cx, downstream| processor.drain(cx, downstream));
    test.run();
    let mut names = Vec::new();
    for (payload, _) in test.take_passed_on() {
        let request = ExportTraceServiceRequest::decode(payload.body.to_bytes()).unwrap();
        let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        names.extend(scopes.flat_map(|scope| scope.spans).map(|span| span.name));
    }
    names.sort();
    Ok(names.join("\n"))
}

fn compare(case: &CorpusCase) {
    let (status, answer) = case.answer.split_first().unwrap();
    let answer = String::from_utf8_lossy(answer);
    let yaml = String::from_utf8_lossy(split_frames(&case.input)[0]);
    match (status, sample(&case.input)) {
        (0, Ok(names)) => assert_eq!(names, answer, "{yaml}"),
        (0, Err(why)) => panic!("Go takes it: {why}\n{yaml}"),
        (_, Ok(_)) => panic!("Go says: {answer}\n{yaml}"),
        (_, Err(_)) => {}
    }
}

#[test]
fn recorded_traces_are_sampled_as_by_the_go_processor() {
    let cases = read_corpus(Path::new(CORPUS));
    assert!(cases.len() as u64 == CASES);
    cases.iter().for_each(compare);
}

#[test]
#[ignore = "needs the oracle; run by scripts/differential"]
fn traces_of_fixed_and_fresh_seeds_are_sampled_as_by_the_go_processor() {
    let Some(cases) = ask_about_seeds("tail-sampling-oracle", Path::new(CORPUS), CASES, input) else { return };
    cases.iter().for_each(compare);
}
