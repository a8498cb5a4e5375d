//! One key: its description, and how it is read.

use super::{ConfigValue, Shape};
use crate::{EffectiveValue, GoDuration, Section};

/// Whether a key is used.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Status {
    /// It is used.
    #[default]
    Used,
    /// An old key: read if it is written, with a warning that says what to write.
    Deprecated(&'static str),
    /// It is read and checked, but has no effect for this reason; `true` if a warning says so.
    NoEffect(&'static str, bool),
    /// It is refused unless it turns nothing on, with this sentence.
    Unsupported(&'static str),
}

/// A bound of a number or a duration.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Bound {
    /// Of an integer.
    Int(i128),
    /// Of any number.
    Float(f64),
    /// Of a duration.
    Dur(GoDuration),
}

macro_rules! bounds {
    ($($t:ty => $variant:ident),*) => {$(
        impl From<$t> for Bound {
            fn from(value: $t) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

bounds! { i32 => Int, i64 => Int, u32 => Int, u64 => Int, f64 => Float, GoDuration => Dur }

impl Bound {
    #[expect(clippy::cast_precision_loss, reason = "bounds are small numbers")]
    fn number(self) -> f64 {
        match self {
            Self::Int(v) => v as f64,
            Self::Float(v) => v,
            Self::Dur(v) => v.0 as f64,
        }
    }

    /// The bound as text, for the reference.
    pub(super) fn text(self) -> String {
        match self {
            Self::Int(v) => v.to_string(),
            Self::Float(v) => v.to_string(),
            Self::Dur(v) => v.to_string(),
        }
    }

    /// The bound as a value of a JSON Schema; that of a duration is in nanoseconds.
    pub(super) fn value(self) -> EffectiveValue {
        match self {
            Self::Int(v) => EffectiveValue::Int(v),
            Self::Float(v) => EffectiveValue::Float(v),
            Self::Dur(v) => EffectiveValue::Int(v.0.into()),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Comparison {
    AtLeast,
    Above,
    AtMost,
}

/// A bound and the error for a value outside of it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Rule {
    pub(super) comparison: Comparison,
    pub(super) bound: Bound,
    message: &'static str,
    hint: Option<&'static str>,
}

impl Rule {
    fn holds(&self, value: f64) -> bool {
        let bound = self.bound.number();
        // A value that is not a number satisfies no rule.
        match self.comparison {
            Comparison::AtLeast => value >= bound,
            Comparison::Above => value > bound,
            Comparison::AtMost => value <= bound,
        }
    }
}

/// One key of a section. The methods that set its properties are the attributes of
/// [`config_struct!`](crate::config_struct).
#[derive(Clone, PartialEq, Debug)]
pub struct Field {
    /// Its name.
    pub key: &'static str,
    /// Its documentation, one paragraph for each blank line.
    pub doc: String,
    /// The unit of a number.
    pub unit: Option<&'static str>,
    /// What it can be.
    pub shape: Shape,
    /// Its value when it is absent.
    pub default: EffectiveValue,
    /// Whether it is used.
    pub status: Status,
    /// Its old name, and what to write in its place.
    pub old_key: Option<(&'static str, &'static str)>,
    only_if_written: bool,
    /// The check of the struct has the warning about an old key.
    is_checked: bool,
    pub(super) rules: Vec<Rule>,
}

impl Field {
    /// A key that can be anything, until [`Field::with`] says what.
    #[must_use]
    #[inline(never)]
    pub fn new(key: &'static str) -> Self {
        Self {
            // The field of a raw identifier such as `r#type`.
            key: key.strip_prefix("r#").unwrap_or(key),
            doc: String::new(),
            unit: None,
            shape: Shape::Any,
            default: EffectiveValue::Null,
            status: Status::Used,
            old_key: None,
            only_if_written: false,
            is_checked: false,
            rules: Vec::new(),
        }
    }

    /// A key with its documentation, its type and its default.
    #[must_use]
    pub fn described<T: ConfigValue>(key: &'static str, doc: &[&str], default: &T) -> Self {
        let mut field = Self::new(key);
        field.doc(doc);
        field.with(default);
        field
    }

    /// Adds a key to a list.
    #[inline(never)]
    pub fn add<'f>(fields: &'f mut Vec<Self>, key: &'static str) -> &'f mut Self {
        let place = fields.len();
        fields.push(Self::new(key));
        &mut fields[place]
    }

    /// A key that is refused unless it turns nothing on.
    #[must_use]
    pub fn unsupported(key: &'static str, sentence: &'static str) -> Self {
        Self { status: Status::Unsupported(sentence), ..Self::new(key) }
    }

    /// Describes its type and its default.
    #[inline(never)]
    pub fn with<T: ConfigValue>(&mut self, default: &T) {
        self.describe(T::shape(default), default.effective());
    }

    #[inline(never)]
    fn describe(&mut self, shape: Shape, default: EffectiveValue) {
        self.shape = shape;
        self.default = default;
    }

    /// Sets the documentation, by lines as `///` has them.
    #[inline(never)]
    pub fn doc(&mut self, lines: &[&str]) {
        let lines: Vec<&str> = lines.iter().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
        self.doc = lines.join("\n");
    }

    /// Sets the key, where it is not the name of the field.
    #[inline(never)]
    pub fn key(&mut self, key: &'static str) {
        self.key = key;
    }

    /// Sets the unit of a number.
    #[inline(never)]
    pub fn unit(&mut self, unit: &'static str) {
        self.unit = Some(unit);
    }

    /// Sets an old name of the key, and what to write in its place.
    #[inline(never)]
    pub fn was(&mut self, old_key: &'static str, instead: &'static str) {
        self.old_key = Some((old_key, instead));
    }

    /// Whether an absent key is left out of the effective configuration, as one that only some versions know.
    #[inline(never)]
    pub fn only_if_written(&mut self, only_if_written: bool) {
        self.only_if_written = only_if_written;
    }

    /// Marks the key as an old one, and says what to write in its place.
    #[inline(never)]
    pub fn deprecated(&mut self, instead: &'static str) {
        self.status = Status::Deprecated(instead);
    }

    /// As [`Field::deprecated`], but the check of the struct says so.
    #[inline(never)]
    pub fn outdated(&mut self, instead: &'static str) {
        self.deprecated(instead);
        self.only_if_written = true;
        self.is_checked = true;
    }

    /// Marks the key as one without effect; a warning says so where it is written.
    #[inline(never)]
    pub fn no_effect(&mut self, reason: &'static str) {
        self.status = Status::NoEffect(reason, true);
    }

    /// Marks the key as one without effect, without a warning.
    #[inline(never)]
    pub fn ignored(&mut self, reason: &'static str) {
        self.status = Status::NoEffect(reason, false);
    }

    #[inline(never)]
    fn rule(&mut self, comparison: Comparison, bound: Bound, error: RuleError) {
        let RuleError { message, hint } = error;
        self.rules.push(Rule { comparison, bound, message, hint });
    }

    /// Sets the least value.
    pub fn at_least(&mut self, bound: impl Into<Bound>, error: impl Into<RuleError>) {
        self.rule(Comparison::AtLeast, bound.into(), error.into());
    }

    /// Sets the value that all values are above.
    pub fn above(&mut self, bound: impl Into<Bound>, error: impl Into<RuleError>) {
        self.rule(Comparison::Above, bound.into(), error.into());
    }

    /// Sets the largest value.
    pub fn at_most(&mut self, bound: impl Into<Bound>, error: impl Into<RuleError>) {
        self.rule(Comparison::AtMost, bound.into(), error.into());
    }

    /// Reads the key. Mistakes are added to the diagnostics of the section.
    #[inline(never)]
    pub fn read<T: ConfigValue>(&self, s: &mut Section<'_>, default: &T) -> T {
        let Some(key) = self.key_to_read(s) else { return default.clone() };
        let value = T::read(s, key, default);
        self.check_bounds(s, key);
        value
    }

    /// The key that is read: it or its old name. `None` where the default is to be taken.
    fn key_to_read(&self, s: &mut Section<'_>) -> Option<&'static str> {
        let key = match self.old_key {
            Some((old, instead)) if !s.contains_key(self.key) && s.warn_deprecated(old, instead) => old,
            _ => self.key,
        };
        if self.only_if_written && !s.contains_key(key) {
            return None;
        }
        match self.status {
            Status::Deprecated(instead) if !self.is_checked && !s.warn_deprecated(key, instead) => return None,
            Status::NoEffect(reason, true) if s.contains_key(key) => {
                s.warn(key, format!("'{key}' has no effect: {reason}"));
            }
            _ => {}
        }
        Some(key)
    }

    /// Reports a value that was read and is outside of its bounds.
    fn check_bounds(&self, s: &mut Section<'_>, key: &str) {
        if self.rules.is_empty() {
            return;
        }
        let number = match s.recorded(key) {
            #[expect(clippy::cast_precision_loss, reason = "compared with small numbers")]
            Some(EffectiveValue::Int(v)) => v as f64,
            Some(EffectiveValue::Float(v)) => v,
            #[expect(clippy::cast_precision_loss, reason = "compared with small numbers")]
            Some(EffectiveValue::Duration(v)) => v.0 as f64,
            _ => return,
        };
        if let Some(rule) = self.rules.iter().find(|rule| !rule.holds(number)) {
            s.error(key, rule.message).maybe_help(rule.hint.map(str::to_owned));
        }
    }
}

/// The error for a value outside of a bound: a message, or a message and a hint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RuleError {
    message: &'static str,
    hint: Option<&'static str>,
}

impl From<&'static str> for RuleError {
    fn from(message: &'static str) -> Self {
        Self { message, hint: None }
    }
}

impl From<(&'static str, &'static str)> for RuleError {
    fn from((message, hint): (&'static str, &'static str)) -> Self {
        Self { message, hint: Some(hint) }
    }
}
