//! Writes records: everything that waits is one write and one sync.
//!
//! Owns the group that is being written, which stays in memory until it is durable. After a failed write or sync the
//! segment is never written or synced again: the group is written to the next segment, once, or refused.

use std::path::PathBuf;

use otelcore_pipeline::{FileJob, FileSystem};

use super::{Log, PendingRecord, Phase, Segment};
use crate::event::{LogEvent, Trouble};
use crate::faults::{Fault, is_planted};
use crate::format::{FileHeader, FileKey, HEADER_BYTES, RecordHeader, SEGMENT_MAGIC};
use crate::slot::Slot;

/// How many records a group has at most, so that a turn of the loop is short however small they are.
const MAX_GROUP_RECORDS: usize = 4096;

pub(crate) type CommitResult = Result<(), Trouble>;

/// Records that are written together.
#[derive(Debug)]
pub(crate) struct Group {
    records: Vec<PendingRecord>,
    pub(super) segment: u64,
    /// Bytes of the records.
    length: u64,
}

/// A group on its way to the disk.
struct GroupWrite {
    path: PathBuf,
    key: FileKey,
    header: Option<FileHeader>,
    offset: u64,
    records: Vec<PendingRecord>,
    fsync: bool,
}

impl Log {
    /// The job that writes the next group, if records wait and there is a segment for them.
    pub(crate) fn group_job(&mut self) -> Option<FileJob> {
        if self.trouble.is_some() || !matches!(self.phase, Phase::Open | Phase::Closing) {
            return None;
        }
        let first = self.pending.front()?;
        let active = self.active.and_then(|number| self.segments.get(&number).map(|segment| (number, *segment)));
        let fits =
            |segment: &Segment| segment.used == 0 || segment.used.saturating_add(first.length()) <= segment.file_bytes;
        let (number, segment) = match active {
            Some((number, segment)) if fits(&segment) => (number, segment),
            _ => self.begin_segment(first.sequence)?,
        };
        let header = (segment.used == 0).then(|| FileHeader {
            log: self.identity,
            number,
            first: segment.first,
            previous_end: self.previous.1.end,
            previous_used: u32::try_from(self.previous.1.used).unwrap_or(u32::MAX),
            previous_items: u32::try_from(self.previous.1.items).unwrap_or(u32::MAX),
            previous_number: self.previous.0,
            previous_torn_from: self.previous.1.torn_from.filter(|_| !is_planted(Fault::ForgetTornGroup)).unwrap_or(0),
        });
        let offset = if header.is_some() { HEADER_BYTES as u64 } else { segment.used };
        let (records, length) = self.take_group(segment.file_bytes.saturating_sub(offset));
        let write = GroupWrite {
            path: self.segment_path(number),
            key: self.key(number),
            header,
            offset,
            records: records.clone(),
            fsync: self.config.fsync,
        };
        self.group = Some(Group { records, segment: number, length });
        let (job, slot) = Slot::new(move |files| write.run(files));
        self.write_slot = Some(slot);
        Some(job)
    }

    /// Makes the segment that was prepared the active one.
    fn begin_segment(&mut self, first: u64) -> Option<(u64, Segment)> {
        let (number, file_bytes) = self.prepared.take()?;
        self.seal_active();
        let segment = Segment { first, end: first, file_bytes, ..Segment::default() };
        self.set_segment(number, segment);
        self.active = Some(number);
        Some((number, segment))
    }

    /// Ends writing to the active segment.
    pub(crate) fn seal_active(&mut self) {
        if let Some(number) = self.active.take()
            && let Some(segment) = self.segments.get(&number)
        {
            if segment.used > 0 && !is_planted(Fault::ForgetPreviousSegment) {
                self.previous = (number, *segment);
            }
            self.maintenance.check.insert(number);
        }
    }

    /// Records from the front, as many as fit, at least one.
    fn take_group(&mut self, room: u64) -> (Vec<PendingRecord>, u64) {
        let room = room.min(self.config.max_group_bytes as u64);
        let (mut records, mut length) = (Vec::new(), 0_u64);
        while let Some(record) = self.pending.front() {
            let with_it = length.saturating_add(record.length());
            if !records.is_empty() && (with_it > room || records.len() >= MAX_GROUP_RECORDS) {
                break;
            }
            length = with_it;
            records.extend(self.pending.pop_front());
        }
        if is_planted(Fault::SwapRecords) && records.len() > 1 {
            records.swap(0, 1);
        }
        (records, length)
    }

    pub(crate) fn group_not_run(&mut self) {
        if let Some(group) = self.group.take() {
            self.put_back(group);
        }
    }

    fn put_back(&mut self, group: Group) {
        for record in group.records.into_iter().rev() {
            self.pending.push_front(record);
        }
    }

    pub(crate) fn group_ended(&mut self, result: CommitResult) {
        let Some(group) = self.group.take() else { return };
        match result {
            Ok(()) => self.group_is_durable(&group),
            Err(_) if is_planted(Fault::AcknowledgeFailedGroup) => self.group_is_durable(&group),
            Err(trouble) => self.group_has_failed(group, trouble),
        }
    }

