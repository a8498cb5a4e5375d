//! Scrapes of pages at targets: each target at its own time within the interval, and never twice at once.
//!
//! ```text
//!  waiting --due--> queued (below `max_concurrent`) --GET--> head --200--> body --its end--> waiting
//!                                                      |       |            |
//!                                                      +-------+------------+--error, timeout--> waiting
//! ```
//! A page is passed to the [`ScrapeConsumer`] as it arrives, decompressed, in parts of at most [`MAX_PART`] bytes; while the
//! consumer's share of a turn is used up, nothing is read from the peer. So a scrape holds no more than two parts, however
//! long the page is. Never reads a page itself, and never retries: the next interval does.

mod schedule;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use otelcore_http::Bytes;
use otelcore_http::coding::{GunzipError, GunzipStream};
use otelcore_pipeline::{ClientAuth, Cx, Event, Logger, MonotonicTime, StartError, StatusReport, TimerId, WallTime};
use slab::Slab;

use crate::config::HttpClientConfig;
use crate::deadlines::DeadlineQueue;
use crate::http_client::{
    BodyRead, HeaderField, HttpClient, HttpRequest, HttpRequestError, HttpResponse, ResponseMode,
};
use crate::url::Url;

pub use schedule::{hash_target, scrape_offset};

/// The longest part of a page that a consumer gets at once, in bytes: what the consumer may do with it is a part of a turn.
pub const MAX_PART: usize = 16 << 10;
/// Bytes of pages that are passed on in one turn of the loop: parsing them takes about 5 ms.
const MAX_BYTES_PER_TURN: usize = 256 << 10;
/// A part counts as at least this many bytes of the turn.
const MIN_PART_WORK: usize = 1024;
/// Scrapes begun in one turn.
const MAX_STARTS_PER_TURN: usize = 64;

/// When a target is scraped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScrapeSchedule {
    /// The time between two scrapes.
    pub interval: Duration,
    /// The longest time of one scrape.
    pub timeout: Duration,
    /// The first scrape is later by this time.
    pub first_delay: Duration,
}

impl Default for ScrapeSchedule {
    /// The intervals of Prometheus.
    fn default() -> Self {
        Self { interval: Duration::from_mins(1), timeout: Duration::from_secs(10), first_delay: Duration::ZERO }
    }
}

/// Configuration of a scraper. It applies to all of its targets.
#[derive(Clone, Debug)]
pub struct ScraperConfig {
    /// A page of this many bytes or more, decompressed, is refused; zero disables the limit.
    pub max_page: u64,
    /// `Accept`: the formats that the consumer reads.
    pub accept: String,
    /// Whether compressed pages are asked for.
    pub accepts_gzip: bool,
    /// Further header fields.
    pub headers: Vec<HeaderField>,
    /// Scrapes at once. Others that are due wait for their turn.
    pub max_concurrent: usize,
    /// Added to each target's hash, so that several collectors scrape the same targets at different times.
    pub offset_seed: u64,
}

impl Default for ScraperConfig {
    fn default() -> Self {
        Self {
            max_page: 0,
            accept: "*/*".to_owned(),
            accepts_gzip: true,
            headers: Vec::new(),
            max_concurrent: 256,
            offset_seed: 0,
        }
    }
}

/// Identifies a target of a scraper. The number of a removed target is used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TargetId(pub usize);

/// Receives the pages. [`ScrapeConsumer::begin`] is called when a target has responded with 200, then
/// [`ScrapeConsumer::push`] for each part of the page, and [`ScrapeConsumer::end`] once for each scrape, also for those that
/// failed before `begin`.
pub trait ScrapeConsumer {
    /// A page follows, of a scrape that began at `started`. Its `Content-Type` says in which format.
    ///
    /// # Errors
    /// The page is not read: [`ScrapeError::Page`] or [`ScrapeError::NoRoom`].
    fn begin(
        &mut self,
        cx: &mut Cx<'_>,
        target: TargetId,
        started: WallTime,
        response: &HttpResponse,
    ) -> Result<(), ScrapeError>;

