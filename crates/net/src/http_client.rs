//! An HTTP/1.1 client: each connection carries one request at a time and is kept between requests.
//!
//! ```text
//!  request -> idle connection, newest first ------------------------------+-> exchange -> idle -> (too old, closed)
//!     |                                                                    |
//!     +-> (waits below max_conns_per_host) -> look-up -> address by address -> TLS, tunnel
//! ```
//! If a request fails on a reused connection before a byte of the response has arrived, it is sent once more on a new
//! connection. Redirects that keep the method POST are followed. Responses, idle connections and cookies are bounded;
//! callers bound the number of requests. The cost of a request or an event grows with the logarithm of the number of
//! open connections and waiting requests, and one turn of the loop begins or fails no more than [`BEGUN_A_TURN`]
//! requests.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use otelcore_http::Closed;
use otelcore_http::h1::client::{ClientConfig, ClientConn, Failure, NotReady, Reply};
use otelcore_pipeline::{ClientAuth, Cx, Event, Field, Logger, Mono, PeerAddr, StartError, Stream, TimerId};
use slab::Slab;

use crate::proxy::{Proxies, Proxy, Tunnel};
use crate::schedule::{Schedule, WaitList};
use crate::settings::HttpClient;
use crate::tls::{ClientTls, TlsClient};

mod cookies;
mod request;
mod url;
mod wire;

use cookies::Jar;
use request::Call;
pub use request::{CallError, Fault, NewRequest, Response};
pub use url::{Url, UrlError};
use wire::{Socket, Wire};

/// The `User-Agent` of our requests.
pub(crate) const USER_AGENT: &str = concat!("otelcore/", env!("CARGO_PKG_VERSION"));

/// Go's `Dialer.Timeout` in its default transport, for all addresses of a name together.
const DIAL: Duration = Duration::from_secs(30);
/// The least part of it that each address gets.
const DIAL_LEAST: Duration = Duration::from_secs(2);
/// Go's `TLSHandshakeTimeout`.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Go's time limit for a proxy's response to CONNECT, here together with the TLS handshake through the tunnel.
const TUNNEL: Duration = Duration::from_secs(60);

/// Requests that are begun or failed in one turn: a connection and its TLS handshake cost up to 100 us.
const BEGUN_A_TURN: usize = 64;

/// Whether the scheme is https, host and port: the key of a site. They also decide which proxy is used.
type SiteName = (bool, String, u16);

/// A scheme, host and port. Any connection to a site can carry any request to it.
struct Site {
    https: bool,
    host: String,
    port: u16,
    proxy: Option<Rc<Proxy>>,
    /// The number of connections, with those that are being made.
    open: usize,
    waiting: WaitList<Call>,
    /// Connections without a request, by when they were used last.
    idle: BTreeSet<(u64, usize)>,
    resolving: bool,
    /// Why the last look-up failed, as long as there are requests to fail because of it.
    failure: Option<String>,
    /// The result of the look-up, while it is being used.
    addresses: Option<Rc<[SocketAddr]>>,
}

/// Addresses that are being tried.
struct Dial {
    addresses: Rc<[SocketAddr]>,
    at: usize,
    /// The deadline for all of them.
    end: Mono,
    /// The first failure, which is the one that is reported, as in Go.
    first: Option<String>,
}

enum Phase {
    Dial(Dial),
    /// Connected; the TLS handshake or the proxy's tunnel is not complete yet.
    Shake,
    Up,
}

struct Conn {
    site: usize,
    peer: SocketAddr,
    machine: Box<ClientConn<Wire>>,
    connected: Rc<Cell<bool>>,
    phase: Phase,
    /// The deadline of the phase; for an idle connection, when it is closed.
    limit: Mono,
    /// `None` while it is idle.
    call: Option<Call>,
    /// Its key in the maps of idle connections.
    idle: Option<u64>,
}

/// What has a deadline.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Timed {
    Conn(usize),
    /// A request that waits at this site.
    Site(usize),
}

