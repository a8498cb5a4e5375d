//! Overload: the load offers ten times as much as the backend takes, with `memory_limiter` at 64 MiB.
//!
//! Each cell starts a sink, a collector and a load. The load has 200 connections with 1 or 10 streams each (over
//! HTTP/1.1 a stream is a separate connection). All streams of a connection send at the same time, and a refused one
//! pauses for the time in the answer, or for a second. Afterwards the collector is asked to end, and what it accepted
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
use otelcore::pipeline::{Cx, Event, Extension, Logger, Mono, NoLog, PeerAddr, StartError, Stream};
use otelcore_http::h1::client::{ClientConfig, ClientConn, Outgoing};
use otelcore_net::{Channel, NewCall};

use crate::measure::{cpu, many_descriptors, pin, status};
use crate::players::{Player, Runs};
use crate::rows::{How, Wire};
use crate::{host, load, play, telemetry};

const CONNECTIONS: u64 = 200;
/// Spans of a request.
const ITEMS: u32 = 100;
/// Spans per second that the limited backend takes.
const RATE: u64 = 20_000;
/// The offered load, as a multiple of that rate.
const TIMES: u64 = 10;
/// The time limit for a collector to end.
const PATIENCE: Duration = Duration::from_secs(12);

/// The backend of the collector.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Backend {
    /// As fast as it can; the load sends its next request after each answer.
    Unlimited,
    Healthy,
    /// A tenth of the healthy backend's rate.
    Slow,
    /// No process listens.
    Dead,
    /// Takes connections and requests, and never answers.
    Hanging,
}

impl Backend {
    fn name(self) -> &'static str {
        match self {
            Self::Unlimited => "unlimited",
            Self::Healthy => "healthy",
            Self::Slow => "slow",
            Self::Dead => "dead",
            Self::Hanging => "hanging",
        }
    }

    fn pace(self) -> Option<Vec<String>> {
        match self {
            Self::Unlimited => Some(Vec::new()),
            Self::Healthy => Some(vec![RATE.to_string()]),
            Self::Slow => Some(vec![(RATE / 10).to_string()]),
            Self::Dead => None,
            Self::Hanging => Some(vec!["never".to_owned()]),
        }
    }
}

// ---- the load -------------------------------------------------------------------------------------------------------

/// Outcomes of requests.
#[derive(Default)]
struct Tally {
    sent: u64,
    accepted: u64,
    refused: u64,
    /// Neither accepted nor refused: a lost connection or a timeout.
    failed: u64,
    without_time: u64,
    shortest: Option<Duration>,
    longest: Option<Duration>,
}

impl Tally {
    /// Counts an answer, and returns the pause that it requests.
    fn count(&mut self, answer: Answer) -> Duration {
        match answer {
            Answer::Accepted => {
                self.accepted += 1;
                return Duration::ZERO;
            }
            Answer::Failed => self.failed += 1,
            Answer::Refused(after) => {
                self.refused += 1;
                let Some(after) = after else {
                    self.without_time += 1;
                    return Duration::from_secs(1);
                };
                self.shortest = Some(self.shortest.map_or(after, |least| least.min(after)));
                self.longest = Some(self.longest.map_or(after, |most| most.max(after)));
                return after;
            }
        }
        Duration::from_secs(1)
    }
}

enum Answer {
    Accepted,
    Refused(Option<Duration>),
    Failed,
}

enum Link {
    Grpc(Box<Channel>),
    Http(Option<Box<ClientConn<Box<dyn Stream>>>>),
}

/// The event keys of one connection: its look-up and its sockets.
const KEYS: u64 = 16;
const TIMER: u64 = u64::MAX;

struct Crowd {
    links: Vec<Link>,
    streams: u64,
    to: SocketAddr,
    host: String,
    path: PathAndQuery,
    body: Bytes,
    config: Rc<ClientConfig>,
    interval: Duration,
    until: Mono,
    /// Streams, as the index of a connection and of a stream in it, and the time when each sends next.
    next: BTreeSet<(Mono, u64, u64)>,
    in_flight: u64,
    tally: Rc<RefCell<Tally>>,
}

