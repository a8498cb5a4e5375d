//! A Kafka client without an async runtime.
//!
//! [`Producer`] sends records in batches to the leaders of their partitions; the broker recognises what it already has, if the producer is
//! idempotent. [`GroupConsumer`] reads topics as a member of a group and commits offsets. [`ClusterReader`] reads what a cluster says of its
//! brokers, topics and groups. [`Connection`] is the protocol of one
//! connection as a machine of bytes. [`record_batch`] writes and reads batches. Sockets, names, timers and helper threads come from the
//! component's `World`, so that all of it runs in the simulated one.
//!
//! Speaks with Kafka 0.11 to 4.x; the versions of requests are negotiated. Transactions are not here.
#![forbid(unsafe_code)]

mod any_answer;
mod broker_address;
mod client_config;
mod cluster_reader;
mod connection;
mod consumer;
mod error_code;
mod link;
mod messages;
mod nodes;
mod partitioner;
mod producer;
pub mod record_batch;
mod sasl;
pub mod settings;
#[cfg(test)]
mod test_client;
mod versions;
mod wire;

#[doc(hidden)]
pub use any_answer::read_any_answer;
pub use client_config::{ClientConfig, CredentialSource};
pub use cluster_reader::{
    ClusterQuery, ClusterReader, ClusterState, DEFAULT_READ_TIME, GroupState, NameFilter, PartitionState, ReadErrors,
    TopicState,
};
pub use connection::{Connection, ConnectionError, ConnectionEvent};
pub use consumer::{
    Assignor, ConsumerEvent, ConsumerNotice, GroupConsumer, GroupConsumerConfig, GroupProtocol, InitialOffset,
    PartitionId, TopicSelection,
};
pub use error_code::{ErrorClass, ErrorCode};
pub use partitioner::Partitioner;
pub use producer::{Producer, ProducerConfig, SendError};
pub use record_batch::{Compression, FetchedRecord, FetchedRecords, Record, RecordHeader};
pub use sasl::{Credentials, SaslError, ScramDerived, ScramHash, ScramProof};
pub use versions::{ApiKey, BrokerVersions, KafkaRelease, VersionRange};
pub use wire::{Reader, WireError, Writer};
