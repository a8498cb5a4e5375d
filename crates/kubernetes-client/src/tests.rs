//! The client in a world of its own, against a server that the test plays.

use std::time::Duration;

use otelcore_pipeline::{Cx, Event, LogLevel};
use otelcore_testkit::{PeerStream, TestLog, TestWorld};

use crate::config::{KubernetesApiConfig, KubernetesAuthType};
use crate::{ChangeKind, NOT_IN_CLUSTER, ObjectConsumer, PartialObject, TOKEN_FILE, WatchClient, WatchId, WatchSpec};

const BASE: u64 = 1 << 32;
const KUBECONFIG: &str = "{current-context: c, contexts: [{name: c, context: {cluster: k, user: u}}], clusters: \
    [{name: k, cluster: {server: 'http://10.0.0.1:8001'}}], users: [{name: u, user: {tokenFile: token}}]}";

/// What has been passed on, as text.
#[derive(Default)]
struct Recorder(Vec<String>);

impl ObjectConsumer for Recorder {
    fn begin_list(&mut self, watch: WatchId) {
        self.0.push(format!("{} begin", watch.0));
    }

    fn apply(&mut self, _: &mut Cx<'_>, watch: WatchId, change: ChangeKind, object: &[u8]) -> Result<(), String> {
        let object: PartialObject = serde_json::from_slice(object).map_err(|e| e.to_string())?;
        self.0.push(format!("{} {change:?} {}", watch.0, object.metadata.name));
        Ok(())
    }

    fn end_list(&mut self, _: &mut Cx<'_>, watch: WatchId) {
        self.0.push(format!("{} end", watch.0));
    }
}

struct Test {
    world: TestWorld,
    client: WatchClient,
    recorder: Recorder,
    log: std::sync::Arc<TestLog>,
    peers: Vec<PeerStream>,
}

fn kubeconfig() -> KubernetesApiConfig {
    KubernetesApiConfig { auth_type: KubernetesAuthType::KubeConfig, ..KubernetesApiConfig::default() }
}

impl Test {
    fn new() -> Self {
        let mut world = TestWorld::new();
        world.set_env("HOME", "/home/me");
        world.disk().write("/home/me/.kube/config", KUBECONFIG);
        world.disk().write("/home/me/.kube/token", "secret-1\n");
        let log = TestLog::new(Some(LogLevel::Debug));
        let mut client = WatchClient::start(&kubeconfig(), &mut world.cx(), log.logger(), BASE).unwrap();
        client.add_watch(&mut world.cx(), WatchSpec::new("", "v1", "pods", ""));
        let mut test = Self { world, client, recorder: Recorder::default(), log, peers: Vec::new() };
        test.run();
        test
    }

    fn run(&mut self) {
        self.run_for(Duration::ZERO);
    }

    fn run_for(&mut self, time: Duration) {
        let Self { world, client, recorder, .. } = self;
        world.run_for(time, |cx: &mut Cx<'_>, local: u64, event: Event<'_>| {
            client.handle_event(cx, local, &event, recorder);
        });
        self.peers.extend(self.world.take_connections().into_iter().map(|(_, peer)| peer));
    }

    /// The head of the request that the server has received since the last call.
    fn request(&mut self) -> String {
        let received: Vec<u8> = self.peers.iter().flat_map(PeerStream::take_received).collect();
        String::from_utf8(received).unwrap()
    }

