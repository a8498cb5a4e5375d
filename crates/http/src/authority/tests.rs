//! Header blocks built by the tests, compared before and after the correction.

use std::future::Future;
use std::io::Write;
use std::ops::Range;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::*;
use crate::Workspace;
use crate::h2_io::H2Transport;
use crate::pipe::pipe;

/// An integer after the prefix bits of its first byte (RFC 7541, 5.1).
fn encode_integer(out: &mut Vec<u8>, bits: u8, mask: u8, mut n: usize) {
    if n < usize::from(mask) {
        return out.push(bits | n as u8);
    }
    out.push(bits | mask);
    n -= usize::from(mask);
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn encode_string(out: &mut Vec<u8>, huffman: bool, bytes: &[u8]) -> Range<usize> {
    encode_integer(out, if huffman { 0x80 } else { 0 }, 0x7f, bytes.len());
    out.extend_from_slice(bytes);
    out.len() - bytes.len()..out.len()
}

/// The kinds of literals: with indexing, without indexing, never indexed.
const LITERAL_KINDS: [(u8, u8); 3] = [(0x40, 0x3f), (0, 0x0f), (0x10, 0x0f)];

/// One representation in a header block.
#[derive(Clone, Debug)]
enum HpackField {
    Indexed(usize),
    TableSize(usize),
    /// The kind of literal; the index of the name, or the name and whether it is marked as Huffman-coded; the value and
    /// whether it is marked so.
    Literal(usize, Result<usize, (Vec<u8>, bool)>, (Vec<u8>, bool)),
}

impl HpackField {
    /// Writes the field. Returns the range of its value, if [`AuthorityCorrector`] may change it.
    fn write(&self, out: &mut Vec<u8>) -> Option<Range<usize>> {
        match self {
            Self::Indexed(n) => encode_integer(out, 0x80, 0x7f, *n),
            Self::TableSize(n) => encode_integer(out, 0x20, 0x1f, *n),
            Self::Literal(sort, name, (value, huffman)) => {
                let (bits, mask) = LITERAL_KINDS[*sort];
                let is_authority = match name {
                    Ok(index) => {
                        encode_integer(out, bits, mask, *index);
                        *index == 1
                    }
                    Err((name, huffman)) => {
                        out.push(bits);
                        encode_string(out, *huffman, name);
                        name == b":authority" && !huffman
                    }
                };
                let at = encode_string(out, *huffman, value);
                return (is_authority && !huffman).then_some(at);
            }
        }
        None
    }
}

/// HEADERS and CONTINUATION frames of a block: `cut` is where it is split, `padding` and `priority` are what the
/// HEADERS frame has besides it.
fn header_frames(block: &[u8], cut: usize, padding: Option<u8>, priority: bool, stream: u32) -> (Vec<u8>, Vec<usize>) {
    let (first, second) = block.split_at(cut.min(block.len()));
    let (mut out, mut positions) = (Vec::new(), Vec::new());
    let mut frame = |kind: u8, flags: u8, before: &[u8], part: &[u8], after: &[u8]| {
        let length = before.len() + part.len() + after.len();
        out.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
        out.extend_from_slice(&[kind, flags]);
        out.extend_from_slice(&stream.to_be_bytes());
        out.extend_from_slice(before);
        positions.extend(out.len()..out.len() + part.len());
        out.extend_from_slice(part);
        out.extend_from_slice(after);
    };
    let mut before: Vec<u8> = padding.into_iter().collect();
    before.extend(priority.then_some([0, 0, 0, 0, 7]).into_iter().flatten());
    let flags = padding.map_or(0, |_| PADDED) | if priority { PRIORITY } else { 0 };
    let end = if second.is_empty() { 4 } else { 0 };
    frame(HEADERS, 1 | flags | end, &before, first, &vec![0; usize::from(padding.unwrap_or(0))]);
    if !second.is_empty() {
        frame(CONTINUATION, 4, &[], second, &[]);
    }
    (out, positions)
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// What h2 reads from the transport of a server, if `bytes` arrive in pieces of these lengths.
fn read_through_transport(bytes: &[u8], cuts: &[usize]) -> Vec<u8> {
    let (mut peer, end) = pipe(usize::MAX);
    let (link, wire) = H2Transport::new(end, Workspace::new(), true, 1 << 16);
    let (mut wire, cx) = (pin!(wire), &mut Context::from_waker(Waker::noop()));
    let (mut rest, mut cuts, mut out) = (bytes, cuts.iter().cycle(), Vec::new());
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
        peer.write_all(now).unwrap();
        rest = later;
        link.begin_poll(1 << 20);
        let mut buffer = [0; 1000];
        loop {
            let mut buf = tokio::io::ReadBuf::new(&mut buffer);
            if tokio::io::AsyncRead::poll_read(wire.as_mut(), cx, &mut buf).is_pending() {
                break;
            }
            out.extend_from_slice(buf.filled());
        }
    }
    out
}

/// The authorities and the `x-last` fields that h2's server reads, if the requests arrive in pieces of these lengths.
fn accepted_requests(bytes: &[u8], cuts: &[usize]) -> Vec<(String, String)> {
    let (mut peer, end) = pipe(usize::MAX);
    let (link, wire) = H2Transport::new(end, Workspace::new(), true, 1 << 16);
    let cx = &mut Context::from_waker(Waker::noop());
    let mut handshake = pin!(h2::server::handshake(wire));
    let (mut rest, mut cuts, mut conn, mut out) = (bytes, cuts.iter().cycle(), None, Vec::new());
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
        peer.write_all(now).unwrap();
        rest = later;
        link.begin_poll(1 << 20);
        if conn.is_none() {
            match handshake.as_mut().poll(cx) {
                Poll::Ready(ready) => conn = Some(ready.unwrap()),
                Poll::Pending => continue,
            }
        }
        while let Some(Poll::Ready(Some(request))) = conn.as_mut().map(|c| c.poll_accept(cx)) {
            let request = request.unwrap().0;
            let last = request.headers().get("x-last").unwrap().to_str().unwrap().to_owned();
            out.push((request.uri().authority().unwrap().to_string(), last));
        }
    }
    out
}

