//! `service::telemetry::logs`: which records of the collector's own log are written, where and in which form.

use std::collections::BTreeMap;
use std::time::Duration;

use otelcore_config::declare::{ConfigValue, Optional, Shape};
use otelcore_config::{EffectiveValue, NodeValue, Section, config_enum, config_struct};
use otelcore_pdata::text::put_json_string;
use otelcore_pipeline::{LogField, LogLevel};

use super::push::LogProcessorConfig;

config_struct! {
    /// `service::telemetry::logs`.
    #[config(check = Self::check)]
    pub(crate) struct LogConfig {
        /// The lowest level that is written: `debug`, `info`, `warn` or `error`.
        pub(crate) level: LogLevelConfig,
        /// The form of the lines.
        pub(crate) encoding: LogEncoding,
        /// Go's development mode.
        #[config(ignored = "lines have no caller and no stack trace, which is all that it would change")]
        pub(crate) development: bool,
        /// Leaves the place in the source out.
        #[config(ignored = "lines have no caller")]
        pub(crate) disable_caller: bool,
        /// Leaves stack traces out.
        #[config(ignored = "lines have no stack trace")]
        pub(crate) disable_stacktrace: bool,
        /// Limits how many records with the same level and message are written.
        pub(crate) sampling: Optional<SamplingConfig> = Optional::on(SamplingConfig::default()),
        /// Where lines are written: `stdout`, `stderr` and paths of files.
        pub(crate) output_paths: Vec<String> = vec!["stderr".to_owned()],
        /// Where failures of the log itself are written.
        #[config(ignored = "they are written to stderr")]
        pub(crate) error_output_paths: Vec<String> = vec!["stderr".to_owned()],
        /// Fields of every line.
        pub(crate) initial_fields: InitialFieldsConfig,
        /// Where records are pushed, besides.
        pub(crate) processors: Vec<LogProcessorConfig>,
        /// Leaves the resource out of the lines.
        pub(crate) disable_zap_resource: bool,
        /// Which keys the configuration sets, in contrast to a default.
        #[config(skip)]
        pub(crate) set_keys: SetKeys,
    }
}

config_enum! {
    /// The form of the lines.
    pub(crate) enum LogEncoding {
        /// Columns for people.
        Console = "console" | "",
        /// A JSON object in each line.
        Json = "json",
    }
}

/// `level`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogLevelConfig(pub(crate) LogLevel);

impl Default for LogLevelConfig {
    fn default() -> Self {
        Self(LogLevel::Info)
    }
}

impl ConfigValue for LogLevelConfig {
    fn read(s: &mut Section<'_>, key: &str, _: &Self) -> Self {
        let name = s.str(key, "info");
        Self(parse_log_level(&name).unwrap_or_else(|| {
            s.error(key, format!("'level' unrecognized level: \"{name}\"")).help("write debug, info, warn or error");
            LogLevel::Info
        }))
    }

    fn shape(_: &Self) -> Shape {
        Shape::Str
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::Str("info".to_owned())
    }
}

/// `initial_fields`.
#[derive(Clone, Debug, Default)]
pub(crate) struct InitialFieldsConfig(pub(crate) Vec<(String, InitialValue)>);

impl ConfigValue for InitialFieldsConfig {
    fn read(s: &mut Section<'_>, key: &str, _: &Self) -> Self {
        let mut fields = s.section(key);
        let mut all = Vec::new();
        for key in fields.child_keys() {
            let value = match fields.raw_node(&key.value).map(|node| &node.value) {
                Some(NodeValue::Str(text)) => InitialValue::Text(text.to_string()),
                Some(NodeValue::Int(v)) => i64::try_from(*v).map_or(InitialValue::Float(*v as f64), InitialValue::Int),
                Some(NodeValue::Float(v)) => InitialValue::Float(*v),
                Some(NodeValue::Bool(v)) => InitialValue::Bool(*v),
                Some(NodeValue::Null | NodeValue::List(_) | NodeValue::Map(_)) | None => InitialValue::Null,
            };
            all.push((key.value.clone(), value));
        }
        fields.finish();
        Self(all)
    }

    fn shape(_: &Self) -> Shape {
        Shape::Map(Box::new(Shape::Any))
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::Map(BTreeMap::new())
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SetKeys {
    pub(crate) level: bool,
    pub(crate) encoding: bool,
    pub(crate) output_paths: bool,
    pub(crate) sampling: bool,
}

/// A value of `initial_fields`.
#[derive(Clone, Debug)]
pub(crate) enum InitialValue {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Null,
}

impl InitialValue {
    pub(crate) fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => put_json_string(out, text.as_bytes()),
            Self::Int(v) => out.extend_from_slice(v.to_string().as_bytes()),
            Self::Float(v) => out.extend_from_slice(v.to_string().as_bytes()),
            Self::Bool(v) => out.extend_from_slice(v.to_string().as_bytes()),
            Self::Null => out.extend_from_slice(b"null"),
        }
    }

    /// The value as a field of a record for the host, which can't be null.
    pub(crate) fn as_field(&self) -> Option<LogField<'_>> {
        match self {
            Self::Text(text) => Some(LogField::Str(text)),
            Self::Int(v) => Some(LogField::Int(*v)),
            Self::Float(v) => Some(LogField::Float(*v)),
            Self::Bool(v) => Some(LogField::Bool(*v)),
            Self::Null => None,
        }
    }
}

config_struct! {
    /// `sampling`: of records with the same level and message, the first `initial` ones in a period are written, then one
    /// of every `thereafter`.
    pub(crate) struct SamplingConfig {
        /// The period.
        pub(crate) tick: Duration = Duration::from_secs(10),
        /// Records that are written before sampling begins.
        pub(crate) initial: u64 = 10,
        /// After these, every n-th record is written.
        pub(crate) thereafter: u64 = 100,
    }
}

impl LogConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        let keys = ["level", "encoding", "output_paths", "sampling"];
        let [level, encoding, output_paths, sampling] = keys.map(|key| s.contains_key(key));
        self.set_keys = SetKeys { level, encoding, output_paths, sampling };
        if self.error_output_paths != ["stderr"] {
            s.warn("error_output_paths", "'error_output_paths' has no effect: failures of the log itself go to stderr");
        }
    }

    /// The key that has no effect where a host program takes the log, with what to write instead.
    pub(crate) fn key_without_effect_in_host(&self) -> Option<(&'static str, &'static str)> {
        (self.set_keys.encoding && !self.set_keys.output_paths).then_some((
            "service::telemetry::logs::encoding",
            "'encoding' has no effect: the host program takes the log as records; name 'output_paths' to have lines written too",
        ))
    }
}

/// The level of a name of zap's in upper or lower case. No record has a level above error, so `dpanic`, `panic` and
/// `fatal` are error.
pub(crate) fn parse_log_level(name: &str) -> Option<LogLevel> {
    Some(match name.to_ascii_lowercase().as_str() {
        "debug" => LogLevel::Debug,
        "info" | "" => LogLevel::Info,
        "warn" | "warning" => LogLevel::Warn,
        "error" | "dpanic" | "panic" | "fatal" => LogLevel::Error,
        _ => return None,
    })
}
