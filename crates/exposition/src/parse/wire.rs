//! Protobuf fields: numbers, lengths and bytes. Knows no message.

/// A field of a message.
pub(super) struct Field<'a> {
    pub(super) number: u32,
    pub(super) value: FieldValue<'a>,
}

#[derive(Clone, Copy)]
pub(super) enum FieldValue<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

impl<'a> FieldValue<'a> {
    pub(super) fn bytes(self) -> Result<&'a [u8], &'static str> {
        if let Self::Bytes(v) = self { Ok(v) } else { Err("a field has the wrong wire type") }
    }

    pub(super) fn varint(self) -> Result<u64, &'static str> {
        if let Self::Varint(v) = self { Ok(v) } else { Err("a field has the wrong wire type") }
    }

    /// Every NaN is the same one.
    pub(super) fn double(self) -> Result<f64, &'static str> {
        let Self::Fixed64(bits) = self else { return Err("a field has the wrong wire type") };
        Ok(canonical(f64::from_bits(bits)))
    }

    pub(super) fn text(self) -> Result<&'a str, &'static str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| "a text is not UTF-8")
    }
}

pub(super) fn canonical(v: f64) -> f64 {
    if v.is_nan() { f64::NAN } else { v }
}

pub(super) fn zigzag(v: u64) -> i64 {
    (v >> 1) as i64 ^ -((v & 1) as i64)
}

/// A varint and its length; `Ok(None)` if it is not complete.
pub(super) fn varint(data: &[u8]) -> Result<Option<(u64, usize)>, &'static str> {
    let mut v = 0_u64;
    for (i, b) in data.iter().enumerate().take(10) {
        if i == 9 && *b > 1 {
            break;
        }
        v |= u64::from(b & 0x7f) << (7 * i);
        if b & 0x80 == 0 {
            return Ok(Some((v, i + 1)));
        }
    }
    if data.len() < 10 { Ok(None) } else { Err("a varint is too long") }
}

/// The header of a field: number, wire type, length of the payload, and length of the header (tag and length).
/// `Ok(None)` if it is not complete. The payload of a varint is a part of the header.
pub(super) struct Header {
    pub(super) number: u32,
    wire_type: u64,
    varint: u64,
    pub(super) header_len: usize,
    pub(super) payload_len: usize,
}

pub(super) fn header(data: &[u8]) -> Result<Option<Header>, &'static str> {
    let Some((tag, tag_len)) = varint(data)? else { return Ok(None) };
    let number =
        u32::try_from(tag >> 3).ok().filter(|n| (1..1 << 29).contains(n)).ok_or("a field has an invalid number")?;
    let wire_type = tag & 7;
    let mut header = Header { number, wire_type, varint: 0, header_len: tag_len, payload_len: 0 };
    match wire_type {
        0 | 2 => {
            let Some((v, len)) = varint(data.get(tag_len..).unwrap_or_default())? else { return Ok(None) };
            header.header_len += len;
            if wire_type == 0 {
                header.varint = v;
            } else {
                header.payload_len = usize::try_from(v).map_err(|_| "a length exceeds its message")?;
            }
        }
        1 => header.payload_len = 8,
        5 => header.payload_len = 4,
        _ => return Err("a field has an invalid wire type"),
    }
    Ok(Some(header))
}

/// The fields of a complete message.
pub(super) struct Fields<'a> {
    data: &'a [u8],
    /// The position of the next field.
    pub(super) at: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn new(data: &'a [u8], at: usize) -> Self {
        Self { data, at }
    }

    pub(super) fn next_field(&mut self) -> Result<Option<Field<'a>>, &'static str> {
        const CUT: &str = "a field exceeds its message";
        let rest = self.data.get(self.at..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let header = header(rest)?.ok_or(CUT)?;
        let end = header.header_len.checked_add(header.payload_len).ok_or(CUT)?;
        let payload = rest.get(header.header_len..end).ok_or(CUT)?;
        let value = match header.wire_type {
            0 => FieldValue::Varint(header.varint),
            1 => FieldValue::Fixed64(u64::from_le_bytes(payload.try_into().map_err(|_| CUT)?)),
            2 => FieldValue::Bytes(payload),
            _ => FieldValue::Fixed32,
        };
        self.at += end;
        Ok(Some(Field { number: header.number, value }))
    }
}
