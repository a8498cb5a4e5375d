//! The `summary` exporter of the embedded default configuration: prints how much has come in, by service.
//!
//! On a terminal the table is redrawn in place every second; elsewhere one line in each period gives what is new.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::time::Duration;

use otelcore_config::{ComponentId, Section};
use otelcore_pdata::Signal;
use otelcore_pdata::views::{AnyValue, Resource, ResourceLogs, ResourceMetrics, ResourceSpans, entries};
use otelcore_pdata::wire::{Fields, Wire};
use otelcore_pipeline::{
    About, Build, Component, Cx, Done, Event, Exporter, Factory, JobId, Kind, Mono, Outcome, Payload, SendingSettings,
    Settings, StartError,
};

/// The most services that are counted separately; all further ones are counted together.
const SERVICES: usize = 100;
/// The most characters of a service's name.
const NAME: usize = 64;
/// How many resources of a payload, bytes before the last of them, and items of each resource are read. The rest is
/// counted as [`OTHERS`], so that no payload takes long.
const RESOURCES: usize = 5000;
const BYTES: usize = 1 << 20;
const ITEMS: usize = 1 << 20;
/// The name under which everything else is counted together.
const OTHERS: &[u8] = b"(others)";

/// Makes `summary` exporters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SummaryFactory {
    /// Whether standard output is a terminal, to redraw on.
    pub(crate) terminal: bool,
}

impl Factory for SummaryFactory {
    fn about(&self) -> About {
        About { kind: Kind::Exporter, type_name: "summary", aliases: &[], signals: &Signal::ALL, stability: "Alpha" }
    }

    fn parse(&self, _: &ComponentId, s: Section<'_>) -> Option<Box<dyn Settings>> {
        s.finish();
        Some(Box::new(*self))
    }
}

impl Settings for SummaryFactory {
    fn create(&self, _: &Build<'_>) -> Result<Component, StartError> {
        let summary = Summary { terminal: self.terminal, ..Summary::default() };
        Ok(Component::Exporter(Box::new(summary), SendingSettings::direct()))
    }
}

/// Items of one service, by signal.
type Counts = [u64; 3];

#[derive(Default)]
struct Summary {
    terminal: bool,
    output: Option<Box<dyn Write>>,
    services: BTreeMap<String, Counts>,
    total: Counts,
    shown: Counts,
    /// Lines of the last table on the terminal.
    lines: usize,
    since: Mono,
}

impl Summary {
    fn period(&self) -> Duration {
        Duration::from_secs(if self.terminal { 1 } else { 10 })
    }

    fn count(&mut self, service: &[u8], signal: Signal, items: u32) {
        let shown = service.get(..4 * NAME).unwrap_or(service);
        // Control characters would change the state of the terminal.
        let mut name: String = String::from_utf8_lossy(shown).chars().filter(|c| !c.is_control()).take(NAME).collect();
        if !self.services.contains_key(&name) && self.services.len() >= SERVICES {
            name = String::from_utf8_lossy(OTHERS).into_owned();
        }
        self.services.entry(name).or_default()[signal as usize] += u64::from(items);
        self.total[signal as usize] += u64::from(items);
    }

