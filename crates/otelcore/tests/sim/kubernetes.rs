//! `k8s_attributes` beside an API server that is restarted, slow, or forgets its history, while clients send spans.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore::pipeline::MonotonicTime;
use otelcore::pipeline::{
    Budget, Cx, Endpoint, Event, Graph, GraphBuilder, Listener, Logger, NoopLogSink, Outcome, PipelineInput, Receiver,
    StartError, Stream,
};
use otelcore::reactor::{NodeId, Sim};

use crate::backend::{SharedBackendState, backend_graph};
use crate::client::{Load, client_graph};
use crate::fixture::{MS, SEC, collector_graph, config_yaml, new_sim, otlp_exporter, seeds};

pub(crate) const KUBECONFIG: &str = "{current-context: c, contexts: [{name: c, context: {cluster: k, user: u}}], clusters: \
    [{name: k, cluster: {server: 'http://api:8001'}}], users: [{name: u, user: {tokenFile: token}}]}";
pub(crate) const TOKEN: &str = "/etc/kube/token";

const LISTENER: u64 = 0;
const FIRST_CONNECTION: u64 = 1;
const TICK: u64 = 1 << 40;

/// The cluster, which outlives the processes of its API server.
#[derive(Default)]
pub(crate) struct Cluster {
    /// Pods by name, as JSON without a version.
    pods: BTreeMap<String, String>,
    version: u64,
    /// Events with their versions.
    history: Vec<(u64, String)>,
    /// Watches from an older version get 410.
    oldest: u64,
    /// The token that is accepted.
    pub(crate) token: String,
    lists: u64,
    refused: u64,
    pub(crate) gone: u64,
    /// The lease of an election, as JSON, and its version.
    lease: Option<serde_json::Value>,
    lease_version: u64,
    /// Watches that are open.
    pub(crate) watches: usize,
}

pub(crate) type SharedCluster = Rc<RefCell<Cluster>>;

