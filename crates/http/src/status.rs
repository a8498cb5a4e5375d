//! The gRPC status: codes, text, retry delay, and its encodings.
//!
//! Implements the mapping between gRPC codes and HTTP statuses, `google.rpc.Status` with its `RetryInfo` detail, the
//! percent encoding of `grpc-message` and the base64 of `-bin` headers. Never chooses a status.

use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, STANDARD_NO_PAD};
use base64::{Engine as _, alphabet};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;

const RETRY_INFO: &[u8] = b"type.googleapis.com/google.rpc.RetryInfo";
/// Longest `grpc-message` sent, after encoding: many clients refuse header lists above 8 KiB.
const MAX_MESSAGE: usize = 4096;

/// gRPC status codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are those of the gRPC specification")]
pub enum Code {
    Ok = 0,
    Canceled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl Code {
    /// The code of a number; numbers outside the specification are `Unknown`.
    #[must_use]
    pub fn from_number(n: i64) -> Self {
        match n {
            0 => Self::Ok,
            1 => Self::Canceled,
            3 => Self::InvalidArgument,
            4 => Self::DeadlineExceeded,
            5 => Self::NotFound,
            6 => Self::AlreadyExists,
            7 => Self::PermissionDenied,
            8 => Self::ResourceExhausted,
            9 => Self::FailedPrecondition,
            10 => Self::Aborted,
            11 => Self::OutOfRange,
            12 => Self::Unimplemented,
            13 => Self::Internal,
            14 => Self::Unavailable,
            15 => Self::DataLoss,
            16 => Self::Unauthenticated,
            _ => Self::Unknown,
        }
    }

    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The number as a header value.
    #[must_use]
    pub fn digits(self) -> &'static str {
        const DIGITS: [&str; 17] =
            ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"];
        DIGITS.get(usize::from(self.number())).copied().unwrap_or("2")
    }

    /// The name as grpc-go prints it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Canceled => "Canceled",
            Self::Unknown => "Unknown",
            Self::InvalidArgument => "InvalidArgument",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::PermissionDenied => "PermissionDenied",
            Self::ResourceExhausted => "ResourceExhausted",
            Self::FailedPrecondition => "FailedPrecondition",
            Self::Aborted => "Aborted",
            Self::OutOfRange => "OutOfRange",
            Self::Unimplemented => "Unimplemented",
            Self::Internal => "Internal",
            Self::Unavailable => "Unavailable",
            Self::DataLoss => "DataLoss",
            Self::Unauthenticated => "Unauthenticated",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Outcome of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The kind of outcome.
    pub code: Code,
    /// A text for humans.
    pub message: Cow<'static, str>,
    /// `google.rpc.RetryInfo.retry_delay`; `Some(0)` is different from `None`.
    pub retry_after: Option<Duration>,
    /// A whole serialized `google.rpc.Status` as received; passed on unchanged. Empty when there was none.
    pub details: Bytes,
}

