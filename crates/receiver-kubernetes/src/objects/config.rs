//! The configuration of `k8s_objects`, with the keys and messages of the Go collector.

use std::time::Duration;

use otelcore_config::{GoDuration, Section, config_enum, config_struct};
use otelcore_go_regexp::GoRegexp;
use otelcore_kubernetes_client::KubernetesApiConfig;

use crate::extension_ids::check_id;
use crate::source::{NamespacePattern, ObjectSource, ReadMode};

/// The interval of pulls without one.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(3600);

/// The types of events of a watch.
const EVENT_TYPES: [&str; 5] = ["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"];

config_enum! {
    /// How objects are read.
    #[config(unknown = "invalid mode: {word}", hint = "write pull or watch")]
    pub enum ObjectMode {
        /// All of them, at an interval.
        Pull = "pull",
        /// Their changes.
        Watch = "watch",
    }
}

config_enum! {
    /// What is done about a resource that the server does not have.
    #[config(
        unknown = "invalid error_mode \"{word}\": must be one of 'propagate', 'ignore', or 'silent'",
        hint = "write propagate, ignore or silent"
    )]
    pub enum ObjectErrorMode {
        /// Nothing is collected until the server has it.
        Propagate = "propagate",
        /// The other objects are collected, and it is logged.
        Ignore = "ignore",
        /// The other objects are collected.
        Silent = "silent",
    }
}

config_struct! {
    /// Namespaces that are left out.
    #[config(check = Self::check)]
    pub struct NamespaceFilterConfig {
        /// The name of a namespace.
        pub strict: String,
        /// A regular expression that matches a part of the name.
        pub regexp: String,
    }
}

impl NamespaceFilterConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        match (self.strict.is_empty(), self.regexp.is_empty()) {
            (true, true) => drop(s.error_for_keys(&["strict", "regexp"], "must specify either strict or regex")),
            (false, false) => drop(s.error("regexp", "strict and regex cannot be used together")),
            _ => {}
        }
        if let Err(error) = GoRegexp::compile(&self.regexp) {
            s.start_error("regexp", error.to_string()).help(error.hint());
        }
    }
}

impl NamespaceFilterConfig {
    /// `None` where the expression is not valid, which the check has reported.
    fn pattern(&self) -> Option<NamespacePattern> {
        match self.strict.as_str() {
            "" => GoRegexp::compile(&self.regexp).ok().map(NamespacePattern::Matches),
            name => Some(NamespacePattern::Equal(name.to_owned())),
        }
    }
}

config_struct! {
    /// Objects of one resource.
    #[config(check = Self::check)]
    pub struct ObjectConfig {
        /// The resource: `pods`, `events`, `widgets`.
        pub name: String,
        /// Its group, where several have the resource: `events.k8s.io`. Without it, the first one that has it.
        pub group: String,
        /// Only objects of these namespaces. Without them, of all.
        pub namespaces: Vec<String>,
        /// Objects of these namespaces are left out.
        pub exclude_namespaces: Vec<NamespaceFilterConfig>,
        /// `pull` (all objects at an interval) or `watch` (changes).
        pub mode: ObjectMode,
        /// Only objects with these labels: `environment in (production),tier in (frontend)`.
        pub label_selector: String,
        /// Only objects with these fields: `status.phase=Running`.
        pub field_selector: String,
        /// How often objects are pulled; zero for each hour.
        #[config(at_least(GoDuration::ZERO, "'interval' must not be negative"))]
        pub interval: Duration,
        /// The version of the objects that is pulled, or after which changes are watched. Without it, the newest one.
        pub resource_version: String,
        /// Types of changes that are left out: `ADDED`, `MODIFIED`, `DELETED`.
        pub exclude_watch_type: Vec<String>,
    }
}

impl ObjectConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.name.is_empty() {
            s.start_error("name", "an object needs 'name'").help("write the name of a resource, such as `name: pods`");
        }
        if self.mode == ObjectMode::Pull && !self.exclude_watch_type.is_empty() {
            s.error("exclude_watch_type", "the Exclude config can only be used with watch mode");
        }
        if !self.exclude_namespaces.is_empty() && !self.namespaces.is_empty() {
            s.error("exclude_namespaces", "namespaces and exclude_namespaces cannot both be set at the same time");
        }
        if self.mode == ObjectMode::Watch && !self.interval.is_zero() {
            s.warn("interval", "'interval' has no effect with `mode: watch`");
        }
        for excluded in self.exclude_watch_type.iter().filter(|excluded| !EVENT_TYPES.contains(&excluded.as_str())) {
            s.warn("exclude_watch_type", format!("no change has the type {excluded:?}"))
                .help("write ADDED, MODIFIED or DELETED");
        }
    }

    pub(super) fn source(&self, has_initial_state: bool) -> ObjectSource {
        let interval = if self.interval.is_zero() { DEFAULT_INTERVAL } else { self.interval };
        ObjectSource {
            name: self.name.clone(),
            group: self.group.clone(),
            resource: None,
            namespaces: self.namespaces.clone(),
            excluded_namespaces: self.exclude_namespaces.iter().filter_map(NamespaceFilterConfig::pattern).collect(),
            label_selector: self.label_selector.clone(),
            field_selector: self.field_selector.clone(),
            resource_version: self.resource_version.clone(),
            mode: match self.mode {
                ObjectMode::Pull => ReadMode::Pull { interval },
                ObjectMode::Watch => ReadMode::Watch { has_initial_state },
            },
            excluded_types: self.exclude_watch_type.clone(),
        }
    }
}

config_struct! {
    /// Collects objects of a cluster as log records.
    #[config(check = Self::check)]
    pub struct K8sObjectsConfig {
        /// The API server.
        #[config(flatten)]
        pub api: KubernetesApiConfig,
        /// What is collected.
        pub objects: Vec<ObjectConfig>,
        /// What is done about a resource that the server does not have: `propagate` (nothing is collected until it has it),
        /// `ignore` (the others are collected, and it is logged) or `silent`.
        pub error_mode: ObjectErrorMode,
        /// With `mode: watch`: the objects that exist at the start are sent first, as `ADDED`.
        pub include_initial_state: bool,
        /// The id of a `k8s_leader_elector` extension: objects are collected while this collector leads.
        pub k8s_leader_elector: String,
        /// The id of a storage extension that keeps up to which version changes were delivered. Without it, they begin anew
        /// after a restart.
        pub storage: String,
    }
}

impl K8sObjectsConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        check_id(s, "k8s_leader_elector", &self.k8s_leader_elector, "k8s_leader_elector");
        check_id(s, "storage", &self.storage, "file_storage");
        if self.objects.is_empty() {
            s.start_error("objects", "no valid Kubernetes objects found to watch")
                .help("name what to collect in `objects:`");
        }
        if !self.storage.is_empty() && self.objects.iter().any(|object| !object.resource_version.is_empty()) {
            s.error(
                "storage",
                "resource_version cannot be set on an object when storage is configured for persistence",
            );
        }
        if self.include_initial_state && self.objects.iter().any(|object| object.mode == ObjectMode::Pull) {
            s.error("include_initial_state", "include_initial_state can only be used with watch mode");
        }
    }
}
