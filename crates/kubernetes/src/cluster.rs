//! Objects of manifests, from one or more files, and how to find one of them.
//!
//! The steps of look-ups and checks are counted and limited, because a check of one list against another grows with the
//! product of their lengths.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use otelcore_config::{ConfigNode, Diagnostics, NodeMap, SourceText, parse_documents, steps};

/// One object.
#[derive(Clone, Debug)]
pub struct Object {
    /// `Deployment`.
    pub kind: String,
    /// `metadata.name`; empty for generated ones.
    pub name: String,
    /// `metadata.namespace`, where it is written.
    pub namespace: Option<String>,
    /// The whole object.
    pub node: ConfigNode,
}

impl Object {
    /// `Deployment otel-collector`.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }

    /// Whether both can be in one namespace. A namespace that is not written can be any: it is chosen when the file is
    /// applied.
    pub(crate) fn may_share_namespace(&self, other: &Self) -> bool {
        match (&self.namespace, &other.namespace) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        }
    }
}

/// The objects of all files.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    objects: Vec<Object>,
    /// Their indices, by kind.
    by_kind: BTreeMap<String, Vec<usize>>,
    /// The same, by kind and name.
    by_name: BTreeMap<(String, String), Vec<usize>>,
    steps: Cell<u64>,
}

/// Steps that all look-ups and checks of one cluster may take together.
const MAX_STEPS: u64 = 200_000_000;

/// How many levels of lists inside lists are read. Deeper ones are ignored.
const MAX_LIST_DEPTH: usize = 8;

impl Cluster {
    /// Whether a text is Kubernetes manifests: its first document that is not empty has `apiVersion` and `kind`.
    #[must_use]
    pub fn is_manifests(source: &Arc<SourceText>) -> bool {
        // This search is cheap: a text that is not a manifest, such as a configuration, is rarely parsed here.
        if !source.text.contains("apiVersion") || !source.text.contains("kind") {
            return false;
        }
        let documents = parse_documents(source, &Diagnostics::new());
        let first = documents.iter().find(|node| node.as_map().is_some_and(|map| !map.is_empty()));
        first.is_some_and(|node| string(node, "apiVersion").is_some() && string(node, "kind").is_some())
    }

    /// Adds the objects of a file. A text that is not YAML is reported in `d`; documents that are not objects are
    /// skipped.
    pub fn add(&mut self, source: &Arc<SourceText>, d: &Diagnostics) {
        for node in parse_documents(source, d) {
            self.add_node(node, MAX_LIST_DEPTH);
        }
    }

    fn add_node(&mut self, node: ConfigNode, remaining_depth: usize) {
        let Some(kind) = string(&node, "kind").map(str::to_owned) else { return };
        if kind.ends_with("List") && node.get_path("items").is_some() {
            if remaining_depth > 0 {
                node.get_path("items")
                    .into_iter()
                    .flat_map(ConfigNode::items)
                    .for_each(|n| self.add_node(n.clone(), remaining_depth - 1));
            }
            return;
        }
        let name = string(&node, "metadata::name").or_else(|| string(&node, "metadata::generateName"));
        let name = name.unwrap_or_default().to_owned();
        let namespace = string(&node, "metadata::namespace").map(str::to_owned);
        self.push(Object { kind, name, namespace, node });
    }

    fn push(&mut self, object: Object) {
        let at = self.objects.len();
        self.by_kind.entry(object.kind.clone()).or_default().push(at);
        self.by_name.entry((object.kind.clone(), object.name.clone())).or_default().push(at);
        self.objects.push(object);
    }

    /// Counts steps. `false` when there have been too many: then nothing more is found, and the results are incomplete.
    pub(crate) fn count_steps(&self, count: usize) -> bool {
        steps::add(count);
        self.steps.set(self.steps.get().saturating_add(u64::try_from(count).unwrap_or(u64::MAX)));
        !self.is_limit_exceeded()
    }

