//! `send`: makes test telemetry and sends it by OTLP.
//!
//! It is a collector with one receiver, which makes the telemetry, and one OTLP exporter without queue and retries, so that TLS,
//! headers, codings and messages are those of every exporter, and each request has its own outcome. Owns the options and
//! the collector's configuration.

mod load;
mod report;
mod target;
mod telemetry;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_config::{Diagnostics, FeatureGates};
use otelcore_pdata::Signal;
use otelcore_reactor::{EventLoop, RealWorld, Signals, signal};

use self::load::{LoadFactory, SharedResults};
use self::report::{RunLog, print_result, progress_line};
use self::target::Target;
use super::args::GivenFlags;
use super::{SystemSources, Terminal, print_error};
use crate::plan::Plan;
use crate::registry::Registry;
use crate::service::{BuildInfo, Collector};

/// How often the progress is looked at.
const TURN: Duration = Duration::from_millis(100);
/// How long answers are waited for after the last request, beside the timeout of a request.
const GRACE: Duration = Duration::from_secs(1);

/// The bounds of the options, so that a number that is too long by mistake takes no memory.
const MAX_BATCH: u32 = 100_000;
const MAX_SIZE: usize = 1 << 20;
const MAX_REQUEST_BYTES: usize = 64 << 20;
const MAX_CONCURRENCY: usize = 1024;

/// What is sent.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct LoadOptions {
    signals: Vec<Signal>,
    /// Items in a request.
    batch: u32,
    /// Items of each signal; `None`: until the time is over.
    count: Option<u64>,
    duration: Option<Duration>,
    /// Items of each signal a second; `None`: as fast as possible.
    rate: Option<f64>,
    /// The length of the padding of each item.
    size: usize,
    concurrency: usize,
    timeout: Duration,
    service: String,
}

/// Runs the command.
pub(super) fn run(signals: &[String], flags: &GivenFlags, registry: &Registry, terminal: &mut Terminal<'_>) -> u8 {
    let prepared = LoadOptions::read(signals, flags).and_then(|options| {
        let target = Target::read(flags, terminal.env)?;
        Ok((options, target))
    });
    let (options, target) = match prepared {
        Ok(prepared) => prepared,
        Err(e) => return print_error(terminal, &e),
    };
    match send(&options, &target, registry, terminal) {
        Ok(is_complete) => u8::from(!is_complete),
        Err(e) => print_error(terminal, &e),
    }
}

impl LoadOptions {
    fn read(signals: &[String], flags: &GivenFlags) -> Result<Self, String> {
        let of_name = |name: &String| {
            let found = Signal::ALL.into_iter().find(|signal| signal.name() == name);
            found.ok_or_else(|| format!("unknown signal {name:?}: write traces, metrics or logs"))
        };
        let mut signals = signals.iter().map(of_name).collect::<Result<Vec<_>, _>>()?;
        if signals.is_empty() {
            signals = Signal::ALL.to_vec();
        }
        signals.sort_unstable();
        signals.dedup();
        let duration = time(flags, "duration")?;
        let rate = number::<f64>(flags, "rate")?.filter(|rate| *rate != 0.0);
        if rate.is_some_and(|rate| !rate.is_finite() || rate < 0.0) {
            return Err("--rate must be a positive number of items a second, or 0".to_owned());
        }
        let mut count = number::<u64>(flags, "count")?;
        if count.is_none() && duration.is_none() && rate.is_none() {
            count = Some(10);
        }
        let batch = match number::<u32>(flags, "batch")? {
            Some(batch) => batch,
            // A slow rate is requests of one second's items, not a request every minute.
            None => 100.min(count.map_or(100, |n| u32::try_from(n).unwrap_or(100))).min(rate.map_or(100, |r| r as u32)),
        };
        let batch = if flags.value("batch").is_none() { batch.max(1) } else { batch };
        let options = Self {
            signals,
            batch,
            count,
            duration,
            rate,
            size: number(flags, "size")?.unwrap_or(0),
            concurrency: number(flags, "concurrency")?.unwrap_or(8),
            timeout: time(flags, "timeout")?.unwrap_or(Duration::from_secs(10)),
            service: flags.value("service").unwrap_or("otelcore-send").to_owned(),
        };
        let bounds = [
            ("batch", options.batch as usize, 1, MAX_BATCH as usize),
            ("size", options.size, 0, MAX_SIZE),
            ("concurrency", options.concurrency, 1, MAX_CONCURRENCY),
        ];
        for (name, value, min, max) in bounds {
            if !(min..=max).contains(&value) {
                return Err(format!("--{name} must be between {min} and {max}"));
            }
        }
        if options.size.saturating_mul(options.batch as usize) > MAX_REQUEST_BYTES {
            return Err("a request would be larger than 64 MiB: write a smaller --batch or --size".to_owned());
        }
        if options.count == Some(0) {
            return Err("--count must be at least 1".to_owned());
        }
        Ok(options)
    }
}

/// A number that a flag has.
fn number<T: std::str::FromStr>(flags: &GivenFlags, name: &str) -> Result<Option<T>, String> {
    let parse =
        |text: &str| text.parse().map_err(|_| format!("invalid argument {text:?} for \"--{name}\" flag: not a number"));
    flags.value(name).map(parse).transpose()
}

