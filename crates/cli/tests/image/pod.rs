//! The image's tree, mounted as a container engine mounts it for the first process.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::support::{Process, empty_test_dir, image};

/// Set to the image's tree in the process of the test that was started again inside the namespaces.
const INSIDE: &str = "OTELCORE_IMAGE_INSIDE";

/// Inside the test's namespaces (network, mounts, processes): the image's tree. Outside: starts the test again inside
/// them, and returns `None`. Where this is not possible it prints a message.
pub(crate) fn enter_namespaces(test: &str) -> Option<PathBuf> {
    if let Some(tree) = std::env::var_os(INSIDE) {
        run_script("ip link set lo up");
        return Some(tree.into());
    }
    let unshare = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let can = Command::new("unshare").args(unshare).arg("true").output().is_ok_and(|o| o.status.success());
    if !can || super::tool("ip").is_none() || super::tool("chroot").is_none() {
        eprintln!("skipped: no namespaces here (this needs root, unshare, ip and chroot)");
        return None;
    }
    let tree = image()?;
    let mut inside = Command::new("unshare");
    inside.args(unshare).arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
    let status = inside.env(INSIDE, tree).status().unwrap();
    assert!(status.success(), "failed inside its namespaces: {status}");
    None
}

fn run_script(script: &str) {
    let done = Command::new("sh").args(["-ec", script]).stdin(Stdio::null()).status().unwrap();
    assert!(done.success(), "{script}: {done}");
}

/// A root tree: the image's, with what a container engine adds to it, and read-only.
pub(crate) struct Pod {
    pub(crate) root: PathBuf,
    log: PathBuf,
}

impl Pod {
    pub(crate) fn new(tree: &Path, resolv_conf: &str, hosts: &str) -> Self {
        // Tests run at the same time, and their process numbers are equal in their namespaces: the folder has the name
        // of the thread, which is that of the test.
        let dir = empty_test_dir(&format!("pod-{}", std::thread::current().name().unwrap_or("of no test")));
        let (root, log) = (dir.join("root"), dir.join("log"));
        std::fs::create_dir(&root).unwrap();
        let (r, tree) = (root.display(), tree.display());
        run_script(&format!(
            "mount -t tmpfs none {r}; cp -a {tree}/. {r}/; mkdir {r}/proc {r}/dev; touch {r}/dev/null"
        ));
        std::fs::write(root.join("etc/resolv.conf"), resolv_conf).unwrap();
        std::fs::write(root.join("etc/hosts"), hosts).unwrap();
        run_script(&format!("mount --bind /dev/null {r}/dev/null; mount -o remount,ro {r}"));
        Self { root, log }
    }

    /// Starts one of the image's commands as PID 1, with exactly this environment.
    pub(crate) fn start(&self, name: &str, args: &[&str], env: &[(&str, &str)]) -> Running {
        let mut command = Command::new("unshare");
        let (root, mounted) = (self.root.display().to_string(), self.root.join("proc").display().to_string());
        // The shell mounts /proc of the new namespace and is then replaced by the collector.
        let script = "mount -t proc proc \"$1\"; root=$2; shift 2; exec setpriv --no-new-privs chroot --userspec=10001:10001 --groups= \"$root\" \"$@\"";
        command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", script, "sh", &mounted, &root]);
        command.arg(format!("/{name}")).args(args).env_clear();
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs(env.iter().copied());
        Running { process: Process::start(&mut command, &self.log) }
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.root).status();
    }
}

/// A collector in its pod.
pub(crate) struct Running {
    process: Process,
}

impl Running {
    /// The collector's process number in the namespace of the test.
    fn pid(&self) -> String {
        let parent = self.process.child.id();
        std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap().trim().to_owned()
    }

    pub(crate) fn status(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap()
    }

    pub(crate) fn log_text(&self) -> String {
        self.process.log_text()
    }

    /// Fails if it has ended.
    pub(crate) fn assert_running(&mut self) {
        let ended = self.process.child.try_wait().unwrap();
        assert!(ended.is_none(), "ended with {ended:?}:\n{}", self.log_text());
    }

    pub(crate) fn wait_for_log(&mut self, text: &str) {
        self.wait_for_log_while(text, || {});
    }

    /// Waits until the log has the text, and calls `meanwhile` until then.
    pub(crate) fn wait_for_log_while(&mut self, text: &str, mut meanwhile: impl FnMut()) {
        // A look-up without a response takes 20 s, and longer on a busy machine.
        let end = Instant::now() + Duration::from_secs(90);
        while !self.log_text().contains(text) {
            self.assert_running();
            assert!(Instant::now() < end, "no output {text:?}:\n{}", self.log_text());
            meanwhile();
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends SIGTERM to PID 1 of the pod, where it has no effect without a handler.
    pub(crate) fn terminate(&self) {
        let pid = self.pid();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    pub(crate) fn wait_for_exit_code(&mut self, code: i32) -> String {
        let ended = self.process.wait_for_exit(Duration::from_secs(40));
        assert_eq!(ended, code, "{}", self.log_text());
        self.log_text()
    }
}
