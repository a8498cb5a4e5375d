//! Pages compared with what the Go receiver makes of them, from fixed seeds: recorded answers in the first tier, the running
//! Go code by `scripts/differential`.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use otelcore_test_support::{CorpusCase, ask_about_seeds, read_corpus};
use prost::Message;
use serde_json::Value;

use super::fixture::{TargetFixture, read_config};
use super::generate;
use super::normalize::normalized;
use crate::config::resolve;
use crate::protocol::accept_header;

const CASES: u64 = 400;
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/prometheus.corpus.zst");

/// What the cases contained.
#[derive(Default, Debug)]
struct Seen {
    scrapes: usize,
    failed: usize,
    points: usize,
    refused_configs: usize,
}

fn bytes_of(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap_or_default()).unwrap()
}

/// Go loses exemplars where there are external labels.
fn without_exemplars(request: &mut ExportMetricsServiceRequest) {
    let scopes = request.resource_metrics.iter_mut().flat_map(|resource| &mut resource.scope_metrics);
    for metric in scopes.flat_map(|scope| &mut scope.metrics) {
        match &mut metric.data {
            Some(Data::Gauge(data)) => data.data_points.iter_mut().for_each(|point| point.exemplars.clear()),
            Some(Data::Sum(data)) => data.data_points.iter_mut().for_each(|point| point.exemplars.clear()),
            Some(Data::Histogram(data)) => data.data_points.iter_mut().for_each(|point| point.exemplars.clear()),
            Some(Data::ExponentialHistogram(data)) => {
                data.data_points.iter_mut().for_each(|point| point.exemplars.clear());
            }
            _ => {}
        }
    }
}

/// A line without what all of them have.
fn shown(line: &str) -> String {
    let short =
        ["Some", "KeyValue", "AnyValue", ", key_strindex: 0", ", exemplars: []", ", dropped_attributes_count: 0"];
    let line = line.split_once("] InstrumentationScope").map_or(line, |(_, rest)| rest);
    short.iter().fold(line.to_owned(), |line, text| line.replace(text, ""))
}

/// What the Go receiver makes of a number that is none: the smallest integer.
const NO_NUMBER: u64 = 1 << 63;

/// Removes what differs on purpose: points of histograms of which some buckets have ended, start times of series that have
/// ended, and exemplars of native histograms, which Go leaves out after the first series of a family that has them.
fn remove_no_numbers(ours: &mut ExportMetricsServiceRequest, gos: &mut ExportMetricsServiceRequest) {
    let metrics = |request: &mut ExportMetricsServiceRequest, each: &mut dyn FnMut(&mut Metric)| {
        let scopes = request.resource_metrics.iter_mut().flat_map(|resource| &mut resource.scope_metrics);
        scopes.flat_map(|scope| &mut scope.metrics).for_each(each);
    };
    let key = |name: &str, attributes: &[KeyValue]| {
        let mut attributes: Vec<String> = attributes.iter().map(|attribute| format!("{attribute:?}")).collect();
        attributes.sort();
        format!("{name} {attributes:?}")
    };
    let (mut removed, mut without_exemplars) = (Vec::new(), Vec::new());
    metrics(gos, &mut |metric| match &mut metric.data {
        Some(Data::Sum(data)) => data.data_points.iter_mut().for_each(|point| point.start_time_unix_nano %= NO_NUMBER),
        Some(Data::Summary(data)) => {
            for point in &mut data.data_points {
                point.start_time_unix_nano %= NO_NUMBER;
                if point.flags == 0 && point.quantile_values.iter().any(|quantile| quantile.value.is_nan()) {
                    removed.push(key(&metric.name, &point.attributes));
                }
            }
        }
        Some(Data::ExponentialHistogram(data)) => {
            for point in &mut data.data_points {
                point.start_time_unix_nano %= NO_NUMBER;
                if point.exemplars.is_empty() {
                    without_exemplars.push(key(&metric.name, &point.attributes));
                }
            }
        }
        Some(Data::Histogram(data)) => {
            for point in &mut data.data_points {
                point.start_time_unix_nano %= NO_NUMBER;
                if point.bucket_counts.iter().any(|count| *count >= NO_NUMBER) {
                    removed.push(key(&metric.name, &point.attributes));
                }
            }
        }
        _ => {}
    });
    for request in [ours, gos] {
        metrics(request, &mut |metric| {
            let is_kept = |attributes: &[KeyValue]| !removed.contains(&key(&metric.name, attributes));
            match &mut metric.data {
                Some(Data::Histogram(data)) => data.data_points.retain(|point| is_kept(&point.attributes)),
                Some(Data::Summary(data)) => data.data_points.retain(|point| is_kept(&point.attributes)),
                Some(Data::ExponentialHistogram(data)) => {
                    for point in &mut data.data_points {
                        if without_exemplars.contains(&key(&metric.name, &point.attributes)) {
                            point.exemplars.clear();
                        }
                    }
                }
                _ => {}
            }
        });
    }
}

