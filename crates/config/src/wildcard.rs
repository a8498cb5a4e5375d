//! Patterns of names in configurations: `*` is any text, `?` one character.

/// Whether a text fits a pattern, both in UTF-8. Takes at most the product of both lengths.
#[must_use]
pub fn matches_wildcard(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut star) = (0, 0, None);
    while let Some(&b) = text.get(t) {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(b'?') => {
                p += 1;
                t += 1;
                while text.get(t).is_some_and(|b| b & 0xc0 == 0x80) {
                    t += 1;
                }
            }
            Some(c) if *c == b => {
                p += 1;
                t += 1;
            }
            _ => match star {
                // The last star matches one byte more.
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    use super::matches_wildcard;

    #[test]
    fn wildcard_patterns_match_as_in_a_shell() {
        let table = [
            ("*", "", true),
            ("host.*", "host.name", true),
            ("host.*", "hostname", false),
            ("*.name", "k8s.pod.name", true),
            ("k8s.*.name", "k8s.pod.name", true),
            ("k8s.*.name", "k8s.pod.uid", false),
            ("a?c", "abc", true),
            ("a?c", "aéc", true),
            ("a?c", "ac", false),
            ("a**b", "axxb", true),
            ("a", "a", true),
            ("", "a", false),
            ("otelcol_*", "otelcol_x", true),
            ("*_spans", "otelcol_sent_spans", true),
            ("*_spans", "otelcol_sent_spans_", false),
            ("*a*b*", "xxaxxbxx", true),
            ("a.c", "abc", false),
            ("abc", "abc", true),
            ("", "abc", false),
            ("a*b", "ab", true),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(matches_wildcard(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }
}
