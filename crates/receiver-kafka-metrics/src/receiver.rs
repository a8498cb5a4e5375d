//! When the state of the cluster is read, and what is sent and logged of it.
//!
//! A scrape whose time comes while another one runs is left out. Owns the timer and the outcomes; knows nothing of Kafka's protocol.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_go_regexp::GoRegexp;
use otelcore_kafka_client::{ClusterQuery, ClusterReader, DEFAULT_READ_TIME, NameFilter};
use otelcore_pdata::Signal;
use otelcore_pipeline::{
    BuildContext, Cx, Event, JobResult, LogField, Logger, MonotonicTime, Outcome, Payload, PeriodicCount,
    PipelineInput, Receiver, ReceiverMetrics, StartError, StatusReport,
};
use otelcore_scraped_metrics::{ScrapeLog, ScraperCounters};

use crate::config::{KafkaMetric, KafkaMetricsConfig, Scraper};
use crate::writer::{self, BROKER_RETENTION, ScrapeOutput, TOPIC_CONFIG};

/// Local keys. Those below are the reader's.
const TIMER: u64 = 1 << 32;
const JOB: u64 = TIMER + 1;

/// The scraper's name in metrics and logs.
const SCRAPER: &str = "kafka_metrics";

/// How often scrapes that are left out are logged.
const LOG_PERIOD: Duration = Duration::from_secs(60);

/// See the module.
pub(crate) struct KafkaMetricsReceiver {
    config: Arc<KafkaMetricsConfig>,
    log: Logger,
    reader: ClusterReader,
    next_scrape: MonotonicTime,
    /// The state becomes metrics.
    job: Option<JobResult<ScrapeOutput>>,
    /// When the receiver was started, in nanoseconds since the epoch.
    start_time: u64,
    errors: ScrapeLog,
    has_failed: bool,
    skipped: PeriodicCount,
    metrics: ReceiverMetrics,
    counters: ScraperCounters,
    /// Items of the payloads without an outcome.
    sent: BTreeMap<u64, u32>,
    next_request: u64,
    is_closed: bool,
}

fn filter(pattern: &str) -> Result<NameFilter, StartError> {
    let pattern = GoRegexp::compile(pattern).map_err(|error| StartError::Config(error.to_string()))?;
    Ok(Arc::new(move |name: &str| pattern.is_match(name.as_bytes())))
}

fn query(config: &KafkaMetricsConfig) -> Result<ClusterQuery, StartError> {
    let scrapers = config.scrapers();
    let settings = config.metrics.settings();
    let is_on = |metric: KafkaMetric| settings.get(metric as usize).is_some_and(|setting| setting.is_enabled);
    let topic_config = TOPIC_CONFIG.iter().filter(|(_, metric)| is_on(*metric)).map(|(key, _)| *key).collect();
    let has_retention = scrapers.contains(&Scraper::Brokers) && is_on(KafkaMetric::BrokerLogRetentionPeriod);
    Ok(ClusterQuery {
        reads_topics: scrapers.contains(&Scraper::Topics),
        topic_config,
        broker_config: if has_retention { vec![BROKER_RETENTION] } else { Vec::new() },
        reads_groups: scrapers.contains(&Scraper::Consumers),
        topic_filter: filter(&config.topic_match)?,
        group_filter: filter(&config.group_match)?,
    })
}

impl KafkaMetricsReceiver {
    pub(crate) fn new(config: &KafkaMetricsConfig, context: &BuildContext<'_>) -> Result<Self, StartError> {
        let id = context.id.to_string();
        let client = Rc::new(config.connection.client_config(context)?);
        Ok(Self {
            reader: ClusterReader::new(client, query(config)?, context.log.clone()),
            config: Arc::new(config.clone()),
            log: context.log.clone(),
            next_scrape: MonotonicTime::NEVER,
            job: None,
            start_time: 0,
            errors: ScrapeLog::default(),
            has_failed: false,
            skipped: PeriodicCount::new(LOG_PERIOD),
            metrics: ReceiverMetrics::new(context.telemetry, &id, "", context.signals),
            counters: ScraperCounters::new(context.telemetry, &id, SCRAPER),
            sent: BTreeMap::new(),
            next_request: 0,
            is_closed: false,
        })
    }

    /// The time of a scrape has come.
    fn begin_scrape(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        self.next_scrape = self.next_scrape + self.config.collection_interval;
        if self.next_scrape <= now {
            self.next_scrape = now + self.config.collection_interval;
        }
        cx.set_timer(TIMER, self.next_scrape);
        if self.config.scrapers.is_empty() {
            return;
        }
        if !self.reader.is_running() && self.job.is_none() {
            let limit = Some(self.config.timeout).filter(|limit| !limit.is_zero());
            return self.reader.begin(cx, now + limit.unwrap_or(DEFAULT_READ_TIME));
        }
        if let Some(count) = self.skipped.add(now, 1) {
            let fields = [("count", LogField::Uint(count))];
            self.log.warn("a scrape is left out, because the one before has not ended", &fields);
        }
    }

    /// Gives the state that was read to a job.
    fn take_state(&mut self, cx: &mut Cx<'_>) {
        match self.reader.take_result() {
            None => {}
            Some(Err(error)) => self.report(cx, Some(&error)),
            Some(Ok(state)) => {
                let (config, time, start) = (self.config.clone(), cx.wall_time().0, self.start_time);
                self.job = Some(cx.run_job(JOB, move || writer::write(&config, state, time, start)));
            }
        }
    }

    fn report(&mut self, cx: &mut Cx<'_>, error: Option<&str>) {
        self.errors.report(&self.log, SCRAPER, error);
        match error {
            Some(error) => cx.report_status(TIMER, StatusReport::RecoverableError(error)),
            None if self.has_failed => cx.report_status(TIMER, StatusReport::Ok),
            None => {}
        }
        self.has_failed = error.is_some();
    }

    fn send_written(&mut self, cx: &mut Cx<'_>, input: &mut PipelineInput<'_>) {
        if !self.job.as_ref().is_some_and(JobResult::has_ended) {
            return;
        }
        let Some(output) = self.job.take().and_then(|job| job.take()) else {
            return self.report(cx, Some("writing the metrics has ended by an error of the collector"));
        };
        let error = (output.missing > 0).then(|| {
            let more = output.missing.saturating_sub(output.errors.len());
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            format!("{}{more}", output.errors.join("; "))
        });
        self.report(cx, error.as_deref());
        self.counters.add(output.metrics, output.missing);
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
}

impl Receiver for KafkaMetricsReceiver {
    fn open(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.reader.start(cx)?;
        self.start_time = cx.wall_time().0;
        self.next_scrape = cx.now() + Duration::from_nanos(self.config.initial_delay.nanos_or_zero());
        cx.set_timer(TIMER, self.next_scrape);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: Event<'_>, input: &mut PipelineInput<'_>) {
        if self.is_closed {
            return;
        }
        match local {
            TIMER => self.begin_scrape(cx),
            JOB => self.send_written(cx, input),
            _ => self.reader.handle_event(cx, local, &event),
        }
        self.take_state(cx);
    }

    fn settled(&mut self, _: &mut Cx<'_>, request: u64, outcome: Outcome) {
        if let Some(items) = self.sent.remove(&request) {
            self.metrics.record_outcome(Signal::Metrics, items, &outcome);
        }
    }

    fn close(&mut self, _: &mut Cx<'_>, _: MonotonicTime) {
        self.is_closed = true;
        self.reader.close();
    }

    fn is_closed(&self) -> bool {
        self.is_closed && self.sent.is_empty()
    }
}
