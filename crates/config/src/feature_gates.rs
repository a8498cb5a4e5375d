//! Feature gates: the list that `--feature-gates` gives, checked against the gates that are known.
//!
//! The effect of a gate is in the code that calls [`FeatureGates::is_enabled`]. Problems are returned; none is fatal
//! here: the caller decides, for example to accept gates of older collectors.

use std::collections::BTreeMap;
use std::fmt;

/// The stage of a gate in its life cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureGateStage {
    /// Off by default.
    Alpha,
    /// On by default.
    Beta,
    /// Always on.
    Stable,
    /// Always off.
    Deprecated,
}

impl fmt::Display for FeatureGateStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alpha => "Alpha",
            Self::Beta => "Beta",
            Self::Stable => "Stable",
            Self::Deprecated => "Deprecated",
        })
    }
}

/// One known gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureGateInfo {
    /// The name on the command line.
    pub id: &'static str,
    /// Its stage.
    pub stage: FeatureGateStage,
    /// What it changes.
    pub description: &'static str,
}

const fn feature_gate(id: &'static str, stage: FeatureGateStage, description: &'static str) -> FeatureGateInfo {
    FeatureGateInfo { id, stage, description }
}

/// The gates that a command line may name, sorted by id.
pub const KNOWN_FEATURE_GATES: &[FeatureGateInfo] = &[
    feature_gate(
        "confmap.enableMergeAppendOption",
        FeatureGateStage::Alpha,
        "Joins the lists of extensions, receivers and exporters of all sources",
    ),
    feature_gate(
        "exporter.prometheusremotewritexporter.EnableMultipleWorkers",
        FeatureGateStage::Alpha,
        "Accepted; payloads are sent in their order, each in several requests",
    ),
    feature_gate(
        "exporter.prometheusremotewritexporter.RetryOn429",
        FeatureGateStage::Alpha,
        "Accepted; responses with status 429 are always retried",
    ),
    feature_gate(
        "exporter.prometheusremotewritexporter.enableSendingRW2",
        FeatureGateStage::Alpha,
        "Accepted; remote write 2.0 needs no gate here",
    ),
    feature_gate(
        "extension.healthcheck.useComponentStatus",
        FeatureGateStage::Alpha,
        "Lets health_check report the status of components",
    ),
    feature_gate("pdata.useProtoPooling", FeatureGateStage::Alpha, "Accepted; memory is not pooled this way here"),
    feature_gate(
        "pkg.exporterhelper.queueBatchEnabled",
        FeatureGateStage::Alpha,
        "Accepted; batching in the queue needs no gate here",
    ),
    feature_gate(
        "receiverhelper.newReceiverMetrics",
        FeatureGateStage::Alpha,
        "Tells receiver failures apart from refusals further on",
    ),
    feature_gate("service.AllowNoPipelines", FeatureGateStage::Alpha, "Allows a configuration without pipelines"),
    feature_gate("service.partialReload", FeatureGateStage::Alpha, "Restarts only what a new configuration changes"),
    feature_gate(
        "service.partialReloadReceivers",
        FeatureGateStage::Beta,
        "Restarts only the receivers that a new configuration changes",
    ),
    feature_gate("service.profilesSupport", FeatureGateStage::Alpha, "Allows pipelines of profiles"),
    feature_gate("telemetry.newPipelineTelemetry", FeatureGateStage::Alpha, "Metrics of every hop of a pipeline"),
];

/// Gates of old collectors that manifests and operators still name, sorted by id.
const RETIRED_FEATURE_GATES: [&str; 12] = [
    "component.UseLocalHostAsDefaultHost",
    "configgrpc.PreserveHost",
    "confmap.expandEnabled",
    "confmap.strictlyTypedInput",
    "confmap.unifyEnvVarExpansion",
    "exporter.usePushTimeout",
    "otelcol.printInitialConfig",
    "pkg.translator.prometheus.NormalizeName",
    "service.noopTracerProvider",
    "telemetry.UseLocalHostAsDefaultMetricsAddress",
    "telemetry.disableHighCardinalityMetrics",
    "telemetry.useOtelForInternalMetrics",
];

/// A mistake in one element of `--feature-gates`, or a notice about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeatureGateProblem {
    /// No such gate.
    #[error("no such feature gate {id:?}. valid gates: [{}]", .valid.join(" "))]
    Unknown {
        /// As written.
        id: String,
        /// The known ones.
        valid: Vec<&'static str>,
    },
    /// An element between two commas is empty.
    #[error("empty feature gate identifier at index {0}")]
    Empty(usize),
    /// A stable gate cannot be disabled.
    #[error("feature gate {0:?} is stable, can not be disabled")]
    StableDisabled(String),
    /// A deprecated gate cannot be enabled.
    #[error("feature gate {0:?} is deprecated, can not be enabled")]
    DeprecatedEnabled(String),
    /// A notice: naming the gate is no longer needed.
    #[error("Feature gate {0:?} is stable and already enabled.")]
    StableEnabled(String),
    /// A notice: naming the gate is no longer needed.
    #[error("Feature gate {0:?} is deprecated and already disabled.")]
    DeprecatedDisabled(String),
    /// A notice: the gate existed in older collectors and has no effect any more.
    #[error("feature gate {0:?} is gone and has no effect")]
    Retired(String),
}

impl FeatureGateProblem {
    /// Whether it is a notice: the Go collector prints it and continues.
    pub const fn is_notice(&self) -> bool {
        matches!(self, Self::StableEnabled(_) | Self::DeprecatedDisabled(_) | Self::Retired(_))
    }
}

/// Which gates are on.
#[derive(Clone, Debug)]
pub struct FeatureGates {
    known: &'static [FeatureGateInfo],
    overrides: BTreeMap<&'static str, bool>,
}

