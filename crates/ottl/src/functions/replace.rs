//! Editors that replace what matches a pattern, and converters with patterns.

use otelcore_go_regexp::{Glob, GoRegexp, Template};
use otelcore_pdata::Value as Tree;

use super::common::{Pattern, error, invalid_pattern, optional, required, text};
use super::editors::{DynamicPattern, map_of};
use super::entries::{Entries, string_tree};
use super::format::sprintf;
use crate::contexts::Change;
use crate::error::{BuildError, EvalError};
use crate::evaluate::{Evaluation, Execution, Expression, FunctionArgument, PathExpression};
use crate::function::{Arguments, Callable, Editor, Function, ParameterKind as Kind};
use crate::value::{Map, Value};

pub(super) const IS_MATCH: Function = Function {
    name: "IsMatch",
    parameters: &[required("Target", Kind::StringLike), required("Pattern", Kind::String)],
    build: |arguments| {
        let pattern = Pattern::new("IsMatch", arguments, 1)?;
        Ok(Callable::pure(move |arguments| {
            pattern.with(text(arguments, 1), |regexp| {
                Ok(Value::Bool(match arguments.first() {
                    Some(Value::String(text)) => regexp.is_match(text),
                    _ => false,
                }))
            })
        }))
    },
};

pub(super) const EXTRACT_PATTERNS: Function = Function {
    name: "ExtractPatterns",
    parameters: &[required("Target", Kind::String), required("Pattern", Kind::String)],
    build: |arguments| {
        let pattern = Pattern::new("ExtractPatterns", arguments, 1)?;
        Ok(Callable::pure(move |arguments| {
            pattern.with(text(arguments, 1), |regexp| extract(regexp, text(arguments, 0)))
        }))
    },
};

fn extract(regexp: &GoRegexp, text: &[u8]) -> Result<Value<'static>, EvalError> {
    let names = regexp.group_names();
    if names.iter().all(String::is_empty) {
        return Err(error("at least 1 named capture group must be supplied in the given regex"));
    }
    let mut entries = Entries::default();
    regexp.capture(text, &mut regexp.capture_locations(), |group, found| {
        if let Some(name) = names.get(group).filter(|name| !name.is_empty()) {
            entries.put(name.as_bytes(), string_tree(found));
        }
    });
    Ok(Value::Map(Map::owned(entries.into_map())))
}

/// What a match is replaced by: a text, or the result of a function, in a format.
struct Replacement {
    text: Expression,
    /// The template of a text that is a literal.
    template: Option<Template>,
    function: Option<FunctionArgument>,
    format: Option<Expression>,
}

impl Replacement {
    fn new(arguments: &mut Arguments, index: usize) -> Result<Self, BuildError> {
        let text = arguments.expression(index)?;
        let template = match text.literal() {
            Some(Value::String(text)) => Some(Template::parse(&String::from_utf8_lossy(text))),
            _ => None,
        };
        let (function, format) = (arguments.function(index + 1)?, arguments.optional_expression(index + 2)?);
        Ok(Self { text, template, function, format })
    }

    /// The text, by which a whole value is replaced.
    fn whole(&self, evaluation: &Evaluation<'_>) -> Result<Vec<u8>, EvalError> {
        let text = self.text.string(evaluation)?;
        match &self.function {
            None => Ok(text.into_owned()),
            Some(function) => self.call(function, evaluation, &text, "replacement value is not a string"),
        }
    }

    fn call(
        &self,
        function: &FunctionArgument,
        evaluation: &Evaluation<'_>,
        input: &[u8],
        not_a_string: &'static str,
    ) -> Result<Vec<u8>, EvalError> {
        let Value::String(result) = function.call(evaluation, input)? else { return Err(error(not_a_string)) };
        let Some(format) = &self.format else { return Ok(result.into_owned()) };
        let format = format.string(evaluation)?;
        if !is_valid_format(&format) {
            return Err(error(
                "replacementFormat must be format string containing a single %s and no other format specifiers",
            ));
        }
        Ok(sprintf(&format, &[Value::String(result)]))
    }

