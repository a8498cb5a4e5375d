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
use std::task::Poll;
use std::time::Duration;

use otelcore_http::CloseReason;
use otelcore_http::h1::ResponseHead;
use otelcore_http::h1::client::{ClientResponse, H1ClientConn, H1ClientConnConfig};
use otelcore_pipeline::{
    ClientAuth, Cx, Event, LogField, Logger, MonotonicTime, OutgoingHeaders, ResolveError, StartError, TimerId,
};
use slab::Slab;

use crate::config::{ClientProxy, HttpClientConfig};
use crate::deadlines::{DeadlineQueue, WaitList};
use crate::proxy::{Proxy, ProxySelector};
use crate::tls::TlsError;
use crate::url::Url;

mod client_tls;
mod connections;
mod cookies;
mod maybe_tls;
mod request;
mod streams;

use client_tls::ClientTls;
pub(crate) use client_tls::proxy_tls_config;
use cookies::CookieJar;
use maybe_tls::MaybeTlsStream;
use request::PendingRequest;
pub use request::{
    BodyParts, HeaderField, HttpErrorKind, HttpRequest, HttpRequestError, HttpResponse, HttpTimeouts, ResponseMode,
};
pub use streams::BodyRead;

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

impl From<TlsError> for ConnectError {
    fn from(e: TlsError) -> Self {
        Self::Fatal(e.to_string())
    }
}

