//! `kubernetes_sd_configs`: targets in a Kubernetes cluster.
//!
//! Lists and watches objects by [`WatchClient`], and makes groups of them once everything has been listed. While the
//! server fails, the groups stay as they were. A turn of the loop makes a bounded number of groups.

mod config;
mod dependencies;
mod endpoints;
mod labels;
mod objects;
mod tables;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_kubernetes_client::{
    ApiServer, ChangeKind, Credentials, KubernetesApiConfig, ObjectConsumer, WatchClient, WatchId, WatchSpec,
};
use otelcore_pipeline::{Budget, Cx, Event, LogField, Logger, TimerId};

pub use config::{
    KubernetesMetadataConfig, KubernetesNamespaceConfig, KubernetesRole, KubernetesSdConfig, KubernetesSelectorConfig,
};

use crate::credentials::HttpCredentials;
use crate::provider::Provider;
use crate::updates::Sink;
use dependencies::Kind;
use tables::{Made, Tables};

/// Local keys, from the base on.
const WORK_KEY: u64 = 0;
const CREDENTIALS_KEY: u64 = 1;
const RETRY_KEY: u64 = 2;
const CLIENT_KEYS: u64 = 16;

/// Targets that are made in one turn; a group counts as one at least.
const MAX_TARGETS_PER_TURN: usize = 1000;
/// Objects of which dependents are searched for in one turn.
const MAX_SCANNED_PER_TURN: usize = 5000;

/// When groups for which there was no room are made again.
const RETRY_PAUSE: Duration = Duration::from_secs(60);
/// The most sources of such groups that are remembered.
const MAX_LEFT_OUT: usize = 10_000;

/// The file with the namespace of the collector's pod.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// The discovery.
pub(crate) struct KubernetesDiscovery {
    config: KubernetesSdConfig,
    log: Logger,
    base: u64,
    client: Option<WatchClient>,
    credentials: Option<Rc<HttpCredentials>>,
    tables: Tables,
    watches: usize,
    is_work_requested: bool,
    has_logged_address: bool,
    /// Sources of groups for which there was no room.
    left_out: Vec<String>,
    retry: Option<TimerId>,
}

/// Passes the objects on.
struct Consumer<'t>(&'t mut Tables);

impl ObjectConsumer for Consumer<'_> {
    fn begin_list(&mut self, watch: WatchId) {
        self.0.begin_list(watch);
    }

    fn apply(&mut self, _: &mut Cx<'_>, watch: WatchId, change: ChangeKind, object: &[u8]) -> Result<(), String> {
        self.0.apply(watch, change, object)
    }

    fn end_list(&mut self, _: &mut Cx<'_>, watch: WatchId) {
        self.0.end_list(watch);
    }
}

impl KubernetesDiscovery {
    pub(crate) fn new(config: &KubernetesSdConfig, log: Logger, budget: &Arc<Budget>, base: u64) -> Self {
        Self {
            tables: Tables::new(config.role, config.attach_metadata.clone(), budget),
            config: config.clone(),
            log,
            base,
            client: None,
            credentials: None,
            watches: 0,
            is_work_requested: false,
            has_logged_address: false,
            left_out: Vec::new(),
            retry: None,
        }
    }

    /// Finds the server, and makes the client for it.
    fn make_client(&mut self, cx: &mut Cx<'_>) -> Result<WatchClient, String> {
        let (log, base) = (self.log.clone(), self.base + CLIENT_KEYS);
        if !self.config.api_server.is_empty() {
            let credentials = HttpCredentials::new(&self.config.client, self.base + CREDENTIALS_KEY);
            credentials.start(cx);
            self.credentials = Some(credentials.clone());
            let server = ApiServer {
                url: self.config.api_server.trim_end_matches('/').to_owned(),
                client: self.config.client.client_config(),
                credentials: Credentials::None,
            };
            let mut client = WatchClient::with_server(server, Some(credentials), cx, log, base);
            client.find_proxies(cx).map_err(|error| error.to_string())?;
            return Ok(client);
        }
        let server = match self.config.kubeconfig_file.as_str() {
            "" => ApiServer::find(&KubernetesApiConfig::default(), cx),
            path => ApiServer::from_kubeconfig_file(path, cx),
        };
        let server = server.map_err(|error| match error.to_string() {
            text if text.contains(otelcore_kubernetes_client::NOT_IN_CLUSTER) => {
                "unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined"
                    .to_owned()
            }
            text => text,
        })?;
        Ok(WatchClient::with_server(server, None, cx, log, base))
    }

