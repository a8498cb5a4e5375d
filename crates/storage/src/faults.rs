//! Faults that tests plant in the log's own code, to prove that they are found.
//!
//! Owns the list. Without `cfg(test)` no fault can be planted, and the checks cost nothing.

/// A mistake that somebody could make in this crate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// A new segment's entry in the directory is not made durable.
    SkipDirectorySync,
    /// Records are acknowledged when they are written.
    AcknowledgeBeforeSync,
    /// The checksum is one of the content only.
    ChecksumWithoutPosition,
    /// After a failed sync the same file is synced again.
    RetrySync,
    /// A segment is removed though one of its records is not delivered.
    RemoveTooEarly,
    /// A segment is removed before the marks are durable.
    RemoveBeforeMarksAreDurable,
    /// Reading a segment ends at the first bad record.
    StopAtFirstBadRecord,
    /// After a restart, writing goes on in the last segment's number.
    ReuseSegmentNumber,
    /// A record is returned though its content has another checksum.
    IgnorePayloadChecksum,
    /// A mark is believed though it has another checksum.
    IgnoreMarkChecksum,
    /// Records of a failed write are neither written again nor refused.
    ForgetFailedGroup,
    /// A group that failed is acknowledged.
    AcknowledgeFailedGroup,
    /// Marks are rewritten in place.
    RewriteMarksInPlace,
    /// Marks that a start has loaded are taken for durable.
    TrustLoadedMarks,
    /// A start does not make the directory durable that it has found.
    SkipStartDirectorySync,
    /// Sequences without a record are not marked.
    ForgetGaps,
    /// What a crash has left is forgotten with the next segment.
    ForgetTornGroup,
    /// A segment that is left while a group is on its way to it does not get the group.
    ForgetGroupOnItsWay,
    /// What can't be read is taken for lost.
    GiveUpUnreadable,
    /// A header with a bad checksum is taken for one of another version.
    TrustTornHeader,
    /// A new segment does not say what is durable in the one before.
    ForgetPreviousSegment,
    /// Marks are not loaded at a start.
    ForgetMarks,
    /// Bad bytes are skipped without a copy.
    SkipQuarantine,
    /// The configured size is not kept.
    IgnoreMaxBytes,
    /// The interval of a mark is one too long.
    MarkOneTooMany,
    /// A lock that another process holds is ignored.
    IgnoreLock,
    /// The order of two records in a group is swapped.
    SwapRecords,
}

#[cfg(test)]
impl Fault {
    /// All of them.
    pub(crate) const ALL: [Self; 27] = [
        Self::SkipDirectorySync,
        Self::AcknowledgeBeforeSync,
        Self::ChecksumWithoutPosition,
        Self::RetrySync,
        Self::RemoveTooEarly,
        Self::RemoveBeforeMarksAreDurable,
        Self::StopAtFirstBadRecord,
        Self::ReuseSegmentNumber,
        Self::IgnorePayloadChecksum,
        Self::IgnoreMarkChecksum,
        Self::ForgetFailedGroup,
        Self::AcknowledgeFailedGroup,
        Self::RewriteMarksInPlace,
        Self::TrustLoadedMarks,
        Self::SkipStartDirectorySync,
        Self::ForgetGaps,
        Self::ForgetTornGroup,
        Self::ForgetGroupOnItsWay,
        Self::GiveUpUnreadable,
        Self::TrustTornHeader,
        Self::ForgetPreviousSegment,
        Self::ForgetMarks,
        Self::SkipQuarantine,
        Self::IgnoreMaxBytes,
        Self::MarkOneTooMany,
        Self::IgnoreLock,
        Self::SwapRecords,
    ];
}

#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn is_planted(_: Fault) -> bool {
    false
}

#[cfg(test)]
pub(crate) use planted::{is_planted, plant};

#[cfg(test)]
mod planted {
    use super::Fault;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    pub(crate) fn is_planted(fault: Fault) -> bool {
        PLANTED.get() == Some(fault)
    }

    /// Plants a fault in the code that this thread runs, until another call.
    pub(crate) fn plant(fault: Option<Fault>) {
        PLANTED.set(fault);
    }
}
