//! OTLP/JSON. Checks: text that is accepted gives OTLP that passes the check and is at most four times as long as the
//! text; after it was written and read back, it is written the same; refused text leaves no output. Bytes that are not
//! UTF-8 are kept, and written as escapes of the replacement character; when read back, that text is written with the
//! character itself.

use bytes::Bytes;
use otelcore_pdata::{Rope, Signal, check, json};

use crate::otlp;

/// Decodes, and checks the invariants of decoding.
pub fn decode(signal: Signal, text: &[u8]) -> Option<Rope> {
    let mut out = b"before".to_vec();
    let outcome = json::decode(signal, text, &mut out);
    let bytes = out.split_off(6);
    assert_eq!(out, b"before");
    assert!(bytes.len() <= 4 * text.len(), "{} bytes from {}", bytes.len(), text.len());
    match outcome {
        Ok(()) => {
            let found = check(signal, &bytes).expect("what was written is OTLP");
            Some(Rope::new(Bytes::from(bytes), found.items))
        }
        Err(error) => {
            assert!(bytes.is_empty(), "nothing is left of a refused body");
            assert!(error.offset <= text.len() && !error.to_string().is_empty());
            None
        }
    }
}

/// Encodes.
pub fn encode(signal: Signal, body: &Rope) -> Vec<u8> {
    let mut out = Vec::new();
    json::encode(signal, body, &mut out);
    out
}

/// The first byte chooses the signal; the others are the text.
pub fn run(data: &[u8]) {
    let Some((signal, text)) = data.split_first() else { return };
    let signal = Signal::ALL[usize::from(*signal) % 3];
    let Some(body) = decode(signal, text) else { return };
    let first = encode(signal, &body);
    let reread = decode(signal, &first).expect("what was written is read");
    if !otlp::has_data_twice(signal, &body) {
        assert_eq!(reread.items(), body.items());
    }
    let second = encode(signal, &reread);
    if std::str::from_utf8(text).is_ok() {
        assert_eq!(String::from_utf8_lossy(&first), String::from_utf8_lossy(&second));
    } else {
        let third = encode(signal, &decode(signal, &second).expect("what was written is read"));
        assert_eq!(String::from_utf8_lossy(&second), String::from_utf8_lossy(&third));
    }
}
