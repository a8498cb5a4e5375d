//! The stall meter: how long one permitted request delays all other requests.
//!
//! Each row starts the collector with one pipeline. For each shape of `worst`, and for those that a search finds from
//! the slowest, the collector is started again and gets one request of the largest size that is permitted. Meanwhile
//! two other connections send small requests, one after another: one to another pipeline, whose waits are those of the
//! loop, one to the same pipeline. The longest waits and the collector's CPU time are the result; the small requests
//! continue until the collector is idle, and until its pages are read. Each case ends after a minute at most.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bytes::Bytes;
use otelcore::pdata::Signal;
use otelcore::pipeline::{Cx, Event, Extension, Logger, MonotonicTime, NoopLogSink, StartError};
use otelcore_http::{Coding, Workspace};
use otelcore_net::{GrpcChannel, UnaryRequest};

use crate::measure::{cpu_seconds, pin_to_core, status_megabytes};
use crate::rows::{BenchOptions, OtlpProtocol};
use crate::run::{RunningProcess, log_tail, start_sink, wait_for_listener};
use crate::worst::{Random, Shape, shapes};
use crate::{component_loop, grpc_load};

/// The time limit of a case, whatever the collector does.
const CASE_TIMEOUT: Duration = Duration::from_secs(60);
/// A wait in milliseconds that ends a row's search: a longer one would not fit the time of a bench.
const SEARCH_END_MS: f64 = 5000.0;

/// How the request is sent: over gRPC or HTTP, in a coding, as JSON.
#[derive(Clone, Copy)]
struct RequestEncoding {
    protocol: OtlpProtocol,
    coding: &'static str,
    json: bool,
}

struct StallRow {
    name: &'static str,
    encoding: RequestEncoding,
    signals: &'static [Signal],
    auth: bool,
    processors: &'static str,
    exporter: &'static str,
    /// After the request, the exporter's page or the collector's own is read.
    page: Option<MetricsPage>,
}

#[derive(Clone, Copy)]
enum MetricsPage {
    Exporter,
    Own,
}

const GRPC: RequestEncoding = RequestEncoding { protocol: OtlpProtocol::Grpc, coding: "none", json: false };
const HTTP: RequestEncoding = RequestEncoding { protocol: OtlpProtocol::Http, coding: "none", json: false };
const TRACES: &[Signal] = &[Signal::Traces];
const METRICS: &[Signal] = &[Signal::Metrics];
const PLAIN: StallRow = StallRow {
    name: "",
    encoding: HTTP,
    signals: TRACES,
    auth: false,
    processors: "",
    exporter: "nop: {}",
    page: None,
};
const TO_GRPC: &str = "otlp_grpc: {endpoint: \"127.0.0.1:SINK\", tls: {insecure: true}, compression: none}";
const TO_HTTP: &str = "otlp_http: {endpoint: \"http://127.0.0.1:WEB\", compression: none}";
const TO_JAEGER: &str = "jaeger: {endpoint: \"127.0.0.1:SINK\", tls: {insecure: true}}";

