//! Pages in OpenMetrics and protobuf, and names escaped for scrapers.

use otelcore_exposition::parse::{PageParser, ParserLimits};
use otelcore_exposition::{NameEscaping, PageFormat};

use super::*;
use crate::TranslationStrategy;

fn format(format: PageFormat, escaping: NameEscaping) -> NegotiatedFormat {
    NegotiatedFormat { format, escaping }
}

fn open_metrics(fixture: &mut Fixture) -> String {
    let page = fixture.page_in(0, format(PageFormat::OpenMetrics1, NameEscaping::Underscores));
    String::from_utf8(page).unwrap()
}

fn protobuf_events(fixture: &mut Fixture) -> Vec<String> {
    let page = fixture.page_in(0, format(PageFormat::Protobuf, NameEscaping::AllowUtf8));
    let mut parser = PageParser::new(PageFormat::Protobuf, ParserLimits::default());
    parser.handle_data(&page);
    parser.handle_end();
    let mut events = Vec::new();
    while let Some(event) = parser.poll_event() {
        events.push(format!("{:?}", event.unwrap()));
    }
    events
}

fn with_exemplars() -> Vec<Metric> {
    let mut count = with_start(point(3, 7.0, &[]), 2);
    count.exemplars = vec![exemplar(1, 1, 1.0), exemplar(0, 2, 2.0)];
    let mut h = buckets((2, 3), &[1.0, 5.0], &[1, 1, 1], 9.0);
    h.exemplars = vec![exemplar(0, 1, 0.5), exemplar(0, 2, 0.75), exemplar(0, 3, 7.0)];
    let mut level = point(3, 1.0, &[]);
    level.exemplars = vec![exemplar(1, 1, 1.0)];
    vec![counter("c", vec![count]), histogram("h", CUMULATIVE, vec![h]), gauge("g", "", vec![level])]
}

#[test]
fn exemplars_of_counters_and_histograms_are_in_open_metrics() {
    let mut fixture = Fixture::without_scope_info();
    fixture.metrics(0, with_exemplars());
    let expected = "# HELP c \n# TYPE c counter\n\
        c_total 7.0 # {span_id=\"0202020202020202\"} 2.0 1.5\n\
        # HELP g \n# TYPE g gauge\ng 1.0\n\
        # HELP h \n# TYPE h histogram\n\
        h_bucket{le=\"1.0\"} 1 # {span_id=\"0202020202020202\"} 0.75 1.5\n\
        h_bucket{le=\"5.0\"} 2\n\
        h_bucket{le=\"+Inf\"} 3 # {span_id=\"0303030303030303\"} 7.0 1.5\n\
        h_sum 9.0\nh_count 3\n# EOF\n";
    assert_eq!(open_metrics(&mut fixture), expected);
    assert!(!fixture.page(0).contains("span_id"));
    // A point without exemplars has none.
    fixture.metrics(0, vec![counter("c", vec![point(4, 8.0, &[])])]);
    assert!(open_metrics(&mut fixture).contains("c_total 8.0\n"));
}

#[test]
fn last_exemplars_of_a_point_with_too_many_are_kept() {
    let mut fixture = Fixture::without_scope_info();
    let mut h = exponential_point((1, 2), 0, 0, &[1]);
    h.exemplars = (0..100).map(|i| exemplar(0, 1, f64::from(i))).collect();
    fixture.metrics(0, vec![exponential("h", CUMULATIVE, vec![h])]);
    let events = protobuf_events(&mut fixture).join("\n");
    let count = crate::MAX_EXEMPLARS;
    assert_eq!(events.matches("span_id").count(), count);
    let first = format!("value: {}.0", 100 - count);
    assert!(events.contains("value: 99.0") && events.contains(&first) && !events.contains("value: 0.0"), "{events}");
}

#[test]
fn exponential_histogram_is_a_native_one_in_protobuf() {
    let mut fixture = Fixture::without_scope_info();
    let mut p = exponential_point((0, 1), 3, -2, &[1, 0, 3, 0, 0, 0, 4]);
    (p.zero_count, p.count) = (2, 10);
    fixture.metrics(0, vec![exponential("e", CUMULATIVE, vec![p])]);
    let event = protobuf_events(&mut fixture).pop().unwrap();
    assert!(event.contains("schema: 3") && event.contains("zero_threshold: 1e-128"), "{event}");
    assert!(event.contains("spans: [BucketSpan { offset: -1, length: 7 }]"), "{event}");
    assert!(event.contains("Deltas([1, -1, 3, -3, 0, 0, 4])"), "{event}");
    // A higher scale than Prometheus has.
    let mut fixture = Fixture::without_scope_info();
    fixture.metrics(0, vec![exponential("e", CUMULATIVE, vec![exponential_point((0, 1), 10, -5, &[1, 2, 4, 8, 16])])]);
    let event = protobuf_events(&mut fixture).pop().unwrap();
    assert!(event.contains("schema: 8") && event.contains("offset: -1, length: 2"), "{event}");
    assert!(event.contains("Deltas([1, 29])"), "{event}");
}

