//! What a consumer tells its caller: partitions, records, and what goes wrong. Decides nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::record_batch::FetchedRecords;

/// One assignment of a partition. The partition has another number when it is assigned again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub(super) u64);

/// What has happened to a consumer.
#[derive(Debug)]
pub enum ConsumerEvent {
    /// A partition is read from now on.
    Assigned {
        /// Its number.
        partition: PartitionId,
        /// Its topic.
        topic: Arc<str>,
        /// Its place in the topic.
        index: i32,
    },
    /// Records of a partition. There are no more before [`super::GroupConsumer::request_more`].
    Fetched {
        /// The partition.
        partition: PartitionId,
        /// The records.
        records: FetchedRecords,
        /// The offset behind the last record that all replicas have.
        high_watermark: i64,
        /// The broker that they came from.
        node: i32,
    },
    /// The partition is given up. Nothing more of it is to be done; [`super::GroupConsumer::finish_partition`] is called when what has begun
    /// has ended and is marked.
    Revoking {
        /// The partition.
        partition: PartitionId,
    },
    /// The partition is not this member's any more; its marks have no effect.
    Ended {
        /// The partition.
        partition: PartitionId,
        /// The group has taken it without waiting: another member may read from the last committed offset on already.
        is_lost: bool,
    },
    /// A broker has answered a fetch request after this time.
    Answered {
        /// The broker.
        node: i32,
        /// How long it took.
        latency: Duration,
    },
    /// Something that people should know.
    Notice(ConsumerNotice),
}

/// What goes wrong; the consumer goes on by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerNotice {
    /// The group can't be joined, or has removed this member.
    Group(String),
    /// Records of a partition can't be fetched.
    Fetch {
        /// The topic and the partition.
        topic: Arc<str>,
        /// Its place in the topic.
        index: i32,
        /// Why.
        error: String,
    },
    /// The offset of a partition does not exist: it is read from its first or last record on.
    OffsetReset {
        /// The topic and the partition.
        topic: Arc<str>,
        /// Its place in the topic.
        index: i32,
        /// The offset that does not exist.
        offset: i64,
    },
    /// Offsets can't be committed.
    Commit(String),
}
