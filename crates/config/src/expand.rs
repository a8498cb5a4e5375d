//! `${..}` in values: environment variables, files, inline YAML, with the rules of the Go collector.
//!
//! The innermost reference that is closed first is expanded first; an odd number of `$` before it escapes it; a value
//! that is one reference becomes the parsed YAML and keeps the raw text. Because references can multiply, the expansion
//! is bounded in rounds, depth and bytes. Keys are never expanded.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use crate::diag::{Diagnostics, Kind, Severity};
use crate::load::{Retrieved, SCHEMES, Sources, retrieve, split_uri, unset_variable, valid_variable};
use crate::node::{Node, Origin, Value};
use crate::steps;
use crate::suggest::nearest;
use crate::yaml::{self, MAX_DEPTH};

/// As in the Go collector.
const MAX_ROUNDS: usize = 1000;
/// Bytes that all references of a configuration may read and write together.
const MAX_WORK: usize = 64 << 20;
/// Work that is counted for each reference in addition to its bytes, for the lookup and the parsing.
const EACH: usize = 256;
const TOO_MANY: &str = "too many recursive expansions";

/// Expands every string of the tree, then turns `$$` into `$`.
pub(crate) fn expand(tree: &mut Node, sources: &dyn Sources, d: &Diagnostics) {
    let mut expander = Expander { sources, d, work: MAX_WORK, said: BTreeSet::new() };
    expander.walk(tree, &mut String::new(), 1, 0);
    unescape(tree);
}

struct Expander<'s> {
    sources: &'s dyn Sources,
    d: &'s Diagnostics,
    work: usize,
    /// Warnings already given, by place and variable.
    said: BTreeSet<(Arc<str>, u32, u32, String)>,
}

struct Fault {
    message: String,
    help: Option<String>,
    kind: Kind,
}

impl Fault {
    fn too_many() -> Self {
        let help = Some("a variable or file refers to itself".to_owned());
        Self { message: TOO_MANY.to_owned(), help, kind: Kind::Limit }
    }
}