    /// Counts the items of each resource, up to the limits above.
    fn count_each<'a>(&mut self, payload: &Payload, entries: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
        let (mut rest, mut bytes) = (payload.items(), 0);
        for (raw, service) in entries.take(RESOURCES) {
            if bytes > BYTES {
                break;
            }
            bytes += raw.len();
            let items = items(raw).min(rest);
            rest -= items;
            self.count(service, payload.signal, items);
        }
        if rest > 0 {
            self.count(OTHERS, payload.signal, rest);
        }
    }

    /// The whole table.
    fn table(&self, elapsed: Duration) -> String {
        let mut out = String::new();
        let seconds = elapsed.as_secs_f64().max(0.001);
        let _ = writeln!(out, "{:<32} {:>12} {:>14} {:>12}", "service", "spans", "metric points", "log records");
        for (name, [spans, points, records]) in &self.services {
            let _ = writeln!(out, "{:<32.32} {spans:>12} {points:>14} {records:>12}", name);
        }
        let [spans, points, records] = self.total;
        let _ = writeln!(out, "{:<32} {spans:>12} {points:>14} {records:>12}", "all");
        let rates = [0, 1, 2].map(|i| (self.total[i] - self.shown[i]) as f64 / seconds);
        let _ = writeln!(out, "{:<32} {:>12.0} {:>14.0} {:>12.0}", "a second", rates[0], rates[1], rates[2]);
        out
    }

    fn line(&self) -> Option<String> {
        let [spans, points, records] = [0, 1, 2].map(|i| self.total[i] - self.shown[i]);
        if spans + points + records == 0 {
            return None;
        }
        let services = self.services.len();
        let [all_spans, all_points, all_records] = self.total;
        Some(format!(
            "received {spans} spans, {points} metric points, {records} log records (in all {all_spans}, {all_points}, {all_records}; services: {services})\n"
        ))
    }

    fn show(&mut self, now: Mono) {
        let text = if self.terminal {
            if self.total == [0; 3] {
                return;
            }
            let table = self.table(now.since(self.since));
            // Move up to the first line of the last table, and clear from there.
            let up = if self.lines > 0 { format!("\x1b[{}A\x1b[J", self.lines) } else { String::new() };
            self.lines = table.lines().count();
            format!("{up}{table}")
        } else {
            self.line().unwrap_or_default()
        };
        self.shown = self.total;
        self.since = now;
        if let Some(output) = &mut self.output {
            // An error is ignored: a reader that is slow or has closed its end only misses the summary.
            if output.write_all(text.as_bytes()).is_err() {
                self.lines = 0;
            }
        }
    }
}

/// The number of spans or log records of a resource's entry, without parsing them: the scopes are field 2 of the entry,
/// and the items are field 2 of a scope, in both signals.
fn items(entry: &[u8]) -> u32 {
    let second = |raw| Fields::new(raw).filter_map(|f| if let (2, Wire::Len(raw)) = f { Some(raw) } else { None });
    u32::try_from(second(entry).flat_map(second).take(ITEMS).count()).unwrap_or(u32::MAX)
}

fn service<'a>(resource: &Resource<'a>) -> &'a [u8] {
    match resource.attributes().find(|kv| kv.key == b"service.name").map(|kv| kv.value) {
        Some(AnyValue::String(name)) if !name.is_empty() => name,
        _ => b"unknown_service",
    }
}

impl Exporter for Summary {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.output = Some(cx.output("stdout").map_err(|e| StartError(e.to_string()))?);
        self.since = cx.now();
        let at = cx.now() + self.period();
        cx.arm(0, at);
        Ok(())
    }

    fn send(&mut self, _: &mut Cx<'_>, job: JobId, payload: &Payload, _: Mono, done: &mut Done) {
        match payload.signal {
            Signal::Traces => {
                let entries = entries::<ResourceSpans<'_>>(&payload.body);
                self.count_each(payload, entries.map(|r| (r.raw, service(&r.resource))));
            }
            Signal::Logs => {
                let entries = entries::<ResourceLogs<'_>>(&payload.body);
                self.count_each(payload, entries.map(|r| (r.raw, service(&r.resource))));
            }
            // The payload knows the number of its points; all are counted under the service of the first resource.
            Signal::Metrics => {
                let first = entries::<ResourceMetrics<'_>>(&payload.body).next();
                let name = first.map_or(&b"unknown_service"[..], |r| service(&r.resource));
                self.count(name, Signal::Metrics, payload.items());
            }
        }
        done.push(job, Outcome::Delivered);
    }

    fn event(&mut self, cx: &mut Cx<'_>, _: u64, event: Event<'_>, _: &mut Done) {
        if matches!(event, Event::Timer) {
            let now = cx.now();
            self.show(now);
            let at = now + self.period();
            cx.arm(0, at);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        self.show(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_new_and_nothing_when_nothing_is() {
        let mut summary = Summary::default();
        assert_eq!(summary.line(), None);
        summary.count(b"cart", Signal::Traces, 3);
        summary.count(b"shop\x1b[2J", Signal::Logs, 1);
        let line = summary.line().unwrap();
        assert!(line.starts_with("received 3 spans, 0 metric points, 1 log records"), "{line}");
        assert!(summary.table(Duration::from_secs(1)).contains("shop[2J"), "control characters are taken out");
        summary.shown = summary.total;
        assert_eq!(summary.line(), None);
    }

    #[test]
    fn services_are_bounded() {
        let mut summary = Summary::default();
        for i in 0..1000 {
            summary.count(format!("s{i}").as_bytes(), Signal::Traces, 1);
        }
        assert_eq!(summary.services.len(), SERVICES + 1);
        assert_eq!(summary.services["(others)"][0], 900);
    }
}
