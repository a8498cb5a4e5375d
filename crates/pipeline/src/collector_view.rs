//! What an extension can read of the collector that it is a part of: pipelines, statuses, metrics, configuration, log.
//!
//! Owns the description of the configuration that runs; everything else are references to what exists anyway, so that a
//! view that is not read costs nothing. The service makes it and renews the description after a reload. Changes nothing of
//! the collector; telemetry is seen only through [`Taps`].

use std::sync::{Arc, Mutex, PoisonError};

use otelcore_config::{ComponentId, EffectiveValue, FeatureGates, PipelineId, ValueOrigins};
use otelcore_pdata::Signal;

use crate::{Budget, Capability, RecentLog, StatusTable, Taps, Telemetry};

/// A pipeline of the configuration that runs.
#[derive(Clone, Debug)]
pub struct PipelineDescription {
    /// Its id.
    pub id: PipelineId,
    /// What it carries.
    pub signal: Signal,
    /// Its receivers, without connectors.
    pub receivers: Vec<ComponentId>,
    /// Its processors, in their order.
    pub processors: Vec<ComponentId>,
    /// Its exporters, without connectors.
    pub exporters: Vec<ComponentId>,
    /// The connectors that feed it.
    pub source_connectors: Vec<ComponentId>,
    /// The connectors that it ends in.
    pub target_connectors: Vec<ComponentId>,
}

/// An instance of a connector: one for each id and pair of signals.
#[derive(Clone, Debug)]
pub struct ConnectorDescription {
    /// Its id.
    pub id: ComponentId,
    /// What it accepts and what it makes.
    pub signals: (Signal, Signal),
    /// The pipelines that end in it, by their index.
    pub sources: Vec<usize>,
    /// The pipelines that it feeds, by their index.
    pub targets: Vec<usize>,
}

/// The configuration that runs.
#[derive(Clone, Debug)]
pub struct CollectorDescription {
    /// The command that the collector was started as.
    pub command: String,
    /// Its version.
    pub version: String,
    /// Pipelines, in the order of the configuration.
    pub pipelines: Vec<PipelineDescription>,
    /// Instances of connectors.
    pub connectors: Vec<ConnectorDescription>,
    /// The extensions that are started, in the order of `service::extensions`.
    pub extensions: Vec<ComponentId>,
    /// Which feature gates are on.
    pub feature_gates: FeatureGates,
    /// Every key with its value; secrets are marked as such ([`EffectiveValue::Opaque`]).
    pub config: Arc<EffectiveValue>,
    /// Where its values are written; `None` where no extension shows it.
    pub origins: Option<Arc<ValueOrigins>>,
}

#[derive(Debug)]
struct ViewParts {
    /// The description, and how many there were before it.
    current: Mutex<(u64, Arc<CollectorDescription>)>,
    telemetry: Telemetry,
    budget: Arc<Budget>,
    statuses: Arc<StatusTable>,
    recent_log: Arc<RecentLog>,
    taps: Taps,
}

/// A view of the running collector. Clones share it. Extensions get it from
/// [`Capabilities::of_service`](crate::Capabilities::of_service).
#[derive(Clone, Debug)]
pub struct CollectorView(Arc<ViewParts>);

impl Capability for CollectorView {
    const NAME: &'static str = "collector view";
}

impl CollectorView {
    /// A view of these parts of a collector.
    #[must_use]
    pub fn new(
        description: CollectorDescription,
        telemetry: Telemetry,
        budget: Arc<Budget>,
        statuses: Arc<StatusTable>,
        recent_log: Arc<RecentLog>,
    ) -> Self {
        let current = Mutex::new((0, Arc::new(description)));
        let taps = Taps::default();
        Self(Arc::new(ViewParts { current, telemetry, budget, statuses, recent_log, taps }))
    }

    /// Another configuration runs from now on.
    pub fn replace_description(&self, description: CollectorDescription) {
        let mut current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        *current = (current.0.wrapping_add(1), Arc::new(description));
    }

    /// The configuration that runs, with a number that changes with each reload.
    #[must_use]
    pub fn description(&self) -> (u64, Arc<CollectorDescription>) {
        let current = self.0.current.lock().unwrap_or_else(PoisonError::into_inner);
        (current.0, current.1.clone())
    }

    /// The own metrics.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.0.telemetry
    }

    /// The count of held bytes, with its limits.
    #[must_use]
    pub fn budget(&self) -> &Arc<Budget> {
        &self.0.budget
    }

    /// The status of each component.
    #[must_use]
    pub fn statuses(&self) -> &StatusTable {
        &self.0.statuses
    }

    /// The last records of the own log.
    #[must_use]
    pub fn recent_log(&self) -> &RecentLog {
        &self.0.recent_log
    }
    /// Counts and live samples of what passes the edges of the graph.
    #[must_use]
    pub fn taps(&self) -> &Taps {
        &self.0.taps
    }
}
