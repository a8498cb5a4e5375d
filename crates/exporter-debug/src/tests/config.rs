//! Tests of how the sections are parsed, and of the diagnostics for them.

use otelcore_config::declare::{Config, Optional};
use otelcore_config::{Diagnostics, EffectiveValue, Section, Severity, from_yaml};
use otelcore_pipeline::{Factory, QueueConfig};

use crate::{DebugConfig, LoggingConfig, LoggingFactory, Verbosity};

/// The configuration, and each diagnostic as `severity line:column message`.
fn parse_section<T: Config>(name: &str, yaml: &str) -> (T, Vec<String>) {
    let d = Diagnostics::new();
    let node = from_yaml(yaml, &d);
    let section = Section::new(node.as_ref(), &format!("exporters::{name}"), &d);
    let config = T::read_section(section, &T::default());
    let messages = d.items().into_iter().map(|i| {
        let severity = if i.severity == Severity::Error { "error" } else { "warning" };
        let position = i.origin.map(|o| format!(" {}:{}", o.line, o.column)).unwrap_or_default();
        format!("{severity}{position} {}: {}", i.path, i.message)
    });
    (config, messages.collect())
}

fn parse_debug(yaml: &str) -> (DebugConfig, Vec<String>) {
    parse_section("debug", yaml)
}

fn parse_logging(yaml: &str) -> (DebugConfig, Vec<String>) {
    let (config, messages) = parse_section::<LoggingConfig>("logging", yaml);
    (config.debug, messages)
}

fn parse_without_messages(yaml: &str) -> DebugConfig {
    let (settings, messages) = parse_debug(yaml);
    assert_eq!(messages, [""; 0], "{yaml}");
    settings
}

fn parse_messages(yaml: &str) -> Vec<String> {
    parse_debug(yaml).1
}

#[test]
fn empty_debug_section_has_the_defaults_of_the_go_collector() {
    let config = parse_without_messages("{}");
    assert_eq!(config.verbosity, Verbosity::Basic);
    assert_eq!((config.sampling_initial, config.sampling_thereafter), (2, 1));
    assert_eq!(config.outputs(), None);
    assert!(!config.sending_queue.is_on());
}

#[test]
fn verbosity_in_any_case_is_accepted_and_null_is_basic() {
    assert_eq!(parse_without_messages("verbosity: Detailed").verbosity, Verbosity::Detailed);
    assert_eq!(parse_without_messages("verbosity: NORMAL").verbosity, Verbosity::Normal);
    assert_eq!(parse_without_messages("verbosity: basic").verbosity, Verbosity::Basic);
    assert_eq!(parse_without_messages("verbosity:").verbosity, Verbosity::Basic);
}

#[test]
fn unknown_verbosity_is_refused_as_in_the_go_collector() {
    let path = "exporters::debug::verbosity";
    let unknown = format!("error 1:12 {path}: 'verbosity' unknown metrics level \"foo\"");
    assert_eq!(parse_messages("verbosity: Foo"), [unknown]);
    let none = format!("error 1:12 {path}: verbosity level \"None\" is not supported");
    assert_eq!(parse_messages("verbosity: none"), [none]);
}

#[test]
fn output_paths_with_the_internal_logger_are_refused() {
    let path = "exporters::debug::output_paths";
    let not_supported = format!("error 1:15 {path}: output_paths is not supported when use_internal_logger is true");
    for paths in ["[stderr]", "[]"] {
        assert_eq!(parse_messages(&format!("output_paths: {paths}")), std::slice::from_ref(&not_supported));
    }
    assert_eq!(parse_without_messages("output_paths: null").outputs(), None);

    let empty = "output_paths must not be empty when use_internal_logger is false";
    assert_eq!(parse_messages("output_paths: []\nuse_internal_logger: false"), [format!("error 1:15 {path}: {empty}")]);
    let stdout = Some(vec!["stdout".to_owned()]);
    assert_eq!(parse_without_messages("use_internal_logger: false").outputs(), stdout);
    assert_eq!(parse_without_messages("use_internal_logger: false\noutput_paths:").outputs(), stdout);
    let two = parse_without_messages("use_internal_logger: false\noutput_paths: [stderr, /var/log/x]").outputs();
    assert_eq!(two, Some(vec!["stderr".to_owned(), "/var/log/x".to_owned()]));
}

