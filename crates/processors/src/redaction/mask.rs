//! What takes the place of a secret.

use md5::Md5;
use otelcore_pdata::text;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

/// What masks a value.
#[derive(Clone)]
pub(super) enum Mask {
    /// `****`.
    Stars,
    Md5,
    Sha1,
    /// With its key.
    HmacSha256(Vec<u8>),
    HmacSha512(Vec<u8>),
}

/// Shows no key.
impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Stars => "Stars",
            Self::Md5 => "Md5",
            Self::Sha1 => "Sha1",
            Self::HmacSha256(_) => "HmacSha256",
            Self::HmacSha512(_) => "HmacSha512",
        })
    }
}

impl Mask {
    /// Bytes of a mask at most.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Stars => 4,
            Self::Md5 => 32,
            Self::Sha1 => 40,
            Self::HmacSha256(_) => 64,
            Self::HmacSha512(_) => 128,
        }
    }

    /// Appends what takes the place of `secret`.
    pub(super) fn put(&self, secret: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Stars => out.extend_from_slice(b"****"),
            Self::Md5 => text::put_hex(out, &Md5::digest(secret)),
            Self::Sha1 => text::put_hex(out, &Sha1::digest(secret)),
            Self::HmacSha256(key) => text::put_hex(out, &hmac::<Sha256, 64>(key, secret)),
            Self::HmacSha512(key) => text::put_hex(out, &hmac::<Sha512, 128>(key, secret)),
        }
    }
}

/// HMAC (RFC 2104) with a hash function of this block length.
fn hmac<D: Digest, const BLOCK: usize>(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; BLOCK];
    let hashed;
    let key = if key.len() > BLOCK {
        hashed = D::digest(key);
        &hashed[..]
    } else {
        key
    };
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = D::new().chain_update(padded(0x36)).chain_update(message).finalize();
    D::new().chain_update(padded(0x5c)).chain_update(inner).finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(mask: &Mask, secret: &[u8]) -> String {
        let mut out = Vec::new();
        mask.put(secret, &mut out);
        assert!(out.len() <= mask.len());
        String::from_utf8(out).unwrap()
    }

    /// RFC 4231, test cases 2 and 6.
    #[test]
    fn hmac_is_that_of_the_test_vectors() {
        let message = b"what do ya want for nothing?";
        assert_eq!(
            masked(&Mask::HmacSha256(b"Jefe".to_vec()), message),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        let message = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(
            masked(&Mask::HmacSha256(vec![0xaa; 131]), message),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
        assert!(
            masked(&Mask::HmacSha512(vec![0xaa; 131]), message)
                .starts_with("80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1")
        );
        assert_eq!(masked(&Mask::Md5, b""), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(masked(&Mask::Sha1, b"abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
    }
}
