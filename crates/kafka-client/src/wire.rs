//! The primitive types of Kafka's protocol: reads and writes them.
//!
//! A length or a count that a peer declares is compared with the bytes that are there before anything is reserved. Knows no message.

/// The peer's bytes are not what its protocol says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The message ends in the middle of a field.
    #[error("the message ends in the middle of a field")]
    UnexpectedEnd,
    /// A length or a count is negative, or more than the bytes that follow can hold.
    #[error("a length or a count does not fit the message")]
    BadLength,
    /// A variable-length number is too long.
    #[error("a variable-length number is too long")]
    BadVarint,
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    BadText,
    /// More entries than this client accepts.
    #[error("more entries than are accepted")]
    TooMany,
}

type Result<T> = std::result::Result<T, WireError>;

/// Reads one message. `flexible` is whether its version has compact lengths and tagged fields.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    flexible: bool,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8], flexible: bool) -> Self {
        Self { bytes, flexible }
    }

    /// What has not been read.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// There are fewer.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.bytes.split_at_checked(len).ok_or(WireError::UnexpectedEnd)?;
        self.bytes = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.bytes.split_first_chunk::<N>().ok_or(WireError::UnexpectedEnd)?;
        self.bytes = rest;
        Ok(*head)
    }

    /// INT8.
    ///
    /// # Errors
    /// The message ends.
    pub fn i8(&mut self) -> Result<i8> {
        self.array().map(i8::from_be_bytes)
    }

    /// INT16.
    ///
    /// # Errors
    /// The message ends.
    pub fn i16(&mut self) -> Result<i16> {
        self.array().map(i16::from_be_bytes)
    }

    /// INT32.
    ///
    /// # Errors
    /// The message ends.
    pub fn i32(&mut self) -> Result<i32> {
        self.array().map(i32::from_be_bytes)
    }

    /// UINT32.
    ///
    /// # Errors
    /// The message ends.
    pub fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// INT64.
    ///
    /// # Errors
    /// The message ends.
    pub fn i64(&mut self) -> Result<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// UNSIGNED_VARINT, of 32 bits.
    ///
    /// # Errors
    /// The message ends, or the number is longer than 32 bits.
    pub fn unsigned_varint(&mut self) -> Result<u32> {
        u32::try_from(self.varint_bits(5)?).map_err(|_| WireError::BadVarint)
    }

    /// VARINT, of 32 bits with the sign in the lowest one.
    ///
    /// # Errors
    /// As [`Reader::unsigned_varint`].
    pub fn varint(&mut self) -> Result<i32> {
        i32::try_from(self.varlong()?).map_err(|_| WireError::BadVarint)
    }

    /// VARLONG, of 64 bits with the sign in the lowest one.
    ///
    /// # Errors
    /// The message ends, or the number is longer than 64 bits.
    pub fn varlong(&mut self) -> Result<i64> {
        let bits = self.varint_bits(10)?;
        Ok((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed())
    }

    fn varint_bits(&mut self, max_bytes: u32) -> Result<u64> {
        let mut value = 0_u64;
        for i in 0..max_bytes {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f).checked_shl(7 * i).ok_or(WireError::BadVarint)?;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::BadVarint)
    }

    /// The length of a text or of bytes; `None` for null.
    fn len(&mut self, is_short: bool) -> Result<Option<usize>> {
        let len = if self.flexible {
            i64::from(self.unsigned_varint()?) - 1
        } else if is_short {
            i64::from(self.i16()?)
        } else {
            i64::from(self.i32()?)
        };
        match usize::try_from(len) {
            Ok(len) if len <= self.bytes.len() => Ok(Some(len)),
            Ok(_) => Err(WireError::BadLength),
            Err(_) if len == -1 => Ok(None),
            Err(_) => Err(WireError::BadLength),
        }
    }

    /// UUID.
    ///
    /// # Errors
    /// The message ends.
    pub fn topic_id(&mut self) -> Result<[u8; 16]> {
        self.array()
    }

    /// NULLABLE_STRING or COMPACT_NULLABLE_STRING.
    ///
    /// # Errors
    /// See [`WireError`].
    pub fn nullable_string(&mut self) -> Result<Option<&'a str>> {
        let Some(len) = self.len(true)? else { return Ok(None) };
        std::str::from_utf8(self.take(len)?).map(Some).map_err(|_| WireError::BadText)
    }

    /// STRING or COMPACT_STRING.
    ///
    /// # Errors
    /// See [`WireError`].
    pub fn string(&mut self) -> Result<&'a str> {
        self.nullable_string()?.ok_or(WireError::BadLength)
    }

    /// BYTES or COMPACT_BYTES; null is empty.
    ///
    /// # Errors
    /// See [`WireError`].
    pub fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = self.len(false)?.unwrap_or(0);
        self.take(len)
    }

    /// The number of elements of an array; null is none. Each element takes at least `min_bytes`, so that a count that the message
    /// has no room for is refused.
    ///
    /// # Errors
    /// See [`WireError`].
    pub fn count(&mut self, min_bytes: usize) -> Result<usize> {
        let count = self.len(false)?.unwrap_or(0);
        if count > self.bytes.len() / min_bytes.max(1) { Err(WireError::BadLength) } else { Ok(count) }
    }

    /// Skips the tagged fields of a flexible version; reads nothing in others.
    ///
    /// # Errors
    /// See [`WireError`].
    pub fn skip_tags(&mut self) -> Result<()> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.unsigned_varint()? {
            self.unsigned_varint()?;
            let len = self.unsigned_varint()?;
            self.take(usize::try_from(len).map_err(|_| WireError::BadLength)?)?;
        }
        Ok(())
    }

    /// Reads the tagged fields of a flexible version: their numbers and values. Reads nothing in others.
    ///
    /// # Errors
    /// See [`WireError`], or what `read` returns.
    pub fn tags(&mut self, mut read: impl FnMut(u32, &'a [u8]) -> Result<()>) -> Result<()> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.unsigned_varint()? {
            let (tag, len) = (self.unsigned_varint()?, self.unsigned_varint()?);
            let value = self.take(usize::try_from(len).map_err(|_| WireError::BadLength)?)?;
            read(tag, value)?;
        }
        Ok(())
    }

    /// Skips an array of INT32; returns how many there are.
    ///
    /// # Errors
    /// See [`WireError`].
    pub fn skip_i32s(&mut self) -> Result<usize> {
        let count = self.count(4)?;
        self.take(count * 4).map(|_| count)
    }
}

