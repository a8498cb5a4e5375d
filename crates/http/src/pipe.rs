//! Two ends of a byte pipe in memory, for tests. A capacity makes writes partial and then blocks them. A corked
//! direction keeps what was written until a flush succeeds, as a TLS stream keeps its records.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;

#[derive(Debug, Default)]
struct Direction {
    bytes: VecDeque<u8>,
    capacity: usize,
    closed: bool,
    write_calls: usize,
    written: usize,
    corked: bool,
    unflushed: VecDeque<u8>,
    flush_error: Option<ErrorKind>,
}

impl Direction {
    fn release_unflushed(&mut self) {
        let unflushed = std::mem::take(&mut self.unflushed);
        self.bytes.extend(unflushed);
    }
}

/// One end of the pipe.
#[derive(Clone, Debug)]
pub(crate) struct PipeEnd {
    input: Rc<RefCell<Direction>>,
    output: Rc<RefCell<Direction>>,
    /// The most bytes that one read returns.
    pub(crate) read_step: usize,
}

/// Creates a pipe that holds up to `capacity` bytes in each direction.
pub(crate) fn pipe(capacity: usize) -> (PipeEnd, PipeEnd) {
    let direction = || Rc::new(RefCell::new(Direction { capacity, ..Direction::default() }));
    let (a, b) = (direction(), direction());
    let one = PipeEnd { input: Rc::clone(&a), output: Rc::clone(&b), read_step: usize::MAX };
    (one, PipeEnd { input: b, output: a, read_step: usize::MAX })
}

impl PipeEnd {
    /// Changes with every byte that is written or read, in either direction.
    pub(crate) fn progress(&self) -> (usize, usize) {
        (
            self.output.borrow().written + self.input.borrow().written,
            self.unread_len() + self.input.borrow().bytes.len(),
        )
    }

    /// Closes the output of this end.
    pub(crate) fn close(&self) {
        self.output.borrow_mut().closed = true;
    }

    /// While corked, what this end writes does not reach the other end.
    pub(crate) fn set_corked(&self, corked: bool) {
        self.output.borrow_mut().corked = corked;
    }

    /// Makes every later flush of this end fail.
    pub(crate) fn fail_flush(&self, kind: ErrorKind) {
        self.output.borrow_mut().flush_error = Some(kind);
    }

    /// Bytes that the other end has not read.
    pub(crate) fn unread_len(&self) -> usize {
        self.output.borrow().bytes.len()
    }

    pub(crate) fn is_readable(&self) -> bool {
        let direction = self.input.borrow();
        !direction.bytes.is_empty() || direction.closed
    }

    pub(crate) fn write_calls(&self) -> usize {
        self.output.borrow().write_calls
    }

    /// Takes everything that can be read.
    pub(crate) fn read_all(&self) -> Vec<u8> {
        self.input.borrow_mut().bytes.drain(..).collect()
    }
}

impl Read for PipeEnd {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut direction = self.input.borrow_mut();
        if direction.bytes.is_empty() {
            return if direction.closed { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        let n = buf.len().min(direction.bytes.len()).min(self.read_step);
        for (slot, byte) in buf.iter_mut().zip(direction.bytes.drain(..n)) {
            *slot = byte;
        }
        Ok(n)
    }
}

impl Write for PipeEnd {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[io::IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let mut direction = self.output.borrow_mut();
        if direction.closed {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let mut written = 0;
        for buf in bufs {
            let n = buf.len().min(direction.capacity.saturating_sub(direction.bytes.len() + direction.unflushed.len()));
            direction.unflushed.extend(&buf[..n]);
            written += n;
        }
        direction.write_calls += 1;
        direction.written += written;
        if !direction.corked {
            direction.release_unflushed();
        }
        let wanted: usize = bufs.iter().map(|b| b.len()).sum();
        if written == 0 && wanted > 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(written) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut direction = self.output.borrow_mut();
        match direction.flush_error {
            Some(kind) => return Err(kind.into()),
            None if direction.corked && !direction.unflushed.is_empty() => return Err(ErrorKind::WouldBlock.into()),
            None => direction.release_unflushed(),
        }
        Ok(())
    }
}
