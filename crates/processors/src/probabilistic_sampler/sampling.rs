//! Consistent probability sampling of OpenTelemetry: thresholds, randomness, and where both are in a W3C tracestate.
//!
//! A threshold is the number of 56-bit values that are not sampled, so that an item is sampled if the threshold is not
//! above its randomness.

/// One more than the largest randomness: the threshold at which nothing is sampled.
pub(super) const NEVER: u64 = 1 << 56;

/// The threshold at which everything is sampled.
pub(super) const ALWAYS: u64 = 0;

/// The randomness that every threshold but [`NEVER`] samples.
pub(super) const ALL_PROBABILITIES: u64 = NEVER - 1;

/// Hexadecimal digits of 56 bits.
pub(super) const DIGITS: i32 = 14;

/// The smallest probability.
pub(super) const MIN_PROBABILITY: f64 = 1.0 / NEVER as f64;

/// The exponent of `math.Frexp`: the number is a fraction of at least one half, times two to this.
fn exponent(v: f64) -> i32 {
    if v == 0.0 {
        return 0;
    }
    // No probability is subnormal.
    ((v.to_bits() >> 52) & 0x7ff) as i32 - 1022
}

/// The threshold of a probability, rounded to so many significant digits; `None` for one outside of the range.
pub(super) fn threshold_of(probability: f64, precision: i32) -> Option<u64> {
    if !(MIN_PROBABILITY..=1.0).contains(&probability) {
        return None;
    }
    if probability == 1.0 {
        return Some(ALWAYS);
    }
    // Probabilities near zero and near one get more digits.
    let of_exponent = |v: f64| precision + exponent(v) / -4;
    let precision = of_exponent(probability).max(of_exponent(1.0 - probability)).min(DIGITS);
    let scaled = (probability * NEVER as f64).round() as u64;
    let threshold = NEVER - scaled.min(NEVER);
    let shift = 4 * (DIGITS - precision).clamp(0, DIGITS);
    if shift == 0 {
        return Some(threshold);
    }
    Some((threshold + (1 << (shift - 1))) >> shift << shift)
}

/// The probability of a threshold.
pub(super) fn probability_of(threshold: u64) -> f64 {
    (NEVER - threshold.min(NEVER)) as f64 / NEVER as f64
}

/// The text of a threshold: without zeros at its end, and empty for [`NEVER`].
pub(super) fn threshold_text(threshold: u64) -> String {
    match threshold {
        ALWAYS => "0".to_owned(),
        NEVER.. => String::new(),
        _ => format!("{threshold:014x}").trim_end_matches('0').to_owned(),
    }
}

/// The text of a randomness.
pub(super) fn randomness_text(randomness: u64) -> String {
    format!("{randomness:014x}")
}

fn hexadecimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 14 || !text.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

/// Reads 1 to 14 digits.
pub(super) fn parse_threshold(text: &[u8]) -> Option<u64> {
    hexadecimal(text).map(|v| v << (4 * (14 - text.len())))
}

/// Reads 14 digits.
pub(super) fn parse_randomness(text: &[u8]) -> Option<u64> {
    hexadecimal(text).filter(|_| text.len() == 14)
}

/// The randomness of a trace id: its last 56 bits.
pub(super) fn randomness_of_trace_id(id: &[u8]) -> u64 {
    id.last_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes) & ALL_PROBABILITIES)
}

/// The randomness of any bytes by the hash that the mode `hash_seed` has always had: only 14 bits of it decide.
pub(super) fn randomness_of_hash(bytes: &[u8], seed: u32) -> u64 {
    // FNV-1a.
    let hash = seed
        .to_le_bytes()
        .iter()
        .chain(bytes)
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    let bucket = u64::from(hash & 0x3fff);
    let other = u64::from(hash >> 18);
    (0x3fff - bucket) << 42 | (other ^ (other << 10)) << 14 | bucket
}

