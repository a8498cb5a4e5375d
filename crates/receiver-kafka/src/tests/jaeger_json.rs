//! Messages of `jaeger_json` compared with what the Go receiver makes of them, from fixed seeds: recorded answers in the first tier, the
//! running Go code by `scripts/differential`.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use otelcore_pdata::Signal;
use otelcore_pipeline::Budget;
use otelcore_receivers::DecodeError;
use otelcore_test_support::{Choices, CorpusCase, ask_about_seeds, read_corpus};

use super::comparison::{Seen, decode_damaged};
use crate::decode::{MessageDecoder, MessageEncoding, MessageError};

const CASES: u64 = 1500;
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/jaeger_json.corpus.zst");

/// What Go makes of a time that is not there: the nanoseconds of the year 1, without what does not fit in 64 bits.
const YEAR_ONE: u64 = 62_135_596_800_u64.wrapping_mul(1_000_000_000).wrapping_neg();

const TEXTS: &[&str] = &[
    r#""""#,
    r#""get""#,
    r#""gr\u00f6\u00dfe <&>""#,
    r#""\ud83d\ude00 \ud83d""#,
    r#""server""#,
    r#""200""#,
    r#""child""#,
    "\"gr\u{f6}\u{df}e\"",
    r#""\n\t\"\\\/""#,
    "null",
];
const KEYS: &[&str] = &[
    r#""a""#,
    r#""b""#,
    r#""span.kind""#,
    r#""error""#,
    r#""http.status_code""#,
    r#""otel.status_code""#,
    r#""event""#,
    r#""service.name""#,
    r#""""#,
];
const TRACE_IDS: &[&str] = &[
    r#""AQIDBAUGBwgJCgsMDQ4PEA==""#,
    r#""AQIDBAUGBwgJCgsMDQ4PEA==""#,
    r#""AAAAAAAAAAAAAAAAAAAAAA==""#,
    r#""AQIDBAUGBwg=""#,
    r#""AQIDBAUGBwgJCgsMDQ4PEB==""#,
];
const SPAN_IDS: &[&str] = &[r#""AQIDBAUGBwg=""#, r#""AQIDBAUGBwg=""#, r#""AAAAAAAAAAA=""#, r#""AQIDBAUGBwk=""#];
const TIMES: &[&str] = &[
    r#""2017-01-26T21:46:31.639875Z""#,
    r#""2017-01-26T23:46:31.5+02:00""#,
    r#""2017-01-26T21:46:31,5Z""#,
    r#""2017-01-26T21:46:31.123456789123Z""#,
    r#""1970-01-01T00:00:00Z""#,
    r#""1969-12-31T23:59:59.999999999Z""#,
    r#""2024-02-29T00:00:00-11:30""#,
    r#""2261-12-31T23:59:59Z""#,
    r#""0000-12-31T23:59:59-14:00""#,
];
const DURATIONS: &[&str] = &[
    r#""0s""#,
    r#""1.5s""#,
    r#""0.000020s""#,
    r#""1h2m3.5s""#,
    r#""5ms""#,
    r#""100ns""#,
    r#""1\u00b5s""#,
    r#""-2s""#,
    r#""0""#,
];
const INTEGERS: &[&str] = &[
    "0",
    "7",
    "-7",
    r#""42""#,
    r#""-42""#,
    r#"" 5 ""#,
    r#""9223372036854775807""#,
    "-9223372036854775808",
    r#""null""#,
    "null",
    "404",
];
const FLAGS: &[&str] = &["0", "1", "2", "3", r#""1""#, "4294967295", "null"];
const DOUBLES: &[&str] = &[
    "0",
    "1.5",
    "-1e-7",
    "1E21",
    r#""1.5""#,
    r#""NaN""#,
    r#""Infinity""#,
    r#""-Infinity""#,
    r#""-0.25e2""#,
    "123456789",
    r#""null""#,
];
const BYTES: &[&str] = &[r#""""#, r#""AP8H""#, r#""AP8=""#, r#""AP\n8H\r""#, "[1,255,null]", "[]", "null", r#""AP9=""#];

/// Values of which a field has one that Go refuses, some of them in any field.
const WRONG: &[&str] = &[
    "true",
    "1.5",
    r#""x y""#,
    "{}",
    r#"[{}]"#,
    "-1",
    "4294967296",
    "9223372036854775808",
    r#""AQ==""#,
    r#""!""#,
    r#""2017-01-26 21:46:31Z""#,
    r#""0000-12-31T23:59:59Z""#,
    r#""2017-02-29T00:00:00Z""#,
    r#""10000-01-01T00:00:00Z""#,
    r#""5 s""#,
    r#""1e400""#,
    r#""FOLLOWS""#,
    "null",
    "[null]",
    "[1]",
];

/// Writes one message.
struct Writer {
    c: Choices,
    /// A field of so many is wrong; zero for none.
    one_is_wrong_of: usize,
}

impl Writer {
    fn one_of(&mut self, options: &[&str]) -> String {
        self.c.choose(options).to_owned()
    }

    /// Adds a field under one of its names, in three of four cases.
    fn field(&mut self, out: &mut Vec<String>, names: [&str; 2], value: impl FnOnce(&mut Self) -> String) {
        if self.c.one_in(4) {
            return;
        }
        let name = self.c.choose(&names).to_owned();
        let is_wrong = self.one_is_wrong_of > 0 && self.c.one_in(self.one_is_wrong_of);
        let value = if is_wrong { self.one_of(WRONG) } else { value(self) };
        out.push(format!("\"{name}\": {value}"));
    }

    fn object(&mut self, fields: Vec<String>) -> String {
        let mut fields = fields;
        if self.c.one_in(3) {
            fields.reverse();
        }
        if self.one_is_wrong_of > 0 && self.c.one_in(60) {
            fields.push("\"unknown\":1".to_owned());
        }
        format!("{{{}}}", fields.join(if self.c.one_in(2) { ", " } else { "\n,\t" }))
    }

    fn list(&mut self, most: usize, item: fn(&mut Self) -> String) -> String {
        let count = self.c.below(most);
        let items: Vec<String> =
            (0..count).map(|_| if self.c.one_in(30) { "null".to_owned() } else { item(self) }).collect();
        format!("[{}]", items.join(","))
    }

    fn tag(&mut self) -> String {
        let mut out = Vec::new();
        if self.c.one_in(12) {
            // Go reads the text of a scope's tag whatever its type is.
            return format!("{{\"key\":\"otel.scope.name\",\"vStr\":{}}}", self.one_of(TEXTS));
        }
        self.field(&mut out, ["key", "key"], |w| w.one_of(KEYS));
        let kind = self.c.below(6);
        let names = ["\"STRING\"", "\"BOOL\"", "\"INT64\"", "\"FLOAT64\"", "\"BINARY\"", "null"];
        self.field(&mut out, ["vType", "v_type"], |w| match w.c.below(12) {
            0 => w.one_of(&["9", "-1", "null"]),
            1..4 => kind.to_string(),
            _ => names[kind].to_owned(),
        });
        if kind == 0 || self.c.one_in(8) {
            self.field(&mut out, ["vStr", "v_str"], |w| w.one_of(TEXTS));
        }
        if kind == 1 || self.c.one_in(8) {
            self.field(&mut out, ["vBool", "v_bool"], |w| w.one_of(&["true", "false", "null"]));
        }
        if kind == 2 || self.c.one_in(8) {
            self.field(&mut out, ["vInt64", "v_int64"], |w| w.one_of(INTEGERS));
        }
        if kind == 3 || self.c.one_in(8) {
            self.field(&mut out, ["vFloat64", "v_float64"], |w| w.one_of(DOUBLES));
        }
        if kind == 4 || self.c.one_in(8) {
            self.field(&mut out, ["vBinary", "v_binary"], |w| w.one_of(BYTES));
        }
        self.object(out)
    }

    fn reference(&mut self) -> String {
        let mut out = Vec::new();
        self.field(&mut out, ["traceId", "trace_id"], |w| w.one_of(TRACE_IDS));
        self.field(&mut out, ["spanId", "span_id"], |w| w.one_of(SPAN_IDS));
        let kinds = ["\"CHILD_OF\"", "\"FOLLOWS_FROM\"", "0", "1", "2", "null"];
        self.field(&mut out, ["refType", "ref_type"], |w| w.one_of(&kinds));
        self.object(out)
    }

    fn log(&mut self) -> String {
        let mut out = Vec::new();
        self.field(&mut out, ["timestamp", "timestamp"], |w| w.one_of(TIMES));
        self.field(&mut out, ["fields", "fields"], |w| w.list(4, Self::tag));
        self.object(out)
    }

    fn process(&mut self) -> String {
        let mut out = Vec::new();
        self.field(&mut out, ["serviceName", "service_name"], |w| w.one_of(TEXTS));
        self.field(&mut out, ["tags", "tags"], |w| w.list(4, Self::tag));
        self.object(out)
    }

    fn span(&mut self) -> String {
        let mut out = Vec::new();
        self.field(&mut out, ["traceId", "trace_id"], |w| w.one_of(TRACE_IDS));
        self.field(&mut out, ["spanId", "span_id"], |w| w.one_of(SPAN_IDS));
        self.field(&mut out, ["operationName", "operation_name"], |w| w.one_of(TEXTS));
        self.field(&mut out, ["references", "references"], |w| w.list(4, Self::reference));
        self.field(&mut out, ["flags", "flags"], |w| w.one_of(FLAGS));
        self.field(&mut out, ["startTime", "start_time"], |w| w.one_of(TIMES));
        self.field(&mut out, ["duration", "duration"], |w| w.one_of(DURATIONS));
        self.field(&mut out, ["tags", "tags"], |w| w.list(6, Self::tag));
        self.field(&mut out, ["logs", "logs"], |w| w.list(3, Self::log));
        self.field(&mut out, ["process", "process"], |w| if w.c.one_in(10) { "null".to_owned() } else { w.process() });
        self.field(&mut out, ["processId", "process_id"], |w| w.one_of(TEXTS));
        self.field(&mut out, ["warnings", "warnings"], |w| w.list(3, |w| w.one_of(TEXTS)));
        self.object(out)
    }
}

/// The input for a seed. Most messages are valid.
fn input(seed: u64) -> Vec<u8> {
    let mut c = Choices::new(seed, 4000);
    let one_is_wrong_of = [0, 0, 0, 40][c.below(4)];
    let (is_cut, share) = (c.one_in(20), c.below(256));
    let mut text = Writer { c, one_is_wrong_of }.span();
    if is_cut {
        let mut end = text.len() * share / 256;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    let mut input = vec![1];
    input.extend_from_slice(text.as_bytes());
    input
}

fn decoder() -> MessageDecoder {
    MessageDecoder { signal: Signal::Traces, encoding: MessageEncoding::JaegerJson, headers: Arc::new([]) }
}

fn compare(case: &CorpusCase, seen: &mut Seen) {
    let value = Bytes::copy_from_slice(&case.input[1..]);
    let mut held = Arc::new(Budget::default()).hold(0);
    let result = decoder().decode(&value, &[], 0, &mut held).map_err(|error| match error {
        MessageError::Invalid(why) => DecodeError::Invalid(why),
        MessageError::NoRoom => panic!("there is room"),
    });
    seen.compare(&String::from_utf8_lossy(&value), result, &held, &case.answer, |span| {
        for event in &mut span.events {
            if event.time_unix_nano == YEAR_ONE {
                event.time_unix_nano = 0;
            }
        }
        if span.start_time_unix_nano == YEAR_ONE {
            span.start_time_unix_nano = 0;
            span.end_time_unix_nano = span.end_time_unix_nano.wrapping_sub(YEAR_ONE);
        }
    });
}

#[test]
fn recorded_messages_are_read_as_by_the_go_receiver() {
    let mut seen = Seen::default();
    read_corpus(Path::new(CORPUS)).iter().for_each(|case| compare(case, &mut seen));
    assert!(seen.translated > 900 && seen.refused > 100, "{} and {}", seen.translated, seen.refused);
}

#[test]
#[ignore = "needs the oracle; run by scripts/differential"]
fn messages_of_fixed_and_fresh_seeds_are_read_as_by_the_go_receiver() {
    let Some(cases) = ask_about_seeds("kafka-oracle", Path::new(CORPUS), CASES, input) else { return };
    let mut seen = Seen::default();
    cases.iter().for_each(|case| compare(case, &mut seen));
    assert!(seen.translated > 1800 && seen.refused > 200, "{} and {}", seen.translated, seen.refused);
}

#[test]
fn changed_bytes_never_panic() {
    for case in read_corpus(Path::new(CORPUS)).iter().take(100) {
        decode_damaged(&case.input[1..], |value| {
            let mut held = Arc::new(Budget::default()).hold(0);
            let _ = decoder().decode(&Bytes::copy_from_slice(value), &[], 0, &mut held);
        });
    }
}
