//! Collectors beside a broker, a client that sends until it is accepted, and what has arrived.
#![allow(dead_code, reason = "not every test that has a broker uses all of it")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::*;

/// Starts a collector with this configuration.
pub(crate) fn collector(dir: &Path, name: &str, config: &str) -> Process {
    start_program(&otelcore(), dir, name, config)
}

/// Starts a collector, ours or another one, with this configuration.
pub(crate) fn start_program(program: &Path, dir: &Path, name: &str, config: &str) -> Process {
    let path = dir.join(format!("{name}.yaml"));
    std::fs::write(&path, config).unwrap();
    let log = dir.join(format!("{name}.log"));
    Process::start(Command::new(program).arg(format!("--config={}", path.display())), &log)
}

/// How often each text that begins with `prefix` is in the files, up to the next quotation mark.
pub(crate) fn texts(files: &[&Path], prefix: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        for (at, _) in text.match_indices(prefix) {
            let found = text[at..].split('"').next().unwrap();
            *counts.entry(found.to_owned()).or_default() += 1;
        }
    }
    counts
}

/// Waits until so many different texts are there, as long as more of them come.
pub(crate) fn wait_for_texts(files: &[&Path], prefix: &str, count: usize) -> BTreeMap<String, usize> {
    let (mut before, mut end) = (0, Instant::now() + Duration::from_secs(90));
    loop {
        let found = texts(files, prefix);
        if found.len() != before {
            (before, end) = (found.len(), Instant::now() + Duration::from_secs(60));
        }
        if found.len() >= count || Instant::now() > end {
            assert_eq!(found.len(), count, "nothing more has come for a minute");
            return found;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// A collector that writes the logs it receives by OTLP over HTTP to a file.
pub(crate) fn destination(dir: &Path, otlp: &str, file: &Path) -> Process {
    let config = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: \"{otlp}\"}}}}}}}}
exporters: {{file: {{path: \"{}\", append: true, flush_interval: 50ms}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{logs: {{receivers: [otlp], exporters: [file]}}}}
",
        file.display()
    );
    let mut process = collector(dir, "destination", &config);
    wait_for_listener(otlp, &mut process);
    process
}

/// Sends a request of OTLP as JSON; the status, or `None` if there is no answer.
pub(crate) fn try_post(address: &str, path: &str, body: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let head =
        format!("POST {path} HTTP/1.0\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}", body.len());
    write!(stream, "{head}\r\n\r\n{body}").ok()?;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).split(' ').nth(1)?.parse().ok()
}

/// Sends log records with the texts `message-0000000` and so on, each request again until it is accepted.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicUsize>,
    thread: Option<JoinHandle<usize>>,
}

/// The records of a request.
const RECORDS: usize = 10;

impl Load {
    pub(crate) fn start(otlp: &str) -> Self {
        let (stop, accepted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (otlp, is_over, count) = (otlp.to_owned(), stop.clone(), accepted.clone());
        let thread = std::thread::spawn(move || {
            let mut again = 0;
            while !is_over.load(Ordering::Relaxed) {
                let first = count.load(Ordering::Relaxed);
                let record = |n| format!("{{\"body\":{{\"stringValue\":\"message-{n:07}\"}}}}");
                let records: Vec<String> = (first..first + RECORDS).map(record).collect();
                let body =
                    format!("{{\"resourceLogs\":[{{\"scopeLogs\":[{{\"logRecords\":[{}]}}]}}]}}", records.join(","));
                let end = Instant::now() + Duration::from_secs(180);
                while try_post(&otlp, "/v1/logs", &body) != Some(200) {
                    again += 1;
                    assert!(Instant::now() < end, "nothing is accepted any more");
                    std::thread::sleep(Duration::from_millis(20));
                }
                count.fetch_add(RECORDS, Ordering::Relaxed);
            }
            again
        });
        Self { stop, accepted, thread: Some(thread) }
    }

    /// The records that are accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Waits until so many more records are accepted.
    pub(crate) fn wait_for_more(&self, records: usize) {
        let goal = self.accepted() + records;
        let end = Instant::now() + Duration::from_secs(180);
        while self.accepted() < goal {
            assert!(Instant::now() < end, "{} of {goal} are accepted", self.accepted());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends when the last request is accepted; returns the records that are accepted, and the requests that were sent again.
    pub(crate) fn finish(mut self) -> (usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        let again = self.thread.take().unwrap().join().unwrap();
        (self.accepted(), again)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
