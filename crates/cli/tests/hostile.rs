//! Hostile peers against the binary: memory stays bounded and other clients are served, independent of what one of
//! them sends or leaves out.
//!
//! The bound on resident memory is high, because the build has no optimisation: the tests look for growth without
//! bound. No test measures speed; the steps that requests may take are counted in `otelcore`'s test `steps`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on says where")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use support::*;

/// The memory in bytes that the process may use, with a limiter at 48 or 64 MiB.
const MEMORY_BOUND: u64 = 128 << 20;

const PROTOBUF: &str = "Host: x\r\nContent-Type: application/x-protobuf";

struct TestCollector {
    process: Process,
    grpc: String,
    http: String,
    page: String,
}

impl TestCollector {
    /// A collector with `memory_limiter` and one pipeline of `signal` to `exporter`, in which PAGE is a port.
    fn start(name: &str, limit_mib: u32, signal: &str, exporter: &str) -> Self {
        let (grpc, http, page) = (free_port(), free_port(), free_port());
        let named = exporter.split_once(':').unwrap().0;
        let text = format!(
            "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: \"127.0.0.1:{grpc}\"}}, http: {{endpoint: \"127.0.0.1:{http}\"}}}}}}}}
processors: {{memory_limiter: {{check_interval: 100ms, limit_mib: {limit_mib}}}}}
exporters: {{{}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{{signal}: {{receivers: [otlp], processors: [memory_limiter], exporters: [{named}]}}}}
",
            exporter.replace("PAGE", &page.to_string()),
        );
        let dir = empty_test_dir(name);
        let path = dir.join("config.yaml");
        std::fs::write(&path, text).unwrap();
        let mut command = Command::new(otelcore());
        let mut collector = Process::start(command.arg(format!("--config={}", path.display())), &dir.join("log"));
        let [grpc, http, page] = [grpc, http, page].map(|port| format!("127.0.0.1:{port}"));
        wait_for_listener(&grpc, &mut collector);
        wait_for_listener(&http, &mut collector);
        Self { process: collector, grpc, http, page }
    }

    fn post(&self, path: &str, body: &[u8]) -> u16 {
        http_request(&self.http, &format!("POST {path} HTTP/1.0\r\n{PROTOBUF}"), body).0
    }

    /// The most resident memory so far.
    fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    fn assert_memory_is_bounded(&self) {
        let peak = self.peak_memory();
        assert!(peak < MEMORY_BOUND, "{} MiB:\n{}", peak >> 20, self.process.log_text());
    }

    /// A small request of another client is accepted, at once or after a refusal that may be retried.
    fn assert_serves(&self, path: &str, body: &[u8]) {
        wait_until("a small request is taken", || match self.post(path, body) {
            200 => Some(String::new()),
            503 | 429 => None,
            status => panic!("{status}: {}", self.process.log_text()),
        });
    }
}

// ---- telemetry ------------------------------------------------------------------------------------------------------

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n > 0x7f {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn length_delimited_field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    varint(&mut out, content.len() as u64);
    out.extend_from_slice(content);
    out
}

fn attribute(key: &str, value: &str) -> Vec<u8> {
    [length_delimited_field(1, key.as_bytes()), length_delimited_field(2, &length_delimited_field(1, value.as_bytes()))]
        .concat()
}

fn fixed64_field(number: u8, bits: u64) -> Vec<u8> {
    [vec![number << 3 | 1], bits.to_le_bytes().to_vec()].concat()
}

/// One request with a metric whose data is in field `kind` and whose points are these.
fn metric(name: &str, kind: u8, points: &[Vec<u8>]) -> Vec<u8> {
    let mut data: Vec<u8> = points.iter().flat_map(|point| length_delimited_field(1, point)).collect();
    if kind == 9 {
        data.extend([2 << 3, 2]);
    }
    let metric = [length_delimited_field(1, name.as_bytes()), length_delimited_field(kind, &data)].concat();
    length_delimited_field(1, &length_delimited_field(2, &length_delimited_field(2, &metric)))
}

fn gauge_point(series: &str, value: u64) -> Vec<u8> {
    [
        fixed64_field(3, 1_767_225_600_000_000_000),
        fixed64_field(6, value),
        length_delimited_field(7, &attribute("series", series)),
    ]
    .concat()
}

// ---- connections ----------------------------------------------------------------------------------------------------

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Writes as much as the peer takes. It is no failure when the peer ends the connection or stops reading.
fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    match stream.write_all(bytes) {
        Ok(()) => true,
        Err(e) => {
            let ends = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset, ErrorKind::WouldBlock, ErrorKind::TimedOut];
            assert!(ends.contains(&e.kind()), "{e}");
            false
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A literal header field that is not added to the dynamic table.
fn header(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0];
    for text in [name, value] {
        match text.len() {
            n @ ..127 => out.push(n as u8),
            n => {
                out.push(127);
                varint(&mut out, n as u64 - 127);
            }
        }
        out.extend_from_slice(text.as_bytes());
    }
    out
}

fn grpc_head(extra_fields: &[u8]) -> Vec<u8> {
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "x"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let head: Vec<u8> = fields.iter().flat_map(|(name, value)| header(name, value)).collect();
    [&head, extra_fields].concat()
}

/// A connection over HTTP/2 whose input is read and discarded.
fn http2(address: &str) -> TcpStream {
    let mut stream = connect(address);
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).unwrap();
    stream.write_all(&frame(4, 1, 0, &[])).unwrap();
    let mut input = stream.try_clone().unwrap();
    // Ends with the connection, which the test closes.
    std::thread::spawn(move || std::io::copy(&mut input, &mut std::io::sink()));
    stream
}

