//! Pages of one target, under a clock of the test.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;

use super::fixture::TargetFixture;
use crate::target::PageError;

const CONFIG: &str = "config: {scrape_configs: [{job_name: shop, OPTIONS static_configs: [{targets: ['host:80']}]}]}";

fn fixture(options: &str) -> TargetFixture {
    TargetFixture::new(&CONFIG.replace("OPTIONS", options))
}

const TEXT: &str = "text/plain";

/// Names of metrics with the number of their points, and whether all are markers.
fn metrics(request: &ExportMetricsServiceRequest) -> Vec<(String, usize, bool)> {
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    let found = scopes.flat_map(|scope| &scope.metrics).map(|metric| {
        let flags: Vec<u32> = match metric.data.as_ref().unwrap() {
            Data::Gauge(data) => data.data_points.iter().map(|point| point.flags).collect(),
            Data::Sum(data) => data.data_points.iter().map(|point| point.flags).collect(),
            Data::Histogram(data) => data.data_points.iter().map(|point| point.flags).collect(),
            Data::ExponentialHistogram(data) => data.data_points.iter().map(|point| point.flags).collect(),
            Data::Summary(data) => data.data_points.iter().map(|point| point.flags).collect(),
        };
        (metric.name.clone(), flags.len(), flags.iter().all(|flags| *flags == 1))
    });
    let is_page = |name: &str| name != "up" && !name.starts_with("scrape_");
    found.filter(|(name, ..)| is_page(name)).collect()
}

#[test]
fn known_series_are_forgotten_and_what_they_took_is_free_again() {
    let mut target = fixture("");
    let page = |from: usize| -> String { (from..from + 500).map(|i| format!("m{{i=\"{i}\"}} 1\n")).collect() };
    for round in 0..20 {
        let request = target.scrape(1_000_000 + round * 1000, TEXT, page(round as usize * 500).as_bytes());
        let expected = if round == 0 { 500 } else { 1000 };
        assert_eq!(metrics(&request), [("m".to_owned(), expected, false)], "{round}");
        assert_eq!(target.target.known(), (500, 500), "{round}");
    }
    let kept = target.budget.kept();
    assert!((50_000..400_000).contains(&kept), "{kept}");
    assert_eq!(target.budget.held(), 0);
    target.scrape(9_000_000, TEXT, b"one 1\n");
    assert!(target.budget.kept() < 2000, "{}", target.budget.kept());
}

#[test]
fn pages_that_fail_with_other_series_each_time_do_not_grow_the_state() {
    let mut target = fixture("sample_limit: 10, ");
    for round in 0..50 {
        let page: String = (0..400).map(|i| format!("m{{i=\"{round}.{i}\"}} 1\n")).collect();
        target.scrape(1_000_000 + round * 1000, TEXT, page.as_bytes());
        assert_eq!(target.error, Some(PageError::Page("sample limit exceeded".to_owned())));
        assert!(target.target.known().0 <= 1500, "{:?}", target.target.known());
    }
}

#[test]
fn scrape_that_is_given_up_in_the_middle_of_a_page_ends_all_series_and_adds_none() {
    let mut target = fixture("");
    target.scrape(1000, TEXT, b"a 1\nb 1\n");
    let request = target.fail(2000, Some(b"a 1\nc 1\n"), false);
    assert_eq!(metrics(&request), [("a".to_owned(), 1, true), ("b".to_owned(), 1, true)]);
    assert_eq!(target.target.known(), (2, 2));
    let request = target.fail(3000, None, false);
    assert!(metrics(&request).is_empty());
    let request = target.scrape(4000, TEXT, b"a 1\nb 1\n");
    assert_eq!(metrics(&request), [("a".to_owned(), 1, false), ("b".to_owned(), 1, false)]);
}

#[test]
fn series_whose_labels_change_their_order_go_on() {
    let mut target = fixture("");
    target.scrape(1000, TEXT, b"a{x=\"1\",y=\"2\"} 1\n");
    let request = target.scrape(2000, TEXT, b"a{y=\"2\",x=\"1\"} 1\n");
    assert_eq!(metrics(&request), [("a".to_owned(), 1, false)]);
}

#[test]
fn end_of_a_target_ends_its_series_and_those_of_its_scrapes() {
    let mut target = fixture("");
    assert!(!target.target.was_scraped());
    target.scrape(1000, TEXT, b"a 1\n");
    target.target.end_of_run(5000);
    let request = target.finish();
    assert_eq!(metrics(&request), [("a".to_owned(), 1, true)]);
    let text = format!("{request:?}");
    assert!(text.contains("\"up\"") && text.contains("time_unix_nano: 5000000000"), "{text}");
    assert_eq!(text.matches("flags: 1").count(), 6, "{text}");
}

