//! The configuration of a rule, and Prometheus's checks of it.

use otelcore_config::declare::{ConfigValue, Shape};
use otelcore_config::{EffectiveValue, NodeValue, Section, config_struct};
use otelcore_go_regexp::{GoRegexp, PatternError, Template};

use super::{NameValidation, RelabelRules, Rule, RuleAction};
use crate::text::{YamlString, read_text, text_of};

/// What a rule does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RelabelAction {
    /// Sets the label `target_label` where `regex` matches.
    #[default]
    Replace,
    /// Drops what `regex` does not match.
    Keep,
    /// Drops what `regex` matches.
    Drop,
    /// Drops what differs from the label `target_label`.
    KeepEqual,
    /// Drops what is equal to the label `target_label`.
    DropEqual,
    /// Sets the label `target_label` to a hash, modulo `modulus`.
    HashMod,
    /// Copies labels whose names `regex` matches to the names that `replacement` gives.
    LabelMap,
    /// Removes labels whose names `regex` matches.
    LabelDrop,
    /// Removes labels whose names `regex` does not match.
    LabelKeep,
    /// Sets the label `target_label` to the value in lower case.
    Lowercase,
    /// Sets the label `target_label` to the value in upper case.
    Uppercase,
    /// Nothing is written: an error of Prometheus.
    Empty,
}

const ACTIONS: [(&str, RelabelAction); 11] = [
    ("replace", RelabelAction::Replace),
    ("keep", RelabelAction::Keep),
    ("drop", RelabelAction::Drop),
    ("keepequal", RelabelAction::KeepEqual),
    ("dropequal", RelabelAction::DropEqual),
    ("hashmod", RelabelAction::HashMod),
    ("labelmap", RelabelAction::LabelMap),
    ("labeldrop", RelabelAction::LabelDrop),
    ("labelkeep", RelabelAction::LabelKeep),
    ("lowercase", RelabelAction::Lowercase),
    ("uppercase", RelabelAction::Uppercase),
];

impl RelabelAction {
    fn name(self) -> &'static str {
        ACTIONS.iter().find(|(_, action)| *action == self).map_or("", |(name, _)| *name)
    }

    fn is_one_of(self, actions: &[Self]) -> bool {
        actions.contains(&self)
    }
}

impl ConfigValue for RelabelAction {
    fn read(s: &mut Section<'_>, key: &str, default: &Self) -> Self {
        if is_null(s, key) {
            return Self::Empty;
        }
        let Some(word) = read_text(s, key) else { return *default };
        let lower = word.to_lowercase();
        if let Some((_, action)) = ACTIONS.iter().find(|(name, _)| *name == lower) {
            return *action;
        }
        let names: Vec<&str> = ACTIONS.iter().map(|(name, _)| *name).collect();
        s.error(key, format!("unknown relabel action {word:?}")).help(format!("write one of {}", names.join(", ")));
        *default
    }

    fn shape(_: &Self) -> Shape {
        Shape::OneOf(ACTIONS.iter().map(|(name, _)| *name).collect())
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::Str(self.name().to_owned())
    }
}

/// Whether null is written for a key, which is then read. It is the zero value of Go, and not the default.
fn is_null(s: &mut Section<'_>, key: &str) -> bool {
    s.raw_node(key).is_some_and(|node| node.value == NodeValue::Null)
}

/// `source_labels`; `None` if it is not written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SourceLabels(pub Option<Vec<String>>);

impl SourceLabels {
    fn names(&self) -> &[String] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl ConfigValue for SourceLabels {
    fn read(s: &mut Section<'_>, key: &str, _: &Self) -> Self {
        if !s.contains_key(key) || is_null(s, key) {
            return Self(None);
        }
        let Some(items) = s.raw_node(key).map(|node| node.items()).filter(|items| !items.is_empty()) else {
            return Self(Some(s.str_list(key, &[])));
        };
        let names: Vec<String> = items.iter().map(|item| text_of(item).unwrap_or_default()).collect();
        if let Some(name) = names.iter().find(|name| name.is_empty()) {
            s.error(key, format!("{name:?} is not a valid label name"));
        }
        Self(Some(names))
    }

    fn shape(_: &Self) -> Shape {
        Shape::List(Box::new(Shape::Str))
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::List(self.names().iter().cloned().map(EffectiveValue::Str).collect())
    }
}

/// `regex`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RelabelPattern {
    /// The pattern, which must match as a whole.
    pub pattern: String,
    /// It is not written. Prometheus distinguishes that from a pattern that is written and is the same.
    pub is_default: bool,
}

