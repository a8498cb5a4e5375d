//! Content codings: names, decoders and encoders, and the workspace that connections of one thread share.
//!
//! A limit is enforced while decoding, before memory is reserved, so a small body can never cause a large allocation: a
//! declared content length is only used up to what the body can produce. States of the codecs are reused for the next
//! body. Never reads from a peer and never chooses a coding.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use bytes::Bytes;
use smallvec::SmallVec;

mod gunzip_stream;
mod gzip;
mod lz4;
mod snappy;
#[cfg(test)]
mod tests;
mod zlib;
#[cfg(feature = "zstd")]
mod zstd;

pub use gunzip_stream::{GunzipError, GunzipStream};
pub use gzip::{Deflater, GzipStream, Inflater};
#[cfg(feature = "zstd")]
pub use zstd::ZstdStream;

/// Size of the read buffer that all connections of a thread share.
pub(crate) const SCRATCH_SIZE: usize = 64 << 10;

/// A message or content coding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Coding {
    /// No compression.
    #[default]
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878; with the feature `zstd`.
    #[cfg(feature = "zstd")]
    Zstd,
    /// Snappy's block format. Bodies in the framing format are decoded too, as older collectors sent them with this
    /// name. In gRPC this name means the framing format: see [`Coding::in_grpc`].
    Snappy,
    /// Snappy's framing format.
    SnappyFramed,
    /// RFC 1950.
    Zlib,
    /// The same as zlib: HTTP's `deflate` is deflate in the zlib format (RFC 9110, 8.4.1.2).
    Deflate,
    /// LZ4's frame format.
    Lz4,
}

/// A coding that is not implemented; holds its name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unsupported Content-Encoding: {0}")]
pub struct UnsupportedCoding(pub String);

impl Coding {
    /// Every coding, in the order of its declaration.
    pub const ALL: [Self; if cfg!(feature = "zstd") { 8 } else { 7 }] = [
        Self::Identity,
        Self::Gzip,
        #[cfg(feature = "zstd")]
        Self::Zstd,
        Self::Snappy,
        Self::SnappyFramed,
        Self::Zlib,
        Self::Deflate,
        Self::Lz4,
    ];

    /// Parses a name as in `grpc-encoding` or `Content-Encoding`. Case-sensitive, as in the Go collector. An empty name
    /// is identity.
    ///
    /// # Errors
    /// The name, when this coding is not implemented.
    pub fn parse(name: &[u8]) -> Result<Self, UnsupportedCoding> {
        match name {
            b"" | b"identity" => Ok(Self::Identity),
            b"gzip" => Ok(Self::Gzip),
            #[cfg(feature = "zstd")]
            b"zstd" => Ok(Self::Zstd),
            b"snappy" => Ok(Self::Snappy),
            b"x-snappy-framed" => Ok(Self::SnappyFramed),
            b"zlib" => Ok(Self::Zlib),
            b"deflate" => Ok(Self::Deflate),
            b"lz4" => Ok(Self::Lz4),
            other => Err(UnsupportedCoding(String::from_utf8_lossy(other).into_owned())),
        }
    }

    /// The name on the wire.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            #[cfg(feature = "zstd")]
            Self::Zstd => "zstd",
            Self::Snappy => "snappy",
            Self::SnappyFramed => "x-snappy-framed",
            Self::Zlib => "zlib",
            Self::Deflate => "deflate",
            Self::Lz4 => "lz4",
        }
    }

    /// The coding to use in a gRPC message whose `grpc-encoding` has this coding's name: there, `snappy` is the framing
    /// format, and peers accept no other.
    #[must_use]
    pub fn in_grpc(&self) -> Self {
        match self {
            Self::Snappy => Self::SnappyFramed,
            other => other.clone(),
        }
    }

    /// Whether this is identity.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        *self == Self::Identity
    }
}

