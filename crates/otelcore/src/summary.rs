//! The `summary` exporter of the embedded default configuration: prints how much has come in, by service.
//!
//! On a terminal the table is redrawn in place every second; elsewhere one line in each period gives what is new.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::time::Duration;

use otelcore_config::declare::NoKeys;
use otelcore_pdata::Signal;
use otelcore_pdata::views::{AnyValue, Resource, ResourceLogs, ResourceMetrics, ResourceSpans, resource_entries};
use otelcore_pdata::wire_format::{MessageFields, WireValue};
use otelcore_pipeline::{
    AttemptId, BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Cx, Event, Exporter,
    ExporterQueueConfig, MonotonicTime, Outcome, Outcomes, Payload, StartError,
};

/// The most services that are counted separately; all further ones are counted together.
const MAX_SERVICES: usize = 100;
/// The most characters of a service's name.
const MAX_NAME_CHARS: usize = 64;
/// How many resources of a payload, bytes before the last of them, and items of each resource are read. The rest is
/// counted as [`OTHER_SERVICES`], so that no payload takes long.
const MAX_RESOURCES: usize = 5000;
const MAX_BYTES: usize = 1 << 20;
const MAX_ITEMS: usize = 1 << 20;
/// The name under which everything else is counted together.
const OTHER_SERVICES: &[u8] = b"(others)";

/// The `summary` exporter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SummaryFactory {
    /// Whether standard output is a terminal, to redraw on.
    pub(crate) is_terminal: bool,
}

impl ComponentType for SummaryFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Exporter,
        type_name: "summary",
        aliases: &[],
        signals: &Signal::ALL,
        stability: "Alpha",
    };
    type Config = NoKeys;

    fn create(&self, _: &NoKeys, _: &BuildContext<'_>) -> Result<Component, StartError> {
        let summary = SummaryExporter { is_terminal: self.is_terminal, ..SummaryExporter::default() };
        Ok(Component::Exporter(Box::new(summary), ExporterQueueConfig::without_queue()))
    }
}

/// Items of one service, by signal.
type ItemCounts = [u64; 3];

#[derive(Default)]
struct SummaryExporter {
    is_terminal: bool,
    output: Option<Box<dyn Write>>,
    services: BTreeMap<String, ItemCounts>,
    total: ItemCounts,
    last_shown: ItemCounts,
    /// Lines of the last table on the terminal.
    table_lines: usize,
    last_shown_at: MonotonicTime,
}

impl SummaryExporter {
    fn period(&self) -> Duration {
        Duration::from_secs(if self.is_terminal { 1 } else { 10 })
    }

    fn count(&mut self, service: &[u8], signal: Signal, items: u32) {
        let prefix = service.get(..4 * MAX_NAME_CHARS).unwrap_or(service);
        // Control characters would change the state of the terminal.
        let mut name: String =
            String::from_utf8_lossy(prefix).chars().filter(|c| !c.is_control()).take(MAX_NAME_CHARS).collect();
        if !self.services.contains_key(&name) && self.services.len() >= MAX_SERVICES {
            name = String::from_utf8_lossy(OTHER_SERVICES).into_owned();
        }
        self.services.entry(name).or_default()[signal as usize] += u64::from(items);
        self.total[signal as usize] += u64::from(items);
    }

    /// Counts the items of each resource, up to the limits above.
    fn count_each<'a>(&mut self, payload: &Payload, entries: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
        let (mut rest, mut bytes) = (payload.items(), 0);
        for (raw, service) in entries.take(MAX_RESOURCES) {
            if bytes > MAX_BYTES {
                break;
            }
            bytes += raw.len();
            let items = count_items(raw).min(rest);
            rest -= items;
            self.count(service, payload.signal, items);
        }
        if rest > 0 {
            self.count(OTHER_SERVICES, payload.signal, rest);
        }
    }

    /// The whole table.
    fn format_table(&self, elapsed: Duration) -> String {
        let mut out = String::new();
        let seconds = elapsed.as_secs_f64().max(0.001);
        let _ = writeln!(out, "{:<32} {:>12} {:>14} {:>12}", "service", "spans", "metric points", "log records");
        for (name, [spans, points, records]) in &self.services {
            let _ = writeln!(out, "{:<32.32} {spans:>12} {points:>14} {records:>12}", name);
        }
        let [spans, points, records] = self.total;
        let _ = writeln!(out, "{:<32} {spans:>12} {points:>14} {records:>12}", "all");
        let rates = [0, 1, 2].map(|i| (self.total[i] - self.last_shown[i]) as f64 / seconds);
        let _ = writeln!(out, "{:<32} {:>12.0} {:>14.0} {:>12.0}", "a second", rates[0], rates[1], rates[2]);
        out
    }

    fn format_line(&self) -> Option<String> {
        let [spans, points, records] = [0, 1, 2].map(|i| self.total[i] - self.last_shown[i]);
        if spans + points + records == 0 {
            return None;
        }
        let services = self.services.len();
        let [all_spans, all_points, all_records] = self.total;
        Some(format!(
            "received {spans} spans, {points} metric points, {records} log records (in all {all_spans}, {all_points}, {all_records}; services: {services})\n"
        ))
    }

    fn print(&mut self, now: MonotonicTime) {
        let text = if self.is_terminal {
            if self.total == [0; 3] {
                return;
            }
            let table = self.format_table(now.since(self.last_shown_at));
            // Move up to the first line of the last table, and clear from there.
            let up = if self.table_lines > 0 { format!("\x1b[{}A\x1b[J", self.table_lines) } else { String::new() };
            self.table_lines = table.lines().count();
            format!("{up}{table}")
        } else {
            self.format_line().unwrap_or_default()
        };
        self.last_shown = self.total;
        self.last_shown_at = now;
        if let Some(output) = &mut self.output {
            // An error is ignored: a reader that is slow or has closed its end only misses the summary.
            if output.write_all(text.as_bytes()).is_err() {
                self.table_lines = 0;
            }
        }
    }
}

