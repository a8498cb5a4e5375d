//! The discoveries of all jobs: each runs once for the jobs whose configuration of it is the same, as in Prometheus.
//!
//! Passes events on to them, and gives out what has changed. A discovery that can't begin, or fails later, is logged and
//! does not disturb the others; what it found last stays.

use std::sync::Arc;

use otelcore_pipeline::{
    Budget, Counter, Cx, Event, LogField, Logger, MetricsLevel, MonotonicTime, StatusReport, Telemetry, TimerId,
};

use crate::config::DiscoveryConfigs;
use crate::dns::DnsDiscovery;
use crate::file::FileDiscovery;
use crate::http::HttpDiscovery;
use crate::kubernetes::KubernetesDiscovery;
use crate::labels::LabelSet;
use crate::provider::Provider;
use crate::targets::TargetGroup;
use crate::updates::{Sink, TargetChange, Updates};

/// The local keys of one discovery.
const PROVIDER_KEYS: u64 = 1 << 32;

struct Entry {
    type_name: &'static str,
    provider: Box<dyn Provider>,
    /// It was not able to start.
    has_failed: bool,
    /// The error that was reported last.
    reported: Option<String>,
    /// Failures that have been counted.
    counted: u64,
    failures: Counter,
}

/// The discoveries of all jobs. It uses the component's local keys from its base on, [`Discovery::KEYS`] of them.
pub struct Discovery {
    base: u64,
    log: Logger,
    /// The job whose configuration named a discovery first, for logs.
    job_names: Vec<String>,
    entries: Vec<Entry>,
    updates: Updates,
    timer: Option<(MonotonicTime, TimerId)>,
    is_closed: bool,
}

impl std::fmt::Debug for Discovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Discovery").field("discoveries", &self.entries.len()).finish_non_exhaustive()
    }
}

