//! Makes metrics of the answers of a kubelet. Runs in jobs: an answer may be long.
//!
//! Does no IO and reads no clock. What the claims of volumes stand for is looked up between two jobs.

use std::collections::BTreeMap;

use otelcore_pdata::build::Body;
use otelcore_scraped_metrics::{Recorder, ResourceAttributes};

use crate::config::{KubeletAttribute as Attribute, KubeletMetric as Metric, KubeletStatsConfig, MetricGroup};
use crate::pods::{PersistentSource, PodList, PodTable, Resources};
use crate::summary::{
    ContainerStats, CpuStats, FsStats, InterfaceStats, MemoryStats, NetworkStats, NodeStats, PodStats, StartTime,
    Summary, VolumeStats,
};
use crate::volumes::{set_persistent, set_volume};

/// The scope of these metrics.
const SCOPE: &str = "github.com/open-telemetry/opentelemetry-collector-contrib/receiver/kubeletstatsreceiver";

/// The longest payload of one scrape. Containers and volumes for which there is no room are left out.
const MAX_BODY: usize = 64 << 20;
/// How many warnings of one scrape are kept.
const MAX_WARNINGS: usize = 20;
/// How many claims are looked up in one scrape.
pub(crate) const MAX_CLAIMS: usize = 1000;

const NANOS: f64 = 1_000_000_000.0;
const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// What the node has.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct NodeCapacity {
    /// Cores; zero if not known.
    pub(crate) cpu: f64,
    /// Bytes; zero if not known.
    pub(crate) memory: f64,
}

/// Identifies a volume: the UID of its pod, and its name there.
pub(crate) type VolumeKey = (String, String);

/// The claim of a volume.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Claim {
    pub(crate) volume: VolumeKey,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// What is behind claims, or why that is not known.
pub(crate) type ClaimedVolumes = BTreeMap<VolumeKey, Result<PersistentSource, String>>;

/// The answers of a kubelet.
#[derive(Debug, Default)]
pub(crate) struct KubeletAnswers {
    summary: Summary,
    /// `None` if they were not asked for.
    pods: Option<PodList>,
}

impl KubeletAnswers {
    /// Reads the answers, of which each has its URL for errors.
    ///
    /// # Errors
    /// An answer is not what the kubelet answers.
    pub(crate) fn parse(summary: (&str, &[u8]), pods: Option<(&str, &[u8])>) -> Result<Self, String> {
        let error = |url: &str, error: serde_json::Error| format!("the answer of GET {url} is not valid: {error}");
        let (url, body) = summary;
        // Go replaces bytes that are not UTF-8 too.
        let text = String::from_utf8_lossy(body);
        let summary = serde_json::from_str(&text).map_err(|e| error(url, e))?;
        let read = |(url, body): (&str, &[u8])| {
            serde_json::from_str(&String::from_utf8_lossy(body)).map_err(|e| error(url, e))
        };
        Ok(Self { summary, pods: pods.map(read).transpose()? })
    }

    /// The claims of the volumes that are reported.
    pub(crate) fn claims(&self) -> Vec<Claim> {
        let Some(pods) = &self.pods else { return Vec::new() };
        let table = PodTable::new(pods);
        let mut claims = Vec::new();
        for pod in &self.summary.pods {
            for volume in &pod.volume_stats {
                let found = table.volume(&pod.pod_ref.uid, &volume.name).ok();
                let claim = found.filter(|volume| is_claim(volume)).and_then(|v| v.persistent_volume_claim.as_ref());
                claims.extend(claim.map(|claim| Claim {
                    volume: (pod.pod_ref.uid.clone(), volume.name.clone()),
                    namespace: pod.pod_ref.namespace.clone(),
                    name: claim.claim_name.clone(),
                }));
            }
        }
        claims
    }
}

/// Whether the source of a volume is a claim.
fn is_claim(volume: &crate::pods::Volume) -> bool {
    volume.persistent_volume_claim.is_some()
}

/// A container or volume whose metrics are not sent.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct LeftOut {
    /// Whether it is a volume.
    pub(crate) is_volume: bool,
    pub(crate) pod: String,
    pub(crate) name: String,
    pub(crate) error: String,
}

