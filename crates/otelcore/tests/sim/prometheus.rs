//! The receiver `prometheus` between targets that come, go and misbehave, and a backend.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use otelcore::pipeline::{
    Budget, Cx, Endpoint, Event, Graph, GraphBuilder, Listener, Logger, MonotonicTime, NoopLogSink, Outcome,
    PipelineInput, Receiver, StartError, Stream,
};
use otelcore::reactor::{NodeId, Sim};

use crate::backend::{SharedBackendState, backend_graph};
use crate::fixture::{MS, RecordedLog, SEC, collector_graph, new_sim, seeds};

/// How a target answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Behaviour {
    #[default]
    Page,
    /// It never answers.
    Silent,
    /// Its page has no end.
    Endless,
    /// A byte of the page each tenth of a second.
    Slow,
}

/// What a test sets for a target. It outlives the target's process.
#[derive(Default)]
pub(crate) struct TargetState {
    pub(crate) page: String,
    /// Documents in JSON by path, in place of the page.
    documents: BTreeMap<&'static str, String>,
    pub(crate) behaviour: Behaviour,
    /// Requests without this bearer token get 401.
    pub(crate) token: Option<String>,
    pub(crate) requests: Vec<MonotonicTime>,
    pub(crate) refused: usize,
    pub(crate) sent: usize,
}

pub(crate) type SharedTarget = Rc<RefCell<TargetState>>;

struct Conn {
    io: Box<dyn Stream>,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    is_answering: bool,
}

struct TargetServer {
    state: SharedTarget,
    listener: Option<Box<dyn Listener>>,
    conns: BTreeMap<u64, Conn>,
    next: u64,
}

const LISTENER: u64 = 0;
const TICK: u64 = 1 << 40;

pub(crate) fn target_graph(state: &SharedTarget) -> Graph {
    let mut builder = GraphBuilder::new(Arc::new(Budget::default()), Logger::new(Arc::new(NoopLogSink)));
    let server = TargetServer { state: state.clone(), listener: None, conns: BTreeMap::new(), next: 1 };
    builder.add_receiver("target".parse().unwrap(), Box::new(server));
    builder.build()
}

impl TargetServer {
    fn serve(&mut self, now: MonotonicTime, key: u64) {
        let Some(conn) = self.conns.get_mut(&key) else { return };
        let mut state = self.state.borrow_mut();
        let mut buf = [0; 2048];
        let is_ended = loop {
            match conn.io.read(&mut buf) {
                Ok(0) => break true,
                Ok(n) => conn.incoming.extend_from_slice(&buf[..n]),
                Err(e) => break e.kind() != ErrorKind::WouldBlock,
            }
        };
        while let Some(end) = conn.incoming.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let request: Vec<u8> = conn.incoming.drain(..end + 4).collect();
            state.requests.push(now);
            let request = String::from_utf8(request).unwrap();
            let authorized = state
                .token
                .as_ref()
                .is_none_or(|token| request.contains(&format!("Authorization: Bearer {token}\r\n")));
            state.refused += usize::from(!authorized);
            let document = state.documents.get(request.split(' ').nth(1).unwrap());
            let media_type = if document.is_some() { "application/json" } else { "text/plain; version=0.0.4" };
            let page = document.unwrap_or(&state.page);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\n");
            let response = match state.behaviour {
                _ if !authorized => "HTTP/1.1 401 Unauthorized\r\nContent-Length: 12\r\n\r\nUnauthorized".to_owned(),
                Behaviour::Silent => String::new(),
                Behaviour::Endless => format!("{head}\r\n"),
                _ => format!("{head}Content-Length: {}\r\n\r\n{page}", page.len()),
            };
            conn.outgoing.extend(response.bytes());
            conn.is_answering = state.behaviour != Behaviour::Silent;
        }
        let mut left = if state.behaviour == Behaviour::Slow { 1 } else { 64 << 10 };
        if state.behaviour == Behaviour::Endless && conn.is_answering {
            conn.outgoing.extend("endless_metric 1\n".repeat(4096).bytes());
        }
        while left > 0 && !conn.outgoing.is_empty() {
            let part = conn.outgoing.len().min(left);
            let Ok(n @ 1..) = conn.io.write(&conn.outgoing[..part]) else { break };
            conn.outgoing.drain(..n);
            left -= n;
            state.sent += n;
        }
        let _ = conn.io.flush();
        if is_ended {
            self.conns.remove(&key);
        }
    }
}

