//! A text inside another one, such as a configuration inside a ConfigMap: its places are converted to places in the
//! outer text.
//!
//! Converts a place in the inner text to one in the outer file: exactly for literal block scalars (`|`); to the place
//! of the scalar itself for quoted and folded ones, whose lines are not those of the file. Reads no file.

use std::sync::Arc;

use crate::node::{ConfigNode, NodeValue, SourceLocation, SourceText};
use crate::steps;

/// A string in a source that is itself a source.
#[derive(Clone, Debug)]
pub struct NestedSource {
    text: Arc<SourceText>,
    origin: SourceLocation,
    /// Where the lines of a block scalar are in the outer text: the number of lines above its first line, and its
    /// indentation in characters. `None` if the lines do not correspond.
    block_offset: Option<(u32, u32)>,
}

impl NestedSource {
    /// The text of a string. `None` for any other value.
    #[must_use]
    pub fn from_node(node: &ConfigNode) -> Option<Self> {
        let NodeValue::Str(text) = &node.value else { return None };
        let source = SourceText::from_parts(node.origin.source.clone(), text.clone(), node.origin.text.secret);
        Some(Self {
            text: Arc::new(source),
            origin: node.origin.clone(),
            block_offset: literal_block_offset(&node.origin, text),
        })
    }

    /// The same place with another text, such as one in which something was replaced. Its lines are those of the outer
    /// text if the number of lines is the same.
    #[must_use]
    pub fn with_text(mut self, text: &str) -> Self {
        if text.lines().count() != self.text.text.lines().count() {
            self.block_offset = None;
        }
        let (name, secret) = (self.text.name.clone(), self.text.secret);
        self.text = Arc::new(SourceText::from_parts(name, text.into(), secret));
        self
    }

    /// The same text, whose lines are never shown, because it can contain passwords.
    #[must_use]
    pub fn into_secret(mut self) -> Self {
        self.text = self.text.to_secret();
        self.origin.text = self.origin.text.to_secret();
        self
    }

    /// The inner text.
    #[must_use]
    pub const fn text(&self) -> &Arc<SourceText> {
        &self.text
    }

    /// Where the string is written.
    #[must_use]
    pub const fn origin(&self) -> &SourceLocation {
        &self.origin
    }

    /// The place in the outer text for a place in the inner one.
    #[must_use]
    pub fn outer_location(&self, inner: &SourceLocation) -> SourceLocation {
        match self.block_offset {
            Some((above, indent)) => SourceLocation {
                source: self.origin.source.clone(),
                text: self.origin.text.clone(),
                line: inner.line.saturating_add(above),
                column: inner.column.saturating_add(indent),
                width: inner.width,
            },
            None => self.origin.clone(),
        }
    }
}

/// The place of a byte of a text in its file, where the text is the value of `node`; `None` where the lines of the text are
/// not those of the file, or the value was expanded.
#[must_use]
pub fn location_in_text(node: &ConfigNode, text: &str, at: usize) -> Option<SourceLocation> {
    let origin = &node.origin;
    let before = text.get(..at)?;
    let columns = u32::try_from(before.chars().count()).ok()?;
    let written = origin.text.rest_of_line(origin.line, origin.column, text.len() + 1)?;
    for (quotes, written) in [(0, Some(written)), (1, written.get(1..))] {
        if written.is_some_and(|written| written.starts_with(text)) {
            return Some(SourceLocation::new(&origin.text, origin.line, origin.column + quotes + columns));
        }
    }
    let line = u32::try_from(before.lines().count().max(1)).ok()?;
    let line = if before.ends_with('\n') { line + 1 } else { line };
    let column = u32::try_from(before.chars().rev().take_while(|c| *c != '\n').count()).ok()? + 1;
    let nested = NestedSource::from_node(node)?;
    Some(nested.outer_location(&SourceLocation::new(nested.text(), line, column)))
}

