//! Gzip (RFC 1952) decoded piece by piece, with bounded memory and bounded output a call.
//!
//! ```text
//!  Header --its end--> Content --end of the deflate stream--> Trailer --eight bytes--> Header of the next member
//! ```

use std::convert::Infallible;
use std::fmt;

use flate2::{Decompress, FlushDecompress, Status as Progress};

use super::DecompressError;
use super::gzip::{decode_error, skip_gzip_header};

/// The longest header of a member. Names and comments in it are short, if there are any.
const MAX_HEADER: usize = 4096;

/// Why a gzip stream can't be decoded.
pub type GunzipError = DecompressError<Infallible>;

enum State {
    /// The part of a member's header that has arrived.
    Header(Vec<u8>),
    Content,
    /// The part of a member's trailer that has arrived.
    Trailer(Vec<u8>),
}

/// A body of gzip members that is decoded as it arrives (about 48 KiB while it exists).
pub struct GunzipStream {
    state: State,
    raw: Decompress,
    crc: crc32fast::Hasher,
    length: u32,
    members: u64,
    consumed: u64,
}

impl fmt::Debug for GunzipStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GunzipStream").field("consumed", &self.consumed).finish_non_exhaustive()
    }
}

impl Default for GunzipStream {
    fn default() -> Self {
        Self::new()
    }
}

impl GunzipStream {
    /// A decoder at the beginning of a body.
    #[must_use]
    pub fn new() -> Self {
        let raw = Decompress::new(false);
        Self {
            state: State::Header(Vec::new()),
            raw,
            crc: crc32fast::Hasher::new(),
            length: 0,
            members: 0,
            consumed: 0,
        }
    }

    /// Decodes the beginning of `input` and appends at most `max` bytes to `out`; returns how much of `input` is consumed.
    /// There is nothing more to decode without new input once all of it is consumed and fewer than `max` bytes were
    /// appended.
    ///
    /// # Errors
    /// The peer's body is not gzip, or its checksum is wrong.
    pub fn push(&mut self, input: &[u8], out: &mut Vec<u8>, max: usize) -> Result<usize, GunzipError> {
        let limit = out.len().saturating_add(max);
        let mut rest = input;
        loop {
            let before = (rest.len(), out.len());
            let is_content = matches!(self.state, State::Content);
            rest = match &mut self.state {
                State::Header(_) => self.read_header(rest)?,
                State::Content => self.inflate(rest, out, limit)?,
                State::Trailer(_) => self.read_trailer(rest)?,
            };
            let made_progress = (rest.len(), out.len()) != before || is_content != matches!(self.state, State::Content);
            if !made_progress || out.len() >= limit {
                let consumed = input.len() - rest.len();
                self.consumed += consumed as u64;
                return Ok(consumed);
            }
        }
    }

    /// Whether the body may end here: after a member.
    ///
    /// # Errors
    /// It ends in the middle of one, or is empty.
    pub fn finish(&self) -> Result<(), GunzipError> {
        match &self.state {
            State::Header(begun) if begun.is_empty() && self.members > 0 => Ok(()),
            _ => Err(DecompressError::UnexpectedEof),
        }
    }

