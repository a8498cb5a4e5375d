//! Clients of several collectors behind one name: connections end where they are too old, or carry too much, and their clients
//! take the next address of the name.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use otelcore::reactor::{NodeId, Sim};

use crate::backend::{SharedBackendState, backend_graph};
use crate::client::{ClientResults, Load, client_graph};
use crate::fixture::{MS, SEC, collector_graph, config_yaml, new_sim, otlp_exporter, seeds};

const SERVERS: usize = 4;

/// Collectors behind the name `pool`, of which the first one is the only one at the start, each with a backend of its own.
struct Pool {
    seed: u64,
    sim: Sim,
    servers: Vec<SharedBackendState>,
    addresses: Vec<IpAddr>,
    clients: Vec<(NodeId, Load, Rc<RefCell<ClientResults>>)>,
}

impl Pool {
    /// `grpc` and `http`: keys of the servers.
    fn new(seed: u64, grpc: &str, http: &str) -> Self {
        let mut sim = new_sim(seed);
        let mut pool = (Vec::new(), Vec::new());
        for number in 0..SERVERS {
            let backend = SharedBackendState::default();
            sim.add_node(&format!("backend-{number}"), backend_graph(&backend)).unwrap();
            let servers = format!(
                "protocols: {{grpc: {{endpoint: \"0.0.0.0:4317\", {grpc}}}, http: {{endpoint: \"0.0.0.0:4318\", {http}}}}}"
            );
            let yaml = config_yaml("", &otlp_exporter(""))
                .replace("jaeger:14250", &format!("backend-{number}:14250"))
                .replace("protocols: {grpc: {endpoint: \"0.0.0.0:4317\"}}", &servers);
            let node = sim.add_node(&format!("server-{number}"), collector_graph(&yaml).0).unwrap();
            pool.0.push(backend);
            pool.1.push(sim.address(node));
        }
        sim.set_lookup_result("pool", Ok(vec![pool.1[0]]));
        Self { seed, sim, servers: pool.0, addresses: pool.1, clients: Vec::new() }
    }

    /// Starts a client that sends to `to` each `interval`.
    fn start_client(&mut self, to: &str, interval: Duration, lasts: Duration) {
        let client = self.clients.len() as u64 + 1;
        let requests = (lasts.as_millis() / interval.as_millis()) as u64;
        let load = Load { client, requests, interval, retry: true, ..Load::default() };
        let (graph, results) = client_graph(to, &load);
        let node = self.sim.add_node(&format!("client-{client}"), graph).unwrap();
        self.clients.push((node, load, results));
    }

    /// The other servers are there too.
    fn add_servers(&mut self) {
        self.sim.set_rotating_lookup_result("pool", self.addresses.clone());
    }

    /// How many spans of each client each server has got in the next `time`.
    fn shares(&mut self, time: Duration) -> Vec<Vec<usize>> {
        let count = |pool: &Self| -> Vec<Vec<usize>> {
            let of_server = |server: &SharedBackendState| {
                let delivered = server.borrow().delivered();
                let of_client = |client: u64| delivered.range(client << 48..(client + 1) << 48).count();
                (1..=pool.clients.len() as u64).map(of_client).collect()
            };
            pool.servers.iter().map(of_server).collect()
        };
        let before = count(self);
        self.sim.run_for(time);
        let subtract = |(after, before): (Vec<usize>, &Vec<usize>)| {
            after.into_iter().zip(before).map(|(after, before)| after - before).collect()
        };
        count(self).into_iter().zip(&before).map(subtract).collect()
    }

    /// The server that has got the most spans of a client.
    fn server_of(shares: &[Vec<usize>], client: usize) -> usize {
        (0..SERVERS).max_by_key(|server| shares[*server][client]).unwrap()
    }

    /// Every request succeeded, with its first attempt, and its spans have arrived.
    fn check_end(&self) {
        let mut sent = BTreeSet::new();
        for (_, load, results) in &self.clients {
            assert_eq!(results.borrow().errors().count(), 0, "seed {}", self.seed);
            sent.append(&mut load.span_ids());
        }
        let delivered: BTreeSet<u64> = self.servers.iter().flat_map(|server| server.borrow().delivered()).collect();
        assert!(sent == delivered, "seed {}: {} sent, {} delivered", self.seed, sent.len(), delivered.len());
    }
}

