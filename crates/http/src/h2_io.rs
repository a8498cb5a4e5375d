//! The transport below h2: limits what is read in one poll, buffers what is written, and scans the frames.
//!
//! h2 responds to PINGs internally, hides GOAWAY debug data and does not report which streams had frames; the
//! [`FrameScanner`] finds all three in the frame headers. No byte that h2 writes is changed, and own frames are added
//! to the output only between two frames. Of the bytes that h2 reads, only those of an `:authority` are changed for
//! which h2 would refuse the request while grpc-go accepts it ([`AuthorityCorrector`]).

use std::cell::{Ref, RefCell, RefMut};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::authority::{AuthorityCorrector, CONTINUATION, HEADERS, PayloadPosition};
use crate::coding::{SCRATCH_SIZE, Workspace};

/// Longest GOAWAY payload kept: eight bytes of fields and some debug text.
const MAX_GOAWAY_PAYLOAD: usize = 8 + 256;
/// An idle connection keeps its output buffer up to this size.
const MAX_IDLE_WRITE_BUFFER: usize = 1024;

/// The connection's handle on the transport that h2 owns.
pub(crate) struct H2Transport<T>(Rc<RefCell<Inner<T>>>);

/// The transport that is given to h2.
pub(crate) struct H2Io<T>(Rc<RefCell<Inner<T>>>);

struct Inner<T> {
    io: T,
    workspace: Workspace,
    input_scanner: FrameScanner,
    /// Servers only: clients receive no authorities.
    authority_corrector: Option<AuthorityCorrector>,
    /// Scans the output of a server.
    output_scanner: Option<FrameScanner>,
    /// Bytes that may still be read in this poll.
    read_budget_left: usize,
    may_read: bool,
    /// The stream returned `WouldBlock` in this poll; reading again would be a wasted system call.
    read_blocked: bool,
    /// The budget was used up before the stream returned `WouldBlock`.
    budget_exhausted: bool,
    eof: bool,
    io_error: Option<ErrorKind>,
    /// Read but not yet taken by h2: `read_buffer[read_pos..read_end]`.
    read_buffer: Vec<u8>,
    read_pos: usize,
    read_end: usize,
    read_bytes: u64,
    write_buffer: Vec<u8>,
    write_pos: usize,
    write_buffer_limit: usize,
    /// The stream accepts no more output in this poll.
    write_blocked: bool,
    /// The stream accepted all output but still buffers some of it: records that a TLS stream could not write.
    flush_pending: bool,
    /// h2 had to wait for space in the output, so it may hold frames that it has not processed.
    h2_blocked: bool,
    is_shut_down: bool,
}

impl<T: Read + Write> H2Transport<T> {
    /// `is_server`: this is the server side, whose input begins with the client's preface. `write_buffer_limit`: how
    /// much output is buffered before h2 has to wait.
    pub(crate) fn new(io: T, workspace: Workspace, is_server: bool, write_buffer_limit: usize) -> (Self, H2Io<T>) {
        let inner = Inner {
            io,
            workspace,
            input_scanner: FrameScanner::new(is_server),
            authority_corrector: is_server.then(AuthorityCorrector::new),
            output_scanner: is_server.then(|| FrameScanner::new(false)),
            read_budget_left: 0,
            may_read: false,
            read_blocked: false,
            budget_exhausted: false,
            eof: false,
            io_error: None,
            read_buffer: Vec::new(),
            read_pos: 0,
            read_end: 0,
            read_bytes: 0,
            write_buffer: Vec::new(),
            write_pos: 0,
            write_buffer_limit,
            write_blocked: false,
            flush_pending: false,
            h2_blocked: false,
            is_shut_down: false,
        };
        let shared = Rc::new(RefCell::new(inner));
        (Self(Rc::clone(&shared)), H2Io(shared))
    }

    /// Begins one poll, in which `budget` bytes may be read (zero: only write).
    pub(crate) fn begin_poll(&self, budget: usize) {
        let mut w = self.0.borrow_mut();
        w.read_budget_left = budget;
        w.may_read = budget > 0;
        w.read_blocked = false;
        w.budget_exhausted = false;
        w.write_blocked = false;
        w.h2_blocked = false;
    }

    /// From now on h2 may only write in this poll.
    pub(crate) fn stop_reading(&self) {
        self.0.borrow_mut().may_read = false;
    }

