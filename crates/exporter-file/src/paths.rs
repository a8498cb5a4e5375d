//! Paths with the value of an attribute in them. A value never leads out of the directory that the configuration names.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A path with a place for a value.
#[derive(Clone, Debug)]
pub(crate) struct GroupedPath {
    prefix: Vec<u8>,
    suffix: Vec<u8>,
}

impl GroupedPath {
    pub(crate) fn new(prefix: &[u8], suffix: &[u8]) -> Self {
        let mut cleaned = clean(prefix);
        if prefix.ends_with(b"/") && !cleaned.ends_with(b"/") {
            cleaned.push(b'/');
        }
        Self { prefix: cleaned, suffix: suffix.to_vec() }
    }

    /// The path for a value. It begins with the prefix, whatever the value is.
    pub(crate) fn for_value(&self, value: &[u8]) -> PathBuf {
        let value = match value {
            [b'.', rest @ ..] if rest.starts_with(b"/") => rest,
            [b'.', b'.', rest @ ..] if rest.starts_with(b"/") => rest,
            _ => value,
        };
        let path = clean(&[&self.prefix, value, &self.suffix].concat());
        let path = if path.starts_with(&self.prefix) {
            path
        } else {
            // From the root on, `..` has nothing to lead to.
            let inside = clean(&[b"/", value, &self.suffix].concat());
            clean(&[&self.prefix, b"/".as_slice(), &inside].concat())
        };
        OsString::from_vec(path).into()
    }
}

/// The shortest path that means the same without looking at the file system: no `.`, no `..` but at the beginning, no
/// repeated slashes.
fn clean(path: &[u8]) -> Vec<u8> {
    let is_rooted = path.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match parts.last() {
                Some(last) if *last != b".." => {
                    parts.pop();
                }
                _ if is_rooted => {}
                _ => parts.push(part),
            },
            part => parts.push(part),
        }
    }
    let mut cleaned = if is_rooted { vec![b'/'] } else { Vec::new() };
    cleaned.extend_from_slice(&parts.join(&b'/'));
    if cleaned.is_empty() {
        cleaned.push(b'.');
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_for_a_value_stays_behind_the_prefix() {
        for (prefix, suffix, value, expected) in [
            ("/data/", ".json", "a", "/data/a.json"),
            ("/data/", ".json", "a/b", "/data/a/b.json"),
            ("/data/", ".json", "../etc/my_config", "/data/etc/my_config.json"),
            ("/data/", ".json", "./a", "/data/a.json"),
            ("/data/", ".json", "a/../../../x", "/data/x.json"),
            ("/data/", ".json", "/abs", "/data/abs.json"),
            ("/data/", "/x.json", "..", "/data/x.json"),
            ("/data/app-", ".json", "../x", "/data/app-/x.json"),
            ("/data/app-", ".json", "a/../../x", "/data/app-/x.json"),
            ("./data//", "", "", "data"),
            ("/a/../b/", "", "c", "/b/c"),
            ("rel/", ".json", "..", "rel/...json"),
        ] {
            let grouped = GroupedPath::new(prefix.as_bytes(), suffix.as_bytes());
            let path = grouped.for_value(value.as_bytes());
            assert_eq!(path.to_str(), Some(expected), "{prefix}*{suffix} with {value}");
        }
    }
}
