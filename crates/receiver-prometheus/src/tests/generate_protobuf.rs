//! Families as protobuf, written by hand: no type of ours is between a case and its bytes.

use otelcore_test_support::Choices;

use super::generate::FamilyParts;

/// A message that is written.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(&mut self, field: u64, value: u64) -> &mut Self {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    fn signed(&mut self, field: u64, value: i64) -> &mut Self {
        self.number(field, (value << 1 ^ value >> 63).cast_unsigned())
    }

    fn double(&mut self, field: u64, value: f64) -> &mut Self {
        self.varint(field << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) -> &mut Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(&mut self, field: u64, text: &str) -> &mut Self {
        self.bytes(field, text.as_bytes())
    }

    fn message(&mut self, field: u64, write: impl FnOnce(&mut Self)) -> &mut Self {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(field, &inner.0)
    }

    fn label(&mut self, field: u64, name: &str, value: &str) {
        self.message(field, |label| {
            label.text(1, name).text(2, value);
        });
    }
}

/// An exemplar. One of a native histogram has a time: Go leaves out exemplars that follow one without.
fn exemplar(c: &mut Choices, out: &mut Writer, has_time: bool) {
    let ids = [("trace_id", "0af7651916cd43dd8448eb211c80319c"), ("x", "y")];
    let (name, value) = ids[c.below(2)];
    out.label(1, name, value);
    out.double(2, c.below(9) as f64);
    if has_time || c.one_in(2) {
        out.message(3, |time| {
            time.number(1, 1_700_000_000);
        });
    }
}

fn created(out: &mut Writer, field: u64, is_there: bool) {
    if is_there {
        out.message(field, |time| {
            time.number(1, 1_600_000_000);
        });
    }
}

fn histogram(c: &mut Choices, parts: &FamilyParts<'_>, out: &mut Writer) {
    let counts = [c.below(5) as u64, 5 + c.below(5) as u64, 10 + c.below(5) as u64];
    out.number(1, counts[2]).double(2, 12.5);
    let has_classic = !parts.is_native || c.one_in(2);
    if has_classic {
        for (bound, count) in [0.5, 1.0, f64::INFINITY].into_iter().zip(counts) {
            out.message(3, |bucket| {
                bucket.number(1, count).double(2, bound);
                if parts.has_exemplars {
                    bucket.message(3, |out| exemplar(c, out, false));
                }
            });
        }
    }
    created(out, 15, parts.has_created);
    if !parts.is_native {
        return;
    }
    out.signed(5, [3, 0, -2, 5][c.below(4)]).double(6, 0.001).number(7, c.below(4) as u64);
    for (span, delta) in [(12, 13), (9, 10)] {
        if span == 9 && !c.one_in(3) {
            continue;
        }
        let lengths: Vec<u64> = (0..1 + c.below(3)).map(|_| 1 + c.below(3) as u64).collect();
        for (at, length) in lengths.iter().enumerate() {
            let offset = if at == 0 { c.below(9) as i64 - 4 } else { 1 + c.below(4) as i64 };
            out.message(span, |span| {
                span.signed(1, offset).number(2, *length);
            });
        }
        let mut count = 0i64;
        for _ in 0..lengths.iter().sum::<u64>() {
            let next = c.below(9) as i64;
            out.signed(delta, next - count);
            count = next;
        }
    }
    if parts.has_exemplars {
        out.message(16, |out| exemplar(c, out, true));
    }
}

/// A family with its length before it.
pub(super) fn family(c: &mut Choices, parts: FamilyParts<'_>, number: usize) -> Vec<u8> {
    let mut out = Writer::default();
    out.text(1, parts.name);
    if !parts.help.is_empty() {
        out.text(2, parts.help);
    }
    out.number(3, parts.type_number);
    for labels in parts.series {
        let value = (c.below(50) + number * 50) as f64;
        out.message(4, |metric| {
            labels.iter().for_each(|(name, value)| metric.label(1, name, value));
            match parts.type_number {
                0 => metric.message(3, |counter| {
                    counter.double(1, value);
                    if parts.has_exemplars {
                        counter.message(2, |out| exemplar(c, out, false));
                    }
                    created(counter, 3, parts.has_created);
                }),
                1 => metric.message(2, |gauge| {
                    gauge.double(1, value);
                }),
                2 => metric.message(4, |summary| {
                    summary.number(1, value as u64).double(2, 7.25);
                    for quantile in [0.5, 0.99] {
                        summary.message(3, |out| {
                            out.double(1, quantile).double(2, value);
                        });
                    }
                    created(summary, 4, parts.has_created);
                }),
                4 => metric.message(7, |out| histogram(c, &parts, out)),
                _ => metric.message(5, |untyped| {
                    untyped.double(1, value);
                }),
            };
            if let Some(time) = parts.timestamp_ms {
                metric.number(6, time.cast_unsigned());
            }
        });
    }
    if !parts.unit.is_empty() {
        out.text(5, parts.unit);
    }
    let mut framed = Writer::default();
    framed.varint(out.0.len() as u64);
    framed.0.extend_from_slice(&out.0);
    framed.0
}