impl Receiver for TargetServer {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.listener = Some(cx.listen(LISTENER, &Endpoint::Tcp { host: String::new(), port: 9100 })?);
        cx.set_timer(TICK, cx.now() + 100 * MS);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, _: Event<'_>, _: &mut PipelineInput<'_>) {
        match local {
            LISTENER => {
                while let Some(Ok(io)) = self.listener.as_mut().map(|listener| listener.accept(self.next)) {
                    let conn = Conn { io, incoming: Vec::new(), outgoing: Vec::new(), is_answering: false };
                    self.conns.insert(self.next, conn);
                    self.next += 1;
                }
            }
            TICK => {
                cx.set_timer(TICK, cx.now() + 100 * MS);
                let keys: Vec<u64> = self.conns.keys().copied().collect();
                keys.into_iter().for_each(|key| self.serve(cx.now(), key));
            }
            key => self.serve(cx.now(), key),
        }
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}
    fn close(&mut self, _: &mut Cx<'_>, _: MonotonicTime) {}

    fn is_closed(&self) -> bool {
        true
    }
}

const JOB: &str = "job_name: shop, scrape_interval: 10s, scrape_timeout: 5s";

fn config(receiver: &str) -> String {
    format!(
        "receivers:\n  prometheus: {receiver}\nexporters:\n  otlp_grpc: {{endpoint: 'jaeger:14250', tls: {{insecure: true}}}}\n\
         service:\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    metrics: {{receivers: [prometheus], exporters: [otlp_grpc]}}\n"
    )
}

/// A receiver with one job, whose targets are `a` and `b`.
fn job(options: &str) -> String {
    config(&format!(
        "{{config: {{scrape_configs: [{{{JOB}, {options}static_configs: [{{targets: ['a:9100', 'b:9100']}}]}}]}}}}"
    ))
}

struct World {
    sim: Sim,
    backend: SharedBackendState,
    a: SharedTarget,
    b: SharedTarget,
    node_a: NodeId,
    collector: NodeId,
    log: Arc<RecordedLog>,
}

/// A value with the instance, `None` for a marker.
type Seen = (String, Option<f64>);

impl World {
    fn new(seed: u64, yaml: &str) -> Self {
        let mut sim = new_sim(seed);
        let backend = SharedBackendState::default();
        sim.add_node("jaeger", backend_graph(&backend)).unwrap();
        let (a, b) = (SharedTarget::default(), SharedTarget::default());
        a.borrow_mut().page = "# TYPE requests_total counter\nrequests_total 5\n".to_owned();
        b.borrow_mut().page = "# TYPE temperature gauge\ntemperature 20.5\n".to_owned();
        let node_a = sim.add_node("a", target_graph(&a)).unwrap();
        sim.add_node("b", target_graph(&b)).unwrap();
        let (graph, log) = collector_graph(yaml);
        let collector = sim.add_node("collector", graph).unwrap();
        Self { sim, backend, a, b, node_a, collector, log }
    }