/// What a sampler reads of an item, and writes to one that is sampled. The texts are those of the item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SamplingState {
    pub(super) threshold: Option<(u64, Vec<u8>)>,
    pub(super) randomness: Option<(u64, Vec<u8>)>,
}

impl SamplingState {
    /// Raises the threshold. One that is higher already stays.
    pub(super) fn raise_threshold(&mut self, threshold: u64) {
        if self.threshold.as_ref().is_none_or(|(existing, _)| *existing <= threshold) {
            let text = threshold_text(threshold);
            self.threshold = (!text.is_empty()).then(|| (threshold, text.into_bytes()));
        }
    }

    pub(super) fn set_randomness(&mut self, randomness: u64) {
        self.randomness = Some((randomness, randomness_text(randomness).into_bytes()));
    }
}

/// A parsed tracestate.
#[derive(Debug, Default)]
pub(super) struct TraceState {
    pub(super) sampling: SamplingState,
    /// Other keys of the member `ot`.
    other_otel: Vec<(Vec<u8>, Vec<u8>)>,
    /// Other members.
    others: Vec<(Vec<u8>, Vec<u8>)>,
}

fn split_once(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let index = text.iter().position(|b| *b == at)?;
    Some((text.get(..index)?, text.get(index + 1..)?))
}

fn is_key_rest(key: &[u8]) -> bool {
    key.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'*' | b'/'))
}

fn is_w3c_key(key: &[u8]) -> bool {
    let starts_with = |text: &[u8], is_first: fn(&u8) -> bool| match text.split_first() {
        Some((first, rest)) => is_first(first) && is_key_rest(rest),
        None => false,
    };
    match split_once(key, b'@') {
        Some((tenant, system)) => {
            starts_with(tenant, |b| b.is_ascii_lowercase() || b.is_ascii_digit())
                && starts_with(system, u8::is_ascii_lowercase)
        }
        None => starts_with(key, u8::is_ascii_lowercase),
    }
}

fn is_w3c_value(value: &[u8]) -> bool {
    let is_visible = |b: &u8| (0x21..=0x7e).contains(b) && !matches!(b, b',' | b'=');
    value.len() <= 256
        && value
            .split_last()
            .is_some_and(|(last, rest)| is_visible(last) && rest.iter().all(|b| *b == b' ' || is_visible(b)))
}

