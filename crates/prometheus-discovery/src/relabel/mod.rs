//! Relabelling: rules that change labels or decide that what they belong to is dropped.
//!
//! The same rules are applied to targets and to the series of a page. A rule takes time linear in the text of the labels,
//! except for their order by name. Performs no IO, and knows no target.

mod config;
mod names;
#[cfg(test)]
pub(crate) mod tests;

use std::rc::Rc;

use md5::{Digest, Md5};
use otelcore_go_regexp::{GoRegexp, Template};

pub use config::{RelabelAction, RelabelConfig, RelabelError, RelabelPattern, SourceLabels};
pub use names::NameValidation;

use crate::labels::{LabelBuilder, LabelSet, Span};

/// Compiled rules. Copying them is copying a reference.
#[derive(Clone, Default)]
pub struct RelabelRules(Rc<[Rule]>);

impl std::fmt::Debug for RelabelRules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelabelRules").field("rules", &self.0.len()).finish()
    }
}

struct Rule {
    source_labels: Box<[Box<str>]>,
    separator: Box<str>,
    scheme: NameValidation,
    action: RuleAction,
}

enum RuleAction {
    Replace {
        /// `None` matches everything, with one group that is the whole text.
        pattern: Option<GoRegexp>,
        /// `None` without a reference to a group.
        target: Option<Template>,
        target_label: Box<str>,
        /// `None` without a reference to a group.
        replacement: Option<Template>,
        text: Box<str>,
        /// The replacement is the first group.
        is_first_group: bool,
    },
    Keep(GoRegexp),
    Drop(GoRegexp),
    KeepEqual {
        target_label: Box<str>,
    },
    DropEqual {
        target_label: Box<str>,
    },
    HashMod {
        target_label: Box<str>,
        modulus: u64,
    },
    LabelMap {
        pattern: GoRegexp,
        replacement: Template,
    },
    LabelDrop(GoRegexp),
    LabelKeep(GoRegexp),
    Lowercase {
        target_label: Box<str>,
    },
    Uppercase {
        target_label: Box<str>,
    },
}

/// Applies rules to a set of labels; `None` if it is dropped.
#[must_use]
pub fn relabel(labels: &LabelSet, rules: &RelabelRules) -> Option<LabelSet> {
    if rules.is_empty() {
        return Some(labels.clone());
    }
    let mut builder = LabelBuilder::new();
    builder.reset(labels);
    if !rules.apply(&mut builder) {
        return None;
    }
    Some(builder.to_label_set())
}

impl RelabelRules {
    fn new(rules: Vec<Rule>) -> Self {
        Self(rules.into())
    }

    /// Without rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Applies the rules in their order. False if one of them drops what the labels belong to.
    #[must_use]
    pub fn apply(&self, labels: &mut LabelBuilder) -> bool {
        self.0.iter().all(|rule| rule.apply(labels))
    }
}

impl Rule {
    /// Joins the values of the source labels.
    fn join(&self, labels: &LabelBuilder, value: &mut String) {
        for (index, name) in self.source_labels.iter().enumerate() {
            if index > 0 {
                value.push_str(&self.separator);
            }
            value.push_str(labels.get(name));
        }
    }

    fn apply(&self, labels: &mut LabelBuilder) -> bool {
        let mut value = std::mem::take(&mut labels.scratch);
        value.clear();
        self.join(labels, &mut value);
        let is_kept = self.apply_to(labels, &value);
        labels.scratch = value;
        is_kept
    }

    fn apply_to(&self, labels: &mut LabelBuilder, value: &str) -> bool {
        match &self.action {
            RuleAction::Keep(pattern) => return pattern.is_match(value.as_bytes()),
            RuleAction::Drop(pattern) => return !pattern.is_match(value.as_bytes()),
            RuleAction::KeepEqual { target_label } => return labels.get(target_label) == value,
            RuleAction::DropEqual { target_label } => return labels.get(target_label) != value,
            RuleAction::Replace { .. } => self.replace(labels, value),
            RuleAction::HashMod { target_label, modulus } => {
                labels.set(target_label, &hash_modulo(value, *modulus).to_string());
            }
            RuleAction::LabelMap { pattern, replacement } => map_labels(labels, pattern, replacement),
            RuleAction::LabelDrop(pattern) => labels.retain(|name| !pattern.is_match(name.as_bytes())),
            RuleAction::LabelKeep(pattern) => labels.retain(|name| pattern.is_match(name.as_bytes())),
            RuleAction::Lowercase { target_label } => labels.set(target_label, &to_lower(value)),
            RuleAction::Uppercase { target_label } => labels.set(target_label, &to_upper(value)),
        }
        true
    }

