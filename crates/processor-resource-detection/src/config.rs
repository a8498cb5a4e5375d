//! The configuration: which detectors run, and what each of them adds.
//!
//! Reads and checks the keys. What a detector does with them is with the detector.

use std::time::Duration;

use otelcore_config::declare::OpaqueString;
use otelcore_config::{ConfigNode, GoDuration, NodeValue, Section, config_struct};
use otelcore_go_regexp::GoRegexp;
use otelcore_kubernetes_client::KubernetesAuthType;
use otelcore_net::config::HttpClientConfig;
use otelcore_net::tls::TlsClientConfig;

use crate::detector_kind::{DetectorKind, NOT_BUILT};

config_struct! {
    /// A switch of an attribute.
    pub struct AttributeConfig {
        /// Whether the attribute is added.
        pub enabled: bool,
    }
}

/// Declares the switches of a detector's attributes.
macro_rules! attribute_switches {
    ($(#[doc = $doc:literal])* $name:ident { $($field:ident $key:literal $enabled:literal,)+ }) => {
        config_struct! {
            $(#[doc = $doc])*
            pub struct $name {
                $(
                    #[doc = "The attribute of this name."]
                    #[config(key = $key)]
                    pub $field: AttributeConfig = AttributeConfig { enabled: $enabled },
                )+
            }
        }

        impl $name {
            /// Whether the attribute of this name is added.
            pub(crate) fn is_enabled(&self, key: &str) -> bool {
                match key {
                    $($key => self.$field.enabled,)+
                    _ => false,
                }
            }
        }
    };
}

attribute_switches! {
    /// `system::resource_attributes`.
    SystemAttributesConfig {
        host_arch "host.arch" false,
        host_cpu_cache_l2_size "host.cpu.cache.l2.size" false,
        host_cpu_family "host.cpu.family" false,
        host_cpu_model_id "host.cpu.model.id" false,
        host_cpu_model_name "host.cpu.model.name" false,
        host_cpu_stepping "host.cpu.stepping" false,
        host_cpu_vendor_id "host.cpu.vendor.id" false,
        host_id "host.id" false,
        host_interface "host.interface" false,
        host_ip "host.ip" false,
        host_mac "host.mac" false,
        host_name "host.name" true,
        os_build_id "os.build.id" false,
        os_description "os.description" false,
        os_name "os.name" false,
        os_type "os.type" true,
        os_version "os.version" false,
    }
}

attribute_switches! {
    /// `ec2::resource_attributes`.
    Ec2AttributesConfig {
        cloud_account_id "cloud.account.id" true,
        cloud_availability_zone "cloud.availability_zone" true,
        cloud_platform "cloud.platform" true,
        cloud_provider "cloud.provider" true,
        cloud_region "cloud.region" true,
        host_id "host.id" true,
        host_image_id "host.image.id" true,
        host_name "host.name" true,
        host_type "host.type" true,
    }
}

attribute_switches! {
    /// `docker::resource_attributes`.
    DockerAttributesConfig {
        container_image_name "container.image.name" false,
        container_name "container.name" false,
        host_name "host.name" true,
        os_type "os.type" true,
    }
}

attribute_switches! {
    /// `gcp::resource_attributes`.
    GcpAttributesConfig {
        cloud_account_id "cloud.account.id" true,
        cloud_availability_zone "cloud.availability_zone" true,
        cloud_platform "cloud.platform" true,
        cloud_provider "cloud.provider" true,
        cloud_region "cloud.region" true,
        faas_instance "faas.instance" true,
        faas_name "faas.name" true,
        faas_version "faas.version" true,
        gcp_cloud_run_job_execution "gcp.cloud_run.job.execution" true,
        gcp_cloud_run_job_task_index "gcp.cloud_run.job.task_index" true,
        gcp_gce_instance_hostname "gcp.gce.instance.hostname" false,
        gcp_gce_instance_name "gcp.gce.instance.name" false,
        gcp_gce_instance_group_manager_name "gcp.gce.instance_group_manager.name" true,
        gcp_gce_instance_group_manager_region "gcp.gce.instance_group_manager.region" true,
        gcp_gce_instance_group_manager_zone "gcp.gce.instance_group_manager.zone" true,
        host_id "host.id" true,
        host_name "host.name" true,
        host_type "host.type" true,
        k8s_cluster_name "k8s.cluster.name" true,
    }
}

attribute_switches! {
    /// `ecs::resource_attributes`.
    EcsAttributesConfig {
        aws_ecs_cluster_arn "aws.ecs.cluster.arn" true,
        aws_ecs_launchtype "aws.ecs.launchtype" true,
        aws_ecs_task_arn "aws.ecs.task.arn" true,
        aws_ecs_task_family "aws.ecs.task.family" true,
        aws_ecs_task_id "aws.ecs.task.id" true,
        aws_ecs_task_revision "aws.ecs.task.revision" true,
        aws_log_group_arns "aws.log.group.arns" true,
        aws_log_group_names "aws.log.group.names" true,
        aws_log_stream_arns "aws.log.stream.arns" true,
        aws_log_stream_names "aws.log.stream.names" true,
        cloud_account_id "cloud.account.id" true,
        cloud_availability_zone "cloud.availability_zone" true,
        cloud_platform "cloud.platform" true,
        cloud_provider "cloud.provider" true,
        cloud_region "cloud.region" true,
    }
}

attribute_switches! {
    /// `eks::resource_attributes`.
    EksAttributesConfig {
        cloud_account_id "cloud.account.id" false,
        cloud_availability_zone "cloud.availability_zone" false,
        cloud_platform "cloud.platform" true,
        cloud_provider "cloud.provider" true,
        cloud_region "cloud.region" false,
        host_id "host.id" false,
        host_image_id "host.image.id" false,
        host_name "host.name" false,
        host_type "host.type" false,
        k8s_cluster_name "k8s.cluster.name" false,
    }
}

attribute_switches! {
    /// `azure::resource_attributes`.
    AzureAttributesConfig {
        azure_resourcegroup_name "azure.resourcegroup.name" true,
        azure_vm_name "azure.vm.name" true,
        azure_vm_scaleset_name "azure.vm.scaleset.name" true,
        azure_vm_size "azure.vm.size" true,
        cloud_account_id "cloud.account.id" true,
        cloud_availability_zone "cloud.availability_zone" false,
        cloud_platform "cloud.platform" true,
        cloud_provider "cloud.provider" true,
        cloud_region "cloud.region" true,
        host_id "host.id" true,
        host_name "host.name" true,
    }
}

attribute_switches! {
    /// `aks::resource_attributes`.
    AksAttributesConfig {
        cloud_platform "cloud.platform" true,
        cloud_provider "cloud.provider" true,
        k8s_cluster_name "k8s.cluster.name" false,
    }
}

attribute_switches! {
    /// `k8s_api::resource_attributes`.
    K8sApiAttributesConfig {
        k8s_cluster_uid "k8s.cluster.uid" true,
        k8s_node_name "k8s.node.name" true,
        k8s_node_uid "k8s.node.uid" true,
    }
}

attribute_switches! {
    /// `heroku::resource_attributes`.
    HerokuAttributesConfig {
        cloud_provider "cloud.provider" true,
        heroku_app_id "heroku.app.id" true,
        heroku_dyno_id "heroku.dyno.id" true,
        heroku_release_commit "heroku.release.commit" true,
        heroku_release_creation_timestamp "heroku.release.creation_timestamp" true,
        service_instance_id "service.instance.id" true,
        service_name "service.name" true,
        service_version "service.version" true,
    }
}

attribute_switches! {
    /// `consul::resource_attributes`.
    ConsulAttributesConfig {
        cloud_region "cloud.region" true,
        host_id "host.id" true,
        host_name "host.name" true,
    }
}

attribute_switches! {
    /// `openshift::resource_attributes`.
    OpenShiftAttributesConfig {
        cloud_platform "cloud.platform" true,
        cloud_provider "cloud.provider" true,
        cloud_region "cloud.region" true,
        k8s_cluster_name "k8s.cluster.name" true,
    }
}

attribute_switches! {
    /// `lambda::resource_attributes`.
    LambdaAttributesConfig {
        aws_log_group_names "aws.log.group.names" true,
        aws_log_stream_names "aws.log.stream.names" true,
        cloud_platform "cloud.platform" true,
        cloud_provider "cloud.provider" true,
        cloud_region "cloud.region" true,
        faas_instance "faas.instance" true,
        faas_max_memory "faas.max_memory" true,
        faas_name "faas.name" true,
        faas_version "faas.version" true,
    }
}

config_struct! {
    /// `system`.
    #[config(check = Self::check)]
    pub struct SystemConfig {
        /// Where the name of the host is looked for, in this order: `os`, and `dns`, `cname` and `lookup`, for which
        /// `/etc/hosts` is read. Empty means `dns`, then `os`.
        pub hostname_sources: Vec<String>,
        /// Which attributes are added.
        pub resource_attributes: SystemAttributesConfig,
    }
}

impl SystemConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        for source in &self.hostname_sources {
            if !["os", "dns", "cname", "lookup"].contains(&source.as_str()) {
                s.error("hostname_sources", format!("hostname_sources contains invalid value: {source:?}"))
                    .help("write os, dns, cname or lookup");
            }
        }
    }
}