#[test]
fn metric_that_differs_from_a_gauge_in_its_suffix_is_a_metric_of_its_own() {
    let mut target = fixture("");
    let request = target.scrape(1000, TEXT, b"# TYPE a gauge\na 1\na_count 2\na{x=\"y\"} 3\n");
    assert_eq!(metrics(&request), [("a".to_owned(), 2, false), ("a_count".to_owned(), 1, false)]);
}

#[test]
fn series_of_other_job_and_instance_have_their_resources() {
    let mut target = fixture("honor_labels: true, ");
    let page = b"a{job=\"x\",instance=\"i:1\"} 1\na{job=\"x\",instance=\"i:2\"} 1\na 1\n";
    let request = target.scrape(1000, TEXT, page);
    assert_eq!(request.resource_metrics.len(), 3);
}

#[test]
fn page_in_parts_of_any_size_is_the_same() {
    let page =
        b"# HELP a text\n# TYPE a histogram\na_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 2\na_sum 3\na_count 2\nb 1\n";
    let mut whole = fixture("");
    let expected = whole.scrape(1000, TEXT, page);
    for part in [1, 2, 3, 50] {
        let mut target = fixture("");
        target.part = part;
        assert_eq!(target.scrape(1000, TEXT, page), expected, "{part}");
    }
}

#[test]
fn many_points_are_several_payloads_and_each_has_resource_and_scope() {
    let mut target = fixture("");
    let page: String = (0..30_000).map(|i| format!("m{{i=\"{i}\"}} {i}\n")).collect();
    let request = target.scrape(1000, TEXT, page.as_bytes());
    assert!(target.payloads >= 4, "{}", target.payloads);
    assert_eq!(request.resource_metrics.len(), target.payloads);
    assert!(request.resource_metrics.iter().all(|entry| entry.resource.is_some() && entry.scope_metrics.len() == 1));
    assert_eq!(metrics(&request).iter().map(|(_, points, _)| points).sum::<usize>(), 30_000);
    assert_eq!(target.budget.held(), 0);
}

#[test]
fn page_without_memory_is_refused_and_known_series_are_kept() {
    let mut target = fixture("");
    target.scrape(1000, TEXT, b"a 1\n");
    target.budget.set_limit(200_000);
    target.budget.set_hard_limit(300_000);
    let page: String = (0..30_000).map(|i| format!("m{{i=\"{i}\"}} {i}\n")).collect();
    target.part = 4096;
    let request = target.scrape(2000, TEXT, page.as_bytes());
    assert_eq!(target.error, Some(PageError::NoRoom));
    assert_eq!(metrics(&request), [("a".to_owned(), 1, true)]);
    assert!(target.budget.kept() < 300_000, "{}", target.budget.kept());
    let request = target.scrape(3000, TEXT, b"a 1\n");
    assert_eq!(metrics(&request), [("a".to_owned(), 1, false)]);
}

#[test]
fn nonsense_never_panics() {
    let pages: [&[u8]; 8] = [
        b"\xff\xfe\x00",
        b"{",
        b"a{b=\"c\",b=\"d\"} 1\n",
        b"a{le=\"x\"} 1\n",
        b"# TYPE a histogram\na 1\na_bucket 1\n",
        b"{\"\"} 1\n",
        b"# EOF\n",
        b"",
    ];
    for content_type in [TEXT, "application/openmetrics-text", "application/vnd.google.protobuf", ";", "\u{e9}"] {
        for page in pages {
            for options in ["", "honor_labels: true, ", "scrape_native_histograms: true, "] {
                let mut target = fixture(options);
                target.scrape(1000, content_type, page);
                target.scrape(-1000, content_type, page);
            }
        }
    }
}

#[test]
fn long_lines_and_many_labels_cost_no_more_than_their_length() {
    let mut target = fixture("");
    let labels = |count: usize| -> String { (0..count).map(|i| format!("l{i}=\"\",")).collect() };
    let page: String = (0..40).map(|_| format!("target_info{{{}x=\"y\"}} 1\n", labels(10_000))).collect();
    let request = target.scrape(1000, TEXT, page.as_bytes());
    assert!(target.error.is_none() && request.resource_metrics.len() == 1);
    target.scrape(2000, TEXT, format!("a{{{}}} 1\n", labels(20_000)).as_bytes());
    let Some(PageError::Page(text)) = &target.error else { panic!("{:?}", target.error) };
    assert!(text.contains("longer than 131072 bytes"), "{text}");
}

#[test]
fn part_with_much_work_is_divided() {
    let mut target = fixture("");
    let page: String = (0..3000).map(|i| format!("m{i} 1\n")).collect();
    target.target.begin(Some(TEXT.as_bytes()), 1000).unwrap();
    let (work, is_done) = target.target.push(page.as_bytes()).unwrap();
    assert!(work < 100_000 && !is_done, "{work}");
    let mut steps = 1;
    while !target.target.push(&[]).unwrap().1 {
        steps += 1;
    }
    assert!((5..50).contains(&steps), "{steps}");
}
