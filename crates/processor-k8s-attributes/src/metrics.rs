//! The processor's own metrics, with the names of the Go collector.

use otelcore_pdata::Signal;
use otelcore_pipeline::{Counter, Gauge, MetricsLevel, Telemetry};

use crate::association::Associations;
use crate::enrich::Counts;
use crate::fields::Kind;
use crate::tables::Change;

macro_rules! names {
    ($kind:literal, $title:literal) => {
        [
            (concat!("otelcol_otelsvc_k8s_", $kind, "_added"), concat!("Number of ", $title, " add events received")),
            (
                concat!("otelcol_otelsvc_k8s_", $kind, "_updated"),
                concat!("Number of ", $title, " update events received"),
            ),
            (
                concat!("otelcol_otelsvc_k8s_", $kind, "_deleted"),
                concat!("Number of ", $title, " delete events received"),
            ),
        ]
    };
}

/// Names and descriptions of the counters of a kind: added, updated, deleted.
const fn names(kind: Kind) -> [(&'static str, &'static str); 3] {
    match kind {
        Kind::Pod => names!("pod", "pod"),
        Kind::Namespace => names!("namespace", "namespace"),
        Kind::Node => names!("node", "node"),
        Kind::ReplicaSet => names!("replicaset", "ReplicaSet"),
        Kind::Deployment => names!("deployment", "deployment"),
        Kind::StatefulSet => names!("statefulset", "statefulset"),
        Kind::DaemonSet => names!("daemonset", "daemonset"),
        Kind::Job => names!("job", "job"),
    }
}

const ASSOCIATION: (&str, &str) = ("otelcol_k8s_pod_association", "Number of pod associations' evaluations");

#[derive(Debug)]
pub(crate) struct Metrics {
    telemetry: Telemetry,
    /// The counters of each kind that is watched.
    kinds: Vec<(Kind, [Counter; 3])>,
    misses: Counter,
    table_size: Gauge,
    /// By signal and association: resources without and with a pod. They exist from the first one on.
    associations: Vec<[Option<Counter>; 2]>,
    labels: Vec<String>,
}

impl Metrics {
    pub(crate) fn new(telemetry: &Telemetry, associations: &Associations) -> Self {
        let mut labels: Vec<String> = associations.list().iter().map(|one| one.label.clone()).collect();
        labels.push(String::new());
        let level = MetricsLevel::Normal;
        Self {
            kinds: Vec::new(),
            misses: telemetry.counter(
                level,
                "otelcol_otelsvc_k8s_ip_lookup_miss",
                "Number of times pod by IP lookup failed",
                Vec::new(),
            ),
            table_size: telemetry.gauge(
                level,
                "otelcol_otelsvc_k8s_pod_table_size",
                "Size of table containing pod info",
                Vec::new(),
            ),
            associations: (0..labels.len() * Signal::ALL.len()).map(|_| [None, None]).collect(),
            labels,
            telemetry: telemetry.clone(),
        }
    }

    /// Adds the counters of what is watched.
    pub(crate) fn add_kinds(&mut self, kinds: &[Kind]) {
        let counters = |kind: &Kind| {
            let counter = |(name, help)| self.telemetry.counter(MetricsLevel::Normal, name, help, Vec::new());
            (*kind, names(*kind).map(counter))
        };
        self.kinds = kinds.iter().map(counters).collect();
    }

    /// Counts changes of objects.
    pub(crate) fn count(&self, kind: Kind, change: Change, count: u64) {
        let index = match change {
            Change::Added => 0,
            Change::Updated => 1,
            Change::Deleted => 2,
            Change::None => return,
        };
        let counters = self.kinds.iter().find(|(known, _)| *known == kind);
        if let Some(counter) = counters.and_then(|(_, counters)| counters.get(index)) {
            counter.add(count);
        }
    }

    pub(crate) fn set_table_size(&self, keys: usize) {
        self.table_size.set(keys as u64);
    }

    /// Takes what was counted for a payload of this signal.
    pub(crate) fn take(&mut self, signal: Signal, counts: &mut Counts) {
        self.misses.add(std::mem::take(&mut counts.misses));
        let Self { telemetry, associations, labels, .. } = self;
        let (name, help) = ASSOCIATION;
        for (index, (count, label)) in counts.resources.iter_mut().zip(labels.iter()).enumerate() {
            for (status, count) in count.iter_mut().enumerate() {
                let count = std::mem::take(count);
                let slot = associations.get_mut(index * Signal::ALL.len() + signal as usize);
                let Some(slot) = slot.and_then(|slots| slots.get_mut(status)).filter(|_| count > 0) else { continue };
                let counter = slot.get_or_insert_with(|| {
                    let status = if status == 0 { "error" } else { "success" };
                    let signal = signal.name().to_owned();
                    let series = vec![
                        ("otelcol_signal", signal),
                        ("pod_identifier", label.clone()),
                        ("status", status.to_owned()),
                    ];
                    telemetry.counter(MetricsLevel::Normal, name, help, series)
                });
                counter.add(count);
            }
        }
    }
}
