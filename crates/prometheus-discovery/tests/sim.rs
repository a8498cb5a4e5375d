//! All discoveries in a simulated world: a server that is restarted, cut off, reset, and that forgets versions; files that
//! are written piece by piece; names that come and go. When the faults end, the targets are those that there are.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_config::declare::Config;
use otelcore_config::{Diagnostics, Section, SourceText, parse_documents};
use otelcore_pipeline::{
    Budget, Cx, Endpoint, Event, Graph, GraphBuilder, Listener, Logger, MonotonicTime, NoopLogSink, Outcome,
    PipelineInput, Receiver, ResolveError, StartError, Stream,
};
use otelcore_prometheus_discovery::{Discovery, DiscoveryConfigs, TargetGroup};
use otelcore_reactor::{NodeId, Sim};

const SEC: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(50);

const CONFIG: &str = "{kubernetes_sd_configs: [{role: pod, api_server: 'http://server:8001'}], \
    http_sd_configs: [{url: 'http://server:8001/sd', refresh_interval: 5s}], \
    file_sd_configs: [{files: ['/sd/*.json']}], \
    dns_sd_configs: [{names: [web], type: A, port: 80, refresh_interval: 10s}]}";

/// What there is, which outlives the processes of the server.
#[derive(Default)]
struct Known {
    pods: BTreeMap<String, String>,
    version: u64,
    history: Vec<(u64, String)>,
    /// Watches from an older version get 410.
    oldest: u64,
    http: Vec<String>,
}

type SharedKnown = Rc<RefCell<Known>>;
type Found = Rc<RefCell<BTreeMap<u64, Arc<TargetGroup>>>>;

