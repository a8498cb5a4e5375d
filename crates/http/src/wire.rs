//! The transport below h2: limits what is read in a turn, buffers what is written, and scans the frames.
//!
//! h2 answers PINGs internally, hides GOAWAY debug data and does not report which streams had frames; the [`Scanner`]
//! learns all three from the frame heads. No byte that h2 writes is changed, and own frames are added to the output
//! only between two frames. Of the bytes that h2 reads, only those of an `:authority` are changed for which h2 would
//! refuse the request while grpc-go accepts it ([`Authority`]).

use std::cell::{Ref, RefCell, RefMut};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::authority::{Authority, CONTINUATION, HEADERS, Place};
use crate::coding::{SCRATCH, Workspace};

/// Longest GOAWAY payload kept: eight bytes of fields and some debug text.
const GOAWAY_KEPT: usize = 8 + 256;
/// An idle connection keeps its output buffer up to this size.
const IDLE_OUT: usize = 1024;

/// The connection's handle on the transport that h2 owns.
pub(crate) struct Link<T>(Rc<RefCell<Inner<T>>>);

/// The transport that is given to h2.
pub(crate) struct Wire<T>(Rc<RefCell<Inner<T>>>);

struct Inner<T> {
    io: T,
    workspace: Workspace,
    scan: Scanner,
    /// Servers only: clients receive no authorities.
    authority: Option<Authority>,
    /// Scans the output of a server.
    scan_out: Option<Scanner>,
    /// Bytes that may still be read this turn.
    budget: usize,
    reading: bool,
    /// The stream returned `WouldBlock` in this turn; reading again would be a wasted system call.
    dry: bool,
    /// The budget was used up before the stream returned `WouldBlock`.
    spent: bool,
    eof: bool,
    failed: Option<ErrorKind>,
    /// Read but not yet taken by h2: `ahead[at..end]`.
    ahead: Vec<u8>,
    at: usize,
    end: usize,
    read_bytes: u64,
    out: Vec<u8>,
    out_at: usize,
    out_limit: usize,
    /// The stream accepts no more output in this turn.
    blocked: bool,
    /// The stream accepted all output but still buffers some of it: records that a TLS stream could not write.
    unflushed: bool,
    /// h2 had to wait for space in the output, so it may hold frames that it has not processed.
    stalled: bool,
    shut: bool,
}

impl<T: Read + Write> Link<T> {
    /// `server`: this is the server side, whose input begins with the client's preface. `out_limit`: how much output is
    /// buffered before h2 has to wait.
    pub(crate) fn new(io: T, workspace: Workspace, server: bool, out_limit: usize) -> (Self, Wire<T>) {
        let inner = Inner {
            io,
            workspace,
            scan: Scanner::new(server),
            authority: server.then(Authority::new),
            scan_out: server.then(|| Scanner::new(false)),
            budget: 0,
            reading: false,
            dry: false,
            spent: false,
            eof: false,
            failed: None,
            ahead: Vec::new(),
            at: 0,
            end: 0,
            read_bytes: 0,
            out: Vec::new(),
            out_at: 0,
            out_limit,
            blocked: false,
            unflushed: false,
            stalled: false,
            shut: false,
        };
        let shared = Rc::new(RefCell::new(inner));
        (Self(Rc::clone(&shared)), Wire(shared))
    }

    /// Begins a turn in which `budget` bytes may be read (zero: only write).
    pub(crate) fn begin(&self, budget: usize) {
        let mut w = self.0.borrow_mut();
        w.budget = budget;
        w.reading = budget > 0;
        w.dry = false;
        w.spent = false;
        w.blocked = false;
        w.stalled = false;
    }

    /// From now on h2 may only write in this turn.
    pub(crate) fn stop_reading(&self) {
        self.0.borrow_mut().reading = false;
    }

    /// Ends a turn: writes the output to the stream and returns buffers to the workspace. `idle`: no call is in
    /// progress.
    pub(crate) fn finish(&self, idle: bool) {
        let mut w = self.0.borrow_mut();
        w.push_out();
        w.flush();
        if w.at == w.end && !w.ahead.is_empty() {
            let scratch = std::mem::take(&mut w.ahead);
            w.workspace.put_scratch(scratch);
        }
        if idle && w.out.is_empty() && w.out.capacity() > IDLE_OUT {
            w.out = Vec::new();
        }
    }

    /// There may be more input than this turn was allowed to read.
    pub(crate) fn again(&self) -> bool {
        let w = self.0.borrow();
        w.spent || (w.at < w.end && !w.stalled)
    }

    /// How the stream ended, if it did.
    pub(crate) fn ended(&self) -> Option<crate::Closed> {
        let w = self.0.borrow();
        match w.failed {
            Some(kind) => Some(crate::Closed::Io(kind)),
            None => w.eof.then_some(crate::Closed::Peer),
        }
    }

