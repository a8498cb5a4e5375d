//! Texts of tags: as typed values, and unique by key.

use otelcore_pdata::views::AnyValue;

/// The value of a tag: text, or with `parses_tags` the number or boolean that it looks like.
pub(crate) fn tag_value(text: &[u8], parses_tags: bool) -> AnyValue<'_> {
    if parses_tags { typed_value(text).unwrap_or(AnyValue::String(text)) } else { AnyValue::String(text) }
}

/// `-?[0-9]+`, `-?[0-9]+.[0-9]+`, `true` or `false`.
fn typed_value(text: &[u8]) -> Option<AnyValue<'_>> {
    match text {
        b"true" => return Some(AnyValue::Bool(true)),
        b"false" => return Some(AnyValue::Bool(false)),
        _ => {}
    }
    let text = std::str::from_utf8(text).ok()?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if is_digits(digits) {
        // One that is too large is the largest of its sign, as in Go.
        let limit = if text.starts_with('-') { i64::MIN } else { i64::MAX };
        return Some(AnyValue::Int(text.parse().unwrap_or(limit)));
    }
    let (whole, decimals) = digits.split_once('.')?;
    (is_digits(whole) && is_digits(decimals)).then(|| text.parse().ok().map(AnyValue::Double))?
}

/// Sorts by key; of equal keys the one that was added last stays.
pub(crate) fn sort_unique<K: Ord, V>(entries: &mut Vec<(K, V)>) {
    // The order of equal keys is kept by the sort, and the first of each stays.
    entries.reverse();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    entries.dedup_by(|a, b| a.0 == b.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_the_type_that_it_looks_like() {
        let shown = |text: &str, parses_tags| format!("{:?}", tag_value(text.as_bytes(), parses_tags));
        let parsed = |text| shown(text, true);
        let int = |v| format!("{:?}", AnyValue::Int(v));
        assert_eq!(parsed("-12"), int(-12));
        assert_eq!(parsed("99999999999999999999"), int(i64::MAX));
        assert_eq!(parsed("-99999999999999999999"), int(i64::MIN));
        assert_eq!(parsed("1.50"), format!("{:?}", AnyValue::Double(1.5)));
        assert_eq!(parsed("false"), format!("{:?}", AnyValue::Bool(false)));
        for text in ["", "-", "+1", "1.", ".5", "1e5", "True", "0x10", "1.2.3", "12 "] {
            assert_eq!(parsed(text), format!("{:?}", AnyValue::String(text.as_bytes())), "{text}");
        }
        assert_eq!(shown("12", false), format!("{:?}", AnyValue::String(b"12")));
    }

    #[test]
    fn last_of_equal_keys_stays() {
        let mut entries = vec![("b", 1), ("a", 2), ("b", 3), ("a", 4)];
        sort_unique(&mut entries);
        assert_eq!(entries, [("a", 4), ("b", 3)]);
    }
}
