//! `dns_sd_configs`: targets in DNS.
//!
//! Names are looked up at the start and then at each `refresh_interval`: addresses as those of every client are, and records
//! of the types SRV, MX and NS by queries to the system's name servers. A name that does not exist has no targets; while a
//! look-up fails otherwise, what it found last stays.

mod lookup;
pub(crate) mod message;

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use otelcore_config::declare::{ConfigValue, Shape};
use otelcore_config::{EffectiveValue, Section, config_struct};
use otelcore_pipeline::{Cx, Event, JobResult, LogField, Logger, MonotonicTime, TimerId};

use crate::duration::PrometheusDuration;
use crate::labels::LabelSet;
use crate::provider::Provider;
use crate::targets::TargetGroup;
use crate::updates::Sink;
use lookup::{Lookup, ResolverConfig};
use message::{QueryType, Record};

/// The file with the name servers.
const RESOLVER_FILE: &str = "/etc/resolv.conf";
const MAX_FILE_BYTES: usize = 64 << 10;
/// Look-ups at once.
const MAX_LOOKUPS: usize = 32;

/// Local keys, from the base on.
const TIMER_KEY: u64 = 0;
const FILE_KEY: u64 = 1;
const DEADLINE_KEY: u64 = 2;
const NAME_KEYS: u64 = 16;

/// The type of the records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DnsRecordType {
    /// Hosts and ports.
    #[default]
    Srv,
    /// Addresses of IPv4.
    A,
    /// Addresses of IPv6.
    Aaaa,
    /// Mail servers.
    Mx,
    /// Name servers.
    Ns,
}

const TYPES: [(&str, DnsRecordType); 5] = [
    ("SRV", DnsRecordType::Srv),
    ("A", DnsRecordType::A),
    ("AAAA", DnsRecordType::Aaaa),
    ("MX", DnsRecordType::Mx),
    ("NS", DnsRecordType::Ns),
];

impl DnsRecordType {
    fn name(self) -> &'static str {
        TYPES.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| *name)
    }

    /// The type of the query; `None` for addresses, which are looked up by the system.
    fn query_type(self) -> Option<QueryType> {
        match self {
            Self::A | Self::Aaaa => None,
            Self::Srv => Some(QueryType::Srv),
            Self::Mx => Some(QueryType::Mx),
            Self::Ns => Some(QueryType::Ns),
        }
    }
}

impl ConfigValue for DnsRecordType {
    fn read(s: &mut Section<'_>, key: &str, default: &Self) -> Self {
        let word = s.str(key, default.name());
        let upper = word.to_uppercase();
        if let Some((_, known)) = TYPES.iter().find(|(name, _)| *name == upper) {
            return *known;
        }
        s.error(key, format!("invalid DNS-SD records type {word}")).help("write SRV, A, AAAA, MX or NS");
        *default
    }

    fn shape(_: &Self) -> Shape {
        Shape::OneOf(TYPES.iter().map(|(name, _)| *name).collect())
    }

    fn effective(&self) -> EffectiveValue {
        EffectiveValue::Str(self.name().to_owned())
    }
}

config_struct! {
    /// Targets in DNS.
    #[config(check = Self::check)]
    #[derive(PartialEq, Eq)]
    pub struct DnsSdConfig {
        /// The names that are looked up.
        pub names: Vec<String>,
        /// How often they are looked up.
        pub refresh_interval: PrometheusDuration = PrometheusDuration(Duration::from_secs(30)),
        /// The type of the records: `SRV`, `A`, `AAAA`, `MX` or `NS`.
        #[config(key = "type")]
        pub record_type: DnsRecordType,
        /// The port of the targets; SRV records have their own.
        pub port: u16,
    }
}

impl DnsSdConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.names.is_empty() {
            s.error("names", "DNS-SD config must contain at least one SRV record name");
        }
        if self.port == 0 && self.record_type != DnsRecordType::Srv {
            s.error("port", "a port is required in DNS-SD configs for all record types except SRV");
        }
        if self.refresh_interval.0.is_zero() {
            s.error("refresh_interval", "'refresh_interval' must be positive");
        }
    }
}

enum NameState {
    Idle,
    /// It waits until fewer look-ups are in progress.
    Waiting,
    Resolving,
    Querying(Box<Lookup>),
}

struct Name {
    name: String,
    state: NameState,
    error: Option<String>,
}

