//! Snappy, both formats: the block (a varint length and one run of elements) and the framed stream of chunks of at
//! most 64 KiB, each with a CRC-32C.
//!
//! Both declare the length of their content, so the limit is checked and memory reserved once, before decoding. Three
//! bytes of elements produce at most 64 bytes: a length that the block cannot produce is refused before memory is
//! reserved. A framed stream has no end mark: a stream that is cut between two chunks is valid.

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::{DecompressError, for_each_block, reserve_exactly};

const STREAM_IDENTIFIER: &[u8; 10] = b"\xff\x06\x00\x00sNaPpY";
/// Longest content of a chunk.
const MAX_CHUNK: usize = 64 << 10;

/// Whether a body is in the framed format.
pub(super) fn is_framed(body: &[u8]) -> bool {
    body.starts_with(STREAM_IDENTIFIER)
}

fn corrupt_input<E>() -> DecompressError<E> {
    DecompressError::Invalid("snappy", "corrupt input")
}

/// The length of a block's content, if the block can produce that many bytes.
fn decompressed_len(block: &[u8]) -> Option<usize> {
    let len = if block.is_empty() { None } else { decompress_len(block).ok() };
    len.filter(|len| len / 22 <= block.len())
}

pub(super) fn decompress_block<E>(
    body: &[u8],
    limit: u64,
    out: &mut Vec<u8>,
    grow: &mut impl FnMut(u64) -> Result<(), E>,
) -> Result<(), DecompressError<E>> {
    if decompress_len(body).is_ok_and(|len| len as u64 > limit) {
        return Err(DecompressError::BlockTooLarge(limit));
    }
    let len = decompressed_len(body).ok_or_else(corrupt_input)?;
    reserve_exactly(out, len as u64, grow)?;
    out.resize(len, 0);
    Decoder::new().decompress(body, out).map_err(|_| corrupt_input())?;
    Ok(())
}

/// A chunk with content.
struct Chunk<'a> {
    crc: u32,
    stored: bool,
    data: &'a [u8],
    /// Length of the content.
    len: usize,
}

pub(super) fn decompress_framed<E>(
    body: &[u8],
    limit: u64,
    out: &mut Vec<u8>,
    grow: &mut impl FnMut(u64) -> Result<(), E>,
) -> Result<(), DecompressError<E>> {
    let mut total = 0;
    for_each_chunk(body, |chunk| {
        total += chunk.len as u64;
        if total > limit { Err(DecompressError::TooLarge(limit)) } else { Ok(()) }
    })?;
    reserve_exactly(out, total, grow)?;
    for_each_chunk(body, |chunk| {
        let start = out.len();
        if chunk.stored {
            out.extend_from_slice(chunk.data);
        } else {
            out.resize(start + chunk.len, 0);
            let content = out.get_mut(start..).unwrap_or_default();
            Decoder::new().decompress(chunk.data, content).map_err(|_| corrupt_input())?;
        }
        if masked_crc(out.get(start..).unwrap_or_default()) == chunk.crc { Ok(()) } else { Err(corrupt_input()) }
    })
}

fn for_each_chunk<'a, E>(
    body: &'a [u8],
    mut each: impl FnMut(Chunk<'a>) -> Result<(), DecompressError<E>>,
) -> Result<(), DecompressError<E>> {
    let mut rest = body;
    let mut first = true;
    while !rest.is_empty() {
        let Some((&[chunk_type, a, b, c], after)) = rest.split_first_chunk() else {
            return Err(DecompressError::UnexpectedEof);
        };
        if first && chunk_type != 0xff {
            return Err(corrupt_input());
        }
        first = false;
        let len = usize::try_from(u32::from_le_bytes([a, b, c, 0])).unwrap_or(usize::MAX);
        let Some((chunk, after)) = after.split_at_checked(len) else { return Err(DecompressError::UnexpectedEof) };
        rest = after;
        match chunk_type {
            0 | 1 => {
                let (crc, data) = chunk.split_first_chunk().ok_or_else(corrupt_input)?;
                let stored = chunk_type == 1;
                let len = if stored { Some(data.len()) } else { decompressed_len(data) };
                let len = len.filter(|len| *len <= MAX_CHUNK).ok_or_else(corrupt_input)?;
                each(Chunk { crc: u32::from_le_bytes(*crc), stored, data, len })?;
            }
            0xff if STREAM_IDENTIFIER.ends_with(chunk) && chunk.len() == 6 => {}
            0xff => return Err(corrupt_input()),
            2..=0x7f => return Err(DecompressError::Invalid("snappy", "unsupported input")),
            _ => {} // the format allows to skip these
        }
    }
    Ok(())
}

fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Reusable tables, and a buffer for blocks that span several parts of a rope.
#[derive(Default)]
pub(super) struct Snappy {
    encoder: Option<Encoder>,
    joined: Vec<u8>,
}

impl Snappy {
    /// One block of all parts. Its length has 32 bits; callers have far less content than that.
    pub(super) fn compress_block(&mut self, parts: &[&[u8]]) -> Vec<u8> {
        let joined_input;
        let input = match parts {
            [one] => one,
            many => {
                joined_input = many.concat();
                &joined_input[..]
            }
        };
        let mut out = Vec::new();
        compress(self.encoder.get_or_insert_with(Encoder::new), input, &mut out);
        out
    }

    /// A framed stream.
    pub(super) fn compress_framed(&mut self, parts: &[&[u8]]) -> Vec<u8> {
        let total: usize = parts.iter().map(|p| p.len()).sum();
        let mut out = Vec::with_capacity(total / 4 + max_compress_len(MAX_CHUNK.min(total)) + 32);
        out.extend_from_slice(STREAM_IDENTIFIER);
        let encoder = self.encoder.get_or_insert_with(Encoder::new);
        for_each_block(parts, MAX_CHUNK, &mut self.joined, |block| {
            let header = out.len();
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(&masked_crc(block).to_le_bytes());
            let data_begin = out.len();
            compress(encoder, block, &mut out);
            // As in Go: a chunk that shrinks by less than an eighth is stored uncompressed.
            let stored = out.len() - data_begin >= block.len() - block.len() / 8;
            if stored {
                out.truncate(data_begin);
                out.extend_from_slice(block);
            }
            let [a, b, c, _] = ((out.len() - header - 4) as u32).to_le_bytes();
            if let Some(head) = out.get_mut(header..header + 4) {
                head.copy_from_slice(&[u8::from(stored), a, b, c]);
            }
        });
        out
    }
}

fn compress(encoder: &mut Encoder, input: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + max_compress_len(input.len()), 0);
    let written = encoder.compress(input, out.get_mut(start..).unwrap_or_default()).unwrap_or(0);
    out.truncate(start + written);
}
