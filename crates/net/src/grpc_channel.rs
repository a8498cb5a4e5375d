//! A gRPC channel: one target, the connections to its addresses, and the calls that wait for a connection.
//!
//! ```text
//!  look-up -> connecting -> ready -> (lost, GOAWAY) -> look-up ...
//!                 |
//!                 +-> all addresses failed -> pause (1 s, x1.6, at most 120 s, +-20 %) -> look-up ...
//! ```
//! `pick_first` keeps one connection and tries the addresses in order; when it has ended, the addresses of a new look-up,
//! for which it waits a second at most. `round_robin` keeps one to each address and uses
//! them in rotation. A call waits while a connection is being made; when none can be made it fails UNAVAILABLE, unless
//! it waits for ready. A call that the peer has certainly not processed is sent again once, without a request of the
//! caller.
//!
//! Any number of calls may wait: each costs time that grows with the logarithm of their number. In one turn of the loop
//! a channel begins no more than [`MAX_CALLS_PER_TURN`] calls and compresses no more than [`MAX_COMPRESSED_PER_TURN`]
//! bytes; then it requests another turn. Messages above [`MAX_INLINE_COMPRESSION`] are compressed on a helper thread.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};
use otelcore_http::grpc::CallId;
use otelcore_http::grpc::client::{GrpcClientConn, GrpcClientConnConfig, OutgoingCall};
use otelcore_http::{Bytes, CloseReason, Code, Status, Workspace};
use otelcore_pipeline::{
    ClientAuth, CredentialsUnavailable, Cx, Event, JobResult, LogField, Logger, Metadata, MonotonicTime, OutgoingField,
    OutgoingHeaders, PeerAddr, RequestProtocol, ResolveError, StartError, Stream, TimerId,
};
use smallvec::SmallVec;

use crate::GrpcTarget;
use crate::config::{Balancer, GrpcChannelConfig, Headers};
use crate::deadlines::{DeadlineQueue, WaitList};
use crate::http_client::proxy_tls_config;
use crate::proxy::{Proxy, ProxySelector, ProxyTunnel};
use crate::tls::{TlsClientConfig, TlsConnector};

/// grpc-go's time limit for one connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a channel whose connection has ended waits for the look-up before it tries the addresses that it has.
const LOOKUP_WAIT: Duration = Duration::from_secs(1);
const BACKOFF_BASE: f64 = 1.0;
const BACKOFF_FACTOR: f64 = 1.6;
const BACKOFF_MAX: f64 = 120.0;
const BACKOFF_JITTER: f64 = 0.2;

/// Calls begun in one turn.
const MAX_CALLS_PER_TURN: usize = 128;
/// Bytes compressed in one turn, about 5 ms of gzip.
const MAX_COMPRESSED_PER_TURN: usize = 256 << 10;
/// Messages up to this size are compressed by the connection when their call begins.
const MAX_INLINE_COMPRESSION: usize = 64 << 10;

/// A unary call to make.
#[derive(Clone, Debug)]
pub struct UnaryRequest {
    /// `/package.Service/Method`.
    pub path: PathAndQuery,
    /// The request message in parts.
    pub message: SmallVec<[Bytes; 4]>,
    /// The deadline of the call.
    pub deadline: MonotonicTime,
    /// The metadata of the telemetry in it, for the authenticator.
    pub metadata: Option<Arc<Metadata>>,
}

#[derive(Debug)]
struct PendingCall {
    token: u64,
    request: UnaryRequest,
    /// It has been sent again once.
    resent: bool,
    compression: CompressionState,
}

/// Whether a call's message is compressed yet.
#[derive(Debug)]
enum CompressionState {
    /// Compressed by the connection, if at all.
    Uncompressed,
    /// On a helper thread.
    Compressing(JobResult<Bytes>),
    Compressed,
}

type Conn = GrpcClientConn<Box<dyn Stream>>;

enum State {
    /// No connection and no attempt; a look-up or the policy will start one.
    Idle,
    Connecting(Box<Conn>, MonotonicTime),
    Ready(Box<Conn>),
    /// Every address failed; the next attempt is at this time.
    TransientFailure(MonotonicTime),
}

/// A subchannel: one connection, the addresses it may use, and the index of the current address.
struct Subchannel {
    addresses: Vec<PeerAddr>,
    address_index: usize,
    state: State,
    failures: u32,
    /// The name no longer resolves to the address: no new calls are started here, and the subchannel is used again once
    /// its connection has ended.
    retired: bool,
    calls: BTreeMap<CallId, PendingCall>,
    /// Whether it is counted in `GrpcChannel::active_count`.
    is_active: bool,
}

