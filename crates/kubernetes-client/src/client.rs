//! The client: sends the requests of several [`ListWatch`] machines, and passes the objects of their responses on.
//!
//! ```text
//!  waiting --due--> (token, rate) --GET--> head --200--> body --its end--> waiting, or the next request at once
//!     ^                                     |             |
//!     +------------- pause <----------------+-------------+-- error, other status
//! ```
//! What is not read stays at the server: a turn reads a bounded number of bytes, and nothing while the consumer has paused
//! the client. Never keeps an object.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_net::{
    BodyRead, HttpClient, HttpRequest, HttpRequestError, HttpResponse, HttpTimeouts, Method, ResponseMode, Url,
    parse_retry_after,
};
use otelcore_pipeline::{ClientAuth, Cx, Event, LogField, Logger, MonotonicTime, StartError, StatusReport, TimerId};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::config::KubernetesApiConfig;
use crate::list_watch::{ListWatch, WatchSpec};
use crate::server::ApiServer;
use crate::splitter::{BodyKind, JsonSplitter, MAX_OBJECT, PieceKind};
use crate::token::{RequestRate, TokenSource};

/// Bytes of bodies that are read in one turn of the loop.
const MAX_BYTES_PER_TURN: usize = 128 << 10;
/// A part counts as at least this many bytes of the turn.
const MIN_PART_WORK: usize = 1024;
/// The longest text of a refusal that is read.
const MAX_REFUSAL: usize = 8 << 10;
/// The longest pause that a server can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(120);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For the head of a response, and the next bytes of a list. The server ends a request after 60 seconds.
const LIST_TIMEOUT: Duration = Duration::from_secs(75);
/// For the next bytes of a watch: bookmarks come about each minute.
const WATCH_IDLE_TIMEOUT: Duration = Duration::from_secs(240);
/// A watch that has ended sooner, without an event, is not repeated at once.
const MIN_WATCH: Duration = Duration::from_secs(1);

/// Local keys, from the base on.
const TURN_KEY: u64 = 0;
const TIMER_KEY: u64 = 1;
const TOKEN_KEY: u64 = 2;
const HTTP_KEYS: u64 = 16;

/// Identifies a watch of a client. They are numbered from zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WatchId(pub usize);

/// What is known of an object that is passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangeKind {
    /// It is in the list.
    Listed,
    /// It is new.
    Added,
    /// It has changed.
    Modified,
    /// It is gone. This is what it was at last.
    Deleted,
}

/// Receives the objects.
pub trait ObjectConsumer {
    /// A list begins: objects that it lacks do not exist any more. It may begin again before it has ended.
    fn begin_list(&mut self, watch: WatchId);

    /// An object as JSON, of at most [`MAX_OBJECT`] bytes.
    ///
    /// # Errors
    /// Why it is left out, for the log.
    fn apply(&mut self, cx: &mut Cx<'_>, watch: WatchId, change: ChangeKind, object: &[u8]) -> Result<(), String>;

    /// The list has ended.
    fn end_list(&mut self, cx: &mut Cx<'_>, watch: WatchId);
}

enum WatchState {
    /// The next request is due then.
    Waiting(MonotonicTime),
    /// It has no response yet.
    Requested,
    /// The body is being read.
    Reading,
    /// There is nothing to ask for.
    Idle,
    /// The text of a refusal is being read.
    Refused { status: u16, text: Vec<u8>, retry_after: Option<Duration> },
}

struct Watcher {
    machine: ListWatch,
    state: WatchState,
    /// Of the request in progress.
    token: u64,
    began: MonotonicTime,
    has_events: bool,
    splitter: JsonSplitter,
    /// `metadata` of the list: its version and the token of the next page.
    page: ListMetadata,
    /// Why the last request failed, unless one has succeeded since.
    error: Option<String>,
    left_out: u64,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ListMetadata {
    resource_version: String,
    #[serde(rename = "continue")]
    continue_token: String,
}

#[derive(Deserialize)]
struct WatchEvent<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Versioned {
    metadata: ListMetadata,
}

/// An answer of the server that is not an object.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ApiStatus {
    message: String,
    code: u16,
}

/// Lists and watches resources, until it is closed. It uses the component's local keys from `base` on.
pub struct WatchClient {
    server: ApiServer,
    http: HttpClient,
    log: Logger,
    base: u64,
    watchers: Vec<Watcher>,
    readable: BTreeSet<u64>,
    next_token: u64,
    credentials: TokenSource,
    rate: RequestRate,
    bytes_left: usize,
    turn_requested: bool,
    timer: Option<(MonotonicTime, TimerId)>,
    is_paused: bool,
    is_closed: bool,
    failures: u64,
}

impl std::fmt::Debug for WatchClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchClient").field("watches", &self.watchers.len()).finish_non_exhaustive()
    }
}