    /// The namespaces whose objects are read; one empty name for all.
    fn namespaces(&self, cx: &mut Cx<'_>) -> Result<Vec<String>, String> {
        let mut names = self.config.namespaces.names.clone();
        if self.config.namespaces.own_namespace {
            let of_file = cx.read_file(NAMESPACE_FILE);
            let of_file = of_file.map_err(|error| format!("could not determine the pod's namespace: {error}"))?;
            let own = String::from_utf8_lossy(&of_file).trim().to_owned();
            if own.is_empty() {
                return Err("could not read own namespace name (empty file)".to_owned());
            }
            names.push(own);
        } else if names.is_empty() {
            names.push(String::new());
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Makes groups, within the limit of the turn.
    fn work(&mut self, cx: &mut Cx<'_>, sink: &mut Sink<'_>) {
        self.tables.remove_unlisted();
        if self.tables.is_synced() {
            self.tables.scan(MAX_SCANNED_PER_TURN);
            // Groups that were made before the search has ended would be made again.
            let mut left = if self.tables.is_scanned() { MAX_TARGETS_PER_TURN } else { 0 };
            while left > 0
                && let Some((source, made)) = self.tables.make_next()
            {
                match made {
                    Made::Group(group) => {
                        left = left.saturating_sub(group.targets.len().max(1));
                        if !sink.set(group) && self.left_out.len() < MAX_LEFT_OUT {
                            self.left_out.push(source);
                        }
                    }
                    Made::Nothing => {
                        left -= 1;
                        self.warn_of_address(&source);
                    }
                }
            }
        }
        if !self.left_out.is_empty() && self.retry.is_none() {
            self.retry = Some(cx.set_timer(self.base + RETRY_KEY, cx.now() + RETRY_PAUSE));
        }
        if self.tables.has_work() && !std::mem::replace(&mut self.is_work_requested, true) {
            cx.request_ready(self.base + WORK_KEY);
        }
    }

    fn warn_of_address(&mut self, source: &str) {
        if !std::mem::replace(&mut self.has_logged_address, true) {
            let fields = [("err", LogField::Str("host address unknown")), ("node", LogField::Str(source))];
            self.log.warn("No node address found", &fields);
        }
    }
}

/// What is watched: for each watch the kind of its objects, their namespace, and where they are.
fn watches(config: &KubernetesSdConfig, namespaces: &[String]) -> Vec<(Kind, String, WatchSpec)> {
    let (role, attach) = (config.role, &config.attach_metadata);
    let is_of_endpoints = matches!(role, KubernetesRole::Endpoints | KubernetesRole::EndpointSlice);
    let has_pods = is_of_endpoints || role == KubernetesRole::Pod;
    let mut kinds = Vec::new();
    let namespaces = if role == KubernetesRole::Node { &[String::new()] } else { namespaces };
    for namespace in namespaces {
        for (kind, is_needed) in [
            (Kind::Main, true),
            (Kind::Service, is_of_endpoints),
            (Kind::Pod, is_of_endpoints),
            (Kind::ReplicaSet, has_pods && attach.deployment),
            (Kind::Job, has_pods && attach.cronjob),
        ] {
            kinds.extend(Some((kind, namespace.clone())).filter(|_| is_needed));
        }
    }
    kinds.extend(Some((Kind::Node, String::new())).filter(|_| has_pods && attach.node));
    let is_in_namespace = role != KubernetesRole::Node;
    kinds.extend(Some((Kind::Namespace, String::new())).filter(|_| is_in_namespace && attach.namespace));
    let spec = |kind: Kind, namespace: &str| {
        let (group, version, resource, selector) = resource_of(kind, role);
        let (label, field) = selector.map_or(("", ""), |role| config.selectors_of(role));
        let mut spec = WatchSpec::new(group, version, resource, namespace);
        label.clone_into(&mut spec.label_selector);
        field.clone_into(&mut spec.field_selector);
        spec.metadata_only = matches!(kind, Kind::Node | Kind::Namespace | Kind::ReplicaSet | Kind::Job);
        spec
    };
    kinds.into_iter().map(|(kind, namespace)| (kind, namespace.clone(), spec(kind, &namespace))).collect()
}

/// Group, version and name of a resource, and whose selectors it has.
fn resource_of(kind: Kind, role: KubernetesRole) -> (&'static str, &'static str, &'static str, Option<KubernetesRole>) {
    let of_role = match kind {
        Kind::Main => role,
        Kind::Pod => KubernetesRole::Pod,
        Kind::Service => KubernetesRole::Service,
        Kind::Node => KubernetesRole::Node,
        Kind::Namespace => return ("", "v1", "namespaces", None),
        Kind::ReplicaSet => return ("apps", "v1", "replicasets", None),
        Kind::Job => return ("batch", "v1", "jobs", None),
    };
    let (group, version, resource) = match of_role {
        KubernetesRole::Pod | KubernetesRole::Missing => ("", "v1", "pods"),
        KubernetesRole::Service => ("", "v1", "services"),
        KubernetesRole::Endpoints => ("", "v1", "endpoints"),
        KubernetesRole::EndpointSlice => ("discovery.k8s.io", "v1", "endpointslices"),
        KubernetesRole::Node => ("", "v1", "nodes"),
        KubernetesRole::Ingress => ("networking.k8s.io", "v1", "ingresses"),
    };
    (group, version, resource, Some(of_role))
}

impl Provider for KubernetesDiscovery {
    fn start(&mut self, cx: &mut Cx<'_>, _: &mut Sink<'_>) -> Result<(), String> {
        let mut client = self.make_client(cx)?;
        let namespaces = self.namespaces(cx)?;
        for (kind, namespace, spec) in watches(&self.config, &namespaces) {
            self.tables.add(kind, &namespace);
            client.add_watch(cx, spec);
            self.watches += 1;
        }
        self.client = Some(client);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>, sink: &mut Sink<'_>) {
        match local.wrapping_sub(self.base) {
            WORK_KEY => self.is_work_requested = false,
            RETRY_KEY => {
                self.retry = None;
                std::mem::take(&mut self.left_out).iter().for_each(|source| self.tables.make_again(source));
            }
            CREDENTIALS_KEY => {
                if let Some(credentials) = &self.credentials {
                    credentials.handle_event(cx, event);
                }
            }
            _ => {
                if let Some(client) = &mut self.client {
                    client.handle_event(cx, local, event, &mut Consumer(&mut self.tables));
                }
            }
        }
        self.work(cx, sink);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        if let Some(timer) = self.retry.take() {
            cx.cancel_timer(timer);
        }
        if let Some(client) = &mut self.client {
            client.close(cx);
        }
        if let Some(credentials) = &self.credentials {
            credentials.close(cx);
        }
    }

    fn error(&self) -> Option<&str> {
        let client = self.client.as_ref()?;
        (0..self.watches).find_map(|watch| client.error(WatchId(watch)))
    }

    fn failures(&self) -> u64 {
        self.client.as_ref().map_or(0, WatchClient::failures)
    }
}

/// A cluster without a server, and its groups.
#[cfg(test)]
pub(crate) struct TestCluster {
    tables: Tables,
    resources: Vec<String>,
    pub(crate) groups: std::collections::BTreeMap<Arc<str>, crate::TargetGroup>,
}

#[cfg(test)]
impl TestCluster {
    /// Whose lists have these objects.
    pub(crate) fn new(
        config: &KubernetesSdConfig,
        lists: &std::collections::BTreeMap<String, Vec<String>>,
        budget: &Arc<Budget>,
    ) -> Self {
        let mut tables = Tables::new(config.role, config.attach_metadata.clone(), budget);
        let mut resources = Vec::new();
        for (index, (kind, namespace, spec)) in watches(config, &[String::new()]).into_iter().enumerate() {
            tables.add(kind, &namespace);
            tables.begin_list(WatchId(index));
            for object in lists.get(spec.resource()).into_iter().flatten() {
                tables.apply(WatchId(index), ChangeKind::Listed, object.as_bytes()).unwrap();
            }
            tables.end_list(WatchId(index));
            resources.push(spec.resource().to_owned());
        }
        Self { tables, resources, groups: std::collections::BTreeMap::new() }
    }

    /// An event of the watch of a resource, if there is one.
    pub(crate) fn apply(&mut self, resource: &str, change: ChangeKind, object: &str) {
        if let Some(index) = self.resources.iter().position(|known| known == resource) {
            self.tables.apply(WatchId(index), change, object.as_bytes()).unwrap();
        }
    }

    /// Does all the work that there is.
    pub(crate) fn work(&mut self) {
        while self.tables.has_work() {
            self.tables.remove_unlisted();
            self.tables.scan(7);
            if !self.tables.is_scanned() {
                continue;
            }
            while let Some((_, made)) = self.tables.make_next() {
                if let Made::Group(group) = made {
                    self.groups.insert(group.source.clone(), group);
                }
            }
        }
    }
}
