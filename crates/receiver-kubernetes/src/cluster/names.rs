//! Names of conditions and resources in the names of metrics.

/// What a byte is for the borders of words.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Upper,
    Lower,
    Digit,
    Other,
}

fn class(byte: u8) -> Class {
    match byte {
        b'A'..=b'Z' => Class::Upper,
        b'a'..=b'z' => Class::Lower,
        b'0'..=b'9' => Class::Digit,
        _ => Class::Other,
    }
}

/// `MemoryPressure` as `memory_pressure`, `PIDPressure` as `pid_pressure`, `ephemeral-storage` as `ephemeral_storage`.
/// Words and numbers are separated.
pub(super) fn snake_case(name: &str) -> String {
    let bytes = name.trim().as_bytes();
    let mut out = Vec::with_capacity(bytes.len() + 2);
    for (index, byte) in bytes.iter().enumerate() {
        let (this, next) = (class(*byte), bytes.get(index + 1).map_or(Class::Other, |next| class(*next)));
        let before = index.checked_sub(1).and_then(|before| bytes.get(before)).map(|before| class(*before));
        // The last capital of several begins the next word.
        if this == Class::Upper && next == Class::Lower && before == Some(Class::Upper) {
            out.push(b'_');
        }
        match byte {
            b' ' | b'_' | b'-' | b'.' => out.push(b'_'),
            other => out.push(other.to_ascii_lowercase()),
        }
        let ends_word = matches!(
            (this, next),
            (Class::Lower | Class::Digit, Class::Upper)
                | (Class::Upper | Class::Lower, Class::Digit)
                | (Class::Digit, Class::Lower)
        );
        if ends_word {
            out.push(b'_');
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_separated_by_underscores() {
        for (name, expected) in [
            ("Ready", "ready"),
            ("MemoryPressure", "memory_pressure"),
            ("PIDPressure", "pid_pressure"),
            ("ephemeral-storage", "ephemeral_storage"),
            ("hugepages-2Mi", "hugepages_2_mi"),
            ("nvidia.com/gpu", "nvidia_com/gpu"),
            ("A1B", "a_1_b"),
            ("OK", "ok"),
            ("", ""),
        ] {
            assert_eq!(snake_case(name), expected, "{name}");
        }
    }
}