fn rows() -> Vec<StallRow> {
    let row_with_encoding = |name, way| StallRow { name, encoding: way, ..PLAIN };
    let row_with_exporter = |name, signals, exporter| StallRow { name, signals, exporter, ..PLAIN };
    let row_with_processors = |name, signals, processors| StallRow { name, signals, processors, ..PLAIN };
    let compressed = |wire, coding| RequestEncoding { protocol: wire, coding, json: false };
    let batch_of_100 = "batch: {send_batch_size: 100, send_batch_max_size: 100, timeout: 100ms}";
    vec![
        StallRow { signals: &Signal::ALL, ..row_with_encoding("otlp-grpc", GRPC) },
        row_with_encoding("otlp-grpc-gzip", compressed(OtlpProtocol::Grpc, "gzip")),
        row_with_encoding("otlp-grpc-zstd", compressed(OtlpProtocol::Grpc, "zstd")),
        row_with_encoding("otlp-grpc-snappy", compressed(OtlpProtocol::Grpc, "snappy")),
        StallRow { signals: &Signal::ALL, ..row_with_encoding("otlp-http", HTTP) },
        row_with_encoding("otlp-http-gzip", compressed(OtlpProtocol::Http, "gzip")),
        row_with_encoding("otlp-http-zstd", compressed(OtlpProtocol::Http, "zstd")),
        row_with_encoding("otlp-http-snappy", compressed(OtlpProtocol::Http, "snappy")),
        StallRow {
            signals: &Signal::ALL,
            ..row_with_encoding("otlp-http-json", RequestEncoding { json: true, ..HTTP })
        },
        row_with_encoding(
            "otlp-http-json-gzip",
            RequestEncoding { protocol: OtlpProtocol::Http, coding: "gzip", json: true },
        ),
        StallRow { name: "basicauth", auth: true, ..PLAIN },
        row_with_processors("memory-limiter", TRACES, "memory_limiter: {check_interval: 1s, limit_mib: 500}"),
        row_with_processors("batch", TRACES, "batch: {timeout: 100ms}"),
        row_with_processors("batch-100", &Signal::ALL, batch_of_100),
        StallRow { exporter: TO_GRPC, ..row_with_processors("batch-100-otlp-grpc", TRACES, batch_of_100) },
        row_with_exporter("jaeger", TRACES, TO_JAEGER),
        StallRow { exporter: TO_JAEGER, ..row_with_processors("batch-100-jaeger", TRACES, batch_of_100) },
        row_with_exporter("to-otlp-grpc", TRACES, TO_GRPC),
        row_with_exporter(
            "to-otlp-grpc-gzip",
            TRACES,
            "otlp_grpc: {endpoint: \"127.0.0.1:SINK\", tls: {insecure: true}, compression: gzip}",
        ),
        row_with_exporter(
            "to-otlp-grpc-sized",
            TRACES,
            "otlp_grpc: {endpoint: \"127.0.0.1:SINK\", tls: {insecure: true}, compression: none, sending_queue: {batch: {min_size: 100, max_size: 100, flush_timeout: 100ms}}}",
        ),
        row_with_exporter("to-otlp-http", TRACES, TO_HTTP),
        row_with_exporter(
            "to-otlp-http-zstd",
            TRACES,
            "otlp_http: {endpoint: \"http://127.0.0.1:WEB\", compression: zstd}",
        ),
        row_with_exporter(
            "to-otlp-http-json",
            &Signal::ALL,
            "otlp_http: {endpoint: \"http://127.0.0.1:WEB\", compression: none, encoding: json}",
        ),
        StallRow {
            page: Some(MetricsPage::Exporter),
            ..row_with_exporter("prometheus", METRICS, "prometheus: {endpoint: \"127.0.0.1:PAGE\"}")
        },
        StallRow { page: Some(MetricsPage::Own), ..row_with_processors("own-page", TRACES, "batch: {timeout: 100ms}") },
        row_with_exporter("debug", TRACES, "debug: {verbosity: basic}"),
        row_with_exporter("debug-normal", &Signal::ALL, "debug: {verbosity: normal}"),
        row_with_exporter("debug-detailed", &Signal::ALL, "debug: {verbosity: detailed}"),
    ]
}

/// Seven consecutive ports.
#[derive(Clone, Copy)]
struct StallPorts(u16);

impl StallPorts {
    fn grpc(self) -> u16 {
        self.0
    }
    fn http(self) -> u16 {
        self.0 + 1
    }
    fn sink(self) -> u16 {
        self.0 + 2
    }
    fn web(self) -> u16 {
        self.0 + 3
    }
    fn page(self) -> u16 {
        self.0 + 4
    }
    fn own(self) -> u16 {
        self.0 + 5
    }
    fn other(self) -> u16 {
        self.0 + 6
    }
}

fn signal_name(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "traces",
        Signal::Metrics => "metrics",
        Signal::Logs => "logs",
    }
}

