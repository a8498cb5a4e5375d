//! How many spans a sampled span stands for: the sampling threshold in its W3C trace state.
//!
//! Allocates nothing. What is not valid has no threshold, as in the Go collector.

/// The threshold at which nothing is sampled.
const NEVER: u64 = 1 << 56;

/// How many spans a span stands for, and whether that comes from a threshold. A number that is not whole is rounded up or
/// down by chance, so that the sum is right.
pub(crate) fn adjusted_count(trace_state: &[u8], random: &mut u64) -> (u64, bool) {
    let Some(sampled) = threshold(trace_state).map(|threshold| NEVER - threshold).filter(|sampled| *sampled > 0) else {
        return (1, false);
    };
    let (whole, rest) = (NEVER / sampled, NEVER % sampled);
    let rounds_up = rest > 0 && next_random(random) % sampled < rest;
    (whole + u64::from(rounds_up), true)
}

/// SplitMix64.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn split_once(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let index = text.iter().position(|b| *b == at)?;
    Some((text.get(..index)?, text.get(index + 1..)?))
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// The threshold of the last member `ot`, if all members are valid.
fn threshold(trace_state: &[u8]) -> Option<u64> {
    if trace_state.len() > 1024 || !trace_state.windows(3).any(|text| text == b"ot=") {
        return None;
    }
    let mut found = None;
    let members = trace_state.split(|b| *b == b',');
    // An empty one at the end does not count.
    let counted = members.clone().count() - usize::from(trace_state.ends_with(b","));
    for (index, member) in members.enumerate() {
        let member = trim(member);
        if member.is_empty() {
            if index + 1 >= 32 && index < counted {
                return None;
            }
            continue;
        }
        let (key, value) = split_once(member, b'=')?;
        if !is_key(key) || !is_value(value) || index + 1 >= 32 {
            return None;
        }
        if key == b"ot" {
            found = otel_threshold(value)?;
        }
    }
    found
}

/// The threshold of a member `ot`, if there is one; `None` if it is not valid.
fn otel_threshold(value: &[u8]) -> Option<Option<u64>> {
    let mut found = None;
    for member in value.split(|b| *b == b';') {
        let (key, value) = split_once(member, b':')?;
        let (first, rest) = key.split_first()?;
        let is_key = first.is_ascii_lowercase() && rest.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let is_value = value.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if !is_key || !is_value {
            return None;
        }
        match key {
            b"th" => found = Some(hexadecimal(value)? << (4 * (14 - value.len()))),
            b"rv" if value.len() != 14 || hexadecimal(value).is_none() => return None,
            _ => {}
        }
    }
    Some(found)
}

fn hexadecimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 14 || !text.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

fn is_key(key: &[u8]) -> bool {
    let is_rest = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'*' | b'/');
    let is_part = |part: &[u8], may_be_digit: bool, max: usize| match part.split_first() {
        Some((first, rest)) => {
            (first.is_ascii_lowercase() || may_be_digit && first.is_ascii_digit())
                && rest.iter().all(is_rest)
                && part.len() <= max
        }
        None => false,
    };
    key.len() <= 256
        && match split_once(key, b'@') {
            Some((tenant, system)) => is_part(tenant, true, 241) && is_part(system, false, 14),
            None => is_part(key, false, 256),
        }
}

fn is_value(value: &[u8]) -> bool {
    let is_visible = |b: &u8| (0x21..=0x7e).contains(b) && !matches!(b, b',' | b'=');
    value.len() <= 256
        && value
            .split_last()
            .is_some_and(|(last, rest)| is_visible(last) && rest.iter().all(|b| *b == b' ' || is_visible(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_stands_for_as_many_as_its_threshold_says() {
        for (text, expected) in [
            ("", (1, false)),
            ("a=1", (1, false)),
            ("ot=th:8", (2, true)),
            ("ot=th:c;rv:00000000000001", (4, true)),
            ("x=1, ot=th:0 ", (1, true)),
            ("ot=rv:1;th:8", (1, false)),
            ("ot=th:8;", (1, false)),
            ("ot=th:zz", (1, false)),
            ("A=1,ot=th:8", (1, false)),
            ("ot=th:8,ot=rv:00000000000001", (1, false)),
            ("ot=", (1, false)),
        ] {
            assert_eq!(adjusted_count(text.as_bytes(), &mut 0), expected, "{text}");
        }
    }

    #[test]
    fn count_that_is_not_whole_is_rounded_so_that_the_sum_is_right() {
        // A threshold of one third: each span stands for one and a half.
        let mut random = 7;
        let sum: u64 = (0..10_000).map(|_| adjusted_count(b"ot=th:55555555555555", &mut random).0).sum();
        assert!((14_500..15_500).contains(&sum), "{sum}");
    }
}
