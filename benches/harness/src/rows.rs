//! The rows: which collectors play which load, and what is measured.

use std::fmt::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A collector under one row's configuration.
struct Player {
    name: &'static str,
    /// Path from the environment variable, or the default.
    binary: PathBuf,
    config: String,
}

/// One load, and who plays it; the first is ours.
struct Row {
    name: &'static str,
    what: &'static str,
    signal: &'static str,
    items: u32,
    requests: u64,
    window: u32,
    /// Nanoseconds between requests; zero is as fast as possible.
    pace: u64,
    sink: bool,
    players: Vec<Player>,
    bar: &'static str,
}

const OTLP: u16 = 24317;
const SINK: u16 = 24250;
const PAGE: u16 = 24092;

fn binary(variable: &str, default: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| PathBuf::from(default), PathBuf::from)
}

fn ours() -> PathBuf {
    binary("OTELCORE", "target/release/otelcore")
}

fn go(version: &str) -> PathBuf {
    let variable = format!("OTELCOL_{}", version.replace('.', "_"));
    binary(&variable, &format!("benches/collectors/bin/otelcol-{version}"))
}

fn config(exporter: &str, signal: &str, processors: &str, name: &str) -> String {
    let section = if processors.is_empty() { "" } else { "processors: {batch: }\n" };
    format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: \"127.0.0.1:{OTLP}\"}}}}}}}}\n{section}exporters:\n{exporter}service:\n  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}\n  pipelines: {{{signal}: {{receivers: [otlp], processors: [{processors}], exporters: [{name}]}}}}\n"
    )
}

fn rows() -> Vec<Row> {
    let jaeger = format!("  jaeger: {{endpoint: \"127.0.0.1:{SINK}\", tls: {{insecure: true}}}}\n");
    let prometheus = format!("  prometheus: {{endpoint: \"127.0.0.1:{PAGE}\"}}\n");
    let traces = |name, items, requests, window, pace, bar| Row {
        name,
        what: "OTLP -> batch -> Jaeger",
        signal: "traces",
        items,
        requests,
        window,
        pace,
        sink: true,
        players: vec![
            Player { name: "otelcore", binary: ours(), config: config(&jaeger, "traces", "batch", "jaeger") },
            Player { name: "Go 0.85", binary: go("0.85"), config: config(&jaeger, "traces", "batch", "jaeger") },
        ],
        bar,
    };
    let nop = |name: &'static str, binary| Player { name, binary, config: config("  nop: \n", "traces", "", "nop") };
    vec![
        traces("jaeger-100", 100, 8000, 4, 0, "a tenth of the CPU, peak under 40 MB"),
        traces("jaeger-512", 512, 2000, 4, 0, ""),
        traces("jaeger-10", 10, 40_000, 4, 0, ""),
        Row {
            name: "prometheus-100",
            what: "OTLP -> Prometheus, known series",
            signal: "metrics",
            items: 100,
            requests: 10_000,
            window: 4,
            pace: 0,
            sink: false,
            players: vec![
                Player { name: "otelcore", binary: ours(), config: config(&prometheus, "metrics", "", "prometheus") },
                Player {
                    name: "Go 0.155",
                    binary: go("0.155"),
                    config: config(&prometheus, "metrics", "", "prometheus"),
                },
            ],
            bar: "a sixth of the CPU",
        },
        Row {
            name: "nop-100",
            what: "OTLP -> nop",
            signal: "traces",
            items: 100,
            requests: 10_000,
            window: 4,
            pace: 0,
            sink: false,
            players: vec![nop("otelcore", ours()), nop("Go 0.155", go("0.155"))],
            bar: "",
        },
    ]
}

/// What one player did.
struct Score {
    cpu_per_million: f64,
    peak: f64,
    idle: f64,
    listening: Duration,
    lost: u64,
}