impl Status {
    /// A status without details.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), retry_after: None, details: Bytes::new() }
    }

    /// Success.
    #[must_use]
    pub fn ok() -> Self {
        Self::new(Code::Ok, "")
    }

    /// The service cannot take this now; try again.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Unavailable, message)
    }

    /// An internal error of this side.
    pub fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Internal, message)
    }

    /// The request is not valid.
    pub fn invalid_argument(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// A limit was exceeded.
    pub fn resource_exhausted(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::ResourceExhausted, message)
    }

    /// No such method.
    pub fn unimplemented(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Unimplemented, message)
    }

    /// The text grpc-go uses when a deadline passes.
    #[must_use]
    pub fn deadline_exceeded() -> Self {
        Self::new(Code::DeadlineExceeded, "context deadline exceeded")
    }

    /// Adds a retry delay.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Whether this is success.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.code == Code::Ok
    }

    /// Serialized `google.rpc.Status`: the received bytes if there are any, otherwise made from the fields.
    #[must_use]
    pub fn to_proto(&self) -> Bytes {
        if !self.details.is_empty() {
            return self.details.clone();
        }
        let mut out = Vec::with_capacity(self.message.len() + 80);
        if self.code != Code::Ok {
            out.push(0x08);
            encode_varint(&mut out, u64::from(self.code.number()));
        }
        if !self.message.is_empty() {
            encode_bytes_field(&mut out, 2, self.message.as_bytes());
        }
        if let Some(after) = self.retry_after {
            let mut delay = Vec::with_capacity(16);
            if after.as_secs() > 0 {
                delay.push(0x08);
                encode_varint(&mut delay, after.as_secs());
            }
            if after.subsec_nanos() > 0 {
                delay.push(0x10);
                encode_varint(&mut delay, u64::from(after.subsec_nanos()));
            }
            let mut info = Vec::with_capacity(18);
            encode_bytes_field(&mut info, 1, &delay);
            let mut any = Vec::with_capacity(64);
            encode_bytes_field(&mut any, 1, RETRY_INFO);
            encode_bytes_field(&mut any, 2, &info);
            encode_bytes_field(&mut out, 3, &any);
        }
        out.into()
    }

    /// Reads a serialized `google.rpc.Status`; `None` when it is not one. The bytes are kept as `details`.
    #[must_use]
    pub fn from_proto(bytes: Bytes) -> Option<Self> {
        let mut status = Self::ok();
        let mut message = None;
        let mut fields = ProtoFields(&bytes);
        while let Some(field) = fields.next()? {
            match field {
                (1, ProtoField::Varint(v)) => status.code = Code::from_number(i64::try_from(v).unwrap_or(-1)),
                (2, ProtoField::Bytes(b)) => message = Some(String::from_utf8_lossy(b).into_owned()),
                (3, ProtoField::Bytes(b)) => {
                    if let Some(after) = parse_retry_info(b)? {
                        status.retry_after = Some(after);
                    }
                }
                _ => {}
            }
        }
        if let Some(message) = message {
            status.message = message.into();
        }
        status.details = bytes;
        Some(status)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rpc error: code = {} desc = {}", self.code, self.message)
    }
}

impl std::error::Error for Status {}

/// The HTTP status of an OTLP/HTTP response that carries this status.
#[must_use]
pub fn http_status(status: &Status) -> u16 {
    match status.code {
        Code::Ok => 200,
        Code::Canceled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => 503,
        Code::ResourceExhausted => 429,
        Code::InvalidArgument => 400,
        Code::Unauthenticated => 401,
        Code::PermissionDenied => 403,
        Code::Unimplemented => 404,
        _ => 500,
    }
}

