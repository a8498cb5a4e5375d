//! Formats log records as lines, in the form of the Go collector's.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use otelcore_pdata::text::{UtcDateTime, put_json_string};
use otelcore_pipeline::{LogEntry, LogField, LogLevel, LogSink};

use super::push::log_buffer::LogBuffer;
use crate::telemetry::{LogConfig, LogEncoding};

fn json_text(text: &str) -> String {
    let mut out = Vec::new();
    put_json_string(&mut out, text.as_bytes());
    String::from_utf8_lossy(&out).into_owned()
}

#[derive(Debug)]
struct MessageCount {
    period_start: u64,
    count: u64,
}

/// The most different messages that are counted for sampling; beyond it all counts are cleared.
const MAX_COUNTED_MESSAGES: usize = 1024;

struct State {
    outputs: Vec<Box<dyn Write + Send>>,
    counts: BTreeMap<(u8, String), MessageCount>,
    line: Vec<u8>,
}

/// The log of a collector as lines in its outputs.
pub(crate) struct LogLineWriter {
    config: LogConfig,
    /// The JSON object of the collector's own resource.
    resource: String,
    clock: fn() -> u64,
    /// Where records are pushed from.
    buffers: Vec<Arc<LogBuffer>>,
    state: Mutex<State>,
}

impl LogLineWriter {
    /// `clock` gives nanoseconds since the Unix epoch.
    pub(crate) fn new(
        config: LogConfig,
        resource: &[(String, String)],
        outputs: Vec<Box<dyn Write + Send>>,
        clock: fn() -> u64,
    ) -> Self {
        let resource = resource.iter().map(|(k, v)| format!("{}: {}", json_text(k), json_text(v)));
        let resource = format!("{{{}}}", resource.collect::<Vec<_>>().join(", "));
        Self {
            config,
            resource,
            clock,
            buffers: Vec::new(),
            state: Mutex::new(State { outputs, counts: BTreeMap::new(), line: Vec::new() }),
        }
    }

    /// The same, and records that have the level and are not left out go to `buffers` too.
    pub(crate) fn with_buffers(mut self, buffers: &[Arc<LogBuffer>]) -> Self {
        self.buffers = buffers.to_vec();
        self
    }

    fn is_sampled(&self, state: &mut State, record: &LogEntry<'_>, now: u64) -> bool {
        let Some(sampling) = self.config.sampling.get() else { return true };
        if state.counts.len() >= MAX_COUNTED_MESSAGES {
            state.counts.clear();
        }
        let counted = state
            .counts
            .entry((record.level as u8, record.message.to_owned()))
            .or_insert(MessageCount { period_start: now, count: 0 });
        if u128::from(now.saturating_sub(counted.period_start)) >= sampling.tick.as_nanos().max(1) {
            *counted = MessageCount { period_start: now, count: 0 };
        }
        counted.count += 1;
        let excess = counted.count.saturating_sub(sampling.initial);
        excess == 0 || sampling.thereafter > 0 && excess.is_multiple_of(sampling.thereafter)
    }
}

/// A log that can be replaced while components write to it.
pub(crate) struct ReplaceableLog(RwLock<Arc<dyn LogSink>>);

impl ReplaceableLog {
    pub(crate) fn new(log: Arc<dyn LogSink>) -> Arc<Self> {
        Arc::new(Self(RwLock::new(log)))
    }

    /// Writes what follows to `log`.
    pub(crate) fn replace(&self, log: Arc<dyn LogSink>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = log;
    }

