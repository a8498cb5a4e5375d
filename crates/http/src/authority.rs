//! Corrects invalid authorities: clients over a unix socket send the path of the socket as `:authority`.
//!
//! gRPC's C core (Python, C++, Ruby) sends `tmp%2Fotel.sock` and grpc-java `/tmp/otel.sock`; h2 resets the streams of
//! both (hyperium/h2#487) where grpc-go accepts them. [`Authority`] scans the incoming header blocks (RFC 7541) and
//! overwrites each byte of such a value that is not allowed in an authority with `-`. The length does not change, so
//! the positions of all other bytes and the sizes of HPACK's tables do not change either; h2 indexes the corrected
//! value.
//!
//! It does so for literals whose name is a literal or is index 1, with neither string Huffman-coded: both clients send
//! this. It keeps no table, so a name that is an index into the dynamic table is not recognized. It never changes any
//! other byte and never validates a block: h2 detects errors in it.

const NAME: &[u8; 10] = b":authority";
/// `:authority` in the static table.
const INDEX: u8 = 1;
/// Most bytes after the first byte of an integer; h2 accepts no more either.
const INTEGER: u8 = 4;

/// HEADERS and CONTINUATION (RFC 9113, 6.2 and 6.10) and the flags that say what else is in their payload.
pub(crate) const HEADERS: u8 = 1;
pub(crate) const CONTINUATION: u8 = 9;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// The place of a piece in a payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    /// Length of the whole payload.
    pub(crate) length: usize,
    /// How much of it came before the piece.
    pub(crate) at: usize,
}

/// Scans the header blocks of one connection.
#[derive(Debug)]
pub(crate) struct Authority {
    next: Next,
    padding: u8,
}

/// What the next byte of a block belongs to.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// The first byte of a field or of a change of the table's size.
    Field,
    /// The rest of an index or of a size; its value is not used.
    Index(After),
    /// The first byte of a string.
    String(Text),
    /// The rest of a string's length.
    Length { text: Text, huffman: bool, length: usize, bytes: u8 },
    /// The bytes of a string.
    Bytes { text: Text, left: usize },
    /// The position is unknown until the next block begins.
    Lost,
}

#[derive(Clone, Copy, Debug)]
enum After {
    Field,
    Value,
}

/// What a string is.
#[derive(Clone, Copy, Debug)]
enum Text {
    /// A name; so many bytes of it match `:authority` so far.
    Name(usize),
    OtherName,
    Value(Value),
    OtherValue,
}

/// What kind of authority the bytes so far are.
#[derive(Clone, Copy, Debug)]
enum Value {
    Begin,
    /// In the brackets of an IPv6 address, which may have a zone behind `%`.
    Address,
    Plain,
    /// It contains a byte that is not allowed in an authority: delimiters have no meaning any more.
    Path,
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self { next: Next::Field, padding: 0 }
    }

    /// Takes the next piece of a HEADERS or CONTINUATION frame's payload.
    pub(crate) fn pass(&mut self, place: Place, piece: &mut [u8]) {
        let Place { kind, flags, length, at } = place;
        let has = |flag: u8| kind == HEADERS && flags & flag != 0;
        if at == 0 {
            if kind == HEADERS {
                self.next = Next::Field;
            }
            self.padding = if has(PADDED) { piece.first().copied().unwrap_or(0) } else { 0 };
        }
        let begin = usize::from(has(PADDED)) + if has(PRIORITY) { 5 } else { 0 };
        let end = length.saturating_sub(usize::from(self.padding));
        let within = begin.saturating_sub(at)..end.saturating_sub(at).min(piece.len());
        if let Some(block) = piece.get_mut(within) {
            self.block(block);
        }
    }

    fn block(&mut self, mut rest: &mut [u8]) {
        loop {
            // The bytes of a string are processed together, everything else byte by byte.
            if let Next::Bytes { text, left } = self.next {
                let (now, later) = rest.split_at_mut(left.min(rest.len()));
                self.next = text.pass(now, left - now.len());
                rest = later;
            }
            let Some((byte, later)) = rest.split_first_mut() else { return };
            self.next = self.next.byte(*byte);
            rest = later;
        }
    }
}

