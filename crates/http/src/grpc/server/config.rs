//! Configuration of the server side.

use crate::coding::{Coding, Workspace};
use crate::grpc::keepalive::KeepaliveServerConfig;
use crate::h2_core::H2Limits;

/// Limit of concurrent streams, advertised and enforced when the configuration sets none. h2 decodes the header lists
/// of one read before any of them can be refused: with 16 KiB each, 8 MiB.
const DEFAULT_MAX_CONCURRENT_STREAMS: u32 = 1 << 9;

/// Configuration of a gRPC server connection; nanoseconds and bytes.
#[derive(Clone, Debug)]
pub struct GrpcServerConnConfig {
    /// Advertised limit of concurrent calls. `None` means 512. Clients at the limit wait and do not fail their calls.
    pub max_concurrent_streams: Option<u32>,
    /// Longest message, before and after decompression. Default 4 MiB.
    pub max_recv_message: u32,
    /// A message whose content is longer is passed on compressed, so that the application can decompress it where that
    /// does not block the event loop. Default: no such limit.
    pub inline_decompress: u32,
    /// A call is refused if no part of its message arrives for this long. Default 60 s.
    pub message_timeout: u64,
    /// Largest header list. Default 64 KiB, as in HTTP/1.1.
    pub max_header_list: u32,
    /// Flow-control window of a call: the most a client may send before the call is admitted. Default 1 MiB.
    pub initial_stream_window: u32,
    /// Flow-control window of the connection: the most that h2 buffers before it is read here. Default 1 MiB.
    pub initial_connection_window: u32,
    /// Largest frame accepted, 16 KiB to 16 MiB. Default 16 KiB.
    pub max_frame_size: u32,
    /// Bytes read in one `poll`. Default 256 KiB.
    pub read_budget: usize,
    /// Output buffered before it is written to the stream. Default 32 KiB.
    pub write_buffer: usize,
    /// The connection of a client that takes longer than this for its preface and SETTINGS, or for a header block, is
    /// closed. Default 120 s.
    pub handshake_timeout: u64,
    /// Pings, ages and the ping policy.
    pub keepalive: KeepaliveServerConfig,
    /// Keep request metadata with the call.
    pub keep_metadata: bool,
    /// Message codings accepted besides identity. Default gzip, zstd (with the feature) and snappy.
    pub accept: Vec<Coding>,
    /// Shared by all connections of the thread.
    pub workspace: Workspace,
}

impl Default for GrpcServerConnConfig {
    fn default() -> Self {
        Self {
            max_concurrent_streams: None,
            max_recv_message: 4 << 20,
            inline_decompress: u32::MAX,
            message_timeout: 60_000_000_000,
            max_header_list: 64 << 10,
            initial_stream_window: 1 << 20,
            initial_connection_window: 1 << 20,
            max_frame_size: 16 << 10,
            read_budget: 256 << 10,
            write_buffer: 32 << 10,
            handshake_timeout: 120_000_000_000,
            keepalive: KeepaliveServerConfig::default(),
            keep_metadata: false,
            accept: ["gzip", "zstd", "snappy"].iter().filter_map(|name| Coding::parse(name.as_bytes()).ok()).collect(),
            workspace: Workspace::new(),
        }
    }
}

impl GrpcServerConnConfig {
    pub(super) fn limits(&self) -> H2Limits {
        H2Limits {
            max_concurrent_streams: self.max_concurrent_streams.unwrap_or(DEFAULT_MAX_CONCURRENT_STREAMS),
            max_header_list: self.max_header_list,
            stream_window: self.initial_stream_window,
            connection_window: self.initial_connection_window,
            max_frame_size: self.max_frame_size,
            read_budget: self.read_budget,
        }
    }
}
