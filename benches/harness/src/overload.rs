//! Overload: the load offers ten times as much as the backend takes, with `memory_limiter` at 64 MiB.
//!
//! Each cell starts a sink, a collector and a load. The load has 200 connections with 1 or 10 streams each (over
//! HTTP/1.1 a stream is a separate connection). All streams of a connection send at the same time, and a refused one
//! pauses for the time in the response, or for a second. Afterwards the collector is asked to end, and what it accepted
//! is compared with what the sink took and what the collector's log reports as dropped. Each cell ends after half a
//! minute.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::PathAndQuery;
use otelcore::pipeline::{Cx, Event, Extension, Logger, MonotonicTime, NoopLogSink, PeerAddr, StartError, Stream};
use otelcore_http::h1::client::{H1ClientConn, H1ClientConnConfig, OutgoingRequest};
use otelcore_net::{GrpcChannel, UnaryRequest};

use crate::measure::{cpu_seconds, pin_to_core, raise_descriptor_limit, status_megabytes};
use crate::programs::{Launch, Program};
use crate::rows::{BenchOptions, OtlpProtocol};
use crate::{component_loop, grpc_load, run, telemetry};

const CONNECTIONS: u64 = 200;
/// Spans of a request.
const ITEMS: u32 = 100;
/// Spans per second that the limited backend takes.
const BACKEND_RATE: u64 = 20_000;
/// The offered load, as a multiple of that rate.
const OVERLOAD_FACTOR: u64 = 10;
/// The time limit for a collector to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(12);

/// The backend of the collector.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BackendBehavior {
    /// As fast as it can; the load sends its next request after each response.
    Unlimited,
    Healthy,
    /// A tenth of the healthy backend's rate.
    Slow,
    /// No process listens.
    Dead,
    /// Takes connections and requests, and never responds.
    Hanging,
}

impl BackendBehavior {
    fn name(self) -> &'static str {
        match self {
            Self::Unlimited => "unlimited",
            Self::Healthy => "healthy",
            Self::Slow => "slow",
            Self::Dead => "dead",
            Self::Hanging => "hanging",
        }
    }

    fn sink_rate_args(self) -> Option<Vec<String>> {
        match self {
            Self::Unlimited => Some(Vec::new()),
            Self::Healthy => Some(vec![BACKEND_RATE.to_string()]),
            Self::Slow => Some(vec![(BACKEND_RATE / 10).to_string()]),
            Self::Dead => None,
            Self::Hanging => Some(vec!["never".to_owned()]),
        }
    }
}

// ---- the load -------------------------------------------------------------------------------------------------------

/// Outcomes of requests.
#[derive(Default)]
struct RequestCounts {
    sent: u64,
    accepted: u64,
    refused: u64,
    /// Neither accepted nor refused: a lost connection or a timeout.
    failed: u64,
    without_retry_time: u64,
    shortest: Option<Duration>,
    longest: Option<Duration>,
}

impl RequestCounts {
    /// Counts a result, and returns the pause that it requests.
    fn count(&mut self, result: RequestResult) -> Duration {
        match result {
            RequestResult::Accepted => {
                self.accepted += 1;
                return Duration::ZERO;
            }
            RequestResult::Failed => self.failed += 1,
            RequestResult::Refused(retry_after) => {
                self.refused += 1;
                let Some(retry_after) = retry_after else {
                    self.without_retry_time += 1;
                    return Duration::from_secs(1);
                };
                self.shortest = Some(self.shortest.map_or(retry_after, |least| least.min(retry_after)));
                self.longest = Some(self.longest.map_or(retry_after, |most| most.max(retry_after)));
                return retry_after;
            }
        }
        Duration::from_secs(1)
    }
}

enum RequestResult {
    Accepted,
    Refused(Option<Duration>),
    Failed,
}

enum LoadConnection {
    Grpc(Box<GrpcChannel>),
    Http(Option<Box<H1ClientConn<Box<dyn Stream>>>>),
}

/// The event keys of one connection: its look-up and its sockets.
const KEYS_PER_CONNECTION: u64 = 16;
const TIMER: u64 = u64::MAX;