    /// The template of this call.
    fn template(&self, evaluation: &Evaluation<'_>) -> Result<Template, EvalError> {
        match &self.template {
            Some(template) => Ok(template.clone()),
            None => Ok(Template::parse(&String::from_utf8_lossy(&self.text.string(evaluation)?))),
        }
    }

    /// Replaces each match by the result of the function. `None` without a match.
    fn replace_by_function(
        &self,
        function: &FunctionArgument,
        evaluation: &Evaluation<'_>,
        regexp: &GoRegexp,
        template: &Template,
        text: &[u8],
    ) -> Result<Option<Vec<u8>>, EvalError> {
        let (mut out, mut end) = (Vec::new(), None);
        regexp.find_all(text, |groups| {
            let Some(Some(whole)) = groups.first() else { return Ok(()) };
            let mut input = Vec::new();
            regexp.expand(template, text, groups, &mut input);
            let result = self.call(function, evaluation, &input, "the replacement value must be a string")?;
            out.extend_from_slice(text.get(end.unwrap_or(0)..whole.start).unwrap_or_default());
            out.extend_from_slice(&result);
            end = Some(whole.end);
            Ok::<(), EvalError>(())
        })?;
        let Some(end) = end else { return Ok(None) };
        out.extend_from_slice(text.get(end..).unwrap_or_default());
        Ok(Some(out))
    }
}

/// Whether a format has a `%s` on its only line, and no other directive.
fn is_valid_format(format: &[u8]) -> bool {
    let has_other = format.windows(2).any(|pair| matches!(pair, [b'%', b] if *b != b's'));
    memchr::memmem::find(format, b"%s").is_some() && !format.contains(&b'\n') && !has_other
}

const FUNCTION_AND_FORMAT: [crate::function::Parameter; 2] =
    [optional("Function", Kind::Function), optional("ReplacementFormat", Kind::String)];

pub(super) const REPLACE_PATTERN: Function = Function {
    name: "replace_pattern",
    parameters: &[
        required("Target", Kind::Path),
        required("RegexPattern", Kind::String),
        required("Replacement", Kind::String),
        FUNCTION_AND_FORMAT[0],
        FUNCTION_AND_FORMAT[1],
    ],
    build: |arguments| {
        let pattern = DynamicPattern::new("replace_pattern", arguments, 1)?;
        let replacement = Replacement::new(arguments, 2)?;
        Ok(Callable::editor(ReplacePattern { target: arguments.path(0)?, pattern, replacement }))
    },
};

struct ReplacePattern {
    target: PathExpression,
    pattern: DynamicPattern,
    replacement: Replacement,
}

impl Editor for ReplacePattern {
    fn run(&self, execution: &mut Execution<'_>) -> Result<(), EvalError> {
        let replaced = self.replaced(&execution.view())?;
        match replaced {
            Some(text) => execution.set(&self.target, &Value::string(text)),
            None => Ok(()),
        }
    }
}

impl ReplacePattern {
    fn replaced(&self, view: &Evaluation<'_>) -> Result<Option<Vec<u8>>, EvalError> {
        let target = self.target.get(view);
        let text = match &target {
            Ok(Value::String(text)) => text,
            Ok(Value::Nil) => return Ok(None),
            Ok(_) => {
                self.replacement.text.string(view)?;
                return Ok(None);
            }
            Err(_) => return target.map(|_| None),
        };
        let evaluated;
        let template = match &self.replacement.template {
            Some(template) => template,
            None => {
                evaluated = self.replacement.template(view)?;
                &evaluated
            }
        };
        let pattern = self.pattern.text(view)?;
        self.pattern.pattern.with(&pattern, |regexp| {
            if let Some(function) = &self.replacement.function {
                return self.replacement.replace_by_function(function, view, regexp, template, text);
            }
            let mut out = Vec::new();
            Ok(regexp.replace_all(text, template, &mut out).then_some(out))
        })
    }
}

