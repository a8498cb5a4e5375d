//! Objects of a cluster as structs: the members of which metrics are made. Null is the same as absence.

use std::collections::BTreeMap;

use otelcore_kubernetes_client::{ObjectMeta, Quantity};
use serde::{Deserialize, Deserializer};

/// Null is the default.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Quantities by the names of resources: `cpu`, `memory`.
pub(super) type Quantities = BTreeMap<String, Quantity>;

/// Declares a struct whose members may be absent or null.
macro_rules! object {
    ($name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* }) => {
        #[derive(Debug, Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        pub(super) struct $name {
            $(
                #[serde(deserialize_with = "or_default")]
                $(#[$attribute])*
                pub(super) $field: $type,
            )*
        }
    };
}

object! { Pod { metadata: ObjectMeta, spec: PodSpec, status: PodStatus, } }
object! { PodSpec { node_name: String, containers: Vec<Container>, } }
object! { Container { name: String, resources: ContainerResources, } }
object! { ContainerResources { requests: Quantities, limits: Quantities, } }
object! { PodStatus { phase: String, reason: String, qos_class: String, container_statuses: Vec<ContainerStatus>, } }
object! { ContainerStatus {
    name: String,
    image: String,
    #[serde(rename = "containerID")]
    container_id: String,
    restart_count: i64,
    ready: bool,
    state: ContainerState,
    last_state: ContainerState,
} }
object! { ContainerState {
    running: Option<EmptyObject>,
    terminated: Option<ContainerReason>,
    waiting: Option<ContainerReason>,
} }
object! { EmptyObject {} }
object! { ContainerReason { reason: String, } }

object! { Node { metadata: ObjectMeta, status: NodeStatus, } }
object! { NodeStatus { allocatable: Quantities, conditions: Vec<NodeCondition>, node_info: NodeInfo, } }
object! { NodeCondition { #[serde(rename = "type")] kind: String, status: String, } }
object! { NodeInfo {
    kubelet_version: String,
    container_runtime_version: String,
    os_image: String,
    operating_system: String,
} }

object! { Namespace { metadata: ObjectMeta, status: PhaseStatus, } }
object! { PhaseStatus { phase: String, } }

object! { Workload { metadata: ObjectMeta, spec: WorkloadSpec, status: WorkloadStatus, } }
object! { WorkloadSpec { replicas: Option<i64>, completions: Option<i64>, parallelism: Option<i64>, } }
object! { WorkloadStatus {
    available_replicas: i64,
    ready_replicas: i64,
    current_replicas: i64,
    updated_replicas: i64,
    current_number_scheduled: i64,
    desired_number_scheduled: i64,
    number_misscheduled: i64,
    number_ready: i64,
} }

object! { Job { metadata: ObjectMeta, spec: WorkloadSpec, status: JobStatus, } }
object! { JobStatus { active: i64, succeeded: i64, failed: i64, } }
object! { CronJob { metadata: ObjectMeta, status: CronJobStatus, } }
object! { CronJobStatus { active: Vec<EmptyObject>, } }

object! { Autoscaler { metadata: ObjectMeta, spec: AutoscalerSpec, status: AutoscalerStatus, } }
object! { AutoscalerSpec { min_replicas: Option<i64>, max_replicas: i64, scale_target_ref: ScaleTarget, } }
object! { ScaleTarget { api_version: String, kind: String, name: String, } }
object! { AutoscalerStatus { current_replicas: i64, desired_replicas: i64, } }

object! { Quota { metadata: ObjectMeta, status: QuotaStatus, } }
object! { QuotaStatus { hard: Quantities, used: Quantities, total: QuotaAmounts, namespaces: Vec<NamespaceQuota>, } }
object! { QuotaAmounts { hard: Quantities, used: Quantities, } }
object! { NamespaceQuota { namespace: String, status: QuotaAmounts, } }

object! { Volume { metadata: ObjectMeta, spec: VolumeSpec, status: VolumeStatus, } }
object! { VolumeSpec {
    capacity: Quantities,
    storage_class_name: String,
    persistent_volume_reclaim_policy: String,
    resources: ContainerResources,
} }
object! { VolumeStatus { phase: String, capacity: Quantities, } }

object! { Service { metadata: ObjectMeta, spec: ServiceSpec, status: ServiceStatus, } }
object! { ServiceSpec {
    #[serde(rename = "type")]
    kind: String,
    traffic_distribution: Option<String>,
    publish_not_ready_addresses: bool,
} }
object! { ServiceStatus { load_balancer: LoadBalancer, } }
object! { LoadBalancer { ingress: Vec<EmptyObject>, } }

object! { EndpointSlice { metadata: ObjectMeta, address_type: String, endpoints: Vec<Endpoint>, } }
object! { Endpoint { zone: String, conditions: EndpointConditions, } }
object! { EndpointConditions { ready: Option<bool>, serving: Option<bool>, terminating: Option<bool>, } }