impl Default for FeatureGates {
    fn default() -> Self {
        Self { known: KNOWN_FEATURE_GATES, overrides: BTreeMap::new() }
    }
}

impl FeatureGates {
    /// Reads the values of all `--feature-gates` flags (`a,-b,+c`) in order. A later element overrides an earlier one.
    pub fn parse<S: AsRef<str>>(flags: &[S]) -> (Self, Vec<FeatureGateProblem>) {
        Self::parse_with(KNOWN_FEATURE_GATES, flags)
    }

    /// As [`FeatureGates::parse`], with another list of known gates.
    pub fn parse_with<S: AsRef<str>>(
        known: &'static [FeatureGateInfo],
        flags: &[S],
    ) -> (Self, Vec<FeatureGateProblem>) {
        let mut gates = Self { known, overrides: BTreeMap::new() };
        let mut problems = Vec::new();
        for flag in flags.iter().map(AsRef::as_ref).filter(|f| !f.is_empty()) {
            for (index, element) in flag.split(',').enumerate() {
                let result = if element.is_empty() {
                    Err(FeatureGateProblem::Empty(index))
                } else if let Some(id) = element.strip_prefix('-') {
                    gates.set(id, false)
                } else {
                    gates.set(element.strip_prefix('+').unwrap_or(element), true)
                };
                problems.extend(result.err());
            }
        }
        (gates, problems)
    }

    /// Turns one gate on or off.
    pub fn set(&mut self, id: &str, on: bool) -> Result<(), FeatureGateProblem> {
        let Some(gate) = self.known.iter().find(|g| g.id == id) else {
            if RETIRED_FEATURE_GATES.contains(&id) {
                return Err(FeatureGateProblem::Retired(id.to_owned()));
            }
            return Err(FeatureGateProblem::Unknown {
                id: id.to_owned(),
                valid: self.known.iter().map(|g| g.id).collect(),
            });
        };
        match (gate.stage, on) {
            (FeatureGateStage::Stable, false) => Err(FeatureGateProblem::StableDisabled(id.to_owned())),
            (FeatureGateStage::Stable, true) => Err(FeatureGateProblem::StableEnabled(id.to_owned())),
            (FeatureGateStage::Deprecated, true) => Err(FeatureGateProblem::DeprecatedEnabled(id.to_owned())),
            (FeatureGateStage::Deprecated, false) => Err(FeatureGateProblem::DeprecatedDisabled(id.to_owned())),
            (FeatureGateStage::Alpha | FeatureGateStage::Beta, on) => {
                self.overrides.insert(gate.id, on);
                Ok(())
            }
        }
    }

    /// Whether a gate is on; an unknown one is off.
    pub fn is_enabled(&self, id: &str) -> bool {
        let by_stage = || {
            self.known
                .iter()
                .any(|g| g.id == id && matches!(g.stage, FeatureGateStage::Beta | FeatureGateStage::Stable))
        };
        self.overrides.get(id).copied().unwrap_or_else(by_stage)
    }

    /// Every known gate and whether it is on.
    pub fn iter(&self) -> impl Iterator<Item = (&'static FeatureGateInfo, bool)> {
        self.known.iter().map(|g| (g, self.is_enabled(g.id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST_GATES: &[FeatureGateInfo] = &[
        feature_gate("a", FeatureGateStage::Alpha, ""),
        feature_gate("b", FeatureGateStage::Beta, ""),
        feature_gate("d", FeatureGateStage::Deprecated, ""),
        feature_gate("s", FeatureGateStage::Stable, ""),
    ];

    #[test]
    fn gate_named_twice_has_the_state_of_the_later_flag() {
        let (gates, problems) = FeatureGates::parse(&["service.AllowNoPipelines,-service.partialReloadReceivers", ""]);
        assert_eq!(problems, []);
        assert!(gates.is_enabled("service.AllowNoPipelines"));
        assert!(!gates.is_enabled("service.partialReloadReceivers"));
        assert!(FeatureGates::default().is_enabled("service.partialReloadReceivers"));
        assert!(!FeatureGates::default().is_enabled("service.profilesSupport"));
        let (gates, _) = FeatureGates::parse_with(TEST_GATES, &["+a", "-a"]);
        assert!(!gates.is_enabled("a"));
    }

    #[test]
    fn problems_have_the_messages_of_the_go_collector() {
        let (gates, problems) = FeatureGates::parse_with(TEST_GATES, &["x,,-s,s,d,-d,a"]);
        let messages: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            messages,
            [
                "no such feature gate \"x\". valid gates: [a b d s]",
                "empty feature gate identifier at index 1",
                "feature gate \"s\" is stable, can not be disabled",
                "Feature gate \"s\" is stable and already enabled.",
                "feature gate \"d\" is deprecated, can not be enabled",
                "Feature gate \"d\" is deprecated and already disabled.",
            ]
        );
        assert_eq!(problems.iter().filter(|p| p.is_notice()).count(), 2);
        assert!(gates.is_enabled("a") && gates.is_enabled("s") && !gates.is_enabled("d"));
    }

    #[test]
    fn known_and_retired_gates_are_sorted() {
        assert!(KNOWN_FEATURE_GATES.is_sorted_by_key(|g| g.id));
        assert!(RETIRED_FEATURE_GATES.is_sorted());
    }

    #[test]
    fn retired_gates_are_accepted_with_a_notice() {
        let (_, problems) =
            FeatureGates::parse(&["-component.UseLocalHostAsDefaultHost,-confmap.unifyEnvVarExpansion"]);
        assert_eq!(problems.len(), 2);
        assert!(problems.iter().all(FeatureGateProblem::is_notice), "{problems:?}");
    }
}
