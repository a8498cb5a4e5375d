//! The addresses of a name, which is looked up again and again.
//!
//! After a look-up that fails the addresses that were found last stay. Never has more than one look-up at a time.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use otelcore_pipeline::{Cx, Event, LogField, Logger, ResolveError, TimerId};

use super::super::config::DnsResolverConfig;
use super::super::metrics::ResolverMetrics;

/// The local keys of events.
const LOOKUP_KEY: u64 = 1;
const INTERVAL_KEY: u64 = 2;
const TIMEOUT_KEY: u64 = 3;

const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

pub(in crate::load_balancing) struct DnsResolver {
    hostname: String,
    port: String,
    interval: Duration,
    timeout: Duration,
    endpoints: Vec<String>,
    is_looking_up: bool,
    /// Of the look-up in progress, until its time is over.
    timeout_timer: Option<TimerId>,
    interval_timer: Option<TimerId>,
    has_answer: bool,
    metrics: ResolverMetrics,
    log: Logger,
}

impl DnsResolver {
    pub(super) fn new(config: &DnsResolverConfig, metrics: ResolverMetrics, log: Logger) -> Self {
        let or = |time: Duration, default| if time.is_zero() { default } else { time };
        Self {
            hostname: config.hostname.clone(),
            port: config.port.clone(),
            interval: or(config.interval, DEFAULT_INTERVAL),
            timeout: or(config.timeout, DEFAULT_TIMEOUT),
            endpoints: Vec::new(),
            is_looking_up: false,
            timeout_timer: None,
            interval_timer: None,
            has_answer: false,
            metrics,
            log,
        }
    }

    pub(super) fn start(&mut self, cx: &mut Cx<'_>) {
        self.look_up(cx);
    }

    pub(super) fn has_answer(&self) -> bool {
        self.has_answer
    }

    fn look_up(&mut self, cx: &mut Cx<'_>) {
        self.interval_timer = Some(cx.set_timer(INTERVAL_KEY, cx.now() + self.interval));
        // A look-up can't be ended: the next one waits until it has.
        if !self.is_looking_up {
            self.is_looking_up = true;
            self.timeout_timer = Some(cx.set_timer(TIMEOUT_KEY, cx.now() + self.timeout));
            cx.resolve(LOOKUP_KEY, &self.hostname, 0);
        }
    }

    pub(super) fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>) -> Option<Vec<String>> {
        match (local, event) {
            (INTERVAL_KEY, _) => {
                self.look_up(cx);
                None
            }
            (TIMEOUT_KEY, _) => {
                self.timeout_timer = None;
                self.record_failure(&format!("lookup {}: i/o timeout", self.hostname));
                None
            }
            (LOOKUP_KEY, Event::Resolved(result)) => self.handle_resolved(cx, result),
            _ => None,
        }
    }

    fn handle_resolved(
        &mut self,
        cx: &mut Cx<'_>,
        result: &Result<Vec<SocketAddr>, ResolveError>,
    ) -> Option<Vec<String>> {
        self.is_looking_up = false;
        let is_in_time = self.timeout_timer.is_some();
        if let Some(id) = self.timeout_timer.take() {
            cx.cancel_timer(id);
        }
        let addresses = match result {
            Ok(addresses) => addresses,
            Err(error) => {
                // One that comes too late has been reported.
                if is_in_time {
                    self.record_failure(&error.0);
                }
                return None;
            }
        };
        self.has_answer = true;
        self.metrics.record_resolution(true);
        let mut endpoints: Vec<String> = addresses.iter().map(|address| self.endpoint(address.ip())).collect();
        endpoints.sort();
        endpoints.dedup();
        if endpoints == self.endpoints {
            return None;
        }
        self.endpoints.clone_from(&endpoints);
        self.metrics.record_update(endpoints.len());
        Some(endpoints)
    }

    /// The endpoint of an address, as the Go collector writes it: its text decides about its points on the ring.
    fn endpoint(&self, address: IpAddr) -> String {
        let host = match address.to_canonical() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        if self.port.is_empty() { host } else { format!("{host}:{}", self.port) }
    }

    fn record_failure(&mut self, error: &str) {
        self.has_answer = true;
        self.metrics.record_resolution(false);
        let fields = [("hostname", LogField::Str(&self.hostname)), ("error", LogField::Str(error))];
        self.log.warn("failed to resolve the backends", &fields);
    }

    pub(super) fn close(&mut self, cx: &mut Cx<'_>) {
        for id in [self.timeout_timer.take(), self.interval_timer.take()].into_iter().flatten() {
            cx.cancel_timer(id);
        }
    }
}
