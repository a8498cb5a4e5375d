//! Every converter beside the Go collector: expressions from tables of arguments, wrong types among them, whose values
//! and errors were recorded. `scripts/differential` asks the Go collector again, with fresh seeds.

mod bounds;
mod table;

use std::path::Path;

use otelcore_pdata::text::put_hex;
use otelcore_test_support::{CorpusCase, ask_oracle, random_bytes, read_corpus, tool_path, write_corpus};

use self::table::TABLE;
use super::STANDARD;
use crate::contexts::{ContextView, Field};
use crate::error::EvalError;
use crate::evaluate::{Evaluation, FixedEnvironment, Key, State};
use crate::go_time::layout;
use crate::value::{Value, Zone};
use crate::{Compiler, Functions, PathPrefix};

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/functions.corpus.zst");

/// Expressions of a function, at most.
const MAX_CASES: usize = 400;

/// Converters whose results depend on time or chance.
const NOT_COMPARED: [&str; 3] = ["Now", "UUID", "UUIDv7"];

/// All combinations of a function's arguments, or so many of them.
fn expressions(seed: u64) -> Vec<String> {
    let mut all = Vec::new();
    for (name, parameters) in TABLE {
        let combinations: usize = parameters.iter().map(|values| values.len()).product();
        let expression = |mut number: usize| {
            let mut arguments = Vec::new();
            for values in *parameters {
                let value = values[number % values.len()];
                number /= values.len();
                // What follows an argument that is left out is left out as well.
                if value.is_empty() {
                    break;
                }
                arguments.push(value);
            }
            format!("{name}({})", arguments.join(", "))
        };
        if combinations <= MAX_CASES {
            all.extend((0..combinations).map(expression));
        } else {
            let random = random_bytes(seed ^ all.len() as u64, MAX_CASES * 8);
            let number = |bytes: &[u8; 8]| (u64::from_le_bytes(*bytes) % combinations as u64) as usize;
            all.extend(random.as_chunks::<8>().0.iter().map(|bytes| expression(number(bytes))));
        }
    }
    all.sort();
    all.dedup();
    all
}

/// The frame of an expression for the oracle: evaluated on an empty log record.
fn input(expression: &str) -> Vec<u8> {
    let mut frame = vec![4, 2];
    let body = [0x0a, 4, 0x12, 2, 0x12, 0];
    for text in [format!("log {expression}").as_bytes(), b"{}", &body] {
        frame.extend(u32::try_from(text.len()).expect("short").to_le_bytes());
        frame.extend_from_slice(text);
    }
    frame
}

fn expression_of(input: &[u8]) -> String {
    let len = u32::from_le_bytes(input[2..6].try_into().expect("four bytes")) as usize;
    String::from_utf8(input[6 + 4..6 + len].to_vec()).expect("text")
}

struct NoItem;