    /// The next part of the page. A line may continue in the next part. A consumer that has not worked off all of it gets
    /// an empty part next, in this turn or a later one, until it has.
    ///
    /// # Errors
    /// The rest of the page is not read: [`ScrapeError::Page`] or [`ScrapeError::NoRoom`].
    fn push(&mut self, cx: &mut Cx<'_>, target: TargetId, part: &[u8]) -> Result<Pushed, ScrapeError>;

    /// The scrape has ended. Unless its result is `Ok`, what was pushed is not a whole page.
    fn end(&mut self, cx: &mut Cx<'_>, target: TargetId, report: &ScrapeReport);
}

/// What became of a part of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pushed {
    /// What it has cost in addition to reading the bytes, as a number of bytes, for the limit of the turn.
    pub work: usize,
    /// All of it is worked off.
    pub is_done: bool,
}

impl Default for Pushed {
    fn default() -> Self {
        Self { work: 0, is_done: true }
    }
}

/// What is known of a scrape when it has ended.
#[derive(Clone, Debug)]
pub struct ScrapeReport {
    /// The wall clock when it began.
    pub started: WallTime,
    /// How long it took.
    pub duration: Duration,
    /// Bytes of the page, decompressed.
    pub page_bytes: u64,
    /// Whether the page is whole, or else why not.
    pub result: Result<(), ScrapeError>,
}

/// Why a scrape failed. The texts are those of Prometheus.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ScrapeError {
    /// The target could not be reached, did not respond in time, or broke HTTP.
    #[error("{0}")]
    Request(HttpRequestError),
    /// The target responded with another status than 200.
    #[error("server returned HTTP status {0}{reason}", reason = status_reason(*.0))]
    Status(u16),
    /// The page is longer than `max_page`.
    #[error("body size limit exceeded")]
    TooLarge,
    /// The target's page is not the gzip that it claims to be.
    #[error("{0}")]
    Gzip(GunzipError),
    /// The target's page is not in a format that the consumer reads.
    #[error("{0}")]
    Page(String),
    /// No target of the scraper is scraped, for this reason ([`Scraper::refuse_scrapes`]).
    #[error("{0}")]
    Refused(Arc<str>),
    /// The consumer has no room for the page now.
    #[error("no memory for the page")]
    NoRoom,
    /// The target was removed, or the scraper closed, meanwhile.
    #[error("the scrape was cancelled")]
    Cancelled,
}

/// A space and the words for a status; nothing for one without words.
#[must_use]
pub fn status_reason(status: u16) -> String {
    let known = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    known.map(|reason| format!(" {reason}")).unwrap_or_default()
}

struct Target {
    url: Arc<Url>,
    schedule: ScrapeSchedule,
    /// When the next scrape is due.
    due: MonotonicTime,
    /// The token of the scrape in flight.
    in_flight: Option<u64>,
    is_queued: bool,
    /// The last scrape has failed.
    has_failed: bool,
}

struct Scrape {
    target: usize,
    began_at: MonotonicTime,
    started: WallTime,
    page_bytes: u64,
    /// Decompresses the page, if it is compressed.
    gunzip: Option<GunzipStream>,
    /// What was received and is not decompressed and passed on yet.
    pending: Bytes,
    /// The last part was as long as a part may be, so that the decompressor may hold more.
    may_hold_more: bool,
    /// The consumer has not worked off the last part.
    has_rest: bool,
}

/// The scraper. It uses the component's local keys from `base` on, as many as its client.
pub struct Scraper {
    config: ScraperConfig,
    client: HttpClient,
    base: u64,
    targets: Slab<Target>,
    due: DeadlineQueue<usize>,
    /// Targets that are due and wait until fewer scrapes are in flight.
    queued: VecDeque<usize>,
    /// Scrapes in flight, by token.
    scrapes: BTreeMap<u64, Scrape>,
    /// Those with a part that may be read.
    readable: BTreeSet<u64>,
    next_token: u64,
    bytes_left: usize,
    starts_left: usize,
    turn_requested: bool,
    timer: Option<(MonotonicTime, TimerId)>,
    /// Why no target is scraped.
    refusal: Option<Arc<str>>,
    /// No scrape is begun at its time any more.
    stopped: bool,
    closed: bool,
}

impl std::fmt::Debug for Scraper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (targets, in_flight) = (self.targets.len(), self.scrapes.len());
        f.debug_struct("Scraper").field("targets", &targets).field("in_flight", &in_flight).finish_non_exhaustive()
    }
}

impl Scraper {
    /// A scraper without targets.
    #[must_use]
    pub fn new(
        config: ScraperConfig,
        client: Rc<HttpClientConfig>,
        auth: Option<Rc<dyn ClientAuth>>,
        log: Logger,
        base: u64,
    ) -> Self {
        Self {
            config,
            client: HttpClient::new(client, auth, log, base + 1),
            base,
            targets: Slab::new(),
            due: DeadlineQueue::default(),
            queued: VecDeque::new(),
            scrapes: BTreeMap::new(),
            readable: BTreeSet::new(),
            next_token: 0,
            bytes_left: MAX_BYTES_PER_TURN,
            starts_left: MAX_STARTS_PER_TURN,
            turn_requested: false,
            timer: None,
            refusal: None,
            stopped: false,
            closed: false,
        }
    }

