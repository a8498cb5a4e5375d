//! One run of all detectors at a time: asks what they ask, repeats those that fail, and ends at a time limit.
//!
//! ```text
//!  detector -> waits for a file, a response -> (again) -> done
//!      |                                          ^
//!      +-- failed -> pause, 1s, 2s, 4s ... -> (again, from its begin)
//! ```
//! At the time limit every detector gets an error in place of the answer that it waits for; one that fails then has failed.
//! The attributes of the others are the result. Owns the HTTP clients; knows nothing of payloads.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_http::Bytes;
use otelcore_kubernetes_client::{KubernetesAuthType, in_cluster_client_config};
use otelcore_net::config::HttpClientConfig;
use otelcore_net::{HttpClient, HttpRequest, HttpTimeouts, Method, ResponseMode, Url};
use otelcore_pipeline::{Cx, Event, JobResult, LogField, Logger, MonotonicTime, StartError, TimerId};

use crate::answers::{Answer, Answers, ClientKind, Halt, Interface, KnownAnswers, Question, Reply, Request, Response};
use crate::config::{OpenShiftConfig, ResourceDetectionConfig};
use crate::detected::DetectedResource;
use crate::detector_kind::DetectorKind;
use crate::detectors::{self, TagPatterns};
use crate::interfaces;
use crate::unix_request::UnixRequest;

/// The longest body of a response, and the longest file.
const MAX_DOCUMENT: usize = 1 << 20;

/// For a metadata service, which is on the same machine or link.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);

/// Local keys of the HTTP clients begin there, those of everything else end there.
const CLIENT_KEYS: u64 = 1 << 56;
/// Between the keys of two clients.
const CLIENT_KEY_RANGE: u64 = 1 << 40;
/// Local keys of one run: eight bits for the number of a detector and the kind of event.
const RUN_KEYS_SHIFT: u32 = 8;

/// What an event of a detector is.
const TIMER: u64 = 0;
const FILE_JOB: u64 = 1;
const SOCKET: u64 = 2;
/// Of the run as a whole.
const DEADLINE: u64 = 3;

/// What a detector waits for.
enum Pending {
    Bytes(JobResult<Result<Bytes, String>>),
    Interfaces(JobResult<Result<Vec<Interface>, String>>),
    Http(Request),
    /// The pause before the request is repeated.
    HttpPause(Request),
    Unix(Box<UnixRequest>),
}

enum SlotState {
    Asking(Pending),
    /// Waits before it begins again, with the error of this time.
    Paused(String),
    Done(Result<DetectedResource, String>),
}

/// One detector of a run.
struct Slot {
    kind: DetectorKind,
    known: KnownAnswers,
    state: SlotState,
    failures: u32,
    /// It has asked something in this run.
    has_asked: bool,
    /// Of the request that is being made.
    attempts: u32,
    timer: Option<TimerId>,
}

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) resource: DetectedResource,
    /// Those of detectors that failed, each with its detector.
    pub(crate) errors: Vec<String>,
}

/// The detectors of a processor.
pub(crate) struct Detectors {
    config: Rc<ResourceDetectionConfig>,
    kinds: Vec<DetectorKind>,
    log: Logger,
    clients: [HttpClient; 3],
    slots: Vec<Slot>,
    /// The number of the run; events of earlier ones are ignored.
    run: u64,
    is_running: bool,
    deadline: MonotonicTime,
    deadline_timer: Option<TimerId>,
    /// The keys of tags that become attributes.
    tags: TagPatterns,
}

impl Detectors {
    /// Nothing runs yet.
    pub(crate) fn new(config: &ResourceDetectionConfig, log: Logger) -> Self {
        let kinds = config.detector_kinds();
        // One client serves all detectors: it checks certificates if one of them does.
        let auth_of = |kind: &DetectorKind| match kind {
            DetectorKind::K8sNode => config.k8snode.auth_type,
            DetectorKind::K8sApi => config.k8s_api.auth_type,
            _ => KubernetesAuthType::ServiceAccount,
        };
        let mut auths = kinds.iter().filter(|kind| kind.uses_kubernetes()).map(auth_of);
        let checks =
            auths.any(|auth| auth != KubernetesAuthType::None) || !kinds.iter().any(|kind| kind.uses_kubernetes());
        let auth = if checks { KubernetesAuthType::ServiceAccount } else { KubernetesAuthType::None };
        let client = |settings: HttpClientConfig, number: u64| {
            HttpClient::new(Rc::new(settings), None, log.clone(), CLIENT_KEYS + number * CLIENT_KEY_RANGE)
        };
        let clients = [
            client(config.client.clone(), 0),
            client(in_cluster_client_config(auth), 1),
            client(open_shift_client_config(&config.openshift), 2),
        ];
        let config = Rc::new(config.clone());
        Self {
            tags: TagPatterns::new(&config),
            config,
            kinds,
            log,
            clients,
            slots: Vec::new(),
            run: 0,
            is_running: false,
            deadline: MonotonicTime::NEVER,
            deadline_timer: None,
        }
    }

