//! Zstandard (RFC 8878) by libzstd, decoded directly into the final buffer.
//!
//! A frame with a content length that is plausible is decoded without a separate window. Other frames need one: a frame
//! that requires more than 32 MiB is refused. That is what Go's best level requires, and four times what RFC 9659
//! allows HTTP peers to use. No more memory of a window is used than the limit allows to be decoded. A body may have
//! several frames; skippable frames are skipped; dictionaries are not supported.

use zstd_safe::zstd_sys::{ZSTD_EndDirective, ZSTD_ErrorCode};
use zstd_safe::{CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

use super::{DecompressError, reserve_up_to_limit};

/// Longest window, as a power of two.
const WINDOW_LOG: u32 = 25;
/// States larger than this are not kept.
const MAX_KEPT_STATE: usize = 16 << 20;
/// A content length of more than this many times the size of its frame is not trusted for the allocation.
const MAX_TRUSTED_RATIO: usize = 64;

/// The four levels of Go's encoder, with its mapping of zstd's levels.
pub(super) fn level(level: Option<i32>) -> i32 {
    match level {
        None | Some(0 | 3..=5) => 3,
        Some(..=2) => 1,
        Some(6..=9) => 7,
        Some(10..) => 11,
    }
}

/// Reusable states of encoder and decoder.
#[derive(Default)]
pub(super) struct Zstd {
    decoder: Option<DCtx<'static>>,
    encoder: Option<(i32, CCtx<'static>)>,
}

impl Zstd {
    pub(super) fn decompress<E>(
        &mut self,
        body: &[u8],
        limit: u64,
        out: &mut Vec<u8>,
        grow: &mut impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(), DecompressError<E>> {
        let mut decoder = match self.decoder.take() {
            Some(reader) => reader,
            None => new_decoder().ok_or(DecompressError::Invalid("zstd", "out of memory"))?,
        };
        let result = decompress_frames(&mut decoder, body, limit, out, grow);
        if decoder.reset(ResetDirective::SessionOnly).is_ok() && decoder.sizeof() <= MAX_KEPT_STATE {
            self.decoder = Some(decoder);
        }
        result
    }

    /// Compresses the parts of a rope, in order, into one frame.
    pub(super) fn compress(&mut self, level: i32, parts: &[&[u8]]) -> Vec<u8> {
        let total = parts.iter().map(|p| p.len()).sum();
        let mut out = Vec::with_capacity(zstd_safe::compress_bound(total));
        let encoder = self.encoder.take().filter(|(l, _)| *l == level).map(|(_, writer)| writer);
        if let Some(mut encoder) = encoder.or_else(|| new_encoder(level))
            && compress_frame(&mut encoder, total, parts, &mut out).is_some()
        {
            if encoder.sizeof() <= MAX_KEPT_STATE {
                self.encoder = Some((level, encoder));
            }
            return out;
        }
        // libzstd only fails when there is no memory for its tables.
        stored_frame(total, parts)
    }
}

/// One frame that is written piece by piece.
pub struct ZstdStream {
    encoder: CCtx<'static>,
}

impl std::fmt::Debug for ZstdStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ZstdStream").finish_non_exhaustive()
    }
}

impl ZstdStream {
    /// Bytes of memory that one stream takes.
    pub const MEMORY: u64 = 600 << 10;

    /// Window and table, as powers of two: small, since a server may have many streams.
    const WINDOW_LOG: u32 = 16;
    const HASH_LOG: u32 = 14;

    /// A frame without content, of the fastest level. None if there is no memory for it.
    #[must_use]
    pub fn new() -> Option<Self> {
        let mut encoder = new_encoder(1)?;
        encoder.set_parameter(CParameter::WindowLog(Self::WINDOW_LOG)).ok()?;
        encoder.set_parameter(CParameter::HashLog(Self::HASH_LOG)).ok()?;
        Some(Self { encoder })
    }

    /// Compresses `part` and appends to `out` what is ready. The compressor may buffer the rest. False if it failed.
    pub fn push(&mut self, part: &[u8], out: &mut Vec<u8>) -> bool {
        compress_part(&mut self.encoder, part, false, out).is_some()
    }

    /// Appends the rest. False if it failed.
    pub fn finish(mut self, out: &mut Vec<u8>) -> bool {
        compress_part(&mut self.encoder, &[], true, out).is_some()
    }
}

fn new_decoder() -> Option<DCtx<'static>> {
    let mut decoder = DCtx::try_create()?;
    decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).ok()?;
    Some(decoder)
}

fn new_encoder(level: i32) -> Option<CCtx<'static>> {
    let mut encoder = CCtx::try_create()?;
    encoder.set_parameter(CParameter::CompressionLevel(level)).ok()?;
    Some(encoder)
}

