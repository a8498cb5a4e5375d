//! One reading of the state: what is asked, what each broker is asked next, and when it is over. Sends nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use otelcore_pipeline::MonotonicTime;

use super::state::{ClusterQuery, ClusterState};
use crate::messages::fetch::{self, EARLIEST, LATEST};
use crate::messages::{self, BrokerAddress, RequestBody, admin, group};
use crate::versions::ApiKey;

/// The most partitions or topics of a request.
pub(super) const MAX_ENTRIES: usize = 500;
/// The most groups whose members are asked for at once: an answer has what each member wants and has.
pub(super) const MAX_DESCRIBED: usize = 50;

/// A topic and one of its partitions.
pub(super) type TopicPartition = (Arc<str>, i32);

/// What a broker is asked.
#[derive(Clone)]
pub(super) enum Question {
    Metadata,
    Offsets { at: i64, partitions: Vec<TopicPartition> },
    TopicConfig(Vec<String>),
    BrokerConfig(i32),
    Groups,
    Members { groups: Vec<String>, has_consumer_protocol: bool },
    Committed(String),
}

impl Question {
    pub(super) fn api(&self) -> ApiKey {
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

    pub(super) fn body(&self, query: &ClusterQuery, version: i16) -> RequestBody {
        match self {
            Self::Metadata => messages::metadata_request(version, None::<std::iter::Empty<&str>>, false),
            Self::Offsets { at, partitions } => {
                let asked: Vec<(Arc<str>, (i32, i32))> =
                    partitions.iter().map(|(topic, index)| (topic.clone(), (*index, -1))).collect();
                fetch::list_offsets_request(version, *at, &fetch::by_topic(&asked))
            }
            Self::TopicConfig(topics) => {
                admin::describe_configs_request(version, admin::TOPIC_RESOURCE, topics, &query.topic_config)
            }
            Self::BrokerConfig(broker) => {
                let name = [broker.to_string()];
                admin::describe_configs_request(version, admin::BROKER_RESOURCE, &name, &query.broker_config)
            }
            Self::Groups => admin::list_groups_request(version),
            Self::Members { groups, has_consumer_protocol: true } => admin::consumer_group_describe_request(groups),
            Self::Members { groups, .. } => admin::describe_groups_request(version, groups),
            Self::Committed(group) => group::offset_fetch_request(version, group, None, None),
        }
    }
}

/// What has become of a question.
pub(super) struct Answer {
    pub(super) node: i32,
    pub(super) version: i16,
    pub(super) question: Question,
    pub(super) result: Result<Bytes, String>,
}

impl Answer {
    /// A question without an answer.
    pub(super) fn failed(question: Question, error: &str) -> Self {
        Self { node: -1, version: 0, question, result: Err(error.to_owned()) }
    }
}

/// One reading of the state.
pub(super) struct Run {
    pub(super) query: Arc<ClusterQuery>,
    pub(super) deadline: MonotonicTime,
    pub(super) has_metadata: bool,
    pub(super) state: ClusterState,
    pub(super) leaders: BTreeMap<TopicPartition, Option<i32>>,
    /// What each broker is asked next.
    pub(super) questions: BTreeMap<i32, VecDeque<Question>>,
    /// How many offsets of groups there are.
    pub(super) offsets: usize,
    /// The last offsets of partitions.
    pub(super) newest: BTreeMap<TopicPartition, i64>,
    /// The last offsets of what groups have read have been asked for.
    has_asked_newest: bool,
    pub(super) last_error: Option<String>,
    /// What the last answer says of the broker and of all brokers.
    pub(super) throttle_ms: u32,
    pub(super) brokers: Option<Vec<BrokerAddress>>,
    /// It is over.
    pub(super) result: Option<Result<ClusterState, String>>,
}

impl Run {
    pub(super) fn new(query: Arc<ClusterQuery>, deadline: MonotonicTime) -> Self {
        Self {
            query,
            deadline,
            has_metadata: false,
            state: ClusterState::default(),
            leaders: BTreeMap::new(),
            questions: BTreeMap::new(),
            offsets: 0,
            newest: BTreeMap::new(),
            has_asked_newest: false,
            last_error: None,
            throttle_ms: 0,
            brokers: None,
            result: None,
        }
    }

    /// A question has no answer.
    pub(super) fn fail(&mut self, question: &Question, error: &str) {
        if matches!(question, Question::Metadata) {
            self.last_error = Some(error.to_owned());
            return;
        }
        let (count, what) = question.what();
        self.state.errors.add(count, || format!("{what}: {error}"));
    }

    /// Nothing is left to be asked, or there is no time: asks for the ends of what groups have read, or ends.
    pub(super) fn end(&mut self, open: impl Iterator<Item = Question>, is_late: bool) {
        if !is_late && !std::mem::replace(&mut self.has_asked_newest, true) {
            let missing = self.partitions_without_newest();
            self.push_offsets(LATEST, missing);
            if !self.questions.is_empty() {
                return;
            }
        }
        let left = std::mem::take(&mut self.questions).into_values().flatten();
        open.chain(left).filter(|_| self.has_metadata).collect::<Vec<_>>().iter().for_each(|question| {
            self.fail(question, "no answer in time");
        });
        self.result = Some(if self.has_metadata {
            Ok(self.take_state())
        } else {
            Err(self.last_error.take().unwrap_or_else(|| "no broker has answered in time".to_owned()))
        });
    }

    pub(super) fn push(&mut self, node: i32, question: Question) {
        self.questions.entry(node).or_default().push_back(question);
    }

    /// Asks the leaders for offsets.
    fn push_offsets(&mut self, at: i64, partitions: Vec<TopicPartition>) {
        let mut by_leader: BTreeMap<i32, Vec<TopicPartition>> = BTreeMap::new();
        for partition in partitions {
            match self.leaders.get(&partition).copied().flatten() {
                Some(leader) => by_leader.entry(leader).or_default().push(partition),
                None => {
                    self.state.errors.add(1, || format!("topic {:?} partition {}: no leader", partition.0, partition.1))
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
    pub(super) fn push_after_metadata(&mut self) {
        let query = self.query.clone();
        let brokers = self.state.brokers.clone();
        let topics: Vec<String> = self.state.topics.keys().cloned().collect();
        let partitions: Vec<TopicPartition> = self
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
}
