//! Label names from attribute keys.

/// Why an attribute key gives no label name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LabelNameError {
    /// The key is empty.
    #[error("label name is empty")]
    Empty,
    /// The name that is made from this key would consist only of underscores.
    #[error("label name {0:?} comes to underscores only")]
    Underscores(String),
}

/// How label names are made from attribute keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LabelNaming {
    /// The key is unchanged; the other rules are for names of letters, digits and underscores.
    pub keeps_utf8: bool,
    /// Underscores that follow one another become one, except the two at both ends of a reserved name (`__name__`).
    pub joins_underscores: bool,
    /// A name that begins with one underscore gets `key` in front.
    pub prefixes_underscore: bool,
}

/// The label name for an attribute key, as in otlptranslator 1.0. It is used for all labels that the `prometheus`
/// exporter and the collector's own page make from attributes. With `keeps_utf8` the key is unchanged, and
/// [`otelcore_exposition::escape_name`] escapes it for the page.
///
/// # Errors
/// When the key is empty or the name would consist only of underscores.
pub fn label_name(key: &[u8], keeps_utf8: bool) -> Result<Vec<u8>, LabelNameError> {
    let mut name = Vec::with_capacity(key.len() + 4);
    put_label_name(&mut name, key, LabelNaming { keeps_utf8, ..LabelNaming::default() })?;
    Ok(name)
}

/// Appends the label name for an attribute key.
///
/// # Errors
/// When the key is empty or the name would consist only of underscores; `out` is then as before.
pub fn put_label_name(out: &mut Vec<u8>, key: &[u8], naming: LabelNaming) -> Result<(), LabelNameError> {
    if key.is_empty() {
        return Err(LabelNameError::Empty);
    }
    let start = out.len();
    if naming.keeps_utf8 {
        out.extend_from_slice(key);
    } else {
        put_legacy_name(out, key, naming);
    }
    if out.get(start..).unwrap_or_default().iter().all(|b| *b == b'_') {
        out.truncate(start);
        return Err(LabelNameError::Underscores(String::from_utf8_lossy(key).into_owned()));
    }
    Ok(())
}

/// Appends a name of letters, digits and underscores.
fn put_legacy_name(out: &mut Vec<u8>, key: &[u8], naming: LabelNaming) {
    let start = out.len();
    let reserved =
        key.strip_prefix(b"__").and_then(|rest| rest.strip_suffix(b"__")).filter(|_| naming.joins_underscores);
    if reserved.is_some() {
        out.extend_from_slice(b"__");
    }
    let mut is_after_underscore = false;
    let mut put = |byte: u8| {
        if byte != b'_' || !is_after_underscore || !naming.joins_underscores {
            out.push(byte);
        }
        is_after_underscore = byte == b'_';
    };
    for chunk in reserved.unwrap_or(key).utf8_chunks() {
        chunk.valid().chars().for_each(|c| put(if c.is_ascii_alphanumeric() { c as u8 } else { b'_' }));
        chunk.invalid().iter().for_each(|_| put(b'_'));
    }
    if reserved.is_some() {
        out.extend_from_slice(b"__");
    }
    let prefix: &[u8] = match out.get(start..).unwrap_or_default() {
        [b'0'..=b'9', ..] => b"key_",
        [b'_', b'_', ..] => b"",
        [b'_', ..] if naming.prefixes_underscore => b"key",
        _ => b"",
    };
    out.splice(start..start, prefix.iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attribute_keys_become_label_names_as_in_the_go_collector() {
        let name = |key: &str, utf8| label_name(key.as_bytes(), utf8).ok().map(|n| String::from_utf8(n).unwrap());
        let table = [
            ("http.method", Some("http_method"), Some("http.method")),
            ("a..b", Some("a__b"), Some("a..b")),
            ("a:b", Some("a_b"), Some("a:b")),
            ("0x", Some("key_0x"), Some("0x")),
            ("_x", Some("_x"), Some("_x")),
            ("", None, None),
            ("é", None, Some("é")),
            ("...", None, Some("...")),
            ("__", None, None),
            ("é1", Some("_1"), Some("é1")),
            ("__name__", Some("__name__"), Some("__name__")),
        ];
        for (key, escaped, kept) in table {
            assert_eq!(name(key, false).as_deref(), escaped, "{key}");
            assert_eq!(name(key, true).as_deref(), kept, "{key}");
        }
    }

    #[test]
    fn underscores_are_joined_and_prefixed_as_in_remote_write() {
        let naming = LabelNaming { joins_underscores: true, prefixes_underscore: true, ..LabelNaming::default() };
        let name = |key: &str| {
            let mut out = b"x".to_vec();
            let result = put_label_name(&mut out, key.as_bytes(), naming);
            result.ok().map(|()| String::from_utf8(out.split_off(1)).unwrap())
        };
        let table = [
            ("http.method", Some("http_method")),
            ("a..b__c", Some("a_b_c")),
            ("_x", Some("key_x")),
            ("__x", Some("key_x")),
            ("...x", Some("key_x")),
            ("é1", Some("key_1")),
            ("__name__", Some("__name__")),
            ("__a..b__", Some("__a_b__")),
            ("__1__", Some("__1__")),
            ("0x", Some("key_0x")),
            ("x_", Some("x_")),
            ("", None),
            ("__", Some("key_")),
            ("____", None),
            ("...", Some("key_")),
        ];
        for (key, expected) in table {
            assert_eq!(name(key).as_deref(), expected, "{key}");
        }
    }
}
