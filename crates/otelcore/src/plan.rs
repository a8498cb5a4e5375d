//! A configuration, read and checked: everything that is needed to build a collector. Nothing is opened here.

mod facts;
mod not_yet;
mod references;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use otelcore_config::{ComponentId, Diagnostics, Effective, Gates, Kind as Mistake, Node, PipelineId, Section, steps};
use otelcore_pdata::Signal;
use otelcore_pipeline::{Kind, ReadFile, Settings};

use self::not_yet::{Named, Uses};
use crate::registry::Registry;
use crate::service::telemetry::TelemetrySettings;

/// Components by id, each with its settings.
pub(crate) type Configured = BTreeMap<ComponentId, Arc<dyn Settings>>;

/// One pipeline of a [`Plan`]; every name in it is configured.
#[derive(Clone, Debug)]
pub(crate) struct PipelinePlan {
    pub(crate) id: PipelineId,
    pub(crate) signal: Signal,
    pub(crate) receivers: Vec<ComponentId>,
    pub(crate) processors: Vec<ComponentId>,
    pub(crate) exporters: Vec<ComponentId>,
}

/// A checked configuration.
#[derive(Clone)]
pub struct Plan {
    pub(crate) receivers: Configured,
    pub(crate) processors: Configured,
    pub(crate) exporters: Configured,
    pub(crate) extensions: Configured,
    /// `service::extensions`, in its order.
    pub(crate) started_extensions: Vec<ComponentId>,
    pub(crate) pipelines: Vec<PipelinePlan>,
    signals: BTreeMap<(&'static str, ComponentId), Vec<Signal>>,
    pub(crate) telemetry: TelemetrySettings,
    effective: Effective,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan").field("pipelines", &self.pipelines).finish_non_exhaustive()
    }
}

impl Plan {
    /// Reads a whole configuration. All its mistakes go into `d`; `None` when there is one.
    #[must_use]
    pub fn parse(root: &Node, registry: &Registry, gates: &Gates, d: &Diagnostics) -> Option<Self> {
        let mut s = Section::new(Some(root), "", d);
        let record = s.recorder();
        let empty = s.is_empty();
        let named = Named::of(root);
        let receivers = components(&mut s, &named, Kind::Receiver, registry, d);
        let processors = components(&mut s, &named, Kind::Processor, registry, d);
        let exporters = components(&mut s, &named, Kind::Exporter, registry, d);
        let extensions = components(&mut s, &named, Kind::Extension, registry, d);
        let connectors = s.section("connectors");
        let connected: BTreeSet<ComponentId> =
            connectors.child_keys().iter().filter_map(|key| key.value.parse().ok()).collect();
        for key in connectors.child_keys() {
            unknown_connector(&connectors, &named, &key.value, d);
        }
        let mut service = s.section("service");
        let started_extensions = references::extensions(&mut service, &extensions);
        let pipelines = service.section("pipelines").pipelines();
        let have_pipelines = !pipelines.is_empty();
        let names = references::Names {
            receivers: &receivers,
            processors: &processors,
            exporters: &exporters,
            connected: &connected,
            registry,
        };
        let pipelines: Vec<_> = pipelines.into_iter().filter_map(|(id, s)| names.pipeline(&id, s)).collect();
        let signals = signals(&pipelines);
        let telemetry = TelemetrySettings::parse(service.section("telemetry"));
        service.finish();
        s.finish();
        let missing = |message: &str, hint: &str| {
            d.error(Some(&root.origin), "", message).kind(Mistake::Invalid).hint(hint);
        };
        // The Go collector's top-level rules; only the first violation is reported.
        if empty {
            missing("empty configuration file", "start from `otelcore print-config` without --config");
        } else if receivers.is_empty() && !d.has_errors() {
            missing("no receiver configuration specified in config", "write `receivers:` with `otlp:` in it");
        } else if exporters.is_empty() && !d.has_errors() {
            missing("no exporter configuration specified in config", "write `exporters:` with `debug:` in it");
        } else if !have_pipelines && !gates.enabled("service.AllowNoPipelines") && !d.has_errors() {
            missing(
                "service::pipelines: service must have at least one pipeline",
                "write `service:` with `pipelines:`",
            );
        }
        if d.has_errors() {
            return None;
        }
        let effective = record.snapshot();
        let [receivers, processors, exporters, extensions] = [receivers, processors, exporters, extensions].map(usable);
        Some(Self {
            receivers,
            processors,
            exporters,
            extensions,
            started_extensions,
            pipelines,
            signals,
            telemetry,
            effective,
        })
    }

    /// Checks the files that components name, as far as `read` returns them. Returns every mistake, with its component.
    #[must_use]
    pub(crate) fn check_files(&self, read: ReadFile<'_>) -> Vec<String> {
        let kinds = [
            (Kind::Receiver, &self.receivers),
            (Kind::Processor, &self.processors),
            (Kind::Exporter, &self.exporters),
            (Kind::Extension, &self.extensions),
        ];
        let all = kinds.into_iter().flat_map(|(kind, all)| all.iter().map(move |(id, settings)| (kind, id, settings)));
        all.filter_map(|(kind, id, settings)| {
            settings.check_files(read).err().map(|why| format!("\"{id}\" {}: {why}", kind.name()))
        })
        .collect()
    }

