//! How an object becomes an entry: which metrics it has, as the Go receiver computes them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use otelcore_kubernetes_client::{ImageParser, Quantity, parse_object};
use otelcore_scraped_metrics::PointValue;

use super::entry::{EndpointCount, EntitySpec, Entry, EntryResource, NodeMetric};
use super::kinds::ClusterKind;
use super::metrics::{ClusterAttribute as A, ClusterMetric as M};
use super::names::snake_case;
use super::objects::{
    Autoscaler, Container, ContainerStatus, CronJob, EndpointSlice, Job, Namespace, Node, Pod, Quantities, Quota,
    Service, Volume, Workload,
};

/// The label of a slice with the name of its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

macro_rules! entities {
    ($($name:ident $entity:literal $id:ident [$($description:ident)*];)*) => {
        $(static $name: EntitySpec =
            EntitySpec { entity_type: $entity, id: A::$id, description: &[$(A::$description),*] };)*
    };
}

entities! {
    POD "k8s.pod" PodUid [PodName PodQosClass];
    CONTAINER "k8s.container" ContainerId
        [ContainerName ContainerImageName ContainerImageTag ContainerStatusLastTerminatedReason];
    NODE "k8s.node" NodeUid [NodeName KubeletVersion ContainerRuntime ContainerRuntimeVersion OsDescription OsType];
    NAMESPACE "k8s.namespace" NamespaceUid [NamespaceName];
    REPLICATION_CONTROLLER "k8s.replicationcontroller" ReplicationcontrollerUid [ReplicationcontrollerName];
    RESOURCE_QUOTA "k8s.resourcequota" ResourcequotaUid [ResourcequotaName];
    DEPLOYMENT "k8s.deployment" DeploymentUid [DeploymentName];
    REPLICA_SET "k8s.replicaset" ReplicasetUid [ReplicasetName];
    DAEMON_SET "k8s.daemonset" DaemonsetUid [DaemonsetName];
    STATEFUL_SET "k8s.statefulset" StatefulsetUid [StatefulsetName];
    JOB "k8s.job" JobUid [JobName];
    CRON_JOB "k8s.cronjob" CronjobUid [CronjobName];
    AUTOSCALER "k8s.hpa" HpaUid
        [HpaName HpaScaletargetrefApiversion HpaScaletargetrefKind HpaScaletargetrefName];
    CLUSTER_QUOTA "openshift.clusterquota" OpenshiftClusterquotaUid [OpenshiftClusterquotaName];
    VOLUME "k8s.persistentvolume" PersistentvolumeUid
        [PersistentvolumeName StorageclassName PersistentvolumeReclaimPolicy];
    CLAIM "k8s.persistentvolumeclaim" PersistentvolumeclaimUid [PersistentvolumeclaimName];
}

/// What entries are made with.
#[derive(Debug)]
pub(super) struct EntryMaker {
    pub(super) images: ImageParser,
    pub(super) node_conditions: Vec<String>,
    pub(super) allocatable_types: Vec<String>,
}

impl EntryMaker {
    /// The entry of an object.
    ///
    /// # Errors
    /// It is not an object of this kind.
    pub(super) fn entry(&self, kind: ClusterKind, json: &[u8]) -> Result<Entry, String> {
        Ok(match kind {
            ClusterKind::Pod => self.pod(&parse_object(json)?),
            ClusterKind::Node => self.node(&parse_object(json)?),
            ClusterKind::Namespace => namespace(&parse_object(json)?),
            ClusterKind::ReplicationController => {
                let of = (&REPLICATION_CONTROLLER, A::ReplicationcontrollerName);
                replicas(&parse_object(json)?, of, M::ReplicationControllerDesired, M::ReplicationControllerAvailable)
            }
            ClusterKind::ReplicaSet => {
                let of = (&REPLICA_SET, A::ReplicasetName);
                replicas(&parse_object(json)?, of, M::ReplicasetDesired, M::ReplicasetAvailable)
            }
            ClusterKind::Deployment => deployment(&parse_object(json)?),
            ClusterKind::DaemonSet => daemon_set(&parse_object(json)?),
            ClusterKind::StatefulSet => stateful_set(&parse_object(json)?),
            ClusterKind::Job => job(&parse_object(json)?),
            ClusterKind::CronJob => cron_job(&parse_object(json)?),
            ClusterKind::HorizontalPodAutoscaler => autoscaler(&parse_object(json)?),
            ClusterKind::ResourceQuota => resource_quota(&parse_object(json)?),
            ClusterKind::ClusterResourceQuota => cluster_quota(&parse_object(json)?),
            ClusterKind::PersistentVolume => volume(&parse_object(json)?),
            ClusterKind::PersistentVolumeClaim => claim(&parse_object(json)?),
            ClusterKind::Service => service(&parse_object(json)?),
            ClusterKind::EndpointSlice => endpoint_slice(&parse_object(json)?),
        })
    }

