//! An HTTP/1.1 client: each connection carries one request at a time and is kept between requests.
//!
//! ```text
//!  request -> idle connection, newest first ------------------------------+-> exchange -> idle -> (too old, closed)
//!     |                                                                    |
//!     +-> (waits below max_conns_per_host) -> look-up -> address by address -> TLS, tunnel
//! ```
//! If a request fails on a reused connection before a byte of the response has arrived, it is sent once more on a new
//! connection. Redirects that keep the method are followed. Responses, idle connections and cookies are bounded;
//! callers bound the number of requests. The cost of a request or an event grows with the logarithm of the number of
//! open connections and waiting requests, and one turn of the loop begins or fails no more than
//! [`MAX_REQUESTS_PER_TURN`] requests.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use otelcore_http::CloseReason;
use otelcore_http::h1::client::{ClientResponse, H1ClientConn, H1ClientConnConfig, RequestError, StartRequestError};
use otelcore_pipeline::{
    ClientAuth, Cx, Event, LogField, Logger, MonotonicTime, PeerAddr, StartError, Stream, TimerId,
};
use slab::Slab;

use crate::config::HttpClientConfig;
use crate::deadlines::{DeadlineQueue, WaitList};
use crate::proxy::{Proxy, ProxySelector, ProxyTunnel};
use crate::tls::{TlsClientConfig, TlsConnector};
use crate::url::Url;

mod cookies;
mod maybe_tls;
mod request;

use cookies::CookieJar;
use maybe_tls::{ConnectTracker, MaybeTlsStream};
use request::PendingRequest;
pub use request::{BodyParts, HeaderField, HttpErrorKind, HttpRequest, HttpRequestError, HttpResponse};

/// Go's `Dialer.Timeout` in its default transport, for all addresses of a name together.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);
/// The smallest part of it for each address.
const MIN_DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// Go's `TLSHandshakeTimeout`.
const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Go's time limit for a proxy's response to CONNECT, here together with the TLS handshake through the tunnel.
const PROXY_CONNECT_TIMEOUT: Duration = Duration::from_secs(60);

/// Requests that are begun or failed in one turn: a connection and its TLS handshake cost up to 100 us.
const MAX_REQUESTS_PER_TURN: usize = 64;

/// Whether the scheme is https, host and port: the key of an origin. They also decide which proxy is used.
type OriginKey = (bool, String, u16);

/// A scheme, host and port (RFC 9110, 4.3.1). Any connection to an origin can carry any request to it.
struct Origin {
    https: bool,
    host: String,
    port: u16,
    proxy: Option<Rc<Proxy>>,
    /// The number of connections, with those that are being made.
    connections: usize,
    waiting: WaitList<PendingRequest>,
    /// Connections without a request, by when they were used last.
    idle: BTreeSet<(u64, usize)>,
    is_resolving: bool,
    /// Why the last look-up failed, as long as there are requests to fail because of it.
    resolve_error: Option<String>,
    /// The result of the look-up, while it is being used.
    addresses: Option<Rc<[SocketAddr]>>,
}

/// Addresses that are being tried.
struct DialState {
    addresses: Rc<[SocketAddr]>,
    address_index: usize,
    /// The deadline for all of them.
    deadline: MonotonicTime,
    /// The first failure, which is the one that is reported, as in Go.
    first_error: Option<String>,
}

enum ConnPhase {
    Dialing(DialState),
    /// Connected; the TLS handshake or the proxy's tunnel is not complete yet.
    Handshaking,
    Established,
}

struct PooledConn {
    origin: usize,
    peer: SocketAddr,
    machine: Box<H1ClientConn<MaybeTlsStream>>,
    connected: Rc<Cell<bool>>,
    phase: ConnPhase,
    /// The deadline of the phase; for an idle connection, when it is closed.
    deadline: MonotonicTime,
    /// The request that it carries; `None` while it is idle.
    request: Option<PendingRequest>,
    /// Its key in the maps of idle connections.
    idle_order: Option<u64>,
}

/// What has a deadline.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum DeadlineKey {
    Conn(usize),
    /// A request that waits at this origin.
    Origin(usize),
}

/// A request that got no connection.
type FailedRequest = (u64, HttpRequestError);

