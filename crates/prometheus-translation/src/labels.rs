//! Labels of series and of `target_info`: their names are translated, those of equal names are made one, they are sorted and
//! written as a template of many series, or as a block for the page.
//!
//! A series with one invalid label is not shown, as in the Go collector. Labels whose translated names are equal become
//! one, as in Prometheus's own endpoint for OTLP: values of attributes are joined by `;`, attributes of the scope replace
//! those of the point, the labels `otel_scope_name`, `otel_scope_version`, `otel_scope_schema_url`, `job` and `instance`
//! replace all others, and a constant label is used only if there is no other. An attribute `le` of a histogram and
//! `quantile` of a summary are left out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

use otelcore_exposition::is_legacy_label_name;

use crate::label_error::{LabelError, check_value};
use crate::label_name::{LabelNameError, label_name};
use crate::label_template::{Label, LabelSource, LabelTemplate, LabelValue};

/// Labels as they are written on a page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LabelBlock {
    /// `a="x","b.c"="y"`, without braces.
    pub bytes: Rc<[u8]>,
    /// How many labels they are.
    pub label_count: u32,
    /// Some names are not legacy names, and are escaped for most pages.
    pub has_quoted_names: bool,
}

/// Why there is no `target_info`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TargetInfoError {
    /// An attribute key gives no label name: in the Go collector, this ends the creation of all `target_info`.
    Name(LabelNameError),
    /// A label is invalid; only this `target_info` is omitted.
    Label(LabelError),
}

/// What the labels of series are made of. Attributes are pairs of key and value as text.
#[derive(Clone, Copy, Debug)]
pub struct SeriesLabels<'a, K, A> {
    /// Keys of the attributes of their points.
    pub attribute_keys: K,
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

/// The label name for an attribute key, which may be the key itself.
fn name_of(key: &[u8], keeps_utf8: bool) -> Result<Cow<'_, [u8]>, LabelNameError> {
    let is_name = (keeps_utf8 || is_legacy_label_name(key)) && key.iter().any(|b| *b != b'_');
    if is_name { Ok(Cow::Borrowed(key)) } else { label_name(key, keeps_utf8).map(Cow::Owned) }
}

/// The labels of series: attributes, scope, job, instance, constant labels. `reserved` is the label that samples of their
/// type have themselves, `le` or `quantile`.
///
/// # Errors
/// A label is invalid.
pub fn series_template<'a, A: Iterator<Item = (&'a [u8], &'a [u8])>>(
    series: SeriesLabels<'a, impl Iterator<Item = &'a [u8]>, A>,
    reserved: Option<&[u8]>,
    keeps_utf8: bool,
) -> Result<LabelTemplate, LabelError> {
    let mut labels: Vec<Label<'a>> = Vec::with_capacity(16);
    let mut add = |name: Cow<'a, [u8]>, source, value| labels.push(Label { name, source, value });
    for (number, key) in (0..).zip(series.attribute_keys) {
        add(name_of(key, keeps_utf8)?, LabelSource::Attribute, LabelValue::Attribute(number));
    }
    let fixed = [("job", series.job), ("instance", series.instance)];
    for (name, value) in fixed.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        add(name.as_bytes().into(), LabelSource::Identity, LabelValue::Fixed(value));
    }
    if let Some(scope) = series.scope {
        add(b"otel_scope_name".into(), LabelSource::Identity, LabelValue::Fixed(scope.name));
        add(b"otel_scope_version".into(), LabelSource::Identity, LabelValue::Fixed(scope.version));
        add(b"otel_scope_schema_url".into(), LabelSource::Identity, LabelValue::Fixed(scope.schema_url));
        for (key, value) in scope.attributes.filter(|(k, _)| !matches!(*k, b"name" | b"version" | b"schema_url")) {
            let name = label_name(&[b"otel_scope_", key].concat(), keeps_utf8)?;
            add(name.into(), LabelSource::ScopeAttribute, LabelValue::Fixed(value));
        }
    }
    for (name, value) in series.constant {
        add(name.as_bytes().into(), LabelSource::Constant, LabelValue::Fixed(value.as_bytes()));
    }
    let len_before = labels.len();
    if let Some(reserved) = reserved {
        labels.retain(|label| *label.name != *reserved);
    }
    let is_reserved = labels.len() < len_before;
    Ok(LabelTemplate::of(labels)?.merged_if(is_reserved))
}