struct OverloadClient {
    connections: Vec<LoadConnection>,
    streams: u64,
    address: SocketAddr,
    host: String,
    path: PathAndQuery,
    body: Bytes,
    config: Rc<H1ClientConnConfig>,
    interval: Duration,
    until: MonotonicTime,
    /// Streams, as the index of a connection and of a stream in it, and the time when each sends next.
    scheduled: BTreeSet<(MonotonicTime, u64, u64)>,
    in_flight: u64,
    counts: Rc<RefCell<RequestCounts>>,
}

impl OverloadClient {
    fn send(&mut self, cx: &mut Cx<'_>, connection_index: u64, stream: u64) {
        let now = cx.now();
        let Some(connection) = self.connections.get_mut(connection_index as usize) else { return };
        let sent = match connection {
            LoadConnection::Grpc(channel) => {
                let message = std::iter::once(self.body.clone()).collect();
                let by = now + Duration::from_secs(10);
                channel.start_call(
                    cx,
                    stream,
                    UnaryRequest { path: self.path.clone(), message, deadline: by, metadata: None },
                );
                true
            }
            LoadConnection::Http(conn_slot) => {
                if conn_slot.as_ref().is_none_or(|conn| !conn.can_start()) {
                    let stream = cx.connect(connection_index * KEYS_PER_CONNECTION, &PeerAddr::Ip(self.address));
                    *conn_slot = stream.ok().map(|s| Box::new(H1ClientConn::new(s, self.config.clone(), now.0)));
                }
                let headers = [("Host", self.host.as_str()), ("Content-Type", "application/x-protobuf")];
                let deadline = Some((now + Duration::from_secs(10)).0);
                let body = [self.body.clone()];
                let request = OutgoingRequest { method: "POST", target: "/v1/traces", headers, body, deadline };
                conn_slot.as_mut().is_some_and(|conn| conn.start(now.0, request).is_ok())
            }
        };
        if sent {
            self.in_flight += 1;
            self.counts.borrow_mut().sent += 1;
            self.turn(cx, connection_index);
        } else {
            self.schedule_next(cx, connection_index, stream, Duration::from_secs(1));
        }
    }

    fn schedule_next(&mut self, cx: &mut Cx<'_>, connection_index: u64, stream: u64, pause: Duration) {
        let at = cx.now() + pause.max(self.interval);
        if at < self.until {
            self.scheduled.insert((at, connection_index, stream));
        }
    }

    /// Runs a turn of a connection, and counts the results on it.
    fn turn(&mut self, cx: &mut Cx<'_>, connection_index: u64) {
        let mut results = Vec::new();
        match self.connections.get_mut(connection_index as usize) {
            Some(LoadConnection::Grpc(channel)) => {
                while let Some((stream, result)) = channel.poll_result() {
                    use otelcore_http::Code::{ResourceExhausted, Unavailable};
                    let result = match result {
                        Ok(_) => RequestResult::Accepted,
                        Err(status) if matches!(status.code, ResourceExhausted | Unavailable) => {
                            RequestResult::Refused(status.retry_after)
                        }
                        Err(_) => RequestResult::Failed,
                    };
                    results.push((stream, result));
                }
            }
            Some(LoadConnection::Http(conn_slot)) => {
                let Some(conn) = conn_slot else { return };
                let turn = conn.poll(cx.now().0);
                while let Some(done) = conn.poll_response() {
                    let result = match done {
                        Ok(reply) if reply.status == 200 => RequestResult::Accepted,
                        Ok(reply) if matches!(reply.status, 429 | 503) => {
                            let seconds = reply.head.get("retry-after").and_then(|text| std::str::from_utf8(text).ok());
                            RequestResult::Refused(seconds.and_then(|s| s.trim().parse().ok()).map(Duration::from_secs))
                        }
                        _ => RequestResult::Failed,
                    };
                    results.push((0, result));
                }
                if turn.closed {
                    *conn_slot = None;
                } else if turn.poll_again {
                    cx.request_ready(connection_index * KEYS_PER_CONNECTION);
                }
            }
            None => {}
        }
        for (stream, result) in results {
            self.in_flight -= 1;
            let pause = self.counts.borrow_mut().count(result);
            self.schedule_next(cx, connection_index, stream, pause);
        }
    }

