//! Applications: programs with an SDK and a collector inside or next to them, and the program in C that submits
//! requests.
//!
//! Application and collector share core 0, as the containers of a pod share its limit; the sink has core 1. Their CPU
//! time is counted together, from before the first span until the sink has received the last. This module builds none
//! of the programs: `benches/apps/build` does.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdout, Stdio};

use crate::measure::{cpu, status};
use crate::play::{Running, arrived, sink, start, tail};
use crate::players::{Player, Way};
use crate::rows::{How, Wire};
use crate::telemetry;

/// An application that is controlled by lines on its input and output.
struct Spoken {
    running: Running,
    said: BufReader<ChildStdout>,
}

impl Spoken {
    /// The numbers on its next line of output, without the words.
    fn figures(&mut self, dir: &Path) -> Result<Vec<f64>, String> {
        let mut line = String::new();
        self.said.read_line(&mut line).map_err(|e| e.to_string())?;
        let figures: Vec<f64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        if figures.is_empty() { Err(format!("it said {line:?}: {}", tail(dir))) } else { Ok(figures) }
    }

    fn go_on(&mut self) -> Result<(), String> {
        let mut input = self.running.0.stdin.as_ref().ok_or("no input")?;
        input.write_all(b"go\n").map_err(|e| e.to_string())
    }
}

/// Runs an application that makes `spans` spans at `rate` spans per second.
pub(crate) fn app(
    player: &Player,
    way: &Way,
    how: &How,
    (spans, rate): (u64, u64),
    dir: &Path,
) -> Result<Vec<f64>, String> {
    let report = dir.join("sink");
    let _sink = sink(Wire::Grpc, how.ports.sink, &report, &[])?;
    let beside = match way {
        Way::Beside(collector) => Some(start(collector, how, dir)?),
        Way::Nowhere(_) | Way::Inside(_) => None,
    };
    // The application's log is separate from the collector's.
    let own = dir.join("app");
    std::fs::create_dir_all(&own).map_err(|e| e.to_string())?;
    let mut command = player.runs.command(how.own, how.ports, &own)?;
    command.args([spans.to_string(), rate.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = Running(command.spawn().map_err(|e| e.to_string())?);
    let said = BufReader::new(running.0.stdout.take().ok_or("no output")?);
    let mut app = Spoken { running, said };
    let pids: Vec<u32> = beside.iter().chain([&app.running]).map(|running| running.0.id()).collect();
    let all = |one: &dyn Fn(u32) -> Result<f64, String>| pids.iter().map(|pid| one(*pid)).sum::<Result<f64, String>>();
    let seen = |wanted: u64| if matches!(way, Way::Nowhere(_)) { wanted } else { arrived(&report, wanted).0 };

    let warm = app.figures(&own)?.first().copied().unwrap_or_default() as u64;
    seen(warm);
    let before = all(&cpu)?;
    app.go_on()?;
    let figures = app.figures(&own)?;
    let came = seen(warm + spans);
    let seconds = all(&cpu)? - before;
    let peak = all(&|pid| status(pid, "VmHWM"))?;
    app.go_on()?;
    let ended = app.running.0.wait().map_err(|e| e.to_string())?;
    if !ended.success() {
        return Err(format!("it ended with {ended}: {}", tail(&own)));
    }
    let [_, failed, mean, p50, p99] = figures[..] else { return Err(format!("it said {figures:?}")) };
    let lost = (warm + spans).saturating_sub(came) as f64;
    Ok(vec![seconds / spans as f64 * 1e6, mean, p50, p99, peak, failed, lost])
}

/// Runs the program in C: it gets the path of a file of requests, and measures itself.
pub(crate) fn submit(player: &Player, how: &How, items: u32, requests: u64, dir: &Path) -> Result<Vec<f64>, String> {
    let mut file = Vec::new();
    for body in telemetry::bodies("traces", items) {
        let length = u32::try_from(body.len()).map_err(|e| e.to_string())?;
        file.extend_from_slice(&length.to_le_bytes());
        file.extend_from_slice(&body);
    }
    let path = dir.join("bodies");
    std::fs::write(&path, file).map_err(|e| e.to_string())?;
    let mut command = player.runs.command(how.own, how.ports, dir)?;
    command.arg(path).args([items.to_string(), requests.to_string()]).stdout(Stdio::piped());
    let output = command.output().map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let figures: Vec<f64> = said.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    if output.status.success() && figures.len() == 3 {
        Ok(figures)
    } else {
        Err(format!("it said {said:?} and ended with {}: {}", output.status, tail(dir)))
    }
}