/// A mistake of the type of a value is found by our reader before Prometheus's own check, and has its words.
fn is_type_mistake(text: &str) -> bool {
    text.contains("expected type") || text.contains("cannot parse")
}

/// The cases that differ from Go's answers.
fn compare_all(cases: &[CorpusCase]) -> Seen {
    let mut seen = Seen::default();
    let differences: Vec<String> = cases.iter().filter_map(|case| compare(case, &mut seen).err()).collect();
    let shown: Vec<&str> = differences.iter().take(6).map(|text| text.get(..12000).unwrap_or(text)).collect();
    assert!(differences.is_empty(), "{} of {} cases differ:\n{}", differences.len(), cases.len(), shown.join("\n\n"));
    seen
}

fn compare(case: &CorpusCase, seen: &mut Seen) -> Result<(), String> {
    let input: Value = serde_json::from_slice(&case.input).unwrap();
    let answer: Value = serde_json::from_slice(&case.answer).unwrap();
    let yaml = input["config"].as_str().unwrap();
    let pages = input["pages"].as_array().cloned().unwrap_or_default();
    let error = answer["error"].as_str().unwrap_or_default();
    let (config, errors) = read_config(yaml);
    if !error.is_empty() {
        seen.refused_configs += 1;
        let is_same = |text: &String| error.contains(text.as_str()) || is_type_mistake(text);
        return if errors.iter().any(is_same) { Ok(()) } else { Err(format!("{errors:?} of {yaml}, Go has {error}")) };
    }
    if !errors.is_empty() {
        return Err(format!("Go accepts {yaml}: {errors:?}"));
    }
    if pages.is_empty() {
        return Ok(());
    }
    let has_external_labels = !config.config.global.external_labels.0.is_empty();
    let job = &config.config.scrape_configs[0];
    let resolved = resolve(job, &config.config).unwrap();
    let headers = &answer["requests"][0]["headers"];
    assert_eq!(headers["Accept"][0], accept_header(&resolved.protocols, resolved.escaping), "{yaml}");
    let encoding = if job.enable_compression { "gzip" } else { "identity" };
    assert_eq!(headers["Accept-Encoding"][0], encoding, "{yaml}");

    let mut fixture = TargetFixture::new(yaml);
    let limit = resolved.body_size_limit;
    for (number, page) in pages.iter().enumerate() {
        let body = bytes_of(&page["body"]);
        let time = 1_800_000_000_000 + 15_000 * i64::try_from(number).unwrap();
        fixture.part = [7, 100, usize::MAX][number % 3];
        let is_too_large = page["status"] == 200 && limit > 0 && body.len() as u64 >= limit;
        let mut request = match page["status"].as_u64() {
            Some(200) if !is_too_large => {
                fixture.scrape(time, page["content_type"].as_str().unwrap_or_default(), &body)
            }
            _ => fixture.fail(time, is_too_large.then_some(&body[..body.len() / 2]), is_too_large),
        };
        let mut expected = ExportMetricsServiceRequest::decode(&bytes_of(&answer["bodies"][number])[..]).unwrap();
        if has_external_labels {
            without_exemplars(&mut request);
            without_exemplars(&mut expected);
        }
        remove_no_numbers(&mut request, &mut expected);
        let (ours, gos) = (normalized(request), normalized(expected));
        if ours != gos {
            let only = |a: &[String], b: &[String]| -> String {
                a.iter().filter(|line| !b.contains(line)).map(|line| format!("\n  {}", shown(line))).collect()
            };
            let text =
                pages.iter().take(number + 1).map(|p| String::from_utf8_lossy(&bytes_of(&p["body"])).into_owned());
            return Err(format!(
                "{yaml}\nscrape {number}, error {:?}, notes {:?}\nonly ours: {}\nonly Go's: {}\npages {:?}",
                fixture.error,
                fixture.notes,
                only(&ours, &gos),
                only(&gos, &ours),
                text.collect::<Vec<_>>()
            ));
        }
        seen.scrapes += 1;
        seen.failed += usize::from(fixture.error.is_some());
        seen.points += ours.len();
    }
    Ok(())
}

#[test]
fn recorded_pages_become_what_the_go_receiver_makes_of_them() {
    let seen = compare_all(&read_corpus(Path::new(CORPUS)));
    let Seen { scrapes, failed, points, refused_configs } = seen;
    assert!(scrapes > 900 && failed > 50 && points > 5000 && refused_configs > 20, "{seen:?}");
}

#[test]
#[ignore = "needs the oracle; run by scripts/differential"]
fn pages_of_fixed_and_fresh_seeds_become_what_the_go_receiver_makes_of_them() {
    let cases = ask_about_seeds("prometheus-receiver-oracle", Path::new(CORPUS), CASES, generate::input);
    let Some(cases) = cases else { return };
    let seen = compare_all(&cases);
    assert!(seen.scrapes > 1800, "{seen:?}");
}
