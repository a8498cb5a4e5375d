//! Runs a collector: start, signals, reload, end.

use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_config::{Severity, codes};
use otelcore_pipeline::{CODE_FIELD, LogField, Logger, World};
use otelcore_reactor::{EventLoop, FINISH_TIMEOUT, Outputs, RealWorld, ShutdownReport, Signals, signal};

use super::args::Invocation;
use super::config_watch::ConfigWatch;
use super::{LoadedConfig, Terminal, load, print_error};
use crate::plan::Plan;
use crate::registry::Registry;
use crate::service::{BuildInfo, Collector, ReloadError, RunError};
use crate::summary::SummaryFactory;

/// The configuration that runs without `--config`.
#[cfg(all(feature = "exporter-prometheus", feature = "extension-zpages"))]
pub(super) const DEFAULT_CONFIG: &str = include_str!("../default.yaml");
#[cfg(not(all(feature = "exporter-prometheus", feature = "extension-zpages")))]
pub(super) const DEFAULT_CONFIG: &str = include_str!("../default-minimal.yaml");

/// How often, and with which pause, a configuration that ran before is tried again when it can't start any more.
const MAX_START_ATTEMPTS: u32 = 30;
const START_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Why the loop ended.
enum EndReason {
    Stop,
    Reload(Box<PreparedCollector>),
}

/// What a reload has led to.
enum ReloadResult {
    /// The loop runs this configuration now.
    Changed(Box<PreparedCollector>),
    /// The loop has to end before this configuration starts.
    NeedsRestart(Box<PreparedCollector>),
}

/// A configuration that has been read and is valid, and its collector.
struct PreparedCollector {
    collector: Collector,
    loaded: LoadedConfig,
}

/// What stays the same when the configuration is replaced.
struct RunContext<'a> {
    invocation: &'a Invocation,
    registry: &'a Registry,
    build_info: BuildInfo,
    memory_hint: MemoryHint,
    signals: Rc<Signals>,
    /// Watches the files of the configuration, with `--reload-on-change`.
    watch: Option<ConfigWatch>,
    env: &'a dyn Fn(&str) -> Option<String>,
}

/// Runs until a signal asks for a shutdown.
pub(super) fn run(
    invocation: &Invocation,
    mut registry: Registry,
    build_info: BuildInfo,
    terminal: &mut Terminal<'_>,
) -> u8 {
    otelcore_reactor::raise_file_limit();
    let memory_hint = MemoryHint::read(terminal.env);
    registry.add(SummaryFactory { is_terminal: terminal.is_terminal });
    let mut loaded = load(invocation, &registry, terminal.env);
    let Some(plan) = loaded.plan.take() else {
        return loaded.report_errors(terminal, "invalid configuration: ");
    };
    let watch = invocation.reload_on_change.then(ConfigWatch::default);
    let collector = match Collector::new(plan, build_info.clone()) {
        Ok(collector) => with_watch(collector, watch.as_ref(), &loaded),
        Err(e) => return print_error(terminal, &e.to_string()),
    };
    let signals = match Signals::catch(&[signal::TERM, signal::INT, signal::HUP]) {
        Ok(signals) => Rc::new(signals),
        Err(e) => return print_error(terminal, &e.to_string()),
    };
    let context =
        RunContext { invocation, registry: &registry, build_info, memory_hint, signals, watch, env: terminal.env };
    let prepared = PreparedCollector { collector, loaded };
    context.log_warnings(&prepared);
    let outputs = prepared.collector.outputs().clone();
    let result = context.start_collector(&prepared.collector).and_then(|event_loop| {
        if invocation.config.is_empty() && invocation.set.is_empty() {
            print_welcome(&outputs)?;
        }
        Ok(event_loop)
    });
    match result {
        Ok(event_loop) => context.run_until_stopped(prepared, event_loop),
        Err(e) => log_and_print_error(&prepared.collector, &e),
    }
}

/// Makes a collector watch the files that its configuration was read from.
fn with_watch(mut collector: Collector, watch: Option<&ConfigWatch>, loaded: &LoadedConfig) -> Collector {
    if let Some(watch) = watch.cloned() {
        watch.set_files(&loaded.files, true);
        collector.add_internal_part(Arc::new(move || watch.part()));
    }
    collector.report_idle_pipelines();
    collector
}

