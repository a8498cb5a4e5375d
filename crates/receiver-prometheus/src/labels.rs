//! From an entry of a page to the labels of its series: those of the target, relabelling, checks and limits.
//!
//! Keeps nothing but memory that is used again.

use otelcore_exposition::parse::{FamilyType, Labels};
use otelcore_prometheus_discovery::{LabelBuilder, LabelSet};

use crate::series::{BUCKET, NAME, QUANTILE};
use crate::settings::PageSettings;

/// The prefix of a label of the page in whose place a label of the target is.
const EXPORTED: &str = "exported_";

/// The labels of the series of an entry. `None`: relabelling drops it. `last_type` is that of the last family whose type the
/// page has said: bounds and quantiles are written in one form, as in Prometheus.
///
/// # Errors
/// The scrape fails.
pub(crate) fn series_labels(
    settings: &PageSettings,
    target: &LabelSet,
    builder: &mut LabelBuilder,
    last_type: FamilyType,
    name: &str,
    labels: Labels<'_>,
) -> Result<Option<LabelSet>, String> {
    let number_label = match last_type {
        FamilyType::Histogram => BUCKET,
        FamilyType::Summary => QUANTILE,
        _ => "",
    };
    let number = labels.iter().find(|(name, _)| *name == number_label).and_then(|(_, text)| number_text(text));
    let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(labels.len() + 1);
    pairs.push((NAME, name));
    pairs.extend(labels.iter().map(|(name, value)| match &number {
        Some(number) if name == number_label => (name, number.as_str()),
        _ => (name, value),
    }));
    pairs.sort_by_key(|(name, _)| *name);
    let repeated = pairs.windows(2).find_map(|pair| match pair {
        [(a, _), (b, _)] if a == b => Some(*a),
        _ => None,
    });
    builder.clear();
    pairs.iter().for_each(|(name, value)| builder.add_base(name, value));
    let on_page = |name: &str| pairs.binary_search_by_key(&name, |(name, _)| *name).ok().and_then(|at| pairs.get(at));
    let mut conflicts: Vec<(&str, &str)> = Vec::new();
    for (name, value) in target.iter() {
        match on_page(name) {
            Some(_) if settings.honor_labels => continue,
            Some((name, old)) if !old.is_empty() => conflicts.push((name, old)),
            _ => {}
        }
        builder.set(name, value);
    }
    conflicts.sort_by_key(|(name, _)| name.len());
    for (name, value) in conflicts {
        let mut name = format!("{EXPORTED}{name}");
        while !builder.get(&name).is_empty() {
            name.insert_str(0, EXPORTED);
        }
        builder.set(&name, value);
    }
    if !settings.rules.apply(builder) || builder.is_empty() {
        return Ok(None);
    }
    let metric = builder.get(NAME).to_owned();
    if metric.is_empty() {
        return Err("missing metric name (__name__ label)".to_owned());
    }
    check(settings, builder, &metric)?;
    if let Some(name) = repeated {
        return Err(format!("invalid sample: non-unique label names: {name:?}"));
    }
    for (name, value) in &settings.external_labels {
        builder.set(name, value);
    }
    Ok(Some(builder.to_label_set()))
}

/// A number as OpenMetrics writes it: with a point or an exponent.
fn number_text(text: &str) -> Option<String> {
    let value = otelcore_go_number::parse_float(text.as_bytes())?;
    let mut out = Vec::new();
    otelcore_go_number::put_general(&mut out, value);
    if value.is_finite() && !out.iter().any(|byte| matches!(byte, b'.' | b'e')) {
        out.extend_from_slice(b".0");
    }
    String::from_utf8(out).ok()
}

/// The first characters of a text, for a message.
fn begin(text: &str) -> &str {
    text.char_indices().nth(50).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

fn check(settings: &PageSettings, builder: &mut LabelBuilder, metric: &str) -> Result<(), String> {
    let validation = settings.validation;
    let is_valid = validation.is_valid_metric_name(metric)
        && builder.sorted().all(|(name, _)| validation.is_valid_label_name(name));
    let shown = begin(metric);
    if !is_valid {
        return Err(format!("invalid metric name or label names: {}", label_text(builder.sorted())));
    }
    let limit = settings.label_limit;
    if limit > 0 && builder.len() > limit {
        let number = builder.len();
        return Err(format!("label_limit exceeded (metric: {shown}, number of labels: {number}, limit: {limit})"));
    }
    let (name_limit, value_limit) = (settings.label_name_limit, settings.label_value_limit);
    if name_limit == 0 && value_limit == 0 {
        return Ok(());
    }
    for (name, value) in builder.sorted() {
        let (length, label) = (name.len(), begin(name));
        if name_limit > 0 && length > name_limit {
            return Err(format!(
                "label_name_length_limit exceeded (metric: {shown}, label name: {label}, length: {length}, limit: {name_limit})"
            ));
        }
        let (length, text) = (value.len(), begin(value));
        if value_limit > 0 && length > value_limit {
            return Err(format!(
                "label_value_length_limit exceeded (metric: {shown}, label name: {label}, value: {text:?}, length: {length}, limit: {value_limit})"
            ));
        }
    }
    Ok(())
}

/// Labels as Prometheus shows them, as far as a message has room for them.
pub(crate) fn label_text<'l>(labels: impl Iterator<Item = (&'l str, &'l str)>) -> String {
    const MAX_BYTES: usize = 2048;
    let mut text = String::from("{");
    for (name, value) in labels {
        if text.len() > MAX_BYTES {
            text.push_str(", ...");
            break;
        }
        if text.len() > 1 {
            text.push_str(", ");
        }
        text.push_str(&format!("{}={:?}", begin(name), value.get(..MAX_BYTES).unwrap_or(value)));
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_labels_have_one_form() {
        let table = [("1", "1.0"), ("1.0", "1.0"), ("0.5", "0.5"), ("+Inf", "+Inf"), ("1e6", "1e+06"), ("-1", "-1.0")];
        for (text, expected) in table {
            assert_eq!(number_text(text).as_deref(), Some(expected));
        }
        assert_eq!(number_text("x"), None);
    }

    #[test]
    fn long_labels_are_cut_in_messages() {
        assert_eq!(label_text([("a", "b"), ("c", "\"")].into_iter()), r#"{a="b", c="\""}"#);
        assert!(label_text((0..10_000).map(|_| ("name", "value"))).len() < 3000);
    }
}
