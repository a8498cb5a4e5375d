//! The metadata of the cluster: which topics are read, who leads their partitions, and when it is read again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use otelcore_pipeline::{Cx, MonotonicTime};

use super::{ANSWER_TIME, ConsumerNotice, GroupConsumer, GroupProtocol, Request, TopicSelection, error_text};
use crate::error_code::{ErrorClass, ErrorCode};
use crate::messages::{self, NO_TOPIC_ID, PartitionMetadata, TopicId, TopicMetadata};
use crate::versions::ApiKey;

/// How soon metadata is read again while a topic that is read does not exist.
const MISSING_PAUSE: Duration = Duration::from_secs(5);

/// A topic that exists.
struct KnownTopic {
    id: TopicId,
    partitions: Vec<PartitionMetadata>,
}

/// See the module.
pub(super) struct Topics {
    /// The topics that are read, in order.
    pub(super) wanted: Vec<String>,
    /// The topics that other members read, if this one is the leader of the group.
    of_others: BTreeSet<String>,
    selection: TopicSelection,
    known: BTreeMap<Arc<str>, KnownTopic>,
    /// The names of topics that have ids.
    names: BTreeMap<TopicId, Arc<str>>,
    /// Topics that the cluster has said something about.
    answered: BTreeSet<String>,
    is_needed: bool,
    pub(super) is_in_flight: bool,
    /// Metadata has been read at least once.
    pub(super) is_read: bool,
    not_before: MonotonicTime,
    refresh_at: Option<MonotonicTime>,
}

impl Topics {
    pub(super) fn new(selection: &TopicSelection) -> Self {
        let mut wanted = match selection {
            TopicSelection::Names(names) => names.clone(),
            TopicSelection::Matching(_) => Vec::new(),
        };
        wanted.sort_unstable();
        wanted.dedup();
        Self {
            wanted,
            of_others: BTreeSet::new(),
            selection: selection.clone(),
            known: BTreeMap::new(),
            names: BTreeMap::new(),
            answered: BTreeSet::new(),
            is_needed: true,
            is_in_flight: false,
            is_read: false,
            not_before: MonotonicTime(0),
            refresh_at: None,
        }
    }

    /// Metadata is read again.
    pub(super) fn need(&mut self) {
        self.is_needed = true;
    }

    pub(super) fn next_deadline(&self, now: MonotonicTime) -> Option<MonotonicTime> {
        if self.is_in_flight {
            return None;
        }
        let urgent = (self.is_needed && self.not_before > now).then_some(self.not_before);
        [urgent, self.refresh_at.filter(|at| *at > now)].into_iter().flatten().min()
    }

    /// The number of partitions of each topic that exists, of those that any member reads; `None` before the cluster has been asked.
    pub(super) fn counts_for(&mut self, others: BTreeSet<String>) -> Option<BTreeMap<String, i32>> {
        self.of_others = others;
        if self.of_others.iter().any(|topic| !self.answered.contains(topic)) {
            self.is_needed = true;
            return None;
        }
        Some(self.counts())
    }

    /// The number of partitions of each topic that exists and is read by a member that is known.
    pub(super) fn counts(&self) -> BTreeMap<String, i32> {
        let count = |partitions: &Vec<PartitionMetadata>| {
            partitions.last().map_or(0, |last| last.index.saturating_add(1)).max(0)
        };
        let of_members = self.known.iter().filter(|(topic, _)| self.of_others.contains(&***topic));
        of_members.map(|(topic, known)| ((**topic).to_owned(), count(&known.partitions))).collect()
    }

    /// The id of a topic, or [`NO_TOPIC_ID`].
    pub(super) fn id(&self, topic: &str) -> TopicId {
        self.known.get(topic).map_or(NO_TOPIC_ID, |known| known.id)
    }

    /// The name of the topic with this id.
    pub(super) fn name(&self, id: TopicId) -> Option<Arc<str>> {
        self.names.get(&id).cloned()
    }

    /// The leader of a partition and its epoch.
    pub(super) fn leader(&self, topic: &str, index: i32) -> (Option<i32>, i32) {
        let partition = self.known.get(topic).and_then(|known| {
            let at = known.partitions.binary_search_by_key(&index, |partition| partition.index).ok()?;
            known.partitions.get(at)
        });
        partition.map_or((None, -1), |partition| (partition.leader, partition.leader_epoch))
    }

    fn update(&mut self, topics: Vec<TopicMetadata>) -> Vec<(String, ErrorCode)> {
        let mut errors = Vec::new();
        self.known.clear();
        self.names.clear();
        self.answered.clear();
        if let TopicSelection::Matching(matches) = &self.selection {
            let of_cluster = topics.iter().filter(|topic| topic.error.is_none() && !topic.is_internal);
            self.wanted = of_cluster.map(|topic| topic.name.clone()).filter(|name| matches(name)).collect();
            self.wanted.sort_unstable();
            self.wanted.dedup();
            self.answered = self.of_others.clone();
        }
        for topic in topics {
            let is_wanted = self.wanted.binary_search(&topic.name).is_ok();
            if !is_wanted && !self.of_others.contains(&topic.name) {
                continue;
            }
            self.answered.insert(topic.name.clone());
            if is_wanted && topic.error.class() == ErrorClass::Permanent {
                errors.push((topic.name.clone(), topic.error));
            }
            if !topic.partitions.is_empty() {
                let name: Arc<str> = topic.name.into();
                if topic.id != NO_TOPIC_ID {
                    self.names.insert(topic.id, name.clone());
                }
                self.known.insert(name, KnownTopic { id: topic.id, partitions: topic.partitions });
            }
        }
        errors
    }

