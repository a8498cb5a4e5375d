//! The client of a target allocator: asks for the jobs of this collector at each interval.
//!
//! ```text
//!  idle --start, interval--> requested --answer--> being read, on a helper thread --jobs--> idle
//! ```
//! What was given last stays while the server fails. Runs no job itself.

use std::hash::{DefaultHasher, Hasher as _};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_config::declare::Config;
use otelcore_config::{ConfigNode, Diagnostics, NodeMap, NodeValue, Section, Severity, SourceText, parse_documents};
use otelcore_net::{HttpClient, HttpRequest, HttpRequestError, HttpResponse, Method, ResponseMode, Url, status_reason};
use otelcore_pipeline::{
    ClientAuth, Cx, Event, JobResult, LogField, Logger, MonotonicTime, StartError, StatusReport, TimerId,
};

use crate::config::{ScrapeConfig, TargetAllocatorConfig};

/// The longest answer, in bytes.
const MAX_BODY: usize = 64 << 20;
/// The most jobs of an answer.
const MAX_JOBS: usize = 4096;

/// Local keys, from the base on.
const TIMER_KEY: u64 = 0;
const READ_KEY: u64 = 1;
const HTTP_KEYS: u64 = 16;

/// Until the first answer the server is asked again after this time, which is doubled up to the interval.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The variable by which `$(SHARD)` is replaced.
const SHARD: &str = "SHARD";

/// A job of an answer.
#[derive(Debug)]
pub(crate) struct AllocatedJob {
    pub(crate) name: String,
    /// What the answer says of the job: equal for equal jobs.
    pub(crate) text: String,
    /// The job, or why it can't be used.
    pub(crate) config: Result<Box<ScrapeConfig>, String>,
}

type Answer = Result<Vec<AllocatedJob>, String>;

/// The client. It uses local keys from a base on, 2^32 of them.
pub(crate) struct TargetAllocator {
    url: Arc<Url>,
    url_text: String,
    interval: Duration,
    timeout: Duration,
    client: HttpClient,
    log: Logger,
    base: u64,
    next_token: u64,
    is_requested: bool,
    reading: Option<JobResult<Answer>>,
    /// The hash of the last answer that was read, and of the one that is being read.
    last_hash: Option<u64>,
    new_hash: Option<u64>,
    shard: String,
    /// The time after which a server that has not answered yet is asked again.
    retry: Option<Duration>,
    error: Option<String>,
    timer: Option<TimerId>,
}

impl TargetAllocator {
    /// A client that asks nothing yet.
    ///
    /// # Errors
    /// The endpoint is no URL.
    pub(crate) fn new(
        config: &TargetAllocatorConfig,
        auth: Option<Rc<dyn ClientAuth>>,
        log: Logger,
        base: u64,
    ) -> Result<Self, StartError> {
        let url_text = config.jobs_url();
        let url = Url::parse(&url_text).map_err(|error| StartError::Config(format!("endpoint: {error}")))?;
        let client = HttpClient::new(Rc::new(config.client.clone()), auth, log.clone(), base + HTTP_KEYS);
        Ok(Self {
            url: Arc::new(url),
            url_text,
            interval: config.interval,
            timeout: config.client.timeout,
            client,
            log,
            base,
            next_token: 0,
            is_requested: false,
            reading: None,
            last_hash: None,
            new_hash: None,
            shard: "0".to_owned(),
            retry: Some(FIRST_RETRY),
            error: None,
            timer: None,
        })
    }