config_struct! {
    /// `ec2`.
    #[config(check = Self::check)]
    pub struct Ec2Config {
        /// Patterns of keys of the instance's tags, which are added as `ec2.tag.KEY`.
        pub tags: Vec<String>,
        /// Reads tags from the metadata service, which must permit it (`InstanceMetadataTags=enabled`).
        pub tags_from_imds: bool,
        /// Which attributes are added.
        pub resource_attributes: Ec2AttributesConfig,
        /// How often a request to the metadata service is made until it succeeds; zero for no limit but `timeout`.
        #[config(at_least(0, "'max_attempts' must be non-negative"))]
        pub max_attempts: i64 = 3,
        /// The longest pause between two of these requests.
        #[config(at_least(GoDuration::ZERO, "'max_backoff' must be non-negative"))]
        pub max_backoff: Duration = Duration::from_secs(20),
        /// Without the metadata service, the detector fails instead of finding nothing.
        pub fail_on_missing_metadata: bool,
    }
}

impl Ec2Config {
    fn check(&mut self, s: &mut Section<'_>) {
        check_patterns(s, "tags", &self.tags);
        if !self.tags.is_empty() && !self.tags_from_imds {
            s.error("tags", "tags from the EC2 API (DescribeTags) are not supported yet")
                .help("write `tags_from_imds: true`, and turn on InstanceMetadataTags of the instance");
        }
    }
}

