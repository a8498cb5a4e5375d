//! Runs a configuration that may name these components until Ctrl-C:
//! `cargo run -- collector.yaml`.

use std::process::ExitCode;

use otelcore::reactor::{Real, signal};
use otelcore::{Collector, GRACE, Identity};

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
    let identity = Identity { command: "custom-components".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let mut world = Real::new()?;
    world.watch_signals(&[signal::INT, signal::TERM])?;
    let collector = Collector::new(plan, identity)?;
    let runner = collector.start(world)?;
    let end = runner.run(|runner, signal| {
        if signal.is_some() {
            runner.close(GRACE);
        }
    })?;
    end.left.report(collector.log());
    Ok(())
}