    fn send_due_requests(&mut self, cx: &mut Cx<'_>) {
        // Bounded, so that responses are read between requests.
        for _ in 0..64 {
            let Some(first) = self.scheduled.first().filter(|(at, ..)| *at <= cx.now()).copied() else { break };
            self.scheduled.remove(&first);
            self.send(cx, first.1, first.2);
        }
        if let Some((at, ..)) = self.scheduled.first() {
            cx.set_timer(TIMER, *at);
        }
    }
}

impl Extension for OverloadClient {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let count = self.connections.len() as u64;
        for connection_index in 0..count {
            if let Some(LoadConnection::Grpc(channel)) = self.connections.get_mut(connection_index as usize) {
                channel.start(cx)?;
            }
            // Connections start over a second or the interval, so that they do not all begin at the same time.
            let spread = self.interval.max(Duration::from_millis(500));
            let at = cx.now() + spread.mul_f64(connection_index as f64 / count as f64);
            self.scheduled.extend((0..self.streams).map(|stream| (at, connection_index, stream)));
        }
        self.send_due_requests(cx);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        if local != TIMER {
            let connection_index = local / KEYS_PER_CONNECTION;
            if let Some(LoadConnection::Grpc(channel)) = self.connections.get_mut(connection_index as usize) {
                channel.handle_event(cx, local, &event);
            }
            self.turn(cx, connection_index);
        }
        self.send_due_requests(cx);
    }
}

/// `overload-client grpc|http ENDPOINT STREAMS INTERVAL_MICROS MILLIS`: prints requests sent, accepted, refused and
/// failed, refusals without a retry time, and the shortest and longest retry time in milliseconds.
pub(crate) fn run_client(args: &[String]) -> Result<(), String> {
    let [protocol, endpoint, streams, interval, millis] = args else {
        return Err("overload-client: five arguments".to_owned());
    };
    let number = |text: &String| text.parse::<u64>().map_err(|e| format!("{text}: {e}"));
    pin_to_core(1);
    raise_descriptor_limit();
    let (streams, run) = (number(streams)?, Duration::from_millis(number(millis)?));
    let log = Logger::new(Arc::new(NoopLogSink));
    let connections = if protocol == "grpc" {
        let client = grpc_load::client_config(endpoint, "none")?;
        let channel = |at| {
            LoadConnection::Grpc(Box::new(GrpcChannel::new(
                client.clone(),
                None,
                log.clone(),
                at * KEYS_PER_CONNECTION,
            )))
        };
        (0..CONNECTIONS).map(channel).collect()
    } else {
        (0..CONNECTIONS * streams).map(|_| LoadConnection::Http(None)).collect()
    };
    let counts = Rc::new(RefCell::new(RequestCounts::default()));
    let client = OverloadClient {
        connections,
        streams: if protocol == "grpc" { streams } else { 1 },
        address: endpoint.parse().map_err(|e| format!("{endpoint}: {e}"))?,
        host: endpoint.clone(),
        path: grpc_load::export_path("traces"),
        body: telemetry::traces(ITEMS, 0).into(),
        config: Rc::new(H1ClientConnConfig::default()),
        interval: Duration::from_micros(number(interval)?),
        until: MonotonicTime(0),
        scheduled: BTreeSet::new(),
        in_flight: 0,
        counts: counts.clone(),
    };
    let start = Instant::now();
    component_loop::run(Box::new(TimeLimitedClient(client, run)), || {
        let counts = counts.borrow();
        let open = counts.sent - counts.accepted - counts.refused - counts.failed;
        start.elapsed() > run && (open == 0 || start.elapsed() > run + Duration::from_secs(5))
    })?;
    let counts = counts.borrow();
    let ms = |time: Option<Duration>| time.map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0);
    println!(
        "{} {} {} {} {} {} {}",
        counts.sent,
        counts.accepted,
        counts.refused,
        counts.failed,
        counts.without_retry_time,
        ms(counts.shortest),
        ms(counts.longest)
    );
    Ok(())
}