impl Known {
    fn set_pod(&mut self, name: &str, ip: &str) {
        self.version += 1;
        let kind = if self.pods.contains_key(name) { "MODIFIED" } else { "ADDED" };
        let version = self.version;
        let pod = format!(
            r#"{{"metadata":{{"name":"{name}","namespace":"shop","resourceVersion":"{version}"}},"spec":{{"containers":[{{"name":"c"}}]}},"status":{{"podIP":"{ip}"}}}}"#
        );
        self.history.push((version, format!(r#"{{"type":"{kind}","object":{pod}}}"#)));
        self.pods.insert(name.to_owned(), pod);
    }

    fn delete_pod(&mut self, name: &str) {
        self.version += 1;
        if let Some(pod) = self.pods.remove(name) {
            self.history.push((self.version, format!(r#"{{"type":"DELETED","object":{pod}}}"#)));
        }
    }
}

struct Conn {
    io: Box<dyn Stream>,
    incoming: Vec<u8>,
    outgoing: VecDeque<u8>,
    /// The version up to which events were sent, once it is a watch.
    watched: Option<u64>,
}

/// One process of the server.
struct Server {
    known: SharedKnown,
    listener: Option<Box<dyn Listener>>,
    conns: BTreeMap<u64, Conn>,
    next: u64,
}

const LISTENER: u64 = 0;
const TICK_KEY: u64 = 1 << 40;

impl Server {
    fn respond(known: &Known, conn: &mut Conn, request: &str) {
        let whole = |status: &str, body: &str| {
            let length = body.len();
            format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        };
        let target = request.split(' ').nth(1).unwrap_or_default();
        let version = target.split("resourceVersion=").nth(1).and_then(|rest| rest.split('&').next()?.parse().ok());
        let response = if target == "/sd" {
            let groups: Vec<String> = known.http.iter().map(|host| format!(r#"{{"targets":["{host}"]}}"#)).collect();
            whole("200 OK", &format!("[{}]", groups.join(",")))
        } else if !target.contains("watch=true") {
            let items = known.pods.values().cloned().collect::<Vec<_>>().join(",");
            let list = format!(r#"{{"metadata":{{"resourceVersion":"{}"}},"items":[{items}]}}"#, known.version.max(1));
            whole("200 OK", &list)
        } else if version.unwrap_or(0) < known.oldest {
            whole("410 Gone", r#"{"message":"too old resource version","code":410}"#)
        } else {
            conn.watched = version;
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned()
        };
        conn.outgoing.extend(response.bytes());
    }

    fn serve(&mut self, key: u64) {
        let Some(conn) = self.conns.get_mut(&key) else { return };
        let mut buffer = [0; 2048];
        let is_ended = loop {
            match conn.io.read(&mut buffer) {
                Ok(0) => break true,
                Ok(count) => conn.incoming.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
                Err(_) => break true,
            }
        };
        while let Some(end) = conn.incoming.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let request: Vec<u8> = conn.incoming.drain(..end + 4).collect();
            Self::respond(&self.known.borrow(), conn, &String::from_utf8_lossy(&request));
        }
        if let Some(watched) = &mut conn.watched {
            let known = self.known.borrow();
            let from = *watched;
            for (version, event) in known.history.iter().filter(|(version, _)| *version > from) {
                *watched = *version;
                conn.outgoing.extend(format!("{:x}\r\n{event}\n\r\n", event.len() + 1).bytes());
            }
        }
        while !conn.outgoing.is_empty() {
            let Ok(count) = conn.io.write(conn.outgoing.make_contiguous()) else { break };
            conn.outgoing.drain(..count);
        }
        let _ = conn.io.flush();
        if is_ended {
            self.conns.remove(&key);
        }
    }
}

impl Receiver for Server {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.listener = Some(cx.listen(LISTENER, &Endpoint::Tcp { host: String::new(), port: 8001 })?);
        cx.set_timer(TICK_KEY, cx.now() + TICK);
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
            TICK_KEY => {
                cx.set_timer(TICK_KEY, cx.now() + TICK);
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

/// The component that owns the discoveries.
struct Owner {
    discovery: Discovery,
    found: Found,
    is_closed: bool,
}

impl Owner {
    fn take_changes(&mut self) {
        while let Some(change) = self.discovery.poll_change() {
            assert_eq!(change.job, 0);
            match change.targets {
                Some(group) => drop(self.found.borrow_mut().insert(change.group.0, group)),
                None => drop(self.found.borrow_mut().remove(&change.group.0)),
            }
        }
    }
}

impl Receiver for Owner {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.discovery.start(cx);
        self.take_changes();
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, _: &mut PipelineInput<'_>) {
        self.discovery.handle_event(cx, local, &event);
        self.take_changes();
    }

    fn settled(&mut self, _: &mut Cx<'_>, _: u64, _: Outcome) {}

    fn close(&mut self, cx: &mut Cx<'_>, _: MonotonicTime) {
        self.discovery.close(cx);
        self.is_closed = true;
    }

    fn is_closed(&self) -> bool {
        self.is_closed
    }
}

fn graph(receiver: Box<dyn Receiver>) -> Graph {
    let mut builder = GraphBuilder::new(Arc::new(Budget::default()), Logger::new(Arc::new(NoopLogSink)));
    builder.add_receiver("prometheus".parse().unwrap(), receiver);
    builder.build()
}

fn server_graph(known: &SharedKnown) -> Graph {
    graph(Box::new(Server { known: known.clone(), listener: None, conns: BTreeMap::new(), next: 1 }))
}

fn owner_graph(found: &Found) -> Graph {
    let diagnostics = Diagnostics::new();
    let root = parse_documents(&SourceText::new("config", CONFIG), &diagnostics).into_iter().next();
    let section = Section::new(root.as_ref(), "", &diagnostics);
    let config = DiscoveryConfigs::read_section(section, &DiscoveryConfigs::default());
    assert!(!diagnostics.has_errors(), "{:?}", diagnostics.items());
    let log = Logger::new(Arc::new(NoopLogSink));
    let discovery = Discovery::new(&[("job".to_owned(), config)], log, &Arc::new(Budget::default()), 1 << 56);
    graph(Box::new(Owner { discovery, found: found.clone(), is_closed: false }))
}

struct World {
    sim: Sim,
    known: SharedKnown,
    server: NodeId,
    owner: NodeId,
    found: Found,
    files: BTreeMap<String, String>,
    addresses: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut sim = Sim::new(seed);
        let (known, found) = (SharedKnown::default(), Found::default());
        known.borrow_mut().set_pod("p0", "10.1.0.9");
        let server = sim.add_node("server", server_graph(&known)).unwrap();
        let owner = sim.add_node("owner", owner_graph(&found)).unwrap();
        Self { sim, known, server, owner, found, files: BTreeMap::new(), addresses: Vec::new() }
    }

    /// Changes something that is discovered.
    fn change(&mut self) {
        let random = self.sim.random();
        let (which, n) = (random % 6, random / 8 % 5);
        let mut known = self.known.borrow_mut();
        match which {
            0 | 1 => known.set_pod(&format!("p{n}"), &format!("10.1.0.{}", random / 64 % 8)),
            2 => known.delete_pod(&format!("p{n}")),
            3 => known.http = (0..n).map(|index| format!("h{}", index + random / 64 % 3)).collect(),
            4 => {
                let path = format!("/sd/{}.json", n % 2);
                let content = format!(r#"[{{"targets":["f{}"]}},{{"targets":["f{n}"]}}]"#, random / 64 % 9);
                // Half of it, which may be seen, and then the whole.
                self.sim.disk(self.owner).write(&path, &content[..content.len() / 2]);
                self.files.insert(path, content);
            }
            _ => {
                self.addresses = (0..n).map(|index| format!("10.2.0.{}", index + random / 64 % 3)).collect();
                let parsed: Vec<IpAddr> = self.addresses.iter().map(|address| address.parse().unwrap()).collect();
                let result = match parsed.is_empty() {
                    true => Err(ResolveError("lookup web: no such host".to_owned())),
                    false => Ok(parsed),
                };
                self.sim.set_lookup_result("web", result);
            }
        }
    }

    fn complete_files(&mut self) {
        for (path, content) in &self.files {
            self.sim.disk(self.owner).write(path, content.as_str());
        }
    }

    /// Lets something go wrong, or ends it.
    fn disturb(&mut self) {
        match self.sim.random() % 6 {
            0 => self.sim.kill(self.server),
            1 => {
                let graph = server_graph(&self.known);
                self.sim.restart(self.server, graph).unwrap();
            }
            2 => self.sim.partition(self.server, self.owner),
            3 => self.sim.heal(self.server, self.owner),
            4 => {
                let mut known = self.known.borrow_mut();
                known.oldest = known.version;
                known.history.clear();
            }
            _ => self.complete_files(),
        }
    }

    /// The addresses of the targets that have been found, and of those that there are.
    fn targets(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let found = self.found.borrow();
        let groups = found.values().flat_map(|group| &group.targets);
        let found = groups.map(|target| target.get("__address__").to_owned()).collect();
        let known = self.known.borrow();
        let of_text =
            |text: &str, before: &str| text.split(before).nth(1).unwrap().split('"').next().unwrap().to_owned();
        let pods = known.pods.values().map(|pod| of_text(pod, "\"podIP\":\""));
        let files = self.files.values().flat_map(|content| {
            content.split("[\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect::<Vec<_>>()
        });
        let names = self.addresses.iter().map(|address| format!("{address}:80"));
        (found, pods.chain(files).chain(names).chain(known.http.iter().cloned()).collect())
    }
}

#[test]
fn targets_are_those_that_there_are_when_faults_have_ended() {
    for seed in 0..5 {
        let mut world = World::new(seed);
        world.sim.run_for(10 * SEC);
        let (found, expected) = world.targets();
        assert_eq!(found, expected, "seed {seed}, before any fault");
        for _ in 0..60 {
            world.change();
            world.disturb();
            let millis = world.sim.random() % 4000;
            world.sim.run_for(Duration::from_millis(millis));
        }
        world.complete_files();
        world.sim.heal(world.server, world.owner);
        let graph = server_graph(&world.known);
        world.sim.restart(world.server, graph).unwrap();
        world.sim.run_for(200 * SEC);
        let (found, expected) = world.targets();
        assert_eq!(found, expected, "seed {seed}");
    }
}
