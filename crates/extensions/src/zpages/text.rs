//! Numbers and texts as people read them, and values in queries.
//!
//! Owns their form, which the script of the live page has too.

use otelcore_http::status::percent_decode;

/// A number of bytes.
pub(super) fn bytes(value: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut rest = value as f64 / 1024.0;
    let mut unit = 0;
    while rest >= 1024.0 && unit + 1 < UNITS.len() {
        (rest, unit) = (rest / 1024.0, unit + 1);
    }
    if value < 1024 { format!("{value} B") } else { format!("{rest:.1} {}", UNITS[unit]) }
}

/// The beginning of a text.
pub(super) fn shortened(text: &str, max: usize) -> std::borrow::Cow<'_, str> {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// `name=value` of a query.
pub(super) fn query_pair(name: &str, value: &str) -> String {
    let mut pair = format!("{name}=");
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => pair.push(char::from(byte)),
            byte => pair.push_str(&format!("%{byte:02X}")),
        }
    }
    pair
}

/// The value of a pair in a query.
pub(super) fn query_value(raw: &str) -> String {
    percent_decode(raw.replace('+', " ").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_a_unit() {
        assert_eq!([0, 1023, 1024, 3 << 20, 5 << 40].map(bytes), ["0 B", "1023 B", "1.0 KiB", "3.0 MiB", "5.0 TiB"]);
    }

    #[test]
    fn value_of_a_query_is_encoded_and_read() {
        assert_eq!(query_pair("q", "a b&c=ü-1"), "q=a%20b%26c%3D%C3%BC-1");
        assert_eq!(["a%20b%26c%3D%C3%BC-1", "a+b"].map(query_value), ["a b&c=ü-1", "a b"]);
    }

    #[test]
    fn long_text_is_shortened_at_a_character() {
        assert_eq!((shortened("äöü", 2), shortened("äöü", 3)), ("äö…".into(), "äöü".into()));
    }
}