    /// The points of a metric since the last call for any, with their instances.
    fn take(&mut self, metric: &str) -> Vec<Seen> {
        let mut seen = Vec::new();
        for request in std::mem::take(&mut self.backend.borrow_mut().metrics_requests) {
            for resource in request.resource_metrics {
                let attributes = resource.resource.unwrap_or_default().attributes;
                let instance = attributes.iter().find(|kv| kv.key == "service.instance.id").unwrap();
                let instance = format!("{:?}", instance.value.clone().unwrap().value.unwrap());
                let instance = instance.split('"').nth(1).unwrap().to_owned();
                for found in resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
                    let points = match found.data {
                        Some(Data::Gauge(data)) => data.data_points,
                        Some(Data::Sum(data)) => data.data_points,
                        _ => Vec::new(),
                    };
                    for point in points.into_iter().filter(|_| found.name == metric) {
                        seen.push((
                            instance.clone(),
                            point.value.map(|value| match value {
                                Value::AsDouble(v) => v,
                                Value::AsInt(v) => v as f64,
                            }),
                        ));
                    }
                }
            }
        }
        seen
    }

    fn of_a(seen: Vec<Seen>) -> Vec<Option<f64>> {
        seen.into_iter().filter(|(instance, _)| instance == "a:9100").map(|(_, value)| value).collect()
    }
}

#[test]
fn targets_are_scraped_each_interval_and_their_series_end_with_a_failed_scrape() {
    for seed in seeds().take(6) {
        let mut world = World::new(seed, &job(""));
        world.sim.run_for(30 * SEC);
        assert_eq!(World::of_a(world.take("requests_total")), [Some(5.0); 3], "seed {seed}");
        world.sim.kill(world.node_a);
        world.sim.run_for(10 * SEC);
        assert_eq!(World::of_a(world.take("requests_total")), [None], "seed {seed}: a marker");
        world.sim.run_for(10 * SEC);
        let up = world.take("up");
        assert!(up.contains(&("a:9100".to_owned(), Some(0.0))), "seed {seed}: {up:?}");
        assert!(up.contains(&("b:9100".to_owned(), Some(1.0))), "seed {seed}: {up:?}");
        world.sim.restart(world.node_a, target_graph(&world.a)).unwrap();
        world.sim.run_for(20 * SEC);
        let values = World::of_a(world.take("requests_total"));
        assert!(!values.is_empty() && values.iter().all(|value| *value == Some(5.0)), "seed {seed}: {values:?}");
        let failures = world.log.count_with(&["Failed to scrape Prometheus endpoint", "http://a:9100/metrics"]);
        assert_eq!(failures, 1, "seed {seed}: logged once");
    }
}

#[test]
fn scrapes_of_a_job_do_not_wait_for_those_of_another() {
    for seed in seeds().take(3) {
        let targets = |name: &str| format!("static_configs: [{{targets: ['{name}:9100']}}]");
        let yaml = config(&format!(
            "{{config: {{scrape_configs: [{{job_name: rare, scrape_interval: 10m, {}}}, {{{JOB}, {}}}]}}}}",
            targets("b"),
            targets("a")
        ));
        let mut world = World::new(seed, &yaml);
        world.sim.run_for(30 * SEC);
        assert_eq!(World::of_a(world.take("requests_total")), [Some(5.0); 3], "seed {seed}");
    }
}

#[test]
fn target_that_misbehaves_costs_its_own_scrapes_only() {
    for (seed, behaviour) in
        seeds().take(6).zip([Behaviour::Silent, Behaviour::Slow, Behaviour::Endless].into_iter().cycle())
    {
        let mut world = World::new(seed, &job("body_size_limit: 1MB, "));
        world.a.borrow_mut().behaviour = behaviour;
        world.sim.run_for(40 * SEC);
        let up = world.take("up");
        let of = |name: &str| -> Vec<Option<f64>> {
            up.iter().filter(|(instance, _)| instance == name).map(|(_, value)| *value).collect()
        };
        assert!(of("a:9100").len() >= 3 && of("a:9100").iter().all(|v| *v == Some(0.0)), "{seed} {behaviour:?} {up:?}");
        assert!(of("b:9100").len() >= 3 && of("b:9100").iter().all(|v| *v == Some(1.0)), "{seed} {behaviour:?} {up:?}");
        let reason = if behaviour == Behaviour::Endless { "body size limit exceeded" } else { "deadline exceeded" };
        assert_eq!(world.log.count_with(&["http://a:9100/metrics", reason]), 1, "{seed} {behaviour:?}");
        // What an endless page sends is bounded by its limit and what the network holds.
        assert!(world.a.borrow().sent < 20 << 20, "{}", world.a.borrow().sent);
        // No scrape overlaps the one before.
        let times: Vec<u64> = world.a.borrow().requests.iter().map(|at| at.0 / 1_000_000_000).collect();
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 9), "{times:?}");
    }
}

