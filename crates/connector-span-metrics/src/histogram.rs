//! The histogram of one series, of either kind.

use std::sync::Arc;

use otelcore_pdata::ExponentialRecorder;

use crate::settings::HistogramKind;

#[derive(Debug)]
pub(crate) enum Histogram {
    Explicit { bounds: Arc<[f64]>, counts: Box<[u64]>, count: u64, sum: f64 },
    Exponential(Box<ExponentialRecorder>),
}

impl Histogram {
    pub(crate) fn new(kind: &HistogramKind) -> Self {
        match kind {
            HistogramKind::Explicit(bounds) => {
                let counts = vec![0; bounds.len() + 1].into();
                Self::Explicit { bounds: bounds.clone(), counts, count: 0, sum: 0.0 }
            }
            HistogramKind::Exponential(max_buckets) => {
                Self::Exponential(Box::new(ExponentialRecorder::new(*max_buckets)))
            }
        }
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::Explicit { counts, .. } => counts.len() * 8,
            Self::Exponential(histogram) => size_of::<ExponentialRecorder>() + histogram.heap_bytes(),
        }
    }

    /// Buckets that are written for a point.
    pub(crate) fn written_buckets(&self) -> usize {
        match self {
            Self::Explicit { counts, .. } => 2 * counts.len(),
            Self::Exponential(histogram) => histogram.bucket_count(),
        }
    }

    /// Records a value so many times.
    #[inline]
    pub(crate) fn record(&mut self, value: f64, times: u64) {
        match self {
            Self::Explicit { bounds, counts, count, sum } => {
                *sum += value * times as f64;
                *count = count.wrapping_add(times);
                let bucket = bounds.partition_point(|bound| *bound < value);
                if let Some(counted) = counts.get_mut(bucket) {
                    *counted = counted.wrapping_add(times);
                }
            }
            Self::Exponential(histogram) => histogram.record(value, times),
        }
    }
}
