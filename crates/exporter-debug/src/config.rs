//! The `debug` section, and the `logging` section with its old keys.

use otelcore_config::declare::{ConfigValue, Optional, Shape};
use otelcore_config::{DiagnosticKind, EffectiveValue, Section, config_struct, nearest_name};
use otelcore_pipeline::QueueConfig;

/// How much of a payload is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Verbosity {
    /// One line with counts.
    #[default]
    Basic,
    /// Also a line for each span, data point or log record.
    Normal,
    /// Also every field.
    Detailed,
}

impl Verbosity {
    /// `basic`, `normal`, `detailed`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Normal => "normal",
            Self::Detailed => "detailed",
        }
    }
}

/// Read in any case. Null is `basic`, the zero value of Go's level.
impl ConfigValue for Verbosity {
    fn read(s: &mut Section<'_>, key: &str, default: &Self) -> Self {
        let absent = !s.contains_key(key);
        let written = s.opt_str(key).map(|word| word.to_lowercase());
        let level = match written.as_deref() {
            None if absent => *default,
            None | Some("basic") => Self::Basic,
            Some("normal") => Self::Normal,
            Some("detailed") => Self::Detailed,
            Some("none") => {
                s.error(key, "verbosity level \"None\" is not supported")
                    .kind(DiagnosticKind::BadValue)
                    .help("`basic` shows least; leave the exporter out of the pipeline to see nothing");
                *default
            }
            Some(other) => {
                let near =
                    nearest_name(other, ["basic", "normal", "detailed"]).map(|word| format!("did you mean `{word}`?"));
                s.error(key, format!("'verbosity' unknown metrics level {other:?}"))
                    .kind(DiagnosticKind::BadValue)
                    .maybe_help(near.or_else(|| Some("known levels are basic, normal, detailed".to_owned())));
                *default
            }
        };
        s.record(key, level.effective());
        level
    }

    fn shape(_: &Self) -> Shape {
        Shape::OneOf(vec!["basic", "normal", "detailed"])
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::Str(self.name().to_owned())
    }
}

config_struct! {
    /// Prints telemetry.
    #[config(check = Self::check)]
    pub struct DebugConfig {
        /// How much is shown: one line with counts; also a line for each span, data point or log record; also every
        /// field.
        pub verbosity: Verbosity,
        /// How many equal messages in each second are shown before sampling begins.
        pub sampling_initial: i64 = 2,
        /// After these, every n-th equal message is shown: 1 shows all, 0 none.
        pub sampling_thereafter: i64 = 1,
        /// Whether it is shown in the collector's own log.
        pub use_internal_logger: bool = true,
        /// Where it is shown without the collector's own log: `stdout`, `stderr` and paths of files. Without the key,
        /// `stdout`.
        pub output_paths: Option<Vec<String>>,
        /// The queue; retry and timeout are not supported.
        pub sending_queue: Optional<QueueConfig> = Optional::on_null(QueueConfig::default()),
    }
}

impl DebugConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        match (self.use_internal_logger, &self.output_paths) {
            (true, Some(_)) => {
                s.error("output_paths", "output_paths is not supported when use_internal_logger is true")
                    .help("write `use_internal_logger: false`, or leave `output_paths` out");
            }
            // The default only applies without the internal logger; if it were shown here, it would be refused when it
            // is read again.
            (true, None) => s.record("output_paths", EffectiveValue::Null),
            (false, Some(paths)) if paths.is_empty() => {
                s.error("output_paths", "output_paths must not be empty when use_internal_logger is false");
            }
            (false, _) => s.record("output_paths", self.outputs().unwrap_or_default().effective()),
        }
    }

    /// Where it is shown; `None` for the collector's own log.
    #[must_use]
    pub fn outputs(&self) -> Option<Vec<String>> {
        let paths = || self.output_paths.clone().unwrap_or_else(|| vec!["stdout".to_owned()]);
        (!self.use_internal_logger).then(paths)
    }
}

config_struct! {
    /// Prints telemetry. The Go collector removed `logging` in 0.111; the defaults are those of its last version.
    #[config(check = Self::check)]
    pub struct LoggingConfig {
        /// What is shown, and where.
        #[config(flatten)]
        pub debug: DebugConfig = DebugConfig { verbosity: Verbosity::Normal, sampling_thereafter: 500, ..DebugConfig::default() },
        /// The level of the messages, which is a verbosity.
        #[config(outdated = "`verbosity:`")]
        pub loglevel: Option<String>,
        /// A spelling that is used in public files.
        #[config(key = "logLevel")]
        #[config(outdated = "`verbosity:`")]
        pub log_level: Option<String>,
    }
}

impl LoggingConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        let written = [("loglevel", self.loglevel.take()), ("logLevel", self.log_level.take())];
        if let Some((key, word)) = written.into_iter().find_map(|(key, word)| Some((key, word?))) {
            self.old_level(s, key, &word);
        }
        s.diagnostics()
            .warn(s.origin(), s.path(), "the logging exporter has been deprecated, use the debug exporter instead")
            .kind(DiagnosticKind::Deprecated)
            .help(format!(
                "write `debug:` (with `verbosity: {}` and `sampling_thereafter: {}` to see the same)",
                self.debug.verbosity.name(),
                self.debug.sampling_thereafter
            ));
    }

    /// Sets the verbosity for the old `loglevel`.
    fn old_level(&mut self, s: &mut Section<'_>, key: &str, word: &str) {
        // Its value is recorded as `verbosity`; both keys together would be refused.
        s.record(key, EffectiveValue::Null);
        let level = match word.to_ascii_lowercase().as_str() {
            "debug" => Verbosity::Detailed,
            "info" | "" => Verbosity::Normal,
            "warn" | "error" | "dpanic" | "panic" | "fatal" => Verbosity::Basic,
            _ => {
                s.error(key, format!("'{key}' unrecognized level: {word:?}"))
                    .kind(DiagnosticKind::BadValue)
                    .help("write `verbosity: basic`, `normal` or `detailed` instead of `loglevel`");
                return;
            }
        };
        s.warn_deprecated(key, &format!("`verbosity: {}`", level.name()));
        if s.contains_key("verbosity") {
            s.error(key, format!("'{key}' and 'verbosity' are incompatible. Use only 'verbosity' instead"));
            return;
        }
        self.debug.verbosity = level;
        s.record("verbosity", level.effective());
    }
}
