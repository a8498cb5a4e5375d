//! A target without a network: pages are pushed into it, and what it sends is collected.

use std::rc::Rc;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use otelcore_config::declare::Config;
use otelcore_config::{Diagnostics, Section, from_yaml};
use otelcore_pdata::{Signal, StepBudget, check};
use otelcore_pipeline::Budget;
use otelcore_testkit::TestLog;
use prost::Message;

use crate::config::PrometheusReceiverConfig;
use crate::job::{Job, JobContext};
use crate::key::KeyHasher;
use crate::output::{Output, OutputSettings, OutputStep};
use crate::target::{PageError, ScrapeEnd, ScrapeNotes, Target};

/// Reads a configuration, with the messages of all mistakes.
pub(super) fn read_config(yaml: &str) -> (PrometheusReceiverConfig, Vec<String>) {
    let diagnostics = Diagnostics::new();
    let node = from_yaml(yaml, &diagnostics).unwrap();
    let section = Section::new(Some(&node), "receivers::prometheus", &diagnostics);
    let config = PrometheusReceiverConfig::read_section(section, &PrometheusReceiverConfig::default());
    let errors = diagnostics.items().into_iter().filter(|item| item.severity == otelcore_config::Severity::Error);
    (config, errors.map(|item| item.message).collect())
}

/// The targets of the static groups of a configuration.
pub(super) struct TargetFixture {
    pub(super) target: Target,
    pub(super) budget: Arc<Budget>,
    settings: Rc<OutputSettings>,
    timeout_seconds: f64,
    /// Of the last scrape.
    pub(super) error: Option<PageError>,
    pub(super) notes: ScrapeNotes,
    /// Payloads of the last scrape.
    pub(super) payloads: usize,
    /// Bytes that are pushed at once.
    pub(super) part: usize,
}

impl TargetFixture {
    /// The first target of the first job.
    pub(super) fn new(yaml: &str) -> Self {
        let (config, errors) = read_config(yaml);
        assert!(errors.is_empty(), "{errors:?} {yaml}");
        let budget = Arc::new(Budget::default());
        let context = JobContext {
            log: TestLog::new(None).logger(),
            hasher: KeyHasher::new(17),
            budget: &budget,
            external_labels: &config.config.global.external_labels.0,
            offset_seed: 0,
            first_delay: config.initial_scrape_offset,
        };
        let job = &config.config.scrape_configs[0];
        let mut job = Job::new(job, &config.config, &context, 1 << 32).unwrap();
        let group = config.config.scrape_configs[0].discovery.static_configs[0].clone();
        let (target, timeout) = job.test_target(&group).unwrap();
        Self {
            target,
            budget,
            settings: Rc::new(OutputSettings { trims_suffixes: config.trim_metric_suffixes, version: "1" }),
            timeout_seconds: timeout.as_secs_f64(),
            error: None,
            notes: ScrapeNotes::default(),
            payloads: 0,
            part: usize::MAX,
        }
    }

    fn scrape_end(&self, started_ms: i64, page_bytes: usize) -> ScrapeEnd {
        ScrapeEnd {
            started_ms,
            seconds: 0.5,
            timeout_seconds: self.timeout_seconds,
            page_bytes: page_bytes as u64,
            is_too_large: false,
            has_failed: false,
        }
    }

    /// A scrape that the target answers with a page.
    pub(super) fn scrape(&mut self, started_ms: i64, content_type: &str, page: &[u8]) -> ExportMetricsServiceRequest {
        let end = self.scrape_end(started_ms, page.len());
        self.target.begin(Some(content_type.as_bytes()), started_ms).unwrap();
        self.error = page.chunks(self.part.max(1)).find_map(|part| self.push(part).err());
        match self.error.clone() {
            Some(error) => self.target.end_refused(&end, error),
            None => self.error = self.target.end(&end).err(),
        }
        self.finish()
    }

    /// Pushes a part, and goes on until nothing is left of it.
    fn push(&mut self, part: &[u8]) -> Result<(), PageError> {
        let mut part = part;
        while !self.target.push(part)?.1 {
            part = &[];
        }
        Ok(())
    }

    /// A scrape whose request fails, after a part of a page or before it.
    pub(super) fn fail(
        &mut self,
        started_ms: i64,
        page: Option<&[u8]>,
        is_too_large: bool,
    ) -> ExportMetricsServiceRequest {
        if let Some(page) = page {
            self.target.begin(None, started_ms).unwrap();
            let _ = self.push(page);
        }
        let end = ScrapeEnd { has_failed: true, is_too_large, ..self.scrape_end(started_ms, 0) };
        self.error = self.target.end(&end).err();
        self.finish()
    }

    /// Finishes a scrape in small steps.
    pub(super) fn finish(&mut self) -> ExportMetricsServiceRequest {
        let finished = loop {
            if let Some(finished) = self.target.step(&mut StepBudget::new(5000)) {
                break finished;
            }
            assert!(self.target.is_finishing());
        };
        self.notes = finished.notes;
        self.payloads = 0;
        let mut all = ExportMetricsServiceRequest::default();
        let Some(transaction) = finished.transaction else { return all };
        let mut output = Output::new(transaction, self.settings.clone());
        loop {
            match output.step(&mut StepBudget::new(20_000)) {
                OutputStep::Payload(body) => {
                    let bytes = body.to_bytes();
                    let found = check(Signal::Metrics, &bytes).unwrap();
                    assert_eq!(found.items, body.items());
                    all.merge(&bytes[..]).unwrap();
                    self.payloads += 1;
                }
                OutputStep::Pause => {}
                OutputStep::Done => return all,
            }
        }
    }
}