impl WatchClient {
    /// Finds the server. For the start of a component: it reads files.
    ///
    /// # Errors
    /// See [`ApiServer::find`].
    pub fn start(config: &KubernetesApiConfig, cx: &mut Cx<'_>, log: Logger, base: u64) -> Result<Self, StartError> {
        let server = ApiServer::find(config, cx)?;
        Ok(Self::for_server(server, config, cx, log, base))
    }

    /// A client for a server that was found with this configuration.
    #[must_use]
    pub fn for_server(server: ApiServer, config: &KubernetesApiConfig, cx: &Cx<'_>, log: Logger, base: u64) -> Self {
        let rate = RequestRate::new(config.requests_per_second(), config.burst(), cx.now());
        Self::new(server, None, rate, log, base)
    }

    /// A client for a server that is known. `auth` applies further credentials to each request.
    #[must_use]
    pub fn with_server(
        server: ApiServer,
        auth: Option<Rc<dyn ClientAuth>>,
        cx: &Cx<'_>,
        log: Logger,
        base: u64,
    ) -> Self {
        let config = KubernetesApiConfig::default();
        let rate = RequestRate::new(config.requests_per_second(), config.burst(), cx.now());
        Self::new(server, auth, rate, log, base)
    }

    fn new(server: ApiServer, auth: Option<Rc<dyn ClientAuth>>, rate: RequestRate, log: Logger, base: u64) -> Self {
        // Without HttpClient::start there is no proxy: the server is in the cluster, as in the Go collector.
        let http = HttpClient::new(Rc::new(server.client.clone()), auth, log.clone(), base + HTTP_KEYS);
        Self {
            credentials: TokenSource::new(&server.credentials),
            rate,
            server,
            http,
            log,
            base,
            watchers: Vec::new(),
            readable: BTreeSet::new(),
            next_token: 0,
            bytes_left: MAX_BYTES_PER_TURN,
            turn_requested: false,
            timer: None,
            is_paused: false,
            is_closed: false,
            failures: 0,
        }
    }

    /// Uses the proxies that the configuration of the HTTP client names. Without this there are none.
    ///
    /// # Errors
    /// A proxy or a certificate can't be used.
    pub fn find_proxies(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let url = Url::parse(&self.server.url).map_err(|error| StartError::Config(error.to_string()))?;
        self.http.start(cx, &[&url])
    }

    /// Adds a watch, whose list begins in the next turn.
    pub fn add_watch(&mut self, cx: &mut Cx<'_>, spec: WatchSpec) -> WatchId {
        self.watchers.push(Watcher {
            machine: ListWatch::new(spec),
            state: WatchState::Waiting(cx.now()),
            token: u64::MAX,
            began: cx.now(),
            has_events: false,
            splitter: JsonSplitter::new(BodyKind::List),
            page: ListMetadata::default(),
            error: None,
            left_out: 0,
        });
        self.request_turn(cx);
        WatchId(self.watchers.len() - 1)
    }

    /// Lists everything again: the consumer has lost what it had.
    pub fn reset(&mut self, cx: &mut Cx<'_>) {
        for index in 0..self.watchers.len() {
            if let Some(watcher) = self.watchers.get_mut(index) {
                watcher.machine.reset();
            }
            self.wait(cx, index, Duration::ZERO);
        }
        self.request_turn(cx);
    }