/// The loaded TLS of channels that have the same TLS settings. Its files are read once for all of them, by the channel that
/// is started first.
#[derive(Clone, Debug, Default)]
pub struct SharedTls {
    origin: Rc<RefCell<Option<TlsConnector>>>,
    /// For a proxy that is reached over TLS.
    proxy: Rc<RefCell<Option<TlsConnector>>>,
}

impl SharedTls {
    /// Loads the certificates, unless they are loaded. For the start of a component: it reads files.
    ///
    /// # Errors
    /// What can't be read or used.
    pub fn load(&self, cx: &mut Cx<'_>, settings: &TlsClientConfig, log: &Logger) -> Result<(), StartError> {
        let mut connector = self.origin.borrow_mut();
        if connector.is_none() {
            *connector = Some(TlsConnector::load(cx, settings, &[b"h2"], log.clone())?);
        }
        Ok(())
    }
}

/// The channel. It uses the component's local keys from `base` on: `base` for look-ups and its timer, `base + 1 + i`
/// for connections.
pub struct GrpcChannel {
    settings: Rc<GrpcChannelConfig>,
    conn_config: Rc<GrpcClientConnConfig>,
    log: Logger,
    base: u64,
    /// Loaded at the start if the configuration has TLS.
    tls: SharedTls,
    proxies: ProxySelector,
    /// The proxy that every connection goes through.
    proxy: Option<Rc<Proxy>>,
    auth: Option<Rc<dyn ClientAuth>>,
    subchannels: Vec<Subchannel>,
    is_resolving: bool,
    /// When the name must be looked up again. The look-up is delayed, so that a name that always fails is not looked up
    /// continuously.
    resolve_at: Option<MonotonicTime>,
    /// When subchannels without a connection connect, though the look-up has not ended.
    connect_at: Option<MonotonicTime>,
    next_index: usize,
    /// Subchannels that are ready and may take a call.
    usable: BTreeSet<usize>,
    /// How many subchannels are connecting or ready.
    active_count: usize,
    /// When each subchannel must be run next.
    deadlines: DeadlineQueue<usize>,
    waiting: WaitList<PendingCall>,
    /// Calls that may still be begun, and bytes that may be compressed, before the next turn.
    calls_left: usize,
    compressed_bytes_left: usize,
    /// Another turn has been requested.
    turn_requested: bool,
    results: VecDeque<(u64, Result<Bytes, Status>)>,
    /// Why there is no connection, for the calls that fail because of it.
    last_error: Option<String>,
    resolve_failures: u32,
    timer: Option<(MonotonicTime, TimerId)>,
    closed: bool,
}

impl std::fmt::Debug for GrpcChannel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrpcChannel").field("target", &self.settings.target).finish_non_exhaustive()
    }
}

impl GrpcChannel {
    /// A channel that does nothing until [`GrpcChannel::start`].
    #[must_use]
    pub fn new(settings: Rc<GrpcChannelConfig>, auth: Option<Rc<dyn ClientAuth>>, log: Logger, base: u64) -> Self {
        let conn_config = Rc::new(settings.connection_config());
        Self {
            settings,
            conn_config,
            log,
            base,
            tls: SharedTls::default(),
            proxies: ProxySelector::default(),
            proxy: None,
            auth,
            subchannels: Vec::new(),
            is_resolving: false,
            resolve_at: None,
            connect_at: None,
            next_index: 0,
            usable: BTreeSet::new(),
            active_count: 0,
            deadlines: DeadlineQueue::default(),
            waiting: WaitList::default(),
            calls_left: MAX_CALLS_PER_TURN,
            compressed_bytes_left: MAX_COMPRESSED_PER_TURN,
            turn_requested: false,
            results: VecDeque::new(),
            last_error: None,
            resolve_failures: 0,
            timer: None,
            closed: false,
        }
    }

    /// Uses certificates that are loaded already, or are then loaded for other channels too. To be called before
    /// [`GrpcChannel::start`].
    #[must_use]
    pub fn with_shared_tls(mut self, tls: SharedTls) -> Self {
        self.tls = tls;
        self
    }

