//! Runs one player (a measured program) under one row's load, and returns the figures.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::apps;
use crate::measure::{cpu, status};
use crate::players::{Player, Runs};
use crate::rows::{How, Load, Row, Wire};

/// Ends its process when it is dropped.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The row's figures, in the order of its table's columns; figures that do not apply are NaN.
pub(crate) fn play(row: &Row, player: &Player, how: &How, dir: &Path) -> Result<Vec<f64>, String> {
    if let (Runs::Alone(_), Load::Requests { items, requests, .. }) = (&player.runs, row.load) {
        return alone(player, how, items, requests, dir);
    }
    match (&player.runs, row.load) {
        (Runs::App(_, way), Load::App { spans, rate }) => return apps::app(player, way, how, (spans, rate), dir),
        (Runs::Submit(_), Load::Submit { items, requests }) => return apps::submit(player, how, items, requests, dir),
        _ => {}
    }
    let report = dir.join("sink");
    let _sink = match row.load {
        Load::Requests { sink: Some(wire), .. } => Some(sink(wire, how.ports.sink, &report, &[])?),
        _ => None,
    };
    let began = Instant::now();
    let collector = start(&player.runs, how, dir)?;
    let listening = began.elapsed();
    sleep(Duration::from_millis(if how.quick { 50 } else { 500 }));
    let (pid, endpoint) = (collector.0.id(), format!("127.0.0.1:{}", how.ports.otlp));
    match row.load {
        Load::Requests { .. } => requests(row.load, &endpoint, &report, pid, listening),
        Load::Idle { connections } => idle(pid, &endpoint, connections),
        Load::Active { connections, millis, large_items } => {
            let args = [connections, millis, large_items.into()].map(|n| n.to_string());
            let said = own("active", &endpoint, &args)?;
            let figures: Vec<f64> = said.split_whitespace().filter_map(|n| n.parse().ok()).collect();
            let [p50, p99, longest, small, large, failed] = figures[..] else { return Err(format!("active: {said}")) };
            Ok(vec![p99, p50, longest, small, large, failed])
        }
        Load::App { .. } | Load::Submit { .. } => Err("no application plays".to_owned()),
    }
}

/// The last lines of a process's log.
pub(crate) fn tail(dir: &Path) -> String {
    let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
    let tail: Vec<&str> = log.lines().rev().take(3).collect();
    tail.into_iter().rev().collect::<Vec<_>>().join("; ")
}

/// Starts a collector, and returns when it listens.
pub(crate) fn start(runs: &Runs, how: &How, dir: &Path) -> Result<Running, String> {
    let mut collector = Running(runs.command(how.own, how.ports, dir)?.spawn().map_err(|e| e.to_string())?);
    listens(&mut collector, how.ports.otlp).map_err(|e| format!("{e}: {}", tail(dir)))?;
    Ok(collector)
}

fn me() -> Result<Command, String> {
    Ok(Command::new(std::env::current_exe().map_err(|e| e.to_string())?))
}

