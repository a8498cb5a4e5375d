//! `http_sd_configs`: targets that an HTTP server knows.
//!
//! The server is asked at the start and then at each `refresh_interval`. What it answered last stays while it fails.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_config::{Section, config_struct};
use otelcore_net::{HttpClient, HttpRequest, HttpRequestError, HttpResponse, Method, ResponseMode, Url, status_reason};
use otelcore_pipeline::{Cx, Event, JobResult, LogField, Logger, MonotonicTime, TimerId};

use crate::credentials::HttpCredentials;
use crate::duration::PrometheusDuration;
use crate::groups::{SourceLabel, parse_json};
use crate::http_config::PrometheusHttpConfig;
use crate::provider::Provider;
use crate::targets::TargetGroup;
use crate::updates::{GroupQueue, Sink};

/// The longest answer, in bytes.
const MAX_BODY: usize = 64 << 20;

/// Local keys, from the base on.
const TIMER_KEY: u64 = 0;
const JOB_KEY: u64 = 1;
const CREDENTIALS_KEY: u64 = 2;
const APPLY_KEY: u64 = 3;
const HTTP_KEYS: u64 = 16;

config_struct! {
    /// Targets that an HTTP server knows.
    #[config(check = Self::check)]
    #[derive(PartialEq, Eq)]
    pub struct HttpSdConfig {
        /// The URL of the list of target groups, in JSON.
        pub url: String,
        /// How often the server is asked; also the time limit of a request.
        pub refresh_interval: PrometheusDuration = PrometheusDuration(Duration::from_secs(60)),
        /// The client.
        #[config(flatten)]
        pub client: PrometheusHttpConfig,
    }
}

impl HttpSdConfig {
    fn check(&mut self, s: &mut Section<'_>) {
        let scheme = self.url.split_once(':').map_or("", |(scheme, _)| scheme).to_ascii_lowercase();
        if self.url.is_empty() {
            s.error("url", "URL is missing");
        } else if scheme != "http" && scheme != "https" {
            s.error("url", "URL scheme must be 'http' or 'https'");
        } else if let Err(error) = Url::parse(&self.url) {
            let rest = self.url.get(scheme.len() + 1..).unwrap_or_default();
            let has_no_host =
                rest.strip_prefix("//").is_none_or(|host| host.is_empty() || host.starts_with(['/', '?']));
            s.error("url", if has_no_host { "host is missing in URL".to_owned() } else { error.to_string() });
        }
        if self.refresh_interval.0.is_zero() {
            s.error("refresh_interval", "'refresh_interval' must be positive");
        }
    }
}

type Parsed = Result<Vec<TargetGroup>, String>;

/// The discovery.
pub(crate) struct HttpDiscovery {
    url_text: String,
    url: Option<Arc<Url>>,
    interval: Duration,
    client: HttpClient,
    credentials: Rc<HttpCredentials>,
    log: Logger,
    base: u64,
    next_token: u64,
    is_requested: bool,
    job: Option<JobResult<Parsed>>,
    queue: GroupQueue,
    is_applying: bool,
    /// How many groups the last answer had.
    groups: usize,
    error: Option<String>,
    failures: u64,
    due: MonotonicTime,
    timer: Option<TimerId>,
}

impl HttpDiscovery {
    pub(crate) fn new(config: &HttpSdConfig, log: Logger, base: u64) -> Self {
        let credentials = HttpCredentials::new(&config.client, base + CREDENTIALS_KEY);
        let client = Rc::new(config.client.client_config());
        Self {
            url_text: config.url.clone(),
            url: None,
            interval: config.refresh_interval.0,
            client: HttpClient::new(client, Some(credentials.clone()), log.clone(), base + HTTP_KEYS),
            credentials,
            log,
            base,
            next_token: 0,
            is_requested: false,
            job: None,
            queue: GroupQueue::default(),
            is_applying: false,
            groups: 0,
            error: None,
            failures: 0,
            due: MonotonicTime(0),
            timer: None,
        }
    }

    /// Sends a request, unless the last one has not ended; then the next one is an interval later.
    fn refresh(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        self.due = now + self.interval;
        self.timer = Some(cx.set_timer(self.base + TIMER_KEY, self.due));
        let Some(url) = self.url.clone().filter(|_| !self.is_busy()) else { return };
        let mut request = HttpRequest::new(Method::GET, url);
        request.headers.extend([
            ("Accept".into(), "application/json".into()),
            ("X-Prometheus-Refresh-Interval-Seconds".into(), self.interval.as_secs_f64().to_string().into()),
        ]);
        request.deadline = now + self.interval;
        request.response = ResponseMode::Whole { max_bytes: MAX_BODY };
        self.is_requested = true;
        self.next_token += 1;
        self.client.start_request(cx, self.next_token, request);
    }

