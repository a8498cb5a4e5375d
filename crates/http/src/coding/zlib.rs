//! The zlib format (RFC 1950) around deflate, which HTTP calls `deflate`.
//!
//! The header is checked here, to report what is wrong with it; the Adler-32 at the end is checked by zlib-rs. Bytes
//! after the stream are ignored, as in Go's reader. Preset dictionaries are not supported.

use flate2::FlushCompress;

use super::DecompressError;
use super::gzip::{Deflater, Inflater, deflate, prepare};

impl Inflater {
    /// Inflates a zlib stream into `out`, as [`Inflater::gunzip`] does with gzip.
    pub(super) fn inflate_zlib<E>(
        &mut self,
        body: &[u8],
        limit: u64,
        out: &mut Vec<u8>,
        grow: &mut impl FnMut(u64) -> Result<(), E>,
    ) -> Result<(), DecompressError<E>> {
        let Some(&[method, flags]) = body.first_chunk() else { return Err(DecompressError::UnexpectedEof) };
        let check = u16::from_be_bytes([method, flags]);
        if method & 0x0f != 8 || method >> 4 > 7 || !check.is_multiple_of(31) {
            return Err(DecompressError::Invalid("zlib", "invalid header"));
        }
        if flags & 0x20 != 0 {
            return Err(DecompressError::Invalid("zlib", "invalid dictionary"));
        }
        self.inflate_stream(true, body.len(), body, body.len().saturating_mul(4), limit, out, grow)?;
        Ok(())
    }
}

impl Deflater {
    /// Compresses the parts of a rope, in order, into a zlib stream. `level` is 0 to 9.
    pub(super) fn zlib(&mut self, parts: &[&[u8]], level: u32) -> Vec<u8> {
        let raw = prepare(&mut self.zlib_state, level, true);
        let mut out = Vec::with_capacity(4096);
        for part in parts {
            deflate(raw, part, &mut out, FlushCompress::None);
        }
        deflate(raw, &[], &mut out, FlushCompress::Finish);
        out
    }
}