/// A request that got no connection.
type Ended = (u64, CallError);

/// Why there is no connection.
enum NoWire {
    /// This address failed; the next one is tried.
    Address(String),
    /// No address can succeed.
    Never(String),
}

/// The client. It uses the component's local keys from `base` on: `base` for its timer, odd numbers above it for
/// connections, even ones for look-ups.
pub struct HttpChannel {
    settings: Rc<HttpClient>,
    config: Rc<ClientConfig>,
    log: Logger,
    base: u64,
    auth: Option<Rc<dyn ClientAuth>>,
    tls: Option<ClientTls>,
    /// For connections to proxies.
    proxy_tls: Option<ClientTls>,
    proxies: Proxies,
    jar: Option<Jar>,
    sites: Slab<Site>,
    by_name: BTreeMap<SiteName, usize>,
    conns: Slab<Conn>,
    /// Connections without a request, by when they were used last.
    idle: BTreeMap<u64, usize>,
    next_idle: u64,
    due: Schedule<Timed>,
    /// Requests that may still be begun before the next turn.
    begun_left: usize,
    /// Another turn has been requested.
    asked_again: bool,
    /// Sites that wait for that turn.
    postponed: BTreeSet<usize>,
    /// Sites to process before the end of the turn.
    pending: Vec<usize>,
    done: VecDeque<(u64, Result<Response, CallError>)>,
    timer: Option<(Mono, TimerId)>,
    closed: bool,
}

impl std::fmt::Debug for HttpChannel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (open, idle) = (self.conns.len(), self.idle.len());
        f.debug_struct("HttpChannel").field("open", &open).field("idle", &idle).finish_non_exhaustive()
    }
}

impl HttpChannel {
    /// A client that makes no request before [`HttpChannel::start`].
    #[must_use]
    pub fn new(settings: Rc<HttpClient>, auth: Option<Rc<dyn ClientAuth>>, log: Logger, base: u64) -> Self {
        let config = Rc::new(ClientConfig { read_budget: settings.read_buffer_size, ..ClientConfig::default() });
        let jar = settings.cookies.then(Jar::default);
        Self {
            settings,
            config,
            log,
            base,
            auth,
            tls: None,
            proxy_tls: None,
            proxies: Proxies::default(),
            jar,
            sites: Slab::new(),
            by_name: BTreeMap::new(),
            conns: Slab::new(),
            idle: BTreeMap::new(),
            next_idle: 0,
            due: Schedule::default(),
            begun_left: BEGUN_A_TURN,
            asked_again: false,
            postponed: BTreeSet::new(),
            pending: Vec::new(),
            done: VecDeque::new(),
            timer: None,
            closed: false,
        }
    }

    /// Finds the proxies, and loads certificates if one of the URLs of later requests needs them.
    ///
    /// # Errors
    /// Certificates or a proxy that can't be used.
    pub fn start(&mut self, cx: &mut Cx<'_>, urls: &[&Url]) -> Result<(), StartError> {
        self.proxies = match self.settings.proxy_url.as_str() {
            "" => Proxies::from_env(|name| cx.env(name)),
            url => Proxies::fixed(Proxy::parse(url).map_err(|e| StartError(format!("proxy_url: {e}")))?),
        };
        for url in urls {
            let proxy = self.proxies.find(url.is_https(), url.host(), url.port()).map_err(StartError)?;
            if proxy.is_some_and(|p| p.is_https()) {
                proxy_tls(&mut self.proxy_tls, cx, &self.settings.tls, &self.log).map_err(StartError)?;
            }
            if url.is_https() {
                site_tls(&mut self.tls, cx, &self.settings.tls, &self.log).map_err(StartError)?;
            }
        }
        Ok(())
    }

    /// Begins a request; [`HttpChannel::poll_done`] returns its result.
    pub fn call(&mut self, cx: &mut Cx<'_>, token: u64, new: NewRequest) {
        let call = Call::new(token, new);
        if self.closed {
            let error = call.error(Fault::Closed, "the client is closed");
            return self.done.push_back((token, Err(error)));
        }
        self.enqueue(cx, call);
        self.settle(cx);
    }