    fn read_header<'a>(&mut self, input: &'a [u8]) -> Result<&'a [u8], GunzipError> {
        let State::Header(header) = &mut self.state else { return Ok(input) };
        let had = header.len();
        header.extend_from_slice(input.get(..input.len().min(MAX_HEADER - had)).unwrap_or_default());
        let length = match skip_gzip_header::<Infallible>(header) {
            Ok(after) => header.len() - after.len(),
            Err(DecompressError::UnexpectedEof) if header.len() < MAX_HEADER => return Ok(&[]),
            Err(DecompressError::UnexpectedEof) => return Err(DecompressError::GzipHeader),
            Err(e) => return Err(e),
        };
        self.raw.reset(false);
        (self.crc, self.length) = (crc32fast::Hasher::new(), 0);
        self.state = State::Content;
        Ok(input.get(length.saturating_sub(had)..).unwrap_or_default())
    }

    fn inflate<'a>(&mut self, input: &'a [u8], out: &mut Vec<u8>, limit: usize) -> Result<&'a [u8], GunzipError> {
        let room = limit.saturating_sub(out.len()).min(64 << 10);
        let (before, start) = (self.raw.total_in(), out.len());
        // The decoder writes into the capacity of the vector, which may be larger than what is reserved.
        let mut piece = Vec::with_capacity(room);
        let progress = self
            .raw
            .decompress_vec(input, &mut piece, FlushDecompress::None)
            .map_err(|e| decode_error(&e, usize::try_from(self.consumed).unwrap_or(usize::MAX)))?;
        out.extend_from_slice(&piece);
        let added = out.get(start..).unwrap_or_default();
        self.crc.update(added);
        self.length = self.length.wrapping_add(added.len() as u32); // RFC 1952: modulo 2^32
        if progress == Progress::StreamEnd {
            self.state = State::Trailer(Vec::with_capacity(8));
        }
        let consumed = usize::try_from(self.raw.total_in() - before).unwrap_or(usize::MAX);
        Ok(input.get(consumed..).unwrap_or_default())
    }

    fn read_trailer<'a>(&mut self, input: &'a [u8]) -> Result<&'a [u8], GunzipError> {
        let State::Trailer(trailer) = &mut self.state else { return Ok(input) };
        let (taken, rest) = input.split_at(input.len().min(8 - trailer.len()));
        trailer.extend_from_slice(taken);
        if trailer.len() < 8 {
            return Ok(rest);
        }
        let crc = std::mem::take(&mut self.crc).finalize().to_le_bytes();
        if *trailer != [crc, self.length.to_le_bytes()].concat() {
            return Err(DecompressError::GzipChecksum);
        }
        self.members += 1;
        self.state = State::Header(Vec::new());
        Ok(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Deflater;
    use super::*;

    /// Decodes a body that arrives in pieces of `piece` bytes, with at most `max` bytes of output a call.
    fn gunzip(body: &[u8], piece: usize, max: usize) -> Result<Vec<u8>, GunzipError> {
        let (mut stream, mut all) = (GunzipStream::new(), Vec::new());
        for mut input in body.chunks(piece) {
            loop {
                let mut out = Vec::new();
                let consumed = stream.push(input, &mut out, max)?;
                assert!(out.len() <= max, "{} of {max}", out.len());
                input = &input[consumed..];
                let is_done = input.is_empty() && out.len() < max;
                all.extend(out);
                if is_done {
                    break;
                }
            }
        }
        stream.finish().map(|()| all)
    }

    fn gzip(plain: &[u8]) -> Vec<u8> {
        Deflater::new().gzip([plain], 6).to_vec()
    }

    #[test]
    fn members_in_pieces_of_any_size_are_decoded() {
        let plain: Vec<u8> = (0..200_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 27) as u8).collect();
        let both = [gzip(&plain), gzip(b""), gzip(b"tail")].concat();
        for (piece, max) in [(1, 100_000), (7, 13), (1000, 1), (1 << 20, 4096), (1 << 20, 1 << 20)] {
            assert_eq!(gunzip(&both, piece, max).unwrap(), [&plain[..], b"tail"].concat(), "{piece} {max}");
        }
    }

    #[test]
    fn header_with_every_field_is_skipped() {
        let mut packed = gzip(b"text");
        packed[3] = 4 | 8 | 16;
        packed.splice(10..10, *b"\x02\x00xxname\0comment\0");
        assert_eq!(gunzip(&packed, 3, 10).unwrap(), b"text");
        packed.splice(16..16, [b'n'; 5000]);
        assert_eq!(gunzip(&packed, 3, 10), Err(DecompressError::GzipHeader));
    }

    #[test]
    fn body_that_is_torn_or_wrong_is_an_error() {
        let packed = gzip(&[7; 1000]);
        for end in 0..packed.len() {
            assert_eq!(gunzip(&packed[..end], 10, 100), Err(DecompressError::UnexpectedEof), "{end}");
        }
        let mut wrong = packed.clone();
        let last = wrong.len() - 6;
        wrong[last] ^= 1;
        assert_eq!(gunzip(&wrong, 10, 100), Err(DecompressError::GzipChecksum));
        assert_eq!(gunzip(b"<html>", 10, 100), Err(DecompressError::GzipHeader));
        assert!(matches!(gunzip(&[&packed[..10], &[0xff; 20]].concat(), 10, 100), Err(DecompressError::Corrupt(_))));
    }

    #[test]
    fn body_that_inflates_a_thousand_times_is_decoded_in_bounded_steps() {
        let bomb = gzip(&vec![0; 8 << 20]);
        assert!(bomb.len() < 16 << 10);
        assert_eq!(gunzip(&bomb, bomb.len(), 64 << 10).unwrap().len(), 8 << 20);
    }
}
