//! Statements and conditions from seeds, compared with the Go collector: whether they are valid, whether they can be
//! evaluated, and what they make of a span.
//!
//! The recorded answers are replayed. `scripts/differential` asks the Go program for fresh seeds, and records anew with
//! OTELCORE_CORPUS=write.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, missing_docs, reason = "a test")]

mod generate;

use std::path::{Path, PathBuf};

use generate::Random;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use otelcore_ottl::contexts::{SPAN, SpanContext};
use otelcore_ottl::{Compiler, Execution, FixedEnvironment, Functions, PathPrefix, State};
use otelcore_pdata::edit::{Descend, Editor, SpanMut, edit};
use otelcore_pdata::{Rope, Signal, Value, build};
use otelcore_test_support::{CorpusCase, ask_oracle, read_corpus, tool_path, write_corpus};
use prost::Message;

const CASES: usize = 6000;

fn corpus_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/language.corpus.zst")
}

/// A span with an attribute of each type.
fn body() -> Rope {
    let text = |v: &str| Value::String(v.as_bytes().to_vec());
    let entry = |key: &str, value| (key.as_bytes().to_vec(), value);
    let deep = Value::Map(vec![entry("x", Value::Int(7))]);
    let attributes = [
        ("string", text("a")),
        ("int", Value::Int(5)),
        ("double", Value::Double(2.5)),
        ("bool", Value::Bool(true)),
        ("bytes", Value::Bytes(vec![1, 2])),
        ("no_bytes", Value::Bytes(Vec::new())),
        ("empty", Value::Empty),
        ("list", Value::Array(vec![Value::Int(1), text("two"), Value::Map(vec![entry("three", Value::Int(3))])])),
        ("ints", Value::Array(vec![Value::Int(1), Value::Int(2)])),
        ("strings", Value::Array(vec![text("a"), text("b")])),
        ("map", Value::Map(vec![entry("k", text("v")), entry("n", Value::Int(1)), entry("deep", deep)])),
        ("number", text("12")),
    ];
    let mut body = build::Body::new();
    {
        let mut resource = body.resource_spans();
        resource.resource().attributes().string(b"host", b"h");
        let mut scope = resource.scope_spans();
        scope.scope().name(b"lib").version(b"1");
        let mut span = scope.span();
        span.trace_id(&[7; 16]).span_id(&[8; 8]).name(b"GET /").kind(2);
        span.start_time_unix_nano(1_700_000_000_000_000_000).end_time_unix_nano(1_700_000_001_000_000_000);
        span.status().code(2).message(b"bad");
        let mut writer = span.attributes();
        for (key, value) in &attributes {
            writer.value(key.as_bytes(), value);
        }
    }
    body.finish()
}

/// What becomes of the body, as both sides say it.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// The changed body.
    Changed(Box<ExportTraceServiceRequest>),
    /// The text is not valid, or can't be evaluated.
    Refused(String),
}

/// The section of the transform processor. JSON is YAML.
fn section(statement: &str) -> String {
    let group = serde_json::json!({"context": "span", "statements": [statement]});
    serde_json::json!({"error_mode": "propagate", "trace_statements": [group]}).to_string()
}

/// The input of the Go program for a statement.
fn oracle_input(statement: &str) -> Vec<u8> {
    let mut input = vec![0, 0];
    for text in [section(statement).as_bytes(), b"{}", &body().to_bytes()] {
        input.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
        input.extend_from_slice(text);
    }
    input
}

/// The statements with Go's answers.
fn ask(tool: &Path, statements: Vec<String>) -> Vec<CorpusCase> {
    let inputs = statements.iter().map(|statement| oracle_input(statement)).collect();
    let answers = ask_oracle(tool, &[], inputs).into_iter().map(|case| case.answer);
    let cases = statements.into_iter().zip(answers);
    cases.map(|(statement, answer)| CorpusCase { input: statement.into_bytes(), answer }).collect()
}

fn go_outcome(answer: &[u8]) -> Outcome {
    match answer.split_first().unwrap() {
        (0, body) => Outcome::Changed(Box::new(ExportTraceServiceRequest::decode(body).unwrap())),
        (_, message) => Outcome::Refused(String::from_utf8_lossy(message).into_owned()),
    }
}

/// Executes a statement on each span.
struct Spans<'s> {
    statement: &'s otelcore_ottl::Statement,
    error: Option<String>,
}

impl Editor for Spans<'_> {
    fn span(&mut self, span: &mut SpanMut<'_>) -> Descend {
        let environment = FixedEnvironment::new(0, 0);
        let mut state = State::default();
        let mut context = SpanContext { span, request: None };
        let mut execution = Execution::new(&mut context, &mut state, &environment);
        if let Err(error) = self.statement.execute(&mut execution) {
            self.error = Some(error.to_string());
        }
        Descend::Skip
    }
}

