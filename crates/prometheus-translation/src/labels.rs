//! Labels of series and of `target_info`: their names are translated, they are sorted, and rendered once into a block for
//! the page.
//!
//! A series with one invalid label is not shown, as in the Go collector. Labels whose translated names are equal become
//! one, as in Prometheus's own endpoint for OTLP: values of attributes are joined by `;`, attributes of the scope replace
//! those of the point, the labels `otel_scope_name`, `otel_scope_version`, `otel_scope_schema_url`, `job` and `instance`
//! replace all others, and a constant label is used only if there is no other. An attribute `le` of a histogram and
//! `quantile` of a summary are left out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

use otelcore_exposition::{is_legacy_label_name, write_label};

use crate::label_name::{LabelNameError, label_name};

/// The labels of one series as they are written on a page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LabelBlock {
    /// `a="x","b.c"="y"`, without braces.
    pub bytes: Rc<[u8]>,
    /// How many labels they are.
    pub label_count: u32,
    /// Some names are not legacy names, and are escaped for most pages.
    pub has_quoted_names: bool,
    /// Labels of equal names were made one, or one was left out.
    pub is_merged: bool,
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

/// A label before it is rendered.
struct Label<'a> {
    name: Cow<'a, [u8]>,
    source: LabelSource,
    value: Cow<'a, [u8]>,
}

/// Where a label is from. Of labels of one name those from the first source are used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum LabelSource {
    /// `otel_scope_name` and its like, `job` and `instance`.
    Identity,
    /// An attribute of the scope.
    ScopeAttribute,
    /// An attribute of the point.
    Attribute,
    /// The configuration.
    Constant,
}

/// Sorts labels by name, before escaping, makes those of equal names one, and renders them.
fn render_labels(mut labels: Vec<Label<'_>>) -> Result<LabelBlock, LabelError> {
    for label in &labels {
        check_label(&label.name, &label.value)?;
    }
    // Labels of one name and source stay in the order of their keys.
    labels.sort_by(|a, b| a.name.cmp(&b.name).then(a.source.cmp(&b.source)));
    let len_before = labels.len();
    labels.dedup_by(|later, first| {
        let is_same = later.name == first.name;
        if is_same && later.source == first.source {
            join_values(first.value.to_mut(), &later.value);
        }
        is_same
    });
    let mut bytes = Vec::with_capacity(labels.iter().map(|l| l.name.len() + l.value.len() + 6).sum());
    labels.iter().for_each(|label| write_label(&mut bytes, &label.name, &label.value));
    Ok(LabelBlock {
        bytes: bytes.into(),
        label_count: u32::try_from(labels.len()).unwrap_or(u32::MAX),
        has_quoted_names: labels.iter().any(|label| !is_legacy_label_name(&label.name)),
        is_merged: labels.len() < len_before,
    })
}

/// The label name for an attribute key, which may be the key itself.
fn name_of(key: &[u8], keeps_utf8: bool) -> Result<Cow<'_, [u8]>, LabelNameError> {
    let is_name = (keeps_utf8 || is_legacy_label_name(key)) && key.iter().any(|b| *b != b'_');
    if is_name { Ok(Cow::Borrowed(key)) } else { label_name(key, keeps_utf8).map(Cow::Owned) }
}

/// Joins values of one label: an empty value is the same as none.
fn join_values(joined: &mut Vec<u8>, value: &[u8]) {
    if !joined.is_empty() {
        joined.push(b';');
    }
    joined.extend_from_slice(value);
}