/// What a scrape has given.
#[derive(Debug)]
pub(crate) struct ScrapeOutput {
    pub(crate) body: Body,
    /// How many metrics are in it.
    pub(crate) metrics: usize,
    pub(crate) left_out: Vec<LeftOut>,
    /// Those that are not in `left_out`.
    pub(crate) more_left_out: usize,
    /// Resources that are left out because there is no room in a payload.
    pub(crate) above_limit: usize,
}

/// The indexes of the metrics of something that has a CPU.
struct CpuMetrics {
    time: Metric,
    usage: Metric,
    /// Parts of the node, of the limit and of the request.
    utilization: Option<[Metric; 3]>,
}

/// The indexes of the metrics of something that has memory.
struct MemoryMetrics {
    usage: Metric,
    working_set: Metric,
    /// Available bytes, resident bytes, page faults, major page faults.
    details: Option<[Metric; 4]>,
    /// Parts of the node, of the limit and of the request.
    utilization: Option<[Metric; 3]>,
}

const NODE_CPU: CpuMetrics = CpuMetrics { time: Metric::NodeCpuTime, usage: Metric::NodeCpuUsage, utilization: None };
const SYSTEM_CONTAINER_CPU: CpuMetrics = CpuMetrics {
    time: Metric::NodeSystemContainerCpuTime,
    usage: Metric::NodeSystemContainerCpuUsage,
    utilization: None,
};
const POD_CPU: CpuMetrics = CpuMetrics {
    time: Metric::PodCpuTime,
    usage: Metric::PodCpuUsage,
    utilization: Some([
        Metric::PodCpuNodeUtilization,
        Metric::PodCpuLimitUtilization,
        Metric::PodCpuRequestUtilization,
    ]),
};
const CONTAINER_CPU: CpuMetrics = CpuMetrics {
    time: Metric::ContainerCpuTime,
    usage: Metric::ContainerCpuUsage,
    utilization: Some([
        Metric::K8sContainerCpuNodeUtilization,
        Metric::K8sContainerCpuLimitUtilization,
        Metric::K8sContainerCpuRequestUtilization,
    ]),
};
const NODE_MEMORY: MemoryMetrics = MemoryMetrics {
    usage: Metric::NodeMemoryUsage,
    working_set: Metric::NodeMemoryWorkingSet,
    details: Some([
        Metric::NodeMemoryAvailable,
        Metric::NodeMemoryRss,
        Metric::NodeMemoryPageFaults,
        Metric::NodeMemoryMajorPageFaults,
    ]),
    utilization: None,
};
const SYSTEM_CONTAINER_MEMORY: MemoryMetrics = MemoryMetrics {
    usage: Metric::NodeSystemContainerMemoryUsage,
    working_set: Metric::NodeSystemContainerMemoryWorkingSet,
    details: None,
    utilization: None,
};
const POD_MEMORY: MemoryMetrics = MemoryMetrics {
    usage: Metric::PodMemoryUsage,
    working_set: Metric::PodMemoryWorkingSet,
    details: Some([
        Metric::PodMemoryAvailable,
        Metric::PodMemoryRss,
        Metric::PodMemoryPageFaults,
        Metric::PodMemoryMajorPageFaults,
    ]),
    utilization: Some([
        Metric::PodMemoryNodeUtilization,
        Metric::PodMemoryLimitUtilization,
        Metric::PodMemoryRequestUtilization,
    ]),
};
const CONTAINER_MEMORY: MemoryMetrics = MemoryMetrics {
    usage: Metric::ContainerMemoryUsage,
    working_set: Metric::ContainerMemoryWorkingSet,
    details: Some([
        Metric::ContainerMemoryAvailable,
        Metric::ContainerMemoryRss,
        Metric::ContainerMemoryPageFaults,
        Metric::ContainerMemoryMajorPageFaults,
    ]),
    utilization: Some([
        Metric::K8sContainerMemoryNodeUtilization,
        Metric::K8sContainerMemoryLimitUtilization,
        Metric::K8sContainerMemoryRequestUtilization,
    ]),
};

/// Available bytes, capacity, used bytes.
type FsMetrics = [Metric; 3];
const NODE_FS: FsMetrics =
    [Metric::NodeFilesystemAvailable, Metric::NodeFilesystemCapacity, Metric::NodeFilesystemUsage];
const POD_FS: FsMetrics = [Metric::PodFilesystemAvailable, Metric::PodFilesystemCapacity, Metric::PodFilesystemUsage];
const CONTAINER_FS: FsMetrics =
    [Metric::ContainerFilesystemAvailable, Metric::ContainerFilesystemCapacity, Metric::ContainerFilesystemUsage];

