//! Connections of servers that take gRPC or HTTP/1.1.

use otelcore_http::PollResult;
use otelcore_http::grpc::server::GrpcServerConn;
use otelcore_http::h1::H1ServerConn;
use otelcore_net::ProtocolMachine;
use otelcore_pipeline::Stream;

/// A connection of either protocol.
pub enum PeerConn {
    /// gRPC over HTTP/2.
    Grpc(Box<GrpcServerConn<Box<dyn Stream>, ()>>),
    /// HTTP/1.1.
    Http(Box<H1ServerConn<Box<dyn Stream>, ()>>),
}

impl ProtocolMachine for PeerConn {
    fn poll_timeout(&self) -> Option<u64> {
        match self {
            Self::Grpc(conn) => conn.poll_timeout(),
            Self::Http(conn) => conn.poll_timeout(),
        }
    }

    fn drain(&mut self, now: u64) {
        match self {
            Self::Grpc(conn) => conn.drain(now),
            Self::Http(conn) => conn.drain(),
        }
    }

    fn end_connection(&mut self, now: u64, reason: &'static str) {
        match self {
            Self::Grpc(conn) => conn.drain_because(now, reason),
            Self::Http(conn) => conn.end_with_next_request(now),
        }
    }

    fn flush(&mut self, now: u64) -> PollResult {
        match self {
            Self::Grpc(conn) => conn.flush(now),
            Self::Http(conn) => conn.flush(now),
        }
    }

    fn shutdown_write(&mut self) {
        match self {
            Self::Grpc(conn) => conn.io_mut().shutdown_write(),
            Self::Http(conn) => conn.io_mut().shutdown_write(),
        }
    }
}
