//! Discoveries in a world of their own, beside servers that the test plays.

mod kubernetes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use otelcore_config::declare::Config;
use otelcore_config::{Diagnostics, Section, SourceText, parse_documents};
use otelcore_pipeline::{Budget, Cx, Event, LogLevel, MetricsLevel, SeriesValue, Telemetry};
use otelcore_testkit::{PeerStream, TestLog, TestWorld};

use crate::{Discovery, DiscoveryConfigs, LabelSet};

const BASE: u64 = 1 << 56;
/// The port before the first one that the world gives out.
const FIRST_PORT: u16 = 49_152;

fn config(yaml: &str) -> DiscoveryConfigs {
    let diagnostics = Diagnostics::new();
    let root = parse_documents(&SourceText::new("case", yaml), &diagnostics).into_iter().next();
    let section = Section::new(root.as_ref(), "", &diagnostics);
    let config = DiscoveryConfigs::read_section(section, &DiscoveryConfigs::default());
    let messages: Vec<String> = diagnostics.items().into_iter().map(|item| item.message).collect();
    assert_eq!(messages, Vec::<String>::new());
    config
}

struct Test {
    world: TestWorld,
    discovery: Discovery,
    budget: Arc<Budget>,
    telemetry: Telemetry,
    log: Arc<TestLog>,
    peers: Vec<PeerStream>,
    /// The addresses of the targets of each group and job, by the source.
    found: BTreeMap<String, Vec<String>>,
    labels: BTreeMap<String, LabelSet>,
    groups: BTreeMap<(usize, u64), String>,
    by_group: BTreeMap<(usize, u64), Vec<String>>,
    changes: usize,
}

impl Test {
    /// Jobs with these configurations, not started.
    fn new(yaml: &[&str]) -> Self {
        let jobs: Vec<(String, DiscoveryConfigs)> =
            yaml.iter().enumerate().map(|(index, yaml)| (format!("job-{index}"), config(yaml))).collect();
        let (log, budget) = (TestLog::new(Some(LogLevel::Info)), Arc::new(Budget::default()));
        let mut discovery = Discovery::new(&jobs, log.logger(), &budget, BASE);
        let telemetry = Telemetry::new(MetricsLevel::Basic);
        discovery.measure(&telemetry, "prometheus");
        Self {
            world: TestWorld::new(),
            discovery,
            budget,
            telemetry,
            log,
            peers: Vec::new(),
            found: BTreeMap::new(),
            labels: BTreeMap::new(),
            groups: BTreeMap::new(),
            by_group: BTreeMap::new(),
            changes: 0,
        }
    }

    fn start(mut self) -> Self {
        self.discovery.start(&mut self.world.cx());
        self.run();
        self
    }

    fn run(&mut self) {
        self.run_for(Duration::ZERO);
    }

    fn run_for(&mut self, time: Duration) {
        let Self { world, discovery, .. } = self;
        world.run_for(time, |cx: &mut Cx<'_>, local: u64, event: Event<'_>| {
            assert!((BASE..BASE + Discovery::KEYS).contains(&local));
            discovery.handle_event(cx, local, &event);
        });
        self.peers.extend(self.world.take_connections().into_iter().map(|(_, peer)| peer));
        while let Some(change) = self.discovery.poll_change() {
            self.changes += 1;
            let key = (change.job, change.group.0);
            if let Some(group) = change.targets {
                let name = format!("{} {}", change.job, group.source);
                let mut addresses: Vec<String> =
                    group.targets.iter().map(|target| target.get("__address__").to_owned()).collect();
                addresses.sort();
                self.by_group.insert(key, addresses.clone());
                self.found.insert(name.clone(), addresses);
                self.labels.insert(name.clone(), group.labels.clone());
                self.groups.insert(key, name);
            } else if let Some(name) = self.groups.remove(&key) {
                self.found.remove(&name);
                self.by_group.remove(&key);
            }
        }
    }

    /// The addresses of all groups.
    fn addresses(&self) -> Vec<String> {
        let mut all: Vec<String> = self.by_group.values().flatten().cloned().collect();
        all.sort();
        all
    }

    /// What has been found, in one text.
    fn shown(&self) -> String {
        let groups = self.found.iter().map(|(source, addresses)| format!("{source}: {}", addresses.join(" ")));
        groups.collect::<Vec<_>>().join("; ")
    }

    fn requests(&mut self) -> Vec<(PeerStream, String)> {
        let received = self.peers.iter().map(|peer| (peer.clone(), String::from_utf8(peer.take_received()).unwrap()));
        received.filter(|(_, request)| !request.is_empty()).collect()
    }

