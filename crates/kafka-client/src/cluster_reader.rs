//! Reads the state of a cluster: brokers, topics and their offsets, groups, their members and lags.
//!
//! ```text
//!  metadata -> leaders: first and last offsets; a broker: configuration; each broker: its groups -> members, committed offsets
//!           -> leaders: last offsets of what groups have read
//! ```
//! A broker has one request at a time. What one broker does not answer is missing in the state and counted; it is asked again in the next
//! run. Never changes anything of the cluster.

mod answers;
mod state;

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use otelcore_pipeline::{Cx, Event, Logger, MonotonicTime, StartError, TimerId};
pub use state::{ClusterQuery, ClusterState, GroupState, NameFilter, PartitionState, ReadErrors, TopicState};

use crate::client_config::ClientConfig;
use crate::messages::fetch::{self, EARLIEST, LATEST};
use crate::messages::{self, RequestBody, admin, group};
use crate::nodes::{NodeEvent, Nodes};
use crate::versions::ApiKey;

/// The local key of the timer.
const TIMER_KEY: u64 = 0;
/// The local keys of connections.
const FIRST_KEY: u64 = 1 << 16;
/// The most partitions or topics of a request.
const MAX_ENTRIES: usize = 500;
/// The most groups whose members are asked for at once: an answer has what each member wants and has.
const MAX_DESCRIBED: usize = 50;
/// The most bytes of an answer above that of other answers: the metadata of a large cluster.
const MAX_ANSWER: usize = 24 << 20;

/// A topic and one of its partitions.
type TopicPartition = (Arc<str>, i32);

/// What a broker is asked.
#[derive(Clone)]
enum Question {
    Metadata,
    Offsets { at: i64, partitions: Vec<TopicPartition> },
    TopicConfig(Vec<String>),
    BrokerConfig(i32),
    Groups,
    Members { groups: Vec<String>, has_consumer_protocol: bool },
    Committed(String),
}

impl Question {
    fn api(&self) -> ApiKey {
        match self {
            Self::Metadata => ApiKey::Metadata,
            Self::Offsets { .. } => ApiKey::ListOffsets,
            Self::TopicConfig(_) | Self::BrokerConfig(_) => ApiKey::DescribeConfigs,
            Self::Groups => ApiKey::ListGroups,
            Self::Members { has_consumer_protocol: true, .. } => ApiKey::ConsumerGroupDescribe,
            Self::Members { .. } => ApiKey::DescribeGroups,
            Self::Committed(_) => ApiKey::OffsetFetch,
        }
    }

    /// How many entries of the state are missing without an answer, and what they are.
    fn what(&self) -> (usize, String) {
        match self {
            Self::Metadata => (1, "the cluster".to_owned()),
            Self::Offsets { partitions, .. } => {
                let first = partitions.first().map_or("", |(topic, _)| topic);
                (partitions.len(), format!("offsets of topic {first:?}"))
            }
            Self::TopicConfig(topics) => {
                (topics.len(), format!("configuration of topic {:?}", topics.first().map_or("", String::as_str)))
            }
            Self::BrokerConfig(broker) => (1, format!("configuration of broker {broker}")),
            Self::Groups => (1, "groups".to_owned()),
            Self::Members { groups, .. } => {
                (groups.len(), format!("members of group {:?}", groups.first().map_or("", String::as_str)))
            }
            Self::Committed(group) => (1, format!("offsets of group {group:?}")),
        }
    }
}

/// One reading of the state.
#[derive(Default)]
struct Run {
    deadline: MonotonicTime,
    has_metadata: bool,
    state: ClusterState,
    leaders: BTreeMap<TopicPartition, Option<i32>>,
    /// What each broker is asked next.
    questions: BTreeMap<i32, VecDeque<Question>>,
    /// How many offsets of groups there are.
    offsets: usize,
    /// The last offsets of partitions.
    newest: BTreeMap<TopicPartition, i64>,
    /// The last offsets of what groups have read have been asked for.
    has_asked_newest: bool,
    last_error: Option<String>,
}

/// See the module.
pub struct ClusterReader {
    nodes: Nodes,
    query: Rc<ClusterQuery>,
    run: Option<Run>,
    requests: BTreeMap<u64, (i32, Question)>,
    next_token: u64,
    result: Option<Result<ClusterState, String>>,
    timer: Option<(MonotonicTime, TimerId)>,
}

impl std::fmt::Debug for ClusterReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterReader").field("is_running", &self.run.is_some()).finish_non_exhaustive()
    }
}

