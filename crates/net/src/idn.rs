//! Host names with non-ASCII characters: their form in look-ups, certificates and requests (RFC 5890, RFC 3492).
//!
//! Converts characters with a unique plain form: letters and digits of any script, in lower case. Characters that UTS
//! 46 would map through tables (compatibility forms, combining marks, other dots) are refused, so that no other host is
//! contacted than the intended one.

/// Why a name has no ASCII form here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IdnError {
    /// A character without a unique plain form.
    #[error("write its ASCII form, with `xn--`: {0:?} has no plain form")]
    UnsupportedCharacter(char),
    /// A label of more than 63 bytes.
    #[error("a part of it is longer than 63 bytes in its ASCII form")]
    LabelTooLong,
}

/// Bytes of a label (RFC 1035, 2.3.4).
const MAX_LABEL: usize = 63;

/// The name as it is where it is ASCII, else with every other label encoded.
pub(crate) fn ascii_host(host: &str) -> Result<String, IdnError> {
    if host.is_ascii() {
        return Ok(host.to_owned());
    }
    let labels = host.split('.').map(|label| {
        if label.is_ascii() {
            return Ok(label.to_owned());
        }
        let plain: Vec<char> = label.chars().map(lower_case_char).collect::<Result<_, _>>()?;
        // Longer labels have no form of 63 bytes, and the work grows with the square of the length.
        if plain.len() > MAX_LABEL {
            return Err(IdnError::LabelTooLong);
        }
        let encoded = format!("xn--{}", punycode(&plain).ok_or(IdnError::LabelTooLong)?);
        if encoded.len() > MAX_LABEL { Err(IdnError::LabelTooLong) } else { Ok(encoded) }
    });
    Ok(labels.collect::<Result<Vec<_>, _>>()?.join("."))
}

/// A character in lower case, if it has a unique plain form.
fn lower_case_char(c: char) -> Result<char, IdnError> {
    let compatible = matches!(c, '\u{1e9e}' | '\u{2100}'..='\u{214f}' | '\u{2460}'..='\u{24ff}' | '\u{3200}'..='\u{33ff}'
        | '\u{f900}'..='\u{faff}' | '\u{fb00}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}' | '\u{ff00}'..='\u{ffef}');
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) if !compatible && (c.is_alphanumeric() || matches!(c, '-' | '_')) => Ok(one),
        _ => Err(IdnError::UnsupportedCharacter(c)),
    }
}

/// RFC 3492, section 6.3. `None` where a number gets too large, which no label of 63 characters can cause.
fn punycode(label: &[char]) -> Option<String> {
    const BASE: u32 = 36;
    const T_MIN: u32 = 1;
    const T_MAX: u32 = 26;
    let mut encoded: String = label.iter().filter(|c| c.is_ascii()).collect();
    let basic = u32::try_from(encoded.len()).ok()?;
    if basic > 0 {
        encoded.push('-');
    }
    let (mut next, mut delta, mut bias, mut handled) = (128_u32, 0_u32, 72_u32, basic);
    while usize::try_from(handled).ok()? < label.len() {
        let smallest = label.iter().map(|c| u32::from(*c)).filter(|c| *c >= next).min()?;
        delta = delta.checked_add((smallest - next).checked_mul(handled.checked_add(1)?)?)?;
        next = smallest;
        for c in label.iter().map(|c| u32::from(*c)) {
            if c < next {
                delta = delta.checked_add(1)?;
            }
            if c != next {
                continue;
            }
            let (mut rest, mut k) = (delta, BASE);
            loop {
                let t = k.saturating_sub(bias).clamp(T_MIN, T_MAX);
                if rest < t {
                    encoded.push(encode_digit(rest));
                    break;
                }
                encoded.push(encode_digit(t + (rest - t) % (BASE - t)));
                rest = (rest - t) / (BASE - t);
                k += BASE;
            }
            bias = adapt_bias(delta, handled + 1, handled == basic);
            (delta, handled) = (0, handled + 1);
        }
        (delta, next) = (delta.checked_add(1)?, next.checked_add(1)?);
    }
    Some(encoded)
}

/// RFC 3492, section 6.1.
fn adapt_bias(delta: u32, points: u32, first: bool) -> u32 {
    let mut delta = if first { delta / 700 } else { delta / 2 };
    delta += delta / points.max(1);
    let mut k = 0;
    while delta > 455 {
        delta /= 35;
        k += 36;
    }
    k + 36 * delta / (delta + 38)
}

/// `a` to `z`, then `0` to `9`.
fn encode_digit(value: u32) -> char {
    let number = if value < 26 { value + 10 } else { value - 26 };
    char::from_digit(number, 36).unwrap_or('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn non_ascii_names_are_encoded_as_in_rfc_3492() {
        for (name, want) in [
            ("plain.example", "plain.example"),
            ("b\u{fc}cher.example", "xn--bcher-kva.example"),
            ("B\u{dc}CHER.Example", "xn--bcher-kva.Example"),
            ("m\u{fc}nchen-ost.example", "xn--mnchen-ost-9db.example"),
            ("\u{4f8b}\u{5b50}.\u{6d4b}\u{8bd5}", "xn--fsqu00a.xn--0zwm56d"),
            ("\u{43f}\u{440}\u{438}\u{43c}\u{435}\u{440}.\u{440}\u{444}", "xn--e1afmkfd.xn--p1ai"),
        ] {
            assert_eq!(ascii_host(name).as_deref(), Ok(want), "{name}");
        }
    }

    #[test]
    fn names_without_a_unique_plain_form_are_refused() {
        assert_eq!(ascii_host("u\u{308}.example"), Err(IdnError::UnsupportedCharacter('\u{308}')));
        assert_eq!(ascii_host("\u{ff45}xample.com"), Err(IdnError::UnsupportedCharacter('\u{ff45}')));
        assert_eq!(ascii_host("a\u{3002}b"), Err(IdnError::UnsupportedCharacter('\u{3002}')));
        assert_eq!(ascii_host(&"\u{fc}".repeat(64)), Err(IdnError::LabelTooLong));
        assert_eq!(ascii_host(&format!("{}.example", "\u{4f8b}\u{10000}".repeat(31))), Err(IdnError::LabelTooLong));
    }
}
