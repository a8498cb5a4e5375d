//! Processors compared with those of the Go collector: each on configurations and telemetry from seeds.
//!
//! The recorded answers of the Go processors are replayed. `scripts/differential` asks the Go program directly, on fresh
//! seeds, and records the answers to the fixed ones with `OTELCORE_CORPUS=write`.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, unreachable_pub, reason = "a test")]
#![allow(clippy::disallowed_methods, reason = "the seed comes from the environment")]

mod cumulative_to_delta;
mod delta_to_cumulative;
mod group_by_attrs;
mod metrics_transform;
mod normalize;
mod probabilistic_sampler;
mod redaction;
mod span;
mod telemetry;

use std::path::{Path, PathBuf};

use otelcore_config::{Diagnostics, Section, Severity, from_yaml};
use otelcore_pdata::{Rope, Signal, check};
use otelcore_pipeline::{Component, Factory, WallTime};
use otelcore_test_support::{CorpusCase, ask_oracle, random_bytes, read_corpus, take_u32, tool_path, write_corpus};
use otelcore_testkit::{ProcessorTest, TestContext};

/// Choices read from pseudorandom bytes.
pub struct Choices {
    bytes: Vec<u8>,
    at: usize,
}

impl Choices {
    fn new(seed: u64) -> Self {
        Self { bytes: random_bytes(seed, 6000), at: 0 }
    }

    pub fn below(&mut self, n: usize) -> usize {
        let mut byte = || {
            self.at += 1;
            usize::from(self.bytes.get(self.at - 1).copied().unwrap_or(0))
        };
        (byte() << 8 | byte()) % n
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn choose<T: Copy>(&mut self, options: &[T]) -> T {
        options[self.below(options.len())]
    }

    /// Each of them or not.
    pub fn some_of<T: Copy>(&mut self, options: &[T]) -> Vec<T> {
        options.iter().copied().filter(|_| self.one_in(2)).collect()
    }
}

/// What one instance gets.
pub struct Case {
    pub signal: Signal,
    pub yaml: String,
    pub bodies: Vec<Vec<u8>>,
}

/// A processor under test.
struct Subject {
    factory: &'static dyn Factory,
    /// Its number in the Go program.
    oracle_index: u8,
    cases: u64,
    generate: fn(&mut Choices) -> Case,
}

impl Subject {
    fn name(&self) -> &'static str {
        self.factory.info().type_name
    }

    fn corpus_path(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{}.corpus.zst", self.name()))
    }

    fn input(&self, seed: u64) -> Vec<u8> {
        let Case { signal, yaml, bodies } = (self.generate)(&mut Choices::new(seed));
        let mut input = vec![self.oracle_index, signal as u8];
        for frame in std::iter::once(yaml.into_bytes()).chain(bodies) {
            input.extend(u32::try_from(frame.len()).unwrap().to_le_bytes());
            input.extend(frame);
        }
        input
    }

    /// Compares with the recorded answers: with a third of them, to save time.
    fn replay(&self) {
        let cases: Vec<_> = read_corpus(&self.corpus_path()).into_iter().step_by(3).collect();
        self.compare(&cases, true);
    }

    /// Compares with the Go program: on fresh seeds, or on the fixed ones that are then recorded.
    fn compare_live(&self) {
        let oracle = tool_path("processors-oracle").expect("scripts/differential builds it");
        let writes = std::env::var_os("OTELCORE_CORPUS").is_some_and(|value| value == "write");
        let first = if writes { 0 } else { first_fresh_seed() };
        eprintln!("{}: seeds from {first} on", self.name());
        let inputs = (first..first + self.cases).map(|seed| self.input(seed)).collect();
        let cases = ask_oracle(&oracle, &["cases"], inputs);
        self.compare(&cases, false);
        if writes {
            write_corpus(&self.corpus_path(), &cases);
        }
    }

