//! The labels of many series that differ only in the values of their points' attributes.
//!
//! Names are translated, checked, sorted and written once, with the values that all of these series have. The labels of
//! one series are the template with its own values; values of labels whose names are equal are joined by `;`.

use std::borrow::Cow;
use std::cmp::Ordering;

use otelcore_exposition::{is_legacy_label_name, unescape, write_label_name, write_quoted_text};

use crate::label_error::{LabelError, check_name, check_value};

/// The labels of a series without the values of its point's attributes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LabelTemplate {
    /// `a="x","b.c"=""`: names, and values that all series have, escaped.
    text: Box<[u8]>,
    labels: Box<[TemplateLabel]>,
    /// The numbers of the attributes whose values are inserted, in the order of the labels.
    attributes: Box<[u32]>,
    has_quoted_names: bool,
    is_merged: bool,
}

/// One label of a template.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct TemplateLabel {
    /// Where its value is in the text, or is inserted.
    value: (u32, u32),
    /// The attributes whose values it has, if it has no value in the text.
    attributes: (u32, u32),
}

/// A label before it is written.
pub(crate) struct Label<'a> {
    pub(crate) name: Cow<'a, [u8]>,
    pub(crate) source: LabelSource,
    pub(crate) value: LabelValue<'a>,
}

/// The value of a label.
#[derive(Clone, Copy)]
pub(crate) enum LabelValue<'a> {
    /// All series have it.
    Fixed(&'a [u8]),
    /// That of the attribute of the point with this number.
    Attribute(u32),
}

/// Where a label is from. Of labels of one name those from the first source are used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LabelSource {
    /// `otel_scope_name` and its like, `job` and `instance`.
    Identity,
    /// An attribute of the scope.
    ScopeAttribute,
    /// An attribute of the point.
    Attribute,
    /// The configuration.
    Constant,
}

/// A position in a text of less than 4 GiB.
fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn slice<T>(list: &[T], (start, end): (u32, u32)) -> &[T] {
    list.get(start as usize..end as usize).unwrap_or_default()
}

/// Joins values of one label: an empty value is the same as none.
fn join_values(joined: &mut Vec<u8>, value: &[u8]) {
    if !joined.is_empty() {
        joined.push(b';');
    }
    joined.extend_from_slice(value);
}

impl LabelTemplate {
    /// Sorts labels by name, before escaping, makes those of equal names one, and writes what is the same in all series.
    pub(crate) fn of(mut labels: Vec<Label<'_>>) -> Result<Self, LabelError> {
        for label in &labels {
            check_name(&label.name)?;
            if let LabelValue::Fixed(value) = label.value {
                check_value(&label.name, value)?;
            }
        }
        // Labels of one name and source stay in the order of their keys.
        labels.sort_by(|a, b| a.name.cmp(&b.name).then(a.source.cmp(&b.source)));
        let (mut text, mut attributes, mut written) = (Vec::new(), Vec::new(), Vec::new());
        let mut has_quoted_names = false;
        for same_name in labels.chunk_by(|a, b| a.name == b.name) {
            let Some(first) = same_name.first() else { continue };
            write_label_name(&mut text, &first.name);
            has_quoted_names |= !is_legacy_label_name(&first.name);
            let (value_at, attributes_at) = (position(text.len()), position(attributes.len()));
            let mut fixed = Vec::new();
            for label in same_name.iter().take_while(|label| label.source == first.source) {
                match label.value {
                    LabelValue::Fixed(value) => join_values(&mut fixed, value),
                    LabelValue::Attribute(number) => attributes.push(number),
                }
            }
            write_quoted_text(&mut text, &fixed);
            written.push(TemplateLabel {
                value: (value_at, position(text.len())),
                attributes: (attributes_at, position(attributes.len())),
            });
            text.push(b'"');
        }
        Ok(Self {
            text: text.into(),
            is_merged: written.len() < labels.len(),
            labels: written.into(),
            attributes: attributes.into(),
            has_quoted_names,
        })
    }

    /// The same, of labels of which others had the name of one that samples have themselves.
    pub(crate) fn merged_if(self, is_merged: bool) -> Self {
        Self { is_merged: self.is_merged || is_merged, ..self }
    }

    /// How many labels there are.
    #[must_use]
    pub fn label_count(&self) -> usize {
        self.labels.len()
    }

    /// Some names are not legacy names, and are escaped for most pages.
    #[must_use]
    pub fn has_quoted_names(&self) -> bool {
        self.has_quoted_names
    }

