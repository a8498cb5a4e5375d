//! What the names and values of header fields may contain. Knows no extension.

/// Whether it is a token of RFC 9110.
#[cfg(any(feature = "bearertokenauth", feature = "headers_setter"))]
pub(crate) fn is_header_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(allowed)
}

/// Whether a header field can carry it (RFC 9110, 5.5): no control characters inside.
#[cfg(any(feature = "bearertokenauth", feature = "headers_setter"))]
pub(crate) fn is_field_value(value: &str) -> bool {
    value.bytes().all(|b| b == b'\t' || (b >= b' ' && b != 0x7f))
}

/// Removes the line breaks at the end: a value from a file or a variable often has one.
pub(crate) fn remove_last_line_breaks(text: &mut String) {
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
}
