//! The requests and jobs of one scrape.
//!
//! ```text
//! GET /stats/summary -> (GET /pods) -> job: read -> (claims of volumes) -> job: write -> done
//!          |                 |            |                                  |
//!          +-----------------+------------+----------------------------------+--> failed
//! ```
//! One scrape at a time. A request that has failed is not sent again: the next scrape does. Does not know when scrapes are
//! made, nor what becomes of their metrics.

use std::time::Duration;

use otelcore_kubernetes_client::{ApiClient, ApiRequest, ApiResponse, ApiServer, KubernetesApiConfig};
use otelcore_net::status_reason;
use otelcore_pipeline::{Cx, Event, Held, JobResult, Logger, MonotonicTime, PipelineInput};

use crate::claims::ClaimLookups;
use crate::config::{KubeletStatsConfig, MetricGroup};
use crate::writer::{Claim, ClaimedVolumes, KubeletAnswers, MetricsWriter, NodeCapacity, ScrapeOutput};

/// The time limit of a scrape where no `timeout` is set.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// A longer answer is an error. Of a node with a thousand pods it is about 10 MiB.
pub(crate) const MAX_ANSWER: usize = 32 << 20;
/// The longest part of a refusal that is logged.
const MAX_REFUSAL: usize = 200;

const SUMMARY: &str = "/stats/summary";
const PODS: &str = "/pods";

/// What reading the answers gives: the answers and the claims in them.
type Read = Result<(KubeletAnswers, Vec<Claim>), String>;

enum ScrapeState {
    Idle,
    Summary,
    Pods { summary: Vec<u8> },
    Reading(JobResult<Read>),
    Claims(Box<KubeletAnswers>),
    Writing(JobResult<(MetricsWriter, ScrapeOutput)>),
}

/// The local keys of a scrape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScrapeKeys {
    pub(crate) job: u64,
    pub(crate) kubelet: u64,
}

/// The scrapes of a receiver, one after another.
pub(crate) struct KubeletScrape {
    client: ApiClient,
    url: String,
    claims: Option<ClaimLookups>,
    /// `None` while a job has it.
    writer: Option<MetricsWriter>,
    config: KubeletStatsConfig,
    keys: ScrapeKeys,
    state: ScrapeState,
    /// The request in progress.
    request: u64,
    deadline: MonotonicTime,
    /// When the receiver was started, in nanoseconds since 1970.
    started: u64,
    /// What the answers are charged with.
    held: Held,
}

