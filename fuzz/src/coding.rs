//! Content codings. Checks: the limit holds for the result and for the memory that is requested; compressed data
//! decompresses to the original; a truncated body gives at most a prefix of it.

use bytes::Bytes;
use otelcore_http::coding::DecompressError;
use otelcore_http::{Coding, Workspace};
use twox_hash::XxHash32;

const LIMIT: u64 = 1 << 20;
const LZ4: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];

/// Decodes, and checks the invariants of decoding.
fn decode(workspace: &Workspace, coding: &Coding, body: &[u8], limit: u64) -> Result<Bytes, DecompressError<()>> {
    let mut granted = 0;
    let result = workspace.decompress(coding, Bytes::copy_from_slice(body), limit, |to| {
        assert!(to <= limit, "a request to grow to {to} bytes");
        granted = granted.max(to);
        Ok(())
    });
    if let Ok(content) = &result {
        let len = content.len() as u64;
        assert!(len <= limit, "{len} bytes");
        assert!(len <= granted, "{len} bytes where {granted} were granted");
    }
    result
}

/// Uses the input as a coded body, and as content to be compressed.
pub fn run(coding: &Coding, data: &[u8]) {
    let workspace = Workspace::new();
    let decoded = decode(&workspace, coding, data, LIMIT);
    if let Ok(content) = &decoded
        && !content.is_empty()
    {
        let len = content.len() as u64;
        assert_eq!(decode(&workspace, coding, data, len).as_ref(), Ok(content), "a limit that just suffices");
        assert!(decode(&workspace, coding, data, len - 1).is_err(), "a limit that is too small by one");
        let refused = workspace.decompress(coding, Bytes::copy_from_slice(data), LIMIT, |_| Err(()));
        assert_eq!(refused, Err(DecompressError::Refused(())), "no room at all");
    }

    if *coding == Coding::Lz4 {
        let _ = decode(&workspace, coding, &fix_lz4_checksums(data), LIMIT);
    }

    let level = i32::from(data.first().copied().unwrap_or(0) % 14) - 2;
    let parts = data.chunks(1 + data.len() / 3);
    let compressed = workspace.compress_with_level(coding, Some(level), parts);
    let decompressed = decode(&workspace, coding, &compressed, data.len() as u64);
    assert_eq!(decompressed.as_deref(), Ok(data), "there and back at level {level}");
    for length in [1, compressed.len() / 3, compressed.len() / 2, compressed.len().saturating_sub(1)] {
        if let Ok(part) = decode(&workspace, coding, &compressed[..length.min(compressed.len())], LIMIT) {
            assert!(data.starts_with(&part), "cut off after {length}");
        }
    }
    // The workspace keeps no state from earlier calls. Only libzstd may report another error when its buffers are
    // reused.
    let second = decode(&workspace, coding, data, LIMIT);
    if *coding == Coding::Zstd {
        assert_eq!(second.ok(), decoded.ok());
    } else {
        assert_eq!(second, decoded);
    }
}

/// An LZ4 frame whose descriptor and blocks have correct checksums, so that the code after those checks is reached. The
/// content checksum stays as it is: it comes last.
fn fix_lz4_checksums(frame: &[u8]) -> Vec<u8> {
    let mut fixed = frame.to_vec();
    let Some((&flags, true)) = frame.get(4).map(|flags| (flags, frame.starts_with(&LZ4))) else { return fixed };
    let mut at = 6 + if flags & 8 == 0 { 0 } else { 8 } + if flags & 1 == 0 { 0 } else { 4 };
    let Some(descriptor) = frame.get(4..at) else { return fixed };
    let sum = (XxHash32::oneshot(0, descriptor) >> 8) as u8;
    if let Some(byte) = fixed.get_mut(at) {
        *byte = sum;
    }
    at += 1;
    if flags & 16 == 0 {
        return fixed;
    }
    while let Some(len) = frame.get(at..).and_then(<[u8]>::first_chunk::<4>) {
        let start = at + 4;
        at = start + (u32::from_le_bytes(*len) & 0x7fff_ffff) as usize;
        let Some(sum) = frame.get(start..at).map(|block| XxHash32::oneshot(0, block)) else { break };
        match fixed.get_mut(at..at + 4) {
            Some(bytes) if at > start => bytes.copy_from_slice(&sum.to_le_bytes()),
            _ => break,
        }
        at += 4;
    }
    fixed
}
