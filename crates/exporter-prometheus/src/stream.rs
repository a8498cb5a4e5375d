//! A stream: what the series of one metric have in common.
//!
//! It is the identity of a series without the attributes of its points, and has the translated name. It is added and removed
//! with its series.

use std::rc::Rc;

use otelcore_prometheus_translation::OtlpMetricKind;

use crate::series::allocated;

/// The type in the identity: whether a sum is monotonic is not part of it.
pub(crate) fn type_byte(metric_kind: OtlpMetricKind, is_exponential: bool) -> u8 {
    match metric_kind {
        OtlpMetricKind::Histogram if is_exponential => 5,
        OtlpMetricKind::Gauge => 1,
        OtlpMetricKind::Counter | OtlpMetricKind::UpDownCounter => 2,
        OtlpMetricKind::Histogram => 3,
        OtlpMetricKind::Summary => 4,
    }
}

/// The series of one metric of one scope of one job and instance.
pub(crate) struct Stream {
    pub(crate) hash: u64,
    /// The identity without attributes.
    pub(crate) identity_prefix: Box<[u8]>,
    pub(crate) metric_kind: OtlpMetricKind,
    pub(crate) unit: Box<[u8]>,
    pub(crate) help: Rc<[u8]>,
    pub(crate) family: Option<usize>,
    pub(crate) series_count: u64,
    /// The series whose point came first, and the stream that came next, the last time.
    pub(crate) expected_first: usize,
    pub(crate) expected_next: usize,
}

impl Stream {
    /// Bytes charged for it.
    pub(crate) fn charged_bytes(&self) -> u64 {
        let texts = [self.identity_prefix.len(), self.unit.len(), self.help.len()];
        (size_of::<Self>() + 4 * size_of::<usize>()) as u64 + texts.into_iter().map(allocated).sum::<u64>()
    }
}
