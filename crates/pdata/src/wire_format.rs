//! The protobuf wire format, reading and writing.
//!
//! The reader is for bytes that [`crate::check`] has passed: it ends early on malformed input instead of reporting it,
//! and never panics. See <https://protobuf.dev/programming-guides/encoding/>.

/// A field's value as it is encoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WireValue<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2: bytes, string, message or packed scalars.
    Len(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

/// The fields of one message, in wire order.
#[derive(Clone, Copy, Debug, Default)]
pub struct MessageFields<'a> {
    rest: &'a [u8],
}

impl<'a> MessageFields<'a> {
    /// Reads `message` from its first field.
    #[must_use]
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// What has not been read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for MessageFields<'a> {
    type Item = (u32, WireValue<'a>);

    // Without this the value is returned through memory, which costs more than the reading.
    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let (tag, rest) = read_varint(self.rest)?;
        let number = u32::try_from(tag >> 3).ok()?;
        let (value, rest) = match tag & 7 {
            0 => {
                let (v, rest) = read_varint(rest)?;
                (WireValue::Varint(v), rest)
            }
            1 => {
                let (v, rest) = rest.split_first_chunk::<8>()?;
                (WireValue::Fixed64(u64::from_le_bytes(*v)), rest)
            }
            2 => {
                let (len, rest) = read_length(rest)?;
                let (v, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
                (WireValue::Len(v), rest)
            }
            5 => {
                let (v, rest) = rest.split_first_chunk::<4>()?;
                (WireValue::Fixed32(u32::from_le_bytes(*v)), rest)
            }
            _ => return None,
        };
        self.rest = rest;
        Some((number, value))
    }
}

/// The fields of a message, each with its own bytes, tag included: to copy it unchanged.
pub fn raw_fields(message: &[u8]) -> impl Iterator<Item = (&[u8], u32, WireValue<'_>)> {
    let mut fields = MessageFields::new(message);
    std::iter::from_fn(move || {
        let before = fields.rest();
        let (number, wire) = fields.next()?;
        let raw = before.get(..before.len() - fields.rest().len())?;
        Some((raw, number, wire))
    })
}

/// Reads a base-128 number of at most ten bytes; `None` when it is truncated or too long.
#[inline]
#[must_use]
pub fn read_varint(buf: &[u8]) -> Option<(u64, &[u8])> {
    // Nearly every tag and length is one byte.
    if let Some((&first, rest)) = buf.split_first()
        && first < 0x80
    {
        return Some((u64::from(first), rest));
    }
    read_long_varint(buf)
}

/// The same for lengths, of which many have two bytes.
#[inline]
pub(crate) fn read_length(buf: &[u8]) -> Option<(u64, &[u8])> {
    match buf {
        [first @ ..0x80, rest @ ..] => Some((u64::from(*first), rest)),
        [first, second @ ..0x80, rest @ ..] => Some((u64::from(first & 0x7f) | u64::from(*second) << 7, rest)),
        _ => read_long_varint(buf),
    }
}

fn read_long_varint(buf: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (i, &byte) in buf.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        if i == 9 && byte > 1 {
            return None;
        }
        value |= bits << (7 * i);
        if byte < 0x80 {
            return Some((value, buf.get(i + 1..)?));
        }
    }
    None
}

/// The value of a varint field that is not repeated: that of its last occurrence, and zero without one.
#[inline]
#[must_use]
pub fn varint_field(message: &[u8], number: u32) -> u64 {
    let mut value = 0;
    for field in MessageFields::new(message) {
        if let (found, WireValue::Varint(v)) = field
            && found == number
        {
            value = v;
        }
    }
    value
}

/// Recognizes an attribute of the most common form, `KeyValue{key, AnyValue{string}}` with one-byte lengths and nothing
/// else. The first value is the end of its key in `raw`, the second its string with the length before it. `None` for
/// any other form.
#[inline]
#[must_use]
pub fn short_string_attribute(raw: &[u8]) -> Option<(usize, &[u8])> {
    let [0x0a, key_len @ 1..0x80, ..] = raw else { return None };
    let key_end = 2 + usize::from(*key_len);
    let [0x12, value_len @ 2..0x80, 0x0a, string_len, string @ ..] = raw.get(key_end..)? else { return None };
    let lengths_match = string.len() == usize::from(*string_len) && usize::from(*value_len) == string.len() + 2;
    if lengths_match && !string.is_empty() { Some((key_end, raw.get(key_end + 3..)?)) } else { None }
}

/// The zigzag coding of `sint32`.
#[must_use]
pub fn encode_zigzag32(v: i32) -> u64 {
    u64::from((v << 1 ^ v >> 31).cast_unsigned())
}

