//! What is asked of a cluster, and what it has said. Asks nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Chooses names.
pub type NameFilter = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// What is asked.
#[derive(Clone)]
pub struct ClusterQuery {
    /// The offsets of topics.
    pub reads_topics: bool,
    /// These keys of the configuration of topics.
    pub topic_config: Vec<&'static str>,
    /// These keys of the configuration of brokers.
    pub broker_config: Vec<&'static str>,
    /// Groups, their members and offsets.
    pub reads_groups: bool,
    /// The topics that are reported, also those of groups.
    pub topic_filter: NameFilter,
    /// The groups that are reported.
    pub group_filter: NameFilter,
}

impl std::fmt::Debug for ClusterQuery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterQuery").finish_non_exhaustive()
    }
}

/// What a cluster has said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterState {
    /// Its id, if it says it.
    pub cluster_id: Option<String>,
    /// The numbers of its brokers.
    pub brokers: Vec<i32>,
    /// The configuration of each broker.
    pub broker_config: BTreeMap<i32, Vec<(String, String)>>,
    /// The topics, apart from those of Kafka itself.
    pub topics: BTreeMap<String, TopicState>,
    /// The groups.
    pub groups: BTreeMap<String, GroupState>,
    /// What could not be read.
    pub errors: ReadErrors,
}

/// A topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicState {
    /// Its partitions, by their numbers.
    pub partitions: BTreeMap<i32, PartitionState>,
    /// Its configuration.
    pub config: Vec<(String, String)>,
}

/// A partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionState {
    /// How many replicas it has.
    pub replicas: usize,
    /// How many of them have all records.
    pub in_sync: usize,
    /// The offset of its first record.
    pub oldest: Option<i64>,
    /// The offset behind its last record.
    pub newest: Option<i64>,
}

/// A group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupState {
    /// How many members it has; `None` if that could not be read.
    pub members: Option<usize>,
    /// Topics and partitions: the committed offset, and the one behind the last record, if that could be read.
    pub offsets: BTreeMap<String, BTreeMap<i32, (i64, Option<i64>)>>,
}

/// What could not be read: the first texts, and how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadErrors {
    /// The first ones.
    pub texts: Vec<String>,
    /// All.
    pub count: usize,
}

/// The most texts that are kept.
const MAX_TEXTS: usize = 5;

impl ReadErrors {
    /// Something could not be read.
    pub fn add(&mut self, count: usize, text: impl FnOnce() -> String) {
        self.count = self.count.saturating_add(count);
        if self.texts.len() < MAX_TEXTS {
            let text = text();
            if !self.texts.contains(&text) {
                self.texts.push(text);
            }
        }
    }
}