    fn is_busy(&self) -> bool {
        self.is_requested || self.job.is_some() || self.is_applying
    }

    fn handle_results(&mut self, cx: &mut Cx<'_>) {
        while let Some((_, result)) = self.client.poll_result() {
            self.handle_result(cx, result);
        }
    }

    fn handle_result(&mut self, cx: &mut Cx<'_>, result: Result<HttpResponse, HttpRequestError>) {
        self.is_requested = false;
        let response = match result.map_err(|error| error.to_string()).and_then(checked) {
            Ok(response) => response,
            Err(error) => return self.fail(error),
        };
        // Reading a long list takes longer than a turn of the loop may.
        let url = self.url_text.clone();
        self.job = Some(cx.run_job(self.base + JOB_KEY, move || {
            parse_json(&response.body, &SourceLabel { name: "__meta_url", value: &url })
        }));
    }

    fn fail(&mut self, error: String) {
        self.failures += 1;
        if self.error.as_ref() != Some(&error) {
            let fields = [("err", LogField::Str(&error)), ("url", LogField::Str(&self.url_text))];
            self.log.error("Unable to refresh target groups", &fields);
        }
        self.error = Some(error);
    }

    fn apply(&mut self, parsed: Parsed) {
        match parsed {
            Err(error) => self.fail(error),
            Ok(groups) => {
                self.error = None;
                let before = std::mem::replace(&mut self.groups, groups.len());
                self.queue.push_list(&self.url_text, groups, before);
                self.is_applying = true;
            }
        }
    }
}

/// Checks that a response has a list.
fn checked(response: HttpResponse) -> Result<HttpResponse, String> {
    let content_type = String::from_utf8_lossy(response.header("content-type").unwrap_or_default()).into_owned();
    check_head(response.status, &content_type).map(|()| response)
}

pub(crate) fn check_head(status: u16, content_type: &str) -> Result<(), String> {
    if status != 200 {
        return Err(format!("server returned HTTP status {status}{}", status_reason(status)));
    }
    if !is_json(content_type) {
        return Err(format!("unsupported content type {content_type:?}"));
    }
    Ok(())
}

fn is_json(content_type: &str) -> bool {
    let lower = content_type.trim().to_ascii_lowercase();
    match lower.strip_prefix("application/json") {
        Some("") => true,
        Some(parameters) => parameters
            .strip_prefix(';')
            .and_then(|rest| rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0c']).strip_prefix("charset="))
            .is_some_and(|charset| charset == "utf-8" || charset == "\"utf-8\""),
        None => false,
    }
}

impl Provider for HttpDiscovery {
    fn start(&mut self, cx: &mut Cx<'_>, _: &mut Sink<'_>) -> Result<(), String> {
        let url = Url::parse(&self.url_text).map_err(|error| error.to_string())?;
        self.client.start(cx, &[&url]).map_err(|error| error.to_string())?;
        self.url = Some(Arc::new(url));
        self.credentials.start(cx);
        self.refresh(cx);
        self.handle_results(cx);
        Ok(())
    }

    fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>, sink: &mut Sink<'_>) {
        match local.wrapping_sub(self.base) {
            TIMER_KEY => {
                self.timer = None;
                self.refresh(cx);
            }
            JOB_KEY => {
                if let Some(parsed) = self.job.take().and_then(|job| job.take()) {
                    self.apply(parsed);
                }
            }
            CREDENTIALS_KEY => self.credentials.handle_event(cx, event),
            HTTP_KEYS.. => self.client.handle_event(cx, local, event),
            _ => {}
        }
        self.handle_results(cx);
        if self.is_applying {
            self.is_applying = self.queue.apply(sink);
            if self.is_applying {
                cx.request_ready(self.base + APPLY_KEY);
            }
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.client.close(cx);
        self.credentials.close(cx);
        self.job = None;
        if let Some(timer) = self.timer.take() {
            cx.cancel_timer(timer);
        }
    }

    fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    fn failures(&self) -> u64 {
        self.failures
    }
}
