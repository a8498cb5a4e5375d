//! `match_type: expr` of `filter`: expressions from seeds, compared with those of the Go library.

use otelcore_pdata::Signal;
use otelcore_test_support::{ask_oracle, read_corpus, tool_path, write_corpus};

use super::bodies::{self, KEYS, TEXTS};
use super::{Case, Choices, compare, corpus_path};

/// Recorded cases.
const CASES: u64 = 1000;

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

fn text(c: &mut Choices, depth: u8) -> String {
    match c.below(8) {
        0 => "MetricName".to_owned(),
        1 => "MetricType".to_owned(),
        2 if depth > 0 => format!("Label({})", text(c, depth - 1)),
        3 => c.choose(&["'a'", "`b`", r#""\x61\n""#, r#""a\"b""#, "\"Gauge\"", "\"Sum\""]).to_owned(),
        4 => quoted(c.choose(&TEXTS)),
        _ => format!("Label({})", quoted(c.choose(&KEYS))),
    }
}

/// Now and then one that is not valid.
fn condition(c: &mut Choices, depth: u8) -> String {
    let space = if c.one_in(8) { "\n        " } else { " " };
    if depth > 0 && c.one_in(2) {
        let (left, right) = (condition(c, depth - 1), condition(c, depth - 1));
        return match c.below(8) {
            0 => format!("!({left})"),
            1 => format!("not ({left})"),
            2 => format!("({left}) {} ({right})", c.choose(&["==", "!="])),
            3 => format!("({left}{space}or {right})"),
            operator => format!("{left}{space}{} {right}", ["&&", "||", "and", "or"][operator - 4]),
        };
    }
    let left = text(c, 1);
    match c.below(10) {
        0 => c.choose(&["true", "false", "not true", "!false"]).to_owned(),
        1 => format!("HasLabel({})", text(c, 1)),
        2 | 3 => format!("HasLabel({})", quoted(c.choose(&KEYS))),
        4 => {
            let list = [c.choose(&TEXTS).to_owned(), c.choose(&TEXTS).to_owned()].map(|text| quoted(&text)).join(", ");
            format!("{left} {} [{list}{}]", c.choose(&["in", "not in"]), c.choose(&["", ","]))
        }
        5 => {
            let pattern = c.choose(&["^a", "b$", "^.*[0-9]$", "(?i)GET", "", "[", "größe|x"]);
            format!("{left} {} {}", c.choose(&["matches", "not matches"]), quoted(pattern))
        }
        6 => {
            let operator =
                c.choose(&["contains", "startsWith", "endsWith", "not contains", "not startsWith"]).to_owned();
            format!("{left} {operator} {}", text(c, 0))
        }
        7 => format!("{left} {} {}", c.choose(&["<", "<=", ">", ">="]), text(c, 1)),
        _ => format!("{left} {} {}", c.choose(&["==", "!="]), text(c, 1)),
    }
}

fn case(seed: u64) -> Case {
    let mut c = Choices::new(seed);
    let which = c.choose(&["include", "exclude"]).to_owned();
    let mut yaml = format!("metrics:\n  {which}:\n    match_type: expr\n    expressions:\n");
    for _ in 0..=c.below(2) {
        let depth = c.below(4) as u8;
        yaml.push_str(&format!("    - '{}'\n", condition(&mut c, depth).replace('\'', "''")));
    }
    Case { is_filter: true, signal: Signal::Metrics, yaml, body: bodies::body(&mut c, Signal::Metrics) }
}

#[test]
fn expressions_hold_for_the_metrics_that_are_recorded_of_go() {
    let cases = read_corpus(&corpus_path("filter_expressions"));
    let (changed, refused) = compare(&cases);
    assert!(changed * 3 > cases.len() && refused > 10, "{changed} changed, {refused} refused");
}

#[test]
#[ignore = "asks a Go program; scripts/differential runs it"]
fn expressions_of_fresh_seeds_hold_for_the_same_metrics_as_in_go() {
    let Some(oracle) = tool_path("ottl-oracle") else { return };
    let ask = |seeds: std::ops::Range<u64>| ask_oracle(&oracle, &[], seeds.map(|seed| case(seed).to_input()).collect());
    if std::env::var_os("OTELCORE_CORPUS").is_some_and(|value| value == "write") {
        write_corpus(&corpus_path("filter_expressions"), &ask(0..CASES));
    }
    let first = std::env::var("OTELCORE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_secs() << 20)
    });
    println!("fresh seeds from {first}");
    compare(&ask(first..first + CASES));
}
