//! What a parser can do after it has parsed: body, time, severity, trace context and scope of the entry.

use otelcore_expr::View;

use crate::context::RunContext;
use crate::entry::Entry;
use crate::field::Field;
use crate::severity::SeverityParser;
use crate::times::TimeParser;

/// The blocks of a parser.
#[derive(Clone, Debug, Default)]
pub(crate) struct ParserBlocks {
    pub(crate) body: Option<Field>,
    pub(crate) time: Option<TimeParser>,
    pub(crate) severity: Option<SeverityParser>,
    pub(crate) trace: Option<TraceParser>,
    pub(crate) scope_name: Option<Field>,
}

impl ParserBlocks {
    /// Applies all; the first error is returned when all have been tried.
    pub(crate) fn apply(&self, entry: &mut Entry, context: &RunContext<'_>) -> Result<(), String> {
        if let Some(body) = self.body.as_ref().and_then(|field| field.get(entry)) {
            entry.body = body.to_value();
        }
        let named = |result: Result<(), String>, name: &str| result.map_err(|error| format!("{name} parser: {error}"));
        let results = [
            self.time.as_ref().map_or(Ok(()), |parser| named(parser.parse(entry, context), "time")),
            self.severity.as_ref().map_or(Ok(()), |parser| named(parser.parse(entry), "severity")),
            self.trace.as_ref().map_or(Ok(()), |parser| named(parser.parse(entry), "trace")),
            self.scope_name.as_ref().map_or(Ok(()), |field| named(parse_scope_name(field, entry), "scope_name")),
        ];
        results.into_iter().collect()
    }
}

/// Reads ids in hexadecimal.
#[derive(Clone, Debug)]
pub(crate) struct TraceParser {
    pub(crate) trace_id: Field,
    pub(crate) span_id: Field,
    pub(crate) trace_flags: Field,
}

impl TraceParser {
    pub(crate) fn parse(&self, entry: &mut Entry) -> Result<(), String> {
        let read = |field: &Field| -> Result<Option<Vec<u8>>, String> {
            field.get(entry).map(|value| decode_hex(&printed(value))).transpose()
        };
        let (trace_id, span_id, flags) = (read(&self.trace_id), read(&self.span_id), read(&self.trace_flags));
        let mut failed = Vec::new();
        let mut keep = |name: &str, found: Result<Option<Vec<u8>>, String>| {
            found.unwrap_or_else(|error| {
                failed.push(format!("{name}: {error}"));
                None
            })
        };
        entry.trace_id = keep("trace_id", trace_id);
        entry.span_id = keep("span_id", span_id);
        entry.trace_flags = keep("trace_flags", flags);
        if failed.is_empty() { Ok(()) } else { Err(format!("Error decoding traces for logs ({})", failed.join(", "))) }
    }
}

/// The text of a value, as Go's `%v` prints it.
fn printed(value: View<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    value.print(&mut out);
    out
}

fn decode_hex(text: &[u8]) -> Result<Vec<u8>, String> {
    let (pairs, rest) = text.as_chunks::<2>();
    let mut out = Vec::with_capacity(pairs.len());
    for [high, low] in pairs {
        let digit = |b: u8| {
            char::from(b).to_digit(16).ok_or_else(|| format!("encoding/hex: invalid byte: {:?}", char::from(b)))
        };
        out.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).unwrap_or(0));
    }
    match rest {
        [] => Ok(out),
        [odd, ..] if char::from(*odd).is_ascii_hexdigit() => Err("encoding/hex: odd length hex string".to_owned()),
        [odd, ..] => Err(format!("encoding/hex: invalid byte: {:?}", char::from(*odd))),
    }
}

/// Sets the name of the scope.
pub(crate) fn parse_scope_name(field: &Field, entry: &mut Entry) -> Result<(), String> {
    let name = match field.get(entry) {
        Some(View::String(name)) => name.to_vec(),
        Some(_) => return Err(format!("parse_from field does not contain a string: {field}")),
        None => return Err(format!("log entry does not have the expected parse_from field: {field}")),
    };
    entry.scope_name = name;
    Ok(())
}
