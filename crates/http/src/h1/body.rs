//! Message bodies: a declared length, or chunks (RFC 9112, 6 and 7).

/// Longest chunk-size line with its extensions.
const MAX_SIZE_LINE: usize = 1024;

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("invalid chunk size")]
    Size,
    #[error("chunk not followed by CRLF")]
    NoCrlf,
    #[error("trailer too long")]
    Trailer,
}

/// The position in a body that is being read.
#[derive(Debug)]
pub(super) struct BodyDecoder {
    state: BodyState,
    max_trailer: usize,
    skipped: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyState {
    /// In a body with a declared length: its remaining bytes.
    Length(u64),
    /// In a chunk-size line: the size so far, its digits, the length of the line, and whether its CR was received.
    ChunkSize {
        size: u64,
        digits: u8,
        line_len: usize,
        in_extension: bool,
        cr_received: bool,
    },
    /// In a chunk: its remaining bytes.
    ChunkData(u64),
    /// After a chunk; whether the CR was received.
    AfterChunk(bool),
    /// In the trailer section: its length so far, the length of the line, and whether its CR was received.
    Trailer {
        total: usize,
        line_len: usize,
        cr_received: bool,
    },
    Done,
}

const CHUNK_SIZE_BEGIN: BodyState =
    BodyState::ChunkSize { size: 0, digits: 0, line_len: 0, in_extension: false, cr_received: false };

impl BodyDecoder {
    pub(super) fn new(chunked: bool, length: Option<u64>, max_trailer: usize) -> Self {
        let part = match (chunked, length) {
            (true, _) => CHUNK_SIZE_BEGIN,
            (false, None | Some(0)) => BodyState::Done,
            (false, Some(n)) => BodyState::Length(n),
        };
        Self { state: part, max_trailer, skipped: 0 }
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == BodyState::Done
    }

    /// Remaining bytes of a declared length; `None` for chunks.
    pub(super) fn remaining_length(&self) -> Option<u64> {
        if let BodyState::Length(n) = self.state { Some(n) } else { None }
    }

    /// Starts to count the skipped bytes.
    pub(super) fn reset_skipped(&mut self) {
        self.skipped = 0;
    }

    /// Discarded bytes of body and framing.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Discards what belongs to this body. True when it is complete.
    pub(super) fn skip(&mut self, input: &mut &[u8]) -> Result<bool, BodyError> {
        let before = input.len();
        while self.next_piece(input)?.is_some() {}
        self.skipped = self.skipped.saturating_add((before - input.len()) as u64);
        Ok(self.is_done())
    }

    /// Takes the next contiguous body bytes from `input`. `None` when more input is needed or the body is complete.
    pub(super) fn next_piece<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, BodyError> {
        loop {
            match self.state {
                BodyState::Done => return Ok(None),
                BodyState::Length(left) | BodyState::ChunkData(left) => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let n = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    let (piece, rest) = input.split_at(n);
                    *input = rest;
                    let left = left - n as u64;
                    self.state = match (self.state, left) {
                        (BodyState::Length(_), 0) => BodyState::Done,
                        (BodyState::Length(_), left) => BodyState::Length(left),
                        (_, 0) => BodyState::AfterChunk(false),
                        (_, left) => BodyState::ChunkData(left),
                    };
                    return Ok(Some(piece));
                }
                _ => {
                    let Some((&b, rest)) = input.split_first() else { return Ok(None) };
                    *input = rest;
                    self.state = self.next_state(b)?;
                }
            }
        }
    }

    /// The next state after one byte of framing.
    fn next_state(&self, b: u8) -> Result<BodyState, BodyError> {
        Ok(match self.state {
            BodyState::ChunkSize { size, digits, line_len: line, in_extension: ext, cr_received: cr } => {
                if line >= MAX_SIZE_LINE {
                    return Err(BodyError::Size);
                }
                match (b, cr) {
                    (b'\n', true) if digits == 0 => return Err(BodyError::Size),
                    (b'\n', true) if size == 0 => BodyState::Trailer { total: 0, line_len: 0, cr_received: false },
                    (b'\n', true) => BodyState::ChunkData(size),
                    (_, true) | (b'\n', false) => return Err(BodyError::Size),
                    (b'\r', false) => {
                        BodyState::ChunkSize { size, digits, line_len: line + 1, in_extension: ext, cr_received: true }
                    }
                    (b';' | b' ' | b'\t', false) if digits > 0 && !ext => {
                        BodyState::ChunkSize { size, digits, line_len: line + 1, in_extension: true, cr_received: cr }
                    }
                    (0..=8 | 10..=31 | 127, false) => return Err(BodyError::Size),
                    (_, false) if ext => {
                        BodyState::ChunkSize { size, digits, line_len: line + 1, in_extension: ext, cr_received: cr }
                    }
                    (_, false) => {
                        let digit = char::from(b).to_digit(16).ok_or(BodyError::Size)?;
                        // Fifteen digits exceed every limit and cannot overflow.
                        if digits >= 15 {
                            return Err(BodyError::Size);
                        }
                        let size = size << 4 | u64::from(digit);
                        BodyState::ChunkSize {
                            size,
                            digits: digits + 1,
                            line_len: line + 1,
                            in_extension: ext,
                            cr_received: cr,
                        }
                    }
                }
            }
            BodyState::AfterChunk(false) if b == b'\r' => BodyState::AfterChunk(true),
            BodyState::AfterChunk(true) if b == b'\n' => CHUNK_SIZE_BEGIN,
            BodyState::AfterChunk(_) => return Err(BodyError::NoCrlf),
            BodyState::Trailer { total, line_len: line, cr_received: cr } => {
                if total >= self.max_trailer {
                    return Err(BodyError::Trailer);
                }
                match (b, cr) {
                    (b'\n', true) if line == 0 => BodyState::Done,
                    (b'\n', true) => BodyState::Trailer { total: total + 1, line_len: 0, cr_received: false },
                    (_, true) | (b'\n', false) => return Err(BodyError::NoCrlf),
                    (b'\r', false) => BodyState::Trailer { total: total + 1, line_len: line, cr_received: true },
                    (_, false) => BodyState::Trailer { total: total + 1, line_len: line + 1, cr_received: cr },
                }
            }
            part => part,
        })
    }
}
