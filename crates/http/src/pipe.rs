//! Two ends of a byte pipe in memory, for tests. A capacity makes writes partial and then blocks them. A corked
//! direction keeps what was written until a flush succeeds, as a TLS stream keeps its records.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;

#[derive(Debug, Default)]
struct Way {
    bytes: VecDeque<u8>,
    cap: usize,
    closed: bool,
    writes: usize,
    written: usize,
    corked: bool,
    held: VecDeque<u8>,
    flush_fails: Option<ErrorKind>,
}

impl Way {
    fn pour(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.bytes.extend(held);
    }
}

/// One end of the pipe.
#[derive(Clone, Debug)]
pub(crate) struct End {
    input: Rc<RefCell<Way>>,
    output: Rc<RefCell<Way>>,
    /// The most bytes that one read returns.
    pub(crate) read_step: usize,
}

/// Creates a pipe that holds up to `cap` bytes in each direction.
pub(crate) fn pipe(cap: usize) -> (End, End) {
    let way = || Rc::new(RefCell::new(Way { cap, ..Way::default() }));
    let (a, b) = (way(), way());
    let one = End { input: Rc::clone(&a), output: Rc::clone(&b), read_step: usize::MAX };
    (one, End { input: b, output: a, read_step: usize::MAX })
}

impl End {
    /// Changes with every byte that is written or read, in either direction.
    pub(crate) fn moved(&self) -> (usize, usize) {
        (self.output.borrow().written + self.input.borrow().written, self.unread() + self.input.borrow().bytes.len())
    }

    /// Closes the output of this end.
    pub(crate) fn close(&self) {
        self.output.borrow_mut().closed = true;
    }

    /// While corked, what this end writes does not reach the other end.
    pub(crate) fn cork(&self, corked: bool) {
        self.output.borrow_mut().corked = corked;
    }

    /// Makes every later flush of this end fail.
    pub(crate) fn break_flush(&self, kind: ErrorKind) {
        self.output.borrow_mut().flush_fails = Some(kind);
    }

    /// Bytes that the other end has not read.
    pub(crate) fn unread(&self) -> usize {
        self.output.borrow().bytes.len()
    }

    pub(crate) fn readable(&self) -> bool {
        let way = self.input.borrow();
        !way.bytes.is_empty() || way.closed
    }

    pub(crate) fn writes(&self) -> usize {
        self.output.borrow().writes
    }

    /// Takes everything that can be read.
    pub(crate) fn drain(&self) -> Vec<u8> {
        self.input.borrow_mut().bytes.drain(..).collect()
    }
}

impl Read for End {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut way = self.input.borrow_mut();
        if way.bytes.is_empty() {
            return if way.closed { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        let n = buf.len().min(way.bytes.len()).min(self.read_step);
        for (slot, byte) in buf.iter_mut().zip(way.bytes.drain(..n)) {
            *slot = byte;
        }
        Ok(n)
    }
}

impl Write for End {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[io::IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let mut way = self.output.borrow_mut();
        if way.closed {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let mut sent = 0;
        for buf in bufs {
            let n = buf.len().min(way.cap.saturating_sub(way.bytes.len() + way.held.len()));
            way.held.extend(&buf[..n]);
            sent += n;
        }
        way.writes += 1;
        way.written += sent;
        if !way.corked {
            way.pour();
        }
        let wanted: usize = bufs.iter().map(|b| b.len()).sum();
        if sent == 0 && wanted > 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(sent) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut way = self.output.borrow_mut();
        match way.flush_fails {
            Some(kind) => return Err(kind.into()),
            None if way.corked && !way.held.is_empty() => return Err(ErrorKind::WouldBlock.into()),
            None => way.pour(),
        }
        Ok(())
    }
}