impl TraceState {
    /// Parses a tracestate. The second value is false if it is not valid; the first then has what could be read.
    pub(super) fn parse(text: &[u8]) -> (Self, bool) {
        let mut state = Self::default();
        if text.is_empty() {
            return (state, true);
        }
        if text.len() > 1024 {
            return (state, false);
        }
        let trimmed = |member: &'_ [u8]| -> Vec<u8> {
            let is_blank = |b: &u8| matches!(b, b' ' | b'\t');
            let start = member.iter().position(|b| !is_blank(b)).unwrap_or(member.len());
            let end = member.iter().rposition(|b| !is_blank(b)).map_or(start, |at| at + 1);
            member.get(start..end).unwrap_or_default().to_vec()
        };
        let members: Vec<Vec<u8>> = text.split(|b| *b == b',').map(trimmed).collect();
        let is_member = |member: &Vec<u8>| {
            member.is_empty()
                || split_once(member, b'=').is_some_and(|(key, value)| is_w3c_key(key) && is_w3c_value(value))
        };
        if !members.iter().all(is_member) {
            return (state, false);
        }
        // An empty one at the end does not count.
        let counted = members.len() - usize::from(members.last().is_some_and(Vec::is_empty) && text.ends_with(b","));
        let mut is_valid = true;
        for (index, member) in members.iter().enumerate() {
            if index + 1 >= 32 && index < counted {
                return (state, false);
            }
            let Some((key, value)) = split_once(member, b'=') else { continue };
            let is_short = key.len() <= 256
                && split_once(key, b'@').is_none_or(|(tenant, system)| tenant.len() <= 241 && system.len() <= 14);
            if !is_short {
                is_valid = false;
            } else if key == b"ot" {
                is_valid &= state.parse_otel(value);
            } else {
                state.others.push((key.to_vec(), value.to_vec()));
            }
        }
        (state, is_valid)
    }

    /// Parses the member `ot`, which takes the place of an earlier one.
    fn parse_otel(&mut self, value: &[u8]) -> bool {
        self.sampling = SamplingState::default();
        self.other_otel.clear();
        let is_key = |key: &[u8]| {
            key.split_first().is_some_and(|(first, rest)| {
                first.is_ascii_lowercase() && rest.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            })
        };
        let is_value =
            |value: &[u8]| value.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        let members = || value.split(|b| *b == b';');
        let is_member =
            |member: &[u8]| split_once(member, b':').is_some_and(|(key, value)| is_key(key) && is_value(value));
        if value.len() > 256 || !members().all(is_member) {
            return false;
        }
        let mut is_valid = true;
        for (key, value) in members().filter_map(|member| split_once(member, b':')) {
            match key {
                b"rv" => {
                    self.sampling.randomness = parse_randomness(value).map(|v| (v, value.to_vec()));
                    is_valid &= self.sampling.randomness.is_some();
                }
                b"th" => {
                    self.sampling.threshold = parse_threshold(value).map(|v| (v, value.to_vec()));
                    is_valid &= self.sampling.threshold.is_some();
                }
                _ => self.other_otel.push((key.to_vec(), value.to_vec())),
            }
        }
        is_valid
    }

    /// Writes it: the member `ot` is first.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut otel: Vec<(&[u8], &[u8])> = Vec::new();
        if let Some((_, text)) = &self.sampling.randomness {
            otel.push((b"rv", text));
        }
        if let Some((_, text)) = &self.sampling.threshold {
            otel.push((b"th", text));
        }
        otel.extend(self.other_otel.iter().map(|(key, value)| (key.as_slice(), value.as_slice())));
        let mut out = Vec::new();
        for (index, (key, value)) in otel.into_iter().enumerate() {
            out.extend_from_slice(if index == 0 { b"ot=" } else { b";" });
            out.extend_from_slice(key);
            out.push(b':');
            out.extend_from_slice(value);
        }
        for (key, value) in &self.others {
            if !out.is_empty() {
                out.push(b',');
            }
            out.extend_from_slice(key);
            out.push(b'=');
            out.extend_from_slice(value);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threshold_of_a_probability_has_the_digits_of_the_precision() {
        for (probability, precision, expected) in [
            (1.0, 4, "0"),
            (0.5, 4, "8"),
            (0.1, 4, "e666"),
            (1.0 / 3.0, 14, "aaaaaaaaaaaaac"),
            (0.01, 2, "fd7"),
            (0.999, 3, "00419"),
        ] {
            assert_eq!(threshold_text(threshold_of(probability, precision).unwrap()), expected, "{probability}");
        }
        assert_eq!(threshold_of(0.0, 4), None);
        assert_eq!(threshold_of(1.5, 4), None);
    }

    #[test]
    fn tracestate_is_read_and_written() {
        for (text, expected, is_valid) in [
            ("", "", true),
            ("a=1, ot=th:8;rv:00000000000001;x:y ,b@c=d", "ot=rv:00000000000001;th:8;x:y,a=1,b@c=d", true),
            ("ot=th:zz", "", false),
            ("ot=rv:1", "", false),
            ("ot=th:8;", "", false),
            ("A=1", "", false),
            ("a=", "", false),
            (",,a=1,", "a=1", true),
        ] {
            let (state, valid) = TraceState::parse(text.as_bytes());
            assert_eq!((String::from_utf8(state.encode()).unwrap().as_str(), valid), (expected, is_valid), "{text}");
        }
        let many = vec!["a=1"; 32].join(",");
        assert!(!TraceState::parse(many.as_bytes()).1);
        assert!(TraceState::parse(vec!["a=1"; 31].join(",").as_bytes()).1);
    }
}
