//! A server's answer to an export. Checks: a status that was read is written and read as the same; text is unchanged by
//! percent and base64 coding; and lengths are within their bounds.

use bytes::Bytes;
use otelcore_http::status::{base64_decode, base64_encode, percent_decode, percent_encode};
use otelcore_http::{Code, Status};
use otelcore_pdata::{Signal, json, response};

pub fn run(data: &[u8]) {
    if let Ok(partial) = response::partial_success(data) {
        // A byte that is not UTF-8 becomes three.
        assert!(partial.message.len() <= 3 * data.len());
    }
    if let Ok(status) = response::status(data) {
        assert!(status.message.len() <= 3 * data.len());
    }
    for signal in Signal::ALL {
        if let Ok(partial) = json::partial_success(signal, data) {
            assert!(partial.message.len() <= 3 * data.len());
        }
    }
    if let Ok(status) = json::status(data) {
        assert!(status.message.len() <= 3 * data.len());
    }
    if let Some(status) = Status::from_proto(Bytes::copy_from_slice(data)) {
        let once = status.to_proto();
        let back = Status::from_proto(once.clone()).expect("what was written is read");
        assert_eq!((back.code, &back.message, back.retry_after), (status.code, &status.message, status.retry_after));
        assert_eq!(back.to_proto(), once);
        assert!(usize::from(back.code.number()) <= 16);
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
