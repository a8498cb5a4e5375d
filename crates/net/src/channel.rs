//! A gRPC channel: one target, the connections to its addresses, and the calls that wait for a connection.
//!
//! ```text
//!  look-up -> connecting -> ready -> (lost, GOAWAY) -> look-up ...
//!                 |
//!                 +-> all addresses failed -> pause (1 s, x1.6, at most 120 s, +-20 %) -> look-up ...
//! ```
//! `pick_first` keeps one connection and tries the addresses in order; `round_robin` keeps one to each address and uses
//! them in rotation. A call waits while a connection is being made; when none can be made it fails UNAVAILABLE, unless
//! it waits for ready. A call that the peer has certainly not processed is sent again once, without a request of the
//! caller.
//!
//! Any number of calls may wait: each costs time that grows with the logarithm of their number. In one turn of the loop
//! a channel begins no more than [`CALLS_A_TURN`] calls and compresses no more than [`COMPRESS_A_TURN`] bytes; it
//! requests another turn when there is more to do. Messages above [`COMPRESS_HERE`] are compressed on a helper thread.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};
use otelcore_http::grpc::CallId;
use otelcore_http::grpc::client::{ClientConfig, ClientConn, Outgoing};
use otelcore_http::{Bytes, Closed, Code, Status, Workspace};
use otelcore_pipeline::{ClientAuth, Cx, Event, Field, JobResult, Logger, Mono, PeerAddr, StartError, Stream, TimerId};
use smallvec::SmallVec;

use crate::Target;
use crate::http_client::proxy_tls;
use crate::proxy::{Proxies, Proxy, Tunnel};
use crate::schedule::{Schedule, WaitList};
use crate::settings::{Balancer, GrpcClient, Headers};
use crate::tls::ClientTls;

/// grpc-go's time limit for one connection attempt.
const CONNECT: Duration = Duration::from_secs(20);
const BACKOFF_BASE: f64 = 1.0;
const BACKOFF_FACTOR: f64 = 1.6;
const BACKOFF_MAX: f64 = 120.0;
const BACKOFF_JITTER: f64 = 0.2;

/// Calls begun in one turn.
const CALLS_A_TURN: usize = 128;
/// Bytes compressed in one turn, about 5 ms of gzip.
const COMPRESS_A_TURN: usize = 256 << 10;
/// Messages up to this size are compressed by the connection when their call begins.
const COMPRESS_HERE: usize = 64 << 10;

/// A unary call to make.
#[derive(Clone, Debug)]
pub struct NewCall {
    /// `/package.Service/Method`.
    pub path: PathAndQuery,
    /// The request message in parts.
    pub message: SmallVec<[Bytes; 4]>,
    /// The deadline of the call.
    pub by: Mono,
}

#[derive(Debug)]
struct Call {
    token: u64,
    new: NewCall,
    /// It has been sent again once.
    repeated: bool,
    message: Message,
}

/// Whether a call's message is compressed yet.
#[derive(Debug)]
enum Message {
    /// Compressed by the connection, if at all.
    AsItIs,
    /// On a helper thread.
    Compressing(JobResult<Bytes>),
    Compressed,
}

type Conn = ClientConn<Box<dyn Stream>>;

enum State {
    /// No connection and no attempt; a look-up or the policy will start one.
    Idle,
    Connecting(Box<Conn>, Mono),
    Ready(Box<Conn>),
    /// Every address failed; the next attempt is at this time.
    Pause(Mono),
}

/// A subchannel: one connection, the addresses it may use, and the index of the current address.
struct Place {
    addresses: Vec<PeerAddr>,
    at: usize,
    state: State,
    failures: u32,
    /// The name no longer resolves to the address: no new calls are started here, and the place is used again once its
    /// connection has ended.
    retired: bool,
    calls: BTreeMap<CallId, Call>,
    /// Whether it is counted in `Channel::hopeful`.
    hopeful: bool,
}

