//! Texts with expressions in them: `prefix EXPR(body.host) suffix`.

use otelcore_expr::{Program, Value};

use crate::context::RunContext;
use crate::entry::{Entry, EntryEnvironment};

/// A text in which each `EXPR(..)` is replaced by the value of its expression.
#[derive(Clone, Debug)]
pub struct TextTemplate {
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(Vec<u8>),
    Expression(Box<Program>),
}

const BEGIN: &str = "EXPR(";

impl TextTemplate {
    /// Parses a text. An expression ends at the last parenthesis before the next `EXPR(`.
    ///
    /// # Errors
    /// An expression is not valid.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(BEGIN) {
            let range = after.find(BEGIN).unwrap_or(after.len());
            let Some(end) = after.get(..range).and_then(|range| range.rfind(')')) else { break };
            let (expression, behind) = (after.get(..end).unwrap_or_default(), after.get(end + 1..).unwrap_or_default());
            let program =
                Program::parse(expression).map_err(|error| format!("compile embedded expression: {error}"))?;
            if !before.is_empty() {
                parts.push(Part::Text(before.as_bytes().to_vec()));
            }
            parts.push(Part::Expression(Box::new(program)));
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.as_bytes().to_vec()));
        }
        Ok(Self { parts })
    }

    /// The text for an entry.
    ///
    /// # Errors
    /// An expression fails, or its value is no string.
    pub fn render(&self, entry: &Entry, context: &RunContext<'_>) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Expression(program) => match program.run(&EntryEnvironment { entry, context }) {
                    Ok(Value::String(text)) => out.extend(text),
                    Ok(other) => {
                        let mut shown = Vec::new();
                        other.print(&mut shown);
                        let shown = String::from_utf8_lossy(&shown);
                        return Err(format!("embedded expression returned non-string {shown}"));
                    }
                    Err(error) => return Err(format!("render embedded expression: {error}")),
                },
            }
        }
        Ok(out)
    }

    /// The names in the calls of `env`.
    #[must_use]
    pub fn env_names(&self) -> Vec<String> {
        let programs = self.parts.iter().filter_map(|part| match part {
            Part::Expression(program) => Some(program),
            Part::Text(_) => None,
        });
        programs.flat_map(|program| program.env_names()).collect()
    }
}
