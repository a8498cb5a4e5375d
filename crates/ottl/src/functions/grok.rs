//! `ExtractGrokPatterns`: named patterns such as `%{IP:client}`, which stand for regular expressions.
//!
//! The patterns that are known are those of Elastic's go-grok (licence: Apache-2.0), in `data/grok.tsv`.

use std::collections::BTreeMap;

use otelcore_go_regexp::GoRegexp;
use otelcore_pdata::Value as Tree;

use super::common::{error, invalid_pattern, optional, quote, required, text};
use super::entries::{Entries, string_tree};
use crate::error::{BuildError, EvalError};
use crate::function::{Arguments, Callable, Function, ParameterKind as Kind};
use crate::value::{Map, Value};

pub(super) const EXTRACT_GROK_PATTERNS: Function = Function {
    name: "ExtractGrokPatterns",
    parameters: &[
        required("Target", Kind::String),
        required("Pattern", Kind::String),
        optional("NamedCapturesOnly", Kind::LiteralBool),
        optional("PatternDefinitions", Kind::ListOf(&Kind::LiteralString)),
    ],
    build,
};

const PATTERNS: &str = include_str!("data/grok.tsv");

const NO_GROUP: &str = "at least 1 named capture group must be supplied in the given regex";

/// What a dot in the name of a group becomes, since a name has none.
const DOT: &str = "___";

fn build(arguments: &mut Arguments) -> Result<Callable, BuildError> {
    let named_only = arguments.literal_bool(2)?.unwrap_or(false);
    let mut definitions = Definitions::default();
    for (index, definition) in arguments.literal_strings(3)?.unwrap_or_default().into_iter().enumerate() {
        let Some((name, pattern)) = definition.split_once('=') else {
            let shown = if definition.len() > 20 {
                format!("{}...", String::from_utf8_lossy(definition.as_bytes().get(..17).unwrap_or_default()))
            } else {
                definition
            };
            return Err(BuildError::new(format!(
                "pattern {} supplied to ExtractGrokPatterns at index {index} has incorrect format, expecting PATTERNNAME=pattern definition",
                quote(shown.as_bytes())
            )));
        };
        if name.contains(':') {
            return Err(BuildError::new(format!("pattern ID {} should not contain ':'", quote(name.as_bytes()))));
        }
        definitions.own.insert(name.to_owned(), pattern.to_owned());
    }
    let known = match arguments.literal_of(1) {
        Some(Value::String(pattern)) => {
            let grok = Grok::compile(pattern, named_only, &definitions);
            let grok =
                grok.map_err(|reason| BuildError::new(invalid_pattern("ExtractGrokPatterns", pattern, reason)))?;
            if named_only && !grok.has_named_group() {
                return Err(BuildError::new(NO_GROUP));
            }
            Some(grok)
        }
        _ => None,
    };
    Ok(Callable::pure(move |arguments| match &known {
        Some(grok) => grok.extract(text(arguments, 0)),
        None => {
            let pattern = text(arguments, 1);
            let grok = Grok::compile(pattern, named_only, &definitions);
            let grok = grok.map_err(|reason| error(invalid_pattern("ExtractGrokPatterns", pattern, reason)))?;
            if named_only && !grok.has_named_group() {
                return Err(error(NO_GROUP));
            }
            grok.extract(text(arguments, 0))
        }
    }))
}

/// The patterns that are known by name: those of the statement, and those of the file.
#[derive(Default)]
struct Definitions {
    own: BTreeMap<String, String>,
}

impl Definitions {
    fn get(&self, name: &str) -> Option<&str> {
        let in_file = || {
            let lines = PATTERNS.lines().filter_map(|line| line.split_once('\t'));
            lines.into_iter().find(|(found, _)| *found == name).map(|(_, pattern)| pattern)
        };
        self.own.get(name).map(String::as_str).or_else(in_file)
    }
}

/// A compiled pattern.
struct Grok {
    regexp: GoRegexp,
    /// The type of the value of a group, by its name.
    types: BTreeMap<String, String>,
}

/// Rounds in which patterns are replaced by their definitions, against those that contain themselves.
const MAX_ROUNDS: usize = 1000;

/// The longest regular expression that comes of a pattern. Go has no limit.
const MAX_EXPANDED: usize = 1 << 20;