    fn replace(&self, labels: &mut LabelBuilder, value: &str) {
        let RuleAction::Replace { pattern, target, target_label, replacement, text, is_first_group } = &self.action
        else {
            return;
        };
        // Nothing refers to a group.
        if let (Some(pattern), None, None) = (pattern, target, replacement) {
            if pattern.is_match(value.as_bytes()) {
                labels.set(target_label, text);
            }
            return;
        }
        if let (None, None) = (pattern, target)
            && *is_first_group
        {
            return labels.set(target_label, value);
        }
        let whole = [Some(0..value.len()), Some(0..value.len())];
        let found;
        let groups = match pattern {
            None => whole.as_slice(),
            Some(pattern) => {
                let Some(groups) = pattern.find(value.as_bytes()) else { return };
                found = groups;
                found.as_slice()
            }
        };
        // The default pattern has no names for its groups.
        let expand = |template: &Option<Template>, text: &str, out: &mut Vec<u8>| {
            out.clear();
            match (template, pattern) {
                (None, _) => out.extend_from_slice(text.as_bytes()),
                (Some(template), Some(pattern)) => pattern.expand(template, value.as_bytes(), groups, out),
                (Some(template), None) => template.expand_unnamed(value.as_bytes(), groups, out),
            }
        };
        let [mut name, mut set_to] = std::mem::take(&mut labels.expanded);
        expand(target, target_label, &mut name);
        expand(replacement, text, &mut set_to);
        if let (Ok(name), Ok(set_to)) = (std::str::from_utf8(&name), std::str::from_utf8(&set_to))
            && self.scheme.is_valid_label_name(name)
        {
            labels.set(name, set_to);
        }
        labels.expanded = [name, set_to];
    }
}

/// Copies the labels whose names match to the names that the template gives.
fn map_labels(labels: &mut LabelBuilder, pattern: &GoRegexp, replacement: &Template) {
    let spans: Vec<(Span, Span)> = labels.spans().collect();
    let mut mapped = Vec::new();
    let mut name = Vec::new();
    for (from, value) in spans {
        name.clear();
        // The pattern matches a whole name, so that there is one match.
        if !pattern.replace_all(labels.span_text(from).as_bytes(), replacement, &mut name) {
            continue;
        }
        let Ok(name) = std::str::from_utf8(&name) else { continue };
        mapped.push((labels.push_text(name), value));
    }
    labels.set_all(&mapped);
}

/// The last eight bytes of the MD5 of a text, modulo a number that is not zero.
fn hash_modulo(value: &str, modulus: u64) -> u64 {
    let hash = Md5::digest(value.as_bytes());
    let last = hash.iter().skip(8).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    last.checked_rem(modulus).unwrap_or_default()
}

/// In lower case, a character for a character, as in Go.
fn to_lower(text: &str) -> String {
    text.chars()
        .map(|c| {
            let mut lower = c.to_lowercase();
            match (lower.next(), lower.next()) {
                (Some(lower), None) => lower,
                // The only character with more than one in lower case.
                _ if c == '\u{130}' => 'i',
                _ => c,
            }
        })
        .collect()
}

/// In upper case, a character for a character, as in Go.
fn to_upper(text: &str) -> String {
    text.chars()
        .map(|c| {
            let mut upper = c.to_uppercase();
            let code = match (upper.next(), upper.next()) {
                (Some(upper), None) => return upper,
                // Greek letters with an iota below, which have a form of their own.
                _ => match c {
                    '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => u32::from(c) + 8,
                    '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => u32::from(c) + 9,
                    _ => return c,
                },
            };
            char::from_u32(code).unwrap_or(c)
        })
        .collect()
}