/// Writes one message.
#[derive(Clone, Debug)]
pub struct Writer {
    /// What was written.
    pub bytes: Vec<u8>,
    flexible: bool,
}

impl Writer {
    /// Begins a message.
    #[must_use]
    pub fn new(flexible: bool) -> Self {
        Self { bytes: Vec::with_capacity(128), flexible }
    }

    /// INT8.
    pub fn i8(&mut self, v: i8) {
        self.bytes.extend_from_slice(&v.to_be_bytes());
    }

    /// BOOLEAN.
    pub fn bool(&mut self, v: bool) {
        self.bytes.push(u8::from(v));
    }

    /// INT16.
    pub fn i16(&mut self, v: i16) {
        self.bytes.extend_from_slice(&v.to_be_bytes());
    }

    /// INT32.
    pub fn i32(&mut self, v: i32) {
        self.bytes.extend_from_slice(&v.to_be_bytes());
    }

    /// INT64.
    pub fn i64(&mut self, v: i64) {
        self.bytes.extend_from_slice(&v.to_be_bytes());
    }

    /// UUID.
    pub fn topic_id(&mut self, id: [u8; 16]) {
        self.bytes.extend_from_slice(&id);
    }

    /// UNSIGNED_VARINT.
    pub fn unsigned_varint(&mut self, v: u64) {
        put_unsigned_varint(&mut self.bytes, v);
    }

    /// The length of bytes or the number of elements of an array.
    pub fn len(&mut self, len: usize) {
        if self.flexible {
            self.unsigned_varint(len as u64 + 1);
        } else {
            self.i32(i32::try_from(len).unwrap_or(i32::MAX));
        }
    }

