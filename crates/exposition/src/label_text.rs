//! Labels and quoted texts as they are written in a block and on a page. Reading them is in `block`.

use memchr::memchr3;

use crate::is_legacy_label_name;

/// Appends a label to a block. A name that is not a legacy one is written in quotes.
pub fn write_label(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    write_label_name(block, name);
    write_quoted_text(block, value);
    block.push(b'"');
}

/// Appends a comma if it is not the first label, the name, and `="`.
pub fn write_label_name(block: &mut Vec<u8>, name: &[u8]) {
    if !block.is_empty() {
        block.push(b',');
    }
    if is_legacy_label_name(name) {
        block.extend_from_slice(name);
    } else {
        block.push(b'"');
        write_quoted_text(block, name);
        block.push(b'"');
    }
    block.extend_from_slice(b"=\"");
}

/// Appends what is between quotes, such as a label value: backslash, newline and quote are escaped, everything else is
/// unchanged.
pub fn write_quoted_text(out: &mut Vec<u8>, value: &[u8]) {
    write_escaped(out, value, find_escaped);
}

fn find_escaped(text: &[u8]) -> Option<usize> {
    memchr3(b'\\', b'\n', b'"', text)
}

/// Whether [`write_quoted_text`] would escape anything in it.
#[must_use]
pub fn has_escapes(value: &[u8]) -> bool {
    find_escaped(value).is_some()
}

/// Appends a text with a backslash before each byte that `find_special` finds; a newline becomes `n`.
pub(crate) fn write_escaped(out: &mut Vec<u8>, mut text: &[u8], find_special: impl Fn(&[u8]) -> Option<usize>) {
    while let Some((plain, b, rest)) =
        find_special(text).and_then(|at| Some((text.get(..at)?, *text.get(at)?, text.get(at + 1..)?)))
    {
        out.extend_from_slice(plain);
        out.push(b'\\');
        out.push(if b == b'\n' { b'n' } else { b });
        text = rest;
    }
    out.extend_from_slice(text);
}