impl Crowd {
    fn send(&mut self, cx: &mut Cx<'_>, link: u64, stream: u64) {
        let now = cx.now();
        let Some(found) = self.links.get_mut(link as usize) else { return };
        let sent = match found {
            Link::Grpc(channel) => {
                let message = std::iter::once(self.body.clone()).collect();
                let by = now + Duration::from_secs(10);
                channel.call(cx, stream, NewCall { path: self.path.clone(), message, by });
                true
            }
            Link::Http(place) => {
                if place.as_ref().is_none_or(|conn| !conn.can_start()) {
                    let stream = cx.connect(link * KEYS, &PeerAddr::Ip(self.to));
                    *place = stream.ok().map(|s| Box::new(ClientConn::new(s, self.config.clone(), now.0)));
                }
                let headers = [("Host", self.host.as_str()), ("Content-Type", "application/x-protobuf")];
                let deadline = Some((now + Duration::from_secs(10)).0);
                let body = [self.body.clone()];
                let request = Outgoing { method: "POST", target: "/v1/traces", headers, body, deadline };
                place.as_mut().is_some_and(|conn| conn.start(now.0, request).is_ok())
            }
        };
        if sent {
            self.in_flight += 1;
            self.tally.borrow_mut().sent += 1;
            self.turn(cx, link);
        } else {
            self.again(cx, link, stream, Duration::from_secs(1));
        }
    }

    fn again(&mut self, cx: &mut Cx<'_>, link: u64, stream: u64, pause: Duration) {
        let at = cx.now() + pause.max(self.interval);
        if at < self.until {
            self.next.insert((at, link, stream));
        }
    }

    /// Runs a turn of a connection, and counts the answers on it.
    fn turn(&mut self, cx: &mut Cx<'_>, link: u64) {
        let mut answers = Vec::new();
        match self.links.get_mut(link as usize) {
            Some(Link::Grpc(channel)) => {
                while let Some((stream, result)) = channel.poll_done() {
                    use otelcore_http::Code::{ResourceExhausted, Unavailable};
                    let answer = match result {
                        Ok(_) => Answer::Accepted,
                        Err(status) if matches!(status.code, ResourceExhausted | Unavailable) => {
                            Answer::Refused(status.retry_after)
                        }
                        Err(_) => Answer::Failed,
                    };
                    answers.push((stream, answer));
                }
            }
            Some(Link::Http(place)) => {
                let Some(conn) = place else { return };
                let turn = conn.turn(cx.now().0);
                while let Some(done) = conn.poll_done() {
                    let answer = match done {
                        Ok(reply) if reply.status == 200 => Answer::Accepted,
                        Ok(reply) if matches!(reply.status, 429 | 503) => {
                            let seconds = reply.head.get("retry-after").and_then(|text| std::str::from_utf8(text).ok());
                            Answer::Refused(seconds.and_then(|s| s.trim().parse().ok()).map(Duration::from_secs))
                        }
                        _ => Answer::Failed,
                    };
                    answers.push((0, answer));
                }
                if turn.closed {
                    *place = None;
                } else if turn.again {
                    cx.again(link * KEYS);
                }
            }
            None => {}
        }
        for (stream, answer) in answers {
            self.in_flight -= 1;
            let pause = self.tally.borrow_mut().count(answer);
            self.again(cx, link, stream, pause);
        }
    }

    fn due(&mut self, cx: &mut Cx<'_>) {
        // Bounded, so that answers are read between requests.
        for _ in 0..64 {
            let Some(first) = self.next.first().filter(|(at, ..)| *at <= cx.now()).copied() else { break };
            self.next.remove(&first);
            self.send(cx, first.1, first.2);
        }
        if let Some((at, ..)) = self.next.first() {
            cx.arm(TIMER, *at);
        }
    }
}

impl Extension for Crowd {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let count = self.links.len() as u64;
        for link in 0..count {
            if let Some(Link::Grpc(channel)) = self.links.get_mut(link as usize) {
                channel.start(cx)?;
            }
            // Connections start over a second or the interval, so that they do not all begin at the same time.
            let spread = self.interval.max(Duration::from_millis(500));
            let at = cx.now() + spread.mul_f64(link as f64 / count as f64);
            self.next.extend((0..self.streams).map(|stream| (at, link, stream)));
        }
        self.due(cx);
        Ok(())
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        if local != TIMER {
            let link = local / KEYS;
            if let Some(Link::Grpc(channel)) = self.links.get_mut(link as usize) {
                channel.event(cx, local, &event);
            }
            self.turn(cx, link);
        }
        self.due(cx);
    }
}

