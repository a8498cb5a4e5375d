//! The metadata of a payload as bytes of a record.
//!
//! Owns the form. Touches no file.
//!
//! A version byte, then headers and attributes, each a count and that many entries: a name, the number of its values, the
//! values. An attribute has one value. Numbers are 32 bits, little-endian; a text is its length and its bytes. No
//! metadata is no bytes.

use bytes::Bytes;
use otelcore_pipeline::Metadata;

const VERSION: u8 = 1;

/// The bytes for a payload's metadata.
#[must_use]
pub fn encode_metadata(metadata: Option<&Metadata>) -> Bytes {
    let Some(metadata) = metadata else { return Bytes::new() };
    let headers: Vec<(&str, Vec<&str>)> =
        metadata.iter().map(|(name, values)| (name, values.iter().map(String::as_str).collect())).collect();
    let attributes: Vec<(&str, Vec<&str>)> =
        metadata.auth_attributes().iter().map(|(name, value)| (name.as_str(), vec![value.as_str()])).collect();
    if headers.is_empty() && attributes.is_empty() {
        return Bytes::new();
    }
    let mut bytes = vec![VERSION];
    for entries in [headers, attributes] {
        put_number(&mut bytes, entries.len());
        for (name, values) in entries {
            put_text(&mut bytes, name);
            put_number(&mut bytes, values.len());
            values.into_iter().for_each(|value| put_text(&mut bytes, value));
        }
    }
    bytes.into()
}

fn put_number(bytes: &mut Vec<u8>, number: usize) {
    bytes.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_number(bytes, text.len());
    bytes.extend_from_slice(text.as_bytes());
}

/// The metadata of these bytes; `None` where there is none, or where they are not of this form.
#[must_use]
pub fn decode_metadata(bytes: &[u8]) -> Option<Metadata> {
    let (version, mut rest) = bytes.split_first()?;
    if *version != VERSION {
        return None;
    }
    let mut metadata = Metadata::default();
    for _ in 0..take_number(&mut rest)? {
        let name = take_text(&mut rest)?;
        for _ in 0..take_number(&mut rest)? {
            metadata.add(name, take_text(&mut rest)?);
        }
    }
    let mut attributes = Vec::new();
    for _ in 0..take_number(&mut rest)? {
        let name = take_text(&mut rest)?;
        for _ in 0..take_number(&mut rest)? {
            attributes.push((name.to_owned(), take_text(&mut rest)?.to_owned()));
        }
    }
    metadata.set_auth_attributes(attributes);
    Some(metadata)
}

fn take_number(rest: &mut &[u8]) -> Option<u32> {
    let (number, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u32::from_le_bytes(*number))
}

fn take_text<'b>(rest: &mut &'b [u8]) -> Option<&'b str> {
    let length = usize::try_from(take_number(rest)?).ok()?;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> Metadata {
        let mut metadata = Metadata::default();
        metadata.add("x-tenant", "a");
        metadata.add("x-tenant", "");
        metadata.add("x-other", "ü");
        metadata.set_auth_attributes(vec![("username".to_owned(), "eve".to_owned())]);
        metadata
    }

    #[test]
    fn metadata_survives_as_bytes() {
        assert_eq!(decode_metadata(&encode_metadata(Some(&metadata()))), Some(metadata()));
        assert!(encode_metadata(None).is_empty() && encode_metadata(Some(&Metadata::default())).is_empty());
        assert_eq!(decode_metadata(&[]), None);
    }

    #[test]
    fn bytes_that_are_cut_or_changed_are_no_metadata_and_no_panic() {
        let bytes = encode_metadata(Some(&metadata()));
        for end in 0..bytes.len() {
            assert_eq!(decode_metadata(&bytes[..end]), None);
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = bytes.to_vec();
                changed[end] = value;
                let _ = decode_metadata(&changed);
            }
        }
    }
}
