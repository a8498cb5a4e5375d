//! Compares whole pages with those of the Go collector's exporter: byte for byte, in all formats and escapings.
//!
//! An input has frames: the configuration as YAML, the header `Accept`, and bodies. The corpus has the answers of Go to
//! the inputs of the first seeds; `scripts/differential` records it, and compares fresh seeds.
//!
//! Cases in which the result of the Go exporter is random are avoided: every metric has a unique name, every series a
//! unique label, every resource a unique instance. Also avoided is what is different by intent (`DIFFERENCES.md`): the
//! end of a series among other points of its metric, where 0.155 drops the others; bounds and quantiles that are NaN;
//! histograms with a label `le`; exponential histograms that are inconsistent, and sums of those of different scales or
//! thresholds; names that become equal when they are escaped. Series with labels of equal names are not shown here.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, unreachable_pub, dead_code, reason = "a test")]

#[path = "../../pdata/tests/oracle/generate.rs"]
mod generate;

#[path = "oracle/cases.rs"]
mod cases;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cases::{input, input_with_equal_names};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use otelcore_config::declare::Config;
use otelcore_config::{Diagnostics, Section, from_yaml};
use otelcore_exporter_prometheus::PrometheusConfig;
use otelcore_exporter_prometheus::oracle::{check_page, render_page};
use otelcore_exposition::{NameEscaping, NegotiatedFormat, PageFormat, SupportedFormats};
use otelcore_pdata::{Rope, Signal, json};
use otelcore_test_support::{CorpusCase, ask_oracle, push_frame, read_corpus, split_frames, tool_path, write_corpus};
use prost::Message;
use prost::encoding::{DecodeContext, decode_key, decode_varint, encode_varint, skip_field};

/// Inputs in the corpus.
const CASES: u64 = 1000;

/// Puts the two labels of an exemplar in order: in Go it is random.
fn sort_exemplar_labels(page: &mut [u8]) {
    // In text `span_id="…",trace_id="…"`, in protobuf two messages without a comma. Each id has a fixed length.
    for (span, span_len, comma, trace, trace_len) in [
        (&b"span_id=\""[..], 26, &b","[..], &b"trace_id=\""[..], 43),
        (b"\x0a\x1b\x0a\x07span_id\x12\x10", 29, b"", b"\x0a\x2c\x0a\x08trace_id\x12\x20", 46),
    ] {
        let mut at = 0;
        while let Some(found) = page[at..].windows(span.len()).position(|w| w == span) {
            let start = at + found;
            at = start + span.len();
            let Some(labels) = page.get_mut(start..start + span_len + comma.len() + trace_len) else { continue };
            let (first, rest) = labels.split_at(span_len);
            if let Some(second) = rest.strip_prefix(comma).filter(|second| second.starts_with(trace)) {
                let swapped = [second, comma, first].concat();
                labels.copy_from_slice(&swapped);
            }
        }
    }
}

fn page_config(yaml: &[u8]) -> PrometheusConfig {
    let yaml = std::str::from_utf8(yaml).unwrap();
    let yaml = format!("{{endpoint: 'localhost:0', {}", yaml.strip_prefix('{').unwrap());
    let diagnostics = Diagnostics::new();
    let node = from_yaml(&yaml, &diagnostics);
    let section = Section::new(node.as_ref(), "exporters::prometheus", &diagnostics);
    let config = PrometheusConfig::read_section(section, &PrometheusConfig::default());
    assert!(!diagnostics.has_errors(), "{}", diagnostics.render_to_string(false));
    config
}

/// Our answer: `Content-Type` and page.
fn own_answer(input: &[u8]) -> (String, Vec<u8>) {
    let frames = split_frames(input);
    let config = page_config(frames[0]);
    let supported =
        if config.enable_open_metrics { SupportedFormats::ALL } else { SupportedFormats::WITHOUT_OPEN_METRICS };
    let format = NegotiatedFormat::negotiate(std::str::from_utf8(frames[1]).unwrap(), supported);
    let page = render_page(&config.page(), format, true, &frames[2..]);
    // With merged labels, and in one other format and escaping, it is readable as well.
    let formats = all_formats();
    let other = formats[input.len() % formats.len()];
    let merged = [format, other].map(|format| (format, render_page(&config.page(), format, false, &frames[2..])));
    for (format, page) in merged.iter().map(|(format, page)| (*format, page)).chain([(format, &page)]) {
        check_page(format, page).unwrap_or_else(|why| panic!("{why}\n{}", String::from_utf8_lossy(page)));
    }
    (format.content_type().to_owned(), page)
}

