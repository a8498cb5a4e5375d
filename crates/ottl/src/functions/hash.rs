//! Hashes, in hexadecimal digits unless said otherwise.

use md5::{Digest, Md5};
use otelcore_pdata::text::{put_base64, put_hex};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::common::{error, required, text};
use super::network::parse_ip;
use crate::error::EvalError;
use crate::function::{Callable, Function, ParameterKind as Kind};
use crate::value::Value;

/// A function of one string.
macro_rules! of_string {
    ($constant:ident, $name:literal, $hash:expr) => {
        pub(super) const $constant: Function = Function {
            name: $name,
            parameters: &[required("Target", Kind::String)],
            build: |_| {
                Ok(Callable::pure(|arguments| {
                    let hash: fn(&[u8]) -> Value<'static> = $hash;
                    Ok(hash(text(arguments, 0)))
                }))
            },
        };
    };
}

fn hex(bytes: &[u8]) -> Value<'static> {
    let mut out = Vec::with_capacity(2 * bytes.len());
    put_hex(&mut out, bytes);
    Value::string(out)
}

of_string!(MD5, "MD5", |text| hex(&Md5::digest(text)));
of_string!(SHA1, "SHA1", |text| hex(&Sha1::digest(text)));
of_string!(SHA256, "SHA256", |text| hex(&Sha256::digest(text)));
of_string!(SHA512, "SHA512", |text| hex(&Sha512::digest(text)));
of_string!(FNV, "FNV", |text| Value::Int(fnv1a(text).cast_signed()));
of_string!(MURMUR3_HASH, "Murmur3Hash", |text| hex(&murmur3_32(text).to_le_bytes()));
of_string!(MURMUR3_HASH128, "Murmur3Hash128", |text| hex(&murmur3_128(text)));
of_string!(XXH3, "XXH3", |text| hex(&twox_hash::XxHash3_64::oneshot(text).to_be_bytes()));
of_string!(XXH128, "XXH128", |text| hex(&twox_hash::XxHash3_128::oneshot(text).to_be_bytes()));

pub(super) const HEX: Function = Function {
    name: "Hex",
    parameters: &[required("Target", Kind::BytesLike)],
    build: |_| Ok(Callable::pure(|arguments| Ok(hex(text(arguments, 0))))),
};

