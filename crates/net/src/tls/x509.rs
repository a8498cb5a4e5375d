//! The few fields of a certificate (RFC 5280) that rustls does not give: validity, authority, purposes, kind of key.
//!
//! Reads DER and checks no signature. What can't be read is `None`, and is never a reason to trust a certificate.

/// The fields that are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    /// The issuer's name, the whole DER element.
    pub(super) issuer: &'a [u8],
    /// Seconds since the Unix epoch.
    pub(super) not_before: i64,
    /// Seconds since the Unix epoch.
    pub(super) not_after: i64,
    /// The content of `subjectPublicKeyInfo`.
    key: &'a [u8],
    /// It may sign other certificates: basic constraints say so, or its version has no extensions.
    pub(super) is_authority: bool,
    /// It has subject alternative names that a client can compare.
    pub(super) has_names: bool,
    /// The content of the extension `extKeyUsage`.
    purposes: Option<&'a [u8]>,
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
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element: its tag, its content, and all of it.
    fn any(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let (&[tag, first], rest) = self.0.split_first_chunk::<2>()?;
        let (length, head) = if first < 0x80 {
            (usize::from(first), 2)
        } else {
            let count = usize::from(first & 0x7f);
            let bytes = rest.get(..count).filter(|_| (1..=4).contains(&count))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), 2 + count)
        };
        let end = head.checked_add(length)?;
        let (whole, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        Some((tag, whole.get(head..)?, whole))
    }

    /// The content of the next element, which has this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.any().filter(|(found, ..)| *found == tag).map(|(_, content, _)| content)
    }

    /// The same where the element may be left out.
    fn optional(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.0.first() == Some(&tag) { self.take(tag) } else { None }
    }
}

impl<'a> Facts<'a> {
    /// Reads a certificate.
    pub(super) fn read(certificate: &'a [u8]) -> Option<Self> {
        let mut all = Der(Der(certificate).take(SEQUENCE)?);
        let mut fields = Der(all.take(SEQUENCE)?);
        let version = fields.optional(0xa0).and_then(|content| Der(content).take(INTEGER));
        fields.take(INTEGER)?;
        fields.take(SEQUENCE)?;
        let (_, _, issuer) = fields.any()?;
        let mut validity = Der(fields.take(SEQUENCE)?);
        let (not_before, not_after) = (time(&mut validity)?, time(&mut validity)?);
        let _subject = fields.any()?;
        let key = fields.take(SEQUENCE)?;
        // Version 3 is the number two, and the only one with extensions.
        let is_authority = version != Some(&[2]);
        let mut facts = Self { issuer, not_before, not_after, key, is_authority, has_names: false, purposes: None };
        while !fields.0.is_empty() {
            let (tag, content, _) = fields.any()?;
            if tag == 0xa3 {
                facts.extensions(Der(Der(content).take(SEQUENCE)?))?;
            }
        }
        Some(facts)
    }

    fn extensions(&mut self, mut all: Der<'a>) -> Option<()> {
        while !all.0.is_empty() {
            let mut extension = Der(all.take(SEQUENCE)?);
            let id = extension.take(OID)?;
            let _ = extension.optional(BOOLEAN);
            let value = Der(extension.take(OCTET_STRING)?).take(SEQUENCE);
            match (id, value) {
                (BASIC_CONSTRAINTS, value) => self.is_authority = Der(value?).optional(BOOLEAN) == Some(&[0xff]),
                (SUBJECT_ALT_NAME, Some(names)) => self.has_names = !names.is_empty(),
                (EXT_KEY_USAGE, value) => self.purposes = Some(value?),
                _ => {}
            }
        }
        Some(())
    }

    /// Whether it may be used for this purpose: extended key usages do not exclude it.
    pub(super) fn serves(&self, purpose: &[u8]) -> bool {
        let Some(purposes) = self.purposes else { return true };
        let mut purposes = Der(purposes);
        std::iter::from_fn(|| purposes.take(OID)).any(|found| found == purpose || found == ANY_PURPOSE)
    }

