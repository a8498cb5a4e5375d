//! What a configuration is read from: URIs, and the files, variables and pages that the caller provides for them.

use std::sync::Arc;

use crate::diagnostics::{DiagnosticKind, Diagnostics};
use crate::nested_source::NestedSource;
use crate::node::{ConfigNode, SourceLocation, SourceText};

/// Where files, environment variables and pages come from.
pub trait ConfigSources {
    /// The bytes of a file.
    ///
    /// # Errors
    /// The file can't be read.
    fn read_file(&self, path: &str) -> Result<Vec<u8>, UnreadableSource>;

    /// An environment variable; `None` if it is not set.
    fn env_var(&self, name: &str) -> Option<String>;

    /// The body of a page with status 200; `None` if this program cannot fetch pages.
    fn fetch_http(&self, uri: &str) -> Option<Result<Vec<u8>, UnreadableSource>> {
        let _ = uri;
        None
    }

    /// The content of a URI that is part of a source already read, such as a file that a ConfigMap mounts. `None`, the
    /// default, for a URI that must be read.
    fn embedded(&self, scheme: &str, rest: &str) -> Option<EmbeddedSource> {
        let _ = (scheme, rest);
        None
    }
}

/// A file or page of a configuration, or the system, is at fault. The text is Go's: `open X: no such file or directory`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnreadableSource(pub String);

/// A source that is part of another one. Its places are those in the outer source.
#[derive(Clone, Debug)]
pub enum EmbeddedSource {
    /// YAML inside a string.
    Text(NestedSource),
    /// A tree that is parsed already.
    Tree(ConfigNode),
}

impl EmbeddedSource {
    /// Where it was written.
    #[must_use]
    pub const fn origin(&self) -> &SourceLocation {
        match self {
            Self::Text(text) => text.origin(),
            Self::Tree(node) => &node.origin,
        }
    }
}

/// Sources without files and variables.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoConfigSources;

impl ConfigSources for NoConfigSources {
    fn read_file(&self, path: &str) -> Result<Vec<u8>, UnreadableSource> {
        Err(UnreadableSource(format!("open {path}: no such file or directory")))
    }
    fn env_var(&self, _: &str) -> Option<String> {
        None
    }
}

/// The schemes that the Go collector registers.
pub(crate) const SCHEMES: [&str; 5] = ["env", "file", "yaml", "http", "https"];

pub(crate) fn warn_unset_variable(d: &Diagnostics, at: Option<&SourceLocation>, path: &str, name: &str) {
    d.warn(at, path, format!("Configuration references unset environment variable {name:?}"))
        .kind(DiagnosticKind::UnsetVariable)
        .help(format!("set {name}, or give it a default: ${{env:{name}:-value}}"));
}

/// The content of one URI or `${..}`.
pub(crate) struct Retrieved {
    pub(crate) text: String,
    /// Its name in diagnostics.
    pub(crate) name: String,
    /// Its lines must not be shown.
    pub(crate) secret: bool,
    /// The variable that is not set and has no default.
    pub(crate) unset: Option<String>,
}

impl Retrieved {
    pub(crate) fn source(&self) -> Arc<SourceText> {
        Arc::new(SourceText::from_parts(self.name.as_str().into(), self.text.as_str().into(), self.secret))
    }
}

/// `[A-Za-z][A-Za-z0-9+.-]+:` and the rest.
pub(crate) fn split_uri(uri: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = uri.split_once(':')?;
    let first = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    let others = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'.' | b'-'));
    (first && others && scheme.len() >= 2).then_some((scheme, rest))
}

/// `Ok(None)` if the scheme is not supported.
pub(crate) fn retrieve(scheme: &str, rest: &str, sources: &dyn ConfigSources) -> Result<Option<Retrieved>, String> {
    let uri = format!("{scheme}:{rest}");
    let decoded = |bytes: Vec<u8>| decode_text(bytes).map_err(|why| format!("{uri}: {why}"));
    let (text, name, secret, unset) = match scheme {
        "file" => {
            let path = clean_path(rest);
            let bytes = sources.read_file(&path).map_err(|e| format!("unable to read the file {uri}: {e}"))?;
            (decoded(bytes)?, path, false, None)
        }
        "env" => {
            let (name, default) = rest.split_once(":-").map_or((rest, None), |(n, d)| (n, Some(d)));
            if !is_valid_variable_name(name) {
                let rule = "must match regex ^[a-zA-Z_][a-zA-Z0-9_]*$";
                return Err(format!("environment variable {name:?} has invalid name: {rule}"));
            }
            let value = sources.env_var(name).or_else(|| default.map(str::to_owned));
            let unset = value.is_none().then(|| name.to_owned());
            (value.unwrap_or_default(), format!("env:{name}"), true, unset)
        }
        "yaml" => (rest.to_owned(), "yaml:".to_owned(), false, None),
        "http" | "https" => match sources.fetch_http(&uri) {
            None => return Ok(None),
            Some(body) => (decoded(body.map_err(|e| e.to_string())?)?, uri.clone(), false, None),
        },
        _ => return Ok(None),
    };
    Ok(Some(Retrieved { text, name, secret, unset }))
}