impl Expander<'_> {
    fn walk(&mut self, node: &mut Node, path: &mut String, depth: usize, rounds: usize) {
        let length = path.len();
        match &mut node.value {
            Value::List(items) if depth <= MAX_DEPTH => {
                for (index, item) in items.iter_mut().enumerate() {
                    path.push_str(&format!("[{index}]"));
                    self.walk(item, path, depth + 1, rounds);
                    path.truncate(length);
                }
            }
            Value::Map(map) if depth <= MAX_DEPTH => {
                for (key, value) in map.values_mut() {
                    if length > 0 {
                        path.push_str("::");
                    }
                    path.push_str(key);
                    self.walk(value, path, depth + 1, rounds);
                    path.truncate(length);
                }
            }
            Value::List(_) | Value::Map(_) => {
                let origin = node.origin.clone();
                self.fail(node, &origin, path, Fault::too_many());
            }
            Value::Str(text) if text.contains("${") && text.contains('}') => {
                let text = text.to_string();
                self.text(node, text, path, depth, rounds);
            }
            _ => {}
        }
    }

    /// Resolves one reference after the other until the text has none left or becomes a value of another type.
    fn text(&mut self, node: &mut Node, mut text: String, path: &mut String, depth: usize, mut rounds: usize) {
        while let Some(range) = find_reference(&text) {
            let reference = text.get(range.clone()).unwrap_or_default().to_owned();
            rounds += 1;
            let got = match self.retrieve(&reference, text.len(), rounds) {
                Ok(got) => got,
                Err(fault) => {
                    let known = self.d.keeps(Severity::Error);
                    let at = if known { place_of(&node.origin, &reference) } else { node.origin.clone() };
                    return self.fail(node, &at, path, fault);
                }
            };
            if let Some(name) = got.unset.as_ref().filter(|_| self.d.keeps(Severity::Warning)) {
                let at = place_of(&node.origin, &reference);
                let once = (at.source.clone(), at.line, at.column, name.clone());
                if self.said.insert(once) {
                    unset_variable(self.d, Some(&at), path, name);
                }
            }
            if range != (0..text.len()) {
                text.replace_range(range, &got.text);
                continue;
            }
            match self.parsed(&got) {
                // A string is taken as written, with its quotes; so is a text that is not YAML.
                None | Some(Value::Str(_)) => text = got.text,
                Some(value) => {
                    node.value = value;
                    self.walk(node, path, depth, rounds);
                    node.raw = self.raw(got.text, rounds);
                    return;
                }
            }
        }
        node.value = Value::Str(text.into());
    }

    /// The text of a reference for a string target; `None` if it holds a reference that cannot be resolved.
    fn raw(&mut self, mut text: String, mut rounds: usize) -> Option<Arc<str>> {
        while let Some(range) = find_reference(&text) {
            rounds += 1;
            let reference = text.get(range.clone())?.to_owned();
            let got = self.retrieve(&reference, text.len(), rounds).ok()?;
            text.replace_range(range, &got.text);
        }
        Some(text.into())
    }

    fn parsed(&mut self, got: &Retrieved) -> Option<Value> {
        let parsed = yaml::parse(&got.source()).ok()?;
        self.work = self.work.saturating_sub(parsed.weight.saturating_mul(64));
        parsed.duplicates.is_empty().then_some(parsed.node.value)
    }

    fn retrieve(&mut self, reference: &str, length: usize, rounds: usize) -> Result<Retrieved, Fault> {
        if rounds > MAX_ROUNDS || self.work == 0 {
            return Err(Fault::too_many());
        }
        let inner = reference.strip_prefix("${").and_then(|r| r.strip_suffix('}')).unwrap_or(reference);
        let fault = |message: String, help: Option<String>| {
            let help = shell_default(inner).or(help);
            Fault { message, help, kind: Kind::Expansion }
        };
        let uri = if inner.contains(':') { inner.to_owned() } else { format!("env:{inner}") };
        let Some((scheme, rest)) = split_uri(&uri) else {
            return Err(fault(format!("invalid uri: {uri:?}"), None));
        };
        if rest.contains('$') {
            return Err(fault(format!("the uri {uri:?} contains unsupported characters ('$')"), None));
        }
        let got = match retrieve(scheme, rest, self.sources) {
            Ok(Some(got)) => got,
            Ok(None) => {
                let message = format!("scheme {scheme:?} is not supported for uri {uri:?}");
                let help = nearest(scheme, SCHEMES).map(|s| format!("did you mean `${{{s}:{rest}}}`?"));
                return Err(fault(message, help));
            }
            Err(message) => return Err(fault(message, None)),
        };
        let work = length.saturating_add(got.text.len()).saturating_add(EACH);
        steps::add(work);
        self.work = self.work.saturating_sub(work);
        Ok(got)
    }

    fn fail(&self, node: &mut Node, at: &Origin, path: &str, fault: Fault) {
        let line = if fault.kind == Kind::Limit {
            fault.message
        } else {
            format!("cannot resolve the configuration: {}", fault.message)
        };
        self.d.error(at, path, line).kind(fault.kind).maybe_hint(fault.help);
        (node.value, node.raw, node.broken) = (Value::Null, None, true);
    }
}

/// The hint for a reference in shell syntax, such as `${VAR:-value}`, `${VAR-value}` or `${VAR:?text}`, with any
/// variable name.
fn shell_default(inner: &str) -> Option<String> {
    // A variable can be named `env`.
    let plain = inner.strip_prefix("env:").filter(|rest| !rest.starts_with('-')).unwrap_or(inner);
    let end = plain.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(plain.len());
    let (name, rest) = plain.split_at_checked(end).filter(|(name, _)| valid_variable(name))?;
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
const NEAR: usize = 4096;

/// The place of the reference in its line, if the line contains it literally; else the place of the scalar.
fn place_of(origin: &Origin, reference: &str) -> Origin {
    let mut place = origin.clone();
    let Some(tail) = origin.text.after(origin.line, origin.column, NEAR.saturating_add(reference.len())) else {
        return place;
    };
    if let Some(at) = tail.find(reference) {
        let count = |s: &str| u32::try_from(s.chars().count()).unwrap_or(u32::MAX);
        place.column = origin.column.saturating_add(count(tail.get(..at).unwrap_or("")));
        place.width = count(reference);
    }
    place
}

fn unescape(node: &mut Node) {
    let single = |text: &Arc<str>| text.contains("$$").then(|| Arc::<str>::from(text.replace("$$", "$")));
    if let Some(raw) = node.raw.as_ref().and_then(single) {
        node.raw = Some(raw);
    }
    match &mut node.value {
        Value::Str(text) => {
            if let Some(new) = single(text) {
                *text = new;
            }
        }
        Value::List(items) => items.iter_mut().for_each(unescape),
        Value::Map(map) => map.values_mut().for_each(|(_, value)| unescape(value)),
        _ => {}
    }
}
