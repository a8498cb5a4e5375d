//! Zstandard (RFC 8878) by libzstd, decoded directly into the final buffer.
//!
//! A frame with a content length that is plausible is decoded without a separate window. Other frames need one: a frame
//! that requires more than 32 MiB is refused. That is what Go's best level requires, and four times what RFC 9659
//! allows HTTP peers to use. No more memory of a window is used than the limit allows to be decoded. A body may have
//! several frames; skippable frames are skipped; dictionaries are not supported.

use zstd_safe::zstd_sys::{ZSTD_EndDirective, ZSTD_ErrorCode};
use zstd_safe::{CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

use super::{InflateError, make_room};

/// Longest window, as a power of two.
const WINDOW_LOG: u32 = 25;
/// States larger than this are not kept.
const KEEP: usize = 16 << 20;
/// A content length of more than this many times the size of its frame is not trusted for the allocation.
const BELIEVED: usize = 64;

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
    reader: Option<DCtx<'static>>,
    writer: Option<(i32, CCtx<'static>)>,
}

impl Zstd {
    pub(super) fn decompress<E>(
        &mut self,
        body: &[u8],
        limit: u64,
        out: &mut Vec<u8>,
        grow: &mut impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(), InflateError<E>> {
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => new_reader().ok_or(InflateError::Broken("zstd", "out of memory"))?,
        };
        let result = frames(&mut reader, body, limit, out, grow);
        if reader.reset(ResetDirective::SessionOnly).is_ok() && reader.sizeof() <= KEEP {
            self.reader = Some(reader);
        }
        result
    }

    /// Compresses the parts of a rope, in order, into one frame.
    pub(super) fn compress(&mut self, level: i32, parts: &[&[u8]]) -> Vec<u8> {
        let total = parts.iter().map(|p| p.len()).sum();
        let mut out = Vec::with_capacity(zstd_safe::compress_bound(total));
        let writer = self.writer.take().filter(|(l, _)| *l == level).map(|(_, writer)| writer);
        if let Some(mut writer) = writer.or_else(|| new_writer(level))
            && frame(&mut writer, total, parts, &mut out).is_some()
        {
            if writer.sizeof() <= KEEP {
                self.writer = Some((level, writer));
            }
            return out;
        }
        // libzstd only fails when there is no memory for its tables.
        stored(total, parts)
    }
}

fn new_reader() -> Option<DCtx<'static>> {
    let mut reader = DCtx::try_create()?;
    reader.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).ok()?;
    Some(reader)
}

fn new_writer(level: i32) -> Option<CCtx<'static>> {
    let mut writer = CCtx::try_create()?;
    writer.set_parameter(CParameter::CompressionLevel(level)).ok()?;
    Some(writer)
}

fn frames<E>(
    reader: &mut DCtx<'static>,
    body: &[u8],
    limit: u64,
    out: &mut Vec<u8>,
    grow: &mut impl FnMut(u64) -> Result<(), E>,
) -> Result<(), InflateError<E>> {
    let mut input = InBuffer::around(body);
    let mut want = body.len().saturating_mul(4);
    // An empty body has no frames: Go's encoder writes that for empty content.
    let mut between = true;
    while !between || input.pos() < body.len() {
        if between {
            let rest = body.get(input.pos()..).unwrap_or_default();
            if let Ok(Some(size)) = zstd_safe::get_frame_content_size(rest) {
                if size > limit.saturating_sub(out.len() as u64) {
                    return Err(InflateError::TooLarge(limit));
                }
                let size = usize::try_from(size).unwrap_or(usize::MAX).min(rest.len().saturating_mul(BELIEVED));
                want = out.len().saturating_add(size);
                if want > out.capacity() {
                    make_room(out, want, limit, grow)?;
                }
            }
        }
        let (read, made) = (input.pos(), out.len());
        if out.len() == out.capacity() && !make_room(out, want, limit, grow)? {
            // The output has reached the limit: the frame may end here, but must not produce another byte.
            let mut probe = [0_u8];
            let mut buffer = OutBuffer::around(&mut probe);
            between = reader.decompress_stream(&mut buffer, &mut input).map_err(broken)? == 0;
            if buffer.pos() > 0 {
                return Err(InflateError::TooLarge(limit));
            }
            if !between && input.pos() == read {
                return Err(InflateError::UnexpectedEof);
            }
            continue;
        }
        let mut buffer = OutBuffer::around_pos(out, made);
        between = reader.decompress_stream(&mut buffer, &mut input).map_err(broken)? == 0;
        if !between && input.pos() == read && out.len() == made {
            return Err(InflateError::UnexpectedEof);
        }
        want = out.len().saturating_mul(2);
    }
    Ok(())
}

fn broken<E>(code: usize) -> InflateError<E> {
    let is = |kind| zstd_safe::is_error_kind(code, kind);
    let what = if is(ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge) {
        "window size exceeded"
    } else if is(ZSTD_ErrorCode::ZSTD_error_prefix_unknown) {
        "invalid input: magic number mismatch"
    } else if is(ZSTD_ErrorCode::ZSTD_error_checksum_wrong) {
        "CRC check failed"
    } else {
        zstd_safe::get_error_name(code)
    };
    InflateError::Broken("zstd", what)
}

fn frame(writer: &mut CCtx<'static>, total: usize, parts: &[&[u8]], out: &mut Vec<u8>) -> Option<()> {
    writer.reset(ResetDirective::SessionOnly).ok()?;
    writer.set_pledged_src_size(Some(total as u64)).ok()?;
    let last = parts.len().saturating_sub(1);
    for (i, part) in parts.iter().copied().chain(parts.is_empty().then_some(&[][..])).enumerate() {
        let mut input = InBuffer::around(part);
        let end = i == last;
        let then = if end { ZSTD_EndDirective::ZSTD_e_end } else { ZSTD_EndDirective::ZSTD_e_continue };
        loop {
            if out.len() == out.capacity() {
                out.reserve(4096);
            }
            let at = out.len();
            let left = writer.compress_stream2(&mut OutBuffer::around_pos(out, at), &mut input, then).ok()?;
            if if end { left == 0 } else { input.pos() == part.len() } {
                break;
            }
        }
    }
    Some(())
}

/// A frame of raw blocks.
fn stored(total: usize, parts: &[&[u8]]) -> Vec<u8> {
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
    fn a_stored_frame_is_a_frame() {
        let long = vec![7; 300_000];
        for parts in [&[][..], &[&b"ab"[..], b"", b"cde"], &[&long]] {
            let total = parts.iter().map(|p| p.len()).sum();
            let frame = stored(total, parts);
            let mut out = Vec::new();
            Zstd::default().decompress(&frame, 1 << 20, &mut out, &mut |_| Ok::<_, Infallible>(())).unwrap();
            assert_eq!(out, parts.concat());
        }
    }
}
