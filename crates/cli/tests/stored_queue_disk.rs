//! A queue on a real disk that fills up, becomes read-only or stops: clients are refused or wait, nothing that was acknowledged is lost,
//! and the loop goes on. Needs root, for file systems of its own: `scripts/disk-faults` runs it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

#[path = "support/sink.rs"]
mod sink;
#[path = "support/stored.rs"]
mod stored;
mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use stored::*;
use support::*;

/// Runs a program of the system, which must succeed; its output.
fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A mounted file system, which goes with its test.
struct Mount {
    at: PathBuf,
    /// Of an ext4 in a file: the block device.
    device: Option<String>,
}

impl Mount {
    fn path(&self) -> &str {
        self.at.to_str().unwrap()
    }

    fn tmpfs(dir: &Path, size: &str) -> Self {
        let at = dir.join("mount");
        std::fs::create_dir_all(&at).unwrap();
        let mount = Self { at, device: None };
        run("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs", mount.path()]);
        mount
    }

    /// An ext4 that becomes read-only at its first error, as distributions set it up.
    fn ext4(dir: &Path) -> Self {
        let (at, file) = (dir.join("mount"), dir.join("disk"));
        std::fs::create_dir_all(&at).unwrap();
        std::fs::File::create(&file).unwrap().set_len(64 << 20).unwrap();
        let device = run("losetup", &["-f", "--show", file.to_str().unwrap()]);
        let mount = Self { at, device: Some(device.clone()) };
        run("mkfs.ext4", &["-q", &device]);
        mount.mount_ext4();
        mount
    }

    fn mount_ext4(&self) {
        run("mount", &["-o", "errors=remount-ro", self.device.as_deref().unwrap(), self.path()]);
    }

    /// What the kernel does when it finds the file system damaged.
    fn become_read_only(&self) {
        let name = Path::new(self.device.as_deref().unwrap()).file_name().unwrap().to_str().unwrap();
        std::fs::write(format!("/sys/fs/ext4/{name}/trigger_fs_error"), "1").unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let quietly = |program: &str, args: &[&str]| {
            drop(Command::new(program).args(args).stderr(Stdio::null()).status());
        };
        if self.device.is_some() {
            quietly("fsfreeze", &["-u", self.path()]);
        }
        quietly("umount", &["-l", self.path()]);
        if let Some(device) = &self.device {
            quietly("losetup", &["-d", device]);
        }
    }
}

/// A request of one span of some 20 KB.
fn large_request(number: usize) -> (String, Vec<u8>) {
    let name = format!("span-{number}-{}", "x".repeat(20_000));
    let body = span_request(&name);
    (name, body)
}

/// Waits until a request is acknowledged, and adds it.
fn wait_for_acknowledgement(address: &str, number: usize, acknowledged: &mut BTreeSet<String>, process: &Process) {
    let (name, body) = large_request(number);
    let end = Instant::now() + Duration::from_secs(60);
    while send(address, &body) != Some(200) {
        assert!(Instant::now() < end, "nothing is acknowledged any more:\n{}", process.log_text());
        thread::sleep(Duration::from_millis(100));
    }
    acknowledged.insert(name);
}

#[test]
#[ignore = "needs root: scripts/disk-faults"]
fn full_file_system_refuses_retryably_and_takes_again_when_the_backend_has_its_data() {
    let dir = empty_test_dir("stored-queue-full");
    let mount = Mount::tmpfs(&dir, "16m");
    let (backend, is_up) = start_backend();
    is_up.store(false, Ordering::SeqCst);
    let otlp = format!("127.0.0.1:{}", free_port());
    let mut process = Process::start(&mut command(&mount.at.join("data"), &otlp, backend.port), &dir.join("log"));
    wait_for_listener(&otlp, &mut process);
    let (mut acknowledged, mut refused) = (BTreeSet::new(), 0);
    for number in 0..2000 {
        let (name, body) = large_request(number);
        match send(&otlp, &body) {
            Some(200) => drop(acknowledged.insert(name)),
            Some(503) => refused += 1,
            other => panic!("{other:?}:\n{}", process.log_text()),
        }
        if refused == 50 {
            break;
        }
    }
    assert_eq!(refused, 50, "the file system is never full");
    assert!(process.log_text().contains("no space is left on the disk"), "{}", process.log_text());
    is_up.store(true, Ordering::SeqCst);
    wait_for_all(&backend, &acknowledged, &process);
    wait_for_acknowledgement(&otlp, 5000, &mut acknowledged, &process);
    wait_for_all(&backend, &acknowledged, &process);
    eprintln!("full: {} acknowledged, {refused} refused, none lost", acknowledged.len());
    process.signal("TERM");
    assert_eq!(process.wait_for_exit(Duration::from_secs(30)), 0);
}

