//! The W3C `tracestate`: a list of up to 32 members `key=value`, by the rules that the Go collector checks.

/// The most members of a list.
const MAX_MEMBERS: usize = 32;

/// The members of a valid list, keys and values in their order; `None` if the list is not valid.
#[must_use]
pub fn parse(text: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut members: Vec<(&[u8], &[u8])> = Vec::new();
    for member in text.split(|byte| *byte == b',').filter(|member| !member.is_empty()) {
        let at = member.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (member.get(..at)?, member.get(at + 1..)?);
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
        let key = key.get(key.iter().position(|byte| !is_space(byte)).unwrap_or(key.len())..)?;
        let value = value.get(..value.iter().rposition(|byte| !is_space(byte)).map_or(0, |last| last + 1))?;
        let is_new = !members.iter().any(|(found, _)| *found == key);
        if !is_key(key) || !is_value(value) || !is_new || members.len() == MAX_MEMBERS {
            return None;
        }
        members.push((key, value));
    }
    Some(members)
}

/// The list with a member at its beginning, without the one that had its key; `None` if key or value are not valid.
pub(super) fn insert(members: &[(&[u8], &[u8])], key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    if !is_key(key) || !is_value(value) {
        return None;
    }
    let others = members.iter().filter(|(found, _)| *found != key).take(MAX_MEMBERS - 1);
    let mut text = Vec::new();
    for (key, value) in std::iter::once(&(key, value)).chain(others) {
        if !text.is_empty() {
            text.push(b',');
        }
        text.extend_from_slice(key);
        text.push(b'=');
        text.extend_from_slice(value);
    }
    Some(text)
}

fn is_key(key: &[u8]) -> bool {
    match key.iter().position(|byte| *byte == b'@') {
        None => is_key_part(key, 255),
        Some(at) => {
            let (tenant, system) = (key.get(..at).unwrap_or_default(), key.get(at + 1..).unwrap_or_default());
            let [first, rest @ ..] = tenant else { return false };
            matches!(first, b'a'..=b'z' | b'0'..=b'9')
                && rest.len() <= 240
                && rest.iter().all(is_key_byte)
                && is_key_part(system, 13)
        }
    }
}

/// A lowercase letter and at most `most` bytes more.
fn is_key_part(part: &[u8], most: usize) -> bool {
    let [first, rest @ ..] = part else { return false };
    first.is_ascii_lowercase() && rest.len() <= most && rest.iter().all(is_key_byte)
}

fn is_key_byte(byte: &u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/')
}

fn is_value(value: &[u8]) -> bool {
    let is_inner = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'=');
    value.len() <= 256 && value.last().is_some_and(|last| *last != b' ') && value.iter().all(is_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_with_a_member_that_is_not_valid_has_no_members() {
        assert_eq!(parse(b"a=1, b=2 ,,c@d=3").unwrap(), [(&b"a"[..], &b"1"[..]), (b"b", b"2"), (b"c@d", b"3")]);
        for text in [&b"a"[..], b"A=1", b"a=", b"a=1,a=2", b"a=1=2", b"@a=1", b"a@=1", b"a= "] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        let many: Vec<String> = (0..33).map(|n| format!("a{n}=1")).collect();
        assert!(parse(many[..32].join(",").as_bytes()).is_some());
        assert!(parse(many.join(",").as_bytes()).is_none());
    }

    #[test]
    fn inserted_member_is_the_first_and_replaces_that_of_its_key() {
        let members = parse(b"a=1,b=2").unwrap();
        assert_eq!(insert(&members, b"b", b"3").unwrap(), b"b=3,a=1");
        assert_eq!(insert(&members, b"c", b"3").unwrap(), b"c=3,a=1,b=2");
        assert_eq!(insert(&members, b"C", b"3"), None);
        let many: Vec<String> = (0..32).map(|n| format!("a{n}=1")).collect();
        let many = many.join(",");
        let inserted = insert(&parse(many.as_bytes()).unwrap(), b"b", b"2").unwrap();
        assert!(inserted.starts_with(b"b=2,a0=1") && inserted.ends_with(b"a30=1"));
    }
}
