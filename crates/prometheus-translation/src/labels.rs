//! Labels of series and of `target_info`: their names are translated, they are sorted, and rendered once into a block for
//! the page.
//!
//! A series with one invalid label is not shown, as in the Go collector. Only `target_info` merges labels whose
//! translated names are equal.

use std::collections::BTreeMap;
use std::rc::Rc;

use otelcore_exposition::{write_label, write_underscored};

use crate::label_name::{LabelNameError, label_name};

/// The labels of one series as they are written on a page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LabelBlock {
    /// `a="x",b="y"`, without braces.
    pub bytes: Rc<[u8]>,
    /// How many labels they are.
    pub label_count: u32,
}

/// Why a series has no labels. The cause is always in the data, or in the labels that the configuration adds.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LabelError {
    /// An attribute key gives no label name.
    #[error(transparent)]
    Name(#[from] LabelNameError),
    /// The name is empty, reserved or not UTF-8.
    #[error("{0:?} is not a valid label name")]
    InvalidName(String),
    /// The value of this label is not UTF-8.
    #[error("label {0:?} has a value that is not valid UTF-8")]
    InvalidValue(String),
    /// Two labels of this metric have one name.
    #[error("duplicate label names in constant and variable labels for metric {0:?}")]
    Duplicate(String),
    /// This summary has a label `quantile`.
    #[error("collected metric {0:?} must not have an explicit \"quantile\" label")]
    Quantile(String),
}

/// Why there is no `target_info`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TargetInfoError {
    /// An attribute key gives no label name: in the Go collector, this ends the creation of all `target_info`.
    Name(LabelNameError),
    /// A label is invalid; only this `target_info` is omitted.
    Label(LabelError),
}

/// What the labels of a series are made of. Attributes are pairs of key and value as text.
#[derive(Clone, Copy, Debug)]
pub struct SeriesLabels<'a, A> {
    /// Attributes of the point.
    pub attributes: A,
    /// `otel_scope_*`; without these labels `None`.
    pub scope: Option<ScopeLabels<'a, A>>,
    /// The label `job`.
    pub job: Option<&'a [u8]>,
    /// The label `instance`.
    pub instance: Option<&'a [u8]>,
    /// Labels that the configuration adds.
    pub constant: &'a [(String, String)],
}

/// The scope of a metric.
#[derive(Clone, Copy, Debug)]
pub struct ScopeLabels<'a, A> {
    /// Its name.
    pub name: &'a [u8],
    /// Its version.
    pub version: &'a [u8],
    /// Its schema URL.
    pub schema_url: &'a [u8],
    /// Its attributes.
    pub attributes: A,
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// Checks a label as the Prometheus client library of the Go collector does.
fn check_label(name: &[u8], value: &[u8]) -> Result<(), LabelError> {
    if name.is_empty() || name.starts_with(b"__") || str::from_utf8(name).is_err() {
        return Err(LabelError::InvalidName(lossy(name)));
    }
    if str::from_utf8(value).is_err() {
        return Err(LabelError::InvalidValue(lossy(name)));
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
        return Err(LabelError::Duplicate(lossy(metric)));
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

/// The block of a series of `metric`: attributes, scope, job, instance, constant labels.
///
/// # Errors
/// A label is invalid, or there are two of one name.
pub fn series_block<'a, A: Iterator<Item = (&'a [u8], &'a [u8])>>(
    series: SeriesLabels<'a, A>,
    metric: &[u8],
    is_summary: bool,
    keeps_utf8: bool,
) -> Result<LabelBlock, LabelError> {
    let mut labels: Vec<(Vec<u8>, &[u8])> = Vec::with_capacity(16);
    for (key, value) in series.attributes {
        labels.push((label_name(key, keeps_utf8)?, value));
    }
    if let Some(scope) = series.scope {
        labels.push((b"otel_scope_name".to_vec(), scope.name));
        labels.push((b"otel_scope_version".to_vec(), scope.version));
        labels.push((b"otel_scope_schema_url".to_vec(), scope.schema_url));
        for (key, value) in scope.attributes.filter(|(k, _)| !matches!(*k, b"name" | b"version" | b"schema_url")) {
            labels.push((label_name(&[b"otel_scope_", key].concat(), keeps_utf8)?, value));
        }
    }
    labels.extend(series.job.map(|v| (b"job".to_vec(), v)));
    labels.extend(series.instance.map(|v| (b"instance".to_vec(), v)));
    labels.extend(series.constant.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes())));
    if is_summary && labels.iter().any(|(n, _)| n == b"quantile") {
        return Err(LabelError::Quantile(lossy(metric)));
    }
    render_labels(labels, metric)
}

/// Labels by name. The values of equal names are joined by `;` in their order.
pub fn merge_equal_names<'a>(labels: impl Iterator<Item = (Vec<u8>, &'a [u8])>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut merged: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for (name, value) in labels {
        match merged.get_mut(&name) {
            Some(joined) => {
                joined.push(b';');
                joined.extend_from_slice(value);
            }
            None => drop(merged.insert(name, value.to_vec())),
        }
    }
    merged
}

/// The block of `target_info`. The values of attributes whose translated names are equal are joined in their order.
///
/// # Errors
/// An attribute has no label name, or a label is invalid.
pub fn target_block<'a>(
    attributes: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    job: &[u8],
    instance: &[u8],
    keeps_utf8: bool,
) -> Result<LabelBlock, TargetInfoError> {
    let named = attributes.map(|(key, value)| Ok((label_name(key, keeps_utf8)?, value)));
    let named = named.collect::<Result<Vec<_>, _>>().map_err(TargetInfoError::Name)?;
    let mut labels = merge_equal_names(named.into_iter());
    labels.insert(b"job".to_vec(), job.to_vec());
    labels.insert(b"instance".to_vec(), instance.to_vec());
    let labels = labels.iter().map(|(n, v)| (n.clone(), v.as_slice())).collect();
    render_labels(labels, b"target_info").map_err(TargetInfoError::Label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_with_reserved_names_or_invalid_utf8_values_are_refused() {
        assert!(
            check_label(b"__x", b"").is_err() && check_label(b"x", b"\xff").is_err() && check_label(b"_x", b"").is_ok()
        );
    }
}