/// The discovery. Each name has a local key.
pub(crate) struct DnsDiscovery {
    names: Vec<Name>,
    interval: Duration,
    record_type: DnsRecordType,
    port: u16,
    log: Logger,
    base: u64,
    timer: Option<TimerId>,
    deadline: Option<(MonotonicTime, TimerId)>,
    file: Option<JobResult<Result<String, String>>>,
    resolver: Option<ResolverConfig>,
    failures: u64,
}

impl DnsDiscovery {
    pub(crate) fn new(config: &DnsSdConfig, log: Logger, base: u64) -> Self {
        let name = |name: &String| Name { name: name.clone(), state: NameState::Idle, error: None };
        Self {
            names: config.names.iter().map(name).collect(),
            interval: config.refresh_interval.0,
            record_type: config.record_type,
            port: config.port,
            log,
            base,
            timer: None,
            deadline: None,
            file: None,
            resolver: None,
            failures: 0,
        }
    }

    /// Begins to look up the names that are not being looked up.
    fn refresh(&mut self, cx: &mut Cx<'_>) {
        self.timer = Some(cx.set_timer(self.base + TIMER_KEY, cx.now() + self.interval));
        if self.record_type.query_type().is_none() {
            for (index, name) in self.names.iter_mut().enumerate() {
                if matches!(name.state, NameState::Idle) {
                    name.state = NameState::Resolving;
                    cx.resolve(self.base + NAME_KEYS + index as u64, &name.name, self.port);
                }
            }
            return;
        }
        let is_busy = self.file.is_some() || self.names.iter().any(|name| !matches!(name.state, NameState::Idle));
        if !is_busy {
            let read = cx.run_file_job(self.base + FILE_KEY, |files| {
                let bytes = files.read(Path::new(RESOLVER_FILE), MAX_FILE_BYTES).map_err(|error| error.to_string())?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            });
            self.file = read.ok();
        }
    }

    /// The name servers are known: all names wait for their turn.
    fn end_reading(&mut self, text: Result<String, String>) {
        match text {
            Ok(text) => {
                self.resolver = Some(ResolverConfig::parse(&text));
                self.names.iter_mut().for_each(|name| name.state = NameState::Waiting);
            }
            Err(error) => {
                let error = format!("could not load resolv.conf: {error}");
                (0..self.names.len()).for_each(|index| self.fail(index, error.clone()));
            }
        }
    }

    fn fail(&mut self, index: usize, error: String) {
        self.failures += 1;
        let Some(name) = self.names.get_mut(index) else { return };
        if name.error.as_ref() != Some(&error) {
            self.log.error("Error refreshing DNS targets", &[("err", LogField::Str(&error))]);
        }
        name.error = Some(error);
    }

    /// Begins look-ups of names that wait.
    fn start_lookups(&mut self, cx: &mut Cx<'_>, sink: &mut Sink<'_>) {
        let is_querying = |name: &Name| matches!(name.state, NameState::Querying(_));
        let mut left = MAX_LOOKUPS.saturating_sub(self.names.iter().filter(|name| is_querying(name)).count());
        let (Some(resolver), Some(query_type)) = (self.resolver.clone(), self.record_type.query_type()) else { return };
        for index in 0..self.names.len() {
            let Some(name) = self.names.get_mut(index) else { return };
            if left == 0 || !matches!(name.state, NameState::Waiting) {
                continue;
            }
            let local = self.base + NAME_KEYS + index as u64;
            match Lookup::start(cx, &name.name, query_type, &resolver, local, &self.log) {
                Ok(lookup) => {
                    name.state = NameState::Querying(Box::new(lookup));
                    left -= 1;
                }
                Err(result) => self.end(index, result, sink),
            }
        }
    }

    fn end(&mut self, index: usize, result: Result<Vec<Record>, String>, sink: &mut Sink<'_>) {
        let Some(name) = self.names.get_mut(index) else { return };
        name.state = NameState::Idle;
        match result {
            Err(error) => self.fail(index, error),
            Ok(records) => {
                name.error = None;
                let name = name.name.clone();
                let targets = records.iter().map(|record| self.target_of_record(&name, record));
                sink.set(group(&name, targets.collect()));
            }
        }
    }

    /// Advances the look-up of a name, or all whose deadline has passed.
    fn advance(&mut self, cx: &mut Cx<'_>, index: usize, sink: &mut Sink<'_>) {
        let Some(NameState::Querying(lookup)) = self.names.get_mut(index).map(|name| &mut name.state) else { return };
        if let Some(result) = lookup.advance(cx, &self.log) {
            self.end(index, result, sink);
        }
    }