impl Next {
    fn byte(self, byte: u8) -> Self {
        let more = byte & 0x80 != 0;
        match self {
            Self::Field => Self::field(byte),
            Self::Index(_) if more => self,
            Self::Index(After::Field) => Self::Field,
            Self::Index(After::Value) => Self::String(Text::OtherValue),
            Self::String(text) => match byte & 0x7f {
                0x7f => Self::Length { text, huffman: more, length: 0x7f, bytes: 0 },
                length => text.begin(more, usize::from(length)),
            },
            Self::Length { bytes: INTEGER, .. } => Self::Lost,
            Self::Length { text, huffman, length, bytes } => {
                let length = length.saturating_add(usize::from(byte & 0x7f) << (7 * bytes));
                match more {
                    true => Self::Length { text, huffman, length, bytes: bytes + 1 },
                    false => text.begin(huffman, length),
                }
            }
            Self::Bytes { .. } | Self::Lost => Self::Lost,
        }
    }

    /// The representations of RFC 7541, 6: an index, three kinds of literals, and a new size of the table.
    fn field(byte: u8) -> Self {
        let literal = |mask: u8| match byte & mask {
            0 => Self::String(Text::Name(0)),
            INDEX => Self::String(Text::Value(Value::Begin)),
            index if index == mask => Self::Index(After::Value),
            _ => Self::String(Text::OtherValue),
        };
        let alone = |mask: u8| if byte & mask == mask { Self::Index(After::Field) } else { Self::Field };
        match byte.leading_zeros() {
            0 => alone(0x7f),
            1 => literal(0x3f),
            2 => alone(0x1f),
            _ => literal(0x0f),
        }
    }
}

impl Text {
    fn begin(self, huffman: bool, length: usize) -> Next {
        let text = match self {
            Self::Name(_) if huffman || length != NAME.len() => Self::OtherName,
            Self::Value(_) if huffman => Self::OtherValue,
            text => text,
        };
        text.pass(&mut [], length)
    }

    /// Takes bytes of the string; `left` more are to come.
    fn pass(self, bytes: &mut [u8], left: usize) -> Next {
        let text = match self {
            Self::Name(at) if NAME.get(at..at + bytes.len()).is_some_and(|n| n == bytes) => {
                Self::Name(at + bytes.len())
            }
            Self::Name(_) => Self::OtherName,
            Self::Value(value) => Self::Value(bytes.iter_mut().fold(value, Value::pass)),
            text => text,
        };
        match text {
            _ if left > 0 => Next::Bytes { text, left },
            Self::Name(_) => Next::String(Self::Value(Value::Begin)),
            Self::OtherName => Next::String(Self::OtherValue),
            Self::Value(_) | Self::OtherValue => Next::Field,
        }
    }
}

impl Value {
    fn pass(self, byte: &mut u8) -> Self {
        let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
        match (self, *byte) {
            // These are not allowed in any field; they are not changed, so that h2 refuses them.
            (_, ..=0x1f | 0x7f) => self,
            (Self::Begin, b'[') => Self::Address,
            (Self::Address, b']') => Self::Plain,
            (Self::Address, b'%') => Self::Address,
            (Self::Begin, _) if unreserved => Self::Plain,
            (_, _) if unreserved => self,
            // RFC 3986, 3.2: sub-delims and the delimiters of an authority. `%` is only allowed in user information,
            // which HTTP/2 does not have (RFC 9113, 8.3.1).
            (Self::Begin | Self::Plain, b) if b"!$&'()*+,;=:@[]".contains(&b) => Self::Plain,
            (Self::Address, b) if b"!$&'()*+,;=:".contains(&b) => Self::Address,
            _ => {
                *byte = b'-';
                Self::Path
            }
        }
    }
}

#[cfg(test)]
mod tests;
