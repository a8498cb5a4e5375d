//! The exporter: reads payloads into the registry and serves its pages over HTTP.
//!
//! A payload is delivered as soon as it has been read, which takes several turns of the loop if it is large; payloads
//! are read one after another. Series that have expired are removed at the next scrape, or by a timer if there is no
//! scrape.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use otelcore_exposition::{NegotiatedFormat, PageEncoding, SupportedFormats};
use otelcore_http::h1::RequestHead;
use otelcore_net::{Page, PageHandler, PageResponse, PageServer, PageStep, not_found};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    AttemptId, Budget, BuildContext, Cx, Error, Event, Exporter, Held, Kept, LogField, Logger, MonotonicTime, Outcome,
    Outcomes, PartialOutcome, Payload, StartError,
};

use crate::body_reader::BodyReader;
use crate::config::{PageConfig, PrometheusConfig};
use crate::dropped_points::DroppedPoints;
use crate::page::RenderProgress;
use crate::page_compressor::PageCompressor;
use crate::page_rendering::PageRendering;
use crate::registry::SeriesRegistry;
use crate::step_budget::StepBudget;

/// The local key of the timer; the page server has the keys above.
const SWEEP_KEY: u64 = 0;
const SERVER_KEY: u64 = 1;
/// The key of the event that continues reading.
const READ_KEY: u64 = u64::MAX;

/// A sweep visits every series: this is the minimum interval between sweeps.
const MIN_SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The longest time for a page that a scraper may state.
const MAX_SCRAPE_TIMEOUT: Duration = Duration::from_hours(1);

/// The `prometheus` exporter.
pub(crate) struct PrometheusExporter {
    page: PageConfig,
    server: PageServer<ScrapeBody>,
    /// Stored here until `start`: the registry needs a seed, which comes from the world.
    dropped: Option<DroppedPoints>,
    registry: Option<SeriesRegistry>,
    /// Formats and escapings of pages.
    formats: SupportedFormats,
    log: Logger,
    budget: Arc<Budget>,
    /// New series of the last payload that had any were refused.
    is_refusing: bool,
    /// The payload that is being read, and those that wait to be read.
    pending: VecDeque<PendingPayload>,
    /// The work that is left in this turn.
    budget_of_turn: StepBudget,
}

/// A payload to be read.
struct PendingPayload {
    attempt: AttemptId,
    items: u32,
    reader: BodyReader,
    /// Points that were refused for lack of memory so far.
    refused: u64,
    /// The charge for the body.
    _held: Held,
}

impl PrometheusExporter {
    pub(crate) fn new(
        config: &PrometheusConfig,
        dropped: DroppedPoints,
        build: &BuildContext<'_>,
    ) -> Result<Self, StartError> {
        let log = build.log.clone();
        Ok(Self {
            page: config.page(),
            server: PageServer::new(
                &config.server,
                config.server.authenticator(build.capabilities)?,
                log.clone(),
                build.telemetry,
            )
            .with_request_metrics(&config.server, build.telemetry),
            dropped: Some(dropped),
            registry: None,
            formats: if config.enable_open_metrics {
                SupportedFormats::ALL
            } else {
                SupportedFormats::WITHOUT_OPEN_METRICS
            },
            log,
            budget: build.budget.clone(),
            is_refusing: false,
            pending: VecDeque::new(),
            budget_of_turn: StepBudget::for_one_step(),
        })
    }

    fn set_sweep_timer(&self, cx: &mut Cx<'_>) {
        let at = cx.now() + self.page.metric_expiration.max(MIN_SWEEP_INTERVAL);
        cx.set_timer(SWEEP_KEY, at);
    }
}

impl PrometheusExporter {
    /// Reads payloads, in their order, until the work of this turn is done.
    fn read_payloads(&mut self, cx: &mut Cx<'_>, outcomes: &mut Outcomes) {
        let Some(registry) = &mut self.registry else { return };
        while let Some(payload) = self.pending.front_mut() {
            let is_read = registry.read_step(&mut payload.reader, cx.now(), &mut self.budget_of_turn);
            payload.refused += registry.take_refused();
            if !is_read {
                return cx.request_ready(READ_KEY);
            }
            if let Some(payload) = self.pending.pop_front() {
                push_outcome(&self.budget, &self.log, &mut self.is_refusing, &payload, outcomes);
            }
        }
    }
}

/// Reports the outcome of a payload that has been read.
fn push_outcome(
    budget: &Budget,
    log: &Logger,
    is_refusing: &mut bool,
    payload: &PendingPayload,
    outcomes: &mut Outcomes,
) {
    if payload.refused == 0 {
        *is_refusing &= !budget.has_room();
        return outcomes.push(payload.attempt, Outcome::Delivered);
    }
    if !std::mem::replace(is_refusing, true) {
        let fields = [("kept_mib", LogField::Uint(budget.kept() >> 20))];
        log.warn("Memory usage is above the limit. Refusing new series; known ones are still updated.", &fields);
    }
    let refused = u32::try_from(payload.refused).unwrap_or(u32::MAX);
    match payload.items.saturating_sub(refused) {
        // Series expire, so that there may be room later.
        0 => outcomes.push(payload.attempt, Outcome::Retry { after: None, why: Error::new(REFUSED_MESSAGE) }),
        delivered => outcomes.push_partial(
            payload.attempt,
            PartialOutcome { delivered, rejected: refused, ..PartialOutcome::default() },
        ),
    }
}

/// The text of the memory limiter's refusals.
const REFUSED_MESSAGE: &str = "data refused due to high memory usage";

/// All values of a header, as one list.
fn header_list(head: &RequestHead, name: &str) -> String {
    let values = head.headers().filter(|(n, _)| n.eq_ignore_ascii_case(name));
    values.map(|(_, v)| String::from_utf8_lossy(v)).collect::<Vec<_>>().join(",")
}

