//! Replacement templates: `$1`, `$name`, `${name}` and `$$`, by the rules of Go's `Regexp.Expand`.

use std::ops::Range;

/// A replacement for a match, with references to its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    /// A group by its number; 0 is the whole match.
    Number(usize),
    Name(String),
}

impl Template {
    /// Parses a template. Every text is one: a `$` that begins no reference stands for itself.
    #[must_use]
    pub fn parse(template: &str) -> Self {
        let mut parts = Vec::new();
        let mut text = Vec::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('$') {
            text.extend_from_slice(before.as_bytes());
            rest = after;
            if let Some(after) = rest.strip_prefix('$') {
                text.push(b'$');
                rest = after;
                continue;
            }
            let Some((name, after)) = reference(rest) else {
                text.push(b'$');
                continue;
            };
            rest = after;
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(number(name).map_or_else(|| Part::Name(name.to_owned()), Part::Number));
        }
        text.extend_from_slice(rest.as_bytes());
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Self { parts }
    }

    /// Appends the template to `out`, with the texts of groups that have these names from the first group on.
    pub(crate) fn expand(&self, names: &[String], text: &[u8], groups: &[Option<Range<usize>>], out: &mut Vec<u8>) {
        let group = |index: usize| groups.get(index).cloned().flatten().and_then(|range| text.get(range));
        for part in &self.parts {
            match part {
                Part::Text(part) => out.extend_from_slice(part),
                Part::Number(index) => out.extend_from_slice(group(*index).unwrap_or_default()),
                // Of groups with the same name, the first that takes part.
                Part::Name(name) => {
                    let indices = names.iter().enumerate().filter(|(_, of_group)| *of_group == name);
                    let found = indices.filter_map(|(index, _)| group(index + 1)).next();
                    out.extend_from_slice(found.unwrap_or_default());
                }
            }
        }
    }

    /// Appends the template to `out`, with the texts of groups without names; the first of them is the whole match.
    pub fn expand_unnamed(&self, text: &[u8], groups: &[Option<Range<usize>>], out: &mut Vec<u8>) {
        self.expand(&[], text, groups, out);
    }
}

/// The name at the beginning of `text`, in braces or not, and what follows it.
fn reference(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('{');
    let name_and_rest = inner.unwrap_or(text);
    let is_part = |c: char| c.is_alphabetic() || c.is_numeric() || c == '_';
    let end = name_and_rest.find(|c: char| !is_part(c)).unwrap_or(name_and_rest.len());
    let (name, rest) = name_and_rest.split_at_checked(end)?;
    if name.is_empty() {
        return None;
    }
    let rest = if inner.is_some() { rest.strip_prefix('}')? } else { rest };
    Some((name, rest))
}

/// The number that a name is: without zeros in front, below a thousand million.
fn number(name: &str) -> Option<usize> {
    let is_number = name.bytes().all(|b| b.is_ascii_digit()) && name.len() <= 9;
    (is_number && (name == "0" || !name.starts_with('0'))).then(|| name.parse().ok())?
}
