//! Tests that apply to every coding.

use std::convert::Infallible;

use proptest::prelude::*;

use super::*;

mod fixtures;

fn decode(coding: &Coding, body: &[u8], limit: u64) -> Result<Vec<u8>, DecompressError<Infallible>> {
    Workspace::new().decompress(coding, Bytes::copy_from_slice(body), limit, |_| Ok(())).map(Into::into)
}

fn encode(coding: &Coding, plain: &[u8]) -> Vec<u8> {
    Workspace::new().compress(coding, [plain]).to_vec()
}

/// All but identity.
fn codings() -> impl Iterator<Item = Coding> {
    Coding::ALL.into_iter().filter(|c| !c.is_identity())
}

/// Text that can be compressed, but not to a few bytes.
fn pseudo_random_text(n: usize) -> Vec<u8> {
    let mut seed = 7_u32;
    let words = ["span", "attribute", "service.name", "GET /api/v1/users", "0x", "checkout", "\n"];
    let mut text = Vec::new();
    while text.len() < n {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.extend_from_slice(words[(seed >> 24) as usize % words.len()].as_bytes());
        text.push((seed >> 16) as u8);
    }
    text.truncate(n);
    text
}

fn is_too_large<E>(e: &DecompressError<E>) -> bool {
    matches!(e, DecompressError::TooLarge(_) | DecompressError::BlockTooLarge(_))
}

#[test]
fn coding_name_is_parsed_case_sensitively() {
    for coding in Coding::ALL {
        assert_eq!(Coding::parse(coding.name().as_bytes()), Ok(coding));
    }
    assert_eq!(Coding::parse(b""), Ok(Coding::Identity));
    for name in ["GZIP", "Zstd", "br", "x-gzip", "snappy ", "none"] {
        let text = format!("unsupported Content-Encoding: {name}");
        assert_eq!(Coding::parse(name.as_bytes()).unwrap_err().to_string(), text);
    }
}

#[test]
fn snappy_in_grpc_is_framed_and_other_codings_are_unchanged() {
    for coding in Coding::ALL {
        let written = coding.in_grpc();
        assert_eq!(written, if coding == Coding::Snappy { Coding::SnappyFramed } else { coding });
    }
    let framed = encode(&Coding::Snappy.in_grpc(), b"a message");
    assert_eq!(framed[..10], *b"\xff\x06\x00\x00sNaPpY");
    assert_eq!(decode(&Coding::Snappy, &framed, 100).unwrap(), b"a message");
    assert_eq!(decode(&Coding::Snappy, &encode(&Coding::Snappy, b"a message"), 100).unwrap(), b"a message");
    assert!(decode(&Coding::SnappyFramed, &encode(&Coding::Snappy, b"a message"), 100).is_err());
}

fn any_parts() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let part = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..3000),
        (0_usize..200_000).prop_map(pseudo_random_text),
        (any::<u8>(), 0_usize..150_000).prop_map(|(byte, n)| vec![byte; n]),
    ];
    proptest::collection::vec(part, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_in_any_parts_compressed_and_decompressed_are_unchanged(parts in any_parts(), level in -3..12) {
        let whole = parts.concat();
        let workspace = Workspace::new();
        for coding in Coding::ALL {
            let packed = workspace.compress_with_level(&coding, Some(level), parts.iter().map(|p| &p[..]));
            let mut requested = 0;
            let grow = |to| { requested = to; Ok::<_, Infallible>(()) };
            let back = workspace.decompress(&coding, packed, whole.len() as u64, grow).unwrap();
            prop_assert!(back == whole, "{}", coding.name());
            prop_assert!(requested <= whole.len() as u64);
        }
    }

    #[test]
    fn content_of_the_limit_is_accepted_and_above_it_refused(n in 1_usize..100_000) {
        let plain = pseudo_random_text(n);
        for coding in Coding::ALL {
            let packed = encode(&coding, &plain);
            prop_assert!(decode(&coding, &packed, n as u64).is_ok(), "{}", coding.name());
            prop_assert!(is_too_large(&decode(&coding, &packed, n as u64 - 1).unwrap_err()), "{}", coding.name());
        }
    }

    #[test]
    fn random_bytes_are_decoded_or_refused_without_a_panic(junk in proptest::collection::vec(any::<u8>(), 0..300)) {
        for coding in codings() {
            // As it is, and after the beginning of a valid body.
            let good = encode(&coding, &pseudo_random_text(100));
            for head in [0, 2, 7, 10, 15, 22] {
                let body = [&good[..head], &junk].concat();
                let _ = decode(&coding, &body, 1 << 20);
            }
        }
    }

    #[test]
    fn damaged_body_requests_no_memory_above_the_limit(at in 0_usize..4000, flip in 1_u8.., limit in 0_u64..9000) {
        for coding in codings() {
            let mut body = encode(&coding, &pseudo_random_text(5000));
            let at = at % body.len();
            body[at] ^= flip;
            let mut requested = 0;
            let grow = |to| { requested = requested.max(to); Ok::<_, Infallible>(()) };
            let back = Workspace::new().decompress(&coding, body.into(), limit, grow);
            prop_assert!(back.is_err() || back.is_ok_and(|b| b.len() as u64 <= limit));
            prop_assert!(requested <= limit, "{}: requested {requested} of {limit}", coding.name());
        }
    }
}

