//! Authorities that are no authorities: clients over a unix socket whose `:authority` is the socket's path.
//!
//! gRPC's C core (Python, C++, Ruby) sends `tmp%2Fotel.sock` and grpc-java `/tmp/otel.sock`; h2 resets the streams of
//! both (hyperium/h2#487) where grpc-go takes them. [`Authority`] reads along with the header blocks that come in
//! (RFC 7541) and writes `-` over each byte of such a value that an authority cannot have. The length stays, and with
//! it the place of everything else and the size of HPACK's tables; h2 indexes the value as it is then.
//!
//! It does so for literals whose name is written out or is index 1, neither Huffman-coded: that is what both send. It
//! keeps no table, so a name that is an index into the dynamic one stays unknown. It never changes any other byte and
//! never judges a block: what is broken in it is h2's to find.

const NAME: &[u8; 10] = b":authority";
/// `:authority` in the static table.
const INDEX: u8 = 1;
/// Bytes after the first of an integer; h2 takes no more either.
const INTEGER: u8 = 4;

/// HEADERS and CONTINUATION (RFC 9113, 6.2 and 6.10) and the flags that say what else is in their payload.
pub(crate) const HEADERS: u8 = 1;
pub(crate) const CONTINUATION: u8 = 9;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Where a piece of a payload stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    /// Length of the whole payload.
    pub(crate) length: usize,
    /// How much of it came before the piece.
    pub(crate) at: usize,
}

/// Reads along with the header blocks of one connection.
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
    /// The rest of an index or of a size, which is not looked at.
    Index(After),
    /// The first byte of a string.
    String(Text),
    /// The rest of a string's length.
    Length { text: Text, huffman: bool, length: usize, bytes: u8 },
    /// The bytes of a string.
    Bytes { text: Text, left: usize },
    /// What it's at is not known until the next block begins.
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
    /// A name, of which that much is `:authority` so far.
    Name(usize),
    OtherName,
    Value(Value),
    OtherValue,
}

/// What the authority has turned out to be so far.
#[derive(Clone, Copy, Debug)]
enum Value {
    Begin,
    /// In the brackets of an IPv6 address, which may have a zone behind `%`.
    Address,
    Plain,
    /// It has what no authority has: delimiters mean nothing any more.
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
            // Strings are passed in one go, all else is read byte by byte.
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

    /// The representations of RFC 7541, 6: an index, three sorts of literals, and a new size of the table.
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
            // No field may have these, so they stay for h2 to refuse.
            (_, ..=0x1f | 0x7f) => self,
            (Self::Begin, b'[') => Self::Address,
            (Self::Address, b']') => Self::Plain,
            (Self::Address, b'%') => Self::Address,
            (Self::Begin, _) if unreserved => Self::Plain,
            (_, _) if unreserved => self,
            // RFC 3986, 3.2: sub-delims and what parts an authority. `%` was only good in user information, which
            // HTTP/2 has not (RFC 9113, 8.3.1).
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