    fn pod(&self, pod: &Pod) -> Entry {
        let mut resource = EntryResource::new(&POD, A::PodName, &pod.metadata, true);
        resource.set(A::PodQosClass, pod.status.qos_class.clone());
        resource.set(A::NodeName, pod.spec.node_name.clone());
        let phase = match pod.status.phase.as_str() {
            "Pending" => 1,
            "Running" => 2,
            "Succeeded" => 3,
            "Failed" => 4,
            _ => 5,
        };
        let reason = match pod.status.reason.as_str() {
            "Evicted" => 1,
            "NodeAffinity" => 2,
            "NodeLost" => 3,
            "Shutdown" => 4,
            "UnexpectedAdmissionError" => 5,
            _ => 6,
        };
        resource.int(M::PodPhase, phase);
        resource.int(M::PodStatusReason, reason);
        let mut entry = Entry::of(resource);
        entry.resources.extend(pod.spec.containers.iter().map(|container| self.container(pod, container)));
        entry
    }

    fn container(&self, pod: &Pod, container: &Container) -> EntryResource {
        let status = pod.status.container_statuses.iter().find(|status| status.name == container.name);
        let mut resource = EntryResource { entity: Some(&CONTAINER), attributes: Vec::new(), points: Vec::new() };
        let id = status.map(|status| without_scheme(&status.container_id)).unwrap_or_default();
        resource.set(A::ContainerId, id.to_owned());
        resource.set(A::ContainerName, container.name.clone());
        let image = status.and_then(|status| self.images.parse(&status.image));
        let tag = image.map(|image| if image.tag.is_empty() { "latest" } else { image.tag }).unwrap_or_default();
        resource.set(A::ContainerImageName, image.map(|image| image.repository).unwrap_or_default().to_owned());
        resource.set(A::ContainerImageTag, tag.to_owned());
        let last = status.and_then(|status| status.last_state.terminated.as_ref());
        let last = last.map(|last| last.reason.clone()).unwrap_or_default();
        resource.set(A::ContainerStatusLastTerminatedReason, last);
        resource.set(A::PodUid, pod.metadata.uid.clone());
        resource.set(A::PodName, pod.metadata.name.clone());
        resource.set(A::NamespaceName, pod.metadata.namespace.clone());
        resource.set(A::NodeName, pod.spec.node_name.clone());
        let requests = [
            ("memory", M::ContainerMemoryRequest),
            ("storage", M::ContainerStorageRequest),
            ("ephemeral-storage", M::ContainerEphemeralstorageRequest),
        ];
        let limits = [
            ("memory", M::ContainerMemoryLimit),
            ("storage", M::ContainerStorageLimit),
            ("ephemeral-storage", M::ContainerEphemeralstorageLimit),
        ];
        for (amounts, cpu, others) in [
            (&container.resources.requests, M::ContainerCpuRequest, requests),
            (&container.resources.limits, M::ContainerCpuLimit, limits),
        ] {
            if let Some(amount) = amounts.get("cpu") {
                resource.double(cpu, cores(amount));
            }
            for (name, metric) in others {
                if let Some(amount) = amounts.get(name) {
                    resource.int(metric, amount.value());
                }
            }
        }
        if let Some(status) = status {
            container_status(&mut resource, status);
        }
        resource
    }

    fn node(&self, node: &Node) -> Entry {
        let info = &node.status.node_info;
        let mut resource = EntryResource::new(&NODE, A::NodeName, &node.metadata, false);
        resource.set(A::KubeletVersion, info.kubelet_version.clone());
        // The Go receiver leaves these empty beside conditions.
        for attribute in [A::ContainerRuntime, A::ContainerRuntimeVersion, A::OsDescription, A::OsType] {
            resource.set(attribute, "");
        }
        for condition in &node.status.conditions {
            resource.int_of(M::NodeCondition, condition_value(&condition.status), vec![condition.kind.clone().into()]);
        }
        let mut entry = Entry::of(resource);
        let metrics = self.node_metrics(node);
        if !metrics.is_empty() {
            let mut attributes: Vec<(A, Cow<'static, str>)> = vec![
                (A::NodeUid, node.metadata.uid.clone().into()),
                (A::NodeName, node.metadata.name.clone().into()),
                (A::KubeletVersion, info.kubelet_version.clone().into()),
                (A::OsType, info.operating_system.clone().into()),
            ];
            if let [runtime, version] = info.container_runtime_version.split("://").collect::<Vec<_>>()[..] {
                let parts = [(A::ContainerRuntime, runtime), (A::ContainerRuntimeVersion, version)];
                let parts = parts.into_iter().filter(|(_, part)| !part.is_empty());
                attributes.extend(parts.map(|(attribute, part)| (attribute, part.to_owned().into())));
            }
            attributes.push((A::OsDescription, info.os_image.clone().into()));
            entry.node = Some((attributes, metrics));
        }
        entry
    }