/// The block of a series: attributes, scope, job, instance, constant labels. `reserved` is the label that samples of its
/// type have themselves, `le` or `quantile`.
///
/// # Errors
/// A label is invalid.
pub fn series_block<'a, A: Iterator<Item = (&'a [u8], &'a [u8])>>(
    series: SeriesLabels<'a, A>,
    reserved: Option<&[u8]>,
    keeps_utf8: bool,
) -> Result<LabelBlock, LabelError> {
    let mut labels: Vec<Label<'a>> = Vec::with_capacity(16);
    let mut add =
        |name: Cow<'a, [u8]>, source, value: &'a [u8]| labels.push(Label { name, source, value: Cow::Borrowed(value) });
    for (key, value) in series.attributes {
        add(name_of(key, keeps_utf8)?, LabelSource::Attribute, value);
    }
    let fixed = [("job", series.job), ("instance", series.instance)];
    for (name, value) in fixed.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        add(name.as_bytes().into(), LabelSource::Identity, value);
    }
    if let Some(scope) = series.scope {
        add(b"otel_scope_name".into(), LabelSource::Identity, scope.name);
        add(b"otel_scope_version".into(), LabelSource::Identity, scope.version);
        add(b"otel_scope_schema_url".into(), LabelSource::Identity, scope.schema_url);
        for (key, value) in scope.attributes.filter(|(k, _)| !matches!(*k, b"name" | b"version" | b"schema_url")) {
            add(label_name(&[b"otel_scope_", key].concat(), keeps_utf8)?.into(), LabelSource::ScopeAttribute, value);
        }
    }
    for (name, value) in series.constant {
        add(name.as_bytes().into(), LabelSource::Constant, value.as_bytes());
    }
    let len_before = labels.len();
    if let Some(reserved) = reserved {
        labels.retain(|label| *label.name != *reserved);
    }
    let is_reserved = labels.len() < len_before;
    let block = render_labels(labels)?;
    Ok(LabelBlock { is_merged: block.is_merged || is_reserved, ..block })
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
    let label =
        |(name, value)| Label { name: Cow::Owned(name), source: LabelSource::Attribute, value: Cow::Owned(value) };
    render_labels(labels.into_iter().map(label).collect()).map_err(TargetInfoError::Label)
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

    type Pairs<'a> = std::vec::IntoIter<(&'a [u8], &'a [u8])>;

    fn pairs<'a>(list: &[(&'a str, &'a str)]) -> Pairs<'a> {
        list.iter().map(|(k, v)| (k.as_bytes(), v.as_bytes())).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn labels_of_equal_names_become_one_by_the_rules_of_prometheus() {
        let constant = [("zone", "c"), ("a_b", "c")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        let labels = SeriesLabels {
            attributes: pairs(&[
                ("a.b", "1"),
                ("a/b", ""),
                ("a_b", "2"),
                ("instance", "lost"),
                ("job", "attribute"),
                ("le", "3"),
                ("otel.scope.name", "lost"),
                ("otel.scope.x", "lost"),
            ]),
            scope: Some(ScopeLabels {
                name: b"lib",
                version: b"",
                schema_url: b"",
                attributes: pairs(&[("x", "4"), ("schema.url", "lost"), ("version", "not a label")]),
            }),
            job: None,
            instance: Some(b"i"),
            constant: &constant,
        };
        let block = series_block(labels, Some(b"le"), false).unwrap();
        let expected = "a_b=\"1;;2\",instance=\"i\",job=\"attribute\",otel_scope_name=\"lib\",\
            otel_scope_schema_url=\"\",otel_scope_version=\"\",otel_scope_x=\"4\",zone=\"c\"";
        assert_eq!(std::str::from_utf8(&block.bytes).unwrap(), expected);
        assert_eq!((block.label_count, block.has_quoted_names, block.is_merged), (8, false, true));
    }

    #[test]
    fn label_names_that_are_kept_are_quoted() {
        let labels = SeriesLabels {
            attributes: pairs(&[("a.b", "1"), ("a_b", "2")]),
            scope: None,
            job: None,
            instance: None,
            constant: &[],
        };
        let block = series_block(labels, None, true).unwrap();
        assert_eq!(std::str::from_utf8(&block.bytes).unwrap(), "\"a.b\"=\"1\",a_b=\"2\"");
        assert_eq!((block.label_count, block.has_quoted_names, block.is_merged), (2, true, false));
    }
}