    /// Finds the proxies, and loads certificates if one of these URLs needs them.
    ///
    /// # Errors
    /// Certificates or a proxy that can't be used.
    pub fn start(&mut self, cx: &mut Cx<'_>, urls: &[&Url]) -> Result<(), StartError> {
        self.client.start(cx, urls)
    }

    /// Adds a target. Its first scrape is within one interval, at the time that follows from `hash` (see
    /// [`hash_target`]), and later by the delay of its schedule; the others follow at each interval.
    pub fn add_target(&mut self, cx: &mut Cx<'_>, url: Arc<Url>, hash: u64, schedule: ScrapeSchedule) -> TargetId {
        let offset = scrape_offset(hash, self.config.offset_seed, schedule.interval, cx.wall_time());
        let due = cx.now() + offset + schedule.first_delay;
        let target = Target { url, schedule, due, in_flight: None, is_queued: false, has_failed: false };
        let index = self.targets.insert(target);
        self.due.set(index, Some(due));
        self.update_timer(cx);
        TargetId(index)
    }

    /// Number of targets.
    #[must_use]
    pub fn targets(&self) -> usize {
        self.targets.len()
    }

    /// With a reason, no target is requested: each scrape ends at its time with [`ScrapeError::Refused`].
    pub fn refuse_scrapes(&mut self, reason: Option<&str>) {
        self.refusal = reason.map(Arc::from);
    }

    /// Scrapes every target now that has no scrape in flight, regardless of its schedule.
    pub fn scrape_now(&mut self, cx: &mut Cx<'_>, consumer: &mut dyn ScrapeConsumer) {
        for (index, target) in &mut self.targets {
            if !target.is_queued && target.in_flight.is_none() {
                target.is_queued = true;
                self.queued.push_back(index);
            }
        }
        self.advance(cx, consumer);
    }