/// Ends after a failed start or an error of the loop; gives the exit code.
fn log_and_print_error(collector: &Collector, e: &RunError) -> u8 {
    let text = e.to_string();
    collector.log().error("error found during service initialization", &[("error", LogField::Str(&text))]);
    print_error_to_outputs(collector.outputs(), &text)
}

impl RunContext<'_> {
    /// Logs the warnings about a configuration before it starts.
    fn log_warnings(&self, prepared: &PreparedCollector) {
        log_config_warnings(&prepared.loaded, self.invocation, prepared.collector.log());
        self.memory_hint.log_use(prepared.collector.log());
    }

    fn start_collector(&self, collector: &Collector) -> Result<EventLoop, RunError> {
        let mut world = RealWorld::new()?;
        world.set_memory_hint(self.memory_hint.bytes);
        world.set_signals(&self.signals)?;
        collector.start(world)
    }

    /// Runs one configuration after another, to the end.
    fn run_until_stopped(&self, mut prepared: PreparedCollector, mut event_loop: EventLoop) -> u8 {
        loop {
            let next = match self.run_one(&mut prepared, event_loop) {
                Ok(EndReason::Stop) => {
                    // What a reader of an output does not take in this time is lost.
                    let _ = prepared.collector.outputs().finish(FINISH_TIMEOUT);
                    return 0;
                }
                Ok(EndReason::Reload(next)) => *next,
                Err(e) => return log_and_print_error(&prepared.collector, &e),
            };
            self.log_warnings(&next);
            match self.start_collector(&next.collector) {
                Ok(started) => (prepared, event_loop) = (next, started),
                Err(e) => {
                    let text = e.to_string();
                    prepared.collector.log().error(
                        "The new configuration can't start; the one before it is started again.",
                        &[("error", LogField::Str(&text))],
                    );
                    match self.restart_previous(prepared) {
                        Ok(restarted) => (prepared, event_loop) = restarted,
                        Err(code) => return code,
                    }
                }
            }
        }
    }

    /// Runs a configuration and those that replace it while it runs, until the end or until one is ready that needs a restart.
    fn run_one(&self, prepared: &mut PreparedCollector, event_loop: EventLoop) -> Result<EndReason, RunError> {
        let (mut end_reason, mut is_stopping) = (EndReason::Stop, false);
        let report = event_loop.run(|event_loop, number| {
            let has_changed = || self.watch.as_ref().is_some_and(ConfigWatch::take_change);
            let is_reload = number == Some(signal::HUP) || number.is_none() && has_changed();
            match number {
                _ if is_reload && is_stopping => {}
                _ if is_reload => match self.reload(event_loop, prepared, matches!(end_reason, EndReason::Reload(_))) {
                    Some(ReloadResult::Changed(next)) => *prepared = *next,
                    Some(ReloadResult::NeedsRestart(next)) => {
                        end_reason = EndReason::Reload(next);
                        begin_shutdown(event_loop, prepared.collector.log(), prepared.loaded.grace);
                    }
                    None => {}
                },
                Some(number) => {
                    let log = prepared.collector.log();
                    log.info("Received signal from OS", &[("signal", LogField::Str(signal::name(number)))]);
                    // A shutdown takes precedence over a reload that has begun.
                    (end_reason, is_stopping) = (EndReason::Stop, true);
                    begin_shutdown(event_loop, log, prepared.loaded.grace);
                }
                None => {}
            }
        })?;
        log_shutdown(&report, prepared.collector.log());
        Ok(end_reason)
    }

    /// Reads the configuration again, and changes the running one by the difference. `None`, with a log record, where it is not
    /// valid or can't start. While the running one ends for a restart, this configuration is the next one.
    fn reload(&self, event_loop: &mut EventLoop, running: &PreparedCollector, is_ending: bool) -> Option<ReloadResult> {
        let log = running.collector.log();
        let (plan, loaded) = self.read_config(log)?;
        let next = match is_ending {
            true => Err(ReloadError::NeedsRestart("a restart is under way".to_owned())),
            false => running.collector.successor(plan.clone()),
        };
        let result = next.and_then(|next| next.take_over(event_loop, loaded.grace).map(|_| next));
        let error = match result {
            Ok(collector) => {
                let next = PreparedCollector { collector, loaded };
                self.log_warnings(&next);
                return Some(ReloadResult::Changed(Box::new(next)));
            }
            Err(ReloadError::NeedsRestart(reason)) => {
                log.warn("Config updated, restart service", &[("reason", LogField::Str(&reason))]);
                let tried = self.new_collector(plan, loaded).and_then(|prepared| {
                    event_loop.try_start(prepared.collector.build_trial_graph()?)?;
                    Ok(prepared)
                });
                match tried {
                    Ok(prepared) => return Some(ReloadResult::NeedsRestart(Box::new(prepared))),
                    Err(e) => e.to_string(),
                }
            }
            Err(e) => e.to_string(),
        };
        log.error("The new configuration can't start; the running one goes on.", &[("error", LogField::Str(&error))]);
        None
    }

    fn new_collector(&self, plan: Plan, loaded: LoadedConfig) -> Result<PreparedCollector, RunError> {
        let collector = with_watch(Collector::new(plan, self.build_info.clone())?, self.watch.as_ref(), &loaded);
        Ok(PreparedCollector { collector, loaded })
    }

    /// Reads the configuration again. `None`, with a log record, where it is not valid.
    fn read_config(&self, log: &Logger) -> Option<(Plan, LoadedConfig)> {
        let mut loaded = load(self.invocation, self.registry, self.env);
        if let Some(watch) = &self.watch {
            watch.set_files(&loaded.files, loaded.plan.is_some());
        }
        if let Some(plan) = loaded.plan.take() {
            return Some((plan, loaded));
        }
        let error = loaded.diagnostics.render_to_string(false);
        log.error("The new configuration is not valid; the running one goes on.", &[("error", LogField::Str(&error))]);
        None
    }

    /// Starts a configuration that ran before, with a bounded number of attempts. SIGHUP reads the configuration again;
    /// another signal ends the attempts. `Err` is the exit code.
    fn restart_previous(&self, mut prepared: PreparedCollector) -> Result<(PreparedCollector, EventLoop), u8> {
        let mut attempt = 0;
        loop {
            let e = match self.start_collector(&prepared.collector) {
                Ok(event_loop) => return Ok((prepared, event_loop)),
                Err(e) => e,
            };
            attempt += 1;
            if attempt >= MAX_START_ATTEMPTS {
                return Err(log_and_print_error(&prepared.collector, &e));
            }
            let text = e.to_string();
            let fields = [
                ("error", LogField::Str(&text)),
                ("attempts_left", LogField::Uint((MAX_START_ATTEMPTS - attempt).into())),
            ];
            let log = prepared.collector.log();
            log.error("The configuration that ran before can't start either; it is tried again.", &fields);
            let signals = self.wait_before_retry().map_err(|e| log_and_print_error(&prepared.collector, &e.into()))?;
            if signals.iter().any(|number| *number != signal::HUP) {
                let _ = prepared.collector.outputs().finish(FINISH_TIMEOUT);
                return Err(0);
            }
            if signals.is_empty() {
                continue;
            }
            let Some((plan, loaded)) = self.read_config(log) else { continue };
            match self.new_collector(plan, loaded) {
                Ok(next) => {
                    self.log_warnings(&next);
                    prepared = next;
                }
                Err(e) => {
                    let error = e.to_string();
                    let fields = [("error", LogField::Str(&error))];
                    log.error("The new configuration is not valid; the running one goes on.", &fields);
                }
            }
        }
    }

    /// Waits before the next attempt; returns the signals that came.
    fn wait_before_retry(&self) -> io::Result<Vec<i32>> {
        let mut world = RealWorld::new()?;
        world.set_signals(&self.signals)?;
        let deadline = world.now() + START_RETRY_DELAY;
        world.wait_for_signals(deadline)
    }
}

