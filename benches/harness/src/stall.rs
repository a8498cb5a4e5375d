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
use otelcore::pipeline::{Cx, Event, Extension, Logger, Mono, NoLog, StartError};
use otelcore_http::{Coding, Workspace};
use otelcore_net::{Channel, NewCall};

use crate::measure::{cpu, pin, status};
use crate::play::{Running, listens, sink, tail};
use crate::rows::{How, Wire};
use crate::worst::{Random, Shape, shapes};
use crate::{host, load};

/// The time limit of a case, whatever the collector does.
const LIMIT: Duration = Duration::from_secs(60);
/// A wait in milliseconds that ends a row's search: a longer one would not fit the time of a bench.
const ENOUGH: f64 = 5000.0;

/// How the request is sent: over gRPC or HTTP, in a coding, as JSON.
#[derive(Clone, Copy)]
struct Way {
    wire: Wire,
    coding: &'static str,
    json: bool,
}

struct Row {
    name: &'static str,
    way: Way,
    signals: &'static [Signal],
    auth: bool,
    processors: &'static str,
    exporter: &'static str,
    /// After the request, the exporter's page or the collector's own is read.
    page: Option<Page>,
}

#[derive(Clone, Copy)]
enum Page {
    Exporter,
    Own,
}

const GRPC: Way = Way { wire: Wire::Grpc, coding: "none", json: false };
const HTTP: Way = Way { wire: Wire::Http, coding: "none", json: false };
const TRACES: &[Signal] = &[Signal::Traces];
const METRICS: &[Signal] = &[Signal::Metrics];
const PLAIN: Row =
    Row { name: "", way: HTTP, signals: TRACES, auth: false, processors: "", exporter: "nop: {}", page: None };
const TO_GRPC: &str = "otlp_grpc: {endpoint: \"127.0.0.1:SINK\", tls: {insecure: true}, compression: none}";
const TO_HTTP: &str = "otlp_http: {endpoint: \"http://127.0.0.1:WEB\", compression: none}";
const TO_JAEGER: &str = "jaeger: {endpoint: \"127.0.0.1:SINK\", tls: {insecure: true}}";

fn rows() -> Vec<Row> {
    let way = |name, way| Row { name, way, ..PLAIN };
    let to = |name, signals, exporter| Row { name, signals, exporter, ..PLAIN };
    let through = |name, signals, processors| Row { name, signals, processors, ..PLAIN };
    let coded = |wire, coding| Way { wire, coding, json: false };
    let sized = "batch: {send_batch_size: 100, send_batch_max_size: 100, timeout: 100ms}";
    vec![
        Row { signals: &Signal::ALL, ..way("otlp-grpc", GRPC) },
        way("otlp-grpc-gzip", coded(Wire::Grpc, "gzip")),
        way("otlp-grpc-zstd", coded(Wire::Grpc, "zstd")),
        way("otlp-grpc-snappy", coded(Wire::Grpc, "snappy")),
        Row { signals: &Signal::ALL, ..way("otlp-http", HTTP) },
        way("otlp-http-gzip", coded(Wire::Http, "gzip")),
        way("otlp-http-zstd", coded(Wire::Http, "zstd")),
        way("otlp-http-snappy", coded(Wire::Http, "snappy")),
        Row { signals: &Signal::ALL, ..way("otlp-http-json", Way { json: true, ..HTTP }) },
        way("otlp-http-json-gzip", Way { wire: Wire::Http, coding: "gzip", json: true }),
        Row { name: "basicauth", auth: true, ..PLAIN },
        through("memory-limiter", TRACES, "memory_limiter: {check_interval: 1s, limit_mib: 500}"),
        through("batch", TRACES, "batch: {timeout: 100ms}"),
        through("batch-100", &Signal::ALL, sized),
        Row { exporter: TO_GRPC, ..through("batch-100-otlp-grpc", TRACES, sized) },
        to("jaeger", TRACES, TO_JAEGER),
        Row { exporter: TO_JAEGER, ..through("batch-100-jaeger", TRACES, sized) },
        to("to-otlp-grpc", TRACES, TO_GRPC),
        to(
            "to-otlp-grpc-gzip",
            TRACES,
            "otlp_grpc: {endpoint: \"127.0.0.1:SINK\", tls: {insecure: true}, compression: gzip}",
        ),
        to(
            "to-otlp-grpc-sized",
            TRACES,
            "otlp_grpc: {endpoint: \"127.0.0.1:SINK\", tls: {insecure: true}, compression: none, sending_queue: {batch: {min_size: 100, max_size: 100, flush_timeout: 100ms}}}",
        ),
        to("to-otlp-http", TRACES, TO_HTTP),
        to("to-otlp-http-zstd", TRACES, "otlp_http: {endpoint: \"http://127.0.0.1:WEB\", compression: zstd}"),
        to(
            "to-otlp-http-json",
            &Signal::ALL,
            "otlp_http: {endpoint: \"http://127.0.0.1:WEB\", compression: none, encoding: json}",
        ),
        Row { page: Some(Page::Exporter), ..to("prometheus", METRICS, "prometheus: {endpoint: \"127.0.0.1:PAGE\"}") },
        Row { page: Some(Page::Own), ..through("own-page", TRACES, "batch: {timeout: 100ms}") },
        to("debug", TRACES, "debug: {verbosity: basic}"),
        to("debug-normal", &Signal::ALL, "debug: {verbosity: normal}"),
        to("debug-detailed", &Signal::ALL, "debug: {verbosity: detailed}"),
    ]
}

