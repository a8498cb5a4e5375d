//! The community's chart: its default configuration and its presets, as they are rendered, start whole.

use std::collections::BTreeSet;

use otelcore::pipeline::ComponentStatus;

use crate::fixture::{HEALTH_CHANGE, SEC, collector_graph, new_sim};

/// The default configuration of the community's chart, as it is rendered.
const CHART: &str = "
exporters: {debug: {}}
extensions: {health_check: {endpoint: '${env:MY_POD_IP}:13133'}}
processors:
  batch: {}
  memory_limiter: {check_interval: 5s, limit_percentage: 80, spike_limit_percentage: 25}
receivers:
  jaeger:
    protocols:
      grpc: {endpoint: '${env:MY_POD_IP}:14250'}
      thrift_compact: {endpoint: '${env:MY_POD_IP}:6831'}
      thrift_http: {endpoint: '${env:MY_POD_IP}:14268'}
  otlp: {protocols: {grpc: {endpoint: '${env:MY_POD_IP}:4317'}, http: {endpoint: '${env:MY_POD_IP}:4318'}}}
  prometheus:
    config:
      scrape_configs:
      - job_name: opentelemetry-collector
        scrape_interval: 10s
        static_configs:
        - targets:
          - ${env:MY_POD_IP}:8888
  zipkin: {endpoint: '${env:MY_POD_IP}:9411'}
service:
  extensions: [health_check]
  pipelines:
    logs: {exporters: [debug], processors: [memory_limiter, batch], receivers: [otlp]}
    metrics: {exporters: [debug], processors: [memory_limiter, batch], receivers: [otlp, prometheus]}
    traces: {exporters: [debug], processors: [memory_limiter, batch], receivers: [otlp, jaeger, zipkin]}
  telemetry:
    metrics: {readers: [{pull: {exporter: {prometheus: {host: '${env:MY_POD_IP}', port: 8888}}}}]}
";

#[test]
fn default_configuration_of_the_chart_starts_whole() {
    let (graph, log) = collector_graph(&in_this_world(CHART));
    let mut sim = new_sim(1);
    sim.add_node("pod", graph).unwrap();
    sim.run_for(30 * SEC);
    assert_eq!(log.count_with(&["Failed to scrape Prometheus endpoint", "http://0.0.0.0:8888/metrics"]), 1);
    assert_eq!(
        log.count_with(&[]),
        1 + log.count_with(&[HEALTH_CHANGE]),
        "nothing else is in the log, which has no page of own metrics here"
    );
}

/// The presets `hostMetrics`, `kubernetesAttributes`, `kubeletMetrics`, `logsCollection` with stored positions, `clusterMetrics` with the
/// election that a DaemonSet has, and `kubernetesEvents` in both of its forms.
const PRESETS: &str = "
exporters: {debug: {}}
extensions:
  health_check: {endpoint: '${env:MY_POD_IP}:13133'}
  file_storage: {directory: /var/lib/otelcol}
  k8s_leader_elector/k8s_cluster:
    auth_type: serviceAccount
    lease_name: k8s.cluster.receiver.opentelemetry.io
    lease_namespace: default
processors:
  batch: {}
  memory_limiter: {check_interval: 5s, limit_percentage: 80, spike_limit_percentage: 25}
  k8sattributes:
    filter: {node_from_env_var: K8S_NODE_NAME}
    passthrough: false
    pod_association:
    - sources: [{from: resource_attribute, name: k8s.pod.ip}]
    - sources: [{from: resource_attribute, name: k8s.pod.uid}]
    - sources: [{from: connection}]
    extract:
      metadata:
      - k8s.namespace.name
      - k8s.deployment.name
      - k8s.statefulset.name
      - k8s.daemonset.name
      - k8s.cronjob.name
      - k8s.job.name
      - k8s.node.name
      - k8s.pod.name
      - k8s.pod.uid
      - k8s.pod.start_time
      labels: [{from: pod, key_regex: (.*), tag_name: $$1}]
      annotations: [{from: pod, key_regex: (.*), tag_name: $$1}]
