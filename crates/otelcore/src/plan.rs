//! A configuration, read and checked: everything that is needed to build a collector. Nothing is opened here.

mod connectors;
#[cfg(feature = "commands")]
mod effects;
mod references;
mod trees;
mod unsupported;

use std::collections::BTreeMap;
use std::sync::Arc;

use otelcore_config::declare::ConfigValue;
use otelcore_config::{
    ComponentId, ConfigNode, DiagnosticKind as Mistake, Diagnostics, EffectiveValue, FeatureGates, PipelineId, Section,
    ValueOrigins, steps,
};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    CollectorDescription, ComponentConfig, ComponentKind, ConnectorDescription, PipelineDescription,
};

pub(crate) use self::connectors::ConnectorPlan;
use self::trees::ConfigTrees;
pub use self::unsupported::unsupported_types;
use self::unsupported::{ComponentUses, UsePlaces};
use crate::registry::{Registry, disabled_feature};
use crate::telemetry::TelemetryConfig;

/// Components by id, each with its settings.
pub(crate) type ComponentConfigs = BTreeMap<ComponentId, Arc<dyn ComponentConfig>>;

/// One pipeline of a [`Plan`]; every name in it is configured.
#[derive(Clone, Debug)]
pub(crate) struct PipelinePlan {
    pub(crate) id: PipelineId,
    pub(crate) signal: Signal,
    pub(crate) receivers: Vec<ComponentId>,
    pub(crate) processors: Vec<ComponentId>,
    pub(crate) exporters: Vec<ComponentId>,
    /// Connectors among its `receivers`, and among its `exporters`.
    pub(crate) source_connectors: Vec<ComponentId>,
    pub(crate) target_connectors: Vec<ComponentId>,
}

/// A checked configuration.
#[derive(Clone)]
pub struct Plan {
    pub(crate) receivers: ComponentConfigs,
    pub(crate) processors: ComponentConfigs,
    pub(crate) exporters: ComponentConfigs,
    pub(crate) connectors: ComponentConfigs,
    pub(crate) connector_instances: Vec<ConnectorPlan>,
    pub(crate) extensions: ComponentConfigs,
    /// `service::extensions`, in its order.
    pub(crate) started_extensions: Vec<ComponentId>,
    pub(crate) pipelines: Vec<PipelinePlan>,
    signals: BTreeMap<(&'static str, ComponentId), Vec<Signal>>,
    pub(crate) telemetry: TelemetryConfig,
    trees: ConfigTrees,
    effective: Arc<EffectiveValue>,
    /// Where its values are written, for the live page; `None` without one.
    origins: Option<Arc<ValueOrigins>>,
    gates: FeatureGates,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan").field("pipelines", &self.pipelines).finish_non_exhaustive()
    }
}

impl Plan {
    /// Reads a whole configuration. All its mistakes go into `diagnostics`; `None` when there is one.
    #[must_use]
    pub fn parse(
        root: &ConfigNode,
        registry: &Registry,
        gates: &FeatureGates,
        diagnostics: &Diagnostics,
    ) -> Option<Self> {
        let mut s = Section::new(Some(root), "", diagnostics);
        let recorder = s.recorder();
        let is_empty = s.is_empty();
        let component_uses = ComponentUses::collect(root);
        let receivers = parse_components(&mut s, &component_uses, ComponentKind::Receiver, registry, diagnostics);
        let processors = parse_components(&mut s, &component_uses, ComponentKind::Processor, registry, diagnostics);
        let exporters = parse_components(&mut s, &component_uses, ComponentKind::Exporter, registry, diagnostics);
        let connectors = parse_components(&mut s, &component_uses, ComponentKind::Connector, registry, diagnostics);
        let extensions = parse_components(&mut s, &component_uses, ComponentKind::Extension, registry, diagnostics);
        let mut service = s.section("service");
        let started_extensions = references::check_extensions(&mut service, &extensions);
        let pipelines = service.section("pipelines").pipelines();
        let has_pipelines = !pipelines.is_empty();
        let references = references::ReferenceChecker {
            receivers: &receivers,
            processors: &processors,
            exporters: &exporters,
            connectors: &connectors,
            registry,
        };
        let pipelines: Vec<_> = pipelines.into_iter().filter_map(|(id, s)| references.check_pipeline(&id, s)).collect();
        let signals = signals_by_component(&pipelines);
        let telemetry = TelemetryConfig::read(&mut service, "telemetry", &TelemetryConfig::default());
        service.finish();
        s.finish();
        let report_missing = |message: &str, hint: &str| {
            diagnostics.error(Some(&root.origin), "", message).kind(Mistake::Invalid).help(hint);
        };
        // The Go collector's top-level rules; only the first violation is reported.
        if is_empty {
            report_missing("empty configuration file", "start from `otelcore print-config` without --config");
        } else if receivers.is_empty() && !diagnostics.has_errors() {
            report_missing("no receiver configuration specified in config", "write `receivers:` with `otlp:` in it");
        } else if exporters.is_empty() && !diagnostics.has_errors() {
            report_missing("no exporter configuration specified in config", "write `exporters:` with `debug:` in it");
        } else if !has_pipelines && !gates.is_enabled("service.AllowNoPipelines") && !diagnostics.has_errors() {
            report_missing(
                "service::pipelines: service must have at least one pipeline",
                "write `service:` with `pipelines:`",
            );
        }
        if !diagnostics.has_errors() {
            connectors::report_ambiguous_ids(root, &connectors, &receivers, &exporters, diagnostics);
        }
        let connector_instances = connectors::plan_instances(root, &pipelines, registry, diagnostics);
        if diagnostics.has_errors() {
            return None;
        }
        let effective = Arc::new(recorder.snapshot());
        let has_live_page = started_extensions.iter().any(|id| id.ty == "zpages");
        let origins = has_live_page.then(|| Arc::new(ValueOrigins::of(root)));
        let [receivers, processors, exporters, connectors, extensions] =
            [receivers, processors, exporters, connectors, extensions].map(valid_components);
        Some(Self {
            receivers,
            processors,
            exporters,
            connectors,
            connector_instances,
            extensions,
            started_extensions,
            pipelines,
            signals,
            telemetry,
            trees: ConfigTrees::new(root),
            effective,
            origins,
            gates: gates.clone(),
        })
    }