#[test]
fn truncated_body_is_refused() {
    for coding in codings() {
        let body = encode(&coding, &pseudo_random_text(3000));
        for cut in 1..body.len() {
            let framed_between_chunks = coding == Coding::SnappyFramed && cut == 10;
            match decode(&coding, &body[..cut], 10_000) {
                Ok(empty) => assert!(framed_between_chunks && empty.is_empty(), "{} cut at {cut}", coding.name()),
                // A block has no end mark: a cut shows as an error in its elements.
                Err(DecompressError::Invalid("snappy", "corrupt input")) if coding == Coding::Snappy => {}
                Err(e) => assert_eq!(e, DecompressError::UnexpectedEof, "{} cut at {cut}", coding.name()),
            }
        }
    }
}

#[test]
fn empty_body_is_empty_content_where_go_writes_it_so() {
    for coding in [Coding::Zstd, Coding::SnappyFramed, Coding::Lz4] {
        assert_eq!(decode(&coding, b"", 0).unwrap(), b"");
    }
    for coding in [Coding::Gzip, Coding::Zlib, Coding::Deflate] {
        assert_eq!(decode(&coding, b"", 0), Err(DecompressError::UnexpectedEof));
    }
    assert_eq!(decode(&Coding::Snappy, b"", 0).unwrap_err().to_string(), "snappy: corrupt input");
}

#[test]
fn bodies_in_sequence_are_one_body_if_the_format_allows_it() {
    let (a, b) = (pseudo_random_text(100_000), pseudo_random_text(70_001));
    let whole = [&a[..], &b].concat();
    for coding in [Coding::Gzip, Coding::Zstd, Coding::SnappyFramed, Coding::Snappy, Coding::Lz4] {
        let coding = coding.in_grpc();
        let body = [encode(&coding, &a), encode(&coding, b""), encode(&coding, &b)].concat();
        assert!(decode(&coding, &body, whole.len() as u64).unwrap() == whole, "{}", coding.name());
        assert!(is_too_large(&decode(&coding, &body, whole.len() as u64 - 1).unwrap_err()), "{}", coding.name());
    }
    let skipped = [&0x184d_2a53_u32.to_le_bytes()[..], &[3, 0, 0, 0], b"abc"].concat();
    for coding in [Coding::Zstd, Coding::Lz4] {
        let body = [&skipped[..], &encode(&coding, &a), &skipped].concat();
        assert!(decode(&coding, &body, a.len() as u64).unwrap() == a, "{}", coding.name());
    }
}

