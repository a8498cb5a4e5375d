//! `transform` and `filter` compared with those of the Go collector: statements, conditions and telemetry from seeds.
//!
//! The answers of the Go program `ottl-oracle` to the fixed seeds are recorded and replayed. The other test asks it about
//! fresh seeds, and records with `OTELCORE_CORPUS=write`; `scripts/differential` runs it.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    reason = "a test, which is repeated with other seeds by hand"
)]

mod bodies;
mod configs;
mod e2e;
mod expressions;
mod normal;

use std::path::{Path, PathBuf};

use otelcore_config::{Diagnostics, Section, Severity, from_yaml};
use otelcore_pdata::{Rope, Signal, check};
use otelcore_pipeline::{Component, Factory, Metadata, Outcome};
use otelcore_processors::{FilterFactory, TransformFactory};
use otelcore_test_support::{CorpusCase, ask_oracle, random_bytes, read_corpus, tool_path, write_corpus};
use otelcore_testkit::{ProcessorTest, TestContext};

/// Recorded cases of each processor.
const CASES: u64 = 3000;

/// Choices read from random bytes; zeros when none are left.
pub struct Choices {
    bytes: Vec<u8>,
    at: usize,
}

impl Choices {
    fn new(seed: u64) -> Self {
        Self { bytes: random_bytes(seed, 6000), at: 0 }
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

/// A processor, its section, and a payload.
#[derive(Clone, Debug)]
struct Case {
    is_filter: bool,
    signal: Signal,
    yaml: String,
    body: Vec<u8>,
}

/// The headers of every request.
const METADATA: &str = r#"{"x-tenant":["t1"],"x-list":["1","2"]}"#;

impl Case {
    fn generate(seed: u64) -> Self {
        let mut c = Choices::new(seed);
        let is_filter = seed % 3 == 2;
        let signal = Signal::ALL[c.below(3)];
        let yaml = if is_filter { configs::filter(&mut c, signal) } else { configs::transform(&mut c, signal) };
        Self { is_filter, signal, yaml, body: bodies::body(&mut c, signal) }
    }

    fn to_input(&self) -> Vec<u8> {
        let mut input = vec![u8::from(self.is_filter), self.signal as u8];
        for text in [self.yaml.as_bytes(), METADATA.as_bytes(), &self.body] {
            input.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
            input.extend_from_slice(text);
        }
        input
    }

    fn from_input(input: &[u8]) -> Self {
        let mut rest = &input[2..];
        let mut take = || {
            let len = otelcore_test_support::take_u32(&mut rest) as usize;
            let (text, after) = rest.split_at(len);
            rest = after;
            text.to_vec()
        };
        let yaml = String::from_utf8(take()).unwrap();
        take();
        Self { is_filter: input[0] == 1, signal: Signal::ALL[usize::from(input[1])], yaml, body: take() }
    }
}

/// The body in a form that can be compared, or the message of an error.
type CaseResult = Result<String, String>;

fn our_result(case: &Case) -> CaseResult {
    let factory: &dyn Factory = if case.is_filter { &FilterFactory } else { &TransformFactory };
    let name = factory.info().type_name;
    let d = Diagnostics::new();
    // Variables are expanded here, and not in the Go program.
    let yaml = case.yaml.replace('$', "$$");
    let node = from_yaml(&yaml, &d);
    factory.parse(&name.parse().unwrap(), Section::new(node.as_ref(), &format!("processors::{name}"), &d));
    let errors: Vec<_> = d.items().into_iter().filter(|item| item.severity == Severity::Error).collect();
    if !errors.is_empty() {
        return Err(errors.into_iter().map(|item| item.message).collect::<Vec<_>>().join("; "));
    }
    let context = TestContext { signals: vec![case.signal], ..TestContext::new() };
    let component = context.create(factory, name, &yaml)?;
    let Component::Processor(processor) = component else { panic!("{component:?}") };
    let mut test = ProcessorTest::new(processor);
    let items = check(case.signal, &case.body).unwrap().items;
    let mut payload = context.payload(case.signal, Rope::new(case.body.clone().into(), items));
    let mut metadata = Metadata::default();
    for (name, value) in [("x-tenant", "t1"), ("x-list", "1"), ("x-list", "2")] {
        metadata.add(name, value);
    }
    payload.metadata = Some(metadata.into());
    test.process(payload);
    test.run();
    let Some((payload, _ack)) = test.take_passed_on().pop() else {
        return match test.take_outcomes().pop() {
            Some((_, Outcome::Delivered)) => Ok(String::new()),
            other => Err(format!("{other:?}")),
        };
    };
    let bytes = payload.body.to_bytes();
    assert_eq!(check(case.signal, &bytes).unwrap().items, payload.items(), "{}", case.yaml);
    Ok(normal::shown(case.signal, &bytes))
}

fn go_result(case: &Case, answer: &[u8]) -> CaseResult {
    let (status, answer) = answer.split_first().unwrap();
    if *status == 0 {
        Ok(normal::shown(case.signal, answer))
    } else {
        Err(String::from_utf8_lossy(answer).into_owned())
    }
}

/// Whether the results agree. Of errors it is enough that there is one: places and hints are our own.
fn agree(ours: &CaseResult, go: &CaseResult) -> bool {
    match (ours, go) {
        (Ok(ours), Ok(go)) => ours == go || ours.is_empty() && normal::has_no_items(go),
        (Err(_), Err(_)) => true,
        _ => false,
    }
}

/// Differences that are known, each a row in DIFFERENCES.md.
fn is_known(case: &Case, ours: &CaseResult, go: &CaseResult) -> bool {
    let mentions = |texts: &[&str]| texts.iter().any(|text| case.yaml.contains(text));
    let is_panic = matches!(go, Err(message) if message.starts_with("panic:"));
    // Metrics that are added are transformed at another time, which is seen in what is around them.
    let adds_metrics = mentions(&["extract_", "convert_summary_quantile"])
        && mentions(&["set(scope.", "set(resource.", "set(instrumentation_scope."]);
    let joins_summaries =
        mentions(&["aggregate_on_attribute_value"]) && normal::shown(case.signal, &case.body).contains("Summary {");
    // Go writes its structs as `{}`, and ids as lists of numbers, where a text is wanted.
    let no_text = matches!(ours, Err(message) if message.contains("unsupported type: "))
        && ["IsMatch(", "Concat(", "String("].iter().any(|function| case.yaml.contains(function));
    let first_arguments =
        ["IsMatch(", "Concat([", "String("].into_iter().flat_map(|name| case.yaml.split(name).skip(1));
    let id_as_text = first_arguments
        .map(|rest| rest.split([',', ')', ']']).next().unwrap_or_default())
        .any(|argument| argument.ends_with("_id") || argument.starts_with("ProfileID("));
    mentions(&["event_index"]) || is_panic || adds_metrics || joins_summaries || no_text || id_as_text
}

fn corpus_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{name}.corpus.zst"))
}

/// The lines around the first that differs.
fn first_difference(ours: &str, expected: &str) -> String {
    let common = ours.lines().zip(expected.lines()).take_while(|(a, b)| a == b).count();
    let part = |text: &str| text.lines().skip(common.saturating_sub(6)).take(12).collect::<Vec<_>>().join("\n");
    format!("{}\ninstead of\n{}", part(ours), part(expected))
}

fn shown(result: &CaseResult) -> &str {
    match result {
        Ok(text) | Err(text) => text,
    }
}

/// What differs in a case; the smallest configuration that `ask` finds to differ as well.
fn difference(case: &Case, go: &CaseResult, ours: &CaseResult) -> String {
    format!(
        "{:?} {}\n{}gives\n{}",
        case.signal,
        if case.is_filter { "filter" } else { "transform" },
        case.yaml,
        first_difference(shown(ours), shown(go))
    )
}

/// Compares cases with their answers, and fails with the first differences. Returns how many change something, and how
/// many are refused.
fn compare(cases: &[CorpusCase]) -> (usize, usize) {
    let (mut failures, mut changed, mut refused) = (Vec::new(), 0, 0);
    for CorpusCase { input, answer } in cases {
        let case = Case::from_input(input);
        let (ours, go) = (our_result(&case), go_result(&case, answer));
        if !agree(&ours, &go) && !is_known(&case, &ours, &go) {
            failures.push(difference(&case, &go, &ours));
        }
        changed += usize::from(go.as_ref().is_ok_and(|body| *body != normal::shown(case.signal, &case.body)));
        refused += usize::from(go.is_err());
    }
    let count = failures.len();
    let most = std::env::var("OTELCORE_SHOWN").ok().and_then(|most| most.parse().ok()).unwrap_or(25);
    failures.truncate(most);
    let shown = failures.join("\n\n");
    assert!(failures.is_empty(), "{count} of {} cases differ, of which the first are\n{shown}", cases.len());
    (changed, refused)
}

#[test]
fn statements_of_the_end_to_end_tests_do_what_is_recorded_of_go() {
    let (changed, refused) = compare(&read_corpus(&corpus_path("ottl_e2e")));
    assert!(changed > 100 && refused > 10, "{changed} changed, {refused} refused");
}

#[test]
fn results_are_those_recorded_of_the_go_processors() {
    let cases = read_corpus(&corpus_path("ottl"));
    // A part of them, to save time.
    let part: Vec<CorpusCase> = cases.into_iter().step_by(3).collect();
    let (changed, refused) = compare(&part);
    assert!(changed * 3 > part.len() && refused * 50 > part.len(), "{changed} changed, {refused} refused");
}

#[test]
#[ignore = "asks a Go program; scripts/differential runs it"]
fn results_on_fresh_seeds_are_those_of_the_go_processors() {
    let Some(oracle) = tool_path("ottl-oracle") else { return };
    let ask = |seeds: std::ops::Range<u64>| {
        ask_oracle(&oracle, &[], seeds.map(|seed| Case::generate(seed).to_input()).collect())
    };
    if std::env::var_os("OTELCORE_CORPUS").is_some_and(|value| value == "write") {
        write_corpus(&corpus_path("ottl"), &ask(0..CASES));
        if let Ok(file) = std::env::var("OTELCORE_OTTL_E2E") {
            write_corpus(&corpus_path("ottl_e2e"), &e2e::ask(&oracle, &file));
        }
    }
    let first = std::env::var("OTELCORE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_secs() << 20)
    });
    println!("fresh seeds from {first}");
    compare(&ask(0..CASES));
    compare(&ask(first..first + CASES));
}