/// Every format with every escaping of names.
fn all_formats() -> Vec<NegotiatedFormat> {
    let formats = [PageFormat::Text, PageFormat::OpenMetrics1, PageFormat::Protobuf];
    let escapings = [NameEscaping::Underscores, NameEscaping::Dots, NameEscaping::Values, NameEscaping::AllowUtf8];
    formats.iter().flat_map(|format| escapings.map(|escaping| NegotiatedFormat { format: *format, escaping })).collect()
}

/// The pages of a case in every format with labels merged, and in one without.
fn pages_in_all_formats(input: &[u8]) -> Vec<(NegotiatedFormat, Vec<u8>)> {
    let frames = split_frames(input);
    let config = page_config(frames[0]);
    let page = |format, refuses_merged_labels| {
        (format, render_page(&config.page(), format, refuses_merged_labels, &frames[2..]))
    };
    let formats = all_formats();
    let one = formats[input.len() % formats.len()];
    formats.into_iter().map(|format| page(format, false)).chain([page(one, true)]).collect()
}

/// Makes one message of those of a family, as in Go: a long family has several (`DIFFERENCES.md`).
fn join_messages(page: &[u8]) -> Vec<u8> {
    let (mut families, mut rest) = (Vec::<(Vec<u8>, Vec<u8>)>::new(), page);
    while !rest.is_empty() {
        let len = decode_varint(&mut rest).unwrap() as usize;
        let (message, behind) = rest.split_at(len);
        rest = behind;
        // The header is name, help and type; the metrics are behind it.
        let mut fields = message;
        let mut header_len = 0;
        while let Ok((number, wire_type)) = decode_key(&mut fields)
            && number < 4
        {
            skip_field(wire_type, number, &mut fields, DecodeContext::default()).unwrap();
            header_len = len - fields.len();
        }
        let (header, metrics) = message.split_at(header_len);
        match families.last_mut() {
            Some((last, all)) if last == header => all.extend_from_slice(metrics),
            _ => families.push((header.to_vec(), metrics.to_vec())),
        }
    }
    let mut joined = Vec::new();
    for (header, metrics) in families {
        encode_varint((header.len() + metrics.len()) as u64, &mut joined);
        joined.extend_from_slice(&header);
        joined.extend_from_slice(&metrics);
    }
    joined
}

/// Why the answers differ, if they do.
fn difference(case: &CorpusCase) -> Option<String> {
    let frames = split_frames(&case.answer);
    let (expected_type, mut expected) = (String::from_utf8_lossy(frames[0]), frames[1].to_vec());
    sort_exemplar_labels(&mut expected);
    let (content_type, mut page) = own_answer(&case.input);
    if content_type.starts_with("application/vnd") {
        page = join_messages(&page);
    }
    if content_type != expected_type {
        return Some(format!("{content_type}, and not {expected_type}"));
    }
    if page == expected {
        return None;
    }
    let (ours, theirs) = (String::from_utf8_lossy(&page), String::from_utf8_lossy(&expected));
    let (a, b): (BTreeSet<_>, BTreeSet<_>) = (ours.lines().collect(), theirs.lines().collect());
    let only = |x: &BTreeSet<&str>, y: &BTreeSet<&str>| {
        x.difference(y).take(12).map(|line| format!("{line:?}")).collect::<Vec<_>>().join("\n")
    };
    let input = split_frames(&case.input);
    let (config, accept) = (String::from_utf8_lossy(input[0]), String::from_utf8_lossy(input[1]));
    Some(format!(
        "{config}, Accept: {accept}\nonly here:\n{}\n\nonly there:\n{}\n\n(in another order: {})",
        only(&a, &b),
        only(&b, &a),
        a == b
    ))
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/prometheus.corpus.zst")
}

