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
pub(super) struct Reading {
    part: Part,
    max_trailer: usize,
    skipped: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// In a body with a declared length: its remaining bytes.
    Plain(u64),
    /// In a chunk-size line: the size so far, its digits, the length of the line, and whether its CR was received.
    Size {
        size: u64,
        digits: u8,
        line: usize,
        ext: bool,
        cr: bool,
    },
    /// In a chunk: its remaining bytes.
    Data(u64),
    /// After a chunk; whether the CR was received.
    After(bool),
    /// In the trailer section: its length so far, the length of the line, and whether its CR was received.
    Trailer {
        total: usize,
        line: usize,
        cr: bool,
    },
    Done,
}

const NEW_SIZE: Part = Part::Size { size: 0, digits: 0, line: 0, ext: false, cr: false };

impl Reading {
    pub(super) fn new(chunked: bool, length: Option<u64>, max_trailer: usize) -> Self {
        let part = match (chunked, length) {
            (true, _) => NEW_SIZE,
            (false, None | Some(0)) => Part::Done,
            (false, Some(n)) => Part::Plain(n),
        };
        Self { part, max_trailer, skipped: 0 }
    }

    pub(super) fn is_done(&self) -> bool {
        self.part == Part::Done
    }

    /// Remaining bytes of a declared length; `None` for chunks.
    pub(super) fn declared_rest(&self) -> Option<u64> {
        if let Part::Plain(n) = self.part { Some(n) } else { None }
    }

    /// Starts to count the skipped bytes.
    pub(super) fn forget(&mut self) {
        self.skipped = 0;
    }

    /// Discarded bytes of body and framing.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Discards what belongs to this body. True when it is complete.
    pub(super) fn skip(&mut self, input: &mut &[u8]) -> Result<bool, BodyError> {
        let before = input.len();
        while self.piece(input)?.is_some() {}
        self.skipped = self.skipped.saturating_add((before - input.len()) as u64);
        Ok(self.is_done())
    }

    /// Takes the next contiguous body bytes from `input`. `None` when more input is needed or the body is complete.
    pub(super) fn piece<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, BodyError> {
        loop {
            match self.part {
                Part::Done => return Ok(None),
                Part::Plain(left) | Part::Data(left) => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let n = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    let (piece, rest) = input.split_at(n);
                    *input = rest;
                    let left = left - n as u64;
                    self.part = match (self.part, left) {
                        (Part::Plain(_), 0) => Part::Done,
                        (Part::Plain(_), left) => Part::Plain(left),
                        (_, 0) => Part::After(false),
                        (_, left) => Part::Data(left),
                    };
                    return Ok(Some(piece));
                }
                _ => {
                    let Some((&b, rest)) = input.split_first() else { return Ok(None) };
                    *input = rest;
                    self.part = self.step(b)?;
                }
            }
        }
    }

    /// The next state after one byte of framing.
    fn step(&self, b: u8) -> Result<Part, BodyError> {
        Ok(match self.part {
            Part::Size { size, digits, line, ext, cr } => {
                if line >= MAX_SIZE_LINE {
                    return Err(BodyError::Size);
                }
                match (b, cr) {
                    (b'\n', true) if digits == 0 => return Err(BodyError::Size),
                    (b'\n', true) if size == 0 => Part::Trailer { total: 0, line: 0, cr: false },
                    (b'\n', true) => Part::Data(size),
                    (_, true) | (b'\n', false) => return Err(BodyError::Size),
                    (b'\r', false) => Part::Size { size, digits, line: line + 1, ext, cr: true },
                    (b';' | b' ' | b'\t', false) if digits > 0 && !ext => {
                        Part::Size { size, digits, line: line + 1, ext: true, cr }
                    }
                    (0..=8 | 10..=31 | 127, false) => return Err(BodyError::Size),
                    (_, false) if ext => Part::Size { size, digits, line: line + 1, ext, cr },
                    (_, false) => {
                        let digit = char::from(b).to_digit(16).ok_or(BodyError::Size)?;
                        // Fifteen digits exceed every limit and cannot overflow.
                        if digits >= 15 {
                            return Err(BodyError::Size);
                        }
                        let size = size << 4 | u64::from(digit);
                        Part::Size { size, digits: digits + 1, line: line + 1, ext, cr }
                    }
                }
            }
            Part::After(false) if b == b'\r' => Part::After(true),
            Part::After(true) if b == b'\n' => NEW_SIZE,
            Part::After(_) => return Err(BodyError::NoCrlf),
            Part::Trailer { total, line, cr } => {
                if total >= self.max_trailer {
                    return Err(BodyError::Trailer);
                }
                match (b, cr) {
                    (b'\n', true) if line == 0 => Part::Done,
                    (b'\n', true) => Part::Trailer { total: total + 1, line: 0, cr: false },
                    (_, true) | (b'\n', false) => return Err(BodyError::NoCrlf),
                    (b'\r', false) => Part::Trailer { total: total + 1, line, cr: true },
                    (_, false) => Part::Trailer { total: total + 1, line: line + 1, cr },
                }
            }
            part => part,
        })
    }
}
