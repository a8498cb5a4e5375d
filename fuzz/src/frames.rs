//! HTTP/2 for the fuzzer: the input is read as a list of frames and events, so that it gets past the preface, HPACK and
//! the five-byte prefix of a message; and a check of the frames that an endpoint sends.

use bytes::Bytes;
use otelcore_http::{Coding, Workspace};

use crate::input::Input;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const MS: u64 = 1_000_000;

/// The next event.
pub enum ScriptEvent {
    /// The peer sends these bytes; whether it waits for a response before the next event.
    PeerSends(Vec<u8>, bool),
    /// This much time passes.
    TimePasses(u64),
    /// The application does something.
    Application(u8),
    /// The peer reads everything that was sent to it.
    PeerReads,
    /// We drain, or close, the connection.
    Drain,
    /// The peer sends nothing more.
    PeerCloses,
}

/// Header lists that a peer of one kind sends, and single fields to add.
pub struct HeaderChoices {
    pub lists: &'static [&'static [(&'static str, &'static str)]],
    pub fields: &'static [(&'static str, &'static str)],
}

/// The next event of a script.
pub fn next_event(input: &mut Input<'_>, headers: &HeaderChoices, workspace: &Workspace) -> Option<ScriptEvent> {
    if input.is_empty() {
        return None;
    }
    let op = input.byte();
    let wait = op & 0x80 == 0;
    let stream = |input: &mut Input<'_>| u32::from(input.byte() & 0x1f);
    Some(match op & 0x0f {
        0 => ScriptEvent::PeerSends(input.bytes().to_vec(), wait),
        1 => {
            let (frame_type, flags, id) = (input.byte(), input.byte(), stream(input));
            ScriptEvent::PeerSends(frame(frame_type, flags, id, input.bytes()), wait)
        }
        2 | 3 => {
            let (flags, id) = (input.byte(), stream(input));
            let mut fields: Vec<(&[u8], &[u8])> = Vec::new();
            fields.extend(input.choose(headers.lists).iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())));
            for _ in 0..flags >> 6 {
                let own = input.byte();
                match headers.fields.get(usize::from(own)) {
                    Some((name, value)) => fields.push((name.as_bytes(), value.as_bytes())),
                    None => fields.push((input.bytes(), input.bytes())),
                }
            }
            // END_STREAM and END_HEADERS; the latter is rarely missing.
            let flags = flags & 1 | if flags & 0x38 == 0x38 { 0 } else { 4 };
            ScriptEvent::PeerSends(frame(1, flags, id, &hpack(&fields, op & 0x10 != 0)), wait)
        }
        4 | 5 => {
            let (flags, id, options) = (input.byte(), stream(input), input.byte());
            let message = message(input, options, workspace);
            ScriptEvent::PeerSends(frame(0, flags & 1, id, &message), wait)
        }
        6 => {
            let (flags, id) = (input.byte(), stream(input));
            ScriptEvent::PeerSends(frame(0, flags & 1, id, input.bytes()), wait)
        }
        7 => ScriptEvent::TimePasses(MS << input.below(32)),
        8 => ScriptEvent::Application(input.byte()),
        9 => ScriptEvent::PeerReads,
        10 => {
            let (flags, mut settings) = (input.byte() & 1, Vec::new());
            if flags == 0 {
                for _ in 0..input.below(4) {
                    settings.extend_from_slice(&[0, input.byte() % 9]);
                    settings.extend_from_slice(&[0, input.byte(), input.byte(), input.byte()]);
                }
            }
            ScriptEvent::PeerSends(frame(4, flags, 0, &settings), wait)
        }
        11 => {
            let (id, more) = (stream(input), u32::from(input.byte()) << input.below(24));
            ScriptEvent::PeerSends(frame(8, 0, id, &more.to_be_bytes()), wait)
        }
        12 => ScriptEvent::PeerSends(frame(6, input.byte() & 1, 0, &[7; 8]), wait),
        13 => {
            let (id, code) = (stream(input), u32::from(input.byte() % 15));
            ScriptEvent::PeerSends(frame(3, 0, id, &code.to_be_bytes()), wait)
        }
        14 => {
            let (last, code) = (stream(input), u32::from(input.byte() % 15));
            let mut payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
            payload.extend_from_slice(input.bytes());
            ScriptEvent::PeerSends(frame(7, 0, 0, &payload), wait)
        }
        _ => match input.below(8) {
            0 => ScriptEvent::Drain,
            1 => ScriptEvent::PeerCloses,
            _ => ScriptEvent::PeerSends(frame(9, 4, stream(input), input.bytes()), wait),
        },
    })
}

/// A gRPC message, usually a complete one.
fn message(input: &mut Input<'_>, options: u8, workspace: &Workspace) -> Vec<u8> {
    const CODINGS: [Coding; 4] = [Coding::Identity, Coding::Gzip, Coding::Zstd, Coding::SnappyFramed];
    let mut body = Bytes::copy_from_slice(input.bytes());
    if options & 0x10 != 0 {
        body = body.repeat(usize::from(input.byte())).into(); // large after decompression
    }
    let compressed = workspace.compress(&CODINGS[usize::from(options) & 3], [&body[..]]);
    let flag = match options & 0xc {
        0 => u8::from(options & 3 != 0),
        4 => 1,
        8 => 0,
        _ => input.byte(),
    };
    let declared = match options >> 6 {
        3 => u32::from(input.byte()) << input.below(24),
        _ => u32::try_from(compressed.len()).unwrap_or(u32::MAX),
    };
    let mut message = vec![flag];
    message.extend_from_slice(&declared.to_be_bytes());
    // The frame is no longer than the default limit of peers.
    message.extend_from_slice(&compressed[..compressed.len().min(16000)]);
    message
}

pub fn frame(frame_type: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[frame_type, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Literal header fields without Huffman coding (RFC 7541, 6.2), entered into the table or not.
pub fn hpack(fields: &[(&[u8], &[u8])], index: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(if index { 0x40 } else { 0 });
        for text in [name, value] {
            match u8::try_from(text.len()) {
                Ok(short @ 0..127) => out.push(short),
                _ => {
                    let mut rest = text.len() - 127;
                    out.push(127);
                    while rest >= 128 {
                        out.push((rest & 127) as u8 | 128);
                        rest >>= 7;
                    }
                    out.push(rest as u8);
                }
            }
            out.extend_from_slice(text);
        }
    }
    out
}

/// Asserts that this is a sequence of frames that an endpoint may send; `is_complete`: the last frame is complete.
pub fn assert_frames(mut sent: &[u8], is_complete: bool) {
    while let [a, b, c, frame_type, _, s0, s1, s2, s3, rest @ ..] = sent {
        assert!(matches!(frame_type, 0 | 1 | 3 | 4 | 6..=9), "a frame of type {frame_type}");
        assert!(s0 & 0x80 == 0, "the reserved bit of {:?}", [s0, s1, s2, s3]);
        let len = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        match rest.get(len..) {
            Some(rest) => sent = rest,
            None => break,
        }
    }
    assert!(sent.is_empty() || !is_complete, "the last frame lacks its end");
}
