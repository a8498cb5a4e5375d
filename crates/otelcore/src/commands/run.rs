//! Running: start, signals, reload, the end.

use std::io::{self, Write};
use std::time::Duration;

use otelcore_config::Severity;
use otelcore_pipeline::{Field, Logger};
use otelcore_reactor::{Ending, FINISH, Outputs, Real, Runner, signal};

use super::args::Invocation;
use super::{Loaded, Terminal, fail, load};
use crate::registry::Registry;
use crate::service::{Collector, Identity, RunError};
use crate::summary::SummaryFactory;

/// What runs without `--config`.
pub(super) const DEFAULT: &str = include_str!("../default.yaml");

/// Why the loop ended.
enum Why {
    Stop,
    Reload(Box<Loaded>),
}

/// Runs until a signal asks for the end.
pub(super) fn run(
    invocation: &Invocation,
    mut registry: Registry,
    identity: Identity,
    terminal: &mut Terminal<'_>,
) -> u8 {
    otelcore_reactor::raise_file_limit();
    let memory = MemoryHint::read(terminal.env);
    registry.add(SummaryFactory { terminal: terminal.interactive });
    let mut loaded = load(invocation, &registry, terminal);
    loop {
        let Some(plan) = loaded.plan.take() else {
            return loaded.report(terminal, "invalid configuration: ");
        };
        let collector = match Collector::new(plan, identity.clone()) {
            Ok(collector) => collector,
            Err(e) => return fail(terminal, &e.to_string()),
        };
        say_warnings(&loaded, invocation, collector.log());
        memory.say(collector.log());
        match one_life(&collector, invocation, &registry, terminal, loaded.grace, memory.bytes) {
            Ok(Why::Stop) => {
                // Nobody waits for a reader that does not come.
                let _ = collector.outputs().finish(FINISH);
                return 0;
            }
            Ok(Why::Reload(next)) => loaded = *next,
            Err(e) => {
                collector
                    .log()
                    .error("error found during service initialization", &[("error", Field::Str(&e.to_string()))]);
                return fail_after(collector.outputs(), &e.to_string());
            }
        }
    }
}

/// As [`fail`], after the log's last lines and without waiting for a reader.
fn fail_after(outputs: &Outputs, message: &str) -> u8 {
    if let Ok(mut err) = outputs.open("stderr") {
        let _ = err.write_all(format!("Error: {message}\n").as_bytes());
    }
    let _ = outputs.finish(FINISH);
    1
}

/// `GOMEMLIMIT`, which the operator and the chart set to (most of) the container's limit. There is no garbage collector to
/// tune: it is the memory that percentages count from where the limit itself can't be read. (`GOMAXPROCS` caps threads;
/// there is one loop, which obeys any.)
#[derive(Default)]
struct MemoryHint {
    bytes: Option<u64>,
    wrong: Option<String>,
}

impl MemoryHint {
    fn read(env: &dyn Fn(&str) -> Option<String>) -> Self {
        match otelcore_reactor::go_memory_limit(&env("GOMEMLIMIT").unwrap_or_default()) {
            Ok(Some(0)) => Self { bytes: None, wrong: Some("GOMEMLIMIT is 0, which leaves no memory".to_owned()) },
            Ok(bytes) => Self { bytes, wrong: None },
            Err(wrong) => Self { bytes: None, wrong: Some(wrong) },
        }
    }

    fn say(&self, log: &Logger) {
        if let Some(wrong) = &self.wrong {
            log.warn("GOMEMLIMIT is not used", &[("error", Field::Str(wrong))]);
        }
        let Some(bytes) = self.bytes else { return };
        let mut fields = vec![("GOMEMLIMIT", Field::Uint(bytes))];
        let said = match otelcore_reactor::cgroup_limit() {
            Some(limit) => {
                fields.push(("memory_limit", Field::Uint(limit)));
                "GOMEMLIMIT is a hint: the container's memory limit goes before it"
            }
            None => "GOMEMLIMIT is the memory that percentages count from, as no cgroup sets a limit",
        };
        log.info(said, &fields);
    }
}

/// From the start to the end, or to the next configuration.
fn one_life(
    collector: &Collector,
    invocation: &Invocation,
    registry: &Registry,
    terminal: &mut Terminal<'_>,
    grace: Duration,
    memory: Option<u64>,
) -> Result<Why, RunError> {
    let mut world = Real::new()?;
    world.hint_memory(memory);
    world.watch_signals(&[signal::TERM, signal::INT, signal::HUP])?;
    let runner = collector.start(world)?;
    if invocation.config.is_empty() && invocation.set.is_empty() {
        welcome(collector.outputs())?;
    }
    let mut why = Why::Stop;
    let log = collector.log();
    let ending = runner.run(|runner, number| match number {
        Some(signal::HUP) => {
            log.warn("Config updated, restart service", &[]);
            let next = load(invocation, registry, terminal);
            if next.plan.is_some() {
                why = Why::Reload(Box::new(next));
                stop(runner, log, grace);
            } else {
                let text = next.diagnostics.to_text(false);
                log.error(
                    "The new configuration is not valid; the running one goes on.",
                    &[("error", Field::Str(&text))],
                );
            }
        }
        Some(number) => {
            log.info("Received signal from OS", &[("signal", Field::Str(signal::name(number)))]);
            stop(runner, log, grace);
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
fn welcome(outputs: &Outputs) -> io::Result<()> {
    let lines = "Send OTLP to 127.0.0.1:4317 (gRPC) or http://127.0.0.1:4318 (HTTP): the defaults of every OpenTelemetry SDK.\n\
         Look at http://127.0.0.1:9464/metrics for metrics; a summary of everything follows here.\n\
         Stop with Ctrl-C. For a collector of your own: --config=FILE, and --help.\n";
    outputs.open("stdout")?.write_all(lines.as_bytes())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_gomemlimit_is_a_warning_and_no_limit() {
        let read = |text: &str| MemoryHint::read(&|name| (name == "GOMEMLIMIT").then(|| text.to_owned()));
        assert_eq!(read("204MiB").bytes, Some(204 << 20));
        for wrong in ["204MB", "0"] {
            assert!(read(wrong).bytes.is_none() && read(wrong).wrong.is_some(), "{wrong}");
        }
        assert!(MemoryHint::read(&|_| None).wrong.is_none());
    }
}