/// The channel. It uses the component's local keys from `base` on: `base` for look-ups and its timer, `base + 1 + i`
/// for connections.
pub struct Channel {
    settings: Rc<GrpcClient>,
    config: Rc<ClientConfig>,
    log: Logger,
    base: u64,
    tls: Option<ClientTls>,
    proxies: Proxies,
    /// The proxy that every connection goes through.
    proxy: Option<Rc<Proxy>>,
    proxy_tls: Option<ClientTls>,
    auth: Option<Rc<dyn ClientAuth>>,
    places: Vec<Place>,
    resolving: bool,
    /// When the name must be looked up again. The look-up is delayed, so that a name that always fails is not looked up
    /// continuously.
    resolve_at: Option<Mono>,
    turn: usize,
    /// Places that are ready and may take a call.
    usable: BTreeSet<usize>,
    /// How many places are connecting or ready.
    hopeful: usize,
    /// When each place must be run next.
    due: Schedule<usize>,
    waiting: WaitList<Call>,
    /// Calls that may still be begun, and bytes that may be compressed, before the next turn.
    calls_left: usize,
    compress_left: usize,
    /// Another turn has been requested.
    asked_again: bool,
    done: VecDeque<(u64, Result<Bytes, Status>)>,
    /// Why there is no connection, for the calls that fail because of it.
    last_error: Option<String>,
    name_failures: u32,
    timer: Option<(Mono, TimerId)>,
    closed: bool,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("target", &self.settings.target).finish_non_exhaustive()
    }
}

impl Channel {
    /// A channel that does nothing until [`Channel::start`].
    #[must_use]
    pub fn new(settings: Rc<GrpcClient>, auth: Option<Rc<dyn ClientAuth>>, log: Logger, base: u64) -> Self {
        let config = Rc::new(settings.machine());
        Self {
            settings,
            config,
            log,
            base,
            tls: None,
            proxies: Proxies::default(),
            proxy: None,
            proxy_tls: None,
            auth,
            places: Vec::new(),
            resolving: false,
            resolve_at: None,
            turn: 0,
            usable: BTreeSet::new(),
            hopeful: 0,
            due: Schedule::default(),
            waiting: WaitList::default(),
            calls_left: CALLS_A_TURN,
            compress_left: COMPRESS_A_TURN,
            asked_again: false,
            done: VecDeque::new(),
            last_error: None,
            name_failures: 0,
            timer: None,
            closed: false,
        }
    }