pub(super) const REPLACE_ALL_PATTERNS: Function = Function {
    name: "replace_all_patterns",
    parameters: &[
        required("Target", Kind::MapPath),
        required("Mode", Kind::LiteralString),
        required("RegexPattern", Kind::String),
        required("Replacement", Kind::String),
        FUNCTION_AND_FORMAT[0],
        FUNCTION_AND_FORMAT[1],
    ],
    build: |arguments| {
        let pattern = DynamicPattern::new("replace_all_patterns", arguments, 2)?;
        let mode = arguments.literal_string(1)?.unwrap_or_default();
        let of_keys = match &*mode {
            "key" => true,
            "value" => false,
            _ => {
                return Err(BuildError::new(format!("invalid mode {mode}, must be either 'key' or 'value'")));
            }
        };
        let replacement = Replacement::new(arguments, 3)?;
        Ok(Callable::editor(ReplaceAllPatterns { target: arguments.path(0)?, of_keys, pattern, replacement }))
    },
};

struct ReplaceAllPatterns {
    target: PathExpression,
    of_keys: bool,
    pattern: DynamicPattern,
    replacement: Replacement,
}

impl Editor for ReplaceAllPatterns {
    fn run(&self, execution: &mut Execution<'_>) -> Result<(), EvalError> {
        let view = execution.view();
        let template = self.replacement.template(&view)?;
        let pattern = self.pattern.text(&view)?;
        self.pattern.pattern.with(&pattern, |regexp| match &self.replacement.function {
            // The function reads the item, so that the map is changed apart from it.
            Some(function) => {
                let view = execution.view();
                let Value::Map(map) = self.target.get(&view)? else {
                    return Err(self.target.get(&view)?.type_error("pcommon.Map"));
                };
                let replace =
                    |text: &[u8]| self.replacement.replace_by_function(function, &view, regexp, &template, text);
                let entries = self.replaced(map.into_tree(), replace);
                execution.set(&self.target, &map_of(entries))
            }
            None if self.of_keys => execution.edit_map(&self.target, &mut |map| {
                if !map.iter().any(|(key, _)| regexp.is_match(key)) {
                    return Ok(());
                }
                let replace = |text: &[u8]| Ok(replace_all(regexp, &template, text));
                let entries = self.replaced(map.to_tree(), replace);
                map.replace_all(entries);
                Ok(())
            }),
            None => execution.edit_map(&self.target, &mut |map| {
                map.for_each(|_, value| match value {
                    Value::String(text) => Ok(match replace_all(regexp, &template, &text) {
                        Some(text) => Change::SetValue(Value::string(text)),
                        None => Change::Keep,
                    }),
                    _ => Ok(Change::Keep),
                })
            }),
        })
    }
}

fn replace_all(regexp: &GoRegexp, template: &Template, text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    regexp.replace_all(text, template, &mut out).then_some(out)
}

impl ReplaceAllPatterns {
    /// The entries with keys or values replaced. As in Go, an error leaves a value as it is and an entry out.
    fn replaced(
        &self,
        entries: Vec<(Vec<u8>, Tree)>,
        replace: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, EvalError>,
    ) -> Vec<(Vec<u8>, Tree)> {
        let mut replaced = Entries::default();
        for (key, value) in entries {
            if self.of_keys {
                match replace(&key) {
                    Ok(Some(key)) => replaced.put(&key, value),
                    Ok(None) => replaced.put(&key, value),
                    Err(_) => {}
                }
                continue;
            }
            let text = match &value {
                Tree::String(text) => replace(text).unwrap_or(None),
                _ => None,
            };
            replaced.put(&key, text.map_or(value, Tree::String));
        }
        replaced.into_map()
    }
}

/// A glob that is a literal, or an expression.
struct DynamicGlob {
    compiled: Option<Glob>,
    expression: Expression,
}