fn literal(name: &str, value: &str) -> HpackField {
    HpackField::Literal(0, Err((name.into(), false)), (value.into(), false))
}

/// Two requests with the same authority: first as a literal, then as an index into the table.
fn two_requests(authority: &HpackField, cut: usize, padding: Option<u8>, priority: bool) -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    let before =
        [HpackField::TableSize(4096), HpackField::Indexed(3), HpackField::Indexed(6), literal(":path", "/a/b%20/c")];
    let mut block = Vec::new();
    for field in before.iter().chain([authority, &literal("x-last", "/one%20")]) {
        field.write(&mut block);
    }
    bytes.extend(header_frames(&block, cut, padding, priority, 1).0);
    let mut block = Vec::new();
    // In the dynamic table, 62 is the newest entry (the path again), 63 is `x-last`, 64 the authority. What isn't
    // indexed is written as a literal again.
    let repeated = if matches!(authority, HpackField::Literal(0, ..)) { &HpackField::Indexed(64) } else { authority };
    for field in before.iter().chain([repeated, &literal("x-last", "/two%20")]) {
        field.write(&mut block);
    }
    bytes.extend(header_frames(&block, cut, padding, priority, 3).0);
    bytes
}

#[test]
fn socket_path_as_authority_is_corrected_and_accepted() {
    for (sent, taken) in [
        ("tmp%2Fcap.sock", "tmp-2Fcap.sock"),
        ("/tmp/cap.sock", "-tmp-cap.sock"),
        ("tmp%2Fa%20long%20dir+x_%C3%BC.sock", "tmp-2Fa-20long-20dir-x_-C3-BC.sock"),
        ("/run/[a]:b:c@d e/\u{fc}?#.sock", "-run--a--b-c-d-e-----.sock"),
        ("%00abstract", "-00abstract"),
        // These are valid and stay as they are.
        ("localhost:4317", "localhost:4317"),
        ("[fe80::1%25eth0]:4317", "[fe80::1%25eth0]:4317"),
        ("otel_collector.ns~x:1", "otel_collector.ns~x:1"),
    ] {
        for name in [Ok(1), Err((b":authority".to_vec(), false))] {
            for sort in 0..3 {
                let authority = HpackField::Literal(sort, name.clone(), (sent.into(), false));
                let bytes = two_requests(&authority, usize::MAX, None, false);
                let want = ["/one%20", "/two%20"].map(|last| (taken.to_owned(), last.to_owned()));
                assert_eq!(accepted_requests(&bytes, &[usize::MAX]), want, "{sent}");
            }
        }
    }
}

#[test]
fn control_bytes_in_an_authority_are_unchanged() {
    for value in ["a\0b", "/a\r\nb", "/a\x7f"] {
        let mut block = Vec::new();
        let at = HpackField::Literal(0, Ok(1), (value.into(), false)).write(&mut block).unwrap();
        AuthorityCorrector::new().process_payload(
            PayloadPosition { frame_type: HEADERS, flags: 4, length: block.len(), offset: 0 },
            &mut block,
        );
        assert_eq!(block[at], *value.replace('/', "-").as_bytes());
    }
}

