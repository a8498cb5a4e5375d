//! What was not delivered when components ended, and its report.

use crate::{ComponentItems, LogField, Logger};

/// The items that were not delivered when the graph closed.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct UndeliveredItems {
    /// Components and their numbers of items; components without any are not listed.
    pub items: Vec<(String, u64)>,
    /// The same for what is in queues on disk: it is not lost.
    pub stored: Vec<(String, u64)>,
    /// What became of the items of each component that had any. Empty with own metrics off.
    pub sums: Vec<ComponentItems>,
}

impl UndeliveredItems {
    pub(super) fn add(&mut self, component: String, items: u64) {
        if items > 0 {
            self.items.push((component, items));
        }
    }

    pub(super) fn add_stored(&mut self, component: String, items: u64) {
        if items > 0 {
            self.stored.push((component, items));
        }
    }

    /// All items that are lost. Those in queues on disk are not.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.items.iter().map(|(_, n)| n).sum()
    }

    /// Writes one line for each component that could not deliver before a shutdown has ended.
    pub fn report(&self, log: &Logger) {
        for (component, items) in &self.items {
            let fields = [("component", LogField::Str(component)), ("items", LogField::Uint(*items))];
            log.error("Shutdown left data undelivered.", &fields);
        }
        self.report_stored(log, "Data stays in the queue on disk, and is sent after the next start.");
        for items in &self.sums {
            let text = items.to_string();
            let fields = [("items", LogField::Str(&text))];
            if items.is_balanced() {
                log.info("Items of a component.", &fields);
            } else {
                log.warn("The items of a component do not add up.", &fields);
            }
        }
    }

    /// The same for components that a change of the configuration has ended.
    pub(super) fn report_change(&self, log: &Logger) {
        for (component, items) in &self.items {
            let fields = [("component", LogField::Str(component)), ("items", LogField::Uint(*items))];
            log.error("A component that the new configuration does not have left data undelivered.", &fields);
        }
        self.report_stored(log, "Data stays in the queue on disk; the next exporter with this queue sends it.");
    }

    fn report_stored(&self, log: &Logger, message: &str) {
        for (component, items) in &self.stored {
            let fields = [("component", LogField::Str(component)), ("items", LogField::Uint(*items))];
            log.info(message, &fields);
        }
    }
}