config_struct! {
    /// `docker`.
    pub struct DockerConfig {
        /// Which attributes are added.
        pub resource_attributes: DockerAttributesConfig,
    }
}

config_struct! {
    /// `gcp`.
    #[config(unsupported("labels", "labels from the Compute Engine API are not supported yet"))]
    pub struct GcpConfig {
        /// Which attributes are added.
        pub resource_attributes: GcpAttributesConfig,
    }
}

config_struct! {
    /// `ecs`.
    pub struct EcsConfig {
        /// Which attributes are added.
        pub resource_attributes: EcsAttributesConfig,
    }
}

config_struct! {
    /// `eks`.
    #[config(check = Self::check)]
    pub struct EksConfig {
        /// The variable with the name of the node, used where the EC2 metadata service can't be reached.
        pub node_from_env_var: String,
        /// Which attributes are added.
        pub resource_attributes: EksAttributesConfig,
    }
}

impl EksConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.resource_attributes.k8s_cluster_name.enabled {
            s.error(
                "resource_attributes::k8s.cluster.name",
                "the name of the cluster, which is in the EC2 API (DescribeInstances), is not supported yet",
            )
            .help("set it with the `resource` processor");
        }
    }
}

config_struct! {
    /// `azure`.
    #[config(check = Self::check)]
    pub struct AzureConfig {
        /// Patterns of names of the machine's tags, which are added as `azure.tag.NAME`.
        pub tags: Vec<String>,
        /// Which attributes are added.
        pub resource_attributes: AzureAttributesConfig,
    }
}

impl AzureConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        check_patterns(s, "tags", &self.tags);
    }
}

config_struct! {
    /// `aks`.
    pub struct AksConfig {
        /// Which attributes are added.
        pub resource_attributes: AksAttributesConfig,
    }
}

config_struct! {
    /// `heroku`.
    pub struct HerokuConfig {
        /// Which attributes are added.
        pub resource_attributes: HerokuAttributesConfig,
    }
}

