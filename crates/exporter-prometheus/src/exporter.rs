//! The exporter: payloads into the registry, pages out of it over HTTP.
//!
//! A payload is delivered as soon as it has been read; nothing waits. Series that expire go at the next scrape, or with
//! a timer when nobody scrapes.

use std::sync::Arc;
use std::time::Duration;

use otelcore_exposition::{Accept, Encoding, Offer};
use otelcore_http::coding::Deflater;
use otelcore_http::h1::RequestHead;
use otelcore_net::{Page, PageServer, not_found};
use otelcore_pipeline::{
    Budget, Build, Cx, Done, Error, Event, Exporter, Fate, Field, JobId, Logger, Mono, Outcome, Payload, StartError,
};

use crate::config::{PageSettings, Prometheus};
use crate::registry::Registry;
use crate::report::Report;

/// The local key of the timer; the page server has the keys above.
const SWEEP: u64 = 0;
const SERVER: u64 = 1;

/// A sweep visits every series: not more often than this.
const MIN_SWEEP: Duration = Duration::from_secs(1);

/// Pages compress well at any level, and each is read once.
const GZIP_LEVEL: u32 = 1;

/// The `prometheus` exporter.
pub(crate) struct PrometheusExporter {
    page: PageSettings,
    server: PageServer,
    /// Waits here for the seed, which only a world can give.
    report: Option<Report>,
    registry: Option<Registry>,
    deflater: Deflater,
    log: Logger,
    budget: Arc<Budget>,
    /// New series were refused by the last payload that had any.
    refusing: bool,
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
            deflater: Deflater::new(),
            log,
            budget: build.budget.clone(),
            refusing: false,
        })
    }

    fn arm(&self, cx: &mut Cx<'_>) {
        let at = cx.now() + self.page.metric_expiration.max(MIN_SWEEP);
        cx.arm(SWEEP, at);
    }
}

impl PrometheusExporter {
    /// Says what became of a payload of which `refused` points found no room. Points of known series always do.
    fn settle(&mut self, job: JobId, items: u32, refused: u64, done: &mut Done) {
        if refused == 0 {
            self.refusing &= !self.budget.has_room();
            return done.push(job, Outcome::Delivered);
        }
        if !std::mem::replace(&mut self.refusing, true) {
            let fields = [("kept_mib", Field::Uint(self.budget.kept() >> 20))];
            self.log
                .warn("Memory usage is above the limit. Refusing new series; known ones are still updated.", &fields);
        }
        let refused = u32::try_from(refused).unwrap_or(u32::MAX);
        match items.saturating_sub(refused) {
            // Series expire, so that there may be room later.
            0 => done.push(job, Outcome::Retry { after: None, why: Error::new(REFUSED) }),
            delivered => done.pieces(job, Fate { delivered, rejected: refused, ..Fate::default() }),
        }
    }
}

/// The text of the memory limiter's refusals.
const REFUSED: &str = "data refused due to high memory usage";

/// All values of a header, as one list.
fn list(head: &RequestHead, name: &str) -> String {
    let values = head.headers().filter(|(n, _)| n.eq_ignore_ascii_case(name));
    values.map(|(_, v)| String::from_utf8_lossy(v)).collect::<Vec<_>>().join(",")
}

/// The page for a request.
fn answer(registry: &mut Registry, deflater: &mut Deflater, now: Mono, head: &RequestHead) -> Page {
    if head.path() != "/metrics" {
        return not_found();
    }
    let accept = head.get("accept").map(String::from_utf8_lossy).unwrap_or_default();
    let accept = Accept::choose(&accept, Offer::TEXT);
    let body = match registry.render(now, &accept) {
        Ok(body) => body,
        Err(e) => return Page::text(500, e.to_string()).header("X-Content-Type-Options", "nosniff"),
    };
    match Encoding::choose(&list(head, "accept-encoding")) {
        Encoding::Identity => Page::new(200, accept.content_type(), body),
        Encoding::Gzip => {
            let packed = deflater.gzip([body.as_slice()], GZIP_LEVEL);
            Page::new(200, accept.content_type(), packed).header("Content-Encoding", "gzip")
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
        let Some(registry) = &mut self.registry else { return done.push(job, Outcome::Delivered) };
        registry.push(payload, cx.now());
        let refused = registry.take_refused();
        self.settle(job, payload.items(), refused, done);
    }

    fn event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, _: &mut Done) {
        let Some(registry) = &mut self.registry else { return };
        if local == SWEEP {
            registry.expire(cx.now());
            return self.arm(cx);
        }
        let deflater = &mut self.deflater;
        self.server.event(cx, local, &event, |cx, head| answer(registry, deflater, cx.now(), head));
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.server.close(cx);
    }
}