// ---- memory ---------------------------------------------------------------------------------------------------------

#[test]
fn series_beyond_the_limit_are_refused_and_known_series_updated() {
    let collector = TestCollector::start("hostile-series", 48, "metrics", "prometheus: {endpoint: \"127.0.0.1:PAGE\"}");
    let known = |value| metric("known", 5, &[gauge_point("first", value)]);
    collector.assert_serves("/v1/metrics", &known(1));
    for request in 0..40 {
        let points: Vec<_> = (0..5000).map(|i| gauge_point(&format!("{request}-{i}"), 1)).collect();
        collector.post("/v1/metrics", &metric("many", 5, &points));
    }
    collector.assert_serves("/v1/metrics", &known(2));
    collector.assert_memory_is_bounded();
    let (status, page) = http_get(&collector.page, "/metrics");
    assert_eq!(status, 200);
    let line = page.lines().find(|line| line.starts_with("known{")).unwrap_or_default();
    assert!(line.ends_with(" 2"), "{line}");
    collector.assert_memory_is_bounded();
}

/// A histogram of 1,000 bounds with a label of 50,000 bytes: each line of its page has the label, 50 MB in all.
fn wide_histogram() -> Vec<u8> {
    let bounds: Vec<u8> = (0..1000).flat_map(|i| f64::from(i).to_le_bytes()).collect();
    let counts: Vec<u8> = (0..=1000).flat_map(|_| 1_u64.to_le_bytes()).collect();
    let label = length_delimited_field(9, &attribute("long", &"x".repeat(50_000)));
    let time = fixed64_field(3, 1_767_225_600_000_000_000);
    metric(
        "wide",
        9,
        &[[
            time,
            fixed64_field(4, 1001),
            length_delimited_field(6, &counts),
            length_delimited_field(7, &bounds),
            label,
        ]
        .concat()],
    )
}

