//! `${..}` in values: environment variables, files, inline YAML, with the rules of the Go collector.
//!
//! The innermost reference that is closed first is expanded first; an odd number of `$` before it escapes it; a value
//! that is one reference becomes the parsed YAML and keeps the raw text. Because references can multiply, the expansion
//! is bounded in rounds, depth and bytes. Keys are never expanded.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use crate::diagnostics::{DiagnosticKind, Diagnostics, Severity};
use crate::node::{ConfigNode, NodeValue, SourceLocation};
use crate::sources::{
    ConfigSources, Retrieved, SCHEMES, is_valid_variable_name, retrieve, split_uri, warn_unset_variable,
};
use crate::steps;
use crate::suggest::nearest_name;
use crate::yaml::{self, MAX_DEPTH};

/// As in the Go collector.
const MAX_ROUNDS: usize = 1000;
/// Bytes that all references of a configuration may read and write together.
const MAX_WORK: usize = 64 << 20;
/// Work that is counted for each reference in addition to its bytes, for the lookup and the parsing.
const COST_PER_REFERENCE: usize = 256;
const TOO_MANY_EXPANSIONS: &str = "too many recursive expansions";

/// Expands every string of the tree, then turns `$$` into `$`.
pub(crate) fn expand(tree: &mut ConfigNode, sources: &dyn ConfigSources, d: &Diagnostics) {
    let mut expander = Expander { sources, d, budget: MAX_WORK, warned: BTreeSet::new() };
    expander.walk(tree, &mut String::new(), 1, 0);
    unescape(tree);
}

struct Expander<'s> {
    sources: &'s dyn ConfigSources,
    d: &'s Diagnostics,
    budget: usize,
    /// Warnings already given, by place and variable.
    warned: BTreeSet<(Arc<str>, u32, u32, String)>,
}

struct ExpansionError {
    message: String,
    help: Option<String>,
    kind: DiagnosticKind,
}

impl ExpansionError {
    fn too_many_expansions() -> Self {
        let help = Some("a variable or file refers to itself".to_owned());
        Self { message: TOO_MANY_EXPANSIONS.to_owned(), help, kind: DiagnosticKind::Limit }
    }
}

impl Expander<'_> {
    fn walk(&mut self, node: &mut ConfigNode, path: &mut String, depth: usize, rounds: usize) {
        let length = path.len();
        match &mut node.value {
            NodeValue::List(items) if depth <= MAX_DEPTH => {
                for (index, item) in items.iter_mut().enumerate() {
                    path.push_str(&format!("[{index}]"));
                    self.walk(item, path, depth + 1, rounds);
                    path.truncate(length);
                }
            }
            NodeValue::Map(map) if depth <= MAX_DEPTH => {
                for (key, value) in map.values_mut() {
                    if length > 0 {
                        path.push_str("::");
                    }
                    path.push_str(key);
                    self.walk(value, path, depth + 1, rounds);
                    path.truncate(length);
                }
            }
            NodeValue::List(_) | NodeValue::Map(_) => {
                let origin = node.origin.clone();
                self.fail(node, &origin, path, ExpansionError::too_many_expansions());
            }
            NodeValue::Str(text) if text.contains("${") && text.contains('}') => {
                let text = text.to_string();
                self.expand_text(node, text, path, depth, rounds);
            }
            _ => {}
        }
    }

    /// Resolves one reference after the other until the text has none left or becomes a value of another type.
    fn expand_text(
        &mut self,
        node: &mut ConfigNode,
        mut text: String,
        path: &mut String,
        depth: usize,
        mut rounds: usize,
    ) {
        while let Some(range) = find_reference(&text) {
            let reference = text.get(range.clone()).unwrap_or_default().to_owned();
            rounds += 1;
            let got = match self.retrieve(&reference, text.len(), rounds) {
                Ok(got) => got,
                Err(error) => {
                    let known = self.d.would_keep(Severity::Error);
                    let at = if known { reference_location(&node.origin, &reference) } else { node.origin.clone() };
                    return self.fail(node, &at, path, error);
                }
            };
            if let Some(name) = got.unset.as_ref().filter(|_| self.d.would_keep(Severity::Warning)) {
                let at = reference_location(&node.origin, &reference);
                let once = (at.source.clone(), at.line, at.column, name.clone());
                if self.warned.insert(once) {
                    warn_unset_variable(self.d, Some(&at), path, name);
                }
            }
            if range != (0..text.len()) {
                text.replace_range(range, &got.text);
                continue;
            }
            match self.parse_retrieved(&got) {
                // A string is taken as written, with its quotes; so is a text that is not YAML.
                None | Some(NodeValue::Str(_)) => text = got.text,
                Some(value) => {
                    node.value = value;
                    self.walk(node, path, depth, rounds);
                    node.raw = self.expand_raw(got.text, rounds);
                    return;
                }
            }
        }
        node.value = NodeValue::Str(text.into());
    }

    /// The text of a reference for a string target; `None` if it holds a reference that cannot be resolved.
    fn expand_raw(&mut self, mut text: String, mut rounds: usize) -> Option<Arc<str>> {
        while let Some(range) = find_reference(&text) {
            rounds += 1;
            let reference = text.get(range.clone())?.to_owned();
            let got = self.retrieve(&reference, text.len(), rounds).ok()?;
            text.replace_range(range, &got.text);
        }
        Some(text.into())
    }

    fn parse_retrieved(&mut self, got: &Retrieved) -> Option<NodeValue> {
        let parsed = yaml::parse(&got.source()).ok()?;
        self.budget = self.budget.saturating_sub(parsed.node_count.saturating_mul(64));
        parsed.duplicates.is_empty().then_some(parsed.node.value)
    }

    fn retrieve(&mut self, reference: &str, length: usize, rounds: usize) -> Result<Retrieved, ExpansionError> {
        if rounds > MAX_ROUNDS || self.budget == 0 {
            return Err(ExpansionError::too_many_expansions());
        }
        let inner = reference.strip_prefix("${").and_then(|r| r.strip_suffix('}')).unwrap_or(reference);
        let error = |message: String, help: Option<String>| {
            let help = shell_default(inner).or(help);
            ExpansionError { message, help, kind: DiagnosticKind::Expansion }
        };
        let uri = if inner.contains(':') { inner.to_owned() } else { format!("env:{inner}") };
        let Some((scheme, rest)) = split_uri(&uri) else {
            return Err(error(format!("invalid uri: {uri:?}"), None));
        };
        if rest.contains('$') {
            return Err(error(format!("the uri {uri:?} contains unsupported characters ('$')"), None));
        }
        let got = match retrieve(scheme, rest, self.sources) {
            Ok(Some(got)) => got,
            Ok(None) => {
                let message = format!("scheme {scheme:?} is not supported for uri {uri:?}");
                let help = nearest_name(scheme, SCHEMES).map(|s| format!("did you mean `${{{s}:{rest}}}`?"));
                return Err(error(message, help));
            }
            Err(message) => return Err(error(message, None)),
        };
        let work = length.saturating_add(got.text.len()).saturating_add(COST_PER_REFERENCE);
        steps::add(work);
        self.budget = self.budget.saturating_sub(work);
        Ok(got)
    }

    fn fail(&self, node: &mut ConfigNode, at: &SourceLocation, path: &str, error: ExpansionError) {
        let line = if error.kind == DiagnosticKind::Limit {
            error.message
        } else {
            format!("cannot resolve the configuration: {}", error.message)
        };
        self.d.error(at, path, line).kind(error.kind).maybe_help(error.help);
        (node.value, node.raw, node.broken) = (NodeValue::Null, None, true);
    }
}

