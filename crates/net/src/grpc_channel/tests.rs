//! A channel through a proxy, in a simulated network.

use std::cell::RefCell;

use otelcore_config::declare::Config;
use otelcore_config::{Diagnostics, Section, from_yaml};
use otelcore_http::AdmitAll;
use otelcore_http::grpc::server::{GrpcServerConn, GrpcServerConnConfig};
use otelcore_pipeline::{Endpoint, Outcome, PipelineInput, Receiver};
use otelcore_reactor::Sim;

use super::*;
use crate::Acceptor;
use crate::config::GrpcClientConfig;
use crate::http_client::tests::{graph, log, test_proxy};

/// Answers every call with its message.
#[derive(Default)]
struct EchoServer {
    acceptor: Option<Acceptor<GrpcServerConn<Box<dyn Stream>, ()>>>,
    config: Rc<GrpcServerConnConfig>,
    calls: Rc<RefCell<u64>>,
}

impl Receiver for EchoServer {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let listener = cx.listen(0, &Endpoint::Tcp { host: String::new(), port: 4317 });
        self.acceptor = Some(Acceptor::new(listener?, 0));
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, _: &mut PipelineInput<'_>) {
        let Some(acceptor) = &mut self.acceptor else { return };
        let config = &self.config;
        let make = |cx: &mut Cx<'_>, stream| Some(GrpcServerConn::new(stream, config.clone(), cx.now().0, cx.random()));
        for slot in acceptor.handle_event(cx, local, &event, make) {
            let Some((conn, serial)) = acceptor.get(slot) else { continue };
            let result = conn.poll(cx.now().0, &mut AdmitAll);
            while let Some(call) = acceptor.get(slot).and_then(|(conn, _)| conn.poll_call()) {
                *self.calls.borrow_mut() += 1;
                if let Some(conn) = acceptor.get_for_response(slot, serial) {
                    conn.respond(call.id, call.message);
                }
            }
            acceptor.apply_poll_result(cx, slot, &result);
            acceptor.flush(cx);
        }
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}
    fn close(&mut self, _: &mut Cx<'_>, _: MonotonicTime) {}

    fn is_closed(&self) -> bool {
        true
    }
}

/// The results of very many calls, and the largest number of results in one event.
#[derive(Default)]
struct CallCounts {
    delivered: usize,
    failed: usize,
    max_per_event: usize,
    events: usize,
}

/// Makes very many calls at once.
struct BurstClient {
    channel: GrpcChannel,
    count: u64,
    timeout: Duration,
    counts: Rc<RefCell<CallCounts>>,
}

impl BurstClient {
    fn collect(&mut self) {
        let mut counts = self.counts.borrow_mut();
        let mut in_this_event = 0;
        while let Some((_, result)) = self.channel.poll_result() {
            in_this_event += 1;
            match result {
                Ok(_) => counts.delivered += 1,
                Err(_) => counts.failed += 1,
            }
        }
        counts.events += 1;
        counts.max_per_event = counts.max_per_event.max(in_this_event);
    }
}

impl Receiver for BurstClient {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.channel.start(cx)?;
        for token in 0..self.count {
            let message = std::iter::once(Bytes::from_static(b"hello")).collect();
            let new = UnaryRequest {
                path: PathAndQuery::from_static("/x/Y"),
                message,
                deadline: cx.now() + self.timeout,
                metadata: None,
            };
            self.channel.start_call(cx, token, new);
        }
        self.collect();
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, _: &mut PipelineInput<'_>) {
        self.channel.handle_event(cx, local, &event);
        self.collect();
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}
    fn close(&mut self, _: &mut Cx<'_>, _: MonotonicTime) {}

    fn is_closed(&self) -> bool {
        true
    }
}

/// Makes `count` calls to `peer`, each with the time limit `timeout`. At `far:4317` a server answers; at other ports
/// there is no server.
fn run_burst(count: u64, peer: &str, timeout: Duration) -> Rc<RefCell<CallCounts>> {
    let mut sim = Sim::new(7);
    sim.add_node("far", graph(EchoServer::default())).unwrap();
    let d = Diagnostics::new();
    let node = from_yaml(&format!("{{endpoint: '{peer}', tls: {{insecure: true}}}}"), &d).unwrap();
    let defaults = GrpcClientConfig { balancer_name: Balancer::RoundRobin, ..GrpcClientConfig::default() };
    let section = Section::new(Some(&node), "client", &d);
    let settings = GrpcClientConfig::read_section(section, &defaults).channel().unwrap();
    let channel = GrpcChannel::new(Rc::new(settings), None, log(), 0);
    let counts = Rc::new(RefCell::new(CallCounts::default()));
    sim.add_node("client", graph(BurstClient { channel, count, timeout, counts: counts.clone() })).unwrap();
    sim.run_for(Duration::from_secs(60));
    counts
}

