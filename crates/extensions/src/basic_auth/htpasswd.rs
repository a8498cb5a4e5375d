//! Lines of htpasswd, and whether a password is the one that was hashed.
//!
//! The forms are those of Apache's htpasswd and of mkpasswd: bcrypt, MD5 (`$apr1$`, `$1$`), SHA-1 (`{SHA}`, `{SSHA}`),
//! SHA-256 and SHA-512 of crypt (`$5$`, `$6$`), and plain text. Handles one line at a time, without a clock or limits.

use base64::Engine;
use md5::Md5;
use sha_crypt::{PasswordVerifier, ShaCrypt};
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;

use super::BASE64;

/// Above this cost a bcrypt check takes a large part of a second.
const VERY_SLOW_COST: u32 = 12;
/// The same for the rounds of SHA-crypt, 5000 by default.
const VERY_SLOW_ROUNDS: u32 = 200_000;

/// A hashed or plain password of a line.
pub(super) struct PasswordHash(HashFormat);

enum HashFormat {
    Bcrypt { text: String, cost: u32 },
    ShaCrypt { text: String, rounds: u32 },
    Md5 { magic: &'static [u8], salt: Vec<u8>, sum: Vec<u8> },
    Sha1 { sum: [u8; 20], salt: Vec<u8> },
    Plain(Vec<u8>),
}

/// User and hash of a line; `None` for an empty line or a comment.
///
/// # Errors
/// What is wrong, without the line.
pub(super) fn parse_line(line: &[u8]) -> Result<Option<(&[u8], PasswordHash)>, &'static str> {
    let line = line.trim_ascii();
    if line.is_empty() || line.starts_with(b"#") {
        return Ok(None);
    }
    let (user, encoded) = split_at_colon(line).ok_or("malformed line, no colon")?;
    if user.is_empty() {
        return Err("malformed line, no user");
    }
    if encoded.is_empty() {
        return Err("no hash: an empty password would let anyone in");
    }
    Ok(Some((user, PasswordHash::parse(encoded)?)))
}

/// What is before and after the first colon.
pub(super) fn split_at_colon(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = text.iter().position(|b| *b == b':')?;
    Some((text.get(..colon)?, text.get(colon + 1..)?))
}

impl PasswordHash {
    fn parse(encoded: &[u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(encoded).unwrap_or_default();
        let format = if let Some(rest) = text.strip_prefix("$apr1$") {
            parse_md5(b"$apr1$", rest)
        } else if let Some(rest) = text.strip_prefix("$1$") {
            parse_md5(b"$1$", rest)
        } else if text.starts_with("$5$") || text.starts_with("$6$") {
            parse_sha_crypt(text)
        } else if ["$2a$", "$2b$", "$2x$", "$2y$"].iter().any(|id| text.starts_with(id)) {
            let parts: Option<bcrypt::HashParts> = text.parse().ok();
            parts
                .map(|p| HashFormat::Bcrypt { text: text.to_owned(), cost: p.get_cost() })
                .ok_or("malformed bcrypt password")
        } else if let Some(sum) = text.strip_prefix("{SHA}") {
            parse_sha1(sum).filter(|(_, salt)| salt.is_empty()).map(sha1_format).ok_or("malformed SHA password")
        } else if let Some(sum) = text.strip_prefix("{SSHA}") {
            parse_sha1(sum).map(sha1_format).ok_or("malformed SSHA password")
        } else if looks_like_hash(text) {
            // If it were taken as plain text, the hash itself would be a valid password.
            Err("a hash of this kind is not supported; write one with `htpasswd -B`")
        } else {
            Ok(HashFormat::Plain(encoded.to_owned()))
        };
        format.map(Self)
    }

    /// Whether a check takes long by design of the hash.
    pub(super) fn is_slow(&self) -> bool {
        !matches!(self.0, HashFormat::Sha1 { .. } | HashFormat::Plain(_))
    }

    /// Whether a check takes so long that the operator should be warned.
    pub(super) fn is_very_slow(&self) -> bool {
        match &self.0 {
            HashFormat::Bcrypt { cost, .. } => *cost > VERY_SLOW_COST,
            HashFormat::ShaCrypt { rounds, .. } => *rounds > VERY_SLOW_ROUNDS,
            _ => false,
        }
    }

    /// Whether this is the password. May take long; see [`PasswordHash::is_slow`].
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        match &self.0 {
            // As in every bcrypt, only the first 72 bytes are used.
            HashFormat::Bcrypt { text, .. } => bcrypt::verify(password, text).unwrap_or(false),
            HashFormat::ShaCrypt { text, .. } => ShaCrypt::default().verify_password(password, text.as_str()).is_ok(),
            HashFormat::Md5 { magic, salt, sum } => md5_crypt(magic, salt, password).ct_eq(sum).into(),
            HashFormat::Sha1 { sum, salt } => {
                let digest: [u8; 20] = Sha1::new().chain_update(password).chain_update(salt).finalize().into();
                digest.ct_eq(sum).into()
            }
            HashFormat::Plain(text) => text.ct_eq(password).into(),
        }
    }
}