/// An `OverloadClient` that begins nothing after a given time, and checks the time every 50 ms.
struct TimeLimitedClient(OverloadClient, Duration);

impl Extension for TimeLimitedClient {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.0.until = cx.now() + self.1;
        self.0.start(cx)
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        self.0.handle_event(cx, local, event);
        if local == TIMER {
            cx.set_timer(TIMER, cx.now() + Duration::from_millis(50));
        }
    }
}

// ---- cells ----------------------------------------------------------------------------------------------------------

fn yaml(options: &BenchOptions, otlp_protocol: OtlpProtocol) -> String {
    let (protocol, port, sink) = (otlp_protocol.name(), options.ports.otlp, options.ports.sink);
    let (name, endpoint) = match otlp_protocol {
        OtlpProtocol::Grpc => ("otlp_grpc", format!("127.0.0.1:{sink}")),
        OtlpProtocol::Http => ("otlp_http", format!("http://127.0.0.1:{sink}")),
    };
    format!(
        "receivers: {{otlp: {{protocols: {{{protocol}: {{endpoint: \"127.0.0.1:{port}\"}}}}}}}}\nprocessors: {{memory_limiter: \
         {{check_interval: 100ms, limit_mib: 64}}}}\nexporters:\n  {name}: {{endpoint: \"{endpoint}\", tls: {{insecure: \
         true}}, compression: none}}\nservice:\n  telemetry: {{metrics: {{level: none}}, logs: {{level: error, sampling: {{enabled: false}}}}}}\n  pipelines: \
         {{traces: {{receivers: [otlp], processors: [memory_limiter], exporters: [{name}]}}}}\n"
    )
}

struct CellResult {
    peak_mb: f64,
    cpu_s: f64,
    /// Spans per second that were accepted, and spans per second that the sink took.
    accepted: f64,
    delivered: f64,
    refused: u64,
    failed: u64,
    retry: String,
    /// Accepted, neither delivered nor reported as dropped.
    missing: i64,
}

/// Items that a log reports as dropped or left undelivered.
fn reported_items(log: &str) -> u64 {
    let number = |line: &str| {
        let rest = ["\"dropped_items\": ", "\"items\": "].iter().find_map(|key| line.split_once(key))?.1;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
    };
    log.lines().filter_map(number).sum()
}

fn run_cell(
    options: &BenchOptions,
    dir: &Path,
    program: &Program,
    cell: (OtlpProtocol, BackendBehavior, u64),
) -> Result<CellResult, String> {
    let (protocol, backend, streams) = cell;
    let report = dir.join("sink");
    let _ = std::fs::remove_file(&report);
    let rate_args = backend.sink_rate_args();
    let _sink = rate_args.map(|pace| run::start_sink(protocol, options.ports.sink, &report, &pace)).transpose()?;
    let mut collector = run::start_collector(&program.launch, options, dir)?;
    sleep(Duration::from_millis(300));
    let pid = collector.0.id();
    let before = cpu_seconds(pid)?;
    let run = Duration::from_secs(if options.quick { 1 } else { 8 });
    let interval = match backend {
        BackendBehavior::Unlimited => 0,
        _ => 1_000_000 * u64::from(ITEMS) * CONNECTIONS * streams / (BACKEND_RATE * OVERLOAD_FACTOR),
    };
    let endpoint = format!("127.0.0.1:{}", options.ports.otlp);
    let mut client = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
    client.args(["overload-client", protocol.name(), &endpoint, &streams.to_string(), &interval.to_string()]);
    let output = client.arg(run.as_millis().to_string()).output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let figures: Vec<f64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let [_, accepted, refused, failed, without, shortest, longest] = figures[..] else {
        return Err(format!("overload-client: {text} {}", String::from_utf8_lossy(&output.stderr).trim()));
    };
    let accepted = accepted * f64::from(ITEMS);
    let delivered_spans = || run::reported_counts(&report).0;
    let delivered = delivered_spans();
    let (peak_mb, cpu_s) = (status_megabytes(pid, "VmHWM")?, cpu_seconds(pid)? - before);
    // Queued data is delivered for a while, then the collector is asked to end.
    sleep(Duration::from_secs(if options.quick { 0 } else { 2 }));
    let killed = stop(&mut collector);
    sleep(Duration::from_millis(100));
    let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
    let retry = match (refused, without) {
        (0.0, _) => String::new(),
        (all, none) if all == none => "none given".to_owned(),
        (_, none) => format!("{shortest:.0} to {longest:.0} ms{}", if none > 0.0 { ", some none" } else { "" }),
    };
    if killed {
        eprintln!("  {} did not end within {} s", program.name, STOP_TIMEOUT.as_secs());
    }
    let seconds = run.as_secs_f64();
    Ok(CellResult {
        peak_mb,
        cpu_s,
        accepted: accepted / seconds,
        delivered: delivered as f64 / seconds,
        refused: refused as u64,
        failed: failed as u64,
        retry,
        missing: accepted as i64 - delivered_spans() as i64 - reported_items(&log) as i64,
    })
}