/// Ends its process when it goes.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn main(named: &[String]) -> Result<(), String> {
    let dir = std::env::temp_dir().join(format!("otelcore-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
    let mut out = String::from(
        "| row | collector | CPU s per M items | ratio | peak MB | idle MB | listening ms | lost |\n|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows().into_iter().filter(|r| named.is_empty() || named.iter().any(|n| n == r.name)) {
        eprintln!("{}: {} ({} items x {} requests)", row.name, row.what, row.items, row.requests);
        let mut first = None;
        for player in &row.players {
            if !player.binary.is_file() {
                eprintln!("  {} is missing: {}", player.name, player.binary.display());
                continue;
            }
            let score = play(&row, player, &dir)?;
            let ratio = first.map_or(1.0, |ours: f64| score.cpu_per_million / ours);
            first.get_or_insert(score.cpu_per_million);
            let _ = writeln!(
                out,
                "| {} | {} | {:.3} | {ratio:.1} | {:.1} | {:.1} | {:.1} | {} |",
                row.name,
                player.name,
                score.cpu_per_million,
                score.peak,
                score.idle,
                score.listening.as_secs_f64() * 1000.0,
                score.lost
            );
        }
        if !row.bar.is_empty() {
            let _ = writeln!(out, "| | bar: {} | | | | | | |", row.bar);
        }
    }
    let _ = std::fs::remove_dir_all(&dir);
    println!("{out}");
    Ok(())
}

fn play(row: &Row, player: &Player, dir: &Path) -> Result<Score, String> {
    let me = std::env::current_exe().map_err(|e| e.to_string())?;
    let report = dir.join("sink");
    let _sink = if row.sink {
        let mut sink = Command::new(&me);
        sink.args(["sink", &SINK.to_string()]).arg(&report);
        let sink = Running(sink.spawn().map_err(|e| e.to_string())?);
        connect(SINK)?;
        Some(sink)
    } else {
        None
    };
    let path = dir.join("config.yaml");
    std::fs::write(&path, &player.config).map_err(|e| e.to_string())?;
    let log = std::fs::File::create(dir.join("log")).map_err(|e| e.to_string())?;
    let began = Instant::now();
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(&player.binary).arg(format!("--config={}", path.display()));
    command.env("GOMAXPROCS", "1").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let collector = Running(command.spawn().map_err(|e| e.to_string())?);
    connect(OTLP)?;
    let listening = began.elapsed();
    sleep(Duration::from_millis(500));
    let pid = collector.0.id();
    let idle = status(pid, "VmRSS")?;
    // One part first, so that maps are grown, series known and connections made.
    let send = |requests: u64| -> Result<u64, String> {
        let output = Command::new(&me)
            .args(["load", &format!("127.0.0.1:{OTLP}"), row.signal])
            .args([row.items.to_string(), requests.to_string(), row.window.to_string(), row.pace.to_string()])
            .output()
            .map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let ok = text.split_whitespace().next().and_then(|n| n.parse().ok());
        ok.ok_or_else(|| format!("the load said {text:?} {}", String::from_utf8_lossy(&output.stderr)))
    };
    let arrived = |wanted: u64| {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let seen = if row.sink { count(&report) } else { wanted };
            if seen >= wanted || Instant::now() > until {
                return seen;
            }
            sleep(Duration::from_millis(20));
        }
    };
    let items = u64::from(row.items);
    let warm = send(row.requests / 10)? * items;
    arrived(warm);
    let before = cpu(pid)?;
    let sent = send(row.requests)? * items;
    let seen = arrived(warm + sent);
    let cpu_seconds = cpu(pid)? - before;
    let peak = status(pid, "VmHWM")?;
    Ok(Score {
        cpu_per_million: cpu_seconds / sent as f64 * 1e6,
        peak,
        idle,
        listening,
        lost: (warm + sent).saturating_sub(seen) + (row.requests * items - sent),
    })
}

fn connect(port: u16) -> Result<(), String> {
    let until = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if Instant::now() > until {
            return Err(format!("nothing listens on {port}"));
        }
        sleep(Duration::from_micros(200));
    }
    Ok(())
}

/// The last count that the sink has written.
fn count(report: &Path) -> u64 {
    let text = std::fs::read_to_string(report).unwrap_or_default();
    text.lines().rev().find(|l| l.len() == 20).and_then(|l| l.parse().ok()).unwrap_or(0)
}

/// User and system time of a process in seconds.
fn cpu(pid: u32) -> Result<f64, String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|e| e.to_string())?;
    let after = text.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks: u64 = after.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / 100.0)
}

/// A figure of /proc/PID/status, in megabytes.
fn status(pid: u32, key: &str) -> Result<f64, String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).map_err(|e| e.to_string())?;
    let line = text.lines().find_map(|l| l.strip_prefix(key)).unwrap_or("");
    let kb: f64 = line.trim_matches([':', ' ', '\t']).trim_end_matches("kB").trim().parse().unwrap_or(0.0);
    Ok(kb / 1024.0)
}
