//! Content codings: names, gzip in and gzip out, and the workspace that connections of one thread share.
//!
//! A limit is enforced while inflating, before room is made, so a small body can never become a large allocation.
//! Never reads from a peer and never decides which coding to use.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use bytes::Bytes;
use flate2::{Compress, Compression, Crc, Decompress, FlushCompress, FlushDecompress, Status as Progress};

/// Size of the read buffer that all connections of a thread share.
pub(crate) const SCRATCH: usize = 64 << 10;

/// A message or content coding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Coding {
    /// As it is.
    #[default]
    Identity,
    /// RFC 1952.
    Gzip,
}

/// A coding that is not implemented; holds its name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unsupported Content-Encoding: {0}")]
pub struct Unsupported(pub String);

impl Coding {
    /// Reads a name as in `grpc-encoding` or `Content-Encoding`. Case-sensitive, as the Go collector is. Empty is identity.
    ///
    /// # Errors
    /// The name, when this coding is not implemented.
    pub fn parse(name: &[u8]) -> Result<Self, Unsupported> {
        match name {
            b"" | b"identity" => Ok(Self::Identity),
            b"gzip" => Ok(Self::Gzip),
            other => Err(Unsupported(String::from_utf8_lossy(other).into_owned())),
        }
    }

    /// The name on the wire.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
        }
    }

    /// Whether this coding changes nothing.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        *self == Self::Identity
    }
}

/// Why a body could not be decoded. The texts are those of Go's `compress/gzip`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InflateError<E> {
    /// The peer sent more than it may; the limit.
    #[error("decompressed body larger than {0} bytes")]
    TooLarge(u64),
    /// The peer's body ends in the middle.
    #[error("unexpected EOF")]
    UnexpectedEof,
    /// The peer's body does not begin with a gzip header.
    #[error("gzip: invalid header")]
    Header,
    /// The peer's body does not match its checksum or length.
    #[error("gzip: invalid checksum")]
    Checksum,
    /// The peer's body is not a deflate stream; the offset of the trouble.
    #[error("flate: corrupt input before offset {0}")]
    Corrupt(u64),
    /// We refused to hold that much.
    #[error("refused")]
    Refused(E),
}

/// Reusable inflate state (about 48 KiB once used).
pub struct Inflater {
    raw: Option<Decompress>,
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").field("warm", &self.raw.is_some()).finish()
    }
}

impl Inflater {
    /// An empty state; memory is taken at first use.
    #[must_use]
    pub fn new() -> Self {
        Self { raw: None }
    }

