//! Commands that only print something: `validate`, `components`, `print-config`, `featuregate`.

use std::fmt::Write as _;

use otelcore_config::{Diagnostics, Gates, print};
use otelcore_pipeline::{Kind, StartError};

use super::args::{Command, Invocation};
use super::{Machine, Terminal, fail, load, load_from, manifests};
use crate::plan::Plan;
use crate::registry::Registry;
use crate::service::{Collector, Identity};

/// Reads, checks and builds; opens nothing. Prints nothing when there is no mistake.
pub(super) fn validate(invocation: &Invocation, registry: &Registry, terminal: &mut Terminal<'_>) -> u8 {
    if invocation.config.is_empty() {
        return fail(terminal, "at least one config flag must be provided");
    }
    let read = Diagnostics::new();
    let machine = Machine::new(terminal.env);
    if let Some(manifests) = manifests::read(&invocation.config, &machine, &read) {
        return manifests.validate(invocation, registry, &read, terminal);
    }
    let loaded = load_from(&machine, invocation, registry);
    let Some(plan) = &loaded.plan else { return loaded.report(terminal, "") };
    loaded.warnings(terminal);
    if let Err(e) = build(plan) {
        return fail(terminal, &e.to_string());
    }
    // A file that does not exist on this machine may exist where the collector runs.
    let wrong = plan.check_files(&|path| otelcore_reactor::read_file(path).ok());
    wrong.iter().map(|why| fail(terminal, why)).max().unwrap_or(0)
}

/// Builds what a plan describes, and opens nothing.
pub(super) fn build(plan: &Plan) -> Result<(), StartError> {
    let log = std::sync::Arc::new(otelcore_pipeline::NoLog);
    Collector::with_log(plan.clone(), Identity::default(), log).graph().map(|_| ())
}

/// Prints the configuration with every default filled in.
pub(super) fn print_config(invocation: &Invocation, registry: &Registry, terminal: &mut Terminal<'_>) -> u8 {
    let Command::PrintConfig { redact, json, validate } = invocation.command else { return 1 };
    let loaded = load(invocation, registry, terminal.env);
    let Some(plan) = &loaded.plan else {
        return loaded.report(terminal, if validate { "invalid configuration: " } else { "" });
    };
    loaded.warnings(terminal);
    let text = if json { print::json(plan.effective(), redact) } else { print::yaml(plan.effective(), redact) };
    let _ = terminal.out.write_all(text.as_bytes());
    0
}

/// Prints the components that are built in.
pub(super) fn components(registry: &Registry, identity: &Identity, terminal: &mut Terminal<'_>) -> u8 {
    let mut out = format!(
        "buildinfo:\n    command: {}\n    description: A small OpenTelemetry Collector\n    version: {}\n",
        identity.command, identity.version
    );
    for (kind, name) in [
        (Kind::Receiver, "receivers"),
        (Kind::Processor, "processors"),
        (Kind::Exporter, "exporters"),
        (Kind::Extension, "extensions"),
    ] {
        let _ = writeln!(out, "{name}:");
        for factory in registry.of(kind) {
            let about = factory.about();
            let module = format!("otelcore {}", identity.version);
            let _ = writeln!(out, "    - name: {}\n      module: {module}\n      stability:", about.type_name);
            if about.signals.is_empty() {
                let _ = writeln!(out, "        extension: {}", about.stability);
            }
            let mut signals: Vec<_> = about.signals.iter().map(|s| s.name()).collect();
            signals.sort_unstable();
            for signal in signals {
                let _ = writeln!(out, "        {signal}: {}", about.stability);
            }
        }
        if name == "exporters" {
            out.push_str("connectors: []\n");
        }
    }
    out.push_str("providers:\n    - scheme: env\n    - scheme: file\n    - scheme: k8s\n    - scheme: yaml\n");
    let _ = terminal.out.write_all(out.as_bytes());
    0
}

/// Prints the feature gates, or one of them.
pub(super) fn feature_gates(id: Option<&str>, terminal: &mut Terminal<'_>) -> u8 {
    let gates = Gates::default();
    let mut out = String::new();
    match id {
        None => {
            let _ = writeln!(out, "{:<48} {:<8} {:<11} Description", "ID", "Enabled", "Stage");
            for (gate, enabled) in gates.list() {
                let stage = format!("{:?}", gate.stage);
                let _ = writeln!(out, "{:<48} {enabled:<8} {stage:<11} {}", gate.id, gate.description);
            }
        }
        Some(id) => {
            let Some((gate, enabled)) = gates.list().find(|(gate, _)| gate.id == id) else {
                return fail(terminal, &format!("feature {id:?} not found"));
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
