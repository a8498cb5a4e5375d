//! The requests compared with those of the Go exporter, series by series, on metrics from fixed seeds: recorded answers
//! in the first tier, the running Go exporter by `scripts/differential`.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, unreachable_pub, dead_code, reason = "a test")]

mod content;
#[path = "../../../pdata/tests/oracle/generate.rs"]
mod generate;
mod metrics;
mod proto;

use std::path::Path;

use content::{Content, Series};
use otelcore_config::declare::Config;
use otelcore_config::{Diagnostics, Section, from_yaml};
use otelcore_exporter_prometheus_remote_write::{PrometheusRemoteWriteConfig, RemoteWriteFormat, encode_requests};
use otelcore_pdata::{Rope, Signal, check};
use otelcore_pipeline::{EncodeLimits, Piece};
use otelcore_test_support::{CorpusCase, ask_about_seeds, push_frame, read_corpus, take_u32};
use prost::Message;

const CASES: u64 = 500;
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/remote-write.corpus.zst");

const CONFIGS: [&str; 12] = [
    "{}",
    "{protobuf_message: io.prometheus.write.v2.Request}",
    "{send_metadata: true, namespace: ns}",
    "{resource_to_telemetry_conversion: {enabled: true}}",
    "{resource_to_telemetry_conversion: {enabled: true, exclude_service_attributes: true}, external_labels: {a.b: x, job: y, c: z}}",
    "{target_info: {enabled: false}, disable_scope_info: true, add_metric_suffixes: false}",
    "{protobuf_message: io.prometheus.write.v2.Request, translation_strategy: NoTranslation}",
    "{protobuf_message: io.prometheus.write.v2.Request, translation_strategy: NoUTF8EscapingWithSuffixes, namespace: a.b}",
    "{protobuf_message: io.prometheus.write.v2.Request, disable_scope_info: true, external_labels: {_x: y}}",
    "{translation_strategy: UnderscoreEscapingWithoutSuffixes, send_metadata: true}",
    "{protobuf_message: io.prometheus.write.v2.Request, resource_to_telemetry_conversion: {enabled: true}}",
    "{translation_strategy: UnderscoreEscapingWithSuffixes, external_labels: {otel_scope_name: q, 1a: b}}",
];

fn format_of(yaml: &str) -> RemoteWriteFormat {
    let d = Diagnostics::new();
    let node = from_yaml(&format!("endpoint: http://h/\n{}", flat(yaml)), &d).unwrap();
    let section = Section::new(Some(&node), "exporters::prometheus_remote_write", &d);
    let config = PrometheusRemoteWriteConfig::read_section(section, &PrometheusRemoteWriteConfig::default());
    config.format().unwrap()
}

/// The keys of a map in one line as a map of several lines.
fn flat(yaml: &str) -> String {
    let inner = yaml.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
    let (mut depth, mut out) = (0, String::new());
    for c in inner.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if c == ',' && depth == 0 {
            out.push('\n');
        } else if c != ' ' || !out.ends_with('\n') {
            out.push(c);
        }
    }
    out
}

/// The configuration behind its length, and a request.
fn input(seed: u64) -> Vec<u8> {
    let mut input = Vec::new();
    push_frame(&mut input, CONFIGS[seed as usize % CONFIGS.len()].as_bytes());
    metrics::request(seed).encode(&mut input).unwrap();
    input
}

fn body_of(bytes: &[u8]) -> Rope {
    let items = check(Signal::Metrics, bytes).unwrap().items;
    Rope::new(bytes.to_vec().into(), items)
}

fn limits() -> EncodeLimits {
    EncodeLimits { message_bytes: usize::MAX, max_messages: 1000, total_bytes: usize::MAX }
}

fn encode(format: &RemoteWriteFormat, max_bytes: usize, body: Rope) -> Vec<Vec<u8>> {
    let (encoded, _) = encode_requests(format, max_bytes, Piece { body, ..Piece::default() }, limits());
    assert!(encoded.rest.is_none());
    encoded.messages.into_iter().map(|message| message.content.parts.concat()).filter(|body| !body.is_empty()).collect()
}

