//! A collector with a queue on disk, and its backend.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::sink::OtlpHttpBackend;
use crate::support::*;

/// A backend, and whether it is up: otherwise it closes each connection without a response.
pub fn start_backend() -> (OtlpHttpBackend, Arc<AtomicBool>) {
    let is_up = Arc::new(AtomicBool::new(true));
    let asked = is_up.clone();
    (OtlpHttpBackend::start_with(move || asked.load(Ordering::SeqCst).then_some(200)), is_up)
}

/// The collector of `examples/durable`, with its queue in `directory`. `OTELCORE_KILLS_PROGRAM` is another program.
pub fn command(directory: &Path, otlp: &str, backend: u16) -> Command {
    let mut command = Command::new(std::env::var_os("OTELCORE_KILLS_PROGRAM").map_or_else(otelcore, Into::into));
    command.arg(format!("--config={}", project_root().join("examples/durable/collector.yaml").display()));
    for set in [
        format!("extensions.file_storage.directory={}", directory.display()),
        format!("receivers.otlp.protocols.http.endpoint={otlp}"),
        "receivers.otlp.protocols.grpc.endpoint=127.0.0.1:0".to_owned(),
        format!("exporters.otlp_http.endpoint=http://127.0.0.1:{backend}"),
        "exporters.otlp_http.compression=none".to_owned(),
        "exporters.otlp_http.retry_on_failure.initial_interval=50ms".to_owned(),
        "exporters.otlp_http.retry_on_failure.max_interval=500ms".to_owned(),
        "service.telemetry.metrics.level=none".to_owned(),
    ] {
        command.arg(format!("--set={set}"));
    }
    command
}

/// Sends a request on a connection of its own. The status; `None` where there was no answer within ten seconds.
pub fn send(address: &str, body: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let head = "POST /v1/traces HTTP/1.0\r\nHost: x\r\nContent-Type: application/x-protobuf";
    write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n", body.len()).ok()?;
    stream.write_all(body).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    String::from_utf8_lossy(&answer).split(' ').nth(1)?.parse().ok()
}

/// Waits until all that was acknowledged has arrived, for a minute at most.
pub fn wait_for_all(backend: &OtlpHttpBackend, acknowledged: &BTreeSet<String>, process: &Process) {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let delivered: BTreeSet<String> = backend.span_names().into_iter().collect();
        let missing = acknowledged.difference(&delivered).count();
        if missing == 0 {
            return;
        }
        assert!(Instant::now() < end, "{missing} of {} are missing:\n{}", acknowledged.len(), process.log_text());
        std::thread::sleep(Duration::from_millis(100));
    }
}