/// A time that a flag has, in Go's form.
fn time(flags: &GivenFlags, name: &str) -> Result<Option<Duration>, String> {
    let Some(text) = flags.value(name) else { return Ok(None) };
    let nanos = otelcore_config::duration::parse(text)
        .map_err(|e| format!("invalid argument {text:?} for \"--{name}\" flag: {e}"))?;
    match u64::try_from(nanos) {
        Ok(nanos) if nanos > 0 => Ok(Some(Duration::from_nanos(nanos))),
        _ => Err(format!("--{name} must be positive")),
    }
}

/// Sends everything and prints what came back. True where all was accepted.
fn send(
    options: &LoadOptions,
    target: &Target,
    registry: &Registry,
    terminal: &mut Terminal<'_>,
) -> Result<bool, String> {
    let results = SharedResults::default();
    let mut registry = registry.clone();
    registry.add(LoadFactory { options: options.clone(), results: results.clone() });
    let plan = plan(&target.to_yaml(options), &target.settings(), &registry, terminal)?;
    let log = Arc::new(RunLog::default());
    let collector = Collector::with_log(plan, BuildInfo::default(), log.clone());
    let mut world = RealWorld::new().map_err(|e| e.to_string())?;
    let signals = Rc::new(Signals::catch(&[signal::TERM, signal::INT]).map_err(|e| e.to_string())?);
    world.set_signals(&signals).map_err(|e| e.to_string())?;
    let event_loop = collector.start(world).map_err(|e| e.to_string())?;
    let is_interrupted = drive(event_loop, options, &results, terminal)?;
    let (results, log) = (results.get(), log.take());
    print_result(&results, &log, &target.describe(), is_interrupted, terminal.out);
    Ok(results.is_complete() && log.rejected() == 0)
}

/// Runs the collector until the load has ended and every answer is there, or a signal ends it. True if one did.
fn drive(
    mut event_loop: EventLoop,
    options: &LoadOptions,
    results: &SharedResults,
    terminal: &mut Terminal<'_>,
) -> Result<bool, String> {
    let (mut signals, mut is_closing, mut is_interrupted, mut width) = (Vec::new(), false, false, 0);
    loop {
        let deadline = event_loop.now() + TURN;
        event_loop.turn(deadline, &mut signals).map_err(|e| e.to_string())?;
        if is_closing && event_loop.shutdown_report().is_some() {
            break;
        }
        let has_ended = results.get().has_ended;
        is_interrupted |= !signals.is_empty();
        if !is_closing && (has_ended || !signals.is_empty()) {
            is_closing = true;
            event_loop.close(options.timeout + GRACE);
        }
        signals.clear();
        if terminal.is_terminal && !is_closing {
            let line = progress_line(&results.get(), options);
            let _ = write!(terminal.err, "\r{line:width$}");
            let _ = terminal.err.flush();
            width = line.len();
        }
    }
    if width > 0 {
        let _ = write!(terminal.err, "\r{:width$}\r", "");
    }
    Ok(is_interrupted)
}

fn plan(yaml: &str, settings: &[String], registry: &Registry, terminal: &Terminal<'_>) -> Result<Plan, String> {
    let (d, gates) = (Diagnostics::new(), FeatureGates::parse::<&str>(&[]).0);
    let sources = SystemSources::new(terminal.env);
    let root = otelcore_config::load(&[format!("yaml:{yaml}")], settings, &sources, &gates, &d);
    let plan = root.and_then(|root| Plan::parse(&root, registry, &gates, &d));
    plan.ok_or_else(|| format!("the exporter has a mistake:\n{}", d.render_to_string(false)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::args::{self, Command};

    fn options(args: &[&str]) -> Result<LoadOptions, String> {
        let all = ["send"].iter().chain(args).map(std::ffi::OsString::from);
        match args::parse(all)?.command {
            Command::Send { signals, flags } => LoadOptions::read(&signals, &flags),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn load_without_an_end_is_sent_once() {
        let load = options(&[]).unwrap();
        assert_eq!((load.signals.len(), load.batch, load.count, load.duration), (3, 10, Some(10), None));
        let load = options(&["logs", "--duration=2s", "--rate=5"]).unwrap();
        assert_eq!((load.signals, load.batch, load.count, load.rate), (vec![Signal::Logs], 5, None, Some(5.0)));
        let load = options(&["--rate=0.5"]).unwrap();
        assert_eq!((load.batch, load.count), (1, None), "until it is interrupted");
        assert_eq!(options(&["--count=5000"]).unwrap().batch, 100);
    }

    #[test]
    fn option_out_of_its_bounds_is_an_error_that_names_it() {
        for (args, message) in [
            (&["spans"][..], "unknown signal \"spans\": write traces, metrics or logs"),
            (&["--batch=0"], "--batch must be between 1 and 100000"),
            (&["--size=9999999"], "--size must be between 0 and 1048576"),
            (
                &["--size=1000000", "--batch=1000"],
                "a request would be larger than 64 MiB: write a smaller --batch or --size",
            ),
            (&["--concurrency=100000"], "--concurrency must be between 1 and 1024"),
            (&["--count=0"], "--count must be at least 1"),
            (&["--count=x"], "invalid argument \"x\" for \"--count\" flag: not a number"),
            (&["--rate=-1"], "--rate must be a positive number of items a second, or 0"),
            (&["--rate=nan"], "--rate must be a positive number of items a second, or 0"),
            (&["--duration=0s"], "--duration must be positive"),
            (
                &["--protocol=udp"],
                "invalid argument \"udp\" for \"--protocol\" flag: write one of grpc, http/protobuf, http/json",
            ),
        ] {
            assert_eq!(options(args).unwrap_err(), message);
        }
    }
}
