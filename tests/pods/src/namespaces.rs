//! Runs a test in its own namespaces, and finds the tools that a test needs on the machine.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use otelcore_test_support::tool_path;

use crate::cgroup;

/// Set in the test process that has been started again inside its namespaces.
const INSIDE: &str = "OTELCORE_PODS_INSIDE";
const UNSHARE: [&str; 6] = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// Runs `run` in its own network, mount and pid namespace, by starting the test of that name again. Processes that it
/// starts end with it. Without permission for namespaces the test is skipped with a message; so it is if a program is
/// missing, except in CI.
///
/// `prepare` runs before that, outside: it makes what needs the machine (a build), whose path is passed to `run`, or
/// prints why it can't.
pub fn run_in_namespaces(test: &str, prepare: impl FnOnce() -> Option<PathBuf>, run: impl FnOnce(PathBuf)) {
    if let Some(prepared) = std::env::var_os(INSIDE) {
        return run(PathBuf::from(prepared));
    }
    let can = Command::new("unshare").args(UNSHARE).arg("true").output().is_ok_and(|o| o.status.success());
    if !can {
        eprintln!("skipped: {test} needs root and namespaces, which can't be had here");
        return;
    }
    if ["ip", "nsenter", "capsh"].iter().any(|name| tool_path(name).is_none()) {
        return;
    }
    let Some(prepared) = prepare() else { return };
    let status = Command::new("unshare")
        .args(UNSHARE)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env(INSIDE, prepared)
        .env(cgroup::TEST_ID, format!("{}-{test}", std::process::id()))
        .status()
        .unwrap();
    cgroup::remove_left_groups(&format!("{}-{test}", std::process::id()));
    assert!(status.success(), "{test} failed inside its namespaces: {status}");
}

/// The project's root.
pub fn project_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The root tree of the image, as scripts/image makes it: the one that `OTELCORE_IMAGE` names, or a dev build in
/// `parent`, made once. If the compiler for it is missing, CI fails and other machines skip the test and print that; if
/// its standard library is not available, all skip it.
pub fn image(parent: &str) -> Option<PathBuf> {
    if let Some(tree) = std::env::var_os("OTELCORE_IMAGE") {
        return Some(tree.into());
    }
    tool_path("musl-gcc")?;
    static IMAGE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        let tree = Path::new(parent).join("image");
        let output = Command::new(project_root().join("scripts/image")).arg("--dev").arg(&tree).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(3) {
            eprintln!("skipped: {stderr}");
            return None;
        }
        assert!(output.status.success(), "scripts/image: {stderr}");
        Some(tree)
    };
    IMAGE.get_or_init(build).clone()
}

/// An empty folder; earlier content is removed.
pub fn empty_dir(parent: &str, name: &str) -> PathBuf {
    let path = Path::new(parent).join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}