#[test]
fn bomb_is_refused_before_memory_above_the_limit_is_reserved() {
    let zeros = vec![0_u8; 1 << 20];
    let workspace = Workspace::new();
    for coding in codings() {
        let bomb = workspace.compress(&coding, std::iter::repeat_n(&zeros[..], 64));
        let mut requested = 0;
        let refused = workspace.decompress(&coding, bomb.clone(), 1 << 20, |to| {
            requested = requested.max(to);
            Ok::<_, Infallible>(())
        });
        assert!(is_too_large(&refused.unwrap_err()), "{}", coding.name());
        assert!(requested <= 1 << 20, "{} asked for {requested}", coding.name());
        // The `grow` callback can refuse any size.
        let refused = workspace.decompress(&coding, bomb, 1 << 30, |to| if to > 5000 { Err(to) } else { Ok(()) });
        assert!(matches!(refused, Err(DecompressError::Refused(_))), "{}", coding.name());
    }
}

#[test]
fn false_length_causes_no_large_reservation() {
    let requested_memory = |coding: &Coding, body: &[u8]| {
        let mut requested = 0;
        let back = Workspace::new().decompress(coding, Bytes::copy_from_slice(body), 1 << 40, |to| {
            requested = requested.max(to);
            Ok::<_, Infallible>(())
        });
        (back.unwrap_err().to_string(), requested)
    };
    // A block of 4 GiB in six bytes, alone and in a chunk.
    let block = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    assert_eq!(requested_memory(&Coding::Snappy, &block), ("snappy: corrupt input".into(), 0));
    let framed = [&b"\xff\x06\x00\x00sNaPpY\x00\x0a\x00\x00crc."[..], &block].concat();
    assert_eq!(requested_memory(&Coding::SnappyFramed, &framed), ("snappy: corrupt input".into(), 0));
    // A single segment of a GiB in a frame of one raw byte.
    let frame = [&[0x28, 0xb5, 0x2f, 0xfd, 0b1010_0000][..], &(1_u32 << 30).to_le_bytes(), &[9, 0, 0, 7]].concat();
    let (text, requested) = requested_memory(&Coding::Zstd, &frame);
    assert!(text.starts_with("zstd: ") && requested < 2000, "{text}, requested {requested}");
    // A frame with blocks of 4 MiB and a length of 16 EiB, without any.
    let mut frame = vec![4, 0x22, 0x4d, 0x18, 0b0110_1000, 0x70];
    frame.extend_from_slice(&u64::MAX.to_le_bytes());
    frame.push(twox_hash::XxHash32::oneshot(0, &frame[4..]).to_le_bytes()[1]);
    frame.extend_from_slice(&[0; 4]);
    assert_eq!(requested_memory(&Coding::Lz4, &frame), ("lz4: content size mismatch".into(), 0));
}

#[test]
fn zstd_window_above_32_mib_is_refused() {
    // A window of 2^(10 + exponent), no length of the content, one raw block.
    let frame =
        |exponent: u8| [&[0x28, 0xb5, 0x2f, 0xfd, 0, exponent << 3][..], &[1 | 5 << 3, 0, 0], b"hello"].concat();
    assert_eq!(decode(&Coding::Zstd, &frame(15), 5).unwrap(), b"hello");
    assert_eq!(decode(&Coding::Zstd, &frame(16), 5).unwrap_err().to_string(), "zstd: window size exceeded");
}

