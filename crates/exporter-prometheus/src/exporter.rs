//! The exporter: reads payloads into the registry and serves its pages over HTTP.
//!
//! A payload is delivered as soon as it has been read, which takes several turns of the loop if it is large; payloads
//! are read one after another. Series that have expired are removed at the next scrape, or by a timer if there is no
//! scrape.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use otelcore_exposition::{Accept, Encoding, Offer};
use otelcore_http::coding::GzipStream;
use otelcore_http::h1::RequestHead;
use otelcore_net::{Answer, Next, Page, PageServer, Pages, not_found};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    Budget, Build, Cx, Done, Error, Event, Exporter, Fate, Field, Held, JobId, Kept, Logger, Mono, Outcome, Payload,
    StartError,
};

use crate::config::{PageSettings, Prometheus};
use crate::intake::Intake;
use crate::page::{Progress, RenderError, Rendering};
use crate::registry::Registry;
use crate::report::Report;
use crate::work::Work;

/// The local key of the timer; the page server has the keys above.
const SWEEP: u64 = 0;
const SERVER: u64 = 1;
/// The key of the event that continues reading.
const INTAKE: u64 = u64::MAX;

/// A sweep visits every series: this is the minimum interval between sweeps.
const MIN_SWEEP: Duration = Duration::from_secs(1);

/// A low level: pages compress well at any level, and each is read once.
const GZIP_LEVEL: u32 = 1;

/// The `prometheus` exporter.
pub(crate) struct PrometheusExporter {
    page: PageSettings,
    server: PageServer<Body>,
    /// Stored here until `start`: the registry needs a seed, which comes from the world.
    report: Option<Report>,
    registry: Option<Registry>,
    log: Logger,
    budget: Arc<Budget>,
    /// New series of the last payload that had any were refused.
    refusing: bool,
    /// The payload that is being read, and those that wait to be read.
    jobs: VecDeque<Job>,
    /// The work that is left in this turn.
    work: Work,
}

/// A payload to be read.
struct Job {
    id: JobId,
    items: u32,
    intake: Intake,
    /// Points that were refused for lack of memory so far.
    refused: u64,
    /// The charge for the body.
    _held: Held,
}

impl PrometheusExporter {
    pub(crate) fn new(settings: &Prometheus, report: Report, build: &Build<'_>) -> Result<Self, StartError> {
        let log = build.log.clone();
        Ok(Self {
            page: settings.page.clone(),
            server: PageServer::new(
                &settings.server,
                settings.server.authenticator(build.auth)?,
                log.clone(),
                build.telemetry,
            ),
            report: Some(report),
            registry: None,
            log,
            budget: build.budget.clone(),
            refusing: false,
            jobs: VecDeque::new(),
            work: Work::step(),
        })
    }

    fn arm(&self, cx: &mut Cx<'_>) {
        let at = cx.now() + self.page.metric_expiration.max(MIN_SWEEP);
        cx.arm(SWEEP, at);
    }
}

impl PrometheusExporter {
    /// Reads payloads, in their order, until the work of this turn is done.
    fn read(&mut self, cx: &mut Cx<'_>, done: &mut Done) {
        let Some(registry) = &mut self.registry else { return };
        while let Some(job) = self.jobs.front_mut() {
            let ended = registry.take_step(&mut job.intake, cx.now(), &mut self.work);
            job.refused += registry.take_refused();
            if !ended {
                return cx.again(INTAKE);
            }
            if let Some(job) = self.jobs.pop_front() {
                settle(&self.budget, &self.log, &mut self.refusing, &job, done);
            }
        }
    }
}

/// Reports the outcome of a payload that has been read.
fn settle(budget: &Budget, log: &Logger, refusing: &mut bool, job: &Job, done: &mut Done) {
    if job.refused == 0 {
        *refusing &= !budget.has_room();
        return done.push(job.id, Outcome::Delivered);
    }
    if !std::mem::replace(refusing, true) {
        let fields = [("kept_mib", Field::Uint(budget.kept() >> 20))];
        log.warn("Memory usage is above the limit. Refusing new series; known ones are still updated.", &fields);
    }
    let refused = u32::try_from(job.refused).unwrap_or(u32::MAX);
    match job.items.saturating_sub(refused) {
        // Series expire, so that there may be room later.
        0 => done.push(job.id, Outcome::Retry { after: None, why: Error::new(REFUSED) }),
        delivered => done.pieces(job.id, Fate { delivered, rejected: refused, ..Fate::default() }),
    }
}

/// The text of the memory limiter's refusals.
const REFUSED: &str = "data refused due to high memory usage";

