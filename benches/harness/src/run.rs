//! Runs one measured program under the load of one row, and returns the figures.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::apps;
use crate::measure::{cpu_seconds, status_megabytes};
use crate::programs::{Launch, Program};
use crate::rows::{BenchOptions, BenchRow, OtlpProtocol, RowLoad};
use crate::telemetry;

/// Ends its process when it is dropped.
pub(crate) struct RunningProcess(pub(crate) Child);

impl Drop for RunningProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The row's figures, in the order of its table's columns; figures that do not apply are NaN.
pub(crate) fn run_row(
    row: &BenchRow,
    program: &Program,
    options: &BenchOptions,
    dir: &Path,
) -> Result<Vec<f64>, String> {
    if let (Launch::Library(_), RowLoad::Requests { items, requests, .. }) = (&program.launch, row.load) {
        return run_library(program, options, items, requests, dir);
    }
    match (&program.launch, row.load) {
        (Launch::App(_, way), RowLoad::App { spans, rate }) => {
            return apps::run_app(program, way, options, (spans, rate), dir);
        }
        (Launch::Submit(_), RowLoad::Submit { items, requests }) => {
            return apps::run_submit(program, options, items, requests, dir);
        }
        _ => {}
    }
    let report = dir.join("sink");
    let _sink = match row.load {
        RowLoad::Requests { sink: Some(wire), .. } => Some(start_sink(wire, options.ports.sink, &report, &[])?),
        RowLoad::Held { .. } => Some(start_sink(OtlpProtocol::Grpc, options.ports.sink, &report, &[])?),
        _ => None,
    };
    let start = Instant::now();
    let collector = start_collector(&program.launch, options, dir)?;
    let listening = start.elapsed();
    sleep(Duration::from_millis(if options.quick { 50 } else { 500 }));
    let (pid, endpoint) = (collector.0.id(), format!("127.0.0.1:{}", options.ports.otlp));
    match row.load {
        RowLoad::Requests { .. } => run_requests(row.load, &endpoint, &report, pid, listening),
        RowLoad::Held { requests } => run_held(&endpoint, requests, &report, pid),
        RowLoad::Idle { connections } => run_idle(pid, &endpoint, connections),
        RowLoad::Active { connections, millis, large_items } => {
            let args = [connections, millis, large_items.into()].map(|n| n.to_string());
            let text = run_own_command("active", &endpoint, &args)?;
            let figures: Vec<f64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
            let [p50, p99, longest, small, large, failed] = figures[..] else { return Err(format!("active: {text}")) };
            Ok(vec![p99, p50, longest, small, large, failed])
        }
        RowLoad::App { .. } | RowLoad::Submit { .. } => Err("no application plays".to_owned()),
    }
}

/// The last lines of a process's log.
pub(crate) fn log_tail(dir: &Path) -> String {
    let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
    let tail: Vec<&str> = log.lines().rev().take(3).collect();
    tail.into_iter().rev().collect::<Vec<_>>().join("; ")
}

/// Starts a collector, and returns when it listens.
pub(crate) fn start_collector(launch: &Launch, options: &BenchOptions, dir: &Path) -> Result<RunningProcess, String> {
    let mut collector =
        RunningProcess(launch.command(options.own, options.ports, dir)?.spawn().map_err(|e| e.to_string())?);
    wait_for_listener(&mut collector, options.ports.otlp).map_err(|e| format!("{e}: {}", log_tail(dir)))?;
    Ok(collector)
}

fn own_command() -> Result<Command, String> {
    Ok(Command::new(std::env::current_exe().map_err(|e| e.to_string())?))
}

