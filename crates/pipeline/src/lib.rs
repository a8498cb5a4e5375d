//! The core that every component is built on.
//!
//! Data flows `receiver -> processors -> (queue, retry) -> exporter`; an [`Ack`] reports the outcome in the opposite
//! direction. Components access the machine only through a [`World`]: time, sockets, timers, names and randomness come
//! from there, so that the same graph runs on a real event loop and in a simulated one. Everything is single-threaded
//! and owns its state.
//!
//! The modules are layers; each uses only those above it:
//! 1. values and machines without components: `time`, `log`, `recent_log`, `budget`, `payload`, `ack`, `telemetry`, `item_flow` with `sum_law`, `component_status`, `condition`,
//!    `size_limit`, `payload_splitter`, `topology`
//! 2. `world` with `datagram` and `file_system`, and `cx`, the view that one component has of it
//! 3. what components exchange: `attempt`, `capabilities`, `auth`, `collector_view`
//! 4. between graph and exporter: `exporter_queue`; inside exporters: `pieces`, `delivery`
//! 5. `component`: the traits, and what makes components; `component_type`; `storage`: queues on disk; inside processors: `edit_queue`;
//!    inside extensions: `queued_exporter`
//! 6. `graph`
#![forbid(unsafe_code)]

mod ack;
mod attempt;
mod auth;
mod budget;
mod capabilities;
mod collector_view;
mod component;
mod component_status;
mod component_type;
mod condition;
mod connections;
mod cx;
mod datagram;
mod delivery;
mod edit_queue;
mod exporter_queue;
mod file_system;
mod graph;
mod item_flow;
mod log;
mod own_traces;
mod panics;
mod payload;
mod payload_splitter;
mod periodic_count;
mod pieces;
mod queue_status;
mod queued_exporter;
mod recent_log;
mod size_limit;
mod start_error;
mod storage;
mod sum_law;
mod tap;
mod telemetry;
mod time;
mod topology;
mod world;

pub use ack::{Ack, AckPieces, AckRecorder, Error, LossReason, Outcome};
pub use attempt::{AttemptId, AttemptOutcome, Outcomes, PartialOutcome};
pub use auth::{
    Authentication, CheckStep, ClientAuth, CredentialCheck, CredentialsUnavailable, OutgoingField, OutgoingHeaders,
    RequestProtocol, ServerAuth, Unauthenticated,
};
pub use budget::{Budget, BudgetLimit, Held, Kept, NoRoom};
pub use capabilities::{Capabilities, Capability, OfferedCapabilities};
pub use collector_view::{CollectorDescription, CollectorView, ConnectorDescription, PipelineDescription};
pub use component::{
    BuildContext, Component, ComponentConfig, ComponentInfo, ComponentKind, Connector, ConnectorOutput, Downstream,
    Exporter, Extension, Factory, HeldItems, ListenAddress, PipelineInput, Processor, ReadFile, Receiver,
    ServedProtocol,
};
pub use component_status::{
    ComponentStatus, ComponentStatusEntry, LastError, StatusObserver, StatusReport, StatusTable,
};
pub use component_type::ComponentType;
pub use condition::{ConditionReport, ConditionReporter};
pub use connections::{ConnectionGroup, ConnectionLimits, OpenConnection, OpenConnections, SocketRole};
pub use cx::Cx;
pub use datagram::{DatagramDrops, DatagramSocket, MAX_DATAGRAM_BYTES};
pub use delivery::{CallResult, Delivery, Encode, EncodeLimits, EncodedMessage, EncodedPiece, LeftOutItems, NextCall};
pub use edit_queue::{BodyEdit, EditPanicked, EditQueue, EditedPayload, SinglePass};
pub use exporter_queue::{
    BatchSizer, ExporterQueue, ExporterQueueConfig, PartitionConfig, QueueBatchConfig, QueueConfig, QueueMetrics,
    RetryConfig, Sizer,
};
pub use file_system::{
    DirEntry, DiskUsage, FileHandle, FileJob, FileKind, FileLock, FileMetadata, FileSystem, MAX_DIR_ENTRIES,
    MAX_FILE_JOBS, PRIVATE_DIR, PRIVATE_FILE, TooManyFileJobs,
};
pub use graph::{
    ChangeError, ComponentIdentity, ConnectorParts, ExporterIndex, Graph, GraphBuilder, GraphChange, InstanceIdentity,
    PipelineIndex, ProcessorParts, ReceiverIndex, UndeliveredItems,
};
pub use item_flow::ItemFlow;
pub use log::{CODE_FIELD, LogEntry, LogField, LogLevel, LogScope, LogSink, Logger, NoopLogSink};
pub use own_traces::{
    ActiveSpan, EndedSpan, Sampler, SpanAttributes, SpanContext, SpanEvent, SpanSink, SpanValue, Tracer, TracerSlot,
};
pub use panics::catch_panic;
pub use payload::{Metadata, Payload, UsedMetadata};
pub use payload_splitter::PayloadSplitter;
pub use periodic_count::PeriodicCount;
pub use pieces::Piece;
pub use queue_status::{ListedQueue, QueueStatus, QueueTable, QueueUnit};
pub use queued_exporter::QueuedExporter;
pub use recent_log::{RecentLog, RecentLogRecord};
pub use start_error::{StartError, error_with_text, os_error};
pub use storage::{
    Storage, StorageLocation, StorageUser, StoredItemCounts, StoredQueue, StoredQueueContext, StoredQueueStatus,
    ValueChange, ValueStore,
};
pub use sum_law::{ComponentItems, Imbalance, ItemSums, Term, sum_law};
pub use tap::{EdgeCounts, EdgeEnd, EdgePlace, MAX_TAPS, TapHandle, Taps};
pub use telemetry::{
    Counter, FamilyKind, Gauge, Histogram, Labels, MetricFamily, MetricsLevel, ReceiverMetrics, SeriesSample,
    SeriesValue, Telemetry,
};
pub use time::{MonotonicTime, WallTime};
pub use topology::{Cycle, order_by_needs};
pub use world::{
    Endpoint, Event, Job, JobResult, Key, Listener, MemorySample, Notifier, PeerAddr, ProcessSample, ResolveError,
    Stream, TimerId, World,
};
