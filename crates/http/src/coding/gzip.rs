//! Gzip (RFC 1952), decoder and encoder: the header and trailer are read and written here, the deflate stream by
//! zlib-rs.
//!
//! The checksum is computed over the finished output at once, with a fast implementation; a size in a trailer never
//! causes a larger allocation than the body can fill. Zlib's header and trailer are handled in `zlib`, with the same
//! states.

use std::fmt;

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status as Progress};

use super::{DecompressError, reserve_up_to_limit, shrink_to_content};

/// The zlib level for this level of Go's `compress/flate`.
pub(super) fn level(level: Option<i32>) -> u32 {
    match level {
        None | Some(-1 | 0) => Deflater::DEFAULT_LEVEL,
        Some(n) => u32::try_from(n).unwrap_or(1).min(9),
    }
}

/// Reusable inflate state (about 48 KiB once used).
pub struct Inflater {
    state: Option<Decompress>,
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").field("warm", &self.state.is_some()).finish()
    }
}

impl Inflater {
    /// An empty state; memory is taken at first use.
    #[must_use]
    pub fn new() -> Self {
        Self { state: None }
    }

    /// Inflates a whole gzip body of one or more members into `out`, up to `limit` bytes. Before `out` grows, `grow` is
    /// called with its new size and may refuse it.
    ///
    /// # Errors
    /// See [`DecompressError`]; `out` then holds a part of the body.
    pub fn gunzip<E>(
        &mut self,
        body: &[u8],
        limit: u64,
        out: &mut Vec<u8>,
        mut grow: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(), DecompressError<E>> {
        let mut rest = body;
        loop {
            rest = skip_gzip_header(rest)?;
            rest = self.inflate_member(body.len(), rest, limit, out, &mut grow)?;
            // Go's reader continues with the next member if there is one, and reports anything else as an invalid
            // header.
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    fn inflate_member<'a, E>(
        &mut self,
        body_len: usize,
        input: &'a [u8],
        limit: u64,
        out: &mut Vec<u8>,
        grow: &mut impl FnMut(u64) -> Result<(), E>,
    ) -> Result<&'a [u8], DecompressError<E>> {
        let start = out.len();
        // The length in the trailer, limited to a usual compression ratio for this input.
        let expected_len = input.last_chunk().map_or(0, |tail| u32::from_le_bytes(*tail));
        let expected_len = usize::try_from(expected_len).unwrap_or(0).min(input.len().saturating_mul(16));
        let rest = self.inflate_stream(false, body_len, input, expected_len, limit, out, grow)?;
        let Some((trailer, after)) = rest.split_at_checked(8) else { return Err(DecompressError::UnexpectedEof) };
        let content = out.get(start..).unwrap_or_default();
        let mut expected_trailer = [0; 8];
        expected_trailer[..4].copy_from_slice(&crc32fast::hash(content).to_le_bytes());
        expected_trailer[4..].copy_from_slice(&(content.len() as u32).to_le_bytes()); // RFC 1952: the length modulo 2^32
        if trailer == expected_trailer { Ok(after) } else { Err(DecompressError::GzipChecksum) }
    }

    /// Inflates one deflate stream, raw or in zlib format, and returns what follows it.
    #[expect(clippy::too_many_arguments, reason = "private, and each of them is looked at in the loop")]
    pub(super) fn inflate_stream<'a, E>(
        &mut self,
        zlib: bool,
        body_len: usize,
        input: &'a [u8],
        expected_len: usize,
        limit: u64,
        out: &mut Vec<u8>,
        grow: &mut impl FnMut(u64) -> Result<(), E>,
    ) -> Result<&'a [u8], DecompressError<E>> {
        let raw = self.state.get_or_insert_with(|| Decompress::new(zlib));
        raw.reset(zlib);
        let mut rest = input;
        loop {
            let wanted = if out.is_empty() { expected_len } else { out.len().saturating_mul(2) };
            if out.len() == out.capacity() && !reserve_up_to_limit(out, wanted, limit, grow)? {
                // The output has reached the limit: the stream may end here, but must not produce another byte.
                let mut probe = [0];
                let (before_in, before_out) = (raw.total_in(), raw.total_out());
                let progress = raw
                    .decompress(rest, &mut probe, FlushDecompress::None)
                    .map_err(|e| decode_error(&e, body_len - rest.len()))?;
                if raw.total_out() > before_out {
                    return Err(DecompressError::TooLarge(limit));
                }
                let consumed = usize::try_from(raw.total_in() - before_in).unwrap_or(usize::MAX);
                rest = rest.get(consumed..).unwrap_or_default();
                match progress {
                    Progress::StreamEnd => return Ok(rest),
                    _ if consumed == 0 => return Err(DecompressError::UnexpectedEof),
                    _ => continue,
                }
            }
            let (before_in, before_out) = (raw.total_in(), out.len());
            let progress = raw
                .decompress_vec(rest, out, FlushDecompress::None)
                .map_err(|e| decode_error(&e, body_len - rest.len()))?;
            let consumed = usize::try_from(raw.total_in() - before_in).unwrap_or(usize::MAX);
            rest = rest.get(consumed..).unwrap_or_default();
            if progress == Progress::StreamEnd {
                return Ok(rest);
            }
            if consumed == 0 && out.len() == before_out && out.len() < out.capacity() {
                return Err(DecompressError::UnexpectedEof);
            }
        }
    }
}

