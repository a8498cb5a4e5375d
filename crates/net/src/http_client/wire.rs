//! What stands between a socket and the protocol machine, and how far it has come.

use std::cell::Cell;
use std::io::{self, IoSlice, Read, Write};
use std::rc::Rc;

use otelcore_pipeline::Stream;

use crate::tls::TlsStream;

/// A socket that says when it is connected.
pub(super) struct Socket {
    io: Box<dyn Stream>,
    connected: Rc<Cell<bool>>,
}

impl Socket {
    pub(super) fn new(io: Box<dyn Stream>) -> (Self, Rc<Cell<bool>>) {
        let connected = Rc::new(Cell::new(false));
        (Self { io, connected: connected.clone() }, connected)
    }

    /// A byte that went through proves the connection.
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

/// The stream of a connection. Nothing of a request goes into TLS before its handshake is done, so that what was not
/// written was surely not sent.
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

    /// What the layers above the socket found wrong.
    pub(super) fn trouble(&self) -> Option<String> {
        match self {
            Self::Plain(io) => io.trouble(),
            Self::Tls(tls, _) => tls.trouble(),
        }
    }

    /// The last word of TLS, as far as the socket takes it.
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
