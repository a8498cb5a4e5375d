//! A file of a simulated disk: its content, and what of it survives a crash.

use std::collections::BTreeSet;
use std::ops::Range;

use otelcore_pipeline::WallTime;

use crate::sim::random::RandomSource;

/// A disk writes or loses these many bytes at once.
const SECTOR_BYTES: usize = 512;

#[derive(Debug, Default)]
pub(super) struct File {
    /// What processes see.
    pub(super) content: Vec<u8>,
    /// What survives a crash.
    pub(super) durable: Vec<u8>,
    /// Sectors of `content` that were written since the last sync, by number.
    pub(super) unsynced: BTreeSet<usize>,
    pub(super) mode: u32,
    pub(super) modified: WallTime,
}

impl File {
    /// Writes into what processes see, and marks the sectors.
    pub(super) fn write(&mut self, offset: usize, data: &[u8]) {
        let end = offset.saturating_add(data.len());
        let before = self.content.len();
        if before < end {
            self.content.resize(end, 0);
        }
        if let Some(place) = self.content.get_mut(offset..end) {
            place.copy_from_slice(data);
        }
        self.mark(before.min(offset)..end);
    }

    /// Overwrites existing bytes from a sector on, durably. `choice` says which sector.
    pub(super) fn overwrite(&mut self, choice: u64, data: &[u8]) {
        let sectors = self.content.len().div_ceil(SECTOR_BYTES).max(1) as u64;
        let start = usize::try_from(choice % sectors).unwrap_or(0) * SECTOR_BYTES;
        for image in [&mut self.content, &mut self.durable] {
            let end = start.saturating_add(data.len()).min(image.len());
            if let (Some(place), Some(data)) = (image.get_mut(start..end), data.get(..end.saturating_sub(start))) {
                place.copy_from_slice(data);
            }
        }
    }

    pub(super) fn set_len(&mut self, length: usize) {
        let before = self.content.len();
        self.content.resize(length, 0);
        self.mark(before.min(length)..before.max(length));
    }

    fn mark(&mut self, bytes: Range<usize>) {
        if !bytes.is_empty() {
            self.unsynced.extend(bytes.start / SECTOR_BYTES..bytes.end.div_ceil(SECTOR_BYTES));
        }
    }

    pub(super) fn sync(&mut self) {
        self.durable.resize(self.content.len(), 0);
        for sector in std::mem::take(&mut self.unsynced) {
            let bytes = sector_bytes(sector, self.content.len());
            if let (Some(to), Some(from)) = (self.durable.get_mut(bytes.clone()), self.content.get(bytes)) {
                to.copy_from_slice(from);
            }
        }
    }

    /// Everything that was not synced is kept, or lost, or each sector is lost, kept or written in part, with a length
    /// between the old one and the new one.
    pub(super) fn crash(&mut self, random: &mut RandomSource) {
        match random.below(4) {
            0 => self.sync(),
            1 => self.unsynced.clear(),
            _ => self.tear(random),
        }
        self.content.clone_from(&self.durable);
    }

    fn tear(&mut self, random: &mut RandomSource) {
        let (old, new) = (self.durable.len(), self.content.len());
        let length = match random.below(3) {
            0 => old,
            1 => new,
            _ => old.min(new) + random.below(old.abs_diff(new) + 1),
        };
        self.durable.resize(length, 0);
        for sector in std::mem::take(&mut self.unsynced) {
            let bytes = sector_bytes(sector, length.min(new));
            let kept = match random.below(3) {
                0 => 0,
                1 => bytes.len(),
                _ => random.below(bytes.len()),
            };
            let bytes = bytes.start..bytes.start + kept;
            if let (Some(to), Some(from)) = (self.durable.get_mut(bytes.clone()), self.content.get(bytes)) {
                to.copy_from_slice(from);
            }
        }
    }
}

/// The bytes of a sector in a file of this length.
fn sector_bytes(sector: usize, length: usize) -> Range<usize> {
    let start = sector.saturating_mul(SECTOR_BYTES).min(length);
    start..start.saturating_add(SECTOR_BYTES).min(length)
}