/// The client. It uses the component's local keys from `base` on: `base` for its timer, odd numbers above it for
/// connections, even ones for look-ups.
pub struct HttpClient {
    settings: Rc<HttpClientConfig>,
    conn_config: Rc<H1ClientConnConfig>,
    log: Logger,
    base: u64,
    auth: Option<Rc<dyn ClientAuth>>,
    tls: ClientTls,
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
    streams: streams::Streams,
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
            Rc::new(H1ClientConnConfig { read_budget: settings.read_budget(), ..H1ClientConnConfig::default() });
        let cookie_jar = settings.cookies.is_on().then(CookieJar::default);
        let tls = ClientTls::new(&settings.tls, log.clone(), base);
        Self {
            settings,
            conn_config,
            log,
            base,
            auth,
            tls,
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
            streams: streams::Streams::default(),
            timer: None,
            closed: false,
        }
    }

    /// Finds the proxies, and loads certificates if one of the URLs of later requests needs them.
    ///
    /// # Errors
    /// Certificates or a proxy that can't be used.
    pub fn start(&mut self, cx: &mut Cx<'_>, urls: &[&Url]) -> Result<(), StartError> {
        let proxy_of = |url: &str| Proxy::parse(url).map_err(|e| StartError::Config(format!("proxy_url: {e}")));
        self.proxies = match (&self.settings.proxy, self.settings.proxy_url()) {
            (ClientProxy::None, _) | (ClientProxy::UrlExceptFor(_), "") => ProxySelector::default(),
            (ClientProxy::UrlOrEnvironment, "") => ProxySelector::from_env(|name| cx.env_var(name)),
            (ClientProxy::UrlExceptFor(hosts), url) if !hosts.is_empty() => {
                proxy_of(url)?;
                ProxySelector::from_env(|name| match name {
                    "HTTP_PROXY" | "HTTPS_PROXY" => Some(url.to_owned()),
                    "NO_PROXY" => Some(hosts.clone()),
                    _ => None,
                })
            }
            (_, url) => ProxySelector::fixed(proxy_of(url)?),
        };
        for url in urls {
            let proxy = self.proxies.find(url.is_https(), url.host(), url.port());
            let proxy = proxy.map_err(|e| StartError::Config(e.to_string()))?;
            self.tls.load_now(cx, url.is_https(), proxy.is_some_and(|p| p.is_https()))?;
        }
        Ok(())
    }

    /// Begins a request; [`HttpClient::poll_result`] returns its result. No other request in progress may have the same
    /// `token`.
    pub fn start_request(&mut self, cx: &mut Cx<'_>, token: u64, request: HttpRequest) {
        let request = PendingRequest::new(token, request);
        self.streams.begin(token);
        if self.closed {
            let error = request.error(HttpErrorKind::Closed, "the client is closed");
            return self.push_result(token, Err(error));
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
        let requests: Vec<PendingRequest> = conns.chain(waiting).collect();
        for request in requests {
            let error = request.error(HttpErrorKind::Closed, "the client is closed");
            if !self.streams.fail(request.token, error.clone()) {
                self.push_result(request.token, Err(error));
            }
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
            Err(e) => return self.fail_request(request, HttpErrorKind::InvalidRequest, e.to_string()),
        };
        let cookies = self.cookie_jar.as_mut().and_then(|jar| jar.get(cx.wall_time(), &url));
        let plaintext_proxy = proxy.as_deref().filter(|_| !url.is_https());
        let authorize = |headers: &mut OutgoingHeaders<'_>| match &self.auth {
            Some(auth) => auth.apply(cx, headers),
            None => Ok(()),
        };
        if let Err(why) = request.write_head(&self.settings, cookies, authorize, plaintext_proxy) {
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
        self.push_result(request.token, Err(error));
    }

    /// Adds the result of a request that has not been cancelled.
    fn push_result(&mut self, token: u64, result: Result<HttpResponse, HttpRequestError>) {
        if self.streams.end(token) {
            self.results.push_back((token, result));
        }
    }

    fn handle_response(&mut self, cx: &mut Cx<'_>, mut request: PendingRequest, reply: ClientResponse) {
        self.store_cookies(cx, &request, &reply.head);
        let location = reply.head.get("location").filter(|_| !self.settings.keeps_redirects);
        match request.follow_redirect(reply.status, location) {
            None => {
                let ClientResponse { status, head, body, .. } = reply;
                self.push_result(request.token, Ok(HttpResponse { status, body, head }));
            }
            Some(Ok(())) => self.enqueue(cx, request),
            Some(Err(error)) => self.push_result(request.token, Err(error)),
        }
    }

    fn store_cookies(&mut self, cx: &Cx<'_>, request: &PendingRequest, head: &ResponseHead) {
        let Some(cookie_jar) = &mut self.cookie_jar else { return };
        for (_, field) in head.headers().filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie")) {
            cookie_jar.set(cx.wall_time(), &request.request.url, field);
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
            if self.streams.is_cancelled(first.token) {
                self.streams.end(first.token);
                origin.waiting.pop_front();
                continue;
            }
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
            let proxy_is_https = origin.proxy.as_ref().is_some_and(|proxy| proxy.is_https());
            match self.tls.poll_load(cx, origin.https, proxy_is_https) {
                // The end of the job continues with this origin.
                Poll::Pending => {
                    self.postponed_origins.insert(number);
                    return false;
                }
                Poll::Ready(Err(e)) => {
                    origin.resolve_error = Some(e.to_string());
                    continue;
                }
                Poll::Ready(Ok(())) => {}
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

    fn handle_resolved(&mut self, cx: &mut Cx<'_>, number: usize, result: &Result<Vec<SocketAddr>, ResolveError>) {
        let Some(origin) = self.origins.get_mut(number) else { return };
        origin.is_resolving = false;
        let why = match result {
            Ok(addresses) if !addresses.is_empty() => {
                origin.addresses = Some(addresses.as_slice().into());
                return self.serve_origin(cx, number);
            }
            Ok(_) => format!("lookup {}: no such host", origin.host),
            Err(e) => e.to_string(),
        };
        let prefix = if origin.proxy.is_some() { "proxyconnect tcp: " } else { "" };
        origin.resolve_error = Some(format!("{prefix}dial tcp: {why}"));
        self.serve_origin(cx, number);
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
                        self.push_result(request.token, Err(request.timeout_error()));
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
                let Some(request) = request else { return };
                if is_handshaking {
                    return self.fail_request(request, HttpErrorKind::Network, "net/http: TLS handshake timeout");
                }
                let head = "net/http: timeout awaiting response headers";
                let idle = request.error(HttpErrorKind::Timeout, "no bytes of the body arrived in time");
                if request.collected.is_some() {
                    self.push_result(request.token, Err(idle));
                } else if !self.streams.fail(request.token, idle) {
                    self.fail_request(request, HttpErrorKind::Timeout, head);
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
            self.deadline = self.request.as_ref().map_or(MonotonicTime::NEVER, |request| request.head_deadline(now));
        }
    }

    fn next_deadline(&self) -> Option<MonotonicTime> {
        let deadline = self.machine.poll_timeout().map_or(self.deadline, |at| MonotonicTime(at).min(self.deadline));
        (deadline != MonotonicTime::NEVER).then_some(deadline)
    }
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