#[test]
fn very_many_calls_are_started_over_many_turns_and_all_end() {
    let counts = run_burst(20_000, "far:4317", Duration::from_secs(50));
    let counts = counts.borrow();
    assert_eq!((counts.delivered, counts.failed), (20_000, 0));
    assert!(counts.max_per_event <= 4096, "{} ended in one event", counts.max_per_event);
}

#[test]
fn very_many_calls_without_a_peer_fail_a_few_in_each_turn() {
    let counts = run_burst(5000, "far:1", Duration::from_secs(50));
    let counts = counts.borrow();
    assert_eq!((counts.delivered, counts.failed), (0, 5000));
    assert!(counts.max_per_event <= 2 * MAX_CALLS_PER_TURN, "{} ended in one event", counts.max_per_event);
}

#[test]
fn very_many_calls_that_wait_for_a_host_name_end_at_their_deadline_a_few_in_each_turn() {
    // The deadline has passed before the name is resolved.
    let counts = run_burst(5000, "far:4317", Duration::ZERO);
    let counts = counts.borrow();
    assert_eq!(counts.delivered + counts.failed, 5000);
    assert!(counts.max_per_event <= 2 * MAX_CALLS_PER_TURN, "{} ended in one event", counts.max_per_event);
}

type RecordedResults = Rc<RefCell<Vec<Result<Bytes, Status>>>>;

/// Makes one call at the start.
struct SingleCallClient {
    channel: GrpcChannel,
    results: RecordedResults,
}

impl Receiver for SingleCallClient {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.channel.start(cx)?;
        let message = std::iter::once(Bytes::from_static(b"hello")).collect();
        let new = UnaryRequest {
            path: PathAndQuery::from_static("/x/Y"),
            message,
            deadline: cx.now() + Duration::from_secs(9),
            metadata: None,
        };
        self.channel.start_call(cx, 0, new);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, _: &mut PipelineInput<'_>) {
        self.channel.handle_event(cx, local, &event);
        self.results.borrow_mut().extend(std::iter::from_fn(|| self.channel.poll_result()).map(|(_, result)| result));
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}
    fn close(&mut self, _: &mut Cx<'_>, _: MonotonicTime) {}

    fn is_closed(&self) -> bool {
        true
    }
}

fn call_through_proxy(seed: u64, proxy_url: &str) -> (Vec<String>, Vec<Result<Bytes, Status>>) {
    let mut sim = Sim::new(seed);
    sim.set_window(60);
    sim.add_node("far", graph(EchoServer::default())).unwrap();
    let (proxy_graph, proxy_requests) = test_proxy("Basic dTpw");
    sim.add_node("proxy", proxy_graph).unwrap();
    let d = Diagnostics::new();
    let node = from_yaml("{endpoint: 'far:4317', tls: {insecure: true}}", &d).unwrap();
    let defaults = GrpcClientConfig { balancer_name: Balancer::RoundRobin, ..GrpcClientConfig::default() };
    let section = Section::new(Some(&node), "client", &d);
    let settings = GrpcClientConfig::read_section(section, &defaults).channel().unwrap();
    let mut channel = GrpcChannel::new(Rc::new(settings), None, log(), 0);
    channel.proxies = ProxySelector::fixed(Proxy::parse(proxy_url).unwrap());
    let results = RecordedResults::default();
    sim.add_node("client", graph(SingleCallClient { channel, results: results.clone() })).unwrap();
    sim.run_for(Duration::from_secs(10));
    let results = results.borrow().clone();
    let proxy_requests = proxy_requests.borrow().clone();
    (proxy_requests, results)
}

#[test]
fn plaintext_call_with_a_proxy_goes_through_a_tunnel() {
    for seed in 0..50 {
        let (proxy_requests, results) = call_through_proxy(seed, "http://u:p@proxy:3128");
        assert_eq!(results, [Ok(Bytes::from_static(b"hello"))], "seed {seed}");
        assert_eq!(proxy_requests.len(), 1);
        assert!(
            proxy_requests[0].starts_with("CONNECT far:4317 HTTP/1.1\r\nHost: far:4317\r\n"),
            "{}",
            proxy_requests[0]
        );
    }
}

