//! Checks of the manifests and the configuration against each other, one function for each kind of mistake.
//!
//! An error is something that cannot work in any cluster; a warning is something that the user should check. An object
//! that is not in the files may be in the cluster, and is not a mistake.

mod files;
mod pods;
mod ports;
mod resources;
mod storage;
mod topics;

use otelcore_config::{DiagnosticDraft, DiagnosticKind, Diagnostics, SourceLocation};

pub use self::topics::check_keys_of_topics;
use crate::collector::{Collector, Pod};
use crate::config_effects::ConfigEffects;

/// The input of every check.
#[derive(Clone, Copy)]
struct CheckContext<'a> {
    collector: &'a Collector<'a>,
    pod: Pod<'a>,
    effects: &'a ConfigEffects,
    diagnostics: &'a Diagnostics,
}

impl<'a> CheckContext<'a> {
    /// Counts steps; `false` when there have been too many.
    fn count_steps(&self, count: usize) -> bool {
        self.collector.cluster.count_steps(count)
    }

    fn error(&self, at: &SourceLocation, path: &str, message: String) -> DiagnosticDraft<'a> {
        self.diagnostics.error(at, path, message).kind(DiagnosticKind::Deployment)
    }

    fn warn(&self, at: &SourceLocation, path: &str, message: String) -> DiagnosticDraft<'a> {
        self.diagnostics.warn(at, path, message).kind(DiagnosticKind::Deployment)
    }
}

impl Collector<'_> {
    /// Checks the mounts that the command line needs. `false` if a source of the configuration cannot be read here;
    /// then the caller need not try.
    #[must_use]
    pub fn check_sources(&self, d: &Diagnostics) -> bool {
        files::check_config_sources(self, d)
    }

    /// The checks that do not need the configuration: pods, volumes, requests.
    pub fn check_manifests(&self, d: &Diagnostics) {
        let Some(pod) = self.pod else { return };
        let facts = ConfigEffects::default();
        let context = CheckContext { collector: self, pod, effects: &facts, diagnostics: d };
        files::check_volumes(&context);
        pods::check_selector(&context);
        pods::check_port_conflicts(&context);
        pods::check_host_ports(&context);
        pods::check_commands(&context);
        resources::check_autoscaler(&context);
    }

    /// Checks whether the manifests match what the configuration does.
    pub fn check(&self, effects: &ConfigEffects, d: &Diagnostics) {
        ports::check_duplicate_sockets(effects, self.cluster, d);
        let Some(pod) = self.pod else { return };
        let context = CheckContext { collector: self, pod, effects, diagnostics: d };
        let mut references = ports::PortReferences::default();
        ports::check_services(&context, &mut references);
        ports::check_container_ports(&context, &mut references);
        ports::check_scrape_annotations(&context, &mut references);
        ports::check_probes(&context, &mut references);
        ports::check_loopback_sockets(&context, &references);
        ports::check_foreign_addresses(&context);
        ports::check_unexposed_ports(&context, &references);
        ports::check_network_policies(&context, &references);
        resources::check_memory_limit(&context);
        resources::check_grace_period(&context);
        files::check_named_files(&context);
        storage::check_storage(&context);
        topics::check_topics(&context);
    }
}
