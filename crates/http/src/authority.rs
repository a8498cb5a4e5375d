//! Corrects invalid authorities: clients over a unix socket send the path of the socket as `:authority`.
//!
//! gRPC's C core (Python, C++, Ruby) sends `tmp%2Fotel.sock` and grpc-java `/tmp/otel.sock`; h2 resets the streams of
//! both (hyperium/h2#487) where grpc-go accepts them. [`AuthorityCorrector`] scans the incoming header blocks (RFC
//! 7541) and overwrites each byte of such a value that is not allowed in an authority with `-`. Lengths are kept, so
//! the positions of all other bytes and the sizes of HPACK's tables do not change either; h2 indexes the corrected
//! value.
//!
//! It does so for literals whose name is a literal or is index 1, with neither string Huffman-coded: both clients send
//! this. It keeps no table, so a name that is an index into the dynamic table is not recognized. It never changes any
//! other byte and never validates a block: h2 detects errors in it.

const NAME: &[u8; 10] = b":authority";
/// `:authority` in the static table.
const STATIC_TABLE_INDEX: u8 = 1;
/// Most bytes after the first byte of an integer; h2 accepts no more either.
const MAX_INTEGER_BYTES: u8 = 4;

/// HEADERS and CONTINUATION (RFC 9113, 6.2 and 6.10) and the flags that say what else is in their payload.
pub(crate) const HEADERS: u8 = 1;
pub(crate) const CONTINUATION: u8 = 9;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// The position of a piece in a payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PayloadPosition {
    pub(crate) frame_type: u8,
    pub(crate) flags: u8,
    /// Length of the whole payload.
    pub(crate) length: usize,
    /// How much of it came before the piece.
    pub(crate) offset: usize,
}

/// Scans the header blocks of one connection.
#[derive(Debug)]
pub(crate) struct AuthorityCorrector {
    state: BlockState,
    padding: u8,
}

/// What the next byte of a header block belongs to.
#[derive(Clone, Copy, Debug)]
enum BlockState {
    /// The first byte of a field or of a change of the table's size.
    Field,
    /// The rest of an index or of a size; its value is not used.
    RestOfIndex(AfterIndex),
    /// The first byte of a string.
    String(StringRole),
    /// The rest of a string's length.
    StringLength { text: StringRole, huffman: bool, length: usize, bytes: u8 },
    /// The bytes of a string.
    StringBytes { text: StringRole, left: usize },
    /// The position is unknown until the next block begins.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
enum AfterIndex {
    Field,
    Value,
}

/// What a string is.
#[derive(Clone, Copy, Debug)]
enum StringRole {
    /// A name; so many bytes of it match `:authority` so far.
    Name(usize),
    OtherName,
    Value(AuthorityForm),
    OtherValue,
}

/// What kind of authority the bytes so far are.
#[derive(Clone, Copy, Debug)]
enum AuthorityForm {
    Empty,
    /// In the brackets of an IPv6 address, which may have a zone behind `%`.
    Ipv6Address,
    Plain,
    /// It contains a byte that is not allowed in an authority: delimiters have no meaning any more.
    SocketPath,
}

impl AuthorityCorrector {
    pub(crate) fn new() -> Self {
        Self { state: BlockState::Field, padding: 0 }
    }

    /// Takes the next piece of a HEADERS or CONTINUATION frame's payload.
    pub(crate) fn process_payload(&mut self, position: PayloadPosition, piece: &mut [u8]) {
        let PayloadPosition { frame_type, flags, length, offset } = position;
        let has_flag = |flag: u8| frame_type == HEADERS && flags & flag != 0;
        if offset == 0 {
            if frame_type == HEADERS {
                self.state = BlockState::Field;
            }
            self.padding = if has_flag(PADDED) { piece.first().copied().unwrap_or(0) } else { 0 };
        }
        let block_begin = usize::from(has_flag(PADDED)) + if has_flag(PRIORITY) { 5 } else { 0 };
        let block_end = length.saturating_sub(usize::from(self.padding));
        let within = block_begin.saturating_sub(offset)..block_end.saturating_sub(offset).min(piece.len());
        if let Some(block) = piece.get_mut(within) {
            self.process_block(block);
        }
    }

