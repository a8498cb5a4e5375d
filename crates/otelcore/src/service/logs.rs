//! `service::telemetry::logs`: formats records as lines, in the form of the Go collector's.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use otelcore_config::{Dur, Section, Value};
use otelcore_pdata::text::{Civil, put_json_string};
use otelcore_pipeline::{Field, Level, LogSink, Record};

use super::telemetry::{SAMPLING, log_level};

/// The section, read and checked.
#[derive(Clone, Debug)]
pub(crate) struct LogSettings {
    pub(crate) level: Level,
    pub(crate) json: bool,
    pub(crate) output_paths: Vec<String>,
    initial_fields: Vec<(String, InitialValue)>,
    show_resource: bool,
    sampling: Option<Sampling>,
    /// Which keys the configuration sets, in contrast to a default.
    written: Written,
}

#[derive(Clone, Copy, Debug, Default)]
struct Written {
    level: bool,
    encoding: bool,
    output_paths: bool,
    sampling: bool,
}

/// A value of `initial_fields`.
#[derive(Clone, Debug)]
enum InitialValue {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Null,
}

impl InitialValue {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => put_json_string(out, text.as_bytes()),
            Self::Int(v) => out.extend_from_slice(v.to_string().as_bytes()),
            Self::Float(v) => out.extend_from_slice(v.to_string().as_bytes()),
            Self::Bool(v) => out.extend_from_slice(v.to_string().as_bytes()),
            Self::Null => out.extend_from_slice(b"null"),
        }
    }

    /// The value as a field of a record for the host, which can't be null.
    fn field(&self) -> Option<Field<'_>> {
        match self {
            Self::Text(text) => Some(Field::Str(text)),
            Self::Int(v) => Some(Field::Int(*v)),
            Self::Float(v) => Some(Field::Float(*v)),
            Self::Bool(v) => Some(Field::Bool(*v)),
            Self::Null => None,
        }
    }
}

/// Of records with the same level and message, the first `initial` ones in a period are written, then one of every
/// `thereafter`.
#[derive(Clone, Copy, Debug)]
struct Sampling {
    tick: u64,
    initial: u64,
    thereafter: u64,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            level: Level::Info,
            json: false,
            output_paths: vec!["stderr".to_owned()],
            initial_fields: Vec::new(),
            show_resource: true,
            sampling: None,
            written: Written::default(),
        }
    }
}

impl LogSettings {
    pub(crate) fn parse(mut s: Section<'_>) -> Self {
        let keys = ["level", "encoding", "output_paths", "sampling"];
        let [level, encoding, output_paths, sampling] = keys.map(|key| s.has(key));
        let written = Written { level, encoding, output_paths, sampling };
        let name = s.str("level", "info");
        let level = log_level(&name).unwrap_or_else(|| {
            s.error("level", format!("'level' unrecognized level: \"{name}\""))
                .hint("write debug, info, warn or error");
            Level::Info
        });
        let json = s.one_of("encoding", &["", "console", "json"], "console") == "json";
        for key in ["development", "disable_caller", "disable_stacktrace"] {
            // Lines have no caller and no stack trace, and a development mode would change nothing.
            let _ = s.bool(key, false);
        }
        let sampling = s.optional("sampling", SAMPLING).map(|mut s| {
            let tick = s.duration("tick", Dur::from_secs(10)).nanos();
            let initial = s.int::<u64>("initial", 10);
            let thereafter = s.int::<u64>("thereafter", 100);
            s.finish();
            Sampling { tick: tick.max(1), initial, thereafter }
        });
        let output_paths = s.str_list("output_paths", &["stderr"]);
        let errors = s.str_list("error_output_paths", &["stderr"]);
        if errors != ["stderr"] {
            s.warn("error_output_paths", "'error_output_paths' has no effect: failures of the log itself go to stderr");
        }
        let mut fields = s.section("initial_fields");
        let mut initial_fields = Vec::new();
        for key in fields.child_keys() {
            let value = match fields.node(&key.value).map(|node| &node.value) {
                Some(Value::Str(text)) => InitialValue::Text(text.to_string()),
                Some(Value::Int(v)) => i64::try_from(*v).map_or(InitialValue::Float(*v as f64), InitialValue::Int),
                Some(Value::Float(v)) => InitialValue::Float(*v),
                Some(Value::Bool(v)) => InitialValue::Bool(*v),
                Some(Value::Null | Value::List(_) | Value::Map(_)) | None => InitialValue::Null,
            };
            initial_fields.push((key.value.clone(), value));
        }
        fields.finish();
        s.unsupported("processors", "own logs can be written but not exported yet");
        let show_resource = !s.bool("disable_zap_resource", false);
        s.finish();
        Self { level, json, output_paths, initial_fields, show_resource, sampling, written }
    }

    /// The key that has no effect where a host program takes the log, with what to write instead.
    pub(crate) fn without_effect_in_host(&self) -> Option<(&'static str, &'static str)> {
        (self.written.encoding && !self.written.output_paths).then_some((
            "service::telemetry::logs::encoding",
            "'encoding' has no effect: the host program takes the log as records; name 'output_paths' to have lines written too",
        ))
    }
}