/// Seven consecutive ports.
#[derive(Clone, Copy)]
struct Ports(u16);

impl Ports {
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

fn plural(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "traces",
        Signal::Metrics => "metrics",
        Signal::Logs => "logs",
    }
}

impl Row {
    fn yaml(&self, ports: Ports, signal: Signal) -> String {
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
        let signal = plural(signal);
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

impl Way {
    /// The largest permitted request of a shape, or one of `least` bytes.
    fn request(self, shape: &Shape, size: Option<usize>) -> Result<Request, String> {
        let most = if self.wire == Wire::Grpc { 4 << 20 } else { 20 << 20 };
        let raw = if self.json { shape.json(size.unwrap_or(most / 2), most) } else { shape.body(size.unwrap_or(most)) };
        if raw.is_empty() {
            return Err(format!("{}: no item fits", shape.name));
        }
        let size = raw.len();
        let kind = if self.json { "application/json" } else { "application/x-protobuf" };
        let mut head = format!("Content-Type: {kind}\r\n");
        let body = if self.wire == Wire::Http && self.coding != "none" {
            let _ = write!(head, "Content-Encoding: {}\r\n", self.coding);
            let coding = Coding::parse(self.coding.as_bytes()).map_err(|e| e.to_string())?;
            Workspace::new().compress(&coding, [&raw[..]])
        } else {
            raw.into()
        };
        Ok(Request { path: format!("/v1/{}", plural(shape.signal)), head, body, size })
    }
}

/// A connection that sends one request after another over HTTP/1.1 and waits for each answer.
struct Caller {
    port: u16,
    stream: Option<BufReader<TcpStream>>,
}

impl Caller {
    fn new(port: u16) -> Self {
        Self { port, stream: None }
    }

    /// The answer's status, and the length of its body.
    fn call(&mut self, method: &str, path: &str, head: &str, body: &[u8]) -> std::io::Result<(u16, usize)> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(LIMIT))?;
            stream.set_write_timeout(Some(LIMIT))?;
            self.stream = Some(BufReader::new(stream));
        }
        let answer = self.exchange(method, path, head, body);
        if answer.is_err() {
            self.stream = None;
        }
        answer
    }

    fn exchange(&mut self, method: &str, path: &str, head: &str, body: &[u8]) -> std::io::Result<(u16, usize)> {
        let gone = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let reader = self.stream.as_mut().ok_or_else(gone)?;
        let length = body.len();
        let auth = "Authorization: Basic dXNlcjpwYXNz\r\n";
        let head = format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{auth}{head}Content-Length: {length}\r\n\r\n");
        let stream = reader.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(gone)?;
        let (mut length, mut chunked, mut close) = (0, false, false);
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let field = line.trim().to_ascii_lowercase();
            match field.split_once(':') {
                None if field.is_empty() => break,
                Some(("content-length", value)) => length = value.trim().parse().map_err(|_| gone())?,
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
                size = u64::from_str_radix(line.trim(), 16).map_err(|_| gone())?;
            }
            let copied = std::io::copy(&mut reader.take(size), &mut std::io::sink())?;
            read += copied as usize;
            if copied < size {
                return Err(gone());
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
struct Single {
    channel: Channel,
    path: http::uri::PathAndQuery,
    body: Bytes,
    answer: Rc<std::cell::RefCell<Option<String>>>,
}

impl Extension for Single {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.channel.start(cx)?;
        let message = std::iter::once(self.body.clone()).collect();
        self.channel.call(cx, 0, NewCall { path: self.path.clone(), message, by: Mono::NEVER });
        Ok(())
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        self.channel.event(cx, local, &event);
        while let Some((_, result)) = self.channel.poll_done() {
            *self.answer.borrow_mut() = Some(result.map_or_else(|s| s.code.name().to_owned(), |_| "OK".to_owned()));
        }
    }
}

fn call_grpc(port: u16, coding: &str, signal: Signal, body: Bytes) -> Result<String, String> {
    let client = load::client(&format!("127.0.0.1:{port}"), coding)?;
    let answer = Rc::new(std::cell::RefCell::new(None));
    let single = Single {
        channel: Channel::new(client, None, Logger::new(Arc::new(NoLog)), 0),
        path: load::method(plural(signal)),
        body,
        answer: answer.clone(),
    };
    let until = Instant::now() + LIMIT;
    host::run(Box::new(single), || answer.borrow().is_some() || Instant::now() > until)?;
    Ok(answer.take().unwrap_or_else(|| "no answer".to_owned()))
}

/// The result of one case.
#[derive(Clone)]
struct Score {
    shape: Shape,
    sent: usize,
    size: usize,
    answer: String,
    cpu_ms: f64,
    /// The longest wait of a small request to another pipeline: the longest time for which the loop was busy.
    wait_ms: f64,
    /// The longest such wait before the large request.
    quiet_ms: f64,
    /// The longest wait of a small request to the same pipeline.
    behind_ms: f64,
    peak_mb: f64,
}

struct Bench<'a> {
    how: &'a How,
    ports: Ports,
    dir: &'a Path,
}

