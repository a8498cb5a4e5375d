//! A kustomization: which files belong together, and the ConfigMaps that are made of files.
//!
//! Only the keys that add objects are read. The keys that change objects afterwards are listed in
//! [`Kustomization::ignored`], so that the check of a base is not mistaken for that of its overlay. Reads no file: it
//! returns the names, and the caller passes in the texts.

use std::sync::Arc;

use otelcore_config::{
    ConfigNode, Diagnostics, NodeEntry, NodeMap, NodeValue, SourceLocation, SourceText, parse_documents,
};

use crate::cluster::{Cluster, list, string};

/// The objects that a kustomization adds.
#[derive(Clone, Debug, Default)]
pub struct Kustomization {
    /// Files and folders, as written.
    pub resources: Vec<String>,
    /// `configMapGenerator`.
    pub maps: Vec<GeneratedMap>,
    /// Keys that change objects and are not applied here, with their places.
    pub ignored: Vec<(String, SourceLocation)>,
}

/// A ConfigMap that is made of files. Its name is used as written: the hash that kustomize appends is in every
/// reference as well.
#[derive(Clone, Debug)]
pub struct GeneratedMap {
    /// Its name.
    pub name: String,
    /// Key and path of each file.
    pub files: Vec<(String, String)>,
    /// Keys with values.
    pub literals: Vec<(String, ConfigNode)>,
    /// Where it is written.
    pub origin: SourceLocation,
}

/// Names that kustomize looks for in a folder.
pub const KUSTOMIZATION_FILES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

const UNSUPPORTED_KEYS: [&str; 7] =
    ["patches", "patchesStrategicMerge", "patchesJson6902", "replacements", "namePrefix", "nameSuffix", "vars"];

impl Kustomization {
    /// Reads one; a text that is not YAML is reported in `d`.
    #[must_use]
    pub fn parse(source: &Arc<SourceText>, d: &Diagnostics) -> Self {
        let documents = parse_documents(source, d);
        let Some(root) = documents.first() else { return Self::default() };
        let texts = |key: &str| list(root, key).iter().filter_map(ConfigNode::as_str).map(str::to_owned);
        let ignored = root.as_map().into_iter().flatten().filter(|entry| UNSUPPORTED_KEYS.contains(&&*entry.key));
        Self {
            resources: texts("resources").chain(texts("bases")).chain(texts("components")).collect(),
            maps: list(root, "configMapGenerator").iter().filter_map(parse_generated_map).collect(),
            ignored: ignored.map(|entry| (entry.key.to_string(), entry.key_origin.clone())).collect(),
        }
    }
}

fn parse_generated_map(node: &ConfigNode) -> Option<GeneratedMap> {
    let name = string(node, "name")?.to_owned();
    let file = |text: &str| match text.split_once('=') {
        Some((key, path)) => (key.to_owned(), path.to_owned()),
        None => (text.rsplit('/').next().unwrap_or(text).to_owned(), text.to_owned()),
    };
    let literal = |node: &ConfigNode| {
        let (key, value) = node.as_str()?.split_once('=')?;
        Some((key.to_owned(), ConfigNode::new(NodeValue::Str(value.into()), node.origin.clone())))
    };
    Some(GeneratedMap {
        name,
        files: list(node, "files").iter().filter_map(ConfigNode::as_str).map(file).collect(),
        literals: list(node, "literals").iter().filter_map(literal).collect(),
        origin: node.origin.clone(),
    })
}

impl Cluster {
    /// Adds a generated ConfigMap; `texts` are those of its files, by key. Places in them are those of the files.
    pub fn add_generated(&mut self, map: &GeneratedMap, texts: Vec<(String, Arc<SourceText>)>) {
        let files = texts.into_iter().map(|(key, source)| {
            let origin = SourceLocation::new(&source, 1, 1);
            (key, ConfigNode::new(NodeValue::Str(source.text.clone()), origin))
        });
        let mut data = NodeMap::default();
        for (key, node) in files.chain(map.literals.iter().cloned()) {
            data.insert(NodeEntry { key: key.into(), key_origin: node.origin.clone(), node });
        }
        let mut root = NodeMap::default();
        let (key_origin, node) = (map.origin.clone(), ConfigNode::new(NodeValue::Map(data), map.origin.clone()));
        root.insert(NodeEntry { key: "data".into(), key_origin, node });
        self.add_object("ConfigMap", &map.name, ConfigNode::new(NodeValue::Map(root), map.origin.clone()));
    }
}
