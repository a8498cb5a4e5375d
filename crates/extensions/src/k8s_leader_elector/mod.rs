//! The `k8s_leader_elector` extension: of several collectors that name the same lease of a cluster, one leads.
//!
//! Owns the lease's requests and their times, and says by a [`Leadership`] whether this collector leads. Which components
//! run only on the leader is their configuration.

mod election;
mod lease;
#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::time::Duration;

use otelcore_config::{GoDuration, Section, config_struct};
use otelcore_kubernetes_client::{ApiClient, ApiRequest, ApiServer, KubernetesApiConfig, Leadership, WatchSpec};
use otelcore_net::Method;
use otelcore_pipeline::{
    BuildContext, Component, ComponentInfo, ComponentKind, ComponentType, Cx, Event, Extension, LogField, Logger,
    OfferedCapabilities, StartError, StatusReport, TimerId,
};

use election::{Election, LeaseRequest, Progress};

/// How much longer than `retry_period` a pause of a follower can be, as in client-go.
const JITTER_FACTOR: f64 = 1.2;

/// The longest lease that is read.
const MAX_LEASE: usize = 1 << 20;

/// Local keys.
const ATTEMPT_TIMER: u64 = 0;
const DEADLINE_TIMER: u64 = 1;
const CLIENT_KEYS: u64 = 1 << 32;

config_struct! {
    /// Takes part in the election of a leader by a lease of the cluster. Receivers that name it in `k8s_leader_elector` run
    /// while this collector leads.
    #[config(check = Self::check)]
    pub struct K8sLeaderElectorConfig {
        /// The API server.
        #[config(flatten)]
        pub api: KubernetesApiConfig,
        /// The name of the lease. Collectors with the same lease elect one leader.
        pub lease_name: String,
        /// The namespace of the lease.
        pub lease_namespace: String,
        /// How long after its last renewal others leave the lease to its holder. Whole seconds are stored.
        pub lease_duration: Duration = Duration::from_secs(15),
        /// How long the leader tries to renew the lease before it leads no longer.
        #[config(above(GoDuration::ZERO, "renewDeadline must be greater than zero"))]
        pub renew_deadline: Duration = Duration::from_secs(10),
        /// The pause between two attempts.
        #[config(above(GoDuration::ZERO, "retryPeriod must be greater than zero"))]
        pub retry_period: Duration = Duration::from_secs(2),
    }
}

impl K8sLeaderElectorConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        if self.lease_name.is_empty() || self.lease_namespace.is_empty() {
            let key = if self.lease_name.is_empty() { "lease_name" } else { "lease_namespace" };
            s.error(key, "lease name and namespace must be set");
        }
        if self.lease_duration <= self.renew_deadline {
            s.start_error("lease_duration", "leaseDuration must be greater than renewDeadline");
        } else if self.renew_deadline <= self.retry_period.mul_f64(JITTER_FACTOR) {
            s.start_error("renew_deadline", "renewDeadline must be greater than retryPeriod*JitterFactor")
                .help(format!("the factor is {JITTER_FACTOR}"));
        } else if self.lease_duration < Duration::from_secs(1) {
            s.start_error("lease_duration", "'lease_duration' must be 1s or longer: a lease has whole seconds");
        }
    }
}

/// The `k8s_leader_elector` extension.
#[derive(Clone, Copy, Debug)]
pub struct K8sLeaderElectorFactory;

impl ComponentType for K8sLeaderElectorFactory {
    const INFO: ComponentInfo = ComponentInfo {
        kind: ComponentKind::Extension,
        type_name: "k8s_leader_elector",
        aliases: &[],
        signals: &[],
        stability: "Alpha",
    };
    type Config = K8sLeaderElectorConfig;

    fn create(&self, config: &K8sLeaderElectorConfig, context: &BuildContext<'_>) -> Result<Component, StartError> {
        let leases = WatchSpec::new("coordination.k8s.io", "v1", "leases", &config.lease_namespace);
        Ok(Component::Extension(Box::new(K8sLeaderElector {
            lease: leases.object_path(&config.lease_name),
            collection: leases.path,
            config: config.clone(),
            log: context.log.clone(),
            leadership: Rc::default(),
            running: None,
        })))
    }
}

struct K8sLeaderElector {
    config: K8sLeaderElectorConfig,
    /// The path of the leases of the namespace, and of the lease.
    collection: String,
    lease: String,
    log: Logger,
    leadership: Rc<Leadership>,
    running: Option<Running>,
}

struct Running {
    identity: String,
    client: ApiClient,
    election: Election,
    /// The request in progress.
    request: Option<u64>,
    deadline: Option<TimerId>,
    /// Why the last attempt has failed.
    error: Option<String>,
    is_ending: bool,
}

