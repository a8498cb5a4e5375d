//! What the caller of a consumer configures: topics, group, protocol, limits. Reads no configuration file.

use std::rc::Rc;
use std::time::Duration;

use super::Assignor;

/// Which topics are read.
#[derive(Clone)]
pub enum TopicSelection {
    /// Those of these names, also if they do not exist yet.
    Names(Vec<String>),
    /// Those whose names this function chooses, apart from those of Kafka itself.
    Matching(Rc<dyn Fn(&str) -> bool>),
}

impl std::fmt::Debug for TopicSelection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Names(names) => f.debug_tuple("Names").field(names).finish(),
            Self::Matching(_) => f.write_str("Matching"),
        }
    }
}

/// Where a partition without a committed offset is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialOffset {
    /// Its first record.
    Earliest,
    /// What comes after its last record.
    Latest,
}

/// The protocol by which the members of a group share partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum GroupProtocol {
    /// A member that is the leader assigns the partitions. Every broker has it.
    #[default]
    Classic,
    /// The coordinator assigns the partitions (KIP-848), by this assignor of the broker, or by its default. Kafka 4.0 and later.
    Consumer(Option<String>),
}

/// How a group is joined and partitions are read.
#[derive(Clone, Debug)]
pub struct GroupConsumerConfig {
    /// The group.
    pub group_id: String,
    /// The name of a static member, whose partitions are kept for it while it is away.
    pub group_instance_id: Option<String>,
    /// The topics.
    pub topics: TopicSelection,
    /// How the members share the partitions.
    pub protocol: GroupProtocol,
    /// The assignors that it has, the preferred one first. At least one, in the classic protocol.
    pub assignors: Vec<Assignor>,
    /// The coordinator removes a member that it does not hear from for this time. In the classic protocol; in the other one the broker has it.
    pub session_timeout: Duration,
    /// How long members may take to join again, or to give partitions up, in a rebalance.
    pub rebalance_timeout: Duration,
    /// How often the coordinator hears from it. In the classic protocol; in the other one the broker says so.
    pub heartbeat_interval: Duration,
    /// Where a partition without a committed offset is read from.
    pub initial_offset: InitialOffset,
    /// How often marked offsets are committed; `None` is at once.
    pub commit_interval: Option<Duration>,
    /// How many bytes a broker waits for.
    pub min_fetch_bytes: i32,
    /// The most bytes of an answer; a single batch may be longer.
    pub max_fetch_bytes: i32,
    /// The most bytes of one partition in an answer; a single batch may be longer.
    pub max_partition_bytes: i32,
    /// How long a broker waits for bytes.
    pub max_fetch_wait: Duration,
    /// The rack of the client; brokers may name a replica in it to read from. Empty for none.
    pub rack_id: String,
    /// Whether brokers are told the epochs of leaders, so that they recognise a log that was truncated.
    pub uses_leader_epoch: bool,
}
