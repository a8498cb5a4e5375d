//! What a checked configuration does, as far as the manifests must match it. The caller, which has the components,
//! fills it in.

use otelcore_config::SourceLocation;

/// Everything that the checks compare the manifests with.
#[derive(Clone, Debug, Default)]
pub struct ConfigEffects {
    /// Sockets that will be opened.
    pub listens: Vec<ListenSocket>,
    /// The memory limiters that run.
    pub memory_limiters: Vec<MemoryLimiterLimit>,
    /// How long a shutdown may take, in nanoseconds.
    pub shutdown_nanos: u64,
    /// The longest timeout of one attempt to send, in nanoseconds, with the exporter's id.
    pub longest_attempt: Option<(u64, String)>,
    /// Files that the configuration reads.
    pub files_read: Vec<ConfigFile>,
    /// Files that the configuration writes.
    pub files_written: Vec<ConfigFile>,
    /// Directories in which queues are.
    pub storage: Vec<StorageDirectory>,
    /// Topics of Kafka that the configuration writes to.
    pub topics_written: Vec<WrittenTopic>,
    /// Topics of Kafka that the configuration reads, one entry for each receiver and signal.
    pub topics_read: Vec<ReadTopics>,
}

/// A topic that an exporter writes to.
#[derive(Clone, Debug)]
pub struct WrittenTopic {
    /// Its name.
    pub topic: String,
    /// The longest message, in bytes, before compression.
    pub max_message_bytes: u64,
    /// Where that is written, or would be, and its path.
    pub max_message_origin: (SourceLocation, String),
    /// For spans that are not keyed by trace: where `partition_traces_by_id` belongs, and its path.
    pub not_by_trace: Option<(SourceLocation, String)>,
}

/// Topics that a receiver reads for one signal.
#[derive(Clone, Debug)]
pub struct ReadTopics {
    /// Their names; none if they are patterns.
    pub topics: Vec<String>,
    /// Where they are written, or would be.
    pub origin: SourceLocation,
    /// The processor behind it that needs all spans of a trace in one collector.
    pub whole_traces_for: Option<String>,
}

/// A directory of a storage extension.
#[derive(Clone, Debug)]
pub struct StorageDirectory {
    /// The directory.
    pub file: ConfigFile,
    /// What each of the queues in it may hold, in bytes, as far as their size is in bytes: one for each exporter and signal.
    pub queues: Vec<u64>,
}

/// A socket.
#[derive(Clone, Debug)]
pub struct ListenSocket {
    /// The component that opens it: ``the receiver `otlp` (gRPC)``.
    pub component: String,
    /// Host as written, without brackets; empty for every address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Datagrams instead of connections.
    pub udp: bool,
    /// What is served there.
    pub protocol: ServedProtocol,
    /// The only path that is served; empty for any or none.
    pub path: String,
    /// Where the address is written, or would be.
    pub origin: SourceLocation,
    /// Its path in the configuration.
    pub config_path: String,
}

/// What is served at a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ServedProtocol {
    /// Telemetry is received over gRPC.
    Grpc,
    /// Telemetry is received over HTTP.
    Http,
    /// The page that probes request.
    Health,
    /// A Prometheus page of telemetry.
    Metrics,
    /// The Prometheus page of the collector's own metrics.
    OwnMetrics,
    /// Something else.
    Other,
}

/// A memory limiter.
#[derive(Clone, Debug)]
pub struct MemoryLimiterLimit {
    /// `limit_mib`; `None` for a percentage of the memory that is available.
    pub mib: Option<u64>,
    /// `limit_percentage`; zero with `limit_mib`.
    pub percentage: u64,
    /// Where the limit is written.
    pub origin: SourceLocation,
    /// Its path in the configuration.
    pub config_path: String,
}

/// A file that the configuration names.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// As written.
    pub path: String,
    /// Where it is written.
    pub origin: SourceLocation,
    /// Its path in the configuration.
    pub config_path: String,
}

impl ListenSocket {
    /// Whether only the pod itself can reach it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host == "::1" || self.host.starts_with("127.")
    }

    /// Whether it is a page that Prometheus can scrape.
    #[must_use]
    pub const fn is_metrics(&self) -> bool {
        matches!(self.protocol, ServedProtocol::Metrics | ServedProtocol::OwnMetrics)
    }
}
