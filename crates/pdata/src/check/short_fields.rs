//! Recognizes valid fields of a short form by a few loads of a fixed width, without the general loop.
//!
//! Never rejects a field: what it does not recognize is left to the general loop. A message is the beginning of a slice
//! that goes on to the end of the body, so that loads may go beyond the message; the lengths that they show are compared
//! with its end afterwards.

use crate::schema::{ANY_VALUE, FieldCheck, MessageSchema, ShortForm};

/// As many bytes as are read of a field before all of its lengths are known to be right: two lengths of one byte with
/// their tags, the key between them and the value's tag, and eight bytes of a varint.
const WINDOW: usize = 4 + 0xff + 3 + 8;

/// What follows the fields at the beginning of `tail` that are valid and have a short form. The last `stop` bytes of
/// `tail` are behind the message. Ends at any other field, and near the end of the body. `None`: one of the fields
/// exceeds the message, which is therefore malformed.
pub(super) fn skip_short_fields<'a>(
    message: &'static MessageSchema,
    tail: &'a [u8],
    stop: usize,
    with_attributes: bool,
) -> Option<&'a [u8]> {
    skip_fields(message, tail, stop, with_attributes)
}

/// The same without a call.
#[inline(always)]
pub(super) fn skip_fields<'a>(
    message: &'static MessageSchema,
    tail: &'a [u8],
    stop: usize,
    with_attributes: bool,
) -> Option<&'a [u8]> {
    let bound = stop.max(WINDOW - 1);
    let mut rest = tail;
    loop {
        rest = skip_scalars(message, rest, bound);
        let Some(window) = rest.first_chunk::<WINDOW>().filter(|_| rest.len() > bound) else { break };
        let [tag, ..] = *window;
        let len = match message.short_form(tag) {
            ShortForm::KeyValue if with_attributes => {
                let after = skip_string_attributes(rest, bound, tag);
                if after.len() < rest.len() {
                    rest = after;
                    continue;
                }
                scalar_attribute_len(window)
            }
            ShortForm::Message => short_message_len(message, rest, window, with_attributes),
            _ => break,
        };
        let Some(next) = len.and_then(|len| rest.get(len..)) else { break };
        rest = next;
    }
    (rest.len() >= stop).then_some(rest)
}

/// What follows the scalars at the beginning. Ends when no more than `bound` bytes are left.
#[inline]
fn skip_scalars<'a>(message: &'static MessageSchema, tail: &'a [u8], bound: usize) -> &'a [u8] {
    let mut rest = tail;
    while rest.len() > bound
        && let Some([tag, second, ..]) = rest.first_chunk::<WINDOW>()
        && let Some(len) = message.short_form(*tag).scalar_len(*second)
        && let Some(next) = rest.get(len..)
    {
        rest = next;
    }
    rest
}

/// What follows the attributes at the beginning that have the most common form: `tag`, a key and a string, with lengths
/// of one byte and nothing else. Ends when no more than `bound` bytes are left.
#[inline]
fn skip_string_attributes(attributes: &[u8], bound: usize, tag: u8) -> &[u8] {
    let mut rest = attributes;
    while rest.len() > bound
        && let Some(window) = rest.first_chunk::<WINDOW>()
    {
        let first = word(window, 0);
        // The next attribute follows from the first length alone, so that the processor can go on with it before it has
        // compared the others.
        let len = usize::from(window[1]);
        let key_len = first >> 24;
        let second = word(window, 4 + key_len);
        let string_len = second >> 24;
        if first & 0x00ff_00ff != 0x000a_0000 | usize::from(tag)
            || len >= 0x80
            || len != key_len + string_len + 6
            || second != 0x000a_0212 + string_len * 0x0100_0100
        {
            break;
        }
        let Some(next) = rest.get(2 + len..) else { break };
        rest = next;
    }
    rest
}

/// The length of an attribute of a key and a value that is any scalar, tag included, with lengths of one byte and nothing
/// else.
#[inline(never)]
fn scalar_attribute_len(window: &[u8; WINDOW]) -> Option<usize> {
    let first = word(window, 0);
    let (len, key_end) = (first >> 8 & 0xff, 4 + (first >> 24));
    let second = word(window, key_end);
    let value_len = second >> 8 & 0xff;
    let content_len = match ANY_VALUE.short_form((second >> 16) as u8) {
        ShortForm::Varint => 1 + varint_len(window, key_end + 3)?,
        form => form.scalar_len((second >> 24) as u8)?,
    };
    let is_short = first & 0x80ff_8000 == 0x000a_0000 && second & 0x80ff == 0x12 && content_len == value_len;
    (is_short && len == key_end + value_len).then_some(len + 2)
}

/// A tag, a length, a tag and a length.
#[inline(always)]
fn word(window: &[u8; WINDOW], at: usize) -> usize {
    window.get(at..).and_then(|word| word.first_chunk()).map_or(0, |word| u32::from_le_bytes(*word) as usize)
}

/// The length of a varint of at most eight bytes.
#[inline]
fn varint_len(window: &[u8; WINDOW], at: usize) -> Option<usize> {
    let bytes = window.get(at..).and_then(|word| word.first_chunk()).map(|word| u64::from_le_bytes(*word))?;
    let ends = !bytes & 0x8080_8080_8080_8080;
    (ends != 0).then_some(ends.trailing_zeros() as usize / 8 + 1)
}

/// The length of a message field, tag included, whose content has less than 128 bytes and is nothing but short fields.
#[inline]
fn short_message_len(
    message: &'static MessageSchema,
    field: &[u8],
    window: &[u8; WINDOW],
    with_attributes: bool,
) -> Option<usize> {
    let [tag, len @ ..0x80, inner_tag, second, ..] = *window else { return None };
    let FieldCheck::Message(inner) = message.check_of(u32::from(tag >> 3)) else { return None };
    let len = usize::from(len);
    // A lone scalar, as in most statuses.
    if inner.short_form(inner_tag).scalar_len(second) == Some(len) {
        return Some(2 + len);
    }
    let content = field.get(2..)?;
    let stop = content.len().checked_sub(len)?;
    let rest = skip_short_fields(inner, content, stop, with_attributes)?;
    (rest.len() == stop).then_some(2 + len)
}

/// An item at the beginning of a slice that goes on to the end of the body.
pub(super) struct ShortItem<'a> {
    pub(super) content: &'a [u8],
    /// Bytes of that behind the item.
    pub(super) stop: usize,
}

/// The schema of the items in this field, if it has a tag of one byte.
#[inline]
pub(super) fn item_schema(message: &'static MessageSchema, tag: u8) -> Option<&'static MessageSchema> {
    match message.check_of(u32::from(tag >> 3)) {
        FieldCheck::Item(item) if message.short_form(tag) == ShortForm::Item => Some(item),
        _ => None,
    }
}

/// The item at the beginning of `tail`, if it has this tag and a length of one or two bytes, and ends before the last
/// `stop` bytes.
#[inline]
pub(super) fn short_item<'a>(tag: u8, tail: &'a [u8], stop: usize) -> Option<ShortItem<'a>> {
    let (len, content) = match *tail {
        [t, len @ ..0x80, ref content @ ..] if t == tag => (usize::from(len), content),
        [t, low, high @ ..0x80, ref content @ ..] if t == tag => {
            (usize::from(low & 0x7f) | usize::from(high) << 7, content)
        }
        _ => return None,
    };
    let after = content.len().checked_sub(len).filter(|after| *after >= stop)?;
    Some(ShortItem { content, stop: after })
}