    /// Ends one poll: writes the output to the stream and returns buffers to the workspace. `idle`: no call is in
    /// progress.
    pub(crate) fn finish_poll(&self, idle: bool) {
        let mut w = self.0.borrow_mut();
        w.write_buffered();
        w.flush();
        if w.read_pos == w.read_end && !w.read_buffer.is_empty() {
            let scratch = std::mem::take(&mut w.read_buffer);
            w.workspace.return_scratch(scratch);
        }
        if idle && w.write_buffer.is_empty() && w.write_buffer.capacity() > MAX_IDLE_WRITE_BUFFER {
            w.write_buffer = Vec::new();
        }
    }

    /// There may be more input than this poll was allowed to read.
    pub(crate) fn has_more_input(&self) -> bool {
        let w = self.0.borrow();
        w.budget_exhausted || (w.read_pos < w.read_end && !w.h2_blocked)
    }

    /// How the stream ended, if it did.
    pub(crate) fn close_reason(&self) -> Option<crate::connection::CloseReason> {
        let w = self.0.borrow();
        match w.io_error {
            Some(kind) => Some(crate::connection::CloseReason::Io(kind)),
            None => w.eof.then_some(crate::connection::CloseReason::Peer),
        }
    }

    /// All output was written to the stream, and the stream has flushed it.
    pub(crate) fn is_flushed(&self) -> bool {
        let w = self.0.borrow();
        w.write_pos >= w.write_buffer.len() && !w.flush_pending
    }

