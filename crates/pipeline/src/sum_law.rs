//! The sum law: whether the items of each component add up, from the collector's own metrics.
//!
//! Reads values and compares them. Owns no counts; see `item_flow` for who counts what.

use std::collections::BTreeMap;

use crate::{Labels, Telemetry};

/// A term of the law: its name, whether it is on the side of what goes in, and its items.
pub type Term = (String, bool, u64);

/// The items of one component for one signal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ComponentItems {
    /// `receiver`, `processor`, `connector` or `exporter`.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// `traces`, `metrics` or `logs`.
    pub signal: String,
    /// The terms that are not zero; the name has the reason if there is one.
    pub terms: Vec<Term>,
}

impl ComponentItems {
    /// All that went in, and all that is known of what became of it.
    #[must_use]
    pub fn sides(&self) -> (u64, u64) {
        let side = |is_in: bool| self.terms.iter().filter(|(_, i, _)| *i == is_in).map(|(.., n)| n).sum();
        (side(true), side(false))
    }

    /// Whether both sides are the same.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        let (left, right) = self.sides();
        left == right
    }
}

impl std::fmt::Display for ComponentItems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, id, signal, terms } = self;
        let side = |is_in: bool| {
            let terms = terms.iter().filter(|(_, i, _)| *i == is_in).map(|(name, _, n)| format!("{name} {n}"));
            let text = terms.collect::<Vec<_>>().join(" + ");
            if text.is_empty() { "0".to_owned() } else { text }
        };
        let sign = if self.is_balanced() { "=" } else { "is not" };
        write!(f, "{kind} {id}, {signal}: {} {sign} {}", side(true), side(false))
    }
}

/// A component whose items do not add up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Imbalance(pub ComponentItems);

impl std::fmt::Display for Imbalance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Imbalance {}

/// Collects the series that the law is about. They may come from [`Telemetry`] or from a page that was scraped.
#[derive(Clone, Debug, Default)]
pub struct ItemSums {
    components: BTreeMap<(String, String, String), Vec<Term>>,
}

/// The signal of a family whose name has it.
fn signal_of(suffix: &str) -> Option<&'static str> {
    match suffix {
        "spans" => Some("traces"),
        "metric_points" => Some("metrics"),
        "log_records" => Some("logs"),
        _ => None,
    }
}

/// What a family is in the law: the term, whether it is on the side of what goes in, and the signal if the name has it.
fn term_of<'n>(kind: &str, name: &'n str) -> Option<(&'n str, bool, Option<&'static str>)> {
    if let Some(term) = name.strip_suffix("_items") {
        let is_in = matches!(term, "incoming" | "created");
        let is_known = is_in || matches!(term, "outgoing" | "held" | "refused" | "dropped");
        return is_known.then_some((term, is_in, None));
    }
    let terms: &[&str] = match kind {
        "receiver" => &["accepted", "refused", "failed"],
        "exporter" => &["sent", "send_failed", "enqueue_failed"],
        _ => &[],
    };
    terms.iter().find_map(|term| {
        let suffix = name.strip_prefix(term)?.strip_prefix('_')?;
        Some((name.get(..term.len())?, false, Some(signal_of(suffix)?)))
    })
}

impl ItemSums {
    /// Adds one series, if the law is about it. `label` gives the value of a label.
    pub fn add<'l>(&mut self, name: &str, label: impl Fn(&str) -> Option<&'l str>, value: f64) {
        let Some((kind, name)) = name.strip_prefix("otelcol_").and_then(|name| name.split_once('_')) else { return };
        if !matches!(kind, "receiver" | "processor" | "connector" | "exporter") {
            return;
        }
        let Some((term, is_in, signal)) = term_of(kind, name) else { return };
        let (Some(id), Some(signal)) = (label(kind), signal.or_else(|| label("otel_signal"))) else { return };
        let term = match label("reason") {
            Some(reason) => format!("{term} ({reason})"),
            None => term.to_owned(),
        };
        // Counts of items are whole numbers far below the precision of the type.
        let items = value as u64;
        let terms = self.components.entry((kind.to_owned(), id.to_owned(), signal.to_owned())).or_default();
        match terms.iter_mut().find(|(there, ..)| *there == term) {
            Some((.., count)) => *count = count.saturating_add(items),
            None => terms.push((term, is_in, items)),
        }
    }

    /// Adds all series of a registry.
    pub fn add_telemetry(&mut self, telemetry: &Telemetry) {
        for family in telemetry.entries().iter() {
            for (labels, value) in family.numbers() {
                self.add(family.name, |name| label_of(labels, name), value as f64);
            }
        }
    }

    /// The items of each component that counts what goes in.
    #[must_use]
    pub fn components(&self) -> Vec<ComponentItems> {
        let components = self.components.iter().filter(|(_, terms)| terms.iter().any(|(name, ..)| name == "incoming"));
        let items = components.map(|((kind, id, signal), terms)| ComponentItems {
            kind: kind.clone(),
            id: id.clone(),
            signal: signal.clone(),
            terms: terms.iter().filter(|(.., n)| *n > 0).cloned().collect(),
        });
        items.collect()
    }

    /// The law.
    ///
    /// # Errors
    /// The first component whose items do not add up.
    pub fn check(&self) -> Result<(), Imbalance> {
        self.components().into_iter().find(|items| !items.is_balanced()).map_or(Ok(()), |items| Err(Imbalance(items)))
    }
}