/// How long the scraper waits for the page, as Prometheus states it: a number of seconds.
fn scrape_timeout(head: &RequestHead) -> Option<Duration> {
    let value = String::from_utf8_lossy(head.get("x-prometheus-scrape-timeout-seconds")?).trim().parse().ok()?;
    Duration::try_from_secs_f64(value).ok().filter(|timeout| !timeout.is_zero() && *timeout <= MAX_SCRAPE_TIMEOUT)
}

/// A page that is being rendered for a scraper.
pub(crate) struct ScrapeBody {
    rendering: PageRendering,
    content_type: &'static str,
    /// The value of `Content-Encoding`, if the page is compressed.
    coding: Option<&'static str>,
    compressor: Option<PageCompressor>,
    is_started: bool,
    /// When the scraper has given up.
    deadline: MonotonicTime,
    /// The charge for the compressor.
    _kept: Kept,
}

/// Pages of the registry.
struct ScrapeHandler<'a> {
    registry: &'a mut SeriesRegistry,
    formats: SupportedFormats,
    budget: &'a Arc<Budget>,
    log: &'a Logger,
}

impl PageHandler for ScrapeHandler<'_> {
    type Body = ScrapeBody;

    fn respond(&mut self, cx: &mut Cx<'_>, head: &RequestHead) -> PageResponse<ScrapeBody> {
        if head.path() != "/metrics" {
            return PageResponse::Whole(not_found());
        }
        let accept = head.get("accept").map(String::from_utf8_lossy).unwrap_or_default();
        let format = NegotiatedFormat::negotiate(&accept, self.formats);
        let compressor = PageCompressor::new(PageEncoding::negotiate(&header_list(head, "accept-encoding")));
        let kept = self.budget.keep(compressor.as_ref().map_or(0, PageCompressor::memory));
        PageResponse::Streamed(ScrapeBody {
            rendering: PageRendering::new(cx.now(), format, self.budget),
            content_type: format.content_type(),
            coding: compressor.as_ref().map(PageCompressor::coding),
            compressor,
            is_started: false,
            deadline: scrape_timeout(head).map_or(MonotonicTime::NEVER, |timeout| cx.now() + timeout),
            _kept: kept,
        })
    }

    fn poll_body(&mut self, cx: &mut Cx<'_>, body: &mut ScrapeBody) -> PageStep {
        if cx.now() > body.deadline {
            return PageStep::Abort;
        }
        let mut piece = Vec::new();
        let progress = match self.registry.render_step(&mut body.rendering, &mut piece, &mut StepBudget::for_one_step())
        {
            Ok(progress) => progress,
            Err(e) => {
                self.log.error("error gathering metrics", &[("error", LogField::Str(&e.to_string()))]);
                return PageStep::Abort;
            }
        };
        let complete = progress == RenderProgress::Complete;
        if let Some(compressor) = &mut body.compressor {
            let uncompressed = std::mem::take(&mut piece);
            if !uncompressed.is_empty() && !compressor.push(&uncompressed, &mut piece) {
                return PageStep::Abort;
            }
        }
        if complete
            && let Some(compressor) = body.compressor.take()
            && !compressor.finish(&mut piece)
        {
            return PageStep::Abort;
        }
        let (content_type, coding) = (body.content_type, body.coding);
        let page = |piece: Vec<u8>| {
            let page = Page::new(200, content_type, piece);
            match coding {
                Some(coding) => page.header("Content-Encoding", coding),
                None => page,
            }
        };
        match (body.is_started, complete) {
            (false, true) => PageStep::Page(page(piece)),
            (true, true) => PageStep::LastData(piece.into()),
            (_, false) if piece.is_empty() => PageStep::Pending,
            (false, false) => {
                body.is_started = true;
                PageStep::Head(page(piece))
            }
            (true, false) => PageStep::Data(piece.into()),
        }
    }
}

impl Exporter for PrometheusExporter {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let address = self.server.open(cx, SERVER_KEY)?;
        let seed = cx.random();
        let dropped = self.dropped.take().unwrap_or_else(DroppedPoints::without_log);
        self.registry = Some(SeriesRegistry::new(&self.page, seed, dropped).with_budget(&self.budget));
        self.set_sweep_timer(cx);
        self.log.info("Serving Prometheus metrics", &[("endpoint", LogField::Str(&address))]);
        Ok(())
    }

    fn send(
        &mut self,
        cx: &mut Cx<'_>,
        attempt: AttemptId,
        payload: &Payload,
        _: MonotonicTime,
        outcomes: &mut Outcomes,
    ) {
        if payload.signal != Signal::Metrics {
            return outcomes.push(attempt, Outcome::Delivered);
        }
        let (reader, held) = (BodyReader::new(payload.body.clone()), payload.held.clone());
        self.pending.push_back(PendingPayload { attempt, items: payload.items(), reader, refused: 0, _held: held });
        if self.pending.len() == 1 {
            self.read_payloads(cx, outcomes);
        }
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, outcomes: &mut Outcomes) {
        let Some(registry) = &mut self.registry else { return };
        match local {
            SWEEP_KEY if registry.expire_step(cx.now(), &mut StepBudget::for_one_step()) => {
                return self.set_sweep_timer(cx);
            }
            SWEEP_KEY => return cx.request_ready(SWEEP_KEY),
            READ_KEY => {
                self.budget_of_turn = StepBudget::for_one_step();
                return self.read_payloads(cx, outcomes);
            }
            _ => {}
        }
        let mut handler = ScrapeHandler { registry, formats: self.formats, budget: &self.budget, log: &self.log };
        self.server.handle_event_with(cx, local, &event, &mut handler);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.server.close(cx);
    }
}
