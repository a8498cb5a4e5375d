//! The line of a record: as JSON, as logfmt, or its body alone.

use otelcore_pdata::text::{put_hex, put_json, put_json_string, put_value};
use otelcore_pdata::views::{AnyValue, KeyValue, LogRecord, Scope};

use crate::hints::{Attributes, RecordLabels};
use crate::logfmt::Pairs;

const NOT_FINITE: &str = "a record has a number that JSON can't express";

/// How a line is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LineFormat {
    Json,
    Logfmt,
    Raw,
}

impl LineFormat {
    /// The format that an attribute names; JSON without one.
    ///
    /// # Errors
    /// It names another one.
    pub(crate) fn parse(hint: Option<AnyValue<'_>>) -> Result<Self, &'static str> {
        match hint {
            None | Some(AnyValue::String(b"json")) => Ok(Self::Json),
            Some(AnyValue::String(b"logfmt")) => Ok(Self::Logfmt),
            Some(AnyValue::String(b"raw")) => Ok(Self::Raw),
            Some(_) => Err("invalid format in loki.format. Expected one of: json, logfmt, raw"),
        }
    }
}

/// Where a record belongs.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) resource: Attributes<'a>,
    pub(crate) scope: &'a Scope<'a>,
    pub(crate) labels: &'a RecordLabels,
}

/// Writes lines. Its buffers are used again.
#[derive(Debug, Default)]
pub(crate) struct LineWriter {
    pairs: Pairs,
    text: Vec<u8>,
}

impl LineWriter {
    /// Appends the line of a record.
    ///
    /// # Errors
    /// Why it has none.
    pub(crate) fn write(
        &mut self,
        out: &mut Vec<u8>,
        format: LineFormat,
        record: &LogRecord<'_>,
        context: Context<'_>,
    ) -> Result<(), &'static str> {
        match format {
            LineFormat::Json => self.write_json(out, record, context),
            LineFormat::Logfmt => self.write_logfmt(out, record, context),
            LineFormat::Raw => {
                put_value(out, record.body);
                Ok(())
            }
        }
    }

    fn write_json(
        &mut self,
        out: &mut Vec<u8>,
        record: &LogRecord<'_>,
        context: Context<'_>,
    ) -> Result<(), &'static str> {
        let Self { text, .. } = self;
        text.clear();
        text.push(b'{');
        if !matches!(record.body, AnyValue::Empty) {
            put_name(text, b"body");
            put_json(text, record.body).map_err(|_| NOT_FINITE)?;
        }
        for (name, id) in [(&b"traceid"[..], record.trace_id), (b"spanid", record.span_id)] {
            if id.iter().any(|b| *b != 0) {
                put_name(text, name);
                text.push(b'"');
                put_hex(text, id);
                text.push(b'"');
            }
        }
        if !record.severity_text.is_empty() {
            put_name(text, b"severity");
            put_json_string(text, record.severity_text);
        }
        if record.flags != 0 {
            put_name(text, b"flags");
            put_value(text, AnyValue::Int(record.flags.into()));
        }
        let labels = context.labels;
        let level = labels.added_level().map(|level| (&b"level"[..], AnyValue::String(level.as_bytes())));
        let is_written = |kv: &KeyValue<'_>| labels.is_written(kv.key);
        put_object(text, b"attributes", record.attributes().filter(is_written).map(pair).chain(level))?;
        put_object(text, b"resources", context.resource.filter(is_written).map(pair))?;
        let scope = context.scope;
        if !scope.name.is_empty() {
            put_name(text, b"instrumentation_scope");
            text.push(b'{');
            for (name, value) in [(&b"name"[..], scope.name), (b"version", scope.version)] {
                if !value.is_empty() {
                    put_name(text, name);
                    put_json_string(text, value);
                }
            }
            put_object(text, b"attributes", scope.attributes().map(pair))?;
            text.push(b'}');
        }
        text.push(b'}');
        // Go escapes for HTML. These characters are in texts only.
        for b in text.iter() {
            match b {
                b'<' | b'>' | b'&' => {
                    out.extend_from_slice(b"\\u00");
                    put_hex(out, &[*b]);
                }
                _ => out.push(*b),
            }
        }
        Ok(())
    }

    fn write_logfmt(
        &mut self,
        out: &mut Vec<u8>,
        record: &LogRecord<'_>,
        context: Context<'_>,
    ) -> Result<(), &'static str> {
        let Self { pairs, text } = self;
        pairs.clear();
        pairs.push_body(record.body)?;
        for (name, id) in [(&b"traceID"[..], record.trace_id), (b"spanID", record.span_id)] {
            if id.iter().any(|b| *b != 0) {
                text.clear();
                put_hex(text, id);
                pairs.set(name, text)?;
            }
        }
        if !record.severity_text.is_empty() {
            pairs.set(b"severity", record.severity_text)?;
        }
        if record.flags != 0 {
            text.clear();
            put_value(text, AnyValue::Int(record.flags.into()));
            pairs.set(b"flags", text)?;
        }
        let labels = context.labels;
        for kv in record.attributes().filter(|kv| labels.is_written(kv.key)) {
            pairs.push_attribute(b"attribute_", &kv)?;
        }
        if let Some(level) = labels.added_level() {
            pairs.push_text(b"attribute_level", level.as_bytes())?;
        }
        for kv in context.resource.filter(|kv| labels.is_written(kv.key)) {
            pairs.push_attribute(b"resource_", &kv)?;
        }
        let scope = context.scope;
        if !scope.name.is_empty() {
            pairs.push_text(b"instrumentation_scope_name", scope.name)?;
            if !scope.version.is_empty() {
                pairs.push_text(b"instrumentation_scope_version", scope.version)?;
            }
            for kv in scope.attributes() {
                pairs.push_attribute(b"instrumentation_scope_attribute_", &kv)?;
            }
        }
        pairs.write(out)
    }
}

type Entry<'a> = (&'a [u8], AnyValue<'a>);

fn pair<'a>(kv: KeyValue<'a>) -> Entry<'a> {
    (kv.key, kv.value)
}

/// Appends the name of a member, and a comma if one is before it.
fn put_name(out: &mut Vec<u8>, name: &[u8]) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(name);
    out.extend_from_slice(b"\":");
}

/// Appends a member with these attributes, sorted by key, the last of equal ones; nothing for none.
fn put_object<'a>(
    out: &mut Vec<u8>,
    name: &[u8],
    attributes: impl Iterator<Item = Entry<'a>>,
) -> Result<(), &'static str> {
    let mut entries: Vec<Entry<'a>> = attributes.collect();
    if entries.is_empty() {
        return Ok(());
    }
    entries.sort_by(|a, b| a.0.cmp(b.0));
    put_name(out, name);
    out.push(b'{');
    let mut is_first = true;
    for (at, (key, value)) in entries.iter().enumerate() {
        if entries.get(at + 1).is_some_and(|next| next.0 == *key) {
            continue;
        }
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        put_json_string(out, key);
        out.push(b':');
        put_json(out, *value).map_err(|_| NOT_FINITE)?;
    }
    out.push(b'}');
    Ok(())
}
