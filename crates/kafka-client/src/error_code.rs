//! The error codes of brokers: their names, and what follows from them. Never decides when something is sent again.

/// An error code in a response.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct ErrorCode(pub i16);

/// What a client does after an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorClass {
    /// No error.
    None,
    /// The same again later.
    Retry,
    /// The same again, once the metadata has been read again.
    RefreshMetadata,
    /// Fewer bytes in one batch.
    TooLarge,
    /// The broker has no or another state of this producer: again with a new producer id.
    NewProducerId,
    /// It is refused for good.
    Permanent,
}

impl ErrorCode {
    /// No error.
    pub const NONE: Self = Self(0);
    /// There is no record of this offset, nor will it be the next one.
    pub const OFFSET_OUT_OF_RANGE: Self = Self(1);
    /// The coordinator reads the state of the group.
    pub const COORDINATOR_LOAD_IN_PROGRESS: Self = Self(14);
    /// There is no coordinator at present.
    pub const COORDINATOR_NOT_AVAILABLE: Self = Self(15);
    /// Another broker coordinates the group.
    pub const NOT_COORDINATOR: Self = Self(16);
    /// The group has had a rebalance without this member.
    pub const ILLEGAL_GENERATION: Self = Self(22);
    /// The group does not have this member.
    pub const UNKNOWN_MEMBER_ID: Self = Self(25);
    /// The members of the group join it again.
    pub const REBALANCE_IN_PROGRESS: Self = Self(27);
    /// The member joins again with the id in the answer.
    pub const MEMBER_ID_REQUIRED: Self = Self(79);
    /// Another member has the same instance id.
    pub const FENCED_INSTANCE_ID: Self = Self(82);
    /// The coordinator has another epoch of this member, which has lost its partitions.
    pub const FENCED_MEMBER_EPOCH: Self = Self(110);
    /// Another member still has the same instance id.
    pub const UNRELEASED_INSTANCE_ID: Self = Self(111);
    /// The coordinator does not have the assignor.
    pub const UNSUPPORTED_ASSIGNOR: Self = Self(112);
    /// The member has another epoch by now.
    pub const STALE_MEMBER_EPOCH: Self = Self(113);
    /// The group does not exist, or has the other protocol.
    pub const GROUP_ID_NOT_FOUND: Self = Self(69);
    /// The topic does not exist there, or not yet.
    pub const UNKNOWN_TOPIC_OR_PARTITION: Self = Self(3);
    /// An API version that the broker does not have.
    pub const UNSUPPORTED_VERSION: Self = Self(35);
    /// The batch is in the log already.
    pub const DUPLICATE_SEQUENCE_NUMBER: Self = Self(46);

    /// Whether it is no error.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// Its name in Kafka's documentation.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(code, _, _)| *code == self.0).map_or("UNKNOWN_SERVER_ERROR", |(_, name, _)| *name)
    }

    /// What a producer does after it.
    #[must_use]
    pub fn class(self) -> ErrorClass {
        NAMES.iter().find(|(code, _, _)| *code == self.0).map_or(Permanent, |(_, _, class)| *class)
    }
}

/// The name, and the number where it is not one of the known ones.
impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())?;
        if NAMES.iter().any(|(code, _, _)| *code == self.0) { Ok(()) } else { write!(f, " ({})", self.0) }
    }
}

use ErrorClass::{NewProducerId, Permanent, RefreshMetadata, Retry, TooLarge};