fn json_text(text: &str) -> String {
    let mut out = Vec::new();
    put_json_string(&mut out, text.as_bytes());
    String::from_utf8_lossy(&out).into_owned()
}

#[derive(Debug)]
struct Seen {
    since: u64,
    count: u64,
}

/// The most different messages that are counted for sampling; beyond it all counts are cleared.
const MESSAGES: usize = 1024;

struct State {
    outputs: Vec<Box<dyn Write + Send>>,
    seen: BTreeMap<(u8, String), Seen>,
    line: Vec<u8>,
}

/// Writes lines.
pub(crate) struct Lines {
    settings: LogSettings,
    /// The JSON object of the collector's own resource.
    resource: String,
    clock: fn() -> u64,
    state: Mutex<State>,
}

impl Lines {
    /// `clock` gives nanoseconds since the Unix epoch.
    pub(crate) fn new(
        settings: LogSettings,
        resource: &[(String, String)],
        outputs: Vec<Box<dyn Write + Send>>,
        clock: fn() -> u64,
    ) -> Self {
        let resource = resource.iter().map(|(k, v)| format!("{}: {}", json_text(k), json_text(v)));
        let resource = format!("{{{}}}", resource.collect::<Vec<_>>().join(", "));
        Self {
            settings,
            resource,
            clock,
            state: Mutex::new(State { outputs, seen: BTreeMap::new(), line: Vec::new() }),
        }
    }

    fn is_sampled(&self, state: &mut State, record: &Record<'_>, now: u64) -> bool {
        let Some(sampling) = &self.settings.sampling else { return true };
        if state.seen.len() >= MESSAGES {
            state.seen.clear();
        }
        let seen =
            state.seen.entry((record.level as u8, record.message.to_owned())).or_insert(Seen { since: now, count: 0 });
        if now.saturating_sub(seen.since) >= sampling.tick {
            *seen = Seen { since: now, count: 0 };
        }
        seen.count += 1;
        let past = seen.count.saturating_sub(sampling.initial);
        past == 0 || sampling.thereafter > 0 && past.is_multiple_of(sampling.thereafter)
    }
}

impl LogSink for Lines {
    fn enabled(&self, level: Level) -> bool {
        level >= self.settings.level
    }

    fn log(&self, record: &Record<'_>) {
        self.write(record);
    }
}

impl Lines {
    /// Writes a record that has the level. `false` where sampling leaves it out.
    fn write(&self, record: &Record<'_>) -> bool {
        let now = (self.clock)();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_sampled(&mut state, record, now) {
            return false;
        }
        if state.outputs.is_empty() || record.level < self.settings.level {
            return true;
        }
        let state = &mut *state;
        state.line.clear();
        let fields = Fields { settings: &self.settings, resource: &self.resource, record };
        if self.settings.json {
            fields.json(&mut state.line, now)
        } else {
            fields.console(&mut state.line, now)
        }
        for output in &mut state.outputs {
            // The output counts the records that it does not take, and reports them when it can be written again.
            let _ = output.write_all(&state.line);
        }
        true
    }
}

/// The log of a collector in a host program: records go to the host's sink, and, where the configuration names
/// `output_paths`, lines go to these. The host decides which records it takes. The level, sampling and fields that are
/// configured apply to it too; the defaults do not.
pub(crate) struct HostLog {
    host: Arc<dyn LogSink>,
    lines: Lines,
}

impl HostLog {
    pub(crate) fn new(host: Arc<dyn LogSink>, lines: Lines) -> Self {
        Self { host, lines }
    }

    /// Whether lines are written.
    pub(crate) fn has_outputs(&self) -> bool {
        self.lines.settings.written.output_paths
    }

    /// Sets where lines go from now on.
    pub(crate) fn set_outputs(&self, outputs: Vec<Box<dyn Write + Send>>) {
        self.lines.state.lock().unwrap_or_else(PoisonError::into_inner).outputs = outputs;
    }
}

impl LogSink for HostLog {
    fn enabled(&self, level: Level) -> bool {
        let settings = &self.lines.settings;
        let is_level = level >= settings.level;
        (is_level || !settings.written.level) && self.host.enabled(level) || is_level && self.has_outputs()
    }

    fn log(&self, record: &Record<'_>) {
        let settings = &self.lines.settings;
        // The default sampling is for lines that a person reads; the host decides itself how many records are too many.
        let is_sampled = self.lines.write(record) || !settings.written.sampling;
        if !is_sampled || settings.written.level && record.level < settings.level || !self.host.enabled(record.level) {
            return;
        }
        if settings.initial_fields.is_empty() {
            return self.host.log(record);
        }
        let initial = settings.initial_fields.iter().filter_map(|(key, value)| Some((key.as_str(), value.field()?)));
        let fields: Vec<_> = initial.chain(record.fields.iter().copied()).collect();
        self.host.log(&Record { fields: &fields, ..*record });
    }
}

struct Fields<'a> {
    settings: &'a LogSettings,
    resource: &'a str,
    record: &'a Record<'a>,
}