    /// Whether the limit of steps is exceeded. Diagnostics about a collector after that are not reliable.
    #[must_use]
    pub fn is_limit_exceeded(&self) -> bool {
        self.steps.get() > MAX_STEPS
    }

    pub(crate) fn add_object(&mut self, kind: &str, name: &str, node: ConfigNode) {
        self.push(Object { kind: kind.to_owned(), name: name.to_owned(), namespace: None, node });
    }

    /// Whether there is no object.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// All of them, in the order of the files.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.objects.iter()
    }

    /// The objects of a kind.
    pub(crate) fn of_kind<'c>(&'c self, kind: &'c str) -> impl Iterator<Item = &'c Object> {
        let found = self.by_kind.get(kind).into_iter().flatten().take_while(|_| self.count_steps(1));
        found.filter_map(|at| self.objects.get(*at))
    }

    /// The autoscalers of a kind whose target is this workload.
    pub(crate) fn autoscalers_of<'c>(
        &'c self,
        kind: &'c str,
        workload: &'c Object,
    ) -> impl Iterator<Item = &'c Object> {
        // KEDA's default kind is Deployment; a HorizontalPodAutoscaler has to name one.
        let default_kind = if kind == "ScaledObject" { "Deployment" } else { "" };
        self.of_kind(kind).filter(move |scaler| {
            let target = |key: &str| string(&scaler.node, &format!("spec::scaleTargetRef::{key}"));
            scaler.may_share_namespace(workload)
                && target("name") == Some(&workload.name)
                && target("kind").unwrap_or(default_kind) == workload.kind
        })
    }

    /// The object of a kind with a name, in a namespace that can be that of `in_namespace_of`.
    pub(crate) fn find<'c>(
        &'c self,
        kind: &'c str,
        name: &str,
        in_namespace_of: Option<&Object>,
    ) -> Option<&'c Object> {
        let found = self.by_name.get(&(kind.to_owned(), name.to_owned())).into_iter().flatten();
        let mut found = found.take_while(|_| self.count_steps(1)).filter_map(|at| self.objects.get(*at));
        found.find(|o| in_namespace_of.is_none_or(|b| b.may_share_namespace(o)))
    }
}

/// The string at a path of keys separated by `::`.
pub(crate) fn string<'n>(node: &'n ConfigNode, path: &str) -> Option<&'n str> {
    node.get_path(path).and_then(ConfigNode::as_str)
}

/// The map at a path.
pub(crate) fn map<'n>(node: &'n ConfigNode, path: &str) -> Option<&'n NodeMap> {
    node.get_path(path).and_then(ConfigNode::as_map)
}

/// The items of the list at a path.
pub(crate) fn list<'n>(node: &'n ConfigNode, path: &str) -> &'n [ConfigNode] {
    node.get_path(path).map(ConfigNode::items).unwrap_or_default()
}

/// The item of a list of maps with this `name`.
pub(crate) fn find_named<'n>(items: &'n [ConfigNode], name: &str) -> Option<&'n ConfigNode> {
    items.iter().find(|item| string(item, "name") == Some(name))
}

/// A whole number, also one that a tool has written as a string or a float.
pub(crate) fn whole_number(node: Option<&ConfigNode>) -> Option<u64> {
    let text = crate::quantity::scalar_text(node?)?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_ups_beyond_the_step_limit_find_nothing() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {b: c}\n";
        let mut cluster = Cluster::default();
        cluster.add(&SourceText::new("a.yaml", text), &Diagnostics::new());
        assert!(cluster.find("ConfigMap", "a", None).is_some() && cluster.of_kind("ConfigMap").next().is_some());
        assert!(!cluster.count_steps(usize::MAX) && cluster.is_limit_exceeded());
        assert!(cluster.find("ConfigMap", "a", None).is_none() && cluster.of_kind("ConfigMap").next().is_none());
        assert!(cluster.collectors().is_empty());
    }
}