/// The number of spans or log records of a resource's entry, without parsing them: the scopes are field 2 of the entry,
/// and the items are field 2 of a scope, in both signals.
fn count_items(entry: &[u8]) -> u32 {
    let second_fields =
        |raw| MessageFields::new(raw).filter_map(|f| if let (2, WireValue::Len(raw)) = f { Some(raw) } else { None });
    u32::try_from(second_fields(entry).flat_map(second_fields).take(MAX_ITEMS).count()).unwrap_or(u32::MAX)
}

fn service_name<'a>(resource: &Resource<'a>) -> &'a [u8] {
    match resource.attributes().find(|kv| kv.key == b"service.name").map(|kv| kv.value) {
        Some(AnyValue::String(name)) if !name.is_empty() => name,
        _ => b"unknown_service",
    }
}

impl Exporter for SummaryExporter {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.output = Some(cx.open_output("stdout")?);
        self.last_shown_at = cx.now();
        let at = cx.now() + self.period();
        cx.set_timer(0, at);
        Ok(())
    }

    fn send(
        &mut self,
        _: &mut Cx<'_>,
        attempt: AttemptId,
        payload: &Payload,
        _: MonotonicTime,
        outcomes: &mut Outcomes,
    ) {
        match payload.signal {
            Signal::Traces => {
                let entries = resource_entries::<ResourceSpans<'_>>(&payload.body);
                self.count_each(payload, entries.map(|r| (r.raw, service_name(&r.resource))));
            }
            Signal::Logs => {
                let entries = resource_entries::<ResourceLogs<'_>>(&payload.body);
                self.count_each(payload, entries.map(|r| (r.raw, service_name(&r.resource))));
            }
            // The payload stores the number of its points; all are counted under the service of the first resource.
            Signal::Metrics => {
                let first = resource_entries::<ResourceMetrics<'_>>(&payload.body).next();
                let name = first.map_or(&b"unknown_service"[..], |r| service_name(&r.resource));
                self.count(name, Signal::Metrics, payload.items());
            }
        }
        outcomes.push(attempt, Outcome::Delivered);
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, _: u64, event: Event<'_>, _: &mut Outcomes) {
        if matches!(event, Event::Timer) {
            let now = cx.now();
            self.print(now);
            let at = now + self.period();
            cx.set_timer(0, at);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        self.print(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_line_gives_new_items_and_is_absent_without_any() {
        let mut summary = SummaryExporter::default();
        assert_eq!(summary.format_line(), None);
        summary.count(b"cart", Signal::Traces, 3);
        summary.count(b"shop\x1b[2J", Signal::Logs, 1);
        let line = summary.format_line().unwrap();
        assert!(line.starts_with("received 3 spans, 0 metric points, 1 log records"), "{line}");
        assert!(summary.format_table(Duration::from_secs(1)).contains("shop[2J"), "control characters are taken out");
        summary.last_shown = summary.total;
        assert_eq!(summary.format_line(), None);
    }

    #[test]
    fn services_above_the_limit_are_counted_together() {
        let mut summary = SummaryExporter::default();
        for i in 0..1000 {
            summary.count(format!("s{i}").as_bytes(), Signal::Traces, 1);
        }
        assert_eq!(summary.services.len(), MAX_SERVICES + 1);
        assert_eq!(summary.services["(others)"][0], 900);
    }
}
