//! Ids, header fields and timeouts of gRPC over HTTP/2.

use std::time::Duration;

use http::HeaderValue;
use http::header::HeaderName;

/// One call of one connection; never reused while the connection exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub(crate) u32);

pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(super) const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
pub(super) const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
pub(super) const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
pub(super) const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
pub(super) const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
pub(super) const APPLICATION_GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// RFC 9113, 7.
pub(super) const ENHANCE_YOUR_CALM: u32 = 11;

/// Messages below this size are not compressed: it saves too little.
pub(super) const MIN_COMPRESS_SIZE: usize = 1024;

/// `application/grpc`, alone or followed by `+subtype` or `;parameters`.
pub(super) fn is_grpc_content_type(value: Option<&HeaderValue>) -> bool {
    let Some(prefix_and_next) = value.and_then(|v| v.as_bytes().get(..16).map(|head| (head, v.as_bytes().get(16))))
    else {
        return false;
    };
    prefix_and_next.0.eq_ignore_ascii_case(b"application/grpc") && matches!(prefix_and_next.1, None | Some(b'+' | b';'))
}

/// Reads a `grpc-timeout`: at most eight digits and a unit. `None` when malformed.
pub(super) fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let n = digits.iter().fold(0, |n, d| n * 10 + u64::from(d - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(n * 3600),
        b'M' => Duration::from_secs(n * 60),
        b'S' => Duration::from_secs(n),
        b'm' => Duration::from_millis(n),
        b'u' => Duration::from_micros(n),
        b'n' => Duration::from_nanos(n),
        _ => return None,
    })
}

/// Writes a `grpc-timeout` in the finest unit that fits, rounded up as grpc-go does.
pub(super) fn format_timeout(nanos: u64) -> HeaderValue {
    const UNITS: [(u64, char); 6] = [
        (1, 'n'),
        (1_000, 'u'),
        (1_000_000, 'm'),
        (1_000_000_000, 'S'),
        (60_000_000_000, 'M'),
        (3_600_000_000_000, 'H'),
    ];
    let fitting = UNITS.iter().find(|(unit, _)| nanos.div_ceil(*unit) <= 99_999_999);
    let (unit, name) = fitting.copied().unwrap_or((3_600_000_000_000, 'H'));
    let mut digits = itoa::Buffer::new();
    let mut text = smallvec::SmallVec::<[u8; 16]>::new();
    text.extend_from_slice(digits.format(nanos.div_ceil(unit).min(99_999_999)).as_bytes());
    text.push(name as u8); // ASCII
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("99999999H"))
}
