//! `dns_sd_configs`: targets in DNS, by records with addresses.
//!
//! Names are looked up as those of every client are, at the start and then at each `refresh_interval`. A name that does not
//! exist has no targets; while a look-up fails otherwise, what it found last stays.

use std::net::IpAddr;
use std::time::Duration;

use otelcore_config::declare::{ConfigValue, Shape};
use otelcore_config::{EffectiveValue, Section, config_struct};
use otelcore_pipeline::{Cx, Event, LogField, Logger, TimerId};

use crate::duration::PrometheusDuration;
use crate::labels::LabelSet;
use crate::provider::Provider;
use crate::targets::TargetGroup;
use crate::updates::Sink;

/// The type of the records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DnsRecordType {
    /// Addresses of IPv4.
    #[default]
    A,
    /// Addresses of IPv6.
    Aaaa,
}

impl ConfigValue for DnsRecordType {
    fn read(s: &mut Section<'_>, key: &str, default: &Self) -> Self {
        let word = s.str(key, "SRV");
        match word.to_uppercase().as_str() {
            "A" => return Self::A,
            "AAAA" => return Self::Aaaa,
            known @ ("SRV" | "MX" | "NS") => s.error(key, format!("records of the type {known} are not supported")),
            _ => s.error(key, format!("invalid DNS-SD records type {word}")),
        }
        .help("write `type: A` or `type: AAAA`, and `port`; without `type` Prometheus looks up SRV records");
        *default
    }

    fn shape(_: &Self) -> Shape {
        Shape::OneOf(vec!["A", "AAAA"])
    }

    fn effective(&self) -> EffectiveValue {
        let word = match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
        };
        EffectiveValue::Str(word.to_owned())
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
        /// The type of the records: `A` or `AAAA`.
        #[config(key = "type")]
        pub record_type: DnsRecordType,
        /// The port of the targets.
        pub port: u16,
    }
}

impl DnsSdConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.names.is_empty() {
            s.error("names", "DNS-SD config must contain at least one SRV record name");
        }
        if self.port == 0 && s.contains_key("type") {
            s.error("port", "a port is required in DNS-SD configs for all record types except SRV");
        }
        if self.refresh_interval.0.is_zero() {
            s.error("refresh_interval", "'refresh_interval' must be positive");
        }
    }
}

struct Name {
    name: String,
    is_resolving: bool,
    error: Option<String>,
}

/// The discovery. Its local keys are one for the timer and one for each name.
pub(crate) struct DnsDiscovery {
    names: Vec<Name>,
    interval: Duration,
    record_type: DnsRecordType,
    port: u16,
    log: Logger,
    base: u64,
    timer: Option<TimerId>,
}

impl DnsDiscovery {
    pub(crate) fn new(config: &DnsSdConfig, log: Logger, base: u64) -> Self {
        let name = |name: &String| Name { name: name.clone(), is_resolving: false, error: None };
        Self {
            names: config.names.iter().map(name).collect(),
            interval: config.refresh_interval.0,
            record_type: config.record_type,
            port: config.port,
            log,
            base,
            timer: None,
        }
    }

    fn refresh(&mut self, cx: &mut Cx<'_>) {
        for (index, name) in self.names.iter_mut().enumerate().filter(|(_, name)| !name.is_resolving) {
            name.is_resolving = true;
            cx.resolve(self.base + 1 + index as u64, &name.name, self.port);
        }
        self.timer = Some(cx.set_timer(self.base, cx.now() + self.interval));
    }

    fn group(&self, name: &str, addresses: impl Iterator<Item = IpAddr>) -> TargetGroup {
        let target = |ip: IpAddr| {
            let address = match ip {
                IpAddr::V4(ip) => format!("{ip}:{}", self.port),
                IpAddr::V6(ip) => format!("[{ip}]:{}", self.port),
            };
            LabelSet::from_pairs([("__address__", address.as_str()), ("__meta_dns_name", name)])
        };
        let of_type = addresses.filter(|ip| match self.record_type {
            DnsRecordType::A => ip.is_ipv4(),
            DnsRecordType::Aaaa => ip.is_ipv6(),
        });
        let mut targets: Vec<LabelSet> = of_type.map(target).collect();
        targets.sort();
        targets.dedup();
        TargetGroup { source: name.into(), targets, labels: LabelSet::default() }
    }
}

impl Provider for DnsDiscovery {
    fn start(&mut self, cx: &mut Cx<'_>, _: &mut Sink<'_>) -> Result<(), String> {
        self.refresh(cx);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>, sink: &mut Sink<'_>) {
        let result = match event {
            Event::Timer => {
                self.timer = None;
                return self.refresh(cx);
            }
            Event::Resolved(result) => result,
            Event::Ready => return,
        };
        let index = local.checked_sub(self.base + 1).and_then(|index| usize::try_from(index).ok());
        let Some(name) = index.and_then(|index| self.names.get_mut(index)) else { return };
        name.is_resolving = false;
        let error = match result {
            Ok(_) => None,
            // That a name does not exist is an answer.
            Err(error) if error.0.ends_with("no such host") => None,
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = error.as_ref().filter(|error| name.error.as_ref() != Some(error)) {
            self.log.error("Error refreshing DNS targets", &[("err", LogField::Str(error))]);
        }
        let is_failed = error.is_some();
        name.error = error;
        let name = name.name.clone();
        if !is_failed {
            let addresses = result.as_deref().unwrap_or_default().iter().map(|address| address.ip());
            sink.set(self.group(&name, addresses));
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        if let Some(timer) = self.timer.take() {
            cx.cancel_timer(timer);
        }
    }

    fn error(&self) -> Option<&str> {
        self.names.iter().find_map(|name| name.error.as_deref())
    }
}
