//! Tests of the settings in the sections, and of the diagnostics for them.

use std::any::Any;

use otelcore_config::{Diagnostics, Effective, Section, Severity, from_yaml};
use otelcore_pipeline::{Factory, QueueSettings, Settings};

use crate::{Debug, DebugFactory, LoggingFactory, Verbosity};

/// The settings, and each diagnostic as `severity line:column message`.
fn read(factory: &dyn Factory, yaml: &str) -> (Debug, Vec<String>) {
    let d = Diagnostics::new();
    let node = from_yaml(yaml, &d);
    let name = factory.about().type_name;
    let section = Section::new(node.as_ref(), &format!("exporters::{name}"), &d);
    let settings: Box<dyn Settings> = factory.parse(&name.parse().unwrap(), section).unwrap();
    let settings: Box<dyn Any> = settings;
    let said = d.items().into_iter().map(|i| {
        let severity = if i.severity == Severity::Error { "error" } else { "warning" };
        let place = i.origin.map(|o| format!(" {}:{}", o.line, o.column)).unwrap_or_default();
        format!("{severity}{place} {}: {}", i.path, i.message)
    });
    (*settings.downcast().unwrap(), said.collect())
}

fn debug(yaml: &str) -> (Debug, Vec<String>) {
    read(&DebugFactory, yaml)
}

fn quiet(yaml: &str) -> Debug {
    let (settings, said) = debug(yaml);
    assert_eq!(said, [""; 0], "{yaml}");
    settings
}

fn messages(yaml: &str) -> Vec<String> {
    debug(yaml).1
}

#[test]
fn an_empty_debug_section_has_the_defaults_of_the_go_collector() {
    let settings = quiet("{}");
    assert_eq!(settings.verbosity, Verbosity::Basic);
    assert_eq!((settings.sampling_initial, settings.sampling_thereafter), (2, 1));
    assert_eq!(settings.output_paths, None);
    assert!(!settings.sending.queue.enabled && !settings.sending.retry.enabled);
    assert!(settings.sending.timeout.is_zero());
}

#[test]
fn verbosity_is_read_in_any_case_and_null_is_basic() {
    assert_eq!(quiet("verbosity: Detailed").verbosity, Verbosity::Detailed);
    assert_eq!(quiet("verbosity: NORMAL").verbosity, Verbosity::Normal);
    assert_eq!(quiet("verbosity: basic").verbosity, Verbosity::Basic);
    assert_eq!(quiet("verbosity:").verbosity, Verbosity::Basic);
}

#[test]
fn a_wrong_verbosity_is_refused_in_the_words_of_the_go_collector() {
    let path = "exporters::debug::verbosity";
    let unknown = format!("error 1:12 {path}: 'verbosity' unknown metrics level \"foo\"");
    assert_eq!(messages("verbosity: Foo"), [unknown]);
    let none = format!("error 1:12 {path}: verbosity level \"None\" is not supported");
    assert_eq!(messages("verbosity: none"), [none]);
}

#[test]
fn output_paths_belong_to_the_exporters_own_writer() {
    let path = "exporters::debug::output_paths";
    let stray = format!("error 1:15 {path}: output_paths is not supported when use_internal_logger is true");
    for paths in ["[stderr]", "[]"] {
        assert_eq!(messages(&format!("output_paths: {paths}")), std::slice::from_ref(&stray));
    }
    assert_eq!(quiet("output_paths: null").output_paths, None);

    let empty = "output_paths must not be empty when use_internal_logger is false";
    assert_eq!(messages("output_paths: []\nuse_internal_logger: false"), [format!("error 1:15 {path}: {empty}")]);
    let stdout = Some(vec!["stdout".to_owned()]);
    assert_eq!(quiet("use_internal_logger: false").output_paths, stdout);
    assert_eq!(quiet("use_internal_logger: false\noutput_paths:").output_paths, stdout);
    let two = quiet("use_internal_logger: false\noutput_paths: [stderr, /var/log/x]").output_paths;
    assert_eq!(two, Some(vec!["stderr".to_owned(), "/var/log/x".to_owned()]));
}