    fn current(&self) -> Arc<dyn LogSink> {
        // Not under the lock: a sink of a host program may do anything.
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl LogSink for ReplaceableLog {
    fn enabled(&self, level: LogLevel) -> bool {
        self.current().enabled(level)
    }

    fn log(&self, record: &LogEntry<'_>) {
        self.current().log(record);
    }
}

impl LogSink for LogLineWriter {
    fn enabled(&self, level: LogLevel) -> bool {
        level >= self.config.level.0
    }

    fn log(&self, record: &LogEntry<'_>) {
        self.write_line(record);
    }
}

impl LogLineWriter {
    /// Writes a record that has the level. `false` where sampling leaves it out.
    fn write_line(&self, record: &LogEntry<'_>) -> bool {
        let now = (self.clock)();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_sampled(&mut state, record, now) {
            return false;
        }
        if record.level < self.config.level.0 {
            return true;
        }
        self.buffers.iter().for_each(|buffer| buffer.push(record, now));
        if state.outputs.is_empty() {
            return true;
        }
        let state = &mut *state;
        state.line.clear();
        let fields = LineFormatter { config: &self.config, resource: &self.resource, record };
        if self.config.encoding == LogEncoding::Json {
            fields.write_json(&mut state.line, now)
        } else {
            fields.write_console(&mut state.line, now)
        }
        for output in &mut state.outputs {
            // The output counts the lines that could not be written, and reports them when it can be written again.
            let _ = output.write_all(&state.line);
        }
        true
    }
}

/// The log of a collector in a host program: records go to the host's sink, and, where the configuration names
/// `output_paths`, lines go to these. The sink selects its records. The level, sampling and fields that are
/// configured apply to it too; the defaults do not.
pub(crate) struct HostLog {
    host: Arc<dyn LogSink>,
    line_writer: LogLineWriter,
}

impl HostLog {
    pub(crate) fn new(host: Arc<dyn LogSink>, line_writer: LogLineWriter) -> Self {
        Self { host, line_writer }
    }

    /// The host program's sink.
    pub(crate) fn host(&self) -> &Arc<dyn LogSink> {
        &self.host
    }

    /// Whether lines are written.
    pub(crate) fn has_outputs(&self) -> bool {
        self.line_writer.config.set_keys.output_paths
    }

    /// Sets where lines go from now on.
    pub(crate) fn set_outputs(&self, outputs: Vec<Box<dyn Write + Send>>) {
        self.line_writer.state.lock().unwrap_or_else(PoisonError::into_inner).outputs = outputs;
    }
}

impl LogSink for HostLog {
    fn enabled(&self, level: LogLevel) -> bool {
        let config = &self.line_writer.config;
        let is_level = level >= config.level.0;
        (is_level || !config.set_keys.level) && self.host.enabled(level)
            || is_level && (self.has_outputs() || !self.line_writer.buffers.is_empty())
    }

    fn log(&self, record: &LogEntry<'_>) {
        let config = &self.line_writer.config;
        // The default sampling is for lines that a person reads; a host program can sample its records itself.
        let is_sampled = self.line_writer.write_line(record) || !config.set_keys.sampling;
        if !is_sampled || config.set_keys.level && record.level < config.level.0 || !self.host.enabled(record.level) {
            return;
        }
        if config.initial_fields.0.is_empty() {
            return self.host.log(record);
        }
        let initial = config.initial_fields.0.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_field()?)));
        let fields: Vec<_> = initial.chain(record.fields.iter().copied()).collect();
        self.host.log(&LogEntry { fields: &fields, ..*record });
    }
}

struct LineFormatter<'a> {
    config: &'a LogConfig,
    resource: &'a str,
    record: &'a LogEntry<'a>,
}