    /// All output was written to the stream, and the stream has flushed it.
    pub(crate) fn all_sent(&self) -> bool {
        let w = self.0.borrow();
        w.out_at >= w.out.len() && !w.unflushed
    }

    /// Bytes read since the connection began. For keepalive, any of them shows that the peer is alive.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.0.borrow().read_bytes
    }

    pub(crate) fn scan<R>(&self, f: impl FnOnce(&mut Scanner) -> R) -> R {
        f(&mut self.0.borrow_mut().scan)
    }

    /// Whether a HEADERS or DATA frame was written since the last call. Servers only.
    pub(crate) fn take_wrote(&self) -> bool {
        let mut w = self.0.borrow_mut();
        let Some(scan) = &mut w.scan_out else { return false };
        let wrote = !scan.touched.is_empty();
        scan.touched.clear();
        wrote
    }

    /// Streams that had frames and should be read. They stay on the list while h2 may hold unread frames.
    pub(crate) fn take_touched(&self, into: &mut Vec<u32>) {
        let mut w = self.0.borrow_mut();
        into.clear();
        if w.stalled {
            into.extend_from_slice(&w.scan.touched);
        } else {
            std::mem::swap(into, &mut w.scan.touched);
        }
    }

    /// Adds a frame after the output of h2. Only correct because each write of h2 is accepted completely or not at all.
    pub(crate) fn inject(&self, frame: &[u8]) {
        self.0.borrow_mut().out.extend_from_slice(frame);
    }

    /// Reads and discards, for a connection that only waits for the peer to close its side.
    pub(crate) fn discard_input(&self, budget: usize) {
        let mut w = self.0.borrow_mut();
        w.at = w.end;
        let mut scratch = w.workspace.take_scratch();
        let mut left = budget;
        while left > 0 && !w.eof && w.failed.is_none() {
            let n = left.min(SCRATCH);
            match w.io.read(&mut scratch[..n]) {
                Ok(0) => w.eof = true,
                Ok(n) => left = left.saturating_sub(n),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => w.failed = Some(e.kind()),
            }
        }
        w.spent = left == 0;
        w.workspace.put_scratch(scratch);
    }

    pub(crate) fn io(&self) -> Ref<'_, T> {
        Ref::map(self.0.borrow(), |w| &w.io)
    }

    pub(crate) fn io_mut(&self) -> RefMut<'_, T> {
        RefMut::map(self.0.borrow_mut(), |w| &mut w.io)
    }
}

impl<T: Read + Write> Inner<T> {
    /// Writes buffered output until none is left or the stream accepts no more.
    fn push_out(&mut self) {
        while self.out_at < self.out.len() && !self.blocked && self.failed.is_none() {
            match self.io.write(self.out.get(self.out_at..).unwrap_or_default()) {
                Ok(0) => self.failed = Some(ErrorKind::WriteZero),
                Ok(n) => self.out_at += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.blocked = true,
                Err(e) => self.failed = Some(e.kind()),
            }
        }
        if self.out_at >= self.out.len() {
            self.out.clear();
            self.out_at = 0;
        }
    }

    /// Flushes the stream, once it has accepted all output.
    fn flush(&mut self) {
        if !self.out.is_empty() || self.failed.is_some() {
            return;
        }
        self.unflushed = loop {
            match self.io.flush() {
                Ok(()) => break false,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break true,
                Err(e) => {
                    self.failed = Some(e.kind());
                    break false;
                }
            }
        };
    }

