//! Checks of the manifests and the configuration against each other, one function for each kind of mistake.
//!
//! An error is something that cannot work in any cluster; a warning is something that the user should check. An object
//! that is not in the files may be in the cluster, and is not a mistake.

mod files;
mod pods;
mod ports;
mod resources;

use otelcore_config::{Diagnostics, Draft, Kind, Origin};

use crate::collector::{Collector, Pod};
use crate::facts::Facts;

/// The input of every check.
#[derive(Clone, Copy)]
struct Check<'a> {
    collector: &'a Collector<'a>,
    pod: Pod<'a>,
    facts: &'a Facts,
    d: &'a Diagnostics,
}

impl<'a> Check<'a> {
    /// Counts steps; `false` when there have been too many.
    fn spend(&self, count: usize) -> bool {
        self.collector.cluster.spend(count)
    }

    fn error(&self, at: &Origin, path: &str, message: String) -> Draft<'a> {
        self.d.error(at, path, message).kind(Kind::Deployment)
    }

    fn warn(&self, at: &Origin, path: &str, message: String) -> Draft<'a> {
        self.d.warn(at, path, message).kind(Kind::Deployment)
    }
}

impl Collector<'_> {
    /// Checks the mounts that the command line needs. `false` if a source of the configuration cannot be read here;
    /// then the caller need not try.
    #[must_use]
    pub fn check_sources(&self, d: &Diagnostics) -> bool {
        files::sources(self, d)
    }

    /// The checks that do not need the configuration: pods, volumes, requests.
    pub fn check_manifests(&self, d: &Diagnostics) {
        let Some(pod) = self.pod else { return };
        let facts = Facts::default();
        let check = Check { collector: self, pod, facts: &facts, d };
        files::volumes(&check);
        pods::selector(&check);
        pods::two_on_one_port(&check);
        pods::host_ports(&check);
        pods::commands(&check);
        resources::autoscaler(&check);
    }

    /// Checks whether the manifests match what the configuration does.
    pub fn check(&self, facts: &Facts, d: &Diagnostics) {
        ports::twice(facts, self.cluster, d);
        let Some(pod) = self.pod else { return };
        let check = Check { collector: self, pod, facts, d };
        let mut asked = ports::Asked::default();
        ports::services(&check, &mut asked);
        ports::container_ports(&check, &mut asked);
        ports::scrapes(&check, &mut asked);
        ports::probes(&check, &mut asked);
        ports::loopback(&check, &asked);
        ports::foreign(&check);
        ports::unexposed(&check, &asked);
        ports::policies(&check, &asked);
        resources::memory(&check);
        resources::grace(&check);
        files::named(&check);
    }
}