    fn group_is_durable(&mut self, group: &Group) {
        self.failed_groups = 0;
        // The disk works: what has failed beside may be tried again.
        self.maintenance.is_retry_wanted |= self.marks.has_failed || self.maintenance.has_failures();
        self.marks.has_failed = false;
        self.pending_bytes = self.pending_bytes.saturating_sub(group.length);
        let end = group.records.last().map_or(self.durable, |record| record.sequence + 1);
        let first = group.records.first().map_or(end, |record| record.sequence);
        if let Some(mut segment) = self.segments.get(&group.segment).copied() {
            segment.used = segment.used.max(HEADER_BYTES as u64) + group.length;
            segment.file_bytes = segment.file_bytes.max(segment.used);
            segment.end = end;
            segment.items += group.records.iter().map(|record| u64::from(record.meta.items)).sum::<u64>();
            self.set_segment(group.segment, segment);
            // A refusal of later records has sealed it meanwhile.
            if self.active != Some(group.segment) && !is_planted(Fault::ForgetGroupOnItsWay) {
                self.previous = (group.segment, segment);
                self.maintenance.check.insert(group.segment);
            }
        }
        self.undelivered += end.saturating_sub(first).saturating_sub(self.delivered.count_in(&(first..end)));
        self.durable = end;
        self.stats.groups += 1;
        self.stats.written += group.records.len() as u64;
        self.report(LogEvent::Durable { up_to: end });
    }

    fn group_has_failed(&mut self, group: Group, trouble: Trouble) {
        // What the file has on disk is not known. Its durable part is read, the rest never.
        self.seal_active();
        self.failed_groups += 1;
        if is_planted(Fault::ForgetFailedGroup) {
            self.pending_bytes = self.pending_bytes.saturating_sub(group.length);
            return;
        }
        self.put_back(group);
        if self.failed_groups > 1 || !matches!(trouble, Trouble::Broken(_)) {
            self.set_trouble(trouble);
        }
    }

    /// The disk does not take records: refuses what waits.
    pub(crate) fn set_trouble(&mut self, trouble: Trouble) {
        self.refuse_waiting(&trouble);
        self.failed_groups = 0;
        // The next attempt begins with a segment that is written and synced.
        self.maintenance.useless.extend(self.prepared.take().map(|(number, _)| number));
        if self.trouble.is_none() {
            self.report(LogEvent::Trouble(trouble.clone()));
        }
        self.trouble = Some(trouble);
    }

    pub(crate) fn refuse_waiting(&mut self, trouble: &Trouble) {
        let (Some(first), Some(last)) = (self.pending.front(), self.pending.back()) else { return };
        let range = first.sequence..last.sequence + 1;
        for record in std::mem::take(&mut self.pending) {
            self.pending_bytes = self.pending_bytes.saturating_sub(record.length());
        }
        // Within a segment no sequence is left out: there, it means a damaged record. Elsewhere the mark says that
        // nothing is missing.
        self.seal_active();
        self.mark_delivered(range.clone());
        self.report(LogEvent::Refused { range, trouble: trouble.clone() });
    }
}

impl GroupWrite {
    fn run(&self, files: &mut dyn FileSystem) -> CommitResult {
        let mut offset = self.offset;
        let mut headers = Vec::with_capacity(self.records.len());
        for (index, record) in self.records.iter().enumerate() {
            let header = RecordHeader {
                sequence: record.sequence,
                items: record.meta.items,
                kind: record.meta.kind,
                index_in_group: u32::try_from(index).unwrap_or(u32::MAX),
                time: record.meta.time.0,
                ..RecordHeader::default()
            };
            headers.push(header.encode(&self.key, offset, &record.meta.context, &record.body));
            offset += record.length();
        }
        let file_header = self.header.map(|header| header.encode(SEGMENT_MAGIC));
        let mut parts: Vec<&[u8]> = file_header.iter().map(<[u8; HEADER_BYTES]>::as_slice).collect();
        for (record, header) in self.records.iter().zip(&headers) {
            let padding = record.length() as usize - header.len() - record.meta.context.len() - record.body.len();
            parts.extend([header.as_slice(), &record.meta.context, &record.body, [0; 7].get(..padding).unwrap_or(&[])]);
        }
        let begin = if file_header.is_some() { 0 } else { self.offset };
        files.write_at(&self.path, begin, &parts).map_err(|e| Trouble::of(&e))?;
        if !self.fsync || is_planted(Fault::AcknowledgeBeforeSync) {
            return Ok(());
        }
        match files.sync_file(&self.path) {
            Err(_) if is_planted(Fault::RetrySync) => files.sync_file(&self.path).map_err(|e| Trouble::of(&e)),
            synced => synced.map_err(|e| Trouble::of(&e)),
        }
    }
}