    /// STRING or COMPACT_STRING. What is longer than 32767 bytes is cut at a character.
    pub fn string(&mut self, text: &str) {
        let text = text.get(..text.floor_char_boundary(i16::MAX as usize)).unwrap_or_default();
        if self.flexible {
            self.unsigned_varint(text.len() as u64 + 1);
        } else {
            self.i16(i16::try_from(text.len()).unwrap_or(i16::MAX));
        }
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// A null string.
    pub fn null_string(&mut self) {
        if self.flexible { self.unsigned_varint(0) } else { self.i16(-1) }
    }

    /// NULLABLE_STRING or COMPACT_NULLABLE_STRING.
    pub fn nullable_string(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None => self.null_string(),
        }
    }

    /// An array that is null.
    pub fn null_array(&mut self) {
        if self.flexible { self.unsigned_varint(0) } else { self.i32(-1) }
    }

    /// BYTES or COMPACT_BYTES.
    pub fn put_bytes(&mut self, bytes: &[u8]) {
        self.len(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// No tagged fields, in a flexible version.
    pub fn no_tags(&mut self) {
        if self.flexible {
            self.bytes.push(0);
        }
    }
}

/// Appends an UNSIGNED_VARINT.
pub(crate) fn put_unsigned_varint(out: &mut Vec<u8>, mut v: u64) {
    while v > 0x7f {
        out.push((v & 0x7f) as u8 | 0x80);
        v >>= 7;
    }
    out.push((v & 0x7f) as u8);
}

/// Appends a VARINT or VARLONG.
pub(crate) fn put_varlong(out: &mut Vec<u8>, v: i64) {
    put_unsigned_varint(out, ((v << 1) ^ (v >> 63)).cast_unsigned());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length_are_read_as_written() {
        for v in [0, 1, -1, 63, 64, -64, -65, 300, i64::from(i32::MAX), i64::from(i32::MIN), i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            put_varlong(&mut out, v);
            let mut reader = Reader::new(&out, false);
            assert_eq!((reader.varlong(), reader.rest()), (Ok(v), &[][..]));
        }
        assert_eq!(Reader::new(&[0xff; 11], false).varlong(), Err(WireError::BadVarint));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x7f], false).unsigned_varint(), Err(WireError::BadVarint));
    }

    #[test]
    fn count_that_the_message_has_no_room_for_is_refused() {
        let mut message = Vec::from(i32::MAX.to_be_bytes());
        message.extend([0; 100]);
        assert_eq!(Reader::new(&message, false).count(1), Err(WireError::BadLength));
        message.splice(..4, 30_i32.to_be_bytes());
        assert_eq!(Reader::new(&message, false).count(4), Err(WireError::BadLength));
        assert_eq!(Reader::new(&message, false).count(3), Ok(30));
        message.splice(..4, (-1_i32).to_be_bytes());
        assert_eq!(Reader::new(&message, false).count(3), Ok(0));
        message.splice(..4, (-2_i32).to_be_bytes());
        assert_eq!(Reader::new(&message, false).count(3), Err(WireError::BadLength));
    }

    #[test]
    fn texts_and_tags_are_read_in_both_forms() {
        for flexible in [false, true] {
            let mut writer = Writer::new(flexible);
            writer.string("topic");
            writer.null_string();
            writer.put_bytes(b"abc");
            if flexible {
                // Two tagged fields.
                writer.bytes.extend([2, 0, 1, 9, 200, 1, 2, 9, 9]);
            }
            writer.i16(7);
            let mut reader = Reader::new(&writer.bytes, flexible);
            assert_eq!(reader.string(), Ok("topic"));
            assert_eq!(reader.nullable_string(), Ok(None));
            assert_eq!(reader.bytes(), Ok(&b"abc"[..]));
            reader.skip_tags().unwrap();
            assert_eq!((reader.i16(), reader.rest()), (Ok(7), &[][..]));
        }
    }
}