/// Parts of an input that can be left out: metrics, then bodies.
fn smaller_inputs(input: &[u8]) -> Vec<Vec<u8>> {
    let frames = split_frames(input);
    let mut smaller = Vec::new();
    let join = |bodies: &[Vec<u8>]| {
        let mut out = Vec::new();
        frames[..2].iter().for_each(|frame| push_frame(&mut out, frame));
        bodies.iter().for_each(|body| push_frame(&mut out, body));
        out
    };
    let bodies: Vec<Vec<u8>> = frames[2..].iter().map(|body| body.to_vec()).collect();
    for i in 0..bodies.len() {
        let mut fewer = bodies.clone();
        fewer.remove(i);
        smaller.push(join(&fewer));
    }
    for (i, body) in bodies.iter().enumerate() {
        let request = ExportMetricsServiceRequest::decode(&body[..]).unwrap_or_default();
        for r in 0..request.resource_metrics.len() {
            for s in 0..request.resource_metrics[r].scope_metrics.len() {
                for m in 0..request.resource_metrics[r].scope_metrics[s].metrics.len() {
                    let mut less = request.clone();
                    less.resource_metrics[r].scope_metrics[s].metrics.remove(m);
                    let mut fewer = bodies.clone();
                    fewer[i] = less.encode_to_vec();
                    smaller.push(join(&fewer));
                }
            }
        }
    }
    smaller
}

/// Leaves parts of an input out as long as the answers differ, and shows what remains as OTLP/JSON.
fn shrink(tool: &Path, mut case: CorpusCase) -> String {
    'smaller: loop {
        for input in smaller_inputs(&case.input) {
            let Some(smaller) = ask_oracle(tool, &["page"], vec![input]).pop() else { continue };
            if difference(&smaller).is_some() {
                case = smaller;
                continue 'smaller;
            }
        }
        break;
    }
    let mut text = difference(&case).unwrap_or_default();
    for body in &split_frames(&case.input)[2..] {
        let mut document = vec![b'\n'];
        json::encode(Signal::Metrics, &Rope::new(bytes::Bytes::copy_from_slice(body), 0), &mut document);
        text.push_str(&String::from_utf8_lossy(&document));
    }
    text
}

#[test]
fn pages_are_byte_for_byte_those_that_the_go_exporter_recorded() {
    let cases = read_corpus(&corpus());
    let differences: Vec<_> =
        cases.iter().enumerate().filter_map(|(i, case)| Some(format!("seed {i}: {}", difference(case)?))).collect();
    assert!(differences.is_empty(), "{} of {}: {}", differences.len(), cases.len(), differences[0]);
    assert!(cases.len() as u64 == CASES);
}

/// Run by `scripts/differential`.
#[test]
#[ignore = "needs the Go program"]
fn pages_are_byte_for_byte_those_of_the_running_go_exporter() {
    let tool = tool_path("prometheus-oracle").expect("the Go program is built");
    let ask = |first: u64| ask_oracle(&tool, &["page"], (first..first + CASES).map(input).collect());
    let mut cases = ask(0);
    if std::env::var_os("OTELCORE_CORPUS").is_some_and(|value| value == "write") {
        write_corpus(&corpus(), &cases);
    }
    cases.extend(ask(u64::from(std::process::id()) << 20));
    let mut different: Vec<_> = cases.iter().filter(|case| difference(case).is_some()).cloned().collect();
    let count = different.len();
    if let Some(case) = different.pop() {
        panic!("{count} of {}: {}", cases.len(), shrink(&tool, case));
    }
}

/// Prometheus's parser takes every page, in every format. Besides the cases above there are those in which names and labels
/// become equal, under every configuration. Run by `scripts/differential`.
#[test]
#[ignore = "needs the Go program"]
fn every_page_is_accepted_by_the_parser_of_prometheus_in_all_formats() {
    let tool = tool_path("prometheus-oracle").expect("the Go program is built");
    let fresh = u64::from(std::process::id()) << 20;
    let seeds = (0..CASES / 2).chain(fresh..fresh + CASES / 2);
    let inputs: Vec<_> = seeds.flat_map(|seed| [input(seed), input_with_equal_names(seed)]).collect();
    let mut count = 0;
    for some in inputs.chunks(50) {
        let pages: Vec<_> = some.iter().flat_map(|input| pages_in_all_formats(input)).collect();
        let framed = pages.iter().map(|(format, page)| {
            let mut frames = Vec::new();
            push_frame(&mut frames, format.content_type().as_bytes());
            push_frame(&mut frames, page);
            frames
        });
        let answers = ask_oracle(&tool, &["parse"], framed.collect());
        count += answers.len();
        for ((format, page), refused) in pages.iter().zip(answers) {
            let why = String::from_utf8_lossy(&refused.answer);
            assert!(why.is_empty(), "{format:?}: {why}\n{}", String::from_utf8_lossy(page));
            check_page(*format, page).unwrap_or_else(|why| panic!("{why}\n{}", String::from_utf8_lossy(page)));
        }
    }
    println!("{} cases, {count} pages", inputs.len());
}
