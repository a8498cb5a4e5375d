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
mod delivery;
mod episode;
mod gather;
mod graph;
mod log;
mod payload;
mod pieces;
mod sending;
mod size_limit;
mod telemetry;
mod time;
mod world;

pub use ack::{Ack, Error, Lost, Outcome};
pub use auth::{Authentication, Authenticators, CheckStep, ClientAuth, CredentialCheck, ServerAuth};
pub use budget::{Budget, Held, Kept, NoRoom};
pub use component::{
    About, Build, Component, Cx, Done, Door, Exporter, Extension, Factory, Fate, JobId, Kind, Listens, Out, Processor,
    ReadFile, Receiver, Serves, Settings, StartError,
};
pub use component_type::ComponentType;
pub use delivery::{Bounds, CallResult, Delivery, Encode, Encoded, Message, NextCall};
pub use episode::{Episode, EpisodeReport};
pub use gather::PayloadSplitter;
pub use graph::{ExporterIndex, Graph, GraphBuilder, Left, ReceiverIndex};
pub use log::{Field, Level, LogSink, Logger, NoLog, Record, Scope};
pub use payload::{Metadata, Payload};
pub use pieces::Piece;
pub use sending::{BatchSettings, QueueSettings, RetrySettings, SendingSettings, Sizer};
pub use telemetry::{
    Counter, Detail, Family, FamilyKind, Gauge, Histogram, Labels, ReceiverMetrics, Sample, Telemetry, Value,
};
pub use time::{Mono, Wall};
pub use world::{
    Bell, Endpoint, Event, Job, JobResult, Key, Listener, MemorySample, PeerAddr, ProcessSample, Stream, TimerId, World,
};