config_struct! {
    /// `lambda`.
    pub struct LambdaConfig {
        /// Which attributes are added.
        pub resource_attributes: LambdaAttributesConfig,
    }
}

config_struct! {
    /// `consul`. What is not written here is taken from the variables of Consul's own programs, such as
    /// `CONSUL_HTTP_ADDR`.
    #[config(check = Self::check)]
    pub struct ConsulConfig {
        /// The address of the agent: `HOST:PORT`, or a URL with `http` or `https`. Empty means `127.0.0.1:8500`.
        pub address: String,
        /// The data center that is asked for; empty for that of the agent.
        pub datacenter: String,
        /// The token of an access control list.
        pub token: OpaqueString,
        /// A file with this token, in place of `token`.
        pub token_file: String,
        /// The namespace that is sent with the request.
        pub namespace: String,
        /// Keys of the agent's metadata that are added as attributes of these names. The values do not matter.
        pub meta: Option<ConfigNode>,
        /// Which attributes are added.
        pub resource_attributes: ConsulAttributesConfig,
    }
}

impl ConsulConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.meta.as_ref().is_some_and(|node| !matches!(node.value, NodeValue::Map(_))) {
            s.error("meta", "expected a map").help("write the keys with any value: `meta: {rack: }`");
        }
        match self.address.split_once("://") {
            Some(("unix", _)) => {
                s.error("address", "sockets in the file system are not supported yet").help("write HOST:PORT");
            }
            Some((scheme, _)) if !matches!(scheme, "http" | "https") => {
                let error = format!("failed creating consul client: Unknown protocol scheme: {scheme}");
                s.start_error("address", error).help("write http:// or https://");
            }
            _ => {}
        }
    }

    /// The keys of `meta`.
    pub(crate) fn meta_keys(&self) -> Vec<&str> {
        match self.meta.as_ref().map(|node| &node.value) {
            Some(NodeValue::Map(map)) => map.iter().map(|entry| &*entry.key).collect(),
            _ => Vec::new(),
        }
    }
}

config_struct! {
    /// `openshift`.
    pub struct OpenShiftConfig {
        /// The URL of the API server; empty for that of the cluster in which the collector runs.
        pub address: String,
        /// The token of requests; empty for that of the service account.
        pub token: OpaqueString,
        /// TLS to the API server. Without an authority, that of the service account is used.
        pub tls: TlsClientConfig,
        /// Which attributes are added.
        pub resource_attributes: OpenShiftAttributesConfig,
    }
}

config_struct! {
    /// `k8s_api`.
    #[config(check = Self::check)]
    #[config(unsupported("context", "it belongs to `auth_type: kubeConfig`, which is not supported yet"))]
    pub struct K8sApiConfig {
        /// How the API server is asked.
        pub auth_type: KubernetesAuthType,
        /// Requests in a second.
        #[config(ignored = "the detector makes two requests")]
        pub kube_api_qps: f64,
        /// Requests at once.
        #[config(at_least(0, "kube_api_burst must be greater than 0"))]
        #[config(ignored = "the detector makes two requests")]
        pub kube_api_burst: i64,
        /// The variable with the name of the node; empty means `K8S_NODE_NAME`.
        pub node_from_env_var: String,
        /// Which attributes are added.
        pub resource_attributes: K8sApiAttributesConfig,
    }
}

impl K8sApiConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if matches!(self.auth_type, KubernetesAuthType::KubeConfig | KubernetesAuthType::Tls) {
            let message = format!("`auth_type: {}` is not supported yet", self.auth_type.name());
            s.error("auth_type", message).help("write serviceAccount or none");
        }
    }
}

