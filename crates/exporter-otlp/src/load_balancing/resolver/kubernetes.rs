//! The endpoints of a service of Kubernetes, from its endpoint slices.
//!
//! All addresses of all slices count, whatever their conditions say, as in the Go collector. Never writes to the cluster.

use std::collections::BTreeSet;

use otelcore_kubernetes_client::{
    ChangeKind, KubernetesApiConfig, KubernetesAuthType, ObjectConsumer, ObjectMeta, ObjectTable, WatchClient, WatchId,
    WatchSpec, in_cluster_url, parse_object,
};
use otelcore_pipeline::{Cx, Event, LogField, Logger, StartError};
use serde::Deserialize;

use super::super::config::{K8sResolverConfig, service_name};
use super::super::metrics::ResolverMetrics;
use super::CLIENT_PART;

/// The file with the namespace of a pod.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Entries of a new list that are compared at a time.
const COMPARED: usize = 1000;

pub(in crate::load_balancing) struct KubernetesResolver {
    service: String,
    client: Option<WatchClient>,
    slices: Slices,
}

/// What is known of the slices.
struct Slices {
    /// The name of the service, and its namespace.
    name: String,
    namespace: String,
    ports: Vec<i32>,
    returns_hostnames: bool,
    /// Addresses or host names, by slice.
    table: ObjectTable<Vec<String>>,
    is_listed: bool,
    /// Something has changed since the endpoints were passed on.
    is_changed: bool,
    endpoints: Option<Vec<String>>,
    metrics: ResolverMetrics,
    log: Logger,
}

#[derive(Deserialize)]
struct EndpointSlice {
    #[serde(default)]
    metadata: ObjectMeta,
    endpoints: Option<Vec<SliceEndpoint>>,
}

#[derive(Deserialize)]
struct SliceEndpoint {
    addresses: Option<Vec<String>>,
    hostname: Option<String>,
}

impl KubernetesResolver {
    pub(super) fn new(config: &K8sResolverConfig, metrics: ResolverMetrics, log: Logger) -> Self {
        let slices = Slices {
            name: String::new(),
            namespace: String::new(),
            ports: config.ports.clone(),
            returns_hostnames: config.return_hostnames,
            table: ObjectTable::default(),
            is_listed: false,
            is_changed: false,
            endpoints: None,
            metrics,
            log,
        };
        Self { service: config.service.clone(), client: None, slices }
    }

    pub(super) fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let (name, namespace) = service_name(&self.service).map_err(StartError::Config)?;
        self.slices.name = name.to_owned();
        self.slices.namespace = match namespace {
            "" => self.own_namespace(cx),
            namespace => namespace.to_owned(),
        };
        // As in the Go collector: a kubeconfig that is named, the cluster that this pod is in, the user's kubeconfig.
        let is_named = cx.env_var("KUBECONFIG").is_some_and(|paths| !paths.is_empty());
        let is_in_cluster = in_cluster_url(&|name| cx.env_var(name)).is_some();
        let auth_type = match is_named || !is_in_cluster {
            true => KubernetesAuthType::KubeConfig,
            false => KubernetesAuthType::ServiceAccount,
        };
        let config = KubernetesApiConfig { auth_type, ..KubernetesApiConfig::default() };
        let mut cx = cx.for_part(CLIENT_PART);
        let mut client = WatchClient::start(&config, &mut cx, self.slices.log.clone(), 0)?;
        let spec = WatchSpec::new("discovery.k8s.io", "v1", "endpointslices", &self.slices.namespace);
        let label_selector = format!("kubernetes.io/service-name={}", self.slices.name);
        client.add_watch(&mut cx, WatchSpec { label_selector, ..spec });
        self.client = Some(client);
        Ok(())
    }

    fn own_namespace(&self, cx: &mut Cx<'_>) -> String {
        let read = cx.read_file(NAMESPACE_FILE).map_err(|error| error.to_string());
        match read.map(|text| String::from_utf8_lossy(&text).trim().to_owned()) {
            Ok(namespace) if !namespace.is_empty() => namespace,
            result => {
                let error = result.err().unwrap_or_default();
                let fields = [("error", LogField::Str(&error))];
                self.slices.log.warn(
                    "could not determine the namespace for this collector, will use \"default\" as the namespace",
                    &fields,
                );
                "default".to_owned()
            }
        }
    }

    pub(super) fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>) -> Option<Vec<String>> {
        let client = self.client.as_mut()?;
        client.handle_event(&mut cx.for_part(CLIENT_PART), local, event, &mut self.slices);
        self.slices.take_endpoints()
    }

    pub(super) fn has_answer(&self) -> bool {
        self.slices.endpoints.is_some() || self.client.as_ref().is_some_and(|client| client.failures() > 0)
    }

    pub(super) fn close(&mut self, cx: &mut Cx<'_>) {
        if let Some(client) = &mut self.client {
            client.close(&mut cx.for_part(CLIENT_PART));
        }
    }
}