    /// Bytes read since the connection began. For keepalive, any of them shows that the peer is reachable.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.0.borrow().read_bytes
    }

    /// What the peer speaks, if it is not HTTP/2.
    pub(crate) fn other_protocol(&self) -> Option<crate::connection::CloseReason> {
        self.0.borrow().input_scanner.other_protocol().map(crate::connection::CloseReason::OtherProtocol)
    }

    pub(crate) fn with_scanner<R>(&self, f: impl FnOnce(&mut FrameScanner) -> R) -> R {
        f(&mut self.0.borrow_mut().input_scanner)
    }

    /// Whether a HEADERS or DATA frame was written since the last call. Servers only.
    pub(crate) fn take_wrote_headers_or_data(&self) -> bool {
        let mut w = self.0.borrow_mut();
        let Some(scanner) = &mut w.output_scanner else { return false };
        let wrote = !scanner.readable_streams.is_empty();
        scanner.readable_streams.clear();
        wrote
    }

    /// Streams that had frames and should be read. They stay on the list while h2 may hold unread frames.
    pub(crate) fn take_readable_streams(&self, into: &mut Vec<u32>) {
        let mut w = self.0.borrow_mut();
        into.clear();
        if w.h2_blocked {
            into.extend_from_slice(&w.input_scanner.readable_streams);
        } else {
            std::mem::swap(into, &mut w.input_scanner.readable_streams);
        }
    }

    /// Adds a frame after the output of h2. Only correct because each write of h2 is accepted completely or not at all.
    pub(crate) fn append_frame(&self, frame: &[u8]) {
        self.0.borrow_mut().write_buffer.extend_from_slice(frame);
    }

    /// Reads and discards, for a connection that only waits for the peer to close its side.
    pub(crate) fn discard_input(&self, budget: usize) {
        let mut w = self.0.borrow_mut();
        w.read_pos = w.read_end;
        let mut scratch = w.workspace.take_scratch();
        let mut left = budget;
        while left > 0 && !w.eof && w.io_error.is_none() {
            let n = left.min(SCRATCH_SIZE);
            match w.io.read(&mut scratch[..n]) {
                Ok(0) => w.eof = true,
                Ok(n) => left = left.saturating_sub(n),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => w.io_error = Some(e.kind()),
            }
        }
        w.budget_exhausted = left == 0;
        w.workspace.return_scratch(scratch);
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
    fn write_buffered(&mut self) {
        while self.write_pos < self.write_buffer.len() && !self.write_blocked && self.io_error.is_none() {
            match self.io.write(self.write_buffer.get(self.write_pos..).unwrap_or_default()) {
                Ok(0) => self.io_error = Some(ErrorKind::WriteZero),
                Ok(n) => self.write_pos += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.write_blocked = true,
                Err(e) => self.io_error = Some(e.kind()),
            }
        }
        if self.write_pos >= self.write_buffer.len() {
            self.write_buffer.clear();
            self.write_pos = 0;
        }
    }

    /// Flushes the stream, once it has accepted all output.
    fn flush(&mut self) {
        if !self.write_buffer.is_empty() || self.io_error.is_some() {
            return;
        }
        self.flush_pending = loop {
            match self.io.flush() {
                Ok(()) => break false,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break true,
                Err(e) => {
                    self.io_error = Some(e.kind());
                    break false;
                }
            }
        };
    }

    /// Writes the buffered output and `bufs` together; returns how many bytes of `bufs` were written.
    fn write_buffered_with(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        while !self.write_blocked {
            let buffered = self.write_buffer.len() - self.write_pos;
            let written = {
                let mut slices: SmallVec<[IoSlice<'_>; 16]> = SmallVec::new();
                if buffered > 0 {
                    slices.push(IoSlice::new(self.write_buffer.get(self.write_pos..).unwrap_or_default()));
                }
                slices.extend(bufs.iter().map(|b| IoSlice::new(b)));
                self.io.write_vectored(&slices)
            };
            match written {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) if n < buffered => self.write_pos += n,
                Ok(n) => {
                    let from_bufs = n - buffered;
                    self.write_buffer.clear();
                    self.write_pos = 0;
                    if from_bufs > 0 {
                        return Ok(from_bufs);
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.write_blocked = true,
                Err(e) => return Err(e),
            }
        }
        Ok(0)
    }

    /// Accepts all of `bufs` or nothing, so that the output always ends where a frame ends.
    fn write_all_or_none(&mut self, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if let Some(kind) = self.io_error {
            return Poll::Ready(Err(kind.into()));
        }
        let total = bufs.iter().map(|b| b.len()).sum::<usize>();
        let mut sent = 0;
        if self.write_buffer.len() - self.write_pos + total > self.write_buffer_limit {
            sent = match self.write_buffered_with(bufs) {
                Ok(sent) => sent,
                Err(e) => {
                    self.io_error = Some(e.kind());
                    return Poll::Ready(Err(e));
                }
            };
            // One write beyond the limit is accepted, the next one has to wait.
            if sent == 0 && self.write_buffer.len() - self.write_pos >= self.write_buffer_limit {
                self.h2_blocked = true;
                return Poll::Pending;
            }
        }
        if let Some(scanner) = &mut self.output_scanner {
            bufs.iter().for_each(|buf| scanner.feed(buf));
            scanner.readable_streams.truncate(1); // `take_wrote_headers_or_data` only needs to know that there was one
        }
        for buf in bufs {
            let skip = sent.min(buf.len());
            sent -= skip;
            self.write_buffer.extend_from_slice(buf.get(skip..).unwrap_or_default());
        }
        Poll::Ready(Ok(total))
    }

    fn fill_read_buffer(&mut self) -> Poll<io::Result<bool>> {
        if self.read_blocked || !self.may_read {
            return Poll::Pending;
        }
        if let Some(kind) = self.io_error {
            return Poll::Ready(Err(kind.into()));
        }
        if self.eof {
            return Poll::Ready(Ok(false));
        }
        if self.read_budget_left == 0 {
            self.budget_exhausted = true;
            return Poll::Pending;
        }
        if self.read_buffer.is_empty() {
            self.read_buffer = self.workspace.take_scratch();
        }
        let n = self.read_budget_left.min(SCRATCH_SIZE);
        loop {
            match self.io.read(&mut self.read_buffer[..n]) {
                Ok(0) => {
                    self.eof = true;
                    return Poll::Ready(Ok(false));
                }
                Ok(n) => {
                    self.read_pos = 0;
                    self.read_end = n;
                    self.read_budget_left = self.read_budget_left.saturating_sub(n);
                    self.read_bytes += n as u64;
                    return Poll::Ready(Ok(true));
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.read_blocked = true;
                    return Poll::Pending;
                }
                Err(e) => {
                    self.io_error = Some(e.kind());
                    return Poll::Ready(Err(e));
                }
            }
        }
    }
}

impl<T: Read + Write> AsyncRead for H2Io<T> {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let w = &mut *self.0.borrow_mut();
        if !w.may_read {
            return Poll::Pending;
        }
        if w.read_pos == w.read_end {
            match w.fill_read_buffer() {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => return Poll::Pending,
            }
        }
        let n = buf.remaining().min(w.read_end - w.read_pos);
        let bytes = w.read_buffer.get_mut(w.read_pos..w.read_pos + n).unwrap_or_default();
        match &mut w.authority_corrector {
            Some(authority) => w.input_scanner.feed_and_correct(bytes, authority),
            None => w.input_scanner.feed(bytes),
        }
        buf.put_slice(bytes);
        w.read_pos += n;
        Poll::Ready(Ok(()))
    }
}

impl<T: Read + Write> AsyncWrite for H2Io<T> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().write_all_or_none(&[IoSlice::new(buf)])
    }

    fn poll_write_vectored(self: Pin<&mut Self>, _: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().write_all_or_none(bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// h2 flushes after every DATA frame; the real flush is done once per poll, in [`H2Transport::finish_poll`].
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().is_shut_down = true;
        Poll::Ready(Ok(()))
    }
}