#[test]
fn sending_queue_that_is_written_is_enabled() {
    let default_queue = QueueConfig::default();
    assert_eq!(parse_without_messages("sending_queue:").sending_queue, Optional::on(default_queue.clone()));
    let queue = parse_without_messages("sending_queue: {queue_size: 3}").sending_queue;
    assert_eq!(queue, Optional::on(QueueConfig { queue_size: 3, ..default_queue }));
    assert!(!parse_without_messages("sending_queue: {enabled: false}").sending_queue.is_on());
    let messages = parse_messages("sending_queue: {queue_size: 0}");
    assert_eq!(messages, ["error 1:29 exporters::debug::sending_queue::queue_size: `queue_size` must be positive"]);
}

#[test]
fn unknown_key_is_reported() {
    let unknown = "error 1:1 exporters::debug::loglevel: 'exporters::debug' has invalid keys: loglevel";
    assert_eq!(parse_messages("loglevel: debug"), [unknown]);
}

#[test]
fn effective_config_of_logging_can_be_parsed_again() {
    let d = Diagnostics::new();
    let node = from_yaml("loglevel: debug", &d);
    let section = Section::new(node.as_ref(), "exporters::logging", &d);
    let recorder = section.recorder();
    assert!(LoggingFactory.parse(&"logging".parse().unwrap(), section).is_some());
    let EffectiveValue::Map(shown) = recorder.snapshot() else { panic!("a section is a map") };
    let get = |key| shown.iter().find(|(k, _)| *k == key).map(|(_, v)| v.clone());
    assert_eq!(get("verbosity"), Some(EffectiveValue::Str("detailed".to_owned())));
    assert_eq!(get("loglevel"), Some(EffectiveValue::Null), "or it would contradict the verbosity");
    assert_eq!(get("output_paths"), Some(EffectiveValue::Null), "or it would contradict the internal logger");
}

const DEPRECATION_WARNING: &str =
    "warning 1:1 exporters::logging: the logging exporter has been deprecated, use the debug exporter instead";

#[test]
fn logging_section_has_its_old_defaults_and_a_warning() {
    let (config, messages) = parse_logging("sampling_initial: 5");
    assert_eq!(config.verbosity, Verbosity::Normal);
    assert_eq!((config.sampling_initial, config.sampling_thereafter), (5, 500));
    assert_eq!(messages, [DEPRECATION_WARNING]);
    let (config, messages) = parse_logging("verbosity: detailed\nsampling_thereafter: 1");
    assert_eq!((config.verbosity, config.sampling_thereafter), (Verbosity::Detailed, 1));
    assert_eq!(messages, [DEPRECATION_WARNING]);
}

#[test]
fn loglevel_in_a_logging_section_sets_the_verbosity() {
    for (level, verbosity) in [
        ("debug", Verbosity::Detailed),
        ("DEBUG", Verbosity::Detailed),
        ("info", Verbosity::Normal),
        ("warn", Verbosity::Basic),
        ("error", Verbosity::Basic),
    ] {
        let d = Diagnostics::new();
        let yaml = format!("loglevel: {level}");
        let (config, messages) = parse_logging(&yaml);
        assert_eq!(config.verbosity, verbosity);
        let old = "warning 1:1 exporters::logging::loglevel: 'loglevel' is deprecated";
        assert!(
            messages.iter().any(|s| s == DEPRECATION_WARNING)
                && messages.iter().any(|s| s == old)
                && messages.len() == 2,
            "{messages:?}"
        );
        let node = from_yaml(&yaml, &d);
        let _ =
            LoggingFactory.parse(&"logging".parse().unwrap(), Section::new(node.as_ref(), "exporters::logging", &d));
        let help: Vec<_> = d.items().into_iter().filter_map(|i| i.help).collect();
        assert!(help.contains(&format!("write `verbosity: {}`", verbosity.name())), "{help:?}");
    }
}

#[test]
fn loglevel_with_verbosity_or_unknown_is_refused() {
    let (_, messages) = parse_logging("verbosity: basic\nloglevel: debug");
    let both = "error 2:11 exporters::logging::loglevel: \
                'loglevel' and 'verbosity' are incompatible. Use only 'verbosity' instead";
    assert!(messages.iter().any(|s| s == both), "{messages:?}");
    let (_, messages) = parse_logging("loglevel: loud");
    let unknown = "error 1:11 exporters::logging::loglevel: 'loglevel' unrecognized level: \"loud\"";
    assert!(messages.iter().any(|s| s == unknown), "{messages:?}");
}