impl Bench<'_> {
    fn collector(&self, row: &Row, signal: Signal) -> Result<Running, String> {
        let path = self.dir.join("config.yaml");
        std::fs::write(&path, row.yaml(self.ports, signal)).map_err(|e| e.to_string())?;
        let log = std::fs::File::create(self.dir.join("log")).map_err(|e| e.to_string())?;
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).arg(crate::players::ours(self.how.own));
        if self.how.own {
            command.arg("collector");
        }
        command.arg(format!("--config={}", path.display())).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut running = Running(command.spawn().map_err(|e| e.to_string())?);
        listens(&mut running, self.ports.http()).map_err(|e| format!("{e}: {}", tail(self.dir)))?;
        Ok(running)
    }

    /// Sends one request of a shape to a new collector.
    fn case(&self, row: &Row, shape: &Shape) -> Result<Score, String> {
        let size = self.how.quick.then_some(64 << 10);
        let request = row.way.request(shape, size)?;
        let small = HTTP.request(&Shape { items: 1, scopes: 1, ..shapes(shape.signal)[0] }, Some(200))?;
        let collector = self.collector(row, shape.signal)?;
        let pid = collector.0.id();
        let (stop, mark) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let small = Arc::new(small);
        let probers = [self.ports.other(), self.ports.http()].map(|port| {
            let (stop, mark, small) = (stop.clone(), mark.clone(), small.clone());
            std::thread::spawn(move || probe(port, &small, &stop, &mark))
        });
        sleep(Duration::from_millis(if self.how.quick { 50 } else { 300 }));
        let before = cpu(pid)?;
        let began = Instant::now();
        mark.store(true, Ordering::Release);
        let (sent, size) = (request.body.len(), request.size);
        let answer = match row.way.wire {
            Wire::Grpc => call_grpc(self.ports.grpc(), row.way.coding, shape.signal, request.body)?,
            Wire::Http => {
                let mut caller = Caller::new(self.ports.http());
                let answer = caller.call("POST", &request.path, &request.head, &request.body);
                answer.map_or_else(|e| e.kind().to_string(), |(status, _)| status.to_string())
            }
        };
        rest(pid, began)?;
        let answer = match row.page {
            None => answer,
            Some(page) => {
                let port = if matches!(page, Page::Exporter) { self.ports.page() } else { self.ports.own() };
                let read = Caller::new(port).call("GET", "/metrics", "", b"");
                let read =
                    read.map_or_else(|e| e.kind().to_string(), |(status, length)| format!("{status}, {length} bytes"));
                rest(pid, began)?;
                format!("{answer}; page {read}")
            }
        };
        stop.store(true, Ordering::Release);
        let peak_mb = status(pid, "VmHWM")?;
        let total = cpu(pid)? - before;
        // A collector that is still busy answers no request: the probers end when its process ends.
        drop(collector);
        let [other, same] = probers.map(|prober| prober.join().map_err(|_| "a prober failed"));
        let ((quiet, wait), (_, behind)) = (other?, same?);
        let ms = |d: Duration| d.as_secs_f64() * 1000.0;
        let (cpu_ms, wait_ms, quiet_ms, behind_ms) = (total * 1000.0, ms(wait), ms(quiet), ms(behind));
        Ok(Score { shape: *shape, sent, size, answer, cpu_ms, wait_ms, quiet_ms, behind_ms, peak_mb })
    }

    /// The slowest of all shapes of a signal and of those that a search from there finds.
    fn slowest(&self, row: &Row, signal: Signal, random: &mut Random) -> Result<Score, String> {
        let mut all = shapes(signal);
        if self.how.quick {
            all.truncate(2);
        }
        let mut best: Option<Score> = None;
        let tried = |best: &mut Option<Score>, shape: &Shape| -> Result<bool, String> {
            let score = self.case(row, shape)?;
            let Score { wait_ms, behind_ms, cpu_ms, answer, .. } = &score;
            let name = shape.name;
            eprintln!("  {name:<26} {wait_ms:>9.1} ms wait {behind_ms:>9.1} ms behind {cpu_ms:>9.1} ms CPU  {answer}");
            if best.as_ref().is_none_or(|best| score.wait_ms > best.wait_ms) {
                *best = Some(score);
            }
            Ok(best.as_ref().is_some_and(|best| best.wait_ms > ENOUGH))
        };
        for shape in &all {
            if tried(&mut best, shape)? {
                break;
            }
        }
        for _ in 0..if self.how.quick { 1 } else { 12 } {
            let Some(slowest) = best.as_ref().filter(|best| best.wait_ms <= ENOUGH) else { break };
            let next = slowest.shape.changed(random).changed(random);
            if !next.body(64 << 10).is_empty() {
                tried(&mut best, &next)?;
            }
        }
        best.ok_or_else(|| "no shape".to_owned())
    }
}