/// A GOAWAY frame as the peer sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GoAway {
    pub(crate) last_stream_id: u32,
    pub(crate) error_code: u32,
    pub(crate) debug_data: Bytes,
}

/// Reads the frame headers (RFC 9113, 4.1) of the bytes that pass through.
pub(crate) struct FrameScanner {
    preface_left: usize,
    frame_header: [u8; 9],
    header_len: usize,
    /// Length of the current frame's payload.
    payload_len: usize,
    /// Payload bytes of the current frame still to come.
    payload_left: usize,
    in_payload: bool,
    readable_streams: Vec<u32>,
    goaway_payload: Vec<u8>,
    /// Number of PINGs without ACK since it was last reset.
    pub(crate) ping_count: u32,
    /// The peer's SETTINGS arrived: its part of the handshake is done.
    pub(crate) settings_received: bool,
    /// The last header block has not ended: its END_HEADERS flag did not arrive yet.
    pub(crate) header_block_open: bool,
    pub(crate) goaway: Option<GoAway>,
    /// Highest stream id that the peer used.
    pub(crate) last_stream_id: u32,
    /// The first bytes of the input.
    start: [u8; 5],
    start_len: usize,
}

impl FrameScanner {
    fn new(is_server: bool) -> Self {
        Self {
            preface_left: if is_server { 24 } else { 0 },
            frame_header: [0; 9],
            header_len: 0,
            payload_len: 0,
            payload_left: 0,
            in_payload: false,
            readable_streams: Vec::new(),
            goaway_payload: Vec::new(),
            ping_count: 0,
            settings_received: false,
            header_block_open: false,
            goaway: None,
            last_stream_id: 0,
            start: [0; 5],
            start_len: 0,
        }
    }

    /// Keeps the first bytes until the peer's SETTINGS are there.
    fn note_start(&mut self, bytes: &[u8]) {
        if self.start_len < self.start.len() && !self.settings_received {
            let free = self.start.iter_mut().skip(self.start_len);
            let noted = free.zip(bytes).map(|(to, from)| *to = *from).count();
            self.start_len += noted;
        }
    }

