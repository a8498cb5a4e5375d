//! The layers between a socket and the protocol machine, and whether the connection and the TLS handshake are complete.

use std::cell::Cell;
use std::io::{self, IoSlice, Read, Write};
use std::rc::Rc;

use otelcore_pipeline::Stream;

use crate::tls::TlsStream;

/// A socket that records when it is connected.
pub(super) struct Socket {
    io: Box<dyn Stream>,
    connected: Rc<Cell<bool>>,
}

impl Socket {
    pub(super) fn new(io: Box<dyn Stream>) -> (Self, Rc<Cell<bool>>) {
        let connected = Rc::new(Cell::new(false));
        (Self { io, connected: connected.clone() }, connected)
    }

    /// A byte that was read or written proves that the socket is connected.
    fn saw(&self, result: io::Result<usize>) -> io::Result<usize> {
        if matches!(result, Ok(1..)) {
            self.connected.set(true);
        }
        result
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let result = self.io.read(buf);
        self.saw(result)
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let result = self.io.write(buf);
        self.saw(result)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let result = self.io.write_vectored(bufs);
        self.saw(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.io.flush()
    }
}

impl Stream for Socket {
    fn peer(&self) -> String {
        self.io.peer()
    }

    fn shut_write(&mut self) {
        self.io.shut_write();
    }

    fn trouble(&self) -> Option<String> {
        self.io.trouble()
    }
}

/// The stream of a connection. No byte of a request is written to TLS before the handshake is done, so that a request
/// of which nothing was written was certainly not sent.
pub(super) enum Wire {
    Plain(Box<dyn Stream>),
    Tls(Box<TlsStream>, bool),
}

impl Wire {
    pub(super) fn tls(stream: TlsStream) -> Self {
        Self::Tls(Box::new(stream), false)
    }

    /// The handshake is done, where there is one.
    pub(super) fn is_up(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(_, up) => *up,
        }
    }

    /// The error that a layer above the socket found.
    pub(super) fn trouble(&self) -> Option<String> {
        match self {
            Self::Plain(io) => io.trouble(),
            Self::Tls(tls, _) => tls.trouble(),
        }
    }

    /// Half-closes the stream. TLS sends `close_notify` first, as far as the socket takes it.
    pub(super) fn part(&mut self) {
        match self {
            Self::Plain(io) => io.shut_write(),
            Self::Tls(tls, _) => tls.shut_write(),
        }
    }

    fn open(&mut self) -> io::Result<&mut (dyn Stream + 'static)> {
        match self {
            Self::Plain(io) => Ok(&mut **io),
            Self::Tls(tls, up) => {
                if !*up {
                    *up = tls.handshake()?;
                }
                Ok(&mut **tls)
            }
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.open()?.read(buf)
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.open()?.write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.open()?.write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.open()?.flush()
    }
}
