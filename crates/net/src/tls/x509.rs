//! The fields of a certificate (RFC 5280) that rustls does not give: validity, CA flag, key usage, type of the key.
//!
//! Reads DER and checks no signature. What can't be read is `None`, and is never a reason to trust a certificate.

/// The fields that are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct CertificateInfo<'a> {
    /// The issuer's name, the whole DER element.
    pub(super) issuer: &'a [u8],
    /// Seconds since the Unix epoch.
    pub(super) not_before: i64,
    /// Seconds since the Unix epoch.
    pub(super) not_after: i64,
    /// The content of `subjectPublicKeyInfo`.
    public_key: &'a [u8],
    /// It may sign other certificates: basic constraints say so, or its version has no extensions.
    pub(super) is_ca: bool,
    /// It has subject alternative names that a client can compare.
    pub(super) has_subject_alt_name: bool,
    /// The content of the extension `extKeyUsage`.
    ext_key_usage: Option<&'a [u8]>,
}

/// `id-kp-serverAuth`.
pub(super) const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
/// `id-kp-clientAuth`.
pub(super) const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
/// `anyExtendedKeyUsage`.
const ANY_PURPOSE: &[u8] = &[0x55, 0x1d, 0x25, 0];

const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const EXT_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: &[u8] = &[0x2b, 0x81, 4, 0, 0x22];
const P521: &[u8] = &[0x2b, 0x81, 4, 0, 0x23];

const BOOLEAN: u8 = 1;
const INTEGER: u8 = 2;
const BIT_STRING: u8 = 3;
const OCTET_STRING: u8 = 4;
const OID: u8 = 6;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;

/// DER elements one after another.
#[derive(Clone, Copy)]
struct DerReader<'a>(&'a [u8]);

impl<'a> DerReader<'a> {
    /// The next element: its tag, its content, and all of it.
    fn read_element(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let (&[tag, first], rest) = self.0.split_first_chunk::<2>()?;
        let (length, header_length) = if first < 0x80 {
            (usize::from(first), 2)
        } else {
            let count = usize::from(first & 0x7f);
            let bytes = rest.get(..count).filter(|_| (1..=4).contains(&count))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), 2 + count)
        };
        let end = header_length.checked_add(length)?;
        let (whole, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        Some((tag, whole.get(header_length..)?, whole))
    }

    /// The content of the next element, which has this tag.
    fn read(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.read_element().filter(|(found, ..)| *found == tag).map(|(_, content, _)| content)
    }

    /// The same where the element may be left out.
    fn read_optional(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.0.first() == Some(&tag) { self.read(tag) } else { None }
    }
}

impl<'a> CertificateInfo<'a> {
    /// Reads a certificate.
    pub(super) fn parse(certificate: &'a [u8]) -> Option<Self> {
        let mut certificate_fields = DerReader(DerReader(certificate).read(SEQUENCE)?);
        let mut fields = DerReader(certificate_fields.read(SEQUENCE)?);
        let version = fields.read_optional(0xa0).and_then(|content| DerReader(content).read(INTEGER));
        fields.read(INTEGER)?;
        fields.read(SEQUENCE)?;
        let (_, _, issuer) = fields.read_element()?;
        let mut validity = DerReader(fields.read(SEQUENCE)?);
        let (not_before, not_after) = (parse_time(&mut validity)?, parse_time(&mut validity)?);
        let _subject = fields.read_element()?;
        let public_key = fields.read(SEQUENCE)?;
        // Version 3 is the number two, and the only one with extensions.
        let is_ca = version != Some(&[2]);
        let mut info =
            Self { issuer, not_before, not_after, public_key, is_ca, has_subject_alt_name: false, ext_key_usage: None };
        while !fields.0.is_empty() {
            let (tag, content, _) = fields.read_element()?;
            if tag == 0xa3 {
                info.parse_extensions(DerReader(DerReader(content).read(SEQUENCE)?))?;
            }
        }
        Some(info)
    }

    fn parse_extensions(&mut self, mut extensions: DerReader<'a>) -> Option<()> {
        while !extensions.0.is_empty() {
            let mut extension = DerReader(extensions.read(SEQUENCE)?);
            let id = extension.read(OID)?;
            let _ = extension.read_optional(BOOLEAN);
            let value = DerReader(extension.read(OCTET_STRING)?).read(SEQUENCE);
            match (id, value) {
                (BASIC_CONSTRAINTS, value) => self.is_ca = DerReader(value?).read_optional(BOOLEAN) == Some(&[0xff]),
                (SUBJECT_ALT_NAME, Some(names)) => self.has_subject_alt_name = !names.is_empty(),
                (EXT_KEY_USAGE, value) => self.ext_key_usage = Some(value?),
                _ => {}
            }
        }
        Some(())
    }

    /// Whether it may be used for this purpose: extended key usages do not exclude it.
    pub(super) fn allows_purpose(&self, purpose: &[u8]) -> bool {
        let Some(purposes) = self.ext_key_usage else { return true };
        let mut purposes = DerReader(purposes);
        std::iter::from_fn(|| purposes.read(OID)).any(|found| found == purpose || found == ANY_PURPOSE)
    }