/// Waits until a process has used, for a while, no more CPU time than the small requests need, or until the case's time
/// limit.
fn rest(pid: u32, began: Instant) -> Result<(), String> {
    let pause = Duration::from_millis(200);
    while began.elapsed() < LIMIT {
        let before = cpu(pid)?;
        sleep(pause);
        if cpu(pid)? - before < pause.as_secs_f64() * 0.3 {
            break;
        }
    }
    Ok(())
}

/// Sends small requests one after another, every two milliseconds; returns the longest wait before and after the mark.
fn probe(port: u16, small: &Request, stop: &AtomicBool, mark: &AtomicBool) -> (Duration, Duration) {
    pin(1);
    crate::measure::hurry();
    let mut caller = Caller::new(port);
    let (mut quiet, mut wait) = (Duration::ZERO, Duration::ZERO);
    while !stop.load(Ordering::Acquire) {
        let began = Instant::now();
        let answered = caller.call("POST", &small.path, &small.head, &small.body).is_ok();
        let took = began.elapsed();
        let longest = if mark.load(Ordering::Acquire) { &mut wait } else { &mut quiet };
        // A request that fails because the process was ended is not counted; one that fails before that is.
        if answered || !stop.load(Ordering::Acquire) {
            *longest = (*longest).max(took);
        }
        sleep(Duration::from_millis(2));
    }
    (quiet, wait)
}

/// `--stall [--quick] [--own] [--only ROW] [--port N]`: one line for each row and signal, the slowest of its shapes.
pub(crate) fn main(how: &How, dir: &Path) -> Result<(), String> {
    let bench = Bench { how, ports: Ports(how.ports.otlp), dir };
    let binary = crate::players::ours(how.own);
    if !binary.is_file() {
        return Err(format!("{} is missing; run scripts/image DIR", binary.display()));
    }
    let sinks = [(Wire::Grpc, bench.ports.sink()), (Wire::Http, bench.ports.web())];
    let [grpc, http] = sinks.map(|(wire, port)| sink(wire, port, &dir.join(format!("sink-{port}")), &[]));
    let (_grpc, _http) = (grpc?, http?);
    let mut table = String::from(
        "| row | signal | slowest shape | bytes sent | decoded | longest wait ms | without it | same pipeline | CPU ms | peak MB | answer |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let mut failed = 0;
    let mut random = Random(1);
    for row in rows().iter().filter(|row| how.wants(row.name, "otelcore")) {
        for signal in row.signals {
            eprintln!("{} {}", row.name, plural(*signal));
            match bench.slowest(row, *signal, &mut random) {
                Ok(s) => {
                    let _ = writeln!(
                        table,
                        "| {} | {} | {} | {} | {} | {:.1} | {:.1} | {:.1} | {:.0} | {:.1} | {} |",
                        row.name,
                        plural(*signal),
                        s.shape.name,
                        s.sent,
                        s.size,
                        s.wait_ms,
                        s.quiet_ms,
                        s.behind_ms,
                        s.cpu_ms,
                        s.peak_mb,
                        s.answer
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