/// Runs a command of this binary with the collector's address, and returns its output.
fn run_own_command(command: &str, endpoint: &str, args: &[String]) -> Result<String, String> {
    let output = own_command()?.args([command, endpoint]).args(args).output().map_err(|e| e.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{command}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// Starts a sink with its pace (see `start_sink`): as fast as it can by default.
pub(crate) fn start_sink(
    protocol: OtlpProtocol,
    port: u16,
    report: &Path,
    rate_args: &[String],
) -> Result<RunningProcess, String> {
    let mut command = own_command()?;
    command.args(["sink", protocol.name(), &port.to_string()]).arg(report).args(rate_args);
    let mut sink = RunningProcess(command.spawn().map_err(|e| e.to_string())?);
    wait_for_listener(&mut sink, port)?;
    Ok(sink)
}

fn run_library(
    program: &Program,
    options: &BenchOptions,
    items: u32,
    rounds: u64,
    dir: &Path,
) -> Result<Vec<f64>, String> {
    let mut command = program.launch.command(options.own, options.ports, dir)?;
    command.args([items.to_string(), rounds.to_string()]).stdout(Stdio::piped());
    let output = command.output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let figures: Vec<f64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let [seconds, bytes] = figures[..] else { return Err(format!("its output was {text:?}")) };
    let total = f64::from(items) * rounds as f64;
    Ok(vec![seconds / total * 1e6, bytes / total])
}

fn run_requests(
    load: RowLoad,
    endpoint: &str,
    report: &Path,
    pid: u32,
    listening: Duration,
) -> Result<Vec<f64>, String> {
    let RowLoad::Requests { wire, coding, signal, items, requests, sink, quiet_millis } = load else {
        return Ok(Vec::new());
    };
    let idle = status_megabytes(pid, "VmRSS")?;
    let send = |requests| send_requests(wire, endpoint, signal, coding, items, requests);
    let wait_for_items = |expected: u64| match quiet_millis {
        Some(millis) => wait_for_quiet(report, u64::MAX, Duration::from_millis(millis)),
        None if sink.is_some() => wait_for_arrival(report, expected),
        None => (expected, 0),
    };
    // A tenth of the load runs first as warm-up, so that maps are grown, series known and connections open.
    let warmup_items = send((requests / 10).max(1))?;
    let (warmup_received, warm_bytes) = wait_for_items(warmup_items);
    let before = cpu_seconds(pid)?;
    let sent = send(requests)?;
    let (received, bytes) = wait_for_items(warmup_items + sent);
    let seconds = cpu_seconds(pid)? - before;
    let requested = requests * u64::from(items);
    // Where a processor drops items, those cannot be told from lost ones.
    let not_received = if quiet_millis.is_some() { 0 } else { (warmup_items + sent).saturating_sub(received) };
    let lost = not_received + (requested - sent);
    let per_item = (bytes - warm_bytes) as f64 / (received - warmup_received) as f64;
    let passed_on = (received - warmup_received) as f64 / sent as f64 * 100.0;
    Ok(vec![
        seconds / sent as f64 * 1e6,
        if sink.is_some() { per_item } else { f64::NAN },
        status_megabytes(pid, "VmHWM")?,
        idle,
        listening.as_secs_f64() * 1000.0,
        lost as f64,
        if sink.is_some() { passed_on } else { f64::NAN },
    ])
}

/// Sends requests, and returns the number of accepted items.
fn send_requests(
    wire: OtlpProtocol,
    endpoint: &str,
    signal: &str,
    coding: &str,
    items: u32,
    requests: u64,
) -> Result<u64, String> {
    let command = if wire == OtlpProtocol::Grpc { "load" } else { "http-load" };
    let numbers = [items.into(), requests, 4].map(|n: u64| n.to_string());
    let text =
        run_own_command(command, endpoint, &[&[signal.to_owned()][..], &numbers, &[coding.to_owned()]].concat())?;
    let ok = text.split_whitespace().next().and_then(|n| n.parse::<u64>().ok());
    ok.map(|n| n * u64::from(items)).ok_or_else(|| format!("{command}: {text}"))
}

/// The traces of a request of the row that holds them, of eight spans each.
const HELD_TRACES: u32 = 12;

/// Memory with traces that wait for their decisions; it is an error if one of them was refused or decided.
fn run_held(endpoint: &str, requests: u64, report: &Path, pid: u32) -> Result<Vec<f64>, String> {
    let before = status_megabytes(pid, "VmRSS")?;
    let items = HELD_TRACES * 8;
    let sent = send_requests(OtlpProtocol::Grpc, endpoint, telemetry::NEW_TRACES, "none", items, requests)?;
    sleep(Duration::from_secs(2));
    let with_traces = status_megabytes(pid, "VmRSS")?;
    let (refused, (passed_on, _)) = (requests * u64::from(items) - sent, reported_counts(report));
    if refused + passed_on > 0 {
        return Err(format!("{refused} spans were refused, {passed_on} passed on"));
    }
    let traces = requests * u64::from(HELD_TRACES);
    let kilobytes = (with_traces - before) * 1024.0 / traces as f64;
    Ok(vec![with_traces, before, status_megabytes(pid, "VmHWM")?, kilobytes, traces as f64])
}

fn run_idle(pid: u32, endpoint: &str, connections: u64) -> Result<Vec<f64>, String> {
    let before = status_megabytes(pid, "VmRSS")?;
    let mut command = own_command()?;
    command.args(["idle", endpoint, &connections.to_string()]);
    let mut opener =
        RunningProcess(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|e| e.to_string())?);
    let mut line = String::new();
    let out = opener.0.stdout.take().ok_or("no output")?;
    BufReader::new(out).read_line(&mut line).map_err(|e| e.to_string())?;
    if line.trim() != connections.to_string() {
        return Err(format!("only {line:?} of {connections} connections were taken"));
    }
    sleep(Duration::from_secs(1));
    let with_connections = status_megabytes(pid, "VmRSS")?;
    Ok(vec![(with_connections - before) * 1024.0 / connections as f64, before, with_connections])
}

pub(crate) fn wait_for_listener(process: &mut RunningProcess, port: u16) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if let Ok(Some(status)) = process.0.try_wait() {
            return Err(format!("ended with {status}"));
        }
        if Instant::now() > deadline {
            return Err(format!("nothing listens on {port}"));
        }
        sleep(Duration::from_micros(200));
    }
    Ok(())
}

/// The spans and bytes that the sink has received, once all have arrived, or no new ones have come for five seconds.
pub(crate) fn wait_for_arrival(report: &Path, expected: u64) -> (u64, u64) {
    wait_for_quiet(report, expected, Duration::from_secs(5))
}

/// The spans and bytes that the sink has received, once there are as many, or no new ones have come for `quiet`.
fn wait_for_quiet(report: &Path, expected: u64, quiet: Duration) -> (u64, u64) {
    let (mut last, mut since) = (0, Instant::now());
    loop {
        let (received, bytes) = reported_counts(report);
        if received > last {
            (last, since) = (received, Instant::now());
        }
        if received >= expected || since.elapsed() > quiet {
            return (received, bytes);
        }
        sleep(Duration::from_millis(5));
    }
}

/// The last counts that the sink has written: spans and bytes.
pub(crate) fn reported_counts(report: &Path) -> (u64, u64) {
    let text = std::fs::read_to_string(report).unwrap_or_default();
    let last = text.lines().rev().find(|line| line.len() == 41).and_then(|line| line.split_once(' '));
    last.and_then(|(spans, bytes)| Some((spans.parse().ok()?, bytes.parse().ok()?))).unwrap_or_default()
}