/// All values of a header, as one list.
fn list(head: &RequestHead, name: &str) -> String {
    let values = head.headers().filter(|(n, _)| n.eq_ignore_ascii_case(name));
    values.map(|(_, v)| String::from_utf8_lossy(v)).collect::<Vec<_>>().join(",")
}

/// A page that is being rendered for a scraper.
pub(crate) struct Body {
    rendering: Rendering,
    content_type: &'static str,
    gzip: Option<GzipStream>,
    /// The page is compressed.
    packed: bool,
    begun: bool,
    /// The charge for the compressor.
    _kept: Kept,
}

/// Pages of the registry.
struct Scrapes<'a> {
    registry: &'a mut Registry,
    budget: &'a Arc<Budget>,
    log: &'a Logger,
}

impl Pages for Scrapes<'_> {
    type Body = Body;

    fn answer(&mut self, cx: &mut Cx<'_>, head: &RequestHead) -> Answer<Body> {
        if head.path() != "/metrics" {
            return Answer::Page(not_found());
        }
        let accept = head.get("accept").map(String::from_utf8_lossy).unwrap_or_default();
        let accept = Accept::choose(&accept, Offer::TEXT);
        let gzip = match Encoding::choose(&list(head, "accept-encoding")) {
            Encoding::Identity => None,
            Encoding::Gzip => Some(GzipStream::new(GZIP_LEVEL)),
        };
        let kept = self.budget.keep(if gzip.is_some() { GzipStream::MEMORY } else { 0 });
        let rendering = Rendering::new(cx.now(), self.budget);
        Answer::Body(Body {
            rendering,
            content_type: accept.content_type(),
            packed: gzip.is_some(),
            gzip,
            begun: false,
            _kept: kept,
        })
    }

    fn next(&mut self, _: &mut Cx<'_>, body: &mut Body) -> Next {
        let mut piece = Vec::new();
        let progress = match self.registry.render_step(&mut body.rendering, &mut piece, &mut Work::step()) {
            Ok(progress) => progress,
            Err(RenderError::Gather(e)) => {
                return Next::Page(Page::text(500, e.to_string()).header("X-Content-Type-Options", "nosniff"));
            }
            Err(e) => {
                self.log.error("error gathering metrics", &[("error", Field::Str(&e.to_string()))]);
                return Next::Cut;
            }
        };
        let complete = progress == Progress::Complete;
        if let Some(gzip) = &mut body.gzip {
            let plain = std::mem::take(&mut piece);
            if !plain.is_empty() {
                gzip.push(&plain, &mut piece);
            }
        }
        if complete && let Some(gzip) = body.gzip.take() {
            gzip.finish(&mut piece);
        }
        let (content_type, packed) = (body.content_type, body.packed);
        let page = |piece: Vec<u8>| {
            let page = Page::new(200, content_type, piece);
            if packed { page.header("Content-Encoding", "gzip") } else { page }
        };
        match (body.begun, complete) {
            (false, true) => Next::Page(page(piece)),
            (true, true) => Next::End(piece.into()),
            (_, false) if piece.is_empty() => Next::Later,
            (false, false) => {
                body.begun = true;
                Next::Begin(page(piece))
            }
            (true, false) => Next::Piece(piece.into()),
        }
    }
}

impl Exporter for PrometheusExporter {
    fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let address = self.server.open(cx, SERVER).map_err(StartError)?;
        let seed = cx.rand();
        let report = self.report.take().unwrap_or_else(Report::silent);
        self.registry = Some(Registry::new(&self.page, seed, report).charged_to(&self.budget));
        self.arm(cx);
        self.log.info("Serving Prometheus metrics", &[("endpoint", Field::Str(&address))]);
        Ok(())
    }

    fn send(&mut self, cx: &mut Cx<'_>, job: JobId, payload: &Payload, _: Mono, done: &mut Done) {
        if payload.signal != Signal::Metrics {
            return done.push(job, Outcome::Delivered);
        }
        let (intake, held) = (Intake::new(payload.body.clone()), payload.held.clone());
        self.jobs.push_back(Job { id: job, items: payload.items(), intake, refused: 0, _held: held });
        if self.jobs.len() == 1 {
            self.read(cx, done);
        }
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, done: &mut Done) {
        let Some(registry) = &mut self.registry else { return };
        match local {
            SWEEP if registry.expire_step(cx.now(), &mut Work::step()) => return self.arm(cx),
            SWEEP => return cx.again(SWEEP),
            INTAKE => {
                self.work = Work::step();
                return self.read(cx, done);
            }
            _ => {}
        }
        let mut scrapes = Scrapes { registry, budget: &self.budget, log: &self.log };
        self.server.event_with(cx, local, &event, &mut scrapes);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.server.close(cx);
    }
}
