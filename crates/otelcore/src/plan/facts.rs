//! What a plan needs from its environment, for the checks against Kubernetes manifests.

use std::collections::BTreeSet;
use std::time::Duration;

use otelcore_config::{ComponentId, Effective, Node};
use otelcore_kubernetes::{Facts, Limiter, Listen, NamedFile, Serves};
use otelcore_pipeline::{Endpoint, Kind};

use super::{Configured, Plan, section_name};

const MIB: &str = "limit_mib";
const PERCENTAGE: &str = "limit_percentage";

impl Plan {
    /// Considers only components that run: those that a pipeline or the service names. `root` is the tree that the plan
    /// was read from, for the places.
    pub(crate) fn facts(&self, root: &Node, grace: Duration) -> Facts {
        let shutdown = u64::try_from(grace.as_nanos()).unwrap_or(u64::MAX);
        let mut facts = Facts { shutdown, ..Facts::default() };
        for kind in [Kind::Extension, Kind::Receiver, Kind::Processor, Kind::Exporter] {
            for id in self.running(kind) {
                self.of_component(kind, id, root, &mut facts);
            }
        }
        self.of_telemetry(root, &mut facts);
        facts
    }

    fn configured(&self, kind: Kind) -> &Configured {
        match kind {
            Kind::Receiver => &self.receivers,
            Kind::Processor => &self.processors,
            Kind::Exporter => &self.exporters,
            Kind::Extension => &self.extensions,
        }
    }

    fn running(&self, kind: Kind) -> impl Iterator<Item = &ComponentId> {
        let started: BTreeSet<&ComponentId> = self.started_extensions.iter().collect();
        let runs = move |id: &&ComponentId| match kind {
            Kind::Extension => started.contains(id),
            _ => !self.signals_of(kind, id).is_empty(),
        };
        self.configured(kind).keys().filter(runs)
    }

    fn of_component(&self, kind: Kind, id: &ComponentId, root: &Node, facts: &mut Facts) {
        let section = format!("{}::{id}", section_name(kind));
        for listens in self.configured(kind).get(id).map(|s| s.listens()).unwrap_or_default() {
            let Endpoint::Tcp { host, port } = listens.at else { continue };
            let serves = serves(listens.serves);
            let protocol = match serves {
                Serves::Grpc => " (gRPC)",
                Serves::Http => " (HTTP)",
                _ => "",
            };
            let key = format!("{section}::{}", listens.key);
            facts.listens.push(Listen {
                what: format!("the {} `{id}`{protocol}", kind.name()),
                host,
                port,
                udp: false,
                serves,
                path: listens.path,
                origin: root.nearest_origin(&key).clone(),
                key,
            });
        }
        let Some(effective) = at(&self.effective, &section) else { return };
        let number = |key: &str| match at(effective, key) {
            Some(Effective::Int(v)) => u64::try_from(*v).unwrap_or(0),
            _ => 0,
        };
        if kind == Kind::Processor && id.ty == "memory_limiter" {
            let mib = Some(number(MIB)).filter(|v| *v > 0);
            let key = format!("{section}::{}", if mib.is_some() { MIB } else { PERCENTAGE });
            let origin = root.nearest_origin(&key).clone();
            facts.limiters.push(Limiter { mib, percentage: number(PERCENTAGE), origin, key });
        }
        if let (Kind::Exporter, Some(Effective::Dur(timeout))) = (kind, at(effective, "timeout")) {
            let longest = facts.attempt.as_ref().map_or(0, |(nanos, _)| *nanos);
            if timeout.nanos() > longest && !timeout.is_negative() {
                facts.attempt = Some((timeout.nanos(), id.to_string()));
            }
        }
        files(effective, &section, root, &mut facts.reads);
    }

    fn of_telemetry(&self, root: &Node, facts: &mut Facts) {
        const METRICS: &str = "service::telemetry::metrics";
        for (index, page) in self.telemetry.metrics.iter().enumerate() {
            let reader = root.at(&format!("{METRICS}::readers")).and_then(|n| n.items().get(index));
            let key = if root.at(&format!("{METRICS}::address")).is_some() { "address" } else { "readers" };
            let key = format!("{METRICS}::{key}");
            let origin = reader
                .map_or_else(|| root.nearest_origin(&key), |r| r.nearest_origin("pull::exporter::prometheus::host"));
            facts.listens.push(Listen {
                what: "the page of the collector's own metrics".to_owned(),
                host: page.host.clone(),
                port: page.port,
                udp: false,
                serves: Serves::OwnMetrics,
                path: "/metrics".to_owned(),
                origin: origin.clone(),
                key,
            });
        }
        let key = "service::telemetry::logs::output_paths";
        for path in self.telemetry.logs.output_paths.iter().filter(|p| p.starts_with('/')) {
            let origin = root.nearest_origin(key).clone();
            facts.writes.push(NamedFile { path: path.clone(), origin, key: key.to_owned() });
        }
    }
}

fn serves(serves: otelcore_pipeline::Serves) -> Serves {
    match serves {
        otelcore_pipeline::Serves::Grpc => Serves::Grpc,
        otelcore_pipeline::Serves::Http => Serves::Http,
        otelcore_pipeline::Serves::Health => Serves::Health,
        otelcore_pipeline::Serves::Metrics => Serves::Metrics,
        otelcore_pipeline::Serves::Other => Serves::Other,
    }
}

fn at<'e>(effective: &'e Effective, path: &str) -> Option<&'e Effective> {
    path.split("::").try_fold(effective, |value, key| match value {
        Effective::Map(map) => map.get(key),
        _ => None,
    })
}

/// Finds files by the names of their keys, which are the same in all components: `cert_file`, `ca_file`,
/// `htpasswd::file`, `filename`.
fn files(effective: &Effective, path: &str, root: &Node, found: &mut Vec<NamedFile>) {
    let Effective::Map(map) = effective else { return };
    for (key, value) in map {
        let path = format!("{path}::{key}");
        match value {
            Effective::Str(file)
                if (key.ends_with("_file") || key == "file" || key == "filename") && !file.is_empty() =>
            {
                let origin = root.nearest_origin(&path).clone();
                found.push(NamedFile { path: file.clone(), origin, key: path });
            }
            _ => files(value, &path, root, found),
        }
    }
}
