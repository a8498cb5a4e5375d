//! Delimited protobuf: families that are encoded by hand.

use otelcore_exposition::PageFormat::Protobuf;
use otelcore_exposition::parse::{PageParser, ParserLimits};

use crate::dump::{dump, dump_with};

fn varint(mut v: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
    out
}

fn int(number: u64, v: u64) -> Vec<u8> {
    [varint(number << 3), varint(v)].concat()
}

fn double(number: u64, v: f64) -> Vec<u8> {
    [varint(number << 3 | 1), v.to_le_bytes().to_vec()].concat()
}

fn message(number: u64, parts: &[Vec<u8>]) -> Vec<u8> {
    let body = parts.concat();
    [varint(number << 3 | 2), varint(body.len() as u64), body].concat()
}

fn text(number: u64, v: &str) -> Vec<u8> {
    message(number, &[v.as_bytes().to_vec()])
}

fn label(number: u64, name: &str, value: &str) -> Vec<u8> {
    message(number, &[text(1, name), text(2, value)])
}

fn delimited(parts: &[Vec<u8>]) -> Vec<u8> {
    let body = parts.concat();
    [varint(body.len() as u64), body].concat()
}

fn family(name: &str, family_type: u64, metrics: &[Vec<u8>]) -> Vec<u8> {
    delimited(&[text(1, name), text(2, "a help"), int(3, family_type), metrics.concat()])
}

fn exemplar(number: u64) -> Vec<u8> {
    message(number, &[label(1, "trace_id", "ab"), double(2, 0.5), message(3, &[int(1, 12), int(2, 345_000_000)])])
}

fn counter() -> Vec<u8> {
    let counter = message(3, &[double(1, 42.0), exemplar(2), message(3, &[int(1, 100)])]);
    let metrics = [
        message(4, &[label(1, "x", "1"), label(1, "y", ""), counter, int(6, 1234)]),
        message(4, &[message(3, &[])]),
        text(5, "seconds"),
    ];
    family("requests_seconds_total", 0, &metrics)
}

fn summary() -> Vec<u8> {
    let quantile = message(3, &[double(1, 0.5), double(2, 7.0)]);
    family("s", 2, &[message(4, &[label(1, "x", "1"), message(4, &[int(1, 3), double(2, 21.0), quantile])])])
}

fn classic() -> Vec<u8> {
    let bucket = message(3, &[int(1, 2), double(2, 1.0), exemplar(3)]);
    let last = message(3, &[double(4, 3.5), double(2, 5.0)]);
    let histogram = message(7, &[bucket, int(1, 4), last, double(2, 9.0), message(15, &[int(1, 1)])]);
    family("h", 4, &[message(4, &[histogram, label(1, "x", "1")])])
}

fn native() -> Vec<u8> {
    let parts = [
        int(1, 9),
        double(2, 18.5),
        int(5, 5), // -3, in zigzag
        double(6, 0.001),
        int(7, 2),
        message(9, &[int(1, 0), int(2, 1)]),
        int(10, 2),
        message(12, &[int(1, 1), int(2, 2)]),
        message(13, &[varint(4), varint(1)]),
        message(3, &[int(1, 9), double(2, f64::INFINITY)]),
        message(15, &[int(1, 1)]),
        exemplar(16),
        exemplar(16),
    ];
    family("n", 4, &[message(4, &[label(1, "x", "1"), message(7, &parts), int(6, 99)])])
}

fn native_floats() -> Vec<u8> {
    let counts = [1.5_f64.to_le_bytes(), 2.5_f64.to_le_bytes()].concat();
    let parts = [
        double(4, 4.5),
        double(2, 1.0),
        double(8, 0.5),
        message(12, &[int(2, 2)]),
        message(14, &[counts]),
        message(9, &[int(2, 1)]),
        double(11, 1.0),
    ];
    family("g", 5, &[message(4, &[message(7, &parts)])])
}

fn gauges() -> Vec<u8> {
    let mut page = family("gauge", 1, &[message(4, &[message(2, &[double(1, -1.5)])])]);
    page.extend(family("untyped ä", 3, &[message(4, &[message(5, &[double(1, f64::NAN)])])]));
    page.extend(family("empty", 1, &[]));
    page
}

/// The number of families that `family_of` has.
pub(crate) const SEEDS: usize = 6;

pub(crate) fn family_of(i: usize) -> Vec<u8> {
    match i {
        0 => counter(),
        1 => summary(),
        2 => classic(),
        3 => native(),
        4 => native_floats(),
        _ => gauges(),
    }
}

#[test]
fn counter_has_created_timestamp_exemplar_and_unit() {
    assert_eq!(
        dump(Protobuf, &counter()),
        [
            r#"help "requests_seconds_total" "a help""#,
            r#"unit "requests_seconds_total" "seconds""#,
            r#"type "requests_seconds_total" counter"#,
            r##"sample "requests_seconds_total"{"x"="1","y"=""} 42 @1234 created 100000 # {"trace_id"="ab"} 0.5 @12345"##,
            r#"sample "requests_seconds_total"{} 0"#,
        ]
    );
}