/// Makes the metrics. It is in a job while a scrape is written.
#[derive(Debug)]
pub(crate) struct MetricsWriter {
    recorder: Recorder,
    resource: ResourceAttributes,
    has_containers: bool,
    has_pods: bool,
    has_nodes: bool,
    has_volumes: bool,
    has_container_ids: bool,
    has_volume_types: bool,
    /// All interfaces of nodes, and of pods.
    all_node_interfaces: bool,
    all_pod_interfaces: bool,
    /// The start time of metrics of volumes, which have none: when the receiver was started, in nanoseconds since 1970.
    started: u64,
    now: u64,
}

impl MetricsWriter {
    /// `started` is when the receiver was started, in nanoseconds since 1970.
    pub(crate) fn new(config: &KubeletStatsConfig, started: u64) -> Self {
        let interfaces = &config.collect_all_network_interfaces;
        Self {
            recorder: Recorder::new(SCOPE, "", config.metrics.settings()),
            resource: ResourceAttributes::new(config.resource_attributes.settings()),
            has_containers: config.has_group(MetricGroup::Container),
            has_pods: config.has_group(MetricGroup::Pod),
            has_nodes: config.has_group(MetricGroup::Node),
            has_volumes: config.has_group(MetricGroup::Volume),
            has_container_ids: config.has_container_ids(),
            has_volume_types: config.has_volume_types(),
            all_node_interfaces: interfaces.node,
            all_pod_interfaces: interfaces.pod,
            started,
            now: started,
        }
    }

    /// Makes the metrics of a scrape at `now`, in nanoseconds since 1970. Without `claimed`, claims are not resolved.
    pub(crate) fn write(
        &mut self,
        answers: &KubeletAnswers,
        capacity: NodeCapacity,
        claimed: Option<&ClaimedVolumes>,
        now: u64,
    ) -> ScrapeOutput {
        let mut output =
            ScrapeOutput { body: Body::new(), metrics: 0, left_out: Vec::new(), more_left_out: 0, above_limit: 0 };
        self.now = now;
        let pods = answers.pods.as_ref().map(PodTable::new).unwrap_or_default();
        if self.has_nodes {
            self.write_node(&answers.summary.node, &mut output);
        }
        for pod in &answers.summary.pods {
            if self.has_pods && output.has_room() {
                self.write_pod(pod, pods.pod_resources(&pod.pod_ref.uid), capacity, &mut output);
            }
            let containers = if self.has_containers { &pod.containers[..] } else { &[] };
            for container in containers {
                if output.has_room()
                    && let Err(error) = self.write_container(pod, container, &pods, capacity, &mut output)
                {
                    output.leave_out(false, pod, &container.name, error);
                }
            }
            let volumes = if self.has_volumes { &pod.volume_stats[..] } else { &[] };
            for volume in volumes {
                if output.has_room()
                    && let Err(error) = self.write_volume(pod, volume, &pods, claimed, &mut output)
                {
                    output.leave_out(true, pod, &volume.name, error);
                }
            }
        }
        output
    }

    fn write_node(&mut self, node: &NodeStats, output: &mut ScrapeOutput) {
        self.resource.clear();
        self.resource.set(Attribute::NodeName, &node.node_name);
        self.uptime(Metric::NodeUptime, node.start_time);
        self.cpu(&NODE_CPU, node.cpu.as_ref(), Resources::default(), 0.0);
        self.memory(&NODE_MEMORY, node.memory.as_ref(), Resources::default(), 0.0);
        self.filesystem(NODE_FS, node.fs.as_ref());
        let all = self.all_node_interfaces;
        self.network([Metric::NodeNetworkIo, Metric::NodeNetworkErrors], node.network.as_ref(), all);
        self.emit(node.start_time, output);
        for container in &node.system_containers {
            if !output.has_room() {
                continue;
            }
            self.resource.clear();
            self.resource.set(Attribute::NodeName, &node.node_name);
            self.resource.set(Attribute::NodeSystemContainerName, &container.name);
            self.cpu(&SYSTEM_CONTAINER_CPU, container.cpu.as_ref(), Resources::default(), 0.0);
            self.memory(&SYSTEM_CONTAINER_MEMORY, container.memory.as_ref(), Resources::default(), 0.0);
            self.emit(container.start_time, output);
        }
    }

