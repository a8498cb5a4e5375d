//! Messages inside a metric: labels, exemplars, timestamps, and the parts of native histograms. Knows no family.

use std::ops::Range;

use super::ParserLimits;
use super::event::{BucketSpan, Entry, ExemplarSpan, LabelSpan, NativeParts, NativeSide};
use super::wire::{FieldValue, Fields, canonical, varint, zigzag};

/// A value, or which part of the message is malformed.
pub(super) type Wire<T> = Result<T, &'static str>;

pub(super) fn text_at<'a>(data: &'a [u8], range: &Range<usize>) -> Wire<&'a str> {
    std::str::from_utf8(data.get(range.clone()).unwrap_or_default()).map_err(|_| "a text is not UTF-8")
}

pub(super) fn label(message: &[u8], entry: &mut Entry) -> Wire<LabelSpan> {
    let (mut name, mut value) = ("", "");
    let mut fields = Fields::new(message, 0);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => name = field.value.text()?,
            2 => value = field.value.text()?,
            _ => {}
        }
    }
    if name.is_empty() {
        return Err("a label has no name");
    }
    Ok(LabelSpan { name: entry.push_text(name), value: entry.push_text(value) })
}

pub(super) fn exemplar(message: &[u8], entry: &mut Entry) -> Wire<()> {
    let from = entry.exemplar_labels.len();
    let (mut value, mut timestamp_ms) = (0.0, None);
    let mut fields = Fields::new(message, 0);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => {
                let label = label(field.value.bytes()?, entry)?;
                entry.exemplar_labels.push(label);
            }
            2 => value = field.value.double()?,
            3 => timestamp_ms = Some(timestamp(field.value.bytes()?)?),
            _ => {}
        }
    }
    let labels = (from, entry.exemplar_labels.len());
    entry.exemplars.push(ExemplarSpan { labels, value, timestamp_ms });
    Ok(())
}

/// A `google.protobuf.Timestamp` in milliseconds.
pub(super) fn timestamp(message: &[u8]) -> Wire<i64> {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    let mut fields = Fields::new(message, 0);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => seconds = field.value.varint()? as i64,
            2 => nanos = field.value.varint()? as i64,
            _ => {}
        }
    }
    Ok(seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000))
}

pub(super) fn side(native: &mut NativeParts, is_positive: bool) -> &mut NativeSide {
    if is_positive { &mut native.positive } else { &mut native.negative }
}

pub(super) fn limit_len(len: usize, limits: &ParserLimits) -> Wire<()> {
    if len < limits.max_native_buckets { Ok(()) } else { Err("a native histogram has too many buckets or exemplars") }
}

pub(super) fn bucket_span(value: FieldValue<'_>, side: &mut NativeSide, limits: &ParserLimits) -> Wire<()> {
    limit_len(side.spans.len(), limits)?;
    let mut span = BucketSpan::default();
    let mut fields = Fields::new(value.bytes()?, 0);
    while let Some(field) = fields.next_field()? {
        match field.number {
            1 => span.offset = zigzag(field.value.varint()?) as i32,
            2 => span.length = field.value.varint()? as u32,
            _ => {}
        }
    }
    side.spans.push(span);
    Ok(())
}

/// Signed numbers, packed or not.
pub(super) fn deltas(value: FieldValue<'_>, side: &mut NativeSide, limits: &ParserLimits) -> Wire<()> {
    let mut packed = match value {
        FieldValue::Varint(v) => {
            limit_len(side.deltas.len(), limits)?;
            side.deltas.push(zigzag(v));
            return Ok(());
        }
        value => value.bytes()?,
    };
    while !packed.is_empty() {
        limit_len(side.deltas.len(), limits)?;
        let (v, len) = varint(packed)?.ok_or("a field exceeds its message")?;
        side.deltas.push(zigzag(v));
        packed = packed.get(len..).unwrap_or_default();
    }
    Ok(())
}

/// Doubles, packed or not.
pub(super) fn floats(value: FieldValue<'_>, side: &mut NativeSide, limits: &ParserLimits) -> Wire<()> {
    if let FieldValue::Fixed64(_) = value {
        limit_len(side.floats.len(), limits)?;
        side.floats.push(value.double()?);
        return Ok(());
    }
    let (packed, rest) = value.bytes()?.as_chunks::<8>();
    if !rest.is_empty() {
        return Err("a field exceeds its message");
    }
    for bits in packed {
        limit_len(side.floats.len(), limits)?;
        side.floats.push(canonical(f64::from_le_bytes(*bits)));
    }
    Ok(())
}
