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

/// The label name for an attribute key, as in otlptranslator 1.0. It is used for all labels that come from attributes:
/// those of series, of `target_info`, and of the collector's own page. With `keeps_utf8` the key is unchanged, and
/// [`otelcore_exposition::escape_name`] escapes it for the page.
///
/// # Errors
/// When the key is empty or the name would consist only of underscores.
pub fn label_name(key: &[u8], keeps_utf8: bool) -> Result<Vec<u8>, LabelNameError> {
    let first = *key.first().ok_or(LabelNameError::Empty)?;
    let mut name = Vec::with_capacity(key.len() + 4);
    if keeps_utf8 {
        name.extend_from_slice(key);
    } else {
        if first.is_ascii_digit() {
            name.extend_from_slice(b"key_");
        }
        for chunk in key.utf8_chunks() {
            let clean = |c: char| if c.is_ascii_alphanumeric() { c as u8 } else { b'_' };
            name.extend(chunk.valid().chars().map(clean));
            name.extend(chunk.invalid().iter().map(|_| b'_'));
        }
    }
    if name.iter().all(|b| *b == b'_') {
        Err(LabelNameError::Underscores(String::from_utf8_lossy(key).into_owned()))
    } else {
        Ok(name)
    }
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
}