/// Checks the values of attributes that labels are made of.
///
/// # Errors
/// The value of a label that is not `reserved` is not UTF-8, or its key gives no label name.
pub fn check_values<'a>(
    mut attributes: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    reserved: Option<&[u8]>,
    keeps_utf8: bool,
) -> Result<(), LabelError> {
    attributes.try_for_each(|(key, value)| {
        if str::from_utf8(value).is_ok() {
            return Ok(());
        }
        let name = name_of(key, keeps_utf8)?;
        if reserved == Some(&*name) { Ok(()) } else { check_value(&name, value) }
    })
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
    let labels = labels.iter().map(|(name, value)| Label {
        name: Cow::Borrowed(name.as_slice()),
        source: LabelSource::Attribute,
        value: LabelValue::Fixed(value),
    });
    let template = LabelTemplate::of(labels.collect()).map_err(TargetInfoError::Label)?;
    let mut bytes = Vec::new();
    template.write(&[], true, &mut bytes);
    Ok(LabelBlock {
        bytes: bytes.into(),
        label_count: u32::try_from(template.label_count()).unwrap_or(u32::MAX),
        has_quoted_names: template.has_quoted_names(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label_error::check_name;

    #[test]
    fn labels_with_reserved_names_or_invalid_utf8_values_are_refused() {
        assert!(check_name(b"__x").is_err() && check_name(b"_x").is_ok() && check_value(b"x", b"\xff").is_err());
        let values = |key: &'static str| [(key.as_bytes(), &b"\xff"[..])].into_iter();
        assert!(check_values(values("x"), Some(b"le"), false).is_err());
        assert!(check_values(values("le"), Some(b"le"), false).is_ok());
    }

    fn text(template: &LabelTemplate, values: &[&[u8]]) -> String {
        let mut out = Vec::new();
        template.write(values, false, &mut out);
        String::from_utf8(out).unwrap()
    }

    type Pairs<'a> = std::vec::IntoIter<(&'a [u8], &'a [u8])>;

    fn pairs<'a>(list: &[(&'a str, &'a str)]) -> Pairs<'a> {
        list.iter().map(|(k, v)| (k.as_bytes(), v.as_bytes())).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn labels_of_equal_names_become_one_by_the_rules_of_prometheus() {
        let constant = [("zone", "c"), ("a_b", "c")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        let labels = SeriesLabels {
            attribute_keys: ["a.b", "a/b", "a_b", "instance", "job", "le", "otel.scope.name", "otel.scope.x"]
                .into_iter()
                .map(str::as_bytes),
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
        let template = series_template(labels, Some(b"le"), false).unwrap();
        let values = ["1", "", "2", "lost", "attribute", "3", "lost", "lost"].map(str::as_bytes);
        let expected = "a_b=\"1;;2\",instance=\"i\",job=\"attribute\",otel_scope_name=\"lib\",\
            otel_scope_schema_url=\"\",otel_scope_version=\"\",otel_scope_x=\"4\",zone=\"c\"";
        assert_eq!(text(&template, &values), expected);
        assert_eq!((template.label_count(), template.has_quoted_names(), template.is_merged()), (8, false, true));
    }

    #[test]
    fn label_names_that_are_kept_are_quoted() {
        let labels = SeriesLabels {
            attribute_keys: ["a.b", "a_b"].into_iter().map(str::as_bytes),
            scope: None::<ScopeLabels<'_, Pairs<'_>>>,
            job: None,
            instance: None,
            constant: &[],
        };
        let template = series_template(labels, None, true).unwrap();
        assert_eq!(text(&template, &[b"1", b"2"]), "\"a.b\"=\"1\",a_b=\"2\"");
        assert_eq!((template.label_count(), template.has_quoted_names(), template.is_merged()), (2, true, false));
    }
}