#[test]
fn mistake_in_a_page_is_logged_once_with_its_place() {
    for seed in seeds().take(3) {
        let mut world = World::new(seed, &job(""));
        world.a.borrow_mut().page = "good 1\nbad { 2\n".to_owned();
        world.sim.run_for(35 * SEC);
        assert!(World::of_a(world.take("good")).is_empty(), "seed {seed}: a page is all or nothing");
        let words = ["Failed to scrape Prometheus endpoint", "http://a:9100/metrics", "line 2, column"];
        assert_eq!(world.log.count_with(&words), 1, "seed {seed}");
        world.a.borrow_mut().page = "good 1\n".to_owned();
        world.sim.run_for(10 * SEC);
        assert_eq!(World::of_a(world.take("good")), [Some(1.0)], "seed {seed}");
        world.a.borrow_mut().page = "bad {\n".to_owned();
        world.sim.run_for(20 * SEC);
        assert_eq!(world.log.count_with(&["line 1, column"]), 1, "seed {seed}: a new failure is logged again");
        assert_eq!(World::of_a(world.take("good")), [None], "seed {seed}");
    }
}

#[test]
fn page_of_many_series_arrives_whole_in_several_requests() {
    let mut world = World::new(3, &job(""));
    let page: String = (0..20_000).map(|i| format!("many{{n=\"{i}\"}} {i}\n")).collect();
    world.a.borrow_mut().page = page;
    world.sim.run_for(20 * SEC);
    let requests = world.backend.borrow().metrics_requests.len();
    let values = World::of_a(world.take("many"));
    assert!(!values.is_empty() && values.len().is_multiple_of(20_000), "{}", values.len());
    assert!(requests >= 3 * values.len() / 20_000, "{requests} requests");
}

#[test]
fn limits_refuse_a_whole_page() {
    let mut world = World::new(1, &job("sample_limit: 1, "));
    world.a.borrow_mut().page = "one 1\ntwo 2\n".to_owned();
    world.sim.run_for(12 * SEC);
    assert_eq!(world.log.count_with(&["http://a:9100/metrics", "sample limit exceeded"]), 1);
    let mut world = World::new(1, &job("target_limit: 1, "));
    world.sim.run_for(12 * SEC);
    let up = world.take("up");
    assert!(!up.is_empty() && up.iter().all(|(_, value)| *value == Some(0.0)), "{up:?}");
    assert_eq!(world.log.count_with(&["target_limit exceeded (number of targets: 2, limit: 1)"]), 2);
    assert!(world.a.borrow().requests.is_empty() && world.b.borrow().requests.is_empty());
}

#[test]
fn targets_are_scraped_once_more_before_a_shutdown() {
    for seed in seeds().take(3) {
        let yaml = job("").replace("prometheus: {config", "prometheus: {scrape_on_shutdown: true, config");
        let mut world = World::new(seed, &yaml);
        world.sim.run_for(10 * SEC);
        let before = world.take("requests_total").len() + world.a.borrow().requests.len();
        world.a.borrow_mut().page = "# TYPE requests_total counter\nrequests_total 6\n".to_owned();
        world.sim.close(world.collector, 5 * SEC);
        world.sim.run_for(4 * SEC);
        let last = World::of_a(world.take("requests_total"));
        assert_eq!(last.last(), Some(&Some(6.0)), "seed {seed}, {before}: {last:?}");
    }
}

