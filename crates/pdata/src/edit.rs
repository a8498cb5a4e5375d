//! Changes telemetry in one pass over its bytes.
//!
//! An [`Editor`] is called for each resource, scope, span, metric and so on, in their order in the payload. What is not
//! changed is copied with its bytes, field order and unknown fields; a part of the payload in which nothing changes is
//! shared, not copied. An item that changes is copied once, changed in the copy, and written; lengths of the messages
//! around it are corrected when these end. An entry, scope, metric or list of points from which everything was dropped
//! is dropped as well.
//!
//! In a message that changes, fields that are not written keep their order; when a metric changes beside its points, or
//! a span from its events, its own fields come before those. A resource or scope in several pieces is joined if
//! anything in its entry changes. Of a metric that has its data more than once, the points of the last are visited.

mod attributes;
mod context;
mod frame;
mod items;
mod message;
mod metrics;
mod own;
mod pass;
mod read_index;
mod scan;

pub use attributes::{AttributeMut, AttributesMut};
pub use context::{ResourceMut, ScopeMut};
pub use items::{EventMut, LinkMut, LogMut, SpanMut};
pub use metrics::{MetricKind, MetricMut, Point, PointMut};
pub use pass::EditPass;

use crate::{Rope, Signal, StepBudget};

/// What to do with a message that contains others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Descend {
    /// Keep it, and visit what it contains.
    Children,
    /// Keep it; what it contains stays as it is.
    Skip,
    /// Drop it with everything that it contains.
    Drop,
}

/// What to do with an item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// Keep it.
    Keep,
    /// Drop it.
    Drop,
}

/// Is called for each message of a payload, from the outside to the inside. Every method has a default that keeps the
/// message and visits what it contains.
pub trait Editor {
    /// A resource: of one entry of the payload, also of one without a resource.
    fn resource(&mut self, resource: &mut ResourceMut<'_>) -> Descend {
        let _ = resource;
        Descend::Children
    }

    /// An instrumentation scope, also one that is absent.
    fn scope(&mut self, scope: &mut ScopeMut<'_>) -> Descend {
        let _ = scope;
        Descend::Children
    }

    /// A span. Its events and links are visited after [`Descend::Children`].
    fn span(&mut self, span: &mut SpanMut<'_>) -> Descend {
        let _ = span;
        Descend::Children
    }

    /// An event of a span.
    fn event(&mut self, event: &mut EventMut<'_>) -> Keep {
        let _ = event;
        Keep::Keep
    }

    /// A link of a span.
    fn link(&mut self, link: &mut LinkMut<'_>) -> Keep {
        let _ = link;
        Keep::Keep
    }

    /// A metric. Its points are visited after [`Descend::Children`].
    fn metric(&mut self, metric: &mut MetricMut<'_>) -> Descend {
        let _ = metric;
        Descend::Children
    }

    /// A data point.
    fn point(&mut self, point: &mut PointMut<'_>) -> Keep {
        let _ = point;
        Keep::Keep
    }

    /// A log record.
    fn log(&mut self, log: &mut LogMut<'_>) -> Keep {
        let _ = log;
        Keep::Keep
    }
}

/// What a pass did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Edited {
    /// Spans, data points or log records that were dropped, by themselves or with what contained them.
    pub dropped: u64,
    /// Parts of which nothing is left, or something else.
    pub changed_parts: u32,
    /// Parts that are the same buffers as before.
    pub shared_parts: u32,
}

/// Why a pass has ended early. The payload is at fault, together with what it makes the editor do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum EditError {
    /// The output of a part would be longer than its [`OutputLimit`].
    OutputTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The editor has read and moved more than [`MAX_WORK_PER_BYTE`] permits, for example because each item of a
    /// resource reads its very many attributes.
    TooMuchWork {
        /// The limit, in bytes that are read or moved.
        limit: u64,
    },
}

impl std::fmt::Display for EditError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OutputTooLarge { limit } => write!(f, "the changed telemetry is larger than {limit} bytes"),
            Self::TooMuchWork { limit } => {
                write!(f, "the changes of the telemetry would read more than {limit} bytes; send smaller batches")
            }
        }
    }
}

impl std::error::Error for EditError {}

/// The most bytes that an editor may read and move for each byte of a part, in addition to [`MAX_WORK`]. Where items
/// read what they have in common (the attributes of their resource, the span of an event), the work grows with the
/// product of the two; usual batches stay a hundred times below this.
pub const MAX_WORK_PER_BYTE: u64 = 16_384;

/// The same, whatever the part's length.
pub const MAX_WORK: u64 = 256 << 20;

/// The longest output of each part of a payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutputLimit {
    /// Times the part's length.
    pub factor: usize,
    /// Bytes in addition.
    pub extra: usize,
}

impl Default for OutputLimit {
    /// Four times the part's length plus 1 MiB.
    fn default() -> Self {
        Self { factor: 4, extra: 1 << 20 }
    }
}

impl OutputLimit {
    /// For telemetry that is grouped anew: what items had in common (their resource, their scope) is repeated for each
    /// group. Batches of many small groups stay far below it.
    pub const OF_GROUPS: Self = Self { factor: 16, extra: 16 << 20 };

    /// The longest output of a part of `part` bytes.
    #[must_use]
    pub fn of(self, part: usize) -> usize {
        part.saturating_mul(self.factor).saturating_add(self.extra)
    }
}

/// Changes `rope`, a checked body of `signal`, in one go. For bodies that may be long, use an [`EditPass`].
///
/// # Errors
/// See [`EditError`]; the limit of the output is the default. `rope` is then unchanged.
pub fn edit<E: Editor + ?Sized>(signal: Signal, rope: &mut Rope, editor: &mut E) -> Result<Edited, EditError> {
    let mut pass = EditPass::new(signal, rope.clone(), OutputLimit::default());
    // With a budget that is never spent, the first step is the last.
    while !pass.step(editor, &mut StepBudget::unlimited())? {}
    let (edited, what) = pass.finish();
    *rope = edited;
    Ok(what)
}