    /// Labels of equal names were made one, or one was left out.
    #[must_use]
    pub fn is_merged(&self) -> bool {
        self.is_merged
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn allocated_bytes(&self) -> usize {
        self.text.len() + size_of_val(&*self.labels) + size_of_val(&*self.attributes)
    }

    /// Whether each of so many attributes is the value of one label, in the order of the labels.
    #[must_use]
    pub fn is_in_order_of_attributes(&self, count: usize) -> bool {
        let has_one = |label: &TemplateLabel| label.attributes.1 - label.attributes.0 <= 1;
        self.labels.iter().all(has_one) && self.attributes.iter().copied().eq(0..position(count))
    }

    /// Appends the labels of the series with these values of attributes, without braces. The values are UTF-8, and are
    /// escaped unless `is_plain`: nothing in them has to be.
    pub fn write(&self, values: &[&[u8]], is_plain: bool, out: &mut Vec<u8>) {
        let mut copied = 0;
        for label in self.labels.iter().filter(|label| label.attributes.0 < label.attributes.1) {
            out.extend_from_slice(slice(&self.text, (copied, label.value.0)));
            copied = label.value.1;
            let start = out.len();
            for value in slice(&self.attributes, label.attributes) {
                if out.len() > start {
                    out.push(b';');
                }
                let value = values.get(*value as usize).copied().unwrap_or_default();
                if is_plain {
                    out.extend_from_slice(value);
                } else {
                    write_quoted_text(out, value);
                }
            }
        }
        out.extend_from_slice(self.text.get(copied as usize..).unwrap_or_default());
    }

    /// The order of two series on a page: by the number of their labels, by the values, by the names.
    #[must_use]
    pub fn compare(&self, values: &[&[u8]], other: &Self, other_values: &[&[u8]]) -> Ordering {
        let is_same = std::ptr::eq(self, other);
        // Values in the same text are equal.
        let pairs = self.labels.iter().zip(&*other.labels);
        let pairs = pairs.filter(|(a, _)| !is_same || a.attributes.0 < a.attributes.1);
        let by_values = || {
            let mut orders = pairs.map(|(a, b)| self.value(a, values).cmp(&other.value(b, other_values)));
            orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        };
        let by_names = || {
            let (mut a, mut b) = (Vec::new(), Vec::new());
            if !is_same {
                self.write(values, false, &mut a);
                other.write(other_values, false, &mut b);
            }
            a.cmp(&b)
        };
        self.labels.len().cmp(&other.labels.len()).then_with(by_values).then_with(by_names)
    }

    /// The value of a label of the series with these values of attributes.
    fn value<'a>(&'a self, label: &TemplateLabel, values: &[&'a [u8]]) -> Cow<'a, [u8]> {
        match slice(&self.attributes, label.attributes) {
            [] => {
                let fixed = slice(&self.text, label.value);
                if fixed.contains(&b'\\') { unescape(fixed).collect() } else { Cow::Borrowed(fixed) }
            }
            [value] => Cow::Borrowed(values.get(*value as usize).copied().unwrap_or_default()),
            several => {
                let mut joined = Vec::new();
                for value in several {
                    join_values(&mut joined, values.get(*value as usize).copied().unwrap_or_default());
                }
                Cow::Owned(joined)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use otelcore_exposition::{compare_blocks, has_escapes};
    use proptest::prelude::*;

    use super::*;

    /// A template of labels, of which those without a text are attributes, in their order.
    fn template(labels: &[(&'static str, LabelSource, Option<&'static str>)]) -> LabelTemplate {
        let mut attributes = 0..;
        let label = |(name, source, fixed): &(&'static str, LabelSource, Option<&'static str>)| Label {
            name: Cow::Borrowed(name.as_bytes()),
            source: *source,
            value: match fixed {
                Some(text) => LabelValue::Fixed(text.as_bytes()),
                None => LabelValue::Attribute(attributes.next().unwrap()),
            },
        };
        LabelTemplate::of(labels.iter().map(label).collect()).unwrap()
    }

    fn block(template: &LabelTemplate, values: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        template.write(values, false, &mut out);
        if !values.iter().any(|value| has_escapes(value)) {
            let mut plain = Vec::new();
            template.write(values, true, &mut plain);
            assert_eq!(plain, out);
        }
        out
    }

    #[test]
    fn values_are_escaped_and_written_in_the_order_of_the_names() {
        use LabelSource::{Attribute, Constant, Identity};
        let labels = [
            ("b", Attribute, None),
            ("a", Attribute, None),
            ("b", Attribute, None),
            ("c", Identity, Some("x\ny")),
            ("a", Constant, Some("not used")),
            ("c", Attribute, None),
        ];
        let template = template(&labels);
        assert_eq!(block(&template, &[b"1", b"\"", b"", b"not used"]), b"a=\"\\\"\",b=\"1;\",c=\"x\\ny\"");
        assert_eq!(block(&template, &[b"", b"", b"2", b""]), b"a=\"\",b=\"2\",c=\"x\\ny\"");
        assert_eq!((template.label_count(), template.is_merged(), template.has_quoted_names()), (3, true, false));
        assert!(!template.is_in_order_of_attributes(4));
    }

    proptest! {
        /// Series of templates are in the order of their blocks, and equal only if these are.
        #[test]
        fn series_are_in_the_order_of_their_blocks(
            values in proptest::collection::vec("[a\"\\\\\n;é]{0,3}", 8),
            (first, second) in (0..4_usize, 0..4_usize),
        ) {
            use LabelSource::{Attribute, Identity};
            let templates = [
                template(&[("a", Attribute, None), ("b", Attribute, None)]),
                template(&[("a", Attribute, None), ("b", Identity, Some("a\n\""))]),
                template(&[("a", Attribute, None), ("a", Attribute, None), ("b", Identity, Some("a"))]),
                template(&[("a", Attribute, None), ("c.d", Attribute, None)]),
            ];
            let (left, right) = values.split_at(4);
            let bytes = |values: &[String]| values.iter().map(|v| v.clone().into_bytes()).collect::<Vec<_>>();
            let (left, right) = (bytes(left), bytes(right));
            let (x, y): (Vec<&[u8]>, Vec<&[u8]>) =
                (left.iter().map(Vec::as_slice).collect(), right.iter().map(Vec::as_slice).collect());
            let (a, b) = (&templates[first], &templates[second]);
            let blocks = (block(a, &x), block(b, &y));
            if first == second && a.is_in_order_of_attributes(2) {
                prop_assert_eq!(a.compare(&x, b, &y), x[..2].cmp(&y[..2]));
            }
            prop_assert_eq!(
                a.compare(&x, b, &y),
                compare_blocks((&blocks.0, a.label_count()), (&blocks.1, b.label_count()))
            );
        }
    }
}
