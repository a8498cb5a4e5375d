//! LZ4's frame format around the blocks of `lz4_flex`.
//!
//! The frames are read here, because a reader that trusts their headers reserves memory for the longest allowed block
//! and accepts a cut between two blocks as the end. A first pass over the lengths of the sequences gives the length of
//! the content: the limit is checked and memory reserved once, before anything is decoded. Checksums and the content
//! size are checked; a body may have several frames, and skippable frames are skipped. Dictionaries and legacy frames
//! are refused.

use std::hash::Hasher;

use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, decompress_into_with_dict, get_maximum_output_size,
};
use twox_hash::XxHash32;

use super::{DecompressError, for_each_block, reserve_exactly};

const MAGIC: u32 = 0x184d_2204;
/// How far back a sequence can refer.
const WINDOW: usize = 64 << 10;
/// Set in a block's length when the block is stored uncompressed.
const STORED: u32 = 1 << 31;

fn decode_error<E>(what: &'static str) -> DecompressError<E> {
    DecompressError::Invalid("lz4", what)
}

const BUFFER_TOO_SHORT: &str = "invalid source or destination buffer too short";
const BAD_DESCRIPTOR: &str = "invalid or unsupported frame descriptor";

/// The parts of a frame.
enum FramePart<'a> {
    Begin,
    Block {
        data: &'a [u8],
        stored: bool,
        /// May refer to blocks before it.
        linked: bool,
        /// Length of the content.
        len: usize,
        checksum: Option<u32>,
    },
    End {
        size: Option<u64>,
        checksum: Option<u32>,
    },
}

pub(super) fn decompress<E>(
    body: &[u8],
    limit: u64,
    out: &mut Vec<u8>,
    grow: &mut impl FnMut(u64) -> Result<(), E>,
) -> Result<(), DecompressError<E>> {
    let mut total = 0;
    for_each_part(body, |part| {
        if let FramePart::Block { len, .. } = part {
            total += len as u64;
        }
        if total > limit { Err(DecompressError::TooLarge(limit)) } else { Ok(()) }
    })?;
    reserve_exactly(out, total, grow)?;
    let mut begin = 0;
    for_each_part(body, |part| {
        let at = out.len();
        match part {
            FramePart::Begin => begin = at,
            FramePart::Block { data, checksum, .. }
                if checksum.is_some_and(|sum| sum != XxHash32::oneshot(0, data)) =>
            {
                return Err(decode_error("invalid block checksum"));
            }
            FramePart::Block { data, stored: true, .. } => out.extend_from_slice(data),
            FramePart::Block { data, linked, len, .. } => {
                out.resize(at + len, 0);
                let (before, output) = out.split_at_mut(at);
                let before = before.get(begin.max(at.saturating_sub(WINDOW))..).unwrap_or_default();
                let written = if linked {
                    decompress_into_with_dict(data, output, before)
                } else {
                    decompress_into(data, output)
                };
                if !written.is_ok_and(|made| made == len) {
                    return Err(decode_error(BUFFER_TOO_SHORT));
                }
            }
            FramePart::End { size, checksum } => {
                let frame = out.get(begin..).unwrap_or_default();
                if size.is_some_and(|size| size != frame.len() as u64) {
                    return Err(decode_error("content size mismatch"));
                }
                if checksum.is_some_and(|sum| sum != XxHash32::oneshot(0, frame)) {
                    return Err(decode_error("invalid frame checksum"));
                }
            }
        }
        Ok(())
    })
}

/// Input that is taken from the front; each method returns `UnexpectedEof` when there is not enough.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take<E>(&mut self, n: usize) -> Result<&'a [u8], DecompressError<E>> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(DecompressError::UnexpectedEof)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize, E>(&mut self) -> Result<[u8; N], DecompressError<E>> {
        let (head, tail) = self.0.split_first_chunk().ok_or(DecompressError::UnexpectedEof)?;
        self.0 = tail;
        Ok(*head)
    }

    fn u32<E>(&mut self) -> Result<u32, DecompressError<E>> {
        self.array().map(u32::from_le_bytes)
    }
}

fn for_each_part<'a, E>(
    body: &'a [u8],
    mut each: impl FnMut(FramePart<'a>) -> Result<(), DecompressError<E>>,
) -> Result<(), DecompressError<E>> {
    let mut input = Input(body);
    while !input.0.is_empty() {
        match input.u32()? {
            MAGIC => for_each_part_of_frame(&mut input, &mut each)?,
            0x184d_2a50..=0x184d_2a5f => {
                let len = input.u32()?;
                input.take(usize::try_from(len).unwrap_or(usize::MAX))?;
            }
            _ => return Err(decode_error("bad magic number")),
        }
    }
    Ok(())
}

