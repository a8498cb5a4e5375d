//! Files that the command line and the configuration name, and the volumes that should hold them.

use otelcore_config::{Diagnostics, Kind, Node, Origin};

use super::Check;
use crate::cluster::{list, map, string};
use crate::collector::{Collector, Word};
use crate::facts::NamedFile;
use crate::quantity;
use crate::volumes::{Found, MOST_NAMES, Mounts, below};

/// Checks each `--config`. `false` if one cannot be read here.
pub(super) fn sources(collector: &Collector<'_>, d: &Diagnostics) -> bool {
    let uris = collector.uris();
    let readable: Vec<bool> = uris.iter().map(|uri| source(collector, uri, d)).collect();
    !readable.is_empty() && readable.iter().all(|r| *r)
}

fn source(collector: &Collector<'_>, uri: &Word, d: &Diagnostics) -> bool {
    let error = |message: String| d.error(&uri.origin, "", message).kind(Kind::Deployment);
    let warn = |at: &Origin, message: String| d.warn(at, "", message).kind(Kind::Deployment);
    let path = match uri.text.split_once(':') {
        Some(("file", path)) => path,
        Some(("yaml", _)) => return true,
        Some(("env", name)) => {
            let known = collector.variables.get(name).is_some_and(|v| v.value.is_some());
            if !known {
                warn(
                    &uri.origin,
                    format!("--config=env:{name}: the value is not in these files; the configuration is not checked"),
                );
            }
            return known;
        }
        Some(_) => return false,
        None => uri.text.as_str(),
    };
    let unchecked = |why: String| format!("{why}; the configuration is not checked");
    match collector.find(path) {
        None | Some(Found::Text(_)) => true,
        Some(Found::Told) => false,
        Some(Found::Outside { absent: Some((kind, name, at)) }) => {
            let names = collector.cluster.of_kind(kind).map(|o| o.name.as_str());
            let near = d.nearest(&name, names).map(|n| format!("did you mean `{n}`?"));
            warn(at, unchecked(format!("{kind} {name} is not in these files"))).maybe_hint(near);
            false
        }
        Some(Found::Outside { absent: None }) => {
            warn(&uri.origin, unchecked(format!("what is at {path} is not in these files")));
            false
        }
        Some(Found::Missing { names, title, at }) => {
            let file = path.rsplit('/').next().unwrap_or(path);
            let near = d.nearest(file, names.iter().map(String::as_str));
            let help = match (near, names.as_slice()) {
                (Some(near), _) => format!("did you mean `{near}`?"),
                (None, []) => "the volume is empty".to_owned(),
                (None, names) => format!("there is {}", names.join(", ")),
            };
            error(format!("{path}: {title} puts no such file there")).related(at, "what is mounted").hint(help);
            false
        }
        Some(Found::Nothing) if path.starts_with("/etc/otel") => {
            warn(&uri.origin, unchecked(format!("{path} comes from the image")));
            false
        }
        Some(Found::Nothing) => {
            let mounts = collector.pod.map(|p| list(p.container, "volumeMounts")).unwrap_or_default();
            let paths: Vec<_> = mounts.iter().filter_map(|m| string(m, "mountPath")).take(MOST_NAMES).collect();
            let help = match paths.as_slice() {
                [] => "write `volumeMounts:` with the volume that holds it".to_owned(),
                paths => format!("mounted are {}", paths.join(", ")),
            };
            error(format!("open {path}: no such file or directory: no volume is mounted there")).hint(help);
            false
        }
    }
}

/// Mounts without their volume, and keys that their ConfigMap does not have: the pod would wait forever.
pub(super) fn volumes(check: &Check<'_>) {
    let Some(mounts) = check.collector.mounts() else { return };
    for name in list(check.pod.container, "volumeMounts").iter().filter_map(|m| m.at("name")) {
        let text = name.as_str().unwrap_or_default();
        if mounts.volume(text).is_none() && !mounts.is_claimed(text) {
            let near = check.d.nearest(text, list(check.pod.spec, "volumes").iter().filter_map(|v| string(v, "name")));
            let help =
                near.map_or_else(|| format!("add `- name: {text}` to `volumes:`"), |n| format!("did you mean `{n}`?"));
            check.error(&name.origin, "", format!("volumeMounts: the pod has no volume named {text:?}")).hint(help);
        }
    }
    for volume in list(check.pod.spec, "volumes") {
        let projected = list(volume, "projected::sources").iter();
        for source in projected.chain([volume]) {
            items(check, mounts, source);
        }
    }
    for entry in list(check.pod.container, "env") {
        for (kind, reference) in [("ConfigMap", "valueFrom::configMapKeyRef"), ("Secret", "valueFrom::secretKeyRef")] {
            let Some(reference) = entry.at(reference) else { continue };
            let (Some(name), Some(key)) = (reference.at("name"), reference.at("key")) else { continue };
            key_of(check, kind, name, key, reference);
        }
    }
}