#[test]
fn summary_and_classic_histogram_become_the_samples_of_a_text_page() {
    assert_eq!(
        dump(Protobuf, &summary())[1..],
        [
            r#"type "s" summary"#,
            r#"sample "s"{"quantile"="0.5","x"="1"} 7"#,
            r#"sample "s_sum"{"x"="1"} 21"#,
            r#"sample "s_count"{"x"="1"} 3"#,
        ]
    );
    assert_eq!(
        dump(Protobuf, &classic())[1..],
        [
            r#"type "h" histogram"#,
            r##"sample "h_bucket"{"le"="1","x"="1"} 2 created 1000 # {"trace_id"="ab"} 0.5 @12345"##,
            r#"sample "h_bucket"{"le"="5","x"="1"} 3.5 created 1000"#,
            r#"sample "h_bucket"{"le"="+Inf","x"="1"} 4 created 1000"#,
            r#"sample "h_sum"{"x"="1"} 9 created 1000"#,
            r#"sample "h_count"{"x"="1"} 4 created 1000"#,
        ]
    );
}

#[test]
fn native_histogram_has_spans_counts_and_exemplars() {
    let expected = concat!(
        r#"native "n"{"x"="1"} schema -3 count 9 sum 18.5 zero 2 threshold 0.001 +-1:2 [2, -1] -0:1 [1] @99 created 1000"#,
        r##" # {"trace_id"="ab"} 0.5 @12345 # {"trace_id"="ab"} 0.5 @12345"##
    );
    assert_eq!(dump(Protobuf, &native())[2..], [expected]);
    let classic = PageParser::new(Protobuf, ParserLimits::default()).with_classic_histograms();
    assert_eq!(
        dump_with(classic, &native(), &[])[3..],
        [
            r#"sample "n_bucket"{"le"="+Inf","x"="1"} 9 @99 created 1000"#,
            r#"sample "n_sum"{"x"="1"} 18.5 @99 created 1000"#,
            r#"sample "n_count"{"x"="1"} 9 @99 created 1000"#,
        ]
    );
    let expected =
        r#"native "g"{} schema 0 count float 4.5 sum 1 zero float 0.5 threshold 0 +0:2 ["1.5", "2.5"] -0:1 ["1"]"#;
    assert_eq!(dump(Protobuf, &native_floats())[1..], [r#"type "g" gaugehistogram"#, expected]);
}

#[test]
fn family_without_metrics_is_skipped() {
    let lines = dump(Protobuf, &gauges());
    assert_eq!(lines.len(), 6);
    assert_eq!(lines[2], r#"sample "gauge"{} -1.5"#);
    assert_eq!(lines[5], r#"sample "untyped \u{e4}"{} NaN"#);
}

#[test]
fn malformed_message_is_an_error_at_its_position() {
    let metric = |parts: &[Vec<u8>]| family("a", 1, &[message(4, parts)]);
    let span_without_buckets = message(7, &[message(12, &[int(2, 1)])]);
    for (page, expected) in [
        (vec![5, 10], "byte 2: the page ends in the middle of a message"),
        (vec![0x80], "byte 0: the page ends in the middle of a message"),
        (vec![0xff; 11], "byte 0: a varint is too long"),
        (vec![2, 10, 5], "byte 1: a field exceeds its message"),
        (vec![2, 11, 5], "byte 1: a field has an invalid wire type"),
        (vec![2, 8, 5], "byte 1: a field has the wrong wire type"),
        (vec![3, 10, 1, 0xff], "byte 1: a text is not UTF-8"),
        (delimited(&[message(4, &[])]), "byte 1: a metric family has no name"),
        (family("a", 9, &[message(4, &[])]), "byte 1: a metric family has an unknown type"),
        (metric(&[]), "byte 1: a metric has no value of its family's type"),
        (metric(&[message(3, &[])]), "byte 1: a metric has no value of its family's type"),
        (metric(&[label(1, "", "x")]), "byte 1: a label has no name"),
        (
            family("a", 4, &[message(4, &[span_without_buckets])]),
            "byte 1: the spans of a native histogram do not match its buckets",
        ),
        (varint(1 << 40), "byte 0: longer than 16777216 bytes"),
        (delimited(&vec![int(9, 1); 1025]), "byte 2050: a metric family has too many fields that are not metrics"),
    ] {
        assert_eq!(dump(Protobuf, &page).last().unwrap(), &format!("error {expected}"));
    }
}

#[test]
fn metric_and_native_histogram_above_the_limits_are_errors() {
    let limits = ParserLimits { max_entry_bytes: 40, max_family_bytes: 1000, max_native_buckets: 1 };
    let refused = |page: &[u8]| dump_with(PageParser::new(Protobuf, limits), page, &[]).pop().unwrap();
    assert!(refused(&counter()).ends_with("longer than 40 bytes"));
    let wide = message(7, &[message(13, &[vec![1, 1]])]);
    let page = family("a", 4, &[message(4, &[wide])]);
    assert!(refused(&page).ends_with("a native histogram has too many buckets or exemplars"));
    assert!(refused(&varint(1001)).ends_with("longer than 1000 bytes"));
}

/// Writes the pages that the oracle reads: `OTELCORE_PAGES=write`.
#[test]
fn pages_of_the_oracle_are_those_of_this_file() {
    let page: Vec<u8> = (0..SEEDS).flat_map(family_of).collect();
    let path = crate::recorded::folder().join("families.pb");
    if std::env::vars().any(|(name, value)| name == "OTELCORE_PAGES" && value == "write") {
        std::fs::write(&path, &page).unwrap();
    }
    assert_eq!(std::fs::read(&path).unwrap(), page);
}