fn as_slices(bodies: &[Vec<u8>]) -> Vec<&[u8]> {
    bodies.iter().map(Vec::as_slice).collect()
}

/// What deliberately differs from Go is made equal: starts are only written here, and in version 2 also the exemplars of
/// buckets.
fn without_differences(content: &mut Content, is_version_2: bool) {
    for ((labels, is_native), series) in &mut content.series {
        series.starts.clear();
        let is_bucket = labels.iter().any(|(name, _)| name == "le");
        if is_version_2 && is_bucket && !*is_native {
            series.exemplars.clear();
        }
    }
}

fn compare(case: &CorpusCase, seen: &mut usize) {
    let mut rest = case.input.as_slice();
    let len = take_u32(&mut rest) as usize;
    let (config, body) = rest.split_at(len);
    let format = format_of(std::str::from_utf8(config).unwrap());
    let is_version_2 = format.message == otelcore_exporter_prometheus_remote_write::ProtobufMessage::Version2;
    let answers = otelcore_test_support::split_frames(&case.answer);
    let (error, bodies) = answers.split_first().unwrap();
    assert_eq!(String::from_utf8_lossy(error), "");
    let mut expected = Content::new(bodies, is_version_2);
    let requests = encode(&format, usize::MAX, body_of(body));
    let mut got = Content::new(&as_slices(&requests), is_version_2);
    without_differences(&mut expected, is_version_2);
    without_differences(&mut got, is_version_2);
    let decoded = || metrics::decode(body);
    for (labels, series) in &expected.series {
        *seen += 1;
        let empty = Series::default();
        assert_eq!(got.series.get(labels).unwrap_or(&empty), series, "{labels:?} of {:#?}", decoded());
    }
    let more: Vec<_> = got.series.keys().filter(|labels| !expected.series.contains_key(*labels)).collect();
    assert!(more.is_empty(), "{more:?} of {:#?}", decoded());
    if !expected.series.is_empty() {
        assert_eq!(got.metadata, expected.metadata);
    }
    assert_eq!((got.repeated, got.unsorted), (0, 0));
}

#[test]
fn recorded_metrics_are_translated_as_by_the_go_exporter() {
    let mut seen = 0;
    read_corpus(Path::new(CORPUS)).iter().for_each(|case| compare(case, &mut seen));
    assert!(seen > 5000, "{seen} series were compared");
}

#[test]
#[ignore = "needs the oracle; run by scripts/differential"]
fn metrics_of_fixed_and_fresh_seeds_are_translated_as_by_the_go_exporter() {
    let Some(cases) = ask_about_seeds("remote-write-oracle", Path::new(CORPUS), CASES, input) else { return };
    let mut seen = 0;
    cases.iter().for_each(|case| compare(case, &mut seen));
    assert!(seen > 10_000, "{seen} series were compared");
}

#[test]
fn requests_of_bounded_length_contain_the_same_and_each_series_is_in_one_of_them() {
    for seed in 0..60 {
        let mut input = input(seed);
        let len = u32::from_le_bytes(input[..4].try_into().unwrap()) as usize;
        let body = input.split_off(4 + len);
        let format = format_of(std::str::from_utf8(&input[4..]).unwrap());
        let format = RemoteWriteFormat { target_info: false, ..format };
        let is_version_2 = format.message == otelcore_exporter_prometheus_remote_write::ProtobufMessage::Version2;
        let whole = encode(&format, usize::MAX, body_of(&body));
        for max_bytes in [300, 2000] {
            let parts = encode(&format, max_bytes, body_of(&body));
            let [whole, parts] = [&whole, &parts].map(|bodies| Content::new(&as_slices(bodies), is_version_2));
            assert_eq!(parts.series, whole.series, "{seed}");
            assert_eq!(parts.repeated, 0, "{seed}");
        }
    }
}
