//! The kinds of objects that are watched.

use otelcore_kubernetes_client::Discovery;

use super::config::K8sClusterConfig;

/// A kind of object, in the order in which metrics are written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum ClusterKind {
    Pod,
    Node,
    Namespace,
    ReplicationController,
    ResourceQuota,
    Deployment,
    ReplicaSet,
    DaemonSet,
    StatefulSet,
    Job,
    CronJob,
    HorizontalPodAutoscaler,
    ClusterResourceQuota,
    PersistentVolume,
    PersistentVolumeClaim,
    EndpointSlice,
    Service,
}

/// Where a kind is found.
pub(super) struct KindSpec {
    pub(super) kind: ClusterKind,
    pub(super) name: &'static str,
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) resource: &'static str,
    pub(super) is_namespaced: bool,
}

macro_rules! kinds {
    ($($kind:ident $group:literal $version:literal $resource:literal $scope:ident;)*) => {
        const KINDS: &[KindSpec] = &[$(KindSpec {
            kind: ClusterKind::$kind,
            name: stringify!($kind),
            group: $group,
            version: $version,
            resource: $resource,
            is_namespaced: kinds!(@$scope),
        }),*];
    };
    (@namespaced) => { true };
    (@cluster) => { false };
}

kinds! {
    Pod "" "v1" "pods" namespaced;
    Node "" "v1" "nodes" cluster;
    Namespace "" "v1" "namespaces" cluster;
    ReplicationController "" "v1" "replicationcontrollers" namespaced;
    ResourceQuota "" "v1" "resourcequotas" namespaced;
    Deployment "apps" "v1" "deployments" namespaced;
    ReplicaSet "apps" "v1" "replicasets" namespaced;
    DaemonSet "apps" "v1" "daemonsets" namespaced;
    StatefulSet "apps" "v1" "statefulsets" namespaced;
    Job "batch" "v1" "jobs" namespaced;
    CronJob "batch" "v1" "cronjobs" namespaced;
    HorizontalPodAutoscaler "autoscaling" "v2" "horizontalpodautoscalers" namespaced;
    ClusterResourceQuota "quota.openshift.io" "v1" "clusterresourcequotas" cluster;
    PersistentVolume "" "v1" "persistentvolumes" cluster;
    PersistentVolumeClaim "" "v1" "persistentvolumeclaims" namespaced;
    EndpointSlice "discovery.k8s.io" "v1" "endpointslices" namespaced;
    Service "" "v1" "services" namespaced;
}

/// The kinds that a configuration needs. Kinds without a namespace are not watched where namespaces are configured.
pub(super) fn needed_kinds(config: &K8sClusterConfig) -> impl Iterator<Item = &'static KindSpec> {
    let metrics = &config.metrics;
    let has_volumes =
        metrics.persistentvolume_status_phase.enabled || metrics.persistentvolume_storage_capacity.enabled;
    let has_claims = metrics.persistentvolumeclaim_status_phase.enabled
        || metrics.persistentvolumeclaim_storage_capacity.enabled
        || metrics.persistentvolumeclaim_storage_request.enabled;
    let (has_endpoints, is_openshift) = (metrics.service_endpoint_count.enabled, config.is_openshift());
    let is_cluster_wide = config.watched_namespaces().is_empty();
    KINDS.iter().filter(move |spec| {
        let is_needed = match spec.kind {
            ClusterKind::PersistentVolume => has_volumes,
            ClusterKind::PersistentVolumeClaim => has_claims,
            ClusterKind::EndpointSlice => has_endpoints,
            ClusterKind::ClusterResourceQuota => is_openshift,
            _ => true,
        };
        is_needed && (spec.is_namespaced || is_cluster_wide)
    })
}

impl KindSpec {
    /// Whether the server has the kind.
    pub(super) fn is_supported(&self, discovery: &Discovery) -> bool {
        discovery.has_kind(self.group, self.version, self.name)
    }
}