    /// Inflates a whole gzip body of one or more members into `out`, which ends at most `limit` bytes long. Before
    /// `out` grows, `grow` is asked whether that many bytes may be held.
    ///
    /// # Errors
    /// See [`InflateError`]; `out` then holds a part of the body.
    pub fn gunzip<E>(
        &mut self,
        body: &[u8],
        limit: u64,
        out: &mut Vec<u8>,
        mut grow: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(), InflateError<E>> {
        let mut rest = body;
        loop {
            rest = gzip_header(rest)?;
            rest = self.member(body.len(), rest, limit, out, &mut grow)?;
            // Go's reader goes on with the next member if there is one, and calls anything else a bad header.
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    fn member<'a, E>(
        &mut self,
        whole: usize,
        input: &'a [u8],
        limit: u64,
        out: &mut Vec<u8>,
        grow: &mut impl FnMut(u64) -> Result<(), E>,
    ) -> Result<&'a [u8], InflateError<E>> {
        let raw = self.raw.get_or_insert_with(|| Decompress::new(false));
        raw.reset(false);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let start = out.len();
        let mut rest = input;
        loop {
            if out.len() == out.capacity() && !make_room(out, input, limit, grow)? {
                // Full to the limit: the member may still end here, but not produce another byte.
                let mut probe = [0];
                let (n, made, done) = step(raw, rest, &mut probe, whole)?;
                if made > 0 {
                    return Err(InflateError::TooLarge(limit as u64));
                }
                rest = rest.get(n..).unwrap_or_default();
                if done {
                    break;
                }
                if n == 0 {
                    return Err(InflateError::UnexpectedEof);
                }
                continue;
            }
            let (before_in, before_out) = (raw.total_in(), out.len());
            let progress = raw
                .decompress_vec(rest, out, FlushDecompress::None)
                .map_err(|_| InflateError::Corrupt((whole - rest.len()) as u64))?;
            let read = usize::try_from(raw.total_in() - before_in).unwrap_or(usize::MAX);
            rest = rest.get(read..).unwrap_or_default();
            if progress == Progress::StreamEnd {
                break;
            }
            if read == 0 && out.len() == before_out && out.len() < out.capacity() {
                return Err(InflateError::UnexpectedEof);
            }
        }
        let Some((trailer, after)) = rest.split_at_checked(8) else { return Err(InflateError::UnexpectedEof) };
        let made = out.get(start..).unwrap_or_default();
        let mut crc = Crc::new();
        crc.update(made);
        let mut want = [0; 8];
        want[..4].copy_from_slice(&crc.sum().to_le_bytes());
        want[4..].copy_from_slice(&(made.len() as u32).to_le_bytes()); // RFC 1952: the length modulo 2^32
        if trailer == want { Ok(after) } else { Err(InflateError::Checksum) }
    }
}

fn step<E>(
    raw: &mut Decompress,
    input: &[u8],
    out: &mut [u8],
    whole: usize,
) -> Result<(usize, usize, bool), InflateError<E>> {
    let (i, o) = (raw.total_in(), raw.total_out());
    let progress = raw
        .decompress(input, out, FlushDecompress::None)
        .map_err(|_| InflateError::Corrupt((whole - input.len()) as u64))?;
    let read = usize::try_from(raw.total_in() - i).unwrap_or(usize::MAX);
    let made = usize::try_from(raw.total_out() - o).unwrap_or(usize::MAX);
    Ok((read, made, progress == Progress::StreamEnd))
}

/// Grows `out`: first to what the trailer promises, bounded by what such an input usually becomes, then by doubling.
fn make_room<E>(
    out: &mut Vec<u8>,
    input: &[u8],
    limit: usize,
    grow: &mut impl FnMut(u64) -> Result<(), E>,
) -> Result<bool, InflateError<E>> {
    if out.len() >= limit {
        return Ok(false);
    }
    let want = if out.is_empty() {
        let promised = input.last_chunk().map_or(0, |tail| u32::from_le_bytes(*tail));
        usize::try_from(promised).unwrap_or(0).min(input.len().saturating_mul(16)).max(256)
    } else {
        out.len().saturating_mul(2)
    };
    let want = want.min(limit);
    grow(want as u64).map_err(InflateError::Refused)?;
    out.reserve_exact(want - out.len());
    Ok(true)
}

/// Skips a member's header (RFC 1952, 2.3).
fn gzip_header<E>(input: &[u8]) -> Result<&[u8], InflateError<E>> {
    let eof = InflateError::UnexpectedEof;
    let Some((head, mut rest)) = input.split_at_checked(10) else {
        // Fewer than ten bytes that are no prefix of a header are no gzip at all.
        let magic = [0x1f, 0x8b, 8];
        return Err(if input.iter().zip(magic).all(|(a, b)| *a == b) { eof } else { InflateError::Header });
    };
    let &[0x1f, 0x8b, 8, flags, ..] = head else { return Err(InflateError::Header) };
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
        let Some((given, after)) = rest.split_first_chunk::<2>() else { return Err(eof) };
        let mut crc = Crc::new();
        crc.update(input.get(..input.len() - rest.len()).unwrap_or_default());
        if (crc.sum() & 0xffff) as u16 != u16::from_le_bytes(*given) {
            return Err(InflateError::Header);
        }
        rest = after;
    }
    Ok(rest)
}

/// Reusable deflate state (about 270 KiB once used).
pub struct Deflater {
    raw: Option<(u32, Compress)>,
}

impl Default for Deflater {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater").field("warm", &self.raw.is_some()).finish()
    }
}

impl Deflater {
    /// The level Go's `gzip.DefaultCompression` stands for.
    pub const DEFAULT_LEVEL: u32 = 6;

    /// An empty state; memory is taken at first use.
    #[must_use]
    pub fn new() -> Self {
        Self { raw: None }
    }