#[test]
fn call_that_the_proxy_refuses_fails_with_the_proxys_status() {
    let (proxy_requests, results) = call_through_proxy(1, "http://proxy:3128");
    let status = results[0].as_ref().unwrap_err();
    assert_eq!(status.code, Code::Unavailable);
    assert_eq!(
        status.message,
        "connection error: desc = \"transport: Error while dialing: proxy: CONNECT far:4317: 407 Proxy Authentication Required\""
    );
    assert!(!proxy_requests.is_empty());
}

/// Makes a call each second.
struct SteadyClient {
    channel: GrpcChannel,
    results: RecordedResults,
}

const NEXT_CALL: u64 = 1 << 40;

impl Receiver for SteadyClient {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.channel.start(cx)?;
        cx.set_timer(NEXT_CALL, cx.now() + Duration::from_secs(1));
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, _: &mut PipelineInput<'_>) {
        if local == NEXT_CALL {
            let new = UnaryRequest {
                path: PathAndQuery::from_static("/x/Y"),
                message: std::iter::once(Bytes::from_static(b"hello")).collect(),
                deadline: cx.now() + Duration::from_secs(9),
                metadata: None,
            };
            self.channel.start_call(cx, 0, new);
            cx.set_timer(NEXT_CALL, cx.now() + Duration::from_secs(1));
        } else {
            self.channel.handle_event(cx, local, &event);
        }
        self.results.borrow_mut().extend(std::iter::from_fn(|| self.channel.poll_result()).map(|(_, result)| result));
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}
    fn close(&mut self, _: &mut Cx<'_>, _: MonotonicTime) {}

    fn is_closed(&self) -> bool {
        true
    }
}

/// A client with `pick_first`, and two servers: the name has the address of the first one, and later that of the second one.
/// The connection ends after that, when its age is over, and look-ups take this long by then. Returns how many calls each
/// server has got in the time after that; all of them have succeeded.
fn calls_after_the_end_of_a_connection(lookup: Duration) -> [u64; 2] {
    let mut sim = Sim::new(11);
    let counts: [Rc<RefCell<u64>>; 2] = Default::default();
    let [first, second] = [0, 1].map(|number| {
        let mut config = GrpcServerConnConfig::default();
        config.keepalive.max_age = (number == 0).then_some(20_000_000_000);
        let server = EchoServer { config: Rc::new(config), calls: counts[number].clone(), ..EchoServer::default() };
        sim.add_node(&format!("server-{number}"), graph(server)).unwrap()
    });
    sim.set_lookup_result("pool", Ok(vec![sim.address(first)]));
    let d = Diagnostics::new();
    let node = from_yaml("{endpoint: 'pool:4317', tls: {insecure: true}}", &d).unwrap();
    let defaults = GrpcClientConfig { balancer_name: Balancer::PickFirst, ..GrpcClientConfig::default() };
    let section = Section::new(Some(&node), "client", &d);
    let settings = GrpcClientConfig::read_section(section, &defaults).channel().unwrap();
    let channel = GrpcChannel::new(Rc::new(settings), None, log(), 0);
    let results = RecordedResults::default();
    let client = sim.add_node("client", graph(SteadyClient { channel, results: results.clone() })).unwrap();
    sim.run_for(Duration::from_secs(10));
    sim.set_lookup_result("pool", Ok(vec![sim.address(second)]));
    sim.set_link_latency(client, client, lookup, lookup);
    sim.run_for(Duration::from_secs(15));
    counts.iter().for_each(|count| *count.borrow_mut() = 0);
    sim.run_for(Duration::from_secs(12));
    let results = results.borrow();
    assert!(results.len() >= 35 && results.iter().all(Result::is_ok), "{results:?}");
    counts.map(|count| *count.borrow())
}

#[test]
fn channel_whose_connection_has_ended_takes_the_address_of_a_new_look_up() {
    let [first, second] = calls_after_the_end_of_a_connection(Duration::from_millis(300));
    assert!(first == 0 && second >= 11, "{first} {second}");
}

#[test]
fn channel_does_not_wait_for_a_slow_look_up() {
    let [first, second] = calls_after_the_end_of_a_connection(Duration::from_secs(60));
    assert!(first >= 11 && second == 0, "{first} {second}");
}