    /// The next request that ended.
    pub fn poll_done(&mut self) -> Option<(u64, Result<Response, CallError>)> {
        self.done.pop_front()
    }

    /// Handles an event under one of its keys.
    pub fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>) {
        let Some(number) = local.checked_sub(self.base).and_then(|n| usize::try_from(n).ok()) else { return };
        match (number, event) {
            (0, Event::Ready) => {
                self.asked_again = false;
                self.begun_left = BEGUN_A_TURN;
                self.pending.extend(std::mem::take(&mut self.postponed));
            }
            (0, _) => self.fire(cx),
            (_, Event::Resolved(found)) => self.resolved(cx, (number - 1) / 2, found),
            _ => self.turn(cx, (number - 1) / 2),
        }
        self.settle(cx);
    }

    /// Closes every connection. Requests in progress fail.
    pub fn close(&mut self, cx: &mut Cx<'_>) {
        self.closed = true;
        let conns = std::mem::take(&mut self.conns).into_iter().filter_map(|(_, mut conn)| {
            conn.machine.io_mut().part();
            conn.call.take()
        });
        let sites = self.sites.iter_mut();
        let waiting = sites.flat_map(|(_, site)| std::iter::from_fn(|| site.waiting.pop_front()));
        for call in conns.chain(waiting) {
            let error = call.error(Fault::Closed, "the client is closed");
            self.done.push_back((call.token, Err(error)));
        }
        self.sites.clear();
        self.by_name.clear();
        self.idle.clear();
        self.due.clear();
        self.pending.clear();
        self.postponed.clear();
        if let Some((_, id)) = self.timer.take() {
            cx.cancel(id);
        }
    }

    // ---- requests -----------------------------------------------------------------------------------------------

    /// Writes a request's head and adds the request to those that wait for a connection of its site.
    fn enqueue(&mut self, cx: &mut Cx<'_>, mut call: Call) {
        let url = call.new.url.clone();
        let proxy = match self.proxies.find(url.is_https(), url.host(), url.port()) {
            Ok(proxy) => proxy.cloned(),
            Err(why) => return self.fail(call, Fault::Request, why),
        };
        let credentials = match &self.auth {
            Some(auth) if call.wants_credentials() => match auth.headers(cx) {
                Ok(credentials) => credentials,
                Err(why) => return self.fail(call, Fault::Request, why),
            },
            _ => Vec::new(),
        };
        let cookies = self.jar.as_mut().and_then(|jar| jar.get(cx.wall(), &url));
        let takes_requests = proxy.as_deref().filter(|_| !url.is_https());
        if let Err(why) = call.prepare(&self.settings, cookies, credentials, takes_requests) {
            return self.fail(call, Fault::Request, why);
        }
        let name = (url.is_https(), url.host().to_owned(), url.port());
        let number = match self.by_name.get(&name) {
            Some(number) => *number,
            None => {
                let number = self.sites.insert(Site {
                    https: url.is_https(),
                    host: url.host().to_owned(),
                    port: url.port(),
                    proxy,
                    open: 0,
                    waiting: WaitList::default(),
                    idle: BTreeSet::new(),
                    resolving: false,
                    failure: None,
                    addresses: None,
                });
                self.by_name.insert(name, number);
                number
            }
        };
        if let Some(site) = self.sites.get_mut(number) {
            site.waiting.push_back(call.new.by, call);
        }
        self.pending.push(number);
    }

    fn fail(&mut self, call: Call, fault: Fault, why: impl Into<String>) {
        let error = call.error(fault, why);
        self.log.debug("Request failed", &[("error", Field::Str(&error.to_string()))]);
        self.done.push_back((call.token, Err(error)));
    }

    fn answered(&mut self, cx: &mut Cx<'_>, mut call: Call, reply: Reply) {
        if let Some(jar) = &mut self.jar {
            for (_, field) in reply.head.headers().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie")) {
                jar.set(cx.wall(), &call.new.url, field);
            }
        }
        match call.redirect(reply.status, reply.head.get("location")) {
            None => {
                let Reply { status, head, body, .. } = reply;
                self.done.push_back((call.token, Ok(Response { status, body, head })));
            }
            Some(Ok(())) => self.enqueue(cx, call),
            Some(Err(error)) => self.done.push_back((call.token, Err(error))),
        }
    }

    // ---- sites --------------------------------------------------------------------------------------------------

    /// Assigns waiting requests to connections, until no more can be assigned.
    fn settle(&mut self, cx: &mut Cx<'_>) {
        while let Some(number) = self.pending.pop() {
            self.serve(cx, number);
        }
        self.rearm(cx);
    }

    fn serve(&mut self, cx: &mut Cx<'_>, number: usize) {
        let postponed = self.serve_some(cx, number);
        let Some(site) = self.sites.get_mut(number) else { return };
        if postponed {
            self.postponed.insert(number);
            if !self.asked_again {
                self.asked_again = true;
                cx.again(self.base);
            }
        } else {
            // A later request looks up the name again.
            (site.addresses, site.failure) = (None, None);
        }
        self.due.set(Timed::Site(number), site.waiting.first_due());
        if site.open == 0 && site.waiting.is_empty() && !site.resolving && !postponed {
            let site = self.sites.remove(number);
            self.by_name.remove(&(site.https, site.host, site.port));
        }
    }

    /// Begins requests of a site while there are connections for them. True if some are left because the limit of the
    /// turn is reached.
    fn serve_some(&mut self, cx: &mut Cx<'_>, number: usize) -> bool {
        let most = match self.settings.max_conns_per_host {
            0 => usize::MAX,
            most => most,
        };
        loop {
            let Some(site) = self.sites.get_mut(number) else { return false };
            let Some(first) = site.waiting.front() else { return false };
            let repeated = first.repeated;
            if self.begun_left == 0 {
                return true;
            }
            if let Some(why) = site.failure.clone() {
                self.begun_left -= 1;
                if let Some(call) = site.waiting.pop_front() {
                    self.fail(call, Fault::Network, why);
                }
                continue;
            }
            let idle = site.idle.last().map(|(_, index)| *index);
            match idle {
                Some(index) if !repeated => {
                    self.begun_left -= 1;
                    let call = site.waiting.pop_front();
                    self.wake(index);
                    if let Some(call) = call {
                        self.begin(cx, index, call);
                    }
                    continue;
                }
                // Makes room for the new connection.
                Some(index) if site.open >= most => {
                    self.remove(index);
                    continue;
                }
                None if site.open >= most => return false,
                _ => {}
            }
            match site.addresses.clone() {
                Some(addresses) => {
                    self.begun_left -= 1;
                    if let Some(call) = site.waiting.pop_front() {
                        self.dial(cx, number, call, addresses);
                    }
                }
                None if site.resolving => return false,
                None => {
                    site.resolving = true;
                    let (host, port) = match &site.proxy {
                        Some(proxy) => (proxy.host(), proxy.port()),
                        None => (site.host.as_str(), site.port),
                    };
                    cx.resolve(self.base + 2 + 2 * number as u64, host, port);
                    return false;
                }
            }
        }
    }

    fn resolved(&mut self, cx: &mut Cx<'_>, number: usize, found: &Result<Vec<SocketAddr>, String>) {
        let Some(site) = self.sites.get_mut(number) else { return };
        site.resolving = false;
        let why = match found {
            Ok(addresses) if !addresses.is_empty() => {
                site.addresses = Some(addresses.as_slice().into());
                return self.serve(cx, number);
            }
            Ok(_) => format!("lookup {}: no such host", site.host),
            Err(why) => why.clone(),
        };
        let through = if site.proxy.is_some() { "proxyconnect tcp: " } else { "" };
        site.failure = Some(format!("{through}dial tcp: {why}"));
        self.serve(cx, number);
    }

    // ---- connections --------------------------------------------------------------------------------------------

    fn key(&self, index: usize) -> u64 {
        self.base + 1 + 2 * index as u64
    }

    /// Begins a request on a connection that has carried one before.
    fn begin(&mut self, cx: &mut Cx<'_>, index: usize, call: Call) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        match conn.machine.start(cx.now().0, call.outgoing()) {
            Ok(()) => {
                conn.limit = Mono::NEVER;
                conn.call = Some(call);
                self.turn(cx, index);
                self.note(index);
            }
            Err(why @ NotReady::Request(_)) => {
                self.done.push_back((call.token, Err(call.refused(why))));
                self.rest(cx, index);
            }
            Err(_) => {
                if let Some(site) = self.sites.get_mut(conn.site) {
                    site.waiting.push_front(call.new.by, call);
                }
                self.remove(index);
            }
        }
    }

    /// Updates when a connection must be run next.
    fn note(&mut self, index: usize) {
        self.due.set(Timed::Conn(index), self.conns.get(index).and_then(Conn::due));
    }

    /// Begins a request on a new connection.
    fn dial(&mut self, cx: &mut Cx<'_>, number: usize, call: Call, addresses: Rc<[SocketAddr]>) {
        let end = (cx.now() + DIAL).min(call.new.by);
        let dial = Dial { addresses, at: 0, end, first: None };
        let index = self.conns.vacant_key();
        match self.attempt(cx, index, number, dial, call) {
            Ok(conn) => {
                self.conns.insert(conn);
                self.note(index);
                if let Some(site) = self.sites.get_mut(number) {
                    site.open += 1;
                }
            }
            Err((token, error)) => self.done.push_back((token, Err(error))),
        }
    }

    /// Tries addresses until a connection attempt is in progress.
    fn attempt(
        &mut self,
        cx: &mut Cx<'_>,
        index: usize,
        number: usize,
        mut dial: Dial,
        call: Call,
    ) -> Result<Conn, Ended> {
        let now = cx.now();
        let failed = |call: &Call, why: String| Err((call.token, call.error(Fault::Network, why)));
        while let Some(peer) = dial.addresses.get(dial.at).copied() {
            let (wire, connected) = match self.wire(cx, index, number, peer) {
                Ok(wire) => wire,
                Err(NoWire::Never(why)) => return failed(&call, why),
                Err(NoWire::Address(why)) => {
                    dial.first.get_or_insert(why);
                    dial.at += 1;
                    continue;
                }
            };
            let mut machine = Box::new(ClientConn::new(wire, self.config.clone(), now.0));
            if let Err(why) = machine.start(now.0, call.outgoing()) {
                return Err((call.token, call.refused(why)));
            }
            let turn = machine.flush(now.0);
            if turn.again || turn.closed {
                cx.again(self.key(index));
            }
            // The time that is left is divided equally among the addresses that are left.
            let left = dial.end.since(now);
            let parts = u32::try_from(dial.addresses.len() - dial.at).unwrap_or(u32::MAX);
            let limit = now + (left / parts).max(DIAL_LEAST).min(left);
            let phase = Phase::Dial(dial);
            return Ok(Conn { site: number, peer, machine, connected, phase, limit, call: Some(call), idle: None });
        }
        failed(&call, dial.first.unwrap_or_else(|| "dial tcp: i/o timeout".to_owned()))
    }

    /// Begins a connection, with the proxy and TLS layers above the socket.
    fn wire(
        &mut self,
        cx: &mut Cx<'_>,
        index: usize,
        number: usize,
        peer: SocketAddr,
    ) -> Result<(Wire, Rc<Cell<bool>>), NoWire> {
        let key = self.key(index);
        let Some(site) = self.sites.get(number) else { return Err(NoWire::Never("no site".to_owned())) };
        let io = cx.connect(key, &PeerAddr::Ip(peer)).map_err(|e| NoWire::Address(through(site, &e.to_string())))?;
        let (socket, connected) = Socket::new(io);
        let settings = &self.settings.tls;
        let wire = match &site.proxy {
            None if !site.https => Wire::Plain(Box::new(socket)),
            None => {
                let tls = site_tls(&mut self.tls, cx, settings, &self.log).map_err(NoWire::Never)?;
                Wire::tls(tls.connect(cx, Box::new(socket), &site.host).map_err(NoWire::Never)?)
            }
            Some(proxy) => {
                let near = if proxy.is_https() {
                    let tls = proxy_tls(&mut self.proxy_tls, cx, settings, &self.log).map_err(NoWire::Never)?;
                    Wire::tls(tls.connect(cx, Box::new(socket), proxy.host()).map_err(NoWire::Never)?)
                } else {
                    Wire::Plain(Box::new(socket))
                };
                if site.https {
                    let near: Box<dyn Stream> = match near {
                        Wire::Plain(io) => io,
                        Wire::Tls(tls, _) => tls,
                    };
                    let tunnel = Tunnel::new(near, proxy, &site.host, site.port);
                    let tls = site_tls(&mut self.tls, cx, settings, &self.log).map_err(NoWire::Never)?;
                    Wire::tls(tls.connect(cx, Box::new(tunnel), &site.host).map_err(NoWire::Never)?)
                } else {
                    near
                }
            }
        };
        Ok((wire, connected))
    }

    /// Runs a connection for one turn.
    fn turn(&mut self, cx: &mut Cx<'_>, index: usize) {
        self.run(cx, index);
        self.note(index);
    }

    fn run(&mut self, cx: &mut Cx<'_>, index: usize) {
        let now = cx.now();
        let key = self.key(index);
        let Some(conn) = self.conns.get_mut(index) else { return };
        let turn = conn.machine.turn(now.0);
        if turn.again {
            cx.again(key);
        }
        let tunnelled = self.sites.get(conn.site).is_some_and(|s| s.proxy.is_some() && s.https);
        conn.progress(now, tunnelled);
        match conn.machine.poll_done() {
            Some(Ok(reply)) => {
                let call = conn.call.take();
                if turn.closed || self.settings.disable_keep_alives {
                    self.remove(index);
                } else {
                    self.rest(cx, index);
                }
                if let Some(call) = call {
                    self.answered(cx, call, reply);
                }
            }
            Some(Err(failure)) => self.broken(cx, index, &failure),
            None if turn.closed => self.remove(index),
            None => {}
        }
    }

    /// A request on this connection has failed, and the connection with it.
    fn broken(&mut self, cx: &mut Cx<'_>, index: usize, failure: &Failure) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        let Some(mut call) = conn.call.take() else { return self.remove(index) };
        if matches!(failure.why, Closed::Timeout(_)) {
            self.remove(index);
            return self.done.push_back((call.token, Err(call.late())));
        }
        let peer = conn.peer;
        // If the peer closed the connection, its address was reached, so the next address is not tried.
        let reached = failure.why == Closed::Peer;
        match &conn.phase {
            Phase::Dial(_) if !reached => {
                let why = format!("dial tcp {peer}: {}", dial_text(&failure.why));
                conn.call = Some(call);
                self.next_address(cx, index, &why);
            }
            Phase::Up | Phase::Dial(_) if failure.may_repeat() && !call.repeated => {
                call.repeated = true;
                if let Some(site) = self.sites.get_mut(conn.site) {
                    site.waiting.push_front(call.new.by, call);
                }
                self.remove(index);
            }
            _ => {
                let why = conn.machine.io().trouble().unwrap_or_else(|| exchange_text(&failure.why, peer));
                self.remove(index);
                self.fail(call, Fault::Network, why);
            }
        }
    }

    /// An address could not be reached.
    fn next_address(&mut self, cx: &mut Cx<'_>, index: usize, why: &str) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        let number = conn.site;
        let phase = std::mem::replace(&mut conn.phase, Phase::Up);
        let (Phase::Dial(mut dial), Some(call), Some(site)) = (phase, conn.call.take(), self.sites.get(number)) else {
            return self.remove(index);
        };
        self.log.debug("Connection failed", &[("error", Field::Str(why))]);
        dial.first.get_or_insert_with(|| through(site, why));
        dial.at += 1;
        match self.attempt(cx, index, number, dial, call) {
            Ok(next) => {
                if let Some(conn) = self.conns.get_mut(index) {
                    *conn = next;
                }
                self.note(index);
            }
            Err((token, error)) => {
                self.done.push_back((token, Err(error)));
                self.remove(index);
            }
        }
    }

    /// Keeps a connection for the next request, if it may be kept.
    fn rest(&mut self, cx: &mut Cx<'_>, index: usize) {
        let Some(number) = self.conns.get(index).map(|c| c.site) else { return };
        let Some(site) = self.sites.get_mut(number) else { return self.remove(index) };
        if site.waiting.is_empty() && site.idle.len() >= self.settings.max_idle_conns_per_host {
            return self.remove(index);
        }
        let place = self.next_idle;
        self.next_idle += 1;
        if let Some(conn) = self.conns.get_mut(index) {
            let keep = self.settings.idle_conn_timeout;
            conn.limit = if keep.is_zero() { Mono::NEVER } else { cx.now() + keep };
            conn.idle = Some(place);
            site.idle.insert((place, index));
            self.idle.insert(place, index);
        }
        self.note(index);
        self.pending.push(number);
        if self.idle.len() > self.settings.max_idle_conns
            && let Some(oldest) = self.idle.first_key_value().map(|(_, index)| *index)
        {
            self.remove(oldest);
        }
    }

    /// Removes a connection from the idle ones.
    fn wake(&mut self, index: usize) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        let Some(place) = conn.idle.take() else { return };
        self.idle.remove(&place);
        if let Some(site) = self.sites.get_mut(conn.site) {
            site.idle.remove(&(place, index));
        }
    }

    fn remove(&mut self, index: usize) {
        self.wake(index);
        self.due.set(Timed::Conn(index), None);
        let Some(mut conn) = self.conns.try_remove(index) else { return };
        conn.machine.io_mut().part();
        if let Some(site) = self.sites.get_mut(conn.site) {
            site.open -= 1;
        }
        self.pending.push(conn.site);
    }

    // ---- time ---------------------------------------------------------------------------------------------------

    /// Some deadlines have passed. The timer stays due while there are more than a turn allows.
    fn fire(&mut self, cx: &mut Cx<'_>) {
        self.timer = None;
        let now = cx.now();
        for _ in 0..BEGUN_A_TURN {
            let Some(timed) = self.due.pop_due(now) else { break };
            match timed {
                Timed::Conn(index) => {
                    self.expire(cx, index);
                    self.note(index);
                }
                Timed::Site(number) => {
                    let late = self.sites.get_mut(number).and_then(|site| site.waiting.pop_due(now));
                    if let Some(call) = late {
                        self.done.push_back((call.token, Err(call.late())));
                    }
                    let next = self.sites.get(number).and_then(|site| site.waiting.first_due());
                    self.due.set(timed, next);
                    self.pending.push(number);
                    continue;
                }
            }
            // It has been run; if it is still due, it is run again in the next turn.
            if self.due.is_due(timed, now) {
                self.due.set(timed, Some(now + Duration::from_nanos(1)));
            }
        }
    }

    /// A deadline of a connection has passed.
    fn expire(&mut self, cx: &mut Cx<'_>, index: usize) {
        let now = cx.now();
        let Some(conn) = self.conns.get_mut(index) else { return };
        if conn.machine.poll_timeout().is_some_and(|at| at <= now.0) {
            return self.turn(cx, index);
        }
        match &conn.phase {
            Phase::Dial(_) => {
                let why = format!("dial tcp {}: i/o timeout", conn.peer);
                self.next_address(cx, index, &why);
            }
            phase => {
                let shaking = matches!(phase, Phase::Shake);
                let call = conn.call.take();
                self.remove(index);
                if let Some(call) = call.filter(|_| shaking) {
                    self.fail(call, Fault::Network, "net/http: TLS handshake timeout");
                }
            }
        }
    }

    /// Keeps one timer at the earliest of all deadlines.
    fn rearm(&mut self, cx: &mut Cx<'_>) {
        if self.closed {
            return;
        }
        let due = self.due.first();
        if due != self.timer.map(|(at, _)| at) {
            if let Some((_, id)) = self.timer.take() {
                cx.cancel(id);
            }
            self.timer = due.map(|at| (at, cx.arm(self.base, at)));
        }
    }
}

