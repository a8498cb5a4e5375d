//! Processes, ports and pages for the tests of the binary. Every process started here ends with its test.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test file uses a part of it")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use otelcore::pipeline::ItemSums;
pub use otelcore_pods::{project_root, tool};
pub use otelcore_test_support::free_port;

/// The collector under test.
pub fn otelcore() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_otelcore"))
}

/// A file of the tutorial where it is beside the project, or else the counterpart in this repository.
pub fn tutorial_file(name: &str, counterpart: &str) -> (PathBuf, bool) {
    let seed = project_root().join("../shared/seed").join(name);
    if seed.is_file() { (seed, true) } else { (project_root().join("examples/tutorial").join(counterpart), false) }
}

/// The text of a block scalar `key: |` of a manifest, as a ConfigMap's mount or the operator provides it.
pub fn block_scalar(manifest: &str, key: &str) -> String {
    let mut lines = manifest.lines();
    let head = lines.by_ref().find(|l| l.trim_start().starts_with(&format!("{key}: |"))).expect("the key is there");
    let outer = head.len() - head.trim_start().len();
    let body: Vec<&str> = lines.take_while(|l| l.trim().is_empty() || l.len() - l.trim_start().len() > outer).collect();
    let inner = body.iter().find(|l| !l.trim().is_empty()).map_or(0, |l| l.len() - l.trim_start().len());
    body.iter().map(|l| l.get(inner..).unwrap_or("")).collect::<Vec<_>>().join("\n") + "\n"
}

/// The root tree of the image.
pub fn image() -> Option<PathBuf> {
    otelcore_pods::image(env!("CARGO_TARGET_TMPDIR"))
}

/// One span of this name, under one resource.
pub fn span_request(name: &str) -> Vec<u8> {
    let field = |tag: u8, value: &[u8]| {
        let mut out = vec![tag];
        let mut length = value.len();
        while length > 0x7f {
            out.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
            length >>= 7;
        }
        out.push(u8::try_from(length).unwrap());
        out.extend_from_slice(value);
        out
    };
    field(0x0a, &field(0x12, &field(0x12, &field(0x2a, name.as_bytes()))))
}

/// A process that is killed when its test ends, its output in a file.
pub struct Process {
    pub child: Child,
    pub log: PathBuf,
}

impl Process {
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let file = std::fs::File::create(log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self { child, log: log.to_owned() }
    }

    /// A process whose output goes into two pipes, which the test keeps and does not read.
    pub fn start_unread(command: &mut Command) -> (Self, std::process::ChildStdout, std::process::ChildStderr) {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        (Self { child, log: PathBuf::new() }, out, err)
    }

    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Waits for the end; returns the exit code.
    pub fn wait_for_exit(&mut self, within: Duration) -> i32 {
        let until = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < until, "still running after {within:?}:\n{}", self.log_text());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something listens.
pub fn wait_for_listener(address: &str, process: &mut Process) {
    let until = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(address).is_err() {
        if let Some(status) = process.child.try_wait().unwrap() {
            panic!("ended with {status} before it listened on {address}:\n{}", process.log_text());
        }
        assert!(Instant::now() < until, "nothing listens on {address}:\n{}", process.log_text());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sends one HTTP/1.0 request; returns status and body.
pub fn http_request(address: &str, request: &str, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap_or_else(|e| panic!("{address}: {e}"));
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "{request}\r\nContent-Length: {}\r\n\r\n", body.len()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    (status, answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned())
}

/// GETs a page.
pub fn http_get(address: &str, path: &str) -> (u16, String) {
    http_request(address, &format!("GET {path} HTTP/1.0\r\nHost: {address}"), b"")
}

/// The sums of a scraped page of own metrics.
pub fn sums_of(page: &str) -> ItemSums {
    let mut sums = ItemSums::default();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let pairs: Vec<(&str, &str)> =
            labels.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once('=')).collect();
        let label =
            |name: &str| pairs.iter().find(|(there, _)| *there == name).map(|(_, value)| value.trim_matches('"'));
        sums.add(name, label, value.parse().unwrap());
    }
    sums
}

/// Calls `poll` until it returns a result, for half a minute at most.
pub fn wait_until(what: &str, mut ask: impl FnMut() -> Option<String>) -> String {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "never came: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A folder of the test, emptied first.
pub fn empty_test_dir(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}
