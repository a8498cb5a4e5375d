//! The extension in a world of its own, against a server that the test plays.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use otelcore_pipeline::{Extension, Notifier};
use otelcore_testkit::{PeerStream, TestContext, TestWorld, extension, parse_config};

use super::K8sLeaderElectorFactory as Elector;
use crate::k8s_leader_elector::Leadership;

const KUBECONFIG: &str = "{current-context: c, contexts: [{name: c, context: {cluster: k, user: u}}], clusters: \
    [{name: k, cluster: {server: 'http://10.0.0.1:8001'}}], users: [{name: u, user: {token: secret}}]}";
const YAML: &str = "{auth_type: kubeConfig, lease_name: foo, lease_namespace: default}";

#[derive(Default)]
struct Counter(AtomicU32);

impl Notifier for Counter {
    fn notify(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Test {
    world: TestWorld,
    extension: Box<dyn Extension>,
    context: TestContext,
    leadership: std::rc::Rc<Leadership>,
    changes: Arc<Counter>,
    _notifier: Arc<dyn Notifier>,
    peers: Vec<PeerStream>,
}

impl Test {
    fn new() -> Self {
        let (mut world, context) = (TestWorld::new(), TestContext::new());
        world.set_env("KUBECONFIG", "/config");
        world.disk().write("/config", KUBECONFIG);
        let mut extension = extension(context.create(&Elector, "k8s_leader_elector", YAML).unwrap());
        let mut offered = otelcore_pipeline::OfferedCapabilities::default();
        extension.offer_capabilities(&mut offered);
        let leadership = offered.get::<Leadership>().unwrap();
        let changes = Arc::new(Counter::default());
        let notifier: Arc<dyn Notifier> = changes.clone();
        leadership.subscribe(&notifier);
        extension.start(&mut world.cx()).unwrap();
        let peers = Vec::new();
        let mut test = Self { world, extension, context, leadership, changes, _notifier: notifier, peers };
        test.run_for(Duration::ZERO);
        test
    }

    fn run_for(&mut self, time: Duration) {
        let extension = &mut self.extension;
        self.world.run_for(time, |cx, local, event| extension.handle_event(cx, local, event));
        self.peers.extend(self.world.take_connections().into_iter().map(|(_, peer)| peer));
    }

    /// The request that the server has received since the last call: its first line and its body.
    fn request(&mut self) -> (String, String) {
        let received: Vec<u8> = self.peers.iter().flat_map(PeerStream::take_received).collect();
        let text = String::from_utf8(received).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
        (head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned(), body.to_owned())
    }

    fn respond(&mut self, status: u16, body: &str) {
        let text = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.peers.iter().rfind(|peer| !peer.is_closed()).unwrap().send(text);
        self.run_for(Duration::ZERO);
    }

    /// Answers the first attempt: there is no lease, so that it leads.
    fn lead(&mut self) {
        assert_eq!(self.request().0, "GET /apis/coordination.k8s.io/v1/namespaces/default/leases/foo");
        self.respond(404, "{}");
        let (line, lease) = self.request();
        assert_eq!(line, "POST /apis/coordination.k8s.io/v1/namespaces/default/leases");
        self.respond(201, &lease);
        assert!(self.leadership.is_leader());
    }

    fn changes(&self) -> u32 {
        self.changes.0.load(Ordering::Relaxed)
    }
}

#[test]
fn leader_renews_the_lease_and_stops_when_it_can_not() {
    let mut test = Test::new();
    test.lead();
    assert_eq!(test.changes(), 1);
    test.run_for(Duration::from_secs(2));
    let (line, lease) = test.request();
    assert_eq!(line, "PUT /apis/coordination.k8s.io/v1/namespaces/default/leases/foo");
    assert!(lease.contains("\"leaseTransitions\":0") && lease.contains("\"leaseDurationSeconds\":15"), "{lease}");
    test.respond(200, &lease);
    // From now on the server says nothing.
    test.run_for(Duration::from_secs(9));
    assert!(test.leadership.is_leader());
    test.run_for(Duration::from_secs(1));
    assert_eq!((test.leadership.is_leader(), test.changes()), (false, 2));
    let lines = test.context.log.take_lines().join("\n");
    assert!(lines.contains("the lease of the leader can't be read or written"), "{lines}");
}

#[test]
fn follower_asks_again_and_leads_no_sooner_than_the_lease_ends() {
    let mut test = Test::new();
    test.request();
    let lease = r#"{"metadata":{"resourceVersion":"4"},"spec":{"holderIdentity":"other","leaseDurationSeconds":15}}"#;
    test.respond(200, lease);
    let mut seconds = 0;
    while test.changes() == 0 {
        test.run_for(Duration::from_secs(1));
        seconds += 1;
        match test.request() {
            (line, _) if line.starts_with("GET") => test.respond(200, lease),
            (line, body) if line.starts_with("PUT") => test.respond(200, &body),
            _ => {}
        }
        assert!(seconds < 30);
    }
    assert!((15..=20).contains(&seconds), "{seconds}");
}

#[test]
fn lease_is_given_back_at_shutdown() {
    let mut test = Test::new();
    test.lead();
    test.extension.set_ready(&mut test.world.cx(), false);
    test.run_for(Duration::ZERO);
    let (line, lease) = test.request();
    assert!(line.starts_with("PUT") && lease.contains("\"holderIdentity\":\"\""), "{line} {lease}");
    assert_eq!((test.leadership.is_leader(), test.changes()), (false, 2));
    test.respond(200, "{}");
    test.run_for(Duration::from_secs(60));
    assert_eq!(test.request().0, "");
}

#[test]
fn refusal_names_the_permission_that_is_missing() {
    let mut test = Test::new();
    test.request();
    test.respond(403, r#"{"message":"leases is forbidden"}"#);
    let lines = test.context.log.take_lines().join("\n");
    assert!(lines.contains("status 403: leases is forbidden; grant `get`, `create` and `update` on leases"), "{lines}");
    test.run_for(Duration::from_secs(5));
    assert!(test.request().0.starts_with("GET"));
}

#[test]
fn configuration_has_the_rules_of_client_go() {
    for (yaml, message) in [
        ("{lease_name: a}", "lease name and namespace must be set"),
        ("{lease_namespace: a}", "lease name and namespace must be set"),
        (
            "{lease_name: a, lease_namespace: b, lease_duration: 10s}",
            "leaseDuration must be greater than renewDeadline",
        ),
        (
            "{lease_name: a, lease_namespace: b, retry_period: 9s}",
            "renewDeadline must be greater than retryPeriod*JitterFactor",
        ),
        ("{lease_name: a, lease_namespace: b, retry_period: 0s}", "retryPeriod must be greater than zero"),
        ("{lease_name: a, lease_namespace: b, renew_deadline: 0s}", "renewDeadline must be greater than zero"),
        (
            "{lease_name: a, lease_namespace: b, lease_duration: 900ms, renew_deadline: 800ms, retry_period: 100ms}",
            "'lease_duration' must be 1s or longer: a lease has whole seconds",
        ),
    ] {
        let messages = parse_config(&Elector, "k8s_leader_elector", yaml).messages.join("\n");
        assert!(messages.contains(message), "{yaml}: {messages}");
    }
    assert!(parse_config(&Elector, "k8s_leader_elector", YAML).messages.is_empty());
}