    /// Writes the buffered output and `bufs` together; returns how many bytes of `bufs` were written.
    fn push_with(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        while !self.blocked {
            let gathered = self.out.len() - self.out_at;
            let written = {
                let mut slices: SmallVec<[IoSlice<'_>; 16]> = SmallVec::new();
                if gathered > 0 {
                    slices.push(IoSlice::new(self.out.get(self.out_at..).unwrap_or_default()));
                }
                slices.extend(bufs.iter().map(|b| IoSlice::new(b)));
                self.io.write_vectored(&slices)
            };
            match written {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) if n < gathered => self.out_at += n,
                Ok(n) => {
                    let beyond = n - gathered;
                    self.out.clear();
                    self.out_at = 0;
                    if beyond > 0 {
                        return Ok(beyond);
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.blocked = true,
                Err(e) => return Err(e),
            }
        }
        Ok(0)
    }

    /// Accepts all of `bufs` or nothing, so that the output always ends where a frame ends.
    fn accept(&mut self, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if let Some(kind) = self.failed {
            return Poll::Ready(Err(kind.into()));
        }
        let total = bufs.iter().map(|b| b.len()).sum::<usize>();
        let mut sent = 0;
        if self.out.len() - self.out_at + total > self.out_limit {
            sent = match self.push_with(bufs) {
                Ok(sent) => sent,
                Err(e) => {
                    self.failed = Some(e.kind());
                    return Poll::Ready(Err(e));
                }
            };
            // One write beyond the limit is accepted, the next one has to wait.
            if sent == 0 && self.out.len() - self.out_at >= self.out_limit {
                self.stalled = true;
                return Poll::Pending;
            }
        }
        if let Some(scan) = &mut self.scan_out {
            bufs.iter().for_each(|buf| scan.feed(buf));
            scan.touched.truncate(1); // `take_wrote` only needs to know that there was one
        }
        for buf in bufs {
            let skip = sent.min(buf.len());
            sent -= skip;
            self.out.extend_from_slice(buf.get(skip..).unwrap_or_default());
        }
        Poll::Ready(Ok(total))
    }

    fn fill(&mut self) -> Poll<io::Result<bool>> {
        if self.dry || !self.reading {
            return Poll::Pending;
        }
        if let Some(kind) = self.failed {
            return Poll::Ready(Err(kind.into()));
        }
        if self.eof {
            return Poll::Ready(Ok(false));
        }
        if self.budget == 0 {
            self.spent = true;
            return Poll::Pending;
        }
        if self.ahead.is_empty() {
            self.ahead = self.workspace.take_scratch();
        }
        let n = self.budget.min(SCRATCH);
        loop {
            match self.io.read(&mut self.ahead[..n]) {
                Ok(0) => {
                    self.eof = true;
                    return Poll::Ready(Ok(false));
                }
                Ok(n) => {
                    self.at = 0;
                    self.end = n;
                    self.budget = self.budget.saturating_sub(n);
                    self.read_bytes += n as u64;
                    return Poll::Ready(Ok(true));
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.dry = true;
                    return Poll::Pending;
                }
                Err(e) => {
                    self.failed = Some(e.kind());
                    return Poll::Ready(Err(e));
                }
            }
        }
    }
}

impl<T: Read + Write> AsyncRead for Wire<T> {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let w = &mut *self.0.borrow_mut();
        if !w.reading {
            return Poll::Pending;
        }
        if w.at == w.end {
            match w.fill() {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => return Poll::Pending,
            }
        }
        let n = buf.remaining().min(w.end - w.at);
        let bytes = w.ahead.get_mut(w.at..w.at + n).unwrap_or_default();
        match &mut w.authority {
            Some(authority) => w.scan.feed_with(bytes, authority),
            None => w.scan.feed(bytes),
        }
        buf.put_slice(bytes);
        w.at += n;
        Poll::Ready(Ok(()))
    }
}

impl<T: Read + Write> AsyncWrite for Wire<T> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().accept(&[IoSlice::new(buf)])
    }

    fn poll_write_vectored(self: Pin<&mut Self>, _: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().accept(bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// h2 flushes after every DATA frame; the real flush is done once a turn, in [`Link::finish`].
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().shut = true;
        Poll::Ready(Ok(()))
    }
}

/// A GOAWAY frame as the peer sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GoAway {
    pub(crate) last: u32,
    pub(crate) code: u32,
    pub(crate) debug: Bytes,
}

/// Reads the frame heads (RFC 9113, 4.1) of the bytes that pass through.
pub(crate) struct Scanner {
    preface: usize,
    head: [u8; 9],
    have: usize,
    /// Length of the current frame's payload.
    length: usize,
    /// Payload bytes of the current frame still to come.
    left: usize,
    inside: bool,
    touched: Vec<u32>,
    kept: Vec<u8>,
    /// Number of PINGs without ACK since it was last reset.
    pub(crate) pings: u32,
    /// The peer's SETTINGS arrived: its part of the handshake is done.
    pub(crate) settings: bool,
    /// The last header block has not ended: its END_HEADERS flag did not arrive yet.
    pub(crate) open_block: bool,
    pub(crate) goaway: Option<GoAway>,
    /// Highest stream id that the peer used.
    pub(crate) last_stream: u32,
}