impl Cluster {
    pub(crate) fn set_pod(&mut self, name: &str, ip: &str) {
        self.version += 1;
        let kind = if self.pods.contains_key(name) { "MODIFIED" } else { "ADDED" };
        let pod = format!(
            r#"{{"metadata":{{"name":"{name}","namespace":"shop","uid":"uid-{name}","resourceVersion":"{}"}},"spec":{{"nodeName":"n1"}},"status":{{"podIP":"{ip}"}}}}"#,
            self.version
        );
        self.history.push((self.version, format!(r#"{{"type":"{kind}","object":{pod}}}"#)));
        self.pods.insert(name.to_owned(), pod);
    }

    fn delete_pod(&mut self, name: &str) {
        self.version += 1;
        if let Some(pod) = self.pods.remove(name) {
            self.history.push((self.version, format!(r#"{{"type":"DELETED","object":{pod}}}"#)));
        }
    }

    /// Forgets the events, so that watches from before get 410.
    pub(crate) fn compact(&mut self) {
        self.oldest = self.version;
        self.history.clear();
    }

    /// Who holds the lease.
    pub(crate) fn leader(&self) -> String {
        let holder = self.lease.as_ref().map(|lease| lease["spec"]["holderIdentity"].clone());
        holder.and_then(|holder| holder.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// Responds to a request for the lease: a write needs the version that the server has.
    fn lease_response(&mut self, method: &str, body: &str) -> (&'static str, String) {
        let version = |lease: &serde_json::Value| lease["metadata"]["resourceVersion"].clone();
        match (method, &self.lease) {
            ("GET", Some(lease)) => return ("200 OK", lease.to_string()),
            ("GET", None) => return ("404 Not Found", "{}".to_owned()),
            (_, old) => {
                let mut new: serde_json::Value = serde_json::from_str(body).unwrap();
                if old.as_ref().map(version).unwrap_or_default() != version(&new) {
                    return ("409 Conflict", "{}".to_owned());
                }
                self.lease_version += 1;
                new["metadata"]["resourceVersion"] = self.lease_version.to_string().into();
                self.lease = Some(new);
            }
        }
        ("200 OK", self.lease.as_ref().unwrap().to_string())
    }
}

struct Conn {
    io: Box<dyn Stream>,
    incoming: Vec<u8>,
    outgoing: VecDeque<u8>,
    /// The version up to which events were sent, once it is a watch.
    watched: Option<u64>,
}

/// The API server: one process of it.
struct ApiServer {
    cluster: SharedCluster,
    listener: Option<Box<dyn Listener>>,
    conns: BTreeMap<u64, Conn>,
    next: u64,
    /// Bytes that a connection writes in a tick; zero for no limit.
    slow: usize,
}

pub(crate) fn api_server(cluster: &SharedCluster, slow: usize) -> Graph {
    let mut builder = GraphBuilder::new(Arc::new(Budget::default()), Logger::new(Arc::new(NoopLogSink)));
    let (conns, next) = (BTreeMap::new(), FIRST_CONNECTION);
    let server = ApiServer { cluster: cluster.clone(), listener: None, conns, next, slow };
    builder.add_receiver("api".parse().unwrap(), Box::new(server));
    builder.build()
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

impl ApiServer {
    fn respond(cluster: &mut Cluster, conn: &mut Conn, request: &str, body: &str) {
        let whole =
            |status: &str, body: &str| format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let target = request.split(' ').nth(1).unwrap_or_default();
        let authorized = request.contains(&format!("Authorization: Bearer {}\r\n", cluster.token));
        let version = target.split("resourceVersion=").nth(1).and_then(|rest| rest.split('&').next()?.parse().ok());
        let response = if !authorized {
            cluster.refused += 1;
            whole("401 Unauthorized", r#"{"message":"Unauthorized","code":401}"#)
        } else if target.contains("/leases") {
            let (status, body) = cluster.lease_response(request.split(' ').next().unwrap_or_default(), body);
            whole(status, &body)
        } else if let Some(document) = match target {
            "/api" => Some(r#"{"versions":["v1"]}"#),
            "/apis" => Some(r#"{"groups":[]}"#),
            "/api/v1" => Some(r#"{"resources":[{"name":"pods","kind":"Pod"}]}"#),
            _ => None,
        } {
            whole("200 OK", document)
        } else if target.contains("watch=true") {
            let version: u64 = version.unwrap_or(0);
            if version < cluster.oldest {
                cluster.gone += 1;
                whole("410 Gone", r#"{"message":"too old resource version","code":410}"#)
            } else {
                conn.watched = Some(version);
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned()
            }
        } else {
            cluster.lists += 1;
            let items = cluster.pods.values().cloned().collect::<Vec<_>>().join(",");
            let version = cluster.version;
            whole("200 OK", &format!(r#"{{"metadata":{{"resourceVersion":"{version}"}},"items":[{items}]}}"#))
        };
        conn.outgoing.extend(response.bytes());
    }

    fn serve(&mut self, key: u64) {
        let Some(conn) = self.conns.get_mut(&key) else { return };
        let mut buf = [0; 2048];
        let is_ended = loop {
            match conn.io.read(&mut buf) {
                Ok(0) => break true,
                Ok(n) => conn.incoming.extend_from_slice(&buf[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break false,
                Err(_) => break true,
            }
        };
        while let Some(end) = conn.incoming.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&conn.incoming[..end + 4]).into_owned();
            let length = head
                .to_ascii_lowercase()
                .split("content-length: ")
                .nth(1)
                .map_or(0, |rest| rest.split("\r\n").next().and_then(|length| length.parse().ok()).unwrap_or(0));
            if conn.incoming.len() < end + 4 + length {
                break;
            }
            let request: Vec<u8> = conn.incoming.drain(..end + 4 + length).collect();
            let body = String::from_utf8_lossy(&request[end + 4..]).into_owned();
            Self::respond(&mut self.cluster.borrow_mut(), conn, &head, &body);
        }
        if let Some(watched) = &mut conn.watched {
            let cluster = self.cluster.borrow();
            let from = *watched;
            for (version, event) in cluster.history.iter().filter(|(version, _)| *version > from) {
                *watched = *version;
                conn.outgoing.extend(chunk(&format!("{event}\n")).bytes());
            }
        }
        let mut left = if self.slow == 0 { usize::MAX } else { self.slow };
        while left > 0 && !conn.outgoing.is_empty() {
            let part = conn.outgoing.make_contiguous();
            let part = &part[..part.len().min(left)];
            match conn.io.write(part) {
                Ok(n) => {
                    left -= n;
                    conn.outgoing.drain(..n);
                }
                Err(_) => break,
            }
        }
        let _ = conn.io.flush();
        if is_ended {
            self.conns.remove(&key);
        }
        self.cluster.borrow_mut().watches = self.conns.values().filter(|conn| conn.watched.is_some()).count();
    }
}

impl Receiver for ApiServer {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let at = Endpoint::Tcp { host: String::new(), port: 8001 };
        self.listener = Some(cx.listen(LISTENER, &at)?);
        cx.set_timer(TICK, cx.now() + 50 * MS);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, _: &mut PipelineInput<'_>) {
        match local {
            LISTENER => {
                while let Some(Ok(io)) = self.listener.as_mut().map(|listener| listener.accept(self.next)) {
                    let (incoming, outgoing) = (Vec::new(), VecDeque::new());
                    self.conns.insert(self.next, Conn { io, incoming, outgoing, watched: None });
                    self.next += 1;
                }
            }
            TICK => {
                cx.set_timer(TICK, cx.now() + 50 * MS);
                let keys: Vec<u64> = self.conns.keys().copied().collect();
                keys.into_iter().for_each(|key| self.serve(key));
            }
            key => self.serve(key),
        }
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}

    fn close(&mut self, _: &mut Cx<'_>, _: MonotonicTime) {}

    fn is_closed(&self) -> bool {
        true
    }
}

struct World {
    sim: Sim,
    cluster: SharedCluster,
    api: NodeId,
    collector: NodeId,
    backend: SharedBackendState,
    loads: Vec<Load>,
}

impl World {
    fn new(seed: u64, options: &str, slow: usize) -> Self {
        let mut sim = new_sim(seed);
        let backend = SharedBackendState::default();
        backend.borrow_mut().keeps_otlp_requests = true;
        sim.add_node("jaeger", backend_graph(&backend)).unwrap();
        let cluster = SharedCluster::default();
        cluster.borrow_mut().token = "first".to_owned();
        let api = sim.add_node("api", api_server(&cluster, slow)).unwrap();
        let processors = format!("  k8s_attributes: {{auth_type: kubeConfig{options}}}");
        let (graph, _) = collector_graph(&config_yaml(&processors, &otlp_exporter("")));
        let collector = sim.add_machine("collector");
        sim.set_env(collector, "KUBECONFIG", "/etc/kube/config");
        sim.disk(collector).write("/etc/kube/config", KUBECONFIG);
        sim.disk(collector).write(TOKEN, "first");
        sim.restart(collector, graph).unwrap();
        Self { sim, cluster, api, collector, backend, loads: Vec::new() }
    }

    /// A client that is a pod of this name.
    fn start_client(&mut self, client: u64, pod: &str, requests: u64) {
        let load = Load { client, requests, spans: 2, interval: 100 * MS, ..Load::default() };
        let (graph, _) = client_graph("collector", &load);
        let node = self.sim.add_node(&format!("client-{client}"), graph).unwrap();
        let address = self.sim.address(node).to_string();
        self.cluster.borrow_mut().set_pod(pod, &address);
        self.loads.push(load);
    }

    /// The names of pods that spans of a client had, without those of none.
    fn pods(&self, client: u64) -> (BTreeSet<String>, u64) {
        let (mut names, mut without) = (BTreeSet::new(), 0);
        for entry in self.backend.borrow().otlp_requests.iter().flat_map(|request| &request.resource_spans) {
            let attributes = &entry.resource.as_ref().unwrap().attributes;
            let text = |key: &str| {
                let found = attributes.iter().find(|attribute| attribute.key == key)?;
                match found.value.as_ref()?.value.as_ref()? {
                    opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue(text) => Some(text.clone()),
                    _ => None,
                }
            };
            if text("service.name") == Some(format!("client-{client}")) {
                match text("k8s.pod.name") {
                    Some(name) => drop(names.insert(name)),
                    None => without += 1,
                }
            }
        }
        (names, without)
    }

    fn check_delivery(&self, seed: u64) {
        let all: BTreeSet<u64> = self.loads.iter().flat_map(Load::span_ids).collect();
        assert_eq!(self.backend.borrow().delivered(), all, "seed {seed}");
        let graph = self.sim.graph(self.collector).unwrap();
        assert_eq!((graph.undelivered().total(), graph.budget().held()), (0, 0), "seed {seed}");
    }
}

fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn spans_have_the_names_of_their_pods_while_the_api_server_restarts_and_forgets() {
    for seed in seeds().take(2) {
        let mut world = World::new(seed, ", wait_for_metadata: true", 0);
        world.start_client(1, "web-1", 600);
        world.sim.run_for(10 * SEC);
        world.sim.kill(world.api);
        // Meanwhile another pod appears, and the server forgets what happened.
        world.start_client(2, "web-2", 500);
        world.sim.run_for(5 * SEC);
        world.cluster.borrow_mut().compact();
        let api = api_server(&world.cluster, 0);
        world.sim.restart(world.api, api).unwrap();
        world.sim.run_for(120 * SEC);
        assert_eq!(world.pods(1), (names(&["web-1"]), 0), "seed {seed}");
        let (found, without) = world.pods(2);
        assert_eq!(found, names(&["web-2"]), "seed {seed}");
        assert!((1..300).contains(&without), "seed {seed}: {without} before it was known");
        let cluster = world.cluster.borrow();
        assert!(cluster.lists >= 2 && cluster.gone >= 1, "seed {seed}: {} {}", cluster.lists, cluster.gone);
        drop(cluster);
        world.check_delivery(seed);
    }
}

#[test]
fn watch_brings_new_pods_and_takes_deleted_ones_away() {
    for seed in seeds().take(2) {
        let mut world = World::new(seed, ", wait_for_metadata: true, pod_delete_grace_period: 5s", 0);
        world.start_client(1, "web-1", 400);
        world.sim.run_for(5 * SEC);
        world.start_client(2, "web-2", 300);
        world.sim.run_for(10 * SEC);
        world.cluster.borrow_mut().delete_pod("web-1");
        world.sim.run_for(60 * SEC);
        let (found, without) = world.pods(1);
        assert_eq!(found, names(&["web-1"]), "seed {seed}");
        assert!((100..350).contains(&without), "seed {seed}: {without} after it was deleted");
        assert_eq!(world.pods(2), (names(&["web-2"]), 0), "seed {seed}");
        assert_eq!(world.cluster.borrow().lists, 1, "seed {seed}");
        world.check_delivery(seed);
    }
}

#[test]
fn token_that_is_replaced_is_read_again() {
    for seed in seeds().take(2) {
        let mut world = World::new(seed, "", 0);
        world.start_client(1, "web-1", 100);
        world.sim.run_for(20 * SEC);
        world.cluster.borrow_mut().token = "second".to_owned();
        world.sim.disk(world.collector).write(TOKEN, "second");
        // The watch ends with its process, and the next request needs the new token.
        let api = api_server(&world.cluster, 0);
        world.sim.restart(world.api, api).unwrap();
        world.sim.run_for(5 * SEC);
        world.start_client(2, "web-2", 50);
        world.sim.run_for(60 * SEC);
        assert_eq!(world.pods(2).0, names(&["web-2"]), "seed {seed}");
        assert!(world.cluster.borrow().refused <= 1, "seed {seed}");
        world.check_delivery(seed);
    }
}

#[test]
fn slow_list_holds_telemetry_back_and_loses_none() {
    for seed in seeds().take(2) {
        // 40 bytes in 50 ms: the list takes about 6 seconds.
        let mut world = World::new(seed, ", wait_for_metadata: true, wait_for_metadata_timeout: 30s", 40);
        for n in 0..30 {
            world.cluster.borrow_mut().set_pod(&format!("other-{n}"), &format!("192.0.2.{n}"));
        }
        world.start_client(1, "web-1", 50);
        world.sim.run_for(Duration::from_secs(3));
        assert!(world.backend.borrow().delivered().is_empty(), "seed {seed}");
        world.sim.run_for(60 * SEC);
        assert_eq!(world.pods(1), (names(&["web-1"]), 0), "seed {seed}");
        world.check_delivery(seed);
    }
}
