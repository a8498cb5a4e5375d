//! Checks that the components which pipelines and the service name are configured, and support the signal.

use std::collections::BTreeSet;

use otelcore_config::{ComponentId, Kind as Mistake, Located, PipelineId, Section, SignalName};
use otelcore_pdata::Signal;
use otelcore_pipeline::Kind;

use super::{PipelinePlan, Read};
use crate::registry::Registry;

/// The components that can be named.
pub(super) struct Names<'a> {
    pub(super) receivers: &'a Read,
    pub(super) processors: &'a Read,
    pub(super) exporters: &'a Read,
    /// Configured connectors. Each is reported as a mistake there, so it is not reported again where it is named.
    pub(super) connected: &'a BTreeSet<ComponentId>,
    pub(super) registry: &'a Registry,
}

/// `service::extensions`.
pub(super) fn extensions(service: &mut Section<'_>, configured: &Read) -> Vec<ComponentId> {
    let mut started: Vec<ComponentId> = Vec::new();
    let mut seen = BTreeSet::new();
    for id in service.ids("extensions") {
        if !configured.contains_key(&id.value) {
            let message = format!("service::extensions: references extension \"{}\" which is not configured", id.value);
            undefined(service, &id, message, configured);
        } else if seen.insert(id.value.clone()) {
            started.push(id.value.clone());
        }
    }
    started
}

fn undefined(s: &Section<'_>, id: &Located<ComponentId>, message: String, configured: &Read) {
    let names = configured.keys().map(ToString::to_string);
    let near = s.diagnostics().nearest(&id.value.to_string(), names).map(|n| format!("did you mean `{n}`?"));
    s.diagnostics().error(Some(&id.origin), s.path(), message).kind(Mistake::UndefinedReference).maybe_hint(near);
}

impl Names<'_> {
    /// Reads one pipeline. `None` for a signal that is not supported.
    pub(super) fn pipeline(&self, id: &Located<PipelineId>, mut s: Section<'_>) -> Option<PipelinePlan> {
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
        let receivers = self.list(&mut s, &id.value, Kind::Receiver, signal);
        let processors = self.list(&mut s, &id.value, Kind::Processor, signal);
        let exporters = self.list(&mut s, &id.value, Kind::Exporter, signal);
        for (kind, ids) in [(Kind::Receiver, &receivers), (Kind::Exporter, &exporters)] {
            if ids.is_empty() {
                let message = format!("service::pipelines::{}: must have at least one {}", id.value, kind.name());
                s.error_of(&[super::section_name(kind)], message).kind(Mistake::Invalid);
            }
        }
        s.finish();
        let known = |ids: Vec<Located<ComponentId>>| ids.into_iter().map(|id| id.value).collect();
        Some(PipelinePlan {
            id: id.value.clone(),
            signal: signal?,
            receivers: known(receivers),
            processors: known(processors),
            exporters: known(exporters),
        })
    }

    fn list(
        &self,
        s: &mut Section<'_>,
        pipeline: &PipelineId,
        kind: Kind,
        signal: Option<Signal>,
    ) -> Vec<Located<ComponentId>> {
        let configured = match kind {
            Kind::Receiver => self.receivers,
            Kind::Processor => self.processors,
            Kind::Exporter | Kind::Extension => self.exporters,
        };
        let mut seen = BTreeSet::new();
        let ids = s.ids(super::section_name(kind));
        for id in &ids {
            if !configured.contains_key(&id.value) && kind != Kind::Processor && self.connected.contains(&id.value) {
                continue;
            }
            if !configured.contains_key(&id.value) {
                let (name, what) = (&id.value, kind.name());
                let message =
                    format!("service::pipelines::{pipeline}: references {what} \"{name}\" which is not configured");
                undefined(s, id, message, configured);
            } else if !seen.insert(id.value.clone()) {
                let message = format!(
                    "service::pipelines::{pipeline}: references {} \"{}\" multiple times",
                    kind.name(),
                    id.value
                );
                s.diagnostics().error(Some(&id.origin), s.path(), message).kind(Mistake::Invalid).hint("name it once");
            } else if let (Some(factory), Some(signal)) = (self.registry.get(kind, id.value.ty.as_ref()), signal)
                && !factory.about().signals.contains(&signal)
            {
                let message = format!(
                    "failed to build pipelines: failed to create \"{}\" {} for data type \"{signal}\": telemetry type is not supported",
                    id.value,
                    kind.name()
                );
                let can: Vec<_> = factory.about().signals.iter().map(|s| s.name()).collect();
                s.diagnostics().error(Some(&id.origin), s.path(), message).kind(Mistake::Invalid).hint(format!(
                    "`{}` serves {}",
                    id.value.ty,
                    can.join(", ")
                ));
            }
        }
        ids
    }
}