/// The gRPC code of an error that only has an HTTP status, as the OTLP receiver of the Go collector maps it.
#[must_use]
pub fn code_from_http(http: u16) -> Code {
    match http {
        400 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 => Code::ResourceExhausted,
        502..=504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

/// The gRPC code a client derives from a response without `grpc-status` (gRPC "HTTP to gRPC Status Code Mapping").
#[must_use]
pub fn client_code_from_http(http: u16) -> Code {
    match http {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502..=504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

/// Encodes a `grpc-message`: `%` and everything outside printable ASCII becomes `%XX`. Text that is too long is cut.
#[must_use]
pub fn percent_encode(message: &str) -> Cow<'_, str> {
    let is_plain = |b: u8| (0x20..=0x7e).contains(&b) && b != b'%';
    if message.len() <= MAX_MESSAGE && message.bytes().all(is_plain) {
        return Cow::Borrowed(message);
    }
    let mut out = String::with_capacity(message.len().min(MAX_MESSAGE) + 16);
    for c in message.chars() {
        // Cut between characters, so that the decoded text is still valid UTF-8.
        if out.len() + 3 * c.len_utf8() > MAX_MESSAGE {
            break;
        }
        let mut utf8 = [0; 4];
        for &b in c.encode_utf8(&mut utf8).as_bytes() {
            if is_plain(b) {
                out.push(char::from(b));
            } else {
                out.push('%');
                out.push(hex_digit(b >> 4));
                out.push(hex_digit(b & 15));
            }
        }
    }
    Cow::Owned(out)
}

/// Decodes a `grpc-message`; what is not a valid escape stays as it is, bad UTF-8 is replaced.
#[must_use]
pub fn percent_decode(raw: &[u8]) -> String {
    let out = percent_decode_bytes(raw);
    String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// Percent-decoding (RFC 3986, 2.1); what is not a valid escape stays as it is.
#[must_use]
pub fn percent_decode_bytes(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&b, tail)) = rest.split_first() {
        if b == b'%'
            && let [hi, lo, after @ ..] = tail
            && let (Some(hi), Some(lo)) = (parse_hex_digit(*hi), parse_hex_digit(*lo))
        {
            out.push(hi << 4 | lo);
            rest = after;
        } else {
            out.push(b);
            rest = tail;
        }
    }
    out
}

/// Base64 of a `-bin` header, standard alphabet, without padding as grpc-go sends it.
#[must_use]
pub fn base64_encode(bytes: &[u8]) -> String {
    STANDARD_NO_PAD.encode(bytes)
}

/// Decodes base64 of either alphabet, with or without padding; `None` when it is not base64.
#[must_use]
pub fn base64_decode(text: &[u8]) -> Option<Vec<u8>> {
    /// Bits behind the last byte may have any value, as grpc-go reads them.
    const LENIENT: GeneralPurpose =
        GeneralPurpose::new(&alphabet::STANDARD, NO_PAD.with_decode_allow_trailing_bits(true));
    let text = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let standard: Vec<u8> = text
        .iter()
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => *other,
        })
        .collect();
    LENIENT.decode(standard).ok()
}

fn parse_retry_info(any: &[u8]) -> Option<Option<Duration>> {
    let (mut url, mut value) = (&[][..], &[][..]);
    let mut fields = ProtoFields(any);
    while let Some(field) = fields.next()? {
        match field {
            (1, ProtoField::Bytes(b)) => url = b,
            (2, ProtoField::Bytes(b)) => value = b,
            _ => {}
        }
    }
    // Only the part after the last slash names the type (google.protobuf.Any).
    if url.rsplit(|&b| b == b'/').next() != Some(b"google.rpc.RetryInfo") {
        return Some(None);
    }
    let (mut secs, mut nanos) = (0, 0);
    let mut info = ProtoFields(value);
    while let Some(field) = info.next()? {
        if let (1, ProtoField::Bytes(delay)) = field {
            let mut delay = ProtoFields(delay);
            while let Some(part) = delay.next()? {
                match part {
                    (1, ProtoField::Varint(v)) => secs = v,
                    (2, ProtoField::Varint(v)) => nanos = v,
                    _ => {}
                }
            }
        }
    }
    // Negative delays arrive as huge varints: treat them as "at once".
    let secs = u64::try_from(secs.cast_signed()).ok();
    let nanos = u32::try_from(nanos).ok().filter(|n| *n < 1_000_000_000);
    Some(Some(match (secs, nanos) {
        (Some(s), Some(n)) => Duration::new(s, n),
        _ => Duration::ZERO,
    }))
}

enum ProtoField<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Other,
}

/// An iterator over protobuf fields: `None` for malformed input, `Some(None)` at the end.
struct ProtoFields<'a>(&'a [u8]);

impl<'a> ProtoFields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&b, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(b & 0x7f) << shift;
            if b < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn next(&mut self) -> Option<Option<(u64, ProtoField<'a>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => ProtoField::Varint(self.varint()?),
            1 => self.take(8).map(|_| ProtoField::Other)?,
            2 => {
                let n = usize::try_from(self.varint()?).ok()?;
                ProtoField::Bytes(self.take(n)?)
            }
            5 => self.take(4).map(|_| ProtoField::Other)?,
            _ => return None,
        };
        Some(Some((tag >> 3, field)))
    }
}

fn encode_varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push((v & 0x7f) as u8 | 0x80); // seven bits
        v >>= 7;
    }
    out.push(v as u8); // below 0x80
}