impl Default for RelabelPattern {
    fn default() -> Self {
        Self { pattern: "(.*)".to_owned(), is_default: true }
    }
}

impl From<&str> for RelabelPattern {
    fn from(pattern: &str) -> Self {
        Self { pattern: pattern.to_owned(), is_default: false }
    }
}

impl RelabelPattern {
    /// The pattern for a whole text, in which a dot is any character.
    fn compile(&self) -> Result<GoRegexp, PatternError> {
        GoRegexp::compile(&format!("^(?s:{})$", self.pattern))
    }
}

impl ConfigValue for RelabelPattern {
    fn read(s: &mut Section<'_>, key: &str, default: &Self) -> Self {
        if !s.contains_key(key) {
            return default.clone();
        }
        let Some(pattern) = read_text(s, key) else { return default.clone() };
        let pattern = Self { pattern, is_default: false };
        if let Err(error) = pattern.compile() {
            s.error(key, error.to_string());
            return default.clone();
        }
        pattern
    }

    fn shape(_: &Self) -> Shape {
        Shape::Str
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::Str(self.pattern.clone())
    }
}

config_struct! {
    /// A rule of relabelling. Rules are applied in their order.
    pub struct RelabelConfig {
        /// The labels whose values, joined by `separator`, the rule is about.
        pub source_labels: SourceLabels,
        /// What is between the values of the source labels.
        pub separator: YamlString = SEPARATOR.into(),
        /// The pattern that the joined values must match as a whole; for `labelmap`, `labeldrop` and `labelkeep` the
        /// pattern of names.
        pub regex: RelabelPattern,
        /// The divisor of the hash of `hashmod`.
        pub modulus: u64,
        /// The label that is set. With `replace` it may have references to groups of `regex`.
        pub target_label: YamlString,
        /// What `replace` sets, and the name that `labelmap` sets, with references to groups of `regex`.
        pub replacement: YamlString = REPLACEMENT.into(),
        /// What is done: `replace`, `keep`, `drop`, `keepequal`, `dropequal`, `hashmod`, `labelmap`, `labeldrop`,
        /// `labelkeep`, `lowercase` or `uppercase`.
        pub action: RelabelAction,
    }
}

const REPLACEMENT: &str = "$1";
const SEPARATOR: &str = ";";

/// A mistake in a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelabelError {
    /// Which rule.
    pub index: usize,
    /// The key that it is about.
    pub key: &'static str,
    /// Prometheus's message.
    pub message: String,
}

impl std::fmt::Display for RelabelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for RelabelError {}

