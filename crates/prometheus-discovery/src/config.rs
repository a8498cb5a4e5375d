//! The keys of discoveries in a scrape configuration.

use otelcore_config::{Section, config_struct};

use crate::dns::DnsSdConfig;
use crate::file::FileSdConfig;
use crate::http::HttpSdConfig;
use crate::kubernetes::KubernetesSdConfig;
use crate::targets::check_target_address;
use crate::text::YamlLabels;

config_struct! {
    /// Targets that are written in the configuration.
    #[derive(PartialEq, Eq)]
    pub struct StaticConfig {
        /// The addresses of the targets, `host:port`.
        pub targets: Vec<String>,
        /// Labels that all of them have.
        pub labels: YamlLabels,
    }
}

const OTHERS: &str = "targets are discovered by static_configs, file_sd_configs, http_sd_configs, dns_sd_configs and \
                      kubernetes_sd_configs";

config_struct! {
    /// Where the targets of a scrape configuration come from.
    #[config(check = Self::check)]
    #[config(unsupported("aws_sd_configs", OTHERS))]
    #[config(unsupported("azure_sd_configs", OTHERS))]
    #[config(unsupported("consul_sd_configs", OTHERS))]
    #[config(unsupported("digitalocean_sd_configs", OTHERS))]
    #[config(unsupported("docker_sd_configs", OTHERS))]
    #[config(unsupported("dockerswarm_sd_configs", OTHERS))]
    #[config(unsupported("ec2_sd_configs", OTHERS))]
    #[config(unsupported("ecs_sd_configs", OTHERS))]
    #[config(unsupported("elasticache_sd_configs", OTHERS))]
    #[config(unsupported("eureka_sd_configs", OTHERS))]
    #[config(unsupported("gce_sd_configs", OTHERS))]
    #[config(unsupported("hetzner_sd_configs", OTHERS))]
    #[config(unsupported("ionos_sd_configs", OTHERS))]
    #[config(unsupported("kuma_sd_configs", OTHERS))]
    #[config(unsupported("lightsail_sd_configs", OTHERS))]
    #[config(unsupported("linode_sd_configs", OTHERS))]
    #[config(unsupported("marathon_sd_configs", OTHERS))]
    #[config(unsupported("msk_sd_configs", OTHERS))]
    #[config(unsupported("nerve_sd_configs", OTHERS))]
    #[config(unsupported("nomad_sd_configs", OTHERS))]
    #[config(unsupported("openstack_sd_configs", OTHERS))]
    #[config(unsupported("outscale_sd_configs", OTHERS))]
    #[config(unsupported("ovhcloud_sd_configs", OTHERS))]
    #[config(unsupported("puppetdb_sd_configs", OTHERS))]
    #[config(unsupported("rds_sd_configs", OTHERS))]
    #[config(unsupported("scaleway_sd_configs", OTHERS))]
    #[config(unsupported("serverset_sd_configs", OTHERS))]
    #[config(unsupported("stackit_sd_configs", OTHERS))]
    #[config(unsupported("triton_sd_configs", OTHERS))]
    #[config(unsupported("uyuni_sd_configs", OTHERS))]
    #[config(unsupported("vultr_sd_configs", OTHERS))]
    #[derive(PartialEq, Eq)]
    pub struct DiscoveryConfigs {
        /// Targets that are written here.
        pub static_configs: Vec<StaticConfig>,
        /// Targets in files.
        pub file_sd_configs: Vec<FileSdConfig>,
        /// Targets that an HTTP server knows.
        pub http_sd_configs: Vec<HttpSdConfig>,
        /// Targets in DNS.
        pub dns_sd_configs: Vec<DnsSdConfig>,
        /// Targets in a Kubernetes cluster.
        pub kubernetes_sd_configs: Vec<KubernetesSdConfig>,
    }
}

impl DiscoveryConfigs {
    fn check(&mut self, s: &mut Section<'_>) {
        for (index, group) in self.static_configs.iter().enumerate() {
            if let Some((name, _)) = group.labels.0.iter().find(|(name, _)| name.is_empty()) {
                s.error(&format!("static_configs[{index}]"), format!("{name:?} is not a valid label name"));
            }
        }
    }

    /// Reports addresses of `static_configs` that are URLs. Prometheus does this where nothing relabels targets.
    pub fn check_static_targets(&self, s: &Section<'_>) {
        for (index, group) in self.static_configs.iter().enumerate() {
            for target in &group.targets {
                if let Err(message) = check_target_address(target) {
                    s.error(&format!("static_configs[{index}]"), message)
                        .help("write host:port; scheme and path have the keys `scheme` and `metrics_path`");
                }
            }
        }
    }

    /// Whether no discovery is configured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
