//! What the manifests and the configuration say of each other, one function for each kind of mistake.
//!
//! An error is what cannot work in any cluster; a warning is what somebody should look at. What is not in the files may be
//! in the cluster, and is no mistake.

mod files;
mod pods;
mod ports;
mod resources;

use otelcore_config::{Diagnostics, Draft, Kind, Origin};

use crate::collector::{Collector, Pod};
use crate::facts::Facts;

/// What every check looks at.
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
    /// What the command line needs of the mounts. `false` when a source of the configuration can't be read here, so that
    /// there is no use in trying.
    #[must_use]
    pub fn check_sources(&self, d: &Diagnostics) -> bool {
        files::sources(self, d)
    }

    /// What needs no reading of the configuration: pods, volumes, requests.
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

    /// Whether what the configuration does fits what the manifests say.
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