    /// Why signatures with this key can't be made (`own`) or checked, if they can't.
    pub(super) fn unusable_key(&self, own: bool) -> Option<String> {
        let mut key = Der(self.key);
        let mut algorithm = Der(key.take(SEQUENCE)?);
        match algorithm.take(OID)? {
            RSA => {
                let bits = rsa_bits(key.take(BIT_STRING)?)?;
                // The largest keys that `ring` signs with and verifies.
                let most = if own { 4096 } else { 8192 };
                (!(2048..=most).contains(&bits))
                    .then(|| format!("an RSA key of {bits} bits can't be used; those of 2048 to {most} bits can"))
            }
            EC => {
                let name = match algorithm.take(OID) {
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
    let mut key = Der(Der(bit_string.get(1..)?).take(SEQUENCE)?);
    let modulus = key.take(INTEGER)?;
    let start = modulus.iter().position(|byte| *byte != 0)?;
    let modulus = modulus.get(start..)?;
    Some(modulus.len() * 8 - usize::try_from(modulus.first()?.leading_zeros()).ok()?)
}

/// Seconds since the Unix epoch.
fn time(der: &mut Der<'_>) -> Option<i64> {
    let (tag, content, _) = der.any()?;
    let number = |range: std::ops::Range<usize>| {
        let digits = content.get(range)?;
        digits.iter().try_fold(0_i64, |n, d| d.is_ascii_digit().then(|| n * 10 + i64::from(d - b'0')))
    };
    let (year, at) = match tag {
        // RFC 5280, 4.1.2.5.1: the years 1950 to 2049.
        UTC_TIME => (number(0..2).map(|year| if year < 50 { 2000 + year } else { 1900 + year })?, 2),
        GENERALIZED_TIME => (number(0..4)?, 4),
        _ => return None,
    };
    let part = |n: usize| number(at + 2 * n..at + 2 * n + 2);
    let (month, day, hour, minute, second) = (part(0)?, part(1)?, part(2)?, part(3)?, part(4)?);
    if content.get(at + 10..) != Some(b"Z") || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    Some(days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days from the Unix epoch to a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // If a year begins in March, its leap day is the last day.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leaps + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_counted_from_the_epoch() {
        for (year, month, day, expected) in
            [(1970, 1, 1, 0), (1969, 12, 31, -1), (2000, 2, 29, 11_016), (2000, 3, 1, 11_017), (2026, 1, 1, 20_454)]
        {
            assert_eq!(days(year, month, day), expected, "{year}-{month}-{day}");
        }
        let utc = |text: &[u8]| time(&mut Der(&[&[UTC_TIME, text.len() as u8], text].concat()));
        assert_eq!(utc(b"700101000001Z"), Some(1));
        assert_eq!(utc(b"500101000000Z"), Some(days(1950, 1, 1) * 86_400));
        assert_eq!(utc(b"490101000000Z"), Some(days(2049, 1, 1) * 86_400));
        for wrong in [&b"700101000001"[..], b"701301000001Z", b"7001010000xxZ", b"", b"700101000001+0100"] {
            assert_eq!(utc(wrong), None);
        }
    }

    #[test]
    fn certificate_that_is_cut_or_changed_is_read_or_not_and_never_panics() {
        let mut params = rcgen::CertificateParams::new(vec!["gateway".to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let der = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec();
        let facts = Facts::read(&der).unwrap();
        assert!(facts.is_authority && facts.has_names);
        assert!(facts.serves(SERVER_AUTH) && !facts.serves(CLIENT_AUTH));
        assert_eq!(facts.issuer.first(), Some(&SEQUENCE));
        assert!(facts.not_before < facts.not_after);
        for end in 0..der.len() {
            assert!(Facts::read(&der[..end]).is_none(), "{end}");
            for bit in 0..8 {
                let mut changed = der.clone();
                changed[end] ^= 1 << bit;
                if let Some(facts) = Facts::read(&changed) {
                    let _ = (facts.unusable_key(true), facts.serves(SERVER_AUTH));
                }
            }
        }
    }
}
