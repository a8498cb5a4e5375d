//! The connections to the brokers of a cluster: looks names up, connects address by address, with TLS, and authenticates.
//!
//! At most one connection to a broker. It is made when a request needs it, kept while it is used, and after a failure made again after a
//! pause that grows. Knows no topic, and decides nothing about requests that failed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use otelcore_net::tls::TlsConnector;
use otelcore_pipeline::{Cx, Event, LogField, Logger, MonotonicTime, PeerAddr, StartError, Stream};

use crate::client_config::{ClientConfig, DIAL_TIMEOUT};
use crate::link::{Link, LinkPhase, LinkResult};
use crate::messages::{BrokerAddress, RequestBody};
use crate::versions::ApiKey;

/// The shortest and the longest pause before a broker is connected to again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// How long a broker is not sent anything at most, if it says so.
const MAX_THROTTLE: Duration = Duration::from_secs(300);

/// What has happened to a broker.
#[derive(Debug)]
pub(crate) enum NodeEvent {
    /// It may be possible to send requests to it, or to connect to it, again.
    Changed(i32),
    Answer {
        node: i32,
        token: u64,
        version: i16,
        body: Bytes,
    },
    Written {
        node: i32,
        token: u64,
    },
    /// The connection has ended; these requests have no answer.
    Failed {
        node: i32,
        tokens: Vec<u64>,
        error: Rc<str>,
    },
}

/// A broker that is or was connected to.
struct Node {
    host: Rc<str>,
    port: u16,
    link: Option<Box<Link>>,
    /// A connection is needed, and is made once `retry_at` is reached.
    is_wanted: bool,
    failures: u32,
    retry_at: MonotonicTime,
    /// Nothing is sent before.
    throttled_until: MonotonicTime,
    timer: Option<MonotonicTime>,
}

/// See the module.
pub(crate) struct Nodes {
    config: Rc<ClientConfig>,
    tls: Option<TlsConnector>,
    /// Where each broker is, as the metadata says.
    addresses: BTreeMap<i32, (Rc<str>, u16)>,
    nodes: BTreeMap<i32, Node>,
    by_key: BTreeMap<u64, i32>,
    next_key: u64,
    timers: BTreeSet<(MonotonicTime, i32)>,
    events: VecDeque<NodeEvent>,
    log: Logger,
    /// How many bytes of records an answer may have.
    max_records: usize,
    /// The broker that is being connected to because any one is needed, and the position of the next one.
    dialled: Option<i32>,
    next_any: usize,
}

impl Nodes {
    /// `first_key` is the first of the local keys that it uses, upwards.
    pub(crate) fn new(config: Rc<ClientConfig>, log: Logger, first_key: u64) -> Self {
        let mut nodes = Self {
            config,
            tls: None,
            addresses: BTreeMap::new(),
            nodes: BTreeMap::new(),
            by_key: BTreeMap::new(),
            next_key: first_key,
            timers: BTreeSet::new(),
            events: VecDeque::new(),
            log,
            max_records: 0,
            dialled: None,
            next_any: 0,
        };
        nodes.add_seeds();
        nodes
    }

    /// Accepts answers with so many bytes of records.
    pub(crate) fn accept_records(&mut self, bytes: usize) {
        self.max_records = bytes;
    }

    fn add_seeds(&mut self) {
        for (id, (host, port)) in (i32::MIN..).zip(&self.config.brokers) {
            self.addresses.insert(id, (host.as_str().into(), *port));
        }
    }