/// Whether the items of every component add up: what went in and what was created is what went out, is held, was refused,
/// or was dropped for a reason. It holds whenever the loop is between two turns. With metrics off there is nothing to
/// compare.
///
/// # Errors
/// The first component whose items do not add up.
pub fn sum_law(telemetry: &Telemetry) -> Result<(), Imbalance> {
    if is_balanced(telemetry) {
        return Ok(());
    }
    let mut sums = ItemSums::default();
    sums.add_telemetry(telemetry);
    sums.check()
}

fn label_of<'l>(labels: &'l Labels, name: &str) -> Option<&'l str> {
    labels.iter().find(|(there, _)| *there == name).map(|(_, value)| value.as_str())
}

/// What [`ItemSums::check`] finds, without names of terms: a simulation asks after each turn.
fn is_balanced(telemetry: &Telemetry) -> bool {
    let entries = telemetry.entries();
    // Kind, id and signal; whether it counts what goes in; what goes in less the rest.
    let mut components: Vec<(&str, &str, &str, bool, i128)> = Vec::new();
    for family in entries.iter() {
        let Some((kind, name)) = family.name.strip_prefix("otelcol_").and_then(|name| name.split_once('_')) else {
            continue;
        };
        let Some((term, is_in, signal)) = term_of(kind, name) else { continue };
        for (labels, value) in family.numbers() {
            let (Some(id), Some(signal)) = (label_of(labels, kind), signal.or_else(|| label_of(labels, "otel_signal")))
            else {
                continue;
            };
            let value = if is_in { i128::from(value) } else { -i128::from(value) };
            let counts_incoming = term == "incoming";
            match components.iter_mut().find(|it| (it.1, it.2, it.0) == (id, signal, kind)) {
                Some((_, _, _, counts, sum)) => {
                    *counts |= counts_incoming;
                    *sum += value;
                }
                None => components.push((kind, id, signal, counts_incoming, value)),
            }
        }
    }
    components.iter().all(|(.., counts_incoming, sum)| !counts_incoming || *sum == 0)
}

#[cfg(test)]
mod tests {
    use otelcore_pdata::Signal;

    use super::*;
    use crate::{ItemFlow, MetricsLevel};

    #[test]
    fn component_of_which_items_are_missing_is_named_with_its_terms() {
        let telemetry = Telemetry::new(MetricsLevel::Basic);
        let mut flow = ItemFlow::new(&telemetry, "processor", "filter", Signal::Logs);
        flow.record_incoming(5);
        flow.record_outgoing(2);
        flow.record_dropped("filtered", 2);
        let error = sum_law(&telemetry).unwrap_err();
        assert_eq!(error.to_string(), "processor filter, logs: incoming 5 is not outgoing 2 + dropped (filtered) 2");
        flow.set_held(1);
        assert_eq!(sum_law(&telemetry), Ok(()));
        flow.abort();
        assert_eq!(sum_law(&telemetry), Ok(()));
    }

    #[test]
    fn instances_of_one_processor_share_their_series() {
        let telemetry = Telemetry::new(MetricsLevel::Basic);
        let mut flows = [0, 1].map(|_| ItemFlow::new(&telemetry, "processor", "batch", Signal::Traces));
        for (flow, items) in flows.iter_mut().zip([3, 4]) {
            flow.record_incoming(items);
            flow.set_held(items);
        }
        flows[0].set_held(1);
        flows[0].record_outgoing(2);
        assert_eq!(sum_law(&telemetry), Ok(()));
        let mut sums = ItemSums::default();
        sums.add_telemetry(&telemetry);
        assert_eq!(sums.components()[0].sides(), (7, 7));
    }

    #[test]
    fn families_that_have_the_signal_in_their_name_are_terms_of_receivers_and_exporters() {
        let label = |id: &'static str| move |name: &str| (name == "exporter" || name == "receiver").then_some(id);
        let mut sums = ItemSums::default();
        for name in [
            "otelcol_exporter_sent_spans",
            "otelcol_exporter_send_failed_spans",
            "otelcol_exporter_enqueue_failed_spans",
            "otelcol_exporter_queue_size",
            "otelcol_exporter_prometheus_dropped_points",
        ] {
            sums.add(name, label("x"), 1.0);
        }
        assert!(sums.components().is_empty(), "it does not count what goes in");
        let with_signal = |name: &str| if name == "otel_signal" { Some("traces") } else { label("x")(name) };
        sums.add("otelcol_exporter_incoming_items", with_signal, 3.0);
        assert_eq!(sums.check(), Ok(()));
        sums.add("otelcol_exporter_sent_spans", label("x"), 1.0);
        assert!(sums.check().is_err());
    }
}
