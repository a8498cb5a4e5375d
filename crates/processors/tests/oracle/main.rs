//! The processors compared with those of the Go collector, on configurations and telemetry from fixed seeds.
//!
//! `scripts/tools` builds the Go program, which is asked directly in one test. The other test needs no Go: it compares
//! with digests of Go's results, which the first one writes with `OTELCORE_ORACLE=write`.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a test")]

mod bodies;
mod configs;

use std::path::{Path, PathBuf};

use otelcore_config::{Diagnostics, Section, Severity, from_yaml};
use otelcore_pdata::{Rope, Signal, check};
use otelcore_pipeline::{Component, Factory, Metadata};
use otelcore_processors::{AttributesFactory, ResourceFactory};
use otelcore_test_support::{random_bytes, run_tool, take_u32, tool_path};
use otelcore_testkit::{ProcessorTest, TestContext};
use sha2::{Digest, Sha256};

/// Cases of each processor.
const CASES: u64 = 1500;

/// Patterns, each matched against all of [`configs::PATTERN_TEXTS`].
const PATTERNS: u64 = 3000;

/// Choices read from random bytes; zeros when none are left.
pub struct Choices {
    bytes: Vec<u8>,
    at: usize,
}

impl Choices {
    fn new(seed: u64) -> Self {
        Self { bytes: random_bytes(seed, 4000), at: 0 }
    }

    pub fn byte(&mut self) -> u8 {
        self.at += 1;
        self.bytes.get(self.at - 1).copied().unwrap_or(0)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (usize::from(self.byte()) << 8 | usize::from(self.byte())) % n
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn choose<'a, T: ?Sized>(&mut self, options: &[&'a T]) -> &'a T {
        options[self.below(options.len())]
    }
}

struct Case {
    is_resource: bool,
    signal: Signal,
    yaml: String,
    metadata: Vec<(&'static str, Vec<&'static str>)>,
    body: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let processors = (0..2 * CASES).map(|seed| {
        let mut c = Choices::new(seed);
        let is_resource = seed % 2 == 1;
        let signal = Signal::ALL[c.below(3)];
        let yaml = if is_resource { configs::resource(&mut c) } else { configs::attributes(&mut c, signal) };
        let mut metadata = Vec::new();
        if c.one_in(2) {
            metadata.push(("x-tenant", vec!["t1"]));
        }
        if c.one_in(2) {
            metadata.push(("x-list", vec!["1", "2"]));
        }
        Case { is_resource, signal, yaml, metadata, body: bodies::body(&mut c, signal) }
    });
    let patterns = (0..PATTERNS).map(|seed| {
        let yaml = configs::pattern(&mut Choices::new(seed ^ 0xffff_0000));
        let body = bodies::spans_named(configs::PATTERN_TEXTS);
        Case { is_resource: false, signal: Signal::Traces, yaml, metadata: Vec::new(), body }
    });
    processors.chain(patterns).collect()
}

/// The result of a case: the body in the form that [`bodies::normalized`] gives it, or the messages of the errors.
type CaseResult = Result<Vec<u8>, Vec<String>>;

fn our_result(case: &Case) -> CaseResult {
    let factory: &dyn Factory = if case.is_resource { &ResourceFactory } else { &AttributesFactory };
    let name = factory.info().type_name;
    let d = Diagnostics::new();
    // Variables are expanded here, and not in the Go program.
    let yaml = case.yaml.replace('$', "$$");
    let node = from_yaml(&yaml, &d);
    factory.parse(&name.parse().unwrap(), Section::new(node.as_ref(), &format!("processors::{name}"), &d));
    let errors: Vec<_> = d.items().into_iter().filter(|item| item.severity == Severity::Error).collect();
    if !errors.is_empty() {
        return Err(errors.into_iter().map(|item| item.message).collect());
    }
    let context = TestContext { signals: vec![case.signal], ..TestContext::new() };
    let component = context.create(factory, name, &yaml).map_err(|error| vec![error])?;
    let Component::Processor(processor) = component else { panic!("{component:?}") };
    let mut test = ProcessorTest::new(processor);
    let items = check(case.signal, &case.body).unwrap().items;
    let mut payload = context.payload(case.signal, Rope::new(case.body.clone().into(), items));
    let mut metadata = Metadata::default();
    for (name, values) in &case.metadata {
        values.iter().for_each(|value| metadata.add(name, value));
    }
    payload.metadata = Some(metadata.into());
    test.process(payload);
    test.run();
    let (payload, _ack) = test.take_passed_on().pop().unwrap();
    let bytes = payload.body.to_bytes();
    assert_eq!(check(case.signal, &bytes).unwrap().items, items);
    Ok(bodies::normalized(case.signal, &bytes))
}