/// The text is zlib's own for a wrong Adler-32, the only one of its errors that is not about the deflate stream.
pub(super) fn decode_error<E>(error: &flate2::DecompressError, offset: usize) -> DecompressError<E> {
    match error.message() {
        Some("incorrect data check") => DecompressError::Invalid("zlib", "invalid checksum"),
        _ => DecompressError::Corrupt(offset as u64),
    }
}

/// Skips a member's header (RFC 1952, 2.3).
pub(super) fn skip_gzip_header<E>(input: &[u8]) -> Result<&[u8], DecompressError<E>> {
    let eof = DecompressError::UnexpectedEof;
    let Some((head, mut rest)) = input.split_at_checked(10) else {
        // Fewer than ten bytes that are not the beginning of a header are not gzip.
        let magic = [0x1f, 0x8b, 8];
        return Err(if input.iter().zip(magic).all(|(a, b)| *a == b) { eof } else { DecompressError::GzipHeader });
    };
    let &[0x1f, 0x8b, 8, flags, ..] = head else { return Err(DecompressError::GzipHeader) };
    if flags & 4 != 0 {
        let Some((&[a, b], after)) = rest.split_first_chunk() else { return Err(eof) };
        let Some((_, after)) = after.split_at_checked(usize::from(u16::from_le_bytes([a, b]))) else {
            return Err(eof);
        };
        rest = after;
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            let Some(end) = rest.iter().position(|b| *b == 0) else { return Err(eof) };
            rest = rest.get(end + 1..).unwrap_or_default();
        }
    }
    if flags & 2 != 0 {
        let Some((received_crc, after)) = rest.split_first_chunk::<2>() else { return Err(eof) };
        let crc = crc32fast::hash(input.get(..input.len() - rest.len()).unwrap_or_default());
        if (crc & 0xffff) as u16 != u16::from_le_bytes(*received_crc) {
            return Err(DecompressError::GzipHeader);
        }
        rest = after;
    }
    Ok(rest)
}

/// Reusable deflate state (about 270 KiB once used, for each of gzip and zlib).
#[derive(Default)]
pub struct Deflater {
    gzip_state: Option<(u32, Compress)>,
    pub(super) zlib_state: Option<(u32, Compress)>,
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater").field("warm", &(self.gzip_state.is_some() || self.zlib_state.is_some())).finish()
    }
}

impl Deflater {
    /// The level of Go's `gzip.DefaultCompression`.
    pub const DEFAULT_LEVEL: u32 = 6;

