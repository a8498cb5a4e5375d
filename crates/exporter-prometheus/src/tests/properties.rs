//! The page can be read, for any input.

use std::collections::BTreeSet;

use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_compose, prop_oneof, proptest,
};

use super::*;
use otelcore_exposition::{NameEscaping, PageFormat};

use crate::TranslationStrategy as Naming;

fn is_name(s: &str) -> bool {
    let legal = |(i, c): (usize, char)| c.is_ascii_alphabetic() || "_:".contains(c) || (i > 0 && c.is_ascii_digit());
    !s.is_empty() && s.chars().enumerate().all(legal)
}

/// Reads `name{l="v",..} value` strictly; returns name and labels.
fn read_sample(line: &str) -> Option<(String, Vec<(String, String)>)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"")?;
            let mut value = String::new();
            let mut chars = after.char_indices();
            let close = loop {
                match chars.next()? {
                    (i, '"') => break i,
                    (_, '\\') => value.push(match chars.next()?.1 {
                        'n' => '\n',
                        c @ ('\\' | '"') => c,
                        _ => return None,
                    }),
                    (_, c) => value.push(c),
                }
            };
            if !is_name(label) {
                return None;
            }
            labels.push((label.to_owned(), value));
            rest = &after[close + 1..];
            if let Some(next) = rest.strip_prefix(',') {
                rest = next;
            } else {
                rest = rest.strip_prefix('}')?;
                break;
            }
        }
        if labels.is_empty() {
            return None;
        }
    }
    let value = rest.strip_prefix(' ')?;
    (is_name(name) && (value == "+Inf" || value == "-Inf" || value.parse::<f64>().is_ok()))
        .then(|| (name.to_owned(), labels))
}

/// Reads a page strictly. Returns the names of its families.
fn read_page(page: &str) -> Result<Vec<String>, String> {
    let mut families: Vec<(String, String)> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut lines = page.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        let line = line.strip_suffix('\n').ok_or("no newline at the end")?;
        if let Some(help) = line.strip_prefix("# HELP ") {
            let name = help.split(' ').next().unwrap_or("").to_owned();
            let kind = lines.next().and_then(|l| l.strip_prefix(&format!("# TYPE {name} ")));
            let kind = kind.ok_or_else(|| format!("no TYPE after {line}"))?.trim_end().to_owned();
            families.push((name, kind));
            continue;
        }
        let (name, mut labels) = read_sample(line).ok_or_else(|| format!("no sample: {line}"))?;
        let (family, kind) = families.last().ok_or("a sample before any family")?;
        let suffix = name.strip_prefix(family.as_str()).ok_or_else(|| format!("{name} in {family}"))?;
        let fits = match kind.as_str() {
            "histogram" => matches!(suffix, "_bucket" | "_sum" | "_count"),
            "summary" => matches!(suffix, "" | "_sum" | "_count"),
            _ => suffix.is_empty(),
        };
        labels.sort();
        if !fits || !seen.insert((name, labels)) {
            return Err(format!("unfit or repeated: {line}"));
        }
    }
    Ok(families.into_iter().map(|(name, _)| name).collect())
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c._-]{0,4}",
        "[a-c]",
        "[a-c_]{0,2}(_dot_|__|\\.)[a-c]",
        Just("U__a_2e_b".to_owned()),
        Just("le".to_owned()),
        Just("quantile".to_owned()),
        Just("job".to_owned()),
        Just("h_count".to_owned()),
        Just("é\"\\\n".to_owned()),
        Just("target.info".to_owned())
    ]
}

