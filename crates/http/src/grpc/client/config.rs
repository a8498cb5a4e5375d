//! Configuration of the client side.

use h2::client::Builder;
use http::HeaderValue;
use http::uri::{Authority, Scheme};

use crate::coding::Workspace;
use crate::grpc::keepalive::KeepaliveClientConfig;

/// Configuration of a gRPC client connection; nanoseconds and bytes.
#[derive(Clone, Debug)]
pub struct GrpcClientConnConfig {
    /// Longest response message, before and after decompression. Default 4 MiB.
    pub max_recv_message: u32,
    /// Largest header list accepted. Default 64 KiB: statuses with details can be long.
    pub max_header_list: u32,
    /// Flow-control window of a response. Default 64 KiB.
    pub initial_stream_window: u32,
    /// Flow-control window of all responses. Default 1 MiB.
    pub initial_connection_window: u32,
    /// Largest frame accepted. Default 16 KiB.
    pub max_frame_size: u32,
    /// Bytes read in one `poll`. Default 256 KiB.
    pub read_budget: usize,
    /// Output buffered before it is written to the stream. Default 32 KiB.
    pub write_buffer: usize,
    /// Off when `None`.
    pub keepalive: Option<KeepaliveClientConfig>,
    /// `user-agent`.
    pub user_agent: HeaderValue,
    /// `:authority`.
    pub authority: Authority,
    /// `:scheme`.
    pub scheme: Scheme,
    /// Shared by all connections of the thread.
    pub workspace: Workspace,
}

impl GrpcClientConnConfig {
    /// The defaults, with this scheme, authority and user agent.
    #[must_use]
    pub fn new(scheme: Scheme, authority: Authority, user_agent: HeaderValue) -> Self {
        Self {
            max_recv_message: 4 << 20,
            max_header_list: 64 << 10,
            initial_stream_window: 64 << 10,
            initial_connection_window: 1 << 20,
            max_frame_size: 16 << 10,
            read_budget: 256 << 10,
            write_buffer: 32 << 10,
            keepalive: None,
            user_agent,
            authority,
            scheme,
            workspace: Workspace::new(),
        }
    }

    pub(super) fn builder(&self) -> Builder {
        const WINDOW: u32 = (1 << 31) - 1;
        let mut b = Builder::new();
        b.initial_window_size(self.initial_stream_window.min(WINDOW))
            .initial_connection_window_size(self.initial_connection_window.min(WINDOW))
            .max_frame_size(self.max_frame_size.clamp(1 << 14, (1 << 24) - 1))
            .max_header_list_size(self.max_header_list)
            .enable_push(false)
            // Frames for calls that were cancelled here may still arrive; they must never count against the connection.
            .max_local_error_reset_streams(None)
            .max_concurrent_reset_streams(1 << 10)
            .data_frame_budget(self.read_budget.saturating_mul(32).max(1 << 20));
        b
    }
}