/// The text of a file: UTF-8, or UTF-16 that begins with a byte order mark, as yaml.v3 reads it.
///
/// # Errors
/// The first invalid byte, or that the byte order mark is missing.
pub fn decode_text(bytes: Vec<u8>) -> Result<String, String> {
    let (body, big_endian) = match bytes.as_slice() {
        [0xff, 0xfe, body @ ..] => (body, false),
        [0xfe, 0xff, body @ ..] => (body, true),
        // In UTF-16 without a byte order mark, every other byte of ASCII characters is zero.
        [0, b' '..=b'~', 0, b' '..=b'~', ..] | [b' '..=b'~', 0, b' '..=b'~', 0, ..] => {
            return Err("UTF-16 without a byte order mark; save it as UTF-8".to_owned());
        }
        _ => {
            let text = String::from_utf8(bytes)
                .map_err(|error| format!("invalid UTF-8 at byte {}", error.utf8_error().valid_up_to()))?;
            return Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text));
        }
    };
    let (units, remainder) = body.as_chunks::<2>();
    if !remainder.is_empty() {
        return Err(format!("incomplete UTF-16 at byte {}", bytes.len() - 1));
    }
    let units = units.iter().map(|unit| if big_endian { u16::from_be_bytes(*unit) } else { u16::from_le_bytes(*unit) });
    let mut at = 2;
    char::decode_utf16(units)
        .map(|c| {
            let place = at;
            at += c.as_ref().map_or(2, |c| c.len_utf16() * 2);
            c.map_err(|_| format!("invalid UTF-16 at byte {place}"))
        })
        .collect()
}

pub(crate) fn is_valid_variable_name(name: &str) -> bool {
    let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    first && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Go's `filepath.Clean`: `.`, `..` and double slashes are resolved from the text alone, without reading the file
/// system.
fn clean_path(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|p| *p != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            _ => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn file_path_is_cleaned_as_in_go() {
        let table = [
            ("a/../b", "b"),
            ("./x.yaml", "x.yaml"),
            ("/a//b/./c/..", "/a/b"),
            ("../x", "../x"),
            ("/../x", "/x"),
            ("", "."),
            ("../../a", "../../a"),
        ];
        for (path, want) in table {
            assert_eq!(super::clean_path(path), want, "{path}");
        }
    }

    #[test]
    fn file_is_read_as_utf_8_or_as_utf_16_with_a_byte_order_mark() {
        let text = "a: \u{e9}\u{1f600}\n";
        let utf16 = |mark: u16, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            std::iter::once(mark).chain(text.encode_utf16()).flat_map(bytes).collect()
        };
        for bytes in [
            text.as_bytes().to_vec(),
            format!("\u{feff}{text}").into_bytes(),
            utf16(0xfeff, u16::to_le_bytes),
            utf16(0xfeff, u16::to_be_bytes),
        ] {
            assert_eq!(super::decode_text(bytes).as_deref(), Ok(text));
        }
        for (bytes, why) in [
            (&b"a: \xff"[..], "invalid UTF-8 at byte 3"),
            (b"a\0:\0 \0b\0", "UTF-16 without a byte order mark; save it as UTF-8"),
            (b"\0a\0:\0 \0b", "UTF-16 without a byte order mark; save it as UTF-8"),
            (b"\xff\xfea\0\0\xd8b\0", "invalid UTF-16 at byte 4"),
            (b"\xff\xfea\0:", "incomplete UTF-16 at byte 4"),
        ] {
            assert_eq!(super::decode_text(bytes.to_vec()), Err(why.to_owned()));
        }
    }

    #[test]
    fn uri_scheme_below_two_characters_is_refused() {
        assert_eq!(super::split_uri("file:/x"), Some(("file", "/x")));
        assert_eq!(super::split_uri("c:/x"), None);
        assert_eq!(super::split_uri("1a:/x"), None);
        assert_eq!(super::split_uri("a_b:x"), None);
    }
}