impl Fields<'_> {
    fn console(&self, out: &mut Vec<u8>, now: u64) {
        put_time(out, now);
        out.push(b'\t');
        out.extend_from_slice(self.record.level.name().as_bytes());
        out.push(b'\t');
        out.extend_from_slice(self.record.message.as_bytes());
        out.extend_from_slice(b"\t{");
        self.put(out, true, ", ", ": ");
        out.extend_from_slice(b"}\n");
    }

    fn json(&self, out: &mut Vec<u8>, now: u64) {
        out.extend_from_slice(b"{\"level\":\"");
        out.extend_from_slice(self.record.level.name().as_bytes());
        out.extend_from_slice(b"\",\"ts\":\"");
        put_time(out, now);
        out.extend_from_slice(b"\",\"msg\":");
        put_json_string(out, self.record.message.as_bytes());
        self.put(out, false, ",", ":");
        out.extend_from_slice(b"}\n");
    }

    fn put(&self, out: &mut Vec<u8>, mut first: bool, comma: &str, colon: &str) {
        let mut name = |out: &mut Vec<u8>, name: &str| {
            if !std::mem::take(&mut first) {
                out.extend_from_slice(comma.as_bytes());
            }
            put_json_string(out, name.as_bytes());
            out.extend_from_slice(colon.as_bytes());
        };
        for (key, value) in &self.settings.initial_fields {
            name(out, key);
            value.put(out);
        }
        if self.settings.show_resource {
            name(out, "resource");
            out.extend_from_slice(self.resource.as_bytes());
        }
        let scope = self.record.scope;
        for (key, value) in [
            ("otelcol.component.id", scope.id.as_str()),
            ("otelcol.component.kind", scope.kind),
            ("otelcol.pipeline.id", scope.pipeline.as_str()),
            ("otelcol.signal", scope.signal),
        ] {
            if !value.is_empty() {
                name(out, key);
                put_json_string(out, value.as_bytes());
            }
        }
        for (key, value) in self.record.fields {
            name(out, key);
            match value {
                Field::Str(text) => put_json_string(out, text.as_bytes()),
                Field::Int(v) => out.extend_from_slice(v.to_string().as_bytes()),
                Field::Uint(v) => out.extend_from_slice(v.to_string().as_bytes()),
                Field::Float(v) => otelcore_pdata::text::put_double(out, *v),
                Field::Bool(v) => out.extend_from_slice(if *v { b"true" } else { b"false" }),
            }
        }
    }
}

/// ISO 8601 with milliseconds, in UTC.
fn put_time(out: &mut Vec<u8>, unix_nanos: u64) {
    let t = Civil::of(i64::try_from(unix_nanos).unwrap_or(i64::MAX));
    let (y, mo, d, h, mi, s, ms) = (t.year, t.month, t.day, t.hour, t.minute, t.second, t.nanos / 1_000_000);
    out.extend_from_slice(format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}.{ms:03}Z").as_bytes());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use otelcore_pipeline::{Logger, Scope};

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(buf);
            Ok(buf.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logger(settings: LogSettings) -> (Logger, Page) {
        let page = Page::default();
        let resource = [("service.name".to_owned(), "otelcore".to_owned())];
        let lines = Lines::new(settings, &resource, vec![Box::new(page.clone())], || 1_763_829_044_802_000_000);
        (Logger::new(Arc::new(lines)), page)
    }

    fn text(page: &Page) -> String {
        String::from_utf8(page.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_console_line_has_time_level_message_and_fields() {
        let (log, page) = logger(LogSettings::default());
        let scope = Scope { kind: "exporter", id: "debug".into(), signal: "traces", pipeline: String::new() };
        log.scoped(scope).info("Traces", &[("spans", Field::Uint(2)), ("q", Field::Str("a\"b"))]);
        log.debug("unseen", &[]);
        let expected = "2025-11-22T16:30:44.802Z\tinfo\tTraces\t{\"resource\": {\"service.name\": \"otelcore\"}, \
             \"otelcol.component.id\": \"debug\", \"otelcol.component.kind\": \"exporter\", \"otelcol.signal\": \"traces\", \
             \"spans\": 2, \"q\": \"a\\\"b\"}\n";
        assert_eq!(text(&page), expected);
    }

    #[test]
    fn a_json_line_is_one_object() {
        let (log, page) = logger(LogSettings { json: true, show_resource: false, ..LogSettings::default() });
        log.warn("x", &[("interval", Field::Float(1.0))]);
        let expected = "{\"level\":\"warn\",\"ts\":\"2025-11-22T16:30:44.802Z\",\"msg\":\"x\",\"interval\":1}\n";
        assert_eq!(text(&page), expected);
    }

    #[test]
    fn the_same_message_is_sampled() {
        let sampling = Some(Sampling { tick: 10, initial: 2, thereafter: 3 });
        let (log, page) = logger(LogSettings { sampling, ..LogSettings::default() });
        for _ in 0..8 {
            log.info("again", &[]);
        }
        assert_eq!(text(&page).lines().count(), 2 + 2);
    }
}
