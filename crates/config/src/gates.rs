//! Feature gates: the list that `--feature-gates` gives, checked against the gates that are known.
//!
//! The effect of a gate is in the code that calls [`Gates::enabled`]. Every problem is returned, and none is fatal
//! here: the caller decides, for example to accept gates of older collectors.

use std::collections::BTreeMap;
use std::fmt;

/// The stage of a gate in its life cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Off by default.
    Alpha,
    /// On by default.
    Beta,
    /// Always on.
    Stable,
    /// Always off.
    Deprecated,
}

impl fmt::Display for Stage {
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
pub struct GateInfo {
    /// The name on the command line.
    pub id: &'static str,
    /// Its stage.
    pub stage: Stage,
    /// What it changes.
    pub description: &'static str,
}

const fn gate(id: &'static str, stage: Stage, description: &'static str) -> GateInfo {
    GateInfo { id, stage, description }
}

/// The gates that a command line may name, sorted by id.
pub const KNOWN_GATES: &[GateInfo] = &[
    gate(
        "confmap.enableMergeAppendOption",
        Stage::Alpha,
        "Joins the lists of extensions, receivers and exporters of all sources",
    ),
    gate("extension.healthcheck.useComponentStatus", Stage::Alpha, "Lets health_check report the status of components"),
    gate("pdata.useProtoPooling", Stage::Alpha, "Accepted; memory is not pooled this way here"),
    gate("pkg.exporterhelper.queueBatchEnabled", Stage::Alpha, "Accepted; batching in the queue needs no gate here"),
    gate("receiverhelper.newReceiverMetrics", Stage::Alpha, "Tells receiver failures apart from refusals further on"),
    gate("service.AllowNoPipelines", Stage::Alpha, "Allows a configuration without pipelines"),
    gate("service.partialReload", Stage::Alpha, "Restarts only what a new configuration changes"),
    gate("service.partialReloadReceivers", Stage::Beta, "Restarts only the receivers that a new configuration changes"),
    gate("service.profilesSupport", Stage::Alpha, "Allows pipelines of profiles"),
    gate("telemetry.newPipelineTelemetry", Stage::Alpha, "Metrics of every hop of a pipeline"),
];

/// Gates of old collectors that manifests and operators still name, sorted by id.
const RETIRED: [&str; 12] = [
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
pub enum GateProblem {
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

impl GateProblem {
    /// Whether it is a notice: the Go collector prints it and continues.
    pub const fn is_notice(&self) -> bool {
        matches!(self, Self::StableEnabled(_) | Self::DeprecatedDisabled(_) | Self::Retired(_))
    }
}

/// Which gates are on.
#[derive(Clone, Debug)]
pub struct Gates {
    known: &'static [GateInfo],
    chosen: BTreeMap<&'static str, bool>,
}

impl Default for Gates {
    fn default() -> Self {
        Self { known: KNOWN_GATES, chosen: BTreeMap::new() }
    }
}

impl Gates {
    /// Reads the values of all `--feature-gates` flags (`a,-b,+c`) in order. A later element overrides an earlier one.
    pub fn parse<S: AsRef<str>>(flags: &[S]) -> (Self, Vec<GateProblem>) {
        Self::parse_with(KNOWN_GATES, flags)
    }

    /// As [`Gates::parse`], with another list of known gates.
    pub fn parse_with<S: AsRef<str>>(known: &'static [GateInfo], flags: &[S]) -> (Self, Vec<GateProblem>) {
        let mut gates = Self { known, chosen: BTreeMap::new() };
        let mut problems = Vec::new();
        for flag in flags.iter().map(AsRef::as_ref).filter(|f| !f.is_empty()) {
            for (index, element) in flag.split(',').enumerate() {
                let result = if element.is_empty() {
                    Err(GateProblem::Empty(index))
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
    pub fn set(&mut self, id: &str, on: bool) -> Result<(), GateProblem> {
        let Some(gate) = self.known.iter().find(|g| g.id == id) else {
            if RETIRED.contains(&id) {
                return Err(GateProblem::Retired(id.to_owned()));
            }
            return Err(GateProblem::Unknown { id: id.to_owned(), valid: self.known.iter().map(|g| g.id).collect() });
        };
        match (gate.stage, on) {
            (Stage::Stable, false) => Err(GateProblem::StableDisabled(id.to_owned())),
            (Stage::Stable, true) => Err(GateProblem::StableEnabled(id.to_owned())),
            (Stage::Deprecated, true) => Err(GateProblem::DeprecatedEnabled(id.to_owned())),
            (Stage::Deprecated, false) => Err(GateProblem::DeprecatedDisabled(id.to_owned())),
            (Stage::Alpha | Stage::Beta, on) => {
                self.chosen.insert(gate.id, on);
                Ok(())
            }
        }
    }

    /// Whether a gate is on; an unknown one is off.
    pub fn enabled(&self, id: &str) -> bool {
        let by_stage = || self.known.iter().any(|g| g.id == id && matches!(g.stage, Stage::Beta | Stage::Stable));
        self.chosen.get(id).copied().unwrap_or_else(by_stage)
    }

    /// Every known gate and whether it is on.
    pub fn list(&self) -> impl Iterator<Item = (&'static GateInfo, bool)> {
        self.known.iter().map(|g| (g, self.enabled(g.id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: &[GateInfo] = &[
        gate("a", Stage::Alpha, ""),
        gate("b", Stage::Beta, ""),
        gate("d", Stage::Deprecated, ""),
        gate("s", Stage::Stable, ""),
    ];

    #[test]
    fn gates_go_on_and_off_and_later_flags_win() {
        let (gates, problems) = Gates::parse(&["service.AllowNoPipelines,-service.partialReloadReceivers", ""]);
        assert_eq!(problems, []);
        assert!(gates.enabled("service.AllowNoPipelines"));
        assert!(!gates.enabled("service.partialReloadReceivers"));
        assert!(Gates::default().enabled("service.partialReloadReceivers"));
        assert!(!Gates::default().enabled("service.profilesSupport"));
        let (gates, _) = Gates::parse_with(SOME, &["+a", "-a"]);
        assert!(!gates.enabled("a"));
    }

    #[test]
    fn every_problem_is_told_in_the_words_of_the_go_collector() {
        let (gates, problems) = Gates::parse_with(SOME, &["x,,-s,s,d,-d,a"]);
        let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
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
        assert!(gates.enabled("a") && gates.enabled("s") && !gates.enabled("d"));
    }

    #[test]
    fn the_known_gates_are_sorted() {
        assert!(KNOWN_GATES.is_sorted_by_key(|g| g.id));
        assert!(RETIRED.is_sorted());
    }

    #[test]
    fn gates_of_old_manifests_are_taken_with_a_notice() {
        let (_, problems) = Gates::parse(&["-component.UseLocalHostAsDefaultHost,-confmap.unifyEnvVarExpansion"]);
        assert_eq!(problems.len(), 2);
        assert!(problems.iter().all(GateProblem::is_notice), "{problems:?}");
    }
}
