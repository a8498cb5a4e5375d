//! Files that the command line and the configuration name, and the volumes that should hold them.

use otelcore_config::{ConfigNode, DiagnosticKind, Diagnostics, SourceLocation};

use super::CheckContext;
use crate::cluster::{list, map, string};
use crate::collector::{Argument, Collector};
use crate::config_effects::ConfigFile;
use crate::quantity;
use crate::volumes::{MAX_NAMES_SHOWN, MountedFile, Mounts, path_below};

/// Checks each `--config`. `false` if one cannot be read here.
pub(super) fn check_config_sources(collector: &Collector<'_>, d: &Diagnostics) -> bool {
    let uris = collector.uris();
    let readable: Vec<bool> = uris.iter().map(|uri| check_config_source(collector, uri, d)).collect();
    !readable.is_empty() && readable.iter().all(|r| *r)
}

fn check_config_source(collector: &Collector<'_>, uri: &Argument, d: &Diagnostics) -> bool {
    let error = |message: String| d.error(&uri.origin, "", message).kind(DiagnosticKind::Deployment);
    let warn = |at: &SourceLocation, message: String| d.warn(at, "", message).kind(DiagnosticKind::Deployment);
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
    let with_unchecked_note = |why: String| format!("{why}; the configuration is not checked");
    match collector.find(path) {
        None | Some(MountedFile::Text(_)) => true,
        Some(MountedFile::AlreadyReported) => false,
        Some(MountedFile::NotInManifests { absent: Some((kind, name, at)) }) => {
            let names = collector.cluster.of_kind(kind).map(|o| o.name.as_str());
            let near = d.nearest_name(&name, names).map(|n| format!("did you mean `{n}`?"));
            warn(at, with_unchecked_note(format!("{kind} {name} is not in these files"))).maybe_help(near);
            false
        }
        Some(MountedFile::NotInManifests { absent: None }) => {
            warn(&uri.origin, with_unchecked_note(format!("what is at {path} is not in these files")));
            false
        }
        Some(MountedFile::NotInVolume { names, title, at }) => {
            let file = path.rsplit('/').next().unwrap_or(path);
            let near = d.nearest_name(file, names.iter().map(String::as_str));
            let help = match (near, names.as_slice()) {
                (Some(near), _) => format!("did you mean `{near}`?"),
                (None, []) => "the volume is empty".to_owned(),
                (None, names) => format!("there is {}", names.join(", ")),
            };
            error(format!("{path}: {title} puts no such file there")).related(at, "what is mounted").help(help);
            false
        }
        Some(MountedFile::NotMounted) if path.starts_with("/etc/otel") => {
            warn(&uri.origin, with_unchecked_note(format!("{path} comes from the image")));
            false
        }
        Some(MountedFile::NotMounted) => {
            let mounts = collector.pod.map(|p| list(p.container, "volumeMounts")).unwrap_or_default();
            let paths: Vec<_> = mounts.iter().filter_map(|m| string(m, "mountPath")).take(MAX_NAMES_SHOWN).collect();
            let help = match paths.as_slice() {
                [] => "write `volumeMounts:` with the volume that holds it".to_owned(),
                paths => format!("mounted are {}", paths.join(", ")),
            };
            error(format!("open {path}: no such file or directory: no volume is mounted there")).help(help);
            false
        }
    }
}

/// Mounts without their volume, and keys that their ConfigMap does not have: the pod would wait forever.
pub(super) fn check_volumes(context: &CheckContext<'_>) {
    let Some(mounts) = context.collector.mounts() else { return };
    for name in list(context.pod.container, "volumeMounts").iter().filter_map(|m| m.get_path("name")) {
        let text = name.as_str().unwrap_or_default();
        if mounts.volume(text).is_none() && !mounts.is_claimed(text) {
            let near = context
                .diagnostics
                .nearest_name(text, list(context.pod.spec, "volumes").iter().filter_map(|v| string(v, "name")));
            let help =
                near.map_or_else(|| format!("add `- name: {text}` to `volumes:`"), |n| format!("did you mean `{n}`?"));
            context.error(&name.origin, "", format!("volumeMounts: the pod has no volume named {text:?}")).help(help);
        }
    }
    for volume in list(context.pod.spec, "volumes") {
        let projected = list(volume, "projected::sources").iter();
        for source in projected.chain([volume]) {
            check_volume_items(context, mounts, source);
        }
    }
    for entry in list(context.pod.container, "env") {
        for (kind, reference) in [("ConfigMap", "valueFrom::configMapKeyRef"), ("Secret", "valueFrom::secretKeyRef")] {
            let Some(reference) = entry.get_path(reference) else { continue };
            let (Some(name), Some(key)) = (reference.get_path("name"), reference.get_path("key")) else { continue };
            check_key(context, kind, name, key, reference);
        }
    }
}