/// Runs a command of this binary with the collector's address, and returns its output.
fn own(command: &str, endpoint: &str, args: &[String]) -> Result<String, String> {
    let output = me()?.args([command, endpoint]).args(args).output().map_err(|e| e.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{command}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// Starts a sink with its pace (see `sink`): as fast as it can by default.
pub(crate) fn sink(wire: Wire, port: u16, report: &Path, pace: &[String]) -> Result<Running, String> {
    let mut command = me()?;
    command.args(["sink", wire.name(), &port.to_string()]).arg(report).args(pace);
    let mut sink = Running(command.spawn().map_err(|e| e.to_string())?);
    listens(&mut sink, port)?;
    Ok(sink)
}

fn alone(player: &Player, how: &How, items: u32, rounds: u64, dir: &Path) -> Result<Vec<f64>, String> {
    let mut command = player.runs.command(how.own, how.ports, dir)?;
    command.args([items.to_string(), rounds.to_string()]).stdout(Stdio::piped());
    let output = command.output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let figures: Vec<f64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let [seconds, bytes] = figures[..] else { return Err(format!("it said {text:?}")) };
    let total = f64::from(items) * rounds as f64;
    Ok(vec![seconds / total * 1e6, bytes / total])
}

fn requests(load: Load, endpoint: &str, report: &Path, pid: u32, listening: Duration) -> Result<Vec<f64>, String> {
    let Load::Requests { wire, coding, signal, items, requests, sink } = load else { return Ok(Vec::new()) };
    let idle = status(pid, "VmRSS")?;
    let send = |requests: u64| -> Result<u64, String> {
        let command = if wire == Wire::Grpc { "load" } else { "http-load" };
        let numbers = [items.into(), requests, 4].map(|n: u64| n.to_string());
        let said = own(command, endpoint, &[&[signal.to_owned()][..], &numbers, &[coding.to_owned()]].concat())?;
        let ok = said.split_whitespace().next().and_then(|n| n.parse::<u64>().ok());
        ok.map(|n| n * u64::from(items)).ok_or_else(|| format!("{command}: {said}"))
    };
    let arrived = |wanted: u64| if sink.is_some() { arrived(report, wanted) } else { (wanted, 0) };
    // A tenth of the load runs first as warm-up, so that maps are grown, series known and connections open.
    let warm = send((requests / 10).max(1))?;
    let (warm_seen, warm_bytes) = arrived(warm);
    let before = cpu(pid)?;
    let sent = send(requests)?;
    let (seen, bytes) = arrived(warm + sent);
    let seconds = cpu(pid)? - before;
    let wanted = requests * u64::from(items);
    let lost = (warm + sent).saturating_sub(seen) + (wanted - sent);
    let per_item = (bytes - warm_bytes) as f64 / (seen - warm_seen) as f64;
    Ok(vec![
        seconds / sent as f64 * 1e6,
        if sink.is_some() { per_item } else { f64::NAN },
        status(pid, "VmHWM")?,
        idle,
        listening.as_secs_f64() * 1000.0,
        lost as f64,
    ])
}

fn idle(pid: u32, endpoint: &str, connections: u64) -> Result<Vec<f64>, String> {
    let before = status(pid, "VmRSS")?;
    let mut command = me()?;
    command.args(["idle", endpoint, &connections.to_string()]);
    let mut opener = Running(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|e| e.to_string())?);
    let mut said = String::new();
    let out = opener.0.stdout.take().ok_or("no output")?;
    BufReader::new(out).read_line(&mut said).map_err(|e| e.to_string())?;
    if said.trim() != connections.to_string() {
        return Err(format!("only {said:?} of {connections} connections were taken"));
    }
    sleep(Duration::from_secs(1));
    let with = status(pid, "VmRSS")?;
    Ok(vec![(with - before) * 1024.0 / connections as f64, before, with])
}

pub(crate) fn listens(process: &mut Running, port: u16) -> Result<(), String> {
    let until = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if let Ok(Some(status)) = process.0.try_wait() {
            return Err(format!("ended with {status}"));
        }
        if Instant::now() > until {
            return Err(format!("nothing listens on {port}"));
        }
        sleep(Duration::from_micros(200));
    }
    Ok(())
}

/// The spans and bytes that the sink has received, once all have arrived, or no new ones have come for five seconds.
pub(crate) fn arrived(report: &Path, wanted: u64) -> (u64, u64) {
    let (mut last, mut since) = (0, Instant::now());
    loop {
        let (seen, bytes) = counts(report);
        if seen > last {
            (last, since) = (seen, Instant::now());
        }
        if seen >= wanted || since.elapsed() > Duration::from_secs(5) {
            return (seen, bytes);
        }
        sleep(Duration::from_millis(5));
    }
}

/// The last counts that the sink has written: spans and bytes.
pub(crate) fn counts(report: &Path) -> (u64, u64) {
    let text = std::fs::read_to_string(report).unwrap_or_default();
    let last = text.lines().rev().find(|line| line.len() == 41).and_then(|line| line.split_once(' '));
    last.and_then(|(spans, bytes)| Some((spans.parse().ok()?, bytes.parse().ok()?))).unwrap_or_default()
}
