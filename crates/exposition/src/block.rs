//! Blocks of labels: `a="x","b.c"="y"`. Reading them, their order, and escaping their names for a scraper.
//!
//! A block has the labels of one series in the order of their names, written by [`write_label`](crate::write_label).

use std::borrow::Cow;
use std::cmp::Ordering;

use memchr::{memchr, memchr2};

use crate::label_text::write_label_name;
use crate::{NameEscaper, NameEscaping, escape_label_name};

/// The labels of a block: names unescaped, values still escaped.
#[derive(Clone, Copy, Debug)]
pub struct BlockLabels<'a>(&'a [u8]);

impl<'a> BlockLabels<'a> {
    /// The labels of `block`.
    #[must_use]
    pub const fn new(block: &'a [u8]) -> Self {
        Self(block)
    }
}

impl<'a> Iterator for BlockLabels<'a> {
    type Item = (Cow<'a, [u8]>, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let block = self.0.strip_prefix(b",").unwrap_or(self.0);
        let (name, rest) = match block.strip_prefix(b"\"") {
            Some(quoted) => {
                let end = quoted_len(quoted)?;
                let name = quoted.get(..end)?;
                let name = if memchr(b'\\', name).is_some() { unescape(name).collect() } else { Cow::Borrowed(name) };
                (name, quoted.get(end + 1..)?.strip_prefix(b"=\"")?)
            }
            None => {
                let end = memchr(b'=', block)?;
                (Cow::Borrowed(block.get(..end)?), block.get(end + 2..)?)
            }
        };
        let end = quoted_len(rest)?;
        self.0 = rest.get(end + 1..)?;
        Some((name, rest.get(..end)?))
    }
}

/// The values of a block, still escaped.
struct LabelValues<'a>(&'a [u8]);

impl<'a> Iterator for LabelValues<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let block = self.0.strip_prefix(b",").unwrap_or(self.0);
        let rest = match block.strip_prefix(b"\"") {
            Some(quoted) => quoted.get(quoted_len(quoted)? + 3..)?,
            None => block.get(memchr(b'"', block)? + 1..)?,
        };
        let end = quoted_len(rest)?;
        self.0 = rest.get(end + 1..)?;
        rest.get(..end)
    }
}

/// The length of the text before the closing quote.
fn quoted_len(text: &[u8]) -> Option<usize> {
    let mut end = 0;
    loop {
        end += memchr2(b'"', b'\\', text.get(end..)?)?;
        if text.get(end) == Some(&b'"') {
            return Some(end);
        }
        end += 2;
    }
}

/// The bytes of an escaped text.
pub fn unescape(value: &[u8]) -> impl Iterator<Item = u8> {
    let mut bytes = value.iter().copied();
    std::iter::from_fn(move || match bytes.next()? {
        b'\\' => Some(match bytes.next()? {
            b'n' => b'\n',
            other => other,
        }),
        plain => Some(plain),
    })
}

/// The order of series in a family, by their blocks: fewer labels first, then value by value as bytes. Label names are
/// ignored, as in client_golang; blocks that differ only in names are ordered by their bytes.
#[must_use]
pub fn compare_blocks((a, a_labels): (&[u8], usize), (b, b_labels): (&[u8], usize)) -> Ordering {
    let by_values = || {
        let (mut a, mut b) = (LabelValues(a), LabelValues(b));
        loop {
            match (a.next(), b.next()) {
                (Some(x), Some(y)) => match compare_values(x, y) {
                    Ordering::Equal => {}
                    unequal => return unequal,
                },
                (None, None) => return Ordering::Equal,
                (None, Some(_)) => return Ordering::Less,
                (Some(_), None) => return Ordering::Greater,
            }
        }
    };
    a_labels.cmp(&b_labels).then_with(by_values).then_with(|| a.cmp(b))
}

/// How many bytes are equal at the beginning, to the last bytes that are compared at once.
fn equal_len(x: &[u8], y: &[u8]) -> usize {
    let equal_until = |from: usize, stride: usize| {
        let (x, y) = (x.get(from..).unwrap_or_default(), y.get(from..).unwrap_or_default());
        from + x.chunks_exact(stride).zip(y.chunks_exact(stride)).take_while(|(a, b)| a == b).count() * stride
    };
    equal_until(equal_until(equal_until(0, 4096), 64), 8)
}

/// Compares escaped values by their unescaped bytes. Equal beginnings are skipped with a fast comparison of blocks, so
/// that long labels that differ late cost little.
fn compare_values(x: &[u8], y: &[u8]) -> Ordering {
    let equal_len = equal_len(x, y);
    // An escape may begin in the equal part: then the number of backslashes at its end is odd.
    let before = x.get(..equal_len).unwrap_or_default();
    let slashes = before.iter().rev().take_while(|b| **b == b'\\').count();
    let at = equal_len - slashes % 2;
    unescape(x.get(at..).unwrap_or_default()).cmp(unescape(y.get(at..).unwrap_or_default()))
}

