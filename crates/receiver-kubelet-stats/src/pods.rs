//! The answer of `/pods`: what containers request, which volumes pods have, and how the runtime names containers.

use std::collections::BTreeMap;

use otelcore_kubernetes_client::Quantity;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::summary::{answer, or_default};

answer! {
    /// The whole answer.
    PodList {
        items: Vec<Pod>,
    }

    Pod {
        metadata: Metadata,
        spec: PodSpec,
        status: PodStatus,
    }

    Metadata {
        uid: String,
    }

    PodSpec {
        containers: Vec<Container>,
        volumes: Vec<Volume>,
    }

    Container {
        name: String,
        resources: Requirements,
    }

    Requirements {
        requests: ResourceList,
        limits: ResourceList,
    }

    ResourceList {
        cpu: Quantity,
        memory: Quantity,
    }

    PodStatus {
        container_statuses: Vec<ContainerStatus>,
        init_container_statuses: Vec<ContainerStatus>,
    }

    ContainerStatus {
        name: String,
        #[serde(rename = "containerID")]
        container_id: String,
    }

    /// A volume of a pod. At most one of its types is there.
    Volume {
        name: String,
        config_map: Option<IgnoredAny>,
        #[serde(rename = "downwardAPI")]
        downward_api: Option<IgnoredAny>,
        empty_dir: Option<IgnoredAny>,
        secret: Option<IgnoredAny>,
        persistent_volume_claim: Option<ClaimSource>,
        host_path: Option<IgnoredAny>,
        aws_elastic_block_store: Option<AwsSource>,
        gce_persistent_disk: Option<GceSource>,
        glusterfs: Option<GlusterfsSource>,
    }

    ClaimSource {
        claim_name: String,
    }

    AwsSource {
        #[serde(rename = "volumeID")]
        volume_id: String,
        fs_type: String,
        partition: i32,
    }

    GceSource {
        pd_name: String,
        fs_type: String,
        partition: i32,
    }

    GlusterfsSource {
        endpoints: String,
        path: String,
    }

    /// The source of a persistent volume. At most one of its types is there.
    PersistentSource {
        local: Option<IgnoredAny>,
        aws_elastic_block_store: Option<AwsSource>,
        gce_persistent_disk: Option<GceSource>,
        glusterfs: Option<GlusterfsSource>,
    }
}

/// Requests and limits of a container, or of all containers of a pod. Zero is none.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Resources {
    /// Cores.
    pub(crate) cpu_request: f64,
    pub(crate) cpu_limit: f64,
    /// Bytes.
    pub(crate) memory_request: i64,
    pub(crate) memory_limit: i64,
}

impl Resources {
    fn of(requirements: &Requirements) -> Self {
        Self {
            cpu_request: requirements.requests.cpu.as_f64(),
            cpu_limit: requirements.limits.cpu.as_f64(),
            memory_request: requirements.requests.memory.value(),
            memory_limit: requirements.limits.memory.value(),
        }
    }

    /// Those of all containers: a sum, which is zero where a container has none.
    fn of_pod(containers: &[Container]) -> Self {
        let all: Vec<Self> = containers.iter().map(|container| Self::of(&container.resources)).collect();
        let cores = |get: fn(&Self) -> f64| {
            let is_defined = all.iter().all(|container| get(container) != 0.0);
            if is_defined { all.iter().map(get).sum() } else { 0.0 }
        };
        let bytes = |get: fn(&Self) -> i64| {
            let is_defined = all.iter().all(|container| get(container) != 0);
            if is_defined { all.iter().map(get).fold(0, i64::wrapping_add) } else { 0 }
        };
        Self {
            cpu_request: cores(|container| container.cpu_request),
            cpu_limit: cores(|container| container.cpu_limit),
            memory_request: bytes(|container| container.memory_request),
            memory_limit: bytes(|container| container.memory_limit),
        }
    }
}

/// What is known of a pod.
#[derive(Debug, Default)]
struct PodFacts<'p> {
    resources: Resources,
    containers: BTreeMap<&'p str, Resources>,
    container_ids: BTreeMap<&'p str, &'p str>,
    volumes: BTreeMap<&'p str, &'p Volume>,
}

/// The pods by their UID. Of two with the same UID, or of two parts with the same name, the one is used that the Go
/// receiver uses.
#[derive(Debug, Default)]
pub(crate) struct PodTable<'p>(BTreeMap<&'p str, PodFacts<'p>>);