    /// Compresses the parts of a rope, in order, into one gzip member. `level` is 0 to 9.
    pub fn gzip<'a>(&mut self, parts: impl IntoIterator<Item = &'a [u8]>, level: u32) -> Bytes {
        let level = level.min(9);
        if self.raw.as_ref().is_none_or(|(l, _)| *l != level) {
            self.raw = Some((level, Compress::new(Compression::new(level), false)));
        }
        let mut out = Vec::with_capacity(4096);
        out.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
        let mut crc = Crc::new();
        if let Some((_, raw)) = &mut self.raw {
            raw.reset();
            for part in parts {
                crc.update(part);
                deflate(raw, part, &mut out, FlushCompress::None);
            }
            deflate(raw, &[], &mut out, FlushCompress::Finish);
        }
        out.extend_from_slice(&crc.sum().to_le_bytes());
        out.extend_from_slice(&crc.amount().to_le_bytes());
        // What is queued for sending is accounted by length: do not pin twice that.
        if out.capacity() - out.len() > out.len() / 4 {
            out.shrink_to_fit();
        }
        out.into()
    }
}

fn deflate(raw: &mut Compress, mut part: &[u8], out: &mut Vec<u8>, flush: FlushCompress) {
    let finishing = matches!(flush, FlushCompress::Finish);
    while finishing || !part.is_empty() {
        out.reserve(4096.max(out.len() / 2));
        let before = raw.total_in();
        let progress = raw.compress_vec(part, out, flush);
        let read = usize::try_from(raw.total_in() - before).unwrap_or(usize::MAX);
        part = part.get(read..).unwrap_or_default();
        if !matches!(progress, Ok(Progress::Ok | Progress::BufError)) {
            break; // the end of the stream; deflate itself cannot fail
        }
    }
}

/// What all connections of one thread share so that none of them has to own it: codec states and a read buffer.
/// Cloning makes another handle.
#[derive(Clone, Default)]
pub struct Workspace(Rc<RefCell<Shared>>);

#[derive(Default)]
struct Shared {
    inflater: Inflater,
    deflater: Deflater,
    scratch: Vec<u8>,
}

impl fmt::Debug for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Workspace")
    }
}

