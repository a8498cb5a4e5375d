//! What attributes say about a record: its tenant, its format and its labels.

use otelcore_pdata::text::put_value;
use otelcore_pdata::views::{AnyValue, KeyValue, RepeatedMessages};
use otelcore_prometheus_translation::{LabelNaming, put_label_name};

const ATTRIBUTE_LABELS: &[u8] = b"loki.attribute.labels";
const RESOURCE_LABELS: &[u8] = b"loki.resource.labels";
const TENANT: &[u8] = b"loki.tenant";
const FORMAT: &[u8] = b"loki.format";
/// The attributes that are hints, and not written.
const HINTS: [&[u8]; 4] = [ATTRIBUTE_LABELS, RESOURCE_LABELS, TENANT, FORMAT];

/// Labels of a record, and names in one hint, at most.
const MAX_LABELS: usize = 128;
/// Bytes of the labels of a record, at most.
const MAX_LABEL_BYTES: usize = 16 << 10;
/// Parts of a name that are searched for as a nested value, at most.
const MAX_SEGMENTS: usize = 8;

const TOO_MANY_LABELS: &str = "a record has more than 128 labels, or more than 16 KiB of them";

/// Attributes, searched anew by each iteration.
pub(crate) type Attributes<'a> = RepeatedMessages<'a, KeyValue<'a>>;

/// Which labels records have without a hint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DefaultLabels {
    /// `exporter="OTLP"`.
    pub exporter: bool,
    /// `job`, from `service.namespace` and `service.name`.
    pub job: bool,
    /// `instance`, from `service.instance.id`.
    pub instance: bool,
    /// `level`, from the attribute of this name, or the number of the severity.
    pub level: bool,
}

/// The first attribute of this key.
fn find<'a>(mut attributes: Attributes<'a>, key: &[u8]) -> Option<AnyValue<'a>> {
    attributes.find(|kv| kv.key == key).map(|kv| kv.value)
}

/// The text of a string; empty for other values.
fn string(value: AnyValue<'_>) -> &[u8] {
    if let AnyValue::String(text) = value { text } else { b"" }
}

/// The tenant of a record; empty without one.
pub(crate) fn tenant_of<'a>(resource: Attributes<'a>, record: Attributes<'a>) -> &'a [u8] {
    let Some(hint) = find(resource, TENANT).or_else(|| find(record, TENANT)) else { return b"" };
    let key = string(hint);
    find(resource, key).or_else(|| find(record, key)).map_or(b"", string)
}

/// The attribute that names the format of a record, if there is one.
pub(crate) fn format_of<'a>(resource: Attributes<'a>, record: Attributes<'a>) -> Option<AnyValue<'a>> {
    find(resource, FORMAT).or_else(|| find(record, FORMAT))
}

/// The name of a severity, as the exporter writes it into `level`.
fn level_of(severity: i32) -> &'static str {
    const NAMES: [&str; 25] = [
        "", "TRACE", "TRACE2", "TRACE3", "TRACE4", "DEBUG", "DEBUG2", "DEBUG3", "DEBUG4", "INFO", "INFO2", "INFO3",
        "INFO4", "WARN", "WARN2", "WARN3", "WARN4", "ERROR", "ERROR2", "ERROR3", "ERROR4", "FATAL", "FATAL2", "FATAL3",
        "FATAL4",
    ];
    usize::try_from(severity).ok().and_then(|at| NAMES.get(at)).copied().unwrap_or("")
}

/// The labels of one record, in buffers that are used again.
#[derive(Debug, Default)]
pub(crate) struct RecordLabels {
    text: Vec<u8>,
    /// Where the name begins, where it ends and the value begins, and where that ends.
    labels: Vec<Label>,
    /// The attribute `level` that the record does not have itself.
    level: Option<&'static str>,
    /// Names in Loki, with the number of their label, and their text.
    names: Vec<(usize, usize, usize)>,
    name_text: Vec<u8>,
    hint: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Label {
    name: (usize, usize),
    value: (usize, usize),
}

impl RecordLabels {
    fn name(&self, label: &Label) -> &[u8] {
        self.text.get(label.name.0..label.name.1).unwrap_or_default()
    }

