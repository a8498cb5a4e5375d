//! The two text formats by name.

/// A text format.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TextDialect {
    /// Text 0.0.4.
    #[default]
    Prometheus,
    /// OpenMetrics 1.0 (and 0.0.1).
    OpenMetrics,
}