#[test]
fn invalid_body_is_reported_with_coding_and_cause() {
    let error_text = |coding: &Coding, body: &[u8]| decode(coding, body, 1 << 20).unwrap_err().to_string();
    let damaged = |coding: &Coding, at: isize| {
        let mut body = encode(coding, &pseudo_random_text(5000));
        let at = if at < 0 { body.len() - at.unsigned_abs() } else { at.unsigned_abs() };
        body[at] ^= 0x40;
        error_text(coding, &body)
    };
    assert_eq!(error_text(&Coding::Zlib, b"hello"), "zlib: invalid header");
    assert_eq!(error_text(&Coding::Deflate, &[0x78, 0xbb, 0, 0, 0, 0]), "zlib: invalid dictionary");
    assert_eq!(damaged(&Coding::Zlib, -1), "zlib: invalid checksum");
    assert!(damaged(&Coding::Zlib, 2).starts_with("flate: corrupt input before offset "));
    assert_eq!(error_text(&Coding::Zstd, b"hello"), "zstd: invalid input: magic number mismatch");
    assert_eq!(error_text(&Coding::SnappyFramed, b"hello"), "snappy: corrupt input");
    assert_eq!(damaged(&Coding::SnappyFramed, 14), "snappy: corrupt input", "a CRC");
    assert_eq!(
        error_text(&Coding::SnappyFramed, b"\xff\x06\x00\x00sNaPpY\x02\x00\x00\x00"),
        "snappy: unsupported input"
    );
    assert_eq!(error_text(&Coding::SnappyFramed, b"\xff\x06\x00\x00sNaPpY\xff\x01\x00\x00s"), "snappy: corrupt input");
    let packed = encode(&Coding::Snappy, &pseudo_random_text(5000));
    let refused = decode(&Coding::Snappy, &packed, 4999).unwrap_err();
    assert_eq!(refused, DecompressError::BlockTooLarge(4999));
    assert_eq!(refused.to_string(), "snappy: decoded size exceeds max request body size");
    assert_eq!(error_text(&Coding::Lz4, b"hello"), "lz4: bad magic number");
    assert_eq!(error_text(&Coding::Lz4, &[2, 0x21, 0x4c, 0x18]), "lz4: bad magic number", "the legacy format");
    assert_eq!(damaged(&Coding::Lz4, 6), "lz4: invalid header checksum");
    assert_eq!(damaged(&Coding::Lz4, -1), "lz4: invalid frame checksum");
    // Bytes after a zlib stream are ignored; after the other formats they are an error.
    for coding in codings() {
        let tail = [&encode(&coding, b"x")[..], b"junk!"].concat();
        let zlib = matches!(coding, Coding::Zlib | Coding::Deflate);
        assert_eq!(decode(&coding, &tail, 100).is_ok(), zlib, "{}", coding.name());
    }
}

#[test]
fn workspace_after_an_invalid_body_still_works() {
    let workspace = Workspace::new();
    let plain = pseudo_random_text(300_000);
    for coding in codings() {
        for level in [None, Some(9), Some(1)] {
            let packed = workspace.compress_with_level(&coding, level, [&plain[..]]);
            let half = packed.slice(..packed.len() / 2);
            assert!(workspace.decompress(&coding, half, 1 << 20, |_| Ok::<_, Infallible>(())).is_err());
            let back = workspace.decompress(&coding, packed, 1 << 20, |_| Ok::<_, Infallible>(())).unwrap();
            assert!(back == plain, "{}", coding.name());
        }
    }
}

#[test]
fn result_has_at_most_a_quarter_of_extra_capacity() {
    let plain = pseudo_random_text(200_000);
    for coding in codings() {
        for packed in [encode(&coding, &plain), encode(&coding, b"x")] {
            let workspace = Workspace::new();
            let back = workspace.decompress(&coding, packed.into(), 1 << 20, |_| Ok::<_, Infallible>(())).unwrap();
            let recompressed = workspace.compress(&coding, [&back[..]]);
            for bytes in [back, recompressed] {
                let bytes = Vec::from(bytes);
                assert!(bytes.capacity() <= bytes.len() + bytes.len() / 4, "{}", coding.name());
            }
        }
    }
}

#[test]
fn levels_are_mapped_as_in_go() {
    let gzip = [-2, -1, 0, 1, 9, 10].map(|l| gzip::level(Some(l)));
    assert_eq!((gzip, gzip::level(None)), ([1, 6, 6, 1, 9, 9], 6));
    let zstd = [-1, 0, 1, 2, 3, 5, 6, 9, 10, 22].map(|l| zstd::level(Some(l)));
    assert_eq!((zstd, zstd::level(None)), ([1, 3, 1, 1, 3, 3, 7, 7, 11, 11], 3));
    let plain = pseudo_random_text(100_000);
    for coding in [Coding::Gzip, Coding::Zlib, Coding::Deflate, Coding::Zstd] {
        let len = |level| Workspace::new().compress_with_level(&coding, Some(level), [&plain[..]]).len();
        assert!(len(9) < len(1), "{}", coding.name());
    }
}