    /// Why this key can't be used to sign (`for_signing`) or to verify, if it can't.
    pub(super) fn unusable_key(&self, for_signing: bool) -> Option<String> {
        let mut key = DerReader(self.public_key);
        let mut algorithm = DerReader(key.read(SEQUENCE)?);
        match algorithm.read(OID)? {
            RSA => {
                let bits = rsa_bits(key.read(BIT_STRING)?)?;
                // The largest keys that `ring` signs with and verifies.
                let max_bits = if for_signing { 4096 } else { 8192 };
                (!(2048..=max_bits).contains(&bits))
                    .then(|| format!("an RSA key of {bits} bits can't be used; those of 2048 to {max_bits} bits can"))
            }
            EC => {
                let name = match algorithm.read(OID) {
                    Some(P256 | P384) => return None,
                    Some(P521) => "P-521",
                    _ => "a curve",
                };
                Some(format!("an ECDSA key on {name} can't be used; those on P-256 and P-384 can"))
            }
            ED25519 => None,
            _ => Some("its kind of key can't be used; RSA, ECDSA on P-256 and P-384, and Ed25519 can".to_owned()),
        }
    }
}

/// Bits of the modulus.
fn rsa_bits(bit_string: &[u8]) -> Option<usize> {
    let mut key = DerReader(DerReader(bit_string.get(1..)?).read(SEQUENCE)?);
    let modulus = key.read(INTEGER)?;
    let start = modulus.iter().position(|byte| *byte != 0)?;
    let modulus = modulus.get(start..)?;
    Some(modulus.len() * 8 - usize::try_from(modulus.first()?.leading_zeros()).ok()?)
}

/// Seconds since the Unix epoch.
fn parse_time(der: &mut DerReader<'_>) -> Option<i64> {
    let (tag, content, _) = der.read_element()?;
    let number = |range: std::ops::Range<usize>| {
        let digits = content.get(range)?;
        digits.iter().try_fold(0_i64, |n, d| d.is_ascii_digit().then(|| n * 10 + i64::from(d - b'0')))
    };
    let (year, month_at) = match tag {
        // RFC 5280, 4.1.2.5.1: the years 1950 to 2049.
        UTC_TIME => (number(0..2).map(|year| if year < 50 { 2000 + year } else { 1900 + year })?, 2),
        GENERALIZED_TIME => (number(0..4)?, 4),
        _ => return None,
    };
    let two_digits = |n: usize| number(month_at + 2 * n..month_at + 2 * n + 2);
    let (month, day, hour, minute, second) =
        (two_digits(0)?, two_digits(1)?, two_digits(2)?, two_digits(3)?, two_digits(4)?);
    if content.get(month_at + 10..) != Some(b"Z") || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    Some(days_since_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days from the Unix epoch to a date of the Gregorian calendar.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    // If a year begins in March, its leap day is the last day.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leaps + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_converted_to_days_and_seconds_since_the_epoch() {
        for (year, month, day, expected) in
            [(1970, 1, 1, 0), (1969, 12, 31, -1), (2000, 2, 29, 11_016), (2000, 3, 1, 11_017), (2026, 1, 1, 20_454)]
        {
            assert_eq!(days_since_epoch(year, month, day), expected, "{year}-{month}-{day}");
        }
        let utc = |text: &[u8]| parse_time(&mut DerReader(&[&[UTC_TIME, text.len() as u8], text].concat()));
        assert_eq!(utc(b"700101000001Z"), Some(1));
        assert_eq!(utc(b"500101000000Z"), Some(days_since_epoch(1950, 1, 1) * 86_400));
        assert_eq!(utc(b"490101000000Z"), Some(days_since_epoch(2049, 1, 1) * 86_400));
        for wrong in [&b"700101000001"[..], b"701301000001Z", b"7001010000xxZ", b"", b"700101000001+0100"] {
            assert_eq!(utc(wrong), None);
        }
    }

    #[test]
    fn truncated_or_changed_certificate_never_causes_a_panic() {
        let mut params = rcgen::CertificateParams::new(vec!["gateway".to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let der = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec();
        let facts = CertificateInfo::parse(&der).unwrap();
        assert!(facts.is_ca && facts.has_subject_alt_name);
        assert!(facts.allows_purpose(SERVER_AUTH) && !facts.allows_purpose(CLIENT_AUTH));
        assert_eq!(facts.issuer.first(), Some(&SEQUENCE));
        assert!(facts.not_before < facts.not_after);
        for end in 0..der.len() {
            assert!(CertificateInfo::parse(&der[..end]).is_none(), "{end}");
            for bit in 0..8 {
                let mut changed = der.clone();
                changed[end] ^= 1 << bit;
                if let Some(facts) = CertificateInfo::parse(&changed) {
                    let _ = (facts.unusable_key(true), facts.allows_purpose(SERVER_AUTH));
                }
            }
        }
    }
}