    /// The metrics of the conditions and resources that the configuration names.
    fn node_metrics(&self, node: &Node) -> Vec<NodeMetric> {
        let condition = |name: &String| {
            let status = node.status.conditions.iter().find(|condition| condition.kind == *name);
            NodeMetric {
                name: format!("k8s.node.condition_{}", snake_case(name)),
                description: format!("{name} condition status of the node (true=1, false=0, unknown=-1)"),
                unit: "".into(),
                value: PointValue::Int(condition_value(
                    status.map_or("Unknown", |condition| condition.status.as_str()),
                )),
            }
        };
        let allocatable = |name: &String| {
            let amount = node.status.allocatable.get(name)?;
            let (unit, value) = match name.as_str() {
                "cpu" => ("{cpu}".into(), PointValue::Double(cores(amount))),
                "memory" | "ephemeral-storage" | "storage" => ("By".into(), PointValue::Int(amount.value())),
                "pods" => ("{pod}".into(), PointValue::Int(amount.value())),
                other => (format!("{{{other}}}").into(), PointValue::Int(amount.value())),
            };
            Some(NodeMetric {
                name: format!("k8s.node.allocatable_{}", snake_case(name)),
                description: format!("Amount of {name} allocatable on the node"),
                unit,
                value,
            })
        };
        let conditions = self.node_conditions.iter().map(condition);
        conditions.chain(self.allocatable_types.iter().filter_map(allocatable)).collect()
    }
}

/// An amount of CPU, to the thousandth.
fn cores(amount: &Quantity) -> f64 {
    amount.milli_value() as f64 / 1000.0
}

fn condition_value(status: &str) -> i64 {
    match status {
        "True" => 1,
        "Unknown" => -1,
        _ => 0,
    }
}

/// `containerd://id` without what is before the id.
fn without_scheme(id: &str) -> &str {
    match id.split_once("://") {
        Some((scheme, rest))
            if !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)) =>
        {
            rest
        }
        _ => id,
    }
}

fn container_status(resource: &mut EntryResource, status: &ContainerStatus) {
    const REASONS: [&str; 9] = [
        "ContainerCreating",
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "ErrImagePull",
        "ImagePullBackOff",
        "OOMKilled",
        "Completed",
        "Error",
        "ContainerCannotRun",
    ];
    resource.int(M::ContainerRestarts, status.restart_count);
    resource.int(M::ContainerReady, i64::from(status.ready));
    let state = &status.state;
    let current = match (&state.running, &state.terminated, &state.waiting) {
        (Some(_), ..) => "running",
        (_, Some(_), _) => "terminated",
        (.., Some(_)) => "waiting",
        _ => "",
    };
    if !current.is_empty() {
        for name in ["running", "waiting", "terminated"] {
            resource.int_of(M::ContainerStatusState, i64::from(name == current), vec![name.into()]);
        }
    }
    let reason = state.terminated.as_ref().or(state.waiting.as_ref()).map(|state| state.reason.as_str());
    for name in REASONS {
        resource.int_of(M::ContainerStatusReason, i64::from(reason == Some(name)), vec![name.into()]);
    }
}

fn namespace(namespace: &Namespace) -> Entry {
    let mut resource = EntryResource::new(&NAMESPACE, A::NamespaceName, &namespace.metadata, false);
    let phase = match namespace.status.phase.as_str() {
        "Active" => 1,
        "" => -1,
        _ => 0,
    };
    resource.int(M::NamespacePhase, phase);
    Entry::of(resource)
}