    /// Reads the files of TLS.
    pub(crate) fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        if let Some(settings) = &self.config.tls {
            let tls = TlsConnector::load(cx, settings, &[], self.log.clone());
            self.tls = Some(tls.map_err(|e| StartError::Config(e.to_string()))?);
        }
        Ok(())
    }

    /// The brokers of the cluster, from its metadata. Connections to those that have gone end when they are idle.
    pub(crate) fn set_brokers(&mut self, brokers: &[BrokerAddress]) {
        if brokers.is_empty() {
            return;
        }
        self.addresses.clear();
        self.add_seeds();
        for broker in brokers {
            self.addresses.insert(broker.id, (broker.host.as_str().into(), broker.port));
        }
        for (id, node) in &mut self.nodes {
            let Some((host, port)) = self.addresses.get(id) else { continue };
            if (&node.host, node.port) != (host, *port) {
                (node.host, node.port, node.retry_at) = (host.clone(), *port, MonotonicTime(0));
            }
        }
    }

    /// Adds a broker that the metadata does not have yet.
    pub(crate) fn add_broker(&mut self, broker: &BrokerAddress) {
        self.addresses.entry(broker.id).or_insert_with(|| (broker.host.as_str().into(), broker.port));
    }

    /// Whether the metadata has this broker.
    pub(crate) fn is_known(&self, id: i32) -> bool {
        self.addresses.contains_key(&id)
    }

    /// A broker that is connected; otherwise one is connected to. Brokers of the cluster come before the configured ones.
    pub(crate) fn any(&mut self, cx: &mut Cx<'_>) -> Option<i32> {
        let now = cx.now();
        // The brokers of the cluster have numbers from zero on, the configured ones negative numbers.
        let (seeds, of_cluster): (Vec<i32>, Vec<i32>) = self.addresses.keys().partition(|id| **id < 0);
        let all: Vec<i32> = of_cluster.into_iter().chain(seeds).collect();
        if let Some(id) = all.iter().copied().find(|id| self.can_send(*id, now)) {
            self.dialled = None;
            return Some(id);
        }
        if self.dialled.is_none_or(|id| !self.is_connecting(id)) {
            let start = self.next_any % all.len().max(1);
            let rotated = all.iter().skip(start).chain(all.iter().take(start));
            let chosen = rotated.clone().find(|id| !self.is_in_pause(**id, now)).or_else(|| rotated.clone().next());
            let chosen = chosen.copied()?;
            self.next_any = all.iter().position(|id| *id == chosen).map_or(0, |at| at + 1);
            self.dialled = Some(chosen);
            self.connect(cx, chosen);
        }
        None
    }

    /// The broker's connection, if requests can be sent on it.
    fn ready_link(&mut self, id: i32) -> Option<&mut Link> {
        self.nodes.get_mut(&id)?.link.as_deref_mut().filter(|link| link.is_ready())
    }

    /// Whether requests can be sent to a broker now.
    pub(crate) fn can_send(&mut self, id: i32, now: MonotonicTime) -> bool {
        let is_throttled = self.nodes.get(&id).is_some_and(|node| node.throttled_until > now);
        !is_throttled && self.ready_link(id).is_some_and(|link| !link.is_session_over(now))
    }

    /// Requests without an answer on the connection of a broker.
    pub(crate) fn requests_in_flight(&mut self, id: i32) -> usize {
        self.ready_link(id).map_or(0, |link| link.requests_in_flight())
    }

    /// The version of a request at a broker that is connected.
    pub(crate) fn version(&mut self, id: i32, api: ApiKey) -> Option<Result<i16, String>> {
        self.ready_link(id).map(|link| link.version(api).map_err(|e| e.to_string()))
    }

    /// Connects to a broker, now or after its pause. Does nothing if that is in progress or done.
    pub(crate) fn connect(&mut self, cx: &mut Cx<'_>, id: i32) {
        let Some((host, port)) = self.addresses.get(&id).cloned() else { return };
        let node = self.nodes.entry(id).or_insert_with(|| Node {
            host,
            port,
            link: None,
            is_wanted: false,
            failures: 0,
            retry_at: MonotonicTime(0),
            throttled_until: MonotonicTime(0),
            timer: None,
        });
        if node.link.is_some() {
            return;
        }
        if node.retry_at > cx.now() {
            node.is_wanted = true;
            return self.update_timer(id);
        }
        node.is_wanted = false;
        self.dial(cx, id);
        self.update_timer(id);
    }

    /// Whether a broker failed to be connected to and is in its pause.
    pub(crate) fn is_in_pause(&self, id: i32, now: MonotonicTime) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.link.is_none() && node.retry_at > now)
    }

    /// Whether a broker is connected, or will be.
    pub(crate) fn is_connecting(&self, id: i32) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.link.is_some() || node.is_wanted)
    }

    fn dial(&mut self, cx: &mut Cx<'_>, id: i32) {
        let credentials = match self.config.credentials.clone().map(|source| source(cx)).transpose() {
            Ok(credentials) => credentials,
            Err(error) => return self.fail(cx, id, &error, Vec::new()),
        };
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let key = self.next_key;
        self.next_key += 1;
        self.by_key.insert(key, id);
        cx.resolve(key, &node.host, node.port);
        let deadline = cx.now() + DIAL_TIMEOUT;
        node.link = Some(Box::new(Link::resolving(key, credentials, deadline)));
    }

    /// Sends a request on a connection that takes requests. It must be answered by `deadline`.
    pub(crate) fn send(
        &mut self,
        cx: &mut Cx<'_>,
        (id, token): (i32, u64),
        (api, version): (ApiKey, i16),
        (body, has_answer): (RequestBody, bool),
        deadline: MonotonicTime,
    ) {
        let Some(link) = self.ready_link(id) else { return };
        link.send(token, (api, version), (body, has_answer), deadline);
        let result = link.poll_write(cx);
        self.handle_result(cx, id, result);
    }

    /// Does not send anything to a broker for this time.
    pub(crate) fn throttle(&mut self, id: i32, now: MonotonicTime, ms: u32) {
        if ms > 0
            && let Some(node) = self.nodes.get_mut(&id)
        {
            node.throttled_until = now + Duration::from_millis(ms.into()).min(MAX_THROTTLE);
            self.update_timer(id);
        }
    }

    /// Handles an event if it is under one of its keys.
    pub(crate) fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>) {
        let Some(id) = self.by_key.get(&local).copied() else { return };
        let Some(link) = self.nodes.get_mut(&id).and_then(|node| node.link.as_deref_mut()) else { return };
        if let Event::Resolved(result) = event {
            match result {
                Ok(addresses) => link.addresses.clone_from(addresses),
                Err(e) => return self.fail(cx, id, &e.to_string(), Vec::new()),
            }
            return self.try_next_address(cx, id);
        }
        let result = link.poll(cx);
        self.handle_result(cx, id, result);
    }

    /// Connects to the next address of a broker.
    fn try_next_address(&mut self, cx: &mut Cx<'_>, id: i32) {
        loop {
            let config = self.config.clone();
            let Some(node) = self.nodes.get_mut(&id) else { return };
            let Some(link) = node.link.as_deref_mut() else { return };
            let Some(address) = link.addresses.get(link.next_address).copied() else {
                let error = link.first_error.take().unwrap_or_else(|| "no such host".to_owned());
                return self.fail(cx, id, &error, Vec::new());
            };
            link.next_address += 1;
            // A new key, so that late events of the last socket do not count.
            let key = self.next_key;
            self.next_key += 1;
            self.by_key.remove(&link.key);
            self.by_key.insert(key, id);
            link.key = key;
            let stream = cx.connect(key, &PeerAddr::Ip(address)).map_err(|e| e.to_string());
            let stream = stream.and_then(|io| match &mut self.tls {
                None => Ok(io),
                Some(tls) => {
                    let tls = tls.connect(cx, io, &node.host).map_err(|e| e.to_string())?;
                    Ok(Box::new(tls) as Box<dyn Stream>)
                }
            });
            match stream {
                Ok(stream) => {
                    // The time that is left is divided among the addresses that are left.
                    let left = u32::try_from(link.addresses.len() - link.next_address + 1).unwrap_or(u32::MAX);
                    let deadline = cx.now() + link.deadline.since(cx.now()) / left;
                    let nonce = format!("{:016x}{:016x}", cx.random(), cx.random());
                    link.open(stream, &config.client_id, config.protocol_version, (nonce, self.max_records), deadline);
                    let result = link.poll(cx);
                    return self.handle_result(cx, id, result);
                }
                Err(error) => {
                    let text = format!("dial tcp {address}: {error}");
                    link.first_error.get_or_insert(text);
                }
            }
        }
    }

    fn handle_result(&mut self, cx: &mut Cx<'_>, id: i32, result: LinkResult) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Some(link) = node.link.as_deref_mut() else { return };
        for event in link.events.drain(..) {
            match event {
                LinkPhase::Ready => {
                    node.failures = 0;
                    link.last_used = cx.now();
                    self.events.push_back(NodeEvent::Changed(id));
                }
                LinkPhase::Answer { token, version, body } => {
                    self.events.push_back(NodeEvent::Answer { node: id, token, version, body });
                }
                LinkPhase::Written { token } => self.events.push_back(NodeEvent::Written { node: id, token }),
            }
        }
        match result {
            LinkResult::Open => self.update_timer(id),
            LinkResult::NotReached(error) => {
                link.first_error.get_or_insert(error);
                self.try_next_address(cx, id);
            }
            LinkResult::Ended(error) => {
                let tokens = link.take_tokens();
                let was_idle = link.is_idle_after_use() && tokens.is_empty();
                if was_idle { self.close_idle(id) } else { self.fail(cx, id, &error, tokens) }
            }
        }
    }

    /// The connection has failed: there is a pause before the next one.
    fn fail(&mut self, cx: &mut Cx<'_>, id: i32, error: &str, tokens: Vec<u64>) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let error: Rc<str> = format!("broker {}:{}: {error}", node.host, node.port).into();
        let (least, most) = PAUSES;
        let pause = (least * (1 << node.failures.min(8))).min(most);
        node.failures = node.failures.saturating_add(1);
        // Up to a quarter more, so that many clients do not come at the same time.
        let jitter = Duration::from_millis(cx.random() % (pause.as_millis() as u64 / 4).max(1));
        node.retry_at = cx.now() + pause + jitter;
        self.log.debug("Connection to a broker failed", &[("error", LogField::Str(&error))]);
        self.close_link(id);
        self.dialled = self.dialled.filter(|dialled| *dialled != id);
        self.events.push_back(NodeEvent::Failed { node: id, tokens, error });
    }

    /// The connection has ended without a failure.
    fn close_idle(&mut self, id: i32) {
        self.close_link(id);
        self.events.push_back(NodeEvent::Changed(id));
    }

    fn close_link(&mut self, id: i32) {
        let is_known = self.is_known(id);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if let Some(link) = node.link.take() {
            self.by_key.remove(&link.key);
        }
        if !is_known && let Some(timer) = self.nodes.remove(&id).and_then(|node| node.timer) {
            self.timers.remove(&(timer, id));
        }
        self.update_timer(id);
    }

    fn update_timer(&mut self, id: i32) {
        let idle_timeout = self.config.idle_timeout;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let of_link = node.link.as_deref().map(|link| link.next_deadline(idle_timeout));
        let of_retry = (node.link.is_none() && node.is_wanted).then_some(node.retry_at);
        let of_throttle = (node.throttled_until > MonotonicTime(0)).then_some(node.throttled_until);
        let at = [of_link, of_retry, of_throttle].into_iter().flatten().min().filter(|at| *at != MonotonicTime::NEVER);
        if let Some(before) = std::mem::replace(&mut node.timer, at) {
            self.timers.remove(&(before, id));
        }
        if let Some(at) = at {
            self.timers.insert((at, id));
        }
    }

    /// When [`Nodes::handle_timeout`] must be called.
    pub(crate) fn next_deadline(&self) -> Option<MonotonicTime> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Handles what is due.
    pub(crate) fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        while let Some((at, id)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.remove(&(at, id));
            let idle_timeout = self.config.idle_timeout;
            let Some(node) = self.nodes.get_mut(&id) else { continue };
            node.timer = None;
            if node.throttled_until <= now && node.throttled_until > MonotonicTime(0) {
                node.throttled_until = MonotonicTime(0);
                self.events.push_back(NodeEvent::Changed(id));
            }
            match node.link.as_deref_mut().map(|link| (link.check_deadlines(now, idle_timeout), link)) {
                Some((Ok(()), _)) => self.update_timer(id),
                Some((Err(error), link)) => {
                    let tokens = link.take_tokens();
                    if link.is_idle_after_use() && tokens.is_empty() {
                        self.close_idle(id);
                    } else if link.next_address < link.addresses.len() && !link.was_reached() {
                        link.first_error.get_or_insert(error);
                        self.try_next_address(cx, id);
                    } else {
                        self.fail(cx, id, &error, tokens);
                    }
                }
                None if node.is_wanted && node.retry_at <= now => self.connect(cx, id),
                None => self.update_timer(id),
            }
        }
    }

    /// Whether there is an event.
    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The next event.
    pub(crate) fn poll_event(&mut self) -> Option<NodeEvent> {
        self.events.pop_front()
    }

    /// Closes all connections.
    pub(crate) fn close(&mut self) {
        for node in self.nodes.values_mut() {
            if let Some(link) = &mut node.link {
                link.shutdown();
            }
            node.link = None;
        }
        self.by_key.clear();
        self.timers.clear();
    }
}
