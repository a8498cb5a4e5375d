//! The variables and files of the collector's container, as [`ConfigSources`]: for a check, with placeholders for
//! values that are known only in the cluster; for a run on this machine, with the machine's own variables and files
//! added.

use std::cell::RefCell;
use std::collections::BTreeSet;

use otelcore_config::{ConfigSources, EmbeddedSource, UnreadableSource};

use crate::collector::Collector;
use crate::environment::{NODE_IP, POD_IP};
use crate::volumes::MountedFile;

/// The container of a collector.
pub struct ContainerSources<'a> {
    collector: &'a Collector<'a>,
    local_sources: Option<&'a dyn ConfigSources>,
    placeholder: Option<&'static str>,
    unknown: RefCell<BTreeSet<String>>,
}

impl std::fmt::Debug for ContainerSources<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContainerSources").field("unknown", &self.unknown).finish_non_exhaustive()
    }
}

impl<'a> ContainerSources<'a> {
    /// For a check: only the manifests are read.
    #[must_use]
    pub fn for_check(collector: &'a Collector<'a>) -> Self {
        Self { collector, local_sources: None, placeholder: None, unknown: RefCell::default() }
    }

    /// Sets one placeholder for every unknown value, instead of one that is chosen by its name: one of
    /// [`ContainerSources::PLACEHOLDERS`] may be of the type that a field accepts.
    #[must_use]
    pub fn with_placeholder(mut self, placeholder: &'static str) -> Self {
        self.placeholder = Some(placeholder);
        self
    }

    /// A number, an address, a URL.
    pub const PLACEHOLDERS: [&'static str; 3] = ["0", "unknown.invalid:443", "https://unknown.invalid"];

    /// For a run on this machine: its variables take precedence over those of the manifests, its files are used where
    /// the manifests contain no text, and the pod's address is 127.0.0.1, so that a socket meant for a pod is not open
    /// to the network.
    #[must_use]
    pub fn for_local_run(collector: &'a Collector<'a>, local_sources: &'a dyn ConfigSources) -> Self {
        Self { collector, local_sources: Some(local_sources), placeholder: None, unknown: RefCell::default() }
    }

    /// Variables that the configuration refers to, and whose value is known only in the cluster.
    #[must_use]
    pub fn unknown(&self) -> BTreeSet<String> {
        self.unknown.borrow().clone()
    }
}

impl ConfigSources for ContainerSources<'_> {
    fn read_file(&self, path: &str) -> Result<Vec<u8>, UnreadableSource> {
        match (self.collector.find(path), self.local_sources) {
            (Some(MountedFile::Text(EmbeddedSource::Text(text))), _) => Ok(text.text().text.as_bytes().to_vec()),
            (_, Some(machine)) => machine.read_file(path),
            (Some(MountedFile::NotInManifests { .. }), None) => Ok(b"0".to_vec()),
            _ => Err(UnreadableSource(format!("open {path}: no such file or directory"))),
        }
    }

    fn env_var(&self, name: &str) -> Option<String> {
        if let Some(set) = self.local_sources.and_then(|machine| machine.env_var(name)) {
            return Some(set);
        }
        if self.collector.pod.is_none() && self.local_sources.is_none() {
            // The files do not show which variables exist where this configuration runs.
            self.unknown.borrow_mut().insert(name.to_owned());
            return Some(self.placeholder.unwrap_or_else(|| placeholder_for(name)).to_owned());
        }
        let variable = self.collector.variables.get(name)?;
        match (&variable.value, self.local_sources) {
            (Some(value), Some(_)) => Some(value.replace(POD_IP, "127.0.0.1").replace(NODE_IP, "127.0.0.1")),
            (Some(value), None) => Some(value.clone()),
            (None, Some(_)) => None,
            (None, None) => {
                self.unknown.borrow_mut().insert(name.to_owned());
                Some(self.placeholder.unwrap_or_else(|| placeholder_for(name)).to_owned())
            }
        }
    }

    fn embedded(&self, scheme: &str, rest: &str) -> Option<EmbeddedSource> {
        match scheme {
            "file" => match self.collector.find(rest)? {
                MountedFile::Text(text) => Some(text),
                _ => None,
            },
            // A variable of the machine with the same name takes precedence, and has no place in the manifests.
            "env" if self.local_sources.is_none_or(|machine| machine.env_var(rest).is_none()) => {
                let value = self.env_var(rest)?;
                self.collector.variables.get(rest)?.nested_source(&value).map(EmbeddedSource::Text)
            }
            _ => None,
        }
    }
}

/// A placeholder that most fields accept: a number is also a duration, a size and, as raw text, a string.
fn placeholder_for(name: &str) -> &'static str {
    let name = name.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    match () {
        () if has(&["URL", "URI"]) => "https://unknown.invalid",
        () if has(&["ENDPOINT", "ADDR"]) => "unknown.invalid:443",
        () if has(&["HOST"]) => "unknown.invalid",
        () => "0",
    }
}