impl StallRow {
    fn yaml(&self, ports: StallPorts, signal: Signal) -> String {
        let name = |text: &str| text.split_once(':').map_or(String::new(), |(name, _)| name.to_owned());
        let exporter = [("SINK", ports.sink()), ("WEB", ports.web()), ("PAGE", ports.page())]
            .into_iter()
            .fold(self.exporter.to_owned(), |text, (word, port)| text.replace(word, &port.to_string()));
        let processors =
            if self.processors.is_empty() { String::new() } else { format!("processors:\n  {}\n", self.processors) };
        let (extensions, named, auth) = if self.auth {
            let section = "extensions: {basicauth: {htpasswd: {inline: \"user:pass\"}}}\n";
            (section, "basicauth", ", auth: {authenticator: basicauth}")
        } else {
            ("", "", "")
        };
        let signal = signal_name(signal);
        format!(
            "receivers:\n  otlp:\n    protocols:\n      grpc: {{endpoint: \"127.0.0.1:{}\"{auth}}}\n      http: {{endpoint: \
             \"127.0.0.1:{}\"{auth}}}\n  otlp/other: {{protocols: {{http: {{endpoint: \"127.0.0.1:{}\"}}}}}}\n{extensions}{processors}exporters:\n  nop/other:\n  {exporter}\nservice:\n  extensions: \
             [{named}]\n  telemetry:\n    logs: {{level: error}}\n    metrics: {{readers: [{{pull: {{exporter: {{prometheus: \
             {{host: 127.0.0.1, port: {}}}}}}}}}]}}\n  pipelines:\n    {signal}: {{receivers: [otlp], processors: [{}], \
             exporters: [{}]}}\n    {signal}/other: {{receivers: [otlp/other], exporters: [nop/other]}}\n",
            ports.grpc(),
            ports.http(),
            ports.other(),
            ports.own(),
            name(self.processors),
            name(self.exporter),
        )
    }
}

/// One request, ready to be sent.
struct Request {
    path: String,
    head: String,
    body: Bytes,
    /// Bytes after decoding.
    size: usize,
}

impl RequestEncoding {
    /// The largest permitted request of a shape, or one of `size` bytes.
    fn request(self, shape: &Shape, size: Option<usize>) -> Result<Request, String> {
        let max_body = if self.protocol == OtlpProtocol::Grpc { 4 << 20 } else { 20 << 20 };
        let raw = if self.json {
            shape.json(size.unwrap_or(max_body / 2), max_body)
        } else {
            shape.body(size.unwrap_or(max_body))
        };
        if raw.is_empty() {
            return Err(format!("{}: no item fits", shape.name));
        }
        let size = raw.len();
        let kind = if self.json { "application/json" } else { "application/x-protobuf" };
        let mut head = format!("Content-Type: {kind}\r\n");
        let body = if self.protocol == OtlpProtocol::Http && self.coding != "none" {
            let _ = write!(head, "Content-Encoding: {}\r\n", self.coding);
            let coding = Coding::parse(self.coding.as_bytes()).map_err(|e| e.to_string())?;
            Workspace::new().compress(&coding, [&raw[..]])
        } else {
            raw.into()
        };
        Ok(Request { path: format!("/v1/{}", signal_name(shape.signal)), head, body, size })
    }
}

/// A connection that sends one request after another over HTTP/1.1 and waits for each response.
struct HttpCaller {
    port: u16,
    stream: Option<BufReader<TcpStream>>,
}

impl HttpCaller {
    fn new(port: u16) -> Self {
        Self { port, stream: None }
    }

