//! Objects of manifests, from one or more files, and how to find one of them.
//!
//! The steps of look-ups and checks are counted and limited, because a check of one list against another grows with the
//! product of their lengths.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use otelcore_config::{Diagnostics, Map, Node, SourceText, documents, steps};

use crate::collector::{self, Collector};

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
    pub node: Node,
}

impl Object {
    /// `Deployment otel-collector`.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }

    /// Whether both can be in one namespace. A namespace that is not written can be any: it is chosen when the file is
    /// applied.
    pub(crate) fn together(&self, other: &Self) -> bool {
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
    kinds: BTreeMap<String, Vec<usize>>,
    /// The same, by kind and name.
    names: BTreeMap<(String, String), Vec<usize>>,
    work: Cell<u64>,
}

/// Steps that all look-ups and checks of one cluster may take together.
const MAX_WORK: u64 = 200_000_000;

/// How many levels of lists inside lists are read. Deeper ones are ignored.
const MAX_LISTS: usize = 8;

impl Cluster {
    /// Whether a text is Kubernetes manifests: its first document that is not empty has `apiVersion` and `kind`.
    #[must_use]
    pub fn recognises(source: &Arc<SourceText>) -> bool {
        // This search is cheap: a text that is not a manifest, such as a configuration, is rarely parsed here.
        if !source.text.contains("apiVersion") || !source.text.contains("kind") {
            return false;
        }
        let documents = documents(source, &Diagnostics::new());
        let first = documents.iter().find(|node| node.as_map().is_some_and(|map| !map.is_empty()));
        first.is_some_and(|node| string(node, "apiVersion").is_some() && string(node, "kind").is_some())
    }

    /// Adds the objects of a file. A text that is not YAML is reported in `d`; documents that are not objects are
    /// skipped.
    pub fn add(&mut self, source: &Arc<SourceText>, d: &Diagnostics) {
        for node in documents(source, d) {
            self.add_node(node, MAX_LISTS);
        }
    }

    fn add_node(&mut self, node: Node, deeper: usize) {
        let Some(kind) = string(&node, "kind").map(str::to_owned) else { return };
        if kind.ends_with("List") && node.at("items").is_some() {
            if deeper > 0 {
                node.at("items").into_iter().flat_map(Node::items).for_each(|n| self.add_node(n.clone(), deeper - 1));
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
        self.kinds.entry(object.kind.clone()).or_default().push(at);
        self.names.entry((object.kind.clone(), object.name.clone())).or_default().push(at);
        self.objects.push(object);
    }

    /// Counts steps. `false` when there have been too many: then nothing more is found, and the results are incomplete.
    pub(crate) fn spend(&self, count: usize) -> bool {
        steps::add(count);
        self.work.set(self.work.get().saturating_add(u64::try_from(count).unwrap_or(u64::MAX)));
        !self.exhausted()
    }

    /// Whether the limit of steps is exceeded. Diagnostics about a collector after that are not reliable.
    #[must_use]
    pub fn exhausted(&self) -> bool {
        self.work.get() > MAX_WORK
    }

    pub(crate) fn add_object(&mut self, kind: &str, name: &str, node: Node) {
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
        let found = self.kinds.get(kind).into_iter().flatten().take_while(|_| self.spend(1));
        found.filter_map(|at| self.objects.get(*at))
    }

    /// The object of a kind with a name, in the namespace of `beside`.
    pub(crate) fn find<'c>(&'c self, kind: &'c str, name: &str, beside: Option<&Object>) -> Option<&'c Object> {
        let found = self.names.get(&(kind.to_owned(), name.to_owned())).into_iter().flatten();
        let mut found = found.take_while(|_| self.spend(1)).filter_map(|at| self.objects.get(*at));
        found.find(|o| beside.is_none_or(|b| b.together(o)))
    }

    /// Everything in the files that runs a collector, and configurations in ConfigMaps that nothing in the files runs.
    #[must_use]
    pub fn collectors(&self) -> Vec<Collector<'_>> {
        let objects = self.objects.iter().take_while(|_| self.spend(1));
        let mut found: Vec<Collector<'_>> = objects.flat_map(|o| collector::of(self, o)).collect();
        let used: BTreeSet<_> = found.iter().flat_map(Collector::config_origins).collect();
        let loose: Vec<_> = self.of_kind("ConfigMap").flat_map(|o| collector::loose(self, o, &used)).collect();
        found.extend(loose);
        found
    }
}

/// The string at a path of keys separated by `::`.
pub(crate) fn string<'n>(node: &'n Node, path: &str) -> Option<&'n str> {
    node.at(path).and_then(Node::as_str)
}

/// The map at a path.
pub(crate) fn map<'n>(node: &'n Node, path: &str) -> Option<&'n Map> {
    node.at(path).and_then(Node::as_map)
}

/// The items of the list at a path.
pub(crate) fn list<'n>(node: &'n Node, path: &str) -> &'n [Node] {
    node.at(path).map(Node::items).unwrap_or_default()
}

/// The item of a list of maps with this `name`.
pub(crate) fn named<'n>(items: &'n [Node], name: &str) -> Option<&'n Node> {
    items.iter().find(|item| string(item, "name") == Some(name))
}

/// A whole number, also one that a tool has written as a string or a float.
pub(crate) fn number(node: Option<&Node>) -> Option<u64> {
    let text = crate::quantity::text(node?)?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_found_beyond_the_limit_of_work() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {b: c}\n";
        let mut cluster = Cluster::default();
        cluster.add(&SourceText::new("a.yaml", text), &Diagnostics::new());
        assert!(cluster.find("ConfigMap", "a", None).is_some() && cluster.of_kind("ConfigMap").next().is_some());
        assert!(!cluster.spend(usize::MAX) && cluster.exhausted());
        assert!(cluster.find("ConfigMap", "a", None).is_none() && cluster.of_kind("ConfigMap").next().is_none());
        assert!(cluster.collectors().is_empty());
    }
}