/// The name of a label on a page, and its value, still escaped.
pub type PageLabel<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// Labels whose value is not joined with those of labels that have their name only because it is escaped.
const SCOPE_LABELS: [&[u8]; 3] = [b"otel_scope_name", b"otel_scope_version", b"otel_scope_schema_url"];

/// The labels of a block for a page with this escaping, in the order of the block, values still escaped. Labels whose names
/// become equal are one label, with their values joined by `;`; `otel_scope_name` and its like keep their value.
#[must_use]
pub fn escape_labels(block: &[u8], escaper: NameEscaper) -> Vec<PageLabel<'_>> {
    let mut labels: Vec<EscapedLabel<'_>> = Vec::new();
    for (name, value) in BlockLabels::new(block) {
        let (name, is_escaped) = match escape_label_name(&name, escaper) {
            Cow::Owned(escaped) => (Cow::Owned(escaped), true),
            Cow::Borrowed(_) => (name, false),
        };
        labels.push(EscapedLabel { name, value: Cow::Borrowed(value), is_escaped, is_joined: false });
    }
    if labels.iter().any(|label| label.is_escaped) {
        join_equal_names(&mut labels);
    }
    labels.into_iter().filter(|label| !label.is_joined).map(|label| (label.name, label.value)).collect()
}

struct EscapedLabel<'a> {
    name: Cow<'a, [u8]>,
    value: Cow<'a, [u8]>,
    is_escaped: bool,
    /// It is a part of another label.
    is_joined: bool,
}