fn decompress_frames<E>(
    decoder: &mut DCtx<'static>,
    body: &[u8],
    limit: u64,
    out: &mut Vec<u8>,
    grow: &mut impl FnMut(u64) -> Result<(), E>,
) -> Result<(), DecompressError<E>> {
    let mut input = InBuffer::around(body);
    let mut wanted = body.len().saturating_mul(4);
    // An empty body has no frames: Go's encoder writes that for empty content.
    let mut between_frames = true;
    while !between_frames || input.pos() < body.len() {
        if between_frames {
            let rest = body.get(input.pos()..).unwrap_or_default();
            if let Ok(Some(size)) = zstd_safe::get_frame_content_size(rest) {
                if size > limit.saturating_sub(out.len() as u64) {
                    return Err(DecompressError::TooLarge(limit));
                }
                let size =
                    usize::try_from(size).unwrap_or(usize::MAX).min(rest.len().saturating_mul(MAX_TRUSTED_RATIO));
                wanted = out.len().saturating_add(size);
                if wanted > out.capacity() {
                    reserve_up_to_limit(out, wanted, limit, grow)?;
                }
            }
        }
        let (read_before, written_before) = (input.pos(), out.len());
        if out.len() == out.capacity() && !reserve_up_to_limit(out, wanted, limit, grow)? {
            // The output has reached the limit: the frame may end here, but must not produce another byte.
            let mut probe = [0_u8];
            let mut buffer = OutBuffer::around(&mut probe);
            between_frames = decoder.decompress_stream(&mut buffer, &mut input).map_err(decode_error)? == 0;
            if buffer.pos() > 0 {
                return Err(DecompressError::TooLarge(limit));
            }
            if !between_frames && input.pos() == read_before {
                return Err(DecompressError::UnexpectedEof);
            }
            continue;
        }
        let mut buffer = OutBuffer::around_pos(out, written_before);
        between_frames = decoder.decompress_stream(&mut buffer, &mut input).map_err(decode_error)? == 0;
        if !between_frames && input.pos() == read_before && out.len() == written_before {
            return Err(DecompressError::UnexpectedEof);
        }
        wanted = out.len().saturating_mul(2);
    }
    Ok(())
}

fn decode_error<E>(code: usize) -> DecompressError<E> {
    let is_kind = |kind| zstd_safe::is_error_kind(code, kind);
    let what = if is_kind(ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge) {
        "window size exceeded"
    } else if is_kind(ZSTD_ErrorCode::ZSTD_error_prefix_unknown) {
        "invalid input: magic number mismatch"
    } else if is_kind(ZSTD_ErrorCode::ZSTD_error_checksum_wrong) {
        "CRC check failed"
    } else {
        zstd_safe::get_error_name(code)
    };
    DecompressError::Invalid("zstd", what)
}

fn compress_frame(encoder: &mut CCtx<'static>, total: usize, parts: &[&[u8]], out: &mut Vec<u8>) -> Option<()> {
    encoder.reset(ResetDirective::SessionOnly).ok()?;
    encoder.set_pledged_src_size(Some(total as u64)).ok()?;
    let last = parts.len().saturating_sub(1);
    for (i, part) in parts.iter().copied().chain(parts.is_empty().then_some(&[][..])).enumerate() {
        compress_part(encoder, part, i == last, out)?;
    }
    Some(())
}

/// Compresses a part of a frame, and ends the frame if it is the last one.
fn compress_part(encoder: &mut CCtx<'static>, part: &[u8], is_last: bool, out: &mut Vec<u8>) -> Option<()> {
    let mut input = InBuffer::around(part);
    let directive = if is_last { ZSTD_EndDirective::ZSTD_e_end } else { ZSTD_EndDirective::ZSTD_e_continue };
    loop {
        if out.len() == out.capacity() {
            out.reserve(4096);
        }
        let at = out.len();
        let left = encoder.compress_stream2(&mut OutBuffer::around_pos(out, at), &mut input, directive).ok()?;
        if if is_last { left == 0 } else { input.pos() == part.len() } {
            return Some(());
        }
    }
}

/// A frame of raw blocks.
fn stored_frame(total: usize, parts: &[&[u8]]) -> Vec<u8> {
    const BLOCK: usize = 128 << 10;
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1110_0000]; // a single segment, eight bytes of length
    out.extend_from_slice(&(total as u64).to_le_bytes());
    for block in parts.iter().flat_map(|part| part.chunks(BLOCK)) {
        out.extend_from_slice(&(block.len() as u32 * 8).to_le_bytes()[..3]);
        out.extend_from_slice(block);
    }
    out.extend_from_slice(&[1, 0, 0]); // an empty last block
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[test]
    fn stream_of_pieces_is_one_frame_within_its_memory() {
        let mut stream = ZstdStream::new().unwrap();
        let (mut whole, mut packed) = (Vec::new(), Vec::new());
        for i in 0..2000_u32 {
            let piece = format!("metric_{i}{{a=\"{}\"}} {i}\n", i.wrapping_mul(2_654_435_761)).repeat(20);
            assert!(stream.push(piece.as_bytes(), &mut packed));
            whole.extend_from_slice(piece.as_bytes());
        }
        assert!((stream.encoder.sizeof() as u64) < ZstdStream::MEMORY, "{}", stream.encoder.sizeof());
        assert!(stream.finish(&mut packed));
        assert!(packed.len() < whole.len() / 4);
        let mut out = Vec::new();
        Zstd::default().decompress(&packed, 1 << 24, &mut out, &mut |_| Ok::<_, Infallible>(())).unwrap();
        assert_eq!(out, whole);
    }

    #[test]
    fn stored_frame_is_decompressed() {
        let long = vec![7; 300_000];
        for parts in [&[][..], &[&b"ab"[..], b"", b"cde"], &[&long]] {
            let total = parts.iter().map(|p| p.len()).sum();
            let frame = stored_frame(total, parts);
            let mut out = Vec::new();
            Zstd::default().decompress(&frame, 1 << 20, &mut out, &mut |_| Ok::<_, Infallible>(())).unwrap();
            assert_eq!(out, parts.concat());
        }
    }
}
