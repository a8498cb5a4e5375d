//! When scrapes are made, and what is sent and logged of them.
//!
//! A scrape whose time comes while another one runs is left out. Owns the timer, the scrapes, and the watch of the node;
//! knows nothing of what the kubelet answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use otelcore_kubernetes_client::{ApiClient, ApiServer, KubernetesApiConfig, WatchClient, WatchSpec};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    BuildContext, Cx, Event, LogField, Logger, MonotonicTime, Outcome, Payload, PeriodicCount, PipelineInput, Receiver,
    ReceiverMetrics, StartError, StatusReport,
};
use otelcore_scraped_metrics::{ScrapeLog, ScraperCounters};

use crate::claims::ClaimLookups;
use crate::config::KubeletStatsConfig;
use crate::node::WatchedNode;
use crate::scrape::{KubeletScrape, ScrapeKeys};
use crate::target::find_kubelet;
use crate::writer::{LeftOut, ScrapeOutput};

/// Local keys.
const TIMER: u64 = 0;
const JOB: u64 = 1;
const KUBELET: u64 = 1 << 16;
const CLAIMS: u64 = 1 << 32;
const NODE: u64 = 1 << 48;

/// The scraper's name in metrics and logs.
const SCRAPER: &str = "kubelet_stats";

/// How often scrapes that are left out are logged.
const LOG_PERIOD: Duration = Duration::from_secs(60);

/// The receiver. See the module.
pub(crate) struct KubeletStatsReceiver {
    config: KubeletStatsConfig,
    log: Logger,
    /// `None` before the start.
    scrape: Option<KubeletScrape>,
    /// The watch of the node, where a metric is a part of what the node has.
    watch: Option<WatchClient>,
    node: WatchedNode,
    next_scrape: MonotonicTime,
    errors: ScrapeLog,
    has_failed: bool,
    skipped: PeriodicCount,
    /// What was left out in the last scrape.
    left_out: BTreeSet<LeftOut>,
    has_omitted: bool,
    metrics: ReceiverMetrics,
    counters: ScraperCounters,
    /// Items of the payloads without an outcome.
    sent: BTreeMap<u64, u32>,
    next_request: u64,
    is_closed: bool,
}

impl KubeletStatsReceiver {
    pub(crate) fn new(config: &KubeletStatsConfig, context: &BuildContext<'_>) -> Self {
        let id = context.id.to_string();
        Self {
            log: context.log.clone(),
            scrape: None,
            watch: None,
            node: WatchedNode::default(),
            next_scrape: MonotonicTime::NEVER,
            errors: ScrapeLog::default(),
            has_failed: false,
            skipped: PeriodicCount::new(LOG_PERIOD),
            left_out: BTreeSet::new(),
            has_omitted: false,
            metrics: ReceiverMetrics::new(context.telemetry, &id, "", context.signals),
            counters: ScraperCounters::new(context.telemetry, &id, SCRAPER),
            sent: BTreeMap::new(),
            next_request: 0,
            is_closed: false,
            config: config.clone(),
        }
    }

    /// The time of a scrape has come.
    fn begin_scrape(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        self.next_scrape = self.next_scrape + self.config.collection_interval;
        if self.next_scrape <= now {
            self.next_scrape = now + self.config.collection_interval;
        }
        cx.set_timer(TIMER, self.next_scrape);
        let Some(scrape) = &mut self.scrape else { return };
        if !scrape.is_running() {
            return scrape.begin(cx);
        }
        if let Some(count) = self.skipped.add(now, 1) {
            let fields = [("count", LogField::Uint(count))];
            self.log.warn("a scrape is left out, because the one before has not ended", &fields);
        }
    }

    fn finish(&mut self, cx: &mut Cx<'_>, result: Result<ScrapeOutput, String>, input: &mut PipelineInput<'_>) {
        let error = result.as_ref().err().map(String::as_str);
        self.errors.report(&self.log, SCRAPER, error);
        match error {
            Some(error) => cx.report_status(TIMER, StatusReport::RecoverableError(error)),
            None if self.has_failed => cx.report_status(TIMER, StatusReport::Ok),
            None => {}
        }
        self.has_failed = error.is_some();
        let Ok(output) = result else { return };
        self.counters.add(output.metrics, 0);
        self.log_left_out(&output);
        if output.body.items() == 0 || self.is_closed {
            return;
        }
        let body = output.body.finish();
        let held = input.budget().hold(body.len() as u64);
        let request = self.next_request;
        self.next_request += 1;
        self.sent.insert(request, body.items());
        input.send(cx, request, Payload { signal: Signal::Metrics, body, metadata: None, held });
    }

