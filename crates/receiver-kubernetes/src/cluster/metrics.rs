//! The metrics of `k8s_cluster`, and the attributes of its resources, as the Go receiver defines them. Names, units and
//! descriptions are sent.

use otelcore_scraped_metrics::{metric_table, resource_attribute_table};

metric_table! {
    /// The metrics.
    ClusterMetricsConfig ClusterMetric {
        ContainerCpuLimit container_cpu_limit "k8s.container.cpu_limit" on gauge "{cpu}" []
            "Maximum resource limit set for the container. See https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.23/#resourcerequirements-v1-core for details";
        ContainerCpuRequest container_cpu_request "k8s.container.cpu_request" on gauge "{cpu}" []
            "Resource requested for the container. See https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.23/#resourcerequirements-v1-core for details";
        ContainerEphemeralstorageLimit container_ephemeralstorage_limit "k8s.container.ephemeralstorage_limit" on gauge "By" []
            "Maximum resource limit set for the container. See https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.23/#resourcerequirements-v1-core for details";
        ContainerEphemeralstorageRequest container_ephemeralstorage_request "k8s.container.ephemeralstorage_request" on gauge "By" []
            "Resource requested for the container. See https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.23/#resourcerequirements-v1-core for details";
        ContainerMemoryLimit container_memory_limit "k8s.container.memory_limit" on gauge "By" []
            "Maximum resource limit set for the container. See https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.23/#resourcerequirements-v1-core for details";
        ContainerMemoryRequest container_memory_request "k8s.container.memory_request" on gauge "By" []
            "Resource requested for the container. See https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.23/#resourcerequirements-v1-core for details";
        ContainerReady container_ready "k8s.container.ready" on gauge "" []
            "Whether a container has passed its readiness probe (0 for no, 1 for yes)";
        ContainerRestarts container_restarts "k8s.container.restarts" on gauge "{restart}" []
            "How many times the container has restarted in the recent past. This value is pulled directly from the K8s API and the value can go indefinitely high and be reset to 0 at any time depending on how your kubelet is configured to prune dead containers. It is best to not depend too much on the exact value but rather look at it as either == 0, in which case you can conclude there were no restarts in the recent past, or > 0, in which case you can conclude there were restarts in the recent past, and not try and analyze the value beyond that.";
        ContainerStatusReason container_status_reason "k8s.container.status.reason" off sum "{container}" [] required ["k8s.container.status.reason"]
            "Experimental metric, may experience breaking changes. Describes the number of K8s containers that are currently in a state for a given reason. All possible container state reasons will be reported at each time interval to avoid missing metrics. Only the value corresponding to the current state reason will be non-zero.";
        ContainerStatusState container_status_state "k8s.container.status.state" off sum "{container}" [] required ["k8s.container.status.state"]
            "Experimental metric, may experience breaking changes. Describes the number of K8s containers that are currently in a given state. All possible container states will be reported at each time interval to avoid missing metrics. Only the value corresponding to the current state will be non-zero.";
        ContainerStorageLimit container_storage_limit "k8s.container.storage_limit" on gauge "By" []
            "Maximum resource limit set for the container. See https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.23/#resourcerequirements-v1-core for details";
        ContainerStorageRequest container_storage_request "k8s.container.storage_request" on gauge "By" []
            "Resource requested for the container. See https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.23/#resourcerequirements-v1-core for details";
        CronjobActiveJobs cronjob_active_jobs "k8s.cronjob.active_jobs" on gauge "{job}" []
            "The number of actively running jobs for a cronjob";
        DaemonsetCurrentScheduledNodes daemonset_current_scheduled_nodes "k8s.daemonset.current_scheduled_nodes" on gauge "{node}" []
            "Number of nodes that are running at least 1 daemon pod and are supposed to run the daemon pod";
        DaemonsetDesiredScheduledNodes daemonset_desired_scheduled_nodes "k8s.daemonset.desired_scheduled_nodes" on gauge "{node}" []
            "Number of nodes that should be running the daemon pod (including nodes currently running the daemon pod)";
        DaemonsetMisscheduledNodes daemonset_misscheduled_nodes "k8s.daemonset.misscheduled_nodes" on gauge "{node}" []
            "Number of nodes that are running the daemon pod, but are not supposed to run the daemon pod";
        DaemonsetReadyNodes daemonset_ready_nodes "k8s.daemonset.ready_nodes" on gauge "{node}" []
            "Number of nodes that should be running the daemon pod and have one or more of the daemon pod running and ready";
        DeploymentAvailable deployment_available "k8s.deployment.available" on gauge "{pod}" []
            "Total number of available pods (ready for at least minReadySeconds) targeted by this deployment";
        DeploymentDesired deployment_desired "k8s.deployment.desired" on gauge "{pod}" []
            "Number of desired pods in this deployment";
        HpaCurrentReplicas hpa_current_replicas "k8s.hpa.current_replicas" on gauge "{pod}" []
            "Current number of pod replicas managed by this autoscaler.";
        HpaDesiredReplicas hpa_desired_replicas "k8s.hpa.desired_replicas" on gauge "{pod}" []
            "Desired number of pod replicas managed by this autoscaler.";
        HpaMaxReplicas hpa_max_replicas "k8s.hpa.max_replicas" on gauge "{pod}" []
            "Maximum number of replicas to which the autoscaler can scale up.";
        HpaMinReplicas hpa_min_replicas "k8s.hpa.min_replicas" on gauge "{pod}" []
            "Minimum number of replicas to which the autoscaler can scale up.";
        JobActivePods job_active_pods "k8s.job.active_pods" on gauge "{pod}" []
            "The number of actively running pods for a job";
        JobDesiredSuccessfulPods job_desired_successful_pods "k8s.job.desired_successful_pods" on gauge "{pod}" []
            "The desired number of successfully finished pods the job should be run with";
        JobFailedPods job_failed_pods "k8s.job.failed_pods" on gauge "{pod}" []
            "The number of pods which reached phase Failed for a job";
        JobMaxParallelPods job_max_parallel_pods "k8s.job.max_parallel_pods" on gauge "{pod}" []
            "The max desired number of pods the job should run at any given time";
        JobSuccessfulPods job_successful_pods "k8s.job.successful_pods" on gauge "{pod}" []
            "The number of pods which reached phase Succeeded for a job";
        NamespacePhase namespace_phase "k8s.namespace.phase" on gauge "" []
            "The current phase of namespaces (1 for active and 0 for terminating)";
        NodeCondition node_condition "k8s.node.condition" off gauge "{condition}" [] required ["condition"]
            "The condition of a particular Node.";
        PersistentvolumeStatusPhase persistentvolume_status_phase "k8s.persistentvolume.status.phase" off sum "{persistentvolume}" [] required ["k8s.persistentvolume.status.phase"]
            "The current phase of the PersistentVolume (1 for the current phase, 0 for others).";
        PersistentvolumeStorageCapacity persistentvolume_storage_capacity "k8s.persistentvolume.storage.capacity" off sum "By" []
            "The storage capacity of the PersistentVolume.";
        PersistentvolumeclaimStatusPhase persistentvolumeclaim_status_phase "k8s.persistentvolumeclaim.status.phase" off sum "{persistentvolumeclaim}" [] required ["k8s.persistentvolumeclaim.status.phase"]
            "The current phase of the PersistentVolumeClaim (1 for the current phase, 0 for others).";
        PersistentvolumeclaimStorageCapacity persistentvolumeclaim_storage_capacity "k8s.persistentvolumeclaim.storage.capacity" off sum "By" []
            "The actual storage capacity provisioned for the PersistentVolumeClaim. Only available when bound.";
        PersistentvolumeclaimStorageRequest persistentvolumeclaim_storage_request "k8s.persistentvolumeclaim.storage.request" off sum "By" []
            "The storage requested by the PersistentVolumeClaim.";
        PodPhase pod_phase "k8s.pod.phase" on gauge "" []
            "Current phase of the pod (1 - Pending, 2 - Running, 3 - Succeeded, 4 - Failed, 5 - Unknown)";
        PodStatusReason pod_status_reason "k8s.pod.status_reason" off gauge "" []
            "Current status reason of the pod (1 - Evicted, 2 - NodeAffinity, 3 - NodeLost, 4 - Shutdown, 5 - UnexpectedAdmissionError, 6 - Unknown)";
        ReplicasetAvailable replicaset_available "k8s.replicaset.available" on gauge "{pod}" []
            "Total number of available pods (ready for at least minReadySeconds) targeted by this replicaset";
        ReplicasetDesired replicaset_desired "k8s.replicaset.desired" on gauge "{pod}" []
            "Number of desired pods in this replicaset";
        ReplicationControllerAvailable replication_controller_available "k8s.replication_controller.available" on gauge "{pod}" []
            "Total number of available pods (ready for at least minReadySeconds) targeted by this replication_controller";
        ReplicationControllerDesired replication_controller_desired "k8s.replication_controller.desired" on gauge "{pod}" []
            "Number of desired pods in this replication_controller";
        ResourceQuotaHardLimit resource_quota_hard_limit "k8s.resource_quota.hard_limit" on gauge "{resource}" [] required ["resource"]
            "The upper limit for a particular resource in a specific namespace. Will only be sent if a quota is specified. CPU requests/limits will be sent as millicores";
        ResourceQuotaUsed resource_quota_used "k8s.resource_quota.used" on gauge "{resource}" [] required ["resource"]
            "The usage for a particular resource in a specific namespace. Will only be sent if a quota is specified. CPU requests/limits will be sent as millicores";
        ServiceEndpointCount service_endpoint_count "k8s.service.endpoint.count" off gauge "{endpoint}" ["k8s.service.endpoint.address_type" "k8s.service.endpoint.condition" "k8s.service.endpoint.zone"]
            "The number of endpoints for a service, broken down by condition, address type, and zone.";
        ServiceLoadBalancerIngressCount service_load_balancer_ingress_count "k8s.service.load_balancer.ingress.count" off gauge "{ingress}" []
            "The number of load balancer ingress points (external IPs/hostnames) assigned to the service.";
        StatefulsetCurrentPods statefulset_current_pods "k8s.statefulset.current_pods" on gauge "{pod}" []
            "The number of pods created by the StatefulSet controller from the StatefulSet version";
        StatefulsetDesiredPods statefulset_desired_pods "k8s.statefulset.desired_pods" on gauge "{pod}" []
            "Number of desired pods in the stateful set (the `spec.replicas` field)";
        StatefulsetReadyPods statefulset_ready_pods "k8s.statefulset.ready_pods" on gauge "{pod}" []
            "Number of pods created by the stateful set that have the `Ready` condition";
        StatefulsetUpdatedPods statefulset_updated_pods "k8s.statefulset.updated_pods" on gauge "{pod}" []
            "Number of pods created by the StatefulSet controller from the StatefulSet version";
        OpenshiftAppliedclusterquotaLimit openshift_appliedclusterquota_limit "openshift.appliedclusterquota.limit" on gauge "{resource}" ["k8s.namespace.name"] required ["resource"]
            "The upper limit for a particular resource in a specific namespace.";
        OpenshiftAppliedclusterquotaUsed openshift_appliedclusterquota_used "openshift.appliedclusterquota.used" on gauge "{resource}" ["k8s.namespace.name"] required ["resource"]
            "The usage for a particular resource in a specific namespace.";
        OpenshiftClusterquotaLimit openshift_clusterquota_limit "openshift.clusterquota.limit" on gauge "{resource}" [] required ["resource"]
            "The configured upper limit for a particular resource.";
        OpenshiftClusterquotaUsed openshift_clusterquota_used "openshift.clusterquota.used" on gauge "{resource}" [] required ["resource"]
            "The usage for a particular resource with a configured limit.";
    }
}

