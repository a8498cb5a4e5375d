//! The `debug` section, and the `logging` section with its old keys.

use otelcore_config::{
    ComponentId, DiagnosticKind as Mistake, EffectiveValue, NodeValue, OptionalFlavor, Section, nearest_name,
};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    BuildContext, Component, ComponentConfig, ComponentInfo, ComponentKind, ExporterQueueConfig, Factory, QueueConfig,
    StartError,
};

use crate::exporter::DebugExporter;

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

/// Configuration of a `debug` or `logging` exporter.
#[derive(Clone, Debug)]
pub struct DebugConfig {
    /// How much is shown.
    pub verbosity: Verbosity,
    /// How many equal messages in each second are shown before sampling begins.
    pub sampling_initial: i64,
    /// After these, every n-th equal message is shown: 1 shows all, 0 none.
    pub sampling_thereafter: i64,
    /// Where it is shown: `None` is the collector's own log, else `stdout`, `stderr` and paths of files.
    pub output_paths: Option<Vec<String>>,
    /// The queue; retry and timeout are not supported.
    pub exporter_queue: ExporterQueueConfig,
}

impl ComponentConfig for DebugConfig {
    fn create(&self, context: &BuildContext<'_>) -> Result<Component, StartError> {
        Ok(Component::Exporter(Box::new(DebugExporter::new(self, &context.log)), self.exporter_queue.clone()))
    }
}

/// The values of settings that are absent.
struct DebugDefaults {
    verbosity: Verbosity,
    sampling_thereafter: i64,
}

fn parse_config(s: &mut Section<'_>, defaults: &DebugDefaults) -> DebugConfig {
    let verbosity = parse_verbosity(s, defaults.verbosity);
    let sampling_initial = s.int("sampling_initial", 2);
    let sampling_thereafter = s.int("sampling_thereafter", defaults.sampling_thereafter);
    let uses_internal_logger = s.bool("use_internal_logger", true);
    let output_paths = parse_output_paths(s, uses_internal_logger);
    let queue = QueueConfig::parse(s.optional_section("sending_queue", OptionalFlavor::Default));
    let sending = ExporterQueueConfig { queue, ..ExporterQueueConfig::without_queue() };
    DebugConfig { verbosity, sampling_initial, sampling_thereafter, output_paths, exporter_queue: sending }
}

/// Null is `basic`, the zero value of Go's level.
fn parse_verbosity(s: &mut Section<'_>, default: Verbosity) -> Verbosity {
    let is_absent = !s.contains_key("verbosity");
    let value = s.opt_str("verbosity").map(|word| word.to_lowercase());
    let level = match value.as_deref() {
        None if is_absent => default,
        None | Some("basic") => Verbosity::Basic,
        Some("normal") => Verbosity::Normal,
        Some("detailed") => Verbosity::Detailed,
        Some("none") => {
            s.error("verbosity", "verbosity level \"None\" is not supported")
                .kind(Mistake::BadValue)
                .help("`basic` shows least; leave the exporter out of the pipeline to see nothing");
            default
        }
        Some(other) => {
            let nearest_name =
                nearest_name(other, ["basic", "normal", "detailed"]).map(|word| format!("did you mean `{word}`?"));
            s.error("verbosity", format!("'verbosity' unknown metrics level {other:?}"))
                .kind(Mistake::BadValue)
                .maybe_help(nearest_name.or_else(|| Some("known levels are basic, normal, detailed".to_owned())));
            default
        }
    };
    s.record("verbosity", EffectiveValue::Str(level.name().to_owned()));
    level
}

/// `None` for the collector's own log.
fn parse_output_paths(s: &mut Section<'_>, uses_internal_logger: bool) -> Option<Vec<String>> {
    let is_written = s.raw_node("output_paths").is_some_and(|node| node.value != NodeValue::Null);
    let paths = s.str_list("output_paths", &["stdout"]);
    match (uses_internal_logger, is_written) {
        (true, true) => {
            s.error("output_paths", "output_paths is not supported when use_internal_logger is true")
                .help("write `use_internal_logger: false`, or leave `output_paths` out");
            None
        }
        (true, false) => {
            // The default only applies without the internal logger; if it were shown here, it would be refused when it
            // is read again.
            s.record("output_paths", EffectiveValue::Null);
            None
        }
        (false, _) => {
            if paths.is_empty() {
                s.error("output_paths", "output_paths must not be empty when use_internal_logger is false");
            }
            Some(paths)
        }
    }
}

/// Creates `debug` exporters.
#[derive(Debug)]
pub struct DebugFactory;

impl Factory for DebugFactory {
    fn info(&self) -> ComponentInfo {
        ComponentInfo {
            kind: ComponentKind::Exporter,
            type_name: "debug",
            aliases: &[],
            signals: &Signal::ALL,
            stability: "Alpha",
        }
    }

    fn parse(&self, _: &ComponentId, mut s: Section<'_>) -> Option<Box<dyn ComponentConfig>> {
        let config = parse_config(&mut s, &DebugDefaults { verbosity: Verbosity::Basic, sampling_thereafter: 1 });
        s.finish();
        Some(Box::new(config))
    }
}

/// Creates `debug` exporters from `logging` sections. The Go collector removed `logging` in 0.111; the defaults are
/// those of its last version.
#[derive(Debug)]
pub struct LoggingFactory;

impl Factory for LoggingFactory {
    fn info(&self) -> ComponentInfo {
        ComponentInfo {
            kind: ComponentKind::Exporter,
            type_name: "logging",
            aliases: &[],
            signals: &Signal::ALL,
            stability: "Deprecated",
        }
    }

    fn parse(&self, _: &ComponentId, mut s: Section<'_>) -> Option<Box<dyn ComponentConfig>> {
        let verbosity = parse_loglevel(&mut s);
        let config = parse_config(&mut s, &DebugDefaults { verbosity, sampling_thereafter: 500 });
        s.diagnostics()
            .warn(s.origin(), s.path(), "the logging exporter has been deprecated, use the debug exporter instead")
            .kind(Mistake::Deprecated)
            .help(format!(
                "write `debug:` (with `verbosity: {}` and `sampling_thereafter: {}` to see the same)",
                config.verbosity.name(),
                config.sampling_thereafter
            ));
        s.finish();
        Some(Box::new(config))
    }
}

/// The verbosity for the old `loglevel`; that of `info` if it is not written.
fn parse_loglevel(s: &mut Section<'_>) -> Verbosity {
    // Both spellings are used in public files; the Go collector only ever supported the first.
    let key = if s.contains_key("loglevel") || !s.contains_key("logLevel") { "loglevel" } else { "logLevel" };
    let value = s.opt_str(key);
    // Its value is recorded as `verbosity`; both keys together would be refused.
    s.record(key, EffectiveValue::Null);
    let Some(word) = value else { return Verbosity::Normal };
    let level = match word.to_ascii_lowercase().as_str() {
        "debug" => Verbosity::Detailed,
        "info" | "" => Verbosity::Normal,
        "warn" | "error" | "dpanic" | "panic" | "fatal" => Verbosity::Basic,
        _ => {
            s.error(key, format!("'{key}' unrecognized level: {word:?}"))
                .kind(Mistake::BadValue)
                .help("write `verbosity: basic`, `normal` or `detailed` instead of `loglevel`");
            return Verbosity::Normal;
        }
    };
    s.warn_deprecated(key, &format!("`verbosity: {}`", level.name()));
    if s.contains_key("verbosity") {
        s.error(key, format!("'{key}' and 'verbosity' are incompatible. Use only 'verbosity' instead"));
    }
    level
}