    /// The response's status, and the length of its body.
    fn call(&mut self, method: &str, path: &str, head: &str, body: &[u8]) -> std::io::Result<(u16, usize)> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(CASE_TIMEOUT))?;
            stream.set_write_timeout(Some(CASE_TIMEOUT))?;
            self.stream = Some(BufReader::new(stream));
        }
        let response = self.exchange(method, path, head, body);
        if response.is_err() {
            self.stream = None;
        }
        response
    }

    fn exchange(&mut self, method: &str, path: &str, head: &str, body: &[u8]) -> std::io::Result<(u16, usize)> {
        let unexpected_eof = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let reader = self.stream.as_mut().ok_or_else(unexpected_eof)?;
        let length = body.len();
        let auth = "Authorization: Basic dXNlcjpwYXNz\r\n";
        let head = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{auth}{head}Content-Length: {length}\r\n\r\n");
        let stream = reader.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(unexpected_eof)?;
        let (mut length, mut chunked, mut close) = (0, false, false);
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let field = line.trim().to_ascii_lowercase();
            match field.split_once(':') {
                None if field.is_empty() => break,
                Some(("content-length", value)) => length = value.trim().parse().map_err(|_| unexpected_eof())?,
                Some(("transfer-encoding", value)) => chunked = value.contains("chunked"),
                Some(("connection", value)) => close = value.contains("close"),
                _ => {}
            }
        }
        let mut read = 0;
        while chunked || read == 0 {
            let mut size = length;
            if chunked {
                line.clear();
                reader.read_line(&mut line)?;
                size = u64::from_str_radix(line.trim(), 16).map_err(|_| unexpected_eof())?;
            }
            let copied = std::io::copy(&mut reader.take(size), &mut std::io::sink())?;
            read += copied as usize;
            if copied < size {
                return Err(unexpected_eof());
            }
            if chunked {
                line.clear();
                reader.read_line(&mut line)?;
            }
            if size == 0 || !chunked {
                break;
            }
        }
        if close {
            self.stream = None;
        }
        Ok((status, read))
    }
}

/// One call over gRPC.
struct GrpcCaller {
    channel: GrpcChannel,
    path: http::uri::PathAndQuery,
    body: Bytes,
    result: Rc<std::cell::RefCell<Option<String>>>,
}

impl Extension for GrpcCaller {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.channel.start(cx)?;
        let message = std::iter::once(self.body.clone()).collect();
        self.channel.start_call(
            cx,
            0,
            UnaryRequest { path: self.path.clone(), message, deadline: MonotonicTime::NEVER, metadata: None },
        );
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        self.channel.handle_event(cx, local, &event);
        while let Some((_, result)) = self.channel.poll_result() {
            *self.result.borrow_mut() = Some(result.map_or_else(|s| s.code.name().to_owned(), |_| "OK".to_owned()));
        }
    }
}

fn call_grpc(port: u16, coding: &str, signal: Signal, body: Bytes) -> Result<String, String> {
    let client = grpc_load::client_config(&format!("127.0.0.1:{port}"), coding)?;
    let result = Rc::new(std::cell::RefCell::new(None));
    let caller = GrpcCaller {
        channel: GrpcChannel::new(client, None, Logger::new(Arc::new(NoopLogSink)), 0),
        path: grpc_load::export_path(signal_name(signal)),
        body,
        result: result.clone(),
    };
    let deadline = Instant::now() + CASE_TIMEOUT;
    component_loop::run(Box::new(caller), || result.borrow().is_some() || Instant::now() > deadline)?;
    Ok(result.take().unwrap_or_else(|| "no answer".to_owned()))
}

/// The result of one case.
#[derive(Clone)]
struct CaseResult {
    shape: Shape,
    sent: usize,
    size: usize,
    result: String,
    cpu_ms: f64,
    /// The longest wait of a small request to another pipeline: the longest time for which the loop was busy.
    wait_ms: f64,
    /// The longest such wait before the large request.
    baseline_ms: f64,
    /// The longest wait of a small request to the same pipeline.
    same_pipeline_ms: f64,
    peak_mb: f64,
}

struct StallBench<'a> {
    options: &'a BenchOptions,
    ports: StallPorts,
    dir: &'a Path,
}

