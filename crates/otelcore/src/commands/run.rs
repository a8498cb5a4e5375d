//! Runs a collector: start, signals, reload, end.

use std::io::{self, Write};
use std::rc::Rc;
use std::time::Duration;

use otelcore_config::Severity;
use otelcore_pipeline::{Field, Logger, World};
use otelcore_reactor::{Ending, FINISH, Outputs, Real, Runner, Signals, signal};

use super::args::Invocation;
use super::{Loaded, Terminal, fail, load};
use crate::registry::Registry;
use crate::service::{Collector, Identity, RunError};
use crate::summary::SummaryFactory;

/// The configuration that runs without `--config`.
pub(super) const DEFAULT: &str = include_str!("../default.yaml");

/// How often, and with which pause, a configuration that ran before is tried again when it can't start any more.
const ATTEMPTS: u32 = 30;
const PAUSE: Duration = Duration::from_secs(1);

/// Why the loop ended.
enum Why {
    Stop,
    Reload(Box<Ready>),
}

/// A configuration that has been read and is valid, and its collector.
struct Ready {
    collector: Collector,
    loaded: Loaded,
}

/// What stays the same when the configuration is replaced.
struct Process<'a> {
    invocation: &'a Invocation,
    registry: &'a Registry,
    identity: Identity,
    memory: MemoryHint,
    signals: Rc<Signals>,
    env: &'a dyn Fn(&str) -> Option<String>,
}

/// Runs until a signal asks for a shutdown.
pub(super) fn run(
    invocation: &Invocation,
    mut registry: Registry,
    identity: Identity,
    terminal: &mut Terminal<'_>,
) -> u8 {
    otelcore_reactor::raise_file_limit();
    let memory = MemoryHint::read(terminal.env);
    registry.add(SummaryFactory { terminal: terminal.interactive });
    let mut loaded = load(invocation, &registry, terminal.env);
    let Some(plan) = loaded.plan.take() else {
        return loaded.report(terminal, "invalid configuration: ");
    };
    let collector = match Collector::new(plan, identity.clone()) {
        Ok(collector) => collector,
        Err(e) => return fail(terminal, &e.to_string()),
    };
    let signals = match Signals::catch(&[signal::TERM, signal::INT, signal::HUP]) {
        Ok(signals) => Rc::new(signals),
        Err(e) => return fail(terminal, &e.to_string()),
    };
    let process = Process { invocation, registry: &registry, identity, memory, signals, env: terminal.env };
    let ready = Ready { collector, loaded };
    process.introduce(&ready);
    let outputs = ready.collector.outputs().clone();
    let started = process.start(&ready.collector).and_then(|runner| {
        if invocation.config.is_empty() && invocation.set.is_empty() {
            welcome(&outputs)?;
        }
        Ok(runner)
    });
    match started {
        Ok(runner) => process.live(ready, runner),
        Err(e) => failed(&ready.collector, &e),
    }
}

/// Ends after a failed start or an error of the loop; gives the exit code.
fn failed(collector: &Collector, e: &RunError) -> u8 {
    let text = e.to_string();
    collector.log().error("error found during service initialization", &[("error", Field::Str(&text))]);
    fail_after(collector.outputs(), &text)
}