/// The codes that a producer, a consumer or the requests before them can get.
const NAMES: &[(i16, &str, ErrorClass)] = &[
    (-1, "UNKNOWN_SERVER_ERROR", Permanent),
    (0, "NONE", ErrorClass::None),
    (1, "OFFSET_OUT_OF_RANGE", Permanent),
    (2, "CORRUPT_MESSAGE", Retry),
    (3, "UNKNOWN_TOPIC_OR_PARTITION", RefreshMetadata),
    (5, "LEADER_NOT_AVAILABLE", RefreshMetadata),
    (6, "NOT_LEADER_OR_FOLLOWER", RefreshMetadata),
    (7, "REQUEST_TIMED_OUT", Retry),
    (8, "BROKER_NOT_AVAILABLE", Retry),
    (9, "REPLICA_NOT_AVAILABLE", RefreshMetadata),
    (10, "MESSAGE_TOO_LARGE", TooLarge),
    (12, "OFFSET_METADATA_TOO_LARGE", Permanent),
    (13, "NETWORK_EXCEPTION", RefreshMetadata),
    (14, "COORDINATOR_LOAD_IN_PROGRESS", Retry),
    (15, "COORDINATOR_NOT_AVAILABLE", Retry),
    (16, "NOT_COORDINATOR", Retry),
    (17, "INVALID_TOPIC_EXCEPTION", Permanent),
    (18, "RECORD_LIST_TOO_LARGE", TooLarge),
    (19, "NOT_ENOUGH_REPLICAS", Retry),
    (20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", Retry),
    (21, "INVALID_REQUIRED_ACKS", Permanent),
    (22, "ILLEGAL_GENERATION", Permanent),
    (23, "INCONSISTENT_GROUP_PROTOCOL", Permanent),
    (24, "INVALID_GROUP_ID", Permanent),
    (25, "UNKNOWN_MEMBER_ID", Permanent),
    (26, "INVALID_SESSION_TIMEOUT", Permanent),
    (27, "REBALANCE_IN_PROGRESS", Retry),
    (28, "INVALID_COMMIT_OFFSET_SIZE", Permanent),
    (29, "TOPIC_AUTHORIZATION_FAILED", Permanent),
    (30, "GROUP_AUTHORIZATION_FAILED", Permanent),
    (31, "CLUSTER_AUTHORIZATION_FAILED", Permanent),
    (32, "INVALID_TIMESTAMP", Permanent),
    (33, "UNSUPPORTED_SASL_MECHANISM", Permanent),
    (34, "ILLEGAL_SASL_STATE", Permanent),
    (35, "UNSUPPORTED_VERSION", Permanent),
    (41, "NOT_CONTROLLER", Retry),
    (42, "INVALID_REQUEST", Permanent),
    (43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", Permanent),
    (44, "POLICY_VIOLATION", Permanent),
    (45, "OUT_OF_ORDER_SEQUENCE_NUMBER", NewProducerId),
    (46, "DUPLICATE_SEQUENCE_NUMBER", ErrorClass::None),
    (47, "INVALID_PRODUCER_EPOCH", NewProducerId),
    (51, "CONCURRENT_TRANSACTIONS", Retry),
    (53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", Permanent),
    (56, "KAFKA_STORAGE_ERROR", RefreshMetadata),
    (58, "SASL_AUTHENTICATION_FAILED", Permanent),
    (59, "UNKNOWN_PRODUCER_ID", NewProducerId),
    (69, "GROUP_ID_NOT_FOUND", Permanent),
    (70, "FETCH_SESSION_ID_NOT_FOUND", Retry),
    (71, "INVALID_FETCH_SESSION_EPOCH", Retry),
    (72, "LISTENER_NOT_FOUND", RefreshMetadata),
    (74, "FENCED_LEADER_EPOCH", RefreshMetadata),
    (75, "UNKNOWN_LEADER_EPOCH", RefreshMetadata),
    (76, "UNSUPPORTED_COMPRESSION_TYPE", Permanent),
    (78, "OFFSET_NOT_AVAILABLE", Retry),
    (79, "MEMBER_ID_REQUIRED", Retry),
    (81, "GROUP_MAX_SIZE_REACHED", Permanent),
    (82, "FENCED_INSTANCE_ID", Permanent),
    (87, "INVALID_RECORD", Permanent),
    (88, "UNSTABLE_OFFSET_COMMIT", Retry),
    (89, "THROTTLING_QUOTA_EXCEEDED", Retry),
    (90, "PRODUCER_FENCED", NewProducerId),
    (100, "UNKNOWN_TOPIC_ID", RefreshMetadata),
    (103, "INCONSISTENT_TOPIC_ID", RefreshMetadata),
    (110, "FENCED_MEMBER_EPOCH", Permanent),
    (111, "UNRELEASED_INSTANCE_ID", Permanent),
    (112, "UNSUPPORTED_ASSIGNOR", Permanent),
    (113, "STALE_MEMBER_EPOCH", Retry),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_their_names_and_classes() {
        assert_eq!((ErrorCode(6).name(), ErrorCode(6).class()), ("NOT_LEADER_OR_FOLLOWER", RefreshMetadata));
        assert_eq!(ErrorCode(29).to_string(), "TOPIC_AUTHORIZATION_FAILED");
        assert_eq!(
            (ErrorCode(12345).to_string(), ErrorCode(12345).class()),
            ("UNKNOWN_SERVER_ERROR (12345)".into(), Permanent)
        );
        assert!(NAMES.is_sorted_by_key(|(code, _, _)| *code));
    }
}