impl DynamicGlob {
    fn new(function: &str, arguments: &mut Arguments, index: usize) -> Result<Self, BuildError> {
        let expression = arguments.expression(index)?;
        let compiled = match expression.literal() {
            Some(Value::String(pattern)) => match Glob::compile(pattern, None) {
                Ok(glob) => Some(glob),
                Err(reason) => return Err(BuildError::new(invalid_pattern(function, pattern, reason))),
            },
            _ => None,
        };
        Ok(Self { compiled, expression })
    }

    fn with<R>(
        &self,
        evaluation: &Evaluation<'_>,
        with: impl FnOnce(&Glob) -> Result<R, EvalError>,
    ) -> Result<R, EvalError> {
        if let Some(glob) = &self.compiled {
            return with(glob);
        }
        let pattern = self.expression.string(evaluation)?;
        match Glob::compile(&pattern, None) {
            Ok(glob) => with(&glob),
            // Both editors have this name in Go's sentence.
            Err(reason) => Err(error(invalid_pattern("replace_all_matches", &pattern, reason))),
        }
    }
}

pub(super) const REPLACE_MATCH: Function = Function {
    name: "replace_match",
    parameters: &[
        required("Target", Kind::Path),
        required("Pattern", Kind::String),
        required("Replacement", Kind::String),
        FUNCTION_AND_FORMAT[0],
        FUNCTION_AND_FORMAT[1],
    ],
    build: |arguments| {
        let glob = DynamicGlob::new("replace_match", arguments, 1)?;
        let replacement = Replacement::new(arguments, 2)?;
        Ok(Callable::editor(ReplaceMatch { target: arguments.path(0)?, glob, replacement }))
    },
};

struct ReplaceMatch {
    target: PathExpression,
    glob: DynamicGlob,
    replacement: Replacement,
}

impl Editor for ReplaceMatch {
    fn run(&self, execution: &mut Execution<'_>) -> Result<(), EvalError> {
        let view = execution.view();
        let replaced = self.glob.with(&view, |glob| {
            let target = self.target.get(&view)?;
            let replacement = self.replacement.whole(&view)?;
            Ok(match target {
                Value::String(text) if glob.is_match(&text) => Some(replacement),
                _ => None,
            })
        })?;
        match replaced {
            Some(text) => execution.set(&self.target, &Value::string(text)),
            None => Ok(()),
        }
    }
}

pub(super) const REPLACE_ALL_MATCHES: Function = Function {
    name: "replace_all_matches",
    parameters: &[
        required("Target", Kind::MapPath),
        required("Pattern", Kind::String),
        required("Replacement", Kind::String),
        FUNCTION_AND_FORMAT[0],
        FUNCTION_AND_FORMAT[1],
    ],
    build: |arguments| {
        let glob = DynamicGlob::new("replace_all_matches", arguments, 1)?;
        let replacement = Replacement::new(arguments, 2)?;
        Ok(Callable::editor(ReplaceAllMatches { target: arguments.path(0)?, glob, replacement }))
    },
};

struct ReplaceAllMatches {
    target: PathExpression,
    glob: DynamicGlob,
    replacement: Replacement,
}

impl Editor for ReplaceAllMatches {
    fn run(&self, execution: &mut Execution<'_>) -> Result<(), EvalError> {
        let view = execution.view();
        let replacement = self.replacement.whole(&view)?;
        let replace = |glob: &Glob, execution: &mut Execution<'_>| {
            execution.edit_map(&self.target, &mut |map| {
                map.for_each(|_, value| match value {
                    Value::String(text) if glob.is_match(&text) => {
                        Ok(Change::SetValue(Value::string(replacement.clone())))
                    }
                    _ => Ok(Change::Keep),
                })
            })
        };
        if let Some(glob) = &self.glob.compiled {
            return replace(glob, execution);
        }
        let pattern = self.glob.expression.string(&view)?.into_owned();
        match Glob::compile(&pattern, None) {
            Ok(glob) => replace(&glob, execution),
            Err(reason) => Err(error(invalid_pattern("replace_all_matches", &pattern, reason))),
        }
    }
}
