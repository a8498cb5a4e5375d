//! A TLS connection with the interface of the socket below it.
//!
//! It never blocks and buffers little: while ciphertext waits for the socket, no more plaintext is taken, and `flush`
//! returns `WouldBlock`. The caller must call `read` or `flush` after each readiness event; these calls also advance
//! the handshake.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::task::Poll;

use otelcore_pipeline::Stream;
use rustls::Connection;

/// The limit for plaintext and ciphertext buffered in rustls, in bytes.
const BUFFER_LIMIT: usize = 128 << 10;

/// The connection of rustls, once its files are read; `None` where it can't be made.
type PendingConnection = Box<dyn FnMut() -> Poll<Option<Connection>>>;

/// TLS over a connection.
pub struct TlsStream {
    io: Box<dyn Stream>,
    tls: Box<Connection>,
    /// Replaces `tls` before the first byte. Nothing is read or written until then.
    pending: Option<PendingConnection>,
    /// Whether the connection below is half-closed once the last ciphertext is written.
    write_close: WriteClose,
    layer_error: Option<String>,
    first_bytes: FirstBytes,
}

/// The first bytes that were received, as many as a TLS record header has.
#[derive(Default)]
struct FirstBytes {
    bytes: [u8; 5],
    len: usize,
}

impl FirstBytes {
    fn record(&mut self, bytes: &[u8]) {
        let free = self.bytes.get_mut(self.len..).unwrap_or_default();
        free.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        self.len += free.len().min(bytes.len());
    }

    /// The same beginnings of HTTP requests that Go's net/http checks.
    fn is_http(&self) -> bool {
        matches!(&self.bytes, b"GET /" | b"HEAD " | b"POST " | b"PUT /" | b"OPTIO")
    }

    /// The beginning of the preface of HTTP/2.
    fn is_http2(&self) -> bool {
        &self.bytes == b"PRI *"
    }
}

/// The kind of the error of a handshake whose peer speaks HTTP/2 without TLS. No system call for a socket has it.
pub(crate) const PLAINTEXT_ERROR: ErrorKind = ErrorKind::Unsupported;

/// Copies the first bytes that are read to a [`FirstBytes`].
struct RecordingReader<'a>(&'a mut dyn Stream, &'a mut FirstBytes);

impl Read for RecordingReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.0.read(buf)?;
        self.1.record(buf.get(..n).unwrap_or_default());
        Ok(n)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum WriteClose {
    NotRequested,
    Requested,
    Done,
}

impl std::fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsStream").field("peer", &self.io.peer_addr()).finish_non_exhaustive()
    }
}

impl TlsStream {
    pub(super) fn new(mut io: Box<dyn Stream>, mut tls: Connection) -> Self {
        io.set_encrypted();
        tls.set_buffer_limit(Some(BUFFER_LIMIT));
        Self {
            io,
            tls: Box::new(tls),
            pending: None,
            write_close: WriteClose::NotRequested,
            layer_error: None,
            first_bytes: FirstBytes::default(),
        }
    }

    /// Waits until `pending` has a connection, and uses that one. An event of the stream must follow when it has.
    pub(super) fn waiting_for(mut self, pending: impl FnMut() -> Poll<Option<Connection>> + 'static) -> Self {
        self.pending = Some(Box::new(pending));
        self
    }

    fn poll_pending(&mut self) -> io::Result<()> {
        match self.pending.as_mut().map(|pending| pending()) {
            None => return Ok(()),
            Some(Poll::Pending) => return Err(ErrorKind::WouldBlock.into()),
            Some(Poll::Ready(None)) => {}
            Some(Poll::Ready(Some(mut tls))) => {
                tls.set_buffer_limit(Some(BUFFER_LIMIT));
                *self.tls = tls;
            }
        }
        self.pending = None;
        Ok(())
    }

    /// Continues the handshake. True when it is done; `WouldBlock` until then.
    ///
    /// # Errors
    /// An error of the peer or the network; [`Stream::layer_error`] has a text for it.
    pub fn handshake(&mut self) -> io::Result<bool> {
        self.poll_pending()?;
        match self.write_ciphertext() {
            Err(e) if e.kind() != ErrorKind::WouldBlock => return Err(e),
            _ => {}
        }
        while self.tls.is_handshaking() {
            if !self.read_ciphertext()? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(true)
    }

    /// The protocol that both sides chose, once the handshake is done.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.tls.alpn_protocol()
    }