    fn value(&self, label: &Label) -> &[u8] {
        self.text.get(label.value.0..label.value.1).unwrap_or_default()
    }

    fn set(&mut self, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) -> Result<(), &'static str> {
        let found = self.labels.iter().position(|label| self.name(label) == name);
        let at = match found {
            Some(at) => at,
            None => {
                let start = self.text.len();
                self.text.extend_from_slice(name);
                self.labels.push(Label { name: (start, self.text.len()), value: (0, 0) });
                self.labels.len() - 1
            }
        };
        let start = self.text.len();
        write(&mut self.text);
        if let Some(label) = self.labels.get_mut(at) {
            label.value = (start, self.text.len());
        }
        if self.labels.len() > MAX_LABELS || self.text.len() > MAX_LABEL_BYTES { Err(TOO_MANY_LABELS) } else { Ok(()) }
    }

    /// Collects the labels of a record.
    ///
    /// # Errors
    /// It has too many.
    pub(crate) fn collect(
        &mut self,
        defaults: DefaultLabels,
        resource: Attributes<'_>,
        record: Attributes<'_>,
        severity: i32,
    ) -> Result<(), &'static str> {
        self.text.clear();
        self.labels.clear();
        let has_level = defaults.level && severity != 0;
        self.level = (has_level && find(record, b"level").is_none()).then(|| level_of(severity));
        if defaults.exporter {
            self.set(b"exporter", |out| out.extend_from_slice(b"OTLP"))?;
        }
        if defaults.job
            && let Some(name) = find(resource, b"service.name")
        {
            let namespace = find(resource, b"service.namespace");
            self.set(b"job", |out| {
                if let Some(namespace) = namespace {
                    put_value(out, namespace);
                    out.push(b'/');
                }
                put_value(out, name);
            })?;
        }
        if defaults.instance
            && let Some(instance) = find(resource, b"service.instance.id")
        {
            self.set(b"instance", |out| put_value(out, instance))?;
        }
        for hint in [find(resource, RESOURCE_LABELS), find(record, RESOURCE_LABELS)].into_iter().flatten() {
            self.add_hinted(hint, resource, false)?;
        }
        match find(record, ATTRIBUTE_LABELS) {
            Some(hint) => self.add_hinted(hint, record, has_level)?,
            None if has_level => self.add_named(b"level", record)?,
            None => {}
        }
        Ok(())
    }

    /// Adds the attributes that a hint names, and then `level`.
    fn add_hinted(
        &mut self,
        hint: AnyValue<'_>,
        attributes: Attributes<'_>,
        with_level: bool,
    ) -> Result<(), &'static str> {
        match hint {
            AnyValue::String(names) => {
                for name in names.split(|b| *b == b',').take(MAX_LABELS) {
                    self.add_named(name, attributes)?;
                }
            }
            AnyValue::Array(raw) => {
                for element in AnyValue::array_elements(raw).take(MAX_LABELS) {
                    let mut name = std::mem::take(&mut self.hint);
                    name.clear();
                    match element {
                        AnyValue::Empty => name.extend_from_slice(b"<nil>"),
                        AnyValue::Double(v) => otelcore_go_number::put_general(&mut name, v),
                        other => put_value(&mut name, other),
                    }
                    let added = self.add_named(&name, attributes);
                    self.hint = name;
                    added?;
                }
            }
            other => {
                let mut name = Vec::new();
                put_value(&mut name, other);
                return self.add_named(&name, attributes);
            }
        }
        if with_level { self.add_named(b"level", attributes) } else { Ok(()) }
    }

    fn add_named(&mut self, name: &[u8], attributes: Attributes<'_>) -> Result<(), &'static str> {
        let name = match std::str::from_utf8(name) {
            Ok(text) => text.trim().as_bytes(),
            Err(_) => name.trim_ascii(),
        };
        if let Some(value) = find_nested(attributes, name) {
            return self.set(name, |out| put_value(out, value));
        }
        match self.level.filter(|_| name == b"level") {
            Some(level) => self.set(name, |out| out.extend_from_slice(level.as_bytes())),
            None => Ok(()),
        }
    }

    /// The attribute `level` that is added to the record's own, unless it has become a label.
    pub(crate) fn added_level(&self) -> Option<&'static str> {
        self.level.filter(|_| self.is_written(b"level"))
    }

    /// Whether an attribute of this key is in the line: it is no hint, and no label.
    pub(crate) fn is_written(&self, key: &[u8]) -> bool {
        !HINTS.contains(&key) && !self.labels.iter().any(|label| self.name(label) == key)
    }

    /// Appends the labels as Loki reads them: `{a="x", b="y"}`, sorted by name. A name is made of letters, digits and
    /// underscores; a label whose key gives no such name is left out.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>) {
        let mut names = std::mem::take(&mut self.names);
        let mut name_text = std::mem::take(&mut self.name_text);
        names.clear();
        name_text.clear();
        let naming = LabelNaming { prefixes_underscore: true, ..LabelNaming::default() };
        for (at, label) in self.labels.iter().enumerate() {
            let start = name_text.len();
            if put_label_name(&mut name_text, self.name(label), naming).is_ok() {
                names.push((at, start, name_text.len()));
            }
        }
        let name_at = |entry: &(usize, usize, usize)| name_text.get(entry.1..entry.2).unwrap_or_default();
        names.sort_by(|a, b| name_at(a).cmp(name_at(b)));
        out.push(b'{');
        let mut is_first = true;
        for (at, entry) in names.iter().enumerate() {
            // The last of equal names is used.
            if names.get(at + 1).is_some_and(|next| name_at(next) == name_at(entry)) {
                continue;
            }
            if !std::mem::take(&mut is_first) {
                out.extend_from_slice(b", ");
            }
            out.extend_from_slice(name_at(entry));
            out.push(b'=');
            put_quoted(out, self.labels.get(entry.0).map_or(b"", |label| self.value(label)));
        }
        out.push(b'}');
        (self.names, self.name_text) = (names, name_text);
    }
}