/// Two clients with most of the load and six others, all of them at the first server before the others are there.
fn skewed_clients(seed: u64, keys: &str) -> Pool {
    let mut pool = Pool::new(seed, keys, "");
    for client in 0..8 {
        pool.start_client("pool", if client < 2 { 100 * MS } else { 1000 * MS }, 145 * SEC);
    }
    pool.sim.run_for(2 * SEC);
    pool.add_servers();
    pool
}

#[test]
fn connections_with_much_load_are_moved_until_no_server_has_two_of_them() {
    for seed in seeds().take(2) {
        let mut pool = skewed_clients(seed, "load_skew: {interval: 10s}");
        pool.sim.run_for(100 * SEC);
        let shares = pool.shares(40 * SEC);
        assert_ne!(Pool::server_of(&shares, 0), Pool::server_of(&shares, 1), "seed {seed}: {shares:?}");
        let of_server: Vec<usize> = shares.iter().map(|clients| clients.iter().sum()).collect();
        assert!(of_server.iter().all(|spans| *spans < 700), "seed {seed}: {shares:?}");
        pool.sim.run_for(40 * SEC);
        pool.check_end();
    }
}

#[test]
fn connections_stay_where_nothing_ends_them() {
    let mut pool = skewed_clients(1, "");
    pool.sim.run_for(100 * SEC);
    let shares = pool.shares(40 * SEC);
    assert!((0..8).all(|client| Pool::server_of(&shares, client) == 0), "{shares:?}");
    pool.sim.run_for(40 * SEC);
    pool.check_end();
}

#[test]
fn old_connections_are_spread_over_servers_that_were_added() {
    for seed in seeds().take(2) {
        let mut pool = Pool::new(seed, "keepalive: {server_parameters: {max_connection_age: 20s}}", "");
        (0..8).for_each(|_| pool.start_client("pool", 1000 * MS, 150 * SEC));
        pool.sim.run_for(2 * SEC);
        pool.add_servers();
        pool.sim.run_for(60 * SEC);
        let shares = pool.shares(60 * SEC);
        assert!(shares.iter().all(|clients| clients.iter().sum::<usize>() > 40), "seed {seed}: {shares:?}");
        pool.sim.run_for(40 * SEC);
        pool.check_end();
    }
}

/// A collector that passes what it gets on to the pool, over HTTP.
fn add_agent(pool: &mut Pool, number: usize) -> String {
    let exporter =
        "  otlp_http:\n    endpoint: http://pool:4318\n    sending_queue: {enabled: false}\n    compression: none";
    let name = format!("agent-{number}");
    pool.sim.add_node(&name, collector_graph(&config_yaml("", exporter)).0).unwrap();
    name
}

#[test]
fn clients_of_http_look_the_name_up_again_after_a_connection_has_ended() {
    for seed in seeds().take(1) {
        for keys in ["load_skew: {interval: 10s}", "max_connection_age: 20s"] {
            let mut pool = Pool::new(seed, "", keys);
            for number in 0..8 {
                let agent = add_agent(&mut pool, number);
                pool.start_client(&agent, if number < 2 { 100 * MS } else { 1000 * MS }, 140 * SEC);
            }
            pool.sim.run_for(4 * SEC);
            pool.add_servers();
            let shares = pool.shares(90 * SEC);
            let used = shares.iter().filter(|clients| clients.iter().sum::<usize>() > 0).count();
            assert!(used >= 2, "seed {seed}: {keys}: {shares:?}");
            let shares = pool.shares(30 * SEC);
            if keys.starts_with("load_skew") {
                assert_ne!(Pool::server_of(&shares, 0), Pool::server_of(&shares, 1), "seed {seed}: {shares:?}");
            }
            pool.sim.run_for(30 * SEC);
            pool.check_end();
        }
    }
}