/// The hint for a reference in shell syntax, such as `${VAR:-value}`, `${VAR-value}` or `${VAR:?text}`, with any
/// variable name.
fn shell_default(inner: &str) -> Option<String> {
    // A variable can be named `env`.
    let plain = inner.strip_prefix("env:").filter(|rest| !rest.starts_with('-')).unwrap_or(inner);
    let end = plain.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(plain.len());
    let (name, rest) = plain.split_at_checked(end).filter(|(name, _)| is_valid_variable_name(name))?;
    let (operator, value) = match rest.strip_prefix(':') {
        Some(after) => (":", after),
        None => ("", rest),
    };
    let (sign, value) = value.split_at_checked(1)?;
    match (operator, sign) {
        (":", "-") if plain.len() == inner.len() => {
            Some(format!("write ${{env:{inner}}}: a default needs the scheme `env:`"))
        }
        ("", "-") | (":", "=") => Some(format!("write ${{env:{name}:-{value}}}: a default follows `:-`")),
        (":" | "", "?" | "+") => Some("a reference knows no operator but `:-`, for a default".to_owned()),
        _ => None,
    }
}

/// The first closing brace and the last `${` before it, unless an odd number of `$` escapes it.
fn find_reference(text: &str) -> Option<Range<usize>> {
    steps::add(text.len());
    let mut from = 0;
    loop {
        let close = from + text.get(from..)?.find('}')?;
        if let Some(open) = text.get(from..close)?.rfind("${") {
            let before = text.get(from..from + open)?;
            let dollars = before.len() - before.trim_end_matches('$').len();
            if dollars % 2 == 0 {
                return Some(from + open..close + 1);
            }
        }
        from = close + 1;
    }
}

/// How many bytes of a scalar are searched for the start of a reference.
const MAX_SEARCH_BYTES: usize = 4096;

/// The place of the reference in its line, if the line contains it literally; else the place of the scalar.
fn reference_location(origin: &SourceLocation, reference: &str) -> SourceLocation {
    let mut place = origin.clone();
    let Some(tail) =
        origin.text.rest_of_line(origin.line, origin.column, MAX_SEARCH_BYTES.saturating_add(reference.len()))
    else {
        return place;
    };
    if let Some(at) = tail.find(reference) {
        let count = |s: &str| u32::try_from(s.chars().count()).unwrap_or(u32::MAX);
        place.column = origin.column.saturating_add(count(tail.get(..at).unwrap_or("")));
        place.width = count(reference);
    }
    place
}

fn unescape(node: &mut ConfigNode) {
    let unescaped = |text: &Arc<str>| text.contains("$$").then(|| Arc::<str>::from(text.replace("$$", "$")));
    if let Some(raw) = node.raw.as_ref().and_then(unescaped) {
        node.raw = Some(raw);
    }
    match &mut node.value {
        NodeValue::Str(text) => {
            if let Some(new) = unescaped(text) {
                *text = new;
            }
        }
        NodeValue::List(items) => items.iter_mut().for_each(unescape),
        NodeValue::Map(map) => map.values_mut().for_each(|(_, value)| unescape(value)),
        _ => {}
    }
}