/// Why there is no connection.
enum ConnectError {
    /// This address failed; the next one is tried.
    AddressFailed(String),
    /// No address can succeed.
    Fatal(String),
}

/// The client. It uses the component's local keys from `base` on: `base` for its timer, odd numbers above it for
/// connections, even ones for look-ups.
pub struct HttpClient {
    settings: Rc<HttpClientConfig>,
    conn_config: Rc<H1ClientConnConfig>,
    log: Logger,
    base: u64,
    auth: Option<Rc<dyn ClientAuth>>,
    tls: Option<TlsConnector>,
    /// For connections to proxies.
    proxy_tls: Option<TlsConnector>,
    proxies: ProxySelector,
    cookie_jar: Option<CookieJar>,
    origins: Slab<Origin>,
    origin_by_key: BTreeMap<OriginKey, usize>,
    conns: Slab<PooledConn>,
    /// Connections without a request, by when they were used last.
    idle: BTreeMap<u64, usize>,
    next_idle_order: u64,
    deadlines: DeadlineQueue<DeadlineKey>,
    /// Requests that may still be started before the next turn.
    requests_left: usize,
    /// Another turn has been requested.
    turn_requested: bool,
    /// Origins that wait for that turn.
    postponed_origins: BTreeSet<usize>,
    /// Origins to process before the end of the turn.
    pending_origins: Vec<usize>,
    results: VecDeque<(u64, Result<HttpResponse, HttpRequestError>)>,
    timer: Option<(MonotonicTime, TimerId)>,
    closed: bool,
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (open, idle) = (self.conns.len(), self.idle.len());
        f.debug_struct("HttpClient").field("open", &open).field("idle", &idle).finish_non_exhaustive()
    }
}

impl HttpClient {
    /// A client that sends no request before [`HttpClient::start`].
    #[must_use]
    pub fn new(settings: Rc<HttpClientConfig>, auth: Option<Rc<dyn ClientAuth>>, log: Logger, base: u64) -> Self {
        let conn_config =
            Rc::new(H1ClientConnConfig { read_budget: settings.read_buffer_size, ..H1ClientConnConfig::default() });
        let cookie_jar = settings.cookies.then(CookieJar::default);
        Self {
            settings,
            conn_config,
            log,
            base,
            auth,
            tls: None,
            proxy_tls: None,
            proxies: ProxySelector::default(),
            cookie_jar,
            origins: Slab::new(),
            origin_by_key: BTreeMap::new(),
            conns: Slab::new(),
            idle: BTreeMap::new(),
            next_idle_order: 0,
            deadlines: DeadlineQueue::default(),
            requests_left: MAX_REQUESTS_PER_TURN,
            turn_requested: false,
            postponed_origins: BTreeSet::new(),
            pending_origins: Vec::new(),
            results: VecDeque::new(),
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
            "" => ProxySelector::from_env(|name| cx.env_var(name)),
            url => ProxySelector::fixed(Proxy::parse(url).map_err(|e| StartError(format!("proxy_url: {e}")))?),
        };
        for url in urls {
            let proxy = self.proxies.find(url.is_https(), url.host(), url.port()).map_err(StartError)?;
            if proxy.is_some_and(|p| p.is_https()) {
                proxy_tls(&mut self.proxy_tls, cx, &self.settings.tls, &self.log).map_err(StartError)?;
            }
            if url.is_https() {
                origin_tls(&mut self.tls, cx, &self.settings.tls, &self.log).map_err(StartError)?;
            }
        }
        Ok(())
    }

    /// Begins a request; [`HttpClient::poll_result`] returns its result.
    pub fn start_request(&mut self, cx: &mut Cx<'_>, token: u64, request: HttpRequest) {
        let request = PendingRequest::new(token, request);
        if self.closed {
            let error = request.error(HttpErrorKind::Closed, "the client is closed");
            return self.results.push_back((token, Err(error)));
        }
        self.enqueue(cx, request);
        self.assign_requests(cx);
    }

    /// The next request that ended.
    pub fn poll_result(&mut self) -> Option<(u64, Result<HttpResponse, HttpRequestError>)> {
        self.results.pop_front()
    }

