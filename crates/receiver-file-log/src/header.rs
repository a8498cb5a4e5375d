//! The header of a file: its first lines, as far as a pattern matches them.

use otelcore_go_regexp::GoRegexp;
use otelcore_stanza::{Entry, Map, OperatorPipeline, RunContext, Value};

use crate::config::HeaderConfig;

/// Parses lines of headers.
#[derive(Debug)]
pub(crate) struct HeaderParser {
    pattern: GoRegexp,
    operators: OperatorPipeline,
}

impl HeaderParser {
    /// # Errors
    /// The pattern or an operator is not valid.
    pub(crate) fn new(config: &HeaderConfig) -> Result<Self, String> {
        let pattern = GoRegexp::compile(&config.pattern).map_err(|error| error.to_string())?;
        let operators = OperatorPipeline::build(&config.metadata_operators).map_err(|(_, error)| error.message)?;
        Ok(Self { pattern, operators })
    }

    /// Adds what a line says. Returns false for a line that is not part of a header.
    pub(crate) fn add_line(&mut self, line: Vec<u8>, context: &RunContext<'_>, attributes: &mut Map) -> bool {
        if !self.pattern.is_match(&line) {
            return false;
        }
        let mut out = Vec::new();
        self.operators.process(vec![Entry::new(Value::String(line), context.now_nanos)], context, &mut out);
        self.operators.drain(context, &mut out);
        self.operators.take_failures();
        out.into_iter().for_each(|entry| attributes.extend(entry.attributes));
        true
    }
}