impl Process<'_> {
    /// Logs the warnings about a configuration before it starts.
    fn introduce(&self, ready: &Ready) {
        say_warnings(&ready.loaded, self.invocation, ready.collector.log());
        self.memory.say(ready.collector.log());
    }

    fn start(&self, collector: &Collector) -> Result<Runner, RunError> {
        let mut world = Real::new()?;
        world.hint_memory(self.memory.bytes);
        world.set_signals(&self.signals)?;
        collector.start(world)
    }

    /// Runs one configuration after another, to the end.
    fn live(&self, mut ready: Ready, mut runner: Runner) -> u8 {
        loop {
            let next = match self.turn(&ready, runner) {
                Ok(Why::Stop) => {
                    // What a reader of an output does not take in this time is lost.
                    let _ = ready.collector.outputs().finish(FINISH);
                    return 0;
                }
                Ok(Why::Reload(next)) => *next,
                Err(e) => return failed(&ready.collector, &e),
            };
            self.introduce(&next);
            match self.start(&next.collector) {
                Ok(started) => (ready, runner) = (next, started),
                Err(e) => {
                    let text = e.to_string();
                    ready.collector.log().error(
                        "The new configuration can't start; the one before it is started again.",
                        &[("error", Field::Str(&text))],
                    );
                    match self.start_again(ready) {
                        Ok(started) => (ready, runner) = started,
                        Err(code) => return code,
                    }
                }
            }
        }
    }

    /// Runs one configuration, until the end or until the next one is ready.
    fn turn(&self, ready: &Ready, runner: Runner) -> Result<Why, RunError> {
        let (log, grace) = (ready.collector.log(), ready.loaded.grace);
        let (mut why, mut is_stopping) = (Why::Stop, false);
        let ending = runner.run(|runner, number| match number {
            Some(signal::HUP) if is_stopping => {}
            Some(signal::HUP) => {
                if let Some(next) = self.prepare(runner, log) {
                    why = Why::Reload(Box::new(next));
                    stop(runner, log, grace);
                }
            }
            Some(number) => {
                log.info("Received signal from OS", &[("signal", Field::Str(signal::name(number)))]);
                // A shutdown takes precedence over a reload that has begun.
                (why, is_stopping) = (Why::Stop, true);
                stop(runner, log, grace);
            }
            None => {}
        })?;
        finish(&ending, log);
        Ok(why)
    }

    /// Reads the configuration again, and makes a trial start of it while the one before runs. `None`, with a log
    /// record, where it could not start.
    fn prepare(&self, runner: &mut Runner, log: &Logger) -> Option<Ready> {
        log.warn("Config updated, restart service", &[]);
        let ready = self.read(log)?;
        let tried = ready.collector.trial().and_then(|graph| runner.try_start(graph));
        if let Err(e) = tried {
            let text = e.to_string();
            log.error("The new configuration can't start; the running one goes on.", &[("error", Field::Str(&text))]);
            return None;
        }
        Some(ready)
    }

    /// Reads the configuration again. `None`, with a log record, where it is not valid.
    fn read(&self, log: &Logger) -> Option<Ready> {
        let mut loaded = load(self.invocation, self.registry, self.env);
        let refused = match loaded.plan.take() {
            Some(plan) => match Collector::new(plan, self.identity.clone()) {
                Ok(collector) => return Some(Ready { collector, loaded }),
                Err(e) => e.to_string(),
            },
            None => loaded.diagnostics.to_text(false),
        };
        log.error("The new configuration is not valid; the running one goes on.", &[("error", Field::Str(&refused))]);
        None
    }

    /// Starts a configuration that ran before, with a bounded number of attempts. SIGHUP reads the configuration again;
    /// another signal ends the attempts. `Err` is the exit code.
    fn start_again(&self, mut ready: Ready) -> Result<(Ready, Runner), u8> {
        let mut attempt = 0;
        loop {
            let e = match self.start(&ready.collector) {
                Ok(runner) => return Ok((ready, runner)),
                Err(e) => e,
            };
            attempt += 1;
            if attempt >= ATTEMPTS {
                return Err(failed(&ready.collector, &e));
            }
            let text = e.to_string();
            let fields = [("error", Field::Str(&text)), ("attempts_left", Field::Uint((ATTEMPTS - attempt).into()))];
            let log = ready.collector.log();
            log.error("The configuration that ran before can't start either; it is tried again.", &fields);
            let signals = self.pause().map_err(|e| failed(&ready.collector, &e.into()))?;
            if signals.iter().any(|number| *number != signal::HUP) {
                let _ = ready.collector.outputs().finish(FINISH);
                return Err(0);
            }
            if !signals.is_empty()
                && let Some(next) = self.read(log)
            {
                self.introduce(&next);
                ready = next;
            }
        }
    }

    /// Waits before the next attempt; returns the signals that came.
    fn pause(&self) -> io::Result<Vec<i32>> {
        let mut world = Real::new()?;
        world.set_signals(&self.signals)?;
        let until = world.now() + PAUSE;
        world.wait_for_signals(until)
    }
}

/// As [`fail`], but through the outputs: after the log's last lines, and waiting for [`FINISH`] at most.
fn fail_after(outputs: &Outputs, message: &str) -> u8 {
    if let Ok(mut err) = outputs.open("stderr") {
        let _ = err.write_all(format!("Error: {message}\n").as_bytes());
    }
    let _ = outputs.finish(FINISH);
    1
}

/// `GOMEMLIMIT`, which the operator and the chart set to the container's limit or most of it. There is no garbage
/// collector to tune: it is the memory that percentages refer to where the limit itself can't be read. (`GOMAXPROCS`
/// limits threads; there is one loop, which is within every limit.)
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

fn stop(runner: &mut Runner, log: &Logger, grace: Duration) {
    log.info("Starting shutdown...", &[("timeout", Field::Float(grace.as_secs_f64()))]);
    runner.close(grace);
}

fn finish(ending: &Ending, log: &Logger) {
    ending.left.report(log);
    log.info("Stopping extensions...", &[]);
    log.info("Shutdown complete.", &[("undelivered_items", Field::Uint(ending.left.total()))]);
}

/// Three lines: where to send telemetry, and where to see it.
fn welcome(outputs: &Outputs) -> io::Result<()> {
    let lines = "Send OTLP to 127.0.0.1:4317 (gRPC) or http://127.0.0.1:4318 (HTTP): the defaults of every OpenTelemetry SDK.\n\
         Look at http://127.0.0.1:9464/metrics for metrics; a summary of everything follows here.\n\
         Stop with Ctrl-C. For a collector of your own: --config=FILE, and --help.\n";
    outputs.open("stdout")?.write_all(lines.as_bytes())
}

/// Logs old spellings and all other warnings once, each with its place.
fn say_warnings(loaded: &Loaded, invocation: &Invocation, log: &Logger) {
    for (flag, becomes) in &invocation.old_flags {
        log.warn(&format!("flag --{flag} is deprecated: {becomes}"), &[("at", Field::Str("command line"))]);
    }
    let (items, more) = loaded.diagnostics.shown();
    for item in items {
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
    if let Some(more) = more {
        log.warn(&more, &[("at", Field::Str("configuration"))]);
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
