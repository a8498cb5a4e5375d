//! One series: its identity, its labels and its last point.

use otelcore_exposition::MetricType;
use otelcore_pipeline::MonotonicTime;
use otelcore_prometheus_translation::OtlpMetricKind;

use crate::dropped_points::DropReason;
use crate::label_sets::{LABEL_SET_KEY_BYTES, LabelSetKey};
use crate::series_state::SeriesState;

/// The help of `target_info`.
pub(crate) const TARGET_HELP: &[u8] = b"Target metadata";

/// One series.
pub(crate) struct Series {
    /// Increases with each new series, for the order of arrival.
    pub(crate) seq: u64,
    pub(crate) hash: u64,
    pub(crate) stream: usize,
    pub(crate) metric_kind: OtlpMetricKind,
    pub(crate) resource: usize,
    /// The family it is attached to; none if it has no name or an invalid label.
    pub(crate) family: Option<usize>,
    /// The reason in the series itself why it is not shown; its family may have another reason.
    pub(crate) drop_reason: Option<DropReason>,
    /// An older series of its family has the same labels.
    pub(crate) is_duplicate: bool,
    pub(crate) arrived_at: MonotonicTime,
    pub(crate) attributes: Box<[u8]>,
    pub(crate) labels: LabelSetKey,
    /// The series whose point came after the point of this series the last time.
    pub(crate) expected_next: usize,
    pub(crate) state: SeriesState,
}

impl Series {
    /// Bytes charged for the series without its reading: the struct, its entries in the index and in its family, and
    /// its attributes and block.
    pub(crate) fn charged_bytes(&self) -> u64 {
        (size_of::<Self>() + LABEL_SET_KEY_BYTES + 4 * size_of::<usize>()) as u64
            + allocated(self.attributes.len())
            + allocated(self.labels.block.len())
    }

    pub(crate) fn prometheus_type(&self) -> MetricType {
        self.metric_kind.prometheus_type()
    }
}

/// Bytes that an allocation costs in addition to its content.
const ALLOCATION_OVERHEAD: u64 = 16;

/// Bytes that a separate allocation of `len` bytes takes.
pub(crate) fn allocated(len: usize) -> u64 {
    if len == 0 { 0 } else { len as u64 + ALLOCATION_OVERHEAD }
}