    /// Lists the objects of a watch in [`crate::WatchMode::List`] again. False, and without effect, while it is listed.
    pub fn list_again(&mut self, cx: &mut Cx<'_>, watch: WatchId) -> bool {
        let Some(watcher) = self.watchers.get_mut(watch.0) else { return false };
        if !matches!(watcher.state, WatchState::Idle) {
            return false;
        }
        watcher.machine.restart();
        watcher.state = WatchState::Waiting(cx.now());
        self.request_turn(cx);
        true
    }

    /// Up to which version the objects of a watch have been passed on; `None` while they are listed.
    #[must_use]
    pub fn version(&self, watch: WatchId) -> Option<&str> {
        self.watchers.get(watch.0)?.machine.version()
    }

    /// While it is paused, nothing is read and nothing is passed on.
    pub fn set_paused(&mut self, cx: &mut Cx<'_>, is_paused: bool) {
        self.is_paused = is_paused;
        if !is_paused {
            self.request_turn(cx);
        }
    }

    /// Why the last request of a watch failed; `None` while it is listed or watched.
    #[must_use]
    pub fn error(&self, watch: WatchId) -> Option<&str> {
        self.watchers.get(watch.0)?.error.as_deref()
    }

    /// How often a request has failed, or a watch has ended with an error.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// Handles an event under one of its keys.
    pub fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>, consumer: &mut dyn ObjectConsumer) {
        match local.wrapping_sub(self.base) {
            TURN_KEY => {
                self.turn_requested = false;
                self.bytes_left = MAX_BYTES_PER_TURN;
            }
            TIMER_KEY => self.timer = None,
            TOKEN_KEY => self.credentials.end_reading(cx.now(), &self.log),
            HTTP_KEYS.. => self.http.handle_event(cx, local, event),
            _ => {}
        }
        if !self.is_closed && !self.is_paused {
            self.advance(cx, consumer);
        }
    }

    /// Closes all connections. Watches that have failed do not count for the component's status any more.
    pub fn close(&mut self, cx: &mut Cx<'_>) {
        self.is_closed = true;
        for (index, watcher) in self.watchers.iter_mut().enumerate() {
            if watcher.error.take().is_some() {
                cx.report_status(self.base + index as u64, StatusReport::Ok);
            }
        }
        self.http.close(cx);
        if let Some((_, id)) = self.timer.take() {
            cx.cancel_timer(id);
        }
    }

    fn advance(&mut self, cx: &mut Cx<'_>, consumer: &mut dyn ObjectConsumer) {
        loop {
            self.send_due(cx, consumer);
            self.readable.extend(std::iter::from_fn(|| self.http.poll_readable()));
            if let Some((token, result)) = self.http.poll_result() {
                self.handle_head(cx, token, result);
            } else if self.bytes_left > 0
                && let Some(token) = self.readable.pop_first()
            {
                self.read(cx, token, consumer);
            } else {
                break;
            }
        }
        if !self.readable.is_empty() {
            self.request_turn(cx);
        }
        self.update_timer(cx);
    }

    /// Sends the requests that are due, if the token and the rate permit.
    fn send_due(&mut self, cx: &mut Cx<'_>, consumer: &mut dyn ObjectConsumer) {
        let now = cx.now();
        for index in 0..self.watchers.len() {
            let is_due = |watcher: &Watcher| matches!(watcher.state, WatchState::Waiting(at) if at <= now);
            if !self.watchers.get(index).is_some_and(is_due) {
                continue;
            }
            if !self.credentials.is_ready(cx, self.base + TOKEN_KEY) || !self.rate.take(now) {
                return;
            }
            self.send(cx, index, consumer);
        }
    }

    fn send(&mut self, cx: &mut Cx<'_>, index: usize, consumer: &mut dyn ObjectConsumer) {
        let duration = ListWatch::watch_duration(cx.random());
        let now = cx.now();
        let Some(watcher) = self.watchers.get_mut(index) else { return };
        let is_list = watcher.machine.is_list();
        if watcher.machine.is_first_page() && !watcher.machine.wants_version_only() {
            consumer.begin_list(WatchId(index));
        }
        watcher.splitter = JsonSplitter::new(if is_list { BodyKind::List } else { BodyKind::Stream });
        watcher.page = ListMetadata::default();
        (watcher.began, watcher.has_events) = (now, false);
        let url = match Url::parse(&format!("{}{}", self.server.url, watcher.machine.target(duration))) {
            Ok(url) => url,
            Err(error) => return self.fail(cx, index, error.to_string(), None),
        };
        let mut request = HttpRequest::new(Method::GET, Arc::new(url));
        let accept = match (watcher.machine.spec.metadata_only, is_list) {
            (false, _) => "application/json",
            (true, true) => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
            (true, false) => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
        };
        request.headers.push(("Accept".into(), accept.into()));
        request.headers.extend(self.credentials.header().map(|value| ("Authorization".into(), value.into())));
        let idle = if is_list { LIST_TIMEOUT } else { WATCH_IDLE_TIMEOUT };
        request.timeouts = HttpTimeouts { connect: Some(CONNECT_TIMEOUT), head: Some(LIST_TIMEOUT), idle: Some(idle) };
        if !is_list {
            request.deadline = now + duration + Duration::from_secs(60);
        }
        request.response = ResponseMode::Streamed;
        let token = self.next_token;
        self.next_token += 1;
        (watcher.token, watcher.state) = (token, WatchState::Requested);
        self.http.start_request(cx, token, request);
    }

    /// The watch of a request in progress. There are few of them.
    fn watch_of(&self, token: u64) -> Option<usize> {
        let is_request = |watcher: &Watcher| {
            watcher.token == token && !matches!(watcher.state, WatchState::Waiting(_) | WatchState::Idle)
        };
        self.watchers.iter().position(is_request)
    }

    fn handle_head(&mut self, cx: &mut Cx<'_>, token: u64, result: Result<HttpResponse, HttpRequestError>) {
        let Some(index) = self.watch_of(token) else { return };
        let Some(watcher) = self.watchers.get_mut(index) else { return };
        match result {
            Err(error) => self.fail(cx, index, error.to_string(), None),
            Ok(response) if response.status == 200 => {
                watcher.state = WatchState::Reading;
                if !watcher.machine.is_list() {
                    self.succeed(cx, index);
                }
            }
            Ok(response) => {
                let retry_after = response.header("retry-after");
                let retry_after = retry_after.and_then(|value| parse_retry_after(value, cx.wall_time().0));
                watcher.state = WatchState::Refused { status: response.status, text: Vec::new(), retry_after };
            }
        }
    }

    /// Reads what has arrived of a body, within the limit of the turn.
    fn read(&mut self, cx: &mut Cx<'_>, token: u64, consumer: &mut dyn ObjectConsumer) {
        while let Some(index) = self.watch_of(token) {
            if self.bytes_left == 0 {
                self.readable.insert(token);
                return;
            }
            match self.http.read_body(cx, token) {
                BodyRead::Pending => return,
                BodyRead::Data(data) => {
                    self.bytes_left = self.bytes_left.saturating_sub(data.len().max(MIN_PART_WORK));
                    self.handle_data(cx, index, &data, consumer);
                }
                BodyRead::End => self.handle_end(cx, index, consumer),
                // A watch whose time is over may end this way, and what has arrived counts.
                BodyRead::Failed(error) => self.fail(cx, index, error.to_string(), None),
            }
        }
    }

    fn handle_data(&mut self, cx: &mut Cx<'_>, index: usize, data: &[u8], consumer: &mut dyn ObjectConsumer) {
        let mut input = data;
        while let Some(watcher) = self.watchers.get_mut(index) {
            if let WatchState::Refused { text, .. } = &mut watcher.state {
                let room = MAX_REFUSAL.saturating_sub(text.len());
                text.extend_from_slice(input.get(..room.min(input.len())).unwrap_or_default());
                return if text.len() >= MAX_REFUSAL {
                    self.handle_end(cx, index, consumer)
                };
            }
            let piece = match watcher.splitter.push(&mut input) {
                Ok(None) => return,
                Ok(Some(piece)) => piece,
                Err(error) => return self.fail(cx, index, error.to_owned(), None),
            };
            let result = match piece {
                PieceKind::TooLong => Err(format!("it is longer than {MAX_OBJECT} bytes")),
                PieceKind::ListMetadata => {
                    match serde_json::from_slice(watcher.splitter.piece()) {
                        Ok(page) => watcher.page = page,
                        Err(error) => return self.fail(cx, index, error.to_string(), None),
                    }
                    Ok(())
                }
                PieceKind::Object if watcher.machine.is_list() && watcher.machine.wants_version_only() => Ok(()),
                PieceKind::Object if watcher.machine.is_list() => {
                    consumer.apply(cx, WatchId(index), ChangeKind::Listed, watcher.splitter.piece())
                }
                PieceKind::Object => match watcher.apply_event(cx, WatchId(index), consumer) {
                    Ok(result) => result,
                    Err(status) => return self.end_watch(cx, index, status),
                },
            };
            if let Err(reason) = result {
                self.leave_out(index, &reason);
            }
        }
    }

    /// The server ends a watch with an error.
    fn end_watch(&mut self, cx: &mut Cx<'_>, index: usize, status: ApiStatus) {
        if let Some(watcher) = self.watchers.get_mut(index) {
            match status.code {
                410 => watcher.machine.restart_from_newest(),
                // Without a list of all objects, changes since the last version would be lost.
                _ if watcher.machine.wants_version_only() => {}
                _ => watcher.machine.restart(),
            }
        }
        self.fail(cx, index, format!("the watch has ended: {}", status.message), None);
    }

    fn leave_out(&mut self, index: usize, reason: &str) {
        let Some(watcher) = self.watchers.get_mut(index) else { return };
        watcher.left_out += 1;
        if watcher.left_out.is_power_of_two() {
            let resource = ("resource", LogField::Str(watcher.machine.spec.resource()));
            let count = ("count", LogField::Uint(watcher.left_out));
            let fields = [resource, ("reason", LogField::Str(reason)), count];
            self.log.warn("an object of the Kubernetes API server is left out", &fields);
        }
    }

    /// The end of a body.
    fn handle_end(&mut self, cx: &mut Cx<'_>, index: usize, consumer: &mut dyn ObjectConsumer) {
        let Some(watcher) = self.watchers.get_mut(index) else { return };
        if let WatchState::Refused { status, text, retry_after } = &watcher.state {
            let (status, retry_after) = (*status, *retry_after);
            let message = serde_json::from_slice::<ApiStatus>(text).map(|status| status.message).unwrap_or_default();
            let path = &watcher.machine.spec.path;
            let mut error = format!("the server answered GET {path} with status {status}");
            if !message.is_empty() {
                error = format!("{error}: {message}");
            }
            match status {
                401 => self.credentials.expire(),
                403 => {
                    let resource = watcher.machine.spec.resource();
                    error.push_str(&format!("; grant `list` and `watch` on {resource} to the collector's account"));
                }
                410 => watcher.machine.restart_from_newest(),
                _ => {}
            }
            return self.fail(cx, index, error, retry_after);
        }
        if let Err(error) = watcher.splitter.finish() {
            return self.fail(cx, index, error.to_owned(), None);
        }
        let is_short = cx.now().since(watcher.began) < MIN_WATCH && !watcher.has_events;
        if watcher.machine.is_list() {
            let ListMetadata { resource_version, continue_token } = std::mem::take(&mut watcher.page);
            if resource_version.is_empty() && watcher.machine.needs_version() {
                return self.fail(cx, index, "the list has no resourceVersion".to_owned(), None);
            }
            let has_objects = !watcher.machine.wants_version_only();
            if watcher.machine.end_page(&resource_version, &continue_token) && has_objects {
                consumer.end_list(cx, WatchId(index));
            }
            self.succeed(cx, index);
        } else if is_short {
            return self.fail(cx, index, "the watch has ended at once".to_owned(), None);
        }
        self.wait(cx, index, Duration::ZERO);
    }

    /// A list has been read, or a watch has begun: reports the end of an error.
    fn succeed(&mut self, cx: &mut Cx<'_>, index: usize) {
        let Some(watcher) = self.watchers.get_mut(index) else { return };
        if watcher.error.take().is_some() {
            let resource = ("resource", LogField::Str(watcher.machine.spec.resource()));
            self.log.info("objects of the Kubernetes API server are read again", &[resource]);
            cx.report_status(self.base + index as u64, StatusReport::Ok);
        }
    }

    /// A request has failed: the next one follows after a pause.
    fn fail(&mut self, cx: &mut Cx<'_>, index: usize, error: String, retry_after: Option<Duration>) {
        self.failures += 1;
        let random = cx.random();
        let Some(watcher) = self.watchers.get_mut(index) else { return };
        let is_interrupted_watch = !watcher.machine.is_list() && watcher.has_events;
        let pause = watcher.machine.fail(random).max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER));
        let resource = ("resource", LogField::Str(watcher.machine.spec.resource()));
        let fields = [resource, ("error", LogField::Str(&error))];
        // Servers end watches when they restart; what follows says whether something is wrong.
        if is_interrupted_watch || watcher.error.as_ref() == Some(&error) {
            self.log.debug("a request to the Kubernetes API server has failed", &fields);
        } else {
            self.log.warn("objects of the Kubernetes API server can't be read", &fields);
        }
        if !is_interrupted_watch {
            let text = format!("{}: {error}", watcher.machine.spec.resource());
            cx.report_status(self.base + index as u64, StatusReport::RecoverableError(&text));
            watcher.error = Some(error);
        }
        self.wait(cx, index, pause);
    }

    /// Ends the request of a watch. The next one follows after a pause.
    fn wait(&mut self, cx: &mut Cx<'_>, index: usize, pause: Duration) {
        let Some(watcher) = self.watchers.get_mut(index) else { return };
        self.readable.remove(&watcher.token);
        self.http.cancel_request(cx, watcher.token);
        let is_idle = watcher.machine.is_idle();
        watcher.state = if is_idle { WatchState::Idle } else { WatchState::Waiting(cx.now() + pause) };
    }

    fn request_turn(&mut self, cx: &mut Cx<'_>) {
        if !std::mem::replace(&mut self.turn_requested, true) {
            cx.request_ready(self.base + TURN_KEY);
        }
    }

    fn update_timer(&mut self, cx: &mut Cx<'_>) {
        let due = |watcher: &Watcher| match watcher.state {
            WatchState::Waiting(at) => Some(at),
            _ => None,
        };
        let next = self.watchers.iter().filter_map(due).min();
        // A request that is due and has not been sent waits for the token, whose job has an event, or for the rate.
        let next = match next {
            Some(_) if self.credentials.is_reading() => None,
            Some(at) => Some(at.max(self.rate.next_at(cx.now()))),
            None => None,
        };
        if next != self.timer.as_ref().map(|(at, _)| *at) {
            if let Some((_, id)) = self.timer.take() {
                cx.cancel_timer(id);
            }
            self.timer = next.map(|at| (at, cx.set_timer(self.base + TIMER_KEY, at)));
        }
    }
}

impl Watcher {
    /// Passes on the event that the splitter has cut off. The outer error ends the watch.
    fn apply_event(
        &mut self,
        cx: &mut Cx<'_>,
        watch: WatchId,
        consumer: &mut dyn ObjectConsumer,
    ) -> Result<Result<(), String>, ApiStatus> {
        let event: WatchEvent<'_> = match serde_json::from_slice(self.splitter.piece()) {
            Ok(event) => event,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let object = event.object.get();
        let change = match event.kind.as_str() {
            "ADDED" => Some(ChangeKind::Added),
            "MODIFIED" => Some(ChangeKind::Modified),
            "DELETED" => Some(ChangeKind::Deleted),
            "BOOKMARK" => None,
            "ERROR" => return Err(serde_json::from_str(object).unwrap_or_default()),
            other => return Ok(Err(format!("unknown type of event {other:?}"))),
        };
        self.has_events = true;
        let result = change.map_or(Ok(()), |change| consumer.apply(cx, watch, change, object.as_bytes()));
        match serde_json::from_str::<Versioned>(object) {
            Ok(object) => self.machine.advance_to(&object.metadata.resource_version),
            Err(error) => return Ok(Err(error.to_string())),
        }
        Ok(result)
    }
}
