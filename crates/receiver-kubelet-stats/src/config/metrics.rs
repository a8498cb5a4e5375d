//! The metrics and the attributes of resources, as the Go receiver defines them. Their names, units and descriptions are
//! sent.

use otelcore_scraped_metrics::{metric_table, resource_attribute_table};

metric_table! {
    /// Which metrics are sent.
    KubeletMetricsConfig KubeletMetric {
        ContainerCpuTime container_cpu_time "container.cpu.time" on counter "s" []
            "Total cumulative CPU time (sum of all cores) spent by the container/pod/node since its creation";
        ContainerCpuUsage container_cpu_usage "container.cpu.usage" on gauge "{cpu}" []
            "Total CPU usage (sum of all cores per second) averaged over the sample window";
        ContainerFilesystemAvailable container_filesystem_available "container.filesystem.available" on gauge "By" []
            "Container filesystem available";
        ContainerFilesystemCapacity container_filesystem_capacity "container.filesystem.capacity" on gauge "By" []
            "Container filesystem capacity";
        ContainerFilesystemUsage container_filesystem_usage "container.filesystem.usage" on gauge "By" []
            "Container filesystem usage";
        ContainerMemoryAvailable container_memory_available "container.memory.available" on gauge "By" []
            "Container memory available";
        ContainerMemoryMajorPageFaults container_memory_major_page_faults "container.memory.major_page_faults" on gauge "1" []
            "Container memory major_page_faults";
        ContainerMemoryPageFaults container_memory_page_faults "container.memory.page_faults" on gauge "1" []
            "Container memory page_faults";
        ContainerMemoryRss container_memory_rss "container.memory.rss" on gauge "By" []
            "Container memory rss";
        ContainerMemoryUsage container_memory_usage "container.memory.usage" on gauge "By" []
            "Container memory usage";
        ContainerMemoryWorkingSet container_memory_working_set "container.memory.working_set" on gauge "By" []
            "Container memory working_set";
        ContainerUptime container_uptime "container.uptime" off counter "s" []
            "The time since the container started";
        K8sContainerCpuNodeUtilization k8s_container_cpu_node_utilization "k8s.container.cpu.node.utilization" off gauge "1" []
            "Container cpu utilization as a ratio of the node's capacity";
        K8sContainerCpuLimitUtilization k8s_container_cpu_limit_utilization "k8s.container.cpu_limit_utilization" off gauge "1" []
            "Container cpu utilization as a ratio of the container's limits";
        K8sContainerCpuRequestUtilization k8s_container_cpu_request_utilization "k8s.container.cpu_request_utilization" off gauge "1" []
            "Container cpu utilization as a ratio of the container's requests";
        K8sContainerEphemeralStorageUsage k8s_container_ephemeral_storage_usage "k8s.container.ephemeral_storage.usage" off sum "By" ["fs.type"]
            "Ephemeral storage used by the container.";
        K8sContainerMemoryNodeUtilization k8s_container_memory_node_utilization "k8s.container.memory.node.utilization" off gauge "1" []
            "Container memory utilization as a ratio of the node's capacity";
        K8sContainerMemoryLimitUtilization k8s_container_memory_limit_utilization "k8s.container.memory_limit_utilization" off gauge "1" []
            "Container memory utilization as a ratio of the container's limits";
        K8sContainerMemoryRequestUtilization k8s_container_memory_request_utilization "k8s.container.memory_request_utilization" off gauge "1" []
            "Container memory utilization as a ratio of the container's requests";
        NodeCpuTime node_cpu_time "k8s.node.cpu.time" on counter "s" []
            "Total cumulative CPU time (sum of all cores) spent by the container/pod/node since its creation";
        NodeCpuUsage node_cpu_usage "k8s.node.cpu.usage" on gauge "{cpu}" []
            "Total CPU usage (sum of all cores per second) averaged over the sample window";
        NodeFilesystemAvailable node_filesystem_available "k8s.node.filesystem.available" on gauge "By" []
            "Node filesystem available";
        NodeFilesystemCapacity node_filesystem_capacity "k8s.node.filesystem.capacity" on gauge "By" []
            "Node filesystem capacity";
        NodeFilesystemUsage node_filesystem_usage "k8s.node.filesystem.usage" on gauge "By" []
            "Node filesystem usage";
        NodeMemoryAvailable node_memory_available "k8s.node.memory.available" on gauge "By" []
            "Node memory available";
        NodeMemoryMajorPageFaults node_memory_major_page_faults "k8s.node.memory.major_page_faults" on gauge "1" []
            "Node memory major_page_faults";
        NodeMemoryPageFaults node_memory_page_faults "k8s.node.memory.page_faults" on gauge "1" []
            "Node memory page_faults";
        NodeMemoryRss node_memory_rss "k8s.node.memory.rss" on gauge "By" []
            "Node memory rss";
        NodeMemoryUsage node_memory_usage "k8s.node.memory.usage" on gauge "By" []
            "Node memory usage";
        NodeMemoryWorkingSet node_memory_working_set "k8s.node.memory.working_set" on gauge "By" []
            "Node memory working_set";
        NodeNetworkErrors node_network_errors "k8s.node.network.errors" on counter "1" ["interface" "direction"]
            "Node network errors";
        NodeNetworkIo node_network_io "k8s.node.network.io" on counter "By" ["interface" "direction"]
            "Node network IO";
        NodeSystemContainerCpuTime node_system_container_cpu_time "k8s.node.system_container.cpu.time" off counter "s" []
            "Total cumulative CPU time (sum of all cores) spent by the system container since its creation";
        NodeSystemContainerCpuUsage node_system_container_cpu_usage "k8s.node.system_container.cpu.usage" off gauge "{cpu}" []
            "Total CPU usage (sum of all cores per second) averaged over the sample window for the system container";
        NodeSystemContainerMemoryUsage node_system_container_memory_usage "k8s.node.system_container.memory.usage" off gauge "By" []
            "System container memory usage";
        NodeSystemContainerMemoryWorkingSet node_system_container_memory_working_set "k8s.node.system_container.memory.working_set" off gauge "By" []
            "System container memory working_set";
        NodeUptime node_uptime "k8s.node.uptime" off counter "s" []
            "The time since the node started";
        PodCpuNodeUtilization pod_cpu_node_utilization "k8s.pod.cpu.node.utilization" off gauge "1" []
            "Pod cpu utilization as a ratio of the node's capacity";
        PodCpuTime pod_cpu_time "k8s.pod.cpu.time" on counter "s" []
            "Total cumulative CPU time (sum of all cores) spent by the container/pod/node since its creation";
        PodCpuUsage pod_cpu_usage "k8s.pod.cpu.usage" on gauge "{cpu}" []
            "Total CPU usage (sum of all cores per second) averaged over the sample window";
        PodCpuLimitUtilization pod_cpu_limit_utilization "k8s.pod.cpu_limit_utilization" off gauge "1" []
            "Pod cpu utilization as a ratio of the pod's total container limits. If any container is missing a limit the metric is not emitted.";
        PodCpuRequestUtilization pod_cpu_request_utilization "k8s.pod.cpu_request_utilization" off gauge "1" []
            "Pod cpu utilization as a ratio of the pod's total container requests. If any container is missing a request the metric is not emitted.";
        PodFilesystemAvailable pod_filesystem_available "k8s.pod.filesystem.available" on gauge "By" []
            "Pod filesystem available";
        PodFilesystemCapacity pod_filesystem_capacity "k8s.pod.filesystem.capacity" on gauge "By" []
            "Pod filesystem capacity";
        PodFilesystemUsage pod_filesystem_usage "k8s.pod.filesystem.usage" on gauge "By" []
            "Pod filesystem usage";
        PodMemoryAvailable pod_memory_available "k8s.pod.memory.available" on gauge "By" []
            "Pod memory available";
        PodMemoryMajorPageFaults pod_memory_major_page_faults "k8s.pod.memory.major_page_faults" on gauge "1" []
            "Pod memory major_page_faults";
        PodMemoryNodeUtilization pod_memory_node_utilization "k8s.pod.memory.node.utilization" off gauge "1" []
            "Pod memory utilization as a ratio of the node's capacity";
        PodMemoryPageFaults pod_memory_page_faults "k8s.pod.memory.page_faults" on gauge "1" []
            "Pod memory page_faults";
        PodMemoryRss pod_memory_rss "k8s.pod.memory.rss" on gauge "By" []
            "Pod memory rss";
        PodMemoryUsage pod_memory_usage "k8s.pod.memory.usage" on gauge "By" []
            "Pod memory usage";
        PodMemoryWorkingSet pod_memory_working_set "k8s.pod.memory.working_set" on gauge "By" []
            "Pod memory working_set";
        PodMemoryLimitUtilization pod_memory_limit_utilization "k8s.pod.memory_limit_utilization" off gauge "1" []
            "Pod memory utilization as a ratio of the pod's total container limits. If any container is missing a limit the metric is not emitted.";
        PodMemoryRequestUtilization pod_memory_request_utilization "k8s.pod.memory_request_utilization" off gauge "1" []
            "Pod memory utilization as a ratio of the pod's total container requests. If any container is missing a request the metric is not emitted.";
        PodNetworkErrors pod_network_errors "k8s.pod.network.errors" on counter "1" ["interface" "direction"]
            "Pod network errors";
        PodNetworkIo pod_network_io "k8s.pod.network.io" on counter "By" ["interface" "direction"]
            "Pod network IO";
        PodUptime pod_uptime "k8s.pod.uptime" off counter "s" []
            "The time since the pod started";
        PodVolumeUsage pod_volume_usage "k8s.pod.volume.usage" off sum "By" []
            "The number of used bytes in the pod volume.";
        VolumeAvailable volume_available "k8s.volume.available" on gauge "By" []
            "The number of available bytes in the volume.";
        VolumeCapacity volume_capacity "k8s.volume.capacity" on gauge "By" []
            "The total capacity in bytes of the volume.";
        VolumeInodes volume_inodes "k8s.volume.inodes" on gauge "1" []
            "The total inodes in the filesystem.";
        VolumeInodesFree volume_inodes_free "k8s.volume.inodes.free" on gauge "1" []
            "The free inodes in the filesystem.";
        VolumeInodesUsed volume_inodes_used "k8s.volume.inodes.used" on gauge "1" []
            "The inodes used by the filesystem. This may not equal inodes - free because filesystem may share inodes with other filesystems.";
    }
}