    /// The target of that request.
    fn target(&mut self) -> String {
        let request = self.request();
        request.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    fn peer(&self) -> &PeerStream {
        self.peers.iter().rfind(|peer| !peer.is_closed()).unwrap()
    }

    fn respond(&mut self, status: &str, body: &str) {
        let text = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.peer().send(text);
        self.run();
    }

    /// Begins the response to a watch.
    fn begin_watch(&mut self) {
        self.peer().send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        self.run();
    }

    fn event(&mut self, kind: &str, name: &str, version: u32) {
        let object = format!(r#"{{"metadata":{{"name":"{name}","resourceVersion":"{version}"}}}}"#);
        self.send_event(kind, &object);
    }

    fn send_event(&mut self, kind: &str, object: &str) {
        let event = format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n");
        self.peer().send(format!("{:x}\r\n{event}\r\n", event.len()));
        self.run();
    }

    fn end_watch(&mut self) {
        self.peer().send("0\r\n\r\n");
        self.run();
    }

    fn recorded(&mut self) -> Vec<String> {
        std::mem::take(&mut self.recorder.0)
    }
}

fn list(names: &[&str], version: u32, continue_token: &str) -> String {
    let items: Vec<String> = names.iter().map(|name| format!(r#"{{"metadata":{{"name":"{name}"}}}}"#)).collect();
    let items = items.join(",");
    format!(r#"{{"metadata":{{"resourceVersion":"{version}","continue":"{continue_token}"}},"items":[{items}]}}"#)
}

#[test]
fn resource_is_listed_page_by_page_and_watched_from_there() {
    let mut test = Test::new();
    let request = test.request();
    assert!(request.starts_with("GET /api/v1/pods?limit=500&resourceVersion=0 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("Authorization: Bearer secret-1\r\n"), "{request}");
    test.respond("200 OK", &list(&["a", "b"], 7, "more"));
    assert_eq!(test.target(), "/api/v1/pods?limit=500&continue=more");
    test.respond("200 OK", &list(&["c"], 7, ""));
    assert_eq!(test.recorded(), ["0 begin", "0 Listed a", "0 Listed b", "0 Listed c", "0 end"]);
    let target = test.target();
    assert!(target.starts_with("/api/v1/pods?watch=true&allowWatchBookmarks=true&timeoutSeconds=3"), "{target}");
    assert!(target.ends_with("&resourceVersion=7"), "{target}");
    test.begin_watch();
    test.event("ADDED", "d", 8);
    test.event("MODIFIED", "a", 9);
    test.event("BOOKMARK", "", 20);
    test.event("DELETED", "b", 21);
    assert_eq!(test.recorded(), ["0 Added d", "0 Modified a", "0 Deleted b"]);
    test.run_for(Duration::from_secs(100));
    test.end_watch();
    assert!(test.target().ends_with("&resourceVersion=21"));
}

#[test]
fn version_that_is_gone_is_followed_by_a_list_of_the_newest_one() {
    let mut test = Test::new();
    test.respond("200 OK", &list(&["a"], 7, ""));
    test.request();
    // In the watch, and as its response.
    test.begin_watch();
    test.send_event("ERROR", r#"{"kind":"Status","code":410,"message":"too old resource version: 7 (9)"}"#);
    test.run_for(Duration::from_secs(2));
    assert_eq!(test.target(), "/api/v1/pods?limit=500");
    test.respond("200 OK", &list(&["b"], 9, ""));
    assert_eq!(test.recorded(), ["0 begin", "0 Listed a", "0 end", "0 begin", "0 Listed b", "0 end"]);
    test.request();
    test.respond("410 Gone", r#"{"message":"too old","code":410}"#);
    test.run_for(Duration::from_secs(2));
    assert_eq!(test.target(), "/api/v1/pods?limit=500");
    let lines = test.log.take_lines().join("\n");
    assert!(lines.contains("too old resource version: 7 (9)"), "{lines}");
}

#[test]
fn server_that_restarts_is_asked_again_after_growing_pauses() {
    let mut test = Test::new();
    test.respond("200 OK", &list(&["a"], 7, ""));
    test.begin_watch();
    test.event("ADDED", "b", 8);
    test.request();
    let mut pauses = Vec::new();
    for _ in 0..3 {
        test.peer().fail(std::io::ErrorKind::ConnectionReset);
        test.run();
        let began = test.world.cx().now();
        while test.peers.iter().all(|peer| peer.is_closed() || peer.received_len() == 0) {
            test.run_for(Duration::from_millis(100));
        }
        pauses.push(test.world.cx().now().since(began).as_millis() / 100);
        assert!(test.target().ends_with("&resourceVersion=8"));
    }
    assert!(pauses.is_sorted() && (8..17).contains(&pauses[0]) && pauses[2] >= 32, "{pauses:?}");
    assert!(test.client.error(WatchId(0)).is_some());
    // It comes back, and has nothing new.
    test.begin_watch();
    test.event("BOOKMARK", "", 9);
    test.run_for(Duration::from_secs(200));
    assert_eq!(test.recorded(), ["0 begin", "0 Listed a", "0 end", "0 Added b"]);
    assert_eq!(test.client.error(WatchId(0)), None);
}

#[test]
fn token_is_read_again_after_a_minute_and_after_a_refusal() {
    let mut test = Test::new();
    test.respond("200 OK", &list(&[], 7, ""));
    test.request();
    test.world.disk().write("/home/me/.kube/token", "secret-2");
    test.begin_watch();
    test.run_for(Duration::from_secs(61));
    test.end_watch();
    assert!(test.request().contains("Authorization: Bearer secret-2\r\n"));
    test.world.disk().write("/home/me/.kube/token", "secret-3");
    test.respond("401 Unauthorized", r#"{"message":"Unauthorized","code":401}"#);
    test.run_for(Duration::from_secs(2));
    assert!(test.request().contains("Authorization: Bearer secret-3\r\n"));
    // A file that can't be read leaves the token.
    test.world.disk().write("/home/me/.kube/token", "");
    test.begin_watch();
    test.run_for(Duration::from_secs(61));
    test.end_watch();
    assert!(test.request().contains("Authorization: Bearer secret-3\r\n"));
}

#[test]
fn refusal_is_reported_with_what_to_grant() {
    let mut test = Test::new();
    test.respond("403 Forbidden", r#"{"message":"pods is forbidden: User \"x\" cannot list","code":403}"#);
    assert_eq!(
        test.client.error(WatchId(0)),
        Some(
            "the server answered GET /api/v1/pods with status 403: pods is forbidden: User \"x\" cannot list; grant \
             `list` and `watch` on pods to the collector's account"
        )
    );
    test.run_for(Duration::from_secs(2));
    test.respond("200 OK", &list(&[], 7, ""));
    assert_eq!(test.client.error(WatchId(0)), None);
}

#[test]
fn slow_server_loses_nothing_and_silent_one_is_given_up() {
    let mut test = Test::new();
    let body = list(&["a", "b"], 7, "");
    test.peer().send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
    for part in body.as_bytes().chunks(9) {
        test.peer().send(part);
        test.run_for(Duration::from_secs(20));
    }
    assert_eq!(test.recorded(), ["0 begin", "0 Listed a", "0 Listed b", "0 end"]);
    test.request();
    test.begin_watch();
    test.run_for(Duration::from_secs(245));
    assert!(test.target().contains("watch=true"), "it is watched again");
    // Without any response.
    test.run_for(Duration::from_secs(80));
    assert!(test.target().contains("watch=true"), "it is asked again");
}

#[test]
fn object_that_is_not_valid_is_left_out_and_the_next_one_is_not() {
    let mut test = Test::new();
    test.respond(
        "200 OK",
        r#"{"metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":3}},{"metadata":{"name":"b"}}]}"#,
    );
    assert_eq!(test.recorded(), ["0 begin", "0 Listed b", "0 end"]);
    let lines = test.log.take_lines().join("\n");
    assert!(lines.contains("an object of the Kubernetes API server is left out"), "{lines}");
}

#[test]
fn body_that_is_not_a_list_is_an_error() {
    for body in ["<html></html>", "[]", "{}", "{\"items\":["] {
        let mut test = Test::new();
        test.respond("200 OK", body);
        assert!(test.client.error(WatchId(0)).is_some(), "{body}");
        test.run_for(Duration::from_secs(2));
        assert_eq!(test.target().split('?').next(), Some("/api/v1/pods"), "{body}");
    }
}

#[test]
fn paused_client_reads_nothing() {
    let mut test = Test::new();
    test.client.set_paused(&mut test.world.cx(), true);
    test.respond("200 OK", &list(&["a"], 7, ""));
    assert_eq!(test.recorded(), ["0 begin"]);
    test.client.set_paused(&mut test.world.cx(), false);
    test.run();
    assert_eq!(test.recorded(), ["0 Listed a", "0 end"]);
}

#[test]
fn consumer_that_has_lost_everything_gets_it_again() {
    let mut test = Test::new();
    test.respond("200 OK", &list(&["a"], 7, ""));
    test.begin_watch();
    test.request();
    test.client.reset(&mut test.world.cx());
    test.run();
    assert_eq!(test.target(), "/api/v1/pods?limit=500&resourceVersion=0");
    test.respond("200 OK", &list(&["b"], 9, ""));
    assert_eq!(test.recorded(), ["0 begin", "0 Listed a", "0 end", "0 begin", "0 Listed b", "0 end"]);
}

#[test]
fn long_list_is_read_in_parts_of_a_turn() {
    let mut test = Test::new();
    let names: Vec<String> = (0..20_000).map(|n| format!("pod-{n:06}")).collect();
    let body = list(&names.iter().map(String::as_str).collect::<Vec<_>>(), 7, "");
    test.peer().send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    let mut most = 0;
    loop {
        let before = test.recorder.0.len();
        let Test { world, client, recorder, .. } = &mut test;
        let is_event = world.step(&mut |cx: &mut Cx<'_>, local: u64, event: Event<'_>| {
            client.handle_event(cx, local, &event, recorder);
        });
        if !is_event {
            break;
        }
        most = most.max(test.recorder.0.len() - before);
    }
    assert_eq!(test.recorder.0.len(), 20_002);
    // An object is 32 bytes here, and a turn reads 128 KiB and the rest of one part.
    assert!(most < 8000, "{most}");
}

#[test]
fn start_outside_of_a_cluster_says_what_is_missing() {
    let mut world = TestWorld::new();
    let log = TestLog::new(Some(LogLevel::Debug));
    let start = |config: &KubernetesApiConfig, world: &mut TestWorld| {
        WatchClient::start(config, &mut world.cx(), log.logger(), BASE).map(drop).map_err(|e| e.to_string())
    };
    let in_cluster = KubernetesApiConfig::default();
    assert_eq!(start(&in_cluster, &mut world), Err(NOT_IN_CLUSTER.to_owned()));
    world.set_env("KUBERNETES_SERVICE_HOST", "10.96.0.1");
    world.set_env("KUBERNETES_SERVICE_PORT", "443");
    let missing = format!("open {TOKEN_FILE}: no such file or directory");
    assert_eq!(start(&in_cluster, &mut world), Err(missing));
    world.disk().write(TOKEN_FILE, " \n");
    assert!(start(&in_cluster, &mut world).unwrap_err().starts_with("read empty token from file"));
    world.disk().write(TOKEN_FILE, "t");
    assert!(start(&in_cluster, &mut world).unwrap_err().contains("ca.crt"), "the authorities are missing");
    let error = start(&kubeconfig(), &mut world).unwrap_err();
    assert!(error.contains("no configuration has been provided"), "{error}");
}