/// A configuration of a discovery.
#[derive(PartialEq)]
enum ProviderConfig<'c> {
    Static(&'c [crate::config::StaticConfig]),
    File(&'c crate::file::FileSdConfig),
    Http(&'c crate::http::HttpSdConfig),
    Dns(&'c crate::dns::DnsSdConfig),
    Kubernetes(&'c crate::kubernetes::KubernetesSdConfig),
}

impl<'c> ProviderConfig<'c> {
    fn all(configs: &'c DiscoveryConfigs) -> impl Iterator<Item = Self> {
        let fixed = Some(Self::Static(&configs.static_configs)).filter(|_| !configs.static_configs.is_empty());
        fixed
            .into_iter()
            .chain(configs.file_sd_configs.iter().map(Self::File))
            .chain(configs.http_sd_configs.iter().map(Self::Http))
            .chain(configs.dns_sd_configs.iter().map(Self::Dns))
            .chain(configs.kubernetes_sd_configs.iter().map(Self::Kubernetes))
    }

    fn create(&self, log: Logger, budget: &Arc<Budget>, base: u64) -> (&'static str, Box<dyn Provider>) {
        match self {
            Self::Static(groups) => ("static", Box::new(StaticDiscovery { groups: groups.to_vec() })),
            Self::File(config) => ("file", Box::new(FileDiscovery::new(config, log, base))),
            Self::Http(config) => ("http", Box::new(HttpDiscovery::new(config, log, base))),
            Self::Dns(config) => ("dns", Box::new(DnsDiscovery::new(config, log, base))),
            Self::Kubernetes(config) => ("kubernetes", Box::new(KubernetesDiscovery::new(config, log, budget, base))),
        }
    }
}

impl Discovery {
    /// How many local keys it uses.
    pub const KEYS: u64 = 1 << 48;

    /// The discoveries of jobs, each with its name. Nothing is begun.
    #[must_use]
    pub fn new(jobs: &[(String, DiscoveryConfigs)], log: Logger, budget: &Arc<Budget>, base: u64) -> Self {
        let mut found: Vec<(ProviderConfig<'_>, Vec<usize>)> = Vec::new();
        for (job, (_, configs)) in jobs.iter().enumerate() {
            for config in ProviderConfig::all(configs) {
                match found.iter_mut().find(|(known, _)| *known == config) {
                    Some((_, of_config)) if of_config.last() == Some(&job) => {}
                    Some((_, of_config)) => of_config.push(job),
                    None => found.push((config, vec![job])),
                }
            }
        }
        let mut entries = Vec::with_capacity(found.len());
        for (index, (config, _)) in found.iter().enumerate() {
            let (type_name, provider) = config.create(log.clone(), budget, base + (index as u64 + 1) * PROVIDER_KEYS);
            entries.push(Entry {
                type_name,
                provider,
                has_failed: false,
                reported: None,
                counted: 0,
                failures: Counter::default(),
            });
        }
        let name =
            |of_config: &Vec<usize>| of_config.first().and_then(|job| jobs.get(*job)).map(|(name, _)| name.clone());
        let job_names = found.iter().map(|(_, of_config)| name(of_config).unwrap_or_default()).collect();
        let jobs = found.into_iter().map(|(_, of_config)| of_config).collect();
        let updates = Updates::new(jobs, budget, log.clone());
        Self { base, log, job_names, entries, updates, timer: None, is_closed: false }
    }

    /// Counts failures in a metric with the id of the component.
    pub fn measure(&mut self, telemetry: &Telemetry, receiver: &str) {
        for entry in &mut self.entries {
            let labels = vec![("mechanism", entry.type_name.to_owned()), ("receiver", receiver.to_owned())];
            let help = "Number of failures of service discovery.";
            let name = "otelcore_prometheus_discovery_failures";
            entry.failures = telemetry.counter(MetricsLevel::Basic, name, help, labels);
        }
    }

    /// Begins all discoveries. One that can't begin is logged, and finds nothing.
    pub fn start(&mut self, cx: &mut Cx<'_>) {
        for index in 0..self.entries.len() {
            self.start_one(cx, index);
            self.report(cx, index);
        }
        self.release(cx);
    }

    fn start_one(&mut self, cx: &mut Cx<'_>, index: usize) {
        let Some(entry) = self.entries.get_mut(index) else { return };
        let Err(error) = entry.provider.start(cx, &mut self.updates.sink(index)) else { return };
        entry.has_failed = true;
        entry.failures.add(1);
        let job = self.job_names.get(index).map_or("", String::as_str);
        self.log.error(
            "Cannot create service discovery",
            &[("err", LogField::Str(&error)), ("type", LogField::Str(entry.type_name)), ("config", LogField::Str(job))],
        );
        cx.report_status(self.base + index as u64 + 1, StatusReport::PermanentError(&error));
    }

    /// Handles an event under one of its keys.
    pub fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>) {
        if self.is_closed {
            return;
        }
        let Some(offset) = local.checked_sub(self.base) else { return };
        if offset == 0 {
            self.timer = None;
        } else if let Some(index) = (offset / PROVIDER_KEYS).checked_sub(1) {
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            if let Some(entry) = self.entries.get_mut(index).filter(|entry| !entry.has_failed) {
                entry.provider.handle_event(cx, local, event, &mut self.updates.sink(index));
            }
            self.report(cx, index);
        }
        self.release(cx);
    }

    /// The next change. Called after [`Discovery::start`] and each event until there is none; a caller that stops before
    /// continues later, and finds what has changed meanwhile as one change for each group.
    pub fn poll_change(&mut self) -> Option<TargetChange> {
        self.updates.poll_change()
    }

    /// How many targets are discovered.
    #[must_use]
    pub fn targets(&self) -> usize {
        self.updates.targets()
    }

    /// Ends all discoveries. What they found stays as it is.
    pub fn close(&mut self, cx: &mut Cx<'_>) {
        self.is_closed = true;
        self.entries.iter_mut().for_each(|entry| entry.provider.close(cx));
        if let Some((_, timer)) = self.timer.take() {
            cx.cancel_timer(timer);
        }
    }

    /// Reports the status of a discovery if it has changed.
    fn report(&mut self, cx: &mut Cx<'_>, index: usize) {
        let Some(entry) = self.entries.get_mut(index).filter(|entry| !entry.has_failed) else { return };
        let failures = entry.provider.failures();
        entry.failures.add(failures - entry.counted.min(failures));
        entry.counted = failures;
        if entry.provider.error() == entry.reported.as_deref() {
            return;
        }
        entry.reported = entry.provider.error().map(str::to_owned);
        let report = entry.reported.as_deref().map_or(StatusReport::Ok, StatusReport::RecoverableError);
        cx.report_status(self.base + index as u64 + 1, report);
    }

    fn release(&mut self, cx: &mut Cx<'_>) {
        let due = self.updates.release(cx.now());
        if due == self.timer.map(|(at, _)| at) {
            return;
        }
        if let Some((_, timer)) = self.timer.take() {
            cx.cancel_timer(timer);
        }
        self.timer = due.map(|at| (at, cx.set_timer(self.base, at)));
    }
}

/// `static_configs`.
struct StaticDiscovery {
    groups: Vec<crate::config::StaticConfig>,
}

impl Provider for StaticDiscovery {
    fn start(&mut self, _: &mut Cx<'_>, sink: &mut Sink<'_>) -> Result<(), String> {
        for (index, group) in std::mem::take(&mut self.groups).into_iter().enumerate() {
            let target = |address: &String| LabelSet::from_pairs([("__address__", address.as_str())]);
            sink.set(TargetGroup {
                source: index.to_string().into(),
                targets: group.targets.iter().map(target).collect(),
                labels: LabelSet::from_pairs(group.labels.0),
            });
        }
        Ok(())
    }

    fn handle_event(&mut self, _: &mut Cx<'_>, _: u64, _: &Event<'_>, _: &mut Sink<'_>) {}

    fn close(&mut self, _: &mut Cx<'_>) {}

    fn error(&self) -> Option<&str> {
        None
    }

    fn failures(&self) -> u64 {
        0
    }
}
