//! The fields of a span that matter here, read in one pass.

use otelcore_pdata::views::{KeyValue, View};
use otelcore_pdata::wire_format::{MessageFields, WireValue};

/// A message that is not parsed.
pub(crate) struct Raw<'a>(pub(crate) &'a [u8]);

impl<'a> View<'a> for Raw<'a> {
    fn parse(raw: &'a [u8]) -> Self {
        Self(raw)
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SpanFields<'a> {
    pub(crate) trace_id: &'a [u8],
    pub(crate) span_id: &'a [u8],
    pub(crate) trace_state: &'a [u8],
    pub(crate) name: &'a [u8],
    pub(crate) kind: i32,
    start: u64,
    end: u64,
    pub(crate) status_code: i32,
}

impl<'a> SpanFields<'a> {
    /// Reads the fields, and calls `attribute` for each attribute.
    #[inline]
    pub(crate) fn read(raw: &'a [u8], mut attribute: impl FnMut(KeyValue<'a>)) -> Self {
        let mut span = Self::default();
        for (number, wire) in MessageFields::new(raw) {
            match (number, wire) {
                (1, WireValue::Len(v)) => span.trace_id = v,
                (2, WireValue::Len(v)) => span.span_id = v,
                (3, WireValue::Len(v)) => span.trace_state = v,
                (5, WireValue::Len(v)) => span.name = v,
                // The low 32 bits, as of every enum.
                (6, WireValue::Varint(v)) => span.kind = v as i32,
                (7, WireValue::Fixed64(v)) => span.start = v,
                (8, WireValue::Fixed64(v)) => span.end = v,
                (9, WireValue::Len(v)) => attribute(KeyValue::parse(v)),
                (15, WireValue::Len(v)) => span.status_code = status_code(v),
                _ => {}
            }
        }
        span
    }

    /// Nanoseconds from the start to the end; zero if the end is first.
    pub(crate) fn duration(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// The trace id, if there is one.
    pub(crate) fn trace_id(&self) -> Option<[u8; 16]> {
        self.trace_id.try_into().ok().filter(|id| *id != [0; 16])
    }

    /// The span id, zeros without one.
    pub(crate) fn span_id(&self) -> [u8; 8] {
        self.span_id.try_into().unwrap_or_default()
    }

    /// The name of its kind.
    pub(crate) fn kind_name(&self) -> &'static [u8] {
        match self.kind {
            0 => b"SPAN_KIND_UNSPECIFIED",
            1 => b"SPAN_KIND_INTERNAL",
            2 => b"SPAN_KIND_SERVER",
            3 => b"SPAN_KIND_CLIENT",
            4 => b"SPAN_KIND_PRODUCER",
            5 => b"SPAN_KIND_CONSUMER",
            _ => b"",
        }
    }

    /// The name of its status.
    pub(crate) fn status_name(&self) -> &'static [u8] {
        match self.status_code {
            0 => b"STATUS_CODE_UNSET",
            1 => b"STATUS_CODE_OK",
            2 => b"STATUS_CODE_ERROR",
            _ => b"",
        }
    }
}

fn status_code(raw: &[u8]) -> i32 {
    let code = |(number, wire)| match (number, wire) {
        (3, WireValue::Varint(v)) => Some(v as i32),
        _ => None,
    };
    MessageFields::new(raw).filter_map(code).last().unwrap_or(0)
}
