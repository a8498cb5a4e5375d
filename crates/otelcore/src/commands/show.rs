//! Commands that only print something: `validate`, `components`, `print-config`, `featuregate`.

use std::fmt::Write as _;

use otelcore_config::{Diagnostics, FeatureGates, Severity, codes, declare, print};
use otelcore_pipeline::ComponentKind;

use super::args::{Command, Invocation, SchemaOf};
use super::{SystemSources, Terminal, check_build, explain, load, load_from, manifests, print_error};
use crate::registry::Registry;
use crate::schema;
use crate::service::BuildInfo;

/// Reads, checks and builds; opens nothing. Prints nothing when there is no mistake, unless it is to explain the configuration.
pub(super) fn validate(invocation: &Invocation, explain: bool, registry: &Registry, terminal: &mut Terminal<'_>) -> u8 {
    if invocation.config.is_empty() {
        return print_error(terminal, "at least one config flag must be provided");
    }
    let read = Diagnostics::new();
    let sources = SystemSources::new(terminal.env);
    if let Some(manifests) = manifests::read_manifests(&invocation.config, &sources, &read) {
        return manifests.validate(invocation, registry, &read, terminal);
    }
    let loaded = load_from(&sources, invocation, registry);
    let Some(plan) = &loaded.plan else {
        if !explain {
            return loaded.report_errors(terminal, "");
        }
        let _ = terminal.out.write_all(explain::explain_diagnostics(&loaded.diagnostics).as_bytes());
        return print_error(terminal, &format!("{} mistakes, above", loaded.diagnostics.count(Severity::Error)));
    };
    if explain {
        let description = plan.describe("otelcore", "");
        let text = explain::draw_pipelines(&description) + &explain::explain_diagnostics(&loaded.diagnostics);
        let _ = terminal.out.write_all(text.as_bytes());
    } else {
        loaded.report_warnings(terminal);
    }
    if let Err(e) = check_build(plan) {
        return print_error(terminal, &e.to_string());
    }
    // A file that does not exist on this machine may exist where the collector runs.
    let errors = plan.check_files(&|path| otelcore_reactor::read_file(path).ok());
    errors.iter().map(|why| print_error(terminal, why)).max().unwrap_or(0)
}

/// Prints the configuration with every default filled in.
pub(super) fn print_config(invocation: &Invocation, registry: &Registry, terminal: &mut Terminal<'_>) -> u8 {
    let Command::PrintConfig { redact, json, validate, annotate } = invocation.command else { return 1 };
    if annotate && json {
        return print_error(terminal, "--annotate writes comments, which JSON does not have: leave out --format=json");
    }
    let loaded = load(invocation, registry, terminal.env);
    let Some(plan) = &loaded.plan else {
        return loaded.report_errors(terminal, if validate { "invalid configuration: " } else { "" });
    };
    loaded.report_warnings(terminal);
    if let Some(root) = loaded.root.as_ref().filter(|_| annotate) {
        let text = otelcore_config::to_annotated_yaml(
            plan.effective(),
            &otelcore_config::ValueOrigins::of(root),
            redact,
            usize::MAX,
        )
        .unwrap_or_default();
        let _ = terminal.out.write_all(text.as_bytes());
        return 0;
    }
    let text = if json { print::to_json(plan.effective(), redact) } else { print::to_yaml(plan.effective(), redact) };
    let _ = terminal.out.write_all(text.as_bytes());
    0
}

/// Prints the JSON Schema of every component, or of whole configurations.
pub(super) fn schema(registry: &Registry, what: SchemaOf, terminal: &mut Terminal<'_>) -> u8 {
    let schema = match what {
        SchemaOf::Components => schema::of_components(registry),
        SchemaOf::Configuration => schema::of_configuration(registry),
    };
    let _ = terminal.out.write_all(print::to_json(&schema, false).as_bytes());
    0
}

/// Prints the components that are built in.
pub(super) fn print_components(registry: &Registry, build_info: &BuildInfo, terminal: &mut Terminal<'_>) -> u8 {
    let mut out = format!(
        "buildinfo:\n    command: {}\n    description: A small OpenTelemetry Collector\n    version: {}\n",
        build_info.command, build_info.version
    );
    for (kind, name) in [
        (ComponentKind::Receiver, "receivers"),
        (ComponentKind::Processor, "processors"),
        (ComponentKind::Exporter, "exporters"),
        (ComponentKind::Connector, "connectors"),
        (ComponentKind::Extension, "extensions"),
    ] {
        let factories = registry.all_of_kind(kind);
        let _ = writeln!(out, "{name}:{}", if factories.is_empty() { " []" } else { "" });
        for factory in factories {
            let about = factory.info();
            let module = format!("otelcore {}", build_info.version);
            let _ = writeln!(out, "    - name: {}\n      module: {module}\n      stability:", about.type_name);
            if about.signals.is_empty() {
                let _ = writeln!(out, "        extension: {}", about.stability);
            }
            let mut signals: Vec<String> = match kind {
                ComponentKind::Connector => {
                    factory.signal_pairs().iter().map(|(from, to)| format!("{from}-to-{to}")).collect()
                }
                _ => about.signals.iter().map(|signal| signal.name().to_owned()).collect(),
            };
            signals.sort_unstable();
            for signal in signals {
                let _ = writeln!(out, "        {signal}: {}", about.stability);
            }
        }
    }
    out.push_str("providers:\n    - scheme: env\n    - scheme: file\n    - scheme: k8s\n    - scheme: yaml\n");
    let _ = terminal.out.write_all(out.as_bytes());
    0
}