impl<'p> PodTable<'p> {
    pub(crate) fn new(pods: &'p PodList) -> Self {
        let mut table: BTreeMap<&str, PodFacts<'_>> = BTreeMap::new();
        for pod in &pods.items {
            let facts = table.entry(&pod.metadata.uid).or_default();
            facts.resources = Resources::of_pod(&pod.spec.containers);
            for container in &pod.spec.containers {
                facts.containers.insert(&container.name, Resources::of(&container.resources));
            }
            for status in pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses) {
                facts.container_ids.entry(&status.name).or_insert(&status.container_id);
            }
            for volume in &pod.spec.volumes {
                facts.volumes.entry(&volume.name).or_insert(volume);
            }
        }
        Self(table)
    }

    /// Zero for a pod that is not known.
    pub(crate) fn pod_resources(&self, uid: &str) -> Resources {
        self.0.get(uid).map(|pod| pod.resources).unwrap_or_default()
    }

    /// Zero for a container that is not known.
    pub(crate) fn container_resources(&self, uid: &str, container: &str) -> Resources {
        self.0.get(uid).and_then(|pod| pod.containers.get(container).copied()).unwrap_or_default()
    }

    /// The identifier of a container, without the name of its runtime.
    ///
    /// # Errors
    /// The container is not known, or has none yet.
    pub(crate) fn container_id(&self, uid: &str, container: &str) -> Result<&'p str, String> {
        match self.0.get(uid).and_then(|pod| pod.container_ids.get(container)) {
            None => Err(format!("pod {uid:?} with container {container:?} not found in the fetched metadata")),
            Some(id) if id.trim().is_empty() => {
                Err(format!("pod {uid:?} with container {container:?} has an empty containerID"))
            }
            Some(id) => Ok(without_runtime(id)),
        }
    }

    /// # Errors
    /// The volume is not known.
    pub(crate) fn volume(&self, uid: &str, volume: &str) -> Result<&'p Volume, String> {
        let found = self.0.get(uid).and_then(|pod| pod.volumes.get(volume).copied());
        found.ok_or_else(|| format!("pod {uid:?} with volume {volume:?} not found in the fetched metadata"))
    }
}

/// `containerd://1234` without `containerd://`.
fn without_runtime(id: &str) -> &str {
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    match id.split_once("://") {
        Some((runtime, rest)) if is_name(runtime) => rest,
        _ => id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(json: &str) -> PodList {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn pod_has_the_sum_of_its_containers_where_each_has_a_value() {
        let pods = pods(
            r#"{"items":[{"metadata":{"uid":"u"},"spec":{"containers":[
            {"name":"a","resources":{"requests":{"cpu":"100m","memory":"1Ki"},"limits":{"cpu":"1","memory":"1Mi"}}},
            {"name":"b","resources":{"requests":{"cpu":"250m"},"limits":{"cpu":"500m","memory":"1Mi"}}}]}}]}"#,
        );
        let table = PodTable::new(&pods);
        let pod = table.pod_resources("u");
        assert!((pod.cpu_request - 0.35).abs() < 1e-12 && (pod.cpu_limit - 1.5).abs() < 1e-12, "{pod:?}");
        assert_eq!((pod.memory_request, pod.memory_limit), (0, 2 << 20));
        assert_eq!(table.container_resources("u", "a").memory_request, 1024);
        assert_eq!(table.container_resources("u", "c"), Resources::default());
        assert_eq!(table.pod_resources("v"), Resources::default());
    }

    #[test]
    fn container_id_has_no_runtime_and_its_absence_is_an_error() {
        let pods = pods(
            r#"{"items":[{"metadata":{"uid":"u"},"status":{"containerStatuses":[{"name":"a","containerID":"containerd://1"},
            {"name":"b","containerID":" "},{"name":"c","containerID":"a b://2"},{"name":"a","containerID":"x://9"}],
            "initContainerStatuses":[{"name":"d","containerID":"cri-o://3"}]}}]}"#,
        );
        let table = PodTable::new(&pods);
        assert_eq!(table.container_id("u", "a").unwrap(), "1");
        assert_eq!(table.container_id("u", "c").unwrap(), "a b://2");
        assert_eq!(table.container_id("u", "d").unwrap(), "3");
        let error = |uid, name| table.container_id(uid, name).unwrap_err();
        assert_eq!(error("u", "b"), "pod \"u\" with container \"b\" has an empty containerID");
        assert_eq!(error("v", "a"), "pod \"v\" with container \"a\" not found in the fetched metadata");
    }
}