/// `crowd grpc|http ENDPOINT STREAMS INTERVAL_MICROS MILLIS`: prints requests sent, accepted, refused and failed, refusals
/// without a retry time, and the shortest and longest retry time in milliseconds.
pub(crate) fn crowd(args: &[String]) -> Result<(), String> {
    let [wire, endpoint, streams, interval, millis] = args else { return Err("crowd: five arguments".to_owned()) };
    let number = |text: &String| text.parse::<u64>().map_err(|e| format!("{text}: {e}"));
    pin(1);
    many_descriptors();
    let (streams, run) = (number(streams)?, Duration::from_millis(number(millis)?));
    let log = Logger::new(Arc::new(NoLog));
    let links = if wire == "grpc" {
        let client = load::client(endpoint, "none")?;
        let channel = |at| Link::Grpc(Box::new(Channel::new(client.clone(), None, log.clone(), at * KEYS)));
        (0..CONNECTIONS).map(channel).collect()
    } else {
        (0..CONNECTIONS * streams).map(|_| Link::Http(None)).collect()
    };
    let tally = Rc::new(RefCell::new(Tally::default()));
    let crowd = Crowd {
        links,
        streams: if wire == "grpc" { streams } else { 1 },
        to: endpoint.parse().map_err(|e| format!("{endpoint}: {e}"))?,
        host: endpoint.clone(),
        path: load::method("traces"),
        body: telemetry::traces(ITEMS, 0).into(),
        config: Rc::new(ClientConfig::default()),
        interval: Duration::from_micros(number(interval)?),
        until: Mono(0),
        next: BTreeSet::new(),
        in_flight: 0,
        tally: tally.clone(),
    };
    let began = Instant::now();
    host::run(Box::new(Limited(crowd, run)), || {
        let tally = tally.borrow();
        let open = tally.sent - tally.accepted - tally.refused - tally.failed;
        began.elapsed() > run && (open == 0 || began.elapsed() > run + Duration::from_secs(5))
    })?;
    let tally = tally.borrow();
    let ms = |time: Option<Duration>| time.map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0);
    println!(
        "{} {} {} {} {} {} {}",
        tally.sent,
        tally.accepted,
        tally.refused,
        tally.failed,
        tally.without_time,
        ms(tally.shortest),
        ms(tally.longest)
    );
    Ok(())
}

/// A `Crowd` that begins nothing after a given time, and checks the time every 50 ms.
struct Limited(Crowd, Duration);

impl Extension for Limited {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.0.until = cx.now() + self.1;
        self.0.start(cx)
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        self.0.event(cx, local, event);
        if local == TIMER {
            cx.arm(TIMER, cx.now() + Duration::from_millis(50));
        }
    }
}

// ---- cells ----------------------------------------------------------------------------------------------------------

fn yaml(how: &How, wire: Wire) -> String {
    let (protocol, port, sink) = (wire.name(), how.ports.otlp, how.ports.sink);
    let (name, endpoint) = match wire {
        Wire::Grpc => ("otlp_grpc", format!("127.0.0.1:{sink}")),
        Wire::Http => ("otlp_http", format!("http://127.0.0.1:{sink}")),
    };
    format!(
        "receivers: {{otlp: {{protocols: {{{protocol}: {{endpoint: \"127.0.0.1:{port}\"}}}}}}}}\nprocessors: {{memory_limiter: \
         {{check_interval: 100ms, limit_mib: 64}}}}\nexporters:\n  {name}: {{endpoint: \"{endpoint}\", tls: {{insecure: \
         true}}, compression: none}}\nservice:\n  telemetry: {{metrics: {{level: none}}, logs: {{level: error, sampling: {{enabled: false}}}}}}\n  pipelines: \
         {{traces: {{receivers: [otlp], processors: [memory_limiter], exporters: [{name}]}}}}\n"
    )
}

