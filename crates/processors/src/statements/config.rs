//! The forms that a list of statements or conditions can have.

use std::str::FromStr;

use otelcore_config::declare::{ConfigItem, ConfigScalar, ConfigValue, Shape};
use otelcore_config::{ConfigNode, EffectiveValue, NodeValue, Section, location_in_text};
use otelcore_ottl::{CompileError, ErrorMode};

/// What is done when a statement or condition fails on an item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ErrorModeConfig(pub ErrorMode);

impl Default for ErrorModeConfig {
    fn default() -> Self {
        Self(ErrorMode::Ignore)
    }
}

impl ErrorModeConfig {
    fn name(self) -> &'static str {
        match self.0 {
            ErrorMode::Propagate => "propagate",
            ErrorMode::Ignore => "ignore",
            ErrorMode::Silent => "silent",
        }
    }

    fn parse(s: &Section<'_>, key: &str, word: &str) -> Option<Self> {
        match ErrorMode::from_str(word) {
            Ok(mode) => Some(Self(mode)),
            Err(error) => {
                s.error(key, error.to_string()).help("write ignore, silent or propagate");
                None
            }
        }
    }
}

impl ConfigValue for ErrorModeConfig {
    fn read(s: &mut Section<'_>, key: &str, default: &Self) -> Self {
        let word = s.str(key, default.name());
        Self::parse(s, key, &word).unwrap_or(*default)
    }

    fn shape(_: &Self) -> Shape {
        Self::scalar_shape()
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::Str(self.name().to_owned())
    }
}

/// An empty word means that of the whole processor, as null and absence do.
impl ConfigScalar for ErrorModeConfig {
    fn read_optional(s: &mut Section<'_>, key: &str) -> Option<Self> {
        let word = s.opt_str(key).filter(|word| !word.is_empty())?;
        Self::parse(s, key, &word)
    }

    fn scalar_shape() -> Shape {
        Shape::OneOf(vec!["ignore", "silent", "propagate"])
    }

    fn scalar_effective(&self) -> EffectiveValue {
        self.effective()
    }
}

/// One group: the statements or conditions that share a context.
pub trait ContextGroup: ConfigItem + Default {
    /// The key of the list in it.
    const KEY: &'static str;

    /// A group without a context.
    fn without_context(texts: Vec<String>) -> Self;
}

/// A list of texts, which is one group whose context is inferred, or a list of groups.
#[derive(Clone, PartialEq, Debug)]
pub struct GroupsConfig<T>(pub Vec<T>);

impl<T> Default for GroupsConfig<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// A form of a list that Go refuses.
const TWO_STYLES: &str = "configuring multiple configuration styles is not supported, please use only Basic \
                          configuration or only Advanced configuration";

impl<T: ContextGroup> ConfigValue for GroupsConfig<T> {
    fn read(s: &mut Section<'_>, key: &str, _: &Self) -> Self {
        let nodes = s.raw_node(key).map(ConfigNode::items).unwrap_or_default();
        let is_text = |node: &ConfigNode| matches!(node.value, NodeValue::Str(_));
        if let Some(empty) = nodes.iter().position(|node| node.value == NodeValue::Null) {
            s.error(&format!("{key}[{empty}]"), "empty list items are not supported");
            return Self::default();
        }
        if !nodes.iter().any(is_text) {
            return Self(T::read_list(s, key, &[]));
        }
        if let Some(group) = nodes.iter().position(|node| !is_text(node)) {
            let help = format!("write all as texts, or all as sections with `{}`", T::KEY);
            s.error(&format!("{key}[{group}]"), TWO_STYLES).help(help);
            return Self::default();
        }
        Self(vec![T::without_context(s.str_list(key, &[]))])
    }

    fn shape(_: &Self) -> Shape {
        Self::scalar_shape()
    }

    fn effective(&self) -> EffectiveValue {
        T::list_effective(&self.0)
    }
}

/// `None` without the key, which differs from an empty list.
impl<T: ContextGroup> ConfigScalar for GroupsConfig<T> {
    fn read_optional(s: &mut Section<'_>, key: &str) -> Option<Self> {
        let is_there = s.raw_node(key).is_some_and(|node| node.value != NodeValue::Null);
        is_there.then(|| Self::read(s, key, &Self::default()))
    }

    fn scalar_shape() -> Shape {
        match T::list_shape() {
            Shape::List(group) => Shape::TextsOrList(group),
            other => other,
        }
    }

    fn scalar_effective(&self) -> EffectiveValue {
        self.effective()
    }
}

/// Where the texts of a group are written.
#[derive(Clone, Debug)]
pub(crate) struct GroupPlace {
    /// The key of the list of texts: `trace_statements`, or `trace_statements[0]::statements`.
    pub(crate) list: String,
    /// The key of the group.
    pub(crate) group: String,
}

impl GroupPlace {
    /// The place of a group in a list of groups.
    pub(crate) fn of<T: ContextGroup>(s: &mut Section<'_>, key: &str, index: usize) -> Self {
        let is_text = s.raw_node(key).and_then(|node| node.items().first()).is_some_and(|node| node.as_str().is_some());
        if is_text {
            return Self { list: key.to_owned(), group: key.to_owned() };
        }
        let group = format!("{key}[{index}]");
        Self { list: format!("{group}::{}", T::KEY), group }
    }
}

/// One text in a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TextPlace<'a> {
    pub(crate) list: &'a str,
    pub(crate) index: usize,
    pub(crate) text: &'a str,
}

impl TextPlace<'_> {
    fn path(&self) -> String {
        format!("{}[{}]", self.list, self.index)
    }

    /// Reports an error at its place in the text.
    pub(crate) fn report(&self, s: &mut Section<'_>, error: &CompileError) {
        let path = self.path();
        let node = node_at(s, &path);
        let origin = node.and_then(|node| location_in_text(node, self.text, error.place.start)).or_else(|| {
            // Of a list that is one text, or of a value that was expanded.
            s.origin_of(&path).cloned()
        });
        let (line, column) = error.line_and_column(self.text);
        let note =
            format!("at {line}:{column} of `{}`", self.text.lines().nth(line.saturating_sub(1)).unwrap_or("").trim());
        let full = format!("{}::{path}", s.path());
        s.diagnostics().error(origin.as_ref(), &full, error.message.clone()).maybe_help(error.hint.clone()).note(note);
    }
}

/// The node that a key such as `a[0]::b[1]` leads to.
fn node_at<'a>(s: &mut Section<'a>, path: &str) -> Option<&'a ConfigNode> {
    let mut parts = path.split("::");
    let step = |part: &str| -> (String, Vec<usize>) {
        let mut pieces = part.split('[');
        let name = pieces.next().unwrap_or_default().to_owned();
        (name, pieces.filter_map(|piece| piece.trim_end_matches(']').parse().ok()).collect())
    };
    let (name, indexes) = step(parts.next()?);
    let mut node = s.raw_node(&name)?;
    for index in indexes {
        node = node.items().get(index)?;
    }
    for part in parts {
        let (name, indexes) = step(part);
        node = node.get_path(&name)?;
        for index in indexes {
            node = node.items().get(index)?;
        }
    }
    Some(node)
}
