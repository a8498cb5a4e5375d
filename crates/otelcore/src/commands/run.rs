//! Running: start, signals, reload, the end.

use std::io;
use std::time::Duration;

use otelcore_config::Severity;
use otelcore_pipeline::{Field, Logger};
use otelcore_reactor::{Ending, Real, Runner, signal};

use super::args::Invocation;
use super::{Loaded, Terminal, fail, load};
use crate::plan::Plan;
use crate::registry::Registry;
use crate::service::{Collector, Identity, RunError};
use crate::summary::SummaryFactory;

/// What runs without `--config`.
pub(super) const DEFAULT: &str = include_str!("../default.yaml");

/// Why the loop ended.
enum Why {
    Stop,
    Reload(Box<Plan>),
}

/// Runs until a signal asks for the end.
pub(super) fn run(
    invocation: &Invocation,
    mut registry: Registry,
    identity: Identity,
    terminal: &mut Terminal<'_>,
) -> u8 {
    otelcore_reactor::raise_file_limit();
    registry.add(SummaryFactory { terminal: terminal.interactive });
    let mut loaded = load(invocation, &registry, terminal);
    let default = invocation.config.is_empty() && invocation.set.is_empty();
    loop {
        let Some(plan) = loaded.plan.take() else {
            return loaded.report(terminal, "invalid configuration: ");
        };
        let collector = match Collector::new(plan, identity.clone()) {
            Ok(collector) => collector,
            Err(e) => return fail(terminal, &e.to_string()),
        };
        say_warnings(&loaded, invocation, collector.log());
        match one_life(&collector, invocation, &registry, terminal, default) {
            Ok(Why::Stop) => return 0,
            Ok(Why::Reload(plan)) => loaded.plan = Some(*plan),
            Err(e) => {
                collector
                    .log()
                    .error("error found during service initialization", &[("error", Field::Str(&e.to_string()))]);
                return fail(terminal, &e.to_string());
            }
        }
    }
}

/// From the start to the end, or to the next configuration.
fn one_life(
    collector: &Collector,
    invocation: &Invocation,
    registry: &Registry,
    terminal: &mut Terminal<'_>,
    default: bool,
) -> Result<Why, RunError> {
    let mut world = Real::new()?;
    world.watch_signals(&[signal::TERM, signal::INT, signal::HUP])?;
    let runner = collector.start(world)?;
    if default {
        welcome(terminal)?;
    }
    let mut why = Why::Stop;
    let log = collector.log();
    let ending = runner.run(|runner, number| match number {
        Some(signal::HUP) => {
            log.warn("Config updated, restart service", &[]);
            let next = load(invocation, registry, terminal);
            match next.plan {
                Some(plan) => {
                    why = Why::Reload(Box::new(plan));
                    stop(runner, log, invocation.grace);
                }
                None => {
                    let text = next.diagnostics.to_text(false);
                    log.error(
                        "The new configuration is not valid; the running one goes on.",
                        &[("error", Field::Str(&text))],
                    );
                }
            }
        }
        Some(number) => {
            log.info("Received signal from OS", &[("signal", Field::Str(signal::name(number)))]);
            stop(runner, log, invocation.grace);
        }
        None => {}
    })?;
    finish(&ending, log);
    Ok(why)
}

fn stop(runner: &mut Runner, log: &Logger, grace: Duration) {
    log.info("Starting shutdown...", &[("timeout", Field::Float(grace.as_secs_f64()))]);
    runner.close(grace);
}

fn finish(ending: &Ending, log: &Logger) {
    ending.left.report(log);
    log.info("Stopping extensions...", &[]);
    log.info("Shutdown complete.", &[("undelivered_items", Field::Uint(ending.left.total()))]);
}

/// Three lines: where to send, where to look.
fn welcome(terminal: &mut Terminal<'_>) -> io::Result<()> {
    let lines = "Send OTLP to 127.0.0.1:4317 (gRPC) or http://127.0.0.1:4318 (HTTP): the defaults of every OpenTelemetry SDK.\n\
         Look at http://127.0.0.1:9464/metrics for metrics; a summary of everything follows here.\n\
         Stop with Ctrl-C. For a collector of your own: --config=FILE, and --help.\n";
    terminal.out.write_all(lines.as_bytes())?;
    terminal.out.flush()
}

/// Old spellings, and whatever else was noticed, once, each with its place.
fn say_warnings(loaded: &Loaded, invocation: &Invocation, log: &Logger) {
    for (flag, becomes) in &invocation.old_flags {
        log.warn(&format!("flag --{flag} is deprecated: {becomes}"), &[("at", Field::Str("command line"))]);
    }
    for item in loaded.diagnostics.items() {
        if item.severity == Severity::Error {
            continue;
        }
        let at = item.origin.as_ref().map(|o| format!("{}:{}:{}", o.source, o.line, o.column)).unwrap_or_default();
        let mut fields = vec![("at", Field::Str(&at)), ("key", Field::Str(&item.path))];
        if let Some(help) = &item.help {
            fields.push(("help", Field::Str(help)));
        }
        log.warn(&item.message, &fields);
    }
}