    /// Handles an event under one of its keys.
    pub fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>) {
        let Some(number) = local.checked_sub(self.base).and_then(|n| usize::try_from(n).ok()) else { return };
        match (number, event) {
            (0, Event::Ready) => {
                self.turn_requested = false;
                self.requests_left = MAX_REQUESTS_PER_TURN;
                self.pending_origins.extend(std::mem::take(&mut self.postponed_origins));
            }
            (0, _) => self.handle_timer(cx),
            (_, Event::Resolved(result)) => self.handle_resolved(cx, (number - 1) / 2, result),
            _ => self.poll_connection(cx, (number - 1) / 2),
        }
        self.assign_requests(cx);
    }

    /// Closes every connection. Requests in progress fail.
    pub fn close(&mut self, cx: &mut Cx<'_>) {
        self.closed = true;
        let conns = std::mem::take(&mut self.conns).into_iter().filter_map(|(_, mut conn)| {
            conn.machine.io_mut().shutdown_write();
            conn.request.take()
        });
        let origins = self.origins.iter_mut();
        let waiting = origins.flat_map(|(_, origin)| std::iter::from_fn(|| origin.waiting.pop_front()));
        for request in conns.chain(waiting) {
            let error = request.error(HttpErrorKind::Closed, "the client is closed");
            self.results.push_back((request.token, Err(error)));
        }
        self.origins.clear();
        self.origin_by_key.clear();
        self.idle.clear();
        self.deadlines.clear();
        self.pending_origins.clear();
        self.postponed_origins.clear();
        if let Some((_, id)) = self.timer.take() {
            cx.cancel_timer(id);
        }
    }

    // ---- requests -----------------------------------------------------------------------------------------------

    /// Writes a request's head and adds the request to those that wait for a connection of its origin.
    fn enqueue(&mut self, cx: &mut Cx<'_>, mut request: PendingRequest) {
        let url = request.request.url.clone();
        let proxy = match self.proxies.find(url.is_https(), url.host(), url.port()) {
            Ok(proxy) => proxy.cloned(),
            Err(why) => return self.fail_request(request, HttpErrorKind::InvalidRequest, why),
        };
        let credentials = match &self.auth {
            Some(auth) if request.sends_credentials() => match auth.headers(cx) {
                Ok(credentials) => credentials,
                Err(why) => return self.fail_request(request, HttpErrorKind::InvalidRequest, why),
            },
            _ => Vec::new(),
        };
        let cookies = self.cookie_jar.as_mut().and_then(|jar| jar.get(cx.wall_time(), &url));
        let plaintext_proxy = proxy.as_deref().filter(|_| !url.is_https());
        if let Err(why) = request.write_head(&self.settings, cookies, credentials, plaintext_proxy) {
            return self.fail_request(request, HttpErrorKind::InvalidRequest, why);
        }
        let key = (url.is_https(), url.host().to_owned(), url.port());
        let number = match self.origin_by_key.get(&key) {
            Some(number) => *number,
            None => {
                let number = self.origins.insert(Origin {
                    https: url.is_https(),
                    host: url.host().to_owned(),
                    port: url.port(),
                    proxy,
                    connections: 0,
                    waiting: WaitList::default(),
                    idle: BTreeSet::new(),
                    is_resolving: false,
                    resolve_error: None,
                    addresses: None,
                });
                self.origin_by_key.insert(key, number);
                number
            }
        };
        if let Some(origin) = self.origins.get_mut(number) {
            origin.waiting.push_back(request.request.deadline, request);
        }
        self.pending_origins.push(number);
    }

    fn fail_request(&mut self, request: PendingRequest, kind: HttpErrorKind, why: impl Into<String>) {
        let error = request.error(kind, why);
        self.log.debug("Request failed", &[("error", LogField::Str(&error.to_string()))]);
        self.results.push_back((request.token, Err(error)));
    }

    fn handle_response(&mut self, cx: &mut Cx<'_>, mut request: PendingRequest, reply: ClientResponse) {
        if let Some(cookie_jar) = &mut self.cookie_jar {
            for (_, field) in reply.head.headers().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie")) {
                cookie_jar.set(cx.wall_time(), &request.request.url, field);
            }
        }
        match request.follow_redirect(reply.status, reply.head.get("location")) {
            None => {
                let ClientResponse { status, head, body, .. } = reply;
                self.results.push_back((request.token, Ok(HttpResponse { status, body, head })));
            }
            Some(Ok(())) => self.enqueue(cx, request),
            Some(Err(error)) => self.results.push_back((request.token, Err(error))),
        }
    }

    // ---- origins ------------------------------------------------------------------------------------------------

    /// Assigns waiting requests to connections, until no more can be assigned.
    fn assign_requests(&mut self, cx: &mut Cx<'_>) {
        while let Some(number) = self.pending_origins.pop() {
            self.serve_origin(cx, number);
        }
        self.update_timer(cx);
    }

    fn serve_origin(&mut self, cx: &mut Cx<'_>, number: usize) {
        let postponed = self.start_waiting_requests(cx, number);
        let Some(origin) = self.origins.get_mut(number) else { return };
        if postponed {
            self.postponed_origins.insert(number);
            if !self.turn_requested {
                self.turn_requested = true;
                cx.request_ready(self.base);
            }
        } else {
            // A later request looks up the name again.
            (origin.addresses, origin.resolve_error) = (None, None);
        }
        self.deadlines.set(DeadlineKey::Origin(number), origin.waiting.next_deadline());
        if origin.connections == 0 && origin.waiting.is_empty() && !origin.is_resolving && !postponed {
            let origin = self.origins.remove(number);
            self.origin_by_key.remove(&(origin.https, origin.host, origin.port));
        }
    }

    /// Begins requests of an origin while there are connections for them. True if some are left because the limit of
    /// the turn is reached.
    fn start_waiting_requests(&mut self, cx: &mut Cx<'_>, number: usize) -> bool {
        let max_conns = match self.settings.max_conns_per_host {
            0 => usize::MAX,
            limit => limit,
        };
        loop {
            let Some(origin) = self.origins.get_mut(number) else { return false };
            let Some(first) = origin.waiting.front() else { return false };
            let resent = first.resent;
            if self.requests_left == 0 {
                return true;
            }
            if let Some(why) = origin.resolve_error.clone() {
                self.requests_left -= 1;
                if let Some(request) = origin.waiting.pop_front() {
                    self.fail_request(request, HttpErrorKind::Network, why);
                }
                continue;
            }
            let idle = origin.idle.last().map(|(_, index)| *index);
            match idle {
                Some(index) if !resent => {
                    self.requests_left -= 1;
                    let request = origin.waiting.pop_front();
                    self.remove_from_idle(index);
                    if let Some(request) = request {
                        self.start_on_reused(cx, index, request);
                    }
                    continue;
                }
                // Makes room for the new connection.
                Some(index) if origin.connections >= max_conns => {
                    self.remove_connection(index);
                    continue;
                }
                None if origin.connections >= max_conns => return false,
                _ => {}
            }
            match origin.addresses.clone() {
                Some(addresses) => {
                    self.requests_left -= 1;
                    if let Some(request) = origin.waiting.pop_front() {
                        self.start_on_new(cx, number, request, addresses);
                    }
                }
                None if origin.is_resolving => return false,
                None => {
                    origin.is_resolving = true;
                    let (host, port) = match &origin.proxy {
                        Some(proxy) => (proxy.host(), proxy.port()),
                        None => (origin.host.as_str(), origin.port),
                    };
                    cx.resolve(self.base + 2 + 2 * number as u64, host, port);
                    return false;
                }
            }
        }
    }

    fn handle_resolved(&mut self, cx: &mut Cx<'_>, number: usize, result: &Result<Vec<SocketAddr>, String>) {
        let Some(origin) = self.origins.get_mut(number) else { return };
        origin.is_resolving = false;
        let why = match result {
            Ok(addresses) if !addresses.is_empty() => {
                origin.addresses = Some(addresses.as_slice().into());
                return self.serve_origin(cx, number);
            }
            Ok(_) => format!("lookup {}: no such host", origin.host),
            Err(why) => why.clone(),
        };
        let prefix = if origin.proxy.is_some() { "proxyconnect tcp: " } else { "" };
        origin.resolve_error = Some(format!("{prefix}dial tcp: {why}"));
        self.serve_origin(cx, number);
    }

    // ---- connections --------------------------------------------------------------------------------------------

    fn conn_key(&self, index: usize) -> u64 {
        self.base + 1 + 2 * index as u64
    }

    /// Begins a request on a connection that has carried one before.
    fn start_on_reused(&mut self, cx: &mut Cx<'_>, index: usize, request: PendingRequest) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        match conn.machine.start(cx.now().0, request.as_outgoing()) {
            Ok(()) => {
                conn.deadline = MonotonicTime::NEVER;
                conn.request = Some(request);
                self.poll_connection(cx, index);
                self.update_deadline(index);
            }
            Err(why @ StartRequestError::Request(_)) => {
                self.results.push_back((request.token, Err(request.invalid_request(why))));
                self.keep_idle(cx, index);
            }
            Err(_) => {
                if let Some(origin) = self.origins.get_mut(conn.origin) {
                    origin.waiting.push_front(request.request.deadline, request);
                }
                self.remove_connection(index);
            }
        }
    }

    /// Updates when a connection must be run next.
    fn update_deadline(&mut self, index: usize) {
        self.deadlines.set(DeadlineKey::Conn(index), self.conns.get(index).and_then(PooledConn::next_deadline));
    }

    /// Begins a request on a new connection.
    fn start_on_new(&mut self, cx: &mut Cx<'_>, number: usize, request: PendingRequest, addresses: Rc<[SocketAddr]>) {
        let deadline = (cx.now() + DIAL_TIMEOUT).min(request.request.deadline);
        let dial = DialState { addresses, address_index: 0, deadline, first_error: None };
        let index = self.conns.vacant_key();
        match self.try_addresses(cx, index, number, dial, request) {
            Ok(conn) => {
                self.conns.insert(conn);
                self.update_deadline(index);
                if let Some(origin) = self.origins.get_mut(number) {
                    origin.connections += 1;
                }
            }
            Err((token, error)) => self.results.push_back((token, Err(error))),
        }
    }

    /// Tries addresses until a connection attempt is in progress.
    fn try_addresses(
        &mut self,
        cx: &mut Cx<'_>,
        index: usize,
        number: usize,
        mut dial: DialState,
        request: PendingRequest,
    ) -> Result<PooledConn, FailedRequest> {
        let now = cx.now();
        let failed =
            |request: &PendingRequest, why: String| Err((request.token, request.error(HttpErrorKind::Network, why)));
        while let Some(peer) = dial.addresses.get(dial.address_index).copied() {
            let (stream, connected) = match self.open_stream(cx, index, number, peer) {
                Ok(stream) => stream,
                Err(ConnectError::Fatal(why)) => return failed(&request, why),
                Err(ConnectError::AddressFailed(why)) => {
                    dial.first_error.get_or_insert(why);
                    dial.address_index += 1;
                    continue;
                }
            };
            let mut machine = Box::new(H1ClientConn::new(stream, self.conn_config.clone(), now.0));
            if let Err(why) = machine.start(now.0, request.as_outgoing()) {
                return Err((request.token, request.invalid_request(why)));
            }
            let result = machine.flush(now.0);
            if result.poll_again || result.closed {
                cx.request_ready(self.conn_key(index));
            }
            // The time that is left is divided equally among the addresses that are left.
            let time_left = dial.deadline.since(now);
            let addresses_left = u32::try_from(dial.addresses.len() - dial.address_index).unwrap_or(u32::MAX);
            let deadline = now + (time_left / addresses_left).max(MIN_DIAL_TIMEOUT).min(time_left);
            let phase = ConnPhase::Dialing(dial);
            return Ok(PooledConn {
                origin: number,
                peer,
                machine,
                connected,
                phase,
                deadline,
                request: Some(request),
                idle_order: None,
            });
        }
        failed(&request, dial.first_error.unwrap_or_else(|| "dial tcp: i/o timeout".to_owned()))
    }

    /// Begins a connection, with the proxy and TLS layers above the socket.
    fn open_stream(
        &mut self,
        cx: &mut Cx<'_>,
        index: usize,
        number: usize,
        peer: SocketAddr,
    ) -> Result<(MaybeTlsStream, Rc<Cell<bool>>), ConnectError> {
        let key = self.conn_key(index);
        let Some(origin) = self.origins.get(number) else { return Err(ConnectError::Fatal("no site".to_owned())) };
        let io = cx
            .connect(key, &PeerAddr::Ip(peer))
            .map_err(|e| ConnectError::AddressFailed(with_proxy_prefix(origin, &e.to_string())))?;
        let (socket, connected) = ConnectTracker::new(io);
        let settings = &self.settings.tls;
        let stream = match &origin.proxy {
            None if !origin.https => MaybeTlsStream::Plain(Box::new(socket)),
            None => {
                let tls = origin_tls(&mut self.tls, cx, settings, &self.log).map_err(ConnectError::Fatal)?;
                MaybeTlsStream::new_tls(tls.connect(cx, Box::new(socket), &origin.host).map_err(ConnectError::Fatal)?)
            }
            Some(proxy) => {
                let proxy_stream = if proxy.is_https() {
                    let tls = proxy_tls(&mut self.proxy_tls, cx, settings, &self.log).map_err(ConnectError::Fatal)?;
                    MaybeTlsStream::new_tls(
                        tls.connect(cx, Box::new(socket), proxy.host()).map_err(ConnectError::Fatal)?,
                    )
                } else {
                    MaybeTlsStream::Plain(Box::new(socket))
                };
                if origin.https {
                    let proxy_stream: Box<dyn Stream> = match proxy_stream {
                        MaybeTlsStream::Plain(io) => io,
                        MaybeTlsStream::Tls(tls, _) => tls,
                    };
                    let tunnel = ProxyTunnel::new(proxy_stream, proxy, &origin.host, origin.port);
                    let tls = origin_tls(&mut self.tls, cx, settings, &self.log).map_err(ConnectError::Fatal)?;
                    MaybeTlsStream::new_tls(
                        tls.connect(cx, Box::new(tunnel), &origin.host).map_err(ConnectError::Fatal)?,
                    )
                } else {
                    proxy_stream
                }
            }
        };
        Ok((stream, connected))
    }

    /// Runs a connection for one turn, and updates when it must be run next.
    fn poll_connection(&mut self, cx: &mut Cx<'_>, index: usize) {
        self.poll_protocol(cx, index);
        self.update_deadline(index);
    }

    fn poll_protocol(&mut self, cx: &mut Cx<'_>, index: usize) {
        let now = cx.now();
        let key = self.conn_key(index);
        let Some(conn) = self.conns.get_mut(index) else { return };
        let result = conn.machine.poll(now.0);
        if result.poll_again {
            cx.request_ready(key);
        }
        let is_tunnelled = self.origins.get(conn.origin).is_some_and(|s| s.proxy.is_some() && s.https);
        conn.update_phase(now, is_tunnelled);
        match conn.machine.poll_response() {
            Some(Ok(reply)) => {
                let request = conn.request.take();
                if result.closed || self.settings.disable_keep_alives {
                    self.remove_connection(index);
                } else {
                    self.keep_idle(cx, index);
                }
                if let Some(request) = request {
                    self.handle_response(cx, request, reply);
                }
            }
            Some(Err(failure)) => self.handle_failure(cx, index, &failure),
            None if result.closed => self.remove_connection(index),
            None => {}
        }
    }

    /// A request on this connection has failed, and the connection with it.
    fn handle_failure(&mut self, cx: &mut Cx<'_>, index: usize, failure: &RequestError) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        let Some(mut request) = conn.request.take() else { return self.remove_connection(index) };
        if matches!(failure.close_reason, CloseReason::Timeout(_)) {
            self.remove_connection(index);
            return self.results.push_back((request.token, Err(request.timeout_error())));
        }
        let peer = conn.peer;
        // If the peer closed the connection, its address was reached, so the next address is not tried.
        let reached = failure.close_reason == CloseReason::Peer;
        match &conn.phase {
            ConnPhase::Dialing(_) if !reached => {
                let why = format!("dial tcp {peer}: {}", dial_error_text(&failure.close_reason));
                conn.request = Some(request);
                self.try_next_address(cx, index, &why);
            }
            ConnPhase::Established | ConnPhase::Dialing(_) if failure.may_retry() && !request.resent => {
                request.resent = true;
                if let Some(origin) = self.origins.get_mut(conn.origin) {
                    origin.waiting.push_front(request.request.deadline, request);
                }
                self.remove_connection(index);
            }
            _ => {
                let why =
                    conn.machine.io().layer_error().unwrap_or_else(|| exchange_error_text(&failure.close_reason, peer));
                self.remove_connection(index);
                self.fail_request(request, HttpErrorKind::Network, why);
            }
        }
    }

    /// An address could not be reached.
    fn try_next_address(&mut self, cx: &mut Cx<'_>, index: usize, why: &str) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        let number = conn.origin;
        let phase = std::mem::replace(&mut conn.phase, ConnPhase::Established);
        let (ConnPhase::Dialing(mut dial), Some(request), Some(origin)) =
            (phase, conn.request.take(), self.origins.get(number))
        else {
            return self.remove_connection(index);
        };
        self.log.debug("Connection failed", &[("error", LogField::Str(why))]);
        dial.first_error.get_or_insert_with(|| with_proxy_prefix(origin, why));
        dial.address_index += 1;
        match self.try_addresses(cx, index, number, dial, request) {
            Ok(next) => {
                if let Some(conn) = self.conns.get_mut(index) {
                    *conn = next;
                }
                self.update_deadline(index);
            }
            Err((token, error)) => {
                self.results.push_back((token, Err(error)));
                self.remove_connection(index);
            }
        }
    }

    /// Keeps a connection for the next request, if it may be kept.
    fn keep_idle(&mut self, cx: &mut Cx<'_>, index: usize) {
        let Some(number) = self.conns.get(index).map(|c| c.origin) else { return };
        let Some(origin) = self.origins.get_mut(number) else { return self.remove_connection(index) };
        if origin.waiting.is_empty() && origin.idle.len() >= self.settings.max_idle_conns_per_host {
            return self.remove_connection(index);
        }
        let idle_order = self.next_idle_order;
        self.next_idle_order += 1;
        if let Some(conn) = self.conns.get_mut(index) {
            let idle_timeout = self.settings.idle_conn_timeout;
            conn.deadline = if idle_timeout.is_zero() { MonotonicTime::NEVER } else { cx.now() + idle_timeout };
            conn.idle_order = Some(idle_order);
            origin.idle.insert((idle_order, index));
            self.idle.insert(idle_order, index);
        }
        self.update_deadline(index);
        self.pending_origins.push(number);
        if self.idle.len() > self.settings.max_idle_conns
            && let Some(oldest) = self.idle.first_key_value().map(|(_, index)| *index)
        {
            self.remove_connection(oldest);
        }
    }

    /// Removes a connection from the idle ones.
    fn remove_from_idle(&mut self, index: usize) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        let Some(idle_order) = conn.idle_order.take() else { return };
        self.idle.remove(&idle_order);
        if let Some(origin) = self.origins.get_mut(conn.origin) {
            origin.idle.remove(&(idle_order, index));
        }
    }

    fn remove_connection(&mut self, index: usize) {
        self.remove_from_idle(index);
        self.deadlines.set(DeadlineKey::Conn(index), None);
        let Some(mut conn) = self.conns.try_remove(index) else { return };
        conn.machine.io_mut().shutdown_write();
        if let Some(origin) = self.origins.get_mut(conn.origin) {
            origin.connections -= 1;
        }
        self.pending_origins.push(conn.origin);
    }

    // ---- time ---------------------------------------------------------------------------------------------------

    /// Some deadlines have passed. The timer stays due while there are more than a turn allows.
    fn handle_timer(&mut self, cx: &mut Cx<'_>) {
        self.timer = None;
        let now = cx.now();
        for _ in 0..MAX_REQUESTS_PER_TURN {
            let Some(key) = self.deadlines.pop_due(now) else { break };
            match key {
                DeadlineKey::Conn(index) => {
                    self.handle_expired(cx, index);
                    self.update_deadline(index);
                }
                DeadlineKey::Origin(number) => {
                    let late = self.origins.get_mut(number).and_then(|origin| origin.waiting.pop_due(now));
                    if let Some(request) = late {
                        self.results.push_back((request.token, Err(request.timeout_error())));
                    }
                    let next = self.origins.get(number).and_then(|origin| origin.waiting.next_deadline());
                    self.deadlines.set(key, next);
                    self.pending_origins.push(number);
                    continue;
                }
            }
            // It has been run; if it is still due, it is run again in the next turn.
            if self.deadlines.is_due(key, now) {
                self.deadlines.set(key, Some(now + Duration::from_nanos(1)));
            }
        }
    }

    /// A deadline of a connection has passed.
    fn handle_expired(&mut self, cx: &mut Cx<'_>, index: usize) {
        let now = cx.now();
        let Some(conn) = self.conns.get_mut(index) else { return };
        if conn.machine.poll_timeout().is_some_and(|at| at <= now.0) {
            return self.poll_connection(cx, index);
        }
        match &conn.phase {
            ConnPhase::Dialing(_) => {
                let why = format!("dial tcp {}: i/o timeout", conn.peer);
                self.try_next_address(cx, index, &why);
            }
            phase => {
                let is_handshaking = matches!(phase, ConnPhase::Handshaking);
                let request = conn.request.take();
                self.remove_connection(index);
                if let Some(request) = request.filter(|_| is_handshaking) {
                    self.fail_request(request, HttpErrorKind::Network, "net/http: TLS handshake timeout");
                }
            }
        }
    }

    /// Keeps one timer at the earliest of all deadlines.
    fn update_timer(&mut self, cx: &mut Cx<'_>) {
        if self.closed {
            return;
        }
        let deadline = self.deadlines.next_deadline();
        if deadline != self.timer.map(|(at, _)| at) {
            if let Some((_, id)) = self.timer.take() {
                cx.cancel_timer(id);
            }
            self.timer = deadline.map(|at| (at, cx.set_timer(self.base, at)));
        }
    }
}