    /// Checks the files that components name, as far as `read` returns them. Returns every mistake, with its component.
    #[cfg(feature = "commands")]
    #[must_use]
    pub(crate) fn check_files(&self, read: otelcore_pipeline::ReadFile<'_>) -> Vec<String> {
        let kinds = [
            (ComponentKind::Receiver, &self.receivers),
            (ComponentKind::Processor, &self.processors),
            (ComponentKind::Exporter, &self.exporters),
            (ComponentKind::Connector, &self.connectors),
            (ComponentKind::Extension, &self.extensions),
        ];
        let all = kinds.into_iter().flat_map(|(kind, all)| all.iter().map(move |(id, settings)| (kind, id, settings)));
        let components = all.filter_map(|(kind, id, settings)| {
            settings.check_files(read).err().map(|why| format!("\"{id}\" {}: {why}", kind.name()))
        });
        let pushes = self.telemetry.push_targets().into_iter().filter_map(|(place, config)| {
            crate::telemetry::check_push_files(config, read).err().map(|why| format!("{place}: {why}"))
        });
        components.chain(pushes).collect()
    }

    /// Every key with its effective value, for `print-config`.
    #[must_use]
    pub fn effective(&self) -> &EffectiveValue {
        &self.effective
    }

    /// What a running collector shows of this configuration.
    pub(crate) fn describe(&self, command: &str, version: &str) -> CollectorDescription {
        let pipeline = |plan: &PipelinePlan| PipelineDescription {
            id: plan.id.clone(),
            signal: plan.signal,
            receivers: plan.receivers.clone(),
            processors: plan.processors.clone(),
            exporters: plan.exporters.clone(),
            source_connectors: plan.source_connectors.clone(),
            target_connectors: plan.target_connectors.clone(),
        };
        let connector = |plan: &ConnectorPlan| ConnectorDescription {
            id: plan.id.clone(),
            signals: plan.signals,
            sources: plan.sources.clone(),
            targets: plan.targets.clone(),
        };
        CollectorDescription {
            command: command.to_owned(),
            version: version.to_owned(),
            pipelines: self.pipelines.iter().map(pipeline).collect(),
            connectors: self.connector_instances.iter().map(connector).collect(),
            extensions: self.started_extensions.clone(),
            feature_gates: self.gates.clone(),
            config: self.effective.clone(),
            origins: self.origins.clone(),
        }
    }

    /// The configuration of a component as a text, to compare it with another plan's.
    #[must_use]
    pub(crate) fn component_tree(&self, kind: ComponentKind, id: &ComponentId) -> &str {
        self.trees.component(kind, id)
    }

    /// The same of the log and of the collector's own resource.
    #[must_use]
    pub(crate) fn log_tree(&self) -> &str {
        &self.trees.log
    }

    /// The same of own metrics.
    #[must_use]
    pub(crate) fn metrics_tree(&self) -> &str {
        &self.trees.metrics
    }

    /// The same of own traces.
    #[must_use]
    pub(crate) fn traces_tree(&self) -> &str {
        &self.trees.traces
    }

    /// The signals of the pipelines that use a component, sorted.
    #[must_use]
    pub(crate) fn signals_of(&self, kind: ComponentKind, id: &ComponentId) -> Vec<Signal> {
        self.signals.get(&(section_name(kind), id.clone())).cloned().unwrap_or_default()
    }
}