impl Workspace {
    /// A fresh workspace.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Compresses the parts of a rope at the default level.
    #[must_use]
    pub fn compress<'a>(&self, coding: &Coding, parts: impl IntoIterator<Item = &'a [u8]>) -> Bytes {
        match coding {
            Coding::Identity => {
                let parts: smallvec::SmallVec<[&[u8]; 8]> = parts.into_iter().collect();
                parts.concat().into()
            }
            Coding::Gzip => self.0.borrow_mut().deflater.gzip(parts, Deflater::DEFAULT_LEVEL),
        }
    }

    /// Decodes a whole body. The result is as large as its content, or a quarter larger.
    ///
    /// # Errors
    /// See [`InflateError`].
    pub fn decompress<E>(
        &self,
        coding: &Coding,
        body: Bytes,
        limit: u64,
        grow: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<Bytes, InflateError<E>> {
        match coding {
            Coding::Identity if body.len() as u64 > limit => Err(InflateError::TooLarge(limit)),
            Coding::Identity => Ok(body),
            Coding::Gzip => {
                let mut out = Vec::new();
                self.0.borrow_mut().inflater.gunzip(&body, limit, &mut out, grow)?;
                if out.capacity() - out.len() > out.len() / 4 {
                    out.shrink_to_fit();
                }
                Ok(out.into())
            }
        }
    }

    /// Takes the read buffer for a turn; always `SCRATCH` bytes long.
    pub(crate) fn take_scratch(&self) -> Vec<u8> {
        let taken = std::mem::take(&mut self.0.borrow_mut().scratch);
        if taken.len() == SCRATCH { taken } else { vec![0; SCRATCH] }
    }

    /// Gives the read buffer back.
    pub(crate) fn put_scratch(&self, scratch: Vec<u8>) {
        self.0.borrow_mut().scratch = scratch;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn gunzip(body: &[u8], limit: u64) -> Result<Vec<u8>, InflateError<Infallible>> {
        let mut out = Vec::new();
        Inflater::new().gunzip(body, limit, &mut out, |_| Ok(()))?;
        Ok(out)
    }

    fn noise(n: usize) -> Vec<u8> {
        (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 & 0x3f).collect()
    }

    #[test]
    fn what_is_deflated_in_parts_inflates_to_the_whole() {
        let mut deflater = Deflater::new();
        for n in [0, 1, 255, 4096, 300_000] {
            let plain = noise(n);
            let parts = plain.chunks(1000.max(n / 7));
            for level in [1, 6, 9] {
                let packed = deflater.gzip(parts.clone(), level);
                assert_eq!(gunzip(&packed, n as u64).unwrap(), plain, "{n} bytes at level {level}");
            }
        }
    }

    #[test]
    fn members_in_a_row_are_one_body() {
        let mut d = Deflater::new();
        let both = [d.gzip([&b"hello "[..]], 6), d.gzip([&b"world"[..]], 6)].concat();
        assert_eq!(gunzip(&both, 100).unwrap(), b"hello world");
        let tail = [&both[..], b"junk"].concat();
        assert_eq!(gunzip(&tail, 100), Err(InflateError::Header));
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit_and_before_room_is_made() {
        let bomb = Deflater::new().gzip(std::iter::repeat_n(&[0_u8; 1 << 16][..], 1024), 9);
        let mut out = Vec::new();
        let mut asked = 0;
        let refused = Inflater::new().gunzip(&bomb, 1 << 20, &mut out, |to| {
            asked = to;
            Ok::<_, Infallible>(())
        });
        assert_eq!(refused, Err(InflateError::TooLarge(1 << 20)));
        assert!(asked <= 1 << 20 && out.capacity() <= 1 << 20, "asked {asked}, holds {}", out.capacity());
        let mut out = Vec::new();
        let refused = Inflater::new().gunzip(&bomb, 1 << 30, &mut out, |to| if to > 5000 { Err(()) } else { Ok(()) });
        assert_eq!(refused, Err(InflateError::Refused(())));
        assert!(out.capacity() <= 5000);
    }

    #[test]
    fn exactly_the_limit_is_allowed_and_one_more_is_not() {
        let packed = Deflater::new().gzip([&[7_u8; 5000][..]], 6);
        assert!(gunzip(&packed, 5000).is_ok());
        assert_eq!(gunzip(&packed, 4999), Err(InflateError::TooLarge(4999)));
    }

    #[test]
    fn broken_bodies_are_named_as_go_names_them() {
        let packed = Deflater::new().gzip([&noise(3000)[..]], 6).to_vec();
        assert_eq!(gunzip(b"not gzip at all", 100).unwrap_err().to_string(), "gzip: invalid header");
        assert_eq!(gunzip(b"", 100).unwrap_err().to_string(), "unexpected EOF");
        for cut in 0..packed.len() {
            assert_eq!(gunzip(&packed[..cut], 10_000), Err(InflateError::UnexpectedEof), "cut at {cut}");
        }
        let mut wrong = packed.clone();
        let at = wrong.len() - 6;
        wrong[at] ^= 1;
        assert_eq!(gunzip(&wrong, 10_000).unwrap_err().to_string(), "gzip: invalid checksum");
        let mut wrong = packed;
        wrong[10] = 0x07; // a reserved block type
        assert!(matches!(gunzip(&wrong, 10_000), Err(InflateError::Corrupt(_))));
    }

    #[test]
    fn optional_header_fields_are_skipped_and_their_checksum_holds() {
        let plain = Deflater::new().gzip([&b"x"[..]], 6).to_vec();
        let mut head = vec![0x1f, 0x8b, 8, 4 | 8 | 16 | 2, 0, 0, 0, 0, 0, 255, 3, 0, 1, 2, 3];
        head.extend_from_slice(b"name\0comment\0");
        let mut crc = Crc::new();
        crc.update(&head);
        head.extend_from_slice(&(crc.sum() as u16).to_le_bytes());
        let packed = [&head[..], &plain[10..]].concat();
        assert_eq!(gunzip(&packed, 10).unwrap(), b"x");
        let mut wrong = packed;
        wrong[12] ^= 1;
        assert_eq!(gunzip(&wrong, 10), Err(InflateError::Header));
    }

    #[test]
    fn names_are_case_sensitive() {
        assert_eq!(Coding::parse(b"gzip"), Ok(Coding::Gzip));
        assert_eq!(Coding::parse(b""), Ok(Coding::Identity));
        assert_eq!(Coding::parse(b"GZIP").unwrap_err().to_string(), "unsupported Content-Encoding: GZIP");
    }
}