/// Why a body could not be decoded. The texts are those of Go's libraries, with the coding's name before them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError<E> {
    /// The content is longer than the limit, which is given.
    #[error("decompressed body larger than {0} bytes")]
    TooLarge(u64),
    /// The declared length of the peer's snappy block is more than the limit, which is given.
    #[error("snappy: decoded size exceeds max request body size")]
    BlockTooLarge(u64),
    /// The peer's body ends in the middle.
    #[error("unexpected EOF")]
    UnexpectedEof,
    /// The peer's body does not begin with a gzip header.
    #[error("gzip: invalid header")]
    GzipHeader,
    /// The peer's body does not match its checksum or length.
    #[error("gzip: invalid checksum")]
    GzipChecksum,
    /// The peer's body is not a valid deflate stream; the offset of the error.
    #[error("flate: corrupt input before offset {0}")]
    Corrupt(u64),
    /// The peer's body is not valid in another coding; the name of the coding and what is wrong.
    #[error("{0}: {1}")]
    Invalid(&'static str, &'static str),
    /// The `grow` callback refused the memory.
    #[error("refused")]
    Refused(E),
}

/// What all connections of one thread share: codec states and a read buffer. Cloning makes another handle.
#[derive(Clone, Default)]
pub struct Workspace(Rc<RefCell<CodecState>>);

#[derive(Default)]
struct CodecState {
    inflater: Inflater,
    deflater: Deflater,
    #[cfg(feature = "zstd")]
    zstd: zstd::Zstd,
    snappy: snappy::Snappy,
    lz4: lz4::Lz4,
    scratch: Vec<u8>,
}

impl fmt::Debug for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Workspace")
    }
}

impl Workspace {
    /// A new workspace.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Compresses the parts of a rope at the default level.
    #[must_use]
    pub fn compress<'a>(&self, coding: &Coding, parts: impl IntoIterator<Item = &'a [u8]>) -> Bytes {
        self.compress_with_level(coding, None, parts)
    }

    /// Compresses the parts of a rope. The result keeps at most a quarter more memory than its length.
    ///
    /// Levels have the same meaning as in Go. `None` and 0 (not set, in the collector's settings) are the default of
    /// each coding:
    /// - gzip, zlib, deflate: -1 is 6; 1 to 9 are unchanged; -2, Go's "Huffman only", is 1, the fastest level here;
    /// - zstd: below 3 is libzstd's 1, 3 to 5 its 3 (the default), 6 to 9 its 7, from 10 on its 11: what Go's encoder
    ///   calls fastest, default, better and best;
    /// - snappy and lz4 have none.
    #[must_use]
    pub fn compress_with_level<'a>(
        &self,
        coding: &Coding,
        level: Option<i32>,
        parts: impl IntoIterator<Item = &'a [u8]>,
    ) -> Bytes {
        let parts: SmallVec<[&[u8]; 16]> = parts.into_iter().collect();
        let shared = &mut *self.0.borrow_mut();
        let compressed = match coding {
            Coding::Identity => parts.concat(),
            Coding::Gzip => return shared.deflater.gzip(parts, gzip::level(level)),
            Coding::Zlib | Coding::Deflate => shared.deflater.zlib(&parts, gzip::level(level)),
            #[cfg(feature = "zstd")]
            Coding::Zstd => shared.zstd.compress(zstd::level(level), &parts),
            Coding::Snappy => shared.snappy.compress_block(&parts),
            Coding::SnappyFramed => shared.snappy.compress_framed(&parts),
            Coding::Lz4 => shared.lz4.compress(&parts),
        };
        shrink_to_content(compressed)
    }

    /// Decodes a whole body. The result takes the memory of its content, or at most a quarter more. Before the output
    /// buffer grows, `grow` is called with its new total size, never with more than `limit`.
    ///
    /// # Errors
    /// See [`DecompressError`].
    pub fn decompress<E>(
        &self,
        coding: &Coding,
        body: Bytes,
        limit: u64,
        mut grow: impl FnMut(u64) -> Result<(), E>,
    ) -> Result<Bytes, DecompressError<E>> {
        let mut out = Vec::new();
        let shared = &mut *self.0.borrow_mut();
        match coding {
            Coding::Identity if body.len() as u64 > limit => return Err(DecompressError::TooLarge(limit)),
            Coding::Identity => return Ok(body),
            Coding::Gzip => shared.inflater.gunzip(&body, limit, &mut out, grow)?,
            Coding::Zlib | Coding::Deflate => shared.inflater.inflate_zlib(&body, limit, &mut out, &mut grow)?,
            #[cfg(feature = "zstd")]
            Coding::Zstd => shared.zstd.decompress(&body, limit, &mut out, &mut grow)?,
            Coding::Snappy if snappy::is_framed(&body) => snappy::decompress_framed(&body, limit, &mut out, &mut grow)?,
            Coding::Snappy => snappy::decompress_block(&body, limit, &mut out, &mut grow)?,
            Coding::SnappyFramed => snappy::decompress_framed(&body, limit, &mut out, &mut grow)?,
            Coding::Lz4 => lz4::decompress(&body, limit, &mut out, &mut grow)?,
        }
        Ok(shrink_to_content(out))
    }

    /// Takes the read buffer for one poll; always [`SCRATCH_SIZE`] bytes long.
    pub(crate) fn take_scratch(&self) -> Vec<u8> {
        let taken = std::mem::take(&mut self.0.borrow_mut().scratch);
        if taken.len() == SCRATCH_SIZE { taken } else { vec![0; SCRATCH_SIZE] }
    }

    /// Returns the read buffer.
    pub(crate) fn return_scratch(&self, scratch: Vec<u8>) {
        self.0.borrow_mut().scratch = scratch;
    }
}