impl ClusterReader {
    /// A reader that has not begun. It uses local keys below 2^32.
    #[must_use]
    pub fn new(client: Rc<ClientConfig>, query: ClusterQuery, log: Logger) -> Self {
        let mut nodes = Nodes::new(client, log, FIRST_KEY);
        nodes.accept_records(MAX_ANSWER);
        let (requests, query) = (BTreeMap::new(), Rc::new(query));
        Self { nodes, query, run: None, requests, next_token: 0, result: None, timer: None }
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
        self.run = Some(Run { deadline, ..Run::default() });
        self.advance(cx);
    }

    /// Whether the state is being read.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.run.is_some()
    }

    /// The state that was read, or why nothing was.
    pub fn take_result(&mut self) -> Option<Result<ClusterState, String>> {
        self.result.take()
    }

    /// Handles an event if it is under one of its keys.
    pub fn handle_event(&mut self, cx: &mut Cx<'_>, local: u64, event: &Event<'_>) {
        if local == TIMER_KEY {
            self.timer = None;
        } else {
            self.nodes.handle_event(cx, local, event);
        }
        self.advance(cx);
    }

    /// Closes all connections.
    pub fn close(&mut self) {
        self.run = None;
        self.nodes.close();
    }

    fn advance(&mut self, cx: &mut Cx<'_>) {
        self.nodes.handle_timeout(cx);
        loop {
            while let Some(event) = self.nodes.poll_event() {
                self.handle_node_event(cx, event);
            }
            self.ask(cx);
            let asks_more = self.finish_if_over(cx.now());
            if !asks_more && !self.nodes.has_events() {
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

    fn is_asking(&self, node: i32) -> bool {
        self.requests.values().any(|(asked, _)| *asked == node)
    }

    /// Sends each broker the next question.
    fn ask(&mut self, cx: &mut Cx<'_>) {
        let Some(run) = &self.run else { return };
        if !run.has_metadata {
            if self.requests.is_empty()
                && run.deadline > cx.now()
                && let Some(node) = self.nodes.any(cx)
            {
                self.send(cx, node, Question::Metadata);
            }
            return;
        }
        let nodes: Vec<i32> = run.questions.keys().copied().collect();
        for node in nodes {
            if !self.nodes.is_known(node) {
                self.give_up(node, "the broker is not in the cluster");
            } else if !self.nodes.can_send(node, cx.now()) {
                self.nodes.connect(cx, node);
            } else {
                // A question that the broker does not have the request for is over at once.
                while !self.is_asking(node)
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
                let body = self.body(&question, version);
                self.next_token += 1;
                self.requests.insert(self.next_token, (node, question));
                self.nodes.send(cx, (node, self.next_token), (api, version), (body, true), deadline);
            }
            Some(Err(error)) => self.fail(&question, &error),
            None => self.fail(&question, "the connection has ended"),
        }
    }

    fn body(&self, question: &Question, version: i16) -> RequestBody {
        match question {
            Question::Metadata => messages::metadata_request(version, None::<std::iter::Empty<&str>>, false),
            Question::Offsets { at, partitions } => {
                let asked: Vec<(Arc<str>, (i32, i32))> =
                    partitions.iter().map(|(topic, index)| (topic.clone(), (*index, -1))).collect();
                fetch::list_offsets_request(version, *at, &fetch::by_topic(&asked))
            }
            Question::TopicConfig(topics) => {
                admin::describe_configs_request(version, admin::TOPIC_RESOURCE, topics, &self.query.topic_config)
            }
            Question::BrokerConfig(broker) => {
                let name = [broker.to_string()];
                admin::describe_configs_request(version, admin::BROKER_RESOURCE, &name, &self.query.broker_config)
            }
            Question::Groups => admin::list_groups_request(version),
            Question::Members { groups, has_consumer_protocol: true } => admin::consumer_group_describe_request(groups),
            Question::Members { groups, .. } => admin::describe_groups_request(version, groups),
            Question::Committed(group) => group::offset_fetch_request(version, group, None, None),
        }
    }

    /// A question has no answer.
    fn fail(&mut self, question: &Question, error: &str) {
        let Some(run) = &mut self.run else { return };
        if matches!(question, Question::Metadata) {
            run.last_error = Some(error.to_owned());
            return;
        }
        let (count, what) = question.what();
        run.state.errors.add(count, || format!("{what}: {error}"));
    }

    /// A broker can't be asked.
    fn give_up(&mut self, node: i32, error: &str) {
        let questions = self.run.as_mut().and_then(|run| run.questions.remove(&node)).unwrap_or_default();
        questions.iter().for_each(|question| self.fail(question, error));
    }

    fn handle_node_event(&mut self, cx: &mut Cx<'_>, event: NodeEvent) {
        match event {
            NodeEvent::Changed(_) | NodeEvent::Written { .. } => {}
            NodeEvent::Answer { node, token, version, body } => {
                if let Some((_, question)) = self.requests.remove(&token)
                    && self.run.is_some()
                {
                    self.handle_answer(cx.now(), (node, version), &question, &body);
                }
            }
            NodeEvent::Failed { node, tokens, error } => {
                for token in tokens {
                    if let Some((_, question)) = self.requests.remove(&token) {
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

    fn push(&mut self, node: i32, question: Question) {
        if let Some(run) = &mut self.run {
            run.questions.entry(node).or_default().push_back(question);
        }
    }

    /// Asks the leaders for offsets.
    fn push_offsets(&mut self, at: i64, partitions: Vec<TopicPartition>) {
        let Some(run) = &mut self.run else { return };
        let mut by_leader: BTreeMap<i32, Vec<TopicPartition>> = BTreeMap::new();
        for partition in partitions {
            match run.leaders.get(&partition).copied().flatten() {
                Some(leader) => by_leader.entry(leader).or_default().push(partition),
                None => {
                    run.state.errors.add(1, || format!("topic {:?} partition {}: no leader", partition.0, partition.1))
                }
            }
        }
        for (leader, partitions) in by_leader {
            for some in partitions.chunks(MAX_ENTRIES) {
                self.push(leader, Question::Offsets { at, partitions: some.to_vec() });
            }
        }
    }

    /// The metadata is there: asks everything that follows from it.
    fn push_after_metadata(&mut self) {
        let query = self.query.clone();
        let Some(run) = &mut self.run else { return };
        let brokers = run.state.brokers.clone();
        let topics: Vec<String> = run.state.topics.keys().cloned().collect();
        let partitions: Vec<TopicPartition> = run
            .state
            .topics
            .iter()
            .flat_map(|(topic, state)| {
                let topic: Arc<str> = topic.as_str().into();
                state.partitions.keys().map(move |index| (topic.clone(), *index)).collect::<Vec<_>>()
            })
            .collect();
        if query.reads_topics {
            self.push_offsets(LATEST, partitions.clone());
            self.push_offsets(EARLIEST, partitions);
            if !query.topic_config.is_empty() {
                for (turn, some) in topics.chunks(MAX_ENTRIES).enumerate() {
                    if let Some(broker) = brokers.get(turn % brokers.len().max(1)) {
                        self.push(*broker, Question::TopicConfig(some.to_vec()));
                    }
                }
            }
        }
        for broker in brokers {
            if query.reads_groups {
                self.push(broker, Question::Groups);
            }
            if !query.broker_config.is_empty() {
                self.push(broker, Question::BrokerConfig(broker));
            }
        }
    }

    /// Ends the run, if nothing is left to be asked. Returns whether there are new questions.
    fn finish_if_over(&mut self, now: MonotonicTime) -> bool {
        let Some(run) = &mut self.run else { return false };
        let is_late = run.deadline <= now;
        if !is_late {
            if !run.has_metadata || !run.questions.is_empty() || !self.requests.is_empty() {
                return false;
            }
            if !std::mem::replace(&mut run.has_asked_newest, true) {
                let missing = answers::partitions_without_newest(run);
                if !missing.is_empty() {
                    self.push_offsets(LATEST, missing);
                    return true;
                }
            }
        }
        if is_late {
            let open: Vec<Question> = std::mem::take(&mut self.requests).into_values().map(|(_, q)| q).collect();
            let nodes: Vec<i32> = self.run.iter().flat_map(|run| run.questions.keys().copied()).collect();
            if self.run.as_ref().is_some_and(|run| run.has_metadata) {
                open.iter().for_each(|question| self.fail(question, "no answer in time"));
            }
            nodes.into_iter().for_each(|node| self.give_up(node, "no answer in time"));
        }
        let Some(run) = self.run.take() else { return false };
        self.result = Some(if run.has_metadata {
            Ok(answers::with_newest(run))
        } else {
            Err(run.last_error.unwrap_or_else(|| "no broker has answered in time".to_owned()))
        });
        false
    }
}

/// How long a reading may take without another limit.
pub const DEFAULT_READ_TIME: Duration = Duration::from_secs(30);
