//! Which file a container has at a path: the mount, its volume, and the key of the ConfigMap behind it.

use otelcore_config::{Embedded, Nested, Node, Origin};

use crate::cluster::{Cluster, Object, list, map, named, string};

/// What is at a path.
#[derive(Debug)]
pub(crate) enum Found<'c> {
    /// A text of the files.
    Text(Embedded),
    /// Something that is known only in the cluster: a claim, a folder of the node, an object that is not in the files.
    Outside {
        /// The kind and name of an object that must be in the cluster, and where it is named.
        absent: Option<(&'static str, String, &'c Origin)>,
    },
    /// The mount is there and has no such file.
    Missing {
        /// What is there instead.
        names: Vec<String>,
        /// `ConfigMap otel-collector-conf`.
        title: String,
        /// Where the keys are chosen.
        at: &'c Origin,
    },
    /// The mount or its volume refers to something that does not exist, which is reported at that reference.
    Told,
    /// Nothing is mounted there.
    Nothing,
}

/// How many names a message lists.
pub(crate) const MOST_NAMES: usize = 20;

/// The container whose mounts are searched.
#[derive(Clone, Copy)]
pub(crate) struct Mounts<'c> {
    pub(crate) cluster: &'c Cluster,
    pub(crate) owner: &'c Object,
    pub(crate) spec: &'c Node,
    pub(crate) container: &'c Node,
}

/// `rest` of `path` below `folder`; empty for the folder itself.
pub(crate) fn below<'p>(path: &'p str, folder: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(folder.trim_end_matches('/'))?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
}

impl<'c> Mounts<'c> {
    /// The mount that covers a path, the deepest of them.
    pub(crate) fn mount(self, path: &str) -> Option<(&'c Node, String)> {
        let all = list(self.container, "volumeMounts").iter().take_while(|_| self.cluster.spend(1));
        let covering = all.filter_map(|m| Some((m, string(m, "mountPath")?, below(path, string(m, "mountPath")?)?)));
        let (mount, _, rest) = covering.max_by_key(|(_, at, _)| at.trim_end_matches('/').len())?;
        let inner = match string(mount, "subPath").map(|s| s.trim_matches('/')) {
            Some(sub) if rest.is_empty() => sub.to_owned(),
            Some(sub) => format!("{sub}/{rest}"),
            None => rest.to_owned(),
        };
        Some((mount, inner))
    }

    pub(crate) fn volume(self, name: &str) -> Option<&'c Node> {
        let volumes = list(self.spec, "volumes");
        if self.cluster.spend(volumes.len()) { named(volumes, name) } else { None }
    }

    /// Whether a claim template, such as that of a StatefulSet, creates the volume.
    pub(crate) fn is_claimed(self, name: &str) -> bool {
        let path = if self.owner.kind == "StatefulSet" { "spec::volumeClaimTemplates" } else { "volumeClaimTemplates" };
        let templates = list(&self.owner.node, path).iter().chain(list(self.spec, "volumeClaimTemplates"));
        templates.take_while(|_| self.cluster.spend(1)).any(|t| string(t, "metadata::name") == Some(name))
    }

    pub(crate) fn find(self, path: &str) -> Found<'c> {
        let Some((mount, inner)) = self.mount(path) else { return Found::Nothing };
        let Some(name) = string(mount, "name") else { return Found::Outside { absent: None } };
        let Some(volume) = self.volume(name) else {
            if self.is_claimed(name) {
                return Found::Outside { absent: None };
            }
            return Found::Told;
        };
        let sources: Vec<&Node> = match volume.at("projected") {
            Some(projected) => list(projected, "sources").iter().collect(),
            None => vec![volume],
        };
        let sources = sources.iter().take_while(|_| self.cluster.spend(1));
        let found: Vec<Found<'c>> = sources.map(|s| self.source(s, &inner)).collect();
        // One source with the file is enough, and a source whose content is not known may have it.
        let rank = |f: &Found<'_>| match f {
            Found::Text(_) => 0,
            Found::Told => 1,
            Found::Outside { .. } => 2,
            _ => 3,
        };
        found.into_iter().min_by_key(rank).unwrap_or(Found::Outside { absent: None })
    }

    fn source(self, source: &'c Node, path: &str) -> Found<'c> {
        let (section, kind, key) = if let Some(section) = source.at("configMap") {
            (section, "ConfigMap", "name")
        } else if let Some(section) = source.at("secret") {
            (section, "Secret", if source.at("secret::secretName").is_some() { "secretName" } else { "name" })
        } else {
            return Found::Outside { absent: None };
        };
        let Some(name) = section.at(key) else { return Found::Outside { absent: None } };
        let title = name.as_str().unwrap_or_default();
        let Some(object) = self.cluster.find(kind, title, Some(self.owner)) else {
            let optional = section.at("optional").is_some_and(|n| n.value == otelcore_config::Value::Bool(true));
            let absent = (!optional && kind == "ConfigMap").then(|| (kind, title.to_owned(), &name.origin));
            return Found::Outside { absent };
        };
        let items = list(section, "items");
        if !self.cluster.spend(items.len()) {
            return Found::Told;
        }
        let key = match items.iter().find(|i| string(i, "path").is_some_and(|p| p.trim_matches('/') == path)) {
            Some(item) => {
                let key = string(item, "key").unwrap_or_default();
                // An item whose key does not exist is reported at the volume.
                return match value(self.cluster, object, key, &name.origin) {
                    Found::Missing { .. } => Found::Told,
                    found => found,
                };
            }
            None if !items.is_empty() => {
                let names =
                    items.iter().filter_map(|i| string(i, "path")).take(MOST_NAMES).map(str::to_owned).collect();
                return Found::Missing { names, title: object.title(), at: &items.first().unwrap_or(section).origin };
            }
            None => path,
        };
        value(self.cluster, object, key, &name.origin)
    }
}

/// A key of a ConfigMap or Secret.
fn value<'c>(cluster: &Cluster, object: &'c Object, key: &str, at: &'c Origin) -> Found<'c> {
    let hidden = if object.kind == "Secret" { "data" } else { "binaryData" };
    if map(&object.node, hidden).is_some_and(|data| data.get(key).is_some()) {
        return Found::Outside { absent: None };
    }
    let shown = if object.kind == "Secret" { "stringData" } else { "data" };
    let data = map(&object.node, shown);
    if let Some(nested) = data.and_then(|d| d.get(key)).and_then(|entry| Nested::of(&entry.node)) {
        // The caller reads the text; its bytes are counted here.
        cluster.spend(nested.text().text.len());
        let secret = object.kind == "Secret";
        return Found::Text(Embedded::Text(if secret { nested.secret() } else { nested }));
    }
    let names = data.into_iter().flatten().take(MOST_NAMES).map(|entry| entry.key.to_string()).collect();
    Found::Missing { names, title: object.title(), at }
}