resource_attribute_table! {
    /// The attributes of resources.
    ClusterAttributesConfig ClusterAttribute {
        ContainerId container_id "container.id" on
            "The container id.";
        ContainerImageName container_image_name "container.image.name" on
            "The container image name";
        ContainerImageTag container_image_tag "container.image.tag" on
            "The container image tag";
        ContainerRuntime container_runtime "container.runtime" off
            "The container runtime used by Kubernetes Node.";
        ContainerRuntimeVersion container_runtime_version "container.runtime.version" off
            "The version of container runtime used by Kubernetes Node.";
        ContainerName container_name "k8s.container.name" on
            "The k8s container name";
        ContainerStatusLastTerminatedReason container_status_last_terminated_reason "k8s.container.status.last_terminated_reason" off
            "Last terminated reason of a container.";
        CronjobName cronjob_name "k8s.cronjob.name" on
            "The k8s CronJob name";
        CronjobUid cronjob_uid "k8s.cronjob.uid" on
            "The k8s CronJob uid.";
        DaemonsetName daemonset_name "k8s.daemonset.name" on
            "The k8s daemonset name.";
        DaemonsetUid daemonset_uid "k8s.daemonset.uid" on
            "The k8s daemonset uid.";
        DeploymentName deployment_name "k8s.deployment.name" on
            "The name of the Deployment.";
        DeploymentUid deployment_uid "k8s.deployment.uid" on
            "The UID of the Deployment.";
        HpaName hpa_name "k8s.hpa.name" on
            "The k8s hpa name.";
        HpaScaletargetrefApiversion hpa_scaletargetref_apiversion "k8s.hpa.scaletargetref.apiversion" off
            "The API version of the target resource to scale for the HorizontalPodAutoscaler.";
        HpaScaletargetrefKind hpa_scaletargetref_kind "k8s.hpa.scaletargetref.kind" off
            "The kind of the target resource to scale for the HorizontalPodAutoscaler.";
        HpaScaletargetrefName hpa_scaletargetref_name "k8s.hpa.scaletargetref.name" off
            "The name of the target resource to scale for the HorizontalPodAutoscaler.";
        HpaUid hpa_uid "k8s.hpa.uid" on
            "The k8s hpa uid.";
        JobName job_name "k8s.job.name" on
            "The k8s pod name.";
        JobUid job_uid "k8s.job.uid" on
            "The k8s job uid.";
        KubeletVersion kubelet_version "k8s.kubelet.version" off
            "The version of Kubelet running on the node.";
        NamespaceName namespace_name "k8s.namespace.name" on
            "The k8s namespace name.";
        NamespaceUid namespace_uid "k8s.namespace.uid" on
            "The k8s namespace uid.";
        NodeName node_name "k8s.node.name" on
            "The k8s node name.";
        NodeUid node_uid "k8s.node.uid" on
            "The k8s node uid.";
        PersistentvolumeName persistentvolume_name "k8s.persistentvolume.name" on
            "The name of the PersistentVolume.";
        PersistentvolumeReclaimPolicy persistentvolume_reclaim_policy "k8s.persistentvolume.reclaim_policy" off
            "The reclaim policy of the PersistentVolume.";
        PersistentvolumeUid persistentvolume_uid "k8s.persistentvolume.uid" on
            "The UID of the PersistentVolume.";
        PersistentvolumeclaimName persistentvolumeclaim_name "k8s.persistentvolumeclaim.name" on
            "The name of the PersistentVolumeClaim.";
        PersistentvolumeclaimUid persistentvolumeclaim_uid "k8s.persistentvolumeclaim.uid" on
            "The UID of the PersistentVolumeClaim.";
        PodName pod_name "k8s.pod.name" on
            "The k8s pod name.";
        PodQosClass pod_qos_class "k8s.pod.qos_class" off
            "The k8s pod qos class name. One of Guaranteed, Burstable, BestEffort.";
        PodUid pod_uid "k8s.pod.uid" on
            "The k8s pod uid.";
        ReplicasetName replicaset_name "k8s.replicaset.name" on
            "The k8s replicaset name";
        ReplicasetUid replicaset_uid "k8s.replicaset.uid" on
            "The k8s replicaset uid";
        ReplicationcontrollerName replicationcontroller_name "k8s.replicationcontroller.name" on
            "The k8s replicationcontroller name.";
        ReplicationcontrollerUid replicationcontroller_uid "k8s.replicationcontroller.uid" on
            "The k8s replicationcontroller uid.";
        ResourcequotaName resourcequota_name "k8s.resourcequota.name" on
            "The k8s resourcequota name.";
        ResourcequotaUid resourcequota_uid "k8s.resourcequota.uid" on
            "The k8s resourcequota uid.";
        ServiceName service_name "k8s.service.name" on
            "The k8s service name.";
        ServicePublishNotReadyAddresses service_publish_not_ready_addresses "k8s.service.publish_not_ready_addresses" off
            "Whether the Service publishes not-ready endpoints.";
        ServiceTrafficDistribution service_traffic_distribution "k8s.service.traffic_distribution" off
            "The traffic distribution policy for the Service (e.g., PreferClose).";
        ServiceType service_type "k8s.service.type" on
            "The k8s service type.";
        ServiceUid service_uid "k8s.service.uid" on
            "The k8s service uid.";
        StatefulsetName statefulset_name "k8s.statefulset.name" on
            "The k8s statefulset name.";
        StatefulsetUid statefulset_uid "k8s.statefulset.uid" on
            "The k8s statefulset uid.";
        StorageclassName storageclass_name "k8s.storageclass.name" on
            "The name of the StorageClass.";
        OpenshiftClusterquotaName openshift_clusterquota_name "openshift.clusterquota.name" on
            "The k8s ClusterResourceQuota name.";
        OpenshiftClusterquotaUid openshift_clusterquota_uid "openshift.clusterquota.uid" on
            "The k8s ClusterResourceQuota uid.";
        OsDescription os_description "os.description" off
            "The os description used by Kubernetes Node.";
        OsType os_type "os.type" off
            "The os type used by Kubernetes Node.";
    }
}
