//! Requests that a client sends, and their encoding.

use bytes::Bytes;

use crate::h1::head::encode_field;

/// Header fields about the framing of a message or about the connection. The caller may not set them; the connection
/// writes those that are needed.
const FRAMING_FIELDS: [&str; 8] =
    ["content-length", "transfer-encoding", "trailer", "te", "upgrade", "keep-alive", "proxy-connection", "expect"];

/// A request to send.
#[derive(Debug)]
pub struct OutgoingRequest<'a, H, B> {
    /// `GET`, `POST`, ...: case-sensitive.
    pub method: &'a str,
    /// Path and query; an absolute URI for a proxy; `host:port` for CONNECT.
    pub target: &'a str,
    /// Header fields, one `Host` among them. `Connection` may say `close` or `keep-alive`; other fields about framing
    /// or the connection are refused.
    pub headers: H,
    /// The body, in parts that are written as they are.
    pub body: B,
    /// When the request fails if it has no response by then.
    pub deadline: Option<u64>,
}

/// Why a request was not begun. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartRequestError {
    /// The connection has ended, or is a tunnel now.
    #[error("connection not usable")]
    Connection,
    /// Another request is in progress, or its outcome was not taken yet.
    #[error("another request is under way")]
    Busy,
    /// The request is not valid on any connection; the text says what is wrong with it.
    #[error("invalid request: {0}")]
    Request(&'static str),
}

/// The encoded head of a request, and whether it contains `Connection: close`.
pub(super) fn encode_request_head<'h>(
    method: &str,
    target: &str,
    headers: impl IntoIterator<Item = (&'h str, &'h str)>,
    length: u64,
) -> Result<(Bytes, bool), StartRequestError> {
    if !is_token(method) {
        return Err(StartRequestError::Request("method"));
    }
    if target.is_empty() || !target.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(StartRequestError::Request("target"));
    }
    let mut out = Vec::with_capacity(512);
    for part in [method, " ", target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    let (mut host_count, mut close) = (0, false);
    for (name, value) in headers {
        if !is_token(name) {
            return Err(StartRequestError::Request("header name"));
        }
        if value.bytes().any(|b| b < b' ' && b != b'\t' || b == 0x7f) {
            return Err(StartRequestError::Request("header value"));
        }
        if FRAMING_FIELDS.iter().any(|framing_field| name.eq_ignore_ascii_case(framing_field)) {
            return Err(StartRequestError::Request("header field about framing or the connection"));
        }
        if name.eq_ignore_ascii_case("connection") {
            match value.trim() {
                v if v.eq_ignore_ascii_case("close") => close = true,
                v if v.eq_ignore_ascii_case("keep-alive") => {}
                _ => return Err(StartRequestError::Request("header field about framing or the connection")),
            }
        }
        host_count += usize::from(name.eq_ignore_ascii_case("host"));
        encode_field(&mut out, name, value);
    }
    if host_count != 1 {
        return Err(StartRequestError::Request("exactly one Host is needed"));
    }
    match (method, length) {
        ("CONNECT", 0) => {}
        ("CONNECT", _) => return Err(StartRequestError::Request("CONNECT has no body")),
        // A server may expect a length for a method that usually has a body (RFC 9110, 8.6).
        ("POST" | "PUT" | "PATCH", _) | (_, 1..) => {
            encode_field(&mut out, "Content-Length", itoa::Buffer::new().format(length));
        }
        _ => {}
    }
    out.extend_from_slice(b"\r\n");
    Ok((out.into(), close))
}

/// RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