config_struct! {
    /// Adds attributes of the host, the container or the cloud to resources.
    #[config(check = Self::check)]
    #[config(unsupported("akamai", "the detector is not supported yet"))]
    #[config(unsupported("alibaba_ecs", "the detector is not supported yet"))]
    #[config(unsupported("digitalocean", "the detector is not supported yet"))]
    #[config(unsupported("elasticbeanstalk", "the detector is not supported yet"))]
    #[config(unsupported("hetzner", "the detector is not supported yet"))]
    #[config(unsupported("ibmcloud_classic", "the detector is not supported yet"))]
    #[config(unsupported("ibmcloud_vpc", "the detector is not supported yet"))]
    #[config(unsupported("kubeadm", "the detector is not supported yet"))]
    #[config(unsupported("nova", "the detector is not supported yet"))]
    #[config(unsupported("oraclecloud", "the detector is not supported yet"))]
    #[config(unsupported("scaleway", "the detector is not supported yet"))]
    #[config(unsupported("tencent_cvm", "the detector is not supported yet"))]
    #[config(unsupported("upcloud", "the detector is not supported yet"))]
    #[config(unsupported("vultr", "the detector is not supported yet"))]
    pub struct ResourceDetectionConfig {
        /// The detectors. Where two of them find the same attribute, the first one decides.
        pub detectors: Vec<String> = vec!["env".to_owned()],
        /// Whether an attribute that a resource has already is replaced.
        #[config(key = "override")]
        pub override_existing: bool = true,
        /// Requests to services. `timeout` is the time limit of the whole detection.
        #[config(flatten)]
        pub client: HttpClientConfig =
            HttpClientConfig { timeout: Duration::from_secs(5), ..HttpClientConfig::default() },
        /// Belongs to the keys of a client.
        #[config(no_effect = "each detector has an endpoint of its own")]
        pub endpoint: String,
        /// How often the detectors run again; zero for never.
        #[config(at_least(GoDuration::ZERO, "'refresh_interval' must be non-negative"))]
        pub refresh_interval: Duration,
        /// In old versions: only these attributes are added; empty for all.
        #[config(deprecated = "`resource_attributes:` in the section of a detector")]
        pub attributes: Vec<String>,
        /// The detector `system`.
        pub system: SystemConfig,
        /// The detector `ec2`.
        pub ec2: Ec2Config,
        /// The detector `docker`.
        pub docker: DockerConfig,
        /// The detector `gcp`.
        pub gcp: GcpConfig,
        /// The detector `ecs`.
        pub ecs: EcsConfig,
        /// The detector `eks`.
        pub eks: EksConfig,
        /// The detector `azure`.
        pub azure: AzureConfig,
        /// The detector `aks`.
        pub aks: AksConfig,
        /// The detector `heroku`.
        pub heroku: HerokuConfig,
        /// The detector `lambda`.
        pub lambda: LambdaConfig,
        /// The detector `consul`.
        pub consul: ConsulConfig,
        /// The detector `openshift`.
        pub openshift: OpenShiftConfig,
        /// The detector `k8s_api`.
        pub k8s_api: K8sApiConfig,
        /// The detector `k8snode`, which is `k8s_api` under its old name.
        pub k8snode: K8sApiConfig,
    }
}

impl ResourceDetectionConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.client.timeout.is_zero() {
            s.warn("timeout", "'timeout' of zero would end the detection at once: 5s is used");
            self.client.timeout = Duration::from_secs(5);
        }
        for name in &self.detectors {
            let name = name.trim();
            if NOT_BUILT.contains(&name) {
                s.error("detectors", format!("detector {name:?} is not supported yet"));
                continue;
            }
            match DetectorKind::find(name) {
                None => {
                    let names: Vec<_> = DetectorKind::ALL.iter().map(|(name, _)| *name).collect();
                    s.start_error("detectors", format!("invalid detector key: {name}"))
                        .help(format!("write one of {}", names.join(", ")));
                }
                Some(_) if matches!(name, "gce" | "gke") => {
                    s.warn("detectors", format!("detector {name:?} is now a part of \"gcp\"")).help("write gcp");
                }
                Some(_) if name == "k8snode" => {
                    s.warn("detectors", "the k8snode detector name is deprecated, use k8s_api instead");
                }
                Some(_) => {}
            }
        }
    }

    /// The detectors in their order, without repetitions.
    pub(crate) fn detector_kinds(&self) -> Vec<DetectorKind> {
        let mut kinds = Vec::new();
        for kind in self.detectors.iter().filter_map(|name| DetectorKind::find(name.trim())) {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        kinds
    }
}

fn check_patterns(s: &mut Section<'_>, key: &str, patterns: &[String]) {
    if let Err((_, error)) = GoRegexp::compile_any(patterns) {
        s.start_error(key, error.to_string()).help(error.hint());
    }
}
