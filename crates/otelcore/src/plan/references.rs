//! Checks that the components which pipelines and the service name are configured, and support the signal.

use std::collections::BTreeSet;

use otelcore_config::{ComponentId, DiagnosticKind as Mistake, Located, PipelineId, Section, SignalName};
use otelcore_pdata::Signal;
use otelcore_pipeline::ComponentKind;

use super::{ParsedComponents, PipelinePlan};
use crate::registry::Registry;

/// The components that can be named.
pub(super) struct ReferenceChecker<'a> {
    pub(super) receivers: &'a ParsedComponents,
    pub(super) processors: &'a ParsedComponents,
    pub(super) exporters: &'a ParsedComponents,
    pub(super) connectors: &'a ParsedComponents,
    pub(super) registry: &'a Registry,
}

/// `service::extensions`.
pub(super) fn check_extensions(service: &mut Section<'_>, configured: &ParsedComponents) -> Vec<ComponentId> {
    let mut ids: Vec<ComponentId> = Vec::new();
    let mut seen = BTreeSet::new();
    for id in service.component_ids("extensions") {
        if !configured.contains_key(&id.value) {
            let message = format!("service::extensions: references extension \"{}\" which is not configured", id.value);
            report_undefined(service, &id, message, configured);
        } else if seen.insert(id.value.clone()) {
            ids.push(id.value.clone());
        }
    }
    ids
}

fn report_undefined(s: &Section<'_>, id: &Located<ComponentId>, message: String, configured: &ParsedComponents) {
    let names = configured.keys().map(ToString::to_string);
    let suggestion = s.diagnostics().nearest_name(&id.value.to_string(), names).map(|n| format!("did you mean `{n}`?"));
    s.diagnostics().error(Some(&id.origin), s.path(), message).kind(Mistake::UndefinedReference).maybe_help(suggestion);
}

impl ReferenceChecker<'_> {
    /// Reads one pipeline. `None` for a signal that is not supported.
    pub(super) fn check_pipeline(&self, id: &Located<PipelineId>, mut s: Section<'_>) -> Option<PipelinePlan> {
        let signal = match id.value.signal {
            SignalName::Traces => Some(Signal::Traces),
            SignalName::Metrics => Some(Signal::Metrics),
            SignalName::Logs => Some(Signal::Logs),
            SignalName::Profiles => None,
        };
        if signal.is_none() {
            let message =
                format!("service::pipelines: pipeline \"{}\": profiling signal support is not there yet", id.value);
            s.diagnostics().error(Some(&id.origin), s.path(), message).kind(Mistake::Unsupported);
        }
        let receivers = self.check_components(&mut s, &id.value, ComponentKind::Receiver, signal);
        let processors = self.check_components(&mut s, &id.value, ComponentKind::Processor, signal);
        let exporters = self.check_components(&mut s, &id.value, ComponentKind::Exporter, signal);
        for (kind, ids) in [(ComponentKind::Receiver, &receivers), (ComponentKind::Exporter, &exporters)] {
            if ids.is_empty() {
                let message = format!("service::pipelines::{}: must have at least one {}", id.value, kind.name());
                s.error_for_keys(&[super::section_name(kind)], message).kind(Mistake::Invalid);
            }
        }
        s.finish();
        let ids_of = |ids: Vec<Located<ComponentId>>| ids.into_iter().map(|id| id.value);
        let (source_connectors, receivers) =
            ids_of(receivers).partition(|id| self.is_connector(ComponentKind::Receiver, id));
        let (target_connectors, exporters) =
            ids_of(exporters).partition(|id| self.is_connector(ComponentKind::Exporter, id));
        Some(PipelinePlan {
            id: id.value.clone(),
            signal: signal?,
            receivers,
            processors: ids_of(processors).collect(),
            exporters,
            source_connectors,
            target_connectors,
        })
    }

    /// Whether an id among the receivers or exporters of a pipeline is that of a connector.
    fn is_connector(&self, kind: ComponentKind, id: &ComponentId) -> bool {
        match kind {
            ComponentKind::Receiver => !self.receivers.contains_key(id) && self.connectors.contains_key(id),
            ComponentKind::Exporter => !self.exporters.contains_key(id) && self.connectors.contains_key(id),
            _ => false,
        }
    }

    fn check_components(
        &self,
        s: &mut Section<'_>,
        pipeline: &PipelineId,
        kind: ComponentKind,
        signal: Option<Signal>,
    ) -> Vec<Located<ComponentId>> {
        let configured = match kind {
            ComponentKind::Receiver => self.receivers,
            ComponentKind::Processor => self.processors,
            ComponentKind::Exporter | ComponentKind::Connector | ComponentKind::Extension => self.exporters,
        };
        let mut seen = BTreeSet::new();
        let ids = s.component_ids(super::section_name(kind));
        for id in &ids {
            let is_connector = self.is_connector(kind, &id.value);
            if !is_connector && !configured.contains_key(&id.value) {
                let (name, kind_name) = (&id.value, kind.name());
                let message = format!(
                    "service::pipelines::{pipeline}: references {kind_name} \"{name}\" which is not configured"
                );
                report_undefined(s, id, message, configured);
            } else if !seen.insert(id.value.clone()) {
                let message = format!(
                    "service::pipelines::{pipeline}: references {} \"{}\" multiple times",
                    kind.name(),
                    id.value
                );
                s.diagnostics().error(Some(&id.origin), s.path(), message).kind(Mistake::Invalid).help("name it once");
            } else if is_connector {
                // Which signals it joins is checked when all pipelines are known.
            } else if let (Some(factory), Some(signal)) = (self.registry.get(kind, id.value.ty.as_ref()), signal)
                && !factory.info().signals.contains(&signal)
            {
                let message = format!(
                    "failed to build pipelines: failed to create \"{}\" {} for data type \"{signal}\": telemetry type is not supported",
                    id.value,
                    kind.name()
                );
                let supported: Vec<_> = factory.info().signals.iter().map(|s| s.name()).collect();
                s.diagnostics().error(Some(&id.origin), s.path(), message).kind(Mistake::Invalid).help(format!(
                    "`{}` serves {}",
                    id.value.ty,
                    supported.join(", ")
                ));
            }
        }
        ids
    }
}