fn encode_bytes_field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    encode_varint(out, bytes.len() as u64); // usize fits
    out.extend_from_slice(bytes);
}

fn hex_digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase()
}

fn parse_hex_digit(c: u8) -> Option<u8> {
    char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_info_encoded_and_decoded_is_unchanged() {
        for after in [None, Some(Duration::ZERO), Some(Duration::from_millis(1500)), Some(Duration::from_secs(70))] {
            let mut status = Status::unavailable("data refused");
            status.retry_after = after;
            let back = Status::from_proto(status.to_proto()).unwrap();
            assert_eq!((back.code, back.message.as_ref(), back.retry_after), (status.code, "data refused", after));
            assert_eq!(back.to_proto(), status.to_proto(), "passed on unchanged");
        }
    }

    #[test]
    fn encoded_status_is_a_google_rpc_status() {
        let status = Status::new(Code::Unavailable, "no").with_retry_after(Duration::from_secs(3));
        let mut want = vec![0x08, 14, 0x12, 2, b'n', b'o', 0x1a, 48, 0x0a, 40];
        want.extend_from_slice(RETRY_INFO);
        want.extend_from_slice(&[0x12, 4, 0x0a, 2, 0x08, 3]);
        assert_eq!(status.to_proto(), want);
    }

    #[test]
    fn negative_delay_is_zero_and_truncated_status_is_rejected() {
        let mut any = Vec::new();
        encode_bytes_field(&mut any, 1, RETRY_INFO);
        let mut delay = vec![0x08];
        encode_varint(&mut delay, u64::MAX);
        let mut info = Vec::new();
        encode_bytes_field(&mut info, 1, &delay);
        encode_bytes_field(&mut any, 2, &info);
        let mut proto = Vec::new();
        encode_bytes_field(&mut proto, 3, &any);
        assert_eq!(Status::from_proto(proto.clone().into()).unwrap().retry_after, Some(Duration::ZERO));
        for cut in 1..proto.len() {
            assert!(Status::from_proto(Bytes::copy_from_slice(&proto[..cut])).is_none(), "cut at {cut}");
        }
    }

    #[test]
    fn message_is_percent_encoded_and_cut_between_characters() {
        assert_eq!(percent_encode("plain text"), "plain text");
        assert_eq!(percent_encode("100% ü\n"), "100%25 %C3%BC%0A");
        assert_eq!(percent_decode(b"100%25 %C3%BC%0A"), "100% ü\n");
        assert_eq!(percent_decode(b"50% off %zz %"), "50% off %zz %");
        let long = "ü".repeat(5000);
        let sent = percent_encode(&long);
        assert!(sent.len() <= MAX_MESSAGE && percent_decode(sent.as_bytes()).chars().all(|c| c == 'ü'));
    }

    #[test]
    fn base64_with_or_without_padding_is_decoded() {
        for (plain, text) in [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg")] {
            assert_eq!(base64_encode(plain.as_bytes()), text);
            assert_eq!(base64_decode(text.as_bytes()).unwrap(), plain.as_bytes());
        }
        assert_eq!(base64_decode(b"Zg==").unwrap(), b"f");
        assert_eq!(base64_decode(b"Zm9vY"), None);
        assert_eq!(base64_decode(b"Zm!v"), None);
    }

    #[test]
    fn codes_are_mapped_as_in_the_go_collector() {
        for n in 0..=16_u8 {
            assert_eq!(Code::from_number(i64::from(n)).number(), n);
            assert_eq!(Code::from_number(i64::from(n)).digits(), n.to_string());
        }
        assert_eq!(Code::from_number(99), Code::Unknown);
        assert_eq!(http_status(&Status::unavailable("")), 503);
        assert_eq!(http_status(&Status::internal("")), 500);
        assert_eq!(http_status(&Status::resource_exhausted("")), 429);
        assert_eq!(code_from_http(400), Code::InvalidArgument);
        assert_eq!(client_code_from_http(400), Code::Internal);
        assert_eq!(client_code_from_http(503), Code::Unavailable);
    }
}