    /// Asks for the jobs for the first time.
    ///
    /// # Errors
    /// Certificates or a proxy that can't be used.
    pub(crate) fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.log.info("Starting target allocator discovery", &[]);
        self.shard = cx.env_var(SHARD).unwrap_or_else(|| "0".to_owned());
        let url = self.url.clone();
        self.client.start(cx, &[&url])?;
        self.request(cx);
        Ok(())
    }

    fn request(&mut self, cx: &mut Cx<'_>) {
        if self.is_requested || self.reading.is_some() {
            return self.request_later(cx, self.interval);
        }
        let mut request = HttpRequest::new(Method::GET, self.url.clone());
        let timeout = if self.timeout.is_zero() { self.interval } else { self.timeout };
        request.deadline = cx.now() + timeout;
        request.response = ResponseMode::Whole { max_bytes: MAX_BODY };
        self.is_requested = true;
        self.next_token += 1;
        self.client.start_request(cx, self.next_token, request);
        self.handle_results(cx);
    }

    fn request_later(&mut self, cx: &mut Cx<'_>, wait: Duration) {
        let due: MonotonicTime = cx.now() + wait;
        self.timer = Some(cx.set_timer(self.base + TIMER_KEY, due));
    }

    /// Handles an event under one of its keys. Returns the jobs if the server has answered, and they are others.
    pub(crate) fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>) -> Option<Vec<AllocatedJob>> {
        let mut jobs = None;
        match local.wrapping_sub(self.base) {
            TIMER_KEY => {
                self.timer = None;
                self.request(cx);
            }
            READ_KEY => {
                let answer = self.reading.take().map(|reading| reading.take());
                match answer.map(|answer| answer.unwrap_or_else(|| Err("the answer was not read".to_owned()))) {
                    Some(Ok(answer)) => {
                        self.succeed(cx);
                        self.last_hash = self.new_hash.take();
                        jobs = Some(answer);
                    }
                    Some(Err(error)) => self.fail(cx, error),
                    None => {}
                }
            }
            HTTP_KEYS.. => self.client.handle_event(cx, local, event),
            _ => {}
        }
        self.handle_results(cx);
        jobs
    }

    fn handle_results(&mut self, cx: &mut Cx<'_>) {
        while let Some((_, result)) = self.client.poll_result() {
            self.is_requested = false;
            let response = match checked(result) {
                Ok(response) => response,
                Err(error) => {
                    self.fail(cx, error);
                    continue;
                }
            };
            let mut hasher = DefaultHasher::new();
            hasher.write(&response.body);
            let hash = Some(hasher.finish());
            if self.last_hash == hash {
                self.succeed(cx);
                continue;
            }
            self.new_hash = hash;
            // Reading many jobs takes longer than a turn of the loop may.
            let shard = self.shard.clone();
            self.reading = Some(cx.run_job(self.base + READ_KEY, move || read_jobs(&response.body, &shard)));
        }
    }

    fn succeed(&mut self, cx: &mut Cx<'_>) {
        self.retry = None;
        if self.error.take().is_some() {
            cx.report_status(self.base + READ_KEY, StatusReport::Ok);
        }
        self.request_later(cx, self.interval);
    }

    fn fail(&mut self, cx: &mut Cx<'_>, error: String) {
        if self.error.as_ref() != Some(&error) {
            let fields = [("err", LogField::Str(&error)), ("url", LogField::Str(&self.url_text))];
            self.log.error("Failed to retrieve job list", &fields);
            cx.report_status(self.base + READ_KEY, StatusReport::RecoverableError(&error));
        }
        self.error = Some(error);
        let wait = self.retry.map_or(self.interval, |retry| retry.min(self.interval));
        self.retry = self.retry.map(|retry| retry.saturating_mul(2));
        self.request_later(cx, wait);
    }

    /// Asks no more.
    pub(crate) fn close(&mut self, cx: &mut Cx<'_>) {
        self.client.close(cx);
        self.reading = None;
        if let Some(timer) = self.timer.take() {
            cx.cancel_timer(timer);
        }
    }
}

fn checked(result: Result<HttpResponse, HttpRequestError>) -> Result<HttpResponse, String> {
    let response = result.map_err(|error| error.to_string())?;
    if response.status != 200 {
        return Err(format!("server returned HTTP status {}{}", response.status, status_reason(response.status)));
    }
    Ok(response)
}

/// Reads an answer: a map of jobs by name, in YAML or JSON, each as in `scrape_configs`.
fn read_jobs(body: &[u8], shard: &str) -> Answer {
    let text = std::str::from_utf8(body).map_err(|_| "the list of jobs is not UTF-8".to_owned())?;
    let text = text.replace("$(SHARD)", shard);
    let diagnostics = Diagnostics::new();
    let source = SourceText::new("scrape_configs", text);
    let document = parse_documents(&source, &diagnostics).into_iter().next();
    if let Some(error) = first_error(&diagnostics) {
        return Err(format!("the list of jobs can't be read: {error}"));
    }
    let jobs = match document.map(|node| node.value) {
        None | Some(NodeValue::Null) => return Ok(Vec::new()),
        Some(NodeValue::Map(jobs)) => jobs,
        Some(other) => return Err(format!("the list of jobs is a {}, not a map", other.go_type())),
    };
    if jobs.len() > MAX_JOBS {
        return Err(format!("the list has {} jobs; {MAX_JOBS} are permitted", jobs.len()));
    }
    Ok(jobs.iter().map(|entry| read_job(&entry.key, &entry.node)).collect())
}