impl KubeletScrape {
    pub(crate) fn new(
        config: &KubeletStatsConfig,
        kubelet: ApiServer,
        claims: Option<ClaimLookups>,
        keys: ScrapeKeys,
        cx: &Cx<'_>,
        log: &Logger,
    ) -> Self {
        let started = cx.wall_time().0;
        // A scrape is two requests, which its interval limits.
        let rate = KubernetesApiConfig { kube_api_qps: 100.0, kube_api_burst: 100, ..KubernetesApiConfig::default() };
        let url = kubelet.url.clone();
        Self {
            client: ApiClient::new(kubelet, &rate, cx, log.clone(), keys.kubelet),
            url,
            claims,
            writer: Some(MetricsWriter::new(config, started)),
            config: config.clone(),
            keys,
            state: ScrapeState::Idle,
            request: 0,
            deadline: MonotonicTime(0),
            started,
            held: Held::default(),
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        !matches!(self.state, ScrapeState::Idle)
    }

    /// Begins a scrape. None may be running.
    pub(crate) fn begin(&mut self, cx: &mut Cx<'_>) {
        let limit = if self.config.timeout.is_zero() { TIME_LIMIT } else { self.config.timeout };
        self.deadline = cx.now() + limit;
        self.state = ScrapeState::Summary;
        self.get(cx, SUMMARY);
    }

    /// Handles an event of the kubelet's client, of the claims' client or of a job. Returns what the scrape has given, or
    /// why it has failed, when it has ended.
    pub(crate) fn handle_event(
        &mut self,
        cx: &mut Cx<'_>,
        local: u64,
        event: &Event<'_>,
        capacity: NodeCapacity,
        input: &PipelineInput<'_>,
    ) -> Option<Result<ScrapeOutput, String>> {
        if local >= self.keys.kubelet {
            self.client.handle_event(cx, local, event);
        }
        self.advance(cx, capacity, input)
    }

    /// The same for an event of the API server's client.
    pub(crate) fn handle_claims_event(
        &mut self,
        cx: &mut Cx<'_>,
        local: u64,
        event: &Event<'_>,
        capacity: NodeCapacity,
        input: &PipelineInput<'_>,
    ) -> Option<Result<ScrapeOutput, String>> {
        if let Some(claims) = &mut self.claims {
            claims.handle_event(cx, local, event);
        }
        self.advance(cx, capacity, input)
    }

    pub(crate) fn close(&mut self, cx: &mut Cx<'_>) {
        self.client.close(cx);
        if let Some(claims) = &mut self.claims {
            claims.close(cx);
        }
        self.end();
    }

    fn end(&mut self) {
        self.state = ScrapeState::Idle;
        self.held = Held::default();
    }

    fn get(&mut self, cx: &mut Cx<'_>, path: &str) {
        let left = if self.deadline > cx.now() { self.deadline.since(cx.now()) } else { Duration::ZERO };
        self.request = self.client.request(cx, ApiRequest::get(path, left, MAX_ANSWER));
    }

    fn advance(
        &mut self,
        cx: &mut Cx<'_>,
        capacity: NodeCapacity,
        input: &PipelineInput<'_>,
    ) -> Option<Result<ScrapeOutput, String>> {
        while let Some((token, result)) = self.client.poll_response() {
            if token == self.request
                && let Err(error) = self.handle_response(cx, result, input)
            {
                self.end();
                return Some(Err(error));
            }
        }
        match std::mem::replace(&mut self.state, ScrapeState::Idle) {
            ScrapeState::Reading(job) if job.has_ended() => {
                let read = job.take().unwrap_or_else(|| Err("reading the answers has failed".to_owned()));
                match read {
                    Err(error) => {
                        self.end();
                        return Some(Err(error));
                    }
                    Ok((answers, claims)) => self.resolve(cx, answers, claims),
                }
                self.advance_claims(cx, capacity)
            }
            ScrapeState::Writing(job) if job.has_ended() => {
                let written = job.take();
                self.end();
                let Some((writer, output)) = written else {
                    self.writer = Some(MetricsWriter::new(&self.config, self.started));
                    return Some(Err("writing the metrics has failed".to_owned()));
                };
                self.writer = Some(writer);
                Some(Ok(output))
            }
            state => {
                self.state = state;
                self.advance_claims(cx, capacity)
            }
        }
    }

    /// An answer of the kubelet.
    fn handle_response(
        &mut self,
        cx: &mut Cx<'_>,
        result: Result<ApiResponse, String>,
        input: &PipelineInput<'_>,
    ) -> Result<(), String> {
        match std::mem::replace(&mut self.state, ScrapeState::Idle) {
            ScrapeState::Summary => {
                let summary = self.checked(SUMMARY, result)?;
                self.held.merge(input.budget().hold(summary.len() as u64));
                if self.config.needs_pods() {
                    self.state = ScrapeState::Pods { summary };
                    self.get(cx, PODS);
                } else {
                    self.read(cx, summary, None);
                }
            }
            ScrapeState::Pods { summary } => {
                let pods = self.checked(PODS, result)?;
                self.held.merge(input.budget().hold(pods.len() as u64));
                self.read(cx, summary, Some(pods));
            }
            state => self.state = state,
        }
        Ok(())
    }

    /// The body of an answer, or the error of the Go receiver, and what can be done about it.
    fn checked(&self, path: &str, result: Result<ApiResponse, String>) -> Result<Vec<u8>, String> {
        let failed = format!("call to {path} endpoint failed");
        let response = result.map_err(|error| format!("{failed}: {error}"))?;
        let status = response.status;
        if status == 200 {
            return Ok(response.body);
        }
        let text: String = String::from_utf8_lossy(&response.body).chars().take(MAX_REFUSAL).collect();
        let (url, reason) = (&self.url, status_reason(status));
        let error =
            format!("{failed}: kubelet request GET {url}{path} failed - \"{status}{reason}\", response: {text:?}");
        let resource = if path == PODS { "nodes/proxy or nodes/pods" } else { "nodes/stats" };
        Err(match status {
            403 => format!("{error}; grant `get` on {resource} to the collector's account"),
            _ => error,
        })
    }

    fn read(&mut self, cx: &mut Cx<'_>, summary: Vec<u8>, pods: Option<Vec<u8>>) {
        let urls = (format!("{}{SUMMARY}", self.url), format!("{}{PODS}", self.url));
        let has_claims =
            self.claims.is_some() && self.config.has_volume_types() && self.config.has_group(MetricGroup::Volume);
        self.state = ScrapeState::Reading(cx.run_job(self.keys.job, move || {
            let pods = pods.as_deref().map(|pods| (urls.1.as_str(), pods));
            let answers = KubeletAnswers::parse((&urls.0, &summary), pods)?;
            let claims = if has_claims { answers.claims() } else { Vec::new() };
            Ok((answers, claims))
        }));
    }

    /// The answers are read: what is behind their claims is looked up.
    fn resolve(&mut self, cx: &mut Cx<'_>, answers: KubeletAnswers, claims: Vec<Claim>) {
        self.state = ScrapeState::Claims(Box::new(answers));
        let deadline = self.deadline;
        if let Some(lookups) = &mut self.claims {
            lookups.begin(cx, claims, deadline);
        }
    }

    /// All claims may be looked up: then the metrics are written.
    fn advance_claims(&mut self, cx: &mut Cx<'_>, capacity: NodeCapacity) -> Option<Result<ScrapeOutput, String>> {
        if !matches!(self.state, ScrapeState::Claims(_)) {
            return None;
        }
        let claimed: Option<ClaimedVolumes> = match &mut self.claims {
            Some(lookups) => Some(lookups.take_found()?),
            None => None,
        };
        let ScrapeState::Claims(answers) = std::mem::replace(&mut self.state, ScrapeState::Idle) else { return None };
        let (now, started) = (cx.wall_time().0, self.started);
        let mut writer = self.writer.take().unwrap_or_else(|| MetricsWriter::new(&self.config, started));
        self.state = ScrapeState::Writing(cx.run_job(self.keys.job, move || {
            let output = writer.write(&answers, capacity, claimed.as_ref(), now);
            (writer, output)
        }));
        None
    }
}