    /// No scrape is begun or queued.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.scrapes.is_empty() && self.queued.is_empty()
    }

    /// Begins no scrape at its time any more; those that have begun or are queued go on.
    pub fn stop_schedule(&mut self, cx: &mut Cx<'_>) {
        self.due.clear();
        self.stopped = true;
        self.update_timer(cx);
    }

    /// When the next scrape of a target is due.
    #[must_use]
    pub fn next_scrape(&self, target: TargetId) -> Option<MonotonicTime> {
        self.targets.get(target.0).map(|target| target.due)
    }

    /// Removes a target. A scrape in flight is cancelled.
    pub fn remove_target(&mut self, cx: &mut Cx<'_>, target: TargetId, consumer: &mut dyn ScrapeConsumer) {
        let Some(token) = self.targets.get(target.0).map(|target| target.in_flight) else { return };
        if let Some(token) = token {
            self.client.cancel_request(cx, token);
            self.finish(cx, token, Err(ScrapeError::Cancelled), consumer);
        }
        self.due.set(target.0, None);
        // Entries of `queued` are checked when they are taken.
        if self.targets.remove(target.0).has_failed {
            cx.report_status(self.base + target.0 as u64, StatusReport::Ok);
        }
        self.advance(cx, consumer);
    }

    /// Handles an event under one of its keys.
    pub fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>, consumer: &mut dyn ScrapeConsumer) {
        match (local == self.base, event) {
            (true, Event::Timer) => {
                self.timer = None;
                self.queue_due_targets(cx);
            }
            (true, _) => {
                self.turn_requested = false;
                (self.bytes_left, self.starts_left) = (MAX_BYTES_PER_TURN, MAX_STARTS_PER_TURN);
                self.queue_due_targets(cx);
            }
            (false, event) => self.client.handle_event(cx, local, event),
        }
        self.advance(cx, consumer);
    }

    /// Closes every connection and cancels the scrapes in flight.
    pub fn close(&mut self, cx: &mut Cx<'_>, consumer: &mut dyn ScrapeConsumer) {
        self.closed = true;
        self.client.close(cx);
        let tokens: Vec<u64> = self.scrapes.keys().copied().collect();
        for token in tokens {
            self.finish(cx, token, Err(ScrapeError::Cancelled), consumer);
        }
        self.due.clear();
        self.queued.clear();
        if let Some((_, id)) = self.timer.take() {
            cx.cancel_timer(id);
        }
    }

    /// Moves targets whose time has come to the queue, as many as a turn may begin.
    fn queue_due_targets(&mut self, cx: &mut Cx<'_>) {
        for _ in 0..MAX_STARTS_PER_TURN {
            let Some(index) = self.due.pop_due(cx.now()) else { return };
            if let Some(target) = self.targets.get_mut(index).filter(|target| !target.is_queued) {
                target.is_queued = true;
                self.queued.push_back(index);
            }
        }
        self.request_turn(cx);
    }

    /// Begins scrapes, reads pages and ends scrapes, until nothing is left or the turn is used up.
    fn advance(&mut self, cx: &mut Cx<'_>, consumer: &mut dyn ScrapeConsumer) {
        loop {
            self.start_queued(cx, consumer);
            self.readable.extend(std::iter::from_fn(|| self.client.poll_readable()));
            if let Some((token, result)) = self.client.poll_result() {
                self.handle_head(cx, token, result, consumer);
            } else if self.bytes_left > 0
                && let Some(token) = self.readable.pop_first()
            {
                self.read_page(cx, token, consumer);
            } else {
                break;
            }
        }
        if !self.readable.is_empty() {
            self.request_turn(cx);
        }
        self.update_timer(cx);
    }

    fn start_queued(&mut self, cx: &mut Cx<'_>, consumer: &mut dyn ScrapeConsumer) {
        while !self.closed && self.scrapes.len() < self.config.max_concurrent.max(1) && !self.queued.is_empty() {
            if self.starts_left == 0 {
                return self.request_turn(cx);
            }
            let Some(index) = self.queued.pop_front() else { return };
            let Some(target) = self.targets.get_mut(index).filter(|target| target.is_queued) else { continue };
            target.is_queued = false;
            let token = self.next_token;
            self.next_token += 1;
            self.starts_left -= 1;
            target.in_flight = Some(token);
            let now = cx.now();
            let mut request = HttpRequest::new(Method::GET, target.url.clone());
            let timeout = target.schedule.timeout.as_secs_f64();
            let encoding = if self.config.accepts_gzip { "gzip" } else { "identity" };
            request.headers.extend([
                ("Accept".into(), self.config.accept.clone().into()),
                ("Accept-Encoding".into(), encoding.into()),
                ("X-Prometheus-Scrape-Timeout-Seconds".into(), timeout.to_string().into()),
            ]);
            request.headers.extend(self.config.headers.iter().cloned());
            request.deadline = now + target.schedule.timeout;
            request.response = ResponseMode::Streamed;
            let scrape = Scrape {
                target: index,
                began_at: now,
                started: cx.wall_time(),
                page_bytes: 0,
                gunzip: None,
                pending: Bytes::new(),
                may_hold_more: false,
                has_rest: false,
            };
            self.scrapes.insert(token, scrape);
            match &self.refusal {
                Some(reason) => {
                    let refused = Err(ScrapeError::Refused(reason.clone()));
                    self.finish(cx, token, refused, consumer);
                }
                None => self.client.start_request(cx, token, request),
            }
        }
    }

    /// The head of a response, or a failure before it.
    fn handle_head(
        &mut self,
        cx: &mut Cx<'_>,
        token: u64,
        result: Result<HttpResponse, HttpRequestError>,
        consumer: &mut dyn ScrapeConsumer,
    ) {
        let Some(scrape) = self.scrapes.get_mut(&token) else { return };
        let result = match result {
            Err(e) => return self.finish(cx, token, Err(ScrapeError::Request(e)), consumer),
            Ok(response) if response.status != 200 => Err(ScrapeError::Status(response.status)),
            Ok(response) => {
                let is_gzip = response.header("content-encoding") == Some(b"gzip");
                scrape.gunzip = is_gzip.then(GunzipStream::new);
                consumer.begin(cx, TargetId(scrape.target), scrape.started, &response)
            }
        };
        if let Err(e) = result {
            self.abort(cx, token, e, consumer);
        }
    }

    /// Passes on what has arrived of a page, within the limit of the turn.
    fn read_page(&mut self, cx: &mut Cx<'_>, token: u64, consumer: &mut dyn ScrapeConsumer) {
        let mut unpacked = Vec::new();
        while let Some(scrape) = self.scrapes.get_mut(&token) {
            if self.bytes_left == 0 {
                self.readable.insert(token);
                return;
            }
            if scrape.pending.is_empty() && !scrape.may_hold_more && !scrape.has_rest {
                match self.client.read_body(cx, token) {
                    BodyRead::Data(data) => scrape.pending = data,
                    BodyRead::Pending => return,
                    BodyRead::Failed(e) => return self.finish(cx, token, Err(ScrapeError::Request(e)), consumer),
                    BodyRead::End => {
                        let end = scrape.gunzip.as_ref().map_or(Ok(()), GunzipStream::finish);
                        return self.finish(cx, token, end.map_err(ScrapeError::Gzip), consumer);
                    }
                }
            }
            let data;
            let part = match &mut scrape.gunzip {
                _ if scrape.has_rest => &[],
                None => {
                    data = scrape.pending.split_to(scrape.pending.len().min(MAX_PART));
                    &data[..]
                }
                Some(gunzip) => {
                    unpacked.clear();
                    match gunzip.push(&scrape.pending, &mut unpacked, MAX_PART) {
                        Ok(consumed) => scrape.pending = scrape.pending.slice(consumed..),
                        Err(e) => return self.abort(cx, token, ScrapeError::Gzip(e), consumer),
                    }
                    scrape.may_hold_more = unpacked.len() >= MAX_PART;
                    &unpacked[..]
                }
            };
            scrape.page_bytes = scrape.page_bytes.saturating_add(part.len() as u64);
            self.bytes_left = self.bytes_left.saturating_sub(part.len().max(MIN_PART_WORK));
            let result = if self.config.max_page > 0 && scrape.page_bytes >= self.config.max_page {
                Err(ScrapeError::TooLarge)
            } else if part.is_empty() && !scrape.has_rest {
                Ok(Pushed::default())
            } else {
                consumer.push(cx, TargetId(scrape.target), part)
            };
            match result {
                Ok(Pushed { work, is_done }) => {
                    self.bytes_left = self.bytes_left.saturating_sub(work);
                    scrape.has_rest = !is_done;
                }
                Err(e) => return self.abort(cx, token, e, consumer),
            }
        }
    }

    /// Ends a scrape whose page is not read to its end.
    fn abort(&mut self, cx: &mut Cx<'_>, token: u64, why: ScrapeError, consumer: &mut dyn ScrapeConsumer) {
        self.client.cancel_request(cx, token);
        self.finish(cx, token, Err(why), consumer);
    }

    fn finish(
        &mut self,
        cx: &mut Cx<'_>,
        token: u64,
        result: Result<(), ScrapeError>,
        consumer: &mut dyn ScrapeConsumer,
    ) {
        let Some(scrape) = self.scrapes.remove(&token) else { return };
        self.readable.remove(&token);
        let now = cx.now();
        if let Some(target) = self.targets.get_mut(scrape.target) {
            target.in_flight = None;
            target.due = schedule::next_after(target.due, target.schedule.interval, now);
            self.due.set(scrape.target, Some(target.due).filter(|_| !self.closed && !self.stopped));
            report_scrape(cx, self.base + scrape.target as u64, target, &result);
        }
        let Scrape { started, began_at, page_bytes, .. } = scrape;
        let report = ScrapeReport { started, duration: now.since(began_at), page_bytes, result };
        consumer.end(cx, TargetId(scrape.target), &report);
    }

    fn request_turn(&mut self, cx: &mut Cx<'_>) {
        if !std::mem::replace(&mut self.turn_requested, true) {
            cx.request_ready(self.base);
        }
    }

    fn update_timer(&mut self, cx: &mut Cx<'_>) {
        let deadline = self.due.next_deadline().filter(|_| !self.closed);
        if deadline != self.timer.map(|(at, _)| at) {
            if let Some((_, id)) = self.timer.take() {
                cx.cancel_timer(id);
            }
            self.timer = deadline.map(|at| (at, cx.set_timer(self.base, at)));
        }
    }
}

/// Reports the status of a target from the result of a scrape. A target without a failure before is not reported again.
fn report_scrape(cx: &mut Cx<'_>, part: u64, target: &mut Target, result: &Result<(), ScrapeError>) {
    match result {
        Err(ScrapeError::Cancelled) => {}
        Err(e) => {
            let text = format!("scrape of {} failed: {e}", target.url.authority());
            cx.report_status(part, StatusReport::RecoverableError(&text));
            target.has_failed = true;
        }
        Ok(()) if target.has_failed => {
            cx.report_status(part, StatusReport::Ok);
            target.has_failed = false;
        }
        Ok(()) => {}
    }
}