/// If a scalar that begins at `origin` is a literal block with the value `text`: the number of lines above it, and its
/// indentation. Each line of the text must be one of the outer text, all with the same indentation.
fn literal_block_offset(at: &SourceLocation, text: &str) -> Option<(u32, u32)> {
    let skipped = text.lines().take_while(|line| line.trim().is_empty()).count();
    let first = text.lines().nth(skipped)?;
    // The parser reports a block at its header or at its first line, and blank lines may follow.
    let near = at.text.text_from_line(at.line)?.lines().zip(at.line..).take(skipped.saturating_add(2));
    let (number, indent) = near
        .filter_map(|(line, number)| Some((number, line.strip_suffix(first)?)))
        .find(|(_, indent)| indent.bytes().all(|b| b == b' '))?;
    let first_line = number.checked_sub(u32::try_from(skipped).ok()?).filter(|line| *line > 0)?;
    let mut outer = at.text.text_from_line(first_line)?.lines();
    let same = text.lines().all(|inner| {
        let Some(line) = outer.next() else { return false };
        line.strip_prefix(indent) == Some(inner) || (line.trim().is_empty() && inner.is_empty())
    });
    steps::add(text.len());
    same.then(|| (first_line - 1, u32::try_from(indent.len()).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Diagnostics, parse_documents};

    /// The line and column that are reported for the `x` of the inner text.
    fn outer_position(outer: &str) -> (u32, u32) {
        let d = Diagnostics::new();
        let nodes = parse_documents(&SourceText::new("m.yaml", outer), &d);
        let nested = NestedSource::from_node(nodes[0].get_path("data::c").unwrap()).unwrap();
        let inner = crate::yaml::parse(nested.text()).ok().unwrap().node;
        let place = nested.outer_location(&inner.get_path("a::x").unwrap().origin);
        (place.line, place.column)
    }

    #[test]
    fn location_in_a_literal_block_is_converted_at_any_indentation() {
        assert_eq!(outer_position("data:\n  c: |\n    a:\n      x: 1\n"), (4, 10));
        assert_eq!(outer_position("data:\n  c: |-\n   # first\n\n   a:\n     x: 1\n  d: 2\n"), (6, 9));
        assert_eq!(outer_position("data:\n  c: |\n\n\n    a:\n\n      x: 1"), (7, 10));
        assert_eq!(outer_position("data:\n  c: |2\n      a:\n        x: 1\n"), (4, 12));
        assert_eq!(outer_position("data:\r\n  c: |\r\n    a:\r\n      x: 1\r\n"), (4, 10));
    }

    #[test]
    fn documents_before_a_mistake_are_read_and_the_mistake_is_reported() {
        let d = Diagnostics::new();
        let text = "# nothing\n---\na: &x 1\nb: *x\n---\n---\na: 2\na: 3\n---\nc: [\n";
        let nodes = parse_documents(&SourceText::new("m.yaml", text), &d);
        let messages: Vec<String> = d.items().iter().map(ToString::to_string).collect();
        assert_eq!(nodes.len(), 3, "{nodes:?}");
        assert_eq!(messages.len(), 2, "{messages:?}");
        assert!(messages[0].starts_with("m.yaml:8:1: mapping key \"a\" already defined at line 7"), "{messages:?}");
        assert!(messages[1].contains("invalid YAML"), "{messages:?}");
        // An anchor is known in its own document only.
        let d = Diagnostics::new();
        assert_eq!(parse_documents(&SourceText::new("m.yaml", "a: &x 1\n---\nb: *x\n"), &d).len(), 1);
        assert!(d.has_errors());
    }

    #[test]
    fn replaced_text_with_equal_line_count_keeps_its_lines() {
        let d = Diagnostics::new();
        let nodes = parse_documents(&SourceText::new("m.yaml", "c: |\n  a: $$\n  b: 1\n"), &d);
        let nested = NestedSource::from_node(nodes[0].get_path("c").unwrap()).unwrap();
        let place = |nested: &NestedSource| nested.outer_location(&SourceLocation::new(nested.text(), 2, 4)).line;
        assert_eq!(place(&nested.clone().with_text("a: $\nb: 1\n")), 3);
        assert_eq!(place(&nested.with_text("a: $\n")), 2);
    }

    #[test]
    fn location_in_another_scalar_is_that_of_the_scalar() {
        assert_eq!(outer_position("data:\n  c: \"a:\\n  x: 1\\n\"\n"), (2, 6));
        assert_eq!(outer_position("data: {c: 'a: {x: 1}'}"), (1, 11));
        assert_eq!(outer_position("data:\n  c: >\n    a: {b: 1,\n    x: 1}\n"), (3, 5));
    }
}
