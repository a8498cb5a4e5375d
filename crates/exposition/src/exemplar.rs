//! Exemplars: examples of what a value counts, with the ids of a span as labels.

/// An exemplar whose labels are the ids of a trace and a span.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct TraceExemplar {
    /// The trace's id; all zeros if it has none.
    pub trace_id: [u8; 16],
    /// The span's id; all zeros if it has none.
    pub span_id: [u8; 8],
    /// The measurement.
    pub value: f64,
    /// When it was measured, in nanoseconds since the epoch.
    pub time_unix_nano: i64,
}

impl TraceExemplar {
    /// Names and values of the labels: the ids that there are, as hexadecimal digits.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (&'static str, Vec<u8>)> {
        let ids = [("trace_id", &self.trace_id[..]), ("span_id", &self.span_id[..])];
        ids.map(|(name, id)| (name, hexadecimal(id))).into_iter().filter(|(_, id)| id.iter().any(|b| *b != b'0'))
    }
}

fn hexadecimal(bytes: &[u8]) -> Vec<u8> {
    let digit = |n: u8| if n < 10 { b'0' + n } else { b'a' + n - 10 };
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_are_there_become_labels() {
        let exemplar = TraceExemplar { span_id: [0, 1, 0xab, 0, 0, 0, 0, 0xf9], ..TraceExemplar::default() };
        assert_eq!(exemplar.labels().collect::<Vec<_>>(), [("span_id", b"0001ab00000000f9".to_vec())]);
        assert_eq!(TraceExemplar::default().labels().count(), 0);
        let both = TraceExemplar { trace_id: [0x10; 16], ..exemplar };
        assert_eq!(both.labels().map(|(n, _)| n).collect::<Vec<_>>(), ["trace_id", "span_id"]);
    }
}