    fn set_pod(&mut self, pod: &PodStats) {
        self.resource.clear();
        self.resource.set(Attribute::PodUid, &pod.pod_ref.uid);
        self.resource.set(Attribute::PodName, &pod.pod_ref.name);
        self.resource.set(Attribute::NamespaceName, &pod.pod_ref.namespace);
    }

    fn write_pod(&mut self, pod: &PodStats, resources: Resources, capacity: NodeCapacity, output: &mut ScrapeOutput) {
        self.set_pod(pod);
        self.uptime(Metric::PodUptime, pod.start_time);
        self.cpu(&POD_CPU, pod.cpu.as_ref(), resources, capacity.cpu);
        self.memory(&POD_MEMORY, pod.memory.as_ref(), resources, capacity.memory);
        self.filesystem(POD_FS, pod.ephemeral_storage.as_ref());
        let all = self.all_pod_interfaces;
        self.network([Metric::PodNetworkIo, Metric::PodNetworkErrors], pod.network.as_ref(), all);
        self.emit(pod.start_time, output);
    }

    fn write_container(
        &mut self,
        pod: &PodStats,
        container: &ContainerStats,
        pods: &PodTable<'_>,
        capacity: NodeCapacity,
        output: &mut ScrapeOutput,
    ) -> Result<(), String> {
        self.set_pod(pod);
        self.resource.set(Attribute::ContainerName, &container.name);
        let uid = &pod.pod_ref.uid;
        if self.has_container_ids {
            let id = pods.container_id(uid, &container.name);
            self.resource.set(Attribute::ContainerId, id.map_err(in_labels)?);
        }
        let resources = pods.container_resources(uid, &container.name);
        self.uptime(Metric::ContainerUptime, container.start_time);
        self.cpu(&CONTAINER_CPU, container.cpu.as_ref(), resources, capacity.cpu);
        self.memory(&CONTAINER_MEMORY, container.memory.as_ref(), resources, capacity.memory);
        self.filesystem(CONTAINER_FS, container.rootfs.as_ref());
        for (fs, name) in [(&container.rootfs, "rootfs"), (&container.logs, "logs")] {
            if let Some(bytes) = fs.as_ref().and_then(|fs| fs.used_bytes) {
                self.recorder.uint(Metric::K8sContainerEphemeralStorageUsage, self.now, bytes, &[name]);
            }
        }
        self.emit(container.start_time, output);
        Ok(())
    }

    fn write_volume(
        &mut self,
        pod: &PodStats,
        volume: &VolumeStats,
        pods: &PodTable<'_>,
        claimed: Option<&ClaimedVolumes>,
        output: &mut ScrapeOutput,
    ) -> Result<(), String> {
        self.set_pod(pod);
        self.resource.set(Attribute::VolumeName, &volume.name);
        let uid = &pod.pod_ref.uid;
        if self.has_volume_types {
            let found = pods.volume(uid, &volume.name).map_err(in_labels)?;
            set_volume(&mut self.resource, found);
            if let Some(claimed) = claimed.filter(|_| is_claim(found)) {
                match claimed.get(&(uid.clone(), volume.name.clone())) {
                    Some(Ok(source)) => set_persistent(&mut self.resource, source),
                    Some(Err(error)) => {
                        return Err(in_labels(format!("failed to set labels from volume claim: {error}")));
                    }
                    None => {
                        let error = format!("failed to set labels from volume claim: more than {MAX_CLAIMS} claims");
                        return Err(in_labels(error));
                    }
                }
            }
        }
        for (metric, value) in [
            (Metric::VolumeAvailable, volume.available_bytes),
            (Metric::VolumeCapacity, volume.capacity_bytes),
            (Metric::PodVolumeUsage, volume.used_bytes),
            (Metric::VolumeInodes, volume.inodes),
            (Metric::VolumeInodesFree, volume.inodes_free),
            (Metric::VolumeInodesUsed, volume.inodes_used),
        ] {
            self.uint(metric, value);
        }
        output.metrics += self.recorder.emit_for(&mut output.body, self.started, &self.resource);
        Ok(())
    }

    /// Writes the points of the resource. Without a start time, points have none.
    fn emit(&mut self, start: StartTime, output: &mut ScrapeOutput) {
        let start = start.0.map_or(0, i64::cast_unsigned);
        output.metrics += self.recorder.emit_for(&mut output.body, start, &self.resource);
    }