impl StallBench<'_> {
    fn start_collector(&self, row: &StallRow, signal: Signal) -> Result<RunningProcess, String> {
        let path = self.dir.join("config.yaml");
        std::fs::write(&path, row.yaml(self.ports, signal)).map_err(|e| e.to_string())?;
        let log = std::fs::File::create(self.dir.join("log")).map_err(|e| e.to_string())?;
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).arg(crate::programs::our_binary(self.options.own));
        if self.options.own {
            command.arg("collector");
        }
        command.arg(format!("--config={}", path.display())).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut running = RunningProcess(command.spawn().map_err(|e| e.to_string())?);
        wait_for_listener(&mut running, self.ports.http()).map_err(|e| format!("{e}: {}", log_tail(self.dir)))?;
        Ok(running)
    }

    /// Sends one request of a shape to a new collector.
    fn run_case(&self, row: &StallRow, shape: &Shape) -> Result<CaseResult, String> {
        let size = self.options.quick.then_some(64 << 10);
        let request = row.encoding.request(shape, size)?;
        let small = HTTP.request(&Shape { items: 1, scopes: 1, ..shapes(shape.signal)[0] }, Some(200))?;
        let collector = self.start_collector(row, shape.signal)?;
        let pid = collector.0.id();
        let (stop, request_sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let small = Arc::new(small);
        let probers = [self.ports.other(), self.ports.http()].map(|port| {
            let (stop, request_sent, small) = (stop.clone(), request_sent.clone(), small.clone());
            std::thread::spawn(move || send_probes(port, &small, &stop, &request_sent))
        });
        sleep(Duration::from_millis(if self.options.quick { 50 } else { 300 }));
        let before = cpu_seconds(pid)?;
        let start = Instant::now();
        request_sent.store(true, Ordering::Release);
        let (sent, size) = (request.body.len(), request.size);
        let result = match row.encoding.protocol {
            OtlpProtocol::Grpc => call_grpc(self.ports.grpc(), row.encoding.coding, shape.signal, request.body)?,
            OtlpProtocol::Http => {
                let mut caller = HttpCaller::new(self.ports.http());
                let response = caller.call("POST", &request.path, &request.head, &request.body);
                response.map_or_else(|e| e.kind().to_string(), |(status, _)| status.to_string())
            }
        };
        wait_until_idle(pid, start)?;
        let result = match row.page {
            None => result,
            Some(page) => {
                let port = if matches!(page, MetricsPage::Exporter) { self.ports.page() } else { self.ports.own() };
                let page_response = HttpCaller::new(port).call("GET", "/metrics", "", b"");
                let page_result = page_response
                    .map_or_else(|e| e.kind().to_string(), |(status, length)| format!("{status}, {length} bytes"));
                wait_until_idle(pid, start)?;
                format!("{result}; page {page_result}")
            }
        };
        stop.store(true, Ordering::Release);
        let peak_mb = status_megabytes(pid, "VmHWM")?;
        let total = cpu_seconds(pid)? - before;
        // A collector that is still busy responds to no request: the probers end when its process ends.
        drop(collector);
        let [other, same] = probers.map(|prober| prober.join().map_err(|_| "a prober failed"));
        let ((quiet, wait), (_, behind)) = (other?, same?);
        let ms = |d: Duration| d.as_secs_f64() * 1000.0;
        let (cpu_ms, wait_ms, quiet_ms, behind_ms) = (total * 1000.0, ms(wait), ms(quiet), ms(behind));
        Ok(CaseResult {
            shape: *shape,
            sent,
            size,
            result,
            cpu_ms,
            wait_ms,
            baseline_ms: quiet_ms,
            same_pipeline_ms: behind_ms,
            peak_mb,
        })
    }

    /// The slowest of all shapes of a signal and of those that a search from there finds.
    fn slowest(&self, row: &StallRow, signal: Signal, random: &mut Random) -> Result<CaseResult, String> {
        let mut all = shapes(signal);
        if self.options.quick {
            all.truncate(2);
        }
        let mut best: Option<CaseResult> = None;
        let try_shape = |best: &mut Option<CaseResult>, shape: &Shape| -> Result<bool, String> {
            let score = self.run_case(row, shape)?;
            let CaseResult { wait_ms, same_pipeline_ms: behind_ms, cpu_ms, result: answer, .. } = &score;
            let name = shape.name;
            eprintln!("  {name:<26} {wait_ms:>9.1} ms wait {behind_ms:>9.1} ms behind {cpu_ms:>9.1} ms CPU  {answer}");
            if best.as_ref().is_none_or(|best| score.wait_ms > best.wait_ms) {
                *best = Some(score);
            }
            Ok(best.as_ref().is_some_and(|best| best.wait_ms > SEARCH_END_MS))
        };
        for shape in &all {
            if try_shape(&mut best, shape)? {
                break;
            }
        }
        for _ in 0..if self.options.quick { 1 } else { 12 } {
            let Some(slowest) = best.as_ref().filter(|best| best.wait_ms <= SEARCH_END_MS) else { break };
            let next = slowest.shape.changed(random).changed(random);
            if !next.body(64 << 10).is_empty() {
                try_shape(&mut best, &next)?;
            }
        }
        best.ok_or_else(|| "no shape".to_owned())
    }
}

