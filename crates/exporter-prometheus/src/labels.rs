//! Labels: their names are translated, they are sorted, and rendered once into a block for the page.
//!
//! A series with one invalid label is not shown, as in the Go collector. Only `target_info` merges labels whose
//! translated names are equal.

use std::collections::BTreeMap;
use std::rc::Rc;

use otelcore_exposition::{LabelNameError, write_label, write_underscored};

use crate::config::PageConfig;
use crate::dropped_points::DropReason;
use crate::identity::{AttributePairs, IdentityPrefix};

/// The labels of one series as they are written on a page.
pub(crate) struct LabelBlock {
    pub(crate) bytes: Rc<[u8]>,
    pub(crate) label_count: u32,
}

/// Why a series has no labels: the reason, and a text for the log.
pub(crate) type LabelError = (DropReason, String);

fn lossy(text: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(text)
}

/// The label name for an attribute key.
pub(crate) fn label_name(key: &[u8], keeps_utf8: bool) -> Result<Vec<u8>, LabelError> {
    otelcore_exposition::label_name(key, keeps_utf8).map_err(|why| {
        let why = match why {
            LabelNameError::Empty => "label name is empty".to_owned(),
            LabelNameError::Underscores => format!("label name {:?} comes to underscores only", lossy(key)),
        };
        (DropReason::Label, why)
    })
}

/// Checks a label as the Prometheus client library of the Go collector does.
fn check_label(name: &[u8], value: &[u8]) -> Result<(), LabelError> {
    if name.is_empty() || name.starts_with(b"__") || str::from_utf8(name).is_err() {
        return Err((DropReason::Label, format!("{:?} is not a valid label name", lossy(name))));
    }
    if str::from_utf8(value).is_err() {
        return Err((DropReason::Label, format!("label {:?} has a value that is not valid UTF-8", lossy(name))));
    }
    Ok(())
}

/// Sorts labels by name, before escaping, and renders them.
fn render_labels(mut labels: Vec<(Vec<u8>, &[u8])>, metric: &[u8]) -> Result<LabelBlock, LabelError> {
    for (name, value) in &labels {
        check_label(name, value)?;
    }
    labels.sort();
    if labels.windows(2).any(|w| w[0].0 == w[1].0) {
        let message = format!("duplicate label names in constant and variable labels for metric {:?}", lossy(metric));
        return Err((DropReason::DuplicateLabel, message));
    }
    let mut bytes = Vec::with_capacity(labels.iter().map(|(n, v)| n.len() + v.len() + 4).sum());
    let mut escaped_name = Vec::new();
    for (name, value) in &labels {
        escaped_name.clear();
        write_underscored(&mut escaped_name, name);
        write_label(&mut bytes, &escaped_name, value);
    }
    Ok(LabelBlock { bytes: bytes.into(), label_count: u32::try_from(labels.len()).unwrap_or(u32::MAX) })
}

/// The block of a series: attributes, scope, job, instance, constant labels.
pub(crate) fn series_block(
    config: &PageConfig,
    prefix: &IdentityPrefix<'_>,
    attributes: AttributePairs<'_>,
    metric: &[u8],
    is_summary: bool,
) -> Result<LabelBlock, LabelError> {
    let keeps_utf8 = config.strategy.keeps_utf8();
    let mut labels: Vec<(Vec<u8>, &[u8])> = Vec::with_capacity(16);
    for (key, value) in attributes {
        labels.push((label_name(key, keeps_utf8)?, value));
    }
    if !config.without_scope_info {
        let scope = &prefix.scope;
        labels.push((b"otel_scope_name".to_vec(), scope.name));
        labels.push((b"otel_scope_version".to_vec(), scope.version));
        labels.push((b"otel_scope_schema_url".to_vec(), scope.schema_url));
        for (key, value) in scope.attributes.filter(|(k, _)| !matches!(*k, b"name" | b"version" | b"schema_url")) {
            labels.push((label_name(&[b"otel_scope_", key].concat(), keeps_utf8)?, value));
        }
    }
    labels.extend(prefix.job.map(|v| (b"job".to_vec(), v)));
    labels.extend(prefix.instance.map(|v| (b"instance".to_vec(), v)));
    labels.extend(config.const_labels.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes())));
    if is_summary && labels.iter().any(|(n, _)| n == b"quantile") {
        let metric = lossy(metric);
        let message = format!("collected metric {metric:?} must not have an explicit \"quantile\" label");
        return Err((DropReason::Quantile, message));
    }
    render_labels(labels, metric)
}

/// The block of `target_info`. The values of attributes whose translated names are equal are joined in their order.
///
/// # Errors
/// `Err(Some)`: an attribute has no label name ([`DropReason::Label`]); the page has no `target_info`. `Err(None)`:
/// a label is invalid; then only this `target_info` is omitted.
pub(crate) fn target_block<'a>(
    attributes: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    job: &[u8],
    instance: &[u8],
    keeps_utf8: bool,
) -> Result<LabelBlock, Option<LabelError>> {
    let mut labels: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for (key, value) in attributes {
        let name = label_name(key, keeps_utf8).map_err(Some)?;
        match labels.get_mut(&name) {
            Some(joined) => {
                joined.push(b';');
                joined.extend_from_slice(value);
            }
            None => drop(labels.insert(name, value.to_vec())),
        }
    }
    labels.insert(b"job".to_vec(), job.to_vec());
    labels.insert(b"instance".to_vec(), instance.to_vec());
    let labels = labels.iter().map(|(n, v)| (n.clone(), v.as_slice())).collect();
    render_labels(labels, b"target_info").map_err(|_| None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attribute_keys_become_label_names_as_in_the_go_collector() {
        let name = |key: &str, utf8| label_name(key.as_bytes(), utf8).ok().map(|n| String::from_utf8(n).unwrap());
        let table = [
            ("http.method", Some("http_method"), Some("http.method")),
            ("a..b", Some("a__b"), Some("a..b")),
            ("a:b", Some("a_b"), Some("a:b")),
            ("0x", Some("key_0x"), Some("0x")),
            ("_x", Some("_x"), Some("_x")),
            ("", None, None),
            ("é", None, Some("é")),
            ("...", None, Some("...")),
            ("__", None, None),
            ("é1", Some("_1"), Some("é1")),
            ("__name__", Some("__name__"), Some("__name__")),
        ];
        for (key, escaped, kept) in table {
            assert_eq!(name(key, false).as_deref(), escaped, "{key}");
            assert_eq!(name(key, true).as_deref(), kept, "{key}");
        }
    }

    #[test]
    fn labels_with_reserved_names_or_invalid_utf8_values_are_refused() {
        assert!(
            check_label(b"__x", b"").is_err() && check_label(b"x", b"\xff").is_err() && check_label(b"_x", b"").is_ok()
        );
    }
}
