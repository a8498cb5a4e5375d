//! Which names labels and metrics may have.

/// `metric_name_validation_scheme`: which names are valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum NameValidation {
    /// Letters, digits and underscores.
    Legacy,
    /// Any text.
    #[default]
    Utf8,
}

fn is_legacy(name: &str, is_begin: fn(u8) -> bool) -> bool {
    let is_valid = |(index, byte): (usize, u8)| is_begin(byte) || (index > 0 && byte.is_ascii_digit());
    !name.is_empty() && name.bytes().enumerate().all(is_valid)
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

impl NameValidation {
    /// Whether a label may have this name.
    #[must_use]
    pub fn is_valid_label_name(self, name: &str) -> bool {
        match self {
            Self::Utf8 => !name.is_empty(),
            Self::Legacy => is_legacy(name, is_letter),
        }
    }

    /// Whether a metric may have this name.
    #[must_use]
    pub fn is_valid_metric_name(self, name: &str) -> bool {
        match self {
            Self::Utf8 => !name.is_empty(),
            Self::Legacy => is_legacy(name, |byte| is_letter(byte) || byte == b':'),
        }
    }

    /// Whether a label may have a name that this template gives.
    pub(crate) fn is_valid_template(self, template: &str) -> bool {
        match self {
            Self::Utf8 => !template.is_empty(),
            Self::Legacy => is_legacy_template(template),
        }
    }
}

/// Whether a text has the characters of a name, and `$1`, `$name` or `${name}` anywhere.
fn is_legacy_template(template: &str) -> bool {
    let is_word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    let mut rest = template.as_bytes();
    if rest.first().is_none_or(u8::is_ascii_digit) {
        return false;
    }
    while let Some((byte, behind)) = rest.split_first() {
        if is_word(byte) {
            rest = behind;
            continue;
        }
        if *byte != b'$' {
            return false;
        }
        let inner = behind.strip_prefix(b"{");
        let name = inner.unwrap_or(behind);
        let (word, behind) = name.split_at(name.iter().position(|b| !is_word(b)).unwrap_or(name.len()));
        let end = if inner.is_some() { behind.strip_prefix(b"}") } else { Some(behind) };
        let Some(end) = end.filter(|_| !word.is_empty()) else { return false };
        rest = end;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_valid_by_the_scheme() {
        let legacy = NameValidation::Legacy;
        assert!(
            legacy.is_valid_label_name("_a1") && !legacy.is_valid_label_name("1a") && !legacy.is_valid_label_name("")
        );
        assert!(!legacy.is_valid_label_name("a.b") && NameValidation::Utf8.is_valid_label_name("a.b"));
        assert!(legacy.is_valid_metric_name("a:b") && !legacy.is_valid_label_name("a:b"));
        for (template, is_valid) in [
            ("$1", true),
            ("${1}_x", true),
            ("a$b9", true),
            ("a${b}c$d", true),
            ("", false),
            ("1a", false),
            ("a$", false),
            ("$$", false),
            ("${a", false),
            ("${}", false),
            ("a-b", false),
        ] {
            assert_eq!(legacy.is_valid_template(template), is_valid, "{template}");
        }
    }
}
