//! What came back, and how fast: counts, latencies, the texts for people.
//!
//! Owns the counts, which take the same memory however long the load lasts. Prints nothing by itself but to the writer it is given.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use otelcore_pdata::Signal;
use otelcore_pipeline::{CODE_FIELD, LogEntry, LogField, LogLevel, LogSink, Outcome};

use super::LoadOptions;

/// The most different errors that are kept; further ones are counted together.
const MAX_ERRORS: usize = 20;
/// The longest text of one.
const MAX_ERROR_LENGTH: usize = 500;

/// Counts of one signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct SignalCounts {
    requests: u64,
    items: u64,
    accepted: u64,
    failed: u64,
}

/// Counts of everything.
#[derive(Debug, Default)]
pub(super) struct Results {
    signals: [SignalCounts; 3],
    /// Of the bodies, before they are compressed.
    bytes: u64,
    latencies: Latencies,
    /// Requests that failed, by the text of the error.
    errors: BTreeMap<String, u64>,
    pub(super) elapsed: Duration,
    /// Everything is sent and has its outcome.
    pub(super) has_ended: bool,
}

impl Results {
    pub(super) fn add_sent(&mut self, signal: Signal, items: u32, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if let Some(counts) = self.signals.get_mut(signal as usize) {
            counts.requests += 1;
            counts.items += u64::from(items);
        }
    }

    pub(super) fn add_outcome(&mut self, signal: Signal, items: u32, latency: Duration, outcome: &Outcome) {
        let Some(counts) = self.signals.get_mut(signal as usize) else { return };
        let text = match outcome {
            Outcome::Delivered => {
                counts.accepted += u64::from(items);
                return self.latencies.add(latency);
            }
            Outcome::Retry { why, .. } => format!("{} (may be sent again)", why.message),
            Outcome::Permanent(why) => why.message.to_string(),
            Outcome::Lost(_) => "no answer before the end".to_owned(),
        };
        counts.failed += u64::from(items);
        add_text(&mut self.errors, &text);
    }

    /// Whether everything that was sent was accepted.
    pub(super) fn is_complete(&self) -> bool {
        self.errors.is_empty() && self.signals.iter().all(|counts| counts.accepted == counts.items)
    }

    fn items(&self) -> u64 {
        self.signals.iter().map(|counts| counts.items).sum()
    }

    fn accepted(&self) -> u64 {
        self.signals.iter().map(|counts| counts.accepted).sum()
    }

    fn failed(&self) -> u64 {
        self.signals.iter().map(|counts| counts.failed).sum()
    }
}

/// Counts a text; texts beyond the bound are counted under one name.
fn add_text(counts: &mut BTreeMap<String, u64>, text: &str) {
    // Control characters of a peer must not reach a terminal.
    let mut text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_ERROR_LENGTH).collect();
    if counts.len() >= MAX_ERRORS && !counts.contains_key(&text) {
        text = "other errors".to_owned();
    }
    *counts.entry(text).or_default() += 1;
}

/// A histogram of times whose buckets are an eighth of a power of two wide, so that a percentile is at most 7 % too high.
#[derive(Debug, Default)]
struct Latencies {
    /// By bucket; as long as the highest one needs, at most 512.
    buckets: Vec<u64>,
    count: u64,
    max: Duration,
}

const SUB_BUCKETS: u32 = 8;

impl Latencies {
    fn add(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        let index = bucket_of(nanos);
        if self.buckets.len() <= index {
            self.buckets.resize(index + 1, 0);
        }
        if let Some(count) = self.buckets.get_mut(index) {
            *count += 1;
        }
        self.count += 1;
        self.max = self.max.max(latency);
    }

    /// The time that this share of the requests did not exceed.
    fn percentile(&self, share: f64) -> Duration {
        let wanted = (self.count as f64 * share).ceil().max(1.0);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen as f64 >= wanted {
                return Duration::from_nanos(upper_bound(index)).min(self.max);
            }
        }
        self.max
    }
}

fn bucket_of(nanos: u64) -> usize {
    let exponent = nanos.max(u64::from(SUB_BUCKETS)).ilog2();
    let sub = (nanos >> (exponent - SUB_BUCKETS.ilog2())) as usize & (SUB_BUCKETS as usize - 1);
    exponent as usize * SUB_BUCKETS as usize + if nanos < u64::from(SUB_BUCKETS) { 0 } else { sub }
}

