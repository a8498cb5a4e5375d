//! Any division of any page yields the same events, and what the writer writes is read as it was.

use otelcore_exposition::PageFormat::{OpenMetrics1, Protobuf, Text};
use otelcore_exposition::parse::{Event, PageParser, ParserLimits};
use otelcore_exposition::{
    MetricType, OPEN_METRICS_END, PageName, SeriesHead, TextDialect, write_family_header, write_label,
    write_quoted_text,
};
use proptest::prelude::*;

use crate::dump::{dump, dump_in_pieces, number};
use crate::protobuf::{SEEDS, family_of};

/// Parts of pages, put together at random.
const PARTS: [&str; 34] = [
    "# HELP ",
    "# TYPE ",
    "# UNIT ",
    "# EOF\n",
    "# EOF",
    "#",
    "a",
    "b_total",
    "seconds",
    "counter",
    "info",
    "{",
    "}",
    "x",
    "=",
    "\"",
    "\"v\"",
    "\\",
    "\\n",
    ",",
    " ",
    "\t",
    "\n",
    "\r\n",
    "1",
    "-2.5",
    "NaN",
    "+Inf",
    "1e400",
    " # {",
    "é",
    ":",
    "a_seconds{x=\"v\"} 1 1\n",
    "# TYPE a counter\n",
];

fn page() -> impl Strategy<Value = Vec<u8>> {
    let parts = proptest::collection::vec(0..PARTS.len(), 0..40);
    let of_parts = parts.prop_map(|parts| parts.iter().flat_map(|i| PARTS[*i].bytes()).collect());
    prop_oneof![4 => of_parts, 1 => proptest::collection::vec(any::<u8>(), 0..200)]
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(1..20_usize, 1..8)
}

proptest! {
    #[test]
    fn any_text_page_in_any_pieces_has_the_same_events(page in page(), pieces in pieces()) {
        for format in [Text, OpenMetrics1] {
            prop_assert_eq!(dump_in_pieces(format, &page, &pieces), dump(format, &page));
        }
    }

    #[test]
    fn any_protobuf_page_in_any_pieces_has_the_same_events(
        seeds in proptest::collection::vec(0..SEEDS, 0..4),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        pieces in pieces(),
    ) {
        let mut page: Vec<u8> = seeds.iter().flat_map(|i| family_of(*i)).collect();
        for (at, b) in changes {
            if !page.is_empty() {
                let at = at.index(page.len());
                page[at] = b;
            }
        }
        let whole = dump(Protobuf, &page);
        let mut divided = dump_in_pieces(Protobuf, &page, &pieces);
        // A family that is malformed and incomplete may be refused at either position.
        if let (Some(a), Some(b)) = (whole.last(), divided.last_mut())
            && a.starts_with("error") && b.starts_with("error")
        {
            b.clone_from(a);
        }
        prop_assert_eq!(divided, whole);
    }

    #[test]
    fn page_of_the_writer_is_read_as_it_was_written(
        help in any::<String>(),
        labels in proptest::collection::vec(
            (prop_oneof!["[a-z_][a-z0-9_]{0,6}", "[a-z.é\"\\\\]{1,6}"], any::<String>()), 0..5,
        ),
        name in prop_oneof!["[a-z_:]{1,4}", "[a-z.é\"\\\\]{1,6}"],
        is_open_metrics in any::<bool>(),
        bits in any::<u64>(),
        timestamp_ms in any::<Option<i64>>(),
        counts in proptest::collection::vec(0..1000_u64, 1..5),
    ) {
        let value = f64::from_bits(bits);
        let mut block = Vec::new();
        for (name, value) in &labels {
            write_label(&mut block, name.as_bytes(), value.as_bytes());
        }
        let mut out = Vec::new();
        let dialect = if is_open_metrics { TextDialect::OpenMetrics } else { TextDialect::Prometheus };
        // OpenMetrics has seconds, in which not every number of milliseconds is exact.
        let timestamp_ms = timestamp_ms.map(|at| if is_open_metrics { at % 1000 * 1000 } else { at });
        write_family_header(&mut out, dialect, PageName::legacy(b"m"), help.as_bytes(), MetricType::Gauge);
        let mut quoted = Vec::new();
        write_quoted_text(&mut quoted, name.as_bytes());
        let is_legacy = otelcore_exposition::is_legacy_name(name.as_bytes());
        let page_name = if is_legacy { PageName::legacy(&quoted) } else { PageName::quoted(&quoted) };
        let head = SeriesHead { name: page_name, block: &block, timestamp_ms };
        head.write_number(&mut out, dialect, value, None);
        let buckets = counts.iter().enumerate().map(|(i, n)| (i as f64 / 4.0, *n, None));
        head.write_histogram(&mut out, dialect, buckets, (value, 7));
        head.write_summary(&mut out, dialect, [(0.5, value)].into_iter(), (value, 7));
        if is_open_metrics {
            out.extend_from_slice(OPEN_METRICS_END);
        }

        let format = if is_open_metrics { OpenMetrics1 } else { Text };
        let mut parser = PageParser::new(format, ParserLimits::default());
        parser.handle_data(&out);
        parser.handle_end();
        let is_blank = help.bytes().all(|b| b == b' ' || b == b'\t');
        let help = if is_blank { "" } else { &help };
        prop_assert_eq!(parser.poll_event().unwrap().unwrap(), Event::Help { name: "m", text: help });
        let family_type = MetricType::Gauge.into();
        prop_assert_eq!(parser.poll_event().unwrap().unwrap(), Event::Type { name: "m", family_type });
        let mut samples = vec![(name.clone(), None, value)];
        for (i, n) in counts.iter().enumerate() {
            samples.push((format!("{name}_bucket"), Some(("le", i as f64 / 4.0)), *n as f64));
        }
        samples.push((format!("{name}_bucket"), Some(("le", f64::INFINITY)), 7.0));
        samples.push((format!("{name}_sum"), None, value));
        samples.push((format!("{name}_count"), None, 7.0));
        samples.push((name.clone(), Some(("quantile", 0.5)), value));
        samples.push((format!("{name}_sum"), None, value));
        samples.push((format!("{name}_count"), None, 7.0));
        for (name, extra, value) in samples {
            let event = parser.poll_event().unwrap().unwrap();
            let Event::Sample(sample) = event else { panic!("{event:?}") };
            prop_assert_eq!(sample.name, name);
            prop_assert_eq!(number(sample.value), number(value));
            prop_assert_eq!(sample.timestamp_ms, timestamp_ms);
            let bound = extra.map(|(name, bound)| {
                let mut text = Vec::new();
                otelcore_exposition::write_float(&mut text, bound, dialect);
                (name.to_owned(), String::from_utf8(text).unwrap())
            });
            let expected: Vec<_> = labels.iter().cloned().chain(bound).collect();
            let read: Vec<_> = sample.labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            prop_assert_eq!(read, expected);
        }
        prop_assert!(parser.poll_event().is_none());
    }
}
