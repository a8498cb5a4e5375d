//! Values in a W3C trace state. One that is not valid has none.

/// The largest number of members.
const MAX_MEMBERS: usize = 32;

/// The value of a key.
pub(crate) fn find<'a>(trace_state: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let mut members: Vec<(&[u8], &[u8])> = Vec::new();
    for member in trace_state.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty()) {
        let (name, value) = member.split_at(member.iter().position(|b| *b == b'=')?);
        let value = value.get(1..)?;
        let is_repeated = members.iter().any(|(other, _)| *other == name);
        if !is_key(name) || !is_value(value) || is_repeated || members.len() == MAX_MEMBERS {
            return None;
        }
        members.push((name, value));
    }
    members.into_iter().find_map(|(name, value)| (name == key).then_some(value))
}

/// `name` or `tenant@system`.
fn is_key(key: &[u8]) -> bool {
    let is_inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'*' | b'/');
    let is_name = |name: &[u8], max: usize, may_begin_with_digit: bool| match name.split_first() {
        Some((first, rest)) => {
            (first.is_ascii_lowercase() || may_begin_with_digit && first.is_ascii_digit())
                && rest.len() < max
                && rest.iter().all(is_inner)
        }
        None => false,
    };
    match key.iter().position(|b| *b == b'@') {
        None => is_name(key, 256, false),
        Some(at) => {
            let (tenant, system) = (key.get(..at).unwrap_or_default(), key.get(at + 1..).unwrap_or_default());
            is_name(tenant, 241, true) && is_name(system, 14, false)
        }
    }
}

fn is_value(value: &[u8]) -> bool {
    let is_character = |b: &u8| matches!(b, b' '..=b'~') && !matches!(b, b',' | b'=');
    matches!(value.len(), 1..=256) && value.iter().all(is_character) && value.last() != Some(&b' ')
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
