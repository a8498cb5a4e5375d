//! Which file a container has at a path: the mount, its volume, and the key of the ConfigMap behind it.

use otelcore_config::{ConfigNode, EmbeddedSource, NestedSource, SourceLocation};

use crate::cluster::{Cluster, Object, find_named, list, map, string};

/// What is at a path.
#[derive(Debug)]
pub(crate) enum MountedFile<'c> {
    /// A text of the files.
    Text(EmbeddedSource),
    /// Something that is known only in the cluster: a claim, a folder of the node, an object that is not in the files.
    NotInManifests {
        /// The kind and name of an object that must be in the cluster, and where it is named.
        absent: Option<(&'static str, String, &'c SourceLocation)>,
    },
    /// The mount is there and has no such file.
    NotInVolume {
        /// What is there instead.
        names: Vec<String>,
        /// `ConfigMap otel-collector-conf`.
        title: String,
        /// Where the keys are chosen.
        at: &'c SourceLocation,
    },
    /// The mount or its volume refers to something that does not exist, which is reported at that reference.
    AlreadyReported,
    /// Nothing is mounted there.
    NotMounted,
}

/// How many names a message lists.
pub(crate) const MAX_NAMES_SHOWN: usize = 20;

/// The container whose mounts are searched.
#[derive(Clone, Copy)]
pub(crate) struct Mounts<'c> {
    pub(crate) cluster: &'c Cluster,
    pub(crate) owner: &'c Object,
    pub(crate) spec: &'c ConfigNode,
    pub(crate) container: &'c ConfigNode,
}

/// `rest` of `path` below `folder`; empty for the folder itself.
pub(crate) fn path_below<'p>(path: &'p str, folder: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(folder.trim_end_matches('/'))?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
}

impl<'c> Mounts<'c> {
    /// The mount that covers a path, the deepest of them.
    pub(crate) fn mount(self, path: &str) -> Option<(&'c ConfigNode, String)> {
        let all = list(self.container, "volumeMounts").iter().take_while(|_| self.cluster.count_steps(1));
        let covering =
            all.filter_map(|m| Some((m, string(m, "mountPath")?, path_below(path, string(m, "mountPath")?)?)));
        let (mount, _, rest) = covering.max_by_key(|(_, at, _)| at.trim_end_matches('/').len())?;
        let inner = match string(mount, "subPath").map(|s| s.trim_matches('/')) {
            Some(sub) if rest.is_empty() => sub.to_owned(),
            Some(sub) => format!("{sub}/{rest}"),
            None => rest.to_owned(),
        };
        Some((mount, inner))
    }

    pub(crate) fn volume(self, name: &str) -> Option<&'c ConfigNode> {
        let volumes = list(self.spec, "volumes");
        if self.cluster.count_steps(volumes.len()) { find_named(volumes, name) } else { None }
    }

    /// Whether a claim template, such as that of a StatefulSet, creates the volume.
    pub(crate) fn is_claimed(self, name: &str) -> bool {
        let path = if self.owner.kind == "StatefulSet" { "spec::volumeClaimTemplates" } else { "volumeClaimTemplates" };
        let templates = list(&self.owner.node, path).iter().chain(list(self.spec, "volumeClaimTemplates"));
        templates.take_while(|_| self.cluster.count_steps(1)).any(|t| string(t, "metadata::name") == Some(name))
    }

    pub(crate) fn find(self, path: &str) -> MountedFile<'c> {
        let Some((mount, inner)) = self.mount(path) else { return MountedFile::NotMounted };
        let Some(name) = string(mount, "name") else { return MountedFile::NotInManifests { absent: None } };
        let Some(volume) = self.volume(name) else {
            if self.is_claimed(name) {
                return MountedFile::NotInManifests { absent: None };
            }
            return MountedFile::AlreadyReported;
        };
        let sources: Vec<&ConfigNode> = match volume.get_path("projected") {
            Some(projected) => list(projected, "sources").iter().collect(),
            None => vec![volume],
        };
        let sources = sources.iter().take_while(|_| self.cluster.count_steps(1));
        let found: Vec<MountedFile<'c>> = sources.map(|s| self.find_in_source(s, &inner)).collect();
        // One source with the file is enough, and a source whose content is not known may have it.
        let rank = |f: &MountedFile<'_>| match f {
            MountedFile::Text(_) => 0,
            MountedFile::AlreadyReported => 1,
            MountedFile::NotInManifests { .. } => 2,
            _ => 3,
        };
        found.into_iter().min_by_key(rank).unwrap_or(MountedFile::NotInManifests { absent: None })
    }

    fn find_in_source(self, source: &'c ConfigNode, path: &str) -> MountedFile<'c> {
        let (section, kind, key) = if let Some(section) = source.get_path("configMap") {
            (section, "ConfigMap", "name")
        } else if let Some(section) = source.get_path("secret") {
            (section, "Secret", if source.get_path("secret::secretName").is_some() { "secretName" } else { "name" })
        } else {
            return MountedFile::NotInManifests { absent: None };
        };
        let Some(name) = section.get_path(key) else { return MountedFile::NotInManifests { absent: None } };
        let title = name.as_str().unwrap_or_default();
        let Some(object) = self.cluster.find(kind, title, Some(self.owner)) else {
            let optional =
                section.get_path("optional").is_some_and(|n| n.value == otelcore_config::NodeValue::Bool(true));
            let absent = (!optional && kind == "ConfigMap").then(|| (kind, title.to_owned(), &name.origin));
            return MountedFile::NotInManifests { absent };
        };
        let items = list(section, "items");
        if !self.cluster.count_steps(items.len()) {
            return MountedFile::AlreadyReported;
        }
        let key = match items.iter().find(|i| string(i, "path").is_some_and(|p| p.trim_matches('/') == path)) {
            Some(item) => {
                let key = string(item, "key").unwrap_or_default();
                // An item whose key does not exist is reported at the volume.
                return match key_content(self.cluster, object, key, &name.origin) {
                    MountedFile::NotInVolume { .. } => MountedFile::AlreadyReported,
                    found => found,
                };
            }
            None if !items.is_empty() => {
                let names =
                    items.iter().filter_map(|i| string(i, "path")).take(MAX_NAMES_SHOWN).map(str::to_owned).collect();
                return MountedFile::NotInVolume {
                    names,
                    title: object.title(),
                    at: &items.first().unwrap_or(section).origin,
                };
            }
            None => path,
        };
        key_content(self.cluster, object, key, &name.origin)
    }
}

/// A key of a ConfigMap or Secret.
fn key_content<'c>(cluster: &Cluster, object: &'c Object, key: &str, at: &'c SourceLocation) -> MountedFile<'c> {
    let hidden = if object.kind == "Secret" { "data" } else { "binaryData" };
    if map(&object.node, hidden).is_some_and(|data| data.get(key).is_some()) {
        return MountedFile::NotInManifests { absent: None };
    }
    let shown = if object.kind == "Secret" { "stringData" } else { "data" };
    let data = map(&object.node, shown);
    if let Some(nested) = data.and_then(|d| d.get(key)).and_then(|entry| NestedSource::from_node(&entry.node)) {
        // The caller reads the text; its bytes are counted here.
        cluster.count_steps(nested.text().text.len());
        let secret = object.kind == "Secret";
        return MountedFile::Text(EmbeddedSource::Text(if secret { nested.into_secret() } else { nested }));
    }
    let names = data.into_iter().flatten().take(MAX_NAMES_SHOWN).map(|entry| entry.key.to_string()).collect();
    MountedFile::NotInVolume { names, title: object.title(), at }
}
