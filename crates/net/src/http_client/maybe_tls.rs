//! The layers between a socket and the protocol machine, and whether the connection and the TLS handshake are complete.

use std::cell::Cell;
use std::io::{self, IoSlice, Read, Write};
use std::rc::Rc;

use otelcore_pipeline::Stream;

use crate::tls::TlsStream;

/// A socket that records when it is connected.
pub(super) struct ConnectTracker {
    io: Box<dyn Stream>,
    connected: Rc<Cell<bool>>,
}

impl ConnectTracker {
    pub(super) fn new(io: Box<dyn Stream>) -> (Self, Rc<Cell<bool>>) {
        let connected = Rc::new(Cell::new(false));
        (Self { io, connected: connected.clone() }, connected)
    }

    /// A byte that was read or written proves that the socket is connected.
    fn record_progress(&self, result: io::Result<usize>) -> io::Result<usize> {
        if matches!(result, Ok(1..)) {
            self.connected.set(true);
        }
        result
    }
}

impl Read for ConnectTracker {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let result = self.io.read(buf);
        self.record_progress(result)
    }
}

impl Write for ConnectTracker {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let result = self.io.write(buf);
        self.record_progress(result)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let result = self.io.write_vectored(bufs);
        self.record_progress(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.io.flush()
    }
}

impl Stream for ConnectTracker {
    fn peer_addr(&self) -> String {
        self.io.peer_addr()
    }

    fn event_key(&self) -> Option<u64> {
        self.io.event_key()
    }

    fn set_protocol(&mut self, protocol: &'static str) {
        self.io.set_protocol(protocol);
    }

    fn set_encrypted(&mut self) {
        self.io.set_encrypted();
    }

    fn shutdown_write(&mut self) {
        self.io.shutdown_write();
    }

    fn layer_error(&self) -> Option<String> {
        self.io.layer_error()
    }
}

/// The stream of a connection. No byte of a request is written to TLS before the handshake is done, so that a request
/// of which nothing was written was certainly not sent.
pub(super) enum MaybeTlsStream {
    Plain(Box<dyn Stream>),
    Tls(Box<TlsStream>, bool),
}

impl MaybeTlsStream {
    pub(super) fn new_tls(stream: TlsStream) -> Self {
        Self::Tls(Box::new(stream), false)
    }

    /// The handshake is done, where there is one.
    pub(super) fn is_handshake_done(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(_, done) => *done,
        }
    }

    /// The error that a layer above the socket found.
    pub(super) fn layer_error(&self) -> Option<String> {
        match self {
            Self::Plain(io) => io.layer_error(),
            Self::Tls(tls, _) => tls.layer_error(),
        }
    }

    /// Half-closes the stream. TLS sends `close_notify` first, as far as the socket takes it.
    pub(super) fn shutdown_write(&mut self) {
        match self {
            Self::Plain(io) => io.shutdown_write(),
            Self::Tls(tls, _) => tls.shutdown_write(),
        }
    }

    fn complete_handshake(&mut self) -> io::Result<&mut (dyn Stream + 'static)> {
        match self {
            Self::Plain(io) => Ok(&mut **io),
            Self::Tls(tls, done) => {
                if !*done {
                    *done = tls.handshake()?;
                }
                Ok(&mut **tls)
            }
        }
    }
}

impl Read for MaybeTlsStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.complete_handshake()?.read(buf)
    }
}

impl Write for MaybeTlsStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.complete_handshake()?.write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.complete_handshake()?.write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.complete_handshake()?.flush()
    }
}