impl ContextView for NoItem {
    fn get<'c>(&'c self, _: Field, _: &[Key<'_>]) -> Result<Value<'c>, EvalError> {
        Ok(Value::Nil)
    }
}

enum Answer {
    Value(String),
    NotValid(String),
    Failed(String),
}

fn evaluate(expression: &str, functions: &Functions) -> Answer {
    let compiler = Compiler { context: crate::testing::ITEM, functions, prefix: PathPrefix::Implied };
    let compiled = match compiler.value_expression(expression) {
        Ok(compiled) => compiled,
        Err(error) => return Answer::NotValid(error.to_string()),
    };
    let (state, environment) = (State::default(), FixedEnvironment::new(1_790_000_000_000_000_000, 1));
    match compiled.evaluate(&Evaluation::new(&NoItem, &state, &environment)) {
        Ok(value) => Answer::Value(normalized(&render(&value))),
        Err(error) => Answer::Failed(error.to_string()),
    }
}

/// The value in the form of the oracle.
fn render(value: &Value<'_>) -> String {
    let hex = |bytes: &[u8]| {
        let mut out = Vec::new();
        put_hex(&mut out, bytes);
        String::from_utf8(out).expect("digits")
    };
    let quoted = |text: &[u8]| {
        let mut out = Vec::new();
        crate::evaluate::put_go_json(&mut out, &Value::str(text)).expect("a text");
        String::from_utf8(out).expect("text")
    };
    match value {
        Value::Nil => "nil".to_owned(),
        Value::String(text) => format!("string {}", quoted(text)),
        Value::Bool(v) => format!("bool {v}"),
        Value::Int(v) => format!("int {v}"),
        Value::Double(v) => format!("double {:x}", v.to_bits()),
        Value::Bytes(bytes) => format!("bytes {}", hex(bytes)),
        Value::TraceId(id) => format!("trace_id {}", hex(id)),
        Value::SpanId(id) => format!("span_id {}", hex(id)),
        Value::Time(time) => {
            let offset = match &time.zone {
                Zone::Utc => 0,
                Zone::Fixed { offset, .. } => *offset,
            };
            let mut text = Vec::new();
            layout::format("2006-01-02T15:04:05.999999999Z07:00", time, &mut text);
            let text = String::from_utf8(text).expect("text");
            format!("time {}.{:09}{offset:+} {text}", time.seconds, time.nanos)
        }
        Value::Duration(v) => format!("duration {v}"),
        Value::Map(map) => {
            let entry = |(key, value): (&[u8], Value<'_>)| format!("{}: {}", quoted(key), render(&value));
            format!("map {{{}}}", map.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        Value::List(list) => {
            format!("list [{}]", list.iter().map(|value| render(&value)).collect::<Vec<_>>().join(", "))
        }
        other => other.go_type().to_owned(),
    }
}

/// The same with the entries of maps in the order of their keys, since Go's maps have none.
fn normalized(text: &str) -> String {
    fn read(text: &mut &str, close: char) -> Vec<String> {
        let (mut parts, mut part, mut is_quoted, mut is_escaped) = (Vec::new(), String::new(), false, false);
        while let Some(c) = text.chars().next() {
            *text = &text[c.len_utf8()..];
            if is_quoted {
                part.push(c);
                is_quoted = is_escaped || c != '"';
                is_escaped = !is_escaped && c == '\\';
                continue;
            }
            match c {
                '{' | '[' => {
                    let close = if c == '{' { '}' } else { ']' };
                    let mut inner = read(text, close);
                    if c == '{' {
                        inner.sort();
                    }
                    part.push(c);
                    part.push_str(&inner.join(","));
                    part.push(close);
                }
                c if c == close => break,
                ',' => parts.push(std::mem::take(&mut part)),
                c => {
                    is_quoted = c == '"';
                    part.push(c);
                }
            }
        }
        parts.push(part);
        parts.iter().map(|part| part.trim().to_owned()).collect()
    }
    read(&mut &*text, '\0').join(",")
}

/// Functions whose errors have sentences of their own where Go quotes one of a library, and the reason why.
const OWN_SENTENCES: [&str; 9] = [
    // The decoder of JSON has others than that of Go's library, of the same meaning.
    "ParseJSON",
    // Paths that are not valid.
    "ConvertAttributesToElementsXML",
    "ConvertTextToElementsXML",
    "GetXML",
    "InsertXML",
    "RemoveXML",
    // Positions in texts that are no address.
    "URL",
    // Go takes the first of several errors in the order of its map.
    "ParseSeverity",
    // The text behind a time, where Go ends with a panic.
    "Time",
];

/// Results that differ on purpose: what is in the expression, and the reason.
const DIFFERENCES: &[(&str, &str)] = &[
    ("%#v", "the Go collector shows addresses"),
    ("\"%#x\"", "digits of doubles with a width of their own"),
    ("0x8140fe, \"big5\"", "of bytes that are no character, another number of U+FFFD"),
    ("\"%b\"", "doubles by a power of two"),
    ("Keys(ParseJSON", "Go's order is any"),
    ("Values(ParseJSON", "the same"),
    ("\"Europe/Paris\"), Duration(\"999999h\")", "the offset of the first time"),
    ("\"Asia/Kolkata\"), Duration(\"999999h\")", "the same"),
    ("\"America/New_York\"), Duration(\"999999h\")", "the same"),
    ("0xe38182, \"euc-jp\"", "the same"),
];

/// Compares one case. Returns what differs.
fn difference(case: &CorpusCase, functions: &Functions) -> Option<String> {
    let expression = expression_of(&case.input);
    if DIFFERENCES.iter().any(|(part, _)| expression.contains(part)) {
        return None;
    }
    let (status, go) = case.answer.split_first().expect("a status");
    let go = String::from_utf8_lossy(go).into_owned();
    let ours = evaluate(&expression, functions);
    let name = expression.split('(').next().unwrap_or_default();
    let is_same = match &ours {
        Answer::Value(value) => *status == 0 && *value == normalized(&go),
        // The compiler's sentences have their own tests.
        Answer::NotValid(_) => *status == 1,
        Answer::Failed(message) => *status == 1 && (*message == go || OWN_SENTENCES.contains(&name)),
    };
    let shown = match ours {
        Answer::Value(text) => text,
        Answer::NotValid(text) => format!("not valid: {text}"),
        Answer::Failed(text) => format!("error: {text}"),
    };
    (!is_same).then(|| format!("{expression}\n    ours {shown}\n    go {status} {go}"))
}

fn compare(cases: &[CorpusCase]) {
    let functions = Functions::standard();
    let differences: Vec<String> = cases.iter().filter_map(|case| difference(case, &functions)).collect();
    let shown = differences.iter().take(200).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "{} of {} differ:\n{shown}", differences.len(), cases.len());
}

#[test]
fn values_and_errors_are_those_that_were_recorded_of_go() {
    compare(&read_corpus(Path::new(CORPUS)));
}

#[test]
#[ignore = "asks the Go collector: scripts/differential"]
fn values_and_errors_of_fresh_seeds_are_those_of_go() {
    let Some(oracle) = tool_path("ottl-oracle") else { return };
    let ask = |seed| ask_oracle(&oracle, &[], expressions(seed).iter().map(|text| input(text)).collect());
    if std::env::var_os("OTELCORE_CORPUS").is_some_and(|mode| mode == "write") {
        write_corpus(Path::new(CORPUS), &ask(0));
    }
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    compare(&ask(seed));
}

/// The table above is complete, and so is the manual.
#[test]
fn every_function_is_in_the_table_of_tests_and_in_the_manual() {
    let manual = include_str!("../../../../docs/ottl.md");
    let recorded = read_corpus(Path::new(CORPUS));
    for function in STANDARD {
        let name = function.name;
        let is_editor = name.starts_with(|c: char| c.is_ascii_lowercase());
        let is_tested = is_editor || NOT_COMPARED.contains(&name) || TABLE.iter().any(|(found, _)| *found == name);
        assert!(is_tested, "{name} has no row in the table of tests");
        let count = recorded.iter().filter(|case| expression_of(&case.input).split('(').next() == Some(name)).count();
        let row = format!("| `{name}` | supported | {count} |");
        assert!(is_editor || manual.contains(&row), "docs/ottl.md lacks: {row}");
        assert!(manual.contains(&format!("| `{name}` |")), "docs/ottl.md lacks {name}");
    }
}