/// As [`fail`], but through the outputs: after the log's last lines, and waiting for [`FINISH_TIMEOUT`] at most.
fn print_error_to_outputs(outputs: &Outputs, message: &str) -> u8 {
    if let Ok(mut err) = outputs.open("stderr") {
        let _ = err.write_all(format!("Error: {message}\n").as_bytes());
    }
    let _ = outputs.finish(FINISH_TIMEOUT);
    1
}

/// `GOMEMLIMIT`, which the operator and the chart set to the container's limit or most of it. There is no garbage
/// collector to tune: it is the memory that percentages refer to where the limit itself can't be read. (`GOMAXPROCS`
/// limits threads; there is one loop, which is within every limit.)
#[derive(Default)]
struct MemoryHint {
    bytes: Option<u64>,
    error: Option<String>,
}

impl MemoryHint {
    fn read(env: &dyn Fn(&str) -> Option<String>) -> Self {
        match otelcore_reactor::go_memory_limit(&env("GOMEMLIMIT").unwrap_or_default()) {
            Ok(Some(0)) => Self { bytes: None, error: Some("GOMEMLIMIT is 0, which leaves no memory".to_owned()) },
            Ok(bytes) => Self { bytes, error: None },
            Err(wrong) => Self { bytes: None, error: Some(wrong) },
        }
    }