fn any_field() -> impl Strategy<Value = HpackField> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..300);
    let path = || proptest::string::string_regex("[a-z0-9./%:_@+ -]{0,200}").unwrap().prop_map(String::into_bytes);
    let name = prop_oneof![
        3 => Just(Ok(1)),
        2 => (2_usize..200).prop_map(Ok),
        3 => any::<bool>().prop_map(|h| Err((b":authority".to_vec(), h))),
        1 => Just(Err((b":authoritx".to_vec(), false))),
        1 => Just(Err((b":authorit".to_vec(), false))),
        2 => (bytes(), any::<bool>()).prop_map(Err),
    ];
    prop_oneof![
        1 => (1_usize..400).prop_map(HpackField::Indexed),
        1 => (0_usize..70_000).prop_map(HpackField::TableSize),
        4 => (0_usize..3, name, prop_oneof![bytes(), path()], prop::bool::weighted(0.2))
            .prop_map(|(sort, name, value, huffman)| HpackField::Literal(sort, name, (value, huffman))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn header_block_cut_anywhere_is_changed_only_in_authorities(
        blocks in prop::collection::vec((
            prop::collection::vec(any_field(), 0..8), 0..900_usize, prop::option::of(any::<u8>()), any::<bool>(),
        ), 1..4),
        cuts in prop::collection::vec(1..80_usize, 1..12),
    ) {
        let (mut bytes, mut want) = (PREFACE.to_vec(), PREFACE.to_vec());
        let mut changeable = Vec::new();
        for (fields, cut, padding, priority) in &blocks {
            let (mut block, mut spans) = (Vec::new(), Vec::new());
            for field in fields {
                spans.extend(field.write(&mut block));
            }
            let (frames, places) = header_frames(&block, *cut, *padding, *priority, 1);
            let base = bytes.len();
            bytes.extend_from_slice(&frames);
            // A DATA frame has no header block, whatever bytes it contains.
            bytes.extend_from_slice(b"\0\0\x07\0\0\0\0\0\x01A\x05/a/b/");
            changeable.extend(spans.into_iter().map(|s| places[s].iter().map(|p| base + p).collect::<Vec<_>>()));
        }
        want.clone_from(&bytes);
        for value in changeable {
            let text: Vec<u8> = value.iter().map(|at| bytes[*at]).collect();
            for (at, byte) in value.iter().zip(expected_correction(&text)) {
                want[*at] = byte;
            }
        }
        prop_assert_eq!(read_through_transport(&bytes, &[usize::MAX]), &want[..]);
        prop_assert_eq!(read_through_transport(&bytes, &cuts), &want[..]);
        prop_assert_eq!(read_through_transport(&bytes, &[1]), want);
    }

    #[test]
    fn socket_path_as_authority_cut_anywhere_is_accepted(
        path in "[a-zA-Z0-9._/-]{0,10}/[a-zA-Z0-9./%:_@+?#=\\[\\] -]{0,200}",
        named in any::<bool>(),
        sort in 0_usize..3,
        cut in 0..500_usize,
        padding in prop::option::of(any::<u8>()),
        priority in any::<bool>(),
        cuts in prop::collection::vec(1..80_usize, 1..12),
    ) {
        let name = if named { Err((b":authority".to_vec(), false)) } else { Ok(1) };
        let bytes = two_requests(&HpackField::Literal(sort, name, (path.clone().into(), false)), cut, padding, priority);
        let taken = path.replace(|c: char| !c.is_ascii_alphanumeric() && !"-._~".contains(c), "-");
        let want = ["/one%20", "/two%20"].map(|last| (taken.clone(), last.to_owned()));
        prop_assert_eq!(accepted_requests(&bytes, &cuts), want);
    }

    #[test]
    fn random_header_blocks_keep_their_length(
        frames in prop::collection::vec((any::<bool>(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..200)), 1..8),
        cuts in prop::collection::vec(1..40_usize, 1..12),
    ) {
        let mut bytes = PREFACE.to_vec();
        for (first, flags, payload) in frames {
            bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
            bytes.extend_from_slice(&[if first { HEADERS } else { CONTINUATION }, flags, 0, 0, 0, 1]);
            bytes.extend_from_slice(&payload);
        }
        let whole = read_through_transport(&bytes, &[usize::MAX]);
        prop_assert_eq!(whole.len(), bytes.len());
        prop_assert!(whole.iter().zip(&bytes).all(|(now, was)| now == was || *now == b'-'));
        prop_assert_eq!(read_through_transport(&bytes, &cuts), whole);
    }
}

/// The expected result of the correction, computed in another way: from the position of the first byte that is not
/// allowed in an authority.
fn expected_correction(text: &[u8]) -> Vec<u8> {
    let control = |b: u8| b < 0x20 || b == 0x7f;
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let end = |find: &[u8]| text.iter().position(|b| find.contains(b)).unwrap_or(text.len());
    let begin = text.iter().position(|b| !control(*b)).unwrap_or(text.len());
    let address = if text.get(begin) == Some(&b'[') { begin..end(b"]") } else { begin..begin };
    let fits = |at: usize, b: u8| match b {
        b'%' => address.contains(&at),
        b'[' | b']' | b'@' => at == begin || !address.contains(&at),
        b => control(b) || unreserved(b) || b"!$&'()*+,;=:".contains(&b),
    };
    let path = text.iter().enumerate().position(|(at, b)| !fits(at, *b)).unwrap_or(text.len());
    let keeps = |at: usize, b: u8| at < path || control(b) || unreserved(b);
    text.iter().enumerate().map(|(at, b)| if keeps(at, *b) { *b } else { b'-' }).collect()
}
