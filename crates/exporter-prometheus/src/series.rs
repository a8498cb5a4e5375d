//! One series: its identity and its last point. Its labels are made of its values when a page needs them.

use otelcore_exposition::MetricType;
use otelcore_pipeline::MonotonicTime;
use otelcore_prometheus_translation::OtlpMetricKind;

use crate::dropped_points::DropReason;
use crate::partitioned::CompactId;
use crate::series_state::SeriesState;

/// The help of `target_info`.
pub(crate) const TARGET_HELP: &[u8] = b"Target metadata";

/// One series.
pub(crate) struct Series {
    /// Increases with each new series, for the order of arrival.
    pub(crate) seq: u64,
    pub(crate) key_set: CompactId,
    pub(crate) metric_kind: OtlpMetricKind,
    pub(crate) resource: CompactId,
    /// The family it is attached to; none if it has no name or an invalid label.
    pub(crate) family: CompactId,
    /// The reason in the series itself why it is not shown; its family may have another reason.
    pub(crate) drop_reason: Option<DropReason>,
    /// An older series of its family has the same labels. Known when it is sorted.
    pub(crate) is_duplicate: bool,
    /// Its position among the series of its family that are not sorted; none if it is sorted.
    pub(crate) unsorted_at: CompactId,
    pub(crate) arrived_at: MonotonicTime,
    /// The values of its attributes, in the order of the keys.
    pub(crate) values: Box<[u8]>,
    /// The series whose point came after the point of this series the last time.
    pub(crate) expected_next: CompactId,
    pub(crate) state: SeriesState,
}

impl Series {
    /// Bytes charged for the series without its reading: the struct, its entries in the index and in its family, and
    /// its values.
    pub(crate) fn charged_bytes(&self) -> u64 {
        (size_of::<Self>() + PLACE_BYTES + 2 * size_of::<usize>()) as u64 + allocated(self.values.len())
    }

    pub(crate) fn prometheus_type(&self) -> MetricType {
        self.metric_kind.prometheus_type()
    }
}

/// Bytes of its place among the series of its family, which are numbers in chunks.
const PLACE_BYTES: usize = 8;

/// Bytes that an allocation costs in addition to its content.
const ALLOCATION_OVERHEAD: u64 = 16;

/// Bytes that a separate allocation of `len` bytes takes.
pub(crate) fn allocated(len: usize) -> u64 {
    if len == 0 { 0 } else { len as u64 + ALLOCATION_OVERHEAD }
}