/// A receiver whose jobs `b` gives out.
const ALLOCATED: &str = "{target_allocator: {endpoint: 'http://b:9100', interval: 30s, collector_id: 'pod 1'}}";

fn allocate(world: &World, jobs: &str) {
    let mut b = world.b.borrow_mut();
    b.documents.insert("/scrape_configs", jobs.to_owned());
    let targets = r#"[{"targets": ["a:9100"], "labels": {"zone": "x"}}]"#;
    b.documents.insert("/jobs/shop%2Fa/targets?collector_id=pod+1", targets.to_owned());
}

#[test]
fn target_allocator_gives_jobs_and_takes_them_away() {
    for seed in seeds().take(4) {
        let mut world = World::new(seed, &config(ALLOCATED));
        let job = r#"{"shop/a": {"job_name": "shop/a", "scrape_interval": "10s", "kubernetes_sd_configs": [{"role": "pod"}]}}"#;
        allocate(&world, job);
        world.sim.run_for(60 * SEC);
        let values = World::of_a(world.take("requests_total"));
        assert!(values.len() >= 5 && values.iter().all(|value| *value == Some(5.0)), "seed {seed}: {values:?}");
        // A job that has changed goes on without a marker.
        allocate(&world, &job.replace("10s", "5s"));
        world.sim.run_for(60 * SEC);
        let values = World::of_a(world.take("requests_total"));
        assert!(values.len() >= 8 && values.iter().all(|value| *value == Some(5.0)), "seed {seed}: {values:?}");
        // One that is gone ends with markers.
        allocate(&world, "{}");
        world.sim.run_for(60 * SEC);
        let values = World::of_a(world.take("requests_total"));
        assert_eq!(
            (values.last(), values.iter().filter(|value| value.is_none()).count()),
            (Some(&None), 1),
            "seed {seed}"
        );
        let requests = world.a.borrow().requests.len();
        world.sim.run_for(60 * SEC);
        assert_eq!(world.a.borrow().requests.len(), requests, "seed {seed}: nothing is scraped");
        // It can come back.
        allocate(&world, job);
        world.sim.run_for(60 * SEC);
        assert!(!world.take("requests_total").is_empty(), "seed {seed}");
    }
}

#[test]
fn target_allocator_that_fails_leaves_jobs_as_they_are() {
    for seed in seeds().take(3) {
        let mut world = World::new(seed, &config(ALLOCATED));
        // Not there yet: the collector starts nevertheless.
        world.b.borrow_mut().documents.insert("/scrape_configs", "nonsense".to_owned());
        world.sim.run_for(20 * SEC);
        assert_eq!(world.log.count_with(&["Failed to retrieve job list", "is a string, not a map"]), 1, "seed {seed}");
        let bad = r#", "bad": {"job_name": "bad", "scrape_interval": "never"}}"#;
        allocate(&world, &format!(r#"{{"shop/a": {{"job_name": "shop/a", "scrape_interval": "10s"}}{bad}"#));
        world.sim.run_for(60 * SEC);
        let values = World::of_a(world.take("requests_total"));
        assert!(values.len() >= 2, "seed {seed}: {values:?}");
        let words = ["Failed to apply new scrape configuration", "bad", "scrape_interval"];
        assert_eq!(world.log.count_with(&words), 1, "seed {seed}");
        world.b.borrow_mut().documents.insert("/scrape_configs", "[".to_owned());
        world.sim.run_for(60 * SEC);
        let values = World::of_a(world.take("requests_total"));
        assert!(values.len() >= 5 && values.iter().all(Option::is_some), "seed {seed}: {values:?}");
        world.sim.close(world.collector, 5 * SEC);
        world.sim.run_for(6 * SEC);
    }
}