fn our_outcome(functions: &Functions, text: &str) -> Outcome {
    let compiler = Compiler { context: SPAN, functions, prefix: PathPrefix::Implied };
    let statement = match compiler.statement(text) {
        Ok(statement) => statement,
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    let mut rope = body();
    let mut spans = Spans { statement: &statement, error: None };
    edit(Signal::Traces, &mut rope, &mut spans).unwrap();
    match spans.error {
        Some(error) => Outcome::Refused(error),
        None => Outcome::Changed(Box::new(ExportTraceServiceRequest::decode(&rope.to_bytes()[..]).unwrap())),
    }
}

fn statements(seed: u64, count: usize) -> Vec<String> {
    let mut random = Random::new(seed);
    let statement = |i: usize| {
        if i.is_multiple_of(3) {
            format!("set(attributes[\"out\"], \"yes\") where {}", generate::condition(&mut random))
        } else {
            generate::statement(&mut random)
        }
    };
    (0..count).map(statement).collect()
}

/// What is known to differ, with the reason. Each is a row of DIFFERENCES.md.
fn is_known(statement: &str, go: &Outcome) -> bool {
    match go {
        // Go panics where a required argument is missing, and where lists of Go types are compared.
        Outcome::Refused(message) => message.starts_with("panic: "),
        // Of a map or list that is written into itself, Go copies what it has written.
        Outcome::Changed(_) => {
            let target = statement
                .split_once("target=")
                .or_else(|| statement.split_once("set("))
                .map_or("", |(_, target)| target);
            let keys = target.match_indices('[').map(|(at, _)| &target[..at]);
            let is_whole = |path: &str| {
                let mut found = statement.match_indices(path);
                !path.contains(',') && found.any(|(at, path)| !statement[at + path.len()..].starts_with('['))
            };
            keys.into_iter().any(is_whole)
        }
    }
}

fn compare(cases: &[CorpusCase]) {
    let functions = Functions::standard();
    let mut differences = Vec::new();
    let mut changed = 0;
    for case in cases {
        let statement = std::str::from_utf8(&case.input).unwrap();
        let (go, ours) = (go_outcome(&case.answer), our_outcome(&functions, statement));
        changed += usize::from(matches!(go, Outcome::Changed(_)));
        let is_equal = match (&go, &ours) {
            (Outcome::Changed(go), Outcome::Changed(ours)) => normalized(go) == normalized(ours),
            (Outcome::Refused(_), Outcome::Refused(_)) => true,
            _ => false,
        };
        if !is_equal && !is_known(statement, &go) {
            differences.push((statement, go, ours));
        }
    }
    differences.sort_by_key(|(statement, ..)| statement.len());
    for (statement, go, ours) in differences.iter().take(20) {
        println!("{statement}\n  Go:   {}\n  ours: {}", shown(go), shown(ours));
    }
    assert!(differences.is_empty(), "{} of {} statements differ from Go", differences.len(), cases.len());
    assert!(changed > cases.len() / 5, "only {changed} of {} statements are valid", cases.len());
}

/// The request as text, so that NaN equals itself, with entries of maps in the order of their keys: those of a map
/// literal are in no order in Go.
fn normalized(request: &ExportTraceServiceRequest) -> String {
    let mut request = request.clone();
    for resource in &mut request.resource_spans {
        if let Some(resource) = &mut resource.resource {
            sort_entries(&mut resource.attributes);
        }
        for span in resource.scope_spans.iter_mut().flat_map(|scope| &mut scope.spans) {
            sort_entries(&mut span.attributes);
        }
    }
    format!("{request:?}")
}

fn sort_entries(entries: &mut [KeyValue]) {
    entries.iter_mut().filter_map(|entry| entry.value.as_mut()).for_each(sort_value);
    entries.sort_by(|a, b| a.key.cmp(&b.key));
}

fn sort_value(value: &mut AnyValue) {
    match &mut value.value {
        Some(any_value::Value::ArrayValue(list)) => list.values.iter_mut().for_each(sort_value),
        Some(any_value::Value::KvlistValue(map)) => sort_entries(&mut map.values),
        _ => {}
    }
}

fn shown(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Refused(message) => format!("error: {}", message.lines().next().unwrap_or_default()),
        Outcome::Changed(request) => {
            let span = &request.resource_spans[0].scope_spans[0].spans[0];
            let out = span.attributes.iter().find(|entry| entry.key == "out");
            format!("name {:?}, {} attributes, out {out:?}", span.name, span.attributes.len())
        }
    }
}

#[test]
fn statements_do_what_they_do_in_go() {
    compare(&read_corpus(&corpus_path()));
}

#[test]
#[ignore = "asks the Go collector: scripts/differential"]
fn statements_of_fresh_seeds_do_what_they_do_in_go() {
    let tool = tool_path("ottl-oracle").expect("scripts/differential builds it");
    if std::env::var("OTELCORE_CORPUS").as_deref() == Ok("write") {
        write_corpus(&corpus_path(), &ask(&tool, statements(1, CASES)));
    }
    let cases = std::env::var("OTELCORE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(CASES);
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    println!("seed {seed}");
    compare(&ask(&tool, statements(seed, cases)));
}