/// Decodes the zigzag coding of `sint32`.
#[must_use]
pub fn decode_zigzag32(v: u64) -> i32 {
    // Only the low 32 bits count: sint32 is decoded from a truncated varint.
    let v = v as u32;
    ((v >> 1) as i32) ^ -((v & 1) as i32)
}

/// Bytes that `v` takes as a varint.
#[inline]
#[must_use]
pub const fn varint_len(v: u64) -> usize {
    // 9/64 approximates 1/7 well enough for every bit length up to 64.
    ((64 - (v | 1).leading_zeros() as usize) * 9 + 64) / 64
}

/// Bytes of a length-delimited field with a one-byte tag (numbers 1 to 15).
#[inline]
#[must_use]
pub const fn short_tag_field_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

/// Appends `v` as a varint.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

/// Appends the tag and length of a length-delimited field; its content follows.
#[inline]
pub fn put_tag_and_len(out: &mut Vec<u8>, number: u32, len: usize) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, len as u64);
}

/// Appends a whole length-delimited field.
#[inline]
pub fn put_bytes_field(out: &mut Vec<u8>, number: u32, content: &[u8]) {
    put_tag_and_len(out, number, content.len());
    out.extend_from_slice(content);
}

/// Appends a varint field.
#[inline]
pub fn put_varint_field(out: &mut Vec<u8>, number: u32, v: u64) {
    put_varint(out, u64::from(number) << 3);
    put_varint(out, v);
}

/// Appends a `fixed64`, `sfixed64` or `double` field, the value given as its bits.
#[inline]
pub fn put_fixed64_field(out: &mut Vec<u8>, number: u32, bits: u64) {
    put_varint(out, u64::from(number) << 3 | 1);
    out.extend_from_slice(&bits.to_le_bytes());
}

/// Appends a packed field of values of eight bytes; nothing for none.
pub(crate) fn put_packed_fixed64<T>(out: &mut Vec<u8>, number: u32, values: &[T], bits: impl Fn(&T) -> u64) {
    if !values.is_empty() {
        put_tag_and_len(out, number, values.len() * 8);
        values.iter().for_each(|v| out.extend_from_slice(&bits(v).to_le_bytes()));
    }
}

/// Appends a packed field of varints; nothing for none.
pub(crate) fn put_packed_varints(out: &mut Vec<u8>, number: u32, values: &[u64]) {
    if !values.is_empty() {
        put_tag_and_len(out, number, packed_varints_len(values));
        values.iter().for_each(|v| put_varint(out, *v));
    }
}

/// Bytes that these values take as varints.
pub(crate) fn packed_varints_len(values: &[u64]) -> usize {
    values.iter().map(|v| varint_len(*v)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varint_len_is_the_number_of_bytes_written() {
        for shift in 0..64 {
            for v in [1_u64 << shift, (1_u64 << shift) - 1, (1_u64 << shift) + 1] {
                let mut out = Vec::new();
                put_varint(&mut out, v);
                assert_eq!(out.len(), varint_len(v), "{v}");
                assert_eq!(read_varint(&out), Some((v, &[][..])));
            }
        }
        assert_eq!(varint_len(u64::MAX), 10);
    }

    #[test]
    fn overlong_and_truncated_varints_are_refused() {
        assert_eq!(read_varint(&[0xff; 11]), None);
        assert_eq!(read_varint(&[0x80, 0x80]), None);
        assert_eq!(read_varint(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]), None);
    }

    #[test]
    fn attribute_with_more_than_a_key_and_a_string_is_not_a_short_string_attribute() {
        let plain = b"\x0a\x03abc\x12\x04\x0a\x02xy";
        assert_eq!(short_string_attribute(plain), Some((5, &b"\x02xy"[..])));
        for other in [
            &b"\x0a\x03abc\x12\x04\x0a\x02xyz"[..],
            b"\x0a\x03abc\x12\x04\x0a\x02x",
            b"\x0a\x03abc\x12\x02\x0a\x00",
            b"\x0a\x03abc\x12\x02\x18\x01",
            b"\x12\x04\x0a\x02xy\x0a\x03abc",
            b"\x0a\x03ab",
            b"\x0a\x03abc\x12\x05\x0a\x02xy",
            b"",
        ] {
            assert_eq!(short_string_attribute(other), None, "{other:?}");
        }
    }

    #[test]
    fn reading_stops_at_malformed_bytes() {
        assert_eq!(MessageFields::new(&[0x0a, 5, 1]).count(), 0);
        assert_eq!(MessageFields::new(&[0x08, 1, 0x0b]).count(), 1);
    }
}