/// Whether it has the form `$id$..` or `{ID}..` of a hash.
fn looks_like_hash(text: &str) -> bool {
    let is_scheme_id =
        |id: &str| !id.is_empty() && id.len() <= 16 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let id = |open, close| text.strip_prefix(open).and_then(|rest| rest.split_once(close)).map(|(id, _)| id);
    id('$', '$').or_else(|| id('{', '}')).is_some_and(is_scheme_id)
}

/// `salt$sum` of the MD5 forms.
fn parse_md5(magic: &'static [u8], rest: &str) -> Result<HashFormat, &'static str> {
    match rest.split_once('$') {
        Some((salt, sum)) if sum.len() == 22 => {
            // crypt(3) uses only the first eight bytes of the salt.
            let salt = salt.bytes().take(8).collect();
            Ok(HashFormat::Md5 { magic, salt, sum: sum.as_bytes().to_owned() })
        }
        _ => Err("malformed MD5 password"),
    }
}

/// `$6$rounds=N$salt$sum`, without `rounds` 5000.
fn parse_sha_crypt(text: &str) -> Result<HashFormat, &'static str> {
    let malformed = "malformed crypt-SHA password";
    let (id, rest) = text.split_at_checked(3).ok_or(malformed)?;
    let (rounds, rest) = match rest.strip_prefix("rounds=").and_then(|rest| rest.split_once('$')) {
        Some((rounds, rest)) => (rounds.parse().map_err(|_| malformed)?, rest),
        None => (5000, rest),
    };
    let length = if id == "$5$" { 43 } else { 86 };
    let sum = rest.split_once('$').map(|(_, sum)| sum).filter(|sum| sum.len() == length);
    sum.map(|_| HashFormat::ShaCrypt { text: text.to_owned(), rounds }).ok_or(malformed)
}

/// A sum of SHA-1 and the salt after it.
fn parse_sha1(encoded: &str) -> Option<([u8; 20], Vec<u8>)> {
    let bytes = BASE64.decode(encoded).ok()?;
    let (sum, salt) = bytes.split_first_chunk::<20>()?;
    Some((*sum, salt.to_owned()))
}

fn sha1_format((sum, salt): ([u8; 20], Vec<u8>)) -> HashFormat {
    HashFormat::Sha1 { sum, salt }
}

/// The MD5 of crypt(3) with Apache's or the first magic: an initial digest of password and salt, then 1000 rounds, in
/// which the order of the parts depends on the round's number.
fn md5_crypt(magic: &[u8], salt: &[u8], password: &[u8]) -> Vec<u8> {
    let sum = |parts: &[&[u8]]| -> [u8; 16] {
        parts.iter().fold(Md5::new(), |md5, part| md5.chain_update(part)).finalize().into()
    };
    let inner = sum(&[password, salt, password]);
    let mut start = [password, magic, salt].concat();
    start.extend(inner.iter().cycle().take(password.len()));
    let mut bits = password.len();
    while bits > 0 {
        start.push(if bits & 1 == 1 { 0 } else { password.first().copied().unwrap_or(0) });
        bits >>= 1;
    }
    let mut last = sum(&[&start]);
    for round in 0..1000_u32 {
        let (first, end): (&[u8], &[u8]) = if round & 1 == 1 { (password, &last) } else { (&last, password) };
        let salt = if round % 3 == 0 { &[] } else { salt };
        let middle = if round % 7 == 0 { &[] } else { password };
        last = sum(&[first, salt, middle, end]);
    }
    let byte = |i: usize| u32::from(last[i]);
    let triples = [(0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5)]
        .map(|(a, b, c)| byte(a) << 16 | byte(b) << 8 | byte(c));
    let mut text = Vec::with_capacity(22);
    for (bits, digits) in triples.into_iter().map(|bits| (bits, 4)).chain([(byte(11), 2)]) {
        text.extend((0..digits).map(|digit| CRYPT_DIGITS[(bits >> (6 * digit) & 63) as usize]));
    }
    text
}

/// The digits of crypt(3), the low one of a number first.
const CRYPT_DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
