//! Bodies that other implementations wrote: Go's standard library, klauspost's zstd (at once, in a stream with a
//! flush, and at its best level), golang's snappy, pierrec's lz4 (as it is, and with all its options), and a frame of
//! linked LZ4 blocks. `ff*9` means nine times that byte.

use super::*;

fn parse_hex(text: &str) -> Vec<u8> {
    let bytes = |s: &str| -> Vec<u8> {
        s.as_bytes().chunks(2).map(|b| u8::from_str_radix(std::str::from_utf8(b).unwrap(), 16).unwrap()).collect()
    };
    let word = |word: &str| match word.split_once('*') {
        Some((byte, times)) => bytes(byte).repeat(times.parse().unwrap()),
        None => bytes(word),
    };
    text.split_whitespace().flat_map(word).collect()
}

#[test]
fn bodies_of_other_implementations_are_decoded() {
    let short = b"otelcore keeps bytes where they arrived. ".repeat(3);
    let long = b"otelcore ".repeat(33_334);
    let empty = Vec::new();
    let bodies: [(Coding, &Vec<u8>, &str); 21] = [
        // zstd-all
        (
            Coding::Zstd,
            &short,
            "28b52ffd040095010094026f74656c636f7265206b656570732062797465732077686572652074686579206172 \
             72697665642e2001541705287916ce803f43",
        ),
        // zstd-stream
        (
            Coding::Zstd,
            &short,
            "28b52ffd04689001006f74656c636f7265206b6565707320627974657320776865726520746865792061727269 \
             7665642e206f74656c636f726520450000000154000528c602ce803f43",
        ),
        // zstd-best
        (
            Coding::Zstd,
            &short,
            "28b52ffd04687c010022c30a12b0270020f577d8288107f4cd1e1070a13a10bb2ce7e288b031b4c0d2a67637c7 \
             d09582a1e2895d96733100450000000154000528c602ce803f43",
        ),
        // snappy-block
        (
            Coding::Snappy,
            &short,
            "7ba06f74656c636f7265206b65657073206279746573207768657265207468657920617272697665642e20fe29 \
             00462900",
        ),
        // snappy-framed
        (
            Coding::Snappy,
            &short,
            "ff060000734e615070590035000048f7281f7ba06f74656c636f7265206b656570732062797465732077686572 \
             65207468657920617272697665642e20fe2900462900",
        ),
        // snappy-framed
        (
            Coding::SnappyFramed,
            &short,
            "ff060000734e615070590035000048f7281f7ba06f74656c636f7265206b656570732062797465732077686572 \
             65207468657920617272697665642e20fe2900462900",
        ),
        // lz4
        (
            Coding::Lz4,
            &short,
            "04224d186470b93d000000ff1a6f74656c636f7265206b65657073206279746573207768657265207468657920 \
             617272697665642e20290031e07468657920617272697665642e2000000000cb11784f",
        ),
        // lz4-all
        (
            Coding::Lz4,
            &short,
            "04224d187c407b 00*7 \
             1e3d000000ff1a6f74656c636f7265206b65657073206279746573207768657265207468657920617272697665 \
             642e20290031e07468657920617272697665642e2065ce7e6d00000000cb11784f",
        ),
        // zlib
        (
            Coding::Zlib,
            &short,
            "789cca2f49cd49ce2f4a55c84e4d2d285648aa2c492d5628cf482d4a5528c948ad54482c2aca2c4b4dd153a0be \
             4240000000ffff3cfa2de5",
        ),
        // zlib
        (
            Coding::Deflate,
            &short,
            "789cca2f49cd49ce2f4a55c84e4d2d285648aa2c492d5628cf482d4a5528c948ad54482c2aca2c4b4dd153a0be \
             4240000000ffff3cfa2de5",
        ),
        // gzip
        (
            Coding::Gzip,
            &short,
            "1f8b08 00*6 \
             ffca2f49cd49ce2f4a55c84e4d2d285648aa2c492d5628cf482d4a5528c948ad54482c2aca2c4b4dd153a0be42 \
             40000000ffff6c612fbb7b000000",
        ),
        // zstd-all
        (
            Coding::Zstd,
            &long,
            "28b52ffda4e6930400940000486f74656c636f7265200154090334f4ff0c5c0000000154001034fdfffeff015d \
             0000000154001233e313010002702f0d35",
        ),
        // zstd-stream
        (
            Coding::Zstd,
            &long,
            "28b52ffd0468840000486f74656c636f7265200154090323184c0000000154000534fdff305c00000001540011 \
             34fdff3400025d0000000154001233b193170002702f0d35",
        ),
        // zstd-best
        (
            Coding::Zstd,
            &long,
            "28b52ffd0468840000486f74656c636f7265200154090323184c0000000154000434fdff154c00000001540004 \
             34fdff154d0000000154000433b1930a702f0d35",
        ),
        // lz4-all
        (
            Coding::Lz4,
            &long,
            "04224d187c40e69304 00*5 1c1f0100009f6f74656c636f7265200900 ff*256 \
             d100e7ff00f0ffb06f7265206f74656c636f72e8ed0d681f0100009f65206f74656c636f720900 ff*256 \
             d100e7ff00f0ffb06c636f7265206f74656c63921b2e201f0100009f6f7265206f74656c630900 ff*256 \
             d100e7ff00f0ffb074656c636f7265206f74654beb331d1f0100009f6c636f7265206f74650900 ff*256 \
             d100e7ff00f0ffb0206f74656c636f7265206fe67bf8deb20000009f74656c636f7265206f0900 ff*148 \
             4d00cc93d06f7265206f74656c636f726520b5e8e9e700000000d8dd3ed7",
        ),
        // linked
        (
            Coding::Lz4,
            &long,
            "04224d185440ae140100009f6f74656c636f7265200900 ff*256 de6074656c636f7264e22c100b0100000ff9 \
             ff*257 e760206f74656c639ab4823d0e0100000509000f0900 ff*256 de607265206f7465af569c3b0b0100000ff9 \
             ff*257 e760636f7265206fb021dbd0a20000000509000f0900 ff*148 \
             58606c636f726520705d9a5100000000d8dd3ed7",
        ),
        // zlib
        (
            Coding::Zlib,
            &long,
            "789cecc6410900201004c02a7693fd090b627fec71cc6ffa72766f16 00*580 c018fc000000ffff148650f9",
        ),
        // gzip
        (
            Coding::Gzip,
            &long,
            "1f8b08 00*6 ffecc6410900201004c02a7693fd090b627fec71cc6ffa72766f16 00*580 \
             c018fc000000ffffc6ab0fd3e6930400",
        ),
        // lz4
        (Coding::Lz4, &empty, "04224d186470b900000000055dcc02"),
        // zstd
        (Coding::Zstd, &empty, "28b52ffd046801000099e9d851"),
        // snf
        (Coding::SnappyFramed, &empty, ""),
    ];
    for (i, (coding, plain, body)) in bodies.iter().enumerate() {
        let body = parse_hex(body);
        let back = decode(coding, &body, plain.len() as u64);
        assert!(back.as_ref() == Ok(plain), "body {i} in {}: {:?}", coding.name(), back.err());
    }
}