impl Conn {
    /// Updates the phase of the connection.
    fn progress(&mut self, now: Mono, tunnelled: bool) {
        if matches!(self.phase, Phase::Dial(_)) && self.connected.get() {
            self.phase = Phase::Shake;
            self.limit = now + if tunnelled { TUNNEL } else { HANDSHAKE };
        }
        if matches!(self.phase, Phase::Shake) && self.machine.io().is_up() {
            self.phase = Phase::Up;
            self.limit = Mono::NEVER;
        }
    }

    fn due(&self) -> Option<Mono> {
        let due = self.machine.poll_timeout().map_or(self.limit, |at| Mono(at).min(self.limit));
        (due != Mono::NEVER).then_some(due)
    }
}

/// TLS for requests, loaded when it is first needed.
fn site_tls<'t>(
    slot: &'t mut Option<ClientTls>,
    cx: &mut Cx<'_>,
    settings: &TlsClient,
    log: &Logger,
) -> Result<&'t mut ClientTls, String> {
    match slot {
        Some(tls) => Ok(tls),
        None => Ok(slot.insert(ClientTls::load(cx, settings, &[b"http/1.1"], log.clone())?)),
    }
}

/// The same for connections to proxies. As in Go, it has the same authorities and certificate, and expects the proxy's
/// own name.
pub(crate) fn proxy_tls<'t>(
    slot: &'t mut Option<ClientTls>,
    cx: &mut Cx<'_>,
    settings: &TlsClient,
    log: &Logger,
) -> Result<&'t mut ClientTls, String> {
    site_tls(slot, cx, &TlsClient { server_name: None, ..settings.clone() }, log)
}