    /// The connection below, if the handshake failed because the peer sent HTTP without TLS. Nothing was written to it.
    pub(crate) fn into_plain_http(self) -> Option<Box<dyn Stream>> {
        (self.tls.is_handshaking() && self.first_bytes.is_http()).then_some(self.io)
    }

    /// Writes ciphertext until there is none, or the socket takes no more.
    fn write_ciphertext(&mut self) -> io::Result<()> {
        self.poll_pending()?;
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.io) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if self.write_close == WriteClose::Requested {
            self.write_close = WriteClose::Done;
            self.io.shutdown_write();
        }
        Ok(())
    }

    /// Reads one piece of ciphertext. False at the end of the stream.
    fn read_ciphertext(&mut self) -> io::Result<bool> {
        let n = loop {
            match self.tls.read_tls(&mut RecordingReader(&mut *self.io, &mut self.first_bytes)) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        let result = self.tls.process_new_packets();
        if result.is_err() && self.tls.is_handshaking() && self.first_bytes.is_http() {
            // No alert is sent: it would precede the HTTP response, which is what the peer understands.
            let text = "tls: first record does not look like a TLS handshake";
            self.layer_error.get_or_insert_with(|| text.to_owned());
            return Err(io::Error::new(ErrorKind::InvalidData, text));
        }
        // Handshake messages and alerts are written at once; what the socket does not take is written in the next turn.
        let written = self.write_ciphertext();
        if let Err(e) = result {
            let text = format!("tls: {e}");
            self.layer_error.get_or_insert_with(|| text.clone());
            let is_plaintext = self.tls.is_handshaking() && self.first_bytes.is_http2();
            let kind = if is_plaintext { PLAINTEXT_ERROR } else { ErrorKind::InvalidData };
            return Err(io::Error::new(kind, text));
        }
        match written {
            Err(e) if e.kind() != ErrorKind::WouldBlock => Err(e),
            _ => Ok(n > 0),
        }
    }

    /// Takes plaintext with `write`, unless ciphertext still waits for the socket.
    fn write_plaintext(&mut self, write: impl FnOnce(&mut Connection) -> io::Result<usize>) -> io::Result<usize> {
        self.write_ciphertext()?;
        let n = write(&mut self.tls)?;
        if n == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        match self.write_ciphertext() {
            Err(e) if e.kind() != ErrorKind::WouldBlock => Err(e),
            _ => Ok(n),
        }
    }
}

impl Read for TlsStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.poll_pending()?;
        match self.write_ciphertext() {
            Err(e) if e.kind() != ErrorKind::WouldBlock => return Err(e),
            _ => {}
        }
        loop {
            match self.tls.reader().read(buf) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                // The peer closed the connection without `close_notify`: the protocol above must detect whether the
                // data is complete.
                Err(e) if e.kind() == ErrorKind::UnexpectedEof && !self.tls.is_handshaking() => return Ok(0),
                other => return other,
            }
            if !self.read_ciphertext()? && self.tls.is_handshaking() {
                self.layer_error
                    .get_or_insert_with(|| "tls: the peer closed the connection during the handshake".to_owned());
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

impl Write for TlsStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.write_plaintext(|tls| tls.writer().write(buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        if bufs.iter().all(|b| b.is_empty()) {
            return Ok(0);
        }
        self.write_plaintext(|tls| tls.writer().write_vectored(bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_ciphertext()
    }
}

impl Stream for TlsStream {
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
        if self.write_close == WriteClose::NotRequested {
            self.write_close = WriteClose::Requested;
            self.tls.send_close_notify();
            // An error here occurs again at the next read, which returns it to the caller.
            let _ = self.write_ciphertext();
        }
    }

    fn layer_error(&self) -> Option<String> {
        self.layer_error.clone().or_else(|| self.io.layer_error())
    }
}
