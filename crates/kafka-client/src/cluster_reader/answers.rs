//! What answers say of the state of a cluster.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::run::{Answer, MAX_DESCRIBED, Question, Run, TopicPartition};
use super::state::{ClusterState, PartitionState, TopicState};
use crate::messages::fetch::{self, LATEST};
use crate::messages::{self, admin, group};
use crate::wire::WireError;

/// The most offsets of all groups that are kept.
const MAX_OFFSETS: usize = 500_000;

impl Run {
    pub(super) fn handle_answer(&mut self, answer: &Answer) {
        let Answer { node, version, question, result } = answer;
        let (node, version) = (*node, *version);
        let body = match result {
            Ok(body) => body,
            Err(error) => return self.fail(question, error),
        };
        let result = match question {
            Question::Metadata => self.take_metadata(version, body),
            Question::Offsets { at, .. } => self.take_offsets(version, *at, body),
            Question::TopicConfig(_) => self.take_topic_config(version, body),
            Question::BrokerConfig(broker) => self.take_broker_config(version, *broker, body),
            Question::Groups => self.take_groups(version, node, body),
            Question::Members { has_consumer_protocol, .. } => self.take_members(version, *has_consumer_protocol, body),
            Question::Committed(group) => self.take_committed(version, group, body),
        };
        match result {
            Ok(throttle_ms) => self.throttle_ms = throttle_ms,
            Err(error) => {
                self.fail(question, &format!("the broker's answer is invalid: {error}"));
                if !self.has_metadata {
                    // It would be the same again.
                    self.end(std::iter::empty(), true);
                }
            }
        }
    }

    fn take_metadata(&mut self, version: i16, body: &[u8]) -> Result<u32, WireError> {
        let metadata = messages::read_metadata(version, body)?;
        let query = self.query.clone();
        self.has_metadata = true;
        self.state.cluster_id = metadata.cluster_id;
        self.state.brokers = metadata.brokers.iter().map(|broker| broker.id).collect();
        self.state.brokers.sort_unstable();
        for topic in metadata.topics {
            if !topic.error.is_none() || !(query.topic_filter)(&topic.name) {
                continue;
            }
            let name: Arc<str> = topic.name.as_str().into();
            let mut state = TopicState::default();
            for partition in &topic.partitions {
                self.leaders.insert((name.clone(), partition.index), partition.leader);
                let (replicas, in_sync) = (partition.replicas, partition.in_sync);
                state
                    .partitions
                    .insert(partition.index, PartitionState { replicas, in_sync, ..PartitionState::default() });
            }
            // Topics of Kafka itself are not reported, but groups may read them.
            if query.reads_topics && !topic.is_internal {
                self.state.topics.insert(topic.name, state);
            }
        }
        self.brokers = Some(metadata.brokers);
        self.push_after_metadata();
        Ok(metadata.throttle_ms)
    }

    fn take_offsets(&mut self, version: i16, at: i64, body: &[u8]) -> Result<u32, WireError> {
        let (throttle_ms, offsets) = fetch::read_list_offsets(version, body)?;
        for found in offsets {
            if !found.error.is_none() || found.offset < 0 {
                self.state.errors.add(1, || {
                    let which = if at == LATEST { "end" } else { "start" };
                    format!("topic {:?} partition {}: {which} offset: {}", found.topic, found.index, found.error)
                });
                continue;
            }
            let state =
                self.state.topics.get_mut(&found.topic).and_then(|topic| topic.partitions.get_mut(&found.index));
            if at == LATEST {
                self.newest.insert((found.topic.into(), found.index), found.offset);
                if let Some(state) = state {
                    state.newest = Some(found.offset);
                }
            } else if let Some(state) = state {
                state.oldest = Some(found.offset);
            }
        }
        Ok(throttle_ms)
    }

    fn take_topic_config(&mut self, version: i16, body: &[u8]) -> Result<u32, WireError> {
        let (throttle_ms, resources) = admin::read_describe_configs(version, body)?;
        for resource in resources {
            if !resource.error.is_none() {
                self.state.errors.add(1, || format!("configuration of topic {:?}: {}", resource.name, resource.error));
            } else if let Some(topic) = self.state.topics.get_mut(&resource.name) {
                topic.config = resource.values;
            }
        }
        Ok(throttle_ms)
    }

