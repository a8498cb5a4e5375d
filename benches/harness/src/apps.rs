//! Applications: programs with an SDK and a collector inside or next to them, and the program in C that submits
//! requests.
//!
//! Application and collector share core 0, as the containers of a pod share its limit; the sink has core 1. Their CPU
//! time is counted together, from before the first span until the sink has received the last. This module builds none
//! of the programs: `benches/apps/build` does.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdout, Stdio};

use crate::measure::{cpu_seconds, status_megabytes};
use crate::programs::{Program, SpanDestination};
use crate::rows::{BenchOptions, OtlpProtocol};
use crate::run::{RunningProcess, log_tail, start_collector, start_sink, wait_for_arrival};
use crate::telemetry;

/// An application that is controlled by lines on its input and output.
struct ControlledApp {
    process: RunningProcess,
    output: BufReader<ChildStdout>,
}

impl ControlledApp {
    /// The numbers of its next output line, without the words.
    fn figures(&mut self, dir: &Path) -> Result<Vec<f64>, String> {
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(|e| e.to_string())?;
        let figures: Vec<f64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        if figures.is_empty() { Err(format!("its output was {line:?}: {}", log_tail(dir))) } else { Ok(figures) }
    }

    fn resume(&mut self) -> Result<(), String> {
        let mut input = self.process.0.stdin.as_ref().ok_or("no input")?;
        input.write_all(b"go\n").map_err(|e| e.to_string())
    }
}

/// Runs an application that makes `spans` spans at `rate` spans per second.
pub(crate) fn run_app(
    program: &Program,
    destination: &SpanDestination,
    options: &BenchOptions,
    (spans, rate): (u64, u64),
    dir: &Path,
) -> Result<Vec<f64>, String> {
    let report = dir.join("sink");
    let _sink = start_sink(OtlpProtocol::Grpc, options.ports.sink, &report, &[])?;
    let collector = match destination {
        SpanDestination::SeparateCollector(collector) => Some(start_collector(collector, options, dir)?),
        SpanDestination::NoCollector(_) | SpanDestination::InProcess(_) => None,
    };
    // The application's log is separate from the collector's.
    let app_dir = dir.join("app");
    std::fs::create_dir_all(&app_dir).map_err(|e| e.to_string())?;
    let mut command = program.launch.command(options.own, options.ports, &app_dir)?;
    command.args([spans.to_string(), rate.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = RunningProcess(command.spawn().map_err(|e| e.to_string())?);
    let output = BufReader::new(process.0.stdout.take().ok_or("no output")?);
    let mut app = ControlledApp { process, output };
    let pids: Vec<u32> = collector.iter().chain([&app.process]).map(|running| running.0.id()).collect();
    let sum_over_processes =
        |one: &dyn Fn(u32) -> Result<f64, String>| pids.iter().map(|pid| one(*pid)).sum::<Result<f64, String>>();
    let received = |wanted: u64| {
        if matches!(destination, SpanDestination::NoCollector(_)) {
            wanted
        } else {
            wait_for_arrival(&report, wanted).0
        }
    };

    let warmup_spans = app.figures(&app_dir)?.first().copied().unwrap_or_default() as u64;
    received(warmup_spans);
    let before = sum_over_processes(&cpu_seconds)?;
    app.resume()?;
    let figures = app.figures(&app_dir)?;
    let received_spans = received(warmup_spans + spans);
    let seconds = sum_over_processes(&cpu_seconds)? - before;
    let peak = sum_over_processes(&|pid| status_megabytes(pid, "VmHWM"))?;
    app.resume()?;
    let ended = app.process.0.wait().map_err(|e| e.to_string())?;
    if !ended.success() {
        return Err(format!("it ended with {ended}: {}", log_tail(&app_dir)));
    }
    let [_, failed, mean, p50, p99] = figures[..] else { return Err(format!("its output was {figures:?}")) };
    let lost = (warmup_spans + spans).saturating_sub(received_spans) as f64;
    Ok(vec![seconds / spans as f64 * 1e6, mean, p50, p99, peak, failed, lost])
}

/// Runs the program in C: it gets the path of a file of requests, and measures itself.
pub(crate) fn run_submit(
    program: &Program,
    options: &BenchOptions,
    items: u32,
    requests: u64,
    dir: &Path,
) -> Result<Vec<f64>, String> {
    let mut file = Vec::new();
    for body in telemetry::bodies("traces", items) {
        let length = u32::try_from(body.len()).map_err(|e| e.to_string())?;
        file.extend_from_slice(&length.to_le_bytes());
        file.extend_from_slice(&body);
    }
    let path = dir.join("bodies");
    std::fs::write(&path, file).map_err(|e| e.to_string())?;
    let mut command = program.launch.command(options.own, options.ports, dir)?;
    command.arg(path).args([items.to_string(), requests.to_string()]).stdout(Stdio::piped());
    let output = command.output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let figures: Vec<f64> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    if output.status.success() && figures.len() == 3 {
        Ok(figures)
    } else {
        Err(format!("its output was {text:?} and ended with {}: {}", output.status, log_tail(dir)))
    }
}