    /// Loads certificates and begins to connect.
    ///
    /// # Errors
    /// Certificates or a proxy that can't be used, or secrets that would be sent in plaintext.
    pub fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        if let Some(tls) = &self.settings.tls {
            self.tls = Some(ClientTls::load(cx, tls, &[b"h2"], self.log.clone()).map_err(StartError)?);
        } else if self.auth.is_some() {
            return Err(StartError(
                "grpc: the credentials require transport level security: `auth` needs `tls`, without `insecure: true`"
                    .to_owned(),
            ));
        }
        if !self.proxies.are_fixed() {
            self.proxies = Proxies::from_env(|name| cx.env(name));
        }
        self.find_proxy(cx).map_err(StartError)?;
        self.resolve(cx);
        self.rearm(cx);
        Ok(())
    }

    /// As in grpc-go, HTTPS_PROXY and NO_PROXY apply to plaintext targets too.
    fn find_proxy(&mut self, cx: &mut Cx<'_>) -> Result<(), String> {
        let Target::Host { host, port } = &self.settings.target else { return Ok(()) };
        self.proxy = self.proxies.find(true, host, *port)?.cloned();
        match (&self.proxy, &self.settings.tls) {
            (Some(proxy), Some(tls)) if proxy.is_https() => {
                proxy_tls(&mut self.proxy_tls, cx, tls, &self.log).map(drop)
            }
            (Some(proxy), None) if proxy.is_https() => {
                Err("a proxy with https needs `tls` without `insecure: true`: its certificates count for the proxy too"
                    .to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Begins a call; [`Channel::poll_done`] returns its result.
    pub fn call(&mut self, cx: &mut Cx<'_>, token: u64, new: NewCall) {
        if self.closed {
            self.done.push_back((token, Err(Status::unavailable("the channel is closed"))));
            return;
        }
        self.waiting.push_back(new.by, Call { token, new, repeated: false, message: Message::AsItIs });
        self.place_calls(cx);
        self.rearm(cx);
    }

    /// The status that a call would fail with now, if no connection is ready or being made and calls do not wait for
    /// one. The caller can then leave out the work for the call.
    #[must_use]
    pub fn refusal(&self) -> Option<Status> {
        if self.closed {
            return Some(Status::unavailable("the channel is closed"));
        }
        self.hopeless().map(|why| Status::unavailable(why.to_owned()))
    }

    /// The next call that ended.
    pub fn poll_done(&mut self) -> Option<(u64, Result<Bytes, Status>)> {
        self.done.pop_front()
    }

    /// Handles an event under one of its keys.
    pub fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>) {
        match (local.checked_sub(self.base + 1), event) {
            (None, Event::Resolved(found)) => self.resolved(cx, found),
            (None, Event::Ready) => {
                self.asked_again = false;
                self.calls_left = CALLS_A_TURN;
                self.compress_left = COMPRESS_A_TURN;
            }
            (None, Event::Timer) => self.due(cx),
            (Some(index), _) => {
                if let Ok(index) = usize::try_from(index) {
                    self.turn_place(cx, index);
                }
            }
        }
        self.place_calls(cx);
        self.rearm(cx);
    }

    /// Closes every connection. Calls in progress end with UNAVAILABLE.
    pub fn close(&mut self, cx: &mut Cx<'_>) {
        self.closed = true;
        let now = cx.now().0;
        for place in &mut self.places {
            if let State::Connecting(conn, _) | State::Ready(conn) = &mut place.state {
                conn.close(now);
                let _ = conn.flush(now);
            }
            place.state = State::Idle;
            for (_, call) in std::mem::take(&mut place.calls) {
                self.done.push_back((call.token, Err(Status::unavailable("the channel is closed"))));
            }
        }
        while let Some(call) = self.waiting.pop_front() {
            self.done.push_back((call.token, Err(Status::unavailable("the channel is closed"))));
        }
        (self.hopeful, self.usable) = (0, BTreeSet::new());
        self.due.clear();
        if let Some((_, id)) = self.timer.take() {
            cx.cancel(id);
        }
    }

    // ---- names --------------------------------------------------------------------------------------------------

    fn resolve(&mut self, cx: &mut Cx<'_>) {
        if self.resolving || self.closed {
            return;
        }
        self.resolve_at = None;
        match &self.settings.target {
            Target::Host { host, port } => {
                self.resolving = true;
                match &self.proxy {
                    Some(proxy) => cx.resolve(self.base, proxy.host(), proxy.port()),
                    None => cx.resolve(self.base, host, *port),
                }
            }
            Target::Unix(path) => {
                let addresses = vec![PeerAddr::Unix(path.clone())];
                self.use_addresses(cx, addresses);
            }
        }
    }

    fn resolved(&mut self, cx: &mut Cx<'_>, found: &Result<Vec<std::net::SocketAddr>, String>) {
        self.resolving = false;
        if self.closed {
            return;
        }
        match found {
            Ok(addresses) => {
                self.name_failures = 0;
                self.use_addresses(cx, addresses.iter().copied().map(PeerAddr::Ip).collect());
            }
            Err(e) => {
                self.failed(&format!("name resolver error: produced zero addresses: {e}"));
                let pause = backoff(cx, self.name_failures);
                self.name_failures += 1;
                self.resolve_at = Some(cx.now() + pause);
                // The addresses that were known before are tried again.
                self.connect_idle(cx);
                self.fail_waiting(cx);
            }
        }
    }

    fn use_addresses(&mut self, cx: &mut Cx<'_>, addresses: Vec<PeerAddr>) {
        match self.settings.balancer {
            Balancer::PickFirst => match self.places.first_mut() {
                Some(place) => {
                    // An established connection is kept; the new list is used from the next attempt on.
                    place.addresses = addresses;
                    place.at = 0;
                }
                None => self.places.push(Place::new(addresses)),
            },
            Balancer::RoundRobin => {
                let wanted: BTreeSet<String> = addresses.iter().map(ToString::to_string).collect();
                let mut known = BTreeSet::new();
                let mut free = Vec::new();
                for (index, place) in self.places.iter_mut().enumerate() {
                    let before = known.len();
                    known.extend(place.addresses.iter().map(ToString::to_string).filter(|a| wanted.contains(a)));
                    place.retired = known.len() == before;
                    if place.retired && place.is_free() {
                        free.push(index);
                    }
                }
                for address in addresses {
                    if !known.insert(address.to_string()) {
                        continue;
                    }
                    let place = Place::new(vec![address]);
                    match free.pop() {
                        Some(index) => self.places[index] = place,
                        None => self.places.push(place),
                    }
                }
                (0..self.places.len()).for_each(|index| self.note(index));
            }
        }
        self.connect_idle(cx);
    }

    // ---- connections --------------------------------------------------------------------------------------------

    fn connect_idle(&mut self, cx: &mut Cx<'_>) {
        for index in 0..self.places.len() {
            if matches!(self.places[index].state, State::Idle) && !self.places[index].retired {
                self.connect(cx, index);
            }
        }
    }

    /// Tries the addresses of a place from the current one on, until an attempt is in progress or all have failed.
    fn connect(&mut self, cx: &mut Cx<'_>, index: usize) {
        self.attempt(cx, index);
        self.note(index);
        self.fail_waiting(cx);
    }

    fn attempt(&mut self, cx: &mut Cx<'_>, index: usize) {
        loop {
            let place = &self.places[index];
            let Some(address) = place.addresses.get(place.at).cloned() else { break };
            match self.dial(cx, index, &address) {
                Ok(stream) => {
                    let now = cx.now();
                    let mut conn = Box::new(ClientConn::new(stream, self.config.clone(), now.0));
                    // Sends the preface, once the system has connected.
                    let _ = conn.flush(now.0);
                    self.log.debug("Connecting", &[("address", Field::Str(&address.to_string()))]);
                    self.places[index].state = State::Connecting(conn, now + CONNECT);
                    return;
                }
                Err(e) => {
                    self.places[index].at += 1;
                    self.failed(&format!("connection error: desc = \"transport: Error while dialing: {e}\""));
                }
            }
        }
        let failures = self.places[index].failures;
        let until = cx.now() + backoff(cx, failures);
        let place = &mut self.places[index];
        place.failures += 1;
        place.at = 0;
        place.state = State::Pause(until);
    }

    /// Updates what the channel keeps about a place: whether it is connecting or ready, whether it may take a call, and
    /// when it must be run next.
    fn note(&mut self, index: usize) {
        let Some(place) = self.places.get_mut(index) else { return };
        let hopeful = matches!(place.state, State::Connecting(..) | State::Ready(_));
        if hopeful != place.hopeful {
            place.hopeful = hopeful;
            self.hopeful = if hopeful { self.hopeful + 1 } else { self.hopeful - 1 };
        }
        let due = match &place.state {
            State::Pause(until) => Some(*until),
            State::Connecting(conn, until) => Some(conn.poll_timeout().map_or(*until, |at| Mono(at).min(*until))),
            State::Ready(conn) => conn.poll_timeout().map(Mono),
            State::Idle => None,
        };
        if !place.retired && matches!(&place.state, State::Ready(conn) if conn.can_start()) {
            self.usable.insert(index);
        } else {
            self.usable.remove(&index);
        }
        self.due.set(index, due);
    }

    fn dial(&mut self, cx: &mut Cx<'_>, index: usize, address: &PeerAddr) -> Result<Box<dyn Stream>, String> {
        let mut stream = cx.connect(self.base + 1 + index as u64, address).map_err(|e| e.to_string())?;
        if let (Some(proxy), Target::Host { host, port }) = (&self.proxy, &self.settings.target) {
            if let Some(tls) = &mut self.proxy_tls {
                stream = Box::new(tls.connect(cx, stream, proxy.host())?);
            }
            stream = Box::new(Tunnel::new(stream, proxy, host, *port));
        }
        match &mut self.tls {
            None => Ok(stream),
            // As in grpc-go, the certificate must be valid for the name in `authority`.
            Some(tls) => Ok(Box::new(tls.connect(cx, stream, host(&self.settings.authority))?)),
        }
    }

    /// Runs a connection for one turn and collects the results of its calls.
    fn turn_place(&mut self, cx: &mut Cx<'_>, index: usize) {
        self.run_place(cx, index);
        self.note(index);
    }

    fn run_place(&mut self, cx: &mut Cx<'_>, index: usize) {
        let now = cx.now();
        let Some(place) = self.places.get_mut(index) else { return };
        let (State::Connecting(conn, _) | State::Ready(conn)) = &mut place.state else { return };
        let turn = conn.turn(now.0);
        if turn.again {
            cx.again(self.base + 1 + index as u64);
        }
        if turn.shut_write {
            conn.io_mut().shut_write();
        }
        self.collect(index);
        let place = &mut self.places[index];
        let (ready, going) = match &place.state {
            State::Connecting(conn, _) => (conn.is_ready(), false),
            State::Ready(conn) => (false, conn.going_away() && conn.in_flight() == 0),
            State::Idle | State::Pause(_) => return,
        };
        if turn.closed || going {
            self.lost(cx, index, turn.why);
        } else if ready && let State::Connecting(conn, _) = std::mem::replace(&mut place.state, State::Idle) {
            place.state = State::Ready(conn);
            place.failures = 0;
            place.at = 0;
            self.last_error = None;
            self.log.debug("Connected", &[("endpoint", Field::Str(&self.settings.endpoint))]);
        }
    }

    fn collect(&mut self, index: usize) {
        let place = &mut self.places[index];
        let (State::Connecting(conn, _) | State::Ready(conn)) = &mut place.state else { return };
        while let Some(done) = conn.poll_done() {
            let Some(call) = place.calls.remove(&done.id) else { continue };
            if !done.sent && done.result.is_err() && !call.repeated {
                self.waiting.push_front(call.new.by, Call { repeated: true, ..call });
            } else {
                self.done.push_back((call.token, done.result));
            }
        }
    }

    /// A connection has ended. If it was not ready yet, the attempt has failed and the next address is tried.
    fn lost(&mut self, cx: &mut Cx<'_>, index: usize, why: Option<Closed>) {
        self.replace(cx, index, why);
        self.note(index);
    }

    fn replace(&mut self, cx: &mut Cx<'_>, index: usize, why: Option<Closed>) {
        let place = &mut self.places[index];
        let was = std::mem::replace(&mut place.state, State::Idle);
        for (_, call) in std::mem::take(&mut place.calls) {
            self.done.push_back((call.token, Err(Status::unavailable("error reading from server: EOF"))));
        }
        if place.retired {
            return;
        }
        match was {
            State::Connecting(conn, _) => {
                let address = place.addresses.get(place.at).map(ToString::to_string).unwrap_or_default();
                place.at += 1;
                let trouble = conn.io().trouble();
                let dialing = |why: String| format!("Error while dialing: dial tcp {address}: {why}");
                let why = match (trouble, why) {
                    (Some(trouble), _) if trouble.starts_with("proxy: ") => format!("Error while dialing: {trouble}"),
                    (Some(trouble), _) => format!("authentication handshake failed: {trouble}"),
                    (None, Some(Closed::Io(std::io::ErrorKind::ConnectionRefused))) => {
                        dialing("connect: connection refused".to_owned())
                    }
                    (None, Some(why)) => dialing(why.to_string()),
                    (None, None) => dialing("i/o timeout".to_owned()),
                };
                self.failed(&format!("connection error: desc = \"transport: {why}\""));
                self.connect(cx, index);
                // The name may have other addresses at the next attempt.
                if matches!(self.places[index].state, State::Pause(_)) {
                    self.resolve_at = None;
                }
            }
            State::Ready(_) => {
                place.at = 0;
                self.log.debug("Connection lost", &[("endpoint", Field::Str(&self.settings.endpoint))]);
                self.resolve(cx);
                self.connect_idle(cx);
            }
            State::Idle | State::Pause(_) => {}
        }
    }

    /// A deadline has passed: that of a pause, a connection attempt, a connection's machine or a waiting call.
    fn due(&mut self, cx: &mut Cx<'_>) {
        self.timer = None;
        let now = cx.now();
        if self.resolve_at.is_some_and(|at| at <= now) {
            self.resolve(cx);
        }
        while let Some(index) = self.due.pop_due(now) {
            let Some(place) = self.places.get_mut(index) else { continue };
            match &place.state {
                State::Pause(until) if *until <= now => {
                    place.state = State::Idle;
                    self.note(index);
                    // The name is looked up again; the result starts the attempt, in this turn if it is known already.
                    self.resolve(cx);
                    if !self.resolving {
                        self.connect_idle(cx);
                    }
                }
                State::Connecting(_, until) if *until <= now => self.lost(cx, index, None),
                State::Connecting(..) | State::Ready(_) => self.turn_place(cx, index),
                State::Pause(_) | State::Idle => self.note(index),
            }
            // It has been run; if it is still due, it is run again in the next turn.
            if self.due.is_due(index, now) {
                self.due.set(index, Some(now + Duration::from_nanos(1)));
            }
        }
        // The timer stays due while there are more.
        for _ in 0..CALLS_A_TURN {
            let Some(call) = self.waiting.pop_due(now) else { break };
            self.done.push_back((call.token, Err(self.too_late())));
        }
    }

    fn too_late(&self) -> Status {
        let why = self.last_error.as_deref().map_or_else(String::new, |e| format!("; last error: {e}"));
        let mut status = Status::deadline_exceeded();
        status.message = format!("context deadline exceeded while waiting for connections to become ready{why}").into();
        status
    }

    // ---- calls --------------------------------------------------------------------------------------------------

    /// Starts waiting calls on ready connections, as many as the turn allows.
    fn place_calls(&mut self, cx: &mut Cx<'_>) {
        while !self.waiting.is_empty() && !self.usable.is_empty() {
            if !self.prepare_first(cx) {
                break;
            }
            // The next place in rotation, or the first one.
            let next = self.usable.range(self.turn..).next().or_else(|| self.usable.first()).copied();
            let Some(index) = next else { break };
            self.turn = index + 1;
            if self.start_first(cx, index) {
                self.note(index);
            } else {
                // It took no call although it was usable; it is not used before its next event.
                self.usable.remove(&index);
            }
        }
        self.fail_waiting(cx);
    }

    fn ask_again(&mut self, cx: &mut Cx<'_>) {
        if !self.asked_again {
            self.asked_again = true;
            cx.again(self.base);
        }
    }

    /// Has the first waiting call's message compressed on a helper thread, if it is long. `false` if the call can't
    /// start yet: its message is still being compressed, or the limits of this turn are used up.
    fn prepare_first(&mut self, cx: &mut Cx<'_>) -> bool {
        if self.calls_left == 0 {
            self.ask_again(cx);
            return false;
        }
        let coding = &self.settings.compression;
        let Some(call) = self.waiting.front_mut() else { return true };
        match &call.message {
            Message::Compressed => true,
            Message::AsItIs if coding.is_identity() => true,
            Message::AsItIs => {
                let length = call.new.message.iter().map(Bytes::len).sum::<usize>();
                // Each part has a fixed cost, however short it is.
                let work = length.saturating_add(call.new.message.len().saturating_mul(64));
                if work > COMPRESS_HERE {
                    let (coding, parts) = (coding.in_grpc(), std::mem::take(&mut call.new.message));
                    let compress = move || Workspace::new().compress(&coding, parts.iter().map(|part| &part[..]));
                    call.message = Message::Compressing(cx.run_job(self.base, compress));
                    return false;
                }
                if self.compress_left == 0 {
                    self.ask_again(cx);
                    return false;
                }
                self.compress_left = self.compress_left.saturating_sub(work);
                true
            }
            // The end of the job is an event.
            Message::Compressing(result) => match result.take() {
                Some(made) => {
                    call.new.message = std::iter::once(made).collect();
                    call.message = Message::Compressed;
                    true
                }
                None => false,
            },
        }
    }

    /// Starts the first waiting call on the connection of a place. `false` if the connection takes no call now.
    fn start_first(&mut self, cx: &mut Cx<'_>, index: usize) -> bool {
        let now = cx.now();
        let Some(Place { state: State::Ready(conn), calls, .. }) = self.places.get_mut(index) else { return false };
        let Some(call) = self.waiting.pop_front() else { return true };
        let mut metadata = Cow::Borrowed(&self.settings.headers[..]);
        if let Some(auth) = &self.auth {
            match credentials(auth.headers(cx)) {
                Ok(more) => metadata.to_mut().extend(more),
                Err(why) => {
                    self.done.push_back((call.token, Err(Status::new(Code::Unauthenticated, why))));
                    return true;
                }
            }
        }
        let outgoing = Outgoing {
            path: &call.new.path,
            metadata: &metadata,
            encoding: self.settings.compression.clone(),
            compressed: matches!(call.message, Message::Compressed),
            message: call.new.message.iter().cloned(),
            deadline: (call.new.by != Mono::NEVER).then_some(call.new.by.0),
        };
        self.calls_left = self.calls_left.saturating_sub(1);
        match conn.start(now.0, outgoing) {
            Ok(id) => {
                calls.insert(id, call);
                let turn = conn.flush(now.0);
                self.collect(index);
                if turn.closed {
                    self.lost(cx, index, turn.why);
                }
                true
            }
            Err(otelcore_http::grpc::client::NotReady::Call) => {
                self.done.push_back((call.token, Err(Status::internal("the call cannot be encoded"))));
                true
            }
            Err(_) => {
                self.waiting.push_front(call.new.by, call);
                false
            }
        }
    }

    /// The last error, if no connection is ready or being made and calls do not wait for ready.
    fn hopeless(&self) -> Option<&str> {
        let hope = self.resolving && self.last_error.is_none() || self.hopeful > 0;
        self.last_error.as_deref().filter(|_| !hope && !self.settings.wait_for_ready)
    }

    /// If no connection is ready or being made, fails calls that do not wait for ready, as many as the turn allows.
    fn fail_waiting(&mut self, cx: &mut Cx<'_>) {
        if self.waiting.is_empty() {
            return;
        }
        let Some(why) = self.hopeless().map(str::to_owned) else { return };
        while self.calls_left > 0 {
            let Some(call) = self.waiting.pop_front() else { return };
            self.calls_left -= 1;
            self.done.push_back((call.token, Err(Status::unavailable(why.clone()))));
        }
        self.ask_again(cx);
    }

    fn failed(&mut self, why: &str) {
        self.log.debug("Connection failed", &[("error", Field::Str(why))]);
        self.last_error = Some(why.to_owned());
    }

    /// Keeps one timer at the earliest of all deadlines.
    fn rearm(&mut self, cx: &mut Cx<'_>) {
        if self.closed {
            return;
        }
        let calls = self.waiting.first_due().filter(|by| *by != Mono::NEVER);
        let due = self.due.first().into_iter().chain(calls).chain(self.resolve_at).min();
        if due != self.timer.map(|(at, _)| at) {
            if let Some((_, id)) = self.timer.take() {
                cx.cancel(id);
            }
            self.timer = due.map(|at| (at, cx.arm(self.base, at)));
        }
    }
}

impl Place {
    fn new(addresses: Vec<PeerAddr>) -> Self {
        Self {
            addresses,
            at: 0,
            state: State::Idle,
            failures: 0,
            retired: false,
            calls: BTreeMap::new(),
            hopeful: false,
        }
    }

    fn is_free(&self) -> bool {
        matches!(self.state, State::Idle) && self.calls.is_empty()
    }
}

/// The pause after this number of failures: gRPC's connection backoff.
fn backoff(cx: &mut Cx<'_>, failures: u32) -> Duration {
    let base = (BACKOFF_BASE * BACKOFF_FACTOR.powi(i32::try_from(failures.min(64)).unwrap_or(64))).min(BACKOFF_MAX);
    let swing = (cx.rand() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0;
    Duration::from_secs_f64(base * (1.0 + BACKOFF_JITTER * swing))
}

/// The host of an authority; an IPv6 address is returned without its brackets.
fn host(authority: &http::uri::Authority) -> &str {
    authority.host().trim_start_matches('[').trim_end_matches(']')
}

/// The header fields of an authenticator, as metadata.
fn credentials(said: Result<Vec<(String, String)>, String>) -> Result<Headers, String> {
    let field = |(name, value): (String, String)| {
        let name = HeaderName::try_from(name).ok()?;
        let mut value = HeaderValue::try_from(value).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    };
    said?
        .into_iter()
        .map(field)
        .collect::<Option<_>>()
        .ok_or_else(|| "the authenticator's credentials have characters that a header can't have".to_owned())
}

#[cfg(test)]
mod tests;