/// The key and the message of a mistake.
type Mistake = (&'static str, String);

impl RelabelConfig {
    /// The checks of Prometheus that need the scheme of the scrape configuration.
    fn validate(&self, scheme: NameValidation) -> Result<(), Mistake> {
        use RelabelAction::{
            DropEqual, Empty, HashMod, KeepEqual, LabelDrop, LabelKeep, LabelMap, Lowercase, Replace, Uppercase,
        };
        let (action, target, name) = (self.action, &*self.target_label, self.action.name());
        let error = |key: &'static str, message: String| Err((key, message));
        if action == Empty {
            return error("action", "relabel action cannot be empty".to_owned());
        }
        if self.modulus == 0 && action == HashMod {
            return error("modulus", "relabel configuration for hashmod requires non-zero modulus".to_owned());
        }
        let sets = [Replace, HashMod, Lowercase, Uppercase, KeepEqual, DropEqual];
        if action.is_one_of(&sets) && target.is_empty() {
            let message = format!("relabel configuration for {name} action requires 'target_label' value");
            return error("target_label", message);
        }
        let has_group = target.contains('$');
        let is_valid = scheme.is_valid_label_name(target);
        let invalid_target = match action {
            Replace if has_group => !scheme.is_valid_template(target),
            Replace | Lowercase | Uppercase | KeepEqual | DropEqual => !is_valid,
            _ => false,
        };
        if invalid_target {
            return error("target_label", format!("{target:?} is invalid 'target_label' for {name} action"));
        }
        let is_default_replacement = *self.replacement == *REPLACEMENT;
        if action.is_one_of(&[Lowercase, Uppercase, KeepEqual, DropEqual]) && !is_default_replacement {
            return error("replacement", format!("'replacement' can not be set for {name} action"));
        }
        if action == LabelMap && !scheme.is_valid_template(&self.replacement) {
            let message = format!("{:?} is invalid 'replacement' for {name} action", self.replacement);
            return error("replacement", message);
        }
        if action == HashMod && !is_valid {
            return error("target_label", format!("{target:?} is invalid 'target_label' for {name} action"));
        }
        let has_others = self.modulus != 0 || *self.separator != *SEPARATOR || !is_default_replacement;
        if action.is_one_of(&[DropEqual, KeepEqual]) && (has_others || !self.regex.is_default) {
            let only = "requires only 'source_labels' and `target_label`, and no other fields";
            return error("action", format!("{name} action {only}"));
        }
        let has_labels = self.source_labels.0.is_some() || !target.is_empty();
        if action.is_one_of(&[LabelDrop, LabelKeep]) && (has_others || has_labels) {
            return error("action", format!("{name} action requires only 'regex', and no other fields"));
        }
        Ok(())
    }

    fn compile(&self, scheme: NameValidation) -> Result<Rule, Mistake> {
        self.validate(scheme)?;
        let pattern = || self.regex.compile().map_err(|error| ("regex", error.to_string()));
        let template = |text: &str| text.contains('$').then(|| Template::parse(text));
        let target_label: Box<str> = (*self.target_label).into();
        let action = match self.action {
            RelabelAction::Replace => RuleAction::Replace {
                pattern: if self.regex.is_default { None } else { Some(pattern()?) },
                target: template(&self.target_label),
                target_label,
                replacement: template(&self.replacement),
                text: (*self.replacement).into(),
                is_first_group: *self.replacement == *REPLACEMENT,
            },
            RelabelAction::Keep => RuleAction::Keep(pattern()?),
            RelabelAction::Drop => RuleAction::Drop(pattern()?),
            RelabelAction::KeepEqual => RuleAction::KeepEqual { target_label },
            RelabelAction::DropEqual => RuleAction::DropEqual { target_label },
            RelabelAction::HashMod => RuleAction::HashMod { target_label, modulus: self.modulus },
            RelabelAction::LabelMap => {
                RuleAction::LabelMap { pattern: pattern()?, replacement: Template::parse(&self.replacement) }
            }
            RelabelAction::LabelDrop => RuleAction::LabelDrop(pattern()?),
            RelabelAction::LabelKeep => RuleAction::LabelKeep(pattern()?),
            RelabelAction::Lowercase => RuleAction::Lowercase { target_label },
            RelabelAction::Uppercase => RuleAction::Uppercase { target_label },
            RelabelAction::Empty => return Err(("action", "relabel action cannot be empty".to_owned())),
        };
        let source_labels = self.source_labels.names().iter().map(|name| name.as_str().into()).collect();
        Ok(Rule { source_labels, separator: (*self.separator).into(), scheme, action })
    }
}

impl RelabelRules {
    /// Checks rules with the messages of Prometheus, and compiles them.
    ///
    /// # Errors
    /// The first mistake.
    pub fn compile(configs: &[RelabelConfig], scheme: NameValidation) -> Result<Self, RelabelError> {
        let rules: Result<Vec<Rule>, RelabelError> = configs
            .iter()
            .enumerate()
            .map(|(index, config)| {
                config.compile(scheme).map_err(|(key, message)| RelabelError { index, key, message })
            })
            .collect();
        Ok(Self::new(rules?))
    }

    /// Reports the mistakes in the rules under a key of a section, at each rule.
    pub fn check(configs: &[RelabelConfig], scheme: NameValidation, s: &Section<'_>, key: &str) {
        for (index, config) in configs.iter().enumerate() {
            if let Err((_, message)) = config.compile(scheme) {
                s.error(&format!("{key}[{index}]"), message);
            }
        }
    }
}