fn read_job(name: &str, node: &ConfigNode) -> AllocatedJob {
    let mut job = node.clone();
    // The targets come from the server, whatever their discovery is.
    if let NodeValue::Map(map) = &mut job.value {
        let mut kept = NodeMap::default();
        let is_discovery = |key: &str| key == "static_configs" || key.ends_with("_sd_configs");
        map.iter().filter(|entry| !is_discovery(&entry.key)).for_each(|entry| kept.insert(entry.clone()));
        *map = kept;
    }
    let mut text = String::new();
    put_text(&mut text, &job);
    let diagnostics = Diagnostics::new();
    let section = Section::new(Some(&job), "", &diagnostics);
    let config = ScrapeConfig::read_section(section, &ScrapeConfig::default());
    let config = first_error(&diagnostics).map_or_else(|| Ok(Box::new(config)), Err);
    AllocatedJob { name: name.to_owned(), text, config }
}

fn first_error(diagnostics: &Diagnostics) -> Option<String> {
    let item = diagnostics.items().into_iter().find(|item| item.severity == Severity::Error)?;
    Some(if item.path.is_empty() { item.message } else { format!("{}: {}", item.path, item.message) })
}

/// Adds the value of a node, without its place in the text.
fn put_text(out: &mut String, node: &ConfigNode) {
    match &node.value {
        NodeValue::List(items) => {
            out.push('[');
            for item in items {
                put_text(out, item);
                out.push(',');
            }
            out.push(']');
        }
        NodeValue::Map(map) => {
            out.push('{');
            for entry in map.iter() {
                *out += &format!("{:?}:", entry.key);
                put_text(out, &entry.node);
                out.push(',');
            }
            out.push('}');
        }
        scalar => *out += &format!("{scalar:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_of_the_operator_is_read_and_its_discoveries_are_left_out() {
        let body = r#"{"a/b": {"job_name": "a/b", "scrape_interval": "30s", "ec2_sd_configs": [{"region": "x"}],
            "relabel_configs": [{"source_labels": ["__tmp_hash"], "regex": "$(SHARD)", "action": "keep"}]},
            "bad": {"job_name": "bad", "scrape_interval": "1q"}}"#;
        let jobs = read_jobs(body.as_bytes(), "3").unwrap();
        assert_eq!(jobs.len(), 2);
        let config = jobs[0].config.as_ref().unwrap();
        assert_eq!((&*config.job_name, config.scrape_interval.0), ("a/b", Duration::from_secs(30)));
        assert!(jobs[0].text.contains("Str(\"3\")") && !jobs[0].text.contains("ec2"), "{}", jobs[0].text);
        assert!(jobs[1].config.as_ref().unwrap_err().contains("scrape_interval"), "{:?}", jobs[1]);
    }

    #[test]
    fn answer_that_is_no_map_is_an_error() {
        for (body, expected) in [
            (&b"[1]"[..], "the list of jobs is a []interface {}, not a map"),
            (b"\xff", "the list of jobs is not UTF-8"),
            (b"{", "the list of jobs can't be read: "),
        ] {
            let error = read_jobs(body, "0").unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        assert!(read_jobs(b"", "0").unwrap().is_empty());
        assert!(read_jobs(b"{}", "0").unwrap().is_empty());
    }

    #[test]
    fn jobs_that_differ_in_their_place_only_are_equal() {
        let text = |body: &str| read_jobs(body.as_bytes(), "0").unwrap().remove(0).text;
        assert_eq!(text("a: {job_name: a}"), text("\n\na:\n  job_name: a\n"));
        assert_ne!(text("a: {job_name: a}"), text("a: {job_name: a, scheme: https}"));
    }
}
