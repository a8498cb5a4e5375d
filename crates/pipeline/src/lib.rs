//! The core that every component is built on.
//!
//! Data flows `receiver -> processors -> (queue, retry) -> exporter`; an [`Ack`] reports the outcome in the opposite
//! direction. Components access the machine only through a [`World`]: time, sockets, timers, names and randomness come
//! from there, so that the same graph runs on a real event loop and in a simulated one. Everything is single-threaded
//! and owns its state.
#![forbid(unsafe_code)]

mod ack;
mod auth;
mod budget;
mod component;
mod component_type;
mod condition;
mod datagram;
mod delivery;
mod exporter_queue;
mod file_system;
mod graph;
mod log;
mod payload;
mod payload_splitter;
mod pieces;
mod size_limit;
mod telemetry;
mod time;
mod world;

pub use ack::{Ack, AckRecorder, Error, LossReason, Outcome};
pub use auth::{Authentication, Authenticators, CheckStep, ClientAuth, CredentialCheck, ServerAuth};
pub use budget::{Budget, Held, Kept, NoRoom};
pub use component::{
    AttemptId, BuildContext, Component, ComponentConfig, ComponentInfo, ComponentKind, Cx, Downstream, Exporter,
    Extension, Factory, ListenAddress, Outcomes, PartialOutcome, PipelineInput, Processor, ReadFile, Receiver,
    ServedProtocol, StartError,
};
pub use component_type::ComponentType;
pub use condition::{ConditionReport, ConditionReporter};
pub use datagram::{DatagramDrops, DatagramSocket, MAX_DATAGRAM_BYTES};
pub use delivery::{CallResult, Delivery, Encode, EncodeLimits, EncodedMessage, EncodedPiece, NextCall};
pub use exporter_queue::{ExporterQueueConfig, QueueBatchConfig, QueueConfig, RetryConfig, Sizer};
pub use file_system::{
    DirEntry, FileJob, FileKind, FileMetadata, FileSystem, MAX_DIR_ENTRIES, MAX_FILE_JOBS, PRIVATE_DIR, PRIVATE_FILE,
    TooManyFileJobs,
};
pub use graph::{ExporterIndex, Graph, GraphBuilder, ReceiverIndex, UndeliveredItems};
pub use log::{LogEntry, LogField, LogLevel, LogScope, LogSink, Logger, NoopLogSink};
pub use payload::{Metadata, Payload};
pub use payload_splitter::PayloadSplitter;
pub use pieces::Piece;
pub use telemetry::{
    Counter, FamilyKind, Gauge, Histogram, Labels, MetricFamily, MetricsLevel, ReceiverMetrics, SeriesSample,
    SeriesValue, Telemetry,
};
pub use time::{MonotonicTime, WallTime};
pub use world::{
    Endpoint, Event, Job, JobResult, Key, Listener, MemorySample, Notifier, PeerAddr, ProcessSample, Stream, TimerId,
    World,
};
