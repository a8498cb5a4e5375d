//! Reads the state of a cluster: brokers, topics and their offsets, groups, their members and lags.
//!
//! ```text
//!  metadata -> leaders: first and last offsets; a broker: configuration; each broker: its groups -> members, committed offsets
//!           -> leaders: last offsets of what groups have read
//! ```
//! A broker has one request at a time. What one broker does not answer is missing in the state and counted; it is asked again in the next
//! run. Answers are read by jobs, one after another, because those of a large cluster are long. Never changes anything of the cluster.

mod answers;
mod run;
mod state;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_pipeline::{Cx, Event, JobResult, Logger, MonotonicTime, StartError, TimerId};
use run::{Answer, Question, Run};
pub use state::{ClusterQuery, ClusterState, GroupState, NameFilter, PartitionState, ReadErrors, TopicState};

use crate::client_config::ClientConfig;
use crate::nodes::{NodeEvent, Nodes};

/// The local key of the timer.
const TIMER_KEY: u64 = 0;
/// The local key of the jobs.
const JOB_KEY: u64 = 1;
/// The local keys of connections.
const FIRST_KEY: u64 = 1 << 16;
/// The most brokers that are asked at the same time.
const MAX_ASKED: usize = 64;
/// The most bytes of an answer above that of other answers: the metadata of a large cluster.
const MAX_ANSWER: usize = 24 << 20;

/// See the module.
pub struct ClusterReader {
    nodes: Nodes,
    query: Arc<ClusterQuery>,
    is_running: bool,
    /// What is being read, unless a job has it.
    run: Option<Run>,
    /// The broker whose answer is read.
    job: Option<(Option<i32>, JobResult<Run>)>,
    answers: VecDeque<Answer>,
    requests: BTreeMap<u64, (i32, Question)>,
    /// The brokers with a request.
    asked: BTreeSet<i32>,
    next_token: u64,
    result: Option<Result<ClusterState, String>>,
    timer: Option<(MonotonicTime, TimerId)>,
}

impl std::fmt::Debug for ClusterReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterReader").field("is_running", &self.is_running).finish_non_exhaustive()
    }
}

impl ClusterReader {
    /// A reader that has not begun. It uses local keys below 2^32.
    #[must_use]
    pub fn new(client: Rc<ClientConfig>, query: ClusterQuery, log: Logger) -> Self {
        let mut nodes = Nodes::new(client, log, FIRST_KEY);
        nodes.accept_records(MAX_ANSWER);
        Self {
            nodes,
            query: Arc::new(query),
            is_running: false,
            run: None,
            job: None,
            answers: VecDeque::new(),
            requests: BTreeMap::new(),
            asked: BTreeSet::new(),
            next_token: 0,
            result: None,
            timer: None,
        }
    }

    /// Reads the files of TLS.
    ///
    /// # Errors
    /// What can't be read or used.
    pub fn start(&mut self, cx: &mut Cx<'_>) -> Result<(), StartError> {
        self.nodes.start(cx)
    }

    /// Reads the state, until `deadline` at most. Nothing is being read.
    pub fn begin(&mut self, cx: &mut Cx<'_>, deadline: MonotonicTime) {
        self.is_running = true;
        self.run = Some(Run::new(self.query.clone(), deadline));
        self.advance(cx);
    }