/// Waits until a process has used, for a while, no more CPU time than the small requests need, or until the case's time
/// limit.
fn wait_until_idle(pid: u32, began: Instant) -> Result<(), String> {
    let pause = Duration::from_millis(200);
    while began.elapsed() < CASE_TIMEOUT {
        let before = cpu_seconds(pid)?;
        sleep(pause);
        if cpu_seconds(pid)? - before < pause.as_secs_f64() * 0.3 {
            break;
        }
    }
    Ok(())
}

/// Sends small requests one after another, every two milliseconds; returns the longest wait before and after the mark.
fn send_probes(port: u16, small: &Request, stop: &AtomicBool, request_sent: &AtomicBool) -> (Duration, Duration) {
    pin_to_core(1);
    crate::measure::raise_priority();
    let mut caller = HttpCaller::new(port);
    let (mut baseline, mut wait) = (Duration::ZERO, Duration::ZERO);
    while !stop.load(Ordering::Acquire) {
        let began = Instant::now();
        let answered = caller.call("POST", &small.path, &small.head, &small.body).is_ok();
        let elapsed = began.elapsed();
        let longest = if request_sent.load(Ordering::Acquire) { &mut wait } else { &mut baseline };
        // A request that fails because the process was ended is not counted; one that fails before that is.
        if answered || !stop.load(Ordering::Acquire) {
            *longest = (*longest).max(elapsed);
        }
        sleep(Duration::from_millis(2));
    }
    (baseline, wait)
}

/// `--stall [--quick] [--own] [--only ROW] [--port N]`: one line for each row and signal, the slowest of its shapes.
pub(crate) fn main(options: &BenchOptions, dir: &Path) -> Result<(), String> {
    let bench = StallBench { options, ports: StallPorts(options.ports.otlp), dir };
    let binary = crate::programs::our_binary(options.own);
    if !binary.is_file() {
        return Err(format!("{} is missing; run scripts/image DIR", binary.display()));
    }
    let sinks = [(OtlpProtocol::Grpc, bench.ports.sink()), (OtlpProtocol::Http, bench.ports.web())];
    let [grpc, http] = sinks.map(|(wire, port)| start_sink(wire, port, &dir.join(format!("sink-{port}")), &[]));
    let (_grpc, _http) = (grpc?, http?);
    let mut table = String::from(
        "| row | signal | slowest shape | bytes sent | decoded | longest wait ms | without it | same pipeline | CPU ms | peak MB | answer |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let mut failed = 0;
    let mut random = Random(1);
    for row in rows().iter().filter(|row| options.is_selected(row.name, "otelcore")) {
        for signal in row.signals {
            eprintln!("{} {}", row.name, signal_name(*signal));
            match bench.slowest(row, *signal, &mut random) {
                Ok(s) => {
                    let _ = writeln!(
                        table,
                        "| {} | {} | {} | {} | {} | {:.1} | {:.1} | {:.1} | {:.0} | {:.1} | {} |",
                        row.name,
                        signal_name(*signal),
                        s.shape.name,
                        s.sent,
                        s.size,
                        s.wait_ms,
                        s.baseline_ms,
                        s.same_pipeline_ms,
                        s.cpu_ms,
                        s.peak_mb,
                        s.result
                    );
                }
                Err(e) => {
                    failed += 1;
                    eprintln!("  {e}");
                }
            }
        }
    }
    println!("{table}");
    if failed > 0 { Err(format!("{failed} failed")) } else { Ok(()) }
}