fn join_equal_names(labels: &mut [EscapedLabel<'_>]) {
    // The positions by name; of equal names, in the order of the block.
    let mut order: Vec<usize> = (0..labels.len()).collect();
    order.sort_by(|a, b| labels.get(*a).map(|l| &*l.name).cmp(&labels.get(*b).map(|l| &*l.name)).then(a.cmp(b)));
    let mut first: Option<usize> = None;
    for at in order {
        let Some((name, value, is_escaped)) = labels.get(at).map(|l| (l.name.clone(), l.value.clone(), l.is_escaped))
        else {
            continue;
        };
        let Some(kept) = first.and_then(|first| labels.get_mut(first)).filter(|kept| kept.name == name) else {
            first = Some(at);
            continue;
        };
        if !SCOPE_LABELS.contains(&&*name) {
            let joined = kept.value.to_mut();
            joined.push(b';');
            joined.extend_from_slice(&value);
        } else if kept.is_escaped && !is_escaped {
            kept.value = value;
            kept.is_escaped = false;
        }
        if let Some(joined) = labels.get_mut(at) {
            joined.is_joined = true;
        }
    }
}

/// The block of a page with this escaping: see [`escape_labels`].
#[must_use]
pub fn escape_block(block: &[u8], escaper: NameEscaper) -> Vec<u8> {
    write_labels(&escape_labels(block, escaper), block.len())
}

/// The block of a page with [`NameEscaping::Underscores`], its labels sorted by their names there: equal for series that
/// such a page can't keep apart. With the number of its labels.
#[must_use]
pub fn sorted_escaped_block(block: &[u8]) -> (Vec<u8>, usize) {
    let mut labels = escape_labels(block, NameEscaping::Underscores.into());
    labels.sort_by(|a, b| a.0.cmp(&b.0));
    (write_labels(&labels, block.len()), labels.len())
}

fn write_labels(labels: &[PageLabel<'_>], capacity: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(capacity);
    for (name, value) in labels {
        write_label_name(&mut out, name);
        out.extend_from_slice(value);
        out.push(b'"');
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::write_label;

    fn labels_of(labels: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        labels.iter().for_each(|(n, v)| write_label(&mut out, n.as_bytes(), v.as_bytes()));
        out
    }

    #[test]
    fn labels_of_a_block_are_read_back() {
        let labels = [("a", ""), ("b.c", ",\"d\"=\"e\""), ("é\"\\\n", "\\n\n"), ("z", "=")];
        let block = labels_of(&labels);
        let read: Vec<(String, String)> = BlockLabels::new(&block)
            .map(|(n, v)| {
                (String::from_utf8(n.into_owned()).unwrap(), String::from_utf8(unescape(v).collect()).unwrap())
            })
            .collect();
        assert_eq!(read, labels.map(|(n, v)| (n.to_owned(), v.to_owned())));
        let values: Vec<Vec<u8>> = LabelValues(&block).map(|v| unescape(v).collect()).collect();
        assert_eq!(values, labels.map(|(_, v)| v.as_bytes().to_vec()));
    }

    #[test]
    fn labels_whose_names_become_equal_are_joined() {
        let block = labels_of(&[("a.b", "1"), ("a_b", "2"), ("aéb", "3"), ("b", "4")]);
        let text = |escaping: NameEscaping| String::from_utf8(escape_block(&block, escaping.into())).unwrap();
        assert_eq!(text(NameEscaping::Underscores), "a_b=\"1;2;3\",b=\"4\"");
        assert_eq!(text(NameEscaping::Dots), "a_dot_b=\"1\",a_b=\"2\",a__b=\"3\",b=\"4\"");
        assert_eq!(text(NameEscaping::AllowUtf8).as_bytes(), block);
        let scope = labels_of(&[("otel.scope.name", "x"), ("otel_scope_name", "lib")]);
        assert_eq!(escape_block(&scope, NameEscaping::Underscores.into()), b"otel_scope_name=\"lib\"");
        let (sorted, count) = sorted_escaped_block(&labels_of(&[("a.z", "1"), ("a_b", "2")]));
        assert_eq!((String::from_utf8(sorted).unwrap().as_str(), count), ("a_b=\"2\",a_z=\"1\"", 2));
    }

    fn counted_block(labels: &[(&str, &str)]) -> (Vec<u8>, usize) {
        (labels_of(labels), labels.len())
    }

    #[test]
    fn series_are_ordered_by_label_count_then_by_values() {
        let order = |a: &[(&str, &str)], b: &[(&str, &str)]| {
            let ((a, an), (b, bn)) = (counted_block(a), counted_block(b));
            compare_blocks((&a, an), (&b, bn))
        };
        assert_eq!(order(&[("z", "9")], &[("a", "1"), ("b", "1")]), Ordering::Less);
        assert_eq!(order(&[("z", "1")], &[("a", "2")]), Ordering::Less);
        assert_eq!(order(&[("a", "x\"y")], &[("a", "x#y")]), Ordering::Less);
        assert_eq!(order(&[("a", "\n")], &[("a", "!")]), Ordering::Less);
        assert_eq!(order(&[("a", "x"), ("b", "")], &[("a", "x"), ("b", "0")]), Ordering::Less);
        assert_eq!(order(&[("a", "1")], &[("a", "1")]), Ordering::Equal);
        assert_eq!(order(&[("a", "1")], &[("b", "1")]), Ordering::Less);
    }

    #[test]
    fn long_values_with_escapes_anywhere_are_ordered_as_unescaped() {
        for pad in 50..140 {
            let pad = "x".repeat(pad);
            for (a, b) in [("\\a", "\\b"), ("\n", "\\"), ("\"", "\n"), ("", "\n"), ("\\\\\n", "\\\\a"), ("q", "q")] {
                let (a, b) = (format!("{pad}{a}"), format!("{pad}{b}"));
                let ((x, n), (y, _)) = (counted_block(&[("l", &a)]), counted_block(&[("l", &b)]));
                assert_eq!(compare_blocks((&x, n), (&y, n)), a.cmp(&b), "{a:?} {b:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn escaped_values_are_ordered_as_unescaped(
            a in proptest::collection::vec("[a\"\\\\\n,=é]{0,4}", 1..4),
            b in proptest::collection::vec("[a\"\\\\\n,=é]{0,4}", 1..4),
        ) {
            let make = |values: &[String]| {
                let mut out = Vec::new();
                values.iter().for_each(|v| write_label(&mut out, b"l", v.as_bytes()));
                out
            };
            let (x, y) = (make(&a), make(&b));
            prop_assert_eq!(compare_blocks((&x, a.len()), (&y, b.len())), a.len().cmp(&b.len()).then(a.cmp(&b)));
        }

        #[test]
        fn blocks_with_an_equal_beginning_are_ordered_by_the_other_values(
            same in proptest::collection::vec("[a\"\\\\\n,=]{0,20}", 0..5),
            a in proptest::collection::vec("[a\"\\\\\n,=]{0,20}", 1..3),
            b in proptest::collection::vec("[a\"\\\\\n,=]{0,20}", 1..3),
            head in "[a,=\"]{0,12}",
        ) {
            let (a, b) = ([same.clone(), a].concat(), [same, b].concat());
            let make = |values: &[String]| {
                let mut out = Vec::new();
                for (i, value) in values.iter().enumerate() {
                    // Some names are in quotes and have the marks themselves.
                    let name = if i % 2 == 0 { "l".to_owned() } else { format!(",\"{i}=") };
                    write_label(&mut out, name.as_bytes(), format!("{head}{value}").as_bytes());
                }
                out
            };
            let (x, y) = (make(&a), make(&b));
            prop_assert_eq!(compare_blocks((&x, a.len()), (&y, b.len())), a.len().cmp(&b.len()).then(a.cmp(&b)));
        }
    }
}
