//! What the functions of `transform` that change the structure of metrics do, apart from OTTL: each takes a metric and
//! changes it, or makes another one of it.

pub(crate) mod aggregate;
pub(crate) mod convert;
pub(crate) mod explicit_buckets;
pub(crate) mod extract;
pub(crate) mod histogram_buckets;
pub(crate) mod percentile;
pub(crate) mod scale;
#[cfg(test)]
mod tests;

use otelcore_pdata::wire_format::{WireValue, put_bytes_field, put_fixed64_field, put_tag_and_len, raw_fields};

/// Appends the fields of a message except those of some numbers.
fn put_other_fields(out: &mut Vec<u8>, raw: &[u8], numbers: &[u32]) {
    for (field, number, _) in raw_fields(raw) {
        if !numbers.contains(&number) {
            out.extend_from_slice(field);
        }
    }
}

/// Appends the message fields of one number under another number.
fn put_renumbered(out: &mut Vec<u8>, raw: &[u8], from: u32, to: u32) {
    for (_, number, wire) in raw_fields(raw) {
        if let WireValue::Len(content) = wire
            && number == from
        {
            put_bytes_field(out, to, content);
        }
    }
}

/// Appends a `fixed64` or `double` that is omitted where it is zero.
fn put_plain_fixed64(out: &mut Vec<u8>, number: u32, bits: u64) {
    if bits != 0 {
        put_fixed64_field(out, number, bits);
    }
}

/// Appends packed values of eight bytes; nothing for none.
fn put_packed_fixed64(out: &mut Vec<u8>, number: u32, bits: impl ExactSizeIterator<Item = u64>) {
    if bits.len() > 0 {
        put_tag_and_len(out, number, bits.len() * 8);
        bits.for_each(|v| out.extend_from_slice(&v.to_le_bytes()));
    }
}