    /// What the peer speaks, if its first bytes are those of TLS or of HTTP/1.
    fn other_protocol(&self) -> Option<&'static str> {
        match &self.start {
            // An alert or a handshake, of any version.
            [0x15 | 0x16, 3, 0..=4, ..] => Some("TLS"),
            b"HTTP/" | b"GET /" | b"POST " | b"PUT /" | b"HEAD " | b"OPTIO" => Some("HTTP/1"),
            _ => None,
        }
    }

    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (n, _) = self.advance(bytes);
            bytes = bytes.get(n..).unwrap_or_default();
        }
    }

    /// Like `feed`, and passes the header blocks to `corrector`.
    fn feed_and_correct(&mut self, mut bytes: &mut [u8], corrector: &mut AuthorityCorrector) {
        while !bytes.is_empty() {
            let (n, position) = self.advance(bytes);
            let (piece, rest) = bytes.split_at_mut(n);
            if let Some(position) = position {
                corrector.process_payload(position, piece);
            }
            bytes = rest;
        }
    }

    /// Takes some of `bytes`, at most to the end of a frame's header or payload. Returns how many, and their position
    /// in the payload if the frame has a header block.
    fn advance(&mut self, bytes: &[u8]) -> (usize, Option<PayloadPosition>) {
        if self.preface_left > 0 {
            let n = self.preface_left.min(bytes.len());
            self.note_start(&bytes[..n]);
            self.preface_left -= n;
            return (n, None);
        }
        if self.in_payload {
            let [.., frame_type, flags, _, _, _, _] = self.frame_header;
            let n = self.payload_left.min(bytes.len());
            if frame_type == 7 && self.goaway_payload.len() < MAX_GOAWAY_PAYLOAD {
                self.goaway_payload.extend_from_slice(bytes.get(..n.min(MAX_GOAWAY_PAYLOAD)).unwrap_or_default());
            }
            let position = PayloadPosition {
                frame_type,
                flags,
                offset: self.payload_len - self.payload_left,
                length: self.payload_len,
            };
            self.payload_left -= n;
            if self.payload_left == 0 {
                self.in_payload = false;
                self.end_frame();
            }
            return (n, matches!(frame_type, HEADERS | CONTINUATION).then_some(position));
        }
        let n = (9 - self.header_len).min(bytes.len());
        if !self.settings_received {
            self.note_start(&bytes[..n]);
        }
        self.frame_header[self.header_len..self.header_len + n].copy_from_slice(&bytes[..n]);
        self.header_len += n;
        if self.header_len == 9 {
            self.header_len = 0;
            let [a, b, c, ..] = self.frame_header;
            self.payload_len = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            self.payload_left = self.payload_len;
            self.in_payload = self.payload_left > 0;
            if !self.in_payload {
                self.end_frame();
            }
        }
        (n, None)
    }

    fn end_frame(&mut self) {
        let [_, _, _, frame_type, flags, a, b, c, d] = self.frame_header;
        let stream_id = u32::from_be_bytes([a & 0x7f, b, c, d]);
        match frame_type {
            // DATA, HEADERS, RST_STREAM, CONTINUATION
            0 | 1 | 3 | 9 => {
                if self.readable_streams.last() != Some(&stream_id) {
                    self.readable_streams.push(stream_id);
                }
                if frame_type == 1 {
                    self.last_stream_id = self.last_stream_id.max(stream_id);
                }
                if frame_type == 1 || frame_type == 9 {
                    self.header_block_open = flags & 4 == 0;
                }
            }
            4 if flags & 1 == 0 => self.settings_received = true,
            6 if flags & 1 == 0 => self.ping_count = self.ping_count.saturating_add(1),
            7 => {
                if let Some((&[a, b, c, d, e, f, g, h], debug)) = self.goaway_payload.split_first_chunk() {
                    self.goaway = Some(GoAway {
                        last_stream_id: u32::from_be_bytes([a & 0x7f, b, c, d]),
                        error_code: u32::from_be_bytes([e, f, g, h]),
                        debug_data: Bytes::copy_from_slice(debug),
                    });
                }
                self.goaway_payload.clear();
            }
            _ => {}
        }
    }
}

/// The bytes of a GOAWAY frame.
pub(crate) fn goaway_frame(last_stream_id: u32, error_code: u32, debug_data: &[u8]) -> Vec<u8> {
    let debug = debug_data.get(..debug_data.len().min(256)).unwrap_or_default();
    let length = (8 + debug.len()) as u32; // at most 264
    let mut frame = Vec::with_capacity(9 + 8 + debug.len());
    frame.extend_from_slice(length.to_be_bytes().get(1..).unwrap_or_default());
    frame.extend_from_slice(&[7, 0, 0, 0, 0, 0]);
    frame.extend_from_slice(&(last_stream_id & 0x7fff_ffff).to_be_bytes());
    frame.extend_from_slice(&error_code.to_be_bytes());
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
    fn first_bytes_say_what_another_peer_speaks() {
        for (is_server, bytes, expected) in [
            (false, &b"HTTP/1.1 400 Bad Request\r\n"[..], Some("HTTP/1")),
            (false, b"\x15\x03\x03\x00\x02\x02\x28", Some("TLS")),
            (true, b"\x16\x03\x01\x00\xc8\x01", Some("TLS")),
            (true, b"POST / HTTP/1.1\r\n", Some("HTTP/1")),
            (true, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", None),
            (false, b"\x00\x00\x00\x04\x00\x00\x00\x00\x00HTTP/", None),
        ] {
            for cut in [1, bytes.len()] {
                let mut scanner = FrameScanner::new(is_server);
                bytes.chunks(cut).for_each(|part| scanner.feed(part));
                assert_eq!(scanner.other_protocol(), expected, "{bytes:?}");
            }
        }
    }

    #[test]
    fn frame_scanner_input_cut_anywhere_gives_the_same_result() {
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
            let mut scanner = FrameScanner::new(true);
            for part in bytes.chunks(step) {
                scanner.feed(part);
            }
            assert_eq!(
                (&scanner.readable_streams[..], scanner.ping_count, scanner.settings_received),
                (&[1, 3][..], 1, true),
                "step {step}"
            );
            assert_eq!((scanner.last_stream_id, scanner.header_block_open), (1, false));
            let goaway = scanner.goaway.unwrap();
            assert_eq!(
                (goaway.last_stream_id, goaway.error_code, &goaway.debug_data[..]),
                (7, 11, &b"too_many_pings"[..])
            );
        }
    }
}