#[test]
fn a_sending_queue_is_there_when_it_is_written() {
    let on = QueueSettings::on();
    assert_eq!(quiet("sending_queue:").sending.queue, on);
    let queue = quiet("sending_queue: {queue_size: 3}").sending.queue;
    assert_eq!(queue, QueueSettings { queue_size: 3, ..on });
    assert!(!quiet("sending_queue: {enabled: false}").sending.queue.enabled);
    let wrong = messages("sending_queue: {queue_size: 0}");
    assert_eq!(wrong, ["error 1:29 exporters::debug::sending_queue::queue_size: `queue_size` must be positive"]);
}

#[test]
fn what_is_not_an_option_is_named() {
    let unknown = "error 1:1 exporters::debug::loglevel: 'exporters::debug' has invalid keys: loglevel";
    assert_eq!(messages("loglevel: debug"), [unknown]);
}

#[test]
fn what_print_config_shows_can_be_read_again() {
    let d = Diagnostics::new();
    let node = from_yaml("loglevel: debug", &d);
    let section = Section::new(node.as_ref(), "exporters::logging", &d);
    let recorder = section.recorder();
    assert!(LoggingFactory.parse(&"logging".parse().unwrap(), section).is_some());
    let Effective::Map(shown) = recorder.snapshot() else { panic!("a section is a map") };
    let get = |key| shown.iter().find(|(k, _)| *k == key).map(|(_, v)| v.clone());
    assert_eq!(get("verbosity"), Some(Effective::Str("detailed".to_owned())));
    assert_eq!(get("loglevel"), Some(Effective::Null), "or it would contradict the verbosity");
    assert_eq!(get("output_paths"), Some(Effective::Null), "or it would contradict the internal logger");
}

const OLD: &str =
    "warning 1:1 exporters::logging: the logging exporter has been deprecated, use the debug exporter instead";

#[test]
fn logging_is_debug_with_its_old_defaults_and_a_warning() {
    let (settings, said) = read(&LoggingFactory, "sampling_initial: 5");
    assert_eq!(settings.verbosity, Verbosity::Normal);
    assert_eq!((settings.sampling_initial, settings.sampling_thereafter), (5, 500));
    assert_eq!(said, [OLD]);
    let (settings, said) = read(&LoggingFactory, "verbosity: detailed\nsampling_thereafter: 1");
    assert_eq!((settings.verbosity, settings.sampling_thereafter), (Verbosity::Detailed, 1));
    assert_eq!(said, [OLD]);
}

#[test]
fn loglevel_is_an_old_word_for_verbosity() {
    for (level, verbosity) in [
        ("debug", Verbosity::Detailed),
        ("DEBUG", Verbosity::Detailed),
        ("info", Verbosity::Normal),
        ("warn", Verbosity::Basic),
        ("error", Verbosity::Basic),
    ] {
        let d = Diagnostics::new();
        let yaml = format!("loglevel: {level}");
        let (settings, said) = read(&LoggingFactory, &yaml);
        assert_eq!(settings.verbosity, verbosity);
        let old = "warning 1:1 exporters::logging::loglevel: 'loglevel' is deprecated";
        assert!(said.iter().any(|s| s == OLD) && said.iter().any(|s| s == old) && said.len() == 2, "{said:?}");
        let node = from_yaml(&yaml, &d);
        let _ =
            LoggingFactory.parse(&"logging".parse().unwrap(), Section::new(node.as_ref(), "exporters::logging", &d));
        let help: Vec<_> = d.items().into_iter().filter_map(|i| i.help).collect();
        assert!(help.contains(&format!("write `verbosity: {}`", verbosity.name())), "{help:?}");
    }
}

#[test]
fn loglevel_and_verbosity_contradict_each_other() {
    let (_, said) = read(&LoggingFactory, "verbosity: basic\nloglevel: debug");
    let both = "error 2:11 exporters::logging::loglevel: \
                'loglevel' and 'verbosity' are incompatible. Use only 'verbosity' instead";
    assert!(said.iter().any(|s| s == both), "{said:?}");
    let (_, said) = read(&LoggingFactory, "loglevel: loud");
    let unknown = "error 1:11 exporters::logging::loglevel: 'loglevel' unrecognized level: \"loud\"";
    assert!(said.iter().any(|s| s == unknown), "{said:?}");
}