    /// Whether the state is being read.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.is_running
    }

    /// The state that was read, or why nothing was.
    pub fn take_result(&mut self) -> Option<Result<ClusterState, String>> {
        self.result.take()
    }

    /// Handles an event if it is under one of its keys.
    pub fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>) {
        match local {
            TIMER_KEY => self.timer = None,
            JOB_KEY => self.handle_read(cx.now()),
            _ => self.nodes.handle_event(cx, local, event),
        }
        self.advance(cx);
    }

    /// Closes all connections.
    pub fn close(&mut self) {
        self.is_running = false;
        (self.run, self.job) = (None, None);
        self.nodes.close();
    }

    fn advance(&mut self, cx: &mut Cx<'_>) {
        self.nodes.handle_timeout(cx);
        loop {
            while let Some(event) = self.nodes.poll_event() {
                self.handle_node_event(event);
            }
            self.ask(cx);
            self.start_job(cx);
            if !self.nodes.has_events() {
                break;
            }
        }
        let deadline = self.run.as_ref().map(|run| run.deadline);
        let at = [self.nodes.next_deadline(), deadline].into_iter().flatten().min();
        if at != self.timer.map(|(at, _)| at) {
            if let Some((_, id)) = self.timer.take() {
                cx.cancel_timer(id);
            }
            self.timer = at.map(|at| (at, cx.set_timer(TIMER_KEY, at)));
        }
    }

    /// Sends each broker the next question.
    fn ask(&mut self, cx: &mut Cx<'_>) {
        let Some(run) = &self.run else { return };
        if !run.has_metadata {
            if self.requests.is_empty()
                && self.answers.is_empty()
                && run.deadline > cx.now()
                && let Some(node) = self.nodes.any(cx)
            {
                self.send(cx, node, Question::Metadata);
            }
            return;
        }
        let nodes: Vec<i32> = run.questions.keys().copied().take(MAX_ASKED).collect();
        for node in nodes {
            if !self.nodes.is_known(node) {
                self.give_up(node, "the broker is not in the cluster");
            } else if !self.nodes.can_send(node, cx.now()) {
                self.nodes.connect(cx, node);
            } else {
                // A question that the broker does not have the request for is over at once.
                while !self.asked.contains(&node)
                    && let Some(question) = self.next_question(node)
                {
                    self.send(cx, node, question);
                }
            }
        }
    }

    fn next_question(&mut self, node: i32) -> Option<Question> {
        let run = self.run.as_mut()?;
        let questions = run.questions.get_mut(&node)?;
        let question = questions.pop_front();
        if questions.is_empty() {
            run.questions.remove(&node);
        }
        question
    }

    fn send(&mut self, cx: &mut Cx<'_>, node: i32, question: Question) {
        let Some(deadline) = self.run.as_ref().map(|run| run.deadline) else { return };
        let api = question.api();
        match self.nodes.version(node, api) {
            Some(Ok(version)) => {
                let body = question.body(&self.query, version);
                self.next_token += 1;
                self.asked.insert(node);
                self.requests.insert(self.next_token, (node, question));
                self.nodes.send(cx, (node, self.next_token), (api, version), (body, true), deadline);
            }
            Some(Err(error)) => self.fail(&question, &error),
            None => self.fail(&question, "the connection has ended"),
        }
    }

    /// A question has no answer.
    fn fail(&mut self, question: &Question, error: &str) {
        match &mut self.run {
            Some(run) => run.fail(question, error),
            None => self.answers.push_back(Answer::failed(question.clone(), error)),
        }
    }

    /// A broker can't be asked.
    fn give_up(&mut self, node: i32, error: &str) {
        if let Some(run) = &mut self.run {
            let questions = run.questions.remove(&node).unwrap_or_default();
            questions.iter().for_each(|question| run.fail(question, error));
        }
    }

    fn handle_node_event(&mut self, event: NodeEvent) {
        match event {
            NodeEvent::Changed(_) | NodeEvent::Written { .. } => {}
            NodeEvent::Answer { node, token, version, body } => {
                if let Some((_, question)) = self.requests.remove(&token) {
                    self.asked.remove(&node);
                    self.answers.push_back(Answer { node, version, question, result: Ok(body) });
                }
            }
            NodeEvent::Failed { node, tokens, error } => {
                for token in tokens {
                    if let Some((_, question)) = self.requests.remove(&token) {
                        self.asked.remove(&node);
                        self.fail(&question, &error);
                    }
                }
                if let Some(run) = self.run.as_mut().filter(|run| !run.has_metadata) {
                    run.last_error = Some(error.to_string());
                }
                self.give_up(node, &error);
            }
        }
    }

    /// Gives the next answer to a job, or what is left to be done when there is none.
    fn start_job(&mut self, cx: &mut Cx<'_>) {
        if self.job.is_some() {
            return;
        }
        let Some(run) = self.run.take() else { return };
        let is_late = run.deadline <= cx.now();
        let answer = self.answers.pop_front();
        let is_over = self.requests.is_empty() && run.has_metadata && run.questions.is_empty();
        if answer.is_none() && !is_over && !is_late {
            self.run = Some(run);
            return;
        }
        let open = if answer.is_none() { std::mem::take(&mut self.requests) } else { BTreeMap::new() };
        let node = answer.as_ref().map(|answer| answer.node);
        let mut run = run;
        let job = cx.run_job(JOB_KEY, move || {
            match answer {
                Some(answer) => run.handle_answer(&answer),
                None => run.end(open.into_values().map(|(_, question)| question), is_late),
            }
            run
        });
        self.job = Some((node, job));
    }

    /// A job has ended.
    fn handle_read(&mut self, now: MonotonicTime) {
        if !self.job.as_ref().is_some_and(|(_, job)| job.has_ended()) {
            return;
        }
        let Some((node, job)) = self.job.take() else { return };
        let Some(mut run) = job.take() else {
            self.finish(Err("reading an answer has ended by an error of the collector".to_owned()));
            return;
        };
        if let Some(node) = node {
            self.nodes.throttle(node, now, std::mem::take(&mut run.throttle_ms));
        }
        if let Some(brokers) = run.brokers.take() {
            self.nodes.set_brokers(&brokers);
        }
        match run.result.take() {
            Some(result) => self.finish(result),
            None => self.run = Some(run),
        }
    }

    fn finish(&mut self, result: Result<ClusterState, String>) {
        self.is_running = false;
        self.requests.clear();
        self.answers.clear();
        self.asked.clear();
        self.result = Some(result);
    }
}

/// How long a reading may take without another limit.
pub const DEFAULT_READ_TIME: Duration = Duration::from_secs(30);