fn check_volume_items(context: &CheckContext<'_>, mounts: Mounts<'_>, source: &ConfigNode) {
    for (kind, section, field) in [("ConfigMap", "configMap", "name"), ("Secret", "secret", "secretName")] {
        let Some(section) = source.get_path(section) else { continue };
        let Some(name) = section.get_path(field).or_else(|| section.get_path("name")) else { continue };
        let object = name.as_str().and_then(|n| mounts.cluster.find(kind, n, Some(mounts.owner)));
        if object.is_none() {
            report_similar_name(context, kind, name);
        }
        for key in list(section, "items").iter().filter_map(|i| i.get_path("key")) {
            check_key(context, kind, name, key, section);
        }
    }
}

/// Reports an object that is not in the files, if one with a similar name is.
fn report_similar_name(context: &CheckContext<'_>, kind: &str, name: &ConfigNode) {
    let text = name.as_str().unwrap_or_default();
    let objects = context.collector.cluster.of_kind(kind);
    // `check_config_sources` reports the object that contains the configuration.
    let is_reported = context.collector.uris().iter().any(|uri| {
        let path = uri.text.strip_prefix("file:").unwrap_or(&uri.text);
        matches!(context.collector.find(path), Some(MountedFile::NotInManifests { absent: Some((_, absent, _)) }) if absent == text)
    });
    if let Some(near) =
        context.diagnostics.nearest_name(text, objects.map(|o| o.name.as_str())).filter(|_| !is_reported)
    {
        context
            .warn(&name.origin, "", format!("{kind} {text} is not in these files"))
            .help(format!("did you mean `{near}`?"));
    }
}

fn check_key(context: &CheckContext<'_>, kind: &str, name: &ConfigNode, key: &ConfigNode, section: &ConfigNode) {
    let optional = quantity::is_true(section.get_path("optional"));
    let (Some(object), Some(text)) = (name.as_str(), key.as_str()) else { return };
    let Some(object) = context.collector.cluster.find(kind, object, Some(context.collector.owner)) else { return };
    let maps = || ["data", "binaryData", "stringData"].into_iter().filter_map(|m| map(&object.node, m));
    if !optional && !maps().any(|m| m.get(text).is_some()) {
        let keys = || maps().flatten().take_while(|_| context.count_steps(1)).map(|e| &*e.key);
        let help = match context.diagnostics.nearest_name(text, keys()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it has {}", keys().take(MAX_NAMES_SHOWN).collect::<Vec<_>>().join(", ")),
        };
        context.error(&key.origin, "", format!("{} has no key {text:?}", object.title())).help(help);
    }
}

/// Folders that every container has, or that the image of a collector has.
const STANDARD_FOLDERS: [&str; 7] =
    ["/etc/ssl", "/etc/pki", "/proc", "/sys", "/dev", "/var/run/secrets/kubernetes.io", "/run/secrets/kubernetes.io"];

/// Files that the configuration reads or writes.
pub(super) fn check_named_files(context: &CheckContext<'_>) {
    let Some(mounts) = context.collector.mounts() else { return };
    let is_standard = |path: &str| STANDARD_FOLDERS.iter().any(|folder| path_below(path, folder).is_some());
    let is_checked = |file: &&ConfigFile| file.path.starts_with('/') && !is_standard(&file.path);
    for file in context.effects.files_read.iter().filter(is_checked) {
        let ConfigFile { path, origin, config_path: key } = file;
        match mounts.find(path) {
            MountedFile::NotMounted => {
                let message = format!("open {path}: no such file or directory: no volume is mounted there");
                context
                    .error(origin, key, message)
                    .help("mount the Secret or ConfigMap that holds it with `volumeMounts:`");
            }
            MountedFile::NotInVolume { names, title, at } => {
                let message = format!("{path}: {title} puts no such file there");
                let help = format!("there is {}", names.join(", "));
                context.error(origin, key, message).related(at, "what is mounted").help(help);
            }
            _ => {}
        }
    }
    let read_only = quantity::is_true(context.pod.container.get_path("securityContext::readOnlyRootFilesystem"));
    for file in context.effects.files_written.iter().filter(is_checked) {
        let ConfigFile { path, origin, config_path: key } = file;
        let Some((mount, _)) = mounts.mount(path) else {
            let hint = "mount an `emptyDir` or a claim there";
            if read_only {
                context.error(origin, key, format!("open {path}: read-only file system")).help(hint);
            } else {
                context
                    .warn(origin, key, format!("{path} is in the image, where the collector may not write"))
                    .help(hint);
            }
            continue;
        };
        if quantity::is_true(mount.get_path("readOnly")) {
            let message = format!("open {path}: read-only file system");
            context.error(origin, key, message).related(&mount.origin, "mounted `readOnly: true`");
        }
    }
}
