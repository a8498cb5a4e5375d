//! Memory limits by cgroup, version 1 or 2, where groups can be written; elsewhere it prints this once and enforces
//! nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Once;

/// The environment variable that identifies the running test.
pub(crate) const TEST_ID: &str = "OTELCORE_PODS_OUTSIDE";

/// A group with a limit. It is removed when this value is dropped.
#[derive(Debug)]
pub(crate) struct MemoryGroup {
    pub(crate) path: PathBuf,
    /// The container's path of the group below `/sys/fs/cgroup`.
    pub(crate) container_path: &'static str,
}

impl MemoryGroup {
    /// `None` where groups can't be written.
    pub(crate) fn new(name: &str, limit: Option<u64>) -> Option<Self> {
        let group = Self::create(name, limit);
        if group.is_none() {
            static WARNED: Once = Once::new();
            WARNED.call_once(|| eprintln!("memory limits are not enforced: no cgroup can be made here"));
        }
        group
    }

    fn create(name: &str, limit: Option<u64>) -> Option<Self> {
        let (parent, file, container_path) = controller_root()?;
        let parent = parent.join(parent_name());
        for dir in [&parent, &parent.join(name)] {
            match fs::create_dir(dir) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(_) => return None,
            }
        }
        // In version 2 a group enables each controller for its children by name.
        let _ = fs::write(parent.join("cgroup.subtree_control"), "+memory");
        let path = parent.join(name);
        let group = Self { path, container_path };
        if let Some(limit) = limit {
            fs::write(group.path.join(file), limit.to_string()).ok()?;
        }
        Some(group)
    }
}

/// Whether memory limits are enforced here: whether a group can be made and written.
pub fn enforces_memory() -> bool {
    MemoryGroup::create("looks", Some(1 << 30)).is_some()
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // A group becomes empty shortly after its last process has ended.
        for _ in 0..50 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

/// The common parent of all groups of one test, named after the process outside the namespaces.
fn parent_name() -> String {
    format!("otelcore-pods-{}", std::env::var(TEST_ID).unwrap_or_default())
}

/// Removes the groups that are left of an ended test; called from outside the namespaces.
pub(crate) fn remove_left_groups(test_id: &str) {
    let Some((parent, ..)) = controller_root() else { return };
    let family = parent.join(format!("otelcore-pods-{test_id}"));
    for group in fs::read_dir(&family).into_iter().flatten().flatten() {
        let _ = fs::remove_dir(group.path());
    }
    let _ = fs::remove_dir(family);
}

fn controller_root() -> Option<(PathBuf, &'static str, &'static str)> {
    let root = Path::new("/sys/fs/cgroup");
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group_of = |controller: &str| {
        let line = own.lines().find(|l| l.split(':').nth(1).is_some_and(|c| c.split(',').any(|c| c == controller)))?;
        line.splitn(3, ':').nth(2).map(|p| p.trim_start_matches('/').to_owned())
    };
    if root.join("memory/memory.limit_in_bytes").exists() {
        let base = root.join("memory");
        let nested = base.join(group_of("memory").unwrap_or_default());
        return Some((if nested.is_dir() { nested } else { base }, "memory.limit_in_bytes", "memory"));
    }
    // Version 2: only a group without processes of its own may have children with controllers; the root group is
    // exempt.
    let controllers = fs::read_to_string(root.join("cgroup.subtree_control")).ok()?;
    controllers.split_whitespace().any(|c| c == "memory").then(|| (root.to_owned(), "memory.max", ""))
}