impl LineFormatter<'_> {
    fn write_console(&self, out: &mut Vec<u8>, now: u64) {
        write_time(out, now);
        out.push(b'\t');
        out.extend_from_slice(self.record.level.name().as_bytes());
        out.push(b'\t');
        out.extend_from_slice(self.record.message.as_bytes());
        out.extend_from_slice(b"\t{");
        self.write_fields(out, true, ", ", ": ");
        out.extend_from_slice(b"}\n");
    }

    fn write_json(&self, out: &mut Vec<u8>, now: u64) {
        out.extend_from_slice(b"{\"level\":\"");
        out.extend_from_slice(self.record.level.name().as_bytes());
        out.extend_from_slice(b"\",\"ts\":\"");
        write_time(out, now);
        out.extend_from_slice(b"\",\"msg\":");
        put_json_string(out, self.record.message.as_bytes());
        self.write_fields(out, false, ",", ":");
        out.extend_from_slice(b"}\n");
    }

    fn write_fields(&self, out: &mut Vec<u8>, mut first: bool, comma: &str, colon: &str) {
        let mut write_key = |out: &mut Vec<u8>, name: &str| {
            if !std::mem::take(&mut first) {
                out.extend_from_slice(comma.as_bytes());
            }
            put_json_string(out, name.as_bytes());
            out.extend_from_slice(colon.as_bytes());
        };
        for (key, value) in &self.config.initial_fields.0 {
            write_key(out, key);
            value.write_json(out);
        }
        if !self.config.disable_zap_resource {
            write_key(out, "resource");
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
                write_key(out, key);
                put_json_string(out, value.as_bytes());
            }
        }
        for (key, value) in self.record.fields {
            write_key(out, key);
            match value {
                LogField::Str(text) => put_json_string(out, text.as_bytes()),
                LogField::Int(v) => out.extend_from_slice(v.to_string().as_bytes()),
                LogField::Uint(v) => out.extend_from_slice(v.to_string().as_bytes()),
                LogField::Float(v) => otelcore_pdata::text::put_double(out, *v),
                LogField::Bool(v) => out.extend_from_slice(if *v { b"true" } else { b"false" }),
            }
        }
    }
}

/// ISO 8601 with milliseconds, in UTC.
fn write_time(out: &mut Vec<u8>, unix_nanos: u64) {
    let t = UtcDateTime::from_unix_nanos(i64::try_from(unix_nanos).unwrap_or(i64::MAX));
    let (y, mo, d, h, mi, s, ms) = (t.year, t.month, t.day, t.hour, t.minute, t.second, t.nanos / 1_000_000);
    out.extend_from_slice(format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}.{ms:03}Z").as_bytes());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use otelcore_config::declare::Optional;
    use otelcore_pipeline::{LogScope, Logger};

    use super::*;
    use crate::telemetry::SamplingConfig;

    #[derive(Clone, Default)]
    struct SharedBuffer(Arc<Mutex<Vec<u8>>>);

    impl Write for SharedBuffer {
        fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(buf);
            Ok(buf.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logger(settings: LogConfig) -> (Logger, SharedBuffer) {
        let buffer = SharedBuffer::default();
        let resource = [("service.name".to_owned(), "otelcore".to_owned())];
        let lines =
            LogLineWriter::new(settings, &resource, vec![Box::new(buffer.clone())], || 1_763_829_044_802_000_000);
        (Logger::new(Arc::new(lines)), buffer)
    }

    fn text(buffer: &SharedBuffer) -> String {
        String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn console_line_has_time_level_message_and_fields() {
        let (log, page) = logger(LogConfig::default());
        let scope = LogScope { kind: "exporter", id: "debug".into(), signal: "traces", pipeline: String::new() };
        log.with_scope(scope).info("Traces", &[("spans", LogField::Uint(2)), ("q", LogField::Str("a\"b"))]);
        log.debug("unseen", &[]);
        let expected = "2025-11-22T16:30:44.802Z\tinfo\tTraces\t{\"resource\": {\"service.name\": \"otelcore\"}, \
             \"otelcol.component.id\": \"debug\", \"otelcol.component.kind\": \"exporter\", \"otelcol.signal\": \"traces\", \
             \"spans\": 2, \"q\": \"a\\\"b\"}\n";
        assert_eq!(text(&page), expected);
    }

    #[test]
    fn json_line_is_one_object() {
        let (log, page) =
            logger(LogConfig { encoding: LogEncoding::Json, disable_zap_resource: true, ..LogConfig::default() });
        log.warn("x", &[("interval", LogField::Float(1.0))]);
        let expected = "{\"level\":\"warn\",\"ts\":\"2025-11-22T16:30:44.802Z\",\"msg\":\"x\",\"interval\":1}\n";
        assert_eq!(text(&page), expected);
    }

    #[test]
    fn repeated_message_is_sampled() {
        let sampling = Optional::on(SamplingConfig { tick: Duration::from_nanos(10), initial: 2, thereafter: 3 });
        let (log, page) = logger(LogConfig { sampling, ..LogConfig::default() });
        for _ in 0..8 {
            log.info("again", &[]);
        }
        assert_eq!(text(&page).lines().count(), 2 + 2);
    }
}
