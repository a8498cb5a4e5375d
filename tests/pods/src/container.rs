//! One run of a container: its root, mounts, user, environment and memory group, from the start to the exit code.
//! Restarts and health are decided by the pod.

use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::cgroup::MemoryGroup;
use crate::spec::Image;

/// A file or folder of the machine that is mounted in a container.
#[derive(Clone, Debug)]
pub(crate) struct Mount {
    pub(crate) from: PathBuf,
    pub(crate) to: String,
    pub(crate) read_only: bool,
}

/// The parameters of a start.
#[derive(Debug)]
pub(crate) struct ContainerStart<'a> {
    pub(crate) image: &'a Image,
    pub(crate) network: &'a str,
    pub(crate) user: (u64, u64),
    pub(crate) fs_group: Option<u64>,
    pub(crate) command: &'a [String],
    pub(crate) env: &'a [(String, String)],
    pub(crate) mounts: &'a [Mount],
    pub(crate) read_only: bool,
    pub(crate) group: Option<&'a MemoryGroup>,
    /// A folder for its root.
    pub(crate) dir: &'a Path,
    pub(crate) log: &'a Path,
    pub(crate) host_name: &'a str,
}

/// A running container.
#[derive(Debug)]
pub(crate) struct RunningContainer {
    child: Child,
    log: PathBuf,
    /// Its first process, by its id in the test's pid namespace.
    init: Option<u32>,
}

impl ContainerStart<'_> {
    pub(crate) fn run(&self) -> RunningContainer {
        let log = File::options().create(true).append(true).open(self.log).unwrap();
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.network));
        command.args([
            "unshare",
            "--mount",
            "--uts",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-ec",
            &self.script(),
            "sh",
        ]);
        command.args(["env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
        command.arg(format!("HOSTNAME={}", self.host_name));
        command.args(self.env.iter().map(|(name, value)| format!("{name}={value}")));
        self.add_entry_arguments(&mut command);
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("nsenter: {e}"));
        let mut running = RunningContainer { child, log: self.log.to_owned(), init: None };
        running.find_init();
        running
    }

    /// No capabilities, no new privileges, numeric ids; the root is changed last, because it contains only the program.
    fn add_entry_arguments(&self, command: &mut Command) {
        let (uid, gid) = self.user;
        command.args(["/usr/sbin/capsh", "--no-new-privs"]);
        if self.image.root.is_some() {
            command.arg(format!("--chroot={}", self.root().display()));
        }
        let groups = self.fs_group.map_or_else(|| gid.to_string(), |group| format!("{gid},{group}"));
        command.args(["--drop=all", &format!("--gid={gid}"), &format!("--groups={groups}"), &format!("--uid={uid}")]);
        let (program, args) = self.command.split_first().unwrap_or_else(|| panic!("{} runs nothing", self.host_name));
        if self.image.root.is_none() && !program.contains('/') {
            // A program name without a slash is looked up in the path with `env`; an image of ours contains no `env`.
            command.args(["--shell=/usr/bin/env", "--", program]).args(args);
        } else {
            command.arg(format!("--shell={program}")).arg("--").args(args);
        }
    }

    fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// The steps of a container runtime before it executes the program.
    fn script(&self) -> String {
        let mut script = format!("hostname {} 2>/dev/null || true\n", self.host_name);
        if let Some(group) = self.group {
            let _ = writeln!(script, "echo 0 > {}/cgroup.procs", group.path.display());
        }
        let host = "/".to_owned();
        let root = match &self.image.root {
            None => {
                // On the machine's own root only name resolution is specific to the pod.
                for mount in self.mounts.iter().filter(|m| m.to == "/etc/resolv.conf") {
                    let _ = writeln!(script, "mount --bind {} $(readlink -f {})", mount.from.display(), mount.to);
                }
                script.push_str("mount -t proc proc /proc\n");
                host
            }
            Some(image) => {
                let (dir, root) = (self.dir.display(), self.root().display().to_string());
                let _ = writeln!(
                    script,
                    "mkdir -p {dir}\nmount -t tmpfs -o mode=755,size=64m none {dir}\nmkdir {dir}/up {dir}/work {root}\n\
                     mount -t overlay overlay -o lowerdir={},upperdir={dir}/up,workdir={dir}/work {root}\n\
                     mkdir -p {root}/proc {root}/dev {root}/etc {root}/sys/fs/cgroup\nmount -t proc proc {root}/proc\n\
                     : > {root}/dev/null\nmount --bind /dev/null {root}/dev/null\n\
                     : > {root}/dev/urandom\nmount --bind /dev/urandom {root}/dev/urandom",
                    image.display()
                );
                if let Some(group) = self.group {
                    let mount_point = format!("{root}/sys/fs/cgroup/{}", group.container_path);
                    let _ = writeln!(
                        script,
                        "mkdir -p {mount_point}\nmount --bind {} {mount_point}\nmount -o remount,bind,ro {mount_point}",
                        group.path.display()
                    );
                }
                for mount in self.mounts {
                    let (from, to) = (mount.from.display(), format!("{root}{}", mount.to));
                    if mount.from.is_dir() {
                        let _ = writeln!(script, "mkdir -p {to}");
                    } else {
                        let _ = writeln!(script, "mkdir -p $(dirname {to})\n: >> {to}");
                    }
                    let _ = writeln!(script, "mount --bind {from} {to}");
                    if mount.read_only {
                        let _ = writeln!(script, "mount -o remount,bind,ro {to}");
                    }
                }
                if self.read_only {
                    let _ = writeln!(script, "mount -o remount,ro {root}");
                }
                root
            }
        };
        let _ = writeln!(script, "cd {root}\nexec \"$@\"");
        script
    }
}

impl RunningContainer {
    /// The first process of the pid namespace is the only child of `unshare`.
    fn find_init(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let pid = self.child.id();
        while self.init.is_none() && Instant::now() < deadline {
            if self.child.try_wait().is_ok_and(|done| done.is_some()) {
                return;
            }
            let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            self.init = children.split_whitespace().next().and_then(|c| c.parse().ok());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Its first process, by its id in the test's pid namespace.
    pub(crate) const fn pid(&self) -> Option<u32> {
        self.init
    }

    /// The exit code after it has ended; 128 plus the signal's number after a signal.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let status = self.child.try_wait().ok()??;
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        // Some versions of unshare fail when they report that a signal has ended their child. The first process of a
        // namespace ends by SIGKILL or by an error of its own; in the latter case its own output reports that.
        let output = std::fs::read_to_string(&self.log).unwrap_or_default();
        let unshare_failed =
            code == 1 && output.lines().next_back().is_some_and(|l| l.starts_with("unshare: sigprocmask"));
        Some(if unshare_failed { 137 } else { code })
    }

    /// Sends a signal to its first process.
    pub(crate) fn signal(&self, name: &str) {
        if let Some(init) = self.init {
            let _ = Command::new("kill").args([&format!("-{name}"), &init.to_string()]).stderr(Stdio::null()).status();
        }
    }
}

impl Drop for RunningContainer {
    fn drop(&mut self) {
        self.signal("KILL");
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