/// An attribute by its key; else a value inside a map, by the keys on the way to it, joined by dots.
fn find_nested<'a>(attributes: Attributes<'a>, name: &[u8]) -> Option<AnyValue<'a>> {
    if let Some(value) = find(attributes, name) {
        return Some(value);
    }
    if name.iter().filter(|b| **b == b'.').count() >= MAX_SEGMENTS {
        return None;
    }
    let dots = name.iter().enumerate().filter(|(_, b)| **b == b'.').map(|(at, _)| at);
    for dot in dots.rev() {
        let (left, right) = (name.get(..dot)?, name.get(dot + 1..)?);
        if let Some(AnyValue::Map(raw)) = find_nested(attributes, left) {
            return find_nested(AnyValue::map_entries(raw), right);
        }
    }
    None
}

/// Appends a quoted text. What Go escapes because it can't be printed is written as it is: Loki reads the same.
fn put_quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        for b in chunk.valid().bytes() {
            match b {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', b]),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                0..0x20 | 0x7f => put_hex_escape(out, b),
                _ => out.push(b),
            }
        }
        chunk.invalid().iter().for_each(|b| put_hex_escape(out, *b));
    }
    out.push(b'"');
}

fn put_hex_escape(out: &mut Vec<u8>, b: u8) {
    out.extend_from_slice(b"\\x");
    otelcore_pdata::text::put_hex(out, &[b]);
}
