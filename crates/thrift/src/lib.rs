//! Reads Apache Thrift: the binary and the compact protocol.
//!
//! A [`Reader`] goes over bytes in memory, value by value, and returns views into them. It allocates nothing, skips what
//! its caller does not know, and does no more work than the bytes are long. Writes nothing, and knows no message: which
//! fields a struct has is the caller's knowledge.
//!
//! Sources: <https://github.com/apache/thrift/blob/master/doc/specs/thrift-binary-protocol.md> and
//! `thrift-compact-protocol.md` beside it.
//!
//! ```
//! use otelcore_thrift::{Kind, Protocol, Reader};
//!
//! // A struct with field 1, an i16 of 5, and field 2, the text "ab".
//! let bytes = b"\x06\x00\x01\x00\x05\x0b\x00\x02\x00\x00\x00\x02ab\x00";
//! let mut reader = Reader::new(Protocol::Binary, bytes);
//! let (mut number, mut text) = (0, &b""[..]);
//! reader.read_struct(|reader, id, kind| match (id, kind) {
//!     (1, Kind::I16) => reader.i16().map(|v| number = v),
//!     (2, Kind::Binary) => reader.binary().map(|v| text = v),
//!     _ => reader.skip(kind),
//! })?;
//! assert_eq!((number, text), (5, &b"ab"[..]));
//! # Ok::<(), otelcore_thrift::ThriftError>(())
//! ```
#![forbid(unsafe_code)]

/// How deep structs, lists and maps may be inside one another.
pub const MAX_DEPTH: u8 = 64;

/// Why bytes are no Thrift.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ThriftError {
    /// They end inside a value, or a length says more than there is.
    #[error("unexpected end of the thrift data at byte {0}")]
    Truncated(usize),
    /// A type that does not exist.
    #[error("unknown thrift type {kind} at byte {at}")]
    UnknownType {
        /// The number of the type.
        kind: u8,
        /// Where it stands.
        at: usize,
    },
    /// A length below zero, or a number of more bytes than its type has.
    #[error("invalid length or number at byte {0}")]
    InvalidNumber(usize),
    /// Values are deeper inside one another than [`MAX_DEPTH`].
    #[error("thrift data is nested too deep at byte {0}")]
    TooDeep(usize),
    /// The beginning of a message is not that of this protocol.
    #[error("not a thrift message of this protocol")]
    NoMessage,
}

/// The encoding of values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// Numbers with all their bytes, the most significant first.
    Binary,
    /// Numbers with as many bytes as they need.
    Compact,
}

/// The type of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A boolean.
    Bool,
    /// One byte with a sign.
    Byte,
    /// A double.
    Double,
    /// Two bytes with a sign.
    I16,
    /// Four bytes with a sign; enums too.
    I32,
    /// Eight bytes with a sign.
    I64,
    /// Bytes, or text, which may be no UTF-8.
    Binary,
    /// A struct.
    Struct,
    /// A map.
    Map,
    /// A set.
    Set,
    /// A list.
    List,
}

impl Kind {
    fn of_binary(number: u8) -> Option<Self> {
        Some(match number {
            2 => Self::Bool,
            3 => Self::Byte,
            4 => Self::Double,
            6 => Self::I16,
            8 => Self::I32,
            10 => Self::I64,
            11 => Self::Binary,
            12 => Self::Struct,
            13 => Self::Map,
            14 => Self::Set,
            15 => Self::List,
            _ => return None,
        })
    }

    fn of_compact(number: u8) -> Option<Self> {
        Some(match number {
            1 | 2 => Self::Bool,
            3 => Self::Byte,
            4 => Self::I16,
            5 => Self::I32,
            6 => Self::I64,
            7 => Self::Double,
            8 => Self::Binary,
            9 => Self::List,
            10 => Self::Set,
            11 => Self::Map,
            12 => Self::Struct,
            _ => return None,
        })
    }
}

/// What a message is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageKind {
    /// A call that has a reply.
    Call,
    /// A reply.
    Reply,
    /// An error as the reply.
    Exception,
    /// A call without a reply.
    Oneway,
}

/// The beginning of a message. Its arguments follow as a struct.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageHead<'a> {
    /// The name of the method.
    pub name: &'a [u8],
    /// What it is for.
    pub kind: MessageKind,
    /// The number that the reply repeats.
    pub sequence: i32,
}