impl Slices {
    /// The addresses or host names of a slice; `None` if host names are missing.
    fn hosts(&self, slice: EndpointSlice) -> Option<Vec<String>> {
        let mut hosts = Vec::new();
        for endpoint in slice.endpoints.unwrap_or_default() {
            let addresses = endpoint.addresses.unwrap_or_default();
            if !self.returns_hostnames {
                hosts.extend(addresses);
            } else if !addresses.is_empty() {
                hosts.push(endpoint.hostname.filter(|hostname| !hostname.is_empty())?);
            }
        }
        Some(hosts)
    }

    /// The endpoints, if they have changed.
    fn take_endpoints(&mut self) -> Option<Vec<String>> {
        if !self.is_listed || !std::mem::take(&mut self.is_changed) {
            return None;
        }
        while self.table.has_unlisted() {
            self.table.remove_unlisted(COMPARED);
        }
        let hosts: BTreeSet<&str> = self.table.values().flatten().map(String::as_str).collect();
        let mut endpoints = Vec::new();
        for host in hosts {
            let host = match self.returns_hostnames {
                true => format!("{host}.{}.{}", self.name, self.namespace),
                false => host.to_owned(),
            };
            match self.ports.as_slice() {
                [] => endpoints.push(host),
                ports if host.contains(':') => endpoints.extend(ports.iter().map(|port| format!("[{host}]:{port}"))),
                ports => endpoints.extend(ports.iter().map(|port| format!("{host}:{port}"))),
            }
        }
        endpoints.sort();
        self.metrics.record_resolution(true);
        if self.endpoints.as_ref() == Some(&endpoints) {
            return None;
        }
        self.endpoints = Some(endpoints.clone());
        self.metrics.record_update(endpoints.len());
        Some(endpoints)
    }
}

impl ObjectConsumer for Slices {
    fn begin_list(&mut self, _: WatchId) {
        self.table.begin_list();
    }

    fn apply(&mut self, _: &mut Cx<'_>, _: WatchId, change: ChangeKind, object: &[u8]) -> Result<(), String> {
        let slice: EndpointSlice = parse_object(object)?;
        let key = format!("{}/{}", slice.metadata.namespace, slice.metadata.name);
        if change == ChangeKind::Deleted {
            self.table.remove(&key);
            self.is_changed = true;
            return Ok(());
        }
        let hosts = match self.hosts(slice) {
            Some(hosts) => hosts,
            None => {
                self.metrics.record_resolution(false);
                self.log.warn("EndpointSlice object missing hostnames", &[("slice", LogField::Str(&key))]);
                // What was known of it stays.
                self.table.get(&key).cloned().unwrap_or_default()
            }
        };
        self.table.set(&key, hosts);
        self.is_changed = true;
        Ok(())
    }

    fn end_list(&mut self, _: &mut Cx<'_>, _: WatchId) {
        self.table.end_list();
        (self.is_listed, self.is_changed) = (true, true);
    }
}
