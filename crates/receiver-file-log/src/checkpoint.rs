//! The positions in files as bytes.
//!
//! Versioned. Bytes that are not understood are no positions: reading then begins where the configuration says.

use crate::file_state::{FileState, Position};

/// The key under which positions are stored.
pub(crate) const KEY: &str = "files";

const VERSION: u8 = 1;

/// Appends what is known of a file. `generation` says in which poll it was closed.
fn put(out: &mut Vec<u8>, generation: u32, state: &mut FileState) {
    let at = state.delivered();
    let length = u32::try_from(state.fingerprint.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&generation.to_le_bytes());
    for number in [at.offset, at.skip, at.record_number] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.push(u8::from(at.skips_rest) | (u8::from(state.is_gzip) << 1));
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&state.fingerprint);
}

/// All files, each with its generation.
pub(crate) fn encode<'s>(states: impl Iterator<Item = (u32, &'s mut FileState)>) -> Vec<u8> {
    let mut out = vec![VERSION];
    for (generation, state) in states {
        put(&mut out, generation, state);
    }
    out
}

/// The files in some bytes. `None` where they are of another version or incomplete.
pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<(u32, FileState)>> {
    let (version, mut rest) = bytes.split_first()?;
    if *version != VERSION {
        return None;
    }
    let mut states = Vec::new();
    while !rest.is_empty() {
        let (generation, after) = rest.split_first_chunk::<4>()?;
        let (offset, after) = after.split_first_chunk::<8>()?;
        let (skip, after) = after.split_first_chunk::<8>()?;
        let (record_number, after) = after.split_first_chunk::<8>()?;
        let (flags, after) = after.split_first()?;
        let (length, after) = after.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (fingerprint, after) = after.split_at_checked(length)?;
        rest = after;
        let at = Position {
            offset: u64::from_le_bytes(*offset),
            skip: u64::from_le_bytes(*skip),
            record_number: u64::from_le_bytes(*record_number),
            skips_rest: flags & 1 != 0,
        };
        let mut state = FileState::new(fingerprint.to_vec());
        state.move_to(at);
        state.is_gzip = flags & 2 != 0;
        states.push((u32::from_le_bytes(*generation), state));
    }
    Some(states)
}