#[test]
#[ignore = "needs root: scripts/disk-faults"]
fn file_system_that_becomes_read_only_refuses_and_after_a_restart_everything_arrives() {
    let dir = empty_test_dir("stored-queue-read-only");
    let mount = Mount::ext4(&dir);
    let (backend, is_up) = start_backend();
    is_up.store(false, Ordering::SeqCst);
    let otlp = format!("127.0.0.1:{}", free_port());
    let start = |log: &str| {
        let mut process = Process::start(&mut command(&mount.at.join("data"), &otlp, backend.port), &dir.join(log));
        wait_for_listener(&otlp, &mut process);
        process
    };
    let mut process = start("log-0");
    let mut acknowledged = BTreeSet::new();
    for number in 0..100 {
        wait_for_acknowledgement(&otlp, number, &mut acknowledged, &process);
    }
    mount.become_read_only();
    for number in 100..120 {
        let (name, body) = large_request(number);
        match send(&otlp, &body) {
            // What was on its way to the disk.
            Some(200) => drop(acknowledged.insert(name)),
            Some(503) => {}
            other => panic!("{other:?}:\n{}", process.log_text()),
        }
    }
    assert_eq!(send(&otlp, &large_request(120).1), Some(503), "{}", process.log_text());
    assert!(process.log_text().contains("read-only"), "{}", process.log_text());
    // What is on the disk can still be read and sent.
    is_up.store(true, Ordering::SeqCst);
    wait_for_all(&backend, &acknowledged, &process);
    process.signal("TERM");
    process.wait_for_exit(Duration::from_secs(60));
    run("umount", &[mount.path()]);
    mount.mount_ext4();
    let mut process = start("log-1");
    wait_for_acknowledgement(&otlp, 200, &mut acknowledged, &process);
    wait_for_all(&backend, &acknowledged, &process);
    eprintln!("read-only: {} acknowledged, none lost", acknowledged.len());
    process.signal("TERM");
    assert_eq!(process.wait_for_exit(Duration::from_secs(30)), 0);
}

#[test]
#[ignore = "needs root: scripts/disk-faults"]
fn file_system_that_stops_lets_clients_wait_and_the_loop_answers() {
    let dir = empty_test_dir("stored-queue-stopped");
    let mount = Mount::ext4(&dir);
    let (backend, _) = start_backend();
    let otlp = format!("127.0.0.1:{}", free_port());
    let mut process = Process::start(&mut command(&mount.at.join("data"), &otlp, backend.port), &dir.join("log"));
    wait_for_listener(&otlp, &mut process);
    let mut acknowledged = BTreeSet::new();
    wait_for_acknowledgement(&otlp, 0, &mut acknowledged, &process);
    run("fsfreeze", &["-f", mount.path()]);
    let clients: Vec<_> = (1..=50)
        .map(|number| {
            let otlp = otlp.clone();
            thread::spawn(move || {
                let (name, body) = large_request(number);
                (send(&otlp, &body), name)
            })
        })
        .collect();
    // Each page is answered while the thread of the disk hangs.
    for _ in 0..30 {
        let begin = Instant::now();
        assert_eq!(http_get(&otlp, "/no-such-page").0, 404);
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
        thread::sleep(Duration::from_millis(100));
    }
    assert!(clients.iter().all(|client| !client.is_finished()), "acknowledged before it was on disk");
    run("fsfreeze", &["-u", mount.path()]);
    for client in clients {
        let (status, name) = client.join().unwrap();
        assert_eq!(status, Some(200), "{}", process.log_text());
        acknowledged.insert(name);
    }
    wait_for_all(&backend, &acknowledged, &process);
    eprintln!("stopped: {} acknowledged, none lost", acknowledged.len());
    process.signal("TERM");
    assert_eq!(process.wait_for_exit(Duration::from_secs(30)), 0);
}