    /// Prepares the clients for metadata services and OpenShift. That of the Kubernetes API server uses no proxy, as in
    /// Go.
    pub(crate) fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        let [metadata, _, open_shift] = &mut self.clients;
        metadata.start(cx, &[])?;
        if self.kinds.contains(&DetectorKind::OpenShift) { open_shift.start(cx, &[]) } else { Ok(()) }
    }

    /// Begins a run.
    pub(crate) fn begin(&mut self, cx: &mut Cx<'_>) {
        self.log.info("began detecting resource information", &[]);
        self.run += 1;
        self.is_running = true;
        self.deadline = cx.now() + self.config.client.timeout;
        self.deadline_timer = Some(cx.set_timer(self.key(0, DEADLINE), self.deadline));
        let slot = |kind: &DetectorKind| Slot {
            kind: *kind,
            known: KnownAnswers::default(),
            state: SlotState::Paused(String::new()),
            failures: 0,
            has_asked: false,
            attempts: 0,
            timer: None,
        };
        self.slots = self.kinds.iter().map(slot).collect();
        for index in 0..self.slots.len() {
            self.advance(cx, index, false);
        }
    }

    /// The error of a detector that has failed without asking anything: it would fail each time.
    pub(crate) fn lasting_error(&self) -> Option<String> {
        self.slots.iter().find_map(|slot| match &slot.state {
            SlotState::Paused(error) if !slot.has_asked => Some(format!("detector {}: {error}", slot.kind.name())),
            _ => None,
        })
    }

    /// The local key of an event of a detector of this run.
    fn key(&self, index: usize, event: u64) -> u64 {
        (self.run << RUN_KEYS_SHIFT) | ((index as u64) << 2) | event
    }

    /// Handles an event under one of its keys.
    pub(crate) fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>) {
        if let Some(number) = local.checked_sub(CLIENT_KEYS) {
            let client = usize::try_from(number / CLIENT_KEY_RANGE).unwrap_or(usize::MAX);
            if let Some(client) = self.clients.get_mut(client) {
                client.handle_event(cx, local, event);
            }
            return self.take_responses(cx);
        }
        if local >> RUN_KEYS_SHIFT != self.run {
            return;
        }
        let index = usize::try_from((local >> 2) & 0x3f).unwrap_or(usize::MAX);
        match local & 3 {
            DEADLINE => self.expire(cx),
            TIMER => self.handle_timer(cx, index),
            kind => self.handle_ready(cx, index, kind),
        }
    }

    /// The result, once all detectors have ended; returned once.
    pub(crate) fn take_outcome(&mut self, cx: &mut Cx<'_>) -> Option<Outcome> {
        if !self.is_running || !self.slots.iter().all(|slot| matches!(slot.state, SlotState::Done(_))) {
            return None;
        }
        if let Some(timer) = self.deadline_timer.take() {
            cx.cancel_timer(timer);
        }
        self.is_running = false;
        let mut outcome = Outcome { resource: DetectedResource::default(), errors: Vec::new() };
        for slot in std::mem::take(&mut self.slots) {
            match slot.state {
                SlotState::Done(Ok(resource)) => outcome.resource.merge(resource),
                SlotState::Done(Err(error)) => outcome.errors.push(format!("{}: {error}", slot.kind.name())),
                SlotState::Asking(_) | SlotState::Paused(_) => {}
            }
        }
        Some(outcome)
    }

    /// Runs a detector until it waits for something that takes time, or ends.
    fn advance(&mut self, cx: &mut Cx<'_>, index: usize, is_expired: bool) {
        loop {
            let Some(slot) = self.slots.get_mut(index) else { return };
            let result = {
                let env = |name: &str| cx.env_var(name);
                let mut answers = Answers::new(&mut slot.known, &env, is_expired);
                detectors::detect(slot.kind, &self.config, &self.tags, &mut answers)
            };
            let Some(question) = slot.known.asked().cloned().filter(|_| result == Err(Halt::Waiting)) else {
                return self.end_slot(cx, index, result, is_expired);
            };
            (slot.attempts, slot.has_asked) = (0, true);
            match self.ask(cx, index, question) {
                Ok(pending) => return self.set_state(index, SlotState::Asking(pending)),
                Err(error) => {
                    if let Some(slot) = self.slots.get_mut(index) {
                        slot.known.answer(Err(error));
                    }
                }
            }
        }
    }

    fn set_state(&mut self, index: usize, state: SlotState) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.state = state;
        }
    }

    /// A detector has ended: with a result, or for now.
    fn end_slot(&mut self, cx: &mut Cx<'_>, index: usize, result: Result<DetectedResource, Halt>, is_expired: bool) {
        let (key, random) = (self.key(index, TIMER), cx.random());
        let Some(slot) = self.slots.get_mut(index) else { return };
        let name = ("detector", LogField::Str(slot.kind.name()));
        for warning in slot.known.take_warnings() {
            self.log.warn("a detector leaves something out", &[name, ("warning", LogField::Str(&warning))]);
        }
        let error = match result {
            Ok(resource) => return slot.state = SlotState::Done(Ok(resource)),
            Err(Halt::Failed(error)) => error,
            Err(Halt::Waiting) => "no answer".to_owned(),
        };
        self.log.warn("failed to detect resource", &[name, ("error", LogField::Str(&error))]);
        if is_expired {
            return slot.state = SlotState::Done(Err(error));
        }
        slot.known = KnownAnswers::default();
        slot.state = SlotState::Paused(error);
        let pause = Duration::from_secs(1_u64.checked_shl(slot.failures).unwrap_or(u64::MAX).min(60));
        slot.failures += 1;
        slot.timer = Some(cx.set_timer(key, cx.now() + jittered(pause, random)));
    }

    /// Begins to get an answer.
    fn ask(&mut self, cx: &mut Cx<'_>, index: usize, question: Question) -> Result<Pending, String> {
        let key = self.key(index, FILE_JOB);
        match question {
            Question::File(path) => {
                let read = cx.run_file_job(key, move |files| {
                    files.read_at(Path::new(&path), 0, MAX_DOCUMENT).map(Bytes::from).map_err(|e| e.to_string())
                });
                read.map(Pending::Bytes).map_err(|e| e.to_string())
            }
            Question::Interfaces => {
                let read = cx.run_file_job(key, |files| interfaces::read(files).map_err(|e| e.to_string()));
                read.map(Pending::Interfaces).map_err(|e| e.to_string())
            }
            Question::Http(request) => {
                self.send(cx, index, &request)?;
                Ok(Pending::Http(request))
            }
            Question::Unix(path, target) => {
                let key = self.key(index, SOCKET);
                UnixRequest::start(cx, key, &path, &target, self.deadline)
                    .map(|request| Pending::Unix(Box::new(request)))
            }
        }
    }

    fn send(&mut self, cx: &mut Cx<'_>, index: usize, request: &Request) -> Result<(), String> {
        let url = Url::parse(&request.url).map_err(|e| e.to_string())?;
        let method = if request.method == "PUT" { Method::PUT } else { Method::GET };
        let mut outgoing = HttpRequest::new(method, Arc::new(url));
        outgoing.headers = request.headers.iter().map(|(name, value)| ((*name).into(), value.clone().into())).collect();
        outgoing.deadline = self.deadline;
        outgoing.response = ResponseMode::Whole { max_bytes: MAX_DOCUMENT };
        if request.client == ClientKind::Metadata {
            outgoing.timeouts =
                HttpTimeouts { connect: Some(CONNECT_TIMEOUT), head: Some(HEAD_TIMEOUT), idle: Some(HEAD_TIMEOUT) };
        }
        let token = self.key(index, SOCKET);
        if let Some(slot) = self.slots.get_mut(index) {
            slot.attempts += 1;
        }
        let [metadata, kubernetes, open_shift] = &mut self.clients;
        let client = match request.client {
            ClientKind::Metadata => metadata,
            ClientKind::Kubernetes => kubernetes,
            ClientKind::OpenShift => open_shift,
        };
        client.start_request(cx, token, outgoing);
        // A request that failed at once is reported in the next turn.
        cx.request_ready(CLIENT_KEYS);
        Ok(())
    }

    /// Passes responses on to the detectors that wait for them.
    fn take_responses(&mut self, cx: &mut Cx<'_>) {
        while let Some((token, result)) = self.clients.iter_mut().find_map(HttpClient::poll_result) {
            if token >> RUN_KEYS_SHIFT != self.run {
                continue;
            }
            let index = usize::try_from((token >> 2) & 0x3f).unwrap_or(usize::MAX);
            let result = match result {
                Ok(response) => {
                    let flavor = response.header("metadata-flavor").unwrap_or_default();
                    let metadata_flavor = String::from_utf8_lossy(flavor).into_owned();
                    Ok(Response { status: response.status, body: response.body, metadata_flavor })
                }
                Err(error) => Err(error.to_string()),
            };
            self.handle_response(cx, index, result);
        }
    }

    fn handle_response(&mut self, cx: &mut Cx<'_>, index: usize, result: Result<Response, String>) {
        let (key, random, now) = (self.key(index, TIMER), cx.random(), cx.now());
        let deadline = self.deadline;
        let Some(slot) = self.slots.get_mut(index) else { return };
        let SlotState::Asking(Pending::Http(request)) = &slot.state else { return };
        let may_succeed = !result.as_ref().is_ok_and(|response| response.status < 500);
        let has_attempts = request.max_attempts == 0 || slot.attempts < request.max_attempts;
        if may_succeed && has_attempts && now < deadline {
            let pause = Duration::from_secs(1_u64.checked_shl(slot.attempts - 1).unwrap_or(u64::MAX).min(60));
            let pause = jittered(pause, random).min(request.max_backoff);
            slot.state = SlotState::Asking(Pending::HttpPause(request.clone()));
            slot.timer = Some(cx.set_timer(key, now + pause));
            return;
        }
        self.answer(cx, index, result.map(Reply::Http));
    }

    fn answer(&mut self, cx: &mut Cx<'_>, index: usize, answer: Answer) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.known.answer(answer);
        }
        self.advance(cx, index, false);
    }

    /// The end of a pause.
    fn handle_timer(&mut self, cx: &mut Cx<'_>, index: usize) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        slot.timer = None;
        match &slot.state {
            SlotState::Paused(_) => self.advance(cx, index, false),
            SlotState::Asking(Pending::HttpPause(request)) => {
                let request = request.clone();
                match self.send(cx, index, &request) {
                    Ok(()) => self.set_state(index, SlotState::Asking(Pending::Http(request))),
                    Err(error) => self.answer(cx, index, Err(error)),
                }
            }
            SlotState::Asking(_) | SlotState::Done(_) => {}
        }
    }

    /// A job has ended, or a socket may be readable.
    fn handle_ready(&mut self, cx: &mut Cx<'_>, index: usize, kind: u64) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        let ended = || Err("the file could not be read".to_owned());
        let answer = match (&mut slot.state, kind) {
            (SlotState::Asking(Pending::Bytes(job)), FILE_JOB) => {
                Some(job.take().unwrap_or_else(ended).map(Reply::Bytes))
            }
            (SlotState::Asking(Pending::Interfaces(job)), FILE_JOB) => {
                let interfaces = job.take().unwrap_or_else(|| Err("the interfaces could not be read".to_owned()));
                Some(interfaces.map(Reply::Interfaces))
            }
            (SlotState::Asking(Pending::Unix(request)), SOCKET) => request.poll(cx),
            _ => None,
        };
        if let Some(answer) = answer {
            self.answer(cx, index, answer);
        }
    }

    /// The time limit: whatever detectors wait for has an error as its answer.
    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.deadline_timer = None;
        for index in 0..self.slots.len() {
            let Some(slot) = self.slots.get_mut(index) else { return };
            if let Some(timer) = slot.timer.take() {
                cx.cancel_timer(timer);
            }
            match &mut slot.state {
                SlotState::Done(_) => {}
                SlotState::Paused(error) => slot.state = SlotState::Done(Err(std::mem::take(error))),
                SlotState::Asking(_) => self.advance(cx, index, true),
            }
        }
    }
}

/// The client of the API server of OpenShift: without an authority, certificates are checked by that of the service
/// account.
fn open_shift_client_config(config: &OpenShiftConfig) -> HttpClientConfig {
    let mut client = HttpClientConfig { tls: config.tls.clone(), ..HttpClientConfig::default() };
    let common = &mut client.tls.common;
    if !config.tls.insecure && common.ca_file.as_ref().is_none_or(String::is_empty) && common.ca_pem.0.is_empty() {
        let in_cluster = in_cluster_client_config(KubernetesAuthType::ServiceAccount).tls.common;
        (common.ca_file, common.reload_interval) = (in_cluster.ca_file, in_cluster.reload_interval);
    }
    client
}

/// Between half of the time and one and a half of it.
fn jittered(time: Duration, random: u64) -> Duration {
    let per_mille = 500 + u32::try_from(random % 1001).unwrap_or(0);
    time * per_mille / 1000
}