    fn is_missing(&self) -> bool {
        self.wanted.iter().any(|name| !self.known.contains_key(name.as_str()))
    }
}

impl GroupConsumer {
    /// Requests metadata, if it is needed or old.
    pub(super) fn advance_metadata(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now();
        if self.topics.refresh_at.is_some_and(|at| at <= now) {
            self.topics.refresh_at = None;
            self.topics.is_needed = true;
        }
        if !self.topics.is_needed || self.topics.is_in_flight || self.topics.not_before > now {
            return;
        }
        let Some(node) = self.fetch_nodes.any(cx) else { return };
        let version = match self.fetch_nodes.version(node, ApiKey::Metadata) {
            Some(Ok(version)) => version,
            Some(Err(error)) => {
                self.topics.not_before = now + self.client.metadata_pause.max(super::PAUSES.0);
                return self.notice(ConsumerNotice::Group(error));
            }
            None => return,
        };
        let names: BTreeSet<&str> =
            self.topics.wanted.iter().chain(&self.topics.of_others).map(String::as_str).collect();
        let is_all = matches!(self.topics.selection, TopicSelection::Matching(_));
        let names: Vec<&str> = names.into_iter().collect();
        let body = messages::metadata_request(version, (!is_all).then(|| names.into_iter()), false);
        let token = self.new_token(Request::Metadata);
        self.topics.is_in_flight = true;
        self.topics.is_needed = false;
        let deadline = now + ANSWER_TIME + self.config.max_fetch_wait;
        self.fetch_nodes.send(cx, (node, token), (ApiKey::Metadata, version), (body, true), deadline);
    }

    /// Takes over what the cluster says.
    pub(super) fn handle_metadata(&mut self, cx: &mut Cx<'_>, node: i32, version: i16, body: &[u8]) {
        let now = cx.now();
        self.topics.is_in_flight = false;
        self.topics.not_before = now + self.client.metadata_pause;
        let metadata = match messages::read_metadata(version, body) {
            Ok(metadata) => metadata,
            Err(error) => {
                self.topics.is_needed = true;
                return self.notice(ConsumerNotice::Group(format!("the broker's metadata is invalid: {error}")));
            }
        };
        self.fetch_nodes.throttle(node, now, metadata.throttle_ms);
        self.fetch_nodes.set_brokers(&metadata.brokers);
        self.group_nodes.set_brokers(&metadata.brokers);
        let before = self.topics.wanted.clone();
        for (topic, error) in self.topics.update(metadata.topics) {
            self.notice(ConsumerNotice::Group(error_text(&format!("topic {topic:?}"), error)));
        }
        self.topics.is_read = true;
        let refresh = self.client.metadata_interval.max(super::PAUSES.0);
        let refresh = if self.topics.is_missing() { refresh.min(MISSING_PAUSE) } else { refresh };
        self.topics.refresh_at = Some(now + refresh);
        if before != self.topics.wanted {
            self.group.must_rejoin = true;
        }
        self.check_counts();
        self.replace_recreated(now);
        self.reconcile(now);
        let ids: Vec<u64> = self.partitions.keys().copied().collect();
        for id in ids {
            let Some(partition) = self.partitions.get_mut(&id) else { continue };
            let (leader, epoch) = self.topics.leader(&partition.topic, partition.index);
            if (partition.leader, partition.leader_epoch) != (leader, epoch) {
                (partition.leader, partition.leader_epoch) = (leader, epoch);
                partition.preferred = None;
                self.schedule(now, id);
            }
        }
        if !self.leaderless.is_empty() {
            self.topics.is_needed = true;
        }
    }

    /// Partitions of topics that have been deleted and created again begin anew: their offsets are those of other records. By the
    /// consumer protocol the coordinator assigns them anew.
    fn replace_recreated(&mut self, now: MonotonicTime) {
        if self.config.protocol != GroupProtocol::Classic {
            return;
        }
        let mut recreated = Vec::new();
        for (number, partition) in &mut self.partitions {
            let id = self.topics.id(&partition.topic);
            if id == NO_TOPIC_ID || id == partition.topic_id {
                continue;
            }
            if partition.topic_id == NO_TOPIC_ID {
                partition.topic_id = id;
            } else if !partition.is_stopped {
                recreated.push((*number, partition.topic.clone(), partition.index));
            }
        }
        for (number, topic, index) in recreated {
            self.remove_partition(number, true);
            self.add_partition(now, &topic, index);
        }
    }
}