#[test]
fn page_of_a_wide_histogram_stays_bounded_with_scrapers_that_never_read() {
    let collector = TestCollector::start("hostile-page", 48, "metrics", "prometheus: {endpoint: \"127.0.0.1:PAGE\"}");
    assert_eq!(collector.post("/v1/metrics", &wide_histogram()), 200);
    let (status, page) = http_get(&collector.page, "/metrics");
    assert!(status == 503 || page.len() > 40_000_000 && page.contains("le=\"999\""), "{status}, {} bytes", page.len());
    drop(page);
    collector.assert_memory_is_bounded();
    let idle: Vec<_> = (0..60)
        .map(|_| {
            let mut stream = connect(&collector.page);
            write_some(&mut stream, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
            stream
        })
        .collect();
    std::thread::sleep(Duration::from_secs(1));
    collector.assert_serves("/v1/metrics", &metric("small", 5, &[gauge_point("one", 1)]));
    collector.assert_memory_is_bounded();
    drop(idle);
}

#[test]
fn unfinished_bodies_stay_bounded_and_others_are_served() {
    let collector = TestCollector::start("hostile-bodies", 48, "traces", "nop: ");
    let part = vec![0; 1 << 20];
    let open: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = connect(&collector.http);
            let head = format!("POST /v1/traces HTTP/1.1\r\n{PROTOBUF}\r\nContent-Length: 15728641\r\n\r\n");
            let _ = write_some(&mut stream, head.as_bytes()) && (0..15).all(|_| write_some(&mut stream, &part));
            stream
        })
        .collect();
    collector.assert_memory_is_bounded();
    // After ten seconds the slow ones may be refused.
    collector.assert_serves("/v1/traces", &span_request("meanwhile"));
    drop(open);
    collector.assert_serves("/v1/traces", &span_request("after"));
    collector.assert_memory_is_bounded();
}

#[test]
fn incomplete_heads_of_many_connections_block_no_other_client() {
    let collector = TestCollector::start("hostile-heads", 48, "traces", "nop: ");
    let head = format!("POST /v1/traces HTTP/1.1\r\n{PROTOBUF}\r\nX-Long: {}", "y".repeat(60_000));
    let open: Vec<_> = (0..900)
        .map(|_| {
            let mut stream = connect(&collector.http);
            write_some(&mut stream, head.as_bytes());
            stream
        })
        .collect();
    collector.assert_serves("/v1/traces", &span_request("meanwhile"));
    collector.assert_memory_is_bounded();
    drop(open);
}

#[test]
fn header_lists_of_many_streams_stay_bounded() {
    let collector = TestCollector::start("hostile-headers", 48, "traces", "nop: ");
    let head = grpc_head(&header("x-long", &"y".repeat(15_000)));
    let open: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = http2(&collector.grpc);
            let mut streams = (0..500).map(|n| 2 * n + 1);
            // END_HEADERS without END_STREAM: the call waits for its message.
            let _ = streams.all(|id| write_some(&mut stream, &frame(1, 4, id, &head)));
            stream
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    collector.assert_memory_is_bounded();
    collector.assert_serves("/v1/traces", &span_request("meanwhile"));
    for stream in open {
        let _ = stream.shutdown(std::net::Shutdown::Both);
    }
    collector.assert_serves("/v1/traces", &span_request("after"));
    collector.assert_memory_is_bounded();
}

#[test]
fn announced_messages_that_are_never_sent_block_no_other_client() {
    let collector = TestCollector::start("hostile-claims", 48, "traces", "nop: ");
    let mut stream = http2(&collector.grpc);
    for id in (0..100).map(|n| 2 * n + 1) {
        write_some(&mut stream, &frame(1, 4, id, &grpc_head(&[])));
        // Five bytes: no compression, 4 MiB.
        write_some(&mut stream, &frame(0, 0, id, &[0, 0, 0x40, 0, 0]));
    }
    std::thread::sleep(Duration::from_millis(300));
    // The connection is still open; `wait_until` repeats the request for half a minute at most.
    collector.assert_serves("/v1/traces", &span_request("meanwhile"));
    collector.assert_memory_is_bounded();
    let _ = stream.shutdown(std::net::Shutdown::Both);
}

#[test]
fn client_that_sends_one_byte_at_a_time_delays_no_other_client() {
    let collector = TestCollector::start("hostile-drops", 48, "traces", "nop: ");
    let head = format!("POST /v1/traces HTTP/1.1\r\n{PROTOBUF}\r\nContent-Length: 1000\r\n\r\n");
    let mut streams: Vec<_> = (0..20).map(|_| connect(&collector.http)).collect();
    let until = Instant::now() + Duration::from_millis(500);
    for byte in head.as_bytes() {
        for stream in &mut streams {
            stream.write_all(&[*byte]).unwrap();
        }
        if Instant::now() > until {
            break;
        }
    }
    assert_eq!(collector.post("/v1/traces", &span_request("meanwhile")), 200);
    // None of them got a response, and none was closed.
    for stream in &mut streams {
        stream.set_nonblocking(true).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}