    fn advance_late(&mut self, cx: &mut Cx<'_>, sink: &mut Sink<'_>) {
        self.deadline = None;
        let now = cx.now();
        let is_late = |name: &Name| matches!(&name.state, NameState::Querying(lookup) if lookup.deadline <= now);
        let late: Vec<usize> =
            (0..self.names.len()).filter(|index| self.names.get(*index).is_some_and(is_late)).collect();
        late.into_iter().for_each(|index| self.advance(cx, index, sink));
    }

    fn update_deadline(&mut self, cx: &mut Cx<'_>) {
        let deadlines = self.names.iter().filter_map(|name| match &name.state {
            NameState::Querying(lookup) => Some(lookup.deadline),
            _ => None,
        });
        let next = deadlines.min();
        if next == self.deadline.map(|(at, _)| at) {
            return;
        }
        if let Some((_, timer)) = self.deadline.take() {
            cx.cancel_timer(timer);
        }
        self.deadline = next.map(|at| (at, cx.set_timer(self.base + DEADLINE_KEY, at)));
    }

    /// The addresses of a name have been found, or not.
    fn end_resolving(
        &mut self,
        index: usize,
        result: &Result<Vec<std::net::SocketAddr>, otelcore_pipeline::ResolveError>,
        sink: &mut Sink<'_>,
    ) {
        let Some(name) = self.names.get_mut(index) else { return };
        name.state = NameState::Idle;
        match result {
            // That a name does not exist is an answer.
            Err(error) if !error.0.ends_with("no such host") => self.fail(index, error.to_string()),
            found => {
                name.error = None;
                let name = name.name.clone();
                let addresses = found.as_deref().unwrap_or_default().iter().map(|address| address.ip());
                let of_type = addresses.filter(|ip| match self.record_type {
                    DnsRecordType::A => ip.is_ipv4(),
                    _ => ip.is_ipv6(),
                });
                let target = |ip: IpAddr| {
                    let address = std::net::SocketAddr::new(ip, self.port).to_string();
                    LabelSet::from_pairs([("__address__", address.as_str()), ("__meta_dns_name", &name)])
                };
                sink.set(group(&name, of_type.map(target).collect()));
            }
        }
    }

    fn target_of_record(&self, name: &str, record: &Record) -> LabelSet {
        let host = record.target.trim_end_matches('.');
        let port = if self.record_type == DnsRecordType::Srv { record.port } else { self.port };
        let mut labels = vec![("__address__", format!("{host}:{port}")), ("__meta_dns_name", name.to_owned())];
        match self.record_type {
            DnsRecordType::Mx => labels.push(("__meta_dns_mx_record_target", record.target.clone())),
            DnsRecordType::Ns => labels.push(("__meta_dns_ns_record_target", record.target.clone())),
            _ => {
                labels.push(("__meta_dns_srv_record_target", record.target.clone()));
                labels.push(("__meta_dns_srv_record_port", port.to_string()));
            }
        }
        LabelSet::from_pairs(labels)
    }
}

fn group(name: &str, mut targets: Vec<LabelSet>) -> TargetGroup {
    targets.sort();
    targets.dedup();
    TargetGroup { source: name.into(), targets, labels: LabelSet::default() }
}

impl Provider for DnsDiscovery {
    fn start(&mut self, cx: &mut Cx<'_>, _: &mut Sink<'_>) -> Result<(), String> {
        self.refresh(cx);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>, sink: &mut Sink<'_>) {
        match (local.wrapping_sub(self.base), event) {
            (TIMER_KEY, _) => {
                self.timer = None;
                self.refresh(cx);
            }
            (FILE_KEY, _) => {
                if let Some(text) = self.file.take().and_then(|job| job.take()) {
                    self.end_reading(text);
                }
            }
            (DEADLINE_KEY, _) => self.advance_late(cx, sink),
            (key, event) => {
                let index = key.checked_sub(NAME_KEYS).and_then(|index| usize::try_from(index).ok());
                match (index, event) {
                    (Some(index), Event::Resolved(result)) => self.end_resolving(index, result, sink),
                    (Some(index), _) => self.advance(cx, index, sink),
                    (None, _) => {}
                }
            }
        }
        self.start_lookups(cx, sink);
        self.update_deadline(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.names.iter_mut().for_each(|name| name.state = NameState::Idle);
        let deadline = self.deadline.take().map(|(_, timer)| timer);
        for timer in self.timer.take().into_iter().chain(deadline) {
            cx.cancel_timer(timer);
        }
    }

    fn error(&self) -> Option<&str> {
        self.names.iter().find_map(|name| name.error.as_deref())
    }

    fn failures(&self) -> u64 {
        self.failures
    }
}