/// FNV-1a with 64 bits.
fn fnv1a(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

/// `MurmurHash3` for x86 with 32 bits, of the seed 0.
fn murmur3_32(text: &[u8]) -> u32 {
    let mix = |block: u32| block.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let (blocks, tail) = text.as_chunks::<4>();
    let mut hash = 0_u32;
    for block in blocks {
        hash ^= mix(u32::from_le_bytes(*block));
        hash = hash.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    if !tail.is_empty() {
        hash ^= mix(tail.iter().rev().fold(0, |block, b| block << 8 | u32::from(*b)));
    }
    #[expect(clippy::cast_possible_truncation, reason = "the hash has the lower 32 bits of the length")]
    let mut hash = hash ^ text.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

/// `MurmurHash3` for x64 with 128 bits, of the seed 0.
fn murmur3_128(text: &[u8]) -> [u8; 16] {
    const C1: u64 = 0x87c3_7b91_1142_53d5;
    const C2: u64 = 0x4cf5_ad43_2745_937f;
    let mix1 = |block: u64| block.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let mix2 = |block: u64| block.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    let little_endian = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |block, b| block << 8 | u64::from(*b));
    let (mut h1, mut h2) = (0_u64, 0_u64);
    let (blocks, tail) = text.as_chunks::<16>();
    for block in blocks {
        let (first, second) = block.split_at(8);
        h1 ^= mix1(little_endian(first));
        h1 = h1.rotate_left(27).wrapping_add(h2).wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 ^= mix2(little_endian(second));
        h2 = h2.rotate_left(31).wrapping_add(h1).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let (first, second) = tail.split_at(tail.len().min(8));
    h2 ^= mix2(little_endian(second));
    h1 ^= mix1(little_endian(first));
    let finish = |hash: u64| {
        let hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^ hash >> 33
    };
    let length = text.len() as u64;
    (h1, h2) = (h1 ^ length, h2 ^ length);
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    (h1, h2) = (finish(h1), finish(h2));
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    let mut out = [0; 16];
    for (to, from) in out.iter_mut().zip(h1.to_le_bytes().into_iter().chain(h2.to_le_bytes())) {
        *to = from;
    }
    out
}

pub(super) const COMMUNITY_ID: Function = Function {
    name: "CommunityID",
    parameters: &[
        required("SourceIP", Kind::String),
        required("SourcePort", Kind::Int),
        required("DestinationIP", Kind::String),
        required("DestinationPort", Kind::Int),
        super::common::optional("Protocol", Kind::String),
        super::common::optional("Seed", Kind::Int),
    ],
    build: |_| Ok(Callable::pure(|arguments| community_id(arguments))),
};

/// The protocols of flows, and their numbers.
const PROTOCOLS: [(&[u8], u8); 6] =
    [(b"ICMP", 1), (b"TCP", 6), (b"UDP", 17), (b"RSVP", 46), (b"ICMP6", 58), (b"SCTP", 132)];

fn community_id(arguments: &[Value<'_>]) -> Result<Value<'static>, EvalError> {
    let endpoint = |index: usize, name: &str| {
        let port = super::common::int(arguments, index + 1);
        let Ok(port) = u16::try_from(port) else {
            return Err(error(format!("{name} port must be between 0 and 65535, got {port}")));
        };
        let address = text(arguments, index);
        let Some(ip) = parse_ip(address) else {
            return Err(error(format!("invalid {name} IP: {}", String::from_utf8_lossy(address))));
        };
        Ok((ip, port))
    };
    let (mut source, mut destination) = (endpoint(0, "source")?, endpoint(2, "destination")?);
    let protocol = match super::common::optional_text(arguments, 4) {
        None => 6,
        Some(name) => match PROTOCOLS.iter().find(|(found, _)| *found == name) {
            Some((_, number)) => *number,
            None => return Err(error(format!("unsupported protocol: {}", String::from_utf8_lossy(name)))),
        },
    };
    let seed = super::common::int(arguments, 5);
    let Ok(seed) = u16::try_from(seed) else {
        return Err(error(format!("seed must be between 0 and 65535, got {seed}")));
    };
    // The same for both directions: the lower address is the first one.
    if (source.0.len(), &source.0, source.1) > (destination.0.len(), &destination.0, destination.1) {
        std::mem::swap(&mut source, &mut destination);
    }
    let mut flow = seed.to_be_bytes().to_vec();
    flow.extend_from_slice(&source.0);
    flow.extend_from_slice(&destination.0);
    flow.extend_from_slice(&[protocol, 0]);
    flow.extend_from_slice(&source.1.to_be_bytes());
    flow.extend_from_slice(&destination.1.to_be_bytes());
    let mut out = b"1:".to_vec();
    put_base64(&mut out, &Sha1::digest(&flow));
    Ok(Value::string(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answers are those of the Go collector.
    #[test]
    fn hashes_of_short_texts_are_those_of_go() {
        let text = |value: Value<'_>| match value {
            Value::String(text) => String::from_utf8_lossy(&text).into_owned(),
            other => format!("{other:?}"),
        };
        assert_eq!(text(hex(&murmur3_32(b"abc").to_le_bytes())), "fa93ddb3");
        assert_eq!(text(hex(&murmur3_128(b"abc"))), "6778ad3f3f3f96b4522dca264174a23b");
        assert_eq!(text(hex(&twox_hash::XxHash3_64::oneshot(b"abc").to_be_bytes())), "78af5f94892f3950");
        assert_eq!(
            text(hex(&twox_hash::XxHash3_128::oneshot(b"abc").to_be_bytes())),
            "06b05ab6733a618578af5f94892f3950"
        );
    }
}