    fn take_broker_config(&mut self, version: i16, broker: i32, body: &[u8]) -> Result<u32, WireError> {
        let (throttle_ms, resources) = admin::read_describe_configs(version, body)?;
        for resource in resources {
            if resource.error.is_none() {
                self.state.broker_config.insert(broker, resource.values);
            } else {
                self.state.errors.add(1, || format!("configuration of broker {broker}: {}", resource.error));
            }
        }
        Ok(throttle_ms)
    }

    /// A broker lists the groups that it coordinates, so that it is also the one that knows their members and offsets.
    fn take_groups(&mut self, version: i16, node: i32, body: &[u8]) -> Result<u32, WireError> {
        let (throttle_ms, error, groups) = admin::read_list_groups(version, body)?;
        let query = self.query.clone();
        if !error.is_none() {
            self.state.errors.add(1, || format!("groups of broker {node}: {error}"));
        }
        let (mut classic, mut consumer) = (Vec::new(), Vec::new());
        for listed in groups.into_iter().filter(|listed| (query.group_filter)(&listed.group)) {
            self.state.groups.entry(listed.group.clone()).or_default();
            if listed.has_consumer_protocol { consumer.push(listed.group) } else { classic.push(listed.group) }
        }
        for (has_consumer_protocol, groups) in [(false, &classic), (true, &consumer)] {
            for some in groups.chunks(MAX_DESCRIBED) {
                self.push(node, Question::Members { groups: some.to_vec(), has_consumer_protocol });
            }
        }
        classic.into_iter().chain(consumer).for_each(|group| self.push(node, Question::Committed(group)));
        Ok(throttle_ms)
    }

    fn take_members(&mut self, version: i16, has_consumer_protocol: bool, body: &[u8]) -> Result<u32, WireError> {
        let (throttle_ms, groups) = if has_consumer_protocol {
            admin::read_consumer_group_describe(version, body)?
        } else {
            admin::read_describe_groups(version, body)?
        };
        for described in groups {
            if !described.error.is_none() {
                self.state.errors.add(1, || format!("members of group {:?}: {}", described.group, described.error));
            } else if let Some(state) = self.state.groups.get_mut(&described.group) {
                state.members = Some(described.members);
            }
        }
        Ok(throttle_ms)
    }

    fn take_committed(&mut self, version: i16, group: &str, body: &[u8]) -> Result<u32, WireError> {
        let read = group::read_offset_fetch(version, body)?;
        let query = self.query.clone();
        if !read.error.is_none() {
            self.state.errors.add(1, || format!("offsets of group {group:?}: {}", read.error));
        }
        let Some(state) = self.state.groups.get_mut(group) else { return Ok(read.throttle_ms) };
        for found in read.offsets {
            if !(query.topic_filter)(&found.topic) {
                continue;
            }
            if !found.error.is_none() {
                let (topic, index) = (&found.topic, found.index);
                self.state.errors.add(1, || {
                    format!("offset of group {group:?}, topic {topic:?} partition {index}: {}", found.error)
                });
            } else if found.offset >= 0 && self.offsets >= MAX_OFFSETS {
                self.state
                    .errors
                    .add(1, || format!("offsets of group {group:?}: more than {MAX_OFFSETS} offsets of all groups"));
            } else if found.offset >= 0 {
                self.offsets += 1;
                state.offsets.entry(found.topic).or_default().insert(found.index, (found.offset, None));
            }
        }
        Ok(read.throttle_ms)
    }

    /// The partitions that groups have read, and whose end was not asked for, or not said.
    pub(super) fn partitions_without_newest(&self) -> Vec<TopicPartition> {
        let mut missing = BTreeSet::new();
        for (topic, partitions) in self.state.groups.values().flat_map(|group| &group.offsets) {
            let topic: Arc<str> = topic.as_str().into();
            let keys = partitions.keys().map(|index| (topic.clone(), *index));
            missing.extend(keys.filter(|key| !self.newest.contains_key(key)));
        }
        missing.into_iter().collect()
    }

    /// The state, with the ends of the partitions that groups have read.
    pub(super) fn take_state(&mut self) -> ClusterState {
        let mut state = std::mem::take(&mut self.state);
        for (topic, partitions) in state.groups.values_mut().flat_map(|group| &mut group.offsets) {
            let topic: Arc<str> = topic.as_str().into();
            for (index, (_, end)) in partitions {
                *end = self.newest.get(&(topic.clone(), *index)).copied();
            }
        }
        state
    }
}