fn upper_bound(index: usize) -> u64 {
    let (exponent, sub) = (index / SUB_BUCKETS as usize, (index % SUB_BUCKETS as usize) as u64);
    let shift = u32::try_from(exponent).unwrap_or(0).saturating_sub(SUB_BUCKETS.ilog2());
    // The last bucket ends behind the largest number of 64 bits.
    let bound = u128::from(u64::from(SUB_BUCKETS) + sub + 1) << shift;
    u64::try_from(bound - 1).unwrap_or(u64::MAX)
}

/// A time with three digits.
fn time_text(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 0.001 => format!("{:.2} ms", s * 1e3),
        s => format!("{:.0} us", s * 1e6),
    }
}

fn rate_text(items: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    if seconds <= 0.0 {
        return "-".to_owned();
    }
    let rate = items as f64 / seconds;
    if rate < 100.0 { format!("{rate:.1}/s") } else { format!("{rate:.0}/s") }
}

/// One line while it runs.
pub(super) fn progress_line(results: &Results, options: &LoadOptions) -> String {
    let total = options.count.map(|count| count.saturating_mul(options.signals.len() as u64));
    let mut line = format!("{:.0} s: {}", results.elapsed.as_secs_f64(), results.items());
    if let Some(total) = total {
        let _ = write!(line, " of {total}");
    }
    let _ = write!(
        line,
        " items sent, {} accepted, {}",
        results.accepted(),
        rate_text(results.accepted(), results.elapsed)
    );
    if results.failed() > 0 {
        let _ = write!(line, ", {} failed", results.failed());
    }
    line
}

/// The result for people.
pub(super) fn print_result(
    results: &Results,
    log: &LogSummary,
    target: &str,
    is_interrupted: bool,
    out: &mut dyn Write,
) {
    let mut text = format!("Sent to {target}{}\n", if is_interrupted { ", interrupted" } else { "" });
    for (signal, counts) in Signal::ALL.into_iter().zip(&results.signals).filter(|(_, counts)| counts.requests > 0) {
        let SignalCounts { requests, items, accepted, failed } = counts;
        let name = signal.item_name().replace('_', " ");
        let _ = write!(text, "  {:<8} {items} {name} in {requests} requests: {accepted} accepted", signal.name());
        let _ = writeln!(text, "{}", if *failed > 0 { format!(", {failed} failed") } else { String::new() });
    }
    let elapsed = results.elapsed;
    let _ = writeln!(
        text,
        "  {} for {} items and {} bytes: {} items, {} bytes",
        time_text(elapsed),
        results.items(),
        results.bytes,
        rate_text(results.accepted(), elapsed),
        rate_text(results.bytes, elapsed)
    );
    let latencies = &results.latencies;
    if latencies.count > 0 {
        let of = |share| time_text(latencies.percentile(share));
        let _ = writeln!(
            text,
            "  time to an answer: half of the requests within {}, 90 % {}, 99 % {}, all {}",
            of(0.5),
            of(0.9),
            of(0.99),
            time_text(latencies.max)
        );
    }
    let rejected = log.rejected;
    if rejected > 0 || !log.partial.is_empty() {
        let _ = writeln!(text, "The peer took the requests and rejected {rejected} items of them (partial success):");
        put_counts(&mut text, &log.partial);
    }
    if !results.errors.is_empty() {
        text.push_str("Failed requests:\n");
        put_counts(&mut text, &results.errors);
    }
    for hint in log.hints.keys() {
        let _ = writeln!(text, "Hint: {hint}");
    }
    if !log.warnings.is_empty() {
        text.push_str("Warnings:\n");
        put_counts(&mut text, &log.warnings);
    }
    let _ = out.write_all(text.as_bytes());
}

fn put_counts(text: &mut String, counts: &BTreeMap<String, u64>) {
    for (error, count) in counts {
        let _ = writeln!(text, "  {count} x {error}");
    }
}

/// What the exporter logs, counted.
#[derive(Debug, Default)]
pub(super) struct LogSummary {
    /// Items that the peer rejected of requests that it took.
    rejected: u64,
    /// What it says about them.
    partial: BTreeMap<String, u64>,
    warnings: BTreeMap<String, u64>,
    /// Mistakes that the errors point to.
    hints: BTreeMap<String, u64>,
}

impl LogSummary {
    /// Items that the peer rejected of requests that it took.
    pub(super) fn rejected(&self) -> u64 {
        self.rejected
    }
}