    /// Every key with its effective value, for `print-config`.
    #[must_use]
    pub fn effective(&self) -> &Effective {
        &self.effective
    }

    /// The signals of the pipelines that use a component, sorted.
    #[must_use]
    pub(crate) fn signals_of(&self, kind: Kind, id: &ComponentId) -> Vec<Signal> {
        self.signals.get(&(section_name(kind), id.clone())).cloned().unwrap_or_default()
    }
}

/// The signals of the pipelines that use each component, sorted.
fn signals(pipelines: &[PipelinePlan]) -> BTreeMap<(&'static str, ComponentId), Vec<Signal>> {
    let mut all: BTreeMap<_, Vec<Signal>> = BTreeMap::new();
    for pipeline in pipelines {
        let lists = [
            (Kind::Receiver, &pipeline.receivers),
            (Kind::Processor, &pipeline.processors),
            (Kind::Exporter, &pipeline.exporters),
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
pub(crate) type Read = BTreeMap<ComponentId, Option<Arc<dyn Settings>>>;

fn usable(read: Read) -> Configured {
    read.into_iter().filter_map(|(id, settings)| Some((id, settings?))).collect()
}

/// The section of a kind: `receivers` for [`Kind::Receiver`].
pub(crate) fn section_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Receiver => "receivers",
        Kind::Processor => "processors",
        Kind::Exporter => "exporters",
        Kind::Extension => "extensions",
    }
}

fn components(s: &mut Section<'_>, named: &Named, kind: Kind, registry: &Registry, d: &Diagnostics) -> Read {
    let name = section_name(kind);
    let mut read = Read::new();
    for (id, mut section) in s.section(name).components() {
        if named.uses(kind, &id.value).is_none() {
            section.set_unused();
        }
        let ty = id.value.ty.to_string();
        let settings = match registry.get(kind, &ty) {
            Some(factory) => {
                let about = factory.about();
                if about.type_name != ty {
                    d.warn(
                        Some(&id.origin),
                        section.path(),
                        format!("\"{ty}\" alias is deprecated; use \"{}\" instead", about.type_name),
                    )
                    .kind(Mistake::Deprecated)
                    .hint(format!("write `{}`", about.type_name));
                }
                factory.parse(&id.value, section).map(Arc::from)
            }
            None => {
                unknown(kind, named, &id, section, registry, d);
                None
            }
        };
        read.insert(id.value.clone(), settings);
    }
    read
}

fn unknown(
    kind: Kind,
    named: &Named,
    id: &otelcore_config::Located<ComponentId>,
    section: Section<'_>,
    registry: &Registry,
    d: &Diagnostics,
) {
    let ty = &id.value.ty.to_string();
    let valid: Vec<_> = registry.of(kind).iter().map(|f| f.about().type_name).collect();
    let message = format!(
        "'{}' unknown type: \"{ty}\" for id: \"{}\" (valid values: [{}])",
        section_name(kind),
        id.value,
        valid.join(" ")
    );
    let draft = d.error(Some(&id.origin), section.path(), message).kind(Mistake::UnknownComponent);
    if not_yet::is(kind, ty) {
        let uses = named.uses(kind, &id.value);
        let (kind, inside) = (kind.name(), uses.map(Uses::sentence).unwrap_or_default());
        let draft = draft.hint(format!("the {kind} `{ty}` is not supported yet; leave it out here{inside}"));
        match uses.and_then(|uses| uses.first.as_ref()) {
            Some(place) => drop(draft.related(place, "named here")),
            None => drop(draft),
        }
    } else {
        drop(draft.maybe_hint(d.nearest(ty, valid.iter().copied()).map(|near| format!("did you mean `{near}`?"))));
    }
}

/// Reports a connector: none is built in, and the message says whether the Go collector has it.
fn unknown_connector(connectors: &Section<'_>, named: &Named, key: &str, d: &Diagnostics) {
    let ty = key.split('/').next().unwrap_or(key).trim();
    let id = key.parse::<ComponentId>().ok();
    let inside = id.and_then(|id| named.connects(&id)).map(Uses::sentence).unwrap_or_default();
    let leave = format!("name the components of both pipelines in one, or leave the connector out here{inside}");
    let near = if not_yet::is_connector(ty) { None } else { d.nearest(ty, not_yet::connectors()) };
    let hint = near.map_or(leave, |near| format!("did you mean `{near}`, which is not supported yet?"));
    connectors
        .error(key, format!("'connectors' unknown type: \"{key}\": connectors are not supported yet"))
        .kind(Mistake::Unsupported)
        .hint(hint);
}