fn for_each_part_of_frame<'a, E>(
    input: &mut Input<'a>,
    each: &mut impl FnMut(FramePart<'a>) -> Result<(), DecompressError<E>>,
) -> Result<(), DecompressError<E>> {
    let frame = input.0;
    let [flags, sizes] = input.array()?;
    // Version 1, no reserved bits, no dictionary.
    if flags & 0b1100_0011 != 0b0100_0000 || sizes & 0b1000_1111 != 0 {
        return Err(decode_error(BAD_DESCRIPTOR));
    }
    let max: u32 = match sizes >> 4 {
        4 => 64 << 10,
        5 => 256 << 10,
        6 => 1 << 20,
        7 => 4 << 20,
        _ => return Err(decode_error(BAD_DESCRIPTOR)),
    };
    let size = if flags & 8 != 0 { Some(u64::from_le_bytes(input.array()?)) } else { None };
    let described = frame.get(..frame.len() - input.0.len()).unwrap_or_default();
    let [check] = input.array()?;
    if XxHash32::oneshot(0, described).to_le_bytes()[1] != check {
        return Err(decode_error("invalid header checksum"));
    }
    each(FramePart::Begin)?;
    let linked = flags & 0x20 == 0;
    loop {
        let head = input.u32()?;
        if head == 0 {
            break;
        }
        let (stored, compressed_len) = (head & STORED != 0, head & !STORED);
        if compressed_len > max {
            return Err(decode_error(BUFFER_TOO_SHORT));
        }
        let data = input.take(usize::try_from(compressed_len).unwrap_or(usize::MAX))?;
        let checksum = if flags & 0x10 != 0 { Some(input.u32()?) } else { None };
        let len = if stored { Some(data.len()) } else { decompressed_len(data) };
        let len = len.filter(|len| *len as u64 <= u64::from(max)).ok_or_else(|| decode_error(BUFFER_TOO_SHORT))?;
        each(FramePart::Block { data, stored, linked, len, checksum })?;
    }
    let checksum = if flags & 4 != 0 { Some(input.u32()?) } else { None };
    each(FramePart::End { size, checksum })
}

/// The length of a block's content: the sum of the lengths of its sequences, without decoding them.
fn decompressed_len(block: &[u8]) -> Option<usize> {
    let mut rest = block;
    let mut total = 0_usize;
    loop {
        let (token, after) = rest.split_first()?;
        rest = after;
        let literals = read_length(usize::from(token >> 4), &mut rest)?;
        (_, rest) = rest.split_at_checked(literals)?;
        total += literals;
        // The last sequence has literals only.
        if rest.is_empty() {
            return Some(total);
        }
        (_, rest) = rest.split_at_checked(2)?;
        total += read_length(usize::from(token & 15), &mut rest)? + 4;
    }
}

/// Reads a length: a value of 15 continues in further bytes, up to one that is not 255.
fn read_length(first: usize, rest: &mut &[u8]) -> Option<usize> {
    let mut n = first;
    let mut more = first == 15;
    while more {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        n += usize::from(*byte);
        more = *byte == 255;
    }
    Some(n)
}

/// A reusable table, and a buffer for blocks that span several parts of a rope.
#[derive(Default)]
pub(super) struct Lz4 {
    table: Option<CompressTable>,
    joined: Vec<u8>,
}

impl Lz4 {
    /// One frame of independent blocks with a content checksum, as Go's writer makes by default.
    pub(super) fn compress(&mut self, parts: &[&[u8]]) -> Vec<u8> {
        let total: usize = parts.iter().map(|p| p.len()).sum();
        let (code, size) = if total <= 64 << 10 { (4 << 4, 64 << 10) } else { (5 << 4, 256 << 10) };
        let mut out = Vec::with_capacity(total / 4 + get_maximum_output_size(size.min(total)) + 32);
        out.extend_from_slice(&MAGIC.to_le_bytes());
        let descriptor = [0b0110_0100, code];
        out.extend_from_slice(&descriptor);
        out.push(XxHash32::oneshot(0, &descriptor).to_le_bytes()[1]);
        let table = self.table.get_or_insert_with(CompressTable::large);
        let mut checksum = XxHash32::with_seed(0);
        for_each_block(parts, size, &mut self.joined, |block| {
            checksum.write(block);
            let header = out.len();
            let data = header + 4;
            out.resize(data + get_maximum_output_size(block.len()), 0);
            let written = compress_into_with_table(block, out.get_mut(data..).unwrap_or_default(), table);
            let written = written.ok().filter(|made| *made < block.len());
            out.truncate(data + written.unwrap_or(0));
            if written.is_none() {
                out.extend_from_slice(block);
            }
            let flag = if written.is_none() { STORED } else { 0 };
            let len = (out.len() - data) as u32 | flag;
            if let Some(head) = out.get_mut(header..data) {
                head.copy_from_slice(&len.to_le_bytes());
            }
        });
        out.extend_from_slice(&0_u32.to_le_bytes());
        out.extend_from_slice(&checksum.finish_32().to_le_bytes());
        out
    }
}
