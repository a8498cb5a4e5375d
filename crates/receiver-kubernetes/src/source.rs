//! What is asked for: resources, how they are read, and which resource of the server is meant.

use std::sync::Arc;
use std::time::Duration;

use otelcore_go_regexp::GoRegexp;
use otelcore_kubernetes_client::{ApiResource, ChangeKind, WatchMode, WatchSpec};

/// How the objects of a source are read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ReadMode {
    /// All of them, at an interval.
    Pull { interval: Duration },
    Watch {
        /// All objects are read first.
        has_initial_state: bool,
    },
}

/// Namespaces that are left out.
#[derive(Clone, Debug)]
pub(crate) enum NamespacePattern {
    Equal(String),
    /// A part of the name matches.
    Matches(GoRegexp),
}

impl NamespacePattern {
    pub(crate) fn is_match(&self, namespace: &str) -> bool {
        match self {
            Self::Equal(name) => name == namespace,
            Self::Matches(pattern) => pattern.is_match(namespace.as_bytes()),
        }
    }
}

/// The objects of a resource, in some namespaces or everywhere.
#[derive(Clone, Debug)]
pub(crate) struct ObjectSource {
    pub(crate) name: String,
    /// Empty for any.
    pub(crate) group: String,
    /// Without discovery.
    pub(crate) resource: Option<ApiResource>,
    /// Empty for all.
    pub(crate) namespaces: Vec<String>,
    pub(crate) excluded_namespaces: Arc<[NamespacePattern]>,
    pub(crate) label_selector: String,
    pub(crate) field_selector: String,
    /// The version to begin with; empty for the newest one.
    pub(crate) resource_version: String,
    pub(crate) mode: ReadMode,
    /// Types of events that are left out: `DELETED`.
    pub(crate) excluded_types: Vec<String>,
}

impl ObjectSource {
    /// The resource of the server that is meant: that of the group, else the first one of the name.
    pub(crate) fn find<'r>(&self, resources: &'r [ApiResource]) -> Option<&'r ApiResource> {
        let of_name = || resources.iter().filter(|resource| resource.name == self.name);
        of_name().find(|resource| resource.group == self.group).or_else(|| of_name().next())
    }

    /// The watch of a namespace, or of all where it is empty. `kept` is the version that the storage has.
    pub(crate) fn watch_spec(&self, resource: &ApiResource, namespace: &str, kept: &str) -> WatchSpec {
        let configured = if self.resource_version == "0" { "" } else { &self.resource_version };
        let mode = match self.mode {
            ReadMode::Pull { .. } => WatchMode::List { version: self.resource_version.clone() },
            ReadMode::Watch { has_initial_state: true } => WatchMode::ListOnceAndWatch,
            ReadMode::Watch { .. } if kept.is_empty() => WatchMode::Watch { from: configured.to_owned() },
            ReadMode::Watch { .. } => WatchMode::Watch { from: kept.to_owned() },
        };
        WatchSpec {
            label_selector: self.label_selector.clone(),
            field_selector: self.field_selector.clone(),
            mode,
            ..WatchSpec::new(&resource.group, &resource.version, &resource.name, namespace)
        }
    }

    /// The type of event of a change, in the record; `None` for an object of a pull.
    pub(crate) fn event_type(&self, change: ChangeKind) -> Option<&'static str> {
        match (&self.mode, change) {
            (ReadMode::Pull { .. }, _) => None,
            (_, ChangeKind::Listed | ChangeKind::Added) => Some("ADDED"),
            (_, ChangeKind::Modified) => Some("MODIFIED"),
            (_, ChangeKind::Deleted) => Some("DELETED"),
        }
    }

    pub(crate) fn excludes(&self, event_type: Option<&str>) -> bool {
        event_type.is_some_and(|event_type| self.excluded_types.iter().any(|excluded| excluded == event_type))
    }
}