/// The log of the run.
#[derive(Debug, Default)]
pub(super) struct RunLog(Mutex<LogSummary>);

impl RunLog {
    pub(super) fn take(&self) -> LogSummary {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl LogSink for RunLog {
    fn enabled(&self, level: LogLevel) -> bool {
        level >= LogLevel::Warn
    }

    fn log(&self, record: &LogEntry<'_>) {
        let mut summary = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = |name: &str| {
            record.fields.iter().find_map(|(field, value)| match value {
                LogField::Str(text) if *field == name => Some((*text).to_owned()),
                _ => None,
            })
        };
        if record.message == "Partial success response" {
            let rejected = record.fields.iter().find_map(|(name, value)| match value {
                LogField::Int(count) if name.starts_with("dropped_") => u64::try_from(*count).ok(),
                _ => None,
            });
            summary.rejected = summary.rejected.saturating_add(rejected.unwrap_or(0));
            return add_text(
                &mut summary.partial,
                &text("message").filter(|m| !m.is_empty()).unwrap_or_else(|| "no reason given".to_owned()),
            );
        }
        // The outcome of each request is reported without the log.
        if record.scope.kind == "exporter" && record.message.starts_with("Exporting failed") {
            return;
        }
        let code = text(CODE_FIELD).unwrap_or_default();
        // What the errors point to: the errors themselves are printed before.
        if code.starts_with("OC7") {
            return add_text(&mut summary.hints, &format!("{} [{code}]", record.message));
        }
        let error = text("error").map_or_else(String::new, |error| format!(": {error}"));
        add_text(&mut summary.warnings, &format!("{}{error}", record.message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile_is_at_least_the_time_and_at_most_an_eighth_above() {
        let mut latencies = Latencies::default();
        for micros in 1..=1000 {
            latencies.add(Duration::from_micros(micros));
        }
        for (share, micros) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = latencies.percentile(share).as_secs_f64() * 1e6;
            assert!(found >= micros && found <= micros * 1.125, "{share}: {found}");
        }
        for nanos in [0, 1, 7, 8, 9, 1_000, u64::MAX / 3, u64::MAX] {
            assert!(upper_bound(bucket_of(nanos)) >= nanos, "{nanos}");
        }
        assert_eq!(Latencies::default().percentile(0.5), Duration::ZERO);
    }

    #[test]
    fn different_errors_are_counted_up_to_a_bound() {
        let mut results = Results::default();
        for i in 0..100 {
            results.add_sent(Signal::Logs, 1, 10);
            let outcome = Outcome::permanent(format!("error\n{i}"));
            results.add_outcome(Signal::Logs, 1, Duration::ZERO, &outcome);
        }
        assert_eq!((results.errors.len(), results.errors["other errors"]), (MAX_ERRORS + 1, 80));
        assert!(results.errors.contains_key("error 7") && !results.is_complete());
    }

    #[test]
    fn result_says_what_was_accepted_rejected_and_refused() {
        let mut results = Results { elapsed: Duration::from_secs(2), ..Results::default() };
        results.add_sent(Signal::Traces, 10, 1000);
        results.add_outcome(Signal::Traces, 10, Duration::from_millis(3), &Outcome::Delivered);
        results.add_sent(Signal::Logs, 5, 500);
        results.add_outcome(Signal::Logs, 5, Duration::from_millis(3), &Outcome::retry("no"));
        let log = RunLog::default();
        let fields = [("message", LogField::Str("too old")), ("dropped_spans", LogField::Int(4))];
        let scope = Default::default();
        log.log(&LogEntry {
            level: LogLevel::Warn,
            message: "Partial success response",
            fields: &fields,
            scope: &scope,
        });
        let mut out = Vec::new();
        print_result(&results, &log.take(), "x", false, &mut out);
        let expected = "Sent to x\n  traces   10 spans in 1 requests: 10 accepted\n  logs     5 log records in 1 requests: 0 accepted, 5 failed\n  \
                        2.00 s for 15 items and 1500 bytes: 5.0/s items, 750/s bytes\n  \
                        time to an answer: half of the requests within 3.00 ms, 90 % 3.00 ms, 99 % 3.00 ms, all 3.00 ms\n\
                        The peer took the requests and rejected 4 items of them (partial success):\n  1 x too old\nFailed requests:\n  \
                        1 x no (may be sent again)\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