fn items(check: &Check<'_>, mounts: Mounts<'_>, source: &Node) {
    for (kind, section, field) in [("ConfigMap", "configMap", "name"), ("Secret", "secret", "secretName")] {
        let Some(section) = source.at(section) else { continue };
        let Some(name) = section.at(field).or_else(|| section.at("name")) else { continue };
        let here = name.as_str().and_then(|n| mounts.cluster.find(kind, n, Some(mounts.owner)));
        if here.is_none() {
            similar(check, kind, name);
        }
        for key in list(section, "items").iter().filter_map(|i| i.at("key")) {
            key_of(check, kind, name, key, section);
        }
    }
}

/// Reports an object that is not in the files, if one with a similar name is.
fn similar(check: &Check<'_>, kind: &str, name: &Node) {
    let text = name.as_str().unwrap_or_default();
    let objects = check.collector.cluster.of_kind(kind);
    // `sources` reports the object that contains the configuration.
    let told = check.collector.uris().iter().any(|uri| {
        let path = uri.text.strip_prefix("file:").unwrap_or(&uri.text);
        matches!(check.collector.find(path), Some(Found::Outside { absent: Some((_, absent, _)) }) if absent == text)
    });
    if let Some(near) = check.d.nearest(text, objects.map(|o| o.name.as_str())).filter(|_| !told) {
        check
            .warn(&name.origin, "", format!("{kind} {text} is not in these files"))
            .hint(format!("did you mean `{near}`?"));
    }
}

fn key_of(check: &Check<'_>, kind: &str, name: &Node, key: &Node, section: &Node) {
    let optional = quantity::is_true(section.at("optional"));
    let (Some(object), Some(text)) = (name.as_str(), key.as_str()) else { return };
    let Some(object) = check.collector.cluster.find(kind, object, Some(check.collector.owner)) else { return };
    let maps = || ["data", "binaryData", "stringData"].into_iter().filter_map(|m| map(&object.node, m));
    if !optional && !maps().any(|m| m.get(text).is_some()) {
        let keys = || maps().flatten().take_while(|_| check.spend(1)).map(|e| &*e.key);
        let help = match check.d.nearest(text, keys()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it has {}", keys().take(MOST_NAMES).collect::<Vec<_>>().join(", ")),
        };
        check.error(&key.origin, "", format!("{} has no key {text:?}", object.title())).hint(help);
    }
}

/// Folders that every container has, or that the image of a collector has.
const THERE: [&str; 7] =
    ["/etc/ssl", "/etc/pki", "/proc", "/sys", "/dev", "/var/run/secrets/kubernetes.io", "/run/secrets/kubernetes.io"];

/// Files that the configuration reads or writes.
pub(super) fn named(check: &Check<'_>) {
    let Some(mounts) = check.collector.mounts() else { return };
    let there = |path: &str| THERE.iter().any(|folder| below(path, folder).is_some());
    let absolute = |file: &&NamedFile| file.path.starts_with('/') && !there(&file.path);
    for file in check.facts.reads.iter().filter(absolute) {
        let NamedFile { path, origin, key } = file;
        match mounts.find(path) {
            Found::Nothing => {
                let message = format!("open {path}: no such file or directory: no volume is mounted there");
                check
                    .error(origin, key, message)
                    .hint("mount the Secret or ConfigMap that holds it with `volumeMounts:`");
            }
            Found::Missing { names, title, at } => {
                let message = format!("{path}: {title} puts no such file there");
                let help = format!("there is {}", names.join(", "));
                check.error(origin, key, message).related(at, "what is mounted").hint(help);
            }
            _ => {}
        }
    }
    let read_only = quantity::is_true(check.pod.container.at("securityContext::readOnlyRootFilesystem"));
    for file in check.facts.writes.iter().filter(absolute) {
        let NamedFile { path, origin, key } = file;
        let Some((mount, _)) = mounts.mount(path) else {
            let hint = "mount an `emptyDir` or a claim there";
            if read_only {
                check.error(origin, key, format!("open {path}: read-only file system")).hint(hint);
            } else {
                check
                    .warn(origin, key, format!("{path} is in the image, where the collector may not write"))
                    .hint(hint);
            }
            continue;
        };
        if quantity::is_true(mount.at("readOnly")) {
            let message = format!("open {path}: read-only file system");
            check.error(origin, key, message).related(&mount.origin, "mounted `readOnly: true`");
        }
    }
}