    /// Logs what is left out of a scrape and was not left out of the one before.
    fn log_left_out(&mut self, output: &ScrapeOutput) {
        for left_out in output.left_out.iter().filter(|left_out| !self.left_out.contains(left_out)) {
            let fields = [
                ("pod", LogField::Str(&left_out.pod)),
                (if left_out.is_volume { "volume" } else { "container" }, LogField::Str(&left_out.name)),
                ("error", LogField::Str(&left_out.error)),
            ];
            if left_out.is_volume {
                self.log.warn("Failed to gather additional volume metadata. Skipping metric collection.", &fields);
            } else {
                self.log.warn("failed to fetch container metrics", &fields);
            }
        }
        self.left_out = output.left_out.iter().cloned().collect();
        let omitted = output.more_left_out + output.above_limit;
        if omitted > 0 && !self.has_omitted {
            let fields = [
                ("count", LogField::Uint(omitted as u64)),
                ("above_size_limit", LogField::Uint(output.above_limit as u64)),
            ];
            self.log.warn("metrics of more pods, containers or volumes are left out", &fields);
        }
        self.has_omitted = omitted > 0;
    }

    /// What the API server is asked: claims of volumes, and the node.
    fn start_api(&mut self, cx: &mut Cx<'_>) -> Result<Option<ClaimLookups>, StartError> {
        let Some(api) = &self.config.k8s_api_config else { return Ok(None) };
        let server = ApiServer::find(api, cx)
            .map_err(|error| error.map_message(|error| format!("failed to create K8s API client: {error}")))?;
        if self.config.node_metric().is_some() {
            self.watch = Some(self.watch_node(cx, api)?);
        }
        let client = ApiClient::new(server, api, cx, self.log.clone(), CLAIMS);
        Ok(Some(ClaimLookups::new(client)))
    }

    fn watch_node(&self, cx: &mut Cx<'_>, api: &KubernetesApiConfig) -> Result<WatchClient, StartError> {
        let mut watch = WatchClient::start(api, cx, self.log.clone(), NODE)?;
        let field_selector = format!("metadata.name={}", self.config.node);
        watch.add_watch(cx, WatchSpec { field_selector, ..WatchSpec::new("", "v1", "nodes", "") });
        Ok(watch)
    }
}

impl Receiver for KubeletStatsReceiver {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let kubelet = find_kubelet(&self.config, cx, &self.log)?;
        let claims = self.start_api(cx)?;
        let keys = ScrapeKeys { job: JOB, kubelet: KUBELET };
        self.scrape = Some(KubeletScrape::new(&self.config, kubelet, claims, keys, cx, &self.log));
        self.next_scrape = cx.now() + Duration::from_nanos(self.config.initial_delay.nanos_or_zero());
        cx.set_timer(TIMER, self.next_scrape);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, input: &mut PipelineInput<'_>) {
        if self.is_closed {
            return;
        }
        if local >= NODE {
            if let Some(watch) = &mut self.watch {
                watch.handle_event(cx, local, &event, &mut self.node);
            }
            return;
        }
        if local == TIMER {
            self.begin_scrape(cx);
        }
        let (capacity, Some(scrape)) = (self.node.capacity, &mut self.scrape) else { return };
        let result = if local >= CLAIMS {
            scrape.handle_claims_event(cx, local, &event, capacity, input)
        } else {
            scrape.handle_event(cx, local, &event, capacity, input)
        };
        if let Some(result) = result {
            self.finish(cx, result, input);
        }
    }

    fn settled(&mut self, _: &mut Cx<'_>, request: u64, outcome: Outcome) {
        if let Some(items) = self.sent.remove(&request) {
            self.metrics.record_outcome(Signal::Metrics, items, &outcome);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>, _: MonotonicTime) {
        self.is_closed = true;
        if let Some(scrape) = &mut self.scrape {
            scrape.close(cx);
        }
        if let Some(watch) = &mut self.watch {
            watch.close(cx);
        }
    }

    fn is_closed(&self) -> bool {
        self.is_closed && self.sent.is_empty()
    }
}