    /// Loads certificates and begins to connect.
    ///
    /// # Errors
    /// Certificates or a proxy that can't be used, or secrets that would be sent in plaintext.
    pub fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        if let Some(tls) = &self.settings.tls {
            self.tls.load(cx, tls, &self.log)?;
        } else if self.auth.as_ref().is_some_and(|auth| auth.requires_tls()) {
            return Err(StartError::Config(
                "grpc: the credentials require transport level security: `auth` needs `tls`, without `insecure: true`"
                    .to_owned(),
            ));
        }
        if !self.proxies.is_fixed() {
            self.proxies = ProxySelector::from_env(|name| cx.env_var(name));
        }
        self.find_proxy(cx)?;
        self.resolve(cx);
        self.update_timer(cx);
        Ok(())
    }

    /// As in grpc-go, HTTPS_PROXY and NO_PROXY apply to plaintext targets too.
    fn find_proxy(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let GrpcTarget::Host { host, port } = &self.settings.target else { return Ok(()) };
        self.proxy = self.proxies.find(true, host, *port).map_err(|e| StartError::Config(e.to_string()))?.cloned();
        match (&self.proxy, &self.settings.tls) {
            (Some(proxy), Some(tls)) if proxy.is_https() => {
                let mut connector = self.tls.proxy.borrow_mut();
                if connector.is_none() {
                    let settings = proxy_tls_config(tls);
                    *connector = Some(TlsConnector::load(cx, &settings, &[b"http/1.1"], self.log.clone())?);
                }
                Ok(())
            }
            (Some(proxy), None) if proxy.is_https() => Err(StartError::Config(
                "a proxy with https needs `tls` without `insecure: true`: its certificates count for the proxy too"
                    .to_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// Begins a call; [`GrpcChannel::poll_result`] returns its result.
    pub fn start_call(&mut self, cx: &mut Cx<'_>, token: u64, request: UnaryRequest) {
        if self.closed {
            self.results.push_back((token, Err(Status::unavailable("the channel is closed"))));
            return;
        }
        self.waiting.push_back(
            request.deadline,
            PendingCall { token, request, resent: false, compression: CompressionState::Uncompressed },
        );
        self.assign_calls(cx);
        self.update_timer(cx);
    }

    /// The status that a call would fail with now, if no subchannel is connecting or ready and calls do not wait for
    /// one. The caller can then leave out the work for the call.
    #[must_use]
    pub fn unavailable_status(&self) -> Option<Status> {
        if self.closed {
            return Some(Status::unavailable("the channel is closed"));
        }
        self.fail_fast_error().map(|why| Status::unavailable(why.to_owned()))
    }

    /// The next call that ended.
    pub fn poll_result(&mut self) -> Option<(u64, Result<Bytes, Status>)> {
        self.results.pop_front()
    }

    /// Handles an event under one of its keys.
    pub fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>) {
        match (local.checked_sub(self.base + 1), event) {
            (None, Event::Resolved(addresses)) => self.handle_resolved(cx, addresses),
            (None, Event::Ready) => {
                self.turn_requested = false;
                self.calls_left = MAX_CALLS_PER_TURN;
                self.compressed_bytes_left = MAX_COMPRESSED_PER_TURN;
            }
            (None, Event::Timer) => self.handle_timer(cx),
            (Some(index), _) => {
                if let Ok(index) = usize::try_from(index) {
                    self.poll_subchannel(cx, index);
                }
            }
        }
        self.assign_calls(cx);
        self.update_timer(cx);
    }

    /// The endpoint, as it is configured.
    pub(crate) fn endpoint(&self) -> &str {
        &self.settings.endpoint
    }

    /// Closes every connection. Calls in progress end with UNAVAILABLE.
    pub fn close(&mut self, cx: &mut Cx<'_>) {
        self.closed = true;
        let now = cx.now().0;
        for place in &mut self.subchannels {
            if let State::Connecting(conn, _) | State::Ready(conn) = &mut place.state {
                conn.close(now);
                let _ = conn.flush(now);
            }
            place.state = State::Idle;
            for (_, call) in std::mem::take(&mut place.calls) {
                self.results.push_back((call.token, Err(Status::unavailable("the channel is closed"))));
            }
        }
        while let Some(call) = self.waiting.pop_front() {
            self.results.push_back((call.token, Err(Status::unavailable("the channel is closed"))));
        }
        (self.active_count, self.usable) = (0, BTreeSet::new());
        self.deadlines.clear();
        if let Some((_, id)) = self.timer.take() {
            cx.cancel_timer(id);
        }
    }

    // ---- names --------------------------------------------------------------------------------------------------

    fn resolve(&mut self, cx: &mut Cx<'_>) {
        if self.is_resolving || self.closed {
            return;
        }
        self.resolve_at = None;
        match &self.settings.target {
            GrpcTarget::Host { host, port } => {
                self.is_resolving = true;
                match &self.proxy {
                    Some(proxy) => cx.resolve(self.base, proxy.host(), proxy.port()),
                    None => cx.resolve(self.base, host, *port),
                }
            }
            GrpcTarget::Unix(path) => {
                let addresses = vec![PeerAddr::Unix(path.clone())];
                self.update_subchannels(cx, addresses);
            }
        }
    }

    fn handle_resolved(&mut self, cx: &mut Cx<'_>, result: &Result<Vec<SocketAddr>, ResolveError>) {
        self.is_resolving = false;
        if self.closed {
            return;
        }
        match result {
            Ok(addresses) => {
                self.resolve_failures = 0;
                self.update_subchannels(cx, addresses.iter().copied().map(PeerAddr::Ip).collect());
            }
            Err(e) => {
                self.record_error(&format!("name resolver error: produced zero addresses: {e}"));
                let pause = backoff_delay(cx, self.resolve_failures);
                self.resolve_failures += 1;
                self.resolve_at = Some(cx.now() + pause);
                // The addresses that were known before are tried again.
                self.connect_idle_subchannels(cx);
                self.fail_waiting_calls(cx);
            }
        }
    }

    fn update_subchannels(&mut self, cx: &mut Cx<'_>, addresses: Vec<PeerAddr>) {
        match self.settings.balancer {
            Balancer::PickFirst => match self.subchannels.first_mut() {
                Some(subchannel) => {
                    // An established connection is kept; the new list is used from the next attempt on.
                    subchannel.addresses = addresses;
                    subchannel.address_index = 0;
                }
                None => self.subchannels.push(Subchannel::new(addresses)),
            },
            Balancer::RoundRobin => {
                let wanted: BTreeSet<String> = addresses.iter().map(ToString::to_string).collect();
                let mut known = BTreeSet::new();
                let mut free = Vec::new();
                for (index, subchannel) in self.subchannels.iter_mut().enumerate() {
                    let before = known.len();
                    known.extend(subchannel.addresses.iter().map(ToString::to_string).filter(|a| wanted.contains(a)));
                    subchannel.retired = known.len() == before;
                    if subchannel.retired && subchannel.is_free() {
                        free.push(index);
                    }
                }
                for address in addresses {
                    if !known.insert(address.to_string()) {
                        continue;
                    }
                    let subchannel = Subchannel::new(vec![address]);
                    match free.pop() {
                        Some(index) => self.subchannels[index] = subchannel,
                        None => self.subchannels.push(subchannel),
                    }
                }
                (0..self.subchannels.len()).for_each(|index| self.update_tracking(index));
            }
        }
        self.connect_idle_subchannels(cx);
    }

    // ---- connections --------------------------------------------------------------------------------------------

    fn connect_idle_subchannels(&mut self, cx: &mut Cx<'_>) {
        self.connect_at = None;
        for index in 0..self.subchannels.len() {
            if matches!(self.subchannels[index].state, State::Idle) && !self.subchannels[index].retired {
                self.connect(cx, index);
            }
        }
    }

    /// Tries the addresses of a subchannel from the current one on, until an attempt is in progress or all have failed.
    fn connect(&mut self, cx: &mut Cx<'_>, index: usize) {
        self.try_addresses(cx, index);
        self.update_tracking(index);
        self.fail_waiting_calls(cx);
    }

    fn try_addresses(&mut self, cx: &mut Cx<'_>, index: usize) {
        loop {
            let subchannel = &self.subchannels[index];
            let Some(address) = subchannel.addresses.get(subchannel.address_index).cloned() else { break };
            match self.open_stream(cx, index, &address) {
                Ok(stream) => {
                    let now = cx.now();
                    let mut conn = Box::new(GrpcClientConn::new(stream, self.conn_config.clone(), now.0));
                    // Sends the preface, once the system has connected.
                    let _ = conn.flush(now.0);
                    self.log.debug("Connecting", &[("address", LogField::Str(&address.to_string()))]);
                    self.subchannels[index].state = State::Connecting(conn, now + CONNECT_TIMEOUT);
                    return;
                }
                Err(e) => {
                    self.subchannels[index].address_index += 1;
                    self.record_error(&format!("connection error: desc = \"transport: Error while dialing: {e}\""));
                }
            }
        }
        let failures = self.subchannels[index].failures;
        let retry_at = cx.now() + backoff_delay(cx, failures);
        let subchannel = &mut self.subchannels[index];
        subchannel.failures += 1;
        subchannel.address_index = 0;
        subchannel.state = State::TransientFailure(retry_at);
    }

    /// Updates what the channel keeps about a subchannel: whether it is connecting or ready, whether it may take a
    /// call, and when it must be run next.
    fn update_tracking(&mut self, index: usize) {
        let Some(subchannel) = self.subchannels.get_mut(index) else { return };
        let is_active = matches!(subchannel.state, State::Connecting(..) | State::Ready(_));
        if is_active != subchannel.is_active {
            subchannel.is_active = is_active;
            self.active_count = if is_active { self.active_count + 1 } else { self.active_count - 1 };
        }
        let deadline = match &subchannel.state {
            State::TransientFailure(until) => Some(*until),
            State::Connecting(conn, until) => {
                Some(conn.poll_timeout().map_or(*until, |at| MonotonicTime(at).min(*until)))
            }
            State::Ready(conn) => conn.poll_timeout().map(MonotonicTime),
            State::Idle => None,
        };
        if !subchannel.retired && matches!(&subchannel.state, State::Ready(conn) if conn.can_start()) {
            self.usable.insert(index);
        } else {
            self.usable.remove(&index);
        }
        self.deadlines.set(index, deadline);
    }

    fn open_stream(&mut self, cx: &mut Cx<'_>, index: usize, address: &PeerAddr) -> Result<Box<dyn Stream>, String> {
        let mut stream = cx.connect(self.base + 1 + index as u64, address).map_err(|e| e.to_string())?;
        stream.set_protocol("gRPC");
        if let (Some(proxy), GrpcTarget::Host { host, port }) = (&self.proxy, &self.settings.target) {
            if proxy.is_https()
                && let Some(tls) = self.tls.proxy.borrow_mut().as_mut()
            {
                stream = Box::new(tls.connect(cx, stream, proxy.host()).map_err(|e| e.to_string())?);
            }
            stream = Box::new(ProxyTunnel::new(stream, proxy, host, *port));
        }
        if self.settings.tls.is_none() {
            return Ok(stream);
        }
        match self.tls.origin.borrow_mut().as_mut() {
            None => Err("tls: the configuration is not loaded".to_owned()),
            // As in grpc-go, the certificate must be valid for the name in `authority`.
            Some(tls) => {
                let stream = tls.connect(cx, stream, authority_host(&self.settings.authority));
                Ok(Box::new(stream.map_err(|e| e.to_string())?))
            }
        }
    }

    /// Runs a connection for one turn and collects the results of its calls.
    fn poll_subchannel(&mut self, cx: &mut Cx<'_>, index: usize) {
        self.poll_connection(cx, index);
        self.update_tracking(index);
    }

    fn poll_connection(&mut self, cx: &mut Cx<'_>, index: usize) {
        let now = cx.now();
        let Some(subchannel) = self.subchannels.get_mut(index) else { return };
        let (State::Connecting(conn, _) | State::Ready(conn)) = &mut subchannel.state else { return };
        let result = conn.poll(now.0);
        if result.poll_again {
            cx.request_ready(self.base + 1 + index as u64);
        }
        if result.shutdown_write {
            conn.io_mut().shutdown_write();
        }
        self.collect_results(index);
        let subchannel = &mut self.subchannels[index];
        let (ready, is_drained) = match &subchannel.state {
            State::Connecting(conn, _) => (conn.is_ready(), false),
            State::Ready(conn) => (false, conn.is_going_away() && conn.in_flight() == 0),
            State::Idle | State::TransientFailure(_) => return,
        };
        if result.closed || is_drained {
            self.handle_disconnected(cx, index, result.close_reason);
        } else if ready && let State::Connecting(conn, _) = std::mem::replace(&mut subchannel.state, State::Idle) {
            subchannel.state = State::Ready(conn);
            subchannel.failures = 0;
            subchannel.address_index = 0;
            self.last_error = None;
            self.log.debug("Connected", &[("endpoint", LogField::Str(&self.settings.endpoint))]);
        }
    }

    fn collect_results(&mut self, index: usize) {
        let subchannel = &mut self.subchannels[index];
        let (State::Connecting(conn, _) | State::Ready(conn)) = &mut subchannel.state else { return };
        while let Some(completed) = conn.poll_completed() {
            let Some(call) = subchannel.calls.remove(&completed.id) else { continue };
            if !completed.may_be_processed && completed.result.is_err() && !call.resent {
                self.waiting.push_front(call.request.deadline, PendingCall { resent: true, ..call });
            } else {
                self.results.push_back((call.token, completed.result));
            }
        }
    }

    /// A connection has ended. If it was not ready yet, the attempt has failed and the next address is tried.
    fn handle_disconnected(&mut self, cx: &mut Cx<'_>, index: usize, close_reason: Option<CloseReason>) {
        self.reset_subchannel(cx, index, close_reason);
        self.update_tracking(index);
    }

    fn reset_subchannel(&mut self, cx: &mut Cx<'_>, index: usize, close_reason: Option<CloseReason>) {
        let subchannel = &mut self.subchannels[index];
        let previous = std::mem::replace(&mut subchannel.state, State::Idle);
        for (_, call) in std::mem::take(&mut subchannel.calls) {
            self.results.push_back((call.token, Err(Status::unavailable("error reading from server: EOF"))));
        }
        if subchannel.retired {
            return;
        }
        match previous {
            State::Connecting(conn, _) => {
                let address =
                    subchannel.addresses.get(subchannel.address_index).map(ToString::to_string).unwrap_or_default();
                subchannel.address_index += 1;
                let layer_error = conn.io().layer_error();
                let dialing = |why: String| format!("Error while dialing: dial tcp {address}: {why}");
                let why = match (layer_error, close_reason) {
                    (Some(layer_error), _) if layer_error.starts_with("proxy: ") => {
                        format!("Error while dialing: {layer_error}")
                    }
                    (Some(layer_error), _) => format!("authentication handshake failed: {layer_error}"),
                    (None, Some(CloseReason::Io(std::io::ErrorKind::ConnectionRefused))) => {
                        dialing("connect: connection refused".to_owned())
                    }
                    (None, Some(why)) => dialing(why.to_string()),
                    (None, None) => dialing("i/o timeout".to_owned()),
                };
                self.record_error(&format!("connection error: desc = \"transport: {why}\""));
                self.connect(cx, index);
                // The name may have other addresses at the next attempt.
                if matches!(self.subchannels[index].state, State::TransientFailure(_)) {
                    self.resolve_at = None;
                }
            }
            State::Ready(_) => {
                subchannel.address_index = 0;
                self.log.debug("Connection lost", &[("endpoint", LogField::Str(&self.settings.endpoint))]);
                self.resolve(cx);
                match self.settings.balancer {
                    // A server that ends a connection has the client look up the name: another server may be the first now.
                    Balancer::PickFirst if self.is_resolving => self.connect_at = Some(cx.now() + LOOKUP_WAIT),
                    Balancer::PickFirst | Balancer::RoundRobin => self.connect_idle_subchannels(cx),
                }
            }
            State::Idle | State::TransientFailure(_) => {}
        }
    }

    /// A deadline has passed: that of a backoff, a connection attempt, a connection's machine or a waiting call.
    fn handle_timer(&mut self, cx: &mut Cx<'_>) {
        self.timer = None;
        let now = cx.now();
        if self.resolve_at.is_some_and(|at| at <= now) {
            self.resolve(cx);
        }
        if self.connect_at.is_some_and(|at| at <= now) {
            self.connect_idle_subchannels(cx);
        }
        while let Some(index) = self.deadlines.pop_due(now) {
            let Some(subchannel) = self.subchannels.get_mut(index) else { continue };
            match &subchannel.state {
                State::TransientFailure(until) if *until <= now => {
                    subchannel.state = State::Idle;
                    self.update_tracking(index);
                    // The name is looked up again; the result starts the attempt, in this turn if it is known already.
                    self.resolve(cx);
                    if !self.is_resolving {
                        self.connect_idle_subchannels(cx);
                    }
                }
                State::Connecting(_, until) if *until <= now => self.handle_disconnected(cx, index, None),
                State::Connecting(..) | State::Ready(_) => self.poll_subchannel(cx, index),
                State::TransientFailure(_) | State::Idle => self.update_tracking(index),
            }
            // It has been run; if it is still due, it is run again in the next turn.
            if self.deadlines.is_due(index, now) {
                self.deadlines.set(index, Some(now + Duration::from_nanos(1)));
            }
        }
        // The timer stays due while there are more.
        for _ in 0..MAX_CALLS_PER_TURN {
            let Some(call) = self.waiting.pop_due(now) else { break };
            self.results.push_back((call.token, Err(self.deadline_exceeded_status())));
        }
    }

    fn deadline_exceeded_status(&self) -> Status {
        let why = self.last_error.as_deref().map_or_else(String::new, |e| format!("; last error: {e}"));
        let mut status = Status::deadline_exceeded();
        status.message = format!("context deadline exceeded while waiting for connections to become ready{why}").into();
        status
    }

    // ---- calls --------------------------------------------------------------------------------------------------

    /// Starts waiting calls on ready connections, as many as the turn allows.
    fn assign_calls(&mut self, cx: &mut Cx<'_>) {
        while !self.waiting.is_empty() && !self.usable.is_empty() {
            if !self.prepare_first_call(cx) {
                break;
            }
            // The next subchannel in rotation, or the first one.
            let next = self.usable.range(self.next_index..).next().or_else(|| self.usable.first()).copied();
            let Some(index) = next else { break };
            self.next_index = index + 1;
            if self.start_first_call(cx, index) {
                self.update_tracking(index);
            } else {
                // It took no call although it was usable; it is not used before its next event.
                self.usable.remove(&index);
            }
        }
        self.fail_waiting_calls(cx);
    }

    fn request_turn(&mut self, cx: &mut Cx<'_>) {
        if !self.turn_requested {
            self.turn_requested = true;
            cx.request_ready(self.base);
        }
    }

    /// Has the first waiting call's message compressed on a helper thread, if it is long. `false` if the call can't
    /// start yet: its message is still being compressed, or the limits of this turn are used up.
    fn prepare_first_call(&mut self, cx: &mut Cx<'_>) -> bool {
        if self.calls_left == 0 {
            self.request_turn(cx);
            return false;
        }
        let coding = &self.settings.compression;
        let Some(call) = self.waiting.front_mut() else { return true };
        match &call.compression {
            CompressionState::Compressed => true,
            CompressionState::Uncompressed if coding.is_identity() => true,
            CompressionState::Uncompressed => {
                let length = call.request.message.iter().map(Bytes::len).sum::<usize>();
                // Each part has a fixed cost, however short it is.
                let work = length.saturating_add(call.request.message.len().saturating_mul(64));
                if work > MAX_INLINE_COMPRESSION {
                    let (coding, parts) = (coding.in_grpc(), std::mem::take(&mut call.request.message));
                    let compress = move || Workspace::new().compress(&coding, parts.iter().map(|part| &part[..]));
                    call.compression = CompressionState::Compressing(cx.run_job(self.base, compress));
                    return false;
                }
                if self.compressed_bytes_left == 0 {
                    self.request_turn(cx);
                    return false;
                }
                self.compressed_bytes_left = self.compressed_bytes_left.saturating_sub(work);
                true
            }
            // The end of the job is an event.
            CompressionState::Compressing(result) => match result.take() {
                Some(made) => {
                    call.request.message = std::iter::once(made).collect();
                    call.compression = CompressionState::Compressed;
                    true
                }
                None => false,
            },
        }
    }

    /// Starts the first waiting call on the connection of a subchannel. `false` if the connection takes no call now.
    fn start_first_call(&mut self, cx: &mut Cx<'_>, index: usize) -> bool {
        let now = cx.now();
        let Some(Subchannel { state: State::Ready(conn), calls, .. }) = self.subchannels.get_mut(index) else {
            return false;
        };
        let Some(call) = self.waiting.pop_front() else { return true };
        let mut metadata = Cow::Borrowed(&self.settings.headers[..]);
        if let Some(auth) = &self.auth {
            let mut headers = OutgoingHeaders::new(RequestProtocol::Grpc, call.request.metadata.as_deref(), Vec::new());
            match auth.apply(cx, &mut headers).and_then(|()| auth_headers(headers.into_fields())) {
                Ok(auth_headers) => metadata.to_mut().extend(auth_headers),
                Err(why) => {
                    self.results.push_back((call.token, Err(Status::new(Code::Unauthenticated, why.0))));
                    return true;
                }
            }
        }
        let outgoing = OutgoingCall {
            path: &call.request.path,
            metadata: &metadata,
            encoding: self.settings.compression.clone(),
            compressed: matches!(call.compression, CompressionState::Compressed),
            message: call.request.message.iter().cloned(),
            deadline: (call.request.deadline != MonotonicTime::NEVER).then_some(call.request.deadline.0),
        };
        self.calls_left = self.calls_left.saturating_sub(1);
        match conn.start(now.0, outgoing) {
            Ok(id) => {
                calls.insert(id, call);
                let result = conn.flush(now.0);
                self.collect_results(index);
                if result.closed {
                    self.handle_disconnected(cx, index, result.close_reason);
                }
                true
            }
            Err(otelcore_http::grpc::client::StartCallError::Call) => {
                self.results.push_back((call.token, Err(Status::internal("the call cannot be encoded"))));
                true
            }
            Err(_) => {
                self.waiting.push_front(call.request.deadline, call);
                false
            }
        }
    }

    /// The last error, if no subchannel is connecting or ready and calls do not wait for ready.
    fn fail_fast_error(&self) -> Option<&str> {
        let may_connect = self.is_resolving && self.last_error.is_none() || self.active_count > 0;
        self.last_error.as_deref().filter(|_| !may_connect && !self.settings.wait_for_ready)
    }

    /// If no subchannel is connecting or ready, fails calls that do not wait for ready, as many as the turn allows.
    fn fail_waiting_calls(&mut self, cx: &mut Cx<'_>) {
        if self.waiting.is_empty() {
            return;
        }
        let Some(why) = self.fail_fast_error().map(str::to_owned) else { return };
        while self.calls_left > 0 {
            let Some(call) = self.waiting.pop_front() else { return };
            self.calls_left -= 1;
            self.results.push_back((call.token, Err(Status::unavailable(why.clone()))));
        }
        self.request_turn(cx);
    }

    fn record_error(&mut self, why: &str) {
        self.log.debug("Connection failed", &[("error", LogField::Str(why))]);
        self.last_error = Some(why.to_owned());
    }

    /// Keeps one timer at the earliest of all deadlines.
    fn update_timer(&mut self, cx: &mut Cx<'_>) {
        if self.closed {
            return;
        }
        let first_waiting = self.waiting.next_deadline().filter(|by| *by != MonotonicTime::NEVER);
        let own = self.resolve_at.into_iter().chain(self.connect_at);
        let deadline = self.deadlines.next_deadline().into_iter().chain(first_waiting).chain(own).min();
        if deadline != self.timer.map(|(at, _)| at) {
            if let Some((_, id)) = self.timer.take() {
                cx.cancel_timer(id);
            }
            self.timer = deadline.map(|at| (at, cx.set_timer(self.base, at)));
        }
    }
}

impl Subchannel {
    fn new(addresses: Vec<PeerAddr>) -> Self {
        Self {
            addresses,
            address_index: 0,
            state: State::Idle,
            failures: 0,
            retired: false,
            calls: BTreeMap::new(),
            is_active: false,
        }
    }

    fn is_free(&self) -> bool {
        matches!(self.state, State::Idle) && self.calls.is_empty()
    }
}

/// The delay before the next attempt after this number of failures: gRPC's connection backoff.
fn backoff_delay(cx: &mut Cx<'_>, failures: u32) -> Duration {
    let base = (BACKOFF_BASE * BACKOFF_FACTOR.powi(i32::try_from(failures.min(64)).unwrap_or(64))).min(BACKOFF_MAX);
    let jitter = (cx.random() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0;
    Duration::from_secs_f64(base * (1.0 + BACKOFF_JITTER * jitter))
}

/// The host of an authority; an IPv6 address is returned without its brackets.
fn authority_host(authority: &http::uri::Authority) -> &str {
    authority.host().trim_start_matches('[').trim_end_matches(']')
}

/// The header fields of an authenticator, as metadata.
fn auth_headers(fields: Vec<OutgoingField>) -> Result<Headers, CredentialsUnavailable> {
    let parse_field = |(name, value): OutgoingField| {
        let name = HeaderName::try_from(&*name).ok()?;
        let mut value = HeaderValue::try_from(&*value).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    };
    fields.into_iter().map(parse_field).collect::<Option<_>>().ok_or_else(|| {
        let why = "the authenticator's credentials have characters that a header can't have";
        CredentialsUnavailable(why.to_owned())
    })
}

#[cfg(test)]
mod tests;