impl Grok {
    fn compile(pattern: &[u8], named_only: bool, definitions: &Definitions) -> Result<Self, String> {
        let mut expanded = String::from_utf8_lossy(pattern).into_owned();
        let mut types = BTreeMap::new();
        for _ in 0..MAX_ROUNDS {
            let references: Vec<String> = references(&expanded).map(str::to_owned).collect();
            if references.is_empty() {
                break;
            }
            for reference in references {
                let mut parts = reference.split(':');
                let name = parts.next().unwrap_or_default();
                let (group, kind) = (parts.next(), parts.next());
                let target = group.unwrap_or(name).replace('.', DOT);
                if let Some(kind) = kind {
                    types.insert(target.clone(), kind.to_owned());
                }
                let Some(definition) = definitions.get(name) else {
                    return Err(format!("pattern definition {} unknown: parsing failed", quote(name.as_bytes())));
                };
                let replacement = if named_only && group.is_none() {
                    format!("({definition})")
                } else {
                    format!("(?P<{target}>{definition})")
                };
                expanded = expanded.replace(&format!("%{{{reference}}}"), &replacement);
                if expanded.len() > MAX_EXPANDED {
                    return Err("the pattern is too long with the definitions that it names".to_owned());
                }
            }
        }
        let regexp = GoRegexp::compile(&expanded).map_err(|reason| reason.to_string())?;
        Ok(Self { regexp, types })
    }

    fn has_named_group(&self) -> bool {
        self.regexp.group_names().iter().any(|name| !name.is_empty())
    }

    fn extract(&self, text: &[u8]) -> Result<Value<'static>, EvalError> {
        let names = self.regexp.group_names();
        let (mut entries, mut failed) = (Entries::default(), None);
        self.regexp.capture(text, &mut self.regexp.capture_locations(), |group, found| {
            let name = names.get(group).filter(|name| !name.is_empty() && !found.is_empty());
            let Some(name) = name.filter(|_| failed.is_none()) else { return };
            match self.typed(name, found) {
                Ok(value) => entries.put(name.replace(DOT, ".").as_bytes(), value),
                Err(reason) => failed = Some(reason),
            }
        });
        match failed {
            Some(reason) => Err(error(reason)),
            None => Ok(Value::Map(Map::owned(entries.into_map()))),
        }
    }

    /// The text of a group as its type.
    fn typed(&self, name: &str, text: &[u8]) -> Result<Tree, String> {
        let failed = |function: &str| format!("strconv.{function}: parsing {}: invalid syntax", quote(text));
        match self.types.get(name).map(String::as_str) {
            None | Some("string") => Ok(string_tree(text)),
            Some("double" | "float") => {
                otelcore_go_number::parse_float(text).map(Tree::Double).ok_or_else(|| failed("ParseFloat"))
            }
            Some("int" | "long") => otelcore_go_number::parse_int(text).map(Tree::Int).ok_or_else(|| failed("Atoi")),
            Some("bool" | "boolean") => match text {
                b"1" | b"t" | b"T" | b"TRUE" | b"true" | b"True" => Ok(Tree::Bool(true)),
                b"0" | b"f" | b"F" | b"FALSE" | b"false" | b"False" => Ok(Tree::Bool(false)),
                _ => Err(failed("ParseBool")),
            },
            Some(_) => Err(format!("invalid type for {name}: type not specified")),
        }
    }
}

/// The insides of `%{NAME}`, `%{NAME:group}` and `%{NAME:group:type}`.
fn references(pattern: &str) -> impl Iterator<Item = &str> {
    let mut rest = pattern;
    std::iter::from_fn(move || {
        loop {
            let start = rest.find("%{")?;
            let inside = rest.get(start + 2..)?;
            rest = inside;
            let Some((reference, _)) = inside.split_once('}') else { continue };
            let is_word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            let is_group =
                |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+.".contains(&b));
            let parts: Vec<&str> = reference.split(':').collect();
            let is_reference = match parts[..] {
                [name] => is_word(name),
                [name, group] => is_word(name) && is_group(group),
                [name, group, kind] => is_word(name) && is_group(group) && is_word(kind),
                _ => false,
            };
            if is_reference {
                return Some(reference);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Patterns that are not valid, in Go as here.
    const NOT_VALID: [&str; 1] = ["CISCOFW733100"];

    #[test]
    fn every_pattern_of_the_file_compiles() {
        let mut failed = Vec::new();
        for (name, _) in PATTERNS.lines().filter_map(|line| line.split_once('\t')) {
            let pattern = format!("%{{{name}}}");
            if let Err(reason) = Grok::compile(pattern.as_bytes(), true, &Definitions::default()) {
                failed.push(format!("{name}: {reason}"));
            }
        }
        failed.retain(|failed| !NOT_VALID.iter().any(|name| failed.starts_with(name)));
        assert!(failed.is_empty(), "{}", failed.join("\n"));
    }

    #[test]
    fn pattern_that_contains_itself_is_an_error() {
        let mut definitions = Definitions::default();
        definitions.own.insert("A".to_owned(), "x%{A}%{A}".to_owned());
        assert!(Grok::compile(b"%{A}", true, &definitions).is_err());
    }
}