impl PooledConn {
    /// Updates the phase of the connection.
    fn update_phase(&mut self, now: MonotonicTime, is_tunnelled: bool) {
        if matches!(self.phase, ConnPhase::Dialing(_)) && self.connected.get() {
            self.phase = ConnPhase::Handshaking;
            self.deadline = now + if is_tunnelled { PROXY_CONNECT_TIMEOUT } else { TLS_HANDSHAKE_TIMEOUT };
        }
        if matches!(self.phase, ConnPhase::Handshaking) && self.machine.io().is_handshake_done() {
            self.phase = ConnPhase::Established;
            self.deadline = MonotonicTime::NEVER;
        }
    }

    fn next_deadline(&self) -> Option<MonotonicTime> {
        let deadline = self.machine.poll_timeout().map_or(self.deadline, |at| MonotonicTime(at).min(self.deadline));
        (deadline != MonotonicTime::NEVER).then_some(deadline)
    }
}

/// TLS for connections to origins, loaded when it is first needed.
fn origin_tls<'t>(
    slot: &'t mut Option<TlsConnector>,
    cx: &mut Cx<'_>,
    settings: &TlsClientConfig,
    log: &Logger,
) -> Result<&'t mut TlsConnector, String> {
    match slot {
        Some(tls) => Ok(tls),
        None => Ok(slot.insert(TlsConnector::load(cx, settings, &[b"http/1.1"], log.clone())?)),
    }
}