/// The signals of the pipelines that use each component, sorted.
fn signals_by_component(pipelines: &[PipelinePlan]) -> BTreeMap<(&'static str, ComponentId), Vec<Signal>> {
    let mut all: BTreeMap<_, Vec<Signal>> = BTreeMap::new();
    for pipeline in pipelines {
        let lists = [
            (ComponentKind::Receiver, &pipeline.receivers),
            (ComponentKind::Processor, &pipeline.processors),
            (ComponentKind::Exporter, &pipeline.exporters),
            (ComponentKind::Connector, &pipeline.target_connectors),
        ];
        for (kind, id) in lists.into_iter().flat_map(|(kind, ids)| ids.iter().map(move |id| (kind, id))) {
            steps::add(1);
            let signals = all.entry((section_name(kind), id.clone())).or_default();
            if !signals.contains(&pipeline.signal) {
                signals.push(pipeline.signal);
                signals.sort_unstable();
            }
        }
    }
    all
}

/// Components as they were read. Those with mistakes are in it too, without settings, so that references to them are
/// not reported as further mistakes.
pub(crate) type ParsedComponents = BTreeMap<ComponentId, Option<Arc<dyn ComponentConfig>>>;

fn valid_components(read: ParsedComponents) -> ComponentConfigs {
    read.into_iter().filter_map(|(id, settings)| Some((id, settings?))).collect()
}

/// The section of a kind: `receivers` for [`ComponentKind::Receiver`].
pub(crate) fn section_name(kind: ComponentKind) -> &'static str {
    match kind {
        ComponentKind::Receiver => "receivers",
        ComponentKind::Processor => "processors",
        ComponentKind::Exporter => "exporters",
        ComponentKind::Connector => "connectors",
        ComponentKind::Extension => "extensions",
    }
}

fn parse_components(
    section: &mut Section<'_>,
    component_uses: &ComponentUses,
    kind: ComponentKind,
    registry: &Registry,
    d: &Diagnostics,
) -> ParsedComponents {
    let name = section_name(kind);
    let mut read = ParsedComponents::new();
    for (id, mut section) in section.section(name).components() {
        if component_uses.of_component(kind, &id.value).is_none() {
            section.mark_unused();
        }
        let ty = id.value.ty.to_string();
        let settings = match registry.get(kind, &ty) {
            Some(factory) => {
                let about = factory.info();
                if about.type_name != ty {
                    d.warn(
                        Some(&id.origin),
                        section.path(),
                        format!("\"{ty}\" alias is deprecated; use \"{}\" instead", about.type_name),
                    )
                    .kind(Mistake::Deprecated)
                    .help(format!("write `{}`", about.type_name));
                }
                factory.parse(&id.value, section).map(Arc::from)
            }
            None => {
                report_unknown_type(kind, component_uses, &id, section, registry, d);
                None
            }
        };
        read.insert(id.value.clone(), settings);
    }
    read
}

fn report_unknown_type(
    kind: ComponentKind,
    component_uses: &ComponentUses,
    id: &otelcore_config::Located<ComponentId>,
    section: Section<'_>,
    registry: &Registry,
    d: &Diagnostics,
) {
    let ty = &id.value.ty.to_string();
    let valid: Vec<_> = registry.all_of_kind(kind).iter().map(|f| f.info().type_name).collect();
    let message = format!(
        "'{}' unknown type: \"{ty}\" for id: \"{}\" (valid values: [{}])",
        section_name(kind),
        id.value,
        valid.join(" ")
    );
    let draft = d.error(Some(&id.origin), section.path(), message).kind(Mistake::UnknownComponent);
    if let Some(feature) = disabled_feature(kind, ty) {
        let kind = kind.name();
        drop(draft.help(format!(
            "the {kind} `{ty}` is left out of this build; build the crate `otelcore` with its feature `{feature}`"
        )));
    } else if unsupported::is_known_type(kind, ty) {
        let uses = component_uses.of_component(kind, &id.value);
        let (kind, usage) = (kind.name(), uses.map(UsePlaces::message_suffix).unwrap_or_default());
        let draft = draft.help(format!("the {kind} `{ty}` is not supported yet; leave it out here{usage}"));
        match uses.and_then(|uses| uses.first_origin.as_ref()) {
            Some(origin) => drop(draft.related(origin, "named here")),
            None => drop(draft),
        }
    } else {
        let nearest = d.nearest_name(ty, valid.iter().copied()).map(|near| format!("did you mean `{near}`?"));
        let nearest = nearest.or_else(|| {
            let of_go = (kind == ComponentKind::Connector).then(unsupported::connector_names).into_iter().flatten();
            d.nearest_name(ty, of_go).map(|near| format!("did you mean `{near}`, which is not supported yet?"))
        });
        drop(draft.maybe_help(nearest));
    }
}