/// Shrinks the buffer. Queued payloads are charged by their length, so they must not keep much more memory than that.
fn shrink_to_content(mut out: Vec<u8>) -> Bytes {
    if out.capacity() - out.len() > out.len() / 4 {
        out.shrink_to_fit();
    }
    out.into()
}

/// Reserves memory for `wanted` bytes in total, or as many as the limit allows. `false`: the limit allows no more.
fn reserve_up_to_limit<E>(
    out: &mut Vec<u8>,
    wanted: usize,
    limit: u64,
    grow: &mut impl FnMut(u64) -> Result<(), E>,
) -> Result<bool, DecompressError<E>> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if out.len() >= limit {
        return Ok(false);
    }
    let wanted = wanted.max(256).max(out.len() + 1).min(limit);
    if wanted > out.capacity() {
        grow(wanted as u64).map_err(DecompressError::Refused)?;
        out.reserve_exact(wanted - out.len());
    }
    Ok(true)
}

/// Reserves memory for exactly `total` bytes, a size that is known before decoding.
fn reserve_exactly<E>(
    out: &mut Vec<u8>,
    total: u64,
    grow: &mut impl FnMut(u64) -> Result<(), E>,
) -> Result<(), DecompressError<E>> {
    grow(total).map_err(DecompressError::Refused)?;
    out.reserve_exact(usize::try_from(total).unwrap_or(usize::MAX).saturating_sub(out.len()));
    Ok(())
}

/// Passes the parts of a rope to `each` in blocks of `size` bytes; the last one may be shorter. Only blocks that span
/// several parts are copied, into `joined`.
fn for_each_block(parts: &[&[u8]], size: usize, joined: &mut Vec<u8>, mut each: impl FnMut(&[u8])) {
    joined.clear();
    for (i, part) in parts.iter().enumerate() {
        let last = i + 1 == parts.len();
        let mut part = *part;
        while !part.is_empty() {
            let (head, tail) = part.split_at((size - joined.len()).min(part.len()));
            part = tail;
            if joined.is_empty() && (head.len() == size || last) {
                each(head);
                continue;
            }
            joined.extend_from_slice(head);
            if joined.len() == size {
                each(joined);
                joined.clear();
            }
        }
    }
    if !joined.is_empty() {
        each(joined);
        joined.clear();
    }
}
