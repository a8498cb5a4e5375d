//! Events as lines of text, as `tests/tools/page-oracle` writes those of Prometheus.

use std::fmt::Write;

use otelcore_exposition::parse::{BucketCounts, Event, Exemplar, HistogramCount, Labels, PageParser, ParserLimits};
use otelcore_exposition::{PageFormat, TextDialect, write_float};

/// The events of a page that is passed in pieces of these lengths, over and over; an error is the last line.
pub(crate) fn dump_in_pieces(format: PageFormat, page: &[u8], pieces: &[usize]) -> Vec<String> {
    dump_with(PageParser::new(format, ParserLimits::default()), page, pieces)
}

pub(crate) fn dump_with(mut parser: PageParser, mut page: &[u8], pieces: &[usize]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pieces = pieces.iter().cycle();
    loop {
        let n = pieces.next().map_or(page.len(), |n| (*n).clamp(1, page.len().max(1))).min(page.len());
        let (piece, rest) = page.split_at(n);
        parser.handle_data(piece);
        page = rest;
        if page.is_empty() {
            parser.handle_end();
        }
        while let Some(event) = parser.poll_event() {
            match event {
                Ok(event) => lines.push(line(&event)),
                Err(e) => {
                    lines.push(format!("error {e}"));
                    assert!(parser.poll_event().is_none());
                    return lines;
                }
            }
        }
        if page.is_empty() {
            assert_eq!(parser.buffered(), 0);
            return lines;
        }
    }
}

pub(crate) fn dump(format: PageFormat, page: &[u8]) -> Vec<String> {
    dump_in_pieces(format, page, &[])
}

pub(crate) fn number(v: f64) -> String {
    let mut out = Vec::new();
    write_float(&mut out, v, TextDialect::Prometheus);
    String::from_utf8_lossy(&out).into_owned()
}

/// Sorted; the numbers of `le` and `quantile` in one form, since Prometheus writes them anew.
fn labels(labels: Labels<'_>) -> String {
    let mut sorted: Vec<(String, String)> = labels
        .iter()
        .map(|(name, value)| {
            let is_bound = matches!(name, "le" | "quantile");
            let bound = value.parse().ok().filter(|_| is_bound).map(number);
            (name.to_owned(), bound.unwrap_or_else(|| value.to_owned()))
        })
        .collect();
    sorted.sort();
    let parts: Vec<_> = sorted.iter().map(|(name, value)| format!("{}={}", quoted(name), quoted(value))).collect();
    format!("{{{}}}", parts.join(","))
}

/// In quotes, with what is not printable ASCII as code points.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => _ = write!(out, "\\{c}"),
            ' '..='~' => out.push(c),
            c => _ = write!(out, "\\u{{{:x}}}", u32::from(c)),
        }
    }
    out.push('"');
    out
}

fn at(timestamp_ms: Option<i64>) -> String {
    timestamp_ms.map_or_else(String::new, |ms| format!(" @{ms}"))
}

fn exemplar(e: Exemplar<'_>) -> String {
    format!(" # {} {}{}", labels(e.labels), number(e.value), at(e.timestamp_ms))
}

fn created(ms: Option<i64>) -> String {
    ms.map_or_else(String::new, |ms| format!(" created {ms}"))
}

fn count(c: HistogramCount) -> String {
    match c {
        HistogramCount::Integer(n) => n.to_string(),
        HistogramCount::Float(v) => format!("float {}", number(v)),
    }
}

pub(crate) fn line(event: &Event<'_>) -> String {
    match event {
        Event::Help { name, text } => format!("help {} {}", quoted(name), quoted(text)),
        Event::Type { name, family_type } => format!("type {} {}", quoted(name), family_type.name()),
        Event::Unit { name, unit } => format!("unit {} {}", quoted(name), quoted(unit)),
        Event::Sample(s) => {
            let exemplar = s.exemplar.map_or_else(String::new, exemplar);
            let (value, at, created) = (number(s.value), at(s.timestamp_ms), created(s.created_ms));
            format!("sample {}{} {value}{at}{created}{exemplar}", quoted(s.name), labels(s.labels))
        }
        Event::NativeHistogram(h) => {
            let mut out = format!("native {}{}", quoted(h.name), labels(h.labels));
            let (all, zero, threshold) = (count(h.count), count(h.zero_count), number(h.zero_threshold));
            _ = write!(out, " schema {} count {all} sum {} zero {zero} threshold {threshold}", h.schema, number(h.sum));
            for (sign, side) in [("+", h.positive), ("-", h.negative)] {
                for span in side.spans {
                    _ = write!(out, " {sign}{}:{}", span.offset, span.length);
                }
                match side.counts {
                    BucketCounts::Deltas(v) => _ = write!(out, " {v:?}"),
                    BucketCounts::Floats(v) => {
                        _ = write!(out, " {:?}", v.iter().map(|v| number(*v)).collect::<Vec<_>>())
                    }
                }
            }
            out + &at(h.timestamp_ms) + &created(h.created_ms) + &h.exemplars.iter().map(exemplar).collect::<String>()
        }
    }
}
