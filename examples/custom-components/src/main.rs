//! Runs a configuration that may name these components until Ctrl-C:
//! `cargo run -- collector.yaml`.

use std::process::ExitCode;

use otelcore::reactor::{RealWorld, signal};
use otelcore::{BuildInfo, Collector, DEFAULT_GRACE_PERIOD};

fn main() -> ExitCode {
    let path = std::env::args().nth(1).unwrap_or_else(|| "collector.yaml".to_owned());
    match run(&path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn run(path: &str) -> Result<(), Box<dyn std::error::Error>> {
    let yaml = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    let plan = custom_components::plan(&yaml)?;
    let build_info =
        BuildInfo { command: "custom-components".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let mut world = RealWorld::new()?;
    world.catch_signals(&[signal::INT, signal::TERM])?;
    let collector = Collector::new(plan, build_info)?;
    let event_loop = collector.start(world)?;
    let report = event_loop.run(|event_loop, signal| {
        if signal.is_some() {
            event_loop.close(DEFAULT_GRACE_PERIOD);
        }
    })?;
    report.undelivered.report(collector.log());
    Ok(())
}