prop_compose! {
    fn any_metric()(
        name in word(),
        unit in prop_oneof![Just("s"), Just("1"), Just(""), Just("By/s")],
        kind in 0..6_u8,
        points in proptest::collection::vec(
            (proptest::collection::vec((word(), word()), 0..3), 0..40_u64, 0..40_u64, any::<f64>(), any::<bool>()), 0..4,
        ),
        monotonic in any::<bool>(),
        temporality in 0..3_i32,
    ) -> Metric {
        let numbers = || points.iter().map(|(list, start, time, value, ends)| {
            let list: Vec<_> = list.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let p = with_start(point(*time, *value, &list), *start);
            if *ends && time % 4 == 0 { without_recorded_value(p) } else { p }
        }).collect::<Vec<_>>();
        match kind {
            0 => gauge(&name, unit, numbers()),
            1 | 2 => sum(&name, unit, temporality, monotonic, numbers()),
            3 => histogram(&name, temporality, points.iter().map(|(list, start, time, value, _)| {
                let mut h = buckets((*start, *time), &[*value, 1.0, 2.0][..(*time % 4).min(3) as usize], &[*start, 2], *value);
                let list: Vec<_> = list.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                h.attributes = attributes(&list);
                h
            }).collect()),
            4 => exponential(&name, temporality, points.iter().map(|(list, start, time, value, _)| {
                let mut h = exponential_point((*start, *time), (*time % 13) as i32, *start as i32 - 20, &[*start, 0, 2]);
                let list: Vec<_> = list.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                h.attributes = attributes(&list);
                h.exemplars = vec![exemplar(1, 1, *value)];
                h
            }).collect()),
            _ => summary(&name, 1, &[(0.5, 1.0), (0.5, 2.0), (0.1, f64::NAN)], &[("a", &name)]),
        }
    }
}

proptest! {
    #[test]
    fn rendered_page_is_parsed_and_its_families_are_sorted(
        pushes in proptest::collection::vec((any_metric(), 0..3_usize, 0..400_u64), 1..12),
        naming in prop_oneof![
            Just(Naming::UnderscoreEscapingWithSuffixes), Just(Naming::UnderscoreEscapingWithoutSuffixes),
        ],
        without_scope_info in any::<bool>(),
    ) {
        let mut fixture = Fixture::with_config(|s| {
            s.strategy = naming;
            s.without_scope_info = without_scope_info;
        });
        let services = [&[][..], &[("service.name", "a"), ("service.instance.id", "1"), ("a.b", "c")],
            &[("service.name", "b"), ("service.instance.id", "2")]];
        let mut now = 0;
        for (metric, service, pause) in pushes {
            now += pause;
            fixture.push(now, vec![resource(services[service], vec![scope("lib", "", vec![metric])])]);
            let page = fixture.page(now);
            let families = read_page(&page);
            prop_assert!(families.is_ok(), "{:?}\n{}", families, page);
            prop_assert!(families.unwrap().is_sorted_by(|a, b| a < b), "{}", page);
        }
        // At the end everything has expired.
        prop_assert_eq!(fixture.page(now + 301), "");
        prop_assert!(fixture.0.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn page_of_any_format_can_be_read(
        pushes in proptest::collection::vec((any_metric(), 0..3_usize, 0..200_u64), 1..12),
        naming in prop_oneof![
            Just(Naming::UnderscoreEscapingWithSuffixes), Just(Naming::NoUtf8EscapingWithSuffixes), Just(Naming::NoTranslation),
        ],
        send_timestamps in any::<bool>(),
        label in word(),
        namespace in prop_oneof![Just(String::new()), word()],
    ) {
        let mut fixture = Fixture::with_config(|s| {
            s.strategy = naming;
            s.send_timestamps = send_timestamps;
            s.const_labels = vec![(label.clone(), "x".to_owned())];
            s.namespace = namespace.clone();
        });
        let services = [&[][..], &[("service.name", "a"), ("service.instance.id", "1"), ("a.b", "c"), ("a_b", "d")],
            &[("service.name", "b"), ("service.instance.id", "2")]];
        let mut now = 0;
        for (metric, service, pause) in pushes {
            now += pause;
            fixture.push(now, vec![resource(services[service], vec![scope("lib", "", vec![metric])])]);
        }
        for format in [PageFormat::Text, PageFormat::OpenMetrics1, PageFormat::Protobuf] {
            for escaping in [NameEscaping::Underscores, NameEscaping::Dots, NameEscaping::Values, NameEscaping::AllowUtf8] {
                // Panics if the page can't be read.
                fixture.page_in(now, NegotiatedFormat { format, escaping });
            }
        }
    }
}