#[test]
fn created_time_is_in_protobuf_if_it_is_known() {
    let mut fixture = Fixture::without_scope_info();
    fixture.metrics(0, with_exemplars());
    let events = protobuf_events(&mut fixture);
    let created: Vec<bool> =
        events.iter().filter(|e| e.starts_with("Sample")).map(|e| e.contains("created_ms: Some(2000)")).collect();
    // The gauge has none.
    assert_eq!(created.iter().filter(|c| **c).count(), created.len() - 1, "{events:#?}");
}

#[test]
fn large_family_is_several_messages_that_are_read_as_one() {
    let mut fixture = Fixture::without_scope_info();
    let points = (0..3000).map(|i| point(1, f64::from(i), &[("k", &format!("{i:04}"))])).collect();
    let mut h = buckets((0, 1), &(0..9000).map(f64::from).collect::<Vec<_>>(), &[1, 2], 1.0);
    h.attributes = attributes(&[("long", &"x".repeat(100_000))]);
    fixture.metrics(0, vec![gauge("g", "", points), histogram("h", CUMULATIVE, vec![h])]);
    let events = protobuf_events(&mut fixture);
    assert_eq!(events.iter().filter(|e| e.starts_with("Sample(Sample { name: \"g\"")).count(), 3000);
    assert_eq!(events.iter().filter(|e| e.contains("h_bucket")).count(), 9001);
    assert!(events.iter().filter(|e| e.starts_with("Type")).count() > 3);
}

/// Prometheus reads the histograms of a message as the kind of the one before.
#[test]
fn classic_and_native_histograms_of_one_name_are_in_messages_of_their_own() {
    let mut fixture = Fixture::without_scope_info();
    for i in 0..6_u64 {
        let list = format!("{i}");
        let list = attributes(&[("k", &list)]);
        let (mut classic, mut native) = (buckets((0, 1), &[1.0], &[1, 2], 1.0), exponential_point((0, 1), 0, 0, &[i]));
        (classic.attributes, native.attributes) = (list.clone(), list);
        let metric = if i == 0 || i > 3 {
            histogram("h", CUMULATIVE, vec![classic])
        } else {
            exponential("h", CUMULATIVE, vec![native])
        };
        fixture.metrics(0, vec![metric]);
    }
    let events = protobuf_events(&mut fixture);
    let kinds: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            _ if event.starts_with("Type") => Some('T'),
            _ if event.starts_with("NativeHistogram") => Some('n'),
            _ if event.contains("\"h_count\"") => Some('c'),
            _ => None,
        })
        .collect();
    assert_eq!(kinds.iter().collect::<String>(), "TcTnnnTcc", "{events:#?}");
}

#[test]
fn names_are_escaped_as_the_scraper_wants_them() {
    let mut fixture = Fixture::with_config(|s| {
        s.strategy = TranslationStrategy::NoTranslation;
        s.without_scope_info = true;
    });
    fixture.metrics(0, vec![gauge("cpu.usage", "", vec![point(1, 0.5, &[("é", "x"), ("http.method", "GET")])])]);
    let mut page = |escaping| String::from_utf8(fixture.page_in(0, format(PageFormat::Text, escaping))).unwrap();
    assert!(page(NameEscaping::Underscores).ends_with("\ncpu_usage{http_method=\"GET\",_=\"x\"} 0.5\n"));
    assert!(page(NameEscaping::Dots).ends_with("\ncpu_dot_usage{http_dot_method=\"GET\",__=\"x\"} 0.5\n"));
    assert!(page(NameEscaping::Values).ends_with("\nU__cpu_2e_usage{U__http_2e_method=\"GET\",U___e9_=\"x\"} 0.5\n"));
    let expected = "# HELP \"cpu.usage\" \n# TYPE \"cpu.usage\" gauge\n\
        {\"cpu.usage\",\"http.method\"=\"GET\",\"é\"=\"x\"} 0.5\n";
    assert_eq!(page(NameEscaping::AllowUtf8), expected);
}

#[test]
fn what_becomes_equal_when_escaped_is_shown_once_on_escaped_pages() {
    let mut fixture = Fixture::with_config(|s| {
        s.strategy = TranslationStrategy::NoTranslation;
        s.without_scope_info = true;
    });
    let g = |name: &str, list: Attributes<'_>, value: f64| gauge(name, "", vec![point(1, value, list)]);
    fixture.metrics(
        0,
        vec![
            g("a.b", &[], 1.0),
            g("a-b", &[], 2.0),
            g("m", &[("x.y", "1")], 3.0),
            g("m", &[("x-y", "1")], 4.0),
            g("m", &[("x.y", "1"), ("x_y", "2")], 5.0),
            g("n", &[("x.y", "1")], 6.0),
            g("n", &[("x_y", "1")], 7.0),
            histogram("h.x", CUMULATIVE, vec![buckets((0, 1), &[], &[1], 1.0)]),
            g("h_x_count", &[], 8.0),
        ],
    );
    let mut samples = |escaping| {
        let page = String::from_utf8(fixture.page_in(0, format(PageFormat::Text, escaping))).unwrap();
        page.lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(samples(NameEscaping::AllowUtf8).len(), 11);
    // The first that arrived, and names that need not be escaped before others.
    let expected = ["a_b 1", "h_x_count 8", "m{x_y=\"1\"} 3", "m{x_y=\"1;2\"} 5", "n{x_y=\"1\"} 7"];
    assert_eq!(samples(NameEscaping::Underscores), expected);
}