/// The same for connections to proxies. As in Go, it has the same authorities and certificate, and expects the proxy's
/// own name.
pub(crate) fn proxy_tls<'t>(
    slot: &'t mut Option<TlsConnector>,
    cx: &mut Cx<'_>,
    settings: &TlsClientConfig,
    log: &Logger,
) -> Result<&'t mut TlsConnector, String> {
    origin_tls(slot, cx, &TlsClientConfig { server_name: None, ..settings.clone() }, log)
}

fn with_proxy_prefix(origin: &Origin, why: &str) -> String {
    if origin.proxy.is_some() { format!("proxyconnect tcp: {why}") } else { why.to_owned() }
}

/// Go's message for a connection that could not be made.
fn dial_error_text(why: &CloseReason) -> String {
    match why {
        CloseReason::Io(kind) => format!("connect: {}", system_error_text(*kind)),
        other => other.to_string(),
    }
}

/// Go's message for a connection that failed during an exchange.
fn exchange_error_text(why: &CloseReason, peer: SocketAddr) -> String {
    use std::io::ErrorKind::{BrokenPipe, UnexpectedEof};
    match why {
        CloseReason::Peer | CloseReason::Io(UnexpectedEof) => "EOF".to_owned(),
        CloseReason::Io(BrokenPipe) => format!("write tcp {peer}: write: broken pipe"),
        CloseReason::Io(kind) => format!("read tcp {peer}: read: {}", system_error_text(*kind)),
        CloseReason::Protocol(what) => format!("net/http: HTTP/1.x transport connection broken: {what}"),
        other => other.to_string(),
    }
}

/// The C library's message, which Go uses too.
fn system_error_text(kind: std::io::ErrorKind) -> String {
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
