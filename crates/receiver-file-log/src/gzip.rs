//! Decompresses a file as it is read.

use std::io::Write;

use flate2::write::MultiGzDecoder;

/// The first bytes of a compressed file.
pub(crate) const MAGIC: &[u8] = b"\x1f\x8b";

/// A file that is being decompressed from a place on.
pub(crate) struct GzipStream {
    decoder: MultiGzDecoder<Vec<u8>>,
    /// Where compressed bytes are read next.
    pub(crate) next: u64,
    /// Bytes that must still be left out.
    skip: u64,
    /// The compressed bytes have ended, or are damaged.
    pub(crate) has_ended: bool,
}

impl std::fmt::Debug for GzipStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GzipStream").field("next", &self.next).finish_non_exhaustive()
    }
}

impl GzipStream {
    pub(crate) fn new(start: u64, skip: u64) -> Self {
        Self { decoder: MultiGzDecoder::new(Vec::new()), next: start, skip, has_ended: false }
    }

    /// Decompresses bytes that follow, and appends the result to `out`.
    ///
    /// # Errors
    /// They are no gzip; what came before the mistake is in `out`.
    pub(crate) fn push(&mut self, compressed: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        self.next += compressed.len() as u64;
        let written = self.decoder.write_all(compressed).and_then(|()| self.decoder.flush());
        let mut fresh = std::mem::take(self.decoder.get_mut());
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(fresh.len());
        self.skip -= skipped as u64;
        out.extend(fresh.drain(skipped..));
        written.map_err(|e| {
            self.has_ended = true;
            format!("gzip: {e}")
        })
    }
}

/// The first bytes of a compressed file after decompression, from its first compressed bytes.
pub(crate) fn begin(compressed: &[u8], length: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut stream = GzipStream::new(0, 0);
    for chunk in compressed.chunks(512) {
        if stream.push(chunk, &mut out).is_err() || out.len() >= length {
            break;
        }
    }
    out.truncate(length);
    out
}