fn through(site: &Site, why: &str) -> String {
    if site.proxy.is_some() { format!("proxyconnect tcp: {why}") } else { why.to_owned() }
}

/// Go's message for a connection that could not be made.
fn dial_text(why: &Closed) -> String {
    match why {
        Closed::Io(kind) => format!("connect: {}", system_text(*kind)),
        other => other.to_string(),
    }
}

/// Go's message for a connection that failed during an exchange.
fn exchange_text(why: &Closed, peer: SocketAddr) -> String {
    use std::io::ErrorKind::{BrokenPipe, UnexpectedEof};
    match why {
        Closed::Peer | Closed::Io(UnexpectedEof) => "EOF".to_owned(),
        Closed::Io(BrokenPipe) => format!("write tcp {peer}: write: broken pipe"),
        Closed::Io(kind) => format!("read tcp {peer}: read: {}", system_text(*kind)),
        Closed::Protocol(what) => format!("net/http: HTTP/1.x transport connection broken: {what}"),
        other => other.to_string(),
    }
}

/// The C library's message, which Go uses too.
fn system_text(kind: std::io::ErrorKind) -> String {
    use std::io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, TimedOut,
    };
    match kind {
        ConnectionRefused => "connection refused".to_owned(),
        ConnectionReset => "connection reset by peer".to_owned(),
        ConnectionAborted => "software caused connection abort".to_owned(),
        HostUnreachable => "no route to host".to_owned(),
        NetworkUnreachable => "network is unreachable".to_owned(),
        TimedOut => "connection timed out".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