receivers:
  otlp: {protocols: {grpc: {endpoint: '${env:MY_POD_IP}:4317'}, http: {endpoint: '${env:MY_POD_IP}:4318'}}}
  hostmetrics:
    collection_interval: 10s
    root_path: /hostfs
    scrapers:
      cpu: null
      disk: null
      filesystem:
        exclude_fs_types: {fs_types: [autofs, overlay, proc, sysfs], match_type: strict}
        exclude_mount_points: {match_type: regexp, mount_points: [/dev/*, /proc/*, /sys/*, /var/lib/kubelet/*]}
      load: null
      memory: null
      network: null
  kubeletstats: {auth_type: serviceAccount, collection_interval: 20s, endpoint: '${env:K8S_NODE_IP}:10250'}
  filelog:
    exclude: [/var/log/pods/default_x-opentelemetry-collector*_*/opentelemetry-collector/*.log]
    include: [/var/log/pods/*/*/*.log]
    include_file_name: false
    include_file_path: true
    operators: [{id: container-parser, max_log_size: 102400, type: container}]
    retry_on_failure: {enabled: true}
    start_at: end
    storage: file_storage
  k8s_cluster: {collection_interval: 10s, k8s_leader_elector: k8s_leader_elector/k8s_cluster}
  k8s_events: {}
  k8sobjects:
    objects: [{name: events, mode: watch, group: events.k8s.io, exclude_watch_type: [DELETED]}]
service:
  extensions: [health_check, file_storage, k8s_leader_elector/k8s_cluster]
  pipelines:
    logs: {exporters: [debug], processors: [k8sattributes, memory_limiter, batch], receivers: [otlp, filelog, k8s_events, k8sobjects]}
    metrics: {exporters: [debug], processors: [k8sattributes, memory_limiter, batch], receivers: [otlp, hostmetrics, kubeletstats, k8s_cluster]}
    traces: {exporters: [debug], processors: [k8sattributes, memory_limiter, batch], receivers: [otlp]}
  telemetry:
    metrics: {readers: [{pull: {exporter: {prometheus: {host: '${env:MY_POD_IP}', port: 8888}}}}]}
";

/// The variables of the pod: its address, and that of its node.
fn in_this_world(yaml: &str) -> String {
    yaml.replace("${env:MY_POD_IP}", "0.0.0.0").replace("${env:K8S_NODE_IP}", "10.0.0.9")
}

#[test]
fn presets_of_the_chart_start_whole() {
    // `host_metrics` reads the machine on which the test runs.
    let (graph, log) = collector_graph(&in_this_world(PRESETS).replace("$$1", "$1").replace("/hostfs", "/"));
    let mut sim = new_sim(1);
    let pod = sim.add_machine("pod");
    for (name, value) in
        [("K8S_NODE_NAME", "node"), ("KUBERNETES_SERVICE_HOST", "10.0.0.8"), ("KUBERNETES_SERVICE_PORT", "443")]
    {
        sim.set_env(pod, name, value);
    }
    let account = "/var/run/secrets/kubernetes.io/serviceaccount";
    sim.disk(pod).write(format!("{account}/token"), "token");
    sim.disk(pod).write(format!("{account}/ca.crt"), include_str!("testdata/ca.pem"));
    sim.disk(pod).make_dir("/var/lib/otelcol");
    sim.disk(pod).make_dir("/var/log/pods");
    sim.restart(pod, graph).unwrap();
    sim.run_for(60 * SEC);
    // There is neither an API server nor a kubelet: those that need one report that, and nothing else fails.
    let entries = sim.graph(pod).unwrap().statuses().entries();
    assert!(entries.iter().all(|entry| entry.status != ComponentStatus::PermanentError), "{entries:#?}\n{log:#?}");
    let failed: BTreeSet<_> =
        entries.iter().filter(|entry| entry.status != ComponentStatus::Ok).map(|entry| entry.id.as_str()).collect();
    let need_the_cluster =
        ["k8s_events", "k8s_leader_elector/k8s_cluster", "k8sattributes", "k8sobjects", "kubeletstats"];
    assert_eq!(failed, BTreeSet::from(need_the_cluster), "{entries:#?}\n{log:#?}");
}