impl Scanner {
    fn new(server: bool) -> Self {
        Self {
            preface: if server { 24 } else { 0 },
            head: [0; 9],
            have: 0,
            length: 0,
            left: 0,
            inside: false,
            touched: Vec::new(),
            kept: Vec::new(),
            pings: 0,
            settings: false,
            open_block: false,
            goaway: None,
            last_stream: 0,
        }
    }

    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (n, _) = self.pass(bytes);
            bytes = bytes.get(n..).unwrap_or_default();
        }
    }

    /// Like `feed`, and passes the header blocks to `authority`.
    fn feed_with(&mut self, mut bytes: &mut [u8], authority: &mut Authority) {
        while !bytes.is_empty() {
            let (n, place) = self.pass(bytes);
            let (now, rest) = bytes.split_at_mut(n);
            if let Some(place) = place {
                authority.pass(place, now);
            }
            bytes = rest;
        }
    }

    /// Takes some of `bytes`, at most to the end of a frame's head or payload. Returns how many, and their place in the
    /// payload if the frame has a header block.
    fn pass(&mut self, bytes: &[u8]) -> (usize, Option<Place>) {
        if self.preface > 0 {
            let n = self.preface.min(bytes.len());
            self.preface -= n;
            return (n, None);
        }
        if self.inside {
            let [.., kind, flags, _, _, _, _] = self.head;
            let n = self.left.min(bytes.len());
            if kind == 7 && self.kept.len() < GOAWAY_KEPT {
                self.kept.extend_from_slice(bytes.get(..n.min(GOAWAY_KEPT)).unwrap_or_default());
            }
            let place = Place { kind, flags, at: self.length - self.left, length: self.length };
            self.left -= n;
            if self.left == 0 {
                self.inside = false;
                self.frame_end();
            }
            return (n, matches!(kind, HEADERS | CONTINUATION).then_some(place));
        }
        let n = (9 - self.have).min(bytes.len());
        self.head[self.have..self.have + n].copy_from_slice(&bytes[..n]);
        self.have += n;
        if self.have == 9 {
            self.have = 0;
            let [a, b, c, ..] = self.head;
            self.length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            self.left = self.length;
            self.inside = self.left > 0;
            if !self.inside {
                self.frame_end();
            }
        }
        (n, None)
    }

    fn frame_end(&mut self) {
        let [_, _, _, kind, flags, a, b, c, d] = self.head;
        let stream = u32::from_be_bytes([a & 0x7f, b, c, d]);
        match kind {
            // DATA, HEADERS, RST_STREAM, CONTINUATION
            0 | 1 | 3 | 9 => {
                if self.touched.last() != Some(&stream) {
                    self.touched.push(stream);
                }
                if kind == 1 {
                    self.last_stream = self.last_stream.max(stream);
                }
                if kind == 1 || kind == 9 {
                    self.open_block = flags & 4 == 0;
                }
            }
            4 if flags & 1 == 0 => self.settings = true,
            6 if flags & 1 == 0 => self.pings = self.pings.saturating_add(1),
            7 => {
                if let Some((&[a, b, c, d, e, f, g, h], debug)) = self.kept.split_first_chunk() {
                    self.goaway = Some(GoAway {
                        last: u32::from_be_bytes([a & 0x7f, b, c, d]),
                        code: u32::from_be_bytes([e, f, g, h]),
                        debug: Bytes::copy_from_slice(debug),
                    });
                }
                self.kept.clear();
            }
            _ => {}
        }
    }
}

/// The bytes of a GOAWAY frame.
pub(crate) fn goaway_frame(last: u32, code: u32, debug: &[u8]) -> Vec<u8> {
    let debug = debug.get(..debug.len().min(256)).unwrap_or_default();
    let length = (8 + debug.len()) as u32; // at most 264
    let mut frame = Vec::with_capacity(9 + 8 + debug.len());
    frame.extend_from_slice(length.to_be_bytes().get(1..).unwrap_or_default());
    frame.extend_from_slice(&[7, 0, 0, 0, 0, 0]);
    frame.extend_from_slice(&(last & 0x7fff_ffff).to_be_bytes());
    frame.extend_from_slice(&code.to_be_bytes());
    frame.extend_from_slice(debug);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut f = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        f.extend_from_slice(&[kind, flags]);
        f.extend_from_slice(&stream.to_be_bytes());
        f.extend_from_slice(payload);
        f
    }

    #[test]
    fn the_scanner_sees_the_same_however_the_bytes_are_cut() {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(4, 0, 0, &[0; 12]));
        bytes.extend(frame(4, 1, 0, &[]));
        bytes.extend(frame(1, 4, 1, &[1, 2, 3]));
        bytes.extend(frame(0, 0, 1, &[9; 300]));
        bytes.extend(frame(0, 1, 3, &[]));
        bytes.extend(frame(6, 0, 0, &[0; 8]));
        bytes.extend(frame(6, 1, 0, &[0; 8]));
        bytes.extend(goaway_frame(7, 11, b"too_many_pings"));
        for step in 1..bytes.len() {
            let mut scan = Scanner::new(true);
            for part in bytes.chunks(step) {
                scan.feed(part);
            }
            assert_eq!((&scan.touched[..], scan.pings, scan.settings), (&[1, 3][..], 1, true), "step {step}");
            assert_eq!((scan.last_stream, scan.open_block), (1, false));
            let goaway = scan.goaway.unwrap();
            assert_eq!((goaway.last, goaway.code, &goaway.debug[..]), (7, 11, &b"too_many_pings"[..]));
        }
    }
}