    fn compare(&self, cases: &[CorpusCase], is_replay: bool) {
        let (mut changed, mut refused, mut failures) = (0, 0, Vec::new());
        for (index, case) in cases.iter().enumerate() {
            let Case { signal, yaml, bodies } = read_input(&case.input);
            let ours = self.run(signal, &yaml, &bodies);
            if case.answer[0] == GO_PANICS {
                continue;
            }
            let expected = read_answer(signal, &case.answer);
            let is_same = match (&ours, &expected) {
                // The Go collector stops at the first mistake.
                (Err(ours), Err(expected)) => ours.iter().any(|message| is_same_message(message, &expected[0])),
                (ours, expected) => ours == expected,
            };
            if !is_same {
                let difference = first_difference(&format!("{ours:#?}"), &format!("{expected:#?}"));
                let mut failure = format!("case {index}, {signal:?}:\n{yaml}\ngives\n{difference}");
                if std::env::var_os("OTELCORE_SHOW_INPUT").is_some() {
                    bodies.iter().for_each(|body| failure += &normalize::show(signal, body));
                }
                failures.push(failure);
            }
            let unchanged: Vec<Vec<String>> =
                bodies.iter().map(|body| shown(signal, std::slice::from_ref(body))).collect();
            changed += usize::from(expected.as_ref().is_ok_and(|groups| groups[..groups.len() - 1] != unchanged));
            refused += usize::from(expected.is_err());
        }
        assert!(
            failures.is_empty(),
            "{} of {} cases differ, of which the first are\n{}",
            failures.len(),
            cases.len(),
            {
                failures.truncate(8);
                failures.join("\n\n")
            }
        );
        eprintln!("{}: {} cases, {changed} changed, {refused} refused", self.name(), cases.len());
        if is_replay {
            assert!(changed > cases.len() / 4, "only {changed} of {} cases change something", cases.len());
        }
    }

    /// The bodies that our processor passes on, for each that it gets and for the shutdown; or its errors.
    fn run(&self, signal: Signal, yaml: &str, bodies: &[Vec<u8>]) -> Groups {
        let name = self.name();
        let d = Diagnostics::new();
        // Variables are expanded here, and not in the Go program.
        let yaml = yaml.replace('$', "$$");
        let node = from_yaml(&yaml, &d);
        self.factory.parse(&name.parse().unwrap(), Section::new(node.as_ref(), &format!("processors::{name}"), &d));
        let errors = d.items().into_iter().filter(|item| item.severity == Severity::Error);
        let errors: Vec<_> = errors.map(|item| item.message).collect();
        if !errors.is_empty() {
            return Err(errors);
        }
        let context = TestContext { signals: vec![signal], ..TestContext::new() };
        let component = context.create(self.factory, name, &yaml).map_err(|error| vec![error])?;
        let Component::Processor(processor) = component else { panic!("{component:?}") };
        let mut test = ProcessorTest::new(processor);
        // A time between those of the series.
        test.world.set_wall_time(WallTime(1_800_000_000 * telemetry::SECOND));
        test.start().unwrap();
        let mut groups = Vec::new();
        let mut take = |test: &mut ProcessorTest| {
            test.run();
            let passed_on = test.take_passed_on().into_iter();
            let bodies: Vec<_> = passed_on
                .map(|(payload, _ack)| {
                    let bytes = payload.body.to_bytes();
                    assert_eq!(check(signal, &bytes).unwrap().items, payload.items());
                    bytes.to_vec()
                })
                .collect();
            groups.push(shown(signal, &bodies));
        };
        for body in bodies {
            let items = check(signal, body).unwrap().items;
            test.process(context.payload(signal, Rope::new(body.clone().into(), items)));
            take(&mut test);
        }
        test.call(|processor, cx, downstream| processor.drain(cx, downstream));
        take(&mut test);
        Ok(groups)
    }
}

/// Go puts a message of a type that reads its own text behind the key.
fn is_same_message(ours: &str, expected: &str) -> bool {
    ours == expected || expected.starts_with("decoding failed") && expected.ends_with(ours)
}

