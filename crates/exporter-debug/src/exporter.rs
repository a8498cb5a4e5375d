//! Shows payloads: counts them, makes the dump if it will be seen, and writes both.

use std::io::Write;

use otelcore_pdata::views::{ResourceLogs, ResourceMetrics, ResourceSpans, entries};
use otelcore_pdata::wire::{Fields, Wire};
use otelcore_pdata::{Rope, Signal};
use otelcore_pipeline::{Cx, Done, Exporter, Field, JobId, Level, Logger, Mono, Outcome, Payload, Scope, StartError};

use crate::config::{Debug, Verbosity};
use crate::sampler::Sampler;
use crate::text::Text;
use crate::{detailed, normal};

/// Shows payloads of any signal.
#[derive(Debug)]
pub(crate) struct DebugExporter {
    verbosity: Verbosity,
    outlet: Outlet,
    /// By signal, as each counts its own messages.
    samplers: [Sampler; 3],
    /// The dump in the making; kept for its memory.
    dump: Text,
}

/// Where the text goes.
#[derive(Debug)]
enum Outlet {
    /// The collector's own log, by signal.
    Log([Logger; 3]),
    /// Files and standard streams, open once the exporter has started.
    Files { paths: Vec<String>, open: Vec<File>, log: Logger },
}

struct File {
    path: String,
    to: Box<dyn Write>,
    /// The last write failed, and the log says so.
    failing: bool,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("File").field(&self.path).finish()
    }
}

impl DebugExporter {
    pub(crate) fn new(settings: &Debug, log: &Logger) -> Self {
        let outlet = match &settings.output_paths {
            None => Outlet::Log(Signal::ALL.map(|s| log.scoped(Scope { signal: s.name(), ..log.scope().clone() }))),
            Some(paths) => Outlet::Files { paths: paths.clone(), open: Vec::new(), log: log.clone() },
        };
        let sampler = |_| Sampler::new(settings.sampling_initial, settings.sampling_thereafter);
        Self { verbosity: settings.verbosity, outlet, samplers: Signal::ALL.map(sampler), dump: Text::default() }
    }

    fn show(&mut self, now: Mono, payload: &Payload) {
        let Some(sampler) = self.samplers.get_mut(payload.signal as usize) else { return };
        if sampler.is_mute() || !self.outlet.wants(payload.signal) {
            return;
        }
        let summary = Summary::of(payload);
        if sampler.admits(now, summary.title.as_bytes()) {
            self.outlet.summary(payload.signal, &summary);
        }
        match self.verbosity {
            Verbosity::Basic => return,
            Verbosity::Normal => normal::write(&mut self.dump, payload.signal, &payload.body),
            Verbosity::Detailed => detailed::write(&mut self.dump, payload.signal, &payload.body),
        }
        // A dump is a message like any other, so only its text can tell whether it has been written before.
        let dump = self.dump.finish();
        if sampler.admits(now, dump) {
            self.outlet.dump(payload.signal, dump);
        }
        self.dump.clear();
    }
}

impl Exporter for DebugExporter {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let Outlet::Files { paths, open, .. } = &mut self.outlet else { return Ok(()) };
        for path in paths.iter() {
            let to = cx.output(path).map_err(|e| StartError(format!("couldn't open sink {path:?}: {e}")))?;
            open.push(File { path: path.clone(), to, failing: false });
        }
        Ok(())
    }

    fn send(&mut self, cx: &mut Cx<'_>, job: JobId, payload: &Payload, _: Mono, done: &mut Done) {
        self.show(cx.now(), payload);
        done.push(job, Outcome::Delivered);
    }

    fn close(&mut self, _: &mut Cx<'_>) {
        if let Outlet::Files { open, .. } = &mut self.outlet {
            open.clear();
        }
    }
}

impl Outlet {
    /// Whether anybody will see it, so that nothing is made in vain.
    fn wants(&self, signal: Signal) -> bool {
        match self {
            Self::Log(loggers) => loggers.get(signal as usize).is_some_and(|log| log.enabled(Level::Info)),
            Self::Files { open, .. } => !open.is_empty(),
        }
    }

    fn summary(&mut self, signal: Signal, summary: &Summary) {
        match self {
            Self::Log(loggers) => {
                if let Some(log) = loggers.get(signal as usize) {
                    let fields = summary.counts.map(|(label, count)| (label, Field::Uint(count)));
                    log.info(summary.title, fields.get(..summary.len).unwrap_or_default());
                }
            }
            Self::Files { open, log, .. } => write(open, log, summary.line().as_bytes()),
        }
    }

    fn dump(&mut self, signal: Signal, dump: &[u8]) {
        match self {
            Self::Log(loggers) => {
                if let Some(log) = loggers.get(signal as usize) {
                    log.info(&String::from_utf8_lossy(dump), &[]);
                }
            }
            // Files get the bytes as they came, and the end of the message after the end of its last line.
            // One record, which an output takes or drops as a whole.
            Self::Files { open, log, .. } => write(open, log, &[dump, b"\n"].concat()),
        }
    }
}

/// Writes to every file. One that fails is tried again with the next payload and logged once.
fn write(files: &mut [File], log: &Logger, record: &[u8]) {
    for file in files {
        let written = file.to.write_all(record);
        if let Err(error) = &written
            && !file.failing
        {
            let error = error.to_string();
            log.error("cannot write debug output", &[("path", Field::Str(&file.path)), ("error", Field::Str(&error))]);
        }
        file.failing = written.is_err();
    }
}

/// The line that counts.
#[derive(Debug)]
struct Summary {
    title: &'static str,
    counts: [(&'static str, u64); 3],
    /// How many of the counts there are.
    len: usize,
}

impl Summary {
    fn of(payload: &Payload) -> Self {
        let items = u64::from(payload.items());
        let body = &payload.body;
        let (title, counts, len) = match payload.signal {
            Signal::Traces => {
                let resources = count(entries::<ResourceSpans<'_>>(body));
                ("Traces", [("resource spans", resources), ("spans", items), ("", 0)], 2)
            }
            Signal::Metrics => {
                let resources = count(entries::<ResourceMetrics<'_>>(body));
                let counts = [("resource metrics", resources), ("metrics", metrics(body)), ("data points", items)];
                ("Metrics", counts, 3)
            }
            Signal::Logs => {
                let resources = count(entries::<ResourceLogs<'_>>(body));
                ("Logs", [("resource logs", resources), ("log records", items), ("", 0)], 2)
            }
        };
        Self { title, counts, len }
    }

    /// As zap's console encoding shows it.
    fn line(&self) -> String {
        let fields: Vec<_> = self.counts.iter().take(self.len).map(|(label, n)| format!("\"{label}\": {n}")).collect();
        format!("{}\t{{{}}}\n", self.title, fields.join(", "))
    }
}

fn count<T>(all: impl Iterator<Item = T>) -> u64 {
    // A body of 2^64 entries does not fit into memory.
    all.fold(0, |n, _| n + 1)
}

/// How many metrics there are, without reading them: `scope_metrics` and `metrics` are both field 2.
fn metrics(body: &Rope) -> u64 {
    let second = |raw| Fields::new(raw).filter_map(|f| if let (2, Wire::Len(raw)) = f { Some(raw) } else { None });
    count(entries::<ResourceMetrics<'_>>(body).flat_map(|entry| second(entry.raw)).flat_map(second))
}