/// Prints every component of a type, `TYPE` or `KIND/TYPE`, with its keys.
pub(super) fn print_component(type_name: &str, registry: &Registry, terminal: &mut Terminal<'_>) -> u8 {
    let (wanted_kind, name) = match type_name.split_once('/') {
        Some((kind, name)) => (Some(kind.trim_end_matches('s')), name),
        None => (None, type_name),
    };
    let kinds = [
        ComponentKind::Receiver,
        ComponentKind::Processor,
        ComponentKind::Exporter,
        ComponentKind::Connector,
        ComponentKind::Extension,
    ];
    let mut out = String::new();
    for kind in kinds.into_iter().filter(|kind| wanted_kind.is_none_or(|wanted| wanted == kind.name())) {
        let Some(factory) = registry.get(kind, name) else { continue };
        let (info, description) = (factory.info(), factory.description());
        let doc = description.as_ref().map_or("", |description| description.doc.as_str());
        let separator = if out.is_empty() { "" } else { "\n" };
        let _ = writeln!(out, "{separator}{} {}: {doc}\n", kind.name(), info.type_name);
        let mut signals: Vec<String> = match kind {
            ComponentKind::Connector => {
                factory.signal_pairs().iter().map(|(from, to)| format!("{from} to {to}")).collect()
            }
            _ => info.signals.iter().map(|signal| signal.name().to_owned()).collect(),
        };
        signals.sort_unstable();
        let _ = writeln!(out, "Stability: {}", info.stability);
        for (name, list) in [("Signals", signals.join(", ")), ("Older names", info.aliases.join(", "))] {
            if !list.is_empty() {
                let _ = writeln!(out, "{name}: {list}");
            }
        }
        let keys = description.map(|description| declare::plain_text(&description.fields)).unwrap_or_default();
        let _ = writeln!(out, "Keys:{}", if keys.is_empty() { " none" } else { "" });
        out.push_str(&keys);
    }
    if out.is_empty() {
        let names = registry.type_names();
        let nearest = otelcore_config::nearest_name(name, names.iter().map(String::as_str));
        let suggestion = nearest.map_or_else(String::new, |name| format!(" (did you mean {name:?}?)"));
        return print_error(terminal, &format!("unknown type of component {type_name:?}{suggestion}"));
    }
    let _ = terminal.out.write_all(out.as_bytes());
    0
}

/// Prints what a code means, or all codes.
pub(super) fn explain(code: Option<&str>, terminal: &mut Terminal<'_>) -> u8 {
    let text = match code {
        None => codes::CODES.iter().map(|code| format!("{}  {}\n", code.id, code.title)).collect(),
        Some(id) => match codes::find(id) {
            Some(code) => code.markdown().trim_start_matches("## ").to_owned(),
            None => return print_error(terminal, &format!("unknown code {id:?}: `explain` without a code lists all")),
        },
    };
    let _ = terminal.out.write_all(text.as_bytes());
    0
}

/// Prints the feature gates, or one of them.
pub(super) fn print_feature_gates(id: Option<&str>, terminal: &mut Terminal<'_>) -> u8 {
    let gates = FeatureGates::default();
    let mut out = String::new();
    match id {
        None => {
            let _ = writeln!(out, "{:<48} {:<8} {:<11} Description", "ID", "Enabled", "Stage");
            for (gate, enabled) in gates.iter() {
                let stage = format!("{:?}", gate.stage);
                let _ = writeln!(out, "{:<48} {enabled:<8} {stage:<11} {}", gate.id, gate.description);
            }
        }
        Some(id) => {
            let Some((gate, enabled)) = gates.iter().find(|(gate, _)| gate.id == id) else {
                return print_error(terminal, &format!("feature {id:?} not found"));
            };
            let _ = writeln!(
                out,
                "Feature: {}\nEnabled: {enabled}\nStage: {:?}\nDescription: {}",
                gate.id, gate.stage, gate.description
            );
        }
    }
    let _ = terminal.out.write_all(out.as_bytes());
    0
}
