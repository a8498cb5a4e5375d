//! One series: its identity, its labels and its last point.

use std::rc::Rc;

use otelcore_exposition::MetricType;
use otelcore_pipeline::MonotonicTime;
use otelcore_prometheus_translation::OtlpMetricKind;

use crate::dropped_points::DropReason;
use crate::label_sets::LabelSetKey;
use crate::partitioned::CompactId;
use crate::series_state::SeriesState;

/// The help of `target_info`.
pub(crate) const TARGET_HELP: &[u8] = b"Target metadata";

/// One series.
pub(crate) struct Series {
    /// Increases with each new series, for the order of arrival.
    pub(crate) seq: u64,
    pub(crate) stream: CompactId,
    pub(crate) metric_kind: OtlpMetricKind,
    pub(crate) resource: CompactId,
    /// The family it is attached to; none if it has no name or an invalid label.
    pub(crate) family: CompactId,
    /// The reason in the series itself why it is not shown; its family may have another reason.
    pub(crate) drop_reason: Option<DropReason>,
    /// An older series of its family has the same labels.
    pub(crate) is_duplicate: bool,
    pub(crate) arrived_at: MonotonicTime,
    pub(crate) attributes: Box<[u8]>,
    pub(crate) label_block: Rc<[u8]>,
    pub(crate) label_count: u32,
    pub(crate) has_quoted_names: bool,
    /// The series whose point came after the point of this series the last time.
    pub(crate) expected_next: CompactId,
    pub(crate) state: SeriesState,
}

impl Series {
    /// Bytes charged for the series without its reading: the struct, its entries in the index and in its family, and
    /// its attributes and block.
    pub(crate) fn charged_bytes(&self) -> u64 {
        (size_of::<Self>() + PLACE_BYTES + 2 * size_of::<usize>()) as u64
            + allocated(self.attributes.len())
            + allocated(self.label_block.len() + size_of::<[usize; 2]>())
    }

    pub(crate) fn labels(&self) -> LabelSetKey {
        LabelSetKey {
            block: self.label_block.clone(),
            labels: self.label_count,
            has_quoted_names: self.has_quoted_names,
        }
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
