//! A server's response to an export. Checks: a status that was read is written and read as the same; text survives
//! percent and base64 coding; and lengths are within their bounds.

use bytes::Bytes;
use otelcore_http::status::{base64_decode, base64_encode, percent_decode, percent_encode};
use otelcore_http::{Code, Status};
use otelcore_pdata::{Signal, json, response};

pub fn run(data: &[u8]) {
    if let Ok(partial) = response::decode_partial_success(data) {
        // A byte that is not UTF-8 becomes three.
        assert!(partial.message.len() <= 3 * data.len());
    }
    if let Ok(status) = response::decode_status(data) {
        assert!(status.message.len() <= 3 * data.len());
    }
    for signal in Signal::ALL {
        if let Ok(partial) = json::decode_partial_success(signal, data) {
            assert!(partial.message.len() <= 3 * data.len());
        }
    }
    if let Ok(status) = json::decode_status(data) {
        assert!(status.message.len() <= 3 * data.len());
    }
    if let Some(status) = Status::from_proto(Bytes::copy_from_slice(data)) {
        let first = status.to_proto();
        let reread = Status::from_proto(first.clone()).expect("what was written is read");
        assert_eq!(
            (reread.code, &reread.message, reread.retry_after),
            (status.code, &status.message, status.retry_after)
        );
        assert_eq!(reread.to_proto(), first);
        assert!(usize::from(reread.code.number()) <= 16);
    }
    let text = String::from_utf8_lossy(data);
    let encoded = percent_encode(&text);
    assert!(encoded.bytes().all(|b| (b' '..=b'~').contains(&b)), "{encoded}");
    assert_eq!(percent_decode(encoded.as_bytes()), text);
    assert!(percent_decode(data).len() <= 3 * data.len());
    assert_eq!(base64_decode(base64_encode(data).as_bytes()).as_deref(), Some(data));
    if let Some(bytes) = base64_decode(data) {
        assert!(bytes.len() <= data.len());
    }
    let number = data.iter().take(8).fold(0_i64, |n, b| n << 8 | i64::from(*b));
    assert!(Code::from_number(number).number() <= 16);
}