fn go_results(oracle: &Path, cases: &[Case]) -> Vec<CaseResult> {
    let mut input = Vec::new();
    for case in cases {
        input.extend([u8::from(case.is_resource), case.signal as u8]);
        let list = |values: &[&str]| values.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(",");
        let metadata: Vec<_> =
            case.metadata.iter().map(|(name, values)| format!("{name:?}:[{}]", list(values))).collect();
        let metadata = format!("{{{}}}", metadata.join(","));
        for text in [case.yaml.as_bytes(), metadata.as_bytes(), &case.body] {
            input.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
            input.extend_from_slice(text);
        }
    }
    let output = run_tool(oracle, &[], &input);
    let mut rest = output.as_slice();
    let one = |case: &Case| {
        let (status, after) = rest.split_first().unwrap();
        rest = after;
        let len = take_u32(&mut rest) as usize;
        let (answer, after) = rest.split_at(len);
        rest = after;
        if *status == 0 {
            Ok(bodies::normalized(case.signal, answer))
        } else {
            Err(vec![String::from_utf8(answer.to_vec()).unwrap()])
        }
    };
    let results = cases.iter().map(one).collect();
    assert!(rest.is_empty());
    results
}

/// The number of a digest: of a body or of a message.
fn digest(kind: u8, content: &[u8]) -> u64 {
    let sum = Sha256::new().chain_update([kind]).chain_update(content).finalize();
    u64::from_le_bytes(std::array::from_fn(|index| sum[index]))
}

/// Go prints a list of span kinds with empty names in it.
fn message_digest(message: &str) -> u64 {
    digest(1, message.split_whitespace().collect::<Vec<_>>().join(" ").replace("[ ", "[").as_bytes())
}

fn digests(result: &CaseResult) -> Vec<u64> {
    match result {
        Ok(body) => vec![digest(0, body)],
        Err(messages) => messages.iter().map(|message| message_digest(message)).collect(),
    }
}

fn answers_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/answers.bin")
}

fn show(case: &Case, result: &CaseResult) -> String {
    match result {
        Ok(body) => bodies::show(case.signal, body),
        Err(messages) => messages.join("\n"),
    }
}

/// The lines around the first that differs.
fn first_difference(ours: &str, expected: &str) -> String {
    let common = ours.lines().zip(expected.lines()).take_while(|(a, b)| a == b).count();
    let part = |text: &str| text.lines().skip(common.saturating_sub(9)).take(18).collect::<Vec<_>>().join("\n");
    format!("{}\ninstead of\n{}", part(ours), part(expected))
}

#[test]
fn results_are_those_of_the_go_processors() {
    let Some(oracle) = tool_path("processors-oracle") else { return };
    let cases = cases();
    let expected = go_results(&oracle, &cases);
    if std::env::var_os("OTELCORE_ORACLE").is_some_and(|value| value == "write") {
        let answers: Vec<u8> = expected.iter().flat_map(|result| digests(result)[0].to_le_bytes()).collect();
        std::fs::write(answers_path(), answers).unwrap();
    }
    let (mut changed, mut refused, mut failures) = (0, 0, Vec::new());
    for (seed, (case, expected)) in cases.iter().zip(&expected).enumerate() {
        let ours = our_result(case);
        if !digests(&ours).contains(&digests(expected)[0]) {
            let difference = first_difference(&show(case, &ours), &show(case, expected));
            let Case { signal, metadata, yaml, .. } = case;
            failures.push(format!("case {seed}, {signal:?}, {metadata:?}:\n{yaml}gives\n{difference}"));
        }
        changed +=
            usize::from(expected.as_ref().is_ok_and(|body| *body != bodies::normalized(case.signal, &case.body)));
        refused += usize::from(expected.is_err());
    }
    assert!(failures.is_empty(), "{} cases differ, of which the first are\n{}", failures.len(), {
        failures.truncate(12);
        failures.join("\n\n")
    });
    assert!(changed > cases.len() / 4 && refused > cases.len() / 20, "{changed} changed, {refused} refused");
}

#[test]
fn results_are_those_recorded_of_the_go_processors() {
    let answers = std::fs::read(answers_path()).unwrap();
    let (answers, rest) = answers.as_chunks::<8>();
    let cases = cases();
    assert_eq!((answers.len(), rest.len()), (cases.len(), 0), "write the answers with OTELCORE_ORACLE=write");
    // A part of them, to save time: unoptimized, a pattern takes milliseconds to compile.
    for (seed, (case, answer)) in cases.iter().zip(answers).enumerate().step_by(5) {
        let ours = our_result(case);
        let expected = u64::from_le_bytes(*answer);
        assert!(digests(&ours).contains(&expected), "case {seed}: {}\n{}", case.yaml, show(case, &ours));
    }
}
