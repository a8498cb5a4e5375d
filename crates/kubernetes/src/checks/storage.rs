//! The volume of queues on disk: whether there is one, whether it may be written, and whether the queues fit on it.

use otelcore_config::ConfigNode;

use super::CheckContext;
use crate::cluster::{list, string};
use crate::config_effects::StorageDirectory;
use crate::quantity;
use crate::volumes::Mounts;

/// What a queue needs beside what waits in it: files of which a part is delivered, in quarters of the queue, and a fixed part.
const FIXED_BYTES: u64 = 64 << 20;
/// What one queue keeps of what was refused for good, at most.
const DEAD_BYTES: u64 = 1 << 30;

/// Checks each directory in which queues are.
pub(super) fn check_storage(context: &CheckContext<'_>) {
    let Some(mounts) = context.collector.mounts() else { return };
    for directory in context.effects.storage.iter().filter(|directory| directory.file.path.starts_with('/')) {
        check_directory(context, mounts, directory);
    }
}

fn check_directory(context: &CheckContext<'_>, mounts: Mounts<'_>, directory: &StorageDirectory) {
    let (path, at, key) = (&directory.file.path, &directory.file.origin, &directory.file.config_path);
    let hint = "mount a claim there: `volumeClaimTemplates` of a StatefulSet, or a `hostPath` of a DaemonSet";
    let Some((mount, _)) = mounts.mount(path) else {
        if quantity::is_true(context.pod.container.get_path("securityContext::readOnlyRootFilesystem")) {
            context
                .error(at, key, format!("mkdir {path}: read-only file system: no volume is mounted there"))
                .help(hint);
        } else if !directory.queues.is_empty() {
            let message =
                format!("no volume is mounted at {path}: what is in the queue on disk is lost with the container");
            context.warn(at, key, message).help(hint);
        }
        return;
    };
    if quantity::is_true(mount.get_path("readOnly")) {
        let message = format!("mkdir {path}: read-only file system");
        context.error(at, key, message).related(&mount.origin, "mounted `readOnly: true`");
        return;
    }
    let Some(name) = string(mount, "name") else { return };
    let volume = mounts.volume(name);
    if let Some(empty) = volume.and_then(|volume| volume.get_path("emptyDir")).filter(|_| !directory.queues.is_empty())
    {
        let message = format!("{path} is an `emptyDir`: what is in the queue on disk is lost with the pod");
        context.warn(at, key, message).related(&empty.origin, "the volume").help(hint);
    }
    check_size(context, mounts, directory, (name, volume));
}

/// Compares the size of a claim, or the limit of an `emptyDir`, with what the queues may hold.
fn check_size(
    context: &CheckContext<'_>,
    mounts: Mounts<'_>,
    directory: &StorageDirectory,
    (name, volume): (&str, Option<&ConfigNode>),
) {
    let path = if mounts.owner.kind == "StatefulSet" { "spec::volumeClaimTemplates" } else { "volumeClaimTemplates" };
    let templates = list(&mounts.owner.node, path).iter().chain(list(mounts.spec, "volumeClaimTemplates"));
    let mut templates = templates.take_while(|_| context.count_steps(1));
    let request = templates
        .find(|template| string(template, "metadata::name") == Some(name))
        .and_then(|template| template.get_path("spec::resources::requests::storage"));
    let claim = || {
        let claim = string(volume?, "persistentVolumeClaim::claimName")?;
        let object = context.collector.cluster.find("PersistentVolumeClaim", claim, Some(mounts.owner))?;
        object.node.get_path("spec::resources::requests::storage")
    };
    let limit = || volume?.get_path("emptyDir::sizeLimit");
    let Some(size_node) = request.or_else(claim).or_else(limit) else { return };
    let Some(size) = quantity::parse_quantity(size_node) else { return };
    let needed =
        directory.queues.iter().map(|bytes| bytes.saturating_add(bytes / 4).saturating_add(FIXED_BYTES + DEAD_BYTES));
    let needed = needed.fold(0_u64, u64::saturating_add);
    #[expect(clippy::cast_precision_loss, reason = "a figure to compare")]
    let is_too_small = size < needed as f64;
    if is_too_small {
        let (at, key) = (&directory.file.origin, &directory.file.config_path);
        let waiting = directory.queues.iter().fold(0_u64, |all, bytes| all.saturating_add(*bytes));
        let gib = |bytes: u64| bytes.div_ceil(1 << 30);
        let message = format!(
            "the volume has {} and the queues may need {} GiB: {} of them, {} GiB that wait, a quarter more until files are removed, and 1 GiB each in `dead`",
            quantity::scalar_text(size_node).unwrap_or_default(),
            gib(needed),
            directory.queues.len(),
            gib(waiting),
        );
        let hint = format!("write `storage: {}Gi`, or a smaller `queue_size`", gib(needed));
        context.warn(at, key, message).related(&size_node.origin, "the size of the volume").help(hint);
    }
}