struct Score {
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
fn reported(log: &str) -> u64 {
    let number = |line: &str| {
        let rest = ["\"dropped_items\": ", "\"items\": "].iter().find_map(|key| line.split_once(key))?.1;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
    };
    log.lines().filter_map(number).sum()
}

fn cell(how: &How, dir: &Path, player: &Player, cell: (Wire, Backend, u64)) -> Result<Score, String> {
    let (wire, backend, streams) = cell;
    let report = dir.join("sink");
    let _ = std::fs::remove_file(&report);
    let pace = backend.pace();
    let _sink = pace.map(|pace| play::sink(wire, how.ports.sink, &report, &pace)).transpose()?;
    let mut collector = play::start(&player.runs, how, dir)?;
    sleep(Duration::from_millis(300));
    let pid = collector.0.id();
    let before = cpu(pid)?;
    let run = Duration::from_secs(if how.quick { 1 } else { 8 });
    let interval = match backend {
        Backend::Unlimited => 0,
        _ => 1_000_000 * u64::from(ITEMS) * CONNECTIONS * streams / (RATE * TIMES),
    };
    let endpoint = format!("127.0.0.1:{}", how.ports.otlp);
    let mut crowd = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
    crowd.args(["crowd", wire.name(), &endpoint, &streams.to_string(), &interval.to_string()]);
    let output = crowd.arg(run.as_millis().to_string()).output().map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let figures: Vec<f64> = said.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let [_, accepted, refused, failed, without, shortest, longest] = figures[..] else {
        return Err(format!("crowd: {said} {}", String::from_utf8_lossy(&output.stderr).trim()));
    };
    let accepted = accepted * f64::from(ITEMS);
    let taken = || play::counts(&report).0;
    let delivered = taken();
    let (peak_mb, cpu_s) = (status(pid, "VmHWM")?, cpu(pid)? - before);
    // Queued data is delivered for a while, then the collector is asked to end.
    sleep(Duration::from_secs(if how.quick { 0 } else { 2 }));
    let killed = end(&mut collector);
    sleep(Duration::from_millis(100));
    let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
    let retry = match (refused, without) {
        (0.0, _) => String::new(),
        (all, none) if all == none => "none given".to_owned(),
        (_, none) => format!("{shortest:.0} to {longest:.0} ms{}", if none > 0.0 { ", some none" } else { "" }),
    };
    if killed {
        eprintln!("  {} did not end within {} s", player.name, PATIENCE.as_secs());
    }
    let seconds = run.as_secs_f64();
    Ok(Score {
        peak_mb,
        cpu_s,
        accepted: accepted / seconds,
        delivered: delivered as f64 / seconds,
        refused: refused as u64,
        failed: failed as u64,
        retry,
        missing: accepted as i64 - taken() as i64 - reported(&log) as i64,
    })
}

/// Asks a process to end; returns true if it had to be killed.
fn end(running: &mut play::Running) -> bool {
    let Ok(pid) = libc::pid_t::try_from(running.0.id()) else { return true };
    // SAFETY: the call takes two numbers; the process is our child and has not been waited for yet.
    unsafe {
        libc::kill(pid, libc::SIGTERM);
    }
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Ok(Some(_)) = running.0.try_wait() {
            return false;
        }
        sleep(Duration::from_millis(20));
    }
    let _ = running.0.kill();
    let _ = running.0.wait();
    true
}

/// `--overload [--quick] [--own] [--only PLAYER|CELL] [--port N]`: one line for each cell and player.
pub(crate) fn main(how: &How, dir: &Path) -> Result<(), String> {
    let mut table = String::from(
        "| cell | player | peak MB | accepted spans/s | delivered spans/s | refused requests | retry times | failed | unaccounted spans | CPU s |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let mut problems = 0;
    for wire in [Wire::Grpc, Wire::Http] {
        for backend in [Backend::Unlimited, Backend::Healthy, Backend::Slow, Backend::Dead, Backend::Hanging] {
            for streams in [1, 10] {
                let name = format!("{}-{}-{streams}", wire.name(), backend.name());
                let config = yaml(how, wire);
                for player in [
                    Player { name: "otelcore", runs: Runs::Ours(config.clone()), floor: false },
                    Player { name: "Go 0.155", runs: Runs::Go("0.155", config.clone()), floor: false },
                ] {
                    if !how.wants(&name, player.name) {
                        continue;
                    }
                    if let Some(binary) = player.runs.missing(how.own) {
                        eprintln!("  {} is missing: {}{}", player.name, binary.display(), player.runs.hint());
                        continue;
                    }
                    eprintln!("{name} {}", player.name);
                    match cell(how, dir, &player, (wire, backend, streams)) {
                        Ok(s) => {
                            let _ = writeln!(
                                table,
                                "| {name} | {} | {:.1} | {:.0} | {:.0} | {} | {} | {} | {} | {:.2} |",
                                player.name,
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