    fn respond(&mut self, status: &str, content_type: &str, body: &str) -> String {
        let (peer, request) = self.requests().pop().expect("there is a request");
        let length = body.len();
        peer.send(format!(
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        self.run();
        request
    }

    /// The value of a metric.
    fn metric(&self, name: &str) -> f64 {
        let families = self.telemetry.collect();
        let of_name = families.iter().filter(|family| family.name == name).flat_map(|family| &family.samples);
        let values = of_name.map(|sample| match sample.value {
            SeriesValue::Number(value) => value,
            SeriesValue::Histogram { .. } => 0.0,
        });
        values.sum()
    }

    fn log_lines(&self) -> Vec<String> {
        self.log.take_entries().into_iter().map(|entry| entry.to_string()).collect()
    }
}

#[test]
fn static_groups_are_given_to_each_job_at_once() {
    let groups = "static_configs: [{targets: ['a:1', b], labels: {x: 1, y: true}}, {targets: []}]";
    let test = Test::new(&[groups, groups, "static_configs: [{targets: [c]}]"]).start();
    assert_eq!(test.shown(), "0 0: a:1 b; 1 0: a:1 b; 2 0: c");
    assert_eq!(test.labels["1 0"], LabelSet::from_pairs([("x", "1"), ("y", "true")]));
}

#[test]
fn other_discovery_is_an_error_with_its_name() {
    let diagnostics = Diagnostics::new();
    let text = SourceText::new("case", "consul_sd_configs: [{server: x}]\ndns_sd_configs: [{names: [a]}]");
    let root = parse_documents(&text, &diagnostics).into_iter().next();
    let section = Section::new(root.as_ref(), "", &diagnostics);
    DiscoveryConfigs::read_section(section, &DiscoveryConfigs::default());
    let messages: Vec<String> = diagnostics.items().into_iter().map(|item| item.message).collect();
    assert!(messages.iter().any(|message| message.starts_with("'consul_sd_configs' is not supported: targets are ")));
    assert_eq!(messages.len(), 1, "{messages:?}");
}

#[test]
fn files_are_read_again_when_they_change_and_keep_their_targets_while_they_are_broken() {
    let mut test = Test::new(&["file_sd_configs: [{files: ['/sd/*.yml', /sd/x.json]}]"]);
    test.world.disk().write("/sd/a.yml", "- targets: ['a:1']\n- targets: ['a:2']\n");
    test.world.disk().write("/sd/other.txt", "no");
    let mut test = test.start();
    assert_eq!(test.shown(), "0 /sd/a.yml:0: a:1; 0 /sd/a.yml:1: a:2");
    assert_eq!(test.labels["0 /sd/a.yml:0"].get("__meta_filepath"), "/sd/a.yml");
    test.world.disk().write("/sd/x.json", r#"[{"targets":["x"]}]"#);
    test.world.disk().write("/sd/a.yml", "- targets: ['a:3']\n");
    test.run_for(Duration::from_secs(6));
    assert_eq!(test.shown(), "0 /sd/a.yml:0: a:3; 0 /sd/x.json:0: x");
    // Half of a file.
    test.world.disk().write("/sd/a.yml", "- targets: ['a:4");
    test.run_for(Duration::from_secs(60));
    assert_eq!(test.shown(), "0 /sd/a.yml:0: a:3; 0 /sd/x.json:0: x");
    let lines = test.log_lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("Error reading file") && lines[0].contains("/sd/a.yml"), "{lines:?}");
    test.world.disk().remove("/sd/x.json");
    test.world.disk().write("/sd/a.yml", "- targets: ['a:5']");
    test.run_for(Duration::from_secs(10));
    assert_eq!(test.shown(), "0 /sd/a.yml:0: a:5");
    let read = test.world.disk().bytes_read();
    test.run_for(Duration::from_secs(60));
    assert_eq!(test.world.disk().bytes_read(), read, "a file that has not changed is not read");
}

#[test]
fn answers_of_an_http_server_replace_each_other_and_failures_change_nothing() {
    let yaml = "http_sd_configs: [{url: 'http://10.0.0.9:80/sd?x=y', refresh_interval: 30s, \
                basic_auth: {username: u, password_file: /p}, http_headers: {X-A: {values: [b, c]}}}]";
    let mut test = Test::new(&[yaml]);
    test.world.disk().write("/p", "secret\n");
    let mut test = test.start();
    let request = test.respond("200 OK", "application/json", r#"[{"targets":["a"]},{"targets":["b"]}]"#);
    assert!(request.starts_with("GET /sd?x=y HTTP/1.1\r\n"), "{request}");
    for field in [
        "Accept: application/json",
        "X-Prometheus-Refresh-Interval-Seconds: 30",
        "Authorization: Basic dTpzZWNyZXQ=",
        "X-A: b",
        "X-A: c",
    ] {
        assert!(request.contains(&format!("{field}\r\n")), "{field}: {request}");
    }
    let url = "http://10.0.0.9:80/sd?x=y";
    assert_eq!(test.shown(), format!("0 {url}:0: a; 0 {url}:1: b"));
    assert_eq!(test.labels[&format!("0 {url}:0")].get("__meta_url"), url);
    for (status, content_type, body, error) in [
        ("500 No", "text/plain", "", "server returned HTTP status 500 Internal Server Error"),
        ("500 No", "text/plain", "", ""),
        ("200 OK", "text/html", "<html>", "unsupported content type \"text/html\""),
        ("200 OK", "application/json", "[{", "EOF while parsing"),
    ] {
        test.run_for(Duration::from_secs(30));
        test.respond(status, content_type, body);
        let lines = test.log_lines();
        assert_eq!(lines.len(), usize::from(!error.is_empty()), "{lines:?}");
        assert!(lines.iter().all(|line| line.contains(error)), "{lines:?}");
        assert_eq!(test.found.len(), 2);
    }
    assert_eq!(test.metric("otelcore_prometheus_discovery_failures"), 4.0);
    assert_eq!(test.discovery.targets(), 2);
    test.run_for(Duration::from_secs(30));
    test.respond("200 OK", "application/json", r#"[{"targets":["c"]}]"#);
    test.run_for(Duration::from_secs(6));
    assert_eq!(test.shown(), format!("0 {url}:0: c"));
}

#[test]
fn proxy_and_redirects_are_those_of_the_configuration() {
    let first_line = |options: &str| {
        let yaml = format!("http_sd_configs: [{{url: 'http://10.0.0.9/sd', {options}}}]");
        let mut test = Test::new(&[&yaml]);
        test.world.set_env("HTTP_PROXY", "http://10.0.0.8:3128");
        let mut test = test.start();
        let (peer, request) = test.requests().pop().expect("there is a request");
        peer.send("HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n");
        test.run();
        let next = test.requests().pop().map(|(_, request)| request.lines().next().unwrap_or_default().to_owned());
        (request.lines().next().unwrap_or_default().to_owned(), next, test.log_lines())
    };
    let direct = "GET /sd HTTP/1.1";
    // The variables of the environment are not used by themselves.
    let (first, next, lines) = first_line("follow_redirects: true");
    assert_eq!((first.as_str(), next.as_deref()), (direct, Some("GET /other HTTP/1.1")));
    assert_eq!(lines, Vec::<String>::new());
    let (first, next, lines) = first_line("follow_redirects: false");
    assert_eq!((first.as_str(), next), (direct, None));
    assert!(lines[0].contains("server returned HTTP status 302 Found"), "{lines:?}");
    let by_proxy = "GET http://10.0.0.9/sd HTTP/1.1";
    assert_eq!(first_line("proxy_url: 'http://10.0.0.7:3128'").0, by_proxy);
    assert_eq!(first_line("proxy_url: 'http://10.0.0.7:3128', no_proxy: 'x,10.0.0.0/8'").0, direct);
    assert_eq!(first_line("proxy_url: 'http://10.0.0.7:3128', no_proxy: 'x'").0, by_proxy);
    assert_eq!(first_line("proxy_from_environment: true").0, by_proxy);
}

#[test]
fn file_with_credentials_that_is_not_there_fails_requests_until_it_is() {
    let yaml = "http_sd_configs: [{url: 'http://10.0.0.9/sd', authorization: {credentials_file: /token}}]";
    let mut test = Test::new(&[yaml]).start();
    assert!(test.requests().is_empty());
    let lines = test.log_lines();
    assert!(lines[0].contains("unable to read authorization credentials"), "{lines:?}");
    test.world.disk().write("/token", "first\n");
    test.run_for(Duration::from_secs(61));
    let request = test.respond("200 OK", "application/json", "[]");
    assert!(request.contains("Authorization: Bearer first\r\n"), "{request}");
    test.world.disk().write("/token", "second");
    test.run_for(Duration::from_secs(60));
    let request = test.respond("200 OK", "application/json", "[]");
    assert!(request.contains("Authorization: Bearer second\r\n"), "{request}");
}

#[test]
fn addresses_of_a_name_are_targets_until_the_name_is_gone() {
    let mut test =
        Test::new(&["dns_sd_configs: [{names: [web], type: A, port: 80}, {names: [web], type: AAAA, port: 81}]"]);
    let addresses = ["10.0.0.2", "10.0.0.1", "fd00::1"].map(|address| address.parse().unwrap()).to_vec();
    test.world.set_lookup_result("web", Ok(addresses));
    let mut test = test.start();
    test.run_for(Duration::from_secs(1));
    let addresses: Vec<String> = test.addresses();
    assert_eq!(addresses, ["10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:81"]);
    let error = otelcore_pipeline::ResolveError("lookup web: server misbehaving".to_owned());
    test.world.set_lookup_result("web", Err(error));
    test.run_for(Duration::from_secs(70));
    assert_eq!(test.groups.len(), 2);
    assert_eq!(test.log_lines().len(), 2);
    let error = otelcore_pipeline::ResolveError("lookup web: no such host".to_owned());
    test.world.set_lookup_result("web", Err(error));
    test.run_for(Duration::from_secs(40));
    assert_eq!(test.groups.len(), 0);
}

#[test]
fn records_of_a_name_are_asked_of_each_server_and_for_each_domain() {
    let mut test = Test::new(&["dns_sd_configs: [{names: [_web._tcp]}]"]);
    test.world
        .disk()
        .write("/etc/resolv.conf", "nameserver 10.0.0.53\nnameserver 10.0.0.54\nsearch a.example\noptions ndots:5\n");
    let mut test = test.start();
    // Each query has a socket of its own, whose ports the world counts.
    let mut port = FIRST_PORT;
    let mut asked = |test: &mut Test| {
        port += 1;
        let address = format!("0.0.0.0:{port}");
        let (query, server) = test.world.take_datagrams(&address).pop().expect("there is a query");
        let end = 12 + query[12..].iter().position(|b| *b == 0).unwrap();
        (address, server, String::from_utf8_lossy(&query[13..end]).into_owned(), query)
    };
    let (address, server, name, query) = asked(&mut test);
    assert_eq!((server.to_string().as_str(), name.as_str()), ("10.0.0.53:53", "_web\u{4}_tcp\u{1}a\u{7}example"));
    // From another address, and of another query: no response.
    let response = crate::dns::message::tests::response(&query, 0, &[("evil", 1)]);
    test.world.send_datagram(&address, response.clone(), "10.0.0.66:53".parse().unwrap());
    let mut other = response;
    other[0] ^= 1;
    test.world.send_datagram(&address, other, server);
    test.run_for(Duration::from_millis(1900));
    assert_eq!(test.shown(), "");
    // The first server is silent, the second one does not know the name.
    test.run_for(Duration::from_millis(200));
    let (address, server, _, query) = asked(&mut test);
    assert_eq!(server.to_string(), "10.0.0.54:53");
    test.world.send_datagram(&address, crate::dns::message::tests::response(&query, 3, &[]), server);
    test.run();
    let (address, server, name, query) = asked(&mut test);
    assert_eq!((server.to_string().as_str(), name.as_str()), ("10.0.0.53:53", "_web\u{4}_tcp"));
    let response = crate::dns::message::tests::response(&query, 0, &[("h1", 80), ("h2", 81)]);
    test.world.send_datagram(&address, response, server);
    test.run();
    assert_eq!(test.shown(), "0 _web._tcp: h1._web._tcp:80 h2._web._tcp:81");
    // Servers that fail change nothing.
    test.run_for(Duration::from_secs(28));
    for _ in 0..4 {
        let (address, server, _, query) = asked(&mut test);
        test.world.send_datagram(&address, crate::dns::message::tests::response(&query, 2, &[]), server);
        test.run();
    }
    assert_eq!(test.found.len(), 1);
    let lines = test.log_lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("could not resolve \"_web._tcp\""), "{lines:?}");
    // What does not fit into a datagram is asked for over TCP.
    test.run_for(Duration::from_secs(30));
    let (address, server, _, query) = asked(&mut test);
    let mut cut = crate::dns::message::tests::response(&query, 0, &[]);
    cut[2] |= 2;
    test.world.send_datagram(&address, cut, server);
    test.run();
    let peer = test.peers.pop().expect("there is a connection");
    let framed = peer.take_received();
    assert_eq!(usize::from(framed[0]) << 8 | usize::from(framed[1]), framed.len() - 2);
    let response = crate::dns::message::tests::response(&framed[2..], 0, &[("h3", 82)]);
    let length = (response.len() as u16).to_be_bytes();
    peer.send(length);
    test.run();
    peer.send(response);
    test.run_for(Duration::from_secs(1));
    assert_eq!(test.shown(), "0 _web._tcp: h3._web._tcp.a.example:82");
    // A name that no server knows has no targets.
    test.run_for(Duration::from_secs(29));
    for _ in 0..2 {
        let (address, server, _, query) = asked(&mut test);
        test.world.send_datagram(&address, crate::dns::message::tests::response(&query, 3, &[]), server);
        test.run();
    }
    test.run_for(Duration::from_secs(1));
    assert_eq!(test.shown(), "");
}