    /// An empty state; memory is taken at first use.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Compresses the parts of a rope, in order, into one gzip member. `level` is 0 to 9.
    pub fn gzip<'a>(&mut self, parts: impl IntoIterator<Item = &'a [u8]>, level: u32) -> Bytes {
        let raw = prepare(&mut self.gzip_state, level, false);
        let mut out = Vec::with_capacity(4096);
        out.extend_from_slice(&HEADER);
        let mut crc = crc32fast::Hasher::new();
        let mut length = 0_u32; // RFC 1952: modulo 2^32
        for part in parts {
            crc.update(part);
            length = length.wrapping_add(part.len() as u32);
            deflate(raw, part, &mut out, FlushCompress::None);
        }
        deflate(raw, &[], &mut out, FlushCompress::Finish);
        out.extend_from_slice(&crc.finalize().to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
        shrink_to_content(out)
    }
}

/// One gzip member that is written piece by piece (about 270 KiB while it exists).
pub struct GzipStream {
    raw: Compress,
    crc: crc32fast::Hasher,
    length: u32,
    header_written: bool,
}

impl fmt::Debug for GzipStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GzipStream").field("length", &self.length).finish_non_exhaustive()
    }
}

impl GzipStream {
    /// Bytes of memory that one stream takes.
    pub const MEMORY: u64 = 280 << 10;

    /// A member without content. `level` is 0 to 9.
    #[must_use]
    pub fn new(level: u32) -> Self {
        let raw = Compress::new(Compression::new(level.min(9)), false);
        Self { raw, crc: crc32fast::Hasher::new(), length: 0, header_written: false }
    }

    /// Compresses `part` and appends to `out` what is ready. The compressor may buffer the rest.
    pub fn push(&mut self, part: &[u8], out: &mut Vec<u8>) {
        self.write_header(out);
        self.crc.update(part);
        self.length = self.length.wrapping_add(part.len() as u32); // RFC 1952: modulo 2^32
        deflate(&mut self.raw, part, out, FlushCompress::None);
    }

    /// Appends the rest and the trailer.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.write_header(out);
        deflate(&mut self.raw, &[], out, FlushCompress::Finish);
        out.extend_from_slice(&self.crc.finalize().to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
    }

    fn write_header(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.header_written, true) {
            out.extend_from_slice(&HEADER);
        }
    }
}

/// Deflate, no optional fields, no time, unknown operating system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// A compressor at this level, at the beginning of a stream.
pub(super) fn prepare(state: &mut Option<(u32, Compress)>, level: u32, zlib: bool) -> &mut Compress {
    let level = level.min(9);
    if state.as_ref().is_some_and(|(l, _)| *l != level) {
        *state = None;
    }
    let (_, raw) = state.get_or_insert_with(|| (level, Compress::new(Compression::new(level), zlib)));
    raw.reset();
    raw
}