/// Reads values one after another. A failed read leaves it at an unspecified place.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    protocol: Protocol,
    rest: &'a [u8],
    len: usize,
    depth: u8,
    /// In the compact protocol a boolean field is a part of its type.
    bool_of_field: Option<bool>,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from their beginning.
    #[must_use]
    pub fn new(protocol: Protocol, bytes: &'a [u8]) -> Self {
        Self { protocol, rest: bytes, len: bytes.len(), depth: 0, bool_of_field: None }
    }

    /// How many bytes have been read.
    #[must_use]
    pub fn position(&self) -> usize {
        self.len - self.rest.len()
    }

    /// Whether all bytes have been read.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    fn truncated(&self) -> ThriftError {
        ThriftError::Truncated(self.position())
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], ThriftError> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.truncated())?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn one_byte(&mut self) -> Result<u8, ThriftError> {
        Ok(u8::from_be_bytes(self.bytes()?))
    }

    fn varint(&mut self) -> Result<u64, ThriftError> {
        let at = self.position();
        let mut value = 0_u64;
        for i in 0..10 {
            let byte = self.one_byte()?;
            if i == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(ThriftError::InvalidNumber(at))
    }

    /// A number with a sign, whose varint has its sign in the lowest bit.
    fn zigzag(&mut self) -> Result<i64, ThriftError> {
        let v = self.varint()?;
        Ok((v >> 1).cast_signed() ^ -(v & 1).cast_signed())
    }

    fn narrow_zigzag<T: TryFrom<i64>>(&mut self) -> Result<T, ThriftError> {
        let at = self.position();
        T::try_from(self.zigzag()?).map_err(|_| ThriftError::InvalidNumber(at))
    }

    /// A length of bytes or elements, of which each takes at least one byte of the rest.
    fn length(&mut self) -> Result<usize, ThriftError> {
        let at = self.position();
        let length = match self.protocol {
            Protocol::Binary => u64::try_from(i32::from_be_bytes(self.bytes()?)),
            Protocol::Compact => Ok(self.varint()?),
        };
        let length = length.map_err(|_| ThriftError::InvalidNumber(at))?;
        usize::try_from(length).ok().filter(|length| *length <= self.rest.len()).ok_or(ThriftError::Truncated(at))
    }

    /// A boolean.
    ///
    /// # Errors
    /// See [`ThriftError`]; so for every method.
    pub fn bool(&mut self) -> Result<bool, ThriftError> {
        match self.bool_of_field.take() {
            Some(value) => Ok(value),
            // Elements are 1 and 2 in the compact protocol, or 1 and 0.
            None => Ok(self.one_byte()? == 1),
        }
    }

    /// One byte.
    ///
    /// # Errors
    /// See [`ThriftError`].
    pub fn byte(&mut self) -> Result<i8, ThriftError> {
        Ok(i8::from_be_bytes(self.bytes()?))
    }

    /// Two bytes.
    ///
    /// # Errors
    /// See [`ThriftError`].
    pub fn i16(&mut self) -> Result<i16, ThriftError> {
        match self.protocol {
            Protocol::Binary => Ok(i16::from_be_bytes(self.bytes()?)),
            Protocol::Compact => self.narrow_zigzag(),
        }
    }

    /// Four bytes.
    ///
    /// # Errors
    /// See [`ThriftError`].
    pub fn i32(&mut self) -> Result<i32, ThriftError> {
        match self.protocol {
            Protocol::Binary => Ok(i32::from_be_bytes(self.bytes()?)),
            Protocol::Compact => self.narrow_zigzag(),
        }
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// See [`ThriftError`].
    pub fn i64(&mut self) -> Result<i64, ThriftError> {
        match self.protocol {
            Protocol::Binary => Ok(i64::from_be_bytes(self.bytes()?)),
            Protocol::Compact => self.zigzag(),
        }
    }

    /// A double.
    ///
    /// # Errors
    /// See [`ThriftError`].
    pub fn double(&mut self) -> Result<f64, ThriftError> {
        let bytes = self.bytes()?;
        Ok(match self.protocol {
            Protocol::Binary => f64::from_be_bytes(bytes),
            Protocol::Compact => f64::from_le_bytes(bytes),
        })
    }

    /// Bytes or text.
    ///
    /// # Errors
    /// See [`ThriftError`].
    pub fn binary(&mut self) -> Result<&'a [u8], ThriftError> {
        let length = self.length()?;
        let (value, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.truncated())?;
        self.rest = rest;
        Ok(value)
    }

    /// Reads a struct: calls `field` with the number and the type of each field. It must read the value, or skip it.
    ///
    /// # Errors
    /// See [`ThriftError`], and those of `field`.
    pub fn read_struct<E: From<ThriftError>>(
        &mut self,
        mut field: impl FnMut(&mut Self, i16, Kind) -> Result<(), E>,
    ) -> Result<(), E> {
        self.enter()?;
        let mut id = 0_i16;
        loop {
            let at = self.position();
            let head = self.one_byte()?;
            if head == 0 {
                self.depth -= 1;
                return Ok(());
            }
            let kind = match self.protocol {
                Protocol::Binary => {
                    id = i16::from_be_bytes(self.bytes()?);
                    Kind::of_binary(head)
                }
                Protocol::Compact => {
                    id = match head >> 4 {
                        0 => self.narrow_zigzag()?,
                        step => id.wrapping_add(i16::from(step)),
                    };
                    self.bool_of_field = match head & 0xf {
                        1 => Some(true),
                        2 => Some(false),
                        _ => None,
                    };
                    Kind::of_compact(head & 0xf)
                }
            };
            let kind = kind.ok_or(ThriftError::UnknownType { kind: head, at })?;
            field(self, id, kind)?;
            self.bool_of_field = None;
        }
    }

    /// Begins a list or a set: the type of its elements, and how many of them follow. Each of them has at least a byte.
    ///
    /// # Errors
    /// See [`ThriftError`].
    pub fn list(&mut self) -> Result<(Kind, usize), ThriftError> {
        let at = self.position();
        let head = self.one_byte()?;
        let (kind, length) = match self.protocol {
            Protocol::Binary => (Kind::of_binary(head), self.length()?),
            Protocol::Compact => {
                let length = match head >> 4 {
                    15 => self.length()?,
                    short => usize::from(short),
                };
                (Kind::of_compact(head & 0xf), length)
            }
        };
        if length > self.rest.len() {
            return Err(ThriftError::Truncated(at));
        }
        match kind {
            Some(kind) => Ok((kind, length)),
            // An empty list may say that its elements have no type.
            None if length == 0 => Ok((Kind::Byte, 0)),
            None => Err(ThriftError::UnknownType { kind: head, at }),
        }
    }

    /// Begins a map: the types of keys and values, and how many entries follow.
    ///
    /// # Errors
    /// See [`ThriftError`].
    pub fn map(&mut self) -> Result<(Kind, Kind, usize), ThriftError> {
        let at = self.position();
        let known = |number, kind: Option<Kind>| kind.ok_or(ThriftError::UnknownType { kind: number, at });
        match self.protocol {
            Protocol::Binary => {
                let [key, value] = self.bytes()?;
                match self.length()? {
                    0 => Ok((Kind::Byte, Kind::Byte, 0)),
                    length => Ok((known(key, Kind::of_binary(key))?, known(value, Kind::of_binary(value))?, length)),
                }
            }
            Protocol::Compact => match self.length()? {
                0 => Ok((Kind::Byte, Kind::Byte, 0)),
                length => {
                    let kinds = self.one_byte()?;
                    let key = known(kinds >> 4, Kind::of_compact(kinds >> 4))?;
                    Ok((key, known(kinds & 0xf, Kind::of_compact(kinds & 0xf))?, length))
                }
            },
        }
    }

    /// Reads the beginning of a message.
    ///
    /// # Errors
    /// See [`ThriftError`].
    pub fn message(&mut self) -> Result<MessageHead<'a>, ThriftError> {
        let kind = |number| match number {
            1 => Ok(MessageKind::Call),
            2 => Ok(MessageKind::Reply),
            3 => Ok(MessageKind::Exception),
            4 => Ok(MessageKind::Oneway),
            _ => Err(ThriftError::NoMessage),
        };
        match self.protocol {
            Protocol::Compact => {
                let [protocol, version] = self.bytes()?;
                if protocol != 0x82 || version & 0x1f != 1 {
                    return Err(ThriftError::NoMessage);
                }
                let kind = kind(version >> 5)?;
                // The number is written without its sign.
                let sequence = (self.varint()? as u32).cast_signed();
                Ok(MessageHead { name: self.binary()?, kind, sequence })
            }
            Protocol::Binary => {
                // The first number is the version with its highest bit set, or, in the older form, the length of the name.
                let [version, _, _, number] = *self.rest.first_chunk::<4>().ok_or_else(|| self.truncated())?;
                if version & 0x80 == 0 {
                    let name = self.binary()?;
                    let kind = kind(self.one_byte()?)?;
                    return Ok(MessageHead { name, kind, sequence: self.i32()? });
                }
                let version: [u8; 4] = self.bytes()?;
                if version[..2] != [0x80, 1] {
                    return Err(ThriftError::NoMessage);
                }
                let kind = kind(number)?;
                Ok(MessageHead { name: self.binary()?, kind, sequence: self.i32()? })
            }
        }
    }

    fn enter(&mut self) -> Result<(), ThriftError> {
        if self.depth == MAX_DEPTH {
            return Err(ThriftError::TooDeep(self.position()));
        }
        self.depth += 1;
        Ok(())
    }

    /// Goes over a value of this type.
    ///
    /// # Errors
    /// See [`ThriftError`].
    pub fn skip(&mut self, kind: Kind) -> Result<(), ThriftError> {
        match kind {
            Kind::Bool => self.bool().map(drop),
            Kind::Byte => self.byte().map(drop),
            Kind::I16 => self.i16().map(drop),
            Kind::I32 => self.i32().map(drop),
            Kind::I64 => self.i64().map(drop),
            Kind::Double => self.double().map(drop),
            Kind::Binary => self.binary().map(drop),
            Kind::Struct => self.read_struct(|reader, _, kind| reader.skip(kind)),
            Kind::List | Kind::Set => {
                let (kind, length) = self.list()?;
                self.enter()?;
                for _ in 0..length {
                    self.skip(kind)?;
                }
                self.depth -= 1;
                Ok(())
            }
            Kind::Map => {
                let (key, value, length) = self.map()?;
                self.enter()?;
                for _ in 0..length {
                    self.skip(key)?;
                    self.skip(value)?;
                }
                self.depth -= 1;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
