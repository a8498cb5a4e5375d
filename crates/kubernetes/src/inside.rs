//! The variables and files of the collector's container, as [`Sources`]: for a check, with placeholders for values that
//! are known only in the cluster; for a run on this machine, with the machine's own variables and files added.

use std::cell::RefCell;
use std::collections::BTreeSet;

use otelcore_config::{Embedded, Sources};

use crate::collector::Collector;
use crate::volumes::Found;

/// Placeholder for the pod's own address in a check (RFC 5737): the manifests do not contain the real one.
pub const POD_IP: &str = "192.0.2.1";
/// Placeholder for the address of the node in a check.
pub const NODE_IP: &str = "192.0.2.2";

/// The container of a collector.
pub struct Inside<'a> {
    collector: &'a Collector<'a>,
    machine: Option<&'a dyn Sources>,
    guess: Option<&'static str>,
    unknown: RefCell<BTreeSet<String>>,
}

impl std::fmt::Debug for Inside<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inside").field("unknown", &self.unknown).finish_non_exhaustive()
    }
}

impl<'a> Inside<'a> {
    /// For a check: only the manifests are read.
    #[must_use]
    pub fn check(collector: &'a Collector<'a>) -> Self {
        Self { collector, machine: None, guess: None, unknown: RefCell::default() }
    }

    /// Sets one placeholder for every unknown value, instead of one that is chosen by its name: one of
    /// [`Inside::GUESSES`] may be of the type that a field accepts.
    #[must_use]
    pub fn guessing(mut self, guess: &'static str) -> Self {
        self.guess = Some(guess);
        self
    }

    /// A number, an address, a URL.
    pub const GUESSES: [&'static str; 3] = ["0", "unknown.invalid:443", "https://unknown.invalid"];

    /// For a run on this machine: its variables take precedence over those of the manifests, its files are used where
    /// the manifests contain no text, and the pod's address is 127.0.0.1, so that a socket meant for a pod is not open
    /// to the network.
    #[must_use]
    pub fn local(collector: &'a Collector<'a>, machine: &'a dyn Sources) -> Self {
        Self { collector, machine: Some(machine), guess: None, unknown: RefCell::default() }
    }

    /// Variables that the configuration refers to, and whose value is known only in the cluster.
    #[must_use]
    pub fn unknown(&self) -> BTreeSet<String> {
        self.unknown.borrow().clone()
    }
}

impl Sources for Inside<'_> {
    fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        match (self.collector.find(path), self.machine) {
            (Some(Found::Text(Embedded::Text(text))), _) => Ok(text.text().text.as_bytes().to_vec()),
            (_, Some(machine)) => machine.file(path),
            (Some(Found::Outside { .. }), None) => Ok(b"0".to_vec()),
            _ => Err(format!("open {path}: no such file or directory")),
        }
    }

    fn env(&self, name: &str) -> Option<String> {
        if let Some(set) = self.machine.and_then(|machine| machine.env(name)) {
            return Some(set);
        }
        if self.collector.pod.is_none() && self.machine.is_none() {
            // The files do not show which variables exist where this configuration runs.
            self.unknown.borrow_mut().insert(name.to_owned());
            return Some(self.guess.unwrap_or_else(|| stand_in(name)).to_owned());
        }
        let variable = self.collector.variables.get(name)?;
        match (&variable.value, self.machine) {
            (Some(value), Some(_)) => Some(value.replace(POD_IP, "127.0.0.1").replace(NODE_IP, "127.0.0.1")),
            (Some(value), None) => Some(value.clone()),
            (None, Some(_)) => None,
            (None, None) => {
                self.unknown.borrow_mut().insert(name.to_owned());
                Some(self.guess.unwrap_or_else(|| stand_in(name)).to_owned())
            }
        }
    }

    fn embedded(&self, scheme: &str, rest: &str) -> Option<Embedded> {
        match scheme {
            "file" => match self.collector.find(rest)? {
                Found::Text(text) => Some(text),
                _ => None,
            },
            // A variable of the machine with the same name takes precedence, and has no place in the manifests.
            "env" if self.machine.is_none_or(|machine| machine.env(rest).is_none()) => {
                let value = self.env(rest)?;
                self.collector.variables.get(rest)?.nested(&value).map(Embedded::Text)
            }
            _ => None,
        }
    }
}

/// A placeholder that most fields accept: a number is also a duration, a size and, as raw text, a string.
fn stand_in(name: &str) -> &'static str {
    let name = name.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    match () {
        () if has(&["URL", "URI"]) => "https://unknown.invalid",
        () if has(&["ENDPOINT", "ADDR"]) => "unknown.invalid:443",
        () if has(&["HOST"]) => "unknown.invalid",
        () => "0",
    }
}