impl Extension for K8sLeaderElector {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let config = &self.config;
        let server = ApiServer::find(&config.api, cx)?;
        let identity = random_uuid(cx.random(), cx.random());
        let uuid = [("UUID", LogField::Str(&identity))];
        self.log.info("Starting k8s leader elector with UUID", &uuid);
        let lease = (config.lease_namespace.as_str(), config.lease_name.as_str());
        self.running = Some(Running {
            client: ApiClient::new(server, &config.api, cx, self.log.clone(), CLIENT_KEYS),
            election: Election::new(lease, identity.clone(), config.lease_duration, config.renew_deadline),
            identity,
            request: None,
            deadline: None,
            error: None,
            is_ending: false,
        });
        cx.set_timer(ATTEMPT_TIMER, cx.now());
        Ok(())
    }

    fn set_ready(&mut self, cx: &mut Cx<'_>, ready: bool) {
        if !ready {
            self.end(cx);
        }
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>) {
        let Some(running) = &mut self.running else { return };
        match local {
            ATTEMPT_TIMER if !running.is_ending && running.request.is_none() => {
                let request = running.election.begin(cx.now(), cx.wall_time());
                self.send(cx, request);
            }
            DEADLINE_TIMER if running.election.deadline().is_some_and(|deadline| deadline <= cx.now()) => {
                if let Some(request) = running.request.take() {
                    running.client.cancel(cx, request);
                }
                running.election.lose();
                self.end_attempt(cx, Some("the lease was not renewed in time".to_owned()));
            }
            CLIENT_KEYS.. => running.client.handle_event(cx, local, &event),
            _ => {}
        }
        self.handle_responses(cx);
    }

    fn offer_capabilities(&self, offered: &mut OfferedCapabilities) {
        offered.add::<Leadership>(self.leadership.clone());
    }
}

impl K8sLeaderElector {
    fn send(&mut self, cx: &mut Cx<'_>, request: LeaseRequest) {
        let timeout = self.config.retry_period.max(self.config.renew_deadline / 2);
        let (method, target, body) = match request {
            LeaseRequest::Get => (Method::GET, &self.lease, Vec::new()),
            LeaseRequest::Create(body) => (Method::POST, &self.collection, body),
            LeaseRequest::Update(body) => (Method::PUT, &self.lease, body),
        };
        let request = ApiRequest { method, body, ..ApiRequest::get(target.as_str(), timeout, MAX_LEASE) };
        if let Some(running) = &mut self.running {
            running.request = Some(running.client.request(cx, request));
        }
    }

    fn handle_responses(&mut self, cx: &mut Cx<'_>) {
        while let Some(running) = &mut self.running
            && let Some((token, response)) = running.client.poll_response()
        {
            if running.request != Some(token) {
                continue;
            }
            running.request = None;
            if running.is_ending {
                running.client.close(cx);
                continue;
            }
            match running.election.handle_response(cx.now(), cx.wall_time(), response) {
                Progress::Request(request) => self.send(cx, request),
                Progress::Ended => self.end_attempt(cx, None),
                Progress::Failed(error) => self.end_attempt(cx, Some(error)),
            }
        }
    }

    /// An attempt has ended: says who leads, and sets the times of what follows.
    fn end_attempt(&mut self, cx: &mut Cx<'_>, error: Option<String>) {
        let random = cx.random();
        let Some(running) = &mut self.running else { return };
        if let Some(deadline) = running.deadline.take() {
            cx.cancel_timer(deadline);
        }
        running.deadline = running.election.deadline().map(|at| cx.set_timer(DEADLINE_TIMER, at));
        let is_leader = running.election.is_leader();
        let period = self.config.retry_period;
        let jitter = period.mul_f64(JITTER_FACTOR * (random % 1024) as f64 / 1024.0);
        cx.set_timer(ATTEMPT_TIMER, cx.now() + if is_leader { period } else { period + jitter });
        match error {
            None if running.error.take().is_some() => cx.report_status(0, StatusReport::Ok),
            Some(error) if running.error.as_ref() != Some(&error) => {
                let hint = if error.starts_with("status 403") {
                    "; grant `get`, `create` and `update` on leases to the collector's account"
                } else {
                    ""
                };
                let text = format!("{error}{hint}");
                let fields = [("lease", LogField::Str(&self.lease)), ("error", LogField::Str(&text))];
                self.log.warn("the lease of the leader can't be read or written", &fields);
                cx.report_status(0, StatusReport::RecoverableError(&text));
                running.error = Some(error);
            }
            _ => {}
        }
        if is_leader != self.leadership.is_leader() {
            let message =
                if is_leader { "Leader lease acquired" } else { "Leader lease lost. Returning to standby mode..." };
            self.log.info(message, &[("UUID", LogField::Str(&running.identity))]);
            self.leadership.set(is_leader);
        }
    }

    /// Gives the lease back.
    fn end(&mut self, cx: &mut Cx<'_>) {
        self.leadership.set(false);
        let Some(running) = &mut self.running else { return };
        running.is_ending = true;
        self.log.info("Stopping k8s leader elector with UUID", &[("UUID", LogField::Str(&running.identity))]);
        if let Some(request) = running.request.take() {
            running.client.cancel(cx, request);
        }
        match running.election.release(cx.wall_time()) {
            Some(request) => self.send(cx, request),
            None => running.client.close(cx),
        }
        self.handle_responses(cx);
    }
}

/// A random UUID, version 4.
fn random_uuid(high: u64, low: u64) -> String {
    let (high, low) = (high & !0xf000 | 0x4000, low & !(0b11 << 62) | 0b10 << 62);
    let (a, b, c) = (high >> 32, high >> 16 & 0xffff, high & 0xffff);
    format!("{a:08x}-{b:04x}-{c:04x}-{:04x}-{:012x}", low >> 48, low & 0xffff_ffff_ffff)
}