fn replicas(workload: &Workload, (entity, name): (&'static EntitySpec, A), desired: M, available: M) -> Entry {
    let mut resource = EntryResource::new(entity, name, &workload.metadata, true);
    if let Some(replicas) = workload.spec.replicas {
        resource.int(desired, replicas);
        resource.int(available, workload.status.available_replicas);
    }
    Entry::of(resource)
}

fn deployment(deployment: &Workload) -> Entry {
    let mut resource = EntryResource::new(&DEPLOYMENT, A::DeploymentName, &deployment.metadata, true);
    // The API server writes the default of 1.
    resource.int(M::DeploymentDesired, deployment.spec.replicas.unwrap_or(1));
    resource.int(M::DeploymentAvailable, deployment.status.available_replicas);
    Entry::of(resource)
}

fn daemon_set(set: &Workload) -> Entry {
    let mut resource = EntryResource::new(&DAEMON_SET, A::DaemonsetName, &set.metadata, true);
    resource.int(M::DaemonsetCurrentScheduledNodes, set.status.current_number_scheduled);
    resource.int(M::DaemonsetDesiredScheduledNodes, set.status.desired_number_scheduled);
    resource.int(M::DaemonsetMisscheduledNodes, set.status.number_misscheduled);
    resource.int(M::DaemonsetReadyNodes, set.status.number_ready);
    Entry::of(resource)
}

fn stateful_set(set: &Workload) -> Entry {
    let Some(replicas) = set.spec.replicas else { return Entry::default() };
    let mut resource = EntryResource::new(&STATEFUL_SET, A::StatefulsetName, &set.metadata, true);
    resource.int(M::StatefulsetDesiredPods, replicas);
    resource.int(M::StatefulsetReadyPods, set.status.ready_replicas);
    resource.int(M::StatefulsetCurrentPods, set.status.current_replicas);
    resource.int(M::StatefulsetUpdatedPods, set.status.updated_replicas);
    Entry::of(resource)
}

fn job(job: &Job) -> Entry {
    let mut resource = EntryResource::new(&JOB, A::JobName, &job.metadata, true);
    resource.int(M::JobActivePods, job.status.active);
    resource.int(M::JobFailedPods, job.status.failed);
    resource.int(M::JobSuccessfulPods, job.status.succeeded);
    if let Some(completions) = job.spec.completions {
        resource.int(M::JobDesiredSuccessfulPods, completions);
    }
    if let Some(parallelism) = job.spec.parallelism {
        resource.int(M::JobMaxParallelPods, parallelism);
    }
    Entry::of(resource)
}

fn cron_job(job: &CronJob) -> Entry {
    let mut resource = EntryResource::new(&CRON_JOB, A::CronjobName, &job.metadata, true);
    resource.int(M::CronjobActiveJobs, i64::try_from(job.status.active.len()).unwrap_or(i64::MAX));
    Entry::of(resource)
}

fn autoscaler(autoscaler: &Autoscaler) -> Entry {
    let mut resource = EntryResource::new(&AUTOSCALER, A::HpaName, &autoscaler.metadata, true);
    let target = &autoscaler.spec.scale_target_ref;
    resource.set(A::HpaScaletargetrefApiversion, target.api_version.clone());
    resource.set(A::HpaScaletargetrefKind, target.kind.clone());
    resource.set(A::HpaScaletargetrefName, target.name.clone());
    resource.int(M::HpaMaxReplicas, autoscaler.spec.max_replicas);
    // The API server writes the default of 1.
    resource.int(M::HpaMinReplicas, autoscaler.spec.min_replicas.unwrap_or(1));
    resource.int(M::HpaCurrentReplicas, autoscaler.status.current_replicas);
    resource.int(M::HpaDesiredReplicas, autoscaler.status.desired_replicas);
    Entry::of(resource)
}

/// The amounts of a quota. An amount of `requests.cpu` and so on is in thousandths.
fn amounts(amounts: &Quantities) -> impl Iterator<Item = (i64, Cow<'static, str>)> {
    let amount = |(name, amount): (&String, &Quantity)| {
        let value = if name.ends_with(".cpu") { amount.milli_value() } else { amount.value() };
        (value, name.clone().into())
    };
    amounts.iter().map(amount)
}

fn resource_quota(quota: &Quota) -> Entry {
    let mut resource = EntryResource::new(&RESOURCE_QUOTA, A::ResourcequotaName, &quota.metadata, true);
    for (metric, list) in [(M::ResourceQuotaHardLimit, &quota.status.hard), (M::ResourceQuotaUsed, &quota.status.used)]
    {
        amounts(list).for_each(|(value, name)| resource.int_of(metric, value, vec![name]));
    }
    Entry::of(resource)
}

fn cluster_quota(quota: &Quota) -> Entry {
    let mut resource = EntryResource::new(&CLUSTER_QUOTA, A::OpenshiftClusterquotaName, &quota.metadata, false);
    let total = &quota.status.total;
    for (metric, list) in [(M::OpenshiftClusterquotaLimit, &total.hard), (M::OpenshiftClusterquotaUsed, &total.used)] {
        amounts(list).for_each(|(value, name)| resource.int_of(metric, value, vec![name]));
    }
    for of in &quota.status.namespaces {
        for (metric, list) in [
            (M::OpenshiftAppliedclusterquotaLimit, &of.status.hard),
            (M::OpenshiftAppliedclusterquotaUsed, &of.status.used),
        ] {
            let namespace: Cow<'static, str> = of.namespace.clone().into();
            amounts(list).for_each(|(value, name)| resource.int_of(metric, value, vec![namespace.clone(), name]));
        }
    }
    Entry::of(resource)
}

fn volume(volume: &Volume) -> Entry {
    let mut resource = EntryResource::new(&VOLUME, A::PersistentvolumeName, &volume.metadata, false);
    resource.set(A::StorageclassName, volume.spec.storage_class_name.clone());
    resource.set(A::PersistentvolumeReclaimPolicy, volume.spec.persistent_volume_reclaim_policy.clone());
    for phase in ["Pending", "Available", "Bound", "Released", "Failed"] {
        let is_current = i64::from(volume.status.phase == phase);
        resource.int_of(M::PersistentvolumeStatusPhase, is_current, vec![phase.into()]);
    }
    if let Some(storage) = volume.spec.capacity.get("storage") {
        resource.int(M::PersistentvolumeStorageCapacity, storage.value());
    }
    Entry::of(resource)
}

fn claim(claim: &Volume) -> Entry {
    let mut resource = EntryResource::new(&CLAIM, A::PersistentvolumeclaimName, &claim.metadata, true);
    resource.set(A::StorageclassName, claim.spec.storage_class_name.clone());
    for phase in ["Pending", "Bound", "Lost"] {
        let is_current = i64::from(claim.status.phase == phase);
        resource.int_of(M::PersistentvolumeclaimStatusPhase, is_current, vec![phase.into()]);
    }
    if let Some(storage) = claim.spec.resources.requests.get("storage") {
        resource.int(M::PersistentvolumeclaimStorageRequest, storage.value());
    }
    if let Some(storage) = claim.status.capacity.get("storage") {
        resource.int(M::PersistentvolumeclaimStorageCapacity, storage.value());
    }
    Entry::of(resource)
}

fn service(service: &Service) -> Entry {
    let mut resource = EntryResource { entity: None, attributes: Vec::new(), points: Vec::new() };
    resource.set(A::ServiceName, service.metadata.name.clone());
    resource.set(A::ServiceUid, service.metadata.uid.clone());
    resource.set(A::NamespaceName, service.metadata.namespace.clone());
    resource.set(A::ServiceType, service.spec.kind.clone());
    if let Some(distribution) = &service.spec.traffic_distribution {
        resource.set(A::ServiceTrafficDistribution, distribution.clone());
    }
    let publishes = if service.spec.publish_not_ready_addresses { "true" } else { "false" };
    resource.set(A::ServicePublishNotReadyAddresses, publishes);
    if service.spec.kind == "LoadBalancer" {
        let ingress = service.status.load_balancer.ingress.len();
        resource.int(M::ServiceLoadBalancerIngressCount, i64::try_from(ingress).unwrap_or(i64::MAX));
    }
    let key = format!("{}/{}", service.metadata.namespace, service.metadata.name);
    Entry { service: key.into(), ..Entry::of(resource) }
}

fn endpoint_slice(slice: &EndpointSlice) -> Entry {
    let Some(service) = slice.metadata.labels.get(SERVICE_NAME) else { return Entry::default() };
    let address_type: Cow<'static, str> = match slice.address_type.as_str() {
        "IPv4" => "IPv4".into(),
        "IPv6" => "IPv6".into(),
        "FQDN" => "FQDN".into(),
        _ => return Entry::default(),
    };
    let mut zones: BTreeMap<&str, EndpointCount> = BTreeMap::new();
    for endpoint in &slice.endpoints {
        let zone = endpoint.zone.as_str();
        let new = || EndpointCount {
            address_type: address_type.clone(),
            zone: zone.into(),
            ready: 0,
            serving: 0,
            terminating: 0,
        };
        let count = zones.entry(zone).or_insert_with(new);
        // Absent means ready, and serving is as ready where it is absent.
        let is_ready = endpoint.conditions.ready.unwrap_or(true);
        count.ready += i64::from(is_ready);
        count.serving += i64::from(endpoint.conditions.serving.unwrap_or(is_ready));
        count.terminating += i64::from(endpoint.conditions.terminating.unwrap_or(false));
    }
    let key = format!("{}/{service}", slice.metadata.namespace);
    Entry { service: key.into(), endpoints: zones.into_values().collect(), ..Entry::default() }
}