    fn process_block(&mut self, mut rest: &mut [u8]) {
        loop {
            // The bytes of a string are processed together, everything else byte by byte.
            if let BlockState::StringBytes { text, left } = self.state {
                let (taken, later) = rest.split_at_mut(left.min(rest.len()));
                self.state = text.process_bytes(taken, left - taken.len());
                rest = later;
            }
            let Some((byte, later)) = rest.split_first_mut() else { return };
            self.state = self.state.after_byte(*byte);
            rest = later;
        }
    }
}

impl BlockState {
    fn after_byte(self, byte: u8) -> Self {
        let high_bit = byte & 0x80 != 0;
        match self {
            Self::Field => Self::after_first_byte(byte),
            Self::RestOfIndex(_) if high_bit => self,
            Self::RestOfIndex(AfterIndex::Field) => Self::Field,
            Self::RestOfIndex(AfterIndex::Value) => Self::String(StringRole::OtherValue),
            Self::String(text) => match byte & 0x7f {
                0x7f => Self::StringLength { text, huffman: high_bit, length: 0x7f, bytes: 0 },
                length => text.begin_string(high_bit, usize::from(length)),
            },
            Self::StringLength { bytes: MAX_INTEGER_BYTES, .. } => Self::Unknown,
            Self::StringLength { text, huffman, length, bytes } => {
                let length = length.saturating_add(usize::from(byte & 0x7f) << (7 * bytes));
                match high_bit {
                    true => Self::StringLength { text, huffman, length, bytes: bytes + 1 },
                    false => text.begin_string(huffman, length),
                }
            }
            Self::StringBytes { .. } | Self::Unknown => Self::Unknown,
        }
    }

    /// The representations of RFC 7541, 6: an index, three kinds of literals, and a new size of the table.
    fn after_first_byte(byte: u8) -> Self {
        let literal = |mask: u8| match byte & mask {
            0 => Self::String(StringRole::Name(0)),
            STATIC_TABLE_INDEX => Self::String(StringRole::Value(AuthorityForm::Empty)),
            index if index == mask => Self::RestOfIndex(AfterIndex::Value),
            _ => Self::String(StringRole::OtherValue),
        };
        let indexed_or_size =
            |mask: u8| if byte & mask == mask { Self::RestOfIndex(AfterIndex::Field) } else { Self::Field };
        match byte.leading_zeros() {
            0 => indexed_or_size(0x7f),
            1 => literal(0x3f),
            2 => indexed_or_size(0x1f),
            _ => literal(0x0f),
        }
    }
}

impl StringRole {
    fn begin_string(self, huffman: bool, length: usize) -> BlockState {
        let text = match self {
            Self::Name(_) if huffman || length != NAME.len() => Self::OtherName,
            Self::Value(_) if huffman => Self::OtherValue,
            text => text,
        };
        text.process_bytes(&mut [], length)
    }

    /// Takes bytes of the string; `left` more are to come.
    fn process_bytes(self, bytes: &mut [u8], left: usize) -> BlockState {
        let text = match self {
            Self::Name(at) if NAME.get(at..at + bytes.len()).is_some_and(|n| n == bytes) => {
                Self::Name(at + bytes.len())
            }
            Self::Name(_) => Self::OtherName,
            Self::Value(value) => Self::Value(bytes.iter_mut().fold(value, AuthorityForm::process_byte)),
            text => text,
        };
        match text {
            _ if left > 0 => BlockState::StringBytes { text, left },
            Self::Name(_) => BlockState::String(Self::Value(AuthorityForm::Empty)),
            Self::OtherName => BlockState::String(Self::OtherValue),
            Self::Value(_) | Self::OtherValue => BlockState::Field,
        }
    }
}

impl AuthorityForm {
    fn process_byte(self, byte: &mut u8) -> Self {
        let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
        match (self, *byte) {
            // These are not allowed in any field; they are not changed, so that h2 refuses them.
            (_, ..=0x1f | 0x7f) => self,
            (Self::Empty, b'[') => Self::Ipv6Address,
            (Self::Ipv6Address, b']') => Self::Plain,
            (Self::Ipv6Address, b'%') => Self::Ipv6Address,
            (Self::Empty, _) if unreserved => Self::Plain,
            (_, _) if unreserved => self,
            // RFC 3986, 3.2: sub-delims and the delimiters of an authority. `%` is only allowed in user information,
            // which HTTP/2 does not have (RFC 9113, 8.3.1).
            (Self::Empty | Self::Plain, b) if b"!$&'()*+,;=:@[]".contains(&b) => Self::Plain,
            (Self::Ipv6Address, b) if b"!$&'()*+,;=:".contains(&b) => Self::Ipv6Address,
            _ => {
                *byte = b'-';
                Self::SocketPath
            }
        }
    }
}

#[cfg(test)]
mod tests;