    fn uint(&mut self, metric: Metric, value: Option<u64>) {
        if let Some(value) = value {
            self.recorder.uint(metric, self.now, value, &[]);
        }
    }

    /// Whole seconds since the start.
    fn uptime(&mut self, metric: Metric, start: StartTime) {
        if let Some(start) = start.0 {
            let seconds = (i128::from(self.now) - i128::from(start)) / NANOS_PER_SECOND;
            self.recorder.int(metric, self.now, i64::try_from(seconds).unwrap_or(i64::MAX), &[]);
        }
    }

    /// Parts of the node, of the limit and of the request, as far as these are known.
    fn utilization(&mut self, metrics: Option<[Metric; 3]>, used: f64, whole: [f64; 3]) {
        for (metric, whole) in metrics.into_iter().flatten().zip(whole) {
            if whole > 0.0 {
                self.recorder.double(metric, self.now, used / whole, &[]);
            }
        }
    }

    fn cpu(&mut self, metrics: &CpuMetrics, stats: Option<&CpuStats>, resources: Resources, node: f64) {
        let Some(stats) = stats else { return };
        if let Some(nano_cores) = stats.usage_nano_cores {
            let cores = nano_cores as f64 / NANOS;
            self.recorder.double(metrics.usage, self.now, cores, &[]);
            self.utilization(metrics.utilization, cores, [node, resources.cpu_limit, resources.cpu_request]);
        }
        if let Some(nanoseconds) = stats.usage_core_nano_seconds {
            self.recorder.double(metrics.time, self.now, nanoseconds as f64 / NANOS, &[]);
        }
    }

    fn memory(&mut self, metrics: &MemoryMetrics, stats: Option<&MemoryStats>, resources: Resources, node: f64) {
        let Some(stats) = stats else { return };
        self.uint(metrics.usage, stats.usage_bytes);
        self.uint(metrics.working_set, stats.working_set_bytes);
        let details = [stats.available_bytes, stats.rss_bytes, stats.page_faults, stats.major_page_faults];
        for (metric, value) in metrics.details.into_iter().flatten().zip(details) {
            self.uint(metric, value);
        }
        if let Some(bytes) = stats.usage_bytes {
            let whole = [node, resources.memory_limit as f64, resources.memory_request as f64];
            self.utilization(metrics.utilization, bytes as f64, whole);
        }
    }

    fn filesystem(&mut self, metrics: FsMetrics, stats: Option<&FsStats>) {
        let Some(stats) = stats else { return };
        let values = [stats.available_bytes, stats.capacity_bytes, stats.used_bytes];
        for (metric, value) in metrics.into_iter().zip(values) {
            self.uint(metric, value);
        }
    }

    /// Bytes and errors of the default interface, or of all.
    fn network(&mut self, metrics: [Metric; 2], stats: Option<&NetworkStats>, all: bool) {
        let Some(stats) = stats else { return };
        let default = InterfaceStats {
            name: stats.name.clone(),
            rx_bytes: stats.rx_bytes,
            rx_errors: stats.rx_errors,
            tx_bytes: stats.tx_bytes,
            tx_errors: stats.tx_errors,
        };
        let interfaces = if all { &stats.interfaces[..] } else { std::slice::from_ref(&default) };
        let [io, errors] = metrics;
        for interface in interfaces {
            for (metric, value, direction) in [
                (io, interface.rx_bytes, "receive"),
                (io, interface.tx_bytes, "transmit"),
                (errors, interface.rx_errors, "receive"),
                (errors, interface.tx_errors, "transmit"),
            ] {
                if let Some(value) = value {
                    self.recorder.uint(metric, self.now, value, &[&interface.name, direction]);
                }
            }
        }
    }
}

impl ScrapeOutput {
    /// Whether there is room for another resource; counts it otherwise.
    fn has_room(&mut self) -> bool {
        let has_room = self.body.bytes().len() <= MAX_BODY;
        self.above_limit += usize::from(!has_room);
        has_room
    }

    fn leave_out(&mut self, is_volume: bool, pod: &PodStats, name: &str, error: String) {
        if self.left_out.len() < MAX_WARNINGS {
            self.left_out.push(LeftOut { is_volume, pod: pod.pod_ref.name.clone(), name: name.to_owned(), error });
        } else {
            self.more_left_out += 1;
        }
    }
}

fn in_labels(error: String) -> String {
    format!("failed to set extra labels from metadata: {error}")
}
