//! Conditions about the headers of a request: `request["name"] == "value"`, or with `!=`.

use otelcore_pipeline::Metadata;

/// A comparison of one header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RequestCondition {
    /// In lower case.
    name: String,
    value: String,
    is_equal: bool,
}

const FORMAT: &str = "condition must have format 'request[\"<name>\"] <comparator> <value>'";
const VALUE_FORMAT: &str = "condition must have format 'request[\"<name>\"] <comparator> \"<value>\"'";

impl RequestCondition {
    /// Reads a condition by the rules of the Go collector, which are lax beside the comparator: what is around the name and
    /// the value belongs to them.
    ///
    /// # Errors
    /// The mistake, in the words of the Go collector.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("condition is empty");
        }
        let bytes = text.as_bytes().windows(2);
        let mut comparators = bytes.enumerate().filter(|(_, pair)| *pair == b"==" || *pair == b"!=");
        let Some((at, comparator)) = comparators.next() else {
            return Err("condition does not contain a valid comparator");
        };
        // Pairs that overlap are one comparator: `===` has one.
        if comparators.any(|(other, _)| other >= at + 2) {
            return Err("condition contains multiple comparators");
        }
        let (left, rest) = text.split_at(at);
        let (left, right) = (left.trim(), rest.get(2..).unwrap_or_default().trim());
        if !has_delimited(left, "request[\"", "\"]") {
            return Err(FORMAT);
        }
        if !has_delimited(right, "\"", "\"") {
            return Err(VALUE_FORMAT);
        }
        let name = without(left, "request[\"", "\"]").to_lowercase();
        let value = without(right, "\"", "\"").to_owned();
        Ok(Self { name, value, is_equal: comparator == b"==" })
    }

    /// Whether one of the header's values compares so. A header that is absent does not, with `!=` as well.
    pub(super) fn holds(&self, metadata: Option<&Metadata>) -> bool {
        let values = metadata.map(|metadata| metadata.get(&self.name)).unwrap_or_default();
        values.iter().any(|value| (*value == self.value) == self.is_equal)
    }
}

/// Whether a line of the text has `begin` and, somewhere after it, `end`.
fn has_delimited(text: &str, begin: &str, end: &str) -> bool {
    text.lines().any(|line| {
        let after = line.find(begin).and_then(|at| line.get(at + begin.len()..));
        after.is_some_and(|after| after.contains(end))
    })
}

fn without<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let text = text.strip_prefix(begin).unwrap_or(text);
    text.strip_suffix(end).unwrap_or(text)
}