pub(super) fn deflate(raw: &mut Compress, mut part: &[u8], out: &mut Vec<u8>, flush: FlushCompress) {
    let finishing = matches!(flush, FlushCompress::Finish);
    while finishing || !part.is_empty() {
        out.reserve(4096.max(out.len() / 2));
        let before = raw.total_in();
        let progress = raw.compress_vec(part, out, flush);
        let consumed = usize::try_from(raw.total_in() - before).unwrap_or(usize::MAX);
        part = part.get(consumed..).unwrap_or_default();
        if !matches!(progress, Ok(Progress::Ok | Progress::BufError)) {
            break; // the end of the stream; deflate itself cannot fail
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn gunzip(body: &[u8], limit: u64) -> Result<Vec<u8>, DecompressError<Infallible>> {
        let mut out = Vec::new();
        Inflater::new().gunzip(body, limit, &mut out, |_| Ok(()))?;
        Ok(out)
    }

    fn pseudo_random_bytes(n: usize) -> Vec<u8> {
        (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 & 0x3f).collect()
    }

    #[test]
    fn gzip_of_parts_inflates_to_the_whole() {
        let mut deflater = Deflater::new();
        for n in [0, 1, 255, 4096, 300_000] {
            let plain = pseudo_random_bytes(n);
            let parts = plain.chunks(1000.max(n / 7));
            for level in [1, 6, 9] {
                let packed = deflater.gzip(parts.clone(), level);
                assert_eq!(gunzip(&packed, n as u64).unwrap(), plain, "{n} bytes at level {level}");
            }
        }
    }

    #[test]
    fn gzip_stream_pieces_of_any_size_inflate_to_the_whole() {
        for (n, piece) in [(0, 1), (1, 1), (300_000, 65_536), (300_000, 1000)] {
            let plain = pseudo_random_bytes(n);
            let (mut stream, mut packed) = (GzipStream::new(1), Vec::new());
            plain.chunks(piece).for_each(|part| stream.push(part, &mut packed));
            stream.finish(&mut packed);
            assert_eq!(gunzip(&packed, n as u64).unwrap(), plain, "{n} bytes in pieces of {piece}");
        }
    }

    #[test]
    fn gzip_members_in_sequence_are_one_body() {
        let mut d = Deflater::new();
        let both = [d.gzip([&b"hello "[..]], 6), d.gzip([&b"world"[..]], 6)].concat();
        assert_eq!(gunzip(&both, 100).unwrap(), b"hello world");
        let tail = [&both[..], b"junk"].concat();
        assert_eq!(gunzip(&tail, 100), Err(DecompressError::GzipHeader));
    }

    #[test]
    fn gzip_bomb_is_refused_before_memory_above_the_limit_is_reserved() {
        let bomb = Deflater::new().gzip(std::iter::repeat_n(&[0_u8; 1 << 16][..], 1024), 9);
        let mut out = Vec::new();
        let mut requested = 0;
        let refused = Inflater::new().gunzip(&bomb, 1 << 20, &mut out, |to| {
            requested = to;
            Ok::<_, Infallible>(())
        });
        assert_eq!(refused, Err(DecompressError::TooLarge(1 << 20)));
        assert!(requested <= 1 << 20 && out.capacity() <= 1 << 20, "requested {requested}, holds {}", out.capacity());
        let mut out = Vec::new();
        let refused = Inflater::new().gunzip(&bomb, 1 << 30, &mut out, |to| if to > 5000 { Err(()) } else { Ok(()) });
        assert_eq!(refused, Err(DecompressError::Refused(())));
        assert!(out.capacity() <= 5000);
    }

    #[test]
    fn content_of_the_limit_is_accepted_and_above_it_refused() {
        let packed = Deflater::new().gzip([&[7_u8; 5000][..]], 6);
        assert!(gunzip(&packed, 5000).is_ok());
        assert_eq!(gunzip(&packed, 4999), Err(DecompressError::TooLarge(4999)));
    }

    #[test]
    fn invalid_body_is_reported_with_the_text_of_go() {
        let packed = Deflater::new().gzip([&pseudo_random_bytes(3000)[..]], 6).to_vec();
        assert_eq!(gunzip(b"not gzip at all", 100).unwrap_err().to_string(), "gzip: invalid header");
        assert_eq!(gunzip(b"", 100).unwrap_err().to_string(), "unexpected EOF");
        for cut in 0..packed.len() {
            assert_eq!(gunzip(&packed[..cut], 10_000), Err(DecompressError::UnexpectedEof), "cut at {cut}");
        }
        let mut wrong = packed.clone();
        let at = wrong.len() - 6;
        wrong[at] ^= 1;
        assert_eq!(gunzip(&wrong, 10_000).unwrap_err().to_string(), "gzip: invalid checksum");
        let mut wrong = packed;
        wrong[10] = 0x07; // a reserved block type
        assert!(matches!(gunzip(&wrong, 10_000), Err(DecompressError::Corrupt(_))));
    }

    #[test]
    fn optional_header_fields_are_skipped_and_their_checksum_is_verified() {
        let plain = Deflater::new().gzip([&b"x"[..]], 6).to_vec();
        let mut head = vec![0x1f, 0x8b, 8, 4 | 8 | 16 | 2, 0, 0, 0, 0, 0, 255, 3, 0, 1, 2, 3];
        head.extend_from_slice(b"name\0comment\0");
        head.extend_from_slice(&(crc32fast::hash(&head) as u16).to_le_bytes());
        let packed = [&head[..], &plain[10..]].concat();
        assert_eq!(gunzip(&packed, 10).unwrap(), b"x");
        let mut wrong = packed;
        wrong[12] ^= 1;
        assert_eq!(gunzip(&wrong, 10), Err(DecompressError::GzipHeader));
    }
}
