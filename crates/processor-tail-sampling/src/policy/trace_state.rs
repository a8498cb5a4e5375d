//! Values in a W3C trace state. One that is not valid has none.

use otelcore_ottl::contexts::trace_state::parse;

/// The value of a key.
pub(crate) fn find<'a>(trace_state: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    parse(trace_state)?.into_iter().find_map(|(name, value)| (name == key).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_is_found_in_a_valid_trace_state_only() {
        let find = |state: &'static str, key: &str| find(state.as_bytes(), key.as_bytes()).map(String::from_utf8_lossy);
        assert_eq!(find("a=1,b=2", "b").as_deref(), Some("2"));
        assert_eq!(find(" a=1 , t1@sys=x y ", "t1@sys").as_deref(), Some("x y"));
        for bad in ["a=1,a=2", "A=1", "a=1=2", "a", "a=", "1a=1"] {
            assert_eq!(find(bad, "a"), None, "{bad}");
        }
        assert_eq!(find("", "a"), None);
    }
}