resource_attribute_table! {
    /// Which attributes resources have.
    KubeletAttributesConfig KubeletAttribute {
        AwsVolumeId aws_volume_id "aws.volume.id" off
            "The identifier of a volume of AWS."
            deprecated "This resource_attribute is deprecated and will be removed soon";
        ContainerId container_id "container.id" on
            "The identifier of the container in its runtime. Set with `extra_metadata_labels: [container.id]`.";
        FsType fs_type "fs.type" off
            "The file system of a volume of AWS or GCE."
            deprecated "This resource_attribute is deprecated and will be removed soon";
        GcePdName gce_pd_name "gce.pd.name" off
            "The name of a disk of GCE."
            deprecated "This resource_attribute is deprecated and will be removed soon";
        GlusterfsEndpointsName glusterfs_endpoints_name "glusterfs.endpoints.name" off
            "The endpoints of a GlusterFS volume."
            deprecated "This resource_attribute is deprecated and will be removed soon";
        GlusterfsPath glusterfs_path "glusterfs.path" off
            "The path of a GlusterFS volume."
            deprecated "This resource_attribute is deprecated and will be removed soon";
        ContainerName container_name "k8s.container.name" on
            "The name of the container in its pod.";
        NamespaceName namespace_name "k8s.namespace.name" on
            "The namespace of the pod.";
        NodeName node_name "k8s.node.name" on
            "The name of the node.";
        NodeSystemContainerName node_system_container_name "k8s.node.system_container.name" on
            "The name of a system container: `kubelet`, `runtime`, `pods`.";
        PersistentvolumeclaimName persistentvolumeclaim_name "k8s.persistentvolumeclaim.name" on
            "The claim of the volume. Set with `extra_metadata_labels: [k8s.volume.type]`.";
        PodName pod_name "k8s.pod.name" on
            "The name of the pod.";
        PodUid pod_uid "k8s.pod.uid" on
            "The UID of the pod.";
        VolumeName volume_name "k8s.volume.name" on
            "The name of the volume in its pod.";
        VolumeType volume_type "k8s.volume.type" on
            "What the volume is, such as `emptyDir`. Set with `extra_metadata_labels: [k8s.volume.type]`.";
        Partition partition "partition" off
            "The partition of a volume of AWS or GCE."
            deprecated "This resource_attribute is deprecated and will be removed soon";
    }
}
