//! Writes OTLP without structs in between: for receivers, connectors and tests.
//!
//! A writer appends the fields of one message to a [`Body`]; a message inside a message is a writer that borrows the
//! outer one, and whose length is written when it is dropped. MessageFields can be written in any order, a scalar that
//! is written twice has its last value, and zeros that mean absence are omitted. Every writer can also write the
//! content of a message by itself, to be embedded later or handed to [`crate::edit`].
//!
//! ```
//! use otelcore_pdata::{Signal, build, check};
//!
//! let mut body = build::Body::new();
//! {
//!     let mut entry = body.resource_spans();
//!     entry.resource().attributes().string(b"service.name", b"shop");
//!     let mut scope = entry.scope_spans();
//!     let mut span = scope.span();
//!     span.name(b"GET /");
//!     span.attributes().int(b"http.response.status_code", 200);
//! }
//! let rope = body.finish();
//! assert_eq!(check(Signal::Traces, &rope.to_bytes()).map(|found| found.items), Ok(1));
//! ```

mod common;
mod logs;
mod metrics;
mod traces;
mod values;
mod writer;

pub use common::{EntityRefWriter, ResourceWriter, ScopeWriter};
pub use logs::{LogRecordWriter, ResourceLogsWriter, ScopeLogsWriter};
pub use metrics::{
    BucketsWriter, ExemplarWriter, ExponentialHistogramPointWriter, ExponentialHistogramWriter, GaugeWriter,
    HistogramPointWriter, HistogramWriter, MetricWriter, NumberPointWriter, QuantileWriter, ResourceMetricsWriter,
    ScopeMetricsWriter, SumWriter, SummaryPointWriter, SummaryWriter,
};
pub use traces::{EventWriter, LinkWriter, ResourceSpansWriter, ScopeSpansWriter, SpanWriter, StatusWriter};
pub use values::{ArrayWriter, AttributesWriter};

use crate::Rope;
use crate::wire_format::{put_varint, varint_len};

/// The bytes of a message that is written, and the number of items in it.
#[derive(Debug, Default)]
pub struct Body {
    out: Vec<u8>,
    items: u32,
    /// Values that were nested too deep and are missing.
    omitted: u32,
}

impl Body {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty one with room for `bytes`.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { out: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// What has been written. A message that is being written has no length yet.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.out
    }

    /// Spans, data points and log records that have been begun.
    #[must_use]
    pub fn items(&self) -> u32 {
        self.items
    }

    /// How many values were left out because they would be nested more than [`crate::MAX_NESTING`] deep.
    #[must_use]
    pub fn omitted(&self) -> u32 {
        self.omitted
    }

    /// Empties it and keeps its allocation.
    pub fn clear(&mut self) {
        self.out.clear();
        self.items = 0;
        self.omitted = 0;
    }

    /// The payload, if this is an `Export*ServiceRequest`.
    #[must_use]
    pub fn finish(self) -> Rope {
        Rope::new(self.out.into(), self.items)
    }

    /// Takes the payload out, and leaves an empty body without an allocation.
    #[must_use]
    pub fn take(&mut self) -> Rope {
        std::mem::take(self).finish()
    }

    /// Begins an entry of a trace request.
    pub fn resource_spans(&mut self) -> ResourceSpansWriter<'_> {
        ResourceSpansWriter(Message::begin(self, 1, LARGE))
    }

    /// Begins an entry of a metrics request.
    pub fn resource_metrics(&mut self) -> ResourceMetricsWriter<'_> {
        ResourceMetricsWriter(Message::begin(self, 1, LARGE))
    }

    /// Begins an entry of a logs request.
    pub fn resource_logs(&mut self) -> ResourceLogsWriter<'_> {
        ResourceLogsWriter(Message::begin(self, 1, LARGE))
    }
}

/// Bytes that are reserved for the length of a message that usually has less than 128, less than 16 KiB, or more.
const SMALL: usize = 1;
const MIDDLE: usize = 2;
const LARGE: usize = 3;

/// Bytes that are reserved for values inside values: enough for any length, so that nothing is moved at each of up to a
/// hundred levels.
const DEEP: usize = 5;

/// Content of this length or more is not moved to make its length shorter: protobuf allows numbers that are padded with
/// zeros.
const LONG: usize = 1 << 18;

/// A message that is being written. Its length is written when it is dropped.
#[derive(Debug)]
struct Message<'a> {
    body: &'a mut Body,
    /// Where its length and its content begin; equal for content without a length.
    length: usize,
    content: usize,
    /// Content of this length or more is not moved to make its length shorter.
    keep: usize,
}

impl<'a> Message<'a> {
    /// The content of a message, without tag and length.
    fn content(body: &'a mut Body) -> Self {
        let content = body.out.len();
        Self { body, length: content, content, keep: 0 }
    }

    #[inline]
    fn begin(body: &'a mut Body, number: u32, width: usize) -> Self {
        put_varint(&mut body.out, u64::from(number) << 3 | 2);
        let length = body.out.len();
        body.out.extend_from_slice([0; DEEP].get(..width).unwrap_or_default());
        let content = body.out.len();
        Self { body, length, content, keep: if width == DEEP { 0x80 } else { LONG } }
    }

    #[inline]
    fn nested(&mut self, number: u32, width: usize) -> Message<'_> {
        Message::begin(self.body, number, width)
    }

    #[inline]
    fn item(&mut self, number: u32) -> Message<'_> {
        self.body.items = self.body.items.saturating_add(1);
        Message::begin(self.body, number, MIDDLE)
    }
}

impl Drop for Message<'_> {
    #[inline]
    fn drop(&mut self) {
        let Self { length, content, keep, .. } = *self;
        if length == content {
            return;
        }
        let out = &mut self.body.out;
        let len = out.len() - content;
        let (reserved, needed) = (content - length, varint_len(len as u64));
        let mut width = reserved;
        if needed > reserved {
            out.resize(out.len() + (needed - reserved), 0);
            out.copy_within(content..content + len, length + needed);
            width = needed;
        } else if needed < reserved && len < keep {
            out.copy_within(content.., length + needed);
            out.truncate(length + needed + len);
            width = needed;
        }
        let mut rest = len;
        for (i, byte) in out.iter_mut().skip(length).take(width).enumerate() {
            *byte = rest as u8 & 0x7f | if i + 1 < width { 0x80 } else { 0 };
            rest >>= 7;
        }
    }
}