    fn log_use(&self, log: &Logger) {
        if let Some(wrong) = &self.error {
            log.warn("GOMEMLIMIT is not used", &[("error", LogField::Str(wrong))]);
        }
        let Some(bytes) = self.bytes else { return };
        let mut fields = vec![("GOMEMLIMIT", LogField::Uint(bytes))];
        let message = match otelcore_reactor::cgroup_limit() {
            Some(limit) => {
                fields.push(("memory_limit", LogField::Uint(limit)));
                "GOMEMLIMIT is a hint: the container's memory limit goes before it"
            }
            None => "GOMEMLIMIT is the memory that percentages count from, as no cgroup sets a limit",
        };
        log.info(message, &fields);
    }
}

fn begin_shutdown(event_loop: &mut EventLoop, log: &Logger, grace: Duration) {
    log.info("Starting shutdown...", &[("timeout", LogField::Float(grace.as_secs_f64()))]);
    event_loop.close(grace);
}

fn log_shutdown(report: &ShutdownReport, log: &Logger) {
    report.undelivered.report(log);
    log.info("Stopping extensions...", &[]);
    log.info("Shutdown complete.", &[("undelivered_items", LogField::Uint(report.undelivered.total()))]);
}

/// Three lines: where to send telemetry, and where to see it.
fn print_welcome(outputs: &Outputs) -> io::Result<()> {
    let pages = if cfg!(all(feature = "exporter-prometheus", feature = "extension-zpages")) {
        "Look at http://127.0.0.1:55679 for a live page, and http://127.0.0.1:9464/metrics for metrics; a summary"
    } else {
        "A summary"
    };
    let lines = format!(
        "Send OTLP to 127.0.0.1:4317 (gRPC) or http://127.0.0.1:4318 (HTTP): the defaults of every OpenTelemetry SDK.\n\
         {pages} of everything follows here.\n\
         Stop with Ctrl-C. For a collector of your own: --config=FILE, and --help.\n"
    );
    outputs.open("stdout")?.write_all(lines.as_bytes())
}

/// Logs old spellings and all other warnings once, each with its place.
fn log_config_warnings(loaded: &LoadedConfig, invocation: &Invocation, log: &Logger) {
    for (flag, replacement) in &invocation.old_flags {
        let fields = [("at", LogField::Str("command line")), (CODE_FIELD, LogField::Str(codes::DEPRECATED))];
        log.warn(&format!("flag --{flag} is deprecated: {replacement}"), &fields);
    }
    let (items, omitted) = loaded.diagnostics.shown_items();
    for item in items {
        if item.severity == Severity::Error {
            continue;
        }
        let position =
            item.origin.as_ref().map(|o| format!("{}:{}:{}", o.source, o.line, o.column)).unwrap_or_default();
        let mut fields = vec![("at", LogField::Str(&position)), ("key", LogField::Str(&item.path))];
        if let Some(help) = &item.help {
            fields.push(("help", LogField::Str(help)));
        }
        fields.push((CODE_FIELD, LogField::Str(item.kind.code())));
        log.warn(&item.message, &fields);
    }
    if let Some(more) = omitted {
        let fields = [("at", LogField::Str("configuration")), (CODE_FIELD, LogField::Str(codes::OMITTED))];
        log.warn(&more, &fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_gomemlimit_is_a_warning_and_sets_no_limit() {
        let read_hint = |text: &str| MemoryHint::read(&|name| (name == "GOMEMLIMIT").then(|| text.to_owned()));
        assert_eq!(read_hint("204MiB").bytes, Some(204 << 20));
        for wrong in ["204MB", "0"] {
            assert!(read_hint(wrong).bytes.is_none() && read_hint(wrong).error.is_some(), "{wrong}");
        }
        assert!(MemoryHint::read(&|_| None).error.is_none());
    }
}