/// Asks a process to end; returns true if it had to be killed.
fn stop(running: &mut run::RunningProcess) -> bool {
    let Ok(pid) = libc::pid_t::try_from(running.0.id()) else { return true };
    // SAFETY: the call takes two numbers; the process is our child and has not been waited for yet.
    unsafe {
        libc::kill(pid, libc::SIGTERM);
    }
    let deadline = Instant::now() + STOP_TIMEOUT;
    while Instant::now() < deadline {
        if let Ok(Some(_)) = running.0.try_wait() {
            return false;
        }
        sleep(Duration::from_millis(20));
    }
    let _ = running.0.kill();
    let _ = running.0.wait();
    true
}

/// `--overload [--quick] [--own] [--only PROGRAM|CELL] [--port N]`: one line for each cell and program.
pub(crate) fn main(options: &BenchOptions, dir: &Path) -> Result<(), String> {
    let mut table = String::from(
        "| cell | program | peak MB | accepted spans/s | delivered spans/s | refused requests | retry times | failed | unaccounted spans | CPU s |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let mut problems = 0;
    for protocol in [OtlpProtocol::Grpc, OtlpProtocol::Http] {
        for backend in [
            BackendBehavior::Unlimited,
            BackendBehavior::Healthy,
            BackendBehavior::Slow,
            BackendBehavior::Dead,
            BackendBehavior::Hanging,
        ] {
            for streams in [1, 10] {
                let name = format!("{}-{}-{streams}", protocol.name(), backend.name());
                let config = yaml(options, protocol);
                for program in [
                    Program { name: "otelcore", launch: Launch::Ours(config.clone()), is_lower_bound: false },
                    Program { name: "Go 0.155", launch: Launch::Go("0.155", config.clone()), is_lower_bound: false },
                ] {
                    if !options.is_selected(&name, program.name) {
                        continue;
                    }
                    if let Some(binary) = program.launch.missing(options.own) {
                        eprintln!("  {} is missing: {}{}", program.name, binary.display(), program.launch.hint());
                        continue;
                    }
                    eprintln!("{name} {}", program.name);
                    match run_cell(options, dir, &program, (protocol, backend, streams)) {
                        Ok(s) => {
                            let _ = writeln!(
                                table,
                                "| {name} | {} | {:.1} | {:.0} | {:.0} | {} | {} | {} | {} | {:.2} |",
                                program.name,
                                s.peak_mb,
                                s.accepted,
                                s.delivered,
                                s.refused,
                                s.retry,
                                s.failed,
                                s.missing,
                                s.cpu_s
                            );
                        }
                        Err(e) => {
                            problems += 1;
                            eprintln!("  {e}");
                        }
                    }
                }
            }
        }
    }
    println!("{table}");
    if problems > 0 { Err(format!("{problems} failed")) } else { Ok(()) }
}