/// The first byte of an answer where the Go processor panics.
const GO_PANICS: u8 = 2;

/// For each body and for the shutdown, what was passed on as text; or the errors.
type Groups = Result<Vec<Vec<String>>, Vec<String>>;

/// Bodies in one form; none for one without anything.
fn shown(signal: Signal, bodies: &[Vec<u8>]) -> Vec<String> {
    bodies.iter().map(|body| normalize::show(signal, body)).filter(|text| !text.is_empty()).collect()
}

fn take_frame<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let len = take_u32(bytes) as usize;
    let (frame, rest) = bytes.split_at(len);
    *bytes = rest;
    frame
}

fn read_input(input: &[u8]) -> Case {
    let signal = Signal::ALL[usize::from(input[1])];
    let mut rest = &input[2..];
    let yaml = String::from_utf8(take_frame(&mut rest).to_vec()).unwrap();
    let mut bodies = Vec::new();
    while !rest.is_empty() {
        bodies.push(take_frame(&mut rest).to_vec());
    }
    Case { signal, yaml, bodies }
}

fn read_answer(signal: Signal, answer: &[u8]) -> Groups {
    let (status, mut rest) = answer.split_first().unwrap();
    if *status == 1 {
        return Err(vec![String::from_utf8(rest.to_vec()).unwrap()]);
    }
    let mut groups = Vec::new();
    while let Some((status, after)) = rest.split_first() {
        rest = after;
        let count = take_u32(&mut rest);
        let bodies: Vec<_> = (0..count).map(|_| take_frame(&mut rest).to_vec()).collect();
        assert_eq!(*status, 0, "{}", String::from_utf8_lossy(&bodies.concat()));
        groups.push(shown(signal, &bodies));
    }
    Ok(groups)
}

/// The lines around the first that differs.
fn first_difference(ours: &str, expected: &str) -> String {
    let lines = |text: &str| text.replace("\\n", "\n").lines().map(str::to_owned).collect::<Vec<_>>();
    let (ours, expected) = (lines(ours), lines(expected));
    let common = ours.iter().zip(&expected).take_while(|(a, b)| a == b).count();
    let part =
        |text: &[String]| text.iter().skip(common.saturating_sub(10)).take(20).cloned().collect::<Vec<_>>().join("\n");
    format!("{}\n-- instead of\n{}", part(&ours), part(&expected))
}

/// A seed that is not one of the fixed ones.
fn first_fresh_seed() -> u64 {
    let from_environment = std::env::var("OTELCORE_SEED").ok().and_then(|seed| seed.parse().ok());
    from_environment.unwrap_or_else(|| 1_000_000 * (1 + u64::from(std::process::id())))
}

/// The two tests of a processor.
macro_rules! subject {
    ($module:ident, $factory:expr, $index:literal, $cases:literal) => {
        mod $module {
            pub use crate::$module::generate;

            const SUBJECT: crate::Subject =
                crate::Subject { factory: &$factory, oracle_index: $index, cases: $cases, generate };

            #[test]
            fn results_are_those_recorded_of_the_go_processor() {
                SUBJECT.replay();
            }

            #[test]
            #[ignore = "run by scripts/differential"]
            fn results_are_those_of_the_running_go_processor() {
                SUBJECT.compare_live();
            }
        }
    };
}

mod compared {
    subject!(metrics_transform, otelcore_processors::MetricsTransformFactory, 2, 1000);
    subject!(cumulative_to_delta, otelcore_processors::CumulativeToDeltaFactory, 3, 500);
    subject!(group_by_attrs, otelcore_processors::GroupByAttrsFactory, 4, 500);
    subject!(probabilistic_sampler, otelcore_processors::ProbabilisticSamplerFactory, 5, 700);
    subject!(redaction, otelcore_processors::RedactionFactory, 7, 700);
    subject!(delta_to_cumulative, otelcore_processors::DeltaToCumulativeFactory, 8, 500);
    subject!(span, otelcore_processors::SpanFactory, 6, 700);
}
